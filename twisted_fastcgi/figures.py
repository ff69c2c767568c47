# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Figures about a server: what it counts while it serves, and L{Statistics}, what
it tells of them.

A request that is served costs one look at the clock and a few additions: no
object is made for it, and nothing that a peer says becomes a name.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from operator import add
from typing import Any

from twisted_fastcgi.errors import ERROR_KINDS

BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""
The upper bounds of the buckets into which durations are sorted, in seconds; the
last bucket, above them, has none.
"""

CONNECTION_REFUSALS = ("limit", "draining", "peer")
"""
Why a connection is refused: there are too many, the server is about to stop, or
the peer is not listed as one that may connect.
"""

REJECTIONS = ("overloaded", "cant_multiplex", "unknown_role")
"""
What becomes of a request that the protocol rejects (FastCGI 1.0, section 5.5).
"""

BREAKS = ("aborted", "disconnected", "failed", "cut_off")
"""
What becomes of a request that gets no whole answer: the web server aborted it;
it closed the connection; the application failed midway; this server gave up the
connection.
"""

OUTCOMES = ("answered", "refused", *REJECTIONS, *BREAKS)
"""
What becomes of requests: each has one of these in the end.
"""

MOST_ACTIVE = 100
"""
How many active requests are told of, those that have been in hand the longest.
"""

#: Durations are added up in such steps, a binary fraction of a second: their sums
#: are exact then, so that they don't fall when they are added in another order.
_STEPS = 2**20

#: How many bytes of a method and of a path are told.
_METHOD_BYTES = 20
_PATH_BYTES = 200


def harmless(data: bytes, most: int) -> str:
    """
    Make text of what a client sent: visible ASCII on one line, in which nothing
    is taken for anything else.

    @param data: Any bytes.
    @param most: How many of them are shown.
    @return: The text; what is not shown is C{...} at its end.
    """
    text = data[:most].decode("latin-1").encode("unicode_escape").decode("ascii")
    return text + "..." if len(data) > most else text


@dataclass(frozen=True, kw_only=True)
class ActiveRequest:
    """
    A request that is in hand.

    @ivar age: For how long, in seconds.
    @ivar method: The method of HTTP, of visible ASCII characters.
    @ivar path: The path without the query, likewise; what is too long is cut.
    @ivar pid: The number of the process that has it.
    @ivar worker: The worker's number; L{None} if the process is not one of
        several.
    """

    age: float
    method: str
    path: str
    pid: int
    worker: int | None = None

    @property
    def _rank(self) -> tuple[object, ...]:
        """
        What L{ActiveRequest}s are sorted by: age first.
        """
        return -self.age, self.pid, self.path, self.method, _number(self.worker)


@dataclass(frozen=True, kw_only=True)
class ProcessStatistics:
    """
    What one process has in hand.

    @ivar pid: Its number.
    @ivar worker: The worker's number; L{None} if it is not one of several.
    @ivar started: When it began to count, in seconds since 1970.
    @ivar open: How many connections it has.
    @ivar active: How many requests it has.
    @ivar requests: How many requests have come to an end.
    @ivar silent: Whether it did not answer when it was asked: the figures are
        those that it has told last.
    """

    pid: int
    worker: int | None = None
    started: float
    open: int = 0
    active: int = 0
    requests: int = 0
    silent: bool = False

    @property
    def _rank(self) -> tuple[object, ...]:
        """
        What L{ProcessStatistics} are sorted by: the worker first.
        """
        rest = (self.pid, self.started, self.open, self.active, self.requests)
        return _number(self.worker), *rest, self.silent


def _number(worker: int | None) -> int:
    """
    Give something to sort by for a worker, or none.
    """
    return -1 if worker is None else worker


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """
    What a server tells of itself: the figures at one moment.

    Those of several processes can be added up.

    @ivar started: When it began to count, in seconds since 1970; of several
        processes the first.
    @ivar taken: When these figures were taken, likewise; the last.
    @ivar accepted: How many connections were accepted.
    @ivar open: How many of them are open.
    @ivar refused: On how many of them no request was served, and why: the names
        are L{CONNECTION_REFUSALS}.
    @ivar responses: How many whole responses the application has given, by
        their status codes.
    @ivar refusals: How many requests were answered by the server itself, which
        found them wrong or too much, by the status codes.
    @ivar rejections: How many the protocol has rejected: the names are
        L{REJECTIONS}.
    @ivar breaks: How many got no whole answer: the names are L{BREAKS}.
    @ivar active: How many requests are in hand.
    @ivar oldest: Those of them that are the oldest, at most L{MOST_ACTIVE}.
    @ivar buckets: How many requests took so long: one number for each of
        L{BOUNDS}, up to which it counts from the bound before, and one for what
        took longer.
    @ivar duration: How long all of these took together, in seconds.
    @ivar received: How many bytes came from web servers.
    @ivar sent: How many bytes went to web servers.
    @ivar errors: How often a peer did something wrong: the names are
        L{ERROR_KINDS<twisted_fastcgi.errors.ERROR_KINDS>}.
    @ivar processes: What each process has in hand.
    """

    started: float
    taken: float
    accepted: int = 0
    open: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    responses: Mapping[int, int] = field(default_factory=dict)
    refusals: Mapping[int, int] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)
    breaks: Mapping[str, int] = field(default_factory=dict)
    active: int = 0
    oldest: tuple[ActiveRequest, ...] = ()
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    duration: float = 0.0
    received: int = 0
    sent: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    processes: tuple[ProcessStatistics, ...] = ()

    @property
    def uptime(self) -> float:
        """
        For how long it has counted, in seconds.
        """
        return max(self.taken - self.started, 0.0)

    @property
    def outcomes(self) -> dict[str, int]:
        """
        How many requests came to which end: the names are L{OUTCOMES}.
        """
        ends = {**self.rejections, **self.breaks}
        ends["answered"] = sum(self.responses.values())
        ends["refused"] = sum(self.refusals.values())
        return {name: ends.get(name, 0) for name in OUTCOMES}

    @property
    def requests(self) -> int:
        """
        How many requests have come to an end.
        """
        return sum(self.outcomes.values())

    @property
    def aborts(self) -> int:
        """
        How many requests the web server wanted no answer to any more: most say
        so by closing the connection.
        """
        return self.breaks.get("aborted", 0) + self.breaks.get("disconnected", 0)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """
        How many requests took at most so long: one number for each of
        L{BOUNDS}, and one for all.
        """
        return tuple(accumulate(self.buckets))

    @classmethod
    def beginning(cls, pid: int, worker: int, now: float) -> Statistics:
        """
        Make those of a process that has just begun to count.

        @param pid: Its number.
        @param worker: The worker's number.
        @param now: The time, in seconds since 1970.
        @return: They.
        """
        process = ProcessStatistics(pid=pid, worker=worker, started=now)
        return cls(started=now, taken=now, processes=(process,))

    def __add__(self, other: Statistics) -> Statistics:
        """
        Add the figures of another process.

        @param other: They.
        @return: The figures of both.
        """
        if not isinstance(other, Statistics):
            return NotImplemented
        mine, others = vars(self), vars(other)
        sums: dict[str, Any] = {name: mine[name] + others[name] for name in _SUMS}
        sums |= {name: _added(mine[name], others[name]) for name in _TABLES}
        return Statistics(
            started=min(self.started, other.started),
            taken=max(self.taken, other.taken),
            oldest=_oldest([*self.oldest, *other.oldest]),
            buckets=tuple(map(add, self.buckets, other.buckets)),
            processes=_sorted([*self.processes, *other.processes]),
            **sums,
        )

    def ofSilent(self) -> Statistics:
        """
        Tell the same of processes that do not answer any more.

        @return: That.
        """
        silent = tuple(replace(each, silent=True) for each in self.processes)
        return replace(self, processes=silent)

    def withoutProcess(self) -> Statistics:
        """
        Tell what stays when the process is gone: what it has counted, and
        nothing that it had in hand.

        @return: That; added to the figures of those that go on, it keeps what
            only grows from falling.
        """
        gone = {"open": 0, "active": 0, "oldest": (), "processes": ()}
        return Statistics(**{**vars(self), **gone})

    def toJSON(self) -> dict[str, Any]:
        """
        Make what C{json} can write.

        @return: Nested L{dict}s and L{list}s of texts and numbers.
        """
        return {
            "started": self.started,
            "taken": self.taken,
            "uptime": self.uptime,
            "connections": {name: getattr(self, name) for name in _CONNECTIONS},
            "requests": {
                "total": self.requests,
                "active": self.active,
                "aborts": self.aborts,
                "outcomes": self.outcomes,
                "oldest": [asdict(request) for request in self.oldest],
            },
            "responses": {
                "application": _withText(self.responses),
                "server": _withText(self.refusals),
            },
            "duration": {
                "bounds": list(BOUNDS),
                "buckets": list(self.buckets),
                "sum": self.duration,
                "count": sum(self.buckets),
            },
            "bytes": {"received": self.received, "sent": self.sent},
            "errors": dict(self.errors),
            "processes": [asdict(process) for process in self.processes],
        }

    @classmethod
    def fromJSON(cls, data: Mapping[str, Any]) -> Statistics:
        """
        Read what L{toJSON} has made.

        @param data: That.
        @return: The same figures.
        @raise LookupError: If something is missing.
        """
        requests, duration = data["requests"], data["duration"]
        responses, outcomes = data["responses"], requests["outcomes"]
        return cls(
            started=data["started"],
            taken=data["taken"],
            **data["connections"],
            responses=_withNumbers(responses["application"]),
            refusals=_withNumbers(responses["server"]),
            rejections={name: outcomes[name] for name in REJECTIONS},
            breaks={name: outcomes[name] for name in BREAKS},
            active=requests["active"],
            oldest=tuple(ActiveRequest(**each) for each in requests["oldest"]),
            buckets=tuple(duration["buckets"]),
            duration=duration["sum"],
            **data["bytes"],
            errors=data["errors"],
            processes=tuple(ProcessStatistics(**each) for each in data["processes"]),
        )


#: Figures that are one number, and those that are one for each name.
_SUMS = ("accepted", "open", "active", "duration", "received", "sent")
_TABLES = ("refused", "responses", "refusals", "rejections", "breaks", "errors")

_CONNECTIONS = ("accepted", "open", "refused")


def _added(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    """
    Add numbers that have names.
    """
    total = Counter(one)
    total.update(other)
    return dict(sorted(total.items()))


def _oldest(requests: Iterable[ActiveRequest]) -> tuple[ActiveRequest, ...]:
    """
    Choose the requests that have been in hand the longest.
    """
    return tuple(sorted(requests, key=lambda each: each._rank)[:MOST_ACTIVE])


def _sorted(processes: Iterable[ProcessStatistics]) -> tuple[ProcessStatistics, ...]:
    """
    Sort processes by the numbers of the workers.
    """
    return tuple(sorted(processes, key=lambda each: each._rank))


def _withText(codes: Mapping[int, int]) -> dict[str, int]:
    """
    Have texts for status codes, as JSON needs them.
    """
    return {str(code): count for code, count in sorted(codes.items())}


def _withNumbers(codes: Mapping[str, int]) -> dict[int, int]:
    """
    Have numbers for status codes.
    """
    return {int(code): count for code, count in codes.items()}


class Figures:
    """
    What a server counts while it serves.  The figures are plain numbers; those
    that are not for all requests may be written to from outside.

    @ivar worker: The worker's number; L{None} if there is but one process.
    @ivar accepted: How many connections were accepted.
    @ivar refused: How many of them were refused, and why.
    @ivar errors: How often a peer did something wrong, by kind.
    @ivar received: How many bytes came by connections that are gone.
    @ivar sent: How many bytes went out by them.
    @ivar fresh: How long the last requests took that got a whole response, in
        seconds, by its status code.  To put each in its place at once would take
        three times as long; L{settle} has to be called now and then.
    @ivar _responses: How many such requests there were before.
    @ivar _buckets: How many requests took so long.
    @ivar _duration: How long they took together, in seconds.
    """

    worker: int | None = None

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: Tells the time, in seconds.
        """
        self._seconds = seconds
        self._started = seconds()
        self.accepted = 0
        self.refused = dict.fromkeys(CONNECTION_REFUSALS, 0)
        self.errors = dict.fromkeys(ERROR_KINDS, 0)
        self.received = 0
        self.sent = 0
        self.fresh: dict[int, list[float]] = defaultdict(list)
        self._responses: dict[int, int] = defaultdict(int)
        self._refusals: dict[int, int] = defaultdict(int)
        self._ends = dict.fromkeys((*REJECTIONS, *BREAKS), 0)
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._duration = 0.0

    def answered(self, code: int, began: float) -> None:
        """
        Count a request that has got a whole response.

        @param code: The status code.
        @param began: When the request began, in seconds.
        """
        self.fresh[code].append(self._seconds() - began)

    def time(self, began: float) -> None:
        """
        Count how long a request took that got no response of the application.

        @param began: When it began, in seconds.
        """
        self._sort([self._seconds() - began])

    def settle(self, fewest: int = 1) -> None:
        """
        Count what is in C{fresh}, and empty it.

        @param fewest: How many requests there have to be for that.
        """
        if sum(map(len, self.fresh.values())) >= fewest:
            for code, durations in self.fresh.items():
                self._responses[code] += len(durations)
                self._sort(durations)
                durations.clear()

    def _sort(self, durations: list[float]) -> None:
        """
        Count durations; one that is negative, for the clock was set back, as
        none.
        """
        durations.sort()
        total = sum(durations[bisect_left(durations, 0) :])
        self._duration += round(total * _STEPS) / _STEPS
        start = 0
        for index, bound in enumerate((*BOUNDS, math.inf)):
            end = bisect_right(durations, bound, start)
            self._buckets[index] += end - start
            start = end

    def refusedWith(self, code: int) -> None:
        """
        Count a request that the server has answered itself.

        @param code: The status code.
        """
        self._refusals[code] += 1

    def ended(self, outcome: str) -> None:
        """
        Count a request that was rejected, or got no whole response.

        @param outcome: One of L{REJECTIONS} or L{BREAKS}.
        """
        self._ends[outcome] += 1

    def statistics(
        self, requests: Iterable[ActiveRequest], open: int, received: int, sent: int
    ) -> Statistics:
        """
        Tell the figures.

        @param requests: The requests in hand.
        @param open: How many connections there are.
        @param received: How many bytes have come by them.
        @param sent: How many bytes went out by them.
        @return: The figures as they are now.
        """
        self.settle()
        active = tuple(requests)
        figures = Statistics(
            started=self._started,
            taken=self._seconds(),
            accepted=self.accepted,
            open=open,
            refused=dict(self.refused),
            responses=dict(sorted(self._responses.items())),
            refusals=dict(sorted(self._refusals.items())),
            rejections={name: self._ends[name] for name in REJECTIONS},
            breaks={name: self._ends[name] for name in BREAKS},
            active=len(active),
            oldest=_oldest(active),
            buckets=tuple(self._buckets),
            duration=self._duration,
            received=self.received + received,
            sent=self.sent + sent,
            errors=dict(self.errors),
        )
        return replace(figures, processes=(self._process(figures),))

    def _process(self, figures: Statistics) -> ProcessStatistics:
        """
        Tell what this process has in hand.
        """
        return ProcessStatistics(
            pid=os.getpid(),
            worker=self.worker,
            started=figures.started,
            open=figures.open,
            active=figures.active,
            requests=figures.requests,
        )

    def active(self, method: bytes, path: bytes, age: float) -> ActiveRequest:
        """
        Tell of a request in hand.

        @param method: The method of HTTP, whatever it is.
        @param path: The path, maybe with a query, which is left out: there may
            be something in it that is nobody's business.
        @param age: For how long it has been in hand, in seconds.
        @return: What may be told.
        """
        return ActiveRequest(
            age=age,
            method=harmless(method, _METHOD_BYTES),
            path=harmless(path.partition(b"?")[0], _PATH_BYTES),
            pid=os.getpid(),
            worker=self.worker,
        )
