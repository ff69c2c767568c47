# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Choosing what a client gets by its I{Accept} header field (RFC 9110, section
12.5.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Commas and semicolons within quotes separate nothing.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ELEMENT = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PART = re.compile(rf'(?:[^;"]|{_QUOTED})+')
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")

#: Of all parameters, the one that tells formats apart.
_VERSION = "version"


@dataclass(frozen=True)
class MediaType:
    """
    A media type that can be had.

    @ivar name: The type and subtype, in lower case.
    @ivar version: Its parameter of that name, if it has one.
    @ivar parameters: Its other parameters, as they are sent.
    """

    name: str
    version: str | None = None
    parameters: str = "; charset=utf-8"

    def __str__(self) -> str:
        """
        Write it as in I{Content-Type}.
        """
        version = "" if self.version is None else f"; version={self.version}"
        return self.name + version + self.parameters


@dataclass(frozen=True)
class _Range:
    """
    A media range that a client accepts.

    @ivar name: Its type and subtype, maybe with C{*}.
    @ivar weight: How much it is liked; 0 for not at all.
    @ivar parameters: Its parameters.
    """

    name: str
    weight: float
    parameters: dict[str, str] = field(default_factory=dict)

    def fit(self, media: MediaType) -> int:
        """
        Tell how closely it describes a type: 0 for not at all.

        Parameters that nobody here knows are ignored: Prometheus asks for one
        that no server has to know.
        """
        version = self.parameters.get(_VERSION)
        if self.name == media.name:
            if version is None:
                return 3
            return 4 if version == media.version else 0
        if self.name == media.name.partition("/")[0] + "/*":
            return 2
        return 1 if self.name == "*/*" else 0


def _ranges(value: str) -> Iterator[_Range]:
    """
    Read the field; what can't be read in it is left out.
    """
    for element in _ELEMENT.findall(value):
        name, *rest = _PART.findall(element)
        pairs = [part.partition("=") for part in rest]
        parameters = {
            key.strip().lower(): said.strip().strip('"') for key, _, said in pairs
        }
        weight = parameters.pop("q", "1")
        if _WEIGHT.fullmatch(weight):
            yield _Range(name.strip().lower(), float(weight), parameters)


def choose(value: str | None, offers: Sequence[MediaType]) -> MediaType | None:
    """
    Choose what a client likes best.

    @param value: Its I{Accept}; L{None}, or nothing, if it has not said.
    @param offers: What can be had; of what it likes as much the first is taken.
    @return: One of them; L{None} if it accepts none.
    """
    if value is None or not value.strip():
        return offers[0]
    ranges = list(_ranges(value))
    best = max(offers, key=lambda media: _weight(media, ranges))
    return best if _weight(best, ranges) > 0 else None


def _weight(media: MediaType, ranges: Sequence[_Range]) -> float:
    """
    Tell how much a type is liked: what describes it most closely says so.
    """
    fits = [(found.fit(media), found.weight) for found in ranges]
    fit, weight = max(fits, default=(0, 0.0))
    return weight if fit else 0.0
