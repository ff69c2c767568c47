# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What C{--print-config} prints, run: the real command is asked, and the real web
server or process manager started with its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop import (
    test_apache,
    test_caddy,
    test_h2o,
    test_haproxy,
    test_lighttpd,
    test_nginx,
)
from tests.interop.servers import Running, WebServer, freePort, webServerFor
from tests.programs import PATIENCE, ROOT, SCRIPTS, output, program

#: How each web server is run, and what is replaced in what is printed for it:
#: where it listens, and the folder of files that all have.
SERVERS: Mapping[str, WebServer] = {
    "nginx": test_nginx.NginxTests.server,
    "lighttpd": test_lighttpd.LighttpdTests.server,
    "apache": test_apache.ApacheTests.server,
    "haproxy": test_haproxy.HAProxyTests.server,
    "caddy": test_caddy.CaddyTests.server,
    "h2o": test_h2o.H2OTests.server,
}

#: What recipes have in the place of the application's address.
_ADDRESSES = ("/run/app.sock", "127.0.0.1:9000")

RESOURCE = "--resource tests.interop.application.root"

#: What there is of a page in the beginning.
HELLO = b"Hello from the application.\n"

#: How large a body may be, where it is said.
LIMIT = 102400

_running: dict[str, Running] = {}


async def behind(options: str) -> Running:
    """
    Run the application with some options, in which C{@SOCKET@} and C{@TCP@} are
    where it may listen, if that is not yet done.
    """
    if options not in _running:
        running = Running()
        path, port = running.folder / "app.sock", freePort()
        running.values = {"SOCKET": str(path), "TCP": str(port)}
        command = f"{SCRIPTS}/twist fastcgi {RESOURCE} {filled(running, options)}"
        address = path if "@SOCKET@" in options else port
        await running.start(command.split(), address, PYTHONPATH=str(ROOT))
        _running[options] = running
    return _running[options]


def filled(running: Running, options: str) -> str:
    """
    Put the places where an application listens into options.
    """
    for name, value in running.values.items():
        options = options.replace(f"@{name}@", value)
    return options


async def printed(name: str, options: str) -> str:
    """
    Ask C{twist fastcgi} for a configuration.
    """
    command = f"{SCRIPTS}/twist fastcgi {RESOURCE} {options} --print-config {name}"
    return await deferToThread(output, command.split(), ROOT)


def ask(port: Any, path: str, body: bytes = b"", source: str = "127.0.0.1") -> Any:
    """
    Ask a web server, in a thread.

    @return: The status and the body of the answer.
    """
    connection = HTTPConnection(
        "127.0.0.1", port, timeout=PATIENCE, source_address=(source, 0)
    )
    headers = {"Host": f"www.example.com:{port}", "Connection": "close"}
    try:
        connection.request("POST" if body else "GET", path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class WebServerMixin:
    """
    Tests for one web server.

    @cvar name: What it is called on the command line.
    """

    name: str

    async def start(self: Any, options: str, more: str = "") -> None:
        """
        Start the web server as it is printed for an application, and that
        application.

        @param more: Options for what is printed alone.
        """
        server = SERVERS[self.name]
        program(server.program)
        running = await behind(options)
        text = await printed(self.name, f"{filled(running, options)} {more}")
        listens = {
            plain: template
            for plain, template in server.replaced.items()
            if plain not in _ADDRESSES
        }
        server = replace(server, text=text, replaced=listens)
        front = await webServerFor(server, running)
        self.addCleanup(front.stop)
        self.port = front.address

    async def ask(self: Any, path: str, *arguments: Any) -> Any:
        """
        Ask the web server.
        """
        return await deferToThread(ask, self.port, path, *arguments)

    async def test_unix(self: Any) -> None:
        """
        It reaches the application by its Unix socket.
        """
        await self.start("--port unix:@SOCKET@:mode=666")
        self.assertEqual(await self.ask("/"), (200, HELLO))
        self.assertEqual((await self.ask("/echo", b"x" * 10000))[0], 200)

    async def test_tcp(self: Any) -> None:
        """
        It reaches the application by TCP.
        """
        await self.start("--port tcp:@TCP@:interface=127.0.0.1")
        self.assertEqual(await self.ask("/"), (200, HELLO))
        self.assertEqual((await self.ask("/echo", b"x" * 10000))[0], 200)

    async def test_mount(self: Any) -> None:
        """
        It passes on what is below the place of the application, and nothing else.
        """
        await self.start("--port unix:@SOCKET@:mode=666 --mount /app")
        self.assertEqual(await self.ask("/app/"), (200, HELLO))
        self.assertEqual((await self.ask("/app/echo"))[0], 200)
        status, body = await self.ask("/apple")
        self.assertEqual(status, 404)
        self.assertNotIn(b"/apple/", body)

    async def test_scriptName(self: Any) -> None:
        """
        It says where the application is.
        """
        await self.start("--port unix:@SOCKET@:mode=666 --mount script-name")
        # h2o can't say it.
        prefix = "" if self.name == "h2o" else "/app"
        self.assertEqual(await self.ask(f"{prefix}/"), (200, HELLO))
        self.assertEqual((await self.ask(f"{prefix}/echo"))[0], 200)

    async def test_limit(self: Any) -> None:
        """
        It refuses bodies that the application would refuse, and no others.
        """
        limit = f"--max-body-bytes {LIMIT}"
        # The application itself takes anything here.
        await self.start("--port unix:@SOCKET@:mode=666", limit)
        self.assertEqual((await self.ask("/echo", b"x" * LIMIT))[0], 200)
        self.assertEqual((await self.ask("/echo", b"x" * (LIMIT + 1025)))[0], 413)


class NginxTests(WebServerMixin, TestCase):
    """
    nginx.
    """

    name = "nginx"


class LighttpdTests(WebServerMixin, TestCase):
    """
    lighttpd.
    """

    name = "lighttpd"


class ApacheTests(WebServerMixin, TestCase):
    """
    Apache.
    """

    name = "apache"


class HAProxyTests(WebServerMixin, TestCase):
    """
    HAProxy.
    """

    name = "haproxy"


class CaddyTests(WebServerMixin, TestCase):
    """
    Caddy.
    """

    name = "caddy"


class H2OTests(WebServerMixin, TestCase):
    """
    h2o.
    """

    name = "h2o"
