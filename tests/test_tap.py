# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.options} and L{twisted_fastcgi.tap}.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any
from unittest import SkipTest

from twisted.application.service import IServiceCollection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.static import Registry
from zope.interface import implementer

from tests import wire
from tests.programs import (
    PATIENCE,
    ROOT,
    SCRIPTS,
    ask,
    environment,
    fetch,
    program,
    serving,
)
from twisted_fastcgi import options as optionsModule
from twisted_fastcgi.authorizer import Allow, AuthorizerResource
from twisted_fastcgi.demo import DemoResource
from twisted_fastcgi.interfaces import IAuthorizer
from twisted_fastcgi.limitoptions import LIMIT_OPTIONS
from twisted_fastcgi.notify import NotifyService
from twisted_fastcgi.options import Options
from twisted_fastcgi.preview import PreviewService
from twisted_fastcgi.request import FastCGIRequest
from twisted_fastcgi.service import FastCGIService
from twisted_fastcgi.tap import makeService
from twisted_fastcgi.workerlink import LINK, WORKER, WorkerLink
from twisted_fastcgi.workers import WorkersService
from twisted_fastcgi.wsgi import FastCGIWSGIRequest, FastCGIWSGIResource


class Hello(Resource):
    """
    Says hello, or fails.
    """

    isLeaf = True
    registry: Any = None

    def render_GET(self, request: Any) -> bytes:
        """
        Say hello.
        """
        if request.postpath == [b"fail"]:
            raise ZeroDivisionError()
        request.responseHeaders.addRawHeader("X-Own", "yes")
        return b"hello at %r" % (request.postpath,)


root = Hello()


@implementer(IAuthorizer)
class Authorizer:
    """
    Lets everybody in.
    """

    def authorize(self, request: Any) -> Allow:
        """
        Let somebody in.
        """
        return Allow({"REMOTE_USER": "me"})


authorizer = Authorizer()
authorizerResource = AuthorizerResource(authorizer)


def application(environ: dict[str, Any], startResponse: Any) -> list[bytes]:
    """
    Say hello in WSGI.
    """
    startResponse("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi at " + environ["PATH_INFO"].encode("ascii")]


def parsed(*arguments: str) -> Options:
    """
    Parse options.
    """
    options = Options()
    options.parseOptions(arguments)
    return options


def serviceOf(*arguments: str) -> FastCGIService:
    """
    Make the service for some options.
    """
    *_, service = makeService(parsed(*arguments))
    assert isinstance(service, FastCGIService)
    return service


def answerTo(request: bytes, *arguments: str) -> Any:
    """
    Make a service with some options, and let it answer a request.
    """
    factory = serviceOf(*arguments)._factory
    factory.reactor = factory.site.reactor = MemoryReactorClock()
    factory.doStart()
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(request)
    factory.doStop()
    return wire.response(transport.value())


class TapMixin:
    """
    What the tests of options need.
    """

    def refused(self: Any, *arguments: str) -> str:
        """
        Parse options that must be refused, with one line.
        """
        message = str(self.assertRaises(UsageError, parsed, *arguments))
        self.assertNotIn("\n", message)
        return message

    def onInput(self: Any, skt: socket.socket) -> None:
        """
        Let file descriptor 0 be a socket, until the end of the test.
        """
        saved = os.dup(0)
        self.addCleanup(os.close, saved)
        self.addCleanup(os.dup2, saved, 0)
        os.dup2(skt.fileno(), 0)


