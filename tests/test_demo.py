# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.demo}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import unescape
from html.parser import HTMLParser
from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from tests import wire
from twisted_fastcgi.demo import DemoResource
from twisted_fastcgi.server import FastCGIFactory
from twisted_fastcgi.testing import FastCGITestClient, Response


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
    sent: Iterable[tuple[bytes, bytes]], body: bytes = b"", **options: Any
) -> wire.Response:
    """
    Ask for the page over FastCGI.

    @param options: More arguments of L{wire.request}.
    """
    clock = MemoryReactorClock()
    factory = FastCGIFactory(DemoResource(), reactor=clock)
    factory.doStart()
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(wire.request(sent, body, **{"keep": False, **options}))
    protocol.connectionLost()
    factory.doStop()
    return wire.response(transport.value())


def ask(sent: Mapping[bytes, bytes], body: bytes = b"") -> Response:
    """
    Ask for the page over FastCGI, as most web servers do.

    @param sent: All variables.
    @param body: The body.
    """
    client = FastCGITestClient(DemoResource())
    params = {b"PATH_INFO": None, **sent}
    asked = client.request(
        sent[b"REQUEST_METHOD"], sent[b"REQUEST_URI"], params=params, body=body
    )
    return client.resultOf(asked)


def sections(page: bytes) -> dict[str, list[tuple[str, str]]]:
    """
    Read the tables of the page, by the headings above them.
    """
    parts = re.split(r"<(h[23])>(.*?)</h[23]>", page.decode("utf-8"))[1:]
    rows = re.compile(r"<tr><th scope=row>(.*?)</th><td.*?>(.*?)</td></tr>", re.S)
    return {
        f"{level} {title}": [(unescape(a), unescape(b)) for a, b in rows.findall(text)]
        for level, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def records(page: bytes) -> list[tuple[str, str]]:
    """
    Read what the page says of the records, and their bytes.
    """
    found = re.findall(
        r"<details><summary>(.*?)</summary>\s*<pre>(.*?)</pre></details>",
        page.decode("utf-8"),
        re.S,
    )
    return [(re.sub("<.*?>", "", head), unescape(dump)) for head, dump in found]


def readDump(dump: str) -> bytes:
    """
    Read the bytes of a record, without what marks them.
    """
    found = re.findall(
        r"^(?:header|padding| *[0-9a-f]+ ) ((?:[0-9a-f]{2} ?)+)", dump, re.M
    )
    return bytes.fromhex("".join(found))


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
        found = sections(ask(sent).body)
        self.assertEqual(found["h3 TLS"], [("HTTPS", "on"), ("SSL_CIPHER", "x")])
        self.assertIn(("REMOTE_USER", "me"), found["h3 Client"])
        self.assertIn(("SERVER_PORT", "80"), found["h3 Server"])
        self.assertIn(("REQUEST_METHOD", "GET"), found["h3 Request"])
        self.assertEqual(
            found["h3 Request headers"], [("HTTP_HOST", "www.example.com")]
        )
        self.assertEqual(
            found["h3 Other"], [("FCGI_ROLE", "R"), ("REDIRECT_STATUS", "200")]
        )
        shown = [row for title, rows in found.items() if "h3" in title for row in rows]
        self.assertEqual(
            sorted(shown),
            sorted((n.decode(), v.decode() or "(empty)") for n, v in sent.items()),
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
        found = sections(ask(sent, b"a=1&b=2").body)
        seen = dict(found["h2 Request"])
        for name, value in {
            "method": "POST",
            "uri": "/deep/down?c=3",
            "path": "/deep/down",
            "prepath": "[]",
            "postpath": "[b'deep', b'down']",
            "clientproto": "HTTP/1.1",
            "isSecure()": "True",
            "content": "7 bytes",
        }.items():
            self.assertEqual(seen[name], value, name)
        self.assertIn("192.0.2.7", seen["getClientAddress()"])
        self.assertIn("192.0.2.1", seen["getHost()"])
        self.assertEqual(found["h2 Arguments"], [("a", "1"), ("b", "2"), ("c", "3")])
        self.assertIn(("Host", "www.example.com"), found["h2 Headers"])

    def test_page(self) -> None:
        """
        The page is HTML in UTF-8 that loads nothing, that nobody stores, and
        that suits light and dark; it names the role, the id and what becomes of
        the connection, and links to its parts.
        """
        answer = ask(wire.variables())
        self.assertEqual(answer.code, 200)
        for name, value in {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
        }.items():
            self.assertEqual(answer.headers.getRawHeaders(name), [value])
        (policy,) = answer.headers.getRawHeaders("Content-Security-Policy") or [""]
        self.assertIn("default-src 'none'", policy)
        page = answer.text()
        self.assertEqual(WellFormed(page).open, [])
        self.assertIn("color-scheme: light dark", page)
        self.assertIn("@media (prefers-color-scheme: dark)", page)
        self.assertIn("in the role of Responder, with the request id 1,", page)
        self.assertIn("on a connection that closes after the answer", page)
        links = re.findall('href="#(.*?)"', page)
        self.assertEqual(links, ["variables", "request", "headers", "records"])
        self.assertEqual(re.findall('id="(.*?)"', page), links)
        for asset in ("http://", "https://", "<script", "<img", "url("):
            self.assertNotIn(asset, page)
        self.assertNotIn("Arguments", page)

    def test_kept(self) -> None:
        """
        A connection that stays open is said to.
        """
        page = overFastCGI(wire.variables().items(), keep=True, requestId=7).body
        self.assertIn(b"the request id 7, on a connection that stays open", page)
        self.assertIn("keep the connection open", records(page)[0][0])

    def test_records(self) -> None:
        """
        The records of the request are shown: of each what it means and all of
        its bytes, which are those of a web server that writes them as this
        package does.
        """
        sent = wire.postVariables(b"<body>")
        page = overFastCGI(sent.items(), b"<body>", requestId=513).body
        self.assertIn("written anew", page.decode())
        found = records(page)
        for (head, _), start in zip(
            found,
            ["BEGIN_REQUEST RESPONDER", "PARAMS ", "PARAMS end", "STDIN ", "STDIN end"],
            strict=True,
        ):
            self.assertTrue(head.startswith(start), head)
        self.assertTrue(found[3][0].endswith("6 bytes + 2 padding"), found[3])
        self.assertIn("<body>", found[3][1])
        shown = b"".join(readDump(dump) for _, dump in found)
        read = wire.records(shown)
        self.assertEqual({record.requestId for record in read}, {513})
        self.assertEqual(dict(wire.readPairs(read[1].content)), sent)
        self.assertEqual(read[3], (wire.STDIN, 513, b"<body>"))

    def test_largeRecords(self) -> None:
        """
        Of large records, and of a large body, the page shows the beginning.
        """
        body = b"x" * 5000
        sent = wire.postVariables(body, HTTP_X=b"y" * 3000)
        page = ask(sent, body).body
        self.assertIn(b"only 4096 bytes of 5000 are shown", page)
        (_, params), (head, stdin) = records(page)[1], records(page)[3]
        self.assertRegex(params, r"\n\.\.\. \d+ bytes more")
        self.assertIn("4096 bytes + 0 padding", head)
        self.assertTrue(stdin.endswith("\n... 3072 bytes more"), stdin)
        self.assertEqual(readDump(stdin)[8:], b"x" * 1024)

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
        body = ask(sent).body
        for tag in (b"<script", b"<b>", b"<i>"):
            self.assertNotIn(tag, body)
        found = sections(body)
        self.assertIn(("<b>", "<script>"), found["h2 Arguments"])
        self.assertIn(("X-Nasty", nasty.decode()), found["h2 Headers"])
        self.assertIn(("<i>", nasty.decode()), found["h3 Other"])
        self.assertIn(("RAW", r"\xff\x7f" + "é"), found["h3 Other"])

    def test_long(self) -> None:
        """
        A long value is cut, with its length.
        """
        sent = wire.variables(HTTP_COOKIE=b"x" * 5000)
        [value] = [
            value
            for name, value in sections(ask(sent).body)["h2 Headers"]
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
        self.assertNotIn(b"<h2>Variables", page)
        self.assertNotIn(b"<h2>Records", page)
        self.assertEqual(dict(sections(page)["h2 Request"])["uri"], "/x")
