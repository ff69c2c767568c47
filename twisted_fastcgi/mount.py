# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Where in the path an application begins.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from twisted.web.iweb import IRequest
from twisted.web.pages import notFound
from twisted.web.resource import IResource
from zope.interface import alsoProvides, implementer

from twisted_fastcgi import cgi
from twisted_fastcgi.interfaces import (
    IAuthorizer,
    IFastCGIRequest,
    IFilterResource,
)

#: The application gets the whole path.
ROOT = "/"

#: The application begins where SCRIPT_NAME ends.
SCRIPT_NAME = "script-name"


def mounted(resource: IResource, mount: str) -> IResource:
    """
    Let an application begin at a place in the path: what comes before is moved
    to C{request.prepath}, so that the URLs which the application makes are
    right, and C{request.postpath} starts with what comes after.

    @param resource: The application's root.
    @param mount: C{"/"} for the whole path; a path such as C{"/app"};
        C{"script-name"} for web servers that set SCRIPT_NAME to the place
        where the application is (RFC 3875, section 4.1.13).
    @return: What to use as the root of a site.
    @raise ValueError: If C{mount} is none of these.
    """
    if mount == SCRIPT_NAME:
        return _mount(resource, None)
    if not mount.startswith("/"):
        raise ValueError(
            f"mount must be a path that starts with /, or {SCRIPT_NAME}: {mount!r}"
        )
    prefix = [unquote_to_bytes(part) for part in mount.split("/") if part]
    return _mount(resource, prefix) if prefix else resource


def _mount(resource: IResource, prefix: list[bytes] | None) -> IResource:
    """
    Make the root, which plays the roles that the application plays.
    """
    root = _Mounted(resource, prefix)
    for role in (IAuthorizer, IFilterResource):
        if role.providedBy(resource):
            alsoProvides(root, role)
    return root


@implementer(IResource)
class _Mounted:
    """
    The root of a site whose application begins further down the path.

    @ivar _resource: The application's root.
    @ivar _prefix: The segments before it; L{None} for those of SCRIPT_NAME.
    """

    isLeaf = False

    def __init__(self, resource: IResource, prefix: list[bytes] | None) -> None:
        self._resource = resource
        self._prefix = prefix

    def getChildWithDefault(self, name: bytes, request: IRequest) -> IResource:
        """
        Move the prefix from C{postpath} to C{prepath}.

        @param name: The first segment of the path, moved already.
        @param request: The request.
        @return: The application's root, or a page that says 404.
        """
        prefix = self._prefixOf(request)
        request.postpath.insert(0, request.prepath.pop())
        if request.postpath[: len(prefix)] != prefix:
            return notFound(message="The application is not at this place.")
        del request.postpath[: len(prefix)]
        request.prepath += prefix
        return self._resource

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Add a child to the application's root.

        @param path: The segment of the path that leads to it.
        @param child: The child.
        """
        self._resource.putChild(path, child)

    def render(self, request: IRequest) -> bytes:
        """
        Never called, because every path has a first segment: what C{OPTIONS *}
        would get.

        @param request: The request.
        @return: What the application's root answers.
        """
        body: bytes = self._resource.render(request)
        return body

    def _prefixOf(self, request: IRequest) -> list[bytes]:
        """
        Tell the segments before the application.
        """
        if self._prefix is not None:
            return self._prefix
        # Over HTTP there is no SCRIPT_NAME, and nothing to be moved.
        fcgi = IFastCGIRequest(request, None)
        return [] if fcgi is None else cgi.scriptSegments(fcgi.params)
