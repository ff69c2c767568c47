# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.endpoints}.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import AlreadyListened, ConnectionLost
from twisted.internet.interfaces import (
    IListeningPort,
    IReadDescriptor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.testing import (
    AccumulatingProtocol,
    EventLoggingObserver,
    MemoryReactorClock,
)
from twisted.logger import globalLogPublisher
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from twisted_fastcgi.endpoints import (
    ACCEPTS_PER_TURN,
    BACK_OFF,
    WEB_SERVER_ADDRS,
    InheritedEndpoint,
    InheritedEndpointParser,
    isListeningSocket,
)


class Greeter(Protocol):
    """
    Says hello, and tells when it is gone.
    """

    factory: GreeterFactory

    def connectionMade(self) -> None:
        """
        Say hello.
        """
        assert self.transport is not None
        self.transport.write(b"hello")
        self.factory.connected(self)


class GreeterFactory(ServerFactory):
    """
    Counts what is built.

    @ivar built: The addresses that protocols were built for.
    @ivar running: Whether the factory is started.
    """

    protocol = Greeter
    noisy = False

    def __init__(self) -> None:
        self.built: list[Any] = []
        self.running = False
        self.first: Deferred[Greeter] = Deferred()

    def startFactory(self) -> None:
        """
        Note the start.
        """
        self.running = True

    def stopFactory(self) -> None:
        """
        Note the stop.
        """
        self.running = False

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """
        Note the address.
        """
        self.built.append(addr)
        return super().buildProtocol(addr)

    def connected(self, protocol: Greeter) -> None:
        """
        Tell who waits for the first connection.
        """
        if not self.first.called:
            self.first.callback(protocol)


class MemoryReactor(MemoryReactorClock):
    """
    A reactor that takes the connections over by C{adopt}.
    """

    adopt: Any = None

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        """
        Take over a connection.
        """
        super().adoptStreamConnection(fd, family, factory)
        if self.adopt is not None:
            self.adopt()


class StubSocket:
    """
    A listening socket whose C{accept} answers as it was told.
    """

    family = socket.AF_INET

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.accepts = 0

    def getsockname(self) -> tuple[str, int]:
        """
        Tell an address.
        """
        return ("127.0.0.1", 9000)

    def fileno(self) -> int:
        """
        Tell the number of a descriptor that is open.
        """
        return 2

    def close(self) -> None:
        """
        Do nothing.
        """

    def accept(self) -> Any:
        """
        Give the next answer.
        """
        self.accepts += 1
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class SocketMixin:
    """
    Makes listening sockets, and clients of them.
    """

    def listener(
        self: Any, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)
    ) -> socket.socket:
        """
        Make a listening socket that the test owns, as a web server would.
        """
        skt = socket.socket(family)
        self.addCleanup(skt.close)
        skt.bind(address)
        skt.listen(7)
        return skt

    def pass_(self: Any, skt: socket.socket) -> int:
        """
        Make a file descriptor for a socket, as a child process inherits it.
        """
        fd = os.dup(skt.fileno())
        self.addCleanup(os.close, fd)
        return fd

    def client(self: Any, skt: socket.socket) -> socket.socket:
        """
        Connect to a socket, and have the connection wait in its backlog.
        """
        connection = socket.socket(skt.family)
        self.addCleanup(connection.close)
        connection.connect(skt.getsockname())
        return connection

    def listen(
        self: Any, with_: Any, fd: int, factory: ServerFactory | None = None
    ) -> Any:
        """
        Listen on a file descriptor, until the end of the test.
        """
        endpoint = InheritedEndpoint(with_, fd)
        port = self.successResultOf(endpoint.listen(factory or GreeterFactory()))
        self.addCleanup(port.stopListening)
        return port

    def finish(self: Any, endpoint: InheritedEndpoint) -> None:
        """
        Have an endpoint give up its socket.
        """
        self.successResultOf(endpoint.listen(GreeterFactory())).stopListening()

    def observe(self: Any) -> EventLoggingObserver:
        """
        Watch the log.
        """
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return observer


