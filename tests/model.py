# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What the two machines have to make of records, told a second time and in
another way: record by record, in plain statements, with no tables and no
thought of speed.

What comes out of a machine, and of its model, is a list of tuples here, so
that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack
from typing import Any

from tests import wire
from twisted_fastcgi.connection import (
    ApplicationConnection,
    InputState,
    Limits,
    ManagementReceived,
    RequestAborted,
    RequestEnded,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
    TypeUnknown,
    ValuesReceived,
    WholeRequestReceived,
)
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.framing import RecordReader
from twisted_fastcgi.records import Role

Outcome = tuple[Any, ...]

#: The connection can't be read any further.
FAILED: Outcome = ("failed",)

#: The streams that follow the params, by role.
_STREAMS = {
    wire.RESPONDER: [wire.STDIN],
    wire.AUTHORIZER: [],
    wire.FILTER: [wire.STDIN, wire.DATA],
}


@dataclass
class Arrived:
    """
    A record as far as it has arrived.

    @ivar length: The size of its content as its header tells.
    @ivar content: What has come of that.
    """

    version: int
    type: int
    requestId: int
    length: int
    content: bytes


def arrived(sent: bytes) -> Iterator[Arrived]:
    """
    Take any bytes apart into records, the last of which may not be all there.
    Nothing follows one of another version.
    """
    start = 0
    while start + 8 <= len(sent):
        head = unpack("!BBHHBB", sent[start : start + 8])
        version, type_, requestId, length, padding, _ = head
        content = sent[start + 8 : start + 8 + length]
        yield Arrived(version, type_, requestId, length, content)
        if version != 1:
            return
        start += 8 + length + padding


def splitPairs(
    content: bytes, most: int = 1 << 31, longest: int = 1 << 31
) -> list[tuple[bytes, bytes]] | int:
    """
    Take name-value pairs apart.

    @param most: How many there may be.
    @param longest: How long a name may be, in bytes.
    @return: The pairs, or the status of the answer to a request that has them:
        400 or 431.
    """
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(content):
        if len(found) == most:
            return 431
        sizes = []
        for limit in (longest, 1 << 31):
            wide = 4 if content[at : at + 1] >= b"\x80" else 1
            written = content[at : at + wide]
            if len(written) < wide:
                return 400
            sizes.append(int.from_bytes(written, "big") & 0x7FFFFFFF)
            if sizes[-1] > limit:
                return 431
            at += wide
        if at + sum(sizes) > len(content):
            return 400
        middle = at + sizes[0]
        found.append((content[at:middle], content[middle : middle + sizes[1]]))
        at = middle + sizes[1]
    return found


class Model:
    """
    What a machine has to make of records.

    @ivar failed: Whether the connection can't be read any further.
    """

    failed = False

    def record(self, sent: Arrived) -> list[Outcome]:
        """
        Take a record.

        @return: What comes out, at most one thing.
        """
        outcome = None if self.failed else self._record(sent)
        self.failed = self.failed or outcome == FAILED
        return [FAILED] if self.failed else [outcome] if outcome else []

    def _record(self, sent: Arrived) -> Outcome | None:
        raise NotImplementedError


