# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What must work behind every web server.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from hashlib import sha256
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.interop import application
from tests.interop.servers import WebServer, webServer
from tests.interop.servers import application as startApplication
from tests.programs import PATIENCE

#: A body of 200 kB, no two lines of which are the same.
UPLOAD = application.large()[:200_000]

#: Paths as a client writes them, and the segments which the application gets.
#: Where it is not said, the application sees the target as it was written.
PATHS: dict[str, tuple[bytes, list[str], bytes | None]] = {
    "plain": (b"/echo/a/b", ["a", "b"], None),
    "space": (b"/echo/a%20b/c+d", ["a b", "c+d"], None),
    "UTF-8": (b"/echo/%C3%A9/%E2%82%AC", ["é", "€"], None),
    "raw UTF-8": ("/echo/é".encode(), ["é"], None),
    "encoded for nothing": (b"/%65cho/%61", ["a"], None),
    "reserved": (b"/echo/%3F%23%25/;x=1,2", ["?#%", ";x=1,2"], None),
    "empty at the end": (b"/echo/a/", ["a", ""], None),
    "dots": (b"/status/../echo/./a", ["a"], b"/echo/a"),
}


@dataclass
class Answer:
    """
    A response.
    """

    status: int
    headers: Message
    body: bytes

    @property
    def shown(self) -> Any:
        """
        What the application shows.
        """
        return json.loads(self.body)


def request(
    method: str,
    target: bytes,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
) -> bytes:
    """
    Write a request.
    """
    told = [("Host", "www.example.com"), *fields]
    if body is not None:
        told.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in told)
    line = b"%s %s HTTP/1.1\r\n" % (method.encode("ascii"), target)
    return line + head.encode("latin-1") + b"\r\n" + (body or b"")


def chunked(body: bytes, size: int) -> bytes:
    """
    Cut a body into chunks.
    """
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def read(connection: socket.socket, method: str = "GET") -> Answer:
    """
    Read a response.
    """
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        return Answer(response.status, response.headers, response.read())


