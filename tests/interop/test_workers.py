# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Several processes on the same sockets, with real signals, also behind nginx.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from threading import Event, Thread
from time import monotonic
from typing import Any
from unittest import SkipTest, skipIf

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests import wire
from tests.interop import test_nginx
from tests.interop.servers import Running, freePort, webServerFor
from tests.interop.test_drain import CLIENTS, PROGRAMS, Load
from tests.programs import PATIENCE, ROOT, SCRIPTS, ask, environment
from twisted_fastcgi.records import Role

#: Tells who it is; and answers other requests a little later, as the application
#: of other tests of the drain does.
APPLICATION = """
    import os

    from tests.interop.draining import Root as Slow

    VERSION = "one"

    class Root(Slow):
        def render_GET(self, request):
            if request.path == b"/who":
                number = os.environ["TWISTED_FASTCGI_WORKER"]
                return f"{VERSION} {number} {os.getpid()}".encode()
            if request.path == b"/environment":
                return " ".join(os.environ).encode()
            if request.path == b"/folder":
                return os.getcwd().encode()
            if request.path == b"/fail":
                raise ValueError("what is wrong")
            return super().render_GET(request)

        render_PUT = render_POST = render_GET

    root = Root()
"""

NOT_ROOT = os.geteuid() != 0

#: Somebody who is not root, and a group of his.
NOBODY = 65534


class Parent:
    """
    A server with workers.
    """

    def __init__(
        self, folder: Path, *arguments: str, program: str = "twist", **options: Any
    ) -> None:
        """
        @param arguments: Options of C{fastcgi} beside the usual ones.
        @param program: What runs it: a key of L{PROGRAMS}, or a whole command.
        @param options: For L{subprocess.Popen}; and C{changes} of the environment,
            and the C{application}, if it is another one.
        """
        command = PROGRAMS.get(program)
        if command is not None:
            program = f"{SCRIPTS}/{command}"
        if program.endswith("twist"):
            program += " --log-format text"
        self._log = folder / f"workers{len(os.listdir(folder))}.log"
        changes = {"PYTHONPATH": str(ROOT), **options.pop("changes", {})}
        application = options.pop("application", "--resource app.root")
        fixed = f"{program} fastcgi --workers 2 --grace 20 {application}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*fixed.split(), *arguments],
                cwd=folder,
                env=environment(**changes),
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )

    def said(self) -> str:
        """
        Tell what is in its log.
        """
        return self._log.read_bytes().decode("utf-8", "replace")

    def wait(self, pattern: str, count: int = 1) -> list[Any]:
        """
        Wait until something is in the log so many times.
        """
        deadline = monotonic() + PATIENCE
        while len(found := re.findall(pattern, self.said())) < count:
            assert self.process.poll() is None, self.said()
            assert monotonic() < deadline, self.said()
            Event().wait(0.02)
        return found

    def workers(self, count: int = 2) -> list[int]:
        """
        Wait until so many workers have begun to serve.

        @return: The numbers of their processes, in that order.
        """
        return [int(pid) for pid in self.wait(r"\(pid (\d+)\) serves", count)]

    def signal(self, number: int) -> None:
        """
        Send a signal.
        """
        self.process.send_signal(number)

    def end(self) -> int:
        """
        Wait for the end.
        """
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        """
        Stop it.

        @return: The exit status.
        """
        self.signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """
        Have it gone, and its workers.
        """
        self.process.kill()
        self.process.wait()

    def got(self) -> set[str]:
        """
        Tell which requests its application has got.
        """
        return set(re.findall(r"got (/\d+)\.", self.said()))


