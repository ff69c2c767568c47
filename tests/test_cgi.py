# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.cgi}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from twisted_fastcgi import cgi
from twisted_fastcgi.errors import (
    LimitExceeded,
    LocalProtocolError,
    RemoteProtocolError,
)

T = TypeVar("T")

quickly = settings(deadline=None, database=None)


def outcomes(
    function: Callable[[dict[bytes, bytes]], T], variable: bytes, table: dict[bytes, T]
) -> dict[bytes, T]:
    """
    Tell what C{function} makes of each value in a table for one variable.
    """
    return {value: function({variable: value}) for value in table}


def headersOf(*pairs: tuple[bytes, bytes]) -> dict[bytes, list[bytes]]:
    """
    Tell what request headers are made of variables.
    """
    headers = cgi.requestHeaders(pairs)
    return {name: list(values) for name, values in headers.getAllRawHeaders()}


class FrontEnd(NamedTuple):
    """
    What one web server sends in one situation, and what it means.
    """

    name: str
    variables: dict[bytes, bytes]
    uri: bytes
    client: IPv4Address | IPv6Address = IPv4Address("TCP", "192.0.2.7", 45702)
    server: IPv4Address | IPv6Address = IPv4Address("TCP", "192.0.2.1", 80)
    secure: bool = False
    version: bytes = b"HTTP/1.1"
    length: int | None = None
    mount: Sequence[bytes] = ()
    contentType: bytes | None = None


ADDRESSES = {
    b"REMOTE_ADDR": b"192.0.2.7",
    b"REMOTE_PORT": b"45702",
    b"SERVER_ADDR": b"192.0.2.1",
    b"SERVER_PORT": b"80",
    b"SERVER_NAME": b"example.com",
    b"SERVER_PROTOCOL": b"HTTP/1.1",
    b"REQUEST_METHOD": b"GET",
}


def shape(**variables: bytes) -> dict[bytes, bytes]:
    """
    Make the variables of a request from those in which it is special; those
    with the value C{b"absent"} are not sent.
    """
    special = {name.encode("ascii"): value for name, value in variables.items()}
    everything = {**ADDRESSES, **special}
    return {n: value for n, value in everything.items() if value != b"absent"}


FRONT_ENDS = (
    FrontEnd(
        "nginx, stock parameters, GET",
        shape(
            SCRIPT_NAME=b"/a/b c",
            REQUEST_URI=b"/a/b%20c?x=1",
            DOCUMENT_URI=b"/a/b c",
            QUERY_STRING=b"x=1",
            CONTENT_LENGTH=b"",
            CONTENT_TYPE=b"",
            REQUEST_SCHEME=b"http",
            SERVER_PROTOCOL=b"HTTP/2.0",
        ),
        b"/a/b%20c?x=1",
        version=b"HTTP/2.0",
        mount=(b"a", b"b c"),
    ),
    FrontEnd(
        "nginx, normalised path",
        shape(SCRIPT_NAME=b"/b/c", REQUEST_URI=b"//a/..//b%2Fc?x", QUERY_STRING=b"x"),
        b"/b/c?x",
        mount=(b"b", b"c"),
    ),
    FrontEnd(
        "nginx, fastcgi_split_path_info",
        shape(SCRIPT_NAME=b"/app", PATH_INFO=b"/x y", REQUEST_URI=b"/app/x%20y"),
        b"/app/x%20y",
        mount=(b"app",),
    ),
    FrontEnd(
        "nginx, Unix listener",
        shape(
            SCRIPT_NAME=b"/",
            REQUEST_URI=b"/",
            REMOTE_ADDR=b"unix:",
            REMOTE_PORT=b"",
            SERVER_ADDR=b"unix:/run/nginx.sock",
            SERVER_PORT=b"",
        ),
        b"/",
        client=IPv4Address("TCP", "unix:", 0),
        server=IPv4Address("TCP", "example.com", 80),
    ),
    FrontEnd(
        "nginx, TLS and IPv6",
        shape(
            SCRIPT_NAME=b"/",
            REQUEST_URI=b"/",
            HTTPS=b"on",
            REQUEST_SCHEME=b"https",
            REMOTE_ADDR=b"2001:db8::7",
            SERVER_ADDR=b"2001:db8::1",
            SERVER_PORT=b"",
        ),
        b"/",
        client=IPv6Address("TCP", "2001:db8::7", 45702),
        server=IPv6Address("TCP", "2001:db8::1", 443),
        secure=True,
    ),
    FrontEnd(
        "nginx, chunked and not buffered",
        shape(SCRIPT_NAME=b"/m", REQUEST_URI=b"/m", CONTENT_LENGTH=b""),
        b"/m",
        mount=(b"m",),
    ),
    FrontEnd(
        "lighttpd, prefix",
        shape(
            SCRIPT_NAME=b"/app",
            PATH_INFO=b"/x",
            REQUEST_URI=b"/app/x?q",
            QUERY_STRING=b"q",
            CONTENT_LENGTH=b"0",
        ),
        b"/app/x?q",
        length=0,
        mount=(b"app",),
    ),
    FrontEnd(
        "lighttpd, / with fix-root-scriptname",
        shape(SCRIPT_NAME=b"", PATH_INFO=b"/m", REQUEST_URI=b"/m"),
        b"/m",
    ),
    FrontEnd(
        "lighttpd, / without fix-root-scriptname",
        shape(SCRIPT_NAME=b"/", REQUEST_URI=b"/"),
        b"/",
    ),
    FrontEnd(
        "lighttpd, strip-request-uri",
        shape(
            SCRIPT_NAME=b"/app",
            PATH_INFO=b"/x",
            REQUEST_URI=b"/x?q",
            QUERY_STRING=b"q",
        ),
        b"/app/x?q",
        mount=(b"app",),
    ),
    FrontEnd(
        "lighttpd, authorizer",
        shape(
            REQUEST_URI=b"/authz/static.html?mode=authz",
            QUERY_STRING=b"mode=authz",
            SCRIPT_FILENAME=b"/srv/authz/static.html",
        ),
        b"/authz/static.html?mode=authz",
    ),
    FrontEnd(
        "Apache mod_proxy_fcgi",
        shape(
            SCRIPT_NAME=b"/a/b c",
            REQUEST_URI=b"/a/b%20c?x",
            QUERY_STRING=b"x",
            SCRIPT_FILENAME=b"proxy:fcgi://localhost/a/b%20c",
        ),
        b"/a/b%20c?x",
        mount=(b"a", b"b c"),
    ),
    FrontEnd(
        "Apache mod_proxy_fcgi, absolute-form",
        shape(
            SCRIPT_NAME=b"/a",
            REQUEST_URI=b"http://user:pw@example.com/a?x",
            QUERY_STRING=b"x",
        ),
        b"/a?x",
        mount=(b"a",),
    ),
    FrontEnd(
        "Apache mod_proxy_fcgi, PATH_INFO that is still encoded",
        shape(SCRIPT_NAME=b"", PATH_INFO=b"/a/b%20c", REQUEST_URI=b"/a/b%20c?x"),
        b"/a/b%20c?x",
    ),
    FrontEnd(
        "Apache mod_authnz_fcgi",
        shape(
            REQUEST_URI=b"/authnz/static.html",
            FCGI_ROLE=b"AUTHORIZER",
            QUERY_STRING=b"",
        ),
        b"/authnz/static.html",
    ),
    FrontEnd(
        "Apache mod_fcgid",
        shape(
            SCRIPT_NAME=b"/app.fcgi",
            PATH_INFO=b"/b c",
            REQUEST_URI=b"/app.fcgi/b%20c",
            CONTENT_LENGTH=b"11",
            CONTENT_TYPE=b"text/plain",
        ),
        b"/app.fcgi/b%20c",
        length=11,
        mount=(b"app.fcgi",),
        contentType=b"text/plain",
    ),
    FrontEnd(
        "HAProxy",
        shape(
            SCRIPT_NAME=b"/a/../b",
            REQUEST_URI=b"/a/../b",
            SERVER_ADDR=b"absent",
            SERVER_NAME=b"example.com:18083",
            SERVER_PORT=b"18083",
        ),
        b"/a/../b",
        server=IPv4Address("TCP", "example.com", 18083),
        mount=(b"a", b"..", b"b"),
    ),
    FrontEnd(
        "HAProxy, Unix listener, IPv6 literal in Host",
        shape(
            SCRIPT_NAME=b"/a",
            REQUEST_URI=b"/a",
            REMOTE_ADDR=b"unix",
            REMOTE_PORT=b"0",
            SERVER_ADDR=b"absent",
            SERVER_NAME=b"[2001:db8::1]:443",
            SERVER_PORT=b"0",
            HTTPS=b"on",
        ),
        b"/a",
        client=IPv4Address("TCP", "unix", 0),
        server=IPv6Address("TCP", "2001:db8::1", 443),
        secure=True,
        mount=(b"a",),
    ),
    FrontEnd(
        "HAProxy, path-info, no script name",
        shape(PATH_INFO=b"/a b", REQUEST_URI=b"/a%20b", CONTENT_LENGTH=b"0"),
        b"/a%20b",
        length=0,
    ),
    FrontEnd(
        "Caddy, chunked POST",
        shape(
            SCRIPT_NAME=b"",
            PATH_INFO=b"//m/../n",
            DOCUMENT_URI=b"",
            REQUEST_URI=b"//m/../n?x",
            QUERY_STRING=b"x",
            CONTENT_LENGTH=b"-1",
            CONTENT_TYPE=b"application/x-www-form-urlencoded",
            REQUEST_SCHEME=b"https",
            SERVER_ADDR=b"absent",
            SERVER_PORT=b"443",
        ),
        b"//m/../n?x",
        server=IPv4Address("TCP", "example.com", 443),
        secure=True,
        contentType=b"application/x-www-form-urlencoded",
    ),
    FrontEnd(
        "Caddy, rewritten path",
        shape(
            SCRIPT_NAME=b"/index",
            PATH_INFO=b"",
            REQUEST_URI=b"/what/the/client/sent?x",
            QUERY_STRING=b"y",
        ),
        b"/index?y",
        mount=(b"index",),
    ),
    FrontEnd(
        "h2o",
        shape(
            SCRIPT_NAME=b"",
            PATH_INFO=b"/a//b",
            REQUEST_URI=b"/x/../a//b",
            SERVER_PROTOCOL=b"HTTP/2",
        ),
        b"/a//b",
        version=b"HTTP/2",
    ),
)


