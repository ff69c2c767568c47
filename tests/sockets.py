# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Listening sockets for tests, and who connects to them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from twisted_fastcgi.endpoints import InheritedEndpoint


class Greeter(Protocol):
    """
    Says hello, and tells when it is gone.
    """

    factory: GreeterFactory

    def connectionMade(self) -> None:
        """
        Say hello.
        """
        assert self.transport is not None
        self.transport.write(b"hello")
        self.factory.connected(self)


class GreeterFactory(ServerFactory):
    """
    Counts what is built.

    @ivar built: The addresses that protocols were built for.
    @ivar greeters: Those that have said hello.
    @ivar greeted: Called when one has.
    @ivar running: Whether the factory is started.
    """

    protocol = Greeter
    noisy = False

    def __init__(self) -> None:
        self.built: list[Any] = []
        self.greeters: list[Greeter] = []
        self.greeted: Callable[[], object] = bool
        self.running = False
        self.first: Deferred[Greeter] = Deferred()

    def startFactory(self) -> None:
        """
        Note the start.
        """
        self.running = True

    def stopFactory(self) -> None:
        """
        Note the stop.
        """
        self.running = False

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """
        Note the address.
        """
        self.built.append(addr)
        return super().buildProtocol(addr)

    def connected(self, protocol: Greeter) -> None:
        """
        Tell who waits for the first connection.
        """
        self.greeters.append(protocol)
        self.greeted()
        if not self.first.called:
            self.first.callback(protocol)


class MemoryReactor(MemoryReactorClock):
    """
    A reactor that takes the connections over by C{adopt}.
    """

    adopt: Any = None

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        """
        Take over a connection.
        """
        super().adoptStreamConnection(fd, family, factory)
        if self.adopt is not None:
            self.adopt()


class StubSocket:
    """
    A listening socket whose C{accept} answers as it was told.
    """

    family = socket.AF_INET

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.accepts = 0

    def getsockname(self) -> tuple[str, int]:
        """
        Tell an address.
        """
        return ("127.0.0.1", 9000)

    def fileno(self) -> int:
        """
        Tell the number of a descriptor that is open.
        """
        return 2

    def close(self) -> None:
        """
        Do nothing.
        """

    def accept(self) -> Any:
        """
        Give the next answer.
        """
        self.accepts += 1
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class SocketMixin:
    """
    Makes listening sockets, and clients of them.
    """

    def listener(
        self: Any, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)
    ) -> socket.socket:
        """
        Make a listening socket that the test owns, as a web server would.
        """
        skt = socket.socket(family)
        self.addCleanup(skt.close)
        skt.bind(address)
        skt.listen(7)
        return skt

    def pass_(self: Any, skt: socket.socket) -> int:
        """
        Make a file descriptor for a socket, as a child process inherits it.
        """
        fd = os.dup(skt.fileno())
        self.addCleanup(os.close, fd)
        return fd

    def client(self: Any, skt: socket.socket) -> socket.socket:
        """
        Connect to a socket, and have the connection wait in its backlog.
        """
        connection = socket.socket(skt.family)
        self.addCleanup(connection.close)
        connection.connect(skt.getsockname())
        return connection

    def listen(
        self: Any, with_: Any, fd: int, factory: ServerFactory | None = None
    ) -> Any:
        """
        Listen on a file descriptor, until the end of the test.
        """
        endpoint = InheritedEndpoint(with_, fd)
        factory = factory or GreeterFactory()
        port = self.successResultOf(endpoint.listen(factory))
        self.addCleanup(port.stopListening)
        return port

    def hangUp(self: Any, factory: Any) -> None:
        """
        Close the connections of a factory, where no reactor does.
        """
        for greeter in factory.greeters:
            greeter.transport.connectionLost(Failure(ConnectionDone()))

    def finish(self: Any, endpoint: InheritedEndpoint) -> None:
        """
        Have an endpoint give up its socket.
        """
        self.successResultOf(endpoint.listen(GreeterFactory())).stopListening()

    def observe(self: Any) -> EventLoggingObserver:
        """
        Watch the log.
        """
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return observer


def logged(observer: EventLoggingObserver) -> list[str]:
    """
    Format what this package has logged.
    """
    return [
        event["log_format"].format(**event)
        for event in observer
        if event.get("log_namespace", "").startswith("twisted_fastcgi.")
    ]


def lowestFree() -> int:
    """
    Tell the number that the next descriptor gets.
    """
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd
