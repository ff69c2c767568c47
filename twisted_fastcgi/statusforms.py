# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
L{Statistics} in the forms in which people and programs want them.

Whatever is in them that a client has sent stays harmless in each form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape

from twisted_fastcgi.accept import MediaType
from twisted_fastcgi.figures import BOUNDS, Statistics

PREFIX = "twisted_fastcgi_"
"""
What the names of all metrics begin with.
"""

#: Values of a metric: the end of the name, labels, the value.
Sample = tuple[str, Mapping[str, object], float]


@dataclass(frozen=True)
class Metric:
    """
    What L{openMetrics} tells.

    @ivar name: Its name, without L{PREFIX}.
    @ivar type: C{counter}, C{gauge} or C{histogram}.
    @ivar help: What it is.
    @ivar samples: Gives its values.
    """

    name: str
    type: str
    help: str
    samples: Callable[[Statistics], Iterable[Sample]]

    @property
    def unit(self) -> str | None:
        """
        Its unit: a name that has one ends with it.
        """
        end = self.name.rpartition("_")[2]
        return end if end in ("bytes", "seconds") else None


def _gauge(name: str, help: str, value: Callable[[Statistics], float]) -> Metric:
    """
    Make a metric that goes up and down.
    """
    return Metric(name, "gauge", help, lambda told: [("", {}, value(told))])


def _counter(name: str, help: str, value: Callable[[Statistics], float]) -> Metric:
    """
    Make a metric that only grows.
    """
    return Metric(name, "counter", help, lambda told: [("_total", {}, value(told))])


def _counters(
    name: str,
    help: str,
    label: str,
    values: Callable[[Statistics], Mapping[str, int]],
) -> Metric:
    """
    Make one that has a value for each of some names.
    """

    def samples(told: Statistics) -> Iterator[Sample]:
        for key, count in values(told).items():
            yield "_total", {label: key}, count

    return Metric(name, "counter", help, samples)


def _responses(told: Statistics) -> Iterator[Sample]:
    """
    Give the number of responses for each status code.
    """
    for by, codes in (("application", told.responses), ("server", told.refusals)):
        for code, count in codes.items():
            yield "_total", {"by": by, "code": code}, count


def _durations(told: Statistics) -> Iterator[Sample]:
    """
    Give the histogram of durations.
    """
    for bound, count in zip((*BOUNDS, "+Inf"), told.cumulative, strict=True):
        yield "_bucket", {"le": bound}, count
    yield "_count", {}, told.cumulative[-1]
    yield "_sum", {}, told.duration


METRICS = (
    _gauge(
        "start_time_seconds",
        "When it began to count, in seconds since 1970.",
        lambda told: told.started,
    ),
    _gauge(
        "uptime_seconds",
        "For how long it has counted.",
        lambda told: told.uptime,
    ),
    _gauge("processes", "The processes that serve.", lambda told: len(told.processes)),
    _gauge(
        "silent_processes",
        "Processes, of those, that did not answer: their figures are old.",
        lambda told: sum(each.silent for each in told.processes),
    ),
    _gauge("open_connections", "Connections that are open.", lambda told: told.open),
    _counter(
        "connections", "Connections that were accepted.", lambda told: told.accepted
    ),
    _counters(
        "refused_connections",
        "Connections, of those, on which no request was served.",
        "reason",
        lambda told: told.refused,
    ),
    _gauge("active_requests", "Requests in hand.", lambda told: told.active),
    _gauge(
        "oldest_request_seconds",
        "For how long the oldest request is in hand.",
        lambda told: max((each.age for each in told.oldest), default=0),
    ),
    _counters(
        "requests",
        "Requests that came to an end, by what became of them.",
        "outcome",
        lambda told: told.outcomes,
    ),
    Metric(
        "responses",
        "counter",
        "Whole responses, by their status code and who made them.",
        _responses,
    ),
    Metric(
        "request_duration_seconds",
        "histogram",
        "From when the variables of a request had come until its end.",
        _durations,
    ),
    _counter(
        "received_bytes", "What came from web servers.", lambda told: told.received
    ),
    _counter("sent_bytes", "What went to web servers.", lambda told: told.sent),
    _counters(
        "peer_errors",
        "What web servers did wrong, by its kind.",
        "kind",
        lambda told: told.errors,
    ),
)
"""
All metrics, in the order in which they are told.
"""


def openMetrics(told: Statistics) -> str:
    """
    Write the figures for Prometheus and its like (OpenMetrics 1.0).

    @param told: The figures.
    @return: The text.
    """
    return "".join(f"{line}\n" for line in [*_metricLines(told), "# EOF"])


def prometheusText(told: Statistics) -> str:
    """
    Write them in the older format of Prometheus (0.0.4), for what knows no
    other.  It has no units, and counters have their whole names everywhere.

    @param told: The figures.
    @return: The text.
    """
    return "".join(f"{line}\n" for line in _metricLines(told, isOld=True))


def _metricLines(told: Statistics, isOld: bool = False) -> Iterator[str]:
    """
    Write the lines of all metrics.
    """
    for metric in METRICS:
        name = PREFIX + metric.name
        family = f"{name}_total" if isOld and metric.type == "counter" else name
        yield f"# TYPE {family} {metric.type}"
        if metric.unit is not None and not isOld:
            yield f"# UNIT {family} {metric.unit}"
        yield f"# HELP {family} {metric.help}"
        for end, labels, value in metric.samples(told):
            # All of them are ours, so there is nothing to be escaped.
            listed = ",".join(f'{key}="{label}"' for key, label in labels.items())
            yield (
                f"{name}{end}{{{listed}}} {value}" if listed else f"{name}{end} {value}"
            )


