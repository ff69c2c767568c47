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

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.cookiejar import CookieJar
from itertools import chain
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from twisted_fastcgi.answers import Record, Response, readRecords
from twisted_fastcgi.asking import (
    Body,
    CookieAnswer,
    HeaderFields,
    Params,
    Pieces,
    Text,
    cookieCarrier,
    encodeBody,
    encoded,
    gathered,
    pieceSizes,
)
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
from twisted_fastcgi.inmemory import End, FlushingAgent, Network
from twisted_fastcgi.listing import Listing
from twisted_fastcgi.mount import ROOT
from twisted_fastcgi.records import RecordType
from twisted_fastcgi.server import FastCGIFactory

__all__ = [
    "Body",
    "Exchange",
    "FastCGITestClient",
    "HeaderFields",
    "NoResponse",
    "NotAnswered",
    "Params",
    "Pieces",
    "Record",
    "Response",
    "WholeBody",
    "readRecords",
]

_Result = TypeVar("_Result")

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
    def end(self) -> End:
        """
        The transport.
        """
        return cast(End, self.transport)

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
        self._network = Network(self.factory, reactor)
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
        method: Text,
        path: Text,
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
        content, contentType = encodeBody(body)
        fields = gathered(headers)
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

    def get(self, path: Text, **options: Any) -> Deferred[Response]:
        """
        Send a I{GET} request.

        @param path: As for L{request}.
        @param options: More arguments of L{request}.
        @return: As for L{request}.
        @raise ValueError: Likewise.
        """
        return self.request(b"GET", path, **options)

    def post(self, path: Text, body: Body = b"", **options: Any) -> Deferred[Response]:
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
        method: Text,
        path: Text,
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
        fields = gathered(headers)
        exchange = self._exchange(
            method, path, fields, length, params, keepConnection, pieces
        )
        if not reading:
            exchange.stopReading()
        exchange._send(self._head(exchange))
        return exchange

    def _exchange(
        self,
        method: Text,
        path: Text,
        headers: Headers,
        length: int | None,
        params: Params | None,
        keepConnection: bool | None,
        pieces: Pieces,
    ) -> Exchange:
        """
        Make an exchange, and find a connection for it.
        """
        method = encoded(method)
        target = self._target(encoded(path))
        self._addCookies(target, headers)
        variables = merged(
            requestVariables(method, target, headers, length),
            cast(Variables, self.params),
            cast("Variables | None", params),
        )
        sizes = pieceSizes(self.pieces if pieces is None else pieces)
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
        carrier = cookieCarrier(target)
        self.cookies.add_cookie_header(carrier)
        cookies = carrier.get_header("Cookie")
        if cookies is not None and not headers.hasHeader(b"Cookie"):
            headers.setRawHeaders(b"Cookie", [cookies.encode("latin1")])

    def _keepCookies(self, target: Target, response: Response) -> None:
        """
        Keep the cookies that a response sets.
        """
        answer = CookieAnswer(response.headers)
        self.cookies.extract_cookies(cast(Any, answer), cookieCarrier(target))

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
        return FlushingAgent(self._network, **options)

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


@implementer(IBodyProducer)
class WholeBody:
    """
    Produces the body of a request, for an L{agent<FastCGITestClient.agent>}, all
    at once; other producers do it piece by piece as the real reactor turns, so
    that a test has to wait for them.

    @ivar length: The size of the body, in bytes.
    """

    def __init__(self, body: Text) -> None:
        """
        @param body: The body.
        """
        self._body = encoded(body)
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
