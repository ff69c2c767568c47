# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Unix sockets of our own making.

Before the first connection can be accepted, the path has the mode, the owner and
the group that it is to have.  What a killed server has left there is replaced; a
server that is alive keeps its socket.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_fastcgi.ports import BACKLOG, AcceptingPort, backlogFrom

DEFAULT_MODE = 0o666
"""
The mode of a socket: as Twisted has it, every local user may connect.
"""

_LOCK = ".starting"
"""
What is added to the path for the name of the lock that is held while a process
begins to listen there.
"""


def bindUnix(
    path: str,
    mode: int = DEFAULT_MODE,
    uid: int | None = None,
    gid: int | None = None,
    backlog: int = BACKLOG,
) -> socket.socket:
    """
    Make a listening socket.

    @param path: Where.
    @param mode: Its permissions.
    @param uid: The number of its owner, if that is not to be who runs this.
    @param gid: The number of its group.
    @param backlog: How many connections may wait to be accepted.
    @return: The socket, which does not block.
    @raise OSError: If that can't be: a live server listens there, something else
        is there, or the system refuses.
    """
    with _starting(path):
        _clear(path)
        skt = socket.socket(socket.AF_UNIX)
        try:
            skt.bind(path)
            # Nobody can connect before listen() is called.
            _setAccess(path, mode, uid, gid)
            skt.listen(backlog)
        except BaseException:
            skt.close()
            raise
    skt.setblocking(False)
    return skt


@contextmanager
def _starting(path: str) -> Iterator[None]:
    """
    Let only one process at a time decide what is to be at a path.
    """
    name = path + _LOCK
    lock = _lock(name)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(name)
        os.close(lock)


def _lock(name: str) -> int:
    """
    @return: A file descriptor that holds a lock, which ends with the process.
    """
    while True:
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            folder = os.path.dirname(os.path.abspath(name))
            where = name if os.path.lexists(name) else folder
            raise OSError(error.errno, error.strerror, where) from None
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            # Whoever had it before may have removed the file meanwhile.
            if os.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            os.close(fd)
            message = "another process begins to listen there at this moment"
            raise OSError(errno.EADDRINUSE, message) from None
        os.close(fd)


def _clear(path: str) -> None:
    """
    Remove the socket of a server that is no more.

    @raise OSError: If anything else is there.
    """
    if isLeftBehind(path):
        os.unlink(path)


def isLeftBehind(path: str) -> bool:
    """
    Tell whether there is the socket of a server that is no more.

    @param path: Where.
    @return: Whether there is; else there is nothing.
    @raise OSError: If anything else is there.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "the path exists and is not a socket")
    if _isAlive(path):
        raise OSError(errno.EADDRINUSE, "another process listens there")
    return True


def _isAlive(path: str) -> bool:
    """
    Say whether anybody listens on a socket.

    @raise OSError: If that can't be told.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            # There are more connections than it has room for.
            return True
        except OSError as error:
            message = f"what is there can't be asked whether it listens: {error}"
            raise OSError(errno.EADDRINUSE, message) from None
    return True


def _setAccess(path: str, mode: int, uid: int | None, gid: int | None) -> None:
    try:
        if uid is not None or gid is not None:
            os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
        os.chmod(path, mode)
    except OSError as error:
        os.unlink(path)
        owner = "" if uid is None else f" user {uid}"
        owner += "" if gid is None else f" group {gid}"
        message = f"{error.strerror}: it can't be given mode {mode:o}{owner}"
        raise OSError(error.errno, message) from None


