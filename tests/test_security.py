# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what C{docs/security.rst} says: what no other test holds, and that
the tests which it names are there.
"""

from __future__ import annotations

import importlib
import re
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.logger import formatEvent, textFileLogObserver
from twisted.python.failure import Failure
from twisted.web.server import Site

from tests import wire
from tests.programs import ROOT
from tests.tables import TableTestCase, table
from tests.transports import Application, ServerTestCase, later
from twisted_fastcgi import FastCGIRequest
from twisted_fastcgi.accesslog import combinedLogFormatter

#: What must not reach a log as it is: the beginnings of new lines, on some
#: terminals or in some editors, and what makes terminals do things.
_CONTROLS = [bytes([each]) for each in (*range(0x20), 0x7F)] + [
    b"\x85",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\x9b31m",
]

_INJECTED = [control + b"2026 forged" for control in _CONTROLS]

_VARIABLES = """
    REQUEST_METHOD REQUEST_URI SCRIPT_NAME PATH_INFO DOCUMENT_URI QUERY_STRING
    CONTENT_TYPE CONTENT_LENGTH SERVER_PROTOCOL SERVER_NAME SERVER_PORT SERVER_ADDR
    REMOTE_ADDR REMOTE_PORT REMOTE_USER HTTPS REQUEST_SCHEME HTTP_HOST HTTP_COOKIE
    HTTP_REFERER HTTP_USER_AGENT HTTP_AUTHORIZATION HTTP_X
