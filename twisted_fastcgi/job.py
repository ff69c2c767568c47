# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What is done on a connection to a FastCGI application, and what the connection
has to offer for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProducer, IReactorTime
from twisted.python.failure import Failure

from twisted_fastcgi.connection import (
    StreamEnded,
    StreamReceived,
    TypeUnknown,
    ValuesReceived,
    WebServerConnection,
)
from twisted_fastcgi.response import ClientRequest

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    What all connections of an agent share; described in L{FastCGIAgent
    <twisted_fastcgi.client.FastCGIAgent>}.
    """

    reactor: IReactorTime
    keepConnection: bool
    responseTimeout: float | None
    idleTimeout: float | None
    maxHeaderBytes: int
    stderr: Callable[[ClientRequest, bytes], object]


class Stage(Enum):
    """
    What is being waited for.
    """

    USER = "this side"
    SENDING = "the application to read the request"
    HEAD = "the response's header"
    BODY = "more of the response's body"
    ANSWER = "the answer to GET_VALUES"
    ABORTING = "END_REQUEST after ABORT_REQUEST"
    IDLE = "the next request"


class Line(Protocol):
    """
    What a job needs of its connection; the methods are described where they
    are, in L{ClientConnection
    <twisted_fastcgi.clientconnection.ClientConnection>}.
    """

    machine: WebServerConnection
    requestId: int

    @property
    def full(self) -> bool: ...

    def write(self, pieces: Sequence[bytes]) -> None: ...

    def registerProducer(self, producer: IProducer) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pump(self) -> None: ...

    def abandon(self) -> None: ...


class Job(ABC, Generic[_Result]):
    """
    What a connection is there for, once.

    @ivar done: Fires with the result.
    @ivar withdraw: Called when the result is no longer wanted.
    @ivar reactor: Tells the time.
    @ivar again: Whether this is the second try.
    @ivar line: The connection on which it is being done.
    """

    def __init__(self, settings: Settings) -> None:
        """
        @param settings: What all connections share.
        """
        self.settings = settings
        self.reactor = settings.reactor
        self.done: Deferred[_Result] = Deferred(lambda done: self.withdraw())
        self.withdraw: Callable[[], None] = self.abandon
        self.again = False
        self.line: Line | None = None

    def begin(self, line: Line) -> None:
        """
        Send what there is to send.

        @param line: The connection.
        """
        self.line = line
        self.withdraw = self.abandon
        self._begin(line)

    @abstractmethod
    def _begin(self, line: Line) -> None:
        """
        Send what there is to send.
        """

    @property
    def retriable(self) -> bool:
        """
        Whether to do it a second time changes nothing.
        """
        return True

    @property
    def wantsMore(self) -> bool:
        """
        Whether more is to be read from the connection.
        """
        return True

    @property
    def stage(self) -> Stage:
        """
        What is being waited for.
        """
        return Stage.ANSWER

    @property
    def sent(self) -> bool:
        """
        Whether all was sent.
        """
        return True

    def lineDrained(self, line: Line) -> None:
        """
        The connection is no longer full.

        @param line: The connection.
        """

    def received(self, event: StreamReceived | StreamEnded) -> bool:
        """
        Take an event other than the end.

        @param event: The event.
        @return: Whether that is a reason to wait for the next one anew.
        @raise RemoteProtocolError: If it must not be.
        """
        return False

    def announce(self) -> None:
        """
        Hand out what there is of the result.
        """

    @abstractmethod
    def ended(self, event: Any) -> None:
        """
        Take the end, when the connection is free again.

        @param event: The event that is the end.
        """

    def failed(self, reason: Failure) -> None:
        """
        Take it that there is no result, when the connection is free again.

        @param reason: Why.
        """
        self.line = None
        self._fire(reason)

    def refused(self, reason: Failure) -> None:
        """
        Take it that there is no connection for it.

        @param reason: Why.
        """
        self._fire(reason)

    def _fire(self, result: _Result | Failure) -> None:
        """
        Hand out the result, if it is still wanted.
        """
        if not self.done.called:
            self.done.callback(result)

    def lost(self, reason: Failure) -> None:
        """
        Take it that nothing more will come.

        @param reason: Why: the connection is gone, or the time is over.
        """
        self.failed(reason)

    def pump(self) -> None:
        """
        Read on, if more is wanted.
        """
        if self.line is not None:
            self.line.pump()

    def abandon(self) -> None:
        """
        Do no more of it.
        """
        line, self.line = self.line, None
        if line is not None:
            line.abandon()


class Query(Job[dict[bytes, bytes]]):
    """
    A question about the application's limits (FastCGI 1.0, section 4.1).
    """

    def __init__(self, settings: Settings, names: Sequence[bytes]) -> None:
        """
        @param settings: What all connections share.
        @param names: What to ask for.
        """
        super().__init__(settings)
        self._names = names

    def _begin(self, line: Line) -> None:
        """
        Ask.
        """
        line.write([line.machine.getValues(self._names)])

    def ended(self, event: ValuesReceived | TypeUnknown) -> None:
        """
        Take the answer.

        @param event: The answer; an application that does not understand the
            question tells nothing.
        """
        self.line = None
        self._fire(event.values if isinstance(event, ValuesReceived) else {})
