# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Connections in memory, which do what Twisted's transports do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IProtocol,
    IProtocolFactory,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse
from zope.interface import implementer

from twisted_fastcgi.client import FastCGIAgent
from twisted_fastcgi.server import FastCGIFactory

_Result = TypeVar("_Result")

#: How much Twisted's transports read at once, and how much they let wait to be
#: sent until they are full, in bytes.
_BUFFER_SIZE = 65536

#: How often producers may be asked for more until it is clear that there will
#: be no end: they have written some 300 MiB by then, if they know their job.
_ENDLESS = 5000

#: Where the web server is.
_ADDRESS = UNIXAddress(None)


@implementer(ITransport, IConsumer, IPushProducer)
class End:
    """
    One end of a connection in memory.

    It does what Twisted's transports do, when they do it: it calls nobody back
    from within a call, except for what the interfaces ask for; it is full when
    more than 64 KiB are unsent, and pauses its producer then; it asks a pull
    producer for more when all is sent; it closes when all is sent and no
    producer is at work; it delivers nothing, not even the end, while it is
    paused; its protocol learns of the end once.

    @ivar peer: The other end.
    @ivar connected: Whether it is open.
    @ivar disconnecting: Whether it is to be closed when all is sent.
    @ivar busy: Whether one of its protocol's methods, or one of its own, is
        being called, so that it must not call back.
    @ivar unsent: How many bytes the other end has not read.
    @ivar _written: Those, in the pieces in which they were written.
    @ivar _writing: Whether something is to be done when all is sent.
    @ivar _reading: Whether the protocol wants to read.
    """

    peer: End

    def __init__(self, network: Network, protocol: IProtocol) -> None:
        """
        @param network: What it is part of.
        @param protocol: What uses it.
        """
        self.protocol = protocol
        self.connected = True
        self.disconnecting = False
        self.busy = True
        self.unsent = 0
        self._network = network
        self._written: deque[bytes] = deque()
        self._writing = False
        self._reading = True
        self._producer: IProducer | None = None
        self._streaming = True
        self._producerPaused = False
        self._halfClosing = False
        self._halfClosed = False
        self._aborting = False

    # ITransport and what Twisted's transports have beyond it

    def getPeer(self) -> UNIXAddress:
        return _ADDRESS

    def getHost(self) -> UNIXAddress:
        return _ADDRESS

    def write(self, data: bytes) -> None:
        isOpen = self.connected and not (self._halfClosed or self._aborting)
        if isOpen and data:
            for start in range(0, len(data), _BUFFER_SIZE):
                self._written.append(data[start : start + _BUFFER_SIZE])
            self.unsent += len(data)
            self._writing = True
            if self._streaming and self.unsent > _BUFFER_SIZE:
                self._pauseProducer()
            self._network.changed(self)

    def _pauseProducer(self) -> None:
        """
        Tell the producer that this is full.
        """
        if self._producer is not None:
            self._producerPaused = True
            cast(IPushProducer, self._producer).pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._reading = False
        self._writing = True
        self._network.changed(self)

    def loseWriteConnection(self) -> None:
        self._halfClosing = True
        self._writing = True
        self._network.changed(self)

    def abortConnection(self) -> None:
        self._aborting = True
        self.unsent = 0
        self._network.changed(self)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(
                f"can't register {producer}, because {self._producer} was never "
                "unregistered"
            )
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            cast(IPullProducer, producer).resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._writing = self._writing or self.disconnecting
        self._network.changed(self)

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = not self.disconnecting
        self._network.changed(self)

    def stopProducing(self) -> None:
        self.loseConnection()

    # What happens on its own

    def step(self) -> bool:
        """
        Do what a reactor would do next.

        @return: Whether there was anything to be done.
        """
        action = self._next()
        if action is None:
            return False
        self._run(action)
        return True

    def _run(self, action: Callable[[], object]) -> None:
        """
        Call back.
        """
        busy, self.busy = self.busy, True
        try:
            action()
        finally:
            self.busy = busy

    @property
    def hasWork(self) -> bool:
        """
        Whether there is something to be done.
        """
        return self._next() is not None

    def _next(self) -> Callable[[], object] | None:
        """
        Tell what is to be done next.
        """
        peer = self.peer
        if not self.connected or self.busy:
            return None
        if self._aborting:
            return partial(self.lose, ConnectionAborted())
        if self._reading and peer.unsent:
            return self._read
        if self._reading and (peer._halfClosed or not peer.connected):
            gone = ConnectionLost() if peer._aborting else ConnectionDone()
            return partial(self.lose, gone)
        if self.unsent and not peer.connected:
            return partial(self.lose, ConnectionLost())
        if self._writing and not self.unsent:
            return self._allSent
        return None

    def _read(self, size: int = _BUFFER_SIZE) -> None:
        """
        Deliver a piece of what has come.

        @param size: How many bytes at the most.
        """
        self.protocol.dataReceived(self.peer._take(size))

    def pull(self, size: int) -> None:
        """
        Deliver some of what has come, though the protocol wants none.

        @param size: How many bytes, at most as many as there are.
        """
        left = self.peer.unsent - size
        while self.peer.unsent > left and not self._aborting:
            self._run(partial(self._read, self.peer.unsent - left))

    def _take(self, size: int) -> bytes:
        """
        Let the other end have a piece of what was written.
        """
        data = self._written.popleft()
        if len(data) > size:
            self._written.appendleft(data[size:])
            data = data[:size]
        self.unsent -= len(data)
        return data

    def _allSent(self) -> None:
        """
        Go on, now that all is sent.
        """
        self._writing = False
        producer = self._producer
        if producer is not None and (not self._streaming or self._producerPaused):
            self._producerPaused = False
            self._network.countProduction()
            cast(IPullProducer, producer).resumeProducing()
        elif self.disconnecting:
            self.lose(ConnectionDone())
        elif self._halfClosing:
            self._halfClosed = True

    def lose(self, reason: Exception) -> None:
        """
        Close this end, if it is open.  What it has written is still there for
        the other end.

        @param reason: What its protocol is told.
        """
        if not self.connected:
            return
        self.connected = False
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))
        self._network.lost(self)


