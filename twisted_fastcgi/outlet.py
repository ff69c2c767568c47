# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The way out of a connection: the one place that writes to the transport.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from zope.interface import implementer

from twisted_fastcgi.ports import UnixTransport
from twisted_fastcgi.records import Piece

log = Logger()

#: How many bytes are held back at the most while more are about to be written.
#: Twisted's transports call themselves full at the same size.
_HELD_BYTES = 65536

#: How many pieces one system call takes, 1024 on Linux and the BSDs.
_MAX_PIECES = 1024

#: How many of those that wait are tried at a time: usually more than a socket
#: takes.
_QUEUED_PIECES = 256

#: How much is written straight to a socket before everybody else gets their
#: turn, in bytes.
_TURN_BYTES = 1048576

#: Has TCP wait for what follows, such as the end of the connection.
_MORE_FOLLOWS = getattr(socket, "MSG_MORE", 0)

#: How long the peer may go on sending after it has got its answer, in seconds.
#: The FastCGI library in C waits as long.
LINGER = 2.0


@implementer(IPushProducer, IPullProducer)
class Outlet:
    """
    Writes to a transport, knows when it is full, and lets the producer of the
    response know.

    It is the transport's registered producer for as long as the connection
    lasts, whether the response has one or not: so it also learns that the
    transport is full while no one produces anything.

    @cvar _step: How much the transport gets at a time if there is more, in
        bytes.  It tells only that it has sent everything, so it must never have
        so much that a peer who reads slowly could be taken for one who does
        not read at all.  Here it has to be so much that the transport calls
        itself full, for else it would not tell even that.
    @ivar full: Whether there is more to send than there should be.
    @ivar held: Whether output is being held back.
    @ivar sent: How much was given to the transport or its socket, in bytes.
    @ivar waitingSince: Since when the peer could have taken something that
        waits to be sent, and has not, as far as the transport tells, in
        seconds of the reactor's clock; L{None} if it has taken everything.
        Once the connection is being closed, it is never L{None}.
    @ivar _pieces: What is held back.
    @ivar _pending: The size of those, in bytes.
    @ivar _queue: What the transport has no room for.
    @ivar _queued: The size of that, in bytes.
    @ivar _clogged: Whether the transport has no room.
    @ivar _unsent: How much the transport has got since it last had sent
        everything, in bytes; only while it tells that.
    @ivar _producer: The producer of the response.
    @ivar _streaming: Whether that is a push producer, as far as the transport
        knows.
    @ivar _closed: Whether nothing more will be written.
    @ivar _allIsGiven: Whether the transport has all of that, and is closing.
    @ivar _gently: Whether to close only the way out at first.
    @ivar _lingering: The call that ends the connection.
    @ivar _asking: The call that asks a pull producer again.
    @ivar _starting: Whether a pull producer is being registered: what it
        raises then is for who registers it.
    @ivar _wroteNothing: Whether nothing was written since it was asked.
    """

    _step = _HELD_BYTES

    full = False
    held = False
    sent = 0
    waitingSince: float | None = None

    # To set all these anew takes 2 us of each connection.
    _pending = 0
    _queued = 0
    _clogged = False
    _unsent = 0
    _producer: IProducer | None = None
    _streaming = True
    _closed = False
    _allIsGiven = False
    _gently = False
    _lingering: IDelayedCall | None = None
    _asking: IDelayedCall | None = None
    _wroteNothing = False
    _starting = False

    def __init__(
        self,
        transport: Any,
        reactor: IReactorTime,
        drained: Callable[[], object],
    ) -> None:
        """
        @param transport: Where to write to, an L{ITransport
            <twisted.internet.interfaces.ITransport>} that is an L{IConsumer
            <twisted.internet.interfaces.IConsumer>}.
        @param reactor: Tells the time.
        @param drained: Called when the transport is no longer full.
        """
        self._transport = transport
        self._reactor = reactor
        self._drained = drained
        self._pieces: list[Piece] = []
        self._queue: deque[Piece] = deque()
        self._attach()

    def _attach(self) -> None:
        """
        Register with the transport.
        """
        self._transport.registerProducer(self, True)

    # Writing

    def hold(self) -> None:
        """
        Hold back what is written until L{release}, so that it goes out in one
        piece; yet never more than 64 KiB, or one write.
        """
        self.held = True

    def release(self) -> None:
        """
        Send what was held back, and what is written from now on at once.
        """
        self.held = False
        self._flush()

    def write(self, pieces: Sequence[Piece], *, last: bool = False) -> None:
        """
        Send some bytes.

        @param pieces: The bytes, in pieces, which are kept as they are.
        @param last: Whether they are to go out together with what was written
            just before.
        """
        size = sum(map(len, pieces))
        if not size:
            return
        self._wroteNothing = False
        if not self.held:
            # So nothing is held back.
            self._send(pieces, size)
            return
        if self._pending + size > _HELD_BYTES and not last:
            self._flush()
        self._pieces += pieces
        self._pending += size
        if last and self._pending > _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        """
        Send all that is held back.
        """
        if self._pieces:
            pieces, size = self._pieces, self._pending
            self._pieces, self._pending = [], 0
            self._send(pieces, size)

    def _send(self, pieces: Sequence[Piece], size: int) -> None:
        """
        Give bytes to the transport, as soon as it has room for them.

        @param pieces: The bytes, in pieces.
        @param size: Their size.
        """
        if self._queue or self._clogged or size > 2 * self._step:
            self._queue += pieces
            self._queued += size
            self._feed()
        else:
            self._give(pieces, size)

    def _feed(self) -> None:
        """
        Give the transport what waits for it, as long as it has room.
        """
        while self._queue and not self._clogged:
            chunk = self._takeChunk()
            self._give(chunk, sum(map(len, chunk)))
        if self._queued + self._unsent > _HELD_BYTES:
            self._fill()

    def _takeChunk(self) -> list[Piece]:
        """
        Take the first of what waits for the transport; what would leave only a
        little is all of it, so that the end of a response does not come alone.
        """
        if self._queued <= 2 * self._step:
            chunk = list(self._queue)
            self._queue.clear()
            self._queued = 0
            return chunk
        chunk = []
        left = self._step
        while left > 0:
            piece = self._queue.popleft()
            if len(piece) > left:
                self._queue.appendleft(memoryview(piece)[left:])
            chunk.append(piece[:left])
            left -= len(chunk[-1])
        self._queued -= self._step
        return chunk

    def _give(self, pieces: Sequence[Piece], size: int) -> None:
        """
        Give bytes to the transport.

        @param pieces: The bytes, in pieces.
        @param size: Their size.
        """
        if not self._streaming:
            # A transport tells a pull producer when it is empty only.
            self.full = True
            self._wait()
            self._unsent += size
            self._clogged = self._unsent >= self._step
        self._writeAll(pieces)

    def _writeAll(self, pieces: Sequence[Piece]) -> None:
        """
        Have the transport write something.  It takes nothing but L{bytes},
        which stay as they are here.
        """
        data = list(map(bytes, pieces))
        self.sent += sum(map(len, data))
        self._transport.writeSequence(data)

    def _wait(self) -> None:
        """
        Note that the peer has something to take.
        """
        if self.waitingSince is None:
            self.waitingSince = self._reactor.seconds()

    def _fill(self) -> None:
        """
        Note that there is more to be sent than there should be.
        """
        if not self.full:
            self.full = True
            if self._producer is not None and self._streaming:
                cast(IPushProducer, self._producer).pauseProducing()

    @property
    def hasInput(self) -> bool:
        """
        Whether the peer has sent something that was not read yet, as far as that can
        be told.
        """
        return False

    def copy(self) -> int | None:
        """
        Copy the descriptor of the connection.

        @return: The copy; L{None} if something is unsent, or stands between this
            and the connection.
        """
        return None

    def abandon(self, nobody: socket.socket) -> None:
        """
        Let go of the connection, of which there is a copy, without closing it.

        @param nobody: A socket to close instead.
        """
        # What closes a connection shuts it down for those who have a copy, too.
        fd = self._transport.fileno()
        os.dup2(nobody.fileno(), fd, inheritable=False)
        self.abort()

    # The producer of the response

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Take a producer for the response.

        @param producer: An L{IPushProducer}, or an L{IPullProducer}.
        @param streaming: Whether it is the former.
        """
        self._producer = producer
        if not streaming:
            self._starting = True
            try:
                self._register(streaming=False)
            finally:
                self._starting = False
        elif self.full:
            cast(IPushProducer, producer).pauseProducing()

    def unregisterProducer(self) -> None:
        """
        Forget the producer of the response.
        """
        self._forgetProducer()
        if not self._streaming and not self._closed:
            self._register(streaming=True)

    @property
    def hasPaused(self) -> bool:
        """
        Whether the response has a push producer that was told to pause.
        """
        return self.full and self._streaming and self._producer is not None

    def stopProducer(self) -> None:
        """
        Stop the producer of the response, if there is one, and forget it.
        """
        producer = self._producer
        if producer is not None:
            self.unregisterProducer()
            _stop(producer)

    def _register(self, streaming: bool) -> None:
        """
        Register with the transport anew.
        """
        self._transport.unregisterProducer()
        self._streaming = streaming
        # Should it be full, it says so again at the next write.
        self.full = self._clogged = False
        self._unsent = 0
        self.waitingSince = None
        self._transport.registerProducer(self, streaming)
        self._feed()

    # What the transport says

    def pauseProducing(self) -> None:
        """
        The transport is full, and says so at each write.
        """
        self._clogged = True
        self._wait()
        self._fill()

    def resumeProducing(self) -> None:
        """
        The transport wants more.
        """
        self._clogged = False
        self._unsent = 0
        self._notWaiting()
        if self._queue:
            self._feed()
            if self._clogged or not self._streaming:
                # It says so again.
                return
        if self._closed:
            self._allGiven()
            return
        self.full = False
        if self._starting:
            self._resumeProducer()
        elif not self._askAgain():
            return
        self._drained()

    def _notWaiting(self) -> None:
        """
        Note that the peer has taken what there was.
        """
        self.waitingSince = self._reactor.seconds() if self._closed else None

    def _resumeProducer(self) -> None:
        """
        Have the producer of the response produce.

        A transport asks a pull producer for more when it has sent something.
        One that has written nothing to be sent, because a compressor keeps it
        or a I{HEAD} request wants no body, is asked again from here.
        """
        self._cancelAsking()
        if self._producer is None:
            return
        self._wroteNothing = True
        cast(IPullProducer, self._producer).resumeProducing()
        if self._wroteNothing and self._producer is not None and not self._streaming:
            self._asking = self._reactor.callLater(0, self._askAgain)

    def _askAgain(self) -> bool:
        """
        Have the producer produce, and end the connection if it fails: not all
        transports do.

        @return: Whether it did not fail.
        """
        try:
            self._resumeProducer()
        except Exception:
            log.failure("{producer} failed to produce", producer=self._producer)
            self.abort()
            return False
        return True

    def stopProducing(self) -> None:
        """
        The transport is gone.
        """
        producer = self._producer
        self._forgetProducer()
        if producer is not None:
            _stop(producer)

    def _forgetProducer(self) -> None:
        """
        Ask no one for more.
        """
        self._producer = None
        self._cancelAsking()

    def _cancelAsking(self) -> None:
        """
        Do not ask again.
        """
        asking, self._asking = self._asking, None
        if asking is not None and asking.active():
            asking.cancel()

    # Closing

    def close(self) -> None:
        """
        Close the connection when all is sent.
        """
        self._finish()
        # That waits for a registered producer, too, as long as there is one.
        self._transport.loseConnection()

    def closeAtOnce(self) -> None:
        """
        Close the connection when all is sent, so that the peer sees the end of that
        and of the connection at the same time, as far as possible: it would take
        the connection for one that is kept.
        """
        self.close()

    def closeGently(self) -> None:
        """
        Close the connection when all is sent, though the peer may still be
        sending: to close it at once would destroy what the peer has not read.
        So only the way out is closed, and what still comes in is read for a
        short while.
        """
        own = getattr(type(self._transport), "loseWriteConnection", None)
        # What only passes the call on, such as TLS, would close the connection
        # beneath itself.
        if callable(own):
            self._gently = True
            self._finish()
        else:
            self.close()

    def _finish(self) -> None:
        """
        Write what is left, and produce nothing any more.
        """
        self._closed = True
        self.stopProducer()
        self._wait()
        pieces, size = self._pieces, self._pending
        self._pieces, self._pending = [], 0
        if self._isBehind or size > 2 * self._step:
            Outlet._send(self, pieces, size)
        elif pieces:
            # Closing is the transport's work; so it may as well send these.
            self._writeAll(pieces)
        if not self._isBehind:
            self._allGiven()

    @property
    def _isBehind(self) -> bool:
        """
        Whether the transport is yet to ask for something.
        """
        return bool(self._queue)

    def _allGiven(self) -> None:
        """
        Go on to close, now that the transport has everything: one that has a
        producer might wait for it before it closes.
        """
        self._allIsGiven = True
        self._transport.unregisterProducer()
        if self._gently:
            self._gently = False
            self._transport.loseWriteConnection()
            # Should something be unsent by then, this waits for it.
            self._lingering = self._reactor.callLater(
                LINGER, self._transport.loseConnection
            )
            self.waitingSince = self._reactor.seconds() + LINGER

    def abort(self) -> None:
        """
        Close the connection at once, whatever is not sent yet.
        """
        self._forget()
        self.stopProducer()
        if not self._allIsGiven:
            self._transport.unregisterProducer()
        self._transport.abortConnection()

    def connectionLost(self) -> None:
        """
        Clean up: the connection is gone.
        """
        self._forget()
        self.stopProducer()
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        # Whose method it is has this: neither need wait for the garbage collector.
        self._drained = _doNothing

    def _forget(self) -> None:
        """
        Send nothing any more.
        """
        self._closed = True
        self._pieces, self._pending = [], 0
        self._queue.clear()
        self._queued = 0
        self.waitingSince = None


def _doNothing() -> None:
    """
    Do nothing.
    """


def _stop(producer: IProducer) -> None:
    """
    Stop a producer, whatever becomes of it.
    """
    try:
        producer.stopProducing()
    except Exception:
        log.failure("{producer} failed to stop", producer=producer)


class SocketOutlet(Outlet):
    """
    An outlet that writes what was held back straight to the socket, if the
    transport has nothing to send.

    A transport sends only when the reactor has found the socket to be
    writable, which for a small response takes as long as all else that Twisted
    does for it.  What the socket does not take at once goes the usual way, and
    until all of that is sent, everything else does, too.

    A transport that has a little to send tells when the socket takes more; then
    what waits behind that is written straight to the socket as well.

    @ivar _socket: The socket, which is the transport's.
    @ivar _buffered: Whether the transport has something to send.
    @ivar _turnEnd: How much C{sent} has to be for everybody else to have their
        turn.
    @ivar _registering: Whether the transport's first call is yet to come.
    """

    _step = 16384

    _buffered = False
    _turnEnd = _TURN_BYTES
    _registering = False

    def _attach(self) -> None:
        """
        Do without the transport's word until it has something to send.
        """
        self._socket: socket.socket = self._transport.getHandle()

    def release(self) -> None:
        """
        Send what was held back, and what is written from now on at once.
        """
        # What was received is what it is the answer to: so there was a turn.
        self._turnEnd = self.sent + _TURN_BYTES
        self.held = False
        if self._pieces:
            self._flush()

    def _send(self, pieces: Sequence[Piece], size: int) -> None:
        """
        Send bytes, or what the socket does not take of them by way of the
        transport.

        After some 1 MiB a piece goes that way, too: so a producer whose peer
        reads fast enough does not keep everybody else from their turn.
        """
        if self._streaming and not self._buffered and self.sent < self._turnEnd:
            pieces = self._sendNow(pieces, size)
            if not pieces:
                return
            size = sum(map(len, pieces))
        super()._send(pieces, size)

    def _give(self, pieces: Sequence[Piece], size: int) -> None:
        """
        Give bytes to the transport.
        """
        self._writeAll(pieces)
        self._unsent += size
        self._wait()
        if not self._buffered:
            self._buffered = True
            self._awaitEmpty()
        self._clogged = self._unsent >= self._step

    def _sendNow(
        self, pieces: Sequence[Piece], size: int, flags: int = 0
    ) -> Sequence[Piece]:
        """
        Send what the socket takes.

        @param pieces: The bytes, in pieces.
        @param size: Their size.
        @param flags: How, for the system.
        @return: What it did not take.
        """
        try:
            sent = self._socket.sendmsg(pieces[:_MAX_PIECES], (), flags)
        except OSError:
            # It is full, or broken; the transport will find out and report it.
            return pieces
        self.sent += sent
        if sent == size:
            return []
        index = 0
        while sent >= len(pieces[index]):
            sent -= len(pieces[index])
            index += 1
        return [pieces[index][sent:], *pieces[index + 1 :]]

    def close(self) -> None:
        """
        Close the connection when all is sent: in the same turn, if that can be.
        """
        if self._endsNow():
            self._forget()
            self._transport.endAfterReading()
        else:
            super().close()

    @property
    def hasInput(self) -> bool:
        """
        Whether something waits in the socket.
        """
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def copy(self) -> int | None:
        """
        Copy the descriptor of the socket.

        @return: The copy; L{None} if something is unsent, or the system has no
            room.
        """
        if self._buffered or self._pieces or self._producer is not None:
            return None
        try:
            return os.dup(self._socket.fileno())
        except OSError:
            return None

    def closeAtOnce(self) -> None:
        """
        Close the connection; its end follows what was held back without anything
        else between.
        """
        if self._streaming and not self._buffered and self._producer is None:
            self._pieces = list(
                self._sendNow(self._pieces, self._pending, _MORE_FOLLOWS)
            )
            self._pending = sum(map(len, self._pieces))
            if not self._pieces:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_WR)
        self.close()

    def _endsNow(self) -> bool:
        """
        Send what is held back, if the transport could end the connection then.

        @return: Whether it can: all is sent.
        """
        transport = self._transport
        isAble = isinstance(transport, UnixTransport) and transport.isReading
        if not isAble or self._buffered or self._producer is not None:
            return False
        self._pieces = list(self._sendNow(self._pieces, self._pending))
        self._pending = sum(map(len, self._pieces))
        return not self._pieces

    def _sendQueue(self) -> None:
        """
        Send what the socket takes of what waits for the transport.
        """
        pieces = list(islice(self._queue, _QUEUED_PIECES))
        try:
            sent = self._socket.sendmsg(pieces) if pieces else 0
        except OSError:
            return
        self._queued -= sent
        self.sent += sent
        while sent:
            piece = self._queue.popleft()
            if sent < len(piece):
                self._queue.appendleft(memoryview(piece)[sent:])
            sent -= min(sent, len(piece))

    def _awaitEmpty(self) -> None:
        """
        Have the transport tell when it has sent everything: that is what it
        tells a pull producer, and once right away, when it is not true.
        """
        if self._streaming:
            self._registering = True
            self._transport.registerProducer(self, False)
            self._registering = False

    def _register(self, streaming: bool) -> None:
        """
        Begin or end to feed a pull producer.
        """
        self._streaming = streaming
        if self._buffered:
            # The transport will tell anyway.
            return
        if streaming:
            self._transport.unregisterProducer()
        else:
            self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        The transport has sent everything.
        """
        if self._registering:
            return
        self._clogged = False
        self._unsent = 0
        self._turnEnd = self.sent + _TURN_BYTES
        self._notWaiting()
        self._sendQueue()
        if self._queue:
            self._feed()
            return
        self._buffered = False
        if self._streaming:
            self._transport.unregisterProducer()
            if not (self.full or self._closed):
                return
        super().resumeProducing()

    @property
    def _isBehind(self) -> bool:
        """
        Whether the transport has something to send, and will tell when it has.
        """
        return self._buffered


