# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.server.FastCGIProtocol}: what a web server sends,
and what it gets for it.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.address import IPv6Address
from twisted.logger import LogLevel
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import Data

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
    SocketPeer,
    SocketReactor,
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

#: What the body is then, if it is not the usual one: what is too much of it is
#: left out.
BODIES = {
    ("STDIN", "stdin"): b"more012345",
    ("STDIN", "body"): b"01234more5",
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
            body = BODIES.get((arriving, state), b"0123456789")
            self.complete(transport, application, state, body)
        if arriving.startswith("BEGIN_REQUEST") and state not in AFTER:
            # A request begins indeed.
            transport.receive(wire.abortRequest(1) + wire.abortRequest(2))
        self.assertServes(None if got == "closed" else transport)

    def complete(
        self,
        transport: ServerTransport,
        application: Application,
        state: str,
        body: bytes,
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
        self.assertEqual(application.seen[-1][3], body)

    def answer(self, request: Any) -> Any:
        """
        Answer C{POST} later.
        """
        return NOT_DONE_YET if request.method == b"POST" else b"now"


#: What is wrong with variables, and what they are on the wire.
BAD_PAIRS = {
    "a name without its length": b"\x80\0\0",
    "a value without its length": b"\1\x80",
    "a name that ends early": b"\5\0ABC",
    "a value that ends early": b"\1\5AB",
    "a value of two gigabytes": b"\1\xff\xff\xff\xffAB",
    "only a length": b"\1",
}

#: What no request can have, and whose fault the log says it is.
BAD_VARIABLES: dict[str, dict[str, bytes | None]] = {
    "no REQUEST_METHOD": {"REQUEST_METHOD": None},
    "empty REQUEST_METHOD": {"REQUEST_METHOD": b""},
    "REQUEST_METHOD with a space": {"REQUEST_METHOD": b"GET /"},
    "REQUEST_METHOD with CR": {"REQUEST_METHOD": b"GET\r"},
    "REQUEST_METHOD in 8 bits": {"REQUEST_METHOD": b"G\xc9T"},
    "REQUEST_URI with LF": {"REQUEST_URI": b"/\n"},
    "QUERY_STRING with CR LF": {"QUERY_STRING": b"a\r\nb"},
    "a header with LF": {"HTTP_X": b"a\nB: c"},
    "a header with CR": {"HTTP_X": b"a\rb"},
    "a header with NUL": {"HTTP_X": b"a\0b"},
    "any variable with NUL": {"FOO": b"a\0b"},
    "SERVER_PROTOCOL with LF": {"SERVER_PROTOCOL": b"HTTP/1.1\n"},
    "CONTENT_TYPE with LF": {"CONTENT_TYPE": b"a/b\n"},
    "CONTENT_LENGTH with LF": {"CONTENT_LENGTH": b"1\n"},
    "CONTENT_LENGTH with a sign": {"CONTENT_LENGTH": b"+3"},
    "CONTENT_LENGTH below zero": {"CONTENT_LENGTH": b"-3"},
    "CONTENT_LENGTH in words": {"CONTENT_LENGTH": b"abc"},
    "CONTENT_LENGTH with a space": {"CONTENT_LENGTH": b" 3"},
    "CONTENT_LENGTH twice": {"CONTENT_LENGTH": b"3, 3"},
    "CONTENT_LENGTH in other digits": {"CONTENT_LENGTH": "٣".encode()},
    "CONTENT_LENGTH of 40 digits": {"CONTENT_LENGTH": b"1" * 40},
}

#: What real web servers send and is no fault.
GOOD_VARIABLES: dict[str, dict[str, bytes | None]] = {
    "no REQUEST_URI": {"REQUEST_URI": None},
    "no SCRIPT_NAME": {"SCRIPT_NAME": None},
    "neither": {"REQUEST_URI": None, "SCRIPT_NAME": None},
    "no SERVER_PROTOCOL": {"SERVER_PROTOCOL": None},
    "odd SERVER_PROTOCOL": {"SERVER_PROTOCOL": b"INCLUDED"},
    "no addresses": {
        "REMOTE_ADDR": None,
        "REMOTE_PORT": None,
        "SERVER_ADDR": None,
        "SERVER_PORT": None,
        "SERVER_NAME": None,
    },
    "a Unix socket": {"REMOTE_ADDR": b"unix:", "REMOTE_PORT": b""},
    "a port that is none": {"REMOTE_PORT": b"http", "SERVER_PORT": b"99999999"},
    "no CONTENT_LENGTH": {"CONTENT_LENGTH": None},
    "empty CONTENT_LENGTH": {"CONTENT_LENGTH": b""},
    "unknown CONTENT_LENGTH": {"CONTENT_LENGTH": b"-1"},
    "zero CONTENT_LENGTH": {"CONTENT_LENGTH": b"0"},
    "many zeros": {"CONTENT_LENGTH": b"0" * 18},
    "LF in a path": {"SCRIPT_NAME": b"/a\nb", "REQUEST_URI": b"/a%0Ab"},
    "LF in a certificate": {"SSL_CLIENT_CERT": b"-----BEGIN\n"},
    "no name": {"": b"value"},
    "no value": {"NAME": b""},
    "a header that is none": {"HTTP_": b"x", "HTTP_A B": b"y", "HTTP_\xe9": b"z"},
    "cookies that are none": {"HTTP_COOKIE": b";;=;a;=b;\xff=\xfe"},
}


class BadRequestTests(ServerTestCase):
    """
    A request that makes no sense is answered, and ends; the connection lives
    on.
    """

    def assertRefused(self, transport: ServerTransport, status: int = 400) -> None:
        """
        See that the web server got a page, and that the same connection and
        a new one are served.
        """
        answer = transport.response()
        self.assertEqual(answer.status, status)
        self.assertEqual((answer.appStatus, answer.protocolStatus), (0, 0))
        self.assertEqual(answer.header(b"Content-Length"), b"%d" % len(answer.body))
        self.assertEqual(len(self.logged()), 1)
        self.assertServes(transport)
        self.assertServes()
        self.assertEqual(len(self.logged()), 1)

    @table({name: (pairs,) for name, pairs in BAD_PAIRS.items()})
    def test_pairs(self, pairs: bytes) -> None:
        """
        Variables that end too early, at any place, are answered with 400.
        """
        application = self.serve()
        transport = self.exchange(
            wire.beginRequest() + wire.stream(wire.PARAMS, 1, pairs) + wire.stdin(),
        )
        self.assertRefused(transport)
        self.assertEqual(len(application.seen), 2)

    @table({name: (changes,) for name, changes in BAD_VARIABLES.items()})
    def test_variables(self, changes: dict[str, bytes | None]) -> None:
        """
        What can't be part of a request is answered with 400, and the log tells
        which variable it was.
        """
        application = self.serve()
        transport = self.exchange(wire.request(wire.variables(**changes)))
        self.assertIn(next(iter(changes)), self.logged()[0])
        self.assertRefused(transport)
        self.assertEqual(len(application.seen), 2)

    @table({name: (changes,) for name, changes in GOOD_VARIABLES.items()})
    def test_unusual(self, changes: dict[str, bytes | None]) -> None:
        """
        What is only unusual is served, without a word.
        """
        self.serve()
        found = {
            name.encode("latin-1"): value
            for name, value in {**wire.variables(), **changes}.items()
            if isinstance(name, str) and value is not None
        }
        missing = {name.encode() for name, value in changes.items() if value is None}
        variables = {
            name: value
            for name, value in {**wire.variables(), **found}.items()
            if name not in missing
        }
        transport = self.exchange(wire.request(variables))
        self.assertEqual(transport.statuses(), [200])
        self.assertEqual(self.logged(), [])
        self.assertServes(transport)

    def test_noVariables(self) -> None:
        """
        A request without any variables is answered with 400.
        """
        self.serve()
        self.assertRefused(self.exchange(wire.request({})))

    def test_slashes(self) -> None:
        """
        A path of far too many parts, which would keep everybody else waiting,
        is answered with 414.
        """
        application = self.serve()
        variables = wire.variables(SCRIPT_NAME=b"/a" * 4097)
        transport = self.exchange(wire.request(variables))
        self.assertRefused(transport, 414)
        self.assertEqual(len(application.seen), 2)

    def test_headersAreNotSplit(self) -> None:
        """
        An answer to C{HEAD} is a header block only, even if it is 400.
        """
        self.serve()
        changes: dict[str, bytes | None] = {"CONTENT_LENGTH": b"x"}
        variables = wire.variables(REQUEST_METHOD=b"HEAD", **changes)
        answer = self.exchange(wire.request(variables)).response()
        self.assertEqual((answer.status, answer.body), (400, b""))

    def test_repeatedVariables(self) -> None:
        """
        Of a repeated variable the last value counts, because nginx sends a
        parameter twice that the site sets anew; a repeated header is repeated.
        """
        application = self.serve()
        items = [
            *wire.variables(b"/first", HTTP_X=b"1").items(),
            *wire.variables(b"/second", HTTP_X=b"2", HTTP_COOKIE=b"b=2").items(),
            (b"HTTP_COOKIE", b"c=3"),
        ]
        self.exchange(wire.request(items))
        _, uri, headers, _, _ = application.seen[0]
        self.assertEqual(uri, b"/second")
        self.assertEqual(headers[b"X"], [b"1", b"2"])
        self.assertEqual(headers[b"Cookie"], [b"b=2; c=3"])

    @table(
        {
            "a byte less": (b"11", b"0123456789", 400),
            "no byte": (b"1", b"", 400),
            "exactly": (b"10", b"0123456789", 200),
            "a byte more": (b"9", b"0123456789", 200),
            "much more": (b"0", b"0123456789" * 20000, 200),
        }
    )
    def test_lyingLength(self, told: bytes, body: bytes, status: int) -> None:
        """
        If less than CONTENT_LENGTH comes, the client has failed: the
        application does not see it, and the answer is 400.  More is none of
        the request's, and left out.
        """
        application = self.serve()
        variables = wire.postVariables(body, CONTENT_LENGTH=told)
        transport = self.exchange(wire.request(variables, body))
        self.assertEqual(transport.statuses(), [status])
        bodies = [seen[3] for seen in application.seen]
        self.assertEqual(bodies, [body[: int(told)]] if status == 200 else [])
        self.assertServes(transport)

    def test_lyingLengthInPieces(self) -> None:
        """
        The rest of a record in whose midst CONTENT_LENGTH is reached is left
        out, whatever the pieces it comes in: the answer is given by then.
        """
        variables = wire.postVariables(b"", CONTENT_LENGTH=b"5")
        for keep in (True, False):
            application = self.serve()
            sent = wire.request(variables, b"hello world", keep=keep)
            transport = self.exchange(*wire.byteByByte(sent))
            self.assertEqual(transport.statuses(), [200])
            self.assertEqual([seen[3] for seen in application.seen], [b"hello"])
            self.assertEqual(self.logged(), [])
            if keep:
                self.assertServes(transport)
            transport.close()

    def test_oneLineEach(self) -> None:
        """
        However much a peer does wrong on one connection, the log has one line
        about it: warnings tell about it, no traceback does.
        """
        self.serve()
        bad = wire.request(wire.variables(CONTENT_LENGTH=b"x"))
        transport = self.exchange(bad * 100, wire.request({}, role=9), b"\2" * 8)
        self.assertEqual(len(transport.responses()), 101)
        (line,) = self.logged(LogLevel.info)
        self.assertIn("192.168.1.1:54321", line)
        self.assertIn("CONTENT_LENGTH", line)

    def test_logNamesUnixPeer(self) -> None:
        """
        A peer on a Unix socket has no address, and the log says so.
        """
        self.serve()
        self.connect(ServerTransport(UNIX_PEER)).receive(wire.request({}))
        self.assertIn("Unix socket", self.logged()[0])

    def test_logNamesIPv6Peer(self) -> None:
        """
        A peer with an IPv6 address is told from its port.
        """
        self.serve()
        peer = IPv6Address("TCP", "2001:db8::1", 9)
        self.connect(ServerTransport(peer)).receive(wire.request({}))
        self.assertIn("2001:db8::1", self.logged()[0])


class FramingTests(ServerTestCase):
    """
    Where one record ends and the next begins means nothing.
    """

    def test_pairsStraddleRecords(self) -> None:
        """
        A variable may be cut anywhere by the end of a record, within a length
        too.
        """
        application = self.serve()
        variables = wire.postVariables(b"body", HTTP_LONG=b"x" * 300)
        pairs = wire.pairs(variables)
        for size in (1, 2, 3, 5, 7, 64, 299):
            sizes = [size] * (len(pairs) // size + 1)
            transport = self.exchange(
                wire.beginRequest()
                + wire.params(variables, sizes=sizes)
                + wire.stdin(b"body", sizes=[1, 1, 1])
            )
            self.assertEqual(transport.statuses(), [200])
        self.assertEqual(application.seen, application.seen[:1] * 7)
        self.assertEqual(application.seen[0][2][b"Long"], [b"x" * 300])

    def test_cutAnywhere(self) -> None:
        """
        What is sent may be cut anywhere.
        """
        self.serve()
        sent = wire.request(wire.postVariables(b"0123"), b"0123")
        whole = self.exchange(sent).value()
        for place in range(len(sent)):
            transport = self.exchange(sent[:place], sent[place:])
            self.assertEqual(transport.value(), whole)


class OneAtATimeTests(ServerTestCase):
    """
    One request at a time.
    """

    def test_secondRequest(self) -> None:
        """
        A request that begins while another is in hand gets a page that says
        503 and CANT_MPX_CONN under its own id, whatever else is sent under
        that id is skipped, and the request in hand is none the worse for it.
        """
        application = self.serve(later)
        transport = self.connect()
        for state in ("params", "body"):
            transport.receive(BEFORE[state], wire.request(POST, b"other", 2))
            transport.receive(wire.abortRequest(2))
            (answer,) = transport.responses()
            self.assertEqual(answer.requestId, 2)
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.protocolStatus, wire.CANT_MPX_CONN)
            transport.receive(AFTER[state])
            transport.clear()
            application.requests[-1].write(b"me")
            application.requests[-1].finish()
            self.assertEqual(transport.response().body, b"me")
            transport.clear()
        self.assertEqual([seen[3] for seen in application.seen], [b"0123456789"] * 2)

    def test_secondRequestEndsConnection(self) -> None:
        """
        If a request that was refused while another is in hand wants the
        connection to be closed, it is closed after the other one.
        """
        application = self.serve(later)
        transport = self.exchange(GET, wire.request(POST, b"", 2, keep=False))
        self.assertFalse(transport.writeDisconnecting or transport.disconnecting)
        application.request.finish()
        self.assertEqual(len(transport.responses()), 2)
        transport.settle()
        self.assertTrue(transport.writeDisconnected)

    def test_sameIdAgain(self) -> None:
        """
        A request that begins twice closes the connection.
        """
        self.serve(later)
        transport = self.exchange(GET, wire.beginRequest())
        self.assertTrue(transport.writeDisconnected)
        self.assertEqual(transport.value(), b"")

    def test_pipelined(self) -> None:
        """
        Requests that are sent before the one before them is answered, and
        answered at once, are served one after the other.
        """
        application = self.serve(lambda request: request.uri)
        transport = self.exchange(
            b"".join(
                wire.request(wire.variables(b"/%d" % number), requestId=number)
                for number in range(1, 200)
            )
        )
        bodies = [answer.body for answer in transport.responses()]
        self.assertEqual(bodies, [b"/%d" % number for number in range(1, 200)])
        self.assertEqual(len(application.requests), 199)

    def test_multiplexingIsDenied(self) -> None:
        """
        A web server that asks is told that requests can't be multiplexed, and
        how many connections it may open.
        """
        self.serve(limits=Limits(connections=12))
        names = (b"FCGI_MPXS_CONNS", b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"OTHER")
        transport = self.exchange(wire.getValues(*names))
        (record,) = wire.management(transport.value())
        self.assertEqual(record.type, wire.GET_VALUES_RESULT)
        self.assertEqual(
            dict(wire.readPairs(record.content)),
            {
                b"FCGI_MPXS_CONNS": b"0",
                b"FCGI_MAX_CONNS": b"12",
                b"FCGI_MAX_REQS": b"12",
            },
        )


class RejectionTests(ServerTestCase):
    """
    A request that is rejected gets a page: Apache makes an empty page with
    status 200 of END_REQUEST alone, and HAProxy waits in vain.
    """

    def check(self, transport: ServerTransport, status: int, protocol: int) -> None:
        """
        See that there are page, end of STDOUT and END_REQUEST, in this order
        and in one write.
        """
        found = lastWrite(transport)
        types = [record.type for record in found]
        self.assertEqual(types, [wire.STDOUT, wire.STDOUT, wire.END_REQUEST])
        answer = wire.response(transport.writes[-1])
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.protocolStatus, protocol)
        self.assertEqual(answer.header(b"Content-Length"), b"%d" % len(answer.body))
        self.assertIn(b"%d" % status, answer.body)

    def test_unknownRole(self) -> None:
        """
        A role that is not served gets 501 and UNKNOWN_ROLE.
        """
        self.serve()
        transport = self.exchange(wire.request(wire.variables(), role=3))
        self.check(transport, 501, wire.UNKNOWN_ROLE)

    def test_overloaded(self) -> None:
        """
        A request on a connection too many gets 503 and OVERLOADED, and the
        connection is closed, whether it was to be kept or not.
        """
        self.serve(limits=Limits(connections=1))
        self.connect()
        transport = self.exchange(GET)
        self.check(transport, 503, wire.OVERLOADED)
        self.assertTrue(transport.writeDisconnected)

    def test_cantMultiplex(self) -> None:
        """
        A second request gets 503 and CANT_MPX_CONN.
        """
        self.serve(later)
        transport = self.exchange(GET, wire.beginRequest(2))
        self.check(transport, 503, wire.CANT_MPX_CONN)

    @table(
        {
            "too many": (431, Limits(params=3), ()),
            "too large": (431, Limits(paramsBytes=300), (200, 200)),
            "malformed": (400, Limits(), b"\x7f"),
            "too early": (400, Limits(), None),
        }
    )
    def test_head(self, status: int, limits: Limits, how: Any) -> None:
        """
        The page has no body if the request is known to be a HEAD, also when
        not all of its variables were read.
        """
        self.serve(limits=limits)
        variables = wire.pairs(wire.variables(REQUEST_METHOD=b"HEAD"))
        sent = wire.beginRequest() + wire.stream(
            wire.PARAMS,
            1,
            variables + (how if isinstance(how, bytes) else b""),
            end=how is not None,
            sizes=how if isinstance(how, tuple) else (),
        )
        transport = self.exchange(sent + wire.stdin(b"x"))
        answer = transport.response()
        self.assertEqual((answer.status, answer.body), (status, b""))
        self.assertNotEqual(answer.header(b"Content-Length"), b"0")

    def test_closes(self) -> None:
        """
        A rejected request is closed like any other, if it is to be: gently,
        since the rest of it is still to come.
        """
        self.serve()
        transport = self.exchange(wire.beginRequest(role=3, keep=False))
        self.assertTrue(transport.writeDisconnected)
        self.assertTrue(transport.connected)
        transport.receive(wire.params(wire.variables()) + wire.stdin())
        self.advance(2)
        self.assertClosed(transport)
        self.assertEqual(len(transport.responses()), 1)


class EndTests(ServerTestCase):
    """
    END_REQUEST comes once for each request, as its last record, after the end
    of STDOUT, with the last bytes of the response.
    """

    ENDING = (wire.STDOUT, wire.STDOUT, wire.END_REQUEST)

    @table(
        {
            "no body": (b"",),
            "a small body": (b"hello",),
            "64 KiB": (b"x" * 65536,),
            "300000 bytes": (b"x" * 300000,),
        }
    )
    def test_oneWrite(self, body: bytes) -> None:
        """
        END_REQUEST is in the same write as the last bytes of the response:
        Apache loses its place on the connection otherwise.
        """
        self.serve(body)
        transport = self.exchange(GET)
        self.assertEqual(transport.response().body, body)
        types = tuple(record.type for record in wire.records(transport.value()))
        self.assertEqual(types[-3:], self.ENDING)
        self.assertGreater(len(transport.writes[-1]), 8 + 16)

    def test_smallResponse(self) -> None:
        """
        A small response is one write of three records: header block and body
        in one, the end of STDOUT, and END_REQUEST.
        """
        self.serve(b"hello")
        transport = self.exchange(GET)
        (written,) = transport.writes
        types = tuple(record.type for record in wire.records(written))
        self.assertEqual(types, self.ENDING)

    def test_finishedLater(self) -> None:
        """
        The end of STDOUT and END_REQUEST are one write at any time.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        self.assertEqual(transport.writes, [])
        application.request.write(b"later")
        application.request.finish()
        types = [record.type for record in lastWrite(transport)]
        self.assertEqual(types, [wire.STDOUT, wire.END_REQUEST])
        self.assertEqual(transport.response().body, b"later")

    def test_nothingAfterIt(self) -> None:
        """
        Nothing comes after END_REQUEST, whatever the application does.
        """
        self.serve(later)
        transport = self.connect()
        transport.receive(GET)
        application: Any = self.factory.site.resource
        request = application.request
        channel = request.channel
        channel.appStatus = 3
        request.finish()
        before = transport.value()
        channel.write(b"late")
        channel.writeSequence([b"late"])
        channel.writeStderr(b"late")
        channel.requestDone(request)
        channel.loseConnection()
        channel.abortConnection()
        channel.writeHeaders(b"HTTP/1.1", b"200", b"OK", request.responseHeaders)
        transport.settle()
        self.assertEqual(transport.value(), before)
        self.assertEqual(transport.response().appStatus, 3)
        self.assertTrue(transport.connected)

    def test_nothingUnasked(self) -> None:
        """
        Nothing is sent before there is a request: nothing on connecting, nor
        after any time, nor for half of a request.
        """
        self.serve(limits=Limits(bodyTimeout=None, paramsTimeout=None))
        transport = self.connect()
        self.advance(100)
        transport.receive(BEFORE["body"])
        self.advance(100)
        self.assertEqual(transport.writes, [])

    def test_emptyWrites(self) -> None:
        """
        Writing nothing sends nothing: an empty STDOUT record would be the end.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        for data in (b"", b"a", b"", b"b", b""):
            application.request.write(data)
        contents = [record.content for record in wire.records(transport.value())]
        self.assertNotIn(b"", contents)
        application.request.finish()
        self.assertEqual(transport.response().body, b"ab")

    def test_largeRecords(self) -> None:
        """
        A record holds 65535 bytes at the most, so larger writes are cut.
        """
        self.serve(b"0123456789" * 20000)
        transport = self.exchange(GET)
        self.assertEqual(transport.response().body, b"0123456789" * 20000)


class ClosingTests(ServerTestCase):
    """
    Who closes the connection, when, and how.
    """

    def test_notKept(self) -> None:
        """
        A connection that is not to be kept is closed at once after
        END_REQUEST: nginx waits for that before it passes the response on.
        """
        self.serve()
        transport = self.exchange(wire.request(wire.variables(), keep=False))
        self.assertEqual(transport.response().status, 200)
        self.assertClosed(transport)
        self.assertFalse(transport.writeDisconnecting)

    def test_notKeptLater(self) -> None:
        """
        It is closed at once if the response comes later, too.
        """
        application = self.serve(later)
        transport = self.exchange(wire.request(wire.variables(), keep=False))
        self.assertTrue(transport.connected)
        application.request.finish()
        transport.settle()
        self.assertClosed(transport)

    def test_kept(self) -> None:
        """
        A connection that is to be kept is not closed for as long as anyone
        would wait: web servers may send the next request at any time.
        """
        self.serve()
        transport = self.exchange(GET)
        self.advance(3600)
        self.assertServes(transport)

    def test_onceNotKept(self) -> None:
        """
        Whatever is sent after a request that closes the connection is not
        served.
        """
        application = self.serve()
        sent = wire.request(wire.variables(), keep=False) + GET
        transport = self.exchange(sent)
        self.assertEqual(len(transport.responses()), 1)
        self.assertEqual(len(application.requests), 1)

    def test_unreadBody(self) -> None:
        """
        If a request is answered before its body has come, only the way out is
        closed at first: to close the connection at once would destroy the
        answer.  What still comes is read and dropped, and after 2 seconds the
        connection is closed.
        """
        self.serve(limits=Limits(bodyBytes=5))
        sent = wire.beginRequest(keep=False) + wire.params(POST)
        transport = self.exchange(sent)
        self.assertEqual(transport.response().status, 413)
        self.assertTrue(transport.writeDisconnected)
        transport.receive(*[wire.stdin(b"x" * 60000, end=False)] * 20)
        self.assertEqual(transport.undelivered, 0)
        self.clock.advance(1.9)
        self.assertTrue(transport.connected)
        self.clock.advance(0.2)
        self.assertClosed(transport)

    def test_unreadBodyPeerCloses(self) -> None:
        """
        If the web server closes the connection first, nothing is left of it.
        """
        self.serve(limits=Limits(bodyBytes=5))
        transport = self.exchange(wire.beginRequest(keep=False) + wire.params(POST))
        transport.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreadBodyKept(self) -> None:
        """
        A kept connection lives on after that: the rest of the body is
        skipped.
        """
        application = self.serve(limits=Limits(bodyBytes=5))
        transport = self.exchange(wire.beginRequest() + wire.params(POST))
        self.assertEqual(transport.response().status, 413)
        transport.receive(wire.stdin(b"0123456789"))
        self.assertServes(transport)
        self.assertEqual(len(application.requests), 1)

    def test_noHalfClose(self) -> None:
        """
        A transport that can't be closed in one direction is closed.
        """
        self.serve(limits=Limits(bodyBytes=5))
        transport = self.connect(OneWayTransport())
        transport.receive(wire.beginRequest(keep=False) + wire.params(POST))
        self.assertEqual(transport.response().status, 413)
        self.assertClosed(transport)

    def test_bodyEndsRightAfter(self) -> None:
        """
        The end of STDIN that has arrived with the body's last byte is read
        before the answer: nothing is unread then.
        """
        self.serve()
        sent = wire.request(POST, b"0123456789", keep=False)
        self.assertClosed(self.exchange(sent))
        transport = self.exchange(sent[:-8])
        self.assertEqual(transport.response().status, 200)
        self.assertTrue(transport.writeDisconnected)

    def test_slowReader(self) -> None:
        """
        The connection stays open until a slow web server has read everything.
        """
        self.serve(b"x" * 200000)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(wire.request(wire.variables(), keep=False))
        self.advance(10)
        self.assertTrue(transport.connected)
        transport.drain(10000)
        self.assertTrue(transport.connected)
        transport.drainAll()
        self.assertClosed(transport)
        self.assertEqual(transport.response().body, b"x" * 200000)

    def test_noDelay(self) -> None:
        """
        TCP sends small pieces at once, and finds out when the other host is
        gone; other transports have no such settings.
        """
        self.serve()
        transport = TCPServerTransport()
        self.connect(transport)
        self.assertTrue(transport.noDelay)
        self.assertTrue(transport.keepAlive)

    def test_unixHasNoDelay(self) -> None:
        """
        A Unix socket is not asked for a setting of TCP, though its transport
        may claim to have it.
        """
        self.serve()
        transport = TCPServerTransport(UNIX_PEER)
        transport.hostAddr = UNIX_PEER
        self.connect(transport)
        self.assertFalse(transport.noDelay)
        self.assertServes(transport)


class BodyTests(ServerTestCase):
    """
    The body is whole before a resource renders.
    """

    def test_wholeBody(self) -> None:
        """
        The application sees nothing of a request until its body is whole.
        """
        application = self.serve()
        transport = self.exchange(wire.beginRequest() + wire.params(POST))
        for byte in b"0123456789":
            self.assertEqual(application.seen, [])
            transport.receive(wire.stdin(bytes([byte]), end=False))
        self.assertEqual(application.seen[0][3], b"0123456789")

    @table(
        {
            "absent": (None,),
            "empty": (b"",),
            "-1": (b"-1",),
        }
    )
    def test_unknownLength(self, told: bytes | None) -> None:
        """
        A body whose length was not told ends where STDIN ends.
        """
        application = self.serve()
        variables = wire.postVariables(b"", CONTENT_LENGTH=told)
        sent = wire.request(variables, b"0123456789")
        transport = self.exchange(sent[:-8])
        self.assertEqual(application.seen, [])
        transport.receive(sent[-8:])
        self.assertEqual(application.seen[0][3], b"0123456789")

    @table({"a body": (b"0123456789",), "no body": (b"",)})
    def test_noEnd(self, body: bytes) -> None:
        """
        A body whose length was told ends there: mod_authnz_fcgi sends no end
        of STDIN, nor does HAProxy for an empty body.
        """
        application = self.serve()
        sent = wire.beginRequest() + wire.params(wire.postVariables(body))
        if body:
            sent += wire.stdin(body, end=False)
        transport = self.exchange(sent)
        self.assertEqual(transport.statuses(), [200])
        self.assertEqual(application.seen[0][3], body)
        self.assertServes(transport)

    def test_endTwice(self) -> None:
        """
        A second end of STDIN, which there are web servers that send it, is
        ignored.
        """
        self.serve()
        transport = self.exchange(wire.request(POST, b"0123456789") + wire.stdin())
        self.assertServes(transport)

    def test_tooMuchLater(self) -> None:
        """
        What comes after the body's last byte is left out also if it comes
        while the application is at work.
        """
        application = self.serve(later)
        transport = self.exchange(BEFORE["body"], wire.stdin(b"56789", end=False))
        transport.receive(wire.stdin(b"more", end=False), wire.stdin(b"still more"))
        application.request.finish()
        self.assertEqual(transport.response().status, 200)
        self.assertEqual([seen[3] for seen in application.seen], [b"0123456789"])
        self.assertEqual(self.logged(), [])

    def test_largeBody(self) -> None:
        """
        A large body arrives as it was sent.
        """
        application = self.serve()
        body = b"0123456789" * 30000
        self.exchange(wire.request(wire.postVariables(body), body))
        self.assertEqual(application.seen[0][3], body)


class BackPressureTests(ServerTestCase):
    """
    Neither side can make the server keep more than it should.
    """

    def stall(self, render: Any = later) -> tuple[Application, ServerTransport]:
        """
        Make a connection whose web server reads nothing.
        """
        application = self.serve(render)
        transport = self.connect(ServerTransport(stalled=True))
        return application, transport

    def test_pushProducer(self) -> None:
        """
        A push producer is paused when the transport is full, once, and goes on
        when all is sent; after the request it is forgotten.
        """
        application, transport = self.stall()
        transport.receive(GET)
        request, producer = application.request, PushProducer()
        request.registerProducer(producer, True)
        request.write(b"x" * 60000)
        self.assertEqual(producer.calls, [])
        request.write(b"x" * 60000)
        request.write(b"x" * 60000)
        self.assertEqual(producer.calls, ["pause"])
        transport.drain(110000)
        self.assertEqual(producer.calls, ["pause"])
        transport.drainAll()
        self.assertEqual(producer.calls, ["pause", "resume"])
        request.unregisterProducer()
        request.write(b"x" * 90000)
        request.finish()
        transport.drainAll()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertEqual(transport.response().body, b"x" * 270000)

    @table(
        {
            f"{limit}, {size} bytes": (limit, size, alive)
            for limit, size, alive in (
                (300, 299, True),
                (300, 300, True),
                (300, 301, False),
                (0, 1, False),
                (None, 1 << 24, True),
            )
        }
    )
    def test_heedlessProducer(self, limit: int | None, size: int, alive: bool) -> None:
        """
        A push producer that writes more than a little after it was told to
        pause is stopped, its connection is cut off, and the log has one line
        about it.
        """
        application = self.serve(later, limits=Limits(unheededBytes=limit))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        request, producer = application.request, PushProducer()
        ended = request.notifyFinish().addErrback(
            lambda failure: producer.calls.append("ended")
        )
        request.registerProducer(producer, True)
        request.write(b"x" * 200000)
        self.assertEqual(producer.calls, ["pause"])
        request.write(b"y" * (size - 1))
        request.write(b"z")
        request.write(b"")
        transport.settle()
        self.assertEqual(transport.connected, alive)
        if alive:
            self.assertEqual(producer.calls, ["pause"])
            ended.addErrback(lambda failure: None)
            return
        self.assertEqual(producer.calls, ["pause", "stop", "ended"])
        request.write(b"more")
        (line,) = self.logged()
        self.assertIn(f"{size} bytes were written after", line)
        self.assertEqual(self.factory.connectionCount, 0)

    def test_heededProducer(self) -> None:
        """
        What is written before a pause and after it does not count, however much
        it is.
        """
        application = self.serve(later, limits=Limits(unheededBytes=100))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        request, producer = application.request, PushProducer()
        request.registerProducer(producer, True)
        for _ in range(3):
            request.write(b"x" * 200000)
            request.write(b"x" * 60)
            transport.drainAll()
        self.assertEqual(producer.calls, ["pause", "resume"] * 3)
        request.unregisterProducer()
        request.write(b"x" * 200000)
        request.write(b"without a producer")
        request.finish()
        transport.drainAll()
        self.assertEqual(len(transport.response().body), 800198)
        self.assertEqual(self.logged(), [])

    def test_registeredWhenFull(self) -> None:
        """
        A push producer that comes when the transport is full is paused.
        """
        application, transport = self.stall()
        transport.receive(GET)
        application.request.write(b"x" * 90000)
        producer = PushProducer()
        application.request.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["pause"])
        transport.drain()
        self.assertEqual(producer.calls, ["pause", "resume"])
        application.request.unregisterProducer()

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked for a piece each time that all is sent.
        """
        left = iter([b"%d" % number * 40000 for number in range(5)])

        def render(request: Any) -> Any:
            PullProducer(request, left).start()
            return NOT_DONE_YET

        _, transport = self.stall(render)
        transport.receive(GET)
        for number in range(5):
            body = transport.response(unfinished=True).body
            self.assertTrue(body.endswith(b"%d" % number * 40000))
            self.assertLess(len(body), 40001 + 40000 * number)
            transport.drain()
        self.assertEqual(len(transport.response().body), 200000)
        transport.stalled = False
        self.assertServesPulled(transport, left)

    def assertServesPulled(self, transport: ServerTransport, left: Any) -> None:
        """
        See that the next request, whose producer has nothing, is served.
        """
        transport.clear()
        transport.receive(GET)
        self.assertEqual(transport.response().body, b"")

    def test_pullProducerLeavesAtOnce(self) -> None:
        """
        After a pull producer that ends together with its last piece the next
        request is read.
        """

        class Once(PullProducer):
            def resumeProducing(self) -> None:
                self._request.write(b"all")
                self._request.unregisterProducer()
                self._request.finish()

        def render(request: Any) -> Any:
            Once(request, []).start()
            return NOT_DONE_YET

        self.serve(render)
        transport = self.exchange(GET)
        transport.receive(GET)
        bodies = [answer.body for answer in transport.responses()]
        self.assertEqual(bodies, [b"all", b"all"])

    def test_pullProducerLater(self) -> None:
        """
        A pull producer that registers later is driven just so, on a connection
        that is closed after it.
        """
        application = self.serve(later)
        transport = self.exchange(wire.request(wire.variables(), keep=False))
        PullProducer(application.request, [b"a" * 70000, b"b"]).start()
        transport.settle()
        self.assertEqual(transport.response().body, b"a" * 70000 + b"b")
        self.assertClosed(transport)

    @table(
        {
            "empty pieces": (b"GET", [b"", b"a", b"", b"", b"b", b""], b"ab"),
            "nothing but empty pieces": (b"GET", [b"", b"", b""], b""),
            "a body for HEAD": (b"HEAD", [b"a", b"b", b"c"], b""),
        }
    )
    def test_pullProducerWritesNothing(
        self, method: bytes, pieces: list[bytes], body: bytes
    ) -> None:
        """
        A pull producer is asked for more as well if what it wrote made no
        bytes to be sent: a compressor may keep some pieces to itself, and the
        answer to C{HEAD} has no body.
        """
        application = self.serve(later)
        transport = self.exchange(wire.request(wire.variables(REQUEST_METHOD=method)))
        PullProducer(application.request, pieces).start()
        transport.settle()
        self.advance(len(pieces))
        self.assertEqual(transport.response().body, body)

    def test_pullProducerWritesTooMuch(self) -> None:
        """
        A pull producer that has more than it told, too, comes to its end.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        application.request.setHeader(b"content-length", b"3")
        PullProducer(application.request, [b"ab"] * 5).start()
        transport.settle()
        self.advance(1)
        self.assertEqual(transport.response().body, b"aba")

    def test_outputDoesNotBlockInput(self) -> None:
        """
        While the transport is full, and the producer paused, what the web
        server sends is still read: its ABORT_REQUEST, and its end.
        """
        application, transport = self.stall()
        transport.receive(GET)
        request, producer = application.request, PushProducer()
        failures: list[Any] = []
        request.notifyFinish().addErrback(failures.append)
        request.registerProducer(producer, True)
        request.write(b"x" * 200000)
        self.assertEqual(producer.calls, ["pause"])
        self.assertTrue(transport.reading)
        transport.receive(wire.abortRequest())
        self.assertEqual(producer.calls, ["pause", "stop"])
        self.assertEqual(len(failures), 1)

    def test_outputDoesNotBlockBody(self) -> None:
        """
        An application that answers while the body still comes gets all of the
        body though nobody reads the answer.
        """
        seen: list[bytes] = []

        class Echo(Request):
            def handleContentChunk(self, data: bytes) -> None:
                seen.append(data)
                self.clientproto = b"HTTP/1.1"
                self.write(data)

        site = self.siteOf(Echo)
        self.serve(site)
        transport = self.connect(ServerTransport(stalled=True))
        body = b"x" * 60000
        variables = wire.postVariables(body * 10)
        transport.receive(wire.beginRequest() + wire.params(variables))
        for _ in range(9):
            transport.receive(wire.stdin(body, end=False))
        self.assertEqual(b"".join(seen), body * 9)
        self.assertTrue(transport.reading)

    def siteOf(self, requestFactory: Any, application: Any = b"hello") -> Any:
        """
        Make a site that has its own C{requestFactory}.
        """
        return Site(Application(application), requestFactory, reactor=self.clock)

    def test_nextRequestWaits(self) -> None:
        """
        Between two requests nothing is read while the transport is full: more
        answers than the web server reads are not made.
        """
        application, transport = self.stall(b"x" * 100000)
        transport.receive(GET)
        self.assertEqual(transport.producerState, "paused")
        transport.receive(*[GET] * 5)
        self.assertEqual(len(application.requests), 1)
        transport.drain()
        self.assertEqual(transport.producerState, "producing")
        transport.settle()
        self.assertEqual(len(application.requests), 2)
        self.assertEqual(transport.producerState, "paused")
        transport.stalled = False
        transport.settle()
        self.assertEqual(transport.statuses(), [200] * 6)

    def test_pipelinedWait(self) -> None:
        """
        Requests that have arrived together wait for each other just so.
        """
        application, transport = self.stall(b"x" * 100000)
        transport.receive(GET * 6)
        self.assertEqual(len(application.requests), 1)
        transport.stalled = False
        transport.settle()
        self.assertEqual(transport.statuses(), [200] * 6)

    def test_managementFlood(self) -> None:
        """
        Between two requests a flood of management records is answered no
        faster than the answers are read.
        """
        self.serve()
        transport = self.connect(ServerTransport(stalled=True))
        flood = wire.record(99, 0) * 8000
        transport.receive(*[flood] * 10)
        self.assertEqual(transport.producerState, "paused")
        self.assertLess(transport.unsent, 200000)
        self.assertEqual(transport.undelivered, 9 * len(flood))
        transport.stalled = False
        transport.settle()
        self.assertEqual(len(wire.management(transport.value())), 80000)
        self.assertServes(transport)

    @table({"one less": (63, True), "as many": (64, True), "one more": (65, False)})
    def test_queuedAnswers(self, count: int, alive: bool) -> None:
        """
        While a request is in hand reading goes on, so at most 64 answers wait
        in a full transport; a connection on which more would have to is cut
        off at once, for its web server reads nothing.
        """
        application, transport = self.stall()
        transport.receive(GET)
        failures: list[Any] = []
        application.request.notifyFinish().addErrback(failures.append)
        application.request.write(b"x" * 100000)
        transport.receive(*[wire.getValues(b"FCGI_MPXS_CONNS")] * count)
        self.assertEqual(transport.connected, alive)
        self.assertEqual(len(failures), 0 if alive else 1)
        self.assertEqual(len(self.logged()), 0 if alive else 1)
        if alive:
            transport.drain()
            application.request.write(b"x" * 100000)
            transport.receive(*[wire.getValues(b"FCGI_MPXS_CONNS")] * count)
            self.assertTrue(transport.connected)
            transport.drain()
            self.assertEqual(len(wire.management(transport.value())), 2 * count)

    @table({"none": (0, 0), "two": (2, 2)})
    def test_queuedAnswersLimit(self, limit: int, allowed: int) -> None:
        """
        How many may wait can be said; rejected requests count as well.
        """
        application = self.serve(later, limits=Limits(queuedAnswers=limit))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        application.request.write(b"x" * 100000)
        for number in range(allowed):
            transport.receive(wire.beginRequest(2 + number))
            self.assertTrue(transport.connected)
        transport.receive(wire.beginRequest(9))
        self.assertFalse(transport.connected)


