# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for C{--print-config}: the recipes that people copy are what it prints.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from configparser import RawConfigParser
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import Any

from twisted.application.twist._options import TwistOptions
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.servers import RECIPES
from tests.programs import PATIENCE, SCRIPTS, environment
from tests.tables import TableTestCase, table
from twisted_fastcgi import sites, units
from twisted_fastcgi.options import Options
from twisted_fastcgi.places import Plan, placeOf
from twisted_fastcgi.snippets import SNIPPETS

SOCKET = "--port unix:/run/app.sock"
TCP = "--port tcp:9000:interface=127.0.0.1"
PREFIX = "--mount /app"
SCRIPT = "--mount script-name"

#: What is copied for whatever starts an application has these names in it.
NAMES = {"nobody": "app", "nogroup": "www-data"}

#: The options that each recipe belongs to.
PRINTED: dict[str, str] = {
    "nginx/app.conf": SOCKET,
    "nginx/tcp.conf": TCP,
    "nginx/prefix.conf": f"{SOCKET} {PREFIX}",
    "nginx/script.conf": f"{SOCKET} {SCRIPT}",
    "lighttpd/app.conf": SOCKET,
    "lighttpd/mounted.conf": f"{SOCKET} {PREFIX}",
    "apache/app.conf": SOCKET,
    "apache/tcp.conf": TCP,
    "apache/prefix.conf": f"{SOCKET} {PREFIX}",
    "apache/script.conf": f"{SOCKET} {SCRIPT}",
    "haproxy/app.cfg": TCP,
    "haproxy/prefix.cfg": f"{TCP} {PREFIX}",
    "haproxy/script.cfg": f"{TCP} {SCRIPT}",
    "caddy/app.caddyfile": SOCKET,
    "caddy/tcp.caddyfile": TCP,
    "caddy/prefix.caddyfile": f"{SOCKET} {PREFIX}",
    "caddy/script.caddyfile": f"{SOCKET} {SCRIPT}",
    "h2o/app.conf": SOCKET,
    "h2o/tcp.conf": TCP,
    "h2o/prefix.conf": f"{SOCKET} {PREFIX}",
    "supervisor/app.conf": "--port fcgi:",
    "systemd/app.socket": "--port systemd:domain=UNIX:index=0",
    "systemd/app.service": "--port systemd:domain=UNIX:index=0",
    "systemd/alone.service": "--port unix:/run/app/app.sock:mode=660",
    "systemd/workers.service": (
        "--workers auto --port unix:/run/app/app.sock:mode=660"
    ),
}

#: What is said to C{twistd} for some of them.
RUNNER = {
    "systemd/app.socket": "--uid nobody",
    "systemd/app.service": "--uid nobody",
    "systemd/alone.service": "--uid nobody --gid nogroup",
    "systemd/workers.service": "--uid nobody --gid nogroup",
}

HELLO = """
    from twisted.web.resource import Resource

    class Hello(Resource):
        isLeaf = True
"""


def printed(
    test: SynchronousTestCase,
    words: Sequence[str],
    runner: Sequence[str] = (),
    program: str = "/usr/bin/twistd",
) -> str:
    """
    Run C{twistd fastcgi} or C{twist fastcgi} as far as it goes.

    @return: What it prints.
    """
    options: Any = TwistOptions() if program.endswith("twist") else ServerOptions()
    line = [*runner, "fastcgi", *words]
    test.patch(sys, "argv", [program, *line])
    output = io.StringIO()
    with redirect_stdout(output):
        error = test.assertRaises(SystemExit, options.parseOptions, line)
    test.assertEqual(error.code, 0)
    return output.getvalue()


