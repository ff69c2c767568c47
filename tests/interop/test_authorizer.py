# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi --authorizer}, asked by web servers about requests that another
application then serves.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.trial.unittest import TestCase

from tests.interop.clients import Answer, Client
from tests.interop.endtoend import UPLOAD
from tests.interop.servers import (
    Running,
    WebServer,
    application,
    freePort,
    webServerFor,
)
from tests.interop.test_fcgid import READING
from tests.programs import PATIENCE, ROOT, SCRIPTS, installed

#: Who has a password, in the words of the example.
_USERS = "zoe:right\n"

_started: dict[str, Running] = {}


async def authorizer(name: str) -> Running:
    """
    Run an example that is an authorizer, if that is not yet done.

    @param name: What C{--authorizer} is told.
    @return: What adds where it is, and where an application is, to templates.
    """
    if name not in _started:
        running = Running()
        (running.folder / "users").write_text(_USERS)
        path = running.folder / "authorizer.sock"
        port = freePort()
        command = (
            f"{SCRIPTS / 'twistd'} --nodaemon --pidfile= fastcgi --authorizer {name} "
            f"--port tcp:{port}:interface=127.0.0.1 --port unix:{path}"
        )
        modules = f"{ROOT / 'docs/examples'}:{ROOT}"
        await running.start(command.split(), path, PYTHONPATH=modules)
        behind = await application()
        own = {"AUTHORIZER": str(path), "AUTHORIZERPORT": str(port)}
        running.values = {**behind.values, **own}
        _started[name] = running
    return _started[name]


async def front(server: WebServer, name: str) -> Running:
    """
    Run a web server before both, if that is not yet done.
    """
    if server.name not in _started:
        for path in server.needs:
            installed(path)
        running = await webServerFor(server, await authorizer(name))
        # For those who start the authorizer themselves.
        (running.folder / "users").write_text(_USERS)
        _started[server.name] = running
    return _started[server.name]


def _password(text: str) -> list[tuple[str, str]]:
    """
    Write a name and a password as a browser does (RFC 7617, section 2).
    """
    encoded = b64encode(text.encode("utf-8")).decode("ascii")
    return [("Authorization", f"Basic {encoded}")]


def _server(
    name: str, recipe: str, plain: Mapping[str, str], **options: Any
) -> WebServer:
    """
    Describe a web server of which the page that shows requests is guarded.
    """
    guarded = {"/private": "/echo", **plain}
    return WebServer(name, recipe=recipe, replaced=guarded, **options)


class Authorizing(Client):
    """
    Tests for a web server that asks L{PortalAuthorizer
    <twisted_fastcgi.authorizer.PortalAuthorizer>}.

    @cvar authorizer: What C{--authorizer} is told.
    @cvar showsPage: Whether the client gets the authorizer's own page.
    """

    timeout = 2 * PATIENCE
    authorizer = "authorizer.authorizer"
    showsPage = False

    async def setUp(self) -> None:
        """
        Start what is not running yet.
        """
        self._running = await front(self.server, self.authorizer)
        self._logged = 0
        self.newlyLogged()

    def echo(self, fields: Iterable[tuple[str, str]], *rest: Any) -> Any:
        """
        Ask for what is guarded.
        """
        return self.ask(b"/echo/a?b=c", "POST", fields, *(rest or (b"",)))

    def assertDenied(self, answer: Answer) -> None:
        """
        See that the client has been asked for a password, and that the
        application was not asked.
        """
        self.assertEqual(answer.status, 401)
        challenge = answer.headers["WWW-Authenticate"]
        self.assertIn('Basic realm="members"', challenge)
        self.assertNotIn(b'"postpath"', answer.body)
        shown = b"A name and a password are needed" in answer.body
        self.assertEqual(shown, self.showsPage)

    async def test_allowed(self) -> None:
        """
        The right password opens the page, which learns the name; each time.
        """
        for _ in range(2):
            answer = await self.echo(_password("zoe:right"))
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(answer.shown["user"], "zoe")
            self.assertEqual(answer.shown["postpath"], ["a"])
            self.assertEqual(answer.shown["args"], {"b": ["c"]})

    async def test_denied(self) -> None:
        """
        No password, and a wrong one, do not; they can be tried again.
        """
        for fields in ([], _password("zoe:wrong"), _password("ann:right")):
            self.assertDenied(await self.echo(fields))
        answer = await self.echo(_password("zoe:right"))
        self.assertEqual(answer.status, 200)

    async def test_upload(self) -> None:
        """
        The body of a request is none of the authorizer's, and gets to the
        application as a whole; or not at all.
        """
        answer = await self.echo(_password("zoe:right"), UPLOAD)
        self.assertEqual(answer.shown["length"], len(UPLOAD))
        self.assertEqual(answer.shown["user"], "zoe")
        self.assertDenied(await self.echo(_password("zoe:wrong"), UPLOAD[:1000]))

    async def test_others(self) -> None:
        """
        What is not guarded is for all.
        """
        answer = await self.ask(b"/")
        self.assertEqual(answer.body, b"Hello from the application.\n")


