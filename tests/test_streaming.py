# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for request bodies that are delivered to a protocol:
L{twisted_fastcgi.interfaces.IStreamingResource} and
L{twisted_fastcgi.body}.
"""

from __future__ import annotations

import gc
from io import BytesIO
from typing import Any
from weakref import ref

from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    TimeoutError,
)
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.protocols.basic import LineReceiver
from twisted.web.client import ResponseDone
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import table
from tests.transports import Application, ServerTestCase
from twisted_fastcgi.body import FileSource
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.errors import BodyTooShort, LimitExceeded
from twisted_fastcgi.interfaces import IFastCGIRequest, IStreamingResource
from twisted_fastcgi.request import FastCGIRequest

BODY = b"0123456789"
END = wire.stdin(b"")


def begun(told: bytes = b"10", path: bytes = b"/", **changes: bytes | None) -> bytes:
    """
    Build the beginning of a request whose body is still to come.
    """
    variables = wire.postVariables(BODY, path, CONTENT_LENGTH=told, **changes)
    return wire.beginRequest() + wire.params(variables)


def piece(data: bytes) -> bytes:
    """
    Build a piece of the body.
    """
    return wire.stdin(data, end=False)


class Taker(Protocol):
    """
    Takes a body.

    @ivar pieces: What has come of it.
    @ivar reasons: Why it ended.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.reasons: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.reasons.append(reason.type)


@implementer(IStreamingResource)
class Streaming(Resource):
    """
    A resource that takes bodies while they come.

    @ivar requests: The requests, in their order.
    @ivar taker: Takes the next body.
    @ivar takes: Whether it does so at once.
    """

    isLeaf = True

    def __init__(self, taker: Any = None, takes: bool = True) -> None:
        super().__init__()
        self.requests: list[Any] = []
        self.taker = Taker() if taker is None else taker
        self.takes = takes

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        if self.takes:
            self.take()
        return NOT_DONE_YET

    def take(self) -> None:
        """
        Take the body.
        """
        IFastCGIRequest(self.requests[-1]).deliverBody(self.taker)


class StreamingTestCase(ServerTestCase):
    """
    A test case with a resource that takes bodies while they come.
    """

    def stream(self, *pieces: bytes, **options: Any) -> Any:
        """
        Serve it, and send something.
        """
        self.resource = Streaming()
        self.taker = self.resource.taker
        self.serve(self.resource, **options)
        return self.exchange(*pieces)


