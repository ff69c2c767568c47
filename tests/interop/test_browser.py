# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for C{twist fastcgi --preview} with a real browser.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.browsers import chromium
from tests.programs import ROOT, SCRIPTS, serving

#: Colours of the demonstration: of the page, and of its text.
COLOURS = {
    "light": ("rgb(244, 245, 247)", "rgb(26, 31, 38)"),
    "dark": ("rgb(18, 21, 24)", "rgb(228, 231, 235)"),
}

#: How wide the page and the window are, and those colours.
LOOKS = """
let style = getComputedStyle(document.body);
return [document.documentElement.scrollWidth, innerWidth,
        style.backgroundColor, style.color];
"""


class BrowserTests(SynchronousTestCase):
    """
    Chromium, and the preview of an application.
    """

    def setUp(self) -> None:
        """
        Start the browser.
        """
        stack = ExitStack()
        self.browser = stack.enter_context(chromium())
        self.addCleanup(stack.close)

    def preview(self, *arguments: str) -> str:
        """
        Preview an application for the time of the test.

        @return: The URL from its log.
        """
        command = [SCRIPTS / "twist", "--log-format=text", "fastcgi", *arguments]
        command += ["--preview", "tcp:0:interface=127.0.0.1"]
        running = serving(command, PYTHONPATH=str(ROOT))
        log = running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", "".join(log))
        return url

    def test_page(self) -> None:
        """
        A page with its style sheet, a form whose answer is a redirection,
        cookies, a session and an upload work as they would with any web server.
        """
        browser = self.browser
        browser.open(self.preview("--resource", "tests.interop.forms.root"))
        self.assertEqual(browser.run("return document.title"), "Home")
        colour = "return getComputedStyle(document.querySelector('h1')).color"
        self.assertEqual(browser.run(colour), "rgb(1, 2, 3)")

        browser.type("form[action=greet] input", "Ünal & <Co>")
        browser.follow("form[action=greet] button")
        self.assertEqual(browser.path, "/greeting")
        self.assertEqual(browser.text.strip(), "Hello, Ünal & <Co>! Visit 1.")
        browser.tell("refresh")
        self.assertEqual(browser.text.strip(), "Hello, Ünal & <Co>! Visit 2.")
        # The cookie is not for scripts.
        self.assertNotIn("name=", browser.run("return document.cookie"))

        browser.open(browser.run("return location.origin"))
        browser.follow("a")
        self.assertEqual(browser.path, "/new?from=old")
        self.assertEqual(browser.text.strip(), "This is /new?from=old")

    def test_upload(self) -> None:
        """
        A file that is uploaded arrives as it is.
        """
        content = bytes(range(256)) * 4000
        folder = TemporaryDirectory(prefix="upload-")
        self.addCleanup(folder.cleanup)
        file = Path(folder.name, "some file.bin")
        file.write_bytes(content)
        browser = self.browser
        browser.open(self.preview("--resource", "tests.interop.forms.root"))
        browser.type("[name=note]", "über")
        browser.type("[type=file]", str(file))
        browser.follow("form[action=upload] button")
        self.assertEqual(
            browser.text.strip(),
            f"über {len(content)} {sha256(content).hexdigest()}",
        )

    def test_demonstration(self) -> None:
        """
        The page that shows what the web server sent fits on a phone and on a
        desk, is light or dark, loads nothing else, and is read without
        JavaScript.
        """
        browser = self.browser
        browser.disableScripts()
        url = self.preview()
        for width in (390, 1280):
            for scheme, colours in COLOURS.items():
                browser.emulate(width, scheme)
                browser.open(f"{url}a%20b/c?d=e")
                text = browser.text
                for word in ("over FastCGI", "PATH_INFO", "/a b/c", "HTTP_USER_AGENT"):
                    self.assertIn(word, text)
                *sizes, page, ink = browser.run(LOOKS)
                self.assertEqual(sizes, [width, width])
                self.assertEqual((page, ink), colours)
        loaded = "return performance.getEntriesByType('resource').length"
        self.assertEqual(browser.run(loaded), 0)
        self.assertNotIn("BEGIN_REQUEST\n", browser.text)
        self.assertNotIn("header 01 01", browser.text)
        browser.click("summary")
        self.assertIn("header 01 01", browser.text)
