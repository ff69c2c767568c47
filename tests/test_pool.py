# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.pool}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)

from tests.agents import PLAIN, AgentTestCase
from twisted_fastcgi import AgentClosed, FastCGIAgent


class PoolTests(AgentTestCase):
    """
    Which request gets which connection.
    """

    def test_reuse(self) -> None:
        """
        A connection is used again.
        """
        agent = self.application.agent()
        for requestId in (1, 2, 3):
            result = self.get(agent)
            self.assertEqual({each.requestId for each in self.peer.take()}, {requestId})
            self.peer.answer()
            self.successResultOf(result)

    def test_notKept(self) -> None:
        """
        Without C{keepConnection} each request has a connection of its own,
        which is closed when the request has ended.
        """
        agent = self.application.agent(keepConnection=False)
        for count in (1, 2):
            self.get(agent)
            self.application.peers[-1].answer()
            self.assertFalse(self.application.peers[-1].open)
            self.assertEqual(len(self.application.peers), count)

    def test_order(self) -> None:
        """
        There are no more connections than are allowed; requests wait for them
        in order.
        """
        agent = self.application.agent(maxConnections=2)
        results = [
            self.send(agent, b"GET", b"http://h/%d" % number) for number in range(6)
        ]
        self.assertEqual(len(self.application.peers), 2)
        seen = []
        for turn in range(6):
            peer = self.application.peers[turn % 2]
            seen.append(peer.params()[b"PATH_INFO"])
            peer.answer()
            self.successResultOf(results[turn])
        self.assertEqual(seen, [b"/%d" % number for number in range(6)])

    def test_lastUsed(self) -> None:
        """
        Of several connections the one that was last used is used again, so
        that those which are too many grow old.
        """
        agent = self.application.agent(idleTimeout=10)
        for _ in range(2):
            self.get(agent)
        for peer in self.application.peers:
            peer.answer()
        for _ in range(3):
            self.clock.advance(4)
            self.get(agent)
            self.application.peers[1].answer()
        self.assertEqual([peer.open for peer in self.application.peers], [False, True])

    def test_connecting(self) -> None:
        """
        Connections that are being made count.
        """
        self.application.slow = True
        agent = self.application.agent(maxConnections=1)
        self.get(agent)
        self.get(agent)
        self.assertEqual(len(self.application.attempts), 1)
        self.application.connected()
        self.peer.answer()
        self.assertEqual(self.peer.take()[0].requestId, 2)
        self.peer.answer()

    def test_refused(self) -> None:
        """
        If no connection can be made the request fails, and the next one has a
        try of its own.
        """
        self.application.slow = True
        agent = self.application.agent(maxConnections=1)
        first, second = self.get(agent), self.get(agent)
        attempt, _ = self.application.attempts.pop()
        attempt.errback(ConnectionRefusedError())
        self.failureResultOf(first, ConnectionRefusedError)
        self.application.connected()
        self.peer.answer()
        self.successResultOf(second)
        self.application.error = ConnectionRefusedError()
        self.failureResultOf(self.get(), ConnectionRefusedError)

    def test_manyRefused(self) -> None:
        """
        However many wait, they all fail if no connection can be made.
        """
        self.application.slow = True
        agent = self.application.agent(maxConnections=1)
        results = [self.get(agent) for _ in range(1000)]
        self.application.error = ConnectionRefusedError()
        attempt, _ = self.application.attempts.pop()
        attempt.errback(ConnectionRefusedError())
        for result in results:
            self.failureResultOf(result, ConnectionRefusedError)

    def test_lostAtOnce(self) -> None:
        """
        A connection may end before anybody could use it.
        """
        self.application.slow = True
        agent = self.application.agent(maxConnections=1)
        first, second = self.get(agent), self.get(agent)
        attempt, factory = self.application.attempts.pop()
        protocol = self.application.accept(factory)
        self.peer.lose()
        attempt.callback(protocol)
        self.assertIsInstance(self.cause(first), ConnectionLost)
        self.application.connected()
        self.application.peers[1].answer()
        self.successResultOf(second)

    def test_lost(self) -> None:
        """
        A connection that ends makes room for another.
        """
        agent = self.application.agent(maxConnections=1)
        first, second = self.get(agent), self.get(agent)
        self.peer.lose()
        self.cause(first)
        self.application.peers[1].answer()
        self.successResultOf(second)

    def test_closeCached(self) -> None:
        """
        Connections that are not in use can be closed; others stay.
        """
        agent = self.application.agent()
        self.get(agent)
        self.get(agent)
        self.application.peers[0].answer()
        done = agent.closeCachedConnections()
        self.assertNoResult(done)
        self.assertEqual([peer.open for peer in self.application.peers], [False, True])
        self.clock.advance(0)
        self.assertIs(self.successResultOf(done), None)
        self.get(agent)
        self.assertEqual(len(self.application.peers), 3)
        self.successResultOf(self.application.agent().closeCachedConnections())

    def test_close(self) -> None:
        """
        To close the agent makes all requests fail and closes all connections.
        """
        agent = self.application.agent(maxConnections=3)
        first, second, third = (self.get(agent) for _ in range(3))
        self.application.peers[0].answer()
        self.successResultOf(first)
        self.application.peers[1].stdout(PLAIN)
        reader = self.read(self.successResultOf(second))
        self.application.slow = True
        self.get(agent)
        waiting = self.get(agent)
        self.assertEqual(len(self.application.attempts), 0)
        done = agent.close()
        self.assertNoResult(done)
        self.assertIsInstance(self.cause(third), AgentClosed)
        self.assertIsInstance(reader.cause(), AgentClosed)
        self.failureResultOf(waiting, AgentClosed)
        self.clock.advance(0)
        self.assertIs(self.successResultOf(done), None)
        self.successResultOf(agent.close())
        self.failureResultOf(self.get(agent), AgentClosed)

    def test_closeIdle(self) -> None:
        """
        Connections that are not in use are closed, too.
        """
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        done = agent.close()
        self.clock.advance(0)
        self.successResultOf(done)
        self.assertFalse(self.peer.transport.aborted)

    def test_closeAndCancel(self) -> None:
        """
        Whoever learns that the agent is closed may cancel other requests.
        """
        self.application.slow = True
        agent = self.application.agent(maxConnections=2)
        results = [self.get(agent) for _ in range(4)]
        results[2].addErrback(lambda failure: [each.cancel() for each in results])
        self.successResultOf(agent.close())
        self.assertEqual(self.successResultOf(results[2]), [None] * 4)
        for result in (results[0], results[1], results[3]):
            self.failureResultOf(result, AgentClosed, CancelledError)

    def test_closeWhileConnecting(self) -> None:
        """
        No connection is made any more.
        """
        self.application.slow = True
        agent = self.application.agent()
        result = self.get(agent)
        self.successResultOf(agent.close())
        self.failureResultOf(result, AgentClosed)
        self.assertEqual(self.application.cancelled, 1)


