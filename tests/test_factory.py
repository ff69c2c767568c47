# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.server.FastCGIFactory}: what all connections share.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import error, task
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import table
from tests.transports import (
    Application,
    PushProducer,
    ServerTestCase,
    ServerTransport,
    SocketPeer,
    SocketReactor,
    later,
)
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.request import FastCGIRequest
from twisted_fastcgi.server import FastCGIFactory, FastCGIProtocol

GET = wire.request(wire.variables())
LAST = wire.request(wire.variables(), keep=False)


class MakingTests(ServerTestCase):
    """
    What can be served.
    """

    def test_resource(self) -> None:
        """
        A resource gets a site of its own, quiet and without an access log.
        """
        application = self.serve()
        self.assertIsInstance(self.factory.site, Site)
        self.assertIs(self.factory.site.resource, application)
        self.assertIs(self.factory.loggingSite, None)
        self.assertIs(self.factory.requestFactory, FastCGIRequest)
        self.assertFalse(self.factory.noisy)
        self.assertFalse(self.factory.site.noisy)
        verifyObject(IProtocolFactory, self.factory)

    def test_site(self) -> None:
        """
        A site is served as it is; only Twisted's own requests are replaced by
        leaner ones.
        """
        site = Site(Application(), reactor=self.clock)
        self.serve(site)
        self.assertIs(self.factory.site, site)
        self.assertIs(self.factory.loggingSite, site)
        self.assertIs(self.factory.requestFactory, FastCGIRequest)
        self.assertIs(site.requestFactory, Request)

    def test_requestFactory(self) -> None:
        """
        A C{requestFactory} of the site's own makes the requests, even if it is
        set later.
        """

        class Mine(Request):
            pass

        site = Site(Application(later), reactor=self.clock)
        application: Any = self.serve(site).resource
        site.requestFactory = Mine
        self.exchange(GET)
        self.assertIs(type(application.request), Mine)

    def test_neither(self) -> None:
        """
        What is neither is refused, and the error shows it.
        """
        for wrong in (None, "resource", Resource, object()):
            with self.assertRaises(TypeError) as caught:
                FastCGIFactory(wrong, reactor=self.clock)  # type: ignore[arg-type]
            self.assertIn(repr(wrong), str(caught.exception))

    def test_mountedSite(self) -> None:
        """
        A site can't be mounted, since it has its resource already; the error
        tells what to do.
        """
        site = Site(Resource(), reactor=self.clock)
        with self.assertRaises(ValueError) as caught:
            FastCGIFactory(site, mount="/app", reactor=self.clock)
        self.assertIn("mounted", str(caught.exception))
        FastCGIFactory(site, mount="/", reactor=self.clock)

    def test_wrongMount(self) -> None:
        """
        A mount that is no place is refused.
        """
        with self.assertRaises(ValueError):
            FastCGIFactory(Resource(), mount="app", reactor=self.clock)

    def test_defaults(self) -> None:
        """
        There are limits that make sense, and the reactor tells the time.
        """
        from twisted.internet import reactor

        factory = FastCGIFactory(Resource())
        self.assertIs(factory.reactor, reactor)
        self.assertEqual(factory.limits, Limits())
        self.assertEqual(factory.connectionCount, 0)

    def test_protocol(self) -> None:
        """
        It makes protocols that know it.
        """
        self.serve()
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 9))
        self.assertIsInstance(protocol, FastCGIProtocol)
        self.assertIs(protocol.factory, self.factory)  # type: ignore[union-attr]


