# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Drives good, slow, aborted and hostile traffic against a server for minutes or
hours, and compares what it has in hand before and after: see
C{docs/strain.rst}.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from strain import (
    ROOT,
    Answer,
    Failed,
    Strained,
    ask,
    begin,
    connect,
    get,
    record,
    running,
)

_MEBI = 1 << 20

#: By how much the memory may be more in the end: what Python and the system
#: keep for later, without any growth over time.
_MEMORY = 12 * _MEBI

#: How many connections are driven at a time.
_DRIVERS = 8

#: For how long the first traffic goes, which fills caches and starts threads,
#: in seconds.
_WARM_UP = 10.0

#: Within how many seconds after the traffic everything must be as it was.
_SETTLE = 45.0

#: How long a careless web server goes on waiting, in seconds.
_IMPATIENCE = 5.0


# Traffic.  Each function is one web server's connection, and raises Failed if
# it was served badly.


def good(server: Strained, draw: random.Random) -> None:
    """
    A kept connection with some requests.
    """
    pages = {
        "/complaint": b"complaint",
        "/later/5": b"later",
        "/thread/5": b"thread",
        "/download/1000": None,
    }
    with connect(server) as connection:
        answer = Answer(connection)
        for _ in range(draw.randrange(1, 20)):
            page, expected = draw.choice(list(pages.items()))
            connection.sendall(get(page))
            found = answer.whole()
            if expected not in (None, found):
                raise Failed(f"{page} has {found[:100]!r}")


def oneShot(server: Strained, draw: random.Random) -> None:
    """
    A connection for each request.
    """
    for _ in range(5):
        ask(server, "/complaint")


def large(server: Strained, draw: random.Random) -> None:
    """
    Large bodies both ways.
    """
    size = draw.randrange(100_000, 3_000_000)
    if len(ask(server, f"/download/{size}")) != size:
        raise Failed("a download has another size")
    with connect(server) as connection:
        connection.sendall(begin("/upload", keep=False, length=size))
        left = size
        while left:
            part = min(left, draw.randrange(1, 65536))
            connection.sendall(record(5, bytes(part)))
            left -= part
        connection.sendall(record(5))
        if Answer(connection).whole() != b"%d" % size:
            raise Failed("an upload has another size")


def slowReader(server: Strained, draw: random.Random) -> None:
    """
    Reads little by little.
    """
    with connect(server) as connection:
        connection.sendall(get("/download/600000"))
        for piece in Answer(connection).stdout():
            time.sleep(0.01 * bool(piece))


def slowSender(server: Strained, draw: random.Random) -> None:
    """
    Sends byte by byte, with pauses.
    """
    sent = begin("/upload", length=40) + record(5, bytes(40)) + record(5)
    with connect(server) as connection:
        while sent:
            size = draw.randrange(1, 20)
            connection.sendall(sent[:size])
            sent = sent[size:]
            time.sleep(0.002)
        Answer(connection).whole()


def failing(server: Strained, draw: random.Random) -> None:
    """
    Asks for pages that fail.
    """
    with connect(server) as connection, suppress(Failed):
        connection.sendall(get(draw.choice(["/failing/first", "/failing/midway"])))
        Answer(connection).whole()


def aborted(server: Strained, draw: random.Random) -> None:
    """
    Aborts requests, and goes on with the next.
    """
    with connect(server) as connection:
        answer = Answer(connection)
        for _ in range(5):
            sent = draw.choice(
                [
                    get("/later/2000"),
                    get("/thread/50"),
                    begin("/upload", length=5000) + record(5, bytes(10)),
                ]
            )
            connection.sendall(sent + record(2))
            type_, _, content = answer.record()
            if (type_, content[:5]) != (3, b"\0\0\0\1\0"):
                raise Failed(f"an abort was answered with {type_}, {content!r}")
        connection.sendall(get("/complaint"))
        answer.whole()


def gone(server: Strained, draw: random.Random) -> None:
    """
    Goes away without a word.
    """
    sent = draw.choice(
        [
            get("/later/2000"),
            get("/thread/50"),
            get("/endless/5000000"),
            get("/download/5000000"),
            begin("/upload", length=500_000) + record(5, bytes(200_0)) * 60,
        ]
    )
    with connect(server) as connection:
        connection.sendall(sent[: draw.randrange(1, len(sent) + 1)])
        if draw.random() < 0.5:
            connection.settimeout(0.05)
            with suppress(OSError):
                connection.recv(65536)