class AbortTests(ServerTestCase):
    """
    The web server wants no answer any more.
    """

    def begin(self, sent: bytes = GET) -> tuple[Any, ServerTransport, list[Any]]:
        """
        Begin a request.
        """
        application = self.serve(later)
        transport = self.exchange(sent)
        failures: list[Any] = []
        request = application.request
        request.notifyFinish().addErrback(failures.append)
        return request, transport, failures

    def test_abort(self) -> None:
        """
        ABORT_REQUEST fails C{notifyFinish()}, is answered with END_REQUEST
        that says 1, and a kept connection serves on.
        """
        request, transport, failures = self.begin()
        transport.receive(wire.abortRequest())
        failures[0].trap(error.ConnectionLost)
        answer = transport.response()
        self.assertEqual((answer.appStatus, answer.protocolStatus), (1, 0))
        self.assertEqual(answer.stdout, b"")
        self.assertFalse(answer.stdoutEnded)
        request.write(b"late")
        self.assertRaises(RuntimeError, request.finish)
        self.assertEqual(len(transport.writes), 1)
        transport.clear()
        transport.receive(GET)
        self.assertTrue(transport.connected)
        self.assertEqual(self.logged(), [])

    def test_abortNotKept(self) -> None:
        """
        A connection that is not to be kept is closed after that.
        """
        _, transport, failures = self.begin(wire.request(wire.variables(), keep=False))
        transport.receive(wire.abortRequest())
        self.assertEqual(transport.response().appStatus, 1)
        self.assertEqual(len(failures), 1)
        transport.close()
        self.assertFalse(transport.connected)

    def test_abortMidway(self) -> None:
        """
        What was sent before stays the beginning of a response that has no end.
        """
        request, transport, _ = self.begin()
        request.write(b"half")
        transport.receive(wire.abortRequest())
        answer = transport.response()
        self.assertEqual(answer.body, b"half")
        self.assertFalse(answer.stdoutEnded)
        self.assertEqual(answer.appStatus, 1)

    def test_abortStopsProducer(self) -> None:
        """
        Producers of both kinds are stopped at once, and not asked again.
        """
        for streaming in (True, False):
            request, transport, _ = self.begin()
            producer = PushProducer()
            request.registerProducer(producer, streaming)
            del producer.calls[:]
            transport.receive(wire.abortRequest())
            self.assertEqual(producer.calls, ["stop"])
            transport.settle()
            self.assertEqual(producer.calls, ["stop"])
            self.assertIs(transport.streaming, True)

    @table({state: (state,) for state in ("begun", "params", "stdin", "body")})
    def test_abortEarly(self, state: str) -> None:
        """
        A request can be aborted before all of it has come, or can be seen.
        """
        application = self.serve()
        transport = self.exchange(BEFORE[state], wire.abortRequest())
        self.assertEqual(transport.response().appStatus, 1)
        self.assertEqual(application.seen, [])
        self.assertServes(transport)

    def test_abortAndClose(self) -> None:
        """
        HAProxy aborts and closes at once: there is nobody to be told.
        """
        _, transport, failures = self.begin()
        transport.receive(wire.abortRequest())
        transport.close()
        self.assertEqual(len(failures), 1)
        self.assertEqual(self.logged(), [])

    def test_connectionLost(self) -> None:
        """
        The end of the connection fails C{notifyFinish()} with its reason and
        stops the producer; and there is nothing in the log.
        """
        request, transport, failures = self.begin()
        producer = PushProducer()
        request.registerProducer(producer, True)
        transport.lose(error.ConnectionLost())
        failures[0].trap(error.ConnectionLost)
        self.assertEqual(producer.calls, ["stop"])
        request.write(b"late")
        self.assertEqual(self.logged(), [])
        self.assertEqual(self.factory.connectionCount, 0)

    @table({state: (sent,) for state, sent in BEFORE.items()})
    def test_connectionLostAnytime(self, sent: bytes) -> None:
        """
        The connection may end at any time, also within a record.
        """
        self.serve(later)
        for end in {len(sent), max(0, len(sent) - 3), len(sent) // 2}:
            self.exchange(sent[:end]).close()
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.logged(), [])

    @table(
        {
            "abort": (wire.abortRequest(),),
            "protocol error": (b"\2" * 8,),
        }
    )
    def test_applicationStays(self, sent: bytes) -> None:
        """
        From then on the application can do what it likes.
        """
        request, transport, failures = self.begin()
        channel = request.channel
        request.write(b"begun")
        transport.receive(sent)
        self.assertEqual(len(failures), 1)
        before = transport.value()
        producer = PushProducer()
        channel.registerProducer(producer, False)
        self.assertEqual(producer.calls, ["stop"])
        channel.unregisterProducer()
        channel.pauseProducing()
        channel.resumeProducing()
        channel.stopProducing()
        channel.abortConnection()
        request.write(b"more")
        self.assertEqual(transport.value(), before)

    @table(
        {
            "by the application": (
                lambda protocol, channel: channel.abortConnection(),
            ),
            "by the server": (lambda protocol, channel: protocol.abortConnection(),),
        }
    )
    def test_abortedHere(self, abort: Any) -> None:
        """
        Between the moment that the connection is aborted and that when it is
        gone nothing is sent, whatever the application does.
        """
        for end in ("finish", "loseConnection"):
            request, transport, _ = self.begin()
            channel = request.channel
            abort(transport.protocol, channel)
            request.write(b"late")
            channel.writeStderr(b"late")
            getattr(request, end)()
            transport.settle()
            self.assertEqual(transport.value(), b"")
            self.assertFalse(transport.connected)
            self.assertEqual(self.factory.connectionCount, 0)

    def test_protocolErrorEndsRequest(self) -> None:
        """
        A request in hand can't be answered any more once the web server breaks
        the protocol: the application learns it at once, and the producer is
        stopped.
        """
        request, transport, failures = self.begin()
        producer = PushProducer()
        request.registerProducer(producer, True)
        transport.receive(b"\2" * 8)
        self.assertEqual(len(failures), 1)
        self.assertEqual(producer.calls, ["stop"])
        self.advance(3)
        self.assertFalse(transport.connected)

    def test_nothingSurvives(self) -> None:
        """
        Nothing refers to a request any more when it has ended, however it did;
        nor to a connection that is gone.
        """
        ends: list[Any] = [
            lambda requests, transport: requests.pop().finish(),
            lambda requests, transport: requests.pop().transport.loseConnection(),
            lambda requests, transport: requests.pop().transport.abortConnection(),
            lambda requests, transport: transport.receive(wire.abortRequest()),
            lambda requests, transport: transport.receive(b"\2" * 8),
            lambda requests, transport: transport.close(),
        ]
        for end in ends:
            application = self.serve(later)
            transport = self.exchange(BEFORE["complete"])
            request = application.request
            request.notifyFinish().addErrback(lambda failure: None)
            request.registerProducer(PushProducer(), True)
            request.unregisterProducer()
            channel = ref(request.channel)
            request = ref(request)
            end(application.requests, transport)
            transport.settle()
            del application.requests[:]
            gc.collect()
            self.assertIs(request(), None)
            transport.close()
            protocol = ref(transport.protocol)
            del transport.protocol
            gc.collect()
            self.assertIs(channel(), None)
            self.assertIs(protocol(), None)


