# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi --status-path}, behind web servers, and asked by clients that do
wrong.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from http.client import HTTPConnection
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests import wire
from tests.interop.servers import Running, freePort
from tests.programs import PATIENCE, SCRIPTS, STOPPED, ask, program

#: One server that tells who its clients are, and one that says it of another.
NGINX = """
daemon off; error_log stderr; pid nginx.pid; events {{}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            include /etc/nginx/fastcgi_params;
            fastcgi_pass unix:{path};
        }}
    }}
    server {{
        listen 127.0.0.1:{other};
        location / {{
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param SCRIPT_NAME $fastcgi_script_name;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REMOTE_ADDR 192.0.2.1;
            fastcgi_pass unix:{path};
        }}
    }}
}}
"""

LIGHTTPD = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "/nowhere"
server.modules = ("mod_fastcgi", "mod_extforward")
fastcgi.server = ("/" => ((
    "socket" => "{path}", "check-local" => "disable", "fix-root-scriptname" => "enable"
)))
$SERVER["socket"] == "127.0.0.1:{other}" {{
    extforward.forwarder = ("127.0.0.1" => "trust")
    extforward.headers = ("X-Forwarded-For")
}}
"""

BEGUN = wire.beginRequest() + wire.params(wire.postVariables(b"0123456789"))


def get(port: int, path: str, **fields: str) -> tuple[int, bytes]:
    """
    Ask a web server.

    @return: The status and the body.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


class Serving(TestCase):
    """
    Has a server with a status.
    """

    timeout = 2 * PATIENCE

    async def serve(self, *options: str) -> str:
        """
        Run C{twistd fastcgi}.

        @return: The path of its socket.
        """
        running = Running()
        path = running.folder / "app.sock"
        port = f"unix:{path}:mode=666"
        await running.start(
            [
                *(SCRIPTS / "twistd", "--nodaemon", "--pidfile=", "fastcgi"),
                *("--port", port, "--status-path", "/fcgi-status", *options),
            ],
            path,
        )
        self.addCleanup(running.stop)
        return str(path)

    async def front(self, name: str, configuration: str, *arguments: str) -> Running:
        """
        Run a web server.

        @return: It, with its second port as C{other}.
        """
        executable = program(name)
        path = await self.serve()
        running = Running()
        port, other = freePort(), freePort()
        text = configuration.format(path=path, port=port, other=other)
        (running.folder / "web.conf").write_text(text)
        await running.start([executable, *arguments], port)
        self.addCleanup(running.stop)
        running.values = {"other": str(other)}
        # As lighttpd ends now and then, without anything else.
        running.endings = (*STOPPED, 1)
        return running

    def told(self, path: str) -> Any:
        """
        Ask for the figures.
        """
        answer = ask(
            path,
            REQUEST_URI="/fcgi-status?json",
            SCRIPT_NAME="/fcgi-status",
            QUERY_STRING="json",
            REMOTE_ADDR="127.0.0.1",
        )
        return json.loads(answer.partition(b"\r\n\r\n")[2])


class WebServerTests(Serving):
    """
    Behind web servers.
    """

    async def test_nginx(self) -> None:
        """
        nginx says who its clients are: the status is for those on its machine,
        and no other that it tells of.
        """
        arguments = ("-p", ".", "-c", "web.conf", "-e", "stderr")
        running = await self.front("nginx", NGINX, *arguments)
        self.assertShown(running)
        other = int(running.values["other"])
        status, body = get(other, "/fcgi-status?json", X_Forwarded_For="127.0.0.1")
        self.assertEqual(status, 403)
        self.assertNotIn(b"connections", body)
        # The application is there for everybody.
        self.assertEqual(get(other, "/")[0], 200)

    async def test_lighttpd(self) -> None:
        """
        lighttpd does, too; where it believes what a proxy says of the client,
        so does the status.
        """
        running = await self.front("lighttpd", LIGHTTPD, "-D", "-f", "web.conf")
        self.assertShown(running)
        other = int(running.values["other"])
        said = {"X_Forwarded_For": "192.0.2.1"}
        self.assertEqual(get(other, "/fcgi-status", **said)[0], 403)

    def assertShown(self, running: Running) -> None:
        """
        See that the status is shown, whatever header fields say of the client.
        """
        port = running.address
        assert isinstance(port, int)
        accept = "application/openmetrics-text;version=1.0.0,*/*;q=0.1"
        status, body = get(
            port, "/fcgi-status", X_Forwarded_For="192.0.2.1", Accept=accept
        )
        self.assertEqual(status, 200)
        names = [each.name for each in text_string_to_metric_families(body.decode())]
        self.assertIn("twisted_fastcgi_requests", names)
        self.assertIn(b"<h1>", get(port, "/fcgi-status?html")[1])


