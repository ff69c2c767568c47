# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Work that ends when nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

_Result = TypeVar("_Result")

Work: TypeAlias = (
    Deferred[_Result]
    | Coroutine[Deferred[Any], Any, _Result]
    | Generator[Deferred[Any], Any, _Result]
)


def cancelOnDisconnect(request: IRequest, work: Work[_Result]) -> Deferred[_Result]:
    """
    Cancel work for a request when its client leaves, or when the web server
    aborts the request (FastCGI 1.0, section 5.4), before the request is
    finished.

    What was cancelled fails with L{CancelledError
    <twisted.internet.defer.CancelledError>}, in a coroutine at the C{await}
    where it is.

    @param request: Any request of L{twisted.web}, whether it came over FastCGI
        or HTTP.
    @param work: A L{Deferred<twisted.internet.defer.Deferred>}, or a coroutine,
        which is started.
    @return: The Deferred; for a coroutine, one with its result.
    """
    started = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)

    def cancel(_: Failure) -> None:
        started.cancel()

    # Its interface does not have all that every request has.
    client: Any = request
    if getattr(client, "channel", client) is None and not client.finished:
        # It has left already: nobody is told of that a second time.
        started.cancel()
    else:
        client.notifyFinish().addErrback(cancel)
    return started
