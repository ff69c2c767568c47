# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What is served under strain: pages that do all that applications do, and one
that tells what the process has in hand.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections import Counter
from itertools import count
from typing import Any

from apps import Producer, Upload
from machine import memory
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from twisted_fastcgi import IFastCGIRequest

#: The size of a piece of a download, in bytes.  Each begins with its number.
PIECE = 65536

#: Names the variable of the environment that says how many bytes a disk takes
#: in a second, for files that Twisted makes.
DISK = "STRAINED_DISK"


class SlowFile:
    """
    A temporary file on a slow disk.
    """

    def __init__(self, rate: float, *arguments: Any) -> None:
        self._file = _temporaryFile(*arguments)
        self._rate = rate

    def write(self, data: bytes) -> int:
        """
        Write, and keep everybody waiting meanwhile, as a disk does.
        """
        time.sleep(len(data) / self._rate)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_temporaryFile: Any = tempfile.TemporaryFile
if DISK in os.environ:
    tempfile.TemporaryFile = lambda *arguments: SlowFile(  # type: ignore[assignment]
        float(os.environ[DISK]), *arguments
    )


class Numbered(Producer):
    """
    One whose pieces begin with their numbers.
    """

    def __init__(self, request: Request, size: int) -> None:
        super().__init__(request, size)
        self._numbers = count()

    def next(self) -> bytes:
        """
        Make the next piece.
        """
        return b"%016d" % next(self._numbers) * (PIECE // 16)


class Heedless(Numbered):
    """
    One that goes on when it is told to pause.
    """

    waiting = False


class Download(Resource):
    """
    As many bytes as the path says.
    """

    isLeaf = True

    def __init__(self, make: type[Producer], length: bool = True) -> None:
        super().__init__()
        self._make = make
        self._length = length

    def render_GET(self, request: Request) -> int:
        """
        Begin to produce them.
        """
        size = int(request.postpath[0])
        if self._length:
            request.setHeader(b"Content-Length", b"%d" % size)
        producer = self._make(request, size)
        request.registerProducer(producer, True)
        producer.resumeProducing()
        return NOT_DONE_YET


class Later(Resource):
    """
    Answers after as many milliseconds as the path says.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        """
        Wait, unless the web server goes away.
        """
        call = reactor.callLater(  # type: ignore[attr-defined]
            int(request.postpath[0]) / 1000, self._finish, request
        )
        request.notifyFinish().addErrback(lambda failure: self._cancel(call))
        return NOT_DONE_YET

    def _finish(self, request: Request) -> None:
        request.write(b"later")
        request.finish()

    def _cancel(self, call: Any) -> None:
        if call.active():
            call.cancel()


class Thread(Resource):
    """
    Answers what a thread has found out, after as many milliseconds as the path
    says.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        """
        Ask a thread.
        """
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        found: Deferred[None] = deferToThread(
            time.sleep, int(request.postpath[0]) / 1000
        )
        found.addCallback(lambda _: None if gone else self._finish(request))
        return NOT_DONE_YET

    def _finish(self, request: Request) -> None:
        request.write(b"thread")
        request.finish()


class Complaint(Resource):
    """
    Says something to the web server's error log.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        Complain.
        """
        IFastCGIRequest(request).writeStderr(b"a complaint\n" * 100)
        return b"complaint"


class Failing(Resource):
    """
    Fails, in the midst of its answer if the path says so.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        Fail.
        """
        if request.postpath[0] == b"midway":
            request.write(b"half")
        raise ValueError("this page always fails")


class Status(Resource):
    """
    Tells what the process has in hand.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        Count it all.
        """
        gc.collect()
        kinds = map(type, gc.get_objects())
        ours = Counter(
            kind.__qualname__
            for kind in kinds
            if str(kind.__module__).startswith("twisted_fastcgi")
        )
        calls = reactor.getDelayedCalls()  # type: ignore[attr-defined]
        status = {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "memory": memory([os.getpid()], "VmRSS"),
            "calls": len(calls),
            "objects": dict(ours),
        }
        return json.dumps(status).encode()


class Root(Resource):
    """
    All of these.
    """

    def __init__(self) -> None:
        super().__init__()
        for name, page in {
            "download": Download(Numbered),
            "endless": Download(Numbered, length=False),
            "heedless": Download(Heedless),
            "upload": Upload(),
            "later": Later(),
            "thread": Thread(),
            "complaint": Complaint(),
            "failing": Failing(),
            "status": Status(),
        }.items():
            self.putChild(name.encode(), page)
