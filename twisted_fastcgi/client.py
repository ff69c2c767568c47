# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Ask FastCGI applications, as a web server does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from twisted_fastcgi.cgiclient import Variables, merged, parseTarget, requestVariables
from twisted_fastcgi.exchange import Exchange, logStderr
from twisted_fastcgi.job import Query, Settings
from twisted_fastcgi.pairs import encodePairs
from twisted_fastcgi.pool import Pool
from twisted_fastcgi.records import MAX_CONTENT_LENGTH
from twisted_fastcgi.response import ClientRequest, FastCGIResponse

# The public names have their pages elsewhere.
__all__ = ["ClientRequest", "FastCGIResponse"]

#: Tells the variables of a request.
_Teller: TypeAlias = Callable[[ClientRequest], Variables]

#: All that section 4.1 of FastCGI 1.0 knows.
_VALUES = (b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS")

# Requests that usually have a body: without one its length is sent as 0.
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))


@implementer(IAgent)
class FastCGIAgent:
    """
    Asks a FastCGI application, such as PHP-FPM, as a web server does: an
    L{IAgent<twisted.web.iweb.IAgent>}, with which C{treq.client.HTTPClient} and
    Twisted's L{RedirectAgent<twisted.web.client.RedirectAgent>} work.

    Only the endpoint says where requests go.  A URI tells the application the
    rest: C{http://www.example.com/page?a=b} gives it the path, the query and
    the name of the server that it is to take itself for.

    A request that has no response fails with

      - L{ResponseNeverReceived<twisted.web.client.ResponseNeverReceived>} if
        it was sent, with the cause in its C{reasons}: the connection is gone,
        L{TimeoutError<twisted.internet.error.TimeoutError>}, or a
        L{RemoteProtocolError<twisted_fastcgi.errors.RemoteProtocolError>} that
        says what is wrong with the answer;
      - L{RequestRefused<twisted_fastcgi.RequestRefused>} if the application did
        not take it;
      - L{RequestGenerationFailed<twisted.web.client.RequestGenerationFailed>}
        if its body could not be produced;
      - what the endpoint says, or a L{TimeoutError
        <twisted.internet.error.TimeoutError>}, if there was no connection;
      - L{ValueError} if it can't be sent;
      - L{AgentClosed<twisted_fastcgi.AgentClosed>} after L{close}.

    If the body of a response is not whole, the protocol to which it is
    delivered loses its connection with L{ResponseFailed
    <twisted.web.client.ResponseFailed>}, whose C{reasons} are the same.

    To cancel a request's L{Deferred<twisted.internet.defer.Deferred>}, or to
    make the transport of its body lose its connection, aborts the request
    (FastCGI 1.0, section 5.4).

    A I{GET}, I{HEAD}, I{OPTIONS}, I{TRACE}, I{PUT} or I{DELETE} without a body
    is sent a second time, once, on a new connection, if it was sent on a
    connection that had been kept and that ended before anything came of the
    response: most likely it had ended before, because the application closes
    such connections after a while.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        variables: Variables | _Teller | None = None,
        maxConnections: int = 4,
        keepConnection: bool = True,
        connectTimeout: float | None = 30,
        responseTimeout: float | None = 60,
        idleTimeout: float | None = 30,
        maxHeaderBytes: int = 65536,
        stderr: Callable[[ClientRequest, bytes], object] = logStderr,
    ) -> None:
        """
        @param reactor: Tells the time.
        @param endpoint: Where the application listens.
        @param variables: CGI variables beside those that the agent makes of
            each request, or in place of them, such as SCRIPT_FILENAME; L{None}
            as a value leaves a variable out.  Or what is called with each
            L{request<ClientRequest>} and tells them.
        @param maxConnections: The most connections at a time.  Each serves one
            request at a time; further requests wait for their turn, in order.
            With PHP-FPM it should not be more than C{pm.max_children}, because
            a child serves no one else as long as its connection is kept.
        @param keepConnection: Whether connections are used again.  If not, the
            application is told to close each one after its answer.
        @param connectTimeout: In how many seconds a connection must be there;
            L{None} for no limit.
        @param responseTimeout: In how many seconds, after all of a request has
            been sent, the header of the response must be complete, and for how
            many seconds nothing may come of its body, or be taken of the
            request's; L{None} for no limit.  A response whose body nobody asks
            for is given up after that time, too.
        @param idleTimeout: For how many seconds a connection is kept without
            being used; L{None} for no limit.
        @param maxHeaderBytes: The largest header block of a response.
        @param stderr: Called with the request and each piece that the
            application writes to STDERR, L{bytes} that may begin and end
            anywhere (FastCGI 1.0, section 5.3).  The default writes them to
            the log.
        @raise ValueError: If a limit would let nothing through.
        """
        if maxConnections < 1 or maxHeaderBytes < 1:
            raise ValueError(
                "maxConnections and maxHeaderBytes must be at least 1: "
                f"{maxConnections!r}, {maxHeaderBytes!r}"
            )
        self._variables = variables
        self._settings = Settings(
            reactor=reactor,
            keepConnection=keepConnection,
            responseTimeout=responseTimeout,
            idleTimeout=idleTimeout,
            maxHeaderBytes=maxHeaderBytes,
            stderr=stderr,
        )
        self._pool = Pool(self._settings, endpoint, maxConnections, connectTimeout)

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
        Send a request (FastCGI 1.0, section 6.2; RFC 3875, section 4).

        A body of unknown length is sent as it comes, without CONTENT_LENGTH.
        Applications exist that see no body then; PHP is one of them.

        @param method: The request method.
        @param uri: The absolute URI, C{http} or C{https}.
        @param headers: The headers.  Those that concern one hop only, I{Proxy}
            and those with an underscore in their name are not sent.
        @param bodyProducer: Produces the body.
        @param variables: CGI variables for this request alone; they count more
            than those of the agent.
        @return: Fires with a L{FastCGIResponse}, as soon as its header is
            complete.
        """
        try:
            request = self._makeRequest(
                method,
                uri,
                Headers() if headers is None else headers,
                bodyProducer,
                variables,
            )
        except Exception:
            return fail(Failure())
        exchange = Exchange(self._settings, request, bodyProducer)
        self._pool.do(exchange)
        return exchange.done

    def _makeRequest(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers,
        bodyProducer: IBodyProducer | None,
        variables: Variables | None,
    ) -> ClientRequest:
        """
        Gather the variables of a request.
        """
        length = _bodyLength(method, bodyProducer)
        own = requestVariables(method, parseTarget(uri), headers, length)
        request = ClientRequest(method, uri, headers, own)
        told = self._variables
        if callable(told):
            told = told(request)
        return replace(request, variables=merged(own, told, variables))

    def getValues(
        self, names: Iterable[bytes] = _VALUES
    ) -> Deferred[dict[bytes, bytes]]:
        """
        Ask the application for its limits (FastCGI 1.0, section 4.1).

        Applications built with the FastCGI library in C don't answer before
        they get a request on the same connection: this fails with a
        L{TimeoutError<twisted.internet.error.TimeoutError>} for them.

        @param names: What to ask for; all that the specification knows by
            default.
        @return: Fires with what the application tells: nothing about names
            that it doesn't know.  Fails with a L{ValueError} if the names
            don't fit one record.
        """
        asked = tuple(names)
        if len(encodePairs((name, b"") for name in asked)) > MAX_CONTENT_LENGTH:
            return fail(ValueError(f"{len(asked)} names don't fit one record"))
        query = Query(self._settings, asked)
        self._pool.do(query)
        return query.done

    def closeCachedConnections(self) -> Deferred[None]:
        """
        Close the connections that are kept and not in use.  Further requests
        make new ones.

        @return: Fires when they are closed.
        """
        return self._pool.closeIdle()

    def close(self) -> Deferred[None]:
        """
        Take no more requests, let those in hand fail, close all connections.

        @return: Fires when they are closed.
        """
        return self._pool.close()


def _bodyLength(method: bytes, bodyProducer: IBodyProducer | None) -> int | None:
    """
    Tell how long the body of a request is, if it has one and that is known.
    """
    if bodyProducer is None:
        return 0 if method in _WITH_BODY else None
    length: object = bodyProducer.length
    if length == UNKNOWN_LENGTH:
        return None
    assert isinstance(length, int)
    return length
