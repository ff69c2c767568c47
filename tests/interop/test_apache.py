# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind Apache's I{mod_proxy_fcgi}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.trial.unittest import TestCase

from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.servers import WebServer, reached

#: Apache refuses encoded slashes if it is not told otherwise.
NO_SLASHES = {"%2F": 404}


def _apache(
    name: str,
    recipe: str,
    mount: str = "/",
    keeps: bool = False,
    streams: bool = False,
    paths: Mapping[str, Sequence[str] | int] = NO_SLASHES,
    replaced: Mapping[str, str] | None = None,
) -> WebServer:
    """
    Describe Apache with one of the recipes.
    """
    return WebServer(
        name,
        program="apache2",
        software="apache",
        arguments=("-D", "FOREGROUND", "-f", "@CONFIGURATION@"),
        recipe=f"apache/{recipe}.conf",
        replaced={
            "*:80": "127.0.0.1:@PORT@",
            **reached(byTCP=recipe == "tcp"),
            **(replaced or {}),
        },
        harness="apache/apache.conf",
        mount=mount,
        keeps=keeps,
        streams=streams,
        # It does, but waits for the client's next piece before it reads an answer.
        passesUploads=False,
        tells=("during",),
        # It does not pass on what length the application told, unless it is told
        # to.
        hides=() if keeps else ("brokenOff", "tooShort"),
        lingers=("failedLate", "brokenOff", "tooShort") if keeps else ("failedLate",),
        passes=(),
        paths=paths,
    )


class ApacheTests(EndToEnd, TestCase):
    """
    Apache as it comes.
    """

    server = _apache("Apache", "app")


class KeepingApacheTests(EndToEnd, TestCase):
    """
    Apache that keeps its connections to the application.
    """

    server = _apache("Apache, keeping", "keeping", keeps=True)


class TCPApacheTests(EndToEnd, TestCase):
    """
    Apache that does so, and reaches the application by TCP.
    """

    server = _apache("Apache, TCP", "tcp", keeps=True, streams=True)


class HandlerApacheTests(EndToEnd, TestCase):
    """
    Apache that has the application as a handler.
    """

    server = _apache("Apache, handler", "handler")


class PrefixedApacheTests(Mounted, TestCase):
    """
    Apache with an application at C{/app}, which has been told that.
    """

    server = _apache("Apache, prefix", "prefix", "/app")


class ScriptApacheTests(Mounted, TestCase):
    """
    Apache that tells an application that it is at C{/app}.
    """

    server = _apache("Apache, script", "script", "script-name")


class SlashesApacheTests(Mounted, TestCase):
    """
    Apache that takes encoded slashes for a part of a name.
    """

    server = _apache("Apache, slashes", "slashes", paths={})


class RefusingApacheTests(Refusing, TestCase):
    """
    Apache with an access rule.
    """

    server = _apache("Apache, rules", "rules")


class SlashesRefusingApacheTests(Refusing, TestCase):
    """
    Apache with an access rule, and encoded slashes.
    """

    server = _apache(
        "Apache, rules and slashes",
        "rules",
        paths={},
        replaced={"ServerName": "AllowEncodedSlashes On\n    ServerName"},
    )