class PortTests(TapMixin, SynchronousTestCase):
    """
    Where to listen.
    """

    def endpoints(self, *arguments: str) -> list[str]:
        """
        Say where some options listen.
        """
        return [str(endpoint) for endpoint in parsed(*arguments)["endpoints"]]

    def test_repeated(self) -> None:
        """
        The option may be repeated, and its three spellings are the same.
        """
        self.assertEqual(
            self.endpoints(
                "--port", "unix:/x", "-p", "tcp:9000", "--listen", "tcp:9001"
            ),
            ["unix:/x", "tcp:9000", "tcp:9001"],
        )

    def test_default(self) -> None:
        """
        Without the option, and nothing inherited, it is port 9000 of this host
        alone.
        """
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.onInput(one)
        self.assertEqual(self.endpoints(), ["tcp:9000:interface=127.0.0.1"])

    def test_inherited(self) -> None:
        """
        Without the option it is the listening socket on file descriptor 0, if
        there is one.
        """
        skt = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(skt.close)
        self.onInput(skt)
        [endpoint] = parsed()["endpoints"]
        self.assertEqual(str(endpoint), "fcgi:fd=0")
        port = self.successResultOf(endpoint.listen(DummyFactory()))
        self.assertEqual(port.getHost().port, skt.getsockname()[1])
        self.successResultOf(port.stopListening())

    def test_systemd(self) -> None:
        """
        Without either, all sockets that systemd has passed are taken.
        """
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.onInput(one)
        passed = ["unix:/x", "unix:/y"]
        self.patch(optionsModule, "passedBySystemd", lambda reactor: iter(passed))
        self.assertEqual(self.endpoints(), passed)

    def test_preferred(self) -> None:
        """
        With the option, an inherited socket is left alone.
        """
        skt = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(skt.close)
        self.onInput(skt)
        self.assertEqual(self.endpoints("--port", "unix:/x"), ["unix:/x"])
        self.assertTrue(stat.S_ISSOCK(os.fstat(0).st_mode))

    def test_bad(self) -> None:
        """
        An endpoint string that is none is refused, and so is a missing socket.
        """
        self.assertIn("--port: bad endpoint '9000': ", self.refused("-p", "9000"))
        message = self.refused("--listen", "fcgi:fd=999999")
        self.assertIn("file descriptor 999999 is no socket", message)

    def test_owner(self) -> None:
        """
        A Unix socket is to belong to whom C{twistd} becomes.
        """
        runner = ServerOptions()
        runner.parseOptions(["--uid=7", "--gid=8", "fastcgi", "-p", "unix:/x"])
        [endpoint] = runner.subOptions["endpoints"]
        made = endpoint.endpoint
        self.assertEqual((made.uid, made.gid), (7, 8))

    def test_allow(self) -> None:
        """
        The lists of one who may connect are one; the one of the environment
        holds beside it.
        """
        self.patch(os, "environ", dict(os.environ))
        self.assertEqual(parsed()["peers"], [])
        [peers] = parsed("--allow", "10.0.0.0/8,::1", "--allow", "192.168.1.5")["peers"]
        for host in ("10.1.1.1", "::1", "192.168.1.5"):
            self.assertIn(host, peers)
        os.environ["FCGI_WEB_SERVER_ADDRS"] = "10.1.1.1"
        self.assertEqual(len(parsed()["peers"]), 1)
        first, second = serviceOf("--allow", "::1")._served._lists  # type: ignore
        self.assertIn("10.1.1.1", first)
        self.assertIn("::1", second)

    def test_badAllow(self) -> None:
        """
        A list that can't be read is refused, also the one of the environment.
        """
        self.assertIn("--allow is 'localhost' (", self.refused("--allow", "localhost"))
        self.patch(os, "environ", {**os.environ, "FCGI_WEB_SERVER_ADDRS": "x"})
        self.assertIn("FCGI_WEB_SERVER_ADDRS is 'x' (", self.refused())


class PreviewTests(TapMixin, SynchronousTestCase):
    """
    The preview.
    """

    where = "tcp:8080:interface=127.0.0.1"

    def test_alone(self) -> None:
        """
        With a preview nothing else listens, not even on an inherited socket.
        """
        skt = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(skt.close)
        self.onInput(skt)
        options = parsed("--preview", self.where)
        self.assertEqual(str(options["preview"]), self.where)
        self.assertEqual(options["endpoints"], [])

    def test_both(self) -> None:
        """
        Other ports are opened if they are named.
        """
        options = parsed("--preview", self.where, "--port", "unix:/x")
        self.assertEqual(str(options["preview"]), self.where)
        self.assertEqual([str(each) for each in options["endpoints"]], ["unix:/x"])

    def test_none(self) -> None:
        """
        There is none if it is not asked for.
        """
        self.assertIsNone(parsed("--port", "unix:/x")["preview"])
        self.assertEqual(len(list(makeService(parsed("--port", "unix:/x")))), 2)

    def test_service(self) -> None:
        """
        The preview starts before anything else, asks the application that the
        ports serve, and knows where it is.
        """
        for more, anywhere in [((), False), (("--preview-anywhere",), True)]:
            _, preview, service = makeService(
                parsed("--preview", self.where, "--mount", "/app", *more)
            )
            self.assertIsInstance(preview, PreviewService)
            self.assertEqual(list(map(str, preview._endpoints)), [self.where])
            self.assertEqual(preview._what, "a demonstration page")
            self.assertEqual(preview._path, "/app/")
            self.assertEqual(preview._anywhere, anywhere)
            self.assertIs(
                preview._factory._agent._pool._endpoint._factory, service._factory
            )

    def test_bad(self) -> None:
        """
        What is no endpoint is refused, and so is a permission without a
        preview.
        """
        message = self.refused("--preview", "8080")
        self.assertIn("--preview: bad endpoint '8080': ", message)
        message = self.refused("--preview-anywhere")
        self.assertEqual(message, "--preview-anywhere: there is no --preview")


