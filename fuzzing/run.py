# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Fuzzes targets for a time, and tells what came of it: see C{docs/fuzzing.rst}.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

#: What there is to fuzz, and its part of the time.
TARGETS = {"records": 1, "pairs": 1, "application": 4, "webserver": 2, "server": 8}

#: The committed inputs.
CORPUS = HERE / "corpus"

#: Where inputs and findings go that the runs make.
BUILD = ROOT / "build" / "fuzzing"

#: How the names begin of inputs that once found something: these stay.
_FOUND = "found-"

#: Longer inputs find nothing that shorter ones do not.
_LONGEST = 2048

#: How much memory a run may take, in MiB.
_MEMORY = 1024

#: Seconds that one input may take.
_PATIENCE = 60

#: After so many findings a target has had enough.
_ENOUGH = 5

_LINE = re.compile(
    r"#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+).*exec/s: (\d+) rss: (\S+)"
)


@dataclass
class Run:
    """
    What one target's run has told.

    @ivar status: How it ended.
    @ivar tail: The last lines that it wrote.
    """

    target: str
    executions: int = 0
    edges: int = 0
    features: int = 0
    inputs: int = 0
    status: int = 0
    tail: list[str] = field(default_factory=list)

    def read(self, line: str) -> bool:
        """
        Take a line of libFuzzer's.

        @return: Whether it tells of something new.
        """
        if not line.startswith(("INFO:", "WARNING:")):
            self.tail = [*self.tail[-200:], line]
        found = _LINE.match(line)
        if found is None:
            return False
        before = self.edges
        numbers = (int(found[each]) for each in (1, 3, 4, 5))
        self.executions, self.edges, self.features, self.inputs = numbers
        return self.edges > before or found[2] in ("INITED", "DONE")

    def __str__(self) -> str:
        return (
            f"{self.target:12} {self.executions:>10,} executions  "
            f"{self.edges:>5} edges  {self.features:>6} features  "
            f"{self.inputs:>5} inputs"
        )


def _command(target: str, *arguments: str) -> list[str]:
    """
    Make the command that fuzzes a target.
    """
    return [sys.executable, str(HERE / "fuzz.py"), target, *arguments]


def _lines(command: list[str]) -> Iterator[str]:
    """
    Run a command, and read what it writes.

    @return: Its lines, and in the end its exit status as a number.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=BUILD,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            yield from process.stdout
        finally:
            process.terminate()
    yield str(process.returncode)


def fuzz(target: str, seconds: int, *, verbose: bool) -> Run:
    """
    Fuzz a target.

    @param seconds: For how long.
    @param verbose: Whether to tell of all that is new.
    @return: What came of it.
    """
    grown = BUILD / target
    grown.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        f"-rss_limit_mb={_MEMORY}",
        f"-timeout={_PATIENCE}",
        f"-report_slow_units={_PATIENCE}",
        f"-artifact_prefix={BUILD}/{target}-",
    ]
    run = Run(target)
    folders = [str(grown), str(CORPUS / target)]
    for line in _lines(_command(target, *options, *folders)):
        if run.read(line) and verbose:
            print(run, flush=True)
    run.status = int(run.tail.pop())
    return run


def minimize(target: str) -> None:
    """
    Add to a target's committed corpus what reaches something new, and leave
    out what does not.
    """
    kept = BUILD / f"{target}.kept"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    folders = [str(kept), str(CORPUS / target), str(BUILD / target)]
    options = ["-merge=1", f"-max_len={_LONGEST}"]
    *_, status = _lines(_command(target, *options, *folders))
    if int(status) or not any(kept.iterdir()):
        raise SystemExit(f"{target}: the corpus could not be minimized")
    for path in (CORPUS / target).iterdir():
        if not path.name.startswith(_FOUND):
            path.unlink()
    for path in kept.iterdir():
        path.rename(CORPUS / target / path.name[:12])
    print(f"{target}: {len(list((CORPUS / target).iterdir()))} inputs")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fuzz this package.")
    add = parser.add_argument
    add("--seconds", type=int, default=60, help="for all targets (default: 60)")
    add("--verbose", action="store_true", help="tell of all that is new")
    add("--minimize", action="store_true", help="make the committed corpus anew")
    add("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    return parser


def main(options: argparse.Namespace) -> int:
    """
    Fuzz what is wanted.

    @return: The exit status: 1 if anything was found.
    """
    names = options.targets or list(TARGETS)
    unknown = set(names) - set(TARGETS)
    if unknown:
        raise SystemExit(f"no such target: {', '.join(unknown)}; there are: {TARGETS}")
    BUILD.mkdir(parents=True, exist_ok=True)
    if options.minimize:
        for name in names:
            minimize(name)
        return 0
    whole = sum(TARGETS[name] for name in names)
    shares = {name: options.seconds * TARGETS[name] / whole for name in names}
    found = [_explore(name, shares[name], options.verbose) for name in names]
    return int(any(found))


def _explore(target: str, seconds: float, verbose: bool) -> int:
    """
    Fuzz a target for its time, and go on after a finding.

    @return: How much was found.
    """
    end = time.monotonic() + seconds
    found = 0
    while found < _ENOUGH and (not found or time.monotonic() < end):
        run = fuzz(target, max(1, round(end - time.monotonic())), verbose=verbose)
        print(f"{run}  {'FOUND' if run.status else 'nothing found'}", flush=True)
        if not run.status:
            break
        found += 1
        print("".join(run.tail), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(_parser().parse_args()))