class Network:
    """
    All connections in memory to one factory.

    Nothing waits for anything but time: L{flush} goes on until there is nothing
    left to be done.  With a L{Clock} it is called by itself whenever something
    has changed.  What can't be done right then, because Twisted's transports
    don't call back from within a call, is left to the reactor or clock.

    @ivar reactor: Tells the time.
    @ivar _ends: All ends of connections that are open.
    @ivar _depth: How many calls of L{flush} are going on.
    @ivar _productions: How often producers were asked since the outermost one
        began.
    @ivar _afterwards: What is to be called when there is nothing left to do.
    @ivar _waking: The call of L{flush} that is to come.
    """

    def __init__(self, factory: FastCGIFactory, reactor: IReactorTime) -> None:
        """
        @param factory: What makes the protocols of the application's side.
        @param reactor: Tells the time.
        """
        self.reactor = reactor
        self._factory = factory
        self._ends: list[End] = []
        self._depth = 0
        self._productions = 0
        self._afterwards: list[Callable[[], object]] = []
        self._waking: IDelayedCall | None = None

    def connect(self, protocol: IProtocol) -> End:
        """
        Make a connection.

        @param protocol: The web server's side.
        @return: Its end.
        """
        if not self._ends:
            self._factory.doStart()
        server = cast(IProtocol, self._factory.buildProtocol(_ADDRESS))
        near, far = End(self, protocol), End(self, server)
        near.peer, far.peer = far, near
        self._ends += [far, near]
        server.makeConnection(far)
        protocol.makeConnection(near)
        near.busy = far.busy = False
        return near

    def lost(self, end: End) -> None:
        """
        Forget an end.

        @param end: One that is closed.
        """
        self._ends.remove(end)
        if not self._ends:
            self._factory.doStop()

    def close(self) -> None:
        """
        Close all connections.
        """
        # An agent may make another one when it has lost one.
        while any(end.connected for end in self._ends):
            for end in list(self._ends):
                end.lose(ConnectionDone())

    def changed(self, end: End) -> None:
        """
        Do what is to be done after a transport was called, if nobody is at it
        already.

        @param end: The transport.
        """
        if self._depth:
            return
        if isinstance(self.reactor, Clock):
            busy, end.busy = end.busy, True
            try:
                self.flush()
            finally:
                end.busy = busy
        if self._waking is None and any(each.hasWork for each in self._ends):
            self._waking = self.reactor.callLater(0, self._wake)

    def _wake(self) -> None:
        """
        Do what was left.
        """
        self._waking = None
        self.flush()

    def settle(self) -> None:
        """
        Do what is to be done, and what was put off to be done at once.
        """
        self.flush()
        clock = self.reactor
        while isinstance(clock, Clock) and any(
            call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()
        ):
            clock.advance(0)

    def flush(self) -> None:
        """
        Do what is to be done.
        """
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        if not self._depth:
            self._productions = 0
        self._depth += 1
        try:
            while any([end.step() for end in list(self._ends)]):
                pass
        finally:
            self._depth -= 1
        while self._afterwards:
            self._afterwards.pop(0)()

    def countProduction(self) -> None:
        """
        See that it ends.

        @raise RuntimeError: If it does not.
        """
        self._productions += 1
        if self._productions > _ENDLESS:
            raise RuntimeError(
                "the application goes on producing without end: read its response in "
                "pieces, with begin(..., reading=False) and read()"
            )

    def afterwards(self, f: Callable[[], object]) -> None:
        """
        Call something when there is nothing else to be done.

        @param f: What to call.
        """
        self._afterwards.append(f)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """
    Connects in memory.
    """

    def __init__(self, network: Network) -> None:
        """
        @param network: Where the connections are.
        """
        self._network = network

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Make a connection.

        @param factory: Makes the protocol.
        @return: Fires with that.
        """
        protocol = cast(IProtocol, factory.buildProtocol(_ADDRESS))
        self._network.connect(protocol)
        return succeed(protocol)


class FlushingAgent(FastCGIAgent):
    """
    An agent that has done all that can be done when it gives back a
    L{Deferred}.
    """

    def __init__(self, network: Network, **options: Any) -> None:
        """
        @param network: Where its connections are.
        @param options: More arguments of L{FastCGIAgent}.
        """
        super().__init__(network.reactor, _Endpoint(network), **options)
        self._network = network

    def request(self, *args: Any, **kwargs: Any) -> Deferred[IResponse]:
        """
        Send a request, see L{FastCGIAgent.request}.

        @return: Fires with the response.
        """
        return self._flushed(super().request(*args, **kwargs))

    def getValues(self, *args: Any, **kwargs: Any) -> Deferred[dict[bytes, bytes]]:
        """
        Ask for limits, see L{FastCGIAgent.getValues}.

        @return: Fires with them.
        """
        return self._flushed(super().getValues(*args, **kwargs))

    def _flushed(self, deferred: Deferred[_Result]) -> Deferred[_Result]:
        """
        Do all that can be done.
        """
        self._network.settle()
        return deferred
