# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
FastCGI bytes for tests: builders of what a web server sends, readers of what
an application answers, and what real web servers have sent.

It is all written a second time, apart from the code under test, so that the
same mistake in both directions can't cancel itself out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from struct import pack, unpack
from typing import Any, NamedTuple

from twisted_fastcgi.connection import StreamReceived
from twisted_fastcgi.framing import RecordReader

(
    BEGIN_REQUEST,
    ABORT_REQUEST,
    END_REQUEST,
    PARAMS,
    STDIN,
    STDOUT,
    STDERR,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    UNKNOWN_TYPE,
) = range(1, 12)
RESPONDER, AUTHORIZER, FILTER = 1, 2, 3
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)

_HERE = Path(__file__).parent

Items = Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]

# Building


def record(
    type_: int,
    requestId: int,
    content: bytes = b"",
    *,
    padding: int | None = None,
    version: int = 1,
    reserved: int = 0,
) -> bytes:
    """
    Build one record.

    @param padding: How many bytes of it; to a multiple of 8 if L{None}.
    """
    length = len(content)
    fill = -length % 8 if padding is None else padding
    header = pack("!BBHHBB", version, type_, requestId, length, fill, reserved)
    return header + content + b"\xaa" * fill


def beginRequest(
    requestId: int = 1,
    role: int = RESPONDER,
    *,
    keep: bool = True,
    flags: int | None = None,
) -> bytes:
    """
    Build a BEGIN_REQUEST record.

    @param keep: Whether the connection is to stay open.
    @param flags: All flags, in place of C{keep}.
    """
    content = pack("!HB5s", role, int(keep) if flags is None else flags, b"")
    return record(BEGIN_REQUEST, requestId, content)


def abortRequest(requestId: int = 1) -> bytes:
    """
    Build an ABORT_REQUEST record.
    """
    return record(ABORT_REQUEST, requestId)


def stream(
    type_: int,
    requestId: int,
    content: bytes,
    *,
    end: bool = True,
    sizes: Iterable[int] = (),
) -> bytes:
    """
    Build the records of a stream.

    @param end: Whether the stream ends here.
    @param sizes: How much goes into each record; records are full after that.
    """
    built, start, left = [], 0, iter(sizes)
    while start < len(content):
        size = next(left, 0xFFFF)
        built.append(record(type_, requestId, content[start : start + size]))
        start += size
    return b"".join(built) + (record(type_, requestId) if end else b"")


def length(value: int) -> bytes:
    """
    Write the length of a name or value.
    """
    return bytes([value]) if value < 128 else pack("!I", value | 1 << 31)


def pairs(items: Items) -> bytes:
    """
    Write name-value pairs.
    """
    if isinstance(items, Mapping):
        items = items.items()
    return b"".join(
        length(len(name)) + length(len(value)) + name + value for name, value in items
    )


def params(
    variables: Items,
    requestId: int = 1,
    *,
    end: bool = True,
    sizes: Iterable[int] = (),
) -> bytes:
    """
    Build the records of a PARAMS stream, see L{stream}.
    """
    return stream(PARAMS, requestId, pairs(variables), end=end, sizes=sizes)


def stdin(
    body: bytes = b"",
    requestId: int = 1,
    *,
    end: bool = True,
    sizes: Iterable[int] = (),
) -> bytes:
    """
    Build the records of a STDIN stream, see L{stream}.
    """
    return stream(STDIN, requestId, body, end=end, sizes=sizes)


def data(
    content: bytes = b"",
    requestId: int = 1,
    *,
    end: bool = True,
    sizes: Iterable[int] = (),
) -> bytes:
    """
    Build the records of a DATA stream, see L{stream}.
    """
    return stream(DATA, requestId, content, end=end, sizes=sizes)


def getValues(*names: bytes) -> bytes:
    """
    Build a GET_VALUES record.
    """
    return record(GET_VALUES, 0, pairs((name, b"") for name in names))


