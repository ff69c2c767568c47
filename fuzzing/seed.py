# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Makes the first files of each target's corpus, of what real web servers have
sent.
"""

from __future__ import annotations

import sys
from hashlib import sha1
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzzing import chaos, targets
from tests import wire
from tests.model import arrived

CORPUS = Path(__file__).resolve().parent / "corpus"

#: How much of each is taken: a fuzzer is slow if there is more.
_LARGEST = 1024


def seeds() -> dict[str, list[bytes]]:
    """
    Make the first inputs of each target.
    """
    captured = [each[:_LARGEST] for each in wire.captures().values()]
    sent = captured + _short()
    answers = [wire.record(wire.STDOUT, 1, b"Status: 200\r\n\r\n"), *_ANSWERS]
    quiet, busy = bytes(24), bytes(range(1, 25))
    return {
        "records": sorted({each[:24] for each in sent} | set(answers)),
        "pairs": [each.content for all_ in sent for each in arrived(all_)],
        "application": [
            head[: targets.CONTROL] + each for each in sent for head in (quiet, busy)
        ],
        "webserver": [
            head[: targets.CONTROL] + b"".join(answers) for head in (quiet, busy)
        ],
        "server": [
            *(head[: chaos.CONTROL] + each for each in sent for head in (quiet, busy)),
            *_scripts(),
        ],
    }


def _scripts() -> list[bytes]:
    """
    Make scripts that go through all that an application can do, with all kinds
    of applications, in quiet and while the web server does not read.
    """
    get, post = _short()[:2]
    steps = bytes((0x02, 0xF9, 0xF9, 0x0D, 0xE3, 0x0D, 0x05, 0x1C, 0xFE, 0x02, 0x0D))
    found = []
    for act in range(16):
        for eventful in (0, 1):
            for kind in (0, 1, 4, 32, 33, 8):
                how = act | 0x30 * (act & 1) | 0xC0
                script = bytes((eventful, 7, kind, 0, *([how] * 6))) + steps
                sent = get if kind < 4 else post
                found.append(script.ljust(chaos.CONTROL, b"\0") + sent)
    filtered = wire.request(_variables(b"POST"), b"body", role=wire.FILTER)
    asked = wire.request(_variables(), role=wire.AUTHORIZER)
    for how in range(4):
        head = bytes((0, 3, 64 | 32 * (how & 1), 0, *([how] * 20)))
        found += [head + filtered + get, head + asked + get]
    return found


def _short() -> list[bytes]:
    """
    Make short requests: a fuzzer gets further with those.
    """
    get = wire.request(_variables())
    post = wire.request(_variables(b"POST", CONTENT_LENGTH=b"5"), b"a=1&b")
    begin, variables = wire.beginRequest(), wire.params(_variables())
    refused = wire.beginRequest(2) + wire.params({}, 2) + wire.stdin(b"", 2)
    values = wire.getValues(b"FCGI_MAX_CONNS", b"FCGI_MPXS_CONNS", b"X")
    return [
        get,
        get + post + get,
        wire.request(_variables(), keep=False),
        begin + variables + wire.abortRequest() + get,
        begin + variables + refused + wire.stdin(),
        begin + wire.params(_variables(), sizes=[3, 5, 7, 11]) + wire.stdin(b"more"),
        values + get + values + wire.record(77, 0, b"unknown") + values,
        wire.request(_variables(), role=wire.AUTHORIZER) + get,
        wire.request(_variables(b"PUT"), b"body", role=wire.FILTER) + get,
        wire.request(_variables(b"POST", CONTENT_TYPE=_FORM, HTTP_X_EARLY=b"1"), _BODY),
        wire.request(_variables(b"POST", CONTENT_TYPE=_FORM), _BODY),
        wire.request(_variables(b"HEAD", HTTP_X_FAIL=b"1"), b"x"),
        wire.request(_variables(HTTP_IF_NONE_MATCH=b'"tag"', HTTP_COOKIE=b"a=1;b")),
        wire.request(_variables(HTTP_AUTHORIZATION=b"Basic YTpi", HTTPS=b"on")),
        begin + wire.stdin(b"too early") + get,
        b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
    ]


_FORM = b"multipart/form-data; boundary=x"

_BODY = (
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
    b"1\r\n--x--\r\n"
)


def _variables(method: bytes = b"GET", **more: bytes) -> dict[bytes, bytes]:
    """
    Make a few variables.
    """
    found = {b"REQUEST_METHOD": method, b"REQUEST_URI": b"/a%2f?b=c"}
    return found | {name.encode(): value for name, value in more.items()}


_ANSWERS = [
    wire.record(wire.STDERR, 1, b"oh"),
    wire.record(wire.STDERR, 1),
    wire.record(wire.STDOUT, 1),
    wire.record(wire.END_REQUEST, 1, bytes(8)),
    wire.record(wire.GET_VALUES_RESULT, 0, wire.pairs({b"FCGI_MAX_CONNS": b"1"})),
    wire.record(wire.UNKNOWN_TYPE, 0, b"\t" + bytes(7)),
]


def main() -> None:
    """
    Write the files.
    """
    for target, inputs in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for each in inputs:
            (folder / sha1(each).hexdigest()[:12]).write_bytes(each)


if __name__ == "__main__":
    main()
