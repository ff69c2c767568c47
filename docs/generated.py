# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What the documentation takes from the code while it is built: a Sphinx extension
with a directive for each function that is decorated with L{generates}.
"""

from __future__ import annotations

import ast
import inspect
import re
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

import twisted_fastcgi
from twisted_fastcgi.commandline import commandLine
from twisted_fastcgi.connection import INPUT_ACTIONS, INPUT_ORDER, InputState
from twisted_fastcgi.interfaces import IFastCGIRequest
from twisted_fastcgi.options import Options
from twisted_fastcgi.records import RecordType, Role

ROOT = Path(__file__).resolve().parent.parent

Lines = Iterator[str]

#: What each directive makes: lines of reStructuredText.
DIRECTIVES: dict[str, Callable[[], Lines]] = {}


def generates(name: str) -> Callable[[Callable[[], Lines]], Callable[[], Lines]]:
    """
    Have a directive of this name insert what a function makes.
    """

    def decorate(make: Callable[[], Lines]) -> Callable[[], Lines]:
        DIRECTIVES[name] = make
        return make

    return decorate


def setup(app: Any) -> dict[str, bool]:
    """
    Add the directives to Sphinx.
    """
    for name, make in DIRECTIVES.items():
        members = {"make": staticmethod(make)}
        app.add_directive(name, type("Generated", (_Generated,), members))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class _Generated(Directive):
    """
    Inserts what C{make} makes.
    """

    make: Callable[[], Lines]

    def run(self) -> list[nodes.Node]:
        """
        Make the nodes.
        """
        parent = nodes.Element()
        lines = StringList(list(self.make()), source=self.arguments or __file__)
        self.state.nested_parse(lines, self.content_offset, parent)
        return parent.children


def plain(text: str) -> str:
    """
    Make reStructuredText of text that has no mark-up.
    """
    text = re.sub(r"([*`|\\]|_\b)", r"\\\1", re.sub(r"\s+", " ", text))
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*[a-z]", r"``\g<0>``", text)


def summary(docstring: str | None) -> str:
    """
    Make reStructuredText of the first sentence of a docstring.
    """
    sentence = re.split(r"\.\s|:\s|;\s|\n\n", (docstring or "").strip(), maxsplit=1)[0]
    parts = re.split(r"[A-Z]\{([^}<]*?)\s*(?:<[^>]*>)?\}", sentence.rstrip("."))
    code = [f"``{part}``" if odd % 2 else plain(part) for odd, part in enumerate(parts)]
    return "".join(code)


def listTable(rows: Iterable[Iterable[str]], widths: str = "auto") -> Lines:
    """
    Make a table, the first row of which is its header.
    """
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield f"   :widths: {widths}"
    yield ""
    for row in rows:
        for bullet, cell in zip("*     ", row, strict=False):
            yield f"   {bullet} - {cell}"
    yield ""


# The options of the commands


def option(names: Iterable[str], value: str, text: str, default: object) -> Lines:
    """
    Describe an option.
    """
    said = ", ".join(f"{name} {value}".strip() for name in names)
    yield f".. option:: {said}"
    yield ""
    shown = plain(text)
    if default is not None and "[default:" not in text:
        shown += f" [default: {plain(str(default))}]"
    yield "   " + re.sub(r" ?\[default: (.*)\]$", r"  Default: \1.", shown)
    yield ""


@generates("twistd-options")
def twistdOptions() -> Lines:
    """
    Describe the options of C{twistd fastcgi}.
    """
    options = Options()
    yield ".. program:: twistd fastcgi"
    yield ""
    for name in sorted(each.rstrip("=") for each in options.longOpt):
        short = [
            f"-{letter}"
            for letter, name_ in options.synonyms.items()
            if len(letter) == 1 and name_ == name
        ]
        takesValue = f"{name}=" in options.longOpt
        default = options.defaults.get(name) if takesValue else None
        yield from option(
            [f"--{name}", *short],
            "VALUE" if takesValue else "",
            options.docs.get(name) or "",
            default,
        )


def commands() -> Mapping[str, ArgumentParser]:
    """
    Find the parsers of the commands of C{fcgi}.
    """
    (found,) = commandLine()._subparsers._group_actions  # type: ignore[union-attr]
    choices: Any = found.choices
    return choices


@generates("fcgi-options")
def fcgiOptions() -> Lines:
    """
    Describe the commands of C{fcgi} and their options.
    """
    for name, parser in commands().items():
        yield f".. rubric:: fcgi {name}"
        yield ""
        yield plain(parser.description or "")
        yield ""
        yield f".. program:: fcgi {name}"
        yield ""
        yield ".. code-block:: text"
        yield ""
        for line in parser.format_usage().splitlines():
            yield f"   {line}"
        yield ""
        for action in parser._actions:
            value = "" if action.nargs == 0 else action.metavar or action.dest.upper()
            default = action.default if action.nargs != 0 else None
            yield from option(
                action.option_strings or [action.dest],
                str(value) if action.option_strings else "",
                (action.help or "").replace("%(default)s", str(default)),
                default if default and default != "==SUPPRESS==" else None,
            )


# The states of a connection


@generates("input-actions")
def inputActions() -> Lines:
    """
    Tell what is done with a record of the request in hand.
    """
    types = sorted({type_ for actions in INPUT_ACTIONS.values() for type_ in actions})
    rows = [["", *(f"``{RecordType(each).name}``" for each in types)]]
    for state, actions in INPUT_ACTIONS.items():
        done = (actions.get(each) for each in types)
        values = [each.value if each else "ignore" for each in done]
        rows.append([f"``{state.name}``", *values])
    yield from listTable(rows)


@generates("input-order")
def inputOrder() -> Lines:
    """
    Tell which state of the input follows which.
    """
    rows = [["Role", "States"]]
    for role, following in INPUT_ORDER.items():
        states = [InputState.PARAMS]
        while states[-1] in following:
            states.append(following[states[-1]])
        path = " → ".join(f"``{state.name}``" for state in states)
        rows.append([Role(role).name.capitalize(), path])
    yield from listTable(rows)


# The names and the rooms


@generates("public-names")
def publicNames() -> Lines:
    """
    List the names that the package exports, with links to their pages.
    """
    rows = [["Name", "What it is"]]
    for name in twisted_fastcgi.__all__:
        if name == "__version__":
            rows.append(["``__version__``", "The version of the package"])
            continue
        value = getattr(twisted_fastcgi, name)
        doc = value.__doc__ if value is IFastCGIRequest else inspect.getdoc(value)
        link = f":py:obj:`~twisted_fastcgi.{name}`"
        rows.append([link, summary(doc or value.__doc__)])
    yield from listTable(rows, "30 70")


def floors() -> list[list[str]]:
    """
    Read which modules stand on which floor, the highest first.
    """
    text = (ROOT / "pyproject.toml").read_text()
    (layers,) = re.findall(r"^layers = \[\n(.*?)^\]", text, re.M | re.S)
    return [
        re.findall(r"\w+", layer) for layer in re.findall(r'^ *"(.*)",$', layers, re.M)
    ]


@generates("rooms")
def rooms() -> Lines:
    """
    List the modules of the package, floor by floor, with what each is for.
    """
    rows = [["Floor", "Module", "What it is"]]
    every = floors()
    for number, floor in zip(range(len(every), 0, -1), every, strict=True):
        for name in floor:
            path = ROOT / "twisted_fastcgi" / f"{name}.py"
            if path.exists():
                doc = ast.get_docstring(ast.parse(path.read_text()))
                link = f":py:obj:`~twisted_fastcgi.{name}`"
                rows.append([str(number), link, summary(doc)])
    yield from listTable(rows, "10 25 65")
