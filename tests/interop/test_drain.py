# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The server is stopped, or replaced by another one, while nginx passes on
requests over connections that it keeps.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop import test_nginx
from tests.interop.servers import Running, webServerFor
from tests.programs import PATIENCE, ROOT, SCRIPTS, environment

#: How many clients there are.
CLIENTS = 12

#: How many requests are answered before anything happens, and after it.
SOME = 40

PROGRAMS = {"twistd": "twistd --nodaemon --pidfile=", "twist": "twist"}


class Server:
    """
    A server of L{tests.interop.draining}.
    """

    def __init__(self, program: str, port: str, folder: Path, **options: Any) -> None:
        self._log = folder / f"{port.replace('/', '_')}.log"
        command = (
            f"{SCRIPTS}/{PROGRAMS[program]} fastcgi --port {port} --grace 20 "
            "--resource tests.interop.draining.root"
        )
        with self._log.open("ab") as log:
            self._start = log.tell()
            self._process = subprocess.Popen(
                command.split(),
                cwd=folder,
                env=environment(PYTHONPATH=str(ROOT)),
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )

    def said(self) -> str:
        """
        Tell what the server has written.
        """
        return self._log.read_text()[self._start :]

    def wait(self) -> None:
        """
        Wait until it serves.
        """
        deadline = monotonic() + PATIENCE
        while "serving" not in self.said():
            assert self._process.poll() is None, self.said()
            assert monotonic() < deadline, self.said()
            Event().wait(0.02)

    def stop(self) -> tuple[int, float]:
        """
        Stop it by SIGTERM.

        @return: Its exit status, and how long that took, in seconds.
        """
        start = monotonic()
        self._process.terminate()
        return self._process.wait(PATIENCE), monotonic() - start

    def kill(self) -> None:
        """
        Have it gone.
        """
        self._process.kill()
        self._process.wait()

    def got(self) -> set[str]:
        """
        Tell which requests its application has got.
        """
        return set(re.findall(r"got (/\d+)\.", self.said()))


