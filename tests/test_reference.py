# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what the pages of reference say.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.programs import ROOT
from tests.tables import TableTestCase, table
from tests.test_docs import pages
from twisted_fastcgi import IFastCGIRequest
from twisted_fastcgi.dissect import dissect
from twisted_fastcgi.explain import Record
from twisted_fastcgi.mount import mounted
from twisted_fastcgi.testing import FastCGITestClient

#: How messages are logged.
LEVELS = ("debug", "info", "warn", "error", "critical", "failure")

#: The sections of the specification that ask something of an application.
SECTIONS = "2.2 3.2 3.3 3.4 3.5 4.1 4.2 5.1 5.2 5.3 5.4 5.5 6.1 6.2 6.3 6.4 7 8"

#: What stands in the table of variables: their names, what one becomes, what a
#: web server sends, and what comes out.
VARIABLES: Mapping[str, tuple[str, str, Mapping[str, str | None], object]] = {
    f"{number} {what}": (names, what, params, expected)
    for number, (names, what, params, expected) in enumerate(
        [
            ("REQUEST_METHOD", "request.method", {"REQUEST_METHOD": "GET"}, b"GET"),
            (
                "SCRIPT_NAME, PATH_INFO",
                "request.path",
                {"SCRIPT_NAME": "/a", "PATH_INFO": "/b c", "REQUEST_URI": "/x"},
                b"/a/b%20c",
            ),
            (
                "SCRIPT_NAME",
                "request.prepath",
                {"SCRIPT_NAME": "/a/b", "PATH_INFO": "/c"},
                [b"a", b"b"],
            ),
            (
                "REQUEST_URI",
                "request.uri",
                {
                    "SCRIPT_NAME": "/~a",
                    "PATH_INFO": "",
                    "REQUEST_URI": "/%7Ea",
                    "QUERY_STRING": "",
                },
                b"/%7Ea",
            ),
            (
                "DOCUMENT_URI",
                "request.uri",
                {
                    "SCRIPT_NAME": None,
                    "PATH_INFO": None,
                    "REQUEST_URI": None,
                    "DOCUMENT_URI": "/a",
                },
                b"/a",
            ),
            (
                "QUERY_STRING",
                "request.args",
                {"QUERY_STRING": "a=b&a=c"},
                {b"a": [b"b", b"c"]},
            ),
            (
                "SERVER_PROTOCOL",
                "request.clientproto",
                {"SERVER_PROTOCOL": "HTTP/2.0"},
                b"HTTP/2.0",
            ),
            (
                "CONTENT_LENGTH",
                'request.getHeader("content-length")',
                {"CONTENT_LENGTH": "0"},
                "0",
            ),
            (
                "CONTENT_TYPE",
                'request.getHeader("content-type")',
                {"CONTENT_TYPE": "text/plain"},
                "text/plain",
            ),
            (
                "HTTP_ACCEPT_LANGUAGE",
                'request.getHeader("accept-language")',
                {"HTTP_ACCEPT_LANGUAGE": "de"},
                "de",
            ),
            (
                "HTTP_COOKIE",
                'request.getCookie(b"name")',
                {"HTTP_COOKIE": "name=a"},
                b"a",
            ),
            (
                "HTTP_AUTHORIZATION",
                "request.getUser()",
                {"HTTP_AUTHORIZATION": "Basic YWRhOng="},
                b"ada",
            ),
            (
                "REMOTE_USER",
                'fastcgi.params[b"REMOTE_USER"]',
                {"REMOTE_USER": "ada"},
                b"ada",
            ),
            (
                "HTTP_HOST",
                "request.getRequestHostname()",
                {"HTTP_HOST": "example.org:81"},
                b"example.org",
            ),
            (
                "REMOTE_ADDR",
                "request.getClientAddress().host",
                {"REMOTE_ADDR": "2001:db8::1"},
                "2001:db8::1",
            ),
            (
                "REMOTE_PORT",
                "request.getClientAddress().port",
                {"REMOTE_PORT": "4711"},
                4711,
            ),
            (
                "SERVER_ADDR",
                "request.getHost().host",
                {"SERVER_ADDR": "192.0.2.1"},
                "192.0.2.1",
            ),
            (
                "SERVER_NAME",
                "request.getHost().host",
                {"SERVER_ADDR": None, "SERVER_NAME": "example.org:81"},
                "example.org",
            ),
            ("SERVER_PORT", "request.getHost().port", {"SERVER_PORT": "81"}, 81),
            ("HTTPS", "request.isSecure()", {"HTTPS": "on"}, True),
            ("REQUEST_SCHEME", "request.isSecure()", {"REQUEST_SCHEME": "https"}, True),
            ("HTTP_PROXY", 'request.getHeader("proxy")', {"HTTP_PROXY": "x"}, None),
            ("FCGI_DATA_LENGTH", "fastcgi.dataLength", {"FCGI_DATA_LENGTH": "1"}, None),
            (
                "FCGI_DATA_LAST_MOD",
                "fastcgi.dataLastModified",
                {"FCGI_DATA_LAST_MOD": "1"},
                None,
            ),
        ]
    )
}

