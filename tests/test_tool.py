# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.tool}: the commands with their options, without a
network.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests import wire
from tests.ends import DONE, Transport
from tests.tables import TableTestCase, table
from tests.test_dissect import CAPTURES
from twisted_fastcgi import tool
from twisted_fastcgi.commandline import commandLine
from twisted_fastcgi.console import Console
from twisted_fastcgi.tool import main, perform

REQUEST = wire.request(wire.variables(b"/1"), keep=False)
PAGE = wire.stream(wire.STDOUT, 1, b"Status: 200 OK\r\n\r\nbody")
END = wire.record(wire.END_REQUEST, 1, bytes(8))


class Broken(BytesIO):
    """
    A pipe that nobody reads, or what else can't be written to.
    """

    def __init__(self, error: BaseException | None = None) -> None:
        """
        @param error: What happens.
        """
        super().__init__()
        self.error = error or BrokenPipeError()

    def write(self, data: object) -> int:
        """
        Fail.
        """
        raise self.error


class ToolTestCase(TableTestCase):
    """
    A console, and what is needed to run a command.
    """

    def setUp(self) -> None:
        """
        Make a console and a reactor.
        """
        self.stdin = BytesIO()
        self.stdout: BytesIO = BytesIO()
        self.stderr = BytesIO()
        self.reactor = MemoryReactorClock()

    def console(self) -> Console:
        """
        Make the console.
        """
        return Console(self.stdin, self.stdout, self.stderr)

    def file(self, data: bytes) -> str:
        """
        Make a file.
        """
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def start(self, *arguments: str) -> Deferred[int]:
        """
        Begin to carry out a command.
        """
        options = commandLine().parse_args(arguments)
        return Deferred.fromCoroutine(perform(self.reactor, options, self.console()))

    def dump(self, *arguments: str) -> int:
        """
        Carry out C{fcgi dump}.
        """
        return main(["dump", *arguments], self.console())

    def connected(self) -> tuple[Any, Transport]:
        """
        Let a client have its connection to a Unix socket.

        @return: The two ends.
        """
        factory = self.reactor.unixClients.pop(0)[1]
        protocol = factory.buildProtocol(UNIXAddress(None))
        transport = Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def said(self) -> list[str]:
        """
        Tell the lines that were written to the standard output.
        """
        return self.stdout.getvalue().decode("utf-8").splitlines()

    def complained(self) -> str:
        """
        Tell what was written to the standard error.
        """
        return self.stderr.getvalue().decode("utf-8")


