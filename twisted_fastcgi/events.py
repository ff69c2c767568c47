# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What happens on a connection, as each of its two sides sees it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

Pairs = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class RequestReceived:
    """
    A request has begun and its variables are complete.

    @ivar requestId: The request id.
    @ivar role: The role that the web server asks for.
    @ivar params: The variables in the order in which they came, repeated ones
        included.
    """

    requestId: int
    role: int
    params: Pairs

    @property
    def variables(self) -> dict[bytes, bytes]:
        """
        The variables by their names, of repeated ones the last, made anew.
        """
        return dict(self.params)


@dataclass(slots=True)
class WholeRequestReceived:
    """
    A request has arrived as a whole: it stands for a L{RequestReceived}, for a
    L{StreamReceived} if it has a body, and for a L{StreamEnded}.

    @ivar requestId: The request id.
    @ivar role: The role that the web server asks for.
    @ivar params: The variables in the order in which they came, repeated ones
        included.
    @ivar variables: The same by their names, of repeated ones the last.
    @ivar body: All of its STDIN.
    """

    requestId: int
    role: int
    params: Collection[tuple[bytes, bytes]]
    variables: dict[bytes, bytes]
    body: bytes


@dataclass(slots=True)
class StreamReceived:
    """
    A piece of a stream of the request in hand has arrived.

    @ivar stream: The type of the stream's records.
    @ivar data: The piece, at least one byte.
    """

    stream: int
    data: bytes


@dataclass(slots=True)
class StreamEnded:
    """
    A stream of the request in hand has ended.

    @ivar stream: The type of the stream's records.
    """

    stream: int


@dataclass(slots=True)
class RequestAborted:
    """
    The web server wants no answer any more.

    @ivar requestId: The request id, which is inactive from now on.
    @ivar data: The answer, to be sent now.
    """

    requestId: int
    data: bytes


@dataclass(slots=True)
class RequestRejected:
    """
    A request was answered by the protocol itself.

    @ivar requestId: The request id; never that of a request for which
        L{RequestReceived} was given.
    @ivar reason: Why, for the log.
    @ivar data: The answer, to be sent now.
    @ivar protocolStatus: What END_REQUEST says in it, a L{ProtocolStatus
        <twisted_fastcgi.records.ProtocolStatus>}.
    @ivar status: The status code of HTTP in it.
    """

    requestId: int
    reason: str
    data: bytes
    protocolStatus: int
    status: int


@dataclass(slots=True)
class ManagementReceived:
    """
    A management record has arrived.

    @ivar type: Its type.
    @ivar data: The answer, to be sent now.
    """

    type: int
    data: bytes


ApplicationEvent = (
    RequestReceived
    | StreamReceived
    | StreamEnded
    | RequestAborted
    | RequestRejected
    | ManagementReceived
)


@dataclass(slots=True)
class RequestEnded:
    """
    The application has ended the request.

    @ivar requestId: The request id, which is inactive from now on.
    @ivar appStatus: The application status.
    @ivar protocolStatus: The protocol status, a L{ProtocolStatus
        <twisted_fastcgi.records.ProtocolStatus>} if it is a known one.
    """

    requestId: int
    appStatus: int
    protocolStatus: int


@dataclass(slots=True)
class ValuesReceived:
    """
    The application has answered GET_VALUES.

    @ivar values: What it told.
    """

    values: dict[bytes, bytes]


@dataclass(slots=True)
class TypeUnknown:
    """
    The application did not understand a management record.

    @ivar type: The type of that record.
    """

    type: int


WebServerEvent = (
    StreamReceived | StreamEnded | RequestEnded | ValuesReceived | TypeUnknown
)
