# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A whole server in memory, and a web server that sends any bytes to it.

The input is a script of L{CONTROL} bytes, and what the web server sends.  The
script says which limits hold, what the application does with each request, and
what happens in between: pieces arrive, the web server reads or does not, time
passes.  If its first byte is even, nothing happens in between: then the same
must come out whether the bytes arrive as a whole, one by one, or in pieces.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from io import StringIO
from sys import getsizeof
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.web.server import Site

from fuzzing.applications import Application, Authorizer, Planned, Restless
from tests import wire
from tests.model import arrived
from tests.transports import ServerTransport
from twisted_fastcgi import FastCGIFactory, FastCGIRequest
from twisted_fastcgi.connection import Limits

#: How many bytes of the input are the script.
CONTROL = 24

#: The most that one connection may keep: what was received last, what waits to
#: be sent, what is known of the request in hand.
_KEPT = 500_000

#: The most that may wait to be sent: what transports take before they are full,
#: and what the application writes at once.
_UNSENT = 65536 + 17 * (16 << 13)

_TIGHT = Limits(
    paramsBytes=1200,
    params=40,
    nameLength=24,
    bodyBytes=600,
    connections=2,
    queuedAnswers=2,
    unheededBytes=9000,
    idleTimeout=20,
)

#: What is no longer than that always comes byte by byte, too.
_SHORT = 400

_SECONDS = (0, 1, 2.5, 6, 31, 61, 301, 1000)


class AccessLog(Site):
    """
    A site with an access log in memory.

    @ivar lines: What is in it.
    """

    noisy = False

    def _openLogFile(self, path: object) -> StringIO:
        self.lines = _Kept()
        return self.lines


class _Kept(StringIO):
    """
    A file whose content stays after it is closed.
    """

    def close(self) -> None:
        """
        Stay.
        """