def asFrontEnd(name: str, variables: dict[bytes, bytes]) -> FrontEnd:
    """
    Tell what the module under test makes of a web server's variables.
    """
    values = cgi.requestHeaders(list(variables.items())).getRawHeaders(b"Content-Type")
    return FrontEnd(
        name,
        variables,
        uri=cgi.uri(variables),
        client=cgi.clientAddress(variables),
        server=cgi.serverAddress(variables),
        secure=cgi.isSecure(variables),
        version=cgi.protocolVersion(variables),
        length=cgi.contentLength(variables),
        mount=tuple(cgi.scriptSegments(variables)),
        contentType=None if values is None else values[0],
    )


class FrontEndTests(SynchronousTestCase):
    """
    The shapes in which web servers send one and the same thing.
    """

    def test_everyShape(self) -> None:
        """
        What each web server sends is understood.
        """
        for expected in FRONT_ENDS:
            cgi.checkVariables(list(expected.variables.items()))
            self.assertEqual(asFrontEnd(expected.name, expected.variables), expected)


class RequestLineTests(SynchronousTestCase):
    """
    L{cgi.method} and L{cgi.protocolVersion}.
    """

    def test_method(self) -> None:
        """
        A method is any token, as it is.
        """
        for value in (b"GET", b"get", b"M-SEARCH", b"X!#$%&'*+-.^_`|~9"):
            self.assertEqual(cgi.method({b"REQUEST_METHOD": value}), value)

    def test_noMethod(self) -> None:
        """
        What can't be a method is refused, and shown in a form that can be
        logged.
        """
        for value in (b"", b"G T", b"GET\r\n", b"GET\0", b"G\xc9T", b"GET\n", b"a:b"):
            with self.assertRaises(RemoteProtocolError) as caught:
                cgi.method({b"REQUEST_METHOD": value})
            self.assertIn("REQUEST_METHOD", str(caught.exception))
            self.assertIn(repr(value)[1:], str(caught.exception))
            self.assertTrue(str(caught.exception).isprintable())
        self.assertRaises(RemoteProtocolError, cgi.method, {})

    def test_longValueShortened(self) -> None:
        """
        An error message does not repeat a long value as a whole.
        """
        with self.assertRaises(RemoteProtocolError) as caught:
            cgi.method({b"REQUEST_METHOD": b"\xff" * 100000})
        self.assertIn("\\xff'...", str(caught.exception))
        self.assertLess(len(str(caught.exception)), 500)

    def test_protocolVersion(self) -> None:
        """
        A version is passed on as it is; what is none becomes HTTP/1.1.
        """
        table = {
            b"HTTP/1.0": b"HTTP/1.0",
            b"HTTP/1.1": b"HTTP/1.1",
            b"HTTP/2": b"HTTP/2",
            b"HTTP/2.0": b"HTTP/2.0",
            b"HTTP/3.0": b"HTTP/3.0",
            b"": b"HTTP/1.1",
            b"INCLUDED": b"HTTP/1.1",
            b"http/1.0": b"HTTP/1.1",
            b"HTTP/1.": b"HTTP/1.1",
            b"HTTP/1.10": b"HTTP/1.1",
            b"HTTP/1.0\n": b"HTTP/1.1",
        }
        self.assertEqual(
            outcomes(cgi.protocolVersion, b"SERVER_PROTOCOL", table), table
        )
        self.assertEqual(cgi.protocolVersion({}), b"HTTP/1.1")


