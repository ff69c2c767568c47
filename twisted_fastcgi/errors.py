# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What can go wrong on a FastCGI connection, and whose fault it is.
"""

from __future__ import annotations


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
    """


class LimitExceeded(RemoteProtocolError):
    """
    The peer sent more than the L{limits
    <twisted_fastcgi.connection.Limits>} of this side allow.
    """


class BodyTooShort(RemoteProtocolError):
    """
    A request body ended before as much of it had come as was told: the client
    or the web server failed (RFC 3875, section 4.1.2).
    """
