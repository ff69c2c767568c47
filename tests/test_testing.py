# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.testing}.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import treq
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import GzipEncoderFactory, Site
from twisted.web.static import File
from zope.interface.verify import verifyObject

from tests import wire
from tests.programs import ROOT
from tests.tables import TableTestCase, table
from tests.transports import Application, PullProducer, PushProducer, later
from twisted_fastcgi import (
    IFastCGIRequest,
    Limits,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.records import ProtocolStatus, RecordType
from twisted_fastcgi.testing import (
    FastCGITestClient,
    NoResponse,
    NotAnswered,
    Record,
    Response,
    WholeBody,
    readRecords,
)

EXAMPLES = ROOT / "docs/examples/testing"

#: The header and the end of a response, as an application may send them.
HEAD = wire.stream(wire.STDOUT, 1, b"Status: 200 OK\r\n\r\nhello", end=False)
END = wire.record(wire.STDOUT, 1) + wire.record(wire.END_REQUEST, 1, bytes(8))


def respond(request: Any) -> bytes:
    """
    Answer with what was asked for, as JSON.
    """
    params = IFastCGIRequest(request).params
    request.content.seek(0)
    told = {
        "method": request.method.decode(),
        "uri": request.uri.decode(),
        "args": {
            name.decode(): [value.decode() for value in values]
            for name, values in request.args.items()
        },
        "body": request.content.read().decode("latin1"),
        "params": {name.decode(): value.decode() for name, value in params.items()},
        "secure": request.isSecure(),
    }
    return json.dumps(told).encode()


class ClientTestCase(TableTestCase):
    """
    A test case with a client, which leaves nothing behind.

    @ivar client: The client, after L{ask}.
    @ivar application: What it asks.
    """

    client: FastCGITestClient
    application: Any

    def ask(self, answer: Any = b"hello", **options: Any) -> FastCGITestClient:
        """
        Make a client.

        @param answer: A resource, or the answer of an L{Application}.
        @param options: More arguments of L{FastCGITestClient}.
        """
        if isinstance(answer, bytes) or not isinstance(answer, (Resource, Site)):
            answer = Application(answer)
        self.application = answer
        self.client = FastCGITestClient(answer, **options)
        self.addCleanup(self.cleanUp, self.client)
        return self.client

    def cleanUp(self, client: FastCGITestClient) -> None:
        """
        Close a client, and see that nothing is left.
        """
        client.close()
        self.assertEqual(client.pending, [])
        self.assertEqual(client.factory.connectionCount, 0)
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def get(self, path: str = "/", **options: Any) -> Response:
        """
        Ask, and read the answer, which must be there.
        """
        return self.successResultOf(self.client.get(path, **options))

    def told(self, method: str = "GET", path: str = "/", **options: Any) -> Any:
        """
        Tell what the application was told, by L{respond}.
        """
        client = self.ask(respond, **options.pop("client", {}))
        return self.successResultOf(client.request(method, path, **options)).json()


class ResponseTests(ClientTestCase):
    """
    L{Response}.
    """

    def test_parts(self) -> None:
        """
        It has what came: status, header fields, body, STDERR and both statuses.
        """

        def answer(request: Any) -> bytes:
            request.setResponseCode(404, b"Nowhere")
            request.setHeader("X-Test", "yes")
            IFastCGIRequest(request).writeStderr(b"oh dear")
            IFastCGIRequest(request).appStatus = 3
            return b"nothing"

        self.ask(answer)
        response = self.get()
        self.assertEqual((response.code, response.phrase), (404, b"Nowhere"))
        self.assertEqual(response.headers.getRawHeaders("x-test"), ["yes"])
        self.assertEqual((response.body, response.stderr), (b"nothing", b"oh dear"))
        self.assertEqual((response.appStatus, response.protocolStatus), (3, 0))
        self.assertTrue(response.complete)
        self.assertNotIn("raw", repr(response))

    @table(
        {
            "told": ("text/plain; charset=latin1", None, "\xfc"),
            "quoted": ('text/plain; charset="ISO-8859-1"', None, "\xfc"),
            "asked for": ("text/plain; charset=utf-8", "latin1", "\xfc"),
        }
    )
    def test_text(self, contentType: str, encoding: str | None, text: str) -> None:
        """
        The body is decoded as the caller says, or else I{Content-Type}.
        """
        headers = Headers({"Content-Type": [contentType]})
        response = Response(200, b"OK", headers, b"\xfc", b"", 0, 0, True, b"")
        self.assertEqual(response.text(encoding), text)

    def test_textByDefault(self) -> None:
        """
        The body is UTF-8 if nothing is said about it.
        """
        response = Response(200, b"", Headers(), b"\xc3\xbc", b"", 0, 0, True, b"")
        self.assertEqual(response.text(), "\xfc")

    def test_json(self) -> None:
        """
        The body is read as JSON; what is none is an error.
        """
        response = Response(200, b"", Headers(), b'{"a": 1}', b"", 0, 0, True, b"")
        self.assertEqual(response.json(), {"a": 1})
        response = Response(200, b"", Headers(), b"hello", b"", 0, 0, True, b"")
        self.assertRaises(ValueError, response.json)

    def test_records(self) -> None:
        """
        The records are there, readable and raw.
        """
        self.ask()
        response = self.get()
        content = b"Content-Type: text/html\r\nContent-Length: 5\r\n"
        content += b"Status: 200 OK\r\n\r\nhello"
        self.assertEqual(
            response.records,
            [
                Record(RecordType.STDOUT, 1, content, -len(content) % 8),
                Record(RecordType.STDOUT, 1, b"", 0),
                Record(RecordType.END_REQUEST, 1, bytes(8), 0),
            ],
        )
        self.assertIn("<RecordType.END_REQUEST: 3>", repr(response.records))
        self.assertEqual(wire.response(response.raw).body, b"hello")

    def test_head(self) -> None:
        """
        The response to I{HEAD} is whole without a body.
        """
        client = self.ask()
        response = self.successResultOf(client.request("HEAD", "/"))
        self.assertEqual(response.body, b"")
        self.assertEqual(response.headers.getRawHeaders("content-length"), ["5"])
        self.assertTrue(response.complete)

    def test_tooShort(self) -> None:
        """
        A response whose body is shorter than I{Content-Length} says, and that
        ends without the end of STDOUT, is not whole.
        """

        def answer(request: Any) -> Any:
            request.setHeader("Content-Length", "10")
            request.write(b"hello")
            request.finish()
            return later(request)

        self.ask(answer)
        response = self.get()
        self.assertEqual((response.body, response.appStatus), (b"hello", 1))
        self.assertFalse(response.complete)

    @table(
        {
            "short": (b"Content-Length: 9\r\n\r\nhello", True, False),
            "exact": (b"Content-Length: 5\r\n\r\nhello", True, True),
            "STDOUT is open": (b"Content-Length: 5\r\n\r\nhello", False, False),
            "no length": (b"A: b\r\n\r\nhello", True, True),
            "not modified": (
                b"Status: 304\r\nContent-Length: 5\r\n\r\n",
                True,
                True,
            ),
        }
    )
    def test_complete(self, stdout: bytes, end: bool, complete: bool) -> None:
        """
        A response is whole if STDOUT has ended and the body is as long as it
        should be.
        """
        sent = wire.stream(wire.STDOUT, 1, stdout, end=end)
        sent += wire.record(wire.END_REQUEST, 1, bytes(8))
        self.ask()
        self.client.factory.protocol = speaking(sent)
        self.assertIs(self.get().complete, complete)

    def test_givenUp(self) -> None:
        """
        A response that the application gives up midway comes as far as it came,
        and is not whole.
        """

        def answer(request: Any) -> Any:
            request.write(b"hello")
            request.loseConnection()
            return later(request)

        self.ask(answer)
        response = self.get()
        self.assertEqual((response.code, response.body), (200, b"hello"))
        self.assertEqual((response.appStatus, response.protocolStatus), (None, None))
        self.assertFalse(response.complete)


class RecordTests(SynchronousTestCase):
    """
    L{readRecords}.
    """

    SENT: ClassVar[bytes] = wire.beginRequest() + wire.stdin(b"abc")

    def test_records(self) -> None:
        """
        It finds all records, those of unknown type included.
        """
        self.assertEqual(
            readRecords(self.SENT + wire.record(77, 9, b"x")),
            [
                Record(RecordType.BEGIN_REQUEST, 1, b"\0\1\1" + bytes(5), 0),
                Record(RecordType.STDIN, 1, b"abc", 5),
                Record(RecordType.STDIN, 1, b"", 0),
                Record(77, 9, b"x", 7),
            ],
        )

    def test_cutOff(self) -> None:
        """
        A record that is not whole is left out, wherever it is cut off.
        """
        first, second, _ = readRecords(self.SENT)
        for length in range(16):
            self.assertEqual(readRecords(self.SENT[:length]), [])
        for length in range(16, 32):
            self.assertEqual(readRecords(self.SENT[:length]), [first])
        for length in range(32, 40):
            self.assertEqual(readRecords(self.SENT[:length]), [first, second])

    def test_other(self) -> None:
        """
        What is no FastCGI is an error.
        """
        self.assertRaises(RemoteProtocolError, readRecords, b"GET / HTTP/1.0\r\n\r\n")


class RequestTests(ClientTestCase):
    """
    What the application gets of a request.
    """

    def test_variables(self) -> None:
        """
        A request has the variables that a web server sends for an application
        that has all paths.
        """
        told = self.told(path="/a/b?c=d&e=f%20g")
        self.assertEqual((told["method"], told["uri"]), ("GET", "/a/b?c=d&e=f%20g"))
        self.assertEqual(told["args"], {"c": ["d"], "e": ["f g"]})
        expected = {
            "REQUEST_METHOD": "GET",
            "REQUEST_URI": "/a/b?c=d&e=f%20g",
            "QUERY_STRING": "c=d&e=f%20g",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a/b",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1",
        }
        self.assertLessEqual(expected.items(), told["params"].items())
        self.assertNotIn("CONTENT_LENGTH", told["params"])
        self.assertFalse(told["secure"])

    def test_params(self) -> None:
        """
        The variables of the client come on top of those, and the variables of
        the request on top of all; L{None} leaves one out.
        """
        told = self.told(
            client={"params": {"REMOTE_USER": "ada", "A": "1", "REMOTE_ADDR": None}},
            params={b"A": b"2", "SERVER_NAME": "b\xfccher", b"SERVER_PORT": None},
        )
        expected = {"REMOTE_USER": "ada", "A": "2", "SERVER_NAME": "b\xfccher"}
        self.assertLessEqual(expected.items(), told["params"].items())
        self.assertNotIn("REMOTE_ADDR", told["params"])
        self.assertNotIn("SERVER_PORT", told["params"])

    def test_exchangeParams(self) -> None:
        """
        The exchange tells which variables were sent, and C{params} of the
        client may change.
        """
        client = self.ask()
        client.params = {"REMOTE_USER": "ada"}
        exchange = client.begin("GET", "/")
        self.assertEqual(exchange.params[b"REMOTE_USER"], b"ada")
        sent = dict(wire.readPairs(readRecords(exchange.sent)[1].content))
        self.assertEqual(sent, exchange.params)

    def test_origin(self) -> None:
        """
        The origin tells scheme, host and port.
        """
        told = self.told(client={"origin": "https://www.example.com:8443/"})
        expected = {"SERVER_NAME": "www.example.com", "SERVER_PORT": "8443"}
        expected["HTTP_HOST"] = "www.example.com:8443"
        self.assertLessEqual(expected.items(), told["params"].items())
        self.assertTrue(told["secure"])

    def test_absolute(self) -> None:
        """
        An absolute URI counts more than the origin.
        """
        told = self.told(path="HTTPS://www.example.com/a?b")
        self.assertEqual(told["uri"], "/a?b")
        self.assertEqual(told["params"]["HTTP_HOST"], "www.example.com")
        self.assertTrue(told["secure"])

    def test_unsafe(self) -> None:
        """
        What can't stand in a URI is encoded; what is encoded already is left.
        """
        told = self.told(path="/\xfc b/%20\n?\u20ac")
        self.assertEqual(told["uri"], "/%C3%BC%20b/%20%0A?%E2%82%AC")

    @table(
        {
            "relative": ("GET", "page", {}, "'page'"),
            "empty": ("GET", "", {}, "start with /"),
            "other scheme": ("GET", "ftp://localhost/", {}, "start with /"),
            "bad URI": ("GET", "http:///", {}, "http:///"),
            "bad method": ("G T", "/", {}, "G T"),
            "bad variable": ("GET", "/", {"params": {"A": "\0"}}, "NUL"),
            "no pieces": ("GET", "/", {"pieces": 0}, "at least 1 byte"),
            "an empty piece": ("GET", "/", {"pieces": [1, 0]}, "at least 1 byte"),
        }
    )
    def test_impossible(self, method: str, path: str, more: Any, why: str) -> None:
        """
        A request that can't be is an error right away, and leaves nothing
        behind.
        """
        client = self.ask()
        error = self.assertRaises(ValueError, client.request, method, path, **more)
        self.assertIn(why, str(error))
        self.assertEqual((client.pending, client.factory.connectionCount), ([], 0))

    def test_headers(self) -> None:
        """
        Header fields may be given in any of the usual ways.
        """
        for headers in (
            {"X-One": "1", "X-Two": ["2", b"3"]},
            {b"X-One": b"1", b"X-Two": (b"2", "3")},
            Headers({"X-One": ["1"], "X-Two": ["2", "3"]}),
        ):
            params = self.told(headers=headers)["params"]
            self.assertEqual(
                (params["HTTP_X_ONE"], params["HTTP_X_TWO"]), ("1", "2, 3")
            )

    def test_headersStay(self) -> None:
        """
        Header fields that are given are not changed.
        """
        headers = Headers({"X-One": ["1"]})
        before = headers.copy()
        self.told("POST", body={"a": "b"}, headers=headers)
        self.assertEqual(headers, before)

    def test_bytes(self) -> None:
        """
        A body of bytes is sent as it is, with its length and without a type.
        """
        client = self.ask(respond)
        told = self.successResultOf(client.post("/", b"a=b\xff")).json()
        self.assertEqual((told["method"], told["body"]), ("POST", "a=b\xff"))
        self.assertEqual(told["params"]["CONTENT_LENGTH"], "4")
        self.assertNotIn("CONTENT_TYPE", told["params"])
        told = self.successResultOf(client.post("/")).json()
        self.assertEqual(told["params"]["CONTENT_LENGTH"], "0")

    def test_form(self) -> None:
        """
        The fields of a form are sent as browsers do it.
        """
        for body in (
            {"a": "\xfc b", "c": ["1", 2]},
            [("a", "\xfc b"), ("c", [1, "2"])],
        ):
            told = self.told("PUT", body=body)
            self.assertEqual(told["body"], "a=%C3%BC+b&c=1&c=2")
            contentType = "application/x-www-form-urlencoded"
            self.assertEqual(told["params"]["CONTENT_TYPE"], contentType)
        self.assertEqual(
            self.told("POST", body=body)["args"], {"a": ["\xfc b"], "c": ["1", "2"]}
        )

    def test_ownType(self) -> None:
        """
        A I{Content-Type} that is given is kept.
        """
        headers = {"Content-Type": "text/plain"}
        told = self.told("POST", body={"a": "b"}, headers=headers)
        self.assertEqual(told["params"]["CONTENT_TYPE"], "text/plain")

    def test_site(self) -> None:
        """
        A site is served with all it has, and started for as long as there is a
        connection.
        """
        clock = Clock()
        path = self.mktemp()
        site = Site(Application(), logPath=path.encode(), reactor=clock)
        client = self.ask(site, reactor=clock)
        self.assertIs(client.clock, clock)
        self.get("/page")
        self.get("/other")
        log = Path(path).read_text()
        self.assertIn('"GET /page HTTP/1.1" 200 5', log)
        self.assertIn('"GET /other HTTP/1.1" 200 5', log)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_siteStaysStarted(self) -> None:
        """
        The site stays started until the last connection is gone.
        """
        clock = Clock()
        path = self.mktemp()
        application = Application(later)
        site = Site(application, logPath=path.encode(), reactor=clock)
        client = self.ask(site, reactor=clock)
        deferreds = [client.get("/"), client.get("/")]
        for request in application.requests:
            request.finish()
            client.flush()
        for deferred in deferreds:
            self.successResultOf(deferred)
        self.assertEqual(len(Path(path).read_text().splitlines()), 2)

    def test_options(self) -> None:
        """
        C{limits} and C{mount} are those of the factory; what is neither
        resource nor site is refused.
        """
        root = Resource()
        root.putChild(b"page", Application(respond))
        self.ask(root, mount="/app", limits=Limits(bodyBytes=3))
        self.assertEqual(self.get("/app/page").code, 200)
        self.assertEqual(self.get("/page").code, 404)
        response = self.successResultOf(self.client.post("/app/page", b"abcd"))
        self.assertEqual(response.code, 413)
        self.assertRaises(TypeError, FastCGITestClient, object())

    @table(
        {
            "byte by byte": (1, [1] * 3000),
            "all of one size": (100, [100] * 30),
            "some": ([8, 3, 200], [8, 3, 200]),
        }
    )
    def test_pieces(self, pieces: Any, sizes: list[int]) -> None:
        """
        The bytes of a request arrive in the pieces that are asked for, of the
        client or for one request.
        """
        for options, more in (({"pieces": pieces}, {}), ({}, {"pieces": pieces})):
            client = self.ask(respond, **options)
            got: list[int] = []
            client.factory.protocol = noting(client.factory.protocol, got)
            deferred = client.post("/", b"x" * 200, **more)
            self.assertEqual(self.successResultOf(deferred).json()["body"], "x" * 200)
            expected = sizes[: len(got)]
            self.assertEqual(got[: len(expected)][:-1], expected[:-1])
            self.assertGreater(len(got), 3)

    def test_whole(self) -> None:
        """
        Without pieces the whole request arrives at once.
        """
        client = self.ask()
        got: list[int] = []
        client.factory.protocol = noting(client.factory.protocol, got)
        self.successResultOf(client.post("/", b"x" * 200))
        self.assertEqual(len(got), 1)

    def test_large(self) -> None:
        """
        No more than 64 KiB arrive at once.
        """
        client = self.ask()
        got: list[int] = []
        client.factory.protocol = noting(client.factory.protocol, got)
        self.successResultOf(client.post("/", bytes(1 << 20)))
        self.assertEqual(max(got), 65536)
        self.assertEqual(len(self.application.seen[0][3]), 1 << 20)


class CookieTests(ClientTestCase):
    """
    Cookies.
    """

    def setUp(self) -> None:
        """
        Make an application that sets the cookies that the query names.
        """

        def answer(request: Any) -> bytes:
            for name, values in request.args.items():
                request.addCookie(name, values[0], path=request.path)
            told = {
                name.decode(): value.decode()
                for name, value in request.received_cookies.items()
            }
            return json.dumps(told).encode()

        self.ask(answer)

    def test_kept(self) -> None:
        """
        Cookies are sent again, to where they belong.
        """
        self.assertEqual(self.get("/a?x=1&y=2").json(), {})
        self.assertEqual(self.get("/a/b").json(), {"x": "1", "y": "2"})
        self.assertEqual(self.get("/b").json(), {})
        self.assertEqual(self.get("http://www.example.com/a").json(), {})

    def test_jar(self) -> None:
        """
        The cookies can be seen, and removed.
        """
        self.get("/?x=1")
        self.assertEqual([(c.name, c.value) for c in self.client.cookies], [("x", "1")])
        self.client.cookies.clear()
        self.assertEqual(self.get("/").json(), {})

    def test_own(self) -> None:
        """
        A request with cookies of its own has these only.
        """
        self.get("/?x=1")
        got = self.get("/", headers={"Cookie": "z=3"}).json()
        self.assertEqual(got, {"z": "3"})

    def test_session(self) -> None:
        """
        So sessions work, and end when their time is over.
        """

        def answer(request: Any) -> bytes:
            uid: bytes = request.getSession().uid
            return uid

        self.ask(answer)
        first = self.get().body
        self.assertEqual(self.get().body, first)
        self.client.clock.advance(3600)
        self.assertNotEqual(self.get().body, first)
        self.client.clock.advance(3600)


class TimeTests(ClientTestCase):
    """
    When things happen, and what can be told before.
    """

    def test_atOnce(self) -> None:
        """
        When the L{Deferred} of a request has fired, there is no connection any
        more, and nothing is to be done.
        """
        self.ask()
        self.get()
        self.assertEqual(self.client.factory.connectionCount, 0)
        self.assertEqual(self.client.clock.getDelayedCalls(), [])
        self.assertEqual(self.client.pending, [])

    def test_later(self) -> None:
        """
        A response that comes later is there as soon as the application has
        written it, without a turn of anything.
        """
        client = self.ask(later)
        deferred = client.get("/")
        self.assertNoResult(deferred)
        calls = client.clock.getDelayedCalls()
        self.application.request.write(b"hello")
        self.assertNoResult(deferred)
        self.assertEqual(client.clock.getDelayedCalls(), calls)
        self.application.request.finish()
        response = self.successResultOf(deferred)
        self.assertEqual((response.body, response.complete), (b"hello", True))

    def test_clock(self) -> None:
        """
        Time is that of the clock, for the application and for the server.
        """

        def answer(request: Any) -> Any:
            client.clock.callLater(10, request.finish)
            return later(request)

        client = self.ask(answer, limits=Limits(bodyTimeout=5))
        deferred = client.get("/")
        client.clock.advance(9)
        self.assertNoResult(deferred)
        client.clock.advance(1)
        self.assertEqual(self.successResultOf(deferred).code, 200)
        upload = client.begin("POST", "/", length=3)
        client.clock.pump([1] * 6)
        self.assertEqual(self.successResultOf(upload.whenFinished()).code, 408)

    def test_due(self) -> None:
        """
        What takes no time by the clock is done at once, too.
        """

        def answer(request: Any) -> Any:
            client.clock.callLater(0, request.write, b"hello")
            client.clock.callLater(0, client.clock.callLater, 0, request.finish)
            return later(request)

        client = self.ask(answer)
        self.assertEqual(self.get().body, b"hello")

    def test_gzip(self) -> None:
        """
        A file that is compressed on its way is there at once, though its
        producer may write nothing when it is asked.
        """
        path = Path(self.mktemp())
        path.write_bytes(bytes(1 << 20))
        root = Resource()
        resource = EncodingResourceWrapper(File(str(path)), [GzipEncoderFactory()])
        root.putChild(b"file", resource)
        self.ask(root)
        response = self.get("/file", headers={"Accept-Encoding": "gzip"})
        self.assertEqual(response.headers.getRawHeaders("content-encoding"), ["gzip"])
        self.assertTrue(response.complete)

    def test_ownClock(self) -> None:
        """
        The clock may be the test's.
        """
        clock = Clock()
        self.assertIs(self.ask(reactor=clock).clock, clock)

    def test_noClock(self) -> None:
        """
        A client with another reactor has no clock, and says so.
        """
        client = FastCGITestClient(Resource(), reactor=reactor)
        error = self.assertRaises(AttributeError, lambda: client.clock)
        self.assertIn("made with reactor=", str(error))

    def test_resultOf(self) -> None:
        """
        C{resultOf} gives results, and raises errors.
        """
        client = self.ask()
        self.assertEqual(client.resultOf(client.get("/")).body, b"hello")
        failed: Deferred[None] = Deferred()
        failed.errback(ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, client.resultOf, failed)
        self.assertRaises(ZeroDivisionError, client.resultOf, later_(failed))

    def test_resultOfLater(self) -> None:
        """
        Without a result C{resultOf} tells what is not finished, and may be
        called again when it has come, whether that is a result or an error.
        """
        client = self.ask(later)
        deferred = client.get("/slow?a=b")
        error = self.assertRaises(NotAnswered, client.resultOf, deferred)
        self.assertIn(
            "\n  GET /slow?a=b: the application has sent no response", str(error)
        )
        self.assertIn("client.clock.advance(seconds)", str(error))
        self.application.request.finish()
        self.assertEqual(client.resultOf(deferred).code, 200)
        waiting: Deferred[None] = Deferred()
        error = self.assertRaises(NotAnswered, client.resultOf, waiting)
        self.assertTrue(str(error).endswith("Requests that are not finished:\n  none"))
        waiting.errback(ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, client.resultOf, waiting)

    def test_resultOfAgent(self) -> None:
        """
        The requests of agents are mentioned, too.
        """
        client = self.ask(later)
        deferred = client.agent().request(b"GET", b"http://localhost/")
        error = self.assertRaises(NotAnswered, client.resultOf, deferred)
        self.assertIn("those of agents, which have 1 connections", str(error))
        client.close()
        self.failureResultOf(deferred)

    def test_pending(self) -> None:
        """
        What is not finished can be seen, in order, with what it waits for.
        """
        client = self.ask(later)
        client.get("/a")
        client.begin("POST", "/b", length=3)
        client.begin("GET", "/c", reading=False).end()
        client.begin("GET", "/d").end()
        self.application.requests[1].write(b"hello")
        self.application.requests[2].write(b"hello")
        self.assertEqual(
            [repr(exchange) for exchange in client.pending],
            [
                "<Exchange GET /a: the application has sent no response>",
                "<Exchange POST /b: the request's body has not ended: call end()>",
                f"<Exchange GET /c: {client.pending[2].unread} bytes of the response "
                "are not read: call read()>",
                "<Exchange GET /d: the response, 200 with 5 bytes so far, has not "
                "ended>",
            ],
        )
        first = client.pending[0]
        self.application.requests[0].finish()
        self.assertNotIn(first, client.pending)
        self.assertEqual(repr(first), "<Exchange GET /a: finished>")

    def test_inCallback(self) -> None:
        """
        A callback may send the next request, and has the answer at once.
        """
        client = self.ask(respond, keepConnection=True)
        got: list[str] = []

        def next(response: Response) -> None:
            got.append(response.json()["uri"])
            if len(got) < 4:
                deferred = client.get(f"/{len(got)}").addCallback(next)
                self.assertTrue(deferred.called)

        client.get("/").addCallback(next)
        self.assertEqual(got, ["/", "/1", "/2", "/3"])
        self.assertEqual(client.factory.connectionCount, 1)

    def test_inCallbackOfLater(self) -> None:
        """
        The same while the application is in the midst of writing.
        """
        client = self.ask(lambda request: later(request), keepConnection=True)
        deferred = client.get("/")
        seconds: list[Deferred[Response]] = []
        deferred.addCallback(lambda response: seconds.append(client.get("/")))
        first, second = self.application.requests[0], lambda: self.application
        first.finish()
        client.flush()
        second().requests[1].finish()
        self.assertEqual(self.successResultOf(seconds[0]).code, 200)

    def test_cancel(self) -> None:
        """
        Whoever does not want to wait any more closes the connection.
        """
        client = self.ask(later)
        deferred = client.get("/")
        gone = self.application.request.notifyFinish()
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        self.failureResultOf(gone, ConnectionDone)
        deferred = client.get("/").addTimeout(5, client.clock)
        client.clock.advance(5)
        self.failureResultOf(deferred)

    def test_close(self) -> None:
        """
        C{close} ends whatever is going on, even if the application does not
        read, and tells those who wait by then.
        """

        def answer(request: Any) -> Any:
            request.registerProducer(PushProducer(), True)
            return later(request)

        client = self.ask(answer)
        deferreds = [client.get("/"), client.get("/")]
        client.factory.protocol = Deaf
        deferreds.append(client.post("/", b"abc"))
        failures: list[Failure] = []
        for deferred in deferreds:
            deferred.addErrback(failures.append)
        client.get("/")
        gone = [request.notifyFinish() for request in self.application.requests]
        client.close()
        for finish in gone:
            self.failureResultOf(finish, ConnectionDone)
        self.assertEqual(client.factory.connectionCount, 0)
        self.assertEqual([failure.type for failure in failures], [NoResponse] * 3)

    def test_closeWithin(self) -> None:
        """
        C{close} may be called by who is told of a connection's end.
        """
        client = self.ask()
        lost: list[Protocol] = []

        class Closing(Deaf):
            def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
                lost.append(self)
                client.close()

        client.factory.protocol = Closing
        client.get("/")
        client.get("/")
        client.close()
        self.assertEqual(len(lost), 2)

    def test_closeThenOn(self) -> None:
        """
        After C{close} the client can be used again, as before.
        """
        client = self.ask(later, keepConnection=True)
        client.get("/")
        client.close()
        self.assertEqual(client.factory.connectionCount, 0)
        deferred = client.get("/")
        self.assertEqual(client.factory.connectionCount, 1)
        client.pending[0].disconnect()
        self.failureResultOf(deferred, NoResponse)


class KeepTests(ClientTestCase):
    """
    Connections that are kept, and several at a time.
    """

    def test_kept(self) -> None:
        """
        A connection that is kept is used again.
        """
        client = self.ask(keepConnection=True)
        for _ in range(3):
            self.assertTrue(self.get().complete)
            self.assertEqual(client.factory.connectionCount, 1)
        flags = readRecords(client.begin("GET", "/").sent)[0].content[2]
        self.assertEqual(flags, 1)

    def test_notKept(self) -> None:
        """
        By default the application closes the connection after each response;
        either may be had for one request.
        """
        client = self.ask()
        self.get()
        self.assertEqual(client.factory.connectionCount, 0)
        self.get(keepConnection=True)
        self.assertEqual(client.factory.connectionCount, 1)
        self.get(keepConnection=False)
        self.assertEqual(client.factory.connectionCount, 0)
        client.keepConnection = True
        self.get()
        self.assertEqual(client.factory.connectionCount, 1)

    def test_concurrent(self) -> None:
        """
        Requests at the same time have a connection each, and may be answered in
        any order.
        """
        client = self.ask(later, keepConnection=True)
        deferreds = [client.get(f"/{number}") for number in range(3)]
        self.assertEqual(client.factory.connectionCount, 3)
        for number in (1, 2, 0):
            self.application.requests[number].write(b"%d" % number)
            self.application.requests[number].finish()
        bodies = [self.successResultOf(deferred).body for deferred in deferreds]
        self.assertEqual(bodies, [b"0", b"1", b"2"])
        client.flush()
        client.get("/")
        self.assertEqual(client.factory.connectionCount, 3)

    def test_closedIdle(self) -> None:
        """
        A connection that the application has closed is not used again.
        """
        client = self.ask(keepConnection=True, limits=Limits(idleTimeout=5))
        self.get()
        client.clock.pump([1] * 6)
        self.assertEqual(client.factory.connectionCount, 0)
        self.assertEqual(self.get().body, b"hello")

    def test_overloaded(self) -> None:
        """
        What the application refuses has a response and a protocol status.
        """
        client = self.ask(later, limits=Limits(connections=1))
        client.get("/")
        response = self.get()
        self.assertEqual(response.code, 503)
        self.assertEqual(response.protocolStatus, ProtocolStatus.OVERLOADED)

    def test_drain(self) -> None:
        """
        The factory can be drained.
        """
        client = self.ask(later)
        deferred = client.get("/")
        drained = client.factory.drain(10)
        self.assertNoResult(drained)
        self.application.request.finish()
        client.flush()
        self.successResultOf(drained)
        self.assertEqual(self.successResultOf(deferred).code, 200)


class ExchangeTests(ClientTestCase):
    """
    L{Exchange<twisted_fastcgi.testing.Exchange>}.
    """

    def test_upload(self) -> None:
        """
        A body may be sent in pieces, with pauses; the application has the
        request when all is there.
        """
        client = self.ask(respond)
        upload = client.begin("POST", "/", length=6)
        upload.send(b"abc")
        client.clock.advance(10)
        upload.send(b"def")
        upload.end()
        told = self.successResultOf(upload.whenFinished()).json()
        self.assertEqual(told["body"], "abcdef")
        self.assertEqual(told["params"]["CONTENT_LENGTH"], "6")

    def test_unknownLength(self) -> None:
        """
        A body may be sent without its length being told.
        """
        upload = self.ask(respond).begin("POST", "/")
        upload.send(b"abc")
        upload.end()
        told = self.successResultOf(upload.whenFinished()).json()
        self.assertEqual(told["body"], "abc")
        self.assertNotIn("CONTENT_LENGTH", told["params"])

    def test_short(self) -> None:
        """
        A body that is shorter than was told has the server's answer to that.
        """
        upload = self.ask(respond).begin("POST", "/", length=6)
        upload.send(b"abc")
        upload.end()
        self.assertEqual(upload.response.code, 400)

    def test_early(self) -> None:
        """
        After an early answer nothing more is sent.
        """
        client = self.ask(limits=Limits(bodyBytes=3))
        upload = client.begin("POST", "/", length=6)
        self.assertTrue(upload.finished)
        self.assertEqual(upload.response.code, 413)
        sent = upload.sent
        upload.send(b"abc")
        upload.end()
        self.assertEqual(upload.sent, sent)
        self.assertEqual(client.factory.connectionCount, 0)

    def test_turns(self) -> None:
        """
        Nothing can be sent after the end of the body.
        """
        exchange = self.ask(later).begin("GET", "/")
        exchange.end()
        self.assertRaises(LocalProtocolError, exchange.send, b"abc")
        self.assertRaises(LocalProtocolError, exchange.end)

    def test_pieces(self) -> None:
        """
        The pieces go on with what is sent later.
        """
        client = self.ask(later)
        got: list[int] = []
        client.factory.protocol = noting(client.factory.protocol, got)
        upload = client.begin("POST", "/", pieces=[16, 10000, 3, 2])
        upload.send(b"abcdefgh")
        upload.send(b"ijklmnop")
        self.assertEqual(got[0], 16)
        self.assertEqual(got[2:], [3, 2, 11, 16])

    def test_pausedUpload(self) -> None:
        """
        What the application does not read waits, and it can be seen that it
        does.
        """
        client = self.ask()
        client.factory.protocol = Deaf
        upload = client.begin("POST", "/", length=6)
        before = upload.unsent
        upload.send(b"abcdefgh")
        self.assertEqual(upload.unsent, before + 16)
        self.assertEqual(before + 16, len(upload.sent))
        self.assertIn(
            f"the application does not read {before + 16} bytes of the request",
            repr(upload),
        )
        upload.disconnect()
        self.assertEqual(upload.unsent, 0)

    def test_abort(self) -> None:
        """
        ABORT_REQUEST is answered with END_REQUEST, and the application is told.
        The connection stays, if it was to be kept.
        """
        for keep in (False, True):
            client = self.ask(later, keepConnection=keep)
            exchange = client.begin("GET", "/a")
            exchange.end()
            gone = self.application.request.notifyFinish()
            exchange.abort()
            self.failureResultOf(gone, ConnectionLost)
            self.assertTrue(exchange.finished)
            self.assertEqual(
                [record.type for record in readRecords(exchange.received)],
                [RecordType.END_REQUEST],
            )
            error = self.failureResultOf(exchange.whenFinished(), NoResponse).value
            self.assertIs(error.exchange, exchange)
            self.assertEqual(
                str(error),
                "GET /a has no response: END_REQUEST came with application status 1 "
                "and protocol status 0 before the end of the header",
            )
            self.assertEqual(client.factory.connectionCount, int(keep))

    def test_abortMidway(self) -> None:
        """
        What came before an abort is there, and not whole.
        """
        exchange = self.ask(later).begin("GET", "/")
        exchange.end()
        self.application.request.write(b"hello")
        exchange.abort()
        response = self.successResultOf(exchange.whenFinished())
        self.assertEqual((response.body, response.appStatus), (b"hello", 1))
        self.assertFalse(response.complete)

    def test_abortUpload(self) -> None:
        """
        A request can be aborted while its body is on its way.
        """
        client = self.ask(keepConnection=True)
        exchange = client.begin("POST", "/", length=6)
        exchange.send(b"abc")
        exchange.abort()
        self.assertTrue(exchange.finished)
        self.assertEqual(self.get().body, b"hello")
        self.assertEqual(client.factory.connectionCount, 1)

    def test_disconnect(self) -> None:
        """
        When the web server closes the connection, the application is told.
        """
        client = self.ask(later)
        exchange = client.begin("GET", "/a")
        exchange.end()
        gone = self.application.request.notifyFinish()
        deferred = exchange.whenFinished()
        exchange.disconnect()
        self.failureResultOf(gone, ConnectionDone)
        error = self.failureResultOf(deferred, NoResponse).value
        self.assertIn("the web server closed the connection", str(error))
        self.assertEqual(client.factory.connectionCount, 0)

    def test_disconnectMidway(self) -> None:
        """
        What came before is there, and not whole.
        """
        exchange = self.ask(later).begin("GET", "/")
        exchange.end()
        self.application.request.write(b"hello")
        exchange.disconnect()
        self.assertEqual(exchange.response.body, b"hello")
        self.assertFalse(exchange.response.complete)
        self.application.request.write(b"more")

    def test_afterwards(self) -> None:
        """
        What is finished is not changed by anything, though its connection may
        be in use again.
        """
        client = self.ask(later, keepConnection=True)
        exchange = client.begin("GET", "/a")
        exchange.end()
        self.application.request.finish()
        client.flush()
        response = self.successResultOf(exchange.whenFinished())
        deferred = client.get("/b")
        exchange.send(b"x")
        exchange.end()
        exchange.abort()
        exchange.stopReading()
        exchange.startReading()
        exchange.read()
        exchange.disconnect()
        self.assertEqual((exchange.unread, exchange.unsent), (0, 0))
        self.application.requests[1].write(b"hello")
        self.application.requests[1].finish()
        self.assertEqual(self.successResultOf(deferred).body, b"hello")
        self.assertEqual(exchange.response, response)

    def test_soFar(self) -> None:
        """
        A response that is not finished can be looked at.
        """
        exchange = self.ask(later).begin("GET", "/")
        exchange.end()
        error = self.assertRaises(NoResponse, lambda: exchange.response)
        self.assertEqual(str(error), "GET / has no response: it is not finished")
        self.application.request.write(b"data: 1\n\n")
        self.assertEqual(exchange.response.body, b"data: 1\n\n")
        self.application.request.write(b"data: 2\n\n")
        self.assertEqual(exchange.response.body, b"data: 1\n\ndata: 2\n\n")
        self.assertFalse(exchange.response.complete)
        self.assertEqual(exchange.response.appStatus, None)

    def test_whenFinished(self) -> None:
        """
        Any number may wait, before and after.
        """
        exchange = self.ask(later).begin("GET", "/")
        exchange.end()
        waiting = [exchange.whenFinished(), exchange.whenFinished()]
        self.application.request.finish()
        waiting.append(exchange.whenFinished())
        for deferred in waiting:
            self.assertEqual(self.successResultOf(deferred), exchange.response)

    def test_slowReader(self) -> None:
        """
        What is not read waits in the application, whose producer is paused
        then; it goes on when all is read.
        """

        def answer(request: Any) -> Any:
            request.registerProducer(producer, True)
            request.write(bytes(50000))
            return later(request)

        producer = PushProducer()
        exchange = self.ask(answer).begin("GET", "/", reading=False)
        exchange.end()
        self.assertEqual(producer.calls, [])
        self.assertGreater(exchange.unread, 50000)
        self.application.request.write(bytes(50000))
        self.assertEqual(producer.calls, ["pause"])
        unread = exchange.unread
        exchange.read(1000)
        self.assertEqual(exchange.unread, unread - 1000)
        self.assertEqual(len(exchange.received), 1000)
        exchange.read(98000)
        self.assertEqual(producer.calls, ["pause"])
        exchange.read()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertEqual(len(exchange.response.body), 100000)
        exchange.startReading()
        self.application.request.write(b"end")
        self.assertEqual(len(exchange.response.body), 100003)
        self.application.request.unregisterProducer()
        self.application.request.finish()
        self.assertTrue(exchange.response.complete)

    def test_stopReading(self) -> None:
        """
        Reading can be stopped at any time; the end is only seen when all
        is read.
        """
        client = self.ask(later, keepConnection=True)
        exchange = client.begin("GET", "/")
        exchange.end()
        self.application.request.write(b"hello")
        exchange.stopReading()
        self.application.request.write(b", world")
        self.application.request.finish()
        self.assertEqual(exchange.response.body, b"hello")
        self.assertFalse(exchange.finished)
        exchange.read()
        self.assertTrue(exchange.finished)
        self.assertEqual(exchange.response.body, b"hello, world")
        deferred = client.get("/")
        self.application.requests[1].finish()
        self.assertEqual(self.successResultOf(deferred).code, 200)

    def test_readNothing(self) -> None:
        """
        To read when there is nothing, or nothing is wanted, does nothing.
        """
        exchange = self.ask(b"hello").begin("GET", "/", reading=False)
        exchange.read()
        exchange.end()
        unread = exchange.unread
        exchange.read(0)
        self.assertEqual(exchange.unread, unread)
        exchange.read(10 * unread)
        self.assertTrue(exchange.response.complete)

    def test_listing(self) -> None:
        """
        All that went over the connection can be read, in order.
        """
        client = self.ask()
        exchange = client.begin("POST", "/page")
        exchange.send(b"name=Ada\n" * 20)
        exchange.end()
        lines = exchange.listing().splitlines()
        records = [line for line in lines if re.match(r" *[0-9]+ [<>]", line)]
        self.assertEqual(
            [tuple(line.split()[1:3]) for line in records],
            [
                (">", "BEGIN_REQUEST"),
                (">", "PARAMS"),
                (">", "PARAMS"),
                (">", "STDIN"),
                (">", "STDIN"),
                ("<", "STDOUT"),
                ("<", "STDOUT"),
                ("<", "END_REQUEST"),
            ],
        )
        self.assertTrue(any("PATH_INFO" in line for line in lines))
        self.assertEqual(sum("name=Ada" in line for line in lines), 20)
        self.assertTrue(any("Status: 200 OK" in line for line in lines))

    def test_raw(self) -> None:
        """
        The bytes of both directions are there.
        """
        exchange = self.ask().begin("GET", "/")
        exchange.end()
        types = [record.type for record in readRecords(exchange.sent)]
        self.assertEqual(
            types,
            [
                RecordType.BEGIN_REQUEST,
                RecordType.PARAMS,
                RecordType.PARAMS,
                RecordType.STDIN,
            ],
        )
        self.assertEqual(exchange.received, exchange.response.raw)


class HostileTests(ClientTestCase):
    """
    Responses that the server of this package would never send.
    """

    def fail(self, sent: bytes, error: type[Exception] = NoResponse) -> str:
        """
        Ask, and tell what went wrong.

        @param sent: What the application sends.
        """
        client = self.ask()
        client.factory.protocol = speaking(sent)
        return str(self.failureResultOf(client.get("/"), error).value)

    def test_framing(self) -> None:
        """
        Bytes that are not FastCGI are named, and end the connection.
        """
        self.assertIn("not FastCGI", self.fail(b"HTTP/1.1 200 OK\r\n\r\n"))

    def test_framingUnread(self) -> None:
        """
        The same with a slow reader.
        """
        client = self.ask()
        client.factory.protocol = speaking(b"HTTP/1.1 200 OK\r\n\r\n", b"more")
        exchange = client.begin("GET", "/", reading=False, keepConnection=True)
        exchange.read()
        error = self.assertRaises(NoResponse, lambda: exchange.response)
        self.assertIn("not FastCGI", str(error))

    def test_framingThenNext(self) -> None:
        """
        Such a connection is not used again, not even in the same moment.
        """
        client = self.ask(keepConnection=True)
        honest = client.factory.protocol
        client.factory.protocol = speaking(b"HTTP/1.1 200 OK\r\n\r\n")
        exchange = client.begin("GET", "/", reading=False)
        client.factory.protocol = honest
        finished = exchange.whenFinished().addErrback(lambda reason: client.get("/"))
        exchange.read()
        self.assertEqual(client.resultOf(finished).body, b"hello")

    def test_header(self) -> None:
        """
        A header block that can't be understood is an error of its own.
        """
        sent = wire.stream(wire.STDOUT, 1, b"hello\r\n\r\n")
        sent += wire.record(wire.END_REQUEST, 1, bytes(8))
        self.assertIn("hello", self.fail(sent, RemoteProtocolError))

    def test_unfinishedHeader(self) -> None:
        """
        While such a response is not finished, it can still be named.
        """
        client = self.ask()
        client.factory.protocol = speaking(
            wire.stream(wire.STDOUT, 1, b"hello\r\n\r\n")
        )
        client.get("/")
        self.assertIn("sent no response", repr(client.pending[0]))

    def test_closed(self) -> None:
        """
        A connection that is closed without a response is named.
        """
        client = self.ask()
        client.factory.protocol = speaking(b"", close=True)
        error = self.failureResultOf(client.get("/"), NoResponse).value
        self.assertIn("closed before the end of the header", str(error))

    def test_afterEnd(self) -> None:
        """
        What comes after END_REQUEST on a connection that is kept ends it, and
        changes nothing.
        """
        client = self.ask(keepConnection=True)
        client.factory.protocol = speaking(HEAD + END, HEAD)
        self.assertTrue(self.get().complete)
        self.assertEqual(client.factory.connectionCount, 0)

    def test_endless(self) -> None:
        """
        An application that never stops producing is an error; it can be read
        piece by piece.
        """

        class Zeros:
            def __init__(self, request: Any) -> None:
                self.request = request

            def resumeProducing(self) -> None:
                self.request.write(bytes(1000))

            def stopProducing(self) -> None:
                pass

        def answer(request: Any) -> Any:
            request.registerProducer(Zeros(request), False)
            return later(request)

        client = self.ask(answer)
        error = self.assertRaises(RuntimeError, client.get, "/")
        self.assertIn("goes on producing without end", str(error))
        client.close()
        exchange = client.begin("GET", "/", reading=False)
        exchange.end()
        for _ in range(10):
            exchange.read()
        self.assertEqual(len(exchange.response.body), 10000)


class TransportTests(ClientTestCase):
    """
    The transport in memory, which behaves as Twisted's do.
    """

    def connect(self, *, reading: bool = True) -> tuple[Any, Protocol]:
        """
        Make a connection to a protocol that notes what happens.

        @return: The exchange at the web server's end, and the protocol at the
            other.
        """
        client = self.ask()
        client.factory.protocol = Noting
        exchange = client.begin("GET", "/", reading=reading)
        return exchange, Noting.made[-1]

    def test_interfaces(self) -> None:
        """
        It is what protocols expect of a transport.
        """
        _, protocol = self.connect()
        transport = protocol.transport
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, transport)
        self.assertEqual(transport.getPeer(), transport.getHost())

    def test_pushProducer(self) -> None:
        """
        A push producer is paused at each write while more than 64 KiB are
        unsent, and resumed once when all is sent.
        """
        exchange, protocol = self.connect(reading=False)
        producer = PushProducer()
        protocol.transport.registerProducer(producer, True)
        protocol.transport.write(bytes(65536))
        self.assertEqual(producer.calls, [])
        protocol.transport.write(b"x")
        protocol.transport.write(b"x")
        self.assertEqual(producer.calls, ["pause", "pause"])
        self.client.flush()
        self.assertEqual(producer.calls, ["pause", "pause"])
        exchange._connection.dataReceived = lambda data: None
        exchange.read()
        self.assertEqual(producer.calls, ["pause", "pause", "resume"])
        protocol.transport.write(b"x")
        exchange.read()
        self.assertEqual(producer.calls, ["pause", "pause", "resume"])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked right away, and then whenever all is sent, but
        never from within its own writing.
        """
        exchange, protocol = self.connect()
        exchange._connection.dataReceived = lambda data: None
        transport = protocol.transport
        calls: list[str] = []

        class Producer:
            def resumeProducing(self) -> None:
                calls.append("begin")
                transport.write(b"a")
                transport.write(b"b")
                calls.append("end")
                if len(calls) > 5:
                    transport.unregisterProducer()

        transport.registerProducer(Producer(), False)
        self.assertEqual(calls, ["begin", "end"])
        self.client.flush()
        self.assertEqual(calls, ["begin", "end"] * 3)

    def test_producers(self) -> None:
        """
        There is one producer at a time; one that comes too late is stopped, and
        one that is there at the end, too.
        """
        exchange, protocol = self.connect()
        producer = PushProducer()
        transport = protocol.transport
        transport.registerProducer(producer, True)
        self.assertRaises(RuntimeError, transport.registerProducer, producer, True)
        exchange.disconnect()
        self.assertEqual(producer.calls, ["stop"])
        transport.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["stop", "stop"])

    def test_loseConnection(self) -> None:
        """
        A connection is closed when all is sent and its producer is done; its
        protocol is told once, and never from within its own call.
        """
        exchange, protocol = self.connect(reading=False)
        transport = protocol.transport
        producer = PushProducer()
        transport.registerProducer(producer, True)
        transport.write(bytes(70000))
        transport.loseConnection()
        exchange._connection.dataReceived = lambda data: None
        exchange.read()
        self.assertEqual(protocol.lost, [])
        transport.unregisterProducer()
        self.assertEqual(protocol.lost, [])
        self.client.clock.advance(0)
        self.assertEqual(protocol.lost, [ConnectionDone])
        transport.stopProducing()
        transport.abortConnection()
        transport.write(b"x")
        self.client.flush()
        self.assertEqual(protocol.lost, [ConnectionDone])

    def test_closingReadsNothing(self) -> None:
        """
        A connection that is being closed delivers nothing, not even if it is
        told to.
        """
        exchange, protocol = self.connect(reading=False)
        protocol.transport.write(HEAD)
        protocol.transport.stopProducing()
        protocol.received.clear()
        exchange.send(b"abc")
        self.assertEqual(protocol.received, [])
        protocol.transport.resumeProducing()
        self.client.clock.advance(0)
        self.assertEqual(protocol.received, [])
        self.assertEqual(protocol.lost, [])

    def test_pause(self) -> None:
        """
        A transport that is paused delivers nothing, not even the end.
        """
        exchange, protocol = self.connect()
        protocol.received.clear()
        protocol.transport.pauseProducing()
        exchange.send(b"abc")
        exchange.disconnect()
        self.assertEqual((protocol.received, protocol.lost), ([], []))
        protocol.transport.resumeProducing()
        self.assertEqual((protocol.received, protocol.lost), ([], []))
        self.client.clock.advance(0)
        self.assertEqual(
            wire.records(protocol.received), [(RecordType.STDIN, 1, b"abc")]
        )
        self.assertEqual(protocol.lost, [ConnectionDone])

    def test_writeToClosed(self) -> None:
        """
        Who writes on a connection that the other side has closed notices, even
        if it does not read.
        """
        exchange, protocol = self.connect()
        protocol.transport.pauseProducing()
        exchange.disconnect()
        protocol.transport.write(b"x")
        self.assertEqual(protocol.lost, [])
        self.client.clock.advance(0)
        self.assertEqual(protocol.lost, [ConnectionLost])

    def test_abort(self) -> None:
        """
        An abort drops what is unsent, and both sides are told.
        """
        exchange, protocol = self.connect(reading=False)
        protocol.transport.write(HEAD + END)
        protocol.transport.abortConnection()
        protocol.transport.write(HEAD)
        self.assertEqual((protocol.lost, exchange.unread), ([], 0))
        self.client.clock.advance(0)
        self.assertEqual(protocol.lost, [ConnectionAborted])
        exchange.startReading()
        error = self.assertRaises(NoResponse, lambda: exchange.response)
        self.assertIn("the connection was closed", str(error))

    def test_halfClose(self) -> None:
        """
        The way out can be closed alone: when all is sent, the web server sees
        the end, and closes, too.
        """
        exchange, protocol = self.connect(reading=False)
        protocol.transport.write(HEAD)
        protocol.transport.loseWriteConnection()
        self.client.flush()
        self.assertFalse(exchange.finished)
        exchange.read()
        self.assertFalse(exchange.finished)
        protocol.transport.write(b"too late")
        self.assertEqual(exchange.unread, 0)
        exchange.startReading()
        self.assertTrue(exchange.finished)
        self.assertEqual(protocol.lost, [ConnectionDone])
        self.assertFalse(exchange.response.complete)

    def test_abortedByPeer(self) -> None:
        """
        An abort by the web server, which can't understand a word, looks like
        one.
        """
        _, protocol = self.connect()
        protocol.transport.write(b"this is no FastCGI")
        self.assertEqual(protocol.lost, [])
        self.client.clock.advance(0)
        self.assertEqual(protocol.lost, [ConnectionLost])

    def test_halfCloseAtOnce(self) -> None:
        """
        The way out is closed at once if nothing is unsent.
        """
        exchange, protocol = self.connect()
        protocol.transport.loseWriteConnection()
        self.client.clock.advance(0)
        self.assertTrue(exchange.finished)
        self.assertEqual(protocol.lost, [ConnectionDone])

    def test_oneCallAtATime(self) -> None:
        """
        Nothing is delivered while a protocol is busy with what came before,
        whatever it does.
        """
        client = self.ask()
        calls: list[str] = []

        class Busy(Protocol):
            def dataReceived(self, data: bytes) -> None:
                calls.append("begin")
                client.flush()
                calls.append("end")

        client.factory.protocol = Busy
        transport = client.begin("GET", "/")._end.peer
        transport.pauseProducing()
        client.pending[0].send(b"a")
        client.pending[0].send(b"b")
        calls.clear()
        transport.resumeProducing()
        client.flush()
        self.assertEqual(calls, ["begin", "end"] * 2)

    def test_speaksFirst(self) -> None:
        """
        What is sent before the request waits for it.
        """

        class First(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(HEAD + END)  # type: ignore[union-attr]

        client = self.ask()
        client.factory.protocol = First
        self.assertEqual(self.get().body, b"hello")

    def test_pullFile(self) -> None:
        """
        So a large file comes whole and at once, and a large response of a
        resource that writes when it is told, too.
        """
        path = Path(self.mktemp())
        path.write_bytes(bytes(range(256)) * 4096)
        self.ask(File(str(path.parent), "application/octet-stream"))
        self.assertEqual(self.get(f"/{path.name}").body, path.read_bytes())
        pieces = [b"%d," % number for number in range(100)]

        def answer(request: Any) -> Any:
            PullProducer(request, pieces).start()
            return later(request)

        self.ask(answer)
        self.assertEqual(self.get().body, b"".join(pieces))

    def test_pullMuch(self) -> None:
        """
        Each response may come in thousands of pieces.
        """

        def answer(request: Any) -> Any:
            PullProducer(request, [b"x"] * 3000).start()
            return later(request)

        self.ask(answer)
        for _ in range(2):
            self.assertEqual(self.get().body, b"x" * 3000)


class AgentTests(ClientTestCase):
    """
    L{FastCGITestClient.agent}.
    """

    def setUp(self) -> None:
        """
        Make a client for treq.
        """
        self.treq(respond)

    def treq(self, answer: Any, **options: Any) -> None:
        """
        Make a client for treq.
        """
        self.ask(answer, **options)
        self.agent = self.client.agent()
        self.http = HTTPClient(self.agent, data_to_body_producer=WholeBody)

    def test_get(self) -> None:
        """
        With treq, an answer is there at once.
        """
        response = self.successResultOf(self.http.get("http://www.example.com/a?b=c"))
        self.assertEqual(response.code, 200)
        told = self.successResultOf(treq.json_content(response))
        self.assertEqual(told["uri"], "/a?b=c")
        self.assertEqual(told["params"]["SERVER_NAME"], "www.example.com")

    def test_bodies(self) -> None:
        """
        L{WholeBody} has treq send bodies at once.
        """
        for options, body in (
            ({"data": {"a": "b c"}}, "a=b+c"),
            ({"data": "\xfc"}, "\xc3\xbc"),
            ({"data": b"x" * 300000}, "x" * 300000),
            ({"json": [1]}, "[1]"),
        ):
            deferred = self.http.post("http://localhost/", **options)
            response = self.client.resultOf(deferred)
            told = self.client.resultOf(treq.json_content(response))
            self.assertEqual(told["body"], body)
            self.assertEqual(told["params"]["CONTENT_LENGTH"], str(len(body)))

    def test_slowApplication(self) -> None:
        """
        L{WholeBody} stays calm while the application reads slowly.
        """
        self.client.factory.protocol = Deaf
        deferred = self.http.post("http://localhost/", data=bytes(300000))
        self.assertNoResult(deferred)
        self.client.close()
        self.failureResultOf(deferred, ResponseNeverReceived)

    def test_stoppedBody(self) -> None:
        """
        L{WholeBody} may be paused, resumed and stopped.
        """
        body = WholeBody(b"abc")
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual(body.length, 3)

    def test_params(self) -> None:
        """
        The agent has the client's variables, unless it gets its own.
        """
        self.treq(respond, params={"REMOTE_USER": "ada"})
        url = "http://localhost/"
        response = self.successResultOf(self.http.get(url))
        told = self.successResultOf(treq.json_content(response))
        self.assertEqual(told["params"]["REMOTE_USER"], "ada")
        agent = self.client.agent(variables={"REMOTE_USER": "bob"})
        response = self.successResultOf(HTTPClient(agent).get(url))
        told = self.successResultOf(treq.json_content(response))
        self.assertEqual(told["params"]["REMOTE_USER"], "bob")

    def test_large(self) -> None:
        """
        A large body comes as it is asked for.
        """
        self.treq(bytes(1 << 20))
        response = self.successResultOf(self.http.get("http://localhost/"))
        deferred = treq.content(response)
        self.client.flush()
        self.assertEqual(len(self.successResultOf(deferred)), 1 << 20)

    def test_redirect(self) -> None:
        """
        treq follows redirections and keeps cookies, on connections that are
        kept.
        """

        def answer(request: Any) -> bytes:
            if request.path == b"/":
                request.addCookie(b"a", b"b")
                request.redirect(b"/next")
                return b""
            return b"%r" % request.received_cookies

        self.treq(answer, keepConnection=True)
        response = self.successResultOf(self.http.get("http://localhost/"))
        body = self.successResultOf(treq.content(response))
        self.assertEqual(body, b"{b'a': b'b'}")
        self.assertEqual(self.client.factory.connectionCount, 1)

    def test_later(self) -> None:
        """
        A response that comes later is there when the application has written
        it.
        """
        self.treq(later)
        deferred = self.http.get("http://localhost/")
        self.assertNoResult(deferred)
        self.application.request.write(b"hello")
        self.application.request.finish()
        response = self.client.resultOf(deferred)
        self.assertEqual(self.successResultOf(treq.content(response)), b"hello")

    def test_aborted(self) -> None:
        """
        A connection that the application cuts off is an error.
        """

        def answer(request: Any) -> Any:
            request.write(b"hello")
            request.loseConnection()
            return later(request)

        self.treq(answer)
        response = self.successResultOf(self.http.get("http://localhost/"))
        self.failureResultOf(treq.content(response), ResponseFailed)

    def test_close(self) -> None:
        """
        C{close} ends the requests of agents, those included that are sent once
        more because a connection that was kept is gone.
        """
        self.treq(later, keepConnection=True)
        deferred = self.http.get("http://localhost/")
        self.application.request.finish()
        response = self.client.resultOf(deferred)
        self.client.resultOf(treq.content(response))
        self.assertEqual(self.client.factory.connectionCount, 1)
        deferred = self.http.get("http://localhost/")
        self.client.close()
        self.failureResultOf(deferred)
        self.assertEqual(len(self.application.requests), 3)

    def test_getValues(self) -> None:
        """
        The limits of the application can be asked for.
        """
        values = self.successResultOf(self.agent.getValues([b"FCGI_MAX_CONNS"]))
        self.assertEqual(values, {b"FCGI_MAX_CONNS": b"1000"})


class ReactorTests(TestCase):
    """
    A client with the real reactor, for applications that need it.
    """

    def ask(self, answer: Any) -> None:
        """
        Make a client.
        """
        self.client = FastCGITestClient(Application(answer), reactor=reactor)
        self.addCleanup(self.client.close)

    async def test_atOnce(self) -> None:
        """
        What is answered at once is there at once.
        """
        self.ask(b"hello")
        self.assertEqual(self.successResultOf(self.client.get("/")).body, b"hello")

    async def test_thread(self) -> None:
        """
        An application may use threads.
        """

        def answer(request: Any) -> Any:
            def finish(result: bytes) -> None:
                request.write(result)
                request.finish()

            deferToThread(lambda: bytes(200000)).addCallback(finish)
            return later(request)

        self.ask(answer)
        responses = await gatherResults([self.client.get("/") for _ in range(3)])
        for response in responses:
            self.assertEqual(response.body, bytes(200000))
            self.assertTrue(response.complete)
        self.assertEqual(self.client.factory.connectionCount, 0)

    async def test_flush(self) -> None:
        """
        What the application writes later comes with the next turn of the
        reactor, or with C{flush}, which leaves nothing behind.
        """
        requests: list[Any] = []

        def answer(request: Any) -> Any:
            requests.append(request)
            return later(request)

        self.ask(answer)
        before = reactor.getDelayedCalls()
        deferred = self.client.get("/")
        requests[0].finish()
        self.assertNoResult(deferred)
        self.client.flush()
        self.assertEqual(self.successResultOf(deferred).code, 200)
        self.assertEqual(reactor.getDelayedCalls(), before)

    async def test_close(self) -> None:
        """
        C{close} is done when it returns.
        """
        self.ask(later)
        failures: list[Failure] = []
        self.client.get("/").addErrback(failures.append)
        self.client.close()
        self.assertEqual([failure.type for failure in failures], [NoResponse])

    async def test_producer(self) -> None:
        """
        An application may answer as time passes, with a pull producer.
        """

        def answer(request: Any) -> Any:
            producer = PullProducer(request, [b"x" * 1000] * 10)
            deferLater(reactor, 0.001, producer.start)
            return later(request)

        self.ask(answer)
        response = await self.client.get("/")
        self.assertEqual(response.body, b"x" * 10000)

    async def test_treq(self) -> None:
        """
        treq can send files, piece by piece.
        """
        self.ask(lambda request: request.args[b"file"][0])
        http = HTTPClient(self.client.agent())
        content = b"x" * 100000
        files = {"file": ("name.txt", content)}
        response = await http.post("http://localhost/", files=files)
        self.assertEqual(await treq.content(response), content)

    async def test_loop(self) -> None:
        """
        An application may go on sending until nobody wants it any more.
        """
        loops: list[LoopingCall] = []

        def answer(request: Any) -> Any:
            loop = LoopingCall(request.write, b"tick\n")
            request.notifyFinish().addErrback(lambda reason: loop.stop())
            loop.start(0.001)
            loops.append(loop)
            return later(request)

        self.ask(answer)
        exchange = self.client.begin("GET", "/")
        exchange.end()
        await deferLater(reactor, 0.05, lambda: None)
        exchange.disconnect()
        self.assertIn(b"tick\ntick\n", exchange.response.body)
        self.assertFalse(loops[0].running)


class ImportTests(SynchronousTestCase):
    """
    What the module needs.
    """

    def test_light(self) -> None:
        """
        It loads no test runner, no reactor and nothing that is not required.
        """
        script = (
            "import sys, twisted_fastcgi.testing\n"
            "print(*{'pytest', 'treq', 'twisted.trial', 'twisted.internet.reactor'}"
            ".intersection(sys.modules))"
        )
        printed = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            check=True,
            cwd=ROOT,
            text=True,
        ).stdout
        self.assertEqual(printed.strip(), "")

    def test_names(self) -> None:
        """
        No name is one that pytest takes for a test class.
        """
        from twisted_fastcgi import testing

        for name in testing.__all__:
            self.assertFalse(name.startswith("Test"))
            self.assertIsNotNone(getattr(testing, name).__doc__)


class ExampleTests(TableTestCase):
    """
    The examples of the documentation, run as it says.
    """

    def run_(self, *command: str) -> str:
        """
        Run a command in a folder with the examples.

        @return: What it printed.
        """
        folder = Path(mkdtemp(prefix="fastcgi-"))
        self.addCleanup(shutil.rmtree, folder)
        for path in EXAMPLES.glob("*.py"):
            shutil.copy(path, folder)
        done = subprocess.run(
            [sys.executable, "-m", *command],
            check=False,
            cwd=folder,
            env={"PATH": "", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_trial(self) -> None:
        """
        The example for trial passes, and leaves nothing behind.
        """
        self.assertIn("PASSED (successes=", self.run_("twisted.trial", "test_trial"))

    @table({"pytest": ("test_pytest.py",), "twisted": ("test_pytest_twisted.py",)})
    def test_pytest(self, name: str) -> None:
        """
        The examples for pytest pass, without a warning.
        """
        options = ["-q", "-W", "error", "-p", "no:cacheprovider"]
        ignored = ["-W", "ignore:twisted.web.resource._Unsafe:DeprecationWarning"]
        printed = self.run_("pytest", *options, *ignored, name)
        self.assertRegex(printed, r"\b[1-9][0-9]* passed in")
        self.assertNotIn("warning", printed)

    def test_included(self) -> None:
        """
        The documentation shows each of the examples, and no others.
        """
        page = (ROOT / "docs/testing.rst").read_text()
        shown = re.findall(r"literalinclude:: examples/testing/(.*)", page)
        there = {path.name for path in EXAMPLES.glob("*.py")}
        self.assertEqual(set(shown), there)
        self.assertIn("\n   testing\n", (ROOT / "docs/index.rst").read_text())


class Noting(Protocol):
    """
    An application's side that notes what happens.

    @cvar made: All there are.
    @ivar received: What has come.
    @ivar lost: Why it has lost its connection.
    """

    made: ClassVar[list[Noting]] = []

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: list[type] = []
        self.made.append(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Note it.
        """
        self.received.append(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """
        Note it.
        """
        self.lost.append(reason.type)


class Deaf(Protocol):
    """
    An application's side that never reads.
    """

    def connectionMade(self) -> None:
        """
        Want nothing.
        """
        self.transport.pauseProducing()  # type: ignore[union-attr]


def speaking(*pieces: bytes, close: bool = False) -> type[Protocol]:
    """
    Make an application's side that sends some bytes when it is spoken to.

    @param close: Whether it closes the connection then.
    """

    class Speaking(Protocol):
        def dataReceived(self, data: bytes) -> None:
            """
            Send it.
            """
            for piece in pieces:
                self.transport.write(piece)  # type: ignore[union-attr]
            if close:
                self.transport.loseConnection()  # type: ignore[union-attr]

    return Speaking


def noting(protocol: Any, got: list[int]) -> type[Protocol]:
    """
    Make a protocol that notes how much comes at a time.
    """

    class Noting(protocol):  # type: ignore[misc]
        def dataReceived(self, data: bytes) -> None:
            """
            Note it, and go on.
            """
            got.append(len(data))
            super().dataReceived(data)

    return Noting


def later_(failed: Deferred[None]) -> Deferred[None]:
    """
    Make another L{Deferred} that has failed.
    """
    again: Deferred[None] = Deferred()
    again.errback(ZeroDivisionError())
    return again
