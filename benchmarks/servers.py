# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The servers that are compared, and how each is started.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from shutil import which

from machine import LOAD_CPU, SERVER_CPU, cpuSeconds, family, memory, pinned

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
ROOT = HERE.parent

#: Seconds until a server must serve, or have ended.
_PATIENCE = 20.0


class Unavailable(Exception):
    """
    Something can't be measured on this machine; says why.
    """


@dataclass(frozen=True)
class Place:
    """
    Where a server is to run.

    @ivar folder: A folder of its own.
    @ivar address: Where it is to listen: C{unix:PATH} or C{tcp:PORT}.
    """

    folder: Path
    address: str

    @property
    def endpoint(self) -> str:
        """
        The address as Twisted writes it.
        """
        if self.address.startswith("unix:"):
            return self.address
        return f"{self.address}:interface=127.0.0.1"

    @property
    def plain(self) -> str:
        """
        The address as most others write it.
        """
        return self.address.removeprefix("unix:").replace("tcp:", "127.0.0.1:")


@dataclass(frozen=True)
class Kind:
    """
    A kind of server.

    @ivar title: What it is, for readers.
    @ivar command: Makes the command that starts it, or raises L{Unavailable}.
    @ivar http: Whether it speaks HTTP instead of FastCGI.
    @ivar options: What the load generator has to be told about it.
    """

    title: str
    command: Callable[[Place], list[str]]
    http: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Server:
    """
    A server that runs.

    @ivar address: Where the load goes: to itself or to what is in front of it.
    @ivar pids: Its processes.
    @ivar idle: The memory it used before it had anything to do, in bytes.
    @ivar front: The processes of what is in front of it.
    """

    kind: Kind
    place: Place
    address: str
    process: subprocess.Popen[bytes]
    pids: tuple[int, ...] = ()
    idle: int = 0
    front: tuple[int, ...] = ()

    @property
    def log(self) -> str:
        """
        The end of what it has written.
        """
        return (self.place.folder / "output").read_text(errors="replace")[-2000:]

    @property
    def http(self) -> bool:
        """
        Whether the load is to speak HTTP.
        """
        return self.kind.http or bool(self.front)

    def settled(self) -> Server:
        """
        Note what there is before the work begins.
        """
        pids = tuple(family(self.process.pid))
        return replace(self, pids=pids, idle=memory(pids, "VmRSS"))

    def cpu(self) -> float:
        """
        Tell how much CPU time it has used, in seconds.
        """
        return cpuSeconds(self.pids)

    def growth(self) -> int:
        """
        Tell how much more memory it used at its peak than when it was idle, in
        bytes.
        """
        return memory(self.pids, "VmHWM") - self.idle


# How each kind is started


def _python(*words: object) -> list[str]:
    return [sys.executable, *map(str, words)]


def _us(*options: str) -> Callable[[Place], list[str]]:
    return lambda place: _python(
        *("-m", "twisted", "fastcgi", "--port", place.endpoint), *options
    )


def _twistWeb(*options: str) -> Callable[[Place], list[str]]:
    return lambda place: _python(
        *("-m", "twisted", "web", "--listen", place.endpoint), *options
    )


def _quietWeb(what: str) -> Callable[[Place], list[str]]:
    return lambda place: _python(PEERS / "web.py", place.endpoint, what)


def _floor(place: Place) -> list[str]:
    return _python(PEERS / "floor.py", place.endpoint)


def _needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise Unavailable(f"{sys.executable} has no {module}: pip install it")


def _flup(place: Place) -> list[str]:
    _needs("flup")
    return _python(PEERS / "flup6_hello.py", place.address)


def _fcgiproto(place: Place) -> list[str]:
    _needs("fcgiproto")
    return _python(PEERS / "fcgiproto_hello.py", place.address)


def _uvicorn(place: Place) -> list[str]:
    _needs("uvicorn")
    unix = place.address.startswith("unix:")
    where = ["--uds", place.plain] if unix else ["--port", place.plain.split(":")[1]]
    options = ["--no-access-log", "--log-level", "warning", "--app-dir", PEERS]
    return _python("-m", "uvicorn", *options, *where, "asgi:hello")


def _go(place: Place) -> list[str]:
    if which("go") is None:
        raise Unavailable("there is no go: apt-get install golang-go")
    program = place.folder / "hello"
    build = ["go", "build", "-o", str(program), str(PEERS / "hello.go")]
    folders = {"GOCACHE": f"{place.folder}/cache", "GOPATH": f"{place.folder}/go"}
    with pinned(SERVER_CPU):
        done = subprocess.run(
            build, env={**os.environ, **folders}, capture_output=True, text=True
        )
    if done.returncode:
        raise Unavailable(f"go can't build hello.go:\n{done.stderr}")
    return ["env", "GOMAXPROCS=1", str(program), place.address]


_PHP = """
[global]
error_log = {folder}/error.log
daemonize = no
[www]
listen = {listen}
pm = static
pm.max_children = 9
{user}
"""


