# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.peers}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.programs import PATIENCE
from tests.sockets import GreeterFactory, SocketMixin, logged
from twisted_fastcgi.peers import Peers, RestrictedFactory, webServerPeers


class PeersTests(SynchronousTestCase):
    """
    Tests for L{Peers}.
    """

    def test_contains(self) -> None:
        """
        Addresses and networks of both families are matched as numbers, not as
        text; an IPv4 peer of an IPv6 socket is an IPv4 peer.
        """
        for text, inside, outside in [
            ("192.168.1.5", ["192.168.1.5", "::ffff:192.168.1.5"], ["192.168.1.50"]),
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "::1"]),
            ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["::2", "127.0.0.1"]),
            ("fd00::/8", ["fd12::1"], ["fe00::1", "::ffff:253.0.0.1"]),
            ("fe80::/10", ["fe80::1%eth0"], ["2001:db8::1%eth0"]),
            ("127.0.0.1, ::1", ["127.0.0.1", "::1"], ["127.0.0.2"]),
            ("::ffff:10.0.0.1", ["10.0.0.1", "::ffff:10.0.0.1"], ["10.0.0.2"]),
            ("::ffff:10.0.0.0/104", ["10.9.9.9", "::ffff:10.0.0.1"], ["11.0.0.0"]),
            ("::/0", ["::1", "fd12::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
            ("0.0.0.0/0", ["10.0.0.1", "::ffff:10.0.0.1"], ["::1"]),
        ]:
            peers = Peers(text)
            for host in inside:
                self.assertIn(host, peers, text)
            for host in outside:
                self.assertNotIn(host, peers, text)

    def test_bad(self) -> None:
        """
        What is no such list is refused, with its place, its text and the cause.
        """
        for text, cause in [
            ("", "'' does not appear to be an IPv4 or IPv6 network"),
            ("localhost", "'localhost' does not appear to be"),
            ("127.0.0.1,", "'' does not appear to be"),
            ("127.0.0.1;::1", "does not appear to be"),
            ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
            ("10.0.0.0/33", "does not appear to be"),
        ]:
            error = self.assertRaises(ValueError, Peers, text, "--allow")
            self.assertTrue(str(error).startswith(f"--allow is {text!r} ("), error)
            self.assertIn(cause, str(error))
            self.assertIn("such as 192.168.1.5 or 10.0.0.0/8", str(error))

    def test_environment(self) -> None:
        """
        The environment has a list, or has none (FastCGI 1.0, section 3.2).
        """
        self.assertIsNone(webServerPeers({}))
        found = webServerPeers({"FCGI_WEB_SERVER_ADDRS": "199.170.183.28,10.1.1.1"})
        assert found is not None
        self.assertIn("10.1.1.1", found)
        self.assertNotIn("10.1.1.2", found)
        self.assertIn("FCGI_WEB_SERVER_ADDRS", found.name)


class RestrictedFactoryTests(SocketMixin, SynchronousTestCase):
    """
    Tests for L{RestrictedFactory}.
    """

    def test_interface(self) -> None:
        """
        It is a factory that starts and stops with the one behind it.
        """
        inner = GreeterFactory()
        factory = RestrictedFactory(inner, [])
        verifyObject(IProtocolFactory, factory)
        factory.doStart()
        self.assertTrue(inner.running)
        factory.doStop()
        self.assertFalse(inner.running)

    def test_build(self) -> None:
        """
        A peer is served if it is in each of the lists, or has no IP address.
        """
        lists = [Peers("10.0.0.0/8,::1"), Peers("10.1.0.0/16,::1", "--allow")]
        for address, served in [
            (IPv4Address("TCP", "10.1.2.3", 1), True),
            (IPv4Address("TCP", "10.2.2.3", 1), False),
            (IPv4Address("TCP", "11.1.2.3", 1), False),
            (IPv6Address("TCP", "::1", 1), True),
            (IPv6Address("TCP", "::2", 1), False),
            (UNIXAddress(b""), True),
        ]:
            inner = GreeterFactory()
            built = RestrictedFactory(inner, lists).buildProtocol(address)
            self.assertEqual(inner.built, [address] if served else [])
            self.assertEqual(built is not None, served, address)

    def test_logged(self) -> None:
        """
        The log says who was refused, and which list to look at.
        """
        observer = self.observe()
        factory = RestrictedFactory(GreeterFactory(), [Peers("::1", "--allow")])
        factory.buildProtocol(IPv4Address("TCP", "10.2.2.3", 1))
        self.assertEqual(
            logged(observer),
            ["closed a connection from 10.2.2.3: --allow does not have it"],
        )


class RealTests(TestCase):
    """
    On real sockets.
    """

    @inlineCallbacks
    def answers(self, family: str, host: str, lists: list[Peers]) -> Any:
        """
        Tell what a client gets that sends bytes at once.
        """
        inner = GreeterFactory()
        port = reactor.listenTCP(0, RestrictedFactory(inner, lists), interface=family)
        number = port.getHost().port

        def ask() -> bytes:
            with socket.create_connection((host, number), PATIENCE) as connection:
                try:
                    connection.sendall(b"never read")
                    return connection.recv(5)
                except ConnectionResetError:
                    return b""

        answer = yield deferToThread(ask)
        if inner.built:
            protocol = yield inner.first
            if protocol.transport.connected:
                closed: Deferred[None] = Deferred()
                protocol.connectionLost = lambda reason: closed.callback(None)
                yield closed
        yield port.stopListening()
        return answer, len(inner.built)

    @inlineCallbacks
    def test_served(self) -> Any:
        """
        Listed peers are served; the connection of another one is closed before
        there is a protocol that could read from it.
        """
        for family, host, text, expected in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.0/8", (b"hello", 1)),
            ("127.0.0.1", "127.0.0.1", "10.0.0.0/8,::1", (b"", 0)),
            ("::1", "::1", "::1", (b"hello", 1)),
            ("::1", "::1", "fd00::/8,127.0.0.1", (b"", 0)),
            ("::", "127.0.0.1", "127.0.0.1", (b"hello", 1)),
            ("::", "127.0.0.1", "::1", (b"", 0)),
        ]:
            found = yield self.answers(family, host, [Peers(text)])
            self.assertEqual(found, expected, (family, text))
