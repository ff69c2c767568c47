# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The page that is served when no application is named.

It shows what the web server sent, and what became of it: the first thing to
look at when a front end is being configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from twisted_fastcgi.connection import WebServerConnection
from twisted_fastcgi.dissect import dissect
from twisted_fastcgi.interfaces import IFastCGIRequest
from twisted_fastcgi.listing import hexLines
from twisted_fastcgi.records import HEADER_LENGTH, Role

_LONGEST = 2000
"""
How many bytes of one value the page shows.
"""

_LONGEST_RECORD = 1024
"""
How many bytes of one record the page shows.
"""

_LONGEST_BODY = 4096
"""
How many bytes of the request's body the page shows.
"""

_GROUPS = (
    (
        "Request",
        "What is asked for, and where the application is",
        (
            b"REQUEST_",
            b"SCRIPT_",
            b"PATH_",
            b"QUERY_",
            b"CONTENT_",
            b"DOCUMENT_",
            b"GATEWAY_",
        ),
    ),
    ("Server", "Who was asked", (b"SERVER_",)),
    ("Client", "Who asks, as the web server knows it", (b"REMOTE_", b"AUTH_")),
    ("TLS", "How the connection of the client is secured", (b"HTTPS", b"SSL_")),
    ("Request headers", "What the client says, which proves nothing", (b"HTTP_",)),
    ("Other", "What else the web server was told to send", (b"",)),
)
"""
The groups of variables, what is in them, and the beginnings of their names
(RFC 3875, section 4.1).
"""

_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1a1f26;
  --dim: #59626e; --line: #dfe3e8; --mark: #00684a; --code: #f0f2f5;
  font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) {
  :root { --page: #121518; --card: #1b1f24; --ink: #e4e7eb; --dim: #9ba5b1;
    --line: #2d333b; --mark: #63d4a8; --code: #14171b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 3rem;
  background: var(--page); color: var(--ink); }
a { color: var(--mark); }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; color: var(--mark); }
h2 { margin: 0; font-size: 1.2rem; }
h3 { margin: 1.25rem 0 0; font-size: 1rem; }
h2 + h3 { margin-top: .5rem; }
p { margin: .5rem 0; }
h2 + p, h3 + p, summary span, .empty { color: var(--dim); }
h2 + p, h3 + p { margin: 0 0 .5rem; font-size: .9rem; }
ul { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; padding: 0; list-style: none; }
nav ul { margin: 1rem 0; }
section { margin: 1rem 0; padding: 1rem 1.25rem; border: 1px solid var(--line);
  border-radius: .5rem; background: var(--card); }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem 0; border-top: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { width: 20rem; padding-right: 1rem; font-weight: normal; color: var(--dim); }
td, pre, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
td { white-space: pre-wrap; }
code { font-size: .9em; white-space: nowrap; }
details { border-top: 1px solid var(--line); font-size: .9rem; }
summary { padding: .3rem 0; cursor: pointer; overflow-wrap: anywhere; }
pre { margin: 0 0 .75rem; padding: .75rem; overflow: auto; max-height: 24rem;
  border-radius: .25rem; background: var(--code); font-size: .8rem; line-height: 1.4; }
@media (max-width: 40rem) {
  section { padding: .75rem; }
  th, td { display: block; width: auto; }
  th { padding-bottom: 0; font-size: .85rem; }
  td { padding-top: 0; border-top: 0; } }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>twisted_fastcgi works</title>
