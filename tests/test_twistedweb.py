# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Code that was written for L{twisted.web} works as it is over FastCGI.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email import message_from_bytes
from hashlib import md5
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes
from warnings import catch_warnings, simplefilter
from xmlrpc.client import dumps, loads

from klein import Klein
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web import pages
from twisted.web.guard import (
    BasicCredentialFactory,
    DigestCredentialFactory,
    HTTPAuthSessionWrapper,
)
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request, Site
from twisted.web.static import Data, File
from twisted.web.template import Element, TagLoader, renderElement, renderer, tags
from twisted.web.util import Redirect, redirectTo
from twisted.web.vhost import NameVirtualHost, VHostMonsterResource
from twisted.web.wsgi import WSGIResource
from zope.interface import directlyProvides, implementer

from tests import wire
from twisted_fastcgi import FastCGIFactory, FastCGIRequest, IFastCGIRequest

with catch_warnings():
    # They use what is deprecated themselves.
    simplefilter("ignore", DeprecationWarning)
    from twisted.web.proxy import ReverseProxyResource
    from twisted.web.xmlrpc import XMLRPC

CLIENT = IPv4Address("TCP", "192.0.2.7", 45740)
SERVER = IPv4Address("TCP", "192.0.2.1", 80)

#: What differs between the two ways for good reason: it is about the way, or
#: the web server says it.
OF_THE_WAY = {b"connection", b"date", b"server", b"status", b"transfer-encoding"}

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Question:
    """
    A request, apart from the way it takes.

    @ivar target: Path and query.
    @ivar headers: Header fields beside I{Host} and I{Content-Length}.
    @ivar body: The body, L{None} if there is none.
    """

    target: bytes = b"/"
    method: bytes = b"GET"
    headers: Fields = ()
    body: bytes | None = None
    version: bytes = b"HTTP/1.1"
    host: bytes = b"www.example.com"

    def overHTTP(self) -> bytes:
        """
        Write it as a client does that wants the connection closed afterwards.
        """
        fields = [(b"Host", self.host), (b"Connection", b"close"), *self.headers]
        if self.body is not None:
            fields.append((b"Content-Length", b"%d" % len(self.body)))
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        line = b"%s %s %s\r\n" % (self.method, self.target, self.version)
        return line + head + b"\r\n" + (self.body or b"")

    def overFastCGI(self, keep: bool = False, **changes: bytes) -> bytes:
        """
        Write it as nginx does.
        """
        path, _, query = self.target.partition(b"?")
        own = {b"CONTENT_TYPE": b""}
        for name, value in self.headers:
            variable = name.upper().replace(b"-", b"_")
            isOwn = variable == b"CONTENT_TYPE"
            own[variable if isOwn else b"HTTP_" + variable] = value
        variables = wire.variables(
            unquote_to_bytes(path),
            REQUEST_METHOD=self.method,
            REQUEST_URI=self.target,
            QUERY_STRING=query,
            SERVER_PROTOCOL=self.version,
            HTTP_HOST=self.host,
            CONTENT_LENGTH=b"" if self.body is None else b"%d" % len(self.body),
        )
        more = {name.encode("ascii"): value for name, value in changes.items()}
        return wire.request({**variables, **own, **more}, self.body or b"", keep=keep)


def form(body: bytes, contentType: bytes, target: bytes = b"/") -> Question:
    """
    Make a question that posts a form.
    """
    return Question(target, b"POST", ((b"Content-Type", contentType),), body)


@dataclass(frozen=True)
class Answer:
    """
    A response, apart from the way it took.

    @ivar headers: Names in lower case, and values.
    """

    status: int
    reason: bytes
    headers: Fields
    body: bytes

    @classmethod
    def ofHTTP(cls, sent: bytes, method: bytes) -> Answer:
        """
        Read what an HTTP client would get.
        """
        response = HTTPResponse(_Received(sent), method=method.decode("ascii"))
        response.begin()
        with response:
            body = response.read()
        fields = [(k.encode(), v.encode("latin-1")) for k, v in response.getheaders()]
        return cls._of(response.status, response.reason.encode(), fields, body)

    @classmethod
    def ofFastCGI(cls, response: wire.Response) -> Answer:
        """
        Read what a web server would get.
        """
        fields = response.headers
        code, _, reason = dict(fields)[b"Status"].partition(b" ")
        return cls._of(int(code), reason, fields, response.body)

    @classmethod
    def _of(
        cls,
        status: int,
        reason: bytes,
        fields: Iterable[tuple[bytes, bytes]],
        body: bytes,
    ) -> Answer:
        """
        Leave out what is of the way.  That includes the Content-Length of a
        204, which must not be there (RFC 9110, section 8.6), but which Twisted
        sends over HTTP.
        """
        kept = [(name.lower(), value) for name, value in fields]
        dropped = {*OF_THE_WAY, b"content-length"} if status == 204 else OF_THE_WAY
        kept = [field for field in kept if field[0] not in dropped]
        return cls(status, reason, tuple(sorted(kept)), body)

    def all(self, name: bytes) -> list[bytes]:
        """
        Give the values of all header fields of a name.
        """
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: bytes) -> bytes:
        """
        Give the value of the one header field of a name.
        """
        (value,) = self.all(name)
        return value


class _Received:
    """
    What looks to L{HTTPResponse} like a socket, of what has been received.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> BytesIO:
        """
        Open it.
        """
        return BytesIO(self._data)


class Transport(StringTransport):
    """
    A transport that asks a pull producer for more when its buffer is empty, as
    real ones do.

    @ivar closed: Fires when the connection is closed.
    """

    def __init__(self) -> None:
        super().__init__(SERVER, CLIENT)
        self.closed: Deferred[None] = Deferred()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Take a producer, and ask it for the first piece.
        """
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def drain(self) -> None:
        """
        Send everything, and ask for more until there is no more.
        """
        while self.producer is not None and not self.streaming:
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        """
        Say that everything has been sent.
        """
        if not self.disconnecting:
            super().loseConnection()
            self.closed.callback(None)


class Exchange:
    """
    A connection to some factory, in memory.
    """

    def __init__(self, factory: Any) -> None:
        self.transport = Transport()
        self.protocol = factory.buildProtocol(CLIENT)
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """
        Let bytes arrive.
        """
        self.protocol.dataReceived(data)

    def lose(self, failure: type[Exception] = ConnectionDone) -> None:
        """
        Close the connection from the other side.
        """
        producer = self.transport.producer
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(failure()))

    @property
    def responses(self) -> list[wire.Response]:
        """
        The FastCGI responses so far.
        """
        return wire.responses(self.transport.value(), unfinished=True)


class Fixture:
    """
    Serves something over both HTTP and FastCGI.

    @ivar site: The L{Site}.
    @ivar factory: What serves it over FastCGI.
    """

    addCleanup: Callable[..., None]

    def serve(self, served: IResource | Site) -> None:
        """
        Serve a resource, or a site.
        """
        self.clock = Clock()
        isSite = isinstance(served, Site)
        self.site = served if isSite else Site(served, reactor=self.clock)
        self.site.noisy = False
        self.factory = FastCGIFactory(self.site, reactor=self.clock)
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)

    def exchange(self, factory: Any = None) -> Exchange:
        """
        Connect, over FastCGI if nothing else is said.
        """
        exchange = Exchange(factory or self.factory)
        self.addCleanup(exchange.lose)
        return exchange

    def ask(self, question: Question = Question(), **changes: bytes) -> Answer:
        """
        Ask something over FastCGI that is answered at once.

        @param changes: Other variables than the question would have.
        """
        exchange = self.exchange()
        exchange.send(question.overFastCGI(**changes))
        exchange.transport.drain()
        return Answer.ofFastCGI(wire.response(exchange.transport.value()))

    async def asked(self, question: Question = Question()) -> Answer:
        """
        Ask something over FastCGI that is answered sooner or later.
        """
        exchange = self.exchange()
        exchange.send(question.overFastCGI())
        exchange.transport.drain()
        await exchange.transport.closed
        return Answer.ofFastCGI(wire.response(exchange.transport.value()))

    async def askedHTTP(self, question: Question = Question()) -> Answer:
        """
        Ask something over HTTP.
        """
        exchange = self.exchange(self.site)
        exchange.send(question.overHTTP())
        await exchange.transport.closed
        return Answer.ofHTTP(exchange.transport.value(), question.method)


