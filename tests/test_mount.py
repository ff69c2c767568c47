# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.mount}.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import TableTestCase, table
from tests.transports import Application
from twisted_fastcgi.mount import ROOT, SCRIPT_NAME, mounted
from twisted_fastcgi.testing import FastCGITestClient


def show(request: Any) -> bytes:
    """
    Answer with where the application is and what is asked of it.
    """
    return b"%r %r" % (request.prepath, request.postpath)


class MountTests(TableTestCase):
    """
    An application begins somewhere in the path.
    """

    @table(
        {
            "the root": (ROOT, b"/app/a%2Fb", b"", [], [b"app", b"a/b"]),
            "the root, no path": (ROOT, b"/", b"", [], [b""]),
            "many slashes": ("//", b"/app/a", b"", [], [b"app", b"a"]),
            "a place": ("/app", b"/app/a/b", b"", [b"app"], [b"a", b"b"]),
            "a slash in the end": ("/app/", b"/app/a", b"", [b"app"], [b"a"]),
            "the place with a slash": ("/app", b"/app/", b"", [b"app"], [b""]),
            "the place itself": ("/app", b"/app", b"", [b"app"], []),
            "far down": ("/a/b/c", b"/a/b/c/d", b"", [b"a", b"b", b"c"], [b"d"]),
            "encoded": ("/a%20b", b"/a%20b/c", b"", [b"a b"], [b"c"]),
            "encoded otherwise": ("/a", b"/%61/c", b"", [b"a"], [b"c"]),
            "another place": ("/app", b"/other/a", b"", None, None),
            "a part of the place": ("/a/b", b"/a", b"", None, None),
            "only its beginning": ("/app", b"/apple", b"", None, None),
            "a script": (SCRIPT_NAME, b"/app/a", b"/app", [b"app"], [b"a"]),
            "a script far down": (
                SCRIPT_NAME,
                b"/a/b/c",
                b"/a/b",
                [b"a", b"b"],
                [b"c"],
            ),
            "a script, encoded": (SCRIPT_NAME, b"/a%20b/c", b"/a b", [b"a b"], [b"c"]),
            "a script itself": (SCRIPT_NAME, b"/app", b"/app", [b"app"], []),
            "no script": (SCRIPT_NAME, b"/app/a", b"", [], [b"app", b"a"]),
        }
    )
    def test_mount(
        self,
        mount: str,
        path: bytes,
        scriptName: bytes,
        prepath: list[bytes] | None,
        postpath: list[bytes] | None,
    ) -> None:
        """
        What comes before the application is in C{prepath}, what comes after is
        in C{postpath}; what is not in its place is not found.
        """
        client = FastCGITestClient(Application(show), mount=mount)
        variables = wire.variables(
            path,
            SCRIPT_NAME=scriptName,
            PATH_INFO=unquote_to_bytes(path)[len(scriptName) :],
        )
        answer = self.successResultOf(client.get(path, params=variables))
        if prepath is None:
            self.assertEqual(answer.code, 404)
            self.assertIn(b"not at this place", answer.body)
        else:
            self.assertEqual(answer.body, b"%r %r" % (prepath, postpath))

    def test_childrenAndURLs(self) -> None:
        """
        Children are found below it, and the URLs that it makes are right.
        """
        root = Resource()
        root.putChild(b"child", Application(lambda request: request.prePathURL()))
        client = FastCGITestClient(root, mount="/app", origin="http://www.example.com")
        answer = self.successResultOf(client.get("/app/child"))
        self.assertEqual(answer.body, b"http://www.example.com/app/child")

    @table(
        {
            "nothing": ("",),
            "no slash": ("app",),
            "no path": ("http://localhost/app",),
            "another word": ("script_name",),
        }
    )
    def test_wrongMount(self, mount: str) -> None:
        """
        What is no place in a path is refused, with what it could be.
        """
        with self.assertRaises(ValueError) as caught:
            mounted(Resource(), mount)
        self.assertIn(repr(mount), str(caught.exception))
        self.assertIn(SCRIPT_NAME, str(caught.exception))

    def test_interface(self) -> None:
        """
        What is mounted is a resource, and more children can be added to it; it
        renders as the application's root does.
        """

        class Root(Resource):
            def render(self, request: Any) -> Any:
                return request

        root = Root()
        resource = mounted(root, "/app")
        verifyObject(IResource, resource)
        child = Resource()
        resource.putChild(b"child", child)
        self.assertIs(root.children[b"child"], child)
        request: Any = object()
        self.assertIs(resource.render(request), request)

    def test_overHTTP(self) -> None:
        """
        A site that is served over HTTP, too, has its application in the same
        place; only SCRIPT_NAME is never there, so nothing is moved for it.
        """
        for mount, path, expected in (
            ("/app", b"/app/a", b"[b'app'] [b'a']"),
            (SCRIPT_NAME, b"/app/a", b"[] [b'app', b'a']"),
        ):
            clock = Clock()
            site = Site(mounted(Application(show), mount), reactor=clock)
            client = FastCGITestClient(site, reactor=clock)
            place = {"SCRIPT_NAME": "/app", "PATH_INFO": "/a"}
            answer = self.successResultOf(client.get(path, params=place))
            self.assertEqual(answer.body, b"[b'app'] [b'a']")
            web: Any = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 9))
            transport = StringTransport()
            web.makeConnection(transport)
            web.dataReceived(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b"\r\n\r\n" + expected, transport.value())
            web.connectionLost(None)