def logged(observer: EventLoggingObserver) -> list[str]:
    """
    Format what C{twisted_fastcgi.endpoints} has logged.
    """
    return [
        event["log_format"].format(**event)
        for event in observer
        if event.get("log_namespace", "").startswith("twisted_fastcgi.endpoints")
    ]


class DetectionTests(SocketMixin, SynchronousTestCase):
    """
    Tests for L{isListeningSocket}.
    """

    def test_listening(self) -> None:
        """
        A listening socket is one, whatever its family.
        """
        for family, address in [
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_UNIX, self.mktemp()),
        ]:
            skt = self.listener(family, address)
            self.assertTrue(isListeningSocket(skt.fileno()), family)

    def test_others(self) -> None:
        """
        A connected socket, a pipe, a file and a closed descriptor are none, and
        the question leaves no descriptor open.
        """
        one, other = socket.socketpair()
        read, write = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        for fd in (read, write, null):
            self.addCleanup(os.close, fd)
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        free = lowestFree()
        for fd in (one.fileno(), read, null, free, -1):
            self.assertFalse(isListeningSocket(fd), fd)
        self.assertEqual(lowestFree(), free)


def lowestFree() -> int:
    """
    Tell the number that the next descriptor gets.
    """
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


class TakeOverTests(SocketMixin, SynchronousTestCase):
    """
    What L{InheritedEndpoint} does to the descriptor when it is made.
    """

    def test_interfaces(self) -> None:
        """
        The endpoint and its port are what they claim to be.
        """
        endpoint = InheritedEndpoint(MemoryReactor(), self.pass_(self.listener()))
        verifyObject(IStreamServerEndpoint, endpoint)
        port = self.successResultOf(endpoint.listen(GreeterFactory()))
        self.addCleanup(port.stopListening)
        verifyObject(IListeningPort, port)
        verifyObject(IReadDescriptor, port)
        self.assertEqual(port.logPrefix(), "FastCGI port")

    def test_null(self) -> None:
        """
        The descriptor is on /dev/null afterwards, so that no other socket gets
        its number, and the socket is closed on exec.
        """
        fd = self.pass_(self.listener())
        port = self.listen(MemoryReactor(), fd)
        self.assertTrue(os.path.samestat(os.fstat(fd), os.stat(os.devnull)))
        self.assertTrue(isListeningSocket(port.fileno()))
        self.assertFalse(os.get_inheritable(port.fileno()))

    def test_name(self) -> None:
        """
        The endpoint calls itself by its string.
        """
        fd = self.pass_(self.listener())
        endpoint = InheritedEndpoint(MemoryReactor(), fd)
        self.finish(endpoint)
        self.assertEqual(str(endpoint), f"fcgi:fd={fd}")

    def test_once(self) -> None:
        """
        An endpoint listens once: the socket is given up with the port.
        """
        endpoint = InheritedEndpoint(MemoryReactor(), self.pass_(self.listener()))
        port = self.successResultOf(endpoint.listen(GreeterFactory()))
        port.stopListening()
        self.failureResultOf(endpoint.listen(GreeterFactory()), AlreadyListened)

    def test_noSocket(self) -> None:
        """
        A descriptor that is no socket is refused, in plain words, and left.
        """
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        free = lowestFree()
        for fd in (read, free):
            error = self.assertRaises(ValueError, InheritedEndpoint, None, fd)
            self.assertIn(f"file descriptor {fd} is no socket", str(error))
        self.assertTrue(stat.S_ISFIFO(os.fstat(read).st_mode))
        self.assertEqual(lowestFree(), free)

    def test_notListening(self) -> None:
        """
        A socket that does not listen is refused, in plain words, and left.
        """
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        fd = one.fileno()
        free = lowestFree()
        error = self.assertRaises(ValueError, InheritedEndpoint, None, fd)
        self.assertIn(f"file descriptor {fd} is no listening socket", str(error))
        self.assertTrue(stat.S_ISSOCK(os.fstat(fd).st_mode))
        self.assertEqual(lowestFree(), free)

    def test_closedOutput(self) -> None:
        """
        A standard output and error that are closed, as the specification has
        them, are on /dev/null afterwards, for child processes too.
        """
        fd = self.pass_(self.listener())
        saved = os.dup(1), os.dup(2)
        os.close(1)
        os.close(2)
        try:
            endpoint = InheritedEndpoint(MemoryReactor(), fd)
            null = os.stat(os.devnull)
            found = [os.path.samestat(os.fstat(n), null) for n in (1, 2)]
            inherited = [os.get_inheritable(n) for n in (1, 2)]
        finally:
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
        self.finish(endpoint)
        self.assertEqual(found, [True, True])
        self.assertEqual(inherited, [True, True])


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
        port = self.listen(MemoryReactor(), self.pass_(self.listener()), factory)
        self.assertTrue(factory.running)
        port.connectionLost(Failure(ConnectionLost()))
        port.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(factory.running)
        [line] = logged(observer)
        self.assertIn("no more connections from the inherited socket", line)


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


