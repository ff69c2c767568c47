# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.workerprocess}.
"""

from __future__ import annotations

import os
import signal
import sys

from twisted.internet.defer import succeed
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.supervised import Process, ProcessReactor
from twisted_fastcgi.options import Options
from twisted_fastcgi.workerprocess import (
    MARGIN,
    START_TIMEOUT,
    WorkerProcess,
    forwarded,
    interpreterOptions,
    reactorName,
    workerCommand,
    workerEnvironment,
)


class CommandTests(SynchronousTestCase):
    """
    How a worker is started.
    """

    def test_interpreterOptions(self) -> None:
        """
        Options of the interpreter are known, whatever follows them.
        """
        for arguments, expected in [
            ("python", ""),
            ("python twist -x", ""),
            ("python -", ""),
            ("python -- -O", ""),
            ("python -m twisted -O", ""),
            ("python -c pass -O", ""),
            ("python -O -B twist -X", "-O -B"),
            ("python -OBm twisted", "-OB"),
            ("python -OOcpass", "-OO"),
            ("python -W error -Xdev -X utf8 twist", "-W error -Xdev -X utf8"),
            ("python -Werror::m -m twisted", "-Werror::m"),
            ("python -OW error twist", "-OW error"),
            (
                "python --check-hash-based-pycs always -I x",
                "--check-hash-based-pycs always -I",
            ),
        ]:
            self.assertEqual(
                interpreterOptions(arguments.split()), expected.split(), arguments
            )

    def test_forwarded(self) -> None:
        """
        All options are passed on, however they are written, but where to listen
        and how many workers there are.
        """
        given = [
            *("--workers", "2", "-ptcp:1", "--por=tcp:2", "-p", "tcp:3"),
            *("--listen", "tcp:4", "--work=3", "--display-tr", "-laccess.log"),
            *(
                "--resource",
                "app.root",
                "--add-header",
                "X: y z",
                "--grace=3",
                "--moun",
                "",
            ),
        ]
        self.assertEqual(
            forwarded(Options(), given),
            [
                *("--display-tracebacks", "-laccess.log", "--resource=app.root"),
                *("--add-header=X: y z", "--grace=3", "--mount="),
            ],
        )

    def test_reactorName(self) -> None:
        """
        A worker gets a reactor of the same kind; of one that nobody knows, the
        usual one.
        """
        select = SelectReactor.__new__(SelectReactor)
        self.assertEqual(reactorName(select), "select")
        self.assertEqual(reactorName(self), "default")

    def test_command(self) -> None:
        """
        It is C{twist fastcgi}, whose sockets are its descriptors from 4 on.
        """
        self.patch(sys, "orig_argv", ["python", "-O", "x"])
        command = workerCommand(self, "info", ["--resource=app.root"], 2)
        own = ["-P"] * hasattr(sys.flags, "safe_path")
        self.assertEqual(
            command,
            [
                *(sys.executable, *own, "-O", "-m", "twisted", "--reactor=default"),
                *("--log-format=json", "--log-level=info", "fastcgi"),
                *("--port=fcgi:fd=4", "--port=fcgi:fd=5", "--resource=app.root"),
            ],
        )

    def test_environment(self) -> None:
        """
        It has the variables of its parent, but not what the parent was told for
        itself alone; and it is told its number, and where to go.
        """
        environment = {
            "PATH": "/bin",
            "FCGI_WEB_SERVER_ADDRS": "127.0.0.1",
            "LISTEN_FDS": "1",
            "LISTEN_PID": "7",
            "LISTEN_FDNAMES": "x",
            "NOTIFY_SOCKET": "/run/x",
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": "7",
            "TWISTED_FASTCGI_WORKER": "9",
        }
        expected = {
            "PATH": "/bin",
            "FCGI_WEB_SERVER_ADDRS": "127.0.0.1",
            "TWISTED_FASTCGI_WORKER": "3",
            "TWISTED_FASTCGI_LINK": "3",
        }
        self.assertEqual(workerEnvironment(environment, 3, None), expected)
        there = {**expected, "TWISTED_FASTCGI_FOLDER": "/srv"}
        self.assertEqual(workerEnvironment(environment, 3, "/srv"), there)


class WorkerProcessTests(SynchronousTestCase):
    """
    One process of a worker.
    """

    def setUp(self) -> None:
        self.observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)
        self.reactor = ProcessReactor()
        self.endings: list[str] = []
        self.worker = WorkerProcess(
            self.reactor,
            2,
            10.0,
            self.ended,
            lambda: self.fail("not asked"),
            lambda process, fds: succeed([process is self.worker] * len(fds)),
        )

    def ended(self, worker: WorkerProcess, how: str) -> None:
        """
        Note the end.
        """
        self.assertIs(worker, self.worker)
        self.endings.append(how)

    def spawn(self, folder: str | None = None) -> Process:
        """
        Start it.
        """
        self.worker.spawn(["python", "x"], [0, 1], folder)
        (process,) = self.reactor.processes
        return process

    def test_passOn(self) -> None:
        """
        Its connections are passed on in its name.
        """
        self.assertEqual(self.successResultOf(self.worker.passOn([3, 4])), [True, True])

    def logged(self) -> list[str]:
        """
        Tell what is in the log.
        """
        return [formatEvent(event) for event in self.observer]

    def test_spawned(self) -> None:
        """
        It is started with pipes for its log, with its end of the link and with
        the sockets; what is only for it is closed here.
        """
        before = len(os.listdir("/dev/fd"))
        process = self.spawn()
        command, words, environment, folder, fds = process.arguments
        self.assertEqual((command, words, folder), ("python", ["python", "x"], None))
        self.assertEqual(environment["TWISTED_FASTCGI_WORKER"], "2")
        self.assertNotIn("TWISTED_FASTCGI_FOLDER", environment)
        self.assertEqual(
            {fd: fds[fd] for fd in (1, 2, 4, 5)}, {1: "r", 2: "r", 4: 0, 5: 1}
        )
        self.assertEqual(sorted(fds), [0, 1, 2, 3, 4, 5])
        self.assertEqual(len(self.reactor.adoptedStreamConnections), 1)
        self.assertEqual(len(os.listdir("/dev/fd")), before)
        self.assertEqual(str(self.worker), "worker 2 (pid 100)")

    def test_folder(self) -> None:
        """
        Started elsewhere, it is told to come here.
        """
        _, _, environment, folder, _ = self.spawn("/").arguments
        self.assertEqual(folder, "/")
        self.assertEqual(environment["TWISTED_FASTCGI_FOLDER"], os.getcwd())

    def test_serves(self) -> None:
        """
        When it serves, the log has its number, pid, uid and gid, and it may go on
        for ever.
        """
        process = self.spawn()
        self.assertNoResult(self.worker.served)
        process.serve()
        self.assertIs(self.successResultOf(self.worker.served), True)
        self.assertTrue(self.worker.hasServed)
        self.assertEqual(self.logged(), ["worker 2 (pid 100) serves, uid 33, gid 34"])
        self.reactor.advance(10 * START_TIMEOUT)
        self.assertEqual(process.signals, [])

    def test_hangsAtStart(self) -> None:
        """
        If it does not serve in time, it is killed.
        """
        process = self.spawn()
        self.reactor.advance(START_TIMEOUT - 1)
        self.assertEqual(process.signals, [])
        self.reactor.advance(1)
        self.assertEqual(process.signals, [signal.SIGKILL])
        (line,) = self.logged()
        self.assertIn("it did not serve within 120.0 seconds", line)
        process.kill()
        self.assertIs(self.successResultOf(self.worker.served), False)
        self.successResultOf(self.worker.gone)
        self.assertEqual(self.endings, ["was killed by SIGKILL"])

    def test_lost(self) -> None:
        """
        If the link ends and it does not, it is killed in the end; it is not when it
        has ended.
        """
        process = self.spawn()
        process.serve()
        self.worker.lost()
        self.reactor.advance(10 + MARGIN - 0.1)
        self.assertEqual(process.signals, [])
        self.reactor.advance(0.1)
        self.assertEqual(process.signals, [signal.SIGKILL])
        self.assertIn("it did not end within 12.0 seconds", self.logged()[-1])
        process.kill()
        self.worker.lost()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_lostWhileLeaving(self) -> None:
        """
        A process that was told to end has no more time for it.
        """
        process = self.spawn()
        process.serve()
        self.worker.leave()
        self.reactor.advance(5)
        self.worker.lost()
        self.reactor.advance(5 + MARGIN)
        self.assertEqual(process.signals, [signal.SIGTERM, signal.SIGKILL])

    def test_leaves(self) -> None:
        """
        Told to leave, it gets SIGTERM, once, and has time to end.
        """
        process = self.spawn()
        process.serve()
        self.worker.leave()
        self.worker.leave()
        self.reactor.advance(10 + MARGIN - 0.1)
        self.assertEqual(process.signals, [signal.SIGTERM])
        process.end()
        self.successResultOf(self.worker.gone)
        self.assertEqual(self.endings, ["ended with exit status 0"])
        self.reactor.advance(10)
        self.assertEqual(process.signals, [signal.SIGTERM])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hangsAtEnd(self) -> None:
        """
        If it does not leave in time, it is killed, also when it began to serve
        only after it was told to leave.
        """
        process = self.spawn()
        self.worker.leave()
        process.serve()
        self.reactor.advance(10 + MARGIN)
        self.assertEqual(process.signals, [signal.SIGTERM, signal.SIGKILL])
        self.assertIn("did not end within 12.0 seconds", self.logged()[-1])

    def test_signalAfterEnd(self) -> None:
        """
        A signal that comes too late is lost.
        """
        process = self.spawn()
        process.end(1)
        self.worker.signal(signal.SIGUSR1)
        self.assertEqual(process.signals, [])

    def test_endings(self) -> None:
        """
        It is told how it has ended.
        """
        for status, number, expected in [
            (0, None, "ended with exit status 0"),
            (64, None, "ended with exit status 64"),
            (None, signal.SIGSEGV, "was killed by SIGSEGV"),
            (None, 99, "was killed by signal 99"),
        ]:
            self.setUp()
            self.spawn().end(status, number)  # type: ignore[arg-type]
            self.assertEqual(self.endings, [expected])

    def test_lastWords(self) -> None:
        """
        What it has written is logged before its end is told; but nobody waits for
        ever, as another process may have the pipe.
        """
        for heard in (True, False):
            self.setUp()
            process = self.spawn()
            self.worker.outReceived(b"\n")
            self.worker.errReceived(b"last")
            process.exit(1)
            self.assertEqual(self.endings, [])
            if heard:
                self.worker.outReceived(b"words")
                self.worker.processEnded(process.reason)
                lines = [f"worker 2 (pid 100): {word}" for word in ("words", "last")]
                self.assertEqual(self.logged(), lines)
            else:
                self.reactor.advance(0.5)
            self.assertEqual(self.endings, ["ended with exit status 1"])
            self.worker.processEnded(process.reason)
            self.assertEqual(self.endings, ["ended with exit status 1"])
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_logged(self) -> None:
        """
        What it writes is in the log, with its number.
        """
        self.spawn()
        self.worker.outReceived(b"hello\n")
        (event,) = self.observer
        self.assertEqual(event["worker"], 2)
        self.assertIs(event["log_level"], LogLevel.warn)

    def test_notStarted(self) -> None:
        """
        If the system can't start it, it has ended, as is told a little later.
        """
        before = len(os.listdir("/dev/fd"))
        self.reactor.failing = True
        self.worker.spawn(["python"], [], None)
        self.assertEqual(len(os.listdir("/dev/fd")), before)
        self.assertEqual(self.endings, [])
        self.worker.leave()
        self.reactor.advance(0)
        self.assertEqual(self.endings, ["could not be started: [Errno 11] no room"])
        self.assertIs(self.successResultOf(self.worker.served), False)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_notConnected(self) -> None:
        """
        If the system has no descriptor left for its link, it is not started.
        """
        before = len(os.listdir("/dev/fd"))
        self.reactor.full = True
        self.worker.spawn(["python"], [], None)
        self.assertEqual(len(os.listdir("/dev/fd")), before)
        self.assertEqual(self.reactor.processes, [])
        self.reactor.advance(0)
        self.assertEqual(self.endings, ["could not be started: [Errno 24] too many"])