#: What the variables of a Filter become: tests.test_roles has them filtered.
FILTER = ["fastcgi.dataLength", "fastcgi.dataLastModified"]


def isTest(name: str) -> bool:
    """
    Look whether there is a test, a test case or a module of tests.
    """
    parts = name.split(".")
    for size in range(len(parts), 1, -1):
        path = ROOT.joinpath(*parts[:size]).with_suffix(".py")
        if path.exists():
            body: list[Any] = ast.parse(path.read_text()).body
            for part in parts[size:]:
                found = [each for each in body if getattr(each, "name", "") == part]
                if not found:
                    return False
                body = found[0].body
            return True
    return False


def logged() -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """
    Find everything that the package logs.

    @return: Modules, levels, formats, and fields that are not in these.
    """
    for path in (ROOT / "twisted_fastcgi").glob("*.py"):
        every = list(ast.walk(ast.parse(path.read_text())))
        texts = {
            each.targets[0].id: each.value
            for each in every
            if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
        }
        for each in every:
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
                logger, level = each.func.value, each.func.attr
                name = getattr(logger, "attr", getattr(logger, "id", ""))
                if name in ("log", "_log") and level in LEVELS:
                    text: Any = each.args[0]
                    text = texts.get(getattr(text, "id", ""), text)
                    words: str = ast.literal_eval(text)
                    fields = {keyword.arg or "" for keyword in each.keywords}
                    fields -= {"", "failure", *re.findall(r"\{(\w+)", words)}
                    yield path.stem, level, words, frozenset(fields)


class NamedTests(SynchronousTestCase):
    """
    Tests that pages name.
    """

    def test_there(self) -> None:
        """
        Each is there.
        """
        named = 0
        for name, (path,) in pages().items():
            for test in re.findall(r"``(tests(?:\.\w+)+)``", path.read_text()):
                named += 1
                self.assertTrue(isTest(test), f"{name} names {test}")
        self.assertGreater(named, 50)

    def test_missing(self) -> None:
        """
        One that is not there is found.
        """
        self.assertTrue(isTest("tests.test_docs"))
        self.assertTrue(isTest("tests.test_reference.NamedTests"))
        self.assertTrue(isTest("tests.test_docs.BlockTests.test_page"))
        self.assertFalse(isTest("tests.test_doc"))
        self.assertFalse(isTest("tests.test_reference.NamedTest"))
        self.assertFalse(isTest("tests.test_reference.NamedTests.test_page"))

    def test_sections(self) -> None:
        """
        Each section of the specification that asks something of an application
        has its place, in its order, with a test.
        """
        page = (ROOT / "docs/reference/conformance.rst").read_text()
        decided = "- .*\n(  .*\n)*\n  ``tests\\."
        rows = re.findall(rf"^([\d.]+) .*\n-+\n\n{decided}", page, re.M)
        self.assertEqual([number for number, _ in rows], SECTIONS.split())


