# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The web server's side of a connection.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted_fastcgi.errors import LocalProtocolError, RemoteProtocolError
from twisted_fastcgi.events import (
    RequestEnded,
    StreamEnded,
    StreamReceived,
    TypeUnknown,
    ValuesReceived,
    WebServerEvent,
)
from twisted_fastcgi.framing import RecordReader
from twisted_fastcgi.pairs import decodePairs, encodePairs
from twisted_fastcgi.records import (
    BODY_LENGTH,
    NULL_REQUEST_ID,
    RecordType,
    Role,
    decodeEndRequest,
    decodeUnknownType,
    encodeBeginRequest,
    encodeRecord,
    encodeStream,
)
from twisted_fastcgi.states import (
    INPUT_ACTIONS,
    INPUT_ORDER,
    Action,
    InputState,
    OutputState,
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
        if contentLength < BODY_LENGTH:
            raise RemoteProtocolError(
                f"END_REQUEST announces {contentLength} bytes of content instead of "
                f"{BODY_LENGTH}"
            )
        return self._collect(BODY_LENGTH, self._requestEnded)

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
