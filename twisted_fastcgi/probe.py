# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Asking an application as a web server does: one request, or for its limits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_fastcgi.cgiclient import headEnd, parseHead
from twisted_fastcgi.connection import (
    RequestEnded,
    StreamReceived,
    ValuesReceived,
    WebServerConnection,
    WebServerEvent,
)
from twisted_fastcgi.errors import FastCGIError, RemoteProtocolError
from twisted_fastcgi.records import RecordType

#: What L{ping} asks for (FastCGI 1.0, section 4.1).
VALUES = (b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS")

#: The longest header block of a response that is read, in bytes.
MAX_HEAD = 1024 * 1024


class NoAnswer(FastCGIError):
    """
    The application did not answer, or not all of it.
    """


@dataclass
class Times:
    """
    When things happened, in seconds since the connection was asked for.

    @ivar connected: When it was there.
    @ivar firstByte: When the first byte of the answer was there.
    @ivar total: When the answer was whole.
    """

    connected: float = 0.0
    firstByte: float = 0.0
    total: float = 0.0


class ResponseHead:
    """
    The header block of a CGI response (RFC 3875, section 6), as it comes in.

    @ivar block: The block with the empty line that ends it; L{None} before
        that was seen.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self.block: bytes | None = None

    def receive(self, data: bytes) -> bytes:
        """
        Take a piece of the response.

        @return: The part of it that belongs to the body.
        @raise RemoteProtocolError: If the block is too long.
        """
        if self.block is not None:
            return data
        known = len(self._received)
        self._received += data
        end = headEnd(self._received, known)
        if end >= 0:
            self.block = bytes(self._received[:end])
            return bytes(self._received[end:])
        if len(self._received) > MAX_HEAD:
            raise RemoteProtocolError(
                f"the response has no empty line in its first {MAX_HEAD} bytes"
            )
        return b""

    @property
    def status(self) -> int:
        """
        The status code that the block stands for (section 6.3.3).

        @raise RemoteProtocolError: If there is no block, or it can't be
            understood.
        """
        if self.block is None:
            raise RemoteProtocolError(
                "the response has no empty line that ends its header block: it "
                f"starts with {bytes(self._received[:40])!r}"
            )
        return parseHead(self.block).code


class Line(Protocol):
    """
    A connection to an application.

    @ivar machine: The web server's side of it.
    @ivar times: When things happened.
    @ivar received: What has come, as long as nobody has taken it away.
    """

    transport: Any

    def __init__(self, clock: IReactorTime, started: float) -> None:
        """
        @param clock: Tells the time.
        @param started: When the connection was asked for.
        """
        self.machine = WebServerConnection()
        self.times = Times()
        self.received = bytearray()
        self._clock = clock
        self._started = started
        self._isAnswering = False
        self._waiting: Deferred[None] | None = None
        self._lost: Failure | None = None

    def elapsed(self) -> float:
        """
        Tell the time since the connection was asked for, in seconds.
        """
        return self._clock.seconds() - self._started

    def connectionMade(self) -> None:
        """
        Note the time.
        """
        self.times.connected = self.elapsed()

    def dataReceived(self, data: bytes) -> None:
        """
        Take bytes from the application.
        """
        if not self._isAnswering:
            self._isAnswering = True
            self.times.firstByte = self.elapsed()
        self.received += data
        self.machine.receiveData(data)
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Note why the connection has ended.
        """
        self._lost = reason
        self._wake()

    def _wake(self) -> None:
        """
        Go on with what waits for the application.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def send(self, *pieces: bytes) -> None:
        """
        Send bytes to the application.
        """
        self.transport.writeSequence(pieces)

    def sendEnd(self) -> None:
        """
        Tell the application that no more bytes will come.
        """
        self.transport.loseWriteConnection()

    async def nextEvent(self) -> WebServerEvent:
        """
        Wait for the next event.

        @raise NoAnswer: If the connection has ended instead.
        @raise RemoteProtocolError: If the application broke the protocol.
        """
        while (event := self.machine.nextEvent()) is None:
            if self._lost is not None:
                raise NoAnswer(self._whyLost(self._lost))
            self._waiting = Deferred()
            await self._waiting
        return event

    def _whyLost(self, reason: Failure) -> str:
        """
        Tell how the connection has ended.
        """
        before = "before its answer was complete"
        if not self._isAnswering:
            before = "without an answer"
        if reason.check(ConnectionDone):
            return f"the application closed the connection {before}"
        return f"the connection broke {before}: {reason.getErrorMessage()}"


@asynccontextmanager
async def connected(
    endpoint: IStreamClientEndpoint, clock: IReactorTime
) -> AsyncIterator[Line]:
    """
    Connect to an application for the time of a block.

    @param endpoint: Where it is.
    @param clock: Tells the time.
    """
    started = clock.seconds()
    factory = Factory.forProtocol(lambda: Line(clock, started))
    factory.noisy = False
    line = cast(Line, await endpoint.connect(factory))
    try:
        yield line
    except BaseException:
        line.transport.abortConnection()
        raise
    else:
        line.transport.loseConnection()


@dataclass
class Answer:
    """
    What an application answered.

    @ivar status: The HTTP status code.
    @ivar appStatus: The application status that END_REQUEST tells.
    @ivar protocolStatus: The protocol status that it tells.
    @ivar times: When things happened.
    """

    status: int
    appStatus: int
    protocolStatus: int
    times: Times


@dataclass
class Output:
    """
    Where an answer goes to, piece by piece.

    @ivar head: Called with the header block as a whole.
    @ivar body: Called with each piece of the body.
    @ivar stderr: Called with each piece of STDERR.
    """

    head: Callable[[bytes], object]
    body: Callable[[bytes], object]
    stderr: Callable[[bytes], object]


async def get(
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    params: Iterable[tuple[bytes, bytes]],
    body: bytes,
    output: Output,
) -> Answer:
    """
    Send one request.

    @param endpoint: Where the application is.
    @param clock: Tells the time.
    @param params: The variables.
    @param body: The request body.
    @param output: Takes the answer.
    @return: How it ended.
    @raise FastCGIError: If there is no answer that can be understood.
    """
    async with connected(endpoint, clock) as line:
        machine = line.machine
        line.send(
            machine.beginRequest(keepConnection=False),
            *machine.sendParams(params),
            *machine.sendStdin(body),
            machine.endStdin(),
        )
        head = ResponseHead()
        while not isinstance(event := await line.nextEvent(), RequestEnded):
            if isinstance(event, StreamReceived):
                _pass(event, head, output)
        line.times.total = line.elapsed()
    return Answer(head.status, event.appStatus, event.protocolStatus, line.times)


def _pass(event: StreamReceived, head: ResponseHead, output: Output) -> None:
    """
    Pass on a piece of an answer.
    """
    if event.stream == RecordType.STDERR:
        output.stderr(event.data)
        return
    wasMissing = head.block is None
    body = head.receive(event.data)
    if wasMissing and head.block is not None:
        output.head(head.block)
    if body:
        output.body(body)


async def ping(
    endpoint: IStreamClientEndpoint, clock: IReactorTime
) -> tuple[Mapping[bytes, bytes], Times]:
    """
    Ask an application for its limits.

    @param endpoint: Where it is.
    @param clock: Tells the time.
    @return: What it told, which may be nothing, and when.
    @raise FastCGIError: If it does not answer.
    """
    async with connected(endpoint, clock) as line:
        line.send(line.machine.getValues(VALUES))
        event = await line.nextEvent()
        line.times.total = line.elapsed()
    return (event.values if isinstance(event, ValuesReceived) else {}), line.times
