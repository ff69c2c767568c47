# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.channel.RequestChannel}: one request, as the
application sees it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import provider
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import table
from tests.transports import (
    Application,
    PausingRequest,
    PushProducer,
    ServerTestCase,
    ServerTransport,
    later,
)
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.interfaces import IFastCGIRequest

GET = wire.request(wire.variables())
BODY = b"0123456789"
POST = wire.request(wire.postVariables(BODY), BODY)


def begun(body: bytes = BODY, **changes: bytes | None) -> bytes:
    """
    Build the beginning of a request whose body is still to come.
    """
    return wire.beginRequest() + wire.params(wire.postVariables(body, **changes))


def piece(data: bytes) -> bytes:
    """
    Build a piece of the body.
    """
    return wire.stdin(data, end=False)


def names(answer: wire.Response) -> list[bytes]:
    """
    Tell the names of the header fields.
    """
    return [name for name, _ in answer.headers]


def wholeBody(request: Any) -> bytes:
    """
    Answer with the body: an answer for an L{Application}.
    """
    request.content.seek(0)
    body: bytes = request.content.read()
    return body


class ChannelTestCase(ServerTestCase):
    """
    A test case with requests of the application's own making.
    """

    def serveWith(
        self,
        requestFactory: Any,
        application: Any = b"hello",
        limits: Limits | None = None,
    ) -> Application:
        """
        Serve a site that has its own C{requestFactory}.
        """
        found = Application(application)
        self.serve(Site(found, requestFactory, reactor=self.clock), limits)
        return found

    def ask(self, application: Any, **changes: bytes | None) -> wire.Response:
        """
        Make one request of an application.

        @return: The answer.
        """
        self.serve(application)
        return self.exchange(wire.request(wire.variables(**changes))).response()


