# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Deciding whether requests may be served (FastCGI 1.0, section 6.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed, Unauthorized
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure
from twisted.web.guard import BasicCredentialFactory
from twisted.web.pages import errorPage, forbidden
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import Interface, implementer

from twisted_fastcgi.cancelling import cancelOnDisconnect
from twisted_fastcgi.interfaces import IAuthorizer, IFastCGIRequest

Text: TypeAlias = bytes | str

_NAME = re.compile(rb"[A-Z_][A-Z0-9_]*")
_BROKEN = re.compile(rb"[\r\n\0]")

#: The header fields by which a request wants no response, or a part of one, if
#: all is well: they don't count when it is refused (RFC 9110, sections 13.2.1
#: and 14.2).
_CONDITIONS = (
    b"If-Match",
    b"If-Modified-Since",
    b"If-None-Match",
    b"If-Range",
    b"If-Unmodified-Since",
    b"Range",
)


@dataclass(frozen=True)
class Allow:
    """
    The request may be served.

    @ivar variables: What the web server is to tell whoever serves it, such as
        C{REMOTE_USER}: names in capitals, digits and underscores, values
        without line breaks; L{str} is sent as UTF-8.
    """

    variables: Mapping[Text, Text] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """
        @raise ValueError: If a variable can't be sent.
        """
        for name, value in self.variables.items():
            if not _NAME.fullmatch(_encoded(name)) or _BROKEN.search(_encoded(value)):
                raise ValueError(
                    "an authorizer's variable must have a name of capitals, digits "
                    f"and underscores, and a value in one line: {name!r}: {value!r}"
                )


@dataclass(frozen=True)
class Deny:
    """
    The request must not be served.

    @ivar response: What the client gets instead: a resource, which is rendered
        for the request, with the status 403 unless it sets another that
        L{refuses}.  Header fields that would make that response conditional or
        partial are taken from the request (RFC 9110, section 13.2.1).
    """

    response: IResource = field(default_factory=forbidden)


def _encoded(text: Text) -> bytes:
    """
    Encode what is not encoded yet.
    """
    return text.encode("utf-8") if isinstance(text, str) else text


@implementer(IAuthorizer)
class AuthorizerResource(Resource):
    """
    An authorizer as a resource: what it decides is the response, an empty one
    with the status 200 and I{Variable-NAME} header fields for L{Allow}.

    Web servers that don't know the role can ask it by an ordinary request, as
    nginx does with C{auth_request}.
    """

    isLeaf = True

    def __init__(
        self, authorizer: Any, allowed: Callable[[], object] | None = None
    ) -> None:
        """
        @param authorizer: An L{IAuthorizer}.
        @param allowed: Called when a request is allowed, before the response.
        """
        super().__init__()
        self._authorizer = authorizer
        self._allowed = allowed

    def authorize(self, request: Any) -> Any:
        """
        Ask the authorizer.

        @param request: The request.
        @return: Its decision.
        """
        return self._authorizer.authorize(request)

    def render(self, request: Any) -> Any:
        """
        Decide on a request.

        @param request: The request.
        @return: L{NOT_DONE_YET<twisted.web.server.NOT_DONE_YET>}.
        """
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        guard = _Guard(request)

        def failed(failure: Failure) -> None:
            # Nobody is there to be told; what was cancelled may say so.
            if not gone:
                request.processingFailed(failure)

        work = maybeDeferred(self._authorizer.authorize, request)
        cancelOnDisconnect(request, work)
        work.addCallback(self._answer, request, guard).addErrback(failed)
        return NOT_DONE_YET

    def _answer(self, decision: object, request: Any, guard: _Guard) -> None:
        """
        Send what was decided.
        """
        if isinstance(decision, Allow):
            guard.allows = True
            if self._allowed is not None:
                self._allowed()
            for name, value in decision.variables.items():
                header = b"Variable-" + _encoded(name)
                request.responseHeaders.setRawHeaders(header, [_encoded(value)])
            # There is no content that could have a type.
            request.defaultContentType = None
            request.finish()
        elif isinstance(decision, Deny):
            request.setResponseCode(403)
            for condition in _CONDITIONS:
                request.requestHeaders.removeHeader(condition)
            request.render(decision.response)
        else:
            raise TypeError(
                f"{self._authorizer!r} must decide by an Allow or a Deny: {decision!r}"
            )


