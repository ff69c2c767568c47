# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.accesslog}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.web import http
from twisted.web.iweb import IAccessLogFormatter
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import table
from tests.transports import Application, ServerTestCase
from twisted_fastcgi import jsonLogFormatter
from twisted_fastcgi.accesslog import JSONLogFormatter, combinedLogFormatter

ODD = b"q\"\\'\t\x7f\xff\x1b[31m"


#: What a client can send, by what it is called in JSON: variables, and attributes
#: of the request.
SENT: Mapping[str, bytes | str] = {
    "host": b"HTTP_HOST",
    "method": "method",
    "path": "uri",
    "protocol": "clientproto",
    "referer": b"HTTP_REFERER",
    "remote_address": b"REMOTE_ADDR",
    "request_id": b"HTTP_X_REQUEST_ID",
    "user": b"REMOTE_USER",
    "user_agent": b"HTTP_USER_AGENT",
}

#: Bytes of any kind, of which those that could do harm are not rare.
anything = st.lists(
    st.binary(max_size=8)
    | st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace"))
    | st.sampled_from([b"\\", b'"', b"\n", b"\\x0a", b'", "status": 200, "', ODD])
).map(b"".join)

sent = st.fixed_dictionaries(dict.fromkeys(SENT, anything))


class LogTestCase(ServerTestCase):
    """
    A test case with an access log.
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

    def logs(self, formatter: Any, variables: Mapping[str, bytes | None]) -> str:
        """
        @return: The line that a request leads to, without its end.
        """
        log = self.logged(formatter, wire.request(wire.variables(**variables)))
        self.assertEqual((log.count("\n"), log[-1]), (1, "\n"))
        line = log[:-1]
        self.assertTrue(line.isascii() and line.isprintable(), line)
        return line

    def lineOf(self, formatter: Any, sent: Mapping[str, bytes]) -> str:
        """
        @return: The line for a request of which any part is anything, also what
            this server refuses before there is a line.
        """
        requests: list[Any] = []

        def keep(timestamp: str, request: Any) -> str:
            requests.append(request)
            line: str = formatter(timestamp, request)
            return line

        def answer(request: Any) -> bytes:
            for name, value in sent.items():
                place = SENT[name]
                if isinstance(place, str):
                    setattr(request, place, value)
                else:
                    request.channel._variables[place] = value
            return b"hello"

        line = self.logged(keep, wire.request(wire.variables()), answer)[:-1]
        self.assertTrue(line.isascii() and line.isprintable(), line)
        return line


class CombinedTests(LogTestCase):
    """
    L{combinedLogFormatter} makes the lines that web servers make.
    """

    def same(self, sent: bytes, answer: Any = b"hello") -> str:
        """
        See that requests lead to the lines that Twisted makes, but for the
        quotes that these have at the address.

        @return: The line.
        """
        line = self.logged(combinedLogFormatter, sent, answer)
        theirs = self.logged(http.combinedLogFormatter, sent, answer)
        expected = re.sub(
            r'^"\[?([^]"]*)\]?"', lambda found: found[1] or "-", theirs, flags=re.M
        )
        self.assertEqual(line, expected)
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
            "an apostrophe": ({"HTTP_USER_AGENT": b"it's"},),
            "IPv6": ({"REMOTE_ADDR": b"2001:db8::7"},),
            "another version": ({"SERVER_PROTOCOL": b"HTTP/2.0"},),
            "another method": ({"REQUEST_METHOD": b"BREW"},),
        }
    )
    def test_usual(self, changes: dict[str, bytes | None]) -> None:
        """
        So it does for anything else that needs no escapes.
        """
        self.same(wire.request(wire.variables(**changes)))

    @table(
        {
            "address": ("REMOTE_ADDR", b'a "\x1b', r"a\x20\x22\x1B - - ["),
            "no address": ("REMOTE_ADDR", b"", "- - - ["),
            "a socket": ("REMOTE_ADDR", b"unix:", "unix: - - ["),
            "user": ("REMOTE_USER", b"joe", " - joe ["),
            "an odd user": ("REMOTE_USER", b"j [x] -", r" - j\x20[x]\x20- ["),
            "referrer": ("HTTP_REFERER", b'x" "\\', r' 200 5 "x\x22 \x22\x5C" "'),
            "agent": ("HTTP_USER_AGENT", b"\xff\x85 y", r'"\xFF\x85 y"'),
        }
    )
    def test_escapes(self, name: str, value: bytes, expected: str) -> None:
        """
        What would end a field or a line is written as nginx writes it.
        """
        line = self.logs(combinedLogFormatter, {name: value})
        self.assertIn(expected, line)

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
        It makes one for a request that comes over HTTP to the same site, too.
        """
        site = Site(
            Application(), logFormatter=combinedLogFormatter, reactor=self.clock
        )
        log = self.logOf(site)
        protocol = site.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(b"GET /x HTTP/1.1\r\nHost: x\r\nReferer: y\r\n\r\n")
        self.assertRegex(
            log.getvalue(),
            r'^192\.168\.1\.1 - - \[[^]]+\] "GET /x HTTP/1\.1" 200 5 "y" "-"\n$',
        )

    def test_interface(self) -> None:
        """
        It is what a site wants.
        """
        verifyObject(IAccessLogFormatter, combinedLogFormatter)

    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(sent)
    def test_forge(self, sent: dict[str, bytes]) -> None:
        """
        Nothing that a client sends begins another line or another field, and
        they tell what it has asked for.
        """
        line = self.lineOf(combinedLogFormatter, sent)
        field = r'"([^"]+)"'
        found = re.fullmatch(
            rf"\S+ - (\S+) \[[^]]+\] {field} 200 5 {field} {field}", line
        )
        assert found is not None, line
        parts = (sent[name] or b"-" for name in ("method", "path", "protocol"))
        self.assertEqual(unescaped(found[2]), b" ".join(parts))


