# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The tutorial, done as it says from its first page to its last: the files that it
shows are written, the commands are run, and they have to say what it says.  Its
machine is a folder; nginx and supervisor are real.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, default_int_handler, signal
from tempfile import mkdtemp
from textwrap import dedent
from threading import Timer

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.servers import freePort
from tests.programs import PATIENCE, ROOT, SCRIPTS, environment, program, until

PAGES = ROOT / "docs/tutorial"

#: A block of code in a page: its language, its options and its lines.
BLOCK = re.compile(
    r"^\.\. code-block:: (\w+)\n((?:   :.*\n)*)\n((?:(?:   .*)?\n)+)", re.M
)

#: The beginnings of paths that the folder of the test has in their place.
PATHS = ("/srv/hello", "/etc/nginx", "/etc/supervisor")

#: What the tutorial has where the test has a free port.
PORTS = ("8080", "8000")

#: What is different each time, or on each machine.
VARYING = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", "DATE"),
    (r"\d\d/\w{3}/\d{4}:[\d:]+ [+-]\d{4}", "DATE"),
    (r"curl/[\d.]+", "curl/VERSION"),
    (r"twistd [\d.]+ \((.*?) [\d.]+\)", r"twistd VERSION (\1 VERSION)"),
    (r"tests in [\d.]+s", "tests in TIME"),
    (r"pid \d+, uptime [\d:]+", "pid, uptime"),
)

#: Commands of the tutorial that are not what they are on a machine of one's own.
COMMANDS = {
    "sudo": '"$@"',
    "apt-get": '/usr/bin/apt-get --simulate -qq "$@" > /dev/null',
    # What nginx says to its log would be seen.
    "nginx": '{nginx} -p {folder} -c {folder}/etc/nginx/nginx.conf -e stderr "$@" 2>&1 '
    "| grep -v '\\[notice\\]' || true",
    "supervisorctl": '{supervisorctl} -c {folder}/etc/supervisor/supervisord.conf "$@"',
    "python3": '{python} "$@"',
}

#: The configuration of nginx as Debian has it, as far as that matters.
NGINX = """\
{user} daemon off; error_log stderr notice; pid nginx.pid; events {{}}
http {{
    access_log off;
    client_body_temp_path b; fastcgi_temp_path f; proxy_temp_path p;
    scgi_temp_path s; uwsgi_temp_path u;
    include {folder}/etc/nginx/conf.d/*.conf;
}}
"""

#: The same of supervisor.
SUPERVISOR = """\
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[unix_http_server]
file={folder}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/supervisor.sock
[include]
files={folder}/etc/supervisor/conf.d/*.conf
"""


def pages() -> list[str]:
    """
    Read the pages of the tutorial in their order.
    """
    index = (PAGES / "index.rst").read_text("utf-8")
    names = index.partition(":maxdepth: 1\n")[2].split()
    return [(PAGES / f"{name}.rst").read_text("utf-8") for name in names]


