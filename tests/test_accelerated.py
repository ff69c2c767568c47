# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.accelerated}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from twisted.web.resource import Resource
from twisted.web.static import Data, File

from tests import wire
from tests.tables import table
from tests.transports import ServerTestCase
from twisted_fastcgi import AcceleratedFile

#: What web servers understand.
ACCEL, SENDFILE, LIGHTTPD = (
    b"X-Accel-Redirect",
    b"X-Sendfile",
    b"X-LIGHTTPD-send-file",
)

CONTENT = b"0123456789"

#: Names that mean something in a header field, or in a URI.
NAMES = {
    "space": ("a b",),
    "encoded space": ("a%20b",),
    "query": ("a?b",),
    "fragment": ("a#b",),
    "parameter": ("a;b",),
    "UTF-8": ("ä€",),
    "line": ("a\nb",),
    "another header": ("a\r\nX-B: c",),
    "quote": ('a"b',),
    "backslash": ("a\\b",),
}


class AcceleratedTests(ServerTestCase):
    """
    Files that somebody has to send.
    """

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "sub").mkdir(parents=True)
        for name in ("page.html", "image.png", "data.tar.gz", "unknown", "sub/a.txt"):
            (self.folder / name).write_bytes(CONTENT)
        self.resource: Any = AcceleratedFile(
            str(self.folder), "text/x-default", location="/files"
        )

    def ask(self, path: str, wanted: bytes | None = None, **changes: bytes) -> Any:
        """
        Ask for a file.

        @param wanted: What the web server understands.
        """
        target = quote(path).encode("ascii")
        sent = wire.variables(path.encode(), SENDFILE_TYPE=wanted, **changes)
        sent[b"REQUEST_URI"] = target
        self.serve(self.resource)
        transport = self.exchange(wire.request(sent))
        return transport.response()

    @table(
        {
            "nginx": (ACCEL, "/files/sub/a.txt"),
            "lighttpd": (SENDFILE, "{folder}/sub/a.txt"),
            "old lighttpd": (LIGHTTPD, "{folder}/sub/a.txt"),
            "in small letters": (b"x-sendfile", "{folder}/sub/a.txt"),
        }
    )
    def test_handed(self, wanted: bytes, value: str) -> None:
        """
        The web server is told where the file is, in the way that it wants, and
        what its media type is; everything else is left to it.
        """
        for method in (b"GET", b"HEAD"):
            answer = self.ask(
                "/sub/a.txt",
                wanted,
                REQUEST_METHOD=method,
                HTTP_RANGE=b"bytes=0-1",
                HTTP_IF_MODIFIED_SINCE=b"Fri, 01 Jan 2100 00:00:00 GMT",
            )
            self.assertEqual((answer.status, answer.body), (200, b""))
            expected = value.format(folder=self.folder).encode()
            self.assertEqual(answer.header(wanted), expected)
            self.assertEqual(answer.header(b"Content-Type"), b"text/plain")

    @table(
        {
            "nothing": (None, {}),
            "something else": (b"X-Other", {}),
            "empty": (b"", {}),
            "by the client": (None, {"HTTP_SENDFILE_TYPE": SENDFILE}),
            "by the client, as others have it": (
                None,
                {"HTTP_X_SENDFILE_TYPE": SENDFILE},
            ),
        }
    )
    def test_notWanted(self, wanted: bytes | None, changes: dict[str, bytes]) -> None:
        """
        It is sent as any file if the web server wants nothing else, whatever
        the client may say.
        """
        answer = self.ask("/image.png", wanted, **changes)
        self.assertEqual(answer.body, CONTENT)
        for header in (ACCEL, SENDFILE, LIGHTTPD):
            self.assertIsNone(answer.header(header))
        self.assertEqual(answer.header(b"Content-Type"), b"image/png")
        self.assertIsNotNone(answer.header(b"Last-Modified"))
        self.assertEqual(
            self.ask("/image.png", wanted, HTTP_RANGE=b"bytes=2-4").body, b"234"
        )

    @table(
        {
            "page": ("/page.html", b"text/html"),
            "index": ("/sub/", b"text/html"),
            "unknown": ("/unknown", b"text/x-default"),
        }
    )
    def test_type(self, path: str, expected: bytes) -> None:
        """
        The media type is the one that is told without a web server's help.
        """
        (self.folder / "sub/index.html").write_bytes(CONTENT)
        for wanted in (None, ACCEL, SENDFILE):
            answer = self.ask(path, wanted)
            self.assertEqual(answer.header(b"Content-Type"), expected)
            self.assertEqual(answer.header(SENDFILE) is None, wanted != SENDFILE)

    def test_ownType(self) -> None:
        """
        A media type that was set by hand counts.
        """
        self.resource = AcceleratedFile(self.folder / "page.html")
        self.resource.isLeaf = True
        self.resource.type, self.resource.encoding = "text/x-own", None
        for wanted in (None, SENDFILE):
            self.assertEqual(
                self.ask("/", wanted).header(b"Content-Type"), b"text/x-own"
            )

    def test_encoded(self) -> None:
        """
        A file with an encoding is sent as any file: nginx would lose that.
        """
        answer = self.ask("/data.tar.gz", ACCEL)
        self.assertEqual(answer.body, CONTENT)
        self.assertEqual(answer.header(b"Content-Encoding"), b"gzip")

    @table(NAMES)
    def test_names(self, name: str) -> None:
        """
        Nothing in a name can be taken for something else.
        """
        (self.folder / name).write_bytes(CONTENT)
        for wanted, before in [(ACCEL, b"/files/"), (SENDFILE, b"")]:
            answer = self.ask(f"/{name}", wanted)
            value = answer.header(wanted)
            self.assertRegex(value, rb"\A[!-~]+\Z")
            self.assertNotRegex(value, rb"[?#;%](?![0-9A-F]{2})")
            path = before + os.fsencode(name) if before else bytes(self.folder / name)
            self.assertEqual(unquote_to_bytes(value), path)

    @table(
        {
            "plain": ("a.txt", True),
            "space": ("a b?c#d;e", True),
            "UTF-8": ("ä€", True),
            "percent": ("a%20b", False),
            "line": ("a\nb", False),
            "control": ("a\x7fb", False),
            "space at the end": ("a ", False),
        }
    )
    def test_apache(self, name: str, handed: bool) -> None:
        """
        Apache, which does not decode it, is told the path as it is, unless
        something in it could be taken for something else.
        """
        (self.folder / name).write_bytes(CONTENT)
        software = b"Apache/2.4.71 (Debian)"
        answer = self.ask(f"/{name}", SENDFILE, SERVER_SOFTWARE=software)
        path = bytes(self.folder / name) if handed else None
        self.assertEqual(answer.header(SENDFILE), path)
        self.assertEqual(answer.body, b"" if handed else CONTENT)

    def test_outside(self) -> None:
        """
        Nothing outside of the folder is ever handed over.
        """
        (self.folder.parent / "secret").write_bytes(b"secret")
        for path in ("/../secret", "/sub/../../secret", "/..%2fsecret", "/sub/..%2f.."):
            for wanted in (ACCEL, SENDFILE):
                answer = self.ask(path, wanted)
                self.assertIsNone(answer.header(wanted))
                self.assertNotIn(b"secret", answer.body)

    def test_elsewhere(self) -> None:
        """
        A subclass that finds its files elsewhere sends them itself.
        """

        class Linked(AcceleratedFile):
            def getChild(self, path: Any, request: Any) -> Any:
                return self.createSimilarFile(str(other))

        other = self.folder.parent / "other"
        other.write_bytes(CONTENT)
        self.resource = Linked(str(self.folder), location="/files/")
        for wanted in (ACCEL, SENDFILE):
            answer = self.ask("/x", wanted)
            self.assertEqual((answer.body, answer.header(wanted)), (CONTENT, None))

    def test_notUTF8(self) -> None:
        """
        A file whose path is not UTF-8 is sent as any file.
        """
        path = bytes(self.folder) + b"/\xff.txt"
        Path(os.fsdecode(path)).write_bytes(CONTENT)
        self.resource = AcceleratedFile(os.fsdecode(path))
        self.resource.isLeaf = True
        self.assertEqual(self.ask("/", SENDFILE).body, CONTENT)

    def test_location(self) -> None:
        """
        Without a location nginx is not told; one file may have one of its own.
        """
        self.resource = AcceleratedFile(str(self.folder))
        answer = self.ask("/sub/a.txt", ACCEL)
        self.assertEqual((answer.body, answer.header(ACCEL)), (CONTENT, None))
        self.resource = Resource()
        path = self.folder / "sub/a.txt"
        self.resource.putChild(b"a", AcceleratedFile(path, location="/one file"))
        self.assertEqual(self.ask("/a", ACCEL).header(ACCEL), b"/one%20file")
        for location in ("/files/", "/files"):
            self.resource = AcceleratedFile(str(self.folder), location=location)
            value = self.ask("/sub/a.txt", ACCEL).header(ACCEL)
            self.assertEqual(value, b"/files/sub/a.txt")
        self.assertRaises(ValueError, AcceleratedFile, "x", location="files/")

    def test_otherwise(self) -> None:
        """
        It is a L{File} in all else: missing files, folders, scripts.
        """
        self.resource.processors = {".png": lambda path, registry: Data(b"run", "x/y")}
        for path, status in [("/nothing", 404), ("/sub", 302), ("/sub/", 200)]:
            answer = self.ask(path, SENDFILE)
            self.assertEqual(answer.status, status)
            self.assertIsNone(answer.header(SENDFILE))
        self.assertEqual(self.ask("/image.png", SENDFILE).body, b"run")
        self.assertIsInstance(self.resource, File)