def nonsense(server: Strained, draw: random.Random) -> None:
    """
    Sends what was found by fuzzing, mutilated.
    """
    sent = draw.choice(_found())[24:] * draw.randrange(1, 4)
    damaged = bytearray(sent)
    for _ in range(draw.choice([0, 1, 1, 5])):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    _rudely(server, bytes(damaged), draw)


def noise(server: Strained, draw: random.Random) -> None:
    """
    Sends anything.
    """
    sent = draw.choice(
        [
            draw.randbytes(draw.randrange(1, 3000)),
            b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
            b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03" + draw.randbytes(200),
            b"\1\4\0\1\xff\xff\xff\0" + draw.randbytes(3000),
            begin("/upload", length=10**9) + record(5, draw.randbytes(60000)),
            record(1, b"\0\1\1\0\0\0\0\0")
            + record(4, b"\xff\xff\xff\xff" * 9)
            + record(4),
        ]
    )
    _rudely(server, sent, draw)


def flood(server: Strained, draw: random.Random) -> None:
    """
    Asks without end and reads nothing, with or without a request in hand.
    """
    first = draw.choice([b"", get("/download/5000000"), get("/later/1000")])
    connection = connect(server)
    connection.settimeout(0.5)
    with connection, suppress(OSError):
        connection.sendall(first + record(9, b"\x0e\0FCGI_MAX_CONNS", 0) * 20000)


def heedless(server: Strained, draw: random.Random) -> None:
    """
    Does not read the response of a producer that does not pause.
    """
    with connect(server) as connection:
        connection.sendall(get("/heedless/30000000"))
        time.sleep(0.5)


_TRAFFIC: dict[Callable[[Strained, random.Random], None], int] = {
    good: 20,
    oneShot: 10,
    large: 4,
    slowReader: 4,
    slowSender: 4,
    failing: 4,
    aborted: 10,
    gone: 20,
    nonsense: 30,
    noise: 10,
    flood: 3,
    heedless: 1,
}


def _found() -> list[bytes]:
    """
    Read the inputs of the fuzzed server.
    """
    if not _CACHE:
        folder = ROOT / "fuzzing" / "corpus" / "server"
        found = [path.read_bytes() for path in sorted(folder.iterdir())]
        _CACHE.extend(each for each in found if len(each) > 24)
    return _CACHE


_CACHE: list[bytes] = []


def _rudely(server: Strained, sent: bytes, draw: random.Random) -> None:
    """
    Send bytes, and wait for a little while for whatever comes.
    """
    connection = connect(server)
    connection.settimeout(draw.choice([0.01, 0.1, _IMPATIENCE]))
    with connection, suppress(OSError):
        connection.sendall(sent)
        if draw.random() < 0.7:
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 18):
            pass


# Measuring


@dataclass(frozen=True)
class Status:
    """
    What the server has in hand.
    """

    descriptors: int
    memory: int
    calls: int
    objects: dict[str, int]

    def excess(self, before: Status) -> list[str]:
        """
        Tell what there is more of than before.
        """
        names = sorted(set(self.objects) | set(before.objects))
        told = [("descriptors", self.descriptors, before.descriptors)]
        told.append(("delayed calls", self.calls, before.calls))
        told += [
            (name, self.objects.get(name, 0), before.objects.get(name, 0))
            for name in names
        ]
        more = [f"{what}: {now}, not {was}" for what, now, was in told if now > was]
        if self.memory > before.memory + _MEMORY:
            more.append(f"memory: {self.memory / _MEBI:.1f} MiB")
        return more

    @property
    def cells(self) -> dict[str, str]:
        """
        What is printed.
        """
        return {
            "open descriptors": str(self.descriptors),
            "memory, MiB": f"{self.memory / _MEBI:.1f}",
            "objects of ours": str(sum(self.objects.values())),
            "delayed calls": str(self.calls),
        }


def status(server: Strained) -> Status:
    """
    Ask what there is.
    """
    return Status(**json.loads(ask(server, "/status")))


