# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.wsgi}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import Queue
from threading import Event, get_ident
from typing import Any
from wsgiref.validate import validator

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from twisted.web.wsgi import WSGIResource

from tests import wire
from tests.programs import PATIENCE
from tests.tables import table
from tests.transports import ServerTestCase, ServerTransport
from twisted_fastcgi import FastCGIWSGIResource, wsgi
from twisted_fastcgi.mount import mounted
from twisted_fastcgi.wsgi import FastCGIWSGIRequest

#: What a response may be made of before the reactor has to take it.
AHEAD = 65536

Headers = list[tuple[str, str]]


class Threads:
    """
    A reactor and a thread pool that do in turn, in one thread, what is to be
    done.

    @ivar jobs: What is to be done in the pool.
    @ivar calls: What is to be done by the reactor.
    @ivar wakes: How often either was woken up.
    """

    def __init__(self) -> None:
        self.jobs: list[Callable[[], object]] = []
        self.calls: list[Callable[[], object]] = []
        self.wakes = 0

    def callInThread(self, f: Callable[..., object], *args: Any) -> None:
        """
        Note what is to be done in a thread.
        """
        self.wakes += 1
        self.jobs.append(lambda: f(*args))

    def callFromThread(self, f: Callable[..., object], *args: Any) -> None:
        """
        Note what is to be done by the reactor.
        """
        self.wakes += 1
        self.calls.append(lambda: f(*args))

    def turn(self) -> None:
        """
        Let the reactor do what is to be done.
        """
        while self.calls:
            self.calls.pop(0)()

    def run(self) -> None:
        """
        Do all that is to be done.
        """
        while self.jobs or self.calls:
            if self.jobs:
                self.jobs.pop(0)()
            self.turn()


class RealThreads:
    """
    A real thread pool, and a reactor that does what is to be done when the
    test says so.
    """

    def __init__(self, size: int = 4) -> None:
        self.pool = ThreadPool(0, size)
        self.calls: Queue[Callable[[], object]] = Queue()
        self.callInThread = self.pool.callInThread
        self.pool.start()

    def callFromThread(self, f: Callable[..., object], *args: Any) -> None:
        """
        Note what is to be done by the reactor.
        """
        self.calls.put(lambda: f(*args))

    def turn(self) -> None:
        """
        Wait for something that is to be done by the reactor, and do it.
        """
        self.calls.get(timeout=PATIENCE)()

    def runUntil(self, done: Callable[[], object]) -> None:
        """
        Do what is to be done until that is enough.
        """
        while not done():
            self.turn()


