# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The contracts that cross modules.
"""

from __future__ import annotations

from collections.abc import Mapping

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

    def writeStderr(data: bytes) -> None:
        """
        Send C{data} to the web server's error log, on the STDERR stream
        (FastCGI 1.0, section 5.3).  Ignored when the request has ended.
        """
