# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.proxy}.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import ISSLTransport, IStreamClientEndpoint
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import Data
from zope.interface import implementer

from tests import wire
from tests.peers import Application, Peer
from tests.tables import TableTestCase, table
from tests.transports import ServerTransport, TCPServerTransport
from twisted_fastcgi import FastCGIAgent, FastCGIFactory, FastCGIProxyResource
from twisted_fastcgi.testing import FastCGITestClient

#: Where the client is, and the server.
CLIENT = IPv4Address("TCP", "192.0.2.7", 54321)
SERVER = IPv4Address("TCP", "192.0.2.1", 8080)

#: A small response.
PLAIN = b"Content-Type: text/plain\n\n"


class Client(TCPServerTransport):
    """
    A browser's connection.
    """

    def __init__(self, client: Any = CLIENT, server: Any = SERVER) -> None:
        super().__init__(peerAddress=client)
        self.hostAddr = server

    def ask(self, target: bytes, *fields: bytes, method: bytes = b"GET") -> None:
        """
        Send a request.

        @param fields: Lines of the header, and then the body.
        """
        *lines, body = fields if fields else (b"",)
        head = [method + b" " + target + b" HTTP/1.1", *lines, b"", b""]
        self.receive(b"\r\n".join(head) + body)

    @property
    def head(self) -> list[bytes]:
        """
        The status and the header fields of the response.
        """
        return self.value().partition(b"\r\n\r\n")[0].split(b"\r\n")

    @property
    def status(self) -> int:
        """
        The status of the response.
        """
        return int(self.head[0].split()[1])

    @property
    def body(self) -> bytes:
        """
        The body of the response, as it is on the wire.
        """
        return self.value().partition(b"\r\n\r\n")[2]

    def field(self, name: bytes) -> list[bytes]:
        """
        Find the values of a header field.
        """
        fields = [line.partition(b": ") for line in self.head[1:]]
        return [value for key, _, value in fields if key.lower() == name.lower()]


@implementer(ISSLTransport)
class SecureClient(Client):
    """
    A browser's connection by TLS.
    """

    def getPeerCertificate(self) -> None:
        """
        There is none.
        """


@implementer(IStreamClientEndpoint)
class NarrowEndpoint:
    """
    Connects to an application that reads when it is told to.

    @ivar transport: The connection.
    """

    def connect(self, factory: Any) -> Any:
        """
        Connect.
        """
        self.transport = ServerTransport(stalled=True)
        protocol = factory.buildProtocol(None)
        self.transport.connect(protocol)
        return succeed(protocol)


class ProxyTestCase(TableTestCase):
    """
    A site with a proxy, an application behind it, and browsers.
    """

    makeClient: Any = Client

    def setUp(self) -> None:
        """
        Make the application.
        """
        self.application = Application()
        self.clock = self.application.clock
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.stderr: list[bytes] = []
        self.agent = self.application.agent(responseTimeout=60, idleTimeout=None)
        self.root: Any = FastCGIProxyResource(self.agent)

    def connect(self, **addresses: Any) -> Client:
        """
        Connect a browser.
        """
        self.site = Site(self.root, reactor=self.clock)
        self.site.noisy = False
        self.site.doStart()
        self.addCleanup(self.site.doStop)
        client: Client = self.makeClient(**addresses)
        client.connect(self.site.buildProtocol(client.getPeer()))
        self.addCleanup(client.close)
        return client

    def ask(self, target: bytes, *fields: bytes, **options: Any) -> Client:
        """
        Send a request, with a I{Host} if nothing else is said.
        """
        client = self.connect(**options.pop("addresses", {}))
        client.ask(target, *(fields or (b"Host: example.com", b"")), **options)
        return client

    @property
    def peer(self) -> Peer:
        """
        The application's end of the only connection.
        """
        return self.application.peer

    def logged(self) -> list[str]:
        """
        Tell what the proxy wrote to the log.
        """
        return [
            formatEvent(event)
            for event in self.events
            if event.get("log_namespace") == "twisted_fastcgi.proxy"
        ]


