# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
WSGI applications (PEP 3333) behind a web server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event
from types import TracebackType
from typing import Any, Final, TypeAlias

from twisted.internet.interfaces import IPushProducer, IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http_headers import Headers
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.wsgi import WSGIResource
from zope.interface import implementer

from twisted_fastcgi import cgi
from twisted_fastcgi.interfaces import IFastCGIRequest
from twisted_fastcgi.request import FastCGIRequest

log = Logger()

Environ: TypeAlias = dict[str, Any]

#: What a WSGI application is.
Application: TypeAlias = Callable[..., Iterable[bytes]]

_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType]

#: How many bytes an application may be ahead of the reactor before it has to
#: wait.
_AHEAD = 65536

#: How long it waits before it looks itself whether anybody is there to read, in
#: seconds.
_PATIENCE = 1.0

#: How many requests a thread answers before it looks for other work.
_AT_A_TIME = 16

# Of these it is known after each piece whether another one follows.
_COUNTED: Final[tuple[type, ...]] = (type(iter([])), type(iter(())))


class FastCGIWSGIResource(WSGIResource):
    """
    Serves a WSGI application in a thread pool.

    It is a L{WSGIResource<twisted.web.wsgi.WSGIResource>}, and exactly that
    for a request that came over HTTP.  For one that came over FastCGI the
    application finds in its environ all variables that the web server sent
    (RFC 3875, section 4.1), such as REMOTE_USER, AUTH_TYPE, SSL_CLIENT_S_DN and
    DOCUMENT_ROOT.

    SCRIPT_NAME is the path to this resource and PATH_INFO what follows,
    whatever the web server thinks; C{wsgi.url_scheme} is C{https} when the
    client came by TLS; CONTENT_LENGTH is the size of the body, as it is whole
    already.  There never is an HTTP_PROXY, nor what concerns only the client's
    connection to the web server, such as HTTP_CONNECTION.

    An application that streams has to wait, in its thread, while the web
    server does not read.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        threadpool: ThreadPool,
        application: Application,
    ) -> None:
        """
        @param reactor: The reactor that serves the requests.
        @param threadpool: Where the application is called.  It is started and
            stopped by its owner: C{reactor.getThreadPool()} by the reactor, one
            that L{FastCGIService<twisted_fastcgi.service.FastCGIService>} is
            given by that.
        @param application: The application.
        """
        super().__init__(reactor, threadpool, application)
        self._jobs = _Jobs(threadpool)
        self._hop = _Hop(reactor)
        self._app = application

    def render(self, request: Any) -> int:
        """
        Have the application answer.

        @param request: The request.
        @return: L{NOT_DONE_YET<twisted.web.server.NOT_DONE_YET>}.
        """
        fcgi: Any = IFastCGIRequest(request, None)
        if fcgi is None:
            # An HTTP_PROXY would pass for a setting of client libraries.
            request.requestHeaders.removeHeader(b"proxy")
            done: int = super().render(request)
            return done
        # The application says what its media type is, or nobody does.
        request.defaultContentType = None
        answer = _Answer(self._hop, request, fcgi)
        environ = _environ(request, fcgi)
        # If the client leaves, the request would close it beneath the application.
        request.__dict__.pop("content", None)
        self._jobs.put(partial(answer.run, self._app, environ))
        return NOT_DONE_YET


class FastCGIWSGIRequest(FastCGIRequest):
    """
    A request for a L{FastCGIWSGIResource} that leaves the body to the
    application: other requests take forms apart themselves before anybody is
    asked, in the reactor's thread and in memory.
    """

    _parsesForms = False


class _Errors:
    """
    Where an application writes its complaints: C{wsgi.errors}.
    """

    _log = Logger("wsgi")

    def write(self, text: str) -> None:
        """
        Write to the log.

        @raise TypeError: If it is no text.
        """
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        if line := text.rstrip("\n"):
            self._log.error("{line}", line=line)

    def writelines(self, lines: Iterable[str]) -> None:
        """
        Write lines to the log.
        """
        self.write("".join(lines))

    def flush(self) -> None:
        """
        Do nothing: nothing is kept.
        """


#: What does not depend on the request.
_WSGI: Final[Environ] = {
    "wsgi.version": (1, 0),
    "wsgi.run_once": False,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.errors": _Errors(),
    # Who reads beyond the end gets nothing, rather than waiting.
    "wsgi.input_terminated": True,
}


def _environ(request: Any, fcgi: Any) -> Environ:
    """
    Make the environ (PEP 3333, "environ Variables").
    """
    environ: Environ = cgi.environ(fcgi.pairs)
    environ.update(_WSGI)
    _, _, query = request.uri.partition(b"?")
    environ["REQUEST_METHOD"] = request.method.decode("latin-1")
    environ["SCRIPT_NAME"] = _path(request.prepath)
    environ["PATH_INFO"] = _path(request.postpath)
    environ["QUERY_STRING"] = query.decode("latin-1")
    environ["wsgi.url_scheme"] = "https" if request.isSecure() else "http"
    environ["wsgi.input"] = request.content
    if fcgi.length is None:
        environ["CONTENT_LENGTH"] = _length(request.content)
    for name, make in _NEEDED:
        if not environ.get(name):
            environ[name] = make(request)
    return environ


def _path(segments: list[bytes]) -> str:
    """
    Join the segments of a path.
    """
    return b"/".join((b"", *segments)).decode("latin-1")


def _length(content: Any) -> str:
    """
    Tell the size of a body of which that was not told; nothing if there is no
    body.
    """
    size = content.seek(0, 2)
    content.seek(0)
    return str(size) if size else ""


def _serverName(request: Any) -> str:
    """
    Tell the name of a server that has not told it.
    """
    name: bytes = request.getRequestHostname()
    return name.decode("latin-1") or "localhost"


#: What is made up where the web server says nothing.
_NEEDED: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    ("SERVER_NAME", _serverName),
    ("SERVER_PORT", lambda request: str(request.getHost().port)),
    ("SERVER_PROTOCOL", lambda request: str(request.clientproto, "latin-1")),
    ("REMOTE_ADDR", lambda request: str(request.getClientAddress().host)),
    ("REMOTE_PORT", lambda request: str(request.getClientAddress().port)),
)


def _head(status: str, headers: list[tuple[str, str]]) -> tuple[int, bytes, Headers]:
    """
    Read what an application gives to C{start_response}.

    @raise TypeError: If it is of the wrong type.
    @raise ValueError: If it cannot be sent.
    """
    if not isinstance(status, str):
        raise TypeError(f"status must be str, not {type(status).__name__}: {status!r}")
    code, _, reason = status.partition(" ")
    if not (len(code) == 3 and code.isdecimal() and "200" <= code <= "599"):
        raise ValueError(
            f'status must be like "200 OK", with a code from 200 to 599: {status!r}'
        )
    fields = Headers()
    for header in headers:
        name, value = _field(header)
        fields.addRawHeader(name, value)
    return int(code), reason.encode("latin-1"), fields


def _field(header: tuple[str, str]) -> tuple[bytes, bytes]:
    """
    Read a header field.
    """
    try:
        name, value = header
        return name.encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError:
        raise
    except (AttributeError, TypeError, ValueError):
        raise TypeError(
            f"a header must be a tuple of two str, not {header!r}"
        ) from None


def _expectsMore(blocks: Iterator[bytes]) -> bool:
    """
    Tell whether another block may follow.
    """
    return type(blocks) not in _COUNTED or blocks.__length_hint__() > 0  # type: ignore[attr-defined]


class _Jobs:
    """
    The way from the reactor's thread to the applications'.

    To wake up a thread, too, is much of the cost of a short answer.  So only
    one is woken up at a time, which wakes up the next one if there still is
    something to be done when it comes to that.  Quick answers are made by one
    thread, one after the other; as soon as an application waits for something,
    the next thread goes on.
    """

    def __init__(self, threadpool: ThreadPool) -> None:
        self._callInThread = threadpool.callInThread
        self._jobs: deque[Callable[[], None]] = deque()
        self._waking = False

    def put(self, job: Callable[[], None]) -> None:
        """
        Have something done in a thread.
        """
        self._jobs.append(job)
        self._wake()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._callInThread(self._work)

    def _work(self) -> None:
        """
        Do what there is to be done, for a while: the pool may have other work.
        """
        # What comes from here on wakes up another thread.
        self._waking = False
        for _ in range(_AT_A_TIME):
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            if self._jobs:
                self._wake()
            job()
        if self._jobs:
            self._wake()


class _Hop:
    """
    The way from the applications' threads to the reactor's.

    To wake the reactor up is much of the cost of a short answer, so what comes
    until it is awake goes together.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._callFromThread = reactor.callFromThread
        self._calls: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def take(self, call: Callable[[], None]) -> None:
        """
        Have something called in the reactor's thread.
        """
        self._calls.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._callFromThread(self._run)

    def _run(self) -> None:
        """
        Call all that there is.
        """
        # What comes from here on schedules the next run.
        self._scheduled = False
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            try:
                call()
            except Exception:
                log.failure("a WSGI application's answer failed")


