# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The options of C{twistd fastcgi} and C{twist fastcgi}.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from twisted.python.threadpool import ThreadPool
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError
from twisted.web.resource import IResource, Resource

from twisted_fastcgi import applications, snippets
from twisted_fastcgi.accesslog import combinedLogFormatter, jsonLogFormatter
from twisted_fastcgi.applications import ApplicationError
from twisted_fastcgi.authorizer import AuthorizerResource
from twisted_fastcgi.demo import DemoResource
from twisted_fastcgi.endpoints import (
    LISTENSOCK_FILENO,
    isListeningSocket,
    reopenStandardStreams,
)
from twisted_fastcgi.limitoptions import LIMIT_OPTIONS
from twisted_fastcgi.logfile import isPipe, openLog
from twisted_fastcgi.mount import ROOT, mounted
from twisted_fastcgi.peers import Peers, webServerPeers
from twisted_fastcgi.places import NoSnippet
from twisted_fastcgi.service import (
    DEFAULT_GRACE,
    DescribedEndpoint,
    endpointFromString,
    passedBySystemd,
)
from twisted_fastcgi.status import (
    StatusPath,
)
from twisted_fastcgi.wsgi import FastCGIWSGIResource

DEFAULT_PORT = "tcp:9000:interface=127.0.0.1"
"""
Where to listen when nothing is said and nothing inherited.
"""

DEFAULT_THREADS = 20
"""
How many threads a WSGI application has at the most.
"""

LOG_FORMATS = {"combined": combinedLogFormatter, "json": jsonLogFormatter}
"""
What makes the lines of an access log, by the values of C{--log-format}.
"""

# Who may see the status when nothing is said.
_LOCAL = "127.0.0.1,::1"

# So many wait for work from the beginning.
_FEW_THREADS = 5

_INHERITED = f"fcgi:fd={LISTENSOCK_FILENO}"

# RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# Without control characters (RFC 9110, section 5.5).
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# Said by the server itself, of each response or of the connection.
_RESERVED = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "status",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)

_EXAMPLES = """
Examples:
  twistd -n fastcgi --port unix:/run/app.sock:mode=660 --resource mymodule.root
      serves the resource "root" of mymodule.py in the current directory; in
      nginx:  location / { include fastcgi_params;
                           fastcgi_pass unix:/run/app.sock; }
  twist fastcgi --port tcp:9000:interface=127.0.0.1 --wsgi mysite.wsgi:application
      serves a WSGI application, such as Django makes it, on TCP port 9000.
  twist fastcgi --preview tcp:8080:interface=127.0.0.1 --resource mymodule.root
      shows an application in a browser at http://127.0.0.1:8080/.

  twist fastcgi --port unix:/run/app.sock --resource mymodule.root \\
          --print-config nginx
      prints what nginx has to be told.

What works with which web server: docs/deploy/.
"""

_SEE_HELP = 'The options are listed by "fastcgi --help".\n'


def _grace(text: str) -> float:
    with suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    raise UsageError(f"--grace: {text!r} is no number of seconds from 0 up")


def _positive(option: str, text: str) -> int:
    with suppress(ValueError):
        number = int(text)
        if number >= 1:
            return number
    raise UsageError(f"--{option}: {text!r} is no number of {option} from 1 up")


def _threads(text: str) -> int:
    return _positive("threads", text)


def _workers(text: str) -> int:
    if text == "auto":
        # Not all systems tell which CPUs a process may use.
        may = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        return len(may(0))
    return _positive("workers", text)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (part.strip(" \t") for part in text.partition(":"))
    if not (colon and _TOKEN.fullmatch(name) and _FIELD_VALUE.fullmatch(value)):
        raise UsageError(f'--add-header: {text!r} is not written as "Name: value"')
    if name.lower() in _RESERVED:
        raise UsageError(f"--add-header: {name} is set by the server itself")
    return name, value


