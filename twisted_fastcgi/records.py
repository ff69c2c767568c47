# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
FastCGI 1.0 records on the wire (sections 3.3, 4, 5 and 8 of the
specification): pure functions between values and L{bytes}.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import TypeVar

from twisted_fastcgi.errors import LocalProtocolError, RemoteProtocolError

#: The only protocol version there is (section 8).
VERSION = 1

#: The size of a record header in bytes (section 3.3).
HEADER_LENGTH = 8

#: The most content that one record can carry, in bytes (section 3.3).
MAX_CONTENT_LENGTH = 0xFFFF

#: The size of BEGIN_REQUEST's and END_REQUEST's content in bytes (sections 5.1
#: and 5.5).
BODY_LENGTH = 8

#: The request id of management records (section 3.3).
NULL_REQUEST_ID = 0

#: The bit of BEGIN_REQUEST's flags that asks the application to leave the
#: connection open (section 5.1).
KEEP_CONN = 1

#: The file descriptor of an inherited listening socket (section 2.2).
LISTENSOCK_FILENO = 0

#: Content of a stream is cut into records of at most this many bytes: a
#: multiple of 8, so that only a stream's last record needs padding, a half of
#: the 64 KiB in which content usually comes, and small enough that a web server
#: which acts on whole records does not wait long.
STREAM_CONTENT_LENGTH = 32768


class RecordType(IntEnum):
    """
    The type of a record (section 8).
    """

    BEGIN_REQUEST = 1
    ABORT_REQUEST = 2
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7
    DATA = 8
    GET_VALUES = 9
    GET_VALUES_RESULT = 10
    UNKNOWN_TYPE = 11


class Role(IntEnum):
    """
    What the web server wants the application to be (section 6).
    """

    RESPONDER = 1
    AUTHORIZER = 2
    FILTER = 3


class ProtocolStatus(IntEnum):
    """
    How a request ended as far as the protocol is concerned (section 5.5).
    """

    REQUEST_COMPLETE = 0
    CANT_MPX_CONN = 1
    OVERLOADED = 2
    UNKNOWN_ROLE = 3


#: Something to be sent.
Piece = bytes | memoryview

Content = TypeVar("Content", bytes, memoryview)

_header = Struct("!BBHHBx")
_beginRequest = Struct("!HB5x")
_endRequest = Struct("!LB3x")
_unknownType = Struct("!B7x")
_responseEnd = Struct("!BBHHBx BBHHBx LB3x")
_STDOUT = int(RecordType.STDOUT)
_END_REQUEST = int(RecordType.END_REQUEST)
_PADDING = [bytes(length) for length in range(256)]


def decodeHeader(data: bytes, offset: int = 0) -> tuple[int, int, int, int]:
    """
    Read a record's header (section 3.3).

    @param data: At least 8 bytes from C{offset} on.
    @param offset: Where the header starts.
    @return: The type (0 to 255, a peer may send types that L{RecordType} does
        not know), the request id, the size of the content and the size of the
        padding after it, both in bytes.
    @raise RemoteProtocolError: If the version is not 1: what follows can't be
        understood then.
    """
    version, type_, requestId, contentLength, paddingLength = _header.unpack_from(
        data, offset
    )
    if version != VERSION:
        start = data[offset : offset + HEADER_LENGTH]
        raise RemoteProtocolError(
            f"a record starts with version {version} instead of {VERSION}: "
            f"{start!r} is not FastCGI",
            kind="not_fastcgi",
        )
    return type_, requestId, contentLength, paddingLength


def encodeHeader(
    type_: int, requestId: int, contentLength: int, paddingLength: int
) -> bytes:
    """
    Write a record's header (section 3.3).

    @param type_: The record's type, 0 to 255.
    @param requestId: The request id, 0 to 65535.
    @param contentLength: The size of the content, 0 to 65535 bytes.
    @param paddingLength: The size of the padding, 0 to 255 bytes.
    @return: 8 bytes.
    @raise LocalProtocolError: If a number does not fit its field.
    """
    try:
        return _header.pack(VERSION, type_, requestId, contentLength, paddingLength)
    except StructError as error:
        raise LocalProtocolError(
            f"no record can have type {type_}, request id {requestId}, "
            f"{contentLength} bytes of content and {paddingLength} of padding: {error}"
        ) from None


def encodeRecord(
    type_: int, requestId: int, content: bytes = b"", *, minPadding: int = 0
) -> bytes:
    """
    Write one record, padded to a multiple of 8 bytes as section 3.3
    recommends.

    @param type_: The record's type, 0 to 255.
    @param requestId: The request id, 0 to 65535.
    @param content: At most 65535 bytes.
    @param minPadding: The least padding, 0 to 248 bytes.
    @return: Header, content and padding.
    @raise LocalProtocolError: If a number does not fit its field.
    """
    length = len(content)
    padding = minPadding + (-(length + minPadding) & 7)
    return encodeHeader(type_, requestId, length, padding) + content + _PADDING[padding]


