# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The request body on its way to a protocol of the application's.
"""

from __future__ import annotations

from typing import BinaryIO

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

#: How much of a body that is here already is read at a time, in bytes.
_PIECE = 65536


@implementer(IPushProducer)
class BodyTransport:
    """
    What a protocol that takes a request body has for its transport.

    @ivar disconnecting: Whether the protocol wants nothing more.
    @ivar closed: Whether it has been told of the end.
    @ivar _protocol: The protocol.
    @ivar _source: Where the body comes from.
    """

    disconnecting = False
    closed = False

    def __init__(self, protocol: IProtocol, source: IPushProducer) -> None:
        """
        @param protocol: Takes the body.
        @param source: Is paused and resumed, for the body to come or not.
        """
        self._protocol = protocol
        self._source = source

    def connect(self) -> None:
        """
        Let the protocol know its transport.
        """
        self._protocol.makeConnection(self)  # type: ignore[arg-type]

    def receive(self, data: bytes) -> None:
        """
        Give a piece of the body to the protocol, unless that wants no more.

        @param data: The piece; after the end it is thrown away.
        """
        if not (self.disconnecting or self.closed):
            self._protocol.dataReceived(data)

    def done(self) -> None:
        """
        Tell the protocol that the body is complete.
        """
        # It costs 100 ms and some megabytes, to all who never deliver a body.
        from twisted.web.client import ResponseDone

        self.lost(Failure(ResponseDone("the request body is complete")))

    def lost(self, reason: Failure) -> None:
        """
        Tell the protocol that nothing more will come, if it does not know.

        @param reason: Why.
        """
        if not self.closed:
            self.closed = True
            protocol = self._protocol
            # The protocol knows this, and the source may: nothing is to wait
            # for the garbage collector.
            del self._protocol, self._source
            protocol.connectionLost(reason)

    # What the protocol wants

    def pauseProducing(self) -> None:
        """
        Keep the rest of the body waiting.
        """
        if not self.closed:
            self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """
        Take the body again.
        """
        if not self.closed:
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """
        Want nothing more of the body: the rest is thrown away as it arrives.
        The request can still be answered.
        """
        self.disconnecting = True
        self.resumeProducing()

    def loseConnection(self) -> None:
        """
        The same.
        """
        self.stopProducing()


@implementer(IPushProducer)
class FileSource:
    """
    A body that is here already, as a source of a L{BodyTransport}.

    @ivar _file: The body.
    @ivar _paused: Whether nothing of it may be delivered.
    @ivar _delivering: Whether that is being done.
    """

    def __init__(self, file: BinaryIO, protocol: IProtocol) -> None:
        """
        @param file: The body, which is read from its start.
        @param protocol: Takes it.
        """
        self._file = file
        self._paused = True
        self._delivering = False
        self.transport = BodyTransport(protocol, self)

    def start(self) -> None:
        """
        Deliver all of it, or all that the protocol wants for now.
        """
        self._file.seek(0)
        # The protocol may pause it at once.
        self._paused = False
        self.transport.connect()
        if not self._paused:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """
        Deliver no more.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Deliver until it is paused.
        """
        self._paused = False
        if self._delivering:
            return
        self._delivering = True
        try:
            self._deliver()
        finally:
            self._delivering = False

    def _deliver(self) -> None:
        """
        Deliver pieces until all is done, or somebody has had enough.
        """
        transport = self.transport
        while not (self._paused or transport.closed):
            data = b"" if transport.disconnecting else self._file.read(_PIECE)
            if not data:
                transport.done()
                return
            transport.receive(data)

    def stopProducing(self) -> None:
        """
        Do nothing: it is the transport that is stopped.
        """
