# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Real web servers, and the application behind them, as programs of their own.

Each is started when a test needs it for the first time, and stopped when the
tests are over.

What a web server is told comes from C{docs/deploy}: a I{recipe} is a file that
people copy, and the very file that the tests run.  It has plain values in it:
the application is at C{/run/app.sock} or C{127.0.0.1:9000}, the web server at
port 80, a prefix is C{/app}, a program to be spawned is C{twistd}, its resource
C{hello.Hello}.  The tests put their own values in the place of these strings,
and fail if one of them is not there.  If a recipe is not a whole configuration
but a part of one, as C{/etc/nginx/conf.d} has them, the I{harness}, in a folder
beside this file, is the rest, and includes it.

To add a web server, write its recipes, the harness if it needs one, and a
module C{test_<name>.py} in which there is a L{WebServer} and a test case for
each way of running it.
"""

from __future__ import annotations

import atexit
import re
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from tempfile import mkdtemp

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.programs import (
    PATIENCE,
    ROOT,
    SCRIPTS,
    STOPPED,
    environment,
    installed,
    program,
)

#: Where the recipes are.
RECIPES = ROOT / "docs/deploy"

_HERE = Path(__file__).parent

#: How long to wait before trying again whether a program accepts connections,
#: in seconds.
_INTERVAL = 0.02

#: How long a program may take to stop, in seconds.
_STOP = 15.0

#: What is running, to be stopped at the end.
_stack = ExitStack()
atexit.register(_stack.close)

_started: dict[str, Running] = {}


@dataclass(frozen=True)
class WebServer:
    """
    A web server with one configuration, and what is known of how it behaves.

    In templates C{@FOLDER@} stands for the folder that it has for itself, which
    is also its current one; C{@RECIPE@} for the path of the recipe after the
    replacements, C{@CONFIGURATION@} for the path of the whole configuration;
    C{@PORT@} for where to listen on 127.0.0.1; C{@SOCKET@} for the Unix socket
    of the application, C{@TCP@} for its port on 127.0.0.1.  For a program to be
    spawned there are C{@TWISTD@}, C{@ROOT@}, where its modules are, and
    C{@LOG@}, where it has to log.

    @ivar name: A name for both.
    @ivar program: The command.
    @ivar software: What it calls itself, in small letters.
    @ivar arguments: Its arguments, for running in the foreground: templates.
    @ivar recipe: The configuration, a path below C{docs/deploy}.
    @ivar text: What stands in the recipe, if that is made for the test.
    @ivar replaced: What stands in the recipe, and a template for what to put in
        its place.
    @ivar harness: What includes the recipe, a template, its path below this
        folder; nothing if the recipe is a whole configuration.
    @ivar environment: Variables of its environment: templates.
    @ivar needs: Files without which it can't run so: modules of it.
    @ivar wrapper: A command that runs the one with these arguments.
    @ivar scripts: Programs that belong to the recipe, paths below
        C{docs/deploy}, in which the same is replaced; they get into C{@FOLDER@}.
    @ivar mount: The option C{--mount} of the application.  Unless that is C{/}
        the application is at C{/app}.
    @ivar endings: How it may end when it is told to by SIGTERM.
    @ivar spawns: Whether it starts the application itself.

    @ivar keeps: Whether connections to the application are kept open.
    @ivar streams: Whether what the application writes arrives at once.
    @ivar passesUploads: Whether the application is asked before an upload has
        arrived as a whole.
    @ivar tells: When the application is told that the client has gone:
        C{"before"} the response, C{"during"} it.
    @ivar hides: Which responses that are not whole the client takes for whole:
        C{"brokenOff"}, C{"tooShort"}, C{"failedLate"}.
    @ivar lingers: Which of them, if the connection of the client is to be kept,
        is seen only when that has been idle for too long.
    @ivar chunked: The status of a chunked upload of 200 kB.
    @ivar passes: Which header fields, in small letters, it passes on, of those
        that some do not.
    @ivar believes: Whether it tells the application the name of a user whom
        nobody has asked for a password.
    @ivar hugeHead: The status of a response whose header has 12 kB.
    @ivar together: Whether one process of the application has several requests
        at a time.
    @ivar paths: What becomes of odd paths, if it is not as usual: the segments
        that the application sees, or the status code with which the web server
        refuses it.
    """

    name: str
    program: str
    arguments: Sequence[str]
    recipe: str
    replaced: Mapping[str, str]
    harness: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    wrapper: Sequence[str] = ()
    scripts: Sequence[str] = ()
    text: str = ""
    endings: Collection[int] = STOPPED
    software: str = ""
    mount: str = "/"
    spawns: bool = False
    keeps: bool = False
    streams: bool = True
    passesUploads: bool = False
    tells: Collection[str] = ("before", "during")
    hides: Collection[str] = ()
    lingers: Collection[str] = ()
    chunked: int = 200
    passes: Collection[str] = ("authorization", "x_underscore")
    believes: bool = False
    hugeHead: int = 200
    together: bool = True
    paths: Mapping[str, Sequence[str] | int] = field(default_factory=dict)

    @property
    def prefix(self) -> bytes:
        """
        Where the application is in the path.
        """
        return b"" if self.mount == "/" else b"/app"


def reached(byTCP: bool) -> dict[str, str]:
    """
    Tell where the application is in a recipe, and in tests.

    @param byTCP: Whether the recipe reaches it by TCP.
    @return: For C{replaced} of a L{WebServer}.
    """
    if byTCP:
        return {"127.0.0.1:9000": "127.0.0.1:@TCP@"}
    return {"/run/app.sock": "@SOCKET@"}


class Running:
    """
    A running program.

    @ivar folder: A folder of its own.
    @ivar address: Where it listens: the port on 127.0.0.1, or the path of a
        Unix socket.
    @ivar values: What it adds to the templates of others.
    @ivar endings: How it may end.
    @ivar log: What it has written to its standard output and error.
    @ivar logged: What the application has written.
    """

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="fastcgi-interop-"))
        _stack.callback(rmtree, self.folder)
        # Web servers shed their rights, and have to get at the socket.
        self.folder.chmod(0o711)
        self.log = self.logged = self.folder / "output.log"
        self.address: int | Path = 0
        self.values: Mapping[str, str] = {}
        self.endings: Collection[int] = STOPPED

    async def start(
        self, command: Sequence[object], address: int | Path, **changes: str
    ) -> None:
        """
        Start the program, and wait until it accepts connections.

        @param changes: Variables of its environment.
        @raise AssertionError: If it does not.
        """
        self.address = address
        with self.log.open("wb") as output:
            self._process = Popen(
                list(map(str, command)),
                cwd=self.folder,
                env=environment(**changes),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
            )
        _stack.callback(self.stop)
        deadline = reactor.seconds() + PATIENCE
        while not _accepts(address):
            assert self._process.poll() is None, f"{command} ended: {self.said()}"
            assert reactor.seconds() < deadline, f"{command} hangs: {self.said()}"
            await deferLater(reactor, _INTERVAL)

    def said(self) -> str:
        """
        Tell what the program has written.
        """
        return self.log.read_bytes().decode("utf-8", "replace")

    def stop(self) -> None:
        """
        Stop the program, unless it has ended already, and check that it ends
        well.
        """
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            code = self._process.wait(_STOP)
        except TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        assert code in self.endings, (
            f"{self._process.args} ended with {code}: {self.said()}"
        )


def _accepts(address: int | Path) -> bool:
    """
    Tell whether somebody listens there.
    """
    isPort = isinstance(address, int)
    where = ("127.0.0.1", address) if isPort else str(address)
    with socket.socket(socket.AF_INET if isPort else socket.AF_UNIX) as connection:
        return connection.connect_ex(where) == 0


def freePort() -> int:
    """
    Find a port that nobody listens on.
    """
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        port: int = connection.getsockname()[1]
    return port


async def application(mount: str = "/") -> Running:
    """
    Run L{tests.interop.application} by C{twistd fastcgi}, if that is not yet
    done.

    @param mount: Where the application is.
    """
    return await served(
        "--mount", mount, "--resource", "tests.interop.application.root"
    )


async def served(*options: str) -> Running:
    """
    Run C{twistd fastcgi} with these options, by TCP and by a Unix socket, if
    that is not yet done.
    """
    key = " ".join(options)
    if key not in _started:
        running = Running()
        path = running.folder / "application.sock"
        port = freePort()
        running.values = {"SOCKET": str(path), "TCP": str(port)}
        command = (
            f"{SCRIPTS / 'twistd'} --nodaemon --pidfile= fastcgi "
            f"--port tcp:{port}:interface=127.0.0.1 --port unix:{path} {key}"
        )
        modules = f"{ROOT / 'docs/examples'}:{ROOT}"
        await running.start(command.split(), path, PYTHONPATH=modules)
        _started[key] = running
    return _started[key]


async def webServer(server: WebServer) -> Running:
    """
    Run a web server, and the application behind it, if that is not yet done.

    @raise SkipTest: If it is not installed, except in CI, where it must be.
    """
    executable = program(server.program)
    for path in server.needs:
        installed(path)
    if server.name not in _started:
        running = Running()
        if server.spawns:
            log = running.folder / "application.log"
            socket = running.folder / "application.sock"
            # Whoever the program is run by.
            log.touch()
            log.chmod(0o666)
            values = {"SOCKET": str(socket), "LOG": str(log)}
        else:
            behind = await application(server.mount)
            values, log = dict(behind.values), behind.log
        await _serve(server, executable, running, values)
        running.logged = log
        _started[server.name] = running
    return _started[server.name]


async def webServerFor(server: WebServer, behind: Running) -> Running:
    """
    Run a web server of its own for some application.

    @raise SkipTest: If it is not installed, except in CI, where it must be.
    """
    running = Running()
    await _serve(server, program(server.program), running, dict(behind.values))
    return running


async def _serve(
    server: WebServer, executable: str, running: Running, values: dict[str, str]
) -> None:
    """
    Write the configuration of a web server, and start it.
    """
    port = freePort()
    recipe = running.folder / Path(server.recipe).name
    whole = running.folder / "harness.conf" if server.harness else recipe
    values.update(
        CONFIGURATION=str(whole),
        FOLDER=str(running.folder),
        PORT=str(port),
        RECIPE=str(recipe),
        ROOT=str(ROOT),
        TWISTD=str(SCRIPTS / "twistd"),
    )

    def fill(template: str) -> str:
        return re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], template)

    for text, path in zip(replaced(server, fill), _files(server), strict=True):
        copy = running.folder / path.name
        copy.write_text(text)
        copy.chmod(0o755 if copy != recipe else 0o644)
    if server.harness:
        whole.write_text(fill((_HERE / server.harness).read_text()))
    command = [*server.wrapper, executable, *map(fill, server.arguments)]
    changes = {name: fill(value) for name, value in server.environment.items()}
    running.endings = server.endings
    await running.start(command, port, **changes)


def _files(server: WebServer) -> list[Path]:
    """
    Tell where a recipe and its programs are.
    """
    return [RECIPES / path for path in (server.recipe, *server.scripts)]


def replaced(server: WebServer, fill: Callable[[str], str]) -> list[str]:
    """
    Put values into a recipe and its programs.

    @param fill: Makes text of a template.
    @raise AssertionError: If something that should be replaced is not there.
    """
    texts = [server.text] if server.text else [p.read_text() for p in _files(server)]
    for plain, template in server.replaced.items():
        found = any(plain in text for text in texts)
        assert found, f"there is no {plain!r} in {server.recipe}"
        texts = [text.replace(plain, fill(template)) for text in texts]
    return texts
