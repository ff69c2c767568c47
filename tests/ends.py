# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The ends of connections for tests of the command, in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

#: The end of a connection as it should be.
DONE = Failure(ConnectionDone())


class Transport(StringTransport):
    """
    One end of a connection.

    @ivar aborted: Whether it was cut off.
    @ivar writeClosed: Whether no more will be sent.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.aborted = False
        self.writeClosed = False

    def abortConnection(self) -> None:
        """
        Note that.
        """
        self.aborted = True

    def loseWriteConnection(self) -> None:
        """
        Note that.
        """
        assert self.producer is None, "a producer would keep it from closing"
        self.writeClosed = True

    def loseConnection(self) -> None:
        """
        Note that.
        """
        assert self.producer is None, "a producer would keep it from closing"
        super().loseConnection()

    def taken(self) -> bytes:
        """
        Take away what was written.
        """
        data: bytes = self.value()
        self.clear()
        return data


@implementer(IStreamClientEndpoint)
class Endpoint:
    """
    An application to connect to.

    @ivar protocols: What has connected.
    @ivar transports: Its ends of the connections.
    @ivar waiting: What waits for a connection, if none is made at once.
    """

    def __init__(self, *, refusal: Exception | None = None, isSlow: bool = False):
        self.protocols: list[Any] = []
        self.transports: list[Transport] = []
        self.waiting: list[tuple[IProtocolFactory, Deferred[Any]]] = []
        self.cancelled = 0
        self._refusal = refusal
        self._isSlow = isSlow

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """
        Connect a protocol.
        """
        if self._refusal is not None:
            return fail(self._refusal)
        if not self._isSlow:
            return succeed(self._make(factory))
        waiting: Deferred[Any] = Deferred(self._cancel)
        self.waiting.append((factory, waiting))
        return waiting

    def accept(self) -> None:
        """
        Make the first connection that is waited for.
        """
        factory, waiting = self.waiting.pop(0)
        waiting.callback(self._make(factory))

    def _cancel(self, waiting: Deferred[Any]) -> None:
        self.cancelled += 1

    def _make(self, factory: IProtocolFactory) -> Protocol:
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        transport = Transport()
        self.protocols.append(protocol)
        self.transports.append(transport)
        protocol.makeConnection(transport)
        return protocol
