# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What peers can make a server log, whatever they send: one line at most with each
connection, and never a traceback.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from threading import Event
from time import monotonic
from typing import Any

from cryptography.hazmat.primitives import serialization

from tests import wire
from tests.programs import PATIENCE, ROOT, SCRIPTS, STOPPED, ask, environment
from tests.tables import TableTestCase, table
from tests.test_tls import certificate

#: A page that says hello, one that is large, one that waits, and one that looks
#: at forms.
APPLICATION = """
    from twisted.internet import reactor
    from twisted.internet.protocol import Protocol
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET
    from twisted_fastcgi import Allow, IAuthorizer, IFastCGIRequest
    from twisted_fastcgi import IFilterResource, IStreamingResource
    from zope.interface import implementer

    class Page(Resource):
        isLeaf = True

        def render_GET(self, request):
            if request.path == b"/large":
                return b"x" * (1 << 24)
            if request.path == b"/later":
                call = reactor.callLater(0.2, request.finish)
                request.notifyFinish().addErrback(lambda _: call.cancel())
                return NOT_DONE_YET
            return b"hello"

        def render_POST(self, request):
            return b"%d" % len(request.args)

    @implementer(IStreamingResource)
    class Streaming(Page):
        def render_POST(self, request):
            IFastCGIRequest(request).deliverBody(Protocol())
            return b"hello"

    @implementer(IFilterResource)
    class Filter(Page):
        pass

    @implementer(IAuthorizer)
    class Authorizer:
        def authorize(self, request):
            return Allow()

    def application(environ, startResponse):
        environ["wsgi.input"].read()
        startResponse("200 OK", [])
        return [b"hello"]
"""

OPTIONS = (
    *("--params-timeout=1", "--body-timeout=1", "--write-timeout=1"),
    *("--max-body-bytes=1000", "--max-params=100", "--max-connections=50"),
)

LATER = wire.variables(b"/later")
PLAIN = wire.variables()
FORM = b"multipart/form-data; boundary="


def begun(requestId: int = 1, **changes: bytes | None) -> bytes:
    """
    Begin a request that lacks its body.
    """
    variables = {**wire.postVariables(b"x" * 100), **wire.variables(**changes)}
    return wire.beginRequest(requestId) + wire.params(variables, requestId)


def posted(body: bytes, contentType: bytes, **changes: bytes) -> bytes:
    """
    Send a form.
    """
    variables = {
        **wire.postVariables(body),
        b"CONTENT_TYPE": contentType,
        **{name.encode(): value for name, value in changes.items()},
    }
    return wire.request(variables, body)


#: How a BEGIN_REQUEST for a Responder begins, and its last byte.
BEGUN = rb"(\x01\x01..\x00\x08..\x00)\x01"

