# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.dissect}.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import TableTestCase, moderately, table
from twisted_fastcgi.dissect import STRAY_LENGTH, Dissector, dissect
from twisted_fastcgi.explain import Item, Record, Stray

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.bin"))

REQUEST = wire.request(wire.variables(b"/a"), b"body", keep=False)

_RECORDS = st.lists(
    st.builds(
        wire.record,
        st.integers(0, 13),
        st.integers(0, 2),
        st.binary(max_size=30),
        padding=st.sampled_from([None, 0, 3, 255]),
    ),
    max_size=8,
)


def kept(items: list[Item]) -> list[tuple[int, str, bytes]]:
    """
    Tell of a capture where its records are, and what they hold.
    """
    return [
        (item.offset, item.name, item.content)
        for item in items
        if isinstance(item, Record)
    ]


def remarks(items: list[Item]) -> list[str]:
    """
    Tell all that is remarked on a capture.
    """
    return [text for item in items for text in item.errors + item.notes]


class AnyBytesTests(TableTestCase):
    """
    What holds for all captures.
    """

    @moderately
    @given(st.binary(max_size=400))
    def test_neverRaises(self, data: bytes) -> None:
        """
        Any bytes whatsoever can be looked at, and none is left out: each is in
        a record or is told of as stray.
        """
        self.checkWhole(data, list(dissect([data])))

    @moderately
    @given(_RECORDS, st.binary(max_size=20), _RECORDS, st.integers(0, 40))
    def test_mixed(
        self, before: list[bytes], noise: bytes, after: list[bytes], lost: int
    ) -> None:
        """
        So it is with records that have noise among them and are cut off.
        """
        data = b"".join([*before, noise, *after])
        data = data[: max(len(data) - lost, 0)]
        items = list(dissect([data]))
        self.checkWhole(data, items)
        for how, pieces in wire.cuts(data):
            self.assertEqual(list(dissect(pieces)), items, how)

    def checkWhole(self, data: bytes, items: list[Item]) -> None:
        """
        Check that the items of a capture cover all of it.
        """
        covered = set()
        for item in items:
            size = len(item.content)
            if isinstance(item, Record):
                size = 8 + item.contentLength + item.paddingLength
            covered.update(range(item.offset, item.offset + size))
        self.assertLessEqual(set(range(len(data))), covered)

    @moderately
    @given(_RECORDS, st.integers(0, 100))
    def test_cutOff(self, records: list[bytes], lost: int) -> None:
        """
        Whole records are the same when the capture is cut off after them.
        """
        data = b"".join(records)
        short = data[: max(len(data) - lost, 0)]
        whole = [each for each in dissect([data]) if isinstance(each, Record)]
        found = [each for each in dissect([short]) if isinstance(each, Record)]
        for one, other in zip(found, whole, strict=False):
            if not any("cut off" in note for note in one.notes):
                self.assertEqual(one, other)

    @table({path.name: (path,) for path in CAPTURES})
    def test_captures(self, path: Path) -> None:
        """
        Nothing is wrong with what real web servers have sent, and it is the
        same in any cuts.
        """
        data = path.read_bytes()
        items = list(dissect([data]))
        self.assertEqual(remarks(items), [])
        self.assertEqual(
            [(item.type, item.requestId, item.content) for item in items],
            [tuple(found) for found in wire.records(data)],
        )
        for how, pieces in wire.cuts(data, randomly=1):
            self.assertEqual(list(dissect(pieces)), items, how)


class FeedTests(TableTestCase):
    """
    What comes while a connection is looked at.
    """

    def test_atOnce(self) -> None:
        """
        A record is told of as soon as its last byte is there.
        """
        dissector = Dissector(isLive=True)
        record = wire.record(wire.STDOUT, 1, b"abc")
        self.assertEqual(dissector.feed(record[:-1]), [])
        self.assertEqual(kept(dissector.feed(record[-1:])), [(0, "STDOUT", b"abc")])
        self.assertEqual(dissector.finish(), [])

    def test_wrongAtOnce(self) -> None:
        """
        That bytes are no record is told of at once, too, even if all that
        follows is awaited.
        """
        dissector = Dissector()
        (stray,) = dissector.feed(b"GET / HT")
        self.assertEqual(
            stray.errors,
            [
                "a record starts with version 71 instead of 1: b'GET / HT' is not "
                "FastCGI; this looks like HTTP"
            ],
        )
        self.assertEqual(dissector.feed(b"TP/1.1\r\n"), [])
        (rest,) = dissector.finish()
        self.assertEqual((rest.offset, rest.content), (0, b"GET / HTTP/1.1\r\n"))


