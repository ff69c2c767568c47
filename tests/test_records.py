# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.records}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import wire
from tests.tables import TableTestCase, moderately, table
from twisted_fastcgi import records
from twisted_fastcgi.errors import LocalProtocolError, RemoteProtocolError
from twisted_fastcgi.pairs import decodePairs, encodePairs
from twisted_fastcgi.records import (
    MAX_CONTENT_LENGTH,
    STREAM_CONTENT_LENGTH,
    ProtocolStatus,
    RecordType,
    Role,
    decodeBeginRequest,
    decodeEndRequest,
    decodeHeader,
    decodeUnknownType,
    encodeBeginRequest,
    encodeEndRequest,
    encodeHeader,
    encodeRecord,
    encodeStream,
    encodeUnknownType,
)

_VECTORS = wire.codec()


def _lengthened(content: bytes) -> bytes:
    """
    Make content of which a piece takes more than one record.
    """
    return content * STREAM_CONTENT_LENGTH


class ConstantTests(TableTestCase):
    """
    The numbers of FastCGI 1.0, section 8.
    """

    @table(
        {
            "VERSION": ("VERSION", 1),
            "HEADER_LENGTH": ("HEADER_LENGTH", 8),
            "MAX_CONTENT_LENGTH": ("MAX_CONTENT_LENGTH", 65535),
            "NULL_REQUEST_ID": ("NULL_REQUEST_ID", 0),
            "KEEP_CONN": ("KEEP_CONN", 1),
            "LISTENSOCK_FILENO": ("LISTENSOCK_FILENO", 0),
        }
    )
    def test_number(self, name: str, value: int) -> None:
        """
        Each constant has the value that the specification gives it.
        """
        self.assertEqual(getattr(records, name), value)

    @table(
        {
            "RecordType": (
                RecordType,
                "BEGIN_REQUEST ABORT_REQUEST END_REQUEST PARAMS STDIN STDOUT STDERR "
                "DATA GET_VALUES GET_VALUES_RESULT UNKNOWN_TYPE",
                1,
            ),
            "Role": (Role, "RESPONDER AUTHORIZER FILTER", 1),
            "ProtocolStatus": (
                ProtocolStatus,
                "REQUEST_COMPLETE CANT_MPX_CONN OVERLOADED UNKNOWN_ROLE",
                0,
            ),
        }
    )
    def test_enumeration(self, numbers: Any, names: str, first: int) -> None:
        """
        Types, roles and protocol statuses are numbered as the specification
        numbers them.
        """
        found = {member.name: member.value for member in numbers}
        expected = {name: value for value, name in enumerate(names.split(), first)}
        self.assertEqual(found, expected)

    def test_streamContentLength(self) -> None:
        """
        The content of a record of a stream needs no padding and fits.
        """
        self.assertEqual(STREAM_CONTENT_LENGTH % 8, 0)
        self.assertLessEqual(STREAM_CONTENT_LENGTH, MAX_CONTENT_LENGTH)


class HeaderTests(TableTestCase):
    """
    L{encodeHeader} and L{decodeHeader}: section 3.3.
    """

    @table({vector["id"]: (vector,) for vector in _VECTORS["header"]})
    def test_vector(self, vector: dict[str, Any]) -> None:
        """
        Each vector is read as told, whatever its reserved byte, and is what
        those numbers are written as.
        """
        data = bytes.fromhex(vector["hex"])
        names = ("type", "request_id", "content_length", "padding_length")
        numbers = tuple(vector[name] for name in names)
        self.assertEqual(decodeHeader(data), numbers)
        if not vector.get("decode_only"):
            self.assertEqual(encodeHeader(*numbers), data)

    @table({data: (bytes.fromhex(data),) for data in _VECTORS["header_bad_version"]})
    def test_version(self, data: bytes) -> None:
        """
        Another version than 1 is an error that shows the bytes.
        """
        error = self.assertRaises(RemoteProtocolError, decodeHeader, data)
        self.assertIn(f"version {data[0]} ", str(error))
        self.assertIn(repr(data), str(error))

    def test_offset(self) -> None:
        """
        A header is read from the middle of other bytes, and an error shows
        that header alone.
        """
        data = b"abc" + wire.record(6, 300, bytes(7), padding=9)
        self.assertEqual(decodeHeader(data, 3), (6, 300, 7, 9))
        error = self.assertRaises(RemoteProtocolError, decodeHeader, data, 1)
        self.assertIn(repr(data[1:9]), str(error))

    @table(
        {
            f"{name} {value}": (position, value)
            for position, (name, largest) in enumerate(
                [("type", 255), ("id", 65535), ("content", 65535), ("padding", 255)]
            )
            for value in (-1, largest + 1)
        }
    )
    def test_outOfRange(self, position: int, value: int) -> None:
        """
        A number that does not fit its field is the caller's error, which names
        it; numbers are never cut off silently.
        """
        numbers = [1, 1, 1, 1]
        numbers[position] = value
        error = self.assertRaises(LocalProtocolError, encodeHeader, *numbers)
        self.assertIn(str(value), str(error))

    @moderately
    @given(
        st.tuples(
            st.integers(0, 255),
            st.integers(0, 65535),
            st.integers(0, 65535),
            st.integers(0, 255),
        )
    )
    def test_roundTrip(self, numbers: tuple[int, int, int, int]) -> None:
        """
        What was written is read again.
        """
        self.assertEqual(decodeHeader(encodeHeader(*numbers)), numbers)


