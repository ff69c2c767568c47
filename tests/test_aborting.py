# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Requests that nobody wants to be answered any more, and responses that break
off: in every state, on connections of both kinds.
"""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import ref

from twisted.internet import error
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests import wire
from tests.programs import PATIENCE
from tests.tables import table
from tests.transports import (
    PullProducer,
    PushProducer,
    ServerTestCase,
    ServerTransport,
)
from twisted_fastcgi.request import FastCGIRequest

#: A body that is kept in a file, which is so for more than 100,000 bytes.
BODY = b"0123456789" * 20000

#: A third of it.
PART = BODY[:65000]

#: Some variables.
VARIABLES = wire.params({b"REQUEST_METHOD": b"POST", b"X": b"x" * 90}, end=False)


def begun(keep: bool) -> bytes:
    """
    Give all of a request but its body.
    """
    return wire.beginRequest(keep=keep) + wire.params(wire.postVariables(BODY))


def whole(keep: bool) -> bytes:
    """
    Give a request.
    """
    return begun(keep) + wire.stdin(BODY)


class Reactor:
    """
    What a thread pool needs of a reactor, for a test that runs none.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[Any] = queue.Queue()

    def callFromThread(self, f: Callable[..., object], *args: object) -> None:
        """
        Note what a thread wants to have called.
        """
        self._calls.put((f, args))

    def runOne(self) -> None:
        """
        Do one of those calls, or wait for one.
        """
        f, args = self._calls.get(timeout=PATIENCE)
        f(*args)


class Worker:
    """
    A resource's work in a thread that takes as long as the test wants.

    @ivar outcome: What the work comes to, or an exception.
    """

    def __init__(self, test: ServerTestCase) -> None:
        self.outcome: bytes | Exception = b"worked"
        self.reactor = Reactor()
        self._pool = ThreadPool(1, 1)
        self._pool.start()
        self._go = threading.Event()
        test.addCleanup(self._pool.stop)
        test.addCleanup(self._go.set)

    def start(self, request: Any) -> int:
        """
        Render a request in a thread.
        """
        gone: list[object] = []
        request.notifyFinish().addBoth(gone.append)
        working = deferToThreadPool(self.reactor, self._pool, self._work)

        def worked(body: bytes) -> None:
            if not gone:
                request.write(body)
                request.finish()

        def failed(failure: Failure) -> None:
            if not gone:
                request.processingFailed(failure)

        working.addCallback(worked)
        working.addErrback(failed)
        return NOT_DONE_YET

    def _work(self) -> bytes:
        """
        Work, in a thread.
        """
        self._go.wait(PATIENCE)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def finish(self) -> None:
        """
        Let the work be done, and the application know.
        """
        self._go.set()
        self.reactor.runOne()


class Watched(Resource):
    """
    A resource whose requests are watched.

    @ivar refs: Weak references to all requests, and their channels.
    @ivar ends: What C{notifyFinish()} told of each.
    @ivar files: The files that hold the bodies.
    @ivar producers: The producers of the responses.
    @ivar worker: What works in a thread.
    """

    isLeaf = True

    def __init__(self, test: Any, kind: type[Request], answer: str) -> None:
        super().__init__()
        self.refs: list[Any] = []
        self.ends: list[Any] = []
        self.files: list[Any] = []
        self.producers: list[Any] = []
        self.worker = Worker(test) if answer == "thread" else None
        self._kind = kind
        self._answer = answer

    def makeRequest(self, channel: Any, queued: bool) -> Any:
        """
        Make a request.
        """
        request = self._kind(channel, queued)
        self.refs += [ref(request), ref(channel)]
        request.notifyFinish().addBoth(self.ends.append)
        return request

    def render(self, request: Any) -> Any:
        self.files.append(request.content)
        if request.path == b"/next":
            return b"next"
        render: Any = getattr(self, f"answer_{self._answer}", None)
        return NOT_DONE_YET if render is None else render(request)

    def answer_whole(self, request: Any) -> bytes:
        """
        Answer at once.
        """
        return b"whole"

    def answer_half(self, request: Any) -> int:
        """
        Answer half.
        """
        request.write(b"half")
        return NOT_DONE_YET

    def answer_large(self, request: Any) -> bytes:
        """
        Answer at once with more than the web server takes.
        """
        return BODY

    def answer_push(self, request: Any) -> int:
        """
        Answer by a push producer.
        """
        self.producers.append(PushProducer())
        request.registerProducer(self.producers[0], True)
        request.write(BODY)
        return NOT_DONE_YET

    def answer_pull(self, request: Any) -> int:
        """
        Answer by a pull producer.
        """
        self.producers.append(PullProducer(request, iter(lambda: PART, b"")))
        self.producers[0].start()
        return NOT_DONE_YET

    def answer_thread(self, request: Any) -> int:
        """
        Answer from a thread.
        """
        assert self.worker is not None
        return self.worker.start(request)


@dataclass(frozen=True)
class State:
    """
    How far a request has come.

    @ivar sent: What has been sent, by whether the connection is to be kept.
    @ivar answer: How the resource answers.
    @ivar rest: What completes a record.
    @ivar stalled: Whether the web server reads nothing.
    @ivar isSeen: Whether there is a request.
    @ivar isOver: Whether the response is whole.
    """

    sent: Callable[[bool], bytes]
    answer: str = "never"
    rest: bytes = b""
    stalled: bool = False
    isSeen: bool = True
    isOver: bool = False


