# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind h2o.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.application import LARGE, large
from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.record import case
from tests.interop.servers import WebServer, webServer

#: What has it keep its connections, for this many milliseconds.
_KEPT = "fastcgi.timeout.keepalive: 5000"


def _h2o(name: str, recipe: str, mount: str = "/", keeps: bool = False) -> WebServer:
    """
    Describe h2o with one of the recipes.
    """
    byTCP = recipe == "tcp"
    kept = f"\n        {_KEPT}" if keeps else ""
    plain = "port: 9000" if byTCP else "/run/app.sock"
    return WebServer(
        name,
        program="h2o",
        arguments=("-m", "worker", "-c", "@CONFIGURATION@"),
        recipe=f"h2o/{recipe}.conf",
        replaced={
            "listen: 80\n": "listen: {host: 127.0.0.1, port: @PORT@}\n",
            '"www.example.com":': '"www.example.com:@PORT@":',
            plain: f"port: @TCP@{kept}" if byTCP else f"@SOCKET@{kept}",
        },
        mount=mount,
        keeps=keeps,
        tells=("during",),
        # It does not notice that a connection ends too early.
        hides=("failedLate",),
        paths={"//": ["", "a"]},
    )


class H2OTests(EndToEnd, TestCase):
    """
    h2o as it comes.
    """

    server = _h2o("h2o", "app")


class KeepingH2OTests(EndToEnd, TestCase):
    """
    h2o that keeps its connections to the application.
    """

    server = _h2o("h2o, keeping", "app", keeps=True)

    @case("5 MB upload refused early with 413")
    async def test_refusedUpload(self) -> None:
        """
        An answer that ends before the upload has been passed on makes h2o crash:
        it would use the connection again, and is still writing to it.
        """
        self._running = await webServer(replace(self.server, name="h2o, crashing"))
        head = self.request("POST", b"/echo", [("Content-Length", str(LARGE))])

        def inThread() -> bytes:
            with self.connected() as connection:
                connection.sendall(head + large())
                return connection.recv(1)

        self.assertEqual(await deferToThread(inThread), b"")
        self.assertIn("Assertion `!h2o_socket_is_writing", self._running.said())
        self.observed("crashes")


class TCPH2OTests(EndToEnd, TestCase):
    """
    h2o that reaches the application by TCP.
    """

    server = _h2o("h2o, TCP", "tcp")


class PrefixedH2OTests(Mounted, TestCase):
    """
    h2o with an application at C{/app}, which has been told that.
    """

    server = _h2o("h2o, prefix", "prefix", "/app")


class RefusingH2OTests(Refusing, TestCase):
    """
    h2o with an access rule.
    """

    server = _h2o("h2o, rules", "rules")
