# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} and C{twist fastcgi}: the service that is made from the options.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from twisted.application.service import IServiceCollection, MultiService
from twisted.python.components import Componentized
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from twisted_fastcgi.limitoptions import limitsFrom
from twisted_fastcgi.logfile import LoggingSite
from twisted_fastcgi.notify import Notifier, NotifyService
from twisted_fastcgi.options import LOG_FORMATS, Options, theReactor
from twisted_fastcgi.request import FastCGIRequest
from twisted_fastcgi.server import FastCGIFactory
from twisted_fastcgi.service import FastCGIService
from twisted_fastcgi.status import (
    StatisticsSource,
    StatusGate,
    StatusPath,
    StatusResource,
)
from twisted_fastcgi.stopping import CleanStop
from twisted_fastcgi.workerlink import linkFrom
from twisted_fastcgi.wsgi import FastCGIWSGIRequest


class _Site(LoggingSite):
    """
    A site that adds header fields to all responses, and has a place where the
    status is shown whatever the application makes of it.

    @ivar status: That place.
    """

    status: StatusPath | None = None

    def __init__(
        self, headers: Iterable[tuple[str, str]], *args: Any, **kwargs: Any
    ) -> None:
        """
        @param headers: Names and values of the header fields.
        """
        super().__init__(*args, **kwargs)
        self._headers = headers

    def getResourceFor(self, request: Request) -> IResource:
        """
        Add the header fields before any resource can set its own.

        @param request: The request.
        @return: The resource that is to render it.
        """
        for name, value in self._headers:
            request.responseHeaders.addRawHeader(name, value)
        status = None if self.status is None else self.status.find(request)
        if status is not None:
            return status
        resource: IResource = super().getResourceFor(request)
        return resource


def makeService(options: Options) -> MultiService:
    """
    Make the service for parsed options.

    @param options: What C{parseOptions} was called on.
    @return: A service whose children listen; an C{.rpy} script finds it as
        L{IServiceCollection} in its registry, to add other services.
    """
    parent = MultiService()
    if options["workers"] is None:
        _addServices(parent, options)
    else:
        _addWorkers(parent, options)
    return parent


def _addServers(
    parent: MultiService, notifier: Notifier, servers: Sequence[FastCGIService]
) -> None:
    if notifier:
        NotifyService(notifier, servers, theReactor()).setServiceParent(parent)
    for server in servers:
        server.setServiceParent(parent)


def _addWorkers(parent: MultiService, options: Options) -> None:
    # The workers themselves, and most others, have no use for that.
    from twisted_fastcgi.workers import makeWorkers

    notifier = Notifier.fromEnvironment(os.environ)
    CleanStop(theReactor()).setServiceParent(parent)
    workers = makeWorkers(options, options.what, notifier, theReactor())
    _addServers(parent, notifier, [workers])


def _addServices(parent: MultiService, options: Options) -> None:
    if isinstance(options["registry"], Componentized):
        options["registry"].setComponent(IServiceCollection, parent)
    factory = _makeFactory(options)
    link = linkFrom(theReactor(), os.environ, factory)
    _showStatus(options, factory.site, factory if link is None else link)
    CleanStop(theReactor()).setServiceParent(parent)
    previews: list[FastCGIService] = []
    if options["preview"] is not None:
        # First, for the case that it must not start: nothing is open then.
        previews.append(_makePreview(options, factory))
    service = FastCGIService(
        options["endpoints"],
        factory,
        options["grace"],
        what=options.what,
        peers=options["peers"],
        pool=options["pool"],
        shared=link is not None,
        successor=None if link is None else link.handOver,
    )
    if link is None:
        notifier = Notifier.fromEnvironment(os.environ)
        _addServers(parent, notifier, [*previews, service])
    else:
        factory.figures.worker = link.number
        link.takeOver = service.takeOver
        service.setServiceParent(link)
        link.setServiceParent(parent)


def _makePreview(options: Options, factory: FastCGIFactory) -> FastCGIService:
    # Nobody else has a use for the web server's side.
    from twisted_fastcgi.preview import PreviewService

    return PreviewService(
        options["preview"],
        factory,
        what=options.what,
        mount=options["mount"],
        anywhere=bool(options["preview-anywhere"]),
        reactor=theReactor(),
    )


def _showStatus(options: Options, site: Site, source: StatisticsSource) -> None:
    """
    Show the status, if that is wanted.

    @param site: Where.
    @param source: What knows the figures of all processes.
    """
    if isinstance(site, _Site) and options["status-path"] is not None:
        gate = StatusGate(StatusResource(source), options["watchers"])
        site.status = StatusPath(options["status-path"], gate)


def _makeFactory(options: Options) -> FastCGIFactory:
    request = FastCGIRequest if options["pool"] is None else FastCGIWSGIRequest
    headers = options["headers"]
    isPlain = not headers and options["status-path"] is None
    site = (LoggingSite if isPlain else partial(_Site, headers))(
        options["root"],
        request,
        logPath=options["logfile"],
        logFormatter=LOG_FORMATS[options["log-format"] or "combined"],
    )
    site.noisy = False
    site.displayTracebacks = bool(options["display-tracebacks"])
    factory = FastCGIFactory(
        site, limits=limitsFrom(options), authorizer=options["decides"]
    )
    if options["logfile"] is None:
        factory.loggingSite = None
    return factory
