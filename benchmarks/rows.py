# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What is measured: rows of contestants that take turns under the same load, and
what is aimed at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from load import Load
from servers import ROOT

_MEBI = 1 << 20

_PEERS = ("go", "php-fpm", "flup6", "fcgiproto", "uvicorn")


@dataclass(frozen=True)
class Contestant:
    """
    A server under a load.

    @ivar name: Its name within the row.
    @ivar kind: The name of the kind of server.
    @ivar transport: C{unix} or C{tcp}.
    @ivar nginx: Whether nginx is in front of it.
    @ivar checkout: The checkout of this project that it runs.
    """

    name: str
    kind: str
    load: Load
    transport: str = "unix"
    nginx: bool = False
    checkout: Path = ROOT


@dataclass(frozen=True)
class Row:
    """
    Contestants that are compared.

    @ivar base: The name of that to which the others are compared.
    @ivar note: What there is to know about it.
    @ivar what: Of what each contestant has twice as much as the one before.
    """

    title: str
    base: str
    contestants: tuple[Contestant, ...]
    note: str = ""
    what: str = ""

    def only(self, names: Iterable[str]) -> Row:
        """
        Leave out all but some contestants.
        """
        kept = set(names)
        return replace(
            self, contestants=tuple(c for c in self.contestants if c.name in kept)
        )

    def against(self, name: str, checkout: Path) -> Row:
        """
        Add our server as it is in another checkout.

        @param name: What to call it: C{us} becomes C{us@name}.
        """
        others = (
            replace(each, name=f"{each.name}@{name}", checkout=checkout)
            for each in self.contestants
            if each.kind.startswith("us")
        )
        return replace(self, contestants=(*self.contestants, *others))


@dataclass(frozen=True)
class Target:
    """
    How one contestant of a row should compare with another.

    @ivar least: The ratio of their requests a second that must be reached.
    @ivar aim: That which is hoped for.
    """

    title: str
    row: str
    ours: str
    theirs: str
    least: float
    aim: float


@dataclass(frozen=True)
class MemoryTarget:
    """
    How much the memory of a contestant may grow under its load.

    @ivar most: The most that it may, in MiB.
    @ivar aim: What is hoped for.
    """

    title: str
    row: str
    ours: str
    most: float
    aim: float


def _each(load: Load, *kinds: str, transport: str = "unix") -> tuple[Contestant, ...]:
    return tuple(Contestant(kind, kind, load, transport) for kind in kinds)


def _small() -> dict[str, Row]:
    """
    Make the rows in which the smallest page is asked for.
    """
    load = Load()
    sleeping = replace(load, spin=False)
    logging = ("us-log", "web-log", "web-default")
    return {
        "spin": Row(
            "Small GET, 28 params, 8 kept connections, Unix socket, busy-polling "
            "client",
            "web",
            _each(load, "us", "web", *logging, "floor", *_PEERS),
        ),
        "sleep": Row(
            "The same, sleeping client",
            "web",
            _each(sleeping, "us", "web", *logging, "floor"),
        ),
        "tcp": Row(
            "Small GET, 8 kept connections, TCP, busy-polling client",
            "web",
            _each(load, "us", "web", "web-default", "floor", transport="tcp"),
        ),
        "one-shot": Row(
            "Small GET, a connection for each request, 8 at a time, Unix socket",
            "web",
            _each(replace(load, oneShot=True), "us", "web", "web-default"),
        ),
        "many": Row(
            "Small GET, 8 kept connections or 1000, Unix socket",
            "us, 8",
            tuple(
                Contestant(f"{kind}, {n}", kind, replace(load, connections=n))
                for kind in ("us", "web")
                for n in (8, 1000)
            ),
        ),
        "nginx": Row(
            "Small GET by wrk through nginx, 8 connections, Unix socket",
            "web",
            tuple(
                Contestant(kind, kind, replace(load, tool="wrk"), nginx=True)
                for kind in ("us", "web", "web-default")
            ),
            "fastcgi_pass or proxy_pass, both with kept connections; nginx and "
            "wrk share one CPU.",
        ),
        "wsgi": Row(
            "Small GET, WSGI in the thread pool, 8 kept connections, TCP",
            "web-wsgi",
            _each(load, "us-wsgi", "web-wsgi", "web-wsgi-default", transport="tcp"),
            "Twisted's WSGI over HTTP does not work on Unix sockets.",
        ),
        "agent": Row(
            "FastCGIAgent against twisted.web.client.Agent: small GET, 8 kept "
            "connections, Unix socket",
            "Agent",
            (
                Contestant("FastCGIAgent", "us", replace(load, tool="agent")),
                Contestant("Agent", "web", replace(load, tool="agent")),
            ),
            "The CPU time is the client's.  The servers are those of the first row.",
        ),
    }


