# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A request to a FastCGI application and its response, as Twisted's HTTP client
knows them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import NO_BODY_CODES
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

from twisted_fastcgi.cgiclient import Head

log = Logger()

#: How many bytes of a body that nobody has asked for yet are kept before
#: reading stops.  The page that comes with a redirection fits, as a rule, so
#: that its connection is free again though nobody ever reads it.
_HELD_BYTES = 65536


@implementer(IClientRequest)
@dataclass(frozen=True, eq=False)
class ClientRequest:
    """
    A request to a FastCGI application.

    @ivar method: The request method.
    @ivar absoluteURI: The URI.
    @ivar headers: The headers.
    @ivar variables: All variables that are sent, some of them made of the
        above (RFC 3875, section 4.1).
    """

    method: bytes
    absoluteURI: bytes
    # Credentials are among these.
    headers: Headers = field(repr=False)
    variables: Mapping[bytes, bytes] = field(repr=False)


class Source(Protocol):
    """
    Where the body of a response comes from.
    """

    reactor: IReactorTime

    def pump(self) -> None:
        """
        Read on, if more is wanted.
        """

    def abandon(self) -> None:
        """
        Read no more: the rest is not wanted.
        """


@implementer(IResponse)
class FastCGIResponse:
    """
    The response of a FastCGI application.

    @ivar version: C{(b"HTTP", 1, 1)}.
    @ivar code: The status code.
    @ivar phrase: The reason phrase.
    @ivar headers: The headers.
    @ivar length: The size of the body in bytes, or C{UNKNOWN_LENGTH}.
    @ivar request: The request, a L{ClientRequest}.
    @ivar previousResponse: The response that led to this one by a redirection.
    @ivar appStatus: The application status (FastCGI 1.0, section 5.5), L{None}
        until the application has told it, at the end.
    @ivar protocolStatus: The protocol status, likewise.
    @ivar _source: Where the body comes from.
    @ivar _protocol: Where it goes, once somebody has asked for it.
    @ivar _paused: Whether that one wants no more for now.
    @ivar _held: What waits to be delivered.
    @ivar _received: How much has come.
    @ivar _reason: Why there is no more to come, once it is so.
    @ivar _delivering: Whether pieces are being delivered right now.
    @ivar _finished: Whether the end was delivered.
    """

    version = (b"HTTP", 1, 1)

    def __init__(self, request: ClientRequest, head: Head, source: Source) -> None:
        """
        @param request: The request.
        @param head: The response's header block.
        @param source: Where the body comes from.
        """
        self.request = request
        self.code = head.code
        self.phrase = head.phrase
        self.headers = head.headers
        self.hasBody = request.method != b"HEAD" and head.code not in NO_BODY_CODES
        self.length: Any = 0
        if self.hasBody:
            self.length = UNKNOWN_LENGTH if head.length is None else head.length
        self.previousResponse: IResponse | None = None
        self.appStatus: int | None = None
        self.protocolStatus: int | None = None
        self._source = source
        self._protocol: IProtocol | None = None
        self._paused = False
        self._held: deque[bytes] = deque()
        self._received = 0
        self._reason: Failure | None = None
        self._delivering = False
        self._finished = False

    def setPreviousResponse(self, response: IResponse) -> None:
        """
        Note which response led to this one.

        @param response: That one.
        """
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Deliver the body.

        @param protocol: Gets it.  Its transport is an L{IPushProducer
            <twisted.internet.interfaces.IPushProducer>} that can also
            C{loseConnection} and C{abortConnection}: both make an end of the
            request.  When all is delivered, its C{connectionLost} is called
            with L{ResponseDone<twisted.web.client.ResponseDone>}; with
            L{ResponseFailed<twisted.web.client.ResponseFailed>} if the body is
            not whole.
        @raise RuntimeError: If the body was asked for before.
        """
        if self._protocol is not None:
            raise RuntimeError(
                f"the body is delivered to {self._protocol!r}, it can't be delivered "
                "twice"
            )
        self._protocol = protocol
        self._guard(protocol.makeConnection, _BodyTransport(self))
        self._deliver()
        self._source.pump()

    # What the source says

    @property
    def wantsMore(self) -> bool:
        """
        Whether more of the body should be read.
        """
        if self._protocol is None:
            return self._received < _HELD_BYTES
        return not self._paused

    @property
    def paused(self) -> bool:
        """
        Whether the one who gets the body keeps the application waiting.
        """
        return self._paused

    def bodyReceived(self, data: bytes) -> None:
        """
        Take a piece of the body.

        @param data: The piece.
        """
        self._held.append(data)
        self._received += len(data)
        self._deliver()

    def bodyEnded(self, reason: Failure | None = None) -> None:
        """
        Take the end of the body.

        @param reason: Why it is not whole, if it is not.
        """
        if reason is None:
            reason = Failure(ResponseDone("the response is complete"))
        else:
            reason = Failure(ResponseFailed([reason], self))
        self._reason = reason
        self._deliver()

    def _deliver(self) -> None:
        """
        Deliver what has come, and the end.
        """
        if self._delivering or self._protocol is None:
            return
        self._delivering = True
        while self._held and not self._paused:
            self._guard(self._protocol.dataReceived, self._held.popleft())
        self._delivering = False
        if self._reason is not None and not self._paused and not self._finished:
            self._finished = True
            self._guard(self._protocol.connectionLost, self._reason)

    def _guard(self, deliver: Callable[..., object], argument: object) -> None:
        """
        Call something of the protocol, which may fail.
        """
        try:
            deliver(argument)
        except Exception:
            log.failure("{protocol} failed", protocol=self._protocol)
            self.abort()

    # What the one who gets the body says

    def pause(self) -> None:
        """
        Deliver nothing for now.
        """
        self._paused = True
        self._source.pump()

    def resume(self) -> None:
        """
        Deliver again.
        """
        self._paused = False
        self._deliver()
        self._source.pump()

    def abort(self) -> None:
        """
        Deliver nothing any more but the end, which comes a moment later.
        """
        if self._finished:
            return
        self._paused = True
        self._held.clear()
        self._reason = Failure(ResponseFailed([Failure(ConnectionAborted())], self))
        self._source.abandon()
        self._source.reactor.callLater(0, self.resume)


@implementer(IPushProducer)
class _BodyTransport:
    """
    What the one who gets the body has for a transport.
    """

    def __init__(self, response: FastCGIResponse) -> None:
        self._response = response
        self.pauseProducing = response.pause
        self.resumeProducing = response.resume
        self.stopProducing = response.abort
        self.loseConnection = response.abort
        self.abortConnection = response.abort
