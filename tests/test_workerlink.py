# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.workerlink}.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver, MemoryReactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.programs import PATIENCE
from twisted_fastcgi.figures import ActiveRequest, Statistics
from twisted_fastcgi.workerlink import (
    FOLDER,
    LINK,
    WORKER,
    ParentLink,
    PassOn,
    TellOwn,
    WorkerLink,
    connect,
    linkFrom,
)
from twisted_fastcgi.workerlog import prepare


class Worker:
    """
    What a worker's end needs of the reactor that is really there.
    """

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.adoptStreamConnection = reactor.adoptStreamConnection  # type: ignore

    def callWhenRunning(self, function: Any) -> None:
        """
        Call it.
        """
        function()

    def stop(self) -> None:
        """
        Note it.
        """
        self.stopped.callback(None)


class Parent:
    """
    What the parent knows of a worker.
    """

    def __init__(self) -> None:
        self.served: Deferred[tuple[int, int]] = Deferred()
        self.last: Statistics | None = None
        self.all: Deferred[Statistics] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.passed: list[list[int]] = []
        self.taken: Deferred[list[bool]] = Deferred()

    def serves(self, uid: int, gid: int) -> None:
        """
        Note it.
        """
        self.served.callback((uid, gid))

    def leaves(self, figures: Statistics) -> None:
        """
        Note it.
        """
        self.last = figures

    def lost(self) -> None:
        """
        Note it.
        """
        self.gone.callback(None)

    def allFigures(self) -> Deferred[Statistics]:
        """
        Tell what the test says.
        """
        return self.all

    def passOn(self, fds: Any) -> Deferred[list[bool]]:
        """
        Do what the test says.
        """
        self.passed.append(list(fds))
        done: Deferred[list[bool]] = Deferred()

        def tell(taken: list[bool]) -> list[bool]:
            done.callback(taken)
            return taken

        self.taken.addCallback(tell)
        return done


def figures(accepted: int, paths: int = 0) -> Statistics:
    """
    Make some figures, of as many bytes as is wanted.
    """
    oldest = tuple(
        ActiveRequest(age=1.0, method="GET", path="/" * 1000, pid=1)
        for _ in range(paths)
    )
    return Statistics(started=1.0, taken=2.0, accepted=accepted, oldest=oldest)


class Source:
    """
    What has figures.
    """

    def __init__(self, found: Statistics) -> None:
        self.found = found

    def statistics(self) -> Statistics:
        """
        Tell them.
        """
        return self.found


