# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The file of an access log, which can be rotated and may get full.
"""

from __future__ import annotations

import os
import signal
import stat
from typing import Any

from twisted.logger import Logger
from twisted.web.server import Site

from twisted_fastcgi.signals import SignalHandler

log = Logger()

# Several processes append to one file, whole lines each.  Nobody waits: a pipe
# that is full, or that nobody reads, must not keep the reactor from its work.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# As open() has it.
_MODE = 0o666


def openLog(path: str, uid: int | None = None, gid: int | None = None) -> int:
    """
    Open a file to append to.

    @param path: Where it is.
    @param uid: Who is to own the file, if it is made here: one that is there
        already, or that a link leads to, stays whose it is.
    @param gid: The number of its group.
    @return: A file descriptor.
    @raise OSError: If that can't be.
    """
    try:
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        # There may be a link to a file that is not.
        return os.open(path, _FLAGS | os.O_CREAT, _MODE)
    if (uid, gid) != (None, None):
        # By its number, so that a link put there meanwhile leads nowhere.
        os.chown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
    return fd


def isPipe(path: str) -> bool:
    """
    Tell whether a log goes to a named pipe, whose reader sees every C{close}.

    @param path: Where it is.
    """
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


class LogFile:
    """
    A file that lines are appended to, each with one C{write}: so that several
    processes can share it.

    Whatever happens to it, nothing is raised: requests are answered also if
    they can't be logged.  The log of the process has one line when lines begin
    to get lost, and one when they do so no more.
    """

    def __init__(self, path: str) -> None:
        """
        @param path: Where it is.
        @raise OSError: If it can't be opened.
        """
        self._path = path
        self._fd = openLog(path)
        self._lost = 0
        self._isTorn = False

    def write(self, line: str) -> None:
        """
        Append a line.

        @param line: The line, with its end.
        """
        data = line.encode("utf-8", "backslashreplace")
        if self._isTorn:
            data = b"\n" + data
        try:
            count = os.write(self._fd, data)
        except OSError as error:
            self._lose(error.strerror)
            return
        # The end of what is cut off is of no use: others may write meanwhile.
        self._isTorn = count < len(data)
        if self._isTorn:
            self._lose("only a part of a line was written")
        elif self._lost:
            self._recover()

    def _lose(self, why: str | None) -> None:
        """
        Count a line that is lost, and say so if it is the first one.
        """
        self._lost += 1
        if self._lost == 1:
            log.error(
                "cannot write to the access log {path}: {error}; requests go on "
                "without it",
                path=self._path,
                error=why,
            )

    def _recover(self) -> None:
        """
        Say that lines are lost no more.
        """
        log.info(
            "the access log {path} is written again; {count} lines are lost",
            path=self._path,
            count=self._lost,
        )
        self._lost = 0

    def reopen(self) -> None:
        """
        Go on in the file that is at the path now: a new one, if the old one was
        renamed.  If there can be none, the old one is kept.
        """
        try:
            fd = openLog(self._path)
        except OSError as error:
            log.error(
                "cannot reopen the access log {path}: {error}; the old file is kept",
                path=self._path,
                error=error.strerror,
            )
            return
        self.close()
        self._fd = fd
        self._isTorn = False

    def close(self) -> None:
        """
        Close the file.
        """
        os.close(self._fd)


class LoggingSite(Site):
    """
    A site whose access log is opened anew at SIGUSR1, as those of web servers
    are: C{mv access.log access.log.1; kill -USR1 PID}.

    The signal is handled as long as the site is started, whether there is an
    access log or not, by a site that is started in the main thread.
    """

    _accessLog: LogFile | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """
        @param args: See L{Site}.
        @param kwargs: See L{Site}.
        """
        super().__init__(*args, **kwargs)
        self._handler = SignalHandler(self.reactor, signal.SIGUSR1, self.reopenLog)

    def startFactory(self) -> None:
        """
        Open the log, and handle the signal.
        """
        super().startFactory()
        self._handler.install()

    def stopFactory(self) -> None:
        """
        Close the log, and leave the signal alone.
        """
        self._handler.restore()
        self._accessLog = None
        super().stopFactory()

    def reopenLog(self) -> None:
        """
        Open the access log anew, if there is one.
        """
        if self._accessLog is not None:
            self._accessLog.reopen()

    def _openLogFile(self, path: Any) -> LogFile:
        """
        Open the log.
        """
        self._accessLog = opened = LogFile(os.fsdecode(path))
        return opened
