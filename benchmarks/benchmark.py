# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Compares servers under the same load: C{docs/performance.rst} tells how, and
what the figures mean.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import report
from load import Failed, Meter, compiled
from machine import LOAD_CPU
from report import Result, Table
from rows import Contestant, Row, allRows
from servers import KINDS, Server, Unavailable, behindNginx, running

_MEBI = 1 << 20

#: A folder in memory, so that no disk is measured.
_MEMORY = "/dev/shm"

#: What C{--quick} does.
_QUICK = {
    "rows": "spin,download,curve-pipeline",
    "only": "us;web;1;2",
    "rounds": 1,
    "seconds": 0.2,
    "warmup": 0.05,
    "bulk": 8,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare servers under load.")
    add = parser.add_argument
    add("--rows", help="which rows, separated by commas (default: all)")
    add("--only", help="which contestants, separated by semicolons (default: all)")
    add("--rounds", type=int, default=7, help="undisturbed rounds (default: 7)")
    add("--seconds", type=float, default=1.0, help="of a round (default: 1)")
    add("--warmup", type=float, default=0.3, help="seconds before it (default: 0.3)")
    add("--bulk", type=int, default=256, help="MiB of a large body (default: 256)")
    add("--quick", action="store_true", help="only see whether it works")
    add("--also", action="append", default=[], metavar="NAME=CHECKOUT")
    add("--json", type=Path, metavar="FILE", help="write all numbers")
    add("--rst", type=Path, metavar="FILE", help="write tables for the documentation")
    add("--urgent", action="store_true", help="go before other programs (root only)")
    add("--list", action="store_true", help="tell the rows and contestants")
    return parser


@dataclass
class Entry:
    """
    A contestant at work.
    """

    contestant: Contestant
    server: Server
    result: Result

    def round(self, meter: Meter) -> None:
        """
        Measure one round, unless something went wrong before.
        """
        if self.result.skipped is None:
            try:
                load = self.contestant.load
                self.result.samples.append(meter.measure(self.server, load))
            except Unavailable as error:
                self.result.skipped = str(error)
            except Failed as error:
                self.result.skipped = f"failed: {error}"
                self.result.samples.clear()


class Bench:
    """
    Where servers and loads come together.
    """

    def __init__(self, meter: Meter, folder: Path, rounds: int) -> None:
        """
        @param folder: For the servers' files.
        @param rounds: How many undisturbed ones are wanted.
        """
        self._meter = meter
        self._folder = folder
        self._rounds = rounds
        self._count = 0

    def table(self, row: Row) -> Table:
        """
        Measure a row.
        """
        table = Table(row)
        with ExitStack() as stack:
            servers: dict[object, Server] = {}
            entries = []
            for contestant in row.contestants:
                name = contestant.name
                result = Result(report.title(contestant.kind, name))
                table.results[name] = result
                try:
                    server = self._server(contestant, servers, stack)
                except (Unavailable, Failed) as error:
                    failed = "failed: " if isinstance(error, Failed) else ""
                    result.skipped = f"{failed}{error}"
                else:
                    entries.append(Entry(contestant, server, result))
            self._play(entries)
            for entry in entries:
                if entry.result.samples:
                    entry.result.growth = entry.server.growth()
        return table

    def _server(
        self,
        contestant: Contestant,
        servers: dict[object, Server],
        stack: ExitStack,
    ) -> Server:
        """
        Start the server of a contestant, unless it runs, and see that it
        answers.
        """
        key = (
            contestant.kind,
            contestant.transport,
            contestant.nginx,
            contestant.checkout,
        )
        if key not in servers:
            kind = KINDS[contestant.kind]
            how = (self._newFolder(), contestant.transport, contestant.checkout)
            server = stack.enter_context(running(kind, *how))
            if contestant.nginx:
                front = behindNginx(server, self._newFolder())
                server = stack.enter_context(front)
            servers[key] = server.settled()
        self._meter.check(servers[key], contestant.load)
        return servers[key]

    def _newFolder(self) -> Path:
        self._count += 1
        return self._folder / str(self._count)

    def _play(self, entries: list[Entry]) -> None:
        """
        Let all take turns, until each has enough undisturbed rounds, or had
        twice as many chances.
        """
        for _ in range(2 * self._rounds):
            for entry in entries:
                entry.round(self._meter)
            clean = [
                len(entry.result.samples) - entry.result.disturbed
                for entry in entries
                if entry.result.skipped is None
            ]
            if min(clean, default=self._rounds) >= self._rounds:
                return


def _choose(options: argparse.Namespace) -> dict[str, Row]:
    """
    Find the rows that are wanted.

    @raise SystemExit: If there is none of that name.
    """
    rows = allRows(options.bulk * _MEBI)
    names = options.rows.split(",") if options.rows else list(rows)
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise SystemExit(f"no such row: {', '.join(unknown)}; see --list")
    chosen = {name: rows[name] for name in names}
    for each in options.also:
        label, _, checkout = each.partition("=")
        path = Path(checkout).resolve()
        chosen = {name: row.against(label, path) for name, row in chosen.items()}
    if options.only:
        only = options.only.split(";")
        chosen = {name: row.only(only) for name, row in chosen.items()}
    return chosen


def _goFirst() -> None:
    """
    Have this program and all that it starts run before others.
    """
    # The kernel shares CPUs fairly between sessions, whatever their niceness.
    if os.getpid() != os.getpgrp() or os.getsid(0) != os.getpid():
        if os.fork():
            _, status = os.wait()
            os._exit(os.waitstatus_to_exitcode(status) & 255)
        os.setsid()
    os.nice(-15)
    Path("/proc/self/autogroup").write_text("-15")


def main(options: argparse.Namespace) -> int:
    """
    Measure what is wanted, and tell what came of it.

    @return: The exit status: 1 if anything did not work.
    """
    rows = _choose(options)
    if options.list:
        for name, row in rows.items():
            names = "; ".join(each.name for each in row.contestants)
            print(f"{name}: {row.title}\n    {names}")
        return 0
    os.sched_setaffinity(0, {LOAD_CPU})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    memory = os.access(_MEMORY, os.W_OK) and disk_usage(_MEMORY).free > 1 << 30
    tables = {}
    with TemporaryDirectory(prefix="bench-", dir=_MEMORY if memory else None) as name:
        folder = Path(name)
        meter = Meter(compiled(folder), options.seconds, options.warmup)
        bench = Bench(meter, folder, options.rounds)
        for name, row in rows.items():
            tables[name] = bench.table(row)
            print(report.text(tables[name]), flush=True)
    print(report.targetText(tables))
    _write(options, tables)
    results = [result for each in tables.values() for result in each.results.values()]
    return any((result.skipped or "").startswith("failed") for result in results)


def _write(options: argparse.Namespace, tables: report.Tables) -> None:
    """
    Write the files that are wanted.
    """
    words = [word for word in sys.argv[1:] if not word.startswith("--urgent")]
    command = " ".join(["python benchmarks/benchmark.py", *words])
    environment = report.environment(command)
    if options.json:
        report.write(options.json, report.numbers(tables, environment))
    if options.rst:
        options.rst.write_text(report.restructured(tables, environment))


if __name__ == "__main__":
    parser = _parser()
    if parser.parse_args().quick:
        parser.set_defaults(**_QUICK)
    options = parser.parse_args()
    if options.urgent:
        _goFirst()
    try:
        sys.exit(main(options))
    except (Failed, Unavailable) as error:
        sys.exit(f"benchmark.py: {error}")
