# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The load: what is asked of a server, and what came of it.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which

from machine import LOAD_CPU, SERVER_CPU, Busyness, cpuSeconds, pinned
from servers import HERE, ROOT, Server, Unavailable

#: What part of a CPU's time others may use before a round does not count.
_FOREIGN = 0.08

#: Seconds after which a load that should have ended is given up.
_PATIENCE = 120.0


class Failed(Exception):
    """
    A response was wrong, or did not come.
    """


@dataclass(frozen=True)
class Load:
    """
    What is asked of a server.

    @ivar tool: What asks: C{fcgiload}, C{wrk} or C{agent}.
    @ivar spin: Whether the client never sleeps.
    @ivar oneShot: Whether each request has a connection of its own.
    @ivar path: The page.
    @ivar text: The body that each response must have.
    @ivar length: Or only how long it must be, in bytes.
    @ivar upload: How large the body of each request is, in bytes.
    @ivar requests: How many requests; L{None} for as many as there is time for.
    @ivar more: Further options of C{fcgiload}.
    """

    tool: str = "fcgiload"
    connections: int = 8
    spin: bool = True
    oneShot: bool = False
    path: str = "/hello"
    text: str | None = "hello"
    length: int | None = None
    upload: int = 0
    requests: int | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """
    What came of one round.

    @ivar requests: How many were answered, all of them well.
    @ivar rate: Requests a second.
    @ivar p50: The median latency, in microseconds.
    @ivar p99: The latency that one request in a hundred exceeds.
    @ivar megabytes: Bytes of bodies a second, both ways, in millions.
    @ivar cpu: The CPU time for each request, in microseconds: of the server,
        or, if the load is C{agent}, of that.
    @ivar share: What part of the time the server was running.
    @ivar foreign: What part of a CPU's time was used by others, or kept from
        us by the host: the larger of both CPUs' parts.
    """

    requests: int
    rate: float
    p50: float
    p99: float
    megabytes: float
    cpu: float
    share: float
    foreign: float

    @property
    def disturbed(self) -> bool:
        """
        Whether this says more about the machine than about the server.
        """
        return self.foreign > _FOREIGN


def compiled(folder: Path) -> Path:
    """
    Compile the load generator.

    @return: The program.
    @raise Unavailable: If there is no compiler.
    @raise Failed: If it has anything to complain about.
    """
    program = folder / "fcgiload"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    command = ["gcc", *flags, "-o", str(program), str(HERE / "fcgiload.c")]
    if which("gcc") is None:
        raise Unavailable("there is no gcc to compile fcgiload.c: apt-get install gcc")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr)
    return program