class FastCGITestCase(Fixture, SynchronousTestCase):
    """
    For what is answered at once.
    """


class AsyncTestCase(Fixture, TestCase):
    """
    For what is answered when it is.
    """


class Page(Resource):
    """
    A page that is made by a function.
    """

    isLeaf = True

    def __init__(self, render: Callable[[Any], Any]) -> None:
        super().__init__()
        self._render = render

    def render_GET(self, request: Any) -> Any:
        """
        Make the page.
        """
        return self._render(request)

    render_POST = render_GET


class Text(Data):
    """
    A short text, whatever the path.
    """

    isLeaf = True

    def __init__(self, text: bytes) -> None:
        super().__init__(text, "text/plain")


def visits(request: Any) -> bytes:
    """
    Count the visits of one session.
    """
    session = request.getSession()
    session.visits = getattr(session, "visits", 0) + 1
    return b"%d" % session.visits


def returning(answer: Answer, target: bytes = b"/") -> Question:
    """
    Ask again, with the cookies of an answer.
    """
    cookies = [value.partition(b";")[0] for value in answer.all(b"Set-Cookie")]
    return Question(target, headers=((b"Cookie", b"; ".join(cookies)),))


class SessionTests(FastCGITestCase):
    """
    Sessions and cookies.
    """

    def test_session(self) -> None:
        """
        Who returns with the cookie has the same session; others have others.
        """
        self.serve(Page(visits))
        first = self.ask()
        self.assertRegex(first.header(b"Set-Cookie"), rb"^TWISTED_SESSION=\w+; Path=/$")
        self.assertEqual(self.ask(returning(first)).body, b"2")
        self.assertEqual(self.ask(returning(first)).body, b"3")
        self.assertEqual(self.ask().body, b"1")

    def test_sessionExpires(self) -> None:
        """
        A session ends when nobody has asked for it in a while.
        """
        self.serve(Page(visits))
        first = self.ask()
        self.clock.advance(600)
        self.assertEqual(self.ask(returning(first)).body, b"2")
        self.clock.advance(901)
        self.assertEqual(self.ask(returning(first)).body, b"1")

    def test_secureSession(self) -> None:
        """
        A session that began over TLS has a cookie that stays there.
        """
        self.serve(Page(visits))
        first = self.ask(HTTPS=b"on", REQUEST_SCHEME=b"https", SERVER_PORT=b"443")
        self.assertRegex(
            first.header(b"Set-Cookie"),
            rb"^TWISTED_SECURE_SESSION=\w+; Path=/; Secure$",
        )
        self.assertEqual(self.ask(returning(first)).body, b"1")
        self.assertEqual(self.ask(returning(first), HTTPS=b"on").body, b"2")

    def test_cookies(self) -> None:
        """
        A page sets cookies, each in a header field of its own, and gets those
        of the client.
        """

        def page(request: Any) -> bytes:
            request.addCookie(b"taste", b"sweet", path=b"/", max_age=b"60")
            request.addCookie(b"size", b"small", httpOnly=True)
            return b"%r %r" % (request.getCookie(b"a"), request.getCookie(b"b"))

        self.serve(Page(page))
        answer = self.ask(Question(headers=((b"Cookie", b"a=1; b=two"),)))
        self.assertEqual(answer.body, b"b'1' b'two'")
        self.assertEqual(
            answer.all(b"Set-Cookie"),
            [b"size=small; HttpOnly", b"taste=sweet; Path=/; Max-Age=60"],
        )


class RecordingFile(File):
    """
    Files that remember which of them were opened.
    """

    opened: ClassVar[list[Any]] = []

    def openForReading(self) -> Any:
        """
        Open the file.
        """
        file = super().openForReading()
        self.opened.append(file)
        return file


