# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The application's side of a connection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from twisted_fastcgi.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.events import (
    ApplicationEvent,
    ManagementReceived,
    RequestAborted,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
    WholeRequestReceived,
)
from twisted_fastcgi.framing import RecordReader
from twisted_fastcgi.limits import Limits
from twisted_fastcgi.pages import BAD_REQUEST, UNKNOWN_ROLE, errorPage
from twisted_fastcgi.pairs import decodePairs, decodeVariables, encodePairs
from twisted_fastcgi.records import (
    BODY_LENGTH,
    NULL_REQUEST_ID,
    STREAM_CONTENT_LENGTH,
    Piece,
    ProtocolStatus,
    RecordType,
    Role,
    decodeBeginRequest,
    encodeEndRequest,
    encodeHeader,
    encodeRecord,
    encodeResponseEnd,
    encodeStream,
    encodeUnknownType,
)
from twisted_fastcgi.states import (
    INPUT_ACTIONS,
    INPUT_ORDER,
    Action,
    InputState,
    OutputState,
)
from twisted_fastcgi.whole import wholeRequest

#: STDERR goes out in small records that are always padded.  HAProxy before its
#: fix of September 2023 corrupts its memory on a STDERR record whose content
#: is exactly all that it has received, and padding keeps that from happening.
_STDERR_CONTENT_LENGTH = 8192
_STDERR_PADDING = 1

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

#: The variable that tells that no body is wanted, as it stands on the wire.
_HEAD = encodePairs([(b"REQUEST_METHOD", b"HEAD")])

_OVERLOADED = "The server is busy. Please try again in a moment."
_CANT_MPX = "This connection is serving another request."
_TOO_MANY_PARAMS = "The request has more or longer header fields than are allowed."

#: What a refused request gets, by protocol status.  An END_REQUEST alone makes
#: Apache send an empty page with status 200 and lets HAProxy wait in vain.
_REFUSALS = {
    ProtocolStatus.OVERLOADED: (503, errorPage(503, _OVERLOADED)),
    ProtocolStatus.CANT_MPX_CONN: (503, errorPage(503, _CANT_MPX)),
    ProtocolStatus.UNKNOWN_ROLE: (501, errorPage(501, UNKNOWN_ROLE)),
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
        _, page = _REFUSALS[status]
        return _rejection(self.requestId, page, status)

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
        if self.inputState is not _IDLE or self.refusing or not self.betweenRecords:
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
            raise RemoteProtocolError(
                "BEGIN_REQUEST with request id 0", kind="begin_request"
            )
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
        try:
            asked = {name for name, _ in decodePairs(content)}
        except RemoteProtocolError as error:
            error.kind = "management"
            raise
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
        if contentLength < BODY_LENGTH:
            raise RemoteProtocolError(
                f"BEGIN_REQUEST of request {requestId} announces {contentLength} "
                f"bytes of content instead of {BODY_LENGTH}",
                kind="begin_request",
            )
        return self._collect(
            BODY_LENGTH, lambda content: self._beginRequest(requestId, content)
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
        code, page = _REFUSALS[status]
        data = _rejection(requestId, page, status)
        return RequestRejected(requestId, reason, data, status, code)

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
            return self._rejectBegun(400, BAD_REQUEST, str(error))
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
        complete = ProtocolStatus.REQUEST_COMPLETE
        return RequestRejected(self.requestId, reason, data, complete, status)

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
        return self._rejectBegun(400, BAD_REQUEST, reason)

    def _fail(self, type_: int, contentLength: int) -> None:
        """
        Give up a connection on which a request begins twice.
        """
        raise RemoteProtocolError(
            f"{RecordType(type_).name} for request {self.requestId}, which is in hand",
            kind="begin_request",
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
