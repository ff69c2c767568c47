# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.notify}.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.programs import PATIENCE, SCRIPTS, STOPPED, ask, environment
from tests.tables import TableTestCase, table
from twisted_fastcgi.notify import NOTIFY_SOCKET, Notifier, NotifyService


class SocketMixin:
    """
    Listens as systemd does.
    """

    def setUp(self: Any) -> None:
        """
        Make a folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def listen(self: Any, isAbstract: bool = False) -> str:
        """
        Listen.

        @return: The address, as systemd tells it.
        """
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(PATIENCE)
        path = f"{self.folder}/notify"
        self.socket.bind(f"\0{path}" if isAbstract else path)
        return f"@{path}" if isAbstract else path

    def heard(self: Any) -> list[str]:
        """
        @return: The lines of the next message.
        """
        lines: list[str] = self.socket.recv(4096).decode().split("\n")
        return lines


class NotifierTests(SocketMixin, TableTestCase):
    """
    L{Notifier} sends messages.
    """

    def warnings(self, notifier: Notifier) -> list[str]:
        """
        Send two messages.

        @return: What is logged.
        """
        with capturedLogs() as events:
            notifier.ready("x")
            notifier.stopping("x")
        for event in events:
            self.assertEqual(event["log_level"], LogLevel.warn)
            self.assertEqual(event["log_namespace"], "twisted_fastcgi.notify.Notifier")
        return list(map(formatEvent, events))

    @table({"path": (False,), "abstract": (True,)})
    def test_messages(self, isAbstract: bool) -> None:
        """
        They arrive, at a path and at a name without one.
        """
        notifier = Notifier(self.listen(isAbstract))
        self.assertTrue(notifier)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.ready("serving caf\u00e9\nREADY=0")
        self.assertEqual(self.heard(), ["READY=1", "STATUS=serving caf\u00e9 READY=0"])
        notifier.reloading("new code")
        first, second, third = self.heard()
        self.assertEqual((first, third), ("RELOADING=1", "STATUS=new code"))
        name, _, microseconds = second.partition("=")
        self.assertEqual(name, "MONOTONIC_USEC")
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.assertTrue(before <= int(microseconds) <= after)
        notifier.stopping("bye")
        self.assertEqual(self.heard(), ["STOPPING=1", "STATUS=bye"])

    def test_nobody(self) -> None:
        """
        Without anybody to send to, nothing happens.
        """
        for variables in ({}, {NOTIFY_SOCKET: ""}):
            notifier = Notifier.fromEnvironment(variables)
            self.assertFalse(notifier)
            self.assertEqual(self.warnings(notifier), [])

    def test_environment(self) -> None:
        """
        The address is taken out of the environment.
        """
        variables = {NOTIFY_SOCKET: self.listen(), "OTHER": "x"}
        Notifier.fromEnvironment(variables).stopping("x")
        self.assertEqual(variables, {"OTHER": "x"})
        self.assertEqual(self.heard()[0], "STOPPING=1")

    @table(
        {
            "nobody there": ("/nosuch/socket", "No such file or directory"),
            "no socket": ("/dev/null", "Connection refused"),
            "relative": ("notify", "it is neither a path nor @ and a name"),
            "another family": ("vsock:2:1", "it is neither a path nor @ and a name"),
            "too long": ("/" + "x" * 200, "AF_UNIX path too long"),
        }
    )
    def test_wrong(self, address: str, why: str) -> None:
        """
        What can't be sent is one warning.
        """
        [line] = self.warnings(Notifier(address))
        message = "cannot tell the service manager (NOTIFY_SOCKET is "
        self.assertTrue(line.startswith(message), line)
        self.assertTrue(line.endswith(f"): {why}"), line)


class Server:
    """
    Serves, when it is told to.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.serving: Deferred[None] = Deferred()

    def whenServing(self) -> Deferred[None]:
        """
        Wait for it.
        """
        return self.serving


