# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.handover}: connections that go from one server to
another.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred

from tests import wire
from tests.sockets import lowestFree
from tests.tables import table
from tests.transports import (
    Application,
    ServerTestCase,
    SocketPeer,
    SocketReactor,
    later,
)
from twisted_fastcgi.handover import BATCH
from twisted_fastcgi.ports import UnixTransport
from twisted_fastcgi.server import FastCGIFactory

GET = wire.request(wire.variables())
POST = wire.request(wire.postVariables(b"hello"), b"hello")


def _descriptors() -> int:
    """
    Tell how many descriptors are open.
    """
    return len(os.listdir("/dev/fd"))


class Successor:
    """
    Another server, which takes connections when the test says so.

    @ivar sizes: How many it was offered at a time.
    """

    def __init__(self, reactor: Any, answer: Any = b"new") -> None:
        self.application = Application(answer)
        self.factory = FastCGIFactory(self.application, reactor=reactor)
        self.sizes: list[int] = []
        self.protocols: list[Any] = []
        self._reactor = reactor
        self._offered: list[tuple[Sequence[int], Deferred[list[bool]]]] = []

    def offer(self, fds: Sequence[int]) -> Deferred[list[bool]]:
        """
        Note the offer.
        """
        self.sizes.append(len(fds))
        self._offered.append((fds, Deferred()))
        return self._offered[-1][1]

    @property
    def isOffered(self) -> bool:
        """
        Whether there is an offer.
        """
        return bool(self._offered)

    def take(self, *which: bool) -> None:
        """
        Answer the offer: with so many values, or with L{True} for all.
        """
        fds, done = self._offered.pop()
        taken = list(which) or [True] * len(fds)
        for fd, isTaken in zip(fds, taken, strict=True):
            if isTaken:
                self._serve(socket.socket(fileno=os.dup(fd)))
        done.callback(taken)

    def _serve(self, connection: socket.socket) -> None:
        protocol: Any = self.factory.buildProtocol(None)
        self.protocols.append(protocol)
        transport: Any
        if connection.family == socket.AF_UNIX:
            where = UNIXAddress(None)
            transport = UnixTransport(connection, protocol, where, 1, self._reactor)
        else:
            peer = connection.getpeername()
            transport = tcp.Server(connection, protocol, peer, None, 0, self._reactor)
        protocol.makeConnection(transport)


