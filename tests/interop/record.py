# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Writes down how the cases of the tests with real web servers end, for the table
in the documentation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

#: The environment variable that names the file: a line of JSON for each case.
VARIABLE = "FASTCGI_MATRIX"

#: How a case ends that ends as it should.
YES = "yes"

#: The titles of all cases, and the modules that they are in, in order.
CASES: dict[str, str] = {}

_Test = Callable[[Any], Awaitable[None]]


def case(title: str) -> Callable[[_Test], _Test]:
    """
    Decorate a test, so that its outcome is written down if it passes: L{YES},
    unless the test has called C{observed}.

    @param title: What the table calls it.
    """

    def decorate(test: _Test) -> _Test:
        CASES.setdefault(title, test.__module__)

        @wraps(test)
        async def recorded(self: Any) -> None:
            self.outcome = YES
            await test(self)
            _record(title, self.server.name, self.outcome)

        return recorded

    return decorate


def _record(title: str, server: str, outcome: str) -> None:
    """
    Add a line.
    """
    path = os.environ.get(VARIABLE)
    if path:
        line = {"case": title, "server": server, "outcome": outcome}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
