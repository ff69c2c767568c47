# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.exchange}.
"""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Cooperator
from twisted.web.client import (
    FileBodyProducer,
    RequestGenerationFailed,
    ResponseDone,
    readBody,
)
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface.verify import verifyObject

from tests import wire
from tests.agents import PLAIN, AgentTestCase, Reader
from tests.peers import URI, Application, Producer, ending
from tests.tables import moderately
from twisted_fastcgi import (
    CantMultiplex,
    FastCGIAgent,
    LocalProtocolError,
    Overloaded,
    RemoteProtocolError,
    RequestRefused,
    UnknownRole,
)


class ResponseTests(AgentTestCase):
    """
    What is made of an answer.
    """

    def test_interface(self) -> None:
        """
        The response is an L{IResponse}, and knows its request.
        """
        response = self.respond(b"Status: 404 No\nA: b\n\n")
        verifyObject(IResponse, response)
        self.assertEqual(response.version, (b"HTTP", 1, 1))
        self.assertEqual((response.code, response.phrase), (404, b"No"))
        self.assertEqual(response.headers.getRawHeaders(b"A"), [b"b"])
        self.assertIs(response.length, UNKNOWN_LENGTH)
        self.assertIs(response.previousResponse, None)
        self.assertEqual(response.request.absoluteURI, URI)
        other = object()
        response.setPreviousResponse(other)
        self.assertIs(response.previousResponse, other)

    @moderately
    @given(st.data())
    def test_anyCuts(self, data: st.DataObject) -> None:
        """
        However the bytes are cut, and whether STDOUT is ended or not, the
        response is the same, and the connection is used again.
        """
        application = Application()
        agent = application.agent()
        body = data.draw(st.binary(max_size=30))
        head = data.draw(st.sampled_from([PLAIN, b"A: b\n\n", b"A: b\n\r\n"]))
        sizes = data.draw(st.lists(st.integers(1, 20)))
        ended = data.draw(st.booleans())
        answer = wire.stream(wire.STDERR, 1, b"oops", end=ended)
        answer += wire.stream(wire.STDOUT, 1, head + body, end=ended, sizes=sizes)
        answer += ending(1, 3 if ended else 0)
        result = agent.request(b"GET", URI)
        places = data.draw(st.lists(st.integers(0, len(answer))))
        cuts = sorted({0, len(answer), *places})
        reader = Reader()
        result.addCallback(lambda response: response.deliverBody(reader) or response)
        for start, end in pairwise(cuts):
            application.peer.send(answer[start:end])
        response = self.successResultOf(result)
        self.assertEqual(reader.body, body)
        reader.reason.trap(ResponseDone)
        self.assertEqual((response.appStatus, response.protocolStatus), (3 * ended, 0))
        self.send(agent, b"GET", URI)
        self.assertEqual(application.peer.take()[-1].requestId, 2)

    def test_complete(self) -> None:
        """
        A response whose end came together with its header is complete when it
        is handed out, and its connection is free.
        """
        agent = self.application.agent()
        result = self.get(agent)
        bodies: list[Any] = []

        def answered(response: Any) -> None:
            self.get(agent)
            bodies.append(self.read(response))

        result.addCallback(answered)
        self.peer.answer(PLAIN + b"abc")
        (reader,) = bodies
        self.assertEqual(reader.body, b"abc")
        reader.reason.trap(ResponseDone)
        self.assertEqual(self.peer.params()[b"REQUEST_METHOD"], b"GET")

    def test_length(self) -> None:
        """
        The length is that of I{Content-Length}.
        """
        response = self.respond(b"Content-Length: 3\n\nab")
        self.assertEqual(response.length, 3)
        reader = self.read(response)
        self.peer.stdout(b"c")
        self.assertIs(reader.reason, None)
        self.peer.end()
        self.assertEqual(reader.body, b"abc")
        reader.reason.trap(ResponseDone)

    def test_noBody(self) -> None:
        """
        The answer to a I{HEAD}, a 204 and a 304 have no body, even if the
        application sends one, or tells a length.
        """
        for method, head in [
            (b"HEAD", b"Content-Length: 3\n\n"),
            (b"GET", b"Status: 204\n\n"),
            (b"GET", b"Status: 304\nContent-Length: 3\n\n"),
        ]:
            with self.subTest(method=method, head=head):
                result = self.get(method=method)
                peer = self.application.peers[-1]
                peer.stdout(head)
                response = self.successResultOf(result)
                self.assertEqual(response.length, 0)
                reader = self.read(response)
                peer.stdout(b"abcdef")
                peer.end()
                self.assertEqual(reader.body, b"")
                reader.reason.trap(ResponseDone)
                self.assertTrue(peer.open)

    def test_twice(self) -> None:
        """
        A body is delivered once.
        """
        response = self.respond()
        self.read(response)
        self.assertRaises(RuntimeError, response.deliverBody, Reader())

    def test_late(self) -> None:
        """
        A body may be asked for when all is over.
        """
        response = self.respond(PLAIN + b"abc")
        self.peer.stdout(b"def")
        self.peer.end()
        self.peer.lose()
        reader = self.read(response)
        self.assertEqual(reader.body, b"abcdef")
        reader.reason.trap(ResponseDone)

    def test_readBody(self) -> None:
        """
        Twisted's C{readBody} works.
        """
        body = readBody(self.respond(PLAIN + b"abc"))
        self.assertNoResult(body)
        self.peer.end()
        self.assertEqual(self.successResultOf(body), b"abc")

    def test_withoutEnd(self) -> None:
        """
        A response that lacks nothing but END_REQUEST when the connection ends
        is whole.
        """
        end = wire.record(wire.STDOUT, 1)
        for answer in [
            wire.stream(wire.STDOUT, 1, PLAIN + b"abc"),
            wire.stream(wire.STDOUT, 1, b"Content-Length: 3\n\nabc", end=False),
            wire.stream(wire.STDOUT, 1, b"Status: 304\n\n") + end,
        ]:
            with self.subTest(answer=answer):
                result = self.get()
                peer = self.application.peers[-1]
                peer.send(answer)
                reader = self.read(self.successResultOf(result))
                peer.lose()
                reader.reason.trap(ResponseDone)

    def test_headLost(self) -> None:
        """
        A response that came together with the end of the connection is handed
        out all the same.
        """
        result = self.get()
        peer, answers = self.peer, []
        result.addCallback(answers.append)
        peer.transport.pauseProducing()
        peer.stdout(PLAIN)
        peer.lose()
        self.assertEqual(len(answers), 1)


class TruncatedTests(AgentTestCase):
    """
    Responses that are not whole.
    """

    def test_connectionLost(self) -> None:
        """
        The connection may end in the midst of a body.
        """
        for head in (PLAIN, b"Content-Length: 5\n\n"):
            result = self.get()
            peer = self.application.peers[-1]
            peer.stdout(head + b"abc")
            reader = self.read(self.successResultOf(result))
            peer.lose(ConnectionLost())
            self.assertEqual(reader.body, b"abc")
            self.assertIsInstance(reader.cause(), ConnectionLost)

    def test_end(self) -> None:
        """
        END_REQUEST may come before the body is as long as was told; or with an
        application status while STDOUT is open.
        """
        for head, status, of in [
            (b"Content-Length: 5\n\n", 0, "5"),
            (PLAIN, 1, "an unknown number"),
        ]:
            result = self.get()
            peer = self.application.peers[-1]
            peer.stdout(head + b"abc")
            response = self.successResultOf(result)
            reader = self.read(response)
            peer.end(status)
            error = reader.cause()
            self.assertIsInstance(error, RemoteProtocolError)
            said = f"status {status} after 3 bytes of the response's body, of {of}"
            self.assertIn(said, str(error))
            self.assertIs(reader.reason.value.response, response)

    def test_refused(self) -> None:
        """
        END_REQUEST may tell in the midst of a body that the request is
        refused; but a page that is whole is a response.
        """
        reader = self.read(self.respond(PLAIN + b"abc"))
        self.peer.end(protocolStatus=wire.OVERLOADED)
        self.assertIsInstance(reader.cause(), Overloaded)
        result = self.get()
        peer = self.application.peers[-1]
        peer.stdout(b"Status: 503\nContent-Length: 3\n\nabc")
        peer.end(protocolStatus=wire.OVERLOADED)
        response = self.successResultOf(result)
        self.assertEqual(response.protocolStatus, wire.OVERLOADED)
        self.read(response).reason.trap(ResponseDone)

    def test_atOnce(self) -> None:
        """
        The header of a response that is not whole is handed out even if all of
        it came together.
        """
        result = self.get()
        self.peer.take()
        answer = wire.stream(wire.STDOUT, 1, b"Content-Length: 5\n\nabc")
        self.peer.send(answer + ending())
        reader = self.read(self.successResultOf(result))
        self.assertEqual(reader.body, b"abc")
        self.assertIsInstance(reader.cause(), RemoteProtocolError)

    def test_noHead(self) -> None:
        """
        An application that ends a request before the header was complete is
        said to have.
        """
        for sent in (b"", b"Content-Type: text/plain\n"):
            result = self.get()
            peer = self.application.peers[-1]
            if sent:
                peer.stdout(sent)
            peer.end(7)
            error = self.cause(result)
            self.assertIsInstance(error, RemoteProtocolError)
            self.assertIn("with status 7 before", str(error))
            self.assertIn(repr(sent), str(error))

    def test_lostBefore(self) -> None:
        """
        The connection may end before the header is complete.
        """
        result = self.get()
        self.peer.stdout(b"Content-Type: text/plain\n")
        self.peer.lose(ConnectionLost())
        self.assertIsInstance(self.cause(result), ConnectionLost)


class RefusedTests(AgentTestCase):
    """
    Requests that the application does not take.
    """

    def test_statuses(self) -> None:
        """
        Each protocol status is an error of its own.
        """
        for status, kind, said in [
            (wire.CANT_MPX_CONN, CantMultiplex, "CANT_MPX_CONN"),
            (wire.OVERLOADED, Overloaded, "OVERLOADED"),
            (wire.UNKNOWN_ROLE, UnknownRole, "UNKNOWN_ROLE"),
            (200, RequestRefused, "protocol status 200"),
        ]:
            result = self.get()
            peer = self.application.peers[-1]
            peer.end(protocolStatus=status)
            error = self.failureResultOf(result, kind).value
            self.assertEqual(error.protocolStatus, status)
            self.assertIn(said, str(error))
            self.assertTrue(peer.open)


class UploadTests(AgentTestCase):
    """
    How the body of a request is sent.
    """

    def upload(
        self, producer: Any, agent: FastCGIAgent | None = None, method: bytes = b"POST"
    ) -> Any:
        """
        Send a request with a body.
        """
        agent = agent or self.application.agent()
        return self.send(agent, method, URI, None, producer)

    def test_length(self) -> None:
        """
        The end of a body of known length is sent with its last piece.
        """
        producer = Producer(5)
        result = self.upload(producer)
        _, params, _ = self.peer.take()
        self.assertEqual(dict(wire.readPairs(params.content))[b"CONTENT_LENGTH"], b"5")
        producer.consumer.write(b"abc")
        self.assertEqual(self.peer.take(), [(wire.STDIN, 1, b"abc")])
        producer.consumer.write(b"de")
        self.assertEqual(
            self.peer.take(), [(wire.STDIN, 1, b"de"), (wire.STDIN, 1, b"")]
        )
        producer.consumer.write(b"")
        producer.finished.callback(None)
        self.assertEqual(self.peer.take(), [])
        self.peer.answer()
        self.assertEqual(self.successResultOf(result).code, 200)
        self.assertEqual(producer.log, ["start"])
        self.assertTrue(self.peer.open)

    def test_unknownLength(self) -> None:
        """
        A body of unknown length has no CONTENT_LENGTH; it ends when its
        producer says so.  Empty pieces are not sent.
        """
        producer = Producer()
        self.upload(producer)
        params = self.peer.take()[1]
        self.assertNotIn(b"CONTENT_LENGTH", dict(wire.readPairs(params.content)))
        consumer = producer.consumer
        consumer.registerProducer(producer, True)
        consumer.write(b"")
        consumer.write(b"abc")
        consumer.unregisterProducer()
        self.assertEqual(self.peer.take(), [(wire.STDIN, 1, b"abc")])
        producer.finished.callback(None)
        self.assertEqual(self.peer.take(), [(wire.STDIN, 1, b"")])

    def test_nothing(self) -> None:
        """
        A body of 0 bytes has an end.
        """
        producer = Producer(0)
        self.upload(producer)
        producer.finished.callback(None)
        self.assertEqual(self.peer.take()[-1], (wire.STDIN, 1, b""))

    def test_backPressure(self) -> None:
        """
        The producer is paused while the connection is full.
        """
        producer = Producer()
        self.upload(producer)
        outlet: Any = self.peer.transport.producer
        outlet.pauseProducing()
        self.assertEqual(producer.log, ["start", "pause"])
        outlet.resumeProducing()
        self.assertEqual(producer.log, ["start", "pause", "resume"])

    def test_notBeforeThereIsRoom(self) -> None:
        """
        The producer starts when the variables have been sent: it might not be
        able to pause before.
        """
        producer = Producer(3)
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        outlet: Any = self.peer.transport.producer
        outlet.pauseProducing()
        self.upload(producer, agent)
        self.assertEqual(producer.log, [])
        outlet.resumeProducing()
        self.assertEqual(producer.log, ["start"])
        outlet.pauseProducing()
        outlet.resumeProducing()
        self.assertEqual(producer.log, ["start", "pause", "resume"])

    def test_earlyResponse(self) -> None:
        """
        A response may begin before the body is sent.
        """
        producer = Producer()
        result = self.upload(producer)
        self.peer.stdout(PLAIN)
        reader = self.read(self.successResultOf(result))
        self.peer.take()
        producer.consumer.write(b"abc")
        self.assertEqual(self.peer.body(), b"abc")
        self.peer.stdout(b"def")
        self.assertEqual(reader.body, b"def")

    def test_earlyEnd(self) -> None:
        """
        If the application has ended the request before all of the body was
        sent, the rest is not, and the connection is closed: the application
        might take the rest for another request.
        """
        producer = Producer(5)
        result = self.upload(producer)
        producer.consumer.write(b"abc")
        self.peer.answer(b"Status: 413\n\n")
        self.assertEqual(self.successResultOf(result).code, 413)
        self.assertEqual(producer.log, ["start", "stop"])
        self.assertTrue(self.peer.transport.aborted)
        producer.consumer.write(b"def")
        producer.finished.callback(None)

    def test_lateFailure(self) -> None:
        """
        Nothing that a producer says counts when the request is over.
        """
        producer = Producer(5)
        result = self.upload(producer)
        self.peer.answer()
        producer.finished.errback(ZeroDivisionError())
        self.assertEqual(self.successResultOf(result).code, 200)

    def test_unaware(self) -> None:
        """
        A producer that does not know that it is done when the response is
        there is stopped; the connection is used again.
        """
        producer = Producer(3)
        self.upload(producer)
        producer.consumer.write(b"abc")
        self.peer.answer()
        self.assertEqual(producer.log, ["start", "stop"])
        self.assertTrue(self.peer.open)

    def test_wrongLength(self) -> None:
        """
        A body that is longer or shorter than was told fails, and the request
        is aborted.
        """
        for pieces, word, log in [
            ([b"abcd"], "more", ["start", "stop"]),
            ([b"abc", b"d"], "more", ["start", "stop"]),
            ([b"ab"], "less", ["start"]),
        ]:
            with self.subTest(pieces=pieces):
                producer = Producer(3)
                result = self.upload(producer)
                for piece in pieces:
                    producer.consumer.write(piece)
                producer.finished.callback(None)
                failure = self.failureResultOf(result, RequestGenerationFailed)
                (cause,) = failure.value.reasons
                cause.trap(LocalProtocolError)
                self.assertIn(f"produced {word} than the 3", str(cause.value))
                self.assertEqual(producer.log, log)
                peer = self.application.peers[-1]
                self.assertEqual(peer.take()[-1], (wire.ABORT_REQUEST, 1, b""))

    def test_file(self) -> None:
        """
        Twisted's own producer is content with how it is treated.
        """
        calls: list[Any] = []

        def schedule(call: Any) -> Any:
            calls.append(call)
            return self.clock.callLater(0, lambda: None)

        cooperator = Cooperator(scheduler=schedule)
        producer = FileBodyProducer(BytesIO(b"a" * 200000), cooperator)
        self.upload(producer)
        outlet: Any = self.peer.transport.producer
        size = 0
        while calls:
            outlet.pauseProducing()
            outlet.resumeProducing()
            calls.pop(0)()
            size += len(self.peer.body())
        self.assertEqual(size, 200000)
        producer = FileBodyProducer(BytesIO(b"a" * 200000), cooperator)
        self.upload(producer)
        outlet = self.application.peers[-1].transport.producer
        outlet.pauseProducing()
        self.application.peers[-1].answer()

    def test_failing(self) -> None:
        """
        A producer may fail, now or later.
        """
        producer = Producer()
        result = self.upload(producer)
        producer.finished.errback(ZeroDivisionError())
        failure = self.failureResultOf(result, RequestGenerationFailed)
        failure.value.reasons[0].trap(ZeroDivisionError)
        self.assertEqual(self.peer.take()[-1], (wire.ABORT_REQUEST, 1, b""))
        self.assertEqual(producer.log, ["start"])

        class Failing(Producer):
            """
            Can't start.
            """

            def startProducing(self, consumer: Any) -> Any:
                """
                Raise.
                """
                raise ZeroDivisionError

        result = self.upload(Failing())
        failure = self.failureResultOf(result, RequestGenerationFailed)
        failure.value.reasons[0].trap(ZeroDivisionError)

    def test_failingAfterwards(self) -> None:
        """
        A producer that fails when the response has begun breaks the response
        off.
        """
        producer = Producer()
        result = self.upload(producer)
        self.peer.stdout(PLAIN)
        reader = self.read(self.successResultOf(result))
        producer.finished.errback(ZeroDivisionError())
        self.assertIsInstance(reader.cause(), ZeroDivisionError)

    def test_lost(self) -> None:
        """
        If the connection ends the producer is stopped, and the request is not
        sent again.
        """
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        producer = Producer(0)
        result = self.upload(producer, agent, b"PUT")
        self.peer.lose()
        self.assertIsInstance(self.cause(result), ConnectionDone)
        self.assertEqual(producer.log, ["start", "stop"])
        self.assertEqual(len(self.application.peers), 1)

    def test_drained(self) -> None:
        """
        A request without a body does not mind that the connection is full.
        """
        result = self.get()
        outlet: Any = self.peer.transport.producer
        outlet.pauseProducing()
        outlet.resumeProducing()
        self.peer.answer()
        self.successResultOf(result)

    def test_cancelWhileStopping(self) -> None:
        """
        A producer may cancel its own request when it is stopped.
        """
        producer = Producer()
        result = self.upload(producer)
        producer.stopProducing = result.cancel  # type: ignore[method-assign]
        self.peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        self.failureResultOf(result, CancelledError)