class Folder:
    """
    Has a test run in a folder with an application.
    """

    def setUp(self: Any) -> None:
        """
        Make the folder.
        """
        folder = TemporaryDirectory(prefix="tf")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        (self.folder / "hello.py").write_text(dedent(HELLO))
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(sys.modules.pop, "hello", None)
        self.patch(sys, "path", [str(self.folder), *sys.path])
        os.chdir(self.folder)

    def recipe(self: Any, name: str) -> str:
        """
        Print what a recipe should be.
        """
        server = name.partition("/")[0]
        words = f"{PRINTED[name]} --resource hello.Hello --print-config {server}"
        text = printed(self, words.split(), RUNNER.get(name, "").split())
        text = text.replace(str(self.folder), "/srv/app")
        for plain, shown in NAMES.items():
            text = text.replace(f"={plain}\n", f"={shown}\n")
        return part(text, name)


def part(text: str, name: str) -> str:
    """
    Take one file of what is printed, without the comment that says where it goes.
    """
    if not name.startswith("systemd/"):
        where, _, rest = text.partition("\n")
        assert re.match("[#;] .*/etc/", where), where
        return rest
    files = text.split("# /etc/systemd/system/app.")
    kind = name.rpartition(".")[2]
    (found,) = (each for each in files if each.startswith(f"{kind}\n"))
    return found.partition("\n")[2].rstrip("\n") + "\n"


class RecipeTests(Folder, TableTestCase):
    """
    What people copy.
    """

    @table({name: (name,) for name in PRINTED})
    def test_same(self, name: str) -> None:
        """
        A recipe is what is printed, so that the two can't drift apart.
        """
        text = self.recipe(name)
        if name == "supervisor/app.conf":
            # The page is about several.
            self.assertIn("\nnumprocs=1\n", text)
            text = text.replace("\nnumprocs=1\n", "\nnumprocs=2\n")
        self.assertEqual((RECIPES / name).read_text(), text)


class Printing(Folder):
    """
    Asks for configurations.
    """

    def shown(self: Any, words: str, *more: str, **options: Any) -> str:
        """
        Print something with some options.
        """
        line = [*words.split(), *more, "--resource", "hello.Hello"]
        return printed(self, line, **options)

    def refused(self: Any, words: str, *more: str, runner: Sequence[str] = ()) -> str:
        """
        Let options be refused.

        @return: The message, which is one line.
        """
        line = [*runner, "fastcgi", *words.split(), *more]
        self.patch(sys, "argv", ["/usr/bin/twistd", *line])
        output = io.StringIO()
        with redirect_stdout(output):
            error = self.assertRaises(UsageError, ServerOptions().parseOptions, line)
        self.assertEqual(output.getvalue(), "")
        message = str(error)
        self.assertNotIn("\n", message)
        return message


