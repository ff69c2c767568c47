# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.probe}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests import wire
from tests.ends import DONE, Endpoint
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.probe import (
    MAX_HEAD,
    Answer,
    NoAnswer,
    Output,
    ResponseHead,
    Times,
    get,
    ping,
)

HEAD = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\n"
PAGE = wire.stream(wire.STDOUT, 1, HEAD + b"body")
END = wire.record(wire.END_REQUEST, 1, b"\0\0\0\7\0\0\0\0")


class ResponseHeadTests(SynchronousTestCase):
    """
    Reading a header block.
    """

    def test_anyCuts(self) -> None:
        """
        The block and the body are told apart, in any pieces.
        """
        for how, pieces in wire.cuts(HEAD + b"a\r\n\r\nb"):
            head = ResponseHead()
            body = b"".join(map(head.receive, pieces))
            self.assertEqual((head.block, body), (HEAD, b"a\r\n\r\nb"), how)
            self.assertEqual(head.status, 404, how)

    def test_statuses(self) -> None:
        """
        Without a status it is 200, or 302 with a place to go to.
        """
        for block, status in {
            b"Content-Type: a/b\n\n": 200,
            b"Location: /\n\n": 302,
            b"Location: /\nStatus: 201\n\n": 201,
        }.items():
            head = ResponseHead()
            head.receive(block)
            self.assertEqual(head.status, status)

    def test_missing(self) -> None:
        """
        A response without a header block has no status.
        """
        head = ResponseHead()
        head.receive(b"<html>" * 20)
        with self.assertRaisesRegex(RemoteProtocolError, "starts with b'<html><html>"):
            head.status  # noqa: B018

    def test_endless(self) -> None:
        """
        There is an end to the size of the block.
        """
        head = ResponseHead()
        head.receive(b"a" * MAX_HEAD)
        with self.assertRaisesRegex(RemoteProtocolError, "no empty line"):
            head.receive(b"a")


class ProbeTestCase(SynchronousTestCase):
    """
    Probes of an application.
    """

    def setUp(self) -> None:
        """
        Wait for a probe.
        """
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.written: list[tuple[str, bytes]] = []

    @property
    def line(self) -> Any:
        """
        The probe's side of the connection.
        """
        return self.endpoint.protocols[0]

    @property
    def transport(self) -> Any:
        """
        Its transport.
        """
        return self.endpoint.transports[0]

    def get(self, body: bytes = b"") -> Deferred[Answer]:
        """
        Send a request.
        """

        def writer(name: str) -> Any:
            return lambda data: self.written.append((name, data))

        output = Output(writer("head"), writer("body"), writer("stderr"))
        params = [(b"A", b"b"), (b"A", b"c")]
        return Deferred.fromCoroutine(
            get(self.endpoint, self.clock, params, body, output)
        )

    def ping(self) -> Deferred[Any]:
        """
        Ask for limits.
        """
        return Deferred.fromCoroutine(ping(self.endpoint, self.clock))


