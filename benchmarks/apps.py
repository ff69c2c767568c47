# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What is served: the same resources over FastCGI and HTTP, and the same WSGI
application.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

_PIECE = bytes(65536)


class Root(Resource):
    """
    C{/hello}, C{/busy}, C{/download/BYTES} and C{/upload}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.putChild(b"hello", Hello())
        self.putChild(b"busy", Busy())
        self.putChild(b"download", Download())
        self.putChild(b"upload", Upload())


class Hello(Resource):
    """
    The smallest page.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        Render it.
        """
        request.setHeader(b"Content-Type", b"text/plain")
        return b"hello"


class Busy(Hello):
    """
    The same after a millisecond of work, about what an application does that is
    more than a page.
    """

    def render_GET(self, request: Request) -> bytes:
        """
        Work, and render it.
        """
        end = time.thread_time() + 0.001
        while time.thread_time() < end:
            pass
        return super().render_GET(request)


class Download(Resource):
    """
    As many bytes as the path says, by a push producer.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        """
        Begin to produce them.
        """
        size = int(request.postpath[0])
        request.setHeader(b"Content-Type", b"application/octet-stream")
        request.setHeader(b"Content-Length", b"%d" % size)
        producer = Producer(request, size)
        request.registerProducer(producer, True)
        producer.resumeProducing()
        return NOT_DONE_YET


@implementer(IPushProducer)
class Producer:
    """
    A push producer as good as others: it writes as long as it may.
    """

    def __init__(self, request: Request, size: int) -> None:
        self._request = request
        self._left = size
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Go on until it is enough for now, or all.
        """
        self._paused = False
        while self._left and not self.waiting:
            piece = self.next()[: self._left]
            self._left -= len(piece)
            self._request.write(piece)
        if not self._left and not self._paused:
            self._paused = True
            self._request.unregisterProducer()
            self._request.finish()

    @property
    def waiting(self) -> bool:
        """
        Whether it stops writing for now.
        """
        return self._paused

    def next(self) -> bytes:
        """
        Make the next piece, which is too large at the end.
        """
        return _PIECE

    def pauseProducing(self) -> None:
        """
        Wait.
        """
        self._paused = True

    def stopProducing(self) -> None:
        """
        Give up.
        """
        self._paused = True
        self._left = 0


class Upload(Resource):
    """
    Tells the size of the request's body.
    """

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        """
        Render it.
        """
        request.setHeader(b"Content-Type", b"text/plain")
        return b"%d" % request.content.seek(0, os.SEEK_END)


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """
    The smallest page, over WSGI.
    """
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