class WSGITestCase(ServerTestCase):
    """
    A test case with a server of a WSGI application.

    @ivar threads: The reactor and the thread pool.
    @ivar environs: The environ of each request that L{noting} has seen.
    """

    def setUp(self) -> None:
        super().setUp()
        self.threads = Threads()
        self.environs: list[dict[str, Any]] = []

    def noting(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        """
        An application that notes its environ.
        """
        self.environs.append({**environ, "body": environ["wsgi.input"].read()})
        start("200 OK", [("Content-Type", "text/plain")])
        return []

    def resource(self, application: Callable[..., Any]) -> FastCGIWSGIResource:
        """
        Make a resource of an application.
        """
        threads: Any = self.threads
        return FastCGIWSGIResource(threads, threads, application)

    def ask(
        self, application: Callable[..., Any], *questions: bytes
    ) -> ServerTransport:
        """
        Serve an application, and ask it.
        """
        self.serve(self.resource(application))
        transport = self.exchange(*questions or [wire.request(wire.variables())])
        self.threads.run()
        transport.settle()
        return transport

    def answer(
        self, application: Callable[..., Any], *questions: bytes
    ) -> wire.Response:
        """
        Serve an application, and ask it; there is one whole answer.
        """
        return self.ask(application, *questions).response()

    def environ(self, question: bytes) -> dict[str, Any]:
        """
        Tell what environ an application gets.
        """
        self.answer(self.noting, question)
        (environ,) = self.environs
        return environ


class EnvironTests(WSGITestCase):
    """
    What the application is told.
    """

    def test_variables(self) -> None:
        """
        It has all variables that the web server sent, whatever they are, as
        text of one character for each byte.
        """
        sent = wire.variables(
            b"/a",
            REMOTE_USER=b"alice",
            AUTH_TYPE=b"Basic",
            SSL_CLIENT_S_DN=b"CN=Ren\xc3\xa9\nO=X",
            HTTP_X_FIELD=b"value",
            HTTP_COOKIE=b"a=b",
            OWN_VARIABLE=b"",
        )
        environ = self.environ(wire.request(sent))
        for name, value in sent.items():
            if name != b"SCRIPT_NAME":
                text = value.decode("latin-1")
                self.assertEqual(environ[name.decode("ascii")], text, name)
        self.assertIs(type(environ), dict)

    def test_own(self) -> None:
        """
        What WSGI wants is there, whatever the web server has sent by the same
        name.
        """
        sent = {**wire.variables(), b"wsgi.url_scheme": b"x", b"wsgi.input": b"x"}
        environ = self.environ(wire.request(sent))
        expected = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.run_once": False,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.input_terminated": True,
            "body": b"",
        }
        self.assertEqual({name: environ[name] for name in expected}, expected)

    @table(
        {
            "root": ("/", b"/", "", "/"),
            "root, deep": ("/", b"/a/b", "", "/a/b"),
            "root, slash": ("/", b"/a/", "", "/a/"),
            "root, slashes": ("/", b"//a", "", "//a"),
            "root, encoded": ("/", b"/%C3%A9%20%2Fa?b=%20&c", "", "/\xc3\xa9 /a"),
            "path": ("/app", b"/app", "/app", ""),
            "path, slash": ("/app", b"/app/", "/app", "/"),
            "path, deep": ("/app/x", b"/app/x/y", "/app/x", "/y"),
            "script-name": ("script-name", b"/cgi/app/x", "/cgi/app", "/x"),
        }
    )
    def test_path(self, mount: str, target: bytes, script: str, info: str) -> None:
        """
        SCRIPT_NAME is where the application is mounted and PATH_INFO what
        follows, decoded; the query is as it was sent.
        """
        path, _, query = target.partition(b"?")
        decoded = path.replace(b"%C3%A9%20%2F", b"\xc3\xa9 /")
        names = {"SCRIPT_NAME": decoded, "REQUEST_URI": target, "QUERY_STRING": query}
        if mount == "script-name":
            names |= {"SCRIPT_NAME": b"/cgi/app", "PATH_INFO": b"/x"}
        self.serve(mounted(self.resource(self.noting), mount))
        self.exchange(wire.request(wire.variables(**names)))
        self.threads.run()
        (environ,) = self.environs
        self.assertEqual((environ["SCRIPT_NAME"], environ["PATH_INFO"]), (script, info))
        self.assertEqual(environ["QUERY_STRING"], query.decode("ascii"))
        self.assertEqual(environ["REQUEST_URI"], target.decode("ascii"))

    def test_child(self) -> None:
        """
        A resource that is put into a site knows where.
        """
        root = Resource()
        root.putChild(b"app", self.resource(self.noting))
        self.serve(root)
        self.exchange(wire.request(wire.variables(b"/app/a b")))
        self.threads.run()
        (environ,) = self.environs
        self.assertEqual(environ["SCRIPT_NAME"], "/app")
        self.assertEqual(environ["PATH_INFO"], "/a b")

    @table(
        {
            "none": ({}, "http"),
            "on": ({"HTTPS": b"on"}, "https"),
            "off": ({"HTTPS": b"off"}, "http"),
            "empty": ({"HTTPS": b""}, "http"),
            "scheme": ({"REQUEST_SCHEME": b"https"}, "https"),
            "forwarded": ({"HTTP_X_FORWARDED_PROTO": b"https"}, "http"),
        }
    )
    def test_scheme(self, changes: dict[str, bytes], scheme: str) -> None:
        """
        C{wsgi.url_scheme} is what the web server says, not the client.
        """
        environ = self.environ(wire.request(wire.variables(**changes)))
        self.assertEqual(environ["wsgi.url_scheme"], scheme)

    def test_leftOut(self) -> None:
        """
        There never is an HTTP_PROXY, however it is written; nor what concerns
        the client's connection alone; nor a second CONTENT_TYPE.
        """
        dropped = (
            *("HTTP_PROXY", "Http_Proxy", "http_proxy", "HTTP_CONNECTION"),
            *("HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE", "HTTP_EXPECT", "HTTP_TE"),
            *("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_KEEP_ALIVE"),
        )
        sent = wire.variables(**dict.fromkeys(dropped, b"x"), PROXY=b"mine")
        environ = self.environ(wire.request(sent))
        self.assertEqual([name for name in dropped if name in environ], [])
        self.assertEqual(environ["PROXY"], "mine")
        self.assertNotIn("", environ)

    def test_repeated(self) -> None:
        """
        Repeated header fields are joined, as RFC 9110 has it; of other
        variables the last one counts.
        """
        pairs = [
            *wire.variables(HTTP_COOKIE=b"a=1", HTTP_X=b"1", AUTH_TYPE=b"1").items(),
            *((b"HTTP_COOKIE", b"b=2"), (b"HTTP_X", b"2"), (b"AUTH_TYPE", b"2")),
            (b"HTTP_HOST", b"www.example.com:8080"),
        ]
        environ = self.environ(wire.request(pairs))
        expected = {
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_X": "1, 2",
            "AUTH_TYPE": "2",
            "HTTP_HOST": "www.example.com:8080",
        }
        self.assertEqual({name: environ[name] for name in expected}, expected)

    @table(
        {
            "told": (b"4", b"body", "4"),
            "none": (b"", b"", ""),
            "not sent": (None, b"", ""),
            "of no body": (b"-1", b"", ""),
            "not told": (b"", b"body", "4"),
            "nothing": (b"0", b"", "0"),
        }
    )
    def test_length(self, told: bytes | None, body: bytes, expected: str) -> None:
        """
        CONTENT_LENGTH is the size of the body, also if the web server does not
        know it.
        """
        sent = wire.variables(REQUEST_METHOD=b"POST", CONTENT_LENGTH=told)
        environ = self.environ(wire.request(sent, body))
        self.assertEqual(environ["CONTENT_LENGTH"], expected)
        self.assertEqual(environ["body"], body)

    def test_missing(self) -> None:
        """
        What WSGI needs, or Twisted's own environ has, is there even if the web
        server says nothing of it.
        """
        sent = {b"REQUEST_METHOD": b"GET", b"REQUEST_URI": b"/a?b"}
        environ = self.environ(wire.request(sent))
        expected = {
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "",
            "REMOTE_PORT": "0",
            "QUERY_STRING": "b",
        }
        self.assertEqual({name: environ[name] for name in expected}, expected)

    def test_serverName(self) -> None:
        """
        An empty SERVER_NAME, which nginx sends if there is no name for a
        server, is replaced by the name that the client uses.
        """
        sent = wire.variables(SERVER_NAME=b"", HTTP_HOST=b"a.example:8080")
        environ = self.environ(wire.request(sent))
        self.assertEqual(environ["SERVER_NAME"], "a.example")

    def test_client(self) -> None:
        """
        The client is who the web server says it is.
        """
        environ = self.environ(wire.request(wire.variables()))
        client = (environ["REMOTE_ADDR"], environ["REMOTE_PORT"])
        self.assertEqual(client, ("192.0.2.7", "45740"))

    @table({"lean": (FastCGIWSGIRequest,), "ordinary": (Request,)})
    def test_form(self, factory: type[Request]) -> None:
        """
        A form is the application's to read.
        """
        body = b"a=1&b=2"
        kind = b"application/x-www-form-urlencoded"
        site = Site(self.resource(self.noting), factory, reactor=self.clock)
        self.serve(site)
        sent = wire.postVariables(body, CONTENT_TYPE=kind)
        self.exchange(wire.request(sent, body))
        self.threads.run()
        (environ,) = self.environs
        self.assertEqual((environ["body"], environ["CONTENT_LENGTH"]), (body, "7"))

    def test_badForm(self) -> None:
        """
        What is wrong with a form is the application's to say, too, which is
        all that ever reads it.
        """
        seen: list[Any] = []

        class Noted(FastCGIWSGIRequest):
            def render(self, found: Any) -> None:
                seen.append(self.args)
                super().render(found)

        self.serve(Site(self.resource(self.noting), Noted, reactor=self.clock))
        for kind in (b"multipart/form-data", b"application/x-www-form-urlencoded"):
            sent = wire.postVariables(b"a=1", CONTENT_TYPE=kind, REQUEST_URI=b"/?q=1")
            sent[b"QUERY_STRING"] = b"q=1"
            self.exchange(wire.request(sent, b"a=1"))
        self.threads.run()
        self.assertEqual([each["body"] for each in self.environs], [b"a=1"] * 2)
        self.assertEqual(seen, [{b"q": [b"1"]}] * 2)

    def test_errors(self) -> None:
        """
        C{wsgi.errors} is the log.
        """

        def complains(environ: dict[str, Any], start: Any) -> list[bytes]:
            errors = environ["wsgi.errors"]
            errors.write("one {brace}\n")
            errors.writelines(["two\n", "three\n"])
            errors.write("\n")
            errors.flush()
            self.assertRaises(TypeError, errors.write, b"bytes")
            start("204 No Content", [])
            return []

        self.assertEqual(self.answer(complains).status, 204)
        self.assertEqual(self.logged(LogLevel.error), ["one {brace}", "two\nthree"])

    def test_overHTTP(self) -> None:
        """
        A request that did not come over FastCGI gets the environ that
        Twisted's own resource makes, but never an HTTP_PROXY.
        """
        question = b"POST /a%20b?c HTTP/1.0\r\nHost: x:8\r\nProxy: y\r\nA: b\r\n"
        question += b"Content-Length: 4\r\n\r\nbody"
        threads: Any = self.threads
        for kind in (WSGIResource, FastCGIWSGIResource):
            site = Site(kind(threads, threads, self.noting), reactor=self.clock)
            protocol: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.7", 4))
            transport = StringTransport(
                IPv4Address("TCP", "192.0.2.1", 80), IPv4Address("TCP", "192.0.2.7", 4)
            )
            protocol.makeConnection(transport)
            protocol.dataReceived(question)
            self.threads.run()
            self.assertIn(b" 200 OK\r\n", transport.value())
            protocol.connectionLost(None)
        theirs, ours = (
            {k: v for k, v in environ.items() if k not in ("wsgi.input", "wsgi.errors")}
            for environ in self.environs
        )
        self.assertEqual(theirs.pop("HTTP_PROXY"), "y")
        self.assertEqual(ours, theirs)


