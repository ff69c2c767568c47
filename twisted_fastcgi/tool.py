# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The command C{fcgi}: see what is on the wire, and ask an application as a web
server does.

The exit status is 0 if all is well; 1 if the thing asked about is not: an HTTP
status of 400 or more, malformed bytes in a capture, a replayed answer that
differs; 2 if the command can't be carried out as it is given; 3 if there is no
connection, or no answer that the protocol allows.
"""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Any, BinaryIO, NoReturn, TypeVar

from twisted.internet import task
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory

from twisted_fastcgi._version import __version__
from twisted_fastcgi.addresses import clientEndpoint, serverEndpoint
from twisted_fastcgi.blackhole import BlackHole
from twisted_fastcgi.commandline import USAGE, commandLine
from twisted_fastcgi.console import Console
from twisted_fastcgi.dissect import dissect
from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.explain import Item, nameOf, shown
from twisted_fastcgi.frontends import Question, variables
from twisted_fastcgi.listing import HEADING, VALUES, Listing, asJSON
from twisted_fastcgi.probe import NoAnswer, Output, get, ping
from twisted_fastcgi.records import ProtocolStatus
from twisted_fastcgi.relay import Relay
from twisted_fastcgi.replay import (
    Outcome,
    RecordedAnswer,
    answersIn,
    replay,
    requestsIn,
)
from twisted_fastcgi.watch import CLOSED, Watches

OK, BAD, FAILED = 0, 1, 3

#: What shells say of a program that was ended by Ctrl-C.
INTERRUPTED = 130

_CHUNK = 65536

_isPcap = re.compile(
    rb"\xa1\xb2[\xc3\x3c][\xd4\x4d]|[\xd4\x4d][\xc3\x3c]\xb2\xa1|\n\r\r\n"
).match


class UsageError(Exception):
    """
    The command can't be carried out as it is given.
    """


Endpoint = TypeVar("Endpoint")


def _at(parse: Callable[[Any, str], Endpoint], reactor: Any, address: str) -> Endpoint:
    """
    Read an address.

    @raise UsageError: If it is none.
    """
    try:
        return parse(reactor, address)
    except ValueError as error:
        raise UsageError(str(error)) from error


# dump


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """
    Read a file, or as much as there is of what somebody is still writing.
    """
    read = getattr(stream, "read1", stream.read)
    return iter(lambda: read(_CHUNK), b"")


def _dump(options: Namespace, console: Console) -> int:
    """
    Show what captures hold: all that can be read.
    """
    code = OK
    for name in options.file or ["-"]:
        try:
            code = max(code, _dumpFile(name, options, console))
        except UsageError as error:
            console.say(f"{options.prog}: {error}")
            code = USAGE
    return code


def _dumpFile(name: str, options: Namespace, console: Console) -> int:
    """
    Show what one capture holds.
    """
    if name == "-":
        return _dumpStream("standard input", console.stdin, options, console)
    with _opened(name) as stream:
        return _dumpStream(name, stream, options, console)


def _opened(name: str) -> BinaryIO:
    """
    Open a file for reading.
    """
    try:
        return open(name, "rb")
    except OSError as error:
        raise UsageError(f"can't read {name}: {error.strerror}") from error


def _dumpStream(
    name: str, stream: BinaryIO, options: Namespace, console: Console
) -> int:
    """
    Show what a stream holds.
    """
    code = OK
    pieces = _notPcap(name, _pieces(stream))
    listing = Listing(console.width, console.isColoured, options.full)
    if not options.json:
        console.print(name, HEADING)
    for item in dissect(pieces):
        if options.json:
            console.print(asJSON(item, file=name))
        else:
            console.print(*listing.lines(item))
        code = BAD if item.errors else code
    return code


def _notPcap(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """
    Refuse what holds packets.

    @raise UsageError: If it does.
    """
    first = next(pieces, b"")
    if _isPcap(first):
        raise UsageError(
            f"{name} holds packets (pcap), not the bytes of a connection: "
            f"tcpflow -r {name} writes those to files that fcgi dump reads"
        )
    return chain([first], pieces)


# tap


class _TapReport:
    """
    Shows what passes.

    @ivar done: Fails when nothing can be written any more.
    """

    def __init__(self, options: Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._listings: dict[int, Listing] = {}
        self.done: Deferred[int] = Deferred()

    def __call__(self, number: int, seconds: float, what: Item | str) -> None:
        """
        Show one thing.
        """
        if self.done.called:
            return
        try:
            self._console.print(*self._lines(number, seconds, what))
        except OSError as error:
            # The command ends, and not the connection.
            self.done.errback(error)

    def _lines(self, number: int, seconds: float, what: Item | str) -> Iterator[str]:
        """
        Write down one thing.
        """
        if self._options.json:
            when = {"connection": number, "seconds": round(seconds, 6)}
            if isinstance(what, str):
                yield json.dumps({**when, "event": what})
            else:
                yield asJSON(what, **when)
            return
        prefix = f"{number:3} {seconds:7.3f} "
        if isinstance(what, str):
            yield f"{prefix}     -- {what}"
            if what.startswith(CLOSED):
                self._listings.pop(number, None)
            return
        width = self._console.width - len(prefix)
        listing = self._listings.setdefault(
            number, Listing(width, self._console.isColoured, self._options.full)
        )
        for line in listing.lines(what):
            yield prefix + line
            prefix = " " * len(prefix)


async def _tap(reactor: Any, options: Namespace, console: Console) -> int:
    """
    Show what passes between a web server and an application.
    """
    report = _TapReport(options, console)
    try:
        watches = Watches(reactor, report, options.save)
    except OSError as error:
        raise UsageError(f"can't save in {options.save}: {error.strerror}") from error
    if options.to is None:
        factory: IProtocolFactory = BlackHole(reactor, watches)
        then = "every request is answered with its variables"
    else:
        factory = Relay(_at(clientEndpoint, reactor, options.to), watches)
        then = f"passing on to {options.to}"
    endpoint = _at(serverEndpoint, reactor, options.listen)
    try:
        port = await endpoint.listen(factory)
    except OSError as error:
        # The lock beside a Unix socket can't be made.
        where = f"{options.listen}: {error.strerror}"
        raise FastCGIError(f"can't listen on {where}") from error
    console.say(f"listening on {options.listen}, {then}; stop with Ctrl-C")
    if not options.json:
        console.print(f"{'':3} {'seconds':>7}  {HEADING.strip()}")
    try:
        return await report.done
    finally:
        await maybeDeferred(port.stopListening)


# get


def _question(options: Namespace, console: Console) -> tuple[Question, bytes]:
    """
    Make an HTTP request of the options.

    @return: The request and its body.
    @raise UsageError: If they are not what they should be.
    """
    body = None if options.data is None else _body(options.data, console)
    headers = [_split(header, ":", "'Name: value'") for header in options.header]
    names = {name.lower() for name, _ in headers}
    if b"host" not in names:
        headers.insert(0, (b"Host", b"localhost"))
    if b"user-agent" not in names:
        headers.append((b"User-Agent", f"fcgi/{__version__}".encode("ascii")))
    if body is not None and b"content-type" not in names:
        headers.append((b"Content-Type", b"application/x-www-form-urlencoded"))
    method = options.request or ("GET" if body is None else "POST")
    path = options.path if options.path.startswith(("/", "*")) else f"/{options.path}"
    script = options.script_filename
    return Question(
        method=os.fsencode(method),
        target=os.fsencode(path),
        headers=headers,
        bodyLength=None if body is None else len(body),
        scriptFilename=None if script is None else os.fsencode(script),
    ), body or b""


def _body(data: str, console: Console) -> bytes:
    """
    Read the request body.
    """
    if not data.startswith("@"):
        return os.fsencode(data)
    if data == "@-":
        return console.stdin.read()
    with _opened(data[1:]) as stream:
        return stream.read()


def _split(text: str, separator: str, wanted: str) -> tuple[bytes, bytes]:
    """
    Split a name from its value.
    """
    name, found, value = text.partition(separator)
    if not (found and name.strip()):
        raise UsageError(f"{text!r} is not of the form {wanted}")
    return os.fsencode(name.strip()), os.fsencode(value.strip())


def _params(options: Namespace, question: Question) -> list[tuple[bytes, bytes]]:
    """
    Make the variables of the request.
    """
    params = variables(question, options.like)
    for option in options.param:
        name, value = _split(option, "=", "NAME=VALUE")
        params = [pair for pair in params if pair[0] != name]
        params.append((name, value))
    return params


async def _get(reactor: Any, options: Namespace, console: Console) -> int:
    """
    Send one request and show the answer.
    """
    question, body = _question(options, console)
    output = Output(
        head=console.write if options.include else len,
        body=console.write,
        stderr=console.complain,
    )
    endpoint = _at(clientEndpoint, reactor, options.address)
    params = _params(options, question)
    answer = await get(endpoint, reactor, params, body, output)
    if options.time:
        times = answer.times
        console.say(
            f"connected {times.connected * 1000:.1f} ms, "
            f"first byte {times.firstByte * 1000:.1f} ms, "
            f"total {times.total * 1000:.1f} ms"
        )
    if answer.protocolStatus != ProtocolStatus.REQUEST_COMPLETE:
        name = nameOf(ProtocolStatus, answer.protocolStatus)
        raise NoAnswer(f"the application refused the request: {name}")
    return BAD if answer.status >= 400 else OK


# ping


async def _ping(reactor: Any, options: Namespace, console: Console) -> int:
    """
    Ask an application for its limits.
    """
    values, times = await ping(_at(clientEndpoint, reactor, options.address), reactor)
    for name, value in values.items():
        console.print(f"{shown(name):<15}  {shown(value):<5}  {VALUES.get(name, '')}")
    if not values:
        console.print("the application is there, and tells no limits")
    answered = (times.total - times.connected) * 1000
    console.print(
        f"answered in {answered:.1f} ms, connected in {times.connected * 1000:.1f} ms"
    )
    return OK


# replay


async def _replay(reactor: Any, options: Namespace, console: Console) -> int:
    """
    Send the requests of a capture, and compare the answers.
    """
    capture = _read(options.file)
    requests = requestsIn(dissect([capture]))
    if not requests:
        raise UsageError(f"{options.file} holds no request")
    recorded = None
    if options.answer is not None:
        recorded = answersIn(dissect([_read(options.answer)]))
    code = OK
    endpoint = _at(clientEndpoint, reactor, options.address)
    player = replay(endpoint, reactor, capture, requests, options.patience)
    async with aclosing(player) as outcomes:
        async for outcome in outcomes:
            code = max(code, _show(outcome, recorded, console))
    if recorded:
        console.print(f"{len(recorded)} more answers recorded than requests")
        code = max(code, BAD)
    return code


def _read(name: str) -> bytes:
    """
    Read a file.
    """
    with _opened(name) as stream:
        return b"".join(_notPcap(name, _pieces(stream)))


def _show(
    outcome: Outcome, recorded: list[RecordedAnswer] | None, console: Console
) -> int:
    """
    Show what became of a request.

    @param recorded: The answers that were recorded, from that to this request
        on.
    """
    request, answer = outcome.request, outcome.answer
    what = f"{request.requestId:3} {shown(request.name)}"
    if not request.isComplete:
        console.print(f"{what}: not whole in the capture, so it was not to be answered")
        return OK
    if outcome.failure is not None:
        console.print(f"{what}: {outcome.failure}")
        return FAILED
    size = len(answer.stdout)
    line = (
        f"{what}: status {answer.status}, {size} bytes, {outcome.seconds * 1e3:.1f} ms"
    )
    differences: list[str] = []
    if recorded is not None:
        before = recorded.pop(0) if recorded else RecordedAnswer()
        differences = list(answer.differences(before))
        line += "" if differences else ", as recorded"
    console.print(line, *(f"    {difference}" for difference in differences))
    return BAD if differences else OK


_COMMANDS: Mapping[
    str, Callable[[Any, Namespace, Console], Coroutine[Any, Any, int]]
] = {"tap": _tap, "get": _get, "ping": _ping, "replay": _replay}


def dump(options: Namespace, console: Console) -> int:
    """
    Carry out C{fcgi dump}.

    @param options: The parsed command line.
    @param console: Where to read and write.
    @return: The exit status.
    """
    try:
        return _dump(options, console)
    except BrokenPipeError:
        return OK
    except OSError as error:
        console.say(f"{options.prog}: {error}")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


def _late(result: object, seconds: float) -> NoReturn:
    """
    Tell that it took too long: endpoints that are cancelled tell many things.
    """
    raise TimeoutError(f"no answer within {seconds:g} seconds")


async def perform(reactor: Any, options: Namespace, console: Console) -> int:
    """
    Carry out any other command.

    @param reactor: Does the networking.
    @param options: The parsed command line.
    @param console: Where to read and write.
    @return: The exit status.
    """
    work: Deferred[int] = Deferred.fromCoroutine(
        _COMMANDS[options.command](reactor, options, console)
    )
    if options.timeout is not None:
        work.addTimeout(options.timeout, reactor, onTimeoutCancel=_late)
    try:
        return await work
    except BrokenPipeError:
        return OK
    except UsageError as error:
        code, message = USAGE, str(error)
    except TimeoutError as error:
        code, message = FAILED, str(error)
    except (ConnectError, DNSLookupError) as error:
        code, message = FAILED, f"can't connect to {options.address}: {error}"
    except (FastCGIError, CannotListenError, OSError) as error:
        code, message = FAILED, str(error)
    console.say(f"{options.prog}: {message}")
    return code


def main(
    arguments: Sequence[str] | None = None,
    console: Console | None = None,
    react: Callable[..., object] = task.react,
) -> int:
    """
    Run the command.

    @param arguments: The command line without its first word; that of the
        process by default.
    @param console: Where to read and write; the standard streams by default.
    @param react: What runs a reactor, as L{twisted.internet.task.react} does.
    @return: The exit status.
    """
    options = commandLine().parse_args(arguments)
    if console is None:
        console = Console.of(sys.stdin, sys.stdout, sys.stderr)
    if options.command == "dump":
        return dump(options, console)

    async def run(reactor: Any) -> None:
        raise SystemExit(await perform(reactor, options, console))

    react(run)
    return OK


if __name__ == "__main__":
    sys.exit(main())
