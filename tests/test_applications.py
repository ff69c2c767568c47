# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.applications}.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.script import PythonScript, ResourceScript, ResourceScriptWrapper
from twisted.web.static import File
from twisted.web.twcgi import CGIScript

from twisted_fastcgi.applications import (
    ApplicationError,
    loadAuthorizer,
    loadClass,
    loadObject,
    loadPath,
    loadResource,
    loadResourceScript,
    loadWSGI,
)

MODULES = {
    "tfapp/__init__.py": """
        from .shadow import shadow
    """,
    "tfapp/shadow.py": """
        shadow = "the object"
    """,
    "tfapp/pages.py": """
        from twisted.web.resource import Resource

        root = Resource()

        class Page(Resource):
            pass

        class Needy(Resource):
            def __init__(self, argument):
                super().__init__()

        class App:
            '''What Klein's applications look like.'''
            def resource(self):
                return root

        app = App()
        nested = {"a": 1}
        number = 5

        def make():
            return Page()

        def fail():
            raise ValueError("not\\ntoday")

        def leave():
            raise SystemExit(3)

        def wrong():
            return "a string"

        def endless():
            return endless

        def application(environ, startResponse):
            return []
    """,
    "tfauth.py": """
        from twisted_fastcgi import Allow, AuthorizerResource, IAuthorizer
        from zope.interface import implementer

        @implementer(IAuthorizer)
        class Authorizer:
            def authorize(self, request):
                return Allow()

        @implementer(IAuthorizer)
        class Callable(Authorizer):
            def __call__(self):
                raise ValueError("it is there already")

        authorizer = Authorizer()
        called = Callable()
        number = 5

        def make():
            return authorizer

        def fail():
            raise ValueError("not today")
    """,
    "tfbad.py": """
        import json

        def broken(:
            pass
    """,
    "tfraises.py": """
        import json
        x = 1
        json.loads("{")
    """,
    "tflacks.py": """
        import nosuchmodule
    """,
    "tfdeep.py": """
        import tfraises
    """,
    "tfleaves.py": """
        import sys
        sys.exit("usage: something else")
    """,
    "tflong.py": """
        raise ValueError("x" * 1000)
    """,
    "tfshy.py": """
        def __getattr__(name):
            if name.startswith("__"):
                raise AttributeError(name)
            raise RuntimeError("not ready")
    """,
}


def forgetModules() -> None:
    """
    Forget the modules of one test, because the next one has others.
    """
    for name in [name for name in sys.modules if name.startswith("tf")]:
        del sys.modules[name]


class ModulesMixin:
    """
    A current directory with modules in it, which is not in C{sys.path}.
    """

    def setUp(self: Any) -> None:
        """
        Make the directory, and change to it.
        """
        self.patch(sys, "path", list(sys.path))
        self.addCleanup(forgetModules)
        self.directory = Path(self.mktemp()).absolute()
        for name, text in MODULES.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def refused(self: Any, load: Callable[[str], object], name: str) -> str:
        """
        Load something that must be refused, in one line that has its name.
        """
        message = str(self.assertRaises(ApplicationError, load, name))
        self.assertNotIn("\n", message)
        self.assertIn(name, message)
        return message