class Server:
    """
    A server with one connection, and all that is known of it.

    @ivar transport: The connection.
    @ivar events: What was logged.
    @ivar received: What the server was given to read.
    """

    def __init__(self, control: bytes) -> None:
        self.clock = Clock()
        self.application = Application(
            control[4:10], patient=not control[0] & 1, streams=bool(control[2] & 32)
        )
        make = Restless if control[2] & 4 else FastCGIRequest
        path = b"log" if control[2] & 8 else None
        self.site = AccessLog(self.application, make, logPath=path, reactor=self.clock)
        self.site.displayTracebacks = bool(control[2] & 16 and control[0] & 1)
        limits = _TIGHT if control[2] & 1 else Limits()
        self.factory = FastCGIFactory(
            self.site,
            limits=limits,
            authorizer=Authorizer(control[4:10]) if control[2] & 64 else None,
            reactor=self.clock,
        )
        if path is None:
            self.factory.loggingSite = None
        self.events: list[LogEvent] = []
        self._checked = 0
        self.received = b""
        size = 65536 if control[2] & 2 else 4096
        self.transport = ServerTransport(bufferSize=size)

    def __enter__(self) -> Server:
        globalLogPublisher.addObserver(self.events.append)
        self.factory.doStart()
        peer = self.transport.getPeer()
        self.transport.connect(self.factory.buildProtocol(peer))
        return self

    def __exit__(self, *failure: object) -> None:
        self.transport.close()
        self.factory.doStop()
        globalLogPublisher.removeObserver(self.events.append)

    # What happens

    def receive(self, pieces: Iterable[bytes]) -> None:
        """
        Let the web server send something.
        """
        for piece in pieces:
            self.received += piece
            self.transport.receive(piece)

    def wait(self, seconds: float) -> None:
        """
        Let time pass.
        """
        for part in (seconds / 2, seconds / 2, 0):
            self.clock.advance(part)
            self.transport.settle()

    def act(self) -> None:
        """
        Let the application do what it still has to do.
        """
        self.application.finishAll()
        self.transport.settle()

    def wake(self) -> None:
        """
        Let the application take more of a request's body.
        """
        self.application.wake()
        self.transport.settle()

    def finish(self) -> None:
        """
        Let everything come to its end that can.
        """
        self.transport.stalled = False
        self.transport.settle()
        while self.application.paused or self.application.late:
            self.wake()
            self.act()
        self.wait(0)

    # What must hold

    def check(self) -> None:
        """
        See that nothing is kept that need not be, and that nothing strange was
        logged.
        """
        waiting = self.transport.unsent
        assert waiting <= _UNSENT, f"{waiting} bytes wait to be sent"
        size = weight(self.transport.protocol)
        assert size <= _KEPT, f"a connection keeps {size} bytes"
        for event in self.events[self._checked :]:
            checkLogged(event)
        self._checked = len(self.events)

    def checkEnd(self) -> None:
        """
        See that what was sent is FastCGI, that each request was answered after
        all has come to its end, and that the end of the connection leaves
        nothing behind.
        """
        self.check()
        wire.responses(whole(self.transport.value()), unfinished=True)
        begun, ended = self._begun(), self._ended()
        assert not ended - begun, f"{ended - begun} ended too often"
        if self.isOpen:
            unanswered = begun - ended
            assert unanswered.total() <= 1, f"{unanswered} have no answer"
            for requestId in unanswered:
                assert not self._isComplete(requestId), f"{requestId} has no answer"
        self.transport.close()
        assert self.factory.connectionCount == 0
        self.factory.doStop()
        left = self.clock.getDelayedCalls()
        assert not left, f"{left} are left"
        application = self.application
        told = application.ended
        assert set(told.values()) <= {1}, f"{told}: told of its end more than once"
        assert len(told) == application.count, "a request was not told of its end"
        if self.factory.loggingSite is not None:
            self._checkAccessLog()

    def _begun(self) -> Counter[int]:
        """
        Count the requests that the web server has begun.
        """
        return Counter(
            each.requestId
            for each in arrived(self.received)
            if each.type == wire.BEGIN_REQUEST and len(each.content) >= 8
        )

    def _isComplete(self, requestId: int) -> bool:
        """
        Tell whether the last request of an id has been received as a whole.
        """
        ended: list[int] = []
        for each in arrived(self.received):
            if each.requestId == requestId and each.type == wire.BEGIN_REQUEST:
                ended = []
            elif each.requestId == requestId and not each.length:
                ended.append(each.type)
        return wire.PARAMS in ended and wire.STDIN in ended

    def _ended(self) -> Counter[int]:
        """
        Count the requests that the server has ended.
        """
        sent = wire.records(whole(self.transport.value()))
        return Counter(each.requestId for each in sent if each.type == wire.END_REQUEST)

    def _checkAccessLog(self) -> None:
        """
        See that each request has one line.
        """
        lines = self.site.lines.getvalue()
        assert lines.count("\n") <= len(self.application.ended) + self._begun().total()
        for line in lines.splitlines():
            assert line.isprintable() and line.isascii(), f"it logs {line!r}"

    def outcome(self) -> tuple[object, ...]:
        """
        Tell what came of it: what the application saw, and what was answered.
        """
        sent = self.transport.value()
        answers: dict[int, list[wire.Response]] = {}
        for answer in wire.responses(sent, unfinished=True):
            answers.setdefault(answer.requestId, []).append(answer)
        for each in (answer for group in answers.values() for answer in group):
            each.records = []
        texts = [formatEvent(event) for event in self.events]
        logged = [re.sub("0x[0-9a-f]+", "", text) for text in texts]
        seen = self.application.seen
        return seen, answers, wire.management(sent), self.isOpen, logged

    @property
    def isOpen(self) -> bool:
        """
        Whether the server still takes requests on the connection.
        """
        return self.transport.reading and not self.transport.writeDisconnecting


def checkLogged(event: LogEvent) -> None:
    """
    See that what was logged is one line of plain text, and no failure but one
    that the application means to have.
    """
    text = formatEvent(event)
    assert text.isprintable(), f"it logs {text!r}"
    assert "nable to format" not in text and "unformattable" not in text, text
    if event.get("log_level") is LogLevel.critical:
        failure = event.get("log_failure")
        planned = failure is not None and failure.check(Planned)
        assert planned, f"{text}: {failure and failure.getTraceback()}"


