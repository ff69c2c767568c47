# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
TLS between web server and application: who reads slowly, not at all, or does
not agree to the end of the connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import error, reactor
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase
from twisted.web.static import Data

from tests import wire
from tests.tables import table
from tests.test_stalling import (
    GET,
    LARGE,
    LAST,
    SENT,
    TIMEOUT,
    StallTestCase,
    pulling,
    pushing,
    whole,
)
from tests.transports import (
    PullProducer,
    SocketPeer,
    SocketReactor,
    TCPServerTransport,
    later,
)
from twisted_fastcgi.connection import Limits

#: More than is taken at once, see docs/limits.rst.
STEP = 131072 + 32768


def certificate() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """
    Make what TLS needs: a certificate that nobody else has signed, and its key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, made


@cache
def security() -> CertificateOptions:
    """
    Make it for the reactor.
    """
    key, made = certificate()
    return CertificateOptions(privateKey=key, certificate=made)


class Client:
    """
    The web server's end of TLS, without what carries it.

    @ivar received: What has been read.
    @ivar closed: Whether the other end has said that this was all.
    """

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self.received = b""
        self.closed = False

    def shakeHands(self, data: bytes = b"") -> bytes:
        """
        Go on with the handshake.

        @param data: What has come.
        @return: What is to be sent.
        """
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """
        Tell what is to be sent in place of some bytes.
        """
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> None:
        """
        Read what has come.
        """
        self._incoming.write(data)
        try:
            while data := self._tls.read(65536):
                self.received += data
            self.closed = True
        except ssl.SSLZeroReturnError:
            self.closed = True
        except ssl.SSLWantReadError:
            pass

    def agree(self) -> bytes:
        """
        Agree to the end.

        @return: What is to be sent.
        """
        self._tls.unwrap()
        return self._outgoing.read()


class TLSTestCase(StallTestCase):
    """
    A test case with a server over TLS, in memory.

    @ivar transport: What carries the bytes.
    @ivar client: The web server.
    """

    def serve(self, *args: Any, **options: Any) -> Any:
        """
        Make the server.
        """
        application = super().serve(*args, **options)
        self.secured = TLSMemoryBIOFactory(
            security(), False, self.factory, clock=self.clock
        )
        return application

    def start(self) -> None:
        """
        Connect, and shake hands.
        """
        self.transport = transport = TCPServerTransport()
        self.transports.append(transport)
        transport.connect(self.secured.buildProtocol(transport.getPeer()))
        self.client = client = Client()
        self._taken = 0
        transport.receive(client.shakeHands())
        transport.receive(client.shakeHands(self._arrived()))
        self.take()

    def ask(self, data: bytes, *, stalled: bool = True) -> None:
        """
        Connect, and send something.

        @param data: What to send.
        @param stalled: Whether to read nothing from then on.
        """
        self.start()
        self.transport.stalled = stalled
        self.transport.receive(self.client.encrypt(data))
        self.advance(0)

    def _arrived(self) -> bytes:
        """
        Tell what has come since the last time.
        """
        end = len(self.transport.value()) - self.transport.unsent
        data = self.transport.value()[self._taken : end]
        self._taken = end
        return data

    def take(self) -> None:
        """
        Read what has come.
        """
        self.client.decrypt(self._arrived())

    def advance(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.clock.advance(0)
        super().advance(seconds)
        self.clock.advance(0)

    def assertDeadIsCutOff(self) -> None:
        """
        See that the connection was aborted, with one line in the log.
        """
        self.assertFalse(self.transport.connected)
        lost: Any = self.transport.lost
        self.assertIsInstance(lost.value, error.ConnectionAborted)
        self.assertLess(len(self.transport.value()), 300000)
        self.assertCutOff()
        self.assertEqual(len(self.logged()), 1)

    def assertAllTaken(self, *, unfinished: bool = False) -> None:
        """
        See that the whole answer has come.
        """
        answer = wire.response(self.client.received, unfinished=unfinished)
        self.assertEqual(answer.body, LARGE)
        self.assertEqual(self.logged(), [])


#: What web servers send who then read nothing, and who serves them.  Pull
#: producers are driven by the reactor.
NOT_PULLING = {name: row for name, row in SENT.items() if row[0] is not pulling}

#: Of those, what is answered by one large body.
ANSWERS: dict[str, tuple[Any, bytes]] = {
    "a whole response": (whole, GET),
    "a push producer": (pushing, GET),
    "a whole response, closing": (whole, LAST),
}


class MemoryTests(TLSTestCase):
    """
    TLS over transports in memory.
    """

    @table(NOT_PULLING)
    def test_dead(self, application: Any, sent: bytes) -> None:
        """
        If nothing is taken for too long, the connection is cut off: not
        before, and with one line in the log.
        """
        self.serve(application)
        self.ask(sent)
        self.advance(TIMEOUT - 0.5)
        self.assertTrue(self.transport.connected)
        self.advance(1.5)
        self.assertFalse(self.transport.connected)
        self.assertCutOff()

    @table(ANSWERS)
    def test_deadAnswer(self, application: Any, sent: bytes) -> None:
        """
        Little of a large answer is given to TLS, and the one line is all that
        is logged.
        """
        self.serve(application)
        self.ask(sent)
        self.advance(TIMEOUT + 1)
        self.assertDeadIsCutOff()

    @table(ANSWERS)
    def test_slow(self, application: Any, sent: bytes) -> None:
        """
        Whoever takes something within the limit gets everything, however long
        that takes.
        """
        self.serve(application)
        self.ask(sent)
        passed = 0
        while len(self.client.received) < len(LARGE):
            self.advance(TIMEOUT - 1)
            passed += TIMEOUT - 1
            self.assertEqual(self.logged(), [])
            self.transport.drain(STEP)
            self.take()
            self.transport.settle()
        self.assertGreater(passed, 4 * TIMEOUT)
        self.transport.stalled = False
        self.advance(1)
        self.take()
        self.assertAllTaken(unfinished=application is pushing)

    def test_agreed(self) -> None:
        """
        A connection that both sides want to end ends at once.
        """
        self.serve()
        self.ask(LAST, stalled=False)
        self.take()
        self.assertEqual(wire.response(self.client.received).body, b"hello")
        self.assertTrue(self.client.closed)
        self.assertTrue(self.transport.connected)
        self.transport.receive(self.client.agree())
        self.assertClosed(self.transport)
        self.assertEqual(self.logged(), [])

    @table({"kept": (True,), "not kept": (False,)})
    def test_notAgreed(self, keep: bool) -> None:
        """
        A web server that has taken everything, and never agrees to the end of
        the connection, is cut off when it would be if it took nothing.
        """
        limits = Limits(writeTimeout=TIMEOUT, idleTimeout=5)
        self.serve(Data(b"hello", "text/plain"), limits=limits)
        self.ask(wire.request(wire.variables(), keep=keep), stalled=False)
        self.advance(5 if keep else 0)
        self.advance(TIMEOUT - 0.5)
        self.take()
        self.assertTrue(self.client.closed)
        self.assertTrue(self.transport.connected)
        self.advance(2.5)
        self.assertDeadIsCutOff()

    def test_notAgreedAfterMuch(self) -> None:
        """
        So it is if a large answer was taken before, at its own pace.
        """
        self.serve(whole)
        self.ask(LAST)
        while not self.client.closed:
            self.advance(TIMEOUT - 1)
            self.transport.drain()
            self.take()
        self.assertAllTaken()
        self.assertTrue(self.transport.connected)
        self.advance(TIMEOUT + 1)
        self.assertFalse(self.transport.connected)
        self.assertCutOff()

    def test_noHandshake(self) -> None:
        """
        A client that does not shake hands is closed as one that is idle.
        """
        self.serve(limits=Limits(writeTimeout=TIMEOUT, idleTimeout=5))
        transport = TCPServerTransport()
        self.transports.append(transport)
        transport.connect(self.secured.buildProtocol(transport.getPeer()))
        transport.receive(Client().shakeHands()[:6])
        self.advance(4)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertFalse(transport.connected)
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.logged(), [])

    def test_applicationIsTold(self) -> None:
        """
        The application learns that the connection is gone.
        """
        application = self.serve(later)
        self.ask(GET)
        failures: list[Any] = []
        application.request.notifyFinish().addErrback(failures.append)
        application.request.write(LARGE)
        self.advance(TIMEOUT + 1)
        self.assertEqual(len(failures), 1)
        self.assertDeadIsCutOff()


class PullTests(TLSTestCase, TestCase):
    """
    TLS drives pull producers from the reactor; so these tests let it run.
    """

    async def turn(self) -> None:
        """
        Let the producer write what it can.
        """
        before = -1
        while before != len(self.transport.value()):
            before = len(self.transport.value())
            for _ in range(5):
                await deferLater(reactor, 0)
            self.clock.advance(0)

    async def check(self, sent: bytes) -> None:
        """
        See that who reads nothing is cut off.
        """
        self.serve(pulling)
        self.ask(sent)
        await self.turn()
        self.advance(TIMEOUT - 0.5)
        await self.turn()
        self.assertTrue(self.transport.connected)
        self.advance(1.5)
        await self.turn()
        self.assertDeadIsCutOff()

    async def test_dead(self) -> None:
        """
        If nothing is taken for too long, the connection is cut off.
        """
        await self.check(GET)

    async def test_deadClosing(self) -> None:
        """
        So it is if it would not be kept.
        """
        await self.check(LAST)

    async def test_slow(self) -> None:
        """
        Whoever takes something within the limit gets everything.
        """
        self.serve(pulling)
        self.ask(LAST)
        passed = 0
        while not self.client.closed:
            await self.turn()
            self.advance(TIMEOUT - 1)
            passed += TIMEOUT - 1
            self.assertEqual(self.logged(), [])
            self.transport.drain(STEP)
            self.take()
        self.assertGreater(passed, 4 * TIMEOUT)
        self.assertAllTaken()
        self.transport.stalled = False
        self.transport.receive(self.client.agree())
        self.assertClosed(self.transport)

    async def test_fails(self) -> None:
        """
        A producer that fails midway ends the connection, which TLS alone would
        leave open.
        """

        def pieces() -> Iterator[bytes]:
            yield b"x" * 20000
            raise ValueError("no more")

        def failing(request: Any) -> Any:
            PullProducer(request, pieces()).start()
            return later(request)

        self.serve(failing)
        self.ask(GET, stalled=False)
        await self.turn()
        self.advance(1)
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.logged()), 1)


class SocketTests(TLSTestCase):
    """
    TLS over real sockets.
    """

    def connectPeer(
        self, application: Any, sent: bytes, *, overTCP: bool = True
    ) -> None:
        """
        Make a server with one connection, and send something.
        """
        self.clock = SocketReactor()
        self.serve(application)
        protocol = self.secured.buildProtocol(None)
        self.peer = peer = SocketPeer(self.clock, protocol, overTCP=overTCP)
        self.addCleanup(self.finish)
        if overTCP:
            peer.shrink()
        self.client = Client()
        peer.send(self.client.shakeHands())
        peer.send(self.client.shakeHands(peer.readAll()))
        self.taken = len(peer.received)
        peer.send(self.client.encrypt(sent))

    def takeStep(self) -> None:
        """
        Read some, and let the server send meanwhile.
        """
        peer = self.peer
        end = len(peer.received) + STEP
        while len(peer.received) < end and peer.read(end - len(peer.received)):
            peer.turn()
        self.client.decrypt(peer.received[self.taken :])
        self.taken = len(peer.received)

    def finish(self) -> None:
        """
        Close the connection and see that nothing is left.
        """
        self.peer.close()
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def wait(self, seconds: float) -> None:
        """
        Let time pass, with everything served that can be.
        """
        while seconds > 0:
            self.peer.turn()
            self.clock.advance(min(1.0, seconds))
            self.peer.turn()
            seconds -= 1.0

    @table(ANSWERS)
    def test_dead(self, application: Any, sent: bytes) -> None:
        """
        If the system takes nothing for too long, the connection is cut off.
        """
        self.connectPeer(application, sent)
        self.wait(TIMEOUT - 1)
        self.assertEqual(self.factory.connectionCount, 1)
        self.wait(3)
        self.assertCutOff()
        self.assertEqual(len(self.logged()), 1)

    @table(ANSWERS)
    def test_slow(self, application: Any, sent: bytes) -> None:
        """
        Whoever takes enough within the limit gets everything: over a Unix
        socket, since with TCP it depends on the system when that is known.
        """
        self.connectPeer(application, sent, overTCP=False)
        passed = 0
        while len(self.client.received) < len(LARGE):
            self.wait(TIMEOUT - 1)
            self.assertEqual(self.logged(), [])
            passed += TIMEOUT - 1
            self.takeStep()
        self.assertGreater(passed, 4 * TIMEOUT)
        self.client.decrypt(self.peer.readAll()[self.taken :])
        self.assertAllTaken(unfinished=application is pushing)

    def test_notAgreed(self) -> None:
        """
        A connection to whose end the web server does not agree ends
        nevertheless.
        """
        self.connectPeer(b"hello", LAST)
        self.wait(TIMEOUT - 1)
        self.assertEqual(self.factory.connectionCount, 1)
        self.wait(3)
        self.assertCutOff()
