# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The access log of C{twistd fastcgi} and C{twist fastcgi}: who reads it, who moves
it away, and what happens when it can't be written.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from threading import Event, Thread
from time import monotonic
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.servers import RECIPES as FOLDER
from tests.interop.servers import freePort
from tests.programs import (
    PATIENCE,
    ROOT,
    SCRIPTS,
    STOPPED,
    ask,
    environment,
    output,
    program,
)

#: What is run here of C{docs/deploy}.
RECIPES = ("logrotate/app",)

PROGRAMS = {
    "twistd": (SCRIPTS / "twistd", "--nodaemon", "--pidfile=", "--logfile=own.log"),
    "twist": (SCRIPTS / "twist", "--log-file=own.log", "--log-format=text"),
}

APPLICATION = """
    from twisted.web.resource import Resource

    class Hello(Resource):
        isLeaf = True

        def render_GET(self, request):
            return request.uri
"""


def waitFor(condition: Any, what: str) -> None:
    """
    Wait until something is so.
    """
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, what
        Event().wait(0.01)


class Server:
    """
    A server that runs.

    @ivar pid: Its process.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._folder = folder
        self._process = process

    def ask(self, uri: str, **variables: str) -> None:
        """
        Ask for something, and check that it is answered.
        """
        path = uri.partition("?")[0]
        answer = ask(
            str(self._folder / "s"),
            **{"REQUEST_URI": uri, "SCRIPT_NAME": path, **variables},
        )
        assert answer.endswith(f"\r\n\r\n{uri}".encode()), answer

    def signalled(self) -> None:
        """
        Send it the signal.
        """
        self._process.send_signal(signal.SIGUSR1)

    def said(self) -> str:
        """
        Tell what it has logged.
        """
        logs = sorted(self._folder.glob("own.log*"))
        return "".join(path.read_text() for path in logs)


class LogTestCase(SynchronousTestCase):
    """
    A folder with an application, whose access log is in a folder of its own.
    """

    def setUp(self) -> None:
        """
        Make the folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)
        (self.folder / "hello.py").write_text(dedent(APPLICATION))
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.log = self.logs / "access.log"

    @contextmanager
    def serving(
        self, name: str, *options: str, more: Any = (), **changes: str
    ) -> Iterator[Server]:
        """
        Run a server; at the end it must stop as it is told to.

        @param more: Options of the program.
        @param changes: Variables of its environment.
        """
        if not any(option.startswith("--logfile") for option in options):
            options += (f"--logfile={self.log}",)
        process = subprocess.Popen(
            [
                *(*PROGRAMS[name], *more, "fastcgi", f"--port=unix:{self.folder}/s"),
                *("--resource=hello.Hello", *options),
            ],
            cwd=self.folder,
            env=environment(PYTHONPATH=str(ROOT), **changes),
            stdin=subprocess.DEVNULL,
        )
        self.addCleanup(process.kill)
        server = Server(self.folder, process)
        with process:
            try:
                waitFor(lambda: self._accepts(process), f"{name} does not serve")
                yield server
            finally:
                process.terminate()
                process.wait(PATIENCE)
        self.assertIn(process.returncode, STOPPED, server.said())
        self.assertNotIn("Traceback", server.said())

    def _accepts(self, process: Any) -> bool:
        """
        Tell whether a server does.
        """
        assert process.poll() is None, "the server has ended"
        try:
            ask(str(self.folder / "s"), REQUEST_URI="/first", SCRIPT_NAME="/first")
        except OSError:
            return False
        return True

    def asked(self, path: Path) -> list[str]:
        """
        Tell which requests are in a log.
        """
        lines = path.read_text().splitlines()
        found = [re.search(r'"GET (/\S+) HTTP/1.1" 200 ', line) for line in lines]
        names = [each[1] for each in found if each is not None]
        self.assertEqual(len(names), len(lines), "a line is cut")
        return [name for name in names if name != "/first"]


