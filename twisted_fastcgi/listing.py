# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What a capture holds, written down: lines for a terminal, or JSON.

Nothing that a peer sent reaches the terminal as it is: what can't be shown is
written with backslashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from twisted_fastcgi.explain import Direction, Item, Record, shown
from twisted_fastcgi.records import RecordType

#: How many columns there are where nobody says.
WIDTH = 100

#: How many lines of a stream are shown, unless all are wanted.
LINES = 8

#: What stands above the columns.
HEADING = (
    " offset   record             id bytes+pad   > to the application, "
    "< to the web server"
)

#: What the values that an application tells of itself mean (section 4.1).
VALUES = {
    b"FCGI_MAX_CONNS": "connections at a time",
    b"FCGI_MAX_REQS": "requests at a time",
    b"FCGI_MPXS_CONNS": "requests at a time on one connection: 0 one, 1 several",
}

_LONGEST_NAME = 32
_HEX_COLUMNS = 16
_INDENT = " " * 10
_COLUMN = 42

_ARROWS = {
    Direction.TO_APPLICATION: ">",
    Direction.TO_WEB_SERVER: "<",
    Direction.UNKNOWN: "?",
}

_COLOURS: dict[object, str] = {
    Direction.TO_APPLICATION: "1;36",
    Direction.TO_WEB_SERVER: "1;32",
    Direction.UNKNOWN: "1",
    "dim": "2",
    "name": "34",
    "error": "1;31",
    "note": "33",
}


def hexLines(data: bytes) -> Iterator[str]:
    """
    Write bytes as numbers.

    @param data: Any bytes.
    @return: Lines of 16 bytes, with the letters among them at the end.
    """
    for start in range(0, len(data), _HEX_COLUMNS):
        row = data[start : start + _HEX_COLUMNS]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:5x}  {row.hex(' '):{_HEX_COLUMNS * 3}} {letters}"


