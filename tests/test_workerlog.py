# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.workerlog}.
"""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import (
    LegacyLogObserverWrapper,
    Logger,
    LogLevel,
    LogPublisher,
    formatEvent,
    formatEventAsClassicLogText,
    globalLogPublisher,
    jsonFileLogObserver,
)
from twisted.python import log as oldLog
from twisted.trial.unittest import SynchronousTestCase

from twisted_fastcgi.workerlog import LONGEST_LINE, Lines, WorkerLog, prepare


class LinesTests(SynchronousTestCase):
    """
    What comes from a pipe is cut into lines.
    """

    def test_cuts(self) -> None:
        """
        It does not matter in which pieces it comes.
        """
        data = b"one\n\ntwo\nthree"
        for size in range(1, len(data) + 1):
            lines = Lines()
            pieces = [data[i : i + size] for i in range(0, len(data), size)]
            found = [line for piece in pieces for line in lines.feed(piece)]
            self.assertEqual(found, [b"one", b"two"])
            self.assertEqual([*lines.end(), *lines.end()], [b"three"])

    def test_tooLong(self) -> None:
        """
        Of a line that is too long the beginning is told once, and no more of it
        is kept; the next line is one like others.
        """
        lines = Lines()
        found = []
        for _ in range(5):
            found += lines.feed(b"x" * (LONGEST_LINE // 2))
            self.assertLessEqual(len(lines._begun), 1.5 * LONGEST_LINE)
        self.assertEqual(found, [b"x" * LONGEST_LINE])
        self.assertEqual([*lines.feed(b"y\nnext\n")], [b"next"])
        list(lines.feed(b"x" * (LONGEST_LINE + 1)))
        self.assertEqual([*lines.end()], [])


class WorkerLogTests(SynchronousTestCase):
    """
    What a worker writes is logged.
    """

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.observer = EventLoggingObserver()
        self.log = WorkerLog(3, 77, self.events.append)
        self.log._log = Logger(namespace="own", observer=self.observer)

    def written(self, write: Any) -> bytes:
        """
        Tell what a worker writes that logs something.
        """
        out = StringIO()
        write(LogPublisher(prepare, jsonFileLogObserver(out)))
        return out.getvalue().encode()

    def text(self) -> list[str]:
        """
        Tell the lines of text that were logged.
        """
        return [event["prefix"] + event["line"] for event in self.observer]

    def test_event(self) -> None:
        """
        An event is the same here, with the number of the worker, and who it is
        before its text, whatever is in braces.
        """

        class Thing:
            name = "a {b}"

        def write(publisher: Any) -> None:
            log = Logger(namespace="app", observer=publisher)
            log.warn(
                "{thing.name} has {count}, {line!r}", thing=Thing(), count=2, line="\n"
            )

        self.log.outReceived(self.written(write))
        (event,) = self.events
        self.assertEqual(
            (event["worker"], event["count"], event["log_namespace"]), (3, 2, "app")
        )
        self.assertIs(event["log_level"], LogLevel.warn)
        line = str(formatEventAsClassicLogText(event))
        self.assertTrue(
            line.endswith("[app#warn] worker 3 (pid 77): a {b} has 2, '\\n'\n"), line
        )
        self.assertEqual(self.text(), [])

    def test_failure(self) -> None:
        """
        A failure comes with its traceback, and with what its exception says.
        """

        def write(publisher: Any) -> None:
            try:
                raise ValueError("the reason")
            except ValueError:
                Logger(observer=publisher).failure("it failed")

        self.log.outReceived(self.written(write))
        (event,) = self.events
        text = str(formatEventAsClassicLogText(event))
        for expected in ("worker 3 (pid 77): it failed", "ValueError: the reason"):
            self.assertIn(expected, text)
        self.assertIn(__file__.rstrip("c"), text)

    def test_unwritable(self) -> None:
        """
        An event that JSON can't tell is not lost: its text comes, or what is wrong
        with it, as in any log of Twisted's.
        """
        circle: list[Any] = []
        circle.append(circle)
        broken: Any = {"a": 1}
        for form, more, expected in (
            ("circle {more}", circle, r"circle \[\[\.\.\.\]\]$"),
            ("{", "x", "Unable to format event .*'{'"),
            ("{missing}", "x", "Unable to format event .*'{missing}'"),
            (broken, "x", "Unable to format event .*{'a': 1}"),
        ):

            def write(publisher: Any, form: Any = form, more: Any = more) -> None:
                Logger(observer=publisher).warn(form, more=more)

            self.log.outReceived(self.written(write))
            text = formatEvent(self.events.pop())
            self.assertRegex(text, rf"^worker 3 \(pid 77\): {expected}")
        self.assertEqual(self.text(), [])

    def test_old(self) -> None:
        """
        Events of C{twisted.python.log}, and observers of that kind, are none the
        worse.
        """

        def write(publisher: Any) -> None:
            out = oldLog.LogPublisher(
                observerPublisher=publisher, publishPublisher=publisher
            )
            out.msg("some", "words", system="it")
            out.msg(format="%(what)s", what="other words")

        self.log.outReceived(self.written(write))
        seen: list[Any] = []
        for event in self.events:
            LegacyLogObserverWrapper(seen.append)(event)
        texts = [oldLog.textFromEventDict(event) for event in seen]
        self.assertEqual(
            texts,
            ["worker 3 (pid 77): some words", "worker 3 (pid 77): other words"],
        )
        self.assertEqual(seen[0]["system"], "it")

    def test_text(self) -> None:
        """
        What is no event is text: on the standard error all of it.
        """
        self.log.outReceived(b"printed\n\n\xff")
        self.log.errReceived(b"wrong\nmore")
        self.assertEqual(
            self.text(), ["worker 3 (pid 77): printed", "worker 3 (pid 77): wrong"]
        )
        self.log.end()
        self.assertEqual(
            self.text()[2:], ["worker 3 (pid 77): \\xff", "worker 3 (pid 77): more"]
        )
        self.assertEqual({event["worker"] for event in self.observer}, {3})
        self.assertEqual(self.events, [])

    def test_both(self) -> None:
        """
        Text without an end of its line does not spoil the event after it.
        """
        event = self.written(lambda p: Logger(observer=p).info("event"))
        self.log.outReceived(b"text" + event)
        self.assertEqual(self.text(), ["worker 3 (pid 77): text"])
        self.assertEqual(len(self.events), 1)

    def test_broken(self) -> None:
        """
        What looks like an event and is none is text.
        """
        good = {"log_time": 1.0, "log_namespace": "x", "log_level": None}
        level = {
            "name": "info",
            "__class_uuid__": "02e59486-f24d-46ad-8224-3acdf2a5732a",
        }
        for record in (
            "{",
            "[]",
            "1",
            "{}",
            json.dumps(good),
            json.dumps({**good, "log_level": "info"}),
            json.dumps({"log_level": level}),
            json.dumps({**good, "log_level": level, "log_cause": "x"}),
            json.dumps({**good, "log_level": level, "log_format": 1}),
            json.dumps({**good, "log_level": level, "log_time": "x"}),
            json.dumps({**good, "log_level": level, "log_namespace": None}),
            '{"log_failure": {"__class_uuid__": '
            '"e76887e2-20ed-49bf-a8f8-ba25cc586f2d"}}',
        ):
            before = len(self.text())
            self.log.outReceived(f"\x1e{record}\n".encode())
            self.assertEqual(self.text()[before:], [f"worker 3 (pid 77): {record}"])
        self.assertEqual(self.events, [])
        self.log.outReceived(
            f"\x1e{json.dumps({**good, 'log_level': level})}\n".encode()
        )
        self.assertEqual(len(self.events), 1)

    def test_long(self) -> None:
        """
        Of a long line of text only the beginning is shown.
        """
        self.log.errReceived(b"x" * 10000 + b"\n")
        (line,) = self.text()
        self.assertTrue(line.endswith("x [...]"))
        self.assertEqual(line.count("x"), 8192)

    def test_published(self) -> None:
        """
        The events are published for all observers of this process.
        """
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        event = self.written(lambda p: Logger(observer=p).info("here"))
        WorkerLog(4, 5).outReceived(event)
        self.assertEqual([found["worker"] for found in observer], [4])
