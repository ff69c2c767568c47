# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.connection}: L{Limits} and the application's side,
L{ApplicationConnection}.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import pairwise
from math import inf, nan
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import CountedBytes, TableTestCase, countCalls, moderately, table
from tests.wire import feed, records, response
from twisted_fastcgi.connection import (
    INPUT_ACTIONS,
    INPUT_ORDER,
    ApplicationConnection,
    InputState,
    Limits,
    ManagementReceived,
    OutputState,
    RequestAborted,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
)
from twisted_fastcgi.errors import LocalProtocolError, RemoteProtocolError
from twisted_fastcgi.records import STREAM_CONTENT_LENGTH

VARIABLES = [(b"REQUEST_METHOD", b"POST"), (b"EMPTY", b""), (b"TWICE", b"1")]
ROLES = {
    "RESPONDER": wire.RESPONDER,
    "AUTHORIZER": wire.AUTHORIZER,
    "FILTER": wire.FILTER,
}
DIFFERENCES = {"one below": -1, "at": 0, "one above": 1}
TYPES = [*range(13), 255]

#: Where the input of a request can stand, by role, in order.
STATES = {
    "RESPONDER": ["PARAMS", "STDIN", "ENDED"],
    "AUTHORIZER": ["PARAMS", "ENDED"],
    "FILTER": ["PARAMS", "STDIN", "DATA", "ENDED"],
}


def connection(**limits: Any) -> ApplicationConnection:
    """
    Make an application's connection that serves every role.

    @param limits: What is not as in L{Limits} by default.
    """
    return ApplicationConnection(Limits(**limits), ROLES.values())


def received(requestId: int = 1, role: int = wire.RESPONDER) -> RequestReceived:
    """
    Make the event of a request with L{VARIABLES}.
    """
    return RequestReceived(requestId, role, VARIABLES)


def begun(
    requestId: int = 1, role: str = "RESPONDER", state: str = "ENDED", **limits: Any
) -> ApplicationConnection:
    """
    Make a connection with a request that was received up to a state: all
    before that stream, and a piece of the stream.
    """
    machine = connection(**limits)
    begin(machine, requestId, role, state)
    return machine


def begin(
    machine: ApplicationConnection, requestId: int, role: str, state: str
) -> None:
    """
    Let a request begin, see L{begun}.
    """
    sent = wire.beginRequest(requestId, ROLES[role])
    for name in STATES[role]:
        content = wire.pairs(VARIABLES[:1]) if name == "PARAMS" else b"first "
        if name != "ENDED":
            type_ = getattr(wire, name)
            rest = wire.pairs(VARIABLES[1:]) if name == "PARAMS" else b""
            end = name != state
            content += rest if end else b""
            sent += wire.stream(type_, requestId, content, end=end)
        if name == state:
            break
    feed(machine, sent)


def finish(requestId: int, role: str, state: str) -> bytes:
    """
    Build what is missing of a request that L{begun} has begun.
    """
    built = b""
    for name in STATES[role][STATES[role].index(state) : -1]:
        content = b"last"
        if name == "PARAMS":
            content = wire.pairs(VARIABLES[1:])
        built += wire.stream(getattr(wire, name), requestId, content)
    return built


def lengths(machine: ApplicationConnection) -> tuple[int, int, int]:
    """
    Tell how many bytes a connection keeps, of each kind.
    """
    unused = len(machine._data) - machine._offset
    return unused, len(machine._params), len(machine._collected)


class ConnectionTestCase(TableTestCase):
    """
    What all tests of the application's side need.
    """

    def assertServes(self, machine: ApplicationConnection, requestId: int = 77) -> None:
        """
        See that the next request on a connection is served.
        """
        self.assertIs(machine.inputState, InputState.IDLE)
        sent = wire.request(VARIABLES, b"body", requestId)
        self.assertEqual(
            feed(machine, sent),
            [
                received(requestId),
                StreamReceived(wire.STDIN, b"body"),
                StreamEnded(wire.STDIN),
            ],
        )
        answer = response([*machine.sendStdout(b"hello"), machine.endRequest()])
        self.assertEqual(
            (answer.requestId, answer.stdout, answer.stdoutEnded, answer.appStatus),
            (requestId, b"hello", True, 0),
        )
        self.assertFalse(machine.inputPending)

    def assertFailed(self, machine: ApplicationConnection, sent: bytes) -> str:
        """
        See that bytes end a connection, for good.

        @return: What the error says.
        """
        error = self.assertRaises(RemoteProtocolError, feed, machine, sent)
        good = wire.request(VARIABLES, requestId=78)
        again = self.assertRaises(RemoteProtocolError, feed, machine, good)
        self.assertEqual((type(again), again.args), (type(error), error.args))
        return str(error)

    def assertRejected(
        self,
        event: object,
        requestId: int,
        status: int,
        protocolStatus: int = wire.REQUEST_COMPLETE,
    ) -> str:
        """
        See that a request was answered with a page, an empty STDOUT record
        and END_REQUEST, all of them with its id.

        @return: The reason that the event gives.
        """
        assert isinstance(event, RequestRejected), event
        answer = response(event.data)
        self.assertEqual(
            (event.requestId, answer.requestId, answer.status, answer.appStatus),
            (requestId, requestId, status, 0),
        )
        self.assertEqual(answer.protocolStatus, protocolStatus)
        self.assertEqual(answer.headers[-1][0], b"Status")
        self.assertEqual(
            answer.header(b"Content-Length"), b"%d" % len(answer.body), answer.stdout
        )
        self.assertIn(b"<html", answer.body)
        types = [record.type for record in answer.records]
        self.assertEqual(types, [wire.STDOUT, wire.STDOUT, wire.END_REQUEST])
        self.assertTrue(answer.stdoutEnded)
        return event.reason

    def assertAborted(self, events: list[Any], requestId: int) -> None:
        """
        See that ABORT_REQUEST was answered with END_REQUEST alone.
        """
        ending = (wire.END_REQUEST, requestId, b"\0\0\0\1" + bytes(4))
        (event,) = events
        self.assertIsInstance(event, RequestAborted)
        self.assertEqual(event.requestId, requestId)
        self.assertEqual(records(event.data), [ending])


class LimitsTests(TableTestCase):
    """
    L{Limits} refuses what makes no sense.
    """

    @table(
        {
            f"{name} {value}": (name, value)
            for names, values in [
                ("paramsBytes params nameLength connections", (0, -1, nan)),
                ("bodyBytes queuedAnswers unheededBytes", (-1, nan)),
                ("paramsTimeout bodyTimeout writeTimeout idleTimeout", (0, -0.5, nan)),
            ]
            for name in names.split()
            for value in values
        }
    )
    def test_refused(self, name: str, value: float) -> None:
        """
        A limit that would let nothing through is refused by name and value.
        """
        error = self.assertRaises(ValueError, Limits, **{name: value})
        self.assertTrue(str(error).startswith(f"{name} "), str(error))
        self.assertTrue(str(error).endswith(f": {value!r}"), str(error))

    @table(
        {
            f"{name} {value}": (name, value)
            for names, values in [
                ("paramsBytes params nameLength connections", (1, 2**40)),
                ("bodyBytes queuedAnswers unheededBytes", (0, 1, 2**40)),
                (
                    "paramsTimeout bodyTimeout writeTimeout idleTimeout",
                    (0.001, inf, None),
                ),
                ("bodyBytes unheededBytes", (None,)),
            ]
            for name in names.split()
            for value in values
        }
    )
    def test_accepted(self, name: str, value: Any) -> None:
        """
        Limits may be as tight as one, times as short as one likes; L{None} is
        no limit where that is offered.
        """
        self.assertEqual(getattr(Limits(**{name: value}), name), value)

    def test_defaults(self) -> None:
        """
        The limits by default are those that the documentation tells, and there
        is none that is not tested here.
        """
        expected = {
            "paramsBytes": 1048576,
            "params": 16384,
            "nameLength": 65535,
            "bodyBytes": None,
            "connections": 1000,
            "queuedAnswers": 64,
            "unheededBytes": 8388608,
            "paramsTimeout": 30,
            "bodyTimeout": 300,
            "writeTimeout": 600,
            "idleTimeout": None,
        }
        self.assertEqual(dataclasses.asdict(Limits()), expected)
        self.assertEqual(ApplicationConnection().limits, Limits())

    def test_frozen(self) -> None:
        """
        Limits can't be changed, because connections share them.
        """
        frozen = dataclasses.FrozenInstanceError
        self.assertRaises(frozen, setattr, Limits(), "params", 5)


