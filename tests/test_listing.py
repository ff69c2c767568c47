# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.listing}.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import TableTestCase, moderately, table
from tests.test_dissect import CAPTURES
from twisted_fastcgi.dissect import dissect
from twisted_fastcgi.explain import Stray
from twisted_fastcgi.listing import HEADING, WIDTH, Listing, asJSON

INDENT = " " * 10


def listed(data: bytes, **options: Any) -> list[str]:
    """
    Write down a capture.
    """
    listing = Listing(**options)
    return [line for item in dissect([data]) for line in listing.lines(item)]


class LinesTests(TableTestCase):
    """
    Lines for a terminal.
    """

    def test_request(self) -> None:
        """
        A request is written down with columns and its variables in a table.
        """
        variables = {b"REQUEST_METHOD": b"POST", b"QUERY_STRING": b"", b"A": b"b"}
        sent = wire.request(variables, b"body", 12, keep=False)
        self.assertEqual(
            [HEADING, *listed(sent)],
            [
                " offset   record             id bytes+pad   > to the application, "
                "< to the web server",
                "      0 > BEGIN_REQUEST      12     8     RESPONDER, no KEEP_CONN: "
                "close when answered",
                "     16 > PARAMS             12    38+2   3 variables",
                "          REQUEST_METHOD  POST",
                "          QUERY_STRING    (empty)",
                "          A               b",
                "     64 > PARAMS             12     0     end of the variables, 3",
                "     72 > STDIN              12     4+4   request body",
                "          | body",
                "     88 > STDIN              12     0     end of the request body, "
                "4 bytes",
            ],
        )

    @table({path.name: (path.read_bytes(),) for path in CAPTURES})
    def test_width(self, data: bytes) -> None:
        """
        What real web servers send fits a terminal of 100 columns, one of 72,
        and a file, in colours or not; whole or not.
        """
        for width in (WIDTH, 72):
            for isFull in (False, True):
                for line in listed(data, width=width, isFull=isFull):
                    self.assertLessEqual(len(line), width, line)
                    self.assertEqual(line, line.rstrip())

    @moderately
    @given(st.binary(max_size=300), st.booleans(), st.booleans())
    def test_harmless(self, data: bytes, isFull: bool, isStream: bool) -> None:
        """
        Nothing that was sent gets to the terminal unless it can be shown.
        """
        type_ = wire.STDOUT if isStream else wire.PARAMS
        for sent in (data, wire.record(type_, 1, data), wire.params({data: data})):
            for line in listed(sent, isFull=isFull):
                self.assertTrue(line.isprintable(), repr(line))

    def test_values(self) -> None:
        """
        The limits of an application are explained, its other values are not.
        """
        pairs = [(b"FCGI_MAX_REQS", b"50"), (b"OTHER", b"x")]
        lines = listed(wire.record(wire.GET_VALUES_RESULT, 0, wire.pairs(pairs)))
        self.assertEqual(
            lines,
            [
                "      0 < GET_VALUES_RESULT   0    25+7   answers with 2 values",
                "          FCGI_MAX_REQS  50  (requests at a time)",
                "          OTHER          x",
            ],
        )

    def test_getValues(self) -> None:
        """
        What is asked for is in the first line.
        """
        self.assertEqual(
            listed(wire.getValues(b"FCGI_MAX_CONNS")),
            ["      0 > GET_VALUES          0    16     asks for FCGI_MAX_CONNS"],
        )

    def test_longValue(self) -> None:
        """
        A long value is cut, with its size; or broken, if all is wanted.
        """
        sent = wire.beginRequest() + wire.params({b"A": b"b" * 250}, end=False)
        (short,) = listed(sent)[2:]
        self.assertEqual(short, f"{INDENT}A  {'b' * 72}... (250 bytes)")
        self.assertEqual(
            listed(sent, isFull=True)[2:],
            [
                f"{INDENT}A  {'b' * 87}",
                f"{INDENT}   {'b' * 87}",
                f"{INDENT}   {'b' * 76}",
            ],
        )

    def test_longName(self) -> None:
        """
        A very long name does not push away the others' values.
        """
        pairs = {b"A" * 40: b"b" * 80, b"C": b"d"}
        sent = wire.beginRequest() + wire.params(pairs, end=False)
        one, other = listed(sent)[2:]
        self.assertEqual(one, f"{INDENT}{'A' * 40}  {'b' * 34}... (80 bytes)")
        self.assertEqual(other, f"{INDENT}{'C':<32}  d")

    def test_text(self) -> None:
        """
        Of a stream of text the first lines are shown, in however many records,
        or all if they are wanted.
        """
        page = b"".join(b"line %d\t.\r\n" % n for n in range(12))
        sent = wire.stream(wire.STDOUT, 1, page, sizes=[60])
        texts = [line for line in listed(sent) if line.startswith(INDENT)]
        self.assertEqual(
            texts,
            [
                *(f"{INDENT}| line {n}  ." for n in range(6)),
                f"{INDENT}| line 6  .",
                f"{INDENT}| line 7  .",
                f"{INDENT}... 4 lines more: --full shows them",
            ],
        )
        full = [line for line in listed(sent, isFull=True) if line.startswith(INDENT)]
        self.assertEqual(len(full), 12)

    def test_nextStream(self) -> None:
        """
        The next stream with the same id is shown again.
        """
        answer = wire.stream(wire.STDOUT, 1, b"x\n" * 20)
        answer += wire.record(wire.END_REQUEST, 1, bytes(8))
        self.assertEqual(
            listed(answer * 2)[12:21],
            [line.replace(" 0 <", "72 <") for line in listed(answer)[:9]],
        )

    def test_longLine(self) -> None:
        """
        A long line of text is cut, or broken.
        """
        sent = wire.record(wire.STDOUT, 1, b"x" * 100 + b"\n\n")
        self.assertEqual(listed(sent)[1:], [f"{INDENT}| {'x' * 85}...", f"{INDENT}|"])
        self.assertEqual(
            listed(sent, isFull=True)[1:],
            [f"{INDENT}| {'x' * 88}", f"{INDENT}| {'x' * 12}", f"{INDENT}|"],
        )

    @table(
        {
            "not utf-8": (b"\xff\xfeab", "ff fe 61 62", "..ab"),
            "controls": (b"a\0b", "61 00 62", "a.b"),
            "escape": (b"a\x1bb", "61 1b 62", "a.b"),
        }
    )
    def test_hex(self, content: bytes, digits: str, letters: str) -> None:
        """
        A stream that is no text is shown as numbers.
        """
        line = listed(wire.record(wire.STDIN, 1, content))[-1]
        self.assertEqual(line, f"{INDENT}|     0  {digits:<48} {letters}")

    def test_unknownType(self) -> None:
        """
        The content of unknown records is shown; they have no direction.
        """
        self.assertEqual(
            listed(wire.record(77, 3, b"abc")),
            [
                "      0 ? type 77             3     3+5   a type that FastCGI 1.0 "
                "does not have",
                f"{INDENT}| abc",
            ],
        )

    def test_stray(self) -> None:
        """
        Bytes that are no record are shown, with what is wrong with them.
        """
        self.assertEqual(
            listed(b"GET / HTTP/1.1\r\n\r\n"),
            [
                "      0 ! WRONG: a record starts with version 71 instead of 1: "
                "b'GET / HT' is not FastCGI; this",
                f"{INDENT}looks like HTTP",
                "      0 ! 18 bytes",
                f"{INDENT}| GET / HTTP/1.1",
                f"{INDENT}|",
            ],
        )

    def test_remarks(self) -> None:
        """
        Errors and notes stand below the record.
        """
        data = wire.stdin(b"x", end=False) + wire.record(wire.GET_VALUES, 3)[:4]
        self.assertEqual(
            listed(data),
            [
                "      0 > STDIN               1     1+7   request body",
                f"{INDENT}note: no BEGIN_REQUEST for request 1 was seen",
                f"{INDENT}| x",
                "     16 ! 4 bytes",
                f"{INDENT}note: the header of a record, cut off",
                f"{INDENT}|     0  01 09 00 03 {'':36} ....",
            ],
        )

    def test_colours(self) -> None:
        """
        With colours the lines are the same but for them.
        """
        sent = wire.request(wire.variables(), b"\0") + b"?" * 9
        sent += wire.stream(wire.STDOUT, 1, b"\0" * 300)
        plain, coloured = listed(sent), "\n".join(listed(sent, isColoured=True))
        for code in ("1;36", "1;32", "1;31", "34", "2", ""):
            self.assertIn(f"\33[{code}m", coloured)
            coloured = coloured.replace(f"\33[{code}m", "")
        self.assertEqual(coloured.split("\n"), plain)


