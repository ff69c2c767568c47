# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.clientconnection}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import TimeoutError
from twisted.web.client import ResponseDone

from tests import wire
from tests.agents import PLAIN, AgentTestCase
from tests.peers import URI, Application, Producer, ending
from twisted_fastcgi import LimitExceeded, RemoteProtocolError


class HostileTests(AgentTestCase):
    """
    Answers that break the protocol: they fail with what was wrong, and the
    connection is closed at once.
    """

    def test_framing(self) -> None:
        """
        What is no FastCGI, has another id, comes from no application, or was
        not asked for.
        """
        for sent, said in [
            (b"HTTP/1.1 200 OK\r\n\r\n", "version 72"),
            (wire.stream(wire.STDOUT, 2, b"A: b\n\n"), "request 2"),
            (wire.record(wire.STDIN, 1, b"a"), "type 5"),
            (wire.record(99, 1), "type 99"),
            (wire.record(wire.GET_VALUES_RESULT, 0), "nobody asked for"),
            (wire.record(wire.END_REQUEST, 1, b"abc"), "END_REQUEST"),
        ]:
            with self.subTest(said=said):
                result = self.get()
                peer = self.application.peers[-1]
                peer.take()
                peer.send(sent)
                error = self.cause(result)
                self.assertIsInstance(error, RemoteProtocolError)
                self.assertIn(said, str(error))
                self.assertTrue(peer.transport.aborted)

    def test_framingInBody(self) -> None:
        """
        The same in the midst of a body.
        """
        reader = self.read(self.respond(PLAIN + b"abc"))
        self.peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(reader.body, b"abc")
        self.assertIsInstance(reader.cause(), RemoteProtocolError)

    def test_endlessHeader(self) -> None:
        """
        A header block that is too large is given up, in one piece and in many.
        """
        for header, sizes in [(b"A: b\n" * 100, [500]), (b"a" * 500, [1] * 500)]:
            result = self.get(self.application.agent(maxHeaderBytes=400))
            peer = self.application.peers[-1]
            for size in sizes:
                self.assertNoResult(result)
                peer.stdout(header[:size])
                if not peer.open:
                    break
            error = self.cause(result)
            self.assertIsInstance(error, LimitExceeded)
            self.assertIn("maxHeaderBytes", str(error))

    def test_largestHeader(self) -> None:
        """
        The limit is for the header block alone, and can be reached.
        """
        head = b"A: " + b"b" * 395 + b"\n\n"
        response = self.respond(head + b"c" * 1000, maxHeaderBytes=400)
        self.assertEqual(response.code, 200)
        result = self.get(self.application.agent(maxHeaderBytes=400))
        self.application.peers[-1].stdout(b"A" + head)
        self.assertIsInstance(self.cause(result), LimitExceeded)

    def test_badHeader(self) -> None:
        """
        A header block that makes no sense is given up.
        """
        result = self.get()
        self.peer.stdout(b"HTTP/1.1 200 OK\n\n")
        self.assertIn("HTTP/1.1 200 OK", str(self.cause(result)))
        self.assertTrue(self.peer.transport.aborted)

    def test_longBody(self) -> None:
        """
        More than I{Content-Length} is given up, after that much.
        """
        reader = self.read(self.respond(b"Content-Length: 3\n\nab"))
        self.peer.stdout(b"cd")
        self.assertEqual(reader.body, b"abc")
        error = reader.cause()
        self.assertIsInstance(error, RemoteProtocolError)
        self.assertIn("Content-Length, 3 bytes", str(error))
        self.assertFalse(self.peer.open)

    def test_afterTheEnd(self) -> None:
        """
        What comes after END_REQUEST in the same piece does no harm to the
        response, but the connection is not used again.
        """
        agent = self.application.agent()
        result = self.get(agent)
        self.peer.take()
        answer = wire.stream(wire.STDOUT, 1, PLAIN + b"abc") + ending()
        self.peer.send(answer + answer)
        reader = self.read(self.successResultOf(result))
        self.assertEqual(reader.body, b"abc")
        reader.reason.trap(ResponseDone)
        self.assertFalse(self.peer.open)

    def test_idle(self) -> None:
        """
        What comes while nothing was asked closes the connection.
        """
        self.get()
        self.peer.answer()
        self.peer.send(wire.stream(wire.STDOUT, 1, b"more"))
        self.assertTrue(self.peer.transport.aborted)

    def test_idleInParts(self) -> None:
        """
        A connection on which a part of something came is not used again.
        """
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        self.peer.send(b"\1")
        self.get(agent)
        first, second = self.application.peers
        self.assertTrue(first.transport.aborted)
        self.assertEqual(second.params()[b"PATH_INFO"], b"/page")

    def test_lateAnswer(self) -> None:
        """
        A second answer to one request is not taken for the answer to the next.
        """
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        result = self.get(agent)
        self.peer.send(wire.stream(wire.STDOUT, 1, PLAIN))
        self.assertIsInstance(self.cause(result), RemoteProtocolError)

    def test_afterClosing(self) -> None:
        """
        Nothing that comes in after the connection was given up matters.
        """
        result = self.get()
        self.peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        self.cause(result)
        self.peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        self.peer.lose()

    def test_requestIds(self) -> None:
        """
        After the largest request id comes the smallest.
        """
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        (connection,) = agent._pool._idle
        connection.requestId = 0xFFFF
        self.get(agent)
        self.assertEqual({each.requestId for each in self.peer.take()}, {1})