class DummyFactory:
    """
    Starts and stops.
    """

    def doStart(self) -> None:
        """
        Start.
        """

    def doStop(self) -> None:
        """
        Stop.
        """


class ApplicationTests(TapMixin, SynchronousTestCase):
    """
    What to serve.
    """

    def rootOf(self, *arguments: str) -> Any:
        """
        Give the root resource for some options.
        """
        return parsed("-p", "unix:/x", *arguments)["root"]

    def test_ways(self) -> None:
        """
        Each option gives its resource; without any it is the demonstration.
        """
        directory = self.mktemp()
        os.mkdir(directory)
        script = Path(directory, "a.rpy")
        script.touch()
        self.assertIs(self.rootOf("--resource", f"{__name__}.root"), root)
        self.assertIs(self.rootOf("--resource", f"{__name__}:root"), root)
        self.assertIsInstance(self.rootOf("--class", f"{__name__}.Hello"), Hello)
        self.assertEqual(
            self.rootOf("--path", directory).path, str(script.parent.absolute())
        )
        self.assertEqual(
            self.rootOf("--resource-script", str(script)).path, str(script.absolute())
        )
        self.assertIsInstance(self.rootOf(), DemoResource)

    def test_wsgi(self) -> None:
        """
        A WSGI application is served with a thread pool of its own.
        """
        options = parsed("--port", "unix:/x", "--wsgi", f"{__name__}:application")
        self.assertIsInstance(options["root"], FastCGIWSGIResource)
        pool = options["pool"]
        self.assertFalse(pool.started)
        self.assertEqual((pool.min, pool.max), (5, 20))

    def test_threads(self) -> None:
        """
        That has as many threads as it is told.
        """
        wsgi = ("-p", "unix:/x", "--wsgi", f"{__name__}:application")
        for threads, least in ((1, 1), (3, 3), (100, 5)):
            pool = parsed(*wsgi, "--threads", str(threads))["pool"]
            self.assertEqual((pool.min, pool.max), (least, threads))
        for wrong in ("0", "-1", "x", "1.5"):
            self.assertRaises(UsageError, parsed, *wsgi, "--threads", wrong)

    def test_wsgiForms(self) -> None:
        """
        The forms that a WSGI application gets are its own to read.
        """
        service = serviceOf("-p", "unix:/x", "--wsgi", f"{__name__}:application")
        self.assertIs(service._factory.site.requestFactory, FastCGIWSGIRequest)
        self.assertIs(serviceOf()._factory.site.requestFactory, FastCGIRequest)

    def test_one(self) -> None:
        """
        At most one application is named, once.
        """
        for first, second in [("resource", "wsgi"), ("path", "path")]:
            message = self.refused(f"--{first}", "x", f"--{second}", "y")
            self.assertIn(f"--{first} and --{second}: ", message)

    def test_bad(self) -> None:
        """
        An application that cannot be used is refused with the option and the
        culprit.
        """
        for option, name, text in [
            ("resource", "nosuchmodule.x", "there is no module 'nosuchmodule'"),
            ("class", f"{__name__}.root", "not a class"),
            ("wsgi", f"{__name__}.root", "not a WSGI application"),
            ("path", "/nosuch", "there is no directory or file '/nosuch'"),
            ("resource-script", "/nosuch", "there is no file '/nosuch'"),
        ]:
            message = self.refused(f"--{option}", name)
            self.assertTrue(message.startswith(f"--{option}: "), message)
            self.assertIn(text, message)

    def test_registry(self) -> None:
        """
        Scripts in a directory find the service collection, to add others.
        """
        options = parsed("-p", "unix:/x", "--path", ".", "--mount", "/app")
        service = makeService(options)
        self.assertIsInstance(options["registry"], Registry)
        self.assertIs(options["registry"].getComponent(IServiceCollection), service)

    def test_otherRegistry(self) -> None:
        """
        What a resource calls its registry is left alone, if it is another one.
        """
        self.patch(Hello, "registry", {"a": 1})
        makeService(parsed("-p", "unix:/x", "--resource", f"{__name__}.root"))
        self.assertEqual(Hello.registry, {"a": 1})


