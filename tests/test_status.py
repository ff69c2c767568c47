# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.status}, and for the forms in which it shows the
figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as oldFamilies
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests import wire
from tests.tables import TableTestCase, moderately, table
from tests.test_figures import statistics
from tests.transports import Application, ServerTestCase, later
from twisted_fastcgi.accept import MediaType, choose
from twisted_fastcgi.figures import (
    BOUNDS,
    ActiveRequest,
    ProcessStatistics,
    Statistics,
    harmless,
)
from twisted_fastcgi.peers import Peers
from twisted_fastcgi.records import Role
from twisted_fastcgi.status import StatusGate, StatusPath, StatusResource
from twisted_fastcgi.statusforms import (
    FORMS,
    METRICS,
    PREFIX,
    asHTML,
    asJSON,
    asText,
    openMetrics,
    prometheusText,
)

TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "prometheus": "text/plain; version=0.0.4; charset=utf-8",
}

#: What browsers and Prometheus send.
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;"
    "version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
#: What others send, and Prometheus before it knew OpenMetrics 1.0.
OLD_PROMETHEUS = (
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,"
    "*/*;q=0.1"
)
TELEGRAF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
    "encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3"
)
METRICBEAT = "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"

ACCEPTED: Mapping[str, tuple[str | None, str | None]] = {
    "nothing said": (None, "text"),
    "nothing in it": (" ", "text"),
    "curl": ("*/*", "text"),
    "Firefox": (FIREFOX, "html"),
    "Prometheus 2": (PROMETHEUS, "openmetrics"),
    "Prometheus 3": (PROMETHEUS3, "openmetrics"),
    "JSON": ("application/json", "json"),
    "capitals": ("Application/JSON", "json"),
    "a part": ("application/*", "json"),
    "weights": ("text/plain;q=0.5, application/json;q=0.6", "json"),
    "the closest says so": ("text/plain;q=0, text/*, */*;q=0.5", "html"),
    "anything but": ("*/*, text/plain;q=0", "json"),
    "nothing else": ("image/png", None),
    "nothing at all": ("*/*;q=0", None),
    "only another version": ("application/openmetrics-text;version=0.0.1", None),
    "Prometheus 2.30": (OLD_PROMETHEUS, "prometheus"),
    "Telegraf": (TELEGRAF, "prometheus"),
    "Metricbeat": (METRICBEAT, "prometheus"),
    "a version of text": ("text/plain;version=1, application/json;q=0.1", "json"),
    "text": ("text/plain", "text"),
    "wrong weights": ("text/html;q=2, application/json;q=x, text/plain;q=0.1", "text"),
    "quotes": ('text/html;x="a,;b";q=0.1, application/json;q=0.2', "json"),
    "spaces": (" text/plain ; q=0.1 , application/json ; Q=0.2 ", "json"),
    "commas": (",, ,application/json,", "json"),
    "nonsense": (";;=,/", None),
}


class AcceptTests(TableTestCase):
    """
    L{choose}
    """

    OFFERS = tuple(media for media, _ in FORMS.values())

    @table(dict(ACCEPTED))
    def test_choose(self, value: str | None, expected: str | None) -> None:
        """
        The form is chosen that the client likes best.
        """
        chosen = choose(value, self.OFFERS)
        media = None if expected is None else FORMS[expected][0]
        self.assertEqual(chosen, media)

    @moderately
    @given(st.text())
    def test_anything(self, value: str) -> None:
        """
        Whatever comes, it is one of those that can be had, or none.
        """
        self.assertIn(choose(value, self.OFFERS), (None, *self.OFFERS))

    def test_mediaTypes(self) -> None:
        """
        A media type is written as I{Content-Type} has it.
        """
        self.assertEqual({f: str(media) for f, (media, _) in FORMS.items()}, TYPES)
        self.assertEqual(str(MediaType("a/b", parameters="")), "a/b")


