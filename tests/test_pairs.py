# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.pairs}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import CountedBytes, TableTestCase, moderately, table
from twisted_fastcgi.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.pairs import (
    MAX_LENGTH,
    decodePairs,
    decodeVariables,
    encodeLength,
    encodePairs,
)

_VECTORS = wire.codec()
_PAIRS = st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)))


def _pairs(vector: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """
    Make the pairs that a vector describes.
    """
    return [
        (wire.segments(name), wire.segments(value)) for name, value in vector["pairs"]
    ]


def _longForm(length: int) -> bytes:
    """
    Write a length in four bytes, however short it is.
    """
    return (length | 1 << 31).to_bytes(4, "big")


class LengthTests(TableTestCase):
    """
    The lengths of names and values.
    """

    @table({vector["id"]: (vector,) for vector in _VECTORS["length"]})
    def test_encode(self, vector: dict[str, Any]) -> None:
        """
        A length is written in its shortest form.
        """
        self.assertEqual(encodeLength(vector["value"]), bytes.fromhex(vector["hex"]))

    @table(
        {
            vector["id"]: (vector["value"], bytes.fromhex(vector["hex"]))
            for vector in _VECTORS["length"] + _VECTORS["length_decode_only"]
        }
    )
    def test_decode(self, value: int, encoded: bytes) -> None:
        """
        Either form is read, of the name's length and of the value's.  What is
        said to be longer than the data makes a pair that is cut off.
        """
        if value <= 1 << 24:
            text = b"x" * value
            self.assertEqual(decodePairs(encoded + b"\0" + text), [(text, b"")])
            self.assertEqual(decodePairs(b"\0" + encoded + text), [(b"", text)])
        else:
            for data in (encoded + b"\0x", b"\0" + encoded + b"x"):
                self.assertRaises(RemoteProtocolError, decodePairs, data)

    @table({str(value): (value,) for value in _VECTORS["length_encode_error"]})
    def test_impossible(self, value: int) -> None:
        """
        A length that the four bytes can't hold is the caller's error.
        """
        error = self.assertRaises(LocalProtocolError, encodeLength, value)
        self.assertIn(str(value), str(error))

    @table({data or "empty": (data,) for data in _VECTORS["length_incomplete"]})
    def test_incomplete(self, data: str) -> None:
        """
        Data that end within a length are the peer's error, be it the length of
        a name (where no data at all are no pairs) or of a value.
        """
        encoded = bytes.fromhex(data)
        if encoded:
            self.assertRaises(RemoteProtocolError, decodePairs, encoded)
        else:
            self.assertEqual(decodePairs(encoded), [])
        self.assertRaises(RemoteProtocolError, decodePairs, b"\x01" + encoded)


class PairTests(TableTestCase):
    """
    L{encodePairs} and L{decodePairs}.
    """

    @table({vector["id"]: (vector,) for vector in _VECTORS["pairs"]})
    def test_vector(self, vector: dict[str, Any]) -> None:
        """
        Each vector is read as told, and is written as it stands if its lengths
        are in their shortest form.
        """
        data, pairs = wire.segments(vector["bytes"]), _pairs(vector)
        self.assertEqual(decodePairs(data), pairs)
        self.assertEqual(encodePairs(pairs) == data, vector["encode_canonical"])

    @table({vector["hex"]: (vector,) for vector in _VECTORS["pairs_incomplete"]})
    def test_incomplete(self, vector: dict[str, Any]) -> None:
        """
        Data that end within a pair are the peer's error, also after whole
        pairs.
        """
        data = bytes.fromhex(vector["hex"])
        self.assertRaises(RemoteProtocolError, decodePairs, data)
        self.assertRaises(RemoteProtocolError, decodePairs, b"\x01\x01ab" + data)

    def test_everyEnd(self) -> None:
        """
        Pairs that are cut off anywhere but between two of them are an error
        that says where.
        """
        pairs = [(b"NAME", b"value"), (b"x" * 200, b""), (b"", b"y" * 200)]
        data = encodePairs(pairs)
        ends = {len(encodePairs(pairs[:count])): count for count in range(4)}
        for end in range(len(data) + 1):
            if end in ends:
                self.assertEqual(decodePairs(data[:end]), pairs[: ends[end]])
            else:
                error = self.assertRaises(RemoteProtocolError, decodePairs, data[:end])
                self.assertIn("end within ", str(error), f"{end} bytes")
                self.assertNotIsInstance(error, LimitExceeded)

    @table(
        {
            "value's length": (b"\x04", "the length of a value"),
            "long length of a name": (b"\x80\0", "a length of four bytes"),
            "long length of a value": (b"\x01\x80\0", "a length of four bytes"),
            "three bytes of four": (b"\x80\0\0", "a length of four bytes"),
            "name": (b"\x04\x01NA", "the pair b'NA'"),
            "value": (b"\x04\x05NAMEval", "the pair b'NAME'"),
            "long name": (b"\x7f\x05" + b"n" * 127, f"the pair {b'n' * 40!r}"),
        }
    )
    def test_where(self, data: bytes, where: str) -> None:
        """
        The error says within what the data end, with no more than the start of
        a name.
        """
        error = self.assertRaises(RemoteProtocolError, decodePairs, data)
        self.assertTrue(str(error).endswith(f"end within {where}"), str(error))

    @moderately
    @given(_PAIRS)
    def test_roundTrip(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """
        What was written is read again, in the same order, repeated names
        included; the bytes are those that another implementation writes.
        """
        data = encodePairs(pairs)
        self.assertEqual(decodePairs(data), pairs)
        self.assertEqual(data, wire.pairs(pairs))

    @moderately
    @given(_PAIRS)
    def test_longForms(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """
        Lengths in four bytes are read, however short: there are web servers
        that write them so.
        """
        data = b"".join(
            _longForm(len(name)) + _longForm(len(value)) + name + value
            for name, value in pairs
        )
        self.assertEqual(decodePairs(data), pairs)

    @moderately
    @given(st.binary(max_size=300), st.integers(1, 5), st.integers(1, 200))
    def test_anyBytes(self, data: bytes, maxPairs: int, maxName: int) -> None:
        """
        Any bytes at all give pairs within the limits that make up the whole of
        the data, or the peer's error.
        """
        try:
            pairs = decodePairs(data, maxPairs=maxPairs, maxName=maxName)
        except RemoteProtocolError:
            return
        self.assertLessEqual(len(pairs), maxPairs)
        self.assertLessEqual(max((len(name) for name, _ in pairs), default=0), maxName)
        texts = sum(len(name) + len(value) for name, value in pairs)
        self.assertTrue(2 * len(pairs) <= len(data) - texts <= 8 * len(pairs))


def _same(data: bytes, maxPairs: int, maxName: int) -> dict[bytes, bytes] | None:
    """
    Do what L{decodeVariables} does by way of L{decodePairs}.
    """
    try:
        pairs = decodePairs(data, maxPairs=maxPairs, maxName=maxName)
    except RemoteProtocolError:
        return None
    values = dict(pairs)
    distinct = len(values) == len(pairs)
    short = all(len(name) < 128 for name in values)
    return values if distinct and short else None


class VariablesTests(TableTestCase):
    """
    L{decodeVariables}: what L{decodePairs} does, in the usual case.
    """

    @table(
        {
            "nothing": ([], {}),
            "empty": ([(b"", b"")], {b"": b""}),
            "several": ([(b"B", b"1"), (b"A", b"2")], {b"B": b"1", b"A": b"2"}),
            "long value": ([(b"N", b"v" * 128)], {b"N": b"v" * 128}),
            "longest name": ([(b"n" * 127, b"v")], {b"n" * 127: b"v"}),
            "long name": ([(b"n" * 128, b"v")], None),
            "repeated": ([(b"N", b"1"), (b"M", b""), (b"N", b"1")], None),
        }
    )
    def test_table(
        self,
        pairs: list[tuple[bytes, bytes]],
        expected: dict[bytes, bytes] | None,
    ) -> None:
        """
        Pairs are read in their order, unless a name is long or repeated.
        """
        found = decodeVariables(encodePairs(pairs))
        self.assertEqual(found, expected)
        self.assertEqual(list(found or ()), list(expected or ()))

    @moderately
    @given(
        st.one_of(
            st.binary(max_size=60),
            st.lists(
                st.tuples(st.binary(max_size=3), st.binary(max_size=200)), max_size=6
            ).map(encodePairs),
        ),
        st.integers(1, 5),
        st.sampled_from([1, 2, 127, 128]),
        st.integers(0, 300),
    )
    def test_any(self, data: bytes, maxPairs: int, maxName: int, cut: int) -> None:
        """
        Of any bytes at all it reads what L{decodePairs} reads, or nothing.
        """
        for each in (data, data[:cut], data + b"\1", data + b"\1\0", data + b"\0\1"):
            self.assertEqual(
                decodeVariables(each, maxPairs=maxPairs, maxName=maxName),
                _same(each, maxPairs, maxName),
            )


class LimitTests(TableTestCase):
    """
    The limits of L{decodePairs}.
    """

    def test_pairs(self) -> None:
        """
        As many pairs as allowed are read; one more is an error that tells the
        number.
        """
        for count in (2, 3):
            data = encodePairs([(b"N", b"v")] * count)
            self.assertEqual(len(decodePairs(data, maxPairs=3)), count)
        data = encodePairs([(b"N", b"v")] * 4)
        error = self.assertRaises(LimitExceeded, decodePairs, data, maxPairs=3)
        self.assertEqual(str(error), "there are more than 3 name-value pairs")

    def test_name(self) -> None:
        """
        Names as long as allowed are read; one byte more is an error that tells
        both lengths.  Values are not limited.
        """
        for length in (199, 200):
            pairs = [(b"n" * length, b"v" * 500)]
            self.assertEqual(decodePairs(encodePairs(pairs), maxName=200), pairs)
        data = encodePairs([(b"n" * 201, b"")])
        error = self.assertRaises(LimitExceeded, decodePairs, data, maxName=200)
        self.assertIn("201 bytes long, at most 200 are allowed", str(error))

    def test_before(self) -> None:
        """
        A name that is too long is refused by its length, whether it has come
        or not.
        """
        data = _longForm(MAX_LENGTH) + b"\0"
        self.assertRaises(LimitExceeded, decodePairs, data, maxName=65535)

    def test_unlimited(self) -> None:
        """
        There are no limits but those that the caller sets.
        """
        pairs = [(b"n" * 70000, b"v")] * 3 + [(b"", b"")] * 40000
        self.assertEqual(decodePairs(encodePairs(pairs)), pairs)

    def test_copied(self) -> None:
        """
        The data are not cut down pair by pair, which would take a time in
        proportion to the square of their size.
        """
        data = CountedBytes(encodePairs([(b"N", b"v")] * 5000))
        decodePairs(data)
        self.assertLessEqual(data.counter[0], 2 * len(data))