class LinkTests(TestCase):
    """
    A worker and its parent speak to each other.
    """

    def connected(self, own: Statistics) -> tuple[Any, Any, Any, Any]:
        """
        Make both ends.
        """
        worker, parent = Worker(), Parent()
        link = WorkerLink(worker, self.theirs, 2, Source(own))
        end = ParentLink(parent)
        connect(reactor, self.ours.detach(), end)
        link.startService()
        return worker, link, end, parent

    def setUp(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.theirs = theirs.detach()
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.addCleanup(globalLogPublisher.removeObserver, prepare)

    async def test_serving(self) -> None:
        """
        The worker says that it serves, and who it is; when the parent is gone, it
        stops, and says why.
        """
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        worker, _, end, parent = self.connected(figures(1))
        self.assertEqual(await parent.served, (os.geteuid(), os.getegid()))
        end.boxSender.transport.loseConnection()
        await worker.stopped
        (event,) = [e for e in observer if "worker" in (e["log_format"] or "")]
        self.assertIn("gone", event["log_format"])

    async def test_stopped(self) -> None:
        """
        A worker that is stopping needs no parent.
        """
        worker = Worker()
        link = WorkerLink(worker, self.theirs, 2, Source(figures(1)))
        lost: Deferred[None] = Deferred()
        before = link._link.lost
        link._link.lost = lambda: (before(), lost.callback(None))  # type: ignore
        link.startService()
        stopped = link.stopService()
        self.ours.close()
        await lost
        await stopped
        self.assertFalse(worker.stopped.called)

    async def test_figures(self) -> None:
        """
        Each tells the other its figures, however many bytes they take; the worker
        does so at its end without being asked.
        """
        own, sum_ = figures(3, 200), figures(7, 300)
        _, link, end, parent = self.connected(own)
        answer = await end.callRemote(TellOwn)
        self.assertEqual(answer["figures"].toJSON(), own.toJSON())
        parent.all.callback(sum_)
        self.assertEqual((await link.statistics()).toJSON(), sum_.toJSON())
        await link.stopService()
        assert parent.last is not None
        self.assertEqual(parent.last.toJSON(), own.toJSON())
        end.boxSender.transport.loseConnection()

    async def test_noAnswer(self) -> None:
        """
        If the parent does not answer, or is gone, there are no figures: the
        worker's own would be less than was told before.
        """
        worker, link, end, _ = self.connected(figures(3))
        found = link.statistics()
        worker.clock.advance(2)
        self.failureResultOf(found, TimeoutError)
        end.boxSender.transport.loseConnection()
        await worker.stopped
        self.failureResultOf(link.statistics(), ConnectionClosed)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """
        Make a connection.
        """
        ends = socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
            end.settimeout(PATIENCE)
        return ends

    async def test_passOn(self) -> None:
        """
        A worker hands connections to the parent, which closes what it has got when
        it knows what has become of them.
        """
        _, link, end, parent = self.connected(figures(1))
        await parent.served
        (ours, theirs), (more, _) = self.pair(), self.pair()
        asked = link.handOver([theirs.fileno(), more.fileno()])
        while not parent.passed:
            await deferLater(reactor, 0.01)
        ((first, second),) = parent.passed
        self.assertFalse(os.get_inheritable(first))
        os.write(first, b"here")
        self.assertEqual(ours.recv(9), b"here")
        parent.taken.callback([True, False])
        self.assertEqual(await asked, [True, False])
        for fd in (first, second):
            self.assertRaises(OSError, os.fstat, fd)
        end.boxSender.transport.loseConnection()

    async def test_takeOver(self) -> None:
        """
        The parent hands connections to a worker, which closes what it does not take:
        all, until it has something that takes them.
        """
        _, link, end, parent = self.connected(figures(1))
        await parent.served
        (ours, theirs), (more, other) = self.pair(), self.pair()
        fds = [theirs.fileno(), other.fileno()]
        self.assertEqual(await end.handOver(fds), [False, False])
        taken: list[socket.socket] = []

        def take(connection: socket.socket) -> bool:
            taken.append(connection)
            self.addCleanup(connection.close)
            return len(taken) == 1

        link.takeOver = take
        self.assertEqual(await end.handOver(fds), [True, False])
        self.assertFalse(taken[0].get_inheritable())
        taken[0].sendall(b"here")
        self.assertEqual(ours.recv(9), b"here")
        self.assertEqual(taken[1].fileno(), -1)
        other.close()
        self.assertEqual(more.recv(9), b"")
        end.boxSender.transport.loseConnection()

    async def test_inTurn(self) -> None:
        """
        What is handed over at the same time goes one after another, so that
        nothing is taken for something else.
        """
        _, link, end, parent = self.connected(figures(1))
        await parent.served
        ((_, one), (_, other)) = self.pair(), self.pair()
        asked = [link.handOver([each.fileno()]) for each in (one, other)]
        for _ in range(20):
            await deferLater(reactor, 0.005)
        self.assertEqual([len(fds) for fds in parent.passed], [1])
        parent.taken.callback([True])
        self.assertEqual([await each for each in asked], [[True], [True]])
        end.boxSender.transport.loseConnection()

    async def test_fewer(self) -> None:
        """
        If some descriptors do not arrive, because there is no room for them, none
        is taken; those that have arrived are closed.
        """
        _, _, end, parent = self.connected(figures(1))
        await parent.served
        ours, theirs = self.pair()
        end.boxSender.transport.sendFileDescriptor(theirs.fileno())
        answer = await end.callRemote(PassOn, count=2)
        self.assertEqual(answer["taken"], [False, False])
        theirs.close()
        self.assertEqual(ours.recv(9), b"")
        end.boxSender.transport.loseConnection()

    async def test_noLink(self) -> None:
        """
        Nobody takes anything if the other process is gone.  If it goes before it
        has answered, what it has got is its own.
        """
        worker, link, end, parent = self.connected(figures(1))
        ours, theirs = self.pair()
        self.assertEqual(await ParentLink(parent).handOver([0, 1]), [False, False])
        await parent.served
        asked = link.handOver([theirs.fileno()])
        while not parent.passed:
            await deferLater(reactor, 0.01)
        end.boxSender.transport.abortConnection()
        self.assertEqual(await asked, [True])
        await worker.stopped
        self.assertEqual(await link.handOver([theirs.fileno()]), [False])
        self.assertFalse(end.isOpen)
        parent.taken.callback([False])
        theirs.close()
        self.assertEqual(ours.recv(9), b"")

    async def test_leftOver(self) -> None:
        """
        A descriptor to which no command has come is closed at the end of the link.
        """
        worker, _, end, parent = self.connected(figures(1))
        await parent.served
        ours, theirs = self.pair()
        transport = end.boxSender.transport
        transport.sendFileDescriptor(theirs.fileno())
        # The beginning of a command.
        transport.write(b"\0")
        transport.loseConnection()
        await worker.stopped
        theirs.close()
        self.assertEqual(ours.recv(9), b"")

    async def test_parentHears(self) -> None:
        """
        The parent is told of the end of the link.
        """
        parent = Parent()
        connect(reactor, self.ours.detach(), ParentLink(parent))
        os.close(self.theirs)
        await parent.gone

    def test_hangUp(self) -> None:
        """
        SIGHUP, which may come from a terminal to a whole group of processes, is
        for the parent alone.
        """
        memory: Any = MemoryReactor()
        self.addCleanup(self.ours.close)
        WorkerLink(memory, self.theirs, 2, Source(figures(1))).startService()
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_folder(self) -> None:
        """
        The worker goes where it is told to, at its start.
        """
        self.addCleanup(os.chdir, os.getcwd())
        folder = os.path.realpath(self.mktemp())
        os.mkdir(folder)
        self.addCleanup(self.ours.close)
        memory: Any = MemoryReactor()
        WorkerLink(memory, self.theirs, 2, Source(figures(1)), folder).startService()
        self.assertEqual(os.getcwd(), folder)


class EnvironmentTests(SynchronousTestCase):
    """
    A worker learns what it is from its environment.
    """

    def test_none(self) -> None:
        """
        Other processes have no link.
        """
        self.assertIsNone(
            linkFrom(None, {WORKER: "1", FOLDER: "/"}, Source(figures(1)))
        )

    def test_removed(self) -> None:
        """
        What is for the worker alone is not for processes that it starts; the
        number of the worker is for everybody.
        """
        environment = {WORKER: "1", LINK: "3", FOLDER: "/x", "PATH": "/bin"}
        link = linkFrom(None, environment, Source(figures(1)))
        assert link is not None
        self.assertEqual((link._fd, link.number, link._folder), (3, 1, "/x"))
        self.assertEqual(environment, {WORKER: "1", "PATH": "/bin"})
