# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What both sides of a gateway know of header fields.
"""

from __future__ import annotations

#: Header fields (lower case) that describe one hop or the message framing:
#: they never go from one side of a gateway to the other (RFC 9110, section
#: 7.6.1).
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
