# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Several processes on the same sockets.

The parent opens the sockets and serves nothing itself.  Its workers inherit them;
each is started again when it ends, and one after another when code is to be loaded
anew.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from twisted_fastcgi.figures import Statistics
from twisted_fastcgi.notify import Notifier
from twisted_fastcgi.peers import Peers
from twisted_fastcgi.ports import AcceptingPort
from twisted_fastcgi.service import CannotServe, FastCGIService
from twisted_fastcgi.signals import SignalHandler, hasTerminal
from twisted_fastcgi.workerprocess import WorkerProcess, forwarded, workerCommand

FIRST_DELAY = 0.5
"""
Seconds until a worker that has ended starts again; twice as many each further time.
"""

LONGEST_DELAY = 30.0
"""
So many at the most.
"""

LONG_LIFE = 60.0
"""
Seconds after which the end of a worker counts as the first one again.
"""

_UNSHARED = (
    "several workers can't share what it makes; listen on tcp:, unix:, fcgi: or "
    "systemd:"
)


@implementer(IStreamServerEndpoint)
class LentEndpoint:
    """
    An endpoint whose port is for other processes to accept connections on.
    """

    def __init__(self, endpoint: IStreamServerEndpoint) -> None:
        """
        @param endpoint: What listens.
        """
        self._endpoint = endpoint
        self._port: Any = None

    def __str__(self) -> str:
        return str(self._endpoint)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen, and accept nothing.

        @param protocolFactory: What gets no connections.
        @return: Fires with the port; fails with L{ValueError} if it is none that
            others can inherit.
        """
        listening = self._endpoint.listen(protocolFactory)
        if listening.called:
            return listening.addCallback(self._lend, protocolFactory)
        # The workers would have to wait.
        listening.addErrback(lambda _: None)
        listening.cancel()
        return fail(ValueError(_UNSHARED))

    def _lend(self, port: Any, factory: IProtocolFactory) -> Any:
        # Something may be between the socket and the factory, such as TLS.
        if getattr(port, "factory", None) is not factory or not hasattr(port, "fileno"):
            port.stopListening()
            raise ValueError(_UNSHARED)
        self._port = port
        if isinstance(port, AcceptingPort):
            port.lend()
        else:
            port.stopReading()
        return port

    def fileno(self) -> int:
        """
        @return: The file descriptor of the socket.
        """
        fd: int = self._port.fileno()
        return fd


class Slot:
    """
    The place of a worker, which processes of it take one after another.

    @ivar number: The number of the worker.
    @ivar process: The one that serves, or is about to.
    @ivar isReloading: Whether the next one is there already.
    """

    def __init__(
        self, reactor: Any, number: int, start: Callable[[Slot], object]
    ) -> None:
        """
        @param reactor: Tells the time.
        @param number: The number of the worker.
        @param start: Starts a process for this.
        """
        self.number = number
        self.process: WorkerProcess | None = None
        self.isReloading = False
        self._reactor = reactor
        self._start = start
        self._failures = 0
        self._waiting: IDelayedCall | None = None

    def startLater(self, process: WorkerProcess) -> float:
        """
        Start the next process after a while.

        @param process: The one that has ended.
        @return: In how many seconds.
        """
        if self._reactor.seconds() - process.started >= LONG_LIFE:
            self._failures = 0
        delay: float = min(FIRST_DELAY * 2**self._failures, LONGEST_DELAY)
        # More than that is never asked for.
        self._failures = min(self._failures + 1, 16)
        self._waiting = self._reactor.callLater(delay, self._start, self)
        return delay

    def startNot(self) -> None:
        """
        Do not start the next process, should it be due.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.active():
            waiting.cancel()


