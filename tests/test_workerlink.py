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
from twisted.internet.defer import Deferred
from twisted.internet.testing import EventLoggingObserver, MemoryReactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_fastcgi.workerlink import (
    FOLDER,
    LINK,
    WORKER,
    ParentLink,
    WorkerLink,
    connect,
    linkFrom,
)
from twisted_fastcgi.workerlog import tellCause


class Worker:
    """
    What a worker's end needs of the reactor that is really there.
    """

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()
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


class LinkTests(TestCase):
    """
    A worker and its parent speak to each other.
    """

    def setUp(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.theirs = theirs.detach()
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.addCleanup(globalLogPublisher.removeObserver, tellCause)

    async def test_serving(self) -> None:
        """
        The worker says that it serves, and who it is; when the parent is gone, it
        stops, and says why.
        """
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        worker = Worker()
        link = WorkerLink(worker, self.theirs)
        told: Deferred[tuple[int, int]] = Deferred()
        parent = ParentLink(lambda *who: told.callback(who))
        connect(reactor, self.ours.detach(), parent)
        link.privilegedStartService()
        link.startService()
        self.assertEqual(await told, (os.geteuid(), os.getegid()))
        parent.boxSender.transport.loseConnection()
        await worker.stopped
        (event,) = [e for e in observer if "worker" in (e["log_format"] or "")]
        self.assertIn("gone", event["log_format"])

    async def test_stopped(self) -> None:
        """
        A worker that is stopping needs no parent.
        """
        worker = Worker()
        link = WorkerLink(worker, self.theirs)
        lost: Deferred[None] = Deferred()
        before = link._link.lost
        link._link.lost = lambda: (before(), lost.callback(None))  # type: ignore
        link.startService()
        link.stopService()
        self.ours.close()
        await lost
        self.assertFalse(worker.stopped.called)

    async def test_parentHears(self) -> None:
        """
        The parent's end bears the end of the worker.
        """
        parent = ParentLink(lambda *who: None)
        lost: Deferred[None] = Deferred()
        before = parent.lost
        parent.lost = lambda: (before(), lost.callback(None))  # type: ignore
        connect(reactor, self.ours.detach(), parent)
        os.close(self.theirs)
        await lost

    def test_hangUp(self) -> None:
        """
        SIGHUP, which may come from a terminal to a whole group of processes, is
        for the parent alone.
        """
        memory: Any = MemoryReactor()
        self.addCleanup(self.ours.close)
        WorkerLink(memory, self.theirs).startService()
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
        WorkerLink(memory, self.theirs, folder).startService()
        self.assertEqual(os.getcwd(), folder)


class EnvironmentTests(SynchronousTestCase):
    """
    A worker learns what it is from its environment.
    """

    def test_none(self) -> None:
        """
        Other processes have no link.
        """
        self.assertIsNone(linkFrom(None, {WORKER: "1", FOLDER: "/"}))

    def test_removed(self) -> None:
        """
        What is for the worker alone is not for processes that it starts; the
        number of the worker is for everybody.
        """
        environment = {WORKER: "1", LINK: "3", FOLDER: "/x", "PATH": "/bin"}
        link = linkFrom(None, environment)
        assert link is not None
        self.assertEqual((link._fd, link._folder), (3, "/x"))
        self.assertEqual(environment, {WORKER: "1", "PATH": "/bin"})
