# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Which file of a folder answers for a path: a script, with what follows in the
path for itself, or a file to be sent as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Path: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"


@dataclass(frozen=True)
class Script:
    """
    A script that answers for a path.

    @ivar name: The part of the path that leads to it, decoded (RFC 3875,
        section 4.1.13).
    @ivar pathInfo: The rest of the path (section 4.1.5).
    @ivar filename: The script's file.
    @ivar root: The folder with all scripts.
    """

    name: bytes
    pathInfo: bytes
    filename: bytes
    root: bytes


@dataclass(frozen=True)
class Document:
    """
    A file that is no script.

    @ivar filename: The file.
    """

    filename: bytes


class Nothing(Enum):
    """
    What else a path can lead to.
    """

    FOLDER = "a folder, without the slash that has to follow its name"
    MISSING = "nothing that could be sent"


Found: TypeAlias = "Script | Document | Nothing"


class DocumentRoot:
    """
    A folder with scripts and other files.

    Nothing outside of it is ever found, nor what has a name that begins with a
    dot; and a script is a file that exists, so that it is never left to the
    application to guess which part of a path is the file.
    """

    def __init__(
        self,
        root: Path,
        *,
        index: Iterable[str],
        suffixes: Iterable[str],
        frontController: str | None = None,
        remoteRoot: Path | None = None,
    ) -> None:
        """
        @param root: The folder.
        @param index: Names of the files that answer for a folder.
        @param suffixes: How names of scripts end, in capitals or not.
        @param frontController: The script, as a path within the folder, that
            answers for paths that lead to nothing.
        @param remoteRoot: What the folder is called where the scripts are run.
        @raise ValueError: If there is no such folder.
        @raise TypeError: If C{index} or C{suffixes} is one text.
        """
        if not os.path.isdir(root):
            raise ValueError(f"there is no folder {os.fsdecode(root)!r}")
        self._root = os.path.abspath(os.fsencode(root))
        remote = self._root if remoteRoot is None else os.fsencode(remoteRoot)
        self._remoteRoot = remote.rstrip(b"/")
        self._index = _names("index", index)
        self._suffixes = tuple(map(bytes.lower, _names("suffixes", suffixes)))
        self._frontController: list[bytes] | None = None
        if frontController is not None:
            self._frontController = os.fsencode(frontController).strip(b"/").split(b"/")

    def find(self, segments: Sequence[bytes]) -> Found:
        """
        Find what a path leads to.

        @param segments: The segments of the path below the folder, decoded.
        @return: What is there.
        """
        if not _isFit(segments):
            return Nothing.MISSING
        found = self._walk(segments)
        if found is Nothing.MISSING and self._frontController is not None:
            return self._file(self._frontController, ())
        return found

    def _walk(self, segments: Sequence[bytes]) -> Found:
        """
        Follow a path as far as there are folders.
        """
        for depth, segment in enumerate(segments, 1):
            here, rest = segments[:depth], segments[depth:]
            if not segment:
                return Nothing.MISSING if rest else self._findIndex(segments[:-1])
            if segment.startswith(b".") or b"/" in segment:
                return Nothing.MISSING
            if not os.path.isdir(self._local(here)):
                return self._file(here, rest)
        return Nothing.FOLDER

    def _local(self, segments: Sequence[bytes]) -> bytes:
        """
        Tell the file name for some segments.
        """
        return os.path.join(self._root, *segments)

    def _findIndex(self, folder: Sequence[bytes]) -> Found:
        """
        Find the file that answers for a folder.
        """
        for name in self._index:
            found = self._file((*folder, name), ())
            if found is not Nothing.MISSING:
                return found
        return Nothing.MISSING

    def _file(self, segments: Sequence[bytes], rest: Sequence[bytes]) -> Found:
        """
        Tell what a file is good for.

        @param segments: The way to it.
        @param rest: What follows in the path.
        """
        filename = self._local(segments)
        if not (os.path.isfile(filename) and self._isWithin(filename)):
            return Nothing.MISSING
        if segments[-1].lower().endswith(self._suffixes):
            name = b"/" + b"/".join(segments)
            info = b"".join(b"/" + segment for segment in rest)
            return Script(name, info, self._remoteRoot + name, self._remoteRoot)
        return Nothing.MISSING if rest else Document(filename)

    def _isWithin(self, filename: bytes) -> bool:
        """
        Tell whether a file is in the folder, wherever symbolic links lead.
        """
        root = os.path.realpath(self._root)
        return os.path.commonpath((root, os.path.realpath(filename))) == root


def _names(option: str, names: Iterable[str]) -> list[bytes]:
    """
    Encode some names.

    @raise TypeError: If it is one: each of its letters would be a name.
    """
    if isinstance(names, (str, bytes)):
        raise TypeError(f"{option}={names!r} is no list: say {option}=[{names!r}]")
    return [os.fsencode(name) for name in names]


def _isFit(segments: Sequence[bytes]) -> bool:
    """
    Tell whether a path can be meant for files: with no NUL, and no way up, not
    even behind the name of a script.
    """
    path = b"/".join(segments)
    return b"\0" not in path and b".." not in path.split(b"/")
