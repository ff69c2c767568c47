# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Which variables web servers send for a request (RFC 3875, section 4.1), each in
its own way: for asking an application as one of them would.

The tables are those of servers with their stock configuration.  They are as
old as the versions that L{SOFTWARE} names; others differ in details.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

#: What the servers call themselves.
SOFTWARE = {
    "nginx": b"nginx/1.22.1",
    "apache": b"Apache/2.4.71 (Debian)",
    "lighttpd": b"lighttpd/1.4.69",
    "caddy": b"Caddy/2.6.2",
    "haproxy": b"HAProxy 2.6.12-1+deb12u4",
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """
    An HTTP request, and where it came from.

    @ivar method: The request method.
    @ivar target: The request target: a path with an optional query.
    @ivar headers: The header fields in their order, without
        I{Content-Length}.
    @ivar bodyLength: How many bytes the body has; L{None} if there is none.
    @ivar scriptFilename: The file that is to answer, if it is to be told.
    @ivar documentRoot: The folder of the site.
    @ivar server: Address and port of the server.
    @ivar client: Address and port of the client.
    """

    method: bytes = b"GET"
    target: bytes = b"/"
    headers: Sequence[tuple[bytes, bytes]] = ((b"Host", b"localhost"),)
    bodyLength: int | None = None
    scriptFilename: bytes | None = None
    documentRoot: bytes = b"/var/www/html"
    server: tuple[bytes, bytes] = (b"127.0.0.1", b"80")
    client: tuple[bytes, bytes] = (b"127.0.0.1", b"54321")
    serverName: bytes = b"localhost"
    software: bytes | None = None


@dataclass(frozen=True)
class _Manner:
    """
    How a server makes its variables.

    @ivar table: A line for each variable in its order: the name, and a fact or
        a fixed text; C{*} stands for the header fields.  A variable is left
        out if there is no such fact.
    @ivar inPlace: The header fields that become these variables where they
        stand.
    @ivar unsent: The header fields that are left out.
    @ivar isJoining: Whether repeated header fields become one.
    @ivar isNormalising: Whether the path is freed of C{..} and C{//}.
    @ivar takesUnderscores: Whether header fields may have an underscore in
        their name.
    """

    table: str
    inPlace: Mapping[bytes, bytes]
    unsent: frozenset[bytes]
    isJoining: bool
    isNormalising: bool
    takesUnderscores: bool


_LIKE = {
    "nginx": _Manner(
        table="""
            QUERY_STRING       query
            REQUEST_METHOD     method
            CONTENT_TYPE       typeOrEmpty
            CONTENT_LENGTH     lengthOrEmpty
            SCRIPT_NAME        path
            REQUEST_URI        target
            DOCUMENT_URI       path
            DOCUMENT_ROOT      root
            SERVER_PROTOCOL    =HTTP/1.1
            REQUEST_SCHEME     =http
            GATEWAY_INTERFACE  =CGI/1.1
            SERVER_SOFTWARE    software
            REMOTE_ADDR        clientAddress
            REMOTE_PORT        clientPort
            REMOTE_USER        userOrEmpty
            SERVER_ADDR        serverAddress
            SERVER_PORT        serverPort
            SERVER_NAME        serverName
            REDIRECT_STATUS    =200
            SCRIPT_FILENAME    script
            *
        """,
        inPlace={},
        unsent=frozenset(),
        isJoining=False,
        isNormalising=True,
        takesUnderscores=False,
    ),
    "apache": _Manner(
        table="""
            *
            CONTENT_TYPE           type
            CONTENT_LENGTH         length
            PATH                   =/usr/local/bin:/usr/bin:/bin
            SERVER_SIGNATURE       =
            SERVER_SOFTWARE        software
            SERVER_NAME            hostName
            SERVER_ADDR            serverAddress
            SERVER_PORT            serverPort
            REMOTE_ADDR            clientAddress
            DOCUMENT_ROOT          root
            REQUEST_SCHEME         =http
            CONTEXT_PREFIX         =
            CONTEXT_DOCUMENT_ROOT  root
            SERVER_ADMIN           =[no address given]
            SCRIPT_FILENAME        scriptOrProxy
            REMOTE_PORT            clientPort
            GATEWAY_INTERFACE      =CGI/1.1
            SERVER_PROTOCOL        =HTTP/1.1
            REQUEST_METHOD         method
            QUERY_STRING           query
            REQUEST_URI            target
            SCRIPT_NAME            path
        """,
        inPlace={},
        unsent=frozenset(
            (b"authorization", b"content-length", b"content-type", b"proxy")
        ),
        isJoining=True,
        isNormalising=True,
        takesUnderscores=False,
    ),
    "lighttpd": _Manner(
        table="""
            CONTENT_LENGTH     lengthOrZero
            QUERY_STRING       query
            REQUEST_URI        target
            REDIRECT_STATUS    =200
            SCRIPT_NAME        =
            PATH_INFO          path
            PATH_TRANSLATED    translated
            SCRIPT_FILENAME    scriptOrRootSlash
            DOCUMENT_ROOT      root
            REQUEST_METHOD     method
            SERVER_PROTOCOL    =HTTP/1.1
            SERVER_SOFTWARE    software
            GATEWAY_INTERFACE  =CGI/1.1
            REQUEST_SCHEME     =http
            SERVER_PORT        serverPort
            SERVER_ADDR        serverAddress
            SERVER_NAME        hostName
            REMOTE_ADDR        clientAddress
            REMOTE_PORT        clientPort
            *
        """,
        inPlace={b"content-type": b"CONTENT_TYPE"},
        unsent=frozenset((b"proxy",)),
        isJoining=True,
        isNormalising=True,
        takesUnderscores=False,
    ),
    "caddy": _Manner(
        table="""
            AUTH_TYPE               =
            CONTENT_LENGTH          lengthOrZero
            CONTENT_TYPE            typeOrForm
            DOCUMENT_ROOT           root
            DOCUMENT_URI            =
            GATEWAY_INTERFACE       =CGI/1.1
            PATH_INFO               path
            PATH_TRANSLATED         translated
            QUERY_STRING            query
            REMOTE_ADDR             clientAddress
            REMOTE_HOST             clientAddress
            REMOTE_IDENT            =
            REMOTE_PORT             clientPort
            REMOTE_USER             =
            REQUEST_METHOD          method
            REQUEST_SCHEME          =http
            REQUEST_URI             target
            SCRIPT_FILENAME         scriptOrRoot
            SCRIPT_NAME             =
            SERVER_NAME             hostName
            SERVER_PORT             hostPort
            SERVER_PROTOCOL         =HTTP/1.1
            SERVER_SOFTWARE         software
            *
            HTTP_X_FORWARDED_FOR    clientAddress
            HTTP_X_FORWARDED_HOST   host
            HTTP_X_FORWARDED_PROTO  =http
        """,
        inPlace={},
        unsent=frozenset((b"connection",)),
        isJoining=True,
        isNormalising=False,
        takesUnderscores=True,
    ),
    "haproxy": _Manner(
        table="""
            *
            GATEWAY_INTERFACE  =CGI/1.1
            DOCUMENT_ROOT      root
            SCRIPT_NAME        path
            REQUEST_URI        target
            REQUEST_METHOD     method
            QUERY_STRING       queryIfAny
            SERVER_NAME        host
            SERVER_PORT        serverPort
            SERVER_PROTOCOL    =HTTP/1.1
            REMOTE_ADDR        clientAddress
            REMOTE_PORT        clientPort
            SCRIPT_FILENAME    scriptOrTranslated
            AUTH_TYPE          authType
            REMOTE_USER        user
            CONTENT_LENGTH     zeroIfNoLength
            SERVER_SOFTWARE    software
        """,
        inPlace={
            b"content-type": b"CONTENT_TYPE",
            b"content-length": b"CONTENT_LENGTH",
        },
        unsent=frozenset((b"authorization", b"proxy")),
        isJoining=False,
        isNormalising=False,
        takesUnderscores=True,
    ),
}

#: The servers whose ways are known.
SERVERS = tuple(_LIKE)


def variables(question: Question, like: str) -> list[tuple[bytes, bytes]]:
    """
    Make the variables that a server sends for a request.

    @param question: The request.
    @param like: The server, one of L{SERVERS}.
    @return: Names and values in that server's order; header fields may repeat.
    """
    manner = _LIKE[like]
    facts = _facts(question, like, manner)
    found: list[tuple[bytes, bytes]] = []
    for line in manner.table.split("\n")[1:-1]:
        name, _, source = line.strip().partition(" ")
        source = source.strip()
        if name == "*":
            found += _headerVariables(question, manner)
            continue
        fixed = source[1:].encode("ascii")
        value = fixed if source.startswith("=") else facts[source]
        if value is not None:
            found.append((name.encode("ascii"), value))
    return found


def _facts(
    question: Question, like: str, manner: _Manner
) -> Mapping[str, bytes | None]:
    """
    Tell all that goes into the tables.
    """
    told = question.bodyLength
    length = None if told is None else b"%d" % told
    host = _header(question, b"host") or question.serverName
    type_ = _header(question, b"content-type")
    user = _user(question)
    form = b"" if told is None else b"application/x-www-form-urlencoded"
    hostName, hostPort = _hostAndPort(host)
    return {
        "method": question.method,
        **_pathFacts(question, manner),
        "type": type_,
        "typeOrEmpty": type_ or b"",
        "typeOrForm": type_ or form,
        "length": length,
        "lengthOrEmpty": length or b"",
        "lengthOrZero": length or b"0",
        "zeroIfNoLength": b"0" if length is None else None,
        "host": host,
        "hostName": hostName,
        "hostPort": hostPort,
        "serverName": question.serverName,
        "serverAddress": question.server[0],
        "serverPort": question.server[1],
        "clientAddress": question.client[0],
        "clientPort": question.client[1],
        "user": user,
        "userOrEmpty": user or b"",
        "authType": None if user is None else b"Basic",
        "software": question.software or SOFTWARE[like],
    }


def _pathFacts(question: Question, manner: _Manner) -> dict[str, bytes | None]:
    """
    Tell what is made of the request target.
    """
    rawPath, _, query = question.target.partition(b"?")
    path = unquote_to_bytes(rawPath)
    if manner.isNormalising:
        path = _normalised(path)
    root, script = question.documentRoot, question.scriptFilename
    return {
        "target": question.target,
        "path": path,
        "query": query,
        "queryIfAny": query or None,
        "root": root,
        "translated": root + path,
        "script": script,
        "scriptOrProxy": script or b"proxy:fcgi://localhost" + path,
        "scriptOrRoot": script or root,
        "scriptOrRootSlash": script or root + b"/",
        "scriptOrTranslated": script or root + path,
    }


def _header(question: Question, wanted: bytes) -> bytes | None:
    """
    Tell the value of a header field.

    @param wanted: Its name in lower case.
    """
    for name, value in question.headers:
        if name.lower() == wanted:
            return value
    return None


def _user(question: Question) -> bytes | None:
    """
    Tell whom the client says that it is (RFC 7617), which nobody has checked.
    """
    scheme, _, token = (_header(question, b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return b64decode(token).partition(b":")[0]
    except ValueError:
        return None


def _hostAndPort(host: bytes) -> tuple[bytes, bytes]:
    """
    Take the value of I{Host} apart.
    """
    name, colon, port = host.rpartition(b":")
    if colon and (port.isdigit() or not port):
        return name, port or b"80"
    return host, b"80"


def _normalised(path: bytes) -> bytes:
    """
    Free a path of C{.}, C{..} and repeated slashes (RFC 3986, section 5.2.4).
    """
    kept: list[bytes] = []
    *folders, last = path.split(b"/")
    for segment in [*folders, last]:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    isFolder = kept and last in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if isFolder else b"")


def _headerVariables(
    question: Question, manner: _Manner
) -> Iterator[tuple[bytes, bytes]]:
    """
    Make variables of the header fields.
    """
    headers = list(question.headers)
    if question.bodyLength is not None:
        headers.append((b"Content-Length", b"%d" % question.bodyLength))
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in manner.unsent or (b"_" in name and not manner.takesUnderscores):
            continue
        usual = b"HTTP_" + name.upper().replace(b"-", b"_")
        found.setdefault(manner.inPlace.get(lower, usual), []).append(value)
    for name, values in found.items():
        if manner.isJoining:
            separator = b"; " if name == b"HTTP_COOKIE" else b", "
            values = [separator.join(values)]
        yield from ((name, value) for value in values)
