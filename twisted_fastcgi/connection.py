# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The two sides of a FastCGI connection without any I/O.

L{ApplicationConnection} is the side of the application, L{WebServerConnection}
its mirror.  Both are fed with the bytes that were received and pulled for
events; every method that sends something returns the bytes to be sent, and an
event that is answered by the protocol itself has the answer as its C{data}.

One request at a time: what a record of the request in hand means is told by
two tables.  L{INPUT_ACTIONS} says what is done with it in each state of the
input, L{INPUT_ORDER} which state follows when a stream ends.  The state of the
output is independent of them, so an early answer is nothing special.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from twisted_fastcgi.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.framing import RecordReader
from twisted_fastcgi.pages import errorPage
from twisted_fastcgi.pairs import decodePairs, decodeVariables, encodePairs
from twisted_fastcgi.records import (
    NULL_REQUEST_ID,
    STREAM_CONTENT_LENGTH,
    Piece,
    ProtocolStatus,
    RecordType,
    Role,
    decodeBeginRequest,
    decodeEndRequest,
    decodeUnknownType,
    encodeBeginRequest,
    encodeEndRequest,
    encodeHeader,
    encodeRecord,
    encodeResponseEnd,
    encodeStream,
    encodeUnknownType,
)
from twisted_fastcgi.whole import wholeRequest

#: The size of BEGIN_REQUEST's and END_REQUEST's content, in bytes.
_BODY_LENGTH = 8