class Load:
    """
    Clients that ask and ask.

    @ivar answers: The status of each request, by its name; 0 if the answer was
        cut off or is that of another request.
    """

    def __init__(
        self,
        port: int,
        methods: Sequence[str] = ("GET", "PUT", "PUT"),
        size: int = 50000,
    ) -> None:
        """
        @param port: That of the web server.
        @param methods: With which methods to ask in turn, the first one without a
            body.
        @param size: How many bytes some of the requests have: without any they are
            all for pages.
        """
        self.answers: dict[str, int] = {}
        self._port = port
        self._methods = methods
        self._size = size
        self._numbers = count()
        self._lock = Lock()
        self._over = Event()
        self._threads = [Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        """
        Be one client.
        """
        while not self._over.is_set():
            with self._lock:
                number = next(self._numbers)
            name = f"/{number}"
            turn = number % 3 if self._size else 0
            body = b"x" * (turn * self._size)
            status = self._ask(self._methods[turn], name, body)
            with self._lock:
                self.answers[name] = status
            if status != 200:
                # As a client would that tries again a little later.
                self._over.wait(0.05)

    def _ask(self, method: str, name: str, body: bytes) -> int:
        """
        Ask once.
        """
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            # nginx tries GET and PUT again on another connection, if it finds that
            # one is just being closed.
            connection.request(method, name, body or None)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
        right = f"{name} {len(body)}".encode()
        return 0 if answer.status == 200 and text != right else answer.status

    def good(self) -> int:
        """
        Tell how many good answers there were.
        """
        with self._lock:
            return Counter(self.answers.values())[200]

    def waitForGood(self, more: int = SOME) -> None:
        """
        Wait for some more good answers.
        """
        before, deadline = self.good(), monotonic() + PATIENCE
        while self.good() < before + more:
            assert monotonic() < deadline, self.answers
            Event().wait(0.02)

    def finish(self) -> Counter[int]:
        """
        Let the clients be done.

        @return: How often there was which status.
        """
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        return Counter(self.answers.values())


class DrainTests(TestCase):
    """
    Nothing that was accepted is lost.
    """

    timeout = 4 * PATIENCE

    async def start(self) -> None:
        """
        Run nginx in front of a socket where nobody listens yet.
        """
        self.behind = Running()
        self.folder = self.behind.folder
        self.socket = self.folder / "app.sock"
        self.behind.values = {"SOCKET": str(self.socket), "TCP": "1"}
        self.front = front = await webServerFor(
            test_nginx.KeepingNginxTests.server, self.behind
        )
        self.addCleanup(front.stop)
        self.port: Any = front.address
        self.servers: list[Server] = []

    def serve(self, program: str, port: str = "", **options: Any) -> Server:
        """
        Start a server, and wait until it serves.
        """
        address = port or f"unix:{self.socket}"
        server = Server(program, address, self.folder, **options)
        self.addCleanup(server.kill)
        server.wait()
        self.servers.append(server)
        return server

    def load(self) -> Load:
        """
        Begin to ask, until there are answers.
        """
        load = Load(self.port)
        self.addCleanup(load.finish)
        load.waitForGood()
        return load

    def assertStopped(self, stopped: tuple[int, float]) -> None:
        """
        See that a server has stopped as it should: well within its grace.
        """
        code, seconds = stopped
        said = [
            line for line in self.servers[0].said().splitlines() if "got" not in line
        ]
        self.assertEqual(code, 0, said)
        # The machine may be busy; nothing was aborted at the end of the grace.
        self.assertNotIn("aborted", "".join(said))
        self.assertLess(seconds, PATIENCE)

    def assertNothingLost(self, load: Load, allowed: set[int]) -> Counter[int]:
        """
        See that each request that an application has got was answered, and
        which other answers there were.
        """
        statuses = load.finish()
        complaints = [
            line for line in self.front.said().splitlines() if "upstream" in line
        ]
        self.assertEqual(set(statuses) - {200} - allowed, set(), complaints)
        good = {name for name, status in load.answers.items() if status == 200}
        got = set().union(*(server.got() for server in self.servers))
        self.assertEqual(got, good)
        return statuses

    async def check(self, work: Any, *arguments: str) -> None:
        """
        Do something that waits, with nginx running.
        """
        await self.start()
        await deferToThread(work, *arguments)

    def stops(self, program: str) -> None:
        """
        Stop a server.
        """
        server = self.serve(program)
        load = self.load()
        self.assertStopped(server.stop())
        # nginx says 502 when nobody listens any more.
        statuses = self.assertNothingLost(load, {502, 503})
        self.assertGreater(statuses[200], SOME)

    def restarts(self, program: str) -> None:
        """
        Stop a server, and start another one at the same path.
        """
        server = self.serve(program)
        load = self.load()
        self.assertStopped(server.stop())
        self.serve(program)
        load.waitForGood()
        self.assertNothingLost(load, {502, 503})

    def takesOver(self, program: str) -> None:
        """
        Start the next server beside the first, move its socket to the path of
        the first, and stop that.
        """
        server = self.serve(program)
        load = self.load()
        following = f"{self.socket}.next"
        self.serve(program, f"unix:{following}")
        os.rename(following, self.socket)
        self.assertStopped(server.stop())
        load.waitForGood()
        self.assertTrue(self.socket.exists())
        self.assertNothingLost(load, {503})

    def inherits(self, program: str) -> None:
        """
        Stop a server and start another one, while the socket is that of
        somebody else, as systemd does it.
        """
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.socket))
            self.socket.chmod(0o666)
            listening.listen(1000)
            server = self.serve(program, "fcgi:", stdin=listening)
            load = self.load()
            self.assertStopped(server.stop())
            self.serve(program, "fcgi:", stdin=listening)
            load.waitForGood()
            self.assertNothingLost(load, {503})


def _add(name: str, work: str, program: str, doc: str) -> None:
    """
    Add a test for a program.
    """

    async def test(self: DrainTests) -> None:
        await self.check(getattr(self, work), program)

    test.__doc__ = doc
    test.__name__ = f"test_{name}_{program}"
    setattr(DrainTests, test.__name__, test)


for _program in PROGRAMS:
    _add(
        "stop",
        "stops",
        _program,
        """
        Stopped under load, the server answers all that its application has
        got, refuses what comes later with 503, and ends with exit status 0.
        """,
    )
    _add(
        "restart",
        "restarts",
        _program,
        """
        A restart at the same path loses nothing; while nobody listens, nginx
        says 502.
        """,
    )
    _add(
        "takeOver",
        "takesOver",
        _program,
        """
        When the next server takes over the path before the first one is
        stopped, nobody gets a 502, and the socket stays.
        """,
    )
    _add(
        "inherited",
        "inherits",
        _program,
        """
        When the socket stays open, requests wait for the next server, and
        nobody gets a 502.
        """,
    )
