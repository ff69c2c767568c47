# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
CGI variables and CGI responses (RFC 3875): pure functions between them and
HTTP, as L{twisted.web} wants it.

Nothing that the front end or its clients send gets past this module as more
than it is: what can't be part of a request is refused with a
L{RemoteProtocolError<twisted_fastcgi.errors.RemoteProtocolError>}, what can't
be part of a response is left out or made harmless.

Two shapes of the same variables are used.  L{Pairs} are the variables as they
were received, repeated names included; L{Variables} is the mapping of names to
values in which the last one of a repeated name wins, as nginx needs it: it
sends a variable twice when the stock parameters and the site both set it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping
from functools import lru_cache
from itertools import chain
from typing import TypeAlias, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.http_headers import Headers

from twisted_fastcgi.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)
from twisted_fastcgi.fields import HOP_BY_HOP

#: Names and values as they were received, with repeats.
Pairs: TypeAlias = Collection[tuple[bytes, bytes]]

#: Names and values; of a repeated name the last value.
Variables: TypeAlias = Mapping[bytes, bytes]

_Result = TypeVar("_Result")

#: The most digits of a Content-Length that are believed.
MAX_LENGTH_DIGITS = 18

#: The longest CONTENT_TYPE, in bytes.
MAX_MEDIA_TYPE = 4096

#: The most slashes in a path.  twisted.web takes its segments off the front of a
#: list, one by one: a path of 400 KB, which web servers exist that let pass, keeps
#: everybody waiting for 10 seconds.
MAX_SLASHES = 4096

# A Proxy header would pass for the HTTP_PROXY setting of client libraries; the
# web server answers Expect itself; Content-* come from their own variables.
_NEVER_RECEIVED = HOP_BY_HOP | {
    b"content-length",
    b"content-type",
    b"expect",
    b"proxy",
}

# Status and Content-Length are written by responseHead itself.
_NEVER_SENT = HOP_BY_HOP | {b"content-length", b"status"}

_CONTENT_LENGTH = b"Content-Length"
_CONTENT_TYPE = b"Content-Type"
_COOKIE = b"Cookie"

# Request headers of which there is one at most.
_SINGLE = frozenset((_CONTENT_LENGTH, _CONTENT_TYPE, _COOKIE))

# All that may stand in the path of a URI unquoted (RFC 3986, section 3.3).
_PATH_SAFE = "/!$&'()*+,;=:@"

_isToken = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_endOfLine = re.compile(rb"[\x0b\x0c\x1c-\x1e\x85]").search
_isVersion = re.compile(rb"HTTP/[0-9](\.[0-9])?").fullmatch
_encodedSlash = re.compile(rb"%(2[Ff])")
_absoluteForm = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*").match
_isIPv6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*(%.+)?").fullmatch
_hostAndPort = re.compile(rb"(\[[^]]*\]|[^:]*):[0-9]*").fullmatch

# The results of _headerName, _environName and _sentName: see _remember.
_headerNames: dict[bytes, bytes] = {}
_environNames: dict[bytes, str] = {}
_sentNames: dict[bytes, bytes] = {}
_MOST_KNOWN = 1024
_LONGEST_KNOWN = 64

# No length at all: see responseHead.
_NOT_LOOKED = -1

# Several values of these would be none.
_ONE_VALUE = frozenset(
    ("HTTP_AUTHORIZATION", "HTTP_HOST", "HTTP_REFERER", "HTTP_USER_AGENT")
)

# These need no closer look.
_USUAL_METHODS = frozenset((b"GET", b"HEAD", b"POST"))

# What can't stand in a request target, or would end it early.
_UNFIT = re.compile(rb"[\x00-\x20\x7f#]")

# A path that stands in a request target as it is, and can't have too many slashes.
_isUsual = re.compile(rb"/[^\x00-\x20\x7f#?]{,%d}" % (MAX_SLASHES - 1)).fullmatch

# As numbers, because that is how they are found fastest in bytes.
_NUL, _CR, _LF = b"\0\r\n"

_BLANK = bytes.maketrans(b"\r\n\0", b"   ")
_INVISIBLE = bytes((*range(0x20), *range(0x7F, 0xA0)))