@dataclass(frozen=True)
class Meter:
    """
    Puts loads on servers.

    @ivar fcgiload: That program.
    @ivar seconds: How long a round is measured.
    @ivar warmup: How long the load runs before that, without being counted.
    """

    fcgiload: Path
    seconds: float
    warmup: float

    def measure(self, server: Server, load: Load) -> Sample:
        """
        Measure one round.

        @raise Failed: If anything is wrong with any response.
        @raise Unavailable: If the tool is missing.
        """
        if load.tool == "wrk":
            # So the responses are looked at, too.
            self._run(self._fcgiload(server, load, 0.0, self.warmup), server)
        busyness, server0, ours0 = Busyness(), server.cpu(), _ownCPU(server)
        command = _COMMANDS[load.tool](self, server, load, self.seconds, self.warmup)
        output = self._run(command, server)
        known = {SERVER_CPU: 0.0, LOAD_CPU: 0.0}
        serverCPU = server.cpu() - server0
        known[SERVER_CPU] += serverCPU
        known[LOAD_CPU] += _ownCPU(server) - ours0
        # The kernel counts in ticks of a few milliseconds.
        foreign = max(busyness.seconds(cpu) - known[cpu] for cpu in known) - 0.02
        if load.tool == "wrk":
            result = _readWrk(output, serverCPU)
        else:
            result = json.loads(output)
        return _sample(result, foreign / busyness.elapsed)

    def check(self, server: Server, load: Load) -> None:
        """
        Ask a server once, and see that it answers well.

        @raise Failed: If it does not.
        """
        once = replace(load, requests=1, connections=1, spin=False)
        self._run(self._fcgiload(server, once, 0.0, 0.0), server)

    def _run(self, command: list[str], server: Server) -> str:
        """
        Run a load to its end.
        """
        path = f"{ROOT}{os.pathsep}{HERE}"
        with pinned(LOAD_CPU):
            done = subprocess.run(
                command,
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
            )
        if done.returncode:
            raise Failed(f"{server.kind.title}: {done.stderr}{server.log}")
        return done.stdout

    def _fcgiload(
        self, server: Server, load: Load, seconds: float, warmup: float
    ) -> list[str]:
        """
        Make the command for our own load generator.
        """
        words = [str(self.fcgiload), server.address]
        words += ["--path", load.path, "--connections", str(load.connections)]
        words += ["--seconds", str(seconds), "--warmup", str(warmup)]
        words += ["--http"] if server.http else server.kind.options
        words += ["--spin"] if load.spin and LOAD_CPU != SERVER_CPU else []
        words += ["--one-shot"] if load.oneShot else []
        words += ["--text", load.text] if load.text is not None else []
        words += ["--length", str(load.length)] if load.length is not None else []
        words += ["--upload", str(load.upload)] if load.upload else []
        words += ["--requests", str(load.requests)] if load.requests else []
        for pid in server.pids:
            words += ["--pid", str(pid)]
        return [*words, *load.more]

    def _wrk(
        self, server: Server, load: Load, seconds: float, warmup: float
    ) -> list[str]:
        """
        Make the command for wrk, which knows whole seconds only.
        """
        if which("wrk") is None:
            raise Unavailable("there is no wrk: apt-get install wrk")
        words = ["wrk", "--latency", "-t1", f"-c{load.connections}"]
        words += [f"-d{max(1, math.ceil(seconds))}s"]
        for name, value in _HEADERS.items():
            words += ["-H", f"{name}: {value}"]
        port = server.address.removeprefix("tcp:")
        return [*words, f"http://127.0.0.1:{port}{load.path}"]

    def _agent(
        self, server: Server, load: Load, seconds: float, warmup: float
    ) -> list[str]:
        """
        Make the command for a load by one of the agents.
        """
        words = [sys.executable, str(HERE / "agent.py"), server.address]
        words += ["--http"] if server.http else []
        words += ["--connections", str(load.connections), "--path", load.path]
        return [*words, "--seconds", str(seconds), "--warmup", str(warmup)]


_COMMANDS = {"fcgiload": Meter._fcgiload, "wrk": Meter._wrk, "agent": Meter._agent}

#: What fcgiload sends, for wrk.
_HEADERS = {
    "Host": "www.example.com",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 "
    "Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cookie": "session=3d4c1f0a9be7448c8b1d7d0f6a52e9c1; theme=dark",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
}


def _ownCPU(server: Server) -> float:
    """
    Tell how much CPU time the programs on the load's CPU have used, in seconds.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ourselves = cpuSeconds([os.getpid()])
    return ended.ru_utime + ended.ru_stime + ourselves + cpuSeconds(server.front)


def _sample(result: Mapping[str, float], foreign: float) -> Sample:
    """
    Make a sample of a tool's result.
    """
    requests = int(result["requests"])
    cpu = result["server_cpu"] if "server_cpu" in result else result["client_cpu"]
    return Sample(
        requests=requests,
        rate=result["rate"],
        p50=result["p50"],
        p99=result["p99"],
        megabytes=result["megabytes"],
        cpu=1e6 * cpu / max(1, requests),
        share=cpu / result["seconds"],
        foreign=max(0.0, foreign),
    )


_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


def _readWrk(output: str, cpu: float) -> dict[str, float]:
    """
    Understand what wrk prints.

    @param cpu: The server's CPU time meanwhile, in seconds.
    @raise Failed: If it tells of failures.
    """
    if "Non-2xx" in output or "Socket errors" in output:
        raise Failed(f"wrk: {output}")

    def time(pattern: str) -> float:
        found = re.search(rf"{pattern}\s+([\d.]+)(us|ms|s|m)\b", output)
        if found is None:
            raise Failed(f"wrk prints no {pattern}: {output}")
        return float(found[1]) * _UNITS[found[2]]

    requests = int(re.findall(r"(\d+) requests in", output)[0])
    seconds = time("requests in") / 1e6
    return {
        "requests": requests,
        "seconds": seconds,
        "rate": requests / seconds,
        "p50": time("50%"),
        "p99": time("99%"),
        "megabytes": 5 * requests / seconds / 1e6,
        "server_cpu": cpu,
    }
