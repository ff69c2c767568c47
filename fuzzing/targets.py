# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What is fuzzed: functions that do something with any bytes, and raise if
anything is not as it must be.

They need no fuzzer: a test runs each on its corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from fuzzing.chaos import server
from tests import wire
from tests.model import (
    FAILED,
    ApplicationModel,
    Outcome,
    WebServerModel,
    arrived,
    joined,
    received,
    splitPairs,
)
from twisted_fastcgi import records as codec
from twisted_fastcgi.connection import (
    ApplicationConnection,
    InputState,
    Limits,
    OutputState,
    WebServerConnection,
)
from twisted_fastcgi.errors import LimitExceeded, RemoteProtocolError
from twisted_fastcgi.pairs import decodePairs, decodeVariables, encodePairs

#: How many bytes of the input of the machines say what happens; what the web
#: server sends is after them.
CONTROL = 8

_ROLES = (wire.RESPONDER, wire.AUTHORIZER, wire.FILTER)

_TIGHT = Limits(paramsBytes=900, params=20, nameLength=16, connections=3)


def records(data: bytes) -> None:
    """
    Records: what one function reads, the other writes in the same way.
    """
    _header(data)
    _content(data, codec.decodeBeginRequest, _writeBegin)
    _content(data, codec.decodeEndRequest, lambda end: codec.encodeEndRequest(1, *end))
    _content(data, codec.decodeUnknownType, codec.encodeUnknownType)
    if data:
        _stream(data[0], data[1:] * (data[0] << 8))


def _header(data: bytes) -> None:
    """
    See that headers are read as they stand, wherever they stand.
    """
    for offset in range(min(len(data) - 7, 16)):
        head = data[offset : offset + 8]
        try:
            found = codec.decodeHeader(data, offset)
        except RemoteProtocolError:
            assert head[0] != 1
        else:
            assert codec.encodeHeader(*found)[:7] == head[:7]


def _writeBegin(begin: tuple[int, bool]) -> bytes:
    """
    Write BEGIN_REQUEST.
    """
    return codec.encodeBeginRequest(1, begin[0], keepConnection=begin[1])


def _content(data: bytes, decode: Any, encode: Any) -> None:
    """
    See that content that was read is the same after it was written.
    """
    try:
        found = decode(data)
    except RemoteProtocolError:
        assert len(data) < 8
    else:
        (written,) = wire.records(encode(found))
        assert decode(written.content) == found


def _stream(type_: int, data: bytes) -> None:
    """
    See that a stream's records hold what was given, and do not end it.
    """
    found = wire.records(codec.encodeStream(type_, 1, data))
    assert all(each[:2] == (type_, 1) and each.content for each in found)
    assert b"".join(each.content for each in found) == data


def pairs(data: bytes) -> None:
    """
    Name-value pairs: read as the model reads them, also within limits, and
    written so that they are read as the same.
    """
    assert _readPairs(data) == splitPairs(data)
    if len(data) > 1:
        most, longest = data[0] % 16, data[1] % 64
        found = _readPairs(data[2:], maxPairs=most, maxName=longest)
        assert found == splitPairs(data[2:], most, longest)
        values = decodeVariables(data[2:], maxPairs=most, maxName=longest)
        assert values is None or list(values.items()) == found
    every = splitPairs(data)
    if not isinstance(every, int):
        written = encodePairs(every)
        assert written == wire.pairs(every) and decodePairs(written) == every


def _readPairs(data: bytes, **limits: int) -> list[tuple[bytes, bytes]] | int:
    """
    Read pairs, or tell the status of the answer to a request that has them.
    """
    try:
        return decodePairs(data, **limits)
    except LimitExceeded:
        return 431
    except RemoteProtocolError:
        return 400


def pieces(sent: bytes, sizes: bytes) -> Iterator[bytes]:
    """
    Cut bytes into pieces.

    @param sizes: How long they are: as many bytes as each byte says, or eight
        times as many if that is more than 127; again and again.
    """
    lengths = cycle([size if size < 128 else 8 * size for size in sizes] or [0])
    start = 0
    while start < len(sent):
        size = next(lengths) or len(sent)
        yield sent[start : start + size]
        start += size