@implementer(IProtocolFactory)
class Supervisor:
    """
    Starts workers, and sees to it that they are there until the drain.

    It is the factory of the sockets, too, for whose service the end of all
    workers is the drain; connections it gets none.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        count: int,
        grace: float,
        folder: str,
        stop: Callable[[CannotServe], object],
        reloading: Callable[[bool], object] = bool,
    ) -> None:
        """
        @param reactor: See L{WorkerProcess}.
        @param command: What to run.
        @param count: How many workers there are to be.
        @param grace: Seconds that requests in hand have when a worker ends.
        @param folder: The directory to start them in.
        @param stop: Stops the parent when no worker gets to serve at the start.
        @param reloading: Told when the workers begin to be replaced, L{True}, and
            when that is done, L{False}.
        """
        self._reactor = reactor
        self._command = command
        self._grace = grace
        self._folder = folder
        self._stop = stop
        self._reloading = reloading
        self._slots = [
            Slot(reactor, number, self._start) for number in range(1, count + 1)
        ]
        self._processes: set[WorkerProcess] = set()
        self._fds: list[int] = []
        now = time.time()
        self._gone = Statistics(started=now, taken=now)
        self._hasServed = False
        self._stopping = True
        self._reloads = 0
        self._silent = set(range(1, count + 1))
        self._waiting: list[Deferred[None]] = []
        self._drained: Deferred[None] | None = None

    # As a factory

    def doStart(self) -> None:
        """
        See L{IProtocolFactory.doStart}.
        """

    def doStop(self) -> None:
        """
        See L{IProtocolFactory.doStop}.
        """

    def buildProtocol(self, addr: IAddress) -> None:
        """
        Refuse a connection, which should have been for a worker.
        """

    def drain(self, grace: float) -> Deferred[None]:
        """
        Have all workers end.

        @param grace: Known already.
        @return: Fires when all have ended.
        """
        self._stopping = True
        for slot in self._slots:
            slot.startNot()
        if not self._processes:
            return succeed(None)
        for process in list(self._processes):
            process.leave()
        self._drained = Deferred()
        return self._drained

    # The workers

    def start(self, fds: Iterable[int]) -> None:
        """
        Start all workers.

        @param fds: The sockets that they inherit.
        """
        self._fds = list(fds)
        self._stopping = False
        self._hasServed = False
        for slot in self._slots:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        slot.process = self._spawn(slot)

    def _spawn(self, slot: Slot) -> WorkerProcess:
        process = WorkerProcess(
            self._reactor,
            slot.number,
            self._grace,
            self._ended,
            self.statistics,
            self._passOn,
        )
        self._processes.add(process)
        process.served.addCallback(self._served, slot.number)
        folder = None if self._folder == os.getcwd() else self._folder
        process.spawn(self._command, self._fds, folder)
        return process

    def _served(self, served: bool, number: int) -> bool:
        if served:
            self._silent.discard(number)
            self._tellServing()
        return served

    def whenServing(self) -> Deferred[None]:
        """
        Wait for the workers.

        @return: Fires when each of them has begun to serve.
        """
        serving: Deferred[None] = Deferred()
        self._waiting.append(serving)
        self._tellServing()
        return serving

    def _tellServing(self) -> None:
        if not self._silent:
            waiting, self._waiting = self._waiting, []
            for serving in waiting:
                serving.callback(None)

    def statistics(self) -> Deferred[Statistics]:
        """
        Add up the figures of all workers, also of those that have ended: so what
        they count never falls.  Of one that does not answer these are what it has
        told last.

        @return: The sum.
        """
        asked = [process.ask() for process in self._processes if process.hasServed]
        return DeferredList(asked).addCallback(self._sum)

    def _sum(self, _: object) -> Statistics:
        found = (process.figures for process in self._processes)
        return sum(filter(None, found), self._gone)

    def _passOn(
        self, process: WorkerProcess, fds: Sequence[int]
    ) -> Deferred[list[bool]]:
        """
        Pass the connections of a worker on to its successor, or another one.
        """
        own = self._slots[process.number - 1].process
        others = [own, *(slot.process for slot in self._slots)]
        able = [
            each
            for each in others
            if each is not None and each is not process and each.canTake
        ]
        if self._stopping or not able:
            return succeed([False] * len(fds))
        return able[0].link.handOver(fds)

    def signal(self, number: int) -> None:
        """
        Pass a signal on to all workers.

        @param number: Which.
        """
        for process in list(self._processes):
            process.signal(number)

    def _ended(self, process: WorkerProcess, how: str) -> None:
        """
        Go on after the end of a process.
        """
        self._processes.discard(process)
        if process.figures is not None:
            self._gone += process.figures.withoutProcess()
        self._hasServed = self._hasServed or process.hasServed
        slot = self._slots[process.number - 1]
        isNeeded = slot.process is process and not self._stopping
        if slot.process is process:
            slot.process = None
        if isNeeded and not self._hasServed and not self._processes:
            self._stop(CannotServe(f"{process} {how} before it served"))
        elif isNeeded and not slot.isReloading:
            self._startLater(slot, process, how)
        else:
            self._tell(process, how)
        self._tellDrained()

    def _startLater(self, slot: Slot, process: WorkerProcess, how: str) -> None:
        self._log.error(
            "worker {worker} (pid {pid}) {how}; it starts again in {delay} s",
            worker=process.number,
            pid=process.pid,
            how=how,
            delay=slot.startLater(process),
        )

    def _tell(self, process: WorkerProcess, how: str) -> None:
        values = {"worker": process.number, "pid": process.pid, "how": how}
        if process.isLeaving:
            self._log.info("worker {worker} (pid {pid}) has left: it {how}", **values)
        else:
            self._log.error("worker {worker} (pid {pid}) {how}", **values)

    def _tellDrained(self) -> None:
        drained = self._drained
        if drained is not None and not self._processes:
            self._drained = None
            drained.callback(None)

    # New code

    def reload(self) -> None:
        """
        Replace all workers, one after another: the new process serves before the
        old one finishes its requests and ends.  If one does not get to serve, the
        others stay as they are.

        While that goes on, it will be done once more; during the drain nothing is.
        """
        if self._stopping:
            return
        # Code that changes from now on may be loaded already.
        self._reloads = min(self._reloads + 1, 2)
        if self._reloads == 1:
            self._reloading(True)
            Deferred.fromCoroutine(self._reloadAll())

    async def _reloadAll(self) -> None:
        while self._reloads and not self._stopping:
            self._log.info("the workers are replaced one after another")
            for slot in self._slots:
                if not await self._replace(slot):
                    break
            else:
                self._log.info("all workers are replaced")
            self._reloads -= 1
        self._reloads = 0
        self._reloading(False)

    async def _replace(self, slot: Slot) -> bool:
        """
        @return: Whether to go on.
        """
        slot.isReloading = True
        slot.startNot()
        process = self._spawn(slot)
        served = await process.served
        slot.isReloading = False
        if not (served or self._stopping):
            self._keepOld(slot, process)
        if self._stopping or not served:
            return False
        old, slot.process = slot.process, process
        if old is not None:
            old.leave()
            await old.gone
        return not self._stopping

    def _keepOld(self, slot: Slot, process: WorkerProcess) -> None:
        """
        Go on without a new process that did not get to serve.
        """
        self._log.error(
            "the reload has stopped: the new worker {worker} (pid {pid}) ended before "
            "it served; those that are not replaced yet go on as they are",
            worker=process.number,
            pid=process.pid,
        )
        if slot.process is None:
            self._startLater(slot, process, "did not serve")


class WorkersService(FastCGIService):
    """
    Opens sockets, and has workers serve on them.

    SIGHUP replaces the workers one after another, unless it says that the terminal
    is closed; SIGUSR1 is passed on to them.
    """

    def __init__(
        self,
        endpoints: Iterable[IStreamServerEndpoint],
        command: Callable[[int], Sequence[str]],
        count: int,
        grace: float,
        *,
        folder: str,
        what: str,
        peers: Sequence[Peers],
        notifier: Notifier,
        reactor: Any,
    ) -> None:
        """
        @param endpoints: Where to listen.
        @param command: Tells what to run for so many sockets.
        @param count: How many workers there are to be.
        @param grace: Seconds that requests in hand have when a worker ends.
        @param folder: The directory to start them in.
        @param what: What is served, for the log.
        @param peers: See L{FastCGIService}: the workers see to that, too.
        @param notifier: Is told of reloads.
        @param reactor: The reactor.
        """
        self._lent = [LentEndpoint(endpoint) for endpoint in endpoints]
        self._notifier = notifier
        self._supervisor = supervisor = Supervisor(
            reactor,
            command(len(self._lent)),
            count,
            grace,
            folder,
            self._stopReactor,
            self._tellReloading,
        )
        factory: Any = supervisor
        many = f"{what} by {count} worker{'s' * (count > 1)}"
        super().__init__(
            self._lent, factory, grace, what=many, peers=peers, reactor=reactor
        )
        again = partial(supervisor.signal, signal.SIGUSR1)
        self._handlers = [
            SignalHandler(reactor, signal.SIGHUP, self._hangUp),
            SignalHandler(reactor, signal.SIGUSR1, again),
        ]

    def startService(self) -> None:
        """
        Begin to listen, and start the workers as soon as the reactor can hear of
        their end.

        @raise CannotServe: If an endpoint cannot listen.
        """
        super().startService()
        # Under nohup it is ignored.
        isFatal = signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        self._hasTerminal = isFatal and hasTerminal()
        for handler in self._handlers:
            handler.install()
        self._clock().callWhenRunning(self._begin)

    def whenServing(self) -> Deferred[None]:
        """
        Wait for the ports, and for the workers.

        @return: Fires when all workers serve.
        """
        opened = super().whenServing()
        return opened.addCallback(lambda _: self._supervisor.whenServing())

    def _hangUp(self) -> None:
        """
        Replace the workers; or end as other programs do whose terminal is closed,
        if that is what the signal means.
        """
        if self._hasTerminal and not hasTerminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._supervisor.reload()

    def _tellReloading(self, begins: bool) -> None:
        if begins:
            self._notifier.reloading("replacing the workers")
        elif self.running:
            self._notifier.ready(f"serving {self.description}")

    def _begin(self) -> None:
        if self.running:
            self._supervisor.start(endpoint.fileno() for endpoint in self._lent)

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, and have all workers finish what they have in hand.

        @return: Fires when all have ended.
        """
        return super().stopService().addCallback(self._restore)

    def _restore(self, _: object) -> None:
        for handler in self._handlers:
            handler.restore()


def makeWorkers(
    options: Any, what: str, notifier: Notifier, reactor: Any
) -> WorkersService:
    """
    Make the service for options that ask for workers.

    @param options: L{twisted_fastcgi.options.Options}, parsed.
    @param what: What is served, for the log.
    @param notifier: See L{WorkersService}.
    @param reactor: The reactor.
    """
    level = (options.parent or {}).get("logLevel", LogLevel.debug).name
    words = forwarded(options, options.words)
    return WorkersService(
        options["endpoints"],
        partial(workerCommand, reactor, level, words),
        options["workers"],
        options["grace"],
        folder=options["folder"],
        what=what,
        peers=options["peers"],
        notifier=notifier,
        reactor=reactor,
    )