# What becomes of a record of each type in each state of the input; of two
# words, the first is for a record with content, the second for an empty one.
# "." stands for: ignored.
_TABLE = """
                   IDLE          PARAMS             STDIN        DATA         ENDED
BEGIN_REQUEST      begun/failed  failed             failed       failed       failed
ABORT_REQUEST      .             aborted            aborted      aborted      aborted
END_REQUEST        .             .                  .            .            .
PARAMS             .             gathered/received  .            .            .
STDIN              .             refused            piece/ended  .            .
STDOUT             .             .                  .            .            .
STDERR             .             .                  .            .            .
DATA               .             .                  .            piece/ended  .
GET_VALUES         .             .                  .            .            .
GET_VALUES_RESULT  .             .                  .            .            .
UNKNOWN_TYPE       .             .                  .            .            .
0                  .             .                  .            .            .
12                 .             .                  .            .            .
255                .             .                  .            .            .
"""

#: The events that the outcomes of the table have.
_EVENTS = {
    "received": [RequestReceived],
    "refused": [RequestRejected],
    "aborted": [RequestAborted],
    "piece": [StreamReceived],
    "ended": [StreamEnded],
}


def _cells() -> dict[tuple[str, int, bool], str]:
    """
    Read the table.

    @return: By state, type and whether there is content: the outcome.
    """
    header, *lines = _TABLE.strip().splitlines()
    cells = {}
    for line in lines:
        name, *outcomes = line.split()
        type_ = getattr(wire, name) if name.isupper() else int(name)
        for state, outcome in zip(header.split(), outcomes, strict=True):
            filled, _, empty = outcome.partition("/")
            cells[state, type_, True] = filled
            cells[state, type_, False] = empty or filled
    return cells


def _content(type_: int, role: str) -> bytes:
    """
    Make content for a record of some type.
    """
    known = {
        wire.BEGIN_REQUEST: wire.beginRequest(1, ROLES[role])[8:],
        wire.PARAMS: wire.pairs([(b"MORE", b"of it")]),
    }
    return known.get(type_, b"content")


class InputTableTests(ConnectionTestCase):
    """
    Each state of the input and each type of record: what the web server gets,
    and that the next request is served.
    """

    cells = _cells()

    def test_complete(self) -> None:
        """
        The table has all states and types.
        """
        states = ["IDLE", *STATES["FILTER"]]
        self.assertEqual({state.name for state in InputState}, set(states))
        self.assertEqual(
            set(self.cells),
            {(s, t, filled) for s in states for t in TYPES for filled in (True, False)},
        )

    @table(
        {
            f"{role} {state} {filled}": (role, state, filled == "with content")
            for role in ROLES
            for state in STATES[role]
            for filled in ("with content", "empty")
        }
    )
    def test_inHand(self, role: str, state: str, filled: bool) -> None:
        """
        A record of the request in hand is taken, ignored, answered, or ends
        the connection, as the table says.
        """
        for type_ in TYPES:
            outcome = self.cells[state, type_, filled]
            content = _content(type_, role) if filled else b""
            machine = begun(1, role, state)
            sent = wire.record(type_, 1, content)
            self.assertTrue(self.check(machine, role, state, outcome, sent), type_)

    @table(
        {filled: (filled == "with content",) for filled in ("with content", "empty")}
    )
    def test_idle(self, filled: bool) -> None:
        """
        A record of an inactive id, be it of a request that was or of none
        ever, is ignored as long as it does not begin a request.
        """
        for type_ in TYPES:
            outcome = self.cells["IDLE", type_, filled]
            content = _content(type_, "RESPONDER") if filled else b""
            for requestId in (1, 2, 65535):
                machine = begun(1)
                machine.endRequest()
                sent = wire.record(type_, requestId, content)
                checked = self.check(
                    machine, "RESPONDER", "IDLE", outcome, sent, requestId
                )
                self.assertTrue(checked, (type_, requestId))

    def check(
        self,
        machine: ApplicationConnection,
        role: str,
        state: str,
        outcome: str,
        sent: bytes,
        requestId: int = 1,
    ) -> bool:
        """
        Check one cell of the table, the state after it and all that follows.
        """
        if outcome == "failed":
            self.assertFailed(machine, sent)
            return True
        events = feed(machine, sent)
        found = [type(event) for event in events]
        self.assertEqual(found, _EVENTS.get(outcome, []), f"{state} {sent!r}")
        after = self.after(role, state, outcome)
        self.assertEqual(machine.inputState.name, after, f"{state} {sent!r}")
        if outcome == "received":
            self.assertEqual(events[0].params, VARIABLES[:1])
        elif outcome == "refused":
            self.assertRejected(events[0], 1, 400)
        elif outcome == "aborted":
            self.assertAborted(events, 1)
        if after != "IDLE":
            self.finish(machine, role, after, outcome, requestId)
        self.assertServes(machine)
        return True

    def after(self, role: str, state: str, outcome: str) -> str:
        """
        Tell the state that follows an outcome.
        """
        if outcome in ("received", "ended"):
            return STATES[role][STATES[role].index(state) + 1]
        if outcome in ("refused", "aborted"):
            return "IDLE"
        return "PARAMS" if outcome == "begun" else state

    def finish(
        self,
        machine: ApplicationConnection,
        role: str,
        state: str,
        outcome: str,
        requestId: int,
    ) -> None:
        """
        Send the rest of the request, see that nothing of it was lost and
        nothing of the record was mixed into it unless it was taken, and
        answer it.
        """
        events = feed(machine, finish(requestId, role, state))
        expected: list[object] = []
        for name in STATES[role][STATES[role].index(state) : -1]:
            if name == "PARAMS":
                more = [(b"MORE", b"of it")] if outcome == "gathered" else []
                first = [] if outcome == "begun" else VARIABLES[:1]
                pairs = [*first, *more, *VARIABLES[1:]]
                expected.append(RequestReceived(requestId, ROLES[role], pairs))
            else:
                type_ = getattr(wire, name)
                expected += [StreamReceived(type_, b"last"), StreamEnded(type_)]
        self.assertEqual(events, expected, f"{state} {outcome}")
        answer = response([*machine.sendStdout(b"done"), machine.endRequest()])
        self.assertEqual((answer.requestId, answer.stdout), (requestId, b"done"))

    @table(
        {f"{role} {state}": (role, state) for role in ROLES for state in STATES[role]}
    )
    def test_otherId(self, role: str, state: str) -> None:
        """
        Records of another id than that of the request in hand do nothing to
        it: a request that begins gets CANT_MPX_CONN for its own id, all else
        is ignored.
        """
        for type_ in TYPES:
            for filled in (True, False):
                machine = begun(5, role, state)
                content = _content(type_, role) if filled else b""
                sent = wire.record(type_, 6, content)
                if type_ == wire.BEGIN_REQUEST and not filled:
                    self.assertFailed(machine, sent)
                    continue
                events = feed(machine, sent)
                if type_ == wire.BEGIN_REQUEST:
                    status = wire.CANT_MPX_CONN
                    self.assertRejected(events.pop(), 6, 503, status)
                self.assertEqual(events, [], (type_, filled))
                self.assertEqual(machine.inputState.name, state, (type_, filled))
                self.assertEqual(machine.requestId, 5)
                self.finish(machine, role, state, "", 5)

    @table(
        {
            f"{role} {state}": (role, state)
            for role in ROLES
            for state in ["IDLE", *STATES[role]]
        }
    )
    def test_management(self, role: str, state: str) -> None:
        """
        A record with id 0 is answered in any state and does nothing to the
        request in hand: GET_VALUES with GET_VALUES_RESULT, all others with
        UNKNOWN_TYPE; only BEGIN_REQUEST ends the connection.
        """
        for type_ in TYPES:
            for content in (b"", b"\x0e\0FCGI_MAX_CONNS"):
                machine = connection() if state == "IDLE" else begun(5, role, state)
                sent = wire.record(type_, 0, content)
                if type_ == wire.BEGIN_REQUEST:
                    self.assertFailed(machine, sent)
                    continue
                (event,) = feed(machine, sent)
                self.assertEqual(event, ManagementReceived(type_, event.data))
                expected = (wire.UNKNOWN_TYPE, 0, bytes([type_]) + bytes(7))
                if type_ == wire.GET_VALUES:
                    values = b"\x0e\x04FCGI_MAX_CONNS1000" if content else b""
                    expected = (wire.GET_VALUES_RESULT, 0, values)
                self.assertEqual(records(event.data), [expected])
                if state == "IDLE":
                    self.assertServes(machine)
                else:
                    self.finish(machine, role, state, "", 5)

    def test_tables(self) -> None:
        """
        The tables that are public say the same, by state and type, and do not
        tell of anything else.
        """
        words = {
            "taken": "TAKE",
            "refused": "REFUSE",
            "aborted": "ABORT",
            "failed": "FAIL",
            ".": "IGNORE",
        }
        taken = {"gathered", "received", "piece", "ended"}
        for (state, type_, _), outcome in self.cells.items():
            if state != "IDLE":
                word = words["taken" if outcome in taken else outcome]
                action = INPUT_ACTIONS[InputState[state]].get(type_)
                found = "IGNORE" if action is None else action.name
                self.assertEqual(found, word, (state, type_))
        self.assertEqual(set(INPUT_ORDER), set(ROLES.values()))
        for role, states in STATES.items():
            order = INPUT_ORDER[ROLES[role]]
            expected = dict(pairwise(states))
            self.assertEqual({a.name: b.name for a, b in order.items()}, expected)


