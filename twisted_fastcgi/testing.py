# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Test an application through real FastCGI records, without sockets and without a
reactor.

L{FastCGITestClient} is a web server in memory: it turns requests into records,
has them served by the real L{FastCGIFactory
<twisted_fastcgi.server.FastCGIFactory>}, and reads the records that come back.
It needs neither trial nor pytest, and is used alike with both::

    client = FastCGITestClient(MyResource())
    response = client.resultOf(client.get("/hello"))
    assert response.code == 200

What is asked is done at once: a L{Deferred} of the client has fired when the
method that gave it returns, if the application answered without waiting for
anything.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.cookiejar import CookieJar
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast
from urllib.parse import urlencode

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IProtocol,
    IProtocolFactory,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from twisted_fastcgi.cgiclient import (
    Target,
    Variables,
    headEnd,
    merged,
    parseHead,
    parseTarget,
    requestVariables,
)
from twisted_fastcgi.client import FastCGIAgent
from twisted_fastcgi.connection import (
    InputState,
    Limits,
    RequestEnded,
    StreamReceived,
    WebServerConnection,
)
from twisted_fastcgi.dissect import Dissector
from twisted_fastcgi.errors import FastCGIError, RemoteProtocolError
from twisted_fastcgi.explain import Ledger
from twisted_fastcgi.listing import Listing
from twisted_fastcgi.mount import ROOT
from twisted_fastcgi.records import HEADER_LENGTH, RecordType, decodeHeader
from twisted_fastcgi.server import FastCGIFactory

__all__ = [
    "Exchange",
    "FastCGITestClient",
    "NoResponse",
    "NotAnswered",
    "Record",
    "Response",
    "WholeBody",
    "readRecords",
]

_Result = TypeVar("_Result")

_Text: TypeAlias = str | bytes

#: The CGI variables of a request; a value of L{None} leaves one out.  Text
#: stands for its bytes in UTF-8.
Params: TypeAlias = (
    Mapping[str, _Text | None]
    | Mapping[bytes, _Text | None]
    | Mapping[_Text, _Text | None]
)

#: The header fields of a request.  A field with several values has them in a
#: list.
HeaderFields: TypeAlias = (
    Headers
    | Mapping[str, _Text | Sequence[_Text]]
    | Mapping[bytes, _Text | Sequence[_Text]]
)

#: The body of a request: bytes, or the fields of a form.  A field with several
#: values has them in a list.
Body: TypeAlias = bytes | Mapping[str, Any] | Sequence[tuple[str, Any]]

#: In what pieces the bytes of a request arrive: all of one size, or of these
#: sizes and the rest whole; whole if L{None}.
Pieces: TypeAlias = int | Sequence[int] | None

#: How much Twisted's transports read at once, and how much they let wait to be
#: sent until they are full, in bytes.
_BUFFER_SIZE = 65536

#: How often producers may be asked for more until it is clear that there will
#: be no end: they have written some 300 MiB by then, if they know their job.
_ENDLESS = 5000

#: Where the web server is.
_ADDRESS = UNIXAddress(None)

_FORM = b"application/x-www-form-urlencoded"

_unsafe = re.compile(rb"[^!-~]")
_isAbsolute = re.compile(rb"https?://", re.IGNORECASE).match


class NoResponse(FastCGIError):
    """
    A request is over, and its response has no complete header.

    @ivar exchange: The L{Exchange}, with all that did come.
    """

    def __init__(self, exchange: Exchange, why: str) -> None:
        """
        @param exchange: The exchange.
        @param why: What happened.
        """
        super().__init__(f"{exchange.name} has no response: {why}")
        self.exchange = exchange


class NotAnswered(AssertionError):
    """
    There is no result, and none will come unless something happens.
    """


class Record(NamedTuple):
    """
    A record (FastCGI 1.0, section 3.3).

    @ivar type: Its type: a L{RecordType<twisted_fastcgi.records.RecordType>},
        or a number if it is none of these.
    @ivar requestId: Its request id.
    @ivar content: Its content.
    @ivar paddingLength: The size of its padding, in bytes.
    """

    type: int
    requestId: int
    content: bytes
    paddingLength: int


def readRecords(data: bytes) -> list[Record]:
    """
    Take bytes apart into records (FastCGI 1.0, section 3.3).

    @param data: The bytes, from the beginning of a record on.
    @return: The records.  One that is not whole at the end is left out.
    @raise RemoteProtocolError: If this is not FastCGI.
    """
    records: list[Record] = []
    offset = 0
    while offset + HEADER_LENGTH <= len(data):
        type_, requestId, length, padding = decodeHeader(data, offset)
        start = offset + HEADER_LENGTH
        offset = start + length + padding
        if offset <= len(data):
            if type_ in _TYPES:
                type_ = RecordType(type_)
            content = data[start : start + length]
            records.append(Record(type_, requestId, content, padding))
    return records


_TYPES = frozenset(RecordType)


