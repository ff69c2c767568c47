# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Responses that fail midway: the web server must be able to tell them from whole
ones, wherever FastCGI can say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests import wire
from tests.tables import table
from tests.test_aborting import Worker
from tests.transports import (
    Application,
    PullProducer,
    ServerTestCase,
    ServerTransport,
    SocketPeer,
    SocketReactor,
)
from twisted_fastcgi.request import FastCGIRequest

#: What is sent before it fails.
HALF = b"half of it"

Fail = Callable[[Any], Any]


def broken() -> Failure:
    """
    Make a failure as applications have it.
    """
    try:
        raise ZeroDivisionError("on purpose")
    except ZeroDivisionError:
        return Failure()


def raises(request: Any) -> Any:
    """
    Fail while the resource renders.
    """
    raise ZeroDivisionError("on purpose")


def handled(failure: Failure, request: Any) -> None:
    """
    Let Twisted handle a failure.
    """
    request.processingFailed(failure)


def inDeferred(request: Any) -> Any:
    """
    Fail in a Deferred, and let Twisted handle it.
    """
    fail(broken()).addErrback(handled, request)
    return NOT_DONE_YET


def later(request: Any) -> Any:
    """
    The same, but some time later.
    """
    waiting: Deferred[None] = Deferred()
    waiting.addErrback(handled, request)
    request.later = waiting.errback
    return NOT_DONE_YET


def losesConnection(request: Any) -> Any:
    """
    Close the connection, as the request understands it.
    """
    request.loseConnection()
    return NOT_DONE_YET


def losesTransport(request: Any) -> Any:
    """
    Close the connection, as the request's transport understands it.
    """
    request.transport.loseConnection()
    return NOT_DONE_YET


def aborts(request: Any) -> Any:
    """
    Abort the connection.
    """
    request.transport.abortConnection()
    return NOT_DONE_YET


def pullFails(request: Any) -> Any:
    """
    Let a pull producer fail at once.
    """

    def pieces() -> Any:
        yield HALF
        raise ZeroDivisionError("on purpose")

    PullProducer(request, pieces()).start()
    return NOT_DONE_YET


def tooLittle(request: Any) -> Any:
    """
    Finish too early.
    """
    request.finish()
    return NOT_DONE_YET


#: How a response fails; whether there is something in the log of Twisted.
WAYS: dict[str, tuple[Fail, int]] = {
    "the resource raises": (raises, 1),
    "a Deferred fails": (inDeferred, 1),
    "a Deferred fails later": (later, 1),
    "the request gives up": (losesConnection, 0),
    "its transport gives up": (losesTransport, 0),
    "the connection is aborted": (aborts, 0),
}

KINDS = {"lean": FastCGIRequest, "stock": Request}


