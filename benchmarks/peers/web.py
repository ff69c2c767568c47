# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Twisted's own HTTP server, as C{twist web} runs it, but without an access log:
C{twist web} has no option for that.
"""

from __future__ import annotations

import sys

import apps
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource


class QuietSite(Site):
    """
    A site without an access log.
    """

    def log(self, request: object) -> None:
        """
        Do nothing.
        """


def main(endpoint: str, what: str) -> None:
    """
    Serve until the end.

    @param endpoint: Where, as a string.
    @param what: C{resource} or C{wsgi}.
    """
    if what == "wsgi":
        root = WSGIResource(reactor, reactor.getThreadPool(), apps.wsgi)
    else:
        root = apps.Root()
    serverFromString(reactor, endpoint).listen(QuietSite(root))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
