# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What the records of a capture mean, each in the light of those before it.

Nothing here ever fails: what is wrong with a record is a remark on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import partial
from typing import ClassVar

from twisted_fastcgi.cgi import checkVariables
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.pairs import decodePairs
from twisted_fastcgi.records import (
    KEEP_CONN,
    NULL_REQUEST_ID,
    ProtocolStatus,
    RecordType,
    Role,
    decodeBeginRequest,
    decodeEndRequest,
    decodeUnknownType,
)

_STREAMS: Mapping[int, str] = {
    RecordType.PARAMS: "variables",
    RecordType.STDIN: "request body",
    RecordType.STDOUT: "response",
    RecordType.STDERR: "error output",
    RecordType.DATA: "file to be filtered",
}

#: The types of records that belong to no request (section 4).
MANAGEMENT = (
    RecordType.GET_VALUES,
    RecordType.GET_VALUES_RESULT,
    RecordType.UNKNOWN_TYPE,
)

_STATUSES: Mapping[int, str] = {
    ProtocolStatus.CANT_MPX_CONN: "refused: one request at a time on a connection",
    ProtocolStatus.OVERLOADED: "refused: too much to do",
    ProtocolStatus.UNKNOWN_ROLE: "refused: not in this role",
}

#: Which streams are a whole request, by role (FastCGI 1.0, section 6).
INPUT: Mapping[int, Set[int]] = {
    Role.RESPONDER: {RecordType.PARAMS, RecordType.STDIN},
    Role.AUTHORIZER: {RecordType.PARAMS},
    Role.FILTER: {RecordType.PARAMS, RecordType.STDIN, RecordType.DATA},
}


class Direction(Enum):
    """
    Which way a record goes.
    """

    TO_APPLICATION = "to application"
    TO_WEB_SERVER = "to web server"
    UNKNOWN = "unknown"


#: Which way the records of each type go (FastCGI 1.0, appendix A).
DIRECTIONS: Mapping[int, Direction] = {
    RecordType.BEGIN_REQUEST: Direction.TO_APPLICATION,
    RecordType.ABORT_REQUEST: Direction.TO_APPLICATION,
    RecordType.END_REQUEST: Direction.TO_WEB_SERVER,
    RecordType.PARAMS: Direction.TO_APPLICATION,
    RecordType.STDIN: Direction.TO_APPLICATION,
    RecordType.STDOUT: Direction.TO_WEB_SERVER,
    RecordType.STDERR: Direction.TO_WEB_SERVER,
    RecordType.DATA: Direction.TO_APPLICATION,
    RecordType.GET_VALUES: Direction.TO_APPLICATION,
    RecordType.GET_VALUES_RESULT: Direction.TO_WEB_SERVER,
    RecordType.UNKNOWN_TYPE: Direction.TO_WEB_SERVER,
}


@dataclass
class Item:
    """
    Something that stands in a capture.

    @ivar offset: Where it starts, in bytes.
    @ivar content: The bytes that are there: of a record its content.
    @ivar errors: What is wrong with it.
    @ivar notes: What else there is to know.
    """

    offset: int
    content: bytes
    errors: list[str] = field(default_factory=list, kw_only=True)
    notes: list[str] = field(default_factory=list, kw_only=True)


@dataclass
class Stray(Item):
    """
    Bytes that are no record, or a remark on a place between two records.
    """


@dataclass
class Record(Item):
    """
    A record, or the beginning of one where the capture was cut off.

    @ivar type: Its type, 0 to 255.
    @ivar requestId: Its request id.
    @ivar contentLength: How many bytes of content the header announces.
    @ivar paddingLength: How many bytes of padding it announces.
    @ivar meaning: What the record says, without its pairs and content.
    @ivar facts: The same for a program: the fields of the record by name.
    @ivar pairs: The name-value pairs that end in this record, if it is of a
        type that has such.
    @ivar missing: How many of its bytes are not there, padding included.
    @ivar isRestart: Whether most likely another connection starts here.
    """

    type: int
    requestId: int
    contentLength: int
    paddingLength: int
    meaning: str = ""
    facts: dict[str, int | str | bool] = field(default_factory=dict)
    pairs: list[tuple[bytes, bytes]] | None = None
    missing: int = 0
    isRestart: bool = False

    @property
    def name(self) -> str:
        """
        The name of the type, or C{type} and its number if it has none.
        """
        known = self.type in DIRECTIONS
        return RecordType(self.type).name if known else f"type {self.type}"

    @property
    def direction(self) -> Direction:
        """
        Which way it went, as far as its type tells.
        """
        return DIRECTIONS.get(self.type, Direction.UNKNOWN)


