# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.commandline}.
"""

from __future__ import annotations

import os
import re
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from tests.tables import TableTestCase, table
from twisted_fastcgi.commandline import USAGE, commandLine

COMMANDS = ("dump", "tap", "get", "ping", "replay")


def said(*arguments: str) -> tuple[int, str, str]:
    """
    Read a command line that ends the process.

    @return: The exit status, and what is written to the two outputs.
    """
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as error:
        try:
            commandLine().parse_args(arguments)
        except SystemExit as exit:
            return int(exit.code or 0), output.getvalue(), error.getvalue()
    raise AssertionError(f"{arguments} do not end the process")


class CommandLineTests(TableTestCase):
    """
    The command line.
    """

    def setUp(self) -> None:
        """
        Have a terminal of the usual width.
        """
        self.patch(os, "environ", {**os.environ, "COLUMNS": "80"})

    @table({name: (name,) for name in COMMANDS})
    def test_help(self, name: str) -> None:
        """
        The help of each command has an example that the command accepts.
        """
        code, output, error = said(name, "--help")
        self.assertEqual((code, error), (0, ""))
        self.assertTrue(all(len(line) <= 82 for line in output.splitlines()))
        examples = output.replace("\\\n", "").partition("example")[2]
        lines = re.findall(r"fcgi (.*)", examples)
        self.assertNotEqual(lines, [])
        for line in lines:
            words = [word.strip("'") for word in line.split()]
            commandLine().parse_args(words)

    def test_helpOfAll(self) -> None:
        """
        The help names all commands, and tells what the exit status says.
        """
        code, output, _ = said("--help")
        self.assertEqual(code, 0)
        for name in COMMANDS:
            self.assertRegex(output, rf"\n +{name} +\w")
        self.assertIn("Exit status: 0 ", output)

    @table(
        {
            "nothing": ((), "fcgi: the following arguments are required: COMMAND"),
            "unknown": (("nope",), "fcgi: argument COMMAND: invalid choice: 'nope'"),
            "missing": (
                ("get",),
                "fcgi get: the following arguments are required: address",
            ),
            **{
                f"timeout {text}": (
                    ("ping", "x", f"--timeout={text}"),
                    f"fcgi ping: argument --timeout: '{text}' is not more than 0",
                )
                for text in ("soon", "0", "-1", "nan", "1000001", "inf")
            },
            "no server": (("get", "x", "--like", "iis"), "fcgi get: argument --like"),
            "no place": (("tap",), "fcgi tap: the following arguments are required"),
        }
    )
    def test_wrong(self, arguments: tuple[str, ...], start: str) -> None:
        """
        What is wrong is told in one line.
        """
        code, output, error = said(*arguments)
        self.assertEqual((code, output), (USAGE, ""))
        self.assertTrue(error.startswith(start), error)
        self.assertTrue(error.endswith("--help\n"), error)
        self.assertEqual(error.count("\n"), 1)

    def test_defaults(self) -> None:
        """
        Only what must be said has no default.
        """
        options = vars(commandLine().parse_args(["get", "/tmp/app.sock"]))
        self.assertEqual(
            options,
            {
                "address": "/tmp/app.sock",
                "command": "get",
                "data": None,
                "header": [],
                "include": False,
                "like": "nginx",
                "param": [],
                "path": "/",
                "prog": "fcgi get",
                "request": None,
                "script_filename": None,
                "time": False,
                "timeout": 60,
            },
        )
        options = vars(commandLine().parse_args(["ping", "x"]))
        self.assertEqual(options["timeout"], 5)
        options = vars(commandLine().parse_args(["replay", "f", "x"]))
        self.assertEqual((options["timeout"], options["patience"]), (None, 60))
