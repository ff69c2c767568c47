# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What C{--print-config} prints, run: the real command is asked, and the real web
server or process manager started with its answer.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.interop import (
    test_apache,
    test_caddy,
    test_h2o,
    test_haproxy,
    test_lighttpd,
    test_nginx,
)
from tests.interop.servers import Running, WebServer, freePort, webServerFor
from tests.interop.test_spawners import AS_SYSTEMD, TWISTD, SpawnerMixin
from tests.programs import PATIENCE, ROOT, SCRIPTS, ask, output, program
from twisted_fastcgi.places import SOCKET

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


def get(port: Any, path: str, body: bytes = b"", source: str = "127.0.0.1") -> Any:
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
    @cvar network: A network that it can let see the figures.
    """

    name: str
    network = "127.0.0.4/30"

    async def start(self: Any, options: str, more: str = "") -> None:
        """
        Start the web server as it is printed for an application, and that
        application.

        @param more: Options for what is printed alone.
        """
        program(SERVERS[self.name].program)
        running = await behind(options)
        text = await printed(self.name, f"{filled(running, options)} {more}")
        await self.startFront(text, running)

    async def startFront(self: Any, text: str, running: Running) -> None:
        """
        Start the web server with a configuration.
        """
        server = SERVERS[self.name]
        listens = {
            plain: template
            for plain, template in server.replaced.items()
            if plain not in _ADDRESSES
        }
        server = replace(server, text=text, replaced=listens)
        self.front = await webServerFor(server, running)
        self.addCleanup(self.front.stop)
        self.port = self.front.address

    async def ask(self: Any, path: str, *arguments: Any) -> Any:
        """
        Ask the web server.
        """
        return await deferToThread(get, self.port, path, *arguments)

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
        self.assertNotIn("[WARNING]", self.front.said())

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

    async def test_status(self: Any) -> None:
        """
        It lets those get the figures that may, wherever the application is, and
        nobody else; all other pages are for everybody.
        """
        # The application itself lets more of this machine's addresses in.
        status = "--status-path /fcgi-status --status-allow 127.0.0.0/8"
        allow = f"--status-allow 127.0.0.1,{self.network}"
        for prefix, mount in (("", ""), ("/app", "--mount /app")):
            await self.start(f"--port unix:@SOCKET@:mode=666 {mount} {status}", allow)
            for address in ("127.0.0.1", "127.0.0.4"):
                code, body = await self.ask("/fcgi-status", b"", address)
                self.assertEqual(code, 200)
                self.assertIn(b"requests", body)
            for path in ("/fcgi-status", "/fcgi%2Dstatus"):
                code, _ = await self.ask(path, b"", "127.0.0.2")
                self.assertEqual(code, 403, path)
            code, _ = await self.ask("/fcgi-statuses", b"", "127.0.0.2")
            self.assertEqual(code, 404)
            page = await self.ask(f"{prefix}/", b"", "127.0.0.2")
            self.assertEqual(page, (200, HELLO))


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
    # It knows no others.
    network = "127.0.0.4"


#: A header field with what means something to shells, supervisor and systemd.
ODD = "50% of $HOME; {a} # 'b' \"c\" \\d ;e"


class SpawnerTests(SpawnerMixin, SynchronousTestCase):
    """
    Process managers.
    """

    def printed(self, name: str, *options: str) -> str:
        """
        Ask C{twistd fastcgi} for a configuration, in the folder of the application.
        """
        words = ("--resource", "hello.Hello", "--add-header", f"X-Odd: {ODD}")
        return output(
            [TWISTD, "fastcgi", *options, *words, "--print-config", name], self.folder
        )

    def assertOdd(self) -> None:
        """
        See that the application was started with the very options.
        """
        self.assertIn(f"X-Odd: {ODD}\r\n".encode(), ask(self.path))

    @contextmanager
    def supervised(self, text: str) -> Iterator[None]:
        """
        Run supervisor with a configuration.
        """
        supervisord = program("supervisord")
        recipe = self.folder / "app.conf"
        recipe.write_text(text)
        template = Path(__file__).with_name("supervisor") / "supervisord.conf"
        whole = template.read_text().replace("@FOLDER@", str(self.folder))
        configuration = self.folder / "supervisord.conf"
        configuration.write_text(whole.replace("@RECIPE@", str(recipe)))
        command = [supervisord, "-c", configuration]
        with self.running(command, ["entered RUNNING state"]):
            # What supervisor calls running may still be starting.
            deadline = monotonic() + PATIENCE
            while not os.path.exists(self.path):
                self.assertLess(monotonic(), deadline)
                Event().wait(0.02)
            yield

    def test_supervisor(self) -> None:
        """
        supervisor runs the application, which makes its socket.
        """
        text = self.printed("supervisor", "--port", f"unix:{self.path}:mode=660")
        with self.supervised(text):
            self.assertOdd()
            self.assertAccess()

    def test_supervisorSocket(self) -> None:
        """
        supervisor makes the socket.
        """
        text = self.printed("supervisor", "--port", "fcgi:")
        text = text.replace(SOCKET, self.path)
        if os.geteuid():
            text = text.replace("socket_owner=", ";")
        with self.supervised(text):
            self.assertOdd()
            self.assertAccess()

    def units(self, text: str) -> list[Path]:
        """
        Write the units that are printed to files of theirs, and have systemd look
        at them.
        """
        analyze = program("systemd-analyze")
        files = re.split(r"^# /etc/systemd/system/(\S+)\n", text, flags=re.M)[1:]
        made = []
        for name, content in zip(files[::2], files[1::2], strict=True):
            made.append(self.folder / name)
            made[-1].write_text(content.replace(SOCKET, self.path))
        said = output([analyze, "verify", "--man=no", "--recursive-errors=no", *made])
        self.assertEqual(said, "")
        return made

    def command(self, unit: Path) -> list[str]:
        """
        Read the command of a service as systemd does: specifiers and variables,
        then words.
        """
        (line,) = re.findall("^ExecStart=(.*)$", unit.read_text(), re.M)
        return shlex.split(line.replace("%%", "%").replace("$$", "$"))

    def test_systemd(self) -> None:
        """
        systemd understands the service, and its command makes the socket.
        """
        text = self.printed("systemd", "--port", f"unix:{self.path}:mode=660")
        (service,) = self.units(text)
        with self.running(self.command(service)):
            self.assertOdd()
            self.assertAccess()

    def test_systemdSocket(self) -> None:
        """
        systemd understands both units, and the command takes a socket that it
        is passed.
        """
        port = "systemd:domain=UNIX:index=0"
        unit, service = self.units(self.printed("systemd", "--port", port))
        self.assertEqual((unit.name, service.name), ("app.socket", "app.service"))
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen()
            command = ["/bin/sh", "-c", AS_SYSTEMD, "sh", *self.command(service)]
            passed = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "app.socket"}
            with self.running(command, stdin=listening, **passed):
                self.assertOdd()