class WrongTests(TableTestCase):
    """
    Bytes that are no records.
    """

    @table(
        {
            "http request": (b"POST /x HTTP/1.1\r\n", "this looks like HTTP"),
            "http answer": (b"HTTP/1.1 200 OK\r\n", "this looks like HTTP"),
            "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01", "this looks like TLS"),
            "scgi": (b"70:CONTENT_LENGTH\x000\x00", "this looks like SCGI"),
            "zeros": (b"\0" * 20, "only zeros"),
        }
    )
    def test_guess(self, data: bytes, guess: str) -> None:
        """
        Other protocols are named.
        """
        first, rest = dissect([data])
        self.assertIn(f"; {guess}", first.errors[0])
        self.assertEqual(rest.content, data)

    def test_short(self) -> None:
        """
        Less than a header can be wrong already.
        """
        (stray,) = dissect([b"hello"])
        self.assertEqual(stray.errors, ["b'hello' is not FastCGI"])

    @table(
        {
            "a request": (REQUEST,),
            "one record at the end": (wire.record(wire.STDOUT, 1, b"abc"),),
            "an answer": (
                wire.stream(wire.STDOUT, 1, b"abc")
                + wire.record(wire.END_REQUEST, 1, bytes(8)),
            ),
            "management": (wire.getValues(b"A") + wire.getValues(b"B"),),
        }
    )
    def test_goesOn(self, records: bytes) -> None:
        """
        Reading goes on with the next record.
        """
        for noise in (b"?" * 8, b"?" * 9, b"?" + b"\1" * 7, b"?\1\1\0\0", b"x" * 300):
            items = list(dissect([REQUEST + noise + records]))
            after = [
                (offset + len(REQUEST) + len(noise), name, content)
                for offset, name, content in kept(list(dissect([records])))
            ]
            self.assertEqual(kept(items)[-len(after) :], after, noise)
            stray = b"".join(each.content for each in items if isinstance(each, Stray))
            self.assertEqual(stray, noise)

    @table(
        {
            "unknown type": (b"\1\x20\0\1\0\0\0\0",),
            "reserved byte": (b"\1\5\0\1\0\0\0\1",),
            "id of management": (b"\1\x09\0\1\0\0\0\0",),
            "no id": (b"\1\5\0\0\0\0\0\0",),
            "length of a fixed record": (b"\1\3\0\1\0\7\0\0" + bytes(7),),
            "unknown role": (b"\1\1\0\1\0\x08\0\0\0\x09\0\0\0\0\0\0",),
            "alone": (b"\1\5\0\1\0\4\0\0" + b"abcd",),
            "cut off": (b"\1\1\0\1\0\x08\0\0\0\1",),
        }
    )
    def test_notBelieved(self, doubtful: bytes) -> None:
        """
        In the middle of noise, what could be a record by chance is not taken
        for one.
        """
        noise = b"?" * 20 + doubtful + b"?" * 12
        for end in (b"", REQUEST):
            _, stray, *after = dissect([noise + end])
            self.assertEqual(stray.content, noise)
            self.assertEqual(len(after), len(wire.records(end)))

    def test_endless(self) -> None:
        """
        No more than some bytes that are no records are kept in memory.
        """
        dissector = Dissector()
        found = []
        for _ in range(20):
            found += dissector.feed(b"?" * 10000)
        self.assertEqual(len(found), 1 + 3)
        self.assertEqual(len(found[1].content), STRAY_LENGTH)
        found += dissector.finish()
        self.assertEqual(sum(len(item.content) for item in found), 200000)


