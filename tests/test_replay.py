# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.replay}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests import wire
from tests.ends import DONE, Endpoint
from tests.tables import TableTestCase, table
from tests.test_dissect import CAPTURES
from twisted_fastcgi.dissect import dissect
from twisted_fastcgi.replay import (
    Outcome,
    RecordedAnswer,
    RecordedRequest,
    answersIn,
    replay,
    requestsIn,
)

ONE = wire.request(wire.variables(b"/1"), b"one")
TWO = wire.request(wire.postVariables(b"two", b"/2"), b"two")
LAST = wire.request(wire.variables(b"/3"), keep=False)
PAGE = wire.stream(wire.STDOUT, 1, b"Status: 201\r\n\r\nbody")
END = wire.record(wire.END_REQUEST, 1, bytes(8))


def requests(data: bytes) -> list[RecordedRequest]:
    """
    Find the requests of a capture.
    """
    return requestsIn(dissect([data]))


def answers(data: bytes) -> list[RecordedAnswer]:
    """
    Find the answers of a capture.
    """
    return answersIn(dissect([data]))


def sentBytes(data: bytes) -> list[bytes]:
    """
    Tell for each request of a capture what is sent of it.
    """
    return [
        b"".join(data[start:end] for start, end in request.spans)
        for request in requests(data)
    ]


class RequestsTests(TableTestCase):
    """
    Finding requests.
    """

    def test_inOrder(self) -> None:
        """
        The requests are found with their very bytes, paddings and all, and
        with what is told of them.
        """
        data = ONE + TWO + LAST + LAST
        self.assertEqual(sentBytes(data), [ONE, TWO, LAST, LAST])
        found = requests(data)
        self.assertEqual(
            [request.name for request in found],
            [b"GET /1", b"POST /2", b"GET /3", b"GET /3"],
        )
        self.assertEqual(
            [request.startsConnection for request in found], [True, False, False, True]
        )
        self.assertTrue(all(request.isComplete for request in found))

    def test_multiplexed(self) -> None:
        """
        Requests that were sent at the same time are taken apart.
        """
        one = wire.records(ONE)
        other = wire.records(wire.request(wire.variables(b"/o"), b"x", 3))
        mixed = b"".join(
            wire.record(*each) for pair in zip(one, other, strict=True) for each in pair
        )
        sent = sentBytes(mixed)
        self.assertEqual([wire.records(each) for each in sent], [one, other])

    def test_others(self) -> None:
        """
        Answers, stray bytes and records of no request are left out.
        """
        strange = wire.record(wire.BEGIN_REQUEST, 2, b"\0")
        data = wire.stdin() + strange + ONE + PAGE + END + b"?" * 9 + TWO
        self.assertEqual(sentBytes(data), [ONE, TWO])

    def test_management(self) -> None:
        """
        What was asked before a request is asked again.
        """
        asked = wire.getValues(b"A") + wire.getValues(b"B")
        (request, other) = requests(asked + ONE + TWO)
        self.assertEqual((request.queries, other.queries), (2, 0))
        self.assertEqual(sentBytes(asked + ONE), [asked + ONE])

    def test_glued(self) -> None:
        """
        Another capture is another connection, and what is left of a record is
        all that is sent of it.
        """
        first = wire.beginRequest() + wire.params(wire.variables(b"/1"))
        first += wire.record(wire.STDIN, 1, b"x" * 99)[:20]
        one, two = requests(first + TWO)
        self.assertEqual(sentBytes(first + TWO), [first, TWO])
        self.assertFalse(one.isComplete)
        self.assertTrue(two.isComplete and two.startsConnection)

    @table(
        {
            "responder": (wire.RESPONDER, wire.stdin(), True),
            "no end": (wire.RESPONDER, b"", False),
            "aborted": (wire.RESPONDER, wire.abortRequest(), True),
            "authorizer": (wire.AUTHORIZER, b"", True),
            "filter": (wire.FILTER, wire.stdin(), False),
            "unknown role": (9, b"", True),
        }
    )
    def test_isComplete(self, role: int, rest: bytes, isComplete: bool) -> None:
        """
        A request is complete when all streams of its role have ended, or it
        was aborted.
        """
        begun = wire.beginRequest(role=role) + wire.params(wire.variables())
        (request,) = requests(begun + rest)
        self.assertEqual(request.isComplete, isComplete)

    def test_name(self) -> None:
        """
        Without REQUEST_URI the script names a request.
        """
        variables = wire.variables(b"/s", REQUEST_URI=None)
        (request,) = requests(wire.request(variables))
        self.assertEqual(request.name, b"GET /s")

    @table({path.name: (path.read_bytes(),) for path in CAPTURES})
    def test_captures(self, data: bytes) -> None:
        """
        Nothing that real web servers have sent is lost.
        """
        self.assertEqual(b"".join(sentBytes(data)), data)


