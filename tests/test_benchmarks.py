# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for the benchmark: that it runs, and that its load generator is not
content with just any answer.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from tests import wire
from tests.programs import PATIENCE, ROOT, environment, output, program
from tests.tables import TableTestCase, table

BENCHMARKS = ROOT / "benchmarks"

GOOD = b"Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello"

END = wire.record(wire.STDOUT, 1) + wire.record(wire.END_REQUEST, 1, bytes(8))

FAILED = wire.record(wire.END_REQUEST, 1, b"\0\0\0\1\0\0\0\0")

OVERLOADED = wire.record(wire.END_REQUEST, 1, b"\0\0\0\0\2\0\0\0")


def stdout(data: bytes) -> bytes:
    """
    Make a record of a response.
    """
    return wire.record(wire.STDOUT, 1, data)


def http(head: bytes, body: bytes = b"hello") -> bytes:
    """
    Make a response over HTTP.
    """
    return b"HTTP/1.1 " + head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body


@cache
def fcgiload() -> Path:
    """
    Compile the load generator.

    @return: The program.
    @raise AssertionError: If the compiler has anything to complain about.
    @raise SkipTest: If there is no compiler, except in CI.
    """
    folder = Path(mkdtemp(prefix="fcgiload-"))
    atexit.register(shutil.rmtree, folder)
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    source = BENCHMARKS / "fcgiload.c"
    output([program("gcc"), *flags, "-o", folder / "fcgiload", source])
    return folder / "fcgiload"


