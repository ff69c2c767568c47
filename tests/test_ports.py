# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.ports}.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sockets import (
    GreeterFactory,
    MemoryReactor,
    SocketMixin,
    StubSocket,
    logged,
    lowestFree,
)
from twisted_fastcgi.ports import ACCEPTS_PER_TURN, BACK_OFF, BACKLOG


class AddressTests(SocketMixin, SynchronousTestCase):
    """
    The family comes from the socket.
    """

    def test_ipv4(self) -> None:
        """
        C{AF_INET}.
        """
        skt = self.listener()
        port = self.listen(MemoryReactor(), self.pass_(skt))
        self.assertEqual(port.getHost(), IPv4Address("TCP", *skt.getsockname()))

    def test_ipv6(self) -> None:
        """
        C{AF_INET6}.
        """
        skt = self.listener(socket.AF_INET6, ("::1", 0))
        port = self.listen(MemoryReactor(), self.pass_(skt))
        self.assertEqual(port.getHost(), IPv6Address("TCP", *skt.getsockname()))

    def test_unix(self) -> None:
        """
        C{AF_UNIX}.
        """
        path = self.mktemp()
        port = self.listen(
            MemoryReactor(), self.pass_(self.listener(socket.AF_UNIX, path))
        )
        self.assertEqual(port.getHost(), UNIXAddress(path.encode()))


