# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.limitoptions}.
"""

from __future__ import annotations

import re
from dataclasses import fields, replace
from textwrap import dedent
from typing import Any

from twisted.python.usage import UsageError
from twisted.web.resource import Resource

from tests.programs import ROOT
from tests.tables import TableTestCase, table
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.limitoptions import LIMIT_OPTIONS, LimitOption, limitsFrom
from twisted_fastcgi.options import Options
from twisted_fastcgi.tap import makeService

BY_NAME = {option.name: option for option in LIMIT_OPTIONS}


def parsed(*arguments: str) -> Options:
    """
    Parse a command line.
    """
    options = Options()
    options.parseOptions(["--port", "unix:/nowhere", *arguments])
    return options


class LimitOptionsTests(TableTestCase):
    """
    What can be said of limits on the command line.
    """

    def test_all(self) -> None:
        """
        There is an option for each limit.
        """
        self.assertEqual(
            sorted(option.field for option in LIMIT_OPTIONS),
            sorted(field.name for field in fields(Limits)),
        )

    def test_defaults(self) -> None:
        """
        What is not said is as it is in code.
        """
        self.assertEqual(limitsFrom(parsed()), Limits())

    @table({option.name: (option,) for option in LIMIT_OPTIONS})
    def test_said(self, option: LimitOption) -> None:
        """
        What is said gets to the server, and changes nothing else.
        """
        options = parsed(f"--{option.name}", "17")
        expected = replace(Limits(), **{option.field: 17})
        self.assertEqual(limitsFrom(options), expected)
        service: Any
        *_, service = makeService(options)
        self.assertEqual(service._factory.limits, expected)

    @table({option.name: (option,) for option in LIMIT_OPTIONS if option.isOptional})
    def test_none(self, option: LimitOption) -> None:
        """
        There need not be a limit where it makes sense.
        """
        limits = limitsFrom(parsed(f"--{option.name}=none"))
        self.assertEqual(limits, replace(Limits(), **{option.field: None}))

    @table(
        {
            f"{option.name} {text or 'empty'}": (option, text)
            for option in LIMIT_OPTIONS
            for text in ("", "x", "-1", "10k", "nan", "inf", "None", "none", "0", "1.5")
            if not (text == "none" and option.isOptional)
            if not (text == "0" and option.unit != "seconds" and option.least == 0)
            if not (text == "1.5" and option.unit == "seconds")
        }
    )
    def test_nonsense(self, option: LimitOption, text: str) -> None:
        """
        Anything else is refused, with the option, what was said, and what
        should be.
        """
        error = self.assertRaises(UsageError, parsed, f"--{option.name}={text}")
        self.assertIn(f"--{option.name}: {text!r} is no ", str(error))
        self.assertIn(option.unit, str(error))
        self.assertEqual("nor 'none'" in str(error), option.isOptional)

    def test_least(self) -> None:
        """
        The least that can be said is what a limit can be.
        """
        for option in LIMIT_OPTIONS:
            if option.unit != "seconds":
                Limits(**{option.field: option(str(option.least))})
                with self.assertRaises(ValueError):
                    Limits(**{option.field: option.least - 1})
        self.assertEqual(BY_NAME["write-timeout"]("0.5"), 0.5)

    def test_help(self) -> None:
        """
        The help tells all options with their defaults.
        """
        text = " ".join(Options().getUsage(10000).split())
        for option in LIMIT_OPTIONS:
            default = getattr(Limits(), option.field)
            shown = "none" if default is None else default
            self.assertRegex(text, f"--{option.name}= [^[]*\\[default: {shown}\\]")


class DocumentationTests(TableTestCase):
    """
    What C{docs/limits.rst} says.
    """

    def setUp(self) -> None:
        self.text = (ROOT / "docs" / "limits.rst").read_text()

    def test_table(self) -> None:
        """
        The table has each option with its attribute and default, in the order
        of the options.
        """
        rows = re.findall(r"\* - ``--(.*)``\n +- ``(.*)``\n +- (.*)\n", self.text)
        expected = [
            (option.name, option.field, str(option.parameter[2]))
            for option in LIMIT_OPTIONS
        ]
        self.assertEqual(rows, expected)

    def test_code(self) -> None:
        """
        The example in Python works.
        """
        found = re.search(r":name: limits\n\n((?: {3}.*\n)+)", self.text)
        names: dict[str, Any] = {"site": Resource()}
        exec(dedent(found[1]), names)
        limits = names["factory"].limits
        self.assertEqual((limits.bodyBytes, limits.idleTimeout), (10_000_000, 60))

    def test_command(self) -> None:
        """
        The example on the command line sets the same limits.
        """
        (line,) = re.findall(r"twist fastcgi (.*) --resource", self.text)
        limits = limitsFrom(parsed(*line.split()))
        self.assertEqual(limits, Limits(bodyBytes=10_000_000, idleTimeout=60))
