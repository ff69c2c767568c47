# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What tests of an agent have in common.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import (
    ResponseFailed,
    ResponseNeverReceived,
)

from tests.peers import (
    URI,
    Application,
    Peer,
)
from twisted_fastcgi import (
    FastCGIAgent,
)

#: A response that has no more than a body.
PLAIN = b"Content-Type: text/plain\r\n\r\n"


class Reader(Protocol):
    """
    Gets a body.

    @ivar pieces: What has come.
    @ivar reason: Why nothing more will, or L{None}.
    """

    transport: Any

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.pieces.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Keep the reason, of which there is only one.
        """
        assert self.reason is None, "connectionLost was called twice"
        self.reason = reason

    @property
    def body(self) -> bytes:
        """
        What has come, in one piece.
        """
        return b"".join(self.pieces)

    def cause(self) -> Exception:
        """
        Tell why the response has failed.
        """
        self.reason.trap(ResponseFailed)
        (cause,) = self.reason.value.reasons
        return cause.value


class AgentTestCase(SynchronousTestCase):
    """
    An application in memory.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.application = Application()
        self.clock = self.application.clock
        self.results: list[Deferred[Any]] = []

    def tearDown(self) -> None:
        """
        Nothing is left behind after the connections are gone.
        """
        for peer in self.application.peers:
            peer.lose()
        self.clock.advance(0)
        for result in self.results:
            result.addErrback(lambda failure: None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @property
    def peer(self) -> Peer:
        """
        The one connection.
        """
        return self.application.peer

    def send(self, agent: FastCGIAgent, *arguments: Any, **options: Any) -> Any:
        """
        Send a request.
        """
        result = agent.request(*arguments, **options)
        self.results.append(result)
        return result

    def get(self, agent: FastCGIAgent | None = None, method: bytes = b"GET") -> Any:
        """
        Send a request without a body.
        """
        return self.send(agent or self.application.agent(), method, URI)

    def respond(self, response: bytes = PLAIN, **options: Any) -> Any:
        """
        Send a request, and begin to answer it.

        @return: The response.
        """
        result = self.get(self.application.agent(**options))
        self.peer.stdout(response)
        return self.successResultOf(result)

    def read(self, response: Any) -> Reader:
        """
        Read a body.
        """
        reader = Reader()
        response.deliverBody(reader)
        return reader

    def cause(self, result: Deferred[Any]) -> BaseException:
        """
        Tell why there was no response.
        """
        failure = self.failureResultOf(result, ResponseNeverReceived)
        (cause,) = failure.value.reasons
        error: BaseException = cause.value
        return error
