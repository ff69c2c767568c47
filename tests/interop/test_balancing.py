# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Three servers behind one web server, as on three machines.  One is killed, and
one is stopped, while clients ask and ask.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from threading import Event
from time import monotonic
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop import test_haproxy, test_lighttpd, test_nginx
from tests.interop.servers import Running, WebServer, freePort, webServerFor
from tests.interop.test_drain import CLIENTS, SOME, Load, Server
from tests.programs import PATIENCE, program

#: What stands for the ports of the servers.
PORTS = ("ONE", "TWO", "THREE")

#: The addresses of the machines in recipes, and those in their place here.
HOSTS = {
    "192.0.2.11": "127.0.0.1",
    "192.0.2.12": "127.0.0.2",
    "192.0.2.13": "127.0.0.3",
}

MACHINES = {
    f"{plain}:9000": f"{host}:@{name}@"
    for (plain, host), name in zip(HOSTS.items(), PORTS, strict=True)
}


def balanced(plain: WebServer, recipe: str, replaced: Mapping[str, str]) -> WebServer:
    """
    Describe a web server in front of three machines.

    @param plain: The same in front of one.
    """
    return replace(plain, name=f"balancing, {recipe}", recipe=recipe, replaced=replaced)


def _nginx(recipe: str) -> WebServer:
    plain = test_nginx.NginxTests.server
    kept = {name: plain.replaced[name] for name in plain.replaced if " " in name}
    return balanced(plain, f"nginx/{recipe}.conf", {**kept, **MACHINES})


def _haproxy(recipe: str) -> WebServer:
    plain = test_haproxy.HAProxyTests.server
    kept = {name: plain.replaced[name] for name in plain.replaced if " " in name}
    return balanced(plain, f"haproxy/{recipe}.cfg", {**kept, **MACHINES})


def _lighttpd() -> WebServer:
    ports = {
        f'"{plain}", "port" => 9000': f'"{host}", "port" => @{name}@'
        for (plain, host), name in zip(HOSTS.items(), PORTS, strict=True)
    }
    plain = test_lighttpd.LighttpdTests.server
    return balanced(plain, "lighttpd/machines.conf", ports)


class Balanced:
    """
    Starts three servers and a web server; to be mixed with L{TestCase}.

    @cvar server: The web server.
    @ivar front: It.
    @ivar servers: The servers behind it, by their ports.
    """

    timeout = 6 * PATIENCE
    server: WebServer

    async def setUp(self: Any) -> None:
        """
        Start them all.
        """
        program(self.server.program)
        self.behind = Running()
        self.ports = [freePort() for _ in PORTS]
        self.behind.values = dict(zip(PORTS, map(str, self.ports), strict=True))
        self.servers: dict[int, Server] = {}
        for port in self.ports:
            await deferToThread(self.serve, port)
        await self.startFront(self.server)

    async def startFront(self: Any, server: WebServer) -> None:
        """
        Start the web server.
        """
        self.front = await webServerFor(server, self.behind)
        self.addCleanup(self.front.stop)

    def serve(self: Any, port: int) -> None:
        """
        Start a server, and wait until it serves.
        """
        host = list(HOSTS.values())[self.ports.index(port)]
        address = f"tcp:{port}:interface={host}"
        server = Server("twistd", address, self.behind.folder)
        self.addCleanup(server.kill)
        server.wait()
        self.servers[port] = server

    def load(self: Any) -> Load:
        """
        Begin to ask for pages, until all servers have answered some.
        """
        load = Load(self.front.address, size=0)
        self.addCleanup(load.finish)
        self.waitForAll()
        return load

    def waitForAll(self: Any) -> None:
        """
        Wait until each server gets requests, from now on.
        """
        before = {port: len(server.got()) for port, server in self.servers.items()}
        self.waitFor(
            lambda: all(len(self.servers[p].got()) > n + 3 for p, n in before.items())
        )

    def waitFor(self: Any, condition: Any) -> None:
        """
        Wait for something.
        """
        deadline = monotonic() + PATIENCE
        while not condition():
            self.assertLess(monotonic(), deadline, self.front.said())
            Event().wait(0.02)

    def whoGot(self: Any, path: str) -> list[int]:
        """
        Tell which servers have got a request.
        """
        return [port for port, server in self.servers.items() if path in server.got()]

    def ask(
        self: Any,
        path: str,
        method: str = "GET",
        source: str = "127.0.0.1",
        **fields: str,
    ) -> Any:
        """
        Ask the web server.

        @return: The status and the fields of the header of the answer.
        """
        where = ("127.0.0.1", self.front.address)
        connection = HTTPConnection(
            *where, timeout=PATIENCE, source_address=(source, 0)
        )
        try:
            connection.request(method, path, b"" if method == "POST" else None, fields)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        finally:
            connection.close()


