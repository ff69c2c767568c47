# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.figures}: what a server counts, and that nothing is
counted twice or not at all.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests import wire
from tests.tables import TableTestCase, moderately, table
from tests.transports import (
    Application,
    ServerTestCase,
    ServerTransport,
    later,
)
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.errors import ERROR_KINDS, RemoteProtocolError
from twisted_fastcgi.figures import (
    BOUNDS,
    BREAKS,
    CONNECTION_REFUSALS,
    MOST_ACTIVE,
    OUTCOMES,
    REJECTIONS,
    ActiveRequest,
    Figures,
    ProcessStatistics,
    Statistics,
    harmless,
)
from twisted_fastcgi.peers import Peers, RestrictedFactory
from twisted_fastcgi.records import Role

GET = wire.request(wire.variables())
BODY = b"0123456789"
POST = wire.request(wire.postVariables(BODY), BODY)
BEGUN = wire.beginRequest() + wire.params(wire.postVariables(BODY))

counts = st.integers(0, 2**40)
times = st.integers(0, 2**31).map(float)
numbers = st.none() | st.integers(0, 64)


def countsOf(names: Any) -> Any:
    """
    Make up a number for each name.
    """
    return st.fixed_dictionaries({name: counts for name in names})


codes = st.dictionaries(st.integers(200, 999), counts.map(lambda n: n + 1), max_size=5)

actives = st.builds(
    ActiveRequest,
    age=times,
    method=st.binary(max_size=30).map(lambda data: harmless(data, 20)),
    path=st.binary(max_size=30).map(lambda data: harmless(data, 20)),
    pid=counts,
    worker=numbers,
)

processes = st.builds(
    ProcessStatistics,
    pid=counts,
    worker=numbers,
    started=times,
    open=counts,
    active=counts,
    requests=counts,
    silent=st.booleans(),
)

#: Anything that a process can tell of itself.
statistics = st.builds(
    Statistics,
    started=times,
    taken=times,
    accepted=counts,
    open=counts,
    refused=countsOf(CONNECTION_REFUSALS),
    responses=codes,
    refusals=codes,
    rejections=countsOf(REJECTIONS),
    breaks=countsOf(BREAKS),
    active=counts,
    oldest=st.lists(actives, max_size=3).map(tuple),
    buckets=st.tuples(*[counts] * (len(BOUNDS) + 1)),
    duration=times,
    received=counts,
    sent=counts,
    errors=countsOf(ERROR_KINDS),
    processes=st.lists(processes, min_size=1, max_size=3).map(tuple),
)