class AuthorizerTests(TapMixin, SynchronousTestCase):
    """
    What decides on requests.
    """

    def ask(self, *arguments: str, role: int = wire.AUTHORIZER) -> Any:
        """
        Ask what is served for some options.
        """
        begin = wire.beginRequest(role=role, keep=False)
        sent = begin + wire.params(wire.variables())
        if role == wire.RESPONDER:
            sent += wire.stdin(b"")
        return answerTo(sent, "-p", "unix:/x", *arguments)

    def test_alone(self) -> None:
        """
        An authorizer alone is asked in its role, and by ordinary requests.
        """
        for name in ("authorizer", "Authorizer", "authorizerResource"):
            for role in (wire.AUTHORIZER, wire.RESPONDER):
                response = self.ask("--authorizer", f"{__name__}.{name}", role=role)
                self.assertEqual((response.status, response.body), (200, b""))
                self.assertIn((b"Variable-REMOTE_USER", b"me"), response.headers)

    def test_resource(self) -> None:
        """
        One that is a resource of the right kind is served as it is.
        """
        options = parsed("--authorizer", f"{__name__}.authorizerResource")
        self.assertIs(options["root"], authorizerResource)

    def test_both(self) -> None:
        """
        With an application that has the ordinary requests; wherever it is.
        """
        both = ("--authorizer", f"{__name__}.authorizer")
        both += ("--resource", f"{__name__}.root")
        elsewhere = (*both, "--mount", "/elsewhere")
        for arguments, status in ((both, 200), (elsewhere, 404)):
            response = self.ask(*arguments, role=wire.RESPONDER)
            self.assertEqual(response.status, status)
            self.assertEqual(b"hello" in response.body, status == 200)
            response = self.ask(*arguments)
            self.assertEqual((response.status, response.body), (200, b""))

    def test_none(self) -> None:
        """
        Without one the role is not served.
        """
        response = self.ask("--resource", f"{__name__}.root")
        self.assertEqual(response.protocolStatus, wire.UNKNOWN_ROLE)

    def test_log(self) -> None:
        """
        The log names what is served.
        """
        alone = ("--authorizer", f"{__name__}.authorizer")
        both = (*alone, "--resource", f"{__name__}.root")
        names = [serviceOf("-p", "unix:/x", *each)._what for each in (alone, both)]
        name = f"{__name__}.authorizer"
        self.assertEqual(names, [name, f"{__name__}.root and {name}"])

    def test_bad(self) -> None:
        """
        What is no authorizer is refused, and so is a second one.
        """
        message = self.refused("--authorizer", f"{__name__}.root")
        self.assertTrue(message.startswith("--authorizer: "), message)
        self.assertIn("IAuthorizer", message)
        message = self.refused("--authorizer", "x.y", "--authorizer", "x.z")
        self.assertIn("--authorizer", message)

    def test_accessLog(self) -> None:
        """
        The access log has a line for each decision.
        """
        path = self.mktemp()
        self.ask("--authorizer", f"{__name__}.authorizer", "--logfile", path)
        self.assertIn('"GET / HTTP/1.1" 200 - ', Path(path).read_text())


