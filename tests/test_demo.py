# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.demo}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from html.parser import HTMLParser

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from tests import wire
from twisted_fastcgi.demo import DemoResource
from twisted_fastcgi.server import FastCGIFactory


class WellFormed(HTMLParser):
    """
    Checks that all elements are closed in order.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """
        Note an element, unless it is one without an end.
        """
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """
        Check that it is the last one that ends.
        """
        assert self.open.pop() == tag


def overFastCGI(
    sent: Iterable[tuple[bytes, bytes]], body: bytes = b""
) -> wire.Response:
    """
    Ask for the page over FastCGI.
    """
    clock = MemoryReactorClock()
    factory = FastCGIFactory(DemoResource(), reactor=clock)
    factory.doStart()
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(wire.request(sent, body, keep=False))
    factory.doStop()
    return wire.response(transport.value())


def sections(page: bytes) -> dict[str, list[tuple[str, str]]]:
    """
    Read the tables of the page.
    """
    parts = re.split(r"<h2>(.*?)</h2>", page.decode("utf-8"))[1:]
    rows = re.compile(r"<tr><th scope=row>(.*?)</th><td>(.*?)</td></tr>", re.S)
    return {
        title: [(unescape(a), unescape(b)) for a, b in rows.findall(table)]
        for title, table in zip(parts[::2], parts[1::2], strict=True)
    }


class DemoTests(SynchronousTestCase):
    """
    Tests for L{DemoResource}.
    """

    def test_groups(self) -> None:
        """
        All variables are shown, each in its group, sorted.
        """
        sent = wire.variables(
            b"/a", HTTPS=b"on", SSL_CIPHER=b"x", REMOTE_USER=b"me", FCGI_ROLE=b"R"
        )
        found = sections(overFastCGI(sent.items()).body)
        self.assertEqual(
            found["Variables: TLS"], [("HTTPS", "on"), ("SSL_CIPHER", "x")]
        )
        self.assertIn(("REMOTE_USER", "me"), found["Variables: Client"])
        self.assertIn(("SERVER_PORT", "80"), found["Variables: Server"])
        self.assertIn(("REQUEST_METHOD", "GET"), found["Variables: Request"])
        self.assertEqual(
            found["Variables: Request headers"], [("HTTP_HOST", "www.example.com")]
        )
        self.assertEqual(
            found["Variables: Other"], [("FCGI_ROLE", "R"), ("REDIRECT_STATUS", "200")]
        )
        shown = [row for title, rows in found.items() if "Var" in title for row in rows]
        self.assertEqual(
            sorted(shown), sorted((n.decode(), v.decode()) for n, v in sent.items())
        )

    def test_request(self) -> None:
        """
        The request is shown as twisted.web sees it, with its arguments and the
        size of its body, at any path and for any method.
        """
        sent = wire.postVariables(
            b"a=1&b=2",
            b"/deep/down",
            CONTENT_TYPE=b"application/x-www-form-urlencoded",
            QUERY_STRING=b"c=3",
            REQUEST_URI=b"/deep/down?c=3",
            HTTPS=b"on",
        )
        found = sections(overFastCGI(sent.items(), b"a=1&b=2").body)
        seen = dict(found["As twisted.web sees it"])
        for name, value in {
            "method": "POST",
            "uri": "/deep/down?c=3",
            "path": "/deep/down",
            "prepath": "[]",
            "postpath": "[b'deep', b'down']",
            "clientproto": "HTTP/1.1",
            "isSecure()": "True",
            "body": "7 bytes",
        }.items():
            self.assertEqual(seen[name], value, name)
        self.assertIn("192.0.2.7", seen["client"])
        self.assertIn("192.0.2.1", seen["host"])
        self.assertEqual(found["Arguments"], [("a", "1"), ("b", "2"), ("c", "3")])
        self.assertIn(("Host", "www.example.com"), found["Headers"])

    def test_page(self) -> None:
        """
        The page is HTML in UTF-8 that loads nothing, that nobody stores, and
        that suits light and dark; it names the role and the id.
        """
        answer = overFastCGI(wire.variables().items())
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header(b"Content-Type"), b"text/html; charset=utf-8")
        self.assertEqual(answer.header(b"Cache-Control"), b"no-store")
        policy = answer.header(b"Content-Security-Policy")
        self.assertIn(b"default-src 'none'", policy)
        page = answer.body.decode("utf-8")
        self.assertEqual(WellFormed(page).open, [])
        self.assertIn("color-scheme: light dark", page)
        self.assertIn("in the role 1 with the id 1", page)
        for asset in ("http://", "https://", "<script", "<img", "url("):
            self.assertNotIn(asset, page)
        self.assertNotIn("Arguments", page)

    def test_escaped(self) -> None:
        """
        Whatever the peer sends is shown as text: names and values of variables,
        headers and arguments, and what is not UTF-8 or cannot be seen.
        """
        nasty = b"<script>alert(1)</script>\"'&"
        sent = {
            **wire.variables(
                b"/<b>",
                QUERY_STRING=b"%3Cb%3E=%3Cscript%3E",
                REQUEST_URI=b"/<b>?%3Cb%3E=%3Cscript%3E",
                HTTP_X_NASTY=nasty,
                RAW=b"\xff\x7f\xc3\xa9",
            ),
            b"<i>": nasty,
        }
        body = overFastCGI(sent.items()).body
        for tag in (b"<script", b"<b>", b"<i>"):
            self.assertNotIn(tag, body)
        found = sections(body)
        self.assertIn(("<b>", "<script>"), found["Arguments"])
        self.assertIn(("X-Nasty", nasty.decode()), found["Headers"])
        self.assertIn(("<i>", nasty.decode()), found["Variables: Other"])
        self.assertIn(("RAW", r"\xff\x7f" + "é"), found["Variables: Other"])

    def test_long(self) -> None:
        """
        A long value is cut, with its length.
        """
        sent = wire.variables(HTTP_COOKIE=b"x" * 5000)
        [value] = [
            value
            for name, value in sections(overFastCGI(sent.items()).body)["Headers"]
            if name == "Cookie"
        ]
        self.assertEqual(value, "x" * 2000 + "... (5000 bytes)")

    def test_http(self) -> None:
        """
        The page works over plain HTTP, and says that it came so.
        """
        site = Site(DemoResource(), reactor=MemoryReactorClock())
        channel = site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(
            b"GET /x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
        )
        page = transport.value()
        self.assertIn(b"came over plain HTTP", page)
        self.assertNotIn(b"Variables:", page)
        self.assertEqual(dict(sections(page)["As twisted.web sees it"])["uri"], "/x")