def reachable(start: Any) -> list[Any]:
    """
    Find all that an object of the server refers to, except what it shares with
    the rest of the process.
    """
    found: dict[int, Any] = {}
    left = [start]
    while left:
        here = left.pop()
        if id(here) in found or isinstance(here, type) or callable(here):
            # Bound methods, but no functions, lead further.
            here = getattr(here, "__self__", None)
            if here is None or id(here) in found or isinstance(here, type):
                continue
        if type(here).__name__ in ("module", "FastCGIFactory", "Clock"):
            continue
        if isinstance(here, ServerTransport):
            continue
        found[id(here)] = here
        left += gc.get_referents(here)
    return list(found.values())


def bytesHeld(start: Any) -> int:
    """
    Tell how many bytes an object of the server keeps.
    """
    kept = (bytes, bytearray)
    return sum(len(found) for found in reachable(start) if isinstance(found, kept))


class StderrTests(ServerTestCase):
    """
    STDERR is there for applications that want it.
    """

    def test_stderr(self) -> None:
        """
        What an application writes to STDERR comes in small records that are
        always padded, and is closed by an empty one before END_REQUEST: HAProxy
        before version 2.9 corrupts its memory otherwise.
        """
        from twisted_fastcgi.interfaces import IFastCGIRequest

        def render(request: Any) -> bytes:
            IFastCGIRequest(request).writeStderr(b"e" * 20000)
            return b"hello"

        self.serve(render)
        transport = self.exchange(GET)
        answer = transport.response()
        self.assertEqual(answer.stderr, b"e" * 20000)
        self.assertTrue(answer.stderrEnded)
        self.assertEqual(answer.body, b"hello")
        sent = transport.value()
        for record, padding in zip(
            wire.records(sent), wire.paddings(sent), strict=True
        ):
            if record.type == wire.STDERR and record.content:
                self.assertLessEqual(len(record.content), 8192)
                self.assertGreaterEqual(padding, 1)

    def test_noStderr(self) -> None:
        """
        No STDERR record is sent unless the application wants it, not even when
        it fails: failures go to the log.
        """

        def render(request: Any) -> bytes:
            raise ZeroDivisionError("on purpose")

        self.serve(render)
        transport = self.exchange(GET)
        self.assertEqual(transport.response().status, 500)
        types = {record.type for record in wire.records(transport.value())}
        self.assertNotIn(wire.STDERR, types)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TimeTests(ServerTestCase):
    """
    How long a web server may take.
    """

    def test_params(self) -> None:
        """
        The variables of a request must be complete 30 seconds after its first
        byte, however many bytes come meanwhile; then the connection is closed
        without an answer.
        """
        self.serve()
        transport = self.connect()
        self.advance(100)
        transport.receive(GET[:1])
        for place in range(1, 29):
            self.advance(1)
            transport.receive(GET[place : place + 1])
        self.advance(1)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertClosed(transport)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(len(self.logged()), 1)
        self.assertServes()

    @table(
        {
            "a whole record": (wire.beginRequest(),),
            "variables without an end": (BEFORE["params"],),
            "half a management record": (wire.getValues(b"A")[:9],),
        }
    )
    def test_paramsStop(self, sent: bytes) -> None:
        """
        It does not matter where it stops.
        """
        self.serve(limits=Limits(paramsTimeout=5))
        transport = self.exchange(sent)
        self.advance(4)
        self.assertTrue(transport.connected)
        self.advance(3)
        self.assertClosed(transport)

    def test_managementInTime(self) -> None:
        """
        A management record that arrives in pieces leaves no deadline behind.
        """
        self.serve()
        sent = wire.getValues(b"FCGI_MAX_CONNS")
        transport = self.exchange(sent[:9])
        self.advance(20)
        transport.receive(sent[9:])
        self.advance(100)
        self.assertServes(transport)

    def test_paramsInTime(self) -> None:
        """
        A request that is complete in time is served in its own time.
        """
        application = self.serve(later)
        transport = self.exchange(GET[:50])
        self.advance(29)
        transport.receive(GET[50:])
        self.advance(1000)
        application.request.finish()
        self.assertEqual(transport.response().status, 200)
        self.advance(1000)
        self.assertTrue(transport.connected)

    def test_eachRequestHasItsTime(self) -> None:
        """
        The time for one request does not count against the next, even if the
        next one has always begun to arrive when one is answered.
        """
        self.serve()
        transport = self.exchange(GET[:5])
        for _ in range(60):
            self.advance(1)
            transport.receive(GET[5:] + GET[:5])
        self.assertTrue(transport.connected)
        self.assertEqual(transport.statuses(), [200] * 60)

    def test_body(self) -> None:
        """
        Between two pieces of a body may be 300 seconds; then the answer is
        408, and a kept connection lives on.
        """
        application = self.serve()
        variables = wire.postVariables(b"0123456789")
        transport = self.exchange(wire.beginRequest() + wire.params(variables))
        for _ in range(3):
            self.advance(298)
            transport.receive(wire.stdin(b"0", end=False))
        self.advance(298)
        self.assertEqual(transport.value(), b"")
        self.advance(4)
        self.assertEqual(transport.statuses(), [408])
        self.assertEqual(len(self.logged()), 1)
        self.assertEqual(application.seen, [])
        transport.receive(wire.stdin(b"3456789"))
        self.assertServes(transport)

    def test_bodyNotKept(self) -> None:
        """
        If the connection is not to be kept, it is closed then, gently.
        """
        self.serve(limits=Limits(bodyTimeout=5))
        sent = wire.beginRequest(keep=False) + wire.params(POST)
        transport = self.exchange(sent)
        self.advance(7)
        self.assertEqual(transport.statuses(), [408])
        self.assertTrue(transport.writeDisconnected)

    def test_pausedBody(self) -> None:
        """
        While the application does not want the body, the web server is not to
        blame.
        """
        application = Application()
        self.serve(Site(application, PausingRequest, reactor=self.clock))
        transport = self.exchange(BEFORE["body"])
        self.advance(1000)
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.connected)

    def test_idle(self) -> None:
        """
        A connection without a request is kept for ever unless it is said for
        how long; a request in hand does not count.
        """
        application = self.serve(later, limits=Limits(idleTimeout=10))
        transport = self.exchange(GET)
        self.advance(100)
        application.request.finish()
        self.advance(9)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertClosed(transport)
        self.assertEqual(self.logged(), [])

    def test_idleFromTheStart(self) -> None:
        """
        That holds for a connection on which there has never been one, too.
        """
        self.serve(limits=Limits(idleTimeout=10))
        transport = self.connect()
        self.advance(9)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertClosed(transport)

    def test_noLimits(self) -> None:
        """
        There need not be any limits.
        """
        self.serve(limits=Limits(paramsTimeout=None, bodyTimeout=None))
        transports = [self.exchange(sent) for sent in BEFORE.values()]
        self.advance(1000)
        self.assertTrue(all(transport.connected for transport in transports))

    def test_closingHasNoDeadline(self) -> None:
        """
        What a slow web server still reads is not cut off by a deadline of the
        request it answers.
        """
        self.serve(limits=Limits(bodyBytes=5, bodyTimeout=5, paramsTimeout=5))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(wire.beginRequest(keep=False) + wire.params(POST))
        self.advance(60)
        self.assertTrue(transport.connected)
        transport.drain()
        self.assertEqual(transport.statuses(), [413])


