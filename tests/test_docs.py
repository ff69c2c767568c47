# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what the documentation shows and links to.

Every block of code on every page is run, loaded or checked here, unless another
test does what the page says: L{FOLLOWED} tells which.  A file that a page shows
has a test that runs it: see L{SHOWN}.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from configparser import ConfigParser, ParsingError
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.rest.lexers import DirectiveLexer
from twisted.application.service import MultiService
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.interop.test_recipes import run
from tests.programs import ROOT, output, program
from tests.tables import TableTestCase, table
from tests.test_readme import blocks
from twisted_fastcgi import FastCGIAgent, FastCGIProxyResource
from twisted_fastcgi.commandline import commandLine
from twisted_fastcgi.options import Options
from twisted_fastcgi.testing import FastCGITestClient

#: Pages that a test follows from the first block to the last.
FOLLOWED = {
    "docs/tutorial": "tests.interop.test_tutorial",
    "docs/wire.rst": "tests.interop.test_tool",
}

#: What runs the files that pages show, and that are no recipes for web servers.
SHOWN = {
    "docs/examples/ask_php.py": "tests.interop.test_client",
    "docs/examples/authorizer.py": "tests.interop.test_authorizer",
    "docs/examples/beside_http.py": "tests.interop.test_examples",
    "docs/examples/django_site.py": "tests.interop.test_wsgi",
    "docs/examples/events.py": "tests.interop.test_examples",
    "docs/examples/files": "tests.interop.test_files",
    "docs/examples/flask_app.py": "tests.interop.test_wsgi",
    "docs/examples/hg_server.py": "tests.interop.test_wsgi",
    "docs/examples/klein_app.py": "tests.interop.test_examples",
    "docs/examples/php_beside_twisted.py": "tests.interop.test_php",
    "docs/examples/plain.py": "tests.interop.test_examples",
    "docs/examples/script_variables.py": "tests.interop.test_client",
    "docs/examples/testing": "tests.test_testing",
    "docs/examples/tokens.py": "tests.interop.test_authorizer",
    "docs/examples/two_sites.py": "tests.interop.test_examples",
    "docs/examples/upload.py": "tests.interop.test_streaming",
    "docs/examples/wsgi_child.py": "tests.interop.test_examples",
}

#: Links to these lead to the reader's own machine, or nowhere.
EXAMPLE_HOSTS = ("127.0.0.1", "localhost", "www.example.com")

#: Where links lead.  Look at the page before adding one.
LINKS = {
    "https://docs.twisted.org/en/stable/web/",
    "https://fastcgi-archives.github.io/FastCGI_Specification.html",
    "https://github.com/nmaier/mod_xsendfile",
    "https://semver.org",
    "https://www.rfc-editor.org/rfc/rfc3875",
}