class FolderMixin:
    """
    Has an application in a folder.
    """

    def makeFolder(self: Any, folder: Path) -> None:
        """
        Write the application.
        """
        self.folder = folder
        self.path = str(folder / "s")
        self.write("one")

    def write(self: Any, version: str, more: str = "") -> None:
        """
        Write some version of the application.
        """
        text = dedent(APPLICATION).replace('"one"', repr(version)) + more
        (self.folder / "app.py").write_text(text)
        # Two versions within a second look the same to Python.
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)

    def serve(self: Any, *arguments: str, **options: Any) -> Parent:
        """
        Start workers on the Unix socket, if nothing else is said, and wait for
        them.
        """
        chosen = arguments or ("--port", f"unix:{self.path}")
        parent = Parent(self.folder, *chosen, **options)
        self.addCleanup(parent.kill)
        parent.workers()
        return parent

    def ask(self: Any, path: str) -> str:
        """
        Ask for something at the Unix socket.
        """
        answer = ask(self.path, REQUEST_URI=path, SCRIPT_NAME=path)
        return answer.partition(b"\r\n\r\n")[2].decode()

    def who(self: Any, *stopped: int) -> tuple[str, int, int]:
        """
        Ask who answers while some processes can't.
        """
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            version, number, pid = self.ask("/who").split()
        finally:
            for each in stopped:
                os.kill(each, signal.SIGCONT)
        return version, int(number), int(pid)

    def assertGone(self: Any, pids: Sequence[int]) -> None:
        """
        Wait until processes have ended.
        """
        deadline = monotonic() + PATIENCE
        while any(map(_exists, pids)):
            self.assertLess(monotonic(), deadline)
            Event().wait(0.02)


def _answer(connection: socket.socket) -> str:
    """
    Read the answer to one request.
    """
    received = b""
    while not (received and wire.responses(received, unfinished=True)[-1].ended):
        data = connection.recv(65536)
        assert data, "the connection was closed"
        received += data
    return wire.response(received).body.decode()