class CutOffTests(TableTestCase):
    """
    Captures that end within a record.
    """

    def test_header(self) -> None:
        """
        A part of a header is told of.
        """
        *_, stray = dissect([REQUEST + b"\1\5\0"])
        self.assertEqual(stray.notes, ["the header of a record, cut off"])
        self.assertEqual((stray.offset, stray.content), (len(REQUEST), b"\1\5\0"))
        self.assertEqual(stray.errors, [])

    @table(
        {
            "content": (8 + 3, b"abc", 7),
            "no content": (8, b"", 10),
            "padding": (8 + 5 + 1, b"abcde", 4),
        }
    )
    def test_content(self, there: int, content: bytes, missing: int) -> None:
        """
        What is there of the last record is shown, and how much is missing.
        """
        record = wire.record(wire.STDOUT, 1, b"abcde", padding=5)
        (found,) = dissect([record[:there]])
        self.assertEqual(found.content, content)
        self.assertEqual(found.notes, [f"cut off: {missing} bytes are missing"])
        self.assertEqual(found.errors, [])

    def test_fixed(self) -> None:
        """
        A record that only makes sense as a whole is not called malformed.
        """
        (found,) = dissect([wire.beginRequest()[:10]])
        self.assertEqual(found.errors, [])


class GluedTests(TableTestCase):
    """
    Several captures one after another.
    """

    def test_everywhere(self) -> None:
        """
        Wherever the first one was cut off, the second one is found whole, and
        nothing is called malformed.  There are places where nobody can tell:
        where whole records of the second one fill just what is missing, or its
        beginning makes another header of what is there of one.
        """
        second = wire.request(wire.variables(b"/second"), b"other", keep=False)
        expected = [found[1:] for found in kept(list(dissect([second])))]
        body = wire.stdin(b"x" * 40 + b"\1" * 40)
        first = wire.beginRequest() + wire.params(wire.variables()) + body
        starts = [found[0] for found in kept(list(dissect([first])))]
        filled = [found[0] for found in kept(list(dissect([second])))]
        for size in range(1, len(first)):
            isInHeader = any(start < size < start + 8 for start in starts)
            if any(size + fill in starts for fill in filled[1:]):
                continue
            items = list(dissect([first[:size] + second]))
            found = [each[1:] for each in kept(items)]
            self.assertEqual(found[-len(expected) :], expected, size)
            isWrong = any(item.errors for item in items)
            self.assertFalse(isWrong and not isInHeader, size)

    @table({"same id": (1,), "another id": (3,)})
    def test_restart(self, requestId: int) -> None:
        """
        The record that was cut off holds nothing of the other capture, which
        is marked as the start of another connection.
        """
        begun = wire.beginRequest() + wire.params({b"A": b"b"})
        cutOff = wire.record(wire.STDIN, 1, b"x" * 100, padding=4)[:18]
        second = wire.request(wire.variables(), b"other", requestId)
        items = list(dissect([begun + cutOff + second]))
        last, other = items[3:5]
        self.assertEqual(last.content, b"x" * 10)
        self.assertEqual(last.notes, ["cut off: 94 bytes are missing"])
        self.assertEqual(other.offset, len(begun + cutOff))
        restarts = [item for item in items if getattr(item, "isRestart", False)]
        self.assertEqual(restarts, [other])

    def test_live(self) -> None:
        """
        What is sent on a connection is not taken for another capture.
        """
        body = b"x" * 10 + REQUEST
        dissector = Dissector(isLive=True)
        sent = wire.record(wire.STDIN, 1, body) + b"?" * 20
        first, wrong = dissector.feed(sent)
        self.assertEqual(first.content, body)
        self.assertEqual(len(wrong.errors), 1)

    @table({"content": (12, 4), "header": (5, 0)})
    def test_swallowedAll(self, size: int, left: int) -> None:
        """
        So it is if the record that was cut off would be longer than all that
        follows.
        """
        cutOff = wire.record(wire.STDIN, 1, b"x" * 0x2000)[:size]
        first, *after = dissect([cutOff + REQUEST])
        expected = [
            (size + offset, name, content)
            for offset, name, content in kept(list(dissect([REQUEST])))
        ]
        self.assertEqual(kept(after), expected)
        self.assertIn("cut off", first.notes[0])
        self.assertEqual(len(first.content), left or size)
