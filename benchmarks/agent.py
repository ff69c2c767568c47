# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A load made by L{FastCGIAgent<twisted_fastcgi.FastCGIAgent>}, or by
L{twisted.web.client.Agent}, to tell what each of them costs.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from twisted.internet.defer import DeferredList, inlineCallbacks
from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from twisted_fastcgi import FastCGIAgent

_HEADERS = Headers(
    {
        b"Accept": [b"text/html,application/xhtml+xml,*/*;q=0.8"],
        b"Accept-Encoding": [b"gzip, deflate"],
        b"Accept-Language": [b"en-US,en;q=0.5"],
        b"User-Agent": [b"benchmark"],
    }
)


@implementer(IAgentEndpointFactory)
class _OneEndpoint:
    """
    Connects to one place, whatever the URI says.
    """

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> Any:
        """
        Tell the place.
        """
        return self._endpoint


def _makeAgent(reactor: Any, options: argparse.Namespace) -> IAgent:
    """
    Make the agent that is to be measured.
    """
    endpoint = clientFromString(reactor, options.address)
    if not options.http:
        return FastCGIAgent(reactor, endpoint, maxConnections=options.connections)
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = options.connections
    return Agent.usingEndpointFactory(reactor, _OneEndpoint(endpoint), pool)


class _Load:
    """
    Requests, one after the other and several at a time, until a deadline.
    """

    def __init__(self, agent: IAgent, uri: bytes, text: bytes) -> None:
        self._agent = agent
        self._uri = uri
        self._text = text

    def run(self, count: int, seconds: float) -> Any:
        """
        Make requests for so long, C{count} at a time.

        @return: Fires when all are answered.
        """
        self.latencies: list[float] = []
        self._deadline = time.monotonic() + seconds
        workers = [self._work() for _ in range(count)]
        return DeferredList(workers, fireOnOneErrback=True)

    @inlineCallbacks
    def _work(self) -> Any:
        while (began := time.monotonic()) < self._deadline:
            response = yield self._agent.request(b"GET", self._uri, _HEADERS)
            body = yield readBody(response)
            if (response.code, body) != (200, self._text):
                raise ValueError(f"the response is {response.code} {body!r}")
            self.latencies.append(time.monotonic() - began)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--path", default="/hello")
    parser.add_argument("--text", default="hello")
    parser.add_argument("address")
    return parser.parse_args()


@inlineCallbacks
def main(reactor: Any, options: argparse.Namespace) -> Any:
    """
    Measure, and print the result as C{fcgiload} does.
    """
    load = _Load(
        _makeAgent(reactor, options),
        b"http://www.example.com" + options.path.encode(),
        options.text.encode(),
    )
    yield load.run(options.connections, options.warmup)
    began, cpu = time.monotonic(), time.process_time()
    yield load.run(options.connections, options.seconds)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    latencies = sorted(load.latencies)
    count = len(latencies)
    result = {
        "requests": count,
        "seconds": took,
        "rate": count / took,
        "p50": 1e6 * latencies[count // 2],
        "p99": 1e6 * latencies[count * 99 // 100],
        "megabytes": count * len(options.text) / took / 1e6,
        "client_cpu": cpu,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    react(main, [_arguments()])
