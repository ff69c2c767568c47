# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for C{--status-path} and C{--status-allow}, and for what the documentation
says of the status.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests import wire
from tests.programs import ROOT
from tests.tables import TableTestCase, table
from tests.test_tap import TapMixin, answerTo
from twisted_fastcgi.errors import ERROR_KINDS
from twisted_fastcgi.figures import CONNECTION_REFUSALS, OUTCOMES, Statistics
from twisted_fastcgi.records import Role
from twisted_fastcgi.statusforms import FORMS, METRICS

APPLICATIONS: dict[str, tuple[str, ...]] = {
    "the demonstration": (),
    "a resource": ("--resource", "tests.test_tap.root"),
    "WSGI": ("--wsgi", "tests.test_tap.application"),
    "an authorizer": ("--authorizer", "tests.test_tap.authorizer"),
    "mounted": ("--resource", "tests.test_tap.root", "--mount", "/app"),
    "mounted by the web server": (
        *("--resource", "tests.test_tap.root"),
        *("--mount", "script-name"),
    ),
    "with header fields": (
        *("--resource", "tests.test_tap.root"),
        *("--add-header", "X-A: b"),
    ),
}


def ask(*arguments: str, role: int = Role.RESPONDER, **changes: Any) -> Any:
    """
    Ask a server with some options for the status.
    """
    changes.setdefault("REMOTE_ADDR", b"127.0.0.1")
    path = changes.pop("path", b"/fcgi-status")
    variables = wire.variables(path, QUERY_STRING=b"json", **changes)
    variables[b"REQUEST_URI"] += b"?json"
    return answerTo(
        wire.request(variables, keep=False, role=role), "-p", "unix:/x", *arguments
    )


class StatusOptionTests(TapMixin, TableTestCase):
    """
    The status on the command line.
    """

    @table({name: (arguments,) for name, arguments in APPLICATIONS.items()})
    def test_applications(self, arguments: tuple[str, ...]) -> None:
        """
        It is there whatever the application is, and wherever.
        """
        answer = ask("--status-path", "/fcgi-status", *arguments)
        self.assertEqual(answer.status, 200)
        told = Statistics.fromJSON(json.loads(answer.body))
        self.assertEqual((told.accepted, told.active, told.requests), (1, 0, 0))
        added = [value for name, value in answer.headers if name == b"X-A"]
        self.assertEqual(added, [b"b"] if "--add-header" in arguments else [])

    @table({name: (arguments,) for name, arguments in APPLICATIONS.items()})
    def test_stranger(self, arguments: tuple[str, ...]) -> None:
        """
        Nobody else sees it, whatever they say of themselves.
        """
        answer = ask(
            *("--status-path", "/fcgi-status", *arguments),
            REMOTE_ADDR=b"192.0.2.1",
            HTTP_X_FORWARDED_FOR=b"127.0.0.1",
        )
        self.assertEqual(answer.status, 403)
        self.assertIn(b"The status is not shown to this address.", answer.body)

    def test_off(self) -> None:
        """
        Without the option the path is the application's.
        """
        answer = ask("--resource", "tests.test_tap.root")
        self.assertIn(b"hello at [b'fcgi-status']", answer.body)

    def test_elsewhere(self) -> None:
        """
        All other paths are.
        """
        answer = ask(
            *("--resource", "tests.test_tap.root", "--status-path", "/fcgi-status"),
            path=b"/other",
        )
        self.assertIn(b"hello at [b'other']", answer.body)

    def test_authorizer(self) -> None:
        """
        Whether a request for it may be served an authorizer decides as for any
        other.
        """
        answer = ask(
            *("--authorizer", "tests.test_tap.authorizer"),
            *("--status-path", "/fcgi-status"),
            role=Role.AUTHORIZER,
        )
        self.assertIn((b"Variable-REMOTE_USER", b"me"), answer.headers)

    def test_allow(self) -> None:
        """
        Who sees it can be said; then nobody else does.
        """
        for listed, client, status in (
            ("192.0.2.0/24,2001:db8::/32", b"192.0.2.1", 200),
            ("192.0.2.0/24,2001:db8::/32", b"2001:db8::1", 200),
            ("192.0.2.0/24", b"127.0.0.1", 403),
        ):
            answer = ask(
                *("--status-path", "/fcgi-status", "--status-allow", listed),
                REMOTE_ADDR=client,
            )
            self.assertEqual(answer.status, status, (listed, client))

    def test_refused(self) -> None:
        """
        What can't be is refused at the start.
        """
        for path in ("status", "/", "/a b", ""):
            message = self.refused("--status-path", path)
            self.assertTrue(message.startswith(f"--status-path: {path!r} is no path"))
        message = self.refused("--status-path", "/s", "--status-allow", "localhost")
        self.assertIn("--status-allow is 'localhost' (", message)
        self.assertEqual(
            self.refused("--status-allow", "::1"),
            "--status-allow: there is no --status-path",
        )
        # Also by a process that has others serve.
        message = self.refused("--workers", "2", "--status-path", "/")
        self.assertIn("--status-path: '/'", message)


class PageTests(TableTestCase):
    """
    The page that tells of the status.
    """

    def setUp(self) -> None:
        self.page = (ROOT / "docs/status.rst").read_text()

    def test_metrics(self) -> None:
        """
        It has all metrics as they are.
        """
        told = Statistics(
            started=0,
            taken=0,
            responses={200: 1},
            refused={"limit": 0},
            errors={"other": 0},
        )
        rows = re.findall(
            r"^   \* - ``(\w+)``\n     - (\w+)\n     -(.*)\n     - (.+)$",
            self.page,
            re.M,
        )
        expected = []
        for metric in METRICS:
            labels = {key for _, each, _ in metric.samples(told) for key in each}
            expected.append((metric.name, metric.type, labels, metric.help))
        found = [
            (name, kind, set(re.findall(r"``(\w+)``", labels)), text)
            for name, kind, labels, text in rows
        ]
        self.assertEqual(found, expected)

    def test_names(self) -> None:
        """
        It has all names that labels may have, and all forms.
        """
        for name in (*OUTCOMES, *CONNECTION_REFUSALS, *ERROR_KINDS):
            self.assertIn(f"*{name}*", self.page)
        for form in FORMS:
            self.assertIn(f"``?{form}``", self.page)
