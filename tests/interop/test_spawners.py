# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi}, started by others with a socket of theirs.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from threading import Timer
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import servers
from tests.programs import (
    PATIENCE,
    ROOT,
    SCRIPTS,
    STOPPED,
    ask,
    environment,
    program,
    ran,
    until,
)

#: What is run here of C{docs/deploy}.
RECIPES = (
    "multiwatch/app.sh",
    "spawn-fcgi/app.sh",
    "supervisor/app.conf",
    "systemd/alone.service",
    "systemd/app.service",
    "systemd/app.socket",
    "systemd/app@.service",
    "systemd/app@.socket",
    "systemd/workers.service",
)

TWISTD = SCRIPTS / "twistd"

#: Tells which process it is in.
HELLO = """
    import os
    from twisted.web.resource import Resource

    class Hello(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"served by %d" % os.getpid()
"""

#: Starts a program as systemd does, with the socket that is its standard input.
AS_SYSTEMD = 'LISTEN_PID=$$ exec "$@" 3<&0 0</dev/null'


class SpawnerMixin:
    """
    Runs recipes in a folder with an application.
    """

    def setUp(self: Any) -> None:
        """
        Make the folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)
        self.path = str(self.folder / "s")
        (self.folder / "hello.py").write_text(dedent(HELLO))

    def recipe(self: Any, name: str, **more: str) -> Path:
        """
        Put the values of this test into a recipe.

        @return: Where it is.
        """
        text = (servers.RECIPES / name).read_text()
        values = {
            "/usr/bin/twistd": str(TWISTD),
            "/run/app/app.sock": self.path,
            "/run/app.sock": self.path,
            "/run/app-": f"{self.path}-",
            "/srv/app": str(self.folder),
            **more,
        }
        for plain, value in values.items():
            text = text.replace(plain, value)
        self.assertNotIn("/run/", text)
        made: Path = self.folder / Path(name).name
        made.write_text(text)
        return made

    @contextmanager
    def running(
        self: Any,
        command: Sequence[object],
        ready: Sequence[str] = ("serving ",),
        stdin: Any = subprocess.DEVNULL,
        **changes: str,
    ) -> Iterator[subprocess.Popen[str]]:
        """
        Run something until it has said, line by line, what it has to; at the end
        it must stop as it is told to.
        """
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=self.folder,
            env=environment(PYTHONPATH=str(ROOT), **changes),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # What it has started holds the pipe, too.
        watchdog = Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        with process:
            assert process.stdout is not None
            self.log = log = []
            try:
                for word in ready:
                    log.extend(until(word, process.stdout))
                    self.assertIn(word, log[-1], "".join(log))
                yield process
            finally:
                process.terminate()
                log.extend(process.stdout)
                watchdog.cancel()
        self.assertIn(process.returncode, STOPPED, "".join(log))

    def server(self: Any) -> int:
        """
        Ask for the page.

        @return: The number of the process that has answered.
        """
        found = re.search(rb"served by (\d+)$", ask(self.path))
        assert found is not None
        return int(found[1])

    def besides(self: Any, *stopped: int) -> int:
        """
        Ask for the page while some processes can't answer.
        """
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            pid: int = self.server()
        finally:
            for each in stopped:
                os.kill(each, signal.SIGCONT)
        self.assertNotIn(pid, stopped)
        return pid

    def assertShared(self: Any) -> None:
        """
        Check that two processes serve on the socket, and that one that is killed
        has a successor.
        """
        first = self.server()
        second = self.besides(first)
        self.assertEqual(self.besides(second), first)
        os.kill(first, signal.SIGKILL)
        self.assertNotIn(self.besides(second), (first, second))

    def assertAccess(self: Any) -> None:
        """
        Check that the mode is the one that the recipe says.
        """
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o660)


class SpawnFcgiTests(SpawnerMixin, SynchronousTestCase):
    """
    C{spawn-fcgi}.
    """

    def test_alone(self) -> None:
        """
        It serves on the socket, which stays as it was; a second start works as
        well as the first one.
        """
        program("spawn-fcgi")
        recipe = self.recipe("spawn-fcgi/app.sh")
        for _ in range(2):
            with self.running(["/bin/sh", recipe]) as process:
                self.assertEqual(self.server(), process.pid)
                self.assertAccess()
            self.assertAccess()

    def test_multiwatch(self) -> None:
        """
        Two processes share a socket, and finish what they have in hand at the end.
        """
        program("spawn-fcgi")
        program("multiwatch")
        recipe = self.recipe("multiwatch/app.sh")
        with self.running(["/bin/sh", recipe], ["serving ", "serving "]):
            self.assertShared()
            self.assertAccess()
        self.assertAccess()
        self.assertEqual("".join(self.log).count("Main loop terminated."), 2)


class SupervisorTests(SpawnerMixin, SynchronousTestCase):
    """
    supervisor.
    """

    def test_shared(self) -> None:
        """
        Two processes share a socket, which is replaced at the next start.
        """
        supervisord = program("supervisord")
        owner = {} if os.geteuid() == 0 else {"socket_owner=": ";"}
        recipe = self.recipe("supervisor/app.conf", **owner)
        template = Path(__file__).with_name("supervisor") / "supervisord.conf"
        values = {"@FOLDER@": str(self.folder), "@RECIPE@": str(recipe)}
        text = template.read_text()
        for name, value in values.items():
            text = text.replace(name, value)
        configuration = self.folder / "supervisord.conf"
        configuration.write_text(text)
        ready = ["entered RUNNING state", "entered RUNNING state"]
        for _ in range(2):
            with self.running([supervisord, "-c", configuration], ready):
                self.assertShared()
                self.assertAccess()


class SystemdMixin(SpawnerMixin):
    """
    Does what systemd does.
    """

    def setting(self: Any, unit: Path, name: str) -> str:
        """
        Read a setting of a unit.
        """
        (found,) = re.findall(rf"^{name}=(.*)$", unit.read_text(), re.M)
        return str(found)

    def command(self: Any, name: str) -> list[str]:
        """
        Tell what a service runs.
        """
        return shlex.split(self.setting(self.recipe(f"systemd/{name}"), "ExecStart"))

    def listener(self: Any, unit: Path) -> socket.socket:
        """
        Make the socket that a unit describes.
        """
        skt = socket.socket(socket.AF_UNIX)
        self.addCleanup(skt.close)
        path = self.setting(unit, "ListenStream")
        skt.bind(path)
        os.chmod(path, int(self.setting(unit, "SocketMode"), 8))
        skt.listen(int(self.setting(unit, "Backlog")))
        return skt

    def started(self: Any, unit: Path, skt: socket.socket, **changes: str) -> Any:
        """
        Run a service as systemd does.

        @param changes: More variables of its environment.
        """
        command = shlex.split(self.setting(unit, "ExecStart"))
        return self.running(
            ["/bin/sh", "-c", AS_SYSTEMD, "sh", *command],
            stdin=skt,
            LISTEN_FDS="1",
            LISTEN_FDNAMES="app.socket",
            **changes,
        )


class SystemdTests(SystemdMixin, SynchronousTestCase):
    """
    systemd.
    """

    def test_verified(self) -> None:
        """
        systemd has nothing to say of the units.
        """
        analyze = program("systemd-analyze")
        units = [self.recipe(f"systemd/app.{kind}") for kind in ("service", "socket")]
        more = ("alone.service", "workers.service", "app@.service", "app@.socket")
        units += [self.recipe(f"systemd/{name}") for name in more]
        done = subprocess.run(
            [analyze, "verify", "--man=no", "--recursive-errors=no", *units],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_socket(self) -> None:
        """
        It serves on the socket that it is passed, which stays as it was, mode,
        path and room for a burst; who connects while nobody serves is served by
        the next process.
        """
        unit = self.recipe("systemd/app.service")
        skt = self.listener(self.recipe("systemd/app.socket"))
        for _ in range(2):
            waiting = [socket.socket(socket.AF_UNIX) for _ in range(200)]
            for client in waiting:
                self.addCleanup(client.close)
                client.connect(self.path)
            with self.started(unit, skt) as process:
                self.assertEqual(self.server(), process.pid)
                self.assertAccess()
            self.assertAccess()
            for client in waiting:
                self.assertEqual(client.recv(1), b"")

    def test_notify(self) -> None:
        """
        systemd is told when it serves, and when it stops, as the units say.
        """
        for name in ("app", "alone"):
            unit = self.recipe(f"systemd/{name}.service")
            self.assertEqual(self.setting(unit, "Type"), "notify")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        listener.bind(f"{self.path}.notify")
        unit = self.recipe("systemd/app.service")
        skt = self.listener(self.recipe("systemd/app.socket"))
        with self.started(unit, skt, NOTIFY_SOCKET=f"{self.path}.notify"):
            status = f"STATUS=serving hello.Hello on {self.path}"
            self.assertEqual(listener.recv(4096), f"READY=1\n{status}".encode())
        self.assertTrue(listener.recv(4096).startswith(b"STOPPING=1\n"))

    def test_name(self) -> None:
        """
        It can be told which socket by its name.
        """
        unit = self.recipe("systemd/app.service")
        unit.write_text(unit.read_text().replace("index=0", "name=app.socket"))
        with self.started(
            unit, self.listener(self.recipe("systemd/app.socket"))
        ) as process:
            self.assertEqual(self.server(), process.pid)

    def test_unsaid(self) -> None:
        """
        It need not be told to take a socket of systemd's.
        """
        unit = self.recipe("systemd/app.service")
        text = unit.read_text()
        unit.write_text(text.replace("--port systemd:domain=UNIX:index=0", ""))
        self.assertNotIn("--port", unit.read_text())
        with self.started(
            unit, self.listener(self.recipe("systemd/app.socket"))
        ) as process:
            self.assertEqual(self.server(), process.pid)

    def test_none(self) -> None:
        """
        Without a socket it ends, and says why.
        """
        command = shlex.split(
            self.setting(self.recipe("systemd/app.service"), "ExecStart")
        )
        done = ran(command, self.folder, PYTHONPATH=str(ROOT))
        self.assertIn("systemd has passed no such socket", done.stdout)
        self.assertNotIn("Traceback", done.stdout)

    def test_activated(self) -> None:
        """
        It works with systemd's own code that passes sockets.
        """
        activate = program("systemd-socket-activate")
        command = shlex.split(
            self.setting(self.recipe("systemd/app.service"), "ExecStart")
        )
        # What is activated does not get the environment.
        with self.running(
            [
                *(activate, f"--listen={self.path}", "--fdname=app.socket"),
                *(f"--setenv=PYTHONPATH={ROOT}", *command),
            ],
            ["Listening on"],
        ) as process:
            self.assertEqual(self.server(), process.pid)

    def test_alone(self) -> None:
        """
        Without a socket unit it makes the socket itself, and removes it.
        """
        command = shlex.split(
            self.setting(self.recipe("systemd/alone.service"), "ExecStart")
        )
        with self.running(command) as process:
            self.assertEqual(self.server(), process.pid)
            self.assertAccess()
        self.assertFalse(os.path.exists(self.path))

    def test_workers(self) -> None:
        """
        With workers several processes serve, which the setting for the reload
        replaces.
        """
        unit = self.recipe("systemd/workers.service")
        text = unit.read_text().replace("--workers auto", "--workers 2")
        unit.write_text(text)
        command = shlex.split(self.setting(unit, "ExecStart"))
        ready = [") serves, ", ") serves, "]
        with self.running(command, ready) as process:
            self.assertShared()
            before = self.server()
            reload = self.setting(unit, "ExecReload")
            pid = {"MAINPID": str(process.pid)}
            subprocess.run(["/bin/sh", "-c", reload], env=pid, check=True)
            assert process.stdout is not None
            list(until("all workers are replaced", process.stdout))
            self.assertNotEqual(self.server(), before)
            self.assertAccess()
        self.assertFalse(os.path.exists(self.path))
