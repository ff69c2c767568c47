# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.cancelling}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Site

from tests import wire
from tests.tables import table
from tests.transports import Application, ServerTestCase
from twisted_fastcgi import cancelOnDisconnect

Leave = Callable[[], None]


class CancelTests(ServerTestCase):
    """
    Work whose client leaves.

    @ivar waiting: What the work waits for.
    @ivar ends: How the work has ended.
    """

    def setUp(self) -> None:
        super().setUp()
        self.waiting: Deferred[bytes] = Deferred()
        self.ends: list[object] = []

    def end(self, result: object) -> None:
        """
        Note how the work has ended.
        """
        self.ends.append(result.type if isinstance(result, Failure) else result)

    def deferred(self, request: Any) -> Any:
        """
        Answer when something fires.
        """

        def finish(body: bytes) -> bytes:
            request.write(body)
            request.finish()
            return body

        work = cancelOnDisconnect(request, self.waiting.addCallback(finish))
        work.addBoth(self.end)
        return NOT_DONE_YET

    def coroutine(self, request: Any) -> Any:
        """
        Answer by a coroutine.
        """

        async def work() -> str:
            request.write(await self.waiting)
            request.finish()
            return "written"

        cancelOnDisconnect(request, work()).addBoth(self.end)
        return NOT_DONE_YET

    def overFastCGI(self, resource: IResource) -> dict[str, Leave]:
        """
        Ask over FastCGI.

        @return: How the client may leave.
        """
        self.serve(resource)
        transport = self.exchange(wire.request(wire.variables()))
        return {
            "close": transport.close,
            "abort": lambda: transport.receive(wire.abortRequest()),
        }

    def overHTTP(self, resource: IResource) -> dict[str, Leave]:
        """
        Ask over HTTP.

        @return: How the client may leave.
        """
        protocol: Any = Site(resource, reactor=Clock()).buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return {"close": lambda: protocol.connectionLost(Failure(ConnectionDone()))}

    @table(
        {
            f"{work}, {over}, {how}": (work, over, how)
            for work in ("deferred", "coroutine")
            for over, how in [
                ("overFastCGI", "close"),
                ("overFastCGI", "abort"),
                ("overHTTP", "close"),
            ]
        }
    )
    def test_leaves(self, work: str, over: str, how: str) -> None:
        """
        It is cancelled when the client leaves, by whatever way it came, and
        when the web server aborts the request.
        """
        ways = getattr(self, over)(Application(getattr(self, work)))
        self.assertEqual(self.ends, [])
        ways[how]()
        self.assertEqual(self.ends, [CancelledError])

    @table({"deferred": ("deferred", b"body"), "coroutine": ("coroutine", "written")})
    def test_finishes(self, work: str, result: object) -> None:
        """
        It is left alone when it ends of its own, and gives its result.
        """
        leave = self.overFastCGI(Application(getattr(self, work)))["close"]
        self.waiting.callback(b"body")
        leave()
        self.assertEqual(self.ends, [result])
        self.assertEqual(self.transports[0].response().body, b"body")

    def test_afterTheEnd(self) -> None:
        """
        What goes on after the response is not cancelled with it.
        """

        def answer(request: Any) -> bytes:
            cancelOnDisconnect(request, self.waiting).addBoth(self.end)
            return b"done"

        self.overFastCGI(Application(answer))["close"]()
        self.assertEqual(self.ends, [])

    def test_tooLate(self) -> None:
        """
        What begins after the client has left is cancelled at once; what begins
        after the response is not.
        """
        for answer, expected in [
            (lambda request: NOT_DONE_YET, [CancelledError]),
            (lambda request: b"done", []),
        ]:
            application = Application(answer)
            self.overFastCGI(application)["close"]()
            work: Deferred[None] = Deferred()
            self.ends.clear()
            cancelOnDisconnect(application.request, work).addBoth(self.end)
            self.assertEqual(self.ends, expected)

    def test_finishedAndGone(self) -> None:
        """
        It is not cancelled when the client has left after the response was
        finished, but before it had all of it: over HTTP/2 the request is told
        of that, too.
        """
        application = Application(lambda request: b"done")
        self.overHTTP(application)
        application.request.connectionLost(Failure(ConnectionDone()))
        cancelOnDisconnect(application.request, self.waiting).addBoth(self.end)
        self.assertEqual(self.ends, [])

    @table(
        {
            f"{kind}, {how}": (kind, how)
            for kind in ("deferred", "coroutine")
            for how in ("close", "abort")
        }
    )
    def test_klein(self, kind: str, how: str) -> None:
        """
        Klein cancels by itself what its routes give.
        """
        app = Klein()

        def deferred(request: Any) -> Deferred[Any]:
            return self.waiting.addBoth(self.noted)

        async def coroutine(request: Any) -> bytes:
            try:
                return await self.waiting
            except BaseException:
                self.end(Failure())
                raise

        def route(request: Any) -> Deferred[Any] | Coroutine[Any, Any, bytes]:
            return deferred(request) if kind == "deferred" else coroutine(request)

        app.route("/")(route)
        ways = self.overFastCGI(app.resource())
        self.assertEqual(self.ends, [])
        ways[how]()
        self.assertEqual(self.ends, [CancelledError])

    def noted(self, result: object) -> object:
        """
        Note how the work has ended, and pass it on.
        """
        self.end(result)
        return result
