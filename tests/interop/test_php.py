# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.proxy} with real PHP: scripts that PHP-FPM runs,
behind a Twisted site.
"""

from __future__ import annotations

import os
import re
import sys
from glob import glob
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from pwd import getpwuid
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from tests.programs import PATIENCE, ROOT, program, serving
from twisted_fastcgi import FastCGIAgent, FastCGIProxyResource

#: A body of 200 kB, no two lines of which are the same.
UPLOAD = b"".join(b"%07d\n" % number for number in range(25600))

#: A database tool in one file, as Debian has it.
ADMINER = "/usr/share/adminer/adminer.php"

#: The script of these tests.
PAGE = """\
<?php
session_save_path(__DIR__ . "/sessions");
switch ($_GET["do"] ?? "") {
case "redirect":
    header("Location: $_SERVER[SCRIPT_NAME]/there?a=b");
    break;
case "visits":
    session_start();
    echo $_SESSION["visits"] = ($_SESSION["visits"] ?? 0) + 1;
    break;
case "large":
    for ($i = 0; $i < 655360; $i++) printf("%07d\\n", $i);
    break;
case "forever":
    ignore_user_abort(false);
    register_shutdown_function(fn() => touch(__DIR__ . "/stopped"));
    while (true) { echo str_repeat("x", 10000); flush(); }
case "fail":
    http_response_code(500);
    error_log("it failed");
    break;
default:
    header("Content-Type: application/json");
    echo json_encode([
        "server" => $_SERVER, "get" => $_GET, "post" => $_POST,
        "files" => array_map(fn($f) => hash_file("sha256", $f["tmp_name"]), $_FILES),
    ]);
}
"""

#: The configuration of PHP-FPM.
FPM = """\
[global]
error_log = /dev/stderr
[www]
user = {user}
listen = {socket}
pm = static
pm.max_children = 2
php_admin_value[output_buffering] = 0
"""


class PHPTests(TestCase):
    """
    PHP beside a page of a Twisted site.
    """

    timeout = PATIENCE

    async def setUp(self) -> None:
        """
        Start PHP-FPM and a site.
        """
        temporary = TemporaryDirectory(prefix="php-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.socket = self.folder / "fpm.sock"
        self.www = self.folder / "www"
        (self.www / "sessions").mkdir(parents=True)
        (self.www / "page.php").write_text(PAGE)
        (self.www / "index.php").write_text("Hello from <?php echo 'PHP';")
        (self.www / "image.jpg").write_text("<?php echo 'never';")
        self.startFPM()
        self.stderr: list[bytes] = []
        agent = FastCGIAgent(
            reactor,
            UNIXClientEndpoint(reactor, str(self.socket)),
            maxConnections=2,
            stderr=lambda request, data: self.stderr.append(data),
        )
        self.addCleanup(agent.close)
        root = Resource()
        root.putChild(b"own", Data(b"my own page", "text/plain"))
        root.putChild(b"php", FastCGIProxyResource(agent, self.www))
        site = Site(root)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(site)
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        self.client = HTTPClient(Agent(reactor))

    def startFPM(self) -> None:
        """
        Start PHP-FPM for the time of the test.
        """
        command = max(glob("/usr/sbin/php-fpm*"), default="php-fpm")
        user = getpwuid(os.getuid()).pw_name
        configuration = self.folder / "fpm.conf"
        configuration.write_text(FPM.format(user=user, socket=self.socket))
        running = serving(
            [program(command), "-F", "-R", "-y", configuration],
            cwd=self.folder,
            ready="ready to",
        )
        running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)

    async def get(self, path: str) -> tuple[int, bytes]:
        """
        Ask for a page.
        """
        response = await self.client.get(self.url + path, allow_redirects=False)
        return response.code, await response.content()

    async def test_beside(self) -> None:
        """
        The pages of the site and PHP go together.
        """
        self.assertEqual(await self.get("/own"), (200, b"my own page"))
        self.assertEqual(await self.get("/php/"), (200, b"Hello from PHP"))

    async def test_variables(self) -> None:
        """
        PHP finds everything where it looks for it.
        """
        response = await self.client.get(f"{self.url}/php/page.php/a%20b/c?d=%C3%A4")
        shown = await response.json()
        self.assertEqual(shown["get"], {"d": "ä"})
        server = shown["server"]
        for name, value in {
            "SCRIPT_NAME": "/php/page.php",
            "SCRIPT_FILENAME": str(self.www / "page.php"),
            "DOCUMENT_ROOT": str(self.www),
            "PATH_INFO": "/a b/c",
            "PATH_TRANSLATED": str(self.www / "a b/c"),
            "PHP_SELF": "/php/page.php/a b/c",
            "REQUEST_URI": "/php/page.php/a%20b/c?d=%C3%A4",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PORT": self.url.rpartition(":")[2],
            "HTTP_HOST": self.url.removeprefix("http://"),
        }.items():
            self.assertEqual(server[name], value, name)

    async def test_form(self) -> None:
        """
        Forms and files arrive.
        """
        response = await self.client.post(
            f"{self.url}/php/page.php",
            files={"file": ("name", BytesIO(UPLOAD))},
            data={"field": "1"},
        )
        shown = await response.json()
        self.assertEqual(shown["post"], {"field": "1"})
        self.assertEqual(shown["files"], {"file": sha256(UPLOAD).hexdigest()})

    async def test_session(self) -> None:
        """
        Cookies go both ways.
        """
        for visit in ("1", "2", "3"):
            response = await self.client.get(f"{self.url}/php/page.php?do=visits")
            self.assertEqual(await response.text(), visit)

    async def test_redirect(self) -> None:
        """
        A redirection leads to the script again.
        """
        response = await self.client.get(f"{self.url}/php/page.php?do=redirect")
        shown = await response.json()
        self.assertEqual(shown["server"]["PATH_INFO"], "/there")

    async def test_large(self) -> None:
        """
        A large page comes whole.
        """
        code, body = await self.get("/php/page.php?do=large")
        expected = b"".join(b"%07d\n" % number for number in range(655360))
        self.assertEqual((code, len(body)), (200, len(expected)))
        self.assertEqual(sha256(body).digest(), sha256(expected).digest())

    async def test_head(self) -> None:
        """
        A response to I{HEAD} has no body.
        """
        response = await self.client.head(f"{self.url}/php/")
        self.assertEqual((response.code, await response.content()), (200, b""))

    async def test_failure(self) -> None:
        """
        An error of PHP is passed on, and what it writes to STDERR is told.
        """
        self.assertEqual(await self.get("/php/page.php?do=fail"), (500, b""))
        self.assertIn(b"it failed", b"".join(self.stderr))

    async def test_notRun(self) -> None:
        """
        PHP never sees what is no script.
        """
        code, body = await self.get("/php/image.jpg/x.php")
        self.assertEqual(code, 404)
        self.assertNotIn(b"never", body)
        self.assertEqual((await self.get("/php/none.php"))[0], 404)
        self.assertEqual((await self.get("/php/..%2ffpm.conf"))[0], 404)

    async def test_gone(self) -> None:
        """
        When the browser goes away PHP stops, and serves others.
        """
        for _ in range(3):
            response = await self.client.get(f"{self.url}/php/page.php?do=forever")
            response.original.deliverBody(Hasty())
            while not (self.www / "stopped").exists():
                await deferLater(reactor, 0.01)
            (self.www / "stopped").unlink()
        self.assertEqual((await self.get("/php/"))[0], 200)

    async def test_example(self) -> None:
        """
        The program of the documentation serves a PHP application that others
        have written: its page, its style sheet, and its form, with a session.
        """
        if not os.path.exists(ADMINER):
            if os.environ.get("CI"):
                raise AssertionError("adminer is missing: .ci/run has to install it")
            raise SkipTest("adminer is not installed")
        example = ROOT / "docs/examples/php_beside_twisted.py"
        where = "tcp:0:interface=127.0.0.1"
        command = [sys.executable, example, f"unix:{self.socket}"]
        command += [os.path.dirname(ADMINER), where]
        running = serving(command, cwd=self.folder, PYTHONPATH=str(ROOT))
        log = await deferToThread(running.__enter__)
        self.addCleanup(running.__exit__, None, None, None)
        port = re.findall(r"port=(\d+)", log[-1])[0]
        await self.useAdminer(f"http://127.0.0.1:{port}")

    async def useAdminer(self, url: str) -> None:
        """
        Use the application.
        """
        client = self.client
        home = await client.get(url)
        self.assertIn("Twisted", await home.text())
        response = await client.get(f"{url}/php/adminer.php")
        page = await response.text()
        self.assertEqual(response.code, 200)
        self.assertIn("<title>Login - Adminer</title>", page)
        (style,) = re.findall(r'href="([^"]*file=default.css[^"]*)"', page)
        response = await client.get(f"{url}/php/{style.replace('&amp;', '&')}")
        self.assertEqual(
            response.headers.getRawHeaders("Content-Type"), ["text/css; charset=utf-8"]
        )
        self.assertIn("body", await response.text())
        form = {"driver": "sqlite", "server": "", "username": "", "password": ""}
        response = await client.post(
            f"{url}/php/adminer.php",
            data={f"auth[{name}]": value for name, value in form.items()},
            browser_like_redirects=True,
        )
        self.assertIn(b"?sqlite=", response.request.absoluteURI)
        text = await response.text()
        # It says so in a session, after a redirection.
        self.assertIn("accessing a database without a password", text)


class Hasty(Protocol):
    """
    Has enough after the first piece.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Have enough.
        """
        transport: Any = self.transport
        transport.abortConnection()
