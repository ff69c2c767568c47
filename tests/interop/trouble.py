# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What must be seen behind every web server when something goes wrong.
"""

from __future__ import annotations

from http.client import IncompleteRead
from uuid import uuid4

from twisted.internet.threads import deferToThread

from tests.interop import application
from tests.interop.clients import Answer, Client, read
from tests.interop.record import case


class Troubled(Client):
    """
    Tests for one web server, with applications that fail and clients that go
    away.
    """

    @case("failure before the response")
    async def test_failure(self) -> None:
        """
        A page that fails is answered with 500, and logged.
        """
        answer = await self.ask(b"/fails")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"ZeroDivisionError", answer.body)
        self.assertIn("ZeroDivisionError: as it was asked for", self.newlyLogged())

    async def broken(self, target: bytes, kind: str) -> None:
        """
        A client can tell that a response is not whole, and is not left waiting
        for the rest; unless the web server hides it.
        """
        lingers = kind in self.server.lingers
        fields = [("Connection", "close")] if lingers else []
        try:
            answer = await self.send(self.request("GET", target, fields))
        except IncompleteRead as error:
            self.assertIn(error.partial[:10], (b"some of it", b"0123456789"))
            isSeen = True
        else:
            isSeen = answer.status >= 500
        self.assertEqual(isSeen, kind not in self.server.hides)
        if not isSeen:
            self.observed("taken for whole")
        elif lingers:
            self.observed("seen late on a kept connection")

    @case("failure during the response")
    async def test_failsLate(self) -> None:
        """
        A resource that fails after it has written 1 MB of no length.
        """
        await self.broken(b"/failslate", "failedLate")
        self.assertIn("as it was asked for, late", self.newlyLogged())

    @case("response broken off")
    async def test_brokenOff(self) -> None:
        """
        A response whose length was told, and that is given up.
        """
        await self.broken(b"/breaksoff", "brokenOff")

    @case("response too short")
    async def test_tooShort(self) -> None:
        """
        A response that is finished before it has the length that was told.
        """
        await self.broken(b"/miscounted?told=100000", "tooShort")

    @case("response too long")
    async def test_tooMuch(self) -> None:
        """
        Of a response that is longer than was told, nobody gets the rest, and
        connections stay in order.
        """

        def inThread() -> list[bytes]:
            bodies = []
            with self.connected() as connection:
                for target in (b"/miscounted?told=5", b"/status?code=200") * 2:
                    connection.sendall(self.request("GET", target))
                    bodies.append(read(connection).body)
            return bodies

        bodies = await deferToThread(inThread)
        self.assertEqual(bodies, [b"01234", b"this is 200"] * 2)

    @case("5 MB upload refused early with 413")
    async def test_refusedUpload(self) -> None:
        """
        What is too large for the application is answered with 413, which every
        client can read; if the web server does not wait for the upload, before
        it is sent.
        """
        fields = [("Content-Length", str(application.LARGE))]
        head = self.request("POST", b"/echo", fields)
        passes = self.server.passesUploads

        def inThread() -> Answer:
            with self.connected() as connection:
                connection.sendall(head + application.large()[:100_000])
                if not passes:
                    connection.sendall(application.large()[100_000:])
                return read(connection)

        answer = await deferToThread(inThread)
        self.assertEqual(answer.status, 413)
        if not passes:
            self.observed("413 after the upload")

    async def vanish(self, what: bytes) -> bytes:
        """
        Ask for something, wait until the application has got it, and go away.

        @return: What it is known as.
        """
        token = uuid4().hex.encode("ascii")

        def inThread() -> bytes:
            with self.connected() as connection:
                connection.sendall(
                    self.request("GET", b"/endings/%s/%s" % (what, token))
                )
                return self.beside(b"/endings/begun/" + token)

        self.assertEqual(await deferToThread(inThread), b"begun")
        return token

    async def ended(self, token: bytes, isTold: bool) -> None:
        """
        Something ends, and the application is told that the client has gone, or
        is not.
        """
        answer = await self.ask(b"/endings/ended/" + token)
        lost = (b"ConnectionDone", b"ConnectionLost")
        self.assertIn(answer.body, lost if isTold else (b"finished",))
        self.assertEqual((await self.ask(b"/")).status, 200)
        if not isTold:
            self.observed("not told")

    @case("client vanishes before the response")
    async def test_vanishesBefore(self) -> None:
        """
        A client that goes away while the application works.
        """
        isTold = "before" in self.server.tells
        token = await self.vanish(b"silent")
        if not isTold:
            await deferToThread(self.beside, b"/endings/finish/" + token)
        await self.ended(token, isTold)

    @case("client vanishes during the response")
    async def test_vanishesDuring(self) -> None:
        """
        A client that goes away in the midst of the answer.
        """
        isTold = "during" in self.server.tells
        token = await self.vanish(b"endless" if isTold else b"long")
        await self.ended(token, isTold)
