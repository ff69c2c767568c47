# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The smallest page, over WSGI, served by flup: a thread for each request.
"""

from __future__ import annotations

import sys

import apps
from flup.server.fcgi import WSGIServer

if __name__ == "__main__":
    kind, _, where = sys.argv[1].partition(":")
    address = where if kind == "unix" else ("127.0.0.1", int(where))
    # With as few threads as it has by default, it may leave one of several
    # connections that come at once unserved.
    threads = {"minSpare": 16, "maxSpare": 32}
    WSGIServer(apps.wsgi, bindAddress=address, **threads).run()
