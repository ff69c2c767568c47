# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The way out of a connection: the one place that writes to the transport.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from zope.interface import implementer

log = Logger()

#: How many bytes are held back at the most while more are about to be written.
#: Twisted's transports call themselves full at the same size.
_HELD_BYTES = 65536

#: How many pieces one system call takes, 1024 on Linux and the BSDs.
_MAX_PIECES = 1024

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
    @ivar _asking: The call that asks a pull producer again.
    @ivar _wroteNothing: Whether nothing was written since it was asked.
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
        self._asking: IDelayedCall | None = None
        self._wroteNothing = False
        self._attach()

    def _attach(self) -> None:
        """
        Register with the transport.
        """
        self._transport.registerProducer(self, True)

    # Writing

    def hold(self) -> None:
        """
        Hold back what is written until L{release}, so that it goes out in one
        piece; yet never more than 64 KiB, or one write.
        """
        self.held = True

    def release(self) -> None:
        """
        Send what was held back, and what is written from now on at once.
        """
        self.held = False
        self._flush(now=True)

    def write(self, pieces: Sequence[bytes], *, last: bool = False) -> None:
        """
        Send some bytes.

        @param pieces: The bytes, in pieces, which are kept as they are.
        @param last: Whether they are to go out together with what was written
            just before.
        """
        size = sum(map(len, pieces))
        if self._pending + size > _HELD_BYTES and not last:
            self._flush()
        self._pieces += pieces
        self._pending += size
        if size:
            self._wroteNothing = False
        if not self.held or (last and self._pending > _HELD_BYTES):
            self._flush()

    def _flush(self, *, now: bool = False) -> None:
        """
        Send all that is held back.

        @param now: Whether nothing more is about to be written.
        """
        if self._pieces:
            pieces, size = self._pieces, self._pending
            self._pieces, self._pending = [], 0
            self._send(pieces, size, now)

    def _send(self, pieces: list[bytes], size: int, now: bool) -> None:
        """
        Give bytes to the transport.

        @param pieces: The bytes, in pieces.
        @param size: Their size.
        @param now: Whether nothing more is about to be written.
        """
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
        self._forgetProducer()
        if not self._streaming and not self._closed:
            self._register(streaming=True)

    def stopProducer(self) -> None:
        """
        Stop the producer of the response, if there is one, and forget it.
        """
        producer = self._producer
        if producer is not None:
            self.unregisterProducer()
            _stop(producer)

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
        self._resumeProducer()
        self._drained()

    def _resumeProducer(self) -> None:
        """
        Have the producer of the response produce.

        A transport asks a pull producer for more when it has sent something.
        One that has written nothing to be sent, because a compressor keeps it
        or a I{HEAD} request wants no body, is asked again from here.
        """
        self._cancelAsking()
        if self._producer is None:
            return
        self._wroteNothing = True
        cast(IPullProducer, self._producer).resumeProducing()
        if self._wroteNothing and self._producer is not None and not self._streaming:
            self._asking = self._reactor.callLater(0, self._askAgain)

    def _askAgain(self) -> None:
        """
        Do for a pull producer what transports do.
        """
        try:
            self._resumeProducer()
        except Exception:
            log.failure("{producer} failed to produce", producer=self._producer)
            self.abort()

    def stopProducing(self) -> None:
        """
        The transport is gone.
        """
        producer = self._producer
        self._forgetProducer()
        if producer is not None:
            _stop(producer)

    def _forgetProducer(self) -> None:
        """
        Ask no one for more.
        """
        self._producer = None
        self._cancelAsking()

    def _cancelAsking(self) -> None:
        """
        Do not ask again.
        """
        asking, self._asking = self._asking, None
        if asking is not None and asking.active():
            asking.cancel()

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
        own = getattr(type(self._transport), "loseWriteConnection", None)
        if not callable(own):
            # What only passes the call on, such as TLS, would close the
            # connection beneath itself.
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
        if self._pieces:
            # Closing is the transport's work; so it may as well send these.
            self._transport.writeSequence(self._pieces)
            self._pieces, self._pending = [], 0
        self._closed = True
        self.stopProducer()
        self._transport.unregisterProducer()


