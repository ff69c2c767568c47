# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What the configuration of another program has to know of a server that is not
running yet: where it listens, and how it is started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.mount import ROOT, SCRIPT_NAME

SOCKET = "/run/app.sock"
"""
The Unix socket that somebody else makes, where nothing says its path.
"""

#: The place in the path that is only an example: the web server says it.
_EXAMPLE = "/app"

# What no configuration file takes for anything but itself.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+=~-]*")

_PLAIN_HOST = re.compile(r"[A-Za-z0-9.:_-]+")

_LARGEST_PORT = 65535

# For a peer on the same host, the way to an address that means all of them.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}

#: What is started with a socket that somebody else has made.
_INHERITED = ("fcgi", "systemd")

# The endpoints for a Unix socket that supervisor or systemd can pass.
_PASSED = re.compile(
    r"fcgi:(fd=0)?|systemd:(domain=)?UNIX:((index=)?0|name=[A-Za-z0-9._-]+)"
)

_PIECES = re.compile(r"((?:\\.|[^\\:])*)(?::|$)", re.DOTALL)

_NAMED = re.compile(r"((?:\\.|[^\\=])*)=(.*)", re.DOTALL)


class NoSnippet(FastCGIError):
    """
    There is no configuration for what was asked.  The message is one line that
    says why, and what to do.
    """


@dataclass(frozen=True)
class Place:
    """
    Where a server listens.

    @ivar kind: What the endpoint string begins with.
    @ivar path: The path of a Unix socket, absolute; empty for TCP.
    @ivar host: The address by which a peer on this machine reaches it.
    @ivar port: The number of the TCP port.
    @ivar everywhere: Whether it listens on all addresses of the machine.
    @ivar name: What systemd calls the socket, if it is to be found by that.
    """

    kind: str
    path: str = ""
    host: str = ""
    port: int = 0
    everywhere: bool = False
    name: str = ""

    @property
    def inherited(self) -> bool:
        """
        Whether somebody else makes the socket.
        """
        return self.kind in _INHERITED

    @property
    def hostPort(self) -> str:
        """
        The address and the port, with brackets around IPv6.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def placeOf(description: str, directory: str) -> Place:
    """
    Tell where an endpoint listens.

    @param description: An endpoint string that can be used.
    @param directory: What a relative path begins at.
    @raise NoSnippet: If it is of another kind than C{unix}, C{tcp}, C{tcp6},
        C{fcgi} and C{systemd}, or its path is not a plain one.
    """
    kind, positional, named = _parse(description)
    if _PASSED.fullmatch(description):
        return Place(kind, SOCKET, name=named.get("name", ""))
    path = named.get("address") or "".join(positional[:1])
    if kind == "unix" and path:
        path = os.path.normpath(os.path.join(directory, path))
        return Place(kind, plainPath(path, "--port"))
    if kind in ("tcp", "tcp6"):
        unnamed = dict(zip(("port", "interface"), positional, strict=False))
        return _tcpPlace(kind, unnamed | named)
    raise NoSnippet(
        f"--port {description!r}: how other programs reach that can't be said; name a "
        "port such as unix:/run/app.sock, tcp:9000, fcgi: or "
        "systemd:domain=UNIX:index=0 first"
    )


def _tcpPlace(kind: str, values: Mapping[str, str]) -> Place:
    interface = values.get("interface", "")
    if not interface and kind == "tcp6":
        interface = "::"
    host = _LOOPBACK.get(interface, interface)
    if not _PLAIN_HOST.fullmatch(host):
        raise NoSnippet(f"--port: {host!r} is no plain address to print")
    port = int(values["port"])
    if not 0 < port <= _LARGEST_PORT:
        raise NoSnippet(f"--port: nobody can connect to port {port}")
    return Place(kind, "", host, port, interface in _LOOPBACK)


def _parse(description: str) -> tuple[str, list[str], dict[str, str]]:
    """
    Split an endpoint string.

    @return: What it begins with, and the arguments without and with names.
    """
    positional: list[str] = []
    named: dict[str, str] = {}
    # What is found last is the nothing at the end.
    for piece in _PIECES.findall(description)[:-1]:
        found = _NAMED.fullmatch(piece)
        if found is None:
            positional.append(_unescaped(piece))
        else:
            named[_unescaped(found[1])] = _unescaped(found[2])
    return positional[0], positional[1:], named


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def plainPath(path: str, option: str) -> str:
    """
    Make sure that a path means itself in every configuration file.

    @param path: The path.
    @param option: Where it comes from.
    @return: The path.
    @raise NoSnippet: If there is a character in it that may mean something else.
    """
    if _PLAIN_PATH.fullmatch(path) is None:
        raise NoSnippet(
            f"{option}: {path!r} has characters that mean something else in "
            "configuration files; use letters, digits and / . _ - + = ~ alone"
        )
    return path


@dataclass(frozen=True)
class Plan:
    """
    How a server is started, as far as others have to know.

    @ivar program: The command, and its options before C{fastcgi}, that name
        neither the user nor the folder.
    @ivar options: Those after it.
    @ivar directory: The folder that it is started in.
    @ivar places: Where it listens.
    @ivar mount: The option C{--mount}.
    @ivar statusPath: The path of its figures, if there are some.
    @ivar watchers: The IP addresses and networks that may see them.
    @ivar bodyBytes: How large the body of a request may be, if that is limited.
    @ivar idleTimeout: Seconds after which it closes connections, if it does.
    @ivar grace: Seconds that it may take to stop.
    @ivar user: Who it is to be, if that is said: options of C{twistd}.
    @ivar owner: The names of this user and group, or nothing.
    @ivar isSite: Whether it has pages, and is not an authorizer alone.
    @ivar webServers: Who may connect, if the environment says so.
    @ivar reloads: Whether SIGHUP loads the application anew.
    @ivar remarks: What other options mean to a web server.
    """

    program: Sequence[str]
    options: Sequence[str]
    directory: str
    places: Sequence[Place]
    mount: str = ROOT
    statusPath: str = ""
    watchers: Sequence[str] = ("127.0.0.1", "::1")
    bodyBytes: int | None = None
    idleTimeout: float | None = None
    grace: float = 30.0
    user: Sequence[str] = ()
    owner: tuple[str, str] = ("", "")
    isSite: bool = True
    webServers: str = ""
    reloads: bool = False
    remarks: Sequence[str] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """
        Where the application is in the path; nothing for all of it.
        """
        if self.mount == SCRIPT_NAME:
            return _EXAMPLE
        parts = [part for part in self.mount.split("/") if part]
        return plainPath("/" + "/".join(parts), "--mount") if parts else ""

    @property
    def byScriptName(self) -> bool:
        """
        Whether the web server says where the application is.
        """
        return self.mount == SCRIPT_NAME

    @property
    def place(self) -> Place:
        """
        Where a web server connects: one place is enough.

        @raise NoSnippet: If nothing listens for web servers, or there is nothing
            to pass their requests on to.
        """
        if not self.isSite:
            raise NoSnippet(
                "an authorizer alone has no pages: the page of the documentation on "
                "the web server has a setting that asks it"
            )
        if not self.places:
            raise NoSnippet("nothing listens for web servers with --preview alone")
        return self.places[0]
