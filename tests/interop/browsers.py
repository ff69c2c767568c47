# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A real browser: Chromium without a window, told what to do by chromedriver,
which speaks WebDriver (W3C): JSON over HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tests.programs import PATIENCE, program, serving

#: For running it as root, in a container, without any traffic of its own.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)

#: Tells whether a page is another one than before, and there as a whole.
_IS_NEW = "return !window.isOld && document.readyState == 'complete'"

#: What WebDriver calls an element.
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """
    A browser with one window.
    """

    def __init__(self, url: str, session: str) -> None:
        """
        @param url: Where chromedriver is.
        @param session: The name of the session.
        """
        self._url = f"{url}/session/{session}"

    def tell(self, command: str, **arguments: Any) -> Any:
        """
        Have the browser do something.

        @param command: A command of WebDriver that is sent by I{POST}.
        @return: What comes of it.
        """
        return _call(f"{self._url}/{command}", arguments)

    def open(self, url: str) -> None:
        """
        Go to a page, and wait until it is there.
        """
        self.tell("url", url=url)

    def run(self, script: str) -> Any:
        """
        Run JavaScript in the page.

        @return: What the script returns.
        """
        return self.tell("execute/sync", script=script, args=[])

    def find(self, selector: str) -> str:
        """
        Find an element by a CSS selector.

        @return: The start of the commands for it.
        """
        found = self.tell("element", using="css selector", value=selector)
        return f"element/{found[_ELEMENT]}"

    def type(self, selector: str, text: str) -> None:
        """
        Type something; the name of a file, if it is a field for that.
        """
        self.tell(f"{self.find(selector)}/value", text=text)

    def click(self, selector: str) -> None:
        """
        Click on something.
        """
        self.tell(f"{self.find(selector)}/click")

    def follow(self, selector: str) -> None:
        """
        Click on something, and wait for the page to which that leads: an upload
        begins only after the click is over.
        """
        self.run("window.isOld = true")
        self.click(selector)
        deadline = monotonic() + PATIENCE
        while not self._isNew():
            assert monotonic() < deadline, f"{selector} leads nowhere"

    def _isNew(self) -> bool:
        """
        Tell whether there is another page, all of it.
        """
        try:
            isNew: bool = self.run(_IS_NEW)
        except HTTPError:
            # The old one has gone meanwhile.
            return False
        return isNew

    @property
    def text(self) -> str:
        """
        The text of the page.
        """
        text: str = self.run("return document.body.innerText")
        return text

    @property
    def path(self) -> str:
        """
        What the address line shows behind the host.
        """
        path: str = self.run("return location.pathname + location.search")
        return path

    def emulate(self, width: int, scheme: str) -> None:
        """
        Take another size and colour scheme.
        """
        self._chromium(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._chromium("Emulation.setEmulatedMedia", {"features": features})

    def disableScripts(self) -> None:
        """
        Run none of the page's own JavaScript any more.
        """
        self._chromium("Emulation.setScriptExecutionDisabled", {"value": True})

    def _chromium(self, command: str, parameters: dict[str, Any]) -> None:
        """
        Give a command that only Chromium knows.
        """
        self.tell("goog/cdp/execute", cmd=command, params=parameters)


def _call(url: str, body: Any, method: str = "POST") -> Any:
    """
    Ask chromedriver.
    """
    request = Request(url, json.dumps(body).encode(), method=method)
    with build_opener(ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
        return json.load(answer)["value"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """
    Run a browser that knows nothing yet, until the end of the block.

    @raise SkipTest: If it is not installed, except in CI, where it must be.
    """
    driver, browser = program("chromedriver"), program("chromium")
    ready = "started successfully on port"
    with TemporaryDirectory(prefix="chromium-") as folder:
        with serving([driver, "--port=0"], folder, ready, HOME=folder) as log:
            (port,) = re.findall(rf"{ready} (\d+)", "".join(log))
            yield from _session(f"http://127.0.0.1:{port}", browser, Path(folder))


def _session(url: str, browser: str, folder: Path) -> Iterator[Browser]:
    """
    Start a browser, and close it in the end.
    """
    options = {
        "binary": browser,
        "args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"],
    }
    wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
    session = _call(f"{url}/session", {"capabilities": wanted})["sessionId"]
    try:
        yield Browser(url, session)
    finally:
        _call(f"{url}/session/{session}", {}, "DELETE")
