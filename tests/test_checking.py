# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.checking}.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

from cryptography.hazmat.primitives import serialization
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.programs import PATIENCE, ROOT, SCRIPTS, environment
from tests.tables import TableTestCase, table
from tests.test_tls import certificate
from twisted_fastcgi import checking
from twisted_fastcgi.checking import portProblems, tcpAddresses
from twisted_fastcgi.interfaces import IAuthorizer
from twisted_fastcgi.options import Options
from twisted_fastcgi.service import DescribedEndpoint, endpointFromString

#: Who has no rights.
NOBODY = 65534


def taken(host: str = "127.0.0.1") -> socket.socket:
    """
    Listen on some port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family)


@implementer(IAuthorizer)
class Authorizer:
    """
    Decides nothing.
    """

    def authorize(self, request: Any) -> Any:
        """
        See L{IAuthorizer.authorize}.
        """


class CheckTestCase(TableTestCase):
    """
    A folder in which nothing may change.
    """

    def setUp(self) -> None:
        """
        Make the folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)

    def checked(self, *options: str) -> tuple[int, list[str], list[str]]:
        """
        Check a command line.

        @return: The exit status, and the lines of standard output and error.
        """
        out, err = self.patched("stdout"), self.patched("stderr")
        before = sorted(self.folder.rglob("*"))
        words = [word.format(folder=self.folder) for word in ("--check", *options)]
        end = self.assertRaises(SystemExit, Options().parseOptions, words)
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        assert isinstance(end.code, int)
        return end.code, out.getvalue().splitlines(), err.getvalue().splitlines()

    def patched(self, name: str) -> Any:
        """
        Catch what is printed.
        """
        caught = StringIO()
        self.patch(sys, name, caught)
        return caught

    def problems(self, *options: str) -> list[str]:
        """
        Check a command line with which something is wrong.

        @return: What, without what is the same in all lines.
        """
        code, out, err = self.checked(*options)
        self.assertEqual((code, out), (1, []))
        for line in err:
            self.assertTrue(line.startswith("fastcgi: --"), line)
        place = str(self.folder)
        return [line.removeprefix("fastcgi: ").replace(place, "F") for line in err]


class SettingTests(CheckTestCase):
    """
    What is printed when nothing is wrong.
    """

    def settings(self, *options: str) -> list[str]:
        """
        @return: The rows of the table, with single spaces.
        """
        code, out, err = self.checked(*options)
        self.assertEqual((code, err), (0, []))
        self.assertEqual(out[-1], "fastcgi: nothing is wrong")
        return [" ".join(line.split()) for line in out[:-1]]

    def test_defaults(self) -> None:
        """
        Every option is there, whether it was said or not.
        """
        rows = self.settings("--port=unix:{folder}/s")
        self.assertEqual(rows[0], "application a demonstration page")
        self.assertEqual(rows[1], f"--port unix:{self.folder}/s")
        self.assertEqual(rows[2], "may connect whoever can reach a port")
        for row in (
            "--display-tracebacks no",
            "--grace 30",
            "--log-format none",
            "--logfile none",
            "--max-connections 1000",
            "--threads 20",
        ):
            self.assertIn(row, rows)
        named = {row.split()[0] for row in rows}
        parameters = {f"--{option[0]}" for option in Options.optParameters}
        self.assertEqual(parameters - named, {"--print-config"})
        flags = {f"--{option[0]}" for option in Options.optFlags}
        self.assertEqual(flags - named, {"--check"})

    def test_said(self) -> None:
        """
        What was said is there as it was understood.
        """
        (self.folder / "access.log").write_text("")
        rows = self.settings(
            *("--path={folder}", "--port=unix:{folder}/s:mode=660", "--port=tcp:0"),
            *("--allow=10.0.0.0/8,::1", "--add-header=X-Own: yes", "--grace=2.5"),
            *("--logfile={folder}/access.log", "--display-tracebacks"),
            "--preview=tcp:0:interface=127.0.0.1",
        )
        for row in (
            f"--path {self.folder}",
            f"--port unix:{self.folder}/s:mode=660",
            "--port tcp:0",
            "may connect 10.0.0.0/8, ::1/128 (--allow)",
            "--add-header X-Own: yes",
            "--grace 2.5",
            "--display-tracebacks yes",
            "--log-format combined",
            f"--logfile {self.folder}/access.log",
            "--preview tcp:0:interface=127.0.0.1",
        ):
            self.assertIn(row, rows)

    @table(
        {
            "a stale socket": ("unix:{folder}/stale",),
            "any port": ("tcp:0",),
            "of the loopback interface": ("tcp:0:interface=127.1.2.3",),
            "IPv6": ("tcp6:0:interface=\\:\\:1",),
            "another address of this machine": ("tcp:0:interface=localhost",),
        }
    )
    def test_fine(self, port: str) -> None:
        """
        These can be listened on.
        """
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(f"{self.folder}/stale")
        self.settings(f"--port={port}")

    def test_status(self) -> None:
        """
        Who may see the status is there if anybody may, also if nobody said so.
        """
        self.assertIn("--status-allow none", self.settings("--port=tcp:0"))
        rows = self.settings("--port=tcp:0", "--status-path=/status")
        self.assertIn("--status-allow 127.0.0.1/32,::1/128", rows)

    def test_application(self) -> None:
        """
        The application and the authorizer are there with the options they are of.
        """
        rows = self.settings(
            *("--port=tcp:0", "--class=twisted.web.resource.Resource"),
            "--authorizer=tests.test_checking.Authorizer",
        )
        self.assertIn("--class twisted.web.resource.Resource", rows)
        self.assertIn("--authorizer tests.test_checking.Authorizer", rows)

    def test_newLog(self) -> None:
        """
        An access log that is not there is not made, neither at the end of a
        link.
        """
        (self.folder / "link").symlink_to(self.folder / "new")
        for name in ("access.log", "link"):
            self.settings("--port=tcp:0", f"--logfile={{folder}}/{name}")

    def test_apart(self) -> None:
        """
        These can be listened on at the same time.
        """
        with taken() as one, taken() as other:
            ports = [skt.getsockname()[1] for skt in (one, other)]
        self.settings(
            *("--port=tcp:0", "--port=tcp:0", f"--port=tcp:{ports[0]}"),
            *(f"--port=tcp6:{ports[1]}", f"--port=tcp:{ports[1]}"),
            *("--port=unix:{folder}/a", "--port=unix:{folder}/b"),
        )

    def test_anywhere(self) -> None:
        """
        A preview that others can reach is fine if it is meant.
        """
        self.settings("--preview=tcp:0", "--preview-anywhere")


