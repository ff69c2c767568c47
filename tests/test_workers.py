# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.workers}.
"""

from __future__ import annotations

import atexit
import os
import signal
from dataclasses import replace
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.supervised import Process, ProcessReactor
from twisted_fastcgi import workers
from twisted_fastcgi.figures import Statistics
from twisted_fastcgi.notify import Notifier
from twisted_fastcgi.peers import Peers
from twisted_fastcgi.service import CannotServe
from twisted_fastcgi.unixsocket import UnixEndpoint
from twisted_fastcgi.workerlink import ANSWER_TIMEOUT
from twisted_fastcgi.workerprocess import MARGIN, START_TIMEOUT
from twisted_fastcgi.workers import (
    FIRST_DELAY,
    LONG_LIFE,
    LONGEST_DELAY,
    LentEndpoint,
    Supervisor,
    WorkersService,
)

GRACE = 10.0


class SupervisedMixin:
    """
    Has workers that are no processes.
    """

    def setUp(self: Any) -> None:
        """
        Watch the log.
        """
        self.observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)
        self.reactor = ProcessReactor()
        self.problems: list[CannotServe] = []

    def logged(self: Any, level: Any = None) -> list[str]:
        """
        Tell what is in the log.
        """
        return [
            formatEvent(event)
            for event in self.observer
            if level in (None, event["log_level"])
        ]

    def workers(self: Any, count: int = 2, serve: bool = True) -> Supervisor:
        """
        Start some workers.
        """
        supervisor = Supervisor(
            self.reactor,
            ["python"],
            count,
            GRACE,
            os.getcwd(),
            self.problems.append,
        )
        supervisor.start([0])
        if serve:
            for process in self.reactor.processes:
                process.serve()
        return supervisor

    def numbers(self: Any) -> list[int]:
        """
        Tell whose processes are alive.
        """
        return [process.protocol.number for process in self.reactor.alive()]

    def newest(self: Any) -> Process:
        """
        Tell the process that was started last.
        """
        process: Process = self.reactor.processes[-1]
        return process


class RestartTests(SupervisedMixin, SynchronousTestCase):
    """
    A worker that ends starts again.
    """

    def test_started(self) -> None:
        """
        So many workers are started as were asked for, each on the sockets.
        """
        self.workers(3, serve=False)
        self.assertEqual(self.numbers(), [1, 2, 3])
        for process in self.reactor.processes:
            self.assertEqual(process.arguments[-1][4], 0)
            self.assertIsNone(process.arguments[-2])

    def test_folder(self) -> None:
        """
        They are started where the parent was, wherever it is now.
        """
        supervisor = Supervisor(
            self.reactor, ["python"], 1, GRACE, "/", self.problems.append
        )
        supervisor.start([])
        self.assertEqual(self.newest().arguments[-2], "/")

    def test_delays(self) -> None:
        """
        A worker that ends again and again starts after a longer and longer time,
        up to a limit; each end is one line of the log.
        """
        self.workers()
        delays = []
        for _ in range(10):
            process = self.newest()
            process.end(1)
            count = len(self.reactor.processes)
            delay = 0.0
            while len(self.reactor.processes) == count:
                self.reactor.advance(0.25)
                delay += 0.25
            delays.append(delay)
        expected = [min(FIRST_DELAY * 2**n, LONGEST_DELAY) for n in range(10)]
        self.assertEqual(delays, expected)
        lines = self.logged(LogLevel.error)
        self.assertEqual(len(lines), 10)
        self.assertEqual(
            lines[0],
            "worker 2 (pid 101) ended with exit status 1; it starts again in 0.5 s",
        )
        self.assertEqual(self.numbers(), [1, 2])
        self.assertEqual(self.problems, [])

    def test_longLife(self) -> None:
        """
        After a long life the first delay holds again, however it ended.
        """
        self.workers()
        for life, delay in [(1.0, 0.5), (1.0, 1.0), (LONG_LIFE, 0.5), (1.0, 1.0)]:
            process = self.newest()
            if not process.protocol.hasServed:
                process.serve()
            self.reactor.advance(life)
            process.end()
            count = len(self.reactor.processes)
            self.reactor.advance(delay - 0.1)
            self.assertEqual(len(self.reactor.processes), count)
            self.reactor.advance(0.1)
            self.assertEqual(len(self.reactor.processes), count + 1)

    def test_noneServes(self) -> None:
        """
        If at the start no worker gets to serve, the parent gives up, as it would
        if it were to serve itself.
        """
        supervisor = self.workers(serve=False)
        first, second = self.reactor.processes
        first.end(64)
        self.assertEqual(self.problems, [])
        second.end(64)
        (problem,) = self.problems
        self.assertEqual(
            str(problem),
            "worker 2 (pid 101) ended with exit status 64 before it served",
        )
        self.successResultOf(supervisor.drain(GRACE))
        self.reactor.advance(LONGEST_DELAY)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_oneServes(self) -> None:
        """
        If one gets to serve, the others are started again, and so is that one.
        """
        self.workers(serve=False)
        first, second = self.reactor.processes
        first.serve()
        second.end(64)
        first.end(1)
        self.assertEqual(self.problems, [])
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(sorted(self.numbers()), [1, 2])

    def test_noRoom(self) -> None:
        """
        A process that can't be started is tried again, too.
        """
        self.workers()
        self.reactor.failing = True
        self.newest().kill()
        self.reactor.advance(FIRST_DELAY)
        self.reactor.advance(0)
        self.assertIn("worker 2 (pid 0) could not be started", self.logged()[-1])
        self.reactor.failing = False
        self.reactor.advance(2 * FIRST_DELAY)
        self.assertEqual(self.numbers(), [1, 2])

    def test_signal(self) -> None:
        """
        A signal is passed on to all of them.
        """
        supervisor = self.workers()
        supervisor.signal(signal.SIGUSR1)
        for process in self.reactor.processes:
            self.assertEqual(process.signals, [signal.SIGUSR1])


class FiguresTests(SupervisedMixin, SynchronousTestCase):
    """
    The figures of all workers are added up.
    """

    def accepted(self, answers: dict[int, int]) -> int:
        """
        Ask a worker for all figures, and have some processes answer that so many
        connections were accepted.

        @return: How many there are in all.
        """
        asked = self.reactor.processes[0].protocol.link.tellAll()
        for index, accepted in answers.items():
            self.reactor.processes[index].tell(self.figures(accepted))
        self.reactor.advance(ANSWER_TIMEOUT)
        found: Statistics = self.successResultOf(asked)["figures"]
        return found.accepted

    def figures(self, accepted: int) -> Statistics:
        """
        Make some.
        """
        return Statistics(started=1.0, taken=2.0, accepted=accepted)

    def test_sum(self) -> None:
        """
        Each worker is asked, and of one that does not answer in time the last
        figures count, if there are any.
        """
        self.workers()
        self.assertEqual(self.accepted({0: 1, 1: 2}), 3)
        self.assertEqual(self.accepted({1: 3}), 4)
        self.assertEqual(self.accepted({}), 4)

    def test_silent(self) -> None:
        """
        One that does not answer is told of, also if it never did, until it does.
        """
        self.workers()
        self.assertEqual(self.silent({0: 1}), [False, True])
        self.assertEqual(self.silent({1: 1}), [True, False])
        self.assertEqual(self.silent({0: 1, 1: 1}), [False, False])

    def silent(self, answers: dict[int, int]) -> list[bool]:
        """
        Ask as L{accepted} does.

        @return: Of each process whether it is silent.
        """
        asked = self.reactor.processes[0].protocol.link.tellAll()
        for index, accepted in answers.items():
            own = Statistics.beginning(100 + index, index + 1, 1.0)
            told = replace(own, accepted=accepted)
            self.reactor.processes[index].tell(told)
        self.reactor.advance(ANSWER_TIMEOUT)
        found: Statistics = self.successResultOf(asked)["figures"]
        self.assertEqual([each.worker for each in found.processes], [1, 2])
        return [each.silent for each in found.processes]

    def test_starting(self) -> None:
        """
        One that does not serve yet is not asked.
        """
        self.workers(serve=False)
        self.reactor.processes[0].serve()
        self.assertEqual(self.accepted({0: 1}), 1)
        self.assertEqual(self.reactor.processes[1].asked, [])

    def test_gone(self) -> None:
        """
        What one has counted that is gone still counts: what it told at its end, or
        last; what it had in hand is gone.
        """
        self.workers()
        self.assertEqual(self.accepted({0: 1, 1: 2}), 3)
        first, second = self.reactor.processes
        first.tell(replace(self.figures(5), open=3, active=2))
        first.end()
        second.kill()
        self.reactor.advance(FIRST_DELAY)
        self.newest().serve()
        asked = self.newest().protocol.link.tellAll()
        self.newest().tell(self.figures(10))
        found = self.successResultOf(asked)["figures"]
        self.assertEqual((found.accepted, found.open, found.active), (17, 0, 0))


class PassOnTests(SupervisedMixin, SynchronousTestCase):
    """
    Connections of one that leaves are passed on.
    """

    def passed(self, supervisor: Supervisor, giver: Process) -> str:
        """
        Have one hand over two connections.

        @return: Who was offered them; nothing if it was nobody.
        """
        taken: list[str] = []
        for process in self.reactor.processes:

            def take(fds: Any, name: str = str(process.protocol)) -> Deferred[Any]:
                taken.append(name)
                return succeed([True] * len(fds))

            process.protocol.link.handOver = take
        answer = self.successResultOf(giver.protocol.passOn([7, 8]))
        self.assertEqual(answer, [bool(taken)] * 2)
        return "".join(taken)

    def open(self) -> None:
        """
        Have the links of all processes be there.
        """
        for process in self.reactor.alive():
            process.protocol.link.isOpen = True

    def test_successor(self) -> None:
        """
        They are for the new process of the same worker.
        """
        supervisor = self.workers()
        supervisor.reload()
        self.newest().serve()
        self.open()
        leaving = self.reactor.processes[0]
        self.assertEqual(self.passed(supervisor, leaving), "worker 1 (pid 102)")

    def test_other(self) -> None:
        """
        They are for any other that serves, if it has ended, or there is none; not
        for one that is leaving itself, or does not serve yet.
        """
        supervisor = self.workers()
        first, second = self.reactor.processes
        self.open()
        self.assertEqual(self.passed(supervisor, first), "worker 2 (pid 101)")
        self.assertEqual(self.passed(supervisor, second), "worker 1 (pid 100)")
        second.protocol.leave()
        self.assertEqual(self.passed(supervisor, first), "")
        second.end()
        self.reactor.advance(FIRST_DELAY)
        self.open()
        self.assertEqual(self.passed(supervisor, first), "")
        self.newest().serve()
        self.assertEqual(self.passed(supervisor, first), "worker 2 (pid 102)")
        self.newest().protocol.link.isOpen = False
        self.assertEqual(self.passed(supervisor, first), "")

    def test_stopping(self) -> None:
        """
        They are for nobody when all are to end.
        """
        supervisor = self.workers()
        self.open()
        supervisor.drain(GRACE)
        self.assertEqual(self.passed(supervisor, self.reactor.processes[0]), "")
        for process in self.reactor.processes:
            process.end()


class DrainTests(SupervisedMixin, SynchronousTestCase):
    """
    All workers end.
    """

    def test_drain(self) -> None:
        """
        All are told at the same time; the drain is over when the last one has
        ended, and none is started again.
        """
        supervisor = self.workers()
        first, second = self.reactor.processes
        done = supervisor.drain(GRACE)
        for process in (first, second):
            self.assertEqual(process.signals, [signal.SIGTERM])
            self.assertNoResult(done)
            process.end()
        self.successResultOf(done)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 2)
        self.assertEqual(self.logged(LogLevel.error), [])
        self.assertIn(
            "worker 2 (pid 101) has left: it ended with exit status 0", self.logged()
        )

    def test_hangs(self) -> None:
        """
        One that does not end is killed after the grace.
        """
        supervisor = self.workers()
        first, second = self.reactor.processes
        done = supervisor.drain(GRACE)
        first.end()
        self.reactor.advance(GRACE + MARGIN)
        self.assertEqual(second.signals, [signal.SIGTERM, signal.SIGKILL])
        self.assertNoResult(done)
        second.kill()
        self.successResultOf(done)

    def test_waiting(self) -> None:
        """
        One that was to be started again is not.
        """
        supervisor = self.workers()
        for process in self.reactor.processes:
            process.kill()
        self.successResultOf(supervisor.drain(GRACE))
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_again(self) -> None:
        """
        After that they can be started anew.
        """
        supervisor = self.workers()
        done = supervisor.drain(GRACE)
        for process in self.reactor.alive():
            process.end()
        self.successResultOf(done)
        supervisor.start([0])
        self.assertEqual(self.numbers(), [1, 2])

    def test_factory(self) -> None:
        """
        As a factory it starts, stops, and refuses connections.
        """
        supervisor = self.workers()
        supervisor.doStart()
        supervisor.doStop()
        address: Any = IPv4Address("TCP", "127.0.0.1", 1)
        self.assertIsNone(supervisor.buildProtocol(address))  # type: ignore


class ReloadTests(SupervisedMixin, SynchronousTestCase):
    """
    All workers are replaced.
    """

    def test_oneByOne(self) -> None:
        """
        The new process serves before the old one is told to leave, and that has
        left before the next worker is replaced.
        """
        supervisor = self.workers()
        supervisor.reload()
        self.assertEqual(self.numbers(), [1, 2, 1])
        first, second, third = self.reactor.processes
        self.assertEqual(first.signals, [])
        third.serve()
        self.assertEqual(first.signals, [signal.SIGTERM])
        self.assertEqual(len(self.reactor.processes), 3)
        first.end()
        self.assertEqual(self.numbers(), [2, 1, 2])
        self.newest().serve()
        self.assertEqual(second.signals, [signal.SIGTERM])
        self.assertNotIn("all workers are replaced", self.logged())
        second.end()
        self.assertIn("all workers are replaced", self.logged())
        self.assertEqual(self.numbers(), [1, 2])
        self.reactor.advance(1000)
        self.assertEqual(self.numbers(), [1, 2])
        self.assertEqual(self.logged(LogLevel.error), [])

    def test_broken(self) -> None:
        """
        If the new process does not get to serve, the old ones go on, and the log
        says so.
        """
        supervisor = self.workers()
        supervisor.reload()
        self.newest().end(1)
        self.assertEqual(self.numbers(), [1, 2])
        self.assertEqual([p.signals for p in self.reactor.alive()], [[], []])
        ended, stopped = self.logged(LogLevel.error)
        self.assertEqual(ended, "worker 1 (pid 102) ended with exit status 1")
        self.assertIn("the reload has stopped: the new worker 1 (pid 102)", stopped)
        self.reactor.advance(1000)
        self.assertEqual(self.numbers(), [1, 2])
        supervisor.reload()
        self.newest().serve()
        self.assertEqual(self.reactor.processes[0].signals, [signal.SIGTERM])

    def test_hangs(self) -> None:
        """
        So it is if the new process takes too long.
        """
        supervisor = self.workers()
        supervisor.reload()
        self.reactor.advance(START_TIMEOUT)
        self.assertEqual(self.newest().signals, [signal.SIGKILL])
        self.newest().kill()
        self.assertIn("the reload has stopped", self.logged()[-1])

    def test_brokenAndOldEnds(self) -> None:
        """
        If the old one has ended meanwhile, the worker is started again later.
        """
        supervisor = self.workers()
        supervisor.reload()
        self.reactor.processes[0].kill()
        self.reactor.advance(100)
        self.assertEqual(self.numbers(), [2, 1])
        self.newest().end(1)
        self.assertEqual(self.numbers(), [2])
        self.reactor.advance(FIRST_DELAY)
        self.assertEqual(self.numbers(), [2, 1])

    def test_oldEnds(self) -> None:
        """
        If the old one ends meanwhile, there is no need to wait for it.
        """
        supervisor = self.workers()
        supervisor.reload()
        self.reactor.processes[0].kill()
        self.newest().serve()
        self.assertEqual(self.numbers(), [2, 1, 2])

    def test_waiting(self) -> None:
        """
        A worker that was to be started again is so at once.
        """
        supervisor = self.workers()
        self.reactor.processes[0].kill()
        supervisor.reload()
        self.assertEqual(self.numbers(), [2, 1])
        self.reactor.advance(100)
        self.assertEqual(self.numbers(), [2, 1])

    def test_twice(self) -> None:
        """
        Another reload, or several, during a reload come after it, once: it may
        have begun with the code of before.
        """
        supervisor = self.workers(1)
        for _ in range(3):
            supervisor.reload()
        self.assertEqual(self.numbers(), [1, 1])
        for _ in range(2):
            old = self.reactor.alive()[0]
            self.newest().serve()
            old.end()
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertEqual(self.numbers(), [1])
        supervisor.reload()
        self.assertEqual(self.numbers(), [1, 1])

    def test_drained(self) -> None:
        """
        A drain during a reload ends old and new ones, and the reload.
        """
        for step in ("starting", "leaving"):
            self.setUp()
            supervisor = self.workers()
            supervisor.reload()
            if step == "leaving":
                self.newest().serve()
            done = supervisor.drain(GRACE)
            supervisor.reload()
            for process in self.reactor.processes:
                self.assertEqual(process.signals, [signal.SIGTERM])
                process.end()
            self.successResultOf(done)
            self.assertEqual(len(self.reactor.processes), 3)
            self.assertEqual(self.logged(LogLevel.error), [])
            supervisor.start([0])
            supervisor.reload()
            self.assertEqual(self.numbers(), [1, 2, 1])

    def test_notStarted(self) -> None:
        """
        Before the start there is nothing to reload.
        """
        Supervisor(
            self.reactor, ["python"], 1, GRACE, "/", self.problems.append
        ).reload()
        self.assertEqual(self.reactor.processes, [])


class Endpoint:
    """
    An endpoint that does as it is told.
    """

    def __init__(self, result: Any) -> None:
        self.result = result

    def listen(self, factory: Any) -> Any:
        """
        Give the result.
        """
        return self.result


class Port:
    """
    A port that has something between its socket and its factory.
    """

    factory = None
    stopped = False

    def fileno(self) -> int:
        """
        There is a socket.
        """
        return 0

    def stopListening(self) -> None:
        """
        Note it.
        """
        self.stopped = True


class LentEndpointTests(SynchronousTestCase):
    """
    An endpoint listens for others.
    """

    def listen(self, endpoint: Any) -> Any:
        """
        Listen.
        """
        self.factory = ServerFactory()
        self.lent = LentEndpoint(endpoint)
        return self.lent.listen(self.factory)

    def test_unix(self) -> None:
        """
        A Unix socket is lent: nothing reads from it here, and who waits in it at
        the end is left to others.
        """
        memory = ProcessReactor()
        path = os.path.relpath(self.mktemp())
        port = self.successResultOf(self.listen(UnixEndpoint(memory, path)))
        self.assertTrue(port.isLent)
        self.assertEqual(memory.readers, set())
        self.assertEqual(self.lent.fileno(), port.fileno())
        self.assertIn("UnixEndpoint", str(self.lent))
        port._acceptOne = None
        port.stopListening()
        self.assertFalse(os.path.exists(path))

    def test_tcp(self) -> None:
        """
        So is Twisted's own TCP port.
        """
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = self.successResultOf(self.listen(endpoint))
        self.addCleanup(port.stopListening)
        readers: Any = reactor.getReaders()  # type: ignore[attr-defined]
        self.assertNotIn(port, readers)
        self.assertEqual(self.lent.fileno(), port.fileno())

    def test_wrapped(self) -> None:
        """
        What workers could not make of the socket alone, such as TLS, is refused.
        """
        port = Port()
        failure = self.failureResultOf(self.listen(Endpoint(succeed(port))), ValueError)
        self.assertIn("several workers can't share", str(failure.value))
        self.assertTrue(port.stopped)

    def test_noSocket(self) -> None:
        """
        So is a port that has no socket.
        """

        class NoSocket:
            stopListening = Port.stopListening

        port: Any = NoSocket()
        listening: Deferred[Any] = Deferred()
        listening.callback(port)
        lent = LentEndpoint(Endpoint(listening))  # type: ignore[arg-type]
        port.factory = factory = ServerFactory()
        self.failureResultOf(lent.listen(factory), ValueError)

    def test_late(self) -> None:
        """
        So is one that is not there at once.
        """
        late: Deferred[Any] = Deferred()
        self.failureResultOf(self.listen(Endpoint(late)), ValueError)

    def test_fails(self) -> None:
        """
        What fails does so as always.
        """
        endpoint = UnixEndpoint(ProcessReactor(), "/nowhere/at/all")
        self.failureResultOf(self.listen(endpoint), CannotListenError)


class Notified(Notifier):
    """
    Notes what systemd would be told.
    """

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.sent: list[str] = []

    def send(self, *lines: str) -> None:
        """
        Note it.
        """
        self.sent.append(lines[0])


class ServiceTests(SupervisedMixin, SynchronousTestCase):
    """
    The parent.
    """

    def setUp(self) -> None:
        super().setUp()  # type: ignore[safe-super]
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor.callFromThread = lambda f: f()  # type: ignore
        self.path = os.path.relpath(self.mktemp())
        self.notifier = Notified()

    def service(self, count: int = 2, **options: Any) -> WorkersService:
        """
        Make one on a Unix socket.
        """
        return WorkersService(
            [UnixEndpoint(self.reactor, self.path)],
            lambda ports: ["python", str(ports)],
            count,
            GRACE,
            folder=os.getcwd(),
            what="app.root",
            peers=[Peers("10.0.0.0/8")],
            notifier=self.notifier,
            reactor=self.reactor,
            **options,
        )

    def start(self) -> WorkersService:
        """
        Start one.
        """
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.assertEqual(self.reactor.processes, [])
        for function, arguments, options in self.reactor.whenRunningHooks:
            function(*arguments, **options)
        return service

    def test_life(self) -> None:
        """
        It opens its sockets, starts workers on them as soon as the reactor runs,
        and ends when they have ended.
        """
        service = self.start()
        self.assertTrue(os.path.exists(self.path))
        self.assertIn("serving app.root by 2 workers on", self.logged()[0])
        self.assertEqual(self.numbers(), [1, 2])
        self.assertEqual(self.newest().arguments[1], ["python", "1"])
        done = service.stopService()
        self.assertFalse(os.path.exists(self.path))
        self.assertNoResult(done)
        for process in self.reactor.alive():
            process.end()
        self.successResultOf(done)

    def test_one(self) -> None:
        """
        One worker is one.
        """
        service = self.service(1)
        service.startService()
        self.assertIn("serving app.root by 1 worker on", self.logged()[0])
        self.successResultOf(service.stopService())

    def test_hangUp(self) -> None:
        """
        SIGHUP replaces the workers, SIGUSR1 is passed on to them; during the stop
        the former does nothing.
        """
        before = signal.getsignal(signal.SIGHUP)
        service = self.start()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.numbers(), [1, 2, 1])
        os.kill(os.getpid(), signal.SIGUSR1)
        for process in self.reactor.processes:
            self.assertEqual(process.signals, [signal.SIGUSR1])
        done = service.stopService()
        os.kill(os.getpid(), signal.SIGHUP)
        for process in self.reactor.alive():
            process.end()
        self.successResultOf(done)
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    def test_terminal(self) -> None:
        """
        SIGHUP from a terminal that is closed ends the process as SIGTERM does; not
        if there is still a terminal, or has been none, nor under C{nohup}.
        """
        stops: list[int] = []
        for before, *terminal, count in (
            (signal.SIG_DFL, True, False, 1),
            (signal.SIG_DFL, True, True, 0),
            (signal.SIG_DFL, False, False, 0),
            (signal.SIG_IGN, True, False, 0),
        ):
            stops.clear()
            signal.signal(signal.SIGHUP, before)
            self.patch(workers, "hasTerminal", lambda found=terminal: found.pop(0))
            self.patch(os, "kill", lambda pid, number: stops.append(number))
            service = self.start()
            signal.raise_signal(signal.SIGHUP)
            self.assertEqual(stops, [signal.SIGTERM] * count)
            self.assertEqual(len(self.reactor.processes), 3 - count)
            done = service.stopService()
            for process in self.reactor.alive():
                process.end()
            self.successResultOf(done)
            self.reactor.processes.clear()
            self.reactor.whenRunningHooks.clear()

    def test_notified(self) -> None:
        """
        It serves when each worker has begun to; during a reload it loads code, and
        serves again at the end of that, unless it stops then.
        """
        service = self.start()
        serving = service.whenServing()
        first, second = self.reactor.processes
        second.serve()
        second.end()
        self.assertNoResult(serving)
        first.serve()
        self.successResultOf(serving)
        self.successResultOf(service.whenServing())
        service._supervisor.reload()
        self.assertEqual(self.notifier.sent, ["RELOADING=1"])
        self.newest().end(1)
        self.assertEqual(self.notifier.sent, ["RELOADING=1", "READY=1"])
        service._supervisor.reload()
        done = service.stopService()
        for process in self.reactor.alive():
            process.end()
        self.successResultOf(done)
        self.assertEqual(self.notifier.sent[2:], ["RELOADING=1"])

    def test_neverRun(self) -> None:
        """
        Stopped before the reactor runs, it starts no workers.
        """
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        for function, arguments, options in self.reactor.whenRunningHooks:
            function(*arguments, **options)
        self.assertEqual(self.reactor.processes, [])

    def test_noneServes(self) -> None:
        """
        If no worker gets to serve, the process ends in failure.
        """
        exits: list[Any] = []
        self.patch(atexit, "register", exits.append)
        service = self.start()
        self.reactor.stop = lambda: exits.append("stop")  # type: ignore
        for process in self.reactor.alive():
            process.end(1)
        self.assertEqual(exits[1:], ["stop"])
        self.assertIn("before it served", self.logged(LogLevel.critical)[0])
        self.successResultOf(service.stopService())