@implementer(IStreamServerEndpoint)
class UnixEndpoint:
    """
    A Unix socket.

    @ivar path: Where.
    @ivar mode: Its permissions.
    @ivar uid: The number of its owner, or L{None} for who runs this.
    @ivar gid: The number of its group, or L{None}.
    @ivar backlog: How many connections may wait to be accepted.
    """

    def __init__(
        self,
        reactor: Any,
        path: str,
        mode: int = DEFAULT_MODE,
        uid: int | None = None,
        gid: int | None = None,
        backlog: int = BACKLOG,
    ) -> None:
        """
        @param reactor: Provides C{IReactorFDSet}, C{IReactorSocket} and
            C{IReactorTime}.
        """
        self._reactor = reactor
        self.path = path
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.backlog = backlog

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Make the socket, and begin to accept connections.

        @param protocolFactory: What builds a protocol for each connection.
        @return: Fires at once with the port; fails with L{CannotListenError}.
        """
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        try:
            skt = bindUnix(self.path, self.mode, self.uid, self.gid, self.backlog)
        except OSError as error:
            # It is the path that a Unix socket has for a port.
            where: Any = os.fsencode(self.path)
            raise CannotListenError(None, where, error) from error
        port = _UnixPort(self._reactor, skt, self.path)
        port.factory = factory
        port.startListening()
        return port


class _UnixPort(AcceptingPort):
    """
    Removes the path when it stops.
    """

    def __init__(self, reactor: Any, skt: socket.socket, path: str) -> None:
        super().__init__(reactor, skt)
        # The current folder may be another one by then.
        self._path = os.path.abspath(path)
        self._identity = _identity(path)

    def stopListening(self) -> Deferred[None]:
        """
        Remove the path, and accept who has connected before: to close the socket
        would be to send them away.  If it is lent, that is for others to do.
        """
        if self._listening and self._removePath() and not self.isLent:
            while self._listening and self._acceptOne():
                pass
        return super().stopListening()

    def connectionLost(self, reason: Failure) -> None:
        """
        Remove the path also when the reactor ends and nobody has stopped this.
        """
        if self._listening:
            self._removePath()
        super().connectionLost(reason)

    def _removePath(self) -> bool:
        """
        @return: Whether nobody can connect any more.
        """
        try:
            if _identity(self._path) == self._identity:
                os.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._log.info(
                "{path} is left behind: {error}; the next start replaces it",
                path=self._path,
                error=error.strerror,
            )
            return False
        return True


def _identity(path: str) -> tuple[int, int, int]:
    """
    Tell one socket from a later one at the same path, which may have the same
    number.
    """
    found = os.lstat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns


@implementer(IPlugin, IStreamServerEndpointStringParser)
class UnixEndpointParser:
    """
    The endpoint strings
    C{fcgi-unix:/run/app.sock:mode=660:user=app:group=www-data:backlog=1024}.

    @cvar prefix: What the string begins with.
    """

    prefix = "fcgi-unix"

    def parseStreamServer(
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> UnixEndpoint:
        """
        @param reactor: See L{UnixEndpoint}.
        @param args: The path.
        @param kwargs: C{mode}, an octal number; C{user} and C{group}, names or
            numbers; C{backlog}, a number.  Twisted's C{lockfile} is ignored:
            none is left behind.
        @raise TypeError: If anything else is given.
        @raise ValueError: If something of that can't be.
        """
        return self._parse(reactor, *args, **kwargs)

    def _parse(
        self,
        reactor: Any,
        address: str,
        mode: str = f"{DEFAULT_MODE:o}",
        backlog: str = str(BACKLOG),
        lockfile: str = "",
        user: str = "",
        group: str = "",
    ) -> UnixEndpoint:
        uid = _number(user, "user", lambda: pwd.getpwnam(user).pw_uid)
        gid = _number(group, "group", lambda: grp.getgrnam(group).gr_gid)
        waiting = backlogFrom(backlog)
        return UnixEndpoint(reactor, address, _permissions(mode), uid, gid, waiting)


def _permissions(mode: str) -> int:
    """
    @raise ValueError: If it is no octal number for a mode.
    """
    if not re.fullmatch("0?[0-7]{1,3}", mode):
        raise ValueError(f"the mode is {mode!r}: write an octal number such as 660")
    return int(mode, 8)


def _number(name: str, what: str, lookUp: Callable[[], int]) -> int | None:
    """
    @raise ValueError: If the system does not know such a user or group.
    """
    if not name:
        return None
    if name.isascii() and name.isdecimal():
        return int(name)
    with suppress(KeyError):
        return lookUp()
    raise ValueError(f"there is no {what} {name!r}")
