# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.connection}: the web server's side,
L{WebServerConnection}, alone and together with L{ApplicationConnection}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import TableTestCase, moderately, table
from tests.wire import feed, records
from twisted_fastcgi.connection import (
    ApplicationConnection,
    InputState,
    ManagementReceived,
    OutputState,
    RequestAborted,
    RequestEnded,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
    TypeUnknown,
    ValuesReceived,
    WebServerConnection,
)
from twisted_fastcgi.errors import LocalProtocolError, RemoteProtocolError
from twisted_fastcgi.records import ProtocolStatus

VARIABLES = [(b"REQUEST_METHOD", b"GET"), (b"EMPTY", b""), (b"TWICE", b"2")]
TYPES = [*range(13), 255]

#: What a web server sends for a request of each role, in order.
STEPS = {
    wire.RESPONDER: ["sendParams", "sendStdin", "endStdin"],
    wire.AUTHORIZER: ["sendParams"],
    wire.FILTER: ["sendParams", "sendStdin", "endStdin", "sendData", "endData"],
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "sendParams": (VARIABLES,),
    "sendStdin": (b"body",),
    "sendData": (b"file",),
}

#: What can be sent in each state, without changing it or going on to the next.
ALLOWED = {
    "PARAMS": {"sendParams"},
    "STDIN": {"sendStdin", "endStdin"},
    "DATA": {"sendData", "endData"},
    "ENDED": set(),
    "IDLE": set(),
}


def stdout(content: bytes = b"", requestId: int = 1) -> bytes:
    """
    Build a STDOUT record.
    """
    return wire.record(wire.STDOUT, requestId, content)


def stderr(content: bytes = b"", requestId: int = 1) -> bytes:
    """
    Build a STDERR record.
    """
    return wire.record(wire.STDERR, requestId, content)


def ending(appStatus: int = 0, protocolStatus: int = 0, requestId: int = 1) -> bytes:
    """
    Build an END_REQUEST record.
    """
    content = appStatus.to_bytes(4, "big") + bytes([protocolStatus, 0, 0, 0])
    return wire.record(wire.END_REQUEST, requestId, content)


def call(machine: Any, name: str) -> list[bytes]:
    """
    Call a method that sends something.
    """
    sent = getattr(machine, name)(*ARGUMENTS.get(name, ()))
    return [sent] if isinstance(sent, bytes) else sent


def asked(role: int = wire.RESPONDER, requestId: int = 1) -> WebServerConnection:
    """
    Make a connection on which a whole request has been sent.
    """
    machine = WebServerConnection()
    machine.beginRequest(role, requestId=requestId)
    for name in STEPS[role]:
        call(machine, name)
    return machine


class WebServerTestCase(TableTestCase):
    """
    What all tests of the web server's side need.
    """

    def assertFailed(self, machine: WebServerConnection, sent: bytes) -> str:
        """
        See that bytes end a connection, for good.

        @return: What the error says.
        """
        error = self.assertRaises(RemoteProtocolError, feed, machine, sent)
        good = stdout(b"good") + ending()
        again = self.assertRaises(RemoteProtocolError, feed, machine, good)
        self.assertEqual((type(again), again.args), (type(error), error.args))
        return str(error)

    def assertWorks(self, machine: WebServerConnection, requestId: int = 9) -> None:
        """
        See that the next request on a connection gets its answer.
        """
        self.assertEqual(machine.requestId, 0)
        self.assertIs(machine.inputState, InputState.IDLE)
        self.assertIs(machine.outputState, OutputState.ENDED)
        machine.beginRequest(requestId=requestId)
        for name in STEPS[wire.RESPONDER]:
            call(machine, name)
        answer = stdout(b"hello", requestId) + stdout(b"", requestId)
        self.assertEqual(
            feed(machine, answer + ending(requestId=requestId)),
            [
                StreamReceived(wire.STDOUT, b"hello"),
                StreamEnded(wire.STDOUT),
                RequestEnded(requestId, 0, 0),
            ],
        )


