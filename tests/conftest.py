# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What pytest has to do as trial does it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture(scope="session", autouse=True)
def temporaryDirectory() -> Iterator[None]:
    """
    Run the tests in a folder of their own: C{mktemp()} makes its files in the
    current one.
    """
    before = os.getcwd()
    with TemporaryDirectory(prefix="fastcgi-") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
