# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Compares C{twist fastcgi --workers 2} with one process: see C{docs/workers.rst}.

Both have all CPUs, which the load generator shares with them.  They are measured
in turn, so that whatever else the machine does meanwhile hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from load import compiled
from servers import HERE, ROOT

#: Seconds that a server has to start, and to stop.
_PATIENCE = 60.0

#: What is asked for: a title, the page, and further options of C{fcgiload}.
ROWS = {
    "1 ms of work": ("/busy", ()),
    "a tiny page": ("/hello", ()),
    "a tiny page, a connection each": ("/hello", ("--one-shot",)),
}

#: The servers, by the options that they have.
SERVERS: dict[str, tuple[str, ...]] = {
    "one process": (),
    "--workers 2": ("--workers", "2"),
}


@contextmanager
def running(folder: Path, name: str, options: Sequence[str]) -> Iterator[str]:
    """
    Run a server for the length of the block.

    @param folder: Where its socket and its log are.
    @param name: A name for both.
    @return: Where it listens, as the load generator wants to know it.
    """
    path = folder / name
    count = int(options[-1]) if options else 0
    command = [sys.executable, "-m", "twisted", "--log-format", "text", "fastcgi"]
    command += ["--port", f"unix:{path}", "--resource", "apps.Root", *options]
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, log, ") serves, " if count else "serving ", max(count, 1))
        yield f"unix:{path}"
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _wait(process: subprocess.Popen[bytes], log: Path, word: str, count: int) -> None:
    """
    Wait until the log has a word so many times.
    """
    deadline = time.monotonic() + _PATIENCE
    while log.read_text().count(word) < count:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"a server does not serve:\n{log.read_text()}")
        time.sleep(0.05)


def measure(
    program: Path, address: str, row: str, options: argparse.Namespace
) -> dict[str, float]:
    """
    Put a load on a server once.

    @return: What the load generator says.
    """
    path, more = ROWS[row]
    command = [str(program), address, "--path", path, *more]
    command += ["--connections", str(options.connections), "--text", "hello"]
    command += ["--seconds", str(options.seconds), "--warmup", "0.3"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{row}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def table(found: dict[tuple[str, str], list[dict[str, float]]]) -> Iterator[str]:
    """
    Show the medians.
    """
    yield f"{'':32}{'server':14}{'req/s':>8}{'':>8}{'p50':>10}{'p99':>10}"
    for row in ROWS:
        first = None
        for server in SERVERS:
            rounds = found[row, server]
            rate, p50, p99 = (
                median(each[name] for each in rounds) for name in ("rate", "p50", "p99")
            )
            title = "" if first else row
            first = first or rate
            yield (
                f"{title:32}{server:14}{rate:8.0f}{rate / first:7.2f}x"
                f"{p50 / 1000:7.2f} ms{p99 / 1000:7.2f} ms"
            )


def main() -> None:
    """
    Run the comparison.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="workers-")))
        program = compiled(folder)
        addresses = {
            server: stack.enter_context(running(folder, f"s{index}", words))
            for index, (server, words) in enumerate(SERVERS.items())
        }
        for _ in range(options.rounds):
            for row in ROWS:
                for server, address in addresses.items():
                    sample = measure(program, address, row, options)
                    found.setdefault((row, server), []).append(sample)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