class Reader(HTMLParser):
    """
    Reads a page.

    @ivar tags: The names of the elements.
    @ivar text: What is to be read.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> dict[str, Any]:
    """
    Read OpenMetrics with the client library of Prometheus.

    @return: The metrics by name.
    """
    return {each.name: each for each in text_string_to_metric_families(text)}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """
    Tell all values that there are by name and labels.
    """
    return {
        (each.name.removeprefix(PREFIX), tuple(sorted(each.labels.items()))): each.value
        for metric in parsed(text).values()
        for each in metric.samples
    }


class FormTests(TableTestCase):
    """
    The forms of the figures.
    """

    @moderately
    @given(statistics)
    def test_openMetrics(self, told: Statistics) -> None:
        """
        The client library of Prometheus reads what is written, and finds the
        same values.
        """
        text = openMetrics(told)
        self.assertTrue(text.endswith("\n# EOF\n"))
        found = samples(text)
        for name, value in {
            "start_time_seconds": told.started,
            "uptime_seconds": told.uptime,
            "processes": len(told.processes),
            "silent_processes": sum(each.silent for each in told.processes),
            "open_connections": told.open,
            "connections_total": told.accepted,
            "active_requests": told.active,
            "received_bytes_total": told.received,
            "sent_bytes_total": told.sent,
            "request_duration_seconds_count": sum(told.buckets),
            "request_duration_seconds_sum": told.duration,
        }.items():
            self.assertEqual(found[name, ()], value, name)
        for name, label, values in (
            ("refused_connections_total", "reason", told.refused),
            ("requests_total", "outcome", told.outcomes),
            ("peer_errors_total", "kind", told.errors),
        ):
            for key, value in values.items():
                self.assertEqual(found[name, ((label, key),)], value, key)
        for by, codes in (("application", told.responses), ("server", told.refusals)):
            for code, count in codes.items():
                labels = (("by", by), ("code", str(code)))
                self.assertEqual(found["responses_total", labels], count)

    @moderately
    @given(statistics)
    def test_histogram(self, told: Statistics) -> None:
        """
        Each bucket of the histogram has what is in those before it.
        """
        found = samples(openMetrics(told))
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), told.cumulative):  # noqa: B905
            labels = (("le", bound),)
            self.assertEqual(found["request_duration_seconds_bucket", labels], count)

    @moderately
    @given(statistics)
    def test_prometheus(self, told: Statistics) -> None:
        """
        In the older format of Prometheus the same values have the same names, by
        which their type is told.
        """
        text = prometheusText(told)
        found = {
            (each.name, tuple(sorted(each.labels.items()))): each.value
            for metric in oldFamilies(text)
            for each in metric.samples
        }
        expected = samples(openMetrics(told)).items()
        self.assertEqual(found, {(PREFIX + n, rest): v for (n, rest), v in expected})
        self.assertNotIn("# UNIT", text)
        typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        for name, _ in found:
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            self.assertTrue(name in typed or typed.get(base) == "histogram", name)

    def test_metrics(self) -> None:
        """
        Each metric has a type, a help, and the unit that its name tells.
        """
        metrics = parsed(openMetrics(Statistics(started=0, taken=0)))
        self.assertEqual(list(metrics), [PREFIX + metric.name for metric in METRICS])
        for metric in METRICS:
            read = metrics[PREFIX + metric.name]
            self.assertEqual(read.type, metric.type)
            self.assertEqual(read.documentation, metric.help)
            self.assertEqual(read.unit, metric.unit or "")
        self.assertEqual(metrics[PREFIX + "sent_bytes"].unit, "bytes")

    @moderately
    @given(st.binary(max_size=300), st.binary(max_size=300))
    def test_harmless(self, method: bytes, path: bytes) -> None:
        """
        Whatever a client asks for stays harmless in all forms.
        """
        quiet = self.told("GET", "/")
        told = self.told(harmless(method, 20), harmless(path, 200))
        self.assertEqual(openMetrics(told), openMetrics(quiet))
        text = asText(told)
        self.assertTrue(text.isascii() and text.replace("\n", "").isprintable())
        self.assertEqual(text.count("\n"), asText(quiet).count("\n"))
        page = Reader(asHTML(told))
        self.assertEqual(page.tags, Reader(asHTML(quiet)).tags)
        self.assertIn(told.oldest[0].path, page.text)
        self.assertNotIn("script", page.tags)
        shown = json.loads(asJSON(told))["requests"]["oldest"][0]
        self.assertEqual(shown["path"], told.oldest[0].path)

    def told(self, method: str, path: str) -> Statistics:
        """
        Make figures with one request in hand.
        """
        each = ActiveRequest(age=2.5, method=method, path=path, pid=7, worker=1)
        return Statistics(started=0, taken=60, active=1, oldest=(each,))

    def test_text(self) -> None:
        """
        As text, each figure is on a line of its own.
        """
        process = ProcessStatistics(
            pid=7, worker=1, started=0, open=3, active=2, requests=4
        )
        told = Statistics(
            started=0,
            taken=60,
            accepted=9,
            open=3,
            refused={"limit": 5},
            responses={200: 4},
            buckets=(4, *(0,) * len(BOUNDS)),
            duration=2.0,
            active=1,
            oldest=self.told("GET", "/x").oldest,
            processes=(process, replace(process, pid=8, worker=2, silent=True)),
        )
        lines = asText(told).splitlines()
        for line in (
            "  since: 1970-01-01 00:00:00 UTC",
            "  for: 60 s",
            "  worker 1, process 7: 3 connections, 2 requests active, 4 ended",
            "  worker 2, process 8: 3 connections, 2 requests active, 4 ended when it "
            "last answered",
            "  accepted: 9",
            "  refused: limit: 5",
            "  ended: 4",
            "  200: 4",
            "  on average: 0.500000 s",
            "  at most 0.001 s: 4",
            "  2.500 s: worker 1, process 7: GET /x",
        ):
            self.assertIn(line, lines)

    def test_alone(self) -> None:
        """
        A process that is not one of several has no number but its own.
        """
        each = ActiveRequest(age=0, method="GET", path="/", pid=7)
        told = Statistics(started=0, taken=0, oldest=(each,))
        self.assertIn("  0.000 s: process 7: GET /\n", asText(told))
        self.assertIn("  on average: -\n", asText(told))
        self.assertIn("<p>none</p>", asHTML(Statistics(started=0, taken=0)))


class Source:
    """
    Tells figures that are given.
    """

    def __init__(self, told: Any) -> None:
        """
        @param told: They.
        """
        self.told = told

    def statistics(self) -> Any:
        """
        Tell them.
        """
        return self.told


TOLD = Statistics(started=0, taken=60, accepted=12345)


class ResourceTests(ServerTestCase):
    """
    L{StatusResource}
    """

    def ask(self, path: bytes = b"/", **changes: Any) -> wire.Response:
        """
        Ask for it.
        """
        changes.setdefault("REQUEST_URI", path)
        path, _, query = path.partition(b"?")
        variables = wire.variables(path, QUERY_STRING=query, **changes)
        return self.exchange(wire.request(variables)).response()

    def header(self, response: wire.Response, name: bytes) -> str | None:
        """
        Tell a header field of a response.
        """
        return {key.lower(): value.decode() for key, value in response.headers}.get(
            name
        )

    @table(dict(ACCEPTED))
    def test_accept(self, value: str | None, expected: str | None) -> None:
        """
        The form is the one that C{Accept} asks for; for none of them it is 406,
        and the forms that there are.
        """
        self.serve(StatusResource(Source(TOLD)))
        said = None if value is None else value.encode()
        response = self.ask(HTTP_ACCEPT=said)
        self.assertEqual(self.header(response, b"vary"), "Accept")
        if expected is None:
            self.assertEqual(response.status, 406)
            self.assertIn(b"application/openmetrics-text", response.body)
        else:
            self.assertEqual(response.status, 200)
            self.assertEqual(response.body.decode(), FORMS[expected][1](TOLD))

    @table({name: (name, type_) for name, type_ in TYPES.items()})
    def test_query(self, name: str, mediaType: str) -> None:
        """
        The query goes before C{Accept}, with a value or without.
        """
        self.serve(StatusResource(Source(TOLD)))
        for query in (name, f"{name}=1", f"x=y&{name}="):
            response = self.ask(f"/?{query}".encode(), HTTP_ACCEPT=b"image/png")
            self.assertEqual(response.status, 200)
            self.assertEqual(self.header(response, b"content-type"), mediaType)
            self.assertEqual(self.header(response, b"cache-control"), "no-store")
            length = self.header(response, b"content-length")
            self.assertEqual(length, str(len(response.body)))
            self.assertEqual(response.body.decode(), FORMS[name][1](TOLD))

    def test_head(self) -> None:
        """
        HEAD gets the header fields of GET.
        """
        self.serve(StatusResource(Source(TOLD)))
        response = self.ask(REQUEST_METHOD=b"HEAD")
        self.assertEqual((response.status, response.body), (200, b""))
        length = self.header(response, b"content-length")
        self.assertEqual(length, str(len(asText(TOLD))))

    def test_post(self) -> None:
        """
        No other method is allowed.
        """
        self.serve(StatusResource(Source(TOLD)))
        response = self.ask(REQUEST_METHOD=b"POST")
        self.assertEqual(response.status, 405)
        allowed = self.header(response, b"allow") or ""
        self.assertEqual(sorted(allowed.split(", ")), ["GET", "HEAD"])

    def test_later(self) -> None:
        """
        The figures may come later.
        """
        told: Deferred[Statistics] = Deferred()
        self.serve(StatusResource(Source(told)))
        transport = self.exchange(wire.request(wire.variables()))
        self.assertEqual(transport.value(), b"")
        told.callback(TOLD)
        self.assertIn(b"accepted: 12345", transport.response().body)

    @table(
        {
            "raised": (lambda: 1 / 0,),
            "failed": (lambda: fail(ValueError("it was meant to")),),
            "nonsense": (lambda: succeed(None),),
        }
    )
    def test_fails(self, told: Any) -> None:
        """
        Without figures the answer is 503, and the log says why.
        """
        source = Source(None)
        source.statistics = told  # type: ignore[method-assign]
        self.serve(StatusResource(source))
        self.assertEqual(self.ask().status, 503)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_gone(self) -> None:
        """
        When the client is gone, nobody is told anything.
        """
        told: Deferred[Statistics] = Deferred()
        self.serve(StatusResource(Source(told)))
        self.exchange(wire.request(wire.variables())).close()
        self.assertEqual(self.logged(), [])
        self.assertTrue(told.called)

    def test_factory(self) -> None:
        """
        A factory can be asked.  The request for the status is not among those
        in hand that it shows, but counts when it is over.
        """
        root = Resource()
        root.putChild(b"late", Application(later))
        self.serve(root)
        root.putChild(b"status", StatusResource(self.factory))
        self.exchange(wire.request(wire.variables(b"/late")))
        for count in range(3):
            told = json.loads(self.ask(b"/status?json").body)
            self.assertEqual(told["requests"]["active"], 1)
            self.assertEqual(told["requests"]["oldest"][0]["path"], "/late")
            self.assertEqual(told["requests"]["total"], count)

    def test_HTTP(self) -> None:
        """
        It can be asked for over HTTP too.
        """
        site = Site(StatusResource(Source(TOLD)), reactor=self.clock)
        protocol = site.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /?json HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b'"accepted": 12345', transport.value())


class GateTests(ServerTestCase):
    """
    L{StatusGate}
    """

    @table(
        {
            "IPv4": (b"127.0.0.1", 200),
            "IPv6": (b"::1", 200),
            "IPv6 in brackets": (b"[::1]", 200),
            "IPv4 on an IPv6 socket": (b"::ffff:127.0.0.1", 200),
            "a network": (b"10.1.2.3", 200),
            "another": (b"192.0.2.1", 403),
            "another in IPv6": (b"2001:db8::1", 403),
            "none": (None, 403),
            "empty": (b"", 403),
            "a Unix socket": (b"unix:", 403),
            "IPv4 on one in hexadecimal": (b"::ffff:7f00:1", 200),
            "IPv4 in the old form of IPv6": (b"::127.0.0.1", 403),
            "with a zone": (b"fe80::1%lo", 403),
            "with a port": (b"127.0.0.1:80", 403),
            "with a space": (b"127.0.0.1 ", 403),
            "shortened": (b"127.1", 403),
            "a number": (b"2130706433", 403),
            "nonsense": (b"127.0.0.1, 192.0.2.1", 403),
            "no ASCII": (b"\xff", 403),
        }
    )
    def test_address(self, address: bytes | None, status: int) -> None:
        """
        The address that the web server tells has to be listed, however it is
        written; none and nonsense are not.
        """
        peers = Peers("127.0.0.1,::1,10.0.0.0/8")
        self.serve(StatusGate(Application(b"figures"), peers))
        variables = wire.variables(
            REMOTE_ADDR=address,
            HTTP_X_FORWARDED_FOR=b"127.0.0.1",
            HTTP_FORWARDED=b"for=127.0.0.1",
            HTTP_X_REAL_IP=b"127.0.0.1",
            HTTP_REMOTE_ADDR=b"127.0.0.1",
        )
        response = self.exchange(wire.request(variables)).response()
        self.assertEqual(response.status, status)
        self.assertEqual(b"figures" in response.body, status == 200)

    def test_twice(self) -> None:
        """
        If the web server tells two addresses, the last one counts, as it does for
        the application.
        """
        self.serve(StatusGate(Application(b"figures"), Peers("127.0.0.1")))
        for addresses, status in (
            ((b"127.0.0.1", b"192.0.2.1"), 403),
            ((b"192.0.2.1", b"127.0.0.1"), 200),
        ):
            pairs = list(wire.variables(REMOTE_ADDR=None).items())
            pairs += [(b"REMOTE_ADDR", address) for address in addresses]
            response = self.exchange(wire.request(pairs)).response()
            self.assertEqual(response.status, status)

    def test_HTTP(self) -> None:
        """
        Over HTTP, where nobody tells the address, it lets nobody in.
        """
        gate = StatusGate(Application(b"figures"), Peers("0.0.0.0/0"))
        protocol = Site(gate, reactor=self.clock).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b" 403 ", transport.value())


class PathTests(ServerTestCase):
    """
    L{StatusPath}
    """

    @table(
        {
            "empty": ("",),
            "the root": ("/",),
            "relative": ("status",),
            "a host": ("//status",),
            "a slash at the end": ("/status/",),
            "two slashes": ("/a//b",),
            "dots": ("/../status",),
            "a dot": ("/./a",),
            "dots at the end": ("/a/..",),
            "a query": ("/a?b",),
            "a fragment": ("/a#b",),
            "a space": ("/a b",),
            "encoded": ("/%41",),
            "no ASCII": ("/\xe9",),
            "a line break": ("/a\n",),
        }
    )
    def test_bad(self, path: str) -> None:
        """
        What is no path as web servers pass it on is refused.
        """
        error = self.assertRaises(ValueError, StatusPath, path, Resource())
        self.assertIn("/fcgi-status", str(error))

    @table(
        {
            "it": (b"/a/fcgi-status", Role.RESPONDER, True),
            "encoded": (b"/a/fcgi%2Dstatus", Role.RESPONDER, True),
            "below": (b"/a/fcgi-status/b", Role.RESPONDER, False),
            "above": (b"/a", Role.RESPONDER, False),
            "a slash": (b"/a/fcgi-status/", Role.RESPONDER, False),
            "another slash": (b"//a/fcgi-status", Role.RESPONDER, False),
            "a query": (b"/a/fcgi-status?json", Role.RESPONDER, True),
            "a parameter": (b"/a/fcgi-status;x", Role.RESPONDER, False),
            "capitals": (b"/a/FCGI-STATUS", Role.RESPONDER, False),
            "encoded twice": (b"/a/fcgi%252Dstatus", Role.RESPONDER, False),
            "an encoded slash": (b"/a%2Ffcgi-status", Role.RESPONDER, False),
            "an encoded query": (b"/a/fcgi-status%3Fjson", Role.RESPONDER, False),
            "dots": (b"/b/../a/fcgi-status", Role.RESPONDER, False),
            "another role": (b"/a/fcgi-status", Role.AUTHORIZER, False),
        }
    )
    def test_find(self, path: bytes, role: int, isFound: bool) -> None:
        """
        Only the very path leads to the status, and only as the content of a
        page: who may ask for it an authorizer decides as of any other.
        """
        status = Resource()
        where = StatusPath("/a/fcgi-status", status)
        found: list[Any] = []
        application = Application(b"")

        class Looking(Site):
            def getResourceFor(self, request: Any) -> Any:
                found.append(where.find(request))
                return application

        self.serve(Looking(application, reactor=self.clock), roles=[Role.AUTHORIZER])
        plain = unquote_to_bytes(path.partition(b"?")[0])
        variables = wire.variables(plain, REQUEST_URI=path)
        self.exchange(wire.request(variables, role=role))
        self.assertEqual(found, [status if isFound else None])

    def test_HTTP(self) -> None:
        """
        It is found over HTTP too.
        """
        status = Application(b"shown")
        where = StatusPath("/status", status)

        class Looking(Site):
            def getResourceFor(self, request: Any) -> Any:
                return where.find(request) or super().getResourceFor(request)

        site = Looking(Application(b"not"), reactor=self.clock)
        protocol = site.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"shown", transport.value())
