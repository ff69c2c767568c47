# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A port for a listening socket that is there already.

Twisted's own ports for adopted Unix sockets change the mode of the path, cut
the backlog, and remove the path when they stop.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_fastcgi.peers import Peers, refuse

BACKLOG = 1024
"""
How many connections may wait to be accepted, if the system allows so many: with
Twisted's 50 a burst of clients makes a web server answer 502, because a Unix
socket refuses whom it has no place for.
"""

#: The largest backlog that listen() can be told, a C int; the system cuts it.
_LARGEST = 2**31 - 1

ACCEPTS_PER_TURN = 32
"""
How many connections a port accepts before other work has its turn.
"""

BACK_OFF = 1.0
"""
Seconds until a port tries again after the system refused to accept.
"""

# What accept() reports of one connection that failed before it was accepted:
# the next one may well be sound (Linux passes on pending network errors).
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EPERM",
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)


def backlogFrom(text: str) -> int:
    """
    Read how many connections may wait to be accepted.

    @raise ValueError: If it is no number that the system could take.
    """
    backlog = int(text)
    if not 0 < backlog <= _LARGEST:
        raise ValueError(f"the backlog is {text}: write a number from 1 to {_LARGEST}")
    return backlog


class UnixTransport(Server):
    """
    A connection by a Unix socket that carries bytes and nothing else.

    Twisted's own can receive file descriptors, too, which makes each read cost
    4 to 9 us more.

    @ivar isWaiting: Whether the protocol wants what comes in.
    @ivar isReading: Whether the protocol is given what was read just now.
    @ivar _isEnding: Whether the connection ends right after that.
    """

    # To set these anew takes time of each connection.
    isWaiting = True
    isReading = False
    _isEnding = False

    def __init__(
        self,
        connection: socket.socket,
        protocol: IProtocol,
        host: IAddress,
        sessionno: int,
        reactor: Any,
    ) -> None:
        """
        @param connection: The socket, which does not block.
        @param protocol: What gets the bytes.
        @param host: Where it was accepted.
        @param sessionno: Its number.
        @param reactor: What waits for bytes.
        """
        self._host = host
        self._kind = type(protocol)
        nobody: Any = None
        super().__init__(connection, protocol, ("", None), nobody, sessionno, reactor)

    def __repr__(self) -> str:
        """
        Tell connections apart in messages.
        """
        return f"<{self._kind.__name__} #{self.sessionno} on {self._host}>"

    def doRead(self) -> Any:
        """
        Give the protocol what has come.

        @return: Why the connection ends, if it does.
        """
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.isReading = True
        self.protocol.dataReceived(data)
        self.isReading = False
        return CONNECTION_DONE if self._isEnding else None

    def startReading(self) -> None:
        """
        Wait for bytes.
        """
        self.isWaiting = True
        super().startReading()

    def stopReading(self) -> None:
        """
        Do not wait for bytes.
        """
        self.isWaiting = False
        super().stopReading()

    def endAfterReading(self) -> None:
        """
        Close the connection as soon as the protocol has done with what it is
        given: only while it is reading, and nothing is unsent.

        C{loseConnection} always waits for the socket to be writable, for which
        the reactor has to be told and to have a turn: that is a tenth of all
        that it takes to serve a request on a connection of its own.
        """
        self._isEnding = True

    def getHost(self) -> IAddress:
        """
        @return: Where it was accepted.
        """
        return self._host

    def getPeer(self) -> IAddress:
        """
        @return: The address of no name that clients have.
        """
        return UNIXAddress(None)

    def getTcpNoDelay(self) -> bool:
        """
        @return: Whether nothing waits for more before it is sent: it never does.
        """
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Do nothing: see L{getTcpNoDelay}.
        """

    def getTcpKeepAlive(self) -> bool:
        """
        @return: Whether the peer is asked if it is there: there is no need to.
        """
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Do nothing: see L{getTcpKeepAlive}.
        """


