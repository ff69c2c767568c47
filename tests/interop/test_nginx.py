# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind nginx with its own C{fastcgi_params}.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted.trial.unittest import TestCase

from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.servers import WebServer, reached


def _nginx(
    name: str,
    recipe: str,
    mount: str = "/",
    keeps: bool = False,
    passes: bool = False,
    moved: Collection[tuple[str, str]] = (),
) -> WebServer:
    """
    Describe nginx with one of the recipes.

    @param moved: Paths in the recipe that are to be other ones.
    """
    return WebServer(
        name,
        program="nginx",
        arguments=("-p", "@FOLDER@", "-c", "@CONFIGURATION@", "-e", "stderr"),
        recipe=f"nginx/{recipe}.conf",
        replaced={
            "listen 80;": "listen 127.0.0.1:@PORT@;",
            "include fastcgi_params;": "include /etc/nginx/fastcgi_params;",
            **reached(byTCP=recipe == "tcp"),
            **{f"location {path} {{": f"location {new} {{" for path, new in moved},
        },
        harness="nginx/nginx.conf",
        mount=mount,
        keeps=keeps,
        # It can't tell the end of a response from the loss of a connection.
        hides=() if keeps else ("failedLate",),
        passesUploads=passes,
        passes=("authorization",),
        believes=True,
        # It is more than one of its buffers can take.
        hugeHead=502,
    )


class NginxTests(EndToEnd, TestCase):
    """
    nginx as it comes, which waits for the end of the connection.
    """

    server = _nginx("nginx", "app")


class KeepingNginxTests(EndToEnd, TestCase):
    """
    nginx that keeps its connections to the application.
    """

    server = _nginx("nginx, keeping", "keeping", keeps=True)


class StreamingNginxTests(EndToEnd, TestCase):
    """
    nginx that passes on bodies while they come.
    """

    server = _nginx("nginx, streaming", "streaming", passes=True)


class TCPNginxTests(EndToEnd, TestCase):
    """
    nginx that keeps its connections, and reaches the application by TCP.
    """

    server = _nginx("nginx, TCP", "tcp", keeps=True)


class PrefixedNginxTests(Mounted, TestCase):
    """
    nginx with an application at C{/app}, which has been told that.
    """

    server = _nginx("nginx, prefix", "prefix", "/app")


class ScriptNginxTests(Mounted, TestCase):
    """
    nginx that tells an application that it is at C{/app}.
    """

    server = _nginx("nginx, script", "script", "script-name")


class RefusingNginxTests(Refusing, TestCase):
    """
    nginx with an access rule.
    """

    server = _nginx("nginx, rules", "rules")


class PrefixedRefusingNginxTests(Refusing, TestCase):
    """
    nginx with an access rule for a part of an application at C{/app}.
    """

    server = _nginx(
        "nginx, rules and prefix",
        "rules",
        "/app",
        moved=[("/", "/app"), ("/private", "/app/private")],
    )