class OtherOptionTests(TapMixin, SynchronousTestCase):
    """
    How to serve.
    """

    def test_defaults(self) -> None:
        """
        The defaults.
        """
        options = parsed("-p", "unix:/x")
        self.assertEqual(options["mount"], "/")
        self.assertEqual(options["grace"], 30.0)
        self.assertIsNone(options["logfile"])
        self.assertEqual(options["headers"], [])

    def test_grace(self) -> None:
        """
        The grace is a number of seconds, from 0 up.
        """
        self.assertEqual(parsed("-p", "unix:/x", "--grace", "0.5")["grace"], 0.5)
        for text in ("-1", "nan", "inf", "soon"):
            self.assertIn(text, self.refused("--grace", text))

    def test_header(self) -> None:
        """
        A header has a name and a value, and is none that the server sets.
        """
        for text, header in [
            ("X-A: b", ("X-A", "b")),
            ("X-A:b: c ", ("X-A", "b: c")),
            ("X-A:", ("X-A", "")),
        ]:
            options = parsed("-p", "unix:/x", "--add-header", text)
            self.assertEqual(options["headers"], [header])
        for text in ("X-A", "X A: b", ": b", "X-A: b\r\nX-B: c", "X-A: \N{EURO SIGN}"):
            message = self.refused("--add-header", text)
            self.assertIn(f"{text!r} is not written as", message)
        for name in ("Status", "transfer-encoding", "Content-Length"):
            message = self.refused("--add-header", f"{name}: x")
            self.assertIn(f"{name} is set by the server", message)

    def test_mount(self) -> None:
        """
        A mount point that is none is refused.
        """
        self.assertIn("--mount: mount must be", self.refused("--mount", "app"))

    def test_logFile(self) -> None:
        """
        An access log that cannot be written is refused.
        """
        message = self.refused("--logfile", "/nosuch/access.log")
        self.assertEqual(
            message,
            "--logfile: cannot write to '/nosuch/access.log': "
            "No such file or directory",
        )

    def test_logFormat(self) -> None:
        """
        A format that is none, or is for no log, is refused.
        """
        message = self.refused("--logfile", self.mktemp(), "--log-format", "x")
        self.assertEqual(message, "--log-format: 'x' is neither combined nor json")
        for known in ("combined", "json"):
            self.assertEqual(
                self.refused("--log-format", known),
                "--log-format: there is no --logfile",
            )

    def test_help(self) -> None:
        """
        The help has all options with their defaults, and two examples.
        """
        text = Options().getUsage(80)
        options = (
            "-p, --port=",
            "--listen=",
            "--allow=",
            "--resource=",
            "--wsgi=",
            "--path=",
            "--class=",
            "--resource-script=",
            "--mount=",
            "-l, --logfile=",
            "--log-format=",
            "--display-tracebacks",
            "--add-header=",
            "--grace=",
            "--threads=",
            "--authorizer=",
            "--check",
            "--preview=",
            "--preview-anywhere",
            "--print-config=",
            "--workers=",
            "--status-path=",
            "--status-allow=",
            *(f"--{option.name}=" for option in LIMIT_OPTIONS),
        )
        for option in options:
            self.assertIn(f"{option} ", text)
        # All but --listen, which is --port; --help and --version have none either.
        self.assertEqual(" ".join(text.split()).count("[default: "), len(options) - 1)
        self.assertNotRegex(text, r"\S  +\[default")
        self.assertIn("\n  twistd -n fastcgi --port unix:", text)
        self.assertIn("\n  twist fastcgi --port tcp:9000", text)
        self.assertIn("\n  twist fastcgi --preview tcp:8080", text)

    def test_brief(self) -> None:
        """
        The options are not listed for an error that they say nothing about.
        """
        options = Options()
        self.assertRaises(UsageError, options.parseOptions, ["--path", "/nosuch"])
        self.assertNotIn("--resource", str(options))
        self.assertIn("fastcgi --help", str(options))