def whole(sent: bytes) -> bytes:
    """
    Leave out a record that is not all there.
    """
    start = 0
    while len(sent) - start >= 8:
        size = 8 + int.from_bytes(sent[start + 4 : start + 6], "big") + sent[start + 6]
        if start + size > len(sent):
            break
        start += size
    return sent[:start]


def parts(thing: object) -> list[Any]:
    """
    Find all that a connection consists of: our own objects, and containers.
    """
    found: list[Any] = []
    seen: set[int] = set()
    waiting = deque([thing])
    while waiting:
        each = waiting.popleft()
        if id(each) not in seen and _isPart(each):
            seen.add(id(each))
            found.append(each)
            waiting.extend(_within(each))
    return found


def _isPart(thing: object) -> bool:
    """
    Tell whether something belongs to one connection.
    """
    kinds = bytes, bytearray, list, tuple, dict, set, deque
    ours = type(thing).__module__.startswith("twisted_fastcgi")
    return isinstance(thing, kinds) or (ours and not isinstance(thing, FastCGIFactory))


def _within(thing: Any) -> Iterator[object]:
    """
    Tell what something refers to.
    """
    if isinstance(thing, dict):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, deque)):
        yield from thing
    elif not isinstance(thing, (bytes, bytearray)):
        yield from getattr(thing, "__dict__", {}).values()
        for kind in type(thing).__mro__:
            for name in getattr(kind, "__slots__", ()):
                yield getattr(thing, name, None)


def weight(thing: object) -> int:
    """
    Tell how much memory a connection takes, in bytes.
    """
    return sum(map(getsizeof, parts(thing)))


# The target


def server(data: bytes) -> None:
    """
    A server, a web server that sends anything, and an application that does
    anything.
    """
    control, sent = data[:CONTROL].ljust(CONTROL, b"\0"), data[CONTROL:]
    if control[0] & 1:
        _eventful(control, sent)
    else:
        _steady(control, sent)


def _steady(control: bytes, sent: bytes) -> None:
    """
    See that the pieces in which the bytes come make no difference.
    """
    expected = None
    size = control[1] + 1
    cut = [sent[start : start + size] for start in range(0, len(sent), size)]
    # That takes its time.
    single = wire.byteByByte(sent) if len(sent) <= _SHORT or control[0] & 2 else cut
    for pieces in ([sent], single, cut):
        with Server(control) as served:
            served.receive(pieces)
            served.finish()
            found = served.outcome()
            served.checkEnd()
        expected = expected or found
        for mine, other in zip(found, expected, strict=True):
            assert mine == other, f"{mine!s:.5000} instead of {other!s:.5000}"


def _eventful(control: bytes, sent: bytes) -> None:
    """
    See that nothing breaks, whatever happens.
    """
    with Server(control) as served:
        piece = b""
        for step in control[10:]:
            kind, amount = step & 7, step >> 3
            if kind <= 1:
                size = amount << (3 * kind)
                piece, sent = sent[:size], sent[size:]
                served.receive([piece])
            else:
                _STEPS[kind](served, amount, piece)
            if kind == _FLOOD:
                served.check()
        served.receive([sent])
        served.finish()
        served.checkEnd()


def _stall(served: Server, amount: int, piece: bytes) -> None:
    served.transport.stalled = not served.transport.stalled
    served.transport.settle()


def _drain(served: Server, amount: int, piece: bytes) -> None:
    served.transport.drain(amount << 8)
    served.transport.settle()


def _wait(served: Server, amount: int, piece: bytes) -> None:
    served.wait(_SECONDS[amount & 7])


def _act(served: Server, amount: int, piece: bytes) -> None:
    if amount & 1:
        served.act()
    else:
        served.wake()


def _flood(served: Server, amount: int, piece: bytes) -> None:
    served.receive([piece * 8] * amount)


def _leave(served: Server, amount: int, piece: bytes) -> None:
    if amount == 31:
        served.transport.close()
    elif amount > 24:
        served.factory.drain(amount)


_FLOOD = 6

_STEPS: dict[int, Any] = {
    2: _stall,
    3: _drain,
    4: _wait,
    5: _act,
    _FLOOD: _flood,
    7: _leave,
}