def _exists(pid: int) -> bool:
    """
    Tell whether there is a process, other than one that has ended and that nobody
    has taken note of.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class LifeTests(FolderMixin, SynchronousTestCase):
    """
    Workers start, serve, and end.
    """

    def setUp(self) -> None:
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        Path(folder.name).chmod(0o755)
        self.makeFolder(Path(folder.name))

    def test_programs(self) -> None:
        """
        With C{twist} and C{twistd}, on a Unix socket, each of two workers serves;
        at SIGTERM all end, with exit status 0, and the socket is removed.
        """
        for program in PROGRAMS:
            parent = self.serve(program=program)
            first, second = parent.workers()
            self.assertEqual(self.who(first)[2], second)
            self.assertEqual(self.who(second)[2], first)
            self.assertEqual({self.who(first)[1], self.who(second)[1]}, {1, 2})
            self.assertEqual(parent.stop(), 0, parent.said())
            self.assertGone([first, second])
            self.assertFalse(os.path.exists(self.path))
            self.assertIn("serving app.root by 2 workers on", parent.said())

    def test_tcp(self) -> None:
        """
        A TCP port, whose list of peers the workers mind, is shared as well.
        """
        port = freePort()
        where = ("--port", f"tcp:{port}:interface=127.0.0.1")
        for allowed, answers in (("127.0.0.1", b"\1"), ("10.0.0.1", b"")):
            parent = self.serve(*where, "--allow", allowed)
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                # GET_VALUES, which a server answers at once.
                client.sendall(bytes((1, 9, 0, 0, 0, 0, 0, 0)))
                try:
                    answer = client.recv(1)
                except ConnectionResetError:
                    answer = b""
            self.assertEqual(answer, answers)
            self.assertEqual(parent.stop(), 0, parent.said())

    def test_inherited(self) -> None:
        """
        A socket that the parent was started with is shared, and left as it is.
        """
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen(100)
            for _ in range(2):
                parent = self.serve("--port", "fcgi:", stdin=listening)
                first, second = parent.workers()
                self.assertEqual(self.who(first)[2], second)
                self.assertEqual(parent.stop(), 0, parent.said())
            self.assertTrue(os.path.exists(self.path))

    def test_systemd(self) -> None:
        """
        So is one of systemd's, whose variables the workers do not get.
        """
        script = 'LISTEN_PID=$$ exec "$@" 3<&0 0</dev/null'
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen(100)
            folder = self.folder / "as-systemd"
            folder.write_text(f'#!/bin/sh\nset -- {SCRIPTS}/twist "$@"\n{script}\n')
            folder.chmod(0o755)
            parent = self.serve(
                *("--port", "systemd:domain=UNIX:index=0"),
                program=f"{folder} --log-format text",
                stdin=listening,
                changes={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "app.socket"},
            )
            names = self.ask("/environment").split()
            self.assertIn("TWISTED_FASTCGI_WORKER", names)
            for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
                self.assertNotIn(name, names)
            self.assertNotIn("TWISTED_FASTCGI_LINK", names)
            self.assertEqual(parent.stop(), 0, parent.said())

    def test_notified(self) -> None:
        """
        systemd is told when all workers serve, when they are replaced, and of the
        stop; by the parent alone.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(PATIENCE)
            manager.bind(f"{self.path}.notify")
            where = {"NOTIFY_SOCKET": f"{self.path}.notify"}
            parent = self.serve(changes=where)
            self.assertNotIn("NOTIFY_SOCKET", self.ask("/environment").split())
            serving = "READY=1\nSTATUS=serving app.root by 2 workers on"
            self.assertTrue(manager.recv(999).decode().startswith(serving))
            parent.signal(signal.SIGHUP)
            self.assertIn(b"RELOADING=1", manager.recv(999))
            self.assertTrue(manager.recv(999).decode().startswith(serving))
            self.assertIn("all workers are replaced", parent.said())
            self.assertEqual(parent.stop(), 0, parent.said())
            self.assertIn(b"STOPPING=1", manager.recv(999))
            manager.setblocking(False)
            self.assertRaises(BlockingIOError, manager.recv, 999)

    def test_log(self) -> None:
        """
        The log names the worker in each line of it, and has tracebacks as they
        are.
        """
        parent = self.serve()
        pid = self.who()[2]
        self.assertRaises(AssertionError, self.ask, "/fail")
        self.ask("/1")
        parent.wait("got")
        self.assertEqual(parent.stop(), 0)
        said = parent.said()
        self.assertIn(f"(pid {pid})", said)
        self.assertRegex(said, r"#info\] worker \d \(pid \d+\): got /1\.")
        self.assertRegex(said, r"\[twisted_fastcgi.*#critical\] worker \d \(pid \d+\)")
        self.assertIn("builtins.ValueError: what is wrong", said)
        who = f"uid {os.geteuid()}, gid {os.getegid()}"
        self.assertEqual(len(re.findall(rf"pid \d+\) serves, {who}", said)), 2)
        for pid in parent.workers():
            self.assertIn(f"(pid {pid}) has left: it ended with exit status 0", said)

    def test_broken(self) -> None:
        """
        An application that can't be loaded ends all, with exit status 1, and a
        line that says why.
        """
        parent = Parent(
            self.folder, "--port", f"unix:{self.path}", "--mount", "nowhere"
        )
        self.addCleanup(parent.kill)
        self.assertEqual(parent.end(), 1)
        self.assertIn("Error: --mount: ", parent.said())
        self.assertIn("before it served", parent.said())
        self.assertFalse(os.path.exists(self.path))

    def test_unshared(self) -> None:
        """
        What can't be shared is refused at once.
        """
        parent = Parent(self.folder, "--port", f"haproxy:unix:{self.path}")
        self.addCleanup(parent.kill)
        self.assertEqual(parent.end(), 1)
        self.assertIn("several workers can't share what it makes", parent.said())

    def test_hangs(self) -> None:
        """
        A worker that hangs is killed at the end of the grace.
        """
        parent = self.serve("--port", f"unix:{self.path}", "--grace", "1")
        first, second = parent.workers()
        os.kill(first, signal.SIGSTOP)
        self.assertEqual(parent.stop(), 0, parent.said())
        self.assertIn(f"(pid {first}) is killed: it did not end", parent.said())
        self.assertIn(f"(pid {second}) has left: it ended with", parent.said())
        self.assertGone([first, second])

    def keptConnections(self, count: int, *where: Any) -> list[Any]:
        """
        Connect as a web server does that keeps its connections.
        """
        made = []
        for _ in range(count):
            family, address = where or (socket.AF_UNIX, self.path)
            connection = socket.socket(family)
            self.addCleanup(connection.close)
            connection.settimeout(PATIENCE)
            connection.connect(address)
            made.append(connection)
        return made

    def exchange(self, connections: Sequence[Any], **changes: bytes) -> list[Any]:
        """
        Send a request on each connection, then read the answers.
        """
        question = wire.request(wire.variables(b"/who", **changes))
        for connection in connections:
            connection.sendall(question)
        return [_answer(connection) for connection in connections]

    def descriptors(self, pid: int) -> int:
        """
        Tell how many descriptors a process has.
        """
        return len(os.listdir(f"/proc/{pid}/fd"))

    def handedOver(self, *where: Any) -> None:
        """
        Replace the workers while there are kept connections, with and without a
        request; and see that the connections go on, that all is counted once, and
        that nobody keeps descriptors.
        """
        options = ["--status-path", "/status"]
        port = f"tcp:{where[1][1]}:interface=127.0.0.1" if where else None
        parent = self.serve("--port", port or f"unix:{self.path}", *options)
        before = self.descriptors(parent.process.pid)
        idle = self.keptConnections(150, *where)
        fresh = self.keptConnections(20, *where)
        pids = {int(answer.split()[2]) for answer in self.exchange(idle)}
        self.assertLessEqual(pids, set(parent.workers()))
        for times in (1, 2):
            busy = self.keptConnections(8, *where)
            question = wire.request(wire.variables(b"/7"))
            for connection in busy:
                connection.sendall(question)
            parent.wait(r"got /7\.", 8 * times)
            parent.signal(signal.SIGHUP)
            parent.wait("all workers are replaced", times)
            self.assertEqual({_answer(each) for each in busy}, {"/7 0"})
            idle += busy
            *_, first, second = parent.workers(2 + 2 * times)
            pids = {int(answer.split()[2]) for answer in self.exchange(idle + fresh)}
            self.assertLessEqual(pids, {first, second})
        asked = {"REQUEST_URI": b"/status?json", "SCRIPT_NAME": b"/status"}
        changes = {**asked, "QUERY_STRING": b"json", "REMOTE_ADDR": b"127.0.0.1"}
        (status,) = self.exchange(idle[:1], **changes)
        found = json.loads(status)
        self.assertEqual(found["connections"]["accepted"], 186)
        self.assertEqual(found["connections"]["open"], 186)
        self.assertEqual(self.descriptors(parent.process.pid), before)
        held = sum(map(self.descriptors, (first, second)))
        for connection in idle + fresh:
            connection.close()
        deadline = monotonic() + PATIENCE
        while sum(map(self.descriptors, (first, second))) > held - 186:
            self.assertLess(monotonic(), deadline)
            Event().wait(0.02)
        self.assertEqual(parent.stop(), 0, parent.said())

    def test_handedOver(self) -> None:
        """
        No connection is closed by a reload.
        """
        self.handedOver()

    def test_handedOverTCP(self) -> None:
        """
        So it is with TCP.
        """
        self.handedOver(socket.AF_INET, ("127.0.0.1", freePort()))

    def test_orphans(self) -> None:
        """
        When the parent is killed, the workers end by themselves.
        """
        parent = self.serve()
        workers = parent.workers()
        self.assertTrue(all(map(_exists, workers)))
        parent.kill()
        self.assertGone(workers)

    def test_reloadAndStop(self) -> None:
        """
        A stop during a reload ends old and new workers.
        """
        parent = self.serve()
        parent.signal(signal.SIGHUP)
        parent.wait("replaced one after another")
        self.assertEqual(parent.stop(), 0, parent.said())
        self.assertGone(parent.workers())

    def test_group(self) -> None:
        """
        Signals to the whole group of processes do no harm: SIGHUP replaces the
        workers, and does not end them; at SIGTERM and Ctrl-C all finish what they
        have, and end.
        """
        # A shell has its background jobs ignore Ctrl-C, and so what they run.
        self.addCleanup(
            signal.signal,
            signal.SIGINT,
            signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        for number, codes in (
            (signal.SIGTERM, (0,)),
            (signal.SIGINT, (0, -signal.SIGINT)),
        ):
            parent = self.serve(start_new_session=True)
            group = parent.process.pid
            os.killpg(group, signal.SIGHUP)
            parent.wait("all workers are replaced")
            self.assertNotIn("was killed", parent.said())
            answers: list[str] = []
            client = Thread(target=lambda to=answers: to.append(self.ask("/1")))
            client.start()
            parent.wait("got /1")
            os.killpg(group, number)
            self.assertIn(parent.end(), codes, parent.said())
            self.assertNotIn("Traceback", parent.said())
            client.join()
            self.assertEqual(answers, ["/1 0"])

    def test_kinds(self) -> None:
        """
        A WSGI application, an authorizer, a place in the path, the status and the
        access log as JSON are the same with workers: all of them have the options.
        """
        more = """
            from twisted_fastcgi import Allow
            from zope.interface import implementer
            from twisted_fastcgi import IAuthorizer

            def wsgi(environ, start):
                start("200 OK", [])
                names = ("SCRIPT_NAME", "PATH_INFO")
                yield " ".join(environ[name] for name in names).encode()

            @implementer(IAuthorizer)
            class Allowing:
                def authorize(self, request):
                    return Allow({"WORKER": os.environ["TWISTED_FASTCGI_WORKER"]})
        """
        self.write("one", dedent(more))
        chosen = (
            *("--port", f"unix:{self.path}", "--mount", "/app"),
            *("--logfile", "log.json", "--log-format", "json"),
            *("--status-path", "/status", "--authorizer", "app.Allowing"),
        )
        parent = self.serve(*chosen, application="--wsgi app.wsgi")
        pids = parent.workers()
        allowed = set()
        for stopped in pids:
            os.kill(stopped, signal.SIGSTOP)
            try:
                self.assertEqual(self.ask("/app/x"), "/app /x")
                allowed.add(ask(self.path, Role.AUTHORIZER))
            finally:
                os.kill(stopped, signal.SIGCONT)
        self.assertEqual(
            allowed,
            {b"Status: 200 OK\r\nVariable-WORKER: %d\r\n\r\n" % n for n in (1, 2)},
        )
        where = {"REQUEST_URI": "/status?json", "SCRIPT_NAME": "/status"}
        client = {"QUERY_STRING": "json", "REMOTE_ADDR": "127.0.0.1"}
        status = ask(self.path, **where, **client).partition(b"\r\n\r\n")[2]
        told = json.loads(status)["processes"]
        self.assertEqual([each["worker"] for each in told], [1, 2])
        self.assertEqual(parent.stop(), 0, parent.said())
        lines = (self.folder / "log.json").read_text().splitlines()
        seen = [(each["path"], each["worker"]) for each in map(json.loads, lines)]
        self.assertIn(("/app/x", 1), seen)
        self.assertIn(("/app/x", 2), seen)

    def test_flood(self) -> None:
        """
        A worker that prints without end keeps neither the parent nor the other one
        from what they do, and still answers.
        """
        more = """
            from threading import Thread

            def flood():
                while True:
                    print("flood")

            if os.environ["TWISTED_FASTCGI_WORKER"] == "1":
                Thread(target=flood, daemon=True).start()
        """
        self.write("one", dedent(more))
        parent = self.serve("--port", f"unix:{self.path}", "--grace", "1")
        first, second = parent.workers()
        parent.wait("flood")
        self.assertEqual({self.who(first)[1], self.who(second)[1]}, {1, 2})
        self.write("two")
        parent.signal(signal.SIGHUP)
        parent.wait("all workers are replaced")
        self.assertEqual(self.who()[0], "two")
        self.assertGone([first, second])
        self.assertEqual(parent.stop(), 0)

    def test_parentStopped(self) -> None:
        """
        While the parent can't do anything the workers serve, and one that dies comes
        again afterwards.
        """
        parent = self.serve()
        first, second = parent.workers()
        _, number, pid = self.who(second)
        self.assertEqual(pid, first)
        parent.signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.who(first)[2], second)
            os.kill(first, signal.SIGKILL)
            self.assertGone([first])
            self.assertEqual(self.who()[2], second)
        finally:
            parent.signal(signal.SIGCONT)
        third = parent.workers(3)[2]
        self.assertEqual(self.who(second)[1:], (number, third))
        self.assertEqual(parent.stop(), 0, parent.said())

    def test_terminal(self) -> None:
        """
        When the terminal is closed in which it was started, all end; under C{nohup}
        they go on.
        """
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            master, slave = os.openpty()

            def prepare(fd: int = slave, handler: Any = handler) -> None:
                fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
                signal.signal(signal.SIGHUP, handler)

            parent = self.serve(stdin=slave, start_new_session=True, preexec_fn=prepare)
            parent.signal(signal.SIGHUP)
            parent.wait("all workers are replaced")
            os.close(slave)
            os.close(master)
            if handler is signal.SIG_DFL:
                self.assertEqual(parent.end(), 0, parent.said())
                self.assertEqual(parent.said().count("all workers are replaced"), 1)
            else:
                parent.wait("all workers are replaced", 2)
                self.assertEqual(parent.stop(), 0, parent.said())

    def test_accessLog(self) -> None:
        """
        All workers write whole lines to the access log, also after it was rotated.
        """
        path = self.folder / "access.log"
        parent = self.serve("--port", f"unix:{self.path}", "--logfile", "access.log")
        first, second = parent.workers()
        answered = [self.who(*stop)[2] for stop in ((), (first,), (second,))]
        self.assertEqual(set(answered), {first, second})
        path.rename(self.folder / "old.log")
        parent.signal(signal.SIGUSR1)
        deadline = monotonic() + PATIENCE
        while not path.exists():
            self.assertLess(monotonic(), deadline)
            Event().wait(0.02)
        self.assertEqual(parent.stop(), 0, parent.said())
        lines = (self.folder / "old.log").read_text().splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertRegex(
                line, r'^- - - \[.*\] "GET /who HTTP/1.1" 200 \d+ "-" "-"$'
            )

    @skipIf(NOT_ROOT, "only root may become somebody else")
    def test_shed(self) -> None:
        """
        With C{twistd --uid} workers are whom the parent becomes; they write to the
        access log that the parent has made as root; and they work in the folder of
        C{--rundir}, and load the application from where they were started.
        """
        python = _pythonForAll()
        place = self.folder / "run"
        place.mkdir()
        shutil.chown(place, NOBODY, NOBODY)
        packages = Path(sys.modules["twisted"].__file__ or "").parent.parent
        path = os.pathsep.join((str(ROOT), str(packages)))
        self.path = str(place / "s")
        parent = self.serve(
            *("--port", f"unix:{self.path}", "--logfile", "access.log"),
            program=f"{python} {SCRIPTS}/twistd -n --pidfile= --uid={NOBODY} "
            f"--gid={NOBODY} --rundir={place}",
            changes={"PYTHONPATH": path},
        )
        self.assertEqual(
            len(re.findall("serves, uid 65534, gid 65534", parent.said())), 2
        )
        self.assertEqual(self.ask("/folder"), os.path.realpath(place))
        self.assertEqual(parent.stop(), 0, parent.said())
        self.assertIn("GET /folder", (self.folder / "access.log").read_text())
        self.assertFalse(os.path.exists(self.path))


