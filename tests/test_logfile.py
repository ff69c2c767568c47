# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.logfile}.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests import wire
from tests.programs import PATIENCE, ROOT, environment
from tests.transports import Application, ServerTestCase
from twisted_fastcgi.accesslog import combinedLogFormatter
from twisted_fastcgi.logfile import LogFile, LoggingSite, openLog


def said(events: Any) -> list[tuple[str, str]]:
    """
    @return: The levels and texts of what was logged.
    """
    return [
        (event["log_level"].name, event["log_format"].format(**event))
        for event in events
        if event["log_namespace"] == "twisted_fastcgi.logfile"
    ]


class OpenTests(SynchronousTestCase):
    """
    L{openLog} opens a file to append to.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()

    def open(self, *owner: int | None) -> os.stat_result:
        """
        @return: What is known of the file, once it was opened.
        """
        fd = openLog(self.path, *owner)
        os.write(fd, b"x")
        os.close(fd)
        return os.stat(self.path)

    def test_append(self) -> None:
        """
        What was written before stays there.
        """
        self.open()
        self.open()
        self.assertEqual(Path(self.path).read_text(), "xx")

    def test_inherit(self) -> None:
        """
        Programs that this one starts do not get the file.
        """
        fd = openLog(self.path)
        self.addCleanup(os.close, fd)
        self.assertFalse(os.get_inheritable(fd))

    def test_owner(self) -> None:
        """
        A new file belongs to whom the process will be.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file away")
        found = self.open(12, 34)
        self.assertEqual((found.st_uid, found.st_gid), (12, 34))
        os.unlink(self.path)
        found = self.open(12, None)
        self.assertEqual((found.st_uid, found.st_gid), (12, os.getegid()))
        os.unlink(self.path)
        found = self.open(None, 34)
        self.assertEqual((found.st_uid, found.st_gid), (0, 34))

    def test_othersFile(self) -> None:
        """
        A file that is there already, or that somebody has put a link to, is
        not given away.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file away")
        target = Path(self.mktemp())
        target.write_text("secret")
        os.symlink(os.path.abspath(target), self.path)
        self.assertEqual(self.open(12, 34).st_uid, 0)
        os.unlink(self.path)
        os.rename(target, self.path)
        self.assertEqual(self.open(12, 34).st_uid, 0)

    def test_link(self) -> None:
        """
        A link may lead to a file that is to be made.
        """
        target = self.mktemp()
        os.symlink(os.path.abspath(target), self.path)
        self.assertTrue(stat.S_ISREG(self.open().st_mode))
        self.assertTrue(os.path.exists(target))

    def test_pipe(self) -> None:
        """
        A pipe that nobody reads is refused, instead of waited for.
        """
        os.mkfifo(self.path)
        self.assertRaises(OSError, openLog, self.path)


class LogFileTests(ServerTestCase):
    """
    L{LogFile} has lines appended to it, whatever happens.
    """

    def logFile(self, path: str | None = None) -> LogFile:
        """
        Open a file.
        """
        self.path = path or self.mktemp()
        logFile = LogFile(self.path)
        self.addCleanup(logFile.close)
        return logFile

    def test_reopen(self) -> None:
        """
        After the file was renamed, lines go to the old one until it is opened
        anew, and to a new one afterwards.
        """
        logFile = self.logFile()
        logFile.write("one\n")
        os.rename(self.path, self.path + ".1")
        logFile.write("two\n")
        logFile.reopen()
        logFile.write("three \u20ac \udcff\n")
        self.assertEqual(Path(self.path + ".1").read_text(), "one\ntwo\n")
        self.assertEqual(Path(self.path).read_text("utf-8"), "three \u20ac \\udcff\n")
        self.assertEqual(said(self.events), [])

    def test_cannotReopen(self) -> None:
        """
        If there can be no new file, the old one is kept, and a line says so.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        logFile = self.logFile(str(folder / "access.log"))
        moved = folder.rename(f"{folder}.old")
        logFile.reopen()
        logFile.write("kept\n")
        self.assertEqual((moved / "access.log").read_text(), "kept\n")
        line = (
            f"cannot reopen the access log {self.path}: No such file or directory; "
            "the old file is kept"
        )
        self.assertEqual(said(self.events), [("error", line)])

    def test_full(self) -> None:
        """
        Where nothing can be written any more, one line says so, and another one
        when lines are written again.
        """
        logFile = self.logFile("/dev/full")
        for _ in range(3):
            logFile.write("lost\n")
        lost = (
            "cannot write to the access log /dev/full: No space left on device; "
            "requests go on without it"
        )
        self.assertEqual(said(self.events), [("error", lost)])
        again = os.open("/dev/null", os.O_WRONLY)
        os.dup2(again, logFile._fd)
        os.close(again)
        for _ in range(2):
            logFile.write("written\n")
        found = "the access log /dev/full is written again; 3 lines are lost"
        self.assertEqual(said(self.events)[1:], [("info", found)])

    def test_torn(self) -> None:
        """
        A line of which only a part was written is ended before the next one.
        """
        path = self.mktemp()
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        logFile = self.logFile(path)
        logFile.write("x" * (1 << 20))
        logFile.write("lost\n")
        self.assertEqual(len(said(self.events)), 1)
        self.assertIn("only a part of a line was written", said(self.events)[0][1])
        size = 0
        while True:
            try:
                size += len(os.read(reader, 1 << 20))
            except BlockingIOError:
                break
        self.assertLess(size, 1 << 20)
        logFile.write("next\n")
        logFile.write("last\n")
        self.assertEqual(os.read(reader, 100), b"\nnext\nlast\n")
        self.assertIn("2 lines are lost", said(self.events)[1][1])

    def test_together(self) -> None:
        """
        Lines that several processes append to one file stay whole.
        """
        path = self.mktemp()
        program = (
            "import sys; from twisted_fastcgi.logfile import LogFile\n"
            "log = LogFile(sys.argv[1])\n"
            "for n in range(2000): log.write(sys.argv[2] * (n % 97 + 1) + '\\n')\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, os.path.abspath(path), letter],
                cwd=ROOT,
                env=environment(),
            )
            for letter in "abc"
        ]
        for process in running:
            self.assertEqual(process.wait(PATIENCE), 0)
        lines = Path(path).read_text().splitlines()
        expected = [n % 97 + 1 for n in range(2000)]
        for letter in "abc":
            own = [line for line in lines if line[0] == letter]
            self.assertEqual([len(line) for line in own], expected)
            self.assertEqual({line.strip(letter) for line in own}, {""})


