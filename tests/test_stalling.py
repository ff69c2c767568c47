# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Web servers that read their answers slowly, or not at all: in memory, and over
real sockets.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.logger import LogLevel
from twisted.web.resource import Resource
from twisted.web.static import Data, File

from tests import wire
from tests.tables import table
from tests.transports import (
    OneWayTransport,
    PullProducer,
    PushProducer,
    ServerTestCase,
    ServerTransport,
    SocketPeer,
    SocketReactor,
    later,
)
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.outlet import LINGER

GET = wire.request(wire.variables())
LAST = wire.request(wire.variables(), keep=False)
POST = wire.postVariables(b"0123456789")

#: More than any buffer on the way takes.
LARGE = b"0123456789" * 80000

#: Some limit.
TIMEOUT = 10


def pushing(request: Any) -> Any:
    """
    Answer by a push producer that takes no notice of anything.
    """
    request.registerProducer(PushProducer(), True)
    for start in range(0, len(LARGE), 20000):
        request.write(LARGE[start : start + 20000])
    return later(request)


def pulling(request: Any) -> Any:
    """
    Answer by a pull producer.
    """
    pieces = (LARGE[start : start + 20000] for start in range(0, len(LARGE), 20000))
    PullProducer(request, pieces).start()
    return later(request)


def whole(request: Any) -> Any:
    """
    Answer at once.
    """
    return LARGE


class StallTestCase(ServerTestCase):
    """
    A test case with a limit for how long nothing may be taken.
    """

    def serve(self, *args: Any, **options: Any) -> Any:
        """
        Make the server.
        """
        options.setdefault("limits", Limits(writeTimeout=TIMEOUT))
        return super().serve(*args, **options)

    def assertCutOff(self) -> None:
        """
        See that the connection is gone, and that one line says why, unless there
        was one about the peer before.
        """
        self.assertEqual(self.factory.connectionCount, 0)
        line = self.logged()[0]
        self.assertEqual(len(self.logged()), 1)
        if "was rejected" not in line:
            why = f"nothing was taken from it for {TIMEOUT} seconds"
            self.assertIn(f"the connection is cut off: {why}", line)


#: What web servers send who then read nothing, and who serves them.
SENT: dict[str, tuple[Any, bytes]] = {
    "a whole response": (whole, GET),
    "a push producer": (pushing, GET),
    "a pull producer": (pulling, GET),
    "a whole response, closing": (whole, LAST),
    "a pull producer, closing": (pulling, LAST),
    "an answer before the end of the body": (
        whole,
        wire.beginRequest(keep=False) + wire.params(POST) + wire.stdin(b"x" * 10)[:-8],
    ),
    "many requests": (Data(b"hello", "text/plain"), GET * 10000),
    "management records": (whole, wire.getValues(b"FCGI_MAX_CONNS") * 10000),
    "unknown management records": (whole, wire.record(99, 0) * 10000),
    "rejected requests": (whole, wire.beginRequest(role=3) * 2000),
    "malformed requests": (
        whole,
        (wire.beginRequest() + wire.stdin(b"too early", end=False)) * 2000,
    ),
}


class MemoryTests(StallTestCase):
    """
    Transports that tell only that they are full, and when they no longer are.
    """

    @table(SENT)
    def test_dead(self, application: Any, sent: bytes) -> None:
        """
        If nothing is taken for too long, the connection is cut off: not
        before, and with one line in the log.
        """
        self.serve(application)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(sent)
        self.advance(TIMEOUT - 0.5)
        self.assertTrue(transport.connected)
        self.advance(1.5)
        self.assertFalse(transport.connected)
        self.assertIsInstance(transport.lost.value, error.ConnectionAborted)
        self.assertLess(len(transport.value()), 300000)
        self.assertCutOff()

    @table(SENT)
    def test_slow(self, application: Any, sent: bytes) -> None:
        """
        Whoever takes something now and then is never cut off, however long it
        takes to the end.
        """
        self.serve(application)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(sent)
        for _ in range(10):
            self.advance(TIMEOUT - 1)
            transport.drain()
            transport.settle()
        self.assertIs(transport.aborting, False)
        self.assertEqual(self.logged(LogLevel.error), [])
        transport.stalled = False
        transport.settle()
        self.advance(LINGER)
        self.assertEqual([line for line in self.logged() if "cut off" in line], [])

    def test_noLimit(self) -> None:
        """
        Without a limit nobody is cut off.
        """
        self.serve(whole, limits=Limits(writeTimeout=None))
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        self.advance(10000)
        self.assertTrue(transport.connected)

    def test_default(self) -> None:
        """
        The limit is ten minutes if nothing else is said.
        """
        self.serve(whole, limits=None)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        self.advance(599)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertFalse(transport.connected)

    def test_oneLine(self) -> None:
        """
        There is no line if there was one about the peer before.
        """
        self.serve(later)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(wire.beginRequest(role=3) * 2000)
        self.advance(TIMEOUT + 1)
        self.assertFalse(transport.connected)
        [line] = self.logged()
        self.assertIn("role 3 is not served", line)

    def test_taken(self) -> None:
        """
        Nobody is cut off who has taken everything.
        """
        self.serve(b"hello")
        transport = self.exchange(GET)
        self.advance(10 * TIMEOUT)
        self.assertServes(transport)

    def test_applicationIsTold(self) -> None:
        """
        The application learns that the connection is gone, and producers stop.
        """
        application = self.serve(later)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(GET)
        producer, failures = PushProducer(), []
        request = application.request
        request.notifyFinish().addErrback(failures.append)
        request.registerProducer(producer, True)
        request.write(LARGE)
        self.advance(TIMEOUT + 1)
        self.assertEqual(producer.calls, ["pause", "stop"])
        self.assertEqual(len(failures), 1)

    @table({"kept": (True,), "not kept": (False,)})
    def test_noAnswerToClosing(self, keep: bool) -> None:
        """
        A transport that waits for the other side's consent to close, as TLS
        does, does not wait for ever.
        """

        class Waiting(OneWayTransport):
            def loseConnection(self) -> None:
                self.disconnecting = self._writing = True

            def _allSent(self) -> None:
                if not self.disconnecting:
                    super()._allSent()

        limits = Limits(writeTimeout=TIMEOUT, idleTimeout=5)
        self.serve(Data(b"hello", "text/plain"), limits=limits)
        transport = self.connect(Waiting())
        transport.receive(wire.request(wire.variables(), keep=keep))
        self.advance((5 if keep else 0) + TIMEOUT - 0.5)
        self.assertTrue(transport.disconnecting)
        self.assertTrue(transport.connected)
        self.advance(2.5)
        self.assertFalse(transport.connected)
        self.assertCutOff()

    def test_lingerIsNotCutShort(self) -> None:
        """
        However short the limit is, the web server has its two seconds to
        finish what it sends.
        """
        self.serve(limits=Limits(writeTimeout=0.5, bodyBytes=5))
        transport = self.exchange(wire.beginRequest(keep=False) + wire.params(POST))
        self.assertTrue(transport.writeDisconnected)
        self.advance(1)
        self.assertTrue(transport.connected)
        self.advance(1)
        self.assertClosed(transport)