def textLines(data: bytes) -> list[str] | None:
    """
    Write text.

    @param data: Any bytes.
    @return: The lines of the text, or L{None} if it is none.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    isText = all(line.replace("\t", "").isprintable() for line in lines)
    return [line.expandtabs() for line in lines] if isText else None


@dataclass
class Listing:
    """
    Writes down the items of one capture, or of one connection.

    @ivar width: How many columns there are.
    @ivar isColoured: Whether the terminal knows colours.
    @ivar isFull: Whether long values and streams are written as a whole.
    @ivar _left: How many lines of each stream may still be shown.
    """

    width: int = WIDTH
    isColoured: bool = False
    isFull: bool = False
    _left: dict[tuple[int, int], int] = field(default_factory=dict)

    def lines(self, item: Item) -> Iterator[str]:
        """
        Write down an item.

        @param item: The next one of the capture.
        @return: Lines without their ends.
        """
        if isinstance(item, Record):
            yield from self._head(item)
        elif item.content:
            yield self._paint(f"{item.offset:7} ! {len(item.content)} bytes", "error")
        for error in item.errors:
            yield from self._remark(item, f"WRONG: {error}", "error")
        for note in item.notes:
            yield from self._remark(item, f"note: {note}", "note")
        if isinstance(item, Record):
            yield from self._body(item)
        elif item.content:
            yield from self._data(item.content, LINES)

    def _paint(self, text: str, colour: object) -> str:
        """
        Colour a text.
        """
        return f"\33[{_COLOURS[colour]}m{text}\33[m" if self.isColoured else text

    def _remark(self, item: Item, text: str, colour: str) -> Iterator[str]:
        """
        Write down a remark, at the place that it is about.
        """
        isOnItsOwn = not isinstance(item, Record) and not item.content
        start = f"{item.offset:7} ! " if isOnItsOwn else _INDENT
        for line in wrap(text, self.width - len(_INDENT)):
            yield self._paint(start + line, colour)
            start = _INDENT

    def _head(self, record: Record) -> Iterator[str]:
        """
        Write down what the header of a record says, and what that means.
        """
        padding = f"+{record.paddingLength}" if record.paddingLength else ""
        direction = record.direction
        start = (
            f"{record.offset:7} {_ARROWS[direction]} "
            f"{self._paint(f'{record.name:<17}', direction)} {record.requestId:3} "
            f"{record.contentLength:5}{padding:<4} "
        )
        for line in wrap(record.meaning, max(self.width - _COLUMN, 20)):
            yield start + line
            start = " " * _COLUMN

    def _body(self, record: Record) -> Iterator[str]:
        """
        Write down what a record carries.
        """
        stream = (record.requestId, record.type)
        if not record.content:
            self._left.pop(stream, None)
        elif record.pairs is not None:
            if record.type != RecordType.GET_VALUES:
                yield from self._table(record.pairs)
        elif not record.facts:
            left = self._left.get(stream, LINES)
            lines = list(self._data(record.content, left))
            self._left[stream] = left - len(lines)
            yield from lines

    def _table(self, pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
        """
        Write down name-value pairs.
        """
        rows = [(shown(name), name, value) for name, value in pairs]
        column = max((len(row[0]) for row in rows), default=0)
        column = min(column, _LONGEST_NAME)
        width = max(self.width - len(_INDENT) - column - 2, 20)
        for text, name, value in rows:
            start = _INDENT + self._paint(f"{text:<{column}}", "name") + "  "
            for line in self._value(name, value, width - max(len(text) - column, 0)):
                yield start + line
                start = " " * (len(_INDENT) + column + 2)

    def _value(self, name: bytes, value: bytes, width: int) -> Iterator[str]:
        """
        Write down a value, on several lines if all of it is wanted.
        """
        if name in VALUES:
            yield f"{shown(value)}  {self._paint(f'({VALUES[name]})', 'dim')}"
        elif not value:
            yield self._paint("(empty)", "dim")
        elif self.isFull:
            text = shown(value)
            width = max(width, 20)
            yield from (text[at : at + width] for at in range(0, len(text), width))
        else:
            yield _cut(shown(value), width, f"... ({len(value)} bytes)")

    def _data(self, data: bytes, left: int) -> Iterator[str]:
        """
        Write down a piece of a stream.

        @param left: How many lines may be shown.
        """
        lines = textLines(data)
        width = self.width - len(_INDENT) - 2
        if lines is None:
            lines = list(hexLines(data))
        elif self.isFull:
            lines = [part for line in lines for part in _broken(line, width)]
        for line in lines if self.isFull else lines[: max(left, 0)]:
            text = f" {_cut(line, width, '...')}".rstrip()
            yield f"{_INDENT}{self._paint('|', 'dim')}{text}"
        if not self.isFull and 0 < left < len(lines):
            rest = f"... {len(lines) - left} lines more: --full shows them"
            yield _INDENT + self._paint(rest, "dim")


def _broken(line: str, width: int) -> list[str]:
    """
    Break a line that is too long.
    """
    return [line[at : at + width] for at in range(0, len(line) or 1, width)]


def _cut(text: str, width: int, mark: str) -> str:
    """
    Cut off what is too long.
    """
    return text if len(text) <= width else text[: max(width - len(mark), 0)] + mark


def asJSON(item: Item, **more: object) -> str:
    """
    Write down an item for a program.  Bytes that are UTF-8 become a string,
    others an object with their hexadecimal digits as C{hex}.

    @param item: Any item.
    @param more: What else to say, put before the rest.
    @return: A JSON object on one line.
    """
    told: dict[str, Any] = {**more, "offset": item.offset}
    if isinstance(item, Record):
        told |= {
            "direction": item.direction.value,
            "type": item.name,
            "typeNumber": item.type,
            "requestId": item.requestId,
            "contentLength": item.contentLength,
            "paddingLength": item.paddingLength,
            "meaning": item.meaning,
            **item.facts,
        }
        if item.pairs is not None:
            told["pairs"] = [list(map(_asJSON, pair)) for pair in item.pairs]
        elif item.content:
            told["content"] = _asJSON(item.content)
        if item.isRestart:
            told["isRestart"] = True
        if item.missing:
            told["missing"] = item.missing
    else:
        told |= {"type": None, "content": _asJSON(item.content)}
    return json.dumps({**told, "errors": item.errors, "notes": item.notes})


def _asJSON(data: bytes) -> str | dict[str, str]:
    """
    Write bytes for a program.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"hex": data.hex()}
