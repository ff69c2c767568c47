# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A process that was told to stop, and has stopped as it should, says so.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from threading import current_thread, main_thread
from typing import Any

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger


class CleanStop(Service):
    """
    Lets the process end with exit status 0 after SIGTERM.

    Twisted stops the reactor and then kills the process by the same signal,
    which process managers take for a stop, or for a crash, as they see fit.
    With this there is no difference between a reactor that was stopped by the
    signal and one that was stopped by a call.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: What is to be stopped: an L{IReactorCore
            <twisted.internet.interfaces.IReactorCore>} and
            L{IReactorFromThreads
            <twisted.internet.interfaces.IReactorFromThreads>}.
        """
        self._reactor = reactor
        self._isStopping = False

    def startService(self) -> None:
        """
        Take care of the signal as soon as the reactor runs, which installs its
        own handler at its start; and until then, for the process is listening.
        """
        super().startService()
        self._reactor.callWhenRunning(self._install)
        isMain = current_thread() is main_thread()
        if isMain and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handleEarly)

    def stopService(self) -> None:
        """
        Leave the signal alone, if the reactor has never run.
        """
        super().stopService()
        self._forgetEarly()

    def _forgetEarly(self) -> None:
        """
        Have the signal do what it did, if nobody else handles it meanwhile.
        """
        if signal.getsignal(signal.SIGTERM) == self._handleEarly:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handleEarly(self, *_: object) -> None:
        """
        Have the reactor stop as soon as it runs.
        """
        self._reactor.callWhenRunning(self._stop)

    def _install(self) -> None:
        """
        Handle the signal, if the reactor does: whoever runs it without signal
        handlers has something else in mind.
        """
        self._forgetEarly()
        if callable(signal.getsignal(signal.SIGTERM)):
            signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, *_: object) -> None:
        """
        Have the reactor stop, when it gets round to it.
        """
        self._reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        """
        Stop the reactor, once.
        """
        if not self._isStopping:
            self._isStopping = True
            self._log.info("Received SIGTERM, shutting down.")
            # Ctrl-C may have stopped it just now.
            with suppress(ReactorNotRunning):
                self._reactor.stop()