class SocketTests(StallTestCase):
    """
    Real sockets.
    """

    def start(
        self, application: Any, *, overTCP: bool = False, **options: Any
    ) -> SocketPeer:
        """
        Make a server with one connection.
        """
        self.clock = SocketReactor()
        self.serve(application, **options)
        protocol = self.factory.buildProtocol(None)
        peer = SocketPeer(self.clock, protocol, overTCP=overTCP)
        self.addCleanup(self.finish, peer)
        return peer

    def finish(self, peer: SocketPeer) -> None:
        """
        Close the connection and see that nothing is left.
        """
        peer.close()
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def wait(self, peer: SocketPeer, seconds: float) -> None:
        """
        Let time pass, with everything served that can be.
        """
        while seconds > 0:
            peer.turn()
            self.clock.advance(min(1.0, seconds))
            peer.turn()
            seconds -= 1.0

    @table(
        {
            f"{name}, {network}": (*case, network == "TCP")
            for name, case in SENT.items()
            for network in ("Unix", "TCP")
            # More has to be sent to fill TCP's buffers.
            if network == "Unix" or case[0] in (pushing, pulling)
        }
    )
    def test_dead(self, application: Any, sent: bytes, overTCP: bool) -> None:
        """
        If the system takes nothing for too long, the connection is cut off.
        """
        peer = self.start(application, overTCP=overTCP)
        if overTCP:
            peer.shrink()
        peer.sendSome(sent)
        self.wait(peer, TIMEOUT - 1)
        self.assertEqual(self.factory.connectionCount, 1)
        self.wait(peer, 3)
        self.assertCutOff()

    @table({name: (SENT[name]) for name in list(SENT)[:6]})
    def test_slow(self, application: Any, sent: bytes) -> None:
        """
        Whoever takes 64 KiB within the limit gets everything, however long
        that takes.
        """
        peer = self.start(application)
        peer.sendSome(sent)
        passed = 0
        while len(peer.received) < len(LARGE):
            self.wait(peer, TIMEOUT - 1)
            self.assertEqual(self.logged(), [])
            passed += TIMEOUT - 1
            taken = 0
            while taken < 65536 and (data := peer.read(65536 - taken)):
                taken += len(data)
                peer.turn()
        self.assertGreater(passed, 10 * TIMEOUT)
        peer.readAll()
        unfinished = application is pushing
        answer = wire.response(peer.received, unfinished=unfinished)
        self.assertEqual(answer.body, LARGE)
        self.assertEqual(self.logged(), [])

    def test_trickle(self) -> None:
        """
        Small pieces are progress, too, as soon as they make the system take
        more.
        """
        peer = self.start(whole)
        peer.send(GET)
        for _ in range(50):
            self.wait(peer, 1)
            for _ in range(100):
                peer.read(50)
                peer.turn()
        self.assertEqual(self.factory.connectionCount, 1)

    def test_file(self) -> None:
        """
        A file that is read to its half and then no more is closed.
        """
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(LARGE)
        root = Resource()
        root.putChild(b"file", File(path))
        peer = self.start(root)
        peer.send(wire.request(wire.variables(b"/file")))
        while len(peer.received) < len(LARGE) / 2:
            peer.read()
            peer.turn()
        self.wait(peer, TIMEOUT + 1)
        self.assertCutOff()

    def test_lingerAfterAll(self) -> None:
        """
        The two seconds for what is still sent begin when all of the answer is
        taken, and whatever is sent does not make them more.
        """
        sent = SENT["an answer before the end of the body"][1]
        peer = self.start(whole)
        peer.send(sent)
        self.wait(peer, TIMEOUT - 1)
        peer.readAll()
        self.assertEqual(wire.response(peer.received).body, LARGE)
        self.assertTrue(peer.closed)
        self.assertEqual(self.factory.connectionCount, 1)
        for _ in range(4):
            self.assertEqual(self.factory.connectionCount, 1)
            self.clock.advance(LINGER / 4)
            peer.sendSome(wire.stdin(b"x" * 60000, end=False))
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.logged(), [])

    def test_peerClosesWhileUnsent(self) -> None:
        """
        A web server that goes away in the midst of the last answer leaves
        nothing behind.
        """
        peer = self.start(whole)
        peer.send(LAST)
        peer.read()
        peer.close()
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.logged(), [])
