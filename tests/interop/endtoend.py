# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What must work behind every web server.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from hashlib import sha256
from http.client import HTTPConnection, HTTPResponse
from select import select
from typing import Any
from uuid import uuid4

from twisted.internet.threads import deferToThread

from tests.interop import application
from tests.interop.clients import Answer, chunked, read
from tests.interop.mounts import Mounted
from tests.interop.record import case
from tests.interop.trouble import Troubled
from tests.programs import PATIENCE

#: A body of 200 kB, no two lines of which are the same.
UPLOAD = application.large()[:200_000]

#: A body of 5 MB.
LARGE_UPLOAD = application.large()[:5_000_000]

#: How many guests a meeting has.
GUESTS = 50


class EndToEnd(Mounted, Troubled):
    """
    Tests for one web server; to be mixed with L{twisted.trial.unittest.TestCase}.
    """

    @case("GET")
    async def test_get(self) -> None:
        """
        A page arrives, and with it no header field that is the web server's.
        """
        answer = await self.ask(b"/")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.body, b"Hello from the application.\n")
        self.assertEqual(answer.headers.get_all("Content-Type"), ["text/html"])
        self.assertEqual(len(answer.headers.get_all("Date")), 1)
        # Not every web server tells its name.
        names = answer.headers.get_all("Server", [])
        self.assertTrue(len(names) <= 1, names)
        self.assertNotIn("Twisted", "".join(names))

    @case("HEAD")
    async def test_head(self) -> None:
        """
        A C{HEAD} has the header of a C{GET}, no body, and leaves the client's
        connection in order, unless it is announced that that ends.
        """

        def inThread() -> list[Answer]:
            answers: list[Answer] = []
            with ExitStack() as stack:
                connection = stack.enter_context(self.connected())
                for method in ("HEAD", "GET", "HEAD", "GET"):
                    if answers and answers[-1].headers["Connection"] == "close":
                        connection = stack.enter_context(self.connected())
                        self.observed("ends the client's connection")
                    connection.sendall(self.request(method, b"/"))
                    answers.append(read(connection, method))
            return answers

        head, get, *again = await deferToThread(inThread)
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["Content-Type"], get.headers["Content-Type"])
        self.assertEqual(get.body, b"Hello from the application.\n")
        self.assertEqual([each.body for each in again], [head.body, get.body])

    @case("HEAD of 5 MB")
    async def test_headOfLarge(self) -> None:
        """
        The C{HEAD} of what is large.
        """
        answer = await self.ask(b"/large", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))

    async def upload(self, body: bytes) -> None:
        """
        Something arrives as it was sent.
        """
        shown = (await self.ask(b"/echo", "POST", body=body)).shown
        self.assertEqual((shown["method"], shown["length"]), ("POST", len(body)))
        self.assertEqual(shown["digest"], sha256(body).hexdigest())

    @case("POST, 200 bytes")
    async def test_smallUpload(self) -> None:
        """
        200 bytes arrive.
        """
        await self.upload(UPLOAD[:200])

    @case("POST, 200 kB")
    async def test_upload(self) -> None:
        """
        200 kB arrive.
        """
        await self.upload(UPLOAD)

    @case("POST, 5 MB")
    async def test_largeUpload(self) -> None:
        """
        5 MB arrive.
        """
        await self.upload(LARGE_UPLOAD)

    @case("POST, empty")
    async def test_emptyUpload(self) -> None:
        """
        So does nothing.
        """
        await self.upload(b"")

    @case("chunked upload, 200 kB")
    async def test_chunkedUpload(self) -> None:
        """
        200 kB in chunks arrive as if their length had been told.
        """
        fields = [("Connection", "close"), ("Transfer-Encoding", "chunked")]
        head = self.request("PUT", b"/echo", fields)
        answer = await self.send(head + chunked(UPLOAD, 7001))
        self.assertEqual(answer.status, self.server.chunked)
        if answer.status != 200:
            self.observed(str(answer.status))
            return
        shown = answer.shown
        self.assertEqual((shown["method"], shown["length"]), ("PUT", len(UPLOAD)))
        self.assertEqual(shown["digest"], sha256(UPLOAD).hexdigest())
        self.assertNotIn("Transfer-Encoding", shown["headers"])

    @case("Expect: 100-continue")
    async def test_expectContinue(self) -> None:
        """
        A client that wants to be told to go on is told so, once.
        """

        def inThread() -> tuple[bytes, Answer]:
            fields = [("Expect", "100-continue"), ("Content-Length", "4")]
            with self.connected() as connection:
                connection.sendall(self.request("POST", b"/echo", fields))
                interim = connection.recv(25, socket.MSG_WAITALL)
                connection.sendall(b"body")
                return interim, read(connection)

        interim, answer = await deferToThread(inThread)
        self.assertEqual(interim, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(answer.shown["digest"], sha256(b"body").hexdigest())

    @case("20 MB download")
    async def test_download(self) -> None:
        """
        5 MB arrive as they were made, written in one piece, and 20 MB, written
        in many.
        """
        for target, times in ((b"/large", 1), (b"/streamed", 4)):
            answer = await self.ask(target)
            expected = application.large() * times
            self.assertEqual(answer.status, 200, target)
            self.assertEqual(len(answer.body), len(expected), target)
            self.assertEqual(
                sha256(answer.body).hexdigest(), sha256(expected).hexdigest(), target
            )

    @case("events arrive one by one")
    async def test_events(self) -> None:
        """
        Server-sent events arrive when they are sent, or at the end if the web
        server keeps them until then.
        """
        token = uuid4().hex.encode("ascii")

        def inThread() -> bytes:
            with self.connected() as connection:
                connection.sendall(self.request("GET", b"/events/listen/" + token))
                listen = self._listen if self.server.streams else self._collect
                return listen(connection, token)

        received = await deferToThread(inThread)
        self.assertEqual(received, b"".join(b"data: %d\n\n" % n for n in range(4)))
        if not self.server.streams:
            self.observed("at the end")

    def _listen(self, connection: socket.socket, token: bytes) -> bytes:
        """
        Have an event sent only when the one before has arrived.
        """
        with HTTPResponse(connection) as response:
            response.begin()
            received = response.read1()
            for number in (1, 2, 3):
                self.beside(b"/events/send/%b?data=%d" % (token, number))
                received += response.read1()
            self.beside(b"/events/end/" + token)
            return received + response.read()

    def _collect(self, connection: socket.socket, token: bytes) -> bytes:
        """
        Have all events sent, of which nothing arrives before the end.
        """
        # The application has to be asked for events before it can send them.
        while self.beside(b"/events/listening/" + token) != b"yes":
            pass
        for number in (1, 2, 3):
            self.beside(b"/events/send/%b?data=%d" % (token, number))
        self.assertEqual(select([connection], [], [], 0)[0], [], "it streams")
        self.beside(b"/events/end/" + token)
        return read(connection).body

    @case("range of a file, 304")
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

    @case("redirects")
    async def test_redirects(self) -> None:
        """
        Redirects are left to the client, with the code that the application
        chose, be they relative or absolute.
        """
        for code in (301, 302, 303, 307, 308):
            for to in ("/echo?from", "http://www.example.org/else?where"):
                target = f"/redirect?code={code}&to={to}".encode("ascii")
                answer = await self.ask(target)
                self.assertEqual(answer.status, code)
                self.assertEqual(answer.headers["Location"], to)
                self.assertIn(to.encode("ascii"), answer.body)

    @case("201 with Location")
    async def test_created(self) -> None:
        """
        Something new is told with its place.
        """
        answer = await self.ask(b"/created", "POST", body=b"new")
        self.assertEqual((answer.status, answer.body), (201, b"it is there"))
        self.assertEqual(answer.headers["Location"], "/echo?new")

    @case("Set-Cookie twice")
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

    @case("6 kB of cookies")
    async def test_largeCookies(self) -> None:
        """
        Many cookies arrive.
        """
        cookies = {f"cookie-{n}": f"{n:050d}" for n in range(96)}
        line = "; ".join(f"{name}={value}" for name, value in cookies.items())
        answer = await self.ask(b"/cookies", fields=[("Cookie", line)])
        self.assertEqual(answer.shown, cookies)

    @case("sessions")
    async def test_session(self) -> None:
        """
        Who comes back is known.
        """
        answer = await self.ask(b"/visits")
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        answer = await self.ask(b"/visits", fields=[("Cookie", cookie)])
        self.assertEqual(answer.body, b"2")

    @case("query")
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

    @case("60 request headers")
    async def test_manyFields(self) -> None:
        """
        60 header fields arrive, each with its value.
        """
        fields = {f"X-Field-{number}": f"value {number}" for number in range(60)}
        headers = (await self.ask(b"/echo", fields=fields.items())).shown["headers"]
        for name, value in fields.items():
            self.assertEqual(headers[name], [value])

    @case("request header of 6 kB")
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
        (host,) = headers["Host"]
        self.assertEqual(host.partition(":")[0], "www.example.com")

    async def passed(self, field: str, name: str, value: str) -> None:
        """
        A header field is passed on, or is not.

        @param name: What the application finds it as.
        """
        shown = (await self.ask(b"/echo", fields=[(field, value)])).shown
        passes = field.lower() in self.server.passes
        self.assertEqual(shown["headers"].get(name), [value] if passes else None)
        if not passes:
            self.observed("left out")

    @case("header field with an underscore")
    async def test_underscore(self) -> None:
        """
        A field whose name could pass for another one's.
        """
        await self.passed("X_Underscore", "X-Underscore", "value")

    @case("Authorization is passed on")
    async def test_authorization(self) -> None:
        """
        A name and a password, for an application that checks them.
        """
        await self.passed("Authorization", "Authorization", "Basic Ym9iOmJvYg==")

    @case("REMOTE_USER is somebody who was checked")
    async def test_user(self) -> None:
        """
        Where nobody has checked a password, there is no user.
        """
        fields = [("Authorization", "Basic Ym9iOmJvYg==")]
        user = (await self.ask(b"/echo", fields=fields)).shown["user"]
        self.assertEqual(user, "bob" if self.server.believes else "")
        if self.server.believes:
            self.observed("anybody")

    @case("response headers of 3.8 kB")
    async def test_largeHead(self) -> None:
        """
        A large header of a response arrives as a whole.
        """
        answer = await self.ask(b"/fields?size=3800")
        self.assertEqual((answer.status, answer.body), (200, b"fields"))
        names = [name.lower() for name in answer.headers]
        found = [name for name in names if name.startswith("x-field-")]
        self.assertEqual(len(found), 19)

    @case("response headers of 12 kB")
    async def test_hugeHead(self) -> None:
        """
        A header of a response that is larger than most arrives, or is refused.
        """
        answer = await self.ask(b"/fields?size=12000")
        self.assertEqual(answer.status, self.server.hugeHead)
        if answer.status != 200:
            self.observed(str(answer.status))

    @case("the client's address")
    async def test_client(self) -> None:
        """
        The application sees the client's address, not the web server's.
        """

        def inThread() -> tuple[Any, Answer]:
            with self.connected() as connection:
                connection.sendall(self.request("GET", b"/echo"))
                return connection.getsockname(), read(connection)

        address, answer = await deferToThread(inThread)
        self.assertEqual(answer.shown["client"], list(address))
        self.assertEqual(answer.shown["protocol"], "HTTP/1.1")
        self.assertEqual(answer.shown["secure"], False)

    async def test_software(self) -> None:
        """
        The web server is the one that it should be.
        """
        software = self.server.software or self.server.program
        answer = await self.ask(b"/echo")
        self.assertIn(software, answer.shown["software"].lower())

    @case("connections are kept")
    async def test_kept(self) -> None:
        """
        The web server keeps its connections to the application if it should, at
        least for one client.
        """

        def inThread() -> list[Answer]:
            answers = []
            with self.connected() as connection:
                for target in (b"/echo", b"/accepted", b"/", b"/accepted"):
                    connection.sendall(self.request("GET", target))
                    answers.append(read(connection))
            return answers

        echo, before, _, after = await deferToThread(inThread)
        self.assertEqual(echo.shown["kept"], self.server.keeps)
        made = int(after.body) - int(before.body)
        self.assertEqual(made, 0 if self.server.keeps else 2)
        if not self.server.keeps:
            self.observed("no")

    @case("status codes, 204 and 304 among them")
    async def test_statuses(self) -> None:
        """
        Status codes arrive, with the bodies that they may have.
        """
        for code in (200, 201, 204, 304, 400, 404, 418, 500, 503):
            answer = await self.ask(b"/status?code=%d" % code)
            body = b"" if code in (204, 304) else b"this is %d" % code
            self.assertEqual((answer.status, answer.body), (code, body))

    @case("2000 requests on a connection")
    async def test_inARow(self) -> None:
        """
        2000 requests in a row are all answered as they should be.  No connection
        of the client is closed unless that is announced.
        """
        kinds: list[tuple[str, str, bytes | None, int]] = [
            ("GET", "/", None, 200),
            ("POST", "/echo", b"x" * 4000, 200),
            ("HEAD", "/", None, 200),
            ("GET", "/status?code=404", None, 404),
            ("GET", "/status?code=204", None, 204),
        ]

        def inThread() -> list[int]:
            found = []
            address = ("127.0.0.1", self._running.address)
            prefix = self.server.prefix.decode("ascii")
            with closing(HTTPConnection(*address, timeout=PATIENCE)) as client:
                for method, target, body, _ in kinds * 400:
                    client.request(method, prefix + target, body)
                    with client.getresponse() as response:
                        response.read()
                        found.append(response.status)
            return found

        found = await deferToThread(inThread)
        self.assertEqual(found, [status for *_, status in kinds] * 400)

    @case("50 clients, slow resources")
    async def test_together(self) -> None:
        """
        50 clients at once: nobody is answered before all are waiting, or, if the
        web server sends one request at a time, all in turn.
        """
        together = self.server.together
        count = GUESTS if together else 1

        def inThread() -> list[Answer]:
            with ExitStack() as stack:
                guests = [stack.enter_context(self.connected()) for _ in range(GUESTS)]
                for guest in guests:
                    guest.sendall(self.request("GET", b"/meeting?guests=%d" % count))
                return [read(guest) for guest in guests]

        answers = await deferToThread(inThread)
        self.assertEqual({answer.status for answer in answers}, {200})
        numbers = sorted(int(answer.body) for answer in answers)
        self.assertEqual(numbers, list(range(GUESTS)) if together else [0] * GUESTS)
        if not together:
            self.observed("one request at a time")