class DumpTests(ToolTestCase):
    """
    C{fcgi dump}.
    """

    def test_file(self) -> None:
        """
        A capture is listed below its name and a heading.
        """
        name = self.file(REQUEST)
        self.assertEqual(self.dump(name), 0)
        lines = self.said()
        self.assertEqual(lines[0], name)
        self.assertIn("bytes+pad", lines[1])
        self.assertIn("BEGIN_REQUEST", lines[2])
        self.assertEqual(self.complained(), "")

    def test_files(self) -> None:
        """
        So are several, one after another; one that is wrong makes the exit
        status 1.
        """
        names = [
            self.file(REQUEST),
            self.file(b"GET / HTTP/1.1\r\n\r\n"),
            self.file(b""),
        ]
        self.assertEqual(self.dump(*names), 1)
        self.assertEqual([line for line in self.said() if line in names], names)

    @table({"nothing": ((),), "a dash": (("-",),)})
    def test_stdin(self, arguments: tuple[str, ...]) -> None:
        """
        Standard input is read if no file is named.
        """
        self.stdin = BytesIO(PAGE)
        self.assertEqual(self.dump(*arguments), 0)
        self.assertEqual(self.said()[0], "standard input")
        self.assertIn("STDOUT", self.said()[2])

    def test_json(self) -> None:
        """
        With C{--json} there is one object a record, and nothing else.
        """
        name = self.file(REQUEST + b"??")
        self.assertEqual(self.dump("--json", name), 1)
        told = [json.loads(line) for line in self.said()]
        self.assertEqual(len(told), len(wire.records(REQUEST)) + 1)
        self.assertEqual({each["file"] for each in told}, {name})

    def test_full(self) -> None:
        """
        With C{--full} all is shown.
        """
        name = self.file(wire.record(wire.STDOUT, 1, b"line\n" * 40))
        self.dump(name)
        short = len(self.said())
        self.dump("--full", name)
        self.assertEqual(len(self.said()) - short, 3 + 40)

    def test_colours(self) -> None:
        """
        Colours are written if the console knows them.
        """
        console = self.console()
        console.isColoured = True
        main(["dump", self.file(REQUEST)], console)
        self.assertIn(b"\33[1;36mBEGIN_REQUEST", self.stdout.getvalue())

    @table({path.name: (path,) for path in CAPTURES})
    def test_captures(self, path: Path) -> None:
        """
        Captures of real web servers are sound.
        """
        self.assertEqual(self.dump(str(path)), 0)
        self.assertNotIn("WRONG", self.stdout.getvalue().decode("utf-8"))
        self.assertNotIn("note", self.stdout.getvalue().decode("utf-8"))

    @table(
        {
            "missing": ("/nonexistent", "can't read /nonexistent: No such file"),
            "folder": ("/", "can't read /: Is a directory"),
        }
    )
    def test_unreadable(self, name: str, reason: str) -> None:
        """
        A file that can't be read is told of in one line.
        """
        self.assertEqual(self.dump(name), 2)
        self.assertTrue(self.complained().startswith(f"fcgi dump: {reason}"))
        self.assertEqual(self.complained().count("\n"), 1)

    @table(
        {
            "pcap": (b"\xd4\xc3\xb2\xa1\2\0\4\0",),
            "pcap big-endian": (b"\xa1\xb2\xc3\xd4\0\2\0\4",),
            "pcap nanoseconds": (b"\x4d\x3c\xb2\xa1\2\0\4\0",),
            "pcap nanoseconds big-endian": (b"\xa1\xb2\x3c\x4d\0\2\0\4",),
            "pcapng": (b"\n\r\r\n\x1c\0\0\0",),
        }
    )
    def test_pcap(self, data: bytes) -> None:
        """
        Captures of packets are not read, and it is told what to do.
        """
        name = self.file(data)
        self.assertEqual(self.dump(name), 2)
        self.assertIn(f"tcpflow -r {name}", self.complained())

    def test_broken(self) -> None:
        """
        That nobody reads any more is no error.
        """
        self.stdout = Broken()
        self.assertEqual(self.dump(self.file(REQUEST)), 0)
        self.assertEqual(self.complained(), "")

    def test_goesOn(self) -> None:
        """
        What can't be read does not keep the command from reading the rest.
        """
        bad = self.file(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.dump("/none", self.file(REQUEST), "/nil", bad), 2)
        self.assertEqual(
            [line.partition(":")[2] for line in self.complained().splitlines()],
            [
                " can't read /none: No such file or directory",
                " can't read /nil: No such file or directory",
            ],
        )
        shown = self.stdout.getvalue()
        self.assertIn(b"BEGIN_REQUEST", shown)
        self.assertIn(b"WRONG", shown)

    def test_noSpace(self) -> None:
        """
        Output that can't be written is told of in one line.
        """
        self.stdout = Broken(OSError(28, "No space left on device"))
        self.assertEqual(self.dump(self.file(REQUEST)), 2)
        self.assertEqual(
            self.complained(), "fcgi dump: [Errno 28] No space left on device\n"
        )

    def test_interrupted(self) -> None:
        """
        Ctrl-C ends the command without a word.
        """
        self.stdout = Broken(KeyboardInterrupt())
        self.assertEqual(self.dump(self.file(REQUEST)), 130)
        self.assertEqual(self.complained(), "")