def variables(path: bytes = b"/", **changes: bytes | None) -> dict[bytes, bytes]:
    """
    Make the variables that nginx with its own C{fastcgi_params} sends for a
    C{GET}.

    @param path: The path of the URL.
    @param changes: Variables to add or replace, or to leave out if L{None}.
    """
    values: dict[str, bytes | None] = {
        "QUERY_STRING": b"",
        "REQUEST_METHOD": b"GET",
        "CONTENT_TYPE": b"",
        "CONTENT_LENGTH": b"",
        "SCRIPT_NAME": path,
        "REQUEST_URI": path,
        "DOCUMENT_URI": path,
        "DOCUMENT_ROOT": b"/usr/share/nginx/html",
        "SERVER_PROTOCOL": b"HTTP/1.1",
        "REQUEST_SCHEME": b"http",
        "GATEWAY_INTERFACE": b"CGI/1.1",
        "SERVER_SOFTWARE": b"nginx/1.22.1",
        "REMOTE_ADDR": b"192.0.2.7",
        "REMOTE_PORT": b"45740",
        "SERVER_ADDR": b"192.0.2.1",
        "SERVER_PORT": b"80",
        "SERVER_NAME": b"www.example.com",
        "REDIRECT_STATUS": b"200",
        "HTTP_HOST": b"www.example.com",
        **changes,
    }
    return {
        name.encode("ascii"): value
        for name, value in values.items()
        if value is not None
    }


def postVariables(
    body: bytes, path: bytes = b"/", **changes: bytes | None
) -> dict[bytes, bytes]:
    """
    Make the variables of a C{POST} with that body, see L{variables}.
    """
    return variables(
        path,
        **{
            "REQUEST_METHOD": b"POST",
            "CONTENT_TYPE": b"application/octet-stream",
            "CONTENT_LENGTH": b"%d" % len(body),
            **changes,
        },
    )


def request(
    variables: Items,
    body: bytes = b"",
    requestId: int = 1,
    keep: bool = True,
    role: int = RESPONDER,
) -> bytes:
    """
    Build all records of a request, with the streams that its role has.  A
    Filter gets a copy of the body as its file.
    """
    built = beginRequest(requestId, role, keep=keep) + params(variables, requestId)
    if role != AUTHORIZER:
        built += stdin(body, requestId)
    if role == FILTER:
        built += data(body, requestId)
    return built


# Reading


class Record(NamedTuple):
    """
    One record without its padding.
    """

    type: int
    requestId: int
    content: bytes


def _split(sent: bytes) -> Iterator[tuple[Record, int]]:
    """
    Take bytes apart into records and the lengths of their paddings.
    """
    offset = 0
    while offset < len(sent):
        where = f"the record at byte {offset} of {len(sent)}"
        assert offset + 8 <= len(sent), f"{where} ends within its header"
        version, type_, requestId, size, padding, reserved = unpack(
            "!BBHHBB", sent[offset : offset + 8]
        )
        assert version == 1, f"{where} has version {version}"
        assert reserved == 0, f"{where} has {reserved} in the reserved byte"
        end = offset + 8 + size
        assert end + padding <= len(sent), f"{where} is not all there"
        yield Record(type_, requestId, sent[offset + 8 : end]), padding
        offset = end + padding


def records(sent: bytes | Iterable[bytes]) -> list[Record]:
    """
    Take bytes apart into records.

    @param sent: Whole records, as bytes or as pieces of them.
    @raise AssertionError: If the framing is not what it should be.
    """
    return [found for found, _ in _split(_joined(sent))]


def paddings(sent: bytes | Iterable[bytes]) -> list[int]:
    """
    Tell the length of each record's padding.
    """
    return [padding for _, padding in _split(_joined(sent))]


def _joined(sent: bytes | Iterable[bytes]) -> bytes:
    """
    Put pieces together.
    """
    return sent if isinstance(sent, bytes) else b"".join(sent)


