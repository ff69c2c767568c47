# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Measures how much memory a server takes while one side is much slower than the
other: see C{docs/strain.rst}.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from machine import memory
from strain import (
    Answer,
    Failed,
    Strained,
    ask,
    begin,
    connect,
    get,
    pairs,
    record,
    running,
)
from strained import DISK, PIECE

_MEBI = 1 << 20

#: By how much the memory may grow at its peak.
_ALLOWED = 16 * _MEBI

#: What a slow reader reads, in bytes a second.
_READ_RATE = 64000

_GET_VALUES = 9

_ASKED = record(
    _GET_VALUES,
    pairs({b"FCGI_MAX_CONNS": b"", b"FCGI_MAX_REQS": b"", b"FCGI_MPXS_CONNS": b""}),
    0,
)


@dataclass(frozen=True)
class Size:
    """
    How hard to press.

    @ivar body: The size of a body in bytes.
    @ivar seconds: For how long a reader is slow.
    @ivar disk: How many bytes a disk takes in a second.
    @ivar questions: How many GET_VALUES.
    """

    body: int
    seconds: float
    disk: int
    questions: int


@dataclass(frozen=True)
class Row:
    """
    What one scenario has shown.

    @ivar growth: By how much the memory grew at its peak, in bytes.
    @ivar problem: What was wrong, if anything.
    """

    title: str
    growth: int
    seconds: float
    outcome: str
    problem: str = ""

    @property
    def failed(self) -> bool:
        """
        Whether the server did not do what it should.
        """
        return bool(self.problem) or self.growth >= _ALLOWED

    @property
    def cells(self) -> tuple[str, ...]:
        """
        The cells of its row.
        """
        growth = f"{self.growth / _MEBI:.1f}"
        return self.title, growth, f"{self.seconds:.0f}", self.problem or self.outcome


_TITLES = ("Scenario", "MiB more", "seconds", "outcome")


# Scenarios


def download(server: Strained, size: Size) -> str:
    """
    Read a large response slowly for a while, and then as fast as it comes, and
    see that it is whole.
    """
    with connect(server) as connection:
        connection.sendall(get(f"/download/{size.body}"))
        answer = Answer(connection)
        stdout = answer.stdout()
        began = time.monotonic()
        kept = next(stdout).partition(b"\r\n\r\n")[2]
        total = 0
        for piece in stdout:
            kept += piece
            while len(kept) >= PIECE:
                _checkPiece(kept[:PIECE], total)
                total += PIECE
                kept = kept[PIECE:]
            passed = time.monotonic() - began
            if passed < size.seconds:
                time.sleep(max(0.0, answer.received / _READ_RATE - passed))
    if total + len(kept) != size.body:
        raise Failed(f"{total + len(kept)} bytes came")
    return "whole"