# No value of these can hold a line break, whoever chose it.
_ONE_LINE = frozenset(
    (
        b"CONTENT_LENGTH",
        b"CONTENT_TYPE",
        b"HTTPS",
        b"QUERY_STRING",
        b"REMOTE_ADDR",
        b"REMOTE_PORT",
        b"REQUEST_METHOD",
        b"REQUEST_SCHEME",
        b"REQUEST_URI",
        b"SERVER_ADDR",
        b"SERVER_NAME",
        b"SERVER_PORT",
        b"SERVER_PROTOCOL",
    )
)


def requestLine(variables: Variables) -> tuple[bytes, bytes, bytes]:
    """
    Tell what L{method}, L{uri} and L{protocolVersion} do.

    @param variables: The variables of the request.
    @return: The three.
    @raise LimitExceeded: If the path has too many slashes.
    @raise RemoteProtocolError: If there is no method, or it is not a token.
    """
    # Nearly always this is all there is to it: it takes a third of the time.
    get = variables.get
    command = get(b"REQUEST_METHOD", b"")
    if command not in _USUAL_METHODS:
        command = method(variables)
    target = get(b"REQUEST_URI", b"")
    path, query = (
        get(b"SCRIPT_NAME", b"") + get(b"PATH_INFO", b""),
        get(b"QUERY_STRING"),
    )
    usual = path + b"?" + query if query else path
    if target != usual or not _isUsual(path) or (query and _UNFIT.search(query)):
        target = uri(variables)
    version = get(b"SERVER_PROTOCOL", b"")
    if version != b"HTTP/1.1":
        version = protocolVersion(variables)
    return command, target, version


def method(variables: Variables) -> bytes:
    """
    Tell the request method (RFC 3875, section 4.1.12).

    @param variables: The variables of the request.
    @return: The method as it was sent.
    @raise RemoteProtocolError: If there is none, or it is not a token.
    """
    value = variables.get(b"REQUEST_METHOD", b"")
    if _isToken(value) is None:
        raise _impossible(b"REQUEST_METHOD", value, "the name of a method")
    return value


def protocolVersion(variables: Variables) -> bytes:
    """
    Tell the version of HTTP that the client speaks (RFC 3875, section
    4.1.16).

    @param variables: The variables of the request.
    @return: C{HTTP/} and one or two digits, C{b"HTTP/2"} as well as
        C{b"HTTP/2.0"}, as it was sent; C{b"HTTP/1.1"} for anything else.
    """
    value = variables.get(b"SERVER_PROTOCOL", b"")
    return value if _isVersion(value) else b"HTTP/1.1"


def uri(variables: Variables) -> bytes:
    """
    Tell the request target in origin-form (RFC 9112, section 3.2.1).

    Its path is always SCRIPT_NAME and PATH_INFO (RFC 3875, sections 4.1.13 and
    4.1.5), which is the path that the front end's access rules have seen.
    REQUEST_URI is what the client wrote, C{..}, C{//} and all; it is believed,
    for the sake of its exact percent-encoding, only where it means the very
    same path, be it decoded or literally.  The query is QUERY_STRING (section
    4.1.7), where it was sent.

    @param variables: The variables of the request.
    @return: A path that starts with C{/}, and the query if there is one; or
        C{b"*"} for C{OPTIONS *}.  There is no space, control character or
        C{#} in it.
    @raise LimitExceeded: If the path has more than 4096 slashes.
    """
    path = _path(variables)
    # It has all those that are in the target.
    slashes = path.count(b"/")
    if slashes > MAX_SLASHES:
        raise LimitExceeded(f"{slashes} slashes in the path, {MAX_SLASHES} are allowed")
    target = variables.get(b"REQUEST_URI", b"")
    if not target.startswith(b"/"):
        if _isAsterisk(variables, target, path):
            return target
        target = _originForm(target)
    targetPath, _, targetQuery = target.partition(b"?")
    isSame = targetPath == path or path in _decoded(targetPath)
    if not isSame or _UNFIT.search(target) is not None:
        quoted = quote_from_bytes(path, _PATH_SAFE).encode("ascii")
        return _withQuery(quoted, variables.get(b"QUERY_STRING", b""))
    # The front end may have been told to change the query alone.
    query = variables.get(b"QUERY_STRING", targetQuery)
    return target if query == targetQuery else _withQuery(targetPath, query)


def _decoded(path: bytes) -> tuple[bytes, bytes]:
    """
    Decode a path, and decode it again without the slashes in its segments.
    """
    decoded = unquote_to_bytes(path)
    if b"%2" not in path:
        return decoded, decoded
    return decoded, unquote_to_bytes(_encodedSlash.sub(rb"%25\1", path))


