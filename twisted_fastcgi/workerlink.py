# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The link between a worker and the process that has started it: both ends.

It is a pair of Unix sockets on which AMP is spoken.  When it ends, either
process knows that the other one is gone.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger, globalLogPublisher
from twisted.protocols import amp
from twisted.python.failure import Failure

from twisted_fastcgi.workerlog import tellCause

WORKER = "TWISTED_FASTCGI_WORKER"
"""
The environment variable that tells an application the number of its worker, from
1 up.
"""

LINK = "TWISTED_FASTCGI_LINK"
"""
The environment variable that tells a worker the number of the file descriptor of
its end of the link.
"""

FOLDER = "TWISTED_FASTCGI_FOLDER"
"""
The environment variable that tells a worker where to go when it has loaded the
application, if that is not where it was started.
"""


class Serving(amp.Command):
    """
    A worker says that it serves, and who it is.
    """

    arguments = [(b"uid", amp.Integer()), (b"gid", amp.Integer())]  # noqa: RUF012
    requiresAnswer = False


class Link(amp.BoxDispatcher, amp.CommandLocator):
    """
    What both ends have in common.
    """

    def __init__(self) -> None:
        super().__init__(self)

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        The other process has gone, or will have nothing to say any more.

        @param reason: Why.
        """
        super().stopReceivingBoxes(reason)
        self.lost()

    def lost(self) -> None:
        """
        Called at the end of the link.
        """


class ParentLink(Link):
    """
    The end of the process that has started the worker.
    """

    def __init__(self, serving: Callable[[int, int], object]) -> None:
        """
        @param serving: Called with the uid and the gid of the worker when it
            serves.
        """
        super().__init__()
        self._serving = serving

    @Serving.responder
    def receiveServing(self, uid: int, gid: int) -> dict[str, Any]:
        """
        The worker serves.

        @param uid: The number of its user.
        @param gid: The number of its group.
        """
        self._serving(uid, gid)
        return {}


class _LinkFactory(ServerFactory):
    """
    Gives a link its connection.
    """

    noisy = False

    def __init__(self, link: Link) -> None:
        """
        @param link: One end.
        """
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Make what reads and writes.
        """
        return amp.BinaryBoxProtocol(self._link)


def connect(reactor: Any, fd: int, link: Link) -> None:
    """
    Have one end of a link speak.

    @param reactor: An L{IReactorSocket
        <twisted.internet.interfaces.IReactorSocket>}.
    @param fd: The file descriptor of its socket, which is closed here: the
        reactor has its own.
    @param link: The end.
    """
    os.set_blocking(fd, False)
    reactor.adoptStreamConnection(fd, socket.AF_UNIX, _LinkFactory(link))
    os.close(fd)


class WorkerLink(Service):
    """
    The worker's end: says when it serves, and stops the worker at its end.
    """

    _log = Logger()

    def __init__(self, reactor: Any, fd: int, folder: str | None = None) -> None:
        """
        @param reactor: What runs the worker.
        @param fd: The file descriptor of its end.
        @param folder: Where to go at the start.
        """
        self._reactor = reactor
        self._fd = fd
        self._folder = folder
        self._link = Link()
        self._link.lost = self._lost  # type: ignore[method-assign]

    def privilegedStartService(self) -> None:
        """
        Do nothing: C{twist}, which runs the worker, does not call this.
        """

    def startService(self) -> None:
        """
        Take up the link, and say that this process serves as soon as it does.
        """
        super().startService()
        # Who hangs up the terminal, or signals a whole group of processes, means
        # the parent.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        globalLogPublisher.addObserver(tellCause)
        if self._folder is not None:
            os.chdir(self._folder)
        connect(self._reactor, self._fd, self._link)
        self._reactor.callWhenRunning(self._tell)

    def _tell(self) -> None:
        self._link.callRemote(Serving, uid=os.geteuid(), gid=os.getegid())

    def _lost(self) -> None:
        """
        Stop: without a parent nobody would stop this process, or start it again.
        """
        if self.running:
            self._log.warn("the process that has started this worker is gone")
            self._reactor.stop()


def linkFrom(reactor: Any, environment: MutableMapping[str, str]) -> WorkerLink | None:
    """
    Make the worker's end of the link, in a worker.

    @param reactor: What runs this process.
    @param environment: The variables of this process; what is meant for itself
        is removed, so that no process that it starts takes it for its own.
    @return: A service; L{None} if this process is no worker.
    """
    fd = environment.pop(LINK, None)
    folder = environment.pop(FOLDER, None)
    return None if fd is None else WorkerLink(reactor, int(fd), folder)