class TargetTests(SynchronousTestCase):
    """
    L{cgi.uri} and L{cgi.scriptSegments}.
    """

    def assertTargets(
        self, path: bytes, query: bytes, table: dict[bytes, bytes]
    ) -> None:
        """
        Assert what becomes of several REQUEST_URIs with one decoded path;
        QUERY_STRING is C{query} for those that are not to be used as they are.
        """
        results = {
            sent: cgi.uri(
                {
                    b"SCRIPT_NAME": path,
                    b"REQUEST_URI": sent,
                    b"QUERY_STRING": (
                        sent.partition(b"?")[2] if sent == expected else query
                    ),
                    b"REQUEST_METHOD": b"GET",
                }
            )
            for sent, expected in table.items()
        }
        self.assertEqual(results, table)

    def test_samePath(self) -> None:
        """
        A REQUEST_URI that means the same path is used with its own
        percent-encoding and query.
        """
        self.assertTargets(
            b"/a/b~c",
            b"x",
            {
                b"/a/b~c": b"/a/b~c",
                b"/a/b~c?x": b"/a/b~c?x",
                b"/a/b%7ec?x": b"/a/b%7ec?x",
                b"/a%2Fb~c?x": b"/a%2Fb~c?x",
                b"/%61/b~c?x=/../?y": b"/%61/b~c?x=/../?y",
                b"/a/b~c?x=\xe9": b"/a/b~c?x=\xe9",
                b"http://h/a/b~c?x": b"/a/b~c?x",
                b"HTTPS://u:p@[::1]:80/a/b~c?x": b"/a/b~c?x",
            },
        )

    def test_otherPath(self) -> None:
        """
        A REQUEST_URI that means another path than the one which the front end
        has seen does not count.
        """
        rebuilt = b"/admin/x?q"
        others = (
            b"",
            b"*",
            b"admin/x",
            b"/public/../admin/x?q",
            b"/public/%2e%2e/admin/x",
            b"/./admin/x",
            b"//admin/x",
            b"/admin//x",
            b"/admin/x/",
            b"/ADMIN/x",
            b"/public",
            b"/admin%252Fx",
            b"/admin/x%00",
            b"/admin/x%00.html",
            b"/admin\\x",
            b"/admin%5Cx",
            b"/admin/x;public",
            b"/public;/admin/x",
            b"/admin%3Fx",
            b"/public?/admin/x",
            b"/public#/admin/x",
            b"/admin/x#",
            b"/admin/x?q#/public",
            b"/admin/x HTTP/1.1",
            b"/admin/x?q\r\nX: y",
            b"/admin/x?\x7f",
            b"http://admin/x",
            b"http:/admin/x",
            b"http://host\\@/../admin/x",
            b"http://host?/admin/x",
            b"http://host#/admin/x",
            b"//host/admin/x",
            b"host:443",
            b"://host/admin/x",
        )
        self.assertTargets(b"/admin/x", b"q", dict.fromkeys(others, rebuilt))

    def test_decodedOnce(self) -> None:
        """
        What is percent-encoded twice is decoded once.
        """
        self.assertTargets(
            b"/%2e%2e/x",
            b"",
            {b"/%252e%252e/x": b"/%252e%252e/x", b"/../x": b"/%252e%252e/x"},
        )

    def test_literally(self) -> None:
        """
        A front end that does not decode the path gets away with it.
        """
        self.assertTargets(b"/a%20b", b"", {b"/a%20b?x": b"/a%20b?x"})

    def test_encodedSlashes(self) -> None:
        """
        So does one that decodes all but slashes, but not one that makes a path
        of another.
        """
        self.assertTargets(
            b"/a%2Fb%2fc d",
            b"",
            {
                b"/a%2Fb%2fc%20d": b"/a%2Fb%2fc%20d",
                b"/a%252Fb%252fc%20d": b"/a%252Fb%252fc%20d",
                b"/a/b/c%20d": b"/a%252Fb%252fc%20d",
                b"/a%2Fb%2Fc%20d": b"/a%252Fb%252fc%20d",
            },
        )

    def test_changedQuery(self) -> None:
        """
        A front end may have been told to change the query and nothing else:
        what it says in QUERY_STRING counts.  Where it says nothing, the query
        is that of REQUEST_URI.
        """
        variables = {b"SCRIPT_NAME": b"/a b", b"REQUEST_URI": b"/a%20b?x"}
        self.assertEqual(cgi.uri(variables), b"/a%20b?x")
        table = {b"x": b"/a%20b?x", b"t=1&x": b"/a%20b?t=1&x", b"": b"/a%20b"}
        results = {
            query: cgi.uri({**variables, b"QUERY_STRING": query}) for query in table
        }
        self.assertEqual(results, table)

    def test_questionMarkInPath(self) -> None:
        """
        A question mark that belongs to the decoded path never starts a query.
        """
        self.assertTargets(
            b"/a?b",
            b"c",
            {
                b"/a%3Fb": b"/a%3Fb",
                b"/a?b": b"/a%3Fb?c",
                b"/a?c": b"/a%3Fb?c",
            },
        )

    def test_numberSignInPath(self) -> None:
        """
        A number sign that belongs to the decoded path never starts a fragment.
        """
        self.assertTargets(
            b"/a#b",
            b"",
            {b"/a%23b": b"/a%23b", b"/a#b": b"/a%23b", b"/a": b"/a%23b"},
        )

    def test_rebuilt(self) -> None:
        """
        Without a REQUEST_URI, all but what may stand in a path is
        percent-encoded.
        """
        table = {
            b"/aZ9-._~!$&'()*+,;=:@": b"/aZ9-._~!$&'()*+,;=:@",
            b"/ \r\n\0\x7f": b"/%20%0D%0A%00%7F",
            b'/%"<>[\\]^`{|}#?': b"/%25%22%3C%3E%5B%5C%5D%5E%60%7B%7C%7D%23%3F",
            b"/\xc3\xa9": b"/%C3%A9",
            b"//a//": b"//a//",
            b"": b"/",
            b"a": b"/a",
            b"*": b"/*",
        }
        self.assertEqual(outcomes(cgi.uri, b"SCRIPT_NAME", table), table)

    def test_rebuiltQuery(self) -> None:
        """
        Of a query only that is percent-encoded which can't stand in a URI.
        """
        table = {
            b"": b"/",
            b"a=b&c=%20+d;e/?[]": b"/?a=b&c=%20+d;e/?[]",
            b"a b\r\n\0\x7f#": b"/?a%20b%0D%0A%00%7F%23",
            b"\xe9": b"/?\xe9",
        }
        results = {
            query: cgi.uri({b"PATH_INFO": b"/", b"QUERY_STRING": query})
            for query in table
        }
        self.assertEqual(results, table)

    def test_asterisk(self) -> None:
        """
        C{*} is the target of OPTIONS alone, and only if the front end has not
        made another path of it.
        """
        table = {
            (b"OPTIONS", b"/"): b"*",
            (b"OPTIONS", b"*"): b"*",
            (b"OPTIONS", b""): b"*",
            (b"OPTIONS", b"/admin"): b"/admin",
            (b"GET", b"*"): b"/*",
            (b"GET", b"/"): b"/",
        }
        results = {
            (method, path): cgi.uri(
                {
                    b"REQUEST_METHOD": method,
                    b"REQUEST_URI": b"*",
                    b"SCRIPT_NAME": path,
                }
            )
            for method, path in table
        }
        self.assertEqual(results, table)

    def test_noPath(self) -> None:
        """
        Where the front end says no path, as for an Authorizer, REQUEST_URI is
        read as front ends read it, before they look at their rules.
        """
        table = {
            b"": b"/",
            b"/": b"/",
            b"/a%20b/?x": b"/a%20b/?x",
            b"/a//b?x": b"/a/b?q",
            b"/public/../admin": b"/admin?q",
            b"/public/%2E%2e%2Fadmin/.": b"/admin/?q",
            b"/../../a/..": b"/?q",
            b"/a/b/..": b"/a/?q",
            b"/a#/../b": b"/a?q",
            b"/a b": b"/a%20b?q",
            b"/a?/../b": b"/a?/../b",
            b"http://h/a?x": b"/a?x",
            b"http://h?x": b"/?x",
            b"http://h": b"/",
            b"h:443": b"/?q",
        }
        results = {
            sent: cgi.uri(
                {
                    b"REQUEST_URI": sent,
                    b"QUERY_STRING": expected.partition(b"?")[2],
                }
            )
            for sent, expected in table.items()
        }
        self.assertEqual(results, table)

    def test_documentUri(self) -> None:
        """
        DOCUMENT_URI is the last resort.
        """
        document = {b"DOCUMENT_URI": b"/a/../b c"}
        self.assertEqual(cgi.uri(document), b"/b%20c")
        self.assertEqual(cgi.uri({**document, b"REQUEST_URI": b"/d"}), b"/d")
        self.assertEqual(cgi.uri({**document, b"PATH_INFO": b"/e"}), b"/e")
        self.assertEqual(cgi.uri({}), b"/")

    def test_scriptSegments(self) -> None:
        """
        SCRIPT_NAME is decoded already; one slash at its end does not count.
        """
        table: dict[bytes, list[bytes]] = {
            b"": [],
            b"/": [],
            b"/a": [b"a"],
            b"/a/": [b"a"],
            b"/a/b%20c d": [b"a", b"b%20c d"],
            b"a/b": [b"a", b"b"],
            b"//a//": [b"", b"a", b""],
        }
        self.assertEqual(outcomes(cgi.scriptSegments, b"SCRIPT_NAME", table), table)
        self.assertEqual(cgi.scriptSegments({}), [])

    #: Bytes that have led somebody astray.

    def test_slashes(self) -> None:
        """
        A path may have 4096 slashes and no more, wherever they come from: what
        looks for a resource takes time in proportion to the square of them.
        """
        half = b"/a" * 2048
        for changes in (
            {b"SCRIPT_NAME": half + half},
            {b"SCRIPT_NAME": half, b"PATH_INFO": half},
            {b"SCRIPT_NAME": b"/" * 4096, b"REQUEST_URI": b"/" * 4096},
            {b"SCRIPT_NAME": half + half, b"QUERY_STRING": b"/" * 10000},
            {b"SCRIPT_NAME": b"/" + b"a" * 10000},
            {b"REQUEST_URI": half + half},
        ):
            variables = {b"REQUEST_METHOD": b"GET", **changes}
            target = cgi.requestLine(variables)[1]
            self.assertEqual(cgi.uri(variables), target)
            slashes = target.partition(b"?")[0].count(b"/")
            variables[next(iter(changes))] += b"/a" * (4097 - slashes)
            for tell in (cgi.uri, cgi.requestLine):
                with self.assertRaisesRegex(LimitExceeded, "^4097 slashes in the "):
                    tell(variables)
        same = dict.fromkeys((b"SCRIPT_NAME", b"REQUEST_URI"), b"/" * 4097)
        with self.assertRaises(LimitExceeded):
            cgi.requestLine({b"REQUEST_METHOD": b"GET", **same})


