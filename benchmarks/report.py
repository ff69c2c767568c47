# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What came of it all: numbers, and tables of them.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from glob import glob
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from load import Sample
from machine import CPUS
from rows import MEMORY_TARGETS, MOST_FOR_TWICE, TARGETS, Row
from servers import KINDS, ROOT

_MEBI = 1 << 20


@dataclass(frozen=True)
class Spread:
    """
    The middle of some figures.
    """

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        """
        Find it.
        """
        values = list(figures)
        if len(values) == 1:
            values *= 2
        q1, _, q3 = quantiles(values, n=4, method="inclusive")
        return cls(median(values), q1, q3)


@dataclass
class Result:
    """
    What came of one contestant.

    @ivar title: What it is.
    @ivar samples: All rounds.
    @ivar growth: How much more memory than before was used at the peak, in
        bytes.
    @ivar skipped: Why there is nothing, if there is nothing.
    """

    title: str
    samples: list[Sample] = field(default_factory=list)
    growth: int = 0
    skipped: str | None = None

    @property
    def counted(self) -> dict[int, Sample]:
        """
        The rounds that count, by their number: those that nobody disturbed, or,
        if these are less than half, the less disturbed half.
        """
        half = (len(self.samples) + 1) // 2
        rounds = dict(enumerate(self.samples))
        good = {n: each for n, each in rounds.items() if not each.disturbed}
        if len(good) < half:
            order = sorted(rounds, key=lambda n: rounds[n].foreign)
            good = {n: rounds[n] for n in sorted(order[:half])}
        return good

    @property
    def disturbed(self) -> int:
        """
        How many rounds somebody disturbed.
        """
        return sum(sample.disturbed for sample in self.samples)

    def spread(self, what: str) -> Spread:
        """
        Find the middle of one figure of the rounds that count.
        """
        return Spread.of(getattr(each, what) for each in self.counted.values())

    def ratio(self, what: str, other: Result) -> Spread:
        """
        Compare one figure with another contestant's, round by round.
        """
        ours, theirs = self.counted, other.counted
        rounds = ours.keys() & theirs.keys()
        if not rounds:
            a, b = self.spread(what), other.spread(what)
            return Spread(*[a.median / b.median] * 3)
        return Spread.of(
            getattr(ours[n], what) / getattr(theirs[n], what) for n in sorted(rounds)
        )


@dataclass
class Table:
    """
    What came of one row.

    @ivar results: By the name of the contestant.
    """

    row: Row
    results: dict[str, Result] = field(default_factory=dict)

    @property
    def base(self) -> Result | None:
        """
        What the others are compared to, if there is anything of it.
        """
        found = self.results.get(self.row.base)
        return None if found is None or not found.samples else found

    def ratio(self, ours: str, theirs: str) -> Spread | None:
        """
        Compare the requests a second of two contestants.
        """
        found = [self.results.get(name) for name in (ours, theirs)]
        a, b = found
        if a is None or b is None or not a.samples or not b.samples:
            return None
        return a.ratio("rate", b)


Tables = Mapping[str, Table]

# Numbers


def numbers(tables: Tables, environment: Mapping[str, Any]) -> dict[str, Any]:
    """
    Make what C{--json} writes.
    """
    rows = {name: _rowNumbers(table) for name, table in tables.items()}
    return {
        "environment": dict(environment),
        "targets": _judged(tables),
        "rows": rows,
    }


def _rowNumbers(table: Table) -> dict[str, Any]:
    return {
        "title": table.row.title,
        "base": table.row.base,
        "contestants": {
            name: _resultNumbers(result, table.base)
            for name, result in table.results.items()
        },
    }


def _resultNumbers(result: Result, base: Result | None) -> dict[str, Any]:
    if not result.samples:
        return {"title": result.title, "skipped": result.skipped}
    figures = ("rate", "cpu", "p50", "p99", "megabytes", "share", "foreign")
    told: dict[str, Any] = {
        "title": result.title,
        "rounds": len(result.samples),
        "counted": len(result.counted),
        "disturbed": result.disturbed,
        "requests": sum(each.requests for each in result.counted.values()),
        "growth": result.growth,
        **{name: asdict(result.spread(name)) for name in figures},
    }
    if base is not None:
        told["ratio"] = asdict(result.ratio("rate", base))
        # The more, the better, as with the rate.
        told["cpu_ratio"] = asdict(base.ratio("cpu", result))
    return told