def _pythonForAll() -> str:
    """
    Find a Python like this one that everybody may run.
    """
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        path = Path(python).resolve()
        steps = (path, *path.parents) if path.exists() else ()
        if steps and all(step.stat().st_mode & 0o001 for step in steps):
            return python
    raise SkipTest("there is no Python that somebody else than root may run")


class LoadTests(FolderMixin, TestCase):
    """
    Behind nginx, under load.
    """

    timeout = 8 * PATIENCE

    async def start(self, front: Any) -> None:
        """
        Run nginx in front of a socket, and workers on that.
        """
        behind = Running()
        self.makeFolder(behind.folder)
        behind.values = {"SOCKET": self.path, "TCP": "1"}
        self.front = await webServerFor(front, behind)
        self.addCleanup(self.front.stop)
        self.port: Any = self.front.address

    methods = ("GET", "PUT", "POST")

    def load(self) -> Load:
        """
        Begin to ask, until there are answers.
        """
        load = Load(self.port, self.methods)
        self.addCleanup(load.finish)
        load.waitForGood()
        return load

    def assertNoneFailed(self, load: Load, parent: Parent) -> None:
        """
        See that all requests had a good answer, of the application.
        """
        statuses = load.finish()
        self.assertEqual(set(statuses), {200}, (statuses, self.front.said()))
        self.assertEqual(parent.stop(), 0, parent.said())
        self.assertEqual(parent.got(), set(load.answers))

    def reload(self) -> None:
        """
        Replace the workers, three times.
        """
        parent = self.serve()
        load = self.load()
        for times, version in enumerate(("two", "three", "four"), 1):
            self.write(version)
            parent.signal(signal.SIGHUP)
            parent.wait("all workers are replaced", times)
            *_, first, second = parent.workers(2 + 2 * times)
            self.assertEqual(self.who(first), (version, 2, second))
            self.assertEqual(self.who(second), (version, 1, first))
            load.waitForGood()
        self.assertNoneFailed(load, parent)
        self.assertNotIn("aborted", parent.said())

    async def test_reload(self) -> None:
        """
        At SIGHUP the code is loaded anew, and not one request is lost.
        """
        await self.start(test_nginx.NginxTests.server)
        await deferToThread(self.reload)

    async def test_reloadKeeping(self) -> None:
        """
        So it is if nginx keeps its connections.
        """
        await self.start(test_nginx.KeepingNginxTests.server)
        await deferToThread(self.reload)

    def reloadBroken(self) -> None:
        """
        Replace the workers by some that do not start.
        """
        parent = self.serve()
        first, second = parent.workers()
        load = self.load()
        self.write("two", "raise RuntimeError('broken')")
        parent.signal(signal.SIGHUP)
        parent.wait("the reload has stopped")
        self.assertIn("broken", parent.said())
        load.waitForGood()
        self.assertEqual(self.who(first), ("one", self.who(first)[1], second))
        self.assertNoneFailed(load, parent)

    async def test_reloadBroken(self) -> None:
        """
        If the new code is broken, the old one goes on.
        """
        await self.start(test_nginx.KeepingNginxTests.server)
        await deferToThread(self.reloadBroken)

    def killed(self) -> None:
        """
        Kill a worker.
        """
        parent = self.serve()
        first, second = parent.workers()
        load = self.load()
        os.kill(first, signal.SIGKILL)
        parent.wait(rf"\(pid {first}\) was killed by SIGKILL; it starts again in 0.5 s")
        _, _, third = parent.workers(3)
        load.waitForGood()
        statuses = load.finish()
        # Those that it had in hand, of which some had a part of their answer.
        self.assertEqual(set(statuses) - {0, 200, 502}, set(), statuses)
        self.assertLessEqual(statuses[502] + statuses[0], CLIENTS)
        self.assertEqual(self.who(second)[2], third)
        self.assertEqual(parent.stop(), 0, parent.said())

    async def test_killed(self) -> None:
        """
        A worker that is killed takes with it no more than what it had in hand, and
        comes again.
        """
        await self.start(test_nginx.KeepingNginxTests.server)
        await deferToThread(self.killed)

    def stopped(self) -> None:
        """
        Stop under load.
        """
        parent = self.serve()
        load = self.load()
        self.assertEqual(parent.stop(), 0, parent.said())
        statuses = load.finish()
        # nginx says 502 when nobody listens any more.
        self.assertEqual(set(statuses) - {200, 502}, set(), statuses)
        good = {name for name, status in load.answers.items() if status == 200}
        self.assertEqual(parent.got(), good)
        self.assertNotIn("aborted", parent.said())

    async def test_stopped(self) -> None:
        """
        Stopped under load, the workers answer all that they have got.
        """
        await self.start(test_nginx.KeepingNginxTests.server)
        await deferToThread(self.stopped)