class RetryTests(AgentTestCase):
    """
    Requests on a connection that had ended before.
    """

    def idle(self, **options: Any) -> FastCGIAgent:
        """
        Make an agent that has a connection.
        """
        agent = self.application.agent(**options)
        self.get(agent)
        self.application.peers[-1].answer()
        return agent

    def test_again(self) -> None:
        """
        What may be sent twice is sent again, on a new connection, before all
        that waits.
        """
        for method in (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"):
            with self.subTest(method=method):
                agent = self.idle(maxConnections=1)
                result, waiting = self.get(agent, method), self.get(agent)
                self.application.peers[-1].lose()
                self.assertNoResult(result)
                second = self.application.peers[-1]
                self.assertEqual(second.params()[b"REQUEST_METHOD"], method)
                second.answer()
                self.successResultOf(result)
                second.answer()
                self.successResultOf(waiting)

    def test_newConnection(self) -> None:
        """
        It is not sent on another connection that had been kept: that may have
        ended as well.
        """
        agent = self.application.agent()
        self.get(agent)
        self.get(agent)
        for peer in self.application.peers:
            peer.answer()
        result = self.get(agent)
        self.application.peers[1].lose()
        self.application.peers[2].answer()
        self.successResultOf(result)

    def test_once(self) -> None:
        """
        It is sent again only once.
        """
        agent = self.idle()
        result = self.get(agent)
        self.peer.lose()
        self.application.peers[1].lose()
        self.assertIsInstance(self.cause(result), ConnectionDone)
        self.assertEqual(len(self.application.peers), 2)

    def test_fresh(self) -> None:
        """
        On a new connection the application had its chance.
        """
        result = self.get()
        self.peer.lose()
        self.cause(result)
        self.assertEqual(len(self.application.peers), 1)

    def test_answered(self) -> None:
        """
        So had it if a single byte has come.
        """
        agent = self.idle()
        result = self.get(agent)
        self.peer.send(b"\1")
        self.peer.lose()
        self.cause(result)
        self.assertEqual(len(self.application.peers), 1)

    def test_notIdempotent(self) -> None:
        """
        What must not be done twice is not sent twice.
        """
        agent = self.idle()
        result = self.get(agent, b"POST")
        self.peer.lose()
        self.cause(result)
        self.assertEqual(len(self.application.peers), 1)

    def test_cancel(self) -> None:
        """
        A request that is to be sent again can be cancelled.
        """
        agent = self.idle()
        self.application.slow = True
        result = self.get(agent)
        self.peer.lose()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.application.cancelled, 1)

    def test_idleLost(self) -> None:
        """
        A connection that ends while it is not used is forgotten.
        """
        agent = self.idle()
        self.peer.lose()
        self.assertEqual(agent._pool._idle, [])
        result = self.get(agent, b"POST")
        self.application.peers[1].answer()
        self.successResultOf(result)
