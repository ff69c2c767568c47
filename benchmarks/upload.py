# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Measures how much memory a server takes while something large is uploaded to it
through nginx, and taken while it arrives: see C{docs/streaming.rst}.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

from machine import memory
from servers import freePort

_MEBI = 1 << 20

#: By how much the memory may grow at its peak.
_ALLOWED = 8 * _MEBI

_ROOT = Path(__file__).resolve().parent.parent
_EXAMPLES = _ROOT / "docs/examples"
_RECIPE = _ROOT / "docs/deploy/nginx/streaming.conf"

_NGINX = """
daemon off;
pid nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    fastcgi_temp_path fastcgi;
    proxy_temp_path proxy;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    {}
}}
"""

_PIECE = os.urandom(_MEBI)


def _nginxConfiguration(folder: Path, port: int) -> str:
    """
    Make nginx's configuration of the one that people copy.
    """
    recipe = _RECIPE.read_text()
    for plain, value in {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "client_max_body_size 10m;": "client_max_body_size 0;",
        "include fastcgi_params;": "include /etc/nginx/fastcgi_params;",
        "unix:/run/app.sock": f"unix:{folder}/app.sock",
    }.items():
        assert plain in recipe, plain
        recipe = recipe.replace(plain, value)
    return _NGINX.format(recipe)


@contextmanager
def _running(command: Sequence[object], folder: Path, address: Any) -> Iterator[int]:
    """
    Run a program that listens somewhere.

    @return: Its process id.
    """
    environment = {**os.environ, "PYTHONPATH": f"{_EXAMPLES}:{_ROOT}"}
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not _listens(address):
            assert process.poll() is None, command
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _listens(address: Any) -> bool:
    """
    Tell whether somebody listens there.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        return connection.connect_ex(address) == 0


def _upload(port: int, mebibytes: int) -> None:
    """
    Upload something, and see that all of it has come.
    """
    digest = sha256()

    def pieces() -> Iterator[bytes]:
        for _ in range(mebibytes):
            digest.update(_PIECE)
            yield _PIECE

    connection = HTTPConnection("127.0.0.1", port)
    length = str(mebibytes * _MEBI)
    headers = {"X-Token": "secret", "Content-Length": length}
    connection.request("PUT", "/files/large", pieces(), headers)
    answer = connection.getresponse()
    body = answer.read().decode("ascii").strip()
    connection.close()
    assert (answer.status, body) == (200, digest.hexdigest()), (answer.status, body)


def _growth(server: int, port: int, mebibytes: int) -> int:
    """
    Measure by how much the memory of a server grows at its peak.
    """
    _upload(port, 1)
    # From now on the peak is another.
    Path(f"/proc/{server}/clear_refs").write_text("5")
    before = memory([server], "VmRSS")
    _upload(port, mebibytes)
    return memory([server], "VmHWM") - before


def main() -> int:
    """
    Measure, and tell.

    @return: The exit status: 1 if it took too much.
    """
    parser = argparse.ArgumentParser(description="Upload, and measure memory.")
    parser.add_argument("--mebibytes", type=int, default=1024, help="how much")
    mebibytes = parser.parse_args().mebibytes
    nginx = which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    with TemporaryDirectory(prefix="upload-") as name:
        folder, port = Path(name), freePort()
        folder.chmod(0o711)
        path = f"{folder}/app.sock"
        configuration = folder / "nginx.conf"
        configuration.write_text(_nginxConfiguration(folder, port))
        serve = (sys.executable, "-m", "twisted", "fastcgi")
        served = (*serve, "--port", f"unix:{path}", "--resource", "upload.root")
        front = (nginx, "-p", folder, "-c", configuration, "-e", "stderr")
        with (
            _running(served, folder, path) as server,
            _running(front, folder, ("127.0.0.1", port)),
        ):
            began = time.monotonic()
            growth = _growth(server, port, mebibytes)
            took = time.monotonic() - began
    print(f"{mebibytes} MiB in {took:.0f} s; {growth / _MEBI:.1f} MiB more")
    return int(growth >= _ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