class StatisticsTests(SynchronousTestCase):
    """
    L{Statistics} can be added up, and go from process to process.
    """

    @moderately
    @given(statistics, statistics)
    def test_commutes(self, one: Statistics, other: Statistics) -> None:
        """
        In which order they are added does not matter.
        """
        self.assertEqual(one + other, other + one)

    @moderately
    @given(statistics, statistics, statistics)
    def test_associates(self, one: Any, two: Any, three: Any) -> None:
        """
        Nor does it in which groups.
        """
        self.assertEqual((one + two) + three, one + (two + three))

    @moderately
    @given(statistics, statistics)
    def test_sums(self, one: Statistics, other: Statistics) -> None:
        """
        Nothing is lost of either.
        """
        both = one + other
        for name in ("requests", "aborts", "open", "accepted", "active", "sent"):
            expected = getattr(one, name) + getattr(other, name)
            self.assertEqual(getattr(both, name), expected, name)
        for outcome, count in both.outcomes.items():
            self.assertEqual(count, one.outcomes[outcome] + other.outcomes[outcome])
        self.assertEqual(len(both.processes), len(one.processes + other.processes))
        self.assertEqual(both.started, min(one.started, other.started))

    @moderately
    @given(statistics)
    def test_JSON(self, one: Statistics) -> None:
        """
        They are the same after a journey as JSON.
        """
        self.assertEqual(Statistics.fromJSON(json.loads(json.dumps(one.toJSON()))), one)

    @moderately
    @given(statistics)
    def test_cumulative(self, one: Statistics) -> None:
        """
        Each bucket that is told has all that the one before has, and the last
        one has all requests.
        """
        self.assertEqual(list(one.cumulative), sorted(one.cumulative))
        self.assertEqual(len(one.cumulative), len(BOUNDS) + 1)
        self.assertEqual(one.cumulative[-1], sum(one.buckets))

    @moderately
    @given(statistics, statistics)
    def test_withoutProcess(self, one: Statistics, other: Statistics) -> None:
        """
        When a process is gone, what it had in hand is, too; what it has counted
        stays.
        """
        nothing = Statistics(started=0, taken=0)
        alone, both = one + nothing, one + other.withoutProcess()
        for name in ("open", "active", "oldest", "processes"):
            self.assertEqual(getattr(both, name), getattr(alone, name), name)
        self.assertEqual(both.requests, one.requests + other.requests)

    def test_most(self) -> None:
        """
        Of many active requests the oldest are told.
        """
        each = ActiveRequest(age=0, method="GET", path="/", pid=1)
        old = replace(each, age=1000)
        many = tuple(replace(each, age=age) for age in range(MOST_ACTIVE))
        one = Statistics(started=0, taken=0, oldest=many, active=len(many))
        both = one + Statistics(started=0, taken=0, oldest=(old,), active=1)
        self.assertEqual(both.active, MOST_ACTIVE + 1)
        self.assertEqual(len(both.oldest), MOST_ACTIVE)
        self.assertEqual((both.oldest[0], both.oldest[-1].age), (old, 1))

    def test_uptime(self) -> None:
        """
        The uptime is never negative, even if the clock was set back.
        """
        self.assertEqual(Statistics(started=5, taken=7).uptime, 2)
        self.assertEqual(Statistics(started=7, taken=5).uptime, 0)

    def test_notStatistics(self) -> None:
        """
        Nothing else can be added.
        """
        with self.assertRaises(TypeError):
            Statistics(started=0, taken=0) + 1  # type: ignore[operator]

    def test_outcomes(self) -> None:
        """
        What became of the requests is told by the same names, whatever it was.
        """
        one = Statistics(started=0, taken=0, responses={200: 2, 404: 1})
        self.assertEqual(tuple(one.outcomes), OUTCOMES)
        self.assertEqual((one.outcomes["answered"], one.requests), (3, 3))


class HarmlessTests(TableTestCase):
    """
    L{harmless}
    """

    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """
        Anything becomes visible ASCII of a bounded length.
        """
        text = harmless(data, 20)
        self.assertTrue(text.isascii() and (text.isprintable() or not text))
        self.assertLessEqual(len(text), 4 * 20 + 3)

    @table(
        {
            "plain": (b"/a b", "/a b"),
            "cut": (b"/" + b"a" * 30, "/" + "a" * 19 + "..."),
            "escaped": (b'\\n\n\x1b[1m\xff"<', '\\\\n\\n\\x1b[1m\\xff"<'),
        }
    )
    def test_text(self, data: bytes, expected: str) -> None:
        """
        What can be seen stays as it is, but for the backslash.
        """
        self.assertEqual(harmless(data, 20), expected)


