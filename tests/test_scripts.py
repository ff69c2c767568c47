# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.scripts}.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.tables import TableTestCase, table
from twisted_fastcgi.scripts import Document, DocumentRoot, Found, Nothing, Script

#: What is in the folder.
FILES = (
    "index.php",
    "page.php",
    "Upper.PHP",
    "image.jpg",
    "text.txt",
    ".env",
    "folder/index.html",
    "folder/page.php",
    "folder/.hidden/page.php",
    "dir.php/page.php",
    "bare/page.php",
    "b\udcffd.php",
    "other.py",
)

#: Where a path leads to: the name of a script and its PATH_INFO, the name of
#: another file, a folder, or nothing.
PATHS: dict[str, Any] = {
    "/": ("/index.php", ""),
    "/index.php": ("/index.php", ""),
    "/page.php": ("/page.php", ""),
    "/page.php/": ("/page.php", "/"),
    "/page.php/some/more": ("/page.php", "/some/more"),
    "/page.php/x.php/y": ("/page.php", "/x.php/y"),
    "/page.php//a//": ("/page.php", "//a//"),
    "/page.php/.hidden/...": ("/page.php", "/.hidden/..."),
    "/Upper.PHP/x": ("/Upper.PHP", "/x"),
    "/folder/page.php": ("/folder/page.php", ""),
    "/dir.php/page.php/x": ("/dir.php/page.php", "/x"),
    "/b\udcffd.php": ("/b\udcffd.php", ""),
    "/text.txt": "text.txt",
    "/image.jpg": "image.jpg",
    "/other.py": "other.py",
    "/folder/": "folder/index.html",
    "/folder": Nothing.FOLDER,
    "/dir.php": Nothing.FOLDER,
    "": Nothing.FOLDER,
    # A folder in which nothing answers for it.
    "/bare/": Nothing.MISSING,
    # What is not there, or not a script: the application must not be asked.
    "/none": Nothing.MISSING,
    "/none.php": Nothing.MISSING,
    "/none/page.php": Nothing.MISSING,
    "/none.php/more": Nothing.MISSING,
    "/image.jpg/x.php": Nothing.MISSING,
    "/image.jpg/": Nothing.MISSING,
    "/text.txt/page.php": Nothing.MISSING,
    "/page.phps": Nothing.MISSING,
    # What is nobody's business.
    "/.env": Nothing.MISSING,
    "/folder/.hidden/page.php": Nothing.MISSING,
    "/..": Nothing.MISSING,
    "/../secret.php": Nothing.MISSING,
    "/folder/../page.php": Nothing.MISSING,
    "/./page.php": Nothing.MISSING,
    "/page.php/../x": Nothing.MISSING,
    "/linked.php": Nothing.MISSING,
    "/linked/secret.php": Nothing.MISSING,
    "/pipe": Nothing.MISSING,
    # Other ways to write a path.
    "//page.php": Nothing.MISSING,
    "/folder//page.php": Nothing.MISSING,
    "/page.php\0": Nothing.MISSING,
    "/page.php/\0": Nothing.MISSING,
    "/" + "x" * 5000: Nothing.MISSING,
}


