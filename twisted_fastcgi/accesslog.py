# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Lines for the access log.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from json import dumps
from time import gmtime, strftime, time
from typing import Any

from twisted.web.iweb import IAccessLogFormatter
from zope.interface import implementer, provider

from twisted_fastcgi.channel import RequestChannel

WORKER = "TWISTED_FASTCGI_WORKER"
"""
The environment variable that tells one of several processes its name, or its
number.
"""

REQUEST_IDS = (b"REQUEST_ID", b"UNIQUE_ID", b"HTTP_X_REQUEST_ID")
"""
The variables that may have the front end's name of a request; the first one that
is not empty counts.  The last one is a header field, which clients can send too.
"""

# What stands for itself in a line: ASCII that can be seen, and the space, but
# neither the quote that ends a field nor what would escape it.
_PLAIN = bytes(sorted({*range(0x20, 0x7F)} - {*rb"\""}))

# The same, in a field that a space ends.
_SOLID = _PLAIN.replace(b" ", b"")

# What an object of JSON says of a request, and the variables that tell it.
_SAID = (
    ("remote_address", b"REMOTE_ADDR"),
    ("user", b"REMOTE_USER"),
    ("host", b"HTTP_HOST"),
    ("referer", b"HTTP_REFERER"),
    ("user_agent", b"HTTP_USER_AGENT"),
)

_JSON = (
    '{"time": "%s", "method": %s, "path": %s, "protocol": %s, "status": %d, '
    '"bytes": %d, "microseconds": %s, '
    + "".join(f'"{name}": %s, ' for name, _ in _SAID)
    + '"request_id": %s, "worker": %s}'
)

_LINE = '%s - %s %s "%s %s %s" %d %s "%s" "%s"'


@provider(IAccessLogFormatter)
def combinedLogFormatter(timestamp: str, request: Any) -> str:
    """
    Make the line that web servers write by the name of "combined", of what the
    web server has said of the client and its request.

    @param timestamp: When it is, in brackets.
    @param request: A request, also one that came over HTTP.
    @return: The line, without its end.  Nothing that a client can send begins
        another field or another line: such bytes are written as C{\\x} with two
        digits, as nginx has it.
    """
    get = _teller(request)
    return _LINE % (
        _plain(get(b"REMOTE_ADDR"), _SOLID),
        _plain(get(b"REMOTE_USER"), _SOLID),
        timestamp,
        _plain(request.method),
        _plain(request.uri),
        _plain(request.clientproto),
        request.code,
        request.sentLength or "-",
        _plain(get(b"HTTP_REFERER")),
        _plain(get(b"HTTP_USER_AGENT")),
    )


def _plain(value: bytes | None, allowed: bytes = _PLAIN) -> str:
    """
    Make a field that is ASCII and ends where it should.

    @param allowed: The bytes that stand for themselves.
    """
    if not value:
        return "-"
    if not value.translate(None, allowed):
        return value.decode("ascii")
    return "".join(chr(n) if n in allowed else f"\\x{n:02X}" for n in value)


@implementer(IAccessLogFormatter)
class JSONLogFormatter:
    """
    Makes one object of JSON of each request, on one line of ASCII: see
    L{__call__} for what it has.
    """

    def __init__(self, worker: str | None = None) -> None:
        """
        @param worker: Which of several processes this one is.
        """
        number = worker is not None and worker.isascii() and worker.isdecimal()
        self._worker = dumps(int(worker or 0) if number else worker)
        self._second = -1
        self._beginning = ""

    def __call__(self, timestamp: str, request: Any) -> str:
        """
        Make the line of a request.

        What the web server, or the client, did not say is C{null}, also if it
        said nothing in so many words.  A backslash, and a byte that does not
        belong to UTF-8, is written as C{\\x} with two digits in the value of a
        field; everything else stands for itself.

        @param timestamp: Ignored, for it has no fractions of a second.
        @param request: A request, also one that came over HTTP.
        @return: The line, without its end.  Nothing that a client can send
            begins another field or another line.
        """
        channel = request.channel
        isAged = isinstance(channel, RequestChannel)
        took = str(round(channel.age * 1_000_000)) if isAged else "null"
        get = _teller(request)
        return _JSON % (
            self._now(),
            _quoted(request.method),
            _quoted(request.uri),
            _quoted(request.clientproto),
            request.code,
            request.sentLength,
            took,
            *[_quoted(get(variable)) for _, variable in _SAID],
            _quoted(next(filter(None, map(get, REQUEST_IDS)), None)),
            self._worker,
        )

    def _now(self) -> str:
        """
        @return: The time in UTC (RFC 3339, section 5.6).
        """
        microseconds = int(time() * 1_000_000)
        second = microseconds // 1_000_000
        if second != self._second:
            self._second = second
            self._beginning = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return f"{self._beginning}.{microseconds % 1_000_000:06}Z"


jsonLogFormatter = JSONLogFormatter(os.environ.get(WORKER))
"""
An L{IAccessLogFormatter<twisted.web.iweb.IAccessLogFormatter>} for
C{Site(logFormatter=jsonLogFormatter)}.
"""


def _quoted(value: bytes | None) -> str:
    """
    Make a string of JSON.
    """
    if not value:
        return "null"
    if not value.translate(None, _PLAIN):
        return f'"{value.decode("ascii")}"'
    escaped = value.replace(b"\\", rb"\x5c").decode("utf-8", "backslashreplace")
    # This one is ASCII, but no terminal should get it.
    return dumps(escaped).replace("\x7f", r"\u007f")


def _teller(request: Any) -> Callable[[bytes], bytes | None]:
    """
    @return: What gives the values of variables; nothing for what was not said.
    """
    channel = request.channel
    if isinstance(channel, RequestChannel):
        get: Callable[[bytes], bytes | None] = channel.params.get
        return get
    return _variables(request).get


def _variables(request: Any) -> dict[bytes, bytes | None]:
    """
    Tell of a request that came over HTTP what a web server would have said.
    """
    address = getattr(request.getClientAddress(), "host", None)
    fields = (b"host", b"referer", b"user-agent", b"x-request-id")
    variables = {
        b"HTTP_" + name.upper().replace(b"-", b"_"): request.getHeader(name)
        for name in fields
    }
    variables[b"REMOTE_ADDR"] = address and address.encode("ascii")
    return variables