class CancelTests(AgentTestCase):
    """
    Requests that are given up.
    """

    def test_abort(self) -> None:
        """
        A cancelled request is aborted; its connection serves the next when the
        application has ended the old one, whatever it sends until then.
        """
        agent = self.application.agent(maxConnections=1)
        result = self.get(agent)
        waiting = self.get(agent)
        self.peer.take()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.peer.take(), [(wire.ABORT_REQUEST, 1, b"")])
        self.peer.stdout(b"A: b\n\nabc")
        self.peer.send(wire.stream(wire.STDERR, 1, b"oops"))
        self.assertEqual(self.peer.take(), [])
        self.peer.end(1)
        self.assertEqual(self.peer.params()[b"PATH_INFO"], b"/page")
        self.peer.answer()
        self.assertEqual(self.successResultOf(waiting).code, 200)

    def test_patience(self) -> None:
        """
        An application that does not end the request within 2 seconds is given
        up.
        """
        agent = self.application.agent(maxConnections=1)
        result = self.get(agent)
        waiting = self.get(agent)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.clock.advance(1.9)
        self.assertTrue(self.peer.open)
        self.clock.advance(0.2)
        first, second = self.application.peers
        self.assertTrue(first.transport.aborted)
        second.answer()
        self.assertEqual(self.successResultOf(waiting).code, 200)

    def test_full(self) -> None:
        """
        ABORT_REQUEST does not mind that the connection is full, nor does any
        request.
        """
        result = self.get()
        outlet: Any = self.peer.transport.producer
        for _ in range(2):
            outlet.pauseProducing()
            result.cancel()
            outlet.resumeProducing()
        self.failureResultOf(result, CancelledError)
        self.peer.end(1)
        self.assertTrue(self.peer.open)

    def test_close(self) -> None:
        """
        A connection that is not kept anyway is closed instead.
        """
        result = self.get(self.application.agent(keepConnection=False))
        self.peer.take()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.peer.take(), [])
        self.assertTrue(self.peer.transport.aborted)

    def test_producer(self) -> None:
        """
        The producer of the body is stopped.
        """
        producer = Producer()
        result = self.send(self.application.agent(), b"POST", URI, None, producer)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(producer.log, ["start", "stop"])

    def test_waiting(self) -> None:
        """
        A request that waits for a connection waits no more.
        """
        agent = self.application.agent(maxConnections=1)
        self.get(agent)
        result, last = self.get(agent), self.get(agent)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.peer.answer()
        self.assertEqual(self.peer.take()[0].requestId, 2)
        self.peer.answer()
        self.assertEqual(self.successResultOf(last).code, 200)

    def test_connecting(self) -> None:
        """
        A connection that is not there yet is not made.
        """
        self.application.slow = True
        result = self.get()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.application.cancelled, 1)
        ((_, factory),) = self.application.attempts
        self.assertIs(factory.buildProtocol(None), None)

    def test_doubtful(self) -> None:
        """
        After an abort a connection may be closed at any time, so it is not
        used for what can't be sent twice, until it has served something.
        """
        agent = self.application.agent()
        for method, count in [(b"POST", 2), (b"GET", 1)]:
            self.application.peers.clear()
            result = self.get(agent)
            result.cancel()
            self.failureResultOf(result, CancelledError)
            self.peer.end()
            self.get(agent, method)
            self.assertEqual(len(self.application.peers), count)
            self.application.peers[-1].answer()
            self.get(agent, b"POST")
            self.assertEqual(len(self.application.peers), count)
            self.application.peers[-1].answer()
            agent.closeCachedConnections()
            self.clock.advance(0)

    def test_tooLate(self) -> None:
        """
        To cancel a request that has its response changes nothing.
        """
        result = self.get()
        self.peer.stdout(PLAIN)
        result.cancel()
        reader = self.read(self.successResultOf(result))
        self.peer.stdout(b"abc")
        self.peer.end()
        self.assertEqual(reader.body, b"abc")


