# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What real web servers have sent is served, however it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests import wire
from tests.tables import table
from tests.transports import ServerTestCase

#: Larger ones are not delivered byte by byte, for this would take too long.
_SMALL = 20000


def seams(sent: bytes) -> list[bytes]:
    """
    Cut bytes around the beginning and the end of each record: byte by byte
    there, and between them as they are.
    """
    places = {0, len(sent)}
    offset = 0
    while offset < len(sent):
        places.update(range(max(0, offset - 10), offset + 12))
        length = int.from_bytes(sent[offset + 4 : offset + 6], "big")
        offset += 8 + length + sent[offset + 6]
    places = {place for place in places if place <= len(sent)}
    return [sent[start:end] for start, end in pairwise(sorted(places))]


def ways(sent: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """
    Cut bytes in several ways.

    @return: What was done, and the pieces.
    """
    yield "at the seams of records", seams(sent)
    if len(sent) <= _SMALL:
        yield "byte by byte", wire.byteByByte(sent)
    for seed in range(4):
        yield f"randomCuts(..., {seed})", wire.randomCuts(sent, seed)


class ReplayTests(ServerTestCase):
    """
    Captures of what real web servers have sent are replayed.
    """

    def describe(self, request: Any) -> bytes:
        """
        Answer with something that tells requests apart.
        """
        application: Any = self.factory.site.resource
        method, uri, _, body, args = application.seen[-1]
        return b"%b %b %d %r" % (method, uri, len(body), args)

    def replay(self, pieces: list[bytes]) -> tuple[Any, ...]:
        """
        Have the server see something.

        @return: What it made of it, and what it answered.
        """
        application = self.serve(self.describe)
        transport = self.exchange(*pieces)
        closed = transport.writeDisconnecting or transport.disconnecting
        return application.seen, transport.value(), closed

    @table({name: (name, sent) for name, sent in wire.captures().items()})
    def test_cuts(self, name: str, sent: bytes) -> None:
        """
        A capture gives the same requests, with the same method, URI, headers,
        body and arguments, and the same bytes in answer to them, whether it
        arrives as a whole, byte by byte, or in any cuts; and nothing about it
        is logged, unless a request is rejected.
        """
        whole = self.replay([sent])
        # The client has left some of them, and the web server said nothing.
        self.assertEqual(whole[1] == b"", name.endswith("abort-upload"))
        for description, pieces in ways(sent):
            self.assertEqual(self.replay(pieces), whole, description)
        rejected = [
            answer
            for answer in wire.responses(whole[1])
            if answer.protocolStatus or answer.appStatus
        ]
        if not rejected:
            self.assertEqual(self.logged(), [])

    @table(
        {
            name: (name, method, uri, size, header)
            for name, method, uri, size, header in (
                ("nginx-get", b"GET", None, 0, b"Host"),
                ("nginx-head", b"HEAD", None, 0, b"Host"),
                ("nginx-postsmall", b"POST", None, 11, b"Content-Type"),
                ("nginx-post200k", b"POST", None, 204800, b"Content-Length"),
                ("nginx-stream-post200k", b"POST", None, 204800, b"Host"),
                ("lighttpd-post200k", b"POST", None, 204800, b"Host"),
                ("apache-post200k", b"POST", None, 204800, b"Host"),
                ("caddy-post200k", b"POST", None, 204800, b"Host"),
            )
        }
    )
    def test_known(
        self, name: str, method: bytes, uri: bytes | None, size: int, header: bytes
    ) -> None:
        """
        What is in a capture is known, and it is that.
        """
        seen, _, _ = self.replay([wire.captures()[name]])
        ((found, _, headers, body, _),) = seen
        self.assertEqual((found, len(body)), (method, size))
        self.assertIn(header, headers)
