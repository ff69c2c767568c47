# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind Caddy.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.servers import WebServer, reached

#: The site, without HTTPS and without what else listens on fixed ports.
_SITE = """{
	admin off
	auto_https off
}
http://:@PORT@ {
	bind 127.0.0.1
"""


def _caddy(name: str, recipe: str, mount: str = "/") -> WebServer:
    """
    Describe Caddy with one of the recipes.
    """
    return WebServer(
        name,
        program="caddy",
        arguments=("run", "--adapter", "caddyfile", "--config", "@CONFIGURATION@"),
        recipe=f"caddy/{recipe}.caddyfile",
        replaced={"www.example.com {\n": _SITE, **reached(byTCP=recipe == "tcp")},
        environment={"HOME": "@FOLDER@", "XDG_DATA_HOME": "@FOLDER@"},
        mount=mount,
        tells=("during",),
        # It does not notice that a connection ends too early.
        hides=("failedLate",),
        # It passes on what it gets.
        paths={"..": ["b", "..", "a"], ".": [".", "a"], "//": ["", "a"]},
    )


class CaddyTests(EndToEnd, TestCase):
    """
    Caddy as it comes.
    """

    server = _caddy("Caddy", "app")


class TCPCaddyTests(EndToEnd, TestCase):
    """
    Caddy that reaches the application by TCP.
    """

    server = _caddy("Caddy, TCP", "tcp")


class PrefixedCaddyTests(Mounted, TestCase):
    """
    Caddy with an application at C{/app}, which has been told that.
    """

    server = _caddy("Caddy, prefix", "prefix", "/app")


class ScriptCaddyTests(Mounted, TestCase):
    """
    Caddy that tells an application that it is at C{/app}.
    """

    server = _caddy("Caddy, script", "script", "script-name")


class RefusingCaddyTests(Refusing, TestCase):
    """
    Caddy with an access rule.
    """

    server = _caddy("Caddy, rules", "rules")
