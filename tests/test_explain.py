# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.explain}.
"""

from __future__ import annotations

from typing import Any

from tests import wire
from tests.tables import TableTestCase, table
from twisted_fastcgi.dissect import Dissector, dissect
from twisted_fastcgi.explain import (
    Direction,
    Explainer,
    Ledger,
    Record,
    SeenRequest,
    nameOf,
    shown,
)
from twisted_fastcgi.records import RecordType, Role

BEGUN = wire.beginRequest()
PARAMS = wire.params({b"A": b"b"})
STDIN = wire.stdin()
END = wire.record(wire.END_REQUEST, 1, bytes(8))
AUTHORIZER = wire.beginRequest(role=wire.AUTHORIZER)


def explained(data: bytes) -> list[Record]:
    """
    Explain the records of a capture.
    """
    return [item for item in dissect([data]) if isinstance(item, Record)]


def last(data: bytes) -> Record:
    """
    Explain the last record of a capture.
    """
    return explained(data)[-1]


class MeaningTests(TableTestCase):
    """
    What a record says.
    """

    @table(
        {
            "begin": (
                wire.beginRequest(flags=0),
                "RESPONDER, no KEEP_CONN: close when answered",
                {"role": "RESPONDER", "flags": 0, "keepConnection": False},
            ),
            "begin keep": (
                wire.beginRequest(role=wire.AUTHORIZER),
                "AUTHORIZER, KEEP_CONN: keep the connection open",
                {"role": "AUTHORIZER", "flags": 1, "keepConnection": True},
            ),
            "begin unknown role": (
                wire.beginRequest(role=77),
                "77, KEEP_CONN: keep the connection open",
                {"role": "77", "flags": 1, "keepConnection": True},
            ),
            "abort": (wire.abortRequest(), "the answer is no longer wanted", {}),
            "end": (
                END,
                "appStatus 0, REQUEST_COMPLETE",
                {"appStatus": 0, "protocolStatus": "REQUEST_COMPLETE"},
            ),
            "overloaded": (
                wire.record(wire.END_REQUEST, 1, b"\0\0\1\1\2\0\0\0"),
                "appStatus 257, OVERLOADED: refused: too much to do",
                {"appStatus": 257, "protocolStatus": "OVERLOADED"},
            ),
            "unknown status": (
                wire.record(wire.END_REQUEST, 1, b"\0\0\0\0\x09\0\0\0"),
                "appStatus 0, 9: not a known status",
                {"appStatus": 0, "protocolStatus": "9"},
            ),
            "get values": (wire.getValues(b"A", b"B\33"), "asks for A, B\\x1b", {}),
            "get no values": (wire.getValues(), "asks for nothing", {}),
            "values": (
                wire.record(wire.GET_VALUES_RESULT, 0, wire.pairs({b"A": b"1"})),
                "answers with 1 value",
                {},
            ),
            "unknown": (
                wire.record(wire.UNKNOWN_TYPE, 0, b"\x63" + bytes(7)),
                "does not understand records of type 99",
                {"unknownType": 99},
            ),
            "new type": (
                wire.record(99, 1, b"abc"),
                "a type that FastCGI 1.0 does not have",
                {},
            ),
            "stdout": (wire.record(wire.STDOUT, 1, b"abc"), "response", {}),
            "end of stdout": (
                wire.stream(wire.STDOUT, 1, b"abcde"),
                "end of the response, 5 bytes",
                {},
            ),
            "stderr": (wire.record(wire.STDERR, 1, b"abc"), "error output", {}),
        }
    )
    def test_meaning(self, data: bytes, meaning: str, facts: dict[str, Any]) -> None:
        """
        It is said in words, and as facts for programs.
        """
        record = last(data)
        self.assertEqual(record.meaning, meaning)
        self.assertEqual(record.facts, facts)
        self.assertEqual(record.errors + record.notes, [])

    @table(
        {
            "to application": (wire.STDIN, "STDIN", Direction.TO_APPLICATION),
            "to web server": (wire.STDOUT, "STDOUT", Direction.TO_WEB_SERVER),
            "unknown": (12, "type 12", Direction.UNKNOWN),
        }
    )
    def test_type(self, type_: int, name: str, direction: Direction) -> None:
        """
        The type tells the name and the direction.
        """
        record = Record(0, b"", type_, 1, 0, 0)
        self.assertEqual((record.name, record.direction), (name, direction))

    def test_params(self) -> None:
        """
        The variables are told of with the record in which they end, wherever
        they are cut, and counted.
        """
        pairs = [(b"A" * 200, b"b" * 300), (b"C", b""), (b"", b"d")]
        content = wire.pairs(pairs)
        end = wire.record(wire.PARAMS, 1)
        for cut in range(1, len(content)):
            halves = content[:cut], content[cut:]
            sent = [wire.record(wire.PARAMS, 1, half) for half in halves]
            _, one, two, ended = explained(BEGUN + b"".join(sent) + end)
            self.assertEqual([*one.pairs, *two.pairs], pairs, cut)
            self.assertEqual(ended.meaning, "end of the variables, 3")
            isWhole = len(wire.pairs(one.pairs)) == cut
            count = len(one.pairs)
            meaning = f"{count} variable{'s' * (count != 1)}"
            if not isWhole:
                meaning += ", and one that goes on in the next record"
            self.assertEqual(one.meaning, meaning)
            self.assertEqual(ended.errors, [])

    def test_body(self) -> None:
        """
        The size of a body is told at its end.
        """
        body = wire.stdin(b"x" * 70000)
        found = explained(BEGUN + wire.params({b"CONTENT_LENGTH": b"70000"}) + body)
        meanings = [record.meaning for record in found[3:]]
        self.assertEqual(
            meanings,
            ["request body", "request body", "end of the request body, 70000 bytes"],
        )
        self.assertEqual(found[-1].notes, [])


class WrongTests(TableTestCase):
    """
    What must not be.
    """

    @table(
        {
            "id 0": (wire.beginRequest(0), "request id 0 is for management records"),
            "management with id": (
                wire.record(wire.GET_VALUES, 1),
                "a management record has request id 0",
            ),
            "short begin": (
                wire.record(wire.BEGIN_REQUEST, 1, b"\0\1\0"),
                "BEGIN_REQUEST has 3 bytes of content instead of 8",
            ),
            "short end": (
                wire.record(wire.END_REQUEST, 1, b"\0"),
                "END_REQUEST has 1 bytes of content instead of 8",
            ),
            "no unknown type": (
                wire.record(wire.UNKNOWN_TYPE, 0),
                "UNKNOWN_TYPE has no content",
            ),
            "values": (
                wire.record(wire.GET_VALUES, 0, b"\3\0A"),
                "the name-value pairs end within the pair b'A'",
            ),
            "params": (
                BEGUN + wire.stream(wire.PARAMS, 1, b"\1\5Abc"),
                "the name-value pairs end within the pair b'A'",
            ),
            "huge": (
                BEGUN + wire.stream(wire.PARAMS, 1, b"\xff\xff\xff\xff\0A"),
                "the name-value pairs end within the pair b'A'",
            ),
            "a length": (
                BEGUN + wire.stream(wire.PARAMS, 1, b"\1\x80\0"),
                "the name-value pairs end within a length of four bytes",
            ),
            "impossible": (
                BEGUN + wire.params({b"HTTP_A": b"b\nc"}, end=False),
                "the web server sent 'HTTP_A' as 'b\\nc', which is not a text on one "
                "line: see what sets this FastCGI parameter there",
            ),
            "more params": (
                BEGUN + PARAMS + wire.params({b"C": b"d"}, end=False),
                "more of the variables after its end",
            ),
            "more response": (
                wire.stream(wire.STDOUT, 1, b"abc") + wire.record(wire.STDOUT, 1, b"x"),
                "more of the response after its end",
            ),
            "early body": (
                BEGUN + wire.stdin(b"abc", end=False),
                "before the end of the variables",
            ),
            "early response": (
                BEGUN + wire.record(wire.STDOUT, 1, b"abc"),
                "before the end of the variables",
            ),
        }
    )
    def test_error(self, data: bytes, error: str) -> None:
        """
        It is an error of the record, and told why.
        """
        self.assertEqual(last(data).errors, [error])

    @table(
        {
            "flags": (
                wire.beginRequest(flags=0x82),
                "flags 130: only 1, KEEP_CONN, has a meaning",
            ),
            "second end": (
                BEGUN + PARAMS + STDIN + STDIN,
                "a second end, which receivers ignore",
            ),
            "no begin": (STDIN, "no BEGIN_REQUEST for request 1 was seen"),
            "body of an authorizer": (
                AUTHORIZER + PARAMS + wire.stdin(b"abc", end=False),
                "a request in this role has no request body",
            ),
            "file of a responder": (
                BEGUN + PARAMS + wire.data(b"abc", end=False),
                "a request in this role has no file to be filtered",
            ),
            "client failed": (
                BEGUN + wire.params({b"CONTENT_LENGTH": b"9"}) + wire.stdin(b"abc"),
                "CONTENT_LENGTH is 9: the client has failed, or the web server",
            ),
        }
    )
    def test_note(self, data: bytes, note: str) -> None:
        """
        What is odd, but no error, is a note.
        """
        record = last(data)
        self.assertEqual((record.errors, record.notes), ([], [note]))

    @table(
        {
            "empty": (BEGUN + wire.params({b"CONTENT_LENGTH": b""}) + STDIN,),
            "streamed": (
                BEGUN + wire.params({b"CONTENT_LENGTH": b"-1"}) + wire.stdin(b"abc"),
            ),
            "empty body of an authorizer": (AUTHORIZER + PARAMS + STDIN,),
            "answer alone": (wire.stream(wire.STDOUT, 1, b"abc") + END,),
            "answer to an unknown role": (
                wire.beginRequest(role=7) + wire.record(wire.STDOUT, 1, b"abc"),
            ),
            "long length": (wire.record(wire.GET_VALUES, 0, b"\x80\0\0\1\0A"),),
        }
    )
    def test_sound(self, data: bytes) -> None:
        """
        Nothing is remarked on what web servers and applications may do.
        """
        remarks = [record.errors + record.notes for record in explained(data)]
        self.assertEqual(remarks, [[]] * len(remarks))

    def test_cutOff(self) -> None:
        """
        A part of a record is not called wrong.
        """
        record = Record(0, b"\0", RecordType.BEGIN_REQUEST, 1, 8, 0, missing=7)
        Explainer(Ledger()).explain(record)
        self.assertEqual(record.errors, [])
        self.assertEqual(record.notes, ["cut off: 7 bytes are missing"])


class RestartTests(TableTestCase):
    """
    Whether a request is the next one of its connection.
    """

    @table(
        {
            "kept": (BEGUN + PARAMS + STDIN, None),
            "aborted": (BEGUN + PARAMS + wire.abortRequest(), None),
            "authorizer": (AUTHORIZER + PARAMS, None),
            "ended": (wire.beginRequest(keep=False) + PARAMS + END, None),
            "another id": (wire.beginRequest(2), None),
            "unknown abort": (wire.abortRequest(), None),
            "rest of a request": (STDIN, None),
            "not whole": (BEGUN + PARAMS, "is not complete"),
            "last": (
                wire.beginRequest(keep=False) + PARAMS + STDIN,
                "was to be the last on its connection",
            ),
        }
    )
    def test_restart(self, before: bytes, why: str | None) -> None:
        """
        It is, if the one with its id was whole and the connection was to be
        kept, or END_REQUEST was seen; or else another capture starts.
        """
        record = last(before + BEGUN)
        self.assertEqual(record.isRestart, why is not None)
        notes = [
            f"the request 1 before this one {why}: most likely another capture starts "
            "here"
        ]
        self.assertEqual(record.notes, notes if why else [])

    def test_ledger(self) -> None:
        """
        The two directions of a connection know of each other.
        """
        ledger = Ledger()
        one = Dissector(ledger, isLive=True)
        other = Dissector(ledger, isLive=True)
        one.feed(BEGUN + PARAMS)
        self.assertEqual(ledger, {1: SeenRequest(1, True, ended={4}, counts={4: 1})})
        other.feed(wire.stream(wire.STDOUT, 1, b"early") + END)
        self.assertEqual(ledger, {})
        (record,) = one.feed(BEGUN)
        self.assertEqual(record.notes, [])


class TextTests(TableTestCase):
    """
    Names and text.
    """

    def test_nameOf(self) -> None:
        """
        What has no name keeps its number.
        """
        self.assertEqual([nameOf(Role, n) for n in (3, 4)], ["FILTER", "4"])

    @table(
        {
            "plain": (b"a b", "a b"),
            "utf-8": ("a\u00e9".encode(), "a\u00e9"),
            "not utf-8": (b"a\xe9", "a\\xe9"),
            "line break": (b"a\nb\r", "a\\nb\\r"),
            "escape": (b"\x1b[2J", "\\x1b[2J"),
            "direction": ("a\u202eb".encode(), "a\\u202eb"),
        }
    )
    def test_shown(self, data: bytes, text: str) -> None:
        """
        Bytes are written so that they do nothing to a terminal.
        """
        self.assertEqual(shown(data), text)
