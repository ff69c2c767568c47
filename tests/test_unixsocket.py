# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.unixsocket}.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable
from fcntl import LOCK_EX, flock
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import skipIf

from twisted.internet import reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.internet.testing import AccumulatingProtocol
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.sockets import (
    GreeterFactory,
    MemoryReactor,
    SocketMixin,
    StubSocket,
    logged,
    lowestFree,
)
from twisted_fastcgi.ports import BACKLOG
from twisted_fastcgi.unixsocket import UnixEndpoint, UnixEndpointParser, bindUnix

#: Whether only the superuser could run this.
NOT_ROOT = os.geteuid() != 0


class FolderMixin(SocketMixin):
    """
    Makes a folder whose path is short enough for a socket.
    """

    def setUp(self: Any) -> None:
        """
        Make the folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = str(self.folder / "s")

    def bind(self: Any, *arguments: Any, **options: Any) -> socket.socket:
        """
        Make a socket, and close it at the end of the test.
        """
        skt = bindUnix(self.path, *arguments, **options)
        self.addCleanup(skt.close)
        return skt

    def refused(self: Any, *arguments: Any, **options: Any) -> OSError:
        """
        Fail to make a socket, and leave nothing behind.
        """
        before, free = sorted(os.listdir(self.folder)), lowestFree()
        error: OSError = self.assertRaises(OSError, self.bind, *arguments, **options)
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        self.assertEqual(lowestFree(), free)
        return error

    def connects(self: Any) -> bool:
        """
        Tell whether somebody listens at the path.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(self.path) == 0