class ProblemTests(CheckTestCase):
    """
    What is said when something is wrong.
    """

    @table(
        {
            "no folder": ("unix:{folder}/no/s", "there is no folder F/no"),
            "no socket": (
                "unix:{folder}/file",
                "the path exists and is not a socket: F/file",
            ),
            "a server": (
                "unix:{folder}/alive",
                "another process listens there: F/alive",
            ),
            "no path": ("unix:", "there is no path"),
            "too long": ("unix:" + "x" * 108, "the path has more than 107 bytes"),
            "no port": ("tcp:65536", "there is no port 65536"),
            "another machine": (
                "tcp:0:interface=192.0.2.1",
                "this machine has no address 192.0.2.1",
            ),
            "another machine, IPv6": (
                "tcp6:0:interface=2001\\:db8\\:\\:1",
                "this machine has no address 2001:db8::1",
            ),
        }
    )
    def test_ports(self, port: str, problem: str) -> None:
        """
        A port that could not be opened is told, with the reason.
        """
        (self.folder / "file").write_text("")
        with socket.socket(socket.AF_UNIX) as alive:
            alive.bind(f"{self.folder}/alive")
            alive.listen()
            [line] = self.problems(f"--port={port}")
        shown = port.replace("{folder}", "F")
        self.assertEqual(line, f"--port: cannot listen on {shown}: {problem}")

    def test_unknownName(self) -> None:
        """
        A name that is none is told.
        """
        [line] = self.problems("--port=tcp:0:interface=no such name")
        self.assertIn("no such name is no address: ", line)

    def test_taken(self) -> None:
        """
        A port on which somebody listens is told, whatever the address.
        """
        with taken() as skt:
            number = skt.getsockname()[1]
            for interface in ("", ":interface=127.0.0.1"):
                [line] = self.problems(f"--port=tcp:{number}{interface}")
                self.assertTrue(line.endswith(": another process listens there"), line)

    def test_rights(self) -> None:
        """
        Who is not root can make a socket where that is allowed, and keeps it.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        os.seteuid(NOBODY)
        self.addCleanup(os.seteuid, 0)
        own = f"unix:/tmp/tf-no:user={NOBODY}:group={os.getegid()}"
        self.assertEqual(self.checked(f"--port={own}")[0], 0)
        lines = self.problems(
            *("--port=unix:{folder}/s", "--logfile={folder}/log"),
            "--port=unix:/tmp/tf-no:user=0:group=12345",
        )
        given = "--port: cannot listen on unix:/tmp/tf-no:user=0:group=12345: only root"
        self.assertEqual(
            lines,
            [
                "--logfile: cannot write to 'F/log': the folder F is not writable",
                "--port: cannot listen on unix:F/s: the folder F is not writable",
                f"{given} can give it to the user 0",
                f"{given}, or a member, can give it to the group 12345",
            ],
        )
        os.seteuid(0)
        (self.folder / "log").touch(0o600)
        os.seteuid(NOBODY)
        [line] = self.problems("--port=tcp:0", "--logfile={folder}/log")
        self.assertEqual(line, "--logfile: cannot write to 'F/log': Permission denied")

    @table(
        {
            "no name": ("", "No such file or directory"),
            "a folder to be": ("{folder}/new/", "Is a directory"),
            "a link to nowhere": ("{folder}/link", "there is no folder F/no"),
        }
    )
    def test_logs(self, path: str, problem: str) -> None:
        """
        An access log that could not be opened is told.
        """
        (self.folder / "link").symlink_to(self.folder / "no" / "log")
        [line] = self.problems("--port=tcp:0", f"--logfile={path}")
        shown = path.replace("{folder}", "F")
        expected = f"--logfile: cannot write to {shown!r}: {problem}"
        self.assertEqual(line, expected)

    @table(
        {
            "all addresses, and one": ("tcp:{port}", "tcp:{port}:interface=127.0.0.1"),
            "one, and all": ("tcp:{port}:interface=127.0.0.1", "tcp:{port}"),
            "the same": ("tcp:{port}", "tcp:{port}:backlog=9"),
            "IPv6": ("tcp6:{port}", "tcp6:{port}:interface=\\:\\:1"),
            "Unix": ("unix:{{folder}}/s", "unix:{{folder}}/../{name}/s"),
        }
    )
    def test_twice(self, first: str, second: str) -> None:
        """
        Two options that have the same address are told, however it is written;
        so are a port and the preview.
        """
        with taken() as skt:
            number = skt.getsockname()[1]
        one, other = (
            port.format(port=number, name=self.folder.name) for port in (first, second)
        )
        for option in ("port", "preview"):
            anywhere = ("--preview-anywhere",) * (option == "preview")
            [line] = self.problems(f"--port={one}", f"--{option}={other}", *anywhere)
            self.assertTrue(line.startswith(f"--{option}: cannot listen on "), line)
            self.assertIn(": another one of these options has it, too", line)

    def test_privileged(self) -> None:
        """
        A port that is root's is told to others, where the system has such ports.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        first = self.folder / "first"
        first.write_text("1024\n")
        self.patch(checking, "_UNPRIVILEGED", first)
        self.assertEqual(self.checked("--port=tcp:1022")[0], 0)
        os.seteuid(NOBODY)
        self.addCleanup(os.seteuid, 0)
        [line] = self.problems("--port=tcp:1022", "--port=tcp:0")
        self.assertTrue(line.endswith(": only root may listen on port 1022"), line)
        self.patch(checking, "_UNPRIVILEGED", self.folder / "nosuch")
        self.assertEqual(self.checked("--port=tcp:1022")[0], 0)

    @table(
        {
            "a number": ("--grace=x", "--grace: 'x' is no number of seconds from 0 up"),
            "threads": ("--threads=0", "--threads: '0' is no number of threads from 1"),
            "workers": ("--workers=-1", "--workers: '-1' is no number of workers from"),
            "a limit": ("--max-params=0", "--max-params: '0' is no whole number of"),
            "a header": ("--add-header=x", "--add-header: 'x' is not written as "),
            "print-config": (
                "--print-config=nginx",
                "--print-config: not with --check",
            ),
        }
    )
    def test_early(self, option: str, problem: str) -> None:
        """
        What can't be read is told in one line, too, with the name of the option.
        """
        [line] = self.problems("--port=tcp:0", option)
        self.assertTrue(line.startswith(problem), line)

    def test_all(self) -> None:
        """
        All that is wrong is told, one line each.
        """
        lines = self.problems(
            *("--resource=nosuch.x", "--port=tcp:x", "--port=tcp:65536"),
            *("--port=unix:{folder}/s", "--port=unix:{folder}/./s:mode=660"),
            *("--allow=x", "--logfile={folder}"),
            "--preview=x",
        )
        expected = [
            "--resource: 'nosuch.x': ",
            "--allow is 'x'",
            "--port: bad endpoint 'tcp:x': ",
            "--preview: bad endpoint 'x': ",
            "--logfile: cannot write to 'F': Is a directory",
            "--port: cannot listen on tcp:65536: ",
            "--port: cannot listen on unix:F/./s:mode=660: another one of these",
        ]
        self.assertEqual(len(lines), len(expected), lines)
        for line, beginning in zip(lines, expected, strict=True):
            self.assertTrue(line.startswith(beginning), line)

    def test_workers(self) -> None:
        """
        The application of workers is loaded here for once, and what they can't
        have is told beside what is wrong with that.
        """
        self.assertEqual(self.checked("--port=tcp:0", "--workers=2")[0], 0)
        one, other = self.problems(
            *("--port=tcp:0", "--workers=2", "--resource=nosuch.x"),
            "--preview=tcp:0:interface=127.0.0.1",
        )
        self.assertTrue(one.startswith("--preview: not with --workers"), one)
        self.assertTrue(other.startswith("--resource: 'nosuch.x': "), other)

    def test_preview(self) -> None:
        """
        A preview that others could reach is told.
        """
        [line] = self.problems("--preview=tcp:0")
        self.assertIn("--preview: cannot listen on tcp:0: other machines could", line)
        with taken("::1") as skt:
            port = f"tcp6:{skt.getsockname()[1]}:interface=\\:\\:1"
            [line] = self.problems(f"--preview={port}")
        self.assertIn("another process listens there", line)


