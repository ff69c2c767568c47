# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
FastCGI applications for tests of clients, in memory and without a mind of
their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from tests import wire
from tests.wire import Record
from twisted_fastcgi import FastCGIAgent

#: The URI that requests are for if nothing else is said.
URI = b"http://www.example.com/page"


class Wire(StringTransport):
    """
    A transport that tells its protocol a moment later when it is closed.

    @ivar aborted: Whether it was closed at once.
    @ivar writes: How often something was written.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.aborted = False
        self.writes = 0
        self._clock = clock
        self._lost: list[Callable[[Failure], object]] = []

    def connect(self, protocol: Any) -> None:
        """
        Connect a protocol.
        """
        self._lost = [protocol.connectionLost]
        protocol.makeConnection(self)

    def writeSequence(self, data: Any) -> None:
        """
        Count it.
        """
        self.writes += 1
        super().writeSequence(data)

    def loseConnection(self) -> None:
        """
        Tell so later.
        """
        super().loseConnection()
        self._clock.callLater(0, self.lose)

    def abortConnection(self) -> None:
        """
        Note that nothing more needs to be sent.
        """
        self.aborted = True
        super().abortConnection()

    def lose(self, reason: Exception | None = None) -> None:
        """
        Tell the protocol now, once.
        """
        told, self._lost = self._lost, []
        for tell in told:
            tell(Failure(reason or ConnectionDone()))

    @property
    def open(self) -> bool:
        """
        Whether the connection is there.
        """
        return bool(self._lost) and not self.disconnecting


class Peer:
    """
    The application's side of one connection.

    @ivar transport: What the client has for a transport.
    """

    def __init__(self, clock: Clock, protocol: Any) -> None:
        self.transport = Wire(clock)
        self.transport.connect(protocol)
        self._protocol = protocol
        self.requestId = 0

    @property
    def open(self) -> bool:
        """
        Whether the client has left the connection open.
        """
        return self.transport.open

    def take(self) -> list[Record]:
        """
        Take the records that have come since the last time.
        """
        found = wire.records(self.transport.value())
        self.transport.clear()
        for each in found:
            self.requestId = each.requestId or self.requestId
        return found

    def params(self) -> dict[bytes, bytes]:
        """
        Take a whole request without a body.

        @return: Its variables.
        """
        begin, *rest, params, stdin = self.take()
        assert (begin.type, stdin[::2]) == (wire.BEGIN_REQUEST, (wire.STDIN, b""))
        assert params[::2] == (wire.PARAMS, b"")
        return dict(wire.readPairs(b"".join(each.content for each in rest)))

    def body(self) -> bytes:
        """
        Take what has come of a body.
        """
        return b"".join(each.content for each in self.take() if each.type == wire.STDIN)

    def send(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self._protocol.dataReceived(data)

    def stdout(self, content: bytes) -> None:
        """
        Send a piece of a response.
        """
        self.take()
        self.send(wire.stream(wire.STDOUT, self.requestId, content, end=False))

    def end(self, appStatus: int = 0, protocolStatus: int = 0) -> None:
        """
        Send END_REQUEST.
        """
        self.take()
        self.send(ending(self.requestId, appStatus, protocolStatus))

    def answer(self, response: bytes = b"Content-Type: text/plain\n\n") -> None:
        """
        Send a whole response, at once.
        """
        self.take()
        self.send(
            wire.stream(wire.STDOUT, self.requestId, response) + ending(self.requestId)
        )

    def lose(self, reason: Exception | None = None) -> None:
        """
        Close the connection.
        """
        self.transport.lose(reason)


def ending(requestId: int = 1, appStatus: int = 0, protocolStatus: int = 0) -> bytes:
    """
    Build an END_REQUEST record.
    """
    content = appStatus.to_bytes(4, "big") + bytes((protocolStatus, 0, 0, 0))
    return wire.record(wire.END_REQUEST, requestId, content)


@implementer(IStreamClientEndpoint)
class Application:
    """
    An application to connect to.

    @ivar clock: Tells the time.
    @ivar peers: The connections that were made, in order.
    @ivar error: Why no connection can be made.
    @ivar slow: Whether connections are made only when told to be.
    @ivar attempts: The connections that are to be made then.
    @ivar cancelled: How many of those were given up.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.peers: list[Peer] = []
        self.error: Exception | None = None
        self.slow = False
        self.attempts: list[tuple[Deferred[Any], IProtocolFactory]] = []
        self.cancelled = 0

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """
        Connect, or do not.
        """
        if self.error is not None:
            return fail(self.error)
        if not self.slow:
            return succeed(self.accept(factory))
        attempt: Deferred[Any] = Deferred(self._cancel)
        self.attempts.append((attempt, factory))
        return attempt

    def _cancel(self, attempt: Deferred[Any]) -> None:
        """
        Note that a connection is not wanted any more.
        """
        self.cancelled += 1

    def accept(self, factory: IProtocolFactory) -> Any:
        """
        Make a connection.
        """
        protocol = factory.buildProtocol(None)
        if protocol is not None:
            self.peers.append(Peer(self.clock, protocol))
        return protocol

    def connected(self) -> None:
        """
        Make the first connection that was asked for.
        """
        attempt, factory = self.attempts.pop(0)
        attempt.callback(self.accept(factory))

    def agent(self, **options: Any) -> FastCGIAgent:
        """
        Make an agent for the application.
        """
        return FastCGIAgent(self.clock, self, **options)

    @property
    def peer(self) -> Peer:
        """
        The one connection that there is.
        """
        (peer,) = self.peers
        return peer


@implementer(IBodyProducer)
class Producer:
    """
    Produces what it is told to.

    @ivar log: What it was told by its consumer.
    @ivar finished: To be fired when all is produced.
    """

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.log: list[str] = []
        self.finished: Deferred[None] = Deferred()
        self.consumer: Any = None

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """
        Remember the consumer.
        """
        self.log.append("start")
        self.consumer = consumer
        return self.finished

    def pauseProducing(self) -> None:
        """
        Note that.
        """
        self.log.append("pause")

    def resumeProducing(self) -> None:
        """
        Note that.
        """
        self.log.append("resume")

    def stopProducing(self) -> None:
        """
        Note that.
        """
        self.log.append("stop")


class Whole(Producer):
    """
    Produces some bytes at once.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self._content = content

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """
        Produce them.
        """
        consumer.write(self._content)
        return succeed(None)


@implementer(IStreamClientEndpoint)
class IOSimEndpoint:
    """
    A server to connect to, in memory.

    @ivar clock: Tells the time.
    @ivar pumps: What moves the bytes of each connection.
    """

    def __init__(self, server: ServerFactory) -> None:
        self.clock = Clock()
        self.pumps: list[IOPump] = []
        self._server = server

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """
        Connect.
        """
        client = factory.buildProtocol(None)
        server = self._server.buildProtocol(None)
        self.pumps.append(
            connect(
                server,
                FakeTransport(server, isServer=True),
                client,
                FakeTransport(client, isServer=False),
            )
        )
        return succeed(client)

    def pump(self) -> None:
        """
        Move all bytes that there are.
        """
        while any([pump.pump() for pump in self.pumps]):
            pass
