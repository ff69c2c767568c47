# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
One process of a worker: how it is started, what it says, how it ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from getopt import getopt
from typing import Any, cast

from twisted.application.reactors import getReactorTypes
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options

from twisted_fastcgi.figures import Statistics
from twisted_fastcgi.workerlink import (
    ANSWER_TIMEOUT,
    FOLDER,
    LINK,
    WORKER,
    ParentLink,
    TellOwn,
    connect,
)
from twisted_fastcgi.workerlog import WorkerLog

START_TIMEOUT = 120.0
"""
Seconds that a worker has to load the application and serve.
"""

MARGIN = 2.0
"""
Seconds beyond the grace after which a worker that was told to stop is killed.
"""

#: Seconds that what a worker wrote last has to arrive after its end; somebody
#: whom it has started may hold the pipe for ever.
_LAST_WORDS = 0.5

# The standard streams come before.
_LINK_FD = 3
_FIRST_PORT_FD = 4

# What this process was told for itself alone.
_PRIVATE = (
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)

# Options that are for the parent, or are given anew.
_DROPPED = ("-p", "--listen", "--port", "--workers")

# Options of the interpreter that have a value, maybe a word of its own.
_VALUED = "WX"


def interpreterOptions(arguments: Sequence[str]) -> list[str]:
    """
    Tell the options of the interpreter, such as C{-O} and C{-W error}.

    @param arguments: Its whole command line.
    @return: Those before the script, the module or the command.
    """
    options: list[str] = []
    words = iter(arguments[1:])
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            break
        flags, isLast, needsValue = _flags(word)
        options += [f"-{flags}"] * bool(flags)
        if needsValue:
            options.append(next(words))
        if isLast:
            break
    return options


def _flags(word: str) -> tuple[str, bool, bool]:
    """
    @return: The options in a word, without the first dash; whether there is what
        to run after them; whether the next word is a value of theirs.
    """
    if word.startswith("--"):
        return word[1:], False, word == "--check-hash-based-pycs"
    for index, letter in enumerate(word[1:], 1):
        if letter in "cm":
            return word[1:index], True, False
        if letter in _VALUED:
            return word[1:], False, index == len(word) - 1
    return word[1:], False, False


def forwarded(options: Options, arguments: Sequence[str]) -> list[str]:
    """
    Tell which options workers get too.

    @param options: What can read them.
    @param arguments: The options, as they were given.
    """
    words: list[str] = []
    # The names are whole in what this tells.
    for name, value in getopt(list(arguments), options.shortOpt, options.longOpt)[0]:
        if name in _DROPPED:
            continue
        if name.startswith("--"):
            valued = f"{name[2:]}=" in options.longOpt
            words.append(f"{name}={value}" if valued else name)
        else:
            words.append(f"{name}{value}")
    return words


def reactorName(reactor: object) -> str:
    """
    Tell by which name C{twist --reactor} knows a reactor.
    """
    module = type(reactor).__module__
    for known in getReactorTypes():
        if getattr(known, "moduleName", None) == module:
            name: str = known.shortName
            return name
    return "default"


def workerCommand(
    reactor: object, level: str, options: Sequence[str], ports: int
) -> list[str]:
    """
    Tell how a worker is started.

    @param reactor: Such a one is to run it, too.
    @param level: The name of the least level that it is to log.
    @param options: The options of C{fastcgi}, but for its ports.
    @param ports: How many sockets it inherits.
    """
    # An application is looked for in the current directory, but the modules of
    # Python are not.
    safe = ["-P"] if hasattr(sys.flags, "safe_path") else []
    listening = (f"--port=fcgi:fd={_FIRST_PORT_FD + index}" for index in range(ports))
    return [
        sys.executable,
        *safe,
        *interpreterOptions(sys.orig_argv),
        *("-m", "twisted", f"--reactor={reactorName(reactor)}"),
        *("--log-format=json", f"--log-level={level}"),
        *("fastcgi", *listening, *options),
    ]