class CountingTests(Serving):
    """
    What has happened adds up.
    """

    def send(self, path: str, sent: bytes, *, wait: bool = True) -> None:
        """
        Send something, and close the connection, after its end if that is to be
        waited for.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(sent)
            while wait and connection.recv(65536):
                pass

    async def test_counts(self) -> None:
        """
        So do requests, aborts and what peers do wrong.
        """
        path = await self.serve()
        for _ in range(5):
            ask(path)
        once = wire.beginRequest(keep=False) + BEGUN[16:]
        for _ in range(2):
            self.send(path, once + wire.abortRequest())
        for _ in range(3):
            self.send(path, b"GET / HTTP/1.1\r\n\r\n")
        self.send(path, BEGUN, wait=False)
        # That it is gone may be noticed later.
        while not (told := self.told(path))["requests"]["outcomes"]["disconnected"]:
            await deferLater(reactor, 0.01)
        outcomes = told["requests"]["outcomes"]
        # The status was asked for before.
        self.assertGreaterEqual(outcomes.pop("answered"), 5)
        expected = {"aborted": 2, "disconnected": 1}
        self.assertEqual({n: c for n, c in outcomes.items() if c}, expected)
        self.assertEqual(told["requests"]["aborts"], 3)
        self.assertEqual(told["errors"]["not_fastcgi"], 3)
        self.assertEqual(told["requests"]["active"], 0)
        self.assertEqual(told["duration"]["count"], told["requests"]["total"])

    async def serveTwo(self) -> str:
        """
        Run two workers.

        @return: The path of their socket, on which both of them serve.
        """
        path = await self.serve("--workers", "2")
        while len(self.told(path)["processes"]) < 2:
            await deferLater(reactor, 0.01)
        return path

    async def test_workers(self) -> None:
        """
        Several processes tell what they do together, and each of them.
        """
        path = await self.serveTwo()
        before = self.told(path)["requests"]["total"]
        for _ in range(20):
            ask(path)
        told = self.told(path)
        self.assertEqual(told["requests"]["total"], before + 21)
        self.assertEqual([each["worker"] for each in told["processes"]], [1, 2])
        ended = sum(each["requests"] for each in told["processes"])
        self.assertEqual(ended, before + 21)

    async def test_signals(self) -> None:
        """
        A worker that hangs is told of, in bounded time; when one is killed, nothing
        that only grows falls, and what it had in hand is gone.
        """
        path = await self.serveTwo()
        pid = self.told(path)["processes"][0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        before = self.told(path)
        silent = [each["silent"] for each in before["processes"]]
        self.assertEqual(silent, [True, False])
        os.kill(pid, signal.SIGKILL)
        after = before
        while pid in [each["pid"] for each in after["processes"]]:
            await deferLater(reactor, 0.01)
            after = self.told(path)
        self.assertGreater(after["requests"]["total"], before["requests"]["total"])
        for name, count in before["requests"]["outcomes"].items():
            self.assertGreaterEqual(after["requests"]["outcomes"][name], count)
        self.assertGreaterEqual(after["duration"]["sum"], before["duration"]["sum"])
        self.assertEqual(after["requests"]["active"], 0)
