# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The smallest page, over ASGI.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]


async def hello(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """
    Answer a request.
    """
    assert scope["type"] == "http"
    start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
    await send(start)
    await send({"type": "http.response.body", "body": b"hello"})