class FileTests(FastCGITestCase):
    """
    L{File}, which is a pull producer for what is large.
    """

    CONTENT = bytes(range(256)) * 1200

    def setUp(self) -> None:
        """
        Make some files.
        """
        root = RecordingFile(self.mktemp())
        root.makedirs()
        root.child("large.bin").setContent(self.CONTENT)
        inside = root.child("inside")
        inside.makedirs()
        inside.child("index.html").setContent(b"<p>inside")
        self.opened = RecordingFile.opened = []
        self.serve(root)

    def range(self, value: bytes) -> Answer:
        """
        Ask for parts of the large file.
        """
        return self.ask(Question(b"/large.bin", headers=((b"Range", value),)))

    def test_large(self) -> None:
        """
        A large file is sent whole, and then closed.
        """
        answer = self.ask(Question(b"/large.bin"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header(b"Content-Length"), b"%d" % len(self.CONTENT))
        self.assertTrue(answer.body == self.CONTENT, "another content")
        self.assertEqual([file.closed for file in self.opened], [True])

    def test_noFasterThanRead(self) -> None:
        """
        A file is read no faster than the web server takes it.
        """
        exchange = self.exchange()
        exchange.send(Question(b"/large.bin").overFastCGI(keep=True))
        (response,) = exchange.responses
        self.assertTrue(0 < len(response.body) <= 0x10000, len(response.body))
        exchange.transport.producer.resumeProducing()
        (response,) = exchange.responses
        self.assertTrue(0x10000 < len(response.body) <= 0x20000, len(response.body))
        exchange.transport.drain()
        (response,) = exchange.responses
        self.assertTrue(response.body == self.CONTENT, "another content")
        self.assertTrue(response.ended)

    def test_abandoned(self) -> None:
        """
        When the web server goes away, the file is closed.
        """
        exchange = Exchange(self.factory)
        exchange.send(Question(b"/large.bin").overFastCGI())
        self.assertEqual([file.closed for file in self.opened], [False])
        exchange.lose()
        self.assertEqual([file.closed for file in self.opened], [True])

    def test_range(self) -> None:
        """
        One part of a file.
        """
        answer = self.range(b"bytes=255-1000")
        self.assertEqual(answer.status, 206)
        self.assertEqual(answer.header(b"Content-Range"), b"bytes 255-1000/307200")
        self.assertEqual(answer.body, self.CONTENT[255:1001])

    def test_suffixRange(self) -> None:
        """
        The end of a file.
        """
        answer = self.range(b"bytes=-5")
        self.assertEqual(answer.status, 206)
        self.assertEqual(answer.body, self.CONTENT[-5:])

    def test_multipartRange(self) -> None:
        """
        Several parts of a file.
        """
        answer = self.range(b"bytes=0-3,65530-200000,-2")
        self.assertEqual(answer.status, 206)
        head = b"Content-Type: %s\r\n" % answer.header(b"Content-Type")
        parts = message_from_bytes(head + answer.body).get_payload()
        found = [
            (part["Content-Range"], part.get_payload(decode=True)) for part in parts
        ]
        self.assertEqual(
            found,
            [
                ("bytes 0-3/307200", self.CONTENT[:4]),
                ("bytes 65530-200000/307200", self.CONTENT[65530:200001]),
                ("bytes 307198-307199/307200", self.CONTENT[-2:]),
            ],
        )
        self.assertEqual(answer.header(b"Content-Length"), b"%d" % len(answer.body))

    def test_oddRanges(self) -> None:
        """
        Twisted's L{File} fails at some ranges, which docs/security.rst tells:
        that is an answer, and a traceback in the log, and no more.
        """
        for value, expected in {
            b"bytes=\xff-": {UnicodeDecodeError},
            b"bytes=400000-,400001-": {ValueError},
            b"bytes=" + b"0-7," * 5000: {ValueError, RuntimeError},
        }.items():
            answer = self.range(value)
            self.assertEqual(answer.status, 500)
            failures = self.flushLoggedErrors()
            self.assertEqual({failure.type for failure in failures}, expected)
            # Twisted leaves that to the garbage collector.
            self.opened.pop().close()
        self.assertEqual(self.range(b"bytes=1-2").status, 206)

    def test_oddRangesMidway(self) -> None:
        """
        What fails when some of the answer was sent is logged, and never ended
        as if it were whole.
        """
        ranges = b"bytes=0-65535," + b"0-7," * 5000
        exchange = Exchange(self.factory)
        question = Question(b"/large.bin", headers=((b"Range", ranges),))
        exchange.send(question.overFastCGI())
        exchange.transport.drain()
        (failure,) = self.flushLoggedErrors()
        failure.trap(ValueError)
        exchange.lose()
        (response,) = exchange.responses
        self.assertEqual(response.status, 206)
        self.assertFalse(response.ended)
        self.assertEqual([file.closed for file in self.opened], [True])

    def test_unsatisfiableRange(self) -> None:
        """
        A part that does not exist.
        """
        answer = self.range(b"bytes=400000-")
        self.assertEqual(answer.status, 416)
        self.assertEqual(answer.header(b"Content-Range"), b"bytes */307200")
        self.assertEqual(answer.body, b"")

    def test_head(self) -> None:
        """
        Of a C{HEAD} the answer is the same but for the body.
        """
        whole = self.ask(Question(b"/large.bin"))
        head = self.ask(Question(b"/large.bin", b"HEAD"))
        self.assertEqual((head.status, head.headers), (whole.status, whole.headers))
        self.assertEqual(head.body, b"")

    def test_notModified(self) -> None:
        """
        A client that has the file already gets 304 without a body.
        """
        modified = self.ask(Question(b"/large.bin")).header(b"Last-Modified")
        fields = ((b"If-Modified-Since", modified),)
        answer = self.ask(Question(b"/large.bin", headers=fields))
        self.assertEqual((answer.status, answer.body), (304, b""))

    def test_folder(self) -> None:
        """
        A folder redirects to the path that ends with a slash, where its index
        is.
        """
        answer = self.ask(Question(b"/inside"))
        self.assertEqual(answer.status, 302)
        self.assertTrue(answer.header(b"Location").endswith(b"/inside/"))
        answer = self.ask(Question(b"/inside/"))
        self.assertEqual(answer.header(b"Content-Type"), b"text/html")
        self.assertEqual(answer.body, b"<p>inside")

    def test_outside(self) -> None:
        """
        No file outside is reached, however the path is written.
        """
        for target in (b"/../setup", b"/%2e%2e/setup", b"/inside%2F..%2F..%2Fsetup"):
            self.assertEqual(self.ask(Question(target)).status, 404, target)


@implementer(IPushProducer, IPullProducer)
class Producer:
    """
    Notes what is asked of it.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        """
        Pause.
        """
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        """
        Go on.
        """
        self.asked.append("resume")

    def stopProducing(self) -> None:
        """
        Stop.
        """
        self.asked.append("stop")


class LateTests(FastCGITestCase):
    """
    Responses that take their time: C{NOT_DONE_YET}, C{notifyFinish}, producers.
    """

    def setUp(self) -> None:
        """
        Serve a page that is finished by the tests.
        """
        self.finished: list[Any] = []
        self.requests: list[Any] = []
        self.serve(Page(self.render))

    def render(self, request: Any) -> int:
        """
        Keep the request.
        """
        request.notifyFinish().addBoth(self.finished.append)
        self.requests.append(request)
        return NOT_DONE_YET

    def begin(
        self, question: Question = Question(), keep: bool = True
    ) -> tuple[Exchange, Any]:
        """
        Send a request.

        @return: The connection, and the request.
        """
        exchange = Exchange(self.factory)
        exchange.send(question.overFastCGI(keep))
        return exchange, self.requests[-1]

    def test_later(self) -> None:
        """
        A response may be written piece by piece, and finished, whenever its
        application wants; each piece is sent at once.
        """
        exchange, request = self.begin()
        self.assertEqual(exchange.responses, [])
        request.write(b"one ")
        (response,) = exchange.responses
        self.assertEqual((response.status, response.body), (200, b"one "))
        request.write(b"two")
        (response,) = exchange.responses
        self.assertEqual((response.body, response.ended), (b"one two", False))
        request.finish()
        (response,) = exchange.responses
        self.assertEqual((response.body, response.ended), (b"one two", True))
        self.assertIsNone(response.header(b"Transfer-Encoding"))

    def test_finished(self) -> None:
        """
        C{notifyFinish} fires when the response is finished.
        """
        exchange, request = self.begin()
        request.write(b"done")
        self.assertEqual(self.finished, [])
        request.finish()
        self.assertEqual(self.finished, [None])
        exchange.lose()
        self.assertEqual(self.finished, [None])

    def test_disconnected(self) -> None:
        """
        C{notifyFinish} fails with the reason when the web server goes away.
        """
        exchange, request = self.begin()
        request.write(b"begun")
        exchange.lose(ConnectionLost)
        (failure,) = self.finished
        failure.trap(ConnectionLost)

    def test_aborted(self) -> None:
        """
        C{notifyFinish} fails when the web server aborts the request; a kept
        connection then serves the next one.
        """
        exchange, _ = self.begin()
        exchange.send(wire.abortRequest())
        (failure,) = self.finished
        failure.trap(ConnectionLost)
        exchange.send(Question().overFastCGI(keep=True))
        self.requests[1].write(b"next")
        self.requests[1].finish()
        aborted, following = exchange.responses
        self.assertTrue(aborted.ended)
        self.assertEqual((following.status, following.body), (200, b"next"))

    def test_head(self) -> None:
        """
        The answer to a C{HEAD} has no body, whatever is written.
        """
        exchange, request = self.begin(Question(method=b"HEAD"))
        request.setHeader(b"X-Made", b"late")
        request.write(b"not to be seen")
        request.finish()
        (response,) = exchange.responses
        self.assertEqual(response.header(b"X-Made"), b"late")
        self.assertEqual(response.body, b"")

    def test_pushProducer(self) -> None:
        """
        A push producer pauses while the transport is full.
        """
        exchange, request = self.begin()
        producer = Producer()
        request.registerProducer(producer, True)
        request.write(b"x" * 100000)
        exchange.transport.producer.pauseProducing()
        self.assertEqual(producer.asked, ["pause"])
        exchange.transport.producer.resumeProducing()
        self.assertEqual(producer.asked, ["pause", "resume"])
        request.unregisterProducer()
        request.finish()
        (response,) = exchange.responses
        self.assertEqual((response.body, response.ended), (b"x" * 100000, True))
        self.assertEqual(producer.asked, ["pause", "resume"])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked for each piece when the last one is sent.
        """
        exchange, request = self.begin()
        producer = Producer()
        request.registerProducer(producer, False)
        self.assertEqual(producer.asked, ["resume"])
        request.write(b"piece")
        exchange.transport.producer.resumeProducing()
        self.assertEqual(producer.asked, ["resume", "resume"])
        request.unregisterProducer()
        request.finish()
        (response,) = exchange.responses
        self.assertEqual((response.body, response.ended), (b"piece", True))

    def test_producersStop(self) -> None:
        """
        Producers are stopped when nobody wants the response any more.
        """
        ends = {
            "abort": lambda exchange: exchange.send(wire.abortRequest()),
            "close": lambda exchange: exchange.lose(),
        }
        for streaming in (True, False):
            for name, end in ends.items():
                exchange, request = self.begin()
                producer = Producer()
                request.registerProducer(producer, streaming)
                end(exchange)
                self.assertEqual(producer.asked[-1], "stop", (name, streaming))
                self.assertEqual(producer.asked.count("stop"), 1, (name, streaming))

    def test_failsLater(self) -> None:
        """
        What fails in the midst of a response is logged, and the web server can
        tell that the response is not whole.
        """
        exchange, request = self.begin()
        request.setHeader(b"Content-Length", b"100")
        request.write(b"some of it")
        request.processingFailed(Failure(ZeroDivisionError("too late")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (response,) = exchange.responses
        self.assertFalse(response.stdoutEnded)
        self.assertTrue(exchange.transport.disconnecting)

    def test_loseConnection(self) -> None:
        """
        An application may give up a response in the midst.
        """
        exchange, request = self.begin()
        request.write(b"some of it")
        request.loseConnection()
        (response,) = exchange.responses
        self.assertEqual((response.body, response.ended), (b"some of it", False))
        self.assertTrue(exchange.transport.disconnecting)
        self.assertEqual(len(self.finished), 1)


class FormTests(FastCGITestCase):
    """
    Forms, of both kinds.
    """

    URLENCODED = b"application/x-www-form-urlencoded"
    MULTIPART = b"multipart/form-data; boundary=cut"
    PARTS = (
        b"--cut\r\n"
        b'Content-Disposition: form-data; name="title"\r\n\r\n'
        b"A \xc3\xa9 tale\r\n"
        b"--cut\r\n"
        b'Content-Disposition: form-data; name="file"; filename="x.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
        b"\x00\x01\r\n\xff\r\n"
        b"--cut--\r\n"
    )

    def setUp(self) -> None:
        """
        Serve a page that shows what it got.
        """
        self.args: list[dict[bytes, list[bytes]]] = []
        self.serve(Page(self.render))

    def render(self, request: Any) -> bytes:
        """
        Note the arguments.
        """
        self.args.append(request.args)
        return b"%d" % len(request.content.read())

    def test_urlencoded(self) -> None:
        """
        The fields of a form are beside those of the query, and win.
        """
        body = b"a=1&b=two+words&a=%C3%A9&empty="
        answer = self.ask(form(body, self.URLENCODED, b"/?q=x&a=0"))
        self.assertEqual(answer.body, b"%d" % len(body))
        self.assertEqual(
            self.args,
            [
                {
                    b"q": [b"x"],
                    b"a": [b"1", b"\xc3\xa9"],
                    b"b": [b"two words"],
                    b"empty": [b""],
                }
            ],
        )

    def test_multipart(self) -> None:
        """
        A form with a file.
        """
        self.assertEqual(self.ask(form(self.PARTS, self.MULTIPART)).status, 200)
        self.assertEqual(
            self.args,
            [{b"title": [b"A \xc3\xa9 tale"], b"file": [b"\x00\x01\r\n\xff"]}],
        )

    def test_large(self) -> None:
        """
        A form that takes many records, whose body is kept in a file.
        """
        value = b"0123456789" * 30000
        self.assertEqual(self.ask(form(b"v=" + value, self.URLENCODED)).status, 200)
        self.assertEqual(self.args, [{b"v": [value]}])

    def test_malformedMultipart(self) -> None:
        """
        A form that can't be read is answered with 400 without the application,
        and a kept connection serves the next one.
        """
        exchange = self.exchange()
        noBoundary = form(self.PARTS, b"multipart/form-data")
        exchange.send(noBoundary.overFastCGI(keep=True))
        exchange.send(form(self.PARTS, self.MULTIPART).overFastCGI(keep=True))
        first, second = exchange.responses
        self.assertEqual((first.status, second.status), (400, 200))
        self.assertTrue(first.ended)
        self.assertEqual(len(self.args), 1)
        self.assertFalse(exchange.transport.disconnecting)

    def test_content(self) -> None:
        """
        A body that is no form is left to the application.
        """
        answer = self.ask(form(b'{"a": 1}', b"application/json", b"/?q=1"))
        self.assertEqual(answer.body, b"8")
        self.assertEqual(self.args, [{b"q": [b"1"]}])

    def test_chunked(self) -> None:
        """
        A body whose length is not told, as nginx passes on one that comes in
        chunks.
        """
        question = form(b"a=1", self.URLENCODED)
        answer = self.ask(
            question, CONTENT_LENGTH=b"", HTTP_TRANSFER_ENCODING=b"chunked"
        )
        self.assertEqual(answer.body, b"3")
        self.assertEqual(self.args, [{b"a": [b"1"]}])


class ResourceTests(FastCGITestCase):
    """
    What else L{twisted.web} has, and what others make with it.
    """

    def test_headOfGet(self) -> None:
        """
        A resource that knows only C{GET} answers C{HEAD} too, without a body.
        """
        self.serve(Page(lambda request: b"the body"))
        answer = self.ask(Question(method=b"HEAD"))
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.header(b"Content-Length"), b"8")

    def test_otherMethod(self) -> None:
        """
        A method that a resource does not know is answered with 405.
        """
        self.serve(Text(b""))
        answer = self.ask(Question(method=b"POST"))
        self.assertEqual(answer.status, 405)
        self.assertEqual({*answer.header(b"Allow").split(b", ")}, {b"GET", b"HEAD"})

    def test_redirectTo(self) -> None:
        """
        L{redirectTo} is followed by the client, not by the web server.
        """
        self.serve(Page(lambda request: redirectTo(b"/elsewhere?x=1", request)))
        answer = self.ask()
        self.assertEqual((answer.status, answer.reason), (302, b"Found"))
        self.assertEqual(answer.header(b"Location"), b"/elsewhere?x=1")
        self.assertIn(b"/elsewhere?x=1", answer.body)

    def test_redirect(self) -> None:
        """
        So is L{Redirect}.
        """
        self.serve(Redirect(b"https://example.org/"))
        answer = self.ask(Question(b"/any/thing"))
        self.assertEqual(answer.status, 302)
        self.assertEqual(answer.header(b"Location"), b"https://example.org/")

    def test_ownAddress(self) -> None:
        """
        An application can make URLs of its own.
        """

        def page(request: Any) -> bytes:
            urls = [
                request.prePathURL(),
                str(request.URLPath().sibling(b"next")).encode("ascii"),
                request.getRequestHostname(),
                b"%r" % request.isSecure(),
                request.getClientAddress().host.encode("ascii"),
            ]
            return b" ".join(urls)

        root = Resource()
        root.putChild(b"here", Page(page))
        self.serve(root)
        self.assertEqual(
            self.ask(Question(b"/here/and/there")).body,
            b"http://www.example.com/here http://www.example.com/next "
            b"www.example.com False 192.0.2.7",
        )
        self.assertEqual(
            self.ask(Question(b"/here"), HTTPS=b"on", SERVER_PORT=b"443").body,
            b"https://www.example.com/here https://www.example.com/next "
            b"www.example.com True 192.0.2.7",
        )

    def test_gzip(self) -> None:
        """
        A response is compressed for a client that wants it.
        """
        page = Page(lambda request: b"again and " * 1000)
        self.serve(EncodingResourceWrapper(page, [GzipEncoderFactory()]))
        answer = self.ask(Question(headers=((b"Accept-Encoding", b"gzip"),)))
        self.assertEqual(answer.header(b"Content-Encoding"), b"gzip")
        self.assertEqual(gzip.decompress(answer.body), b"again and " * 1000)
        self.assertEqual(answer.all(b"Content-Length"), [])
        self.assertEqual(self.ask().body, b"again and " * 1000)

    def test_virtualHosts(self) -> None:
        """
        L{NameVirtualHost} goes by what the client calls the host.
        """
        root = NameVirtualHost()
        root.default = Text(b"any")
        root.addHost(b"one.example.com", Text(b"one"))
        root.addHost(b"two.example.com", Text(b"two"))
        self.serve(root)
        hosts = [b"one.example.com", b"Two.example.com:8080", b"other.example.com"]
        bodies = [self.ask(Question(host=host)).body for host in hosts]
        self.assertEqual(bodies, [b"one", b"two", b"any"])

    def test_monster(self) -> None:
        """
        L{VHostMonsterResource} changes what the host is called.
        """
        root = Resource()
        root.putChild(b"vhost", VHostMonsterResource())
        root.putChild(b"page", Page(lambda request: request.prePathURL()))
        self.serve(root)
        self.assertEqual(
            self.ask(Question(b"/vhost/http/outside.example.com/page")).body,
            b"http://outside.example.com/page",
        )

    def test_reverseProxy(self) -> None:
        """
        What L{ReverseProxyResource} passes on has only the header fields that
        are of the response, and not of its connection.
        """
        memory = MemoryReactorClock()
        self.serve(ReverseProxyResource("up.example.com", 80, b"", memory))
        exchange = self.exchange()
        exchange.send(Question(b"/x?y").overFastCGI())
        _, _, factory, _, _ = memory.tcpClients[0]
        upstream = factory.buildProtocol(None)
        transport = StringTransport()
        upstream.makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"GET /x?y HTTP/1.0\r\n"))
        upstream.dataReceived(
            b"HTTP/1.1 201 Made\r\nConnection: close\r\nKeep-Alive: 5\r\n"
            b"X-Up: 1\r\nContent-Length: 2\r\n\r\nok"
        )
        response = wire.response(exchange.transport.value())
        names = {name.lower() for name, _ in response.headers}
        self.assertEqual((response.status, response.body), (201, b"ok"))
        self.assertEqual(
            names, {b"status", b"x-up", b"content-length", b"content-type"}
        )

    def test_xmlrpc(self) -> None:
        """
        Remote procedure calls.
        """

        class Calculator(XMLRPC):
            def xmlrpc_add(self, a: int, b: int) -> int:
                return a + b

        self.serve(Calculator())
        answer = self.ask(form(dumps((2, 3), "add").encode("ascii"), b"text/xml"))
        self.assertEqual(loads(answer.body), ((5,), None))

    def test_template(self) -> None:
        """
        L{renderElement}, which waits for what is not there yet.
        """
        later: Deferred[str] = Deferred()

        class Greeting(Element):
            loader = TagLoader(tags.p(tags.b(render="name")))

            @renderer
            def name(self, request: Any, tag: Any) -> Any:
                return tag(later)

        self.serve(Page(lambda request: renderElement(request, Greeting())))
        exchange = self.exchange()
        exchange.send(Question().overFastCGI())
        later.callback("<you>")
        response = wire.response(exchange.transport.value())
        self.assertEqual(response.body, b"<!DOCTYPE html>\n<p><b>&lt;you&gt;</b></p>")

    def test_failure(self) -> None:
        """
        A page that fails is answered with 500, and the failure is logged; the
        client sees it only if the site is told so.
        """
        self.serve(Page(lambda request: 1 // 0))
        answer = self.ask()
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"ZeroDivisionError", answer.body)
        self.site.displayTracebacks = True
        self.assertIn(b"ZeroDivisionError", self.ask().body)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


@implementer(IRealm)
class Realm:
    """
    Has a page for each user.
    """

    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: Any) -> Any:
        """
        Make the page of a user.
        """
        return IResource, Page(lambda request: b"for " + avatarId), lambda: None


