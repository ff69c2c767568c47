# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{tests.interop.table} and L{tests.interop.record}.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.interop import table
from tests.interop.record import CASES, VARIABLE, case
from tests.interop.servers import WebServer

#: Three cases in the order of the run, which is not that of the table.
RESULTS = (
    ("HEAD", "nginx, keeping", "yes"),
    ("GET", "unheard-of", "yes"),
    ("GET", "nginx, keeping", "never"),
    ("HEAD", "nginx", "yes"),
    ("GET", "nginx", "yes"),
    ("a new one", "nginx", "yes"),
    ("paths: plain", "nginx, elsewhere", "yes"),
)


def line(case: str, server: str, outcome: str) -> str:
    """
    Write a result.
    """
    return json.dumps({"case": case, "server": server, "outcome": outcome})


class TableTests(SynchronousTestCase):
    """
    The table.
    """

    def setUp(self) -> None:
        """
        Write results.
        """
        self.results = Path(self.mktemp())
        self.table = Path(self.mktemp())
        self.write(*RESULTS)

    def write(self, *results: tuple[str, str, str]) -> None:
        """
        Write results.
        """
        self.results.write_text("".join(line(*each) + "\n" for each in results))

    def test_render(self) -> None:
        """
        Cases come in the order of the tests, servers in that of the families;
        the first table has all outcomes of a family, then each has
        its own, apart from those about paths alone.
        """
        found = table.outcomes(self.results.read_text().splitlines())
        text = table.render(found, {"nginx": "1.2"})
        lines = [each.strip() for each in text.splitlines() if "," in each]
        self.assertEqual(
            lines,
            [
                ",nginx,unheard-of",
                "GET,yes / never,yes",
                "HEAD,yes,",
                "paths: plain,yes,",
                "a new one,yes,",
                ",plain,keeping",
                "GET,yes,never",
                "HEAD,yes,yes",
                "a new one,yes,",
                ",elsewhere",
                "paths: plain,yes",
                ",plain",
                "GET,yes",
            ],
        )
        self.assertIn("Made with nginx 1.2.\n", text)

    def test_twoWays(self) -> None:
        """
        An outcome that depends on chance is an error.
        """
        self.write(*RESULTS, ("GET", "nginx", "sometimes"))
        lines = self.results.read_text().splitlines()
        self.assertRaises(ValueError, table.outcomes, lines)

    def test_check(self) -> None:
        """
        The check fails if a case, a server or an outcome differs, and tells
        which; other versions are all right.
        """
        arguments = [str(self.results)]
        self.assertIs(table.main(arguments, self.table), None)
        text = self.table.read_text()
        self.table.write_text(text.replace("Made with nginx", "Made with nginx 0"))
        self.assertIs(table.main([*arguments, "--check"], self.table), None)
        self.write(*RESULTS[1:], ("HEAD", "nginx, keeping", "seldom"))
        wrong = table.main([*arguments, "--check"], self.table)
        assert wrong is not None
        self.assertIn("\n-    HEAD,yes,yes", wrong)
        self.assertIn("\n+    HEAD,yes,seldom", wrong)
        self.write(*RESULTS[:-2])
        self.assertIn("a new one", str(table.main([*arguments, "--check"], self.table)))


class RecordTests(SynchronousTestCase):
    """
    What is written down.
    """

    server = WebServer("a server", "", (), "", {})
    outcome = ""

    def record(self, outcome: str, error: type[Exception] | None = None) -> str:
        """
        Run a test that ends in some way.

        @return: What is written down.
        """
        path = Path(self.mktemp())
        path.touch()
        self.patch(os, "environ", {**os.environ, VARIABLE: str(path)})
        self.addCleanup(CASES.pop, "a case", None)

        @case("a case")
        async def test(self: RecordTests) -> None:
            self.outcome = outcome or self.outcome
            if error is not None:
                raise error

        done = Deferred.fromCoroutine(test(self))
        if error is not None:
            self.failureResultOf(done, error)
        return path.read_text()

    def test_passes(self) -> None:
        """
        A test that passes is written down, with what it has observed.
        """
        self.assertEqual(self.record(""), line("a case", "a server", "yes") + "\n")
        told = self.record("too late")
        self.assertEqual(told, line("a case", "a server", "too late") + "\n")
        self.assertEqual(CASES["a case"], __name__)

    def test_fails(self) -> None:
        """
        One that fails, or is skipped, is not.
        """
        self.assertEqual(self.record("", ZeroDivisionError), "")
        self.assertEqual(self.record("", SkipTest), "")

    def test_nowhere(self) -> None:
        """
        Nothing is written if nobody wants it.
        """
        environment = {**os.environ, VARIABLE: ""}
        self.patch(os, "environ", environment)
        self.addCleanup(CASES.pop, "a case", None)

        @case("a case")
        async def test(self: RecordTests) -> None:
            pass

        self.successResultOf(Deferred.fromCoroutine(test(self)))
