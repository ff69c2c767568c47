# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The least that any server in Twisted's reactor does for a request: find its end,
and write the same bytes every time.
"""

from __future__ import annotations

import struct
import sys

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol


def record(kind: int, content: bytes) -> bytes:
    """
    Make a record of request 1.
    """
    return struct.pack("!BBHHxx", 1, kind, 1, len(content)) + content


END_OF_STDIN = record(5, b"")
HEAD = b"Content-Type: text/plain\r\nContent-Length: 5\r\nStatus: 200 OK\r\n\r\n"
ANSWER = record(6, HEAD + b"hello") + record(6, b"") + record(3, bytes(8))


class Canned(Protocol):
    """
    Answers every request the same.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Look for the end of a request: none of these comes in pieces.
        """
        if data.endswith(END_OF_STDIN):
            self.transport.write(ANSWER)


if __name__ == "__main__":
    serverFromString(reactor, sys.argv[1]).listen(Factory.forProtocol(Canned))
    reactor.run()