STATES = {
    "before the variables": State(lambda keep: whole(keep)[:16], isSeen=False),
    "in the variables": State(
        lambda keep: wire.beginRequest(keep=keep) + VARIABLES, isSeen=False
    ),
    "in a record of the variables": State(
        lambda keep: wire.beginRequest(keep=keep) + VARIABLES[:-50],
        rest=VARIABLES[-50:],
        isSeen=False,
    ),
    "before the body": State(begun),
    "in the body": State(lambda keep: begun(keep) + wire.stdin(PART, end=False)),
    "in a record of the body": State(
        lambda keep: begun(keep) + wire.stdin(PART, end=False)[:-8],
        rest=wire.stdin(PART, end=False)[-8:],
    ),
    "while the resource runs": State(whole),
    "after half of the response": State(whole, "half"),
    "while a push producer waits": State(whole, "push", stalled=True),
    "while a push producer writes": State(whole, "push"),
    "while a pull producer waits": State(whole, "pull", stalled=True),
    "while a thread works": State(whole, "thread"),
    "after END_REQUEST": State(whole, "whole", isOver=True),
    "after END_REQUEST that is unread": State(
        whole, "large", stalled=True, isOver=True
    ),
}

KINDS = {"lean": FastCGIRequest, "stock": Request}

#: Each state, for each kind of request, for each kind of connection.
ROWS: dict[str, tuple[State, Any, bool]] = {
    f"{name}, {kind}, {'kept' if keep else 'not kept'}": (
        state,
        type("Mine", (KINDS[kind],), {}),
        keep,
    )
    for name, state in STATES.items()
    for kind in KINDS
    for keep in (True, False)
}


class AbortTestCase(ServerTestCase):
    """
    A test case that brings a request to some state.
    """

    def bring(self, state: State, kind: type[Request], keep: bool) -> Any:
        """
        Bring a request to a state.

        @return: The resource, and the web server.
        """
        resource = Watched(self, kind, state.answer)
        # Site looks at the request factory as a function.
        site = Site(resource, requestFactory=resource.makeRequest, reactor=self.clock)
        self.serve(site)
        transport = self.connect(ServerTransport(stalled=state.stalled))
        transport.receive(state.sent(keep))
        self.assertEqual(len(resource.refs), 2 * state.isSeen)
        return resource, transport

    def assertOver(self, resource: Watched, state: State, reason: type) -> None:
        """
        See that the application knows, once, and that nothing is left of the
        request: not even until the garbage is collected.

        @param reason: Why the request is over.
        """
        if resource.worker is not None:
            resource.worker.finish()
        self.assertEqual(len(resource.ends), state.isSeen)
        for end in resource.ends:
            if state.isOver:
                self.assertIs(end, None)
            else:
                self.assertIsInstance(end, Failure)
                end.trap(reason)
        del resource.ends[:]
        for producer in resource.producers:
            if isinstance(producer, PullProducer):
                self.assertTrue(producer.stopped)
                producer._request = None
            else:
                self.assertEqual(producer.calls.count("stop"), 1)
                self.assertEqual(producer.calls[-1], "stop")
        self.assertEqual(
            [file.closed for file in resource.files], [True] * len(resource.files)
        )
        self.assertEqual(self.left(resource), [])

    def left(self, resource: Watched) -> list[Any]:
        """
        Tell what is left of requests.
        """
        return [found for each in resource.refs if (found := each()) is not None]

    def setUp(self) -> None:
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)


class AbortTests(AbortTestCase):
    """
    ABORT_REQUEST.
    """

    @table(ROWS)
    def test_abort(self, state: State, kind: type[Request], keep: bool) -> None:
        """
        The request ends at once, is answered with END_REQUEST that says 1, and
        the connection lives on or is closed as the web server wants it.  After
        END_REQUEST it means nothing.
        """
        resource, transport = self.bring(state, kind, keep)
        before = transport.value()
        transport.receive(state.rest + wire.abortRequest())
        self.assertOver(resource, state, error.ConnectionLost)
        transport.stalled = False
        transport.settle()
        if not state.isOver:
            answer = transport.response()
            self.assertEqual((answer.appStatus, answer.protocolStatus), (1, 0))
            self.assertFalse(answer.stdoutEnded)
        elif not state.stalled:
            self.assertEqual(transport.value(), before)
        self.assertLives(transport, keep)
        self.assertEqual(self.logged(), [])

    def assertLives(self, transport: ServerTransport, keep: bool) -> None:
        """
        See that a kept connection serves on, and another one is closed.
        """
        if keep:
            self.assertServes(transport)
        else:
            self.advance(3)
            self.assertClosed(transport)


class LostTests(AbortTestCase):
    """
    The connection ends.
    """

    @table(ROWS)
    def test_lost(self, state: State, kind: type[Request], keep: bool) -> None:
        """
        The request ends at once, and nothing is left of it or the connection.
        """
        resource, transport = self.bring(state, kind, keep)
        transport.lose(error.ConnectionLost())
        protocol = ref(transport.protocol)
        del transport.protocol
        self.assertOver(resource, state, error.ConnectionLost)
        self.assertEqual(self.factory.connectionCount, 0)
        self.assertIs(protocol(), None)
        self.assertEqual(self.logged(), [])

    @table(ROWS)
    def test_cutOff(self, state: State, kind: type[Request], keep: bool) -> None:
        """
        So it is when the grace for the end of the server is over.
        """
        resource, transport = self.bring(state, kind, keep)
        connected = transport.connected
        drained: list[Any] = []
        self.factory.drain(0.5).addCallback(drained.append)
        self.assertEqual(len(drained), not connected)
        self.advance(1)
        self.assertEqual(drained, [None])
        self.assertOver(resource, state, error.ConnectionAborted)
