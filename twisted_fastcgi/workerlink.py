# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The link between a worker and the process that has started it: both ends.

It is a pair of Unix sockets on which AMP is spoken.  When it ends, either
process knows that the other one is gone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger, globalLogPublisher
from twisted.protocols import amp
from twisted.python.failure import Failure

from twisted_fastcgi.figures import Statistics
from twisted_fastcgi.workerlog import prepare

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


_CHUNK = 65000
"""
How many bytes AMP takes as one value, or nearly so.
"""

ANSWER_TIMEOUT = 1.0
"""
Seconds that a worker has to tell its figures; one that hangs has no more.
"""

#: So many for the parent, which asks all workers.
_SUM_TIMEOUT = 2 * ANSWER_TIMEOUT


class _Figures(amp.Argument):
    """
    L{Statistics} in as many values as it takes.
    """

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        """
        Write them.
        """
        data = json.dumps(objects.pop(name.decode("ascii")).toJSON()).encode("ascii")
        for start in range(0, len(data), _CHUNK):
            strings[b"%s%d" % (name, start // _CHUNK)] = data[start : start + _CHUNK]

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: Any) -> None:
        """
        Read them.
        """
        data = b""
        while part := strings.pop(b"%s%d" % (name, len(data) // _CHUNK), b""):
            data += part
        objects[name.decode("ascii")] = Statistics.fromJSON(json.loads(data))


class Serving(amp.Command):
    """
    A worker says that it serves, and who it is.
    """

    arguments = [(b"uid", amp.Integer()), (b"gid", amp.Integer())]  # noqa: RUF012
    requiresAnswer = False


class TellOwn(amp.Command):
    """
    The parent asks for the figures of a worker.
    """

    response = [(b"figures", _Figures())]  # noqa: RUF012


class TellAll(amp.Command):
    """
    A worker asks for the figures of all workers.
    """

    response = [(b"figures", _Figures())]  # noqa: RUF012


class Farewell(amp.Command):
    """
    A worker tells its last figures.
    """

    arguments = [(b"figures", _Figures())]  # noqa: RUF012


class PassOn(amp.Command):
    """
    A worker hands connections over, and so does the parent: their descriptors were
    sent just before.
    """

    arguments = [(b"count", amp.Integer())]  # noqa: RUF012
    response = [(b"taken", amp.ListOf(amp.Boolean()))]  # noqa: RUF012


class Parent(Protocol):
    """
    What knows of a worker in the process that has started it.
    """

    def serves(self, uid: int, gid: int) -> None:
        """
        Take note that the worker serves.
        """

    def leaves(self, figures: Statistics) -> None:
        """
        Take its last figures.
        """

    def allFigures(self) -> Deferred[Statistics]:
        """
        Tell the figures of all workers.
        """

    def lost(self) -> None:
        """
        Take note that the worker says nothing any more.
        """

    def passOn(self, fds: Sequence[int]) -> Deferred[list[bool]]:
        """
        Pass on connections of the worker, which stay open until this fires with
        whether each was taken.
        """


class Source(Protocol):
    """
    What has figures, such as a L{FastCGIFactory}.
    """

    def statistics(self) -> Statistics:
        """
        Tell them.
        """


def _closeAll(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


class Link(amp.BoxDispatcher, amp.CommandLocator):
    """
    What both ends have in common.
    """

    def __init__(self, take: Callable[[list[int]], Deferred[list[bool]]]) -> None:
        """
        @param take: Called with descriptors of connections, to be used or closed;
            tells whether each is taken.
        """
        super().__init__(self)
        self._take = take
        self.isOpen = False
        self._received: list[int] = []
        self._handing = DeferredLock()

    def startReceivingBoxes(self, boxSender: Any) -> None:
        """
        The link is there.

        @param boxSender: Sends.
        """
        super().startReceivingBoxes(boxSender)
        self.isOpen = True

    def stopReceivingBoxes(self, reason: Failure) -> None:
        """
        The other process has gone, or will have nothing to say any more.

        @param reason: Why.
        """
        self.isOpen = False
        _closeAll(self._received)
        super().stopReceivingBoxes(reason)
        self.lost()

    def handOver(self, fds: Sequence[int]) -> Deferred[list[bool]]:
        """
        Hand connections to the other process.

        @param fds: Their descriptors, which have to be open until the answer.
        @return: Fires with whether each of them is the other one's now.
        """
        # So it is clear which descriptors belong to which command, even if the
        # other process has no room for some of them.
        return self._handing.run(self._handOver, fds)

    def _handOver(self, fds: Sequence[int]) -> Deferred[list[bool]]:
        if not self.isOpen:
            return succeed([False] * len(fds))
        sender: Any = self.boxSender
        for fd in fds:
            sender.transport.sendFileDescriptor(fd)
        sent: Deferred[Any] = self.callRemote(PassOn, count=len(fds))
        # Without an answer, the other one may have read from them: to do so here,
        # too, would have two read parts of a request.
        return sent.addCallbacks(
            lambda answer: answer["taken"], lambda _: [True] * len(fds)
        )

    def descriptorReceived(self, fd: int) -> None:
        """
        Keep a descriptor until the command comes that it belongs to.

        @param fd: Its number.
        """
        os.set_inheritable(fd, False)
        self._received.append(fd)

    @PassOn.responder
    def receiveConnections(self, count: int) -> Any:
        """
        Take connections, all of them or none.

        @param count: How many were sent.
        @return: Which of them are taken.
        """
        fds, self._received = self._received, []
        if len(fds) != count:
            # There was no room for some.
            _closeAll(fds)
            return {"taken": [False] * count}
        return self._take(fds).addCallback(lambda taken: {"taken": taken})

    def lost(self) -> None:
        """
        Called at the end of the link.
        """


class ParentLink(Link):
    """
    The end of the process that has started the worker.
    """

    def __init__(self, parent: Parent) -> None:
        """
        @param parent: What is told what the worker says.
        """
        super().__init__(self._passOn)
        self._parent = parent

    @Serving.responder
    def receiveServing(self, uid: int, gid: int) -> dict[str, Any]:
        """
        The worker serves.

        @param uid: The number of its user.
        @param gid: The number of its group.
        """
        self._parent.serves(uid, gid)
        return {}

    @TellAll.responder
    def tellAll(self) -> Deferred[dict[str, Any]]:
        """
        @return: The figures of all workers.
        """
        return self._parent.allFigures().addCallback(lambda found: {"figures": found})

    @Farewell.responder
    def receiveFarewell(self, figures: Statistics) -> dict[str, Any]:
        """
        The worker is about to end.

        @param figures: Its last figures.
        """
        self._parent.leaves(figures)
        return {}

    def lost(self) -> None:
        """
        The worker is gone, or should be.
        """
        self._parent.lost()

    def _passOn(self, fds: list[int]) -> Deferred[list[bool]]:
        def close(taken: list[bool]) -> list[bool]:
            _closeAll(fds)
            return taken

        return self._parent.passOn(fds).addCallback(close)


class _WorkersEnd(Link):
    """
    The end of the worker.
    """

    def __init__(
        self,
        source: Source,
        lost: Callable[[], object],
        takeOver: Callable[[socket.socket], bool],
    ) -> None:
        """
        @param source: The worker's own figures.
        @param lost: Called at the end of the link.
        @param takeOver: Takes the socket of a connection, or does not.
        """
        super().__init__(self._serve)
        self._source = source
        self._lost = lost
        self._takeOver = takeOver

    @TellOwn.responder
    def tellOwn(self) -> dict[str, Any]:
        """
        @return: The figures of this worker.
        """
        return {"figures": self._source.statistics()}

    def _serve(self, fds: list[int]) -> Deferred[list[bool]]:
        return succeed([self._serveOne(socket.socket(fileno=fd)) for fd in fds])

    def _serveOne(self, connection: socket.socket) -> bool:
        taken = self._takeOver(connection)
        if not taken:
            connection.close()
        return taken

    def lost(self) -> None:
        """
        The parent is gone.
        """
        self._lost()


class _LinkProtocol(amp.BinaryBoxProtocol):
    """
    Reads and writes.
    """

    boxReceiver: Link

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """
        Leave a descriptor to the link.

        @param descriptor: Its number.
        """
        self.boxReceiver.descriptorReceived(descriptor)


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
        return _LinkProtocol(self._link)


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
    try:
        reactor.adoptStreamConnection(fd, socket.AF_UNIX, _LinkFactory(link))
    finally:
        os.close(fd)


class WorkerLink(MultiService):
    """
    The worker's end, and what serves there: says when it does, and stops the worker
    when the link ends.

    @ivar number: The number of the worker.
    @ivar takeOver: Takes the socket of a connection of another worker, or does not.
    """

    _log = Logger()
    takeOver: Callable[[socket.socket], bool]

    def __init__(
        self,
        reactor: Any,
        fd: int,
        number: int,
        source: Source,
        folder: str | None = None,
    ) -> None:
        """
        @param reactor: What runs the worker.
        @param fd: The file descriptor of its end.
        @param number: The number of the worker.
        @param source: What has figures.
        @param folder: Where to go at the start.
        """
        super().__init__()
        self.number = number
        self._reactor = reactor
        self._fd = fd
        self._source = source
        self._folder = folder
        self.takeOver = lambda connection: False
        self._link = _WorkersEnd(source, self._lost, self._take)

    def startService(self) -> None:
        """
        Take up the link, and say that this process serves as soon as it does.
        """
        # Who hangs up the terminal, or signals a whole group of processes, means
        # the parent.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        globalLogPublisher.addObserver(prepare)
        if self._folder is not None:
            os.chdir(self._folder)
        connect(self._reactor, self._fd, self._link)
        super().startService()
        self._reactor.callWhenRunning(self._tell)

    def _tell(self) -> None:
        self._link.callRemote(Serving, uid=os.geteuid(), gid=os.getegid())

    def stopService(self) -> Deferred[None]:
        """
        Stop serving, and tell the last figures.

        @return: Fires when that is done.
        """
        stopped: Deferred[None] = super().stopService()
        return stopped.addCallback(self._leave)

    def _leave(self, _: object) -> Deferred[None]:
        figures = self._source.statistics()
        told: Deferred[None] = self._link.callRemote(Farewell, figures=figures)
        told.addTimeout(ANSWER_TIMEOUT, self._reactor)
        # There may be nobody who listens.
        return told.addBoth(lambda _: None)

    def handOver(self, fds: Sequence[int]) -> Deferred[list[bool]]:
        """
        Have the parent pass connections on to another worker.

        @param fds: Copies of their descriptors, which have to be open until the
            answer.
        @return: Fires with whether each of them is somebody else's now.
        """
        return self._link.handOver(fds)

    def _take(self, connection: socket.socket) -> bool:
        return self.takeOver(connection)

    def statistics(self) -> Deferred[Statistics]:
        """
        Ask the parent for the figures of all workers.

        @return: Those.  It fails if there is no answer: the worker's own are less,
            and what only grows must not fall.
        """
        asked: Deferred[Any] = self._link.callRemote(TellAll)
        asked.addTimeout(_SUM_TIMEOUT, self._reactor)
        return asked.addCallback(lambda answer: answer["figures"])

    def _lost(self) -> None:
        """
        Stop: without a parent nobody would stop this process, or start it again.
        """
        if self.running:
            self._log.warn("the process that has started this worker is gone")
            self._reactor.stop()


def linkFrom(
    reactor: Any, environment: MutableMapping[str, str], source: Source
) -> WorkerLink | None:
    """
    Make the worker's end of the link, in a worker.

    @param reactor: What runs this process.
    @param environment: The variables of this process; what is meant for itself
        is removed, so that no process that it starts takes it for its own.
    @param source: The figures of this process.
    @return: A service; L{None} if this process is no worker.
    """
    fd = environment.pop(LINK, None)
    folder = environment.pop(FOLDER, None)
    if fd is None:
        return None
    number = int(environment.get(WORKER, "1"))
    return WorkerLink(reactor, int(fd), number, source, folder)
