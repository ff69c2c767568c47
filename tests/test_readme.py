# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what the README and its companions tell people to do.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import mkdtemp

from docutils import nodes
from docutils.core import publish_doctree
from twisted.application.service import MultiService
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.programs import (
    PATIENCE,
    ROOT,
    SCRIPTS,
    ask,
    fetch,
    output,
    program,
    serving,
)
from twisted_fastcgi import FastCGIFactory

#: Where the examples have their socket.
SOCKET = "/tmp/app.sock"

#: Where they have their preview.
PREVIEW = "tcp:8080:interface=127.0.0.1"

#: What nginx wants folders for, which only root has by default.
TEMPORARY = ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")


def blocks(name: str) -> dict[str, str]:
    """
    Read the code blocks of a document.

    @return: The text of each by its name.
    @raise docutils.utils.SystemMessage: If there is anything wrong with the
        document.
    """
    settings = {"halt_level": 2, "report_level": 5, "syntax_highlight": "none"}
    document = publish_doctree(
        (ROOT / name).read_text(encoding="utf-8"), settings_overrides=settings
    )
    return {
        block["names"][0]: block.astext() for block in document.findall(isNamedBlock)
    }


def isNamedBlock(node: nodes.Node) -> bool:
    """
    Say whether a node is a code block with a name.
    """
    return isinstance(node, nodes.literal_block) and bool(node["names"])


def lines(block: str) -> list[str]:
    """
    Split code into its lines, without the empty ones.
    """
    return [line for line in block.splitlines() if line.strip()]


