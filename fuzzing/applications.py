# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Applications that do all that applications do, as a script says.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from itertools import cycle
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import alsoProvides, implementer

from twisted_fastcgi import FastCGIRequest, IFastCGIRequest
from twisted_fastcgi.authorizer import Allow, Deny
from twisted_fastcgi.interfaces import (
    IAuthorizer,
    IFilterResource,
    IStreamingResource,
)


class Planned(Exception):
    """
    A failure that the application means to have.
    """


class Pull:
    """
    A pull producer of some pieces.
    """

    streaming = False

    def __init__(self, request: Any, count: int, size: int) -> None:
        self._request = request
        self._left = count
        self._piece = bytes(size)

    def start(self) -> None:
        """
        Begin, unless the request is gone already.
        """
        if self._request.channel is not None:
            self._request.registerProducer(self, self.streaming)
            if self.streaming:
                self.resumeProducing()

    def resumeProducing(self) -> None:
        if self._left:
            self._left -= 1
            self._request.write(self._piece)
        if not self._left and self._request is not None:
            request, self._request = self._request, None
            request.unregisterProducer()
            request.finish()

    def stopProducing(self) -> None:
        self._left = 0
        self._request = None


class Push(Pull):
    """
    A push producer: goes on while it may.
    """

    streaming = True
    _paused = False

    def resumeProducing(self) -> None:
        self._paused = False
        while self._request is not None and not self._paused:
            super().resumeProducing()

    def pauseProducing(self) -> None:
        self._paused = True


class Ignorant(Push):
    """
    A push producer that does not heed its pauses, and fails to stop.
    """

    def pauseProducing(self) -> None:
        """
        Go on.
        """

    def stopProducing(self) -> None:
        super().stopProducing()
        raise Planned("it can't stop")


class Restless(FastCGIRequest):
    """
    A request that takes one piece of its body, and then wants no more until it
    is told to; unless it fails, or answers before the body has come.
    """

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        if self.channel is None:
            return
        streams = IStreamingResource.providedBy(self.channel.site.resource)
        if self.getHeader(b"x-early") is not None and not streams:
            self.write(b"early")
            self.finish()

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel is None:
            return
        if self.getHeader(b"x-fail") is not None:
            raise Planned("a piece of the body")
        super().handleContentChunk(data)
        self.channel.pauseProducing()
        self.channel.site.resource.paused.append(self.channel)


