# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The request that a L{FastCGIFactory<twisted_fastcgi.server.FastCGIFactory>}
makes unless it is told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web import resource
from twisted.web.error import UnsupportedMethod
from twisted.web.http import NO_BODY_CODES, parse_qs
from twisted.web.http_headers import Headers
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import provider

# What twisted.web looks for to find out whether a resource encodes its
# responses has no public name.
_IEncodingResource = resource._IEncodingResource


class _Lazy:
    """
    An attribute that is made when it is first asked for, and a plain one of
    the instance from then on.

    L{functools.cached_property} does the same, but takes a lock that costs
    more than most of what is made here, in Python before 3.12.
    """

    def __init__(self, make: Callable[[Any], object]) -> None:
        """
        @param make: Called with the request.
        """
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        """
        Learn the attribute's name.
        """
        self._name = name

    def __get__(self, request: Any, owner: type | None = None) -> Any:
        """
        Make the attribute.

        @return: What it is; L{None}, which is not kept, while there can't be
            any.
        """
        if request is None:
            return self
        value = self._make(request)
        if value is not None:
            setattr(request, self._name, value)
        return value


def _receivedCookies(request: Any) -> dict[bytes, bytes]:
    """
    Parse the cookies as every request does.
    """
    request.received_cookies = {}
    Request.parseCookies(request)
    cookies: dict[bytes, bytes] = request.received_cookies
    return cookies


class _BodyWanted(BaseException):
    """
    What a resource has asked for is not known before the body has arrived.

    Not an L{Exception}, so that the resource does not handle it.
    """


def _args(request: Any) -> dict[bytes, list[bytes]] | None:
    """
    Parse the query, once it is known.
    """
    if request._isEarly and request.method == b"POST":
        # There may be the fields of a form to come.
        raise _BodyWanted
    query = request._query
    if query is None:
        return None
    return parse_qs(query, True) if query else {}


def _emptyContent(request: Any) -> Any:
    """
    Make the file of a body that has nothing in it, unless the request is over.
    """
    if request._isEarly:
        raise _BodyWanted
    if not request._bodyless:
        return None
    request.gotLength(0)
    return request.content


def _sentHeaders(request: Any) -> Headers:
    """
    Add what L{FastCGIRequest._answer} has sent beside the header fields.
    """
    headers: Headers
    headers, mediaType = request._answered
    headers.setRawHeaders(b"Content-Length", [b"%d" % request.sentLength])
    if mediaType is not None and headers.getRawHeaders(b"Content-Type") is None:
        headers.setRawHeaders(b"Content-Type", [mediaType])
    return headers


#: What a request has in its C{__dict__} when something is to be sent, or to be
#: done at the end, beside a status, header fields and a body: methods that
#: middleware is known to replace on a single request, and what is there only
#: once it has been set or asked for.
_UNUSUAL = frozenset(
    (
        "_disconnected",
        "cookies",
        "etag",
        "finish",
        "lastModified",
        "notifications",
        "producer",
        "setHeader",
        "startedWriting",
        "write",
    )
)


class _Rendered:
    """
    A resource that has rendered the request already.
    """

    def __init__(self, found: Any, outcome: object) -> None:
        """
        @param found: The resource.
        @param outcome: What it returned or raised.
        """
        self._found = found
        self._outcome = outcome

    def __repr__(self) -> str:
        """
        Pass for the resource in messages.
        """
        return repr(self._found)

    def render(self, request: Request) -> object:
        """
        Give what the resource gave.
        """
        if isinstance(self._outcome, UnsupportedMethod):
            raise self._outcome
        return self._outcome


def _escaped(value: bytes | str) -> str:
    """
    Make text of what may hold any bytes.
    """
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text.encode("unicode_escape").decode("ascii")


