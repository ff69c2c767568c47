# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What Twisted finds of this package: the command C{fastcgi} of C{twistd} and
C{twist}, and the endpoints C{fcgi:}, C{fcgi-tcp:} and C{fcgi-unix:}.

Programs that only look for plugins load this module too; so it imports neither
a reactor nor twisted.web.
"""

from __future__ import annotations

from twisted.application.service import ServiceMaker

from twisted_fastcgi.endpoints import InheritedEndpointParser, TCPEndpointParser
from twisted_fastcgi.unixsocket import UnixEndpointParser

fastcgi = ServiceMaker(
    "twisted_fastcgi",
    "twisted_fastcgi.tap",
    "Serve a Twisted Web or WSGI application to a web server over FastCGI.",
    "fastcgi",
)

inheritedEndpointParser = InheritedEndpointParser()

tcpEndpointParser = TCPEndpointParser()

unixEndpointParser = UnixEndpointParser()