def _judged(tables: Tables) -> list[dict[str, Any]]:
    """
    Compare what was measured with what is aimed at.
    """
    judged: list[dict[str, Any]] = []
    for target in TARGETS:
        table = tables.get(target.row)
        ratio = table and table.ratio(target.ours, target.theirs)
        if ratio:
            judged.append(
                {
                    **asdict(target),
                    "measured": asdict(ratio),
                    "met": ratio.median >= target.least,
                }
            )
    for limit in MEMORY_TARGETS:
        table = tables.get(limit.row)
        result = table and table.results.get(limit.ours)
        if result and result.samples:
            growth = result.growth / _MEBI
            judged.append(
                {**asdict(limit), "measured": growth, "met": growth <= limit.most}
            )
    return judged + _judgedCurves(tables)


def _judgedCurves(tables: Tables) -> list[dict[str, Any]]:
    """
    Find out how much twice the work costs at the most.
    """
    judged: list[dict[str, Any]] = []
    for name, table in tables.items():
        results = [each for each in table.results.values() if each.samples]
        if name.startswith("curve-") and len(results) > 1:
            steps = [more.ratio("cpu", less) for less, more in pairwise(results)]
            worst = max(steps, key=lambda step: step.median)
            judged.append(
                {
                    "title": f"twice the work: {table.row.what}",
                    "row": name,
                    "twice": MOST_FOR_TWICE,
                    "measured": asdict(worst),
                    "met": worst.median <= MOST_FOR_TWICE,
                }
            )
    return judged


# Tables

_HEADINGS = (
    "server",
    "req/s",
    "quartiles",
    "ratio",
    "quartiles",
    "CPU µs",
    "ratio",
    "p50 µs",
    "p99 µs",
    "MB/s",
    "memory",
    "rounds",
)


def _cells(result: Result, base: Result | None, name: str) -> list[str]:
    """
    Make the cells of a contestant.
    """
    rate, cpu = result.spread("rate"), result.spread("cpu")
    digits = 0 if rate.median >= 100 else 2
    ratio = cpuRatio = between = "-"
    if base is not None:
        compared = result.ratio("rate", base)
        ratio = f"{compared.median:.2f}"
        between = f"{compared.q1:.2f}-{compared.q3:.2f}"
        cpuRatio = f"{base.ratio('cpu', result).median:.2f}"
    megabytes = result.spread("megabytes").median
    dropped = len(result.samples) - len(result.counted)
    unclean = "!" if result.disturbed > dropped else ""
    return [
        name,
        f"{rate.median:.{digits}f}",
        f"{rate.q1:.{digits}f}-{rate.q3:.{digits}f}",
        ratio,
        between,
        f"{cpu.median:.1f}",
        cpuRatio,
        f"{result.spread('p50').median:.0f}",
        f"{result.spread('p99').median:.0f}",
        f"{megabytes:.0f}" if megabytes >= 1 else "-",
        f"+{max(0, result.growth) / _MEBI:.1f} MiB",
        f"{len(result.counted)}/{len(result.samples)}{unclean}",
    ]


def _rowCells(table: Table, *, titles: bool) -> list[list[str]]:
    """
    Make the cells of a row's table.

    @param titles: Whether to call the contestants by what they are.
    """
    return [
        _cells(result, table.base, result.title if titles else name)
        for name, result in table.results.items()
        if result.samples
    ]


def _skipped(table: Table) -> list[str]:
    """
    Tell what is not in a row's table, and why.
    """
    return [
        f"{result.title}: skipped: {result.skipped}"
        for result in table.results.values()
        if result.skipped is not None
    ]


def text(table: Table) -> str:
    """
    Make the table of a row, to be read in a terminal.
    """
    rows = [list(_HEADINGS), *_rowCells(table, titles=False)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [table.row.title]
    for row in rows:
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]
        lines.append("  ".join(cells))
    return "\n".join([*lines, *_skipped(table), ""])


def _judgements(tables: Tables) -> list[list[str]]:
    """
    Make the cells of the table of what was aimed at.
    """
    return [
        [each["title"], *_judgement(each), "yes" if each["met"] else "no"]
        for each in _judged(tables)
    ]