class StartTests(ServerTestCase):
    """
    The factory and its site start and stop together.
    """

    def test_startAndStop(self) -> None:
        """
        The site starts with the first port and stops with the last, so that
        its access log is open while there is something to be logged.
        """
        path = self.mktemp()
        site = Site(Application(), logPath=path.encode(), reactor=self.clock)
        site.noisy = False
        self.serve(site)
        self.factory.doStart()
        self.factory.doStart()
        self.exchange(GET)
        self.factory.doStop()
        self.exchange(GET)
        self.factory.doStop()
        with open(path) as logged:
            lines = logged.readlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertTrue(line.startswith('"192.0.2.7" - - ['))
            self.assertIn('"GET / HTTP/1.1" 200 5 ', line)

    def test_sharedSite(self) -> None:
        """
        A site that is served over HTTP at the same time stays started until
        both have stopped.
        """
        site = Site(Application(), reactor=self.clock)
        site.noisy = False
        self.serve(site)
        site.doStart()
        self.factory.doStart()
        self.assertEqual(site.numPorts, 2)
        self.factory.doStop()
        self.assertEqual(site.numPorts, 1)
        self.assertNotEqual(self.clock.getDelayedCalls(), [])
        site.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_both(self) -> None:
        """
        Requests that come both ways meet the same resources and sessions.
        """
        sessions: list[Any] = []

        def render(request: Any) -> bytes:
            sessions.append(request.getSession())
            return b"x"

        site = Site(Application(render), reactor=self.clock)
        self.serve(site)
        answer = self.exchange(GET).response()
        cookie = (answer.header(b"Set-Cookie") or b"").partition(b";")[0]
        web: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 9))
        transport = StringTransport()
        web.makeConnection(transport)
        web.dataReceived(
            b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + cookie + b"\r\n\r\n"
        )
        self.assertIs(sessions[0], sessions[1])
        web.connectionLost(None)
        sessions[0].expire()

    def test_nothingRunsWithoutConnections(self) -> None:
        """
        As long as there are no connections there is nothing to be done, so
        nothing is scheduled.
        """
        self.serve()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        first, second = self.connect(), self.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.advance(10)
        first.close()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        second.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWithConnections(self) -> None:
        """
        Deadlines hold as long as there are connections, though nothing listens
        any more.
        """
        self.serve(limits=Limits(paramsTimeout=5))
        self.factory.doStart()
        transport = self.exchange(GET[:9])
        self.factory.doStop()
        self.advance(7)
        self.assertClosed(transport)

    def test_deadlinesOfMany(self) -> None:
        """
        A request that fails when its time is over does not keep others from
        being looked at.
        """

        class Bad(Request):
            def connectionLost(self, reason: Any) -> None:
                raise ZeroDivisionError("on purpose")

        site = Site(Application(), Bad, reactor=self.clock)
        self.serve(site, limits=Limits(bodyTimeout=5))
        sent = wire.beginRequest() + wire.params(wire.postVariables(b"body"))
        transports = [self.exchange(sent) for _ in range(3)]
        self.advance(7)
        for transport in transports:
            self.assertEqual(transport.statuses(), [408])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)


class ConnectionsTests(ServerTestCase):
    """
    There is a limit to the number of connections.
    """

    @table({str(number): (number,) for number in (1, 2, 5)})
    def test_connections(self, limit: int) -> None:
        """
        As many connections as are allowed are served, and none is once there
        are more; it does not matter what the others do.
        """
        self.serve(limits=Limits(connections=limit))
        served = [self.connect() for _ in range(limit)]
        refused = self.connect()
        self.assertEqual(self.factory.connectionCount, limit + 1)
        for transport in served:
            self.assertServes(transport)
        refused.receive(GET)
        answer = refused.response()
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.protocolStatus, wire.OVERLOADED)
        self.assertTrue(refused.writeDisconnected)
        refused.close()
        self.assertEqual(len(self.logged()), 1)
        served.pop().close()
        self.assertServes()

    def test_managementIsAnswered(self) -> None:
        """
        On a connection too many the limits can still be asked for.
        """
        self.serve(limits=Limits(connections=1))
        self.connect()
        transport = self.exchange(wire.getValues(b"FCGI_MAX_CONNS"))
        (record,) = wire.management(transport.value())
        self.assertEqual(wire.readPairs(record.content), [(b"FCGI_MAX_CONNS", b"1")])

    def test_refusedIsNotKept(self) -> None:
        """
        A connection too many is not kept waiting for its request for longer
        than a request may take to arrive.
        """
        self.serve(limits=Limits(connections=1, paramsTimeout=10))
        served, refused = self.connect(), self.connect()
        self.advance(12)
        self.assertTrue(served.connected)
        self.assertClosed(refused)
        self.assertEqual(self.logged(), [])