@dataclass(frozen=True)
class Response:
    """
    A response, or what has come of one.

    @ivar code: The status code.
    @ivar phrase: The reason phrase.
    @ivar headers: The header fields.
    @ivar body: The body.
    @ivar stderr: What was written to STDERR (FastCGI 1.0, section 5.3).
    @ivar appStatus: The application status (FastCGI 1.0, section 5.5);
        L{None} if there was no END_REQUEST.
    @ivar protocolStatus: The protocol status, likewise.
    @ivar complete: Whether the response is whole: STDOUT has ended, the body
        is as long as I{Content-Length} says, and END_REQUEST has come.
    @ivar raw: The bytes that came, with all records.
    """

    code: int
    phrase: bytes
    headers: Headers
    body: bytes
    stderr: bytes
    appStatus: int | None
    protocolStatus: int | None
    complete: bool
    raw: bytes = field(repr=False)

    @property
    def records(self) -> list[Record]:
        """
        The records of the response.
        """
        return readRecords(self.raw)

    def text(self, encoding: str | None = None) -> str:
        """
        Decode the body.

        @param encoding: How it is encoded; by default what I{Content-Type}
            says, or UTF-8.
        @return: The text.
        @raise UnicodeDecodeError: If that is not so.
        """
        message = Message()
        for value in self.headers.getRawHeaders(b"Content-Type", ()):
            message["Content-Type"] = value.decode("latin1")
        return self.body.decode(encoding or message.get_content_charset() or "utf-8")

    def json(self) -> Any:
        """
        Read the body as JSON.

        @return: What it says.
        @raise ValueError: If it is no JSON.
        """
        return json.loads(self.body)


# Connections in memory


@implementer(ITransport, IConsumer, IPushProducer)
class _End:
    """
    One end of a connection in memory.

    It does what Twisted's transports do, when they do it: it calls nobody back
    from within a call, except for what the interfaces ask for; it is full when
    more than 64 KiB are unsent, and pauses its producer then; it asks a pull
    producer for more when all is sent; it closes when all is sent and no
    producer is at work; it delivers nothing, not even the end, while it is
    paused; its protocol learns of the end once.

    @ivar peer: The other end.
    @ivar connected: Whether it is open.
    @ivar disconnecting: Whether it is to be closed when all is sent.
    @ivar busy: Whether one of its protocol's methods, or one of its own, is
        being called, so that it must not call back.
    @ivar unsent: How many bytes the other end has not read.
    @ivar _written: Those, in the pieces in which they were written.
    @ivar _writing: Whether something is to be done when all is sent.
    @ivar _reading: Whether the protocol wants to read.
    """

    peer: _End

    def __init__(self, network: _Network, protocol: IProtocol) -> None:
        """
        @param network: What it is part of.
        @param protocol: What uses it.
        """
        self.protocol = protocol
        self.connected = True
        self.disconnecting = False
        self.busy = True
        self.unsent = 0
        self._network = network
        self._written: deque[bytes] = deque()
        self._writing = False
        self._reading = True
        self._producer: IProducer | None = None
        self._streaming = True
        self._producerPaused = False
        self._halfClosing = False
        self._halfClosed = False
        self._aborting = False

    # ITransport and what Twisted's transports have beyond it

    def getPeer(self) -> UNIXAddress:
        return _ADDRESS

    def getHost(self) -> UNIXAddress:
        return _ADDRESS

    def write(self, data: bytes) -> None:
        isOpen = self.connected and not (self._halfClosed or self._aborting)
        if isOpen and data:
            for start in range(0, len(data), _BUFFER_SIZE):
                self._written.append(data[start : start + _BUFFER_SIZE])
            self.unsent += len(data)
            self._writing = True
            if self._streaming and self.unsent > _BUFFER_SIZE:
                self._pauseProducer()
            self._network.changed(self)

    def _pauseProducer(self) -> None:
        """
        Tell the producer that this is full.
        """
        if self._producer is not None:
            self._producerPaused = True
            cast(IPushProducer, self._producer).pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._reading = False
        self._writing = True
        self._network.changed(self)

    def loseWriteConnection(self) -> None:
        self._halfClosing = True
        self._writing = True
        self._network.changed(self)

    def abortConnection(self) -> None:
        self._aborting = True
        self.unsent = 0
        self._network.changed(self)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(
                f"can't register {producer}, because {self._producer} was never "
                "unregistered"
            )
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            cast(IPullProducer, producer).resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._writing = self._writing or self.disconnecting
        self._network.changed(self)

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = not self.disconnecting
        self._network.changed(self)

    def stopProducing(self) -> None:
        self.loseConnection()

    # What happens on its own

    def step(self) -> bool:
        """
        Do what a reactor would do next.

        @return: Whether there was anything to be done.
        """
        action = self._next()
        if action is None:
            return False
        self._run(action)
        return True

    def _run(self, action: Callable[[], object]) -> None:
        """
        Call back.
        """
        busy, self.busy = self.busy, True
        try:
            action()
        finally:
            self.busy = busy

    @property
    def hasWork(self) -> bool:
        """
        Whether there is something to be done.
        """
        return self._next() is not None

    def _next(self) -> Callable[[], object] | None:
        """
        Tell what is to be done next.
        """
        peer = self.peer
        if not self.connected or self.busy:
            return None
        if self._aborting:
            return partial(self.lose, ConnectionAborted())
        if self._reading and peer.unsent:
            return self._read
        if self._reading and (peer._halfClosed or not peer.connected):
            gone = ConnectionLost() if peer._aborting else ConnectionDone()
            return partial(self.lose, gone)
        if self.unsent and not peer.connected:
            return partial(self.lose, ConnectionLost())
        if self._writing and not self.unsent:
            return self._allSent
        return None

    def _read(self, size: int = _BUFFER_SIZE) -> None:
        """
        Deliver a piece of what has come.

        @param size: How many bytes at the most.
        """
        self.protocol.dataReceived(self.peer._take(size))

    def pull(self, size: int) -> None:
        """
        Deliver some of what has come, though the protocol wants none.

        @param size: How many bytes, at most as many as there are.
        """
        left = self.peer.unsent - size
        while self.peer.unsent > left and not self._aborting:
            self._run(partial(self._read, self.peer.unsent - left))

    def _take(self, size: int) -> bytes:
        """
        Let the other end have a piece of what was written.
        """
        data = self._written.popleft()
        if len(data) > size:
            self._written.appendleft(data[size:])
            data = data[:size]
        self.unsent -= len(data)
        return data

    def _allSent(self) -> None:
        """
        Go on, now that all is sent.
        """
        self._writing = False
        producer = self._producer
        if producer is not None and (not self._streaming or self._producerPaused):
            self._producerPaused = False
            self._network.countProduction()
            cast(IPullProducer, producer).resumeProducing()
        elif self.disconnecting:
            self.lose(ConnectionDone())
        elif self._halfClosing:
            self._halfClosed = True

    def lose(self, reason: Exception) -> None:
        """
        Close this end, if it is open.  What it has written is still there for
        the other end.

        @param reason: What its protocol is told.
        """
        if not self.connected:
            return
        self.connected = False
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))
        self._network.lost(self)