def outletFor(
    transport: Any, reactor: IReactorTime, drained: Callable[[], object]
) -> Outlet:
    """
    Make the outlet that fits a transport: straight to the socket for Twisted's
    own TCP and Unix transports, since nothing stands between those and the
    socket; the usual way for all others, such as TLS or wrapped ones.

    @param transport: Where to write to.
    @param reactor: Tells the time.
    @param drained: Called when the transport is no longer full.
    @return: An outlet.
    """
    if isinstance(transport, UnixTransport) and not transport.TLS:
        # For all that is asked below this is the answer, which takes 2 us less.
        return SocketOutlet(transport, reactor, drained)
    if not IUNIXTransport.providedBy(transport) and _isTCP(transport):
        # What is written is written in one piece: there is nothing to wait for.
        transport.setTcpNoDelay(True)
        # A host that is gone without a word would count as a connection.
        transport.setTcpKeepAlive(True)
    isPlain = isinstance(transport, Connection) and not transport.TLS
    if isPlain and hasattr(socket.socket, "sendmsg"):
        return SocketOutlet(transport, reactor, drained)
    return Outlet(transport, reactor, drained)


def _isTCP(transport: Any) -> bool:
    """
    Tell whether a transport has the settings of TCP.  Some that have a Unix
    socket beneath them say so, too.
    """
    return ITCPTransport.providedBy(transport) and hasattr(transport.getHost(), "port")