class SendTests(WebServerTestCase):
    """
    What the web server sends.
    """

    @table({str(role): (role,) for role in STEPS})
    def test_request(self, role: int) -> None:
        """
        A request consists of the records that its role has, each stream with
        its end.
        """
        machine = WebServerConnection()
        sent = [machine.beginRequest(role, requestId=300)]
        for name in STEPS[role]:
            sent += call(machine, name)
        expected = [
            (wire.BEGIN_REQUEST, 300, bytes([0, role, 1, 0, 0, 0, 0, 0])),
            (wire.PARAMS, 300, wire.pairs(VARIABLES)),
            (wire.PARAMS, 300, b""),
            (wire.STDIN, 300, b"body"),
            (wire.STDIN, 300, b""),
            (wire.DATA, 300, b"file"),
            (wire.DATA, 300, b""),
        ]
        self.assertEqual(records(sent), expected[: 2 + len(STEPS[role])])
        self.assertIs(machine.inputState, InputState.ENDED)
        self.assertIs(machine.outputState, OutputState.SILENT)

    def test_begin(self) -> None:
        """
        If nothing else is said, a request is for a Responder, has id 1 and
        leaves the connection open; the state says what comes next.
        """
        machine = WebServerConnection()
        self.assertEqual((machine.requestId, machine.inputState.name), (0, "IDLE"))
        self.assertEqual(records(machine.beginRequest()), records(wire.beginRequest()))
        self.assertEqual((machine.requestId, machine.inputState.name), (1, "PARAMS"))
        self.assertIs(machine.outputState, OutputState.SILENT)

    def test_close(self) -> None:
        """
        A request may ask for the connection to be closed.
        """
        sent = WebServerConnection().beginRequest(keepConnection=False)
        self.assertEqual(records(sent), records(wire.beginRequest(keep=False)))

    @table(
        {
            "id 0": ({"requestId": 0}, "id 0"),
            "id 65536": ({"requestId": 65536}, "65536"),
            "role 0": ({"role": 0}, "role 0"),
            "role 4": ({"role": 4}, "role 4"),
        }
    )
    def test_badBegin(self, arguments: dict[str, int], reason: str) -> None:
        """
        A request id or role that can't be is the caller's error, and leaves
        the connection ready for another request.
        """
        machine = WebServerConnection()
        begin = machine.beginRequest
        error = self.assertRaises(LocalProtocolError, begin, **arguments)
        self.assertIn(reason, str(error))
        self.assertWorks(machine)

    def test_inHand(self) -> None:
        """
        A request can't begin before the one in hand has ended.
        """
        machine = asked()
        for requestId in (1, 2):
            begin = machine.beginRequest
            error = self.assertRaises(LocalProtocolError, begin, requestId=requestId)
            self.assertEqual(str(error), "request 1 is still in hand")
        feed(machine, ending())
        self.assertWorks(machine, 1)

    @table(
        {
            f"role {role}, {done} done": (role, done)
            for role in STEPS
            for done in range(len(STEPS[role]) + 1)
        }
    )
    def test_turns(self, role: int, done: int) -> None:
        """
        Only the stream whose turn it is can be sent or ended; trying another
        is the caller's error and changes nothing.
        """
        for name in STEPS[wire.FILTER]:
            machine = WebServerConnection()
            machine.beginRequest(role)
            for step in STEPS[role][:done]:
                call(machine, step)
            state = machine.inputState
            if name in ALLOWED[state.name]:
                self.assertEqual(len(call(machine, name)) > 0, True)
                moves = not name.startswith("send") or name == "sendParams"
                self.assertEqual(machine.inputState is not state, moves, name)
            else:
                error = self.assertRaises(LocalProtocolError, call, machine, name)
                stream = name.removeprefix("send").removeprefix("end").upper()
                told = f"{stream} can't be sent now: {state.value} is next"
                self.assertEqual(str(error), told)
                self.assertIs(machine.inputState, state)

    @table({name: (name,) for name in STEPS[wire.FILTER]})
    def test_nothingInHand(self, name: str) -> None:
        """
        Nothing can be sent for a request before it begins and after it ends,
        be its input complete or not.
        """
        self.assertRaises(LocalProtocolError, call, WebServerConnection(), name)
        machine = WebServerConnection()
        machine.beginRequest()
        call(machine, "sendParams")
        feed(machine, ending())
        self.assertRaises(LocalProtocolError, call, machine, name)
        self.assertWorks(machine)

    def test_empty(self) -> None:
        """
        No bytes make no record, which would end the stream; no variables make
        an empty stream.
        """
        machine = WebServerConnection()
        machine.beginRequest(wire.FILTER)
        self.assertEqual(records(machine.sendParams([])), [(wire.PARAMS, 1, b"")])
        self.assertEqual(machine.sendStdin(b""), [])
        machine.endStdin()
        self.assertEqual(machine.sendData(b""), [])

    def test_large(self) -> None:
        """
        Streams of any size are cut into records.
        """
        machine = WebServerConnection()
        machine.beginRequest(wire.FILTER)
        variables = [(b"NAME", bytes(range(256)) * 300)]
        sent = records(machine.sendParams(variables))
        self.assertEqual(b"".join(r.content for r in sent), wire.pairs(variables))
        self.assertEqual(sent[-1], (wire.PARAMS, 1, b""))
        content = bytes(range(251)) * 600
        for name in ("Stdin", "Data"):
            found = records(getattr(machine, f"send{name}")(content))
            self.assertEqual(b"".join(record.content for record in found), content)
            getattr(machine, f"end{name}")()

    @table(
        {
            f"role {role}, {done} done": (role, done)
            for role in STEPS
            for done in range(len(STEPS[role]) + 1)
        }
    )
    def test_abort(self, role: int, done: int) -> None:
        """
        A request can be aborted at any time; nothing more is sent for it then,
        but its end is still awaited.
        """
        machine = WebServerConnection()
        machine.beginRequest(role, requestId=7)
        for step in STEPS[role][:done]:
            call(machine, step)
        sent = machine.abortRequest()
        self.assertEqual(records(sent), [(wire.ABORT_REQUEST, 7, b"")])
        for name in STEPS[wire.FILTER]:
            self.assertRaises(LocalProtocolError, call, machine, name)
        self.assertRaises(LocalProtocolError, machine.beginRequest)
        answer = stdout(b"late", 7) + ending(1, requestId=7)
        late = StreamReceived(wire.STDOUT, b"late")
        self.assertEqual(feed(machine, answer), [late, RequestEnded(7, 1, 0)])
        self.assertWorks(machine)

    def test_abortNothing(self) -> None:
        """
        Without a request in hand there is nothing to abort.
        """
        machine = WebServerConnection()
        self.assertRaises(LocalProtocolError, machine.abortRequest)
        self.assertWorks(machine)
        self.assertRaises(LocalProtocolError, machine.abortRequest)

    def test_getValues(self) -> None:
        """
        GET_VALUES asks with empty values, at any time.
        """
        names = [b"FCGI_MAX_CONNS", b"x" * 200]
        for machine in (WebServerConnection(), asked()):
            found = records(machine.getValues(iter(names)))
            content = wire.pairs((name, b"") for name in names)
            self.assertEqual(found, [(wire.GET_VALUES, 0, content)])

    def test_getValuesTooMany(self) -> None:
        """
        More names than fit one record are the caller's error, and no answer is
        awaited.
        """
        machine = WebServerConnection()
        names = [b"FCGI_MAX_CONNS"] * 4096
        self.assertRaises(LocalProtocolError, machine.getValues, names)
        self.assertFailed(machine, wire.record(wire.GET_VALUES_RESULT, 0))