class ServiceTests(SynchronousTestCase):
    """
    The service, asked over FastCGI.
    """

    def ask(self, *arguments: str, path: bytes = b"/x", **changes: bytes) -> Any:
        """
        Make a service with some options, and ask it for a path.
        """
        sent = wire.variables(path, **changes)
        return answerTo(wire.request(sent, keep=False), "-p", "unix:/x", *arguments)

    def hello(self, *arguments: str, path: bytes = b"/x", **changes: bytes) -> Any:
        """
        Ask for L{Hello}.
        """
        name = f"{__name__}.root"
        return self.ask("--resource", name, *arguments, path=path, **changes)

    def test_headers(self) -> None:
        """
        Headers are added to those of the resource, also for a leaf, and also
        when nothing is left of the path.
        """
        for path in (b"/x", b"/"):
            answer = self.hello(
                "--add-header", "X-A: b", "--add-header", "X-A: c", path=path
            )
            self.assertEqual(
                [value for name, value in answer.headers if name == b"X-A"],
                [b"b", b"c"],
            )
            self.assertEqual(answer.header(b"X-Own"), b"yes")

    def test_mount(self) -> None:
        """
        The application begins where it is mounted.
        """
        self.assertEqual(self.hello().body, b"hello at [b'x']")
        mounted = self.hello("--mount", "/app", path=b"/app/x")
        self.assertEqual(mounted.body, b"hello at [b'x']")
        self.assertEqual(self.hello("--mount", "/app").status, 404)
        named = self.hello(
            "--mount",
            "script-name",
            path=b"/app",
            PATH_INFO=b"/x",
            REQUEST_URI=b"/app/x",
        )
        self.assertEqual(named.body, b"hello at [b'x']")

    def test_tracebacks(self) -> None:
        """
        Tracebacks are shown when that is asked for.
        """
        for arguments, shown in [((), False), (("--display-tracebacks",), True)]:
            answer = self.hello(*arguments, path=b"/fail")
            self.assertEqual(answer.status, 500)
            self.assertEqual(b"ZeroDivisionError" in answer.body, shown)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_logFile(self) -> None:
        """
        There is an access log when it is asked for, and none else.
        """
        path = self.mktemp()
        self.hello("--logfile", path)
        self.assertIn('"GET /x HTTP/1.1" 200 ', Path(path).read_text())
        self.assertIsNone(serviceOf("-p", "unix:/x")._factory.loggingSite)

    def test_logFormat(self) -> None:
        """
        The access log has lines in the format that is asked for.
        """
        for options, pattern in (
            (["--log-format", "combined"], r"^192\.0\.2\.7 - - \["),
            (["--log-format", "json"], '^{"time": '),
            (["--log-format", "json", "--add-header", "X-Own: yes"], '^{"time": '),
        ):
            path = self.mktemp()
            self.hello("--logfile", path, *options)
            self.assertRegex(Path(path).read_text(), pattern)

    def test_logPipe(self) -> None:
        """
        A pipe is not opened before it is written to: its reader would take the
        end of that for the end of the log.
        """
        path = self.mktemp()
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        ends = select.poll()
        ends.register(reader)
        parsed("-p", "unix:/x", "--logfile", path)
        self.assertEqual(ends.poll(0), [])
        os.close(os.open(path, os.O_WRONLY))
        self.assertEqual(ends.poll(0), [(reader, select.POLLHUP)])

    def test_logOwner(self) -> None:
        """
        The access log belongs to whom C{twistd} makes the process.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        path = self.mktemp()
        options = ServerOptions()
        options.parseOptions(["--uid", "12", "fastcgi", "--logfile", path])
        self.assertEqual(os.stat(path).st_uid, 12)

    def test_notify(self) -> None:
        """
        Where systemd wants to be told when all serve, it is, and programs that
        are started do not inherit that.
        """
        options = parsed("-p", "unix:/x", "--preview", "tcp:0:interface=127.0.0.1")
        os.environ["NOTIFY_SOCKET"] = "/nosuch"
        _, notify, preview, service = makeService(options)
        assert isinstance(notify, NotifyService)
        self.assertEqual(list(notify._servers), [preview, service])
        self.assertNotIn("NOTIFY_SOCKET", os.environ)
        _, *others = map(type, makeService(options))
        self.assertEqual(others, [PreviewService, FastCGIService])

    def test_service(self) -> None:
        """
        The service gets the endpoints, the grace, the thread pool, and a name
        for what it serves.
        """
        service = serviceOf(
            *("-p", "unix:/x", "-p", "unix:/y", "--grace", "3"),
            *("--wsgi", f"{__name__}:application"),
        )
        self.assertEqual(
            [str(endpoint) for endpoint in service._endpoints], ["unix:/x", "unix:/y"]
        )
        self.assertEqual(service._grace, 3.0)
        self.assertIsNotNone(service._pool)
        self.assertEqual(service._what, f"{__name__}:application")
        self.assertEqual(serviceOf("-p", "unix:/x")._what, "a demonstration page")


MODULE = """
    from twisted.web.resource import Resource

    class Root(Resource):
        isLeaf = True
        def render_GET(self, request):
            return b"hello from the current directory"

    def application(environ, startResponse):
        startResponse("200 OK", [("Content-Type", "text/plain")])
        return [b"hello from a thread"]
