# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Programs that tests run as a user would: servers as processes of their own, and
a web server that asks them one question.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from signal import SIGTERM
from threading import Timer
from unittest import SkipTest
from urllib.request import ProxyHandler, build_opener

from twisted_fastcgi.connection import RequestEnded, StreamReceived, WebServerConnection
from twisted_fastcgi.records import RecordType, Role

ROOT = Path(__file__).resolve().parent.parent

#: Seconds after which a program that hangs is killed, so that its test fails.
PATIENCE = 60.0

#: How a server may end that was told to by SIGTERM.
STOPPED = (0, -SIGTERM, 128 + SIGTERM)

#: Where the command C{twist} of this Python is.
SCRIPTS = Path(sysconfig.get_path("scripts"))


def environment(**changes: str) -> dict[str, str]:
    """
    Make an environment for a program: like that of the tests, but without what
    would tell a Python where to find modules.
    """
    dropped = {"PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, **changes}


def ran(
    command: Sequence[object], cwd: Path | str = "/", **changes: str
) -> subprocess.CompletedProcess[str]:
    """
    Run a program to its end, whatever that is.

    @param changes: Variables of its environment.
    @return: What it has written to its standard output and error, as the
        former, and its exit status.
    """
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )


def output(command: Sequence[object], cwd: Path | str = "/", **changes: str) -> str:
    """
    Run a program to its end.

    @return: What it has written to its standard output and error.
    @raise AssertionError: If it fails.
    """
    done = ran(command, cwd, **changes)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}"
    return done.stdout


@contextmanager
def serving(
    command: Sequence[object],
    cwd: Path | str = "/",
    ready: str = "serving ",
    **changes: str,
) -> Iterator[list[str]]:
    """
    Run a server, C{twist fastcgi} if nothing else is said, until the end of the
    block; then it must stop as it is told to.

    @param ready: What the line of its log contains that says that it serves.
    @param changes: Variables of its environment.
    @return: The lines of its log until then; all of them after the block.
    @raise AssertionError: If the server ends too early or does not end well.
    """
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = Timer(PATIENCE, process.kill)
    watchdog.start()
    log: list[str] = []
    with process, process.stdout as lines:
        try:
            log.extend(until(ready, lines))
            assert ready in "".join(log), f"{command} ended early:\n{''.join(log)}"
            yield log
        finally:
            process.terminate()
            log.extend(lines)
            watchdog.cancel()
    assert process.returncode in STOPPED, f"{command} crashed:\n{''.join(log)}"


def until(word: str, lines: Iterable[str]) -> Iterator[str]:
    """
    Read lines up to the first one that contains a word.
    """
    for line in lines:
        yield line
        if word in line:
            return


def ask(path: str, role: int = Role.RESPONDER, **changes: str) -> bytes:
    """
    Send one request to a Unix socket, as a web server does that wants the
    connection closed after the answer.

    @param path: Where the socket is.
    @param role: As what the server is asked.
    @param changes: Variables beside those of a plain I{GET} of C{/}.
    @return: The answer, head and body, of a request that ended well.
    """
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/",
        "SCRIPT_NAME": "/",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        **changes,
    }
    webServer = WebServerConnection()
    question = [
        webServer.beginRequest(role, keepConnection=False),
        *webServer.sendParams((k.encode(), v.encode()) for k, v in variables.items()),
        # An Authorizer gets no body.
        *([webServer.endStdin()] if role == Role.RESPONDER else []),
    ]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(b"".join(question))
        while data := connection.recv(65536):
            webServer.receiveData(data)
    answer = b""
    ended = None
    while event := webServer.nextEvent():
        if isinstance(event, StreamReceived) and event.stream == RecordType.STDOUT:
            answer += event.data
        elif isinstance(event, RequestEnded):
            ended = event
    assert ended == RequestEnded(1, 0, 0), f"the request ended with {ended}: {answer!r}"
    return answer


def fetch(url: str) -> bytes:
    """
    Ask an HTTP server on this machine, whatever proxy the environment names.

    @return: The body of its answer, which has to be 200.
    """
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
        assert answer.status == 200, answer.status
        body: bytes = answer.read()
    return body


def program(name: str) -> str:
    """
    Find an outside program.

    @return: Its path.
    @raise SkipTest: If it is missing, except in CI, where it must not be.
    """
    path = which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        raise _missing(name)
    return path


def installed(path: str) -> None:
    """
    Make sure that there is a file of an outside program.

    @raise SkipTest: If it is missing, except in CI, where it must not be.
    """
    if not Path(path).exists():
        raise _missing(path)


def _missing(what: str) -> Exception:
    """
    Make the exception for something that is missing.
    """
    if os.environ.get("CI"):
        return AssertionError(f"{what} is missing: .ci/run has to install it")
    return SkipTest(f"{what} is not installed")
