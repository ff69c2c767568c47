# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Clients of web servers: blocking ones in threads, written apart from Twisted.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPResponse
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.interop.servers import WebServer, webServer
from tests.programs import PATIENCE, ask


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


class Client:
    """
    The base of the mixins with tests for one web server.

    @cvar server: The web server.
    @ivar outcome: What is written down if the test passes.
    """

    server: WebServer
    outcome: str
    assertEqual: Any
    assertIn: Any
    assertNotIn: Any
    assertTrue: Any

    async def setUp(self) -> None:
        """
        Start what is not running yet.
        """
        self._running = await webServer(self.server)
        self._logged = 0
        self.newlyLogged()
        if not self.server.together:
            # The application is there after the first request.
            await self.ask(b"/")

    def tearDown(self) -> None:
        """
        Nothing may have gone wrong unseen.
        """
        self.assertNotIn("Traceback", self.newlyLogged())

    def newlyLogged(self) -> str:
        """
        Tell what the application has logged since this was asked last.
        """
        before, log = self._logged, self._running.logged
        # Who is started by the web server may not have been asked yet.
        said = log.read_bytes() if log.exists() else b""
        self._logged = len(said)
        return said[before:].decode("utf-8", "replace")

    def observed(self, words: str) -> None:
        """
        Write down that the web server does something else than it should, as
        it is known to do.

        @param words: What it does, the same at each run.
        """
        self.outcome = words

    def request(
        self,
        method: str,
        target: bytes,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> bytes:
        """
        Write a request.

        @param target: Path and query, from where the application is.
        """
        told = [("Host", f"www.example.com:{self._running.address}"), *fields]
        if body is not None:
            told.append(("Content-Length", str(len(body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in told)
        path = self.server.prefix + target
        line = b"%s %s HTTP/1.1\r\n" % (method.encode("ascii"), path)
        return line + head.encode("latin-1") + b"\r\n" + (body or b"")

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """
        Connect to the web server.
        """
        address = ("127.0.0.1", self._running.address)
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
        closing = [("Connection", "close"), *fields]
        return self.send(self.request(method, target, closing, body), method)

    def send(self, sent: bytes, method: str = "GET") -> Deferred[Answer]:
        """
        Send a request as it is, on a connection of its own.
        """

        def inThread() -> Answer:
            with self.connected() as connection:
                connection.sendall(sent)
                return read(connection, method)

        return deferToThread(inThread)

    def beside(self, target: bytes) -> bytes:
        """
        Ask for something while the application has another request, in a
        thread: past the web server, if that sends one at a time.

        @return: The body of the answer.
        """
        if self.server.together:
            return self.justAsk(target)
        # Made by the web server, for the application to inherit.
        (path,) = (self._running.folder / "ipc").iterdir()
        name, _, query = target.decode("ascii").partition("?")
        variables = {"SCRIPT_NAME": "", "PATH_INFO": name, "QUERY_STRING": query}
        answer = ask(str(path), REQUEST_URI=target.decode("ascii"), **variables)
        return answer.partition(b"\r\n\r\n")[2]

    def justAsk(self, target: bytes) -> bytes:
        """
        Ask for something, in a thread.

        @return: The body of the answer.
        """
        with self.connected() as connection:
            connection.sendall(self.request("GET", target))
            return read(connection).body
