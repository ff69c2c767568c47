# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
An application in a browser, without a web server: an HTTP server in the same
process that asks it over FastCGI, for development.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import quote

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.web.server import Site
from zope.interface import implementer

from twisted_fastcgi.client import FastCGIAgent
from twisted_fastcgi.mount import ROOT, SCRIPT_NAME
from twisted_fastcgi.proxy import FastCGIProxyResource
from twisted_fastcgi.server import FastCGIFactory
from twisted_fastcgi.service import DescribedEndpoint, FastCGIService

#: How many requests are served at a time.
_MOST_REQUESTS = 100

# Addresses that mean all of a machine's.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


TOO_FAR = (
    "other machines could reach it, but a preview is for this one: add "
    "interface=127.0.0.1, or say --preview-anywhere"
)
"""
What is wrong with a preview that others can reach.
"""


class PreviewService(FastCGIService):
    """
    Serves an application over HTTP from its start to its stop.

    Each request goes to the application as it would from a web server: as
    FastCGI records, through a pair of connected Unix sockets that have no name
    and that nobody else can reach.

    At the stop nothing is waited for: the requests in hand are given up.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: DescribedEndpoint,
        factory: FastCGIFactory,
        *,
        what: str = "FastCGI",
        mount: str = ROOT,
        anywhere: bool = False,
        reactor: Any,
    ) -> None:
        """
        @param endpoint: Where to listen for HTTP.
        @param factory: Serves the application.  Somebody else has to start and
            stop it.
        @param what: What is served, for the log.
        @param mount: Where in the path the application begins, as
            L{twisted_fastcgi.mount.mounted} takes it: for the log.
        @param anywhere: Whether other machines may reach the endpoint.
        @param reactor: What the connections to the application are made with.
        """
        self._scheme = "https" if str(endpoint).startswith("ssl:") else "http"
        self._path = "/" if mount == SCRIPT_NAME else f"{mount.rstrip('/')}/"
        self._anywhere = anywhere
        site: Any = PreviewSite(factory, reactor)
        super().__init__([endpoint], site, what=what, reactor=reactor)

    def _opened(self, port: IListeningPort) -> None:
        """
        Tell the URL, or close a port that others can reach.
        """
        address = port.getHost()
        if not (self._anywhere or isLocal(address)):
            # In one go with its opening, so that nothing has been accepted.
            self._closePort(port)
            raise ValueError(TOO_FAR)
        self._ports.append(port)
        self._tellServing()
        self._log.info(
            "serving a preview of {what}: {url}",
            what=self._what,
            url=self._url(address),
        )

    def _url(self, address: Any) -> str:
        """
        Tell what to open in a browser, on this machine.
        """
        if isinstance(address, (IPv4Address, IPv6Address)):
            host = _LOOPBACK.get(address.host, address.host)
            host = f"[{host}]" if ":" in host else host
            return f"{self._scheme}://{host}:{address.port}{quote(self._path, '/%')}"
        return f"{self._scheme} on {address}"


def isLocal(address: IAddress) -> bool:
    """
    Tell whether an address is out of reach for other machines.

    @param address: The address of a port.
    @return: Whether it is one of the loopback interface, or a Unix socket.
    """
    if isinstance(address, (IPv4Address, IPv6Address)):
        return ipaddress.ip_address(address.host).is_loopback
    return isinstance(address, UNIXAddress)


class PreviewSite(Site):
    """
    A site that asks an application over FastCGI.
    """

    noisy = False

    def __init__(self, factory: FastCGIFactory, reactor: Any) -> None:
        """
        @param factory: Serves the application.
        @param reactor: What the connections to it are made with.
        """
        self._agent = FastCGIAgent(
            reactor,
            SocketPairEndpoint(reactor, factory),
            maxConnections=_MOST_REQUESTS,
            # Somebody may look at it in a debugger.
            responseTimeout=None,
        )
        super().__init__(FastCGIProxyResource(self._agent), reactor=reactor)

    def drain(self, grace: float) -> Deferred[None]:
        """
        Give up the requests in hand.

        @param grace: Ignored.
        @return: Fires when there is no connection to the application.
        """
        return self._agent.close()


@implementer(IStreamClientEndpoint)
class SocketPairEndpoint:
    """
    Connects to a server in the same process, by two sockets that are connected
    with each other.
    """

    def __init__(self, reactor: Any, factory: IProtocolFactory) -> None:
        """
        @param reactor: What the connections are made with, an L{IReactorSocket
            <twisted.internet.interfaces.IReactorSocket>}.
        @param factory: Makes the protocol for the server's end.
        """
        self._reactor = reactor
        self._factory = factory

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Make a connection.

        @param protocolFactory: Makes the protocol for this end.
        @return: Has fired with that.
        """
        ends = socket.socketpair()
        made = [
            self._adopt(end, factory)
            for end, factory in zip(ends, (self._factory, protocolFactory), strict=True)
        ]
        return succeed(made[1])

    def _adopt(self, end: socket.socket, factory: IProtocolFactory) -> Any:
        """
        Give one end to the reactor, which makes a copy of it.
        """
        catcher = _Catcher(factory)
        with end:
            end.setblocking(False)
            self._reactor.adoptStreamConnection(end.fileno(), end.family, catcher)
        return catcher.caught


class _Catcher(Factory):
    """
    Remembers the protocol that another factory makes.
    """

    noisy = False
    caught: Any = None

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: Any) -> Any:
        self.caught = self._factory.buildProtocol(addr)
        return self.caught
