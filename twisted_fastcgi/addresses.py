# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Addresses as people write them: endpoint strings, C{host:port}, and paths.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    serverFromString,
)
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

_isHostAndPort = re.compile(
    r"(?!(?:tcp|ssl|tls|fd|systemd):)(\[[^]]*\]|[^:/\[\]]*):([0-9]+)"
).fullmatch
_isEndpoint = re.compile(r"[a-z][a-z0-9]*:").match


def clientEndpoint(reactor: Any, address: str) -> IStreamClientEndpoint:
    """
    Find out where an application is.

    @param reactor: Makes the connection.
    @param address: A client endpoint string, C{host:port} or the path of a
        Unix socket.
    @raise ValueError: If it is none of them.
    """
    hostAndPort = _isHostAndPort(address)
    if hostAndPort is not None:
        host, port = hostAndPort.groups()
        if host.startswith("["):
            return TCP6ClientEndpoint(reactor, host.strip("[]"), int(port))
        return HostnameEndpoint(reactor, host or "127.0.0.1", int(port))
    if _isEndpoint(address) is None:
        return UNIXClientEndpoint(reactor, address)
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, address)
        return endpoint
    except (ValueError, TypeError) as error:
        raise _badAddress(address, error) from error


def serverEndpoint(reactor: Any, address: str) -> IStreamServerEndpoint:
    """
    Find out where to listen.

    @param reactor: Listens.
    @param address: A server endpoint string, C{host:port} or the path of a
        Unix socket.
    @raise ValueError: If it is none of them.
    """
    hostAndPort = _isHostAndPort(address)
    if hostAndPort is not None:
        host, port = hostAndPort.groups()
        if host.startswith("["):
            return TCP6ServerEndpoint(reactor, int(port), interface=host.strip("[]"))
        host = {"": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host)
        return TCP4ServerEndpoint(reactor, int(port), interface=host)
    if _isEndpoint(address) is None:
        # With the lock, the socket of a killed process is no obstacle.
        return UNIXServerEndpoint(reactor, address, wantPID=True)
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, address)
        return endpoint
    except (ValueError, TypeError) as error:
        raise _badAddress(address, error) from error


def _badAddress(address: str, error: Exception) -> ValueError:
    """
    Make the error for what is no address.
    """
    return ValueError(
        f"{address!r} is no address ({error}): give a path, host:port, or an "
        "endpoint string such as unix:/tmp/app.sock or tcp:127.0.0.1:9000"
    )
