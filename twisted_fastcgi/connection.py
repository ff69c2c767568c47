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

# "X as X" exports a name; ruff would have a statement for each.
# ruff: noqa: I001

from __future__ import annotations

from twisted_fastcgi.applicationconnection import (
    ApplicationConnection as ApplicationConnection,
)
from twisted_fastcgi.events import (
    ApplicationEvent as ApplicationEvent,
    ManagementReceived as ManagementReceived,
    Pairs as Pairs,
    RequestAborted as RequestAborted,
    RequestEnded as RequestEnded,
    RequestReceived as RequestReceived,
    RequestRejected as RequestRejected,
    StreamEnded as StreamEnded,
    StreamReceived as StreamReceived,
    TypeUnknown as TypeUnknown,
    ValuesReceived as ValuesReceived,
    WebServerEvent as WebServerEvent,
    WholeRequestReceived as WholeRequestReceived,
)
from twisted_fastcgi.limits import Limits as Limits
from twisted_fastcgi.states import (
    INPUT_ACTIONS as INPUT_ACTIONS,
    INPUT_ORDER as INPUT_ORDER,
    Action as Action,
    InputState as InputState,
    OutputState as OutputState,
)
from twisted_fastcgi.webserverconnection import (
    WebServerConnection as WebServerConnection,
)
