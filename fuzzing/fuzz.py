# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
One target under atheris: C{run.py} starts this, with libFuzzer's options.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import atheris
from twisted.logger import globalLogBeginner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["twisted_fastcgi"]):
    import twisted_fastcgi.channel
    import twisted_fastcgi.server  # noqa: F401

from fuzzing.targets import TARGETS


def main() -> None:
    """
    Fuzz the target that the first argument names.
    """
    _, name, *options = sys.argv
    target = TARGETS[name]
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    # To minimize a corpus, libFuzzer gives the first of these to a shell.
    command = shlex.join([sys.executable, __file__, name])
    atheris.Setup([command, *options], lambda data: target(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