class FiguresTests(TableTestCase):
    """
    L{Figures}
    """

    def figures(self) -> Figures:
        """
        Make some, with a clock that can be set.
        """
        self.now = 1000.0
        return Figures(lambda: self.now)

    def told(self, figures: Figures) -> Statistics:
        """
        Have them told.
        """
        return figures.statistics([], open=0, received=0, sent=0)

    @table(
        {
            "none": (0.0, 0),
            "the first bound": (BOUNDS[0], 0),
            "just above": (BOUNDS[0] * 1.01, 1),
            "another bound": (1.0, BOUNDS.index(1.0)),
            "the last bound": (BOUNDS[-1], len(BOUNDS) - 1),
            "above all": (1e9, len(BOUNDS)),
        }
    )
    def test_buckets(self, seconds: float, index: int) -> None:
        """
        A duration is in the first bucket whose bound is not below it.
        """
        figures = self.figures()
        # So the difference is exact.
        self.now = seconds
        figures.answered(200, 0.0)
        figures.time(0.0)
        told = self.told(figures)
        expected = [0] * (len(BOUNDS) + 1)
        expected[index] = 2
        self.assertEqual(told.buckets, tuple(expected))
        self.assertApproximates(told.duration, 2 * seconds, 2e-6)

    @moderately
    @given(st.lists(st.floats(0, 1000), min_size=1, max_size=20))
    def test_exact(self, durations: list[float]) -> None:
        """
        In whatever order durations are added up, their sum is the same: so it does
        not fall when a process is gone.
        """
        totals = []
        for seconds in durations:
            figures = Figures(lambda seconds=seconds: seconds)  # type: ignore[misc]
            figures.time(0)
            totals.append(figures.statistics([], 0, 0, 0).duration)
        self.assertEqual(sum(totals), sum(reversed(totals)))
        self.assertEqual(sum(totals), math.fsum(totals))
        for total, seconds in zip(totals, durations, strict=True):
            self.assertApproximates(total, seconds, 1e-6)

    def test_setBack(self) -> None:
        """
        A clock that was set back makes no duration negative.
        """
        figures = self.figures()
        figures.answered(200, 5000.0)
        figures.answered(200, 999.0)
        told = self.told(figures)
        self.assertEqual((told.duration, told.buckets[0]), (1.0, 1))
        self.assertEqual(sum(told.buckets), 2)

    def test_settle(self) -> None:
        """
        What has just been counted is put in its place before it is told, and,
        so that it takes no space, now and then.
        """
        figures = self.figures()
        for code in (200, 200, 404):
            figures.answered(code, 1000.0)
        figures.settle(4)
        self.assertEqual(sum(map(len, figures.fresh.values())), 3)
        figures.settle(3)
        self.assertEqual(sum(map(len, figures.fresh.values())), 0)
        figures.answered(404, 1000.0)
        told = self.told(figures)
        self.assertEqual(told.responses, {200: 2, 404: 2})
        self.assertEqual(told.buckets[0], 4)
        self.assertEqual(self.told(figures), told)

    def test_process(self) -> None:
        """
        It is told which process it is.
        """
        figures = self.figures()
        figures.worker = 3
        self.now += 5
        told = figures.statistics(
            [figures.active(b"GET", b"/a?secret", 2.5)], open=4, received=10, sent=20
        )
        self.assertEqual(told.processes[0].pid, os.getpid())
        self.assertEqual((told.processes[0].worker, told.processes[0].open), (3, 4))
        self.assertEqual(told.oldest[0].worker, 3)
        self.assertEqual(told.oldest[0].path, "/a")
        self.assertEqual((told.started, told.uptime), (1000, 5))
        self.assertEqual((told.received, told.sent), (10, 20))


class Failing(Resource):
    """
    Fails after a part of its response.
    """

    isLeaf = True

    def render(self, request: Request) -> int:
        request.write(b"some")
        raise ValueError("it was meant to")


class CountingTestCase(ServerTestCase):
    """
    A test case in which a server counts.
    """

    def assertCounted(self, **expected: Any) -> Statistics:
        """
        See that nothing else was counted than what is expected of outcomes and
        errors.

        @return: The figures.
        """
        told = self.factory.statistics()
        counted = {**told.outcomes, **told.errors}
        self.assertEqual({n: c for n, c in counted.items() if c}, expected)
        return told


