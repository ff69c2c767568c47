# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Applications that others have written, and the examples of the documentation,
behind nginx: over HTTP, over HTTPS, with users that log in to the web server,
and with files that the web server sends itself.
"""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import (
    HTTPCookieProcessor,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)
from uuid import uuid4

from tests.interop.servers import Running
from tests.programs import PATIENCE, ROOT, SCRIPTS, output, program

EXAMPLES = ROOT / "docs/examples"

#: Who can log in to the web server.
USER, PASSWORD = "alice", "secret"

#: The doors of the web server.
DOORS = ("HTTP", "HTTPS", "USERS", "FILES")

_HERE = Path(__file__).parent

_started: dict[str, Site] = {}

_lighttpds: dict[Path, str] = {}


class Site:
    """
    An application behind nginx.

    @ivar folder: The current folder of the application.
    @ivar application: The application.
    @ivar urls: Where the doors of the web server are.
    """

    def __init__(self, application: Running, ports: Mapping[str, int]) -> None:
        self.application = application
        self.folder = application.folder
        self.ports = ports
        self.urls = {
            door: f"{'https' if door == 'HTTPS' else 'http'}://127.0.0.1:{port}"
            for door, port in ports.items()
        }


def _freePorts(count: int) -> list[int]:
    """
    Find ports that nobody listens on.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


async def site(name: str, *options: str, prepare: Any = None) -> Site:
    """
    Run an application behind nginx, if that is not yet done.

    @param name: A name for it.
    @param options: The options of C{twistd fastcgi}, C{--port} aside.
    @param prepare: Called with the application's folder before it starts.
    """
    nginx, openssl = program("nginx"), program("openssl")
    if name not in _started:
        running = Running()
        if prepare is not None:
            prepare(running.folder)
        path = running.folder / "app.sock"
        twistd = (SCRIPTS / "twistd", "--nodaemon", "--pidfile=", "fastcgi")
        command = (*twistd, "--port", f"unix:{path}", *options)
        modules = f"{EXAMPLES}:{EXAMPLES / 'files'}:{ROOT}"
        await running.start(command, path, PYTHONPATH=modules)
        ports = dict(zip(DOORS, _freePorts(len(DOORS)), strict=True))
        await _startNginx(nginx, openssl, running, ports)
        _started[name] = Site(running, ports)
    return _started[name]


async def _startNginx(
    nginx: str, openssl: str, behind: Running, ports: Mapping[str, int]
) -> None:
    """
    Run nginx.
    """
    front = Running()
    _makeCertificate(openssl, front.folder)
    (front.folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    values = {"FOLDER": str(front.folder), "SOCKET": str(behind.address)}
    values |= {door: str(port) for door, port in ports.items()}
    template = (_HERE / "nginx/sites.conf").read_text()
    (front.folder / "files.conf").write_text(
        replaced(
            EXAMPLES / "files/nginx.conf",
            {
                "listen 80;": f"listen 127.0.0.1:{ports['FILES']};",
                "include fastcgi_params;": "include /etc/nginx/fastcgi_params;",
                "unix:/run/app.sock": f"unix:{behind.address}",
                "/srv/files/": f"{behind.folder}/files/",
            },
        )
    )
    configuration = front.folder / "nginx.conf"
    configuration.write_text(
        re.sub("@([A-Z]+)@", lambda found: values[found[1]], template)
    )
    command = (nginx, "-p", front.folder, "-c", configuration, "-e", "stderr")
    await front.start(command, ports["HTTP"])


def replaced(path: Path, values: Mapping[str, str]) -> str:
    """
    Read a configuration of the documentation, and replace what is another here.

    @raise AssertionError: If something that should be replaced is not there.
    """
    text = path.read_text()
    for plain, value in values.items():
        assert plain in text, f"there is no {plain!r} in {path}"
        text = text.replace(plain, value)
    return text


async def lighttpd(behind: Site) -> str:
    """
    Run lighttpd before an application, too, if that is not yet done.

    @return: Where it is.
    """
    command = program("lighttpd")
    if behind.folder not in _lighttpds:
        running = Running()
        (port,) = _freePorts(1)
        configuration = running.folder / "lighttpd.conf"
        settings = f"""
            server.document-root = "{running.folder}"
            server.upload-dirs = ( "{running.folder}" )
            server.bind = "127.0.0.1"
            server.port = {port}
            server.errorlog = "/dev/stderr"
        """
        socket = str(behind.application.address)
        values = {"/run/app.sock": socket, "/srv/files": f"{behind.folder}/files"}
        example = replaced(EXAMPLES / "files/lighttpd.conf", values)
        configuration.write_text(f"{settings}\n{example}")
        await running.start([command, "-D", "-f", configuration], port)
        _lighttpds[behind.folder] = f"http://127.0.0.1:{port}"
    return _lighttpds[behind.folder]


def _makeCertificate(openssl: str, folder: Path) -> None:
    """
    Make a certificate for this machine.
    """
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )


class Answer:
    """
    A response.

    @ivar url: Where it came from in the end.
    """

    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self.headers = response.headers
        self.url: str = response.url
        self.body: bytes = response.read()

    @property
    def text(self) -> str:
        """
        The body as text.
        """
        return self.body.decode("utf-8")


class Browser:
    """
    A client that keeps cookies and follows redirections; it blocks.
    """

    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.cookies = CookieJar()
        self._opener = build_opener(
            ProxyHandler({}),
            HTTPSHandler(context=context),
            HTTPCookieProcessor(self.cookies),
        )

    def open(self, url: str, data: Any = None, **options: Any) -> Any:
        """
        Ask.

        @return: A response, to be read as it comes.
        """
        question = Request(url, data, **options)
        try:
            return self._opener.open(question, timeout=PATIENCE)
        except HTTPError as error:
            return error

    def ask(self, url: str, data: Any = None, **options: Any) -> Answer:
        """
        Ask, and read all of the response.
        """
        with self.open(url, data, **options) as response:
            return Answer(response)

    def upload(self, url: str, body: bytes, **fields: str) -> Answer:
        """
        Send a form with a file.
        """
        boundary = uuid4().hex
        parts = [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
            for name, value in fields.items()
        ]
        head = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
        parts.append(f"{head}\r\n\r\n".encode() + body)
        mark = f"--{boundary}".encode()
        form = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
        kind = f"multipart/form-data; boundary={boundary}"
        headers = {"Content-Type": kind, "Referer": url}
        return self.ask(url, form + mark + b"--\r\n", headers=headers)


def run(command: Any, folder: Path, **changes: str) -> str:
    """
    Run a program in a folder, with the examples at hand.
    """
    return output(command, cwd=folder, PYTHONPATH=f"{EXAMPLES}:{ROOT}", **changes)
