# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The page that is served when no application is named.

It shows what the web server sent, and what became of it: the first thing to
look at when a front end is being configured.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence

from twisted.web.resource import Resource
from twisted.web.server import Request

from twisted_fastcgi.interfaces import IFastCGIRequest

_LONGEST = 2000
"""
How many bytes of one value the page shows.
"""

_GROUPS = (
    (
        "Request",
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
    ("Server", (b"SERVER_",)),
    ("Client", (b"REMOTE_", b"AUTH_")),
    ("TLS", (b"HTTPS", b"SSL_")),
    ("Request headers", (b"HTTP_",)),
)
"""
The groups of variables, with the beginnings of their names (RFC 3875, section
4.1).
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>twisted_fastcgi</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ margin: 0 auto; max-width: 60rem; padding: 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #8886; padding: .2rem .5rem; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }}
th {{ font-weight: normal; opacity: .75; width: 16rem; }}
td {{ font-family: ui-monospace, monospace; white-space: pre-wrap; }}
</style>
</head>
<body>
<h1>twisted_fastcgi works</h1>
<p>{introduction}</p>
{sections}
</body>
</html>
"""

_OVER_FASTCGI = (
    "This request came over FastCGI, in the role {role} with the id {id}. "
    "Below is what the web server sent, and what an application sees of it. "
    "To serve one, name it with <code>--resource</code>, <code>--wsgi</code> "
    "or <code>--path</code>."
)

_OVER_HTTP = (
    "This request came over plain HTTP, not over FastCGI: "
    "there are no variables of a web server to show."
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
        sections = "\n".join(_sections(request))
        page = _PAGE.format(introduction=_introduction(request), sections=sections)
        return page.encode("utf-8")


def _introduction(request: Request) -> str:
    fastcgi = IFastCGIRequest(request, None)
    if fastcgi is None:
        return _OVER_HTTP
    return _OVER_FASTCGI.format(role=int(fastcgi.role), id=fastcgi.requestId)


def _sections(request: Request) -> Iterator[str]:
    yield _section("As twisted.web sees it", _requestRows(request))
    yield _section("Arguments", _pairRows((request.args or {}).items()))
    yield _section("Headers", _pairRows(request.requestHeaders.getAllRawHeaders()))
    fastcgi = IFastCGIRequest(request, None)
    if fastcgi is not None:
        for title, variables in _grouped(fastcgi.params):
            yield _section(f"Variables: {title}", variables)


def _grouped(variables: Mapping[bytes, bytes]) -> Iterator[tuple[str, list[_Row]]]:
    rest = dict(sorted(variables.items()))
    for title, beginnings in _GROUPS:
        names = [name for name in rest if name.startswith(beginnings)]
        yield title, [(_text(name), _text(rest.pop(name))) for name in names]
    yield "Other", [(_text(name), _text(value)) for name, value in rest.items()]


def _requestRows(request: Request) -> Iterable[_Row]:
    yield "method", _text(request.method)
    yield "uri", _text(request.uri)
    yield "path", _text(request.path)
    yield "prepath", repr(request.prepath)
    yield "postpath", repr(request.postpath)
    yield "clientproto", _text(request.clientproto)
    yield "client", str(request.client)
    yield "host", str(request.host)
    yield "isSecure()", str(request.isSecure())
    yield "body", f"{_bodySize(request)} bytes"


def _bodySize(request: Request) -> int:
    content = request.content
    return 0 if content is None else content.seek(0, 2)


def _pairRows(pairs: Iterable[tuple[bytes, Sequence[bytes]]]) -> Iterator[_Row]:
    for name, values in sorted(pairs):
        for value in values:
            yield _text(name), _text(value)


def _section(title: str, rows: Iterable[_Row]) -> str:
    """
    @return: The rows as a table with a heading, escaped; or nothing, if there
        are none.
    """
    body = "\n".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<h2>{html.escape(title)}</h2>\n<table>\n{body}\n</table>" if body else ""


def _text(data: bytes) -> str:
    """
    @return: C{data} for the eyes: what is not UTF-8 or has no shape is written
        with backslashes, and what is too long is cut.
    """
    text = data[:_LONGEST].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return f"{shown}... ({len(data)} bytes)" if len(data) > _LONGEST else shown