def pages() -> dict[str, tuple[Path]]:
    """
    Find all pages.

    @return: Where they are, by their names.
    """
    found = [*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst")]
    names = {path.relative_to(ROOT).as_posix(): (path,) for path in found}
    return {
        name: names[name] for name in sorted(names) if not name.startswith("docs/_")
    }


def within(name: str, table: Mapping[str, str]) -> str | None:
    """
    Look up a path, or a folder that it is in, in a table.
    """
    path = Path(name)
    found = (table.get(each.as_posix()) for each in (path, *path.parents))
    return next(filter(None, found), None)


def namespace() -> dict[str, Any]:
    """
    Make what examples in Python may use without saying where it comes from.
    """
    reactor = MemoryReactorClock()
    return {
        "Clock": Clock,
        # There is no such folder here as the examples have.
        "FastCGIProxyResource": lambda agent, root, **more: FastCGIProxyResource(
            agent, str(ROOT), **more
        ),
        "FastCGITestClient": FastCGITestClient,
        "MyResource": lambda *arguments: Resource(),
        "Site": Site,
        "agent": FastCGIAgent(reactor, "unix:/run/php.sock"),
        "parent": MultiService(),
        "reactor": reactor,
        "site": Site(Resource(), reactor=Clock()),
    }


# What is done with a block of code, by its language


def ignore(example: Example) -> None:
    """
    Do nothing: it is what a program says, or how a command is to be read.
    """


def loadIni(example: Example) -> None:
    """
    Read a file of sections and settings.
    """
    ConfigParser(interpolation=None).read_string(example.parsed)


def loadNginx(example: Example) -> None:
    """
    Have nginx read what stands in a C{server} block.

    @raise AssertionError: If it finds anything wrong.
    """
    nginx = program("nginx")
    with TemporaryDirectory(prefix="fastcgi-") as folder:
        shutil.copy("/etc/nginx/fastcgi_params", folder)
        (Path(folder) / "nginx.conf").write_text(
            f"error_log stderr; pid nginx.pid; events {{}} http {{ access_log off; "
            f"server {{ listen unix:{folder}/web.sock; {example.parsed} }} }}"
        )
        output(
            [nginx, "-t", "-q", "-p", folder, "-c", "nginx.conf", "-e", "stderr"],
            folder,
        )


def checkCommands(example: Example) -> None:
    """
    Look whether there are the options of C{twistd fastcgi} and C{fcgi} that a
    block of commands has.
    """
    known = set(optionsOfTwistd())
    tool = optionsOfTool()
    for words in commands(example.parsed):
        name = Path(words[0]).name
        if name in ("twist", "twistd") and "fastcgi" in words:
            given = words[words.index("fastcgi") + 1 :]
            unknown = set(options(given)) - known
        elif name == "fcgi" and len(words) > 1:
            unknown = set(options(words[2:])) - tool[words[1]]
        else:
            continue
        assert not unknown, f"{example.path}: {' '.join(words)}: no {unknown}"


def commands(text: str) -> Iterator[list[str]]:
    """
    Split commands for a shell into their words.  In what shows a terminal, all
    lines are looked at: what a program says names options, too.
    """
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"^[$#] ", "", line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            tokens = list(lexer)
        except ValueError:
            tokens = line.split()
        words: list[str] = []
        for token in [*tokens, ";"]:
            if token.strip("();<>|&"):
                words.append(token)
            elif words:
                yield words
                words = []


def options(words: Iterable[str]) -> Iterator[str]:
    """
    Find options among words.
    """
    for word in words:
        if re.match("--?[a-zA-Z]", word):
            yield word.partition("=")[0]


def optionsOfTwistd() -> Iterator[str]:
    """
    List the options of C{twistd fastcgi}.
    """
    known = Options()
    for name in known.synonyms:
        yield f"-{name}" if len(name) == 1 else f"--{name}"


def optionsOfTool() -> Mapping[str, set[str]]:
    """
    List the options of each command of C{fcgi}.
    """
    (commands,) = (
        action.choices
        for action in commandLine()._actions
        if action.dest == "==SUPPRESS==" and action.choices
    )
    return {
        name: set(parser._option_string_actions) for name, parser in commands.items()
    }


LANGUAGES: Mapping[str, Callable[[Example], object]] = {
    "console": checkCommands,
    "ini": loadIni,
    "nginx": loadNginx,
    "none": ignore,
    "python": PythonEvaluator(),
    "sh": checkCommands,
    "text": ignore,
}


def refuse(example: Example) -> None:
    """
    Complain of a block that no test knows what to do with.
    """
    raise AssertionError(
        f"{example.path}, line {example.line}: {example.parsed}: show code with "
        f"code-block and one of these languages, or have tests/test_docs.py load "
        f"another: {', '.join(LANGUAGES)}"
    )


def checkShown(example: Example) -> None:
    """
    Look whether a test runs a file that a page shows.
    """
    path = (Path(example.path).parent / example.parsed).resolve()
    name = path.relative_to(ROOT).as_posix()
    if name.startswith("docs/deploy/"):
        assert name.removeprefix("docs/deploy/") in set(run()), f"{name} is not run"
        return
    module = within(name, SHOWN)
    assert module is not None, f"{name} is shown, but SHOWN has no test that runs it"
    source = Path(import_module(module).__file__ or "").read_text()
    words = (path.stem, path.parent.name)
    assert any(word in source for word in words), f"{module} does not run {name}"


def codeBlocks(document: Document) -> Iterator[Region]:
    """
    Find the blocks of code on a page.
    """
    for region in DirectiveLexer("(?:code-block|code|sourcecode|parsed-literal)")(
        document
    ):
        language = region.lexemes["arguments"] or ""
        region.evaluator = LANGUAGES.get(language, refuse)
        known = region.evaluator is not refuse
        region.parsed = region.lexemes["source"] if known else f"language {language!r}"
        yield region


def literalBlocks(document: Document) -> Iterator[Region]:
    """
    Find the blocks of code that do not say what they are.
    """
    for found in re.finditer(r"^(?!\s*\.\. ).*::$", document.text, re.M):
        yield Region(found.start(), found.end(), found[0], refuse)


def shownFiles(document: Document) -> Iterator[Region]:
    """
    Find the files that a page shows.
    """
    for region in DirectiveLexer("literalinclude")(document):
        region.parsed, region.evaluator = region.lexemes["arguments"], checkShown
        yield region


BLOCKS = Sybil(parsers=[codeBlocks, literalBlocks, shownFiles], path=str(ROOT))


class BlockTests(TableTestCase):
    """
    What pages show.
    """

    @table({name: row for name, row in pages().items() if not within(name, FOLLOWED)})
    def test_page(self, path: Path) -> None:
        """
        All code on a page does what it should, as far as that can be told of
        it alone.
        """
        document = BLOCKS.parse(path)
        document.namespace.update(namespace())
        for example in document.examples():
            example.evaluate()

    def test_followed(self) -> None:
        """
        The tests that follow pages are there, and know these pages.
        """
        for name, module in FOLLOWED.items():
            if (ROOT / name).exists():
                source = Path(import_module(module).__file__ or "").read_text()
                self.assertIn(name, source)

    @table(
        {
            "unknown language": (".. code-block:: cobol\n\n   STOP RUN.\n", "cobol"),
            "no language": (".. code-block::\n\n   STOP RUN.\n", "language ''"),
            "anonymous": ("Do this::\n\n   stop\n", "Do this::"),
            "broken Python": (
                ".. code-block:: python\n\n   1 / 0\n",
                "division",
                ZeroDivisionError,
            ),
            "broken settings": (".. code-block:: ini\n\n   [a\n", "[a", ParsingError),
            "unknown option": (
                ".. code-block:: sh\n\n   twistd fastcgi --prot x\n",
                "--prot",
            ),
            "unknown option of the tool": (
                ".. code-block:: console\n\n   $ fcgi get --prot x\n   hello\n",
                "--prot",
            ),
            "a file that nothing runs": (
                ".. literalinclude:: conf.py\n",
                "docs/conf.py is shown",
            ),
        }
    )
    def test_refused(
        self, text: str, complaint: str, kind: type[Exception] = AssertionError
    ) -> None:
        """
        A block that is not as it should be, or that no test runs, is found.
        """
        path = ROOT / "docs/none.rst"
        document = Document(text, str(path))
        for parser in (codeBlocks, literalBlocks, shownFiles):
            for region in parser(document):
                document.add(region)
        (example,) = document.examples()
        error = self.assertRaises(kind, example.evaluate)
        self.assertIn(complaint, str(error))

    def test_refusedByNginx(self) -> None:
        """
        A block that nginx does not understand is found.
        """
        document = Document(".. code-block:: nginx\n\n   listne 80;\n", "docs/none.rst")
        for region in codeBlocks(document):
            document.add(region)
        (example,) = document.examples()
        error = self.assertRaises(AssertionError, example.evaluate)
        self.assertIn("listne", str(error))


class LinkTests(SynchronousTestCase):
    """
    Links to other sites.  Whether they still lead somewhere is not looked up
    here: that needs the Internet.
    """

    def test_reviewed(self) -> None:
        """
        Each link has been looked at, and is there still.
        """
        text = "\n".join(path.read_text() for (path,) in pages().values())
        found = {
            link.rstrip(".,;:") for link in re.findall(r"https?://[^\s>`'\")]+", text)
        }
        outside = {
            link
            for link in found
            if re.split("[/:]", link.partition("//")[2])[0] not in EXAMPLE_HOSTS
        }
        self.assertEqual(outside, LINKS)

    def test_secure(self) -> None:
        """
        No link is to be followed unencrypted.
        """
        self.assertEqual([link for link in LINKS if not link.startswith("https:")], [])

    def test_command(self) -> None:
        """
        The guide for contributors tells how to follow them.
        """
        self.assertIn(
            "sphinx-build -b linkcheck docs", blocks("CONTRIBUTING.rst")["links"]
        )
