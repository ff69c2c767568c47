# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The example that takes uploads while they arrive, and beside it, at C{/early}, a
resource that begins its response before it has taken the body.
"""

from __future__ import annotations

from typing import Any

import upload  # type: ignore[import-not-found]
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from twisted_fastcgi import IFastCGIRequest, IStreamingResource


@implementer(IStreamingResource)
class Early(Resource):
    """
    Begins its response too early.
    """

    isLeaf = True

    def render_PUT(self, request: Any) -> int:
        """
        Begin the response, and take the body then.
        """
        name = request.postpath[-1]
        upload.progress[name] = "0 bytes"
        request.write(b"begun\n")
        receiver = upload.Receiver(request, name)
        IFastCGIRequest(request).deliverBody(receiver)
        return NOT_DONE_YET


root = upload.root
root.putChild(b"early", Early())