def application(data: bytes) -> None:
    """
    L{ApplicationConnection}: does what its model does, whatever the pieces in
    which the bytes come.
    """
    control, sent = data[:CONTROL], data[CONTROL:]
    control = control.ljust(CONTROL, b"\0")
    limits = _TIGHT if control[0] & 1 else Limits()
    roles = _ROLES if control[0] & 2 else _ROLES[:1]
    refusing = control[0] & 4 != 0
    model = ApplicationModel(limits, roles)
    model.refusing = refusing
    expected = _modelled(model, sent, control)
    for cuts in ([sent], wire.byteByByte(sent), pieces(sent, control[4:])):
        machine = ApplicationConnection(limits, roles)
        machine.refusing = refusing
        found = _driven(machine, cuts, control)
        assert found == expected, (found, expected)
        assert machine.keepConnection == model.keeps
        if machine.outputState is not OutputState.ENDED:
            assert machine.requestId == model.requestId


def _modelled(model: ApplicationModel, sent: bytes, control: bytes) -> list[Outcome]:
    """
    Have the model tell what must come out.
    """
    script = cycle(control[1:4])
    found: list[Outcome] = []
    for each in arrived(sent):
        outcomes = model.record(each)
        found += outcomes
        for one in outcomes:
            if _isReady(one, model.complete, script):
                _answer(model, next(script))
        if model.failed:
            break
    return joined(found)


def _driven(machine: ApplicationConnection, cuts: Any, control: bytes) -> list[Outcome]:
    """
    Have the machine tell what comes out.
    """
    script = cycle(control[1:4])
    found: list[Outcome] = []
    written = b""
    for piece in cuts:
        for one in received(machine, piece):
            found.append(one)
            complete = machine.inputState is InputState.ENDED
            if one[0] == "request" and one[2] != wire.AUTHORIZER:
                # Its body is yet to be told of, though it may be known.
                complete = False
            if _isReady(one, complete, script):
                written += _answer(machine, next(script))
    wire.records(written)
    return joined(found)


def _isReady(one: Outcome, complete: bool, script: Iterator[int]) -> bool:
    """
    Tell whether the application answers now: when the request is complete, or
    early.
    """
    if one[0] == "request" and not complete:
        return next(script) & 1 == 1
    return complete and one[0] in ("request", "ended")


def _answer(side: Any, how: int) -> bytes:
    """
    Answer the request in hand.

    @return: What is sent.
    """
    out = list(side.sendStdout(bytes(how << 6)) or []) if how & 2 else []
    out += list(side.sendStderr(b"e" * (how << 5)) or []) if how & 4 else []
    if how & 8 and not how & 1:
        # This one is answered never, or by the web server's abort.
        return b"".join(out)
    out.append(side.endRequest(how, complete=how & 16 == 0) or b"")
    return b"".join(out)


def webserver(data: bytes) -> None:
    """
    L{WebServerConnection}: does what its model does, whatever the pieces in
    which the bytes come.
    """
    control, sent = data[:CONTROL], data[CONTROL:]
    control = control.ljust(CONTROL, b"\0")
    model = WebServerModel()
    expected = _heard(model, [[each] for each in arrived(sent)], control)
    for cuts in ([sent], wire.byteByByte(sent), pieces(sent, control[4:])):
        machine = WebServerConnection()
        assert _heard(machine, cuts, control) == expected
        assert machine.requestId == model.requestId or model.failed


def _heard(side: Any, cuts: Any, control: bytes) -> list[Outcome]:
    """
    Have a web server, or its model, ask, hear the answers, and ask again.
    """
    isModel = isinstance(side, WebServerModel)
    for _ in range(control[0] & 3):
        side.ask() if isModel else side.getValues([b"FCGI_MAX_CONNS"])
    identities = cycle([1, *control[1:4]])
    found: list[Outcome] = []
    _askNext(side, identities)
    for piece in cuts:
        for one in side.record(*piece) if isModel else received(side, piece):
            found.append(one)
            if one[0] == "over":
                _askNext(side, identities)
        if FAILED in found:
            break
    return joined(found)


def _askNext(side: Any, identities: Iterator[int]) -> None:
    """
    Begin a request.
    """
    requestId = next(identities) or 1
    if isinstance(side, WebServerModel):
        side.begin(requestId)
    else:
        side.beginRequest(requestId=requestId)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "records": records,
    "pairs": pairs,
    "application": application,
    "webserver": webserver,
    "server": server,
}