class HandOverTests(ServerTestCase):
    """
    A server that is about to end hands its connections over.
    """

    def begin(self, application: Any = b"old") -> None:
        """
        Make both servers.
        """
        self.reactor = SocketReactor()
        self.clock = self.reactor
        self.application = self.serve(application)
        self.successor = Successor(self.reactor)
        self.peers: list[SocketPeer] = []
        self.addCleanup(self.finish)

    def finish(self) -> None:
        """
        Close all connections, and see that nothing is left.
        """
        for peer in self.peers:
            peer.close()
        self.assertEqual(self.reactor.getReaders() + self.reactor.getWriters(), [])
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def peer(self, *sent: bytes, overTCP: bool = False) -> SocketPeer:
        """
        Connect to the first server, and send something.
        """
        protocol: Any = self.factory.buildProtocol(None)
        peer = SocketPeer(self.reactor, protocol, overTCP=overTCP)
        self.peers.append(peer)
        for data in sent:
            peer.send(data)
        peer.readAll()
        return peer

    def drain(self, grace: float = 30) -> list[None]:
        """
        Begin to hand over.
        """
        done: list[None] = []
        drained = self.factory.drain(grace, False, self.successor.offer)
        drained.addCallback(done.append)
        self.reactor.advance(0)
        return done

    def bodies(self, peer: SocketPeer) -> list[bytes]:
        """
        Tell what a peer was answered.
        """
        return [each.body for each in wire.responses(peer.readAll())]

    @table({"TCP": (True,), "Unix": (False,)})
    def test_idle(self, overTCP: bool) -> None:
        """
        A connection without a request is handed over as it is; a request that comes
        meanwhile waits for the successor, whatever its method.
        """
        self.begin()
        used, fresh = self.peer(GET, overTCP=overTCP), self.peer(overTCP=overTCP)
        done = self.drain()
        self.assertEqual(self.successor.sizes, [2])
        used.send(POST)
        self.assertEqual(len(self.application.requests), 1)
        self.assertEqual(done, [])
        self.successor.take()
        self.reactor.turn()
        self.assertEqual(done, [None])
        fresh.send(GET)
        self.assertEqual(self.bodies(used), [b"old", b"new"])
        self.assertEqual(self.bodies(fresh), [b"new"])
        self.assertFalse(used.closed or fresh.closed)
        self.assertEqual(self.successor.application.seen[0][3], b"hello")
        self.assertEqual(self.logged(), [])

    @table({"TCP": (True,), "Unix": (False,)})
    def test_busy(self, overTCP: bool) -> None:
        """
        One with a request is handed over after the answer.
        """
        self.begin(later)
        peer = self.peer(POST, overTCP=overTCP)
        done = self.drain()
        self.reactor.advance(5)
        self.assertEqual(self.successor.sizes, [])
        self.application.request.write(b"old")
        self.application.request.finish()
        self.reactor.advance(0)
        self.successor.take()
        self.reactor.turn()
        self.assertEqual(done, [None])
        peer.send(GET)
        self.assertEqual(self.bodies(peer), [b"old", b"new"])

    @table({str(cut): (cut,) for cut in (1, 8, 20, len(GET) - 1)})
    def test_begun(self, cut: int) -> None:
        """
        One with a part of a request reads the rest, and answers it.
        """
        self.begin()
        peer = self.peer(GET[:cut])
        self.drain()
        self.reactor.advance(0.3)
        self.assertEqual(self.successor.sizes, [])
        peer.send(GET[cut:])
        self.reactor.turn()
        self.successor.take()
        peer.send(GET)
        self.assertEqual(self.bodies(peer), [b"old", b"new"])

    def test_refused(self) -> None:
        """
        If nobody takes them, each connection serves one more request and is closed
        then; one that is not used, after a second.
        """
        self.begin(later)
        busy, used, unused = self.peer(GET), self.peer(), self.peer()
        done = self.drain()
        self.successor.take(False, False)
        used.send(GET)
        for request in self.application.requests:
            request.finish()
        self.reactor.turn()
        for peer in (busy, used):
            self.assertEqual(len(wire.responses(peer.readAll())), 1)
            self.assertTrue(peer.closed)
        self.reactor.advance(0.9)
        self.assertFalse(unused.closed)
        self.reactor.advance(0.1)
        unused.readAll()
        self.assertTrue(unused.closed)
        self.assertEqual(done, [None])
        self.assertEqual(self.successor.sizes, [2])

    def test_meanwhile(self) -> None:
        """
        One that gets idle while others are on their way has its turn after them.
        """
        self.begin(later)
        busy, _ = self.peer(GET), self.peer()
        self.drain()
        self.application.request.finish()
        self.reactor.advance(0)
        self.assertEqual(self.successor.sizes, [1])
        self.successor.take()
        self.assertEqual(self.successor.sizes, [1, 1])
        self.successor.take()
        busy.send(GET)
        self.assertEqual(self.bodies(busy), [b"", b"new"])

    def test_refusedMeanwhile(self) -> None:
        """
        One that was to be tried again is not, if nobody takes any more.
        """
        self.begin(lambda request: b"x" * 30000)
        unread, other = self.peer(), self.peer()
        unread.shrink()
        unread.send(GET)
        self.drain()
        self.successor.take(False)
        self.reactor.advance(0.25)
        self.reactor.advance(1)
        for peer in (unread, other):
            peer.readAll()
            self.assertTrue(peer.closed)
        self.assertEqual(self.successor.sizes, [1])

    def test_someRefused(self) -> None:
        """
        What the successor has no room for goes on; the others are still handed
        over.
        """
        self.begin(later)
        busy = self.peer(GET)
        peers = [self.peer(), self.peer()]
        self.drain()
        self.successor.take(True, False)
        self.application.request.finish()
        self.reactor.advance(0)
        self.successor.take()
        self.reactor.advance(1)
        closed = []
        for peer in [busy, *peers]:
            peer.readAll()
            closed.append(peer.closed)
        self.assertEqual(sorted(closed), [False, False, True])
        self.assertEqual(self.successor.sizes, [2, 1])

    def test_many(self) -> None:
        """
        Many are handed over one batch after another; those that wait serve what
        comes.
        """
        self.begin()
        peers = [self.peer() for _ in range(2 * BATCH + 6)]
        before = _descriptors()
        done = self.drain()
        while self.successor.isOffered:
            if len(self.successor.sizes) == 1:
                for peer in peers:
                    peer.send(GET)
                self.assertEqual(len(self.application.requests), BATCH + 6)
            self.successor.take()
            self.reactor.turn()
            self.reactor.turn()
        self.assertEqual(self.successor.sizes, [BATCH, BATCH, 6])
        self.assertEqual(done, [None])
        self.assertEqual({len(self.bodies(peer)) for peer in peers}, {1})
        self.assertEqual(_descriptors(), before)

    def test_unread(self) -> None:
        """
        One with something unsent is handed over when all is sent.
        """
        self.begin(b"x" * 30000)
        peer = self.peer()
        peer.shrink()
        peer.send(GET)
        self.drain()
        self.assertEqual(self.successor.sizes, [])
        peer.readAll()
        self.reactor.advance(0.25)
        self.reactor.advance(0)
        self.successor.take()
        peer.send(GET)
        self.assertEqual([len(body) for body in self.bodies(peer)], [30000, 3])

    def test_neverRead(self) -> None:
        """
        If that takes long, or what is left of a request may yet come, it is closed,
        as if there was no successor.
        """
        self.begin(lambda request: b"x" * 30000)
        unread = self.peer()
        unread.shrink()
        unread.send(GET)
        early = self.peer(POST[:-16] + wire.record(wire.END_REQUEST, 1, b""))
        padded = self.peer(GET[:-8] + wire.record(wire.STDIN, 1, b"", padding=9)[:-1])
        self.drain()
        for _ in range(8):
            self.reactor.advance(0.25)
        self.assertEqual(self.successor.sizes, [])
        for peer in (unread, padded):
            peer.readAll()
            self.assertTrue(peer.closed)
        self.assertFalse(early.closed)

    def test_noSocket(self) -> None:
        """
        What is no socket can't be handed over: it ends as without a successor.
        """
        self.serve()
        transport = self.exchange(GET)
        self.successor = Successor(self.clock)
        done: list[None] = []
        drained = self.factory.drain(30, False, self.successor.offer)
        drained.addCallback(done.append)
        self.advance(0.1)
        self.advance(0.3)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertClosed(transport)
        self.assertEqual(done, [None])
        self.assertEqual(self.successor.sizes, [])

    @table({"for one more": (0,), "for a copy": (1,)})
    def test_noDescriptors(self, count: int) -> None:
        """
        Without room for descriptors the connections end as without a successor.
        """
        self.begin()
        peer = self.peer(GET)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowestFree() + count, hard))
        try:
            self.drain()
            self.reactor.advance(0.25)
            self.reactor.advance(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        peer.send(GET)
        self.assertEqual(self.bodies(peer), [b"old", b"old"])
        self.assertTrue(peer.closed)
        self.assertEqual(self.successor.sizes, [])

    @table({"taken": (True,), "refused": (False,)})
    def test_late(self, taken: bool) -> None:
        """
        What the successor says after the grace is too late, and does no harm.
        """
        self.begin()
        peer = self.peer(GET)
        done = self.drain(5)
        self.reactor.advance(5)
        self.reactor.turn()
        self.assertEqual(done, [None])
        before = _descriptors()
        self.successor.take(taken)
        self.reactor.turn()
        self.assertEqual(_descriptors(), before - (not taken))
        self.assertEqual(len(self.successor.protocols), taken)
        peer.readAll()
        self.assertEqual(peer.closed, not taken)

    def test_gone(self) -> None:
        """
        A connection that the web server has closed meanwhile is the successor's, who
        finds out.
        """
        self.begin()
        peer = self.peer(GET)
        self.drain()
        peer.close()
        self.successor.take()
        self.reactor.turn()
        self.reactor.turn()
        self.assertEqual(self.successor.factory.connectionCount, 0)

    def test_goneBefore(self) -> None:
        """
        One that is gone before its turn is not handed over.
        """
        self.begin()
        gone, other = self.peer(), self.peer()
        drained = self.factory.drain(30, False, self.successor.offer)
        gone.transport.protocol.abortConnection()
        self.reactor.turn()
        self.assertEqual(self.successor.sizes, [1])
        self.successor.take()
        self.reactor.turn()
        self.assertTrue(drained.called)
        other.send(GET)
        self.assertEqual(self.bodies(other), [b"new"])

    def test_figures(self) -> None:
        """
        A connection that is somebody else's is none that is open here.
        """
        self.begin()
        self.peer(GET)
        self.drain()
        self.successor.take()
        self.reactor.turn()
        found = self.factory.statistics()
        self.assertEqual((found.accepted, found.open), (1, 0))
        self.assertFalse(any(found.breaks.values()))

    @given(
        st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 300)))),
        st.integers(0, 30),
        st.integers(0, 10),
    )
    def test_always(self, requests: list[Any], start: int, wait: int) -> None:
        """
        However the bytes of requests and what is done for the hand-over follow one
        another, each request has one answer.
        """
        self.begin()
        peer = self.peer()
        steps = 0

        def step() -> None:
            nonlocal steps
            if steps == start:
                self.drain()
            if self.successor.isOffered and steps >= start + wait:
                self.successor.take()
            self.reactor.turn()
            steps += 1

        for isPost, cuts in requests:
            data = POST if isPost else GET
            for size in cuts:
                peer._socket.sendall(data[:size])
                data = data[size:]
                step()
            peer._socket.sendall(data)
            while len(wire.responses(peer.received, unfinished=True)) < 1:
                step()
                peer.read()
            (answer,) = wire.responses(peer.received)
            self.assertEqual(answer.status, 200)
            self.assertIn(answer.body, (b"old", b"new"))
            peer.received = b""
            self.assertFalse(peer.closed)
        for _ in range(start + wait + 4):
            step()
        total = len(self.application.seen) + len(self.successor.application.seen)
        self.assertEqual(total, len(requests))
        self.finish()