class Soak:
    """
    Drivers, each with its own connections.

    @ivar done: How often each kind of traffic went.
    @ivar problems: What went wrong.
    """

    def __init__(self, server: Strained, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []
        self._server = server
        self._seed = seed
        self._end = 0.0

    def run(self, seconds: float, told: Callable[[], object]) -> None:
        """
        Drive for so long.

        @param told: Called about once a minute.
        """
        self._end = time.monotonic() + seconds
        drivers = [
            threading.Thread(target=self._drive, args=(f"{self._seed} {number}",))
            for number in range(_DRIVERS)
        ]
        for driver in drivers:
            driver.start()
        self._seed += 1
        while (left := self._end - time.monotonic()) > 0:
            time.sleep(min(60.0, left))
            told()
        for driver in drivers:
            driver.join()

    def _drive(self, seed: str) -> None:
        draw = random.Random(seed)
        kinds, weights = list(_TRAFFIC), list(_TRAFFIC.values())
        while time.monotonic() < self._end and len(self.problems) < 20:
            (kind,) = draw.choices(kinds, weights)
            try:
                kind(self._server, draw)
            except (Failed, OSError) as error:
                self.problems.append(f"{kind.__name__}: {error!r}")
            self.done[kind.__name__] += 1


def _calm(server: Strained) -> Status:
    """
    Wait until nothing changes any more.
    """
    before = status(server)
    for _ in range(round(_SETTLE)):
        time.sleep(1)
        now = status(server)
        if not now.excess(before) and not before.excess(now):
            break
        before = now
    return now


def settled(server: Strained, before: Status) -> Status:
    """
    Wait until all is as it was, for a while.

    @return: What there is then.
    """
    end = time.monotonic() + _SETTLE
    while (found := status(server)).excess(before) and time.monotonic() < end:
        time.sleep(1)
    return found


_TRACEBACK = (" ", "Traceback ", "--- <exception caught here>")


def _strangeLines(server: Strained) -> list[str]:
    """
    Find what the log has that it should not have: failures but those of the
    page that always fails, and control characters.
    """
    found = []
    for line in server.log.split("\n"):
        # The lines of a traceback are indented by a tab, and all of them but its
        # last one by more; old Twisted says in between where it was caught.
        inTraceback, text = line.startswith("\t"), line.removeprefix("\t")
        if not text.isprintable():
            found.append(f"the log has {line[:200]!r}")
        elif inTraceback and not text.startswith(_TRACEBACK):
            if text.strip() and "this page always fails" not in text:
                found.append(text[:300])
    return found


def soak(server: Strained, minutes: float, seed: int) -> tuple[dict[str, Any], int]:
    """
    Soak a server.

    @return: The columns of the table, and how much was wrong.
    """
    drivers = Soak(server, seed)
    drivers.run(min(_WARM_UP, 60 * minutes), lambda: None)
    before = _calm(server)
    began = time.monotonic()

    def tell() -> None:
        now = status(server)
        passed = (time.monotonic() - began) / 60
        cells = ", ".join(f"{value} {name}" for name, value in now.cells.items())
        print(
            f"{passed:6.1f} min: {drivers.done.total()} connections; {cells}",
            flush=True,
        )

    drivers.run(60 * minutes, tell)
    after = settled(server, before)
    wrong = drivers.problems + after.excess(before) + _strangeLines(server)
    print(
        "traffic:", ", ".join(f"{n} {name}" for name, n in drivers.done.most_common())
    )
    for line in wrong[:40]:
        print("WRONG:", line)
    columns = {"before": before.cells, "after": after.cells}
    return {**columns, "connections": drivers.done.total()}, len(wrong)


def _restructured(columns: dict[str, Any], minutes: float) -> str:
    """
    Make a table for the documentation.
    """
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 40 30 30", ""]
    rows = [("", "before", f"after {minutes:g} minutes")]
    rows.append(("connections", "", f"{columns['connections']:,}"))
    for name, value in columns["before"].items():
        rows.append((name, value, columns["after"][name]))
    for cells in rows:
        for number, cell in enumerate(cells):
            lines.append(f"   {' ' if number else '*'} - {cell}".rstrip())
    return "\n".join([*lines, ""])


def main() -> int:
    """
    Soak, and tell.

    @return: The exit status: 1 if anything is not as it was.
    """
    parser = argparse.ArgumentParser(description="Soak a server in mixed traffic.")
    parser.add_argument("--minutes", type=float, default=1.0, help="(default: 1)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rst", type=Path, help="write a table for the documentation")
    options = parser.parse_args()
    print(f"--seed {options.seed}")
    with TemporaryDirectory(prefix="soak-") as folder:
        with running(Path(folder)) as server:
            try:
                columns, wrong = soak(server, options.minutes, options.seed)
            except Failed:
                print(server.log[-3000:])
                raise
    for name, value in columns["before"].items():
        print(f"{name:20} {value:>10} before {columns['after'][name]:>10} after")
    if options.rst:
        options.rst.write_text(_restructured(columns, options.minutes))
    print("nothing is left behind" if not wrong else f"{wrong} things are wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
