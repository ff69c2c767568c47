# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Makes the table of web servers in the documentation from a run of their tests::

    FASTCGI_MATRIX=matrix.jsonl python -m pytest tests/interop
    python -m tests.interop.table matrix.jsonl

With C{--check} nothing is written, but it fails if the table is not the one
that the run leads to; the versions of the web servers don't matter.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.interop import endtoend, mounts, trouble
from tests.interop.record import CASES
from tests.programs import ROOT, program

#: What is made.
TABLE = ROOT / "docs/deploy/table.rst"

#: A module of Apache's, which has a version of its own.
_FCGID = "/usr/lib/apache2/modules/mod_fcgid.so"

#: The families of web servers, and how each tells its version.
FAMILIES: dict[str, Sequence[str]] = {
    "nginx": ("nginx", "-v"),
    "lighttpd": ("lighttpd", "-v"),
    "Apache": ("apache2", "-v"),
    "mod_fcgid": ("grep", "-aoE", "mod_fcgid/[0-9.]+", _FCGID),
    "HAProxy": ("haproxy", "-v"),
    "Caddy": ("caddy", "version"),
    "h2o": ("h2o", "-v"),
}

#: How the line with the versions starts.
MADE_WITH = "Made with "

#: The modules with cases; those of other modules come afterwards.
_ORDER = [each.__name__ for each in (endtoend, trouble, mounts)]

#: Outcomes by server and case.
Outcomes = Mapping[str, Mapping[str, str]]


def outcomes(lines: Iterable[str]) -> Outcomes:
    """
    Read what the tests have written.

    @return: The outcome of each case for each server.
    @raise ValueError: If a case had two outcomes, which must not depend on
        chance.
    """
    found: dict[str, dict[str, str]] = {}
    for line in lines:
        result = json.loads(line)
        server, case, outcome = (result[k] for k in ("server", "case", "outcome"))
        if found.setdefault(server, {}).setdefault(case, outcome) != outcome:
            raise ValueError(f"{case!r} behind {server!r} has ended in two ways")
    return found


def family(server: str) -> str:
    """
    Tell to which family a server belongs.
    """
    return server.partition(", ")[0]


def _place(known: Sequence[str], name: str) -> int:
    """
    Tell where something comes, the unknown ones last.
    """
    return known.index(name) if name in known else len(known)


def _families(found: Outcomes) -> dict[str, list[str]]:
    """
    Sort the servers into families.
    """
    names = sorted(found, key=lambda name: (_place([*FAMILIES], family(name)), name))
    sorted_: dict[str, list[str]] = {}
    for name in names:
        sorted_.setdefault(family(name), []).append(name)
    return sorted_


def _cases(found: Outcomes, servers: Iterable[str]) -> list[str]:
    """
    Tell the cases that some servers were put through, in order.
    """
    seen = {case for server in servers for case in found[server]}
    titles = [*CASES]
    return sorted(
        seen,
        key=lambda case: (_place(_ORDER, CASES.get(case, "")), _place(titles, case)),
    )


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Write a table.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    body = "".join(f"   {line}\n" for line in text.getvalue().splitlines())
    return f".. csv-table::\n   :header-rows: 1\n   :stub-columns: 1\n\n{body}\n"


def _summary(found: Outcomes) -> str:
    """
    Write the table of the families: of each case all the outcomes.
    """
    families = _families(found)
    rows = []
    for case in _cases(found, found):
        cells = []
        for servers in families.values():
            ends = [found[name][case] for name in servers if case in found[name]]
            cells.append(" / ".join(sorted(set(ends), key=_yesFirst)))
        rows.append([case, *cells])
    return _rows(["", *families], rows)


def _yesFirst(outcome: str) -> tuple[bool, str]:
    """
    Sort outcomes.
    """
    return outcome != "yes", outcome


def _details(found: Outcomes) -> str:
    """
    Write the tables of each family: one for the servers that were put through
    everything, and one for those that are about paths alone.
    """
    text = ""
    for name, servers in _families(found).items():
        text += f"{name}\n{'~' * len(name)}\n\n"
        for isWhole in (True, False):
            some = [each for each in servers if _isWhole(found[each]) is isWhole]
            rows = [
                [case, *(found[server].get(case, "") for server in some)]
                for case in _cases(found, some)
            ]
            heads = [server.partition(", ")[2] or "plain" for server in some]
            text += _rows(["", *heads], rows) if rows else ""
        text += "\n"
    return text


def _isWhole(ends: Mapping[str, str]) -> bool:
    """
    Tell whether a server was put through more than what is about paths.
    """
    return any(CASES.get(case) != mounts.__name__ for case in ends)


def render(found: Outcomes, versions: Mapping[str, str]) -> str:
    """
    Write the tables.

    @param versions: Those of the families.
    """
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{_summary(found)}{MADE_WITH}{made}.\n\n\n{_details(found)}".rstrip() + "\n"


def versions(found: Outcomes) -> dict[str, str]:
    """
    Ask the web servers for their versions.
    """
    told = {}
    for name in _families(found):
        if name in FAMILIES:
            command, *arguments = FAMILIES[name]
            done = subprocess.run(
                [program(command), *arguments], capture_output=True, text=True
            )
            version = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
            assert version, f"{command} does not tell its version"
            told[name] = version[0]
    return told


def withoutVersions(text: str) -> list[str]:
    """
    Leave out of the tables what may differ.
    """
    return [line for line in text.splitlines() if not line.startswith(MADE_WITH)]


def main(arguments: Sequence[str], table: Path = TABLE) -> str | None:
    """
    Make the table, or check it.

    @return: What is wrong, if anything is.
    """
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    found = outcomes(options.results.read_text(encoding="utf-8").splitlines())
    text = render(found, versions(found))
    if not options.check:
        table.write_text(text, encoding="utf-8")
        return None
    before, after = map(withoutVersions, (table.read_text(encoding="utf-8"), text))
    changes = [f"- {line}" for line in before if line not in after]
    changes += [f"+ {line}" for line in after if line not in before]
    if before == after:
        return None
    return "\n".join([f"{table} is not what the tests have led to:", *changes])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
