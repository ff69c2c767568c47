# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.endpoints}.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IListeningPort,
    IReadDescriptor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import (
    AccumulatingProtocol,
)
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.sockets import (
    GreeterFactory,
    MemoryReactor,
    SocketMixin,
    logged,
    lowestFree,
)
from twisted_fastcgi.endpoints import (
    InheritedEndpoint,
    InheritedEndpointParser,
    TCPEndpointParser,
    isListeningSocket,
)
from twisted_fastcgi.peers import WEB_SERVER_ADDRS
from twisted_fastcgi.ports import BACKLOG


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
        memory, factory = MemoryReactor(), GreeterFactory()
        self.listen(memory, self.pass_(skt), factory).doRead()
        self.hangUp(factory)
        return len(memory.adoptedStreamConnections + factory.greeters) == 1

    def test_listed(self) -> None:
        """
        A peer in the list is served.
        """
        for value in ("127.0.0.1", "10.0.0.1,127.0.0.1", "10.0.0.1, 127.0.0.1"):
            self.assertTrue(self.accepted(value, self.listener()), value)

    def test_notListed(self) -> None:
        """
        Any other peer is not, the log says why, and it is counted.
        """
        observer = self.observe()
        refused: list[bool] = []
        counting: Any = GreeterFactory
        counting.peerRefused = lambda _: refused.append(True)
        self.addCleanup(delattr, GreeterFactory, "peerRefused")
        self.assertFalse(self.accepted("10.0.0.1,127.0.0.11", self.listener()))
        self.assertEqual(
            logged(observer),
            [
                "closed a connection from 127.0.0.1: the environment variable "
                "FCGI_WEB_SERVER_ADDRS does not have it"
            ],
        )
        self.assertEqual(refused, [True])

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
        for value in ("", "localhost", "127.0.0.1,", "127.0.0.1;10.0.0.1"):
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


class TCPParserTests(SynchronousTestCase):
    """
    Tests for L{TCPEndpointParser}.
    """

    def test_interfaces(self) -> None:
        """
        It is a plugin that parses endpoint strings that begin with C{fcgi-tcp}.
        """
        parser = TCPEndpointParser()
        verifyObject(IStreamServerEndpointStringParser, parser)
        verifyObject(IPlugin, parser)
        self.assertEqual(parser.prefix, "fcgi-tcp")

    def test_backlog(self) -> None:
        """
        There is room for a burst of clients, unless something else is said.
        """
        parse, factory = TCPEndpointParser().parseStreamServer, ServerFactory()
        for arguments, backlog in [({}, BACKLOG), ({"backlog": "7"}, 7)]:
            memory = MemoryReactor()
            endpoint = parse(memory, "9000", interface="::1", **arguments)
            self.successResultOf(endpoint.listen(factory))
            self.assertEqual(memory.tcpServers, [(9000, factory, backlog, "::1")])
        for backlog in ("0", "-1", "2147483648", "x"):
            self.assertRaises(ValueError, parse, None, "9000", backlog=backlog)