class _Network:
    """
    All connections in memory to one factory.

    Nothing waits for anything but time: L{flush} goes on until there is nothing
    left to be done.  With a L{Clock} it is called by itself whenever something
    has changed.  What can't be done right then, because Twisted's transports
    don't call back from within a call, is left to the reactor or clock.

    @ivar reactor: Tells the time.
    @ivar _ends: All ends of connections that are open.
    @ivar _depth: How many calls of L{flush} are going on.
    @ivar _productions: How often producers were asked since the outermost one
        began.
    @ivar _afterwards: What is to be called when there is nothing left to do.
    @ivar _waking: The call of L{flush} that is to come.
    """

    def __init__(self, factory: FastCGIFactory, reactor: IReactorTime) -> None:
        """
        @param factory: What makes the protocols of the application's side.
        @param reactor: Tells the time.
        """
        self.reactor = reactor
        self._factory = factory
        self._ends: list[_End] = []
        self._depth = 0
        self._productions = 0
        self._afterwards: list[Callable[[], object]] = []
        self._waking: IDelayedCall | None = None

    def connect(self, protocol: IProtocol) -> _End:
        """
        Make a connection.

        @param protocol: The web server's side.
        @return: Its end.
        """
        if not self._ends:
            self._factory.doStart()
        server = cast(IProtocol, self._factory.buildProtocol(_ADDRESS))
        near, far = _End(self, protocol), _End(self, server)
        near.peer, far.peer = far, near
        self._ends += [far, near]
        server.makeConnection(far)
        protocol.makeConnection(near)
        near.busy = far.busy = False
        return near

    def lost(self, end: _End) -> None:
        """
        Forget an end.

        @param end: One that is closed.
        """
        self._ends.remove(end)
        if not self._ends:
            self._factory.doStop()

    def close(self) -> None:
        """
        Close all connections.
        """
        # An agent may make another one when it has lost one.
        while any(end.connected for end in self._ends):
            for end in list(self._ends):
                end.lose(ConnectionDone())

    def changed(self, end: _End) -> None:
        """
        Do what is to be done after a transport was called, if nobody is at it
        already.

        @param end: The transport.
        """
        if self._depth:
            return
        if isinstance(self.reactor, Clock):
            busy, end.busy = end.busy, True
            try:
                self.flush()
            finally:
                end.busy = busy
        if self._waking is None and any(each.hasWork for each in self._ends):
            self._waking = self.reactor.callLater(0, self._wake)

    def _wake(self) -> None:
        """
        Do what was left.
        """
        self._waking = None
        self.flush()

    def settle(self) -> None:
        """
        Do what is to be done, and what was put off to be done at once.
        """
        self.flush()
        clock = self.reactor
        while isinstance(clock, Clock) and any(
            call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()
        ):
            clock.advance(0)

    def flush(self) -> None:
        """
        Do what is to be done.
        """
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        if not self._depth:
            self._productions = 0
        self._depth += 1
        try:
            while any([end.step() for end in list(self._ends)]):
                pass
        finally:
            self._depth -= 1
        while self._afterwards:
            self._afterwards.pop(0)()

    def countProduction(self) -> None:
        """
        See that it ends.

        @raise RuntimeError: If it does not.
        """
        self._productions += 1
        if self._productions > _ENDLESS:
            raise RuntimeError(
                "the application goes on producing without end: read its response in "
                "pieces, with begin(..., reading=False) and read()"
            )

    def afterwards(self, f: Callable[[], object]) -> None:
        """
        Call something when there is nothing else to be done.

        @param f: What to call.
        """
        self._afterwards.append(f)