class ValidTests(WSGITestCase):
    """
    PEP 3333, as C{wsgiref.validate} has it.
    """

    @table(
        {
            "GET": (wire.request(wire.variables()), b"hello"),
            "HEAD": (wire.request(wire.variables(REQUEST_METHOD=b"HEAD")), b""),
            "POST": (wire.request(wire.postVariables(b"body"), b"body"), b"hello"),
            "bare": (wire.request({b"REQUEST_METHOD": b"GET"}), b"hello"),
        }
    )
    def test_valid(self, question: bytes, body: bytes) -> None:
        """
        Both sides hold to it, whatever the application does.
        """

        def hello(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            content = environ["wsgi.input"]
            content.read(1), content.readline(1), content.readlines(), list(content)
            environ["wsgi.errors"].write("x")
            environ["wsgi.errors"].flush()
            start("200 OK", [("Content-Type", "text/plain")])(b"h")
            yield b"el"
            yield b"lo"

        answer = self.answer(validator(hello), question)
        self.assertEqual((answer.status, answer.body), (200, body))
        self.assertEqual(answer.header(b"Content-Type"), b"text/plain")


class AnswerTests(WSGITestCase):
    """
    What becomes of the response.
    """

    def test_whole(self) -> None:
        """
        A response is sent as the application makes it, with nothing of
        Twisted's own.
        """

        def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("418 I'm a teapot", [("X-Own", "value"), ("Content-Length", "5")])
            return [b"hel", b"lo"]

        answer = self.answer(hello)
        self.assertEqual((answer.status, answer.body), (418, b"hello"))
        self.assertEqual(answer.header(b"X-Own"), b"value")
        self.assertIsNone(answer.header(b"Content-Type"))
        self.assertEqual(answer.stdout.count(b"hello"), 1)

    def test_oneHop(self) -> None:
        """
        A response of which the end is known goes to the reactor in one piece.
        """
        for make in (list, tuple, iter):

            def hello(
                environ: dict[str, Any], start: Any, make: Any = make
            ) -> Iterable[bytes]:
                start("200 OK", [])
                made: Iterable[bytes] = make([b"hello"])
                return made

            self.threads.wakes = 0
            self.assertEqual(self.answer(hello).body, b"hello")
            self.assertEqual(self.threads.wakes, 2, make)

    def test_notDelayed(self) -> None:
        """
        What an application gives is on its way before it is asked for more.
        """
        bodies: list[bytes] = []

        def slow(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            for piece in (b"one", b"", b"two"):
                yield piece
                self.threads.turn()
                (transport,) = self.transports
                transport.settle()
                bodies.append(transport.response(unfinished=True).body)

        self.assertEqual(self.answer(slow).body, b"onetwo")
        self.assertEqual(bodies, [b"one", b"one", b"onetwo"])

    def test_written(self) -> None:
        """
        What C{write} is given is on its way when it returns, and comes before
        the rest.
        """
        bodies: list[bytes] = []

        def writes(environ: dict[str, Any], start: Any) -> list[bytes]:
            write = start("200 OK", [])
            write(b"one ")
            self.threads.turn()
            (transport,) = self.transports
            transport.settle()
            bodies.append(transport.response(unfinished=True).body)
            return [b"two"]

        self.assertEqual(self.answer(writes).body, b"one two")
        self.assertEqual(bodies, [b"one "])

    def test_empty(self) -> None:
        """
        A response may be empty; its head is not sent before its end is known.
        """
        heads: list[bytes] = []

        def empty(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            yield b""
            self.threads.turn()
            heads.append(self.transports[0].value())
            start("404 Not Found", [], (ValueError, ValueError(), None))

        answer = self.answer(empty)
        self.assertEqual((answer.status, answer.body), (404, b""))
        self.assertEqual(heads, [b""])

    def test_siteHeaders(self) -> None:
        """
        The application's header fields replace those that were there before;
        a field may be there several times.
        """

        class Adding(Site):
            def getResourceFor(self, request: Any) -> Any:
                request.setHeader(b"X-A", b"site")
                request.setHeader(b"X-B", b"site")
                return super().getResourceFor(request)

        def own(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [("x-b", "1"), ("X-C", "2"), ("X-C", "3")])
            return []

        self.serve(Adding(self.resource(own), reactor=self.clock))
        transport = self.exchange(wire.request(wire.variables()))
        self.threads.run()
        transport.settle()
        found = [pair for pair in transport.response().headers if b"-" in pair[0]]
        self.assertEqual(
            sorted(found),
            [(b"X-A", b"site"), (b"X-B", b"1"), (b"X-C", b"2"), (b"X-C", b"3")],
        )

    @table(
        {
            "status bytes": (b"200 OK", [], "status must be str, not bytes"),
            "no status": ("OK", [], "status must be like"),
            "informational": ("100 Continue", [], "from 200 to 599"),
            "too high": ("600 X", [], "from 200 to 599"),
            "long": ("2000 X", [], "status must be like"),
            "no tuple": ("200 OK", ["ab c"], "must be a tuple of two str"),
            "long tuple": ("200 OK", [("a", "b", "c")], "must be a tuple of two str"),
            "number": ("200 OK", [("a", 1)], "must be a tuple of two str"),
            "bytes": ("200 OK", [(b"a", b"b")], "must be a tuple of two str"),
            "not latin-1": ("200 OK", [("a", "\u20ac")], "latin-1"),
            "reason not latin-1": ("200 \u20ac", [], "latin-1"),
        }
    )
    def test_badHead(self, status: Any, headers: Any, message: str) -> None:
        """
        What cannot be the head of a response is refused where the application
        gives it.
        """
        errors: list[str] = []

        def bad(environ: dict[str, Any], start: Any) -> list[bytes]:
            try:
                start(status, headers)
            except (TypeError, ValueError) as error:
                errors.append(str(error))
            start("200 OK", [])
            return []

        self.assertEqual(self.answer(bad).status, 200)
        (error,) = errors
        self.assertIn(message, error)

    def test_reasonless(self) -> None:
        """
        A status without a phrase will do.
        """

        def terse(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("204", [])
            return []

        self.assertEqual(self.answer(terse).status, 204)

    def test_head(self) -> None:
        """
        A C{HEAD} is answered without a body, whatever the application gives.
        """

        def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [("Content-Length", "5")])
            return [b"hello"]

        question = wire.request(wire.variables(REQUEST_METHOD=b"HEAD"))
        answer = self.answer(hello, question)
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.header(b"Content-Length"), b"5")

    def test_changed(self) -> None:
        """
        With an exception a second head takes the place of the first one, until
        that is on its way; then the exception is raised.
        """

        def changes(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", [("X-Old", "1")])
            start("500 Oops", [("X-New", "1")], self.excInfo())
            yield b"body"
            self.assertRaises(ZeroDivisionError, start, "200 OK", [], self.excInfo())

        answer = self.answer(changes)
        self.assertEqual((answer.status, answer.body), (500, b"body"))
        self.assertIsNone(answer.header(b"X-Old"))
        self.assertEqual(answer.header(b"X-New"), b"1")

    def excInfo(self) -> Any:
        """
        Make an exception.
        """
        error = ZeroDivisionError()
        return ZeroDivisionError, error, error.__traceback__


class FailureTests(WSGITestCase):
    """
    Applications that fail.
    """

    def assertFailed(
        self, application: Callable[..., Any], kind: type[Exception], message: str
    ) -> wire.Response:
        """
        See that an application is answered for with 500, and the log tells why.
        """
        answer = self.answer(application)
        self.assertEqual((answer.status, answer.appStatus), (500, 1))
        (failure,) = self.flushLoggedErrors(kind)
        self.assertIn(message, str(failure.value))
        return answer

    def test_early(self) -> None:
        """
        One that fails before its response has begun is answered for with 500.
        """

        def fails(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [("X-Own", "1")])
            raise ZeroDivisionError("secret")

        answer = self.assertFailed(fails, ZeroDivisionError, "secret")
        self.assertNotIn(b"secret", answer.stdout)
        self.assertIsNone(answer.header(b"X-Own"))

    def test_exits(self) -> None:
        """
        One that wants to exit ends nothing but its request.
        """

        def exits(environ: dict[str, Any], start: Any) -> list[bytes]:
            raise SystemExit(3)

        self.assertEqual(self.answer(exits).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    @table(
        {
            "silent": (lambda start: [], "has not called start_response"),
            "body first": (lambda start: [b"x"], "before start_response"),
            "text": (
                lambda start: (start("200 OK", []), ["x"])[1],
                "made of bytes, not str: 'x'",
            ),
            "written text": (
                lambda start: start("200 OK", [])("x"),
                "made of bytes, not str: 'x'",
            ),
            "twice": (
                lambda start: (start("200 OK", []), start("200 OK", [])),
                "a second time",
            ),
            "nothing": (lambda start: start("200 OK", []) and None, "not iterable"),
        }
    )
    def test_wrong(self, does: Callable[[Any], Any], message: str) -> None:
        """
        One that does not hold to the rules is told which one.
        """
        answer = self.answer(lambda environ, start: does(start))
        self.assertEqual(answer.status, 500)
        (failure,) = self.flushLoggedErrors(TypeError, AssertionError)
        self.assertIn(message, str(failure.value))

    def test_midway(self) -> None:
        """
        Of one that fails in the midst of its response, what it has given is
        sent, and the web server can tell that it is not all.
        """

        def fails(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", [("Content-Length", "100")])
            yield b"some of it"
            raise ZeroDivisionError

        transport = self.ask(fails)
        answer = transport.response()
        self.assertEqual((answer.body, answer.appStatus), (b"some of it", 1))
        self.assertFalse(answer.stdoutEnded)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_header(self) -> None:
        """
        A field that no response can have does not end up in it.
        """

        def bad(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [("X-A", "1\r\nX-B: 2")])
            return []

        answer = self.answer(bad)
        self.assertIsNone(answer.header(b"X-B"))

    def test_closed(self) -> None:
        """
        C{close} is called once, after the response, or after the failure.
        """
        events: list[str] = []

        class Response:
            def __init__(self, fails: bool) -> None:
                self.fails = fails

            def __iter__(self) -> Iterator[bytes]:
                yield b"x"
                if self.fails:
                    raise ZeroDivisionError

            def close(self) -> None:
                events.append("close")

        for fails in (False, True):

            def application(
                environ: dict[str, Any], start: Any, fails: bool = fails
            ) -> Response:
                start("200 OK", [("Content-Length", "1")])
                return Response(fails)

            self.ask(application)
        self.assertEqual(events, ["close", "close"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_closeFails(self) -> None:
        """
        A C{close} that fails is logged; the response is whole by then.
        """

        class Response(list[bytes]):
            def close(self) -> None:
                raise ZeroDivisionError

        def application(environ: dict[str, Any], start: Any) -> Response:
            start("200 OK", [])
            return Response([b"x"])

        answer = self.answer(application)
        self.assertEqual((answer.status, answer.body), (200, b"x"))
        self.assertTrue(answer.stdoutEnded)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_gone(self) -> None:
        """
        When the web server is gone, an application is asked for no more, and
        is told that it can clean up.
        """
        events: list[str] = []

        def endless(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            write = start("200 OK", [])
            try:
                yield b"one"
                self.threads.turn()
                self.transports[0].close()
                write(b"nobody reads this")
                yield b"two"
                events.append("asked for more")
            finally:
                events.append("closed")

        self.ask(endless)
        self.assertEqual(events, ["closed"])

    def test_goneBefore(self) -> None:
        """
        A response that comes too late is dropped.
        """

        def late(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [])
            self.transports[0].close()
            return []

        self.assertEqual(self.ask(late).value(), b"")

    def test_goneWhileReading(self) -> None:
        """
        Who reads the body when the web server has gone gets all of it, and it is
        closed afterwards, whether it is in memory or in a file.
        """
        for size in (10, 200_000):
            body = b"x" * size
            read: list[Any] = []

            def late(
                environ: dict[str, Any], start: Any, read: list[Any] = read
            ) -> list[bytes]:
                self.transports[-1].close()
                read += [environ["wsgi.input"], environ["wsgi.input"].read()]
                start("200 OK", [])
                return []

            self.ask(late, wire.request(wire.postVariables(body), body))
            self.assertEqual(read[1], body)
            self.assertTrue(read[0].closed)

    def test_failsLater(self) -> None:
        """
        One that fails when the web server is gone is logged.
        """

        def late(environ: dict[str, Any], start: Any) -> list[bytes]:
            self.transports[0].close()
            raise ZeroDivisionError

        self.assertEqual(self.ask(late).value(), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reactorFails(self) -> None:
        """
        What fails in the reactor's thread is answered for as well.
        """

        class Failing(FastCGIWSGIRequest):
            failed = False

            def setResponseCode(self, code: int, message: Any = None) -> None:
                if not self.failed:
                    self.failed = True
                    raise ZeroDivisionError
                super().setResponseCode(code, message)

        def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [])
            return [b"hello"]

        self.serve(Site(self.resource(hello), Failing, reactor=self.clock))
        transport = self.exchange(wire.request(wire.variables()))
        self.threads.run()
        transport.settle()
        self.assertEqual(transport.response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_othersGoOn(self) -> None:
        """
        A request that fails to fail does not keep others from their answers.
        """

        class Failing(FastCGIWSGIRequest):
            def finish(self) -> None:
                if self.uri == b"/bad":
                    raise ZeroDivisionError
                super().finish()

        def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [])
            return []

        self.serve(Site(self.resource(hello), Failing, reactor=self.clock))
        bad = self.exchange(wire.request(wire.variables(b"/bad")))
        good = self.exchange(wire.request(wire.variables(b"/good")))
        self.threads.run()
        good.settle()
        self.assertEqual(good.response().status, 200)
        # Once for what it did, once for what became of that.
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        bad.close()


def endless(closed: Event) -> Any:
    """
    Make an application that gives more and more.

    @param closed: Is set when it is closed.
    """

    def streams(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield bytes(AHEAD)
        finally:
            closed.set()

    return streams


class ThreadTests(WSGITestCase):
    """
    What needs threads to be seen.
    """

    def setUp(self) -> None:
        super().setUp()
        self.real = RealThreads()
        self.threads: Any = self.real
        self.addCleanup(self.real.pool.stop)

    def stalled(self, application: Any, **options: Any) -> ServerTransport:
        """
        Ask an application for something, and don't read the answer.
        """
        self.serve(self.resource(application))
        transport = self.connect(ServerTransport(stalled=True, **options))
        transport.receive(wire.request(wire.variables()))
        return transport

    def test_backPressure(self) -> None:
        """
        An application that streams waits while the web server does not read,
        and goes on when it does; it does not get ahead by much more than the
        transport takes.
        """
        given = 0
        total = 64 * AHEAD
        closed = Event()

        def streams(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            nonlocal given
            start("200 OK", [])
            try:
                while given < total:
                    given += AHEAD // 4
                    yield bytes(AHEAD // 4)
            finally:
                closed.set()

        transport = self.stalled(streams)
        self.real.runUntil(lambda: transport.unsent > transport.bufferSize)
        self.assertTrue(self.real.calls.empty())
        self.assertLessEqual(given, transport.unsent + AHEAD)
        transport.stalled = False
        while not closed.is_set() or not self.real.calls.empty():
            transport.settle()
            self.real.turn()
        transport.settle()
        self.assertEqual(len(transport.response().body), total)

    def test_room(self) -> None:
        """
        It does not wait as long as there is room.
        """

        def streams(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            for _ in range(4):
                yield bytes(AHEAD)

        transport = self.stalled(streams, bufferSize=8 * AHEAD)
        self.real.turn()
        self.real.runUntil(lambda: transport.responses(unfinished=True)[0].ended)
        self.assertEqual(len(transport.response().body), 4 * AHEAD)

    @table({"closes": ("close",), "aborts": ("abort",)})
    def test_leaves(self, how: str) -> None:
        """
        An application that waits is let go when the web server leaves.
        """
        closed = Event()
        transport = self.stalled(endless(closed))
        self.real.runUntil(lambda: transport.unsent > transport.bufferSize)
        if how == "close":
            transport.close()
        else:
            transport.receive(wire.abortRequest())
        self.assertTrue(closed.wait(PATIENCE))

    def test_leavesEarly(self) -> None:
        """
        One that begins to wait when the web server has left goes on, too.
        """
        begun, closed = Event(), Event()

        def streams(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            write = start("200 OK", [])
            begun.set()
            try:
                write(bytes(AHEAD))
                yield b""
            finally:
                closed.set()

        self.serve(self.resource(streams))
        transport = self.exchange(wire.request(wire.variables()))
        self.assertTrue(begun.wait(PATIENCE))
        hop = self.real.calls.get(timeout=PATIENCE)
        transport.close()
        hop()
        self.assertTrue(closed.wait(PATIENCE))

    def test_reactorEnds(self) -> None:
        """
        One that waits when the reactor ends goes on although that does nothing
        for it any more: it waits for its threads.
        """
        waits = 0
        again, closed = Event(), Event()

        class Room(Event):
            def wait(self, timeout: float | None = None) -> bool:
                nonlocal waits
                waits += 1
                if waits == 2:
                    again.set()
                return super().wait(timeout)

        self.patch(wsgi, "_PATIENCE", 0.001)
        self.patch(wsgi, "Event", Room)
        self.serve(self.resource(endless(closed)))
        transport = self.exchange(wire.request(wire.variables()))
        self.assertTrue(again.wait(PATIENCE))
        transport.close()
        self.assertTrue(closed.wait(PATIENCE))

    def test_parallel(self) -> None:
        """
        Applications that wait for something do not hold up others, as long as
        there are threads.
        """
        arrived: Queue[int] = Queue()
        go = Event()

        def waits(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [])
            if environ["PATH_INFO"] == "/wait":
                arrived.put(get_ident())
                go.wait(PATIENCE)
            return [b"done"]

        self.serve(self.resource(waits))
        waiting = [
            self.exchange(wire.request(wire.variables(b"/wait"))) for _ in range(3)
        ]
        threads = {arrived.get(timeout=PATIENCE) for _ in waiting}
        self.assertEqual(len(threads), 3)
        quick = self.exchange(wire.request(wire.variables(b"/quick")))
        self.real.runUntil(lambda: quick.value())
        self.assertEqual(quick.response().body, b"done")
        go.set()
        self.real.runUntil(lambda: all(each.value() for each in waiting))

    def test_work(self) -> None:
        """
        However many requests there are at once, all are answered.
        """

        def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [])
            return [environ["PATH_INFO"].encode("ascii")]

        self.serve(self.resource(hello))
        paths = [b"/%d" % number for number in range(200)]
        asked = [self.exchange(wire.request(wire.variables(path))) for path in paths]
        self.real.runUntil(lambda: all(each.value() for each in asked))
        self.assertEqual([each.response().body for each in asked], paths)


class QuickTests(WSGITestCase):
    """
    Applications that answer quickly.
    """

    def hello(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        """
        Answer quickly.
        """
        start("200 OK", [])
        return [b"hello"]

    @table({"few": (10,), "as many as there are at a time": (16,)})
    def test_together(self, count: int) -> None:
        """
        What has come together is worked on together: threads are woken up, and
        the reactor, less often than there are requests.
        """
        self.serve(self.resource(self.hello))
        asked = [self.exchange(wire.request(wire.variables())) for _ in range(count)]
        self.threads.run()
        self.assertEqual([each.response().status for each in asked], [200] * count)
        self.assertLessEqual(self.threads.wakes, 3)

    def test_lets(self) -> None:
        """
        After some requests a thread is given back, so that others who use the
        same pool have their turn.
        """
        self.serve(self.resource(self.hello))
        asked = [self.exchange(wire.request(wire.variables())) for _ in range(40)]
        done: list[int] = []

        def note() -> None:
            self.threads.turn()
            done.append(sum(bool(each.value()) for each in asked))

        self.threads.callInThread(note)
        self.threads.run()
        self.assertLess(done[0], 40)
        self.assertTrue(all(each.value() for each in asked))
