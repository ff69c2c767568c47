# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What is served to real web servers.  Every page is there for one of the tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.static import File
from twisted.web.util import redirectTo
from zope.interface import implementer

from twisted_fastcgi import FastCGIFactory, IFastCGIRequest, Limits, tap

#: How large the large page is, in bytes.
LARGE = 5 * 1024 * 1024


@lru_cache
def large() -> bytes:
    """
    Make the large page, no two lines of which are the same.
    """
    return b"".join(b"%07d\n" % number for number in range(LARGE // 8))


class Page(Resource):
    """
    A page that is made by a function, whatever follows in the path.
    """

    isLeaf = True

    def __init__(self, render: Callable[[Any], Any]) -> None:
        super().__init__()
        self._render = render

    def render_GET(self, request: Any) -> Any:
        """
        Make the page.
        """
        return self._render(request)

    render_POST = render_GET
    render_PUT = render_GET


def _text(value: Any) -> Any:
    """
    Make what JSON can hold of what has bytes in it, one character a byte.
    """
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {_text(key): _text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_text(each) for each in value]
    return value


def echo(request: Any) -> bytes:
    """
    Show the request.
    """
    body = request.content.read()
    client = request.getClientAddress()
    shown = {
        "method": request.method,
        "uri": request.uri,
        "path": request.path,
        "prepath": request.prepath,
        "postpath": request.postpath,
        "prePathURL": request.prePathURL(),
        "childLink": request.childLink(b"child"),
        "args": request.args,
        "headers": dict(request.requestHeaders.getAllRawHeaders()),
        "client": [client.host, client.port],
        "protocol": request.clientproto,
        "secure": request.isSecure(),
        "length": len(body),
        "digest": sha256(body).hexdigest(),
        "kept": request.channel.persistent,
        "software": IFastCGIRequest(request).params[b"SERVER_SOFTWARE"],
        "user": IFastCGIRequest(request).params.get(b"REMOTE_USER", b""),
    }
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(_text(shown)).encode("ascii")


def redirected(request: Any) -> bytes:
    """
    Redirect with the code that is asked for.
    """
    page = redirectTo(request.args[b"to"][0], request)
    request.setResponseCode(int(request.args[b"code"][0]))
    return page


def moved(request: Any) -> bytes:
    """
    Redirect to something below, by its whole URL or by what leads to it from
    here.
    """
    if request.postpath:
        return echo(request)
    if request.args[b"by"] == [b"url"]:
        return redirectTo(request.prePathURL() + b"/there", request)
    return redirectTo(request.childLink(b"there"), request)


def created(request: Any) -> bytes:
    """
    Tell where something new is.
    """
    request.setResponseCode(201)
    request.setHeader(b"Location", b"/echo?new")
    return b"it is there"


def fields(request: Any) -> bytes:
    """
    Send as many bytes of header fields as are asked for.
    """
    size = int(request.args[b"size"][0])
    for number, start in enumerate(range(0, size, 200)):
        name = b"X-Field-%d" % number
        length = min(200, size - start) - len(name) - 4
        request.setHeader(name, b"v" * length)
    return b"fields"


def cookies(request: Any) -> bytes:
    """
    Set two cookies, and show those that came.
    """
    request.addCookie(b"first", b"1", path=b"/")
    request.addCookie(b"second", b"two", path=b"/", httpOnly=True)
    return json.dumps(_text(request.received_cookies)).encode("ascii")


def visits(request: Any) -> bytes:
    """
    Count the visits of a session.
    """
    session = request.getSession()
    session.visits = getattr(session, "visits", 0) + 1
    return b"%d" % session.visits


def status(request: Any) -> bytes:
    """
    Answer with the code that is asked for.
    """
    code = int(request.args[b"code"][0])
    request.setResponseCode(code)
    return b"" if code in (204, 304) else b"this is %d" % code


#: The largest body of a request, in bytes: less than the large page.
LIMIT = 5_100_000


class CountingFactory(FastCGIFactory):
    """
    Counts the connections that web servers have made, and has a limit.
    """

    made = 0

    def __init__(self, site: Any, limits: Limits, **options: Any) -> None:
        super().__init__(site, limits=replace(limits, bodyBytes=LIMIT), **options)

    def buildProtocol(self, addr: Any) -> Any:
        """
        Count one more.
        """
        type(self).made += 1
        return super().buildProtocol(addr)


def accepted(request: Any) -> bytes:
    """
    Tell how many connections web servers have made.
    """
    return b"%d" % CountingFactory.made


def fails(request: Any) -> bytes:
    """
    Fail.
    """
    raise ZeroDivisionError("as it was asked for")


def breaksOff(request: Any) -> int:
    """
    Send less than was told.
    """
    request.setHeader(b"Content-Length", b"100000")
    request.write(b"some of it")
    request.loseConnection()
    return NOT_DONE_YET


def failsLate(request: Any) -> int:
    """
    Fail when the response has begun, and some of it is on its way.
    """
    request.write(b"some of it" * 100000)
    raise ZeroDivisionError("as it was asked for, late")


def miscounted(request: Any) -> int:
    """
    Send ten bytes, whatever length is told.
    """
    request.setHeader(b"Content-Length", request.args[b"told"][0])
    request.write(b"0123456789")
    request.finish()
    return NOT_DONE_YET


@implementer(IPushProducer)
class Lines:
    """
    Writes pieces to a request for as long as they last.
    """

    def __init__(self, request: Any, pieces: Iterator[bytes]) -> None:
        self._request = request
        self._pieces = pieces
        self._going = False

    def resumeProducing(self) -> None:
        """
        Write until told to pause.
        """
        self._going = True
        while self._going:
            piece = next(self._pieces, None)
            if piece is None:
                self._going = False
                self._request.unregisterProducer()
                self._request.finish()
            else:
                self._request.write(piece)

    def pauseProducing(self) -> None:
        """
        Pause.
        """
        self._going = False

    def stopProducing(self) -> None:
        """
        Stop.
        """
        self._going = False


def streamed(request: Any) -> int:
    """
    Send the large page four times, in pieces of an odd size, its length unsaid.
    """
    _stream(request, _pieces())
    return NOT_DONE_YET


def _pieces() -> Iterator[bytes]:
    """
    Cut the large page four times.
    """
    content = large()
    size = 30011
    for _ in range(4):
        yield from (content[at : at + size] for at in range(0, len(content), size))


def _stream(request: Any, pieces: Iterator[bytes]) -> None:
    """
    Send pieces as fast as they are taken.
    """
    producer = Lines(request, pieces)
    request.registerProducer(producer, True)
    producer.resumeProducing()


class Meeting(Resource):
    """
    Answers nobody until as many as are told are waiting.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Any] = []

    def render_GET(self, request: Any) -> int:
        """
        Wait for the others.
        """
        self._waiting.append(request)
        if len(self._waiting) == int(request.args[b"guests"][0]):
            guests, self._waiting = self._waiting, []
            for number, guest in enumerate(guests):
                guest.write(b"%d" % number)
                guest.finish()
        return NOT_DONE_YET


class Endings(Resource):
    """
    Tells how requests end: C{/silent/x} is not answered before C{/finish/x}
    is asked for, C{/endless/x} never ends, and C{/long/x} does, after 20 MB;
    C{/begun/x} waits for any of them to begin, and C{/ended/x} for its end.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[bytes, Deferred[bytes]] = {}
        self._ended: dict[bytes, Deferred[bytes]] = {}
        self._silent: dict[bytes, Any] = {}

    def render_GET(self, request: Any) -> int:
        """
        Begin something, or wait for it.
        """
        what, token = request.postpath
        getattr(self, f"_do_{what.decode('ascii')}")(request, token)
        return NOT_DONE_YET

    def _event(self, events: dict[bytes, Deferred[bytes]], token: bytes) -> Any:
        """
        Find what fires when something happens.
        """
        return events.setdefault(token, Deferred())

    def _do_silent(self, request: Any, token: bytes) -> None:
        """
        Say nothing.
        """
        self._silent[token] = request
        self._watch(request, token)

    def _do_finish(self, request: Any, token: bytes) -> None:
        """
        Answer what was left unanswered.
        """
        self._silent.pop(token).finish()
        request.finish()

    def _watch(self, request: Any, token: bytes) -> None:
        """
        Tell others of the beginning and the end.
        """
        ended = self._event(self._ended, token)
        request.notifyFinish().addCallbacks(
            lambda _: ended.callback(b"finished"),
            lambda why: ended.callback(_name(why)),
        )
        self._event(self._begun, token).callback(b"begun")

    def _do_endless(self, request: Any, token: bytes) -> None:
        """
        Write as long as somebody reads.
        """
        self._watch(request, token)
        _stream(request, iter(lambda: b"x" * 10000, b""))

    def _do_long(self, request: Any, token: bytes) -> None:
        """
        Write 20 MB.
        """
        self._watch(request, token)
        _stream(request, _pieces())

    def _do_begun(self, request: Any, token: bytes) -> None:
        """
        Answer when it has begun.
        """
        self._answer(request, self._event(self._begun, token))

    def _do_ended(self, request: Any, token: bytes) -> None:
        """
        Answer when it has ended.
        """
        self._answer(request, self._event(self._ended, token))

    def _answer(self, request: Any, event: Deferred[bytes]) -> None:
        """
        Answer with what an event says.
        """

        def happened(what: bytes) -> bytes:
            request.write(what)
            request.finish()
            return what

        event.addCallback(happened)


class Events(Resource):
    """
    Server-sent events: C{/listen/x} sends one each time that C{/send/x} is
    asked for, and ends with C{/end/x}; C{/listening/x} tells whether anybody does.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[bytes, Any] = {}

    def render_GET(self, request: Any) -> Any:
        """
        Listen, or have something sent to who does.
        """
        what, token = request.postpath
        if what == b"listen":
            self._listeners[token] = request
            request.setHeader(b"Content-Type", b"text/event-stream")
            # nginx passes on what it gets at once, if it is asked to.
            request.setHeader(b"X-Accel-Buffering", b"no")
            request.write(b"data: 0\n\n")
            return NOT_DONE_YET
        if what == b"listening":
            return b"yes" if token in self._listeners else b"not yet"
        if what == b"send":
            self._listeners[token].write(b"data: %b\n\n" % request.args[b"data"][0])
        else:
            self._listeners.pop(token).finish()
        return b"done"


class Root(Resource):
    """
    The root, which shows the request if nothing follows in the path, not even a
    slash.
    """

    def render_GET(self, request: Any) -> bytes:
        """
        Show the request.
        """
        return echo(request)


def _name(failure: Failure) -> bytes:
    """
    Tell the name of the exception.
    """
    return failure.type.__name__.encode("ascii")


def makeRoot() -> Resource:
    """
    Put the pages together.
    """
    root = Root()
    root.putChild(b"", Page(lambda request: b"Hello from the application.\n"))
    pages = {
        b"accepted": accepted,
        b"breaksoff": breaksOff,
        b"cookies": cookies,
        b"created": created,
        b"echo": echo,
        b"fails": fails,
        b"failslate": failsLate,
        b"fields": fields,
        b"large": lambda request: large(),
        b"miscounted": miscounted,
        b"moved": moved,
        b"private": lambda request: b"this is secret",
        b"redirect": redirected,
        b"status": status,
        b"streamed": streamed,
        b"visits": visits,
    }
    for name, page in pages.items():
        root.putChild(name, Page(page))
    root.putChild(b"endings", Endings())
    root.putChild(b"events", Events())
    root.putChild(b"meeting", Meeting())
    root.putChild(b"source", File(__file__, defaultType="text/plain"))
    return root


def root() -> Resource:
    """
    Make what C{twistd fastcgi --resource tests.interop.application.root} serves,
    by a factory that counts.
    """
    tap.FastCGIFactory = CountingFactory  # type: ignore[misc]
    return makeRoot()
