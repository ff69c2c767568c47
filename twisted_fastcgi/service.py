# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The service: ports that open with it, and a drain when it stops.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    maybeDeferred,
    succeed,
)
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from twisted_fastcgi.endpoints import InheritedEndpoint
from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.handover import Successor
from twisted_fastcgi.peers import Peers, RestrictedFactory
from twisted_fastcgi.ports import AcceptingPort
from twisted_fastcgi.unixsocket import UnixEndpoint

if TYPE_CHECKING:
    from twisted_fastcgi.server import FastCGIFactory

DEFAULT_GRACE = 30.0
"""
Seconds that active requests have to finish when the service stops.
"""

_EXPOSED = (
    "whoever can reach {address} is believed whatever it says of a request: list who "
    "may connect (--allow), or listen on 127.0.0.1 or a Unix socket"
)

#: Seconds until it is looked again whether threads have ended their work.
_INTERVAL = 0.02

_EXAMPLES = (
    "endpoints look like unix:/run/app.sock:mode=660 or tcp:9000:interface=127.0.0.1"
)

# What this package has endpoints of its own for.
_BETTER = ("tcp", "unix")

# For a peer on the same host, the way to an address that means all of them.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class CannotServe(SystemExit, FastCGIError):
    """
    The service cannot start.  The message is one line that names the address
    and the cause.

    It is a L{SystemExit} because C{twistd} and C{twist} let whatever a service
    raises fall through to the interpreter: of this it prints the message, with
    no traceback, and exits with status 1.  As an L{Exception} it lets C{twistd}
    remove its pid file and tell the waiting parent of a daemon.
    """


@implementer(IStreamServerEndpoint)
class DescribedEndpoint:
    """
    An endpoint that messages call by the string it was made from.

    @ivar endpoint: What that stands for.
    """

    def __init__(self, description: str, endpoint: IStreamServerEndpoint) -> None:
        """
        @param description: The endpoint string.
        @param endpoint: What it stands for.
        """
        self._description = description
        self.endpoint = endpoint

    def __str__(self) -> str:
        return self._description

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        See L{IStreamServerEndpoint.listen}.
        """
        return self.endpoint.listen(protocolFactory)


def endpointFromString(
    reactor: Any, description: str, uid: int | None = None, gid: int | None = None
) -> DescribedEndpoint:
    """
    Make an endpoint, as L{serverFromString} does; but C{unix:}, C{tcp:} and
    C{systemd:} stand for endpoints of this package: with a backlog for bursts,
    the former with C{user} and C{group}.

    @param reactor: What the endpoint is to listen with.
    @param description: The endpoint string, such as C{tcp:9000} or
        C{unix:/run/app.sock:mode=660}.
    @param uid: The owner of a Unix socket, if the string does not say.
    @param gid: The group of a Unix socket, if the string does not say.
    @raise ValueError: If it is not one that can be used, whatever the reason;
        the message is one line that names it.
    """
    try:
        endpoint = _endpoint(reactor, description)
    except Exception as error:
        # A TypeError names the function that parses before what is wrong.
        cause = re.sub(r"^[\w.]+\(\) ", "", " ".join(str(error).split()))
        message = f"bad endpoint {description!r}: {cause}; {_EXAMPLES}"
        raise ValueError(message) from error
    if isinstance(endpoint, UnixEndpoint):
        endpoint.uid = uid if endpoint.uid is None else endpoint.uid
        endpoint.gid = gid if endpoint.gid is None else endpoint.gid
    return DescribedEndpoint(description, endpoint)


def _endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    prefix = description.partition(":")[0]
    if prefix in _BETTER:
        description = f"fcgi-{description}"
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except LookupError as error:
        raise ValueError(f"systemd has passed no such socket ({error})") from error
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        return InheritedEndpoint(reactor, endpoint.fileno)
    return endpoint


def passedBySystemd(reactor: Any) -> Iterator[str]:
    """
    Tell the endpoint strings of all sockets that systemd has passed.

    @param reactor: What they are to be listened on with.
    """
    index = 0
    while True:
        # What kind of a socket it is, the socket itself tells.
        description = f"systemd:domain=UNIX:index={index}"
        try:
            serverFromString(reactor, description)
        except LookupError:
            return
        yield description
        index += 1


def nginxDirective(address: IAddress) -> str | None:
    """
    Say how nginx on the same host reaches an address.

    @param address: Where a port listens.
    @return: A C{fastcgi_pass} directive, or L{None} if nginx cannot connect to
        such an address.
    """
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = _LOOPBACK.get(address.host, address.host)
        return f"fastcgi_pass {_hostPort(host, address.port)};"
    path = _path(address)
    return None if path is None else f"fastcgi_pass unix:{path};"


def _hostPort(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path(address: IAddress) -> str | None:
    """
    @return: The path of a Unix socket; L{None} if it has none that others could
        use, or for any other address.
    """
    name = address.name if isinstance(address, UNIXAddress) else None
    if not name or name.startswith(b"\0"):
        return None
    return os.path.abspath(os.fsdecode(name))


def _show(address: IAddress) -> str:
    if isinstance(address, (IPv4Address, IPv6Address)):
        return _hostPort(address.host, address.port)
    return _path(address) or str(address)


def _enumerated(names: Sequence[str]) -> str:
    """
    @return: C{"a, b and c"}.
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _isExposed(address: IAddress) -> bool:
    """
    Say whether other machines may be able to connect.
    """
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return False
    return not ip_address(address.host).is_loopback