class TapTests(ToolTestCase):
    """
    C{fcgi tap}.
    """

    def listening(self, *arguments: str) -> Callable[[], tuple[Any, Transport]]:
        """
        Start it.

        @return: Makes a connection to it.
        """
        self.done = self.start("tap", "--listen", "/tmp/tap.sock", *arguments)
        self.assertNoResult(self.done)
        ((path, factory, *_),) = self.reactor.unixServers
        self.assertEqual(path, "/tmp/tap.sock")

        def connect() -> tuple[Any, Transport]:
            protocol = factory.buildProtocol(UNIXAddress(None))
            transport = Transport()
            protocol.makeConnection(transport)
            return protocol, transport

        return connect

    def test_blackHole(self) -> None:
        """
        Without C{--to} all is shown and answered.
        """
        protocol, transport = self.listening()()
        self.assertEqual(
            self.complained(),
            "listening on /tmp/tap.sock, every request is answered with its "
            "variables; stop with Ctrl-C\n",
        )
        protocol.dataReceived(REQUEST)
        self.assertIn(b"SCRIPT_NAME        /1\n", wire.response(transport.value()).body)
        protocol.connectionLost(DONE)
        shown = [line for line in self.said() if line[12:].strip()[:1].isdigit()]
        self.assertEqual(
            [line.split()[4] for line in shown],
            [
                "BEGIN_REQUEST",
                *("PARAMS", "PARAMS", "STDIN"),
                *("STDOUT", "STDOUT", "END_REQUEST"),
            ],
        )

    def test_lines(self) -> None:
        """
        Each record and event has the number of its connection and the time;
        all fits 100 columns.
        """
        connect = self.listening()
        connect()
        self.reactor.advance(1)
        protocol, _ = connect()
        self.reactor.advance(0.0015)
        protocol.dataReceived(CAPTURES[0].read_bytes())
        lines = self.said()
        self.assertEqual(lines[1], "  1   0.000      -- connection from a Unix socket")
        self.assertEqual(lines[2], "  2   0.000      -- connection from a Unix socket")
        self.assertTrue(lines[3].startswith("  2   0.002       0 > BEGIN_REQUEST  "))
        self.assertTrue(lines[5].startswith(" " * 22 + "HTTP_"))
        for line in lines:
            self.assertLessEqual(len(line), 100, line)

    def test_relay(self) -> None:
        """
        With C{--to} all is passed on.
        """
        connect = self.listening("--to", "/tmp/app.sock")
        self.assertIn("passing on to /tmp/app.sock", self.complained())
        near, _ = connect()
        self.assertEqual(self.reactor.unixClients[0][0], "/tmp/app.sock")
        _, transport = self.connected()
        near.dataReceived(REQUEST)
        self.assertEqual(transport.value(), REQUEST)

    def test_save(self) -> None:
        """
        With C{--save} all is saved.
        """
        folder = Path(self.mktemp())
        protocol, transport = self.listening("--save", str(folder))()
        protocol.dataReceived(REQUEST)
        protocol.connectionLost(DONE)
        self.assertEqual((folder / "0001.request.bin").read_bytes(), REQUEST)
        self.assertEqual((folder / "0001.answer.bin").read_bytes(), transport.value())

    def test_json(self) -> None:
        """
        With C{--json} events and records are objects.
        """
        protocol, _ = self.listening("--json")()
        protocol.dataReceived(wire.getValues(b"X"))
        event, *records = [json.loads(line) for line in self.said()]
        self.assertEqual(
            event,
            {
                "connection": 1,
                "seconds": 0.0,
                "event": "connection from a Unix socket",
            },
        )
        self.assertEqual(
            [each["type"] for each in records], ["GET_VALUES", "GET_VALUES_RESULT"]
        )

    def test_cannotSave(self) -> None:
        """
        If there can't be such a folder, nothing is started.
        """
        name = self.file(b"")
        done = self.start("tap", "--listen", "/tmp/tap.sock", "--save", name)
        self.assertEqual(self.successResultOf(done), 2)
        self.assertEqual(
            self.complained(), f"fcgi tap: can't save in {name}: File exists\n"
        )

    def test_cannotListen(self) -> None:
        """
        If the place is taken, that is told.
        """

        def listenUNIX(*arguments: object, **more: object) -> None:
            raise CannotListenError(None, "/tmp/tap.sock", OSError("taken"))

        self.reactor.listenUNIX = listenUNIX
        done = self.start("tap", "--listen", "/tmp/tap.sock")
        self.assertEqual(self.successResultOf(done), 3)
        self.assertEqual(
            self.complained(),
            "fcgi tap: Couldn't listen on any:/tmp/tap.sock: taken.\n",
        )

    def test_noLock(self) -> None:
        """
        So is a folder in which no lock can be made.
        """

        def listenUNIX(*arguments: object, **more: object) -> None:
            raise PermissionError(13, "Permission denied", "1", None, "/a.lock")

        self.reactor.listenUNIX = listenUNIX
        done = self.start("tap", "--listen", "/a")
        self.assertEqual(self.successResultOf(done), 3)
        self.assertEqual(
            self.complained(), "fcgi tap: can't listen on /a: Permission denied\n"
        )

    def test_broken(self) -> None:
        """
        It ends when nobody reads any more; what passes still goes through.
        """
        connect = self.listening("--to", "/tmp/app.sock")
        self.stdout.write = Broken().write  # type: ignore[method-assign]
        near, _ = connect()
        self.assertEqual(self.successResultOf(self.done), 0)
        _, transport = self.connected()
        near.dataReceived(REQUEST)
        self.assertEqual(transport.value(), REQUEST)

    def test_full(self) -> None:
        """
        It ends when what it shows can't be written; what passes still goes
        through.
        """
        connect = self.listening("--to", "/tmp/app.sock")
        full = Broken(OSError(28, "No space left on device"))
        self.stdout.write = full.write  # type: ignore[method-assign]
        near, _ = connect()
        self.assertEqual(self.successResultOf(self.done), 3)
        self.assertTrue(
            self.complained().endswith("fcgi tap: [Errno 28] No space left on device\n")
        )
        _, transport = self.connected()
        near.dataReceived(REQUEST)
        self.assertEqual(transport.value(), REQUEST)