class LogTests(SynchronousTestCase):
    """
    The table of what is in the log.
    """

    def test_table(self) -> None:
        """
        It has everything that the package logs, and nothing else.
        """
        page = (ROOT / "docs/reference/log.rst").read_text()
        row = r"\* - ``(\w+)``\n     - (\w+)\n     - ``(.*)``\n     - \S"
        known = {(name, level, words) for name, level, words, _ in logged()}
        self.assertEqual(re.findall(row, page), sorted(known))

    def test_fields(self) -> None:
        """
        It names the fields of an event that its message does not have.
        """
        page = (ROOT / "docs/reference/log.rst").read_text()
        rows = page.split("\n   * - ")
        found = 0
        for name, _, words, fields in logged():
            (row,) = (
                row
                for row in rows
                if row.startswith(f"``{name}``") and f"``{words}``" in row
            )
            for field in fields:
                found += 1
                self.assertIn(f"*{field}*", row)
        self.assertGreater(found, 0)


class VariableTests(TableTestCase):
    """
    The table of variables.
    """

    def setUp(self) -> None:
        """
        Read the table.
        """
        page = (ROOT / "docs/reference/variables.rst").read_text()
        row = r"^   \* - (.*)\n     - ``(.*)``\n     - \S"
        self.rows = re.findall(row, page, re.M)

    def test_complete(self) -> None:
        """
        The table has each variable that is looked at, and each row has a test.
        """
        source = (ROOT / "twisted_fastcgi/cgi.py").read_text()
        known = set(re.findall(r'b"((?:[A-Z]+_)*[A-Z]{4,}[A-Z_]*[A-Z])"', source))
        told = {name for names, _ in self.rows for name in re.findall(r"\w+", names)}
        self.assertEqual(known - told - {"OPTIONS"}, set())
        tested = [(names, what) for names, what, *_ in VARIABLES.values()]
        self.assertEqual([(n.replace("`", ""), w) for n, w in self.rows], tested)

    @table(VARIABLES)
    def test_row(
        self, names: str, what: str, params: Mapping[str, str | None], expected: object
    ) -> None:
        """
        A variable becomes what the table says.
        """
        self.assertEqual(set(names.split(", ")) - set(params), set())
        found: list[object] = []

        class Page(Resource):
            isLeaf = True

            def render_GET(self, request: Any) -> bytes:
                fastcgi = IFastCGIRequest(request)
                found.append(eval(what, {"request": request, "fastcgi": fastcgi}))
                return b""

        client = FastCGITestClient(mounted(Page(), "script-name"))
        client.resultOf(client.get("/", params=params))
        self.assertEqual(found, [expected])

    def test_filter(self) -> None:
        """
        Those of a Filter are what the table says.
        """
        self.assertEqual([what for _, what in self.rows[-2:]], FILTER)
        for what in FILTER:
            self.assertIn(what.partition(".")[2], IFastCGIRequest)


class PeerTests(TableTestCase):
    """
    The table of what web servers send.
    """

    @table(
        {
            "nginx": ("nginx 1.22.1", "nginx"),
            "lighttpd": ("lighttpd 1.4.69", "lighttpd"),
            "Apache": ("Apache 2.4.71", "apache"),
            "HAProxy": ("HAProxy 2.6.12", "haproxy"),
            "Caddy": ("Caddy 2.6.2", "caddy"),
        }
    )
    def test_captures(self, column: str, capture: str) -> None:
        """
        It says what stands in the captures of a web server.
        """
        page = (ROOT / "docs/explanation/peers.rst").read_text()
        block = r"What they send\n(?:   :.*\n)*\n((?:   .*\n)+)"
        (lines,) = re.findall(block, page)
        header, *rows = csv.reader(line.strip() for line in lines.splitlines())
        told = {row[0]: row[header.index(column)] for row in rows}
        data = (ROOT / f"tests/captures/{capture}-head.bin").read_bytes()
        begin, *records = [item for item in dissect([data]) if isinstance(item, Record)]
        variables = dict(pair for record in records for pair in record.pairs or ())
        length = variables.get(b"CONTENT_LENGTH", b"none").decode() or "empty"
        self.assertEqual(told["CONTENT_LENGTH without a body"], length)
        self.assertEqual(told["request ids"].partition(",")[0], str(begin.requestId))
        padded = "yes" if any(record.paddingLength for record in records) else "no"
        self.assertEqual(told["pads records"], padded)