class _WebServer(Protocol):
    """
    The web server's side of a connection, with one exchange at a time.

    @ivar machine: What knows the protocol.
    @ivar exchange: The exchange that is going on.
    @ivar keepsConnection: Whether the connection stays open afterwards.
    """

    def __init__(self, connections: list[_WebServer]) -> None:
        """
        @param connections: Those of the client, of which this is one as long as
            it is open.
        """
        self.machine = WebServerConnection()
        self.exchange: Exchange | None = None
        self.keepsConnection = False
        self._connections = connections

    @property
    def end(self) -> _End:
        """
        The transport.
        """
        return cast(_End, self.transport)

    @property
    def isIdle(self) -> bool:
        """
        Whether the connection can be used for a further exchange.
        """
        return self.exchange is None and self.keepsConnection

    def connectionMade(self) -> None:
        """
        Join the others.
        """
        self._connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Read records.

        @param data: Some of their bytes.
        """
        self.machine.receiveData(data)
        if self.exchange is not None:
            self.exchange._note(False, data)
        try:
            for event in iter(self.machine.nextEvent, None):
                self._eventReceived(event)
        except RemoteProtocolError as error:
            self.keepsConnection = False
            self._exchangeOver(f"it can't be understood: {error}")
            self.end.abortConnection()

    def _eventReceived(self, event: Any) -> None:
        """
        Pass on an event, which only comes while there is an exchange.
        """
        exchange = cast(Exchange, self.exchange)
        if isinstance(event, RequestEnded):
            exchange._requestEnded(event)
            self._exchangeOver(
                f"END_REQUEST came with application status {event.appStatus} and "
                f"protocol status {event.protocolStatus} before the end of the header"
            )
        elif isinstance(event, StreamReceived):
            exchange._streamReceived(event.stream, event.data)
        else:
            exchange._streamReceived(event.stream, b"")

    def _exchangeOver(self, why: str) -> None:
        """
        End the exchange, if there is one.

        @param why: Why there is no response, if there is none.
        """
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange._over(why)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Note that nothing more will come.

        @param reason: Why.
        """
        self._connections.remove(self)
        self._exchangeOver("the connection was closed before the end of the header")


# The client


