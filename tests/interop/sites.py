# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Applications that others have written, and the examples of the documentation,
behind nginx: over HTTP, over HTTPS, with users that log in to the web server,
and with files that the web server sends itself.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from unittest import SkipTest
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

_senders: dict[str, str] = {}


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


_LIGHTTPD = """
server.document-root = "@FOLDER@"
server.upload-dirs = ( "@FOLDER@" )
server.bind = "127.0.0.1"
server.port = @PORT@
server.errorlog = "/dev/stderr"
"""

_APACHE = """
ServerRoot @FOLDER@
PidFile httpd.pid
ErrorLog /dev/stderr
Mutex file:@FOLDER@ default
ServerName localhost
User www-data
Group www-data
Listen 127.0.0.1:@PORT@
Define MODULES /etc/apache2/mods-available
Include ${MODULES}/mpm_event.load
Include ${MODULES}/authz_core.load
Include ${MODULES}/env.load
Include ${MODULES}/proxy.load
Include ${MODULES}/proxy_fcgi.load
Include ${MODULES}/xsendfile.load
"""

#: What else may send the files of the documentation's example: the program, its
#: arguments, and what there is in its configuration beside that of the example.
_SENDERS = {
    "lighttpd": ("lighttpd", ("-D", "-f"), _LIGHTTPD),
    "apache": ("apache2", ("-D", "FOREGROUND", "-f"), _APACHE),
}


async def sender(name: str, behind: Site) -> str:
    """
    Run another web server before the example that has files, if that is not
    yet done.

    @param name: C{lighttpd} or C{apache}.
    @return: Where it is.
    """
    command, arguments, settings = _SENDERS[name]
    executable = program(command)
    if name == "apache":
        needed("libapache2-mod-xsendfile", "/etc/apache2/mods-available/xsendfile.load")
    if name not in _senders:
        running = Running()
        (port,) = _freePorts(1)
        configuration = running.folder / "server.conf"
        filled = settings.replace("@FOLDER@", str(running.folder))
        values = {
            "/run/app.sock": str(behind.application.address),
            "/srv/files": f"{behind.folder}/files",
        }
        example = replaced(EXAMPLES / f"files/{name}.conf", values)
        configuration.write_text(filled.replace("@PORT@", str(port)) + example)
        await running.start([executable, *arguments, configuration], port)
        _senders[name] = f"http://127.0.0.1:{port}"
    return _senders[name]


def needed(package: str, path: str) -> None:
    """
    See that a file of a Debian package is there.

    @raise SkipTest: If it is not, except in CI, where it must be.
    """
    if not Path(path).exists():
        if os.environ.get("CI"):
            raise AssertionError(f"{package} is missing: .ci/run has to install it")
        raise SkipTest(f"{package} is not installed")


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
