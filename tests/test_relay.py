# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.relay}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from tests import wire
from tests.ends import DONE, Endpoint, Transport
from twisted_fastcgi.explain import Item, Record
from twisted_fastcgi.relay import Relay
from twisted_fastcgi.watch import Watches

REQUEST = wire.request(wire.variables(), keep=False)
ANSWER = wire.stream(wire.STDOUT, 1, b"Status: 200\r\n\r\n")


class RelayTests(SynchronousTestCase):
    """
    Connections through a relay.
    """

    def setUp(self) -> None:
        """
        Gather what is reported.
        """
        self.said: list[str] = []

    def report(self, number: int, seconds: float, what: Item | str) -> None:
        """
        Note the names of records, and words.
        """
        self.said.append(what.name if isinstance(what, Record) else str(what))

    def connect(self, endpoint: Endpoint) -> tuple[Any, Transport]:
        """
        Let a web server connect.

        @return: Its side of the relay.
        """
        factory = Relay(endpoint, Watches(Clock(), self.report))
        near: Any = factory.buildProtocol(UNIXAddress(None))
        transport = Transport()
        near.makeConnection(transport)
        return near, transport

    def joined(self) -> tuple[Any, Transport, Any, Transport]:
        """
        Let a web server connect to an application.

        @return: Both sides of the relay.
        """
        endpoint = Endpoint()
        near, nearTransport = self.connect(endpoint)
        return near, nearTransport, endpoint.protocols[0], endpoint.transports[0]

    def closesAtOnce(self, protocol: Any, transport: Any) -> None:
        """
        Let a transport tell at once that it is closed, as a real one does when
        its other direction was closed before.
        """

        def loseConnection() -> None:
            transport.loseConnection = lambda: None
            protocol.connectionLost(DONE)

        transport.loseConnection = loseConnection

    def test_passes(self) -> None:
        """
        Bytes pass unchanged and at once, in any pieces, both ways; and are
        shown.
        """
        near, nearTransport, far, farTransport = self.joined()
        for piece in wire.byteByByte(REQUEST):
            near.dataReceived(piece)
            self.assertEqual(farTransport.taken(), piece)
        far.dataReceived(ANSWER)
        self.assertEqual(nearTransport.taken(), ANSWER)
        self.assertEqual(
            self.said[1:],
            ["BEGIN_REQUEST", *["PARAMS"] * 2, "STDIN", "STDOUT", "STDOUT"],
        )

    def test_anyBytes(self) -> None:
        """
        So it is with what is not FastCGI.
        """
        near, _, _, farTransport = self.joined()
        near.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(farTransport.taken(), b"GET / HTTP/1.1\r\n\r\n")

    def test_backPressure(self) -> None:
        """
        Nothing is read faster than it can be written on the other side.
        """
        _, nearTransport, _, farTransport = self.joined()
        for one, other in (
            (nearTransport, farTransport),
            (farTransport, nearTransport),
        ):
            self.assertIs(one.producer, other)
            self.assertTrue(one.streaming)
            one.producer.pauseProducing()
            self.assertEqual(other.producerState, "paused")
            one.producer.resumeProducing()
            self.assertEqual(other.producerState, "producing")

    def test_noDelay(self) -> None:
        """
        Over TCP no side waits for more to send.
        """
        near, nearTransport, far, _ = self.joined()
        asked = []
        nearTransport.setTcpNoDelay = asked.append
        directlyProvides(nearTransport, ITCPTransport)
        nearTransport.unregisterProducer()
        far.transport.unregisterProducer()
        near.join(far)
        self.assertEqual(asked, [True])

    def test_waits(self) -> None:
        """
        Nothing is read before the application is there.
        """
        endpoint = Endpoint(isSlow=True)
        _, transport = self.connect(endpoint)
        self.assertEqual(transport.producerState, "paused")
        endpoint.accept()
        self.assertEqual(transport.producerState, "producing")

    def test_refused(self) -> None:
        """
        If there is no connection to the application, that of the web server is
        closed, as the application would have done.
        """
        near, transport = self.connect(Endpoint(refusal=ConnectionRefusedError()))
        self.assertTrue(transport.disconnecting)
        near.connectionLost(DONE)
        self.assertEqual(
            self.said[1:],
            [
                "no connection to the application: Connection was refused by other "
                "side.",
                "closed: cleanly",
            ],
        )

    def test_goneBefore(self) -> None:
        """
        If the web server goes before the application is there, it is not
        connected to any more.
        """
        endpoint = Endpoint(isSlow=True)
        near, _ = self.connect(endpoint)
        near.connectionLost(DONE)
        self.assertEqual(endpoint.cancelled, 1)
        self.assertEqual(self.said[1:], ["closed: cleanly"])

    def test_halfGoneBefore(self) -> None:
        """
        So it is if it only says that it will send no more.
        """
        near, transport = self.connect(Endpoint(isSlow=True))
        near.readConnectionLost()
        self.assertTrue(transport.disconnecting)

    def test_halfClose(self) -> None:
        """
        That one side sends no more is passed on to the other side, whose bytes
        pass still; when both have said so, both are closed.
        """
        near, nearTransport, far, farTransport = self.joined()
        self.assertTrue(IHalfCloseableProtocol.providedBy(near))
        self.assertTrue(IHalfCloseableProtocol.providedBy(far))
        near.readConnectionLost()
        self.assertTrue(farTransport.writeClosed)
        self.assertFalse(nearTransport.disconnecting or farTransport.disconnecting)
        farTransport.clear()
        far.writeConnectionLost()
        far.dataReceived(ANSWER)
        self.assertEqual(nearTransport.taken(), ANSWER)
        far.readConnectionLost()
        self.assertTrue(nearTransport.disconnecting and farTransport.disconnecting)
        near.connectionLost(DONE)
        far.connectionLost(DONE)
        self.assertEqual(
            [text for text in self.said if " " in text][1:],
            [
                "the web server sends no more",
                "the application sends no more",
                "closed: cleanly",
            ],
        )

    def test_halfClosedAtOnce(self) -> None:
        """
        It is all the same if closing a side ends it at once.
        """
        near, nearTransport, far, farTransport = self.joined()
        self.closesAtOnce(near, nearTransport)
        self.closesAtOnce(far, farTransport)
        far.readConnectionLost()
        near.readConnectionLost()
        self.assertEqual(
            self.said[1:],
            [
                "the application sends no more",
                "the web server sends no more",
                "closed: cleanly",
            ],
        )

    def test_lost(self) -> None:
        """
        If one side is lost, what it has sent gets to the other side, which is
        closed then; late bytes of that lead nowhere.
        """
        for isNear in (True, False):
            near, nearTransport, far, farTransport = self.joined()
            one, other = (near, far) if isNear else (far, near)
            one.connectionLost(Failure(ConnectionLost()))
            transport = farTransport if isNear else nearTransport
            self.assertTrue(transport.disconnecting)
            other.dataReceived(ANSWER)
            other.connectionLost(DONE)
            ends = [text for text in self.said if text.startswith("closed: ")]
            self.assertEqual(ends, [f"closed: {ConnectionLost()}"])
            self.said.clear()