class DeliveryTests(StreamingTestCase):
    """
    A body on its way.
    """

    def test_pieces(self) -> None:
        """
        The resource is rendered as soon as the variables are complete, gets
        each piece when it comes, and is told of the end.
        """
        transport = self.stream(begun())
        (request,) = self.resource.requests
        self.assertEqual(self.taker.pieces, [])
        transport.receive(piece(b"01234"))
        self.assertEqual(self.taker.pieces, [b"01234"])
        transport.receive(piece(b"56789"))
        self.assertEqual(self.taker.pieces, [b"01234", b"56789"])
        transport.receive(END)
        self.assertEqual(self.taker.reasons, [ResponseDone])
        request.write(b"taken")
        request.finish()
        transport.settle()
        answer = transport.response()
        self.assertEqual((answer.status, answer.body), (200, b"taken"))

    @table(
        {
            "its length is told": (b"10",),
            "its length is not told": (b"",),
        }
    )
    def test_atOnce(self, told: bytes) -> None:
        """
        A body that comes together with its request is delivered, too; of one
        whose length was told, the end is where that says.
        """
        self.stream(begun(told) + piece(BODY) + END)
        self.assertEqual(b"".join(self.taker.pieces), BODY)
        self.assertEqual(self.taker.reasons, [ResponseDone])

    @table({"no length": (b"",), "a length of 0": (b"0",)})
    def test_noBody(self, told: bytes) -> None:
        """
        A request without a body has the end of one.
        """
        self.stream(begun(told) + END)
        self.assertEqual(self.taker.pieces, [])
        self.assertEqual(self.taker.reasons, [ResponseDone])

    def test_lengthIsTheEnd(self) -> None:
        """
        The body is complete when as much of it has come as was told, whether
        the stream is closed or not.
        """
        self.stream(begun(), piece(BODY))
        self.assertEqual(self.taker.reasons, [ResponseDone])

    def test_whatItSees(self) -> None:
        """
        The request has its method, path and query, no field of a form, and a
        content with nothing in it.
        """
        form = b"application/x-www-form-urlencoded"
        body = b"field=1"
        uri = {"REQUEST_URI": b"/a/b?c=d", "QUERY_STRING": b"c=d"}
        start = begun(b"7", b"/a/b", CONTENT_TYPE=form, **uri)
        self.stream(start + piece(body) + END)
        (request,) = self.resource.requests
        self.assertEqual((request.method, request.path), (b"POST", b"/a/b"))
        self.assertEqual(request.args, {b"c": [b"d"]})
        self.assertEqual(request.content.read(), b"")
        self.assertEqual(self.taker.pieces, [body])

    def test_transport(self) -> None:
        """
        What takes the body has a transport that pauses and resumes.
        """
        self.stream(begun())
        verifyObject(IPushProducer, self.taker.transport)

    def test_onceOnly(self) -> None:
        """
        A body can't be delivered twice.
        """
        self.stream(begun())
        error = self.assertRaises(RuntimeError, self.resource.take)
        self.assertIn("once", str(error))

    def test_nextRequest(self) -> None:
        """
        A kept connection serves the next request.
        """
        transport = self.stream(begun() + piece(BODY) + END)
        self.resource.requests[0].finish()
        self.resource.taker = Taker()
        transport.receive(begun() + piece(b"abcdefghij") + END)
        self.assertEqual(self.resource.taker.pieces, [b"abcdefghij"])
        self.resource.requests[1].finish()
        transport.settle()
        self.assertEqual(transport.statuses(), [200, 200])

    def test_answeredBefore(self) -> None:
        """
        What comes of a body together with a request that is answered at once is
        thrown away, also if it is longer than told.
        """
        taker = Taker()

        @implementer(IStreamingResource)
        class Early(Resource):
            isLeaf = True

            def render_POST(self, request: Any) -> bytes:
                IFastCGIRequest(request).deliverBody(taker)
                return b"early"

        self.serve(Early())
        for told in (b"3", b"500"):
            variables = wire.postVariables(b"", CONTENT_LENGTH=told)
            transport = self.exchange(wire.request(variables, b"x" * 500))
            self.assertEqual(transport.response().body, b"early")