class WholeRequestTests(ServerTestCase):
    """
    A request that arrives as a whole is served like any other.
    """

    @table(
        {
            "GET": (b"hello", wire.variables(), b""),
            "POST": (b"hello", POST, b"0123456789"),
            "body too long": (b"hello", POST, b"0123456789more"),
            "body too short": (b"hello", POST, b"012345678"),
            "no body": (b"hello", POST, b""),
            "too large": (b"hello", wire.postVariables(bytes(21)), bytes(21)),
            "too large, not told": (
                b"hello",
                wire.postVariables(bytes(21), CONTENT_LENGTH=None),
                bytes(21),
            ),
            "bad request": (b"hello", wire.variables(REQUEST_METHOD=b"G T"), b"body"),
            "answered later": (later, POST, b"0123456789"),
            "failing": (lambda request: 1 / 0, POST, b"0123456789"),
            "given up": (
                lambda request: request.write(b"half") or request.loseConnection(),
                wire.variables(),
                b"",
            ),
        }
    )
    def test_same(
        self, application: Any, variables: dict[bytes, bytes], body: bytes
    ) -> None:
        """
        It gets the same answer, leads to the same lines in the log, and leaves
        the connection as one that arrives in pieces does.
        """
        for keep in (True, False):
            sent = wire.request(variables, body, 258, keep)
            whole, inPieces = (
                self.outcome(application, pieces)
                for pieces in ([sent], [sent[:-9], sent[-9:]])
            )
            self.assertEqual(whole, inPieces)

    def outcome(self, application: Any, pieces: list[bytes]) -> tuple[Any, ...]:
        """
        Tell what comes of a request.
        """
        self.serve(application, Limits(bodyBytes=20))
        del self.events[:]
        transport = self.exchange(*pieces)
        self.flushLoggedErrors()
        lines = [line.partition("Traceback")[0] for line in self.logged()]
        closing = transport.disconnecting or transport.writeDisconnected
        transport.close()
        return transport.value(), lines, closing

    def test_pausing(self) -> None:
        """
        Its body waits for an application that does not take it yet.
        """
        made: list[PausingRequest] = []

        class Kept(PausingRequest):
            def __init__(self, channel: Any, queued: bool) -> None:
                super().__init__(channel, queued)
                channel.pauseProducing()
                made.append(self)

        self.serve(Site(Application(), Kept, reactor=self.clock))
        transport = self.exchange(wire.request(POST, b"0123456789"))
        self.assertEqual((made[0].pieces, transport.value()), ([], b""))
        made[0].channel.resumeProducing()
        self.assertEqual((made[0].pieces, transport.value()), ([b"0123456789"], b""))
        made[0].channel.resumeProducing()
        self.assertEqual(transport.statuses(), [200])

    def test_idle(self) -> None:
        """
        The time without a request counts from its end.
        """
        self.serve(limits=Limits(idleTimeout=10))
        transport = self.exchange(GET)
        for _ in range(3):
            self.advance(8)
            transport.receive(GET)
        self.advance(8)
        self.assertTrue(transport.connected)
        self.advance(4)
        self.assertClosed(transport)

    def test_renderedLater(self) -> None:
        """
        A resource that is told to render the request later gets its answer out,
        and the next request has its turn.
        """
        application = self.serve(later)
        transport = self.exchange(wire.request(wire.variables(), b"", 1, True))
        application.request.render(Data(b"at last", "text/plain"))
        self.assertEqual(transport.statuses(), [200])
        transport.receive(wire.request(wire.variables(), b"", 1, True))
        self.assertEqual(len(application.requests), 2)

    def test_abortedWhileRendered(self) -> None:
        """
        A body that is returned after the connection was aborted goes nowhere.
        """

        def answer(request: Any) -> bytes:
            request.transport.abortConnection()
            return b"too late"

        self.serve(answer)
        transport = self.exchange(GET)
        self.assertEqual(transport.value(), b"")
        self.assertFalse(transport.connected)
        self.assertEqual(self.logged(), [])