@contextmanager
def started(
    command: list[str], cwd: Path, variables: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """
    Run a program until the end of the block, at which it is stopped if it is
    still there.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = Timer(5 * PATIENCE, process.kill)
    watchdog.start()
    with process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()
            watchdog.cancel()


@dataclass
class Reader:
    """
    Who follows the tutorial.

    @ivar folder: What stands for the machine.
    @ivar stack: Ends what was started.
    @ivar cwd: Where the terminal is.
    @ivar services: What runs in the background, by its name.
    @ivar foreground: What runs in the first terminal.
    @ivar wrong: What the commands have said, where the tutorial says something
        else.
    """

    folder: Path
    stack: ExitStack
    cwd: Path = ROOT
    services: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    foreground: subprocess.Popen[str] | None = None
    wrong: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """
        Make the machine.
        """
        self.ports = [str(freePort()) for _ in PORTS]
        for name in ("bin", "srv", "etc/nginx/conf.d", "etc/supervisor/conf.d"):
            (self.folder / name).mkdir(parents=True)
        shutil.copy("/etc/nginx/fastcgi_params", self.folder / "etc/nginx")
        values = {
            "folder": self.folder,
            "nginx": program("nginx"),
            "supervisorctl": program("supervisorctl"),
            "python": sys.executable,
            "user": "user root;" if os.geteuid() == 0 else "",
        }
        for name, command in COMMANDS.items():
            script = self.folder / "bin" / name
            script.write_text(f"#!/bin/sh\n{command.format(**values)}\n")
            script.chmod(0o755)
        for path, text in (
            ("nginx/nginx.conf", NGINX),
            ("supervisor/supervisord.conf", SUPERVISOR),
        ):
            (self.folder / "etc" / path).write_text(text.format(**values))
        self.variables = environment(
            PATH=f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin",
            no_proxy="localhost,127.0.0.1",
            # pip needs no network: others.pth has what it would look for.
            PIP_NO_INDEX="1",
            PIP_NO_DEPS="1",
            # This is whether to isolate, whatever its name is.
            PIP_NO_BUILD_ISOLATION="0",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
        )

    def here(self, text: str) -> str:
        """
        Put the paths and ports of this machine into a text of the tutorial.
        """
        for path in PATHS:
            text = text.replace(path, f"{self.folder}{path}")
        for port, own in zip(PORTS, self.ports, strict=True):
            text = re.sub(rf"\b{port}\b", own, text)
        return text

    def same(self, lines: list[str]) -> list[str]:
        """
        Leave out of what is said what is different each time.
        """
        text = "\n".join(" ".join(line.split()) for line in lines if line.strip())
        for pattern, word in VARYING:
            text = re.sub(pattern, word, text)
        return text.split("\n")

    def compare(self, said: list[str], expected: list[str]) -> None:
        """
        See that something is said that the tutorial shows.
        """
        found, wanted = self.same(said), self.same(expected)
        if found != wanted:
            self.wrong.append((found, wanted))

    def follow(self, page: str) -> None:
        """
        Do what a page says.
        """
        for language, options, block in BLOCK.findall(page):
            text = self.here(dedent(block))
            caption = re.search(r":caption: (.*)", options)
            if caption is not None:
                self.write(Path(self.here(caption[1])), text)
            elif language == "console":
                self.type(text)

    def write(self, path: Path, text: str) -> None:
        """
        Make a file.
        """
        # Who runs the tests may be nobody else, and others may not read them.
        text = text.replace("user=www-data\n", "")
        if os.geteuid() != 0:
            text = text.replace("socket_owner=www-data:www-data\n", "")
        path.write_text(text)

    def type(self, block: str) -> None:
        """
        Enter the commands of a block, each of which says what follows it.
        """
        if block.startswith("^C\n"):
            self.interrupt(block.splitlines()[1:])
        for each in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *expected = each.splitlines()
            if command.startswith("venv/bin/twistd"):
                self.serve(command, expected)
            elif command.startswith("cd "):
                self.cwd = Path(command.removeprefix("cd "))
            else:
                self.run(command, expected)
                self.settle(command)

    def serve(self, command: str, expected: list[str]) -> None:
        """
        Start the application, and leave it running.
        """
        words = shlex.split(command)
        self.foreground = self.stack.enter_context(
            started(words, self.cwd, self.variables)
        )
        assert self.foreground.stdout is not None
        said = list(until("serving ", self.foreground.stdout))
        self.compare(said, expected)

    def interrupt(self, expected: list[str]) -> None:
        """
        Press Ctrl-C in the first terminal.
        """
        assert self.foreground is not None and self.foreground.stdout is not None
        self.foreground.send_signal(SIGINT)
        self.compare(self.foreground.stdout.read().splitlines(), expected)

    def run(self, command: str, expected: list[str]) -> None:
        """
        Run a command to its end.
        """
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.cwd,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        # curl tells there how far it is.
        error = "" if command.startswith("curl ") else done.stderr
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        self.compare((done.stdout + error).splitlines(), expected)

    def settle(self, command: str) -> None:
        """
        Wait for what a command has set off.
        """
        if " -m venv " in command:
            self.furnish()
        elif command.endswith("-s reload"):
            self.wait("nginx", " exited with code 0")
        elif "apt-get" in command and " nginx" in command:
            self.start("nginx", [], "start worker process ")
        elif "apt-get" in command and " supervisor" in command:
            configuration = str(self.folder / "etc/supervisor/supervisord.conf")
            arguments = [program("supervisord"), "-c", configuration]
            self.start("supervisor", arguments, "supervisord started with pid")
        elif command.endswith("supervisorctl update"):
            for _ in range(2):
                self.wait("supervisor", "entered RUNNING state")

    def start(self, name: str, command: list[str], ready: str) -> None:
        """
        Start a service, as Debian does where it is installed.
        """
        nginx = [program("nginx"), "-p", str(self.folder), "-e", "stderr"]
        nginx += ["-c", f"{self.folder}/etc/nginx/nginx.conf"]
        self.services[name] = self.stack.enter_context(
            started(command or nginx, self.folder, self.variables)
        )
        self.wait(name, ready)

    def wait(self, name: str, word: str) -> None:
        """
        Wait until a service has said something.
        """
        lines = self.services[name].stdout
        assert lines is not None
        said = list(until(word, lines))
        assert said and word in said[-1], f"{name} ended early:\n{''.join(said)}"

    def furnish(self) -> None:
        """
        Put into the new environment what pip would otherwise bring.
        """
        home = self.folder / "srv/hello/venv"
        (packages,) = home.glob("lib/python*/site-packages")
        others = [path for path in sys.path if path.endswith("-packages")]
        (packages / "others.pth").write_text("\n".join(others))
        _, _, script = (SCRIPTS / "twistd").read_text().partition("\n")
        (home / "bin/twistd").write_text(f"#!{home}/bin/python\n{script}")
        (home / "bin/twistd").chmod(0o755)


class TutorialTests(SynchronousTestCase):
    """
    The tutorial.
    """

    def test_blocks(self) -> None:
        """
        Each block that the pages have is one that is found here.
        """
        for page in pages():
            self.assertEqual(page.count(".. code-block:: "), len(BLOCK.findall(page)))
            self.assertNotRegex(page, r"::\n\n(?!   )")

    def test_followed(self) -> None:
        """
        Who does what the tutorial says sees what it says.
        """
        for name in ("apt-get", "curl", "openssl", "supervisord"):
            program(name)
        folder = Path(mkdtemp(prefix="tutorial-"))
        self.addCleanup(shutil.rmtree, folder)
        # nginx's workers have to get at the socket.
        folder.chmod(0o755)
        # A shell has its background jobs ignore Ctrl-C, and so what they run.
        self.addCleanup(signal, SIGINT, signal(SIGINT, default_int_handler))
        with ExitStack() as stack:
            reader = Reader(folder, stack)
            for page in pages():
                reader.follow(page)
                for said, expected in reader.wrong:
                    self.assertEqual("\n".join(said), "\n".join(expected))
        self.assertIn("supervisor", reader.services)
