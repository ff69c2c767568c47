# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What a person does with an application in a browser: a page with a form, an
upload, cookies and redirections.
"""

from __future__ import annotations

from hashlib import sha256
from html import escape
from typing import Any

from twisted.web.resource import Resource
from twisted.web.util import redirectTo

from tests.interop.application import Page

HOME = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Home</title>
<link rel="stylesheet" href="style.css"></head>
<body><h1>Welcome</h1>
<form action="greet" method="post"><input name="name"><button>Greet</button></form>
<form action="upload" method="post" enctype="multipart/form-data">
<input name="note"><input type="file" name="file"><button>Send</button></form>
<a href="old">To the new place</a></body></html>"""

STYLE = b"h1 { color: rgb(1, 2, 3) }"

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Result</title></head>
<body><p>%s</p></body></html>"""


def _said(text: str) -> bytes:
    """
    Make a page with a sentence.
    """
    return (_PAGE % escape(text)).encode("utf-8")


def home(request: Any) -> bytes:
    """
    The page with the forms.
    """
    return HOME


def style(request: Any) -> bytes:
    """
    The style sheet of the page.
    """
    request.setHeader(b"Content-Type", b"text/css")
    return STYLE


def greet(request: Any) -> bytes:
    """
    Remember a name in a cookie, and redirect, as is done with forms.
    """
    (name,) = request.args[b"name"]
    request.addCookie(b"name", name.hex(), path=b"/", httpOnly=True)
    page: bytes = redirectTo(b"/greeting", request)
    request.setResponseCode(303)
    return page


def greeting(request: Any) -> bytes:
    """
    Greet whom the cookie names, and count the visits of the session.
    """
    name = bytes.fromhex(request.getCookie(b"name").decode("ascii"))
    session = request.getSession()
    session.visits = getattr(session, "visits", 0) + 1
    return _said(f"Hello, {name.decode('utf-8')}! Visit {session.visits}.")


def upload(request: Any) -> bytes:
    """
    Tell the sum of a file.
    """
    (content,), (note,) = request.args[b"file"], request.args[b"note"]
    return _said(f"{note.decode('utf-8')} {len(content)} {sha256(content).hexdigest()}")


def old(request: Any) -> bytes:
    """
    Say that a page has moved.
    """
    page: bytes = redirectTo(b"/new?from=old", request)
    return page


def new(request: Any) -> bytes:
    """
    Say where it is now.
    """
    return _said(f"This is {request.uri.decode('ascii')}")


def _makeRoot() -> Resource:
    """
    Put the pages together.
    """
    root = Resource()
    root.putChild(b"", Page(home))
    root.putChild(b"style.css", Page(style))
    for page in (greet, greeting, upload, old, new):
        root.putChild(page.__name__.encode("ascii"), Page(page))
    return root


#: What C{twist fastcgi --resource tests.interop.forms.root} serves.
root = _makeRoot()