"""

TWIST = (SCRIPTS / "twist", "--log-format=text", "fastcgi")
TWISTD = (SCRIPTS / "twistd", "-n", "--pidfile=", "fastcgi")


class WorkersTests(TapMixin, SynchronousTestCase):
    """
    C{--workers}.
    """

    def workers(self, *arguments: str) -> WorkersService:
        """
        Make the parent's service.
        """
        service = makeService(parsed("--port", "unix:/x", *arguments))
        (found,) = [each for each in service if isinstance(each, WorkersService)]
        self.assertEqual(len(list(service)), 2)
        return found

    def test_count(self) -> None:
        """
        There are as many as are asked for, or one for each CPU that this process
        may use.
        """
        count = len(os.sched_getaffinity(0))
        for text, expected in (("3", 3), ("1", 1), ("auto", count)):
            supervisor = self.workers("--workers", text)._supervisor
            self.assertEqual(len(supervisor._slots), expected)
        self.patch(os, "cpu_count", lambda: 5)
        self.patch(os, "sched_getaffinity", None)
        del os.sched_getaffinity
        self.assertEqual(parsed("--port", "unix:/x", "--workers=auto")["workers"], 5)

    def test_badCount(self) -> None:
        """
        Anything else is refused.
        """
        for text in ("0", "-1", "x", ""):
            self.assertIn("--workers: ", self.refused("--workers", text))

    def test_command(self) -> None:
        """
        A worker gets the same options but for the ports, the least level of
        C{twist}'s log, or all levels under C{twistd}.
        """
        given = ("--workers=2", "--port=tcp:0", "--resource=no.such", "--grace", "3")
        supervisor = self.workers(*given)._supervisor
        command = " ".join(supervisor._command)
        self.assertTrue(
            command.endswith(
                "--log-level=debug fastcgi --port=fcgi:fd=4 --port=fcgi:fd=5 "
                "--resource=no.such --grace=3"
            ),
            command,
        )
        self.assertEqual((supervisor._grace, supervisor._folder), (3, os.getcwd()))
        options = Options()
        options.parent = {"logLevel": LogLevel.warn}
        options.parseOptions(["--workers=2", "--port=unix:/x"])
        (service,) = [
            each for each in makeService(options) if isinstance(each, WorkersService)
        ]
        self.assertIn("--log-level=warn", service._supervisor._command)

    def test_notLoaded(self) -> None:
        """
        The application is for the workers to load.
        """
        self.assertNotIn("root", parsed("--workers=2", "--port=unix:/x"))

    def test_refused(self) -> None:
        """
        What workers can't do is refused.
        """
        message = self.refused("--workers=2", "--preview", "tcp:8080")
        self.assertIn("--preview: not with --workers", message)
        runner = ServerOptions()
        error = self.assertRaises(
            UsageError,
            runner.parseOptions,
            ["--chroot=/srv", "fastcgi", "-p", "unix:/x", "--workers=2"],
        )
        self.assertIn("--workers: not with --chroot", str(error))

    def test_worker(self) -> None:
        """
        A worker serves within its link, and shares its sockets.
        """
        self.patch(os, "environ", {**os.environ, LINK: "99", WORKER: "2"})
        _, link = makeService(parsed("--port", "unix:/x"))
        assert isinstance(link, WorkerLink)
        (service,) = link
        assert isinstance(service, FastCGIService)
        self.assertTrue(service._shared)
        self.assertEqual(service._factory.figures.worker, 2)
        self.assertNotIn(LINK, os.environ)


class CommandTests(SynchronousTestCase):
    """
    The commands, as processes.
    """

    def setUp(self) -> None:
        """
        Make a directory with a module.
        """
        directory = TemporaryDirectory(prefix="tf")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        (self.directory / "mymod.py").write_text(dedent(MODULE))
        (self.directory / "broken.py").write_text("import nosuchmodule\n")
        self.path = str(self.directory / "s")

    def refused(self, command: Sequence[object], *, code: bool = True) -> list[str]:
        """
        Run a command that must refuse to start, without a traceback.

        @param code: Whether its exit status must tell so.
        @return: The lines of its output.
        """
        reading, writing = os.pipe()
        with open(reading, "rb") as end:
            with open(writing, "wb"):
                done = subprocess.run(
                    list(map(str, command)),
                    cwd=self.directory,
                    env=environment(PYTHONPATH=str(ROOT)),
                    pass_fds=[writing],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=PATIENCE,
                )
            # A daemon may live on for a moment.
            end.read()
        self.assertTrue(done.returncode or not code, done.stdout)
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout.splitlines()

    def serving(self, command: Sequence[object]) -> Any:
        """
        Run a server in the directory.
        """
        return serving(command, cwd=self.directory, PYTHONPATH=str(ROOT))

    def test_twist(self) -> None:
        """
        C{twist} serves a resource from the current directory, and says where
        and how to reach it; its socket is gone after the stop.
        """
        command = (*TWIST, "--port", f"unix:{self.path}", "--resource", "mymod.Root")
        with self.serving(command) as log:
            answer = ask(self.path)
        self.assertIn(b"hello from the current directory", answer)
        self.assertIn(f"in nginx: fastcgi_pass unix:{self.path};", "".join(log))
        self.assertFalse(os.path.exists(self.path))

    def test_wsgi(self) -> None:
        """
        C{twistd} serves a WSGI application; its threads end with it.
        """
        command = (*TWISTD, "-p", f"unix:{self.path}", "--wsgi", "mymod:application")
        with self.serving(command):
            self.assertIn(b"hello from a thread", ask(self.path))

    def test_cannotListen(self) -> None:
        """
        An address that cannot be listened on ends the process with one line
        that names it and the cause.
        """
        (self.directory / "file").touch()
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        port = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        for command, endpoint, cause in [
            (TWIST, port, "Address already in use"),
            (TWISTD, "unix:/nosuch/s", "No such file or directory: /nosuch"),
            (TWIST, "unix:file", "the path exists and is not a socket"),
        ]:
            found = [
                line
                for line in self.refused((*command, "--port", endpoint))
                if "cannot listen" in line
            ]
            self.assertEqual(len(found), 1, found)
            self.assertTrue(
                found[0].endswith(f"cannot listen on {endpoint}: {cause}"), found
            )

    def test_preview(self) -> None:
        """
        With a preview, and with nothing else, an HTTP client gets what the
        application answers.
        """
        port = "tcp:0:interface=127.0.0.1"
        command = (*TWIST, "--preview", port, "--resource", "mymod.Root")
        with self.serving(command) as log:
            url = log[-1].split()[-1]
            body = fetch(url)
        self.assertEqual(body, b"hello from the current directory")
        self.assertIn(f"serving a preview of mymod.Root: {url}\n", "".join(log))
        self.assertNotIn("fastcgi_pass", "".join(log))

    def test_previewRefused(self) -> None:
        """
        A preview that other machines could reach is refused with one line, and
        nothing else has been opened.
        """
        for command in (TWIST, TWISTD):
            port = ("--port", f"unix:{self.path}")
            found = [
                line
                for line in self.refused((*command, "--preview", "tcp:0", *port))
                if "cannot listen" in line
            ]
            self.assertEqual(len(found), 1, found)
            self.assertIn("tcp:0: other machines could reach it", found[0])
            self.assertFalse(os.path.lexists(f"{self.path}.lock"))

    def test_daemon(self) -> None:
        """
        A daemon that cannot listen says so to its terminal and in its log, and
        leaves no pid file.
        """
        command = (SCRIPTS / "twistd", "fastcgi", "--port", "unix:/nosuch/s")
        output = self.refused(command)
        self.assertIn("cannot listen on unix:/nosuch/s", "".join(output))
        log = (self.directory / "twistd.log").read_text()
        self.assertIn("cannot listen on unix:/nosuch/s: No such file", log)
        self.assertNotIn("Traceback", log)
        self.assertFalse((self.directory / "twistd.pid").exists())

    def test_badApplication(self) -> None:
        """
        An application that cannot be imported is named in one line, with the
        file and the line to blame.
        """
        # Older versions of twistd exit with 0 after errors in the options.
        for command, code in [(TWIST, True), (TWISTD, False)]:
            output = self.refused((*command, "--resource", "broken.root"), code=code)
            found = [line for line in output if "nosuchmodule" in line]
            self.assertEqual(len(found), 1, output)
            self.assertIn("--resource: cannot import 'broken': ", found[0])
            self.assertTrue(found[0].endswith("broken.py, line 1)"), found)
            self.assertLess(len(output), 6)

    def test_spawned(self) -> None:
        """
        Started by C{spawn-fcgi} it serves on the socket that it inherits,
        whose mode and path are as they were afterwards.
        """
        spawner = program("spawn-fcgi")
        spawn = (spawner, "-n", "-s", self.path, "-M", "0660", "--")
        with self.serving((*spawn, *TWISTD)) as log:
            self.assertIn(b"twisted_fastcgi works", ask(self.path))
            self.assertModeUntouched()
        self.assertIn(f"fastcgi_pass unix:{self.path};", "".join(log))
        self.assertModeUntouched()

    def assertModeUntouched(self) -> None:
        """
        Check the mode that C{spawn-fcgi} was told to set.
        """
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o660)

    def test_closedOutput(self) -> None:
        """
        With its standard output and error closed, as the specification has
        them, it serves, and no socket of its own gets their numbers.
        """
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen()
        command = (SCRIPTS / "twistd", "-n", "--pidfile=", "-l", "log", "fastcgi")
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *map(str, command)],
            cwd=self.directory,
            env=environment(PYTHONPATH=str(ROOT)),
            stdin=listener,
        )
        try:
            self.assertIn(b"twisted_fastcgi works", ask(self.path))
            null = os.stat(os.devnull)
            for fd in range(3):
                found = os.stat(f"/proc/{process.pid}/fd/{fd}")
                self.assertTrue(os.path.samestat(found, null), fd)
        finally:
            process.terminate()
            process.wait(PATIENCE)