class InterfaceTests(ChannelTestCase):
    """
    What an application finds on a request.
    """

    def test_interfaces(self) -> None:
        """
        The channel is the request's transport, and all that this means.
        """
        application = self.serve(later)
        self.exchange(GET)
        channel = application.request.channel
        for interface in (ITransport, IPushProducer, IConsumer, IFastCGIRequest):
            verifyObject(interface, channel)
        self.assertIs(application.request.transport, channel)
        self.assertIs(channel.transport, channel)

    @table(
        {
            "the factory's own": (None,),
            "one that is called with two arguments": (Request,),
            "one that says that one is enough": (
                provider(INonQueuedRequestFactory)(lambda channel: Request(channel)),
            ),
        }
    )
    def test_fastCGIRequest(self, requestFactory: Any) -> None:
        """
        Whatever made the request, C{IFastCGIRequest} tells what FastCGI knows
        about it: all variables, the last value of a repeated one, in a mapping
        that nobody can change; the role and the id.
        """
        if requestFactory is None:
            application = self.serve(later)
        else:
            application = self.serveWith(requestFactory, later)
        items = [*wire.variables(b"/", A=b"1").items(), (b"A", b"2"), (b"", b"")]
        transport = self.exchange(wire.request(items, requestId=300))
        fcgi = IFastCGIRequest(application.request)
        self.assertEqual(fcgi.params, dict(items))
        self.assertIsInstance(fcgi.params, MappingProxyType)
        self.assertEqual((fcgi.role, fcgi.requestId), (1, 300))
        self.assertEqual(fcgi.appStatus, 0)
        fcgi.appStatus = 0xFFFFFFFF
        application.request.finish()
        self.assertEqual(transport.response().appStatus, 0xFFFFFFFF)
        self.assertIs(IFastCGIRequest(application.request, None), None)

    def test_afterAbort(self) -> None:
        """
        Of a request that was aborted there is nothing to be told any more.
        """
        application = self.serve(later)
        self.exchange(GET, wire.abortRequest())
        self.assertIs(IFastCGIRequest(application.request, None), None)

    def test_appStatus(self) -> None:
        """
        An application status has 32 bits.
        """
        application = self.serve(later)
        self.exchange(GET)
        fcgi = IFastCGIRequest(application.request)
        for status in (-1, 1 << 32):
            with self.assertRaises(ValueError) as caught:
                fcgi.appStatus = status
            self.assertIn(str(status), str(caught.exception))
        self.assertEqual(fcgi.appStatus, 0)

    def test_http(self) -> None:
        """
        One site can be served over HTTP and FastCGI at the same time, and its
        resources can tell which it is.
        """

        def render(request: Any) -> bytes:
            fcgi = IFastCGIRequest(request, None)
            return b"HTTP" if fcgi is None else fcgi.params[b"SERVER_SOFTWARE"]

        site = Site(Application(render), reactor=self.clock)
        self.serve(site)
        self.assertIs(self.factory.site, site)
        web: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 9))
        transport = StringTransport()
        web.makeConnection(transport)
        web.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(transport.value().endswith(b"\r\n\r\nHTTP"))
        web.connectionLost(None)
        self.assertEqual(self.exchange(GET).response().body, b"nginx/1.22.1")

    @table(
        {
            "IPv4": (
                {},
                IPv4Address("TCP", "192.0.2.7", 45740),
                IPv4Address("TCP", "192.0.2.1", 80),
                False,
            ),
            "IPv6": (
                {
                    "REMOTE_ADDR": b"2001:db8::7",
                    "SERVER_ADDR": b"2001:db8::1",
                    "SERVER_PORT": b"443",
                    "HTTPS": b"on",
                },
                IPv6Address("TCP", "2001:db8::7", 45740),
                IPv6Address("TCP", "2001:db8::1", 443),
                True,
            ),
            "Unix": (
                {"REMOTE_ADDR": b"unix:", "REMOTE_PORT": b"", "SERVER_ADDR": b"unix:"},
                IPv4Address("TCP", "unix:", 0),
                IPv4Address("TCP", "www.example.com", 80),
                False,
            ),
        }
    )
    def test_addresses(
        self, changes: dict[str, bytes], client: Any, server: Any, secure: bool
    ) -> None:
        """
        Client and server are those of the HTTP request, not the two ends of
        the FastCGI connection; and TLS is that of the client.
        """
        application = self.serve(later)
        self.exchange(wire.request(wire.variables(b"/", **changes)))
        request = application.request
        self.assertEqual(request.getClientAddress(), client)
        self.assertEqual(request.getHost(), server)
        self.assertEqual(request.transport.getPeer(), client)
        self.assertEqual(request.transport.getHost(), server)
        self.assertIs(request.isSecure(), secure)

    def test_path(self) -> None:
        """
        The path is the one that the front end's access rules have seen: what
        the client wrote counts only if it means the same.
        """
        application = self.serve()
        for uri, expected in (
            (b"/a%62c?d", b"/a%62c?d"),
            (b"/x/../abc?d", b"/abc?d"),
            (b"//abc?d", b"/abc?d"),
            (b"http://www.example.com/abc?d", b"/abc?d"),
        ):
            variables = wire.variables(b"/abc", REQUEST_URI=uri, QUERY_STRING=b"d")
            self.exchange(wire.request(variables))
            self.assertEqual(application.seen[-1][1], expected)

    def test_variables(self) -> None:
        """
        Variables become what they are in HTTP, and those headers that only
        mean something between two servers do not become anything.
        """
        application = self.serve(later)
        hidden = ("PROXY", "TRANSFER_ENCODING", "CONNECTION", "KEEP_ALIVE", "TE")
        hidden += ("TRAILER", "UPGRADE", "EXPECT", "CONTENT_LENGTH", "CONTENT_TYPE")
        changes = {f"HTTP_{name}": b"chunked" for name in hidden}
        variables = wire.postVariables(
            BODY, b"/p", HTTP_X_Y=b"z", SERVER_PROTOCOL=b"HTTP/2.0", **changes
        )
        self.exchange(wire.request(variables, BODY))
        request = application.request
        self.assertEqual(request.method, b"POST")
        self.assertEqual(request.clientproto, b"HTTP/2.0")
        self.assertEqual(
            sorted(application.seen[0][2].items()),
            [
                (b"Content-Length", [b"10"]),
                (b"Content-Type", [b"application/octet-stream"]),
                (b"Host", [b"www.example.com"]),
                (b"X-Y", [b"z"]),
            ],
        )

    def test_streamingRequest(self) -> None:
        """
        A request that takes its body as it comes finds on the channel what it
        does on that of HTTP, before it has anything itself.
        """
        seen: list[Any] = []

        class Streaming(Request):
            def gotLength(self, length: int | None) -> None:
                channel: Any = self.channel
                seen.append((channel._command, channel._path, channel._version))
                seen.append((length, channel.length, channel.persistent))
                seen.append((channel.site, channel.factory))
                seen.append((self.getHeader(b"host"), self.getCookie(b"a")))
                super().gotLength(length)

        self.serveWith(Streaming)
        site = self.factory.site
        self.exchange(begun(HTTP_COOKIE=b"a=b"))
        self.assertEqual(
            seen,
            [
                (b"POST", b"/", b"HTTP/1.1"),
                (10, 10, True),
                (site, site),
                (b"www.example.com", b"b"),
            ],
        )

    def test_age(self) -> None:
        """
        It tells when the request began, which is when its variables had come,
        and for how long it has been in hand: on a clock that is set back never
        less than nothing.
        """
        application = self.serve(later)
        transport = self.exchange(begun()[:30])
        self.advance(2)
        transport.receive(begun()[30:])
        self.advance(1.5)
        transport.receive(wire.stdin(BODY))
        channel = application.request.channel
        self.assertEqual((channel.began, channel.age), (2, 1.5))
        self.clock.rightNow = 0.0
        self.assertEqual(channel.age, 0)

    def test_disconnecting(self) -> None:
        """
        It tells whether a response can still be sent.
        """
        application = self.serve(later)
        self.exchange(GET)
        channel = application.request.channel
        self.assertFalse(channel.disconnecting)
        application.request.finish()
        self.assertTrue(channel.disconnecting)

    def test_headAsGet(self) -> None:
        """
        An application that takes a C{HEAD} for a C{GET} sends no body either.
        """

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Application:
                request.method = b"GET"
                return Application(b"hello")

        self.serve(Root())
        variables = wire.variables(REQUEST_METHOD=b"HEAD")
        answer = self.exchange(wire.request(variables)).response()
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertIn((b"Content-Length", b"5"), answer.headers)

    def test_persistent(self) -> None:
        """
        It tells whether the connection stays open.
        """
        application = self.serve(later)
        self.exchange(wire.request(wire.variables(), keep=False))
        self.assertFalse(application.request.channel.persistent)

    @table(
        {
            "told": (b"10", [10]),
            "nothing": (b"0", [0]),
            "unknown": (b"", [None]),
        }
    )
    def test_gotLength(self, told: bytes, lengths: list[int | None]) -> None:
        """
        A request is told the length of its body exactly once, before the body.
        """
        seen: list[int | None] = []

        class Noting(Request):
            def gotLength(self, length: int | None) -> None:
                seen.append(length)
                super().gotLength(length)

        self.serveWith(Noting)
        self.exchange(begun(CONTENT_LENGTH=told), piece(b"01234") + piece(b"56789"))
        self.assertEqual(seen, lengths)

    def test_gotLengthOfNothing(self) -> None:
        """
        A request of unknown length without a body is told that it is 0: with
        L{None} it would make a temporary file for each C{GET}.
        """
        seen: list[int | None] = []

        class Noting(Request):
            def gotLength(self, length: int | None) -> None:
                seen.append(length)
                super().gotLength(length)

        self.serveWith(Noting)
        self.assertEqual(self.exchange(GET).response().status, 200)
        self.assertEqual(seen, [0])

    def test_accessLog(self) -> None:
        """
        A site that was given logs its requests; one that was made does not,
        because web servers do.
        """
        for given in (True, False):
            logged: list[Any] = []
            application = Application()
            self.serve(Site(application, reactor=self.clock) if given else application)
            self.patch(self.factory.site, "log", logged.append)
            self.exchange(GET)
            self.assertEqual(logged, application.requests if given else [])


