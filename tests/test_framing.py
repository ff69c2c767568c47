# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.framing}.
"""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import CountedBytes, TableTestCase, countCalls, moderately, table
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.framing import RecordReader

HEADER, PASS, JOIN, GATHER, COLLECT, COLLECT8, IGNORE, FAIL, FAIL_LATE = range(9)

Record = tuple[int, int, bytes]
Told = tuple[str, int, bytes]


class Reader(RecordReader[Told]):
    """
    A reader that does with a record what its type says.

    @ivar gathered: The content of all L{GATHER} records.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gathered = bytearray()

    def _startRecord(
        self, type_: int, requestId: int, contentLength: int
    ) -> Told | None:
        if type_ == PASS:
            self._pass(lambda piece: ("piece", requestId, piece))
        elif type_ == JOIN:
            self._passJoined(
                lambda piece: ("joined", requestId, piece), type_, requestId
            )
        elif type_ == GATHER:
            self._pass(self.gathered.extend)
        elif type_ == COLLECT:
            return self._collect(contentLength, partial(self._all, requestId))
        elif type_ == COLLECT8:
            size = min(8, contentLength)
            return self._collect(size, partial(self._all, requestId))
        elif type_ == FAIL_LATE:
            return self._collect(contentLength, self._fail)
        else:
            self._ignore()
        if type_ == FAIL:
            raise RemoteProtocolError("no such record")
        return ("header", requestId, b"") if type_ == HEADER else None

    def _all(self, requestId: int, content: bytes) -> Told:
        return ("all", requestId, content)

    def _fail(self, content: bytes) -> Told:
        raise RemoteProtocolError(f"no such content: {content!r}")


def told(type_: int, requestId: int, content: bytes) -> list[Told]:
    """
    Say what L{Reader} tells about a record.
    """
    if type_ == PASS:
        return [("piece", requestId, content)] if content else []
    if type_ == JOIN:
        return [("joined", requestId, content)] if content else []
    if type_ in (COLLECT, COLLECT8):
        return [("all", requestId, content[:8] if type_ == COLLECT8 else content)]
    return [("header", requestId, b"")] if type_ == HEADER else []


def joined(events: list[Told]) -> list[Told]:
    """
    Put adjacent pieces of the same request together.
    """
    found: list[Told] = []
    for event in events:
        if event[0] in ("piece", "joined") and found and found[-1][:2] == event[:2]:
            event = (*event[:2], found.pop()[2] + event[2])
        found.append(event)
    return found


def kept(reader: RecordReader[Told]) -> int:
    """
    Tell how many received bytes a reader has not used up.
    """
    return len(reader._data) - reader._offset


_RECORDS = st.lists(
    st.tuples(st.integers(HEADER, IGNORE), st.integers(0, 3), st.binary(max_size=30)),
    max_size=12,
)
_PADDINGS = st.sampled_from([None, 0, 1, 8, 255])


