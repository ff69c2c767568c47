# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
One request, between its connection and L{twisted.web}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, TimeoutError
from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.http_headers import Headers
from twisted.web.iweb import INonQueuedRequestFactory, IRequest
from twisted.web.server import Site
from twisted.web.server import version as twistedVersion
from zope.interface import implementer

from twisted_fastcgi import cgi
from twisted_fastcgi.body import BodyTransport, FileSource
from twisted_fastcgi.connection import Limits, RequestReceived, WholeRequestReceived
from twisted_fastcgi.errors import (
    BodyTooShort,
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.figures import ActiveRequest, Figures
from twisted_fastcgi.interfaces import IFastCGIRequest, IStreamingResource
from twisted_fastcgi.pages import BAD_REQUEST, UNKNOWN_ROLE, errorPage
from twisted_fastcgi.request import FastCGIRequest

log = Logger()

#: How many bytes of a body that the application does not want yet are kept
#: before reading stops.  Until then it is still noticed when the web server
#: goes away.
_HELD_BODY_BYTES = 65536

#: A response header block that is smaller than this goes out in one record
#: with the body's first piece, if that is smaller, too.
_SMALL = 4096

_LONG_PATH = "The path of the request has more parts than the server accepts."
_SHORT_BODY = "The request body ended before it was complete."
_LARGE_BODY = "The request body is larger than the server accepts."
_SLOW_BODY = "The request body did not arrive in time."
_FAILED = "The application failed."
_OVER = "the request was finished before its body"


class Connection(Protocol):
    """
    What a channel needs of its connection; the methods are described where
    they are, in L{FastCGIProtocol<twisted_fastcgi.server.FastCGIProtocol>}.
    """

    factory: Any

    @property
    def limits(self) -> Limits: ...

    @property
    def holding(self) -> bool: ...

    @property
    def keepsConnection(self) -> bool: ...

    @property
    def closing(self) -> bool: ...

    def pump(self) -> None: ...

    def complain(self, what: str, why: str) -> None: ...

    def writeStdout(self, data: bytes) -> None: ...

    def writeStderr(self, data: bytes) -> None: ...

    def endRequest(self, appStatus: int, complete: bool) -> None: ...

    def respond(self, data: bytes, appStatus: int) -> None: ...

    def rejectRole(self, reason: str) -> None: ...

    def closeWithoutEnd(self) -> None: ...

    def abortConnection(self) -> None: ...

    def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def stopProducer(self) -> None: ...


@implementer(ITransport, IPushProducer, IConsumer, IFastCGIRequest)
class RequestChannel:
    """
    One request on its way to the application, and its response on the way
    back: what a L{twisted.web} request knows as its channel and as its
    transport.  It is never the connection itself: pausing, closing and
    counting concern this one request.

    @cvar hasBody: Whether requests of the role have a body.
    @cvar statusFirst: Whether the status stands before all header fields.
    @ivar site: The L{Site<twisted.web.server.Site>} that serves the request.
    @ivar factory: The same, if it keeps an access log.
    @ivar pairs: All variables in the order in which they came, repeated ones
        too.
    @ivar began: When all of its variables had come, in seconds of the factory's
        clock.
    @ivar length: The size of the body as it was told, in bytes, or L{None}.
    @ivar connected: Whether a response can still be sent.
    @ivar paused: Whether the application keeps the body waiting.
    @ivar bodyDone: Whether all of the body has come.
    @ivar hidden: Whether it is not to be told of as an active request.  May be
        set.
    @ivar temporaryAdapter: Tells L{twisted.python.components} not to remember
        this as what the request is for L{IFastCGIRequest}, which it is only
        until it is finished.
    @ivar _request: The L{twisted.web} request, while there is one.
    @ivar _isLean: Whether that is a L{FastCGIRequest
        <twisted_fastcgi.request.FastCGIRequest>}.
    @ivar _gotLength: Whether the request knows the size of its body.
    @ivar _streaming: Whether the application takes the body while it arrives.
    @ivar _delivery: What it takes the body from, if it wants it bit by bit.
    @ivar _received: How much of the body has come, in bytes.
    @ivar _held: What has come of it while it was paused.
    @ivar _heldBytes: The size of that.
    @ivar _delivered: Whether the application has it all.
    @ivar _started: Whether the response has begun.
    @ivar _usesStderr: Whether anything was written to the error log.
    @ivar _head: The header block, while it waits for the body's first piece.
    @ivar _declared: The size of the response's body as its header tells.
    @ivar _sent: How much of that has been sent.
    @ivar _overrun: Whether the application has written more than that.
    @ivar _code: The status code of the response, as the application set it.
    @ivar _sentCode: The one that was sent.
    @ivar _failedMidway: Whether the request has failed after that was sent.
    @ivar _bodyAllowed: Whether the response may have a body.
    """

    hasBody = True
    statusFirst = False

    data: BinaryIO | None = None
    dataLength: int | None = None
    dataLastModified: int | None = None

    site: Site
    factory: Site | None
    length: int | None = None
    connected = True
    paused = False
    bodyDone = False
    hidden = False
    temporaryAdapter = True

    _appStatus = 0
    _request: Any = None
    _isLean = False
    _gotLength = False
    _streaming = False
    _delivery: BodyTransport | None = None
    _received = 0
    _held: deque[bytes] | None = None
    _heldBytes = 0
    _delivered = False
    _started = False
    _usesStderr = False
    _head = b""
    _declared: int | None = None
    _sent = 0
    _overrun = False
    _code = 0
    _sentCode = 0
    _failedMidway = False
    _bodyAllowed = True

    def __init__(
        self, connection: Connection, event: RequestReceived | WholeRequestReceived
    ) -> None:
        """
        @param connection: Where it came, and will be answered.
        @param event: The request.
        """
        self._connection = connection
        self._event = event
        self.pairs = event.params
        self._variables = event.variables
        factory = connection.factory
        self.began: float = factory.seconds()
        self.site = factory.site
        self.factory = factory.loggingSite

    def describe(self) -> ActiveRequest:
        """
        Tell of the request while it is in hand.

        @return: What may be told of it.
        """
        figures: Figures = self._connection.factory.figures
        return figures.active(self._command, self._path, self.age)

    # What FastCGI knows of the request

    @property
    def params(self) -> Mapping[bytes, bytes]:
        """
        All variables, of repeated ones the last.
        """
        return MappingProxyType(self._variables)

    @property
    def requestId(self) -> int:
        """
        The request id.
        """
        return self._event.requestId

    @property
    def role(self) -> int:
        """
        The role.
        """
        return self._event.role

    @property
    def age(self) -> float:
        """
        For how long it has been in hand, in seconds; 0 if the clock was set
        back meanwhile.
        """
        seconds: float = self._connection.factory.seconds() - self.began
        return max(seconds, 0.0)

    @property
    def persistent(self) -> bool:
        """
        Whether the connection stays open afterwards.
        """
        return self._connection.keepsConnection

    @property
    def requestHeaders(self) -> Headers:
        """
        The header fields of the request, made anew.
        """
        return cgi.requestHeaders(self.pairs)

    @property
    def disconnecting(self) -> bool:
        """
        Whether no response can be sent any more.
        """
        return not self.connected

    @property
    def appStatus(self) -> int:
        """
        What END_REQUEST will tell as the application status.
        """
        return self._appStatus

    @appStatus.setter
    def appStatus(self, status: int) -> None:
        """
        @raise ValueError: If it is not a number of 32 bits.
        """
        if not 0 <= status <= 0xFFFFFFFF:
            raise ValueError(f"appStatus must be 0 to 4294967295: {status!r}")
        self._appStatus = status

    def writeStderr(self, data: bytes) -> None:
        """
        Send something to the web server's error log.

        @param data: What to send.
        """
        if self.connected:
            self._usesStderr = True
            self._connection.writeStderr(data)

    # The request's way to the application

    def begin(self) -> None:
        """
        Make a L{twisted.web} request of the variables.
        """
        variables = self._variables
        try:
            cgi.checkRequest(self.pairs, variables)
            self._command, self._path, self._version = cgi.requestLine(variables)
            if variables.get(b"CONTENT_LENGTH") and self.hasBody:
                self.length = cgi.contentLength(variables)
        except LimitExceeded as error:
            self.refuse(414, _LONG_PATH, str(error))
            return
        except RemoteProtocolError as error:
            self.refuse(400, BAD_REQUEST, str(error), "variables")
            return
        make = self._connection.factory.requestFactory
        if make is FastCGIRequest and self.length is None:
            # It makes the rest itself when it is asked for it.
            self._isLean = True
            self._request = FastCGIRequest(self)
        elif not self._isTooLong():
            self._makeRequest(make)

    def _isTooLong(self) -> bool:
        """
        Answer a request of which is told already that its body is too large.

        @return: Whether it is.
        """
        limit = self._connection.limits.bodyBytes
        if limit is None or self.length is None or self.length <= limit:
            return False
        self._bodyTooLarge(self.length, limit)
        return True

    def _makeRequest(self, make: Any) -> None:
        """
        Make the request object and give it its header fields.

        @param make: What makes it.
        """
        try:
            if INonQueuedRequestFactory.providedBy(make):
                request = make(self)
            else:
                request = make(self, 0)
            self._request = request
            self._isLean = isinstance(request, FastCGIRequest)
            if not self._isLean:
                request.requestHeaders = self.requestHeaders
            request.parseCookies()
        except Exception:
            self._failed()

    def beginBody(self) -> None:
        """
        Let a resource have the request before its body, if it wants that.
        """
        request = self._request
        if self._isLean and self.length != 0:
            found = request.findEarly(self._command, self._path, self._version)
            if IStreamingResource.providedBy(found):
                self._streaming = True
                # Until the body is asked for.
                self.paused = True
                request.process()
                return
        if self.length is not None:
            try:
                self._tellLength(self.length)
            except Exception:
                self._failed()

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Hand the body to a protocol.

        @param protocol: Takes the body.
        @raise RuntimeError: If it was handed to one already.
        """
        if self._delivery is not None:
            raise RuntimeError("the request body can be delivered once only")
        if not self._streaming and self._request is not None:
            source = FileSource(self._request.content, protocol)
            self._delivery = source.transport
            source.start()
            return
        self._delivery = BodyTransport(protocol, self)
        # The protocol may pause it at once.
        self.paused = False
        self._delivery.connect()
        if not self.connected:
            self._delivery.lost(Failure(ConnectionAborted(_OVER)))
        elif not self.paused:
            self._connection.pump()

    def _tellLength(self, length: int | None) -> None:
        """
        Tell the request how large its body is.
        """
        self._gotLength = True
        self._request.gotLength(length)

    def receiveBody(self, data: bytes) -> None:
        """
        Take a piece of the body.

        @param data: The piece.
        """
        if self.bodyDone:
            return
        if self.length is not None:
            # More than was told may come, and is none of the request's.
            data = data[: self.length - self._received]
        self._received += len(data)
        limit = self._connection.limits.bodyBytes
        if limit is not None and self._received > limit:
            self._bodyTooLarge(self._received, limit)
        elif self.paused:
            self._hold(data)
        else:
            self._deliver(data)

    def _hold(self, data: bytes) -> None:
        """
        Keep a piece of the body until the application wants it.
        """
        if self._held is None:
            self._held = deque()
        self._held.append(data)
        self._heldBytes += len(data)

    def _deliver(self, data: bytes) -> None:
        """
        Give a piece of the body to the request.
        """
        if self._streaming:
            self._tell(BodyTransport.receive, data)
            return
        try:
            if not self._gotLength:
                self._tellLength(self.length)
            if self._request is not None:
                self._request.handleContentChunk(data)
        except Exception:
            self._failed()

    def _tell(self, what: Callable[..., object], *args: object) -> None:
        """
        Tell the protocol that takes the body of something.
        """
        try:
            what(self._delivery, *args)
        except Exception:
            if self._request is not None:
                self._request.processingFailed(Failure())
            else:
                log.failure("{uri} failed to take the end of its body", uri=self._path)

    def _endDelivery(self, reason: Exception | Failure) -> None:
        """
        Tell the protocol that takes the body, if there is one, that no more
        will come.
        """
        if self._delivery is not None:
            failure = reason if isinstance(reason, Failure) else Failure(reason)
            self._tell(BodyTransport.lost, failure)

    def endBody(self) -> None:
        """
        Note that the body has ended, and let the application have the request
        as soon as it wants it.
        """
        if not (self.bodyDone or self._endsShort()):
            self._finishBody()

    def _endsShort(self) -> bool:
        """
        Refuse the request if its body has ended before it was complete.

        @return: Whether it has.
        """
        if self.length is None or self._received >= self.length:
            return False
        reason = f"{self._received} of {self.length} bytes of the body came"
        self._endDelivery(BodyTooShort(reason))
        self.refuse(400, _SHORT_BODY, reason, "short_body")
        return True

    def _finishBody(self) -> None:
        """
        Note that all has come, and let the application have it as soon as it
        wants it.
        """
        self.bodyDone = True
        if not self.paused:
            self._render()

    def _render(self) -> None:
        """
        Let the application have the request, which is complete.
        """
        if self._streaming:
            self._delivered = True
            self._tell(BodyTransport.done)
            return
        try:
            if not (self._gotLength or self._isLean):
                # Nothing at all has come of the body.
                self._tellLength(0)
            if self._request is not None:
                self._delivered = True
                self._request.requestReceived(self._command, self._path, self._version)
        except Exception:
            self._failed()

    @property
    def bodyComplete(self) -> bool:
        """
        Whether as much of the body has come as was told.
        """
        return self._received == self.length and not self.bodyDone

    @property
    def wantsBody(self) -> bool:
        """
        Whether more of the body may be read from the connection.
        """
        return self._heldBytes <= _HELD_BODY_BYTES

    @property
    def holding(self) -> bool:
        """
        Whether something waits that the application would take now.
        """
        waiting = self._held or (self.bodyDone and not self._delivered)
        return bool(waiting) and not self.paused

    def deliverHeld(self) -> None:
        """
        Give the application what has come of the body while it was paused.
        """
        while self._held and not self.paused and self._request is not None:
            data = self._held.popleft()
            self._heldBytes -= len(data)
            self._deliver(data)
        if self.bodyDone and not self._delivered and not self.paused:
            self._render()

    def _failed(self) -> None:
        """
        Answer with 500: the user's code has raised an exception.
        """
        log.failure("{uri} failed before it was rendered", uri=self._path)
        self.refuse(500, _FAILED, None)

    def _bodyTooLarge(self, size: int, limit: int) -> None:
        """
        Answer a request whose body is too large.
        """
        reason = f"a body of {size} bytes, {limit} are allowed"
        self._endDelivery(LimitExceeded(reason))
        self.refuse(413, _LARGE_BODY, reason)

    def bodyTimedOut(self) -> None:
        """
        Answer a request whose body stays away.
        """
        reason = "the body did not arrive in time"
        self._endDelivery(TimeoutError(reason))
        self.refuse(408, _SLOW_BODY, reason)

    def refuse(
        self,
        status: int,
        explanation: str,
        reason: str | None,
        kind: str | None = None,
    ) -> None:
        """
        Answer the request without the application.

        @param status: An HTTP status code.
        @param explanation: A sentence for the client.
        @param reason: A sentence for the log; L{None} if it is in there, for it
            is the application that failed.
        @param kind: What the web server did wrong, one of L{ERROR_KINDS
            <twisted_fastcgi.errors.ERROR_KINDS>}.
        """
        if not self.connected:
            return
        if reason is not None:
            self._connection.complain(f"request {self.requestId} got {status}", reason)
        if kind is not None:
            self._connection.factory.figures.errors[kind] += 1
        if self._started:
            self._giveUp("failed" if reason is None else "cut_off")
            return
        self._countRefusal(status, reason is None)
        head = self._variables.get(b"REQUEST_METHOD") == b"HEAD"
        page = errorPage(status, explanation, head=head, statusFirst=self.statusFirst)
        self._connection.writeStdout(page)
        self._end(complete=True)
        self.disconnect(Failure(ConnectionAborted(reason or explanation)))

    def _countRefusal(self, status: int, byApplication: bool) -> None:
        """
        Count the request as one that got a page of the server's own.

        @param status: The status code.
        @param byApplication: Whether that is so because the application failed.
        """
        figures = self._connection.factory.figures
        if byApplication:
            figures.answered(status, self.began)
        else:
            figures.refusedWith(status)
            figures.time(self.began)

    def rejectRole(self, reason: str) -> None:
        """
        Answer the request with UNKNOWN_ROLE; with 501 if something was written
        already on the way to the resource.

        @param reason: A sentence for the log.
        """
        if self._started or self._usesStderr:
            self.refuse(501, UNKNOWN_ROLE, reason)
            return
        self._connection.factory.figures.ended("unknown_role")
        # Whoever was on the way to the resource may want to know.
        self.disconnect(Failure(ConnectionAborted(reason)))
        self._connection.rejectRole(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """
        Answer a request whose body is no valid form: the name by which
        L{twisted.web.http.Request} calls its channel then.
        """
        self.refuse(400, BAD_REQUEST, "the body is no valid form")

    # The response's way to the web server

    def writeHeaders(
        self, version: bytes, code: bytes, reason: bytes, headers: Headers
    ) -> None:
        """
        Send the header block (RFC 3875, section 6.2).

        @param version: The version of HTTP that the client speaks.
        @param code: The status code, in decimal.
        @param reason: The reason phrase.
        @param headers: The header fields.
        """
        request = self._request
        if request is None:
            return
        if request.chunked:
            # Framing is FastCGI's.  The request turns on chunks just before
            # this call, and looks at the flag again only after it.
            request.chunked = 0
            headers.removeHeader(b"transfer-encoding")
        self._code = int(code)
        head = self._makeHead(self._code, reason, headers)
        if self._connection.holding:
            # The body's first piece is about to come.
            self._head = head
        else:
            self._connection.writeStdout(head)

    def _makeHead(self, code: int, reason: bytes, headers: Headers) -> bytes:
        """
        Make the header block; one that says 500 if the application's is none.
        """
        self._started = True
        self._sentCode = code
        self._bodyAllowed = self._command != b"HEAD" and code not in NO_BODY_CODES
        length = cgi.declaredLength(headers)
        self._declared = length if self._bodyAllowed else None
        drop = self._unwanted(headers)
        try:
            return cgi.responseHead(
                code,
                reason,
                headers,
                length=length,
                statusFirst=self.statusFirst,
                drop=drop,
            )
        except LocalProtocolError as error:
            log.error("{uri} got 500: {error}", uri=self._path, error=error)
            self._bodyAllowed = False
            self._declared = None
            self._sentCode = 500
            head = self._command == b"HEAD"
            return errorPage(500, _FAILED, head=head, statusFirst=self.statusFirst)

    def _unwanted(self, headers: Headers) -> tuple[bytes, ...]:
        """
        Tell which header fields are Twisted's, who sets them for every
        response, while they are the web server's to set.
        """
        if self._isLean and self._path != b"*":
            return ()
        named = headers.getRawHeaders(b"server") == [twistedVersion]
        return (b"Date", b"Server") if named else (b"Date",)

    def flush(self) -> None:
        """
        Send the header block, should it still wait.
        """
        if self._head:
            head, self._head = self._head, b""
            self._connection.writeStdout(head)

    def respond(
        self,
        code: int,
        reason: bytes,
        headers: Headers,
        mediaType: bytes | None,
        body: bytes,
    ) -> None:
        """
        Send a whole response at once, and end it: the short way for a resource
        that returns its body.

        @param code: The status code, of a response that may have a body.
        @param reason: The reason phrase.
        @param headers: The header fields.
        @param mediaType: A C{Content-Type} that they lack.
        @param body: The body.
        """
        data = cgi.responseHead(
            code, reason, headers, length=len(body), mediaType=mediaType
        )
        if self._command == b"HEAD":
            body = b""
        self._request = None
        self._over()
        factory = self._connection.factory
        # What Figures.answered does: to call it would take as long again.
        factory.figures.fresh[code].append(factory.seconds() - self.began)
        if len(body) < _SMALL:
            data += body
        else:
            self._connection.writeStdout(data)
            data = body
        self._connection.respond(data, self._appStatus)

    def _writeWithHead(self, data: bytes) -> None:
        """
        Send a piece of the body, and with it the header block, should that
        still wait.
        """
        if self._head and len(data) < _SMALL and len(self._head) < _SMALL:
            data, self._head = self._head + data, b""
        self.flush()
        self._connection.writeStdout(data)

    def write(self, data: bytes) -> None:
        """
        Send a piece of the response's body: never any where none is allowed,
        and never more than its header told (RFC 9110, section 8.6).

        @param data: The piece.
        """
        if self._request is None or not self._bodyAllowed or self._hasFailed():
            return
        if self._declared is not None:
            data = self._cut(data, self._declared)
        self._sent += len(data)
        self._writeWithHead(data)

    def _hasFailed(self) -> bool:
        """
        Tell whether the request has failed midway.  Then Twisted's own request
        sets the status anew, which comes too late, appends a page that says
        so, and finishes as if all were well.
        """
        if self._isLean or self._failedMidway:
            return self._failedMidway
        self._failedMidway = self._request.code == 500 != self._code
        return self._failedMidway

    def _cut(self, data: bytes, declared: int) -> bytes:
        """
        Leave out what is more than the header told.
        """
        allowed = declared - self._sent
        if len(data) > allowed and not self._overrun:
            self._overrun = True
            log.warn(
                "{uri} writes more than its Content-Length of {declared} bytes; "
                "the rest is not sent",
                uri=self._path,
                declared=declared,
            )
        return data[:allowed]

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Send pieces of the response's body.

        @param data: The pieces.
        """
        for piece in data:
            self.write(piece)

    def requestDone(self, request: object) -> None:
        """
        End the response: the request is finished.

        @param request: The request.
        """
        if self._request is None:
            return
        self._request = None
        if self._failedMidway:
            self._breakOff("failed")
            return
        complete = self._declared is None or self._sent >= self._declared
        if not complete:
            log.error(
                "{uri} wrote {sent} bytes of {declared} that its Content-Length told",
                uri=self._path,
                sent=self._sent,
                declared=self._declared,
            )
        self._countEnd(complete)
        self._end(complete)

    def _countEnd(self, complete: bool) -> None:
        """
        Count the response that the application has ended.
        """
        if self._connection.closing:
            # It was cut off, which the application need not know yet.
            self.countBreak("cut_off")
        elif complete and self._started:
            figures = self._connection.factory.figures
            figures.answered(self._sentCode, self.began)
        else:
            self.countBreak("failed")

    def countBreak(self, outcome: str) -> None:
        """
        Count the request as one that got no whole answer.

        @param outcome: What became of it, one of L{BREAKS
            <twisted_fastcgi.figures.BREAKS>}.
        """
        if self.connected:
            figures = self._connection.factory.figures
            figures.ended(outcome)
            figures.time(self.began)

    def _end(self, complete: bool) -> None:
        """
        Send END_REQUEST, and be done.

        @param complete: Whether the response is whole.
        """
        self.flush()
        status = self.appStatus if complete else self.appStatus or 1
        self._over()
        self._connection.endRequest(status, complete)

    def _over(self) -> None:
        """
        Note that there is nothing to be sent any more.
        """
        self._letGo()
        if self._delivery is not None:
            # Should whoever takes the body finish the request now, that would
            # end it a second time.
            request, self._request = self._request, None
            self._endDelivery(ConnectionAborted(_OVER))
            self._request = request

    def _letGo(self) -> None:
        """
        Take nothing and send nothing any more.
        """
        self.connected = False
        self._held = None
        self._heldBytes = 0

    # The end that was not wanted

    def loseConnection(self) -> None:
        """
        Give up the response midway, so that the web server can tell: if its
        length was told, by END_REQUEST while STDOUT is still open; else by
        closing the connection without END_REQUEST.
        """
        self._giveUp("failed")

    def _giveUp(self, outcome: str) -> None:
        """
        Give up the response midway, if that is still to be done.

        @param outcome: What became of the request.
        """
        if not self.connected:
            return
        self._breakOff(outcome)
        self.disconnect(Failure(ConnectionAborted("the response was given up")))

    def _breakOff(self, outcome: str) -> None:
        """
        End the response where it is.

        @param outcome: What became of the request.
        """
        self.countBreak(outcome)
        self.flush()
        if self._started and self._declared is not None:
            self._end(complete=False)
        else:
            self._over()
            self._connection.closeWithoutEnd()

    def abortConnection(self) -> None:
        """
        Close the connection at once.
        """
        if self.connected:
            self.countBreak("failed")
            self._over()
            self._connection.abortConnection()

    def disconnect(self, reason: Failure) -> None:
        """
        Tell the application that the response can't be sent any more.

        @param reason: Why.
        """
        self._letGo()
        self._head = b""
        self._connection.stopProducer()
        request, self._request = self._request, None
        if request is not None:
            try:
                request.connectionLost(reason)
            except Exception:
                log.failure("{uri} failed to take its end", uri=self._path)
        # Who takes the body may answer when it ends, if an answer can be sent.
        self._endDelivery(reason)

    # The rest of a transport

    @property
    def transport(self) -> RequestChannel:
        """
        What the request takes for its transport.
        """
        return self

    def getPeer(self) -> IPv4Address | IPv6Address:
        """
        Tell the client's address, as the web server gave it.

        @return: Its address.
        """
        return cgi.clientAddress(self._variables)

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Tell the web server's address.

        @return: Its address.
        """
        return cgi.serverAddress(self._variables)

    def isSecure(self) -> bool:
        """
        Tell whether the client came by TLS.

        @return: Whether it did.
        """
        return cgi.isSecure(self._variables)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Take a producer for the response.

        @param producer: An L{IPushProducer
            <twisted.internet.interfaces.IPushProducer>}, or an L{IPullProducer
            <twisted.internet.interfaces.IPullProducer>}.
        @param streaming: Whether it is the former.
        """
        if self.connected:
            self._connection.registerProducer(producer, streaming)
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        """
        Forget the producer of the response.
        """
        if self.connected:
            self._connection.unregisterProducer()

    def pauseProducing(self) -> None:
        """
        Keep the rest of the request body waiting.

        Of what comes nevertheless 64 KiB are kept; then reading stops.  Up to
        that point it is noticed when the web server aborts the request or goes
        away; beyond it, only once the body is taken again.
        """
        self.paused = True

    def resumeProducing(self) -> None:
        """
        Take the request body again.
        """
        if self.paused and (self._delivery is not None or not self._streaming):
            self.paused = False
            self._connection.pump()

    def stopProducing(self) -> None:
        """
        Want nothing more.
        """
        self.loseConnection()


def _fastCGIRequest(request: Any) -> RequestChannel | None:
    """
    Adapt a request to L{IFastCGIRequest}, if it came over FastCGI.
    """
    channel = getattr(request, "channel", None)
    return channel if isinstance(channel, RequestChannel) else None


registerAdapter(_fastCGIRequest, IRequest, IFastCGIRequest)
