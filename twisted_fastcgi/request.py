# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The request that a L{FastCGIFactory<twisted_fastcgi.server.FastCGIFactory>}
makes unless it is told otherwise.
"""

from __future__ import annotations

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request


class FastCGIRequest(Request):
    """
    A L{twisted.web.server.Request} that came over FastCGI.
    """

    _log = Logger()

    def processingFailed(self, reason: Failure) -> Failure:
        """
        End the request after its processing has failed: with a page that says
        so, or, if the response had already begun, in a way that lets the web
        server see that it is not whole.

        @param reason: Why it failed.
        @return: The same.
        """
        channel = getattr(self, "channel", None)
        if channel is not None:
            channel.appStatus = 1
        if channel is None or not self.startedWriting:
            super().processingFailed(reason)
            return reason
        self._log.failure("{uri} failed midway", failure=reason, uri=self.uri)
        self.loseConnection()
        return reason