class ReceiveTests(WebServerTestCase):
    """
    What the application sends.
    """

    answer = stdout(b"head") + stderr(b"oh") + stdout(b"body")
    answer += stderr() + stdout() + ending(3)
    events = (
        StreamReceived(wire.STDOUT, b"head"),
        StreamReceived(wire.STDERR, b"oh"),
        StreamReceived(wire.STDOUT, b"body"),
        StreamEnded(wire.STDERR),
        StreamEnded(wire.STDOUT),
        RequestEnded(1, 3, ProtocolStatus.REQUEST_COMPLETE),
    )

    def test_cuts(self) -> None:
        """
        An answer gives the same events whichever pieces it comes in.
        """
        for how, pieces in wire.cuts(self.answer, randomly=20):
            machine = asked()
            self.assertEqual(feed(machine, pieces), list(self.events), how)
            self.assertFalse(machine.withinRecord)
            self.assertWorks(machine)

    def test_states(self) -> None:
        """
        The state of the output goes from silent to responding to ended, with
        either stream, with or without content.
        """
        for sent in (stdout(b"x"), stdout(), stderr(b"x"), stderr()):
            machine = asked()
            self.assertIs(machine.outputState, OutputState.SILENT)
            feed(machine, sent)
            self.assertIs(machine.outputState, OutputState.RESPONDING)
            feed(machine, ending())
            self.assertWorks(machine)

    @table({str(status): (status,) for status in (0, 1, 2, 3, 4, 255)})
    def test_ended(self, status: int) -> None:
        """
        The end tells both statuses, also a protocol status that is not known,
        and may come without either stream having ended or begun.
        """
        for sent in (b"", stdout(b"half", 500)):
            machine = asked(requestId=500)
            events = feed(machine, sent + ending(2**32 - 1, status, 500))
            self.assertEqual(events[-1], RequestEnded(500, 2**32 - 1, status))
            self.assertEqual(len(events), 1 + bool(sent))
            self.assertWorks(machine)

    def test_early(self) -> None:
        """
        The end may come before the request has been sent.
        """
        machine = WebServerConnection()
        machine.beginRequest()
        self.assertEqual(feed(machine, ending(0, 2)), [RequestEnded(1, 0, 2)])
        self.assertWorks(machine)

    @table({str(size): (size,) for size in range(8)})
    def test_shortEnd(self, size: int) -> None:
        """
        An END_REQUEST of less than 8 bytes ends the connection before its
        content comes.
        """
        sent = wire.record(wire.END_REQUEST, 1, bytes(size))
        told = f"END_REQUEST announces {size} bytes of content"
        self.assertIn(told, self.assertFailed(asked(), sent[:8]))

    def test_longEnd(self) -> None:
        """
        What follows the first 8 bytes of END_REQUEST is ignored.
        """
        sent = wire.record(wire.END_REQUEST, 1, ending(5, 1)[8:] + ending(6) * 50)
        for _, pieces in wire.cuts(sent):
            machine = asked()
            self.assertEqual(feed(machine, pieces), [RequestEnded(1, 5, 1)])
            self.assertWorks(machine)

    @table({"STDOUT": (wire.STDOUT,), "STDERR": (wire.STDERR,)})
    def test_afterEnd(self, type_: int) -> None:
        """
        A stream ends once: another empty record is ignored, content after the
        end ends the connection.  The other stream, and that of the next
        request, are not ended by it.
        """
        machine = asked()
        empty = wire.record(type_, 1)
        other = wire.record(wire.STDOUT + wire.STDERR - type_, 1, b"x")
        self.assertEqual(feed(machine, empty + empty), [StreamEnded(type_)])
        events = feed(machine, other + ending())
        self.assertEqual([type(e) for e in events], [StreamReceived, RequestEnded])
        self.assertWorks(machine, 1)
        machine = asked()
        feed(machine, empty)
        error = self.assertFailed(machine, wire.record(type_, 1, b"x")[:8])
        self.assertIn(" after its end", error)

    def test_otherIds(self) -> None:
        """
        A record of an id that is not in hand ends the connection, whatever it
        is: an application speaks only when it is asked.
        """
        for type_ in TYPES:
            for content in (b"", bytes(8)):
                sent = wire.record(type_, 2, content)
                for machine in (WebServerConnection(), asked()):
                    error = self.assertFailed(machine, sent[:8])
                    self.assertIn(f"type {type_} for request 2, which is not", error)

    def test_afterRequest(self) -> None:
        """
        So does a record that comes after END_REQUEST.
        """
        for sent in (stdout(b"x"), stdout(), stderr(), ending()):
            machine = asked()
            feed(machine, ending())
            self.assertIn("not in hand", self.assertFailed(machine, sent))

    def test_types(self) -> None:
        """
        A record for the request in hand that is not an application's to send
        ends the connection.
        """
        for type_ in set(TYPES) - {wire.STDOUT, wire.STDERR, wire.END_REQUEST}:
            for content in (b"", bytes(8)):
                error = self.assertFailed(asked(), wire.record(type_, 1, content))
                self.assertEqual(error, f"a record of type {type_} from an application")