class GetTests(ToolTestCase):
    """
    C{fcgi get}.
    """

    def asked(self, *arguments: str) -> tuple[dict[bytes, bytes], bytes]:
        """
        Tell what is sent.

        @return: The variables and the body.
        """
        self.done = self.start("get", "/tmp/app.sock", *arguments)
        self.protocol, transport = self.connected()
        found = wire.records(transport.value())
        streams = {
            type_: b"".join(each.content for each in found if each.type == type_)
            for type_ in (wire.PARAMS, wire.STDIN)
        }
        return dict(wire.readPairs(streams[wire.PARAMS])), streams[wire.STDIN]

    def test_default(self) -> None:
        """
        A plain GET is sent, as nginx does.
        """
        variables, body = self.asked()
        self.assertEqual(body, b"")
        expected = {
            b"REQUEST_METHOD": b"GET",
            b"REQUEST_URI": b"/",
            b"SCRIPT_NAME": b"/",
            b"HTTP_HOST": b"localhost",
            b"CONTENT_LENGTH": b"",
        }
        self.assertEqual({name: variables[name] for name in expected}, expected)
        self.assertTrue(variables[b"SERVER_SOFTWARE"].startswith(b"nginx/"))
        self.assertTrue(variables[b"HTTP_USER_AGENT"].startswith(b"fcgi/"))
        self.assertNotIn(b"SCRIPT_FILENAME", variables)

    @table(
        {
            "path": (("/a?b",), {b"REQUEST_URI": b"/a?b", b"QUERY_STRING": b"b"}),
            "no slash": (("a",), {b"REQUEST_URI": b"/a"}),
            "asterisk": (("*", "-X", "OPTIONS"), {b"REQUEST_URI": b"*"}),
            "method": (("-X", "PUT"), {b"REQUEST_METHOD": b"PUT"}),
            "header": (("-H", "X-Y: z "), {b"HTTP_X_Y": b"z"}),
            "host": (("-H", "Host: a:8"), {b"HTTP_HOST": b"a:8"}),
            "agent": (("-H", "user-agent: x"), {b"HTTP_USER_AGENT": b"x"}),
            "params": (
                ("-p", "A=1=2", "-p", "SERVER_NAME=x", "-p", "A=3"),
                {b"A": b"3", b"SERVER_NAME": b"x"},
            ),
            "empty param": (("-p", "A="), {b"A": b""}),
            "script": (
                ("--script-filename", "/x.php"),
                {b"SCRIPT_FILENAME": b"/x.php"},
            ),
            "like": (("--like", "caddy"), {b"REMOTE_IDENT": b""}),
            "bytes": (("-p", "A=\udcff"), {b"A": b"\xff"}),
        }
    )
    def test_options(
        self, arguments: tuple[str, ...], expected: dict[bytes, bytes]
    ) -> None:
        """
        The options say what is sent.
        """
        variables, _ = self.asked(*arguments)
        self.assertEqual({name: variables[name] for name in expected}, expected)

    @table(
        {
            "text": ("a=1", b"a=1", b"application/x-www-form-urlencoded"),
            "input": ("@-", b"input", b"application/x-www-form-urlencoded"),
            "empty": ("", b"", b"application/x-www-form-urlencoded"),
        }
    )
    def test_body(self, option: str, expected: bytes, type_: bytes) -> None:
        """
        With a body it is a POST, as by a form.
        """
        self.stdin = BytesIO(b"input")
        variables, body = self.asked("-d", option)
        self.assertEqual(body, expected)
        self.assertEqual(variables[b"REQUEST_METHOD"], b"POST")
        self.assertEqual(variables[b"CONTENT_TYPE"], type_)
        self.assertEqual(variables[b"CONTENT_LENGTH"], b"%d" % len(expected))

    def test_bodyOfFile(self) -> None:
        """
        The body may be in a file, and have another type and method.
        """
        name = self.file(b"<x/>")
        variables, body = self.asked(
            "-d", f"@{name}", "-X", "PUT", "-H", "Content-Type: text/xml"
        )
        self.assertEqual(body, b"<x/>")
        self.assertEqual(variables[b"REQUEST_METHOD"], b"PUT")
        self.assertEqual(variables[b"CONTENT_TYPE"], b"text/xml")

    def test_answer(self) -> None:
        """
        The body goes to the standard output, errors to the standard error.
        """
        self.asked()
        self.protocol.dataReceived(wire.record(wire.STDERR, 1, b"oops") + PAGE + END)
        self.assertEqual(self.successResultOf(self.done), 0)
        self.assertEqual(self.stdout.getvalue(), b"body")
        self.assertEqual(self.complained(), "oops")

    def test_include(self) -> None:
        """
        With C{-i} the headers are shown, too.
        """
        self.asked("-i")
        self.protocol.dataReceived(PAGE + END)
        self.assertEqual(self.stdout.getvalue(), b"Status: 200 OK\r\n\r\nbody")

    def test_time(self) -> None:
        """
        With C{--time} it is told how long it took.
        """
        self.asked("--time")
        self.reactor.advance(0.0021)
        self.protocol.dataReceived(PAGE)
        self.reactor.advance(0.01)
        self.protocol.dataReceived(END)
        self.assertEqual(
            self.complained(), "connected 0.0 ms, first byte 2.1 ms, total 12.1 ms\n"
        )

    @table({"399": (399, 0), "400": (400, 1), "599": (599, 1)})
    def test_status(self, status: int, code: int) -> None:
        """
        An HTTP status of 400 or more makes the exit status 1.
        """
        self.asked()
        page = wire.stream(wire.STDOUT, 1, b"Status: %d\r\n\r\n" % status)
        self.protocol.dataReceived(page + END)
        self.assertEqual(self.successResultOf(self.done), code)
        self.assertEqual(self.complained(), "")

    def test_refused(self) -> None:
        """
        A request that the application has refused makes it 3; the page is
        shown all the same.
        """
        self.asked()
        end = wire.record(wire.END_REQUEST, 1, b"\0\0\0\0\2\0\0\0")
        self.protocol.dataReceived(PAGE + end)
        self.assertEqual(self.successResultOf(self.done), 3)
        self.assertEqual(self.stdout.getvalue(), b"body")
        self.assertEqual(
            self.complained(),
            "fcgi get: the application refused the request: OVERLOADED\n",
        )

    def test_noAnswer(self) -> None:
        """
        So does an answer that is not whole.
        """
        self.asked()
        self.protocol.dataReceived(PAGE)
        self.protocol.connectionLost(DONE)
        self.assertEqual(self.successResultOf(self.done), 3)
        self.assertEqual(
            self.complained(),
            "fcgi get: the application closed the connection before its answer was "
            "complete\n",
        )

    def test_noConnection(self) -> None:
        """
        So does a connection that can't be made.
        """
        done = self.start("get", "/tmp/app.sock")
        factory = self.reactor.unixClients[0][1]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.assertEqual(self.successResultOf(done), 3)
        self.assertEqual(
            self.complained(),
            "fcgi get: can't connect to /tmp/app.sock: Connection was refused by "
            "other side.\n",
        )

    def test_timeout(self) -> None:
        """
        So does an answer that takes too long.
        """
        self.asked("--timeout", "1.5")
        self.reactor.advance(1.4)
        self.assertNoResult(self.done)
        self.reactor.advance(0.2)
        self.assertEqual(self.successResultOf(self.done), 3)
        self.assertEqual(self.complained(), "fcgi get: no answer within 1.5 seconds\n")

    @table(
        {
            "header": (
                ("-H", "nonsense"),
                "'nonsense' is not of the form 'Name: value'",
            ),
            "nameless": (("-H", ": x"), "': x' is not of the form 'Name: value'"),
            "param": (("-p", "A"), "'A' is not of the form NAME=VALUE"),
            "file": (("-d", "@/none"), "can't read /none: No such file or directory"),
        }
    )
    def test_usage(self, arguments: tuple[str, ...], reason: str) -> None:
        """
        Options that can't be understood make it 2.
        """
        done = self.start("get", "/tmp/app.sock", *arguments)
        self.assertEqual(self.successResultOf(done), 2)
        self.assertEqual(self.complained(), f"fcgi get: {reason}\n")

    def test_address(self) -> None:
        """
        So does what is no address.
        """
        done = self.start("get", "nope:x")
        self.assertEqual(self.successResultOf(done), 2)
        self.assertIn("'nope:x' is no address", self.complained())

    def test_broken(self) -> None:
        """
        That nobody reads any more is no error.
        """
        self.stdout = Broken()
        self.asked()
        self.protocol.dataReceived(PAGE)
        self.assertEqual(self.successResultOf(self.done), 0)
        self.assertEqual(self.complained(), "")