@provider(INonQueuedRequestFactory)
class FastCGIRequest(Request):
    """
    A L{twisted.web.server.Request} that came over FastCGI.

    It is one in every respect, but it makes C{requestHeaders}, the cookies,
    C{args}, C{client}, C{host}, and the C{content} of a request without a body
    only when it is asked for them: for most resources that is half of the
    work.  It sets no I{Server} and I{Date}, which the web server does.

    It is for L{FastCGIFactory<twisted_fastcgi.server.FastCGIFactory>} alone,
    which uses it in place of Twisted's: over HTTP it would not work.

    @ivar _fastcgi: The channel, even when the request is over.
    @ivar _bodyless: Whether there is no body, and the file for it is not made.
    @ivar _query: The query, when it is known.
    @ivar _isEarly: Whether a resource is looked for before the body is there.
    @ivar _found: The resource that was found so.
    @ivar _answered: C{responseHeaders}, and the C{Content-Type} that was sent
        beside them.
    """

    args = _Lazy(_args)
    client = _Lazy(lambda request: request._fastcgi.getPeer())
    host = _Lazy(lambda request: request._fastcgi.getHost())
    requestHeaders = _Lazy(lambda request: request._fastcgi.requestHeaders)
    responseHeaders = _Lazy(_sentHeaders)
    received_cookies = _Lazy(_receivedCookies)
    content = _Lazy(_emptyContent)
    cookies = _Lazy(lambda request: [])
    notifications = _Lazy(lambda request: [])

    queued = False

    # Where Twisted 24.11 and later keep whether to parse forms.
    _parsePOSTFormSubmission = _Lazy(
        lambda request: getattr(request._fastcgi.site, "_parsePOSTFormSubmission", True)
    )

    _log = Logger()
    _bodyless = True
    _query: bytes | None = None

    # For a request that is looked at before its body has arrived.
    _isEarly = False
    _found: Any = None

    #: Whether C{args} are to have the fields of a form in the body.
    _parsesForms = True

    def __init__(self, channel: Any, queued: bool = False) -> None:
        """
        Do what the inherited C{__init__} does, except what is made later.

        @param channel: The L{RequestChannel
            <twisted_fastcgi.channel.RequestChannel>}.
        @param queued: Ignored by Twisted, too.
        """
        Componentized.__init__(self)
        self.channel = self.transport = self._fastcgi = channel
        self.responseHeaders = Headers()
        if queued:
            self.queued = queued

    def __repr__(self) -> str:
        """
        Tell requests apart in messages: as the inherited one does, but in plain
        ASCII on one line, whatever has come from the client.
        """
        fields = map(_escaped, (self.method, self.uri, self.clientproto))
        method, uri, clientproto = fields
        return (
            f"<{type(self).__name__} at {id(self):#x} method={method} uri={uri} "
            f"clientproto={clientproto}>"
        )

    def parseCookies(self) -> None:
        """
        Do nothing: the cookies are parsed when C{received_cookies} is asked
        for.
        """

    def gotLength(self, length: int | None) -> None:
        """
        Get ready for the body.

        @param length: Its size in bytes; L{None} if it is not known.
        """
        self._bodyless = False
        super().gotLength(length)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        Process the request, which has arrived as a whole.

        @param command: The method.
        @param path: The URI.
        @param version: The version of HTTP that the client speaks.
        """
        if not self._bodyless:
            if self._parsesForms:
                super().requestReceived(command, path, version)
                return
            self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self._query = path.partition(b"?")
        self.process()

    def process(self) -> None:
        """
        Find the resource, and have it render the request.
        """
        if self.path == b"*":
            super().process()
            return
        try:
            found = self.find() if self._found is None else self._found
            # Nearly always the first look, which costs next to nothing, will do.
            if hasattr(found, "getEncoder") and _IEncodingResource.providedBy(found):
                self._encoder = found.getEncoder(self)
            self.render(found)
        except BaseException:
            self.processingFailed(Failure())

    def find(self) -> Any:
        """
        Find the resource by the path, from the root of the site on.

        @return: The resource.
        """
        path = self.path
        self.site = site = self._fastcgi.site
        self.prepath = []
        self.postpath = path[1:].split(b"/")
        if b"%" in path:
            self.postpath = list(map(unquote_to_bytes, self.postpath))
        return site.getResourceFor(self)

    def useFound(self, resource: Any) -> None:
        """
        Have another resource render the request than the one that was found.

        @param resource: The resource.
        """
        self._found = resource

    def findEarly(self, command: bytes, path: bytes, version: bytes) -> Any:
        """
        Find the resource while the body is still to come.

        If something on the way asks for what only the body can tell,
        C{content} or the fields of a form, or fails, it is all done again when
        the body is there.

        @param command: The method.
        @param path: The URI.
        @param version: The version of HTTP that the client speaks.
        @return: The resource, which will not be looked for again; L{None} if it
            can't be told yet.
        """
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self._query = path.partition(b"?")
        if self.path == b"*":
            return None
        self._isEarly = self._fastcgi.hasBody
        try:
            self._found = self.find()
        except (_BodyWanted, Exception):
            self._found = None
        finally:
            self._isEarly = False
        return self._found

    def render(self, found: Any) -> None:
        """
        Have a resource render the request.

        A body that it returns goes the short way, which takes a third of the
        time, if nothing asks for more.

        @param found: The resource.
        """
        if self.method == b"HEAD" or self._encoder is not None:
            super().render(found)
            return
        try:
            body = found.render(self)
        except UnsupportedMethod as error:
            super().render(_Rendered(found, error))
            return
        if body is NOT_DONE_YET:
            return
        if body.__class__ is bytes and self._isPlain():
            self._answer(body)
        else:
            super().render(_Rendered(found, body))

    def _isPlain(self) -> bool:
        """
        Tell whether the response is but a status, header fields and a body,
        and nobody wants to have a say in how it is sent.
        """
        return (
            self.__class__ is FastCGIRequest
            # One look instead of ten, which would take 1 us.
            and self.__dict__.keys().isdisjoint(_UNUSUAL)
            and 200 <= self.code <= 599
            and self.code not in NO_BODY_CODES
        )

    def _answer(self, body: bytes) -> None:
        """
        Do what C{render}, C{write} and C{finish} do, in one go.
        """
        channel = self._fastcgi
        headers = self.responseHeaders
        mediaType = self.defaultContentType if body else None
        self.startedWriting = 1
        self.sentLength = len(body)
        channel.respond(self.code, self.code_message, headers, mediaType, body)
        # To add them to the header fields takes 2 us: only when they are asked for.
        self._answered = headers, mediaType
        del self.responseHeaders
        if channel.factory is not None:
            channel.factory.log(self)
        self.finished = 1
        self._bodyless = False
        del self.channel
        content = self.__dict__.pop("content", None)
        if content is not None:
            content.close()

    def processingFailed(self, reason: Failure) -> Failure:
        """
        End the request after its processing has failed: with a page that says
        so, or, if the response had already begun, in a way that lets the web
        server see that it is not whole.

        @param reason: Why it failed.
        @return: The same.
        """
        channel = getattr(self, "channel", None)
        if channel is None:
            self._log.failure("{uri} failed after its end", reason, uri=self.uri)
            return reason
        channel.appStatus = 1
        if self.startedWriting:
            self._log.failure("{uri} failed midway", reason, uri=self.uri)
            self.loseConnection()
        else:
            super().processingFailed(reason)
        return reason

    def finish(self) -> None:
        """
        End the response.
        """
        # What has no file need not have one made only to be closed.
        self._bodyless = False
        super().finish()