class Losing(Balanced):
    """
    Loses servers.
    """

    def lose(self: Any) -> Load:
        """
        Kill a server that has requests in hand and stop another one, while
        clients ask for pages; have them come back; the same with others.

        @return: What the clients got.
        """
        load = self.load()
        for killed, stopped in zip(self.ports[:2], self.ports[1:], strict=True):
            self.servers[killed].kill()
            load.waitForGood()
            code, seconds = self.servers[stopped].stop()
            self.assertEqual(code, 0)
            self.assertLess(seconds, PATIENCE)
            load.waitForGood()
            self.serve(killed)
            self.serve(stopped)
            self.waitForAll()
        load.finish()
        return load

    def failures(self: Any, load: Load) -> dict[str, int]:
        """
        Tell which requests have failed, and how.
        """
        return {name: code for name, code in load.answers.copy().items() if code != 200}

    def losesNothing(self: Any) -> None:
        """
        See that no request fails meanwhile.
        """
        load = self.lose()
        self.assertEqual(self.failures(load), {}, self.front.said())
        self.assertGreater(load.good(), 4 * SOME)

    def killWithPost(self: Any) -> tuple[int, int]:
        """
        Kill the server that works on a POST.

        @return: The status of the answer, and how many servers have got it.
        """
        with ThreadPoolExecutor(1) as pool:
            answer: Future[Any] = pool.submit(self.ask, "/1?long=1", "POST")
            self.waitFor(lambda: self.whoGot("/1"))
            (port,) = self.whoGot("/1")
            self.servers[port].kill()
            return answer.result()[0], len(self.whoGot("/1"))


class NginxTests(Losing, TestCase):
    """
    nginx.
    """

    server = _nginx("machines")

    async def test_lost(self) -> None:
        """
        Nobody who asks for a page sees that a server is killed, or stopped, and
        those that come back get requests again.
        """
        await deferToThread(self.losesNothing)

    async def test_post(self) -> None:
        """
        A POST that was in hand is not sent again: it fails.
        """
        self.assertEqual(await deferToThread(self.killWithPost), (502, 1))


class RepeatingNginxTests(Losing, TestCase):
    """
    nginx that sends everything again.
    """

    server = replace(
        _nginx("machines"),
        replaced={
            **_nginx("machines").replaced,
            "error timeout http_503;": "error timeout http_503 non_idempotent;",
        },
    )

    async def test_post(self) -> None:
        """
        A POST that was in hand is sent to another server, too.
        """
        self.assertEqual(await deferToThread(self.killWithPost), (200, 2))