class PrintTests(Printing, TableTestCase):
    """
    What is printed for which options.
    """

    def test_unknown(self) -> None:
        """
        Of what there is nothing for, the message lists what there is, before the
        application is looked for.
        """
        message = self.refused("--print-config iis --resource none.at_all")
        self.assertTrue(message.startswith("--print-config: "), message)
        for name in SNIPPETS:
            self.assertIn(name, message)

    @table({name: (name,) for name in SNIPPETS})
    def test_typo(self, name: str) -> None:
        """
        Nothing is printed for what could not be served.
        """
        for words in (
            "--resource hello.Helo",
            "--resource hello.Hello --port tcp:x",
            "--resource hello.Hello --port unix:/a:mode=9",
            "--resource hello.Hello --preview tcp:x",
            "--resource hello.Hello --mount app",
            "--resource hello.Hello --preview-anywhere",
            "--resource hello.Hello --log-format xml",
            "--resource hello.Hello --log-format json",
            "--resource hello.Hello --port unix: --port tcp:9000",
            "--resource hello.Hello --port tcp:0",
            "--resource hello.Hello --port tcp:65536",
            "--resource hello.Hello --port fcgi:fd=3",
            "--resource hello.Hello --port fcgi:x",
            "--resource hello.Hello --port systemd:domain=INET:index=0",
            "--resource hello.Hello --port systemd:domain=UNIX:index=1",
            # Workers load it, but only when they serve.
            "--resource hello.Helo --workers 2",
        ):
            self.refused(f"{words} --print-config {name}")

    def test_check(self) -> None:
        """
        To check is another thing: what is wrong is told, and nothing is printed.
        """
        words = f"{SOCKET} --resource hello.Hello --check --print-config nginx"
        self.patch(sys, "argv", ["/usr/bin/twistd", "fastcgi", *words.split()])
        said, output = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", said)
        with redirect_stdout(output):
            error = self.assertRaises(
                SystemExit, ServerOptions().parseOptions, sys.argv[1:]
            )
        self.assertEqual((error.code, output.getvalue()), (1, ""))
        self.assertIn("--print-config: not with --check", said.getvalue())

    @table({name: (name,) for name in SNIPPETS})
    def test_large(self, name: str) -> None:
        """
        No number is larger than what programs can read.
        """
        words = f"{TCP} --grace 1e300 --idle-timeout 1e300 --max-body-bytes {10**40}"
        text = self.shown(f"{words} --status-path /s --print-config {name}")
        # The command line itself is as it was given.
        text = re.sub("(?m)^(command|ExecStart)=.*", "", text)
        self.assertNotRegex(text, r"\d{14}")

    def test_nothingElse(self) -> None:
        """
        No file is made.
        """
        self.shown(f"{SOCKET} --logfile access.log --print-config nginx")
        made = {path.name for path in self.folder.iterdir()} - {"__pycache__"}
        self.assertEqual(made, {"hello.py"})

    @table(
        {
            "relative": ("--port unix:run/app.sock", "unix:@/run/app.sock;"),
            "with dots": ("--port unix:/run/x/../app.sock", "unix:/run/app.sock;"),
            "named": ("--port unix:address=/run/a.sock:mode=660", "unix:/run/a.sock;"),
            "escaped": (r"--port unix:/run/a\=b.sock", "unix:/run/a=b.sock;"),
            "default": ("", "server 127.0.0.1:9000;"),
            "everywhere": ("--port tcp:80", "server 127.0.0.1:80;"),
            "IPv4 everywhere": ("--port tcp:8:interface=0.0.0.0", "127.0.0.1:8;"),
            "IPv6 everywhere": (r"--port tcp:8:interface=\:\:", "server [::1]:8;"),
            "IPv6": (r"--port tcp:8:interface=fe80\:\:1", "server [fe80::1]:8;"),
            "tcp6": ("--port tcp6:8", "server [::1]:8;"),
            "address": ("--port tcp:8:10.1.2.3", "server 10.1.2.3:8;"),
            "all named": ("--port tcp:port=8:interface=10.1.2.3", "10.1.2.3:8;"),
            "first of several": (f"{SOCKET} {TCP}", "unix:/run/app.sock;"),
            "inherited": ("--port fcgi:", "unix:/run/app.sock;"),
            "short": ("-p unix:/run/b.sock", "unix:/run/b.sock;"),
            "same": ("--listen unix:/run/b.sock", "unix:/run/b.sock;"),
        }
    )
    def test_place(self, options: str, expected: str) -> None:
        """
        The web server is told where the application listens.
        """
        text = self.shown(f"{options} --print-config nginx")
        self.assertIn(expected.replace("@", str(self.folder)), text)

    def test_rundir(self) -> None:
        """
        A relative socket is in the folder that C{twistd} goes to.
        """
        os.mkdir("there")
        words = "--port unix:app.sock --print-config"
        text = self.shown(f"{words} nginx", runner=["--rundir", "there"])
        self.assertIn(f"unix:{self.folder}/there/app.sock;", text)
        # It goes there when it is started so, too.
        text = self.shown(f"{words} systemd", runner=["--rundir", "there"])
        self.assertIn("--rundir there fastcgi", text)
        self.assertIn(f"\nWorkingDirectory={self.folder}\n", text)

    @table(
        {
            "several": (f"{SOCKET} {TCP}", "It has other ports, too"),
            "inherited": ("--port fcgi:", "whoever starts it makes"),
            "everywhere": ("--port tcp:80", "instead of 127.0.0.1"),
            "not allowed": (f"{TCP} --allow 10.0.0.0/8", "see --allow"),
            "authorizer": (f"{TCP} --authorizer auth.it", "asks the authorizer"),
        }
    )
    def test_remark(self, options: str, expected: str) -> None:
        """
        What the configuration can't do is said in a comment.
        """
        (self.folder / "auth.py").write_text(dedent(AUTH))
        self.addCleanup(sys.modules.pop, "auth", None)
        for name in ("nginx", "lighttpd", "apache", "haproxy", "caddy", "h2o"):
            lines = self.shown(f"{options} --print-config {name}").splitlines()
            (remark,) = (line for line in lines if expected in line)
            self.assertTrue(remark.startswith("# "), remark)

    def test_authorizer(self) -> None:
        """
        An authorizer alone has no pages to pass requests on to; it can be started
        by others.
        """
        (self.folder / "auth.py").write_text(dedent(AUTH))
        self.addCleanup(sys.modules.pop, "auth", None)
        words = f"{TCP} --authorizer auth.it --print-config"
        for name in ("nginx", "lighttpd", "apache", "haproxy", "caddy", "h2o"):
            self.assertIn("has no pages", self.refused(f"{words} {name}"))
        for name in ("supervisor", "systemd"):
            self.assertIn("--authorizer auth.it", printed(self, [*words.split(), name]))

    def test_status(self) -> None:
        """
        The place of the figures is that of the option, and no other.
        """
        words = f"{SOCKET} --status-path /a --print-config nginx"
        self.assertIn("location = /a {", self.shown(words))
        for path in ("/a;b", "/a(b", "/a$b"):
            words = f"{SOCKET} --resource hello.Hello --print-config nginx"
            self.refused(words, "--status-path", path)

    def test_noRemark(self) -> None:
        """
        There is nothing to say of a port that lets its web server connect.
        """
        text = self.shown(f"{TCP} --allow 127.0.0.1 --print-config nginx")
        self.assertNotIn("--allow", text)
        # Nobody looks up what a name stands for.
        named = "--port tcp:8:interface=localhost"
        text = self.shown(f"{named} --allow 127.0.0.1 --print-config nginx")
        self.assertIn("server localhost:8;", text)
        self.assertNotIn("--allow", text)

    @table(
        {
            "nginx": ("nginx", "allow ::2; allow 10.0.0.0/8; deny all;"),
            "lighttpd": (
                "lighttpd",
                '!= "::2" { $HTTP["remoteip"] != "10.0.0.0/8" { url.access-deny',
            ),
            "apache": ("apache", "Require ip ::2 10.0.0.0/8 <"),
            "haproxy": ("haproxy", "!{ src ::2 10.0.0.0/8 }"),
            "caddy": ("caddy", "not remote_ip ::2 10.0.0.0/8 }"),
            "h2o": ("h2o", "# h2o knows no networks: the application looks at"),
        }
    )
    def test_watchers(self, name: str, expected: str) -> None:
        """
        The web server lets those get the figures whom the application lets.
        """
        words = f"{SOCKET} --status-path /s --status-allow 0::2,10.0.0.0/8"
        text = self.shown(f"{words} --print-config {name}")
        self.assertIn(expected, " ".join(text.split()))

    def test_access(self) -> None:
        """
        lighttpd has the module that refuses: without it the rule would be ignored.
        """
        words = f"{SOCKET} --print-config lighttpd"
        self.assertNotIn("mod_access", self.shown(words))
        self.assertIn('( "mod_access", ', self.shown(f"{words} --status-path /s"))

    def test_mount(self) -> None:
        """
        Slashes at the end and twice mean nothing; h2o can't set SCRIPT_NAME.
        """
        text = self.shown(f"{SOCKET} --mount //a//b/ --print-config nginx")
        self.assertIn("location /a/b {", text)
        text = self.shown(f"{SOCKET} {SCRIPT} --print-config h2o")
        self.assertIn("# An application at /: h2o can't say", text)
        self.assertIn('\n      "/":\n', text)

    @table(
        {
            "nginx": ("nginx", "client_max_body_size 2m;", "client_max_body_size 5;"),
            "lighttpd": ("lighttpd", "max-request-size = 2048", "request-size = 1\n"),
            "apache": ("apache", "-gt 2097152", "-gt 5"),
            "haproxy": ("haproxy", "req.body_size gt 2097152", "req.body_size gt 5"),
            "caddy": ("caddy", "max_size 2097152", "max_size 5\n"),
            "h2o": ("h2o", "body: 2097152", "body: 5\n"),
        }
    )
    def test_limit(self, name: str, large: str, small: str) -> None:
        """
        The limit of the application is that of the web server.
        """
        words = f"{SOCKET} --print-config {name} --max-body-bytes"
        self.assertIn(large, self.shown(f"{words} 2097152"))
        self.assertIn(small, self.shown(f"{words} 5"))
        unsaid = self.shown(f"{SOCKET} --print-config {name}")
        self.assertEqual(self.shown(f"{words} none"), unsaid)

    def test_noBodies(self) -> None:
        """
        nginx would take 0 for no limit.
        """
        text = self.shown(f"{SOCKET} --max-body-bytes 0 --print-config nginx")
        self.assertIn("client_max_body_size 1;", text)

    def test_idle(self) -> None:
        """
        The web server closes idle connections before the application does.
        """
        words = f"{TCP} --idle-timeout 10 --print-config"
        self.assertIn("keepalive_timeout 5000ms;", self.shown(f"{words} nginx"))
        self.assertIn(" ttl=5\n", self.shown(f"{words} apache"))

    def test_bracketed(self) -> None:
        """
        An IPv6 address is written as each web server wants it.
        """
        words = r"--port tcp:8:interface=fe80\:\:1 --print-config"
        self.assertIn('host: "fe80::1"', self.shown(f"{words} h2o"))
        self.assertIn('"host" => "fe80::1"', self.shown(f"{words} lighttpd"))
        self.assertIn('"fcgi://[fe80::1]:8/"', self.shown(f"{words} apache"))

    @table(
        {
            "end of a line": ("--port", "unix:/run/a\nb.sock"),
            "space": ("--port", "unix:/run/a b.sock"),
            "semicolon": ("--port", "unix:/run/a;b.sock"),
            "brace": ("--port", "unix:/run/a}b.sock"),
            "quote": ("--port", 'unix:/run/a"b.sock'),
            "variable": ("--port", "unix:/run/$a.sock"),
            "interface": ("--port", "tcp:80:interface=a;b"),
            "another kind": ("--port", "haproxy:tcp:80"),
            "prefix": ("--mount", "/a;b"),
            "prefix with a space": ("--mount", "/a b"),
            "prefix with a bracket": ("--mount", "/a(b"),
            "encoded prefix": ("--mount", "/caf%C3%A9"),
        }
    )
    def test_hostile(self, option: str, value: str) -> None:
        """
        What would mean something else in a configuration is not printed there.
        """
        words = [*SOCKET.split(), "--resource", "hello.Hello"]
        if option == "--port":
            words = words[2:]
        for name in ("nginx", "lighttpd", "apache", "haproxy", "caddy", "h2o"):
            self.refused("", *words, option, value, "--print-config", name)

    def test_previewAlone(self) -> None:
        """
        A web server can't reach what listens for browsers alone; it can be
        started by others.
        """
        words = "--preview tcp:8080:interface=127.0.0.1 --print-config"
        message = self.refused(f"--resource hello.Hello {words} nginx")
        self.assertIn("nothing listens", message)
        self.assertIn("--preview tcp:8080", self.shown(f"{words} systemd"))