def _path(variables: Variables) -> bytes:
    """
    Tell the path that the front end has seen, decoded, with its first C{/}.
    """
    scriptName = variables.get(b"SCRIPT_NAME")
    pathInfo = variables.get(b"PATH_INFO")
    if scriptName is None and pathInfo is None:
        return _authorizedPath(variables)
    path = (scriptName or b"") + (pathInfo or b"")
    return path if path.startswith(b"/") else b"/" + path


def _authorizedPath(variables: Variables) -> bytes:
    """
    Tell the path where the front end has not said it, as for an Authorizer
    (FastCGI 1.0, section 6.3): what a front end makes of REQUEST_URI before it
    looks at its rules, or else DOCUMENT_URI.
    """
    target = variables.get(b"REQUEST_URI", b"")
    if not target.startswith(b"/"):
        target = _originForm(target)
    if not target:
        return _withoutDots(variables.get(b"DOCUMENT_URI", b""))
    return _withoutDots(unquote_to_bytes(re.split(rb"[?#]", target, maxsplit=1)[0]))


def _withoutDots(path: bytes) -> bytes:
    """
    Resolve C{.} and C{..} and merge repeated slashes in a decoded path.
    """
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    isDirectory = path.endswith((b"/", b"/.", b"/.."))
    return b"/" + b"/".join(kept) + (b"/" if kept and isDirectory else b"")


def _isAsterisk(variables: Variables, target: bytes, path: bytes) -> bool:
    """
    Tell whether this is C{OPTIONS *} (RFC 9112, section 3.2.4), and the front
    end has not made anything else of it.
    """
    return (
        target == b"*"
        and path in (b"/", b"/*")
        and variables.get(b"REQUEST_METHOD") == b"OPTIONS"
    )


