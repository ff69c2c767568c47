# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Instances of a template of systemd, with a socket each, behind nginx.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop import test_nginx
from tests.interop.servers import Running, webServerFor
from tests.interop.test_drain import Load
from tests.interop.test_spawners import SystemdMixin
from tests.programs import fetch

#: Tells which process it is in, or what it was asked.
HELLO = """
    import os
    from twisted.web.resource import Resource

    class Hello(Resource):
        isLeaf = True

        def render_GET(self, request):
            if request.path == b"/who":
                return b"%d" % os.getpid()
            return b"%s %d" % (request.path, len(request.content.read()))

        render_PUT = render_POST = render_GET
"""

NAMES = ("1", "2")

PLAIN = test_nginx.NginxTests.server


class InstancesTests(SystemdMixin, TestCase):
    """
    Two instances.
    """

    server = replace(
        PLAIN,
        name="nginx, instances",
        recipe="nginx/instances.conf",
        replaced={
            **{name: PLAIN.replaced[name] for name in PLAIN.replaced if " " in name},
            "/run/app-": "@SOCKET@-",
        },
    )

    async def setUp(self) -> None:
        """
        Have sockets, as systemd does, and nginx.
        """
        super().setUp()
        (self.folder / "hello.py").write_text(dedent(HELLO))
        self.sockets = {
            name: self.listener(self.instance("socket", name)) for name in NAMES
        }
        for skt in self.sockets.values():
            # Whoever nginx runs as.
            os.chmod(skt.getsockname(), 0o666)
        behind = Running()
        behind.values = {"SOCKET": self.path}
        self.front = await webServerFor(self.server, behind)
        self.addCleanup(self.front.stop)

    def instance(self, kind: str, name: str) -> Path:
        """
        Make of the template what systemd makes of it for an instance.
        """
        unit = self.recipe(f"systemd/app@.{kind}")
        made = unit.with_name(f"app@{name}.{kind}")
        made.write_text(unit.read_text().replace("%i", name))
        return made

    def start(self, name: str) -> Any:
        """
        Run an instance.
        """
        return self.started(self.instance("service", name), self.sockets[name])

    def who(self) -> int:
        """
        Ask nginx which process answers.
        """
        return int(fetch(f"http://127.0.0.1:{self.front.address}/who"))

    def restarted(self) -> None:
        """
        Start them again, one after the other, under load.
        """
        with ExitStack() as stack:
            running = {name: stack.enter_context(ExitStack()) for name in NAMES}
            pids = {
                name: running[name].enter_context(self.start(name)).pid
                for name in NAMES
            }
            self.assertEqual({self.who() for _ in range(8)}, set(pids.values()))
            load = Load(self.front.address, ("GET", "PUT", "POST"))
            self.addCleanup(load.finish)
            for name in NAMES:
                load.waitForGood()
                running[name].close()
                pids[name] = running[name].enter_context(self.start(name)).pid
            load.waitForGood()
            self.assertEqual(set(load.finish()), {200}, self.front.said())
            self.assertEqual({self.who() for _ in range(8)}, set(pids.values()))

    async def test_restarted(self) -> None:
        """
        nginx asks all of them, and loses nothing while one after the other starts
        again: who comes meanwhile waits in the socket.
        """
        await deferToThread(self.restarted)