class EndToEnd:
    """
    Tests for one web server; to be mixed with L{twisted.trial.unittest.TestCase}.

    Clients are blocking ones in threads, written apart from Twisted.

    @cvar server: The web server.
    """

    server: WebServer
    assertEqual: Any
    assertIn: Any
    assertNotIn: Any
    assertTrue: Any

    async def setUp(self) -> None:
        """
        Start what is not running yet.
        """
        self._server = await webServer(self.server)
        self._application = await startApplication()
        self._logged = self._application.log.stat().st_size

    def tearDown(self) -> None:
        """
        Nothing may have gone wrong unseen.
        """
        self.assertNotIn("Traceback", self.newlyLogged())

    def newlyLogged(self) -> str:
        """
        Tell what the application has logged since this was asked last.
        """
        before, self._logged = self._logged, self._application.log.stat().st_size
        return self._application.said(before)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """
        Connect to the web server.
        """
        address = ("127.0.0.1", self._server.address)
        with socket.create_connection(address, PATIENCE) as connection:
            yield connection

    def ask(
        self,
        target: bytes,
        method: str = "GET",
        fields: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Deferred[Answer]:
        """
        Ask for something on a connection of its own.
        """
        sent = request(method, target, [("Connection", "close"), *fields], body)
        return self.send(sent, method)

    def send(self, sent: bytes, method: str = "GET") -> Deferred[Answer]:
        """
        Send a request as it is, on a connection of its own.
        """

        def inThread() -> Answer:
            with self.connected() as connection:
                connection.sendall(sent)
                return read(connection, method)

        return deferToThread(inThread)

    async def test_get(self) -> None:
        """
        A page arrives, and with it no header field that is the web server's.
        """
        answer = await self.ask(b"/")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.body, b"Hello from the application.\n")
        self.assertEqual(answer.headers.get_all("Content-Type"), ["text/html"])
        self.assertEqual(len(answer.headers.get_all("Date")), 1)
        (name,) = answer.headers.get_all("Server")
        self.assertNotIn("Twisted", name)

    async def test_head(self) -> None:
        """
        A C{HEAD} has the header of a C{GET}, no body, and leaves the client's
        connection in order.
        """

        def inThread() -> list[Answer]:
            answers = []
            with self.connected() as connection:
                for method in ("HEAD", "GET", "HEAD", "GET"):
                    connection.sendall(request(method, b"/"))
                    answers.append(read(connection, method))
            return answers

        head, get, *again = await deferToThread(inThread)
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["Content-Type"], get.headers["Content-Type"])
        self.assertEqual(get.body, b"Hello from the application.\n")
        self.assertEqual([each.body for each in again], [head.body, get.body])

    async def test_headOfLarge(self) -> None:
        """
        The C{HEAD} of what is large.
        """
        answer = await self.ask(b"/large", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))

    async def test_upload(self) -> None:
        """
        200 kB arrive as they were sent.
        """
        answer = await self.ask(b"/echo", "POST", body=UPLOAD)
        shown = answer.shown
        self.assertEqual((shown["method"], shown["length"]), ("POST", len(UPLOAD)))
        self.assertEqual(shown["digest"], sha256(UPLOAD).hexdigest())

    async def test_emptyUpload(self) -> None:
        """
        So does nothing.
        """
        answer = await self.ask(b"/echo", "POST", body=b"")
        self.assertEqual((answer.shown["method"], answer.shown["length"]), ("POST", 0))

    async def test_chunkedUpload(self) -> None:
        """
        200 kB in chunks arrive as if their length had been told.
        """
        fields = [("Connection", "close"), ("Transfer-Encoding", "chunked")]
        head = request("PUT", b"/echo", fields)
        answer = await self.send(head + chunked(UPLOAD, 7001))
        shown = answer.shown
        self.assertEqual((shown["method"], shown["length"]), ("PUT", len(UPLOAD)))
        self.assertEqual(shown["digest"], sha256(UPLOAD).hexdigest())
        self.assertNotIn("Transfer-Encoding", shown["headers"])

    async def test_expectContinue(self) -> None:
        """
        A client that wants to be told to go on is told so, once.
        """

        def inThread() -> tuple[bytes, Answer]:
            fields = [("Expect", "100-continue"), ("Content-Length", "4")]
            with self.connected() as connection:
                connection.sendall(request("POST", b"/echo", fields))
                interim = connection.recv(25, socket.MSG_WAITALL)
                connection.sendall(b"body")
                return interim, read(connection)

        interim, answer = await deferToThread(inThread)
        self.assertEqual(interim, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(answer.shown["digest"], sha256(b"body").hexdigest())

    async def test_download(self) -> None:
        """
        5 MB arrive as they were made, be they written in one piece or in many.
        """
        for target in (b"/large", b"/streamed"):
            answer = await self.ask(target)
            self.assertEqual(answer.status, 200, target)
            self.assertEqual(len(answer.body), application.LARGE, target)
            self.assertTrue(answer.body == application.large(), target)

    async def test_file(self) -> None:
        """
        Of a file a part can be had.
        """
        with open(application.__file__, "rb") as file:
            content = file.read()
        answer = await self.ask(b"/source")
        self.assertEqual((answer.status, answer.body), (200, content))
        answer = await self.ask(b"/source", fields=[("Range", "bytes=2-30")])
        self.assertEqual((answer.status, answer.body), (206, content[2:31]))
        since = [("If-Modified-Since", answer.headers["Last-Modified"])]
        answer = await self.ask(b"/source", fields=since)
        self.assertEqual((answer.status, answer.body), (304, b""))

    async def test_redirects(self) -> None:
        """
        Redirects are left to the client, with the code that the application
        chose.
        """
        for code in (301, 302, 303, 307, 308):
            answer = await self.ask(b"/redirect?code=%d" % code)
            self.assertEqual(answer.status, code)
            self.assertEqual(answer.headers["Location"], "/echo?from=redirect")
            self.assertIn(b"/echo?from=redirect", answer.body)

    async def test_cookies(self) -> None:
        """
        Cookies go both ways, several at a time.
        """
        answer = await self.ask(b"/cookies", fields=[("Cookie", 'a=1; b="x y"; c=')])
        self.assertEqual(answer.shown, {"a": "1", "b": '"x y"', "c": ""})
        self.assertEqual(
            answer.headers.get_all("Set-Cookie"),
            ["first=1; Path=/", "second=two; Path=/; HttpOnly"],
        )

    async def test_session(self) -> None:
        """
        Who comes back is known.
        """
        answer = await self.ask(b"/visits")
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        answer = await self.ask(b"/visits", fields=[("Cookie", cookie)])
        self.assertEqual(answer.body, b"2")

    async def test_query(self) -> None:
        """
        The query arrives as it was written.
        """
        query = b"a=1&b=two+words&a=%C3%A9&empty=&=%26?/"
        answer = await self.ask(b"/echo?" + query)
        self.assertEqual(answer.shown["uri"], "/echo?" + query.decode("ascii"))
        self.assertEqual(
            answer.shown["args"],
            {
                "a": ["1", "Ã©"],
                "b": ["two words"],
                "empty": [""],
                "": ["&?/"],
            },
        )

    async def test_paths(self) -> None:
        """
        Paths mean the same to the web server and to the application.
        """
        for name, (target, segments, uri) in PATHS.items():
            answer = await self.ask(target)
            self.assertEqual(answer.status, 200, name)
            shown = answer.shown
            found = [part.encode("latin-1").decode() for part in shown["postpath"]]
            self.assertEqual(found, segments, name)
            self.assertEqual(shown["prepath"], ["echo"], name)
            self.assertEqual(shown["uri"].encode("latin-1"), uri or target, name)

    async def test_fields(self) -> None:
        """
        Header fields arrive, long ones too.
        """
        long = "x" * 6000
        fields = [("X-Long", long), ("Accept", "a/b, c/d"), ("User-Agent", "tester")]
        headers = (await self.ask(b"/echo", fields=fields)).shown["headers"]
        self.assertEqual(headers["X-Long"], [long])
        self.assertEqual(headers["Accept"], ["a/b, c/d"])
        self.assertEqual(headers["User-Agent"], ["tester"])
        self.assertEqual(headers["Host"], ["www.example.com"])

    async def test_client(self) -> None:
        """
        The application sees the client's address, not the web server's.
        """

        def inThread() -> tuple[Any, Answer]:
            with self.connected() as connection:
                connection.sendall(request("GET", b"/echo"))
                return connection.getsockname(), read(connection)

        address, answer = await deferToThread(inThread)
        self.assertEqual(answer.shown["client"], list(address))
        self.assertEqual(answer.shown["protocol"], "HTTP/1.1")
        self.assertEqual(answer.shown["secure"], False)

    async def test_configuration(self) -> None:
        """
        The web server is the one that it should be, and keeps its connections
        to the application if it should.
        """
        answer = await self.ask(b"/echo")
        self.assertIn(self.server.program, answer.shown["software"].lower())
        self.assertEqual(answer.shown["kept"], self.server.keeps)
        before = await self.ask(b"/accepted")
        await self.ask(b"/")
        after = await self.ask(b"/accepted")
        made = int(after.body) - int(before.body)
        self.assertEqual(made, 0 if self.server.keeps else 2)

    async def test_statuses(self) -> None:
        """
        Status codes arrive, with the bodies that they may have.
        """
        for code in (200, 201, 204, 304, 400, 404, 418, 500, 503):
            answer = await self.ask(b"/status?code=%d" % code)
            body = b"" if code in (204, 304) else b"this is %d" % code
            self.assertEqual((answer.status, answer.body), (code, body))

    async def test_failure(self) -> None:
        """
        A page that fails is answered with 500, and logged.
        """
        answer = await self.ask(b"/fails")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"ZeroDivisionError", answer.body)
        self.assertIn("ZeroDivisionError: as it was asked for", self.newlyLogged())

    async def test_notWhole(self) -> None:
        """
        A client can tell that a response is not whole, be it given up or
        finished too early, and is not left waiting for the rest.
        """
        for target in (b"/breaksoff", b"/miscounted?told=100000"):
            try:
                answer = await self.send(request("GET", target))
            except IncompleteRead as error:
                self.assertIn(error.partial, (b"some of it", b"0123456789"))
            else:
                self.assertTrue(answer.status >= 500, f"taken for whole: {answer}")

    async def test_tooMuch(self) -> None:
        """
        Of a response that is longer than was told, nobody gets the rest, and
        connections stay in order.
        """

        def inThread() -> list[bytes]:
            bodies = []
            with self.connected() as connection:
                for target in (b"/miscounted?told=5", b"/status?code=200") * 2:
                    connection.sendall(request("GET", target))
                    bodies.append(read(connection).body)
            return bodies

        bodies = await deferToThread(inThread)
        self.assertEqual(bodies, [b"01234", b"this is 200"] * 2)

    async def vanish(self, what: bytes) -> None:
        """
        Ask for something, wait until the application has got it, and go away:
        the application is told so.
        """
        token = uuid4().hex.encode("ascii")

        def inThread() -> bytes:
            with self.connected() as connection:
                connection.sendall(request("GET", b"/endings/%s/%s" % (what, token)))
                with self.connected() as other:
                    other.sendall(request("GET", b"/endings/begun/" + token))
                    return read(other).body

        self.assertEqual(await deferToThread(inThread), b"begun")
        answer = await self.ask(b"/endings/ended/" + token)
        self.assertIn(answer.body, (b"ConnectionDone", b"ConnectionLost"))

    async def test_vanishesBefore(self) -> None:
        """
        A client that goes away before it is answered.
        """
        await self.vanish(b"silent")
        self.assertEqual((await self.ask(b"/")).status, 200)

    async def test_vanishesDuring(self) -> None:
        """
        A client that goes away in the midst of the answer.
        """
        await self.vanish(b"endless")
        self.assertEqual((await self.ask(b"/")).status, 200)

    async def test_inARow(self) -> None:
        """
        500 requests in a row, on one connection of the client, are all
        answered as they should be.
        """
        kinds: list[tuple[str, str, bytes | None, int]] = [
            ("GET", "/", None, 200),
            ("POST", "/echo", b"x" * 1000, 200),
            ("HEAD", "/", None, 200),
            ("GET", "/status?code=404", None, 404),
            ("GET", "/status?code=204", None, 204),
        ]

        def inThread() -> list[int]:
            found = []
            address = ("127.0.0.1", self._server.address)
            with closing(HTTPConnection(*address, timeout=PATIENCE)) as client:
                client.connect()
                # It must not be made anew.
                client.auto_open = False
                for method, target, body, _ in kinds * 100:
                    client.request(method, target, body)
                    with client.getresponse() as response:
                        response.read()
                        found.append(response.status)
            return found

        found = await deferToThread(inThread)
        self.assertEqual(found, [status for *_, status in kinds] * 100)

    async def test_together(self) -> None:
        """
        50 clients at once: nobody is answered before all are waiting.
        """

        def inThread() -> list[Answer]:
            with ExitStack() as stack:
                guests = [stack.enter_context(self.connected()) for _ in range(50)]
                for guest in guests:
                    guest.sendall(request("GET", b"/meeting?guests=50"))
                return [read(guest) for guest in guests]

        answers = await deferToThread(inThread)
        self.assertEqual({answer.status for answer in answers}, {200})
        numbers = sorted(int(answer.body) for answer in answers)
        self.assertEqual(numbers, list(range(50)))
