# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind nginx with its own C{fastcgi_params}.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.interop.endtoend import EndToEnd
from tests.interop.servers import NGINX, NGINX_KEEPING, NGINX_STREAMING, NGINX_TCP


class NginxTests(EndToEnd, TestCase):
    """
    nginx as it comes, which waits for the end of the connection.
    """

    server = NGINX


class KeepingNginxTests(EndToEnd, TestCase):
    """
    nginx that keeps its connections to the application.
    """

    server = NGINX_KEEPING


class StreamingNginxTests(EndToEnd, TestCase):
    """
    nginx that passes on request bodies while they come.
    """

    server = NGINX_STREAMING


class TCPNginxTests(EndToEnd, TestCase):
    """
    nginx that does both, and reaches the application by TCP.
    """

    server = NGINX_TCP
