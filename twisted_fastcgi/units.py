# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Configurations of programs that start a server, and start it again when it ends.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from twisted_fastcgi.peers import WEB_SERVER_ADDRS
from twisted_fastcgi.places import SOCKET, NoSnippet, Place, Plan

#: Seconds between the end of the grace and the moment when the server is killed.
_SPARE = 10

#: How many connections may wait in a socket that is made for the server.
_BACKLOG = 1024

# Where folders live that systemd makes for a service.
_RUN = "/run"

# What systemd takes for itself in a command line.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9/._+=:,@~-]+")


def _patience(plan: Plan) -> int:
    return math.ceil(plan.grace) + _SPARE


def _command(plan: Plan, *user: str) -> list[str]:
    return [*plan.program, *user, "fastcgi", *plan.options]


def _environment(plan: Plan, quote: str = "") -> Iterable[str]:
    """
    Tell what has to be in the environment.
    """
    if plan.webServers:
        yield f"{WEB_SERVER_ADDRS}={quote}{plan.webServers}{quote}"


def _printable(text: str, what: str) -> str:
    """
    @raise NoSnippet: If there is a control character, such as the end of a line:
        no configuration has a way to write it.
    """
    if not text.isprintable():
        raise NoSnippet(f"{what}: {text!r} can't be written into a configuration")
    return text


def _inherited(plan: Plan) -> Mapping[str, Place]:
    """
    Tell which sockets are to be made for the server, by the kinds of their
    endpoints.

    @raise NoSnippet: If there are several.
    """
    found = [place for place in plan.places if place.inherited]
    if len(found) > 1:
        raise NoSnippet("--port: one socket is made, not several; name one of them")
    return {place.kind: place for place in found}


# supervisor


def supervisor(plan: Plan) -> list[str]:
    """
    What goes into a folder such as I{/etc/supervisor/conf.d}.
    """
    inherits = _inheritsSocket(plan)
    kind = "fcgi-program" if inherits else "program"
    return [
        f"[{kind}:app]",
        f"command={_supervisorCommand(_command(plan, *plan.user))}",
        f"directory={_supervisorPath(plan.directory)}",
        *(f"environment={each}" for each in _environment(plan, '"')),
        *(_SUPERVISOR_SOCKET if inherits else ()),
        *(_SUPERVISOR_RELOAD if plan.reloads else ()),
        "",
        "; Longer than the requests in hand may take at the stop (--grace).",
        f"stopwaitsecs={_patience(plan)}",
        "redirect_stderr=true",
    ]


_SUPERVISOR_SOCKET = (
    "; How many processes there are on the socket: each has sessions of its own.",
    "numprocs=1",
    "process_name=%(program_name)s-%(process_num)d",
    "",
    f"socket=unix://{SOCKET}",
    "socket_owner=www-data:www-data",
    "socket_mode=0660",
    f"socket_backlog={_BACKLOG}",
)


_SUPERVISOR_RELOAD = (
    "",
    "; The workers load the code anew, one after another, at this:",
    ";   supervisorctl signal HUP app:*",
)


def _inheritsSocket(plan: Plan) -> bool:
    """
    @return: Whether supervisor is to make the socket.
    @raise NoSnippet: If it can't.
    """
    inherited = _inherited(plan)
    if "systemd" in inherited:
        raise NoSnippet(
            "supervisor passes no sockets as systemd does: say --port fcgi:"
        )
    return bool(inherited)


def _supervisorCommand(words: Iterable[str]) -> str:
    line = " ".join(shlex.quote(_printable(word, "supervisor")) for word in words)
    # After a space these begin a comment, also between quotes.
    line = re.sub(r"(?<=\s)(?=[;#])", "''", line)
    return line.replace("%", "%%")


def _supervisorPath(path: str) -> str:
    if re.search(r"\s[;#]|\s$", _printable(path, "supervisor")):
        raise NoSnippet(f"supervisor can't start anything in {path!r}")
    return path.replace("%", "%%")


# systemd


def systemd(plan: Plan) -> list[str]:
    """
    What goes into files below I{/etc/systemd/system}; comments tell their names.
    """
    inherited = _inherited(plan)
    if "fcgi" in inherited:
        raise NoSnippet(
            "systemd passes no socket as file descriptor 0: say --port "
            "systemd:domain=UNIX:index=0"
        )
    sockets = [line for place in inherited.values() for line in _socket(place)]
    return [*sockets, *_service(plan, bool(sockets))]


def _socket(place: Place) -> list[str]:
    name = place.name and [f"FileDescriptorName={_systemdPath(place.name)}"]
    return [
        "# /etc/systemd/system/app.socket",
        "[Unit]",
        "Description=The socket of the application",
        "",
        "[Socket]",
        f"ListenStream={SOCKET}",
        *name,
        "SocketUser=www-data",
        "SocketGroup=www-data",
        "SocketMode=0660",
        f"Backlog={_BACKLOG}",
        "",
        "[Install]",
        "WantedBy=sockets.target",
        "",
    ]


def _service(plan: Plan, passed: bool) -> list[str]:
    return [
        "# /etc/systemd/system/app.service",
        "[Unit]",
        "Description=The application",
        *(["Requires=app.socket", "After=app.socket"] if passed else []),
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={' '.join(_systemdWords(_command(plan)))}",
        *_reload(plan),
        f"WorkingDirectory={_systemdPath(plan.directory)}",
        *(f"Environment={each}" for each in _environment(plan)),
        *_identity(plan),
        *_folder(plan),
        "Restart=on-failure",
        "# Longer than the requests in hand may take at the stop (--grace).",
        f"TimeoutStopSec={_patience(plan)}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]


def _reload(plan: Plan) -> Sequence[str]:
    if not plan.reloads:
        return ()
    return (
        "# The workers load the code anew, one after another.",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "# The parent tells its workers to stop.",
        "KillMode=mixed",
    )


def _identity(plan: Plan) -> Iterable[str]:
    user, group = plan.owner
    if user:
        yield f"User={_systemdPath(user)}"
    else:
        yield "# It runs as root: twistd --uid says who it is to be."
    if group:
        yield f"Group={_systemdPath(group)}"


def _folder(plan: Plan) -> Iterable[str]:
    """
    Have systemd make the folder of a socket: nobody but root may make one in
    I{/run}.
    """
    folders = [
        os.path.dirname(place.path) for place in plan.places if place.kind == "unix"
    ]
    for folder in dict.fromkeys(folders):
        if os.path.dirname(folder) == _RUN:
            yield "# A folder in which that user may make the socket, and remove it."
            yield f"RuntimeDirectory={os.path.basename(folder)}"
            yield "RuntimeDirectoryMode=0755"
        elif folder == _RUN and plan.owner[0]:
            yield f"# That user may make no socket in {_RUN}: have it in {_RUN}/app."


def _systemdWords(words: Iterable[str]) -> Iterable[str]:
    return map(_systemdWord, words)


def _systemdWord(word: str) -> str:
    """
    Quote a word of a command line, in which C{$} begins a variable and C{%} a
    specifier.
    """
    _printable(word, "systemd")
    if not _PLAIN_WORD.fullmatch(word):
        word = re.sub(r'(["\\])', r"\\\1", word)
        word = f'"{word}"'
    return word.replace("%", "%%").replace("$", "$$")


def _systemdPath(path: str) -> str:
    """
    A value that takes all of its line.
    """
    if re.search(r"[\s\\]$", _printable(path, "systemd")):
        raise NoSnippet(f"systemd can't take {path!r} for a path")
    return path.replace("%", "%%")
