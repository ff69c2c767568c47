# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Responses as tests look at them: with their records.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, NamedTuple

from twisted.web.http_headers import Headers

from twisted_fastcgi.records import HEADER_LENGTH, RecordType, decodeHeader


class Record(NamedTuple):
    """
    A record (FastCGI 1.0, section 3.3).

    @ivar type: Its type: a L{RecordType<twisted_fastcgi.records.RecordType>},
        or a number if it is none of these.
    @ivar requestId: Its request id.
    @ivar content: Its content.
    @ivar paddingLength: The size of its padding, in bytes.
    """

    type: int
    requestId: int
    content: bytes
    paddingLength: int


def readRecords(data: bytes) -> list[Record]:
    """
    Take bytes apart into records (FastCGI 1.0, section 3.3).

    @param data: The bytes, from the beginning of a record on.
    @return: The records.  One that is not whole at the end is left out.
    @raise RemoteProtocolError: If this is not FastCGI.
    """
    records: list[Record] = []
    offset = 0
    while offset + HEADER_LENGTH <= len(data):
        type_, requestId, length, padding = decodeHeader(data, offset)
        start = offset + HEADER_LENGTH
        offset = start + length + padding
        if offset <= len(data):
            if type_ in _TYPES:
                type_ = RecordType(type_)
            content = data[start : start + length]
            records.append(Record(type_, requestId, content, padding))
    return records


_TYPES = frozenset(RecordType)


@dataclass(frozen=True)
class Response:
    """
    A response, or what has come of one.

    @ivar code: The status code.
    @ivar phrase: The reason phrase.
    @ivar headers: The header fields.
    @ivar body: The body.
    @ivar stderr: What was written to STDERR (FastCGI 1.0, section 5.3).
    @ivar appStatus: The application status (FastCGI 1.0, section 5.5);
        L{None} if there was no END_REQUEST.
    @ivar protocolStatus: The protocol status, likewise.
    @ivar complete: Whether the response is whole: STDOUT has ended, the body
        is as long as I{Content-Length} says, and END_REQUEST has come.
    @ivar raw: The bytes that came, with all records.
    """

    code: int
    phrase: bytes
    headers: Headers
    body: bytes
    stderr: bytes
    appStatus: int | None
    protocolStatus: int | None
    complete: bool
    raw: bytes = field(repr=False)

    @property
    def records(self) -> list[Record]:
        """
        The records of the response.
        """
        return readRecords(self.raw)

    def text(self, encoding: str | None = None) -> str:
        """
        Decode the body.

        @param encoding: How it is encoded; by default what I{Content-Type}
            says, or UTF-8.
        @return: The text.
        @raise UnicodeDecodeError: If that is not so.
        """
        message = Message()
        for value in self.headers.getRawHeaders(b"Content-Type", ()):
            message["Content-Type"] = value.decode("latin1")
        return self.body.decode(encoding or message.get_content_charset() or "utf-8")

    def json(self) -> Any:
        """
        Read the body as JSON.

        @return: What it says.
        @raise ValueError: If it is no JSON.
        """
        return json.loads(self.body)
