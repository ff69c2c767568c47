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
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, MemoryReactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_fastcgi.figures import ActiveRequest, Statistics
from twisted_fastcgi.workerlink import (
    FOLDER,
    LINK,
    WORKER,
    ParentLink,
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