class AnswersTests(TableTestCase):
    """
    Finding and comparing answers.
    """

    def test_answers(self) -> None:
        """
        Of each answer is kept what must be the same another time.
        """
        error = wire.stream(wire.STDERR, 1, b"x")
        cut = wire.stream(wire.STDOUT, 1, b"Status: 201\r\n\r\nbody", sizes=[3, 9])
        one, two, three = answers(
            ONE
            + wire.record(wire.GET_VALUES_RESULT, 0)
            + cut
            + error
            + END
            + PAGE
            + END
            + wire.record(wire.STDOUT, 2, b"abc")
        )
        end = "END_REQUEST 0, REQUEST_COMPLETE"
        self.assertEqual(
            one.framing,
            ["STDOUT", "end of STDOUT", "STDERR", "end of STDERR", end],
        )
        self.assertEqual((one.status, one.stdout), (201, b"Status: 201\r\n\r\nbody"))
        self.assertEqual(two.framing, ["STDOUT", "end of STDOUT", end])
        self.assertEqual((three.framing, three.status), (["STDOUT"], None))

    def test_wrong(self) -> None:
        """
        What is wrong belongs to the framing.
        """
        (found,) = answers(PAGE + wire.record(wire.STDOUT, 1, b"x") + b"?" * 9)
        self.assertEqual(
            found.framing[2:],
            [
                "STDOUT (more of the response after its end)",
                "bytes that are no record",
            ],
        )

    def test_differences(self) -> None:
        """
        Answers differ in status and in framing, and not in the rest.
        """
        (one,) = answers(PAGE + END)
        (same,) = answers(PAGE.replace(b"body", b"ydob") + END)
        (other,) = answers(wire.record(wire.STDOUT, 1, b"Status: 404\n\n") + END)
        self.assertEqual(list(one.differences(same)), [])
        end = "END_REQUEST 0, REQUEST_COMPLETE"
        self.assertEqual(
            list(one.differences(other)),
            [
                "status 201, recorded was 404",
                f"framing STDOUT; end of STDOUT; {end}, recorded was STDOUT; {end}",
            ],
        )
        self.assertEqual(
            list(one.differences(RecordedAnswer())), ["no answer was recorded"]
        )


class ReplayTests(TableTestCase):
    """
    Sending requests once more.
    """

    def setUp(self) -> None:
        """
        Wait for connections.
        """
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.outcomes: list[Outcome] = []

    def replay(self, data: bytes) -> Deferred[None]:
        """
        Send the requests of a capture.
        """

        async def run() -> None:
            async for outcome in replay(
                self.endpoint, self.clock, data, requests(data), 5
            ):
                self.outcomes.append(outcome)

        return Deferred.fromCoroutine(run())

    def line(self, number: int) -> tuple[Any, Any]:
        """
        Tell the ends of a connection.
        """
        return self.endpoint.protocols[number], self.endpoint.transports[number]

    def test_oneAfterAnother(self) -> None:
        """
        Each request is sent when the one before it was answered, on the same
        connection if it was kept, otherwise on another.
        """
        done = self.replay(ONE + LAST + TWO)
        line, transport = self.line(0)
        self.assertEqual(transport.taken(), ONE)
        self.clock.advance(2)
        line.dataReceived(PAGE + END)
        self.assertEqual(transport.taken(), LAST)
        line.dataReceived(PAGE)
        line.dataReceived(END)
        self.assertTrue(transport.disconnecting)
        line, transport = self.line(1)
        self.assertEqual(transport.taken(), TWO)
        self.assertNoResult(done)
        line.dataReceived(PAGE.replace(b"201", b"202") + END)
        self.successResultOf(done)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(
            [(each.answer.status, each.failure) for each in self.outcomes],
            [(201, None), (201, None), (202, None)],
        )
        self.assertEqual([each.seconds for each in self.outcomes], [2, 0, 0])

    def test_management(self) -> None:
        """
        The answers to questions about limits are no answers to a request.
        """
        done = self.replay(wire.getValues(b"A") + wire.getValues() + ONE)
        line, _ = self.line(0)
        line.dataReceived(wire.record(wire.GET_VALUES_RESULT, 0))
        line.dataReceived(wire.record(wire.UNKNOWN_TYPE, 0, bytes(8)))
        line.dataReceived(PAGE + END)
        self.successResultOf(done)
        (outcome,) = self.outcomes
        self.assertEqual((outcome.failure, outcome.answer.status), (None, 201))

    def test_incomplete(self) -> None:
        """
        Of a request that is not whole all there is is sent, and that there is
        no more; the next one gets another connection.
        """
        begun = wire.beginRequest() + wire.params(wire.variables())
        done = self.replay(begun + wire.beginRequest(3) + TWO)
        line, transport = self.line(0)
        self.assertEqual(transport.taken(), begun)
        self.assertTrue(transport.writeClosed)
        line.connectionLost(DONE)
        self.assertFalse(self.outcomes[0].request.isComplete)
        line, transport = self.line(1)
        self.assertEqual(transport.taken(), wire.beginRequest(3))
        line.connectionLost(DONE)
        line, transport = self.line(2)
        self.assertEqual(transport.taken(), TWO)
        line.dataReceived(PAGE + END)
        self.successResultOf(done)

    @table(
        {
            "closed": (PAGE, "the application closed the connection "),
            "wrong": (b"HTTP/1.1 400 Bad\r\n", "a record starts with version 72"),
            "after the end": (
                PAGE + wire.record(wire.STDOUT, 1, b"x"),
                "STDOUT after its end",
            ),
        }
    )
    def test_failure(self, received: bytes, reason: str) -> None:
        """
        If an answer is not whole, or must not be, that is told, with what
        there is of it; then the next request is sent on another connection.
        """
        done = self.replay(ONE + TWO)
        line, _ = self.line(0)
        line.dataReceived(received)
        line.connectionLost(DONE)
        line, transport = self.line(1)
        self.assertEqual(transport.taken(), TWO)
        line.dataReceived(PAGE + END)
        self.successResultOf(done)
        failed, good = self.outcomes
        self.assertTrue(failed.failure and failed.failure.startswith(reason))
        self.assertEqual(good.failure, None)

    def test_timeout(self) -> None:
        """
        No answer is waited for longer than was said.
        """
        done = self.replay(ONE)
        self.clock.advance(4.9)
        self.assertNoResult(done)
        self.clock.advance(0.2)
        self.successResultOf(done)
        (outcome,) = self.outcomes
        self.assertEqual(outcome.failure, "no answer within 5 seconds")
        self.assertEqual(outcome.answer, RecordedAnswer())
