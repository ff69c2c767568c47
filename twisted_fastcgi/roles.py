# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Requests in the roles that hardly anybody plays: Authorizer and Filter
(FastCGI 1.0, sections 6.3 and 6.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from twisted.web.http_headers import Headers
from twisted.web.server import NOT_DONE_YET
from zope.interface import Interface

from twisted_fastcgi import cgi
from twisted_fastcgi.authorizer import AuthorizerResource, refuses
from twisted_fastcgi.channel import RequestChannel
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.interfaces import IAuthorizer, IFilterResource
from twisted_fastcgi.pages import BAD_REQUEST
from twisted_fastcgi.records import Role
from twisted_fastcgi.request import FastCGIRequest

#: A file of more bytes than that is kept on disk, as twisted.web does with
#: request bodies.
_LARGE = 100_000

_NOT_THE_FILE = "The web server did not send the whole file."


class RoleChannel(RequestChannel):
    """
    One request in a role which a resource has to say that it can play.

    Its request is a L{FastCGIRequest}, whatever the site's C{requestFactory}.

    @cvar provides: The interface by which it says so.
    """

    provides: type[Interface]

    def begin(self) -> None:
        """
        Make a request of the variables.
        """
        super().begin()
        if self._request is not None and not self._isLean:
            self._isLean = True
            self._request = FastCGIRequest(self)

    def beginBody(self) -> None:
        """
        Find the resource, and answer with UNKNOWN_ROLE unless it plays the
        role.
        """
        request = self._request
        found = request.findEarly(self._command, self._path, self._version)
        # On the way to it the request may have been answered.
        if found is None and self.connected:
            # It can't be told yet, or looking for it has failed, as it may
            # once more.
            request.useFound(_Later(self))
            self.found()
        elif self.connected and self.accept(found):
            self.found()

    def accept(self, resource: Any) -> bool:
        """
        Have the resource that was found render the request, or answer with
        UNKNOWN_ROLE if it does not play the role.

        @param resource: The resource.
        @return: Whether it does.
        """
        plays = self.provides.providedBy(resource)
        if plays:
            self._request.useFound(self.player(resource))
        else:
            self.rejectRole(
                f"role {self.role} is not served: {resource!r} does not provide "
                f"{self.provides.__name__}"
            )
        return plays

    def player(self, resource: Any) -> Any:
        """
        Give what renders the request.

        @param resource: The resource that was found, which plays the role.
        @return: By default the same.
        """
        return resource

    def found(self) -> None:
        """
        Go on, now that the resource is known as far as it can be.
        """


class _Later:
    """
    Stands for a resource that is to be found when the whole request is there.
    """

    def __init__(self, channel: RoleChannel) -> None:
        """
        @param channel: Accepts what is found, or does not.
        """
        self._channel = channel

    def render(self, request: FastCGIRequest) -> int:
        """
        Find the resource.

        @param request: The request.
        @return: L{NOT_DONE_YET<twisted.web.server.NOT_DONE_YET>}.
        """
        found = request.find()
        if self._channel.connected and self._channel.accept(found):
            request.process()
        return NOT_DONE_YET


class AuthorizerChannel(RoleChannel):
    """
    One request in the role of an Authorizer: there is no body, and a response
    with the status 200 would let the client in.

    @ivar _allowed: Whether it was decided to do so.
    """

    provides = IAuthorizer
    hasBody = False
    statusFirst = True

    _allowed = False

    def __init__(self, connection: Any, event: Any) -> None:
        super().__init__(connection, event)
        own = connection.factory.authorizerSite
        if own is not None:
            self.site = own

    def player(self, resource: Any) -> Any:
        """
        Give what renders the request.

        @param resource: The authorizer.
        @return: Renders what that decides.
        """
        return AuthorizerResource(resource, self._allow)

    def found(self) -> None:
        """
        Decide: there is nothing that could be waited for.
        """
        self.endBody()

    def _allow(self) -> None:
        """
        Note the decision.
        """
        self._allowed = True

    def _makeHead(self, code: int, reason: bytes, headers: Headers) -> bytes:
        """
        Make the header block, of no denial that would be taken for the
        contrary: what answers need not be an authorizer.
        """
        if not (self._allowed or refuses(code)):
            code, reason = 403, b"Forbidden"
        return super()._makeHead(code, reason, headers)


class FilterChannel(RoleChannel):
    """
    One request in the role of a Filter: after the body comes a file.

    @ivar data: The file.
    @ivar dataLength: Its size as it was told, in bytes.
    @ivar dataLastModified: When it was modified, in seconds since 1970.
    @ivar _stdinDone: Whether all of the body has come.
    @ivar _dataReceived: How much of the file has come, in bytes.
    """

    provides = IFilterResource

    _stdinDone = False
    _dataReceived = 0

    def begin(self) -> None:
        """
        Make a request of the variables, and get ready for the file.
        """
        super().begin()
        if self._request is None:
            return
        try:
            self.dataLength = cgi.dataLength(self._variables)
            self.dataLastModified = cgi.dataLastModified(self._variables)
        except RemoteProtocolError as error:
            self.refuse(400, BAD_REQUEST, str(error), "variables")
            return
        limit = self._connection.limits.bodyBytes
        if limit is not None and self.dataLength > limit:
            self._bodyTooLarge(self.dataLength, limit)
            return
        large = self.dataLength > _LARGE
        self.data = cast(BinaryIO, TemporaryFile()) if large else BytesIO()

    @property
    def bodyComplete(self) -> bool:
        """
        Whether as much of the body has come as was told.
        """
        return not self._stdinDone and super().bodyComplete

    def endBody(self) -> None:
        """
        Note that the body has ended.
        """
        if not self._stdinDone and not self._endsShort():
            self._stdinDone = True

    def receiveData(self, data: bytes) -> None:
        """
        Take a piece of the file.

        @param data: The piece.
        """
        self._dataReceived += len(data)
        if self._dataReceived > cast(int, self.dataLength):
            self._refuseData()
        else:
            cast(BinaryIO, self.data).write(data)

    def endData(self) -> None:
        """
        Note that the file has ended, and let the application have the request.
        """
        if self._dataReceived != self.dataLength:
            self._refuseData()
            return
        cast(BinaryIO, self.data).seek(0)
        self._finishBody()

    def _refuseData(self) -> None:
        """
        Answer a request whose file is not as large as was told.
        """
        self.refuse(
            500,
            _NOT_THE_FILE,
            f"{self._dataReceived} bytes of DATA came, FCGI_DATA_LENGTH told "
            f"{self.dataLength}",
            "short_body",
        )

    def _letGo(self) -> None:
        """
        Take nothing and send nothing any more.
        """
        super()._letGo()
        if self.data is not None:
            self.data.close()


#: What takes a request, by its role.
CHANNELS: Mapping[int, type[RequestChannel]] = {
    Role.RESPONDER: RequestChannel,
    Role.AUTHORIZER: AuthorizerChannel,
    Role.FILTER: FilterChannel,
}
