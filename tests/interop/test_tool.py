# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The command C{fcgi} with PHP-FPM, and with nginx in front of a tap, as
processes of their own; and the page of the documentation that shows it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from glob import glob
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests import wire
from tests.interop.servers import freePort
from tests.programs import PATIENCE, ROOT, environment, program, ran, serving
from tests.test_readme import blocks

TOOL = (sys.executable, "-m", "twisted_fastcgi.tool")

#: What the documentation has where a test has its own folder, port and so on.
PORT = "8080"

PHP = """\
<?php
http_response_code((int)($_GET["code"] ?? 200));
if (isset($_GET["log"])) error_log("it was logged");
header("X-Made-By: PHP");
foreach (["REQUEST_METHOD", "REQUEST_URI", "SERVER_SOFTWARE", "MINE"] as $name)
    echo "$name=", $_SERVER[$name] ?? "", "\\n";
echo file_get_contents("php://input");
"""

FPM = """\
[global]
error_log = /dev/stderr
daemonize = no
[www]
listen = {socket}
pm = static
pm.max_children = 1
"""

NGINX = """\
{user} daemon off; error_log stderr notice; pid nginx.pid; events {{}}
http {{
    access_log off;
    client_body_temp_path b; fastcgi_temp_path f; proxy_temp_path p;
    scgi_temp_path s; uwsgi_temp_path u;
    upstream php {{ server unix:{socket}; keepalive 2; }}
    server {{ listen 127.0.0.1:{port}; {block} }}
}}
"""


def phpFPM() -> str:
    """
    Find PHP-FPM, whose name tells its version.

    @raise SkipTest: If it is missing, except in CI.
    """
    found = sorted(glob("/usr/sbin/php-fpm*"))
    return found[-1] if found else program("php-fpm")