class JSONTests(TableTestCase):
    """
    Records for programs.
    """

    @table(
        {
            "begin": (
                wire.beginRequest(),
                {
                    "direction": "to application",
                    "type": "BEGIN_REQUEST",
                    "typeNumber": 1,
                    "requestId": 1,
                    "contentLength": 8,
                    "paddingLength": 0,
                    "meaning": "RESPONDER, KEEP_CONN: keep the connection open",
                    "role": "RESPONDER",
                    "flags": 1,
                    "keepConnection": True,
                    "content": "\0\1\1\0\0\0\0\0",
                },
            ),
            "params": (
                wire.params({b"A": "\u00e9".encode(), b"\xff": b"b"}, end=False),
                {
                    "direction": "to application",
                    "type": "PARAMS",
                    "typeNumber": 4,
                    "requestId": 1,
                    "contentLength": 9,
                    "paddingLength": 7,
                    "meaning": "2 variables",
                    "pairs": [["A", "\u00e9"], [{"hex": "ff"}, "b"]],
                    "notes": ["no BEGIN_REQUEST for request 1 was seen"],
                },
            ),
            "cut off": (
                wire.record(wire.STDOUT, 2, b"\xffa")[:9],
                {
                    "direction": "to web server",
                    "type": "STDOUT",
                    "typeNumber": 6,
                    "requestId": 2,
                    "contentLength": 2,
                    "paddingLength": 6,
                    "meaning": "response",
                    "content": {"hex": "ff"},
                    "missing": 7,
                    "notes": ["cut off: 7 bytes are missing"],
                },
            ),
            "stray": (
                b"hello",
                {
                    "type": None,
                    "content": "hello",
                    "errors": ["b'hello' is not FastCGI"],
                },
            ),
        }
    )
    def test_asJSON(self, data: bytes, expected: dict[str, Any]) -> None:
        """
        A record is one object on one line.
        """
        (item,) = dissect([data])
        text = asJSON(item, file="x")
        self.assertNotIn("\n", text)
        self.assertEqual(
            json.loads(text),
            {"file": "x", "offset": 0, "errors": [], "notes": [], **expected},
        )

    def test_isRestart(self) -> None:
        """
        It says where another connection starts.
        """
        *_, item = dissect([wire.beginRequest() * 2])
        self.assertIs(json.loads(asJSON(item))["isRestart"], True)

    def test_empty(self) -> None:
        """
        No content is told where there is none.
        """
        (item,) = dissect([wire.abortRequest()])
        self.assertNotIn("content", json.loads(asJSON(item)))
        told = json.loads(asJSON(Stray(3, b"")))
        self.assertEqual(told["content"], "")
