# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
An application that says which requests it has got.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

#: How long the application takes for a request, in seconds.
WORK = 0.2

#: How long for one that asks it to take its time, in seconds.
LONG = 5.0


class Root(Resource):
    """
    Answers each request with its own name and the size of its body, and takes
    some time for that.
    """

    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        """
        Answer later.
        """
        name = request.path.decode("ascii")
        print(f"got {name}.", flush=True)
        answer = b"%s %d" % (request.path, len(request.content.read()))
        work = LONG if b"long" in request.args else WORK
        deferLater(reactor, work, self._finish, request, answer)
        return NOT_DONE_YET

    render_POST = render_PUT = render_GET

    def _finish(self, request: Any, answer: bytes) -> None:
        """
        Answer.
        """
        request.write(answer)
        request.finish()


root = Root()
