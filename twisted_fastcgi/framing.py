# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Bytes in any cuts to the content of records (FastCGI 1.0, section 3.3).

A record is judged by the 8 bytes of its header, before its content arrives.
Content that is passed on as it comes, or left out, is never kept, so what is
kept of an unfinished record is a few bytes of its header, or the content of
one that only makes sense as a whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.records import HEADER_LENGTH, VERSION, decodeHeader

Event = TypeVar("Event")


class RecordReader(ABC, Generic[Event]):
    """
    One side's reader of records: fed with bytes, pulled for events.

    A subclass says in C{_startRecord} what is to become of each record.  To
    pause, do not pull.

    @ivar _data: Bytes that were received.
    @ivar _offset: How many of them are used up.
    @ivar _contentLeft: How many bytes of content of the current record are
        still wanted.
    @ivar _skipLeft: How many bytes after those are of no interest: unwanted
        content, and padding.
    @ivar _take: What to do with a piece of content of the current record.
    @ivar _joined: The type and request id of records whose content is joined.
    @ivar _collected: Content so far of a record that is wanted as a whole.
    @ivar _error: What ended the connection, once something has.
    """

    _data = b""
    _offset = 0
    _contentLeft = 0
    _skipLeft = 0
    _take: Callable[[bytes], Event | None]
    _joined: tuple[int, int] | None = None
    _error: RemoteProtocolError | None = None

    def __init__(self) -> None:
        self._collected = bytearray()

    def receiveData(self, data: bytes) -> None:
        """
        Take bytes from the peer.  Nothing happens to them until L{nextEvent};
        once that has raised an error, they are dropped.

        @param data: Any number of bytes.
        """
        if self._error is not None:
            return
        if self._offset < len(self._data):
            data = self._data[self._offset :] + data
        self._data = data
        self._offset = 0

    def nextEvent(self) -> Event | None:
        """
        Give the next event.

        @return: The event, or L{None} if more bytes are needed for one.
        @raise RemoteProtocolError: If the peer broke the protocol so that
            nothing more can be read; from then on, every time.
        """
        if self._error is not None:
            raise self._error
        event: Event | None = None
        try:
            while event is None:
                if self._contentLeft:
                    if self._offset == len(self._data):
                        return None
                    event = self._take(self._readContent())
                elif self._skipLeft:
                    if not self._skip():
                        return None
                elif len(self._data) - self._offset < HEADER_LENGTH:
                    return None
                else:
                    event = self._readHeader()
        except RemoteProtocolError as error:
            # One without a traceback, which would keep all that it went through.
            self._error = type(error)(*error.args, kind=error.kind)
            self._data = b""
            self._offset = self._contentLeft = self._skipLeft = 0
            raise
        return event

    @property
    def betweenRecords(self) -> bool:
        """
        Whether everything that was received is used up, to the end of a record.
        """
        return (
            self._offset == len(self._data)
            and not self._contentLeft
            and not self._skipLeft
            and self._error is None
        )

    @property
    def withinRecord(self) -> bool:
        """
        Whether the rest of a record is awaited that is not to be left out.
        """
        unread = self._offset < len(self._data) and not self._skipLeft
        return bool(self._contentLeft) or unread

    def _readHeader(self) -> Event | None:
        """
        Use up the header of a record.
        """
        self._joined = None
        header = decodeHeader(self._data, self._offset)
        type_, requestId, self._contentLeft, self._skipLeft = header
        self._offset += HEADER_LENGTH
        return self._startRecord(type_, requestId, self._contentLeft)

    def _readContent(self) -> bytes:
        """
        Use up what has been received of the current record's content.
        """
        start = self._offset
        end = start + self._contentLeft
        if self._joined is not None and len(self._data) > end:
            return self._readJoined()
        content = self._data[start:end]
        size = len(content)
        self._offset = start + size
        self._contentLeft -= size
        return content

    def _readJoined(self) -> bytes:
        """
        Use up what has been received of the current record's content, and of
        the next ones' of the same type and id.
        """
        view = memoryview(self._data)
        pieces = []
        while True:
            start = self._offset
            piece = view[start : start + self._contentLeft]
            pieces.append(piece)
            self._offset = start + len(piece)
            self._contentLeft -= len(piece)
            if self._contentLeft or not self._goOn(len(view)):
                return b"".join(pieces)

    def _goOn(self, end: int) -> bool:
        """
        Use up the header of the next record, if it has content of the same
        type and id, and some of that has been received.

        @param end: How many bytes were received.
        @return: Whether it has.
        """
        start = self._offset + self._skipLeft
        if start + HEADER_LENGTH >= end or self._data[start] != VERSION:
            return False
        type_, requestId, size, padding = decodeHeader(self._data, start)
        if not size or (type_, requestId) != self._joined:
            return False
        self._offset = start + HEADER_LENGTH
        self._contentLeft, self._skipLeft = size, padding
        return True

    def _skip(self) -> bool:
        """
        Use up what has been received of what is of no interest.

        @return: Whether that was all of it.
        """
        size = min(self._skipLeft, len(self._data) - self._offset)
        self._offset += size
        self._skipLeft -= size
        return not self._skipLeft

    @abstractmethod
    def _startRecord(
        self, type_: int, requestId: int, contentLength: int
    ) -> Event | None:
        """
        Decide what becomes of a record: call one of C{_pass}, C{_collect} and
        C{_ignore}.

        @param type_: The record's type.
        @param requestId: Its request id.
        @param contentLength: The size of its content, in bytes.
        @return: An event, if the header alone makes one.
        @raise RemoteProtocolError: If the record must not be.
        """

    def _pass(self, take: Callable[[bytes], Event | None]) -> None:
        """
        Let C{take} have the current record's content, piece by piece.

        @param take: Called with each piece; may return an event.
        """
        self._take = take

    def _passJoined(
        self, take: Callable[[bytes], Event | None], type_: int, requestId: int
    ) -> None:
        """
        Let C{take} have the current record's content in pieces that are as
        large as can be: if the next records are of the same type and id, theirs
        is joined to it, as far as it has been received.  To join them takes
        half of the time in which each could be handed on by itself.

        @param take: Called with each piece; may return an event.
        @param type_: The type of the record.
        @param requestId: Its request id.
        """
        self._take = take
        self._joined = type_, requestId

    def _ignore(self) -> None:
        """
        Leave out the current record.
        """
        self._skipLeft += self._contentLeft
        self._contentLeft = 0

    def _collect(
        self, size: int, done: Callable[[bytes], Event | None]
    ) -> Event | None:
        """
        Let C{done} have the first bytes of the current record's content, all
        at once; what follows them is left out.

        @param size: How many bytes are wanted, at most the content's length.
        @param done: Called with them; may return an event.
        @return: The event, if there is nothing to wait for.
        """
        self._skipLeft += self._contentLeft - size
        self._contentLeft = size
        if len(self._data) - self._offset >= size:
            return done(self._readContent())
        self._collected.clear()

        def take(piece: bytes) -> Event | None:
            self._collected += piece
            return None if self._contentLeft else done(bytes(self._collected))

        self._take = take
        return None
