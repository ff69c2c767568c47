# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
One connection to a FastCGI application.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_fastcgi.connection import (
    RequestEnded,
    TypeUnknown,
    ValuesReceived,
    WebServerConnection,
)
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.job import Job, Settings, Stage
from twisted_fastcgi.outlet import outletFor
from twisted_fastcgi.records import NULL_REQUEST_ID

log = Logger()

#: How long an application may take to end a request that was aborted, in
#: seconds, until its connection is closed instead.
_ABORT_PATIENCE = 2.0

#: How long it may take to read what was sent before the connection was closed,
#: in seconds.
_CLOSE_PATIENCE = 2.0

_MAX_REQUEST_ID = 0xFFFF


class Owner(Interface):
    """
    Who gives out jobs; the methods are described where they are, in L{Pool
    <twisted_fastcgi.pool.Pool>}.
    """

    def released(self, connection: ClientConnection) -> None: ...

    def retry(self, job: Job[Any]) -> None: ...

    def connectionLost(self, connection: ClientConnection) -> None: ...


class _Deadline:
    """
    A deadline that is moved far more often than it passes: so the delayed call
    stays where it is until it is called, or is too late.
    """

    def __init__(self, reactor: IReactorTime, passed: Callable[[], object]) -> None:
        """
        @param reactor: Tells the time.
        @param passed: Called when the deadline has passed.
        """
        self._reactor = reactor
        self._passed = passed
        self._at: float | None = None
        self._call: IDelayedCall | None = None

    def set(self, seconds: float | None) -> None:
        """
        Set the deadline.

        @param seconds: How many seconds there are from now on; L{None} for any
            number of them.
        """
        if seconds is None:
            self._at = None
            return
        self._at = self._reactor.seconds() + seconds
        if self._call is None:
            self._call = self._reactor.callLater(seconds, self._look)
        elif self._call.getTime() > self._at:
            self._call.reset(seconds)

    def _look(self) -> None:
        """
        See whether the deadline has passed.
        """
        self._call = None
        if self._at is None:
            return
        left = self._at - self._reactor.seconds()
        if left > 0:
            self._call = self._reactor.callLater(left, self._look)
        else:
            self._at = None
            self._passed()

    def cancel(self) -> None:
        """
        Have no deadline ever again.
        """
        self._at = None
        call, self._call = self._call, None
        if call is not None:
            call.cancel()