#: What no web server sends.
HOSTILE: Mapping[str, bytes] = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "another version": wire.record(wire.BEGIN_REQUEST, 1, bytes(8), version=2) * 5,
    "half a header": b"\1\1\0",
    "lines and escapes": b"\n\n\x1b[31m\nerror: all is lost\n" * 20,
    "a short BEGIN": wire.record(wire.BEGIN_REQUEST, 1, b"x"),
    "BEGIN of 0": wire.record(wire.BEGIN_REQUEST, 0, bytes(8)),
    "BEGIN twice": wire.beginRequest() * 3,
    "unknown roles": b"".join(
        wire.record(wire.BEGIN_REQUEST, number, bytes([0, 9, 1, 0, 0, 0, 0, 0]))
        for number in range(1, 20)
    ),
    "unknown types": b"".join(wire.record(number, 0) for number in range(12, 256)),
    "GET_VALUES of garbage": wire.record(wire.GET_VALUES, 0, b"\xff" * 50) * 5,
    "records of nobody": wire.record(wire.STDIN, 7, b"x") * 50,
    "malformed pairs": wire.beginRequest()
    + wire.record(wire.PARAMS, 1, b"\xff\xff\xff\xffx")
    + wire.record(wire.PARAMS, 1),
    "too many pairs": wire.request([(b"A%d" % n, b"") for n in range(200)]),
    "no variables": wire.request({}),
    "odd variables": wire.request({b"\n\x1b": b"\n\x1b", b"": b"", b"\xff": b"\0"}),
    "a bad method": wire.request(wire.variables(REQUEST_METHOD=b"\nGET")),
    "bad requests": b"".join(
        wire.request(wire.variables(CONTENT_LENGTH=b"+%d" % n)) for n in range(20)
    ),
    "bad requests, and HTTP": wire.request(wire.variables(CONTENT_LENGTH=b"x")) * 3
    + b"GET / HTTP/1.0\r\n\r\n",
    "several at a time": wire.request(LATER)
    + b"".join(wire.beginRequest(number) for number in range(2, 30)),
    "several at a time, and garbage": wire.request(LATER)
    + wire.beginRequest(2)
    + wire.beginRequest(3)
    + b"\xff" * 100,
    "an abort, and garbage": begun() + wire.abortRequest() + b"\xff" * 100,
    "aborts of nobody": wire.abortRequest(9) * 20,
    "the same id, and garbage": begun() + wire.beginRequest() + b"\xff" * 100,
    "half a body": begun() + wire.record(wire.STDIN, 1, b"x") + wire.stdin(b""),
    "a body that stops": begun() + wire.record(wire.STDIN, 1, b"x"),
    "rejected, and variables that stop": wire.request(
        wire.variables(CONTENT_LENGTH=b"x")
    )
    + wire.beginRequest(),
    "too large": posted(b"x" * 5000, b"text/plain"),
    "too large, again and again": posted(b"x" * 5000, b"text/plain") * 5,
    "longer than told": posted(b"x" * 500, b"text/plain", CONTENT_LENGTH=b"3"),
    "no boundary": posted(b"x", FORM),
    "an odd boundary": posted(b"--\xff\r\n\r\n", FORM + b"\xff"),
    "an empty form": posted(b"", FORM + b"b"),
    "a torn form": posted(
        b'--b\r\nContent-Disposition: form-data; name="\n"\r\n\r\nx', FORM + b"b"
    ),
    "a form without names": posted(b"--b\r\n\r\nx\r\n--b--\r\n", FORM + b"b"),
    "an odd encoding": posted(b"%zz=%&&==\xff", b"application/x-www-form-urlencoded"),
    "an odd type": posted(b"x", b'multipart/form-data; boundary="'),
    "odd fields": wire.request(
        wire.variables(
            HTTP_COOKIE=b"\xff=;;=\x1b",
            HTTP_AUTHORIZATION=b"Basic \xff",
            HTTP_RANGE=b"bytes=-",
            HTTP_IF_MODIFIED_SINCE=b"yesterday",
        )
    ),
    "odd addresses": wire.request(
        wire.variables(REMOTE_ADDR=b"\n", SERVER_PORT=b"x", REMOTE_PORT=b"-1")
    ),
    "an odd path": wire.request(
        wire.variables(REQUEST_URI=b"\x1b/%00%zz", SCRIPT_NAME=b"/\xff\x1b")
    ),
    "DATA": begun() + wire.record(wire.DATA, 1, b"x") * 5 + b"\xff" * 8,
    "answers": wire.record(wire.STDOUT, 1, b"x") + wire.record(wire.END_REQUEST, 1),
}


