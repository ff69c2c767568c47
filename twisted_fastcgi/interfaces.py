# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The contracts that cross modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from twisted.internet.interfaces import IProtocol
from zope.interface import Attribute, Interface


class IFastCGIRequest(Interface):
    """
    What FastCGI knows of a request beyond HTTP.

    C{IFastCGIRequest(request)} gives it for any L{twisted.web.iweb.IRequest}
    that came over FastCGI, until the request is finished, whatever its
    C{requestFactory}; C{IFastCGIRequest(request, None)} is L{None} for a
    request that came over HTTP.
    """

    params: Mapping[bytes, bytes] = Attribute(
        """
        All variables as the web server sent them, an immutable mapping of
        L{bytes} to L{bytes}; of a repeated name the last value (FastCGI 1.0,
        section 5.2).
        """
    )

    role: int = Attribute(
        """
        The role that the web server asked for, a
        L{Role<twisted_fastcgi.records.Role>} (FastCGI 1.0, section 6).
        """
    )

    requestId: int = Attribute(
        """
        The request id, 1 to 65535 (FastCGI 1.0, section 3.3).
        """
    )

    appStatus: int = Attribute(
        """
        The application status that END_REQUEST will carry, 0 to 4294967295;
        what a CGI program would have passed to C{exit()}.  May be set until
        the request is finished (FastCGI 1.0, section 5.5).
        """
    )

    data: BinaryIO | None = Attribute(
        """
        The file that a Filter is to filter, open for reading, as
        C{request.content} is for the request body; L{None} in the other roles
        (FastCGI 1.0, section 6.4).
        """
    )

    dataLength: int | None = Attribute(
        """
        The size of that file in bytes, which is what has arrived; L{None} in
        the other roles.
        """
    )

    dataLastModified: int | None = Attribute(
        """
        When that file was last modified, in seconds since 1970; L{None} in the
        other roles.
        """
    )

    def deliverBody(protocol: IProtocol) -> None:
        """
        Hand the request body to C{protocol}, in the way of
        L{IResponse.deliverBody<twisted.web.iweb.IResponse.deliverBody>}: while
        it arrives, for a resource that provides L{IStreamingResource}; all of
        it, once it is here, for every other.

        C{protocol}'s transport is an L{IPushProducer
        <twisted.internet.interfaces.IPushProducer>}: C{pauseProducing} keeps
        the web server from sending more, C{resumeProducing} goes on, and after
        C{stopProducing} the rest of the body is thrown away.

        C{protocol.connectionLost} is called once, with
          - L{ResponseDone<twisted.web.client.ResponseDone>}, the name that
            Twisted has for it, if the body is complete;
          - L{BodyTooShort<twisted_fastcgi.errors.BodyTooShort>} if it ended
            before; L{LimitExceeded<twisted_fastcgi.errors.LimitExceeded>} if
            it is larger than is allowed; L{TimeoutError
            <twisted.internet.error.TimeoutError>} if it did not go on.
            Unless the request is finished by then, it is answered with 400,
            413 or 408;
          - L{ConnectionLost<twisted.internet.error.ConnectionLost>},
            L{ConnectionDone<twisted.internet.error.ConnectionDone>} or
            L{ConnectionAborted<twisted.internet.error.ConnectionAborted>} if
            the client is gone, or the request was finished first.

        @raise RuntimeError: If the body was delivered already.
        """

    def writeStderr(data: bytes) -> None:
        """
        Send C{data} to the web server's error log, on the STDERR stream
        (FastCGI 1.0, section 5.3).  Ignored when the request has ended.
        """


class IStreamingResource(Interface):
    """
    A mark for resources (L{IResource<twisted.web.resource.IResource>}) that
    take the request body while it arrives: such a resource is found, and
    rendered, as soon as the variables of the request are complete.

    C{request.args} then holds the query only, C{request.content} nothing, and
    the body comes by L{IFastCGIRequest.deliverBody}; until that is called, the
    web server has to wait with it.
    """


class IFilterResource(Interface):
    """
    A mark for resources (L{IResource<twisted.web.resource.IResource>}) that
    serve requests in the role of a Filter (FastCGI 1.0, section 6.4): they are
    rendered when the body and the file are complete, and find the file as
    L{IFastCGIRequest.data}.
    """


class IAuthorizer(Interface):
    """
    Something that decides whether a request may be served (FastCGI 1.0,
    section 6.3).
    """

    def authorize(request: Any) -> Any:
        """
        Decide on a request, from its variables alone: a request in the role
        of an Authorizer has no body.

        @param request: The L{FastCGIRequest
            <twisted_fastcgi.request.FastCGIRequest>}.
        @return: An L{Allow<twisted_fastcgi.authorizer.Allow>} or a L{Deny
            <twisted_fastcgi.authorizer.Deny>}, or a L{Deferred
            <twisted.internet.defer.Deferred>} or coroutine with one of them,
            which is cancelled when the web server gives up.  Anything else,
            and any exception, denies the request with 500.
        """
