# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.client} with real FastCGI applications: PHP-FPM, a
program with the FastCGI library in C, and this package's own server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from glob import glob
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from pwd import getpwuid
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.error import TimeoutError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived, readBody

from tests.interop import application
from tests.programs import PATIENCE, ROOT, output, program, serving
from twisted_fastcgi import FastCGIAgent, FastCGIFactory

#: A body of 200 kB, no two lines of which are the same.
UPLOAD = b"".join(b"%07d\n" % number for number in range(25600))

#: Where the programs of the documentation are.
EXAMPLES = ROOT / "docs/examples"

#: What a page of ours has to do in PHP.
PHP = """\
<?php
switch ($_SERVER["PATH_INFO"]) {
case "/echo":
    header("Content-Type: application/json");
    setcookie("a", "b");
    echo json_encode([
        "server" => $_SERVER, "get" => $_GET, "post" => $_POST,
        "body" => hash("sha256", file_get_contents("php://input")),
        "files" => array_map(fn($f) => hash_file("sha256", $f["tmp_name"]), $_FILES),
    ]);
    break;
case "/redirect":
    header("Location: /echo?from=redirect");
    break;
case "/large":
    for ($i = 0; $i < 655360; $i++) printf("%07d\\n", $i);
    break;
case "/stderr":
    error_log("something went wrong");
    echo "so what";
    break;
case "/slow":
    echo "wait";
    ob_flush(); flush();
    sleep(20);
    break;
default:
    http_response_code(404);
}
"""

#: The configuration of PHP-FPM.
FPM = """\
[global]
error_log = /dev/stderr
[www]
user = {user}
listen = {socket}
pm = static
pm.max_children = 2
"""

#: A program with the FastCGI library in C.
PERL = """\
use FCGI;
my $socket = FCGI::OpenSocket($ARGV[0], 5);
my %env;
my $request = FCGI::Request(\\*STDIN, \\*STDOUT, \\*STDERR, \\%env, $socket);
syswrite(STDERR, "serving \\n");
while ($request->Accept() >= 0) {
    if ($env{PATH_INFO} eq "/silent") { next }
    if ($env{PATH_INFO} eq "/exit") { exit 0 }
    my $body = "";
    # To the end of STDIN, which would be taken for the next request otherwise.
    read(STDIN, $body, 1000000);
    print STDERR "said on STDERR";
    print "Content-Type: text/plain\\nStatus: 201 Made it\\n\\n";
    print "$env{REQUEST_METHOD} $env{REQUEST_URI} ", length($body), "\\n";
    print $body;
}
"""


class ApplicationTests(TestCase):
    """
    Something to connect to, and an agent for it.
    """

    timeout = PATIENCE

    def setUp(self) -> None:
        """
        Make a folder for the socket, whose path must not be long.
        """
        folder = TemporaryDirectory(prefix="agent-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.socket = self.folder / "socket"
        self.stderr: list[bytes] = []

    def start(self, command: list[object], ready: str) -> None:
        """
        Start a program for the time of the test.
        """
        running = serving(command, cwd=self.folder, ready=ready)
        running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)

    def agent(self, **options: Any) -> FastCGIAgent:
        """
        Make an agent for the time of the test.
        """
        agent = FastCGIAgent(
            reactor,
            UNIXClientEndpoint(reactor, str(self.socket)),
            stderr=lambda request, data: self.stderr.append(data),
            **options,
        )
        self.addCleanup(agent.close)
        return agent