class VariableTests(ProxyTestCase):
    """
    What the application is told.
    """

    def params(self, target: bytes, *fields: bytes, **options: Any) -> Any:
        """
        Send a request without a body on a new connection, and tell its
        variables.
        """
        self.application.peers.clear()
        self.agent.closeCachedConnections()
        client = self.ask(target, *fields, **options)
        params = self.peer.params()
        self.peer.answer()
        self.assertEqual(client.status, 200)
        return params

    def test_request(self) -> None:
        """
        The application gets the variables that a web server would send.
        """
        found = self.params(
            b"/a%20b/c%2Fd?e=%20f&g",
            b"Host: example.com:8080",
            b"Accept: */*",
            b"X-Some: 1",
            b"X-Some: 2",
            b"Cookie: a=b",
            b"",
        )
        self.assertEqual(
            found,
            {
                b"GATEWAY_INTERFACE": b"CGI/1.1",
                b"SERVER_SOFTWARE": b"twisted_fastcgi",
                b"SERVER_PROTOCOL": b"HTTP/1.1",
                b"SERVER_NAME": b"example.com",
                b"SERVER_ADDR": b"192.0.2.1",
                b"SERVER_PORT": b"8080",
                b"REMOTE_ADDR": b"192.0.2.7",
                b"REMOTE_PORT": b"54321",
                b"REQUEST_METHOD": b"GET",
                b"REQUEST_SCHEME": b"http",
                b"REQUEST_URI": b"/a%20b/c%2Fd?e=%20f&g",
                b"QUERY_STRING": b"e=%20f&g",
                b"SCRIPT_NAME": b"",
                b"PATH_INFO": b"/a b/c/d",
                b"REDIRECT_STATUS": b"200",
                b"HTTP_HOST": b"example.com:8080",
                b"HTTP_ACCEPT": b"*/*",
                b"HTTP_X_SOME": b"1, 2",
                b"HTTP_COOKIE": b"a=b",
            },
        )

    def test_headers(self) -> None:
        """
        Header fields that concern one hop only, be it because they always do
        or because I{Connection} names them, are not passed on; I{Proxy}, which
        programs would take for their own, is never.
        """
        found = self.params(
            b"/",
            b"Host: example.com",
            b"Proxy: http://evil.example.com/",
            b"Connection: keep-alive, X-Hop",
            b"Connection: x-other, , a b",
            b"Keep-Alive: 5",
            b"X-Hop: 1",
            b"X-Other: 1",
            b"X-Kept: 1",
            b"TE: trailers",
            b"Upgrade: h2c",
            b"Trailer: X",
            b"Proxy-Connection: close",
            b"",
        )
        self.assertEqual(
            {name for name in found if name.startswith(b"HTTP_")},
            {b"HTTP_HOST", b"HTTP_X_KEPT"},
        )

    def test_spoofed(self) -> None:
        """
        A client can't set the variables of the server.
        """
        found = self.params(
            b"/",
            b"Host: example.com",
            b"Remote_Addr: 1.1.1.1",
            b"X_Forwarded_For: 1.1.1.1",
            b"Authorization: Basic YTpi",
            b"",
        )
        self.assertEqual(found[b"REMOTE_ADDR"], b"192.0.2.7")
        self.assertNotIn(b"HTTP_X_FORWARDED_FOR", found)
        self.assertNotIn(b"REMOTE_USER", found)
        self.assertEqual(found[b"HTTP_AUTHORIZATION"], b"Basic YTpi")

    @table(
        {
            "IPv6": (
                IPv6Address("TCP", "2001:db8::7", 5),
                IPv6Address("TCP", "fe80::1%eth0", 443),
                b"2001:db8::7",
                b"5",
                b"fe80::1%eth0",
                b"443",
                b"[fe80::1]",
            ),
            "Unix": (
                UNIXAddress(None),
                UNIXAddress("/run/web.sock"),
                b"unix:",
                None,
                None,
                b"80",
                b"localhost",
            ),
        }
    )
    def test_addresses(self, client: Any, server: Any, *wanted: bytes | None) -> None:
        """
        The addresses are told for all kinds of sockets; without a I{Host} the
        server is called by its own.
        """
        found = self.params(
            b"/", b"Accept: */*", b"", addresses={"client": client, "server": server}
        )
        names = (
            *(b"REMOTE_ADDR", b"REMOTE_PORT"),
            *(b"SERVER_ADDR", b"SERVER_PORT", b"SERVER_NAME"),
        )
        self.assertEqual(tuple(map(found.get, names)), wanted)
        self.assertNotIn(b"HTTP_HOST", found)

    def test_secure(self) -> None:
        """
        The application learns that the client came by TLS.
        """
        self.assertNotIn(b"HTTPS", self.params(b"/"))
        self.makeClient = SecureClient
        found = self.params(b"/")
        self.assertEqual(found[b"HTTPS"], b"on")
        self.assertEqual(found[b"REQUEST_SCHEME"], b"https")

    def test_mounted(self) -> None:
        """
        Further down in a site, the way to the proxy is the SCRIPT_NAME.
        """
        proxy, self.root = self.root, Resource()
        above = Resource()
        self.root.putChild(b"a b", above)
        above.putChild(b"app", proxy)
        for target, info in [
            (b"/a%20b/app", b""),
            (b"/a%20b/app/", b"/"),
            (b"/a%20b/app//x/", b"//x/"),
        ]:
            found = self.params(target)
            self.assertEqual(found[b"SCRIPT_NAME"], b"/a b/app")
            self.assertEqual(found[b"PATH_INFO"], info)

    def test_children(self) -> None:
        """
        The children of the proxy come first.
        """
        self.root.putChild(b"own", Data(b"my own page", "text/plain"))
        client = self.ask(b"/own")
        self.assertEqual(client.body, b"my own page")
        self.assertEqual(self.application.peers, [])
        self.assertEqual(self.params(b"/other")[b"PATH_INFO"], b"/other")

    def test_additional(self) -> None:
        """
        Variables can be added, replaced and left out.
        """
        self.root = FastCGIProxyResource(
            self.agent,
            variables={"APP": "1", b"REMOTE_ADDR": "::1", "REMOTE_PORT": None},
        )
        found = self.params(b"/")
        self.assertEqual(found[b"APP"], b"1")
        self.assertEqual(found[b"REMOTE_ADDR"], b"::1")
        self.assertNotIn(b"REMOTE_PORT", found)

    @table(
        {
            "absolute-form": (b"http://example.com/", b"GET", b"Host: example.com"),
            "authority-form": (b"example.com:80", b"CONNECT", b"Host: example.com"),
            "NUL": (b"/a%00b", b"GET", b"Host: example.com"),
            "Host": (b"/", b"GET", b"Host: example.com/x"),
            "method": (b"/", b"G{T", b"Host: example.com"),
        }
    )
    def test_impossible(self, target: bytes, method: bytes, field: bytes) -> None:
        """
        A request that can't be passed on is refused.
        """
        client = self.ask(target, field, b"", method=method)
        self.assertEqual(client.status, 400)
        self.assertEqual(self.application.peers, [])