class GuardTests(FastCGITestCase):
    """
    L{twisted.web.guard}.
    """

    def guard(self, credentials: Any) -> None:
        """
        Serve pages that only bilbo may see.
        """
        users = InMemoryUsernamePasswordDatabaseDontUse(bilbo=b"baggins")
        self.serve(HTTPAuthSessionWrapper(Portal(Realm(), [users]), [credentials]))

    def authorized(self, value: bytes, **changes: bytes) -> Answer:
        """
        Ask with an I{Authorization}.
        """
        question = Question(b"/x", headers=((b"Authorization", value),))
        return self.ask(question, **changes)

    def test_basic(self) -> None:
        """
        Who knows the password gets in.
        """
        self.guard(BasicCredentialFactory("Shire"))
        answer = self.ask(Question(b"/x"))
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.header(b"WWW-Authenticate"), b'basic realm="Shire"')
        answer = self.authorized(b"Basic " + b64encode(b"bilbo:baggins"))
        self.assertEqual((answer.status, answer.body), (200, b"for bilbo"))
        answer = self.authorized(b"Basic " + b64encode(b"bilbo:bolger"))
        self.assertEqual(answer.status, 401)

    def test_basicHead(self) -> None:
        """
        A refused C{HEAD} has no body either.
        """
        self.guard(BasicCredentialFactory("Shire"))
        answer = self.ask(Question(method=b"HEAD"))
        self.assertEqual((answer.status, answer.body), (401, b""))

    def digest(self, challenge: bytes, password: bytes) -> bytes:
        """
        Answer a challenge (RFC 2617, section 3.2.2).
        """
        given = dict(re.findall(rb'(\w+)="([^"]*)"', challenge))

        def hashed(*parts: bytes) -> bytes:
            return md5(b":".join(parts)).hexdigest().encode("ascii")

        secret = hashed(b"bilbo", given[b"realm"], password)
        wanted = hashed(b"GET", b"/x")
        response = hashed(secret, given[b"nonce"], b"1", b"z", b"auth", wanted)
        return (
            b'Digest username="bilbo", uri="/x", nc=1, cnonce="z", qop=auth, '
            b'realm="%(realm)b", nonce="%(nonce)b", opaque="%(opaque)b", '
            % given
            + b'response="%b"' % response
        )

    def test_digest(self) -> None:
        """
        The challenge is bound to the client's address, which is the one that
        the web server tells.
        """
        self.guard(DigestCredentialFactory(b"md5", b"Shire"))
        answer = self.ask(Question(b"/x"))
        self.assertEqual(answer.status, 401)
        challenge = answer.header(b"WWW-Authenticate")
        right = self.digest(challenge, b"baggins")
        answer = self.authorized(right)
        self.assertEqual((answer.status, answer.body), (200, b"for bilbo"))
        self.assertEqual(self.authorized(right, REMOTE_ADDR=b"192.0.2.8").status, 401)
        wrong = self.digest(challenge, b"bolger")
        self.assertEqual(self.authorized(wrong).status, 401)


