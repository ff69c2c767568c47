# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The example that takes uploads while they arrive, behind web servers.
"""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from hashlib import sha256
from http.client import HTTPResponse, IncompleteRead
from time import monotonic
from uuid import uuid4

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.interop import (
    test_apache,
    test_caddy,
    test_h2o,
    test_haproxy,
    test_lighttpd,
    test_nginx,
)
from tests.interop.application import large
from tests.interop.clients import Answer, Client, read
from tests.interop.servers import Running, WebServer, served, webServerFor
from tests.programs import PATIENCE, ROOT, output, program

#: What is uploaded.
_BODY = large()[:2_000_000]

#: How much of it is sent at first.
_FIRST = 1_000_000

#: How much of that may be anywhere on its way.
_UNDERWAY = 150_000

#: What the example wants to see.
_TOKEN = ("X-Token", "secret")

_started: dict[str, Running] = {}


async def uploads() -> Running:
    """
    Run the example, if that is not yet done.
    """
    return await served("--resource", "tests.interop.uploading.root")


async def front(server: WebServer) -> Running:
    """
    Run a web server before it, if that is not yet done.
    """
    program(server.program)
    if server.name not in _started:
        _started[server.name] = await webServerFor(server, await uploads())
    return _started[server.name]


class Uploader(Client):
    """
    Uploads something.
    """

    timeout = 2 * PATIENCE

    async def setUp(self) -> None:
        """
        Start what is not running yet.
        """
        self._running = await front(self.server)
        self._logged = 0
        self.newlyLogged()
        self.name = uuid4().hex

    def start(self, connection: socket.socket, what: str) -> None:
        """
        Begin an upload.
        """
        fields = [_TOKEN, ("Content-Length", str(len(_BODY)))]
        target = f"/{what}/{self.name}".encode("ascii")
        head = self.request("PUT", target, fields)
        connection.sendall(head + _BODY[:_FIRST])

    def progress(self) -> str:
        """
        Ask how far it is, in a thread.
        """
        target = f"/progress/{self.name}".encode("ascii")
        return self.justAsk(target).decode("utf-8")

    def received(self) -> int:
        """
        Ask how much has come.
        """
        first, *_ = self.progress().split()
        return int(first) if first.isdigit() else 0

    def wait(self, text: str) -> None:
        """
        Wait until the progress has some words in it.
        """
        deadline = monotonic() + PATIENCE
        while text not in self.progress():
            assert monotonic() < deadline, self.progress()

    def waitForMost(self) -> None:
        """
        Wait until nearly all that was sent has come.
        """
        deadline = monotonic() + PATIENCE
        while self.received() < _FIRST - _UNDERWAY:
            assert monotonic() < deadline, self.progress()


class Uploading(Uploader):
    """
    Tests for one web server.

    @cvar passes: Whether it passes on uploads while they come.
    """

    passes = True

    async def test_progress(self) -> None:
        """
        The application gets what has been sent of an upload while the client
        still sends, if the web server lets it have that; and all of it in the
        end.
        """

        def inThread() -> Answer:
            with self.connected() as connection:
                self.start(connection, "files")
                if self.passes:
                    self.waitForMost()
                else:
                    self.assertEqual(self.progress(), "nothing\n")
                connection.sendall(_BODY[_FIRST:])
                return read(connection, "PUT")

        answer = await deferToThread(inThread)
        digest = sha256(_BODY).hexdigest().encode("ascii")
        self.assertEqual((answer.status, answer.body), (200, digest + b"\n"))
        progress = await deferToThread(self.progress)
        self.assertEqual(progress, f"{len(_BODY)} bytes, complete\n")

    async def test_gone(self) -> None:
        """
        What takes the body is told when the client goes away in the midst of
        it.
        """
        if not self.passes:
            return

        def inThread() -> None:
            with self.connected() as connection:
                self.start(connection, "files")
                self.waitForMost()
            self.wait("given up: ")

        await deferToThread(inThread)


class Refusing(Uploading):
    """
    Tests for one that lets the client see early that an upload is refused.
    """

    async def refused(self, *fields: tuple[str, str]) -> int:
        """
        Begin an upload of which nothing more is sent than its beginning.
        """
        head = self.request("PUT", b"/files/refused", fields)

        def inThread() -> Answer:
            with self.connected() as connection:
                connection.sendall(head + _BODY[:100_000])
                return read(connection, "PUT")

        return (await deferToThread(inThread)).status

    async def test_unauthorized(self) -> None:
        """
        An upload that nobody may make is refused when it has begun.
        """
        status = await self.refused(("Content-Length", str(len(_BODY))))
        self.assertEqual(status, 401)

    async def test_tooLarge(self) -> None:
        """
        So is one that is too large.
        """
        status = await self.refused(_TOKEN, ("Content-Length", str(2**31 + 1)))
        self.assertEqual(status, 413)


class Beginning(Uploading):
    """
    Tests for one that can have a response that begins early.
    """

    async def test_early(self) -> None:
        """
        The rest of the body comes after the response has begun.
        """

        def inThread() -> bytes:
            with self.connected() as connection:
                self.start(connection, "early")
                with HTTPResponse(connection, method="PUT") as response:
                    response.begin()
                    begun = response.read(6)
                    connection.sendall(_BODY[_FIRST:])
                    return begun + response.read()

        digest = sha256(_BODY).hexdigest().encode("ascii")
        body = await deferToThread(inThread)
        self.assertEqual(body, b"begun\n" + digest + b"\n")


class NginxTests(Refusing, TestCase):
    """
    nginx that passes on uploads.
    """

    _plain = test_nginx.StreamingNginxTests.server
    server = replace(
        _plain,
        name="nginx, uploads",
        replaced={
            **_plain.replaced,
            "client_max_body_size 10m": "client_max_body_size 0",
        },
    )


class EarlyNginxTests(Uploader, TestCase):
    """
    nginx that does so, and is soon tired of waiting.
    """

    server = replace(
        NginxTests.server,
        name="nginx, early responses",
        replaced={
            **NginxTests.server.replaced,
            "fastcgi_buffering off;": (
                "fastcgi_buffering off; fastcgi_read_timeout 2s;"
            ),
        },
    )

    async def test_trap(self) -> None:
        """
        As soon as nginx has the header of a response it sends no more of the
        upload: an application that begins its response and still waits for
        the body waits until nginx gives up, and the client can tell.
        """

        def inThread() -> int:
            with self.connected() as connection:
                self.start(connection, "early")
                with HTTPResponse(connection, method="PUT") as response:
                    response.begin()
                    self.assertEqual(response.read(6), b"begun\n")
                    connection.sendall(_BODY[_FIRST : _FIRST + 100_000])
                    for _ in range(20):
                        received = self.received()
                    self.assertRaises((IncompleteRead, ConnectionError), response.read)
                self.wait("given up: ")
            return received

        received = await deferToThread(inThread)
        self.assertTrue(0 <= received < _FIRST, received)


class BufferingNginxTests(Uploading, TestCase):
    """
    nginx as it comes, which takes in the whole upload first.
    """

    server = replace(test_nginx.NginxTests.server, name="nginx, whole uploads")
    passes = False


class LighttpdTests(Refusing, Beginning, TestCase):
    """
    lighttpd that passes on uploads.
    """

    server = replace(
        test_lighttpd.StreamingLighttpdTests.server, name="lighttpd, uploads"
    )


class ApacheTests(Uploading, TestCase):
    """
    Apache.
    """

    server = replace(test_apache.TCPApacheTests.server, name="Apache, uploads")


class HAProxyTests(Refusing, Beginning, TestCase):
    """
    HAProxy.
    """

    server = replace(test_haproxy.HAProxyTests.server, name="HAProxy, uploads")


class CaddyTests(Uploading, TestCase):
    """
    Caddy.
    """

    server = replace(test_caddy.CaddyTests.server, name="Caddy, uploads")


class H2OTests(Uploading, TestCase):
    """
    h2o, which takes in the whole upload first.
    """

    server = replace(test_h2o.H2OTests.server, name="h2o, uploads")
    passes = False


class MemoryTests(SynchronousTestCase):
    """
    What a large upload takes.
    """

    def test_upload(self) -> None:
        """
        While 64 MiB go through nginx the memory of the server grows by less
        than 8 MiB.
        """
        program("nginx")
        script = ROOT / "benchmarks/upload.py"
        told = output([sys.executable, script, "--mebibytes", "64"])
        self.assertRegex(told, r"64 MiB in \d+ s; -?[0-7]\.\d MiB more")