class BehindFastCGITests(ProxyTestCase):
    """
    A proxy in a site that is itself behind another web server.
    """

    def params(self, path: bytes = b"/x y", **changes: bytes) -> dict[bytes, bytes]:
        """
        Send a request over FastCGI, and tell what the application gets.
        """
        factory = FastCGIFactory(self.root, reactor=self.clock)
        outside = ServerTransport()
        outside.connect(factory.buildProtocol(None))
        self.addCleanup(outside.close)
        outside.receive(wire.request(wire.variables(path, **changes)))
        found = self.peer.params()
        self.peer.answer(PLAIN + b"answer")
        answer = outside.response()
        self.assertEqual((answer.status, answer.body), (200, b"answer"))
        return found

    def test_variables(self) -> None:
        """
        What the web server says of the client is passed on: its addresses, TLS
        and the user whom it has recognized.
        """
        found = self.params(
            HTTPS=b"on",
            SERVER_PORT=b"443",
            REMOTE_USER=b"me",
            AUTH_TYPE=b"Basic",
            HTTP_HOST=b"www.example.com",
        )
        for name, value in {
            b"HTTPS": b"on",
            b"REQUEST_SCHEME": b"https",
            b"SERVER_PORT": b"443",
            b"SERVER_NAME": b"www.example.com",
            b"REMOTE_ADDR": b"192.0.2.7",
            b"REMOTE_USER": b"me",
            b"AUTH_TYPE": b"Basic",
            b"PATH_INFO": b"/x y",
        }.items():
            self.assertEqual(found[name], value, name)

    def test_less(self) -> None:
        """
        What it does not say is not made up.
        """
        found = self.params(REMOTE_ADDR=b"unix:", REMOTE_PORT=b"", SERVER_ADDR=b"")
        self.assertEqual(found[b"REMOTE_ADDR"], b"unix:")
        for name in (b"REMOTE_PORT", b"SERVER_ADDR", b"HTTPS", b"REMOTE_USER"):
            self.assertNotIn(name, found)

    def test_odd(self) -> None:
        """
        What has no place in a URI is written as it should be.
        """
        found = self.params(
            b"/\xc3\xa4",
            REQUEST_URI=b"/\xc3\xa4?\xff\xfe",
            QUERY_STRING=b"\xff\xfe",
        )
        self.assertEqual(found[b"REQUEST_URI"], b"/%C3%A4?%FF%FE")
        self.assertEqual(found[b"PATH_INFO"], b"/\xc3\xa4")
        self.assertEqual(found[b"QUERY_STRING"], b"%FF%FE")


