# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
An application that takes whatever a web server sends, in any role, and answers
each request with a page that shows its variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from twisted_fastcgi.cgi import contentLength, responseHead
from twisted_fastcgi.connection import (
    ApplicationConnection,
    ApplicationEvent,
    InputState,
    RequestAborted,
    RequestReceived,
    StreamEnded,
    StreamReceived,
)
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.explain import shown
from twisted_fastcgi.records import RecordType, Role
from twisted_fastcgi.watch import Watch, Watches

#: For how many seconds the rest of a request is awaited after its answer.  To
#: close at once could destroy the answer.
LINGER = 2.0


class BlackHoleProtocol(Protocol):
    """
    One connection of a web server.
    """

    transport: Any

    def __init__(self, watch: Watch, clock: IReactorTime) -> None:
        """
        @param watch: Is shown what passes.
        @param clock: Tells the time.
        """
        self._watch = watch
        self._clock = clock
        self._machine = ApplicationConnection(roles=tuple(Role))
        self._request: RequestReceived | None = None
        self._bodyLeft: int | None = None
        self._lingering: IDelayedCall | None = None
        self._isRegistered = True

    def connectionMade(self) -> None:
        """
        Read no more than answers go out.
        """
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Take bytes of the web server.
        """
        self._watch.toApplication(data)
        self._machine.receiveData(data)
        try:
            while (event := self._machine.nextEvent()) is not None:
                self._take(event)
        except RemoteProtocolError as error:
            self._watch.say(f"closing, because this is not FastCGI: {error}")
            self._close()

    def _take(self, event: ApplicationEvent) -> None:
        """
        Take what has become whole.
        """
        if isinstance(event, RequestReceived):
            self._request = event
            self._bodyLeft = _contentLength(event.params)
        elif isinstance(event, StreamReceived):
            if event.stream == RecordType.STDIN and self._bodyLeft is not None:
                self._bodyLeft -= len(event.data)
        elif not isinstance(event, StreamEnded):
            # An answer that the protocol gives by itself.
            if isinstance(event, RequestAborted):
                self._request = None
            self._send(event.data)
        self._answerIfWhole()

    def _answerIfWhole(self) -> None:
        """
        Answer the request in hand if all of it is there.  Some web servers do
        not end a request body, so that its length must do.
        """
        request, machine = self._request, self._machine
        if request is None:
            return
        isBodyThere = self._bodyLeft is not None and self._bodyLeft <= 0
        if request.role != Role.RESPONDER or machine.stdinEndsNext:
            isBodyThere = False
        if isBodyThere or machine.inputState is InputState.ENDED:
            self._request = None
            pieces = machine.sendStdout(variablesPage(request.params))
            self._send(b"".join([*pieces, machine.endRequest()]))

    def _send(self, data: bytes) -> None:
        """
        Send bytes, and end the connection if the web server waits for that.
        """
        self.transport.write(data)
        self._watch.toWebServer(data)
        machine = self._machine
        if machine.keepConnection or machine.inputState is not InputState.IDLE:
            return
        if not machine.inputPending:
            self._close()
        elif self._lingering is None:
            self._unregister()
            self.transport.loseWriteConnection()
            self._lingering = self._clock.callLater(LINGER, self._close)

    def _unregister(self) -> None:
        """
        Let the transport close once it has sent everything.
        """
        if self._isRegistered:
            self._isRegistered = False
            self.transport.unregisterProducer()

    def _close(self) -> None:
        """
        Close the connection.
        """
        self._unregister()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing is left to wait for.
        """
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        self._watch.end(reason)


class BlackHole(ServerFactory):
    """
    Takes the connections of web servers.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, watches: Watches) -> None:
        """
        @param clock: Tells the time.
        @param watches: What looks at the connections.
        """
        self._clock = clock
        self._watches = watches

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        Take a connection.
        """
        return BlackHoleProtocol(self._watches.start(addr), self._clock)


def variablesPage(params: Sequence[tuple[bytes, bytes]]) -> bytes:
    """
    Make a page that shows variables.

    @param params: The variables, in the order in which they came.
    @return: A CGI response; without its body if they are those of a I{HEAD}.
    """
    width = max((len(name) for name, _ in params), default=0)
    lines = [f"{shown(name):<{width}}  {shown(value)}\n" for name, value in params]
    heading = f"The web server sent {len(params)} variables:\n\n"
    page = (heading + "".join(lines)).encode("utf-8")
    headers = Headers()
    headers.addRawHeader(b"Content-Type", b"text/plain; charset=utf-8")
    headers.addRawHeader(b"Cache-Control", b"no-store")
    headers.addRawHeader(b"Content-Length", b"%d" % len(page))
    head = responseHead(200, b"OK", headers)
    return head if dict(params).get(b"REQUEST_METHOD") == b"HEAD" else head + page


def _contentLength(params: Sequence[tuple[bytes, bytes]]) -> int | None:
    """
    Tell how long the body is to be, if that can be understood.
    """
    try:
        return contentLength(dict(params))
    except RemoteProtocolError:
        return None