class EventTests(TableTestCase):
    """
    What is pulled out of what was put in.
    """

    @moderately
    @given(_RECORDS, _PADDINGS)
    def test_anyCuts(self, records: list[Record], padding: int | None) -> None:
        """
        The events of a stream of records are the same whichever pieces it
        comes in, and whatever padding the records have.
        """
        sent = b"".join(wire.record(*record, padding=padding) for record in records)
        expected = joined([each for record in records for each in told(*record)])
        gathered = b"".join(content for type_, _, content in records if type_ == GATHER)
        for how, pieces in wire.cuts(sent, randomly=5):
            reader, events = Reader(), []
            for piece in pieces:
                reader.receiveData(piece)
                events += wire.pull(reader)
            self.assertEqual(joined(events), expected, how)
            self.assertEqual(bytes(reader.gathered), gathered, how)
            self.assertFalse(reader.withinRecord, how)
            self.assertEqual(kept(reader), 0, how)

    def test_pull(self) -> None:
        """
        Nothing happens until an event is pulled, and each pull uses up no more
        than it takes to make one: to pause is not to pull.
        """
        reader = Reader()
        sent = b"".join(wire.record(GATHER, 1, bytes([n])) for n in range(3))
        reader.receiveData(sent + wire.record(HEADER, 5) + sent + sent)
        self.assertEqual(reader.gathered, b"")
        self.assertEqual(reader.nextEvent(), ("header", 5, b""))
        self.assertEqual(reader.gathered, b"\0\1\2")
        self.assertEqual(kept(reader), 2 * len(sent))
        self.assertIs(reader.nextEvent(), None)
        self.assertEqual(reader.gathered, b"\0\1\2" * 3)

    def test_notPulled(self) -> None:
        """
        Bytes that arrive while nothing is pulled are all there later, in
        their order.
        """
        reader = Reader()
        for number in range(9):
            reader.receiveData(wire.record(COLLECT, number, b"some content"))
            if number == 4:
                self.assertEqual(reader.nextEvent(), ("all", 0, b"some content"))
        self.assertEqual([event[1] for event in wire.pull(reader)], [*range(1, 9)])

    def test_nothing(self) -> None:
        """
        No bytes make no event and no difference, wherever they come.
        """
        reader = Reader()
        for piece in wire.byteByByte(wire.record(COLLECT, 1, b"content", padding=0)):
            self.assertIs(reader.nextEvent(), None)
            reader.receiveData(b"")
            self.assertIs(reader.nextEvent(), None)
            reader.receiveData(piece)
        reader.receiveData(b"")
        self.assertEqual(reader.nextEvent(), ("all", 1, b"content"))

    @table({data or "empty": (data,) for data in wire.codec()["header_incomplete"]})
    def test_incompleteHeader(self, data: str) -> None:
        """
        A header that is not all there is waited for.
        """
        reader = Reader()
        reader.receiveData(bytes.fromhex(data))
        self.assertIs(reader.nextEvent(), None)
        self.assertEqual(reader.withinRecord, bool(data))

    @table({data: (data,) for data in wire.codec()["header_bad_version"]})
    def test_version(self, data: str) -> None:
        """
        A version that is not 1 is an error as soon as the header is there,
        without its content, in whatever pieces it comes.
        """
        header = bytes.fromhex(data)
        for _, pieces in wire.cuts(header):
            self.assertRaises(RemoteProtocolError, wire.feed, Reader(), pieces)
        self.assertEqual(wire.feed(Reader(), wire.byteByByte(header[:7])), [])

    @table(
        {
            f"{name} {size}": (type_, size)
            for name, type_ in [("collected", COLLECT), ("ignored", IGNORE)]
            for size in (0, 1, 255)
        }
    )
    def test_padding(self, type_: int, size: int) -> None:
        """
        Padding of any length and content is skipped as it comes, also when it
        looks like records, and none of it is kept.
        """
        content = b"content"
        sent = wire.record(type_, 1, content, padding=0)
        sent = sent[:6] + bytes([size]) + sent[7:]
        padding = (wire.record(HEADER, 9) * 32)[:size]
        for how, pieces in wire.cuts(padding):
            reader = Reader()
            events = wire.feed(reader, sent)
            for piece in pieces:
                reader.receiveData(piece)
                events += wire.pull(reader)
                self.assertEqual(kept(reader), 0, how)
            events += wire.feed(reader, wire.record(HEADER, 2))
            expected = [*told(type_, 1, content), ("header", 2, b"")]
            self.assertEqual(events, expected, how)

    def test_early(self) -> None:
        """
        A record that is wanted as a whole makes its event with the last byte
        that is wanted, not with the last of its padding or of what follows.
        """
        reader = Reader()
        sent = wire.record(COLLECT8, 1, b"12345678 and more", padding=200)
        reader.receiveData(sent[:15])
        self.assertIs(reader.nextEvent(), None)
        reader.receiveData(sent[15:16])
        self.assertEqual(reader.nextEvent(), ("all", 1, b"12345678"))
        self.assertFalse(reader.withinRecord)

    @moderately
    @given(_RECORDS, _PADDINGS)
    def test_withinRecord(self, records: list[Record], padding: int | None) -> None:
        """
        It can be told at any byte whether more is awaited of what has begun:
        of a header, or of content that is wanted, but not of what is left out.
        """
        reader = Reader()
        for type_, requestId, content in records:
            wanted = {HEADER: 0, IGNORE: 0, COLLECT8: min(8, len(content))}
            end = 8 + wanted.get(type_, len(content))
            sent = wire.record(type_, requestId, content, padding=padding)
            for place, piece in enumerate(wire.byteByByte(sent), start=1):
                wire.feed(reader, piece)
                self.assertEqual(reader.withinRecord, place < end, (type_, place))