class BodyTests(ProxyTestCase):
    """
    Requests with a body.
    """

    def test_body(self) -> None:
        """
        A body is passed on with its length, type and content, however it came.
        """
        for fields in [
            (b"Content-Length: 5", b"hello"),
            (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        ]:
            self.application.peers.clear()
            self.ask(b"/", b"Host: x", b"Content-Type: a/b", *fields, method=b"POST")
            found = self.peer.take()
            params = dict(wire.readPairs(found[1].content))
            self.assertEqual(params[b"CONTENT_LENGTH"], b"5")
            self.assertEqual(params[b"CONTENT_TYPE"], b"a/b")
            self.assertNotIn(b"HTTP_TRANSFER_ENCODING", params)
            self.assertEqual(found[3][::2], (wire.STDIN, b"hello"))
            self.assertEqual(found[4][::2], (wire.STDIN, b""))

    def test_empty(self) -> None:
        """
        A I{POST} without a body is said to have none.
        """
        self.ask(b"/", b"Host: x", b"Content-Length: 0", b"", method=b"POST")
        self.assertEqual(self.peer.params()[b"CONTENT_LENGTH"], b"0")

    def upload(self) -> tuple[Client, NarrowEndpoint]:
        """
        Send a large body to an application that does not read.
        """
        endpoint = NarrowEndpoint()
        self.root = FastCGIProxyResource(FastCGIAgent(self.clock, endpoint))
        length = b"Content-Length: %d" % len(self.body)
        client = self.ask(b"/", b"Host: x", length, self.body, method=b"POST")
        self.addCleanup(endpoint.transport.close)
        return client, endpoint

    body = b"0123456789" * 50000

    def test_backPressure(self) -> None:
        """
        A large body is sent as fast as the application takes it, and whole.
        """
        _, endpoint = self.upload()
        self.assertLess(endpoint.transport.unsent, 200000)
        endpoint.transport.stalled = False
        endpoint.transport.settle()
        found = wire.records(endpoint.transport.value())
        sent = b"".join(each.content for each in found if each.type == wire.STDIN)
        self.assertEqual(sent, self.body)
        self.assertEqual(found[-1][::2], (wire.STDIN, b""))

    def test_eagerConsumer(self) -> None:
        """
        A consumer that asks for more from within C{write} gets each piece
        once, in order, and the end once.
        """
        asked: list[Any] = []
        written: list[bytes] = []

        class Recorder:
            def request(self, *arguments: Any, **options: Any) -> Any:
                asked.extend(arguments)
                return Deferred()

        class Consumer:
            def write(self, data: bytes) -> None:
                written.append(data)
                producer.pauseProducing()
                producer.resumeProducing()

        agent: Any = Recorder()
        self.root = FastCGIProxyResource(agent)
        length = b"Content-Length: %d" % len(self.body)
        self.ask(b"/", b"Host: x", length, self.body, method=b"POST")
        producer = asked[3]
        self.assertEqual(producer.length, len(self.body))
        self.successResultOf(producer.startProducing(Consumer()))
        self.assertEqual(b"".join(written), self.body)

    def test_aborted(self) -> None:
        """
        The rest of a body is not sent when the browser goes away.
        """
        client, endpoint = self.upload()
        client.close()
        endpoint.transport.stalled = False
        endpoint.transport.settle()
        found = wire.records(endpoint.transport.value())
        self.assertEqual(found[-1].type, wire.ABORT_REQUEST)
        self.assertLess(len(endpoint.transport.value()), 200000)


class ResponseTests(ProxyTestCase):
    """
    What the browser gets.
    """

    def test_response(self) -> None:
        """
        Status, reason, header fields and body are passed on; header fields
        that concern one hop only are not.
        """
        client = self.ask(b"/")
        self.peer.answer(
            b"Status: 404 Not Here\r\nContent-Type: text/x\r\nX-A: 1\r\nX-A: 2\r\n"
            b"Server: mine\r\nConnection: X-A\r\nTransfer-Encoding: gzip\r\n"
            b"Content-Length: 4\r\n\r\nbody"
        )
        self.assertEqual(client.head[0], b"HTTP/1.1 404 Not Here")
        self.assertEqual(client.field(b"Content-Type"), [b"text/x"])
        self.assertEqual(client.field(b"X-A"), [b"1", b"2"])
        self.assertEqual(client.field(b"Server"), [b"mine"])
        self.assertEqual(len(client.field(b"Date")), 1)
        for name in (b"Connection", b"Transfer-Encoding", b"Status"):
            self.assertEqual(client.field(name), [])
        self.assertEqual(client.body, b"body")

    def test_noType(self) -> None:
        """
        No type is made up for a response that has none.
        """
        client = self.ask(b"/")
        self.peer.answer(b"Location: /there\n\n")
        self.assertEqual(client.status, 302)
        self.assertEqual(client.field(b"Location"), [b"/there"])
        self.assertEqual(client.field(b"Content-Type"), [])

    def test_cookies(self) -> None:
        """
        The cookies of the application and those of the site go together.
        """

        class Counted(Resource):
            def getChild(inner, path: bytes, request: Any) -> Any:
                request.addCookie(b"site", b"1")
                return self.proxy.getChildWithDefault(path, request)

        self.proxy, self.root = self.root, Counted()
        client = self.ask(b"/")
        self.peer.answer(b"Set-Cookie: a=1\nSet-Cookie: b=2; Path=/\n" + PLAIN)
        self.assertEqual(
            client.field(b"Set-Cookie"), [b"site=1", b"a=1", b"b=2; Path=/"]
        )

    def test_head(self) -> None:
        """
        A response to I{HEAD} has a header and no body.
        """
        client = self.ask(b"/", method=b"HEAD")
        self.assertEqual(self.peer.params()[b"REQUEST_METHOD"], b"HEAD")
        self.peer.answer(b"Content-Length: 10\n" + PLAIN + b"0123456789")
        self.assertEqual(client.field(b"Content-Length"), [b"10"])
        self.assertEqual(client.body, b"")

    def test_streamed(self) -> None:
        """
        The header is passed on at once, and each piece of the body when it
        comes.
        """
        client = self.ask(b"/")
        self.peer.stdout(PLAIN)
        self.assertEqual(client.status, 200)
        self.assertEqual(client.field(b"Transfer-Encoding"), [b"chunked"])
        self.assertEqual(client.body, b"")
        self.peer.stdout(b"one")
        self.assertEqual(client.body, b"3\r\none\r\n")
        self.peer.stdout(b"two")
        self.peer.end()
        self.assertEqual(client.body, b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        self.assertTrue(client.connected)

    def test_backPressure(self) -> None:
        """
        The application waits for a browser that reads slowly.
        """
        client = self.ask(b"/")
        client.stalled = True
        self.peer.stdout(PLAIN + b"x" * 100000)
        self.assertEqual(self.peer.transport.producerState, "paused")
        client.stalled = False
        client.settle()
        self.assertEqual(self.peer.transport.producerState, "producing")
        self.peer.end()
        self.assertTrue(client.body.endswith(b"\r\n0\r\n\r\n"))

    def test_again(self) -> None:
        """
        One connection of the browser serves one request after another, and so
        does one to the application.
        """
        client = self.connect()
        for number in range(3):
            client.ask(b"/", b"Host: x", b"")
            self.peer.answer(PLAIN + b"%d" % number)
        self.assertEqual(client.value().count(b"HTTP/1.1 200 OK"), 3)
        self.assertEqual(len(self.application.peers), 1)


class AbortTests(ProxyTestCase):
    """
    A browser that goes away.
    """

    def test_connecting(self) -> None:
        """
        No connection is made for a browser that is gone.
        """
        self.application.slow = True
        self.ask(b"/").close()
        self.assertEqual(self.application.cancelled, 1)
        self.assertEqual(self.logged(), [])

    def test_waiting(self) -> None:
        """
        A request whose response has not begun is aborted.
        """
        client = self.ask(b"/")
        self.peer.take()
        client.close()
        self.assertEqual([each.type for each in self.peer.take()], [wire.ABORT_REQUEST])
        self.assertEqual(self.logged(), [])

    def test_midway(self) -> None:
        """
        So is one whose response has begun; nothing is sent any more.
        """
        client = self.ask(b"/")
        self.peer.stdout(PLAIN + b"some")
        client.close()
        self.assertEqual([each.type for each in self.peer.take()], [wire.ABORT_REQUEST])
        self.peer.stdout(b"more")
        self.peer.end()
        self.clock.advance(0)
        self.assertEqual(self.logged(), [])


#: What goes wrong, and the status that tells so.
FAILURES: Sequence[tuple[str, Exception, int, str]] = (
    ("refused", ConnectionRefusedError("no"), 502, "no"),
    ("no socket", ConnectError(), 502, "An error occurred while connecting."),
    ("file", FileNotFoundError(2, "No such file"), 502, "No such file"),
    ("lookup", DNSLookupError("unknown"), 502, "unknown"),
    ("lost", ConnectionLost(), 502, "lost in a non-clean fashion"),
    ("late", TimeoutError(), 504, "timeout"),
    ("late TCP", TCPTimedOutError(), 504, "timed out"),
    ("silent", MemoryError(), 500, "could not be passed on"),
)


class FailureTests(ProxyTestCase):
    """
    An application that does not do what it should.
    """

    def assertRefused(self, client: Client, code: int, word: str) -> None:
        """
        Check that the browser got an error page, and that there is one line in
        the log with a certain word.
        """
        self.assertEqual(client.status, code)
        self.assertEqual(client.field(b"Content-Type"), [b"text/html; charset=utf-8"])
        self.assertIn(b"<h1>%d " % code, client.body)
        (line,) = self.logged()
        self.assertIn("GET /", line)
        self.assertIn(word, line)
        self.assertTrue(client.connected)

    @table(
        {
            "escape": (b"G\x1b[2JT", b"/\x1b[2J"),
            "bell": (b"GET", b"/\x07"),
            "NEL": (b"G\x85T", b"/\x85"),
            "tab": (b"GET", b"/\ta"),
            "feed": (b"G\x0cT", b"/\x0b"),
        }
    )
    def test_logInjection(self, method: bytes, target: bytes) -> None:
        """
        What a browser sends stands in the log as one line of text, whatever it
        is.
        """
        for error in (ConnectError(), MemoryError()):
            self.application.error = error
            self.ask(target, method=method)
        for line in self.logged():
            self.assertTrue(line.isprintable() and line.isascii(), repr(line))
        self.flushLoggedErrors()

    @table({name: row for name, *row in FAILURES})
    def test_connecting(self, error: Exception, code: int, word: str) -> None:
        """
        If there is no connection, the status tells why.
        """
        self.application.error = error
        self.assertRefused(self.ask(b"/"), code, word)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), code == 500)

    def test_head(self) -> None:
        """
        An error page has no body for I{HEAD}.
        """
        self.application.error = ConnectionRefusedError()
        client = self.ask(b"/", method=b"HEAD")
        self.assertEqual((client.status, client.body), (502, b""))

    def test_timeout(self) -> None:
        """
        A response that does not come in time is a 504.
        """
        client = self.ask(b"/")
        self.clock.advance(60)
        self.assertRefused(client, 504, "waited 60")

    def test_broken(self) -> None:
        """
        What is no response is a 502.
        """
        client = self.ask(b"/")
        self.peer.answer(b"no header\n\n")
        self.assertRefused(client, 502, "no header")

    def test_overloaded(self) -> None:
        """
        An application that takes no more requests is a 503, one that takes
        none of this kind a 502.
        """
        for status, code in [(2, 503), (3, 502)]:
            self.application.peers.clear()
            self.agent.closeCachedConnections()
            client = self.ask(b"/")
            self.peer.end(protocolStatus=status)
            self.assertEqual(client.status, code)

    def test_closed(self) -> None:
        """
        When the agent is closed, requests get a 503.
        """
        client = self.ask(b"/")
        self.agent.close()
        self.assertRefused(client, 503, "closed")

    def test_emptyBody(self) -> None:
        """
        A response that fails before its body has begun may have been passed on
        already: the connection ends.
        """
        client = self.ask(b"/")
        self.peer.stdout(b"Content-Length: 4\n" + PLAIN)
        self.peer.lose(ConnectionLost())
        client.settle()
        self.assertEqual(client.status, 200)
        self.assertFalse(client.connected)

    def test_failedAtOnce(self) -> None:
        """
        A response whose failure comes together with its header is replaced by
        an error page, and nothing of its header is passed on.
        """
        client = self.ask(b"/")
        self.peer.take()
        self.peer.send(
            wire.stream(
                wire.STDOUT, 1, b"X-A: 1\nContent-Length: 4\n" + PLAIN, end=False
            )
            + wire.record(wire.END_REQUEST, 1, bytes((0, 0, 0, 1, 0, 0, 0, 0)))
        )
        self.assertEqual(client.field(b"X-A"), [])
        self.assertRefused(client, 502, "status 1 after 0 bytes")

    def test_midway(self) -> None:
        """
        A response that fails midway ends the connection, so that the browser
        learns of it.
        """
        client = self.ask(b"/")
        self.peer.stdout(PLAIN + b"some")
        self.peer.lose(ConnectionLost())
        client.settle()
        self.assertTrue(client.body.endswith(b"4\r\nsome\r\n"))
        self.assertFalse(client.connected)
        (line,) = self.logged()
        self.assertIn("not whole", line)


