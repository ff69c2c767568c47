# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what presses and soaks a server: short forms of both.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from tests.programs import ROOT, output

BENCHMARKS = ROOT / "benchmarks"


class StrainTestCase(SynchronousTestCase):
    """
    A test case that runs one of the scripts.
    """

    def run_(self, script: str, *options: object) -> tuple[str, str]:
        """
        Run it; it must find nothing wrong.

        @return: What it says, and the table that it writes, as text.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        table = folder.resolve() / "table.rst"
        told = output([sys.executable, BENCHMARKS / script, *options, "--rst", table])
        settings = {"halt_level": 2, "report_level": 5}
        text = table.read_text(encoding="utf-8")
        return told, publish_doctree(text, settings_overrides=settings).astext()


class PressureTests(StrainTestCase):
    """
    The pressure.
    """

    def test_quick(self) -> None:
        """
        While one side is much slower than the other, the memory of the server
        grows by less than 16 MiB, everything arrives whole, and who does not
        pause is cut off.
        """
        told, table = self.run_("pressure.py", "--quick")
        self.assertIn("allowed: 16 MiB; 0 of 5 failed", told)
        growths = [float(each) for each in re.findall(r"(-?[\d.]+) MiB +\d+ s", told)]
        self.assertEqual(len(growths), 5)
        self.assertLess(max(growths), 16)
        for scenario in ("download of", "upload of", "GET_VALUES", "does not pause"):
            self.assertIn(scenario, table)


class SoakTests(StrainTestCase):
    """
    The soak.
    """

    def test_short(self) -> None:
        """
        After mixed traffic, all is as it was before.
        """
        told, table = self.run_("soak.py", "--minutes", "0.05", "--seed", "1")
        self.assertIn("nothing is left behind", told)
        self.assertRegex(told, r"traffic: .*\d+ nonsense")
        for row in ("open descriptors", "objects of ours", "delayed calls", "memory"):
            self.assertIn(row, table)