class CountingTests(CountingTestCase):
    """
    What happens to requests is counted, each once.
    """

    def test_nothing(self) -> None:
        """
        At first there is nothing.
        """
        self.serve()
        told = self.assertCounted()
        self.assertEqual((told.accepted, told.open, told.active), (0, 0, 0))
        self.assertEqual((told.requests, sum(told.buckets)), (0, 0))

    @table(
        {
            "at once": (b"hello", 200),
            "an empty body": (b"", 200),
            "a status": (lambda request: request.setResponseCode(404) or b"no", 404),
            "no content": (lambda request: request.setResponseCode(204) or b"", 204),
            "pieces": (lambda request: request.write(b"some ") or b"more", 200),
            "an impossible status": (
                lambda request: request.setResponseCode(100) or b"x",
                500,
            ),
            "a failure": (lambda request: 1 / 0, 500),
        }
    )
    def test_answered(self, answer: Any, code: int) -> None:
        """
        A whole response counts by its status code, that which was sent.
        """
        self.serve(answer)
        for sent in (GET, GET, POST):
            self.exchange(sent)
        told = self.assertCounted(answered=3)
        self.assertEqual(told.responses, {code: 3})
        self.assertEqual(sum(told.buckets), 3)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_duration(self) -> None:
        """
        How long a request took is counted when it is over.
        """
        application = self.serve(later)
        self.exchange(GET)
        self.advance(2)
        self.assertEqual(sum(self.factory.statistics().buckets), 0)
        application.request.finish()
        told = self.assertCounted(answered=1)
        self.assertEqual((told.duration, told.buckets[BOUNDS.index(2.5)]), (2, 1))

    @table(
        {
            "wrong variables": (
                wire.request(wire.variables(REQUEST_METHOD=None)),
                {"refused": 1, "variables": 1},
                {400: 1},
            ),
            "a long path": (
                wire.request(wire.variables(b"/" * 5000)),
                {"refused": 1},
                {414: 1},
            ),
            "a large body": (POST, {"refused": 1}, {413: 1}),
            "a short body": (
                BEGUN + wire.stdin(b"012"),
                {"refused": 1, "short_body": 1},
                {400: 1},
            ),
            "broken variables": (
                wire.beginRequest()
                + wire.record(wire.PARAMS, 1, b"\x05")
                + wire.record(wire.PARAMS, 1),
                {"refused": 1, "params": 1},
                {400: 1},
            ),
            "a body too early": (
                wire.beginRequest() + wire.stdin(b"x"),
                {"refused": 1, "params": 1},
                {400: 1},
            ),
            "too many variables": (
                wire.request(wire.variables(MANY=b"x" * 5000)),
                {"refused": 1},
                {431: 1},
            ),
        }
    )
    def test_refused(
        self, sent: bytes, expected: dict[str, int], codes: dict[int, int]
    ) -> None:
        """
        A request that gets a page of the server's own is refused, for being
        wrong or too much.
        """
        large, many = codes == {413: 1}, codes == {431: 1}
        self.serve(
            limits=Limits(
                bodyBytes=5 if large else 1000, paramsBytes=1000 if many else 100000
            )
        )
        self.exchange(sent)
        self.advance(3)
        told = self.assertCounted(**expected)
        self.assertEqual((told.refusals, told.responses), (codes, {}))

    def test_slowBody(self) -> None:
        """
        So is one whose body does not come in time.
        """
        self.serve(limits=Limits(bodyTimeout=5))
        self.exchange(BEGUN)
        self.advance(7)
        told = self.assertCounted(refused=1)
        self.assertEqual(told.refusals, {408: 1})
        self.assertEqual(sum(told.buckets), 1)

    def test_failedBefore(self) -> None:
        """
        The application that fails before it has the request has answered 500.
        """

        def make(*args: Any) -> Any:
            raise ValueError("it was meant to")

        self.serve(Site(Application(b""), make, reactor=self.clock))
        self.exchange(GET)
        told = self.assertCounted(answered=1)
        self.assertEqual(told.responses, {500: 1})
        self.flushLoggedErrors(ValueError)

    @table(
        {
            "overloaded": (GET, Limits(connections=1), {"overloaded": 1}),
            "a role": (
                wire.request(wire.variables(), role=Role.FILTER),
                Limits(connections=2),
                {"unknown_role": 1},
            ),
        }
    )
    def test_rejected(
        self, sent: bytes, limits: Limits, expected: dict[str, int]
    ) -> None:
        """
        What the protocol rejects is counted by the reason.
        """
        self.serve(limits=limits)
        self.connect()
        self.exchange(sent)
        told = self.assertCounted(**expected)
        self.assertEqual(sum(told.buckets), 0)

    def test_roleOfResource(self) -> None:
        """
        So is a role that is rejected for what the path leads to.
        """
        self.serve(roles=[Role.AUTHORIZER])
        self.exchange(wire.request(wire.variables(), role=Role.AUTHORIZER))
        self.assertCounted(unknown_role=1)

    def test_multiplexed(self) -> None:
        """
        A second request on the same connection at the same time is rejected;
        the first one goes on.
        """
        application = self.serve(later)
        self.exchange(GET, wire.request(wire.variables(), requestId=2))
        self.assertCounted(cant_multiplex=1)
        application.request.finish()
        self.assertCounted(cant_multiplex=1, answered=1)

    def test_aborted(self) -> None:
        """
        A request that the web server aborts is counted as such, whether the
        application has it or not.
        """
        self.serve(later)
        abort = wire.record(wire.ABORT_REQUEST, 1)
        self.exchange(GET, abort)
        told = self.assertCounted(aborted=1)
        self.assertEqual(sum(told.buckets), 1)
        self.exchange(wire.beginRequest(), abort)
        self.assertCounted(aborted=2)

    def test_disconnected(self) -> None:
        """
        So is one whose connection the web server closes: that is its way to
        abort.
        """
        self.serve(later)
        self.exchange(GET).close()
        told = self.assertCounted(disconnected=1)
        self.assertEqual((told.aborts, told.active, told.open), (1, 0, 0))

    def test_failedMidway(self) -> None:
        """
        A response that breaks off was not answered, but has failed.
        """
        self.serve(Failing())
        self.exchange(GET)
        self.flushLoggedErrors(ValueError)
        self.assertCounted(failed=1)

    @table(
        {
            "too short": (
                lambda request: (
                    request.setHeader("Content-Length", "9"),
                    request.write(b"x"),
                    request.finish(),
                ),
            ),
            "given up": (lambda request: request.loseConnection(),),
            "given up midway": (
                lambda request: (request.write(b"x"), request.loseConnection()),
            ),
            "cut off": (lambda request: request.transport.abortConnection(),),
            "nothing at all": (lambda request: request.channel.requestDone(request),),
        }
    )
    def test_failed(self, act: Any) -> None:
        """
        So has one that the application ends before it is whole, in whatever
        way.
        """
        application = self.serve(later)
        self.exchange(GET)
        act(application.request)
        self.advance(3)
        told = self.assertCounted(failed=1)
        self.assertEqual((sum(told.buckets), told.responses), (1, {}))

    def test_failedInTwisted(self) -> None:
        """
        So has one of Twisted's own requests that fails midway.
        """
        self.serve(Site(Failing(), Plain, reactor=self.clock))
        self.exchange(GET)
        self.flushLoggedErrors(ValueError)
        self.assertCounted(failed=1)

    @table(
        {
            "a broken record": (
                Limits(),
                b"GET / HTTP/1.1\r\n\r\n",
                {"not_fastcgi": 1, "cut_off": 1},
            ),
            "begun twice": (
                Limits(),
                BEGUN[:16],
                {"begin_request": 1, "cut_off": 1},
            ),
            "a flood": (
                Limits(queuedAnswers=0),
                wire.record(77, 0),
                {"unread_answers": 1, "cut_off": 1},
            ),
        }
    )
    def test_cutOff(self, limits: Limits, sent: bytes, expected: Any) -> None:
        """
        A request is cut off when its connection breaks the protocol.
        """
        application = self.serve(later, limits=limits)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        application.request.write(b"x" * 100000)
        transport.receive(sent)
        transport.stalled = False
        transport.drain()
        self.advance(3)
        self.assertCounted(**expected)

    @table(
        {
            "no FastCGI": (b"GET / HTTP/1.1\r\n\r\n", "not_fastcgi"),
            "id 0": (wire.beginRequest(requestId=0), "begin_request"),
            "short": (wire.record(wire.BEGIN_REQUEST, 1, b"\0\1"), "begin_request"),
            "management": (wire.record(wire.GET_VALUES, 0, b"\x05"), "management"),
        }
    )
    def test_errors(self, sent: bytes, kind: str) -> None:
        """
        What a peer does wrong is counted by its kind, also without a request.
        """
        self.serve()
        self.exchange(sent)
        self.advance(3)
        self.assertCounted(**{kind: 1})

    def test_stalled(self) -> None:
        """
        So are variables that stop coming.
        """
        self.serve(limits=Limits(paramsTimeout=5))
        self.exchange(wire.beginRequest())
        self.advance(7)
        self.assertCounted(params_timeout=1, cut_off=1)

    def test_variables(self) -> None:
        """
        A request counts also if the web server is gone before all variables have
        come.
        """
        self.serve()
        self.exchange(wire.beginRequest()).close()
        told = self.assertCounted(disconnected=1)
        self.assertEqual(sum(told.buckets), 0)

    def test_kinds(self) -> None:
        """
        An error is of a known kind, also when it is told again.
        """
        self.assertIn(RemoteProtocolError("x").kind, ERROR_KINDS)
        self.assertEqual(RemoteProtocolError("x", kind="params").kind, "params")

    def test_unread(self) -> None:
        """
        A request is cut off when the web server does not read its answer.
        """
        application = self.serve(later, limits=Limits(writeTimeout=5))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        application.request.write(b"x" * 100000)
        self.advance(8)
        self.assertCounted(cut_off=1)