class PingTests(ToolTestCase):
    """
    C{fcgi ping}.
    """

    def test_values(self) -> None:
        """
        The limits and the round trip are shown.
        """
        done = self.start("ping", "/tmp/app.sock")
        protocol, _ = self.connected()
        self.reactor.advance(0.0015)
        values = wire.pairs({b"FCGI_MAX_CONNS": b"8", b"X": b"\33"})
        protocol.dataReceived(wire.record(wire.GET_VALUES_RESULT, 0, values))
        self.assertEqual(self.successResultOf(done), 0)
        self.assertEqual(
            self.said(),
            [
                "FCGI_MAX_CONNS   8      connections at a time",
                "X                \\x1b   ",
                "answered in 1.5 ms, connected in 0.0 ms",
            ],
        )

    def test_noValues(self) -> None:
        """
        An application that tells nothing is there all the same.
        """
        done = self.start("ping", "/tmp/app.sock")
        protocol, _ = self.connected()
        protocol.dataReceived(wire.record(wire.GET_VALUES_RESULT, 0))
        self.assertEqual(self.successResultOf(done), 0)
        self.assertEqual(
            self.said()[0], "the application is there, and tells no limits"
        )

    def test_timeout(self) -> None:
        """
        One that does not answer is not.
        """
        done = self.start("ping", "/tmp/app.sock", "--timeout", "2")
        self.connected()
        self.reactor.advance(2)
        self.assertEqual(self.successResultOf(done), 3)
        self.assertEqual(self.complained(), "fcgi ping: no answer within 2 seconds\n")

    @table({"unix": ("/tmp/app.sock",), "tcp": ("tcp:127.0.0.1:9",)})
    def test_timeoutOfConnection(self, address: str) -> None:
        """
        Nor is one that does not even take the connection.
        """
        done = self.start("ping", address, "--timeout", "2")
        self.reactor.advance(2)
        self.assertEqual(self.successResultOf(done), 3)
        self.assertEqual(self.complained(), "fcgi ping: no answer within 2 seconds\n")