class WebServerAddressTests(SocketMixin, SynchronousTestCase):
    """
    Only listed web servers may connect (FastCGI 1.0, section 3.2).
    """

    def setUp(self) -> None:
        """
        Put the environment back afterwards.
        """
        self.patch(os, "environ", dict(os.environ))

    def accepted(self, value: str, skt: socket.socket) -> bool:
        """
        Say whether a connection is served under a list.
        """
        os.environ[WEB_SERVER_ADDRS] = value
        client = self.client(skt)
        client.sendall(b"never read")
        memory = MemoryReactor()
        self.listen(memory, self.pass_(skt)).doRead()
        return len(memory.adoptedStreamConnections) == 1

    def test_listed(self) -> None:
        """
        A peer in the list is served.
        """
        for value in ("127.0.0.1", "10.0.0.1,127.0.0.1", "10.0.0.1, 127.0.0.1"):
            self.assertTrue(self.accepted(value, self.listener()), value)

    def test_notListed(self) -> None:
        """
        Any other peer is not, and the log says why.
        """
        observer = self.observe()
        self.assertFalse(self.accepted("10.0.0.1,127.0.0.11", self.listener()))
        self.assertEqual(
            logged(observer),
            [
                "closed a connection from 127.0.0.1, which "
                "FCGI_WEB_SERVER_ADDRS does not list"
            ],
        )

    def test_closed(self) -> None:
        """
        The connection of a peer that is not listed is closed.
        """
        os.environ[WEB_SERVER_ADDRS] = "10.0.0.1"
        skt = self.listener()
        client = self.client(skt)
        self.listen(MemoryReactor(), self.pass_(skt)).doRead()
        self.assertEqual(client.recv(1), b"")

    def test_ipv6(self) -> None:
        """
        On an IPv6 socket the list holds for IPv4 peers, and no IPv6 peer is in
        it.
        """
        self.assertFalse(
            self.accepted("127.0.0.1", self.listener(socket.AF_INET6, ("::1", 0)))
        )
        both = self.listener(socket.AF_INET6, ("::", 0))
        os.environ[WEB_SERVER_ADDRS] = "127.0.0.1"
        memory = MemoryReactor()
        port = self.listen(memory, self.pass_(both))
        client = socket.create_connection(("127.0.0.1", both.getsockname()[1]))
        self.addCleanup(client.close)
        port.doRead()
        self.assertEqual(len(memory.adoptedStreamConnections), 1)

    def test_unix(self) -> None:
        """
        A Unix socket is guarded by its mode, not by the list.
        """
        skt = self.listener(socket.AF_UNIX, self.mktemp())
        self.assertTrue(self.accepted("10.0.0.1", skt))

    def test_syntax(self) -> None:
        """
        A list that is none is refused before the descriptor is touched.
        """
        fd = self.pass_(self.listener())
        for value in ("", "localhost", "127.0.0.1,", "127.0.0.1;10.0.0.1", "::1"):
            os.environ[WEB_SERVER_ADDRS] = value
            error = self.assertRaises(ValueError, InheritedEndpoint, None, fd)
            self.assertIn(f"FCGI_WEB_SERVER_ADDRS is {value!r}", str(error))
        self.assertTrue(isListeningSocket(fd))


