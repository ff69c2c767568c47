# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
FastCGI for Twisted: serve Twisted Web applications behind a web server.

The public names are imported when they are first asked for: Twisted loads
this package whenever it looks for plugins, in programs that want nothing of
FastCGI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from twisted_fastcgi._version import __version__

if TYPE_CHECKING:
    from twisted_fastcgi.accelerated import AcceleratedFile
    from twisted_fastcgi.accesslog import jsonLogFormatter
    from twisted_fastcgi.applicationconnection import ApplicationConnection
    from twisted_fastcgi.authorizer import (
        Allow,
        AuthorizerResource,
        Deny,
        PortalAuthorizer,
    )
    from twisted_fastcgi.cancelling import cancelOnDisconnect
    from twisted_fastcgi.channel import RequestChannel
    from twisted_fastcgi.client import FastCGIAgent
    from twisted_fastcgi.errors import (
        BodyTooShort,
        FastCGIError,
        LimitExceeded,
        LocalProtocolError,
        ProtocolError,
        RemoteProtocolError,
    )
    from twisted_fastcgi.exchange import (
        CantMultiplex,
        Overloaded,
        RequestRefused,
        UnknownRole,
    )
    from twisted_fastcgi.figures import Statistics
    from twisted_fastcgi.interfaces import (
        IAuthorizer,
        IFastCGIRequest,
        IFilterResource,
        IStreamingResource,
    )
    from twisted_fastcgi.limits import Limits
    from twisted_fastcgi.pool import AgentClosed
    from twisted_fastcgi.proxy import FastCGIProxyResource
    from twisted_fastcgi.request import FastCGIRequest
    from twisted_fastcgi.server import FastCGIFactory, FastCGIProtocol
    from twisted_fastcgi.service import FastCGIService
    from twisted_fastcgi.status import StatusResource
    from twisted_fastcgi.webserverconnection import WebServerConnection
    from twisted_fastcgi.wsgi import FastCGIWSGIResource

__all__ = [
    "AcceleratedFile",
    "AgentClosed",
    "Allow",
    "ApplicationConnection",
    "AuthorizerResource",
    "BodyTooShort",
    "CantMultiplex",
    "Deny",
    "FastCGIAgent",
    "FastCGIError",
    "FastCGIFactory",
    "FastCGIProtocol",
    "FastCGIProxyResource",
    "FastCGIRequest",
    "FastCGIService",
    "FastCGIWSGIResource",
    "IAuthorizer",
    "IFastCGIRequest",
    "IFilterResource",
    "IStreamingResource",
    "LimitExceeded",
    "Limits",
    "LocalProtocolError",
    "Overloaded",
    "PortalAuthorizer",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestChannel",
    "RequestRefused",
    "Statistics",
    "StatusResource",
    "UnknownRole",
    "WebServerConnection",
    "__version__",
    "cancelOnDisconnect",
    "jsonLogFormatter",
]

_homes = {
    "AcceleratedFile": "accelerated",
    "AgentClosed": "pool",
    "Allow": "authorizer",
    "ApplicationConnection": "applicationconnection",
    "AuthorizerResource": "authorizer",
    "BodyTooShort": "errors",
    "CantMultiplex": "exchange",
    "Deny": "authorizer",
    "FastCGIAgent": "client",
    "FastCGIError": "errors",
    "FastCGIFactory": "server",
    "FastCGIProtocol": "server",
    "FastCGIProxyResource": "proxy",
    "FastCGIRequest": "request",
    "FastCGIService": "service",
    "FastCGIWSGIResource": "wsgi",
    "IAuthorizer": "interfaces",
    "IFastCGIRequest": "interfaces",
    "IFilterResource": "interfaces",
    "IStreamingResource": "interfaces",
    "LimitExceeded": "errors",
    "Limits": "limits",
    "LocalProtocolError": "errors",
    "Overloaded": "exchange",
    "PortalAuthorizer": "authorizer",
    "ProtocolError": "errors",
    "RemoteProtocolError": "errors",
    "RequestChannel": "channel",
    "RequestRefused": "exchange",
    "Statistics": "figures",
    "StatusResource": "status",
    "UnknownRole": "exchange",
    "WebServerConnection": "webserverconnection",
    "cancelOnDisconnect": "cancelling",
    "jsonLogFormatter": "accesslog",
}

if not TYPE_CHECKING:  # A type checker shall complain of names that are not there.

    def __getattr__(name: str) -> object:
        """
        Import a public name from the module where it lives.
        """
        if name not in _homes:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{__name__}.{_homes[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """
    List the public names, imported or not.
    """
    return sorted({*globals(), *__all__})
