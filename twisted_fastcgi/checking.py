# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
See whether a command line would serve, without opening anything: C{twistd
fastcgi --check}.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory

from twisted_fastcgi.preview import TOO_FAR, isLocal
from twisted_fastcgi.service import DescribedEndpoint, endpointFromString
from twisted_fastcgi.unixsocket import UnixEndpoint, isLeftBehind

#: The longest path of a Unix socket, in bytes.
_LONGEST_PATH = 107

#: For how many seconds to wait for whoever may listen on a port already.
_PATIENCE = 1.0

_LARGEST_PORT = 65535

#: Of Linux, the first port that anybody may listen on.
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

#: What lets a process listen on the ports before that.
_CAP_NET_BIND_SERVICE = 10

# For a client, the way to an address that means all of them.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


# What is not a setting.
_OTHERS = ("check", "print-config")


def check(options: Any, problems: Sequence[str], what: str, folder: str) -> NoReturn:
    """
    Look whether a command line would serve, tell what was found, and end the
    process.

    @param options: What was parsed of it, as far as that could be: an
        L{Options<twisted_fastcgi.options.Options>}.
    @param problems: What could not.
    @param what: What is to be served.
    @param folder: Where the process is going to be, for relative paths.
    @raise SystemExit: With 1 if anything is wrong, which there is a line about
        on the standard error for each; else with 0, and all settings are on the
        standard output.
    """
    found = [*problems, *_problems(options, folder)]
    for problem in found:
        print(f"fastcgi: {' '.join(problem.split())}", file=sys.stderr)
    if not found:
        rows = list(_settings(options, what))
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            print(f"{name:{width}}  {_shown(value)}")
        print("fastcgi: nothing is wrong")
    raise SystemExit(1 if found else 0)


def _problems(options: Any, folder: str) -> Iterator[str]:
    """
    Find what is wrong with files and addresses.
    """
    yield from logProblems(options["logfile"])
    endpoints = [("port", endpoint) for endpoint in options["endpoints"]]
    preview = options["preview"]
    # If it is not parsed, that was told already.
    isParsed = isinstance(preview, DescribedEndpoint)
    if isParsed:
        endpoints.append(("preview", preview))
    yield from portProblems(endpoints, folder)
    if isParsed and not options["preview-anywhere"]:
        yield from previewProblems(preview)


def _settings(options: Any, what: str) -> Iterator[tuple[str, object]]:
    """
    Tell what a command line comes to: names and values.
    """
    if options["application"] is None:
        yield "application", what
    else:
        option, name = options["application"]
        yield f"--{option}", name
    if options["authorizer"] is not None:
        yield "--authorizer", options["authorizer"]
    for endpoint in options["endpoints"]:
        yield "--port", endpoint
    for peers in options["peers"]:
        yield "may connect", f"{', '.join(map(str, peers.networks))} ({peers.name})"
    if not options["peers"]:
        yield "may connect", "whoever can reach a port"
    for name, value in options["headers"]:
        yield "--add-header", f"{name}: {value}"
    flags = {flag[0] for flag in options.optFlags}
    known = flags.union(parameter[0] for parameter in options.optParameters)
    for name in sorted(known.difference(_OTHERS)):
        value = options[name]
        if name == "status-allow" and options["status-path"] is not None:
            value = ",".join(map(str, options["watchers"].networks))
        yield f"--{name}", ("no", "yes")[bool(value)] if name in flags else value


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def logProblems(path: str | None) -> Iterator[str]:
    """
    Look whether the access log can be written.

    @param path: Where it is, if there is one.
    """
    if path is None:
        return
    # What a link leads to is what is made.
    target = os.path.realpath(path)
    if not path:
        why: str | None = "No such file or directory"
    elif os.path.isdir(target) or path.endswith("/"):
        why = "Is a directory"
    elif os.path.exists(target):
        why = None if _mayWrite(target) else "Permission denied"
    else:
        why = _folderProblem(os.path.dirname(target))
    if why is not None:
        yield f"--logfile: cannot write to {path!r}: {why}"


def portProblems(
    endpoints: Iterable[tuple[str, DescribedEndpoint]], folder: str
) -> Iterator[str]:
    """
    Look whether endpoints can listen.

    @param endpoints: What options they are of, and what was made of these.
    @param folder: Where the process is going to be, for relative paths.
    """
    taken: list[tuple[str, str | int]] = []
    for option, described in endpoints:
        problems = [*_collisions(described, folder, taken)]
        if not problems:
            problems = [*_endpointProblems(described, folder)]
        for problem in problems:
            yield f"--{option}: cannot listen on {described}: {problem}"


def _endpointProblems(described: DescribedEndpoint, folder: str) -> Iterator[str]:
    if isinstance(described.endpoint, UnixEndpoint):
        return _unixProblems(described.endpoint, folder)
    return _tcpProblems(described)


def _collisions(
    described: DescribedEndpoint, folder: str, taken: list[tuple[str, str | int]]
) -> Iterator[str]:
    """
    Tell whether an earlier endpoint is going to be where this one is to be.

    @param taken: Where the earlier ones are: interfaces and ports, or nothing and
        paths.  This one is added.
    """
    endpoint = described.endpoint
    wanted: list[tuple[str, str | int]]
    if isinstance(endpoint, UnixEndpoint):
        wanted = [("", os.path.realpath(os.path.join(folder, endpoint.path)))]
    else:
        addresses = tcpAddresses(described)
        # Of port 0 everybody gets another one.
        wanted = [(host or "0.0.0.0", port) for port, host in addresses if port]
    for place in wanted:
        if any(_overlap(place, other) for other in taken):
            yield "another one of these options has it, too"
    taken += wanted


