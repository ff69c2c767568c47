# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What a server does, as a resource.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.pages import errorPage, forbidden
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from twisted_fastcgi.accept import choose
from twisted_fastcgi.cancelling import cancelOnDisconnect
from twisted_fastcgi.figures import Statistics
from twisted_fastcgi.interfaces import IFastCGIRequest
from twisted_fastcgi.peers import Peers
from twisted_fastcgi.records import Role
from twisted_fastcgi.statusforms import FORMS

_OFFERS = {media: form for form, (media, _) in FORMS.items()}

# Segments of what needs no encoding (RFC 3986, section 3.3); none is empty, and
# none is made of dots.
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")

_FORBIDDEN = "The status is not shown to this address."


class StatisticsSource(Protocol):
    """
    What knows the figures, such as a L{FastCGIFactory
    <twisted_fastcgi.server.FastCGIFactory>}.
    """

    def statistics(self) -> Any:
        """
        Tell the figures.

        @return: A L{Statistics}, or a L{Deferred
            <twisted.internet.defer.Deferred>} that fires with one.
        """


class StatusResource(Resource):
    """
    Shows what a server does: as text, JSON, OpenMetrics or HTML, whichever the
    client accepts (RFC 9110, section 12.5.1), or the query names: C{?text},
    C{?json}, C{?openmetrics}, C{?html}, C{?prometheus}.

    Whoever may ask for it is for others to decide.  The request for it is not
    among the active ones that are shown; when it is over it counts as any.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, source: StatisticsSource) -> None:
        """
        @param source: A L{FastCGIFactory
            <twisted_fastcgi.server.FastCGIFactory>}, or anything whose
            C{statistics()} gives L{Statistics} or a L{Deferred
            <twisted.internet.defer.Deferred>} of them.
        """
        super().__init__()
        self._source = source

    def render_GET(self, request: Any) -> int:
        """
        Show it; to C{HEAD}, only that it could be.

        @param request: The request.
        @return: L{NOT_DONE_YET<twisted.web.server.NOT_DONE_YET>}.
        """
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"Vary", b"Accept")
        form = _form(request)
        if form is None:
            names = ", ".join(str(media) for media in _OFFERS)
            page = errorPage(406, "Not Acceptable", f"There is: {names}.")
            return _rendered(page, request)
        channel: Any = IFastCGIRequest(request, None)
        if channel is not None:
            channel.hidden = True
        told = maybeDeferred(self._source.statistics)
        cancelOnDisconnect(request, told)
        told.addCallback(_show, form, request)
        told.addErrback(self._failed, request)
        return NOT_DONE_YET

    def _failed(self, failure: Failure, request: Any) -> None:
        """
        Say that there are no figures, if anybody is there to hear it.
        """
        if getattr(request, "channel", None) is not None:
            self._log.failure("the status can't be told", failure)
            reason = "The figures can't be had at the moment."
            _rendered(errorPage(503, "Service Unavailable", reason), request)


def _form(request: Any) -> str | None:
    """
    Choose a form.

    @return: Its name; L{None} if the client accepts none.
    """
    # Twisted takes a name without a value for none.
    query = request.uri.partition(b"?")[2].split(b"&")
    named = {part.partition(b"=")[0] for part in query}
    for form in FORMS:
        if form.encode("ascii") in named:
            return form
    fields = request.requestHeaders.getRawHeaders("accept")
    media = choose(None if fields is None else ",".join(fields), list(_OFFERS))
    return None if media is None else _OFFERS[media]


def _show(told: Statistics, form: str, request: Any) -> None:
    """
    Send the figures.
    """
    media, write = FORMS[form]
    body = write(told).encode("utf-8")
    request.setHeader(b"Content-Type", str(media).encode("ascii"))
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    request.setHeader(
        b"Content-Security-Policy",
        b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    )
    request.write(body)
    request.finish()


def _rendered(page: Any, request: Any) -> int:
    """
    Have a page shown.
    """
    request.render(page)
    return NOT_DONE_YET


class StatusGate(Resource):
    """
    Lets only some clients see the status: those with the address, as the web
    server tells it in REMOTE_ADDR (RFC 3875, section 4.1.8), whatever header
    fields say.
    """

    isLeaf = True

    def __init__(self, status: IResource, allowed: Peers) -> None:
        """
        @param status: The status.
        @param allowed: Whom to let see it.
        """
        super().__init__()
        self._status = status
        self._allowed = allowed
        self._refusal = forbidden(_FORBIDDEN)

    def render(self, request: Any) -> Any:
        """
        Show the status, or why it is not shown.

        @param request: The request.
        @return: What a resource returns.
        """
        isAllowed = self._isAllowed(IFastCGIRequest(request, None))
        return (self._status if isAllowed else self._refusal).render(request)

    def _isAllowed(self, fcgi: Any) -> bool:
        """
        Tell whether the client may see it: not if there is no knowing who it is.
        """
        if fcgi is None:
            return False
        try:
            address = fcgi.params.get(b"REMOTE_ADDR", b"").decode("ascii")
            return address.removeprefix("[").removesuffix("]") in self._allowed
        except ValueError:
            return False


class StatusPath:
    """
    Where the status is.
    """

    def __init__(self, path: str, resource: IResource) -> None:
        """
        @param path: The whole path of the URL, such as C{/fcgi-status}.
        @param resource: What answers there.
        @raise ValueError: If it is no such path.
        """
        if not _PATH.fullmatch(path):
            raise ValueError(
                f"{path!r} is no path such as /fcgi-status: it has to start with /, "
                "and consist of letters, digits and -._~!$&'()*+,;=:@ between slashes"
            )
        self._segments = path[1:].encode("ascii").split(b"/")
        self._resource = resource

    def find(self, request: Any) -> IResource | None:
        """
        Tell what answers a request, before anything else is asked.

        @param request: The request, none of whose path has been used.
        @return: The resource; L{None} if the request is not for the status.  What
            is asked in another role than that of a Responder is not.
        """
        if request.postpath != self._segments:
            return None
        fcgi = IFastCGIRequest(request, None)
        if fcgi is not None and fcgi.role != Role.RESPONDER:
            return None
        return self._resource
