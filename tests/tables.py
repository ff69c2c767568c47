# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
How tests are written here: tables, whose rows are tests with names of their
own that every test runner finds, and settings for property tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

#: How hard property tests try.  They leave no files behind, and do not fail
#: because the machine is busy.
moderately = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

Method = TypeVar("Method", bound=Callable[..., None])


def table(rows: Mapping[str, tuple[Any, ...]]) -> Callable[[Method], Method]:
    """
    Run a test method of a L{TableTestCase} once for each row.

    @param rows: The name of each row, and the method's arguments.
    """

    def decorate(method: Method) -> Method:
        method._rows = rows  # type: ignore[attr-defined]
        return method

    return decorate


class TableTestCase(SynchronousTestCase):
    """
    A test case whose L{table} methods become one test a row.
    """

    def __init_subclass__(cls) -> None:
        for name, method in list(vars(cls).items()):
            rows = getattr(method, "_rows", None)
            if rows is not None:
                delattr(cls, name)
                _addRows(cls, name, method, rows)


def _addRows(
    cls: type, name: str, method: Callable[..., None], rows: Mapping[str, Any]
) -> None:
    """
    Add a test for each row to a class.
    """
    if not rows:
        raise ValueError(f"{name} has no rows")
    for key, arguments in rows.items():
        rowName = f"{name}_{''.join(c if c.isalnum() else '_' for c in key)}"
        if rowName in vars(cls):
            raise ValueError(f"two tests are called {rowName}")
        setattr(cls, rowName, _rowTest(method, arguments, rowName))


def _rowTest(
    method: Callable[..., None], arguments: tuple[Any, ...], rowName: str
) -> Callable[[Any], None]:
    """
    Make the test of one row.
    """

    def test(self: SynchronousTestCase) -> None:
        method(self, *arguments)

    test.__name__ = rowName
    test.__doc__ = method.__doc__
    return test


class CountedBytes(bytes):
    """
    Bytes that know how many bytes were copied out of them, and out of what was
    made from them, by slicing and adding.

    @ivar counter: A list with that number, shared by all of them.
    """

    counter: list[int]

    def __new__(
        cls, data: bytes = b"", counter: list[int] | None = None
    ) -> CountedBytes:
        counted = super().__new__(cls, data)
        counted.counter = [0] if counter is None else counter
        return counted

    def _made(self, data: bytes) -> CountedBytes:
        self.counter[0] += len(data)
        return CountedBytes(data, self.counter)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return found if isinstance(found, int) else self._made(found)

    def __add__(self, other: Any) -> Any:
        return self._made(super().__add__(other))


def countCalls(function: Callable[[], object]) -> int:
    """
    Tell how many functions and methods are called while one runs: a measure of
    the time it takes that is the same on every machine.
    """
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count