class HostileTests(TableTestCase):
    """
    The log of a real process.
    """

    def setUp(self) -> None:
        """
        Start a server, by whose log nothing else is said.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = f"{folder.name}/s"
        self.log = self.folder / "log"
        (self.folder / "page.py").write_text(dedent(APPLICATION))

    def start(self, *options: str, what: str = "--resource=page.Page") -> None:
        """
        Start the server.

        @param what: What it is to serve.
        """
        options = (f"--port=unix:{self.path}", *options)
        command = [SCRIPTS / "twist", f"--log-file={self.log}", "--log-format=text"]
        self.process = subprocess.Popen(
            [*command, "fastcgi", *options, *OPTIONS, what],
            cwd=self.folder,
            env=environment(PYTHONPATH=str(ROOT)),
        )
        self.addCleanup(self.stop)
        self.waitFor(lambda: "serving " in self.said())
        self.waitFor(lambda: "Starting reactor" in self.said())
        self.before = len(self.said())

    def stop(self) -> None:
        """
        Stop the server.
        """
        self.process.terminate()
        self.assertIn(self.process.wait(PATIENCE), STOPPED)

    def waitFor(self, condition: Any) -> None:
        """
        Wait until something is so.
        """
        deadline = monotonic() + PATIENCE
        while not condition():
            assert monotonic() < deadline, self.said()
            Event().wait(0.02)

    def said(self) -> str:
        """
        Tell what is in the log.
        """
        return self.log.read_text() if self.log.exists() else ""

    def lines(self) -> list[str]:
        """
        Tell what has been said since the last time, when all is served again.
        """
        ask(self.path)
        said = self.said()[self.before :]
        self.before += len(said)
        self.assertNotIn("Traceback", said)
        self.assertTrue(said.isascii() and "\x1b" not in said, repr(said))
        lines = said.splitlines()
        for line in lines:
            # Nothing of it is on a line that looks like one of ours.
            self.assertRegex(
                line, r"^\d{4}-\d\d-\d\dT\S+ \[twisted_fastcgi\.\S+#warn\] "
            )
        return lines

    def send(
        self, data: bytes, isWhole: bool, port: int = 0, *, tls: Any = None
    ) -> None:
        """
        Send something, and wait until the server has closed the connection, or
        has said nothing for a while.

        @param isWhole: Whether the peer tells that nothing else comes.
        @param port: Where to, by TCP.
        @param tls: What makes it safe.
        """
        family = socket.AF_INET if port else socket.AF_UNIX
        skt = socket.socket(family)
        skt.settimeout(PATIENCE)
        skt.connect(("127.0.0.1", port) if port else self.path)
        with skt if tls is None else tls.wrap_socket(skt) as peer:
            try:
                peer.sendall(data)
                if isWhole:
                    peer.shutdown(socket.SHUT_WR)
                else:
                    peer.settimeout(2.5)
                while peer.recv(65536):
                    pass
            except OSError:
                pass

    @table(
        {
            "a resource": ("--resource=page.Page", wire.RESPONDER),
            "a streaming one": ("--resource=page.Streaming", wire.RESPONDER),
            "WSGI": ("--wsgi=page.application", wire.RESPONDER),
            "a Filter": ("--resource=page.Filter", wire.FILTER),
            "an Authorizer": ("--authorizer=page.Authorizer", wire.AUTHORIZER),
        }
    )
    def test_sent(self, what: str, role: int) -> None:
        """
        Whatever is sent, there is one line at most.
        """
        self.start(what=what)
        for name, data in HOSTILE.items():
            self.send(re.sub(BEGUN, rb"\g<1>%c" % role, data, flags=re.S), True)
            lines = self.lines()
            self.assertLessEqual(len(lines), 1, f"{name}: {lines}")
        # Some of them, for sure, are worth a line.
        self.assertGreater(self.said().count("#warn"), len(HOSTILE) // 2)

    def test_TLS(self) -> None:
        """
        So it is by TLS, and for who sends something else there.
        """
        key, made = certificate()
        pem = serialization.Encoding.PEM
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        text = key.private_bytes(pem, form, plain) + made.public_bytes(pem)
        (self.folder / "pem").write_bytes(text)
        self.start(f"--port=ssl:0:privateKey={self.folder}/pem:interface=127.0.0.1")
        found = re.search(r"127\.0\.0\.1:(\d+)", self.said())
        assert found is not None
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        for name, data in HOSTILE.items():
            for safe in (None, tls):
                self.send(data, True, int(found[1]), tls=safe)
                lines = self.lines()
                self.assertLessEqual(len(lines), 1, f"{name}: {lines}")
        self.assertGreater(self.said().count("#warn"), len(HOSTILE) // 2)

    @table(
        {
            "a body that stops": ("a body that stops",),
            "rejected, and variables": ("rejected, and variables that stop",),
        }
    )
    def test_stopped(self, name: str) -> None:
        """
        So it is when the peer stops in the midst of it.
        """
        self.start()
        self.send(HOSTILE[name], False)
        self.assertEqual(len(self.lines()), 1)

    def test_unread(self) -> None:
        """
        So it is when a peer that was complained of does not read, and is cut
        off.
        """
        self.start()
        with socket.socket(socket.AF_UNIX) as skt:
            skt.connect(self.path)
            skt.sendall(wire.request(wire.variables(CONTENT_LENGTH=b"x")))
            skt.sendall(wire.request(wire.variables(b"/large")))
            self.waitFor(lambda: self.connections() == 0)
            [line] = self.lines()
        self.assertIn("got 400", line)

    def connections(self) -> int:
        """
        Tell how many connections the server has.
        """
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        sockets = [os.readlink(link) for link in links if os.path.islink(link)]
        found = sum(name.startswith("socket:") for name in sockets)
        # The one that listens.
        return found - 1

    def test_refused(self) -> None:
        """
        Who may not connect is one line, whatever is sent.
        """
        self.start("--port=tcp:0:interface=127.0.0.1", "--allow=10.0.0.0/8")
        found = re.search(r"127\.0\.0\.1:(\d+)", self.said())
        assert found is not None
        for data in (b"", b"\xff" * 1000, wire.request(PLAIN) * 3):
            self.send(data, True, int(found[1]))
            [line] = self.lines()
            self.assertIn("closed a connection from 127.0.0.1: --allow", line)
