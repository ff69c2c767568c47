# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The smallest page, served by fcgiproto on asyncio.
"""

from __future__ import annotations

import asyncio
import sys

from fcgiproto import FastCGIConnection, RequestBeginEvent, RequestDataEvent


class Hello(asyncio.Protocol):
    """
    Answers a request when its body has ended.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        """
        Get ready.
        """
        self._transport = transport
        self._connection = FastCGIConnection()

    def data_received(self, data: bytes) -> None:
        """
        Answer what has come.
        """
        for event in self._connection.feed_data(data):
            if isinstance(event, RequestBeginEvent):
                self._keep = event.keep_connection
            elif isinstance(event, RequestDataEvent) and not event.data:
                self._answer(event.request_id)
        self._transport.write(self._connection.data_to_send())

    def _answer(self, requestId: int) -> None:
        headers = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"5")]
        self._connection.send_headers(requestId, headers, status=200)
        self._connection.send_data(requestId, b"hello", end_request=True)


async def main(address: str) -> None:
    """
    Serve until the end.

    @param address: C{unix:PATH} or C{tcp:PORT}.
    """
    loop = asyncio.get_running_loop()
    kind, _, where = address.partition(":")
    if kind == "unix":
        server = await loop.create_unix_server(Hello, where)
    else:
        server = await loop.create_server(Hello, "127.0.0.1", int(where))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