PIECES = st.lists(
    st.sampled_from(
        [
            *rb"/ // .. . a ? # % %% ; \ %2e %2F %2f%2E %25 %252e %00 %3f %23".split(),
            *b"%ff * @ : http://a".split(),
            *(b"\r\n", b"\0", b" ", b"\xff"),
        ]
    ),
    max_size=8,
).map(b"".join)


@st.composite
def paths(draw: st.DrawFn) -> dict[bytes, bytes]:
    """
    Make variables in which REQUEST_URI has to do with the path, more or less.
    """
    scriptName, pathInfo = draw(PIECES), draw(PIECES)
    path = scriptName + pathInfo
    targets = st.one_of(
        PIECES,
        st.sampled_from(
            [
                path,
                quote_from_bytes(path).encode(),
                quote_from_bytes(path, safe="").replace("%2F", "/", 1).encode(),
                unquote_to_bytes(path),
                b"http://u@h:1" + quote_from_bytes(path).encode(),
                quote_from_bytes(path).encode() + b"?" + draw(PIECES),
            ]
        ),
    )
    return {
        b"SCRIPT_NAME": scriptName,
        b"PATH_INFO": pathInfo,
        b"REQUEST_URI": draw(targets),
        b"QUERY_STRING": draw(PIECES),
        b"REQUEST_METHOD": b"GET",
    }


