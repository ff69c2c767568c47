# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.outlet}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.tables import TableTestCase, table
from tests.transports import (
    OneWayTransport,
    PushProducer,
    ServerTransport,
    SocketPeer,
    SocketReactor,
)
from twisted_fastcgi.outlet import LINGER, Outlet, SocketOutlet, outletFor
from twisted_fastcgi.ports import UnixTransport


class Pull:
    """
    A pull producer that writes pieces.

    @ivar asked: How often it was asked for one.
    @ivar stopped: Whether it was stopped.
    """

    def __init__(self, outlet: Any, *pieces: bytes) -> None:
        self.asked = 0
        self.stopped = False
        self._outlet = outlet
        self._pieces = iter(pieces)

    def resumeProducing(self) -> None:
        self.asked += 1
        piece = next(self._pieces, None)
        if piece is None:
            self._outlet.unregisterProducer()
        else:
            self._outlet.write([piece])

    def stopProducing(self) -> None:
        self.stopped = True


class OutletServer(Protocol):
    """
    A protocol that has nothing but an outlet.

    @ivar outlet: The outlet.
    @ivar drained: How often it said that it is no longer full.
    """

    outlet: Outlet

    def __init__(self, clock: Clock, make: Callable[..., Outlet] = Outlet) -> None:
        self.drained = 0
        self._clock = clock
        self._make = make

    def connectionMade(self) -> None:
        self.outlet = self._make(self.transport, self._clock, self._countDrained)

    def _countDrained(self) -> None:
        self.drained += 1

    def connectionLost(self, reason: Any = None) -> None:
        self.outlet.connectionLost()