class ManagementTests(WebServerTestCase):
    """
    What the application answers to GET_VALUES.
    """

    result = wire.record(
        wire.GET_VALUES_RESULT, 0, wire.pairs([(b"A", b"1"), (b"B", b"2")])
    )

    def test_values(self) -> None:
        """
        Values are handed out, within a request or not, in whichever pieces
        they come; the last of a repeated name counts.
        """
        pairs = [(b"A", b"1"), (b"B", b"2"), (b"A", b"3")]
        sent = wire.record(wire.GET_VALUES_RESULT, 0, wire.pairs(pairs))
        expected = [ValuesReceived({b"A": b"3", b"B": b"2"})]
        for how, pieces in wire.cuts(sent):
            for machine in (WebServerConnection(), asked()):
                machine.getValues([b"A"])
                self.assertEqual(feed(machine, pieces), expected, how)

    def test_none(self) -> None:
        """
        An application may know none of the names.
        """
        machine = WebServerConnection()
        machine.getValues([b"A"])
        sent = wire.record(wire.GET_VALUES_RESULT, 0)
        self.assertEqual(feed(machine, sent), [ValuesReceived({})])

    def test_malformed(self) -> None:
        """
        Values that can't be taken apart end the connection.
        """
        machine = WebServerConnection()
        machine.getValues([b"A"])
        sent = wire.record(wire.GET_VALUES_RESULT, 0, b"\5\5A")
        self.assertIn("end within", self.assertFailed(machine, sent))

    def test_unknownType(self) -> None:
        """
        An application may not understand the question; of its answer one byte
        counts, and the rest is not waited for.
        """
        machine = asked()
        machine.getValues([b"A"])
        sent = wire.record(wire.UNKNOWN_TYPE, 0, b"\x09" + bytes(7))
        self.assertEqual(feed(machine, sent[:9]), [TypeUnknown(9)])
        for content in (b"\x09" + bytes(7), b"\x09", b"\x09" + b"!" * 300):
            for _, pieces in wire.cuts(wire.record(wire.UNKNOWN_TYPE, 0, content)):
                machine = asked()
                machine.getValues([b"A"])
                self.assertEqual(feed(machine, pieces), [TypeUnknown(9)])
                feed(machine, ending())
                self.assertWorks(machine)

    @table({"values": (result,), "unknown": (wire.record(11, 0, b"\x09"),)})
    def test_asOften(self, answer: bytes) -> None:
        """
        There are as many answers as questions; one more ends the connection.
        """
        machine = asked()
        for _ in range(3):
            machine.getValues([b"A"])
        self.assertEqual(len(feed(machine, answer * 3)), 3)
        error = self.assertFailed(machine, answer)
        self.assertIn("content that nobody asked for", error)

    @table({"before": (0,), "asked": (1,)})
    def test_unasked(self, questions: int) -> None:
        """
        Other management records end the connection, asked or not, and so does
        an UNKNOWN_TYPE that does not say which.
        """
        for type_ in TYPES:
            for content in (b"", bytes(8)):
                asksFor = {wire.GET_VALUES_RESULT} | (
                    {wire.UNKNOWN_TYPE} if content else set()
                )
                if questions and type_ in asksFor:
                    continue
                machine = asked()
                for _ in range(questions):
                    machine.getValues([b"A"])
                error = self.assertFailed(machine, wire.record(type_, 0, content))
                told = f"type {type_} with {len(content)} bytes"
                self.assertIn(told, error)

    @moderately
    @given(
        st.lists(
            st.one_of(
                st.builds(
                    wire.record,
                    st.sampled_from(TYPES),
                    st.sampled_from([0, 1, 1, 1, 2]),
                    st.sampled_from([b"", b"x", bytes(8), b"\1\1ab"]),
                ),
                st.sampled_from([stdout(b"out"), stdout(), stderr(b"err"), ending()]),
                st.binary(max_size=20),
            ),
            max_size=10,
        ).map(b"".join),
        st.integers(0, 99),
    )
    def test_anyBytes(self, sent: bytes, seed: int) -> None:
        """
        Any bytes at all raise nothing but L{RemoteProtocolError}; a request
        ends once at most, and the events before the error are the same
        whichever pieces the bytes come in.
        """
        runs = []
        for pieces in ([sent], wire.byteByByte(sent), wire.randomCuts(sent, seed)):
            machine = asked()
            machine.getValues([b"A"])
            runs.append((untilError(machine, pieces), str(machine._error)))
            ends = [e for e in runs[-1][0] if isinstance(e, RequestEnded)]
            self.assertLess(len(ends), 2)
        self.assertEqual(runs[1:], runs[:1] * 2)