class ApplicationModel(Model):
    """
    What L{ApplicationConnection
    <twisted_fastcgi.connection.ApplicationConnection>} has to do.

    @ivar requestId: The id of the request in hand, 0 if there is none.
    @ivar streams: The streams that are still to come of it.
    @ivar keeps: Whether all requests so far wanted the connection to be kept.
    @ivar refusing: Whether new requests are refused.
    """

    def __init__(
        self, limits: Limits | None = None, roles: tuple[int, ...] = (Role.RESPONDER,)
    ) -> None:
        self.limits = Limits() if limits is None else limits
        self.roles = roles
        self.requestId = 0
        self.streams: list[int] = []
        self.keeps = True
        self.refusing = False
        self._role = 0
        self._params = b""
        self._stderr = False

    # What the application does

    @property
    def answerable(self) -> bool:
        """
        Whether there is a request whose variables are complete.
        """
        return self.requestId != 0 and wire.PARAMS not in self.streams

    @property
    def complete(self) -> bool:
        """
        Whether all of the request in hand has been received.
        """
        return self.requestId != 0 and not self.streams

    def sendStdout(self, data: bytes) -> None:
        """
        Send a piece of the response.
        """

    def sendStderr(self, data: bytes) -> None:
        """
        Send a piece of the error stream.
        """
        self._stderr = self._stderr or bool(data)

    def endRequest(self, appStatus: int = 0, *, complete: bool = True) -> None:
        """
        End the request in hand.
        """
        self.requestId = 0

    # What the web server does

    def _record(self, sent: Arrived) -> Outcome | None:
        if sent.version != 1:
            return FAILED
        if sent.requestId == 0:
            return self._management(sent)
        if sent.requestId == self.requestId:
            return self._inHand(sent)
        if sent.type == wire.BEGIN_REQUEST:
            return self._begin(sent)
        return None

    def _management(self, sent: Arrived) -> Outcome | None:
        if sent.type == wire.BEGIN_REQUEST:
            return FAILED
        if sent.type != wire.GET_VALUES:
            content = bytes([sent.type]) + bytes(7)
            return ("answer", [wire.Record(wire.UNKNOWN_TYPE, 0, content)])
        if len(sent.content) < sent.length:
            return None
        asked = splitPairs(sent.content)
        if isinstance(asked, int):
            return FAILED
        return ("answer", [wire.Record(wire.GET_VALUES_RESULT, 0, self._told(asked))])

    def _told(self, asked: list[tuple[bytes, bytes]]) -> bytes:
        most = b"%d" % self.limits.connections
        names = [name for name, _ in asked]
        known = (b"FCGI_MAX_CONNS", most), (b"FCGI_MAX_REQS", most)
        mpxs = (b"FCGI_MPXS_CONNS", b"0")
        return wire.pairs(pair for pair in (*known, mpxs) if pair[0] in names)

    def _begin(self, sent: Arrived) -> Outcome | None:
        if sent.length < 8:
            return FAILED
        if len(sent.content) < 8:
            return None
        role, flags = unpack("!HB", sent.content[:3])
        self.keeps = self.keeps and flags & 1 == 1
        if self.requestId:
            return ("rejected", sent.requestId, 503, wire.CANT_MPX_CONN)
        if self.refusing:
            return ("rejected", sent.requestId, 503, wire.OVERLOADED)
        if role not in self.roles:
            return ("rejected", sent.requestId, 501, wire.UNKNOWN_ROLE)
        self.requestId = sent.requestId
        self.streams = [wire.PARAMS, *_STREAMS[role]]
        self._role, self._params, self._stderr = role, b"", False
        return None

    def _inHand(self, sent: Arrived) -> Outcome | None:
        if sent.type == wire.BEGIN_REQUEST:
            return FAILED
        if sent.type == wire.ABORT_REQUEST:
            requestId, self.requestId = self.requestId, 0
            closed = [wire.Record(wire.STDERR, requestId, b"")] * self._stderr
            status = b"\0\0\0\1" + bytes(4)
            end = wire.Record(wire.END_REQUEST, requestId, status)
            return ("aborted", requestId, [*closed, end])
        if not self.streams or sent.type != self.streams[0]:
            early = self.streams[:1] == [wire.PARAMS] and sent.type == wire.STDIN
            return self._reject(400) if early else None
        if sent.type == wire.PARAMS:
            return self._takeParams(sent)
        if sent.length:
            return ("stream", sent.type, sent.content) if sent.content else None
        del self.streams[0]
        return ("ended", sent.type)

    def _takeParams(self, sent: Arrived) -> Outcome | None:
        if sent.length:
            if len(self._params) + sent.length > self.limits.paramsBytes:
                return self._reject(431)
            self._params += sent.content
            return None
        limits = self.limits
        found = splitPairs(self._params, limits.params, limits.nameLength)
        if isinstance(found, int):
            return self._reject(found)
        del self.streams[0]
        return ("request", self.requestId, self._role, found)

    def _reject(self, status: int) -> Outcome:
        requestId, self.requestId = self.requestId, 0
        return ("rejected", requestId, status, wire.REQUEST_COMPLETE)