def _stop(producer: IProducer) -> None:
    """
    Stop a producer, whatever becomes of it.
    """
    try:
        producer.stopProducing()
    except Exception:
        log.failure("{producer} failed to stop", producer=producer)


class SocketOutlet(Outlet):
    """
    An outlet that writes what was held back straight to the socket, if the
    transport has nothing to send.

    A transport sends only when the reactor has found the socket to be
    writable, which for a small response takes as long as all else that Twisted
    does for it.  What the socket does not take at once goes the usual way, and
    until all of that is sent, everything else does, too.

    @ivar _socket: The socket, which is the transport's.
    @ivar _buffered: Whether the transport has something to send.
    @ivar _unsent: How much that may be, in bytes.
    @ivar _registering: Whether the transport's first call is yet to come.
    """

    def _attach(self) -> None:
        """
        Do without the transport's word until it has something to send.
        """
        self._socket: socket.socket = self._transport.getHandle()
        self._buffered = False
        self._unsent = 0
        self._registering = False

    def _send(self, pieces: list[bytes], size: int, now: bool) -> None:
        """
        Send bytes, or what the socket does not take of them by way of the
        transport.

        What is written bit by bit goes that way, too: the transport joins the
        bits, and does not let a producer whose peer reads fast enough keep
        everybody else from their turn.
        """
        if now and self._streaming and not self._buffered:
            pieces = self._sendNow(pieces)
            if not pieces:
                return
        self._transport.writeSequence(pieces)
        self._unsent += size
        if not self._buffered:
            self._buffered = True
            self._awaitEmpty()
        if self._unsent > _HELD_BYTES:
            if self._streaming:
                self.pauseProducing()
            else:
                self.full = True

    def _sendNow(self, pieces: list[bytes]) -> list[bytes]:
        """
        Send what the socket takes.

        @param pieces: The bytes, in pieces.
        @return: What it did not take.
        """
        try:
            sent = self._socket.sendmsg(pieces[:_MAX_PIECES])
        except OSError:
            # It is full, or broken; the transport will find out and report it.
            return pieces
        for index, piece in enumerate(pieces):
            if sent < len(piece):
                return [piece[sent:], *pieces[index + 1 :]]
            sent -= len(piece)
        return []

    def _awaitEmpty(self) -> None:
        """
        Have the transport tell when it has sent everything: that is what it
        tells a pull producer, and once right away, when it is not true.
        """
        if self._streaming:
            self._registering = True
            self._transport.registerProducer(self, False)
            self._registering = False

    def _register(self, streaming: bool) -> None:
        """
        Begin or end to feed a pull producer.
        """
        self._streaming = streaming
        if self._buffered:
            # The transport will tell anyway.
            return
        if streaming:
            self._transport.unregisterProducer()
        else:
            self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        The transport has sent everything.
        """
        if self._registering:
            return
        self._buffered = False
        self._unsent = 0
        if self._streaming:
            self._transport.unregisterProducer()
            if not self.full:
                return
        super().resumeProducing()


def outletFor(
    transport: Any, reactor: IReactorTime, drained: Callable[[], object]
) -> Outlet:
    """
    Make the outlet that fits a transport: straight to the socket for Twisted's
    own TCP and Unix transports, since nothing stands between those and the
    socket; the usual way for all others, such as TLS or wrapped ones.

    @param transport: Where to write to.
    @param reactor: Tells the time.
    @param drained: Called when the transport is no longer full.
    @return: An outlet.
    """
    # Twisted's Unix transports call themselves TCP transports, too.
    if ITCPTransport.providedBy(transport) and hasattr(transport.getHost(), "port"):
        # What is written is written in one piece: there is nothing to wait for.
        transport.setTcpNoDelay(True)
        # A host that is gone without a word would count as a connection.
        transport.setTcpKeepAlive(True)
    isPlain = isinstance(transport, Connection) and not transport.TLS
    if isPlain and hasattr(socket.socket, "sendmsg"):
        return SocketOutlet(transport, reactor, drained)
    return Outlet(transport, reactor, drained)