@implementer(IListeningPort, IReadDescriptor)
class AcceptingPort:
    """
    Accepts connections from a listening socket, and closes its hold on it in
    the end.

    @ivar factory: What builds a protocol for each connection.
    @ivar sessionno: How many connections were accepted, as Twisted's own ports
        count them.
    @ivar isLent: Whether other processes accept them.
    """

    _log = Logger()
    factory: IProtocolFactory
    sessionno = 0
    isLent = False

    def __init__(
        self, reactor: Any, skt: socket.socket, peers: Peers | None = None
    ) -> None:
        self._reactor = reactor
        self._socket = skt
        self._isUnix = skt.family == socket.AF_UNIX
        self._peers = None if self._isUnix else peers
        self._host = _address(skt)
        self._listening = False
        self._retry: IDelayedCall | None = None

    def startListening(self) -> None:
        self.factory.doStart()
        self._listening = True
        self._reactor.addReader(self)

    def lend(self) -> None:
        """
        Leave it to other processes that have inherited the socket to accept
        connections from it.
        """
        self.isLent = True
        self._reactor.removeReader(self)

    def acceptWaiting(self) -> None:
        """
        Accept who waits already: to close the last hold on the socket would be to
        send them away.
        """
        for _ in range(BACKLOG):
            if not (self._listening and self._acceptOne()):
                return

    def stopListening(self) -> Deferred[None]:
        self._close()
        return succeed(None)

    def getHost(self) -> IAddress:
        return self._host

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "FastCGI port"

    def connectionLost(self, reason: Failure) -> None:
        # At its end the reactor disconnects everybody.
        if self._listening and self._reactor.running:
            self._log.critical(
                "no more connections on {address}: {reason}",
                address=self._host,
                reason=reason.getErrorMessage(),
            )
        self._close()

    def doRead(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if not (self._listening and self._acceptOne()):
                return

    def _acceptOne(self) -> bool:
        """
        @return: Whether it makes sense to accept another connection now.
        """
        try:
            connection, peer = self._accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return error.errno in _PASSING or self._backOff(error)
        self.sessionno += 1
        if self._isUnix:
            transport = self._connect(connection)
            if transport is not None and transport.isWaiting:
                self._readFirst(transport)
        else:
            with connection:
                self._adopt(connection, peer)
        return True

    def hasAccepted(self, connection: socket.socket) -> bool:
        """
        Tell whether a connection has come in here, maybe in another process that
        has the same listening socket.

        @param connection: Its socket.
        """
        if connection.family != self._socket.family:
            return False
        own, its = self._socket.getsockname(), connection.getsockname()
        return bool(own == its if self._isUnix else own[1] == its[1])

    def takeOver(self, connection: socket.socket) -> None:
        """
        Serve a connection that another process has accepted.

        @param connection: Its socket, which is this port's from now on.
        """
        self.sessionno += 1
        if self._isUnix:
            self._connect(connection)
            return
        with connection, suppress(OSError):
            self._adopt(connection, connection.getpeername())

    def _accept(self) -> tuple[socket.socket, Any]:
        if self._isUnix:
            return self._socket.accept()
        # To adopt a connection takes one more descriptor than to accept it, and
        # a connection that can't be adopted would be lost.
        spare = os.dup(self._socket.fileno())
        try:
            return self._socket.accept()
        finally:
            os.close(spare)

    def _connect(self, connection: socket.socket) -> UnixTransport | None:
        """
        Make a transport and a protocol for a connection.
        """
        connection.setblocking(False)
        try:
            protocol = self.factory.buildProtocol(self._host)
            if protocol is None:
                connection.close()
                return None
            transport = UnixTransport(
                connection, protocol, self._host, self.sessionno, self._reactor
            )
            protocol.makeConnection(transport)
        except Exception:
            connection.close()
            self._log.failure("no protocol for a connection")
            return None
        return transport

    def _readFirst(self, transport: UnixTransport) -> None:
        """
        Have a new connection read at once: web servers send the request as soon
        as they are connected.  To have the reactor find out first takes a tenth
        of all that it takes to serve one.
        """
        try:
            reason = transport.doRead()
        except Exception:
            self._log.failure("{transport} failed", transport=transport)
            reason = CONNECTION_LOST
        if reason is not None:
            transport.connectionLost(Failure(reason))

    def _adopt(self, connection: socket.socket, peer: Any) -> None:
        if self._peers is not None and peer[0] not in self._peers:
            return refuse(self.factory, self._log, peer[0], self._peers)
        connection.setblocking(False)
        try:
            self._reactor.adoptStreamConnection(
                connection.fileno(), connection.family, self.factory
            )
        except OSError as error:
            self._log.info("lost a connection at once: {error}", error=error)
        except Exception:
            self._log.failure("no protocol for a connection")

    def _backOff(self, error: OSError) -> bool:
        """
        Stop accepting for a while: the socket stays readable, so that without
        a pause the process would spin, when it has run out of descriptors.
        """
        self._log.warn(
            "cannot accept a connection: {error}; next try in {seconds} s",
            error=error,
            seconds=BACK_OFF,
        )
        self._reactor.removeReader(self)
        self._retry = self._reactor.callLater(BACK_OFF, self._resume)
        return False

    def _resume(self) -> None:
        self._retry = None
        self._reactor.addReader(self)

    def _close(self) -> None:
        if not self._listening:
            return
        self._listening = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._reactor.removeReader(self)
        self._socket.close()
        self.factory.doStop()


def _address(skt: socket.socket) -> IAddress:
    name = skt.getsockname()
    if skt.family == socket.AF_UNIX:
        return UNIXAddress(os.fsencode(name))
    if skt.family == socket.AF_INET6:
        return IPv6Address("TCP", *name)
    return IPv4Address("TCP", *name)