class TLSTests(CheckTestCase):
    """
    A port for TLS.
    """

    def setUp(self) -> None:
        """
        Make its certificate.
        """
        super().setUp()
        key, made = certificate()
        pem = serialization.Encoding.PEM
        form = serialization.PrivateFormat.PKCS8
        plain = serialization.NoEncryption()
        text = key.private_bytes(pem, form, plain) + made.public_bytes(pem)
        (self.folder / "pem").write_bytes(text)

    def test_port(self) -> None:
        """
        It is looked at as any other one is, and so is its certificate.
        """

        def port(number: int, name: str = "pem") -> str:
            path = f"{{folder}}/{name}"
            return f"--port=ssl:{number}:privateKey={path}:interface=127.0.0.1"

        self.assertEqual(self.checked(port(0))[0], 0)
        with taken() as skt:
            number = skt.getsockname()[1]
            [line] = self.problems(port(number))
        self.assertTrue(line.endswith(": another process listens there"), line)
        [line] = self.problems(port(number), f"--port=tcp:{number}")
        self.assertIn(f"on tcp:{number}: another one of these options has it", line)
        [line] = self.problems(port(0, "nosuch"))
        self.assertIn("No such file or directory: 'F/nosuch'", line)


class EndpointTests(SynchronousTestCase):
    """
    Where endpoints are going to listen.
    """

    def test_addresses(self) -> None:
        """
        It is asked for, and nothing is opened.
        """
        for description, expected in (
            ("tcp:80", [(80, "")]),
            ("tcp:80:interface=10.0.0.1", [(80, "10.0.0.1")]),
            ("tcp6:81", [(81, "::")]),
            ("unix:/x", []),
        ):
            endpoint = endpointFromString(MemoryReactorClock(), description)
            self.assertEqual(tcpAddresses(endpoint), expected)

    def test_others(self) -> None:
        """
        Of an endpoint of another kind nothing is said.
        """
        endpoint: Any = object()
        described = DescribedEndpoint("onion:80", endpoint)
        self.assertEqual(list(portProblems([("port", described)], "")), [])

    def test_folder(self) -> None:
        """
        A relative path begins where the process is going to be.
        """
        endpoint = endpointFromString(MemoryReactorClock(), "unix:s")
        self.assertEqual(list(portProblems([("port", endpoint)], "/tmp")), [])
        [problem] = portProblems([("port", endpoint)], "/nosuch")
        self.assertIn("there is no folder /nosuch", problem)


