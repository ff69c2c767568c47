# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.blackhole}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock

from tests import wire
from tests.ends import DONE, Transport
from tests.tables import TableTestCase, table
from tests.test_dissect import CAPTURES
from twisted_fastcgi.blackhole import LINGER, BlackHole, variablesPage
from twisted_fastcgi.explain import Item, Record
from twisted_fastcgi.watch import Watches


class BlackHoleTests(TableTestCase):
    """
    What web servers get.
    """

    def setUp(self) -> None:
        """
        Let a web server connect.
        """
        self.clock = Clock()
        self.said: list[str] = []
        factory = BlackHole(self.clock, Watches(self.clock, self.report))
        self.hole: Any = factory.buildProtocol(UNIXAddress(None))
        self.transport = Transport()
        self.hole.makeConnection(self.transport)

    def report(self, number: int, seconds: float, what: Item | str) -> None:
        """
        Note the names of records, and words.
        """
        self.said.append(what.name if isinstance(what, Record) else str(what))

    def checkAnswer(self, *, keep: bool = True) -> wire.Response:
        """
        Check that there is one answer and that the connection is kept, or
        closed.
        """
        answer = wire.response(self.transport.taken())
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.protocolStatus, wire.REQUEST_COMPLETE)
        self.assertEqual(self.transport.disconnecting, not keep)
        self.assertEqual(self.said[-3:], ["STDOUT", "STDOUT", "END_REQUEST"])
        return answer

    @table(
        {
            "responder": (wire.RESPONDER, True),
            "authorizer": (wire.AUTHORIZER, True),
            "filter": (wire.FILTER, True),
            "closing": (wire.RESPONDER, False),
        }
    )
    def test_answers(self, role: int, keep: bool) -> None:
        """
        A request in any role is answered with its variables once it is whole,
        and the connection is kept or closed as the web server wants it.
        """
        sent = wire.request(wire.postVariables(b"body"), b"body", 1, keep, role)
        self.hole.dataReceived(sent)
        answer = self.checkAnswer(keep=keep)
        self.assertIn(b"CONTENT_LENGTH     4\n", answer.body)
        self.assertEqual(int(answer.header(b"Content-Length") or 0), len(answer.body))

    def test_notBefore(self) -> None:
        """
        A request that is not whole is not answered.
        """
        sent = wire.request(wire.postVariables(b"body"), b"body")
        for piece in wire.byteByByte(sent[: sent.index(b"body") + 3]):
            self.hole.dataReceived(piece)
            self.assertEqual(self.transport.value(), b"")

    def test_again(self) -> None:
        """
        A kept connection serves on.
        """
        for requestId in (1, 1, 2):
            self.hole.dataReceived(wire.request(wire.variables(), b"", requestId))
            self.assertEqual(self.checkAnswer().requestId, requestId)

    @table(
        {
            "number": (b"3", b"abc", True),
            "zero": (b"0", b"", True),
            "not yet": (b"4", b"abc", False),
            "empty": (b"", b"abc", False),
            "nonsense": (b"+3", b"abc", False),
        }
    )
    def test_unendedBody(self, length: bytes, body: bytes, isWhole: bool) -> None:
        """
        A body that does not end is whole when it is as long as it is to be.
        """
        variables = wire.variables(CONTENT_LENGTH=length)
        begun = wire.beginRequest() + wire.params(variables)
        self.hole.dataReceived(begun + wire.stdin(body, end=False))
        if isWhole:
            self.checkAnswer()
        else:
            self.assertEqual(self.transport.value(), b"")
        self.hole.dataReceived(wire.stdin())
        if not isWhole:
            self.checkAnswer()
        self.assertEqual(self.transport.value(), b"")

    def test_lingers(self) -> None:
        """
        What comes after an answer that was early is read, so that closing does
        not destroy the answer; but not for ever.
        """
        variables = wire.variables(CONTENT_LENGTH=b"0")
        sent = wire.beginRequest(keep=False) + wire.params(variables)
        self.hole.dataReceived(sent)
        self.checkAnswer()
        self.assertTrue(self.transport.writeClosed)
        self.hole.dataReceived(wire.stdin() + wire.getValues(b"X"))
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(LINGER)
        self.assertTrue(self.transport.disconnecting)
        self.hole.connectionLost(DONE)

    def test_lingersNoLonger(self) -> None:
        """
        The web server may close first.
        """
        variables = wire.variables(CONTENT_LENGTH=b"0")
        self.hole.dataReceived(wire.beginRequest(keep=False) + wire.params(variables))
        self.hole.connectionLost(DONE)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.said[-1], "closed: cleanly")

    def test_getValues(self) -> None:
        """
        GET_VALUES is answered.
        """
        self.hole.dataReceived(wire.getValues(b"FCGI_MPXS_CONNS"))
        (answer,) = wire.management(self.transport.taken())
        self.assertEqual(wire.readPairs(answer.content), [(b"FCGI_MPXS_CONNS", b"0")])
        self.assertEqual(self.said[1:], ["GET_VALUES", "GET_VALUES_RESULT"])

    def test_getValuesWithin(self) -> None:
        """
        So it is within a request that wants the connection closed.
        """
        begun = wire.beginRequest(keep=False) + wire.params(wire.variables())
        self.hole.dataReceived(begun + wire.getValues(b"FCGI_MPXS_CONNS"))
        self.assertFalse(self.transport.disconnecting)
        self.transport.clear()
        self.hole.dataReceived(wire.stdin())
        self.checkAnswer(keep=False)

    def test_abort(self) -> None:
        """
        A request that is aborted is not answered, only ended.
        """
        begun = wire.beginRequest() + wire.params(wire.variables())
        self.hole.dataReceived(begun + wire.abortRequest() + wire.stdin())
        answer = wire.response(self.transport.taken())
        self.assertEqual((answer.stdout, answer.appStatus), (b"", 1))
        self.hole.dataReceived(wire.request(wire.variables()))
        self.checkAnswer()

    def test_notFastCGI(self) -> None:
        """
        What is not FastCGI is shown, and the connection closed.
        """
        self.hole.dataReceived(b"GET / HTTP/1.1\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(
            self.said[-1],
            "closing, because this is not FastCGI: a record starts with version 71 "
            "instead of 1: b'GET / HT' is not FastCGI",
        )
        self.hole.dataReceived(b"\r\n")

    def test_backPressure(self) -> None:
        """
        No more is read than answers go out.
        """
        self.assertIs(self.transport.producer, self.transport)
        self.assertTrue(self.transport.streaming)

    @table({path.name: (path.read_bytes(),) for path in CAPTURES})
    def test_captures(self, data: bytes) -> None:
        """
        All that real web servers have sent is taken, and each request is
        answered.
        """
        self.hole.dataReceived(data)
        found = wire.records(data)
        begun = sum(each.type == wire.BEGIN_REQUEST for each in found)
        answers = wire.responses(self.transport.value())
        self.assertEqual([answer.status for answer in answers], [200] * begun)


class PageTests(TableTestCase):
    """
    The page.
    """

    def test_page(self) -> None:
        """
        It shows all variables as they came, harmless.
        """
        pairs = [(b"NAME", b"\x1b[2J"), (b"A", b"1"), (b"A", "\u00e9".encode())]
        self.assertEqual(
            variablesPage(pairs),
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Cache-Control: no-store\r\n"
            b"Content-Length: 65\r\n"
            b"Status: 200 OK\r\n\r\n"
            b"The web server sent 3 variables:\n\n"
            b"NAME  \\x1b[2J\nA     1\nA     \xc3\xa9\n",
        )

    def test_head(self) -> None:
        """
        The answer to a HEAD has no body, but its length.
        """
        page = variablesPage([(b"REQUEST_METHOD", b"HEAD")])
        head, _, body = page.partition(b"\r\n\r\n")
        self.assertEqual(body, b"")
        self.assertIn(b"Content-Length: ", head)

    def test_empty(self) -> None:
        """
        There may be no variables.
        """
        self.assertIn(b"sent 0 variables", variablesPage([]))