class _Guard:
    """
    Keeps a response from letting the client in unless that was decided,
    whoever has set its status, and in whatever way.

    @ivar allows: Whether it was decided.
    """

    allows = False

    def __init__(self, request: Any) -> None:
        """
        @param request: The request, which has no response yet.
        """
        self._request = request
        self._write = request.write
        self._finish = request.finish
        request.write = self.write
        request.finish = self.finish

    def write(self, data: bytes) -> None:
        """
        Send a piece of the response, the first with its status.
        """
        self._check()
        self._write(data)

    def finish(self) -> None:
        """
        End the response.
        """
        self._check()
        self._finish()

    def _check(self) -> None:
        """
        See that a response that is no allowance is a refusal.
        """
        if not (self.allows or refuses(self._request.code)):
            self._request.setResponseCode(403)


def refuses(code: int) -> bool:
    """
    Tell whether a status code refuses a request.

    Those of success don't (RFC 9110, section 15.3): nginx lets the client in
    for any of them.  304 doesn't: it says that the copy which the client has
    of what it asked for is still good (section 15.4.5).  Other redirections
    do, such as that to a page where the client can log in.

    @param code: The code.
    @return: Whether it does.
    """
    return code >= 300 and code != 304


class _Challenge(Resource):
    """
    The page that makes a browser ask for a name and a password (RFC 9110,
    section 11.6.1).
    """

    isLeaf = True

    def __init__(self, challenge: bytes) -> None:
        super().__init__()
        self._challenge = challenge
        self._page = errorPage(
            401, "Unauthorized", "A name and a password are needed for this."
        )

    def render(self, request: Any) -> Any:
        """
        Ask for credentials.
        """
        request.setHeader(b"WWW-Authenticate", self._challenge)
        return self._page.render(request)


class PortalAuthorizer(AuthorizerResource):
    """
    Allows what comes with the name and password of somebody whom a
    L{Portal<twisted.cred.portal.Portal>} lets in (I{Basic} authentication,
    RFC 7617), and tells the name as C{REMOTE_USER}.
    """

    def __init__(
        self, portal: Portal, realm: Text, interface: type[Interface] = IResource
    ) -> None:
        """
        @param portal: Knows the users.
        @param realm: What the browser tells the user that the password is for.
        @param interface: What the portal's realm is asked for as an avatar;
            by default what it is asked for by
            L{HTTPAuthSessionWrapper<twisted.web.guard.HTTPAuthSessionWrapper>}.
            The avatar itself is not used.
        """
        super().__init__(self)
        self._portal = portal
        self._interface = interface
        self._factory = BasicCredentialFactory(_encoded(realm))
        quoted = re.sub(rb'(["\\])', rb"\\\1", _encoded(realm))
        self._denial = Deny(_Challenge(b'Basic realm="%b", charset="UTF-8"' % quoted))

    def authorize(self, request: Any) -> Deferred[Allow | Deny]:
        """
        Ask the portal.

        @param request: The request.
        @return: Fires with the decision.
        """
        try:
            credentials = self._credentials(request)
        except LoginFailed:
            return succeed(self._denial)
        login = self._portal.login(credentials, None, self._interface)

        def allow(avatar: tuple[object, object, Callable[[], object]]) -> Allow:
            avatar[2]()
            return Allow({"REMOTE_USER": credentials.username})

        def deny(failure: Failure) -> Deny:
            failure.trap(Unauthorized)
            return self._denial

        decided: Deferred[Allow | Deny] = login.addCallbacks(allow, deny)
        return decided

    def _credentials(self, request: Any) -> Any:
        """
        Find name and password in a request.

        @raise LoginFailed: If there are none.
        """
        header = request.getHeader(b"Authorization")
        if header is not None:
            scheme, _, response = header.partition(b" ")
            if scheme.lower() != b"basic":
                raise LoginFailed(f"not for {scheme!r}")
            return self._factory.decode(response, request)
        # Apache's own authorizer interface has taken the header apart.
        params = IFastCGIRequest(request).params if _isOverFastCGI(request) else {}
        if b"REMOTE_USER" not in params or b"REMOTE_PASSWD" not in params:
            raise LoginFailed("no credentials")
        return UsernamePassword(params[b"REMOTE_USER"], params[b"REMOTE_PASSWD"])


def _isOverFastCGI(request: Any) -> bool:
    """
    Tell whether a request came over FastCGI.
    """
    return IFastCGIRequest(request, None) is not None
