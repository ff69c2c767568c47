# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A server under strain: a C{twist fastcgi} of its own, and a web server's side
of its connections that is as slow, rude and careless as is wanted.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from struct import unpack

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

#: Seconds until a server must serve, answer, or have ended.
PATIENCE = 60.0

STDOUT, STDERR, END_REQUEST = 6, 7, 3

_HEADER = 8


class Failed(Exception):
    """
    The server did not do what it should.
    """


@dataclass(frozen=True)
class Strained:
    """
    A server that runs.

    @ivar address: The path of its Unix socket.
    @ivar pid: Its process.
    """

    address: str
    pid: int
    _output: Path

    @property
    def log(self) -> str:
        """
        What it has logged.
        """
        return self._output.read_text(errors="replace")


@contextmanager
def running(folder: Path, *options: str, **environment: str) -> Iterator[Strained]:
    """
    Run a server until the end of the block; it must stop as it is told to.
    """
    path = folder / "socket"
    twist = [sys.executable, "-m", "twisted", "--log-format=text", "fastcgi"]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [*twist, "--port", f"unix:{path}", "--class", "strained.Root", *options],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Strained(str(path), process.pid, folder / "output")
    try:
        _awaitServer(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed("it does not stop") from None
    if process.returncode not in (0, -SIGTERM):
        raise Failed(f"it ended with {process.returncode}:\n{server.log[-2000:]}")


def _awaitServer(server: Strained, process: subprocess.Popen[bytes]) -> None:
    """
    Wait until it serves.
    """
    end = time.monotonic() + PATIENCE
    while "serving " not in server.log:
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"it does not start:\n{server.log[-2000:]}")
        time.sleep(0.02)


# What a web server sends


def record(type_: int, content: bytes = b"", requestId: int = 1) -> bytes:
    """
    Build a record.
    """
    head = bytes([1, type_]) + requestId.to_bytes(2, "big")
    return head + len(content).to_bytes(2, "big") + b"\0\0" + content


def pairs(variables: dict[bytes, bytes]) -> bytes:
    """
    Build name-value pairs, none of which is long.
    """
    return b"".join(
        bytes([len(name), len(value)]) + name + value
        for name, value in variables.items()
    )


def begin(path: str, *, keep: bool = True, length: int = 0) -> bytes:
    """
    Build all of a request before its body.

    @param length: The size of the body; a I{POST} if it is not 0.
    """
    variables = {
        b"REQUEST_METHOD": b"POST" if length else b"GET",
        b"REQUEST_URI": path.encode(),
        b"SCRIPT_NAME": path.encode(),
        b"QUERY_STRING": b"",
        b"CONTENT_TYPE": b"application/octet-stream" if length else b"",
        b"CONTENT_LENGTH": b"%d" % length if length else b"",
        b"SERVER_PROTOCOL": b"HTTP/1.1",
        b"SERVER_NAME": b"www.example.com",
        b"SERVER_PORT": b"80",
        b"REMOTE_ADDR": b"192.0.2.7",
        b"HTTP_HOST": b"www.example.com",
        b"HTTP_USER_AGENT": b"strain",
    }
    flags = bytes([0, 1, int(keep), 0, 0, 0, 0, 0])
    return record(1, flags) + record(4, pairs(variables)) + record(4)


def get(path: str, *, keep: bool = True) -> bytes:
    """
    Build a I{GET}.
    """
    return begin(path, keep=keep) + record(5)


def connect(server: Strained) -> socket.socket:
    """
    Connect.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(server.address)
    return connection


class Answer:
    """
    Reads what a server answers, record by record.

    @ivar received: How many bytes have come.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self.received = 0

    def _need(self, size: int) -> bytes:
        """
        Read so many bytes.

        @raise Failed: If the connection ends before.
        """
        while len(self._buffer) < size:
            data = self._connection.recv(1 << 18)
            if not data:
                raise Failed("the connection ended in the midst of an answer")
            self.received += len(data)
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def record(self) -> tuple[int, int, bytes]:
        """
        Read a record.

        @return: Its type, its request id and its content.
        """
        head = self._need(_HEADER)
        version, type_, requestId, length, padding = unpack("!BBHHBx", head)
        if version != 1:
            raise Failed(f"a record begins with {head!r}")
        content = self._need(length + padding)[:length]
        return type_, requestId, content

    def stdout(self) -> Iterator[bytes]:
        """
        Read the response to one request, piece by piece.

        @raise Failed: If the request does not end well.
        """
        while True:
            type_, _, content = self.record()
            if type_ == STDOUT:
                yield content
            elif type_ == END_REQUEST:
                if content[:5] != bytes(5):
                    raise Failed(f"END_REQUEST says {content!r}")
                return
            elif type_ != STDERR:
                raise Failed(f"a record of type {type_}")

    def whole(self) -> bytes:
        """
        Read a whole response.

        @return: Its body.
        """
        head, blank, body = b"".join(self.stdout()).partition(b"\r\n\r\n")
        if not blank or b"Status: 200" not in head:
            raise Failed(f"the header says {head[:200]!r}")
        return body


def ask(server: Strained, path: str) -> bytes:
    """
    Ask for a page.

    @return: The body of the answer.
    """
    with connect(server) as connection:
        connection.sendall(get(path, keep=False))
        return Answer(connection).whole()