class GetTests(ProbeTestCase):
    """
    Sending a request.
    """

    def test_request(self) -> None:
        """
        It has the variables and the body, and wants the connection closed.
        """
        self.get(b"body")
        begin, params, endParams, stdin, endStdin = wire.records(self.transport.value())
        self.assertEqual(begin, (wire.BEGIN_REQUEST, 1, b"\0\1\0\0\0\0\0\0"))
        self.assertEqual(wire.readPairs(params.content), [(b"A", b"b"), (b"A", b"c")])
        self.assertEqual(endParams, (wire.PARAMS, 1, b""))
        self.assertEqual(stdin, (wire.STDIN, 1, b"body"))
        self.assertEqual(endStdin, (wire.STDIN, 1, b""))

    def test_answer(self) -> None:
        """
        The answer is passed on while it comes, in its three parts; then it is
        told how it ended and how long it took.
        """
        self.endpoint = Endpoint(isSlow=True)
        done = self.get()
        self.clock.advance(1)
        self.endpoint.accept()
        self.clock.advance(2)
        self.line.dataReceived(wire.record(wire.STDERR, 1, b"oops"))
        self.clock.advance(4)
        self.line.dataReceived(PAGE)
        expected = [("stderr", b"oops"), ("head", HEAD), ("body", b"body")]
        self.assertEqual(self.written, expected)
        self.assertNoResult(done)
        self.line.dataReceived(END)
        self.assertEqual(self.successResultOf(done), Answer(404, 7, 0, Times(1, 3, 7)))
        self.assertTrue(self.transport.disconnecting)

    def test_pieces(self) -> None:
        """
        The header block is passed on whole, whatever pieces it comes in; a
        piece of the body as it comes.
        """
        done = self.get()
        for piece in wire.byteByByte(PAGE + END):
            self.line.dataReceived(piece)
        self.assertEqual(self.written[0], ("head", HEAD))
        self.assertEqual(self.written[1:], [("body", bytes([c])) for c in b"body"])
        self.successResultOf(done)

    def test_closedSilently(self) -> None:
        """
        It is told if there was no answer at all.
        """
        done = self.get()
        self.line.connectionLost(DONE)
        error = self.failureResultOf(done, NoAnswer).value
        self.assertEqual(
            str(error), "the application closed the connection without an answer"
        )
        self.assertTrue(self.transport.aborted)

    def test_closedWithin(self) -> None:
        """
        It is told if the answer was not whole.
        """
        done = self.get()
        self.line.dataReceived(PAGE)
        self.line.connectionLost(Failure(ConnectionLost()))
        error = self.failureResultOf(done, NoAnswer).value
        self.assertEqual(
            str(error),
            "the connection broke before its answer was complete: "
            "Connection to the other side was lost in a non-clean fashion.",
        )

    def test_closedAfter(self) -> None:
        """
        An answer that was whole is good, even if it comes together with the
        end of the connection.
        """
        done = self.get()
        self.line.dataReceived(PAGE + END)
        self.line.connectionLost(DONE)
        self.assertEqual(self.successResultOf(done).status, 404)

    def test_notFastCGI(self) -> None:
        """
        What breaks the protocol is an error, and the connection is cut off.
        """
        done = self.get()
        self.line.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
        error = self.failureResultOf(done, RemoteProtocolError).value
        self.assertIn("is not FastCGI", str(error))
        self.assertTrue(self.transport.aborted)

    def test_noHead(self) -> None:
        """
        So is an answer that is no CGI response.
        """
        done = self.get()
        self.line.dataReceived(END)
        self.failureResultOf(done, RemoteProtocolError)

    def test_refused(self) -> None:
        """
        That there is no connection is passed on.
        """
        self.endpoint = Endpoint(refusal=ConnectionRefusedError())
        self.failureResultOf(self.get(), ConnectionRefusedError)

    def test_cancel(self) -> None:
        """
        To give up cuts off the connection; nothing comes of what comes later.
        """
        done = self.get()
        done.addErrback(lambda _: None)
        done.cancel()
        self.assertTrue(self.transport.aborted)
        self.line.connectionLost(DONE)
        self.successResultOf(done)


class PingTests(ProbeTestCase):
    """
    Asking for the limits.
    """

    def test_values(self) -> None:
        """
        The application is asked for all that there are, and its answer told,
        with the times.
        """
        done = self.ping()
        (asked,) = wire.management(self.transport.value())
        names = [name for name, _ in wire.readPairs(asked.content)]
        self.assertEqual(
            names, [b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS"]
        )
        self.clock.advance(2)
        content = wire.pairs({b"FCGI_MAX_CONNS": b"8"})
        self.line.dataReceived(wire.record(wire.GET_VALUES_RESULT, 0, content))
        expected = ({b"FCGI_MAX_CONNS": b"8"}, Times(0, 2, 2))
        self.assertEqual(self.successResultOf(done), expected)
        self.assertTrue(self.transport.disconnecting)

    def test_unknown(self) -> None:
        """
        An application that does not know the question is there all the same.
        """
        done = self.ping()
        content = bytes([wire.GET_VALUES]) + bytes(7)
        self.line.dataReceived(wire.record(wire.UNKNOWN_TYPE, 0, content))
        self.assertEqual(self.successResultOf(done)[0], {})

    def test_closed(self) -> None:
        """
        If it closes the connection, that is no answer.
        """
        done = self.ping()
        self.line.connectionLost(DONE)
        self.failureResultOf(done, NoAnswer)
