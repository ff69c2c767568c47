# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for C{twisted/plugins/twisted_fastcgi_plugin.py}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from twisted_fastcgi.endpoints import InheritedEndpointParser, TCPEndpointParser
from twisted_fastcgi.unixsocket import UnixEndpointParser

ROOT = Path(__file__).parent.parent

LIST_MODULES = """
import sys
from twisted.plugins import twisted_fastcgi_plugin
print(*sorted(sys.modules))
"""


class PluginTests(SynchronousTestCase):
    """
    What Twisted finds.
    """

    def test_light(self) -> None:
        """
        Loading the plugin, as every program that looks for plugins does, loads
        neither a reactor nor twisted.web, nor more of this package than it
        needs.
        """
        done = subprocess.run(
            [sys.executable, "-c", LIST_MODULES],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = done.stdout.split()
        self.assertIn("twisted_fastcgi.endpoints", loaded)
        heavy = [
            name
            for name in loaded
            if name.startswith("twisted.web")
            or name.endswith("reactor")
            or name in ("twisted_fastcgi.tap", "twisted_fastcgi.server")
        ]
        self.assertEqual(heavy, [])

    def test_serviceMaker(self) -> None:
        """
        C{twistd} and C{twist} find one command C{fastcgi}, whose options and
        service come from L{twisted_fastcgi.tap}.
        """
        from twisted_fastcgi import tap

        [maker] = [m for m in getPlugins(IServiceMaker) if m.tapname == "fastcgi"]
        self.assertIs(maker.options, tap.Options)
        self.assertIs(maker.makeService, tap.makeService)
        self.assertTrue(maker.description)

    def test_endpoint(self) -> None:
        """
        Endpoint strings that begin with C{fcgi} find their parsers.
        """
        found = {
            parser.prefix: type(parser)
            for parser in getPlugins(IStreamServerEndpointStringParser)
            if parser.prefix.startswith("fcgi")
        }
        parsers = (InheritedEndpointParser, TCPEndpointParser, UnixEndpointParser)
        self.assertEqual(found, {parser.prefix: parser for parser in parsers})

    def test_namespace(self) -> None:
        """
        Neither directory is a package of its own: it would hide Twisted.
        """
        for directory in ("twisted", "twisted/plugins"):
            self.assertFalse((ROOT / directory / "__init__.py").exists(), directory)
