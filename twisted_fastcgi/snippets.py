# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The option C{--print-config}: the configuration of another program that goes with
the other options on the command line.
"""

from __future__ import annotations

import getopt
import grp
import os
import pwd
import sys
import sysconfig
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.python.usage import Options

from twisted_fastcgi import sites, units
from twisted_fastcgi.peers import Peers, webServerPeers
from twisted_fastcgi.places import NoSnippet, Place, Plan, placeOf, plainPath

OPTION = "print-config"
"""
What the option is called.
"""

_MAKERS: Mapping[str, Callable[[Plan], list[str]]] = {
    "nginx": sites.nginx,
    "lighttpd": sites.lighttpd,
    "apache": sites.apache,
    "haproxy": sites.haproxy,
    "caddy": sites.caddy,
    "h2o": sites.h2o,
    "supervisor": units.supervisor,
    "systemd": units.systemd,
}

SNIPPETS: Sequence[str] = tuple(_MAKERS)
"""
The programs that there are configurations for.
"""

#: Where Debian has what is printed, and what more there is to do; systemd's has
#: several files, and says it of each.
_WHERE = {
    "nginx": "# /etc/nginx/conf.d/app.conf",
    "lighttpd": "# /etc/lighttpd/conf-enabled/50-app.conf",
    "apache": "# /etc/apache2/sites-available/app.conf, and: a2enmod proxy_fcgi, "
    "a2ensite app",
    "haproxy": "# At the end of /etc/haproxy/haproxy.cfg",
    "caddy": "# /etc/caddy/Caddyfile",
    "h2o": "# /etc/h2o/h2o.conf",
    "supervisor": "; /etc/supervisor/conf.d/app.conf",
}

#: Options of C{twistd} that a process manager has others for, or that are right
#: for it in one way only.
_USER = frozenset(("-u", "--uid", "-g", "--gid"))
_SETTLED = frozenset(("-n", "--nodaemon", "--pidfile"))

#: What all programs can read: a day, in seconds, and a tebibyte.
_LONGEST = 24 * 60 * 60
_LARGEST_BODY = 2**40


def snippet(name: str, options: Options, words: Sequence[str]) -> str:
    """
    Make a configuration.

    @param name: One of L{SNIPPETS}.
    @param options: The parsed options of C{twistd fastcgi}, with the keys
        C{ports}, the endpoint strings, and C{peers}, who may connect.
    @param words: The command line that they were parsed from.
    @return: The text of it.
    @raise NoSnippet: If there is none that goes with these options.
    """
    lines = _MAKERS[known(name)](_plan(options, words))
    where = [_WHERE[name]] if name in _WHERE else []
    return "".join(f"{line}\n" for line in [*where, *lines])


def known(name: str) -> str:
    """
    Look whether there is a configuration for a program.

    @return: The name.
    @raise NoSnippet: If there is none.
    """
    if name not in _MAKERS:
        raise NoSnippet(f"there is none for {name!r}: name {', '.join(SNIPPETS)}")
    return name


def _plan(options: Options, words: Sequence[str]) -> Plan:
    runner: Any = options.parent or {}
    base = os.path.abspath(runner.get("rundir", "."))
    places = [placeOf(port, base) for port in options["ports"]]
    status = options["status-path"]
    return Plan(
        program=_program(runner),
        options=_words(options, words, {f"--{OPTION}"}),
        directory=os.getcwd(),
        places=places,
        mount=options["mount"],
        statusPath=plainPath(status, "--status-path") if status else "",
        watchers=_addresses(options["watchers"]),
        bodyBytes=_number(options["max-body-bytes"], _LARGEST_BODY),
        idleTimeout=_number(options["idle-timeout"], _LONGEST),
        grace=min(options["grace"], _LONGEST),
        user=_runnerWords(runner, only=_USER),
        owner=_owner(runner),
        isSite=options["application"] is not None or options["authorizer"] is None,
        webServers=",".join(_addresses(webServerPeers(os.environ))),
        reloads=options["workers"] is not None,
        remarks=list(_remarks(options, places)),
    )


def _words(
    options: Options,
    words: Sequence[str],
    without: Container[str] = (),
    only: Container[str] | None = None,
) -> list[str]:
    """
    Write a command line anew, as it was given.

    @param without: The names of options to leave out.
    @param only: The names of those to take, if not all.
    """
    given, _ = getopt.getopt(list(words), options.shortOpt, options.longOpt)
    return [
        word
        for name, value in given
        if name not in without and (only is None or name in only)
        for word in _option(options, name, value)
    ]


def _option(options: Options, name: str, value: str) -> Sequence[str]:
    if not _takesValue(options, name):
        return (name,)
    if not value and name.startswith("--"):
        return (f"{name}=",)
    return (name, value)


def _takesValue(options: Options, name: str) -> bool:
    if name.startswith("--"):
        return f"{name[2:]}=" in options.longOpt
    return f"{name[1:]}:" in options.shortOpt


def _program(runner: Any) -> list[str]:
    """
    Tell what was started, with what was said to it before C{fastcgi}.
    """
    path = os.path.abspath(sys.argv[0])
    folder, name = os.path.split(path)
    daemonises = not runner or "nodaemon" in runner
    program = [os.path.join(sysconfig.get_path("scripts"), "twistd")]
    if runner and name == "__main__.py":
        program = [sys.executable, "-m", os.path.basename(folder)]
    elif runner and name in ("twist", "twistd"):
        program = [path]
    foreground = ["--nodaemon", "--pidfile="] if daemonises else []
    return [*program, *foreground, *_runnerWords(runner, without=_USER | _SETTLED)]


def _runnerWords(runner: Any, **which: Container[str]) -> list[str]:
    # Without one, somebody has parsed options in a program of their own.
    return _words(runner, sys.argv[1:], **which) if runner else []


def _owner(runner: Any) -> tuple[str, str]:
    """
    Tell the names of the user and the group that C{twistd} is to become.
    """
    uid, gid = runner.get("uid"), runner.get("gid")
    user = "" if uid is None else _name(uid, lambda: pwd.getpwuid(uid).pw_name)
    group = "" if gid is None else _name(gid, lambda: grp.getgrgid(gid).gr_name)
    return user, group


def _name(number: int, lookUp: Callable[[], str]) -> str:
    with suppress(KeyError):
        return lookUp()
    return str(number)


def _number(value: Any, most: int) -> Any:
    # Defaults are not read as what is said is.
    return None if value in (None, "none") else min(value, most)


def _addresses(peers: Peers | None) -> list[str]:
    """
    Write addresses and networks as all programs read them.
    """
    networks = [] if peers is None else peers.networks
    return [str(each).removesuffix(f"/{each.max_prefixlen}") for each in networks]


def _has(peers: Peers, host: str) -> bool:
    # What a name stands for is not looked up.
    isName = not (isIPAddress(host) or isIPv6Address(host))
    return isName or host in peers


def _remarks(options: Options, places: Sequence[Place]) -> Iterator[str]:
    peers: Sequence[Peers] = options["peers"]
    for place in places[:1]:
        if place.host and any(not _has(each, place.host) for each in peers):
            yield f"It lets nobody connect from {place.host}: see --allow."
    if options["authorizer"] is not None:
        yield "What asks the authorizer is a setting of its own: see the documentation."
