# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tell systemd, or whoever speaks as it does, when the process is ready, loads
itself anew, and stops: the protocol of C{sd_notify(3)}.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

NOTIFY_SOCKET = "NOTIFY_SOCKET"
"""
The environment variable that says where to.
"""

#: For how many seconds it is tried.
_PATIENCE = 2.0


class Notifier:
    """
    Sends messages to systemd; without it, does nothing.

    Whatever goes wrong harms nobody: there is one warning.
    """

    _log = Logger()

    def __init__(self, address: str = "") -> None:
        """
        @param address: A path, or C{@} and a name in the abstract namespace;
            nothing for nobody.
        """
        self._address = address
        self._warned = False

    @classmethod
    def fromEnvironment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """
        Take the address from the environment, where the programs that this one
        starts must not find it.

        @param environment: The environment, usually C{os.environ}.
        """
        return cls(environment.pop(NOTIFY_SOCKET, ""))

    def __bool__(self) -> bool:
        """
        Tell whether there is somebody to send to.
        """
        return bool(self._address)

    def ready(self, status: str) -> None:
        """
        Tell that the process serves, at the start or after L{reloading}.

        @param status: What C{systemctl status} shows.
        """
        self.send("READY=1", f"STATUS={status}")

    def reloading(self, status: str) -> None:
        """
        Tell that new code is being loaded; L{ready} has to follow.

        @param status: See L{ready}.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.send("RELOADING=1", f"MONOTONIC_USEC={now}", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """
        Tell that the process is about to end.

        @param status: See L{ready}.
        """
        self.send("STOPPING=1", f"STATUS={status}")

    def send(self, *lines: str) -> None:
        """
        Send a message.

        @param lines: Assignments, as of C{sd_notify(3)}.
        """
        if not self._address:
            return
        # One line each, whatever a path has in it.
        data = "\n".join(" ".join(line.splitlines()) for line in lines)
        try:
            self._sendTo(_socketAddress(self._address), os.fsencode(data))
        except OSError as error:
            self._warn(error.strerror or str(error))
        except ValueError as error:
            self._warn(str(error))

    def _sendTo(self, address: bytes, data: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as skt:
            skt.settimeout(_PATIENCE)
            skt.sendto(data, address)

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            self._log.warn(
                "cannot tell the service manager ({name} is {address}): {error}",
                name=NOTIFY_SOCKET,
                address=self._address,
                error=why,
            )


def _socketAddress(address: str) -> bytes:
    """
    @raise ValueError: If it is none.
    """
    if address[0] not in "/@":
        raise ValueError("it is neither a path nor @ and a name")
    encoded = os.fsencode(address)
    return b"\0" + encoded[1:] if address[0] == "@" else encoded


class Server(Protocol):
    """
    What takes its time to be ready.

    @ivar description: What it serves where, once it does; or nothing.
    """

    @property
    def description(self) -> str: ...

    def whenServing(self) -> Deferred[None]: ...


class NotifyService(Service):
    """
    Tells when all of some servers serve and the reactor runs; and, at once, when
    they are to stop.
    """

    def __init__(
        self, notifier: Notifier, servers: Sequence[Server], reactor: Any
    ) -> None:
        """
        @param notifier: Whom to tell.
        @param servers: What has to be ready; they are started before this, or in
            the same turn of the reactor.
        @param reactor: An L{IReactorCore<twisted.internet.interfaces.IReactorCore>}.
        """
        self._notifier = notifier
        self._servers = servers
        self._reactor = reactor

    def startService(self) -> None:
        """
        Begin to wait.
        """
        super().startService()
        self._reactor.callWhenRunning(self._wait)

    def stopService(self) -> None:
        """
        Tell that the process stops.
        """
        super().stopService()
        self._notifier.stopping("finishing the requests in hand")

    def _wait(self) -> None:
        serving = [server.whenServing() for server in self._servers]
        DeferredList(serving).addCallback(self._ready)

    def _ready(self, _: object) -> None:
        if self.running:
            said = [server.description for server in self._servers]
            self._notifier.ready(f"serving {' and '.join(filter(None, said))}")