class PHPTests(ApplicationTests):
    """
    PHP-FPM.
    """

    def setUp(self) -> None:
        """
        Start PHP-FPM.
        """
        super().setUp()
        command = max(glob("/usr/sbin/php-fpm*"), default="php-fpm")
        (self.folder / "page.php").write_text(PHP)
        user = getpwuid(os.getuid()).pw_name
        configuration = self.folder / "fpm.conf"
        configuration.write_text(FPM.format(user=user, socket=self.socket))
        self.start([program(command), "-F", "-R", "-y", configuration], "ready to")
        self.fpm = self.agent(
            variables={
                "SCRIPT_FILENAME": str(self.folder / "page.php"),
                "SCRIPT_NAME": "/page.php",
                "DOCUMENT_ROOT": str(self.folder),
            },
            maxConnections=2,
        )
        self.client = HTTPClient(self.fpm)

    async def echo(self, method: str, **arguments: Any) -> Any:
        """
        Ask for the page that shows the request.
        """
        url = "http://www.example.com:8080/echo?a=1%202"
        response = await self.client.request(method, url, **arguments)
        self.assertEqual(response.code, 200)
        return await response.json()

    async def test_get(self) -> None:
        """
        PHP finds the parts of the request where it looks for them, and cookies
        come back.
        """
        shown = await self.echo("GET", headers={"X-Some": ["1", "2"]})
        self.assertEqual(shown["get"], {"a": "1 2"})
        server = shown["server"]
        self.assertEqual(server["HTTP_HOST"], "www.example.com:8080")
        self.assertEqual(server["HTTP_X_SOME"], "1, 2")
        self.assertEqual(server["REQUEST_URI"], "/echo?a=1%202")
        self.assertEqual(server["PHP_SELF"], "/page.php/echo")
        shown = await self.echo("GET")
        self.assertEqual(shown["server"]["HTTP_COOKIE"], "a=b")

    async def test_post(self) -> None:
        """
        PHP takes a form, a file, and any other body.
        """
        shown = await self.echo("POST", data={"b": "2"})
        self.assertEqual(shown["post"], {"b": "2"})
        upload = {"file": ("name", BytesIO(UPLOAD))}
        shown = await self.echo("POST", files=upload, data={"c": "3"})
        self.assertEqual(shown["post"], {"c": "3"})
        self.assertEqual(shown["files"], {"file": sha256(UPLOAD).hexdigest()})
        shown = await self.echo("PUT", data=UPLOAD)
        self.assertEqual(shown["body"], sha256(UPLOAD).hexdigest())

    async def test_redirect(self) -> None:
        """
        A I{Location} without a I{Status} is a redirection, which is followed.
        """
        response = await self.client.get("http://example.com/redirect")
        shown = await response.json()
        self.assertEqual(shown["get"], {"from": "redirect"})
        self.assertEqual([each.code for each in response.history()], [302])

    async def test_large(self) -> None:
        """
        A large response comes whole, also to one who reads slowly.
        """
        response = await self.fpm.request(b"GET", b"http://example.com/large")
        reader = Slow()
        response.deliverBody(reader)
        self.assertEqual(await reader.done, sha256(application.large()).hexdigest())

    async def test_codes(self) -> None:
        """
        The status of PHP is the status of the response, and there is no body
        of a I{HEAD}.
        """
        response = await self.client.get("http://example.com/none")
        self.assertEqual(response.code, 404)
        response = await self.client.head("http://example.com/large")
        self.assertEqual((response.code, response.length), (200, 0))
        self.assertEqual(await response.content(), b"")

    async def test_stderr(self) -> None:
        """
        What PHP writes to its error log is told.
        """
        response = await self.client.get("http://example.com/stderr")
        self.assertEqual(await response.content(), b"so what")
        self.assertIn(b"something went wrong", b"".join(self.stderr))

    async def test_concurrent(self) -> None:
        """
        More requests than connections are all answered.
        """
        responses = await gatherResults(
            self.client.get("http://example.com/echo", params={"n": str(number)})
            for number in range(20)
        )
        shown = [(await response.json())["get"]["n"] for response in responses]
        self.assertEqual(shown, [str(number) for number in range(20)])

    async def test_cancel(self) -> None:
        """
        After a response was given up in its midst the next request is served,
        though PHP-FPM does not care for ABORT_REQUEST.
        """
        for _ in range(2):
            response = await self.fpm.request(b"GET", b"http://example.com/large")
            response.deliverBody(Hasty())
        await self.echo("GET")

    async def test_timeout(self) -> None:
        """
        A script that is silent for too long is given up.
        """
        agent = self.agent(
            variables={"SCRIPT_FILENAME": str(self.folder / "page.php")},
            responseTimeout=0.5,
        )
        response = await agent.request(b"GET", b"http://example.com/slow")
        failure = await self.assertFailure(readBody(response), ResponseFailed)
        failure.reasons[0].trap(TimeoutError)

    async def test_getValues(self) -> None:
        """
        PHP-FPM tells that it does not multiplex.
        """
        self.assertEqual(await self.fpm.getValues(), {b"FCGI_MPXS_CONNS": b"0"})
        await self.echo("GET")

    async def test_example(self) -> None:
        """
        The program of the documentation works.
        """
        script = self.folder / "hello.php"
        script.write_text("Hello, <?php error_log('aha'); echo $_REQUEST['name'];")
        command = [sys.executable, EXAMPLES / "ask_php.py", f"unix:{self.socket}"]
        said = await deferToThread(output, [*command, script], PYTHONPATH=str(ROOT))
        self.assertIn("200 Hello, world\n", said)
        self.assertIn("200 Hello, form\n", said)
        self.assertEqual(said.count("aha"), 2)
        self.assertIn("{b'FCGI_MPXS_CONNS': b'0'}", said)

    async def test_teller(self) -> None:
        """
        The function of the documentation tells the variables of a script.
        """
        names: dict[str, Any] = {}
        exec((EXAMPLES / "script_variables.py").read_text(), names)
        names["ROOT"] = str(self.folder)
        (self.folder / "sub").mkdir()
        (self.folder / "sub" / "a.php").write_text("<?php echo $_SERVER['PHP_SELF'];")
        agent = self.agent(variables=names["variables"])
        response = await HTTPClient(agent).get("http://example.com/sub/a.php")
        self.assertEqual(await response.text(), "/sub/a.php")

    async def test_restart(self) -> None:
        """
        A connection that was kept may have been closed by PHP-FPM.
        """
        await self.echo("GET")
        (connection,) = self.fpm._pool._idle
        # What PHP-FPM does when a child has served pm.max_requests requests.
        connection._transport.getHandle().shutdown(2)
        await self.echo("GET")


