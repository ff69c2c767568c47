# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.client}.
"""

from __future__ import annotations

import json
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import RedirectAgent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IClientRequest
from twisted.web.resource import Resource
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from tests import wire
from tests.agents import AgentTestCase
from tests.peers import URI, IOSimEndpoint, Whole, Wire
from twisted_fastcgi import FastCGIAgent, FastCGIFactory
from twisted_fastcgi.connection import StreamEnded
from twisted_fastcgi.job import Query


class RequestTests(AgentTestCase):
    """
    What is sent.
    """

    def test_interface(self) -> None:
        """
        The agent is an L{IAgent}.
        """
        verifyObject(IAgent, self.application.agent())

    def test_records(self) -> None:
        """
        A request without a body is BEGIN_REQUEST for a Responder that is to
        keep the connection, PARAMS and an empty STDIN, in one write.
        """
        self.get()
        self.assertEqual(self.peer.transport.writes, 1)
        begin, params, end, stdin = self.peer.take()
        self.assertEqual(begin, (wire.BEGIN_REQUEST, 1, b"\0\1\1\0\0\0\0\0"))
        self.assertEqual(end, (wire.PARAMS, 1, b""))
        self.assertEqual(stdin, (wire.STDIN, 1, b""))
        variables = dict(wire.readPairs(params.content))
        self.assertEqual(variables[b"REQUEST_METHOD"], b"GET")
        self.assertEqual(variables[b"REQUEST_URI"], b"/page")
        self.assertNotIn(b"CONTENT_LENGTH", variables)

    def test_headers(self) -> None:
        """
        Headers are sent as variables.
        """
        self.send(self.application.agent(), b"GET", URI, Headers({"X-A": ["b"]}))
        self.assertEqual(self.peer.params()[b"HTTP_X_A"], b"b")

    def test_notKept(self) -> None:
        """
        Without C{keepConnection} the application is told to close.
        """
        self.get(self.application.agent(keepConnection=False))
        self.assertEqual(self.peer.take()[0].content[2], 0)

    def test_emptyBody(self) -> None:
        """
        A method that wants a body has one of 0 bytes if it has none.
        """
        for method in (b"POST", b"PUT", b"PATCH"):
            self.get(method=method)
            variables = self.application.peers[-1].params()
            self.assertEqual(variables[b"CONTENT_LENGTH"], b"0")

    def test_variables(self) -> None:
        """
        Variables of the agent count more than those of the request, those
        given with a request count more than all others.
        """
        agent = self.application.agent(
            variables={"SCRIPT_FILENAME": "/a.php", "A": "1", "SERVER_SOFTWARE": None}
        )
        self.send(agent, b"GET", URI, variables={"A": "2", b"PATH_INFO": b"/x"})
        variables = self.peer.params()
        self.assertEqual(variables[b"SCRIPT_FILENAME"], b"/a.php")
        self.assertEqual(variables[b"A"], b"2")
        self.assertEqual(variables[b"PATH_INFO"], b"/x")
        self.assertNotIn(b"SERVER_SOFTWARE", variables)

    def test_secrets(self) -> None:
        """
        A request that is printed shows neither headers nor variables.
        """

        def tell(request: Any) -> None:
            self.assertNotIn("secret", repr(request))

        agent = self.application.agent(variables=tell)
        self.send(agent, b"GET", URI, Headers({"Authorization": ["secret"]}))

    def test_teller(self) -> None:
        """
        A callable gets the request and tells variables.
        """

        def tell(request: Any) -> dict[str | bytes, str | bytes | None]:
            verifyObject(IClientRequest, request)
            self.assertEqual((request.method, request.absoluteURI), (b"GET", URI))
            return {"SCRIPT_FILENAME": b"/srv" + request.variables[b"PATH_INFO"]}

        self.get(self.application.agent(variables=tell))
        self.assertEqual(self.peer.params()[b"SCRIPT_FILENAME"], b"/srv/page")

    def test_bad(self) -> None:
        """
        What can't be sent fails, and needs no connection.
        """
        agent = self.application.agent(variables=lambda request: {"A": "\0"})
        for method, uri in [(b"G T", URI), (b"GET", b"/page"), (b"GET", URI)]:
            self.failureResultOf(agent.request(method, uri), ValueError)
        self.assertEqual(self.application.peers, [])

    def test_badOptions(self) -> None:
        """
        An agent must be allowed a connection, and a header in a response.
        """
        for name in ("maxConnections", "maxHeaderBytes"):
            error = self.assertRaises(ValueError, self.application.agent, **{name: 0})
            self.assertIn(name, str(error))

    def test_noDelay(self) -> None:
        """
        What is sent over TCP is sent at once, and it is noticed when the other
        host is gone.
        """
        self.application.slow = True
        self.get()
        ((_, factory),) = self.application.attempts
        transport: Any = Wire(self.clock)
        told: list[bool] = []
        transport.setTcpNoDelay = transport.setTcpKeepAlive = told.append
        directlyProvides(transport, ITCPTransport)
        transport.connect(factory.buildProtocol(None))
        self.assertEqual(told, [True, True])
        transport.lose()
        self.application.connected()


class StderrTests(AgentTestCase):
    """
    What the application writes to STDERR.
    """

    def test_callback(self) -> None:
        """
        Each piece is given to the callback, with the request.
        """
        told: list[tuple[bytes, bytes]] = []
        agent = self.application.agent(
            stderr=lambda request, data: told.append((request.absoluteURI, data))
        )
        result = self.get(agent)
        self.peer.take()
        self.peer.send(wire.stream(wire.STDERR, 1, b"one"))
        self.peer.answer()
        self.successResultOf(result)
        self.assertEqual(told, [(URI, b"one")])

    def test_failing(self) -> None:
        """
        A callback that raises does no harm to the response.
        """

        def fail(request: Any, data: bytes) -> None:
            raise ZeroDivisionError

        result = self.get(self.application.agent(stderr=fail))
        self.peer.take()
        self.peer.send(wire.stream(wire.STDERR, 1, b"one"))
        self.peer.answer()
        self.successResultOf(result)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_log(self) -> None:
        """
        Without a callback it goes to the log, made visible.
        """
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.get()
        self.peer.take()
        self.peer.send(wire.stream(wire.STDERR, 1, b"PHP\x1b[1m \xc3\xa4\xff\n"))
        self.assertEqual(
            [formatEvent(each) for each in events if "text" in each],
            ["GET www.example.com/page: the application says: PHP\\x1b[1m \u00e4\\xff"],
        )


class GetValuesTests(AgentTestCase):
    """
    Questions about limits.
    """

    def ask(self, agent: FastCGIAgent | None = None, *names: Any) -> Any:
        """
        Ask.
        """
        result = (agent or self.application.agent()).getValues(*names)
        self.results.append(result)
        return result

    def result(self, values: dict[bytes, bytes]) -> bytes:
        """
        Build an answer.
        """
        return wire.record(wire.GET_VALUES_RESULT, 0, wire.pairs(values))

    def test_values(self) -> None:
        """
        All known names are asked for; what the application tells is the
        result.  The connection is closed: applications exist that answer
        twice.
        """
        result = self.ask()
        (query,) = self.peer.take()
        names = (b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS")
        self.assertEqual(query[:2], (wire.GET_VALUES, 0))
        self.assertEqual(wire.readPairs(query.content), [(name, b"") for name in names])
        self.peer.send(self.result({b"FCGI_MPXS_CONNS": b"0"}))
        self.assertEqual(self.successResultOf(result), {b"FCGI_MPXS_CONNS": b"0"})
        self.assertFalse(self.peer.open)
        self.peer.send(self.result({}))

    def test_names(self) -> None:
        """
        Other names can be asked for.
        """
        self.ask(None, [b"A"])
        self.assertEqual(wire.readPairs(self.peer.take()[0].content), [(b"A", b"")])

    def test_tooMany(self) -> None:
        """
        Names that don't fit one record are not asked for.
        """
        self.failureResultOf(self.ask(None, [b"a" * 65534]), ValueError)
        self.ask(None, [b"a" * 65530])
        self.assertEqual(len(self.peer.take()[0].content), 65535)

    def test_unknown(self) -> None:
        """
        An application that does not understand the question tells nothing.
        """
        result = self.ask()
        content = bytes((wire.GET_VALUES, *bytes(7)))
        self.peer.send(wire.record(wire.UNKNOWN_TYPE, 0, content))
        self.assertEqual(self.successResultOf(result), {})

    def test_timeout(self) -> None:
        """
        The answer must come in time.
        """
        result = self.ask(self.application.agent(responseTimeout=5))
        self.clock.advance(5)
        failure = self.failureResultOf(result, TimeoutError)
        self.assertIn("waited 5 seconds for the answer to GET_VALUES", str(failure))

    def test_idle(self) -> None:
        """
        A connection that is there is used, and another one if it had ended.
        """
        agent = self.application.agent()
        self.get(agent)
        self.peer.answer()
        result = self.ask(agent)
        self.assertEqual(self.peer.take()[0].type, wire.GET_VALUES)
        self.peer.lose()
        self.application.peers[1].send(self.result({}))
        self.assertEqual(self.successResultOf(result), {})

    def test_streams(self) -> None:
        """
        The streams of a request are nothing to a question.
        """
        query = Query(self.application.agent()._settings, ())
        self.assertFalse(query.received(StreamEnded(wire.STDOUT)))

    def test_full(self) -> None:
        """
        The question does not mind that the connection is full.
        """
        result = self.ask()
        outlet: Any = self.peer.transport.producer
        outlet.pauseProducing()
        outlet.resumeProducing()
        self.peer.send(self.result({}))
        self.successResultOf(result)

    def test_cancel(self) -> None:
        """
        To cancel closes the connection.
        """
        result = self.ask()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(self.peer.transport.aborted)


class Pages(Resource):
    """
    Some pages.
    """

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """
        Redirect, or show the request.
        """
        request.addCookie("a", "b")
        if request.path == b"/old":
            request.redirect(b"/new")
            return b"It has moved."
        shown = {
            "path": request.path.decode(),
            "cookie": (request.getCookie(b"a") or b"").decode(),
            "body": request.content.read().decode(),
            "args": [value.decode() for value in request.args.get(b"x", [])],
        }
        request.setHeader("Content-Type", "application/json")
        return json.dumps(shown).encode()


class ServerTests(SynchronousTestCase):
    """
    The agent and the server of this package, with treq.
    """

    def setUp(self) -> None:
        """
        Connect them in memory.
        """
        self.endpoint = IOSimEndpoint(FastCGIFactory(Pages(), reactor=Clock()))
        self.agent = FastCGIAgent(self.endpoint.clock, self.endpoint)
        self.client = HTTPClient(self.agent, data_to_body_producer=Whole)

    def result(self, pending: Any) -> Any:
        """
        Let them talk, until there is a result.
        """
        self.endpoint.pump()
        return self.successResultOf(pending)

    def test_get(self) -> None:
        """
        JSON, text and cookies.
        """
        response = self.result(self.client.get("http://h/page"))
        shown = self.result(response.json())
        self.assertEqual((shown["path"], shown["cookie"]), ("/page", ""))
        response = self.result(self.client.get("http://h/page"))
        self.assertEqual(json.loads(self.result(response.text()))["cookie"], "b")

    def test_post(self) -> None:
        """
        Forms and JSON.
        """
        response = self.result(self.client.post("http://h/", data={"x": "1"}))
        self.assertEqual(self.result(response.json())["args"], ["1"])
        response = self.result(self.client.post("http://h/", json=[1]))
        self.assertEqual(self.result(response.json())["body"], "[1]")

    def test_redirect(self) -> None:
        """
        Redirections, on the same connection.
        """
        response = self.result(self.client.get("http://h/old"))
        self.assertEqual(self.result(response.json())["path"], "/new")
        self.assertEqual([each.code for each in response.history()], [302])
        agent = RedirectAgent(self.agent)
        response = self.result(agent.request(b"GET", b"http://h/old"))
        self.assertEqual(response.previousResponse.code, 302)
        self.assertEqual(len(self.endpoint.pumps), 1)

    def test_head(self) -> None:
        """
        There is no body of a I{HEAD}.
        """
        response = self.result(self.client.head("http://h/page"))
        self.assertEqual(self.result(response.content()), b"")

    def test_abort(self) -> None:
        """
        After an abort the connection is used again.
        """
        pending = self.agent.request(b"GET", b"http://h/page")
        pending.cancel()
        self.failureResultOf(pending, CancelledError)
        self.result(self.client.get("http://h/page"))
        self.assertLessEqual(len(self.endpoint.pumps), 2)

    def test_getValues(self) -> None:
        """
        The server tells its limits.
        """
        values = self.result(self.agent.getValues())
        self.assertEqual(values[b"FCGI_MPXS_CONNS"], b"0")
