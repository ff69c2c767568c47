# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} behind lighttpd.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.servers import WebServer, reached
from tests.programs import STOPPED

#: How lighttpd starts the application, in the recipe.
_TWISTD = "/usr/bin/twistd --nodaemon --pidfile= --logfile=/var/log/lighttpd/app.log"


def _lighttpd(
    name: str, recipe: str, plain: dict[str, str] | None = None, **traits: Any
) -> WebServer:
    """
    Describe lighttpd with one of the recipes.
    """
    # It waits for the end of a response before it sends any of it, and does not
    # look at the client meanwhile.  What ends without its length being known
    # ends well for it; after what is too short it waits for another request.
    known = {
        "streams": False,
        "tells": (),
        "hides": ("failedLate",),
        "lingers": ("brokenOff", "tooShort"),
        **traits,
    }
    return WebServer(
        name,
        program="lighttpd",
        # As it does now and then, after having served, without anything else.
        endings=(*STOPPED, 1),
        arguments=("-D", "-f", "@CONFIGURATION@"),
        recipe=f"lighttpd/{recipe}.conf",
        replaced=plain or reached(byTCP=False),
        harness="lighttpd/lighttpd.conf",
        **known,
    )


class LighttpdTests(EndToEnd, TestCase):
    """
    lighttpd as it comes.
    """

    server = _lighttpd("lighttpd", "app")


class StreamingLighttpdTests(EndToEnd, TestCase):
    """
    lighttpd that passes on bodies while they come.
    """

    server = _lighttpd(
        "lighttpd, streaming",
        "streaming",
        passesUploads=True,
        streams=True,
        tells=("during",),
        hides=(),
        chunked=411,
    )


class SpawningLighttpdTests(EndToEnd, TestCase):
    """
    lighttpd that starts the application.
    """

    server = _lighttpd(
        "lighttpd, spawning",
        "spawned",
        {
            _TWISTD: "@TWISTD@ --nodaemon --pidfile= --logfile=@LOG@",
            "hello.Hello": "tests.interop.application.root",
            "/run/lighttpd/app.sock": "@SOCKET@",
            "/srv/app": "@ROOT@",
        },
        spawns=True,
    )


class PrefixedLighttpdTests(Mounted, TestCase):
    """
    lighttpd with an application at C{/app}, which has been told that.
    """

    server = _lighttpd("lighttpd, prefix", "mounted", mount="/app")


class ScriptLighttpdTests(Mounted, TestCase):
    """
    lighttpd that tells an application that it is at C{/app}.
    """

    server = _lighttpd("lighttpd, script", "mounted", mount="script-name")


class RefusingLighttpdTests(Refusing, TestCase):
    """
    lighttpd with an access rule.
    """

    server = _lighttpd("lighttpd, rules", "rules")


class ScriptRefusingLighttpdTests(Refusing, TestCase):
    """
    lighttpd with an access rule for a part of an application at C{/app}.
    """

    server = _lighttpd(
        "lighttpd, rules and script",
        "rules",
        {
            '"/" =>': '"/app" =>',
            '"^/private"': '"^/app/private"',
            '"fix-root-scriptname" => "enable"': "",
            "/run/app.sock": "@SOCKET@",
        },
        mount="script-name",
    )