class Exchange:
    """
    One request and its response.

    @ivar method: The request's method.
    @ivar uri: Its path and query.
    @ivar params: The CGI variables that were sent.
    @ivar finished: Whether nothing more will come.
    """

    def __init__(
        self,
        client: FastCGITestClient,
        connection: _WebServer,
        method: bytes,
        target: Target,
        params: Mapping[bytes, bytes],
        sizes: Iterator[int],
    ) -> None:
        """
        Not for users: see L{FastCGITestClient.begin}.
        """
        self.method = method
        self.uri = target.originForm
        self.params = params
        self.finished = False
        self._client = client
        self._connection = connection
        self._end = connection.end
        self._target = target
        self._sizes = sizes
        self._traffic: list[tuple[bool, bytes]] = []
        self._streams = {RecordType.STDOUT: bytearray(), RecordType.STDERR: bytearray()}
        self._stdoutEnded = False
        self._endRequest: RequestEnded | None = None
        self._why = "it is not finished"
        self._waiting: list[Deferred[Response]] = []

    def __repr__(self) -> str:
        """
        Tell what it is, and how it stands.
        """
        return f"<Exchange {self.name}: {self.state}>"

    @property
    def name(self) -> str:
        """
        The method and the URI, as text.
        """
        return f"{self.method.decode('latin1')} {self.uri.decode('latin1')}"

    @property
    def state(self) -> str:
        """
        In a few words, what is being waited for.
        """
        if self.finished:
            return "finished"
        return "; ".join(self._obstacles()) or self._progress()

    def _obstacles(self) -> Iterator[str]:
        """
        Tell what keeps it from going on, as far as it is not the application.
        """
        if self.unsent:
            yield f"the application does not read {self.unsent} bytes of the request"
        elif self._connection.machine.inputState is InputState.STDIN:
            yield "the request's body has not ended: call end()"
        if self.unread:
            yield f"{self.unread} bytes of the response are not read: call read()"

    def _progress(self) -> str:
        """
        Tell how far the response has come.
        """
        try:
            response = self.response
        except FastCGIError:
            return "the application has sent no response"
        return (
            f"the response, {response.code} with {len(response.body)} bytes so far, "
            "has not ended"
        )

    # The request

    @property
    def unsent(self) -> int:
        """
        How many bytes of the request wait for the application to read them.
        """
        return 0 if self.finished else self._end.unsent

    def send(self, data: bytes) -> None:
        """
        Send a piece of the request's body (FastCGI 1.0, section 5.3).  If the
        application has answered already, nothing is sent, as web servers do.

        @param data: The piece.
        @raise LocalProtocolError: If the body has ended.
        """
        if not self.finished:
            self._send(self._connection.machine.sendStdin(data))

    def end(self) -> None:
        """
        End the request's body.  If the application has answered already,
        nothing is sent.

        @raise LocalProtocolError: If it has ended before.
        """
        if not self.finished:
            self._send([self._connection.machine.endStdin()])

    def abort(self) -> None:
        """
        Send ABORT_REQUEST (FastCGI 1.0, section 5.4): no response is wanted any
        more.
        """
        if not self.finished:
            self._send([self._connection.machine.abortRequest()])

    def disconnect(self) -> None:
        """
        Close the connection, as web servers do when the browser is gone.
        """
        if not self.finished:
            self._connection.exchange = None
            self._end.lose(ConnectionDone())
            self._over("the web server closed the connection")
            self._client.flush()

    def _send(self, written: Sequence[bytes]) -> None:
        """
        Send some bytes, in the pieces that are wanted.
        """
        data = b"".join(written)
        self._note(True, data)
        start = 0
        while start < len(data):
            end = start + next(self._sizes, len(data))
            self._end.write(data[start:end])
            start = end
        self._client.flush()

    # The response

    @property
    def unread(self) -> int:
        """
        How many bytes of the response wait to be read.
        """
        return 0 if self.finished else self._end.peer.unsent

    def stopReading(self) -> None:
        """
        Read no more of the response, until the application can send no more.
        """
        if not self.finished:
            self._end.pauseProducing()

    def startReading(self) -> None:
        """
        Read the response again, as it comes.
        """
        if not self.finished:
            self._end.resumeProducing()
            self._client.flush()

    def read(self, size: int | None = None) -> None:
        """
        Read some of the response, once, with L{stopReading}.

        @param size: How many bytes, headers of records included; what there is
            if L{None}.
        """
        unread = self.unread
        self._end.pull(unread if size is None else min(size, unread))
        self._client.flush()

    @property
    def response(self) -> Response:
        """
        What has come of the response so far.

        @raise NoResponse: If its header is not complete.
        @raise RemoteProtocolError: If it can't be understood.
        """
        stdout = bytes(self._streams[RecordType.STDOUT])
        end = headEnd(stdout)
        if end < 0:
            raise NoResponse(self, self._why)
        head = parseHead(stdout[:end])
        body = stdout[end:]
        bodyless = self.method == b"HEAD" or head.code in NO_BODY_CODES
        whole = bodyless or head.length is None or len(body) >= head.length
        ended = self._endRequest
        return Response(
            code=head.code,
            phrase=head.phrase,
            headers=head.headers,
            body=body,
            stderr=self.stderr,
            appStatus=None if ended is None else ended.appStatus,
            protocolStatus=None if ended is None else ended.protocolStatus,
            complete=ended is not None and self._stdoutEnded and whole,
            raw=self.received,
        )

    @property
    def stderr(self) -> bytes:
        """
        What has come on STDERR.
        """
        return bytes(self._streams[RecordType.STDERR])

    def whenFinished(self) -> Deferred[Response]:
        """
        Wait until nothing more will come.

        To cancel it closes the connection.

        @return: Fires with the L{Response}, whether it is whole or not; fails
            with L{NoResponse} if it does not even have a complete header, and
            with L{RemoteProtocolError
            <twisted_fastcgi.errors.RemoteProtocolError>} if it can't be
            understood.
        """
        waiting: Deferred[Response] = Deferred(self._cancelled)
        self._waiting.append(waiting)
        if self.finished:
            self._fire()
        return waiting

    def _cancelled(self, waiting: Deferred[Response]) -> None:
        """
        Close the connection, because somebody does not want to wait.
        """
        self._waiting.remove(waiting)
        self.disconnect()

    def _fire(self, quietly: bool = False) -> None:
        """
        Tell whoever waits.

        @param quietly: Whether a failure that nobody cares about is no error.
        """
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            try:
                each.callback(self.response)
            except FastCGIError:
                each.errback()
            if quietly:
                each.addErrback(lambda reason: None)

    # What the connection says

    def _streamReceived(self, stream: int, data: bytes) -> None:
        """
        Take a piece of STDOUT or STDERR, or nothing at its end.
        """
        self._streams[RecordType(stream)] += data
        if not data and stream == RecordType.STDOUT:
            self._stdoutEnded = True

    def _requestEnded(self, event: RequestEnded) -> None:
        """
        Take END_REQUEST.
        """
        self._endRequest = event

    def _over(self, why: str) -> None:
        """
        Note that nothing more will come.

        @param why: Why there is no response, if there is none.
        """
        self.finished = True
        self._why = why
        self._client._exchangeOver(self)
        # What follows is no part of the response: let the end be noticed.
        self._end.resumeProducing()

    # What went over the wire

    def _note(self, sent: bool, data: bytes) -> None:
        """
        Keep what was sent or received.
        """
        self._traffic.append((sent, data))

    @property
    def sent(self) -> bytes:
        """
        The bytes of all records of the request.
        """
        return b"".join(data for sent, data in self._traffic if sent)

    @property
    def received(self) -> bytes:
        """
        The bytes of all records that have come in answer to it.
        """
        return b"".join(data for sent, data in self._traffic if not sent)

    def listing(self) -> str:
        """
        Write down all records of both directions for the eyes, in the order in
        which they went over the connection: C{>} to the application, C{<} from
        it.

        @return: Lines of text.
        """
        ledger = Ledger()
        directions = {sent: Dissector(ledger, isLive=True) for sent in (True, False)}
        found = [directions[sent].feed(data) for sent, data in self._traffic]
        found += [dissector.finish() for dissector in directions.values()]
        listing = Listing(isFull=True)
        return "\n".join(
            line for item in chain.from_iterable(found) for line in listing.lines(item)
        )