class ErrorTests(TableTestCase):
    """
    The end of what can be read.
    """

    @table(
        {
            "version": (b"GET / HTTP/1.1\r\n\r\n", "is not FastCGI"),
            "header": (wire.record(FAIL, 1, bytes(99))[:8], "no such record"),
            "content": (wire.record(FAIL_LATE, 1, b"bad"), "no such content: b'bad'"),
            "empty content": (wire.record(FAIL_LATE, 1), "no such content: b''"),
        }
    )
    def test_again(self, data: bytes, reason: str) -> None:
        """
        After the peer's error each pull raises the same, whatever else arrives;
        events before it are given before it.
        """
        good = wire.record(HEADER, 7)
        for how, pieces in wire.cuts(good + data):
            reader = Reader()
            events: list[Told] = []
            error = self.assertRaises(
                RemoteProtocolError, self.pullAll, reader, pieces, events
            )
            self.assertIn(reason, str(error))
            self.assertEqual(events, [("header", 7, b"")], how)
            for _ in range(2):
                reader.receiveData(good)
                again = self.assertRaises(RemoteProtocolError, reader.nextEvent)
                self.assertEqual(
                    (type(again), again.args), (type(error), error.args), how
                )

    def test_keepsNoFrames(self) -> None:
        """
        What is raised again does not keep what was at work when the error was
        found, such as a whole request.
        """
        reader = Reader()
        reader.receiveData(b"GET / HT")
        first = self.assertRaises(RemoteProtocolError, reader.nextEvent)
        again = self.assertRaises(RemoteProtocolError, reader.nextEvent)
        self.assertIsNot(again, first)

    def pullAll(self, reader: Reader, pieces: list[bytes], events: list[Told]) -> None:
        """
        Feed pieces, and pull as long as there is no error.
        """
        for piece in pieces:
            reader.receiveData(piece)
            for event in iter(reader.nextEvent, None):
                events.append(event)

    def test_notKept(self) -> None:
        """
        After the peer's error nothing that was received, before or after, is
        kept.
        """
        reader = Reader()
        reader.receiveData(wire.record(FAIL, 1) + bytes(5000))
        self.assertRaises(RemoteProtocolError, reader.nextEvent)
        self.assertEqual(len(reader._data), 0)
        for _ in range(3):
            reader.receiveData(bytes(5000))
            self.assertRaises(RemoteProtocolError, reader.nextEvent)
        self.assertEqual(len(reader._data), 0)

    @moderately
    @given(st.binary(max_size=200), st.integers(0, 3))
    def test_anyBytes(self, data: bytes, seed: int) -> None:
        """
        Any bytes at all raise nothing but the peer's error, and no more than
        part of a header is kept once there is no event left.
        """
        reader = Reader()
        for piece in wire.randomCuts(b"\1" + data, seed):
            reader.receiveData(piece)
            try:
                wire.pull(reader)
            except RemoteProtocolError:
                return
            self.assertLess(kept(reader), 8)


