# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Ask FastCGI applications, as a web server does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

#: A variable's name, and its value; L{None} leaves the variable out.
Variables = Mapping[str | bytes, str | bytes | None]


@implementer(IAgent)
class FastCGIAgent:
    """
    Asks one FastCGI application.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        variables: Variables | Callable[..., Variables] | None = None,
        maxConnections: int = 4,
        keepConnection: bool = True,
        connectTimeout: float | None = 30,
        responseTimeout: float | None = 60,
        idleTimeout: float | None = 30,
        maxHeaderBytes: int = 65536,
        stderr: Callable[..., object] | None = None,
    ) -> None:
        """
        @param reactor: Tells the time.
        @param endpoint: Where the application listens.
        @param variables: CGI variables beside those that the agent makes of
            each request, or in place of them, such as SCRIPT_FILENAME; or what
            is called with the request (its C{method}, C{absoluteURI},
            C{headers} and the C{variables} so far) and tells them.
        @param maxConnections: The most connections at a time.  Each serves one
            request at a time; further requests wait for their turn.
        @param keepConnection: Whether connections are used again.
        @param connectTimeout: In how many seconds a connection must be there.
        @param responseTimeout: In how many seconds, after the request has been
            sent, the header of the response must be complete; and the longest
            silence in its body, in seconds.
        @param idleTimeout: After how many seconds a connection that is not
            used is closed.
        @param maxHeaderBytes: The largest header block of a response.
        @param stderr: Called with the request and each piece of what the
            application writes to STDERR; by default that goes to the log.
        """
        raise NotImplementedError

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
        *,
        variables: Variables | None = None,
    ) -> Deferred[IResponse]:
        """
        Send a request.

        @param variables: CGI variables for this one request, in place of or
            beside all others.
        """
        raise NotImplementedError

    def getValues(self, names: Iterable[bytes] = ()) -> Deferred[dict[bytes, bytes]]:
        """
        Ask the application for its limits (FastCGI 1.0, section 4.1).
        """
        raise NotImplementedError

    def closeCachedConnections(self) -> Deferred[None]:
        """
        Close the connections that are not in use.
        """
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        """
        Take no more requests, abort what is in hand, close everything.
        """
        raise NotImplementedError
