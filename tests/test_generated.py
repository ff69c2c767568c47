# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what the documentation takes from the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

import twisted_fastcgi
from docs import generated
from tests.programs import ROOT
from tests.tables import TableTestCase, table
from twisted_fastcgi.commandline import commandLine
from twisted_fastcgi.limitoptions import LIMIT_OPTIONS
from twisted_fastcgi.options import Options

DOCS = ROOT / "docs"


def text(make: object) -> str:
    """
    Make a part of a page.
    """
    assert callable(make)
    return "\n".join(make())


class OptionTests(SynchronousTestCase):
    """
    The pages of options.
    """

    def test_twistd(self) -> None:
        """
        Each option of C{twistd fastcgi} is described, in all its forms but for
        what stands for another.
        """
        made = text(generated.twistdOptions)
        options = Options()
        self.assertGreater(len(options.longOpt), 20)
        for name in options.longOpt:
            value = " VALUE" if name.endswith("=") else ""
            self.assertRegex(
                made, rf"\.\. option:: --{name.rstrip('=')}{value}(,.*)?\n\n +\S"
            )
        for letter in filter(None, options.shortOpt.split(":")):
            self.assertRegex(made, rf"option:: .*, -{letter[-1]}\b")

    def test_defaults(self) -> None:
        """
        An option is described with its default.
        """
        made = text(generated.twistdOptions)
        for option in LIMIT_OPTIONS:
            name, _, default, *_ = option.parameter
            found = re.search(rf"option:: --{name} VALUE\n\n(.*)\n", made)
            assert found is not None
            self.assertTrue(found[1].endswith(f"  Default: {default}."), found[1])
        self.assertNotIn("[default", made)

    def test_tool(self) -> None:
        """
        Each command of C{fcgi}, with each of its options, is described.
        """
        made = text(generated.fcgiOptions)
        usage = commandLine().format_help()
        for name, parser in generated.commands().items():
            self.assertIn(name, usage)
            _, _, described = made.partition(f".. program:: fcgi {name}\n")
            described = described.partition(".. program::")[0]
            for option in re.findall(r"^  (-\S+?),? ", parser.format_help(), re.M):
                self.assertRegex(described, rf"option:: (.*, )?{option}\b")

    def test_page(self) -> None:
        """
        The page has both.
        """
        page = (DOCS / "reference/options.rst").read_text()
        for directive in ("twistd-options", "fcgi-options"):
            self.assertIn(f"\n.. {directive}::\n", page)


class MarkupTests(TableTestCase):
    """
    Text that becomes reStructuredText.
    """

    @table({name: (name,) for name in generated.DIRECTIVES})
    def test_valid(self, name: str) -> None:
        """
        What is made is valid, but for what only Sphinx knows, and is on a page.
        """
        made = text(generated.DIRECTIVES[name])
        made = re.sub(r":py:obj:(`.*?`)", r"\1", made)
        made = re.sub(r"^\.\. (option|program)::.*", "", made, flags=re.M)
        publish_doctree(made, settings_overrides={"halt_level": 2, "report_level": 5})
        pages = "".join(path.read_text() for path in DOCS.rglob("*.rst"))
        self.assertTrue(f"\n.. {name}::\n" in pages, f"no page has {name}")

    @table(
        {
            "plain": ("Does it.", "Does it"),
            "first sentence": ("Does\nit.  And more.", "Does it"),
            "first clause": ("Does it: and how.", "Does it"),
            "code": ("Reads C{a} of (L{b <c.d.b>}).", "Reads ``a`` of (``b``)"),
            "special characters": (
                "Is *all* of a_ and `b`",
                r"Is \*all\* of a\_ and \`b\`",
            ),
            "options": ("Like --port.", "Like ``--port``"),
            "nothing": (None, ""),
        }
    )
    def test_summary(self, docstring: str | None, expected: str) -> None:
        """
        Of a docstring the first sentence is taken.
        """
        self.assertEqual(generated.summary(docstring), expected)


class StateTests(SynchronousTestCase):
    """
    The tables of states.
    """

    def test_actions(self) -> None:
        """
        There is a row for each state of a request in hand.
        """
        made = text(generated.inputActions)
        rows = re.findall(r"\* - ``(\w+)``\n((?:     - .*\n?)*)", made)
        cells = {name: re.findall("- (.*)", row) for name, row in rows}
        self.assertEqual(
            cells["STDIN"],
            ["close the connection", "abort the request", "ignore", "take", "ignore"],
        )
        self.assertEqual(list(cells), ["PARAMS", "STDIN", "DATA", "ENDED"])

    def test_order(self) -> None:
        """
        There is a row for each role.
        """
        made = text(generated.inputOrder)
        self.assertIn("* - Authorizer\n     - ``PARAMS`` → ``ENDED``\n", made)
        self.assertIn("``PARAMS`` → ``STDIN`` → ``DATA`` → ``ENDED``", made)


class NameTests(SynchronousTestCase):
    """
    The tables of names and modules.
    """

    def test_public(self) -> None:
        """
        Each public name has a link to its page, which Sphinx follows, and says
        what it is.
        """
        made = text(generated.publicNames)
        for name in set(twisted_fastcgi.__all__) - {"__version__"}:
            self.assertRegex(made, rf":py:obj:`~twisted_fastcgi\.{name}`\n +- \S")
        page = (DOCS / "reference/names.rst").read_text()
        for module in ("testing", "interfaces"):
            self.assertIn(f":py:obj:`twisted_fastcgi.{module}`", page)

    def test_rooms(self) -> None:
        """
        Each module stands on its floor: none but those that are what Python
        asks for are left out.
        """
        made = text(generated.rooms)
        found = re.findall(r":py:obj:`~twisted_fastcgi\.(\w+)`\n +- \S", made)
        modules = {path.stem for path in Path(twisted_fastcgi.__path__[0]).glob("*.py")}
        self.assertEqual(set(found), modules - {"__init__", "_version"})
        self.assertEqual(len(found), len(set(found)))
