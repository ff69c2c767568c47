# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Between a web server and an application: all bytes pass at once and unchanged,
and are shown and saved as they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_fastcgi.watch import Watch, Watches


@implementer(IHalfCloseableProtocol)
class _Side(Protocol):
    """
    One of the two connections of a relay.

    @ivar other: The other one, once it is there.
    @ivar isDone: Whether nothing more will come from here.
    """

    transport: Any

    def __init__(self, watch: Watch, name: str, seen: Callable[[bytes], None]) -> None:
        self.other: _Side | None = None
        self.isDone = False
        # Why the other side has ended, if it was the first.
        self._reason: Failure | None = None
        self._watch = watch
        self._name = name
        self._seen = seen

    def join(self, other: _Side) -> None:
        """
        Pass on to the other side whatever comes from here; not faster than it
        goes on from there.
        """
        self.other = other
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        other.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Pass on bytes, and only then look at them.
        """
        if self.other is not None:
            self.other.transport.write(data)
        self._seen(data)

    def readConnectionLost(self) -> None:
        """
        Pass on that no more bytes will come from here.
        """
        self._watch.say(f"{self._name} sends no more")
        self.isDone = True
        other = self.other
        if other is None:
            self.transport.loseConnection()
            return
        other.transport.unregisterProducer()
        if other.isDone:
            # The first of these may end this side at once.
            self.transport.loseConnection()
            other.transport.loseConnection()
        else:
            other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """
        Nothing is left to do: the end was passed on.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End the other side, too.
        """
        other, self.other = self.other, None
        if other is None:
            self._watch.end(self._reason or reason)
            return
        other.other = None
        other._reason = reason
        if not self.isDone:
            other.transport.unregisterProducer()
        other.transport.loseConnection()


class _Near(_Side):
    """
    The connection to the web server.
    """

    def __init__(self, watch: Watch, endpoint: IStreamClientEndpoint) -> None:
        super().__init__(watch, "the web server", watch.toApplication)
        self._endpoint = endpoint
        self._connecting: Deferred[IProtocol] | None = None

    def connectionMade(self) -> None:
        """
        Connect to the application before anything is read.
        """
        self.transport.pauseProducing()
        watch = self._watch
        factory = Factory.forProtocol(
            lambda: _Side(watch, "the application", watch.toWebServer)
        )
        factory.noisy = False
        self._connecting = self._endpoint.connect(factory)
        self._connecting.addCallbacks(self._connected, self._failed)

    def _connected(self, far: Any) -> None:
        """
        Let the bytes pass.
        """
        self._connecting = None
        self.join(far)
        far.join(self)
        self.transport.resumeProducing()

    def _failed(self, reason: Failure) -> None:
        """
        Do to the web server what the application does.
        """
        if self._connecting is None:
            # The web server has gone before.
            return
        self._connecting = None
        self._watch.say(f"no connection to the application: {reason.getErrorMessage()}")
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End the other side, or do not even connect to it.
        """
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        super().connectionLost(reason)


class Relay(ServerFactory):
    """
    Passes on connections to an application.
    """

    noisy = False

    def __init__(self, endpoint: IStreamClientEndpoint, watches: Watches) -> None:
        """
        @param endpoint: Where the application is.
        @param watches: What looks at the connections.
        """
        self._endpoint = endpoint
        self._watches = watches

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        Take a connection from a web server.
        """
        return _Near(self._watches.start(addr), self._endpoint)
