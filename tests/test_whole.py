# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.whole}, and for what L{ApplicationConnection
<twisted_fastcgi.connection.ApplicationConnection>} makes of it: nothing but
what it makes of the same records one by one.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import TableTestCase, countCalls, moderately, table
from twisted_fastcgi.connection import (
    ApplicationConnection,
    InputState,
    Limits,
    RequestReceived,
    StreamEnded,
    StreamReceived,
)
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.pairs import decodePairs
from twisted_fastcgi.whole import wholeRequest

PAIRS = wire.pairs([(b"REQUEST_METHOD", b"POST"), (b"EMPTY", b"")])
LIMITS = Limits(paramsBytes=100, params=4, nameLength=20)


def whole(
    requestId: int = 1,
    params: bytes = PAIRS,
    body: bytes = b"",
    *,
    begin: bytes | None = None,
    padding: int | None = None,
) -> bytes:
    """
    Build the records of a request, each stream in one record at most.

    @param begin: Its first record.
    @param padding: How much of it each record has, but the first.
    """
    contents = [(wire.PARAMS, params), (wire.PARAMS, b""), (wire.STDIN, body)]
    if body:
        contents.append((wire.STDIN, b""))
    return (wire.beginRequest(requestId) if begin is None else begin) + b"".join(
        wire.record(type_, requestId, content, padding=padding)
        for type_, content in contents
    )


class WholeRequestTests(TableTestCase):
    """
    L{wholeRequest} by itself.
    """

    @table(
        {
            "GET": (whole(), (1, 1, True, PAIRS, b"")),
            "POST": (whole(body=b"body"), (1, 1, True, PAIRS, b"body")),
            "largest id": (whole(65535), (65535, 1, True, PAIRS, b"")),
            "other id": (whole(258, body=b"x"), (258, 1, True, PAIRS, b"x")),
            "no padding": (
                whole(body=b"body", padding=0),
                (1, 1, True, PAIRS, b"body"),
            ),
            "closing": (
                whole(begin=wire.beginRequest(keep=False)),
                (1, 1, False, PAIRS, b""),
            ),
            "other flags": (
                whole(begin=wire.beginRequest(flags=0xFE)),
                (1, 1, False, PAIRS, b""),
            ),
            "other role": (
                whole(begin=wire.beginRequest(role=513)),
                (1, 513, True, PAIRS, b""),
            ),
            "largest params": (
                whole(params=bytes(65535)),
                (1, 1, True, bytes(65535), b""),
            ),
        }
    )
    def test_table(self, sent: bytes, expected: object) -> None:
        """
        A request in its usual shape is read, whatever its numbers are.
        """
        self.assertEqual(wholeRequest(sent), expected)

    @table(
        {
            "no bytes": (b"",),
            "no params": (whole(params=b""),),
            "id 0": (whole(0),),
            "body that follows": (whole()[:-8],),
            "end of the body that follows": (whole(body=b"body")[:-8],),
            "one byte too few": (whole()[:-1],),
            "one byte too few of a body": (whole(body=b"body")[:-1],),
            "one byte too many": (whole() + b"\1",),
            "one byte too many after a body": (whole(body=b"body") + b"\1",),
            "another request": (whole() * 2,),
            "longer BEGIN_REQUEST": (
                whole(begin=wire.record(wire.BEGIN_REQUEST, 1, b"\0\1\1" + bytes(6))),
            ),
            "padded BEGIN_REQUEST": (
                whole(
                    begin=wire.record(
                        wire.BEGIN_REQUEST, 1, b"\0\1\1\0\0\0\0\0", padding=8
                    )
                ),
            ),
            "version 0": (b"\0" + whole()[1:],),
            "version 2": (b"\2" + whole()[1:],),
            "another type": (wire.record(9, 1, bytes(8)) + whole()[16:],),
            "another id in PARAMS": (wire.beginRequest(2) + whole()[16:],),
            "another id at the end": (whole()[:-8] + wire.stdin(requestId=2),),
            "another type at the end": (whole()[:-8] + wire.abortRequest(),),
            "STDIN before the end of PARAMS": (
                wire.beginRequest() + wire.record(wire.PARAMS, 1, PAIRS) * 2,
            ),
            "two pieces of a body": (whole()[:-8] + wire.stdin(b"two", sizes=[1, 2]),),
            "STDIN of another request": (
                whole(body=b"body")[:-8] + wire.stdin(requestId=2),
            ),
        }
    )
    def test_other(self, sent: bytes) -> None:
        """
        Anything else is not.
        """
        self.assertIsNone(wholeRequest(sent))

    @moderately
    @given(
        st.integers(1, 65535),
        st.binary(min_size=1, max_size=300),
        st.binary(max_size=300),
        st.sampled_from([None, 0, 1, 7, 255]),
    )
    def test_any(
        self, requestId: int, params: bytes, body: bytes, padding: int | None
    ) -> None:
        """
        What was put in is read, unless an empty record is padded, which none
        of the web servers does.
        """
        sent = whole(requestId, params, body, padding=padding)
        read = None if padding else (requestId, 1, True, params, body)
        self.assertEqual(wholeRequest(sent), read)
        for end in range(0, len(sent), 7):
            self.assertIsNone(wholeRequest(sent[:end]))