def _lighttpd(name: str) -> WebServer:
    """
    Describe lighttpd, which knows the role.
    """
    addresses = {
        "/run/app.sock": "@SOCKET@",
        "/run/authorizer.sock": "@AUTHORIZER@",
    }
    return _server(
        name,
        "lighttpd/authorizer.conf",
        addresses,
        program="lighttpd",
        arguments=("-D", "-f", "@CONFIGURATION@"),
        harness="lighttpd/lighttpd.conf",
    )


class LighttpdTests(Authorizing, TestCase):
    """
    lighttpd, which passes on the whole denial.
    """

    server = _lighttpd("lighttpd, authorizer")
    showsPage = True


def _nginx(name: str) -> WebServer:
    """
    Describe nginx, which asks by a request of its own.
    """
    return _server(
        name,
        "nginx/authorizer.conf",
        {
            "listen 80;": "listen 127.0.0.1:@PORT@;",
            "include fastcgi_params;": "include /etc/nginx/fastcgi_params;",
            "/run/app.sock": "@SOCKET@",
            "/run/authorizer.sock": "@AUTHORIZER@",
        },
        program="nginx",
        arguments=("-p", "@FOLDER@", "-c", "@CONFIGURATION@", "-e", "stderr"),
        harness="nginx/nginx.conf",
    )


class NginxTests(Authorizing, TestCase):
    """
    nginx, which has a page of its own for those that are denied.
    """

    server = _nginx("nginx, authorizer")


class ApacheTests(Authorizing, TestCase):
    """
    Apache's own module, which reaches authorizers by TCP alone.
    """

    server = _server(
        "Apache, authorizer",
        "apache/authorizer.conf",
        {
            "*:80": "127.0.0.1:@PORT@",
            "/run/app.sock": "@SOCKET@",
            "127.0.0.1:9000": "127.0.0.1:@AUTHORIZERPORT@",
        },
        program="apache2",
        arguments=("-D", "FOREGROUND", "-D", "AUTHNZ", "-f", "@CONFIGURATION@"),
        harness="apache/apache.conf",
    )


class FcgidTests(Authorizing, TestCase):
    """
    Apache that starts the authorizer itself.
    """

    server = _server(
        "mod_fcgid, authorizer",
        "mod_fcgid/authorizer.conf",
        {
            "*:80": "127.0.0.1:@PORT@",
            "/run/app.sock": "@SOCKET@",
            "/srv/app": "@FOLDER@",
            "exec twistd": "exec @TWISTD@",
            "--authorizer authorizer": "--authorizer docs.examples.authorizer",
        },
        program="apache2",
        arguments=("-D", "FOREGROUND", "-D", "FCGID", "-f", "@CONFIGURATION@"),
        wrapper=READING if os.geteuid() == 0 else (),
        needs=("/usr/lib/apache2/modules/mod_fcgid.so",),
        scripts=("mod_fcgid/authorizer.fcgi",),
        harness="apache/apache.conf",
    )


class TokenTests(Client):
    """
    Tests for a web server that asks an authorizer which knows tokens.
    """

    timeout = 2 * PATIENCE

    async def setUp(self) -> None:
        """
        Start what is not running yet.
        """
        self._running = await front(self.server, "tokens.Tokens")
        self._logged = 0
        self.newlyLogged()

    async def test_user(self) -> None:
        """
        Who the user is, is what the authorizer has said.
        """
        fields = [("X-Token", "4711"), *_password("somebody:else")]
        answer = await self.ask(b"/echo", fields=fields)
        self.assertEqual(answer.shown["user"], "zoe")

    async def test_denied(self) -> None:
        """
        Without a token there is nothing to be had.
        """
        for fields in ([], [("X-Token", "4712")]):
            answer = await self.ask(b"/echo", fields=fields)
            self.assertEqual(answer.status, 403)
            self.assertNotIn(b'"user"', answer.body)


class LighttpdTokenTests(TokenTests, TestCase):
    """
    lighttpd.
    """

    server = _lighttpd("lighttpd, tokens")


class NginxTokenTests(TokenTests, TestCase):
    """
    nginx.
    """

    server = _nginx("nginx, tokens")