""".split()


class DocumentationTests(TableTestCase):
    """
    The page itself.
    """

    def test_namedTests(self) -> None:
        """
        Each test that it names is there, and each section names some.
        """
        text = (ROOT / "docs" / "security.rst").read_text()
        sections = re.split(r"\n(?=[^\n]+\n-{4,}\n)", text)[1:]
        self.assertGreater(len(sections), 10)
        for section in sections:
            names = re.findall(r"``(tests\.[\w.]+)``", section)
            self.assertTrue(names, f"no test: {section[:60]!r}")
            for name in names:
                self.assertTrue(found(name), f"there is no {name}")

    def test_missing(self) -> None:
        """
        A test that is not there is noticed.
        """
        for name in ("Nothing", "LogTests.test_nothing", "Nothing.test_bytes"):
            self.assertFalse(found(f"tests.test_security.{name}"), name)
        self.assertFalse(found("tests.test_nothing"))
        self.assertTrue(found("tests.test_security.LogTests.test_bytes"))


def found(name: str) -> bool:
    """
    Tell whether there is a test, or a table of tests, of a name.
    """
    parts = name.split(".")
    for count, part in enumerate(parts):
        if part[0].isupper():
            module = importlib.import_module(".".join(parts[:count]))
            kind = getattr(module, part, None)
            rest = parts[count + 1 :]
            return kind is not None and (
                not rest or any(each.startswith(rest[0]) for each in dir(kind))
            )
    return (ROOT / Path(*parts)).with_suffix(".py").exists()


class LogTests(ServerTestCase):
    """
    What a peer sends can't pretend in a log to be anything else.
    """

    def assertPlain(self) -> None:
        """
        See that each event is one line that can be printed; a traceback's other
        lines are indented.
        """
        for event in self.events:
            self.assertTrue(formatEvent(event).isprintable(), formatEvent(event))
            file = StringIO()
            textFileLogObserver(file)(event)
            first, *others = file.getvalue().rstrip("\n").split("\n")
            self.assertTrue(first.isprintable(), first)
            for line in others:
                self.assertEqual(line[:1], "\t")
                self.assertTrue(line[1:].isprintable(), line)

    @table({name: (name,) for name in _VARIABLES})
    def test_variables(self, name: str) -> None:
        """
        No value of any variable does, whether the request is refused or served,
        whatever the application does with it.
        """

        def fail(request: Any) -> bytes:
            request.setHeader(b"content-length", b"3")
            request.write(b"more than three")
            raise ValueError("the application fails")

        for answer in (b"hello", fail):
            self.serve(answer)
            for value in _INJECTED:
                self.exchange(wire.request(wire.variables(**{name: value})))
        self.assertPlain()
        self.flushLoggedErrors()

    def test_names(self) -> None:
        """
        No name of any variable does.
        """
        self.serve()
        for name in _INJECTED:
            self.exchange(wire.request({**wire.variables(), name: b"1", b"": name}))
        self.assertPlain()

    def test_bytes(self) -> None:
        """
        No bytes at all do, in place of a record.
        """
        self.serve()
        for sent in _INJECTED:
            self.exchange(sent * 2)
            self.exchange(wire.request({}, role=9) + sent)
            self.exchange(wire.beginRequest() + wire.record(wire.PARAMS, 1, sent) * 2)
        self.assertTrue(self.logged())
        self.assertPlain()

    @table({name: (name,) for name in _VARIABLES})
    def test_accessLog(self, name: str) -> None:
        """
        No value of any variable makes more of a line in the access log than
        one line of ASCII with all of its fields.
        """
        lines = StringIO()

        class Logging(Site):
            def _openLogFile(self, path: object) -> StringIO:
                return lines

        site = Logging(
            Application(),
            FastCGIRequest,
            logPath=b"access.log",
            logFormatter=combinedLogFormatter,
            reactor=self.clock,
        )
        self.serve(site)
        self.factory.doStart()
        for value in _INJECTED:
            self.exchange(wire.request(wire.variables(**{name: value})))
        written = lines.getvalue()
        self.factory.doStop()
        self.assertEqual(written.count("\n"), len(site.resource.requests))
        for line in written.splitlines():
            self.assertTrue(line.isprintable() and line.isascii(), line)
            self.assertEqual(line.count('"'), 6, line)

    def test_late(self) -> None:
        """
        What goes wrong after the end of a request is no way, either.
        """
        for value in (b"/\x1b[2J", b"/\xc2\x85", b"/\x9b"):
            application = self.serve(later)
            variables = wire.variables(REQUEST_URI=value, SCRIPT_NAME=value)
            transport = self.exchange(wire.request(variables))
            transport.close()
            for request in application.requests:
                request.processingFailed(Failure(ValueError("too late")))
        self.assertPlain()
        self.flushLoggedErrors()


class TrustTests(ServerTestCase):
    """
    What is believed, and of whom.
    """

    def test_headersAreNoVariables(self) -> None:
        """
        No header field of a client's passes for what the web server says of
        the client: all of them are within a namespace of their own.
        """
        application = self.serve(later)
        forged = wire.variables(
            HTTP_REMOTE_USER=b"root",
            HTTP_REMOTE_ADDR=b"127.0.0.1",
            HTTP_HTTPS=b"on",
            HTTP_SERVER_PORT=b"443",
            HTTP_X_FORWARDED_FOR=b"127.0.0.1",
            HTTP_X_FORWARDED_PROTO=b"https",
            HTTP_FORWARDED=b"for=127.0.0.1;proto=https",
        )
        self.exchange(wire.request(forged))
        request = application.request
        self.assertEqual(request.getClientAddress().host, "192.0.2.7")
        self.assertFalse(request.isSecure())
        self.assertEqual(request.getHost().port, 80)
        self.assertEqual(request.getUser(), b"")
        request.finish()

    def test_ownVariables(self) -> None:
        """
        What the web server says is believed.
        """
        application = self.serve(later)
        variables = wire.variables(REMOTE_ADDR=b"192.0.2.99", HTTPS=b"on")
        self.exchange(wire.request(variables))
        request = application.request
        self.assertEqual(request.getClientAddress().host, "192.0.2.99")
        self.assertTrue(request.isSecure())
        request.finish()


class PageTests(ServerTestCase):
    """
    Pages that the server itself answers with.
    """

    def test_nothingOfTheRequest(self) -> None:
        """
        They hold nothing of what was sent, so nothing is run in a browser, and
        no failure of the application shows its code.
        """
        script = b"<script>alert(1)</script>"

        def fail(request: Any) -> Any:
            raise ValueError(request.uri)

        self.serve(fail)
        for variables in (
            wire.variables(b"/" + script),
            wire.variables(CONTENT_LENGTH=script),
            wire.variables(REQUEST_METHOD=script),
            wire.variables(SERVER_PROTOCOL=script, HTTP_HOST=script),
            {script: script},
        ):
            transport = self.exchange(wire.request(variables))
            body = transport.response().body
            self.assertNotIn(b"<script", body)
            self.assertNotIn(b"alert", body)
            self.assertNotIn(b"Traceback", body)
        self.flushLoggedErrors()
