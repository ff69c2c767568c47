# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Whatever happens to requests, in whatever order: each is counted once, and none is
in hand when all is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from tests import wire
from tests.tables import moderately
from tests.transports import (
    PullProducer,
    PushProducer,
    ServerTestCase,
    ServerTransport,
)
from twisted_fastcgi.authorizer import Allow
from twisted_fastcgi.connection import InputState, Limits
from twisted_fastcgi.interfaces import IAuthorizer, IFilterResource, IStreamingResource
from twisted_fastcgi.records import Role

BODY = b"0123456789"
ROLES = (wire.RESPONDER, wire.RESPONDER, wire.AUTHORIZER, wire.FILTER, 9)


def _fail(request: Any) -> Any:
    raise ValueError("it was meant to")


def _midway(request: Any) -> Any:
    request.write(b"some")
    return _fail(request)


def _finish(request: Any) -> Any:
    request.write(b"all")
    request.finish()
    return NOT_DONE_YET


def _tellLength(request: Any) -> Any:
    request.setHeader(b"content-length", b"10")
    return _finish(request)


def _notModified(request: Any) -> Any:
    request.setResponseCode(304)
    return b""


def _pull(request: Any) -> Any:
    PullProducer(request, [b"a", b"b"]).start()
    return NOT_DONE_YET


def _push(request: Any) -> Any:
    request.registerProducer(PushProducer(), True)
    return NOT_DONE_YET


def _lose(request: Any) -> Any:
    request.write(b"some")
    request.loseConnection()
    return NOT_DONE_YET


def _abort(request: Any) -> Any:
    request.channel.abortConnection()
    return NOT_DONE_YET


def _flood(request: Any) -> Any:
    request.registerProducer(PushProducer(), True)
    for _ in range(4):
        request.write(b"x" * 100000)
    request.unregisterProducer()
    return _finish(request)


#: What applications do with a request, by the first segment of its path.
ACTS: dict[bytes, Callable[[Any], Any]] = {
    b"answer": lambda request: b"hello",
    b"later": lambda request: NOT_DONE_YET,
    b"finish": _finish,
    b"fail": _fail,
    b"midway": _midway,
    b"short": _tellLength,
    b"304": _notModified,
    b"pull": _pull,
    b"push": _push,
    b"lose": _lose,
    b"abort": _abort,
    b"flood": _flood,
}

#: What they may do afterwards with one that they did not finish.
AFTERWARDS: tuple[Callable[[Any], Any], ...] = (
    _finish,
    _tellLength,
    _lose,
    _flood,
    lambda request: request.write(b"some"),
    lambda request: request.processingFailed(Failure(ValueError("it was meant to"))),
    lambda request: request.channel.abortConnection(),
)


class Acting(Resource):
    """
    Does what the path says.

    @ivar unfinished: The requests that are still to be finished.
    """

    isLeaf = True

    def __init__(self, unfinished: list[Any]) -> None:
        super().__init__()
        self.unfinished = unfinished

    def render(self, request: Any) -> Any:
        act = ACTS[request.path.rpartition(b"/")[2]]
        self.unfinished.append(request)
        gone = request.notifyFinish()
        gone.addBoth(lambda _: self.unfinished.remove(request))
        return act(request)


@implementer(IStreamingResource)
class Streaming(Acting):
    """
    Does so before the body has come.
    """


@implementer(IFilterResource)
class Filtering(Acting):
    """
    Does so as a Filter.
    """


@implementer(IAuthorizer)
class Deciding(Acting):
    """
    Lets everybody in that it does not fail for.
    """

    def authorize(self, request: Any) -> Any:
        if request.path.endswith(b"fail"):
            _fail(request)
        return Allow()


class Plain(Request):
    """
    A request of Twisted's, made as it is.
    """


#: What is sent of a request, and how it is different from an ordinary one.
requests = st.fixed_dictionaries(
    {
        "path": st.tuples(
            st.sampled_from([b"act", b"stream", b"filter", b"decide", b"late"]),
            st.sampled_from(list(ACTS)),
        ).map(lambda parts: b"/" + b"/".join(parts)),
        "method": st.sampled_from([b"GET", b"HEAD", b"POST", b"POST", b""]),
        "length": st.sampled_from([b"", b"0", b"10", b"10", b"7", b"12", b"99", b"x"]),
        "dataLength": st.sampled_from([b"10", b"9", b"x"]),
        "keep": st.booleans(),
        "role": st.sampled_from(ROLES),
        "sent": st.sampled_from(["all"] * 4 + ["begin", "params", "some", "junk"]),
    }
)

steps = st.one_of(
    st.tuples(st.just("request"), st.integers(0, 2), requests),
    st.tuples(st.just("request"), st.integers(0, 2), requests),
    st.tuples(
        st.sampled_from(["abort", "close", "garbage", "body", "end", "values"]),
        st.integers(0, 2),
        st.none(),
    ),
    st.tuples(st.just("act"), st.integers(0, 9), st.integers(0, len(AFTERWARDS) - 1)),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 8]), st.none()),
    st.tuples(st.just("drain"), st.booleans(), st.none()),
)