class JoinTests(TableTestCase):
    """
    Content that is handed on in pieces as large as can be.
    """

    @table(
        {
            "one": ([b"a"], b"", [b"a"]),
            "several": ([b"a", b"bc", b"d" * 300], b"", [b"abc" + b"d" * 300]),
            "empty": ([b"a", b"", b"b"], b"", [b"a", b"b"]),
            "part of the next": (
                [b"a"],
                wire.record(JOIN, 1, b"bc", padding=0)[:-1],
                [b"ab"],
            ),
            "header of the next": ([b"a"], wire.record(JOIN, 1, b"b")[:8], [b"a"]),
            "part of a header": ([b"a"], wire.record(JOIN, 1, b"b")[:7], [b"a"]),
            "another id": ([b"a"], wire.record(JOIN, 2, b"b"), [b"a", b"b"]),
            "another type": ([b"a"], wire.record(PASS, 1, b"b"), [b"a", b"b"]),
        }
    )
    def test_table(
        self, contents: list[bytes], more: bytes, expected: list[bytes]
    ) -> None:
        """
        What has been received of records of the same type and id is one piece,
        whatever their padding is.
        """
        for padding in (None, 0, 1, 255):
            sent = [wire.record(JOIN, 1, each, padding=padding) for each in contents]
            reader = Reader()
            reader.receiveData(b"".join(sent) + more)
            pieces = [piece for _, _, piece in wire.pull(reader)]
            self.assertEqual(pieces, expected)

    def test_before(self) -> None:
        """
        It is handed on before a record that ends the connection, and does not
        hide it.
        """
        reader = Reader()
        sent = wire.record(JOIN, 1, b"a") * 2
        reader.receiveData(sent + wire.record(JOIN, 1, b"b", version=2))
        self.assertEqual(reader.nextEvent(), ("joined", 1, b"aa"))
        self.assertRaises(RemoteProtocolError, reader.nextEvent)

    def test_large(self) -> None:
        """
        A piece of one record alone is not copied twice.
        """
        data = CountedBytes(wire.record(JOIN, 1, b"x" * 60000)[:-9])
        reader = Reader()
        reader.receiveData(data)
        wire.pull(reader)
        self.assertLess(data.counter[0], 61000)


class CostTests(TableTestCase):
    """
    Time and memory are in proportion to what was received.
    """

    @table({"whole": (False,), "byte by byte": (True,)})
    def test_copied(self, byByte: bool) -> None:
        """
        Each byte is copied a few times only, also out of many tiny records in
        one piece, and when they come byte by byte.
        """
        sent = wire.record(PASS, 1, b"x", padding=0) * 3000
        counted = CountedBytes(sent)
        pieces = [counted]
        if byByte:
            pieces = [
                CountedBytes(each, counted.counter) for each in wire.byteByByte(sent)
            ]
        reader = Reader()
        for piece in pieces:
            reader.receiveData(piece)
            self.assertIsInstance(reader._data, CountedBytes)
            wire.pull(reader)
        self.assertLessEqual(counted.counter[0], 10 * len(sent))

    @table(
        {
            "collected": (COLLECT,),
            "ignored": (IGNORE,),
            "passed": (PASS,),
            "joined": (JOIN,),
        }
    )
    def test_tinyReads(self, type_: int) -> None:
        """
        A large record that comes byte by byte costs the same for each
        byte, and no byte of it is copied again and again.
        """
        sent = wire.record(type_, 1, b"x" * 16000)
        counter = [0]
        reader = Reader()
        wire.feed(reader, sent[:9])
        collected = reader._collected
        calls = 0
        for piece in wire.byteByByte(sent[9:-1]):
            reader.receiveData(CountedBytes(piece, counter))
            calls = max(calls, countCalls(lambda: wire.pull(reader)))
            self.assertEqual(kept(reader), 0)
        self.assertIs(reader._collected, collected)
        self.assertLessEqual(counter[0], len(sent))
        self.assertLess(calls, 50)
        self.assertEqual(len(collected) > 15000, type_ == COLLECT)

    def test_calls(self) -> None:
        """
        The work for many tiny records in one piece grows with their number.
        """

        def work(count: int) -> int:
            reader = Reader()
            reader.receiveData(wire.record(PASS, 1, b"x") * count)
            return countCalls(lambda: wire.pull(reader))

        self.assertLessEqual(work(4000), 4.1 * work(1000))