class SiteTests(ServerTestCase):
    """
    L{LoggingSite} opens its log anew at a signal.
    """

    def setUp(self) -> None:
        super().setUp()
        self.before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, self.before)
        self.clock.callFromThread = lambda f: self.clock.callLater(0, f)  # type: ignore[attr-defined]

    def site(self, path: str | None, application: Any = b"hello") -> LoggingSite:
        """
        Serve a site.
        """
        site = LoggingSite(
            Application(application),
            logPath=path,
            logFormatter=combinedLogFormatter,
            reactor=self.clock,
        )
        self.serve(site)
        return site

    def ask(self, uri: bytes) -> bytes:
        """
        Make a request.

        @return: The body of the answer.
        """
        transport = self.exchange(
            wire.request(wire.variables(REQUEST_URI=uri, SCRIPT_NAME=uri))
        )
        body: bytes = wire.response(transport.value()).body
        return body

    def signalled(self) -> None:
        """
        Raise the signal.
        """
        os.kill(os.getpid(), signal.SIGUSR1)
        self.clock.advance(0)

    def test_signal(self) -> None:
        """
        It does as long as it is started, and leaves the signal alone afterwards.
        """
        path = self.mktemp()
        site = self.site(path)
        for _ in range(2):
            site.doStart()
            self.ask(b"/one")
            os.rename(path, path + ".1")
            self.ask(b"/two")
            self.signalled()
            self.ask(b"/three")
            site.doStop()
            self.assertEqual(signal.getsignal(signal.SIGUSR1), self.before)
            old, new = Path(path + ".1").read_text(), Path(path).read_text()
            self.assertRegex(old, '^.*"GET /one .*\n.*"GET /two .*\n$')
            self.assertRegex(new, '^.*"GET /three .*\n$')
            os.unlink(path)

    def test_noLog(self) -> None:
        """
        Without a log the signal does nothing, least of all end the process.
        """
        site = self.site(None)
        site.doStart()
        self.signalled()
        site.doStop()

    def test_full(self) -> None:
        """
        Requests are answered when they can't be logged.
        """
        site = self.site("/dev/full")
        site.doStart()
        for _ in range(3):
            self.assertEqual(self.ask(b"/"), b"hello")
        site.doStop()
        self.assertEqual(len(said(self.events)), 1)
