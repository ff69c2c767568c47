# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Signals that tell a process to do something other than to end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any

#: What only a process that has a terminal can open.
_TERMINAL = "/dev/tty"


def hasTerminal() -> bool:
    """
    @return: Whether this process has a terminal, from which signals come: one that
        was started by a shell, until the terminal is closed.
    """
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class SignalHandler:
    """
    Has a function called in the reactor's thread whenever a signal comes.

    What handled the signal before goes on doing so: C{twistd --logfile}
    rotates its own log at SIGUSR1, say.  A signal that ended the process, or
    was ignored, does so again after L{restore}.
    """

    def __init__(
        self, reactor: Any, number: int, function: Callable[[], object]
    ) -> None:
        """
        @param reactor: What calls the function, as soon as it runs and has
            time for it: an L{IReactorFromThreads
            <twisted.internet.interfaces.IReactorFromThreads>}.
        @param number: The signal, such as C{signal.SIGUSR1}.
        @param function: What is to be done.
        """
        self._reactor = reactor
        self._number = number
        self._function = function
        self._before: Any = None
        self._isInstalled = False

    def install(self) -> None:
        """
        Begin to handle the signal, whether the reactor runs already or not.

        In another thread than the main one, where Python does not let anybody
        handle signals, nothing happens.
        """
        if current_thread() is main_thread() and not self._isInstalled:
            self._isInstalled = True
            self._before = signal.signal(self._number, self._handle)

    def restore(self) -> None:
        """
        Do nothing more at the signal, nor for one that has come already.
        """
        if not self._isInstalled:
            return
        self._isInstalled = False
        # Whoever has handled the signal since then may call this handler.
        if signal.getsignal(self._number) == self._handle:
            # A handler that is not of Python's making can't be put back.
            signal.signal(self._number, self._before or signal.SIG_DFL)

    def _handle(self, number: int, frame: Any) -> None:
        """
        Do what was done before, and have the function called.
        """
        if callable(self._before):
            self._before(number, frame)
        self._reactor.callFromThread(self._call)

    def _call(self) -> None:
        """
        Call the function, unless it is too late.
        """
        if self._isInstalled:
            self._function()
