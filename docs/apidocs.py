# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What pydoctor needs to link to the documentation of other projects without
fetching their inventories: a name is good if Python can import it.
"""

from __future__ import annotations

import builtins
from types import ModuleType

from pydoctor.model import System as PydoctorSystem
from pydoctor.sphinx import SphinxInventory
from twisted.python.reflect import namedAny
from zope.interface.interface import InterfaceClass

_PYTHON = "https://docs.python.org/3/library"
_TWISTED = "https://docs.twisted.org/en/stable/api"
_ZOPE = "https://zopeinterface.readthedocs.io/en/latest/api.html"


class ImportableNames(SphinxInventory):
    """
    An inventory of everything else that can be imported.
    """

    def getLink(self, name: str) -> str | None:
        """
        Find the page that documents a name.

        @param name: A full Python name, or that of a builtin.
        @return: The page's address, or L{None} if there is no such name.
        """
        if hasattr(builtins, name):
            return _builtinLink(name)
        if "." not in name or name.startswith("twisted_fastcgi."):
            return None
        try:
            value = _find(name)
        except Exception:
            return None
        return _link(name, value)


class System(PydoctorSystem):
    """
    A pydoctor system that knows L{ImportableNames}.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.intersphinx = ImportableNames(logger=self.msg)


def _find(name: str) -> object:
    """
    Import an object, or look it up in an interface: its members are no
    attributes.
    """
    parent, _, member = name.rpartition(".")
    holder = namedAny(parent) if "." in parent else None
    if isinstance(holder, InterfaceClass):
        return holder[member]
    return namedAny(name)


def _builtinLink(name: str) -> str:
    """
    Find the section of Python's manual that describes a builtin.
    """
    value = getattr(builtins, name)
    if not isinstance(value, type):
        page = "functions" if callable(value) else "constants"
    elif issubclass(value, BaseException):
        page = "exceptions"
    else:
        page = "stdtypes"
    return f"{_PYTHON}/{page}.html#{name}"


def _link(name: str, value: object) -> str:
    """
    Find the page of an object that is not a builtin.
    """
    package = name.partition(".")[0]
    if package == "zope":
        return f"{_ZOPE}#{name}"
    if package == "twisted":
        # pydoctor gives modules and classes a page of their own.
        if isinstance(value, (ModuleType, type, InterfaceClass)):
            return f"{_TWISTED}/{name}.html"
        parent, _, member = name.rpartition(".")
        return f"{_TWISTED}/{parent}.html#{member}"
    if isinstance(value, ModuleType):
        return f"{_PYTHON}/{name}.html"
    return f"{_PYTHON}/{name.rpartition('.')[0]}.html#{name}"