class Options(UsageOptions):
    """
    The options of C{twistd fastcgi}.

    Whatever cannot be used is refused with a L{UsageError}: the application is
    loaded, and the endpoints are parsed, at the end of the options.
    """

    synopsis = "[options]"

    longdesc = (
        "Serves a Twisted Web or WSGI application to a web server over FastCGI. "
        "At most one of --resource, --wsgi, --path, --class and "
        "--resource-script names the application; without any of them a page is "
        "served that shows what the web server sent. Python modules are looked "
        "for in the current directory too. Whoever can connect is believed "
        "whatever it says of a request, so let only the web server connect."
    )

    optFlags = (
        [
            "check",
            None,
            "Load the application, look whether all addresses and files can be "
            "opened, without opening them, print what the options come to, and exit: "
            "with 1 if anything is wrong. [default: serve]",
        ],
        [
            "display-tracebacks",
            None,
            "Show the traceback of an uncaught exception to the client, which may "
            "expose private data. [default: only log it]",
        ],
        [
            "preview-anywhere",
            None,
            "Let --preview listen where other machines can reach it. [default: "
            "refuse that]",
        ],
    )

    optParameters = (
        *(option.parameter for option in LIMIT_OPTIONS),
        [
            "mount",
            None,
            ROOT,
            "Where the application is in the path: a path such as /app, or "
            "script-name for a web server that sets SCRIPT_NAME to that place.",
        ],
        [
            "logfile",
            "l",
            None,
            "The access log, opened anew at SIGUSR1. [default: none, as the web "
            "server keeps one]",
        ],
        [
            "log-format",
            None,
            None,
            "What --logfile has of each request: combined, the line that web servers "
            "write, or json, an object on a line. [default: combined]",
        ],
        [
            "status-path",
            None,
            None,
            "The whole path of the URL, such as /fcgi-status, where figures about "
            "this server are shown, to clients in --status-allow only. [default: "
            "nowhere]",
        ],
        [
            "status-allow",
            None,
            None,
            "Who may see them: the clients' IP addresses and networks as the web "
            "server tells them (REMOTE_ADDR), with commas between them. [default: "
            f"{_LOCAL}]",
        ],
        [
            "threads",
            None,
            DEFAULT_THREADS,
            "How many threads there are for --wsgi, at the most: so many requests "
            "are worked on at the same time.",
            _threads,
        ],
        [
            "grace",
            None,
            DEFAULT_GRACE,
            "How many seconds active requests have to finish at the stop.",
            _grace,
        ],
        [
            "workers",
            None,
            None,
            "How many processes serve, or auto for as many as there are CPUs for "
            "this one. They share the ports, and start again when they end; SIGHUP "
            "has them load the application anew, one after another. [default: this "
            "process serves itself]",
            _workers,
        ],
        [
            "preview",
            None,
            None,
            "Where to serve the application over HTTP too, as a Twisted endpoint "
            "such as tcp:8080:interface=127.0.0.1: for a browser on this machine, "
            "without a web server. Its requests are FastCGI records within this "
            "process; without --port nothing else listens. [default: nowhere]",
        ],
        [
            snippets.OPTION,
            None,
            None,
            "Print the configuration of another program that goes with the other "
            f"options, and exit: {', '.join(snippets.SNIPPETS)}. The application is "
            "loaded as it would be to serve it. [default: serve]",
        ],
    )

    def __init__(self) -> None:
        super().__init__()
        # Python before 3.13 keeps the indentation of docstrings.
        self.docs = {name: " ".join(doc.split()) for name, doc in self.docs.items()}
        self._brief = False
        self._problems: list[str] = []
        self["allowed"] = []
        self["application"] = None
        self["authorizer"] = None
        self["endpoints"] = []
        self["headers"] = []
        self["peers"] = []
        self["pool"] = None
        self["ports"] = []

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line.

        @param options: Its words after C{fastcgi}.
        @raise UsageError: If something cannot be used.
        """
        self.words = sys.argv[1:] if options is None else options
        try:
            super().parseOptions(options)
        except UsageError as error:
            # It may be before the flag that it was found.
            if "--check" not in self.words:
                raise
            self._check([str(error)])

    @property
    def what(self) -> str:
        """
        What is served, for messages.
        """
        names = [self["application"] and self["application"][1]]
        names.append(self["authorizer"])
        return " and ".join(filter(None, names)) or "a demonstration page"

    def getUsage(self, width: int | None = None) -> str:
        """
        @param width: Columns of the terminal.
        @return: The options, and examples in lines of their own; or, for an
            error that they say nothing about, where to find them.
        """
        return _SEE_HELP if self._brief else super().getUsage(width) + _EXAMPLES

    def opt_port(self, description: str) -> None:
        """
        Where to listen, as a Twisted endpoint: tcp:9000:interface=127.0.0.1,
        unix:/run/app.sock:mode=660:group=www-data (also user=), fcgi: for a
        listening socket that is inherited as file descriptor 0, or
        systemd:domain=UNIX:index=0. May be repeated. [default: with
        --preview nowhere; fcgi: if there is such a socket; else all sockets
        that systemd has passed; else tcp:9000:interface=127.0.0.1]
        """
        self["ports"].append(description)

    opt_p = opt_port

    # Two long names for one method would break --help.
    def opt_listen(self, description: str) -> None:
        """
        The same as --port.
        """
        self.opt_port(description)

    def opt_allow(self, addresses: str) -> None:
        """
        Who may connect to a TCP port: IP addresses and networks with commas
        between them, such as 192.168.1.5,10.0.0.0/8. May be repeated. Where
        the environment has FCGI_WEB_SERVER_ADDRS, that list holds too.
        [default: whoever can reach the port]
        """
        self["allowed"].append(addresses)

    def opt_resource(self, name: str) -> None:
        """
        The twisted.web resource to serve, package.module.name or
        package.module:name: a resource, something that makes one when called
        without arguments, or an object with a resource() method, such as a
        Klein application. [default: a demonstration]
        """
        self._setApplication("resource", name)

    def opt_wsgi(self, name: str) -> None:
        """
        The WSGI application to serve, package.module.name or
        package.module:name, run in a thread pool. [default: none]
        """
        self._setApplication("wsgi", name)

    def opt_path(self, path: str) -> None:
        """
        The directory or file to serve; .rpy, .epy and .cgi files are run.
        [default: none]
        """
        self._setApplication("path", path)

    def opt_class(self, name: str) -> None:
        """
        The class of the resource to serve, made without arguments.
        [default: none]
        """
        self._setApplication("class", name)

    def opt_resource_script(self, path: str) -> None:
        """
        The .rpy file to serve, run anew for each request. [default: none]
        """
        self._setApplication("resource-script", path)

    def opt_authorizer(self, name: str) -> None:
        """
        What decides for the web server whether a request may be served,
        package.module.name or package.module:name: an object that provides
        twisted_fastcgi.IAuthorizer, or something that makes one when called
        without arguments. Without an application it answers ordinary requests
        too, such as those of nginx's auth_request. [default: none]
        """
        if self["authorizer"] is not None:
            raise UsageError("--authorizer: there can be one, name one")
        self["authorizer"] = name

    def opt_add_header(self, header: str) -> None:
        """
        A header for all responses, "Name: value". May be repeated.
        [default: none]
        """
        self["headers"].append(_header(header))

    def _setApplication(self, option: str, name: str) -> None:
        if self["application"] is not None:
            first, _ = self["application"]
            raise UsageError(
                f"--{first} and --{option}: one application can be served, name one"
            )
        self["application"] = (option, name)

    def postOptions(self) -> None:
        """
        Load the application, and parse the endpoints.

        @raise UsageError: If something cannot be used.
        """
        # Before there is a reactor, whose own descriptors would take their place.
        reopenStandardStreams()
        # The runners print the usage with every error, and it is long.
        self._brief = True
        for step in self._steps():
            self._try(step)
        self._brief = False
        if self["check"]:
            self._check(self._problems)

    def _check(self, problems: Sequence[str]) -> NoReturn:
        # Nobody else has a use for it.
        from twisted_fastcgi.checking import check

        check(self, problems, self.what, self._ofRunner("rundir") or "")

    def _steps(self) -> Iterator[Callable[[], object]]:
        yield self._checkSnippet
        if self["workers"] is not None:
            yield self._checkWorkers
        isAsked = self["check"] or self[snippets.OPTION] is not None
        if self["workers"] is None or isAsked:
            yield self._load
        yield self._parsePeers
        yield self._parseStatus
        yield self._checkLogFormat
        yield self._printSnippet
        yield self._openLogFile
        yield self._parsePorts
        yield self._keepPreview

    def _try(self, step: Callable[..., object], *arguments: object) -> None:
        """
        Take a step, which may be the last one.
        """
        try:
            step(*arguments)
        except UsageError as error:
            if not self["check"]:
                raise
            self._problems.append(str(error))

    def _checkSnippet(self) -> None:
        if self["check"] and self[snippets.OPTION] is not None:
            raise UsageError(f"--{snippets.OPTION}: not with --check, say one of them")
        try:
            snippets.known(self[snippets.OPTION] or snippets.SNIPPETS[0])
        except NoSnippet as error:
            raise UsageError(f"--{snippets.OPTION}: {error}") from error

    def _printSnippet(self) -> None:
        """
        Print what was asked for, if so, and exit: nothing is opened for that.
        """
        name = self[snippets.OPTION]
        if name is None or self["check"]:
            return
        if not self["ports"] and self["preview"] is None:
            self["ports"].append(DEFAULT_PORT)
        for port in self["ports"]:
            # Whoever passes a socket has not done so yet.
            if not port.startswith(("fcgi:", "systemd:")):
                _parseEndpoint("port", port)
        self._parsePreview()
        try:
            print(end=snippets.snippet(name, self, self.words), flush=True)
        except (NoSnippet, OSError) as error:
            raise UsageError(f"--{snippets.OPTION}: {error}") from error
        raise SystemExit(0)

    def _load(self) -> None:
        self["decides"] = self._loadAuthorizer()
        root = self._loadRoot()
        self["registry"] = getattr(root, "registry", None)
        self["root"] = self._mount(root)

    def _checkWorkers(self) -> None:
        # Workers load the application, and only they: it may be broken, or start
        # something that there is to be once.
        if self["preview"] is not None:
            raise UsageError("--preview: not with --workers, which it would not show")
        if self._ofRunner("chroot") is not None:
            raise UsageError("--workers: not with --chroot, where Python is missing")
        self["folder"] = os.getcwd()

    def _ofRunner(self, option: str) -> Any:
        """
        @return: What C{twistd} or C{twist} was told.
        """
        runner: UsageOptions | dict[str, Any] = self.parent or {}
        return runner.get(option)

    def _mount(self, root: IResource) -> IResource:
        try:
            return mounted(root, self["mount"])
        except ValueError as error:
            raise UsageError(f"--mount: {error}") from error

    def _loadAuthorizer(self) -> Any:
        if self["authorizer"] is None:
            return None
        try:
            return applications.loadAuthorizer(self["authorizer"])
        except ApplicationError as error:
            raise UsageError(f"--authorizer: {error}") from error

    def _loadRoot(self) -> IResource:
        if self["application"] is None:
            authorizer = self["decides"]
            return DemoResource() if authorizer is None else _asResource(authorizer)
        option, name = self["application"]
        loaders = {
            "class": applications.loadClass,
            "path": applications.loadPath,
            "resource": applications.loadResource,
            "resource-script": applications.loadResourceScript,
            "wsgi": self._loadWSGI,
        }
        try:
            return loaders[option](name)
        except ApplicationError as error:
            raise UsageError(f"--{option}: {error}") from error

    def _loadWSGI(self, name: str) -> IResource:
        application = applications.loadWSGI(name)
        threads = self["threads"]
        self["pool"] = ThreadPool(min(_FEW_THREADS, threads), threads, "wsgi")
        return FastCGIWSGIResource(theReactor(), self["pool"], application)

    def _checkLogFormat(self) -> None:
        chosen = self["log-format"] or "combined"
        if chosen not in LOG_FORMATS:
            raise UsageError(f"--log-format: {chosen!r} is neither combined nor json")
        if self["logfile"] is None:
            if self["log-format"] is not None:
                raise UsageError("--log-format: there is no --logfile")
            return
        self["log-format"] = chosen

    def _openLogFile(self) -> None:
        # To open it is to make it.
        if self["logfile"] is None or self["check"]:
            return
        if isPipe(self["logfile"]):
            # Its reader would take the end of this test for the end of the log.
            return
        try:
            os.close(openLog(self["logfile"], *self._futureOwner()))
        except OSError as error:
            message = f"--logfile: cannot write to {self['logfile']!r}"
            raise UsageError(f"{message}: {error.strerror}") from error

    def _parsePorts(self) -> None:
        if self["ports"]:
            descriptions = self["ports"]
        elif self["preview"] is not None:
            descriptions = []
        elif isListeningSocket(LISTENSOCK_FILENO):
            descriptions = [_INHERITED]
        else:
            descriptions = [*passedBySystemd(theReactor())] or [DEFAULT_PORT]
        uid, gid = self._futureOwner()
        for description in descriptions:
            self._try(self._parsePort, description, uid, gid)

    def _parsePort(self, description: str, *owner: int | None) -> None:
        self["endpoints"].append(_parseEndpoint("port", description, *owner))

    def _futureOwner(self) -> tuple[int | None, int | None]:
        """
        @return: Who the process will be when C{twistd} has shed its privileges:
            a socket that is made before is to be theirs.
        """
        return self._ofRunner("uid"), self._ofRunner("gid")

    def _parsePeers(self) -> None:
        try:
            found = webServerPeers(os.environ)
            lists = [] if found is None else [found]
            if self["allowed"]:
                lists.append(Peers(",".join(self["allowed"]), "--allow"))
        except ValueError as error:
            raise UsageError(str(error)) from error
        self["peers"] = lists

    def _keepPreview(self) -> None:
        self["preview"] = self._parsePreview()

    def _parseStatus(self) -> None:
        allowed = self["status-allow"]
        try:
            self["watchers"] = Peers(allowed or _LOCAL, "--status-allow")
        except ValueError as error:
            raise UsageError(str(error)) from error
        path = self["status-path"]
        if path is None and allowed is not None:
            raise UsageError("--status-allow: there is no --status-path")
        try:
            # Made in earnest once there is something to be shown.
            StatusPath("/-" if path is None else path, Resource())
        except ValueError as error:
            raise UsageError(f"--status-path: {error}") from error

    def _parsePreview(self) -> DescribedEndpoint | None:
        if self["preview"] is not None:
            return _parseEndpoint("preview", self["preview"])
        if self["preview-anywhere"]:
            raise UsageError("--preview-anywhere: there is no --preview")
        return None


def _parseEndpoint(
    option: str, description: str, uid: int | None = None, gid: int | None = None
) -> DescribedEndpoint:
    try:
        return endpointFromString(theReactor(), description, uid, gid)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from error


def _asResource(authorizer: Any) -> IResource:
    if isinstance(authorizer, AuthorizerResource):
        return authorizer
    return AuthorizerResource(authorizer)


def theReactor() -> Any:
    """
    @return: The reactor that was asked for on the command line, which is
        installed only after this module is imported.
    """
    from twisted.internet import reactor

    return reactor
