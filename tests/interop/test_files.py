# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Files that nginx, lighttpd and Apache send themselves, as the documentation has it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.sites import Answer, Browser, Site, sender, site
from tests.programs import PATIENCE

#: A file of 3 MB, no two lines of which are the same.
CONTENT = b"".join(b"%07d\n" % number for number in range(400_000))

#: Names that need care.
NAMES = ("a b.txt", "a%20b.txt", "a?b#c;d.txt", "ä€.txt", "a+b.txt", 'a"b\\c.txt')


def makeFiles(folder: Path) -> None:
    """
    Make the files, and one that nobody is to see.
    """
    (folder / "files/sub").mkdir(parents=True)
    (folder / "secret.txt").write_bytes(b"secret")
    for name in ("large.bin", "sub/page.html", "packed.txt.gz", *NAMES):
        (folder / "files" / name).write_bytes(CONTENT)


class Files:
    """
    What must be so whoever sends the files.

    @cvar sendsItself: Whether the web server does.
    @cvar doubtful: Names of files that Twisted sends nevertheless.
    """

    timeout = 2 * PATIENCE
    sendsItself = True
    doubtful: tuple[str, ...] = ()
    site: Site
    url: str

    async def setUp(self: TestCase) -> None:
        """
        Start the site.
        """
        self.site = await site("files", "--resource", "files.root", prepare=makeFiles)
        self.url = await self.where()

    async def where(self) -> str:
        """
        Tell where the web server is.
        """
        raise NotImplementedError

    async def ask(self, path: str, method: str = "GET", **fields: str) -> Answer:
        """
        Ask for a file.
        """
        browser = Browser()
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        url = f"{self.url}{path}"
        answer: Answer = await deferToThread(
            browser.ask, url, headers=headers, method=method
        )
        return answer

    def assertSender(self: TestCase, answer: Answer) -> None:
        """
        See who has sent a file: Twisted makes no I{ETag}.
        """
        self.assertEqual("ETag" in answer.headers, self.sendsItself)
        for name in ("X-Accel-Redirect", "X-Sendfile", "X-LIGHTTPD-send-file"):
            self.assertNotIn(name, answer.headers)

    async def test_whole(self: TestCase) -> None:
        """
        A file comes whole, with its media type.
        """
        for path, kind in [
            ("/files/large.bin", "application/octet-stream"),
            ("/files/sub/page.html", "text/html"),
        ]:
            answer = await self.ask(path)
            self.assertEqual((answer.status, answer.body == CONTENT), (200, True))
            self.assertEqual(answer.headers["Content-Type"], kind)
            self.assertEqual(answer.headers["Content-Length"], str(len(CONTENT)))
            self.assertSender(answer)

    async def test_head(self: TestCase) -> None:
        """
        A I{HEAD} tells the same without the file.
        """
        answer = await self.ask("/files/large.bin", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertSender(answer)

    async def test_range(self: TestCase) -> None:
        """
        A part comes if a part is asked for.
        """
        answer = await self.ask("/files/large.bin", Range="bytes=16-23")
        self.assertEqual((answer.status, answer.body), (206, b"0000002\n"))
        expected = f"bytes 16-23/{len(CONTENT)}"
        self.assertEqual(answer.headers["Content-Range"], expected)
        answer = await self.ask("/files/large.bin", Range="bytes=99999999-")
        self.assertEqual(answer.status, 416)

    async def test_condition(self: TestCase) -> None:
        """
        Nothing is sent again that the client has.
        """
        answer = await self.ask("/files/large.bin")
        modified = answer.headers["Last-Modified"]
        answer = await self.ask("/files/large.bin", If_Modified_Since=modified)
        self.assertEqual((answer.status, answer.body), (304, b""))

    async def test_names(self: TestCase) -> None:
        """
        Files are found whatever they are called.
        """
        for name in NAMES:
            answer = await self.ask(f"/files/{quote(name)}")
            self.assertEqual((answer.status, answer.body == CONTENT), (200, True), name)
            if name in self.doubtful:
                self.assertNotIn("ETag", answer.headers)
            else:
                self.assertSender(answer)

    async def test_packed(self: TestCase) -> None:
        """
        What is packed comes as that.
        """
        answer = await self.ask("/files/packed.txt.gz")
        self.assertEqual(answer.headers["Content-Encoding"], "gzip")
        self.assertEqual(answer.headers["Content-Type"], "text/plain")
        self.assertEqual(answer.body, CONTENT)

    async def test_missing(self: TestCase) -> None:
        """
        Nothing else can be had.
        """
        for path in (
            "/files/none",
            "/files/../secret.txt",
            "/files/%2e%2e/secret.txt",
            "/files/..%2fsecret.txt",
            "/files/sub/..%2f..%2f..%2fsecret.txt",
            "/internal/large.bin",
            "/internal/../secret.txt",
            "/secret.txt",
        ):
            answer = await self.ask(path)
            self.assertIn(answer.status, (400, 403, 404), path)
            self.assertNotIn(b"secret", answer.body)


class NginxTests(Files, TestCase):
    """
    nginx sends them.
    """

    async def where(self) -> str:
        """
        Tell where nginx is.
        """
        return self.site.urls["FILES"]


class LighttpdTests(Files, TestCase):
    """
    lighttpd sends them.
    """

    async def where(self) -> str:
        """
        Tell where lighttpd is.
        """
        return await sender("lighttpd", self.site)


class ApacheTests(Files, TestCase):
    """
    Apache sends them.
    """

    # It does not decode the names that it is told.
    doubtful = ("a%20b.txt",)

    async def where(self) -> str:
        """
        Tell where Apache is.
        """
        return await sender("apache", self.site)


class TwistedTests(Files, TestCase):
    """
    Twisted sends them, as nginx has not said that it can.
    """

    sendsItself = False

    async def where(self) -> str:
        """
        Tell where nginx is.
        """
        return self.site.urls["HTTP"]
