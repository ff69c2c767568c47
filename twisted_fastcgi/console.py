# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Where a command reads and writes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO, TextIO

from twisted_fastcgi.listing import WIDTH


@dataclass
class Console:
    """
    Where the command reads and writes.

    @ivar isColoured: Whether to write in colours.
    @ivar width: How many columns a line may have.
    @ivar encoding: How characters are written.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    isColoured: bool = False
    width: int = WIDTH
    encoding: str = "utf-8"

    @classmethod
    def of(cls, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> Console:
        """
        Take the standard streams of a process, unbuffered, as they belong to
        its environment.
        """
        isTerminal = stdout.isatty()
        isPlain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(
            stdin.buffer,
            open(stdout.fileno(), "wb", buffering=0, closefd=False),
            open(stderr.fileno(), "wb", buffering=0, closefd=False),
            isTerminal and not isPlain,
            shutil.get_terminal_size((WIDTH, 25)).columns if isTerminal else WIDTH,
            stdout.encoding,
        )

    def write(self, data: bytes) -> None:
        """
        Write bytes to the standard output.
        """
        _writeAll(self.stdout, data)

    def print(self, *lines: str) -> None:
        """
        Write lines to the standard output.
        """
        text = "".join(f"{line}\n" for line in lines)
        self.write(text.encode(self.encoding, "backslashreplace"))

    def complain(self, data: bytes) -> None:
        """
        Write bytes to the standard error.
        """
        _writeAll(self.stderr, data)

    def say(self, line: str) -> None:
        """
        Write a line to the standard error.
        """
        self.complain(f"{line}\n".encode(self.encoding, "backslashreplace"))


def _writeAll(stream: BinaryIO | RawIOBase, data: bytes) -> None:
    """
    Write bytes to a stream that may not take them all at once.
    """
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]