class ClientConnection(Protocol):
    """
    The web server's side of one FastCGI connection, which does one job after
    another.

    @ivar machine: Makes records, and events of them.
    @ivar requestId: The id of the next request, or of the one in hand.  No id
        is used again soon, so that a late record of one request is never taken
        for the answer to the next.
    @ivar _owner: Who gives out jobs.
    @ivar _job: The job in hand.
    @ivar _ending: The event with which it ended.
    @ivar _used: How many jobs there have been.
    @ivar _aborted: Whether the last of them was aborted.
    @ivar _heard: Whether anything was received since the last job began.
    @ivar _stage: What the deadline is for.
    @ivar _pumping: Whether events are being pulled.
    @ivar _readingPaused: Whether the transport was told not to read.
    @ivar _closing: Whether nothing that comes in matters any more.
    @ivar _lost: Whether the connection is gone.
    @ivar _watchers: Fire when it is.
    """

    def __init__(self, settings: Settings, owner: Owner) -> None:
        """
        @param settings: What all connections share.
        @param owner: Who gives out jobs.
        """
        self.machine = WebServerConnection()
        self.requestId = 0
        self._settings = settings
        self._owner = owner
        self._job: Job[Any] | None = None
        self._ending: RequestEnded | ValuesReceived | TypeUnknown | None = None
        self._used = 0
        self._aborted = False
        self._heard = False
        self._stage: Stage | None = None
        self._deadline = _Deadline(settings.reactor, self._timedOut)
        self._pumping = False
        self._readingPaused = False
        self._closing = False
        self._lost = False
        self._watchers: list[Deferred[None]] = []

    # Jobs

    def usableFor(self, job: Job[Any]) -> bool:
        """
        Tell whether the connection can do a job.  After an abort there may be
        a surprise: programs exist, PHP-FPM among them, that find ABORT_REQUEST
        only when they look for the next request, and close the connection.

        @param job: The job.
        @return: Whether it can.
        """
        if self._closing or self.machine.withinRecord:
            return False
        return not self._aborted or job.retriable

    def start(self, job: Job[Any]) -> None:
        """
        Do a job.

        @param job: The job.
        """
        self._job = job
        self._used += 1
        self._heard = False
        self.requestId = self.requestId % _MAX_REQUEST_ID + 1
        self._outlet.hold()
        job.begin(self)
        self._outlet.release()
        self._setDeadline()

    def abandon(self) -> None:
        """
        Make an end of the job in hand, of which nothing more is wanted: the
        application is told to abort a request (FastCGI 1.0, section 5.4) if
        the connection is to be kept.
        """
        if self._closing:
            return
        self._outlet.stopProducer()
        self._job = None
        self._aborted = True
        if self._lost:
            return
        if self.machine.requestId != NULL_REQUEST_ID and self._settings.keepConnection:
            self._outlet.write([self.machine.abortRequest()])
            self.pump()
        else:
            self.abort()

    def _settle(self) -> None:
        """
        Have the connection ready for the next job before the one who waits for
        this one learns that it is done, and perhaps asks for the next.
        """
        job, self._job = self._job, None
        event, self._ending = self._ending, None
        self._outlet.stopProducer()
        self._aborted = job is None
        if not self._closing and not self._lost:
            sent = not self.full and (job is None or job.sent)
            self._closeOrKeep(sent, isinstance(event, RequestEnded))
        if job is not None:
            job.ended(event)

    def _closeOrKeep(self, sent: bool, isRequest: bool) -> None:
        """
        Close the connection, or have it ready for the next job.
        """
        if not sent:
            # Programs exist that take the rest for the next request.
            self.abort()
        elif isRequest and self._settings.keepConnection:
            self._setDeadline()
            self._owner.released(self)
        else:
            # Programs exist that answer GET_VALUES more than once.
            self.close()

    # What a job wants

    @property
    def full(self) -> bool:
        """
        Whether the transport has more to send than it should.
        """
        return self._outlet.full

    def write(self, pieces: Sequence[bytes]) -> None:
        """
        Send something.

        @param pieces: Bytes, in pieces.
        """
        self._outlet.write(pieces)
        self._setDeadline()

    def registerProducer(self, producer: IProducer) -> None:
        """
        Have a push producer paused while the transport is full.

        @param producer: The producer.
        """
        self._outlet.registerProducer(producer, True)

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """
        self._outlet.unregisterProducer()

    # What the transport says

    def connectionMade(self) -> None:
        """
        Get ready for jobs.
        """
        transport: Any = self.transport
        self._outlet = outletFor(transport, self._settings.reactor, self._drained)

    def dataReceived(self, data: bytes) -> None:
        """
        Take bytes from the application.

        @param data: The bytes, in any cuts.
        """
        if not self._closing:
            self._heard = True
            self.machine.receiveData(data)
            self.pump()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Let go of everything.

        @param reason: Why the connection is gone.
        """
        self._lost = True
        self._outlet.stopProducer()
        self.pump()
        self._closing = True
        self._deadline.cancel()
        self._outlet.connectionLost()
        job, self._job = self._job, None
        if job is not None and self._used > 1 and not self._heard and job.retriable:
            self._owner.retry(job)
            job = None
        self._owner.connectionLost(self)
        if job is not None:
            job.lost(reason)
        for watcher in self._watchers:
            watcher.callback(None)

    def _drained(self) -> None:
        """
        Go on after the transport was full.
        """
        if self._job is not None:
            self._job.lineDrained(self)
        self._setDeadline()

    # Events

    def pump(self) -> None:
        """
        Do what the bytes that have come ask for, as far as it is wanted now.
        """
        if self._pumping or self._closing:
            return
        self._pumping = True
        try:
            while self._step():
                pass
        except RemoteProtocolError as error:
            self._protocolError(error)
        finally:
            self._pumping = False
        if self._ending is not None:
            self._settle()
        elif self._job is not None:
            self._job.announce()
        self._adjustReading()
        self._setDeadline()

    def _step(self) -> bool:
        """
        Handle one event.

        @return: Whether there may be more.
        """
        if self._closing or self._mustWait():
            return False
        event = self.machine.nextEvent()
        if event is None:
            return False
        if isinstance(event, (RequestEnded, ValuesReceived, TypeUnknown)):
            # What comes after it may show that the connection is unfit for
            # more; so that is seen to first.
            self._ending = event
        elif self._job is not None and self._job.received(event):
            self._stage = None
        return True

    def _mustWait(self) -> bool:
        """
        Tell whether no more may be read for now.
        """
        return not (self._job is None or self._lost or self._job.wantsMore)

    def _protocolError(self, error: RemoteProtocolError) -> None:
        """
        Give up the connection: what comes next can't be understood.
        """
        log.debug("{peer}: {error}", peer=self._transport.getPeer(), error=error)
        if self._ending is not None:
            self.abort()
            return
        job, self._job = self._job, None
        self.abort()
        if job is not None:
            job.failed(Failure(error))

    def _adjustReading(self) -> None:
        """
        Read from the transport, or do not.
        """
        if self._closing or self._lost:
            return
        wait = self._mustWait()
        if wait != self._readingPaused:
            self._readingPaused = wait
            if wait:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()

    @property
    def _transport(self) -> Any:
        """
        The transport, which is there from C{connectionMade} on.
        """
        return self.transport

    # The end

    def close(self) -> None:
        """
        Close the connection, which has nothing to do, when all is sent.
        """
        self._closing = True
        self._deadline.set(_CLOSE_PATIENCE)
        self._outlet.close()

    def abort(self) -> None:
        """
        Close the connection at once.
        """
        if not self._closing:
            self._closing = True
            self._deadline.cancel()
            self._outlet.abort()

    def fail(self, reason: Failure) -> None:
        """
        Close the connection at once, and let the job in hand fail.

        @param reason: Why.
        """
        job, self._job = self._job, None
        self.abort()
        if job is not None:
            job.lost(reason)

    def whenLost(self) -> Deferred[None]:
        """
        Wait for the end.

        @return: Fires when the connection is gone.
        """
        watcher: Deferred[None] = Deferred()
        self._watchers.append(watcher)
        return watcher

    # Deadlines

    def _setDeadline(self) -> None:
        """
        Note by when something must have happened.
        """
        if self._closing or self._lost:
            return
        stage = self._currentStage()
        if stage is not self._stage:
            self._stage = stage
            self._deadline.set(self._timeout(stage))

    def _currentStage(self) -> Stage:
        """
        Tell what is being waited for.
        """
        if self._job is not None:
            return self._job.stage
        busy = self.machine.requestId != NULL_REQUEST_ID
        return Stage.ABORTING if busy else Stage.IDLE

    def _timeout(self, stage: Stage) -> float | None:
        """
        Tell how long a stage may last, in seconds.
        """
        if stage is Stage.IDLE:
            return self._settings.idleTimeout
        if stage is Stage.ABORTING:
            return _ABORT_PATIENCE
        return None if stage is Stage.USER else self._settings.responseTimeout

    def _timedOut(self) -> None:
        """
        Act on a deadline that has passed.
        """
        if self._closing:
            self._transport.abortConnection()
            return
        stage = self._currentStage()
        if stage is Stage.IDLE:
            self.close()
            return
        what = f"waited {self._timeout(stage)} seconds for {stage.value}"
        self.fail(Failure(TimeoutError(what)))
