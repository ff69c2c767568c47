# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Lines for the access log.
"""

from __future__ import annotations

from typing import Any

from twisted.web import http
from twisted.web.iweb import IAccessLogFormatter
from zope.interface import provider

from twisted_fastcgi.channel import RequestChannel

# What stands for itself in a line: ASCII that can be seen, and the space, but
# neither the quote that ends a field nor what would escape it.
_PLAIN = bytes(sorted({*range(0x20, 0x7F)} - {*rb"\""}))

_LINE = b'"%b" - - %b "%b %b %b" %d %b "%b" "%b"'


@provider(IAccessLogFormatter)
def combinedLogFormatter(timestamp: str, request: Any) -> str:
    """
    Make the same line as L{twisted.web.http.combinedLogFormatter}, of what the
    web server has said of the client and its request.

    It makes neither header fields nor addresses for that, and looks only once
    whether there is anything to be escaped: which takes 4 us instead of 40.

    @param timestamp: When it is.
    @param request: A request; one that came over HTTP is none the worse.
    @return: The line, without its end.  Nothing that a client can send begins
        another field or another line.
    """
    channel = request.channel
    line = ""
    if isinstance(channel, RequestChannel):
        line = _plainLine(timestamp, request, channel.params.get)
    return line or str(http.combinedLogFormatter(timestamp, request))


def _plainLine(timestamp: str, request: Any, get: Any) -> str:
    """
    Make a line in which there is nothing to be escaped.

    @param get: Gives the values of variables.
    @return: The line; nothing if there is.
    """
    address = get(b"REMOTE_ADDR", b"")
    referrer = get(b"HTTP_REFERER") or b"-"
    agent = get(b"HTTP_USER_AGENT") or b"-"
    method, uri, version = request.method, request.uri, request.clientproto
    said = b"".join((address, method, uri, version, referrer, agent))
    if said.translate(None, _PLAIN) or address.startswith(b"["):
        return ""
    length = b"%d" % request.sentLength if request.sentLength else b"-"
    when = timestamp.encode("ascii")
    line = (address, when, method, uri, version, request.code, length, referrer, agent)
    return (_LINE % line).decode("ascii")
