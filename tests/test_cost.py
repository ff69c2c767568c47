# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what requests cost: never more than in proportion to what the web
server sends, however it sends it.

Costs are counted, not timed: the calls of functions, and the bytes that are
copied out of what was received.  So they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from twisted.web.server import NOT_DONE_YET

from tests import wire
from tests.tables import CountedBytes, TableTestCase, countCalls, table
from tests.transports import ServerTestCase
from twisted_fastcgi.connection import Limits

#: By how much the cost may grow when the work doubles.
ALLOWED = 2.3

#: How much a transport reads at a time, in bytes.
READ_SIZE = 65536

#: Enough for everything here.
LIMITS = Limits(paramsBytes=1 << 30, params=1 << 20)


class Traced(CountedBytes):
    """
    Bytes that are also counted where they are added to others.
    """

    def __radd__(self, other: bytes) -> CountedBytes:
        return self._made(other + bytes(self))


def reads(sent: bytes, size: int = READ_SIZE) -> list[bytes]:
    """
    Cut what is sent into what is read at a time.
    """
    return [sent[i : i + size] for i in range(0, len(sent), size)]


def steps(first: int, last: int) -> list[int]:
    """
    List the numbers from C{first} to C{last} that are each twice the one
    before.
    """
    sizes = [first]
    while sizes[-1] < last:
        sizes.append(2 * sizes[-1])
    return sizes


def onePair(size: int) -> list[bytes]:
    """
    Send one large variable.
    """
    return reads(wire.request(wire.variables(LARGE=b"v" * size)))