class PausingTests(StreamingTestCase):
    """
    A body that has to wait.
    """

    def test_notAskedFor(self) -> None:
        """
        Until it is asked for, no more than 64 KiB and one burst of it is read.
        """
        self.resource = Streaming(takes=False)
        self.serve(self.resource)
        sent = bytes(16384)
        transport = self.exchange(begun(b"1000000"), *[piece(sent)] * 61)
        self.assertTrue(transport.undelivered > 900_000)
        self.resource.take()
        transport.settle()
        self.assertEqual(transport.undelivered, 0)
        self.assertEqual(sum(map(len, self.resource.taker.pieces)), 999_424)

    def test_pausesAndResumes(self) -> None:
        """
        What takes the body pauses it and goes on, and the end waits, too.
        """
        transport = self.stream(begun())
        self.taker.transport.pauseProducing()
        transport.receive(piece(b"01234"), piece(b"56789"), END)
        self.assertEqual((self.taker.pieces, self.taker.reasons), ([], []))
        self.taker.transport.resumeProducing()
        self.assertEqual(self.taker.pieces, [b"01234", b"56789"])
        self.assertEqual(self.taker.reasons, [ResponseDone])

    def test_pausesWithin(self) -> None:
        """
        What pauses when it has got a piece gets no other.
        """

        class OneByOne(Taker):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()  # type: ignore[union-attr]

        taker = OneByOne()
        self.resource = Streaming(taker)
        self.serve(self.resource)
        self.exchange(begun() + piece(b"01234"), piece(b"56789") + END)
        for number in range(2):
            self.assertEqual((len(taker.pieces), taker.reasons), (number + 1, []))
            taker.transport.resumeProducing()  # type: ignore[union-attr]
        self.assertEqual(taker.reasons, [ResponseDone])

    @table({"while it comes": (True,), "when it is there": (False,)})
    def test_pausedAtFirst(self, streams: bool) -> None:
        """
        What takes the body may pause it before anything has come.
        """

        class Later(Taker):
            def connectionMade(self) -> None:
                self.transport.pauseProducing()  # type: ignore[union-attr]

        taker = Later()
        self.resource = Streaming(taker)
        make = FastCGIRequest if streams else lambda channel, _: Request(channel)
        self.serve(Site(self.resource, make, reactor=self.clock))
        self.exchange(begun() + piece(BODY) + END)
        self.assertEqual((taker.pieces, taker.reasons), ([], []))
        taker.transport.resumeProducing()  # type: ignore[union-attr]
        self.assertEqual((taker.pieces, taker.reasons), ([BODY], [ResponseDone]))

    @table(
        {
            "complete": (piece(BODY), END),
            "aborted": (wire.abortRequest(),),
            "too short": (END,),
        }
    )
    def test_letGo(self, *last: bytes) -> None:
        """
        Nothing holds what took the body, nor its request, when both are over,
        and nothing waits for the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        transport = self.stream(begun(), *last)
        (request,) = self.resource.requests
        if not (request.finished or request._disconnected):
            request.finish()
        transport.settle()
        left = ref(self.taker), ref(request)
        del self.taker, request
        self.resource.taker = self.resource.requests = None
        self.assertEqual([each() for each in left], [None, None])

    def test_lineReceiver(self) -> None:
        """
        The protocols of Twisted take a body.
        """

        class Lines(LineReceiver):
            delimiter = b"\n"

            def __init__(self) -> None:
                self.lines: list[bytes] = []

            def lineReceived(self, line: bytes) -> None:
                self.lines.append(line)
                self.pauseProducing()

        lines = Lines()
        self.resource = Streaming(lines)
        self.serve(self.resource)
        self.exchange(begun(b"9") + piece(b"one\ntw") + piece(b"o\n\n") + END)
        self.assertEqual(lines.lines, [b"one"])
        lines.resumeProducing()
        self.assertEqual(lines.lines, [b"one", b"two"])

    def test_requestCantResume(self) -> None:
        """
        The request's own transport does not set the body going before there is
        anybody who takes it.
        """
        self.resource = Streaming(takes=False)
        self.serve(self.resource)
        transport = self.exchange(begun())
        self.resource.requests[0].transport.resumeProducing()
        transport.receive(piece(BODY))
        self.resource.take()
        self.assertEqual(self.resource.taker.pieces, [BODY])

    def test_timeout(self) -> None:
        """
        While the body waits for the application, no time is up for it.
        """
        transport = self.stream(begun(), limits=Limits(bodyTimeout=5))
        self.taker.transport.pauseProducing()
        transport.receive(piece(b"0"))
        self.clock.pump([1] * 20)
        self.assertEqual(self.taker.reasons, [])
        self.taker.transport.resumeProducing()
        self.clock.pump([1] * 20)
        self.assertEqual(self.taker.reasons, [TimeoutError])
        transport.settle()
        self.assertEqual(transport.response().status, 408)


class StoppingTests(StreamingTestCase):
    """
    A body of which nobody wants the rest.
    """

    @table({name: (name,) for name in ("stopProducing", "loseConnection")})
    def test_stop(self, name: str) -> None:
        """
        The rest is thrown away as it comes, also if the body was paused; the
        end is told, and the request can be answered.
        """
        transport = self.stream(begun())
        transport.receive(piece(b"01"))
        self.taker.transport.pauseProducing()
        transport.receive(piece(b"23"))
        getattr(self.taker.transport, name)()
        self.assertTrue(self.taker.transport.disconnecting)
        transport.receive(piece(b"456789"), END)
        self.assertEqual(self.taker.pieces, [b"01"])
        self.assertEqual(self.taker.reasons, [ResponseDone])
        self.resource.requests[0].finish()
        transport.settle()
        self.assertEqual(transport.response().status, 200)

    def test_answeredEarly(self) -> None:
        """
        A request that is answered before its body has come takes no more of
        it; the next one on the connection is served.
        """
        transport = self.stream(begun(), piece(b"01234"))
        (request,) = self.resource.requests
        request.setResponseCode(413)
        request.finish()
        self.assertEqual(self.taker.reasons, [ConnectionAborted])
        transport.receive(piece(b"56789"), END)
        self.assertEqual(self.taker.pieces, [b"01234"])
        self.resource.taker = Taker()
        transport.receive(begun() + piece(BODY) + END)
        self.resource.requests[1].finish()
        transport.settle()
        self.assertEqual(transport.statuses(), [413, 200])

    def test_refused(self) -> None:
        """
        To refuse a request costs nothing: nothing of the body is read.
        """

        @implementer(IStreamingResource)
        class Refusing(Resource):
            isLeaf = True

            def render(self, request: Any) -> bytes:
                request.setResponseCode(401)
                return b"no"

        self.serve(Refusing())
        transport = self.exchange(begun(b"1000000"))
        answer = transport.response()
        self.assertEqual((answer.status, answer.body), (401, b"no"))

    def test_pausedAfterTheEnd(self) -> None:
        """
        What pauses or resumes too late changes nothing.
        """
        transport = self.stream(begun() + piece(BODY) + END)
        for call in ("pauseProducing", "resumeProducing", "stopProducing"):
            getattr(self.taker.transport, call)()
        self.resource.requests[0].finish()
        transport.receive(wire.request(wire.variables()))
        self.resource.requests[1].finish()
        transport.settle()
        self.assertEqual(transport.statuses(), [200, 200])


class LossTests(StreamingTestCase):
    """
    A body that is not complete.
    """

    @table(
        {
            "aborted": (ConnectionLost, wire.abortRequest()),
            "too short": (BodyTooShort, END),
            "more than is allowed": (LimitExceeded, piece(bytes(200))),
        }
    )
    def test_reasons(self, reason: type, last: bytes) -> None:
        """
        What takes the body is told why nothing more comes, once.
        """
        told = b"" if reason is LimitExceeded else b"10"
        self.stream(begun(told), piece(b"01234"), last, limits=Limits(bodyBytes=100))
        self.assertEqual(self.taker.pieces, [b"01234"])
        self.assertEqual(self.taker.reasons, [reason])

    @table(
        {
            "complete": ([piece(b"34"), END], True),
            "aborted": ([wire.abortRequest()], False),
            "gone": ([], False),
        }
    )
    def test_answersAtTheEnd(self, last: list[bytes], answered: bool) -> None:
        """
        What takes the body may answer when it is told of the end, if there is
        still a request that can be answered: none that the web server has
        aborted, or that has gone.
        """
        requests: list[Any] = []

        class Answering(Taker):
            def connectionLost(self, reason: Any = None) -> None:
                (request,) = requests
                self.reasons.append(request.channel is not None)
                if request.channel is not None:
                    request.write(b"answered")
                    request.finish()

        resource = Streaming(Answering())
        requests = resource.requests
        self.serve(resource)
        transport = self.exchange(begun(b"5"), piece(b"012"), *last)
        if not last:
            transport.close()
        self.assertEqual(resource.taker.reasons, [answered])
        self.assertEqual(transport.value().count(b"answered"), int(answered))
        self.assertEqual(self.logged(), [])

    def test_clientGone(self) -> None:
        """
        It is told when the connection is gone, too, and so is the request.
        """
        transport = self.stream(begun(), piece(b"01234"))
        done = self.resource.requests[0].notifyFinish()
        transport.close()
        self.assertEqual(self.taker.reasons, [ConnectionDone])
        self.failureResultOf(done, ConnectionDone)

    def test_gonePaused(self) -> None:
        """
        So it is while it is paused.
        """
        transport = self.stream(begun())
        self.taker.transport.pauseProducing()
        transport.receive(piece(b"01234"))
        transport.close()
        self.assertEqual(self.taker.pieces, [])
        self.assertEqual(self.taker.reasons, [ConnectionDone])

    def test_goneBefore(self) -> None:
        """
        Who asks for a body when the client is gone is told so.
        """
        self.resource = Streaming(takes=False)
        self.serve(self.resource)
        transport = self.exchange(begun(), piece(b"01234"))
        fcgi = IFastCGIRequest(self.resource.requests[0])
        transport.close()
        fcgi.deliverBody(self.resource.taker)
        self.assertEqual(self.resource.taker.pieces, [])
        self.assertEqual(self.resource.taker.reasons, [ConnectionAborted])

    @table({"too short": (END, 400), "too large": (piece(bytes(200)), 413)})
    def test_answered(self, last: bytes, status: int) -> None:
        """
        The request is answered with the reason, and a kept connection serves
        the next one.
        """
        told = b"" if status == 413 else b"10"
        limits = Limits(bodyBytes=100)
        transport = self.stream(begun(told), piece(b"01234"), last, limits=limits)
        self.assertEqual(transport.response().status, status)

    def test_answersItself(self) -> None:
        """
        Whoever finishes the request when it is told that the body was too
        short has the say.
        """

        class Answering(Taker):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                resource.requests[0].setResponseCode(422)
                resource.requests[0].finish()

        resource = Streaming(Answering())
        self.serve(resource)
        transport = self.exchange(begun(), piece(b"01234"), END)
        self.assertEqual(transport.response().status, 422)

    @table({"a piece": ("dataReceived",), "the end": ("connectionLost",)})
    def test_fails(self, name: str) -> None:
        """
        What fails to take the body is logged, and answered with 500.
        """

        def fail(*args: Any) -> None:
            raise ZeroDivisionError("it does not take this")

        self.resource = Streaming()
        setattr(self.resource.taker, name, fail)
        self.serve(self.resource)
        transport = self.exchange(begun() + piece(BODY) + END)
        self.assertEqual(transport.response().status, 500)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    @table(
        {
            "finishes, aborted": (True, wire.abortRequest()),
            "finishes, garbage": (True, b"\x07" * 8),
            "finishes, gone": (True, None),
            "fails, aborted": (False, wire.abortRequest()),
            "fails, garbage": (False, b"\x07" * 8),
            "fails, gone": (False, None),
        }
    )
    def test_tooLate(self, finishes: bool, last: bytes | None) -> None:
        """
        Who finishes the request, or fails, when told that nobody waits for an
        answer, sends nothing, but is logged; an abort is answered once.
        """

        class Late(Taker):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                if not finishes:
                    raise ZeroDivisionError("it does not take this")
                resource.requests[0].write(b"an answer")
                resource.requests[0].finish()

        resource = Streaming(Late())
        self.serve(resource)
        transport = self.exchange(begun(), piece(b"012"))
        resource.requests[0].notifyFinish().addErrback(lambda failure: None)
        if last is None:
            transport.close()
        else:
            transport.receive(last)
        transport.settle()
        statuses = [each.stdout for each in transport.responses(unfinished=True)]
        self.assertEqual(statuses, [b""] if last == wire.abortRequest() else [])
        self.assertEqual(len(resource.taker.reasons), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_finishedWhileGivenUp(self) -> None:
        """
        A response that is given up midway stays so, whatever whoever takes the
        body does then.
        """

        class Late(Taker):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                resource.requests[0].finish()

        resource = Streaming(Late())
        self.serve(resource)
        transport = self.exchange(begun(), piece(b"012"))
        (request,) = resource.requests
        request.notifyFinish().addErrback(lambda failure: None)
        request.write(b"some of it")
        request.loseConnection()
        transport.settle()
        self.assertTrue(transport.writeDisconnected)
        self.assertIs(transport.response(unfinished=True).appStatus, None)
        self.assertEqual(resource.taker.reasons, [ConnectionAborted])

    def test_failsAtLast(self) -> None:
        """
        What fails to take the news that the client is gone is logged.
        """

        def fail(*args: Any) -> None:
            raise ZeroDivisionError("it does not take this")

        transport = self.stream(begun())
        self.taker.connectionLost = fail
        transport.close()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class FindingTests(StreamingTestCase):
    """
    How a resource is found before the body is there.
    """

    def test_child(self) -> None:
        """
        C{getChild} works on the path as usual, and is called once.
        """
        asked = []
        streaming = Streaming()

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                asked.append((name, request.prepath, request.postpath))
                return streaming

        self.serve(Root())
        self.exchange(begun(path=b"/a%20b/c"), piece(BODY))
        self.assertEqual(asked, [(b"a b", [b"a b"], [b"c"])])
        self.assertEqual(streaming.taker.pieces, [BODY])

    @table({"at once": ([b""],), "in pieces": ([b"", b""],)})
    def test_others(self, cuts: list[bytes]) -> None:
        """
        A resource that does not opt in is found once, and rendered when the
        body is complete, with that body.
        """
        asked = []
        page = Application()

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                asked.append(name)
                return page

        self.serve(Root())
        data = begun() + piece(BODY) + END
        middle = len(data) // 2 if len(cuts) > 1 else len(data)
        self.exchange(data[:middle], data[middle:])
        self.assertEqual(asked, [b""])
        self.assertEqual([seen[3] for seen in page.seen], [BODY])

    @table(
        {
            "fields of a form": (lambda request: request.args[b"field"] == [b"1"],),
            "content": (lambda request: request.content.read() == b"field=1&x=",),
        }
    )
    def test_asksForTheBody(self, check: Any) -> None:
        """
        A C{getChild} that looks into the body gets the whole of it: then the
        resource is found when that is there.
        """
        page = Application()
        missing = Application(b"missing")

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                return page if check(request) else missing

        self.serve(Root())
        form = b"application/x-www-form-urlencoded"
        transport = self.exchange(
            begun(CONTENT_TYPE=form), piece(b"field=1&"), piece(b"x="), END
        )
        self.assertEqual(transport.response().body, b"hello")
        self.assertEqual(page.seen[0][4], {b"field": [b"1"], b"x": [b""]})

    def test_fails(self) -> None:
        """
        A C{getChild} that fails is answered with 500, when the body is there.
        """

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                raise ZeroDivisionError("it finds nothing")

        self.serve(Root())
        transport = self.exchange(begun(), piece(BODY))
        self.assertEqual(transport.response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_optionsAll(self) -> None:
        """
        C{OPTIONS *} is for no resource.
        """
        self.serve(Streaming())
        transport = self.exchange(
            begun(REQUEST_METHOD=b"OPTIONS", REQUEST_URI=b"*"), piece(BODY)
        )
        self.assertEqual(transport.response().status, 200)

    def test_ownRequest(self) -> None:
        """
        A class of requests that is derived from L{FastCGIRequest} takes bodies
        while they come.
        """

        class Own(FastCGIRequest):
            pass

        resource = Streaming()
        self.serve(Site(resource, Own, reactor=self.clock))
        self.exchange(begun(), piece(b"01"))
        self.assertEqual(resource.taker.pieces, [b"01"])


class UnmadeTests(ServerTestCase):
    """
    Requests that are given up while they are made.
    """

    @table(
        {
            "in pieces": (wire.RESPONDER, [begun(), piece(BODY), END]),
            "at once": (wire.RESPONDER, [begun() + piece(BODY) + END]),
            "an authorizer's": (wire.AUTHORIZER, [begun()]),
            "a filter's": (wire.FILTER, [begun(), piece(BODY), END]),
        }
    )
    def test_aborted(self, role: int, pieces: list[bytes]) -> None:
        """
        A class of requests that closes the connection and fails is logged, and
        nobody is asked.
        """

        def make(channel: Any, queued: bool) -> Request:
            channel.abortConnection()
            raise ZeroDivisionError("it makes none")

        resource = Streaming()
        self.serve(Site(resource, make, reactor=self.clock), roles=[role])
        first, *rest = pieces
        start = first.replace(wire.beginRequest(), wire.beginRequest(role=role))
        transport = self.exchange(start, *rest)
        self.assertEqual((resource.requests, transport.value()), ([], b""))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])


class BufferedTests(ServerTestCase):
    """
    Bodies that are there already.
    """

    def ask(self, taker: Any, body: bytes = BODY) -> Any:
        """
        Deliver the body of a stock request.
        """
        resource = Streaming(taker)

        def make(channel: Any, queued: bool) -> Request:
            return Request(channel, queued)

        self.serve(Site(resource, make, reactor=self.clock))
        variables = wire.postVariables(body)
        self.exchange(wire.request(variables, body))
        return resource

    def test_delivered(self) -> None:
        """
        A request of another kind has its body delivered when it is complete.
        """
        taker = Taker()
        self.ask(taker)
        self.assertEqual(taker.pieces, [BODY])
        self.assertEqual(taker.reasons, [ResponseDone])

    def test_paused(self) -> None:
        """
        It is delivered in pieces, which can be paused, resumed and stopped.
        """

        class OneByOne(Taker):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                transport: Any = self.transport
                transport.pauseProducing()
                if len(self.pieces) == 2:
                    transport.resumeProducing()
                if len(self.pieces) == 3:
                    transport.stopProducing()

        taker = OneByOne()
        self.ask(taker, bytes(300_000))
        self.assertEqual(list(map(len, taker.pieces)), [65536])
        taker.transport.resumeProducing()  # type: ignore[union-attr]
        self.assertEqual(list(map(len, taker.pieces)), [65536] * 3)
        self.assertEqual(taker.reasons, [ResponseDone])

    def test_interface(self) -> None:
        """
        What is there already is a push producer as well.
        """
        source = FileSource(BytesIO(BODY), Taker())
        verifyObject(IPushProducer, source)
        source.stopProducing()
