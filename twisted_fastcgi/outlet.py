# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The way out of a connection: the one place that writes to the transport.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IPullProducer,
    IPushProducer,
    IReactorTime,
)
from zope.interface import implementer

#: How many bytes are held back at the most while more are about to be written.
#: Twisted's transports call themselves full at the same size.
_HELD_BYTES = 65536

#: How long the peer may go on sending after it has got its answer, in seconds.
#: The FastCGI library in C waits as long.
LINGER = 2.0


@implementer(IPushProducer, IPullProducer)
class Outlet:
    """
    Writes to a transport, knows when it is full, and lets the producer of the
    response know.

    It is the transport's registered producer for as long as the connection
    lasts, whether the response has one or not: so it also learns that the
    transport is full while no one produces anything.

    @ivar full: Whether the transport has more to send than it should.
    @ivar held: Whether output is being held back.
    @ivar _pieces: What is held back.
    @ivar _pending: The size of those, in bytes.
    @ivar _producer: The producer of the response.
    @ivar _streaming: Whether that is a push producer, as far as the transport
        knows.
    @ivar _closed: Whether nothing more will be written.
    @ivar _lingering: The call that ends the connection.
    """

    def __init__(
        self,
        transport: Any,
        reactor: IReactorTime,
        drained: Callable[[], object],
    ) -> None:
        """
        @param transport: Where to write to, an L{ITransport
            <twisted.internet.interfaces.ITransport>} that is an L{IConsumer
            <twisted.internet.interfaces.IConsumer>}.
        @param reactor: Tells the time.
        @param drained: Called when the transport is no longer full.
        """
        self.full = False
        self.held = False
        self._transport = transport
        self._reactor = reactor
        self._drained = drained
        self._pieces: list[bytes] = []
        self._pending = 0
        self._producer: IProducer | None = None
        self._streaming = True
        self._closed = False
        self._lingering: IDelayedCall | None = None
        transport.registerProducer(self, True)

    # Writing

    def hold(self) -> None:
        """
        Hold back what is written until L{release}, so that it goes out in one
        piece; yet never more than 64 KiB.
        """
        self.held = True

    def release(self) -> None:
        """
        Send what was held back, and what is written from now on at once.
        """
        self.held = False
        self._flush()

    def write(self, pieces: Sequence[bytes]) -> None:
        """
        Send some bytes.

        @param pieces: The bytes, in pieces, which are kept as they are.
        """
        self._pieces += pieces
        self._pending += sum(map(len, pieces))
        if not self.held or self._pending > _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        """
        Give all that is held back to the transport.
        """
        if self._pieces:
            pieces, self._pieces, self._pending = self._pieces, [], 0
            if not self._streaming:
                # A transport tells a pull producer when it is empty only.
                self.full = True
            self._transport.writeSequence(pieces)

    # The producer of the response

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Take a producer for the response.

        @param producer: An L{IPushProducer}, or an L{IPullProducer}.
        @param streaming: Whether it is the former.
        """
        self._producer = producer
        if not streaming:
            self._register(streaming=False)
        elif self.full:
            cast(IPushProducer, producer).pauseProducing()

    def unregisterProducer(self) -> None:
        """
        Forget the producer of the response.
        """
        self._producer = None
        if not self._streaming and not self._closed:
            self._register(streaming=True)

    def stopProducer(self) -> None:
        """
        Stop the producer of the response, if there is one, and forget it.
        """
        producer = self._producer
        if producer is not None:
            self.unregisterProducer()
            producer.stopProducing()

    def _register(self, streaming: bool) -> None:
        """
        Register with the transport anew.
        """
        self._transport.unregisterProducer()
        self._streaming = streaming
        # Should it be full, it says so again at the next write.
        self.full = False
        self._transport.registerProducer(self, streaming)

    # What the transport says

    def pauseProducing(self) -> None:
        """
        The transport is full, and says so at each write.
        """
        if not self.full:
            self.full = True
            if self._producer is not None:
                cast(IPushProducer, self._producer).pauseProducing()

    def resumeProducing(self) -> None:
        """
        The transport wants more.
        """
        self.full = False
        if self._producer is not None:
            cast(IPullProducer, self._producer).resumeProducing()
        self._drained()

    def stopProducing(self) -> None:
        """
        The transport is gone.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    # Closing

    def close(self) -> None:
        """
        Close the connection when all is sent.
        """
        self._detach()
        self._transport.loseConnection()

    def closeGently(self) -> None:
        """
        Close the connection when all is sent, though the peer may still be
        sending: to close it at once would destroy what the peer has not read.
        So only the way out is closed, and what still comes in is read for a
        short while.
        """
        if not hasattr(self._transport, "loseWriteConnection"):
            self.close()
            return
        self._detach()
        self._transport.loseWriteConnection()
        # Should something be unsent by then, this waits for it.
        self._lingering = self._reactor.callLater(
            LINGER, self._transport.loseConnection
        )

    def abort(self) -> None:
        """
        Close the connection at once, whatever is not sent yet.
        """
        self._pieces, self._pending = [], 0
        self._detach()
        self._transport.abortConnection()

    def connectionLost(self) -> None:
        """
        Clean up: the connection is gone.
        """
        self._closed = True
        self._pieces, self._pending = [], 0
        self.stopProducer()
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()

    def _detach(self) -> None:
        """
        Write what is left, and produce nothing any more: a transport that has
        a producer might wait for it before it closes.
        """
        self._flush()
        self._closed = True
        self.stopProducer()
        self._transport.unregisterProducer()