#: STDERR goes out in small records that are always padded.  HAProxy before its
#: fix of September 2023 corrupts its memory on a STDERR record whose content
#: is exactly all that it has received, and padding keeps that from happening.
_STDERR_CONTENT_LENGTH = 8192
_STDERR_PADDING = 1

Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    What a peer may use up.

    @ivar paramsBytes: The most bytes that the variables of one request may
        take, as they stand on the wire.  The default, 1 MiB, is far beyond
        what any web server sends: most fit them into one record of 64 KiB.
        A request beyond it gets the status 431, I{Request Header Fields Too
        Large}.
    @ivar params: The most variables of one request.  They cost some 150 bytes
        of memory each beyond their text, so the default of 16384 takes about
        2 MiB.  A request beyond it gets the same.
    @ivar nameLength: The longest name of a variable, in bytes.  The default,
        65535, is what fits one record.  A request beyond it gets the same.
    @ivar bodyBytes: The largest request body, in bytes, or L{None} for any;
        that is the default, because web servers have a limit of their own
        (C{client_max_body_size} in nginx).  A request beyond it is answered
        with 413, before its body is read if its length was told.
    @ivar connections: The most connections at a time; told to web servers that
        ask for C{FCGI_MAX_CONNS}.  Requests on connections beyond it are
        answered with 503.  The default, 1000, stays below the 1024 open files
        that a process usually may have.
    @ivar queuedAnswers: How many answers to management records and refused
        requests may be waiting to be sent while a request is in hand.  No web
        server is known to send even one of those then, the default is 64.  A
        connection beyond it is cut off.
    @ivar unheededBytes: How many bytes the application may write after its push
        producer was told to pause, until the web server has taken what waits;
        L{None} for no limit.  The default, 8 MiB, is far more than the piece
        that a producer may just be at.  Then the connection is cut off, because
        nothing else would keep the producer from filling the memory.  What is
        written without a producer does not count.
    @ivar paramsTimeout: In how many seconds the variables of a request must be
        complete, once its first byte has arrived; L{None} for no limit.  The
        default is 30: web servers send all of them at once.
    @ivar bodyTimeout: How many seconds may pass between two pieces of a
        request body; L{None} for no limit.  The default, 300, is more than
        web servers wait for their clients.
    @ivar writeTimeout: How many seconds may pass in which the web server takes
        nothing of what is sent to it; L{None} for no limit.  Then the
        connection is cut off.  Progress is seen in steps of 16 to 32 KiB (with
        TLS of 64 to 128 KiB), for a transport tells only when it has sent all
        that it was given.  The default, 600, is more than web servers wait for
        a client that stopped reading; lighttpd, with 360, waits longest.
    @ivar idleTimeout: For how many seconds a connection may be kept open
        without a request; L{None}, the default, for no limit, because a web
        server may send the next request at the very moment that the
        connection is closed for being idle.
    """

    paramsBytes: int = 1024 * 1024
    params: int = 16384
    nameLength: int = 65535
    bodyBytes: int | None = None
    connections: int = 1000
    queuedAnswers: int = 64
    unheededBytes: int | None = 8 * 1024 * 1024
    paramsTimeout: float | None = 30
    bodyTimeout: float | None = 300
    writeTimeout: float | None = 600
    idleTimeout: float | None = None

    def __post_init__(self) -> None:
        """
        @raise ValueError: If a limit would let nothing through.
        """
        for name in ("paramsBytes", "params", "nameLength", "connections"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1: {getattr(self, name)!r}")
        for name in ("bodyBytes", "unheededBytes"):
            size = getattr(self, name)
            if size is not None and not size >= 0:
                raise ValueError(f"{name} can't be negative: {size!r}")
        if self.queuedAnswers is None or not self.queuedAnswers >= 0:
            raise ValueError(f"queuedAnswers must be 0 or more: {self.queuedAnswers!r}")
        for name in ("paramsTimeout", "bodyTimeout", "writeTimeout", "idleTimeout"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds: {seconds!r}")


class InputState(Enum):
    """
    How far the request in hand has been received: the stream that comes next,
    or one of the two ends.
    """

    IDLE = "no request"
    PARAMS = "PARAMS"
    STDIN = "STDIN"
    DATA = "DATA"
    ENDED = "complete"

    # Theirs is written in Python, and asked for twice in each request.
    __hash__ = object.__hash__


class OutputState(Enum):
    """
    How far the request in hand has been answered.
    """

    SILENT = "nothing sent"
    RESPONDING = "response begun"
    ENDED = "END_REQUEST sent"


class Action(Enum):
    """
    What is done with a record of the request in hand.
    """

    TAKE = "take"
    IGNORE = "ignore"
    ABORT = "abort the request"
    REFUSE = "answer 400"
    FAIL = "close the connection"


# The members that every request needs: before Python 3.12, to look one up in
# its enumeration takes longer than to call a method.
_BEGIN_REQUEST = RecordType.BEGIN_REQUEST
_PARAMS = RecordType.PARAMS
_RESPONDER = Role.RESPONDER
_STDOUT = int(RecordType.STDOUT)
_OUTPUT_ENDED = OutputState.ENDED
_SILENT = OutputState.SILENT
_RESPONDING = OutputState.RESPONDING
_IDLE = InputState.IDLE
_ENDED = InputState.ENDED

#: What is done with a record of the request in hand; ignored where nothing is
#: said.  A stream that has ended stays ended: web servers exist that send a
#: second empty record, or a piece of the body late.
INPUT_ACTIONS: Mapping[InputState, Mapping[int, Action]] = {
    InputState.PARAMS: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
        RecordType.PARAMS: Action.TAKE,
        RecordType.STDIN: Action.REFUSE,
    },
    InputState.STDIN: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
        RecordType.STDIN: Action.TAKE,
    },
    InputState.DATA: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
        RecordType.DATA: Action.TAKE,
    },
    InputState.ENDED: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
    },
}

#: Which state follows the end of a stream, by role (section 6).
INPUT_ORDER: Mapping[int, Mapping[InputState, InputState]] = {
    Role.RESPONDER: {
        InputState.PARAMS: InputState.STDIN,
        InputState.STDIN: InputState.ENDED,
    },
    Role.AUTHORIZER: {
        InputState.PARAMS: InputState.ENDED,
    },
    Role.FILTER: {
        InputState.PARAMS: InputState.STDIN,
        InputState.STDIN: InputState.DATA,
        InputState.DATA: InputState.ENDED,
    },
}


@dataclass(slots=True)
class RequestReceived:
    """
    A request has begun and its variables are complete.

    @ivar requestId: The request id.
    @ivar role: The role that the web server asks for.
    @ivar params: The variables in the order in which they came, repeated ones
        included.
    """

    requestId: int
    role: int
    params: Pairs

    @property
    def variables(self) -> dict[bytes, bytes]:
        """
        The variables by their names, of repeated ones the last, made anew.
        """
        return dict(self.params)


@dataclass(slots=True)
class WholeRequestReceived:
    """
    A request has arrived as a whole: it stands for a L{RequestReceived}, for a
    L{StreamReceived} if it has a body, and for a L{StreamEnded}.

    @ivar requestId: The request id.
    @ivar role: The role that the web server asks for.
    @ivar params: The variables in the order in which they came, repeated ones
        included.
    @ivar variables: The same by their names, of repeated ones the last.
    @ivar body: All of its STDIN.
    """

    requestId: int
    role: int
    params: Collection[tuple[bytes, bytes]]
    variables: dict[bytes, bytes]
    body: bytes


@dataclass(slots=True)
class StreamReceived:
    """
    A piece of a stream of the request in hand has arrived.

    @ivar stream: The type of the stream's records.
    @ivar data: The piece, at least one byte.
    """

    stream: int
    data: bytes


@dataclass(slots=True)
class StreamEnded:
    """
    A stream of the request in hand has ended.

    @ivar stream: The type of the stream's records.
    """

    stream: int


@dataclass(slots=True)
class RequestAborted:
    """
    The web server wants no answer any more.

    @ivar requestId: The request id, which is inactive from now on.
    @ivar data: The answer, to be sent now.
    """

    requestId: int
    data: bytes


@dataclass(slots=True)
class RequestRejected:
    """
    A request was answered by the protocol itself.

    @ivar requestId: The request id; never that of a request for which
        L{RequestReceived} was given.
    @ivar reason: Why, for the log.
    @ivar data: The answer, to be sent now.
    """

    requestId: int
    reason: str
    data: bytes


@dataclass(slots=True)
class ManagementReceived:
    """
    A management record has arrived.

    @ivar type: Its type.
    @ivar data: The answer, to be sent now.
    """

    type: int
    data: bytes


ApplicationEvent = (
    RequestReceived
    | StreamReceived
    | StreamEnded
    | RequestAborted
    | RequestRejected
    | ManagementReceived
)

#: The variable that tells that no body is wanted, as it stands on the wire.
_HEAD = encodePairs([(b"REQUEST_METHOD", b"HEAD")])

_OVERLOADED = "The server is busy. Please try again in a moment."
_CANT_MPX = "This connection is serving another request."
_UNKNOWN_ROLE = "The application does not serve requests of this role."
_TOO_MANY_PARAMS = "The request has more or longer header fields than are allowed."
_BAD_PARAMS = "The web server sent a request that can't be understood."

#: What a refused request gets, by protocol status.  An END_REQUEST alone makes
#: Apache send an empty page with status 200 and lets HAProxy wait in vain.
_REFUSALS = {
    ProtocolStatus.OVERLOADED: errorPage(503, _OVERLOADED),
    ProtocolStatus.CANT_MPX_CONN: errorPage(503, _CANT_MPX),
    ProtocolStatus.UNKNOWN_ROLE: errorPage(501, _UNKNOWN_ROLE),
}


class ApplicationConnection(RecordReader[ApplicationEvent]):
    """
    The application's side of a connection (FastCGI 1.0, sections 3 to 6).

    @ivar limits: What the web server may use up.
    @ivar roles: The roles that are served; others get UNKNOWN_ROLE.
    @ivar refusing: Whether new requests get OVERLOADED.  May be set.
    @ivar keepConnection: Whether every request so far wanted the connection to
        stay open.
    @ivar inputState: How far the request in hand has been received.
    @ivar outputState: How far it has been answered.
    @ivar inputPending: Whether the last request was answered before all of it
        had been received: the web server may still be sending.
    @ivar requestId: The id of the request in hand, or of the last one.
    """

    refusing = False
    keepConnection = True
    inputState: InputState
    outputState = OutputState.ENDED
    inputPending = False
    requestId = NULL_REQUEST_ID

    # To set all these anew takes 1 us of each connection.
    _role: int = Role.RESPONDER
    _params: bytes | bytearray = b""
    _stream: int = RecordType.STDIN
    _stderrUsed = False
    _strayInput = False

    def __init__(
        self, limits: Limits | None = None, roles: Iterable[int] = (Role.RESPONDER,)
    ) -> None:
        super().__init__()
        self.limits = Limits() if limits is None else limits
        self.roles = frozenset(roles)
        self._enter(_IDLE)

    @property
    def stdinEndsNext(self) -> bool:
        """
        Whether the next record, received already, ends the STDIN of the
        request in hand.
        """
        start = self._offset + self._skipLeft
        end = encodeHeader(RecordType.STDIN, self.requestId, 0, 0)[:6]
        return not self._contentLeft and self._data.startswith(end, start)

    # What the application sends

    def sendStdout(self, data: bytes) -> list[Piece]:
        """
        Send a piece of the response (section 5.3).

        @param data: Any number of bytes; none make no record.
        @return: Bytes to be sent, in pieces, some of which are views of large
            data: to cut these up would take a quarter of the time in which they
            are sent.
        @raise LocalProtocolError: If no request is there to be answered.
        """
        self._respond(data)
        if len(data) > STREAM_CONTENT_LENGTH:
            return encodeStream(_STDOUT, self.requestId, memoryview(data))
        return cast("list[Piece]", encodeStream(_STDOUT, self.requestId, data))

    def sendStderr(self, data: bytes) -> list[bytes]:
        """
        Send a piece of the error stream (section 5.3).

        @param data: Any number of bytes; none make no record.
        @return: Bytes to be sent, in pieces.
        @raise LocalProtocolError: If no request is there to be answered.
        """
        self._respond(data)
        self._stderrUsed = self._stderrUsed or bool(data)
        return [
            encodeRecord(
                RecordType.STDERR,
                self.requestId,
                data[start : start + _STDERR_CONTENT_LENGTH],
                minPadding=_STDERR_PADDING,
            )
            for start in range(0, len(data), _STDERR_CONTENT_LENGTH)
        ]

    def endRequest(self, appStatus: int = 0, *, complete: bool = True) -> bytes:
        """
        End the request in hand (sections 5.5 and 6.1): close its streams, send
        END_REQUEST.  Its id is inactive then.

        @param appStatus: The application status, 0 to 4294967295.
        @param complete: Whether the response is whole.  If it is not, STDOUT
            is left open, so that the web server can tell.
        @return: Bytes to be sent, all at once: web servers exist that lose
            their place when END_REQUEST comes apart from what is before it.
        @raise LocalProtocolError: If no request is there to be ended, or the
            status is not a number of 32 bits.
        """
        if self.inputState in _UNREADY:
            raise LocalProtocolError("there is no request that could be ended")
        encode = encodeResponseEnd if complete else encodeEndRequest
        ending = encode(self.requestId, appStatus)
        if self._stderrUsed:
            ending = self._stderrEnd() + ending
        self._requestOver()
        return ending

    def rejectRole(self) -> bytes:
        """
        Answer the request in hand, which nobody has begun to answer, by
        UNKNOWN_ROLE (section 5.5): its role is not served after all.

        @return: Bytes to be sent.
        @raise LocalProtocolError: If there is none, or it has been answered in
            part.
        """
        if self.inputState in _UNREADY or self.outputState is not _SILENT:
            raise LocalProtocolError("there is no request that could be rejected")
        status = ProtocolStatus.UNKNOWN_ROLE
        self._requestOver()
        return _rejection(self.requestId, _REFUSALS[status], status)

    def _stderrEnd(self) -> bytes:
        """
        End the error stream.
        """
        return encodeRecord(
            RecordType.STDERR, self.requestId, minPadding=_STDERR_PADDING
        )

    def _respond(self, data: bytes) -> None:
        """
        Note that a response has begun, if anything is to be sent.
        """
        if self.inputState in _UNREADY:
            raise LocalProtocolError("there is no request that could be answered")
        if data:
            self.outputState = _RESPONDING

    def _requestOver(self) -> None:
        """
        Make the id of the request in hand inactive.
        """
        unread = self.inputState is not _ENDED
        self.inputPending = unread or self._strayInput
        if self._contentLeft and self._take == self._takeStream:
            # It was answered in the midst of a record.
            self._ignore()
        self._strayInput = False
        self._enter(_IDLE)
        self.outputState = _OUTPUT_ENDED
        self._params = b""
        self._stderrUsed = False

    # What the web server sends

    def receiveRequest(self, data: bytes) -> WholeRequestReceived | None:
        """
        Take bytes from the web server, if they are one whole request of a
        Responder and nothing else, and if no other request is in hand.  It is
        what C{receiveData} and C{nextEvent} would make of them, in one step.

        @param data: Any number of bytes.
        @return: The request; L{None} if the bytes were not taken and are for
            C{receiveData}.
        """
        if self.inputState is not _IDLE or self.refusing or not self._betweenRecords:
            return None
        whole = wholeRequest(data)
        if whole is None:
            return None
        requestId, role, keepConnection, content, body = whole
        if role != _RESPONDER or role not in self.roles:
            return None
        decoded = self._decodeParams(content)
        if decoded is None:
            return None
        self.keepConnection = self.keepConnection and keepConnection
        self.requestId = requestId
        self._role = role
        self._enter(_ENDED)
        self.outputState = _SILENT
        return WholeRequestReceived(requestId, role, *decoded, body)

    def _decodeParams(
        self, content: bytes
    ) -> tuple[Collection[tuple[bytes, bytes]], dict[bytes, bytes]] | None:
        """
        Read the variables, if there is nothing wrong with them.
        """
        limits = self.limits
        if len(content) > limits.paramsBytes:
            return None
        most, longest = limits.params, limits.nameLength
        variables = decodeVariables(content, maxPairs=most, maxName=longest)
        if variables is not None:
            return variables.items(), variables
        try:
            params = decodePairs(content, maxPairs=most, maxName=longest)
        except RemoteProtocolError:
            return None
        return params, dict(params)

    def _startRecord(
        self, type_: int, requestId: int, contentLength: int
    ) -> ApplicationEvent | None:
        """
        Decide what becomes of a record.
        """
        if requestId == NULL_REQUEST_ID:
            return self._startManagement(type_, contentLength)
        if requestId == self.requestId and self.inputState is not _IDLE:
            act = self._actions.get(type_, ApplicationConnection._ignoreRecord)
            event: ApplicationEvent | None = act(self, type_, contentLength)
            return event
        if type_ == _BEGIN_REQUEST:
            return self._startBeginRequest(requestId, contentLength)
        # Section 3.3: records of an inactive id are ignored.
        self._ignore()
        return None

    def _startManagement(
        self, type_: int, contentLength: int
    ) -> ApplicationEvent | None:
        """
        Answer a management record (section 4).
        """
        if type_ == _BEGIN_REQUEST:
            raise RemoteProtocolError("BEGIN_REQUEST with request id 0")
        if type_ == RecordType.GET_VALUES:
            return self._collect(contentLength, self._getValues)
        self._ignore()
        return ManagementReceived(type_, encodeUnknownType(type_))

    def _getValues(self, content: bytes) -> ApplicationEvent:
        """
        Answer GET_VALUES (section 4.1): those of the names that are known,
        each once.
        """
        number = b"%d" % self.limits.connections
        known = {
            b"FCGI_MAX_CONNS": number,
            b"FCGI_MAX_REQS": number,
            b"FCGI_MPXS_CONNS": b"0",
        }
        asked = {name for name, _ in decodePairs(content)}
        values = encodePairs(item for item in known.items() if item[0] in asked)
        return ManagementReceived(
            RecordType.GET_VALUES,
            encodeRecord(RecordType.GET_VALUES_RESULT, NULL_REQUEST_ID, values),
        )

    def _startBeginRequest(
        self, requestId: int, contentLength: int
    ) -> ApplicationEvent | None:
        """
        Wait for the content of BEGIN_REQUEST.
        """
        if contentLength < _BODY_LENGTH:
            raise RemoteProtocolError(
                f"BEGIN_REQUEST of request {requestId} announces {contentLength} "
                f"bytes of content instead of {_BODY_LENGTH}"
            )
        return self._collect(
            _BODY_LENGTH, lambda content: self._beginRequest(requestId, content)
        )

    def _beginRequest(self, requestId: int, content: bytes) -> ApplicationEvent | None:
        """
        Begin a request, or refuse it (sections 5.1 and 5.5).
        """
        role, keepConnection = decodeBeginRequest(content)
        self.keepConnection = self.keepConnection and keepConnection
        if self.inputState is not _IDLE:
            reason = f"request {self.requestId} is in hand on the same connection"
            return self._refuse(requestId, ProtocolStatus.CANT_MPX_CONN, reason)
        if self.refusing:
            reason = "no more requests are taken on this connection"
            return self._refuse(requestId, ProtocolStatus.OVERLOADED, reason)
        if role not in self.roles:
            reason = f"role {role} is not served"
            return self._refuse(requestId, ProtocolStatus.UNKNOWN_ROLE, reason)
        self.requestId = requestId
        self._role = role
        self._enter(InputState.PARAMS)
        self.outputState = OutputState.SILENT
        return None

    def _refuse(
        self, requestId: int, status: ProtocolStatus, reason: str
    ) -> RequestRejected:
        """
        Answer a request that is not begun.
        """
        if self.inputState is _IDLE:
            self.inputPending = True
        else:
            self._strayInput = True
        page = _REFUSALS[status]
        return RequestRejected(requestId, reason, _rejection(requestId, page, status))

    # What is done with the records of the request in hand

    def _takeRecord(self, type_: int, contentLength: int) -> ApplicationEvent | None:
        """
        Take a piece of the stream that is awaited, or its end.
        """
        if not contentLength:
            return self._endStream(type_)
        if type_ == _PARAMS:
            return self._startParams(contentLength)
        self._stream = type_
        self._passJoined(self._takeStream, type_, self.requestId)
        return None

    def _takeStream(self, piece: bytes) -> StreamReceived:
        """
        Hand out a piece of a stream.
        """
        return StreamReceived(self._stream, piece)

    def _startParams(self, contentLength: int) -> ApplicationEvent | None:
        """
        Let a piece of the variables be gathered, if it is not too much.
        """
        size = len(self._params) + contentLength
        if size > self.limits.paramsBytes:
            self._ignore()
            reason = f"{size} bytes of params, {self.limits.paramsBytes} are allowed"
            return self._rejectBegun(431, _TOO_MANY_PARAMS, reason)
        self._pass(self._takeParams)
        return None

    def _takeParams(self, piece: bytes) -> None:
        """
        Gather a piece of the variables.
        """
        if not self._params:
            # Nearly always this piece is all of them.
            self._params = piece
            return
        if not isinstance(self._params, bytearray):
            self._params = bytearray(self._params)
        self._params += piece

    def _endStream(self, type_: int) -> ApplicationEvent:
        """
        Go on to the next stream.
        """
        if type_ == _PARAMS:
            return self._endParams()
        self._enter(INPUT_ORDER[self._role][self.inputState])
        return StreamEnded(type_)

    def _endParams(self) -> ApplicationEvent:
        """
        Hand out the request, now that its variables are complete.
        """
        limits = self.limits
        try:
            params = decodePairs(
                bytes(self._params), maxPairs=limits.params, maxName=limits.nameLength
            )
        except LimitExceeded as error:
            return self._rejectBegun(431, _TOO_MANY_PARAMS, str(error))
        except RemoteProtocolError as error:
            return self._rejectBegun(400, _BAD_PARAMS, str(error))
        self._params = b""
        self._enter(INPUT_ORDER[self._role][InputState.PARAMS])
        return RequestReceived(self.requestId, self._role, params)

    def _rejectBegun(
        self, status: int, explanation: str, reason: str
    ) -> RequestRejected:
        """
        Answer the request in hand, which no one has seen yet.
        """
        # There may be no other way to find out.
        isHead = _HEAD in self._params
        self._requestOver()
        page = errorPage(status, explanation, head=isHead)
        data = _rejection(self.requestId, page)
        return RequestRejected(self.requestId, reason, data)

    def _ignoreRecord(self, type_: int, contentLength: int) -> None:
        """
        Leave out a record.
        """
        self._ignore()

    def _abort(self, type_: int, contentLength: int) -> RequestAborted:
        """
        Answer ABORT_REQUEST (section 5.4).  STDOUT is left open: nobody is to
        take what was sent for a whole response.
        """
        self._ignore()
        stderrEnd = self._stderrEnd() if self._stderrUsed else b""
        self._requestOver()
        end = encodeEndRequest(self.requestId, appStatus=1)
        return RequestAborted(self.requestId, stderrEnd + end)

    def _refuseRecord(self, type_: int, contentLength: int) -> RequestRejected:
        """
        Give up a request whose body comes before its variables are complete.
        """
        self._ignore()
        reason = f"{RecordType(type_).name} before the end of PARAMS"
        return self._rejectBegun(400, _BAD_PARAMS, reason)

    def _fail(self, type_: int, contentLength: int) -> None:
        """
        Give up a connection on which a request begins twice.
        """
        raise RemoteProtocolError(
            f"{RecordType(type_).name} for request {self.requestId}, which is in hand"
        )

    def _enter(self, state: InputState) -> None:
        """
        Go on to a state of the input.
        """
        self.inputState = state
        self._actions = _HANDLERS[state]


#: L{INPUT_ACTIONS} with the methods in place of their names.
_METHODS: Mapping[Action, Any] = {
    Action.TAKE: ApplicationConnection._takeRecord,
    Action.IGNORE: ApplicationConnection._ignoreRecord,
    Action.ABORT: ApplicationConnection._abort,
    Action.REFUSE: ApplicationConnection._refuseRecord,
    Action.FAIL: ApplicationConnection._fail,
}
_HANDLERS: Mapping[InputState, Mapping[int, Any]] = {
    state: {
        type_: _METHODS[action]
        for type_, action in INPUT_ACTIONS.get(state, {}).items()
    }
    for state in InputState
}

#: The states of the input in which nothing can be answered: section 6.2 wants
#: the variables to be complete before.
_UNREADY = (InputState.IDLE, InputState.PARAMS)


def _rejection(
    requestId: int,
    page: bytes,
    protocolStatus: int = ProtocolStatus.REQUEST_COMPLETE,
) -> bytes:
    """
    Make the whole answer to a request that no application sees.

    @param requestId: The request id.
    @param page: A CGI response.
    @param protocolStatus: What END_REQUEST says.
    """
    return (
        b"".join(encodeStream(RecordType.STDOUT, requestId, page))
        + encodeRecord(RecordType.STDOUT, requestId)
        + encodeEndRequest(requestId, protocolStatus=protocolStatus)
    )


@dataclass(slots=True)
class RequestEnded:
    """
    The application has ended the request.

    @ivar requestId: The request id, which is inactive from now on.
    @ivar appStatus: The application status.
    @ivar protocolStatus: The protocol status, a L{ProtocolStatus
        <twisted_fastcgi.records.ProtocolStatus>} if it is a known one.
    """

    requestId: int
    appStatus: int
    protocolStatus: int


@dataclass(slots=True)
class ValuesReceived:
    """
    The application has answered GET_VALUES.

    @ivar values: What it told.
    """

    values: dict[bytes, bytes]


@dataclass(slots=True)
class TypeUnknown:
    """
    The application did not understand a management record.

    @ivar type: The type of that record.
    """

    type: int


WebServerEvent = (
    StreamReceived | StreamEnded | RequestEnded | ValuesReceived | TypeUnknown
)


class WebServerConnection(RecordReader[WebServerEvent]):
    """
    The web server's side of a connection (FastCGI 1.0, sections 3 to 6), with
    one request at a time.

    @ivar requestId: The id of the request in hand, 0 if there is none.
    @ivar inputState: Which stream of that request is to be sent next.
    @ivar outputState: How far the application has answered it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requestId = NULL_REQUEST_ID
        self.inputState = InputState.IDLE
        self.outputState = OutputState.ENDED
        self._role: int = Role.RESPONDER
        self._ended: set[int] = set()
        self._queries = 0

    # What the web server sends

    def beginRequest(
        self,
        role: int = Role.RESPONDER,
        *,
        keepConnection: bool = True,
        requestId: int = 1,
    ) -> bytes:
        """
        Begin a request (section 5.1).

        @param role: A L{Role<twisted_fastcgi.records.Role>}.
        @param keepConnection: Whether the application is to leave the
            connection open after its answer.
        @param requestId: The request id, 1 to 65535.
        @return: Bytes to be sent.
        @raise LocalProtocolError: If a request is in hand, or an argument is
            not what it should be.
        """
        if self.requestId != NULL_REQUEST_ID:
            raise LocalProtocolError(f"request {self.requestId} is still in hand")
        if requestId == NULL_REQUEST_ID or role not in INPUT_ORDER:
            raise LocalProtocolError(f"no request has id {requestId} and role {role}")
        data = encodeBeginRequest(requestId, role, keepConnection=keepConnection)
        self.requestId = requestId
        self._role = role
        self._ended = set()
        self.inputState = InputState.PARAMS
        self.outputState = OutputState.SILENT
        return data

    def sendParams(self, params: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """
        Send all variables of the request (section 5.2).

        @param params: The variables.
        @return: Bytes to be sent, in pieces.
        @raise LocalProtocolError: If it is not their turn.
        """
        pieces = self._sendStream(RecordType.PARAMS, encodePairs(params))
        return [*pieces, self._endStream(RecordType.PARAMS)]

    def sendStdin(self, data: bytes) -> list[bytes]:
        """
        Send a piece of the request body (section 5.3).

        @param data: Any number of bytes; none make no record.
        @return: Bytes to be sent, in pieces.
        @raise LocalProtocolError: If it is not its turn.
        """
        return self._sendStream(RecordType.STDIN, data)

    def endStdin(self) -> bytes:
        """
        End the request body (section 5.3).

        @return: Bytes to be sent.
        @raise LocalProtocolError: If it is not its turn.
        """
        return self._endStream(RecordType.STDIN)

    def sendData(self, data: bytes) -> list[bytes]:
        """
        Send a piece of the file that a Filter filters (section 5.3).

        @param data: Any number of bytes; none make no record.
        @return: Bytes to be sent, in pieces.
        @raise LocalProtocolError: If it is not its turn.
        """
        return self._sendStream(RecordType.DATA, data)

    def endData(self) -> bytes:
        """
        End the file that a Filter filters (section 5.3).

        @return: Bytes to be sent.
        @raise LocalProtocolError: If it is not its turn.
        """
        return self._endStream(RecordType.DATA)

    def abortRequest(self) -> bytes:
        """
        Tell the application that no answer is wanted any more (section 5.4).
        It still ends the request.

        @return: Bytes to be sent.
        @raise LocalProtocolError: If no request is in hand.
        """
        if self.requestId == NULL_REQUEST_ID:
            raise LocalProtocolError("there is no request that could be aborted")
        self.inputState = InputState.ENDED
        return encodeRecord(RecordType.ABORT_REQUEST, self.requestId)

    def getValues(self, names: Iterable[bytes]) -> bytes:
        """
        Ask the application for its limits (section 4.1).

        @param names: What to ask for, such as C{b"FCGI_MAX_CONNS"}.
        @return: Bytes to be sent.
        @raise LocalProtocolError: If the names do not fit one record.
        """
        content = encodePairs((name, b"") for name in names)
        data = encodeRecord(RecordType.GET_VALUES, NULL_REQUEST_ID, content)
        self._queries += 1
        return data

    def _sendStream(self, type_: int, data: bytes) -> list[bytes]:
        """
        Send a piece of a stream.
        """
        self._checkTurn(type_)
        return encodeStream(type_, self.requestId, data)

    def _endStream(self, type_: int) -> bytes:
        """
        End a stream.
        """
        self._checkTurn(type_)
        self.inputState = INPUT_ORDER[self._role][self.inputState]
        return encodeRecord(type_, self.requestId)

    def _checkTurn(self, type_: int) -> None:
        """
        See that a stream may be sent now.
        """
        actions = INPUT_ACTIONS.get(self.inputState, {})
        if actions.get(type_) is not Action.TAKE:
            raise LocalProtocolError(
                f"{RecordType(type_).name} can't be sent now: "
                f"{self.inputState.value} is next"
            )

    # What the application sends

    def _startRecord(
        self, type_: int, requestId: int, contentLength: int
    ) -> WebServerEvent | None:
        """
        Decide what becomes of a record.
        """
        if requestId == NULL_REQUEST_ID:
            return self._startManagement(type_, contentLength)
        if requestId != self.requestId:
            raise RemoteProtocolError(
                f"a record of type {type_} for request {requestId}, which is not "
                f"in hand"
            )
        if type_ == RecordType.END_REQUEST:
            return self._startEndRequest(contentLength)
        if type_ in (RecordType.STDOUT, RecordType.STDERR):
            return self._startStream(type_, contentLength)
        raise RemoteProtocolError(f"a record of type {type_} from an application")

    def _startManagement(self, type_: int, contentLength: int) -> WebServerEvent | None:
        """
        Wait for the content of an answer about management (section 4).
        """
        if self._queries and type_ == RecordType.GET_VALUES_RESULT:
            self._queries -= 1
            return self._collect(contentLength, _valuesReceived)
        if self._queries and type_ == RecordType.UNKNOWN_TYPE and contentLength:
            self._queries -= 1
            return self._collect(1, _typeUnknown)
        raise RemoteProtocolError(
            f"a management record of type {type_} with {contentLength} bytes of "
            "content that nobody asked for"
        )

    def _startStream(self, type_: int, contentLength: int) -> WebServerEvent | None:
        """
        Take a piece of STDOUT or STDERR, or its end.
        """
        if type_ in self._ended:
            if contentLength:
                raise RemoteProtocolError(f"{RecordType(type_).name} after its end")
            return None
        self.outputState = OutputState.RESPONDING
        if not contentLength:
            self._ended.add(type_)
            return StreamEnded(type_)
        self._pass(lambda piece: StreamReceived(type_, piece))
        return None

    def _startEndRequest(self, contentLength: int) -> WebServerEvent | None:
        """
        Wait for the content of END_REQUEST.
        """
        if contentLength < _BODY_LENGTH:
            raise RemoteProtocolError(
                f"END_REQUEST announces {contentLength} bytes of content instead of "
                f"{_BODY_LENGTH}"
            )
        return self._collect(_BODY_LENGTH, self._requestEnded)

    def _requestEnded(self, content: bytes) -> WebServerEvent:
        """
        End the request in hand (section 5.5).
        """
        requestId = self.requestId
        self.requestId = NULL_REQUEST_ID
        self.inputState = InputState.IDLE
        self.outputState = OutputState.ENDED
        return RequestEnded(requestId, *decodeEndRequest(content))


def _valuesReceived(content: bytes) -> ValuesReceived:
    """
    Read GET_VALUES_RESULT (section 4.1).
    """
    return ValuesReceived(dict(decodePairs(content)))


def _typeUnknown(content: bytes) -> TypeUnknown:
    """
    Read UNKNOWN_TYPE (section 4.2).
    """
    return TypeUnknown(decodeUnknownType(content))