def readPairs(content: bytes) -> list[tuple[bytes, bytes]]:
    """
    Take name-value pairs apart.
    """
    found = []
    while content:
        lengths = []
        for _ in range(2):
            size = 4 if content[0] & 0x80 else 1
            lengths.append(int.from_bytes(content[:size], "big") & 0x7FFFFFFF)
            content = content[size:]
        name, value = content[: lengths[0]], content[lengths[0] : sum(lengths)]
        assert len(name) + len(value) == sum(lengths), f"{name!r} is cut off"
        content = content[sum(lengths) :]
        found.append((name, value))
    return found


@dataclass
class Response:
    """
    What an application answered to one request.

    @ivar stdout: The content of STDOUT: a CGI response.
    @ivar stderr: The content of STDERR.
    @ivar stdoutEnded: Whether there was an empty STDOUT record.
    @ivar stderrEnded: Whether there was an empty STDERR record.
    @ivar appStatus: The application status, L{None} before END_REQUEST.
    @ivar protocolStatus: The protocol status, L{None} before END_REQUEST.
    @ivar records: All of its records.
    """

    requestId: int
    stdout: bytes = b""
    stderr: bytes = b""
    stdoutEnded: bool = False
    stderrEnded: bool = False
    appStatus: int | None = None
    protocolStatus: int | None = None
    records: list[Record] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """
        Whether END_REQUEST has come.
        """
        return self.protocolStatus is not None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """
        The header fields of the CGI response, in their order.
        """
        head, blank, _ = self.stdout.partition(b"\r\n\r\n")
        assert blank, f"the header block has no end: {self.stdout[:200]!r}"
        fields = [line.partition(b":") for line in head.split(b"\r\n")]
        return [(name, value.strip()) for name, _, value in fields]

    @property
    def body(self) -> bytes:
        """
        The body of the CGI response.
        """
        return self.stdout.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        """
        The HTTP status code.
        """
        value = self.header(b"Status")
        assert value is not None, "there is no Status"
        return int(value.split()[0])

    def header(self, name: bytes) -> bytes | None:
        """
        Find the one header field of that name, if there is one.
        """
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name!r} is there {len(found)} times"
        return found[0] if found else None

    def take(self, found: Record) -> None:
        """
        Note one more record.

        @raise AssertionError: If it must not stand there.
        """
        self.records.append(found)
        type_, _, content = found
        if type_ == STDOUT:
            assert not self.stdoutEnded, f"STDOUT after its end: {self.records}"
            self.stdout += content
            self.stdoutEnded = not content
        elif type_ == STDERR:
            assert not self.stderrEnded, f"STDERR after its end: {self.records}"
            self.stderr += content
            self.stderrEnded = not content
        else:
            assert type_ == END_REQUEST, f"no application sends type {type_}"
            assert len(content) == 8, f"END_REQUEST has content {content!r}"
            self.appStatus, self.protocolStatus = unpack("!IB3x", content)


def responses(
    sent: bytes | Iterable[bytes], *, unfinished: bool = False
) -> list[Response]:
    """
    Read the answers of an application, in the order in which they begin.
    Management records are left out.

    @param unfinished: Whether END_REQUEST may be missing.
    @raise AssertionError: If anything is not what it should be: a record in
        the wrong place, another after END_REQUEST, a missing END_REQUEST.
    """
    answers: list[Response] = []
    active: dict[int, Response] = {}
    for found in records(sent):
        if found.requestId == 0:
            continue
        if found.requestId not in active:
            assert found.type != END_REQUEST or found.content[3] == 1, (
                f"END_REQUEST alone, which only an abort may have: {found}"
            )
            active[found.requestId] = Response(found.requestId)
            answers.append(active[found.requestId])
        active[found.requestId].take(found)
        if found.type == END_REQUEST:
            del active[found.requestId]
    assert unfinished or not active, f"END_REQUEST is missing: {active}"
    return answers