class DocumentRootTests(ProxyTestCase):
    """
    Scripts and files.
    """

    def setUp(self) -> None:
        """
        Make a folder.
        """
        super().setUp()
        temporary = TemporaryDirectory(prefix="proxy-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "sub").mkdir()
        for name in ("index.php", "sub/page.php"):
            (self.folder / name).write_text("<?php")
        (self.folder / "style.css").write_text("body {}")
        self.root = FastCGIProxyResource(self.agent, self.folder)

    def script(self, target: bytes) -> dict[bytes, bytes]:
        """
        Ask for a script, and tell what it learns of its place.
        """
        self.application.peers.clear()
        self.agent.closeCachedConnections()
        self.ask(target)
        params = self.peer.params()
        self.peer.answer()
        names = (
            *(b"SCRIPT_NAME", b"SCRIPT_FILENAME", b"DOCUMENT_ROOT"),
            *(b"PATH_INFO", b"PATH_TRANSLATED", b"REQUEST_URI"),
        )
        return {name: params[name] for name in names if name in params}

    def test_script(self) -> None:
        """
        A script learns where it is, where its file is, and what follows in the
        path.
        """
        folder = os.fsencode(self.folder)
        self.assertEqual(
            self.script(b"/sub/page.php/more/%C3%A4?q"),
            {
                b"SCRIPT_NAME": b"/sub/page.php",
                b"SCRIPT_FILENAME": folder + b"/sub/page.php",
                b"DOCUMENT_ROOT": folder,
                b"PATH_INFO": b"/more/\xc3\xa4",
                b"PATH_TRANSLATED": folder + b"/more/\xc3\xa4",
                b"REQUEST_URI": b"/sub/page.php/more/%C3%A4?q",
            },
        )
        self.assertEqual(
            self.script(b"/"),
            {
                b"SCRIPT_NAME": b"/index.php",
                b"SCRIPT_FILENAME": folder + b"/index.php",
                b"DOCUMENT_ROOT": folder,
                b"REQUEST_URI": b"/",
            },
        )

    def test_mounted(self) -> None:
        """
        The folder may stand for a place further down in a site.
        """
        proxy, self.root = self.root, Resource()
        self.root.putChild(b"blog", proxy)
        found = self.script(b"/blog/sub/page.php/x")
        self.assertEqual(found[b"SCRIPT_NAME"], b"/blog/sub/page.php")
        self.assertEqual(
            found[b"SCRIPT_FILENAME"], os.fsencode(self.folder / "sub/page.php")
        )
        self.assertEqual(found[b"PATH_INFO"], b"/x")
        self.assertEqual(self.ask(b"/blog?a=b").field(b"Location"), [b"/blog/?a=b"])

    def test_options(self) -> None:
        """
        The options that concern files are used.
        """
        self.root = FastCGIProxyResource(
            self.agent,
            self.folder,
            index=["none"],
            suffixes=[".css"],
            frontController="style.css",
            remoteRoot="/",
        )
        self.assertEqual(
            self.script(b"/"),
            {
                b"SCRIPT_NAME": b"/style.css",
                b"SCRIPT_FILENAME": b"/style.css",
                b"DOCUMENT_ROOT": b"/",
                b"REQUEST_URI": b"/",
            },
        )

    def test_file(self) -> None:
        """
        Another file is sent with its type, and asked for in the usual ways; it
        can't be posted to.
        """
        inside = FastCGITestClient(self.root)
        response = inside.resultOf(inside.get("/style.css"))
        self.assertEqual(response.headers.getRawHeaders("Content-Type"), ["text/css"])
        self.assertEqual(response.body, b"body {}")
        response = inside.resultOf(
            inside.get("/style.css", headers={"Range": "bytes=0-3"})
        )
        self.assertEqual((response.code, response.body), (206, b"body"))
        response = inside.resultOf(inside.request("HEAD", "/style.css"))
        self.assertEqual(response.headers.getRawHeaders("Content-Length"), ["7"])
        self.assertEqual(inside.resultOf(inside.post("/style.css")).code, 405)
        self.assertEqual(self.application.peers, [])

    def test_noFiles(self) -> None:
        """
        Other files are kept back if that is wanted.
        """
        self.root = FastCGIProxyResource(self.agent, self.folder, serveFiles=False)
        self.assertEqual(self.ask(b"/style.css").status, 404)

    def test_missing(self) -> None:
        """
        The application is not asked for what is not there, nor for what is no
        script.
        """
        for target in (
            b"/none.php",
            b"/style.css/x.php",
            b"/sub/",
            b"/../x.php",
            b"/%2e%2e/x.php",
            b"/..%2fx.php",
            b"/index.php%00",
            b"/index.php/%00",
        ):
            client = self.ask(target)
            self.assertEqual(client.status, 404, target)
            self.assertIn(b"<h1>404 ", client.body)
        self.assertEqual(self.application.peers, [])

    def test_slash(self) -> None:
        """
        A folder without a slash is redirected to the one with it, on the same
        host in any case.
        """
        self.assertEqual(self.ask(b"/sub?a=/b").field(b"Location"), [b"/sub/?a=/b"])
        proxy, self.root = self.root, Resource()
        self.root.putChild(b"", proxy)
        self.assertEqual(self.ask(b"//sub").field(b"Location"), [b"/sub/"])


class AsynchronousTests(ProxyTestCase):
    """
    What else may go on.
    """

    def test_render(self) -> None:
        """
        Rendering is not done when it returns.
        """
        seen: list[Any] = []
        render = self.root.render

        class Leaf(Resource):
            isLeaf = True

            def render(self, request: Any) -> Any:
                seen.append(render(request))
                return seen[0]

        self.root = Leaf()
        self.ask(b"/x")
        self.assertEqual(seen, [NOT_DONE_YET])
        self.assertEqual(self.peer.params()[b"PATH_INFO"], b"/x")