class Reactor:
    """
    A reactor that runs when its calls are made.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callWhenRunning(self, f: Any) -> None:
        self.calls.append(f)


class NotifyServiceTests(SocketMixin, SynchronousTestCase):
    """
    L{NotifyService} tells when all is ready.
    """

    def start(self, *descriptions: str) -> list[Server]:
        """
        Start it, and have it wait.
        """
        self.reactor = Reactor()
        servers = list(map(Server, descriptions))
        notifier = Notifier(self.listen())
        self.socket.setblocking(False)
        self.service = NotifyService(notifier, servers, self.reactor)
        self.service.startService()
        return servers

    def assertSilent(self) -> None:
        """
        See that nothing was sent.
        """
        self.assertRaises(BlockingIOError, self.heard)

    def test_ready(self) -> None:
        """
        That is when the reactor runs and all servers serve.
        """
        one, two, three = self.start("a on b", "", "c on d")
        one.serving.callback(None)
        two.serving.callback(None)
        self.assertSilent()
        self.reactor.calls[0]()
        self.assertSilent()
        three.serving.callback(None)
        self.assertEqual(self.heard(), ["READY=1", "STATUS=serving a on b and c on d"])

    def test_stopping(self) -> None:
        """
        The stop is told at once, and nothing after it.
        """
        (server,) = self.start("a on b")
        self.reactor.calls[0]()
        self.service.stopService()
        self.assertEqual(
            self.heard(), ["STOPPING=1", "STATUS=finishing the requests in hand"]
        )
        server.serving.callback(None)
        self.assertSilent()


class ProcessTests(SocketMixin, TableTestCase):
    """
    C{twistd fastcgi} and C{twist fastcgi} tell systemd.
    """

    @table(
        {
            f"{name}, {'abstract' if isAbstract else 'path'}": (command, isAbstract)
            for name, command in {
                "twist": "twist --log-format=text",
                "twistd": "twistd --nodaemon --pidfile=",
            }.items()
            for isAbstract in (False, True)
        }
    )
    def test_told(self, command: str, isAbstract: bool) -> None:
        """
        Who waits until it is ready can connect to all of its addresses then;
        the stop is told when it begins.
        """
        address = self.listen(isAbstract)
        paths = [f"{self.folder}/{name}" for name in "ab"]
        ports = " ".join(f"--port unix:{path}" for path in paths)
        log = Path(self.folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                f"{SCRIPTS}/{command} fastcgi {ports}".split(),
                cwd=self.folder,
                env=environment(**{NOTIFY_SOCKET: address}),
                stdout=output,
                stderr=output,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        where = f"serving a demonstration page on {paths[0]} and {paths[1]}"
        self.assertEqual(self.heard(), ["READY=1", f"STATUS={where}"])
        for path in paths:
            ask(path)
        self.assertIn(f"{where}; in nginx: ", log.read_text())
        process.terminate()
        self.assertEqual(self.heard()[0], "STOPPING=1")
        self.assertIn(process.wait(PATIENCE), STOPPED)
        self.assertNotIn("Traceback", log.read_text())

    def test_children(self) -> None:
        """
        What the application starts does not have the address.
        """
        script = Path(self.folder) / "variables.py"
        script.write_text(
            "import os, subprocess\n"
            "from twisted.web.resource import Resource\n"
            "class Root(Resource):\n"
            "    isLeaf = True\n"
            "    def render_GET(self, request):\n"
            "        return subprocess.check_output(['env'])\n"
        )
        path = f"{self.folder}/s"
        process = subprocess.Popen(
            [
                *(f"{SCRIPTS}/twist", "--log-file=log", "fastcgi"),
                *(f"--port=unix:{path}", "--resource=variables.Root"),
            ],
            cwd=self.folder,
            env=environment(**{NOTIFY_SOCKET: self.listen()}),
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.heard()
        said = ask(path)
        self.assertIn(b"PATH=", said)
        self.assertIsNone(re.search(rb"^NOTIFY_SOCKET=", said, re.M))
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        self.assertNotIn(NOTIFY_SOCKET, os.environ)
