# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.accesslog}.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.web import http
from twisted.web.iweb import IAccessLogFormatter
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import table
from tests.transports import Application, ServerTestCase
from twisted_fastcgi.accesslog import combinedLogFormatter

ODD = b"q\"\\'\t\x7f\xff\x1b[31m"


class CombinedTests(ServerTestCase):
    """
    L{combinedLogFormatter} makes the lines that Twisted's makes.
    """

    def logOf(self, site: Site) -> StringIO:
        """
        Have a site log.

        @return: What gets the lines.
        """
        site.doStart()
        self.addCleanup(site.doStop)
        site.logFile = log = StringIO()  # type: ignore[assignment]
        return log

    def logged(self, formatter: Any, sent: bytes, answer: Any = b"hello") -> str:
        """
        Tell what a request leads to in the log.
        """
        application = Application(answer)
        site = Site(application, logFormatter=formatter, reactor=self.clock)
        self.serve(site)
        log = self.logOf(site)
        self.exchange(sent)
        return log.getvalue()

    def same(self, sent: bytes, answer: Any = b"hello") -> str:
        """
        See that a request leads to the same line as it does by default.

        @return: The line.
        """
        line = self.logged(combinedLogFormatter, sent, answer)
        self.assertEqual(line, self.logged(http.combinedLogFormatter, sent, answer))
        return line

    @table({name: (sent,) for name, sent in wire.captures().items()})
    def test_captures(self, sent: bytes) -> None:
        """
        So it does for requests that real web servers have made.
        """
        self.same(sent)

    @table(
        {
            "nothing said": ({"HTTP_USER_AGENT": None, "REMOTE_ADDR": None},),
            "empty": ({"HTTP_USER_AGENT": b"", "REMOTE_ADDR": b""},),
            "a referrer": ({"HTTP_REFERER": b"http://www.example.com/?a=b"},),
            "an odd referrer": ({"HTTP_REFERER": ODD},),
            "an odd agent": ({"HTTP_USER_AGENT": ODD},),
            "an apostrophe": ({"HTTP_USER_AGENT": b"it's"},),
            "another line": ({"HTTP_USER_AGENT": b'x\x0b\x85"\n'[:-1]},),
            "IPv6": ({"REMOTE_ADDR": b"2001:db8::7"},),
            "IPv6 in brackets": ({"REMOTE_ADDR": b"[2001:db8::7]"},),
            "no address": ({"REMOTE_ADDR": b"unix:"},),
            "an odd address": ({"REMOTE_ADDR": ODD},),
            "an odd path": ({"REQUEST_URI": b'/"\\\xff', "SCRIPT_NAME": b'/"\\\xff'},),
            "another version": ({"SERVER_PROTOCOL": b"HTTP/2.0"},),
            "another method": ({"REQUEST_METHOD": b"BREW"},),
        }
    )
    def test_odd(self, changes: dict[str, bytes | None]) -> None:
        """
        So it does for anything that a client can make a web server send, and
        what would end a field or a line is escaped.
        """
        line = self.same(wire.request(wire.variables(**changes)))
        self.assertEqual((line.count("\n"), line[-1]), (1, "\n"))
        self.assertEqual(line.replace('\\"', "").count('"'), 8)
        self.assertTrue(line[:-1].isascii() and line[:-1].isprintable())

    @table(
        {
            "nothing": (b"",),
            "a status": (lambda request: request.setResponseCode(404) or b"no",),
            "no content": (lambda request: request.setResponseCode(204) or b"",),
            "pieces": (lambda request: request.write(b"some ") or b"more",),
        }
    )
    def test_responses(self, answer: Any) -> None:
        """
        So it does for any response.
        """
        self.same(wire.request(wire.variables()), answer)

    def test_plain(self) -> None:
        """
        For most requests it looks at no header fields and no addresses.
        """
        requests: list[Any] = []

        class Hello(Resource):
            isLeaf = True

            def render(self, request: Any) -> bytes:
                requests.append(request)
                return b"hello"

        site = Site(Hello(), logFormatter=combinedLogFormatter, reactor=self.clock)
        self.serve(site)
        log = self.logOf(site)
        self.exchange(wire.request(wire.variables()))
        self.assertIn('"GET / HTTP/1.1" 200 5 "-" "', log.getvalue())
        made = vars(requests[0])
        self.assertNotIn("requestHeaders", made)
        self.assertNotIn("client", made)

    def test_HTTP(self) -> None:
        """
        So it does for a request that comes over HTTP to the same site.
        """
        lines = []
        for formatter in (combinedLogFormatter, http.combinedLogFormatter):
            site = Site(Application(), logFormatter=formatter, reactor=self.clock)
            log = self.logOf(site)
            protocol = site.buildProtocol(None)
            protocol.makeConnection(StringTransport())
            protocol.dataReceived(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            lines.append(log.getvalue())
        self.assertEqual(lines[0], lines[1])
        self.assertIn('"GET /x HTTP/1.1" 200 5 ', lines[0])

    def test_interface(self) -> None:
        """
        It is what a site wants.
        """
        verifyObject(IAccessLogFormatter, combinedLogFormatter)