def workerEnvironment(
    environment: Mapping[str, str], number: int, folder: str | None
) -> dict[str, str]:
    """
    Tell the variables of a worker.

    @param environment: Those of this process.
    @param number: Which worker it is, from 1 up.
    @param folder: Where it is to go when it has loaded the application.
    """
    kept = {name: environment[name] for name in environment if name not in _PRIVATE}
    own = {WORKER: str(number), LINK: str(_LINK_FD)}
    return {**kept, **own, **({} if folder is None else {FOLDER: folder})}


class WorkerProcess(ProcessProtocol):
    """
    A process that serves, or will, or did.

    @ivar number: The number of its worker.
    @ivar pid: Its own.
    @ivar served: Fires when it serves, with L{True}, or when it has ended without
        that, with L{False}.
    @ivar gone: Fires when it has ended.
    @ivar hasServed: Whether it has begun to serve.
    @ivar isLeaving: Whether it was told to end.
    @ivar figures: What it has told last of what it has served.
    @ivar started: When, in seconds of the reactor's clock.
    """

    _log = Logger()
    pid = 0
    hasServed = False
    isLeaving = False

    def __init__(
        self,
        reactor: Any,
        number: int,
        grace: float,
        ended: Callable[[WorkerProcess, str], object],
        allFigures: Callable[[], Deferred[Statistics]],
        passOn: Callable[[WorkerProcess, Sequence[int]], Deferred[list[bool]]],
    ) -> None:
        """
        @param reactor: Provides C{IReactorProcess}, C{IReactorSocket} and
            C{IReactorTime}.
        @param number: The number of the worker.
        @param grace: Seconds that requests in hand have when it is told to end.
        @param ended: Called with this, and how it has ended in words, at its end.
        @param allFigures: Tells the figures of all workers.
        @param passOn: Passes on connections of this.
        """
        self.number = number
        self.served: Deferred[bool] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.link = ParentLink(self)
        self.figures: Statistics | None = None
        self.allFigures = allFigures
        self._passOn = passOn
        self._reactor = reactor
        self._grace = grace
        self._ended: Callable[[WorkerProcess, str], object] | None = ended
        self._reason = ""
        self._killing: IDelayedCall | None = None
        self._settling: IDelayedCall | None = None

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"

    def spawn(
        self, command: Sequence[str], fds: Iterable[int], folder: str | None
    ) -> None:
        """
        Start it.

        @param command: See L{workerCommand}.
        @param fds: The sockets on which it serves.
        @param folder: Where to start it, if not here.
        """
        self.started = self._reactor.seconds()
        try:
            self._spawn(command, fds, folder)
        except OSError as error:
            self._reason = f"could not be started: {error}"
            # Whoever has called this knows nothing of it yet.
            self._settling = self._reactor.callLater(0, self._end)
        else:
            self._killAfter(START_TIMEOUT)

    def _spawn(
        self, command: Sequence[str], fds: Iterable[int], folder: str | None
    ) -> None:
        here = None if folder is None else os.getcwd()
        environment = workerEnvironment(os.environ, self.number, here)
        inherited: dict[int, int | str] = dict(enumerate(fds, _FIRST_PORT_FD))
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "rb") as null:
            inherited |= {0: null.fileno(), 1: "r", 2: "r", _LINK_FD: theirs.fileno()}
            # First, as it may fail, too: nobody would know of the process then.
            connect(self._reactor, ours.detach(), self.link)
            self._reactor.spawnProcess(
                self, command[0], command, environment, folder, childFDs=inherited
            )

    def connectionMade(self) -> None:
        """
        Note who it is.
        """
        self.pid = self._transport.pid
        self._output = WorkerLog(self.number, self.pid)

    @property
    def _transport(self) -> Any:
        return self.transport

    def outReceived(self, data: bytes) -> None:
        """
        Log what it says.
        """
        self._output.outReceived(data)

    def errReceived(self, data: bytes) -> None:
        """
        Log what it says.
        """
        self._output.errReceived(data)

    def serves(self, uid: int, gid: int) -> None:
        """
        Take note that it serves.

        @param uid: The number of its user.
        @param gid: The number of its group.
        """
        self.hasServed = True
        now = self._reactor.seconds()
        self.figures = Statistics.beginning(self.pid, self.number, now)
        self._log.info(
            "worker {worker} (pid {pid}) serves, uid {uid}, gid {gid}",
            worker=self.number,
            pid=self.pid,
            uid=uid,
            gid=gid,
        )
        if not self.isLeaving:
            self._killNever()
        self.served.callback(True)

    def leaves(self, figures: Statistics) -> None:
        """
        Take the last figures.

        @param figures: They.
        """
        self.figures = figures

    def lost(self) -> None:
        """
        Kill it unless it ends: it can't be told anything any more, nor does it
        serve if it has closed all that it had.
        """
        if not self.isLeaving and self._ended is not None:
            self._killAfter(self._grace + MARGIN)

    def passOn(self, fds: Sequence[int]) -> Deferred[list[bool]]:
        """
        Pass on connections that it hands over.

        @param fds: Their descriptors.
        @return: Fires with whether each is taken.
        """
        return self._passOn(self, fds)

    @property
    def canTake(self) -> bool:
        """
        Whether it can take connections of others.
        """
        return self.hasServed and not self.isLeaving and self.link.isOpen

    def ask(self) -> Deferred[None]:
        """
        Ask for figures.

        @return: Fires when C{figures} are those of now, or when there is no answer.
        """
        asked: Deferred[Any] = self.link.callRemote(TellOwn)
        asked.addTimeout(ANSWER_TIMEOUT, self._reactor)
        return asked.addCallbacks(
            lambda answer: self.leaves(answer["figures"]), lambda _: self._isSilent()
        )

    def _isSilent(self) -> None:
        """
        Take note that it did not answer, though it has served.
        """
        self.figures = cast(Statistics, self.figures).ofSilent()

    def leave(self) -> None:
        """
        Have it finish the requests in hand, and end; and kill it if it does not.
        """
        if not self.isLeaving:
            self.isLeaving = True
            self.signal(signal.SIGTERM)
            self._killAfter(self._grace + MARGIN)

    def signal(self, number: int) -> None:
        """
        Send it a signal.

        @param number: Which.
        """
        if not self.pid:
            return
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess(number)

    def _killAfter(self, seconds: float) -> None:
        self._killNever()
        self._killing = self._reactor.callLater(seconds, self._kill, seconds)

    def _killNever(self) -> None:
        if self._killing is not None and self._killing.active():
            self._killing.cancel()

    def _kill(self, seconds: float) -> None:
        self._log.error(
            "worker {worker} (pid {pid}) is killed: it did not {what} within "
            "{seconds} seconds",
            worker=self.number,
            pid=self.pid,
            what="end" if self.isLeaving or self.hasServed else "serve",
            seconds=seconds,
        )
        self.signal(signal.SIGKILL)

    def processExited(self, reason: Failure) -> None:
        """
        It has ended; what it wrote last may yet come.

        @param reason: How.
        """
        self._killNever()
        self._reason = _words(reason.value)
        self._settling = self._reactor.callLater(_LAST_WORDS, self._end)

    def processEnded(self, reason: Failure) -> None:
        """
        It has ended, and nothing more will come.

        @param reason: How.
        """
        self._output.end()
        self._end()

    def _end(self) -> None:
        self._killNever()
        if self._settling is not None and self._settling.active():
            self._settling.cancel()
        ended, self._ended = self._ended, None
        if ended is None:
            return
        ended(self, self._reason)
        if not self.hasServed:
            self.served.callback(False)
        self.gone.callback(None)


def _words(reason: Any) -> str:
    """
    Say how a process has ended.
    """
    if reason.signal is None:
        return f"ended with exit status {reason.exitCode}"
    try:
        name = signal.Signals(reason.signal).name
    except ValueError:
        name = f"signal {reason.signal}"
    return f"was killed by {name}"