class RequestTests(ConnectionTestCase):
    """
    Requests as they should be.
    """

    @table({role: (role,) for role in ROLES})
    def test_cuts(self, role: str) -> None:
        """
        A request of each role gives the same events whichever pieces it comes
        in, with any padding, and with the streams that the role has.
        """
        number = ROLES[role]
        expected: list[object] = [received(300, number)]
        for name in STATES[role][1:-1]:
            type_ = getattr(wire, name)
            expected += [StreamReceived(type_, b"some body"), StreamEnded(type_)]
        sent = wire.request(VARIABLES, b"some body", 300, role=number)
        for how, pieces in wire.cuts(sent, randomly=20):
            machine = connection()
            self.assertEqual(feed(machine, pieces), expected, how)
            self.assertIs(machine.inputState, InputState.ENDED, how)
            self.assertIs(machine.outputState, OutputState.SILENT, how)
            self.assertEqual(response(machine.endRequest()).requestId, 300, how)
            self.assertServes(machine)

    @table({str(requestId): (requestId,) for requestId in (1, 2, 255, 256, 65535)})
    def test_id(self, requestId: int) -> None:
        """
        Any id but 0 will do, again and again on a connection.
        """
        machine = connection()
        self.assertServes(machine, requestId)
        self.assertServes(machine, requestId)
        self.assertEqual(machine.requestId, requestId)

    def test_repeated(self) -> None:
        """
        Variables come out in their order, repeated ones included, whatever
        bytes they are made of.
        """
        variables = [(b"A", b"1"), (b"", b""), (b"A", b"2"), (b"\xff\0", b"\r\n\xe4")]
        (event,) = feed(connection(), wire.beginRequest() + wire.params(variables))
        self.assertEqual(event.params, variables)

    def test_noVariables(self) -> None:
        """
        A request may have no variables at all.
        """
        sent = wire.beginRequest(4) + wire.params([], 4)
        expected = [RequestReceived(4, wire.RESPONDER, [])]
        self.assertEqual(feed(connection(), sent), expected)

    @moderately
    @given(st.lists(st.integers(1, 40), max_size=30))
    def test_split(self, sizes: list[int]) -> None:
        """
        Where the records of PARAMS and STDIN end means nothing: they may cut
        pairs anywhere, even within a length.
        """
        variables = [(b"NAME", b"v" * 150), (b"n" * 130, b""), (b"LAST", b"1")]
        sent = (
            wire.beginRequest()
            + wire.params(variables, sizes=sizes)
            + wire.stdin(b"one and two and three", sizes=sizes)
        )
        expected = [
            RequestReceived(1, wire.RESPONDER, variables),
            StreamReceived(wire.STDIN, b"one and two and three"),
            StreamEnded(wire.STDIN),
        ]
        self.assertEqual(feed(connection(), sent), expected)

    def test_pieces(self) -> None:
        """
        A body is handed out as it comes, long before its record is complete.
        """
        machine = begun(state="STDIN")
        sent = wire.record(wire.STDIN, 1, b"x" * 65535)
        machine.receiveData(sent[:12])
        self.assertEqual(machine.nextEvent(), StreamReceived(wire.STDIN, b"xxxx"))
        self.assertIs(machine.nextEvent(), None)
        machine.receiveData(sent[12:13])
        self.assertEqual(machine.nextEvent(), StreamReceived(wire.STDIN, b"x"))

    def test_early(self) -> None:
        """
        An answer may be given before the body has come; what comes of it then
        is ignored, and the next request on the connection is served.
        """
        machine = begun(state="STDIN")
        answer = response([*machine.sendStdout(b"early"), machine.endRequest()])
        self.assertEqual(answer.stdout, b"early")
        self.assertTrue(machine.inputPending)
        self.assertEqual(feed(machine, finish(1, "RESPONDER", "STDIN")), [])
        self.assertEqual(feed(machine, wire.abortRequest()), [])
        self.assertServes(machine, 1)

    def test_earlyWithinRecord(self) -> None:
        """
        The same holds if it is given in the midst of a record of the body: the
        rest of that record is nobody's.
        """
        machine = begun(state="STDIN")
        sent = wire.record(wire.STDIN, 1, b"0123456789", padding=3)
        self.assertEqual(
            feed(machine, sent[:12]), [StreamReceived(wire.STDIN, b"0123")]
        )
        machine.endRequest()
        self.assertFalse(machine.withinRecord)
        self.assertEqual(feed(machine, sent[12:]), [])
        self.assertServes(machine, 1)

    def test_endWithinOtherRecord(self) -> None:
        """
        A record of somebody else is read to its end, though a request ends in
        the midst of it.
        """
        machine = begun(state="ENDED")
        sent = wire.getValues(b"FCGI_MPXS_CONNS")
        self.assertEqual(feed(machine, sent[:12]), [])
        machine.endRequest()
        (event,) = feed(machine, sent[12:])
        self.assertIsInstance(event, ManagementReceived)
        self.assertServes(machine, 1)

    def test_pipelined(self) -> None:
        """
        Of requests that come together each is handed out whole, as long as no
        more is pulled than is answered.
        """
        machine = connection()
        machine.receiveData(wire.request(VARIABLES, b"", 3) * 3)
        for _ in range(3):
            self.assertEqual(machine.nextEvent(), received(3))
            self.assertEqual(machine.nextEvent(), StreamEnded(wire.STDIN))
            self.assertEqual(response(machine.endRequest()).requestId, 3)
        self.assertIs(machine.nextEvent(), None)


class StdinEndsNextTests(ConnectionTestCase):
    """
    Looking ahead for the end of the body.
    """

    def last(self, following: bytes, padding: int = 5) -> ApplicationConnection:
        """
        Make a connection from which a piece of the body was pulled that other
        bytes follow.
        """
        machine = begun(258, state="STDIN")
        piece = wire.record(wire.STDIN, 258, b"piece", padding=padding)
        machine.receiveData(piece + following)
        self.assertEqual(machine.nextEvent(), StreamReceived(wire.STDIN, b"piece"))
        return machine

    @table({str(padding): (padding,) for padding in (0, 3, 255)})
    def test_seen(self, padding: int) -> None:
        """
        The end of the body is seen behind a piece of it and its padding, with
        whatever padding of its own and whatever comes after it; looking does
        not use it up.
        """
        for own in (0, 9):
            for more in (b"", wire.beginRequest(258)):
                end = wire.record(wire.STDIN, 258, padding=own, reserved=1)
                machine = self.last(end + more, padding)
                self.assertTrue(machine.stdinEndsNext)
                self.assertEqual(machine.nextEvent(), StreamEnded(wire.STDIN))

    @table(
        {
            "nothing": (b"",),
            "more that is to come": (wire.stdin(b"more", 258)[:8],),
            "other id": (wire.stdin(b"", 2),),
            "other type": (wire.data(b"", 258),),
            "version": (wire.record(wire.STDIN, 258, version=2),),
            "later": (wire.abortRequest(258) + wire.stdin(b"", 258),),
            "part of a header": (wire.stdin(b"", 258)[:5],),
        }
    )
    def test_notSeen(self, following: bytes) -> None:
        """
        Nothing else is taken for the end.
        """
        self.assertFalse(self.last(following).stdinEndsNext)

    def test_within(self) -> None:
        """
        It is not seen within a record that has not all come: its content may
        look like an end, and so may its padding.
        """
        end = wire.stdin(b"", 258)
        content = wire.record(wire.STDIN, 258, b"piece" + end, padding=0)
        padding = wire.record(wire.STDIN, 258, b"piece", padding=8)
        for sent, size in ((content[:13], 0), (padding[:-8], 8)):
            machine = begun(258, state="STDIN")
            machine.receiveData(sent)
            self.assertEqual(machine.nextEvent(), StreamReceived(wire.STDIN, b"piece"))
            machine.receiveData(end[:size])
            self.assertFalse(machine.stdinEndsNext)
        machine = begun(258, state="STDIN")
        machine.receiveData(content[:13])
        wire.pull(machine)
        machine.receiveData(end)
        self.assertFalse(machine.stdinEndsNext)