class LogTests(FastCGITestCase):
    """
    The access log of a L{Site}.
    """

    def test_line(self) -> None:
        """
        A line has the client's address, and what it asked for.
        """
        path = self.mktemp()
        clock = Clock()
        site = Site(Text(b"found"), logPath=path, reactor=clock)
        self.serve(site)
        fields = ((b"Referer", b"http://a/"), (b"User-Agent", b"tester"))
        self.ask(Question(b"/?a=%20b", headers=fields, version=b"HTTP/1.0"))
        self.factory.doStop()
        self.addCleanup(self.factory.doStart)
        with open(path) as log:
            (line,) = log
        self.assertRegex(
            line,
            r'^"192\.0\.2\.7" - - \[[^\]]+\] "GET /\?a=%20b HTTP/1\.0" 200 5 '
            r'"http://a/" "tester"$',
        )

    def test_refused(self) -> None:
        """
        An application's own log formatter sees the same request object as the
        page.
        """
        seen: list[Any] = []

        def formatter(timestamp: str, request: Any) -> str:
            fcgi = IFastCGIRequest(request)
            seen.append((request.uri, request.code, fcgi.params[b"REMOTE_ADDR"]))
            return "a line"

        path = self.mktemp()
        site = Site(
            pages.forbidden(),
            logPath=path,
            logFormatter=formatter,
            reactor=Clock(),
        )
        self.serve(site)
        self.ask(Question(b"/secret"))
        self.assertEqual(seen, [(b"/secret", 403, b"192.0.2.7")])