class ProcessTests(CheckTestCase):
    """
    The commands.
    """

    @table(
        {
            "twist": ("twist",),
            "twistd": ("twistd",),
            "twistd with files": ("twistd --pidfile=pid --logfile=log",),
        }
    )
    def test_command(self, command: str) -> None:
        """
        They end at once, with 0 or 1, and leave nothing behind: no daemon, no
        pid file, no log, no socket.
        """
        (self.folder / "hello.py").write_text(
            "from twisted.web.resource import Resource\nclass Hello(Resource): pass\n"
        )
        for resource, status in (("hello.Hello", 0), ("hello.Bye", 1)):
            done = subprocess.run(
                [
                    *f"{SCRIPTS}/{command} fastcgi --check --port=unix:s".split(),
                    *("--logfile=access.log", f"--resource={resource}"),
                ],
                cwd=self.folder,
                env=environment(PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            self.assertEqual(done.returncode, status, done.stderr)
            files = [path.name for path in self.folder.iterdir()]
            self.assertEqual(files, ["hello.py"])
            if status == 0:
                self.assertIn("hello.Hello\n", done.stdout)
                self.assertEqual(done.stderr, "")
            else:
                self.assertEqual(done.stdout, "")
                self.assertRegex(done.stderr, "^fastcgi: --resource: .*Bye.*\n$")

    def test_inherited(self) -> None:
        """
        A socket that the process was started with is looked for, too.
        """
        command = f"{SCRIPTS}/twist fastcgi --check --port=fcgi:".split()
        with taken() as skt:
            for stdin, status in ((skt.fileno(), 0), (subprocess.DEVNULL, 1)):
                done = subprocess.run(
                    command,
                    env=environment(),
                    stdin=stdin,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                )
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual("is no socket" in done.stderr, bool(status))
