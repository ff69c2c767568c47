# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.service}.
"""

from __future__ import annotations

import atexit
import errno
import os
import socket
from collections.abc import Callable
from threading import Event, current_thread
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.address import (
    HostnameAddress,
    IPv4Address,
    IPv6Address,
    UNIXAddress,
)
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.internet.testing import (
    AccumulatingProtocol,
    EventLoggingObserver,
    MemoryReactor,
    MemoryReactorClock,
)
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests import wire
from twisted_fastcgi import service
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.endpoints import InheritedEndpoint
from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.peers import Peers
from twisted_fastcgi.ports import BACKLOG
from twisted_fastcgi.server import FastCGIFactory
from twisted_fastcgi.service import (
    CannotServe,
    FastCGIService,
    endpointFromString,
    nginxDirective,
    passedBySystemd,
)
from twisted_fastcgi.unixsocket import UnixEndpoint


class Factory(ServerFactory):
    """
    Notes what happens in C{events}, and drains when it is told to.
    """

    noisy = False

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.drained: Deferred[None] = Deferred()

    def startFactory(self) -> None:
        """
        Note the start.
        """
        self.events.append("start")

    def stopFactory(self) -> None:
        """
        Note the stop.
        """
        self.events.append("stop")

    def drain(
        self, grace: float, refuse: bool = True, successor: Any = None
    ) -> Deferred[None]:
        """
        Note the drain.
        """
        self.events.append(("drain", grace, refuse, *filter(None, [successor])))
        return self.drained


@implementer(IListeningPort)
class Port:
    """
    Notes in C{events} that it is stopped.
    """

    def __init__(self, events: list[Any], stopped: Any, address: IAddress) -> None:
        self.events = events
        self.stopped = stopped
        self.address = address

    def startListening(self) -> None:
        """
        Not called by services.
        """

    def acceptWaiting(self) -> None:
        """
        Note it.
        """
        self.events.append("acceptWaiting")

    def stopListening(self) -> Any:
        """
        Note it.
        """
        self.events.append("stopListening")
        return self.stopped

    def getHost(self) -> IAddress:
        """
        Tell the address.
        """
        return self.address


@implementer(IStreamServerEndpoint)
class Endpoint:
    """
    Listens with a given result.
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls = 0

    def __str__(self) -> str:
        return "the endpoint"

    def listen(self, protocolFactory: Any) -> Any:
        """
        Give the result.
        """
        self.calls += 1
        return self.result


class Pool(ThreadPool):
    """
    Notes in C{events} that it starts and stops.
    """

    def __init__(self, events: list[Any]) -> None:
        super().__init__()
        self.events = events

    def start(self) -> None:
        """
        Note the start.
        """
        self.events.append("start pool")

    def stop(self) -> None:
        """
        Note the stop.
        """
        self.events.append("stop pool")


class StubMixin:
    """
    Makes services with stubs around them.
    """

    def setUp(self: Any) -> None:
        """
        Make a factory, and watch the log.
        """
        self.events: list[Any] = []
        self.factory = Factory(self.events)
        self.observer = EventLoggingObserver()
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)

    def port(
        self: Any, stopped: Any = None, address: IAddress | None = None
    ) -> Endpoint:
        """
        Make an endpoint that listens at once.
        """
        where = IPv4Address("TCP", "127.0.0.1", 9000) if address is None else address
        return Endpoint(succeed(Port(self.events, stopped, where)))

    def service(self: Any, *endpoints: Endpoint, **options: Any) -> FastCGIService:
        """
        Make a service.
        """
        return FastCGIService(endpoints, self.factory, **options)

    def logged(self: Any) -> list[str]:
        """
        Format what the service has logged.
        """
        return [
            event["log_format"].format(**event)
            for event in self.observer
            if event.get("log_namespace", "").startswith("twisted_fastcgi.service")
        ]


