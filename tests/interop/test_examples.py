# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The examples of the documentation that have no tests elsewhere, behind nginx.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.interop.sites import EXAMPLES, Browser, site
from tests.programs import PATIENCE, ROOT, SCRIPTS, ask, fetch, serving


class ExampleTests(TestCase):
    """
    Examples that C{twistd fastcgi --resource} serves.
    """

    timeout = 2 * PATIENCE

    async def serve(self, resource: str) -> None:
        """
        Serve an example.
        """
        self.url = (await site(resource, "--resource", resource)).urls["HTTP"]
        self.browser = Browser()

    async def test_plain(self) -> None:
        """
        A plain resource.
        """
        await self.serve("plain.Page")
        page = await deferToThread(self.browser.ask, self.url)
        self.assertIn("Hello, stranger! The web server is nginx/", page.text)
        data = "name=<Zoë>".encode()
        page = await deferToThread(self.browser.ask, self.url, data)
        self.assertIn("Hello, &lt;Zoë&gt;!", page.text)

    async def test_klein(self) -> None:
        """
        A Klein application.
        """
        await self.serve("klein_app.app")
        for path, text in [
            ("/", "Hello, 127.0.0.1!\n"),
            ("/variables/GATEWAY_INTERFACE", "CGI/1.1"),
            ("/later/0", "That was worth it.\n"),
        ]:
            page = await deferToThread(self.browser.ask, self.url + path)
            self.assertEqual((page.status, page.text), (200, text))

    async def test_wsgiChild(self) -> None:
        """
        A WSGI application below a place in a site.
        """
        await self.serve("wsgi_child.root")
        for path, text in [("/", "Twisted\n"), ("/app/a/b", "/app and /a/b\n")]:
            page = await deferToThread(self.browser.ask, self.url + path)
            self.assertEqual((page.status, page.text), (200, text))

    async def test_events(self) -> None:
        """
        Server-sent events come when something happens, and those who leave are
        forgotten.
        """
        await self.serve("events.root")
        await deferToThread(self.listen)

    def listen(self) -> None:
        """
        Listen twice.
        """
        self.assertIn("EventSource", self.browser.ask(self.url).text)
        for _ in range(2):
            with self.browser.open(f"{self.url}/events") as events:
                self.assertEqual(events.headers["Content-Type"], "text/event-stream")
                self.assertEqual(self.event(events), b": 1 listen\n")
                for text, event in [
                    (b"one", b"data: one\n"),
                    (b"two\nlines", b"data: two\ndata: lines\n"),
                ]:
                    answer = self.browser.ask(f"{self.url}/say", text)
                    self.assertEqual(answer.text, "1 hear it\n")
                    self.assertEqual(self.event(events), event)
            while self.browser.ask(f"{self.url}/say", b"x").text != "0 hear it\n":
                pass

    def event(self, events: object) -> bytes:
        """
        Read one event.
        """
        return b"".join(iter(events.readline, b"\n"))  # type: ignore[attr-defined]


class ProgramTests(SynchronousTestCase):
    """
    Examples that are programs.
    """

    def test_besideHTTP(self) -> None:
        """
        A site over HTTP and FastCGI.
        """
        temporary = TemporaryDirectory(prefix="example-")
        self.addCleanup(temporary.cleanup)
        path = str(Path(temporary.name) / "app.sock")
        http = "tcp:0:interface=127.0.0.1"
        command = [sys.executable, EXAMPLES / "beside_http.py", http, f"unix:{path}"]
        with serving(command, PYTHONPATH=str(ROOT)) as log:
            (port,) = re.findall(r"port=(\d+)", log[-1])
            self.assertEqual(fetch(f"http://127.0.0.1:{port}/"), b"HTTP\n")
            self.assertIn(b"\r\n\r\nFastCGI\n", ask(path))

    def test_twoSites(self) -> None:
        """
        Two sites in one service, one of them over HTTP, too.
        """
        temporary = TemporaryDirectory(prefix="example-")
        self.addCleanup(temporary.cleanup)
        text = (EXAMPLES / "two_sites.py").read_text()
        for shown, own in (
            ("/run/", f"{temporary.name}/"),
            ("tcp:8080:", "tcp:0:"),
            ("tcp:9000:", "tcp:0:"),
        ):
            self.assertIn(shown, text)
            text = text.replace(shown, own)
        (Path(temporary.name) / "two_sites.py").write_text(text)
        command = [SCRIPTS / "twistd", "--nodaemon", "--pidfile=", "--python"]
        command.append("two_sites.py")
        ready = "/blog.sock;"
        with serving(command, temporary.name, ready, PYTHONPATH=str(ROOT)) as log:
            (port,) = re.findall(r"Site starting on (\d+)", "".join(log))
            self.assertEqual(fetch(f"http://127.0.0.1:{port}/"), b"the shop\n")
            for name in ("shop", "blog"):
                answer = ask(f"{temporary.name}/{name}.sock")
                self.assertIn(f"\r\n\r\nthe {name}\n".encode(), answer)
