# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.addresses}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocolFactory,
    IReactorPluggableNameResolver,
)
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from tests.tables import TableTestCase, table
from twisted_fastcgi.addresses import clientEndpoint, serverEndpoint

FACTORY: IProtocolFactory = Factory()


@implementer(IHostnameResolver)
class Resolver:
    """
    Finds this machine by any name.
    """

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, **_: Any
    ) -> Any:
        """
        Tell the address.
        """
        host = hostName if hostName[:1].isdigit() else "127.0.0.1"
        resolutionReceiver.resolutionBegan(None)
        resolutionReceiver.addressResolved(IPv4Address("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()


@implementer(IReactorPluggableNameResolver)
class ResolvingReactor(MemoryReactorClock):
    """
    A reactor that needs no thread to find hosts, as Twisted 24.7's would.
    """

    nameResolver = Resolver()


class ClientTests(TableTestCase):
    """
    Where an application is.
    """

    @table(
        {
            "host": ("127.0.0.1:9000", ("127.0.0.1", 9000)),
            "no host": (":9000", ("127.0.0.1", 9000)),
            "ipv6": ("[::1]:9000", ("::1", 9000)),
            "string": ("tcp:127.0.0.1:9000", ("127.0.0.1", 9000)),
            "string with names": ("tcp:host=127.0.0.1:port=9", ("127.0.0.1", 9)),
        }
    )
    def test_tcp(self, address: str, expected: tuple[str, int]) -> None:
        """
        C{host:port} and endpoint strings are TCP.
        """
        reactor = ResolvingReactor()
        clientEndpoint(reactor, address).connect(FACTORY)
        reactor.advance(1)
        self.assertEqual([each[:2] for each in reactor.tcpClients], [expected])

    @table(
        {
            "absolute": ("/tmp/app.sock", "/tmp/app.sock"),
            "with colon": ("/tmp/a:80", "/tmp/a:80"),
            "relative": ("app.sock", "app.sock"),
            "string": ("unix:/tmp/app.sock", "/tmp/app.sock"),
            "string with names": ("unix:path=/tmp/app.sock", "/tmp/app.sock"),
        }
    )
    def test_unix(self, address: str, expected: str) -> None:
        """
        Paths and endpoint strings are Unix sockets.
        """
        reactor = MemoryReactorClock()
        clientEndpoint(reactor, address).connect(FACTORY)
        self.assertEqual([each[0] for each in reactor.unixClients], [expected])

    @table({"type": ("nope:x",), "arguments": ("tcp:a:b:c:d",), "port": ("tcp:a:b",)})
    def test_wrong(self, address: str) -> None:
        """
        What is no address is refused, with what could be one.
        """
        reactor = MemoryReactorClock()
        for parse in (clientEndpoint, serverEndpoint):
            with self.assertRaisesRegex(ValueError, f"'{address}' is no address"):
                parse(reactor, address)


class ServerTests(TableTestCase):
    """
    Where to listen.
    """

    @table(
        {
            "host": ("127.0.0.1:9000", 9000, "127.0.0.1"),
            "any": ("0.0.0.0:9000", 9000, "0.0.0.0"),
            "no host": (":9000", 9000, "127.0.0.1"),
            "name": ("localhost:9000", 9000, "127.0.0.1"),
            "ipv6": ("[::1]:9000", 9000, "::1"),
            "string": ("tcp:9000:interface=127.0.0.1", 9000, "127.0.0.1"),
            "short string": ("tcp:9000", 9000, ""),
        }
    )
    def test_tcp(self, address: str, port: int, interface: str) -> None:
        """
        C{host:port} and endpoint strings are TCP; only this machine can get at
        the port unless something else is said.
        """
        reactor = MemoryReactorClock()
        serverEndpoint(reactor, address).listen(FACTORY)
        ((found, _, _, where),) = reactor.tcpServers
        self.assertEqual((found, where), (port, interface))

    @table(
        {
            "path": ("/tmp/app.sock",),
            "string": ("unix:/tmp/app.sock",),
        }
    )
    def test_unix(self, address: str) -> None:
        """
        Paths and endpoint strings are Unix sockets that any web server can get
        at, with a lock, so that the socket of a killed process is not in the way.
        """
        reactor = MemoryReactorClock()
        serverEndpoint(reactor, address).listen(FACTORY)
        ((path, _, _, mode, wantPID),) = reactor.unixServers
        self.assertEqual((path, mode, wantPID), ("/tmp/app.sock", 0o666, True))