class KleinTests(FastCGITestCase):
    """
    Klein applications.
    """

    def setUp(self) -> None:
        """
        Serve an application with routes of all kinds.
        """
        app = Klein()
        self.later: list[Deferred[bytes]] = []

        def wait() -> Deferred[bytes]:
            self.later.append(Deferred())
            return self.later[-1]

        @app.route("/")
        def index(request: Any) -> str:
            return "index"

        @app.route("/user/<name>/<int:number>")
        def user(request: Any, name: str, number: int) -> str:
            return f"{name} {number + 1}"

        @app.route("/deferred")
        def deferred(request: Any) -> Deferred[bytes]:
            return wait()

        @app.route("/async")
        async def coroutine(request: Any) -> bytes:
            return b"got " + await wait()

        @app.route("/away")
        def away(request: Any) -> None:
            request.redirect(b"/user/x/1")

        @app.route("/folder/")
        def folder(request: Any) -> str:
            return "folder"

        @app.route("/form", methods=["POST"])
        def posted(request: Any) -> bytes:
            return b"%r" % request.args

        @app.route("/static/", branch=True)
        def static(request: Any) -> Resource:
            child = Resource()
            child.putChild(b"page", Text(b"a child"))
            return child

        self.serve(app.resource())

    def test_sync(self) -> None:
        """
        Routes that answer at once, with and without parameters.
        """
        self.assertEqual(self.ask().body, b"index")
        self.assertEqual(self.ask(Question(b"/user/%C3%A9/41")).body, b"\xc3\xa9 42")
        self.assertEqual(self.ask(Question(b"/nowhere")).status, 404)

    def test_later(self) -> None:
        """
        Routes that return a Deferred or are coroutines.
        """
        for target, body in ((b"/deferred", b"it"), (b"/async", b"got it")):
            exchange = self.exchange()
            exchange.send(Question(target).overFastCGI())
            self.assertEqual(exchange.responses, [])
            self.later.pop().callback(b"it")
            response = wire.response(exchange.transport.value())
            self.assertEqual((response.status, response.body), (200, body))

    def test_redirect(self) -> None:
        """
        A route that redirects.
        """
        answer = self.ask(Question(b"/away"))
        self.assertEqual(answer.status, 302)
        self.assertEqual(answer.header(b"Location"), b"/user/x/1")

    def test_ownRedirect(self) -> None:
        """
        Klein redirects by itself to the URL with a slash at its end, below the
        root as the client knows it.
        """
        answer = self.ask(Question(b"/folder"))
        self.assertIn(answer.status, (301, 308))
        self.assertEqual(answer.header(b"Location"), b"http://www.example.com/folder/")
        answer = self.ask(Question(b"/folder"), HTTPS=b"on", SERVER_PORT=b"443")
        self.assertEqual(answer.header(b"Location"), b"https://www.example.com/folder/")
        self.assertEqual(self.ask(Question(b"/folder/")).body, b"folder")

    def test_form(self) -> None:
        """
        A form that is posted.
        """
        answer = self.ask(form(b"a=1", FormTests.URLENCODED, b"/form"))
        self.assertEqual(answer.body, b"{b'a': [b'1']}")
        self.assertEqual(self.ask(Question(b"/form")).status, 405)

    def test_branch(self) -> None:
        """
        A route that hands over to a resource.
        """
        self.assertEqual(self.ask(Question(b"/static/page")).body, b"a child")

    def test_head(self) -> None:
        """
        A C{HEAD} is answered without a body.
        """
        answer = self.ask(Question(method=b"HEAD"))
        self.assertEqual((answer.status, answer.body), (200, b""))