<style>%s</style>
</head>
<body>
<header>
<h1>twisted_fastcgi works</h1>
%s
</header>
<nav><ul>
%s
</ul></nav>
<main>
%s
</main>
</body>
</html>
"""

_OVER_FASTCGI = (
    "<p>This request came over FastCGI, in the role of {role}, with the request id "
    "{id}, on a connection that {fate}. Here is what the web server sent, and what an "
    "application sees of it.</p>\n"
    "<p>To serve an application, name it with <code>--resource</code>, "
    "<code>--wsgi</code> or <code>--path</code>.</p>"
)

_OVER_HTTP = (
    "<p>This request came over plain HTTP, not over FastCGI: "
    "there are no variables of a web server to show.</p>"
)

_RECORDS_NOTE = (
    "What was asked, as FastCGI records. They are written anew from the variables and "
    "the body, because the server does not keep what it has read: the web server may "
    "have sent a variable twice, and cut and padded its records in another way."
)

_Row = tuple[str, str]


class DemoResource(Resource):
    """
    A page for every path and method: the variables that the web server sent,
    and the request as L{twisted.web} sees it.

    It shows everything, so that it is not for the public.
    """

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """
        @return: The page, in HTML.
        """
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(
            b"content-security-policy",
            b"default-src 'none'; style-src 'unsafe-inline'",
        )
        shown = [part for part in _parts(request) if part[1]]
        links = "\n".join(
            f'<li><a href="#{_id(title)}">{title}</a></li>' for title, _ in shown
        )
        sections = "\n".join(_section(title, content) for title, content in shown)
        page = _PAGE % (_STYLE, _introduction(request), links, sections)
        return page.encode("utf-8")


def _introduction(request: Request) -> str:
    fastcgi = IFastCGIRequest(request, None)
    if fastcgi is None:
        return _OVER_HTTP
    return _OVER_FASTCGI.format(
        role=Role(fastcgi.role).name.capitalize(),
        id=fastcgi.requestId,
        fate="stays open" if _staysOpen(request) else "closes after the answer",
    )


def _staysOpen(request: Any) -> bool:
    return bool(request.channel.persistent)


def _parts(request: Request) -> Iterator[tuple[str, str]]:
    """
    @return: The title and the content of each part.
    """
    fastcgi = IFastCGIRequest(request, None)
    if fastcgi is not None:
        yield "Variables", "\n".join(_groups(fastcgi.params))
    yield "Request", _described("As twisted.web sees it", _requestRows(request))
    yield "Arguments", _described("Of the query and the form", _arguments(request))
    headers = request.requestHeaders.getAllRawHeaders()
    yield "Headers", _described("As twisted.web sees them", _pairRows(headers))
    if fastcgi is not None:
        yield "Records", f"<p>{_RECORDS_NOTE}</p>\n" + "\n".join(_records(request))


def _id(title: str) -> str:
    return title.lower()


def _section(title: str, content: str) -> str:
    return f'<section id="{_id(title)}">\n<h2>{title}</h2>\n{content}\n</section>'


def _described(note: str, rows: Iterable[_Row]) -> str:
    table = _table(rows)
    return f"<p>{note}</p>\n{table}" if table else ""


def _groups(variables: Mapping[bytes, bytes]) -> Iterator[str]:
    rest = dict(sorted(variables.items()))
    for title, note, beginnings in _GROUPS:
        names = [name for name in rest if name.startswith(beginnings)]
        rows = [(_text(name), _text(rest.pop(name))) for name in names]
        if rows:
            yield f"<h3>{title}</h3>\n{_described(note, rows)}"


def _requestRows(request: Request) -> Iterable[_Row]:
    yield "method", _text(request.method)
    yield "uri", _text(request.uri)
    yield "path", _text(request.path)
    yield "prepath", repr(request.prepath)
    yield "postpath", repr(request.postpath)
    yield "clientproto", _text(request.clientproto)
    yield "getClientAddress()", str(request.getClientAddress())
    yield "getHost()", str(request.getHost())
    yield "isSecure()", str(request.isSecure())
    yield "content", f"{_bodySize(request)} bytes"


def _bodySize(request: Any) -> int:
    size: int = request.content.seek(0, 2)
    return size


def _arguments(request: Request) -> Iterator[_Row]:
    return _pairRows((request.args or {}).items())


def _pairRows(pairs: Iterable[tuple[bytes, Sequence[bytes]]]) -> Iterator[_Row]:
    for name, values in sorted(pairs):
        for value in values:
            yield _text(name), _text(value)


def _table(rows: Iterable[_Row]) -> str:
    """
    @return: The rows as a table, escaped; or nothing, if there are none.
    """
    body = "\n".join(
        f"<tr><th scope=row>{escape(name)}</th>{_cell(value)}</tr>"
        for name, value in rows
    )
    return f"<table>\n{body}\n</table>" if body else ""


def _cell(value: str) -> str:
    if not value:
        return "<td class=empty>(empty)</td>"
    return f"<td>{escape(value)}</td>"


def _text(data: bytes) -> str:
    """
    @return: C{data} for the eyes: what is not UTF-8 or has no shape is written
        with backslashes, and what is too long is cut.
    """
    text = data[:_LONGEST].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return f"{shown}... ({len(data)} bytes)" if len(data) > _LONGEST else shown


def _records(request: Any) -> Iterator[str]:
    """
    @return: The records of the request, and what they say.
    """
    size = _bodySize(request)
    request.content.seek(0)
    body = request.content.read(_LONGEST_BODY)
    data = _encoded(request, body)
    for record in dissect([data]):
        yield _record(record, data[record.offset :])
    if size > len(body):
        yield f"<p>Of the body only {len(body)} bytes of {size} are shown.</p>"


def _encoded(request: Any, body: bytes) -> bytes:
    """
    @return: The request as records: that of a Responder, as all are that are
        served.
    """
    fastcgi = IFastCGIRequest(request)
    webServer = WebServerConnection()
    pieces = [
        webServer.beginRequest(
            keepConnection=_staysOpen(request), requestId=fastcgi.requestId
        ),
        *webServer.sendParams(fastcgi.params.items()),
        *webServer.sendStdin(body),
        webServer.endStdin(),
    ]
    return b"".join(pieces)


def _record(record: Any, data: bytes) -> str:
    """
    @param record: A L{Record<twisted_fastcgi.explain.Record>}.
    @param data: The bytes of the record, and what comes behind.
    """
    size, padding = record.contentLength, record.paddingLength
    lines = [
        f"header {data[:HEADER_LENGTH].hex(' ')}",
        *hexLines(record.content[:_LONGEST_RECORD]),
    ]
    if size > _LONGEST_RECORD:
        lines.append(f"... {size - _LONGEST_RECORD} bytes more")
    if padding:
        end = HEADER_LENGTH + size
        lines.append(f"padding {data[end : end + padding].hex(' ')}")
    return (
        f"<details><summary><strong>{record.name}</strong> {escape(record.meaning)} "
        f"<span>{size} bytes + {padding} padding</span></summary>\n"
        f"<pre>{escape(chr(10).join(lines))}</pre></details>"
    )