class ParserTests(SocketMixin, SynchronousTestCase):
    """
    Tests for L{InheritedEndpointParser}.
    """

    def setUp(self) -> None:
        """
        Make a parser.
        """
        self.parser = InheritedEndpointParser()

    def test_interfaces(self) -> None:
        """
        It is a plugin that parses endpoint strings that begin with C{fcgi}.
        """
        verifyObject(IStreamServerEndpointStringParser, self.parser)
        verifyObject(IPlugin, self.parser)
        self.assertEqual(self.parser.prefix, "fcgi")

    def test_number(self) -> None:
        """
        The descriptor can be given with and without its name.
        """
        first, second = (str(self.pass_(self.listener())) for _ in range(2))
        parse = self.parser.parseStreamServer
        for fd, made in [
            (first, parse(MemoryReactor(), fd=first)),
            (second, parse(MemoryReactor(), second)),
        ]:
            self.assertEqual(str(made), f"fcgi:fd={fd}")
            self.finish(made)

    def test_default(self) -> None:
        """
        C{fcgi} and C{fcgi:} mean descriptor 0.
        """
        saved = os.dup(0)
        skt = self.listener()
        try:
            for arguments in ((), ("",)):
                os.dup2(skt.fileno(), 0)
                made = self.parser.parseStreamServer(MemoryReactor(), *arguments)
                self.assertEqual(str(made), "fcgi:fd=0")
                self.finish(made)
        finally:
            os.dup2(saved, 0)
            os.close(saved)

    def test_bad(self) -> None:
        """
        What is no number is refused, and so is any other argument.
        """
        for fd in ("x", "-1", "1.5", "\N{SUPERSCRIPT TWO}"):
            error = self.assertRaises(
                ValueError, self.parser.parseStreamServer, None, fd=fd
            )
            self.assertIn(repr(fd), str(error))
        self.assertRaises(TypeError, self.parser.parseStreamServer, None, x="1")


class ListeningTests(SocketMixin, TestCase):
    """
    The port on the real reactor.
    """

    @inlineCallbacks
    def serveOnce(self, skt: socket.socket, client: Any) -> Any:
        """
        Serve one connection, stop, and give what the client got.
        """
        factory, collector = GreeterFactory(), AccumulatingProtocol()
        closed = collector.closedDeferred = Deferred()
        port = self.listen(reactor, self.pass_(skt), factory)
        yield connectProtocol(client, collector)
        protocol = yield factory.first
        protocol.transport.loseConnection()
        yield closed
        yield port.stopListening()
        self.assertFalse(factory.running)
        return collector.data, factory.built

    @inlineCallbacks
    def test_tcp(self) -> Any:
        """
        A connection to an inherited TCP socket is served.
        """
        skt = self.listener()
        client = TCP4ClientEndpoint(reactor, *skt.getsockname())
        received, [address] = yield self.serveOnce(skt, client)
        self.assertEqual(received, b"hello")
        self.assertEqual(address.host, "127.0.0.1")

    @inlineCallbacks
    def test_unix(self) -> Any:
        """
        A connection to an inherited Unix socket is served; the mode of its path
        is as it was, and after the stop its maker can still use it.
        """
        path = self.mktemp()
        skt = self.listener(socket.AF_UNIX, path)
        os.chmod(path, 0o640)
        client = UNIXClientEndpoint(reactor, path)
        received, _ = yield self.serveOnce(skt, client)
        self.assertEqual(received, b"hello")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        self.client(skt)
        skt.settimeout(5)
        skt.accept()[0].close()