class RecordTests(TableTestCase):
    """
    L{encodeRecord}: section 3.3.
    """

    @table({str(size): (size,) for size in [*range(18), 65528, 65534, 65535]})
    def test_padding(self, size: int) -> None:
        """
        A record is padded to a multiple of 8 bytes, with less than 8.
        """
        content = bytes(range(256)) * (size // 256 + 1)
        data = encodeRecord(RecordType.STDOUT, 7, content[:size])
        self.assertEqual(wire.records(data), [(RecordType.STDOUT, 7, content[:size])])
        self.assertEqual(wire.paddings(data), [-size % 8])

    @table(
        {
            f"{size} at least {least}": (size, least, padding)
            for size, least, padding in [
                (0, 1, 8),
                (1, 1, 7),
                (7, 1, 1),
                (8, 1, 8),
                (8, 0, 0),
                (6, 3, 10),
                (0, 248, 248),
                (1, 248, 255),
            ]
        }
    )
    def test_minPadding(self, size: int, least: int, padding: int) -> None:
        """
        The padding is at least what was asked for, and still makes a multiple
        of 8 bytes.
        """
        data = encodeRecord(RecordType.STDERR, 1, bytes(size), minPadding=least)
        self.assertEqual(wire.paddings(data), [padding])

    @table(
        {
            "content": ((1, 1, bytes(65536)), {}),
            "padding": ((1, 1), {"minPadding": 249}),
            "type": ((256, 1), {}),
            "id": ((1, 65536), {}),
        }
    )
    def test_tooMuch(self, arguments: tuple[Any, ...], options: dict[str, int]) -> None:
        """
        What does not fit one record is the caller's error.
        """
        self.assertRaises(LocalProtocolError, encodeRecord, *arguments, **options)


class StreamTests(TableTestCase):
    """
    L{encodeStream}: section 3.3.
    """

    @table(
        {
            str(size): (size,)
            for size in [
                0,
                1,
                7,
                8,
                9,
                STREAM_CONTENT_LENGTH - 1,
                STREAM_CONTENT_LENGTH,
                STREAM_CONTENT_LENGTH + 1,
                3 * STREAM_CONTENT_LENGTH,
                65535,
                65536,
            ]
        }
    )
    def test_cut(self, size: int) -> None:
        """
        Content is cut into records that are full but for the last, and only
        the last is padded; no content makes no record.
        """
        content = (bytes(range(251)) * (size // 251 + 1))[:size]
        pieces = encodeStream(RecordType.STDOUT, 9, content)
        found = wire.records(pieces)
        self.assertEqual(b"".join(record.content for record in found), content)
        whole, rest = divmod(size, STREAM_CONTENT_LENGTH)
        self.assertEqual(
            [len(record.content) for record in found],
            [STREAM_CONTENT_LENGTH] * whole + [rest] * bool(rest),
        )
        self.assertEqual({record[:2] for record in found}, {(6, 9)} if size else set())
        paddings = [0] * whole + [-rest % 8] * bool(rest)
        self.assertEqual(wire.paddings(pieces), paddings)

    def test_notCopied(self) -> None:
        """
        Content that fits one record is handed on as it is.
        """
        for size in (8, 13, STREAM_CONTENT_LENGTH):
            content = bytes(size)
            pieces = encodeStream(RecordType.STDOUT, 1, content)
            self.assertIs(pieces[1], content, f"{size} bytes")

    def test_outOfRange(self) -> None:
        """
        A request id that does not fit its field is the caller's error.
        """
        for content in (b"x", bytes(65536)):
            self.assertRaises(LocalProtocolError, encodeStream, 6, 65536, content)

    @moderately
    @given(
        st.integers(0, 255),
        st.integers(1, 65535),
        st.lists(st.binary(max_size=99) | st.binary(max_size=3).map(_lengthened)),
    )
    def test_roundTrip(self, type_: int, requestId: int, contents: list[bytes]) -> None:
        """
        Any pieces of a stream come out as that stream.
        """
        found = wire.records(
            piece
            for content in contents
            for piece in encodeStream(type_, requestId, content)
        )
        self.assertEqual({each[:2] for each in found} - {(type_, requestId)}, set())
        self.assertEqual(b"".join(each.content for each in found), b"".join(contents))


class RecordVectorTests(TableTestCase):
    """
    Whole records.
    """

    @table({vector["id"]: (vector,) for vector in _VECTORS["records"]})
    def test_decode(self, vector: dict[str, Any]) -> None:
        """
        Header and content of each vector are read as told.
        """
        data = wire.segments(vector["bytes"])
        type_, requestId, length, padding = decodeHeader(data)
        content = data[8 : 8 + length]
        self.assertEqual(len(data), 8 + length + padding)
        self.assertEqual(requestId, vector["request_id"])
        if vector["kind"] == "unknown":
            self.assertEqual(type_, vector["type"])
            self.assertNotIn(type_, list(RecordType))
        else:
            self.assertEqual(RecordType(type_).name, vector["kind"])
            self.assertEqual(_read(type_, content), _told(vector))

    @table(
        {
            vector["id"]: (vector,)
            for vector in _VECTORS["records"]
            if not vector.get("decode_only") and vector["kind"] != "unknown"
        }
    )
    def test_encode(self, vector: dict[str, Any]) -> None:
        """
        Each vector is what our functions write, but for their padding.
        """
        expected = wire.segments(vector["bytes"])
        content = expected[8 : 8 + int.from_bytes(expected[4:6], "big")]
        data = _write(vector)
        type_ = RecordType[vector["kind"]]
        self.assertEqual(wire.records(data), [(type_, vector["request_id"], content)])
        self.assertEqual(wire.paddings(data), [-len(content) % 8])
        if len(expected) % 8 == 0:
            self.assertEqual(data, expected)


def _read(type_: int, content: bytes) -> Any:
    """
    Read a record's content with the function that is made for it.
    """
    functions: dict[int, Any] = {
        RecordType.BEGIN_REQUEST: decodeBeginRequest,
        RecordType.END_REQUEST: decodeEndRequest,
        RecordType.UNKNOWN_TYPE: decodeUnknownType,
        RecordType.GET_VALUES: decodePairs,
        RecordType.GET_VALUES_RESULT: decodePairs,
    }
    return functions.get(type_, bytes)(content)


def _told(vector: dict[str, Any]) -> Any:
    """
    Tell what a vector says about a record's content.
    """
    if "role" in vector:
        return vector["role"], vector["keep_conn"]
    if "app_status" in vector:
        return vector["app_status"], vector["protocol_status"]
    if "pairs" in vector:
        return [(name.encode(), value.encode()) for name, value in vector["pairs"]]
    return vector.get("unknown_type", wire.segments(vector.get("content", ())))


def _write(vector: dict[str, Any]) -> bytes:
    """
    Write the record of a vector with the function that is made for it.
    """
    told, requestId = _told(vector), vector["request_id"]
    if "role" in vector:
        return encodeBeginRequest(requestId, told[0], keepConnection=told[1])
    if "app_status" in vector:
        return encodeEndRequest(requestId, *told)
    if "unknown_type" in vector:
        return encodeUnknownType(told)
    content = encodePairs(told) if "pairs" in vector else told
    return encodeRecord(RecordType[vector["kind"]], requestId, content)


class BodyTests(TableTestCase):
    """
    The contents of BEGIN_REQUEST (section 5.1), END_REQUEST (section 5.5) and
    UNKNOWN_TYPE (section 4.2).
    """

    @table(
        {
            f"{decode.__name__} {size}": (decode, size)
            for decode, least in [
                (decodeBeginRequest, 8),
                (decodeEndRequest, 8),
                (decodeUnknownType, 1),
            ]
            for size in range(least)
        }
    )
    def test_tooShort(self, decode: Callable[[bytes], object], size: int) -> None:
        """
        Content that is too short is the peer's error.
        """
        error = self.assertRaises(RemoteProtocolError, decode, bytes(size))
        told = "no content" if decode is decodeUnknownType else f"{size} bytes"
        self.assertIn(told, str(error))

    def test_longer(self) -> None:
        """
        Nothing after the content that the specification knows is looked at.
        """
        rest = b"\xff" * 30
        self.assertEqual(decodeBeginRequest(b"\0\1\1" + bytes(5) + rest), (1, True))
        self.assertEqual(decodeEndRequest(b"\0\0\0\7\3" + bytes(3) + rest), (7, 3))
        for content in (b"\x63", b"\x63" + rest):
            self.assertEqual(decodeUnknownType(content), 0x63)

    @table({f"{flags:08b}": (flags,) for flags in (0, 1, 2, 0x80, 0xFE, 0xFF)})
    def test_flags(self, flags: int) -> None:
        """
        Of BEGIN_REQUEST's flags only KEEP_CONN counts, and reserved bytes are
        not looked at.
        """
        content = bytes([0, 3, flags]) + b"\xee" * 5
        self.assertEqual(decodeBeginRequest(content), (3, flags % 2 == 1))

    @table(
        {
            f"{encode.__name__} {name}": (encode, arguments, options)
            for encode, name, arguments, options in [
                (encodeBeginRequest, "role", (1, 65536), {"keepConnection": True}),
                (encodeBeginRequest, "role -1", (1, -1), {"keepConnection": True}),
                (encodeBeginRequest, "id", (65536, 1), {"keepConnection": True}),
                (encodeEndRequest, "appStatus", (1, 1 << 32), {}),
                (encodeEndRequest, "appStatus -1", (1, -1), {}),
                (encodeEndRequest, "protocolStatus", (1, 0, 256), {}),
                (encodeEndRequest, "id", (65536,), {}),
                (encodeUnknownType, "type", (256,), {}),
                (encodeUnknownType, "type -1", (-1,), {}),
            ]
        }
    )
    def test_outOfRange(
        self,
        encode: Callable[..., bytes],
        arguments: tuple[int, ...],
        options: dict[str, bool],
    ) -> None:
        """
        A number that does not fit its field is the caller's error, which names
        it.
        """
        error = self.assertRaises(LocalProtocolError, encode, *arguments, **options)
        self.assertIn(str(max(arguments, key=abs)), str(error))

    @moderately
    @given(st.integers(1, 65535), st.integers(0, 65535), st.booleans())
    def test_beginRequest(self, requestId: int, role: int, keep: bool) -> None:
        """
        What was written as BEGIN_REQUEST is read again.
        """
        data = encodeBeginRequest(requestId, role, keepConnection=keep)
        ((type_, foundId, content),) = wire.records(data)
        self.assertEqual((type_, foundId, len(content)), (1, requestId, 8))
        self.assertEqual(decodeBeginRequest(content), (role, keep))

    @moderately
    @given(st.integers(1, 65535), st.integers(0, 2**32 - 1), st.integers(0, 255))
    def test_endRequest(
        self, requestId: int, appStatus: int, protocolStatus: int
    ) -> None:
        """
        What was written as END_REQUEST is read again.
        """
        data = encodeEndRequest(requestId, appStatus, protocolStatus)
        ((type_, foundId, content),) = wire.records(data)
        self.assertEqual((type_, foundId, len(content)), (3, requestId, 8))
        self.assertEqual(decodeEndRequest(content), (appStatus, protocolStatus))

    def test_unknownType(self) -> None:
        """
        UNKNOWN_TYPE is a management record of 8 bytes.
        """
        for type_ in range(256):
            expected = [(11, 0, bytes([type_]) + bytes(7))]
            self.assertEqual(wire.records(encodeUnknownType(type_)), expected)