class RotationTests(LogTestCase):
    """
    The log is opened anew at SIGUSR1.
    """

    def rotated(self, name: str) -> None:
        """
        Move the log away several times while requests come and go: each of them
        is in one of the files, once.
        """
        over = Event()
        answered: list[str] = []

        def run(server: Server, letter: str) -> None:
            number = 0
            while not over.is_set():
                uri = f"/{letter}{number}"
                server.ask(uri)
                answered.append(uri)
                number += 1

        with self.serving(name) as server:
            threads = [Thread(target=run, args=(server, letter)) for letter in "abc"]
            for thread in threads:
                thread.start()
            try:
                for number in range(1, 6):
                    enough = 20 * number
                    waitFor(lambda e=enough: len(answered) > e, "nothing is served")
                    self.log.rename(self.logs / f"access.log.{number}")
                    server.signalled()
                    waitFor(self.log.exists, "there is no new file")
            finally:
                over.set()
                for thread in threads:
                    thread.join()
            old = self.logs / "access.log.5"
            size = old.stat().st_size
            server.ask("/last")
            answered.append("/last")
            self.assertEqual(old.stat().st_size, size)
            self.assertIn("/last", self.asked(self.log))
            said = server.said()
        files = list(self.logs.iterdir())
        self.assertEqual(len(files), 6)
        logged = [uri for path in files for uri in self.asked(path)]
        self.assertEqual(sorted(logged), sorted(answered))
        self.assertNotIn("access log", said)

    def test_twist(self) -> None:
        """
        C{twist} loses nothing.
        """
        self.rotated("twist")

    def test_twistd(self) -> None:
        """
        C{twistd} loses nothing, and rotates its own log as it always did.
        """
        self.rotated("twistd")
        self.assertTrue((self.folder / "own.log.1").exists())

    def test_cannot(self) -> None:
        """
        If there can be no new file, the old one is kept, and the process says
        so in one line.
        """
        with self.serving("twist") as server:
            moved = self.logs.rename(self.folder / "moved")
            server.signalled()
            waitFor(lambda: "cannot reopen" in server.said(), "it does not say so")
            server.ask("/kept")
            self.assertEqual(self.asked(moved / "access.log"), ["/kept"])
            self.assertEqual(server.said().count("access log"), 1)
            self.logs.mkdir()
            server.signalled()
            waitFor(self.log.exists, "there is no new file")

    def test_none(self) -> None:
        """
        Without an access log the signal does not end the process.
        """
        with self.serving("twist", "--logfile=/dev/null") as server:
            server.signalled()
            server.ask("/x")

    def test_otherUser(self) -> None:
        """
        Who the process has become can open the file anew: one that was moved
        away, and one that is there still.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        nobody = pwd.getpwnam("nobody")
        os.chown(self.logs, nobody.pw_uid, -1)
        with self.serving("twistd", more=["--uid=nobody"]) as server:
            self.assertEqual(self.log.stat().st_uid, nobody.pw_uid)
            server.ask("/one")
            server.signalled()
            server.ask("/two")
            self.log.rename(self.logs / "old")
            server.signalled()
            waitFor(self.log.exists, "there is no new file")
            server.ask("/three")
            self.assertEqual(self.asked(self.logs / "old"), ["/one", "/two"])
            self.assertEqual(self.asked(self.log), ["/three"])
            self.assertEqual(self.log.stat().st_uid, nobody.pw_uid)

    def test_logrotate(self) -> None:
        """
        logrotate does all that is needed.
        """
        logrotate = program("logrotate")
        if os.geteuid() != 0:
            raise SkipTest("logrotate is run by root")
        nobody = pwd.getpwnam("nobody")
        os.chown(self.logs, nobody.pw_uid, -1)
        text = (FOLDER / "logrotate/app").read_text()
        command = "systemctl kill --kill-whom=main --signal=USR1 app.service"
        for plain, value in {
            "/var/log/app": str(self.logs),
            " app app": " nobody nogroup",
            command: "kill -USR1 PID",
        }.items():
            self.assertIn(plain, text)
            text = text.replace(plain, value)
        recipe = self.folder / "app"
        with self.serving("twistd", more=["--uid=nobody"]) as server:
            recipe.write_text(text.replace("PID", str(server.pid)))
            state = self.folder / "state"
            for number in range(3):
                server.ask(f"/{number}")
                subprocess.run(
                    [logrotate, "--force", "--state", state, recipe],
                    check=True,
                    timeout=PATIENCE,
                )
                waitFor(lambda: self.isOpen(server), "it was not opened anew")
            server.ask("/last")
            self.assertEqual(self.asked(self.log), ["/last"])
            self.assertEqual(self.asked(self.logs / "access.log.1"), ["/2"])
            packed = sorted(path.name for path in self.logs.glob("*.gz"))
            self.assertEqual(packed, ["access.log.2.gz", "access.log.3.gz"])

    def isOpen(self, server: Server) -> bool:
        """
        Tell whether a server has the file open that is the log now.
        """
        files = Path(f"/proc/{server.pid}/fd").iterdir()
        return any(path.exists() and path.samefile(self.log) for path in files)


class FormatTests(LogTestCase):
    """
    What is in the log.
    """

    def test_json(self) -> None:
        """
        C{--log-format json} has an object of each request.
        """
        with self.serving(
            "twistd", "--log-format=json", TWISTED_FASTCGI_WORKER="2"
        ) as server:
            server.ask(
                "/a?b=%20c",
                QUERY_STRING="b=%20c",
                REMOTE_ADDR="192.0.2.9",
                REMOTE_USER='joe", "status": 500, "x": "',
                HTTP_USER_AGENT="caf\u00e9",
                UNIQUE_ID="W7",
            )
            *_, made = map(json.loads, self.log.read_text().splitlines())
        self.assertRegex(made.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        took = made.pop("microseconds")
        self.assertTrue(0 < took < PATIENCE * 1_000_000, took)
        self.assertEqual(
            made,
            {
                "method": "GET",
                "path": "/a?b=%20c",
                "protocol": "HTTP/1.1",
                "status": 200,
                "bytes": 9,
                "remote_address": "192.0.2.9",
                "user": 'joe", "status": 500, "x": "',
                "host": "localhost",
                "referer": None,
                "user_agent": "caf\u00e9",
                "request_id": "W7",
                "worker": 2,
            },
        )

    def test_analyser(self) -> None:
        """
        A program that reads the logs of web servers reads the combined format.
        """
        goaccess = program("goaccess")
        with self.serving("twist") as server:
            for user, address in (("joe", "192.0.2.9"), ("a b", "2001:db8::7")):
                server.ask(
                    "/x", REMOTE_USER=user, REMOTE_ADDR=address, HTTP_USER_AGENT='"'
                )
            # There was nobody who has asked the others.
            *_, one, other = self.log.read_text().splitlines(keepends=True)
        self.log.write_text(one + other)
        report = output(
            [goaccess, self.log, "--log-format=COMBINED", "-o", "json", "--no-progress"]
        )
        made = json.loads(report[report.index("{") :])
        self.assertEqual(made["general"]["valid_requests"], 2)
        hosts = {each["data"] for each in made["hosts"]["data"]}
        self.assertEqual(hosts, {"192.0.2.9", "2001:db8::7"})

    def test_full(self) -> None:
        """
        On a full disk requests are answered, and the process says so in one
        line.
        """
        for name in PROGRAMS:
            (self.folder / "own.log").unlink(missing_ok=True)
            with self.serving(name, "--logfile=/dev/full") as server:
                for number in range(10):
                    server.ask(f"/{number}")
                self.assertEqual(server.said().count("/dev/full"), 1)
                self.assertIn("No space left on device", server.said())

    def test_pipe(self) -> None:
        """
        A pipe can be the log, and when its reader has gone, requests are
        answered as well.
        """
        os.mkfifo(self.log)
        reader = os.open(self.log, os.O_RDONLY | os.O_NONBLOCK)
        with self.serving("twist") as server:
            server.ask("/x")
            self.assertIn(b'"GET /x HTTP/1.1" 200 ', os.read(reader, 100000))
            os.close(reader)
            server.ask("/y")
            self.assertEqual(server.said().count("access log"), 1)

    def test_reader(self) -> None:
        """
        Who reads the pipe from its beginning gets every line, and no end before
        the server ends.
        """
        os.mkfifo(self.log)
        with subprocess.Popen(["cat", self.log], stdout=subprocess.PIPE) as reader:
            self.addCleanup(reader.kill)
            with self.serving("twistd") as server:
                server.ask("/x")
                server.signalled()
                server.ask("/y")
            assert reader.stdout is not None
            (self.folder / "read").write_bytes(reader.stdout.read())
        self.assertEqual(self.asked(self.folder / "read"), ["/x", "/y"])


#: What a client can put where, and nginx passes on.
FORGED = (
    b'" 200 9 "-" "-"',
    b'", "status": 500, "x": "',
    b"\\x22 \\\\ \\u000a",
    b"\x1b[2J\x9b1m\x07\t",
    b"caf\xe9 caf\xc3\xa9 \xc0\x8a \xf5",
    "\u2028\u2029\x85\ufeff\U0001f600".encode(),
    b"\x7f\x80\xff",
    b"%0d%0a%22%5c%1b",
)


class NginxTests(LogTestCase):
    """
    Behind nginx.
    """

    @contextmanager
    def nginx(self) -> Iterator[int]:
        """
        Run nginx with what the documentation says, and a log of its own.

        @return: Its port.
        """
        text = (ROOT / "docs/logs.rst").read_text()
        [block] = re.findall(r"code-block:: nginx\n\n((?:   .*\n|\n)+)", text)
        block = block.replace("/run/app.sock", f"{self.folder}/s")
        port = freePort()
        parameters = "include /etc/nginx/fastcgi_params;"
        (self.folder / "nginx.conf").write_text(
            "daemon off; error_log stderr; pid nginx.pid; events {} http {\n"
            "log_format ids '$request_id $request_uri'; access_log ids.log ids;\n"
            f"server {{ listen 127.0.0.1:{port};\n"
            f"{block.replace('include fastcgi_params;', parameters)} }} }}"
        )
        arguments = ("-p", str(self.folder), "-c", "nginx.conf", "-e", "stderr")
        with subprocess.Popen([program("nginx"), *arguments]) as process:
            try:
                waitFor(lambda: self.connects(port), "nginx does not serve")
                yield port
            finally:
                process.terminate()

    def connects(self, port: int) -> bool:
        """
        Tell whether somebody listens.
        """
        with socket.socket() as skt:
            return not skt.connect_ex(("127.0.0.1", port))

    def send(self, port: int, line: bytes, *fields: bytes) -> bytes:
        """
        Ask nginx something.

        @return: Its answer.
        """
        head = (line, b"Host: x", b"Connection: close", *fields)
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as skt:
            skt.sendall(b"\r\n".join(head) + b"\r\n\r\n")
            return b"".join(iter(lambda: skt.recv(65536), b""))

    def test_requestId(self) -> None:
        """
        The log has for each request the name that nginx has for it, whatever
        name the client gives it.
        """
        with self.serving("twist", "--log-format=json"), self.nginx() as port:
            for number in range(5):
                line = b"GET /%d HTTP/1.1" % number
                self.assertIn(b" 200 ", self.send(port, line, b"X-Request-ID: own"))
            ours = list(map(json.loads, self.log.read_text().splitlines()))
            theirs = self.folder / "ids.log"
            waitFor(lambda: theirs.read_text().count("\n") == 5, "nginx logs less")
            expected = [line.split() for line in theirs.read_text().splitlines()]
        made = [[each["request_id"], each["path"]] for each in ours]
        self.assertEqual([each for each in made if each[1] != "/first"], expected)
        self.assertEqual(len({name for name, _ in expected}), 5)

    def test_forged(self) -> None:
        """
        Whatever a client sends, its request is one line, with the fields that
        any other one has.
        """
        combined = re.compile(
            r'[0-9.]+ - \S+ \[[^]]+\] "GET /\S* HTTP/1\.1" \d+ \d+ "[^"]*" "[^"]*"'
        )
        for form in ("json", "combined"):
            self.log.unlink(missing_ok=True)
            with (
                self.serving("twist", f"--log-format={form}"),
                self.nginx() as port,
            ):
                before = self.log.read_text().count("\n")
                answered = sum(self.forge(port, text) for text in FORGED)
                lines = self.log.read_bytes().decode("ascii").split("\n")[before:-1]
            self.assertEqual(len(lines), answered)
            self.assertGreaterEqual(answered, len(FORGED))
            for line in lines:
                self.assertTrue(line.isprintable(), line)
                if form == "combined":
                    self.assertIsNotNone(combined.fullmatch(line), line)
                else:
                    made = json.loads(line)
                    self.assertEqual((made["status"], made["method"]), (200, "GET"))

    def forge(self, port: int, text: bytes) -> int:
        """
        Send something in every place.

        @return: How many requests the application has answered.
        """
        answers = [
            self.send(port, b"GET /%b HTTP/1.1" % text.replace(b" ", b"+")),
            self.send(
                port,
                b"GET / HTTP/1.1",
                *(name + text for name in (b"Referer: ", b"User-Agent: ")),
                b"X-Request-ID: " + text,
            ),
        ]
        # nginx itself refuses some.
        return sum(b"TwistedWeb" in answer or b" 200 " in answer for answer in answers)