class FastCGITestClient:
    """
    A web server in memory that asks a L{twisted.web} application over FastCGI.

    Time stands still: it passes only by L{clock}, which is also the reactor of
    the factory, and of the L{Site} that is made for a resource.  An
    application that uses the real reactor, or threads, needs a client made with
    C{reactor=reactor}, in a test that can wait.

    Cookies are kept and sent again as browsers do it.  Redirections are not
    followed.

    @ivar factory: The L{FastCGIFactory
        <twisted_fastcgi.server.FastCGIFactory>} that serves the application.
    @ivar cookies: The L{CookieJar}.
    @ivar params: CGI variables for all requests; may be changed.
    @ivar keepConnection: Whether connections are used again; may be changed.
    @ivar pieces: In what pieces requests arrive; may be changed.
    @ivar pending: The L{Exchange}s that are not finished, in order.
    """

    def __init__(
        self,
        resourceOrSite: IResource | Site,
        *,
        params: Params | None = None,
        origin: str = "http://localhost",
        keepConnection: bool = False,
        pieces: Pieces = None,
        limits: Limits | None = None,
        mount: str = ROOT,
        reactor: IReactorTime | None = None,
    ) -> None:
        """
        @param resourceOrSite: The application.
        @param params: CGI variables for all requests, beside those that are
            made of each, or in place of them, such as C{REMOTE_USER}; L{None}
            as a value leaves a variable out.
        @param origin: Scheme, host and perhaps port of the web server, as a
            browser knows it.
        @param keepConnection: Whether requests ask the application to leave
            the connection open, for a further request.
        @param pieces: In what pieces the bytes of requests arrive: an L{int}
            for pieces of so many bytes, as in C{pieces=1} for byte by byte; or
            the sizes of the first pieces, as in C{pieces=[8, 5]}.
        @param limits: See L{FastCGIFactory
            <twisted_fastcgi.server.FastCGIFactory>}.
        @param mount: See L{mounted<twisted_fastcgi.mount.mounted>}.
        @param reactor: Tells the time: a L{Clock} of your own, or the real
            reactor.  A new L{Clock} by default.
        @raise TypeError: If C{resourceOrSite} is neither.
        """
        reactor = Clock() if reactor is None else reactor
        self.factory = FastCGIFactory(
            resourceOrSite, limits=limits, mount=mount, reactor=reactor
        )
        self.params: Params = {} if params is None else params
        self.keepConnection = keepConnection
        self.pieces = pieces
        self.cookies = CookieJar()
        self.pending: list[Exchange] = []
        self._origin = origin.rstrip("/").encode("utf-8")
        self._network = _Network(self.factory, reactor)
        self._connections: list[_WebServer] = []
        self._isClosing = False

    @property
    def clock(self) -> Clock:
        """
        The time: C{client.clock.advance(60)} lets a minute pass.

        @raise AttributeError: If the client was made with another reactor.
        """
        reactor = self._network.reactor
        if not isinstance(reactor, Clock):
            raise AttributeError(
                f"there is no clock: this client was made with reactor={reactor!r}"
            )
        return reactor

    # Requests

    def request(
        self,
        method: _Text,
        path: _Text,
        *,
        headers: HeaderFields | None = None,
        body: Body | None = None,
        params: Params | None = None,
        keepConnection: bool | None = None,
        pieces: Pieces = None,
    ) -> Deferred[Response]:
        """
        Send a request.  If others are not finished, it has a connection of its
        own.

        @param method: The method.
        @param path: The path, with the query if there is one; or an absolute
            URI.
        @param headers: Header fields.
        @param body: The body: bytes, or the fields of a form.
        @param params: CGI variables for this request; they count more than
            those of the client.
        @param keepConnection: As for the client; what that says if L{None}.
        @param pieces: Likewise.
        @return: As L{Exchange.whenFinished} gives it.
        @raise ValueError: If there can be no such request.
        """
        content, contentType = _encodeBody(body)
        fields = _headers(headers)
        if contentType is not None and not fields.hasHeader(b"Content-Type"):
            fields.setRawHeaders(b"Content-Type", [contentType])
        length = None if content is None else len(content)
        exchange = self._exchange(
            method, path, fields, length, params, keepConnection, pieces
        )
        machine = exchange._connection.machine
        exchange._send(
            [
                *self._head(exchange),
                *machine.sendStdin(content or b""),
                machine.endStdin(),
            ]
        )
        return exchange.whenFinished()

    def get(self, path: _Text, **options: Any) -> Deferred[Response]:
        """
        Send a I{GET} request.

        @param path: As for L{request}.
        @param options: More arguments of L{request}.
        @return: As for L{request}.
        @raise ValueError: Likewise.
        """
        return self.request(b"GET", path, **options)

    def post(self, path: _Text, body: Body = b"", **options: Any) -> Deferred[Response]:
        """
        Send a I{POST} request.

        @param path: As for L{request}.
        @param body: The fields of a form, or bytes.
        @param options: More arguments of L{request}.
        @return: As for L{request}.
        @raise ValueError: Likewise.
        """
        return self.request(b"POST", path, body=body, **options)

    def begin(
        self,
        method: _Text,
        path: _Text,
        *,
        headers: HeaderFields | None = None,
        length: int | None = None,
        params: Params | None = None,
        keepConnection: bool | None = None,
        pieces: Pieces = None,
        reading: bool = True,
    ) -> Exchange:
        """
        Begin a request: send all but its body.

        C{send} and C{end} of the exchange send the body.  A request without
        one needs C{end}, too: until then the application does not have it.

        @param method: As for L{request}.
        @param path: Likewise.
        @param headers: Likewise.
        @param length: What CONTENT_LENGTH says; L{None} to say nothing.
        @param params: As for L{request}.
        @param keepConnection: Likewise.
        @param pieces: Likewise; this goes on with what is sent later.
        @param reading: Whether the response is read as it comes; if not, see
            L{Exchange.read}.
        @return: What has begun.
        @raise ValueError: If there can be no such request.
        """
        fields = _headers(headers)
        exchange = self._exchange(
            method, path, fields, length, params, keepConnection, pieces
        )
        if not reading:
            exchange.stopReading()
        exchange._send(self._head(exchange))
        return exchange

    def _exchange(
        self,
        method: _Text,
        path: _Text,
        headers: Headers,
        length: int | None,
        params: Params | None,
        keepConnection: bool | None,
        pieces: Pieces,
    ) -> Exchange:
        """
        Make an exchange, and find a connection for it.
        """
        method = _bytes(method)
        target = self._target(_bytes(path))
        self._addCookies(target, headers)
        variables = merged(
            requestVariables(method, target, headers, length),
            cast(Variables, self.params),
            cast("Variables | None", params),
        )
        sizes = _sizes(self.pieces if pieces is None else pieces)
        connection = self._connection()
        if keepConnection is None:
            keepConnection = self.keepConnection
        connection.keepsConnection = keepConnection
        exchange = Exchange(self, connection, method, target, variables, sizes)
        connection.exchange = exchange
        self.pending.append(exchange)
        return exchange

    def _head(self, exchange: Exchange) -> list[bytes]:
        """
        Make the records that begin a request.
        """
        connection = exchange._connection
        machine = connection.machine
        begin = machine.beginRequest(keepConnection=connection.keepsConnection)
        return [begin, *machine.sendParams(exchange.params.items())]

    def _target(self, path: bytes) -> Target:
        """
        Take a path or an absolute URI apart.
        """
        uri = _unsafe.sub(lambda found: b"%%%02X" % ord(found[0]), path)
        if _isAbsolute(uri):
            return parseTarget(uri)
        if not uri.startswith(b"/"):
            raise ValueError(
                f"a path has to start with /, or to be an absolute URI: {path!r}"
            )
        return parseTarget(self._origin + uri)

    def _connection(self) -> _WebServer:
        """
        Find an idle connection, or make one.
        """
        for connection in self._connections:
            if connection.isIdle:
                return connection
        connection = _WebServer(self._connections)
        self._network.connect(connection)
        return connection

    def _exchangeOver(self, exchange: Exchange) -> None:
        """
        Take back an exchange that is finished.
        """
        self.pending.remove(exchange)
        self._network.afterwards(partial(self._report, exchange))

    def _report(self, exchange: Exchange) -> None:
        """
        Keep the cookies of a response, and tell whoever waits for it.
        """
        try:
            self._keepCookies(exchange._target, exchange.response)
        except FastCGIError:
            pass
        exchange._fire(quietly=self._isClosing)

    # Cookies

    def _addCookies(self, target: Target, headers: Headers) -> None:
        """
        Add the cookies that a request to this URI has, unless it has some.
        """
        carrier = _cookieCarrier(target)
        self.cookies.add_cookie_header(carrier)
        cookies = carrier.get_header("Cookie")
        if cookies is not None and not headers.hasHeader(b"Cookie"):
            headers.setRawHeaders(b"Cookie", [cookies.encode("latin1")])

    def _keepCookies(self, target: Target, response: Response) -> None:
        """
        Keep the cookies that a response sets.
        """
        answer = _CookieAnswer(response.headers)
        self.cookies.extract_cookies(cast(Any, answer), _cookieCarrier(target))

    # Waiting

    def flush(self) -> None:
        """
        Do all that takes no time, delayed calls that are due included.

        There is no need for it, unless something happened behind the client's
        back, such as the L{delivery of a body
        <twisted.web.iweb.IResponse.deliverBody>} that an L{agent} got.
        """
        self._network.settle()

    def resultOf(self, deferred: Deferred[_Result]) -> _Result:
        """
        Give the result that a L{Deferred} has, for test runners that don't know
        them.

        @param deferred: Any L{Deferred}.
        @return: Its result.
        @raise NotAnswered: If there is none yet.
        @raise Exception: What it failed with, if it has failed.
        """
        self.flush()
        results: list[_Result | Failure] = []
        isAsking = True

        def note(result: _Result | Failure) -> _Result | Failure | None:
            results.append(result)
            # Later failures are for whoever asks later.
            return None if isAsking and isinstance(result, Failure) else result

        deferred.addBoth(note)
        isAsking = False
        if not results:
            raise NotAnswered(self._describePending())
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def _describePending(self) -> str:
        """
        Tell what is not finished.
        """
        lines = [f"  {each.name}: {each.state}" for each in self.pending]
        others = self.factory.connectionCount - len(self._connections)
        if others:
            lines.append(f"  those of agents, which have {others} connections")
        return "\n".join(
            [
                "there is no result yet, and none will come unless something happens, "
                "such as client.clock.advance(seconds).",
                "Requests that are not finished:",
                *(lines or ["  none"]),
            ]
        )

    # The rest

    def agent(self, **options: Any) -> FastCGIAgent:
        """
        Make an agent for the application, such as treq wants::

            HTTPClient(client.agent(), data_to_body_producer=WholeBody)

        All URIs lead to the application, whatever their host is.

        @param options: Arguments of L{FastCGIAgent
            <twisted_fastcgi.client.FastCGIAgent>} other than the first two.
            Variables and keepConnection are the client's by default.
        @return: The agent.
        """
        options.setdefault("variables", self.params)
        options.setdefault("keepConnection", self.keepConnection)
        return _FlushingAgent(self._network, **options)

    def close(self) -> None:
        """
        Close all connections.  Needed only if some are left: those that are
        kept, and those of requests that are not finished.  The L{Deferred}s of
        these fail, but it is no error if nobody has added an errback.
        """
        self._isClosing = True
        try:
            self._network.close()
            self.flush()
        finally:
            self._isClosing = False