class StartTests(StubMixin, SynchronousTestCase):
    """
    A service starts.
    """

    def test_privileged(self) -> None:
        """
        The endpoints listen in C{privilegedStartService}, and only once.
        """
        endpoints = [self.port(), self.port()]
        service = self.service(*endpoints)
        service.privilegedStartService()
        self.assertEqual([endpoint.calls for endpoint in endpoints], [1, 1])
        service.startService()
        self.assertEqual([endpoint.calls for endpoint in endpoints], [1, 1])
        self.assertTrue(service.running)

    def test_unprivileged(self) -> None:
        """
        They listen in C{startService} if that is all there is, as with
        C{twist}.
        """
        endpoint = self.port()
        self.service(endpoint).startService()
        self.assertEqual((endpoint.calls, self.events), (1, ["start"]))

    def test_logged(self) -> None:
        """
        The log has one line for all addresses that says what is served there,
        and how nginx reaches the first one that it can.
        """
        tor = HostnameAddress(b"x.onion", 80)
        tcp, unix = IPv4Address("TCP", "127.0.0.1", 9000), UNIXAddress(b"/run/x")
        inNginx = "in nginx: fastcgi_pass"
        for addresses, expected in (
            ([tor], f"serving app.root on {tor}"),
            (
                [tor, unix],
                f"serving app.root on {tor} and /run/x; {inNginx} unix:/run/x;",
            ),
            (
                [tcp, unix, tor],
                f"serving app.root on 127.0.0.1:9000, /run/x and {tor}; "
                f"{inNginx} 127.0.0.1:9000;",
            ),
        ):
            self.observer._events.clear()
            ports = [self.port(address=address) for address in addresses]
            service = self.service(*ports, what="app.root")
            service.startService()
            self.assertEqual(self.logged(), [expected])
            _, description = expected.split(";")[0].split(" ", 1)
            self.assertEqual(service.description, description)

    def test_loggedLate(self) -> None:
        """
        What opens later has a line of its own.
        """
        late: Deferred[Any] = Deferred()
        service = self.service(Endpoint(late), self.port(), what="app.root")
        serving = service.whenServing()
        service.startService()
        [first] = self.logged()
        self.assertIn("serving app.root on 127.0.0.1:9000;", first)
        self.assertNoResult(serving)
        late.callback(Port(self.events, None, UNIXAddress(b"/run/x")))
        [_, second] = self.logged()
        self.assertIn("serving app.root on /run/x;", second)
        self.successResultOf(serving)
        self.successResultOf(service.whenServing())

    def test_noPorts(self) -> None:
        """
        Without any port there is nothing to say, and nothing to wait for.
        """
        service = self.service()
        service.startService()
        self.assertEqual((self.logged(), service.description), ([], ""))
        self.successResultOf(service.whenServing())

    def test_nothingLogged(self) -> None:
        """
        If one of them can't listen, the log does not say that others do.
        """
        service = self.service(self.port(), Endpoint(fail(OSError(2, "no"))))
        serving = service.whenServing()
        self.assertRaises(CannotServe, service.startService)
        self.assertEqual(self.logged(), [])
        self.assertNoResult(serving)

    def test_exposed(self) -> None:
        """
        There is a warning for each address that other machines can reach, if
        nobody says who may connect.
        """
        for address, warns in [
            (IPv4Address("TCP", "0.0.0.0", 9000), True),
            (IPv6Address("TCP", "::", 9000), True),
            (IPv4Address("TCP", "192.168.1.5", 9000), True),
            (IPv4Address("TCP", "127.1.2.3", 9000), False),
            (IPv6Address("TCP", "::1", 9000), False),
            (UNIXAddress(b"/run/x"), False),
        ]:
            for lists, expected in [([], warns), ([Peers("10.0.0.0/8")], False)]:
                self.observer._events.clear()
                self.service(self.port(address=address), peers=lists).startService()
                warned = [line for line in self.logged() if "--allow" in line]
                self.assertEqual(len(warned), expected, address)

    def test_peers(self) -> None:
        """
        Only who is listed is served.
        """
        endpoint = self.port()
        factories: list[Any] = []
        real = endpoint.listen
        endpoint.listen = lambda factory: real(factories.append(factory))  # type: ignore
        self.service(endpoint, peers=[Peers("10.0.0.0/8")]).startService()
        [factory] = factories
        self.assertIsNone(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))

    def test_pool(self) -> None:
        """
        The thread pool starts with the service, but not before privileges are
        shed.
        """
        service = self.service(pool=Pool(self.events))
        service.privilegedStartService()
        self.assertEqual(self.events, ["start"])
        service.startService()
        self.assertEqual(self.events, ["start", "start pool"])

    def test_restart(self) -> None:
        """
        A service that was stopped can be started again.
        """
        endpoint = self.port()
        service = self.service(endpoint)
        self.factory.drained.callback(None)
        for times in (1, 2):
            endpoint.result = self.port().result
            service.startService()
            self.assertEqual(endpoint.calls, times)
            self.successResultOf(service.stopService())


