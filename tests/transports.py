# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What stands around a server in its tests: transports, with a web server at
their other end that reads and writes when the test says so, and applications.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet import address, error, interfaces, task, tcp, unix
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import (
    LogEvent,
    Logger,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from tests import wire
from tests.tables import TableTestCase
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.server import FastCGIFactory

log = Logger()

#: More rounds than any test needs.
_ENDLESS = 100000


class ServerTransport(StringTransport):
    """
    A connection in memory that behaves as Twisted's own do: it is full when
    more than C{bufferSize} bytes are unsent, and then pauses its producer; it
    asks a pull producer for more when all is sent; it closes when all is sent
    and no producer is at work; and it delivers nothing while it is paused.

    @ivar protocol: The server's side.
    @ivar writes: What was written, one item for each call.
    @ivar unsent: How many bytes the web server has not read.
    @ivar stalled: Whether the web server reads nothing.
    @ivar lost: Why the connection is gone, once it is.
    @ivar writeDisconnecting: Whether the way to the web server is to be
        closed, or is.
    @ivar writeDisconnected: Whether the way to the web server is closed.
    @ivar aborting: Whether the connection is to end without any more ado.
    """

    protocol: Any
    bufferSize = 65536
    writeDisconnecting = False
    writeDisconnected = False
    aborting = False
    stalled = False
    lost: Failure | None = None

    def __init__(
        self, peerAddress: Any = None, *, stalled: bool = False, bufferSize: int = 65536
    ) -> None:
        super().__init__(peerAddress=peerAddress)
        self.stalled = stalled
        self.bufferSize = bufferSize
        self.writes: list[bytes] = []
        self.unsent = 0
        self._incoming: list[bytes] = []
        self._producerPaused = False
        self._writing = False

    def connect(self, protocol: Any) -> None:
        """
        Begin.

        @param protocol: What is to serve the web server.
        """
        self.protocol = protocol
        protocol.makeConnection(self)

    # What the server does

    def write(self, data: bytes) -> None:
        self.writeSequence([data])

    def writeSequence(self, data: Iterable[bytes]) -> None:
        written = b"".join(data)
        if self.connected and not self.writeDisconnected and written:
            self.writes.append(written)
            self.io.write(written)
            self.unsent += len(written)
            self._writing = True
            if self.producer is not None and self.streaming:
                self._maybePause(self.producer)

    def _maybePause(self, producer: Any) -> None:
        if self.unsent > self.bufferSize:
            self._producerPaused = True
            producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not self.connected:
            producer.stopProducing()
            return
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        self._writing = self._writing or self.disconnecting

    def loseConnection(self) -> None:
        if self.writeDisconnected:
            self.lose(error.ConnectionDone())
        self._writing = True
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self.writeDisconnecting = True
        self._writing = True

    def abortConnection(self) -> None:
        self.aborting = True

    # What the web server does

    def receive(self, *pieces: bytes) -> None:
        """
        Let the web server send something.

        @param pieces: The bytes, in the pieces in which they arrive.
        """
        self._incoming += pieces
        self.settle()

    def drain(self, size: int | None = None) -> None:
        """
        Let the web server read.

        @param size: How many bytes at the most; what there is if L{None}.
        """
        self.unsent -= self.unsent if size is None else min(size, self.unsent)
        if self._writing and not self.unsent and self.connected:
            self._writing = False
            self._allSent()

    def drainAll(self) -> None:
        """
        Let the web server read until nothing more comes.
        """
        while self._writing and self.connected:
            self.drain()

    def _allSent(self) -> None:
        producer: Any = self.producer
        if producer is not None and (not self.streaming or self._producerPaused):
            self._producerPaused = False
            producer.resumeProducing()
        elif self.disconnecting:
            self.lose(error.ConnectionDone())
        elif self.writeDisconnecting:
            self.writeDisconnected = True

    def settle(self) -> None:
        """
        Do what the reactor would do until there is nothing to be done: the web
        server reads, unless it is stalled, and what it sent is delivered.
        """
        for _ in range(_ENDLESS):
            if self.aborting:
                self.lose(error.ConnectionAborted())
            if self._writing and self.connected and not self.stalled:
                self.drain()
            elif self._incoming and self.reading:
                self.protocol.dataReceived(self._incoming.pop(0))
            else:
                return
        raise AssertionError("it never settles")

    def lose(self, reason: Exception) -> None:
        """
        End the connection.

        @param reason: Why.
        """
        if self.connected:
            self.connected = False
            self.disconnected = True
            self.lost = Failure(reason)
            producer: Any = self.producer
            if producer is not None:
                producer.stopProducing()
                self.producer = None
            self.protocol.connectionLost(self.lost)

    def close(self) -> None:
        """
        Let the web server close the connection.
        """
        self.lose(error.ConnectionDone())

    # What a test wants to know

    @property
    def reading(self) -> bool:
        """
        Whether what the web server sends is delivered.
        """
        return (
            self.connected
            and not self.disconnecting
            and not self.aborting
            and self.producerState == "producing"
        )

    @property
    def undelivered(self) -> int:
        """
        How many bytes wait for the server to read them.
        """
        return sum(map(len, self._incoming))

    def responses(self, *, unfinished: bool = False) -> list[wire.Response]:
        """
        Read what the server answered, see L{wire.responses}.
        """
        return wire.responses(self.value(), unfinished=unfinished)

    def response(self, *, unfinished: bool = False) -> wire.Response:
        """
        Read the one answer of the server, see L{wire.response}.
        """
        return wire.response(self.value(), unfinished=unfinished)

    def statuses(self) -> list[int]:
        """
        Tell the status of each answer.
        """
        return [answer.status for answer in self.responses()]


@implementer(interfaces.ITCPTransport)
class TCPServerTransport(ServerTransport):
    """
    A connection in memory that has the settings of TCP.

    @ivar noDelay: Whether small pieces are sent at once.
    """

    noDelay = False
    keepAlive = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.noDelay = enabled

    def getTcpNoDelay(self) -> bool:
        return self.noDelay

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keepAlive = enabled

    def getTcpKeepAlive(self) -> bool:
        raise AssertionError("nobody wants this")


class OneWayTransport(ServerTransport):
    """
    A connection in memory that can't be closed in one direction only.
    """

    loseWriteConnection = None  # type: ignore[assignment]


@implementer(interfaces.IReactorFDSet)
class SocketReactor(task.Clock):
    """
    A clock that also serves sockets, when it is told to.
    """

    def __init__(self) -> None:
        super().__init__()
        self._readers: list[Any] = []
        self._writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self._readers:
            self._readers.append(reader)

    def addWriter(self, writer: Any) -> None:
        if writer not in self._writers:
            self._writers.append(writer)

    def removeReader(self, reader: Any) -> None:
        if reader in self._readers:
            self._readers.remove(reader)

    def removeWriter(self, writer: Any) -> None:
        if writer in self._writers:
            self._writers.remove(writer)

    def removeAll(self) -> Sequence[Any]:
        raise AssertionError("nobody wants this")

    def getReaders(self) -> list[Any]:
        return list(self._readers)

    def getWriters(self) -> list[Any]:
        return list(self._writers)

    def turn(self) -> bool:
        """
        Do what can be done without waiting.

        @return: Whether there was anything.
        """
        self.advance(0)
        found = select.select(self._readers, self._writers, [], 0)
        for descriptor in found[1]:
            self._do(descriptor, descriptor.doWrite)
        for descriptor in found[0]:
            if descriptor in self._readers:
                self._do(descriptor, descriptor.doRead)
        return any(found)

    def _do(self, descriptor: Any, f: Callable[[], Any]) -> None:
        """
        Let a socket do what it can, and close it if it says so, or fails.
        """
        try:
            why = f()
        except Exception as failure:
            log.failure("a socket failed")
            why = failure
        if why:
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
            descriptor.connectionLost(Failure(why))


class SocketPeer:
    """
    A web server at the other end of a real socket.

    @ivar reactor: What serves the server's end.
    @ivar transport: The server's end.
    @ivar received: What has been read.
    @ivar closed: Whether the end of what the server sends has been read.
    """

    def __init__(
        self, reactor: SocketReactor, protocol: Protocol, *, overTCP: bool = False
    ) -> None:
        self.reactor = reactor
        self.received = b""
        self.closed = False
        mine, theirs = _tcpPair() if overTCP else socket.socketpair()
        mine.setblocking(False)
        theirs.setblocking(False)
        if not overTCP:
            # As little room as the system allows, so that it is full soon.
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self._socket = mine
        self.transport: Any
        if overTCP:
            client = mine.getsockname()
            self.transport = tcp.Server(theirs, protocol, client, None, 0, reactor)
        else:
            self.transport = unix.Server(theirs, protocol, "", None, 0, reactor)
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """
        Send something, and have it served without reading the answer.
        """
        while data:
            data = data[self._socket.send(data[:65536]) :]
            self.turn()

    def sendSome(self, data: bytes) -> None:
        """
        Send as much as the server and the system take, without reading.
        """
        while data:
            try:
                data = data[self._socket.send(data[:65536]) :]
            except OSError:
                return
            self.turn()

    def shrink(self) -> None:
        """
        Leave as little room as the system allows for what is sent to it.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        handle = self.transport.getHandle()
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def turn(self) -> None:
        """
        Let the server do what it can without waiting.
        """
        while self.reactor.turn():
            if not self.reactor.getReaders():
                return
            if not select.select(self.reactor.getReaders(), [], [], 0)[0]:
                return

    def read(self, size: int = 1 << 20) -> bytes:
        """
        Read what is there.
        """
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return b""
        self.closed = self.closed or not data
        self.received += data
        return data

    def readAll(self) -> bytes:
        """
        Read, and let the server send, until there is no more.

        @return: All that has ever been read.
        """
        while not self.closed:
            self.reactor.turn()
            # TCP may be a little late, even within one machine.
            waiting = 0.25 if self.reactor.getWriters() else 0.005
            if not self.read() and not any(
                select.select([self._socket], self.reactor.getWriters(), [], waiting)
            ):
                break
        return self.received

    def close(self) -> None:
        """
        Close the connection and let the server see it.
        """
        self._socket.close()
        for _ in range(10):
            self.reactor.turn()


def _tcpPair() -> tuple[socket.socket, socket.socket]:
    """
    Make two sockets that are connected by TCP.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        mine = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return mine, theirs


class Application(Resource):
    """
    A resource that notes its requests.

    @ivar requests: The requests, in their order.
    @ivar seen: What was in each: method, URI, headers, body, args.
    """

    isLeaf = True

    def __init__(self, answer: Callable[[Any], Any] | bytes = b"hello") -> None:
        """
        @param answer: What C{render} answers, or what it calls to find out.
        """
        super().__init__()
        self.answer = answer
        self.requests: list[Any] = []
        self.seen: list[tuple[Any, ...]] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        headers = {
            name: list(values)
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        body = request.content.read()
        self.seen.append((request.method, request.uri, headers, body, request.args))
        return self.answer(request) if callable(self.answer) else self.answer

    @property
    def request(self) -> Any:
        """
        The only request.
        """
        (request,) = self.requests
        return request


def later(request: Any) -> Any:
    """
    Answer later: an answer for an L{Application}.
    """
    return NOT_DONE_YET


class PushProducer:
    """
    A push producer that notes what it is told.

    @ivar calls: The names of the methods that were called.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class PullProducer:
    """
    A pull producer that writes pieces and finishes.

    @ivar stopped: Whether it was stopped.
    """

    def __init__(self, request: Any, pieces: Iterable[bytes]) -> None:
        self.stopped = False
        self._request = request
        self._pieces = iter(pieces)

    def start(self) -> None:
        """
        Register with the request.
        """
        self._request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._request.write(piece)

    def stopProducing(self) -> None:
        self.stopped = True


class PausingRequest(Request):
    """
    A request that takes one piece of its body, and then waits until it is told
    to take the next.

    @ivar pieces: What has come of the body.
    """

    def __init__(self, channel: Any, queued: bool) -> None:
        super().__init__(channel, queued)
        self.pieces: list[bytes] = []

    def handleContentChunk(self, data: bytes) -> None:
        self.pieces.append(data)
        self.transport.pauseProducing()
        super().handleContentChunk(data)


class ServerTestCase(TableTestCase):
    """
    A test case with a server.  Whatever happens, it must not leave a
    connection or a delayed call behind.

    @ivar clock: The time.
    @ivar factory: The server, after L{serve}.
    @ivar events: What was logged.
    """

    factory: FastCGIFactory

    def setUp(self) -> None:
        self.clock = task.Clock()
        self.events: list[LogEvent] = []
        self.transports: list[ServerTransport] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def tearDown(self) -> None:
        for transport in self.transports:
            transport.close()
        if self.transports:
            self.assertEqual(self.factory.connectionCount, 0)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def serve(
        self,
        application: Any = b"hello",
        limits: Limits | None = None,
        **options: Any,
    ) -> Any:
        """
        Make the server.

        @param application: A resource, a site, or an L{Application}'s answer.
        @param options: More arguments of L{FastCGIFactory}.
        @return: The resource or site.
        """
        if isinstance(application, bytes) or callable(application):
            application = Application(application)
        self.factory = FastCGIFactory(
            application, limits=limits, reactor=self.clock, **options
        )
        return application

    def connect(self, transport: ServerTransport | None = None) -> ServerTransport:
        """
        Connect to the server.
        """
        transport = transport or ServerTransport()
        self.transports.append(transport)
        transport.connect(self.factory.buildProtocol(transport.getPeer()))
        return transport

    def exchange(self, *pieces: bytes) -> ServerTransport:
        """
        Connect, and send something.
        """
        transport = self.connect()
        transport.receive(*pieces)
        return transport

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        while seconds > 0:
            self.clock.advance(min(1.0, seconds))
            seconds -= 1.0
            for transport in self.transports:
                transport.settle()

    def assertServes(self, transport: ServerTransport | None = None) -> None:
        """
        See that a request is served as if nothing had happened.

        @param transport: The connection; a new one if it is L{None}.
        """
        if transport is None:
            transport = self.connect()
        before = len(transport.value())
        transport.receive(wire.request(wire.variables(b"/next"), requestId=7))
        answer = wire.response(transport.value()[before:])
        self.assertEqual((answer.requestId, answer.status), (7, 200))
        self.assertEqual(answer.protocolStatus, wire.REQUEST_COMPLETE)

    def assertClosed(self, transport: ServerTransport) -> None:
        """
        See that the server has closed the connection in an ordinary way.
        """
        self.assertFalse(transport.connected, "the connection is still open")
        self.assertIsInstance(transport.lost, Failure)
        transport.lost.trap(error.ConnectionDone)  # type: ignore[union-attr]

    def logged(self, level: Any = LogLevel.warn) -> list[str]:
        """
        Tell what was logged of that level and above.
        """
        return [
            formatEvent(event)
            for event in self.events
            if event.get("log_level") is not None and event["log_level"] >= level
        ]


#: Where a web server on the same machine is.
UNIX_PEER = address.UNIXAddress(None)