def _judgement(each: Mapping[str, Any]) -> list[str]:
    """
    Make the cells that say what was aimed at, and what was measured.
    """
    measured = each["measured"]
    if "most" in each:
        growth = f"+ {max(0.0, measured):.1f} MiB"
        return [f"+ {each['most']} MiB", f"+ {each['aim']} MiB", growth]
    spread = f"({measured['q1']:.2f}-{measured['q3']:.2f})"
    figure = f"{measured['median']:.2f} {spread}"
    if "twice" in each:
        return [f"at most {each['twice']:.2f} times", "-", f"{figure} times"]
    return [f"{each['least']:.2f}", f"{each['aim']:.2f}", figure]


_TARGET_HEADINGS = ("work", "at least", "aim", "measured (quartiles)", "reached")


def targetText(tables: Tables) -> str:
    """
    Make the table of what was aimed at, to be read in a terminal.
    """
    rows = [list(_TARGET_HEADINGS), *_judgements(tables)]
    if len(rows) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _listTable(title: str, rows: Sequence[Sequence[str]]) -> str:
    """
    Make a table in reStructuredText.
    """
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in rows:
        for index, cell in enumerate(row):
            lines.append(f"   {'*' if not index else ' '} - {_escaped(cell)}".rstrip())
    return "\n".join([*lines, ""])


def _withoutEmpty(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """
    Leave out the columns that say nothing.
    """
    columns = [column for column in zip(*rows, strict=True) if {*column[1:]} != {"-"}]
    return list(zip(*columns, strict=True))


def _escaped(cell: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", cell)


def restructured(tables: Tables, environment: Mapping[str, Any]) -> str:
    """
    Make what C{--rst} writes.
    """
    facts = ", ".join(
        f"{_escaped(name)} {_escaped(str(value))}"
        for name, value in environment.items()
        if name not in ("command", "date")
    )
    parts = [
        ".. Written by benchmarks/benchmark.py --rst.",
        "",
        f"Measured on {environment['date']} by ``{environment['command']}``.",
        "",
        f"{facts}.",
        "",
    ]
    judged = _judgements(tables)
    if judged:
        parts.append(_listTable("Targets", [_TARGET_HEADINGS, *judged]))
    for table in tables.values():
        rows = [list(_HEADINGS), *_rowCells(table, titles=True)]
        if len(rows) > 1:
            parts.append(_listTable(table.row.title, _withoutEmpty(rows)))
        parts += [f"{_escaped(line)}\n" for line in (table.row.note,) if line]
        parts += [f"{_escaped(line.splitlines()[0])}\n" for line in _skipped(table)]
    return "\n".join(parts)


# The machine


def environment(command: str) -> dict[str, Any]:
    """
    Tell what was measured where.

    @param command: How to do it again.
    """
    told: dict[str, Any] = {
        "date": date.today().isoformat(),
        "command": command,
        "Python": platform.python_version(),
        "Linux": platform.release(),
        "CPU": _cpuModel(),
        "CPUs": len(CPUS),
        "twisted_fastcgi": _revision(),
    }
    for name in ("Twisted", "flup6", "fcgiproto", "uvicorn"):
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    programs = {
        "nginx": (["/usr/sbin/nginx", "-v"], r"nginx/([\d.]+)"),
        "wrk": (["wrk", "-v"], r"wrk (\S+)"),
        "Go": (["go", "version"], r"go([\d.]+)"),
        "PHP": ([*sorted(glob("/usr/sbin/php-fpm*"))[-1:], "-v"], r"PHP ([\d.]+)"),
        "gcc": (["gcc", "--version"], r"([\d.]+)\n"),
    }
    for name, (words, pattern) in programs.items():
        found = re.search(pattern, _said(words))
        if found is not None:
            told[name] = found[1]
    return told


def _said(command: list[str]) -> str:
    """
    Run a program, should it be here.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return ""
    return done.stdout + done.stderr


def _cpuModel() -> str:
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _revision() -> str:
    """
    Tell which version of this project is measured.
    """
    revision = _said(["git", "describe", "--always", "--dirty"]).strip()
    return revision if re.fullmatch(r"\S+", revision) else "without git"


def write(path: Path, what: Mapping[str, Any]) -> None:
    """
    Write numbers to a file.
    """
    path.write_text(json.dumps(what, indent=1, ensure_ascii=False) + "\n")


def title(kind: str, name: str) -> str:
    """
    Tell readers what a contestant is.

    @param kind: The name of the kind of server.
    @param name: The contestant's own name, which may say more.
    """
    return KINDS[kind].title + name.removeprefix(kind) if kind in name else name
