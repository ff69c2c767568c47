# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Serve L{twisted.web} resources over FastCGI.

L{FastCGIProtocol} is one connection, L{FastCGIFactory} holds what all of them
share.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import partial
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from twisted_fastcgi.authorizer import AuthorizerResource
from twisted_fastcgi.channel import RequestChannel
from twisted_fastcgi.connection import (
    ApplicationConnection,
    InputState,
    Limits,
    ManagementReceived,
    RequestAborted,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
    WholeRequestReceived,
)
from twisted_fastcgi.errors import LimitExceeded, RemoteProtocolError
from twisted_fastcgi.figures import Figures, Statistics
from twisted_fastcgi.handover import HandOver, Successor
from twisted_fastcgi.interfaces import IAuthorizer, IFilterResource
from twisted_fastcgi.mount import ROOT, mounted
from twisted_fastcgi.outlet import outletFor
from twisted_fastcgi.records import ProtocolStatus, RecordType, Role
from twisted_fastcgi.request import FastCGIRequest
from twisted_fastcgi.roles import CHANNELS, FilterChannel

log = Logger()

#: How often the deadlines of all connections are looked at, in seconds.
_SWEEP_INTERVAL = 1.0

#: How much a transport reads at a time, in bytes, and how much of a large body.
_READ_SIZE = FileDescriptor.bufferSize
_LARGE_READ_SIZE = 262144

#: How many requests are counted later.
_MANY = 1000

#: For how long a kept connection without a request is still open after the
#: server has begun to stop, in seconds: a request that is on its way then gets
#: an answer.
_FAREWELL = 1.0


class _Stage(Enum):
    """
    What a connection waits for.
    """

    IDLE = "a request"
    PARAMS = "the rest of a request's variables"
    BODY = "more of a request's body"
    BUSY = "the application"


# For the reason that twisted_fastcgi.connection has such names, too.
_IDLE, _PARAMS, _BODY, _BUSY = _Stage
_NO_REQUEST = InputState.IDLE
_VARIABLES = InputState.PARAMS
_STDIN = RecordType.STDIN


