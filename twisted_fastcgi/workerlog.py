# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What workers write, in the log of the process that has started them.

A worker writes its log to a pipe, as JSON.  Each event of it becomes an event
here, with its time, level, namespace, failure and fields; what is written past the
log, such as the last words of an interpreter, becomes a line of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from twisted.logger import (
    ILogObserver,
    Logger,
    LogLevel,
    eventAsJSON,
    eventFromJSON,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from zope.interface import provider

LONGEST_LINE = 1048576
"""
How long a line may be, in bytes: an event with its traceback is one line.
"""

#: How much is shown of a line that is none of the worker's log, in characters.
_SHOWN = 8192

# What Twisted has before a line that is JSON.
_MARK = "\x1e"

# What means nothing in another process.
_FOREIGN = ("log_logger", "log_source")

# What events have for observers of the old kind, who get it anew.
_LEGACY = (
    "failure",
    "format",
    "isError",
    "log_legacy",
    "message",
    "system",
    "time",
    "why",
)

#: The field that says what a failure's exception says.
_CAUSE = "log_cause"


#: What an event has to have, so that it can be shown.
_KINDS: dict[str, Any] = {
    "log_format": (str, type(None)),
    "log_namespace": str,
    "log_time": (float, int),
}


#: What is kept of one that can't be written.
_KEPT = ("log_failure", "log_level", "log_namespace", "log_time", _CAUSE)


@provider(ILogObserver)
def prepare(event: dict[str, Any]) -> None:
    """
    Have an event that JSON can tell: an observer for workers, before the one that
    writes.  Twisted leaves out of JSON what the exception of a failure says; and it
    drops an event that can't be written, such as one with a brace too many.

    @param event: Any event.
    """
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        event[_CAUSE] = failure.getErrorMessage()
    try:
        eventAsJSON(event)
    except Exception:
        text = formatEvent(event)
        kept = {name: event[name] for name in _KEPT if name in event}
        event.clear()
        event.update(kept, log_format="{text}", text=text)


class Lines:
    """
    Cuts what comes from a pipe into lines, and keeps no more than one.
    """

    def __init__(self) -> None:
        self._begun = b""
        self._isTooLong = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Take some bytes.

        @param data: The bytes, in any cuts.
        @return: The lines that end in them, without their ends; of those that are
            longer than L{LONGEST_LINE} only the beginning.
        """
        *ended, rest = data.split(b"\n")
        for piece in ended:
            yield from self._add(piece)
            yield from self.end()
        yield from self._add(rest)

    def _add(self, piece: bytes) -> Iterator[bytes]:
        if self._isTooLong:
            return
        self._begun += piece
        if len(self._begun) > LONGEST_LINE:
            self._isTooLong = True
            yield self._begun[:LONGEST_LINE]

    def end(self) -> Iterator[bytes]:
        """
        End the line that has begun, unless it is empty.

        @return: That line, unless its beginning was enough.
        """
        if self._begun and not self._isTooLong:
            yield self._begun
        self._begun = b""
        self._isTooLong = False


class WorkerLog:
    """
    Logs what one process of a worker writes.
    """

    _log = Logger()

    def __init__(
        self,
        number: int,
        pid: int,
        publish: Callable[[dict[str, Any]], object] = globalLogPublisher,
    ) -> None:
        """
        @param number: The number of the worker.
        @param pid: That of its process.
        @param publish: Takes events.
        """
        self._number = number
        self._prefix = f"worker {number} (pid {pid}): "
        self._publish = publish
        self._output, self._errors = Lines(), Lines()

    def outReceived(self, data: bytes) -> None:
        """
        Take something of its standard output.

        @param data: Bytes.
        """
        for line in self._output.feed(data):
            self._outLine(line)

    def errReceived(self, data: bytes) -> None:
        """
        Take something of its standard error.

        @param data: Bytes.
        """
        for line in self._errors.feed(data):
            self._text(line.decode("utf-8", "backslashreplace"))

    def end(self) -> None:
        """
        Log what has no end of a line, as nothing more will come.
        """
        for line in self._output.end():
            self._outLine(line)
        for line in self._errors.end():
            self._text(line.decode("utf-8", "backslashreplace"))

    def _outLine(self, line: bytes) -> None:
        """
        Log a line of text, or an event, or both: the text has no end then.
        """
        text = line.decode("utf-8", "backslashreplace")
        before, mark, record = text.rpartition(_MARK)
        event = _event(record) if mark else None
        if event is None:
            self._text(text.replace(_MARK, ""))
            return
        self._text(before.replace(_MARK, ""))
        self._event(event)

    def _text(self, text: str) -> None:
        if text.strip():
            shown = text[:_SHOWN] + (" [...]" if len(text) > _SHOWN else "")
            self._log.warn(
                "{prefix}{line}", prefix=self._prefix, line=shown, worker=self._number
            )

    def _event(self, event: dict[str, Any]) -> None:
        isOld = event["log_namespace"] == "log_legacy"
        for name in _FOREIGN + (_LEGACY if isOld else ()):
            event.pop(name, None)
        cause = event.pop(_CAUSE, None)
        if cause is not None:
            event["log_failure"].value = cause
        event["worker"] = self._number
        # There are no braces in it, so that it means itself.
        event["log_format"] = self._prefix + (event.get("log_format") or "")
        self._publish(event)


def _event(record: str) -> dict[str, Any] | None:
    """
    Read an event.

    @return: The event; L{None} if it is none, or not whole.
    """
    # Whatever a broken one makes Twisted raise.
    with suppress(Exception):
        event = eventFromJSON(record)
        isWhole = all(isinstance(event.get(n), kind) for n, kind in _KINDS.items())
        if isWhole and event.get("log_level") in LogLevel.iterconstants():
            hasCause = isinstance(event.get("log_failure"), Failure)
            return event if hasCause or _CAUSE not in event else None
    return None