AUTH = """
    from zope.interface import implementer
    from twisted_fastcgi import IAuthorizer

    @implementer(IAuthorizer)
    class It:
        pass

    it = It()
"""

#: What C{twistd} is always told.
FOREGROUND = ("--nodaemon", "--pidfile=")

#: Words that mean something to shells, to configurations, or to nobody.
ODD = (
    "X-Odd: 50% of $HOME; {a} # 'b' \"c\" \\d",
    "X-Odd: ; a ;b #c ' ;d",
    "X-Odd:   ",
    "X-Odd: $$ %% %(x)s $(x) `x`",
)


class CommandTests(Printing, TableTestCase):
    """
    The command line that is printed.
    """

    def command(self, name: str, *more: str, **options: Any) -> str:
        """
        Print a configuration.

        @return: The line with the command.
        """
        text = self.shown(f"{SOCKET} --print-config {name}", *more, **options)
        key = {"supervisor": "command", "systemd": "ExecStart"}[name]
        (found,) = re.findall(rf"^{key}=(.*)$", text, re.M)
        return str(found)

    @table({text: (text,) for text in ODD})
    def test_supervisor(self, text: str) -> None:
        """
        supervisor reads the very words.
        """
        line = self.command("supervisor", "--add-header", text)
        parser = RawConfigParser(inline_comment_prefixes=(";", "#"))
        parser.read_string(f"[a]\ncommand={line}")
        words = shlex.split(parser.get("a", "command") % {})
        self.assertIn(text, words)
        self.assertEqual(words[:4], ["/usr/bin/twistd", *FOREGROUND, "fastcgi"])

    @table({text: (text,) for text in ODD})
    def test_systemd(self, text: str) -> None:
        """
        systemd reads the very words.
        """
        line = self.command("systemd", "--add-header", text)
        self.assertNotRegex(line.replace("%%", ""), "%")
        self.assertNotRegex(line.replace("$$", ""), r"\$")
        words = shlex.split(line.replace("%%", "%").replace("$$", "$"))
        self.assertIn(text, words)
        self.assertEqual(words[:4], ["/usr/bin/twistd", *FOREGROUND, "fastcgi"])

    @table({"supervisor": ("supervisor",), "systemd": ("systemd",)})
    def test_words(self, name: str) -> None:
        """
        All other options are there, as they were given, and with whole names.
        """
        more = ["--display-tr", "--threads=3", "-llog", "--grace", "5", "--logfile="]
        line = self.command(name, *more)
        self.assertEqual(
            shlex.split(line)[4:],
            [
                *SOCKET.split(),
                *("--display-tracebacks", "--threads", "3", "-l", "log"),
                *("--grace", "5", "--logfile=", "--resource", "hello.Hello"),
            ],
        )

    @table({"supervisor": ("supervisor",), "systemd": ("systemd",)})
    def test_lines(self, name: str) -> None:
        """
        No option can add a line.
        """
        for path in ("/a\nb", "/a\rb", "/a\0b"):
            words = ("--mount", path, "--print-config", name)
            self.refused(f"{SOCKET} --resource hello.Hello", *words)

    @table({"supervisor": ("supervisor",), "systemd": ("systemd",)})
    def test_folder(self, name: str) -> None:
        """
        The folder is the current one; what can't be written is refused.
        """
        words = f"{SOCKET} --resource hello.Hello --print-config {name}"
        for folder in ("50% off", "a;b", "x y"):
            os.mkdir(folder)
            os.chdir(folder)
            text = printed(self, words.split())
            shown = f"{self.folder}/{folder}".replace("%", "%%")
            self.assertRegex(text, f"(?m)^(WorkingD|d)irectory={re.escape(shown)}$")
            os.chdir("..")
        for folder in ("a\nb", "a ", {"supervisor": "a ;b", "systemd": "a\\"}[name]):
            os.mkdir(folder)
            os.chdir(folder)
            self.refused(words)
            os.chdir("..")

    def test_docroot(self) -> None:
        """
        HAProxy is told any folder.
        """
        os.mkdir("a 'b'")
        os.chdir("a 'b'")
        text = self.shown(f"{SOCKET} --print-config haproxy")
        (line,) = re.findall("docroot (.*)", text)
        self.assertEqual(shlex.split(line), [os.getcwd()])

    @table({"supervisor": ("supervisor",), "systemd": ("systemd",)})
    def test_program(self, name: str) -> None:
        """
        It is the program that was started, with what was said to it.
        """
        line = self.command(name, runner=["--umask", "022", "-n"])
        self.assertEqual(
            shlex.split(line)[:6],
            ["/usr/bin/twistd", *FOREGROUND, "--umask", "022", "fastcgi"],
        )
        line = self.command(name, program="/opt/v/bin/twist")
        self.assertEqual(shlex.split(line)[:2], ["/opt/v/bin/twist", "fastcgi"])
        module = [sys.executable, "-m", "twisted"]
        line = self.command(name, program="/lib/twisted/__main__.py")
        self.assertEqual(shlex.split(line)[:3], module)
        line = self.command(name, program="/usr/bin/other")
        self.assertTrue(shlex.split(line)[0].endswith("/twistd"), line)

    def test_embedded(self) -> None:
        """
        Options that belong to no program are those of C{twistd}.
        """
        output = io.StringIO()
        words = f"{SOCKET} --resource hello.Hello --print-config supervisor".split()
        with redirect_stdout(output):
            self.assertRaises(SystemExit, Options().parseOptions, words)
        self.assertIn("/twistd --nodaemon --pidfile= fastcgi --port", output.getvalue())
        self.patch(sys, "argv", ["x", *words])
        again = io.StringIO()
        with redirect_stdout(again):
            self.assertRaises(SystemExit, Options().parseOptions)
        self.assertEqual(again.getvalue(), output.getvalue())

    def test_user(self) -> None:
        """
        supervisor starts C{twistd} as it was, which becomes the user itself;
        systemd does that before.
        """
        runner = ["--uid", "nobody", "-gnogroup", "--umask", "022"]
        line = self.command("supervisor", runner=runner)
        self.assertIn(" --umask 022 --uid nobody -g nogroup fastcgi ", line)
        text = self.shown(f"{SOCKET} --print-config systemd", runner=runner)
        self.assertIn("\nUser=nobody\nGroup=nogroup\n# That user may make no", text)
        self.assertNotIn("--uid", text)
        text = self.shown(f"{TCP} --print-config systemd", runner=["--uid", "54321"])
        self.assertIn("\nUser=54321\nRestart", text)
        text = self.shown(f"{TCP} --print-config systemd")
        self.assertIn("# It runs as root: twistd --uid says", text)

    def test_grace(self) -> None:
        """
        Nobody is killed before the grace is over.
        """
        words = f"{SOCKET} --grace 100.5 --print-config"
        self.assertIn("\nTimeoutStopSec=111\n", self.shown(f"{words} systemd"))
        self.assertIn("\nstopwaitsecs=111\n", self.shown(f"{words} supervisor"))

    def test_environment(self) -> None:
        """
        Who may connect, as the environment says it, is said there, too.
        """
        words = f"{TCP} --print-config"
        name = "FCGI_WEB_SERVER_ADDRS"
        for program in ("systemd", "supervisor"):
            self.assertNotIn(name, self.shown(f"{words} {program}"))
        self.patch(os, "environ", {**os.environ, name: "127.0.0.1, 10.0.0.0/8"})
        text = self.shown(f"{words} systemd")
        self.assertIn(f"\nEnvironment={name}=127.0.0.1,10.0.0.0/8\n", text)
        text = self.shown(f"{words} supervisor")
        self.assertIn(f'\nenvironment={name}="127.0.0.1,10.0.0.0/8"\n', text)

    def test_named(self) -> None:
        """
        A socket that is looked for by its name gets it.
        """
        port = "--port systemd:domain=UNIX:name=my.app"
        text = self.shown(f"{port} --print-config systemd")
        self.assertIn("\nFileDescriptorName=my.app\n", text)

    def test_sockets(self) -> None:
        """
        A socket is passed in the way of who passes it, and one is.
        """
        systemd = "--port systemd:domain=UNIX:index=0"
        words = "--resource hello.Hello --print-config"
        self.assertIn("fcgi:", self.refused(f"{systemd} {words} supervisor"))
        self.assertIn("systemd:", self.refused(f"--port fcgi: {words} systemd"))
        message = self.refused(f"{systemd} {systemd} {words} systemd")
        self.assertIn("one socket", message)


