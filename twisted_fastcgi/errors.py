# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What can go wrong on a FastCGI connection, and whose fault it is.
"""

from __future__ import annotations

ERROR_KINDS = (
    "not_fastcgi",
    "begin_request",
    "management",
    "unread_answers",
    "params_timeout",
    "params",
    "variables",
    "short_body",
    "other",
)
"""
What a web server can do wrong: sends a record that does not begin as one of
FastCGI 1.0; a BEGIN_REQUEST that can't be; management records that can't be
read; more of them than it reads answers; variables that stop coming; variables
that can't be read, or a body before their end; variables that say what can't be;
less of a body than was told.
"""


class FastCGIError(Exception):
    """
    The root of all errors that this package raises on purpose.
    """


class ProtocolError(FastCGIError):
    """
    One of the two sides did something that the protocol does not allow.
    """


class LocalProtocolError(ProtocolError):
    """
    The caller in this process asked for something that must not be sent now:
    a bug on our side of the connection.
    """


class RemoteProtocolError(ProtocolError):
    """
    The peer sent something that the protocol does not allow.

    @ivar kind: What kind of thing, one of L{ERROR_KINDS}.
    """

    def __init__(self, *args: object, kind: str = "other") -> None:
        """
        @param args: The message.
        @param kind: One of L{ERROR_KINDS}.
        """
        super().__init__(*args)
        self.kind = kind


class LimitExceeded(RemoteProtocolError):
    """
    The peer sent more than the L{limits
    <twisted_fastcgi.limits.Limits>} of this side allow.
    """


class BodyTooShort(RemoteProtocolError):
    """
    A request body ended before as much of it had come as was told: the client
    or the web server failed (RFC 3875, section 4.1.2).
    """
