# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The options of C{twistd fastcgi} that set L{Limits
<twisted_fastcgi.limits.Limits>}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.python.usage import UsageError

from twisted_fastcgi.connection import Limits

#: What stands for no limit.
_NONE = "none"


@dataclass(frozen=True)
class LimitOption:
    """
    An option for one limit.

    @ivar name: The name of the option, without its dashes.
    @ivar field: That of the limit in L{Limits
        <twisted_fastcgi.limits.Limits>}.
    @ivar unit: What is counted, for messages.
    @ivar least: The least that can be said.
    @ivar help: What the option is for.
    @ivar isOptional: Whether there need not be a limit.
    """

    name: str
    field: str
    unit: str
    least: int
    help: str
    isOptional: bool = False

    def __call__(self, text: str) -> float | int | None:
        """
        Read what was said on the command line.

        @param text: A number, or C{none} if there need not be a limit.
        @return: The limit.
        @raise UsageError: If it is anything else.
        """
        if self.isOptional and text == _NONE:
            return None
        try:
            return self._number(text)
        except ValueError:
            raise UsageError(
                f"--{self.name}: {text!r} is no {self._what}"
                + (f", nor {_NONE!r}" if self.isOptional else "")
            ) from None

    def _number(self, text: str) -> float | int:
        """
        Read a number.

        @raise ValueError: If it is none, or out of range.
        """
        if self.unit != "seconds":
            count = int(text)
            if count < self.least:
                raise ValueError(text)
            return count
        seconds = float(text)
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(text)
        return seconds

    @property
    def _what(self) -> str:
        """
        Say what is expected.
        """
        if self.unit == "seconds":
            return "number of seconds above 0"
        return f"whole number of {self.unit} from {self.least} up"

    @property
    def parameter(self) -> list[Any]:
        """
        The row for C{optParameters}.
        """
        default = getattr(Limits(), self.field)
        shown = _NONE if default is None else default
        text = f"{self.help} {_NONE} is no limit." if self.isOptional else self.help
        return [self.name, None, shown, text, self]


LIMIT_OPTIONS: Sequence[LimitOption] = (
    LimitOption(
        "max-params-bytes",
        "paramsBytes",
        "bytes",
        1,
        "How large all variables of a request may be together, in bytes; beyond "
        "that it gets 431.",
    ),
    LimitOption(
        "max-params",
        "params",
        "variables",
        1,
        "How many variables a request may have; beyond that it gets 431.",
    ),
    LimitOption(
        "max-name-length",
        "nameLength",
        "bytes",
        1,
        "How long the name of a variable may be, in bytes; beyond that the request "
        "gets 431.",
    ),
    LimitOption(
        "max-body-bytes",
        "bodyBytes",
        "bytes",
        0,
        "How large the body of a request may be, in bytes; beyond that it gets 413.",
        isOptional=True,
    ),
    LimitOption(
        "max-connections",
        "connections",
        "connections",
        1,
        "How many connections there may be; on more, requests get 503. Web servers "
        "that ask are told this number.",
    ),
    LimitOption(
        "max-queued-answers",
        "queuedAnswers",
        "answers",
        0,
        "How many answers to management records and refused requests may wait to be "
        "read during a request; beyond that the connection is cut off.",
    ),
    LimitOption(
        "max-unheeded-bytes",
        "unheededBytes",
        "bytes",
        0,
        "How many bytes the application may write after its push producer was told "
        "to pause; beyond that the connection is cut off.",
        isOptional=True,
    ),
    LimitOption(
        "params-timeout",
        "paramsTimeout",
        "seconds",
        0,
        "In how many seconds the variables of a request must arrive; else the "
        "connection is closed.",
        isOptional=True,
    ),
    LimitOption(
        "body-timeout",
        "bodyTimeout",
        "seconds",
        0,
        "How many seconds may pass until more of a body arrives; else the request "
        "gets 408.",
        isOptional=True,
    ),
    LimitOption(
        "write-timeout",
        "writeTimeout",
        "seconds",
        0,
        "How many seconds may pass in which the web server reads nothing of what "
        "waits for it; else the connection is cut off.",
        isOptional=True,
    ),
    LimitOption(
        "idle-timeout",
        "idleTimeout",
        "seconds",
        0,
        "After how many seconds a connection without a request is closed. nginx may "
        "send the next request at that very moment, and gives 502 then.",
        isOptional=True,
    ),
)
"""
All of them.
"""


def limitsFrom(options: Mapping[str, Any]) -> Limits:
    """
    Make the limits that were asked for.

    @param options: The values of the options, by their names.
    @return: The limits.
    """
    values: dict[str, Any] = {}
    for option in LIMIT_OPTIONS:
        value = options[option.name]
        # Defaults are not read as what is said is.
        values[option.field] = None if value == _NONE else value
    return Limits(**values)