class AcceptTests(SocketMixin, SynchronousTestCase):
    """
    Accepting, turn by turn.
    """

    def portOn(self, *answers: Any) -> tuple[Any, MemoryReactor, StubSocket]:
        """
        Make a port whose socket answers as told.
        """
        memory = MemoryReactor()
        port = self.listen(memory, self.pass_(self.listener()))
        real, stub = port._socket, StubSocket(*answers)
        self.addCleanup(real.close)
        port._socket = stub
        return port, memory, stub

    def test_drainsBacklog(self) -> None:
        """
        All waiting connections are accepted in one turn, without blocking.
        """
        skt = self.listener()
        clients = [self.client(skt) for _ in range(3)]
        memory, factory = MemoryReactor(), GreeterFactory()
        port = self.listen(memory, self.pass_(skt), factory)
        port.doRead()
        self.assertEqual(len(memory.adoptedStreamConnections), len(clients))
        _, family, adopter = memory.adoptedStreamConnections[0]
        self.assertEqual((family, adopter), (socket.AF_INET, factory))
        self.assertEqual(port.sessionno, len(clients))

    def test_waiting(self) -> None:
        """
        Who waits is accepted, but not for ever, and nobody once the port is
        closed.
        """
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        answer = (one, ("127.0.0.1", 1))
        for waiting, expected in ((3, 3), (BACKLOG + 1, BACKLOG)):
            port, *_ = self.portOn(*[answer] * waiting, BlockingIOError())
            adopted: list[None] = []
            port._adopt = lambda connection, peer, to=adopted: to.append(None)
            port.acceptWaiting()
            self.assertEqual(len(adopted), expected)
        port._listening = False
        port.acceptWaiting()
        self.assertEqual(len(adopted), BACKLOG)

    def test_turn(self) -> None:
        """
        A turn ends after a number of connections, so that other work is done.
        """
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        answers = [(one, ("127.0.0.1", 1))] * (ACCEPTS_PER_TURN + 1)
        port, memory, _ = self.portOn(*answers)
        adopted: list[None] = []
        port._adopt = lambda connection, peer: adopted.append(None)
        port.doRead()
        self.assertEqual(len(adopted), ACCEPTS_PER_TURN)
        self.assertIn(port, memory.readers)

    def test_connectionFailed(self) -> None:
        """
        A connection that failed while it waited is passed over.
        """
        for number in (errno.ECONNABORTED, errno.EPERM, errno.EPROTO):
            port, memory, stub = self.portOn(OSError(number, "gone"), BlockingIOError())
            port.doRead()
            self.assertEqual((stub.accepts, memory.calls), (2, []))

    def test_backOff(self) -> None:
        """
        When the system refuses, the port rests for a while instead of spinning,
        and says so.
        """
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EINVAL):
            observer = self.observe()
            port, memory, stub = self.portOn(OSError(number, "no more of it"))
            port.doRead()
            self.assertEqual(stub.accepts, 1)
            self.assertNotIn(port, memory.readers)
            self.assertIn("no more of it; next try in", logged(observer)[0])
            memory.advance(BACK_OFF)
            self.assertIn(port, memory.readers)

    def test_outOfDescriptors(self) -> None:
        """
        A process that has not the two free descriptors which it takes to adopt
        a connection rests; the connection that waits is served when there are
        some again.
        """
        for free in (0, 1):
            skt = self.listener()
            memory = MemoryReactor()
            port = self.listen(memory, self.pass_(skt))
            self.client(skt)
            with freeDescriptors(free):
                port.doRead()
            self.assertEqual(memory.adoptedStreamConnections, [])
            memory.advance(BACK_OFF)
            self.assertIn(port, memory.readers)
            port.doRead()
            self.assertEqual(len(memory.adoptedStreamConnections), 1)

    def test_stopWhileResting(self) -> None:
        """
        A port that is stopped while it rests stays stopped.
        """
        port, memory, _ = self.portOn(OSError(errno.EMFILE, "no more of it"))
        port.doRead()
        port.stopListening()
        self.assertEqual(memory.calls, [])
        self.assertEqual(memory.readers, set())

    def test_stopInTurn(self) -> None:
        """
        A port that is stopped by the first connection of a turn accepts no
        second one, and leaves it in the backlog.
        """
        skt = self.listener()
        self.client(skt), self.client(skt)
        memory = MemoryReactor()
        port = self.listen(memory, self.pass_(skt))
        memory.adopt = port.stopListening
        port.doRead()
        self.assertEqual(len(memory.adoptedStreamConnections), 1)
        skt.setblocking(False)
        skt.accept()[0].close()

    def test_adoptFails(self) -> None:
        """
        A connection that cannot be adopted is closed, and the next one is
        accepted: one that its peer has left already makes a line in the log,
        one whose protocol cannot be built a traceback.
        """
        for raised, text in [
            (OSError(errno.ENOTCONN, "gone"), "lost a connection at once"),
            (ZeroDivisionError(), "no protocol for a connection"),
        ]:
            observer = self.observe()
            skt = self.listener()
            clients = [self.client(skt) for _ in range(2)]
            memory = MemoryReactor()
            port = self.listen(memory, self.pass_(skt))
            memory.adopt = raiser(raised)
            port.doRead()
            self.assertEqual(len(memory.adoptedStreamConnections), 2)
            self.assertIn(text, logged(observer)[0])
            for connection in clients:
                self.assertEqual(connection.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_connectionLost(self) -> None:
        """
        A port that the reactor disconnects says that it serves no more, once.
        """
        observer = self.observe()
        factory = GreeterFactory()
        memory = MemoryReactor()
        memory.running = True
        port = self.listen(memory, self.pass_(self.listener()), factory)
        self.assertTrue(factory.running)
        port.connectionLost(Failure(ConnectionLost()))
        port.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(factory.running)
        [line] = logged(observer)
        self.assertIn("no more connections on ", line)

    def test_reactorEnds(self) -> None:
        """
        At the end of the reactor there is nothing to say.
        """
        observer = self.observe()
        factory, memory = GreeterFactory(), MemoryReactor()
        port = self.listen(memory, self.pass_(self.listener()), factory)
        memory.running = False
        port.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(factory.running)
        self.assertEqual(logged(observer), [])


class TakenOverTests(SocketMixin, SynchronousTestCase):
    """
    A port knows connections that another process has accepted.
    """

    def test_hasAccepted(self) -> None:
        """
        They have its own address.
        """
        listeners = [
            self.listener(),
            self.listener(),
            self.listener(socket.AF_UNIX, self.mktemp()),
            self.listener(socket.AF_UNIX, self.mktemp()),
        ]
        ports = [self.listen(MemoryReactor(), self.pass_(skt)) for skt in listeners]
        for index, skt in enumerate(listeners):
            self.client(skt)
            connection, _ = skt.accept()
            self.addCleanup(connection.close)
            found = [port.hasAccepted(connection) for port in ports]
            self.assertEqual(found, [index == each for each in range(4)])

    def test_TCP(self) -> None:
        """
        One by TCP is adopted; unless it is gone already.
        """
        skt, memory = self.listener(), MemoryReactor()
        port = self.listen(memory, self.pass_(skt))
        self.client(skt)
        connection, _ = skt.accept()
        port.takeOver(connection)
        self.assertEqual(len(memory.adoptedStreamConnections), 1)
        self.assertEqual(connection.fileno(), -1)
        lost = socket.socket()
        port.takeOver(lost)
        self.assertEqual(len(memory.adoptedStreamConnections), 1)
        self.assertEqual(lost.fileno(), -1)


class UnixTransportTests(SocketMixin, SynchronousTestCase):
    """
    Connections by Unix sockets.
    """

    def connected(self) -> tuple[Any, GreeterFactory, socket.socket]:
        """
        Make a port and a connection that it has accepted.
        """
        skt = self.listener(socket.AF_UNIX, self.mktemp())
        factory = GreeterFactory()
        self.addCleanup(self.hangUp, factory)
        port = self.listen(MemoryReactor(), self.pass_(skt), factory)
        client = self.client(skt)
        port.doRead()
        return port, factory, client

    def test_bytes(self) -> None:
        """
        Bytes go both ways.
        """
        _, factory, client = self.connected()
        received: list[bytes] = []
        [greeter] = factory.greeters
        greeter.dataReceived = received.append  # type: ignore[method-assign]
        transport: Any = greeter.transport
        transport.doWrite()
        self.assertEqual(client.recv(9), b"hello")
        client.sendall(b"hi")
        transport.doRead()
        self.assertEqual(received, [b"hi"])

    def test_takenOver(self) -> None:
        """
        A connection that another process has accepted is served, and what waits in
        it is read when there is time.
        """
        port, factory, _ = self.connected()
        received: list[bytes] = []
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        theirs.sendall(b"hi")
        port.takeOver(ours)
        _, greeter = factory.greeters
        greeter.dataReceived = received.append  # type: ignore[method-assign]
        transport: Any = greeter.transport
        self.assertFalse(transport.socket.getblocking())
        transport.doRead()
        self.assertEqual(received, [b"hi"])
        self.assertIn("Greeter #2 on ", repr(transport))

    def test_ends(self) -> None:
        """
        It tells an end from a connection that was reset, because the client
        has not read everything.
        """
        for sent, reason in ((False, CONNECTION_DONE), (True, CONNECTION_LOST)):
            _, factory, client = self.connected()
            transport: Any = factory.greeters[0].transport
            if sent:
                transport.doWrite()
            client.close()
            self.assertIs(transport.doRead(), reason)

    def test_interface(self) -> None:
        """
        It is a transport of streams that reads as soon as it is there.
        """
        port, factory, _ = self.connected()
        transport: Any = factory.greeters[0].transport
        verifyObject(ITCPTransport, transport)
        self.assertEqual(transport.getHost(), port.getHost())
        self.assertEqual(transport.getPeer(), UNIXAddress(None))
        self.assertEqual(factory.built, [port.getHost()])
        self.assertIn("Greeter #1 on ", repr(transport))
        self.assertIn(transport, port._reactor.getReaders())
        self.assertFalse(transport.socket.getblocking())

    def test_endAfterReading(self) -> None:
        """
        It can end right after its protocol has got what was read; in messages
        it is still itself.
        """
        _, factory, client = self.connected()
        [greeter] = factory.greeters
        transport: Any = greeter.transport
        reading: list[bool] = []

        def end(data: bytes) -> None:
            reading.append(transport.isReading)
            transport.endAfterReading()

        greeter.dataReceived = end  # type: ignore[method-assign]
        client.sendall(b"hi")
        self.assertIs(transport.doRead(), CONNECTION_DONE)
        self.assertEqual(reading, [True])
        self.assertFalse(transport.isReading)
        transport.connectionLost(Failure(CONNECTION_DONE))
        self.assertIn("Greeter #1 on ", repr(transport))

    def accepted(self, greeter: type[Protocol], sent: bytes) -> tuple[Any, bytes]:
        """
        Accept a connection on which something has come already.

        @return: The server's end, and what it has sent so far.
        """
        skt = self.listener(socket.AF_UNIX, self.mktemp())
        factory = GreeterFactory()
        factory.buildProtocol = lambda addr: made  # type: ignore[method-assign]
        made: Any = greeter()
        port = self.listen(MemoryReactor(), self.pass_(skt), factory)
        client = self.client(skt)
        client.sendall(sent)
        port.doRead()
        client.setblocking(False)
        try:
            return made.transport, client.recv(99)
        except BlockingIOError:
            return made.transport, b""

    def test_readAtOnce(self) -> None:
        """
        What has come before a connection was accepted is read at once; and it
        may end the connection.
        """

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.getHandle().send(data)
                if data == b"bye":
                    transport.endAfterReading()

        transport, answer = self.accepted(Echo, b"hi")
        self.assertEqual(answer, b"hi")
        self.assertTrue(transport.connected)
        self.addCleanup(transport.connectionLost, Failure(CONNECTION_DONE))
        transport, answer = self.accepted(Echo, b"bye")
        self.assertEqual(answer, b"bye")
        self.assertFalse(transport.connected)

    def test_failsAtOnce(self) -> None:
        """
        A protocol that fails then loses its connection.
        """
        lost: list[Failure] = []

        class Failing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                lost.append(reason)

        transport, _ = self.accepted(Failing, b"hi")
        self.assertFalse(transport.connected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        [reason] = lost
        reason.trap(ConnectionLost)

    def test_unwanted(self) -> None:
        """
        Nothing is read for a protocol that wants nothing yet.
        """
        received: list[bytes] = []

        class Waiting(Protocol):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.pauseProducing()

            def dataReceived(self, data: bytes) -> None:
                received.append(data)

        transport, _ = self.accepted(Waiting, b"hi")
        self.addCleanup(transport.connectionLost, Failure(CONNECTION_DONE))
        self.assertEqual(received, [])
        transport.resumeProducing()
        self.assertTrue(transport.isWaiting)
        transport.doRead()
        self.assertEqual(received, [b"hi"])

    def test_TCPOnly(self) -> None:
        """
        What can only be said of TCP is not.
        """
        _, factory, _ = self.connected()
        transport: Any = factory.greeters[0].transport
        transport.setTcpNoDelay(False)
        transport.setTcpKeepAlive(True)
        self.assertTrue(transport.getTcpNoDelay())
        self.assertFalse(transport.getTcpKeepAlive())

    def test_noProtocol(self) -> None:
        """
        A connection for which there is no protocol is closed, and the next one
        is accepted: whether the factory makes none, or fails.
        """
        for build in (lambda addr: None, lambda addr: 1 // 0):
            skt = self.listener(socket.AF_UNIX, self.mktemp())
            factory = GreeterFactory()
            factory.buildProtocol = build  # type: ignore[method-assign]
            port = self.listen(MemoryReactor(), self.pass_(skt), factory)
            clients = [self.client(skt) for _ in range(2)]
            port.doRead()
            self.assertEqual([client.recv(1) for client in clients], [b"", b""])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


def raiser(error: Exception) -> Any:
    """
    Make a function that raises C{error}.
    """

    def raise_() -> None:
        raise error

    return raise_


@contextmanager
def freeDescriptors(count: int) -> Iterator[None]:
    """
    Let the process have no more descriptors than it has, but for a few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowestFree() + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