class ReplayTests(ToolTestCase):
    """
    C{fcgi replay}.
    """

    def replay(self, *answers: bytes, recorded: bytes | None = None) -> int:
        """
        Replay a request for each answer.
        """
        capture = self.file(REQUEST * len(answers))
        more = () if recorded is None else ("--answer", self.file(recorded))
        done = self.start("replay", capture, "/tmp/app.sock", *more)
        for answer in answers:
            protocol, transport = self.connected()
            self.assertEqual(transport.value(), REQUEST)
            protocol.dataReceived(answer)
            protocol.connectionLost(DONE)
        return self.successResultOf(done)

    def test_shown(self) -> None:
        """
        What becomes of each request is shown.
        """
        self.assertEqual(self.replay(PAGE + END, PAGE + END), 0)
        line = "  1 GET /1: status 200, 22 bytes, 0.0 ms"
        self.assertEqual(self.said(), [line, line])

    def test_same(self) -> None:
        """
        It is compared with what was answered when it was captured.
        """
        other = PAGE.replace(b"body", b"BODY")
        self.assertEqual(self.replay(PAGE + END, recorded=other + END), 0)
        line = "  1 GET /1: status 200, 22 bytes, 0.0 ms, as recorded"
        self.assertEqual(self.said(), [line])

    def test_different(self) -> None:
        """
        A difference is shown, and makes the exit status 1.
        """
        other = PAGE.replace(b"200 OK", b"404 No")
        recorded = PAGE + END + other + END + END
        self.assertEqual(self.replay(PAGE + END, PAGE + END, recorded=recorded), 1)
        self.assertEqual(
            self.said(),
            [
                "  1 GET /1: status 200, 22 bytes, 0.0 ms, as recorded",
                "  1 GET /1: status 200, 22 bytes, 0.0 ms",
                "    status 200, recorded was 404",
                "1 more answers recorded than requests",
            ],
        )

    def test_fewer(self) -> None:
        """
        So does an answer that was not recorded.
        """
        self.assertEqual(self.replay(PAGE + END, recorded=b""), 1)
        self.assertEqual(self.said()[1], "    no answer was recorded")

    def test_failure(self) -> None:
        """
        No answer makes it 3.
        """
        self.assertEqual(self.replay(PAGE, PAGE + END), 3)
        self.assertEqual(
            self.said()[0],
            "  1 GET /1: the application closed the connection before its answer was "
            "complete",
        )

    def test_incomplete(self) -> None:
        """
        A request that is not whole is not expected to be answered.
        """
        capture = self.file(wire.beginRequest() + wire.params(wire.variables()))
        done = self.start("replay", capture, "/tmp/app.sock")
        protocol, _ = self.connected()
        protocol.connectionLost(DONE)
        self.assertEqual(self.successResultOf(done), 0)
        self.assertEqual(
            self.said(),
            ["  1 GET /: not whole in the capture, so it was not to be answered"],
        )

    def test_timeout(self) -> None:
        """
        Each answer may take the time that is said, all of them more.
        """
        capture = self.file(REQUEST * 2)
        done = self.start("replay", capture, "/tmp/app.sock", "--timeout", "4")
        for _ in range(2):
            protocol, _ = self.connected()
            self.reactor.advance(3)
            protocol.dataReceived(PAGE + END)
        self.assertEqual(self.successResultOf(done), 0)

    @table(
        {
            "no request": (PAGE + END, "holds no request"),
            "packets": (b"\xd4\xc3\xb2\xa1", "holds packets (pcap)"),
        }
    )
    def test_usage(self, data: bytes, reason: str) -> None:
        """
        A file without a request is of no use.
        """
        done = self.start("replay", self.file(data), "/tmp/app.sock")
        self.assertEqual(self.successResultOf(done), 2)
        self.assertIn(reason, self.complained())


class MainTests(ToolTestCase):
    """
    The command as such.
    """

    def test_network(self) -> None:
        """
        A command that needs a network runs in a reactor, and its exit status
        is that of the process.
        """
        codes: list[object] = []

        def react(run: Callable[[Any], Any]) -> None:
            done = Deferred.fromCoroutine(run(self.reactor))
            codes.append(self.failureResultOf(done, SystemExit).value.code)

        main(["get", "nope:x"], self.console(), react)
        self.assertEqual(codes, [2])

    def test_module(self) -> None:
        """
        The module can be run.
        """
        before = sys.argv
        self.addCleanup(setattr, sys, "argv", before)
        sys.argv = ["fcgi", "dump", self.file(b"hello")]
        with self.assertRaises(SystemExit) as caught:
            runpy.run_path(tool.__file__, run_name="__main__")
        self.assertEqual(caught.exception.code, 1)

    def test_process(self) -> None:
        """
        By default it has the streams of the process.
        """
        self.assertEqual(main(["dump", self.file(b"")]), 0)
