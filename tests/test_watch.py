# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.watch}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests import wire
from tests.ends import DONE
from twisted_fastcgi.explain import Item, Record
from twisted_fastcgi.watch import Watches

PEER = UNIXAddress(None)


class WatchTests(SynchronousTestCase):
    """
    Looking at connections.
    """

    def setUp(self) -> None:
        """
        Gather what is reported.
        """
        self.clock = Clock()
        self.reports: list[tuple[int, float, Item | str]] = []
        self.folder = Path(self.mktemp())

    def watches(self, folder: Path | None = None) -> Watches:
        """
        Make what looks at connections.
        """
        return Watches(self.clock, lambda *report: self.reports.append(report), folder)

    def said(self) -> list[str]:
        """
        Tell what was reported in words, and the names of records.
        """
        return [
            what.name if isinstance(what, Record) else str(what)
            for _, _, what in self.reports
        ]

    def test_reports(self) -> None:
        """
        Each thing is reported with the number of its connection, and the time
        since that was made.
        """
        watches = self.watches()
        self.clock.advance(5)
        one = watches.start(PEER)
        self.clock.advance(1)
        two = watches.start(PEER)
        self.clock.advance(2)
        one.toApplication(wire.beginRequest())
        two.toWebServer(wire.record(wire.STDOUT, 1, b"x"))
        two.end(DONE)
        self.assertEqual(
            [report[:2] for report in self.reports],
            [(1, 0), (2, 0), (1, 3), (2, 2), (2, 2)],
        )
        self.assertEqual(
            self.said(),
            [
                "connection from a Unix socket",
                "connection from a Unix socket",
                "BEGIN_REQUEST",
                "STDOUT",
                "closed: cleanly",
            ],
        )

    def test_peers(self) -> None:
        """
        It is told where a connection comes from.
        """
        self.watches().start(IPv4Address("TCP", "192.0.2.1", 80))
        self.watches().start(IPv6Address("TCP", "::1", 80))
        self.assertEqual(
            self.said(), ["connection from 192.0.2.1:80", "connection from ::1:80"]
        )

    def test_oneLedger(self) -> None:
        """
        What goes one way explains what goes the other way: an early answer
        makes the next request an ordinary one.
        """
        watch = self.watches().start(PEER)
        for _ in range(2):
            watch.toApplication(wire.beginRequest() + wire.params({}))
            watch.toWebServer(wire.record(wire.END_REQUEST, 1, bytes(8)))
        notes = [what.notes for *_, what in self.reports if isinstance(what, Record)]
        self.assertEqual(notes, [[]] * 6)

    def test_unfinished(self) -> None:
        """
        What is left over at the end is reported.
        """
        watch = self.watches().start(PEER)
        watch.toApplication(b"\1\1")
        watch.toWebServer(b"\1\6\0")
        watch.end(DONE)
        contents = [what.content for *_, what in self.reports if isinstance(what, Item)]
        self.assertEqual(contents, [b"\1\1", b"\1\6\0"])

    def test_save(self) -> None:
        """
        What passes is saved as it is, in two files for each connection, at
        once.
        """
        watches = self.watches(self.folder / "deep")
        for number in (1, 2):
            watch = watches.start(PEER)
            watch.toApplication(b"asked %d " % number)
            watch.toApplication(b"more")
            watch.toWebServer(b"answered %d" % number)
            self.addCleanup(watch.end, DONE)
        saved = {
            path.name: path.read_bytes() for path in (self.folder / "deep").iterdir()
        }
        self.assertEqual(
            saved,
            {
                "0001.request.bin": b"asked 1 more",
                "0001.answer.bin": b"answered 1",
                "0002.request.bin": b"asked 2 more",
                "0002.answer.bin": b"answered 2",
            },
        )
        self.assertIn(
            f"saved as {self.folder / 'deep/0001.request.bin'} and 0001.answer.bin",
            self.said(),
        )

    def test_saveAgain(self) -> None:
        """
        No file is written over.
        """
        self.folder.mkdir()
        for name in ("0001.request.bin", "0002.answer.bin"):
            (self.folder / name).write_bytes(b"old")
        watch = self.watches(self.folder).start(PEER)
        watch.toApplication(b"new")
        watch.end(DONE)
        self.assertEqual((self.folder / "0001.request.bin").read_bytes(), b"old")
        self.assertEqual((self.folder / "0003.request.bin").read_bytes(), b"new")

    def test_cannotSave(self) -> None:
        """
        If files can't be made, that is reported, and all else goes on.
        """
        watches = self.watches(self.folder)
        self.folder.rmdir()
        watch = watches.start(PEER)
        watch.toApplication(wire.beginRequest())
        self.assertIn("not saved any more: [Errno 2]", self.said()[2])
        self.assertEqual(self.said()[3:], ["BEGIN_REQUEST"])

    def test_stopsSaving(self) -> None:
        """
        So it is if they can't be written any more.
        """
        watch = self.watches(self.folder).start(PEER)
        (self.folder / "0001.request.bin").unlink()
        (self.folder / "full").symlink_to("/dev/full")
        with (self.folder / "full").open("wb", buffering=0) as full:
            watch._sinks = (full, full)
            watch.toApplication(wire.beginRequest())
            watch.toWebServer(wire.record(wire.STDOUT, 1, b"x"))
        self.assertIn("not saved any more: [Errno 28]", self.said()[2])
        self.assertEqual(self.said()[3:], ["BEGIN_REQUEST", "STDOUT"])

    def test_noFolder(self) -> None:
        """
        If there can't be such a folder, that is an error at the start.
        """
        self.folder.write_bytes(b"")
        with self.assertRaises(OSError):
            self.watches(self.folder)
