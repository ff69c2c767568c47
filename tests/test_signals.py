# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.signals}.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.programs import ROOT, environment
from twisted_fastcgi import signals
from twisted_fastcgi.signals import SignalHandler, hasTerminal

#: A signal that neither Twisted nor the test runners use.
NUMBER = signal.SIGUSR2


class Reactor:
    """
    What is used of a reactor.

    @ivar calls: What it is to call.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callFromThread(self, f: Any) -> None:
        self.calls.append(f)

    def run(self) -> None:
        """
        Call what is to be called.
        """
        while self.calls:
            self.calls.pop(0)()


class SignalHandlerTests(SynchronousTestCase):
    """
    L{SignalHandler} has a function called at a signal.
    """

    def setUp(self) -> None:
        before = signal.getsignal(NUMBER)
        self.addCleanup(signal.signal, NUMBER, before)
        self.reactor = Reactor()
        self.done: list[str] = []

    def handler(self, word: str = "ours") -> SignalHandler:
        """
        @return: A handler that notes a word.
        """
        return SignalHandler(self.reactor, NUMBER, lambda: self.done.append(word))

    def raised(self) -> list[str]:
        """
        Raise the signal.

        @return: What was done for it.
        """
        del self.done[:]
        os.kill(os.getpid(), NUMBER)
        self.reactor.run()
        return self.done

    def theirs(self, *_: object) -> None:
        """
        Handle the signal, as somebody else does.
        """
        self.done.append("theirs")

    def test_reactor(self) -> None:
        """
        The function is called for each signal, when the reactor gets round to
        it.
        """
        signal.signal(NUMBER, signal.SIG_DFL)
        self.handler().install()
        os.kill(os.getpid(), NUMBER)
        self.assertEqual((self.done, len(self.reactor.calls)), ([], 1))
        self.reactor.run()
        self.assertEqual(self.done, ["ours"])
        self.assertEqual(self.raised(), ["ours"])

    def test_chain(self) -> None:
        """
        Who handled the signal before does so as well, at once, and alone
        afterwards.
        """
        signal.signal(NUMBER, self.theirs)
        handler = self.handler()
        handler.install()
        self.assertEqual(self.raised(), ["theirs", "ours"])
        handler.restore()
        self.assertEqual(signal.getsignal(NUMBER), self.theirs)
        self.assertEqual(self.raised(), ["theirs"])

    def test_restore(self) -> None:
        """
        A signal that nobody handled, or that was ignored, is so again.
        """
        for before in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(NUMBER, before)
            handler = self.handler()
            handler.install()
            self.assertEqual(self.raised(), ["ours"])
            handler.restore()
            self.assertIs(signal.getsignal(NUMBER), before)

    def test_tooLate(self) -> None:
        """
        For a signal that came before, nothing is done afterwards.
        """
        handler = self.handler()
        handler.install()
        os.kill(os.getpid(), NUMBER)
        handler.restore()
        self.reactor.run()
        self.assertEqual(self.done, [])

    def test_overtaken(self) -> None:
        """
        Somebody who has handled the signal meanwhile is left alone, also if
        that one calls the handler after its time.
        """
        signal.signal(NUMBER, self.theirs)
        first, second = self.handler("first"), self.handler("second")
        first.install()
        second.install()
        self.assertEqual(self.raised(), ["theirs", "first", "second"])
        first.restore()
        self.assertEqual(self.raised(), ["theirs", "second"])
        second.restore()
        self.assertEqual(self.raised(), ["theirs"])

    def test_again(self) -> None:
        """
        To install it twice is to install it once; it can be installed again.
        """
        signal.signal(NUMBER, self.theirs)
        handler = self.handler()
        handler.restore()
        for _ in range(2):
            handler.install()
            handler.install()
            self.assertEqual(self.raised(), ["theirs", "ours"])
            handler.restore()
            handler.restore()
            self.assertEqual(signal.getsignal(NUMBER), self.theirs)

    def test_otherThread(self) -> None:
        """
        In another thread than the main one, which alone may handle signals,
        nothing happens.
        """
        signal.signal(NUMBER, self.theirs)
        handler = self.handler()
        for function in (handler.install, handler.restore):
            thread = Thread(target=function)
            thread.start()
            thread.join()
            self.assertEqual(signal.getsignal(NUMBER), self.theirs)

    def test_process(self) -> None:
        """
        In a real reactor the function is called in its thread, also for a
        signal that came before it ran.
        """
        program = (
            "import os, signal, threading\n"
            "from twisted.internet import reactor\n"
            "from twisted_fastcgi.signals import SignalHandler\n"
            "def done():\n"
            "    print(threading.current_thread() is threading.main_thread())\n"
            "    global left; left -= 1\n"
            "    if not left: return reactor.stop()\n"
            "    reactor.callInThread(os.kill, os.getpid(), signal.SIGHUP)\n"
            "left = 2\n"
            "SignalHandler(reactor, signal.SIGHUP, done).install()\n"
            "os.kill(os.getpid(), signal.SIGHUP)\n"
            "reactor.run()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.stdout, done.stderr), ("True\nTrue\n", ""))


class TerminalTests(SynchronousTestCase):
    """
    Tests for L{hasTerminal}.
    """

    def test_opened(self) -> None:
        """
        There is a terminal if the one of the process can be opened.
        """
        for path, isThere in ((os.devnull, True), ("/nosuch/tty", False)):
            self.patch(signals, "_TERMINAL", path)
            self.assertIs(hasTerminal(), isThere)
