# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for C{--print-config}: the recipes that people copy are what it prints.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

from twisted.application.twist._options import TwistOptions
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.servers import RECIPES
from tests.tables import TableTestCase, table

SOCKET = "--port unix:/run/app.sock"
TCP = "--port tcp:9000:interface=127.0.0.1"
PREFIX = "--mount /app"
SCRIPT = "--mount script-name"

#: What is copied for whatever starts an application has these names in it.
NAMES = {"nobody": "app", "nogroup": "www-data"}

#: The options that each recipe belongs to.
PRINTED: dict[str, str] = {
    "nginx/app.conf": SOCKET,
    "nginx/tcp.conf": TCP,
    "nginx/prefix.conf": f"{SOCKET} {PREFIX}",
    "nginx/script.conf": f"{SOCKET} {SCRIPT}",
    "lighttpd/app.conf": SOCKET,
    "lighttpd/mounted.conf": f"{SOCKET} {PREFIX}",
    "apache/app.conf": SOCKET,
    "apache/tcp.conf": TCP,
    "apache/prefix.conf": f"{SOCKET} {PREFIX}",
    "apache/script.conf": f"{SOCKET} {SCRIPT}",
    "haproxy/app.cfg": TCP,
    "haproxy/prefix.cfg": f"{TCP} {PREFIX}",
    "haproxy/script.cfg": f"{TCP} {SCRIPT}",
    "caddy/app.caddyfile": SOCKET,
    "caddy/tcp.caddyfile": TCP,
    "caddy/prefix.caddyfile": f"{SOCKET} {PREFIX}",
    "caddy/script.caddyfile": f"{SOCKET} {SCRIPT}",
    "h2o/app.conf": SOCKET,
    "h2o/tcp.conf": TCP,
    "h2o/prefix.conf": f"{SOCKET} {PREFIX}",
    "supervisor/app.conf": "--port fcgi:",
    "systemd/app.socket": "--port systemd:domain=UNIX:index=0",
    "systemd/app.service": "--port systemd:domain=UNIX:index=0",
    "systemd/alone.service": "--port unix:/run/app/app.sock:mode=660",
}

#: What is said to C{twistd} for some of them.
RUNNER = {
    "systemd/app.socket": "--uid nobody",
    "systemd/app.service": "--uid nobody",
    "systemd/alone.service": "--uid nobody --gid nogroup",
}

HELLO = """
    from twisted.web.resource import Resource

    class Hello(Resource):
        isLeaf = True
"""


def printed(
    test: SynchronousTestCase,
    words: Sequence[str],
    runner: Sequence[str] = (),
    program: str = "/usr/bin/twistd",
) -> str:
    """
    Run C{twistd fastcgi} or C{twist fastcgi} as far as it goes.

    @return: What it prints.
    """
    options: Any = TwistOptions() if program.endswith("twist") else ServerOptions()
    line = [*runner, "fastcgi", *words]
    test.patch(sys, "argv", [program, *line])
    output = io.StringIO()
    with redirect_stdout(output):
        error = test.assertRaises(SystemExit, options.parseOptions, line)
    test.assertEqual(error.code, 0)
    return output.getvalue()


class Folder:
    """
    Has a test run in a folder with an application.
    """

    def setUp(self: Any) -> None:
        """
        Make the folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        (self.folder / "hello.py").write_text(dedent(HELLO))
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(sys.modules.pop, "hello", None)
        self.patch(sys, "path", [str(self.folder), *sys.path])
        os.chdir(self.folder)

    def recipe(self: Any, name: str) -> str:
        """
        Print what a recipe should be.
        """
        server = name.partition("/")[0]
        words = f"{PRINTED[name]} --resource hello.Hello --print-config {server}"
        text = printed(self, words.split(), RUNNER.get(name, "").split())
        text = text.replace(str(self.folder), "/srv/app")
        for plain, shown in NAMES.items():
            text = text.replace(f"={plain}\n", f"={shown}\n")
        return part(text, name)


def part(text: str, name: str) -> str:
    """
    Take one file of what is printed for several.
    """
    if not name.startswith("systemd/"):
        return text
    files = text.split("# /etc/systemd/system/app.")
    kind = name.rpartition(".")[2]
    (found,) = (each for each in files if each.startswith(f"{kind}\n"))
    return found.partition("\n")[2].rstrip("\n") + "\n"


class RecipeTests(Folder, TableTestCase):
    """
    What people copy.
    """

    @table({name: (name,) for name in PRINTED})
    def test_same(self, name: str) -> None:
        """
        A recipe is what is printed, so that the two can't drift apart.
        """
        text = self.recipe(name)
        if name == "supervisor/app.conf":
            # The page is about several.
            self.assertIn("\nnumprocs=1\n", text)
            text = text.replace("\nnumprocs=1\n", "\nnumprocs=2\n")
        self.assertEqual((RECIPES / name).read_text(), text)
