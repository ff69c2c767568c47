# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.server.FastCGIProtocol}: what a web server sends,
and what it gets for it.
"""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.address import IPv6Address
from twisted.logger import LogLevel
from twisted.web.server import NOT_DONE_YET, Request

from tests import wire
from tests.tables import moderately, table
from tests.transports import (
    UNIX_PEER,
    Application,
    OneWayTransport,
    PausingRequest,
    PullProducer,
    PushProducer,
    ServerTestCase,
    ServerTransport,
    TCPServerTransport,
    later,
)
from twisted_fastcgi.connection import Limits

GET = wire.request(wire.variables())
POST = wire.postVariables(b"0123456789")


def lastWrite(transport: ServerTransport) -> list[wire.Record]:
    """
    Read the records of the last write.
    """
    return wire.records(transport.writes[-1])


class HeaderFieldTests(ServerTestCase):
    """
    Each field of a record's header can be wrong.
    """

    @table(
        {
            "nothing": (b"\0\1\0\1\0\1\0\0",),
            "the next version": (b"\2\1\0\1\0\x08\0\0",),
            "a request of HTTP": (b"GET / HT",),
            "a handshake of TLS": (b"\x16\x03\x01\x02\0\1\0\1",),
            "all bits": (b"\xff" * 8,),
        }
    )
    def test_version(self, header: bytes) -> None:
        """
        A record of another version closes the connection as soon as its header
        is there: what was meant for another protocol never waits.  There is
        one line about it in the log, and others are served.
        """
        self.serve()
        transport = self.connect()
        transport.receive(header[:7])
        self.assertFalse(transport.writeDisconnecting)
        transport.receive(header[7:])
        self.assertTrue(transport.writeDisconnected)
        transport.receive(GET)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(len(self.logged()), 1)
        self.assertIn("version", self.logged()[0])
        self.assertServes()

    def test_versionInTheMidst(self) -> None:
        """
        A record of another version in the midst of a request closes the
        connection without an answer that could pass for one.
        """
        self.serve(later)
        transport = self.exchange(GET, b"\2" + b"\0" * 7)
        self.assertTrue(transport.writeDisconnected)
        self.assertEqual(transport.value(), b"")
        self.assertServesLater()

    def assertServesLater(self) -> None:
        """
        See that the server begins a request on a new connection.
        """
        transport = self.exchange(GET)
        self.assertTrue(transport.connected)
        self.assertFalse(transport.writeDisconnecting)

    @table(
        {
            **{f"padding {size}": ({"padding": size},) for size in (0, 1, 7, 8, 255)},
            "the reserved byte": ({"reserved": 255},),
        }
    )
    def test_meaningless(self, options: dict[str, int]) -> None:
        """
        Padding of any size and any content, on empty records too, and the
        reserved byte mean nothing.
        """
        self.serve()
        content = wire.pairs(wire.variables())
        transport = self.exchange(
            wire.record(1, 1, b"\0\1\1\0\0\0\0\0", **options),
            wire.record(4, 1, content, **options),
            wire.record(4, 1, **options),
            wire.record(5, 1, **options),
        )
        self.assertEqual(transport.response().body, b"hello")
        self.assertServes(transport)

    @table({str(number): (number,) for number in (1, 2, 255, 256, 65535)})
    def test_requestId(self, number: int) -> None:
        """
        Any request id but 0 is answered under that id.
        """
        self.serve()
        transport = self.exchange(wire.request(wire.variables(), requestId=number))
        self.assertEqual(transport.response().requestId, number)

    @table({str(size): (size,) for size in range(8)})
    def test_shortBeginRequest(self, size: int) -> None:
        """
        A BEGIN_REQUEST without room for what it must hold closes the
        connection, at its header.
        """
        self.serve()
        transport = self.exchange(wire.record(1, 1, bytes(size), padding=0)[:8])
        self.assertTrue(transport.writeDisconnected)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(len(self.logged()), 1)
        self.assertServes()

    def test_longRecords(self) -> None:
        """
        Of a BEGIN_REQUEST that is longer than it must be the first bytes
        count; what an ABORT_REQUEST holds does not matter.
        """
        self.serve(later)
        begin = wire.record(1, 1, b"\0\1\1" + b"\xff" * 600)
        transport = self.exchange(begin, wire.params(wire.variables()))
        transport.receive(wire.record(2, 1, b"x" * 600))
        self.assertEqual(transport.response().appStatus, 1)
        self.assertTrue(transport.connected)

    @table({"0": (0, 501), "4": (4, 501), "65535": (65535, 501)})
    def test_role(self, role: int, status: int) -> None:
        """
        A role that is not served gets a page that says so, and UNKNOWN_ROLE;
        a kept connection lives on.
        """
        self.serve()
        transport = self.exchange(wire.request(wire.variables(), role=role))
        answer = transport.response()
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.protocolStatus, wire.UNKNOWN_ROLE)
        self.assertServes(transport)

    @table({"no bits": (0, False), "keep": (1, True), "others": (0xFE, False)})
    def test_flags(self, flags: int, kept: bool) -> None:
        """
        Only the lowest bit of the flags means something.
        """
        self.serve()
        transport = self.exchange(
            wire.beginRequest(flags=flags),
            wire.params(wire.variables()) + wire.stdin(),
        )
        self.assertEqual(transport.connected, kept)
        self.assertEqual(transport.response().status, 200)


#: How far a request has come before a record arrives.
BEFORE = {
    "idle": b"",
    "answered": GET,
    "begun": wire.beginRequest(),
    "params": wire.beginRequest() + wire.params({b"A": b"B"}, end=False),
    "stdin": wire.beginRequest() + wire.params(POST),
    "body": wire.beginRequest() + wire.params(POST) + wire.stdin(b"01234", end=False),
    "complete": wire.request(POST, b"0123456789"),
}

#: What completes the request.
AFTER = {
    "begun": wire.params(POST) + wire.stdin(b"0123456789"),
    "params": wire.params(POST) + wire.stdin(b"0123456789"),
    "stdin": wire.stdin(b"0123456789"),
    "body": wire.stdin(b"56789"),
    "complete": b"",
}

#: What arrives then, with the id of the request.
ARRIVING = {
    "BEGIN_REQUEST": wire.beginRequest(),
    "ABORT_REQUEST": wire.abortRequest(),
    "END_REQUEST": wire.record(wire.END_REQUEST, 1, bytes(8)),
    "PARAMS": wire.params({b"X": b"Y"}, end=False),
    "STDIN": wire.stdin(b"more", end=False),
    "end of STDIN": wire.stdin(),
    "STDOUT": wire.record(wire.STDOUT, 1, b"out"),
    "STDERR": wire.record(wire.STDERR, 1, b"err"),
    "DATA": wire.data(b"data", end=False),
    "GET_VALUES": wire.record(wire.GET_VALUES, 1, wire.pairs({b"X": b""})),
    "GET_VALUES_RESULT": wire.record(wire.GET_VALUES_RESULT, 1, b"x"),
    "UNKNOWN_TYPE": wire.record(wire.UNKNOWN_TYPE, 1, bytes(8)),
    "type 12": wire.record(12, 1, b"x"),
    "type 0": wire.record(0, 1, b"x"),
    "BEGIN_REQUEST of another": wire.beginRequest(2),
    "ABORT_REQUEST of another": wire.abortRequest(2),
    "PARAMS of another": wire.params({b"X": b"Y"}, 2),
    "STDIN of another": wire.stdin(b"more", 2),
    "type 12 of another": wire.record(12, 2, b"x"),
    "BEGIN_REQUEST of none": wire.beginRequest(0),
    "ABORT_REQUEST of none": wire.abortRequest(0),
    "END_REQUEST of none": wire.record(wire.END_REQUEST, 0, bytes(8)),
    "PARAMS of none": wire.params({b"X": b"Y"}, 0, end=False),
    "STDIN of none": wire.stdin(b"more", 0, end=False),
    "DATA of none": wire.data(b"more", 0, end=False),
    "GET_VALUES of none": wire.getValues(b"FCGI_MAX_CONNS"),
    "malformed GET_VALUES": wire.record(wire.GET_VALUES, 0, b"\5"),
    "GET_VALUES_RESULT of none": wire.record(wire.GET_VALUES_RESULT, 0, b""),
    "type 255 of none": wire.record(255, 0, b"x"),
}

#: What the web server gets for it, in any state where nothing else is said.
ALWAYS = {
    "BEGIN_REQUEST of none": "closed",
    "ABORT_REQUEST of none": "UNKNOWN_TYPE 2",
    "END_REQUEST of none": "UNKNOWN_TYPE 3",
    "PARAMS of none": "UNKNOWN_TYPE 4",
    "STDIN of none": "UNKNOWN_TYPE 5",
    "DATA of none": "UNKNOWN_TYPE 8",
    "GET_VALUES of none": "GET_VALUES_RESULT",
    "malformed GET_VALUES": "closed",
    "GET_VALUES_RESULT of none": "UNKNOWN_TYPE 10",
    "type 255 of none": "UNKNOWN_TYPE 255",
}

#: What it gets while a request is in hand.
IN_HAND = {
    **ALWAYS,
    "BEGIN_REQUEST": "closed",
    "ABORT_REQUEST": "aborted",
    "BEGIN_REQUEST of another": "503 CANT_MPX_CONN",
}

#: What it gets, by state; nothing where nothing is said.
GETS: dict[str, dict[str, str]] = {
    "idle": ALWAYS,
    "answered": ALWAYS,
    "begun": {**IN_HAND, "STDIN": "400", "end of STDIN": "400"},
    "params": {**IN_HAND, "STDIN": "400", "end of STDIN": "400"},
    "stdin": {**IN_HAND, "end of STDIN": "400"},
    "body": {**IN_HAND, "end of STDIN": "400"},
    "complete": IN_HAND,
}


def whatItGets(transport: ServerTransport, before: int) -> str:
    """
    Tell what the web server has got for a record.
    """
    found = wire.records(transport.value()[before:])
    if transport.writeDisconnecting or not transport.connected:
        assert not found, found
        return "closed"
    if not found:
        return ""
    if found[0].requestId == 0:
        (record,) = found
        if record.type == wire.UNKNOWN_TYPE:
            assert record.content[1:] == bytes(7)
            return f"UNKNOWN_TYPE {record.content[0]}"
        assert wire.readPairs(record.content) == [(b"FCGI_MAX_CONNS", b"1000")]
        return "GET_VALUES_RESULT"
    answer = wire.response(transport.value()[before:])
    if not answer.stdout:
        assert (answer.appStatus, answer.protocolStatus) == (1, 0)
        return "aborted"
    name = {0: "", 1: " CANT_MPX_CONN"}[answer.protocolStatus or 0]
    return f"{answer.status}{name}"


class StateTests(ServerTestCase):
    """
    Any record can arrive at any time.
    """

    @table(
        {
            f"{arriving} when {state}": (state, arriving)
            for state in BEFORE
            for arriving in ARRIVING
        }
    )
    def test_record(self, state: str, arriving: str) -> None:
        """
        A record that makes no sense does no harm: where it is said what the
        web server gets for it, it gets that, and nothing else; and the request
        in hand is answered as if nothing had happened, unless it is that which
        is ended.  The same connection serves another request then, or a new
        one if it had to be closed; and there is one line in the log at most.
        """
        application = self.serve(self.answer)
        transport = self.exchange(BEFORE[state])
        before = len(transport.value())
        transport.receive(ARRIVING[arriving])
        got = whatItGets(transport, before)
        self.assertEqual(got, GETS[state].get(arriving, ""))
        self.assertLessEqual(len(self.logged()), 1)
        ended = got in ("closed", "aborted", "400")
        if state in AFTER and not ended:
            self.complete(transport, application, state)
        if arriving.startswith("BEGIN_REQUEST") and state not in AFTER:
            # A request begins indeed.
            transport.receive(wire.abortRequest(1) + wire.abortRequest(2))
        self.assertServes(None if got == "closed" else transport)

    def complete(
        self, transport: ServerTransport, application: Application, state: str
    ) -> None:
        """
        Complete the request that is in hand and see that it is answered.
        """
        before = len(transport.value())
        transport.receive(AFTER[state])
        application.requests[-1].finish()
        (answer,) = [
            answer
            for answer in wire.responses(transport.value()[before:])
            if answer.requestId == 1
        ]
        self.assertEqual(answer.status, 200)
        self.assertEqual(application.seen[-1][3], b"0123456789"[: len(application.seen[-1][3])])

    def answer(self, request: Any) -> Any:
        """
        Answer C{POST} later.
        """
        return NOT_DONE_YET if request.method == b"POST" else b"now"