def _php(place: Place) -> list[str]:
    programs = sorted(glob("/usr/sbin/php-fpm*"))
    if not programs:
        raise Unavailable("there is no php-fpm: apt-get install php-fpm")
    root = os.geteuid() == 0
    configuration = place.folder / "php-fpm.conf"
    user = "user = root\ngroup = root" if root else ""
    configuration.write_text(
        _PHP.format(folder=place.folder, listen=place.plain, user=user)
    )
    command = [programs[-1], "--fpm-config", str(configuration)]
    return [*command, "--allow-to-run-as-root"] if root else command


_RESOURCE = ("--class", "apps.Root")
_WSGI = ("--wsgi", "apps.wsgi")
_LOG = ("--logfile", "access.log")

KINDS = {
    "us": Kind("twist fastcgi", _us(*_RESOURCE)),
    "us-log": Kind("twist fastcgi --logfile", _us(*_RESOURCE, *_LOG)),
    "us-wsgi": Kind("twist fastcgi --wsgi", _us(*_WSGI)),
    "web": Kind("twisted.web, no access log", _quietWeb("resource"), http=True),
    "web-default": Kind("twist web", _twistWeb(*_RESOURCE), http=True),
    "web-log": Kind("twist web --logfile", _twistWeb(*_RESOURCE, *_LOG), http=True),
    "web-wsgi": Kind("twisted.web, WSGI, no access log", _quietWeb("wsgi"), http=True),
    "web-wsgi-default": Kind("twist web --wsgi", _twistWeb(*_WSGI), http=True),
    "floor": Kind("reactor floor", _floor),
    "go": Kind("Go net/http/fcgi, GOMAXPROCS=1", _go),
    "php-fpm": Kind(
        "PHP-FPM, 9 processes", _php, options=("--script", str(PEERS / "hello.php"))
    ),
    "flup6": Kind("flup6, WSGI in threads", _flup),
    "fcgiproto": Kind("fcgiproto on asyncio", _fcgiproto),
    "uvicorn": Kind("uvicorn, ASGI over HTTP", _uvicorn, http=True),
}


# Running one


def freePort() -> int:
    """
    Find a TCP port on which nobody listens.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    kind: Kind, folder: Path, transport: str, checkout: Path = ROOT
) -> Iterator[Server]:
    """
    Run a server for the length of the block.

    @param folder: A folder of its own, which is made.
    @param transport: C{unix} or C{tcp}.
    @param checkout: The checkout of this project that it is to run.
    @raise Unavailable: If it can't run here.
    """
    folder.mkdir()
    address = f"unix:{folder}/socket" if transport == "unix" else f"tcp:{freePort()}"
    place = Place(folder, address)
    path = f"{checkout}{os.pathsep}{HERE}"
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)}
    command = kind.command(place)
    with started(command, place, SERVER_CPU, environment) as process:
        yield Server(kind, place, address, process)


@contextmanager
def started(
    command: list[str], place: Place, cpu: int, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a program for the length of the block, which begins when it serves.

    @param command: The program.
    @param place: Where it serves.
    @param cpu: The only CPU that it may use.
    @raise Unavailable: If it doesn't serve.
    """
    output = place.folder / "output"
    with pinned(cpu), open(output, "wb") as file:
        process = subprocess.Popen(
            command,
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _accepts(place.address):
            if process.poll() is not None or time.monotonic() > deadline:
                what = " ".join(command)
                raise Unavailable(f"{what} does not serve:\n{output.read_text()}")
            time.sleep(0.02)
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """
    End a program.
    """
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _accepts(address: str) -> bool:
    """
    Tell whether somebody listens.
    """
    kind, _, where = address.partition(":")
    unix = kind == "unix"
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
        try:
            probe.connect(where if unix else ("127.0.0.1", int(where)))
        except OSError:
            return False
    return True


# nginx in front of it

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    upstream application {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            {location}
        }}
    }}
}}
"""

_FASTCGI_PASS = """
            include /etc/nginx/fastcgi_params;
            fastcgi_pass application;
            fastcgi_keep_conn on;
"""

_PROXY_PASS = """
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
"""


@contextmanager
def behindNginx(server: Server, folder: Path) -> Iterator[Server]:
    """
    Run nginx in front of a server for the length of the block.

    @param folder: A folder for nginx alone, which is made.
    @raise Unavailable: If there is no nginx.
    """
    program = which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise Unavailable("there is no nginx: apt-get install nginx-light")
    folder.mkdir()
    port = freePort()
    address = server.place.address
    configuration = _NGINX.format(
        folder=folder,
        port=port,
        upstream=address if address.startswith("unix:") else server.place.plain,
        location=_PROXY_PASS if server.kind.http else _FASTCGI_PASS,
        user="user root;" if os.geteuid() == 0 else "",
    )
    (folder / "nginx.conf").write_text(configuration)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    place = Place(folder, f"tcp:{port}")
    with started(command, place, LOAD_CPU, dict(os.environ)) as process:
        pids = tuple(family(process.pid))
        yield replace(server, address=place.address, front=pids)