class AccessTests(FolderMixin, SynchronousTestCase):
    """
    Who may connect, from the first moment on.
    """

    def watched(self, name: str) -> list[bool]:
        """
        Note whether a client could connect when some function of the system is
        called.
        """
        real: Callable[..., Any] = getattr(os, name)
        seen: list[bool] = []

        def call(*arguments: Any) -> Any:
            seen.append(self.connects())
            return real(*arguments)

        self.patch(os, name, call)
        return seen

    def test_mode(self) -> None:
        """
        The mode is what was said, whatever the umask, before anybody can
        connect.
        """
        self.addCleanup(os.umask, os.umask(0o077))
        for mode in (0o600, 0o660, 0o666, 0o777):
            seen = self.watched("chmod")
            self.bind(mode).close()
            self.assertEqual(seen, [False])
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), mode)

    def test_default(self) -> None:
        """
        By default all local users may connect, as with Twisted's own sockets.
        """
        self.bind()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o666)
        self.assertEqual(os.stat(self.path).st_uid, os.geteuid())

    @skipIf(NOT_ROOT, "only root may give files away")
    def test_owner(self) -> None:
        """
        So are the owner and the group.
        """
        for uid, gid in [(33, None), (None, 33), (65534, 33)]:
            seen = self.watched("chown")
            self.bind(0o660, uid, gid).close()
            self.assertEqual(seen, [False])
            found = os.stat(self.path)
            self.assertEqual(found.st_uid, uid or 0)
            self.assertEqual(found.st_gid, gid or 0)
            self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)

    def test_refused(self) -> None:
        """
        A socket that can't be given its owner does not come into being.
        """

        def chown(*arguments: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(os, "chown", chown)
        for uid, gid, owner in [(1, None, " user 1"), (1, 2, " user 1 group 2")]:
            error = self.refused(0o660, uid, gid)
            self.assertEqual(
                error.strerror,
                f"Operation not permitted: it can't be given mode 660{owner}",
            )

    def test_backlog(self) -> None:
        """
        As many connections can wait as was said; by default a burst of 500.
        """
        for backlog, count in [(BACKLOG, 500), (3, 3)]:
            self.bind(backlog=backlog)
            clients = [socket.socket(socket.AF_UNIX) for _ in range(count + 2)]
            for client in clients:
                self.addCleanup(client.close)
                client.setblocking(False)
            found = [client.connect_ex(self.path) for client in clients]
            self.assertEqual(found[:count], [0] * count)
            self.assertEqual(found[-1] == 0, backlog == BACKLOG)
            os.unlink(self.path)


class OccupiedTests(FolderMixin, SynchronousTestCase):
    """
    Something is at the path already.
    """

    def test_stale(self) -> None:
        """
        What a killed server has left behind is replaced, also the lock of one
        that was killed while it started.
        """
        self.listener(socket.AF_UNIX, self.path).close()
        Path(f"{self.path}.starting").touch()
        self.bind()
        self.assertTrue(self.connects())
        self.assertEqual(os.listdir(self.folder), ["s"])

    def test_alive(self) -> None:
        """
        A live server keeps its socket.
        """
        other = self.listener(socket.AF_UNIX, self.path)
        error = self.refused()
        self.assertEqual(error.strerror, "another process listens there")
        other.settimeout(5)
        self.client(other)
        other.accept()[0].close()

    def test_busy(self) -> None:
        """
        So does one that has more connections than it has room for.
        """
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(self.path)
        other.listen(0)
        self.client(other)
        self.assertEqual(self.refused().strerror, "another process listens there")

    def test_otherKind(self) -> None:
        """
        A socket that isn't one for connections may be in use.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(self.path)
            error = self.refused()
        self.assertIn("can't be asked whether it listens", str(error))

    def test_noSocket(self) -> None:
        """
        Files, folders and symbolic links are left alone.
        """
        for make in (Path.touch, Path.mkdir, lambda path: path.symlink_to("x")):
            path = self.folder / "s"
            make(path)
            error = self.refused()
            self.assertEqual(error.strerror, "the path exists and is not a socket")
            path.rmdir() if path.is_dir() else path.unlink()

    def test_folder(self) -> None:
        """
        A folder that is missing, or none, is named.
        """
        (self.folder / "file").touch()
        for name, number in [("no", errno.ENOENT), ("file", errno.ENOTDIR)]:
            self.path = str(self.folder / name / "s")
            error = self.refused()
            self.assertEqual(error.errno, number)
            self.assertEqual(error.filename, str(self.folder / name))

    def test_linked(self) -> None:
        """
        A symbolic link in the place of the socket, or of its lock, is refused,
        and nothing is made where it leads.
        """
        for path in (self.path, f"{self.path}.starting"):
            for there in (self.folder / "nothing", self.folder / "file"):
                os.symlink(there, path)
                self.refused()
                os.unlink(path)
                (self.folder / "file").touch()

    def test_tooLong(self) -> None:
        """
        A path that is too long for a socket is refused, and leaves nothing
        behind.
        """
        self.path = str(self.folder / ("x" * 120))
        self.assertIn("path too long", str(self.refused()))

    def test_atTheSameTime(self) -> None:
        """
        While another process begins to listen there, it is left alone.
        """
        with open(f"{self.path}.starting", "w") as lock:
            flock(lock, LOCK_EX)
            error = self.refused()
        self.assertIn("another process begins to listen", str(error.strerror))

    def test_lockRemoved(self) -> None:
        """
        A lock whose file the process before has removed is none.
        """
        real = os.fstat
        found: list[int] = []

        def fstat(fd: int) -> Any:
            if not found:
                os.unlink(f"{self.path}.starting")
            found.append(real(fd).st_nlink)
            return real(fd)

        self.patch(os, "fstat", fstat)
        self.bind()
        self.assertEqual(found, [0, 1])
        self.assertEqual(os.listdir(self.folder), ["s"])

    def test_goneMeanwhile(self) -> None:
        """
        The lock need not be there any more at its end.
        """
        real = os.chmod

        def chmod(path: str, mode: int) -> None:
            os.unlink(f"{path}.starting")
            real(path, mode)

        self.patch(os, "chmod", chmod)
        self.bind()
        self.assertTrue(self.connects())


class EndpointTests(FolderMixin, SynchronousTestCase):
    """
    Tests for L{UnixEndpoint} and its port.
    """

    def port(self, memory: MemoryReactor, factory: Any = None) -> Any:
        """
        Listen, until the end of the test.
        """
        endpoint = UnixEndpoint(memory, self.path)
        port = self.successResultOf(endpoint.listen(factory or GreeterFactory()))
        self.addCleanup(port.stopListening)
        return port

    def test_interfaces(self) -> None:
        """
        They are what they claim to be.
        """
        verifyObject(IStreamServerEndpoint, UnixEndpoint(None, self.path))
        port = self.port(MemoryReactor())
        verifyObject(IListeningPort, port)
        self.assertEqual(port.getHost(), UNIXAddress(self.path.encode()))

    def test_refused(self) -> None:
        """
        A failure is that of an endpoint, with the path and the cause.
        """
        self.listener(socket.AF_UNIX, self.path)
        listening = UnixEndpoint(MemoryReactor(), self.path).listen(GreeterFactory())
        error = self.failureResultOf(listening, CannotListenError).value
        self.assertEqual(error.port, self.path.encode())
        self.assertEqual(error.socketError.strerror, "another process listens there")

    def test_stop(self) -> None:
        """
        At the stop the path is removed at once; a second time nothing happens.
        """
        memory, factory = MemoryReactor(), GreeterFactory()
        port = self.port(memory, factory)
        self.assertTrue(factory.running)
        for _ in range(2):
            self.successResultOf(port.stopListening())
            self.assertEqual(os.listdir(self.folder), [])
        self.assertFalse(factory.running)
        self.assertEqual(memory.readers, set())

    def test_again(self) -> None:
        """
        An endpoint can listen again after that.
        """
        endpoint = UnixEndpoint(MemoryReactor(), self.path)
        factory = GreeterFactory()
        for _ in range(2):
            port = self.successResultOf(endpoint.listen(factory))
            self.assertTrue(self.connects())
            port.stopListening()
        self.hangUp(factory)

    def test_reactorEnds(self) -> None:
        """
        The path is removed also when the reactor ends, and not a second time.
        """
        port = self.port(MemoryReactor())
        port.connectionLost(self.reason())
        self.assertEqual(os.listdir(self.folder), [])
        self.listener(socket.AF_UNIX, self.path)
        port.connectionLost(self.reason())
        self.assertTrue(self.connects())

    def test_stopElsewhere(self) -> None:
        """
        A relative path is removed also when the current folder has changed.
        """
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        path, self.path = self.path, "s"
        port = self.port(MemoryReactor())
        self.assertTrue(os.path.exists(path))
        os.chdir("/")
        port.stopListening()
        self.assertFalse(os.path.exists(path))

    def test_successor(self) -> None:
        """
        What another server has put there meanwhile is left to it, and so is
        nothing.
        """
        port = self.port(MemoryReactor())
        os.unlink(self.path)
        self.listener(socket.AF_UNIX, self.path)
        port.stopListening()
        self.assertTrue(self.connects())
        os.unlink(self.path)
        port = self.port(MemoryReactor())
        os.unlink(self.path)
        self.successResultOf(port.stopListening())

    def test_waiting(self) -> None:
        """
        Who has connected before the stop is served; by then nobody else can
        connect.
        """
        factory = GreeterFactory()
        port = self.port(MemoryReactor(), factory)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for client in waiting:
            self.addCleanup(client.close)
            client.connect(self.path)
        factory.greeted = lambda: self.assertFalse(self.connects())
        port.stopListening()
        self.assertEqual(len(factory.greeters), len(waiting))
        self.hangUp(factory)

    def test_stoppedByConnection(self) -> None:
        """
        A connection that is accepted at the stop may stop the port again.
        """
        factory = GreeterFactory()
        port = self.port(MemoryReactor(), factory)
        for _ in range(2):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(self.path)
        factory.greeted = lambda: port.connectionLost(self.reason())
        port.stopListening()
        self.assertEqual(len(factory.greeters), 1)
        self.hangUp(factory)

    def reason(self) -> Any:
        """
        Make a reason for the end of a port.
        """
        stub = StubSocket()
        stub.getErrorMessage = lambda: "gone"  # type: ignore[attr-defined]
        return stub

    def test_leftBehind(self) -> None:
        """
        A path that can't be removed, as after the process has shed its
        privileges, makes a line in the log, and what waits is not waited for.
        """

        def unlink(path: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        observer, factory = self.observe(), GreeterFactory()
        port = self.port(MemoryReactor(), factory)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            with self.patch(os, "unlink", unlink):
                self.successResultOf(port.stopListening())
        self.assertEqual(factory.greeters, [])
        self.assertEqual(
            logged(observer),
            [
                f"{self.path} is left behind: Permission denied; the next start "
                "replaces it"
            ],
        )
        self.port(MemoryReactor())


class ParserTests(FolderMixin, SynchronousTestCase):
    """
    Tests for L{UnixEndpointParser}.
    """

    def parse(self, *arguments: str, **options: str) -> UnixEndpoint:
        """
        Parse the parts of a string.
        """
        return UnixEndpointParser().parseStreamServer(None, *arguments, **options)

    def test_interfaces(self) -> None:
        """
        It is a plugin that parses endpoint strings that begin with
        C{fcgi-unix}.
        """
        parser = UnixEndpointParser()
        verifyObject(IStreamServerEndpointStringParser, parser)
        verifyObject(IPlugin, parser)
        self.assertEqual(parser.prefix, "fcgi-unix")

    def test_options(self) -> None:
        """
        Users and groups may be names or numbers; Twisted's C{lockfile} is
        allowed.
        """
        user, group = pwd.getpwuid(1).pw_name, grp.getgrgid(2).gr_name
        for options, uid, gid, mode, backlog in [
            ({}, None, None, 0o666, BACKLOG),
            ({"mode": "640", "backlog": "7"}, None, None, 0o640, 7),
            ({"mode": "0600"}, None, None, 0o600, BACKLOG),
            ({"user": user, "group": group, "lockfile": "1"}, 1, 2, 0o666, BACKLOG),
            ({"user": "4711", "group": "0"}, 4711, 0, 0o666, BACKLOG),
        ]:
            made = self.parse("/run/s", **options)
            self.assertEqual(
                (made.path, made.uid, made.gid, made.mode, made.backlog),
                ("/run/s", uid, gid, mode, backlog),
            )

    def test_bad(self) -> None:
        """
        What the system does not know is refused, and so is what is no number
        that it could take.
        """
        many = "write a number from 1 to 2147483647"
        for options, text in [
            ({"user": "nosuchuser"}, "there is no user 'nosuchuser'"),
            ({"group": "nosuchgroup"}, "there is no group 'nosuchgroup'"),
            ({"mode": "9"}, "the mode is '9': write an octal number such as 660"),
            ({"mode": "-1"}, "the mode is '-1': write an octal number such as 660"),
            ({"backlog": "x"}, "invalid literal for int() with base 10: 'x'"),
            ({"backlog": "0"}, f"the backlog is 0: {many}"),
            ({"backlog": "-1"}, f"the backlog is -1: {many}"),
            ({"backlog": "2147483648"}, f"the backlog is 2147483648: {many}"),
        ]:
            error = self.assertRaises(ValueError, self.parse, "/run/s", **options)
            self.assertEqual(str(error), text)
        self.assertRaises(TypeError, self.parse)
        self.assertRaises(TypeError, self.parse, "/run/s", owner="1")


class ListeningTests(FolderMixin, TestCase):
    """
    The port on the real reactor.
    """

    @inlineCallbacks
    def test_served(self) -> Any:
        """
        A connection is served.
        """
        factory, collector = GreeterFactory(), AccumulatingProtocol()
        closed = collector.closedDeferred = Deferred()
        port = yield UnixEndpoint(reactor, self.path).listen(factory)
        yield connectProtocol(UNIXClientEndpoint(reactor, self.path), collector)
        protocol = yield factory.first
        protocol.transport.loseConnection()
        yield closed
        yield port.stopListening()
        self.assertEqual(collector.data, b"hello")
        self.assertFalse(os.path.exists(self.path))