class BeginRequestTests(ConnectionTestCase):
    """
    BEGIN_REQUEST: sections 5.1 and 5.5.
    """

    @table({str(size): (size,) for size in range(8)})
    def test_tooShort(self, size: int) -> None:
        """
        Content of less than 8 bytes ends the connection, before it comes and
        whether or not a request is in hand.
        """
        sent = wire.record(wire.BEGIN_REQUEST, 9, bytes(size))
        for machine in (connection(), begun(1)):
            error = self.assertFailed(machine, sent[:8])
            self.assertIn(f"request 9 announces {size} bytes", error)

    @table({str(size): (size,) for size in (9, 16, 65535)})
    def test_longer(self, size: int) -> None:
        """
        What comes after the first 8 bytes of content is ignored.
        """
        content = (wire.beginRequest()[8:] + wire.abortRequest() * 8192)[:size]
        sent = wire.record(wire.BEGIN_REQUEST, 77, content)
        rest = wire.request(VARIABLES, requestId=77)[16:]
        events = feed(connection(), sent + rest)
        self.assertEqual(events, [received(77), StreamEnded(wire.STDIN)])

    def test_idNull(self) -> None:
        """
        BEGIN_REQUEST with id 0 ends the connection.
        """
        for machine in (connection(), begun(1)):
            error = self.assertFailed(machine, wire.beginRequest(0))
            self.assertEqual(error, "BEGIN_REQUEST with request id 0")

    def test_twice(self) -> None:
        """
        A second BEGIN_REQUEST for the request in hand ends the connection,
        before its content comes.
        """
        error = self.assertFailed(begun(9), wire.beginRequest(9)[:8])
        self.assertIn("BEGIN_REQUEST for request 9, which is in hand", error)

    @table({f"{flags:08b}": (flags,) for flags in (0, 1, 2, 0x80, 0xFE, 0xFF)})
    def test_keepConnection(self, flags: int) -> None:
        """
        Only KEEP_CONN among the flags is looked at.
        """
        machine = connection()
        self.assertTrue(machine.keepConnection)
        feed(machine, wire.beginRequest(flags=flags))
        self.assertIs(machine.keepConnection, flags % 2 == 1)

    def test_keepConnectionStays(self) -> None:
        """
        Once a request wanted the connection to be closed, no other can take
        that back.
        """
        machine = connection()
        feed(machine, wire.request(VARIABLES, keep=False))
        machine.endRequest()
        self.assertServes(machine)
        self.assertFalse(machine.keepConnection)

    @table(
        {
            "in PARAMS": ("PARAMS",),
            "in STDIN": ("STDIN",),
            "at the end": ("ENDED",),
        }
    )
    def test_cantMultiplex(self, state: str) -> None:
        """
        A request that begins while another is in hand is answered with a 503
        page and CANT_MPX_CONN, both with its own id; its further records are
        skipped, and the request in hand goes on.
        """
        machine = begun(1, state=state)
        machine.refusing = True
        (event,) = feed(machine, wire.request(VARIABLES, b"other body", 3))
        reason = self.assertRejected(event, 3, 503, wire.CANT_MPX_CONN)
        self.assertEqual(reason, "request 1 is in hand on the same connection")
        self.assertEqual(feed(machine, wire.abortRequest(3)), [])
        expected: list[object] = [received(1)] if state == "PARAMS" else []
        if state != "ENDED":
            last = StreamReceived(wire.STDIN, b"last")
            expected += [last, StreamEnded(wire.STDIN)]
        sent = finish(1, "RESPONDER", state)
        self.assertEqual(feed(machine, sent), expected)
        answer = response([*machine.sendStdout(b"mine"), machine.endRequest()])
        self.assertEqual((answer.requestId, answer.stdout), (1, b"mine"))

    def test_cantMultiplexResponding(self) -> None:
        """
        Refusing another request neither ends nor mixes with an answer that is
        being sent.
        """
        machine = begun(1)
        sent = machine.sendStdout(b"one")
        (event,) = feed(machine, wire.beginRequest(2))
        self.assertIs(machine.outputState, OutputState.RESPONDING)
        sent += [event.data, *machine.sendStdout(b" two"), machine.endRequest()]
        mine, other = wire.responses(sent)
        self.assertEqual((mine.requestId, mine.stdout), (1, b"one two"))
        self.assertEqual((other.requestId, other.status), (2, 503))

    @table(
        {
            f"{role}, {served}": (role, served)
            for role in (0, 1, 2, 3, 4, 65535)
            for served in ((1,), (2, 3))
        }
    )
    def test_unknownRole(self, role: int, served: tuple[int, ...]) -> None:
        """
        A role that is not served is answered with a 501 page and
        UNKNOWN_ROLE; the rest of the request is skipped, and the next one is
        served.
        """
        machine = ApplicationConnection(roles=iter(served))
        sent = wire.request(VARIABLES, b"body", 3, role=role)
        if role in served:
            self.assertEqual(feed(machine, sent)[0], received(3, role))
            return
        (event,) = feed(machine, sent)
        reason = self.assertRejected(event, 3, 501, wire.UNKNOWN_ROLE)
        self.assertEqual(reason, f"role {role} is not served")
        self.assertTrue(machine.inputPending)
        expected = received(4, served[0])
        sent = wire.request(VARIABLES, requestId=4, role=served[0])
        self.assertEqual(feed(machine, sent)[0], expected)

    def test_roles(self) -> None:
        """
        Responders alone are served if nothing is said.
        """
        self.assertEqual(ApplicationConnection().roles, {wire.RESPONDER})

    def test_refusing(self) -> None:
        """
        As long as a connection refuses, a request gets a 503 page and
        OVERLOADED, whatever its role; the one in hand goes on.
        """
        machine = begun(1, state="STDIN")
        machine.refusing = True
        self.assertEqual(len(feed(machine, finish(1, "RESPONDER", "STDIN"))), 2)
        self.assertEqual(response(machine.endRequest()).requestId, 1)
        for role in (1, 9):
            sent = wire.request(VARIABLES, b"body", 3, role=role)
            (event,) = feed(machine, sent)
            reason = self.assertRejected(event, 3, 503, wire.OVERLOADED)
            self.assertEqual(reason, "no more requests are taken on this connection")
        machine.refusing = False
        self.assertServes(machine, 3)

    @table(
        {
            "OVERLOADED": ({"refusing": True}, 1),
            "UNKNOWN_ROLE": ({}, 9),
            "CANT_MPX_CONN": ({"inHand": True}, 1),
        }
    )
    def test_rejectedKeepConnection(self, how: dict[str, bool], role: int) -> None:
        """
        A request that is refused has its say about whether the connection
        stays open.
        """
        for keep in (True, False):
            machine = begun(1) if how.get("inHand") else connection()
            machine.refusing = how.get("refusing", False)
            (event,) = feed(machine, wire.beginRequest(3, role, keep=keep))
            self.assertIsInstance(event, RequestRejected)
            self.assertIs(machine.keepConnection, keep)

    def test_inPieces(self) -> None:
        """
        Nothing is answered before the content is there, and then at once,
        before its padding.
        """
        machine = begun(1)
        sent = wire.record(wire.BEGIN_REQUEST, 2, wire.beginRequest()[8:], padding=8)
        self.assertEqual(feed(machine, wire.byteByByte(sent[:15])), [])
        self.assertEqual(len(feed(machine, sent[15:16])), 1)


class InputPendingTests(ConnectionTestCase):
    """
    Whether the web server may still be sending when a request is over.
    """

    def test_new(self) -> None:
        """
        Nothing is pending on a new connection, nor while a request is in hand.
        """
        self.assertFalse(connection().inputPending)
        self.assertFalse(begun(state="PARAMS").inputPending)

    @table(
        {
            f"{role} {state}": (role, state)
            for role in ROLES
            for state in STATES[role][1:]
        }
    )
    def test_ended(self, role: str, state: str) -> None:
        """
        Input is pending after an answer if streams of the role had not ended,
        and not any more when the next request is in hand and has ended.
        """
        machine = begun(1, role, state)
        machine.endRequest()
        self.assertIs(machine.inputPending, state != "ENDED")
        self.assertServes(machine)

    @table({state: (state,) for state in STATES["FILTER"]})
    def test_aborted(self, state: str) -> None:
        """
        The same goes for a request that was aborted.
        """
        machine = begun(1, "FILTER", state)
        feed(machine, wire.abortRequest())
        self.assertIs(machine.inputPending, state != "ENDED")

    @table(
        {
            "431": ({"paramsBytes": 5}, wire.params(VARIABLES)),
            "431, many": ({"params": 1}, wire.params(VARIABLES)),
            "400": ({}, wire.record(wire.PARAMS, 1, b"\5") + wire.params([])),
            "body first": ({}, wire.stdin(b"body")),
        }
    )
    def test_rejected(self, limits: dict[str, int], sent: bytes) -> None:
        """
        Input is pending after a request that was given up at its variables.
        """
        machine = connection(**limits)
        (event,) = feed(machine, wire.beginRequest() + sent)
        self.assertIsInstance(event, RequestRejected)
        self.assertTrue(machine.inputPending)

    @table({"refusing": (True, 1), "role": (False, 7)})
    def test_refused(self, refusing: bool, role: int) -> None:
        """
        Input is pending after a request that was refused from the start.
        """
        machine = connection()
        machine.refusing = refusing
        feed(machine, wire.beginRequest(role=role))
        self.assertTrue(machine.inputPending)

    def test_cantMultiplex(self) -> None:
        """
        If another request was refused while one was in hand, its input is
        pending when that one is over, however it ends; it is forgotten when
        the one after that is over.
        """
        for ending in ("endRequest", "abort"):
            machine = begun(1)
            feed(machine, wire.beginRequest(2))
            if ending == "abort":
                feed(machine, wire.abortRequest(1))
            else:
                machine.endRequest()
            self.assertTrue(machine.inputPending, ending)
            self.assertServes(machine, 3)


