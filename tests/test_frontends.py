# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.frontends}.
"""

from __future__ import annotations

from pathlib import Path

from tests import wire
from tests.tables import TableTestCase, table
from twisted_fastcgi.frontends import SERVERS, SOFTWARE, Question, variables

CAPTURES = Path(__file__).parent / "captures"

#: The kinds of requests that were captured with each server.
KINDS = ("get", "head", "postsmall", "bighdr", "expect")

PATH = b"PATH"


def captured(name: str) -> list[tuple[bytes, bytes]]:
    """
    Read the variables of a capture with one request.
    """
    found = wire.records((CAPTURES / f"{name}.bin").read_bytes())
    return wire.readPairs(b"".join(each.content for each in found if each.type == 4))


def questionOf(pairs: list[tuple[bytes, bytes]], like: str) -> Question:
    """
    Find out for which HTTP request a server has sent these variables.
    """
    told = dict(pairs)
    headers = [
        (name[5:].replace(b"_", b"-").title(), value)
        for name, value in pairs
        if name.startswith(b"HTTP_")
        and not name.startswith((b"HTTP_X_FORWARDED_", b"HTTP_CONTENT_"))
    ]
    repeated = like in ("nginx", "caddy")
    type_ = told.get(b"HTTP_CONTENT_TYPE" if repeated else b"CONTENT_TYPE")
    if type_:
        headers.append((b"Content-Type", type_))
    hasBody = told[b"REQUEST_METHOD"] == b"POST"
    return Question(
        method=told[b"REQUEST_METHOD"],
        target=told[b"REQUEST_URI"],
        headers=headers,
        bodyLength=int(told[b"CONTENT_LENGTH"]) if hasBody else None,
        documentRoot=told[b"DOCUMENT_ROOT"],
        server=(told.get(b"SERVER_ADDR", b""), told[b"SERVER_PORT"]),
        client=(told[b"REMOTE_ADDR"], told[b"REMOTE_PORT"]),
        serverName=told[b"SERVER_NAME"],
        software=told[b"SERVER_SOFTWARE"],
    )


def made(like: str, **changes: object) -> dict[bytes, bytes]:
    """
    Make the variables for a question.
    """
    return dict(variables(Question(**changes), like))  # type: ignore[arg-type]


class CapturedTests(TableTestCase):
    """
    What real servers have sent.
    """

    @table({f"{like} {kind}": (like, kind) for like in SERVERS for kind in KINDS})
    def test_same(self, like: str, kind: str) -> None:
        """
        The same variables are made as that server has sent, in its order if it
        has one; but for the PATH of Apache's environment.
        """
        pairs = captured(f"{like}-{kind}")
        found = variables(questionOf(pairs, like), like)
        pairs, found = (
            [(name, b"" if name == PATH else value) for name, value in each]
            for each in (pairs, found)
        )
        if like == "caddy":
            pairs.sort()
            found.sort()
        self.assertEqual(found, pairs)


class QuestionTests(TableTestCase):
    """
    What becomes of the parts of a request.
    """

    @table({like: (like,) for like in SERVERS})
    def test_default(self, like: str) -> None:
        """
        A plain question makes a request that an application can answer.
        """
        found = made(like)
        self.assertEqual(found[b"REQUEST_METHOD"], b"GET")
        self.assertEqual(found[b"REQUEST_URI"], b"/")
        self.assertEqual(found[b"SERVER_SOFTWARE"], SOFTWARE[like])
        self.assertEqual(found[b"SCRIPT_NAME"] + found.get(b"PATH_INFO", b""), b"/")

    @table(
        {
            "nginx": ("nginx", b"/a/c/", b"/srv/x"),
            "apache": ("apache", b"/a/c/", b"/srv/x"),
            "lighttpd": ("lighttpd", b"/a/c/", b"/srv/x"),
            "caddy": ("caddy", b"/a/./b/..//c/", b"/srv/x"),
            "haproxy": ("haproxy", b"/a/./b/..//c/", b"/srv/x"),
        }
    )
    def test_path(self, like: str, path: bytes, script: bytes) -> None:
        """
        The path is decoded, and freed of dots by the servers that do so; the
        script is told if there is one.
        """
        target = b"/a/./%62/..//c/?q=%20"
        found = made(like, target=target, scriptFilename=script)
        self.assertEqual(found[b"SCRIPT_NAME"] + found.get(b"PATH_INFO", b""), path)
        self.assertEqual(found[b"QUERY_STRING"], b"q=%20")
        self.assertEqual(found[b"REQUEST_URI"], target)
        self.assertEqual(found[b"SCRIPT_FILENAME"], script)

    @table(
        {
            "root": (b"/..", b"/"),
            "up": (b"/a/..", b"/"),
            "file": (b"/a/../b", b"/b"),
            "dot": (b"/a/.", b"/a/"),
        }
    )
    def test_normalised(self, target: bytes, path: bytes) -> None:
        """
        Dots are resolved, and never lead out of the site.
        """
        self.assertEqual(made("nginx", target=target)[b"SCRIPT_NAME"], path)

    @table(
        {
            "nginx": ("nginx", True, False, [b"1", b"2"], False),
            "apache": ("apache", False, False, [b"1, 2"], False),
            "lighttpd": ("lighttpd", False, True, [b"1, 2"], False),
            "caddy": ("caddy", True, True, [b"1, 2"], True),
            "haproxy": ("haproxy", False, False, [b"1", b"2"], True),
        }
    )
    def test_headers(
        self,
        like: str,
        hasProxy: bool,
        hasAuthorization: bool,
        repeated: list[bytes],
        hasUnderscore: bool,
    ) -> None:
        """
        Each server has its own way with header fields that are delicate,
        repeated, or have an underscore.
        """
        headers = (
            (b"Proxy", b"evil"),
            (b"Authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            (b"X-Multi", b"1"),
            (b"X-Multi", b"2"),
            (b"X_Under", b"1"),
        )
        found = variables(Question(headers=headers), like)
        names = [name for name, _ in found]
        self.assertEqual(b"HTTP_PROXY" in names, hasProxy)
        passes = hasAuthorization or like == "nginx"
        self.assertEqual(b"HTTP_AUTHORIZATION" in names, passes)
        values = [value for name, value in found if name == b"HTTP_X_MULTI"]
        self.assertEqual(values, repeated)
        self.assertEqual(b"HTTP_X_UNDER" in names, hasUnderscore)

    def test_cookie(self) -> None:
        """
        Cookies are joined as cookies.
        """
        headers = ((b"Cookie", b"a=1"), (b"Cookie", b"b=2"))
        self.assertEqual(made("lighttpd", headers=headers)[b"HTTP_COOKIE"], b"a=1; b=2")

    @table(
        {
            "basic": (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", b"Aladdin"),
            "no base64": (b"basic abc", None),
            "another scheme": (b"Bearer abc", None),
        }
    )
    def test_user(self, value: bytes, user: bytes | None) -> None:
        """
        nginx and HAProxy tell whom the client says that it is.
        """
        headers = ((b"Authorization", value),)
        self.assertEqual(made("nginx", headers=headers)[b"REMOTE_USER"], user or b"")
        told = made("haproxy", headers=headers)
        self.assertEqual(told.get(b"REMOTE_USER"), user)
        self.assertEqual(told.get(b"AUTH_TYPE"), user and b"Basic")

    @table(
        {
            "port": (b"a.example:8080", b"a.example", b"8080"),
            "no port": (b"a.example", b"a.example", b"80"),
            "empty port": (b"a.example:", b"a.example", b"80"),
            "ipv6": (b"[::1]:81", b"[::1]", b"81"),
            "ipv6 without": (b"[::1]", b"[::1]", b"80"),
        }
    )
    def test_host(self, host: bytes, name: bytes, port: bytes) -> None:
        """
        Caddy tells the name and the port that the client has asked for.
        """
        found = made("caddy", headers=((b"Host", host),))
        self.assertEqual((found[b"SERVER_NAME"], found[b"SERVER_PORT"]), (name, port))

    def test_caddyForm(self) -> None:
        """
        Caddy makes up a type for a body that has none.
        """
        self.assertEqual(
            made("caddy", bodyLength=3)[b"CONTENT_TYPE"],
            b"application/x-www-form-urlencoded",
        )