def manyPairs(size: int) -> list[bytes]:
    """
    Send many small variables.
    """
    return reads(wire.request(wire.variables(**numbered("X", size // 32))))


def manyHeaders(size: int) -> list[bytes]:
    """
    Send many small header fields.
    """
    return reads(wire.request(wire.variables(**numbered("HTTP_X", size // 32))))


def numbered(name: str, count: int) -> dict[str, bytes]:
    """
    Make variables of some 32 bytes each, with names that no other number of
    them has: names that were seen before may cost less.
    """
    return {f"{name}_{count:05}_{i:05}": b"v" * 12 for i in range(count)}


def tinyParams(size: int) -> list[bytes]:
    """
    Send a variable in records of one byte.
    """
    variables = wire.variables(LARGE=b"v" * size)
    params = wire.params(variables, sizes=[1] * len(wire.pairs(variables)))
    return reads(wire.beginRequest() + params + wire.stdin())


def tinyBody(size: int) -> list[bytes]:
    """
    Send a body in records of one byte.
    """
    body = b"b" * size
    params = wire.params(wire.postVariables(body))
    return reads(wire.beginRequest() + params + wire.stdin(body, sizes=[1] * size))


def slowParams(size: int) -> list[bytes]:
    """
    Send a variable byte by byte.
    """
    return wire.byteByByte(wire.request(wire.variables(LARGE=b"v" * size)))


def slowBody(size: int) -> list[bytes]:
    """
    Send a body byte by byte.
    """
    body = b"b" * size
    return wire.byteByByte(wire.request(wire.postVariables(body), body))


def largeBody(size: int) -> list[bytes]:
    """
    Send a body as fast as can be.
    """
    body = b"b" * size
    return reads(wire.request(wire.postVariables(body), body))


def atOnce(size: int) -> list[bytes]:
    """
    Send a request with many small variables as a whole.
    """
    return [wire.request(wire.variables(**numbered("X", size // 32)))]


def bodyAtOnce(size: int) -> list[bytes]:
    """
    Send a request with a body as a whole.
    """
    body = b"b" * size
    return [wire.request(wire.postVariables(body), body)]


def oneByOne(count: int) -> list[bytes]:
    """
    Send requests one after the other, each as a whole.
    """
    return [wire.request(wire.variables())] * count


def pipelined(count: int) -> list[bytes]:
    """
    Send many requests at a time.
    """
    return reads(wire.request(wire.variables()) * count)


def pipelinedSlowly(count: int) -> list[bytes]:
    """
    Send many requests in pieces that end anywhere.
    """
    return reads(wire.request(wire.variables()) * count, 100)


def questions(count: int) -> list[bytes]:
    """
    Ask for the limits many times before a request.
    """
    asked = wire.getValues(b"FCGI_MAX_CONNS") * count
    return reads(asked + wire.request(wire.variables()))


def leftovers(count: int) -> list[bytes]:
    """
    Send many records of requests that do not exist before a request.
    """
    left = wire.record(wire.STDIN, 7, b"x") * count
    return reads(left + wire.request(wire.variables()))


class InputTests(ServerTestCase):
    """
    Twice the input costs twice as much.
    """

    def cost(self, pieces: list[bytes]) -> tuple[int, int]:
        """
        Send something, and see that it is answered well.

        @return: How many functions were called, and how many bytes were copied
            out of it.
        """
        transport = self.connect()
        counter = [0]
        traced = [Traced(piece, counter) for piece in pieces]
        calls = countCalls(lambda: transport.receive(*traced))
        self.assertEqual(set(self.statuses(transport.value())), {200})
        return calls, counter[0]

    def statuses(self, answer: bytes) -> Iterator[int]:
        """
        Tell the statuses of the responses in an answer.
        """
        own = (record for record in wire.records(answer) if record.requestId)
        sent = b"".join(
            wire.record(record.type, record.requestId, record.content) for record in own
        )
        return (response.status for response in wire.responses(sent))

    @table(
        {
            "params in one pair": (onePair, 1 << 10, 1 << 20),
            "params in many pairs": (manyPairs, 1 << 10, 1 << 18),
            "params that are header fields": (manyHeaders, 1 << 10, 1 << 18),
            "params in tiny records": (tinyParams, 1 << 9, 1 << 12),
            "params in tiny reads": (slowParams, 1 << 9, 1 << 12),
            "body": (largeBody, 1 << 16, 1 << 22),
            "body in tiny records": (tinyBody, 1 << 9, 1 << 12),
            "body in tiny reads": (slowBody, 1 << 9, 1 << 12),
            "request as a whole": (atOnce, 1 << 10, 1 << 15),
            "request with a body as a whole": (bodyAtOnce, 1 << 10, 1 << 15),
            "requests one by one": (oneByOne, 8, 128),
            "pipelined requests": (pipelined, 8, 128),
            "pipelined requests in pieces": (pipelinedSlowly, 8, 64),
            "management records": (questions, 1 << 9, 1 << 12),
            "records of unknown requests": (leftovers, 1 << 9, 1 << 12),
        }
    )
    def test_linear(
        self, send: Callable[[int], list[bytes]], first: int, last: int
    ) -> None:
        """
        Twice as much of anything never costs more than 2.3 times as much.
        """
        self.serve(readAll, LIMITS)
        self.cost([wire.request(wire.variables())])
        costs = [self.cost(send(size)) for size in steps(first, last)]
        for (calls, copied), (moreCalls, moreCopied) in pairwise(costs):
            self.assertLessEqual(moreCalls, ALLOWED * calls, costs)
            self.assertLessEqual(moreCopied, ALLOWED * copied, costs)


class OutputTests(ServerTestCase):
    """
    Twice the output costs twice as much.
    """

    @table({"tiny": (1,), "small": (100,), "large": (20000,)})
    def test_writes(self, size: int) -> None:
        """
        Twice as many pieces of a response never cost more than 2.3 times as
        much, written at once or one after the other.
        """
        costs = [self.cost(count, size) for count in (1, 32, 64, 128, 256)]
        for (atOnce, later), (moreAtOnce, moreLater) in pairwise(costs[1:]):
            self.assertLessEqual(moreAtOnce, ALLOWED * atOnce, costs)
            self.assertLessEqual(moreLater, ALLOWED * later, costs)

    def cost(self, count: int, size: int) -> tuple[int, int]:
        """
        Count the calls for a response in many pieces: written while the request
        arrives, and later.
        """
        application = self.serve(lambda request: writeAll(request, count, size))
        sent = wire.request(wire.variables())
        transport = self.connect()
        atOnce = countCalls(lambda: transport.receive(sent))
        application.answer = lambda request: NOT_DONE_YET
        transport.receive(sent)
        request = application.requests[-1]
        later = countCalls(lambda: writeAll(request, count, size))
        transport.settle()
        self.assertEqual(
            [len(answer.body) for answer in transport.responses()], [count * size] * 2
        )
        return atOnce, later


def readAll(request: Any) -> bytes:
    """
    Look at all there is of a request.
    """
    request.content.seek(0)
    return b"%d bytes" % len(request.content.read())


def writeAll(request: Any, count: int, size: int) -> int:
    """
    Write a response in pieces.
    """
    for _ in range(count):
        request.write(b"x" * size)
    request.finish()
    return NOT_DONE_YET


class CountingTests(TableTestCase):
    """
    What the tests above rest on.
    """

    @table(
        {
            "cut off the front": (lambda kept, new: kept[10:] + new,),
            "added at the end": (lambda kept, new: kept + new,),
            "added to other bytes": (lambda kept, new: b"x" + (kept + new),),
        }
    )
    def test_quadratic(self, keep: Callable[[bytes, bytes], bytes]) -> None:
        """
        What copies all there is for each new piece is noticed.
        """

        def cost(count: int) -> int:
            counter = [0]
            kept: bytes = Traced(b"", counter)
            for _ in range(count):
                kept = keep(kept, Traced(bytes(100), counter))
            return counter[0]

        self.assertGreater(cost(400), ALLOWED * cost(200))
