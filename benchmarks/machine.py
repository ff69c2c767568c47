# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What the machine tells of processes and CPUs (Linux only).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

#: CPUs that may be used.
CPUS = sorted(os.sched_getaffinity(0))

#: Where the servers run, and everything else.
SERVER_CPU, LOAD_CPU = CPUS[0], CPUS[-1]


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """
    Have processes that are started in this block run on one CPU only.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpuSeconds(pids: Iterable[int]) -> float:
    """
    Tell how much CPU time processes have used, as C{utime} and C{stime} of
    C{/proc/PID/stat} do, but to the nanosecond.
    """
    # How Linux numbers the CPU clock of another process: see
    # clock_getcpuclockid(3).
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory(pids: Iterable[int], field: str) -> int:
    """
    Tell how much memory processes use, in bytes.

    @param field: C{VmRSS}: now; C{VmHWM}: at their peak.
    """
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1]) * 1024
    return total


def family(pid: int) -> list[int]:
    """
    List a process and its descendants.
    """
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [pid]
    for child in children.read_text().split():
        found += family(int(child))
    return found


class Busyness:
    """
    How busy each CPU has been since this was made, in seconds.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = self._read()

    @property
    def elapsed(self) -> float:
        """
        How long that is, in seconds.
        """
        return time.monotonic() - self._began

    def _read(self) -> dict[int, float]:
        """
        Read the time that each CPU was not idle, or was kept from us by the
        host.
        """
        busy = {}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *values = line.split()
            if name.startswith("cpu") and name != "cpu":
                user, nice, system, _, _, irq, softirq, steal = map(int, values[:8])
                sum_ = user + nice + system + irq + softirq + steal
                busy[int(name[3:])] = sum_ / _TICKS
        return busy

    def seconds(self, cpu: int) -> float:
        """
        Tell for how long a CPU was busy.
        """
        return self._read()[cpu] - self._before[cpu]