def untilError(machine: WebServerConnection, pieces: Iterable[bytes]) -> list[Any]:
    """
    Feed a machine as long as it has no error.
    """
    events: list[Any] = []
    for piece in pieces:
        machine.receiveData(piece)
        try:
            for event in iter(machine.nextEvent, None):
                events.append(event)
        except RemoteProtocolError:
            break
    return wire.merged(events)


_PIECES = st.lists(
    st.binary(max_size=20) | st.sampled_from([b"x" * 40000, b"y" * 65536]), max_size=4
)
_PAIRS = st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=200)))
_OUTPUT = st.lists(
    st.tuples(st.sampled_from(["sendStdout", "sendStderr"]), st.binary(max_size=20)),
    max_size=6,
)


class Pair:
    """
    The two machines, with a line between them that cuts what it carries.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.application = ApplicationConnection(roles=STEPS)
        self.webServer = WebServerConnection()

    def up(self, sent: bytes | list[bytes]) -> list[Any]:
        """
        Carry bytes to the application.
        """
        return self._carry(self.application, sent)

    def down(self, sent: bytes | list[bytes]) -> list[Any]:
        """
        Carry bytes to the web server.
        """
        return self._carry(self.webServer, sent)

    def _carry(self, machine: Any, sent: bytes | list[bytes]) -> list[Any]:
        whole = sent if isinstance(sent, bytes) else b"".join(sent)
        return feed(machine, wire.randomCuts(whole, self.seed))


class PairTests(WebServerTestCase):
    """
    What one machine sends, the other understands.
    """

    @moderately
    @given(
        st.sampled_from(sorted(STEPS)),
        st.integers(1, 65535),
        _PAIRS,
        _PIECES,
        _OUTPUT,
        st.integers(0, 2**32 - 1),
        st.integers(0, 99),
    )
    def test_roundTrip(
        self,
        role: int,
        requestId: int,
        variables: list[tuple[bytes, bytes]],
        body: list[bytes],
        output: list[tuple[str, bytes]],
        appStatus: int,
        seed: int,
    ) -> None:
        """
        Any request arrives as it was sent, and so does any answer; twice on
        one connection.
        """
        pair = Pair(seed)
        for _ in range(2):
            self.request(pair, role, requestId, variables, body)
            self.answer(pair, requestId, output, appStatus)

    def request(
        self,
        pair: Pair,
        role: int,
        requestId: int,
        variables: list[tuple[bytes, bytes]],
        body: list[bytes],
    ) -> None:
        """
        Send a request, with the same bytes in all its streams.
        """
        webServer = pair.webServer
        sent = [webServer.beginRequest(role, requestId=requestId)]
        sent += webServer.sendParams(variables)
        expected: list[Any] = [RequestReceived(requestId, role, variables)]
        for name in ("Stdin", "Data"):
            if f"end{name}" in STEPS[role]:
                for piece in body:
                    sent += getattr(webServer, f"send{name}")(piece)
                sent.append(getattr(webServer, f"end{name}")())
                type_ = getattr(wire, name.upper())
                if whole := b"".join(body):
                    expected.append(StreamReceived(type_, whole))
                expected.append(StreamEnded(type_))
        self.assertEqual(pair.up(sent), expected)

    def answer(
        self,
        pair: Pair,
        requestId: int,
        output: list[tuple[str, bytes]],
        appStatus: int,
    ) -> None:
        """
        Send an answer.
        """
        types = {"sendStdout": wire.STDOUT, "sendStderr": wire.STDERR}
        sent: list[bytes] = []
        expected: list[Any] = []
        for name, content in output:
            sent += getattr(pair.application, name)(content)
            if content:
                expected.append(StreamReceived(types[name], content))
        sent.append(pair.application.endRequest(appStatus))
        if any(name == "sendStderr" and content for name, content in output):
            expected.append(StreamEnded(wire.STDERR))
        expected.append(StreamEnded(wire.STDOUT))
        expected.append(RequestEnded(requestId, appStatus, 0))
        self.assertEqual(pair.down(sent), wire.merged(expected))

    def test_values(self) -> None:
        """
        A question about the limits is answered before, within and after a
        request.
        """
        pair = Pair(1)
        names = [b"FCGI_MPXS_CONNS", b"UNKNOWN", b"FCGI_MAX_REQS"]

        def ask() -> None:
            (event,) = pair.up(pair.webServer.getValues(names))
            self.assertIsInstance(event, ManagementReceived)
            values = {b"FCGI_MPXS_CONNS": b"0", b"FCGI_MAX_REQS": b"1000"}
            self.assertEqual(pair.down(event.data), [ValuesReceived(values)])

        ask()
        sent = pair.webServer.beginRequest()
        pair.up([sent, *pair.webServer.sendParams(VARIABLES)])
        ask()
        self.assertEqual(len(pair.down(pair.application.endRequest())), 2)
        ask()

    def test_abort(self) -> None:
        """
        A request that is aborted ends with status 1, and the next is served.
        """
        pair = Pair(2)
        for _ in range(2):
            pair.up(pair.webServer.beginRequest(requestId=5))
            pair.up(pair.webServer.sendParams(VARIABLES))
            pair.down(pair.application.sendStdout(b"half"))
            (event,) = pair.up(pair.webServer.abortRequest())
            self.assertIsInstance(event, RequestAborted)
            self.assertEqual(pair.down(event.data), [RequestEnded(5, 1, 0)])

    @table(
        {
            "OVERLOADED": (True, wire.RESPONDER, wire.OVERLOADED, b"503 "),
            "UNKNOWN_ROLE": (False, wire.FILTER, wire.UNKNOWN_ROLE, b"501 "),
        }
    )
    def test_refused(
        self, refusing: bool, role: int, protocolStatus: int, status: bytes
    ) -> None:
        """
        A request that is refused gets a page and the protocol status while the
        web server still sends; what it sends is skipped, and the next is served.
        """
        pair = Pair(3)
        pair.application = ApplicationConnection()
        pair.application.refusing = refusing
        (event,) = pair.up(pair.webServer.beginRequest(role))
        self.assertIsInstance(event, RequestRejected)
        sent = [*pair.webServer.sendParams(VARIABLES), *pair.webServer.sendStdin(b"x")]
        self.assertEqual(pair.up(sent), [])
        page, ended, over = pair.down(event.data)
        self.assertIn(b"Status: " + status, page.data)
        self.assertEqual(ended, StreamEnded(wire.STDOUT))
        self.assertEqual(over, RequestEnded(1, 0, protocolStatus))
        pair.application.refusing = False
        self.request(pair, wire.RESPONDER, 1, VARIABLES, [b"body"])
        self.answer(pair, 1, [("sendStdout", b"hello")], 0)

    def test_early(self) -> None:
        """
        An answer may come while the body is still being sent.
        """
        pair = Pair(4)
        sent = [pair.webServer.beginRequest(), *pair.webServer.sendParams(VARIABLES)]
        pair.up([*sent, *pair.webServer.sendStdin(b"some")])
        rest = pair.webServer.sendStdin(b"more")
        self.answer(pair, 1, [("sendStdout", b"early")], 0)
        self.assertRaises(LocalProtocolError, pair.webServer.sendStdin, b"yet more")
        self.assertTrue(pair.application.inputPending)
        self.assertEqual(pair.up(rest), [])
        self.request(pair, wire.RESPONDER, 1, VARIABLES, [])