class ToolTestCase(SynchronousTestCase):
    """
    A folder in which the command is run.
    """

    def setUp(self) -> None:
        """
        Make the folder.
        """
        self.folder = Path(mkdtemp(prefix="fastcgi-"))
        self.addCleanup(shutil.rmtree, self.folder)
        # nginx's workers have to get at the sockets.
        self.folder.chmod(0o711)
        self.app = str(self.folder / "app.sock")

    def fcgi(self, *arguments: object, code: int = 0) -> tuple[str, str]:
        """
        Run the command.

        @param code: What its exit status has to be.
        @return: What it wrote to the standard output and error.
        """
        done = subprocess.run(
            [*TOOL, *map(str, arguments)],
            cwd=self.folder,
            env=environment(PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        said = (done.stdout, done.stderr)
        self.assertEqual(done.returncode, code, said)
        return said

    def tap(self, *arguments: str) -> AbstractContextManager[list[str]]:
        """
        Run C{fcgi tap} for the time of a block.
        """
        return serving(
            [*TOOL, "tap", *arguments],
            self.folder,
            ready="listening on",
            PYTHONPATH=str(ROOT),
        )

    def php(self) -> AbstractContextManager[list[str]]:
        """
        Run PHP-FPM on C{app.sock} for the time of a block.
        """
        command = [phpFPM(), "-F", "-n", "-y", "fpm.conf", "-p", str(self.folder)]
        if os.geteuid() == 0:
            command.insert(1, "-R")
        user = "user = root\n" if os.geteuid() == 0 else ""
        (self.folder / "fpm.conf").write_text(FPM.format(socket=self.app) + user)
        self.script = self.folder / "page.php"
        self.script.write_text(PHP)
        return serving(command, self.folder, ready="ready to handle connections")

    @contextmanager
    def nginx(self, block: str, path: str) -> Iterator[int]:
        """
        Run nginx for the time of a block.

        @param block: What is in its only C{server}.
        @param path: The socket of the upstream C{php}.
        @return: Its port.
        """
        executable = program("nginx")
        shutil.copy("/etc/nginx/fastcgi_params", self.folder)
        user = "user root;" if os.geteuid() == 0 else ""
        port = freePort()
        (self.folder / "nginx.conf").write_text(
            NGINX.format(user=user, port=port, block=block, socket=path)
        )
        command = [executable, "-p", self.folder, "-c", "nginx.conf", "-e", "stderr"]
        with serving(command, self.folder, ready="start worker process "):
            yield port

    def curl(self, *arguments: object) -> str:
        """
        Ask a web server.
        """
        return subprocess.run(
            [program("curl"), "-sS", *map(str, arguments)],
            env=environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout


class PHPTests(ToolTestCase):
    """
    The command with PHP-FPM.
    """

    def test_get(self) -> None:
        """
        PHP answers as it does to each of the web servers, and gets all that it
        is sent.
        """
        with self.php():
            for like, software in {
                "nginx": "nginx/",
                "apache": "Apache/",
                "lighttpd": "lighttpd/",
                "caddy": "Caddy/",
                "haproxy": "HAProxy ",
            }.items():
                body, error = self.fcgi(
                    *("get", self.app, "/page.php?a=b", "-d", "the body"),
                    *("--like", like, "-p", "MINE=mine"),
                    *("--script-filename", self.script),
                )
                self.assertIn("REQUEST_METHOD=POST\n", body)
                self.assertIn("REQUEST_URI=/page.php?a=b\n", body)
                self.assertIn(f"SERVER_SOFTWARE={software}", body)
                self.assertTrue(body.endswith("MINE=mine\nthe body"), body)
                self.assertEqual(error, "")

    def test_include(self) -> None:
        """
        The headers can be seen, the times, and what PHP logs.
        """
        with self.php():
            body, error = self.fcgi(
                *("get", self.app, "/?log=1", "-i", "--time"),
                *("--script-filename", self.script),
            )
        head, _, _ = body.partition("\n\n")
        self.assertIn("X-Made-By: PHP", head)
        self.assertIn("PHP message: it was logged", error)
        self.assertRegex(
            error, r"connected \d+\.\d ms, first byte .* ms, total .* ms\n"
        )

    def test_status(self) -> None:
        """
        An HTTP status that tells of a failure makes the exit status 1.
        """
        with self.php():
            arguments = ("--script-filename", self.script)
            body, _ = self.fcgi("get", self.app, "/?code=404", *arguments, code=1)
            self.assertIn("REQUEST_URI=/?code=404", body)
            body, _ = self.fcgi("get", self.app, "/nowhere.php", code=1)
            self.assertEqual(body, "File not found.\n")

    def test_ping(self) -> None:
        """
        PHP tells one limit while it runs, and nothing afterwards.
        """
        with self.php():
            said, _ = self.fcgi("ping", self.app)
            self.assertRegex(said, r"^FCGI_MPXS_CONNS +0 .*\nanswered in \d+\.\d ms")
        _, error = self.fcgi("ping", self.app, code=3)
        self.assertRegex(error, "^fcgi ping: can't connect to .*\n$")

    def test_replay(self) -> None:
        """
        What nginx has sent to PHP through a tap, on a kept connection, gets the
        same answers once more; other requests get others.
        """
        block = f"""
            location / {{
                include fastcgi_params; fastcgi_keep_conn on; fastcgi_pass php;
                fastcgi_param SCRIPT_FILENAME {self.folder}/page.php;
            }}
        """
        tap = str(self.folder / "tap.sock")
        upload = self.folder / "upload"
        upload.write_bytes(b"x" * 300000)
        with self.php():
            with (
                self.tap("--listen", tap, "--to", self.app, "--save", "saved") as log,
                self.nginx(block, tap) as port,
            ):
                url = f"http://127.0.0.1:{port}"
                self.assertIn("REQUEST_URI=/?a", self.curl(f"{url}/?a"))
                answer = self.curl("--data-binary", f"@{upload}", f"{url}/?code=404")
                self.assertTrue(answer.endswith("x" * 300000))
            self.assertIn("END_REQUEST", "".join(log))
            request = self.folder / "saved/0001.request.bin"
            answer = self.folder / "saved/0001.answer.bin"
            found = wire.records(request.read_bytes())
            self.assertEqual(sum(each.type == wire.BEGIN_REQUEST for each in found), 2)
            said, _ = self.fcgi("replay", request, self.app, "--answer", answer)
            self.assertEqual(said.count(", as recorded\n"), 2, said)
            arguments = ("replay", request, self.app, "--answer", request)
            said, _ = self.fcgi(*arguments, code=1)
            self.assertIn("no answer was recorded", said)
            for name in (request, answer):
                self.assertNotIn("WRONG", self.fcgi("dump", name)[0])


class NginxTests(ToolTestCase):
    """
    nginx in front of a tap.
    """

    def test_blackHole(self) -> None:
        """
        A tap alone shows a client of nginx what nginx sends, for any kind of
        request, and saves it.
        """
        block = (
            f"location / {{ include fastcgi_params; fastcgi_pass unix:{self.app}; }}"
        )
        listen = ("--listen", self.app, "--save", "saved")
        with self.tap(*listen) as log, self.nginx(block, self.app) as port:
            url = f"http://127.0.0.1:{port}/a%20b?c"
            self.assertRegex(self.curl(url), r"\nSCRIPT_NAME +/a b\n")
            self.assertRegex(self.curl("-d", "x=1", url), r"\nCONTENT_LENGTH +3\n")
            self.assertIn("200 OK", self.curl("-I", url))
        text = "".join(log)
        self.assertRegex(text, r"SCRIPT_NAME +/a b\n")
        self.assertRegex(text, r"\| x=1\n")
        saved = sorted(path.name for path in (self.folder / "saved").iterdir())
        self.assertEqual(len(saved), 6)
        said, _ = self.fcgi("dump", "--json", "saved/0002.request.bin")
        records = [json.loads(line) for line in said.splitlines()]
        self.assertEqual(records[0]["role"], "RESPONDER")
        self.assertIn(["REQUEST_METHOD", "POST"], records[1]["pairs"])


class PageTests(ToolTestCase):
    """
    The page "What does my web server send?".
    """

    def setUp(self) -> None:
        """
        Read the page.
        """
        super().setUp()
        self.blocks = blocks("docs/wire.rst")
        self.tested: set[str] = set()
        binaries = self.folder / "bin"
        binaries.mkdir()
        (binaries / "fcgi").write_text(f'#!/bin/sh\nexec {" ".join(TOOL)} "$@"\n')
        (binaries / "fcgi").chmod(0o755)
        self.path = f"{binaries}:{os.environ['PATH']}"

    def here(self, text: str) -> str:
        """
        Put the folder and the port of this test into a text of the page.
        """
        self.assertNotEqual(self.port, 0)
        local = text.replace("/tmp/", f"{self.folder}/")
        return local.replace(f"localhost:{PORT}", f"localhost:{self.port}")

    def same(self, text: str) -> list[str]:
        """
        Leave out of a text what is different each time; which of two sides
        closes first is so, too.
        """
        text = text.replace(f"{self.folder}/", "/tmp/")
        text = re.sub(r"\bfcgi/[\w.]+", "fcgi/0", text)
        text = re.sub(r"\d+(\+\d+)?", "0", text)
        lines = [" ".join(line.split()) for line in text.splitlines()]
        return [line for line in lines if line and "sends no more" not in line]

    def check(self, name: str) -> None:
        """
        Run the command of a block, and compare what it says.
        """
        self.tested.add(name)
        command, _, expected = self.blocks[name].partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = command[:-1] + more
        self.assertTrue(command.startswith("$ "), command)
        done = ran(
            ["sh", "-c", self.here(command[2:])],
            self.folder,
            PATH=self.path,
            PYTHONPATH=str(ROOT),
        )
        self.assertEqual(self.same(done.stdout), self.same(expected), done.stdout)

    @contextmanager
    def tapping(self, name: str) -> Iterator[None]:
        """
        Run the tap of a block for the time of another block, and compare what
        it says.
        """
        self.tested.add(name)
        command, _, expected = self.blocks[name].partition("\n")
        words = self.here(command.removeprefix("$ fcgi tap ")).split()
        with self.tap(*words) as log:
            yield
        self.assertEqual(self.same("".join(log)), self.same(expected), "".join(log))

    def test_page(self) -> None:
        """
        The commands of the page say what the page says, but for times, ports
        and versions.
        """
        program("curl")
        block = "server_name localhost; root /var/www/html;"
        block += self.blocks["nginx"].replace("/tmp/", f"{self.folder}/")
        self.tested.add("nginx")
        with self.nginx(block, self.app) as self.port:
            with self.tapping("tap"):
                self.check("curl")
            for name in ("dump", "json"):
                self.check(name)
            with self.tap("--listen", str(self.folder / "app.sock")):
                for name in ("ping", "get", "like"):
                    self.check(name)
                with self.tapping("relay"):
                    self.check("through")
                for name in ("replay", "wrong"):
                    self.check(name)
        self.assertEqual(self.tested, set(self.blocks), "a block that is not tested")
