# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Looking at what passes on a connection: showing and saving it, without ever
disturbing it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import BinaryIO

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_fastcgi.dissect import Dissector
from twisted_fastcgi.explain import Item, Ledger

#: How the two files of a connection are called, after its number.
FILES = ("request.bin", "answer.bin")

#: How the last words on a connection begin.
CLOSED = "closed: "

#: Is told what happens: the number of the connection, the seconds since it was
#: opened, and a record or a few words.
Report = Callable[[int, float, "Item | str"], object]


class Watch:
    """
    Looks at what passes on one connection, and never disturbs it.
    """

    def __init__(
        self, number: int, clock: IReactorTime, report: Report, peer: object
    ) -> None:
        """
        @param number: The number of the connection.
        @param clock: Tells the time.
        @param report: Is told what happens.
        @param peer: Where the web server is.
        """
        self._number = number
        self._clock = clock
        self._report = report
        self._started = clock.seconds()
        ledger = Ledger()
        self._dissectors = tuple(Dissector(ledger, isLive=True) for _ in range(2))
        self._sinks: tuple[BinaryIO, ...] = ()
        self._files = ExitStack()
        where = "a Unix socket"
        if isinstance(peer, (IPv4Address, IPv6Address)):
            where = f"{peer.host}:{peer.port}"
        self.say(f"connection from {where}")

    def say(self, what: Item | str) -> None:
        """
        Report something.
        """
        self._report(self._number, self._clock.seconds() - self._started, what)

    def save(self, folder: Path, numbers: count[int]) -> None:
        """
        Save all that passes from now on.

        @param folder: Where the two files are put.
        @param numbers: The numbers that they can have, with those of files
            that are there already.
        """
        try:
            self._sinks = self._openFiles(folder, numbers)
        except OSError as error:
            self._stopSaving(error)

    def _openFiles(self, folder: Path, numbers: count[int]) -> tuple[BinaryIO, ...]:
        """
        Open the two files of the connection.
        """
        while True:
            number = next(numbers)
            paths = [folder / f"{number:04}.{name}" for name in FILES]
            if not any(path.exists() for path in paths):
                break
        self.say(f"saved as {paths[0]} and {paths[1].name}")
        return tuple(
            self._files.enter_context(path.open("xb", buffering=0)) for path in paths
        )

    def _stopSaving(self, error: OSError) -> None:
        """
        Go on without the files.
        """
        self._sinks = ()
        self._files.close()
        self.say(f"not saved any more: {error}")

    def toApplication(self, data: bytes) -> None:
        """
        Take bytes that the web server has sent.
        """
        self._take(0, data)

    def toWebServer(self, data: bytes) -> None:
        """
        Take bytes that the application has sent.
        """
        self._take(1, data)

    def _take(self, side: int, data: bytes) -> None:
        """
        Take bytes.
        """
        try:
            if self._sinks:
                self._sinks[side].write(data)
        except OSError as error:
            self._stopSaving(error)
        for item in self._dissectors[side].feed(data):
            self.say(item)

    def end(self, reason: Failure) -> None:
        """
        Take the end of the connection.
        """
        for dissector in self._dissectors:
            for item in dissector.finish():
                self.say(item)
        self._files.close()
        isClean = reason.check(ConnectionDone)
        self.say(f"{CLOSED}{'cleanly' if isClean else reason.getErrorMessage()}")


class Watches:
    """
    Looks at connections.
    """

    def __init__(
        self, clock: IReactorTime, report: Report, folder: Path | None = None
    ) -> None:
        """
        @param clock: Tells the time.
        @param report: Is told what happens.
        @param folder: Where to save what passes; made if it is not there.
        @raise OSError: If there can't be such a folder.
        """
        self._clock = clock
        self._report = report
        self._folder = folder
        self._numbers = count(1)
        self._fileNumbers = count(1)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def start(self, peer: object) -> Watch:
        """
        Look at a connection.

        @param peer: Where the web server is.
        """
        watch = Watch(next(self._numbers), self._clock, self._report, peer)
        if self._folder is not None:
            watch.save(self._folder, self._fileNumbers)
        return watch
