# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Both machines, driven through any records in any state, side by side with their
models; and both together.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests import wire
from tests.model import (
    FAILED,
    ApplicationModel,
    Arrived,
    Outcome,
    WebServerModel,
    arrived,
    joined,
    outcome,
    received,
)
from tests.tables import moderately
from twisted_fastcgi.connection import (
    INPUT_ACTIONS,
    Action,
    ApplicationConnection,
    InputState,
    Limits,
    OutputState,
    WebServerConnection,
)
from twisted_fastcgi.errors import LocalProtocolError

_LIMITS = [Limits(), Limits(paramsBytes=40, params=3, nameLength=5, connections=7)]

_STREAMS = [wire.PARAMS, wire.STDIN, wire.DATA]

# The id 0, some that are used often, and any other.
_ids = st.sampled_from([1, 1, 1, 2, 0, 256]) | st.integers(0, 0xFFFF)
_types = st.integers(0, 12) | st.integers(0, 255)
_flags = st.sampled_from([0, 1, 1, 255])
_bytes = st.binary(max_size=40)
_pairs = st.lists(st.tuples(st.binary(max_size=7), st.binary(max_size=200)), max_size=4)
_contents = st.one_of(
    st.just(b""), _bytes, _pairs.map(wire.pairs), st.binary(min_size=1, max_size=300)
)
_begins = st.builds(
    lambda role, flags, rest: bytes([0, role, flags]) + bytes(5) + rest,
    st.sampled_from([1, 1, 1, 2, 3, 4, 0]),
    _flags,
    st.sampled_from([b"", b"", b"more"]),
)
_names = st.lists(
    st.sampled_from([b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS", b"X"])
)
_padding = st.sampled_from([None, 0, 1, 255]) | st.integers(0, 255)
_cuts = st.lists(st.integers(0, 600), max_size=4)


def fed(machine: Any, sent: bytes, cuts: list[int]) -> list[Outcome]:
    """
    Give bytes to a machine, in pieces.

    @param cuts: Where they are cut.
    """
    places = sorted({0, len(sent), *(place for place in cuts if place < len(sent))})
    found: list[Outcome] = []
    for start, end in pairwise(places):
        found += received(machine, sent[start:end])
    return joined(found)


class _Records(RuleBasedStateMachine):
    """
    Feeds any records to a machine and to its model.
    """

    machine: Any
    model: Any

    def feed(
        self,
        type_: int,
        requestId: int,
        content: bytes,
        padding: int | None,
        cuts: list[int],
        version: int = 1,
    ) -> None:
        """
        Feed a record, and see that the same comes out.
        """
        sent = wire.record(
            type_, requestId, content, padding=padding, version=version, reserved=255
        )
        told = Arrived(version, type_, requestId, len(content), content)
        self.check(fed(self.machine, sent, cuts), self.model.record(told))

    def check(self, found: list[Outcome], expected: list[Outcome]) -> None:
        """
        See that two are the same, and begin anew after a failure: it is final.
        """
        assert found == joined(expected), (found, expected)
        if self.model.failed:
            assert fed(self.machine, wire.getValues() * 2, []) == [FAILED]
            self.restart()

    def restart(self) -> None:
        """
        Begin with another connection.
        """
        raise NotImplementedError

    @rule(
        type_=_types,
        requestId=_ids,
        content=_contents | _begins,
        padding=_padding,
        cuts=_cuts,
    )
    def any(self, **told: Any) -> None:
        """
        Any record.
        """
        self.feed(**told)

    @rule(version=st.integers(0, 255).filter(lambda n: n != 1), cuts=_cuts)
    def otherVersion(self, version: int, cuts: list[int]) -> None:
        """
        Bytes that are not FastCGI.
        """
        self.feed(wire.GET_VALUES, 0, b"", 0, cuts, version)

    def teardown(self) -> None:
        """
        What there was is over.
        """


class ApplicationRecords(_Records):
    """
    L{ApplicationConnection} and its model.
    """

    limits = Limits()
    roles: tuple[int, ...] = (wire.RESPONDER,)

    @initialize(
        limits=st.sampled_from(_LIMITS), roles=st.sampled_from([(1,), (1, 2, 3)])
    )
    def begin_(self, limits: Limits, roles: tuple[int, ...]) -> None:
        """
        Begin.
        """
        self.limits, self.roles = limits, roles
        self.restart()

    def restart(self) -> None:
        self.machine = ApplicationConnection(self.limits, self.roles)
        self.model = ApplicationModel(self.limits, self.roles)
        self.silent = True

    @rule()
    @precondition(lambda self: not self.model.requestId)
    def refuse(self) -> None:
        """
        The application takes no more requests, or does again.
        """
        self.model.refusing = not self.model.refusing
        self.machine.refusing = self.model.refusing

    @rule(requestId=_ids, content=_begins, padding=_padding, cuts=_cuts)
    def begin(self, **told: Any) -> None:
        """
        The web server begins a request.
        """
        before = self.model.requestId
        self.feed(wire.BEGIN_REQUEST, **told)
        self.silent = self.silent or self.model.requestId != before

    @rule(
        type_=st.sampled_from(_STREAMS), content=_contents, padding=_padding, cuts=_cuts
    )
    @precondition(lambda self: self.model.requestId)
    def stream(self, **told: Any) -> None:
        """
        The web server sends a piece of a stream, or its end.
        """
        self.feed(requestId=self.model.requestId, **told)

    @rule(content=_contents, padding=_padding, cuts=_cuts)
    @precondition(lambda self: self.model.requestId and self.model.streams)
    def next(self, **told: Any) -> None:
        """
        The web server sends what comes next.
        """
        stream, requestId = self.model.streams[0], self.model.requestId
        self.feed(type_=stream, requestId=requestId, **told)

    @rule(role=st.sampled_from([1, 1, 3, 2]), pairs=_pairs, cuts=_cuts)
    @precondition(lambda self: not self.model.requestId)
    def request(self, role: int, pairs: Any, cuts: list[int]) -> None:
        """
        The web server begins a request and sends its params.
        """
        content = bytes([0, role, 1]) + bytes(5)
        for type_, piece in (
            (wire.BEGIN_REQUEST, content),
            (wire.PARAMS, wire.pairs(pairs)),
            (wire.PARAMS, b""),
        ):
            self.feed(type_, 3, piece, None, cuts)

    @rule(
        pairs=_pairs,
        body=_bytes,
        requestId=_ids,
        keep=st.booleans(),
        role=st.sampled_from([1, 1, 1, 2, 3]),
        more=st.sampled_from([b"", b"", wire.getValues(), wire.beginRequest(2)]),
        cuts=_cuts,
    )
    def whole(
        self, pairs: Any, body: bytes, more: bytes, cuts: Any, **told: Any
    ) -> None:
        """
        The web server sends a whole request, and perhaps something after it.
        """
        sent = wire.request(pairs, body, **told) + more
        expected = [one for each in arrived(sent) for one in self.model.record(each)]
        self.check(fed(self.machine, sent, cuts), expected)

    @rule(padding=_padding, cuts=_cuts)
    @precondition(lambda self: self.model.requestId)
    def abort(self, **told: Any) -> None:
        """
        The web server aborts the request.
        """
        requestId = self.model.requestId
        self.feed(type_=wire.ABORT_REQUEST, requestId=requestId, content=b"", **told)

    @rule(names=_names, padding=_padding, cuts=_cuts)
    def getValues(self, names: list[bytes], **told: Any) -> None:
        """
        The web server asks.
        """
        content = wire.pairs((name, b"") for name in names)
        self.feed(type_=wire.GET_VALUES, requestId=0, content=content, **told)

    @rule(
        type_=_types,
        requestId=_ids,
        content=_contents | _begins,
        missing=st.integers(1, 300),
        cuts=_cuts,
    )
    def endless(
        self, type_: int, requestId: int, content: bytes, missing: int, cuts: list[int]
    ) -> None:
        """
        A record that never comes to its end; nothing can follow it but the
        web server's closing the connection.
        """
        length = len(content) + missing
        sent = wire.record(type_, requestId, content + bytes(missing), padding=0)
        told = Arrived(1, type_, requestId, length, content)
        found = fed(self.machine, sent[: 8 + len(content)], cuts)
        self.check(found, self.model.record(told))
        self.restart()

    @rule(content=st.binary(min_size=2, max_size=99), padding=_padding, half=st.data())
    @precondition(lambda self: _within(self.model))
    def endWithinRecord(self, content: bytes, padding: int | None, half: Any) -> None:
        """
        The application ends the request in the midst of a record, the rest of
        which is nobody's then.
        """
        stream, requestId = self.model.streams[0], self.model.requestId
        sent = wire.record(stream, requestId, content, padding=padding)
        come = half.draw(st.integers(1, len(content) - 1))
        found = fed(self.machine, sent[: 8 + come], [])
        assert found == [("stream", stream, content[:come])]
        self.end(status=0, complete=True)
        assert fed(self.machine, sent[8 + come :], []) == []
        assert not self.machine.withinRecord

    @rule(data=_bytes)
    def stdout(self, data: bytes) -> None:
        """
        The application sends a piece of the response.
        """
        self._send("sendStdout", wire.STDOUT, data)

    @rule(data=_bytes)
    def stderr(self, data: bytes) -> None:
        """
        The application complains.
        """
        self._send("sendStderr", wire.STDERR, data)

    def _send(self, method: str, type_: int, data: bytes) -> None:
        if not self._refused(method, data):
            getattr(self.model, method)(data)
            found = wire.records(getattr(self.machine, method)(data))
            piece = wire.Record(type_, self.model.requestId, data)
            assert found == [piece] * bool(data)
            self.silent = self.silent and not data

    @rule(status=st.integers(0, 0xFFFFFFFF), complete=st.booleans())
    def end(self, status: int, complete: bool) -> None:
        """
        The application ends the request.
        """
        if self._refused("endRequest", status):
            return
        requestId = self.model.requestId
        pending = bool(self.model.streams)
        self.model.endRequest(status, complete=complete)
        *streams, last = wire.records(
            self.machine.endRequest(status, complete=complete)
        )
        content = status.to_bytes(4, "big") + bytes(4)
        assert last == (wire.END_REQUEST, requestId, content)
        assert all(each[1:] == (requestId, b"") for each in streams)
        assert (wire.STDOUT in [each.type for each in streams]) == complete
        assert self.machine.inputPending or not pending

    def _refused(self, method: str, *arguments: Any) -> bool:
        """
        See that what has no request is refused, and changes nothing.
        """
        if self.model.answerable:
            return False
        try:
            getattr(self.machine, method)(*arguments)
        except LocalProtocolError:
            return True
        raise AssertionError(f"{method} was possible")

    @invariant()
    def agree(self) -> None:
        """
        What the machine tells of its state is what the model knows.
        """
        machine, model = self.machine, self.model
        assert machine.keepConnection == model.keeps
        assert (machine.inputState is InputState.IDLE) == (not model.requestId)
        if model.requestId:
            assert machine.requestId == model.requestId
            assert machine.inputState.name == _awaited(model.streams)
            silent = machine.outputState is OutputState.SILENT
            assert silent == (self.silent or not model.answerable)
        else:
            self.silent = True
            assert machine.outputState is OutputState.ENDED


def _within(model: ApplicationModel) -> bool:
    """
    Tell whether there is a request that still has a body to come.
    """
    return model.answerable and not model.complete


def _awaited(streams: list[int]) -> str:
    """
    Name the stream that comes next.
    """
    names = {wire.PARAMS: "PARAMS", wire.STDIN: "STDIN", wire.DATA: "DATA"}
    return names[streams[0]] if streams else "ENDED"


class WebServerRecords(_Records):
    """
    L{WebServerConnection} and its model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.restart()

    def restart(self) -> None:
        self.machine = WebServerConnection()
        self.model = WebServerModel()
        self.streams: list[int] = []

    @rule(requestId=_ids, role=st.sampled_from([1, 1, 2, 3, 0, 4]), keep=st.booleans())
    def begin(self, requestId: int, role: int, keep: bool) -> None:
        """
        The web server begins a request.
        """
        possible = not self.model.requestId and requestId and role in (1, 2, 3)
        try:
            sent = self.machine.beginRequest(
                role, requestId=requestId, keepConnection=keep
            )
        except LocalProtocolError:
            assert not possible
        else:
            assert possible
            assert wire.records(sent) == wire.records(
                wire.beginRequest(requestId, role, keep=keep)
            )
            self.model.begin(requestId)
            following = {1: [wire.STDIN], 2: [], 3: [wire.STDIN, wire.DATA]}
            self.streams = [wire.PARAMS, *following[role]]

    @rule(type_=st.sampled_from(_STREAMS), data=_bytes, pairs=_pairs)
    def send(self, type_: int, data: bytes, pairs: Any) -> None:
        """
        The web server sends a piece of a stream; all of it for the params.
        """
        machine = self.machine
        calls = {
            wire.PARAMS: lambda: machine.sendParams(pairs),
            wire.STDIN: lambda: machine.sendStdin(data),
            wire.DATA: lambda: machine.sendData(data),
        }
        sent = self._inTurn(type_, calls[type_])
        if sent is not None:
            end = type_ == wire.PARAMS
            content = wire.pairs(pairs) if end else data
            self._checkStream(type_, sent, content, end)

    @rule(type_=st.sampled_from([wire.STDIN, wire.DATA]))
    def finish(self, type_: int) -> None:
        """
        The web server ends a stream.
        """
        machine = self.machine
        call = machine.endStdin if type_ == wire.STDIN else machine.endData
        sent = self._inTurn(type_, call)
        if sent is not None:
            self._checkStream(type_, sent, b"", True)

    def _inTurn(self, type_: int, call: Any) -> Any:
        """
        See that a stream can be sent if it is its turn, and only then.
        """
        inTurn = bool(self.model.requestId) and self.streams[:1] == [type_]
        try:
            sent = call()
        except LocalProtocolError:
            assert not inTurn
            return None
        assert inTurn
        return sent

    def _checkStream(self, type_: int, sent: Any, content: bytes, end: bool) -> None:
        """
        See that what is sent is right.
        """
        pieces = [content] * bool(content) + [b""] * end
        expected = [wire.Record(type_, self.model.requestId, each) for each in pieces]
        assert wire.records(sent) == expected
        if end:
            del self.streams[0]

    @rule()
    def abort(self) -> None:
        """
        The web server aborts the request.
        """
        try:
            sent = self.machine.abortRequest()
        except LocalProtocolError:
            assert not self.model.requestId
        else:
            assert sent == wire.abortRequest(self.model.requestId)
            self.streams = []

    @rule(names=_names)
    def getValues(self, names: list[bytes]) -> None:
        """
        The web server asks for the limits.
        """
        assert wire.records(self.machine.getValues(names)) == wire.records(
            wire.getValues(*names)
        )
        self.model.ask()

    @rule(
        type_=st.sampled_from([wire.STDOUT, wire.STDERR, wire.END_REQUEST]),
        content=_contents,
        padding=_padding,
        cuts=_cuts,
    )
    def answer(self, **told: Any) -> None:
        """
        The application sends what it may.
        """
        self.feed(requestId=self.model.requestId, **told)

    @rule(content=_contents, padding=_padding, cuts=_cuts)
    def values(self, **told: Any) -> None:
        """
        The application tells its limits.
        """
        self.feed(type_=wire.GET_VALUES_RESULT, requestId=0, **told)

    @rule(content=_contents, padding=_padding, cuts=_cuts)
    def unknown(self, **told: Any) -> None:
        """
        The application does not understand.
        """
        self.feed(type_=wire.UNKNOWN_TYPE, requestId=0, **told)

    @invariant()
    def agree(self) -> None:
        """
        What the machine tells of its state is what the model knows.
        """
        machine, model = self.machine, self.model
        assert machine.requestId == model.requestId
        assert (machine.inputState is InputState.IDLE) == (not model.requestId)


class Conversation(RuleBasedStateMachine):
    """
    Both machines: what one sends is what the other hears, and neither breaks
    the protocol.

    @ivar toServer: Bytes on their way to the web server.
    @ivar toApplication: Bytes on their way to the application.
    """

    def __init__(self) -> None:
        super().__init__()
        self.webServer = WebServerConnection()
        self.application = ApplicationConnection(roles=(1, 2, 3))
        self.toServer = b""
        self.toApplication = b""
        self.said: list[Outcome] = []
        self.heard: list[Outcome] = []
        self.answered: list[Outcome] = []
        self.understood: list[Outcome] = []

    @rule(role=st.sampled_from([1, 2, 3]), requestId=st.integers(1, 3), pairs=_pairs)
    @precondition(lambda self: not self.webServer.requestId)
    def begin(self, role: int, requestId: int, pairs: Any) -> None:
        """
        The web server begins a request and sends its params.
        """
        self.toApplication += self.webServer.beginRequest(role, requestId=requestId)
        self.toApplication += b"".join(self.webServer.sendParams(pairs))
        self.said.append(("request", requestId, role, pairs))

    @rule(data=st.binary(min_size=1, max_size=50), end=st.booleans())
    @precondition(lambda self: _takes(self.webServer, wire.STDIN))
    def stdin(self, data: bytes, end: bool) -> None:
        """
        The web server sends a piece of the body, or its end.
        """
        piece = self.webServer.endStdin() if end else self.webServer.sendStdin(data)
        self._sayStream(wire.STDIN, data, end, piece)

    @rule(data=st.binary(min_size=1, max_size=50), end=st.booleans())
    @precondition(lambda self: _takes(self.webServer, wire.DATA))
    def data(self, data: bytes, end: bool) -> None:
        """
        The web server sends a piece of a Filter's file, or its end.
        """
        piece = self.webServer.endData() if end else self.webServer.sendData(data)
        self._sayStream(wire.DATA, data, end, piece)

    def _sayStream(self, type_: int, data: bytes, end: bool, sent: Any) -> None:
        self.toApplication += sent if isinstance(sent, bytes) else b"".join(sent)
        self.said.append(("ended", type_) if end else ("stream", type_, data))

    @rule()
    @precondition(lambda self: self.webServer.requestId)
    def abort(self) -> None:
        """
        The web server aborts the request.
        """
        self.toApplication += self.webServer.abortRequest()
        self.said.append(("aborted",))

    @rule(names=_names)
    def getValues(self, names: list[bytes]) -> None:
        """
        The web server asks.
        """
        self.toApplication += self.webServer.getValues(names)
        self.said.append(("answer",))

    @rule(size=st.integers(1, 100) | st.just(100000))
    def deliverRequest(self, size: int) -> None:
        """
        Some bytes reach the application.
        """
        piece, self.toApplication = self.toApplication[:size], self.toApplication[size:]
        self.application.receiveData(piece)
        for event in iter(self.application.nextEvent, None):
            self.heard.append(_brief(outcome(event)))
            self.toServer += getattr(event, "data", b"") * (
                self.heard[-1] in (("aborted",), ("answer",))
            )
            if self.heard[-1] == ("aborted",):
                self.answered.append(("over",))

    @rule(size=st.integers(1, 100) | st.just(100000))
    def deliverAnswer(self, size: int) -> None:
        """
        Some bytes reach the web server.
        """
        piece, self.toServer = self.toServer[:size], self.toServer[size:]
        self.webServer.receiveData(piece)
        for event in iter(self.webServer.nextEvent, None):
            found = outcome(event)
            if found[0] == "over":
                self.understood.append(("over",))
            elif found[0] == "stream":
                self.understood.append(found)

    @rule(data=st.binary(min_size=1, max_size=50), complaint=st.booleans())
    @precondition(lambda self: _answerable(self.application))
    def answer(self, data: bytes, complaint: bool) -> None:
        """
        The application sends a piece of its answer.
        """
        type_ = wire.STDERR if complaint else wire.STDOUT
        send = self.application.sendStderr if complaint else self.application.sendStdout
        self.toServer += b"".join(send(data))
        self.answered.append(("stream", type_, data))

    @rule(complete=st.booleans())
    @precondition(lambda self: _answerable(self.application))
    def end(self, complete: bool) -> None:
        """
        The application ends the request, be it early.
        """
        self.toServer += self.application.endRequest(complete=complete)
        self.answered.append(("over",))

    def teardown(self) -> None:
        """
        When all has arrived, both sides know the same.
        """
        self.deliverRequest(1 << 20)
        self.deliverAnswer(1 << 20)
        assert joined(self.understood) == joined(self.answered)
        # What comes after an early end is left out.
        heard = [each for each in self.heard if each[0] == "request"]
        assert heard == [each for each in self.said if each[0] == "request"]
        if self.application.inputState is InputState.IDLE:
            assert not self.webServer.requestId


def _takes(webServer: WebServerConnection, type_: int) -> bool:
    """
    Tell whether a stream may be sent now.
    """
    return INPUT_ACTIONS.get(webServer.inputState, {}).get(type_) is Action.TAKE


def _answerable(application: ApplicationConnection) -> bool:
    """
    Tell whether there is a request whose variables are complete.
    """
    return application.inputState not in (InputState.IDLE, InputState.PARAMS)


def _brief(found: Outcome) -> Outcome:
    """
    Leave out what the other side can't know.
    """
    return found[:1] if found[0] in ("aborted", "answer") else found


class StatefulTests(SynchronousTestCase):
    """
    Every state, and every record in it.
    """

    def explore(self, machine: type[RuleBasedStateMachine], steps: int = 60) -> None:
        """
        Try many ways through a machine.
        """
        run_state_machine_as_test(
            machine, settings=settings(moderately, stateful_step_count=steps)
        )

    def test_application(self) -> None:
        """
        L{ApplicationConnection} makes of any records, in any state, in any
        cuts, with any padding, what its model makes of them.
        """
        self.explore(ApplicationRecords)

    def test_webServer(self) -> None:
        """
        So does L{WebServerConnection}.
        """
        self.explore(WebServerRecords)

    def test_both(self) -> None:
        """
        What one of them sends is what the other hears, in whatever pieces it
        arrives.
        """
        self.explore(Conversation)
