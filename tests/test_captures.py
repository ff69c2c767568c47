# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What real web servers have sent, through L{ApplicationConnection}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests import wire
from tests.tables import TableTestCase, table
from twisted_fastcgi.connection import (
    ApplicationConnection,
    InputState,
    RequestAborted,
    RequestReceived,
    RequestRejected,
    StreamEnded,
    StreamReceived,
)

#: On these more than one request was in hand at a time.
_MULTIPLEXED = {"haproxy-abandoned-then-reused-conn", "haproxy-multiplexed-ids1-3-5-7"}

_CAPTURES = wire.captures()


def answered(pieces: Iterable[bytes]) -> list[Any]:
    """
    Feed an application that answers each request when it is complete.
    """
    machine = ApplicationConnection(roles=(wire.RESPONDER, wire.AUTHORIZER))
    events: list[Any] = []
    for piece in pieces:
        machine.receiveData(piece)
        for event in iter(machine.nextEvent, None):
            events.append(event)
            if machine.inputState is InputState.ENDED:
                machine.endRequest()
    return wire.merged(events)


def told(sent: bytes) -> list[Any]:
    """
    Say which events bytes have, from their records alone, if each request
    comes after the one before it.
    """
    events: list[Any] = []
    pairs, role = b"", 0
    for type_, requestId, content in wire.records(sent):
        if type_ == wire.BEGIN_REQUEST:
            pairs, role = b"", content[1]
        elif type_ == wire.PARAMS and not content:
            events.append(RequestReceived(requestId, role, wire.readPairs(pairs)))
        elif type_ == wire.PARAMS:
            pairs += content
        elif type_ == wire.STDIN and role != wire.AUTHORIZER:
            end = StreamEnded(wire.STDIN)
            events.append(StreamReceived(wire.STDIN, content) if content else end)
        elif type_ == wire.ABORT_REQUEST:
            ending = wire.record(
                wire.END_REQUEST, requestId, b"\0\0\0\1" + bytes(4), padding=0
            )
            events.append(RequestAborted(requestId, ending))
    return wire.merged(events)


class CaptureTests(TableTestCase):
    """
    Bytes of nginx, Apache, Caddy, HAProxy and lighttpd.
    """

    def test_all(self) -> None:
        """
        There are captures of each web server, small and large, of Authorizers,
        of uploads that stop in the middle, of kept and of closing connections.
        """
        for part in (
            "nginx apache caddy haproxy lighttpd get post200k "
            "authorizer abort-upload keep ids1-3-5-7"
        ).split():
            self.assertTrue([name for name in _CAPTURES if part in name], part)
        sizes = [len(sent) for sent in _CAPTURES.values()]
        self.assertTrue(min(sizes) < 500 and max(sizes) > 200000)

    @table({name: (name,) for name in sorted(_CAPTURES)})
    def test_cuts(self, name: str) -> None:
        """
        Each gives the events that its records have, whichever pieces they come
        in.
        """
        expected = told(_CAPTURES[name])
        for how, pieces in wire.cuts(_CAPTURES[name]):
            self.assertTrue(answered(pieces) == expected, how)

    def test_byteByByte(self) -> None:
        """
        The same holds for a large one that comes byte by byte.
        """
        sent = _CAPTURES["caddy-abort-upload"]
        self.assertTrue(answered(wire.byteByByte(sent)) == told(sent))

    @table({name: (name,) for name in sorted(_MULTIPLEXED)})
    def test_multiplexed(self, name: str) -> None:
        """
        Of requests that come while another is in hand, each is refused with
        its own id, and the first one is not disturbed.
        """
        sent = _CAPTURES[name]
        begun = [each[1] for each in wire.records(sent) if each[0] == 1]
        for how, pieces in wire.cuts(sent):
            machine = ApplicationConnection()
            first, end, *others = wire.feed(machine, pieces)
            self.assertIsInstance(first, RequestReceived)
            self.assertEqual((first.requestId, end), (1, StreamEnded(wire.STDIN)), how)
            for event, requestId in zip(others, begun[1:], strict=True):
                self.assertIsInstance(event, RequestRejected)
                answer = wire.response(event.data)
                self.assertEqual(answer.requestId, requestId, how)
                self.assertEqual(answer.protocolStatus, wire.CANT_MPX_CONN)
            self.assertEqual(wire.response(machine.endRequest()).requestId, 1)
            self.assertTrue(machine.inputPending)