def _checkPiece(piece: bytes, start: int) -> None:
    """
    See that a piece is the one that belongs there.
    """
    if piece != b"%016d" % (start // PIECE) * (PIECE // 16):
        raise Failed(f"something else is at byte {start}")


def upload(server: Strained, size: Size) -> str:
    """
    Send a large body as fast as it is taken.
    """
    piece = record(5, bytes(65528))
    with connect(server) as connection:
        connection.sendall(begin("/upload", length=size.body))
        left = size.body
        while left:
            part = min(left, 65528)
            connection.sendall(piece if part == 65528 else record(5, bytes(part)))
            left -= part
        connection.sendall(record(5))
        told = Answer(connection).whole()
    if told != b"%d" % size.body:
        raise Failed(f"it tells of {told!r} bytes")
    return "whole"


def questions(server: Strained, size: Size) -> str:
    """
    Ask many questions, and read no answer before all of them are asked, or for
    a while.
    """
    with connect(server) as connection:
        asking = threading.Thread(
            target=connection.sendall, args=(_ASKED * size.questions,), daemon=True
        )
        asking.start()
        asking.join(min(5.0, size.seconds))
        held = asking.is_alive()
        answer = Answer(connection)
        for _ in range(size.questions):
            if answer.record()[0] != _GET_VALUES + 1:
                raise Failed("something else came")
        asking.join()
    return f"{'it stopped reading; ' if held else ''}all answered"


def questionsMeanwhile(server: Strained, size: Size) -> str:
    """
    Ask many questions while a large response is not read either.
    """
    with connect(server) as connection:
        connection.sendall(get(f"/download/{size.body}"))
        try:
            connection.sendall(_ASKED * size.questions)
        except ConnectionError:
            return _cutOff(server, "answers to management records")
    raise Failed("it was not cut off")


def heedless(server: Strained, size: Size) -> str:
    """
    Ask for a response whose producer does not pause, and do not read it.
    """
    with connect(server) as connection:
        connection.sendall(get(f"/heedless/{size.body}"))
        connection.settimeout(20)
        time.sleep(1)
        try:
            while connection.recv(1 << 20):
                pass
        except ConnectionError:
            pass
    return _cutOff(server, "the producer of the response was told to pause")


def _cutOff(server: Strained, why: str) -> str:
    """
    See that the log says why a connection was cut off.
    """
    lines = [line for line in server.log.splitlines() if why in line]
    if len(lines) != 1:
        raise Failed(f"the log has {len(lines)} lines with {why!r}")
    return "cut off, with a line in the log"


def scenarios(size: Size) -> Iterator[tuple[str, Callable[..., str], dict[str, str]]]:
    """
    Tell what is done: the title, the function, and the server's environment.
    """
    body = f"{size.body // _MEBI} MiB"
    pace = f"{_READ_RATE // 1000} kB/s for {size.seconds:g} s"
    disk = f"{size.disk // 1_000_000} MB/s"
    asked = f"{size.questions:,} GET_VALUES"
    yield f"download of {body}, read at {pace}, then at once", download, {}
    yield f"upload of {body} to a disk of {disk}", upload, {DISK: str(size.disk)}
    yield f"{asked}, answers not read", questions, {}
    yield f"{asked} during a download, nothing read", questionsMeanwhile, {}
    yield f"{body} of a producer that does not pause, not read", heedless, {}


def measure(
    title: str, act: Callable[..., str], environment: dict[str, str], size: Size
) -> Row:
    """
    Run a scenario with a server of its own.
    """
    with (
        TemporaryDirectory(prefix="pressure-") as folder,
        running(Path(folder), **environment) as server,
    ):
        for _ in range(20):
            ask(server, "/complaint")
        # From now on the peak is another.
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
        before = memory([server.pid], "VmRSS")
        began = time.monotonic()
        problem = outcome = ""
        try:
            outcome = act(server, size)
        except (Failed, OSError) as error:
            problem = f"FAILED: {error}"
        took = time.monotonic() - began
        growth = memory([server.pid], "VmHWM") - before
        if b"complaint" not in ask(server, "/complaint"):
            problem = "FAILED: it serves no more"
    return Row(title, growth, took, outcome, problem)


def restructured(rows: list[Row]) -> str:
    """
    Make a table for the documentation.
    """
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 50 12 12 26", ""]
    for cells in (_TITLES, *(row.cells for row in rows)):
        lines += [
            f"   {'*' if not i else ' '} - {cell}" for i, cell in enumerate(cells)
        ]
    return "\n".join([*lines, ""])


def main() -> int:
    """
    Measure, and tell.

    @return: The exit status: 1 if anything did not hold.
    """
    parser = argparse.ArgumentParser(description="Press, and measure memory.")
    parser.add_argument("--quick", action="store_true", help="press for seconds only")
    parser.add_argument("--rst", type=Path, help="write a table for the documentation")
    options = parser.parse_args()
    quick = Size(64 * _MEBI, 1, 200_000_000, 10_000)
    size = quick if options.quick else Size(1024 * _MEBI, 60, 32_000_000, 10_000)
    rows = []
    for scenario in scenarios(size):
        rows.append(measure(*scenario, size))
        title, growth, seconds, outcome = rows[-1].cells
        print(f"{title:64} {growth:>6} MiB {seconds:>4} s  {outcome}", flush=True)
    if options.rst:
        options.rst.write_text(restructured(rows))
    failed = [row for row in rows if row.failed]
    print(f"allowed: {_ALLOWED / _MEBI:.0f} MiB; {len(failed)} of {len(rows)} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