def response(sent: bytes | Iterable[bytes], *, unfinished: bool = False) -> Response:
    """
    Read the one answer of an application, see L{responses}.
    """
    answers = responses(sent, unfinished=unfinished)
    assert len(answers) == 1, f"{len(answers)} answers: {answers}"
    return answers[0]


def management(sent: bytes | Iterable[bytes]) -> list[Record]:
    """
    Read the management records of an application.
    """
    return [found for found in records(sent) if found.requestId == 0]


# Cutting


def byteByByte(sent: bytes) -> list[bytes]:
    """
    Cut bytes into pieces of one.
    """
    return [sent[start : start + 1] for start in range(len(sent))]


def randomCuts(sent: bytes, seed: int) -> list[bytes]:
    """
    Cut bytes into some ten pieces of any size, empty ones among them.
    """
    draw = random.Random(seed)
    places = sorted(draw.randint(0, len(sent)) for _ in range(10))
    return [
        sent[start:end]
        for start, end in zip([0, *places], [*places, len(sent)], strict=True)
    ]


def headersByteByByte(sent: bytes) -> list[bytes]:
    """
    Cut records so that their headers come in pieces of one byte, and all else
    whole.
    """
    pieces = []
    for found, padding in _split(sent):
        end = 8 + len(found.content) + padding
        pieces += [*byteByByte(sent[:8]), sent[8:end]]
        sent = sent[end:]
    return pieces


def cuts(sent: bytes, *, randomly: int = 3) -> Iterator[tuple[str, list[bytes]]]:
    """
    Cut bytes in several ways: whole, byte by byte (of more than 32 KiB, which
    have to be records, only the headers), randomly.

    @param randomly: How often randomly.
    @return: What was done, and the pieces.
    """
    yield "whole", [sent]
    if len(sent) <= 32 * 1024:
        yield "byte by byte", byteByByte(sent)
    else:
        yield "headers byte by byte", headersByteByByte(sent)
    for seed in range(randomly):
        yield f"randomCuts(..., {seed})", randomCuts(sent, seed)


# Pulling


def pull(machine: RecordReader[Any]) -> list[Any]:
    """
    Pull all events that a machine has.
    """
    return list(iter(machine.nextEvent, None))


def feed(machine: RecordReader[Any], sent: bytes | Iterable[bytes]) -> list[Any]:
    """
    Give bytes to a machine, in one or more pieces, and pull all events.

    @return: The events, with adjacent pieces of a stream put together.
    """
    events = []
    for piece in [sent] if isinstance(sent, bytes) else sent:
        machine.receiveData(piece)
        events += pull(machine)
    return merged(events)


def merged(events: Iterable[Any]) -> list[Any]:
    """
    Put adjacent pieces of a stream together.
    """
    found: list[Any] = []
    for streamType, group in groupby(events, _streamType):
        if streamType is None:
            found += group
        else:
            whole = b"".join(event.data for event in group)
            found.append(StreamReceived(streamType, whole))
    return found


def _streamType(event: Any) -> int | None:
    """
    Tell which stream an event has a piece of.
    """
    return event.stream if isinstance(event, StreamReceived) else None


# Test vectors


@cache
def codec() -> dict[str, Any]:
    """
    Read the vectors: values and the bytes that stand for them.
    """
    vectors: dict[str, Any] = json.loads((_HERE / "codec.json").read_bytes())
    return vectors


def segments(described: Iterable[Mapping[str, Any]]) -> bytes:
    """
    Make the bytes that a vector describes.
    """
    return b"".join(
        bytes.fromhex(each["hex"])
        if "hex" in each
        else bytes.fromhex(each["fill"]) * each["count"]
        for each in described
    )


# What web servers have sent

_CAPTURES = _HERE / "captures"

# The length of the body that the large requests are to have; some stop early.
_UPLOAD = 204800