class ObjectTests(ModulesMixin, SynchronousTestCase):
    """
    Tests for L{loadObject}.
    """

    def test_found(self) -> None:
        """
        An object is found by a name with dots, with or without a colon behind
        its module, in a module that is in the current directory or elsewhere.
        """
        from twisted.web import resource

        for name, expected in [
            ("tfapp.pages.number", 5),
            ("tfapp.pages:number", 5),
            ("tfapp.pages.nested.__len__.__name__", "__len__"),
            ("tfapp.pages:nested.__len__.__name__", "__len__"),
            ("tfapp.shadow", "the object"),
            ("twisted.web.resource", resource),
            ("twisted.web.resource.Resource", Resource),
        ]:
            self.assertEqual(loadObject(name), expected, name)

    def test_currentDirectoryOnce(self) -> None:
        """
        The current directory is put in front of the path once.
        """
        loadObject("tfapp.pages.number")
        loadObject("tfapp.pages.number")
        self.assertEqual(sys.path[0], os.getcwd())
        self.assertEqual(sys.path.count(os.getcwd()), 1)

    def test_noCurrentDirectory(self) -> None:
        """
        Modules elsewhere are found in a directory that has been removed.
        """
        gone = self.directory / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        self.assertIs(loadObject("json.loads"), json.loads)

    def test_badName(self) -> None:
        """
        What is no name is refused before anything is imported.
        """
        for name in ("", ".", "a..b", "a:", ":a", "a:b:c", "/x/y.py", "a.b()", "a b"):
            message = self.refused(loadObject, name)
            self.assertIn("is no name of a Python object", message, name)

    def test_missing(self) -> None:
        """
        The part that is missing is named.
        """
        for name, part in [
            ("nosuchmodule.root", "there is no module 'nosuchmodule'"),
            ("tfapp.nosuch:root", "there is no module 'tfapp.nosuch'"),
            ("tfapp.pages.rot", "'tfapp.pages', a module, has no 'rot'"),
            ("tfapp.pages:rot", "'tfapp.pages', a module, has no 'rot'"),
            ("tfapp.pages.Page.x", "'tfapp.pages.Page', a class, has no 'x'"),
            ("tfapp.pages.number.x", "an object of type int, has no 'x'"),
        ]:
            message = str(self.assertRaises(ApplicationError, loadObject, name))
            self.assertIn(part, message)

    def test_importFails(self) -> None:
        """
        A module that cannot be imported is named with the error, and with the
        file and the line that are to blame for it.
        """
        for name, error, place in [
            ("tfbad", "SyntaxError: ", "tfbad.py, line 4"),
            ("tfraises", "JSONDecodeError: ", "tfraises.py, line 4"),
            ("tflacks", "No module named 'nosuchmodule'", "tflacks.py, line 2"),
            ("tfdeep", "JSONDecodeError: ", "tfraises.py, line 4"),
            ("tfleaves", "SystemExit: usage: something", "tfleaves.py, line 3"),
        ]:
            message = str(
                self.assertRaises(ApplicationError, loadObject, f"{name}.root")
            )
            self.assertIn(f"cannot import {name!r}: ", message)
            self.assertIn(error, message)
            self.assertTrue(message.endswith(f"{os.sep}{place})"), message)

    def test_importFailsInLibrary(self) -> None:
        """
        A name that the import system itself trips over has no place to blame.
        """
        (self.directory / "tfnull.py").write_bytes(b"\0")
        message = str(self.assertRaises(ApplicationError, loadObject, "tfnull.x"))
        self.assertIn("cannot import 'tfnull': ", message)
        self.assertIn("null bytes", message)

    def test_longMessage(self) -> None:
        """
        A long message is cut.
        """
        message = str(self.assertRaises(ApplicationError, loadObject, "tflong.x"))
        self.assertIn("xxx...", message)
        self.assertLess(len(message), 700)

    def test_attributeFails(self) -> None:
        """
        An attribute that cannot be got is named with the error.
        """
        message = self.refused(loadObject, "tfshy.root")
        self.assertIn("cannot get tfshy.root: RuntimeError: not ready", message)
        self.assertTrue(message.endswith("tfshy.py, line 5)"), message)


class ResourceTests(ModulesMixin, SynchronousTestCase):
    """
    Tests for L{loadResource} and L{loadClass}.
    """

    def test_resource(self) -> None:
        """
        A resource is itself.
        """
        root = loadResource("tfapp.pages.root")
        self.assertIs(root, loadObject("tfapp.pages.root"))

    def test_made(self) -> None:
        """
        A class, and any other callable, is called without arguments.
        """
        page: Any = loadObject("tfapp.pages.Page")
        for name in ("tfapp.pages.Page", "tfapp.pages:make"):
            self.assertIsInstance(loadResource(name), page, name)

    def test_method(self) -> None:
        """
        An object with a C{resource()} method gives its resource; so do the
        method, and the class of the object.
        """
        root = loadObject("tfapp.pages.root")
        for name in ("app", "app.resource", "App"):
            self.assertIs(loadResource(f"tfapp.pages.{name}"), root, name)

    def test_klein(self) -> None:
        """
        A Klein application is served.
        """
        (self.directory / "tfklein.py").write_text(
            "from klein import Klein\napp = Klein()\n"
        )
        self.assertTrue(IResource.providedBy(loadResource("tfklein.app")))

    def test_none(self) -> None:
        """
        What is no resource, and makes none, is refused with what it is.
        """
        for name, what in [
            ("tfapp.pages.number", "is an object of type int: "),
            ("tfapp.pages", "is a module: "),
            ("tfapp.pages.endless", "is an object of type function: "),
            ("tfapp.pages.wrong", "type function that gives an object of type str: "),
        ]:
            self.assertIn(what, self.refused(loadResource, name))

    def test_needsArguments(self) -> None:
        """
        What cannot be called without arguments is refused with the name of the
        argument.
        """
        message = self.refused(loadResource, "tfapp.pages.Needy")
        self.assertIn("cannot be called without arguments: ", message)
        self.assertIn("'argument'", message)

    def test_noSignature(self) -> None:
        """
        A builtin without a signature is just called.
        """
        message = self.refused(loadResource, "builtins.dict")
        self.assertIn("is a class that gives an object of type dict", message)

    def test_failing(self) -> None:
        """
        What fails when it is called is named with the error, in one line, and
        its place.
        """
        for name, error in [
            ("fail", "ValueError: not today"),
            ("leave", "SystemExit: 3"),
        ]:
            message = self.refused(loadResource, f"tfapp.pages.{name}")
            self.assertIn(f"failed when it was called: {error} (", message)
            self.assertIn("pages.py, line ", message)

    def test_class(self) -> None:
        """
        L{loadClass} makes a resource from its class.
        """
        page: Any = loadObject("tfapp.pages.Page")
        self.assertIsInstance(loadClass("tfapp.pages.Page"), page)

    def test_noClass(self) -> None:
        """
        L{loadClass} refuses what is no class.
        """
        message = self.refused(loadClass, "tfapp.pages.make")
        self.assertIn("is an object of type function, not a class", message)


