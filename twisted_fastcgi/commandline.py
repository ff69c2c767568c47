# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The command line of C{fcgi}.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any, NoReturn

from twisted_fastcgi._version import __version__
from twisted_fastcgi.frontends import SERVERS

#: The exit status of a command that can't be carried out as it is given.
USAGE = 2

#: For how many seconds a command can be told to wait; there are reactors that
#: can't wait for a month.
_LONGEST = 1_000_000


class _Parser(ArgumentParser):
    """
    A parser that has one line to say.
    """

    def error(self, message: str) -> NoReturn:
        """
        End the process.
        """
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


_ADDRESS = "a path, host:port, or an endpoint string such as tcp:127.0.0.1:9000"


def commandLine() -> ArgumentParser:
    """
    Make what reads the command line.

    @return: A parser, whose options have the name of the command as
        C{command}.
    """
    parser = _Parser(
        prog="fcgi",
        description="See what is on the wire between a web server and a FastCGI "
        "application, and ask an application as a web server does.",
        epilog="Exit status: 0 if all is well, 1 if what was asked about is not, 2 if "
        "the command can't be carried out as it is given, 3 if there is no "
        "connection or no proper answer.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_addDump, _addTap, _addGet, _addPing, _addReplay):
        add(commands)
    return parser


def _command(commands: Any, name: str, summary: str, more: str) -> ArgumentParser:
    """
    Add a command.
    """
    parser: ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=more,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name, prog=parser.prog, timeout=None)
    return parser


def _addDump(commands: Any) -> None:
    """
    Add C{fcgi dump}.
    """
    parser = _command(commands, "dump", "show what captures hold", _DUMP)
    parser.add_argument("file", nargs="*", help="a capture; - is standard input")
    _addFormat(parser)


def _addFormat(parser: ArgumentParser) -> None:
    """
    Add how to write down records.
    """
    parser.add_argument(
        "--full", action="store_true", help="show long values and streams as a whole"
    )
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object for each record"
    )


def _addTap(commands: Any) -> None:
    """
    Add C{fcgi tap}.
    """
    parser = _command(commands, "tap", "show what passes between two programs", _TAP)
    parser.add_argument(
        "--listen", required=True, metavar="ADDRESS", help=f"where: {_ADDRESS}"
    )
    parser.add_argument(
        "--to",
        metavar="ADDRESS",
        help="the application; without it every request is answered with a page "
        "that shows its variables",
    )
    parser.add_argument(
        "--save", metavar="DIR", type=Path, help="save what passes in this folder"
    )
    _addFormat(parser)


def _addGet(commands: Any) -> None:
    """
    Add C{fcgi get}.
    """
    parser = _command(commands, "get", "send one request", _GET)
    parser.add_argument("address", help=_ADDRESS)
    parser.add_argument("path", nargs="?", default="/", help="path and query")
    add = parser.add_argument
    add("-X", "--request", metavar="METHOD", help="GET, or POST with a body")
    add("-d", "--data", metavar="BODY", help="the body, or @ and a file, @- for input")
    add("-H", "--header", action="append", default=[], help="such as 'Name: value'")
    add(
        *("-p", "--param"),
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable, in place of any of that name",
    )
    add("-i", "--include", action="store_true", help="show the headers, too")
    add("--script-filename", metavar="FILE", help="the script that is to answer")
    add("--time", action="store_true", help="tell on stderr how long it took")
    add(
        "--like",
        choices=SERVERS,
        default="nginx",
        help="send the variables that this server sends (default: nginx)",
    )
    _addTimeout(parser, "timeout", 60)


def _addTimeout(parser: ArgumentParser, name: str, seconds: float) -> None:
    """
    Add how long to wait.

    @param name: What the parsed option is called.
    """
    parser.add_argument(
        "--timeout",
        dest=name,
        type=_seconds,
        default=seconds,
        metavar="SECONDS",
        help=f"how long to wait (default: {seconds:g})",
    )


def _seconds(text: str) -> float:
    """
    Read how long to wait.

    @raise ArgumentTypeError: If no clock can wait for that long.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST:
        raise ArgumentTypeError(f"{text!r} is not more than 0, and at most {_LONGEST}")
    return seconds


def _addPing(commands: Any) -> None:
    """
    Add C{fcgi ping}.
    """
    parser = _command(commands, "ping", "ask whether an application is there", _PING)
    parser.add_argument("address", help=_ADDRESS)
    _addTimeout(parser, "timeout", 5)


def _addReplay(commands: Any) -> None:
    """
    Add C{fcgi replay}.
    """
    parser = _command(
        commands, "replay", "send the requests of a capture again", _REPLAY
    )
    parser.add_argument("file", help="a capture of what a web server sent")
    parser.add_argument("address", help=_ADDRESS)
    parser.add_argument("--answer", metavar="FILE", help="what was answered then")
    _addTimeout(parser, "patience", 60)


_DUMP = """\
A capture is what one side of a connection, or both, sent: as saved by fcgi tap
--save, or by tcpflow from packets; pcap files themselves are not read.  Where
one is cut off, or several stand one after another, that is found out.  The exit
status is 1 if any bytes are malformed.

example: fcgi tap --listen /tmp/app.sock --save captures
         fcgi dump captures/*.bin
"""

_TAP = """\
--save writes two files for each connection: NUMBER.request.bin with what the web
server sent, NUMBER.answer.bin with what the application did.

examples: fcgi tap --listen /tmp/app.sock
          fcgi tap --listen /tmp/tap.sock --to /tmp/app.sock --save captures
"""

_GET = """\
Exit status: 0 for an HTTP status below 400, 1 for others, 3 if there is no
connection or no proper answer.

examples: fcgi get /tmp/app.sock '/search?q=fastcgi' -i
          fcgi get 127.0.0.1:9000 /form -d 'a=1&b=2' --like apache
          fcgi get /run/php/php-fpm.sock --script-filename /srv/www/index.php
"""

_PING = """\
Exit status: 0 if there is an answer, 3 if there is none.

example: fcgi ping /tmp/app.sock --timeout 1
"""

_REPLAY = """\
Each request is sent when the one before it was answered.  With --answer, status
and framing (the kinds of records, and how the request ended) are compared; exit
status: 0 if they are the same, 1 if not, 3 if there is no proper answer.

example: fcgi tap --listen /tmp/tap.sock --to /tmp/app.sock --save captures
         fcgi replay captures/0001.request.bin /tmp/app.sock \\
             --answer captures/0001.answer.bin
"""
