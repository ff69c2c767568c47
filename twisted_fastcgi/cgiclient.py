# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The web server's side of CGI (RFC 3875): the variables of an HTTP request, and
what a CGI response means in HTTP.  Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers

from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.fields import HOP_BY_HOP

#: The name of a variable and its value; L{None} leaves the variable out.
#: Text stands for its bytes in UTF-8.
Variables: TypeAlias = Mapping[str | bytes, str | bytes | None]

# Many programs take HTTP_PROXY for the proxy that they are to use; Host and
# Content-* are dealt with apart; nobody would answer Expect.
_NEVER_SENT = HOP_BY_HOP | {
    b"content-length",
    b"content-type",
    b"expect",
    b"host",
    b"proxy",
}

# The most digits of a Content-Length that are believed.
_MAX_LENGTH_DIGITS = 18

_isToken = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
# An underscore would pass for a hyphen.
_isVariableName = re.compile(rb"[!#$%&'*+.^`|~0-9A-Za-z-]+").fullmatch
_uriParts = re.compile(
    rb"(https?)://(?:[^/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^]/?#:@[]+)(?::([0-9]{0,5}))?"
    rb"(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?",
    re.IGNORECASE | re.DOTALL,
).fullmatch
_isPrintable = re.compile(rb"[!-~]+").fullmatch
_headEnd = re.compile(rb"\n\r?\n")
_lineEnd = re.compile(rb"\r?\n")
_status = re.compile(rb"([2-9][0-9]{2})(?:[ \t]+(.*))?").fullmatch


@dataclass(frozen=True, slots=True)
class Target:
    """
    What an absolute URI says.

    @ivar scheme: C{b"http"} or C{b"https"}.
    @ivar host: The host, an IPv6 address in brackets.
    @ivar port: The port, as digits.
    @ivar authority: Host and port as in a I{Host} header: without the port if
        it is the usual one.
    @ivar path: The path as it is written, at least C{b"/"}.
    @ivar query: What is behind the question mark, L{None} without one.
    """

    scheme: bytes
    host: bytes
    port: bytes
    authority: bytes
    path: bytes
    query: bytes | None

    @property
    def originForm(self) -> bytes:
        """
        Path and query (RFC 9112, section 3.2.1).
        """
        return self.path if self.query is None else self.path + b"?" + self.query


def parseTarget(uri: bytes) -> Target:
    """
    Take an absolute URI apart (RFC 9110, section 4.2).  User information and
    the fragment are none of the application's business.

    @param uri: The URI, with the scheme C{http} or C{https}.
    @return: Its parts.
    @raise ValueError: If it is no such URI.
    """
    parts = _uriParts(uri) if _isPrintable(uri) else None
    if parts is None:
        raise ValueError(f"not an absolute URI of http or https: {uri[:200]!r}")
    scheme, host, port, path, query = parts.groups()
    scheme = scheme.lower()
    usual = b"443" if scheme == b"https" else b"80"
    port = port or usual
    authority = host if port == usual else host + b":" + port
    return Target(scheme, host, port, authority, path or b"/", query)


def requestVariables(
    method: bytes, target: Target, headers: Headers, length: int | None
) -> dict[bytes, bytes]:
    """
    Make the variables of a request (RFC 3875, section 4.1), for an application
    that is responsible for all paths: SCRIPT_NAME is empty, PATH_INFO the
    whole path.

    @param method: The request method.
    @param target: Where the request goes.
    @param headers: The headers of the request.
    @param length: The size of the body in bytes, if there is one and its size
        is known.
    @return: The variables.
    @raise ValueError: If C{method} is not the name of a method.
    """
    if _isToken(method) is None:
        raise ValueError(f"not the name of an HTTP method: {method[:60]!r}")
    variables = {
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"SERVER_SOFTWARE": b"twisted_fastcgi",
        b"SERVER_PROTOCOL": b"HTTP/1.1",
        b"REQUEST_METHOD": method,
        b"REQUEST_SCHEME": target.scheme,
        b"REQUEST_URI": target.originForm,
        b"SCRIPT_NAME": b"",
        b"PATH_INFO": unquote_to_bytes(target.path),
        b"QUERY_STRING": target.query or b"",
        b"SERVER_NAME": target.host,
        b"SERVER_PORT": target.port,
        b"REMOTE_ADDR": b"127.0.0.1",
        # PHP as a CGI program refuses to run without it.
        b"REDIRECT_STATUS": b"200",
    }
    if target.scheme == b"https":
        variables[b"HTTPS"] = b"on"
    if length is not None:
        variables[b"CONTENT_LENGTH"] = b"%d" % length
    _addHeaders(variables, target, headers)
    return variables


def _addHeaders(
    variables: dict[bytes, bytes], target: Target, headers: Headers
) -> None:
    """
    Add the variables that stand for header fields (RFC 3875, section 4.1.18).
    """
    contentType = headers.getRawHeaders(b"Content-Type")
    if contentType:
        variables[b"CONTENT_TYPE"] = contentType[-1]
    variables[b"HTTP_HOST"] = (headers.getRawHeaders(b"Host") or [target.authority])[-1]
    for name, values in headers.getAllRawHeaders():
        lower = name.lower()
        if lower not in _NEVER_SENT and _isVariableName(name):
            separator = b"; " if lower == b"cookie" else b", "
            variable = b"HTTP_" + name.upper().replace(b"-", b"_")
            variables[variable] = separator.join(values)


