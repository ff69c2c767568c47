# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Requests that arrive as a whole (FastCGI 1.0, section 5).

Web servers send a small request at once, and nothing after it until it is
answered.  So nearly all that is ever read from a connection has one shape,
which is read in 2 microseconds, where its records one by one take 25.
"""

from __future__ import annotations

from struct import Struct

from twisted_fastcgi.records import HEADER_LENGTH, KEEP_CONN, VERSION, RecordType

#: A BEGIN_REQUEST record, and the header of a PARAMS record; of each header the
#: version, type and request id as one number, as in L{_first}, and the sizes of
#: content and padding.
_opening = Struct("!LHBx HB5x LHBx")

#: An empty PARAMS record, and the header of a STDIN record.
_middle = Struct("!LL LHBx")

#: An empty STDIN record.
_ending = Struct("!LL")


def _first(type_: int) -> int:
    """
    Give the first four bytes of a record's header as a number, but for the
    request id, which may be added.
    """
    return VERSION << 24 | type_ << 16


_BEGIN_REQUEST = _first(RecordType.BEGIN_REQUEST)
_PARAMS = _first(RecordType.PARAMS)
_STDIN = _first(RecordType.STDIN)
_BODY_LENGTH = 8
_SHORTEST = _opening.size + _middle.size


def wholeRequest(data: bytes) -> tuple[int, int, bool, bytes, bytes] | None:
    """
    Read one whole request: BEGIN_REQUEST, a PARAMS record and the empty one, at
    most one STDIN record and the empty one, and nothing after it.

    @param data: Some bytes.
    @return: The request id, the role, whether to leave the connection open,
        the content of PARAMS and that of STDIN; L{None} if the bytes are
        anything else, which may still be the records of a good request.
    """
    length = len(data)
    if length < _SHORTEST:
        return None
    begin, size, padding, role, flags, params, paramsSize, paramsPadding = (
        _opening.unpack_from(data)
    )
    requestId = begin - _BEGIN_REQUEST
    if not 0 < requestId <= 0xFFFF or params - requestId != _PARAMS:
        return None
    middle = _opening.size + paramsSize + paramsPadding
    if size != _BODY_LENGTH or padding or middle + _middle.size > length:
        return None
    end = _opening.size + paramsSize
    body = _readBody(data, requestId, middle)
    if body is None or not paramsSize:
        return None
    return requestId, role, bool(flags & KEEP_CONN), data[_opening.size : end], body


def _readBody(data: bytes, requestId: int, start: int) -> bytes | None:
    """
    Read the end of PARAMS, and the whole of STDIN.

    @param data: A request.
    @param requestId: Its id.
    @param start: Where the end of PARAMS should be; 16 bytes at least follow.
    @return: The body; L{None} if something else is there.
    """
    paramsEnd, sizes, stdin, size, padding = _middle.unpack_from(data, start)
    if paramsEnd - requestId != _PARAMS or sizes or stdin - requestId != _STDIN:
        return None
    bodyStart = start + _middle.size
    end = bodyStart + size + padding
    if not size:
        return b"" if end == len(data) else None
    if end + HEADER_LENGTH != len(data) or _ending.unpack_from(data, end) != (stdin, 0):
        return None
    return data[bodyStart : bodyStart + size]
