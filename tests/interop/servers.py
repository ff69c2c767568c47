# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Real web servers, and the application behind them, as programs of their own.

Each is started when a test needs it for the first time, and stopped when the
tests are over.  To add a web server, write the template of its configuration
and a L{WebServer} that names it.
"""

from __future__ import annotations

import atexit
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from subprocess import DEVNULL, STDOUT, Popen, TimeoutExpired
from tempfile import mkdtemp

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.programs import PATIENCE, ROOT, SCRIPTS, STOPPED, environment, program

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
    A web server with one configuration.

    @ivar name: A name for both.
    @ivar program: The command.
    @ivar arguments: Its arguments, for running in the foreground; C{@FOLDER@}
        stands for the folder that it has for itself, which is also its current
        one, C{@CONFIGURATION@} for the path of its configuration.
    @ivar template: The configuration, a path below this folder.  Beside those
        two there are C{@PORT@}, where to listen on 127.0.0.1, C{@SOCKET@}, the
        Unix socket of the application, and C{@TCP@}, its port on 127.0.0.1.
    @ivar settings: What else stands for something in the template.
    @ivar keeps: Whether connections to the application are kept open.
    """

    name: str
    program: str
    arguments: Sequence[str]
    template: str
    settings: Mapping[str, str] = field(default_factory=dict)
    keeps: bool = False


class Running:
    """
    A running program.

    @ivar folder: A folder of its own.
    @ivar address: Where it listens: the port on 127.0.0.1, or the path of a
        Unix socket.
    @ivar values: What it adds to the templates of others.
    @ivar log: What it has written to its standard output and error.
    """

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="fastcgi-interop-"))
        _stack.callback(rmtree, self.folder)
        # Web servers shed their rights, and have to get at the socket.
        self.folder.chmod(0o711)
        self.log = self.folder / "output.log"
        self.address: int | Path = 0
        self.values: Mapping[str, str] = {}

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

    def said(self, start: int = 0) -> str:
        """
        Tell what the program has written, from some byte on.
        """
        return self.log.read_bytes()[start:].decode("utf-8", "replace")

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
        assert code in STOPPED, f"{self._process.args} ended with {code}: {self.said()}"


def _accepts(address: int | Path) -> bool:
    """
    Tell whether somebody listens there.
    """
    isPort = isinstance(address, int)
    where = ("127.0.0.1", address) if isPort else str(address)
    with socket.socket(socket.AF_INET if isPort else socket.AF_UNIX) as connection:
        return connection.connect_ex(where) == 0


def _freePort() -> int:
    """
    Find a port that nobody listens on.
    """
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        port: int = connection.getsockname()[1]
    return port


async def application() -> Running:
    """
    Run L{tests.interop.application} by C{twistd fastcgi}, if that is not yet
    done.
    """
    if "application" not in _started:
        running = Running()
        path = running.folder / "application.sock"
        port = _freePort()
        running.values = {"SOCKET": str(path), "TCP": str(port)}
        command = (
            f"{SCRIPTS / 'twistd'} --nodaemon --pidfile= fastcgi "
            f"--port tcp:{port}:interface=127.0.0.1 --port unix:{path} "
            "--resource tests.interop.application.root"
        )
        await running.start(command.split(), path, PYTHONPATH=str(ROOT))
        _started["application"] = running
    return _started["application"]


async def webServer(server: WebServer) -> Running:
    """
    Run a web server, and the application behind it, if that is not yet done.

    @raise SkipTest: If it is not installed, except in CI, where it must be.
    """
    executable = program(server.program)
    behind = await application()
    if server.name not in _started:
        running = Running()
        port = _freePort()
        configuration = running.folder / "server.conf"
        values = {
            "CONFIGURATION": str(configuration),
            "FOLDER": str(running.folder),
            "PORT": str(port),
            **behind.values,
            **server.settings,
        }
        template = (_HERE / server.template).read_text()
        configuration.write_text(_filled(template, values))
        arguments = [_filled(argument, values) for argument in server.arguments]
        await running.start([executable, *arguments], port)
        _started[server.name] = running
    return _started[server.name]


def _filled(template: str, values: Mapping[str, str]) -> str:
    """
    Put values, and what stands for other values in them, into a template.
    """
    filled = re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], template)
    return filled if filled == template else _filled(filled, values)


def _nginx(
    name: str, address: str = "unix:@SOCKET@", upstream: str = "", location: str = ""
) -> WebServer:
    """
    Describe nginx with some additions to its configuration.
    """
    return WebServer(
        name,
        program="nginx",
        arguments=("-p", "@FOLDER@", "-c", "@CONFIGURATION@", "-e", "stderr"),
        template="nginx/nginx.conf",
        settings={"ADDRESS": address, "UPSTREAM": upstream, "LOCATION": location},
        keeps=bool(upstream),
    )


#: nginx as it comes: requests and responses are buffered, and each request
#: has a connection of its own.
NGINX = _nginx("nginx")

#: nginx that keeps its connections.
NGINX_KEEPING = _nginx(
    "nginx, keeping", upstream="keepalive 8;", location="fastcgi_keep_conn on;"
)

#: nginx that passes on request bodies while they come.
NGINX_STREAMING = _nginx("nginx, streaming", location="fastcgi_request_buffering off;")

#: nginx that does both, and by TCP.
NGINX_TCP = _nginx(
    "nginx, by TCP",
    address="127.0.0.1:@TCP@",
    upstream="keepalive 8;",
    location="fastcgi_keep_conn on; fastcgi_request_buffering off;",
)