class Canned:
    """
    A server that answers the first request of each connection with the same
    bytes, and then closes it.

    @ivar path: Where its socket is.
    @ivar received: What came on each connection.
    """

    def __init__(self, path: str, answer: bytes, end: bytes) -> None:
        """
        @param answer: The answer.
        @param end: How a request ends.
        """
        self.path = path
        self.received: list[bytes] = []
        self._answer = answer
        self._end = end
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                received = self._receive(connection)
                if not received:
                    return
                self.received.append(received)
                connection.sendall(self._answer)

    def _receive(self, connection: socket.socket) -> bytes:
        received = b""
        while not received.endswith(self._end):
            data = connection.recv(65536)
            received += data
            if not data:
                break
        return received

    def stop(self) -> None:
        """
        End it: a connection without a request is how it is told.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
        self._thread.join(PATIENCE)
        self._socket.close()


class LoadTests(TableTestCase):
    """
    The load generator.
    """

    def load(
        self, answer: bytes, *options: str, end: bytes = wire.stdin()
    ) -> subprocess.CompletedProcess[str]:
        """
        Let it ask a server that always gives the same answer.

        @param end: How a request ends.
        """
        command = [fcgiload(), "--requests", "1", "--connections", "1", *options]
        folder = mkdtemp(dir="/tmp")
        self.addCleanup(shutil.rmtree, folder)
        self.server = Canned(f"{folder}/socket", answer, end)
        self.addCleanup(self.server.stop)
        return subprocess.run(
            list(map(str, [*command, f"unix:{self.server.path}"])),
            capture_output=True,
            env=environment(),
            text=True,
            timeout=PATIENCE,
        )

    @table(
        {
            "as usual": (stdout(GOOD) + END, ()),
            "no status": (stdout(b"Content-Length: 5\n\nhello") + END, ()),
            "no length": (stdout(b"Status: 200\n\nhello") + END, ()),
            "in tiny records": (b"".join(stdout(b"%c" % c) for c in GOOD) + END, ()),
            "any body": (stdout(b"Status: 200\n\nbye") + END, ("--length", "3")),
            "one-shot": (stdout(GOOD) + END, ("--one-shot",)),
            "spinning": (stdout(GOOD) + END, ("--spin",)),
        }
    )
    def test_good(self, answer: bytes, options: tuple[str, ...]) -> None:
        """
        It tells what a good response took.
        """
        text = () if "--length" in options else ("--text", "hello")
        done = self.load(answer, *text, *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        told = json.loads(done.stdout)
        self.assertEqual(told["requests"], 1)
        self.assertGreater(told["rate"], 0)
        self.assertLessEqual(told["p50"], 1e6 * told["seconds"])

    @table(
        {
            "status": (stdout(b"Status: 500 No\r\n\r\nhello") + END, "is not 200"),
            "other body": (stdout(b"Status: 200\n\nhullo") + END, 'not "hello"'),
            "longer body": (stdout(b"Status: 200\n\nhello!") + END, 'not "hello"'),
            "shorter body": (stdout(b"Status: 200\n\nhell") + END, "4 bytes instead"),
            "less than told": (stdout(GOOD[:-1]) + END, "Content-Length says 5"),
            "more than told": (stdout(GOOD + b"!") + END, "Content-Length says"),
            "no header": (END, "no header"),
            "application status": (stdout(GOOD) + FAILED, "END_REQUEST says"),
            "protocol status": (stdout(GOOD) + OVERLOADED, "END_REQUEST says"),
            "after the end": (stdout(GOOD) + END + END, "a record"),
            "other request": (wire.record(wire.STDOUT, 2, GOOD), "request 2"),
            "other version": (b"\0" + stdout(GOOD)[1:], "version 0"),
            "other record": (wire.record(wire.STDIN, 1, GOOD), "type 5"),
            "complaint": (wire.record(wire.STDERR, 1, b"ouch"), "complains: ouch"),
            "no end": (stdout(GOOD), "before the response was complete"),
            "nothing": (b"", "before the response was complete"),
        }
    )
    def test_bad(self, answer: bytes, complaint: str) -> None:
        """
        It fails, and says why, if anything is wrong with a response.
        """
        done = self.load(answer, "--text", "hello", "--one-shot")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(complaint, done.stderr)

    @table(
        {
            "good": (http(b"200 OK\nContent-Length: 5"), ""),
            "status": (http(b"404 No\nContent-Length: 5"), "is not 200"),
            "length": (http(b"200 OK"), "no Content-Length"),
            "body": (http(b"200 OK\nContent-Length: 5", b"hullo"), 'not "hello"'),
            "more": (http(b"200 OK\nContent-Length: 5", b"hello!"), "more came"),
            "less": (http(b"200 OK\nContent-Length: 6"), "before the response"),
            "another protocol": (b"SSH-2.0 hello\r\n\r\n", "not a response of HTTP"),
        }
    )
    def test_http(self, answer: bytes, complaint: str) -> None:
        """
        It does the same over HTTP.
        """
        options = ("--http", "--text", "hello", "--one-shot")
        done = self.load(answer, *options, end=b"\r\n\r\n")
        self.assertEqual(done.returncode, 1 if complaint else 0)
        self.assertIn(complaint, done.stderr)

    def test_closed(self) -> None:
        """
        It fails if a connection is closed that was to be kept.
        """
        done = self.load(stdout(GOOD) + END, "--requests", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("closed the connection", done.stderr)

    def test_request(self) -> None:
        """
        It sends what nginx sends for a browser: 28 params of some 860 bytes.
        """
        self.load(stdout(GOOD) + END, "--path", "/page")
        sent = {record.type: record for record in wire.records(self.server.received)}
        (params,) = (
            record.content
            for record in wire.records(self.server.received)
            if record.type == wire.PARAMS and record.content
        )
        self.assertEqual(sent[wire.BEGIN_REQUEST].content, b"\0\1\1\0\0\0\0\0")
        self.assertEqual(sent[wire.STDIN].content, b"")
        self.assertEqual(len(wire.readPairs(params)), 28)
        self.assertTrue(840 <= len(params) <= 900, len(params))
        self.assertIn((b"REQUEST_URI", b"/page"), wire.readPairs(params))

    def test_body(self) -> None:
        """
        It sends bodies, and extra params, in records as small as is wanted.
        """
        options = ("--upload", "3000", "--extra-params", "2000", "--record-size", "100")
        self.load(stdout(GOOD) + END, *options)
        streams: dict[int, list[bytes]] = {}
        for record in wire.records(self.server.received):
            streams.setdefault(record.type, []).append(record.content)
        for stream in (wire.PARAMS, wire.STDIN):
            self.assertEqual(max(map(len, streams[stream])), 100)
        self.assertEqual(b"".join(streams[wire.STDIN]), bytes(3000))
        variables = wire.readPairs(b"".join(streams[wire.PARAMS]))
        self.assertIn((b"CONTENT_LENGTH", b"3000"), variables)
        extra = [pair for pair in variables if pair[0].startswith(b"X0")]
        self.assertEqual(len(wire.pairs(extra)), 2000)

    def test_usage(self) -> None:
        """
        It refuses options that it does not know, and says which it knows.
        """
        done = subprocess.run(
            [fcgiload(), "--nonsense"], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("--record-size BYTES", done.stderr)


class DriverTests(SynchronousTestCase):
    """
    The driver.
    """

    def run_(self, *options: object) -> str:
        """
        Run it to its end.
        """
        return output([sys.executable, BENCHMARKS / "benchmark.py", *options])

    def test_quick(self) -> None:
        """
        The short form measures a few rows, and writes numbers that make sense,
        and tables that documentation can include.
        """
        program("gcc")
        folder = Path(self.mktemp())
        folder.mkdir()
        numbers, tables = folder.resolve() / "numbers", folder.resolve() / "tables"
        told = self.run_("--quick", "--json", numbers, "--rst", tables)
        self.assertIn("÷ twisted.web", told)
        results = json.loads(numbers.read_text(encoding="utf-8"))
        rows = ["spin", "download", "curve-pipeline"]
        self.assertEqual(list(results["rows"]), rows)
        for name, row in results["rows"].items():
            names = ["1", "2"] if name == "curve-pipeline" else ["us", "web"]
            self.assertEqual(list(row["contestants"]), names)
            for contestant in row["contestants"].values():
                self.checkNumbers(contestant, bulk=name == "download")
        self.checkTargets(results)
        settings = {"halt_level": 2, "report_level": 5}
        text = tables.read_text(encoding="utf-8")
        document = publish_doctree(text, settings_overrides=settings)
        self.assertIn("twist fastcgi", document.astext())

    def checkNumbers(self, numbers: dict[str, Any], bulk: bool) -> None:
        """
        See that the numbers of a contestant can be true.
        """
        self.assertNotIn("skipped", numbers)
        self.assertTrue(0 < numbers["rate"]["median"] < 1e6)
        self.assertTrue(1 < numbers["cpu"]["median"] < 1e6)
        self.assertLessEqual(numbers["p50"]["median"], numbers["p99"]["median"])
        self.assertTrue(0 < numbers["ratio"]["median"] < 100)
        # The larger the server's part, the fewer requests in that time.
        used = numbers["rate"]["median"] * numbers["cpu"]["median"] / 1e6
        self.assertAlmostEqual(used, numbers["share"]["median"], 2)
        self.assertLess(numbers["growth"], 50 << 20)
        self.assertEqual(numbers["megabytes"]["median"] > 10, bulk)

    def checkTargets(self, results: dict[str, Any]) -> None:
        """
        See that what is aimed at was compared with what was measured.
        """
        (target,) = (
            each for each in results["targets"] if "busy-polling" in each["title"]
        )
        measured = results["rows"]["spin"]["contestants"]["us"]["ratio"]
        self.assertEqual(target["measured"], measured)
        self.assertEqual(target["met"], measured["median"] >= target["least"])
        (curve,) = (each for each in results["targets"] if "twice" in each)
        self.assertEqual(curve["met"], curve["measured"]["median"] <= curve["twice"])

    def test_list(self) -> None:
        """
        It tells what it can measure.
        """
        listed = self.run_("--list")
        self.assertIn("spin: Small GET, 28 params", listed)
        self.assertIn("us; web", listed)

    def test_unknownRow(self) -> None:
        """
        It refuses a row that there is not.
        """
        error = self.assertRaises(AssertionError, self.run_, "--rows", "nonsense")
        self.assertIn("no such row: nonsense; see --list", str(error))


class WorkersTests(SynchronousTestCase):
    """
    The comparison of workers with one process.
    """

    def test_short(self) -> None:
        """
        All is measured, and shown as numbers that can be.
        """
        program("gcc")
        script = BENCHMARKS / "workers.py"
        options = ("--rounds", 1, "--seconds", 0.2, "--connections", 4)
        head, *rows = output([sys.executable, script, *options]).splitlines()
        self.assertIn("req/s", head)
        self.assertEqual(len(rows), 6)
        for row in rows:
            found = re.search(r"(one process|--workers 2) +(\d+) +([\d.]+)x", row)
            assert found is not None, row
            self.assertGreater(int(found[2]), 0)