class OutletTests(SynchronousTestCase):
    """
    An L{Outlet} writes, and knows when the transport is full.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = ServerTransport(stalled=True, bufferSize=65536)
        self.server = OutletServer(self.clock)
        self.transport.connect(self.server)
        self.outlet = self.server.outlet

    def connectOneWay(self) -> None:
        """
        Start anew with a transport that can't be closed in one direction.
        """
        self.transport = OneWayTransport(stalled=True)
        self.server = OutletServer(self.clock)
        self.transport.connect(self.server)
        self.outlet = self.server.outlet

    def test_interfaces(self) -> None:
        """
        To the transport it is a producer of both kinds.
        """
        verifyObject(IPushProducer, self.outlet)
        verifyObject(IPullProducer, self.outlet)

    def test_choice(self) -> None:
        """
        Only a transport that is nothing but a socket is written to in another
        way.
        """
        outlet = outletFor(ServerTransport(), self.clock, lambda: None)
        self.assertIs(type(outlet), Outlet)

    def test_write(self) -> None:
        """
        What is written goes out at once, the pieces of one write together.
        """
        self.outlet.write([b"a", b"b"])
        self.outlet.write([b"c"])
        self.assertEqual(self.transport.writes, [b"ab", b"c"])

    def test_hold(self) -> None:
        """
        What is held goes out in one write when it is released, and everything
        at once again from then on.
        """
        self.outlet.hold()
        self.assertTrue(self.outlet.held)
        self.outlet.write([b"a", b"b"])
        self.outlet.write([b"c"])
        self.assertEqual(self.transport.writes, [])
        self.outlet.release()
        self.assertFalse(self.outlet.held)
        self.outlet.write([b"d"])
        self.assertEqual(self.transport.writes, [b"abc", b"d"])

    def test_holdNothing(self) -> None:
        """
        To release nothing writes nothing.
        """
        self.outlet.hold()
        self.outlet.release()
        self.assertEqual(self.transport.writes, [])

    def test_holdIsBounded(self) -> None:
        """
        No more than 64 KiB are held, or one write.
        """
        self.outlet.hold()
        self.outlet.write([b"x" * 65535])
        self.outlet.write([b"x"])
        self.assertEqual(self.transport.writes, [])
        self.outlet.write([b"x"])
        self.assertEqual(self.transport.writes, [b"x" * 65536])
        self.outlet.release()
        self.transport.drainAll()
        self.transport.clear()
        del self.transport.writes[:]
        self.outlet.hold()
        for _ in range(20):
            self.outlet.write([b"x" * 10000])
            self.transport.drainAll()
        self.assertEqual([len(sent) for sent in self.transport.writes], [60000] * 3)
        self.outlet.write([b"y" * 200000])
        self.assertEqual(len(self.transport.value()), 200000)
        self.outlet.release()
        self.transport.drainAll()
        self.assertEqual(len(self.transport.value()), 400000)

    def test_full(self) -> None:
        """
        It is full when the transport says so, and no longer when all is sent;
        then it tells.
        """
        self.outlet.write([b"x" * 65536])
        self.assertFalse(self.outlet.full)
        self.outlet.write([b"x"])
        self.assertTrue(self.outlet.full)
        self.transport.drain(65536)
        self.assertTrue(self.outlet.full)
        self.assertEqual(self.server.drained, 0)
        self.transport.drain()
        self.assertFalse(self.outlet.full)
        self.assertEqual(self.server.drained, 1)

    def test_pushProducer(self) -> None:
        """
        A push producer is paused once when it is full, resumed when it is not,
        and left alone after it was unregistered.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.outlet.write([b"x" * 70000])
        self.outlet.write([b"x" * 70000])
        self.assertEqual(producer.calls, ["pause"])
        self.transport.drainAll()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.outlet.unregisterProducer()
        self.outlet.write([b"x" * 70000])
        self.transport.drain()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_pushProducerLeavesWhenFull(self) -> None:
        """
        When a push producer leaves, it is still full.
        """
        self.outlet.registerProducer(PushProducer(), True)
        self.outlet.write([b"x" * 70000])
        self.outlet.unregisterProducer()
        self.assertTrue(self.outlet.full)
        self.transport.drain()
        self.assertFalse(self.outlet.full)
        self.assertEqual(self.server.drained, 1)

    def test_pushProducerWhenFull(self) -> None:
        """
        A push producer that comes when it is full is paused at once.
        """
        self.outlet.write([b"x" * 70000])
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["pause"])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked at once, and each time that all is sent; from
        one write to that moment it is full.
        """
        producer = Pull(self.outlet, b"a", b"b")
        self.outlet.registerProducer(producer, False)
        self.assertEqual(self.transport.writes, [b"a"])
        self.assertTrue(self.outlet.full)
        self.transport.drain()
        self.assertEqual(self.transport.writes, [b"a", b"b"])
        self.transport.drain()
        self.assertEqual(producer.asked, 3)
        self.assertFalse(self.outlet.full)
        self.transport.drain()
        self.assertEqual(producer.asked, 3)
        self.assertIs(self.transport.producer, self.outlet)
        self.assertIs(self.transport.streaming, True)

    def test_pullProducerWhenFull(self) -> None:
        """
        A pull producer that comes when it is full changes nothing for good.
        """
        self.outlet.write([b"x" * 70000])
        self.outlet.registerProducer(Pull(self.outlet, b"y" * 70000), False)
        self.assertTrue(self.outlet.full)
        self.transport.drain()
        self.assertFalse(self.outlet.full)
        self.outlet.write([b"x" * 70000])
        self.assertTrue(self.outlet.full)

    def test_pullProducerLeavesAtOnce(self) -> None:
        """
        When a pull producer leaves together with its last piece, it is not
        full: nobody would tell when that is sent.
        """

        class Last(Pull):
            def resumeProducing(self) -> None:
                super().resumeProducing()
                self._outlet.unregisterProducer()

        self.outlet.registerProducer(Last(self.outlet, b"last"), False)
        self.assertEqual(self.transport.writes, [b"last"])
        self.assertFalse(self.outlet.full)

    def test_pullProducerIdle(self) -> None:
        """
        A pull producer that writes nothing is asked again soon, for the
        transport does not, until it writes something.
        """
        producer = Pull(self.outlet, b"", b"", b"a", b"", b"b")
        self.outlet.registerProducer(producer, False)
        self.assertEqual(producer.asked, 1)
        self.clock.advance(0)
        self.assertEqual(producer.asked, 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.transport.drain()
        self.clock.advance(0)
        self.assertEqual(producer.asked, 5)
        self.assertEqual(self.transport.writes, [b"a", b"b"])

    def test_pullProducerFails(self) -> None:
        """
        A pull producer that fails when it is asked again ends the connection,
        as one does that fails when a transport asks it.
        """

        class Failing(Pull):
            def resumeProducing(self) -> None:
                super().resumeProducing()
                if self.asked > 1:
                    raise ZeroDivisionError("on purpose")

        self.outlet.registerProducer(Failing(self.outlet, b"", b""), False)
        self.assertTrue(self.transport.connected)
        self.clock.advance(0)
        self.transport.settle()
        self.assertFalse(self.transport.connected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopFails(self) -> None:
        """
        A producer that fails to stop keeps nothing else from its end.
        """

        class Failing(PushProducer):
            def stopProducing(self) -> None:
                raise ZeroDivisionError("on purpose")

        self.outlet.registerProducer(Failing(), True)
        self.outlet.close()
        self.transport.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.transport.drain()
        self.assertFalse(self.transport.connected)

    def test_last(self) -> None:
        """
        What is said to be the last goes out together with what is held,
        however large that is; on its own it goes out like anything else.
        """
        self.outlet.hold()
        self.outlet.write([b"x" * 100000])
        self.outlet.write([b"last"], last=True)
        self.assertEqual(self.transport.writes, [b"x" * 100000 + b"last"])
        self.transport.drainAll()
        self.outlet.write([b"y"])
        self.outlet.write([b"last"], last=True)
        self.assertEqual(len(self.transport.writes), 1)
        self.outlet.release()
        self.assertEqual(self.transport.writes[1:], [b"ylast"])
        self.outlet.write([b"last"], last=True)
        self.assertEqual(self.transport.writes[2:], [b"last"])

    def test_pullProducerIdleAndOthersWrite(self) -> None:
        """
        If something else is written meanwhile, it is asked when that is sent,
        and not twice.
        """
        producer = Pull(self.outlet, b"", b"", b"", b"a")
        self.outlet.registerProducer(producer, False)
        self.outlet.write([b"other"])
        self.transport.drain()
        self.assertEqual(producer.asked, 2)
        self.assertLessEqual(len(self.clock.getDelayedCalls()), 1)
        self.outlet.unregisterProducer()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1)
        self.assertEqual(producer.asked, 2)

    def test_stopProducer(self) -> None:
        """
        A producer of either kind can be stopped, once.
        """
        push, pull = PushProducer(), Pull(self.outlet, b"", b"")
        self.outlet.registerProducer(push, True)
        self.outlet.stopProducer()
        self.outlet.registerProducer(pull, False)
        self.outlet.stopProducer()
        self.outlet.stopProducer()
        self.assertEqual(push.calls, ["stop"])
        self.assertTrue(pull.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(self.transport.streaming, True)

    def test_connectionLost(self) -> None:
        """
        The end of the connection stops the producer, and nothing is left.
        """
        for producer, streaming in ((PushProducer(), True), (PushProducer(), False)):
            self.setUp()
            self.outlet.registerProducer(producer, streaming)
            self.outlet.hold()
            self.outlet.write([b"held"])
            self.transport.close()
            self.assertEqual(producer.calls[-1:], ["stop"])
            self.assertEqual(producer.calls.count("stop"), 1)
            self.outlet.release()
            self.assertEqual(self.transport.writes, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectionLostWhileLingering(self) -> None:
        """
        If the connection ends before its time, nothing is left to be done.
        """
        self.outlet.closeGently()
        self.transport.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """
        To close waits until what was written is sent, held or not, and for no
        producer.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.outlet.write([b"x" * 70000])
        self.outlet.hold()
        self.outlet.write([b"held"])
        self.outlet.close()
        self.assertEqual(producer.calls, ["pause", "stop"])
        self.assertIs(self.transport.producer, None)
        self.assertTrue(self.transport.connected)
        self.transport.drain()
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.transport.value(), b"x" * 70000 + b"held")

    def test_closeWithPullProducer(self) -> None:
        """
        A pull producer is stopped, too, and not asked any more.
        """
        producer = Pull(self.outlet, b"a", b"b")
        self.outlet.registerProducer(producer, False)
        self.outlet.close()
        self.assertTrue(producer.stopped)
        self.transport.drain()
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.transport.value(), b"a")

    def test_closeGently(self) -> None:
        """
        To close gently closes the way out when all is sent, and the connection
        two seconds later.
        """
        self.outlet.write([b"last"])
        self.outlet.closeGently()
        self.assertFalse(self.transport.writeDisconnected)
        self.transport.drain()
        self.assertTrue(self.transport.writeDisconnected)
        self.assertTrue(self.transport.reading)
        self.clock.advance(LINGER - 0.1)
        self.assertTrue(self.transport.connected)
        self.clock.advance(0.1)
        self.assertFalse(self.transport.connected)
        self.assertEqual(LINGER, 2.0)

    def test_closeGentlySlowly(self) -> None:
        """
        If something is unsent by then, it is waited for.
        """
        self.outlet.write([b"last"])
        self.outlet.closeGently()
        self.clock.advance(10)
        self.assertTrue(self.transport.connected)
        self.transport.drain()
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.transport.value(), b"last")

    def test_closeGentlyOneWay(self) -> None:
        """
        A transport that can't be closed in one direction is closed, even if it
        passes on to another what it does not know itself, as TLS does.
        """
        self.connectOneWay()
        beneath: Any = self.transport
        beneath.loseWriteConnection = ServerTransport().loseWriteConnection
        self.outlet.write([b"last"])
        self.outlet.closeGently()
        self.transport.drain()
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.transport.value(), b"last")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abort(self) -> None:
        """
        To abort drops what is held, and waits for nothing.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.outlet.hold()
        self.outlet.write([b"held"])
        self.outlet.abort()
        self.assertEqual(producer.calls, ["stop"])
        self.outlet.release()
        self.transport.settle()
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.transport.writes, [])
        self.assertEqual(producer.calls, ["stop"])

    def test_abortAfterClosing(self) -> None:
        """
        A connection that waits to be closed can be aborted.
        """
        for name in ("close", "closeGently"):
            self.setUp()
            self.outlet.write([b"unsent"])
            getattr(self.outlet, name)()
            self.outlet.abort()
            self.transport.settle()
            self.assertFalse(self.transport.connected)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abortDetachesOnce(self) -> None:
        """
        A connection that is being closed, and has nothing to do any more with
        the transport, can be aborted: there are transports that can't be left
        twice.
        """
        self.transport.unregisterProducer = StringTransport.unregisterProducer.__get__(
            self.transport
        )
        self.transport.stalled = True
        self.outlet.write([b"unsent"])
        self.outlet.close()
        self.outlet.abort()
        self.assertIsNone(self.transport.producer)
        self.assertTrue(self.transport.aborting)


class SocketOutletTests(TableTestCase):
    """
    A L{SocketOutlet} writes to the socket itself whenever it can.
    """

    def setUp(self) -> None:
        self.reactor = SocketReactor()
        self.connectTo()

    def connectTo(self, **options: Any) -> None:
        """
        Make a connection.
        """
        self.server = OutletServer(self.reactor, outletFor)
        self.peer = SocketPeer(self.reactor, self.server, **options)
        self.addCleanup(self.peer.close)
        self.outlet = self.server.outlet

    def fill(self) -> bytes:
        """
        Write more than the socket takes.

        @return: What was written.
        """
        written = b"0123456789" * 30000
        self.outlet.write([written[:100000], written[100000:200000]])
        self.outlet.write([written[200000:]])
        return written

    def test_choice(self) -> None:
        """
        TCP and Unix sockets are written to in this way, TLS is not.
        """
        self.assertIs(type(self.outlet), SocketOutlet)
        self.connectTo(overTCP=True)
        self.assertIs(type(self.outlet), SocketOutlet)
        transport = self.peer.transport
        registered: list[Any] = []
        # As if TLS had been started on it.
        transport.TLS = True
        transport.registerProducer = lambda *args: registered.append(args)
        outlet = outletFor(transport, self.reactor, lambda: None)
        self.assertIs(type(outlet), Outlet)
        self.assertEqual(registered, [(outlet, True)])
        del transport.TLS, transport.registerProducer

    def writeAtOnce(self, *pieces: bytes) -> None:
        """
        Write what nothing more is about to follow.
        """
        self.outlet.hold()
        self.outlet.write(pieces)
        self.outlet.release()

    def test_atOnce(self) -> None:
        """
        What was held back, and is taken by the socket, is sent without waiting
        for the reactor.
        """
        for overTCP in (False, True):
            self.connectTo(overTCP=overTCP)
            self.outlet.hold()
            self.outlet.write([b"a", b"b"])
            self.outlet.write([b"c"])
            self.outlet.release()
            self.assertEqual(self.peer.received + self.peer.read(), b"abc")
            self.assertEqual(self.reactor.getWriters(), [])
            self.assertFalse(self.outlet.full)

    def test_fullAgain(self) -> None:
        """
        Nothing is lost if the socket takes nothing at the moment at which the
        transport has sent what it had.
        """
        written = self.fill()
        self.outlet.resumeProducing()
        self.assertEqual(self.peer.readAll(), written)

    def test_later(self) -> None:
        """
        So does what is written at any other time.
        """
        for piece in (b"a", b"b", b"c"):
            self.outlet.write([piece])
            self.assertEqual(self.peer.read(), piece)
        self.assertEqual(self.reactor.getWriters(), [])

    def test_closeAtOnce(self) -> None:
        """
        Closed at once, the connection ends right behind what was held back.
        """
        for overTCP in (False, True):
            self.connectTo(overTCP=overTCP)
            self.outlet.hold()
            self.outlet.write([b"the end"])
            shut: list[bytes] = []
            handle = self.peer.transport.getHandle()
            self.patch(
                self.outlet, "close", lambda shut=shut: shut.append(self.peer.readAll())
            )
            self.outlet.closeAtOnce()
            self.assertEqual(shut, [b"the end"])
            self.assertRaises(OSError, handle.send, b"more")
            del self.outlet.close
            self.outlet.close()

    def test_closeAtOnceLater(self) -> None:
        """
        What the socket does not take is sent before that.
        """
        written = self.fill()
        self.outlet.closeAtOnce()
        self.assertEqual(self.peer.readAll(), written)
        self.connectTo()
        self.outlet.hold()
        self.outlet.write([written])
        self.outlet.closeAtOnce()
        self.assertEqual(self.peer.readAll(), written)

    def test_closeAtOnceGone(self) -> None:
        """
        It does not matter if the peer has gone.
        """
        self.peer.transport.getHandle().shutdown(socket.SHUT_RDWR)
        self.outlet.closeAtOnce()
        self.assertEqual(self.peer.readAll(), b"")

    def test_hasInput(self) -> None:
        """
        It tells whether something waits to be read; the end does not count, nor
        does a connection that is broken.
        """
        self.assertFalse(self.outlet.hasInput)
        self.peer._socket.send(b"x")
        self.assertTrue(self.outlet.hasInput)
        self.reactor.turn()
        self.peer._socket.shutdown(socket.SHUT_WR)
        self.assertFalse(self.outlet.hasInput)
        with socket.socket() as unconnected:
            self.patch(self.outlet, "_socket", unconnected)
            self.assertFalse(self.outlet.hasInput)

    def test_nothing(self) -> None:
        """
        Nothing is nothing, held back or not.
        """
        self.outlet.write([])
        self.outlet.write([b""])
        self.writeAtOnce()
        self.assertEqual(self.reactor.getWriters(), [])

    @table({"tiny": (100,), "small": (8192,), "usual": (65536,)})
    def test_turns(self, size: int) -> None:
        """
        However fast the web server reads, a push producer is paused after some
        1 MiB, and everybody else has a turn.
        """
        handle = self.peer.transport.getHandle()
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        for turn in range(1, 4):
            written = 0
            while producer.calls.count("pause") < turn:
                self.outlet.write([b"x" * size])
                self.peer.read()
                written += size
            self.assertGreater(written, 1 << 20)
            self.assertLess(written, (1 << 20) + 100000 + 2 * size)
            self.peer.readAll()
            self.peer.received = b""
            self.assertEqual(producer.calls, ["pause", "resume"] * turn)

    @table({"tiny": (100,), "small": (8192,), "usual": (65536,)})
    def test_bounded(self, size: int) -> None:
        """
        While the web server reads nothing, a push producer can write no more
        than the socket takes and 128 KiB.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        written = 0
        while not producer.calls:
            self.outlet.write([b"x" * size])
            written += size
        received = len(self.peer.read())
        self.assertLess(written - received, (128 << 10) + 1)

    def test_manyPieces(self) -> None:
        """
        More pieces than one system call takes are sent as well.
        """
        pieces = [b"%d " % number for number in range(3000)]
        self.writeAtOnce(*pieces)
        self.assertEqual(self.peer.readAll(), b"".join(pieces))

    def test_order(self) -> None:
        """
        What the socket does not take is sent by the reactor, and everything
        after it as well, in the order in which it was written.
        """
        large = b"0123456789" * 30000
        self.writeAtOnce(large)
        self.writeAtOnce(b"held")
        self.outlet.write([b"last"])
        self.assertEqual(self.peer.readAll(), large + b"heldlast")
        self.writeAtOnce(b"at once")
        self.assertEqual(self.peer.read(), b"at once")

    def test_anyPieceIsCut(self) -> None:
        """
        It may stop in the midst of any piece, or between two.
        """
        for size in (1, 1000, 4096, 99999):
            self.connectTo()
            written = b"".join(b"%07d " % number for number in range(50000))
            pieces = [
                written[start : start + size] for start in range(0, len(written), size)
            ]
            for start in range(0, len(pieces), 1500):
                self.writeAtOnce(*pieces[start : start + 1500])
                self.peer.read(100000)
            self.assertEqual(self.peer.readAll(), written)

    def test_full(self) -> None:
        """
        It is full when more than 64 KiB wait, and says so when all is sent.
        """
        self.fill()
        self.assertTrue(self.outlet.full)
        self.peer.readAll()
        self.assertFalse(self.outlet.full)
        self.assertEqual(self.server.drained, 1)
        self.outlet.write([b"more"])
        self.peer.readAll()
        self.assertEqual(self.server.drained, 1)

    def test_notFull(self) -> None:
        """
        A little that has to wait does not make it full.
        """
        while not self.reactor.getWriters():
            self.writeAtOnce(b"x" * 100)
        self.assertFalse(self.outlet.full)
        self.peer.readAll()
        for _ in range(4):
            # That is more than fits, yet less than makes it full.
            self.writeAtOnce(b"x" * 60000)
            self.assertNotEqual(self.reactor.getWriters(), [])
            self.assertFalse(self.outlet.full)
            self.peer.readAll()
        self.assertEqual(self.server.drained, 0)
        self.assertIs(self.peer.transport.producer, None)

    def test_pushProducer(self) -> None:
        """
        A push producer is paused when it is full, and resumed when all is
        sent.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.fill()
        self.assertEqual(producer.calls, ["pause"])
        self.peer.readAll()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.outlet.unregisterProducer()
        self.fill()
        self.peer.readAll()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked each time that all is sent, however large its
        pieces are, and nobody is asked after it.
        """
        pieces = [b"a" * 10, b"b" * 300000, b"c" * 65536, b"d"]
        producer = Pull(self.outlet, *pieces)
        self.outlet.registerProducer(producer, False)
        self.assertEqual(producer.asked, 1)
        self.assertEqual(self.peer.readAll(), b"".join(pieces))
        self.assertEqual(producer.asked, 5)
        self.assertFalse(self.outlet.full)
        self.assertIs(self.peer.transport.producer, None)
        self.writeAtOnce(b"at once")
        self.assertEqual(self.peer.read(), b"at once")

    def test_pullProducerIsNotAhead(self) -> None:
        """
        A pull producer is not asked for the next piece before the last one is
        sent, whoever reads how fast.
        """
        producer = Pull(self.outlet, *[b"x" * 300000] * 3)
        self.outlet.registerProducer(producer, False)
        self.peer.turn()
        self.assertEqual(producer.asked, 1)
        self.peer.readAll()
        self.assertEqual(producer.asked, 4)

    def test_pullProducerWhenFull(self) -> None:
        """
        A pull producer that comes when something waits is asked when that is
        sent.
        """
        written = self.fill()
        producer = Pull(self.outlet, b"a", b"b")
        self.outlet.registerProducer(producer, False)
        self.assertEqual(self.peer.readAll(), written + b"ab")
        self.assertEqual(producer.asked, 3)

    def test_pullProducerLeavesWhenFull(self) -> None:
        """
        A pull producer that leaves while something waits to be sent leaves
        everything as it should be.
        """
        producer = Pull(self.outlet, b"x" * 300000)
        self.outlet.registerProducer(producer, False)
        self.outlet.unregisterProducer()
        self.outlet.write([b"y"])
        self.assertEqual(self.peer.readAll(), b"x" * 300000 + b"y")
        self.assertEqual(producer.asked, 1)
        self.assertIs(self.peer.transport.producer, None)

    def test_pullProducerIdle(self) -> None:
        """
        A pull producer that writes nothing is asked again.
        """
        producer = Pull(self.outlet, b"", b"", b"a", b"", b"b", b"")
        self.outlet.registerProducer(producer, False)
        self.assertEqual(self.peer.readAll(), b"ab")
        self.assertEqual(producer.asked, 7)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_close(self) -> None:
        """
        To close waits until all is sent.
        """
        for full in (False, True):
            self.connectTo()
            written = self.fill() if full else b""
            self.outlet.hold()
            self.outlet.write([b"last"])
            self.outlet.close()
            self.assertEqual(self.peer.readAll(), written + b"last")
            self.assertTrue(self.peer.closed)
            self.assertFalse(self.peer.transport.connected)

    def test_closeGently(self) -> None:
        """
        To close gently closes the way out when all is sent, and the connection
        two seconds later.
        """
        for full in (False, True):
            self.connectTo()
            written = self.fill() if full else b""
            self.outlet.closeGently()
            self.assertEqual(self.peer.readAll(), written)
            self.assertTrue(self.peer.closed)
            self.assertTrue(self.peer.transport.connected)
            self.reactor.advance(2)
            self.assertFalse(self.peer.transport.connected)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_abort(self) -> None:
        """
        To abort waits for nothing.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.fill()
        self.outlet.abort()
        self.peer.turn()
        self.assertFalse(self.peer.transport.connected)
        self.assertEqual(producer.calls, ["pause", "stop"])

    def test_largePieceIsFull(self) -> None:
        """
        While a large piece of a pull producer waits, it is full.
        """
        self.outlet.registerProducer(Pull(self.outlet, b"x" * 300000), False)
        self.assertTrue(self.outlet.full)
        self.peer.readAll()
        self.assertFalse(self.outlet.full)

    def test_connectionLost(self) -> None:
        """
        The end of the connection stops a producer, though the transport does
        not know of it.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.assertIs(self.peer.transport.producer, None)
        self.peer.close()
        self.assertEqual(producer.calls, ["stop"])

    def test_peerIsGone(self) -> None:
        """
        Writing to a web server that is gone is no error; the transport finds
        out.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.peer._socket.close()
        self.outlet.write([b"x"])
        self.fill()
        for _ in range(5):
            self.reactor.turn()
        self.assertFalse(self.peer.transport.connected)
        self.assertEqual(producer.calls[-1], "stop")
        self.assertEqual(producer.calls.count("stop"), 1)
        self.assertEqual(self.reactor.getReaders() + self.reactor.getWriters(), [])
        self.outlet.write([b"late"])


class EndOfReadingTests(SynchronousTestCase):
    """
    A connection that is closed while it is being read from, and has sent
    everything, ends in the same turn of the reactor.
    """

    def setUp(self) -> None:
        self.reactor = SocketReactor()
        self.server = OutletServer(self.reactor, outletFor)
        theirs, self.client = socket.socketpair()
        theirs.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.addCleanup(self.client.close)
        self.transport = UnixTransport(
            theirs, self.server, UNIXAddress(None), 1, self.reactor
        )
        self.server.makeConnection(self.transport)
        self.outlet = self.server.outlet

    def whileReading(self, act: Callable[[], object]) -> None:
        """
        Have the server do something when it is given bytes, and give it some.
        """
        self.server.dataReceived = lambda data: act()  # type: ignore[method-assign]
        self.client.sendall(b"?")
        self.reactor.turn()

    def answer(self, *pieces: bytes) -> None:
        """
        Send pieces, and close.
        """
        self.outlet.hold()
        self.outlet.write(pieces)
        self.outlet.close()
        self.outlet.release()

    def rest(self) -> bytes:
        """
        Read to the end.
        """
        self.client.settimeout(0.01)
        received = b""
        while True:
            self.reactor.turn()
            try:
                data = self.client.recv(1 << 20)
            except TimeoutError:
                continue
            if not data:
                return received
            received += data

    def test_sameTurn(self) -> None:
        """
        Then the answer and the end are there after one turn.
        """
        self.whileReading(lambda: self.answer(b"an", b"swer"))
        self.client.setblocking(False)
        self.assertEqual([self.client.recv(9), self.client.recv(9)], [b"answer", b""])
        self.assertEqual(self.reactor.getWriters(), [])
        self.assertFalse(self.transport.connected)

    def test_nothingToSend(self) -> None:
        """
        The same if there is nothing to be sent.
        """
        self.whileReading(self.outlet.close)
        self.client.setblocking(False)
        self.assertEqual(self.client.recv(9), b"")

    def test_more(self) -> None:
        """
        What the socket does not take at once is sent before the end.
        """
        answer = bytes(range(256)) * 2000
        self.whileReading(lambda: self.answer(answer[:5], answer[5:]))
        self.assertTrue(self.transport.connected)
        self.assertEqual(self.rest(), answer)

    def test_unsent(self) -> None:
        """
        So is what was written before.
        """
        before = bytes(range(256)) * 2000
        self.outlet.write([before])
        self.whileReading(lambda: self.answer(b"answer"))
        self.assertEqual(self.rest(), before + b"answer")

    def test_producer(self) -> None:
        """
        A producer is stopped.
        """
        producer = PushProducer()
        self.outlet.registerProducer(producer, True)
        self.whileReading(lambda: self.answer(b"answer"))
        self.assertEqual(producer.calls, ["stop"])
        self.assertEqual(self.rest(), b"answer")

    def test_anyOtherTime(self) -> None:
        """
        At any other time it is closed as soon as the socket is writable.
        """
        self.answer(b"answer")
        self.assertTrue(self.transport.connected)
        self.assertEqual(self.rest(), b"answer")