class DrainTests(ServerTestCase):
    """
    The server stops without losing anything.
    """

    def drain(self, grace: float = 30, refuse: bool = True) -> list[None]:
        """
        Begin to stop.

        @return: Where it is noted that it is done.
        """
        done: list[None] = []
        self.factory.drain(grace, refuse).addCallback(done.append)
        return done

    def test_nothing(self) -> None:
        """
        Without connections it is done at once.
        """
        self.serve()
        self.assertEqual(self.drain(), [None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle(self) -> None:
        """
        A kept connection without a request stays open for a second, lest a
        request that is on its way is lost; then it is closed.
        """
        self.serve()
        transport = self.exchange(GET)
        done = self.drain()
        self.clock.advance(0.9)
        self.assertTrue(transport.connected)
        self.clock.advance(0.1)
        transport.settle()
        self.assertClosed(transport)
        self.assertEqual(done, [None])
        self.assertEqual(self.logged(), [])

    def test_newRequest(self) -> None:
        """
        A new request on a kept connection gets 503 and OVERLOADED.  The
        connection is closed a second after the beginning, and not right after
        an answer, when the next request may be on its way.
        """
        application = self.serve()
        transport = self.exchange(GET)
        done = self.drain()
        transport.clear()
        transport.receive(GET, GET)
        for answer in transport.responses():
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.protocolStatus, wire.OVERLOADED)
        self.assertEqual(len(transport.responses()), 2)
        self.assertEqual(len(application.requests), 1)
        self.advance(0.9)
        self.assertFalse(transport.writeDisconnecting)
        self.advance(0.2)
        self.assertTrue(transport.writeDisconnected)
        self.advance(3)
        self.assertClosed(transport)
        self.assertEqual(done, [None])

    def test_newConnection(self) -> None:
        """
        So does one on a connection that comes after that.
        """
        self.serve(later)
        busy = self.exchange(GET)
        self.drain()
        self.assertEqual(self.exchange(GET).statuses(), [503])
        self.assertTrue(busy.connected)

    def test_busyShortly(self) -> None:
        """
        A connection on which a request is finished within that second stays
        open until then.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        done = self.drain()
        application.request.finish()
        transport.settle()
        self.advance(0.9)
        self.assertTrue(transport.connected)
        self.advance(0.2)
        self.assertClosed(transport)
        self.assertEqual(done, [None])

    def test_busy(self) -> None:
        """
        A request in hand is finished, though its connection was to be kept;
        then that is closed, and all is done.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        done = self.drain()
        self.advance(20)
        self.assertTrue(transport.connected)
        self.assertEqual(done, [])
        application.request.write(b"done")
        application.request.finish()
        transport.settle()
        self.assertEqual(transport.response().body, b"done")
        self.assertClosed(transport)
        self.assertEqual(done, [None])
        self.assertEqual(self.logged(), [])

    def test_arriving(self) -> None:
        """
        A request that has begun to arrive is in hand.
        """
        self.serve()
        sent = wire.request(wire.postVariables(b"0123456789"), b"0123456789")
        transport = self.exchange(sent[:-20])
        begun = self.exchange(sent[:50])
        self.drain()
        self.advance(5)
        transport.receive(sent[-20:])
        begun.receive(sent[50:])
        self.assertEqual(transport.statuses() + begun.statuses(), [200, 200])
        self.assertClosed(transport)
        self.assertClosed(begun)

    def test_grace(self) -> None:
        """
        What takes longer than it may is aborted: the application is told, its
        producer is stopped, and the log tells how many there were.
        """
        application = self.serve(later)
        transports = [self.exchange(GET) for _ in range(3)]
        failures: list[Any] = []
        producers = [PushProducer() for _ in transports]
        for request, producer in zip(application.requests, producers, strict=True):
            request.notifyFinish().addErrback(failures.append)
            request.registerProducer(producer, True)
        done = self.drain(5)
        self.advance(4)
        self.assertEqual(failures, [])
        self.advance(2)
        for transport in transports:
            transport.lost.trap(error.ConnectionAborted)  # type: ignore[union-attr]
        self.assertEqual(len(failures), 3)
        self.assertEqual([producer.calls for producer in producers], [["stop"]] * 3)
        self.assertEqual(done, [None])
        (line,) = self.logged()
        self.assertIn("3", line)

    def test_unread(self) -> None:
        """
        What nobody reads is given up then as well.
        """
        self.serve(b"x" * 100000)
        transport = self.connect(ServerTransport(stalled=True))
        transport.receive(LAST)
        self.drain(5)
        self.advance(4)
        self.assertTrue(transport.connected)
        self.advance(2)
        self.assertFalse(transport.connected)

    def test_lingering(self) -> None:
        """
        A connection that is only waiting to be closed is closed in its time.
        """
        self.serve(limits=Limits(bodyBytes=5))
        variables = wire.postVariables(b"0123456789")
        transport = self.exchange(
            wire.beginRequest(keep=False) + wire.params(variables)
        )
        done = self.drain(30)
        self.clock.advance(1.5)
        self.assertTrue(transport.connected)
        self.clock.advance(0.5)
        self.assertClosed(transport)
        self.assertEqual(done, [None])

    def test_noGrace(self) -> None:
        """
        There need not be any time.
        """
        self.serve(later)
        idle, busy = self.connect(), self.exchange(GET)
        done = self.drain(0)
        self.clock.advance(0)
        idle.settle()
        busy.settle()
        self.assertEqual(done, [None])
        self.assertFalse(idle.connected or busy.connected)

    def test_twice(self) -> None:
        """
        To stop twice is to stop once, and everyone who asked is told.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        first, second = self.drain(30), self.drain(1)
        self.advance(20)
        self.assertEqual(first + second, [])
        application.request.finish()
        transport.settle()
        self.assertEqual(first + second, [None, None])

    def test_unrefused(self) -> None:
        """
        If nothing is to be refused, a kept connection serves one more request,
        and ends with the end of its response; one that is not used stays open
        for a second.
        """
        application = self.serve()
        used, unused = self.exchange(GET), self.exchange(GET)
        done = self.drain(30, refuse=False)
        used.clear()
        used.receive(GET, GET)
        self.assertEqual(used.statuses(), [200])
        self.assertEqual(len(application.requests), 3)
        used.settle()
        self.assertClosed(used)
        self.advance(0.9)
        self.assertTrue(unused.connected)
        self.advance(0.2)
        unused.settle()
        self.assertClosed(unused)
        self.advance(3)
        self.assertEqual(done, [None])
        self.assertEqual(self.logged(), [])

    def test_unrefusedBusy(self) -> None:
        """
        A request in hand is the last one of its connection then, whose end comes
        together with that of the response: nobody can take it for one that is
        kept.
        """
        application = self.serve(later)
        whole, pieces = self.exchange(GET), self.exchange(GET)
        done = self.drain(30, refuse=False)
        first, second = application.requests
        first.write(b"done")
        first.finish()
        second.setHeader(b"content-length", b"8")
        second.write(b"half")
        second.write(b"done")
        second.finish()
        for transport in (whole, pieces):
            self.assertTrue(transport.disconnecting)
            transport.settle()
            self.assertEqual(transport.response().status, 200)
            self.assertClosed(transport)
        self.assertEqual(done, [None])

    def test_oneGivesUpWaiting(self) -> None:
        """
        Who does not want to wait any more does not keep others from it.
        """
        self.serve()
        transport = self.connect()
        waiting = self.factory.drain(30)
        done = self.drain()
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        transport.close()
        self.assertEqual(done, [None])

    def test_again(self) -> None:
        """
        After that it can start anew.
        """
        self.serve()
        self.factory.doStart()
        self.connect().close()
        self.factory.doStop()
        self.assertEqual(self.drain(), [None])
        self.factory.doStart()
        self.assertServes()
        self.factory.doStop()


class SocketTests(ServerTestCase):
    """
    It all works with real sockets.
    """

    def start(
        self, application: Any, *, overTCP: bool = False, **options: Any
    ) -> SocketPeer:
        """
        Make a server with one connection.
        """
        reactor = SocketReactor()
        self.clock = reactor
        self.serve(application, **options)
        peer = SocketPeer(reactor, self.factory.buildProtocol(None), overTCP=overTCP)
        self.addCleanup(self.finish, peer)
        return peer

    def finish(self, peer: SocketPeer) -> None:
        """
        Close the connection and see that nothing is left.
        """
        peer.close()
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @table({"TCP": (True,), "Unix": (False,)})
    def test_requests(self, overTCP: bool) -> None:
        """
        Requests on a kept connection are served, and the last one closes it.
        """
        peer = self.start(b"hello", overTCP=overTCP)
        for number in range(1, 4):
            peer.send(GET)
            bodies = [answer.body for answer in wire.responses(peer.readAll())]
            self.assertEqual(bodies, [b"hello"] * number)
        peer.send(LAST)
        self.assertEqual(len(wire.responses(peer.readAll())), 4)
        self.assertTrue(peer.closed)

    @table({"TCP": (True,), "Unix": (False,)})
    def test_large(self, overTCP: bool) -> None:
        """
        A body that fills all buffers goes one way, and an answer the other.
        """
        body = b"0123456789" * 100000
        peer = self.start(lambda request: body, overTCP=overTCP)
        peer.send(wire.request(wire.postVariables(body), body))
        self.assertEqual(wire.response(peer.readAll()).body, body)
        application: Any = self.factory.site.resource
        self.assertEqual(application.seen[0][3], body)

    def test_pipelined(self) -> None:
        """
        Requests whose answers fill all buffers are answered one after the
        other, when there is room.
        """
        peer = self.start(b"x" * 300000)
        peer.send(GET * 5)
        application: Any = self.factory.site.resource
        self.assertLess(len(application.requests), 5)
        self.assertEqual(
            [len(found.body) for found in wire.responses(peer.readAll())], [300000] * 5
        )

    def test_file(self) -> None:
        """
        A file, which comes by way of a pull producer, is sent as it is.
        """
        from twisted.web.static import File

        path = self.mktemp()
        content = b"0123456789" * 50000
        with open(path, "wb") as file:
            file.write(content)
        root = Resource()
        root.putChild(b"file", File(path))
        peer = self.start(root)
        for _ in range(2):
            peer.send(wire.request(wire.variables(b"/file")))
            peer.readAll()
        answers = wire.responses(peer.received)
        self.assertEqual([found.body == content for found in answers], [True, True])

    def test_producer(self) -> None:
        """
        A push producer is paused when nobody reads, while an abort is seen.
        """
        peer = self.start(later)
        peer.send(GET)
        application: Any = self.factory.site.resource
        producer = PushProducer()
        request = application.request
        failures: list[Any] = []
        request.notifyFinish().addErrback(failures.append)
        request.registerProducer(producer, True)
        request.write(b"x" * 1000000)
        self.assertEqual(producer.calls, ["pause"])
        peer.send(wire.abortRequest())
        self.assertEqual(producer.calls, ["pause", "stop"])
        self.assertEqual(len(failures), 1)
        self.assertEqual(wire.response(peer.readAll()).appStatus, 1)
        peer.send(GET)
        self.assertEqual(len(application.requests), 2)

    def test_halfClose(self) -> None:
        """
        A web server that still sends gets the answer all the same, and the
        connection is closed two seconds later.
        """
        peer = self.start(b"", limits=Limits(bodyBytes=5))
        body = b"0123456789" * 100000
        peer.send(wire.request(wire.postVariables(body), body, keep=False))
        self.assertEqual(wire.response(peer.readAll()).status, 413)
        self.assertTrue(peer.closed)
        self.assertEqual(self.factory.connectionCount, 1)
        self.clock.advance(2)
        self.assertEqual(self.factory.connectionCount, 0)

    def test_flood(self) -> None:
        """
        Between two requests a flood that nobody wants to have answered is not
        read any more when its answers fill all buffers.
        """
        peer = self.start(b"hello")
        flood = wire.record(99, 0) * 8000
        reader = peer.transport
        while reader in self.clock.getReaders():  # type: ignore[attr-defined]
            peer.send(flood)
        peer.readAll()
        self.assertIn(reader, self.clock.getReaders())  # type: ignore[attr-defined]

    def test_clock(self) -> None:
        """
        The clock of these tests is one.
        """
        self.assertIsInstance(SocketReactor(), task.Clock)