class Plain(Request):
    """
    A request of Twisted's, made as it is.
    """


class ConnectionTests(CountingTestCase):
    """
    Connections and what goes over them are counted.
    """

    def test_open(self) -> None:
        """
        Those that are open, and those that were accepted.
        """
        self.serve()
        first = self.connect()
        self.connect()
        first.close()
        told = self.factory.statistics()
        self.assertEqual((told.open, told.accepted), (1, 2))
        self.assertEqual(set(told.refused.values()), {0})

    def test_limit(self) -> None:
        """
        Those beyond the limit are refused.
        """
        self.serve(limits=Limits(connections=1))
        self.connect()
        self.connect()
        told = self.factory.statistics()
        self.assertEqual((told.accepted, told.refused["limit"]), (2, 1))

    def test_draining(self) -> None:
        """
        So are those that come while the server is about to stop.
        """
        self.serve(later)
        self.exchange(GET)
        self.factory.drain(5)
        self.connect()
        told = self.factory.statistics()
        self.assertEqual((told.accepted, told.refused["draining"]), (2, 1))
        self.advance(6)
        self.assertCounted(cut_off=1)

    def test_afterCutOff(self) -> None:
        """
        A request that was cut off is not answered, though the application finishes
        it before it hears of that.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        self.factory.drain(5)
        self.clock.advance(5)
        self.assertTrue(transport.aborting)
        application.request.write(b"all")
        application.request.finish()
        transport.settle()
        self.assertCounted(cut_off=1)

    def test_peers(self) -> None:
        """
        So are those of peers that may not connect.
        """
        self.serve()
        restricted = RestrictedFactory(self.factory, [Peers("10.0.0.0/8")])
        stranger = IPv4Address("TCP", "192.0.2.1", 4711)
        self.assertIsNone(restricted.buildProtocol(stranger))
        told = self.factory.statistics()
        self.assertEqual((told.accepted, told.refused["peer"]), (1, 1))
        # Where it is found out by a port.
        restricted.peerRefused()
        self.assertEqual(self.factory.statistics().refused["peer"], 2)

    @table({"whole": ([GET],), "in bits": ([GET[:20], GET[20:]],)})
    def test_bytes(self, pieces: list[bytes]) -> None:
        """
        The bytes that come and go are counted, while the connection is open and
        when it is not.
        """
        self.serve()
        transport = self.exchange(*pieces)
        told = self.factory.statistics()
        self.assertEqual(told.received, len(GET))
        self.assertEqual(told.sent, len(transport.value()))
        transport.close()
        again = self.factory.statistics()
        self.assertEqual((again.received, again.sent), (told.received, told.sent))

    def test_settled(self) -> None:
        """
        Nothing is kept for each request for more than a second, nor when many
        connections are gone before that.
        """
        self.serve()
        transport = self.exchange(GET)
        self.assertEqual(self.factory.figures.fresh, {200: [0.0]})
        self.advance(2)
        self.assertEqual(self.factory.figures.fresh, {200: []})
        transport.receive(*[GET] * 1000)
        self.assertEqual(len(self.factory.figures.fresh[200]), 1000)
        transport.close()
        self.assertEqual(self.factory.figures.fresh, {200: []})
        self.assertEqual(self.factory.statistics().responses, {200: 1001})


class ActiveTests(CountingTestCase):
    """
    Active requests are found when they are asked for.
    """

    def test_active(self) -> None:
        """
        They are told with age, method and path, those in hand the longest
        first.
        """
        application = self.serve(later)
        self.exchange(GET)
        self.advance(3)
        first = application.request
        self.exchange(
            wire.request(wire.variables(b"/a b", QUERY_STRING=b"q"), requestId=4)
        )
        told = self.factory.statistics()
        self.assertEqual(told.active, 2)
        self.assertEqual(
            [(each.age, each.method, each.path) for each in told.oldest],
            [(3, "GET", "/"), (0, "GET", "/a%20b")],
        )
        first.channel.hidden = True
        self.assertEqual(self.factory.statistics().active, 1)

    def test_pipelined(self) -> None:
        """
        A connection between two requests has none.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        application.request.finish()
        self.assertEqual(self.factory.statistics().active, 0)
        transport.receive(BEGUN)
        self.assertEqual(self.factory.statistics().active, 1)

    def test_rendering(self) -> None:
        """
        A request that is being rendered is active.
        """
        seen: list[Statistics] = []

        def answer(request: Any) -> Any:
            seen.append(self.factory.statistics())
            request.finish()
            return NOT_DONE_YET

        self.serve(answer)
        self.exchange(GET)
        self.assertEqual((seen[0].active, seen[0].requests), (1, 0))
        self.assertEqual(seen[0].processes[0].active, 1)
