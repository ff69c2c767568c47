# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
C{twistd fastcgi} started by Apache's I{mod_fcgid}.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import TestCase

from tests.interop.endtoend import EndToEnd
from tests.interop.mounts import Mounted, Refusing
from tests.interop.servers import WebServer
from tests.interop.test_apache import NO_SLASHES

#: Apache, started by root, becomes another user, and so does what it starts:
#: with this right the tests may be where that user can't read.
READING = (
    "setpriv",
    "--securebits=+no_setuid_fixup",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)


def _fcgid(name: str, recipe: str, mount: str = "/") -> WebServer:
    """
    Describe Apache with one of the recipes.
    """
    return WebServer(
        name,
        program="apache2",
        software="apache",
        arguments=("-D", "FOREGROUND", "-D", "FCGID", "-f", "@CONFIGURATION@"),
        wrapper=READING if os.geteuid() == 0 else (),
        needs=("/usr/lib/apache2/modules/mod_fcgid.so",),
        recipe=f"mod_fcgid/{recipe}.conf",
        scripts=("mod_fcgid/app.fcgi",),
        replaced={
            "*:80": "127.0.0.1:@PORT@",
            "/srv/app": "@FOLDER@",
            "twistd --nodaemon --pidfile=": (
                "@TWISTD@ --nodaemon --pidfile= --logfile=@LOG@"
            ),
            "hello.Hello": "tests.interop.application.root",
        },
        harness="apache/apache.conf",
        mount=mount,
        spawns=True,
        together=False,
        tells=("during",),
        streams=False,
        passes=(),
        hides=("failedLate",),
        lingers=("brokenOff", "tooShort"),
        paths=NO_SLASHES,
    )


class FcgidTests(EndToEnd, TestCase):
    """
    Apache that starts the application.
    """

    server = _fcgid("mod_fcgid", "app")


class ScriptFcgidTests(Mounted, TestCase):
    """
    Apache that starts an application at C{/app}.
    """

    server = _fcgid("mod_fcgid, script", "script", "script-name")


class RefusingFcgidTests(Refusing, TestCase):
    """
    Apache that does so, with an access rule.
    """

    server = _fcgid("mod_fcgid, rules", "rules")
