# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.preview}.
"""

from __future__ import annotations

import os
from typing import Any
from unittest import SkipTest

import treq
from twisted.internet import reactor
from twisted.internet.address import (
    HostnameAddress,
    IPv4Address,
    IPv6Address,
    UNIXAddress,
)
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseNeverReceived

from tests.programs import PATIENCE
from tests.tables import TableTestCase, table
from tests.transports import Application, later
from twisted_fastcgi import FastCGIFactory, IFastCGIRequest
from twisted_fastcgi.preview import PreviewService, SocketPairEndpoint, isLocal
from twisted_fastcgi.service import CannotServe, DescribedEndpoint, endpointFromString


class Port:
    """
    A port that knows its address.
    """

    def __init__(self, address: Any) -> None:
        self.isOpen = True
        self._address = address

    def getHost(self) -> Any:
        """
        Tell the address.
        """
        return self._address

    def stopListening(self) -> None:
        """
        Close.
        """
        self.isOpen = False


class Listener:
    """
    An endpoint with one port.
    """

    def __init__(self, address: Any) -> None:
        self.port = Port(address)

    def listen(self, factory: Any) -> Deferred[Any]:
        """
        Open the port.
        """
        return succeed(self.port)


def tcp(host: str) -> IPv4Address | IPv6Address:
    """
    Make an address with port 8080.
    """
    make = IPv6Address if ":" in host else IPv4Address
    return make("TCP", host, 8080)


class Logged:
    """
    Keeps what the preview writes to the log.
    """

    lines: list[str]

    def listenToLog(self: Any) -> None:
        """
        Begin to do so.
        """
        self.lines = []
        globalLogPublisher.addObserver(self._note)
        self.addCleanup(globalLogPublisher.removeObserver, self._note)

    def _note(self, event: Any) -> None:
        if event.get("log_namespace") == "twisted_fastcgi.preview.PreviewService":
            self.lines.append(formatEvent(event))


class StartTests(Logged, TableTestCase):
    """
    The start of L{PreviewService}.
    """

    def setUp(self) -> None:
        """
        Listen to the log.
        """
        self.listenToLog()

    def start(self, address: Any, description: str = "x", **options: Any) -> Port:
        """
        Start a service, with the port that it opens.

        @return: The port.
        """
        listener: Any = Listener(address)
        clock = Clock()
        service = PreviewService(
            DescribedEndpoint(description, listener),
            FastCGIFactory(Application(), reactor=clock),
            what="something",
            reactor=clock,
            **options,
        )
        self.service = service
        try:
            service.privilegedStartService()
            service.startService()
        finally:
            self.addCleanup(service.stopService)
        port: Port = listener.port
        return port

    @table(
        {
            "TCP": (tcp("127.0.0.1"), {}, "http://127.0.0.1:8080/"),
            "IPv6": (tcp("::1"), {}, "http://[::1]:8080/"),
            "TLS": (
                tcp("127.0.0.1"),
                {"description": "ssl:8080:interface=127.0.0.1"},
                "https://127.0.0.1:8080/",
            ),
            "all": (tcp("0.0.0.0"), {"anywhere": True}, "http://127.0.0.1:8080/"),
            "all IPv6": (tcp("::"), {"anywhere": True}, "http://[::1]:8080/"),
            "other": (tcp("192.0.2.1"), {"anywhere": True}, "http://192.0.2.1:8080/"),
            "mounted": (
                tcp("127.0.0.1"),
                {"mount": "/my app/b%20c/"},
                "http://127.0.0.1:8080/my%20app/b%20c/",
            ),
            "script name": (
                tcp("127.0.0.1"),
                {"mount": "script-name"},
                "http://127.0.0.1:8080/",
            ),
            "Unix": (UNIXAddress("/s"), {}, f"http on {UNIXAddress('/s')}"),
        }
    )
    def test_url(self, address: Any, options: Any, url: str) -> None:
        """
        The log tells what to open in a browser.
        """
        port = self.start(address, **options)
        self.assertEqual(self.lines, [f"serving a preview of something: {url}"])
        self.assertTrue(port.isOpen)
        self.successResultOf(self.service.stopService())
        self.assertFalse(port.isOpen)

    @table(
        {
            "all": (tcp("0.0.0.0"),),
            "all IPv6": (tcp("::"),),
            "other": (tcp("192.0.2.1"),),
            "unknown": (HostnameAddress(b"localhost", 8080),),
        }
    )
    def test_refused(self, address: Any) -> None:
        """
        An address that other machines could reach is refused, with one line
        that says what to do, and is closed.
        """
        ports: list[Port] = []
        self.patch(Port, "__init__", _remembering(Port.__init__, ports))
        error = self.assertRaises(CannotServe, self.start, address, "tcp:8080")
        self.assertEqual(
            str(error),
            "cannot listen on tcp:8080: other machines could reach it, but a preview "
            "is for this one: add interface=127.0.0.1, or say --preview-anywhere",
        )
        self.assertEqual([port.isOpen for port in ports], [False])
        self.assertEqual(self.lines, [])

    def test_isLocal(self) -> None:
        """
        Loopback addresses and Unix sockets are local.
        """
        for address, local in [
            (tcp("127.0.0.1"), True),
            (tcp("127.9.8.7"), True),
            (tcp("::1"), True),
            (UNIXAddress("/s"), True),
            (tcp("128.0.0.1"), False),
            (tcp("10.0.0.1"), False),
            (tcp("fe80::1"), False),
            (tcp("::ffff:192.0.2.1"), False),
            (HostnameAddress(b"localhost", 80), False),
        ]:
            self.assertEqual(isLocal(address), local, address)


def _remembering(init: Any, made: list[Any]) -> Any:
    """
    Note what is made.
    """

    def remember(self: Any, *arguments: Any) -> None:
        init(self, *arguments)
        made.append(self)

    return remember


class PreviewTests(Logged, TestCase):
    """
    L{PreviewService} at work, on real sockets.
    """

    timeout = PATIENCE

    def setUp(self) -> None:
        """
        Listen to the log.
        """
        self.listenToLog()

    def serve(self, answer: Any) -> str:
        """
        Serve an application.

        @return: Its URL.
        """
        self.application = Application(answer)
        self.factory = FastCGIFactory(self.application)
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)
        self.service = PreviewService(
            endpointFromString(reactor, "tcp:0:interface=127.0.0.1"),
            self.factory,
            reactor=reactor,
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)
        return self.lines[0].rpartition(" ")[2]

    async def test_records(self) -> None:
        """
        A request goes to the application over FastCGI, with the variables that
        a web server would send; so does the next, on the same connection.
        """
        seen: list[Any] = []

        def answer(request: Any) -> bytes:
            seen.append(dict(IFastCGIRequest(request).params))
            return b"hello"

        url = self.serve(answer)
        for _ in range(2):
            response = await treq.post(f"{url}a%20b?c", b"body", persistent=False)
            self.assertEqual(await response.content(), b"hello")
        self.assertEqual(self.factory.connectionCount, 1)
        found = seen[1]
        for name, value in {
            b"REQUEST_METHOD": b"POST",
            b"REQUEST_URI": b"/a%20b?c",
            b"SCRIPT_NAME": b"",
            b"PATH_INFO": b"/a b",
            b"QUERY_STRING": b"c",
            b"CONTENT_LENGTH": b"4",
            b"REMOTE_ADDR": b"127.0.0.1",
            b"SERVER_ADDR": b"127.0.0.1",
            b"SERVER_PORT": url.split(":")[2].strip("/").encode(),
        }.items():
            self.assertEqual(found[name], value, name)
        self.assertEqual(self.application.seen[1][3], b"body")

    async def test_stop(self) -> None:
        """
        At the stop the requests in hand are given up, so that it takes no
        time, and no connection is left.
        """
        url = self.serve(later)
        asked = treq.get(url, persistent=False)
        asked.addErrback(lambda failure: failure.trap(ResponseNeverReceived))
        while not self.application.requests:
            await _turn()
        left = self.application.request.notifyFinish()
        await self.service.stopService()
        await self.assertFailure(left, Exception)
        await self.factory.drain(PATIENCE)
        self.assertEqual(self.factory.connectionCount, 0)
        await asked


def _turn() -> Deferred[None]:
    """
    Let the reactor do what there is to be done.
    """
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned


class SocketPairTests(TestCase):
    """
    Tests for L{SocketPairEndpoint}.
    """

    async def test_descriptors(self) -> None:
        """
        A connection leaves no file descriptor open when it is closed.
        """
        if not os.path.isdir("/proc/self/fd"):
            raise SkipTest("there is no /proc here")
        # What the reactor opens once is open after the first connection.
        await self.connection()
        before = len(os.listdir("/proc/self/fd"))
        await self.connection()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    async def connection(self) -> None:
        """
        Make a connection, and close it.
        """
        factory = FastCGIFactory(Application())
        endpoint = SocketPairEndpoint(reactor, factory)
        protocol: Any = await endpoint.connect(_Clients())
        self.assertEqual(factory.connectionCount, 1)
        protocol.transport.loseConnection()
        while factory.connectionCount or not protocol.isLost:
            await _turn()


class _Clients(ServerFactory):
    """
    Makes what does nothing but note its end.
    """

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """
        Make one.
        """
        return _Client()


class _Client:
    """
    Notes its end.
    """

    isLost = False

    def makeConnection(self, transport: Any) -> None:
        """
        Keep the transport.
        """
        self.transport = transport

    def connectionLost(self, reason: Any) -> None:
        """
        Note that.
        """
        self.isLost = True