def encodeStream(type_: int, requestId: int, content: Content) -> list[bytes | Content]:
    """
    Cut a piece of a stream into records (section 3.3).  No content makes no
    record, because an empty record would end the stream.

    @param type_: The stream's type.
    @param requestId: The request id.
    @param content: Any number of bytes.
    @return: The pieces of the records, to be sent one after another; content
        that fits one record is among them as it is, not copied, and of a
        L{memoryview} nothing is copied.
    @raise LocalProtocolError: If a number does not fit its field.
    """
    length = len(content)
    if 0 < length <= STREAM_CONTENT_LENGTH:
        padding = -length & 7
        head = encodeHeader(type_, requestId, length, padding)
        return [head, content, _PADDING[padding]] if padding else [head, content]
    pieces: list[bytes | Content] = []
    if length:
        head = encodeHeader(type_, requestId, STREAM_CONTENT_LENGTH, 0)
        last = length - 1 - (length - 1) % STREAM_CONTENT_LENGTH
        for start in range(0, last, STREAM_CONTENT_LENGTH):
            pieces += head, content[start : start + STREAM_CONTENT_LENGTH]
        pieces += encodeStream(type_, requestId, content[last:])
    return pieces


def encodeBeginRequest(requestId: int, role: int, *, keepConnection: bool) -> bytes:
    """
    Write a BEGIN_REQUEST record (section 5.1).

    @param requestId: The request id, 1 to 65535.
    @param role: The role, 0 to 65535.
    @param keepConnection: Whether the application is to leave the connection
        open.
    @return: The record.
    @raise LocalProtocolError: If a number does not fit its field.
    """
    flags = KEEP_CONN if keepConnection else 0
    try:
        content = _beginRequest.pack(role, flags)
    except StructError as error:
        raise LocalProtocolError(f"no role has number {role}: {error}") from None
    return encodeRecord(RecordType.BEGIN_REQUEST, requestId, content)


def decodeBeginRequest(content: bytes) -> tuple[int, bool]:
    """
    Read the content of a BEGIN_REQUEST record (section 5.1).  Unknown flags
    and anything past the first 8 bytes are ignored.

    @param content: The record's content.
    @return: The role, and whether to leave the connection open.
    @raise RemoteProtocolError: If there are fewer than 8 bytes.
    """
    if len(content) < _beginRequest.size:
        raise RemoteProtocolError(
            f"BEGIN_REQUEST has {len(content)} bytes of content instead of "
            f"{_beginRequest.size}"
        )
    role, flags = _beginRequest.unpack_from(content)
    return role, bool(flags & KEEP_CONN)


def encodeEndRequest(
    requestId: int,
    appStatus: int = 0,
    protocolStatus: int = ProtocolStatus.REQUEST_COMPLETE,
) -> bytes:
    """
    Write an END_REQUEST record (section 5.5).

    @param requestId: The request id, 1 to 65535.
    @param appStatus: The application status, 0 to 4294967295.
    @param protocolStatus: The protocol status, 0 to 255.
    @return: The record.
    @raise LocalProtocolError: If a number does not fit its field.
    """
    try:
        content = _endRequest.pack(appStatus, protocolStatus)
    except StructError as error:
        raise LocalProtocolError(
            f"no request can end with application status {appStatus} and protocol "
            f"status {protocolStatus}: {error}"
        ) from None
    return encodeRecord(RecordType.END_REQUEST, requestId, content)


@lru_cache(maxsize=64)
def encodeResponseEnd(requestId: int, appStatus: int) -> bytes:
    """
    Write what ends nearly every response: an empty STDOUT record and an
    END_REQUEST record with the protocol status REQUEST_COMPLETE (sections 5.5
    and 6.1).  The last ones are remembered, because most web servers use but a
    few request ids: that takes a tenth of the time.

    @param requestId: The request id, 1 to 65535.
    @param appStatus: The application status, 0 to 4294967295.
    @return: The records.
    @raise LocalProtocolError: If a number does not fit its field.
    """
    try:
        return _responseEnd.pack(
            *(VERSION, _STDOUT, requestId, 0, 0),
            *(VERSION, _END_REQUEST, requestId, _endRequest.size, 0),
            *(appStatus, 0),
        )
    except StructError as error:
        raise LocalProtocolError(
            f"request {requestId} can't end with application status {appStatus}: "
            f"{error}"
        ) from None


def decodeEndRequest(content: bytes) -> tuple[int, int]:
    """
    Read the content of an END_REQUEST record (section 5.5).

    @param content: The record's content.
    @return: The application status and the protocol status.
    @raise RemoteProtocolError: If there are fewer than 8 bytes.
    """
    if len(content) < _endRequest.size:
        raise RemoteProtocolError(
            f"END_REQUEST has {len(content)} bytes of content instead of "
            f"{_endRequest.size}"
        )
    appStatus, protocolStatus = _endRequest.unpack_from(content)
    return appStatus, protocolStatus


def encodeUnknownType(type_: int) -> bytes:
    """
    Write an UNKNOWN_TYPE record, the answer to a management record that is
    not understood (section 4.2).

    @param type_: The type that was not understood, 0 to 255.
    @return: The record.
    @raise LocalProtocolError: If the number does not fit its field.
    """
    try:
        content = _unknownType.pack(type_)
    except StructError as error:
        raise LocalProtocolError(f"no record has type {type_}: {error}") from None
    return encodeRecord(RecordType.UNKNOWN_TYPE, NULL_REQUEST_ID, content)


def decodeUnknownType(content: bytes) -> int:
    """
    Read the content of an UNKNOWN_TYPE record (section 4.2).

    @param content: The record's content.
    @return: The type that the peer did not understand.
    @raise RemoteProtocolError: If there is no content.
    """
    if not content:
        raise RemoteProtocolError("UNKNOWN_TYPE has no content")
    return content[0]
