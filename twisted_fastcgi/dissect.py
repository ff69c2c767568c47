# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Bytes to what they say: captured FastCGI traffic for the eyes of a person.

The L{connection machines<twisted_fastcgi.connection>} end a connection at the
first byte that must not be.  A L{Dissector} never does: it tells what is wrong
and where, and reads on at the next place that looks like a record.  It takes
either direction, captures that were cut off, and captures of several
connections one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.explain import (
    DIRECTIONS,
    MANAGEMENT,
    Explainer,
    Item,
    Ledger,
    Record,
    Stray,
)
from twisted_fastcgi.records import (
    HEADER_LENGTH,
    NULL_REQUEST_ID,
    VERSION,
    RecordType,
    decodeHeader,
)

#: How many bytes that are no records are kept before they are handed out.
STRAY_LENGTH = 65536

#: A whole BEGIN_REQUEST as web servers write it: the one record with enough
#: fixed bytes to be found in the middle of anything.
_isBeginRequest = re.compile(
    rb"\x01\x01(?!\0\0)..\0\x08.\0\0[\x01-\x03][\0\x01]\0{5}", re.DOTALL
)
_BEGIN_REQUEST_LENGTH = 16

_CUT_OFF = "the header of a record, cut off"

#: What the first bytes of other protocols look like.
_OTHERS = (
    (re.compile(rb"(HTTP/1|[A-Z]{3,7} [/*h])"), "this looks like HTTP"),
    (re.compile(rb"\x16\x03"), "this looks like TLS"),
    (re.compile(rb"[0-9]{1,5}:CON"), "this looks like SCGI"),
    (re.compile(rb"\0{8}"), "only zeros"),
)

_FIXED_LENGTHS: Mapping[int, int] = {
    RecordType.BEGIN_REQUEST: 8,
    RecordType.ABORT_REQUEST: 0,
    RecordType.END_REQUEST: 8,
    RecordType.UNKNOWN_TYPE: 8,
}


def dissect(pieces: Iterable[bytes]) -> Iterator[Item]:
    """
    Tell what stands in a capture.

    @param pieces: The capture, cut in any way.
    @return: What stands there, in its order.
    """
    dissector = Dissector()
    for piece in pieces:
        yield from dissector.feed(piece)
    yield from dissector.finish()