def unescaped(text: str) -> bytes:
    """
    Undo the escapes of a line in the combined format.
    """
    return re.sub(r"\\x(..)", lambda found: chr(int(found[1], 16)), text).encode(
        "latin-1"
    )


def bytesOf(text: str | None) -> bytes:
    """
    Tell what was sent, as the documentation says it can be told.
    """
    escape = rb"\\x([0-9a-f]{2})"
    data = (text or "").encode("utf-8")
    return re.sub(escape, lambda found: bytes.fromhex(found[1].decode()), data)


class JSONTests(LogTestCase):
    """
    L{JSONLogFormatter} makes an object of each request.
    """

    def object(self, formatter: Any = jsonLogFormatter, **variables: Any) -> Any:
        """
        @return: The object for a request.
        """
        return json.loads(self.logs(formatter, variables))

    def test_fields(self) -> None:
        """
        It has these fields.
        """
        made = self.object(
            REQUEST_URI=b"/search?q=a%20b",
            SCRIPT_NAME=b"/search",
            QUERY_STRING=b"q=a%20b",
            REQUEST_METHOD=b"POST",
            SERVER_PROTOCOL=b"HTTP/2.0",
            REMOTE_ADDR=b"2001:db8::7",
            REMOTE_USER=b"joe",
            HTTP_HOST=b"www.example.org",
            HTTP_REFERER=b"http://www.example.com/?a=b",
            HTTP_USER_AGENT=b"Mozilla/5.0 (X11; \xc3\xa9)",
            REQUEST_ID=b"0f1e",
        )
        del made["time"]
        self.assertEqual(
            made,
            {
                "method": "POST",
                "path": "/search?q=a%20b",
                "protocol": "HTTP/2.0",
                "status": 200,
                "bytes": 5,
                "microseconds": 0,
                "remote_address": "2001:db8::7",
                "user": "joe",
                "host": "www.example.org",
                "referer": "http://www.example.com/?a=b",
                "user_agent": "Mozilla/5.0 (X11; \xe9)",
                "request_id": "0f1e",
                "worker": None,
            },
        )

    def test_nothing(self) -> None:
        """
        What was not said, or is empty, is null.
        """
        for nothing in (None, b""):
            names = ("HTTP_USER_AGENT", "REMOTE_ADDR", "REMOTE_USER", "REQUEST_ID")
            made = self.object(**dict.fromkeys(names, nothing))
            self.assertLessEqual(
                {"referer", "remote_address", "request_id", "user", "user_agent"},
                {name for name, value in made.items() if value is None},
            )

    def test_time(self) -> None:
        """
        The time is that of the answer, in UTC, also after another second.
        """
        formatter = JSONLogFormatter()
        formatter._second = 0
        before = datetime.now(timezone.utc)
        for _ in range(2):
            text = self.object(formatter)["time"]
            self.assertRegex(text, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            then = datetime.fromisoformat(text.replace("Z", "+00:00"))
            self.assertLess(before - timedelta(microseconds=2), then)
            self.assertLess(
                then - timedelta(microseconds=2), datetime.now(timezone.utc)
            )

    def test_microseconds(self) -> None:
        """
        They are those from the last of its variables to the end of the answer.
        """
        requests: list[Any] = []

        class Later(Resource):
            isLeaf = True

            def render(self, request: Any) -> int:
                requests.append(request)
                return NOT_DONE_YET

        site = Site(Later(), logFormatter=jsonLogFormatter, reactor=self.clock)
        self.serve(site)
        log = self.logOf(site)
        self.exchange(wire.request(wire.variables()))
        self.clock.advance(0.25)
        requests[0].finish()
        self.assertEqual(json.loads(log.getvalue())["microseconds"], 250000)

    @table(
        {
            "none": ({}, None),
            "nginx": ({"REQUEST_ID": b"a"}, "a"),
            "Apache": ({"UNIQUE_ID": b"b"}, "b"),
            "a header field": ({"HTTP_X_REQUEST_ID": b"c"}, "c"),
            "two": ({"UNIQUE_ID": b"b", "HTTP_X_REQUEST_ID": b"c"}, "b"),
            "all": (
                {"REQUEST_ID": b"a", "UNIQUE_ID": b"b", "HTTP_X_REQUEST_ID": b"c"},
                "a",
            ),
            "empty": ({"REQUEST_ID": b"", "HTTP_X_REQUEST_ID": b"c"}, "c"),
        }
    )
    def test_requestId(self, variables: Any, expected: str | None) -> None:
        """
        The web server's own name for the request comes before the client's.
        """
        self.assertEqual(self.object(**variables)["request_id"], expected)

    @table(
        {
            "none": (None, None),
            "a number": ("3", 3),
            "a name": ("b 3", "b 3"),
            "none that JSON has": ("\xb3", "\xb3"),
            "nothing": ("", ""),
        }
    )
    def test_worker(self, worker: str | None, expected: object) -> None:
        """
        It tells one of several processes; a number is a number.
        """
        self.assertEqual(self.object(JSONLogFormatter(worker))["worker"], expected)

    @table({name: (sent,) for name, sent in wire.captures().items()})
    def test_captures(self, sent: bytes) -> None:
        """
        Of requests that real web servers have made it tells what the combined
        format tells.
        """
        lines = self.logged(jsonLogFormatter, sent).splitlines()
        same = self.logged(combinedLogFormatter, sent).splitlines()
        self.assertEqual(len(lines), len(same))
        for line, combined in zip(lines, same, strict=True):
            made = json.loads(line)
            asked = f'"{made["method"]} {made["path"]} {made["protocol"]}" '
            self.assertIn(f"{asked}{made['status']} ", combined)

    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @given(sent)
    def test_forge(self, sent: dict[str, bytes]) -> None:
        """
        Nothing that a client sends begins another line or another field, and
        the fields tell every byte of what was sent.
        """
        made = json.loads(self.lineOf(jsonLogFormatter, sent))
        self.assertEqual([*made], [*self.object()])
        self.assertEqual({name: bytesOf(made[name]) for name in sent}, sent)

    @table(
        {
            "a backslash": (b"a\\b", r"a\x5cb"),
            "an escape": (rb"\xff", r"\x5cxff"),
            "a byte": (b"\xff", r"\xff"),
            "UTF-8": (b"\xe2\x82\xac", "\u20ac"),
            "half a character": (b"\xe2\x82", r"\xe2\x82"),
            "a surrogate": (b"\xed\xa0\x80", r"\xed\xa0\x80"),
            "a tab": (b"a\tb", "a\tb"),
            "delete": (b"a\x7fb", "a\x7fb"),
            "a quote": (b'a"b', 'a"b'),
        }
    )
    def test_escapes(self, sent: bytes, expected: str) -> None:
        """
        A backslash, and what is no UTF-8, is written as C{\\x} and digits.
        """
        self.assertEqual(self.object(HTTP_USER_AGENT=sent)["user_agent"], expected)

    def test_HTTP(self) -> None:
        """
        Of a request that comes over HTTP to the same site it tells the same,
        but not who is logged in, nor how long it took.
        """
        site = Site(Application(), logFormatter=jsonLogFormatter, reactor=self.clock)
        log = self.logOf(site)
        protocol = site.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(
            b"GET /x?y HTTP/1.1\r\nHost: here\r\nReferer: /r\r\nUser-Agent: u\r\n"
            b"X-Request-ID: 7\r\nAuthorization: Basic am9lOng=\r\n\r\n"
        )
        made = json.loads(log.getvalue())
        del made["time"]
        self.assertEqual(
            made,
            {
                "method": "GET",
                "path": "/x?y",
                "protocol": "HTTP/1.1",
                "status": 200,
                "bytes": 5,
                "microseconds": None,
                "remote_address": "192.168.1.1",
                "user": None,
                "host": "here",
                "referer": "/r",
                "user_agent": "u",
                "request_id": "7",
                "worker": None,
            },
        )

    def test_unixHTTP(self) -> None:
        """
        A client on a Unix socket has no address.
        """
        site = Site(Application(), logFormatter=jsonLogFormatter, reactor=self.clock)
        log = self.logOf(site)
        protocol = site.buildProtocol(None)
        protocol.makeConnection(StringTransport(peerAddress=UNIXAddress(None)))
        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        self.assertIsNone(json.loads(log.getvalue())["remote_address"])

    def test_interface(self) -> None:
        """
        It is what a site wants.
        """
        verifyObject(IAccessLogFormatter, jsonLogFormatter)
