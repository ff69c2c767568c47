# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Connections that are handed to a successor instead of being closed.

What a web server sends meanwhile waits in the system for the successor: no request
is lost, which can't be avoided when a connection is closed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

BATCH = 32
"""
How many connections are handed over at a time.
"""

_RETRY = 0.25
"""
Seconds until one that is idle, but can't be handed over yet, is tried again.
"""

Successor = Callable[[Sequence[int]], Deferred[list[bool]]]
"""
Takes copies of the file descriptors of connections, which stay open until the
L{Deferred} fires: with, for each, whether it is somebody else's from now on.
"""


class Movable(Protocol):
    """
    A connection that can be handed over.
    """

    @property
    def isIdle(self) -> bool:
        """
        Whether it is open and has no request.
        """

    def suspend(self) -> int | None:
        """
        Read nothing any more, if it can be handed over.

        @return: A copy of its file descriptor; L{None} if it goes on.
        """

    def resume(self) -> None:
        """
        Read again.
        """

    def release(self, nobody: socket.socket) -> None:
        """
        Forget the connection, which is somebody else's, without closing it.

        @param nobody: A socket to close instead.
        """

    def drain(self, refuse: bool) -> None:
        """
        Serve one more request at the most.
        """

    def closeIdle(self) -> None:
        """
        Close it, unless it has a request.
        """


class HandOver:
    """
    Hands connections over, one batch after another, as soon as they are idle.

    As long as that takes, they serve what comes.  Those that the successor has no
    room for serve one more request at the most, and are closed.

    @ivar isOver: Whether the successor takes none any more, or all are gone.
    """

    isOver = False

    def __init__(
        self,
        reactor: Any,
        successor: Successor,
        farewell: float,
        giveUp: Callable[[], object],
    ) -> None:
        """
        @param reactor: An L{IReactorTime
            <twisted.internet.interfaces.IReactorTime>}.
        @param successor: Takes them.
        @param farewell: For how many seconds those that it has no room for stay
            open without a request.
        @param giveUp: Called when it takes none any more.
        """
        self._reactor = reactor
        self._successor = successor
        self._farewell = farewell
        self._giveUp = giveUp
        self._waiting: dict[Movable, bool] = {}
        self._isBusy = False
        self._calls: list[IDelayedCall] = []
        self._nobody: socket.socket | None = None
        try:
            self._nobody = socket.socket(socket.AF_UNIX)
        except OSError:
            # There is no room for copies either.
            self.isOver = True
            giveUp()

    def offer(self, connection: Movable, *, last: bool = False) -> None:
        """
        Hand a connection over, if it is idle when its turn comes.  If not, it is
        to be offered again as soon as it is.

        @param connection: It.
        @param last: Whether it is to be left alone if it can't be handed over.
        """
        if self.isOver:
            return
        if not self._waiting:
            # It may be just reading.
            self._later(0, self._next)
        self._waiting[connection] = last

    def end(self) -> None:
        """
        Do nothing any more: there are no connections left.
        """
        self.isOver = True
        self._waiting.clear()
        for call in self._calls:
            if call.active():
                call.cancel()
        if self._nobody is not None:
            self._nobody.close()

    def _later(self, seconds: float, *what: Any, **how: Any) -> None:
        self._calls = [call for call in self._calls if call.active()]
        self._calls.append(self._reactor.callLater(seconds, *what, **how))

    def _next(self) -> None:
        """
        Hand over a batch, unless one is on its way.
        """
        if self._isBusy or self.isOver:
            return
        batch: dict[int, Movable] = {}
        while self._waiting and len(batch) < BATCH:
            connection = next(iter(self._waiting))
            self._take(connection, self._waiting.pop(connection), batch)
        if batch:
            self._isBusy = True
            sent = self._successor(list(batch))
            sent.addCallback(self._answered, batch)

    def _take(self, connection: Movable, last: bool, batch: dict[int, Movable]) -> None:
        fd = connection.suspend()
        if fd is not None:
            batch[fd] = connection
        elif connection.isIdle and not last:
            self._later(_RETRY, self.offer, connection, last=True)
        elif connection.isIdle:
            self._leave(connection)

    def _answered(self, taken: list[bool], batch: dict[int, Movable]) -> None:
        """
        Forget the connections of a batch that were taken.
        """
        self._isBusy = False
        for (fd, connection), isTaken in zip(batch.items(), taken, strict=True):
            os.close(fd)
            if isTaken:
                connection.release(cast(socket.socket, self._nobody))
            else:
                connection.resume()
                self._leave(connection)
        if not (self.isOver or any(taken)):
            self.isOver = True
            self._waiting.clear()
            self._giveUp()
        elif self._waiting:
            self._next()

    def _leave(self, connection: Movable) -> None:
        if not self.isOver:
            connection.drain(refuse=False)
            self._later(self._farewell, connection.closeIdle)