class TimeoutTests(AgentTestCase):
    """
    What takes too long.
    """

    def test_connect(self) -> None:
        """
        A connection must be there in time.
        """
        self.application.slow = True
        result = self.get(self.application.agent(connectTimeout=5))
        self.clock.advance(4.9)
        self.assertNoResult(result)
        self.clock.advance(0.2)
        failure = self.failureResultOf(result, TimeoutError)
        self.assertIn("waited 5 seconds for a connection", str(failure.value))
        ((_, factory),) = self.application.attempts
        self.assertIs(factory.buildProtocol(None), None)

    def test_noConnectTimeout(self) -> None:
        """
        There may be no limit.
        """
        self.application.slow = True
        result = self.get(self.application.agent(connectTimeout=None))
        self.clock.advance(1e6)
        self.application.connected()
        self.peer.answer()
        self.assertEqual(self.successResultOf(result).code, 200)

    def test_head(self) -> None:
        """
        The header must be complete in time, whatever else comes.
        """
        result = self.get(self.application.agent(responseTimeout=5))
        self.clock.advance(4.9)
        self.peer.stdout(b"A: b\n")
        self.peer.send(wire.stream(wire.STDERR, 1, b"wait", end=False))
        self.assertNoResult(result)
        self.clock.advance(0.2)
        error = self.cause(result)
        self.assertIsInstance(error, TimeoutError)
        self.assertIn("waited 5 seconds for the response's header", str(error))
        self.assertTrue(self.peer.transport.aborted)

    def test_body(self) -> None:
        """
        A body may take any time as long as it moves on; STDERR does not count.
        """
        reader = self.read(self.respond(responseTimeout=5))
        for _ in range(3):
            self.clock.advance(4.9)
            self.peer.stdout(b"a")
        self.clock.advance(4.9)
        self.peer.send(wire.stream(wire.STDERR, 1, b"wait", end=False))
        self.assertIs(reader.reason, None)
        self.clock.advance(0.2)
        error = reader.cause()
        self.assertIsInstance(error, TimeoutError)
        self.assertIn("more of the response's body", str(error))
        self.assertTrue(self.peer.transport.aborted)

    def test_withoutEnd(self) -> None:
        """
        A body that is whole is so without END_REQUEST, but the connection is
        not used again.
        """
        reader = self.read(self.respond(b"Content-Length: 3\n\nabc"))
        self.clock.advance(60)
        reader.reason.trap(ResponseDone)
        self.assertTrue(self.peer.transport.aborted)

    def test_unasked(self) -> None:
        """
        A response whose body nobody asks for does not keep its connection for
        ever.
        """
        response = self.respond(PLAIN + b"a" * 70000, responseTimeout=5)
        self.assertEqual(self.peer.transport.producerState, "paused")
        self.clock.advance(5)
        self.assertTrue(self.peer.transport.aborted)
        self.assertIsInstance(self.read(response).cause(), TimeoutError)

    def test_upload(self) -> None:
        """
        The time for the header begins when all of the body was sent; until
        then the application must go on reading.
        """
        producer = Producer()
        agent = self.application.agent(responseTimeout=5)
        result = self.send(agent, b"POST", URI, None, producer)
        self.clock.advance(1000)
        outlet: Any = self.peer.transport.producer
        for _ in range(2):
            outlet.pauseProducing()
            producer.consumer.write(b"a")
            self.clock.advance(4.9)
            outlet.resumeProducing()
        self.clock.advance(1000)
        producer.finished.callback(None)
        self.clock.advance(4.9)
        self.assertNoResult(result)
        self.peer.answer()
        self.successResultOf(result)

    def test_uploadStuck(self) -> None:
        """
        An application that does not read the request is given up.
        """
        producer = Producer()
        agent = self.application.agent(responseTimeout=5)
        result = self.send(agent, b"POST", URI, None, producer)
        outlet: Any = self.peer.transport.producer
        outlet.pauseProducing()
        producer.consumer.write(b"a")
        self.clock.advance(5)
        error = self.cause(result)
        self.assertIn("for the application to read the request", str(error))
        self.assertEqual(producer.log, ["start", "pause", "stop"])

    def test_notRead(self) -> None:
        """
        A connection on which the application has not read all of a request is
        not used again, though it has answered.
        """
        agent = self.application.agent()
        result = self.get(agent)
        outlet: Any = self.peer.transport.producer
        outlet.pauseProducing()
        self.peer.answer()
        self.successResultOf(result)
        self.assertTrue(self.peer.transport.aborted)
        self.get(agent)
        self.assertEqual(len(self.application.peers), 2)

    def test_close(self) -> None:
        """
        If an application does not read what was sent before a connection was
        closed, it is waited for 2 seconds.
        """
        result = self.get(self.application.agent(keepConnection=False))
        # A clock that stands still: all is never sent.
        self.peer.transport._clock = Application().clock
        self.peer.answer()
        self.successResultOf(result)
        self.clock.advance(1.9)
        self.assertFalse(self.peer.transport.aborted)
        self.clock.advance(0.2)
        self.assertTrue(self.peer.transport.aborted)

    def test_none(self) -> None:
        """
        There may be no limit.
        """
        result = self.get(self.application.agent(responseTimeout=None))
        self.clock.advance(1e6)
        self.assertNoResult(result)

    def test_idle(self) -> None:
        """
        A connection that is not used is closed after a while, which begins
        anew each time that it was used.
        """
        agent = self.application.agent(idleTimeout=10)
        for _ in range(2):
            self.get(agent)
            self.peer.answer()
            self.clock.advance(9.9)
            self.assertTrue(self.peer.open)
        self.clock.advance(0.2)
        self.assertFalse(self.peer.open)
        self.assertFalse(self.peer.transport.aborted)

    def test_idleAndWanted(self) -> None:
        """
        A connection that is being closed is not used again.
        """
        agent = self.application.agent(idleTimeout=10)
        self.get(agent)
        self.peer.answer()
        self.peer.transport._clock = Application().clock
        self.clock.advance(10)
        self.get(agent)
        self.assertEqual(len(self.application.peers), 2)