class FastCGIProtocol(Protocol):
    """
    The application's side of one FastCGI connection: feeds what comes from
    the transport to an L{ApplicationConnection
    <twisted_fastcgi.applicationconnection.ApplicationConnection>}, and what
    that makes of it to a L{RequestChannel}.

    @ivar factory: What all connections share.
    @ivar deadline: When something must have happened, in seconds of the
        factory's clock, or L{None}.
    @ivar _channel: The request in hand.
    @ivar _pumping: Whether events are being pulled, so that what an event sets
        off does not pull the next one in the midst of it.
    @ivar _closing: Whether nothing that comes in matters any more.
    @ivar _readingPaused: Whether the transport was told not to read.
    @ivar _readingMore: Whether it was told to read more at a time than usual.
    @ivar _queuedAnswers: How many answers wait in the full transport.
    @ivar _unheededBytes: How much was written since the response's producer was
        told to pause.
    @ivar _leaving: Whether the connection ends with the request in hand, or
        with the next one.
    @ivar _complained: Whether something about this peer is in the log.
    @ivar _handOver: What hands the connection to a successor when it is idle.
    @ivar _stage: What the deadline is for.
    @ivar _received: How much has come, in bytes.
    """

    factory: FastCGIFactory
    deadline: float | None = None

    # To set all these anew takes 1 us of each connection.
    _channel: RequestChannel | None = None
    _pumping = False
    _closing = False
    _readingPaused = False
    _readingMore = False
    _queuedAnswers = 0
    _unheededBytes = 0
    _complained = False
    _leaving = False
    _handOver: HandOver | None = None
    _stage = _BUSY
    _received = 0

    # What the transport says

    def connectionMade(self) -> None:
        """
        Get ready for requests.
        """
        factory = self.factory
        self._connection = ApplicationConnection(factory.limits, factory.roles)
        transport = self._transport
        self._outlet = outletFor(transport, factory.reactor, self._transportDrained)
        if factory.connectionMade(self):
            self._connection.refusing = self._leaving = True
        self._setDeadline()

    def dataReceived(self, data: bytes) -> None:
        """
        Take bytes from the web server, and do what they ask for.

        @param data: The bytes, in any cuts.
        """
        self._received += len(data)
        if self._closing:
            return
        if self._channel is None and not self._outlet.full:
            request = self._connection.receiveRequest(data)
            if request is not None:
                self._serve(request)
                return
        if len(data) >= _READ_SIZE:
            self._readMore()
        self._connection.receiveData(data)
        self.pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Let go of everything.

        @param reason: Why the connection is gone.
        """
        outcome = "cut_off" if self._closing else "disconnected"
        self._closing = True
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.countBreak(outcome)
            channel.disconnect(reason)
        elif self._connection.inputState is _VARIABLES:
            self.factory.figures.ended(outcome)
        self._outlet.connectionLost()
        self.factory.connectionLost(self)

    def _transportDrained(self) -> None:
        """
        Go on after the transport was full.
        """
        self._queuedAnswers = 0
        self._unheededBytes = 0
        self.pump()

    # Events

    def pump(self) -> None:
        """
        Do what the bytes that have come ask for, as far as it can be done now.
        What is written meanwhile goes out in one piece.
        """
        if self._pumping or self._closing:
            return
        self._pumping = True
        self._outlet.hold()
        try:
            while self._step():
                pass
        except RemoteProtocolError as error:
            self._protocolError(error)
        finally:
            self._endPumping()
        self._adjustReading()
        self._setDeadline()

    def _serve(self, request: WholeRequestReceived) -> None:
        """
        Do what L{pump} does for a request that has arrived as a whole.
        """
        self._pumping = True
        self._outlet.hold()
        try:
            self._channel = channel = RequestChannel(self, request)
            channel.begin()
            if request.body and channel.connected:
                channel.beginBody()
                channel.receiveBody(request.body)
            if channel.connected:
                channel.endBody()
        finally:
            self._endPumping()
        if self._channel is None and not (self._closing or self._outlet.full):
            # Nearly always it waits for the next request as for the last one.
            if self._stage is not _IDLE or self.deadline is not None:
                self._enterStage(_IDLE)
        else:
            self._adjustReading()
            self._setDeadline()

    def _endPumping(self) -> None:
        """
        Send what has been written.
        """
        self._pumping = False
        if self._channel is not None:
            self._channel.flush()
        self._outlet.release()

    def _step(self) -> bool:
        """
        Handle one event.

        @return: Whether there may be more.
        """
        channel = self._channel
        if channel is not None and channel.holding:
            channel.deliverHeld()
        if self._closing or self._mustWait():
            return False
        event = self._connection.nextEvent()
        if event is None:
            return False
        _HANDLERS[event.__class__](self, event)
        channel = self._channel
        if channel is not None and channel.bodyComplete:
            # Its end may come later, or never.  If it is here already, it is
            # better read before the connection is closed.
            if not self._connection.stdinEndsNext:
                channel.endBody()
        return True

    def _mustWait(self) -> bool:
        """
        Tell whether no more may be read for now: while a request is in hand,
        only the request itself can want that, for reading is how the end of
        the connection is noticed.
        """
        if self._channel is not None:
            return not self._channel.wantsBody
        return self._outlet.full

    def _requestReceived(self, event: RequestReceived) -> None:
        """
        Begin a request.
        """
        # Another one may have begun to arrive already: that has its own time.
        self._stage = _BUSY
        self.deadline = None
        self._channel = channel = CHANNELS[event.role](self, event)
        channel.begin()
        if channel.connected:
            channel.beginBody()

    def _streamReceived(self, event: StreamReceived) -> None:
        """
        Take a piece of the request's body, or of a Filter's file.
        """
        if event.stream == _STDIN:
            cast(RequestChannel, self._channel).receiveBody(event.data)
        else:
            cast(FilterChannel, self._channel).receiveData(event.data)

    def _streamEnded(self, event: StreamEnded) -> None:
        """
        Take the end of the request's body, or of a Filter's file.
        """
        if event.stream == _STDIN:
            cast(RequestChannel, self._channel).endBody()
        else:
            cast(FilterChannel, self._channel).endData()

    def _requestAborted(self, event: RequestAborted) -> None:
        """
        Give up the request in hand.
        """
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.countBreak("aborted")
            channel.disconnect(Failure(ConnectionLost("the web server aborted it")))
        else:
            self.factory.figures.ended("aborted")
        self._answer(event.data)
        self._requestOver()

    def _requestRejected(self, event: RequestRejected) -> None:
        """
        Send the answer to a request that nobody will see.
        """
        self.complain(f"request {event.requestId} was rejected", event.reason)
        self._countRejection(event)
        self._answer(event.data)
        if self._channel is None:
            self._requestOver()

    def _countRejection(self, event: RequestRejected) -> None:
        """
        Count a request that nobody will see.
        """
        figures = self.factory.figures
        outcome = _REJECTIONS.get(event.protocolStatus)
        if outcome is not None:
            figures.ended(outcome)
            return
        figures.refusedWith(event.status)
        if event.status == 400:
            figures.errors["params"] += 1

    def _managementReceived(self, event: ManagementReceived) -> None:
        """
        Send the answer to a management record.
        """
        self._answer(event.data)

    def _answer(self, data: bytes) -> None:
        """
        Send an answer that the protocol makes, unless too many wait already.
        """
        self._outlet.write([data])
        if self._outlet.full and self._channel is not None:
            self._queuedAnswers += 1
            if self._queuedAnswers > self.limits.queuedAnswers:
                raise LimitExceeded(
                    f"more than {self.limits.queuedAnswers} answers to management "
                    "records or refused requests wait to be read",
                    kind="unread_answers",
                )

    def _protocolError(self, error: RemoteProtocolError) -> None:
        """
        Give up the connection: what comes next can't be understood, or there
        is no end to it.
        """
        self.complain("the connection is closed", str(error))
        self.factory.figures.errors[error.kind] += 1
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.countBreak("cut_off")
            channel.flush()
        self._closing = True
        self._resumeReading()
        if isinstance(error, LimitExceeded):
            # This peer does not even read.
            self._outlet.abort()
        else:
            self._outlet.closeGently()
        if channel is not None:
            channel.disconnect(Failure(error))

    def complain(self, what: str, why: str) -> None:
        """
        Log what the peer did wrong: one line at most for each connection.

        @param what: What came of it.
        @param why: What it was.
        """
        if not self._complained:
            self._complained = True
            log.warn("{peer}: {what}: {why}", peer=self.peer, what=what, why=why)

    # What a channel wants

    @property
    def limits(self) -> Limits:
        """
        What the peer may use up.
        """
        return self.factory.limits

    @property
    def peer(self) -> str:
        """
        The web server's address, for the log.
        """
        peer = self._transport.getPeer()
        if hasattr(peer, "port"):
            return f"{peer.host}:{peer.port}"
        return "a client of the Unix socket"

    @property
    def holding(self) -> bool:
        """
        Whether output is being held back for now.
        """
        return self._outlet.held

    @property
    def keepsConnection(self) -> bool:
        """
        Whether the connection stays open after the request in hand.
        """
        return self._connection.keepConnection and not self._leaving

    @property
    def closing(self) -> bool:
        """
        Whether nothing that is written reaches the peer any more.
        """
        return self._closing

    def writeStdout(self, data: bytes) -> None:
        """
        Send a piece of the response.

        @param data: The piece.
        """
        if self._outlet.full:
            self._noteUnheeded(len(data))
        if not self._closing:
            self._outlet.write(self._connection.sendStdout(data))

    def _noteUnheeded(self, size: int) -> None:
        """
        Give up a response whose producer does not do as it is told.
        """
        most = self.limits.unheededBytes
        if self._closing or most is None or not self._outlet.hasPaused:
            return
        self._unheededBytes += size
        if self._unheededBytes > most:
            log.error(
                "{peer}: the connection is cut off: {size} bytes were written after "
                "the producer of the response was told to pause",
                peer=self.peer,
                size=self._unheededBytes,
            )
            self.abortConnection()

    def writeStderr(self, data: bytes) -> None:
        """
        Send a piece of the error stream.

        @param data: The piece.
        """
        if not self._closing:
            self._outlet.write(self._connection.sendStderr(data))

    def endRequest(self, appStatus: int, complete: bool) -> None:
        """
        Send END_REQUEST, and go on to the next request or close the
        connection.

        @param appStatus: The application status.
        @param complete: Whether the response is whole.
        """
        self._channel = None
        if self._closing:
            return
        ending = self._connection.endRequest(appStatus, complete=complete)
        if not (complete and self.keepsConnection):
            # A web server that saw the end of the response before that of the
            # connection might send the next request meanwhile.
            self._outlet.hold()
        self._outlet.write([ending], last=True)
        if complete:
            self._requestOver()
        else:
            self._close()
        self.pump()

    def rejectRole(self, reason: str) -> None:
        """
        Send UNKNOWN_ROLE, and go on as after a response.

        @param reason: Why, for the log.
        """
        self._channel = None
        self.complain("a request was rejected", reason)
        self._outlet.write([self._connection.rejectRole()])
        self._requestOver()

    def respond(self, data: bytes, appStatus: int) -> None:
        """
        Send the rest of a response, all of it, and END_REQUEST.

        @param data: The rest.
        @param appStatus: The application status.
        """
        self._channel = None
        if self._closing:
            return
        connection = self._connection
        pieces = connection.sendStdout(data)
        pieces.append(connection.endRequest(appStatus))
        if self._leaving:
            # For the reason that endRequest has.
            self._outlet.hold()
        self._outlet.write(pieces, last=True)
        if not self.keepsConnection:
            self._close()
        if not self._pumping:
            self.pump()

    def closeWithoutEnd(self) -> None:
        """
        Close the connection in the midst of a response.
        """
        self._channel = None
        if not self._closing:
            self._close()

    def abortConnection(self) -> None:
        """
        Close the connection at once.
        """
        self._closing = True
        self._outlet.abort()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Take a producer for the response.

        @param producer: The producer.
        @param streaming: Whether it is a push producer.
        """
        self._unheededBytes = 0
        self._outlet.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """
        Forget the producer of the response.
        """
        self._outlet.unregisterProducer()

    def stopProducer(self) -> None:
        """
        Stop the producer of the response.
        """
        self._outlet.stopProducer()

    # The connection's own life

    def _requestOver(self) -> None:
        """
        Keep the connection, or close it, as the web server wants.
        """
        if not self.keepsConnection:
            self._close()

    def _close(self) -> None:
        """
        Close the connection once all is sent, with care if the web server may
        still be sending.
        """
        self._closing = True
        self._resumeReading()
        connection = self._connection
        reading = connection.inputState not in (InputState.IDLE, InputState.ENDED)
        if reading or connection.inputPending:
            self._outlet.closeGently()
        elif self._leaving:
            self._outlet.closeAtOnce()
        else:
            self._outlet.close()

    def _adjustReading(self) -> None:
        """
        Read from the transport, or do not.
        """
        if self._closing:
            return
        if not self._mustWait():
            self._resumeReading()
        elif not self._readingPaused:
            self._readingPaused = True
            self._transport.pauseProducing()

    def _resumeReading(self) -> None:
        """
        Read from the transport again.
        """
        if self._readingPaused:
            self._readingPaused = False
            self._transport.resumeProducing()

    @property
    def _transport(self) -> Any:
        """
        The transport, which is there from C{connectionMade} on.
        """
        return self.transport

    def drain(self, refuse: bool) -> None:
        """
        Take no more requests, or one more at the most.  The connection stays open
        for a while: right after a response web servers are most likely to send
        another request, which to close it at that moment would destroy.

        @param refuse: Whether the next request is refused; else the connection
            is closed in one with the end of its response.
        """
        self._handOver = None
        if refuse:
            self._connection.refusing = True
        else:
            self._leaving = True

    # For a successor

    def handTo(self, handOver: HandOver) -> None:
        """
        Have the connection handed over, now or as soon as it has no request.

        @param handOver: What does that.
        """
        self._handOver = handOver
        handOver.offer(self)

    @property
    def isIdle(self) -> bool:
        """
        Whether it is open and waits for a request.
        """
        return not self._closing and self._stage is _IDLE

    def suspend(self) -> int | None:
        """
        Read nothing any more, if nothing of a request was read, and all is sent.

        @return: A copy of the file descriptor of the connection; L{None} if it goes
            on as before.
        """
        connection = self._connection
        isBetween = connection.betweenRecords and not connection.inputPending
        fd = self._outlet.copy() if self.isIdle and isBetween else None
        if fd is not None:
            self._stage = _BUSY
            self.deadline = None
            self._readingPaused = True
            self._transport.pauseProducing()
        return fd

    def resume(self) -> None:
        """
        Read again.
        """
        if not self._closing:
            self._resumeReading()
            self._handOver = None
            self._setDeadline()

    def release(self, nobody: socket.socket) -> None:
        """
        Forget the connection, which is somebody else's now, without closing it.

        @param nobody: A socket to close instead.
        """
        if not self._closing:
            self._closing = True
            self._outlet.abandon(nobody)

    def closeIdle(self) -> None:
        """
        Close the connection; if a request is on its way, after that.
        """
        self._leaving = True
        isIdle = not self._closing and self._stage is _IDLE
        # A request may have come that the reactor has not yet seen.
        if isIdle and not self._outlet.hasInput:
            self._close()

    def _readMore(self) -> None:
        """
        Have the transport read more at a time, as long as a body comes in
        faster than it is read: that takes two thirds of the time.
        """
        transport = self._transport
        if self._channel is not None and isinstance(transport, FileDescriptor):
            transport.bufferSize = _LARGE_READ_SIZE
            self._readingMore = True

    def _readLess(self) -> None:
        """
        Have the transport read as much at a time as it usually does.
        """
        self._transport.bufferSize = _READ_SIZE
        self._readingMore = False

    # Deadlines

    def _setDeadline(self) -> None:
        """
        Note by when something must have happened.
        """
        stage = self._currentStage()
        if stage is not self._stage or stage is _BODY:
            self._enterStage(stage)

    def _enterStage(self, stage: _Stage) -> None:
        """
        Begin to wait for something.
        """
        if self._readingMore and stage is not _BODY:
            self._readLess()
        self._stage = stage
        timeout = self._timeout(stage)
        if timeout is None:
            self.deadline = None
        else:
            self.deadline = self.factory.reactor.seconds() + timeout
        if stage is _IDLE and self._handOver is not None:
            self._handOver.offer(self)

    def _currentStage(self) -> _Stage:
        """
        Tell what is being waited for.
        """
        connection = self._connection
        channel = self._channel
        if self._closing:
            return _BUSY
        if channel is None:
            if self._outlet.full:
                # What has come waits for the web server to read.
                return _BUSY
            begun = connection.inputState is not _NO_REQUEST
            return _PARAMS if begun or connection.withinRecord else _IDLE
        return _BUSY if channel.bodyDone or channel.paused else _BODY

    def _timeout(self, stage: _Stage) -> float | None:
        """
        Tell how long a stage may last, in seconds.
        """
        limits = self.factory.limits
        if stage is _IDLE:
            # One that refuses all requests is not kept for nothing.
            return _FAREWELL if self._connection.refusing else limits.idleTimeout
        if stage is _PARAMS:
            return limits.paramsTimeout
        return limits.bodyTimeout if stage is _BODY else None

    @property
    def traffic(self) -> tuple[int, int]:
        """
        How many bytes have come, and how many went out.
        """
        return self._received, self._outlet.sent

    @property
    def channel(self) -> RequestChannel | None:
        """
        The request in hand.
        """
        return self._channel

    def checkTime(self, now: float) -> None:
        """
        Act on what should have happened by now.

        @param now: What the factory's clock shows, in seconds.
        """
        if self.deadline is not None and self.deadline <= now:
            self._timedOut()
        timeout = self.limits.writeTimeout
        since = self._outlet.waitingSince
        if timeout is not None and since is not None and since + timeout <= now:
            why = f"nothing was taken from it for {timeout} seconds"
            self.complain("the connection is cut off", why)
            self.abortConnection()

    def _timedOut(self) -> None:
        """
        Act on a deadline that has passed.
        """
        self.deadline = None
        if self._stage is _BODY and self._channel is not None:
            self._channel.bodyTimedOut()
            return
        if self._stage is _PARAMS:
            self.complain(
                "the connection is closed", "a request began to arrive and stopped"
            )
            self.factory.figures.errors["params_timeout"] += 1
        # Nothing was answered that could be lost.
        self._closing = True
        self._outlet.close()