class FailingTests(ServerTestCase):
    """
    All ways to fail, on connections of both kinds.
    """

    def serveBy(self, kind: type[Request], application: Application) -> None:
        """
        Serve requests of a kind of one's own.

        @param kind: What that is derived from.
        """
        mine = type("Mine", (kind,), {})
        self.serve(Site(application, requestFactory=mine, reactor=self.clock))

    def fails(
        self, way: Fail, kind: type[Request], declared: int | None, keep: bool
    ) -> ServerTransport:
        """
        Begin a response and let it fail.

        @param declared: What its C{Content-Length} says.
        """

        def render(request: Any) -> Any:
            if declared is not None:
                request.setHeader(b"Content-Length", b"%d" % declared)
            request.write(HALF)
            return way(request)

        application = Application(render)
        self.serveBy(kind, application)
        transport = self.connect()
        transport.receive(wire.request(wire.variables(), keep=keep))
        request = application.request
        if hasattr(request, "later"):
            request.later(broken())
            transport.settle()
        return transport

    def assertHalf(self, transport: ServerTransport, declared: int | None) -> None:
        """
        See that the web server can tell: it never gets the end of STDOUT, and
        END_REQUEST only with an application status that says so, of a response
        whose length it knows; and the connection ends.
        """
        if transport.connected:
            self.advance(3)
        self.assertFalse(transport.connected)
        self.assertEqual(self.factory.connectionCount, 0)
        if not transport.value():
            return
        answer = transport.response(unfinished=True)
        self.assertFalse(answer.stdoutEnded)
        self.assertIn(answer.body, (b"", HALF))
        self.assertEqual(answer.ended, declared is not None)
        if answer.ended:
            self.assertEqual((answer.appStatus, answer.protocolStatus), (1, 0))

    @table(
        {
            f"{name}, {kind}, {declared}, {'kept' if keep else 'not kept'}": (
                *way,
                KINDS[kind],
                declared,
                keep,
            )
            for name, way in WAYS.items()
            for kind in KINDS
            # The second is what Twisted's page would fill.
            for declared in (None, 20, 5000)
            for keep in (True, False)
        }
    )
    def test_midway(
        self,
        way: Fail,
        errors: int,
        kind: type[Request],
        declared: int | None,
        keep: bool,
    ) -> None:
        """
        Whatever fails, a response of which half was sent does not look whole.
        """
        transport = self.fails(way, kind, declared, keep)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), errors)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertHalf(transport, declared)

    @table(
        {
            f"{kind}, {'kept' if keep else 'not kept'}": (KINDS[kind], keep)
            for kind in KINDS
            for keep in (True, False)
        }
    )
    def test_tooLittle(self, kind: type[Request], keep: bool) -> None:
        """
        Nor does one that has less than its C{Content-Length}.
        """
        transport = self.fails(tooLittle, kind, 20, keep)
        self.assertHalf(transport, 20)
        (line,) = self.logged()
        self.assertIn("wrote 10 bytes of 20", line)

    @table(
        {
            f"{kind}, {declared}": (KINDS[kind], declared)
            for kind in KINDS
            for declared in (None, 5000)
        }
    )
    def test_pullProducer(self, kind: type[Request], declared: int | None) -> None:
        """
        Nor does one whose pull producer fails.
        """
        transport = None
        try:
            transport = self.fails(pullFails, kind, declared, True)
        except ZeroDivisionError:
            # A reactor would close the connection for that.
            transport = self.transports[0]
            transport.lose(ZeroDivisionError())
        self.flushLoggedErrors(ZeroDivisionError)
        answer = transport.response(unfinished=True)
        self.assertFalse(answer.stdoutEnded)
        self.assertFalse(transport.connected)

    @table(
        {
            f"{kind}, {declared}": (KINDS[kind], declared)
            for kind in KINDS
            for declared in (None, 5000)
        }
    )
    def test_thread(self, kind: type[Request], declared: int | None) -> None:
        """
        Nor does one whose work in a thread fails.
        """
        worker = Worker(self)
        worker.outcome = ZeroDivisionError("on purpose")
        transport = self.fails(worker.start, kind, declared, True)
        self.assertTrue(transport.connected)
        worker.finish()
        transport.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertHalf(transport, declared)

    @table({kind: (KINDS[kind],) for kind in KINDS})
    def test_before(self, kind: type[Request]) -> None:
        """
        What fails before anything was sent is answered with 500, whole, and
        the connection lives on.
        """
        application = Application(raises)
        self.serveBy(kind, application)
        transport = self.exchange(wire.request(wire.variables()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        answer = transport.response()
        self.assertEqual(answer.status, 500)
        self.assertTrue(answer.stdoutEnded)
        self.assertEqual(answer.header(b"Content-Length"), b"%d" % len(answer.body))
        application.answer = b"next"
        self.assertServes(transport)

    @table({kind: (KINDS[kind],) for kind in KINDS})
    def test_statusTooLate(self, kind: type[Request]) -> None:
        """
        A status that is set too late, but is no failure, changes nothing.
        """

        def render(request: Any) -> Any:
            request.write(HALF)
            request.setResponseCode(404)
            request.write(HALF)
            request.finish()
            return NOT_DONE_YET

        self.serveBy(kind, Application(render))
        answer = self.exchange(wire.request(wire.variables())).response()
        self.assertEqual((answer.status, answer.body), (200, HALF * 2))

    def test_ownFailure(self) -> None:
        """
        A response that is said to be a failure from the beginning is whole.
        """

        def render(request: Any) -> Any:
            request.setResponseCode(500)
            request.write(HALF)
            request.finish()
            return NOT_DONE_YET

        self.serveBy(Request, Application(render))
        transport = self.exchange(wire.request(wire.variables()))
        answer = transport.response()
        self.assertEqual((answer.status, answer.body), (500, HALF))
        self.assertTrue(answer.stdoutEnded)


class SocketTests(ServerTestCase):
    """
    Producers that fail when a real transport asks them.
    """

    @table({"whole length known": (1000000,), "not known": (None,)})
    def test_pullProducer(self, declared: int | None) -> None:
        """
        A pull producer that fails when it is asked again closes the
        connection, without anything that would look like an end.
        """

        def pieces() -> Any:
            yield b"x" * 100000
            raise ZeroDivisionError("on purpose")

        def render(request: Any) -> Any:
            if declared is not None:
                request.setHeader(b"Content-Length", b"%d" % declared)
            PullProducer(request, pieces()).start()
            return NOT_DONE_YET

        self.clock = SocketReactor()
        self.serve(Application(render))
        peer = SocketPeer(self.clock, self.factory.buildProtocol(None))
        self.addCleanup(peer.close)
        peer.send(wire.request(wire.variables()))
        answer = wire.response(peer.readAll(), unfinished=True)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(answer.stdoutEnded)
        self.assertFalse(answer.ended and not answer.appStatus)
        self.assertTrue(peer.closed)
        self.assertEqual(self.factory.connectionCount, 0)
