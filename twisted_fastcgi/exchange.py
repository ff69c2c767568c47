# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
One request to a FastCGI application, and its response.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer, IProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, ResponseNeverReceived
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer

from twisted_fastcgi.cgiclient import headEnd, parseHead, parseTarget
from twisted_fastcgi.connection import RequestEnded, StreamEnded, StreamReceived
from twisted_fastcgi.errors import (
    FastCGIError,
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.job import Job, Line, Settings, Stage
from twisted_fastcgi.records import ProtocolStatus, RecordType
from twisted_fastcgi.response import ClientRequest, FastCGIResponse

log = Logger()

#: What may be sent twice to the same effect as once (RFC 9110, section 9.2.2).
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

_invisible = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class RequestRefused(FastCGIError):
    """
    The application did not take a request, and gave no page that says so
    (FastCGI 1.0, section 5.5).

    @ivar protocolStatus: What END_REQUEST said.
    """

    def __init__(self, protocolStatus: int, why: str) -> None:
        """
        @param protocolStatus: What END_REQUEST said.
        @param why: What that means.
        """
        super().__init__(f"the application refused the request: {why}")
        self.protocolStatus = protocolStatus


class CantMultiplex(RequestRefused):
    """
    The application serves another request on the same connection
    (CANT_MPX_CONN).
    """


class Overloaded(RequestRefused):
    """
    The application is out of some resource (OVERLOADED).
    """


class UnknownRole(RequestRefused):
    """
    The application does not serve requests of this role (UNKNOWN_ROLE).
    """


def _refusal(protocolStatus: int) -> RequestRefused:
    """
    Make the error for a protocol status.
    """
    if protocolStatus == ProtocolStatus.CANT_MPX_CONN:
        return CantMultiplex(protocolStatus, "it serves another one (CANT_MPX_CONN)")
    if protocolStatus == ProtocolStatus.OVERLOADED:
        return Overloaded(protocolStatus, "it is overloaded (OVERLOADED)")
    if protocolStatus == ProtocolStatus.UNKNOWN_ROLE:
        return UnknownRole(protocolStatus, "it is no Responder (UNKNOWN_ROLE)")
    return RequestRefused(protocolStatus, f"protocol status {protocolStatus}")


class Exchange(Job[IResponse]):
    """
    One request and its response.

    @ivar _body: What sends the request's body, if it has one.
    @ivar _head: The response's header block, as far as it has come.
    @ivar _searched: How much of that is known not to hold its end.
    @ivar _response: The response, once its header block is complete.
    @ivar _received: How much of the response's body has come, in bytes.
    @ivar _stdoutEnded: Whether the application has ended its STDOUT.
    """

    def __init__(
        self,
        settings: Settings,
        request: ClientRequest,
        bodyProducer: IBodyProducer | None,
    ) -> None:
        """
        @param settings: What all connections share.
        @param request: The request.
        @param bodyProducer: Produces its body.
        """
        super().__init__(settings)
        self._request = request
        self._body = None if bodyProducer is None else _Body(self, bodyProducer)
        self._head = bytearray()
        self._searched = 0
        self._response: FastCGIResponse | None = None
        self._received = 0
        self._stdoutEnded = False

    # The request

    def _begin(self, line: Line) -> None:
        """
        Send the request, and begin to send its body.
        """
        machine = line.machine
        keep = self.settings.keepConnection
        begin = machine.beginRequest(keepConnection=keep, requestId=line.requestId)
        params = machine.sendParams(self._request.variables.items())
        line.write([begin, *params])
        if self._body is None:
            line.write([machine.endStdin()])
        else:
            self._body.begin(line)

    @property
    def retriable(self) -> bool:
        """
        Whether it can be sent a second time, though the application may have
        acted on it the first time.
        """
        return self._body is None and self._request.method in _IDEMPOTENT

    @property
    def sent(self) -> bool:
        """
        Whether the request's body has been sent.
        """
        return self._body is None or self._body.ended

    def lineDrained(self, line: Line) -> None:
        """
        Begin to send the body, if the connection was too full for it.

        @param line: The connection.
        """
        if self._body is not None:
            self._body.begin(line)

    @property
    def stage(self) -> Stage:
        """
        What is being waited for.
        """
        if self._response is not None and self._response.paused:
            return Stage.USER
        if self._body is not None and not self._body.ended:
            full = self.line is not None and self.line.full
            return Stage.SENDING if full else Stage.USER
        return Stage.HEAD if self._response is None else Stage.BODY

    def bodyFailed(self, reason: Failure) -> None:
        """
        Give up, because the request's body can't be produced.

        @param reason: Why.
        """
        self.abandon()
        self._fail(reason, RequestGenerationFailed)

    # The response

    @property
    def wantsMore(self) -> bool:
        """
        Whether more of the response is wanted.
        """
        return self._response is None or self._response.wantsMore

    def received(self, event: StreamReceived | StreamEnded) -> bool:
        """
        Take a piece of STDOUT or STDERR, or its end.

        @param event: The event.
        @return: Whether the response's body has got on.
        @raise RemoteProtocolError: If the response can't be understood.
        """
        if isinstance(event, StreamEnded):
            self._stdoutEnded = self._stdoutEnded or event.stream == RecordType.STDOUT
        elif event.stream == RecordType.STDERR:
            self._stderrReceived(event.data)
        elif self._response is None:
            return self._headReceived(event.data)
        else:
            return self._bodyReceived(self._response, event.data)
        return False

    def _stderrReceived(self, data: bytes) -> None:
        """
        Pass on a piece of STDERR.
        """
        try:
            self.settings.stderr(self._request, data)
        except Exception:
            log.failure("what an application wrote to STDERR is lost")

    def _headReceived(self, data: bytes) -> bool:
        """
        Take a piece of the response's header block.
        """
        self._head += data
        end = headEnd(self._head, self._searched)
        self._searched = len(self._head)
        most = self.settings.maxHeaderBytes
        if (self._searched if end < 0 else end) > most:
            raise LimitExceeded(
                f"the response's header has more than {most} bytes: see "
                "FastCGIAgent's maxHeaderBytes"
            )
        if end < 0:
            return False
        rest = bytes(self._head[end:])
        response = self._respond(bytes(self._head[:end]))
        return self._bodyReceived(response, rest)

    def _respond(self, block: bytes) -> FastCGIResponse:
        """
        Make the response, of which the body is yet to come.
        """
        response = FastCGIResponse(self._request, parseHead(block), self)
        self._head.clear()
        self._response = response
        return response

    def announce(self) -> None:
        """
        Hand out the response, after all that came together with its header
        has been read: most responses are complete by then, and the connection
        is free for what the one who gets it asks for next.
        """
        if self._response is not None:
            self._fire(self._response)

    def _bodyReceived(self, response: FastCGIResponse, data: bytes) -> bool:
        """
        Take a piece of the response's body.
        """
        if not response.hasBody or not data:
            return False
        self._received += len(data)
        length = response.length
        tooMuch = 0 if length is UNKNOWN_LENGTH else self._received - length
        response.bodyReceived(data[:-tooMuch] if tooMuch > 0 else data)
        if tooMuch > 0:
            raise RemoteProtocolError(
                f"the response's body has more than its Content-Length, {length} bytes"
            )
        return True

    def _isWhole(self, response: FastCGIResponse) -> bool:
        """
        Tell whether nothing of the response is missing, by its own account.
        """
        if response.hasBody and response.length is not UNKNOWN_LENGTH:
            return bool(self._received >= response.length)
        return self._stdoutEnded or not response.hasBody

    def ended(self, event: RequestEnded) -> None:
        """
        Take END_REQUEST (FastCGI 1.0, section 5.5).

        @param event: END_REQUEST.
        """
        self.line = None
        response = self._response
        refused = event.protocolStatus != ProtocolStatus.REQUEST_COMPLETE
        if response is None:
            self._endedSilently(event, refused)
            return
        response.appStatus = event.appStatus
        response.protocolStatus = event.protocolStatus
        # Many programs never end their STDOUT; one that fails midway doesn't
        # either.
        openEnded = response.length is UNKNOWN_LENGTH and event.appStatus == 0
        if self._isWhole(response) or (openEnded and not refused):
            response.bodyEnded()
            self.announce()
        elif refused:
            self.failed(Failure(_refusal(event.protocolStatus)))
        else:
            error = self._shortfall(event.appStatus, response.length)
            self.failed(Failure(error))

    def _endedSilently(self, event: RequestEnded, refused: bool) -> None:
        """
        Take END_REQUEST without a response.
        """
        if refused:
            self._fire(Failure(_refusal(event.protocolStatus)))
            return
        said = bytes(self._head[:200])
        error = RemoteProtocolError(
            f"the application ended the request with status {event.appStatus} before "
            f"an empty line had ended the response's header: {said!r}"
        )
        self.failed(Failure(error))

    def _shortfall(self, status: int, length: object) -> RemoteProtocolError:
        """
        Make the error for a body of which something is missing.
        """
        of = "an unknown number" if length is UNKNOWN_LENGTH else length
        return RemoteProtocolError(
            f"the application ended the request with status {status} after "
            f"{self._received} bytes of the response's body, of {of}"
        )

    def failed(self, reason: Failure) -> None:
        """
        Take it that the response is not what it should be.

        @param reason: Why.
        """
        self._fail(reason, ResponseNeverReceived)

    def lost(self, reason: Failure) -> None:
        """
        Take it that nothing more will come.  If nothing but END_REQUEST is
        missing, the response is whole all the same.

        @param reason: Why.
        """
        response = self._response
        if response is not None and self._isWhole(response):
            self.line = None
            response.bodyEnded()
            self.announce()
        else:
            self.failed(reason)

    def _fail(
        self, reason: Failure, error: Callable[[list[Failure]], BaseException]
    ) -> None:
        """
        Report a failure to whoever waits: for the response, or for its body.
        """
        self.line = None
        if self._response is None:
            self._fire(Failure(error([reason])))
        else:
            self._response.bodyEnded(reason)
            self.announce()


@implementer(IConsumer)
class _Body:
    """
    Sends the body of a request: what the one who produces it writes to.

    @ivar ended: Whether all of it has been sent.
    @ivar _left: How many bytes are to come, L{None} if that is not known.
    @ivar _begun: Whether the producer was told to start.
    """

    def __init__(self, exchange: Exchange, producer: IBodyProducer) -> None:
        """
        @param exchange: The request.
        @param producer: Produces its body.
        """
        self.ended = False
        self._exchange = exchange
        self._producer = producer
        length: Any = producer.length
        self._left: int | None = None if length == UNKNOWN_LENGTH else length
        self._begun = False

    def begin(self, line: Line) -> None:
        """
        Let the producer start, once, and not before there is room: producers
        exist that can't be paused before they have started.

        @param line: The connection.
        """
        if self._begun or line.full:
            return
        self._begun = True
        line.registerProducer(self._producer)
        try:
            produced = self._producer.startProducing(self)
        except Exception:
            self._failed(Failure())
        else:
            produced.addCallbacks(self._produced, self._failed)

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body.

        @param data: The piece.
        """
        line = self._exchange.line
        if line is None or not data:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self._exchange.bodyFailed(Failure(_wrongLength(self._producer, "more")))
                return
        pieces = line.machine.sendStdin(data)
        if self._left == 0:
            # Programs exist that stop to read here, and take an end that comes
            # later for a part of the next request.
            self.ended = True
            pieces.append(line.machine.endStdin())
        line.write(pieces)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Do nothing: the producer is known already.

        @param producer: The producer.
        @param streaming: Whether it is a push producer.
        """

    def unregisterProducer(self) -> None:
        """
        Do nothing: the end is told by a Deferred.
        """

    def _produced(self, ignored: object) -> None:
        """
        Send the end of the body.
        """
        line = self._exchange.line
        if line is None:
            return
        line.unregisterProducer()
        if self._left:
            self._exchange.bodyFailed(Failure(_wrongLength(self._producer, "less")))
        elif not self.ended:
            self.ended = True
            line.write([line.machine.endStdin()])

    def _failed(self, reason: Failure) -> None:
        """
        Give up, because the producer has.
        """
        line = self._exchange.line
        if line is not None:
            line.unregisterProducer()
            self._exchange.bodyFailed(reason)


def _wrongLength(producer: IBodyProducer, howMuch: str) -> LocalProtocolError:
    """
    Make the error for a body that is not as long as was told.
    """
    return LocalProtocolError(
        f"{producer!r} produced {howMuch} than the {producer.length} bytes that it "
        "announced"
    )


def logStderr(request: ClientRequest, data: bytes) -> None:
    """
    Write what an application writes to STDERR to the log.

    @param request: The request.
    @param data: A piece of it.
    """
    text = data.decode("utf-8", "backslashreplace").rstrip("\r\n")
    target = parseTarget(request.absoluteURI)
    log.warn(
        "{method} {host}{uri}: the application says: {text}",
        method=request.method.decode("ascii"),
        host=target.authority.decode("ascii"),
        uri=target.originForm.decode("ascii"),
        text=_invisible.sub(lambda found: repr(found[0])[1:-1], text),
    )
