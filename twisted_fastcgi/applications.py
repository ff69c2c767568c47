# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
From the name of an application, as written on a command line, to the
application.

Whatever is wrong with it, the operator gets one line that names the culprit.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, cast

from twisted.web.resource import IResource

from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.interfaces import IAuthorizer

_LONGEST = 400
"""
How many characters of somebody else's error message are shown.
"""

_LIBRARIES = tuple(
    os.path.join(sysconfig.get_path(name), "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)

# Nobody's fault: the machinery between the command line and the application.
_MACHINERY = (__file__, importlib.__file__, "<frozen")


class ApplicationError(FastCGIError):
    """
    The application cannot be found, loaded or used.  The message is one line
    that names the culprit.
    """


def loadObject(name: str) -> object:
    """
    Find a Python object by its name.  The current directory is importable.

    @param name: C{package.module.name} or C{package.module:name}; the part
        behind the module may have several names with dots between them.
    @raise ApplicationError: If there is no such object, or its module cannot
        be imported.
    """
    _makeCurrentDirectoryImportable()
    path, attributes = _split(name)
    found: object = _import(path)
    if found is None:
        raise ApplicationError(
            f"{name!r}: there is no module {path!r} in the current directory nor "
            "elsewhere in sys.path"
        )
    for attribute in attributes:
        found = _get(found, path, attribute)
        path = f"{path}.{attribute}"
    return found


def loadResource(name: str) -> IResource:
    """
    Find or make a resource.

    @param name: The name of a resource; or of a class or another callable that
        makes one without arguments; or of an object with a method
        C{resource()} that gives one, as Klein's applications have.  See
        L{loadObject}.
    @raise ApplicationError: If there is none, or it cannot be made.
    """
    return _toResource(loadObject(name), name)


def loadClass(name: str) -> IResource:
    """
    Make a resource from its class.

    @param name: The name of a class.  See L{loadObject}.
    @raise ApplicationError: If it is no class, or makes no resource.
    """
    found = loadObject(name)
    if not isinstance(found, type):
        raise ApplicationError(f"{name!r} is {_kind(found)}, not a class")
    return _toResource(found, name)


def loadWSGI(name: str) -> Callable[..., Any]:
    """
    Find a WSGI application.

    @param name: The name of a callable.  See L{loadObject}.
    @raise ApplicationError: If there is none.
    """
    found = loadObject(name)
    if not callable(found):
        raise ApplicationError(
            f"{name!r} is {_kind(found)}, not a WSGI application: "
            "name the callable that is one, such as package.module:application"
        )
    return found


def loadAuthorizer(name: str) -> Any:
    """
    Find or make an authorizer.

    @param name: The name of an object that provides L{IAuthorizer}; or of a
        class or another callable that makes one without arguments.  See
        L{loadObject}.
    @raise ApplicationError: If there is none, or it cannot be made.
    """
    found = candidate = loadObject(name)
    if callable(found) and not IAuthorizer.providedBy(found):
        candidate = _call(found, name)
    if IAuthorizer.providedBy(candidate):
        return candidate
    raise ApplicationError(
        f"{_isNot(name, found, candidate)}: name an object that provides "
        "twisted_fastcgi.IAuthorizer, or something that makes one when called "
        "without arguments"
    )


def loadPath(path: str) -> IResource:
    """
    Make a resource that serves a directory or a file as C{twist web --path}
    does: C{.rpy}, C{.epy} and C{.cgi} files are run.

    @param path: The path of a directory or file.
    @raise ApplicationError: If it does not exist.
    """
    from twisted.web import script, static, twcgi

    if not os.path.exists(path):
        raise ApplicationError(f"there is no directory or file {path!r}")
    root: Any = static.File(os.path.abspath(path))
    root.processors = {
        ".cgi": twcgi.CGIScript,
        ".epy": script.PythonScript,
        ".rpy": script.ResourceScript,
    }
    return cast(IResource, root)


def loadResourceScript(path: str) -> IResource:
    """
    Make a resource that runs a C{.rpy} file for each request.

    @param path: The path of the file.
    @raise ApplicationError: If it does not exist.
    """
    from twisted.web import script

    if not os.path.isfile(path):
        raise ApplicationError(f"there is no file {path!r}")
    return cast(IResource, script.ResourceScriptWrapper(os.path.abspath(path)))


def _makeCurrentDirectoryImportable() -> None:
    """
    Installed commands have their own directory in C{sys.path}, not the one that
    they were started in.
    """
    with suppress(OSError):
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)


def _split(name: str) -> tuple[str, list[str]]:
    """
    @return: The name of a module and the names to look up behind it.
    """
    module, colon, rest = name.partition(":")
    names = module.split(".") + (rest.split(".") if colon else [])
    if not all(part.isidentifier() for part in names):
        raise ApplicationError(
            f"{name!r} is no name of a Python object: write it as "
            "package.module.name or package.module:name"
        )
    depth = len(module.split(".")) if colon else 1
    return ".".join(names[:depth]), names[depth:]


def _import(name: str) -> ModuleType | None:
    """
    @return: The module, or L{None} if there is none of this name.
    @raise ApplicationError: If there is one that cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that exists may lack one that it needs: another name then.
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise _failed(f"cannot import {name!r}", error) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"cannot import {name!r}", error) from error


def _get(holder: object, path: str, name: str) -> object:
    try:
        return getattr(holder, name)
    except AttributeError:
        found = _import(f"{path}.{name}") if isinstance(holder, ModuleType) else None
    except Exception as error:
        raise _failed(f"cannot get {path}.{name}", error) from error
    if found is None:
        raise ApplicationError(f"{path!r}, {_kind(holder)}, has no {name!r}")
    return found


def _toResource(found: object, name: str) -> IResource:
    candidate = found
    # At the most: a class, its instance, and what its resource() gives.
    for _ in range(3):
        if IResource.providedBy(candidate):
            return candidate
        maker = _maker(candidate)
        if maker is None:
            break
        candidate = _call(maker, name)
    raise ApplicationError(
        f"{_isNot(name, found, candidate)}: name a twisted.web resource, something "
        "that makes one when called without arguments, or an object with a "
        "resource() method"
    )


def _isNot(name: str, found: object, candidate: object) -> str:
    what = f"{name!r} is {_kind(found)}"
    return what if candidate is found else f"{what} that gives {_kind(candidate)}"


def _maker(candidate: object) -> Callable[[], object] | None:
    method = getattr(candidate, "resource", None)
    if callable(method) and not isinstance(candidate, type):
        return cast(Callable[[], object], method)
    return candidate if callable(candidate) else None


def _call(maker: Callable[[], object], name: str) -> object:
    try:
        inspect.signature(maker).bind()
    except TypeError as error:
        message = f"{name!r} cannot be called without arguments: {error}"
        raise ApplicationError(message) from error
    except ValueError:
        # Some builtins have no signature to look at.
        pass
    try:
        return maker()
    except (Exception, SystemExit) as error:
        raise _failed(f"{name!r} failed when it was called", error) from error


def _kind(found: object) -> str:
    if isinstance(found, ModuleType):
        return "a module"
    if isinstance(found, type):
        return "a class"
    return f"an object of type {type(found).__name__}"


def _failed(what: str, error: BaseException) -> ApplicationError:
    message = error.msg if isinstance(error, SyntaxError) else error
    text = " ".join(f"{type(error).__name__}: {message}".split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return ApplicationError(f"{what}: {text}{_place(error)}")


def _place(error: BaseException) -> str:
    """
    @return: Where the application went wrong, in brackets; or nothing if that
        cannot be said.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_MACHINERY)
    ]
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    for frame in (own or frames)[-1:]:
        return f" ({frame.filename}, line {frame.lineno})"
    return ""