@dataclass
class SeenRequest:
    """
    What is known of a request whose end has not been seen.

    @ivar role: Its role.
    @ivar keepConnection: Whether the connection stays open after it.
    @ivar unread: The bytes of the variables that are not whole pairs yet.
    @ivar counts: How many variables there were, or bytes of another stream.
    @ivar ended: The streams that have ended.
    @ivar contentLength: The variable I{CONTENT_LENGTH}.
    """

    role: int = Role.RESPONDER
    keepConnection: bool = True
    unread: bytearray = field(default_factory=bytearray)
    counts: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    contentLength: bytes = b""

    @property
    def isComplete(self) -> bool:
        """
        Whether all that the web server has to send was seen.
        """
        return self.ended >= INPUT.get(self.role, set())

    @property
    def isBeforeEndOfParams(self) -> bool:
        """
        Whether the variables are known to be incomplete.
        """
        return self.role in INPUT and RecordType.PARAMS not in self.ended


class Ledger(dict[int, SeenRequest]):
    """
    The requests of one connection that have not ended, by their ids.  Two
    L{Dissector<twisted_fastcgi.dissect.Dissector>}s, one for each direction, share one.
    """


class Explainer:
    """
    Knows what records mean, each in the light of those before it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def explain(self, record: Record) -> Record:
        """
        Fill in what a record means.

        @param record: A record with its content, which may be cut off.
        @return: The record.
        """
        if record.missing:
            record.notes.append(f"cut off: {record.missing} bytes are missing")
        if record.type not in DIRECTIONS:
            record.meaning = "a type that FastCGI 1.0 does not have"
            return record
        isManagement = record.type in MANAGEMENT
        if isManagement and record.requestId != NULL_REQUEST_ID:
            record.errors.append("a management record has request id 0")
        elif not isManagement and record.requestId == NULL_REQUEST_ID:
            record.errors.append("request id 0 is for management records")
        try:
            self._EXPLANATIONS[record.type](self, record)
        except RemoteProtocolError as error:
            # Half of a number says nothing, and is no fault of the sender.
            if not record.missing:
                record.errors.append(str(error))
        return record

    def _explainBegin(self, record: Record) -> None:
        """
        Explain BEGIN_REQUEST (section 5.1).
        """
        role, keepConnection = decodeBeginRequest(record.content)
        flags = record.content[2]
        name = nameOf(Role, role)
        record.facts = {
            "role": name,
            "flags": flags,
            "keepConnection": keepConnection,
        }
        if keepConnection:
            record.meaning = f"{name}, KEEP_CONN: keep the connection open"
        else:
            record.meaning = f"{name}, no KEEP_CONN: close when answered"
        if flags & ~KEEP_CONN:
            record.notes.append(f"flags {flags}: only 1, KEEP_CONN, has a meaning")
        self._begin(record, SeenRequest(role, keepConnection))

    def _begin(self, record: Record, request: SeenRequest) -> None:
        """
        Note that a request has begun.
        """
        before = self._ledger.get(record.requestId)
        self._ledger[record.requestId] = request
        if before is None or (before.isComplete and before.keepConnection):
            return
        why = "was to be the last on its connection"
        if not before.isComplete:
            why = "is not complete"
        record.isRestart = True
        record.notes.append(
            f"the request {record.requestId} before this one {why}: most likely "
            "another capture starts here"
        )

    def _explainAbort(self, record: Record) -> None:
        """
        Explain ABORT_REQUEST (section 5.4).
        """
        record.meaning = "the answer is no longer wanted"
        if record.requestId in self._ledger:
            self._ledger[record.requestId].ended.update(_STREAMS)

    def _explainEnd(self, record: Record) -> None:
        """
        Explain END_REQUEST (section 5.5).
        """
        appStatus, protocolStatus = decodeEndRequest(record.content)
        name = nameOf(ProtocolStatus, protocolStatus)
        record.facts = {"appStatus": appStatus, "protocolStatus": name}
        record.meaning = f"appStatus {appStatus}, {name}"
        if protocolStatus != ProtocolStatus.REQUEST_COMPLETE:
            record.meaning += f": {_STATUSES.get(protocolStatus, 'not a known status')}"
        self._ledger.pop(record.requestId, None)

    def _explainStream(self, record: Record) -> None:
        """
        Explain a piece of a stream, or its end (sections 3.3, 5.2 and 5.3).
        """
        request = self._requestOf(record)
        self._checkOrder(record, request)
        isEnd = not record.contentLength
        if record.type == RecordType.PARAMS:
            count = self._explainParams(record, request)
        else:
            count = len(record.content)
        request.counts[record.type] = request.counts.get(record.type, 0) + count
        what = _STREAMS[record.type]
        if isEnd:
            unit = "" if record.type == RecordType.PARAMS else " bytes"
            record.meaning = f"end of the {what}, {request.counts[record.type]}{unit}"
            request.ended.add(record.type)
            self._checkLength(record, request)
        elif not record.meaning:
            record.meaning = what

    def _requestOf(self, record: Record) -> SeenRequest:
        """
        Find the request of a record; make up what is not known.
        """
        request = self._ledger.get(record.requestId)
        if request is None:
            # No role that there is: it has no streams that could be missing.
            request = self._ledger[record.requestId] = SeenRequest(role=0)
            if record.direction is Direction.TO_APPLICATION:
                record.notes.append(
                    f"no BEGIN_REQUEST for request {record.requestId} was seen"
                )
        return request

    def _checkOrder(self, record: Record, request: SeenRequest) -> None:
        """
        See that a stream is where it may be (sections 3.3 and 6).
        """
        type_ = record.type
        what = _STREAMS[type_]
        streams = INPUT.get(request.role, _STREAMS.keys())
        if type_ in request.ended and record.contentLength:
            record.errors.append(f"more of the {what} after its end")
        elif type_ in request.ended:
            record.notes.append("a second end, which receivers ignore")
        elif (
            record.contentLength
            and record.direction is Direction.TO_APPLICATION
            and type_ not in streams
        ):
            record.notes.append(f"a request in this role has no {what}")
        elif type_ != RecordType.PARAMS and request.isBeforeEndOfParams:
            record.errors.append("before the end of the variables")

    def _checkLength(self, record: Record, request: SeenRequest) -> None:
        """
        See that a request body is as long as it was to be (section 6.2).
        """
        told = request.contentLength
        if record.type == RecordType.STDIN and told.isdigit():
            if int(told[:18]) != request.counts[RecordType.STDIN]:
                record.notes.append(
                    f"CONTENT_LENGTH is {told[:18].decode('ascii')}: "
                    "the client has failed, or the web server"
                )

    def _explainParams(self, record: Record, request: SeenRequest) -> int:
        """
        Take the pairs out of a piece of PARAMS.

        @return: How many end here.
        """
        request.unread += record.content
        size = _sizeOfWholePairs(request.unread)
        record.pairs = decodePairs(bytes(request.unread[:size]))
        del request.unread[:size]
        count = len(record.pairs)
        record.meaning = f"{count} variable{'s' * (count != 1)}"
        if record.contentLength and request.unread:
            record.meaning += ", and one that goes on in the next record"
        elif request.unread:
            left = bytes(request.unread)
            request.unread.clear()
            _try(record, partial(decodePairs, left))
        for name, value in record.pairs:
            _try(record, partial(checkVariables, [(name, value)]))
            if name == b"CONTENT_LENGTH":
                request.contentLength = value
        return count

    def _explainValues(self, record: Record) -> None:
        """
        Explain GET_VALUES and its answer (section 4.1).
        """
        record.pairs = decodePairs(record.content)
        if record.type == RecordType.GET_VALUES_RESULT:
            count = len(record.pairs)
            record.meaning = f"answers with {count} value{'s' * (count != 1)}"
        else:
            names = ", ".join(shown(name) for name, _ in record.pairs)
            record.meaning = f"asks for {names or 'nothing'}"

    def _explainUnknown(self, record: Record) -> None:
        """
        Explain UNKNOWN_TYPE (section 4.2).
        """
        type_ = decodeUnknownType(record.content)
        record.facts = {"unknownType": type_}
        record.meaning = f"does not understand records of type {type_}"

    _EXPLANATIONS: ClassVar[dict[int, Callable[[Explainer, Record], None]]] = {
        RecordType.BEGIN_REQUEST: _explainBegin,
        RecordType.ABORT_REQUEST: _explainAbort,
        RecordType.END_REQUEST: _explainEnd,
        RecordType.GET_VALUES: _explainValues,
        RecordType.GET_VALUES_RESULT: _explainValues,
        RecordType.UNKNOWN_TYPE: _explainUnknown,
        **dict.fromkeys(_STREAMS, _explainStream),
    }


def _sizeOfWholePairs(data: bytearray) -> int:
    """
    Tell how many bytes from the start on are whole name-value pairs (section
    3.4).
    """
    end = 0
    while True:
        start, size = end, 0
        for _ in range(2):
            length, start = _lengthAt(data, start)
            size += length
        if start + size > len(data):
            return end
        end = start + size


def _lengthAt(data: bytearray, start: int) -> tuple[int, int]:
    """
    Read the length of a name or value.

    @return: The length and where it ends, which is past the end of the data if
        it is not all there.
    """
    if data[start : start + 1] < b"\x80":
        return int.from_bytes(data[start : start + 1], "big"), start + 1
    length = int.from_bytes(data[start : start + 4], "big") & 0x7FFFFFFF
    return length, start + 4


def _try(record: Record, check: Callable[[], object]) -> None:
    """
    Make a remark on a record if a check fails.
    """
    try:
        check()
    except RemoteProtocolError as error:
        record.errors.append(str(error))


def nameOf(names: type[IntEnum], number: int) -> str:
    """
    Tell the name of a number.

    @param names: The names that there are.
    @param number: Any number.
    @return: The name, or the number itself if it has none.
    """
    return names(number).name if number in set(names) else str(number)


def shown(data: bytes) -> str:
    """
    Write bytes for the eyes, on one line.

    @param data: Text, most likely.
    @return: The text, with backslashes for whatever is no printable UTF-8.
    """
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