def _originForm(target: bytes) -> bytes:
    """
    Reduce an absolute-form (RFC 9112, section 3.2.2).

    @return: Path and query; nothing if C{target} is in another form.
    """
    start = _absoluteForm(target)
    if start is None:
        return b""
    rest = target[start.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _withQuery(path: bytes, query: bytes) -> bytes:
    """
    Make a request target of a quoted path and a query.
    """
    if not query:
        return path
    return path + b"?" + _UNFIT.sub(lambda bad: b"%%%02X" % ord(bad[0]), query)


def scriptSegments(variables: Variables) -> list[bytes]:
    """
    Tell where the application is mounted (RFC 3875, section 4.1.13).

    @param variables: The variables of the request.
    @return: The decoded segments of SCRIPT_NAME, none for C{b""} and C{b"/"};
        one slash at its end does not count.
    """
    path = variables.get(b"SCRIPT_NAME", b"").removesuffix(b"/").removeprefix(b"/")
    return path.split(b"/") if path else []


def contentLength(variables: Variables) -> int | None:
    """
    Tell how long the body is (RFC 3875, section 4.1.2).

    @param variables: The variables of the request.
    @return: The length in bytes; L{None} if it is not known, or if there is no
        body.  nginx says that with an empty value, older versions of Caddy say
        it with C{-1}, others leave the variable out.
    @raise RemoteProtocolError: If the value is anything else but digits, or
        more than 18 of them.
    """
    value = variables.get(b"CONTENT_LENGTH", b"")
    if value in (b"", b"-1"):
        return None
    return _number(variables, b"CONTENT_LENGTH", "a number of bytes")


def dataLength(variables: Variables) -> int:
    """
    Tell how large the file is that a Filter is to filter (FastCGI 1.0, section
    6.4).

    @param variables: The variables of the request.
    @return: The size in bytes.
    @raise RemoteProtocolError: If it is missing or no number.
    """
    return _number(variables, b"FCGI_DATA_LENGTH", "a number of bytes")


def dataLastModified(variables: Variables) -> int:
    """
    Tell when that file was last modified (FastCGI 1.0, section 6.4).

    @param variables: The variables of the request.
    @return: Seconds since 1970.
    @raise RemoteProtocolError: If it is missing or no number.
    """
    return _number(variables, b"FCGI_DATA_LAST_MOD", "a number of seconds")


def _number(variables: Variables, name: bytes, expected: str) -> int:
    """
    Read a variable that is a number.
    """
    value = variables.get(name, b"")
    if not _isLength(value):
        raise _impossible(name, value, expected)
    return int(value)


def _isLength(value: bytes) -> bool:
    """
    Tell whether a Content-Length can be believed (RFC 9110, section 8.6).
    """
    return value.isdigit() and len(value) <= MAX_LENGTH_DIGITS


def _remember(known: dict[bytes, _Result], name: bytes, result: _Result) -> _Result:
    """
    Remember what becomes of a name, so that each of the few names that are in
    use costs one lookup.  What a hostile peer can have remembered is bounded.

    @return: C{result}.
    """
    if len(name) <= _LONGEST_KNOWN:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[name] = result
    return result


def _headerName(variable: bytes) -> bytes:
    """
    Tell which request header a variable stands for, C{b""} if none.
    """
    if variable == b"CONTENT_LENGTH":
        return _CONTENT_LENGTH
    if variable == b"CONTENT_TYPE":
        return _CONTENT_TYPE
    if not variable.startswith(b"HTTP_"):
        return b""
    name = variable[5:].replace(b"_", b"-")
    if _isToken(name) is None or name.lower() in _NEVER_RECEIVED:
        return b""
    return b"-".join(map(bytes.capitalize, name.split(b"-")))


def requestHeaders(pairs: Pairs) -> Headers:
    """
    Make the request headers of the HTTP_* variables (RFC 3875, section
    4.1.18), CONTENT_TYPE and CONTENT_LENGTH.

    Repeated variables are repeated headers, but there is only one I{Cookie}:
    its values are joined (RFC 9113, section 8.2.3).  I{Content-Type} and
    I{Content-Length} come from the variables of that name alone, the last
    ones, if there is something in them.  Hop-by-hop fields, I{Expect} and
    I{Proxy} are left out, and so is what can't be the name of a header.

    @param pairs: The variables of the request.
    @return: The headers.
    """
    headers = Headers()
    add = headers.addRawHeader
    single: dict[bytes, list[bytes]] = {}
    for variable, value in pairs:
        try:
            name = _headerNames[variable]
        except KeyError:
            name = _remember(_headerNames, variable, _headerName(variable))
        if not name:
            continue
        if name in _SINGLE:
            single.setdefault(name, []).append(value)
        else:
            add(name, value)
    for name, values in single.items():
        value = b"; ".join(values) if name == _COOKIE else values[-1]
        if value and (name != _CONTENT_LENGTH or _isLength(value)):
            add(name, value)
    return headers


def _environName(variable: bytes) -> str:
    """
    Tell what a variable is called in an environ, nothing if it is left out.
    """
    name = variable.upper()
    field = name[5:].replace(b"_", b"-").lower()
    if name.startswith(b"HTTP_") and field in _NEVER_RECEIVED:
        return ""
    return variable.decode("latin-1")


def environ(pairs: Pairs) -> dict[str, str]:
    """
    Make the part of a WSGI environ (PEP 3333) that comes from the web server:
    its variables, as text of one character for each byte.

    The values of repeated HTTP_* variables are joined (RFC 3875, section
    4.1.18); of other repeated variables the last one wins, as of HTTP_HOST,
    which nginx sends twice if the stock parameters and the site set it.  There is no
    HTTP_PROXY, none of the header fields that concern only the connection
    between the client and the web server, and no header field for what has a
    variable of its own.

    @param pairs: The variables of the request.
    @return: A new dictionary.
    """
    made: dict[str, str] = {}
    for variable, value in pairs:
        try:
            name = _environNames[variable]
        except KeyError:
            name = _remember(_environNames, variable, _environName(variable))
        text = value.decode("latin-1")
        if name in made and name.startswith("HTTP_") and name not in _ONE_VALUE:
            separator = "; " if name == "HTTP_COOKIE" else ", "
            text = f"{made[name]}{separator}{text}"
        made[name] = text
    # The name of all that is left out.
    made.pop("", None)
    return made


def isSecure(variables: Variables) -> bool:
    """
    Tell whether the client came over TLS.

    @param variables: The variables of the request.
    @return: Whether HTTPS is C{on}, C{1}, C{true}, C{yes} or C{https}, or
        REQUEST_SCHEME is C{https}, in capitals or not.
    """
    return (
        variables.get(b"HTTPS", b"").lower() in (b"on", b"1", b"https", b"true", b"yes")
        or variables.get(b"REQUEST_SCHEME", b"").lower() == b"https"
    )


def clientAddress(variables: Variables) -> IPv4Address | IPv6Address:
    """
    Tell where the client is (RFC 3875, section 4.1.8).

    @param variables: The variables of the request.
    @return: An address of the kind that REMOTE_ADDR looks like.  For a client
        without an IP address, on a Unix socket of the front end, the host is
        what the front end said (C{unix:} or C{unix}), or empty.  The port is 0
        if it is not known.
    """
    host = variables.get(b"REMOTE_ADDR", b"")
    return _address(host, _port(variables.get(b"REMOTE_PORT", b"")))


def serverAddress(variables: Variables) -> IPv4Address | IPv6Address:
    """
    Tell which address of the front end the client talks to (RFC 3875, sections
    4.1.14 and 4.1.15).

    @param variables: The variables of the request.
    @return: An address whose host is SERVER_ADDR if that is an address of a
        network, else SERVER_NAME, and whose port is SERVER_PORT, or the usual
        one if that is not known.
    """
    host = variables.get(b"SERVER_ADDR", b"")
    if not host or host.startswith(b"unix"):
        host = variables.get(b"SERVER_NAME", b"")
        # HAProxy says it together with the port.
        if withPort := _hostAndPort(host):
            host = withPort[1]
    port = _port(variables.get(b"SERVER_PORT", b""))
    return _address(host, port or (443 if isSecure(variables) else 80))


def _address(said: bytes, port: int) -> IPv4Address | IPv6Address:
    """
    Make an address of the kind that a host looks like.
    """
    host = said.decode("ascii", "backslashreplace")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if _isIPv6(bare):
        return IPv6Address("TCP", bare, port)
    return IPv4Address("TCP", host, port)


def _port(value: bytes) -> int:
    """
    Read a port; 0 for anything that is none.
    """
    port = int(value) if value.isdigit() and len(value) <= 5 else 0
    return port if port <= 0xFFFF else 0


def checkVariables(pairs: Pairs) -> None:
    """
    Refuse variables that no HTTP request can have led to: they would mean
    something else to the next one who reads them (RFC 9110, section 5.5).

    Line breaks are refused in header fields and in the parts of the request
    line only: a decoded path may hold them, and a certificate in PEM does.

    @param pairs: The variables of the request.
    @raise RemoteProtocolError: If there is a NUL anywhere, or a CR or LF in a
        name or in a value that is always on one line.
    """
    text = b"".join(chain.from_iterable(pairs))
    if _NUL in text or _CR in text or _LF in text:
        for name, value in pairs:
            _checkVariable(name, value)


def checkRequest(pairs: Pairs, variables: Variables) -> None:
    """
    Do what L{checkVariables} and L{checkContentType} do.

    @param pairs: The variables of a request.
    @param variables: The same.
    @raise RemoteProtocolError: If one of them can't be what it should be.
    """
    # To look at all names and values at once takes 2 us, at each of them 10.
    text = b"".join([*variables, *variables.values()])
    isSuspicious = _NUL in text or _CR in text or _LF in text
    if isSuspicious or len(pairs) > len(variables):
        # Of repeated names, not all values are in the mapping.
        checkVariables(pairs)
    if variables.get(b"CONTENT_TYPE"):
        checkContentType(variables)


def checkContentType(variables: Variables) -> None:
    """
    Refuse a media type with anything in it that Python takes for the end of a
    line: twisted.web fails when it reads a form of such a type.  Refuse a very
    long one: Python may take a time for it that grows with the square of the
    number of its parameters.

    @param variables: The variables of the request.
    @raise RemoteProtocolError: If CONTENT_TYPE is such a thing.
    """
    value = variables.get(b"CONTENT_TYPE", b"")
    if value and _endOfLine(value):
        raise _impossible(b"CONTENT_TYPE", value, "a media type on one line")
    if len(value) > MAX_MEDIA_TYPE:
        expected = f"a media type of at most {MAX_MEDIA_TYPE} bytes"
        raise _impossible(b"CONTENT_TYPE", value, expected)


def _checkVariable(name: bytes, value: bytes) -> None:
    """
    Refuse one variable that no HTTP request can have led to.
    """
    isOneLine = name in _ONE_LINE or name.startswith(b"HTTP_")
    oneLine = name + value if isOneLine else name
    if _NUL in name or _NUL in value:
        raise _impossible(name, value, "a text without NUL")
    if _CR in oneLine or _LF in oneLine:
        raise _impossible(name, value, "a text on one line")


def _impossible(name: bytes, value: bytes, wanted: str) -> RemoteProtocolError:
    """
    Make the error for a variable that can't be what it should be.
    """
    return RemoteProtocolError(
        f"the web server sent {_shown(name)} as {_shown(value)}, which is not "
        f"{wanted}: see what sets this FastCGI parameter there"
    )


def _shown(text: bytes) -> str:
    """
    Make a short form of what a peer sent that is safe in a log.
    """
    return repr(text)[1:] if len(text) <= 60 else f"{text[:60]!r}..."[1:]


def declaredLength(headers: Headers) -> int | None:
    """
    Tell how long a response says that it is (RFC 9110, section 8.6).

    @param headers: The headers of the response.
    @return: The one number of bytes that is the value of all its
        I{Content-Length} headers; L{None} if there is no such header, or no
        such number.
    """
    values = headers.getRawHeaders(_CONTENT_LENGTH)
    if not values or not _isLength(values[0]) or values.count(values[0]) < len(values):
        return None
    return int(values[0])


def _sentName(name: bytes) -> bytes:
    """
    Tell how a response header is sent.

    The rest of I{Variable-NAME} is the name of a variable (FastCGI 1.0,
    section 6.3), for which web servers take it as it is written: the capitals
    that L{Headers} has made small are restored.

    @return: How its lines begin; C{b""} if it must not be passed on.
    """
    lower = name.lower()
    if lower in _NEVER_SENT or _isToken(name) is None:
        return b""
    if lower.startswith(b"variable-"):
        name = b"Variable-" + name[9:].upper()
    return name + b": "


def responseHead(
    code: int,
    reason: bytes,
    headers: Headers,
    *,
    length: int | None = _NOT_LOOKED,
    mediaType: bytes | None = None,
    statusFirst: bool = False,
    drop: Container[bytes] = (),
) -> bytes:
    """
    Make the header block of a CGI response (RFC 3875, section 6).

    It says I{Status} in any case, in the last line: there are web servers that
    let a I{Location} after it override it.  Hop-by-hop fields are left out, so
    is a I{Content-Length} that is not one number or belongs to a 204.
    Whatever the headers hold, there is one block with one line for each value.

    @param code: The status code, 200 to 599.
    @param reason: The reason phrase; what can't be shown is left out.
    @param headers: The headers of the response.
    @param length: What L{declaredLength} says of the headers, if that is known
        already.
    @param mediaType: The value of I{Content-Type}, should the headers have none.
    @param statusFirst: Whether I{Status} is in the first line instead: in an
        Authorizer's answer there are web servers that forget all headers
        before it.
    @param drop: The names of further headers to leave out, as L{Headers} writes
        them.
    @return: The lines and the empty line that ends them.
    @raise LocalProtocolError: If C{code} is not the code of a final response.
    """
    status = _statusLine(code, reason)
    lines = [status] if statusFirst else []
    for name, values in headers.getAllRawHeaders():
        start = _sentNames.get(name)
        if start is None:
            start = _remember(_sentNames, name, _sentName(name))
        if start and name not in drop:
            if name == _CONTENT_TYPE and values:
                mediaType = None
            for value in values:
                lines.append(start + value.translate(_BLANK) + b"\r\n")
    if mediaType is not None:
        lines.append(b"Content-Type: " + mediaType.translate(_BLANK) + b"\r\n")
    if length == _NOT_LOOKED:
        length = declaredLength(headers)
    if length is not None and code != 204 and _CONTENT_LENGTH not in drop:
        lines.append(b"Content-Length: %d\r\n" % length)
    lines.append(b"\r\n" if statusFirst else status + b"\r\n")
    return b"".join(lines)


@lru_cache(maxsize=128)
def _statusLine(code: int, reason: bytes) -> bytes:
    """
    Make the I{Status} line (RFC 3875, section 6.3.3).

    @raise LocalProtocolError: If C{code} is not the code of a final response.
    """
    if not 200 <= code <= 599:
        raise LocalProtocolError(
            f"a FastCGI response can't have the status code {code}: use a final "
            "one, 200 to 599; informational ones (1xx) are the web server's to send"
        )
    phrase = reason.translate(None, _INVISIBLE)
    return b"Status: %d %b" % (code, phrase) + b"\r\n"