def _bytes(text: _Text) -> bytes:
    """
    Encode text as UTF-8.
    """
    return text.encode("utf-8") if isinstance(text, str) else text


def _headers(headers: HeaderFields | None) -> Headers:
    """
    Gather header fields.
    """
    if isinstance(headers, Headers):
        return headers.copy()
    fields = Headers()
    for name, values in (headers or {}).items():
        if isinstance(values, (str, bytes)):
            values = [values]
        for value in values:
            fields.addRawHeader(_bytes(name), _bytes(value))
    return fields


def _encodeBody(body: Body | None) -> tuple[bytes | None, bytes | None]:
    """
    Encode a body.

    @return: The body, and its type if that is known.
    """
    if body is None or isinstance(body, bytes):
        return body, None
    return urlencode(body, doseq=True).encode("ascii"), _FORM


def _sizes(pieces: Pieces) -> Iterator[int]:
    """
    Tell the sizes of pieces, as long as they are not all that is left.

    @raise ValueError: If there can be no such pieces.
    """
    some = [pieces] if isinstance(pieces, int) else list(pieces or [])
    if any(size < 1 for size in some):
        raise ValueError(f"each piece must have at least 1 byte: {pieces!r}")
    return repeat(pieces) if isinstance(pieces, int) else iter(some)