class Body(Protocol):
    """
    Takes a body while it arrives, and wants to be asked after each piece,
    unless that might make it miss the rest.
    """

    def __init__(self, application: Application, then: Callable[[], object]) -> None:
        self._application = application
        self._then = then
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        if not self._application.patient:
            transport: Any = self.transport
            transport.pauseProducing()
            self._application.paused.append(transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._application.seen.append((b"".join(self._pieces), reason.type))
        self._then()


@implementer(IAuthorizer)
class Authorizer:
    """
    Decides as the script says.
    """

    def __init__(self, script: bytes) -> None:
        self._script = cycle(script)

    def authorize(self, request: Any) -> Any:
        """
        Decide.
        """
        how = next(self._script)
        if how & 1:
            return Allow({"REMOTE_USER": "user"})
        if how & 2:
            return Deny()
        raise Planned("the authorizer")


class Application(Resource):
    """
    Does with each request what the script says.

    @ivar late: What is still to be done.
    @ivar paused: Where more of a request's body waits.
    @ivar seen: What was in the requests that came.
    @ivar count: How many those were.
    @ivar ended: How often each of them was told of its end.
    """

    isLeaf = True

    def __init__(self, script: bytes, *, patient: bool, streams: bool) -> None:
        """
        @param streams: Whether bodies are taken while they arrive.
        @param patient: Whether nothing is begun that what comes next might
            interrupt sooner or later.
        """
        super().__init__()
        self.patient = patient
        self.count = 0
        alsoProvides(self, IFilterResource)
        if streams:
            alsoProvides(self, IStreamingResource)
        self.late: deque[Callable[[], object]] = deque()
        self.paused: deque[Any] = deque()
        self.seen: list[tuple[object, ...]] = []
        self.ended: Counter[int] = Counter()
        self._script = cycle(script)

    def render(self, request: Any) -> Any:
        self._note(request)
        how = next(self._script)
        act = _ACTS[how % len(_ACTS)]
        if not IStreamingResource.providedBy(self) or how & 16:
            return act(self, request, how // len(_ACTS))
        IFastCGIRequest(request).deliverBody(
            Body(self, lambda: self._answer(act, request, how // len(_ACTS)))
        )
        return NOT_DONE_YET

    def _answer(self, act: Any, request: Any, size: int) -> None:
        """
        Answer later what else would be answered at once.
        """
        if request.channel is not None and not request.finished:
            answer = act(self, request, size)
            if answer is not NOT_DONE_YET:
                request.write(answer)
                request.finish()

    def _note(self, request: Any) -> None:
        """
        Look at all there is of a request.
        """
        number = self.count
        self.count += 1
        request.notifyFinish().addBoth(lambda _: self.ended.update([number]))
        told = IFastCGIRequest(request)
        self.seen.append(
            (
                (request.method, request.uri, request.path, request.clientproto),
                (request.postpath, request.args, request.content.read()),
                (str(request.getClientAddress()), str(request.getHost())),
                (request.isSecure(), request.prepath),
                (request.getUser(), request.getPassword(), request.getCookie(b"a")),
                (request.getRequestHostname(), request.received_cookies),
                list(request.requestHeaders.getAllRawHeaders()),
                (dict(told.params), told.role, told.requestId),
            )
        )

    def finishAll(self) -> None:
        """
        Do what is still to be done.
        """
        while self.late:
            self.late.popleft()()

    def wake(self) -> None:
        """
        Take more of a request's body.
        """
        if self.paused:
            self.paused.popleft().resumeProducing()

    def _short(self, request: Any, size: int) -> bytes:
        return b"s" * size

    def _long(self, request: Any, size: int) -> bytes:
        return b"l" * (size << 13)

    def _finishLater(self, request: Any, size: int) -> int:
        def finish() -> None:
            if request.channel is not None:
                request.write(b"w" * (size << 12))
                request.finish()

        self.late.append(finish)
        return NOT_DONE_YET

    def _writeNowFinishLater(self, request: Any, size: int) -> int:
        request.write(b"n" * (size << 8))
        return self._finishLater(request, size)

    def _pullNow(self, request: Any, size: int) -> int:
        self._pullLater(request, size)
        if not self.patient:
            self.finishAll()
        return NOT_DONE_YET

    def _pullLater(self, request: Any, size: int) -> int:
        self.late.append(Pull(request, size, size * 997).start)
        return NOT_DONE_YET

    def _pushLater(self, request: Any, size: int) -> int:
        self.late.append(Push(request, size, size * 997).start)
        return NOT_DONE_YET

    def _pushRegardless(self, request: Any, size: int) -> int:
        self.late.append(Ignorant(request, size, size * 997).start)
        return NOT_DONE_YET

    def _lose(self, request: Any, size: int) -> int:
        if size & 1:
            request.setHeader(b"content-length", b"50")
        request.write(b"f" * (size & 3))
        request.channel.loseConnection()
        return NOT_DONE_YET

    def _abortLater(self, request: Any, size: int) -> int:
        channel = request.channel
        self.late.append(channel.abortConnection)
        return NOT_DONE_YET

    def _fail(self, request: Any, size: int) -> bytes:
        if size & 1:
            request.write(b"half")
        raise Planned("the page")

    def _complain(self, request: Any, size: int) -> bytes:
        told = IFastCGIRequest(request)
        told.writeStderr(b"e" * (size << 11))
        told.appStatus = size
        return b"complained"

    def _wrongLength(self, request: Any, size: int) -> int:
        request.setHeader(b"content-length", b"%d" % size)
        request.write(b"123456789")
        request.finish()
        return NOT_DONE_YET

    def _strangeHead(self, request: Any, size: int) -> bytes:
        request.setResponseCode(100 + size * 30, b"a\r\nb")
        request.responseHeaders.addRawHeader(b"x-strange", b"1\r\nSet-Cookie: 2\0")
        if size & 1:
            for name in (b"status", b"transfer-encoding", b"connection"):
                request.setHeader(name, b"nonsense")
        return b"strange"

    def _redirect(self, request: Any, size: int) -> bytes:
        request.redirect(request.uri)
        request.addCookie(b"name", request.path)
        return b""

    def _cached(self, request: Any, size: int) -> bytes:
        if request.setETag(b'"tag"') or request.setLastModified(size) is not None:
            return b""
        return b"cached"


#: What can be done with a request, with a number from 0 to 15.
_ACTS: list[Callable[[Application, Any, int], Any]] = [
    Application._short,
    Application._long,
    Application._finishLater,
    Application._writeNowFinishLater,
    Application._pullNow,
    Application._pullLater,
    Application._pushLater,
    Application._pushRegardless,
    Application._lose,
    Application._abortLater,
    Application._fail,
    Application._complain,
    Application._wrongLength,
    Application._strangeHead,
    Application._redirect,
    Application._cached,
]
