# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Files that the web server sends itself, when the application says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_from_bytes

from twisted.python.filepath import FilePath
from twisted.web.iweb import IRequest
from twisted.web.static import File, Registry, getTypeAndEncoding

from twisted_fastcgi.interfaces import IFastCGIRequest

#: The variable by which a web server tells that it sends files.
VARIABLE = b"SENDFILE_TYPE"

_ACCEL = b"x-accel-redirect"

#: What it may say.
_HEADERS = frozenset((_ACCEL, b"x-sendfile", b"x-lighttpd-send-file"))

# What Apache can be told as it is: no white space that could get lost, and no
# percent sign, which some versions of mod_xsendfile decode.
_isVerbatim = re.compile(rb"[ -$&-~\x80-\xff]*[!-$&-~\x80-\xff]").fullmatch


class AcceleratedFile(File):
    """
    A file, or a folder of files, that the web server sends itself if it can:
    the response tells no more than where the file is, and the web server sees
    to ranges and conditions.

    It does so for requests that came over FastCGI with a variable
    SENDFILE_TYPE, which names the header field that the web server
    understands: C{X-Accel-Redirect} (nginx), C{X-Sendfile} (lighttpd, Apache
    with mod_xsendfile) or C{X-LIGHTTPD-send-file} (old versions of lighttpd).
    A client can't send such a variable.  In all other cases it is a
    L{File<twisted.web.static.File>}, and it is one in all that it does beside
    sending files: looking for them, telling their media types, listing
    folders, running scripts.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        defaultType: str = "text/html",
        ignoredExts: Sequence[str] = (),
        registry: Registry | None = None,
        *,
        location: str | None = None,
    ) -> None:
        """
        @param path: The file or folder.
        @param defaultType: The media type of files of which none is known.
        @param ignoredExts: See L{File<twisted.web.static.File>}.
        @param registry: See L{File<twisted.web.static.File>}.
        @param location: What C{path} is called within nginx: the path of an
            internal location, such as C{/files/}, whose C{alias} or C{root} is
            that same file or folder.  Without it there is no
            C{X-Accel-Redirect}.
        @raise ValueError: If C{location} is not a path that begins with a
            slash.
        """
        super().__init__(os.fspath(path), defaultType, ignoredExts, registry)
        if location is not None and not location.startswith("/"):
            raise ValueError(
                "location must be the path of a location in nginx, which starts "
                f"with /: {location!r}"
            )
        self._location = location
        self._top: Any = FilePath(self.path)

    def createSimilarFile(self, path: Any) -> Any:
        """
        Make the resource for a file or folder within this one.

        @param path: Its path.
        @return: The resource.
        """
        similar: Any = super().createSimilarFile(path)
        similar._location = self._location
        similar._top = self._top
        return similar

    def render_GET(self, request: Any) -> Any:
        """
        Let the web server send the file, or send it.

        @param request: The request.
        @return: What a resource returns.
        """
        self.restat(False)
        mediaType, encoding = getTypeAndEncoding(
            self.basename(), self.contentTypes, self.contentEncodings, self.defaultType
        )
        kind, isApache = self._wanted(request)
        # nginx forgets the Content-Encoding of such a response.
        isPlain = kind and not encoding and self.isfile()
        value = self._where(kind, isApache) if isPlain else None
        if value is None:
            return super().render_GET(request)
        request.setHeader(b"content-type", (self.type or mediaType).encode("latin-1"))
        request.setHeader(kind, value)
        return b""

    render_HEAD = render_GET

    def _wanted(self, request: IRequest) -> tuple[bytes, bool]:
        """
        Tell which header field the web server wants, nothing if none, and
        whether that is Apache.
        """
        fcgi = IFastCGIRequest(request, None)
        params = {} if fcgi is None else fcgi.params
        wanted = params.get(VARIABLE, b"").lower()
        isApache = params.get(b"SERVER_SOFTWARE", b"").startswith(b"Apache")
        return wanted if wanted in _HEADERS else b"", isApache

    def _where(self, kind: bytes, isApache: bool) -> bytes | None:
        """
        Tell the web server where the file is: nginx wants a URI, lighttpd a
        path in the same encoding, Apache one as it is.

        @return: What the header field says, with nothing in it that could mean
            something else there; L{None} if that can't be said.
        """
        path = os.fsencode(self.path)
        try:
            isTop = self.path == self._top.path
            segments = [] if isTop else self.segmentsFrom(self._top)
            # lighttpd refuses paths that are something else.
            path.decode("utf-8")
        except ValueError:
            return None
        if kind == _ACCEL:
            if self._location is None:
                return None
            place = self._location.rstrip("/") if segments else self._location
            path = b"/".join(map(os.fsencode, (place, *segments)))
        elif isApache:
            return path if _isVerbatim(path) else None
        return quote_from_bytes(path).encode("ascii")