def routed(target: bytes) -> bytes:
    """
    Tell the path of the resource that L{twisted.web.server.Site} looks for.
    """
    path = target.partition(b"?")[0]
    segments = [unquote_to_bytes(segment) for segment in path[1:].split(b"/")]
    return b"/" + b"/".join(segments)


class TargetPropertyTests(SynchronousTestCase):
    """
    What holds for L{cgi.uri} whatever is sent.
    """

    @given(paths())
    @settings(quickly, max_examples=400)
    def test_routedPathIsTheFrontEnds(self, variables: dict[bytes, bytes]) -> None:
        """
        The resource that is found is the one at SCRIPT_NAME and PATH_INFO,
        unless the front end has not decoded these, and REQUEST_URI agrees
        literally.
        """
        path = variables[b"SCRIPT_NAME"] + variables[b"PATH_INFO"]
        path = path if path.startswith(b"/") else b"/" + path
        target = cgi.uri(variables)
        if routed(target) != path:
            self.assertEqual(target.partition(b"?")[0], path)
            self.assertIn(path, variables[b"REQUEST_URI"])

    @given(
        st.dictionaries(
            st.sampled_from(
                b"SCRIPT_NAME PATH_INFO REQUEST_URI DOCUMENT_URI QUERY_STRING".split()
            ),
            PIECES | st.binary(max_size=20),
        )
    )
    @settings(quickly, max_examples=400)
    def test_alwaysATarget(self, variables: dict[bytes, bytes]) -> None:
        """
        The target starts with a slash, and there is nothing in it that ends
        it.
        """
        target = cgi.uri(variables)
        self.assertTrue(target.startswith(b"/"))
        self.assertEqual(set(target) & {*range(0x21), 0x7F, *b"#"}, set())

    @given(PIECES)
    @settings(quickly, max_examples=300)
    def test_noDotsForAnAuthorizer(self, target: bytes) -> None:
        """
        A path that is not said leads nowhere else once it is resolved.
        """
        path = routed(cgi.uri({b"REQUEST_URI": target}))
        self.assertEqual(set(path.split(b"/")) & {b".", b".."}, set())
        self.assertNotIn(b"//", path)


class ContentLengthTests(SynchronousTestCase):
    """
    L{cgi.contentLength}.
    """

    def test_shapes(self) -> None:
        """
        Every web server's way to say a length, or that it knows none, is
        understood.
        """
        table = {
            b"11": 11,
            b"0": 0,
            b"007": 7,
            b"9" * 18: int("9" * 18),
            b"": None,
            b"-1": None,
        }
        self.assertEqual(outcomes(cgi.contentLength, b"CONTENT_LENGTH", table), table)
        self.assertIs(cgi.contentLength({}), None)

    def test_nonsense(self) -> None:
        """
        Anything else is refused.
        """
        for value in (
            *b"+3 -2 abc 1,1 0x1 1_0 1.0 1e3 \xb2 \xef\xbc\x91".split(),
            *(b"1 ", b" 1", b"1\n", b"9" * 19, b"0" * 40),
        ):
            with self.assertRaises(RemoteProtocolError) as caught:
                cgi.contentLength({b"CONTENT_LENGTH": value})
            self.assertIn("CONTENT_LENGTH", str(caught.exception))

    @given(st.binary(max_size=24) | st.text("+-_ 0123456789", max_size=24))
    @quickly
    def test_onlyOneError(self, value: bytes | str) -> None:
        """
        A number comes back that is the value, or C{RemoteProtocolError}.
        """
        sent = value.encode() if isinstance(value, str) else value
        try:
            length = cgi.contentLength({b"CONTENT_LENGTH": sent})
        except RemoteProtocolError:
            return
        if length is not None:
            self.assertEqual(b"%d" % length, sent.lstrip(b"0") or b"0")