@implementer(IPushProducer)
class _Answer:
    """
    How an application answers one request.

    The application's thread puts what it writes into a queue and goes on; the
    reactor's thread takes all that is in there at once.  So a response that is
    made quickly goes out in one piece, and nothing waits for what is made
    slowly.  Every 64 KiB the application waits for the reactor, which lets it
    wait until the web server has read enough.

    What begins with C{run}, C{start} or C{write} belongs to the application's
    thread, what begins with C{_flush} to the reactor's.

    @ivar _head: What the application gave to C{start_response}.
    @ivar _begun: Whether the head is on its way, so that it cannot be changed.
    @ivar _blocks: The queue.
    @ivar _size: How much was put there since the application has waited.
    @ivar _ended: Whether there is no more to come.
    @ivar _scheduled: Whether the reactor is to look at the queue already.
    @ivar _room: What the application waits with, if it has ever had to.
    @ivar _waits: Whether it does so.
    @ivar _sent: Whether the request has the head.
    @ivar _paused: Whether the web server has to read first.
    """

    _head: tuple[int, bytes, Headers] | None = None
    _begun = False
    _size = 0
    _ended = False
    _failure: Failure | None = None
    _scheduled = False
    _room: Event | None = None
    _waits = False
    _sent = False
    _producing = False
    _paused = False

    def __init__(self, hop: _Hop, request: Any, fcgi: Any) -> None:
        self._hop = hop
        self._request = request
        self._fcgi = fcgi
        self._blocks: deque[bytes] = deque()

    # In the application's thread

    def run(self, application: Application, environ: Environ) -> None:
        """
        Call the application, and send what it gives.
        """
        blocks: Any = None
        body = environ["wsgi.input"]
        try:
            blocks = application(environ, self.startResponse)
            self._sendAll(iter(blocks))
        except BaseException:
            self._failure = Failure()
            self._wake()
        try:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()
        except BaseException:
            log.failure("a WSGI application failed after its response")
        body.close()

    def _sendAll(self, blocks: Iterator[bytes]) -> None:
        """
        Send what an application gives.
        """
        for block in blocks:
            if not self._fcgi.connected:
                return
            if block:
                self._put(block)
                # The last one goes together with the end.
                if _expectsMore(blocks):
                    self._deliver()
        if self._head is None:
            raise AssertionError("the application has not called start_response()")
        self._begun = self._ended = True
        self._wake()

    def startResponse(
        self,
        status: str,
        headers: list[tuple[str, str]],
        excInfo: _ExcInfo | None = None,
    ) -> Callable[[bytes], None]:
        """
        Take the head of the response (PEP 3333, "The start_response()
        Callable").

        @param status: The status, such as C{"200 OK"}.
        @param headers: The header fields.
        @param excInfo: The exception that makes the application change what it
            has given before.
        @return: C{write}.
        @raise TypeError: If something is of the wrong type.
        @raise ValueError: If something cannot be sent.
        @raise AssertionError: If it is called twice without an exception.
        """
        if excInfo is not None:
            try:
                if self._begun:
                    raise excInfo[1].with_traceback(excInfo[2])
            finally:
                # Or the exception would keep itself.
                excInfo = None
        elif self._head is not None:
            raise AssertionError("start_response() was called a second time")
        self._head = _head(status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body (PEP 3333, "The write() Callable").

        @param data: The piece.
        """
        if self._fcgi.connected:
            self._put(data)
            self._deliver()

    def _put(self, data: bytes) -> None:
        """
        Put a piece into the queue.
        """
        if not isinstance(data, bytes):
            kind = type(data).__name__
            raise TypeError(f"a response is made of bytes, not {kind}: {data!r:.60}")
        if self._head is None:
            raise AssertionError("a body came before start_response() was called")
        self._begun = True
        self._blocks.append(data)
        self._size += len(data)

    def _deliver(self) -> None:
        """
        Have the reactor take what is in the queue, and wait until that can be
        sent if it is much.
        """
        if self._size < _AHEAD:
            self._wake()
            return
        self._size = 0
        if self._room is None:
            self._room = Event()
        self._room.clear()
        self._waits = True
        self._wake()
        # A reactor that ends waits for its threads, and does nothing for them.
        while not self._room.wait(_PATIENCE) and self._fcgi.connected:
            pass

    def _wake(self) -> None:
        """
        Have the reactor look at the queue.
        """
        if not self._scheduled:
            self._scheduled = True
            self._hop.take(self._flush)

    # In the reactor's thread

    def _flush(self) -> None:
        """
        Take what is in the queue.
        """
        # What is put there from here on schedules the next call.
        self._scheduled = False
        ended, failure, waits = self._ended, self._failure, self._waits
        blocks = [self._blocks.popleft() for _ in range(len(self._blocks))]
        try:
            if self._fcgi.connected:
                self._send(b"".join(blocks), ended)
        except Exception:
            failure = Failure()
        if failure is not None:
            self._fail(failure)
        elif not self._fcgi.connected:
            self.stopProducing()
        elif waits:
            self._makeRoom()

    def _send(self, data: bytes, ended: bool) -> None:
        """
        Send a piece of the response.
        """
        request = self._request
        if not self._sent and (data or ended):
            self._sent = True
            self._sendHead()
        if data:
            request.write(data)
        if ended:
            if self._producing:
                request.unregisterProducer()
            request.finish()

    def _sendHead(self) -> None:
        """
        Tell the request its head, to be sent with the first piece.
        """
        assert self._head is not None
        code, reason, headers = self._head
        request: Request = self._request
        request.setResponseCode(code, reason)
        for name, values in request.responseHeaders.getAllRawHeaders():
            if not headers.hasHeader(name):
                headers.setRawHeaders(name, values)
        request.responseHeaders = headers

    def _makeRoom(self) -> None:
        """
        Let the application go on as soon as the web server has read enough.
        """
        if not self._producing:
            self._producing = True
            self._request.registerProducer(self, True)
        if not self._paused:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """
        Let the application wait when it has written enough.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Let the application go on.
        """
        self._paused = False
        if self._waits and self._room is not None:
            self._waits = False
            self._room.set()

    def stopProducing(self) -> None:
        """
        Let the application go on, and find that nobody is there any more.
        """
        self.resumeProducing()

    def _fail(self, failure: Failure) -> None:
        """
        Answer for an application that has failed.
        """
        request = self._request
        if not self._fcgi.connected:
            log.failure("a WSGI application failed after its client left", failure)
        elif request.startedWriting:
            log.failure("{uri} failed midway", failure, uri=request.uri)
            self._fcgi.appStatus = 1
            request.loseConnection()
        else:
            self._fcgi.appStatus = 1
            request.processingFailed(failure)
        self.stopProducing()