class Machine:
    """
    An L{ApplicationConnection} and what has come of what it was fed with.

    @ivar events: The events.
    @ivar taken: How many requests it took as a whole.
    """

    def __init__(self, limits: Limits | None, roles: tuple[int, ...]) -> None:
        self.machine = ApplicationConnection(limits, roles)
        self.events: list[Any] = []
        self.taken = 0
        self.failed = ""

    def feed(self, piece: bytes, *, atOnce: bool) -> None:
        """
        Receive some bytes.

        @param atOnce: Whether a request that is whole is taken in one step.
        """
        request = self.machine.receiveRequest(piece) if atOnce else None
        if request is None:
            self.machine.receiveData(piece)
            self.pull()
            return
        self.taken += 1
        params = list(request.params)
        assert request.variables == dict(params)
        self.events.append(RequestReceived(request.requestId, request.role, params))
        if request.body:
            self.events.append(StreamReceived(wire.STDIN, request.body))
        self.events.append(StreamEnded(wire.STDIN))

    def pull(self) -> None:
        """
        Pull all events.
        """
        try:
            self.events += wire.pull(self.machine)
        except RemoteProtocolError as error:
            self.failed = str(error)

    def answer(self) -> bytes:
        """
        Answer the request in hand, if all of it has come.
        """
        if self.machine.inputState is not InputState.ENDED:
            return b""
        return b"".join([*self.machine.sendStdout(b"hi"), self.machine.endRequest()])

    @property
    def state(self) -> tuple[object, ...]:
        """
        All that matters for what comes next.
        """
        machine = self.machine
        return (
            *(self.failed, self.events, machine.requestId, machine._role),
            *(machine.inputState, machine.outputState, machine.inputPending),
            *(machine.keepConnection, machine.withinRecord, machine.betweenRecords),
            *(machine._params, machine._contentLeft, machine._skipLeft),
            *(machine._stderrUsed, machine._strayInput, machine._actions),
            machine._data[machine._offset :],
        )


_SHORT = st.binary(max_size=30)
_PAIR = st.tuples(st.sampled_from([b"A", b"A", b"HTTP_X", b"n" * 21]), _SHORT)
_PARAMS = st.one_of(
    st.lists(_PAIR, min_size=1, max_size=6).map(wire.pairs),
    st.binary(min_size=1, max_size=120),
)
_BEGIN = st.builds(
    wire.beginRequest,
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([1, 1, 1, 2, 3, 4]),
    flags=st.sampled_from([0, 1, 1, 1, 255]),
)
_WHOLE = st.builds(
    whole,
    st.sampled_from([1, 1, 1, 2]),
    _PARAMS,
    _SHORT,
    begin=st.one_of(st.none(), _BEGIN),
    padding=st.sampled_from([None, None, 0, 3]),
)
_PIECE = st.one_of(
    _WHOLE,
    st.builds(lambda sent, cut: sent[:cut], _WHOLE, st.integers(0, 99)),
    st.builds(lambda sent, cut: sent[cut:], _WHOLE, st.integers(0, 99)),
    st.builds(lambda sent, more: sent + more, _WHOLE, _WHOLE),
    st.sampled_from(
        [wire.abortRequest(), wire.getValues(b"FCGI_MAX_CONNS"), wire.stdin(), b"\1"]
    ),
)