class CountingTests(ServerTestCase):
    """
    What becomes of requests, whatever happens.
    """

    @settings(moderately, max_examples=120)
    @given(st.booleans(), st.lists(steps, max_size=20))
    def test_anything(self, plain: bool, said: list[Any]) -> None:
        """
        All requests that began are in hand or have come to one end; bytes are
        those that came and went; nothing that only grows falls; all is over in the
        end.
        """
        self.setUp()
        self.start(plain)
        for name, which, what in said:
            getattr(self, f"do_{name}")(which, what)
            self.check()
        for transport in self.transports:
            transport.close()
        self.check()
        self.assertEqual(self.factory.statistics().active, 0)
        self.flushLoggedErrors()
        self.tearDown()
        self.doCleanups()

    def start(self, plain: bool) -> None:
        """
        Begin anew.
        """
        self.unfinished: list[Any] = []
        root = Resource()
        for name, made in {
            b"act": Acting,
            b"stream": Streaming,
            b"filter": Filtering,
            b"decide": Deciding,
        }.items():
            root.putChild(name, made(self.unfinished))
        root.putChild(b"late", Late(Filtering(self.unfinished)))
        limits = Limits(
            connections=2,
            bodyBytes=50,
            params=30,
            paramsTimeout=5,
            bodyTimeout=5,
            unheededBytes=250000,
            queuedAnswers=1,
        )
        site = Site(root, Plain if plain else Request, reactor=self.clock)
        roles = (Role.AUTHORIZER, Role.FILTER)
        self.serve(site, limits=limits, roles=roles)
        self.begun = self.received = self.requestId = 0
        self.last: dict[int, int] = {}
        self.before = self.factory.statistics()

    def open(self, which: int) -> ServerTransport:
        """
        Give a connection; a new one if it is gone.
        """
        while len(self.transports) <= which:
            self.connect()
        if not self.transports[which].connected:
            self.transports.append(self.transports[which])
            transport = ServerTransport()
            self.transports[which] = transport
            transport.connect(self.factory.buildProtocol(transport.getPeer()))
        return self.transports[which]

    def send(self, which: int, data: bytes, begun: int = 0) -> None:
        """
        Have a web server send something, which the server reads unless it is about
        to close the connection.
        """
        transport = self.open(which)
        if transport.reading:
            if not transport.protocol.closing:
                self.begun += begun
            self.received += len(data)
            transport.receive(data)
            self.assertEqual(transport.undelivered, 0)

    def do_request(self, which: int, what: Any) -> None:
        """
        Send a request.
        """
        self.requestId += 1
        self.last[which] = self.requestId
        variables = wire.variables(
            what["path"],
            REQUEST_METHOD=what["method"],
            CONTENT_LENGTH=what["length"],
            FCGI_DATA_LENGTH=what["dataLength"],
            FCGI_DATA_LAST_MOD=b"0",
        )
        sent = wire.beginRequest(self.requestId, what["role"], keep=what["keep"])
        if what["sent"] == "junk":
            sent += wire.record(wire.PARAMS, self.requestId, b"\x05")
            sent += wire.record(wire.PARAMS, self.requestId)
        elif what["sent"] == "all":
            sent = wire.request(
                variables, BODY, self.requestId, what["keep"], what["role"]
            )
        elif what["sent"] != "begin":
            sent += wire.params(variables, self.requestId)
            if what["sent"] == "some":
                sent += wire.stdin(BODY[:5], self.requestId)[: 8 + 8]
        self.send(which, sent, 1)

    def do_body(self, which: int, _: Any) -> None:
        """
        Send a piece of a body.
        """
        self.send(which, wire.record(wire.STDIN, self.last.get(which, 1), BODY[:5]))

    def do_end(self, which: int, _: Any) -> None:
        """
        End a body.
        """
        self.send(which, wire.record(wire.STDIN, self.last.get(which, 1)))

    def do_abort(self, which: int, _: Any) -> None:
        """
        Abort a request.
        """
        self.send(which, wire.abortRequest(self.last.get(which, 1)))

    def do_garbage(self, which: int, _: Any) -> None:
        """
        Break the protocol.
        """
        self.send(which, b"GET / HTTP/1.1\r\n\r\n")

    def do_values(self, which: int, _: Any) -> None:
        """
        Ask for what the server can do.
        """
        self.send(which, wire.getValues(b"FCGI_MAX_CONNS"))

    def do_close(self, which: int, _: Any) -> None:
        """
        Close a connection.
        """
        self.open(which).close()

    def do_act(self, which: int, what: int) -> None:
        """
        Have the application go on.
        """
        if self.unfinished:
            request = self.unfinished[which % len(self.unfinished)]
            AFTERWARDS[what](request)
        for transport in self.transports:
            transport.settle()

    def do_wait(self, seconds: int, _: Any) -> None:
        """
        Let time pass.
        """
        self.advance(seconds)

    def do_drain(self, refuse: bool, _: Any) -> None:
        """
        Begin to stop.
        """
        self.factory.drain(7, refuse)

    def check(self) -> None:
        """
        See that the figures are right.
        """
        told = self.factory.statistics()
        self.assertEqual(told.requests + told.active + self.arriving(), self.begun)
        self.assertEqual(told.received, self.received)
        self.assertEqual(told.sent, sum(len(each.value()) for each in self.transports))
        self.assertLessEqual(sum(told.buckets), told.requests)
        before, self.before = self.before, told
        for name, count in before.outcomes.items():
            self.assertGreaterEqual(told.outcomes[name], count)
        for one, other in zip(before.buckets, told.buckets, strict=True):
            self.assertGreaterEqual(other, one)
        self.assertGreaterEqual(told.duration, before.duration)

    def arriving(self) -> int:
        """
        Tell how many requests there are whose variables are still to come.
        """
        return sum(
            each.connected
            and each.protocol.channel is None
            and each.protocol._connection.inputState is InputState.PARAMS
            for each in self.transports
        )


class Late(Resource):
    """
    Can't be asked before the body has come.
    """

    def __init__(self, found: Resource) -> None:
        super().__init__()
        self.found = found

    def getChild(self, name: bytes, request: Any) -> Any:
        request.content.read()
        return self.found