class Dissector:
    """
    Reads one direction of a connection, or any other capture.

    It is fed with bytes in any cuts and gives what stands there, the same for
    any cuts.
    """

    def __init__(self, ledger: Ledger | None = None, *, isLive: bool = False) -> None:
        """
        @param ledger: What is known about the connection.
        @param isLive: Whether this is a connection, of which each record is
            wanted as soon as it is there.  A file may be several captures one
            after another, so that it takes a look at what follows a record.
        """
        self._explainer = Explainer(Ledger() if ledger is None else ledger)
        self._isLive = isLive
        self._unread = bytearray()
        self._offset = 0
        # Whether another capture starts here.
        self._isRestart = False
        # Whether it is not known where the next record starts, and how many of
        # the unread bytes are known to be none.
        self._isLost = False
        self._searched = 0

    def feed(self, data: bytes) -> list[Item]:
        """
        Take bytes.

        @param data: Any number of them.
        @return: What has become whole by them.
        """
        self._unread += data
        return list(iter(lambda: self._next(False), None))

    def finish(self) -> list[Item]:
        """
        Take the end of the capture.

        @return: What had been left open.
        """
        return list(iter(lambda: self._next(True), None))

    def _next(self, isEnd: bool) -> Item | None:
        """
        Read the next thing.

        @param isEnd: Whether there is nothing to wait for.
        @return: L{None} if there is nothing whole.
        """
        if self._isLost:
            return self._search(isEnd)
        if len(self._unread) < HEADER_LENGTH:
            return self._nextShort() if isEnd and self._unread else None
        header = bytes(self._unread[:HEADER_LENGTH])
        try:
            record = Record(self._offset, b"", *decodeHeader(header))
        except RemoteProtocolError as error:
            return self._astray(header, str(error))
        size = HEADER_LENGTH + record.contentLength + record.paddingLength
        needed = size if self._isLive else size + _BEGIN_REQUEST_LENGTH - 1
        if len(self._unread) < needed and not isEnd:
            return None
        return self._read(record, size)

    def _read(self, record: Record, size: int) -> Item:
        """
        Read a record, or as much of it as there is.

        @param size: How long it is with its header and padding.
        """
        there = min(size, len(self._unread))
        following = bytes(self._unread[size : size + HEADER_LENGTH])
        isDoubtful = there < size or (following and not _isHeader(following))
        if isDoubtful and not self._isLive:
            other = _isBeginRequest.search(self._unread, 1)
            if other is not None and other.start() < there:
                there = other.start()
        taken = self._take(there)
        if there < HEADER_LENGTH:
            return Stray(record.offset, taken, notes=[_CUT_OFF])
        record.content = taken[HEADER_LENGTH:][: record.contentLength]
        record.isRestart, self._isRestart = self._isRestart, there < size
        record.missing = size - there
        return self._explainer.explain(record)

    def _take(self, size: int) -> bytes:
        """
        Use up some of the unread bytes.
        """
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        self._offset += size
        return taken

    def _nextShort(self) -> Item:
        """
        Read an unfinished header.
        """
        stray = Stray(self._offset, self._take(len(self._unread)))
        if stray.content[0] == VERSION:
            stray.notes.append(_CUT_OFF)
        else:
            stray.errors.append(f"{stray.content!r} is not FastCGI")
        return stray

    def _astray(self, header: bytes, reason: str) -> Item:
        """
        Tell that there is no record where one should be.
        """
        self._isLost = True
        self._searched = 1
        guesses = [guess for pattern, guess in _OTHERS if pattern.match(header)]
        return Stray(self._offset, b"", errors=["; ".join([reason, *guesses])])

    def _search(self, isEnd: bool) -> Item | None:
        """
        Look for the next place where a record starts.

        @return: The bytes up to there, L{None} if there are none or more bytes
            are needed to tell.
        """
        isFound: bool | None = False
        while not isFound:
            found = self._unread.find(b"\x01", self._searched)
            self._searched = len(self._unread) if found < 0 else found
            if self._searched > STRAY_LENGTH:
                self._searched -= STRAY_LENGTH
                return Stray(self._offset, self._take(STRAY_LENGTH))
            isFound = self._looksLikeRecord(self._searched, isEnd)
            if isFound is None:
                return None
            if self._searched == len(self._unread):
                break
            self._searched += not isFound
        self._isLost = not isFound
        return Stray(self._offset, self._take(self._searched)) if self._unread else None

    def _looksLikeRecord(self, start: int, isEnd: bool) -> bool | None:
        """
        Say whether a record starts here: one that is followed by another, or
        ends with the capture, or can't be anything else.

        @return: L{None} if more bytes are needed to tell.
        """
        left = len(self._unread) - start
        undecided = False if isEnd else None
        if left < HEADER_LENGTH:
            return undecided
        header = bytes(self._unread[start : start + HEADER_LENGTH])
        if not _isHeader(header):
            return False
        if header[1] == RecordType.BEGIN_REQUEST and left >= _BEGIN_REQUEST_LENGTH:
            return bool(_isBeginRequest.match(self._unread, start))
        _, _, contentLength, paddingLength = decodeHeader(header)
        size = HEADER_LENGTH + contentLength + paddingLength
        if left < size + HEADER_LENGTH:
            return left == size if isEnd else None
        following = start + size
        return _isHeader(bytes(self._unread[following : following + HEADER_LENGTH]))


def _isHeader(header: bytes) -> bool:
    """
    Say whether 8 bytes are what web servers and applications send as a header,
    which is less than they may send.
    """
    if len(header) < HEADER_LENGTH or header[0] != VERSION or header[7]:
        return False
    if header[1] not in DIRECTIONS:
        return False
    type_, requestId, contentLength, _ = decodeHeader(header)
    isManagement = requestId == NULL_REQUEST_ID
    if isManagement != (type_ in MANAGEMENT):
        return False
    return contentLength == _FIXED_LENGTHS.get(type_, contentLength)