class WSGITests(AsyncTestCase):
    """
    L{WSGIResource}, which runs its application in a thread.
    """

    def wsgi(self, application: Callable[..., Iterable[bytes]]) -> None:
        """
        Serve an application at C{/app}.
        """
        root = Resource()
        pool = reactor.getThreadPool()
        root.putChild(b"app", WSGIResource(reactor, pool, application))
        self.serve(root)

    async def test_environment(self) -> None:
        """
        The application gets the request as PEP 3333 has it.
        """
        seen: list[dict[str, Any]] = []

        def application(environ: dict[str, Any], start: Any) -> list[bytes]:
            seen.append({**environ, "body": environ["wsgi.input"].read()})
            start("201 Created", [("Content-Type", "text/plain"), ("X-Made", "here")])
            return [b"one ", b"two"]

        self.wsgi(application)
        fields = ((b"Content-Type", b"text/x"), (b"X-Field", b"value"))
        answer = await self.asked(
            Question(b"/app/a%20b?q=1", b"POST", fields, b"body" * 50000)
        )
        self.assertEqual((answer.status, answer.reason), (201, b"Created"))
        self.assertEqual(answer.header(b"X-Made"), b"here")
        self.assertEqual(answer.body, b"one two")
        (environ,) = seen
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "/app",
            "PATH_INFO": "/a b",
            "QUERY_STRING": "q=1",
            "CONTENT_TYPE": "text/x",
            "CONTENT_LENGTH": "200000",
            "REMOTE_ADDR": "192.0.2.7",
            "SERVER_NAME": "www.example.com",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "www.example.com",
            "HTTP_X_FIELD": "value",
            "wsgi.url_scheme": "http",
            "body": b"body" * 50000,
        }
        self.assertEqual({name: environ[name] for name in expected}, expected)

    async def test_head(self) -> None:
        """
        A C{HEAD} is answered without a body.
        """

        def application(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [("Content-Length", "4")])
            return [b"body"]

        self.wsgi(application)
        answer = await self.asked(Question(b"/app", b"HEAD"))
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.header(b"Content-Length"), b"4")

    async def test_fails(self) -> None:
        """
        An application that fails before it has begun is answered with 500.
        """

        def application(environ: dict[str, Any], start: Any) -> list[bytes]:
            raise ZeroDivisionError("early")

        self.wsgi(application)
        answer = await self.asked(Question(b"/app"))
        self.assertEqual(answer.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_failsMidway(self) -> None:
        """
        Of one that fails in the midst of its response, the web server can tell
        that it is not whole.
        """

        def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            start("200 OK", [("Content-Length", "100")])
            yield b"some of it"
            raise ZeroDivisionError("late")

        self.wsgi(application)
        exchange = self.exchange()
        exchange.send(Question(b"/app").overFastCGI(keep=True))
        await exchange.transport.closed
        (response,) = exchange.responses
        self.assertEqual((response.body, response.stdoutEnded), (b"some of it", False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Upload(Request):
    """
    A request that looks at its body while that arrives.
    """

    told: list[int | None]
    pieces: list[int]
    early: tuple[Any, ...]

    def gotLength(self, length: int | None) -> None:
        """
        Note how long it will be.
        """
        self.told = [*getattr(self, "told", []), length]
        self.pieces = []
        self.early = (
            self.getHeader(b"host"),
            self.getCookie(b"name"),
            self.getClientAddress().host,
            self.isSecure(),
        )
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """
        Note a piece.
        """
        self.pieces.append(len(data))
        super().handleContentChunk(data)


class RequestFactoryTests(FastCGITestCase):
    """
    Requests of the user's own making.
    """

    def serveRequests(self, make: Any, page: Callable[[Any], Any]) -> None:
        """
        Serve a page whose requests are made by a factory.
        """
        self.serve(Site(Page(page), requestFactory=make, reactor=Clock()))

    def test_bodyArrives(self) -> None:
        """
        C{gotLength} is called once, when header fields, cookies and addresses
        are known, and C{handleContentChunk} for each piece when it arrives.
        """
        made: list[Upload] = []

        def make(*args: Any) -> Upload:
            made.append(Upload(*args))
            return made[-1]

        self.serveRequests(make, lambda request: b"%r" % request.pieces)
        exchange = self.exchange()
        variables = wire.postVariables(bytes(100000), HTTP_COOKIE=b"name=value")
        exchange.send(wire.beginRequest() + wire.params(variables))
        self.assertEqual(made[0].told, [100000])
        expected = (b"www.example.com", b"value", "192.0.2.7", False)
        self.assertEqual(made[0].early, expected)
        exchange.send(wire.stdin(bytes(65000), end=False))
        self.assertEqual(sum(made[0].pieces), 65000)
        self.assertEqual(exchange.responses, [])
        exchange.send(wire.stdin(bytes(35000)))
        (response,) = exchange.responses
        self.assertEqual(response.body, b"%r" % made[0].pieces)
        self.assertEqual(sum(made[0].pieces), 100000)
        self.assertEqual(made[0].told, [100000])

    def test_lengthUnknown(self) -> None:
        """
        C{gotLength} is told L{None} if a body comes whose length nobody told,
        and 0 if none comes.
        """
        told: list[list[int | None]] = []

        def page(request: Any) -> bytes:
            told.append(request.told)
            return b""

        self.serveRequests(Upload, page)
        self.ask()
        self.ask(Question(method=b"POST", body=b"some"), CONTENT_LENGTH=b"")
        self.assertEqual(told, [[0], [None]])

    def test_answersEarly(self) -> None:
        """
        A request may be answered before its body has come; the rest is not
        wanted, and the connection serves the next one.
        """

        class Picky(Request):
            def gotLength(self, length: int | None) -> None:
                super().gotLength(length)
                if length is not None and length > 10:
                    self.setResponseCode(413)
                    self.setHeader(b"Content-Length", b"3")
                    self.write(b"no!")
                    self.finish()

        self.serveRequests(Picky, lambda request: request.content.read())
        exchange = self.exchange()
        for body in (b"a long body", b"short"):
            exchange.send(
                wire.request(wire.postVariables(body), body, requestId=1, keep=True)
            )
        first, second = exchange.responses
        self.assertEqual((first.status, first.body), (413, b"no!"))
        self.assertEqual((second.status, second.body), (200, b"short"))

    def test_process(self) -> None:
        """
        A request may do without resources.
        """

        class Plain(Request):
            def process(self) -> None:
                self.write(b"plain " + self.uri)
                self.finish()

        self.serveRequests(Plain, lambda request: b"")
        self.assertEqual(self.ask(Question(b"/x")).body, b"plain /x")

    def test_arguments(self) -> None:
        """
        A factory is called as L{twisted.web} calls it over HTTP: with the
        channel and whether it is queued, or with the channel alone.
        """
        calls: list[int] = []

        def make(*args: Any) -> Request:
            calls.append(len(args))
            return Request(*args)

        self.serveRequests(make, lambda request: b"")
        self.ask()
        directlyProvides(make, INonQueuedRequestFactory)
        self.ask()
        self.assertEqual(calls, [2, 1])

    def test_own(self) -> None:
        """
        L{FastCGIRequest} stands in for Twisted's own request only: a site's
        others are taken as they are.
        """
        made: list[type] = []

        def page(request: Any) -> bytes:
            made.append(type(request))
            return b""

        self.serve(Page(page))
        self.ask()
        self.serveRequests(Upload, page)
        self.ask()
        self.assertEqual(made, [FastCGIRequest, Upload])


class BothWaysTests(AsyncTestCase):
    """
    One L{Site} that is served over HTTP and FastCGI at once.
    """

    async def test_sessions(self) -> None:
        """
        Who has logged in over one is logged in over the other.
        """
        self.serve(Page(visits))
        first = await self.askedHTTP()
        self.assertEqual((await self.asked(returning(first))).body, b"2")
        self.assertEqual((await self.askedHTTP(returning(first))).body, b"3")
        second = await self.asked()
        self.assertEqual((await self.askedHTTP(returning(second))).body, b"2")
        self.assertEqual(len(self.site.sessions), 2)

    async def test_whichWay(self) -> None:
        """
        A page can tell by which way a request came.
        """
        found: list[Any] = []

        def page(request: Any) -> bytes:
            fcgi = IFastCGIRequest(request, None)
            found.append(fcgi and fcgi.params[b"SERVER_SOFTWARE"])
            return b""

        self.serve(Page(page))
        await self.askedHTTP()
        await self.asked()
        self.assertEqual(found, [None, b"nginx/1.22.1"])

    async def test_log(self) -> None:
        """
        Both are in the one access log, which stays open until both have
        stopped.
        """
        path = self.mktemp()
        site = Site(Text(b""), logPath=path, reactor=Clock())
        self.serve(site)
        site.doStart()
        await self.askedHTTP(Question(b"/?over=http"))
        site.doStop()
        self.assertFalse(site.logFile.closed)
        await self.asked(Question(b"/?over=fastcgi"))
        log = site.logFile
        self.factory.doStop()
        self.addCleanup(self.factory.doStart)
        self.assertTrue(log.closed)
        with open(path) as log:
            targets = re.findall(r'^"192\.0\.2\.7" .*?"GET (\S+) ', log.read(), re.M)
        self.assertEqual(targets, ["/?over=http", "/?over=fastcgi"])

    def test_realReactor(self) -> None:
        """
        Without a clock of its own a factory goes by the reactor's, where it
        leaves nothing behind.
        """
        factory = FastCGIFactory(Text(b"found"))
        self.assertIs(factory.reactor, reactor)
        factory.doStart()
        exchange = Exchange(factory)
        exchange.send(Question().overFastCGI(keep=True))
        self.assertEqual(exchange.responses[0].body, b"found")
        exchange.lose()
        factory.doStop()


def late(request: Any) -> int:
    """
    Answer in pieces.
    """
    request.setResponseCode(202, b"Well then")
    request.responseHeaders.addRawHeader(b"X-Many", b"one")
    request.responseHeaders.addRawHeader(b"X-Many", b"two")
    for piece in (b"a", b"", b"b" * 70000):
        request.write(piece)
    request.finish()
    return NOT_DONE_YET


def described(request: Any) -> bytes:
    """
    Show all of a request that an application usually looks at.
    """
    shown = {
        "method": request.method,
        "uri": request.uri,
        "path": request.path,
        "args": request.args,
        "prepath": request.prepath,
        "postpath": request.postpath,
        "clientproto": request.clientproto,
        "client": request.getClientAddress(),
        "host": request.getHost(),
        "hostname": request.getRequestHostname(),
        "url": request.prePathURL(),
        "secure": request.isSecure(),
        "user": (request.getUser(), request.getPassword()),
        "cookies": request.received_cookies,
        "agent": request.getHeader(b"user-agent"),
        "accept": request.requestHeaders.getRawHeaders(b"accept"),
        "type": request.getHeader(b"content-type"),
        "content": request.content.read(),
    }
    return "".join(f"{name}: {value}\n" for name, value in shown.items()).encode()


def tagged(request: Any) -> bytes:
    """
    Answer 304 to whoever has it.
    """
    return b"" if request.setETag(b'"tag"') else b"tagged"


def withStatus(code: int) -> Page:
    """
    Make a page that answers with a code.
    """

    def page(request: Any) -> bytes:
        request.setResponseCode(code)
        return b"" if code in (204, 304) else b"%d" % code

    return Page(page)


class EqualityTests(AsyncTestCase):
    """
    The same request gets the same answer over HTTP and FastCGI: status, header
    fields and body, but for what is of the way.
    """

    async def same(self, resource: IResource, *questions: Question) -> list[Answer]:
        """
        Ask a resource both ways.

        @return: The answers.
        """
        self.serve(resource)
        answers = []
        for question in questions:
            overHTTP = await self.askedHTTP(question)
            overFastCGI = await self.asked(question)
            self.assertEqual(overFastCGI, overHTTP, question)
            answers.append(overFastCGI)
        return answers

    async def test_methods(self) -> None:
        """
        Of a plain page, whatever the method.
        """
        methods = (b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"BREW")
        answers = await self.same(
            Page(lambda request: b"body"), *(Question(b"/", name) for name in methods)
        )
        statuses = [answer.status for answer in answers]
        self.assertEqual(statuses, [200, 200, 200, 501, 501, 501])

    async def test_late(self) -> None:
        """
        Of a page in pieces, with its own reason and repeated header fields.
        """
        answer, head, old = await self.same(
            Page(late),
            Question(),
            Question(method=b"HEAD"),
            Question(version=b"HTTP/1.0"),
        )
        self.assertEqual((answer.status, answer.reason), (202, b"Well then"))
        self.assertEqual(answer.all(b"X-Many"), [b"one", b"two"])
        self.assertEqual(answer.body, b"a" + b"b" * 70000)
        self.assertEqual((head.body, old.body), (b"", answer.body))

    async def test_requests(self) -> None:
        """
        Of a page that shows the request.
        """
        root = Resource()
        root.putChild(b"a b", Page(described))
        fields = (
            (b"Accept", b"text/html, */*;q=0.1"),
            (b"Authorization", b"Basic " + b64encode(b"user:secret")),
            (b"Cookie", b"a=1; b=2"),
            (b"User-Agent", b"te\xe9ster"),
        )
        formType = (b"Content-Type", FormTests.URLENCODED)
        partsType = (b"Content-Type", FormTests.MULTIPART)
        jsonType = (b"Content-Type", b"application/json")
        answers = await self.same(
            root,
            Question(b"/a%20b", headers=fields),
            Question(b"/a%20b/c%2Fd/%C3%A9/?x=1&y=%26&x=2&z"),
            Question(b"/a%20b//;p=1/~x?a?b"),
            Question(b"/a%20b", version=b"HTTP/1.0", host=b"example.org:8080"),
            Question(b"/a%20b?q=0", b"POST", (formType,), b"q=1&r=%20"),
            Question(b"/a%20b", b"POST", (partsType,), FormTests.PARTS),
            Question(b"/a%20b", b"POST", (jsonType,), b"[1]" * 50000),
            Question(b"/a%20b", b"POST", (formType,), b""),
        )
        self.assertEqual({answer.status for answer in answers}, {200})

    async def test_statuses(self) -> None:
        """
        Of pages with any status.
        """
        root = Resource()
        codes = (200, 201, 204, 205, 206, 299, 304, 307, 400, 418, 451, 503, 599)
        for code in codes:
            root.putChild(b"%d" % code, withStatus(code))
        answers = await self.same(root, *(Question(b"/%d" % code) for code in codes))
        self.assertEqual(tuple(answer.status for answer in answers), codes)

    async def test_pages(self) -> None:
        """
        Of what Twisted has ready.
        """
        root = Resource()
        root.putChild(b"data", Text(b"some"))
        root.putChild(b"empty", Text(b""))
        root.putChild(b"forbidden", pages.forbidden("no"))
        root.putChild(b"gone", pages.errorPage(410, "Gone", "was here"))
        root.putChild(b"redirect", Redirect(b"/data"))
        root.putChild(b"to", Page(lambda request: redirectTo(b"data?x", request)))
        root.putChild(b"tagged", Page(tagged))
        gzipped = EncodingResourceWrapper(
            Page(lambda request: b"x" * 5000), [GzipEncoderFactory()]
        )
        root.putChild(b"gzip", gzipped)
        names = (*root.children, b"missing", b"missing/below")
        root.putChild(b"xml", XMLRPC())
        answers = await self.same(
            root,
            *(Question(b"/" + name) for name in names),
            *(Question(b"/" + name, b"HEAD") for name in names),
            Question(b"/tagged", headers=((b"If-None-Match", b'"tag"'),)),
            Question(b"/tagged", b"HEAD", ((b"If-None-Match", b'"tag"'),)),
            Question(b"/xml", b"POST", (), dumps((), "none").encode("ascii")),
        )
        self.assertTrue(
            {200, 302, 304, 403, 404, 410} <= {each.status for each in answers}
        )

    async def test_files(self) -> None:
        """
        Of files, whole and in part.
        """
        root = File(self.mktemp())
        root.makedirs()
        root.child("large.txt").setContent(b"0123456789" * 20000)
        root.child("empty.txt").setContent(b"")
        ranges = [b"bytes=0-0", b"bytes=100-", b"bytes=-7", b"bytes=900000-", b"x=1"]
        answers = await self.same(
            root,
            Question(b"/large.txt"),
            Question(b"/large.txt", b"HEAD"),
            Question(b"/empty.txt"),
            Question(b"/nothing.txt"),
            Question(b"/"),
            *(Question(b"/large.txt", headers=((b"Range", r),)) for r in ranges),
        )
        self.assertEqual(answers[0].body, b"0123456789" * 20000)
        self.assertTrue({200, 206, 404, 416} <= {each.status for each in answers})

    async def test_failure(self) -> None:
        """
        Of a page that fails.
        """
        questions = [Question(), Question(method=b"HEAD")]
        answers = await self.same(Page(lambda request: 1 // 0), *questions)
        self.assertEqual({answer.status for answer in answers}, {500})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)

    async def test_klein(self) -> None:
        """
        Of a Klein application.
        """
        app = Klein()

        @app.route("/page/<name>")
        def page(request: Any, name: str) -> str:
            return f"page {name}"

        @app.route("/folder/")
        def folder(request: Any) -> str:
            return "folder"

        targets = (b"/page/%C3%A9%20x", b"/folder", b"/folder/", b"/none")
        answers = await self.same(
            app.resource(),
            *(Question(target) for target in targets),
            Question(b"/page/x", b"HEAD"),
        )
        self.assertEqual(answers[0].body, "page é x".encode())