def _overlap(one: tuple[str, str | int], other: tuple[str, str | int]) -> bool:
    """
    Tell whether two cannot listen at the same time.
    """
    (host, port), (otherHost, otherPort) = one, other
    isWildcard = not _LOOPBACK.keys().isdisjoint((host, otherHost))
    isSameKind = (":" in host) == (":" in otherHost)
    return port == otherPort and (host == otherHost or (isWildcard and isSameKind))


def previewProblems(described: DescribedEndpoint) -> Iterator[str]:
    """
    Look whether only this machine can reach a preview.

    @param described: Where it is to listen.
    """
    for port, interface in tcpAddresses(described):
        kind = IPv6Address if ":" in interface else IPv4Address
        if not isLocal(kind("TCP", interface or "0.0.0.0", port)):
            yield f"--preview: cannot listen on {described}: {TOO_FAR}"


def _unixProblems(endpoint: UnixEndpoint, folder: str) -> Iterator[str]:
    """
    Tell what keeps a Unix socket from being made.
    """
    path = os.path.join(folder, endpoint.path)
    if not endpoint.path:
        yield "there is no path"
        return
    if len(os.fsencode(endpoint.path)) > _LONGEST_PATH:
        yield f"the path has more than {_LONGEST_PATH} bytes"
        return
    problem = _folderProblem(os.path.dirname(os.path.abspath(path)))
    if problem is not None:
        yield problem
        return
    try:
        isLeftBehind(path)
    except OSError as error:
        yield f"{error.strerror}: {path}"
    yield from _ownerProblems(endpoint)


def _folderProblem(folder: str) -> str | None:
    """
    Tell what keeps a file from being made in a folder.
    """
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    if not _mayWrite(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is not writable"
    return None


def _mayWrite(path: str, mode: int = os.W_OK) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, mode, effective_ids=effective)


def _ownerProblems(endpoint: UnixEndpoint) -> Iterator[str]:
    """
    Tell what keeps a socket from being given away.
    """
    if os.geteuid() == 0:
        return
    if endpoint.uid not in (None, os.geteuid()):
        yield f"only root can give it to the user {endpoint.uid}"
    if endpoint.gid not in (None, os.getegid(), *os.getgroups()):
        yield f"only root, or a member, can give it to the group {endpoint.gid}"


class _Listener:
    """
    What endpoints take for a reactor, and which only tells where they listen.

    @ivar asked: Ports and interfaces.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def listenTCP(
        self, port: int, factory: Any, *, interface: str = "", **others: Any
    ) -> None:
        """
        Note where.
        """
        self.asked.append((port, interface))

    listenSSL = listenTCP


def tcpAddresses(described: DescribedEndpoint) -> list[tuple[int, str]]:
    """
    Tell where an endpoint is going to listen.

    @return: Ports and interfaces; none of what is no endpoint of TCP.
    """
    if str(described).partition(":")[0] not in ("tcp", "tcp6", "ssl"):
        return []
    listener = _Listener()
    endpointFromString(listener, str(described)).listen(Factory())
    return listener.asked


def _tcpProblems(described: DescribedEndpoint) -> Iterator[str]:
    """
    Tell what keeps a port from being opened.
    """
    for port, interface in tcpAddresses(described):
        if not 0 <= port <= _LARGEST_PORT:
            yield f"there is no port {port}"
            continue
        if port and not _mayListen(port):
            yield f"only root may listen on port {port}"
            continue
        try:
            addresses = _resolved(interface, port)
        except OSError as error:
            yield f"{interface} is no address: {error.strerror}"
            continue
        for family, address in addresses:
            if not _isOurs(family, address):
                yield f"this machine has no address {address[0]}"
            elif port and _isTaken(family, address):
                yield "another process listens there"


def _mayListen(port: int) -> bool:
    """
    Tell whether this process has the right to a port, as far as can be told.
    """
    try:
        first = int(_UNPRIVILEGED.read_text())
        status = Path("/proc/self/status").read_text()
    except OSError:
        return True
    rights = int(status.partition("\nCapEff:")[2].split()[0], 16)
    return port >= first or bool(rights >> _CAP_NET_BIND_SERVICE & 1)


def _resolved(interface: str, port: int) -> list[tuple[int, Any]]:
    """
    Look up an address, of which there is one as far as listening is concerned.

    @raise OSError: If there is none.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    found = socket.getaddrinfo(
        interface or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return [(family, address) for family, _, _, _, address in found[:1]]


def _isOurs(family: int, address: Any) -> bool:
    """
    Tell whether an address is one of this machine's: then any port of UDP can
    have it, which is closed at once.
    """
    host, _, *more = address
    with socket.socket(family, socket.SOCK_DGRAM) as skt:
        try:
            skt.bind((host, 0, *more))
        except OSError:
            return False
    return True


def _isTaken(family: int, address: Any) -> bool:
    """
    Tell whether somebody listens on a port.
    """
    host, *more = address
    with socket.socket(family, socket.SOCK_STREAM) as skt:
        skt.settimeout(_PATIENCE)
        return not skt.connect_ex((_LOOPBACK.get(host, host), *more))
