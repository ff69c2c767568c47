# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What a capture holds, written down: lines for a terminal, or JSON.

Nothing that a peer sent reaches the terminal as it is: what can't be shown is
written with backslashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted_fastcgi.explain import Direction, Item, Record
from twisted_fastcgi.records import RecordType

#: How many columns there are where nobody says.
WIDTH = 100

#: How many lines of a stream are shown, unless all are wanted.
LINES = 8

#: The longest name of a variable that the others are aligned with.
_LONGEST_NAME = 32

_HEX_COLUMNS = 16
_INDENT = " " * 13

_ARROWS = {
    Direction.TO_APPLICATION: ">",
    Direction.TO_WEB_SERVER: "<",
    Direction.UNKNOWN: "?",
}

#: What the limits that an application tells mean (section 4.1).
VALUES = {
    b"FCGI_MAX_CONNS": "connections at a time",
    b"FCGI_MAX_REQS": "requests at a time",
    b"FCGI_MPXS_CONNS": "1: several requests at a time on a connection, 0: one",
}

_COLOURS = {
    "dim": "2",
    "name": "34",
    "error": "1;31",
    "note": "33",
    Direction.TO_APPLICATION: "1;36",
    Direction.TO_WEB_SERVER: "1;32",
    Direction.UNKNOWN: "1",
}

HEADING = "  offset     record              id   bytes+pad"


def shown(data: bytes) -> str:
    """
    Write bytes for the eyes, on one line.

    @param data: Text, most likely.
    @return: The text; whatever is no printable UTF-8 with backslashes.
    """
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass
class Listing:
    """
    Writes down the items of one capture, or of one connection.

    @ivar width: How many columns there are.
    @ivar isColoured: Whether the terminal knows colours.
    @ivar isFull: Whether long values and streams are written as a whole.
    """

    width: int = WIDTH
    isColoured: bool = False
    isFull: bool = False
    _linesLeft: dict[tuple[int, int], int] = field(default_factory=dict)

    def lines(self, item: Item) -> Iterator[str]:
        """
        Write down an item.

        @param item: The next one of the capture.
        @return: Lines without their ends.
        """
        if isinstance(item, Record):
            yield self._headLine(item)
        elif item.content:
            count = len(item.content)
            yield f"{item.offset:8} {self._paint('!', 'error')} {count} bytes left out"
        for error in item.errors:
            yield self._remark(item, f"WRONG: {error}", "error")
        for note in item.notes:
            yield self._remark(item, f"note: {note}", "note")
        if isinstance(item, Record):
            yield from self._body(item)
        else:
            yield from self._data(item.content, LINES)

    def _paint(self, text: str, colour: object) -> str:
        return f"\33[{_COLOURS[colour]}m{text}\33[m" if self.isColoured else text