#: What becomes of a request, by the status that END_REQUEST tells.
_REJECTIONS: Mapping[int, str] = {
    ProtocolStatus.CANT_MPX_CONN: "cant_multiplex",
    ProtocolStatus.OVERLOADED: "overloaded",
    ProtocolStatus.UNKNOWN_ROLE: "unknown_role",
}

#: What is done with an event, by its class.
_HANDLERS: Mapping[type, Any] = {
    RequestReceived: FastCGIProtocol._requestReceived,
    StreamReceived: FastCGIProtocol._streamReceived,
    StreamEnded: FastCGIProtocol._streamEnded,
    RequestAborted: FastCGIProtocol._requestAborted,
    RequestRejected: FastCGIProtocol._requestRejected,
    ManagementReceived: FastCGIProtocol._managementReceived,
}


class FastCGIFactory(ServerFactory):
    """
    Serves L{twisted.web} resources to web servers over FastCGI.

    @ivar site: The L{Site<twisted.web.server.Site>} that is served.
    @ivar limits: What a peer may use up.
    @ivar reactor: Tells the time.
    @ivar seconds: Tells the time, too, and at once.
    @ivar loggingSite: The same site, if it is to log each request.
    @ivar figures: What is counted.
    @ivar roles: The roles that are served.
    @ivar authorizerSite: What serves the role of an Authorizer, if it is not
        the same site.
    """

    protocol = FastCGIProtocol  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        resourceOrSite: IResource | Site,
        *,
        limits: Limits | None = None,
        mount: str = ROOT,
        authorizer: Any = None,
        roles: Iterable[int] = (),
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param resourceOrSite: What to serve: the root of some resources, or a
            whole L{Site<twisted.web.server.Site>}, with its sessions, its
            access log and its C{requestFactory}, which may be served over HTTP
            at the same time.
        @param limits: What a peer may use up.
        @param mount: Where in the path the resources begin; see
            L{twisted_fastcgi.mount.mounted}.  Only for resources.
        @param authorizer: An L{IAuthorizer
            <twisted_fastcgi.interfaces.IAuthorizer>} that decides on all
            requests in the role of an Authorizer; L{None} to leave it to the
            resource that their path leads to.
        @param roles: What L{Role<twisted_fastcgi.records.Role>}s to serve
            beside those that the root and C{authorizer} provide the interface
            of: for resources below the root that provide it.  Others get
            UNKNOWN_ROLE.
        @param reactor: Tells the time.
        @raise TypeError: If C{resourceOrSite} is neither, or C{authorizer} is no
            L{IAuthorizer<twisted_fastcgi.interfaces.IAuthorizer>}.
        @raise ValueError: If C{mount} is no place in a path, or not C{"/"}
            with a L{Site<twisted.web.server.Site>}.
        """
        if reactor is None:
            from twisted.internet import reactor as globalReactor

            reactor = cast(IReactorTime, globalReactor)
        self.reactor = reactor
        self.seconds = reactor.seconds
        self.figures = Figures(reactor.seconds)
        self.limits = Limits() if limits is None else limits
        self.site, self.loggingSite = _sitesFor(resourceOrSite, mount, reactor)
        self.authorizerSite = _authorizerSite(authorizer, reactor)
        self.roles = frozenset(roles) | _rolesOf(self.site, authorizer)
        self._connections: set[FastCGIProtocol] = set()
        self._sweeping: IDelayedCall | None = None
        self._draining = False
        self._drained: Deferred[None] | None = None
        self._drainCalls: list[IDelayedCall] = []
        self._handOver: HandOver | None = None

    @property
    def requestFactory(self) -> Any:
        """
        What makes the request objects: the site's own, unless that is
        Twisted's.
        """
        make = self.site.requestFactory
        return FastCGIRequest if make is Request else make

    @property
    def connectionCount(self) -> int:
        """
        How many connections there are.
        """
        return len(self._connections)

    @property
    def refusing(self) -> bool:
        """
        Whether requests on a new connection are refused.
        """
        return self._draining or len(self._connections) >= self.limits.connections

    def statistics(self) -> Statistics:
        """
        Tell the figures about what is being served, and what was.

        @return: The figures as they are now.
        """
        traffic = [connection.traffic for connection in self._connections]
        channels = [connection.channel for connection in self._connections]
        return self.figures.statistics(
            [each.describe() for each in channels if each and not each.hidden],
            open=len(traffic),
            received=sum(received for received, _ in traffic),
            sent=sum(sent for _, sent in traffic),
        )

    def startFactory(self) -> None:
        """
        Start the site, too.
        """
        self._draining = False
        self.site.doStart()

    def stopFactory(self) -> None:
        """
        Stop the site, too.
        """
        self.site.doStop()

    # Called by the connections

    def connectionMade(self, connection: FastCGIProtocol) -> bool:
        """
        Count a connection.

        @param connection: The new one.
        @return: Whether requests on it are to be refused.
        """
        figures = self.figures
        figures.accepted += 1
        refusing = self.refusing
        if refusing:
            figures.refused["draining" if self._draining else "limit"] += 1
        self._connections.add(connection)
        if self._sweeping is None:
            self._sweeping = self.reactor.callLater(_SWEEP_INTERVAL, self._sweep)
        return refusing

    def connectionLost(self, connection: FastCGIProtocol) -> None:
        """
        Count a connection no more.

        @param connection: The one that is gone.
        """
        received, sent = connection.traffic
        self.figures.received += received
        self.figures.sent += sent
        self._connections.discard(connection)
        if not self._connections:
            self.figures.settle(_MANY)
            self._stopSweeping()
            self._noConnections()

    def peerRefused(self) -> None:
        """
        Count a connection of a peer that may not connect.
        """
        self.figures.accepted += 1
        self.figures.refused["peer"] += 1

    # Deadlines

    def _sweep(self) -> None:
        """
        Act on deadlines that have passed.  One look at all connections now and
        then costs far less than a delayed call for each request.
        """
        self._sweeping = self.reactor.callLater(_SWEEP_INTERVAL, self._sweep)
        self.figures.settle()
        now = self.reactor.seconds()
        for connection in list(self._connections):
            connection.checkTime(now)

    def _stopSweeping(self) -> None:
        """
        Look at no deadlines while there are no connections.
        """
        cast(IDelayedCall, self._sweeping).cancel()
        self._sweeping = None

    # The end

    def drain(
        self, grace: float, refuse: bool = True, successor: Successor | None = None
    ) -> Deferred[None]:
        """
        Stop serving without losing anything: requests in hand are finished,
        new ones on kept connections are answered with 503 and OVERLOADED.
        Listening has to be stopped before.

        @param grace: For how many seconds requests may go on; then their
            connections are aborted.
        @param refuse: Whether new requests on kept connections are refused.  If
            not, each connection serves the one in hand, or else one more, and is
            closed with the end of its response: for a server that has a
            successor on the same socket, to which web servers turn then.
        @param successor: Takes the connections, each as soon as it has no request;
            what it does not take goes on as without C{refuse}.
        @return: Fires when no connection is left.
        """
        self._draining = True
        if not self._connections:
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred()
            self._drainCalls = [self.reactor.callLater(grace, self._abortAll)]
            farewell = min(_FAREWELL, grace)
            if successor is None:
                self._drainEach(farewell, refuse)
            else:
                self._handTo(successor, farewell)
        done: Deferred[None] = Deferred()
        self._drained.chainDeferred(done)
        return done

    def _drainEach(self, farewell: float, refuse: bool) -> None:
        self._drainCalls.append(self.reactor.callLater(farewell, self._closeIdle))
        for connection in list(self._connections):
            connection.drain(refuse)

    def _handTo(self, successor: Successor, farewell: float) -> None:
        self._handOver = handOver = HandOver(
            self.reactor,
            successor,
            farewell,
            partial(self._drainEach, farewell, refuse=False),
        )
        if not handOver.isOver:
            for connection in self._connections:
                connection.handTo(handOver)

    def _closeIdle(self) -> None:
        """
        Close the connections that have no request.
        """
        for connection in list(self._connections):
            connection.closeIdle()

    def _abortAll(self) -> None:
        """
        Close what is left.
        """
        log.warn(
            "{count} connections are aborted: their time to finish is over",
            count=len(self._connections),
        )
        for connection in list(self._connections):
            connection.abortConnection()

    def _noConnections(self) -> None:
        """
        Tell whoever waits for it that no connection is left.
        """
        drained, self._drained = self._drained, None
        calls, self._drainCalls = self._drainCalls, []
        for call in calls:
            if call.active():
                call.cancel()
        if self._handOver is not None:
            self._handOver.end()
            self._handOver = None
        if drained is not None:
            drained.callback(None)


def _authorizerSite(authorizer: Any, reactor: IReactorTime) -> Site | None:
    """
    Make the site that asks an authorizer, if there is one.
    """
    if authorizer is None:
        return None
    if not IAuthorizer.providedBy(authorizer):
        raise TypeError(f"authorizer must provide IAuthorizer: {authorizer!r}")
    return Site(AuthorizerResource(authorizer), reactor=reactor)


def _rolesOf(site: Site, authorizer: object) -> frozenset[int]:
    """
    Tell which roles the root of a site, and an authorizer beside it, can play.
    """
    roles = {Role.RESPONDER}
    if authorizer is not None or IAuthorizer.providedBy(site.resource):
        roles.add(Role.AUTHORIZER)
    if IFilterResource.providedBy(site.resource):
        roles.add(Role.FILTER)
    return frozenset(roles)


def _sitesFor(
    resourceOrSite: IResource | Site, mount: str, reactor: IReactorTime
) -> tuple[Site, Site | None]:
    """
    Tell which site is to be served, and which is to log requests: none if the
    site is made here, since web servers keep access logs and Twisted's default
    costs more than the request.
    """
    if isinstance(resourceOrSite, Site):
        if mount != ROOT:
            raise ValueError(
                f"a Site can't be mounted at {mount!r}: give FastCGIFactory the "
                "site's resource, or wrap that with twisted_fastcgi.mount.mounted"
            )
        return resourceOrSite, resourceOrSite
    if not IResource.providedBy(resourceOrSite):
        raise TypeError(
            "FastCGIFactory serves a twisted.web resource or Site, not "
            f"{resourceOrSite!r}"
        )
    site = Site(mounted(resourceOrSite, mount), reactor=reactor)
    site.noisy = False
    return site, None