def _cookieCarrier(target: Target) -> urllib.request.Request:
    """
    Make a request that a L{CookieJar} understands.
    """
    uri = target.scheme + b"://" + target.authority + target.originForm
    return urllib.request.Request(uri.decode("ascii"))


class _CookieAnswer:
    """
    A response that a L{CookieJar} understands.
    """

    def __init__(self, headers: Headers) -> None:
        """
        @param headers: Its header fields.
        """
        self._message = Message()
        for value in headers.getRawHeaders(b"Set-Cookie", ()):
            self._message["Set-Cookie"] = value.decode("latin1")

    def info(self) -> Message:
        """
        Give the header fields.
        """
        return self._message


@implementer(IBodyProducer)
class WholeBody:
    """
    Produces the body of a request, for an L{agent<FastCGITestClient.agent>}, all
    at once; other producers do it piece by piece as the real reactor turns, so
    that a test has to wait for them.

    @ivar length: The size of the body, in bytes.
    """

    def __init__(self, body: _Text) -> None:
        """
        @param body: The body.
        """
        self._body = _bytes(body)
        self.length = len(self._body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Produce the body.

        @param consumer: Gets it.
        @return: Has fired.
        """
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Do nothing: all is produced.
        """

    def resumeProducing(self) -> None:
        """
        Do nothing: all is produced.
        """

    def stopProducing(self) -> None:
        """
        Do nothing: all is produced.
        """


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """
    Connects in memory.
    """

    def __init__(self, network: _Network) -> None:
        """
        @param network: Where the connections are.
        """
        self._network = network

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Make a connection.

        @param factory: Makes the protocol.
        @return: Fires with that.
        """
        protocol = cast(IProtocol, factory.buildProtocol(_ADDRESS))
        self._network.connect(protocol)
        return succeed(protocol)


class _FlushingAgent(FastCGIAgent):
    """
    An agent that has done all that can be done when it gives back a
    L{Deferred}.
    """

    def __init__(self, network: _Network, **options: Any) -> None:
        """
        @param network: Where its connections are.
        @param options: More arguments of L{FastCGIAgent}.
        """
        super().__init__(network.reactor, _Endpoint(network), **options)
        self._network = network

    def request(self, *args: Any, **kwargs: Any) -> Deferred[IResponse]:
        """
        Send a request, see L{FastCGIAgent.request}.

        @return: Fires with the response.
        """
        return self._flushed(super().request(*args, **kwargs))

    def getValues(self, *args: Any, **kwargs: Any) -> Deferred[dict[bytes, bytes]]:
        """
        Ask for limits, see L{FastCGIAgent.getValues}.

        @return: Fires with them.
        """
        return self._flushed(super().getValues(*args, **kwargs))

    def _flushed(self, deferred: Deferred[_Result]) -> Deferred[_Result]:
        """
        Do all that can be done.
        """
        self._network.settle()
        return deferred