class LibraryTests(ApplicationTests):
    """
    A program with the FastCGI library in C.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        super().setUp()
        perl = program("perl")
        if subprocess.run([perl, "-MFCGI", "-e", ""], capture_output=True).returncode:
            if os.environ.get("CI"):
                raise AssertionError(
                    "libfcgi-perl is missing: .ci/run has to install it"
                )
            raise SkipTest("libfcgi-perl is not installed")
        (self.folder / "program.pl").write_text(PERL)
        self.start([perl, "program.pl", self.socket], "serving ")

    async def test_requests(self) -> None:
        """
        Requests with and without a body are answered, on one connection.
        """
        agent = self.agent(maxConnections=1)
        client = HTTPClient(agent)
        for method, sent in [("GET", b""), ("POST", UPLOAD), ("PUT", b"x")]:
            response = await client.request(
                method, "http://example.com/a%20b?c", data=sent or None
            )
            self.assertEqual((response.code, response.phrase), (201, b"Made it"))
            head = f"{method} /a%20b?c {len(sent)}\n".encode()
            self.assertEqual(await response.content(), head + sent)
        self.assertEqual(b"".join(self.stderr), b"said on STDERR" * 3)

    async def test_closed(self) -> None:
        """
        If connections are not kept, each one is closed after its answer.
        """
        agent = self.agent(keepConnection=False)
        for _ in range(2):
            response = await HTTPClient(agent).get("http://example.com/")
            self.assertEqual(await response.content(), b"GET / 0\n")

    async def test_silent(self) -> None:
        """
        A program that ends a request without a word is said to have.
        """
        agent = self.agent()
        failure = await self.assertFailure(
            agent.request(b"GET", b"http://example.com/silent"), ResponseNeverReceived
        )
        self.assertIn("before an empty line", str(failure.reasons[0].value))

    async def test_exit(self) -> None:
        """
        A program that ends in the midst of a request is no reason to wait.
        """
        agent = self.agent()
        await self.assertFailure(
            agent.request(b"GET", b"http://example.com/exit"), ResponseNeverReceived
        )

    async def test_getValues(self) -> None:
        """
        The library does not answer GET_VALUES by itself.
        """
        agent = self.agent(responseTimeout=0.5)
        await self.assertFailure(agent.getValues(), TimeoutError)
        response = await HTTPClient(agent).get("http://example.com/")
        self.assertEqual(response.code, 201)


class OwnServerTests(ApplicationTests):
    """
    This package's own server, on a real socket.
    """

    async def setUp(self) -> None:
        """
        Start it.
        """
        super().setUp()
        self.factory = FastCGIFactory(application.makeRoot())
        port = await UNIXServerEndpoint(reactor, str(self.socket)).listen(self.factory)
        self.addCleanup(port.stopListening)
        self.client = HTTPClient(self.agent())

    async def test_get(self) -> None:
        """
        A page comes whole.
        """
        response = await self.client.get("http://www.example.com/large")
        self.assertEqual(await response.content(), application.large())

    async def test_post(self) -> None:
        """
        A body arrives whole.
        """
        response = await self.client.post("http://www.example.com/echo", data=UPLOAD)
        shown = json.loads(await response.content())
        self.assertEqual(shown["method"], "POST")
        self.assertEqual(shown["digest"], sha256(UPLOAD).hexdigest())

    async def test_getValues(self) -> None:
        """
        The server tells its limits.
        """
        values = await self.agent().getValues()
        self.assertEqual(values[b"FCGI_MAX_CONNS"], b"1000")


class Slow(Protocol):
    """
    Reads a body with pauses.
    """

    def __init__(self) -> None:
        self.done: Deferred[str] = Deferred()
        self.read = sha256()

    def dataReceived(self, data: bytes) -> None:
        """
        Take a piece, and a break.
        """
        self.read.update(data)
        self.transport.pauseProducing()
        deferLater(reactor, 0.001, self.transport.resumeProducing)

    def connectionLost(self, reason: Any) -> None:
        """
        Tell the sum.
        """
        self.done.callback(self.read.hexdigest())


class Hasty(Protocol):
    """
    Has enough after the first piece.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Have enough.
        """
        self.transport.loseConnection()
