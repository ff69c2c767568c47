# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for the recipes in C{docs/deploy} as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.servers import RECIPES, WebServer
from tests.programs import ROOT


def run() -> Iterator[str]:
    """
    Tell the recipes that tests run: those of the web servers, and those that a
    module names in C{RECIPES} because they are of another kind.
    """
    for path in (ROOT / "tests/interop").glob("test_*.py"):
        module = import_module(f"tests.interop.{path.stem}")
        for each in vars(module).values():
            server = getattr(each, "server", None)
            if isinstance(server, WebServer):
                yield from (server.recipe, *server.scripts)
        names = vars(module).get("RECIPES", ())
        yield from names if isinstance(names, tuple) else ()


class RecipeTests(SynchronousTestCase):
    """
    The recipes.
    """

    def setUp(self) -> None:
        """
        Find them.
        """
        files = [path for path in RECIPES.glob("*/*") if path.is_file()]
        self.recipes = {str(path.relative_to(RECIPES)) for path in files}

    def test_run(self) -> None:
        """
        Each is run by a test.
        """
        self.assertEqual(self.recipes - set(run()), set())

    def test_shown(self) -> None:
        """
        Each is shown on a page, and no page shows anything else.
        """
        pages = [path.read_text() for path in RECIPES.glob("*.rst")]
        shown = re.findall(r"^\.\. literalinclude:: (.*)$", "\n".join(pages), re.M)
        self.assertEqual(set(shown), self.recipes)

    def test_plain(self) -> None:
        """
        They can be copied as they are: there are no placeholders in them.
        """
        for name in self.recipes:
            text = (RECIPES / name).read_text()
            self.assertEqual(re.findall(r"@[A-Z]+@", text), [], name)

    def test_listed(self) -> None:
        """
        Each page is on the list.
        """
        index = (RECIPES / "index.rst").read_text()
        for path in RECIPES.glob("*.rst"):
            if path.stem not in ("index", "table"):
                self.assertIn(f"\n   {path.stem}\n", index)
