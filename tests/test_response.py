# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.response}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IPushProducer
from twisted.web.client import ResponseDone
from zope.interface.verify import verifyObject

from tests import wire
from tests.agents import PLAIN, AgentTestCase, Reader


class BodyTests(AgentTestCase):
    """
    How the body of a response is delivered.
    """

    def test_streams(self) -> None:
        """
        Each piece is delivered when it comes.
        """
        reader = self.read(self.respond(PLAIN + b"a"))
        self.assertEqual(reader.pieces, [b"a"])
        self.peer.stdout(b"b")
        self.assertEqual(reader.pieces, [b"a", b"b"])

    def test_transport(self) -> None:
        """
        The body's transport is an L{IPushProducer}.
        """
        verifyObject(IPushProducer, self.read(self.respond()).transport)

    def test_unasked(self) -> None:
        """
        Of a body that nobody has asked for so much is kept; then reading stops
        until somebody does.
        """
        response = self.respond(PLAIN)
        self.peer.stdout(b"a" * 65535)
        self.assertEqual(self.peer.transport.producerState, "producing")
        self.peer.stdout(b"b" * 1000)
        self.assertEqual(self.peer.transport.producerState, "paused")
        self.peer.stdout(b"c")
        reader = self.read(response)
        self.assertEqual(self.peer.transport.producerState, "producing")
        self.assertEqual(reader.body, b"a" * 65535 + b"b" * 1000 + b"c")

    def test_pause(self) -> None:
        """
        Nothing is delivered or read while that is not wanted, and the
        application may be silent for as long as it is not asked.
        """
        reader = self.read(self.respond(PLAIN))
        reader.transport.pauseProducing()
        self.assertEqual(self.peer.transport.producerState, "paused")
        self.peer.stdout(b"abc")
        self.assertEqual(reader.body, b"")
        self.clock.advance(1000)
        self.peer.end()
        self.assertIs(reader.reason, None)
        reader.transport.resumeProducing()
        self.assertEqual(self.peer.transport.producerState, "producing")
        self.assertEqual(reader.body, b"abc")
        reader.reason.trap(ResponseDone)

    def test_pauseAmidst(self) -> None:
        """
        To pause while a piece is delivered counts at once.
        """
        response = self.respond(PLAIN + b"a")
        self.peer.stdout(b"b")

        class Slow(Reader):
            """
            Pauses after each piece.
            """

            def dataReceived(self, data: bytes) -> None:
                """
                Pause.
                """
                super().dataReceived(data)
                self.transport.pauseProducing()

        reader = Slow()
        response.deliverBody(reader)
        self.peer.stdout(b"c")
        self.peer.end()
        for count in range(1, 4):
            self.assertEqual(len(reader.pieces), count)
            reader.transport.resumeProducing()
        self.assertEqual(reader.body, b"abc")
        reader.reason.trap(ResponseDone)

    def test_resumeAmidst(self) -> None:
        """
        To pause and resume while a piece is delivered changes nothing.
        """

        class Undecided(Reader):
            """
            Pauses for no time.
            """

            def dataReceived(self, data: bytes) -> None:
                """
                Pause and resume.
                """
                self.transport.pauseProducing()
                self.transport.resumeProducing()
                super().dataReceived(data)

        reader = Undecided()
        response = self.respond(PLAIN + b"a")
        self.peer.stdout(b"b")
        response.deliverBody(reader)
        self.peer.stdout(b"c")
        self.assertEqual(reader.body, b"abc")

    def test_lostWhilePaused(self) -> None:
        """
        What had come before the connection ended is delivered in the end.
        """
        reader = self.read(self.respond(PLAIN))
        reader.transport.pauseProducing()
        self.peer.stdout(b"abc")
        self.peer.end()
        self.peer.lose()
        self.assertEqual(reader.body, b"")
        reader.transport.resumeProducing()
        self.assertEqual(reader.body, b"abc")
        reader.reason.trap(ResponseDone)

    def test_abortWhenLost(self) -> None:
        """
        Nothing is sent on a connection that is gone.
        """
        readers: list[Reader] = []
        response = self.respond(
            stderr=lambda request, data: readers[0].transport.loseConnection()
        )
        readers.append(self.read(response))
        readers[0].transport.pauseProducing()
        self.peer.send(wire.stream(wire.STDERR, 1, b"oops"))
        self.peer.lose()
        self.assertEqual(self.peer.take(), [])
        self.clock.advance(0)
        self.assertIsInstance(readers[0].cause(), ConnectionAborted)

    def test_abort(self) -> None:
        """
        To lose the connection of a body aborts the request, and is told a
        moment later.
        """
        for name in ("stopProducing", "loseConnection", "abortConnection"):
            with self.subTest(name=name):
                result = self.get()
                peer = self.application.peers[-1]
                peer.stdout(PLAIN + b"abc")
                reader = self.read(self.successResultOf(result))
                getattr(reader.transport, name)()
                getattr(reader.transport, name)()
                self.assertIs(reader.reason, None)
                peer_records = peer.take()
                self.assertEqual(peer_records, [(wire.ABORT_REQUEST, 1, b"")])
                peer.stdout(b"def")
                self.clock.advance(0)
                self.assertEqual(reader.body, b"abc")
                self.assertIsInstance(reader.cause(), ConnectionAborted)
                getattr(reader.transport, name)()

    def test_abortFromAnnouncement(self) -> None:
        """
        Nothing more of a response is read once it was given up.
        """
        result = self.get(self.application.agent(keepConnection=False))
        readers: list[Reader] = []

        def answered(response: Any) -> None:
            readers.append(self.read(response))
            readers[0].transport.loseConnection()

        result.addCallback(answered)
        self.peer.stdout(PLAIN + b"abc")
        self.assertTrue(self.peer.transport.aborted)
        self.clock.advance(0)
        self.assertIsInstance(readers[0].cause(), ConnectionAborted)

    def test_abortAmidst(self) -> None:
        """
        What came in the same piece as what made the reader stop is not
        delivered, nor is it read.
        """

        class Content(Reader):
            """
            Has enough.
            """

            def dataReceived(self, data: bytes) -> None:
                """
                Stop.
                """
                super().dataReceived(data)
                self.transport.loseConnection()

        reader = Content()
        response = self.respond(PLAIN)
        response.deliverBody(reader)
        self.peer.take()
        data = wire.stream(wire.STDOUT, 1, b"abc", sizes=[1, 1, 1], end=False)
        self.peer.send(data)
        self.clock.advance(0)
        self.assertEqual(reader.body, b"a")
        self.assertIsInstance(reader.cause(), ConnectionAborted)

    def test_abortComplete(self) -> None:
        """
        A body that was not wanted to the end is not said to be whole, though
        all of it had come.
        """
        response = self.respond(PLAIN + b"abc")
        self.peer.end()

        class Content(Reader):
            """
            Has enough.
            """

            def makeConnection(self, transport: Any) -> None:
                """
                Stop.
                """
                super().makeConnection(transport)
                transport.loseConnection()

        reader = Content()
        response.deliverBody(reader)
        self.clock.advance(0)
        self.assertEqual(reader.body, b"")
        self.assertIsInstance(reader.cause(), ConnectionAborted)
        self.assertTrue(self.peer.open)

    def test_failing(self) -> None:
        """
        A protocol that raises is done with.
        """

        class Failing(Reader):
            """
            Raises all the time.
            """

            def dataReceived(self, data: bytes) -> None:
                """
                Raise.
                """
                raise ZeroDivisionError("in dataReceived")

            def connectionLost(self, reason: Any = None) -> None:
                """
                Raise.
                """
                super().connectionLost(reason)
                raise ZeroDivisionError("in connectionLost")

        reader = Failing()
        self.respond(PLAIN + b"abc").deliverBody(reader)
        self.assertEqual(self.peer.take(), [(wire.ABORT_REQUEST, 1, b"")])
        self.clock.advance(0)
        self.assertIsInstance(reader.cause(), ConnectionAborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