# Large requests, as they were seen: which small one they are like, the request
# id, and the sizes of the STDIN records.
_LARGE = {
    "apache-post200k": [("apache-postsmall", 1, "8192*25 0")],
    "apache-abort-upload": [("apache-postsmall", 1, "8192*12 1696")],
    "caddy-post200k": [("caddy-postsmall", 1, "65500*3 8300 0")],
    "caddy-abort-upload": [("caddy-postsmall", 1, "65500")],
    "haproxy-abort-upload-ABORTrecord": [
        ("haproxy-postsmall", 1, "15192 16320*5 3208 ABORT")
    ],
    "haproxy-multiplexed-ids1-3-5-7": [
        ("haproxy-get", 1, "0"),
        ("haproxy-get", 3, "0"),
        ("haproxy-get", 5, "0"),
        ("haproxy-postsmall", 7, "15194 4806"),
    ],
    "haproxy-seq": [
        ("haproxy-get", 1, "0"),
        ("haproxy-postsmall", 3, "7 0"),
        ("haproxy-get", 5, "0"),
        ("haproxy-postsmall", 7, "15121 16320*6 14959 16320*4 11520 0"),
    ],
    "lighttpd-post200k": [("lighttpd-postsmall", 1, "65535*3 8195 0")],
    "lighttpd-stream-post200k": [
        ("lighttpd-postsmall", 1, "65535 62253 16384*4 11476 0")
    ],
    "nginx-keep-seq": [
        ("nginx-keep-get+head", 1, "0"),
        ("nginx-keep-get+head", 1, "7 0"),
        ("nginx-keep-get+head", 1, "0"),
        ("nginx-keep-get+head", 1, "32768*6 8192 0"),
    ],
    "nginx-post200k": [("nginx-postsmall", 1, "32768*6 8192 0")],
    "nginx-stream-post200k": [("nginx-postsmall", 1, "825 8192*23 6117 2075 7367 0")],
}


@cache
def _capture(name: str) -> bytes:
    """
    Read one file.
    """
    return (_CAPTURES / f"{name}.bin").read_bytes()


def captures() -> dict[str, bytes]:
    """
    Give what real web servers have sent on one connection, by the name of the
    server and what it was asked to do.  Those over 16 KiB are made here, in
    the shape in which they were seen.
    """
    found = {path.stem: _capture(path.stem) for path in _CAPTURES.glob("*.bin")}
    for name, requests in _LARGE.items():
        found[name] = b"".join(_large(*each) for each in requests)
    return dict(sorted(found.items()))


def _large(source: str, requestId: int, sizes: str) -> bytes:
    """
    Make a request that has another body than the one that was captured.
    """
    shape = [size.partition("*") for size in sizes.split() if size != "ABORT"]
    pieces = [int(size) for size, _, times in shape for _ in range(int(times or 1))]
    begin, found = records(_capture(source))[:2]
    content = found.content
    if any(pieces):
        content = _post(content, _UPLOAD if pieces[-1] else sum(pieces))
    body = BytesIO(b"".join(b"%07d " % number for number in range(_UPLOAD // 8)))
    built = [
        (BEGIN_REQUEST, begin.content),
        (PARAMS, content),
        (PARAMS, b""),
        *((STDIN, body.read(size)) for size in pieces),
        *([(ABORT_REQUEST, b"")] if sizes.endswith("ABORT") else []),
    ]
    padding = None if source.startswith(("nginx", "caddy")) else 0
    return b"".join(
        record(type_, requestId, piece, padding=padding) for type_, piece in built
    )


def _post(content: bytes, size: int) -> bytes:
    """
    Make the variables of a request with a body from those of another.
    """
    changes = {
        b"REQUEST_METHOD": b"POST",
        b"CONTENT_LENGTH": b"%d" % size,
        b"HTTP_CONTENT_LENGTH": b"%d" % size,
    }
    return pairs((name, changes.get(name, value)) for name, value in readPairs(content))
