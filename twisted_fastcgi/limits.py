# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What a peer may use up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    What a peer may use up.

    @ivar paramsBytes: The most bytes that the variables of one request may
        take, as they stand on the wire.  The default, 1 MiB, is far beyond
        what any web server sends: most fit them into one record of 64 KiB.
        A request beyond it gets the status 431, I{Request Header Fields Too
        Large}.
    @ivar params: The most variables of one request.  They cost some 150 bytes
        of memory each beyond their text, so the default of 16384 takes about
        2 MiB.  A request beyond it gets the same.
    @ivar nameLength: The longest name of a variable, in bytes.  The default,
        65535, is what fits one record.  A request beyond it gets the same.
    @ivar bodyBytes: The largest request body, in bytes, or L{None} for any;
        that is the default, because web servers have a limit of their own
        (C{client_max_body_size} in nginx).  A request beyond it is answered
        with 413, before its body is read if its length was told.
    @ivar connections: The most connections at a time; told to web servers that
        ask for C{FCGI_MAX_CONNS}.  Requests on connections beyond it are
        answered with 503.  The default, 1000, stays below the 1024 open files
        that a process usually may have.
    @ivar queuedAnswers: How many answers to management records and refused
        requests may be waiting to be sent while a request is in hand.  No web
        server is known to send even one of those then, the default is 64.  A
        connection beyond it is cut off.
    @ivar unheededBytes: How many bytes the application may write after its push
        producer was told to pause, until the web server has taken what waits;
        L{None} for no limit.  The default, 8 MiB, is far more than the piece
        that a producer may just be at.  Then the connection is cut off, because
        nothing else would keep the producer from filling the memory.  What is
        written without a producer does not count.
    @ivar paramsTimeout: In how many seconds the variables of a request must be
        complete, once its first byte has arrived; L{None} for no limit.  The
        default is 30: web servers send all of them at once.
    @ivar bodyTimeout: How many seconds may pass between two pieces of a
        request body; L{None} for no limit.  The default, 300, is more than
        web servers wait for their clients.
    @ivar writeTimeout: How many seconds may pass in which the web server takes
        nothing of what is sent to it; L{None} for no limit.  Then the
        connection is cut off.  Progress is seen in steps of 16 to 32 KiB (with
        TLS of 64 to 128 KiB), for a transport tells only when it has sent all
        that it was given.  The default, 600, is more than web servers wait for
        a client that stopped reading; lighttpd, with 360, waits longest.
    @ivar idleTimeout: For how many seconds a connection may be kept open
        without a request; L{None}, the default, for no limit, because a web
        server may send the next request at the very moment that the
        connection is closed for being idle.
    """

    paramsBytes: int = 1024 * 1024
    params: int = 16384
    nameLength: int = 65535
    bodyBytes: int | None = None
    connections: int = 1000
    queuedAnswers: int = 64
    unheededBytes: int | None = 8 * 1024 * 1024
    paramsTimeout: float | None = 30
    bodyTimeout: float | None = 300
    writeTimeout: float | None = 600
    idleTimeout: float | None = None

    def __post_init__(self) -> None:
        """
        @raise ValueError: If a limit would let nothing through.
        """
        for name in ("paramsBytes", "params", "nameLength", "connections"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1: {getattr(self, name)!r}")
        for name in ("bodyBytes", "unheededBytes"):
            size = getattr(self, name)
            if size is not None and not size >= 0:
                raise ValueError(f"{name} can't be negative: {size!r}")
        if self.queuedAnswers is None or not self.queuedAnswers >= 0:
            raise ValueError(f"queuedAnswers must be 0 or more: {self.queuedAnswers!r}")
        for name in ("paramsTimeout", "bodyTimeout", "writeTimeout", "idleTimeout"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds: {seconds!r}")
