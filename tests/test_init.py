# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for the public names of L{twisted_fastcgi}.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_fastcgi

ROOT = Path(__file__).resolve().parent.parent

_IMPORT = """
import sys
{statement}
heavy = {{
    "twisted.web", "twisted.web.server", "twisted.web.http",
    "twisted.internet.reactor", "twisted.internet.ssl", "twisted_fastcgi.server",
}}
print(*sorted(heavy.intersection(sys.modules)))
"""


def loadedBy(statement: str) -> str:
    """
    Tell which heavy modules a statement loads in a new Python.
    """
    return subprocess.run(
        [sys.executable, "-c", _IMPORT.format(statement=statement)],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
    ).stdout.strip()


class PublicNamesTests(SynchronousTestCase):
    """
    What C{from twisted_fastcgi import} offers.
    """

    def test_resolve(self) -> None:
        """
        Each public name is the object of that name in the module it lives in.
        """
        for name, home in twisted_fastcgi._homes.items():
            module = import_module(f"twisted_fastcgi.{home}")
            self.assertIs(getattr(twisted_fastcgi, name), getattr(module, name))

    def test_all(self) -> None:
        """
        C{__all__} holds the version and each name that is imported on demand,
        and a star import gives them all.
        """
        self.assertEqual(
            set(twisted_fastcgi.__all__), {*twisted_fastcgi._homes, "__version__"}
        )
        names: dict[str, object] = {}
        exec("from twisted_fastcgi import *", names)
        self.assertLessEqual(set(twisted_fastcgi.__all__), set(names))

    def test_onDemand(self) -> None:
        """
        A name that was not asked for yet is imported, and kept.
        """
        vars(twisted_fastcgi).pop("ProtocolError", None)
        found = twisted_fastcgi.ProtocolError
        self.assertIs(vars(twisted_fastcgi)["ProtocolError"], found)

    def test_unknown(self) -> None:
        """
        A name that does not exist raises L{AttributeError} with that name.
        """
        error = self.assertRaises(
            AttributeError, getattr, twisted_fastcgi, "FastCGIFactori"
        )
        self.assertEqual(
            str(error), "module 'twisted_fastcgi' has no attribute 'FastCGIFactori'"
        )

    def test_dir(self) -> None:
        """
        C{dir()} lists each public name, whether it was imported yet or not.
        """
        vars(twisted_fastcgi).pop("LimitExceeded", None)
        self.assertLessEqual(set(twisted_fastcgi.__all__), set(dir(twisted_fastcgi)))

    def test_light(self) -> None:
        """
        Neither the package nor its Twisted plugin loads Twisted Web or a
        reactor: programs that want nothing of FastCGI import both.
        """
        self.assertEqual(loadedBy("import twisted_fastcgi"), "")
        self.assertEqual(loadedBy("import twisted.plugins.twisted_fastcgi_plugin"), "")

    def test_lightCanFail(self) -> None:
        """
        The check for heavy modules sees one when it is there.
        """
        self.assertIn(
            "twisted.web.server", loadedBy("from twisted_fastcgi import FastCGIFactory")
        )