def asJSON(told: Statistics) -> str:
    """
    Write the figures for programs.

    @param told: The figures.
    @return: One object.
    """
    return json.dumps(told.toJSON(), indent=1) + "\n"


#: A heading, and rows of names and values.
Section = tuple[str, list[tuple[str, str]]]


def _sections(told: Statistics) -> Iterator[Section]:
    """
    Put the figures into words.
    """
    yield "Server", list(_server(told))
    yield "Connections", list(_connections(told))
    yield "Requests", list(_requests(told))
    yield "Responses of the application", _numbers(told.responses)
    yield "Responses of the server itself", _numbers(told.refusals)
    yield "Durations", list(_durationRows(told))
    yield "What web servers did wrong", _numbers(told.errors)
    yield (
        "Active requests, the oldest first",
        [
            (
                f"{each.age:.3f} s",
                f"{_who(each.worker, each.pid)}: {each.method} {each.path}",
            )
            for each in told.oldest
        ],
    )


def _server(told: Statistics) -> Iterator[tuple[str, str]]:
    """
    Tell of the server.
    """
    since = datetime.fromtimestamp(told.started, timezone.utc)
    yield "since", since.strftime("%Y-%m-%d %H:%M:%S UTC")
    yield "for", f"{told.uptime:.0f} s"
    yield "bytes received", str(told.received)
    yield "bytes sent", str(told.sent)
    for each in told.processes:
        yield (
            _who(each.worker, each.pid),
            f"{each.open} connections, {each.active} requests active, {each.requests} "
            f"ended{' when it last answered' if each.silent else ''}",
        )


def _who(worker: int | None, pid: int) -> str:
    """
    Name a process.
    """
    return f"process {pid}" if worker is None else f"worker {worker}, process {pid}"


def _connections(told: Statistics) -> Iterator[tuple[str, str]]:
    """
    Tell of the connections.
    """
    yield "open", str(told.open)
    yield "accepted", str(told.accepted)
    for reason, count in told.refused.items():
        yield f"refused: {reason}", str(count)


def _requests(told: Statistics) -> Iterator[tuple[str, str]]:
    """
    Tell of the requests.
    """
    yield "active", str(told.active)
    yield "ended", str(told.requests)
    yield from _numbers(told.outcomes)


def _durationRows(told: Statistics) -> Iterator[tuple[str, str]]:
    """
    Tell how long requests took.
    """
    total = told.cumulative[-1]
    yield "on average", f"{told.duration / total:.6f} s" if total else "-"
    for bound, count in zip(BOUNDS, told.cumulative, strict=False):
        yield f"at most {bound:g} s", str(count)
    yield "in all", str(total)


def _numbers(counts: Mapping[int, int] | Mapping[str, int]) -> list[tuple[str, str]]:
    """
    Write numbers that have names.
    """
    return [(str(name), str(count)) for name, count in counts.items()]


def asText(told: Statistics) -> str:
    """
    Write the figures for a terminal.

    @param told: The figures.
    @return: Lines of visible ASCII.
    """
    lines = []
    for title, rows in _sections(told):
        lines.append(f"{title}:")
        lines += [f"  {name}: {value}" for name, value in rows]
    return "".join(f"{line}\n" for line in lines)


_STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.4 system-ui,sans-serif}"
    "body{margin:1rem auto;max-width:60rem;padding:0 1rem}"
    "h2{font-size:1.1rem;margin:1rem 0 .25rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{border-top:1px solid #8888;padding:.15rem .5rem .15rem 0;text-align:left;"
    "vertical-align:top;overflow-wrap:anywhere}"
    "th{font-weight:normal;width:16rem}"
)

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>twisted_fastcgi: status</title>
<style>{style}</style>
</head>
<body>
<h1>twisted_fastcgi: status</h1>
<p>The same as <a href="?text">text</a>, <a href="?json">JSON</a> and
<a href="?openmetrics">OpenMetrics</a>.</p>
{sections}
</body>
</html>
"""


def asHTML(told: Statistics) -> str:
    """
    Write the figures for a browser.

    @param told: The figures.
    @return: A page without scripts.
    """
    sections = "\n".join(_table(title, rows) for title, rows in _sections(told))
    return _PAGE.format(style=_STYLE, sections=sections)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """
    Write a section of the page.
    """
    cells = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    # A table has rows.
    body = f"<table>\n{cells}\n</table>" if cells else "<p>none</p>"
    return f"<h2>{escape(title)}</h2>\n{body}"


FORMS: Mapping[str, tuple[MediaType, Callable[[Statistics], str]]] = {
    "text": (MediaType("text/plain"), asText),
    "json": (MediaType("application/json", parameters=""), asJSON),
    "openmetrics": (MediaType("application/openmetrics-text", "1.0.0"), openMetrics),
    "html": (MediaType("text/html"), asHTML),
    "prometheus": (MediaType("text/plain", "0.0.4"), prometheusText),
}
"""
The forms, by the names that they have in a query.  What is liked as much as
another is had in the first.
"""