class RefusalTests(StubMixin, SynchronousTestCase):
    """
    A service cannot start.
    """

    def refused(self, error: Exception) -> str:
        """
        Start a service whose second endpoint cannot listen, with that error.
        """
        service = self.service(self.port(), Endpoint(fail(error)), self.port())
        problem = self.assertRaises(CannotServe, service.privilegedStartService)
        self.assertFalse(service.running)
        return str(problem)

    def test_message(self) -> None:
        """
        The message is one line that names the endpoint and the cause.
        """
        path = self.mktemp()
        with open(path, "w"):
            pass
        lock = OSError(2, "No such file or directory", "1234", None, b"/no/x.lock")
        for error, cause in [
            (
                CannotListenError("127.0.0.1", 9, OSError(98, "Address in use")),
                "Address in use",
            ),
            (
                CannotListenError(None, b"/run/x", "Cannot acquire lock"),
                "Cannot acquire lock: another process holds /run/x.lock",
            ),
            (
                CannotListenError(None, path.encode(), OSError(98, "Address in use")),
                "the path exists and is not a socket",
            ),
            (
                CannotListenError(None, b"\0x", OSError("too long")),
                "too long",
            ),
            (lock, "No such file or directory: /no/x.lock"),
            (OSError(13, "Permission denied", "/x"), "Permission denied: /x"),
            (OverflowError("port must be 0-65535."), "port must be 0-65535."),
            (ZeroDivisionError(), "ZeroDivisionError"),
        ]:
            message = f"cannot listen on the endpoint: {cause}"
            self.assertEqual(self.refused(error), message)

    def test_cleanUp(self) -> None:
        """
        What was open already is closed, and no other endpoint is tried.
        """
        first, last = self.port(), self.port()
        service = self.service(first, Endpoint(fail(OSError(13, "no"))), last)
        self.assertRaises(CannotServe, service.startService)
        self.assertEqual(self.events, ["start", "stopListening", "stop"])
        self.assertEqual(last.calls, 0)
        self.successResultOf(service.stopService())
        self.assertEqual(self.events, ["start", "stopListening", "stop"])

    def test_raises(self) -> None:
        """
        An endpoint that raises instead of failing is refused in the same way.
        """
        endpoint: Any = self.port()
        endpoint.listen = None
        problem = self.assertRaises(CannotServe, self.service(endpoint).startService)
        self.assertIn("not callable", str(problem))

    def test_factory(self) -> None:
        """
        A factory that cannot start, as for an access log that cannot be opened,
        stops the service before it listens.
        """
        endpoint = self.port()
        missing = os.path.join(self.mktemp(), "access.log")
        site = Site(Resource(), logPath=missing)
        self.addCleanup(site.stopFactory)
        service = FastCGIService([endpoint], FastCGIFactory(site))
        problem = self.assertRaises(CannotServe, service.startService)
        self.assertIn("cannot start to serve: No such file", str(problem))
        self.assertIn("access.log", str(problem))
        self.assertEqual(endpoint.calls, 0)

    def test_exit(self) -> None:
        """
        What is raised makes the interpreter exit with status 1 and the message,
        and yet lets those clean up who catch any exception.
        """
        problem = CannotServe("why")
        self.assertIsInstance(problem, SystemExit)
        self.assertIsInstance(problem, FastCGIError)
        self.assertIsInstance(problem, Exception)
        self.assertEqual(problem.code, "why")

    def test_late(self) -> None:
        """
        If an endpoint that takes its time cannot listen in the end, the reactor
        is stopped, and the process exits with status 1.
        """
        flushed: list[str] = []
        self.patch(os, "_exit", lambda code: flushed.append(f"exit {code}"))
        atTheEnd: list[Any] = []
        self.patch(atexit, "register", atTheEnd.append)
        listening: Deferred[Any] = Deferred()
        memory = MemoryReactor()
        service = self.service(Endpoint(listening), reactor=memory)
        service.startService()
        self.assertEqual(self.logged(), [])
        listening.errback(OSError(13, "Permission denied"))
        self.assertTrue(memory.hasStopped)
        [exit] = atTheEnd
        exit()
        self.assertEqual(flushed, ["exit 1"])
        self.assertEqual(
            self.logged(), ["cannot listen on the endpoint: Permission denied"]
        )

    def test_globalReactor(self) -> None:
        """
        That is the global reactor, if none is given.
        """
        stopped: list[str] = []
        self.patch(reactor, "stop", lambda: stopped.append("stop"))
        self.patch(atexit, "register", lambda function: None)
        listening: Deferred[Any] = Deferred()
        self.service(Endpoint(listening)).startService()
        listening.errback(OSError(13, "Permission denied"))
        self.assertEqual(stopped, ["stop"])


