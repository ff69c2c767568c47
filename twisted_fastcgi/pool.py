# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The connections to a FastCGI application, and who gets which one when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import ConnectionLost, TimeoutError
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from twisted_fastcgi.clientconnection import ClientConnection
from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.job import Job, Settings


class AgentClosed(FastCGIError):
    """
    The agent was closed before the request had an answer.
    """


class Pool:
    """
    A bounded number of connections, and the jobs that wait for one.

    @ivar _connections: All connections there are, idle ones included.
    @ivar _idle: Those that have nothing to do; the one that was last used is
        the last.
    @ivar _attempts: Those that are being made.
    @ivar _waiting: The jobs that wait, in order.
    @ivar _closed: Whether no job is taken any more.
    @ivar _isGiving: Whether jobs are being begun right now.
    """

    def __init__(
        self,
        settings: Settings,
        endpoint: IStreamClientEndpoint,
        maxConnections: int,
        connectTimeout: float | None,
    ) -> None:
        """
        @param settings: What all connections share.
        @param endpoint: Makes them.
        @param maxConnections: The most of them.
        @param connectTimeout: In how many seconds one must be there.
        """
        self._settings = settings
        self._endpoint = endpoint
        self._maxConnections = maxConnections
        self._connectTimeout = connectTimeout
        self._connections: set[ClientConnection] = set()
        self._idle: list[ClientConnection] = []
        self._attempts: set[_Attempt] = set()
        self._waiting: deque[Job[Any]] = deque()
        self._closed = False
        self._isGiving = False

    # Jobs

    def do(self, job: Job[Any]) -> None:
        """
        Have a job done.

        @param job: The job.
        """
        if self._closed:
            job.refused(Failure(AgentClosed("the agent is closed")))
            return
        self._wait(job)
        self._waiting.append(job)
        self._next()

    def retry(self, job: Job[Any]) -> None:
        """
        Have a job done before all others, on a new connection.

        @param job: The job.
        """
        job.again = True
        self._wait(job)
        self._waiting.appendleft(job)

    def _wait(self, job: Job[Any]) -> None:
        """
        Let a job that waits be withdrawn.
        """
        job.withdraw = partial(self._forget, job)

    def _forget(self, job: Job[Any]) -> None:
        """
        Let a job wait no more.
        """
        # Those that wait when all is closed are no longer there.
        if job in self._waiting:
            self._waiting.remove(job)

    def _next(self) -> None:
        """
        Begin jobs, as long as there are connections for them.
        """
        # A job that fails at once must not begin the next one from within: many
        # of them would be too deep.
        if self._isGiving:
            return
        self._isGiving = True
        try:
            while self._waiting and self._beginFirst():
                pass
        finally:
            self._isGiving = False

    def _beginFirst(self) -> bool:
        """
        Begin the job that is the first to wait.

        @return: Whether there is a connection for it.
        """
        connection = self._takeIdle(self._waiting[0])
        if connection is not None:
            connection.start(self._waiting.popleft())
        elif self._size < self._maxConnections:
            self._connect(self._waiting.popleft())
        else:
            return False
        return True

    @property
    def _size(self) -> int:
        """
        How many connections there are or will be.
        """
        return len(self._connections) + len(self._attempts)

    def _takeIdle(self, job: Job[Any]) -> ClientConnection | None:
        """
        Find a connection for a job, one that has nothing to do.
        """
        while self._idle and not job.again:
            connection = self._idle.pop()
            if connection.usableFor(job):
                return connection
            connection.abort()
        return None

    # Connecting

    def _connect(self, job: Job[Any]) -> None:
        """
        Make a connection for a job.
        """
        attempt = _Attempt(job)
        self._attempts.add(attempt)
        connecting: Deferred[Any] = maybeDeferred(
            self._endpoint.connect, _Factory(self._settings, self, attempt)
        )
        attempt.connecting = connecting
        job.withdraw = attempt.cancel
        if self._connectTimeout is not None:
            clock: Any = self._settings.reactor
            connecting.addTimeout(self._connectTimeout, clock, _connectTimedOut)
        connecting.addCallbacks(
            self._connected,
            self._connectFailed,
            callbackArgs=(attempt,),
            errbackArgs=(attempt,),
        )

    def _connected(self, connection: ClientConnection, attempt: _Attempt) -> None:
        """
        Do the job for which a connection was made.
        """
        self._attempts.discard(attempt)
        if connection.usableFor(attempt.job):
            self._connections.add(connection)
            connection.start(attempt.job)
        else:
            attempt.job.lost(Failure(ConnectionLost()))
            self._next()

    def _connectFailed(self, reason: Failure, attempt: _Attempt) -> None:
        """
        Report that there is no connection, and try it for the next job.
        """
        self._attempts.discard(attempt)
        if not attempt.cancelled:
            attempt.cancelled = True
            attempt.job.refused(reason)
        self._next()

    # Called by the connections

    def released(self, connection: ClientConnection) -> None:
        """
        Take back a connection that has nothing to do.

        @param connection: The connection.
        """
        self._idle.append(connection)
        self._next()

    def connectionLost(self, connection: ClientConnection) -> None:
        """
        Forget a connection.

        @param connection: The one that is gone.
        """
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._next()

    # The end

    def closeIdle(self) -> Deferred[None]:
        """
        Close the connections that have nothing to do.

        @return: Fires when they are closed.
        """
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        return _all(connection.whenLost() for connection in idle)

    def close(self) -> Deferred[None]:
        """
        Take no more jobs, let those there are fail, close all connections.

        @return: Fires when they are closed.
        """
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        connections = list(self._connections)
        gone = _all(connection.whenLost() for connection in connections)
        self.closeIdle()
        for attempt in list(self._attempts):
            attempt.cancel()
            waiting.append(attempt.job)
        for connection in connections:
            connection.fail(Failure(AgentClosed("the agent was closed")))
        for job in waiting:
            job.refused(Failure(AgentClosed("the agent was closed")))
        return gone


class _Attempt:
    """
    An attempt to connect.

    @ivar job: What the connection is for.
    @ivar connecting: Fires with the connection.
    @ivar cancelled: Whether it is not wanted any more.
    """

    connecting: Deferred[Any]

    def __init__(self, job: Job[Any]) -> None:
        """
        @param job: What the connection is for.
        """
        self.job = job
        self.cancelled = False

    def cancel(self) -> None:
        """
        Do without a connection.
        """
        self.cancelled = True
        self.connecting.cancel()


class _Factory(ClientFactory):
    """
    Makes a connection.
    """

    noisy = False

    def __init__(self, settings: Settings, pool: Pool, attempt: _Attempt) -> None:
        """
        @param settings: What all connections share.
        @param pool: Who gives out jobs.
        @param attempt: What the connection is for.
        """
        self._settings = settings
        self._pool = pool
        self._attempt = attempt

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection | None:
        """
        Make a connection.

        @param addr: Where it goes.
        @return: The connection, if it is still wanted.
        """
        if self._attempt.cancelled:
            return None
        return ClientConnection(self._settings, self._pool)


def _connectTimedOut(result: object, timeout: float) -> NoReturn:
    """
    Tell that there was no connection in time.
    """
    raise TimeoutError(f"waited {timeout} seconds for a connection")


def _all(waits: Iterable[Deferred[None]]) -> Deferred[None]:
    """
    Wait for several things.
    """
    return gatherResults(waits).addCallback(lambda results: None)
