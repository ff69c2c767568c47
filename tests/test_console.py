# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.console}.
"""

from __future__ import annotations

import os
import pty
from io import BytesIO, RawIOBase, TextIOWrapper
from typing import TextIO

from tests.tables import TableTestCase, table
from twisted_fastcgi.console import Console
from twisted_fastcgi.listing import WIDTH


class Slow(RawIOBase):
    """
    Takes three bytes at a time.
    """

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: object) -> int:
        """
        Take some bytes.
        """
        some = bytes(data)[:3]  # type: ignore[call-overload]
        self.taken += some
        return len(some)


class ConsoleTests(TableTestCase):
    """
    Where a command reads and writes.
    """

    def opened(self, descriptor: int) -> TextIO:
        """
        Open a text stream.
        """
        stream = os.fdopen(descriptor, "w", encoding="ascii")
        self.addCleanup(stream.close)
        return stream

    def console(self, *, isTerminal: bool = True) -> tuple[Console, int]:
        """
        Make a console on a terminal, or a pipe.

        @return: The console and where its output can be read.
        """
        reading, writing = pty.openpty() if isTerminal else os.pipe()
        self.addCleanup(os.close, reading)
        stdin = TextIOWrapper(BytesIO(b"input"))
        self.addCleanup(stdin.close)
        output = self.opened(writing)
        console = Console.of(stdin, output, output)
        return console, reading

    def environment(self, **changes: str | None) -> None:
        """
        Change the environment for this test.
        """
        for name, value in changes.items():
            before = os.environ.get(name)
            restored = os.environ.pop if before is None else os.environ.__setitem__
            arguments = (name, None) if before is None else (name, before)
            self.addCleanup(restored, *arguments)  # type: ignore[arg-type]
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    @table(
        {
            "plain": (True, {}, True),
            "no terminal": (False, {}, False),
            "no colour": (True, {"NO_COLOR": "1"}, False),
            "empty no colour": (True, {"NO_COLOR": ""}, True),
            "dumb": (True, {"TERM": "dumb"}, False),
        }
    )
    def test_colour(
        self, isTerminal: bool, changes: dict[str, str], isColoured: bool
    ) -> None:
        """
        There are colours on a terminal that knows any, if they are not
        declined.
        """
        self.environment(**{"NO_COLOR": None, "TERM": "xterm", **changes})
        console, _ = self.console(isTerminal=isTerminal)
        self.assertIs(console.isColoured, isColoured)

    def test_width(self) -> None:
        """
        A terminal has its width; everything else has a fixed one.
        """
        self.environment(COLUMNS="77")
        self.assertEqual(self.console()[0].width, 77)
        self.assertEqual(self.console(isTerminal=False)[0].width, WIDTH)

    def test_streams(self) -> None:
        """
        Bytes go in and out as they are, at once; characters that the terminal
        does not know with backslashes.
        """
        console, reading = self.console(isTerminal=False)
        self.assertEqual(console.stdin.read(), b"input")
        console.write(b"\xff")
        self.assertEqual(os.read(reading, 100), b"\xff")
        console.complain(b"\xfe")
        self.assertEqual(os.read(reading, 100), b"\xfe")
        console.print("a\u00e9", "b")
        self.assertEqual(os.read(reading, 100), b"a\\xe9\nb\n")
        console.say("c\u00e9")
        self.assertEqual(os.read(reading, 100), b"c\\xe9\n")

    def test_slow(self) -> None:
        """
        All is written, even to what takes a little at a time.
        """
        slow = Slow()
        Console(BytesIO(), slow, BytesIO()).write(b"0123456789")  # type: ignore[arg-type]
        self.assertEqual(slow.taken, b"0123456789")
