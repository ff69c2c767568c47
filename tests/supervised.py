# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Processes that are none, for tests of those that start workers.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ProcessDone,
    ProcessExitedAlready,
    ProcessTerminated,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from twisted_fastcgi.figures import Statistics
from twisted_fastcgi.workerlink import TellOwn


class Process:
    """
    A process that was started.

    @ivar signals: What it was sent.
    @ivar link: The parent's end of its link.
    """

    def __init__(self, pid: int, protocol: Any, arguments: tuple[Any, ...]) -> None:
        self.pid = pid
        self.protocol = protocol
        self.arguments = arguments
        self.signals: list[int] = []
        self.ended = False
        self.asked: list[Deferred[Any]] = []
        protocol.link.callRemote = self._ask
        protocol.makeConnection(self)

    def signalProcess(self, number: int) -> None:
        """
        See L{IProcessTransport.signalProcess}.
        """
        if self.ended:
            raise ProcessExitedAlready()
        self.signals.append(number)

    def serve(self) -> None:
        """
        Begin to serve.
        """
        self.protocol.link.receiveServing(33, 34)

    def tell(self, figures: Statistics) -> None:
        """
        Answer the last question for figures, or tell the last ones.
        """
        if self.asked:
            self.asked.pop().callback({"figures": figures})
        else:
            self.protocol.link.receiveFarewell(figures)

    def _ask(self, command: Any) -> Deferred[Any]:
        assert command is TellOwn
        self.asked.append(Deferred())
        return self.asked[-1]

    def exit(self, status: int = 0, number: int | None = None) -> None:
        """
        End, but for the pipes.
        """
        self.ended = True
        well = status == 0 and number is None
        why: Any = ProcessDone(0) if well else ProcessTerminated(status, number)
        self.reason = Failure(why)
        self.protocol.processExited(self.reason)

    def end(self, status: int = 0, number: int | None = None) -> None:
        """
        End.
        """
        self.exit(status, number)
        self.protocol.processEnded(self.reason)

    def kill(self) -> None:
        """
        End as by SIGKILL.
        """
        self.end(0, signal.SIGKILL)


class ProcessReactor(MemoryReactorClock):
    """
    A reactor that starts no processes.

    @ivar processes: Those that it was to start.
    @ivar failing: Whether the system has no room for any.
    @ivar full: Whether there is no room for a connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.failing = False
        self.full = False

    def adoptStreamConnection(self, *arguments: Any) -> None:
        """
        See L{IReactorSocket.adoptStreamConnection
            <twisted.internet.interfaces.IReactorSocket.adoptStreamConnection>}.
        """
        if self.full:
            raise OSError(24, "too many")
        super().adoptStreamConnection(*arguments)

    def spawnProcess(self, protocol: Any, *arguments: Any, childFDs: Any) -> None:
        """
        See L{IReactorProcess.spawnProcess}.
        """
        if self.failing:
            raise BlockingIOError(11, "no room")
        for fd in childFDs.values():
            if isinstance(fd, int):
                os.fstat(fd)
        pid = 100 + len(self.processes)
        process = Process(pid, protocol, (*arguments, childFDs))
        self.processes.append(process)

    def alive(self) -> list[Process]:
        """
        Tell which processes have not ended.
        """
        return [process for process in self.processes if not process.ended]
