# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Listening sockets that somebody else has made, and endpoints for TCP.

A web server or a process manager that starts a FastCGI application passes it a
listening socket as file descriptor 0, I{FCGI_LISTENSOCK_FILENO} (FastCGI 1.0,
section 2.2).  The socket stays the property of whoever made it: here its mode,
its backlog and its path are left as they are.

This module imports neither a reactor nor twisted.web, because every program
that looks for endpoint plugins loads it.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from twisted_fastcgi.peers import webServerPeers
from twisted_fastcgi.ports import BACKLOG, AcceptingPort, backlogFrom

LISTENSOCK_FILENO = 0
"""
I{FCGI_LISTENSOCK_FILENO}: the file descriptor of the listening socket that an
application is started with (FastCGI 1.0, section 2.2).
"""

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
            C{FCGI_WEB_SERVER_ADDRS} can't be read.
        """
        peers = webServerPeers(os.environ)
        reopenStandardStreams()
        self._name = f"fcgi:fd={fd}"
        self._port: AcceptingPort | None = AcceptingPort(reactor, _inherit(fd), peers)

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


@implementer(IPlugin, IStreamServerEndpointStringParser)
class TCPEndpointParser:
    """
    The endpoint strings C{fcgi-tcp:9000:interface=127.0.0.1:backlog=1024}: as
    Twisted's C{tcp}, but with room for a burst of clients.

    @cvar prefix: What the string begins with.
    """

    prefix = "fcgi-tcp"

    def parseStreamServer(
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> IStreamServerEndpoint:
        """
        @param reactor: Provides C{IReactorTCP}.
        @param args: The port.
        @param kwargs: C{interface}, an IP address, and C{backlog}, a number.
        @raise TypeError: If anything else is given.
        @raise ValueError: If a number is none, or can't be.
        """
        return self._parse(reactor, *args, **kwargs)

    def _parse(
        self, reactor: Any, port: str, interface: str = "", backlog: str = str(BACKLOG)
    ) -> IStreamServerEndpoint:
        # Whoever looks for plugins need not load all endpoints.
        from twisted.internet.endpoints import TCP4ServerEndpoint

        waiting = backlogFrom(backlog)
        return TCP4ServerEndpoint(reactor, int(port), waiting, interface)
