# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind HAProxy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import uuid4

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.clients import Client, read
from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.record import case
from tests.interop.servers import WebServer, application, reached, webServer
from tests.programs import ask

#: HAProxy leaves paths as they are, and refuses what has to be encoded.
_PATHS = {
    "//": ["", "a"],
    "..": ["b", "..", "a"],
    ".": [".", "a"],
    "raw UTF-8": 400,
}


def _haproxy(
    name: str,
    recipe: str,
    mount: str = "/",
    keeps: bool = True,
    tells: Collection[str] = ("during",),
    replaced: Mapping[str, str] | None = None,
) -> WebServer:
    """
    Describe HAProxy with one of the recipes.
    """
    return WebServer(
        name,
        program="haproxy",
        arguments=("-db", "-f", "@CONFIGURATION@", "-f", "@RECIPE@"),
        recipe=f"haproxy/{recipe}.cfg",
        replaced={
            "bind :80": "bind 127.0.0.1:@PORT@",
            **reached(byTCP=recipe != "asking"),
            **(replaced or {}),
        },
        harness="haproxy/haproxy.cfg",
        mount=mount,
        keeps=keeps,
        passesUploads=True,
        tells=tells,
        passes=(),
        believes=True,
        chunked=400,
        paths=_PATHS,
    )


class HAProxyTests(EndToEnd, TestCase):
    """
    HAProxy as it comes.
    """

    server = _haproxy("HAProxy", "app")


class AskingHAProxyTests(EndToEnd, TestCase):
    """
    HAProxy that asks the application what it can do.
    """

    server = _haproxy("HAProxy, get-values", "asking")


class MultiplexingHAProxyTests(EndToEnd, TestCase):
    """
    HAProxy that may have several requests on a connection, but has them of one
    client only.
    """

    server = _haproxy("HAProxy, mpxs-conns", "multiplexing")


def _oneThread(server: WebServer) -> WebServer:
    """
    Describe another HAProxy, with one pool of connections.
    """
    threads = {"defaults\n": "global\n    nbthread 1\n\ndefaults\n"}
    return replace(
        server,
        name=f"{server.name}, one thread",
        replaced={**server.replaced, **threads},
    )


async def _tell(what: str, token: str) -> bytes:
    """
    Ask the application for C{/endings}, past HAProxy.

    @return: The body of its answer.
    """
    behind = await application()
    path = f"/endings/{what}/{token}"
    address = str(behind.address)
    told = await deferToThread(ask, address, REQUEST_URI=path, SCRIPT_NAME=path)
    return told.partition(b"\r\n\r\n")[2]


class ReusingHAProxyTests(EndToEnd, TestCase):
    """
    HAProxy that uses connections again for any client, and gives up what clients
    no longer wait for.
    """

    server = _haproxy("HAProxy, reusing", "reusing")

    @case("client vanishes before the response")
    async def test_vanishesBefore(self) -> None:
        """
        A request of a client that goes away is given up without a word to the
        application.  The next one is sent on the same connection: it gets 503,
        until the application has finished the first.
        """
        self._running = await webServer(_oneThread(self.server))
        token = uuid4().hex
        with self.connected() as connection:
            target = f"/endings/silent/{token}".encode("ascii")
            connection.sendall(self.request("GET", target))
            self.assertEqual(await _tell("begun", token), b"begun")
        answer = await self.ask(b"/")
        self.assertEqual(answer.status, 503)
        self.assertIn(b"This connection is serving another request.", answer.body)
        await _tell("finish", token)
        self.assertEqual(await _tell("ended", token), b"finished")
        self.assertEqual((await self.ask(b"/")).status, 200)
        self.observed("503 for the next client")


class CrowdedHAProxyTests(Client, TestCase):
    """
    HAProxy that has requests of several clients on a connection.
    """

    server = _haproxy(
        "HAProxy, crowded",
        "multiplexing",
        replaced={
            "frontend www": "global\n    nbthread 1\n\nfrontend www",
            "backend app\n": "backend app\n    http-reuse always\n",
        },
    )

    async def test_together(self) -> None:
        """
        While one request is in hand another one gets 503 at once, and does no
        harm to the first.
        """
        token = uuid4().hex
        with self.connected() as connection:
            target = f"/endings/silent/{token}".encode("ascii")
            connection.sendall(self.request("GET", target))
            self.assertEqual(await _tell("begun", token), b"begun")
            self.assertEqual((await self.ask(b"/")).status, 503)
            await _tell("finish", token)
            answer = await deferToThread(read, connection)
        self.assertEqual(answer.status, 200)


class ClosingHAProxyTests(EndToEnd, TestCase):
    """
    HAProxy that gives up what clients no longer wait for.
    """

    server = _haproxy(
        "HAProxy, closing", "closing", keeps=False, tells=("before", "during")
    )


class PrefixedHAProxyTests(Mounted, TestCase):
    """
    HAProxy with an application at C{/app}, which has been told that.
    """

    server = _haproxy("HAProxy, prefix", "prefix", "/app")


class ScriptHAProxyTests(Mounted, TestCase):
    """
    HAProxy that tells an application that it is at C{/app}.
    """

    server = _haproxy("HAProxy, script", "script", "script-name")


class RefusingHAProxyTests(Refusing, TestCase):
    """
    HAProxy with an access rule.
    """

    server = _haproxy("HAProxy, rules", "rules")