class PlanTests(TableTestCase):
    """
    What is printed for a server of some kind.
    """

    def plan(self, **more: Any) -> Plan:
        """
        Describe a server.
        """
        place = placeOf(more.pop("port", "unix:/run/app.sock"), "/")
        return Plan(["/usr/bin/twistd"], [], "/srv/app", [place], **more)

    @table(
        {
            "nginx": (sites.nginx, "location = /a.b { allow 127.0.0.1; allow ::1; "),
            "lighttpd": (
                sites.lighttpd,
                '== "/a.b" { $HTTP["remoteip"] != "127.0.0.1" {',
            ),
            "apache": (sites.apache, '<Location "/a.b"> Require ip 127.0.0.1 ::1 <'),
            "haproxy": (sites.haproxy, "-m str /a.b } !{ src 127.0.0.1 ::1 }"),
            "caddy": (sites.caddy, "path /a.b not remote_ip 127.0.0.1 ::1 }"),
            "h2o": (
                sites.h2o,
                '"/a.b": # The figures are for those in --status-allow alone. mruby',
            ),
        }
    )
    def test_status(self, make: Any, expected: str) -> None:
        """
        The figures are for the machine alone; without them nothing is said.
        """
        for mount in ("/", "/app", "script-name"):
            text = "\n".join(make(self.plan(statusPath="/a.b", mount=mount)))
            self.assertIn(expected, " ".join(text.split()))
            self.assertNotIn("a.b", "".join(make(self.plan(mount=mount))))

    def test_reload(self) -> None:
        """
        systemd passes on the wish to load the application anew, where that is
        possible; for supervisor it is said how.
        """
        for reloads in (False, True):
            text = "\n".join(units.supervisor(self.plan(reloads=reloads)))
            self.assertEqual("supervisorctl signal HUP app:*" in text, reloads)
        lines = units.systemd(self.plan(reloads=True))
        self.assertIn("ExecReload=/bin/kill -HUP $MAINPID", lines)
        self.assertNotIn("ExecReload", "".join(units.systemd(self.plan())))


class ProcessTests(Folder, TableTestCase):
    """
    Real processes.
    """

    def test_full(self) -> None:
        """
        That nothing can be written is an error in one line, not a traceback.
        """
        words = f"{SOCKET} --resource hello.Hello --print-config nginx"
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [str(SCRIPTS / "twist"), "fastcgi", *words.split()],
                cwd=self.folder,
                env=environment(PYTHONDONTWRITEBYTECODE="1"),
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
            )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--print-config: [Errno 28] No space left", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    @table({"twistd": ("twistd",), "twist": ("twist",)})
    def test_alone(self, name: str) -> None:
        """
        It ends well, says nothing else, does not go to the background, and leaves
        no file behind.
        """
        words = f"{SOCKET} --resource hello.Hello --print-config nginx"
        done = subprocess.run(
            [str(SCRIPTS / name), "fastcgi", *words.split()],
            cwd=self.folder,
            env=environment(PYTHONDONTWRITEBYTECODE="1"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        recipe = (RECIPES / "nginx/app.conf").read_text()
        self.assertEqual(part(done.stdout, "nginx/app.conf"), recipe)
        self.assertEqual(os.listdir(self.folder), ["hello.py"])
