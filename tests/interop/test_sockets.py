# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Sockets of real processes: whose they are, what becomes of them when processes
die, and what fits into them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.programs import (
    PATIENCE,
    ROOT,
    SCRIPTS,
    ask,
    environment,
    program,
    ran,
    serving,
    until,
)

TWISTD = (SCRIPTS / "twistd", "--nodaemon", "--pidfile=")

#: Whether only the superuser could run this.
NOT_ROOT = os.geteuid() != 0

#: The numbers of the user and the group that web servers have on Debian.
WWW_DATA = 33

#: How many clients come at once.
BURST = 500

#: Becomes somebody else, and connects to a Unix socket.
CONNECT = """
import os, socket, sys
uid = int(sys.argv[2])
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
"""

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    fastcgi_temp_path {folder}/f; client_body_temp_path {folder}/b;
    proxy_temp_path {folder}/p; scgi_temp_path {folder}/s;
    uwsgi_temp_path {folder}/u;
    server {{
        listen unix:{folder}/http backlog=1024;
        location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass unix:{path}; }}
        location = /nginx_status {{ stub_status; }}
    }}
}}
"""


class FolderMixin:
    """
    Has a folder, and runs servers in it.
    """

    def setUp(self: Any) -> None:
        """
        Make the folder; web servers may look into it.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o711)
        self.path = str(self.folder / "s")

    def serving(self: Any, *arguments: object, **changes: str) -> Any:
        """
        Run a server to its clean stop.
        """
        command = (*TWISTD, "fastcgi", *arguments)
        return serving(command, cwd=self.folder, PYTHONPATH=str(ROOT), **changes)

    @contextmanager
    def process(self: Any, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """
        Run a server until it serves, and kill it in the end.
        """
        command = list(map(str, (*TWISTD, "fastcgi", *arguments)))
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment(PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as server:
            assert server.stdout is not None
            try:
                log = "".join(until("serving ", server.stdout))
                assert "serving " in log, log
                yield server
            finally:
                server.kill()

    def refused(self: Any, *arguments: object) -> str:
        """
        Run a server that must refuse to start.

        @return: What it said.
        """
        command = (*TWISTD, "fastcgi", *arguments)
        done = ran(command, self.folder, PYTHONPATH=str(ROOT))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertNotIn("Traceback", done.stdout)
        said: str = done.stdout
        return said

    def left(self: Any) -> list[str]:
        """
        Tell what is in the folder, but for Python's and Twisted's own.
        """
        return sorted(set(os.listdir(self.folder)) - {"__pycache__"})


class RestartTests(FolderMixin, SynchronousTestCase):
    """
    Unix sockets when processes end and begin.
    """

    def test_killed(self) -> None:
        """
        What a killed server leaves behind does not stop the next one, which
        removes it at its stop.
        """
        for _ in range(2):
            with self.process("--port", f"unix:{self.path}") as server:
                server.kill()
                server.wait(PATIENCE)
            self.assertEqual(self.left(), ["s"])
        with self.serving("--port", f"unix:{self.path}"):
            self.assertIn(b"twisted_fastcgi works", ask(self.path))
        self.assertEqual(self.left(), [])

    def test_alive(self) -> None:
        """
        A live server keeps its socket, and the other one says why it ends.
        """
        port = f"unix:{self.path}"
        with self.serving("--port", port):
            said = self.refused("--port", port)
            self.assertIn(
                f"cannot listen on {port}: another process listens there", said
            )
            self.assertIn(b"twisted_fastcgi works", ask(self.path))
        self.assertEqual(self.left(), [])

    def test_secondPort(self) -> None:
        """
        Nothing stays behind of the first port when the second one can't be
        bound.
        """
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        for second in (
            f"tcp:{other.getsockname()[1]}:interface=127.0.0.1",
            "unix:/nosuch/s",
        ):
            said = self.refused("--port", f"unix:{self.path}", "--port", second)
            self.assertIn(f"cannot listen on {second}: ", said)
            self.assertEqual(self.left(), [])

    def test_late(self) -> None:
        """
        A process whose endpoint fails only after the start exits with 1.
        """
        (self.folder / "late.py").write_text(
            "from twisted.internet import endpoints, reactor\n"
            "from twisted.internet.task import deferLater\n"
            "def listen(self, factory):\n"
            "    failing = lambda: 1 / 0\n"
            "    return deferLater(reactor, 0.1, failing)\n"
            "endpoints.TCP4ServerEndpoint.listen = listen\n"
            "from twisted_fastcgi.demo import DemoResource\n"
            "root = DemoResource()\n"
        )
        said = self.refused(
            *("--port", f"unix:{self.path}", "--port", "tcp:0"),
            *("--resource", "late.root"),
        )
        self.assertIn("cannot listen on tcp:0: division by zero", said)
        self.assertEqual(self.left(), ["late.py"])


class OwnerTests(FolderMixin, SynchronousTestCase):
    """
    Unix sockets of a server that is started by root.
    """

    def connects(self, uid: int) -> bool:
        """
        Tell whether some user can connect.
        """
        done = subprocess.run(
            [sys.executable, "-c", CONNECT, self.path, str(uid)],
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
        assert not done.returncode or "PermissionError" in done.stderr, done.stderr
        return not done.returncode

    @skipIf(NOT_ROOT, "only root may become somebody else")
    def test_shed(self) -> None:
        """
        With C{--uid} and C{--gid} the socket belongs to whom the process
        becomes, so that the web server, being the same, may connect, and
        nobody else may.  Where that user may remove it, it is gone after the
        stop.
        """
        for owner in (0, WWW_DATA):
            os.chown(self.folder, owner, owner)
            command = (*TWISTD, f"--uid={WWW_DATA}", f"--gid={WWW_DATA}", "fastcgi")
            port = ("--port", f"unix:{self.path}:mode=660")
            with serving((*command, *port), self.folder, PYTHONPATH=str(ROOT)):
                found = os.stat(self.path)
                self.assertEqual((found.st_uid, found.st_gid), (WWW_DATA, WWW_DATA))
                self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)
                self.assertTrue(self.connects(WWW_DATA))
                self.assertFalse(self.connects(WWW_DATA + 1))
                self.assertIn(b"twisted_fastcgi works", ask(self.path))
            self.assertEqual(os.path.exists(self.path), owner == 0)

    @skipIf(NOT_ROOT, "only root may give files away")
    def test_group(self) -> None:
        """
        The socket belongs to the group that its string names.
        """
        with self.serving("--port", f"unix:{self.path}:mode=660:group={WWW_DATA}"):
            self.assertTrue(self.connects(WWW_DATA))
            self.assertFalse(self.connects(WWW_DATA + 1))


class ExposedTests(FolderMixin, SynchronousTestCase):
    """
    TCP ports that other machines can reach.
    """

    def said(self, *arguments: str, **changes: str) -> tuple[str, bytes]:
        """
        Listen everywhere.

        @return: What the server said, and what a local client gets that sends
            what no web server sends, to which a server says nothing.
        """
        with self.serving("--port", "tcp:0", *arguments, **changes) as log:
            found = re.search(r"serving .* on 0\.0\.0\.0:(\d+)", log[-1])
            assert found is not None, log
            with socket.create_connection(("127.0.0.1", int(found[1]))) as client:
                client.settimeout(PATIENCE)
                # GET_VALUES, which a server answers at once.
                client.sendall(bytes((1, 9, 0, 0, 0, 0, 0, 0)))
                try:
                    answer = client.recv(1)
                except ConnectionResetError:
                    answer = b""
        return "".join(log), answer

    def test_warns(self) -> None:
        """
        There is a warning, unless somebody says who may connect.
        """
        said, answer = self.said()
        self.assertRegex(said, r"whoever can reach 0\.0\.0\.0:\d+ is believed")
        self.assertEqual(answer, b"\1")
        said, answer = self.said("--allow", "127.0.0.0/8")
        self.assertNotIn("whoever can reach", said)
        self.assertEqual(answer, b"\1")

    def test_refused(self) -> None:
        """
        Who is not in the list of the option, or in that of the environment, is
        sent away.
        """
        for arguments, changes, name in [
            (("--allow", "10.0.0.0/8,::1"), {}, "--allow"),
            ((), {"FCGI_WEB_SERVER_ADDRS": "10.1.1.1"}, "FCGI_WEB_SERVER_ADDRS"),
        ]:
            said, answer = self.said(*arguments, **changes)
            self.assertEqual(answer, b"")
            self.assertIn("closed a connection from 127.0.0.1: ", said)
            self.assertIn(f"{name} does not have it", said)


class BurstTests(FolderMixin, SynchronousTestCase):
    """
    Many clients of a real nginx at once.
    """

    def statuses(self, port: str) -> Counter[int]:
        """
        Have the clients come while the server is not able to accept any of
        them.
        """
        http = str(self.folder / "http")
        conf = self.folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=self.folder, path=self.path))
        nginx = [program("nginx"), "-c", conf, "-e", "stderr"]
        with ExitStack() as stack:
            server = stack.enter_context(self.process("--port", port))
            self.nginx(stack, nginx, http)
            server.send_signal(signal.SIGSTOP)
            clients = [self.client(stack, http, b"/") for _ in range(BURST)]
            deadline = monotonic() + PATIENCE
            while self.seen(http) < BURST:
                assert monotonic() < deadline, "nginx does not get on"
            server.send_signal(signal.SIGCONT)
            return Counter(int(client.recv(4096).split()[1]) for client in clients)

    def nginx(self, stack: ExitStack, command: list[object], path: str) -> None:
        """
        Run nginx until the end.
        """
        process = subprocess.Popen(
            list(map(str, command)), stderr=subprocess.DEVNULL, cwd=self.folder
        )
        stack.callback(process.wait, PATIENCE)
        stack.callback(process.terminate)
        deadline = monotonic() + PATIENCE
        while not os.path.exists(path):
            assert process.poll() is None and monotonic() < deadline, "no nginx"

    def client(self, stack: ExitStack, path: str, target: bytes) -> socket.socket:
        """
        Ask nginx for something.
        """
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        return client

    def seen(self, path: str) -> int:
        """
        Tell how many requests nginx has begun to serve, but for those of this.
        """
        with ExitStack() as stack:
            client = self.client(stack, path, b"/nginx_status")
            said = client.recv(4096).decode()
        found = re.search(r"requests\n +\d+ +\d+ +(\d+)", said)
        assert found is not None, said
        self.asked = getattr(self, "asked", 0) + 1
        return int(found[1]) - self.asked

    def test_default(self) -> None:
        """
        All are served.
        """
        self.assertEqual(self.statuses(f"unix:{self.path}"), {200: BURST})

    def test_small(self) -> None:
        """
        With room for 50, which is Twisted's default, most of them are not.
        """
        found = self.statuses(f"unix:{self.path}:backlog=50")
        self.assertGreater(found[502], BURST / 2)