def merged(
    variables: Mapping[bytes, bytes], *changes: Variables | None
) -> dict[bytes, bytes]:
    """
    Change some variables.

    @param variables: Variables.
    @param changes: Variables to add or replace, or to leave out; later ones
        count more.
    @return: All of them.
    @raise ValueError: If a name is empty, or there is a NUL in a name or a
        value (FastCGI 1.0, section 6.1).
    """
    result = dict(variables)
    for some in changes:
        for name, value in (some or {}).items():
            if value is None:
                result.pop(_bytes(name), None)
            else:
                result[_bytes(name)] = _bytes(value)
    # One look at all of them is far cheaper than one at each.
    if b"" in result or b"\0" in b"".join(chain.from_iterable(result.items())):
        raise _refused(result)
    return result


def _refused(variables: Mapping[bytes, bytes]) -> ValueError:
    """
    Make the error for variables of which at least one can't be.
    """
    name, value = next(
        (name, value)
        for name, value in variables.items()
        if not name or b"\0" in name + value
    )
    return ValueError(
        f"no CGI variable can be named {name[:60]!r} with the value {value[:60]!r}: "
        "there is a NUL in it, or no name"
    )


def _bytes(text: str | bytes) -> bytes:
    """
    Encode text, file names that are not UTF-8 included.
    """
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


@dataclass(frozen=True, slots=True)
class Head:
    """
    What the header block of a CGI response says.

    @ivar code: The status code.
    @ivar phrase: The reason phrase.
    @ivar headers: The header fields that are for the client.
    @ivar length: The size of the body, in bytes, if it is told.
    """

    code: int
    phrase: bytes
    headers: Headers
    length: int | None


def headEnd(data: bytes | bytearray, start: int = 0) -> int:
    r"""
    Find the end of a header block: the first empty line, with C{\n} or
    C{\r\n} at the end of each line (RFC 3875, section 6.2).

    @param data: What has come of a response.
    @param start: How much of it is known not to hold that end.
    @return: Where the body starts, -1 if that has not come yet.
    """
    if data.startswith((b"\n", b"\r\n")):
        return data.index(b"\n") + 1
    # The end may have begun with the last bytes that came before.
    found = _headEnd.search(data, max(0, start - 2))
    return -1 if found is None else found.end()


def parseHead(block: bytes) -> Head:
    """
    Read the header block of a CGI response (RFC 3875, sections 6.2 and 6.3).

    Without a I{Status} the status is 200, or 302 if there is a I{Location},
    even one that is only a path: as in most web servers it is up to the client
    to follow it.  Fields that concern one hop only are left out.

    @param block: The block with the empty line at its end, see L{headEnd}.
    @return: What it says.
    @raise RemoteProtocolError: If it can't be understood.
    """
    lines = _lineEnd.split(block)[:-2]
    headers = Headers()
    for line in lines or [b""]:
        name, value = _parseField(line)
        if name.lower() not in HOP_BY_HOP:
            headers.addRawHeader(name, value)
    code, phrase = _parseStatus(headers)
    headers.removeHeader(b"Status")
    return Head(code, phrase, headers, _parseLength(headers))


def _parseField(line: bytes) -> tuple[bytes, bytes]:
    """
    Read one header field.
    """
    name, colon, value = line.partition(b":")
    if not colon or _isToken(name) is None or b"\0" in value or b"\r" in value:
        raise RemoteProtocolError(
            f"the response has {line[:200]!r} where a header field should be: each "
            "line needs a name, a colon and a value, and an empty line comes before "
            "the body"
        )
    return name, value.strip(b" \t")


def _parseStatus(headers: Headers) -> tuple[int, bytes]:
    """
    Tell the status code and the reason phrase (RFC 3875, section 6.3.3).
    """
    said = _only(b"Status", headers)
    if said is None:
        code = 302 if headers.hasHeader(b"Location") else 200
        return code, RESPONSES[code]
    status = _status(said)
    if status is None:
        raise RemoteProtocolError(
            f"the response has the status {said[:60]!r}: it has to be the code of a "
            "final response, three digits, and perhaps a reason"
        )
    code = int(status[1])
    return code, status[2] or RESPONSES.get(code, b"")


def _parseLength(headers: Headers) -> int | None:
    """
    Tell the size of the body (RFC 9110, section 8.6).
    """
    said = _only(b"Content-Length", headers)
    if said is None:
        return None
    if not said.isdigit() or len(said) > _MAX_LENGTH_DIGITS:
        raise RemoteProtocolError(
            f"the response has the Content-Length {said[:60]!r}: it has to be a "
            "number of bytes"
        )
    return int(said)


def _only(name: bytes, headers: Headers) -> bytes | None:
    """
    Tell the value of a header field that must not have two.
    """
    values = set(headers.getRawHeaders(name, ()))
    if len(values) > 1:
        shown = b", ".join(sorted(values))[:200]
        raise RemoteProtocolError(
            f"the response has more than one {name.decode()}: {shown!r}"
        )
    return values.pop() if values else None