class HAProxyTests(Losing, TestCase):
    """
    HAProxy.
    """

    server = _haproxy("machines")

    async def test_lost(self) -> None:
        """
        Nobody who asks for a page sees that a server is killed, or stopped, and
        those that come back get requests again when they have passed the check.
        """
        await deferToThread(self.losesNothing)
        said = self.front.said()
        for name in ("one", "two", "three"):
            self.assertIn(f"Server app/{name} is DOWN", said)
            self.assertIn(f"Server app/{name} is UP, reason: Layer7 check passed", said)

    async def test_post(self) -> None:
        """
        A POST that was in hand is not sent again: it fails.
        """
        self.assertEqual(await deferToThread(self.killWithPost), (502, 1))

    async def test_check(self) -> None:
        """
        The check is a request: a server that lets connect and answers nothing
        fails it, and passes it when it answers again.
        """
        await deferToThread(self.hang)

    def hang(self) -> None:
        """
        Have a server hang for a while.
        """
        process = self.servers[self.ports[0]]._process
        self.addCleanup(process.send_signal, signal.SIGCONT)
        process.send_signal(signal.SIGSTOP)
        self.waitFor(
            lambda: "app/one is DOWN, reason: Layer7 timeout" in self.front.said()
        )
        for number in range(6):
            self.assertEqual(self.ask(f"/{number}")[0], 200)
            self.assertNotIn(self.ports[0], self.whoGot(f"/{number}"))
        process.send_signal(signal.SIGCONT)
        self.waitFor(
            lambda: "app/one is UP, reason: Layer7 check passed" in self.front.said()
        )


class LighttpdTests(Losing, TestCase):
    """
    lighttpd.
    """

    server = _lighttpd()

    async def test_lost(self) -> None:
        """
        What a server that is killed or stopped has got, or has not yet accepted,
        may be lost, and nothing else; those that come back get requests again.
        """
        load = await deferToThread(self.lose)
        failures = self.failures(load)
        self.assertTrue(set(failures.values()) <= {500}, failures)
        # Two servers were killed, and two stopped.
        self.assertLessEqual(len(failures), 4 * CLIENTS)
        complaints = re.findall("response not received", self.front.said())
        self.assertEqual(len(complaints), len(failures))


class StickyByAddress(Balanced):
    """
    A client stays with a server because of its address.
    """

    async def test_stays(self: Any) -> None:
        """
        The address of a client decides; where its server is gone it goes to
        another one.
        """
        await deferToThread(self.stays)

    def source(self: Any, client: int) -> str:
        """
        Tell the address of a client.  lighttpd takes neighbours for one.
        """
        return f"127.{20 * client}.{client}.1"

    def stays(self: Any) -> None:
        """
        Ask as several clients.
        """
        homes = {}
        for client in range(2, 12):
            for number in (client, 100 + client):
                self.ask(f"/{number}", source=self.source(client))
            (homes[client],) = self.whoGot(f"/{client}")
            self.assertEqual(self.whoGot(f"/{100 + client}"), [homes[client]])
        self.assertGreater(len(set(homes.values())), 1)
        self.servers[homes[2]].kill()
        self.assertEqual(self.ask("/1", source=self.source(2))[0], 200)


class StickyNginxTests(StickyByAddress, TestCase):
    """
    nginx that has clients stay with a server.
    """

    server = _nginx("sticky")


class StickyLighttpdTests(StickyByAddress, TestCase):
    """
    lighttpd that has clients stay with a server.
    """

    server = replace(
        _lighttpd(),
        replaced={**_lighttpd().replaced, '"least-connection"': '"sticky"'},
    )


class StickyHAProxyTests(Balanced, TestCase):
    """
    HAProxy that has clients stay with a server.
    """

    server = _haproxy("sticky")

    async def test_stays(self) -> None:
        """
        A cookie decides; where its server is gone the client goes to another one,
        and gets the cookie of that.
        """
        await deferToThread(self.stays)

    def stays(self) -> None:
        """
        Ask as several clients.
        """
        homes = {}
        for client in range(6):
            _, fields = self.ask(f"/{client}")
            cookie = fields["Set-Cookie"].partition(";")[0]
            (homes[cookie],) = self.whoGot(f"/{client}")
            for number in (100 + client, 200 + client):
                _, fields = self.ask(f"/{number}", Cookie=cookie)
                self.assertEqual(self.whoGot(f"/{number}"), [homes[cookie]])
                self.assertNotIn("Set-Cookie", fields)
        self.assertEqual(set(homes), {"machine=one", "machine=two", "machine=three"})
        self.servers[homes["machine=one"]].kill()
        status, fields = self.ask("/1", Cookie="machine=one")
        self.assertEqual(status, 200)
        self.assertRegex(fields["Set-Cookie"], "machine=(two|three)")