class StopTests(StubMixin, SynchronousTestCase):
    """
    A service stops.
    """

    def test_order(self) -> None:
        """
        First the ports are closed, then requests have their time to finish;
        only then the thread pool stops, and last the factory with its access
        log: until then, the signal to open it anew does not end the process.
        """
        closed: Deferred[None] = Deferred()
        pool = Pool(self.events)
        service = self.service(self.port(closed), grace=7.0, pool=pool)
        service.startService()
        self.events.clear()
        stopped = service.stopService()
        self.assertFalse(service.running)
        self.assertEqual(self.events, ["stopListening"])
        closed.callback(None)
        self.assertEqual(self.events, ["stopListening", ("drain", 7.0, True)])
        self.assertNoResult(stopped)
        self.factory.drained.callback(None)
        self.assertEqual(self.events[2:], ["stop pool", "stop"])
        self.assertIsNone(self.successResultOf(stopped))

    def test_shared(self) -> None:
        """
        A worker accepts who waits before it stops listening, and refuses nobody;
        what it serves, and who may connect, is for others to say.
        """
        address = IPv4Address("TCP", "0.0.0.0", 9000)
        service = self.service(
            self.port(address=address), grace=7.0, shared=True, successor="next"
        )
        service.startService()
        self.assertEqual(self.logged(), [])
        self.events.clear()
        service.stopService()
        self.assertEqual(
            self.events,
            ["acceptWaiting", "stopListening", ("drain", 7.0, False, "next")],
        )

    def test_takeOver(self) -> None:
        """
        A connection that another worker has accepted is served, and not counted
        again: if it has come in by one of the ports, and there is room for it.
        """
        listening, foreign = socket.socket(), socket.socket()
        for skt in (listening, foreign):
            self.addCleanup(skt.close)
            skt.bind(("127.0.0.1", 0))
            skt.listen()

        def accepted(skt: socket.socket) -> socket.socket:
            client = socket.create_connection(skt.getsockname())
            self.addCleanup(client.close)
            connection, _ = skt.accept()
            self.addCleanup(connection.close)
            return connection

        memory: Any = MemoryReactorClock()
        made = FastCGIFactory(Resource(), limits=Limits(connections=1), reactor=memory)
        endpoint = InheritedEndpoint(reactor, os.dup(listening.fileno()))
        served = FastCGIService([endpoint], made, shared=True, reactor=memory)
        served.startService()
        self.assertFalse(served.takeOver(accepted(foreign)))
        self.assertTrue(served.takeOver(accepted(listening)))
        found = made.statistics()
        self.assertEqual((found.accepted, found.open), (0, 1))
        self.assertFalse(served.takeOver(accepted(listening)))
        self.assertEqual(made.statistics().open, 1)
        for each in list(made._connections):
            transport: Any = each.transport
            transport.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(served.stopService())
        self.assertEqual(memory.getDelayedCalls(), [])

    def stopWorking(self, work: Callable[[], object]) -> tuple[Any, Any, Any, Any]:
        """
        Stop a service with a thread that is at work.

        @return: The pool, the clock, what the stop returns, and the list of
            what is logged.
        """
        begun, clock = Event(), Clock()

        def begin() -> None:
            begun.set()
            work()

        pool = ThreadPool(0, 1)
        reactor: Any = clock
        service = self.service(pool=pool, reactor=reactor, grace=5.0)
        service.startService()
        pool.callInThread(begin)
        self.assertTrue(begun.wait(60))
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        stopped = service.stopService()
        self.factory.drained.callback(None)
        self.assertNoResult(stopped)
        return pool, clock, stopped, events

    def test_threadAtWork(self) -> None:
        """
        What a thread does after the last response may take its time, within
        the grace.
        """
        end = Event()
        pool, clock, stopped, events = self.stopWorking(lambda: end.wait(60))
        clock.advance(4.0)
        self.assertNoResult(stopped)
        end.set()
        while pool.working:
            pass
        clock.advance(0.1)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertFalse(any(thread.is_alive() for thread in pool.threads))
        self.assertEqual(events, [])

    def test_threadThatHangs(self) -> None:
        """
        A thread that has not ended its work by then is neither waited for, nor
        does it keep the process from ending.
        """
        end = Event()
        daemonic: list[bool] = []

        def work() -> None:
            daemonic.append(current_thread().daemon)
            end.wait(60)

        pool, clock, stopped, events = self.stopWorking(work)
        clock.advance(6.0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(daemonic, [True])
        self.assertEqual([event.get("count") for event in events], [1])
        end.set()
        pool.stop()

    def test_defaultGrace(self) -> None:
        """
        Requests have 30 seconds if nothing else is said.
        """
        service = self.service()
        service.startService()
        service.stopService()
        self.assertIn(("drain", 30.0, True), self.events)

    def test_neverStarted(self) -> None:
        """
        A service that was never started stops at once.
        """
        self.successResultOf(self.service(self.port()).stopService())
        self.assertEqual(self.events, [])

    def test_waiting(self) -> None:
        """
        An endpoint that still has not listened is told not to.
        """
        cancelled: list[Any] = []
        listening: Deferred[Any] = Deferred(cancelled.append)
        service = self.service(Endpoint(listening), reactor=MemoryReactor())
        service.startService()
        self.factory.drained.callback(None)
        self.successResultOf(service.stopService())
        self.assertEqual(cancelled, [listening])
        self.assertEqual(self.logged(), [])

    def test_portFails(self) -> None:
        """
        A port that does not stop, or a drain that fails, makes a traceback in
        the log; the rest is stopped all the same.
        """
        service = self.service(self.port(fail(ZeroDivisionError())), self.port())
        service.startService()
        self.factory.drained.errback(KeyError())
        self.successResultOf(service.stopService())
        self.assertEqual(self.events.count("stopListening"), 2)
        self.assertEqual(self.events[-1], "stop")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class DescriptionTests(SynchronousTestCase):
    """
    Endpoint strings and addresses.
    """

    def test_endpoint(self) -> None:
        """
        An endpoint from a string calls itself by the string, and listens.
        """
        memory = MemoryReactor()
        endpoint = endpointFromString(memory, "tcp:9000:interface=127.0.0.1")
        verifyObject(IStreamServerEndpoint, endpoint)
        self.assertEqual(str(endpoint), "tcp:9000:interface=127.0.0.1")
        factory = ServerFactory()
        self.successResultOf(endpoint.listen(factory))
        self.assertEqual(memory.tcpServers, [(9000, factory, BACKLOG, "127.0.0.1")])

    def test_unix(self) -> None:
        """
        A Unix socket belongs to whom the string names, else to whom the caller
        does.
        """
        for options, owner in [("", (7, 8)), (":user=1", (1, 8)), (":group=2", (7, 2))]:
            made = endpointFromString(reactor, f"unix:/run/x{options}", 7, 8)
            endpoint = made.endpoint
            assert isinstance(endpoint, UnixEndpoint)
            self.assertEqual((endpoint.uid, endpoint.gid), owner)

    def test_systemd(self) -> None:
        """
        A socket that systemd has passed is inherited as any other one.
        """
        skt = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(skt.close)
        fd = os.dup(skt.fileno())
        self.addCleanup(os.close, fd)

        def parse(reactor: Any, description: str) -> AdoptedStreamServerEndpoint:
            return AdoptedStreamServerEndpoint(reactor, fd, socket.AF_UNIX)

        self.patch(service, "serverFromString", parse)
        endpoint = endpointFromString(MemoryReactorClock(), "systemd:x")
        self.assertEqual(str(endpoint), "systemd:x")
        port = self.successResultOf(endpoint.listen(ServerFactory()))
        self.assertEqual(port.getHost().port, skt.getsockname()[1])
        port.stopListening()

    def test_passedBySystemd(self) -> None:
        """
        All sockets that systemd has passed are found, and there may be none.
        """
        passed: list[str] = []

        def parse(reactor: Any, description: str) -> None:
            if description not in passed:
                raise IndexError

        self.patch(service, "serverFromString", parse)
        for number in range(3):
            found = list(passedBySystemd(MemoryReactorClock()))
            self.assertEqual(found, passed)
            passed.append(f"systemd:domain=UNIX:index={number}")

    def test_bad(self) -> None:
        """
        A string that is none is refused in one line with the string, the cause
        and examples.
        """
        for text, cause in [
            ("", "Unknown endpoint type: ''"),
            ("9000", "Unknown endpoint type: '9000'"),
            ("127.0.0.1:9000", "Unknown endpoint type: '127.0.0.1'"),
            ("tcp", "missing 1 required positional argument: 'port'"),
            ("tcp:http", "invalid literal for int() with base 10: 'http'"),
            ("tcp:9000:host=x", "got an unexpected keyword argument 'host'"),
            ("unix:/x:mode=9", "the mode is '9': write an octal number such as 660"),
            ("unix", "missing 1 required positional argument: 'address'"),
            ("unix:/x:user=nosuchuser", "there is no user 'nosuchuser'"),
            (
                "systemd:domain=UNIX:index=0",
                "systemd has passed no such socket (list index out of range)",
            ),
            (
                "systemd:domain=UNIX:name=web",
                "systemd has passed no such socket ('web')",
            ),
            ("fcgi:fd=x", "the file descriptor is 'x': write a number"),
            ("fcgi:fd=999999", "file descriptor 999999 is no socket"),
        ]:
            error = self.assertRaises(ValueError, endpointFromString, reactor, text)
            self.assertTrue(
                str(error).startswith(f"bad endpoint {text!r}: {cause}"), error
            )
            self.assertIn("endpoints look like unix:/run/app.sock", str(error))

    def test_nginx(self) -> None:
        """
        There is a directive for each address that nginx on the same host can
        connect to.
        """
        here = os.getcwd()
        for address, directive in [
            (IPv4Address("TCP", "10.1.2.3", 9), "fastcgi_pass 10.1.2.3:9;"),
            (IPv4Address("TCP", "0.0.0.0", 9), "fastcgi_pass 127.0.0.1:9;"),
            (IPv6Address("TCP", "::1", 9), "fastcgi_pass [::1]:9;"),
            (IPv6Address("TCP", "::", 9), "fastcgi_pass [::1]:9;"),
            (UNIXAddress(b"/run/x"), "fastcgi_pass unix:/run/x;"),
            (UNIXAddress(b"x"), f"fastcgi_pass unix:{here}/x;"),
            (UNIXAddress(b"\0x"), None),
            (UNIXAddress(None), None),
            (HostnameAddress(b"x", 80), None),
        ]:
            self.assertEqual(nginxDirective(address), directive)


class Slow(Resource):
    """
    Answers when it is told to.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: Deferred[Request] = Deferred()

    def render(self, request: Request) -> int:
        """
        Give the request to whoever waits for one.
        """
        self.asked.callback(request)
        return NOT_DONE_YET


class RealTests(TestCase):
    """
    Real sockets, the real factory.
    """

    @inlineCallbacks
    def test_drain(self) -> Any:
        """
        A request in hand at the stop is answered, and logged in the access log;
        the socket is gone by then.
        """
        path, logPath = self.mktemp(), self.mktemp()
        resource = Slow()
        factory = FastCGIFactory(Site(resource, logPath=logPath))
        parent = MultiService()
        endpoint = endpointFromString(reactor, f"unix:{path}")
        service = FastCGIService([endpoint], factory)
        service.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        client = AccumulatingProtocol()
        closed = client.closedDeferred = Deferred()
        yield connectProtocol(UNIXClientEndpoint(reactor, path), client)
        client.transport.write(wire.request(wire.variables(b"/slow")))
        request = yield resource.asked
        stopped = parent.stopService()
        closing = Deferred()
        reactor.callLater(0, closing.callback, None)
        yield closing
        self.assertFalse(os.path.exists(path))
        self.assertNoResult(stopped)
        request.write(b"at last")
        request.finish()
        yield stopped
        yield closed
        self.assertEqual(wire.response(client.data).body, b"at last")
        with open(logPath) as log:
            self.assertIn('"GET /slow HTTP/1.1" 200 7', log.read())

    def test_inUse(self) -> None:
        """
        An address in use is refused.
        """
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        text = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        service = FastCGIService(
            [endpointFromString(reactor, text)], FastCGIFactory(Resource())
        )
        problem = self.assertRaises(CannotServe, service.startService)
        self.assertEqual(
            str(problem), f"cannot listen on {text}: {os.strerror(errno.EADDRINUSE)}"
        )