class WebServerModel(Model):
    """
    What L{WebServerConnection<twisted_fastcgi.connection.WebServerConnection>}
    has to make of records.

    @ivar requestId: The id of the request in hand, 0 if there is none.
    """

    def __init__(self) -> None:
        self.requestId = 0
        self._closed: list[int] = []
        self._asked = 0

    def begin(self, requestId: int) -> None:
        """
        Begin a request.
        """
        self.requestId = requestId
        self._closed = []

    def ask(self) -> None:
        """
        Send GET_VALUES.
        """
        self._asked += 1

    def _record(self, sent: Arrived) -> Outcome | None:
        if sent.version != 1:
            return FAILED
        if sent.requestId == 0:
            return self._management(sent)
        if sent.requestId != self.requestId:
            return FAILED
        if sent.type == wire.END_REQUEST:
            return self._end(sent)
        if sent.type not in (wire.STDOUT, wire.STDERR):
            return FAILED
        if sent.type in self._closed:
            return FAILED if sent.length else None
        if sent.length:
            return ("stream", sent.type, sent.content) if sent.content else None
        self._closed.append(sent.type)
        return ("ended", sent.type)

    def _management(self, sent: Arrived) -> Outcome | None:
        unknown = sent.type == wire.UNKNOWN_TYPE and sent.length > 0
        if not self._asked or not (unknown or sent.type == wire.GET_VALUES_RESULT):
            return FAILED
        wanted = 1 if unknown else sent.length
        if len(sent.content) < wanted:
            return None
        self._asked -= 1
        if unknown:
            return ("unknown", sent.content[0])
        found = splitPairs(sent.content)
        return FAILED if isinstance(found, int) else ("values", dict(found))

    def _end(self, sent: Arrived) -> Outcome | None:
        if sent.length < 8:
            return FAILED
        if len(sent.content) < 8:
            return None
        requestId, self.requestId = self.requestId, 0
        return ("over", requestId, *unpack("!IB", sent.content[:5]))


# What the machines say


def outcome(event: Any) -> Outcome:
    """
    Say what a machine's event tells.
    """
    return _OUTCOMES[type(event)](event)


def received(machine: RecordReader[Any], piece: bytes) -> Iterator[Outcome]:
    """
    Give a piece of bytes to a machine, as servers do, and pull what it makes of
    it; a failure is the last of that.
    """
    try:
        if isinstance(machine, ApplicationConnection):
            request = machine.receiveRequest(piece)
            if request is not None:
                yield from _wholeRequest(machine, request)
                return
        machine.receiveData(piece)
        for event in iter(machine.nextEvent, None):
            yield outcome(event)
    except RemoteProtocolError as error:
        assert str(error).isprintable(), error
        yield FAILED


def _wholeRequest(
    machine: ApplicationConnection, request: WholeRequestReceived
) -> Iterator[Outcome]:
    """
    Say what a request that came as a whole tells; if it is answered early, no
    more than that.
    """
    params = list(request.params)
    assert request.variables == dict(params), request
    yield ("request", request.requestId, request.role, params)
    if machine.inputState is InputState.ENDED:
        if request.body:
            yield ("stream", wire.STDIN, request.body)
        yield ("ended", wire.STDIN)


def _rejected(event: RequestRejected) -> Outcome:
    answer = wire.response(event.data)
    assert answer.requestId == event.requestId, event
    assert answer.stdoutEnded and not answer.appStatus, event
    length = answer.header(b"Content-Length")
    # There is no body if it is a HEAD, as far as is known by then.
    assert not answer.body or length == b"%d" % len(answer.body), event
    return ("rejected", event.requestId, answer.status, answer.protocolStatus)


_OUTCOMES: dict[type, Any] = {
    RequestReceived: lambda e: ("request", e.requestId, e.role, e.params),
    StreamReceived: lambda e: ("stream", e.stream, e.data),
    StreamEnded: lambda e: ("ended", e.stream),
    RequestAborted: lambda e: ("aborted", e.requestId, wire.records(e.data)),
    RequestRejected: _rejected,
    ManagementReceived: lambda e: ("answer", wire.records(e.data)),
    RequestEnded: lambda e: ("over", e.requestId, e.appStatus, e.protocolStatus),
    ValuesReceived: lambda e: ("values", e.values),
    TypeUnknown: lambda e: ("unknown", e.type),
}


def joined(outcomes: list[Outcome]) -> list[Outcome]:
    """
    Put pieces of a stream that follow one another together.  Nothing follows
    a failure.
    """
    found: list[Outcome] = []
    for each in outcomes:
        if FAILED in found[-1:]:
            assert each == FAILED, f"{each} after a failure"
        elif each[0] == "stream" and found and found[-1][:2] == each[:2]:
            found[-1] = (*each[:2], found[-1][2] + each[2])
        else:
            found.append(each)
    return found