def _cause(error: BaseException | None) -> str:
    """
    @return: Why a port could not be opened, in words for an operator.
    """
    inner = error
    if isinstance(error, CannotListenError):
        if _isForeignFile(error.port):
            return "the path exists and is not a socket"
        inner = error.socketError
        if isinstance(inner, str):
            return f"{inner}: another process holds {_fileName(error.port)}.lock"
    if not isinstance(inner, OSError):
        return str(inner) or type(inner).__name__
    # Of the lock beside a Unix socket, the second name is its path; the first
    # one is the number of this process.
    where = inner.filename2 or inner.filename
    text = inner.strerror or str(inner)
    return f"{text}: {_fileName(where)}" if where else text


def _fileName(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)


def _isForeignFile(path: object) -> bool:
    if not isinstance(path, bytes):
        return False
    try:
        return not stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _exitInFailure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class _DaemonThread(Thread):
    """
    A thread that does not keep the process from ending.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class FastCGIService(Service):
    """
    Serves FastCGI on some endpoints from its start to its stop.

    The endpoints begin to listen in C{privilegedStartService}, before the
    process sheds its privileges, or in C{startService} if the former is not
    called.
    """

    _log = Logger()

    def __init__(
        self,
        endpoints: Iterable[IStreamServerEndpoint],
        factory: FastCGIFactory,
        grace: float = DEFAULT_GRACE,
        *,
        what: str = "FastCGI",
        peers: Sequence[Peers] = (),
        pool: ThreadPool | None = None,
        shared: bool = False,
        successor: Successor | None = None,
        reactor: IReactorCore | None = None,
    ) -> None:
        """
        @param endpoints: Where to listen.
        @param factory: What builds a protocol for each connection.
        @param grace: Seconds that active requests have to finish at the stop.
        @param what: What is served, for the log.
        @param peers: The IP addresses that may connect, those in each of these
            lists; without a list all may.
        @param pool: A thread pool for the application: it starts with this
            service and stops after the last request.
        @param shared: Whether this is a worker, whose inherited sockets others
            share: at the stop, who waits is accepted, and nobody is refused.
        @param successor: Takes the connections of such a worker at the stop, as far
            as it can.
        @param reactor: What is stopped when an endpoint that takes its time
            cannot listen in the end, and tells how late it is; by default the
            global reactor.
        """
        self._endpoints: Sequence[IStreamServerEndpoint] = tuple(endpoints)
        self._factory = factory
        self._served: IProtocolFactory = factory
        if peers:
            self._served = RestrictedFactory(factory, peers)
        self._anybody = not peers
        self._grace = grace
        self._what = what
        self._pool = pool
        self._shared = shared
        self._successor = successor
        if pool is not None:
            pool.threadFactory = _DaemonThread
        self._reactor = reactor
        self._report: Callable[[CannotServe], None] = self._stopReactor
        self._attempts: list[Deferred[None]] = []
        self._ports: list[IListeningPort] = []
        self._together: list[IAddress] | None = None
        self._waiting: list[Deferred[None]] = []
        self._open = False

    @property
    def description(self) -> str:
        """
        What is served where; nothing if there are no ports.
        """
        addresses = [_show(port.getHost()) for port in self._ports]
        return f"{self._what} on {_enumerated(addresses)}" if addresses else ""

    def whenServing(self) -> Deferred[None]:
        """
        Wait for the ports.

        @return: Fires when all of them are open: never, if one can't be.
        """
        serving: Deferred[None] = Deferred()
        self._waiting.append(serving)
        self._tellServing()
        return serving

    def _tellServing(self) -> None:
        if self._open and len(self._ports) == len(self._endpoints):
            waiting, self._waiting = self._waiting, []
            for serving in waiting:
                serving.callback(None)

    def privilegedStartService(self) -> None:
        """
        Begin to listen.

        @raise CannotServe: If an endpoint cannot listen, or the factory cannot
            start.
        """
        super().privilegedStartService()
        self._openAll()

    def startService(self) -> None:
        """
        Begin to listen, unless that is done already.

        @raise CannotServe: If an endpoint cannot listen, or the factory cannot
            start.
        """
        self._openAll()
        super().startService()
        if self._pool is not None:
            self._pool.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, then let active requests finish for at most C{grace}
        seconds, then close all connections.

        @return: Fires when no connection is left, nor a thread at work whose
            time is not over.
        """
        super().stopService()
        if not self._open:
            return succeed(None)
        self._open = False
        if self._pool is not None:
            self._deadline = self._clock().seconds() + self._grace
        stopped = self._closePorts()
        stopped.addCallback(self._drain)
        stopped.addErrback(self._logFailure, "the drain failed")
        return stopped.addCallback(self._finish)

    def _drain(self, _: object) -> Deferred[None]:
        if self._shared:
            return self._factory.drain(
                self._grace, refuse=False, successor=self._successor
            )
        return self._factory.drain(self._grace)

    def takeOver(self, connection: socket.socket) -> bool:
        """
        Serve a connection that another worker has accepted.

        @param connection: Its socket.
        @return: Whether the socket is taken: not if there are as many connections
            as there may be, or if it did not come in by one of these ports.
        """
        ports = [port for port in self._ports if isinstance(port, AcceptingPort)]
        ports = [port for port in ports if port.hasAccepted(connection)]
        if self._factory.refusing or not ports:
            return False
        figures = self._factory.figures
        accepted = figures.accepted
        ports[0].takeOver(connection)
        # Who has accepted it has counted it.
        figures.accepted = accepted
        return True

    def _openAll(self) -> None:
        if self._open:
            return
        # Each port starts and stops the factory too.  Held from here, the
        # access log is open until the last request is answered.
        try:
            self._factory.doStart()
        except Exception as error:
            raise CannotServe(f"cannot start to serve: {_cause(error)}") from error
        self._open = True
        self._together = []
        for endpoint in self._endpoints:
            self._listen(endpoint)
        together, self._together = self._together, None
        if together and not self._shared:
            self._announce(together)

    def _listen(self, endpoint: IStreamServerEndpoint) -> None:
        problems: list[CannotServe] = []
        self._report = problems.append
        attempt = maybeDeferred(endpoint.listen, self._served)
        opened = attempt.addCallback(self._opened)
        self._attempts.append(opened.addErrback(self._refused, endpoint))
        self._report = self._stopReactor
        for problem in problems:
            self._giveUp()
            raise problem

    def _opened(self, port: IListeningPort) -> None:
        self._ports.append(port)
        address = port.getHost()
        if self._together is None:
            # It has taken its time.
            self._announce([address])
        else:
            self._together.append(address)
        self._tellServing()

    def _announce(self, addresses: Sequence[IAddress]) -> None:
        """
        Say in one line what is served where.
        """
        shown = [_show(address) for address in addresses]
        directives = filter(None, map(nginxDirective, addresses))
        hint = "".join(f"; in nginx: {each}" for each in list(directives)[:1])
        self._log.info(
            "serving {what} on {where}{hint}",
            what=self._what,
            where=_enumerated(shown),
            hint=hint,
            addresses=shown,
        )
        for address in addresses:
            if self._anybody and _isExposed(address):
                self._log.warn(_EXPOSED, address=_show(address))

    def _refused(self, failure: Failure, endpoint: IStreamServerEndpoint) -> None:
        if failure.check(CancelledError) is None:
            cause = _cause(failure.value)
            self._report(CannotServe(f"cannot listen on {endpoint}: {cause}"))

    def _stopReactor(self, problem: CannotServe) -> None:
        """
        End the process for the sake of an endpoint that failed after the start,
        when nobody waits for an exception any more.
        """
        self._log.critical("{problem}", problem=problem)
        # What runs the reactor exits with 0 whoever stopped it.
        atexit.register(_exitInFailure)
        self._clock().stop()

    def _clock(self) -> Any:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorCore, reactor)
        return self._reactor

    def _giveUp(self) -> None:
        self._open = False
        self._closePorts()
        self._factory.doStop()

    def _closePorts(self) -> Deferred[Any]:
        attempts, self._attempts = self._attempts, []
        for attempt in attempts:
            attempt.cancel()
        ports, self._ports = self._ports, []
        stopped: Deferred[Any] = DeferredList([self._closePort(p) for p in ports])
        return stopped

    def _closePort(self, port: Any) -> Deferred[Any]:
        if self._shared:
            port.acceptWaiting()
        stopped = maybeDeferred(port.stopListening)
        return stopped.addErrback(self._logFailure, "a port did not stop")

    def _logFailure(self, failure: Failure, what: str) -> None:
        self._log.failure("{what}", failure=failure, what=what)

    def _finish(self, _: object) -> Deferred[None]:
        stopped: Deferred[Any] = succeed(None)
        if self._pool is not None:
            stopped = maybeDeferred(self._stopPool, self._pool)
        # Last: until then a signal for the log is no reason to end at once.
        return stopped.addCallback(lambda _: self._factory.doStop())

    def _stopPool(self, pool: ThreadPool) -> Deferred[None] | None:
        """
        Stop the threads.  What they do after the response has as much time as
        that.  One that does not end its work is left alone: to stop it is to
        wait for it.  It does not keep the process from ending.
        """
        clock = self._clock()
        if not pool.working:
            pool.stop()
        elif clock.seconds() < self._deadline:
            again: Deferred[None] = deferLater(clock, _INTERVAL)
            return again.addCallback(lambda _: self._stopPool(pool))
        else:
            self._log.warn(
                "{count} threads of the application are left at work",
                count=len(pool.working),
            )
        return None