class SameTests(TableTestCase):
    """
    A request that is taken at once is no different from one that is read
    record by record.
    """

    def assertSame(
        self,
        pieces: list[bytes],
        limits: Limits | None = None,
        roles: tuple[int, ...] = (wire.RESPONDER,),
        answered: bool = True,
        refusing: bool = False,
    ) -> int:
        """
        Feed two machines, one of which takes whole requests at once.

        @return: How many it took.
        """
        atOnce, byRecord = Machine(limits, roles), Machine(limits, roles)
        for piece in pieces:
            for each in (atOnce, byRecord):
                each.machine.refusing = refusing
                each.feed(piece, atOnce=each is atOnce)
            self.assertEqual(atOnce.state, byRecord.state)
            if answered:
                self.assertEqual(atOnce.answer(), byRecord.answer())
                self.assertEqual(atOnce.state, byRecord.state)
        return atOnce.taken

    @moderately
    @given(
        st.lists(_PIECE, max_size=6),
        st.sampled_from([None, LIMITS]),
        st.sampled_from([(1,), (1, 2, 3), (2,)]),
        st.booleans(),
        st.booleans(),
    )
    def test_any(
        self,
        pieces: list[bytes],
        limits: Limits | None,
        roles: tuple[int, ...],
        answered: bool,
        refusing: bool,
    ) -> None:
        """
        It leads to the same events, answers and states, whatever came before
        and comes after it, within limits and beyond.
        """
        self.assertSame(pieces, limits, roles, answered, refusing)

    @moderately
    @given(_WHOLE, st.data())
    def test_damaged(self, sent: bytes, data: Any) -> None:
        """
        The same holds for requests with wrong bytes in them.
        """
        damaged = bytearray(sent)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(damaged) - 1))
            damaged[place] = data.draw(st.integers(0, 255))
        self.assertSame([whole(), bytes(damaged), whole()])

    @table({name: (sent,) for name, sent in wire.captures().items()})
    def test_captures(self, sent: bytes) -> None:
        """
        The same holds for what real web servers have sent.
        """
        self.assertSame([sent], roles=(wire.RESPONDER, wire.AUTHORIZER))
        self.assertSame(wire.randomCuts(sent, 1))

    @table(
        {
            f"{server} {kind}": (f"{server}-{kind}",)
            for server in ("nginx", "apache", "caddy", "haproxy", "lighttpd")
            for kind in ("get", "head", "postsmall", "bighdr")
        }
    )
    def test_taken(self, name: str) -> None:
        """
        Small requests are taken at once, if they come in one piece.
        """
        self.assertEqual(self.assertSame([wire.captures()[name]] * 3), 3)

    @table(
        {
            "small": (whole(), 1),
            "with a body": (whole(body=b"x" * 30), 1),
            "too many params": (whole(params=b"\1\1nv" * 5), 0),
            "most params": (whole(params=b"\1\1nv" * 4), 1),
            "too long a name": (whole(params=b"\x15\0" + b"n" * 21), 0),
            "longest name": (whole(params=b"\x14\0" + b"n" * 20), 1),
            "too many bytes": (whole(params=b"\1\x63" + bytes(99)), 0),
            "most bytes": (whole(params=b"\1\x61" + bytes(98)), 1),
            "malformed": (whole(params=b"\1"), 0),
            "unknown role": (whole(begin=wire.beginRequest(role=3)), 0),
            "unserved role": (whole(begin=wire.beginRequest(role=2)), 0),
        }
    )
    def test_edges(self, sent: bytes, taken: int) -> None:
        """
        Within the limits a request is taken at once; what is to be refused is
        left to the rules.
        """
        self.assertEqual(self.assertSame([sent, sent], LIMITS), 2 * taken)

    @table(
        {
            "refusing": ([whole()], True, 0),
            "in hand": ([whole(), whole(2)], False, 1),
            "within a record": ([whole()[:20], whole()], False, 0),
            "within padding": ([whole(body=b"x")[:-9], whole()], False, 0),
            "within a header": ([b"\1", whole()], False, 0),
            "after an error": ([bytes(8), whole()], False, 0),
        }
    )
    def test_notIdle(self, pieces: list[bytes], refusing: bool, taken: int) -> None:
        """
        So is one that comes at any time but when it is awaited.
        """
        found = self.assertSame(pieces, answered=False, refusing=refusing)
        self.assertEqual(found, taken)

    def test_cost(self) -> None:
        """
        What is not spent on its variables is a third at most.
        """
        machine = ApplicationConnection()
        variables = wire.variables()
        sent = wire.request(variables)
        content = wire.pairs(variables)

        def atOnce() -> None:
            machine.receiveRequest(sent)
            machine.endRequest()

        def byRecord() -> None:
            machine.receiveData(sent)
            while machine.nextEvent() is not None:
                pass
            machine.endRequest()

        pairs = countCalls(lambda: decodePairs(content))
        few, many = countCalls(atOnce) - pairs, countCalls(byRecord) - pairs
        self.assertLess(few, many / 3)