class ParamsTests(ConnectionTestCase):
    """
    What is wrong with variables, and their limits.
    """

    @table(
        {
            **{
                vector["hex"]: (bytes.fromhex(vector["hex"]),)
                for vector in wire.codec()["pairs_incomplete"]
                if vector["hex"] != "ff" * 8
            },
            "overlong": (wire.pairs(VARIABLES)[:-1],),
            "too much": (wire.pairs(VARIABLES) + b"\1",),
        }
    )
    def test_malformed(self, content: bytes) -> None:
        """
        Variables that can't be taken apart get a 400 page when they are
        complete; the rest of the request is skipped, and the next one is
        served.
        """
        sent = (
            wire.beginRequest(7)
            + wire.stream(wire.PARAMS, 7, content)
            + wire.stdin(b"body", 7)
            + wire.abortRequest(7)
        )
        for how, pieces in wire.cuts(sent):
            machine = connection()
            (event,) = feed(machine, pieces)
            reason = self.assertRejected(event, 7, 400)
            self.assertIn("end within", reason, how)
            self.assertEqual(lengths(machine)[1], 0)
            self.assertServes(machine)

    def test_hugeName(self) -> None:
        """
        A name that claims to be of 2 GiB gets a 431 page, though it is not
        there at all.
        """
        content = b"\xff" * 8
        sent = wire.beginRequest(7) + wire.stream(wire.PARAMS, 7, content)
        machine = connection()
        (event,) = feed(machine, sent)
        self.assertIn("2147483647 bytes long", self.assertRejected(event, 7, 431))
        self.assertServes(machine)

    def test_bodyFirst(self) -> None:
        """
        A body before the end of the variables gets a 400 page.
        """
        machine = begun(7, state="PARAMS")
        (event,) = feed(machine, wire.stdin(b"body", 7) + finish(7, "FILTER", "PARAMS"))
        reason = self.assertRejected(event, 7, 400)
        self.assertEqual(reason, "STDIN before the end of PARAMS")
        self.assertEqual(lengths(machine)[1], 0)
        self.assertServes(machine)

    @table(
        {
            f"{where} in {name}": (difference, size)
            for where, difference in DIFFERENCES.items()
            for name, size in [
                ("one record", 65535),
                ("some", 400),
                ("many", 7),
                ("tiny ones", 1),
            ]
        }
    )
    def test_paramsBytes(self, difference: int, size: int) -> None:
        """
        Variables may be as large as the limit, in however many records; one
        byte more gets a 431 page, as soon as the header that announces it is
        there.
        """
        content = wire.pairs([(b"NAME", b"v" * 990)])
        machine = connection(paramsBytes=1000)
        begin = wire.beginRequest(7)
        sizes = [size] * 1100
        if difference < 1:
            content = wire.pairs([(b"NAME", b"v" * (991 + difference))])
            self.assertEqual(len(content), 1000 + difference)
            sent = begin + wire.stream(wire.PARAMS, 7, content, sizes=sizes)
            self.assertIsInstance(feed(machine, sent)[0], RequestReceived)
            return
        content = wire.pairs([(b"NAME", b"v" * 992)])
        sent = begin + wire.stream(wire.PARAMS, 7, content, sizes=sizes, end=False)
        whole = sent[: sent.rindex(b"\1\4\0\7") + 8]
        self.assertEqual(feed(machine, whole[:-1]), [])
        (event,) = feed(machine, whole[-1:])
        reason = self.assertRejected(event, 7, 431)
        self.assertEqual(reason, "1001 bytes of params, 1000 are allowed")
        self.assertEqual(lengths(machine), (0, 0, lengths(machine)[2]))
        rest = sent[len(whole) :] + wire.params(VARIABLES, 7) + wire.stdin(b"body", 7)
        self.assertEqual(feed(machine, rest), [])
        self.assertServes(machine)

    @table({where: (difference,) for where, difference in DIFFERENCES.items()})
    def test_params(self, difference: int) -> None:
        """
        There may be as many variables as the limit; one more gets a 431 page.
        """
        variables = [(b"N", b"")] * (50 + difference)
        machine = connection(params=50)
        (event, _) = feed(machine, wire.request(variables, requestId=7)) + [None] * (
            difference > 0
        )
        if difference < 1:
            self.assertEqual(event.params, variables)
            return
        reason = self.assertRejected(event, 7, 431)
        self.assertEqual(reason, "there are more than 50 name-value pairs")
        self.assertServes(machine)

    @table({where: (difference,) for where, difference in DIFFERENCES.items()})
    def test_nameLength(self, difference: int) -> None:
        """
        A name may be as long as the limit; one byte more gets a 431 page.
        """
        variables = [(b"N" * (50 + difference), b"v" * 500)]
        machine = connection(nameLength=50)
        event = feed(machine, wire.request(variables, requestId=7))[0]
        if difference < 1:
            self.assertEqual(event.params, variables)
            return
        reason = self.assertRejected(event, 7, 431)
        self.assertIn("51 bytes long, at most 50", reason)
        self.assertServes(machine)

    def test_pages(self) -> None:
        """
        The pages say in general words what was wrong, and nothing that the
        peer sent.
        """
        sent = wire.beginRequest() + wire.params([(b"SECRET" * 50, b"secret" * 50)])
        (event,) = feed(connection(nameLength=10), sent)
        self.assertIn(b"more or longer header fields", response(event.data).body)
        self.assertNotIn(b"secret", event.data.lower())
        sent = wire.beginRequest() + wire.stream(wire.PARAMS, 1, b"\6\0SECRE")
        (event,) = feed(connection(), sent)
        self.assertIn(b"can't be understood", response(event.data).body)
        self.assertNotIn(b"secre", event.data.lower())


class AbortTests(ConnectionTestCase):
    """
    ABORT_REQUEST: section 5.4.
    """

    @table({state: (state,) for state in STATES["FILTER"]})
    def test_answered(self, state: str) -> None:
        """
        It is answered with END_REQUEST, while STDOUT is left open: nobody is to
        take what was sent for a whole response.  The rest of the request, and
        another abort, are skipped then, and nothing more can be sent for it.
        """
        machine = begun(9, "FILTER", state)
        if state != "PARAMS":
            machine.sendStdout(b"half of an answer")
        self.assertAborted(feed(machine, wire.abortRequest(9)), 9)
        self.assertIs(machine.outputState, OutputState.ENDED)
        self.assertRaises(LocalProtocolError, machine.sendStdout, b"more")
        self.assertRaises(LocalProtocolError, machine.endRequest)
        rest = finish(9, "FILTER", state) + wire.abortRequest(9)
        self.assertEqual(feed(machine, rest), [])
        self.assertServes(machine, 9)

    def test_stderrEnds(self) -> None:
        """
        An error stream that was used is ended before.
        """
        machine = begun(9)
        machine.sendStderr(b"a word")
        (event,) = feed(machine, wire.abortRequest(9))
        assert isinstance(event, RequestAborted)
        types = [type_ for type_, _, _ in wire.records(event.data)]
        self.assertEqual(types, [wire.STDERR, wire.END_REQUEST])
        self.assertGreater(min(wire.paddings(event.data)[:1]), 0)

    def test_content(self) -> None:
        """
        Content, which it should not have, is skipped.
        """
        machine = begun(9, state="STDIN")
        sent = wire.record(wire.ABORT_REQUEST, 9, wire.beginRequest(5))
        self.assertAborted(feed(machine, sent), 9)
        self.assertServes(machine)

    def test_stderrForgotten(self) -> None:
        """
        A request after one that was aborted does not close an error stream
        that it has not used.
        """
        machine = begun(9)
        machine.sendStderr(b"error")
        feed(machine, wire.abortRequest(9))
        feed(machine, wire.request(VARIABLES))
        self.assertFalse(response(machine.endRequest()).stderrEnded)


