# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Listening sockets that somebody else has made.

A web server or a process manager that starts a FastCGI application passes it a
listening socket as file descriptor 0, I{FCGI_LISTENSOCK_FILENO} (FastCGI 1.0,
section 2.2).  The socket stays the property of whoever made it: here its mode,
its backlog and its path are left as they are.

This module imports neither a reactor nor twisted.web, because every program
that looks for endpoint plugins loads it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address as IPv4
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

LISTENSOCK_FILENO = 0
"""
I{FCGI_LISTENSOCK_FILENO}: the file descriptor of the listening socket that an
application is started with (FastCGI 1.0, section 2.2).
"""

WEB_SERVER_ADDRS = "FCGI_WEB_SERVER_ADDRS"
"""
The environment variable that lists the IPv4 addresses that may connect
(FastCGI 1.0, section 3.2).
"""

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

_ADVICE = (
    "a listening socket has to be passed by the program that starts this one, "
    "such as a web server or spawn-fcgi"
)


def isListeningSocket(fd: int) -> bool:
    """
    Say whether a file descriptor is a socket that connections can be accepted
    from, which is what tells FastCGI from CGI (FastCGI 1.0, section 2.2).

    @param fd: The number of a file descriptor, which need not be open.
    """
    try:
        with _copy(fd) as skt:
            return _isListening(skt)
    except OSError:
        return False