def get(path: Path) -> bytes:
    """
    Ask an HTTP server on a Unix socket for its front page.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


class DocumentTests(SynchronousTestCase):
    """
    The documents as such.
    """

    def test_valid(self) -> None:
        """
        They are valid reStructuredText without what only Sphinx knows, so that
        package indexes and forges can show them.
        """
        for name in ("README.rst", "NEWS.rst", "CONTRIBUTING.rst", "SECURITY.rst"):
            blocks(name)

    def test_tested(self) -> None:
        """
        Each block of the README has a test here: if there is a new one, it
        needs one too.
        """
        self.assertEqual(
            sorted(blocks("README.rst")),
            ["application", "embed", "nginx", "run", "serve", "service", "test"],
        )

    def test_ciRunsTheTestCommand(self) -> None:
        """
        C{.ci/run} takes the README's test command out of it, word for word.
        """
        script = (ROOT / ".ci/run").read_text().splitlines()
        (extraction,) = (line for line in script if line.startswith("command="))
        found = output(["bash", "-c", f'{extraction}; printf "%s" "$command"'], ROOT)
        self.assertEqual(found.split(), blocks("README.rst")["test"].split())

    def test_ciRunsTheLinters(self) -> None:
        """
        C{.ci/run} runs each linter that the guide for contributors names, and
        what takes its time.
        """
        script = (ROOT / ".ci/run").read_text().splitlines()
        guide = blocks("CONTRIBUTING.rst")
        for command in lines(guide["linters"] + "\n" + guide["long"]):
            found = [line for line in script if line.strip().startswith(command)]
            self.assertNotEqual(found, [], command)

    def test_others(self) -> None:
        """
        Who contributes is told nothing else that no test runs: the benchmarks
        are run by L{tests.test_benchmarks}, and what makes a release by
        L{tests.test_packaging}.
        """
        self.assertEqual(
            sorted(blocks("CONTRIBUTING.rst")),
            [
                *("benchmarks", "coverage", "links", "linters", "long"),
                *("release", "set-up", "tests"),
            ],
        )

    def test_names(self) -> None:
        """
        The README and the guide name files that are there.
        """
        for name in ("README.rst", "CONTRIBUTING.rst", "SECURITY.rst"):
            text = (ROOT / name).read_text("utf-8")
            for path in re.findall(r"``((?:docs|tests|fuzzing)/[\w/.-]+)``", text):
                self.assertTrue((ROOT / path).exists(), f"{name}: {path}")


class ExampleTests(SynchronousTestCase):
    """
    The examples, run as they stand but for the place of the socket.
    """

    def setUp(self) -> None:
        """
        Make a folder for the sockets and files of the example.
        """
        self.examples = blocks("README.rst")
        self.folder = Path(mkdtemp(prefix="fastcgi-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.socket = str(self.folder / "app.sock")

    def example(self, name: str) -> str:
        """
        Read an example, with its socket in the folder of this test.
        """
        self.assertIn(SOCKET, self.examples[name])
        return self.examples[name].replace(SOCKET, self.socket)

    def serving(
        self, line: str, ready: str = "serving "
    ) -> AbstractContextManager[list[str]]:
        """
        Run a command that begins with C{twist}.

        @param ready: What the line of its log contains that says that it
            serves.
        """
        name, *arguments = line.split()
        self.assertEqual(Path(name).name, "twist")
        command = [SCRIPTS / "twist", "--log-format=text", *arguments]
        return serving(command, self.folder, ready, PYTHONPATH=str(ROOT))

    def setUpNginx(self, block: str) -> list[str]:
        """
        Write a configuration of nginx with a block in its only C{server}, which
        listens on C{web.sock}.

        @return: The command that runs it.
        """
        nginx = program("nginx")
        shutil.copy("/etc/nginx/fastcgi_params", self.folder)
        user = "user root;" if os.geteuid() == 0 else ""
        listen = f"listen unix:{self.folder / 'web.sock'};"
        folders = "".join(f"{kind}_temp_path temp;" for kind in TEMPORARY)
        (self.folder / "nginx.conf").write_text(
            f"{user} daemon off; error_log stderr notice; pid nginx.pid; events {{}}"
            f"http {{ access_log off; {folders} server {{ {listen} {block} }} }}"
        )
        return [nginx, "-p", str(self.folder), "-c", "nginx.conf", "-e", "stderr"]

    def serveApplication(self) -> AbstractContextManager[list[str]]:
        """
        Serve the application of the README as it says.
        """
        (self.folder / "hello.py").write_text(self.examples["application"])
        return self.serving(self.example("serve"))

    def test_run(self) -> None:
        """
        The first command ends with a server that shows what the web server
        sent: in a browser at the URL of the README, and on a socket, of which
        the log says how nginx reaches it.
        """
        command = self.example("run").replace("\\\n", " ")
        last = command.rpartition("&& ")[2]
        text = (ROOT / "README.rst").read_text()
        self.assertIn(PREVIEW, last)
        self.assertIn("Open http://127.0.0.1:8080/ in", text)
        last = last.replace(PREVIEW, "tcp:0:interface=127.0.0.1")
        with self.serving(last, ready="in nginx: ") as log:
            page = fetch(re.findall(r"http://127\.0\.0\.1:\d+/", "".join(log))[0])
            answer = ask(self.socket, QUERY_STRING="a=b", REMOTE_USER="somebody")
        self.assertIn(f"fastcgi_pass unix:{self.socket};", "".join(log))
        self.assertIn(b"Status: 200", answer)
        for shown in (b"REMOTE_USER", b"somebody"):
            self.assertIn(shown, answer)
        for shown in (b"This request came over FastCGI", b"REQUEST_URI"):
            self.assertIn(shown, page)

    def test_commandsAgree(self) -> None:
        """
        The two commands make the environment in the same way.
        """
        run = self.examples["run"].partition("&& .venv/bin/pip")[0]
        self.assertEqual(run, self.examples["test"].partition("&& .venv/bin/pip")[0])

    def test_application(self) -> None:
        """
        The application has 10 lines and greets whom the web server names.
        """
        self.assertLessEqual(len(lines(self.examples["application"])), 10)
        with self.serveApplication():
            known = ask(self.socket, REMOTE_USER="Ada")
            unknown = ask(self.socket)
        self.assertTrue(known.endswith(b"\r\n\r\nHello, Ada!\n"), known)
        self.assertTrue(unknown.endswith(b"\r\n\r\nHello, stranger!\n"), unknown)

    def test_nginx(self) -> None:
        """
        With the block for nginx, a client of nginx gets the answer of the
        application.
        """
        nginx = self.setUpNginx(self.example("nginx"))
        with self.serveApplication(), serving(nginx, ready="start worker process "):
            answer = get(self.folder / "web.sock")
        self.assertIn(b" 200 OK\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nHello, stranger!\n"), answer)

    def test_embed(self) -> None:
        """
        Three lines serve the very C{Site} of an existing service.
        """
        reactor = MemoryReactor()
        site = Site(Resource())
        self.assertEqual(len(lines(self.examples["embed"])), 3)
        exec(self.example("embed"), {"reactor": reactor, "site": site})
        ((path, factory, *_),) = reactor.unixServers
        self.assertEqual(path, self.socket)
        self.assertIsInstance(factory, FastCGIFactory)
        self.assertIs(factory.site, site)

    def test_service(self) -> None:
        """
        A service does the same from its parent's start to its stop.
        """
        reactor = MemoryReactor()
        site, parent = Site(Resource(), reactor=Clock()), MultiService()
        names = {"reactor": reactor, "site": site, "parent": parent}
        exec(self.example("service"), names)
        parent.startService()
        ((path, factory, *_),) = reactor.unixServers
        self.assertEqual(path, self.socket)
        self.assertIs(factory.site, site)
        self.assertIsNone(self.successResultOf(parent.stopService())[0][1])