class GetValuesTests(ConnectionTestCase):
    """
    GET_VALUES: section 4.1.
    """

    known = (b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS")

    def ask(
        self, sent: bytes, machine: ApplicationConnection | None = None
    ) -> dict[bytes, bytes]:
        """
        Ask and read the one answer, in which no name is repeated.
        """
        (event,) = feed(machine or connection(connections=42), sent)
        self.assertIsInstance(event, ManagementReceived)
        ((type_, requestId, content),) = records(event.data)
        self.assertEqual((type_, requestId), (wire.GET_VALUES_RESULT, 0))
        pairs = wire.readPairs(content)
        self.assertEqual(len(dict(pairs)), len(pairs))
        return dict(pairs)

    def test_known(self) -> None:
        """
        The three names of the specification are known: as many connections and
        requests as the limit says, one request at a time on each.
        """
        expected = dict(zip(self.known, (b"42", b"42", b"0"), strict=True))
        self.assertEqual(self.ask(wire.getValues(*self.known)), expected)
        for name in self.known:
            self.assertEqual(self.ask(wire.getValues(name)), {name: expected[name]})

    def test_unknown(self) -> None:
        """
        Names that are not known, and none at all, have no values.
        """
        self.assertEqual(self.ask(wire.getValues()), {})
        names = [b"fcgi_max_conns", b"FCGI_", b"", b"x" * 300]
        self.assertEqual(self.ask(wire.getValues(*names)), {})
        self.assertEqual(
            self.ask(wire.getValues(*names, b"FCGI_MPXS_CONNS", b"z")),
            {b"FCGI_MPXS_CONNS": b"0"},
        )

    def test_repeated(self) -> None:
        """
        A name that is asked for thousands of times is answered once, so that
        the answer always fits its record; values that come with names are
        ignored.
        """
        sent = wire.getValues(*[b"FCGI_MAX_CONNS"] * 4000)
        self.assertEqual(self.ask(sent), {b"FCGI_MAX_CONNS": b"42"})
        sent = wire.record(wire.GET_VALUES, 0, wire.pairs({b"FCGI_MAX_REQS": b"7"}))
        self.assertEqual(self.ask(sent), {b"FCGI_MAX_REQS": b"42"})

    def test_cuts(self) -> None:
        """
        The answer is the same whichever pieces the question comes in.
        """
        sent = wire.getValues(b"FCGI_MPXS_CONNS")
        for how, pieces in wire.cuts(sent, randomly=10):
            (event,) = feed(connection(), pieces)
            self.assertEqual(
                records(event.data)[0].content, b"\x0f\1FCGI_MPXS_CONNS0", how
            )

    def test_limits(self) -> None:
        """
        The limits of a request do not apply to questions.
        """
        machine = connection(params=1, nameLength=1, paramsBytes=1)
        self.assertEqual(len(self.ask(wire.getValues(*self.known), machine)), 3)

    @table(
        {
            vector["hex"]: (bytes.fromhex(vector["hex"]),)
            for vector in wire.codec()["pairs_incomplete"]
        }
    )
    def test_malformed(self, content: bytes) -> None:
        """
        Names that can't be taken apart end the connection.
        """
        sent = wire.record(wire.GET_VALUES, 0, content)
        self.assertIn("end within", self.assertFailed(connection(), sent))
        self.assertIn("end within", self.assertFailed(begun(1), sent))

    def test_withinRequest(self) -> None:
        """
        A question between two records of a stream does not disturb it.
        """
        machine = begun(1, state="PARAMS")
        self.assertEqual(len(self.ask(wire.getValues(*self.known), machine)), 3)
        expected = [
            received(1),
            StreamReceived(wire.STDIN, b"last"),
            StreamEnded(wire.STDIN),
        ]
        self.assertEqual(feed(machine, finish(1, "RESPONDER", "PARAMS")), expected)


class OutputTests(ConnectionTestCase):
    """
    What the application sends.
    """

    @table(
        {
            f"{name} {when}": (name, arguments, when)
            for name, arguments in [
                ("sendStdout", (b"data",)),
                ("sendStderr", (b"data",)),
                ("endRequest", ()),
            ]
            for when in ("before", "in PARAMS", "after", "after an abort")
        }
    )
    def test_noRequest(
        self, name: str, arguments: tuple[bytes, ...], when: str
    ) -> None:
        """
        Nothing can be sent before the variables of a request are complete
        (section 6.2), nor after its end.
        """
        machine = begun(1, state="PARAMS") if when == "in PARAMS" else connection()
        if when.startswith("after"):
            begin(machine, 1, "RESPONDER", "ENDED")
            if when == "after":
                machine.endRequest()
            else:
                feed(machine, wire.abortRequest())
        state = machine.outputState
        error = self.assertRaises(
            LocalProtocolError, getattr(machine, name), *arguments
        )
        self.assertIn("there is no request that could be", str(error))
        self.assertIs(machine.outputState, state)

    def test_states(self) -> None:
        """
        The state of the output goes from silent to responding to ended, for
        either stream, and starts anew with each request.
        """
        for name in ("sendStdout", "sendStderr"):
            machine = connection()
            self.assertIs(machine.outputState, OutputState.ENDED)
            for _ in range(2):
                begin(machine, 1, "RESPONDER", "STDIN")
                self.assertIs(machine.outputState, OutputState.SILENT)
                getattr(machine, name)(b"x")
                self.assertIs(machine.outputState, OutputState.RESPONDING)
                machine.endRequest()
                self.assertIs(machine.outputState, OutputState.ENDED)

    @table(
        {
            vector["id"]: (vector["write_bytes"], bytes.fromhex(vector["fill"]))
            for vector in wire.codec()["stream_segmentation"]
        }
    )
    def test_stdout(self, size: int, fill: bytes) -> None:
        """
        A response of any size comes out in records that fit, with one empty
        record after the last of it and before END_REQUEST.
        """
        machine = begun(300)
        sent = [*machine.sendStdout(fill * size), machine.endRequest()]
        answer = response(sent)
        self.assertEqual(answer.stdout, fill * size)
        *pieces, empty, ending = answer.records
        self.assertEqual(empty, (wire.STDOUT, 300, b""))
        self.assertEqual(ending, (wire.END_REQUEST, 300, bytes(8)))
        sizes = [len(piece.content) for piece in pieces]
        self.assertLessEqual(max(sizes, default=0), STREAM_CONTENT_LENGTH)
        self.assertEqual(len(sizes), -(-size // STREAM_CONTENT_LENGTH))

    def test_nothing(self) -> None:
        """
        No bytes make no record, which would end the stream.
        """
        machine = begun(1)
        for send in (machine.sendStdout, machine.sendStderr):
            self.assertEqual(send(b""), [])
        self.assertEqual(response(machine.endRequest()).stderrEnded, False)

    @table({str(size): (size,) for size in (1, 7, 8, 8191, 8192, 8193, 20000)})
    def test_stderr(self, size: int) -> None:
        """
        The error stream comes out in records of at most 8 KiB with at least
        one byte of padding each, which keeps HAProxy alive, and is closed
        by an empty record.
        """
        machine = begun(300)
        content = (bytes(range(250)) * 100)[:size]
        sent = machine.sendStderr(content)
        for record, padding in zip(records(sent), wire.paddings(sent), strict=True):
            self.assertEqual(record[:2], (wire.STDERR, 300))
            self.assertTrue(1 <= padding <= 8, padding)
            self.assertEqual((len(record.content) + padding) % 8, 0)
            self.assertTrue(1 <= len(record.content) <= 8192)
        self.assertEqual(len(records(sent)), -(-size // 8192))
        answer = response([*sent, machine.endRequest()])
        self.assertEqual((answer.stderr, answer.stdout), (content, b""))
        self.assertEqual(
            [record.type for record in answer.records[-3:]],
            [wire.STDERR, wire.STDOUT, wire.END_REQUEST],
        )
        self.assertTrue(answer.stdoutEnded and answer.stderrEnded)

    def test_stderrOnce(self) -> None:
        """
        The error stream is closed for a request that has used it, not for the
        next one.
        """
        machine = begun(1)
        machine.sendStderr(b"error")
        machine.sendStderr(b"")
        self.assertIn((wire.STDERR, 1, b""), records(machine.endRequest()))
        begin(machine, 1, "RESPONDER", "ENDED")
        expected = [(wire.STDOUT, 1, b""), (wire.END_REQUEST, 1, bytes(8))]
        self.assertEqual(records(machine.endRequest()), expected)

    def test_interleaved(self) -> None:
        """
        Response and error stream may be mixed.
        """
        machine = begun(1)
        sent = [
            *machine.sendStdout(b"one"),
            *machine.sendStderr(b"bad"),
            *machine.sendStdout(b" two"),
            *machine.sendStderr(b"der"),
            machine.endRequest(),
        ]
        answer = response(sent)
        self.assertEqual((answer.stdout, answer.stderr), (b"one two", b"badder"))

    @table({str(status): (status,) for status in (0, 1, 255, 2**32 - 1)})
    def test_appStatus(self, status: int) -> None:
        """
        END_REQUEST tells the application status.
        """
        self.assertEqual(response(begun(1).endRequest(status)).appStatus, status)

    def test_rejectRole(self) -> None:
        """
        A request that nobody has begun to answer is rejected by UNKNOWN_ROLE;
        one that is answered in part, or there is not, is not.
        """
        machine = begun(1)
        answer = response(machine.rejectRole())
        self.assertEqual(answer.protocolStatus, wire.UNKNOWN_ROLE)
        self.assertRaises(LocalProtocolError, machine.rejectRole)
        machine = begun(2)
        machine.sendStdout(b"half of an answer")
        self.assertRaises(LocalProtocolError, machine.rejectRole)

    @table({str(status): (status,) for status in (-1, 2**32)})
    def test_badAppStatus(self, status: int) -> None:
        """
        A status that is no number of 32 bits is refused; the request is still
        in hand, and can be ended with another.
        """
        machine = begun(1)
        machine.sendStderr(b"error")
        self.assertRaises(LocalProtocolError, machine.endRequest, status)
        answer = response(machine.endRequest(1))
        self.assertEqual(answer.appStatus, 1)
        self.assertTrue(answer.stderrEnded)

    def test_incomplete(self) -> None:
        """
        A response that is not whole does not get its STDOUT closed, so that
        the web server can tell; its error stream is closed all the same.
        """
        machine = begun(1)
        sent = [*machine.sendStdout(b"half"), *machine.sendStderr(b"failed")]
        answer = response([*sent, machine.endRequest(1, complete=False)])
        self.assertEqual((answer.stdoutEnded, answer.stderrEnded), (False, True))
        self.assertEqual((answer.stdout, answer.appStatus), (b"half", 1))
        self.assertServes(machine)

    def test_once(self) -> None:
        """
        A request ends once.
        """
        machine = begun(1)
        machine.endRequest()
        self.assertRaises(LocalProtocolError, machine.endRequest)
        self.assertServes(machine)


class VectorTests(ConnectionTestCase):
    """
    The vectors that are not about one function.
    """

    @table({name: (name,) for name in wire.codec()["pairs_incremental"]["use"]})
    def test_pairsIncremental(self, name: str) -> None:
        """
        Pairs are the same wherever the stream they are in is cut.
        """
        (vector,) = (v for v in wire.codec()["pairs"] if v["id"] == name)
        data = wire.segments(vector["bytes"])
        pairs = [(wire.segments(n), wire.segments(v)) for n, v in vector["pairs"]]
        sizes: Iterable[list[int]] = [[n] for n in range(1, len(data))]
        for cut in [*sizes, [1] * len(data)]:
            built = wire.stream(wire.PARAMS, 1, data, sizes=cut)
            (event,) = feed(connection(), wire.beginRequest() + built)
            self.assertEqual(event.params, pairs, cut)

    @table({vector["id"]: (vector,) for vector in wire.codec()["record_malformed"]})
    def test_malformed(self, vector: dict[str, str]) -> None:
        """
        A record that must not be, at a time when no request is in hand, ends
        the connection if it is a BEGIN_REQUEST, is answered with UNKNOWN_TYPE
        if it is a management record, and is ignored otherwise.
        """
        header = bytes.fromhex(vector["hex"])
        machine = connection()
        content = wire.beginRequest()[8:] + b"!"
        sent = header + content[: int.from_bytes(header[4:6], "big")]
        if vector["id"] in ("begin-id-0", "begin-len-7"):
            self.assertFailed(machine, header)
        elif vector["id"] == "begin-len-9":
            self.assertEqual(feed(machine, sent), [])
            self.assertIs(machine.inputState, InputState.PARAMS)
        elif header[2:4] == b"\0\0":
            (event,) = feed(machine, sent)
            expected = (wire.UNKNOWN_TYPE, 0, header[1:2] + bytes(7))
            self.assertEqual(records(event.data), [expected])
            self.assertServes(machine)
        else:
            self.assertEqual(feed(machine, sent), [])
            self.assertServes(machine)

    @table({v["id"]: (v,) for v in wire.codec()["request_stream_go"]["vectors"]})
    def test_stream(self, vector: dict[str, Any]) -> None:
        """
        The records of a stream give that stream, in any pieces.
        """
        requestId = vector.get("request_id", 1)
        type_, payload = vector["type"], bytes.fromhex(vector["payload"])
        expected = [StreamReceived(type_, payload)] if payload else []
        for how, pieces in wire.cuts(bytes.fromhex(vector["hex"])):
            machine = connection()
            sent = wire.beginRequest(requestId) + wire.params([], requestId)
            feed(machine, sent)
            found = feed(machine, pieces)
            self.assertEqual(found, [*expected, StreamEnded(type_)], how)

    # The outcomes of the vectors' own table, in the words of ours.
    outcomes = (
        ("ignore", "."),
        ("start", "begun"),
        ("collect", "gathered"),
        ("-> STDIN ", "received"),
        ("-> STDIN_DONE", "ended"),
        ("deliver", "piece"),
        ("error of that request or ignore", "."),
        ("error of that request", "refused"),
        ("error: id in use", "failed"),
        ("END_REQUEST(COMPLETE)", "aborted"),
        ("cancel app", "aborted"),
        ("FILTER: deliver, else ignore", "."),
    )

    def outcome(self, told: str) -> str:
        """
        Read an outcome of the vectors.
        """
        found = [pair for pair in self.outcomes if told.startswith(pair[0])]
        self.assertTrue(found, told)
        return max(found, key=lambda pair: len(pair[0]))[1]

    def test_stateMatrix(self) -> None:
        """
        The vectors' own table, for a Responder, says the same as ours.
        """
        matrix = dict(wire.codec()["state_matrix"])
        matrix.pop("about")
        states = [
            "IDLE" if state in ("INACTIVE", "ENDED") else state.split("_")[0]
            for state in matrix.pop("states")
        ]
        states[3] = "ENDED"
        answers = matrix.pop("management (id 0)")
        self.assertEqual(
            set(answers), {"GET_VALUES -> RESULT; any other type -> UNKNOWN_TYPE"}
        )
        types = {
            "STDOUT/STDERR/END from the peer": [wire.STDOUT, wire.STDERR, 3],
            "unknown type": [0, 12, 255],
        }
        for row, cells in matrix.items():
            name, _, kind = row.partition(" ")
            known = types.get(row) or [getattr(wire, name)]
            for state, told in zip(states, cells, strict=True):
                for type_ in known:
                    found = InputTableTests.cells[state, type_, kind != "empty"]
                    self.assertEqual(found, self.outcome(told), (row, state))


# Anything at all

_SMALL_LIMITS = {"paramsBytes": 100, "params": 5, "nameLength": 20}
_IDS = st.sampled_from([0, 1, 1, 1, 1, 2, 2, 3, 65535])
_CONTENTS = st.sampled_from(
    [
        b"",
        b"",
        b"x",
        b"\5",
        wire.pairs(VARIABLES),
        wire.pairs([(b"FCGI_MAX_CONNS", b"")]),
        bytes(8),
        wire.beginRequest(role=9)[8:],
        wire.beginRequest(keep=False)[8:],
        b"y" * 200,
    ]
)
_ANY_RECORD = st.builds(
    wire.record,
    st.sampled_from([*TYPES, wire.PARAMS, wire.STDIN]),
    _IDS,
    _CONTENTS,
    padding=st.sampled_from([None, 0, 255]),
)
_PARTS = st.one_of(
    _ANY_RECORD,
    st.builds(wire.beginRequest, _IDS, st.sampled_from([1, 1, 2, 3, 4])),
    st.builds(wire.request, st.just(VARIABLES), st.just(b"body"), st.integers(1, 3)),
    st.builds(wire.params, st.just(VARIABLES), st.integers(1, 2)),
    st.builds(wire.stdin, st.just(b"body"), st.integers(1, 2)),
    st.builds(wire.abortRequest, st.integers(1, 2)),
)
_SENT = st.lists(_PARTS, max_size=12).map(b"".join)
_ANSWERS = st.lists(st.sampled_from(["", "", "out", "err", "end", "half"]), max_size=20)


class Application:
    """
    An application that answers as it is told, and keeps what it sends.

    @ivar sent: All that it has sent.
    @ivar answers: What to do after each event that is no piece of a stream,
        the last one first.
    """

    def __init__(self, machine: ApplicationConnection, answers: list[str]) -> None:
        self.machine = machine
        self.answers = list(answers)
        self.sent: list[bytes] = []
        self.events: list[Any] = []

    def take(self, event: Any) -> None:
        """
        Take an event, and answer.
        """
        self.events.append(event)
        if isinstance(event, StreamReceived):
            return
        self.sent.append(getattr(event, "data", b""))
        answer = self.answers.pop() if self.answers else ""
        if self.machine.inputState.name in ("IDLE", "PARAMS"):
            return
        if answer == "out":
            self.sent += self.machine.sendStdout(b"out")
        elif answer == "err":
            self.sent += self.machine.sendStderr(b"err")
        elif answer:
            self.sent.append(self.machine.endRequest(complete=answer == "end"))

    def run(self, pieces: Iterable[bytes]) -> None:
        """
        Receive bytes until they end the connection, if they do.
        """
        for piece in pieces:
            self.machine.receiveData(piece)
            try:
                for event in iter(self.machine.nextEvent, None):
                    self.take(event)
            except RemoteProtocolError:
                return


def _wholeRecords(sent: bytes) -> Iterable[tuple[wire.Record, bytes]]:
    """
    Take what a web server sent apart into records, with their bytes.
    """
    start = 0
    for record, padding in wire._split(sent):
        end = start + 8 + len(record.content) + padding
        yield record, sent[start:end]
        start = end


class AnyBytesTests(ConnectionTestCase):
    """
    What holds whatever a web server sends.
    """

    @moderately
    @given(_SENT, _ANSWERS)
    def test_oneEnd(self, sent: bytes, answers: list[str]) -> None:
        """
        Each BEGIN_REQUEST gets at most one END_REQUEST, as the last record of
        its id, and nothing is sent for an id that has not begun; only the
        request in hand at the end has none.
        """
        machine = connection(**_SMALL_LIMITS)
        application = Application(machine, answers)
        active: set[int] = set()
        done = 0
        for (type_, requestId, _), data in _wholeRecords(sent):
            application.run([data])
            if machine._error is not None:
                break
            if type_ == wire.BEGIN_REQUEST:
                self.assertNotIn(requestId, active)
                active.add(requestId)
            answered = records(application.sent)
            for answer in answered[done:]:
                if answer.requestId:
                    self.assertIn(answer.requestId, active, answered)
                if answer.type == wire.END_REQUEST:
                    active.remove(answer.requestId)
            done = len(answered)
            inHand = machine.inputState is not InputState.IDLE
            self.assertEqual(active, {machine.requestId} if inHand else set())

    @moderately
    @given(_SENT, _ANSWERS, st.integers(0, 99))
    def test_cuts(self, sent: bytes, answers: list[str], seed: int) -> None:
        """
        Events and answers do not depend on the pieces that bytes come in.
        """
        runs = []
        for pieces in ([sent], wire.byteByByte(sent), wire.randomCuts(sent, seed)):
            machine = connection(**_SMALL_LIMITS)
            application = Application(machine, answers)
            application.run(pieces)
            state = (str(machine._error), machine.keepConnection, machine.inputPending)
            events = wire.merged(application.events)
            runs.append((events, b"".join(application.sent), state))
        self.assertEqual(runs[1:], runs[:1] * 2)

    @moderately
    @given(st.one_of(_SENT, st.binary(max_size=300)), st.data())
    def test_anyBytes(self, sent: bytes, data: Any) -> None:
        """
        Any bytes at all raise nothing but L{RemoteProtocolError}, and what is
        kept of them stays within the limits.
        """
        damaged = bytearray(b"\1" + sent)
        for _ in range(data.draw(st.integers(0, 5))):
            place = data.draw(st.integers(0, len(damaged) - 1))
            damaged[place] = data.draw(st.integers(0, 255))
        machine = connection(**_SMALL_LIMITS)
        application = Application(machine, data.draw(_ANSWERS))
        for piece in wire.randomCuts(bytes(damaged), data.draw(st.integers(0, 99))):
            application.run([piece])
            unused, params, collected = lengths(machine)
            self.assertLess(unused, 8)
            self.assertLessEqual(len(machine._data), len(piece) + 7)
            self.assertLessEqual(params, _SMALL_LIMITS["paramsBytes"])
            self.assertLessEqual(collected, 65535)
        wire.responses(application.sent, unfinished=True)


class CostTests(ConnectionTestCase):
    """
    Time and memory are in proportion to what was received.
    """

    def test_tinyParams(self) -> None:
        """
        Variables of 1 MiB in records of one byte are gathered in one place
        that grows, not in as many pieces, and not copied each time.
        """
        content = wire.pairs([(b"NAME", b"v" * (1024 * 1024 - 9))])
        self.assertEqual(len(content), 1024 * 1024)
        machine = begun(1, state="PARAMS", paramsBytes=len(content) + 100)
        head = wire.record(wire.PARAMS, 1, b"?", padding=0)[:8]
        feed(machine, [head + content[n : n + 1] for n in range(2)])
        gathered = machine._params
        self.assertIsInstance(gathered, bytearray)
        kept = len(gathered) - 2
        sent = b"".join(head + content[n : n + 1] for n in range(2, 50000))
        self.assertEqual(feed(machine, sent), [])
        self.assertIs(machine._params, gathered)
        self.assertEqual(len(gathered), kept + 50000)
        sizes = [60000] * 20
        rest = wire.stream(wire.PARAMS, 1, content[50000:], sizes=sizes)
        (event,) = feed(machine, rest)
        self.assertEqual(event.params[1:], wire.readPairs(content))
        self.assertEqual(lengths(machine)[1], 0)

    def test_copied(self) -> None:
        """
        Each byte of many tiny records is copied a few times only, whether they
        come at once or byte by byte.
        """
        sent = wire.beginRequest() + wire.params([], end=False)
        pairs = wire.pairs([(b"N", b"v")] * 500)
        sent += wire.stream(wire.PARAMS, 1, pairs, sizes=[1] * len(pairs))
        sent += wire.stdin(b"x" * 500, sizes=[1] * 500)
        for pieces in ([sent], wire.byteByByte(sent)):
            counter = [0]
            feed(connection(), (CountedBytes(piece, counter) for piece in pieces))
            self.assertLessEqual(counter[0], 10 * len(sent))

    @table(
        {
            "params": (wire.record(wire.PARAMS, 1, b"\0\0"), "PARAMS"),
            "stdin": (wire.record(wire.STDIN, 1, b"x"), "STDIN"),
            "ignored": (wire.record(wire.DATA, 1, b"x"), "STDIN"),
            "unknown": (wire.record(99, 1), "STDIN"),
            "inactive": (wire.record(wire.STDIN, 7, b"x"), "STDIN"),
            "management": (wire.record(99, 0), "STDIN"),
            "questions": (wire.getValues(b"FCGI_MAX_CONNS"), "STDIN"),
            "refused": (wire.beginRequest(5), "STDIN"),
        }
    )
    def test_calls(self, record: bytes, state: str) -> None:
        """
        The work for many records is in proportion to their number.
        """

        def work(count: int) -> int:
            machine = begun(1, state=state)
            machine.receiveData(record * count)
            return countCalls(lambda: wire.pull(machine))

        self.assertLessEqual(work(2000), 4.1 * work(500))

    def test_tinyReads(self) -> None:
        """
        A question of 64 KiB that comes byte by byte is gathered in one place
        that grows.
        """
        sent = wire.getValues(*[b"FCGI_MAX_CONNS"] * 4095)
        self.assertGreater(len(sent), 65000)
        machine = connection()
        counter = [0]
        pieces = [CountedBytes(piece, counter) for piece in wire.byteByByte(sent)]
        feed(machine, pieces[:10])
        collected = machine._collected
        self.assertIsInstance(collected, bytearray)
        (event,) = feed(machine, pieces[10:])
        self.assertIs(machine._collected, collected)
        self.assertLessEqual(counter[0], 3 * len(sent))
        self.assertEqual(records(event.data)[0].content, b"\x0e\x04FCGI_MAX_CONNS1000")

    def test_ignoredNotKept(self) -> None:
        """
        Nothing is kept of a record that is ignored, however large.
        """
        machine = begun(1)
        header = wire.record(wire.STDIN, 1, b"x" * 65535)[:8]
        self.assertEqual(feed(machine, header), [])
        for _ in range(13):
            self.assertEqual(feed(machine, bytes(5000)), [])
            self.assertEqual(lengths(machine), (0, 0, 0))