def _isListening(skt: socket.socket) -> bool:
    return bool(skt.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _copy(fd: int) -> socket.socket:
    """
    @return: A socket of its own, closed on C{exec}, for what C{fd} refers to.
    @raise OSError: If C{fd} is not open or no socket.
    """
    copy = os.dup(fd)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _inherit(fd: int) -> socket.socket:
    """
    Take over a listening socket, and leave I{/dev/null} in its place: a daemon
    replaces its standard descriptors later, and no other socket must ever
    land there.

    @raise ValueError: If C{fd} is no listening socket; it is left alone then.
    """
    try:
        skt = _copy(fd)
    except OSError as error:
        message = f"file descriptor {fd} is no socket ({error.strerror}): {_ADVICE}"
        raise ValueError(message) from None
    if not _isListening(skt):
        skt.close()
        raise ValueError(f"file descriptor {fd} is no listening socket: {_ADVICE}")
    _putNull(fd)
    skt.setblocking(False)
    return skt


def _putNull(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null == fd:
        os.set_inheritable(fd, True)
    else:
        os.dup2(null, fd)
        os.close(null)


def reopenStandardStreams() -> None:
    """
    Open the standard input, output and error on I{/dev/null} if they are
    closed, as the latter two are in an application that a web server starts
    (FastCGI 1.0, section 2.2).  Otherwise the next descriptor gets their
    number, and with it what is printed, and its end when a daemon detaches.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            _putNull(fd)


def _webServerAddresses(environment: Mapping[str, str]) -> frozenset[str] | None:
    """
    @return: The addresses that may connect, or L{None} if all may.
    @raise ValueError: If the list is not one of IPv4 addresses.
    """
    value = environment.get(WEB_SERVER_ADDRS)
    if value is None:
        return None
    try:
        return frozenset(str(IPv4(item.strip())) for item in value.split(","))
    except ValueError as error:
        raise ValueError(
            f"the environment variable {WEB_SERVER_ADDRS} is {value!r} ({error}): "
            "list IPv4 addresses with commas between them, or unset it"
        ) from None


@implementer(IStreamServerEndpoint)
class InheritedEndpoint:
    """
    A listening socket that this process was started with (FastCGI 1.0, section
    2.2), of the family C{AF_UNIX}, C{AF_INET} or C{AF_INET6}.

    The socket is taken over, and I{/dev/null} put in its place, as soon as the
    endpoint is made: before a daemon detaches from its terminal.  Closed
    standard output and error are opened on I{/dev/null}.

    Of an IP socket, only the peers listed in the environment variable
    C{FCGI_WEB_SERVER_ADDRS} are served, if it is set (FastCGI 1.0, section
    3.2); who may connect to a Unix socket, its mode decides.
    """

    def __init__(self, reactor: Any, fd: int = LISTENSOCK_FILENO) -> None:
        """
        @param reactor: Provides C{IReactorFDSet}, C{IReactorSocket} and
            C{IReactorTime}.
        @param fd: The number of the file descriptor.
        @raise ValueError: If C{fd} is no listening socket, or
            C{FCGI_WEB_SERVER_ADDRS} is not a list of IPv4 addresses.
        """
        peers = _webServerAddresses(os.environ)
        reopenStandardStreams()
        self._name = f"fcgi:fd={fd}"
        self._port: _InheritedPort | None = _InheritedPort(reactor, _inherit(fd), peers)

    def __str__(self) -> str:
        return self._name

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Begin to accept connections.  This works once, because the end of a port
        is the end of this process's hold on the socket.

        @param protocolFactory: What builds a protocol for each connection.
        @return: Fires at once with the port; fails with L{AlreadyListened} the
            second time.
        """
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port, self._port = self._port, None
        if port is None:
            raise AlreadyListened()
        port.factory = factory
        port.startListening()
        return port


@implementer(IListeningPort, IReadDescriptor)
class _InheritedPort:
    """
    Accepts connections from an inherited socket.

    Twisted's own ports for adopted Unix sockets change the mode of the path,
    cut the backlog, and remove the path when they stop.

    @ivar factory: What builds a protocol for each connection.
    """

    _log = Logger()
    factory: IProtocolFactory

    def __init__(
        self, reactor: Any, skt: socket.socket, peers: frozenset[str] | None
    ) -> None:
        self._reactor = reactor
        self._socket = skt
        self._peers = None if skt.family == socket.AF_UNIX else peers
        self._host = _address(skt)
        self._listening = False
        self._retry: IDelayedCall | None = None

    def startListening(self) -> None:
        self.factory.doStart()
        self._listening = True
        self._reactor.addReader(self)

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
        if self._listening:
            self._log.critical(
                "no more connections from the inherited socket {address}: {reason}",
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
            # To adopt a connection takes one more descriptor than to accept it,
            # and a connection that can't be adopted would be lost.
            spare = os.dup(self._socket.fileno())
        except OSError as error:
            return self._backOff(error)
        try:
            connection, peer = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return error.errno in _PASSING or self._backOff(error)
        finally:
            os.close(spare)
        with connection:
            self._adopt(connection, peer)
        return True

    def _adopt(self, connection: socket.socket, peer: Any) -> None:
        if not self._mayConnect(peer):
            message = "closed a connection from {peer}, which {name} does not list"
            self._log.warn(message, peer=peer[0], name=WEB_SERVER_ADDRS)
            return
        connection.setblocking(False)
        try:
            self._reactor.adoptStreamConnection(
                connection.fileno(), connection.family, self.factory
            )
        except OSError as error:
            self._log.info("lost a connection at once: {error}", error=error)
        except Exception:
            self._log.failure("no protocol for a connection")

    def _mayConnect(self, peer: Any) -> bool:
        if self._peers is None:
            return True
        host: str = peer[0]
        return host.removeprefix("::ffff:") in self._peers

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


@implementer(IPlugin, IStreamServerEndpointStringParser)
class InheritedEndpointParser:
    """
    The endpoint strings C{fcgi:} and C{fcgi:fd=0}.

    @cvar prefix: What the string begins with.
    """

    prefix = "fcgi"

    def parseStreamServer(
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> InheritedEndpoint:
        """
        @param reactor: See L{InheritedEndpoint}.
        @param args: The file descriptor, if it is given without its name.
        @param kwargs: C{fd}, the number of the file descriptor.
        @raise TypeError: If anything else is given.
        @raise ValueError: If the file descriptor is none to listen on.
        """
        return self._parse(reactor, *args, **kwargs)

    def _parse(self, reactor: Any, fd: str = "") -> InheritedEndpoint:
        number = fd or str(LISTENSOCK_FILENO)
        if not (number.isascii() and number.isdecimal()):
            raise ValueError(f"the file descriptor is {fd!r}: write a number")
        return InheritedEndpoint(reactor, int(number))