class RequestHeadersTests(SynchronousTestCase):
    """
    L{cgi.requestHeaders}.
    """

    def test_names(self) -> None:
        """
        An HTTP_* variable is the header of that name.
        """
        table = {
            b"HTTP_HOST": b"Host",
            b"HTTP_X_FORWARDED_FOR": b"X-Forwarded-For",
            b"HTTP_X_UNDER": b"X-Under",
            b"HTTP_SEC_CH_UA": b"Sec-Ch-Ua",
            b"HTTP_AUTHORIZATION": b"Authorization",
            b"HTTP_ETAG": b"ETag",
            b"HTTP_accept": b"Accept",
            b"HTTP_X": b"X",
        }
        for variable, name in table.items():
            self.assertEqual(headersOf((variable, b"v")), {name: [b"v"]})

    def test_notHeaders(self) -> None:
        """
        Fields of one hop, those that are the web server's business, the one
        that would be taken for HTTP_PROXY, and other variables are no headers,
        however they are written.
        """
        for variable in (
            *b"HTTP_PROXY HTTP_proxy HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE".split(),
            *b"HTTP_TRANSFER_ENCODING HTTP_TRANSFER-ENCODING HTTP_CONNECTION".split(),
            *b"HTTP_KEEP_ALIVE HTTP_TE HTTP_TRAILER HTTP_UPGRADE HTTP_EXPECT".split(),
            *b"HTTP_PROXY_CONNECTION HTTP_ HTTP HTTPS XHTTP_HOST http_host".split(),
            *(b"REMOTE_USER", b""),
        ):
            self.assertEqual(headersOf((variable, b"1")), {})

    def test_noToken(self) -> None:
        """
        What can't be the name of a header is left out, and harms no other.
        """
        for end in (b"A B", b"A:B", b"A\r\nB", b"A\0", b"\xc9", b"A\n", b"A/B", b'"'):
            self.assertEqual(
                headersOf((b"HTTP_" + end, b"1"), (b"HTTP_HOST", b"h")),
                {b"Host": [b"h"]},
            )

    def test_repeated(self) -> None:
        """
        Repeated variables are repeated headers, in order.
        """
        self.assertEqual(
            headersOf(
                (b"HTTP_X_FORWARDED_FOR", b"a"),
                (b"HTTP_HOST", b"h"),
                (b"HTTP_X_FORWARDED_FOR", b"b, c"),
                (b"HTTP_X_EMPTY", b""),
            ),
            {
                b"X-Forwarded-For": [b"a", b"b, c"],
                b"Host": [b"h"],
                b"X-Empty": [b""],
            },
        )

    def test_oneCookie(self) -> None:
        """
        Repeated cookies are one header, as all others expect it.
        """
        cookies = [(b"HTTP_COOKIE", value) for value in (b"a=1", b"b=2; c=3", b"d=4")]
        self.assertEqual(headersOf(*cookies), {b"Cookie": [b"a=1; b=2; c=3; d=4"]})
        self.assertEqual(headersOf(cookies[1]), {b"Cookie": [b"b=2; c=3"]})

    def test_content(self) -> None:
        """
        CONTENT_TYPE and CONTENT_LENGTH are headers if there is something in
        them; of repeated ones the last counts.
        """
        self.assertEqual(
            headersOf(
                (b"CONTENT_TYPE", b"text/html"),
                (b"HTTP_CONTENT_TYPE", b"text/evil"),
                (b"CONTENT_LENGTH", b"5"),
                (b"CONTENT_TYPE", b"text/plain"),
                (b"CONTENT_LENGTH", b"11"),
                (b"HTTP_CONTENT_LENGTH", b"99"),
            ),
            {b"Content-Type": [b"text/plain"], b"Content-Length": [b"11"]},
        )
        self.assertEqual(
            headersOf((b"CONTENT_TYPE", b"a/b"), (b"CONTENT_TYPE", b"")), {}
        )
        for length in (b"", b"-1", b"+1", b"abc", b"9" * 19):
            self.assertEqual(headersOf((b"CONTENT_LENGTH", length)), {})

    def test_boundedMemory(self) -> None:
        """
        A client that makes up names can't fill the memory, nor spoil the names
        of others.
        """
        for number in range(cgi._MOST_KNOWN + 10):
            headersOf((b"HTTP_X_%d" % number, b""))
        headersOf((b"HTTP_" + b"X" * 1000, b""))
        self.assertLessEqual(len(cgi._headerNames), cgi._MOST_KNOWN)
        self.assertLessEqual(max(map(len, cgi._headerNames)), cgi._LONGEST_KNOWN)
        self.assertEqual(headersOf((b"HTTP_HOST", b"h")), {b"Host": [b"h"]})

    @given(
        st.lists(
            st.tuples(
                st.binary(max_size=8).map(b"HTTP_".__add__)
                | st.sampled_from([b"HTTP_COOKIE", b"CONTENT_TYPE", b"HTTP_A"]),
                st.binary(max_size=12) | st.sampled_from([b"a\r\nB: c", b"\n", b"\r"]),
            ),
            max_size=6,
        )
    )
    @settings(quickly, max_examples=300)
    def test_noLineBreaks(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """
        No header holds a line break, whatever is sent.
        """
        for name, values in headersOf(*pairs).items():
            self.assertRegex(name, rb"\A[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
            for value in values:
                self.assertNotRegex(value, rb"[\r\n]")


class ConnectionVariablesTests(SynchronousTestCase):
    """
    L{cgi.isSecure}, L{cgi.clientAddress} and L{cgi.serverAddress}.
    """

    def test_https(self) -> None:
        """
        HTTPS says yes in several ways.
        """
        table = {
            **dict.fromkeys((b"on", b"ON", b"1", b"https", b"True", b"yes"), True),
            **dict.fromkeys((b"", b"off", b"0", b"no", b"http", b"2", b"on "), False),
        }
        self.assertEqual(outcomes(cgi.isSecure, b"HTTPS", table), table)
        self.assertIs(cgi.isSecure({}), False)

    def test_requestScheme(self) -> None:
        """
        REQUEST_SCHEME says it too.
        """
        table = {b"https": True, b"HTTPS": True, b"http": False, b"": False}
        self.assertEqual(outcomes(cgi.isSecure, b"REQUEST_SCHEME", table), table)

    def test_clientHosts(self) -> None:
        """
        The client's address is of the kind that it looks like, and has a host
        and a port in any case.
        """
        v4 = {
            **{b"192.0.2.7": "192.0.2.7", b"": "", b"unix:": "unix:", b"unix": "unix"},
            **{b"unix:/a": "unix:/a", b"\xff": "\\xff", b"[x]": "[x]", b"a:1": "a:1"},
        }
        v6 = {
            b"::1": "::1",
            b"2001:DB8::7": "2001:DB8::7",
            b"[2001:db8::7]": "2001:db8::7",
            b"::ffff:192.0.2.7": "::ffff:192.0.2.7",
            b"fe80::1%eth0": "fe80::1%eth0",
        }
        table: dict[bytes, IPv4Address | IPv6Address] = {
            **{sent: IPv4Address("TCP", host, 0) for sent, host in v4.items()},
            **{sent: IPv6Address("TCP", host, 0) for sent, host in v6.items()},
        }
        self.assertEqual(outcomes(cgi.clientAddress, b"REMOTE_ADDR", table), table)
        self.assertEqual(cgi.clientAddress({}), IPv4Address("TCP", "", 0))

    def test_clientPorts(self) -> None:
        """
        A port that is none is 0.
        """
        table = {
            **{b"1": 1, b"65535": 65535, b"": 0, b"0": 0, b"65536": 0, b"-1": 0},
            **{b"1 ": 0, b"a": 0, b"999999": 0, b"\xb2": 0, b"9" * 5000: 0},
        }
        results = outcomes(lambda v: cgi.clientAddress(v).port, b"REMOTE_PORT", table)
        self.assertEqual(results, table)

    def test_serverHosts(self) -> None:
        """
        Without a network address the server is known by its name, which may
        have a port.
        """
        table = {
            b"example.com": "example.com",
            b"example.com:8080": "example.com",
            b"example.com:": "example.com",
            b"[::1]:8080": "::1",
            b"[::1]": "::1",
            b"::1": "::1",
            b"a:b": "a:b",
            b"": "",
        }
        results = outcomes(lambda v: cgi.serverAddress(v).host, b"SERVER_NAME", table)
        self.assertEqual(results, table)
        for address in (b"", b"unix:", b"unix:/run/a.sock"):
            found = cgi.serverAddress({b"SERVER_ADDR": address, b"SERVER_NAME": b"n"})
            self.assertEqual(found, IPv4Address("TCP", "n", 80))
        self.assertEqual(cgi.serverAddress({}), IPv4Address("TCP", "", 80))

    def test_serverPorts(self) -> None:
        """
        A port that is none is the usual one.
        """
        for value in (b"", b"0", b"65536", b"http", b"-80"):
            secure = {b"SERVER_PORT": value, b"HTTPS": b"on"}
            self.assertEqual(cgi.serverAddress({b"SERVER_PORT": value}).port, 80)
            self.assertEqual(cgi.serverAddress(secure).port, 443)
        self.assertEqual(cgi.serverAddress({b"SERVER_PORT": b"8080"}).port, 8080)


class CheckVariablesTests(SynchronousTestCase):
    """
    L{cgi.checkVariables}.
    """

    def test_possible(self) -> None:
        """
        What requests do have is not refused: decoded line breaks in a path,
        certificates of many lines, odd names.
        """
        cgi.checkVariables([])
        cgi.checkVariables(
            [
                (b"SCRIPT_NAME", b"/a\r\nb"),
                (b"PATH_INFO", b"/a\nb"),
                (b"DOCUMENT_URI", b"/a\nb"),
                (b"SSL_CLIENT_CERT", b"-----BEGIN CERTIFICATE-----\nMII=\n"),
                (b"", b""),
                (b"HTTP_X", b"\xff\t \x01"),
            ]
        )

    def test_nul(self) -> None:
        """
        NUL is refused everywhere.
        """
        for pair in ((b"SCRIPT_NAME", b"/a\0b"), (b"A\0", b""), (b"SSL_X", b"\0")):
            with self.assertRaises(RemoteProtocolError) as caught:
                cgi.checkVariables([(b"A", b"b"), pair])
            self.assertIn(repr(pair[0])[1:], str(caught.exception))
            self.assertIn(repr(pair[1])[1:], str(caught.exception))
            self.assertIn("NUL", str(caught.exception))

    def test_lineBreaks(self) -> None:
        """
        CR and LF are refused in the request line, in headers, and in names.
        """
        names = (
            *b"HTTP_X HTTP_COOKIE REQUEST_METHOD REQUEST_URI QUERY_STRING".split(),
            *b"CONTENT_TYPE CONTENT_LENGTH SERVER_PROTOCOL SERVER_NAME".split(),
            *b"SERVER_PORT SERVER_ADDR REMOTE_ADDR REMOTE_PORT HTTPS".split(),
            b"REQUEST_SCHEME",
        )
        for name in names:
            for bad in (b"\r", b"\n", b"a\r\nb"):
                self.assertRaises(
                    RemoteProtocolError, cgi.checkVariables, [(name, bad)]
                )
        for bad in (b"A\rB", b"A\nB", b"HTTP_A\r\n"):
            with self.assertRaises(RemoteProtocolError) as caught:
                cgi.checkVariables([(bad, b"")])
            self.assertIn("one line", str(caught.exception))


class CheckContentTypeTests(SynchronousTestCase):
    """
    L{cgi.checkContentType}.
    """

    def test_good(self) -> None:
        """
        Media types pass, and so does what is none but stays on its line.
        """
        for value in (b"", b"text/plain; charset=utf-8", b"a\tb", b"\xe9\x80\xff"):
            cgi.checkContentType({b"CONTENT_TYPE": value})
        cgi.checkContentType({})

    def test_tooLong(self) -> None:
        """
        One of more than 4096 bytes is refused, whatever it consists of.
        """
        longest = b"multipart/form-data".ljust(4096, b";")
        cgi.checkContentType({b"CONTENT_TYPE": longest})
        error = self.assertRaises(
            RemoteProtocolError,
            cgi.checkContentType,
            {b"CONTENT_TYPE": longest + b";"},
        )
        self.assertIn("at most 4096 bytes", str(error))

    def test_endOfLine(self) -> None:
        """
        What Python takes for the end of a line is refused, for the sake of
        Python's own parser of media types, which fails on it.
        """
        for bad in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"):
            error = self.assertRaises(
                RemoteProtocolError,
                cgi.checkContentType,
                {b"CONTENT_TYPE": b"a/b" + bad + b"c"},
            )
            self.assertIn("CONTENT_TYPE", str(error))
        for code in range(256):
            text = bytes((code,)).decode("latin-1")
            if len(f"a{text}b".splitlines()) > 1 and code not in b"\r\n":
                self.assertRaises(
                    RemoteProtocolError,
                    cgi.checkContentType,
                    {b"CONTENT_TYPE": bytes((code,))},
                )


class LaxHeaders(Headers):
    """
    Headers that believe everything, as those of Twisted 24.7 believe in names
    that are none, and as an application's own may.
    """

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._pairs = {name: [v for n, v in pairs if n == name] for name, _ in pairs}

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        """
        Give all headers as they were set.
        """
        return iter(self._pairs.items())

    def getRawHeaders(  # type: ignore[override]
        self, name: bytes, default: None = None
    ) -> Sequence[bytes] | None:
        """
        Give the values of one header.
        """
        return self._pairs.get(name, default)


def headOf(*pairs: tuple[bytes, bytes], code: int = 200) -> bytes:
    """
    Make a header block of headers that believe everything.
    """
    return cgi.responseHead(code, b"OK", LaxHeaders(pairs))


class ResponseHeadTests(SynchronousTestCase):
    """
    L{cgi.responseHead} and L{cgi.declaredLength}.
    """

    def test_block(self) -> None:
        """
        The block has a line for each header, the status, and an empty line.
        """
        headers = Headers({b"content-type": [b"text/html"], b"X-A": [b"1", b"2"]})
        self.assertEqual(
            cgi.responseHead(200, b"OK", headers),
            b"Content-Type: text/html\r\nX-A: 1\r\nX-A: 2\r\nStatus: 200 OK\r\n\r\n",
        )

    def test_statusAlone(self) -> None:
        """
        The status is said in any case, also with no reason.
        """
        self.assertEqual(cgi.responseHead(299, b"", Headers()), b"Status: 299 \r\n\r\n")

    def test_statusAfterLocation(self) -> None:
        """
        The status is in the last line: HAProxy lets a Location after it make a
        302 of it.
        """
        for code in (200, 201, 307):
            head = cgi.responseHead(code, b"R", Headers({b"Location": [b"/x"]}))
            self.assertEqual(head, b"Location: /x\r\nStatus: %d R\r\n\r\n" % code)

    def test_statusFirst(self) -> None:
        """
        The status of an Authorizer is in the first line: lighttpd forgets the
        headers of a refusal that come before it.
        """
        headers = Headers({b"Content-Type": [b"text/plain"]})
        self.assertEqual(
            cgi.responseHead(403, b"No", headers, statusFirst=True),
            b"Status: 403 No\r\nContent-Type: text/plain\r\n\r\n",
        )

    def test_authorizersVariables(self) -> None:
        """
        The names of an Authorizer's variables are in capitals: web servers
        take them as they are written, and L{Headers} makes them small.
        """
        headers = Headers({b"Variable-AUTH_METHOD": [b"db"]})
        self.assertEqual(
            cgi.responseHead(200, b"OK", headers, statusFirst=True),
            b"Status: 200 OK\r\nVariable-AUTH_METHOD: db\r\n\r\n",
        )

    def test_neverPassedOn(self) -> None:
        """
        Fields of one hop, and another status, don't reach the web server:
        nginx, Apache and h2o would chunk twice, and lighttpd passes Connection
        on to the client.
        """
        for name in (
            *b"Transfer-Encoding transfer-encoding Connection Keep-Alive TE".split(),
            *b"Trailer Proxy-Connection Upgrade Status status sTaTuS".split(),
            b"",
        ):
            self.assertEqual(headOf((name, b"1")), b"Status: 200 OK\r\n\r\n")

    def test_noToken(self) -> None:
        """
        What can't be the name of a header is left out.
        """
        for name in (b"A B", b"A:", b"A\r\nB", b"\0", b"\xc9", b"A\n", b"HTTP/1.1 200"):
            self.assertEqual(
                headOf((name, b"1"), (b"A", b"2")), b"A: 2\r\nStatus: 200 OK\r\n\r\n"
            )

    def test_dropped(self) -> None:
        """
        The caller names further headers to leave out.
        """
        headers = Headers(
            {name: [b"1"] for name in (b"Server", b"Date", b"ETag", b"Content-Length")}
        )
        drop = frozenset((b"Server", b"Date", b"Content-Length"))
        self.assertEqual(
            cgi.responseHead(200, b"OK", headers, drop=drop),
            b"ETag: 1\r\nStatus: 200 OK\r\n\r\n",
        )

    def test_cookies(self) -> None:
        """
        Each cookie keeps its own line.
        """
        headers = Headers({b"Set-Cookie": [b"a=1, b", b"c=2"]})
        self.assertEqual(
            cgi.responseHead(200, b"OK", headers),
            b"Set-Cookie: a=1, b\r\nSet-Cookie: c=2\r\nStatus: 200 OK\r\n\r\n",
        )

    def test_injection(self) -> None:
        """
        CR, LF and NUL become spaces in values, other bytes stay.
        """
        self.assertEqual(
            headOf((b"A", b"1\r\nSet-Cookie: x\r\n\r\n<b>\0\xff\t")),
            b"A: 1  Set-Cookie: x    <b> \xff\t\r\nStatus: 200 OK\r\n\r\n",
        )

    def test_reason(self) -> None:
        """
        Of a reason phrase that stays which can be shown.
        """
        table = {
            b"Not Found": b"Not Found",
            b"OK\r\nX: y\r\n\r\nbody": b"OKX: ybody",
            b"\0\t\x1b\x7f\x85\xa0\xe9": b"\xa0\xe9",
        }
        for reason, shown in table.items():
            self.assertEqual(
                cgi.responseHead(404, reason, Headers()),
                b"Status: 404 " + shown + b"\r\n\r\n",
            )

    def test_finalCodes(self) -> None:
        """
        Only final status codes can be sent: most web servers take a 1xx for
        the whole response.
        """
        for code in (200, 599):
            self.assertIn(b"Status: %d" % code, headOf(code=code))
        for code in (-1, 0, 100, 101, 103, 199, 600, 2000):
            with self.assertRaises(LocalProtocolError) as caught:
                headOf(code=code)
            self.assertIn(f"status code {code}", str(caught.exception))

    def test_contentLength(self) -> None:
        """
        A length is passed on if it is one number, and it is not a 204, which
        can't have one.
        """
        line = b"Content-Length: 5\r\n"
        for values, expected in (
            ([b"5"], line),
            ([b"5", b"5"], line),
            ([b"0"], b"Content-Length: 0\r\n"),
            ([b"5", b"6"], b""),
            ([b"5, 5"], b""),
            ([b"-5"], b""),
            ([b"abc"], b""),
            ([b""], b""),
            ([b"9" * 19], b""),
        ):
            headers = Headers({b"content-length": values})
            head = cgi.responseHead(200, b"OK", headers)
            self.assertEqual(head, expected + b"Status: 200 OK\r\n\r\n")
            head = cgi.responseHead(204, b"No", headers)
            self.assertEqual(head, b"Status: 204 No\r\n\r\n")
        head = cgi.responseHead(304, b"NM", Headers({b"Content-Length": [b"5"]}))
        self.assertEqual(head, line + b"Status: 304 NM\r\n\r\n")

    def test_declaredLength(self) -> None:
        """
        The declared length is the one that is passed on.
        """
        self.assertEqual(cgi.declaredLength(Headers({b"Content-Length": [b"5"]})), 5)
        self.assertEqual(
            cgi.declaredLength(Headers({b"Content-Length": [b"5", b"5"]})), 5
        )
        for values in ([b"5", b"6"], [b"x"], [b""], [b"9" * 19], []):
            headers = Headers({b"Content-Length": values})
            self.assertIs(cgi.declaredLength(headers), None)
        self.assertIs(cgi.declaredLength(Headers()), None)

    def test_boundedMemory(self) -> None:
        """
        An application that makes up names does not fill the memory.
        """
        for number in range(cgi._MOST_KNOWN + 10):
            headOf((b"X-%d" % number, b""))
        self.assertLessEqual(len(cgi._sentNames), cgi._MOST_KNOWN)

    @given(
        st.integers(200, 599),
        st.binary(max_size=12) | st.just(b"a\r\n\r\nb"),
        st.lists(
            st.tuples(
                st.binary(max_size=6)
                | st.sampled_from([b"A", b"Content-Length", b"A\r\nB", b"Status"]),
                st.binary(max_size=12) | st.sampled_from([b"5", b"a\r\n\r\nb", b"\n"]),
            ),
            max_size=6,
        ),
        st.booleans(),
    )
    @settings(quickly, max_examples=400)
    def test_oneBlock(
        self,
        code: int,
        reason: bytes,
        pairs: list[tuple[bytes, bytes]],
        statusFirst: bool,
    ) -> None:
        """
        Whatever an application sets, there is exactly one block, with one
        status in its place and at most a line for each value.
        """
        head = cgi.responseHead(
            code, reason, LaxHeaders(pairs), statusFirst=statusFirst
        )
        *lines, end, rest = head.split(b"\r\n")
        self.assertEqual((end, rest), (b"", b""))
        self.assertNotRegex(b"".join(lines), rb"[\r\n\0]")
        self.assertTrue(
            lines[0 if statusFirst else -1].startswith(b"Status: %d" % code)
        )
        names = [line.partition(b": ")[0] for line in lines]
        self.assertEqual(names.count(b"Status"), 1)
        names.remove(b"Status")
        self.assertLessEqual(len(names), len(pairs))
        for name in names:
            self.assertIn(name, {name for name, _ in pairs})
