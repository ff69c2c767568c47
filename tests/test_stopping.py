# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.stopping}.
"""

from __future__ import annotations

import os
import signal
import subprocess
from threading import Thread
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from tests.programs import PATIENCE, SCRIPTS, ask, environment, until
from twisted_fastcgi.stopping import CleanStop


class Reactor:
    """
    What is used of a reactor.

    @ivar calls: What it was told.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callWhenRunning(self, f: Any) -> None:
        self.calls.append(f)

    def callFromThread(self, f: Any) -> None:
        self.calls.append(f)

    def stop(self) -> None:
        self.calls.append("stop")


class CleanStopTests(SynchronousTestCase):
    """
    SIGTERM stops the process, which ends with exit status 0.
    """

    def setUp(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        self.reactor = Reactor()

    def start(self, handler: Any) -> None:
        """
        Start the service in a process with some handler.
        """
        signal.signal(signal.SIGTERM, handler)
        CleanStop(self.reactor).startService()
        self.reactor.calls.pop()()

    def test_stop(self) -> None:
        """
        The signal stops the reactor, in its own time, and a second one does
        not do that again.
        """
        self.start(lambda *_: None)
        for expected in (["stop"], []):
            os.kill(os.getpid(), signal.SIGTERM)
            (stop,) = self.reactor.calls
            del self.reactor.calls[:]
            stop()
            self.assertEqual(self.reactor.calls, expected)
            del self.reactor.calls[:]

    def test_stopped(self) -> None:
        """
        A reactor that was stopped by something else meanwhile is left alone.
        """

        def fail() -> None:
            raise ReactorNotRunning()

        self.reactor.stop = fail  # type: ignore[method-assign]
        self.start(lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        (stop,) = self.reactor.calls
        stop()

    def test_noHandler(self) -> None:
        """
        If the reactor does not handle the signal, nobody does.
        """
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            self.start(handler)
            self.assertEqual(signal.getsignal(signal.SIGTERM), handler)

    def test_early(self) -> None:
        """
        A signal before the reactor runs stops it as soon as it does.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        CleanStop(self.reactor).startService()
        os.kill(os.getpid(), signal.SIGTERM)
        install, stop = self.reactor.calls
        signal.signal(signal.SIGTERM, lambda *_: None)
        del self.reactor.calls[:]
        install()
        stop()
        self.assertEqual(self.reactor.calls, ["stop"])

    def test_neverRun(self) -> None:
        """
        After the service has stopped, nobody handles the signal who did not
        before; who does so meanwhile, or did before, goes on.
        """

        def handler(*_: object) -> None:
            pass

        for before, meanwhile, after in (
            (signal.SIG_DFL, None, signal.SIG_DFL),
            (signal.SIG_DFL, handler, handler),
            (handler, None, handler),
        ):
            signal.signal(signal.SIGTERM, before)
            service = CleanStop(self.reactor)
            service.startService()
            if meanwhile is not None:
                signal.signal(signal.SIGTERM, meanwhile)
            service.stopService()
            self.assertEqual(signal.getsignal(signal.SIGTERM), after)

    def test_otherThread(self) -> None:
        """
        In another thread than the main one, which alone may handle signals, the
        service starts as well.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        thread = Thread(target=CleanStop(self.reactor).startService)
        thread.start()
        thread.join()
        self.assertEqual(len(self.reactor.calls), 1)
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)

    def test_programs(self) -> None:
        """
        C{twistd fastcgi} and C{twist fastcgi} end so.
        """
        for program in ("twistd -n --pidfile=", "twist"):
            # The path of a Unix socket must not be long.
            path = os.path.relpath(self.mktemp())
            command = f"{SCRIPTS}/{program} fastcgi --port unix:{path}"
            process = subprocess.Popen(
                command.split(),
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.addCleanup(process.kill)
            with process, process.stdout as log:  # type: ignore[union-attr]
                list(until("serving ", log))
                # An answer tells that the reactor runs.
                ask(path, REQUEST_URI="/")
                process.terminate()
                rest = log.read()
            self.assertEqual(process.wait(PATIENCE), 0, rest)
            self.assertIn("Received SIGTERM", rest)
            self.assertFalse(os.path.exists(path))
