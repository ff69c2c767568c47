# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what is fuzzed: each input of the corpora, which include all findings,
and that the targets do notice what is wrong.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from fuzzing.targets import CONTROL, TARGETS
from tests import wire
from tests.programs import ROOT, output
from tests.tables import TableTestCase, table
from twisted_fastcgi.channel import RequestChannel
from twisted_fastcgi.connection import ApplicationConnection
from twisted_fastcgi.server import FastCGIProtocol

FUZZING = ROOT / "fuzzing"

CORPUS = FUZZING / "corpus"

QUIET = bytes(24)

EVENTFUL = b"\1" + bytes(9) + b"\x0d" * 14


def inputs(target: str) -> list[Path]:
    """
    Find the committed inputs of a target.
    """
    return sorted((CORPUS / target).iterdir())


class CorpusTests(TableTestCase):
    """
    The corpora.
    """

    def test_complete(self) -> None:
        """
        Each target has one, which is small.
        """
        self.assertEqual({each.name for each in CORPUS.iterdir()}, set(TARGETS))
        for target in TARGETS:
            found = [path.read_bytes() for path in inputs(target)]
            self.assertEqual(len(found), len(set(found)))
            self.assertTrue(found)
            self.assertLess(sum(map(len, found)), 400_000)
            self.assertLessEqual(max(map(len, found)), 2048)

    @table({name: (name,) for name in TARGETS})
    def test_input(self, target: str) -> None:
        """
        Each input goes through its target, which finds nothing wrong.
        """
        for path in inputs(target):
            try:
                TARGETS[target](path.read_bytes())
            except Exception as error:
                raise AssertionError(f"{target}, {path.name}: {error}") from error
        self.flushLoggedErrors()


class TargetTests(SynchronousTestCase):
    """
    What a target finds.
    """

    def assertFound(self, target: str, data: bytes, what: str) -> None:
        """
        See that a target finds something wrong.
        """
        error = self.assertRaises(AssertionError, TARGETS[target], data)
        self.assertIn(what, str(error))
        self.flushLoggedErrors()

    def test_content(self) -> None:
        """
        A machine that loses a byte where the bytes are cut is found.
        """
        take = ApplicationConnection.receiveData

        def lossy(machine: ApplicationConnection, data: bytes) -> None:
            take(machine, b"" if data == b"!" else data)

        self.patch(ApplicationConnection, "receiveData", lossy)
        sent = wire.request({}, b"hello!")
        self.assertFound("application", bytes(CONTROL) + sent, "hello!")

    def test_traceback(self) -> None:
        """
        A server that logs a failure is found.
        """

        def broken(channel: RequestChannel, data: bytes) -> None:
            raise ValueError("broken")

        self.patch(RequestChannel, "write", broken)
        sent = wire.request(wire.variables())
        self.assertFound("server", QUIET[:4] + b"\x13" + QUIET[5:] + sent, "broken")

    def test_noEnd(self) -> None:
        """
        A server that never ends a request is found.
        """
        self.patch(FastCGIProtocol, "endRequest", lambda *arguments: None)
        sent = wire.request(wire.variables())
        self.assertFound("server", QUIET + sent, "1 has no answer")

    def test_logInjection(self) -> None:
        """
        A server that logs control characters is found.
        """
        complain: Any = FastCGIProtocol.complain

        def careless(protocol: FastCGIProtocol, what: str, why: str) -> None:
            complain(protocol, what, why + "\nall is well")

        self.patch(FastCGIProtocol, "complain", careless)
        self.assertFound("server", EVENTFUL + wire.request({}), "it logs")

    def test_memory(self) -> None:
        """
        A server that keeps what it has done with is found.
        """
        take = ApplicationConnection.receiveData

        def keeping(machine: Any, data: bytes) -> None:
            machine.__dict__.setdefault("kept", []).append(bytes(data) * 10000)
            take(machine, data)

        self.patch(ApplicationConnection, "receiveData", keeping)
        sent = wire.getValues(b"FCGI_MAX_CONNS") * 3
        self.assertFound("server", EVENTFUL + sent, "keeps")


class RunnerTests(SynchronousTestCase):
    """
    The runner.
    """

    def setUp(self) -> None:
        if find_spec("atheris") is None:
            raise SkipTest("atheris is not installed")

    def run_(self, *options: str) -> str:
        """
        Run it to its end.
        """
        return output([sys.executable, FUZZING / "run.py", *options], ROOT)

    def test_short(self) -> None:
        """
        It fuzzes a target for a while, and tells how far it got.
        """
        told = self.run_("--seconds", "1", "pairs")
        self.assertRegex(told, r"pairs +[\d,]+ executions +\d+ edges .*nothing found")

    def test_unknown(self) -> None:
        """
        It refuses a target that there is not, and says which there are.
        """
        error = self.assertRaises(AssertionError, self.run_, "nonsense")
        self.assertIn("no such target: nonsense", str(error))
        self.assertIn("server", str(error))

    def test_targets(self) -> None:
        """
        It knows all targets.
        """
        told = self.run_("--help")
        for target in TARGETS:
            self.assertIn(target, told)
