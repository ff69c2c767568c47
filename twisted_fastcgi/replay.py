# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The requests of a capture once more, and what becomes of them.

What is sent are the very bytes of the capture, but one request after another,
each when the one before it was answered, because that is how the web server
sent them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from twisted_fastcgi.connection import RequestEnded
from twisted_fastcgi.dissect import dissect
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.explain import INPUT, MANAGEMENT, Direction, Item, Record
from twisted_fastcgi.probe import Line, NoAnswer, ResponseHead, connected
from twisted_fastcgi.records import HEADER_LENGTH, RecordType, decodeBeginRequest


@dataclass
class RecordedRequest:
    """
    One request of a capture.

    @ivar requestId: Its id.
    @ivar role: Its role.
    @ivar keepConnection: Whether another may follow on the connection.
    @ivar startsConnection: Whether it was the first of its connection.
    @ivar queries: How many management records stand before it.
    @ivar spans: Where its records start and end in the capture.
    @ivar variables: Its variables.
    @ivar ended: The streams that end in the capture, and ABORT_REQUEST.
    """

    requestId: int
    role: int
    keepConnection: bool
    startsConnection: bool
    queries: int
    spans: list[tuple[int, int]]
    variables: dict[bytes, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    @property
    def isComplete(self) -> bool:
        """
        Whether the application can be expected to answer.
        """
        needed = INPUT.get(self.role, {RecordType.PARAMS})
        return RecordType.ABORT_REQUEST in self.ended or self.ended >= needed

    @property
    def name(self) -> bytes:
        """
        The method and the target, as far as they are known.
        """
        method = self.variables.get(b"REQUEST_METHOD", b"")
        path = self.variables.get(b"SCRIPT_NAME", b"")
        return method + b" " + self.variables.get(b"REQUEST_URI", path)


def requestsIn(items: Iterable[Item]) -> list[RecordedRequest]:
    """
    Find the requests of a capture.  Answers, records of no known request and
    bytes that are no records are left out.

    @param items: What stands in the capture.
    @return: The requests in the order in which they begin.
    """
    sorter = _Sorter()
    for item in items:
        sorter.take(item)
    return sorter.requests


class _Sorter:
    """
    Sorts records by requests.
    """

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self._active: dict[int, RecordedRequest] = {}
        self._queries: list[tuple[int, int]] = []

    def take(self, item: Item) -> None:
        """
        Take the next thing in the capture.
        """
        if isinstance(item, Record) and item.direction is Direction.TO_APPLICATION:
            self._add(item)

    def _add(self, record: Record) -> None:
        """
        Take a record that goes to the application.
        """
        size = HEADER_LENGTH + record.contentLength + record.paddingLength
        span = (record.offset, record.offset + size - record.missing)
        if record.type in MANAGEMENT:
            self._queries.append(span)
        elif record.type == RecordType.BEGIN_REQUEST:
            self._begin(record)
        if record.requestId in self._active:
            request = self._active[record.requestId]
            request.spans.append(span)
            request.variables.update(record.pairs or ())
            if not record.contentLength:
                request.ended.add(record.type)

    def _begin(self, record: Record) -> None:
        """
        Take a BEGIN_REQUEST.
        """
        try:
            role, keepConnection = decodeBeginRequest(record.content)
        except RemoteProtocolError:
            return
        if record.isRestart:
            self._active.clear()
        before = self.requests[-1] if self.requests else None
        request = RecordedRequest(
            record.requestId,
            role,
            keepConnection,
            before is None or record.isRestart or not before.keepConnection,
            len(self._queries),
            self._queries,
        )
        self._queries = []
        self._active[record.requestId] = request
        self.requests.append(request)


@dataclass
class RecordedAnswer:
    """
    One answer, without what may be another time it is given: the cuts into
    records, and the body.

    @ivar framing: The records, adjacent ones of a stream as one.
    @ivar stdout: The content of STDOUT.
    """

    framing: list[str] = field(default_factory=list)
    stdout: bytes = b""

    @property
    def status(self) -> int | None:
        """
        The HTTP status code, if there is one.
        """
        head = ResponseHead()
        try:
            head.receive(self.stdout)
            return head.status
        except RemoteProtocolError:
            return None

    def add(self, item: Item) -> None:
        """
        Add the next thing in the capture.
        """
        if isinstance(item, Record):
            frame = _frame(item)
            if item.type == RecordType.STDOUT:
                self.stdout += item.content
        else:
            frame = "bytes that are no record"
        if self.framing[-1:] != [frame]:
            self.framing.append(frame)

    def differences(self, recorded: RecordedAnswer) -> Iterator[str]:
        """
        Compare with the answer that was recorded.
        """
        if not recorded.framing:
            yield "no answer was recorded"
            return
        if self.status != recorded.status:
            yield f"status {self.status}, recorded was {recorded.status}"
        if self.framing != recorded.framing:
            yield (
                f"framing {'; '.join(self.framing)}, recorded was "
                f"{'; '.join(recorded.framing)}"
            )


def _frame(record: Record) -> str:
    """
    Tell of a record what belongs to the framing.
    """
    if record.type == RecordType.END_REQUEST:
        return f"END_REQUEST {', '.join(map(str, record.facts.values()))}"
    isEnd = not record.contentLength
    wrong = "".join(f" ({error})" for error in record.errors)
    return f"{'end of ' if isEnd else ''}{record.name}{wrong}"


def answersIn(items: Iterable[Item]) -> list[RecordedAnswer]:
    """
    Find the answers in a capture.

    @param items: What stands in the capture.
    @return: The answers in the order in which they end; one that does not end
        is the last.
    """
    done: list[RecordedAnswer] = []
    active: dict[int, RecordedAnswer] = {}
    requestId = 0
    for item in items:
        if isinstance(item, Record):
            if item.direction is Direction.TO_APPLICATION or item.type in MANAGEMENT:
                continue
            requestId = item.requestId
        active.setdefault(requestId, RecordedAnswer()).add(item)
        if isinstance(item, Record) and item.type == RecordType.END_REQUEST:
            done.append(active.pop(requestId))
    return done + list(active.values())


@dataclass
class Outcome:
    """
    What became of one request.

    @ivar request: The request.
    @ivar answer: What the application answered.
    @ivar failure: Why the answer is not complete.
    @ivar seconds: How long it took.
    """

    request: RecordedRequest
    answer: RecordedAnswer
    failure: str | None
    seconds: float


async def replay(
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    capture: bytes,
    requests: Iterable[RecordedRequest],
    timeout: float,
) -> AsyncGenerator[Outcome, None]:
    """
    Send the requests of a capture once more.

    @param endpoint: Where the application is.
    @param clock: Tells the time.
    @param capture: The capture.
    @param requests: What L{requestsIn} has found there.
    @param timeout: For how many seconds to wait for each answer.
    @return: What becomes of each request.
    """
    async with AsyncExitStack() as stack:
        line: Line | None = None
        for request in requests:
            if line is None or request.startsConnection:
                await stack.aclose()
                line = await stack.enter_async_context(connected(endpoint, clock))
            outcome = await _play(line, clock, timeout, capture, request)
            yield outcome
            if outcome.failure is not None or not request.isComplete:
                line = None


async def _play(
    line: Line,
    clock: IReactorTime,
    timeout: float,
    capture: bytes,
    request: RecordedRequest,
) -> Outcome:
    """
    Send one request and wait for its answer.
    """
    started = line.elapsed()
    line.received.clear()
    # The machine has to know what it is told about; what it would send itself
    # is not wanted.
    for _ in range(request.queries):
        line.machine.getValues(())
    line.machine.beginRequest(requestId=request.requestId)
    line.send(*(capture[start:end] for start, end in request.spans))
    if not request.isComplete:
        line.sendEnd()
    failure = None
    try:
        await Deferred.fromCoroutine(_untilEnd(line)).addTimeout(timeout, clock)
    except (NoAnswer, RemoteProtocolError) as error:
        failure = str(error)
    except TimeoutError:
        failure = f"no answer within {timeout:g} seconds"
    answers = answersIn(dissect([bytes(line.received)])) or [RecordedAnswer()]
    return Outcome(request, answers[0], failure, line.elapsed() - started)


async def _untilEnd(line: Line) -> None:
    """
    Wait for END_REQUEST.
    """
    while not isinstance(await line.nextEvent(), RequestEnded):
        pass