class ReadSizeTests(ServerTestCase):
    """
    How much is read at a time.
    """

    def start(self, overTCP: bool, size: int) -> SocketPeer:
        """
        Send the first half of a body.
        """
        self.clock = SocketReactor()
        self.serve(readAll)
        protocol = self.factory.buildProtocol(None)
        peer = SocketPeer(self.clock, protocol, overTCP=overTCP)
        self.addCleanup(peer.close)
        variables = wire.variables(REQUEST_METHOD=b"POST", CONTENT_LENGTH=b"%d" % size)
        half = wire.stdin(bytes(size // 2), end=False)
        peer.send(wire.beginRequest() + wire.params(variables) + half)
        return peer

    @table({"Unix": (False,), "TCP": (True,)})
    def test_large(self, overTCP: bool) -> None:
        """
        Of a body that comes in as fast as it is read more is read at a time;
        afterwards it is as before.
        """
        peer = self.start(overTCP, 400000)
        self.assertEqual(peer.transport.bufferSize, 262144)
        peer.send(wire.stdin(bytes(200000)))
        self.assertEqual(wire.response(peer.readAll()).body, b"400000")
        self.assertEqual(peer.transport.bufferSize, 65536)

    def test_small(self) -> None:
        """
        A small body is no reason for it.
        """
        peer = self.start(False, 60000)
        self.assertEqual(peer.transport.bufferSize, 65536)

    def test_noBody(self) -> None:
        """
        Neither are many requests at a time.
        """
        peer = self.start(False, 0)
        peer.send(GET * 500)
        self.assertEqual(peer.transport.bufferSize, 65536)


def readAll(request: Any) -> bytes:
    """
    Tell the size of a request's body.
    """
    request.content.seek(0)
    return b"%d" % len(request.content.read())


class LimitTests(ServerTestCase):
    """
    Limits hold at their edges.
    """

    @table(
        {
            f"{name} {size}": (told, size, size <= 10)
            for size in (9, 10, 11)
            for name, told in (("told", True), ("not told", False))
        }
    )
    def test_bodyBytes(self, told: bool, size: int, fits: bool) -> None:
        """
        A body that is too large gets 413: at once if its length was told, at
        the first byte too much if not.
        """
        application = self.serve(limits=Limits(bodyBytes=10))
        body = b"x" * size
        changes = {} if told else {"CONTENT_LENGTH": b""}
        variables = wire.postVariables(body, **changes)
        transport = self.exchange(wire.beginRequest() + wire.params(variables))
        self.assertEqual(transport.value() != b"", told and not fits)
        transport.receive(wire.stdin(body, end=False))
        self.assertEqual(transport.value() != b"", told or not fits)
        transport.receive(wire.stdin())
        self.assertEqual(transport.statuses(), [200 if fits else 413])
        self.assertEqual([seen[3] for seen in application.seen], [body] * fits)
        self.assertServes(transport)

    @table({str(size): (size, size <= 10) for size in (9, 10, 11)})
    def test_params(self, count: int, fits: bool) -> None:
        """
        A request with too many variables gets 431.
        """
        self.serve(limits=Limits(params=10))
        variables = [*wire.variables().items()][:4]
        variables = [(b"REQUEST_METHOD", b"GET"), (b"REQUEST_URI", b"/")]
        variables += [(b"N%d" % number, b"") for number in range(count - 2)]
        transport = self.exchange(wire.request(variables))
        self.assertEqual(transport.statuses(), [200 if fits else 431])
        self.assertEqual(len(self.logged()), 0 if fits else 1)
        self.assertAlive(transport)

    def assertAlive(self, transport: ServerTransport) -> None:
        """
        See that the connection is used further.
        """
        transport.clear()
        few = {b"REQUEST_METHOD": b"GET", b"REQUEST_URI": b"/"}
        transport.receive(wire.request(few))
        self.assertEqual(transport.statuses(), [200])

    @table({str(size): (size, size <= 100) for size in (99, 100, 101)})
    def test_paramsBytes(self, size: int, fits: bool) -> None:
        """
        A request whose variables are too large gets 431, before they are all
        there.
        """
        self.serve(limits=Limits(paramsBytes=100))
        few = {b"REQUEST_METHOD": b"GET", b"REQUEST_URI": b"/", b"X": b""}
        few[b"X"] = b"x" * (size - len(wire.pairs(few)))
        sent = wire.beginRequest() + wire.params(few, sizes=[20] * 6)
        transport = self.exchange(sent, wire.stdin())
        self.assertEqual(transport.statuses(), [200 if fits else 431])
        self.assertAlive(transport)

    @table({str(size): (size, size <= 20) for size in (19, 20, 21)})
    def test_nameLength(self, size: int, fits: bool) -> None:
        """
        A request with too long a name gets 431.
        """
        self.serve(limits=Limits(nameLength=20))
        few = {b"REQUEST_METHOD": b"GET", b"REQUEST_URI": b"/", b"x" * size: b""}
        transport = self.exchange(wire.request(few))
        self.assertEqual(transport.statuses(), [200 if fits else 431])
        self.assertAlive(transport)


ANY_BYTES = st.binary(max_size=400)
ANY_RECORD = st.builds(
    wire.record,
    st.one_of(st.integers(1, 12), st.integers(0, 255)),
    st.one_of(st.integers(0, 2), st.integers(0, 65535)),
    st.one_of(st.binary(max_size=40), st.just(b"\0\1\1\0\0\0\0\0")),
    padding=st.integers(0, 255),
    version=st.sampled_from([1, 1, 1, 1, 1, 1, 1, 1, 2]),
)
SENSIBLE = st.sampled_from(
    [*BEFORE.values(), *AFTER.values(), *ARRIVING.values(), GET, wire.stdin(b"x" * 99)]
)
ANY_VALUE = st.one_of(st.binary(max_size=20), st.sampled_from([b"", b"3", b"POST"]))
ANY_VARIABLES = st.builds(
    lambda changes, body: wire.request({**wire.postVariables(body), **changes}, body),
    st.dictionaries(
        st.one_of(
            st.sampled_from(sorted(wire.variables())),
            st.sampled_from([b"HTTP_COOKIE", b"HTTP_X", b"PATH_INFO"]),
            st.binary(max_size=10).map(b"HTTP_".__add__),
        ),
        ANY_VALUE,
        max_size=4,
    ),
    st.binary(max_size=20),
)
ANYTHING = st.lists(st.one_of(ANY_BYTES, ANY_RECORD, SENSIBLE, ANY_VARIABLES))


class AnyBytesTests(ServerTestCase):
    """
    Whatever a peer sends.
    """

    @moderately
    @given(pieces=ANYTHING, stalled=st.booleans(), application=st.sampled_from("nl"))
    def test_anyBytes(
        self, pieces: list[bytes], stalled: bool, application: str
    ) -> None:
        """
        Nothing that a peer sends raises an exception, is logged as anything
        but a warning, is answered with other than well-formed records, or
        with more ends of requests than there were beginnings.
        """
        del self.events[:]
        self.serve(later if application == "l" else b"hello")
        transport = self.connect(ServerTransport(stalled=stalled))
        transport.receive(*pieces)
        wire.responses(transport.value(), unfinished=True)
        ended = [
            record
            for record in wire.records(transport.value())
            if record.type == wire.END_REQUEST
        ]
        sent = b"".join(pieces)
        begun = sum(sent.startswith(b"\1\1", place) for place in range(len(sent)))
        self.assertLessEqual(len(ended), begun)
        self.assertEqual(self.logged(LogLevel.error), [])
        self.assertLessEqual(len(self.logged()), 1)
        transport.close()
        self.transports.remove(transport)
        self.assertEqual(self.factory.connectionCount, 0)

    def test_measure(self) -> None:
        """
        What these tests measure is there: variables and a body that wait.
        """
        self.serve(Site(Application(), PausingRequest, reactor=self.clock))
        transport = self.exchange(wire.beginRequest())
        self.assertLess(bytesHeld(transport.protocol), 1000)
        transport.receive(wire.params({b"X": b"x" * 5000}, end=False))
        self.assertGreater(bytesHeld(transport.protocol), 5000)
        transport.receive(wire.params(wire.postVariables(b"x" * 9000)))
        transport.receive(*[wire.stdin(b"x" * 3000, end=False)] * 2)
        self.assertGreater(bytesHeld(transport.protocol), 8000)

    @moderately
    @given(
        pieces=st.lists(st.one_of(ANY_RECORD, SENSIBLE, ANY_VARIABLES), min_size=1),
        fill=st.sampled_from([wire.PARAMS, wire.STDIN, wire.DATA, 77]),
    )
    def test_boundedMemory(self, pieces: list[bytes], fill: int) -> None:
        """
        However much a peer sends, what is kept of it is bounded.
        """
        self.serve(later, limits=Limits(paramsBytes=10000, bodyBytes=10000))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(b"".join(pieces))
        flood = wire.record(fill, 1, b"x" * 10000) + wire.record(fill, 0, b"x" * 10000)
        for _ in range(20):
            transport.receive(flood)
        self.assertLess(bytesHeld(transport.protocol), 100000)
        transport.close()
        self.transports.remove(transport)

    @moderately
    @given(body=st.binary(max_size=300), seed=st.integers(0, 1 << 30))
    def test_anyCuts(self, body: bytes, seed: int) -> None:
        """
        A request is answered with the same bytes however it is cut.
        """
        application = self.serve(lambda request: b"%r" % (application.seen[-1],))
        sent = wire.request(wire.postVariables(body, b"/a%20b?c=d"), body)
        whole = self.exchange(sent)
        cut = self.exchange(*wire.randomCuts(sent, seed))
        self.assertEqual(cut.value(), whole.value())
        self.assertEqual(application.seen[0], application.seen[1])
        self.assertEqual(whole.response().status, 200)
        for transport in self.transports:
            transport.close()
        del self.transports[:]


class StrangeApplicationTests(ServerTestCase):
    """
    What an application does wrong stays with its request.
    """

    @table(
        {
            "abort": (lambda transport: transport.receive(wire.abortRequest()),),
            "connection lost": (lambda transport: transport.close(),),
        }
    )
    def test_stopProducingFails(self, end: Any) -> None:
        """
        A producer that fails when it is stopped does not keep the connection
        from being forgotten, or served.
        """

        class Bad(PushProducer):
            def stopProducing(self) -> None:
                raise ZeroDivisionError("on purpose")

        application = self.serve(later)
        transport = self.exchange(GET)
        failures: list[Any] = []
        application.request.notifyFinish().addErrback(failures.append)
        application.request.registerProducer(Bad(), True)
        end(transport)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(failures), 1)
        transport.close()
        self.assertEqual(self.factory.connectionCount, 0)

    def test_connectionLostFails(self) -> None:
        """
        Neither does a request that fails when it is told.
        """

        class Bad(Request):
            def connectionLost(self, reason: Any) -> None:
                raise ZeroDivisionError("on purpose")

        application = Application(later)
        self.serve(Site(application, Bad, reactor=self.clock))
        aborted = self.exchange(GET, wire.abortRequest())
        self.assertEqual(aborted.response().appStatus, 1)
        closed = self.exchange(GET)
        closed.close()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.factory.connectionCount, 1)