class ScriptsTests(TableTestCase):
    """
    Tests for L{DocumentRoot}.
    """

    def setUp(self) -> None:
        """
        Make a folder with some files, and one beside it.
        """
        temporary = TemporaryDirectory(prefix="scripts-")
        self.addCleanup(temporary.cleanup)
        above = Path(temporary.name).resolve()
        self.root = above / "root"
        for name in ("secret.php", *(f"root/{name}" for name in FILES)):
            (above / name).parent.mkdir(parents=True, exist_ok=True)
            (above / name).touch()
        (self.root / "linked.php").symlink_to(above / "secret.php")
        (self.root / "linked").symlink_to(above)
        (self.root / "inner.php").symlink_to(self.root / "page.php")
        os.mkfifo(self.root / "pipe")

    def find(self, path: str, **options: Any) -> Found:
        """
        Find what a decoded path leads to.
        """
        options = {
            "index": ["index.php", "index.html"],
            "suffixes": [".php"],
            **options,
        }
        segments = os.fsencode(path).split(b"/")[1:]
        return DocumentRoot(self.root, **options).find(segments)

    def expected(self, wanted: Any) -> Found:
        """
        Make what is to be found.
        """
        root = os.fsencode(self.root)
        if isinstance(wanted, Nothing):
            return wanted
        if isinstance(wanted, str):
            return Document(root + b"/" + os.fsencode(wanted))
        name, info = map(os.fsencode, wanted)
        return Script(name, info, root + name, root)

    @table({repr(path[:40]): (path, wanted) for path, wanted in PATHS.items()})
    def test_find(self, path: str, wanted: Any) -> None:
        """
        Each path leads to what it has to, and to nothing else.
        """
        self.assertEqual(self.find(path), self.expected(wanted))

    def test_encodedSlash(self) -> None:
        """
        A segment with a slash in it is no file name, but may stand behind a
        script's name; not so if it leads upwards.
        """
        root = DocumentRoot(self.root, index=[], suffixes=[".php"])
        for segments, info in [
            ([b"folder/page.php"], None),
            ([b"../secret.php"], None),
            ([b"page.php", b"a/b"], b"/a/b"),
            ([b"page.php", b"a/../../b"], None),
        ]:
            found = root.find(segments)
            self.assertEqual(getattr(found, "pathInfo", None), info, segments)

    def test_linkWithin(self) -> None:
        """
        A symbolic link that stays in the folder is followed.
        """
        self.assertEqual(self.find("/inner.php"), self.expected(("/inner.php", "")))

    def test_linkedRoot(self) -> None:
        """
        The folder itself may be a symbolic link, and is called by its name.
        """
        link = self.root.parent / "current"
        link.symlink_to(self.root)
        root = DocumentRoot(f"{link}/", index=[], suffixes=[".php"])
        found = root.find([b"page.php"])
        self.assertEqual(
            found,
            Script(
                b"/page.php", b"", os.fsencode(link / "page.php"), os.fsencode(link)
            ),
        )

    def test_suffixes(self) -> None:
        """
        What a script is called can be told.
        """
        options = {"suffixes": [".Py", ".pl"]}
        self.assertEqual(
            self.find("/other.py/x", **options), self.expected(("/other.py", "/x"))
        )
        self.assertEqual(self.find("/page.php", **options), self.expected("page.php"))

    def test_index(self) -> None:
        """
        The files that answer for a folder are looked for in their order.
        """
        self.assertEqual(
            self.find("/", index=["none.php", "text.txt", "index.php"]),
            self.expected("text.txt"),
        )
        self.assertEqual(self.find("/", index=[]), Nothing.MISSING)

    def test_frontController(self) -> None:
        """
        A front controller answers for what is not there, with no PATH_INFO,
        but not for files, folders and paths that no file can have.
        """
        options = {"frontController": "/folder/page.php"}
        script = self.expected(("/folder/page.php", ""))
        for path in ("/none", "/none.php/x", "/image.jpg/x.php", "/bare/", "/.env"):
            self.assertEqual(self.find(path, **options), script, path)
        for path in ("/text.txt", "/folder", "/page.php/x", "/../x", "/x\0"):
            self.assertEqual(self.find(path, **options), self.find(path), path)
        options = {"frontController": "none.php"}
        self.assertEqual(self.find("/none", **options), Nothing.MISSING)

    def test_remoteRoot(self) -> None:
        """
        Where the scripts run the folder may have another name.
        """
        for remote, wanted in [("/srv/", b"/srv"), (b"/srv", b"/srv"), ("/", b"")]:
            self.assertEqual(
                self.find("/folder/page.php/x", remoteRoot=remote),
                Script(
                    b"/folder/page.php", b"/x", wanted + b"/folder/page.php", wanted
                ),
            )

    def test_noFolder(self) -> None:
        """
        A folder that is not there is refused.
        """
        error = self.assertRaises(
            ValueError, DocumentRoot, "/nosuch", index=[], suffixes=[]
        )
        self.assertEqual(str(error), "there is no folder '/nosuch'")
        self.assertRaises(ValueError, DocumentRoot, "", index=[], suffixes=[])

    def test_oneName(self) -> None:
        """
        A text is not taken for a list of its letters: whatever ends with a C{p}
        would be a script.
        """
        for option in ("index", "suffixes"):
            options: dict[str, Any] = {"index": [], "suffixes": [], option: ".php"}
            error = self.assertRaises(TypeError, DocumentRoot, "/", **options)
            self.assertIn(f"{option}=['.php']", str(error))
