# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The two sides of a FastCGI connection without any I/O.

L{ApplicationConnection} is the side of the application, L{WebServerConnection}
its mirror.  Both are fed with the bytes that were received and pulled for
events; every method that sends something returns the bytes to be sent, and an
event that is answered by the protocol itself has the answer as its C{data}.

One request at a time: what a record of the request in hand means is told by
two tables, L{INPUT_ACTIONS} and L{INPUT_ORDER}.
"""

from __future__ import annotations

from twisted_fastcgi.applicationconnection import ApplicationConnection
from twisted_fastcgi.events import (
    ApplicationEvent,
    ManagementReceived,
    Pairs,
    RequestAborted,
    RequestEnded,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
    TypeUnknown,
    ValuesReceived,
    WebServerEvent,
    WholeRequestReceived,
)
from twisted_fastcgi.limits import Limits
from twisted_fastcgi.states import (
    INPUT_ACTIONS,
    INPUT_ORDER,
    Action,
    InputState,
    OutputState,
)
from twisted_fastcgi.webserverconnection import WebServerConnection

__all__ = [
    "INPUT_ACTIONS",
    "INPUT_ORDER",
    "Action",
    "ApplicationConnection",
    "ApplicationEvent",
    "InputState",
    "Limits",
    "ManagementReceived",
    "OutputState",
    "Pairs",
    "RequestAborted",
    "RequestEnded",
    "RequestReceived",
    "RequestRejected",
    "StreamEnded",
    "StreamReceived",
    "TypeUnknown",
    "ValuesReceived",
    "WebServerConnection",
    "WebServerEvent",
    "WholeRequestReceived",
]