def _bulk(size: int) -> dict[str, Row]:
    """
    Make the rows in which much is sent.

    @param size: How much, in bytes.
    """
    mebi = f"{size // _MEBI} MiB"
    one = Load(connections=1, requests=2)
    down = replace(one, path=f"/download/{size}", text=None, length=size)
    # nginx sends records of 32 KiB.
    records = ("--record-size", "32768")
    up = replace(one, path="/upload", text=str(size), upload=size, more=records)
    return {
        "download": Row(
            f"{mebi} down by a push producer, one connection, Unix socket",
            "web",
            _each(down, "us", "web"),
        ),
        "upload": Row(
            f"{mebi} up, one connection, Unix socket", "web", _each(up, "us", "web")
        ),
    }


#: How many bytes of params there are without more.
_USUAL = 900


def _params(total: int, *options: str) -> tuple[str, ...]:
    return ("--extra-params", str(total - _USUAL), *options)


#: What there is ever more of, and the options that make it so.
_CURVES = {
    "params": (
        "bytes of params",
        {f"{n} KiB": _params(n << 10) for n in (1 << i for i in range(11))},
    ),
    "records": (
        "records of one byte",
        {f"{n}": _params(n, "--record-size", "1") for n in (1000, 2000, 4000, 8000)},
    ),
    "reads": (
        "bytes of params, sent 16 at a time",
        {f"{n}": _params(n, "--send-size", "16") for n in (1000, 2000, 4000, 8000)},
    ),
    "pipeline": (
        "requests sent together",
        {f"{n}": ("--pipeline", f"{n}") for n in (1, 2, 4, 8, 16, 32)},
    ),
}


def _curves() -> dict[str, Row]:
    """
    Make the rows that show how the cost grows with the work.
    """
    rows = {}
    for name, (what, steps) in _CURVES.items():
        contestants = tuple(
            Contestant(step, "us", Load(connections=1, more=options))
            for step, options in steps.items()
        )
        title = f"How the cost grows: {what}; one connection, Unix socket"
        rows[f"curve-{name}"] = Row(title, contestants[0].name, contestants, what=what)
    return rows


def allRows(bulk: int) -> dict[str, Row]:
    """
    Make all rows.

    @param bulk: How much is sent in the rows about that, in bytes.
    @return: Rows by name.
    """
    return {**_small(), **_bulk(bulk), **_curves()}


TARGETS = (
    Target(
        "small GET, 8 kept connections, Unix socket, busy-polling client, "
        "÷ twisted.web without access log",
        *("spin", "us", "web", 2.0, 2.7),
    ),
    Target("the same, sleeping client", "sleep", "us", "web", 1.7, 2.2),
    Target(
        "the same with --logfile on both sides, busy-polling client",
        *("spin", "us-log", "web-log", 2.0, 2.5),
    ),
    Target("the same ÷ the reactor floor", "spin", "us", "floor", 0.38, 0.50),
    Target("the same ÷ Go's net/http/fcgi", "spin", "us", "go", 0.85, 1.1),
    Target(
        "behind nginx with kept connections, wrk, ÷ nginx → twisted.web without "
        "access log",
        *("nginx", "us", "web", 1.8, 2.6),
    ),
    Target(
        "one-shot connections ÷ twisted.web with Connection: close",
        *("one-shot", "us", "web", 1.5, 1.7),
    ),
    Target(
        "download by a push producer ÷ twisted.web",
        *("download", "us", "web", 0.9, 1.6),
    ),
    Target("upload ÷ twisted.web", "upload", "us", "web", 0.9, 1.1),
    Target(
        "WSGI ÷ twisted.web's WSGI without access log",
        *("wsgi", "us-wsgi", "web-wsgi", 1.2, 1.4),
    ),
    Target("1000 kept connections ÷ 8", "many", "us, 1000", "us, 8", 0.9, 1.0),
)

MEMORY_TARGETS = (
    MemoryTarget("peak memory, download", "download", "us", 8, 2),
    MemoryTarget("peak memory, upload", "upload", "us", 8, 2),
)

#: What each line of a row about growing costs may cost, compared with the line
#: before, which has half of the work.
MOST_FOR_TWICE = 2.3