class WSGITests(ModulesMixin, SynchronousTestCase):
    """
    Tests for L{loadWSGI}.
    """

    def test_callable(self) -> None:
        """
        A callable is taken as it is.
        """
        name = "tfapp.pages:application"
        self.assertIs(loadWSGI(name), loadObject(name))

    def test_notCallable(self) -> None:
        """
        A module is refused with a word on what to name.
        """
        message = self.refused(loadWSGI, "tfapp.pages")
        self.assertIn("is a module, not a WSGI application: name the", message)


class AuthorizerTests(ModulesMixin, SynchronousTestCase):
    """
    Names of authorizers.
    """

    def test_found(self) -> None:
        """
        An authorizer is found by its name, or made by what is named; one that
        can be called is not.
        """
        authorizer = loadAuthorizer("tfauth.authorizer")
        self.assertIs(loadAuthorizer("tfauth.make"), authorizer)
        self.assertIs(type(loadAuthorizer("tfauth.Authorizer")), type(authorizer))
        self.assertTrue(callable(loadAuthorizer("tfauth.called")))

    def test_none(self) -> None:
        """
        What is none, and makes none, is refused, and it is said what would be
        one.
        """
        for name, what in [
            ("tfauth.number", "an object of type int"),
            ("tfapp.pages.root", "an object of type Resource"),
            ("tfapp.pages.Page", "a class that gives an object of type Page"),
        ]:
            message = self.refused(loadAuthorizer, name)
            self.assertIn(f"{name!r} is {what}: name an object that", message)
            self.assertIn("IAuthorizer", message)

    def test_failing(self) -> None:
        """
        What fails to make one is refused with what it says.
        """
        message = self.refused(loadAuthorizer, "tfauth.fail")
        self.assertIn("not today", message)
        message = self.refused(loadAuthorizer, "tfapp.pages.Needy")
        self.assertIn("cannot be called without arguments", message)


class PathTests(ModulesMixin, SynchronousTestCase):
    """
    Tests for L{loadPath} and L{loadResourceScript}.
    """

    def test_directory(self) -> None:
        """
        A directory is served with the scripts that C{twist web} runs; its path
        is absolute, because a daemon may change its directory.
        """
        root = loadPath("tfapp")
        assert isinstance(root, File)
        self.assertEqual(root.path, str(self.directory / "tfapp"))
        self.assertEqual(
            root.processors,
            {".cgi": CGIScript, ".epy": PythonScript, ".rpy": ResourceScript},
        )

    def test_script(self) -> None:
        """
        A script is wrapped; its path is absolute.
        """
        Path("hello.rpy").touch()
        root = loadResourceScript("hello.rpy")
        assert isinstance(root, ResourceScriptWrapper)
        self.assertEqual(root.path, str(self.directory / "hello.rpy"))

    def test_missing(self) -> None:
        """
        A path that is not there is refused.
        """
        self.assertIn("no directory or file", self.refused(loadPath, "nosuch"))
        self.assertIn("no file", self.refused(loadResourceScript, "nosuch.rpy"))
        self.assertIn("no file", self.refused(loadResourceScript, "tfapp"))
