# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Django, Flask and Mercurial, as C{twistd fastcgi --wsgi} serves them behind
nginx: the examples of the documentation.
"""

from __future__ import annotations

import re
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.sites import EXAMPLES, PASSWORD, USER, Browser, Site, run, site
from tests.programs import PATIENCE

#: A file of 3 MB, no two lines of which are the same.
UPLOAD = b"".join(b"%07d\n" % number for number in range(400_000))


class SiteTestCase(TestCase):
    """
    A test case with a site, and clients in a thread.
    """

    timeout = 2 * PATIENCE
    site: Site

    def url(self, path: str, door: str = "HTTP") -> str:
        """
        Tell where a page is.
        """
        return self.site.urls[door] + path


def makeDjango(folder: Path) -> None:
    """
    Make the database of a Django site, with one user.
    """
    manage = [sys.executable, EXAMPLES / "django_site.py"]
    run([*manage, "migrate"], folder)
    run(
        [*manage, "createsuperuser", "--noinput"],
        folder,
        DJANGO_SUPERUSER_USERNAME="admin",
        DJANGO_SUPERUSER_PASSWORD="secret",
        DJANGO_SUPERUSER_EMAIL="admin@example.com",
    )


class DjangoTests(SiteTestCase):
    """
    Django.
    """

    async def setUp(self) -> None:
        """
        Start it.
        """
        options = ("--wsgi", "django_site:application", "--threads", "4")
        self.site = await site("django", *options, prepare=makeDjango)

    async def test_admin(self) -> None:
        """
        One can log in to the admin, and change something there.
        """
        await deferToThread(self.useAdmin)

    def useAdmin(self) -> None:
        """
        Log in, and add a user.
        """
        browser = Browser()
        page = browser.ask(self.url("/admin/", "HTTPS"))
        self.assertIn("/admin/login/?next=/admin/", page.url)
        login = {"username": "admin", "password": "secret", "next": "/admin/"}
        page = self.submit(browser, page.url, login)
        self.assertEqual(page.url, self.url("/admin/", "HTTPS"), page.text)
        self.assertIn("Site administration", page.text)
        self.assertTrue(all(cookie.secure for cookie in browser.cookies))
        add = self.url("/admin/auth/group/add/", "HTTPS")
        page = self.submit(browser, add, {"name": "readers", "_save": "Save"})
        self.assertIn("was added successfully", page.text)

    def submit(self, browser: Browser, url: str, fields: dict[str, str]) -> Any:
        """
        Fill in a form.
        """
        token = self.token(browser.ask(url))
        data = urlencode({**fields, "csrfmiddlewaretoken": token}).encode()
        return browser.ask(url, data, headers={"Referer": url})

    def token(self, page: Any) -> str:
        """
        Find what tells Django that a form is its own.
        """
        found = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert found is not None, page.text
        return found[1]

    async def test_csrf(self) -> None:
        """
        Behind HTTPS Django accepts forms from its own pages, and no others:
        it knows that the client came by HTTPS, and by which name.
        """
        await deferToThread(self.tryForms)

    def tryForms(self) -> None:
        """
        Send a form from several places.
        """
        browser = Browser()
        url = self.url("/upload", "HTTPS")
        token = self.token(browser.ask(url))
        data = urlencode({"csrfmiddlewaretoken": token}).encode()
        for referer, reason in [
            ({}, "no Referer"),
            ({"Referer": "https://other.example/"}, "does not match"),
            ({"Referer": self.url("/upload")}, "insecure"),
            ({"Origin": "https://other.example"}, "does not match"),
        ]:
            answer = browser.ask(url, data, headers=referer)
            self.assertEqual(answer.status, 403, reason)
        self.assertEqual(browser.upload(url, b"", csrfmiddlewaretoken="x").status, 403)
        answer = browser.upload(url, UPLOAD, csrfmiddlewaretoken=token)
        self.assertEqual(answer.text, sha256(UPLOAD).hexdigest())

    async def test_streaming(self) -> None:
        """
        What a view yields comes when it does so, while others are served.
        """
        await deferToThread(self.listen)

    def listen(self) -> None:
        """
        Listen to what is said.
        """
        browser = Browser()
        with browser.open(self.url("/listen")) as response:
            self.assertEqual(response.readline(), b"listening\n")
            for word in ("one", "two", "end"):
                self.assertEqual(browser.ask(self.url(f"/say/{word}")).status, 204)
                self.assertEqual(response.readline(), f"{word}\n".encode())
            self.assertEqual(response.read(), b"")

    async def test_leaves(self) -> None:
        """
        Clients that leave do not keep threads, of which there are four.
        """
        await deferToThread(self.leave)

    def leave(self) -> None:
        """
        Listen, but not to the end, ten times.
        """
        browser = Browser()
        for _ in range(10):
            with browser.open(self.url("/listen")) as response:
                self.assertEqual(response.readline(), b"listening\n")
            browser.ask(self.url("/say/something"))
        self.assertEqual(browser.ask(self.url("/say/end")).status, 204)


class FlaskTests(SiteTestCase):
    """
    Flask.
    """

    async def setUp(self) -> None:
        """
        Start it.
        """
        self.site = await site("flask", "--wsgi", "flask_app:app")

    async def test_pages(self) -> None:
        """
        Sessions, forms and redirections work.
        """
        await deferToThread(self.login)

    def login(self) -> None:
        """
        Log in to the application.
        """
        browser = Browser()
        for door, secure in (("HTTP", "false"), ("HTTPS", "true")):
            answer = browser.ask(self.url("/login", door), b"name=bob")
            self.assertEqual(answer.url, self.url("/", door))
            self.assertEqual(
                re.sub(r"\s", "", answer.text),
                f'{{"client":"127.0.0.1","hello":"bob","secure":{secure}}}',
            )

    async def test_user(self) -> None:
        """
        Who has logged in to the web server is known to the application, and
        nobody can claim to have.
        """
        await deferToThread(self.logInToServer)

    def logInToServer(self) -> None:
        """
        Log in to the web server.
        """
        browser = Browser()
        url = self.url("/", "USERS")
        self.assertEqual(browser.ask(url).status, 401)
        known = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        answer = browser.ask(url, headers={"Authorization": f"Basic {known}"})
        self.assertIn(f'"{USER}"', answer.text)
        answer = browser.ask(self.url("/"), headers={"Remote-User": USER})
        self.assertIn('"stranger"', answer.text)

    async def test_bodies(self) -> None:
        """
        Large bodies come whole, in both directions.
        """
        await deferToThread(self.exchangeBodies)

    def exchangeBodies(self) -> None:
        """
        Upload and download.
        """
        browser = Browser()
        digest = sha256(UPLOAD).hexdigest()
        self.assertEqual(browser.upload(self.url("/upload"), UPLOAD).text, digest)
        pieces = (UPLOAD[at : at + 10000] for at in range(0, len(UPLOAD), 10000))
        for body in (UPLOAD, pieces):
            # What can't tell its length is sent in chunks.
            answer = browser.ask(self.url("/raw"), body, method="PUT")
            self.assertEqual(answer.text, digest)
        expected = "".join(f"{number}\n" for number in range(300_000))
        self.assertEqual(browser.ask(self.url("/numbers/300000")).text, expected)


class MercurialTests(SiteTestCase):
    """
    Mercurial's C{hgweb}, below a path of its own.
    """

    async def setUp(self) -> None:
        """
        Start it, and make a repository.
        """
        options = ("--mount", "/hg", "--wsgi", "hg_server:application")
        self.site = await site("hgweb", *options, prepare=self.makeRepository)

    def makeRepository(self, folder: Path) -> None:
        """
        Make a repository with a large file.
        """
        self.hg(folder, "init", "repositories/main")
        (folder / "repositories/main/file").write_bytes(UPLOAD)
        self.commit(folder / "repositories/main", "first")
        (folder / "hgweb.config").write_text(
            "[paths]\n/ = repositories/*\n"
            "[web]\nallow-push = *\npush_ssl = false\nbaseurl = /hg\n"
        )

    def hg(self, folder: Path, *arguments: str) -> str:
        """
        Run Mercurial.
        """
        command = [sys.executable, "-m", "mercurial", "--config", "ui.username=me"]
        return run([*command, *arguments], folder, HGRCPATH="", HGPLAIN="1")

    def commit(self, folder: Path, message: str) -> None:
        """
        Commit what is there.
        """
        self.hg(folder, "commit", "--addremove", "--message", message)

    async def test_work(self) -> None:
        """
        A repository is cloned, and what was committed is pushed.
        """
        await deferToThread(self.work)

    def work(self) -> None:
        """
        Clone, commit and push.
        """
        folder = self.site.folder
        url = self.url("/hg/main")
        self.hg(folder, "clone", url, "mine")
        self.assertEqual((folder / "mine/file").read_bytes(), UPLOAD)
        (folder / "mine/other").write_bytes(UPLOAD[::-1])
        self.commit(folder / "mine", "second")
        self.hg(folder / "mine", "push")
        log = self.hg(folder / "repositories/main", "log", "--template", "{desc},")
        self.assertEqual(log, "second,first,")
        self.hg(folder / "repositories/main", "verify")

    async def test_pages(self) -> None:
        """
        Its pages are there, and lead to each other.
        """
        answer = await deferToThread(Browser().ask, self.url("/hg/"))
        self.assertIn('href="/hg/main/"', answer.text)
        answer = await deferToThread(Browser().ask, self.url("/hg/main/file/tip"))
        self.assertIn("/hg/main/", answer.text)
        self.assertEqual(
            (await deferToThread(Browser().ask, self.url("/"))).status, 404
        )