class PauseTests(ChannelTestCase):
    """
    An application can keep the body waiting.
    """

    def begin(self) -> tuple[ServerTransport, Any]:
        """
        Begin a request that takes one piece of its body at a time.

        @return: The connection; the request.
        """
        made: list[Any] = []

        def make(channel: Any, queued: Any) -> Any:
            made.append(PausingRequest(channel, queued))
            return made[-1]

        self.serveWith(make, lambda request: wholeBody(request) or b"none")
        return self.connect(), made

    def test_pause(self) -> None:
        """
        While the body is paused the application gets nothing; then it gets the
        pieces one by one in their order, and renders when it wants no more.
        """
        transport, made = self.begin()
        transport.receive(begun())
        transport.receive(*[piece(bytes([byte])) for byte in BODY])
        (request,) = made
        for number in range(1, 11):
            self.assertEqual(b"".join(request.pieces), BODY[:number])
            self.assertEqual(transport.value(), b"")
            request.transport.resumeProducing()
        self.assertEqual(transport.response().body, BODY)
        transport.receive(wire.stdin())
        self.assertTrue(transport.connected)

    def test_pausedBeforeRender(self) -> None:
        """
        A request whose body is complete does not render before the application
        wants it.
        """
        transport, made = self.begin()
        transport.receive(POST)
        self.assertEqual(transport.value(), b"")
        made[0].transport.resumeProducing()
        self.assertEqual(transport.response().body, BODY)

    def test_resumeTwice(self) -> None:
        """
        To resume what is not paused does nothing.
        """
        transport, made = self.begin()
        transport.receive(begun())
        made[0].transport.resumeProducing()
        made[0].transport.resumeProducing()
        self.assertEqual(transport.value(), b"")

    def test_resumeWithin(self) -> None:
        """
        To resume from within C{handleContentChunk} does not deliver the next
        piece before this one is done.
        """
        order: list[Any] = []

        class Reentrant(Request):
            def handleContentChunk(self, data: bytes) -> None:
                order.append(data)
                self.transport.pauseProducing()
                self.transport.resumeProducing()
                order.append("done")
                super().handleContentChunk(data)

        self.serveWith(Reentrant, wholeBody)
        between = wire.record(wire.STDIN, 7, b"of no request")
        body = between.join([piece(b"01"), piece(b"2"), piece(BODY[3:])])
        transport = self.exchange(begun(), body)
        self.assertEqual(order, [b"01", "done", b"2", "done", BODY[3:], "done"])
        self.assertEqual(transport.response().body, BODY)

    def test_resumeWithinHeld(self) -> None:
        """
        Neither does it while what was held is delivered.
        """
        order: list[Any] = []

        class Reentrant(PausingRequest):
            def handleContentChunk(self, data: bytes) -> None:
                order.append(data)
                super().handleContentChunk(data)
                if data != b"0":
                    self.transport.resumeProducing()
                order.append("done")

        application = self.serveWith(Reentrant, wholeBody)
        transport = self.exchange(begun(), *[piece(bytes([byte])) for byte in BODY])
        self.assertEqual(order, [b"0", "done"])
        transport.protocol._channel.resumeProducing()
        pieces = [bytes([byte]) for byte in BODY]
        self.assertEqual(order, [x for one in pieces for x in (one, "done")])
        self.assertEqual(transport.response().body, BODY)
        self.assertEqual(len(application.requests), 1)

    def test_reentrantPull(self) -> None:
        """
        An application that asks for each piece from a place of its own gets
        them in order as well.
        """
        transport, made = self.begin()
        transport.receive(begun(), *[piece(bytes([byte])) for byte in BODY])
        for _ in range(len(BODY)):
            self.clock.callLater(1, made[0].transport.resumeProducing)
            self.clock.advance(1)
        self.assertEqual(transport.response().body, BODY)

    def test_abortIsSeen(self) -> None:
        """
        While the body waits, an abort is still seen, and nothing of the body
        is delivered after it.
        """
        transport, made = self.begin()
        transport.receive(begun(), piece(b"01"), piece(b"23"))
        failures: list[Any] = []
        made[0].notifyFinish().addErrback(failures.append)
        channel = made[0].transport
        transport.receive(wire.abortRequest())
        self.assertEqual(len(failures), 1)
        channel.resumeProducing()
        self.assertEqual(made[0].pieces, [b"01"])
        self.assertServesPausing(transport)

    def assertServesPausing(self, transport: ServerTransport) -> None:
        """
        See that the next request is served.
        """
        transport.clear()
        transport.receive(GET)
        self.assertEqual(transport.response().body, b"none")

    def test_endIsSeen(self) -> None:
        """
        So is the end of the connection.
        """
        transport, made = self.begin()
        transport.receive(begun(), piece(b"01"), piece(b"23"))
        failures: list[Any] = []
        made[0].notifyFinish().addErrback(failures.append)
        transport.close()
        self.assertEqual(len(failures), 1)

    def test_heldIsBounded(self) -> None:
        """
        No more than about 64 KiB of the body are kept waiting: then reading
        stops, and goes on when some of that has been taken.
        """
        transport, made = self.begin()
        body = b"0123456789" * 50000
        transport.receive(begun(body))
        pieces = [body[start : start + 10000] for start in range(0, len(body), 10000)]
        transport.receive(*map(piece, pieces))
        self.assertEqual(transport.producerState, "paused")
        self.assertGreater(transport.undelivered, 400000)
        while not transport.value():
            made[0].transport.resumeProducing()
            transport.settle()
        self.assertEqual(made[0].pieces, pieces)
        self.assertEqual(transport.response().body, body)
        self.assertEqual(transport.producerState, "producing")

    def test_heldAtTheEdge(self) -> None:
        """
        Exactly 64 KiB may wait.
        """
        for extra, state in ((0, "producing"), (1, "paused")):
            transport, made = self.begin()
            transport.receive(begun(b"x" * 100000), piece(b"x"))
            transport.receive(piece(b"x" * 60000), piece(b"x" * (5536 + extra)))
            self.assertEqual(transport.producerState, state)
            self.assertEqual(made[-1].pieces, [b"x"])

    def test_finishWhilePaused(self) -> None:
        """
        A request that is answered while its body waits is over: the connection
        reads on, and skips the rest.
        """
        transport, made = self.begin()
        transport.receive(begun(b"x" * 200000), *[piece(b"x" * 40000)] * 4)
        self.assertEqual(transport.producerState, "paused")
        request = made[0]
        request.method, request.clientproto, request.uri = b"POST", b"HTTP/1.1", b"/"
        request.write(b"enough")
        request.finish()
        self.assertEqual(transport.producerState, "producing")
        transport.receive(wire.stdin(b"x" * 40000))
        self.assertEqual(transport.response().body, b"enough")
        self.assertServesPausing(transport)

    def test_loseConnectionWhilePaused(self) -> None:
        """
        So does a connection that is closed then: the end must be seen.
        """
        transport, made = self.begin()
        transport.receive(begun(b"x" * 200000), *[piece(b"x" * 40000)] * 4)
        made[0].transport.loseConnection()
        self.assertEqual(transport.producerState, "producing")
        transport.settle()
        self.assertTrue(transport.writeDisconnected)
        self.assertEqual(transport.undelivered, 0)

    def test_failureWhileHeld(self) -> None:
        """
        If the application fails on a piece that was held, the answer is 500,
        and the rest is dropped.
        """

        class Failing(PausingRequest):
            def handleContentChunk(self, data: bytes) -> None:
                super().handleContentChunk(data)
                if data == b"1":
                    raise ZeroDivisionError("on purpose")

        made: list[Any] = []
        self.serveWith(
            lambda channel, queued: made.append(Failing(channel, queued)) or made[-1]
        )
        transport = self.exchange(begun(), *[piece(bytes([byte])) for byte in BODY])
        made[0].transport.resumeProducing()
        self.assertEqual(transport.response().status, 500)
        self.assertEqual(made[0].pieces, [b"0", b"1"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_tooLargeWhilePaused(self) -> None:
        """
        A body that is too large gets 413 though the application has not taken
        it yet.
        """
        self.serveWith(PausingRequest, limits=Limits(bodyBytes=5))
        transport = self.exchange(begun(CONTENT_LENGTH=b""))
        transport.receive(piece(b"01"), piece(b"234"))
        self.assertEqual(transport.value(), b"")
        transport.receive(piece(b"5"))
        self.assertEqual(transport.response().status, 413)


class ResponseTests(ChannelTestCase):
    """
    The response that the web server gets.
    """

    def test_status(self) -> None:
        """
        There is a I{Status} in any case, last in the header block: HAProxy
        takes a I{Location} after it for another status.
        """

        def render(request: Any) -> bytes:
            request.setResponseCode(201, b"Made it")
            request.setHeader(b"location", b"/there")
            return b"x"

        answer = self.ask(render)
        self.assertEqual(answer.headers[-1], (b"Status", b"201 Made it"))
        self.assertEqual(answer.header(b"Location"), b"/there")

    def test_noOwnHeaders(self) -> None:
        """
        What is the web server's to say is not sent: no I{Server} and I{Date}
        of Twisted's, no framing; over any version of HTTP.
        """
        for version in (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"):
            for factory in (None, Request):
                self.serve(self.renderLate)
                if factory is not None:
                    self.serveWith(factory, self.renderLate)
                sent = wire.request(wire.variables(SERVER_PROTOCOL=version))
                answer = self.exchange(sent).response()
                self.assertEqual(names(answer), [b"Content-Type", b"Status"])
                self.assertEqual(answer.body, b"some more")

    def renderLate(self, request: Any) -> Any:
        """
        Answer in pieces of unknown length.
        """
        request.write(b"some ")
        request.write(b"more")
        request.finish()
        return NOT_DONE_YET

    def test_hopByHop(self) -> None:
        """
        Headers that only mean something between two servers are left out, and
        so is a I{Status} that is none.
        """
        hidden = (b"connection", b"keep-alive", b"proxy-connection", b"te")
        hidden += (b"trailer", b"upgrade", b"transfer-encoding", b"status")

        def render(request: Any) -> bytes:
            for name in hidden:
                request.setHeader(name, b"close")
            request.setHeader(b"x-kept", b"yes")
            return b"x"

        answer = self.ask(render)
        self.assertEqual(
            sorted(names(answer)),
            [b"Content-Length", b"Content-Type", b"Status", b"X-Kept"],
        )
        self.assertEqual(answer.body, b"x")

    def test_ownServer(self) -> None:
        """
        A I{Server} of the application's own is sent, whatever makes the
        requests; and so is a I{Date}, if it can be told from Twisted's.
        """

        def render(request: Any) -> bytes:
            request.setHeader(b"server", b"mine")
            request.setHeader(b"date", b"today")
            return b"x"

        answer = self.ask(render)
        self.assertEqual(answer.header(b"Server"), b"mine")
        self.assertEqual(answer.header(b"Date"), b"today")
        self.serveWith(Request, render)
        self.assertEqual(self.exchange(GET).response().header(b"Server"), b"mine")

    def test_headersAreNotSplit(self) -> None:
        """
        CR, LF and NUL can't make a header into two, nor end the block.
        """

        def render(request: Any) -> bytes:
            request.setResponseCode(200, b"O\r\nX: y\0K")
            request.responseHeaders.setRawHeaders(b"x", [b"a\r\n\r\nb\0c"])
            return b"x"

        answer = self.ask(render)
        self.assertEqual(
            sorted(names(answer)), [b"Content-Length", b"Content-Type", b"Status", b"X"]
        )
        self.assertEqual(answer.body, b"x")

    @table(
        {
            "GET": (b"GET", 200, b"body"),
            "HEAD": (b"HEAD", 200, b""),
            "204": (b"GET", 204, b""),
            "304": (b"GET", 304, b""),
        }
    )
    def test_noBody(self, method: bytes, code: int, body: bytes) -> None:
        """
        There is no body on C{HEAD}, 204 and 304, however it is written.
        """
        for early in (False, True):

            def render(request: Any, early: bool = early) -> Any:
                request.setResponseCode(code)
                if not early:
                    return b"body"
                channel = request.channel
                request.write(b"bo")
                channel.write(b"dy"[: 2 * bool(body)])
                channel.writeSequence([b"", b"dy"] if not body else [b""])
                request.finish()
                return NOT_DONE_YET

            answer = self.ask(render, REQUEST_METHOD=method)
            self.assertEqual((answer.status, answer.body), (code, body))
            self.assertTrue(answer.stdoutEnded)
            self.assertEqual(answer.appStatus, 0)

    def test_headKeepsLength(self) -> None:
        """
        The answer to C{HEAD} says how long the body would have been.
        """
        answer = self.ask(b"body", REQUEST_METHOD=b"HEAD")
        self.assertEqual(answer.header(b"Content-Length"), b"4")
        self.assertEqual(answer.body, b"")

    def test_headAnsweredEarly(self) -> None:
        """
        That holds for a request that answers before it knows that it is a
        C{HEAD}.
        """

        class Early(Request):
            def gotLength(self, length: int | None) -> None:
                super().gotLength(length)
                self.clientproto = b"HTTP/1.1"
                self.write(b"body")
                self.finish()

        self.serveWith(Early)
        sent = wire.request(wire.variables(REQUEST_METHOD=b"HEAD", CONTENT_LENGTH=b"0"))
        self.assertEqual(self.exchange(sent).response().body, b"")

    @table(
        {
            "too much at once": ([b"0123456789"], b"01234"),
            "too much in the end": ([b"012", b"3456", b"789"], b"01234"),
            "as much as told": ([b"01234"], b"01234"),
            "and nothing more": ([b"01234", b""], b"01234"),
        }
    )
    def test_contentLength(self, pieces: list[bytes], body: bytes) -> None:
        """
        Never more is sent than I{Content-Length} tells; the log tells once.
        """

        def render(request: Any) -> Any:
            request.setHeader(b"content-length", b"5")
            for data in pieces:
                request.write(data)
            request.finish()
            return NOT_DONE_YET

        self.serve(render)
        transport = self.exchange(GET)
        answer = transport.response()
        self.assertEqual(answer.body, body)
        self.assertEqual(answer.header(b"Content-Length"), b"5")
        self.assertEqual((answer.appStatus, answer.stdoutEnded), (0, True))
        self.assertEqual(len(self.logged()), int(b"".join(pieces) != body))
        self.assertTrue(transport.connected)

    def test_tooLittle(self) -> None:
        """
        If less is written than I{Content-Length} tells, the web server is to
        see it: END_REQUEST says 1 and comes without the end of STDOUT, and the
        connection is closed though it was to be kept.
        """

        def render(request: Any) -> Any:
            request.setHeader(b"content-length", b"5")
            request.write(b"012")
            request.finish()
            return NOT_DONE_YET

        self.serve(render)
        transport = self.exchange(GET)
        answer = transport.response()
        self.assertEqual((answer.body, answer.stdoutEnded), (b"012", False))
        self.assertEqual(answer.appStatus, 1)
        self.assertFalse(transport.connected)
        self.assertEqual(len(self.logged(LogLevel.error)), 1)
        self.assertIn("3", self.logged()[0])
        self.assertIn("5", self.logged()[0])

    def test_tooLittleWithStatus(self) -> None:
        """
        An application status of its own is sent then.
        """

        def render(request: Any) -> Any:
            IFastCGIRequest(request).appStatus = 7
            request.setHeader(b"content-length", b"5")
            request.finish()
            return NOT_DONE_YET

        self.assertEqual(self.ask(render).appStatus, 7)

    @table({"no number": ([b"five"],), "two numbers": ([b"5", b"6"],)})
    def test_strangeLength(self, values: list[bytes]) -> None:
        """
        A I{Content-Length} that is not one number is not sent, and does not
        cut anything.
        """

        def render(request: Any) -> Any:
            request.responseHeaders.setRawHeaders(b"content-length", values)
            request.write(b"0123456789")
            request.finish()
            return NOT_DONE_YET

        answer = self.ask(render)
        self.assertIs(answer.header(b"Content-Length"), None)
        self.assertEqual(answer.body, b"0123456789")

    @table({str(code): (code,) for code in (100, 101, 103, 199, 600, 999)})
    def test_informational(self, code: int) -> None:
        """
        A status that is not that of a final response can't be sent, because
        web servers take it for one: the answer is 500 then, and the log tells
        why.
        """

        def atOnce(request: Any) -> bytes:
            request.setResponseCode(code)
            return b"body"

        def inPieces(request: Any) -> Any:
            request.setResponseCode(code)
            request.setHeader(b"content-length", b"1000")
            request.write(b"body")
            request.finish()
            return NOT_DONE_YET

        for render, method in (
            *((atOnce, b"GET"), (atOnce, b"HEAD")),
            *((inPieces, b"GET"), (inPieces, b"HEAD")),
        ):
            del self.events[:]
            answer = self.ask(render, REQUEST_METHOD=method)
            self.assertEqual(answer.status, 500)
            self.assertNotIn(b"Status: %d" % code, answer.stdout)
            self.assertEqual(answer.body == b"", method == b"HEAD")
            if answer.body:
                length = answer.header(b"Content-Length")
                self.assertEqual(length, b"%d" % len(answer.body))
            self.assertTrue(answer.stdoutEnded)
            self.assertEqual(len(self.logged(LogLevel.error)), 1)
            self.assertIn(str(code), self.logged()[0])

    def test_large(self) -> None:
        """
        Large pieces and a large header block go out as they are.
        """

        def render(request: Any) -> Any:
            request.setHeader(b"x", b"y" * 5000)
            request.write(b"a" * 5000)
            request.write(b"b" * 200000)
            request.finish()
            return NOT_DONE_YET

        answer = self.ask(render)
        self.assertEqual(answer.header(b"X"), b"y" * 5000)
        self.assertEqual(answer.body, b"a" * 5000 + b"b" * 200000)

    def test_headersFirst(self) -> None:
        """
        A response that is still to come shows its header block already.
        """

        def render(request: Any) -> Any:
            request.write(b"")
            return NOT_DONE_YET

        application = self.serve(render)
        transport = self.exchange(GET)
        answer = transport.response(unfinished=True)
        self.assertEqual((answer.status, answer.body), (200, b""))
        application.request.write(b"later")
        application.request.finish()
        self.assertEqual(transport.response().body, b"later")

    def test_writeSequence(self) -> None:
        """
        Pieces can be written together.
        """

        def render(request: Any) -> Any:
            request.write(b"a")
            request.transport.writeSequence([b"b", b"", b"c"])
            request.finish()
            return NOT_DONE_YET

        self.assertEqual(self.ask(render).body, b"abc")


class GivingUpTests(ChannelTestCase):
    """
    The application gives a response up.
    """

    def begin(self, *writes: bytes, **headers: bytes) -> tuple[Any, ServerTransport]:
        """
        Begin a response.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        request = application.request
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-").encode(), value)
        for data in writes:
            request.write(data)
        self.failures: list[Any] = []
        request.notifyFinish().addErrback(self.failures.append)
        return request, transport

    def assertToldOnce(self) -> None:
        """
        See that the application was told that the response is over.
        """
        (failure,) = self.failures
        failure.trap(ConnectionAborted)

    @table({"loseConnection": ("loseConnection",), "stop": ("stopProducing",)})
    def test_beforeHeaders(self, name: str) -> None:
        """
        Before the header block the connection is closed without an answer.
        """
        request, transport = self.begin()
        getattr(request.transport, name)()
        transport.settle()
        self.assertEqual(transport.value(), b"")
        self.assertFalse(transport.connected)
        self.assertToldOnce()

    def test_withoutLength(self) -> None:
        """
        Without a I{Content-Length} the connection is closed without
        END_REQUEST: otherwise the response would look complete.
        """
        request, transport = self.begin(b"half")
        request.loseConnection()
        transport.settle()
        answer = transport.response(unfinished=True)
        self.assertEqual((answer.body, answer.stdoutEnded), (b"half", False))
        self.assertFalse(answer.ended)
        self.assertFalse(transport.connected)
        self.assertToldOnce()

    def test_withLength(self) -> None:
        """
        With one END_REQUEST says 1 and comes without the end of STDOUT, and
        the connection is closed: nginx would wait for ever on a kept one, and
        see no damage on another.
        """
        request, transport = self.begin(b"half", content_length=b"100")
        request.loseConnection()
        transport.settle()
        answer = transport.response()
        self.assertEqual((answer.body, answer.stdoutEnded), (b"half", False))
        self.assertEqual(answer.appStatus, 1)
        self.assertFalse(transport.connected)
        self.assertToldOnce()

    def test_head(self) -> None:
        """
        Where there is no body, there is no length to be missed.
        """
        application = self.serve(later)
        sent = wire.request(wire.variables(REQUEST_METHOD=b"HEAD"))
        transport = self.exchange(sent)
        application.request.setHeader(b"content-length", b"100")
        application.request.write(b"")
        application.request.loseConnection()
        transport.settle()
        self.assertFalse(transport.response(unfinished=True).ended)
        self.assertFalse(transport.connected)

    def test_unreadBody(self) -> None:
        """
        If the web server is still sending, the connection is closed gently.
        """

        class Impatient(Request):
            def handleContentChunk(self, data: bytes) -> None:
                self.transport.loseConnection()

        self.serveWith(Impatient)
        transport = self.exchange(begun(), piece(b"0"), piece(b"1"))
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.writeDisconnected)
        self.assertTrue(transport.connected)
        self.assertEqual(self.logged(), [])

    def test_inRender(self) -> None:
        """
        It can be given up while it is rendered: what was written goes out.
        """

        def render(request: Any) -> Any:
            request.write(b"half")
            request.loseConnection()
            return NOT_DONE_YET

        self.serve(render)
        transport = self.exchange(GET)
        self.assertEqual(transport.response(unfinished=True).body, b"half")
        self.assertFalse(transport.connected)

    def test_producerIsStopped(self) -> None:
        """
        The producer is stopped.
        """
        request, transport = self.begin(b"half")
        producer = PushProducer()
        request.registerProducer(producer, True)
        request.loseConnection()
        transport.settle()
        self.assertEqual(producer.calls, ["stop"])
        self.assertFalse(transport.connected)

    def test_abortConnection(self) -> None:
        """
        To abort closes the connection at once, whatever is unsent.
        """
        request, transport = self.begin(b"half")
        transport.stalled = True
        request.write(b"unsent")
        request.transport.abortConnection()
        request.transport.abortConnection()
        transport.settle()
        self.assertFalse(transport.connected)
        self.assertToldOnce()

    def test_twice(self) -> None:
        """
        To give up twice is to give up once.
        """
        request, transport = self.begin(b"half")
        channel = request.channel
        request.loseConnection()
        channel.loseConnection()
        transport.settle()
        self.assertToldOnce()


class FailingTests(ChannelTestCase):
    """
    The application fails.
    """

    def assertFailed(self, transport: ServerTransport, count: int = 1) -> None:
        """
        See that there is an answer that says so, and the log tells why; the
        same connection lives on.
        """
        answer = transport.response()
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"purpose", answer.stdout)
        self.assertTrue(transport.connected)
        self.assertFalse(transport.writeDisconnecting)
        errors = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(errors), count)

    def test_requestFactory(self) -> None:
        """
        C{requestFactory} can fail.
        """

        def make(channel: Any, queued: Any) -> Any:
            raise ZeroDivisionError("on purpose")

        self.serveWith(make)
        self.assertFailed(self.exchange(POST))

    @table(
        {
            "parseCookies": ("parseCookies",),
            "gotLength": ("gotLength",),
            "handleContentChunk": ("handleContentChunk",),
            "requestReceived": ("requestReceived",),
        }
    )
    def test_request(self, name: str) -> None:
        """
        What C{requestFactory} has made can fail in any of its methods; it is
        told that it is over then.
        """
        lost: list[Any] = []

        class Bad(Request):
            def connectionLost(self, reason: Any) -> None:
                lost.append(reason)
                super().connectionLost(reason)

        def fail(*args: object) -> None:
            raise ZeroDivisionError("on purpose")

        setattr(Bad, name, fail)
        self.serveWith(Bad)
        self.assertFailed(self.exchange(POST))
        self.assertEqual(len(lost), 1)

    @table(
        {
            "gotLength": ("gotLength", b"10"),
            "gotLength, unknown": ("gotLength", b""),
            "handleContentChunk": ("handleContentChunk", b"10"),
            "requestReceived": ("requestReceived", b"10"),
        }
    )
    def test_afterHeaders(self, name: str, told: bytes) -> None:
        """
        If it has begun to answer when it fails, the connection is closed.
        """

        def fail(self: Any, *args: object) -> None:
            self.clientproto = b"HTTP/1.1"
            self.write(b"half")
            raise ZeroDivisionError("on purpose")

        bad = type("Bad", (Request,), {name: fail})
        self.serveWith(bad)
        variables = wire.postVariables(BODY, CONTENT_LENGTH=told)
        transport = self.exchange(wire.request(variables, BODY))
        self.assertEqual(transport.response(unfinished=True).body, b"half")
        self.assertFalse(transport.response(unfinished=True).ended)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(transport.writeDisconnected or not transport.connected)

    @table(
        {
            "gotLength": ("gotLength", b"10"),
            "gotLength, unknown": ("gotLength", b""),
            "handleContentChunk": ("handleContentChunk", b"10"),
            "handleContentChunk, unknown": ("handleContentChunk", b""),
        }
    )
    def test_earlyAnswer(self, name: str, told: bytes) -> None:
        """
        It can answer in any of them; the rest of the body is skipped then, and
        a kept connection serves on.
        """

        def answer(self: Any, *args: object) -> None:
            self.clientproto = b"HTTP/1.1"
            self.setResponseCode(409)
            self.write(b"no")
            self.finish()

        eager = type("Eager", (Request,), {name: answer})
        application = self.serveWith(eager)
        variables = wire.postVariables(BODY, CONTENT_LENGTH=told)
        transport = self.exchange(wire.request(variables, BODY) * 3)
        answers = [(found.status, found.body) for found in transport.responses()]
        self.assertEqual(answers, [(409, b"no")] * 3)
        self.assertEqual(application.requests, [])
        self.assertEqual(self.logged(), [])

    def test_earlyAnswerToNothing(self) -> None:
        """
        That holds for a body of unknown length that turns out to be empty.
        """

        class Eager(Request):
            def gotLength(self, length: int | None) -> None:
                self.clientproto = b"HTTP/1.1"
                self.finish()

        application = self.serveWith(Eager)
        self.assertEqual(self.exchange(GET).response().status, 200)
        self.assertEqual(application.requests, [])

    def test_render(self) -> None:
        """
        A resource can fail before the response has begun: the page says so,
        with an application status of 1.
        """

        def render(request: Any) -> bytes:
            raise ZeroDivisionError("on purpose")

        self.serve(render)
        transport = self.exchange(POST)
        self.assertEqual(transport.response().appStatus, 1)
        self.assertFailed(transport)

    @table({"unknown length": ({}, False), "length": ({"content-length": "100"}, True)})
    def test_renderMidway(self, headers: dict[str, str], ended: bool) -> None:
        """
        If it has begun, the response is given up, so that the web server can
        see it.
        """

        def render(request: Any) -> bytes:
            for name, value in headers.items():
                request.setHeader(name, value)
            request.write(b"half")
            raise ZeroDivisionError("on purpose")

        self.serve(render)
        transport = self.exchange(GET)
        answer = transport.response(unfinished=True)
        self.assertEqual((answer.body, answer.stdoutEnded), (b"half", False))
        self.assertEqual(answer.appStatus, 1 if ended else None)
        self.assertFalse(transport.connected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_tracebackIsNotShown(self) -> None:
        """
        Nothing of the application's inside is in the page, unless its site
        wants it.
        """

        class Bad(Resource):
            isLeaf = True

            def render(self, request: Any) -> bytes:
                raise ZeroDivisionError("on purpose")

        for shown in (False, True):
            site = Site(Bad(), reactor=self.clock)
            site.displayTracebacks = shown
            self.serve(site)
            answer = self.exchange(GET).response()
            self.assertEqual(answer.status, 500)
            self.assertEqual(b"purpose" in answer.body, shown)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @table(
        {
            "nothing": (b"",),
            "no boundary": (b"--b\r\n",),
            "no end": (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx',),
        }
    )
    def test_badForm(self, body: bytes) -> None:
        """
        A form that is none is the client's fault, and no failure, whatever
        Twisted makes of it.
        """
        self.serve()
        body = body or b"x"
        variables = wire.postVariables(body, CONTENT_TYPE=b"multipart/form-data")
        transport = self.exchange(wire.request(variables, body))
        self.assertEqual(transport.response().status, 400)
        self.assertEqual(len(self.logged()), 1)
        self.assertEqual(self.logged(LogLevel.error), [])
        self.assertServes(transport)

    def test_writesWhenRefused(self) -> None:
        """
        An application that goes on after its request was refused does no harm.
        """
        made: list[Any] = []
        self.serveWith(
            lambda channel, queued: made.append(Request(channel, queued)) or made[-1],
            limits=Limits(bodyBytes=5),
        )
        transport = self.exchange(begun(CONTENT_LENGTH=b""), piece(b"01"))
        channel = made[0].channel
        transport.receive(piece(b"0123456"))
        before = transport.value()
        channel.write(b"late")
        channel.writeStderr(b"late")
        channel.requestDone(made[0])
        channel.refuse(400, "Late.", None)
        self.assertEqual(transport.value(), before)
        self.assertEqual(transport.response().status, 413)

    def test_refusedWhenStarted(self) -> None:
        """
        If a request has to be refused that is being answered already, the
        answer is given up.
        """

        class Early(Request):
            def handleContentChunk(self, data: bytes) -> None:
                if not self.startedWriting:
                    self.clientproto = b"HTTP/1.1"
                    self.write(b"half")

        self.serveWith(Early, limits=Limits(bodyBytes=5))
        transport = self.exchange(begun(CONTENT_LENGTH=b""), piece(b"01"))
        transport.receive(piece(b"23456"))
        answer = transport.response(unfinished=True)
        self.assertEqual((answer.body, answer.ended), (b"half", False))
        self.assertTrue(transport.writeDisconnected)
        self.assertEqual(len(self.logged()), 1)
