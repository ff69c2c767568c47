# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.cgiclient}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from tests.tables import TableTestCase, moderately, table
from twisted_fastcgi import cgi
from twisted_fastcgi.cgiclient import (
    Head,
    headEnd,
    merged,
    parseHead,
    parseTarget,
    requestVariables,
)
from twisted_fastcgi.errors import RemoteProtocolError
from twisted_fastcgi.fields import HOP_BY_HOP

#: URIs, and the host, the port, the authority, and the origin-form.
TARGETS = {
    "slash": (b"http://h/", (b"h", b"80", b"h", b"/")),
    "noPath": (b"http://h", (b"h", b"80", b"h", b"/")),
    "https": (b"https://h/a", (b"h", b"443", b"h", b"/a")),
    "port": (b"HTTP://h:8080/a", (b"h", b"8080", b"h:8080", b"/a")),
    "usualPort": (b"http://h:80/", (b"h", b"80", b"h", b"/")),
    "emptyPort": (b"http://h:/", (b"h", b"80", b"h", b"/")),
    "portOfTheOther": (b"https://h:80/", (b"h", b"80", b"h:80", b"/")),
    "ipv6": (b"http://[::1]:81/", (b"[::1]", b"81", b"[::1]:81", b"/")),
    "user": (b"http://user:secret@h/", (b"h", b"80", b"h", b"/")),
    "queryAlone": (b"http://h?a=b", (b"h", b"80", b"h", b"/?a=b")),
    "emptyQuery": (b"http://h/?", (b"h", b"80", b"h", b"/?")),
    "strange": (b"http://h/%20//..?a=/?b#c?d", (b"h", b"80", b"h", b"/%20//..?a=/?b")),
    "fragment": (b"http://h#a", (b"h", b"80", b"h", b"/")),
}

#: What can't be asked for.
NO_TARGETS = {
    "empty": (b"",),
    "path": (b"/path",),
    "asterisk": (b"*",),
    "ftp": (b"ftp://h/",),
    "noHost": (b"http:///a",),
    "portNoNumber": (b"http://h:a/",),
    "longPort": (b"http://h:123456/",),
    "noAddress": (b"http://[h]/",),
    "openBracket": (b"http://[::1/",),
    "spaceInHost": (b"http://a b/",),
    "spaceInPath": (b"http://h/a b",),
    "header": (b"http://h/\r\nX: y",),
    "lineBreak": (b"http://h/\n",),
    "notASCII": (b"http://h/\xe4",),
}

#: Header blocks, without the empty line, and their status and phrase.
HEADS = {
    "none": (b"Content-Type: a/b", 200, b"OK"),
    "code": (b"Status: 404", 404, b"Not Found"),
    "reason": (b"Status: 404 Nothing  here", 404, b"Nothing  here"),
    "spaces": (b"status:\t503 \t ", 503, b"Service Unavailable"),
    "unknown": (b"Status: 799", 799, b""),
    "unknownWithReason": (b"Status: 799 \xe4", 799, b"\xe4"),
    "redirection": (b"Location: http://h/", 302, b"Found"),
    "local": (b"Location: /local", 302, b"Found"),
    "locationWithStatus": (b"Location: /a\nStatus: 201 Made", 201, b"Made"),
    "twiceTheSame": (b"Status: 200\nStatus: 200", 200, b"OK"),
}

#: Header blocks that make no sense, and what is said about them.
NO_HEADS = {
    "empty": (b"", "''"),
    "httpLine": (b"HTTP/1.1 200 OK", "'HTTP/1.1 200 OK'"),
    "noColon": (b"no colon", "'no colon'"),
    "noName": (b": value", "': value'"),
    "spaceInName": (b"Na me: value", "'Na me: value'"),
    "spaceAfterName": (b"Name : value", "'Name : value'"),
    "folded": (b"A: b\n folded", "' folded'"),
    "nul": (b"A: b\0c", "'A: b\\x00c'"),
    "carriageReturn": (b"A: b\rB: c", "'A: b\\rB: c'"),
    "shortCode": (b"Status: 20", "status b'20'"),
    "longCode": (b"Status: 2000", "status b'2000'"),
    "informational": (b"Status: 100 Continue", "status b'100 Continue'"),
    "noCode": (b"Status: OK", "status b'OK'"),
    "emptyStatus": (b"Status:", "status b''"),
    "noSpace": (b"Status: 200OK", "status b'200OK'"),
    "twoStatuses": (b"Status: 200\nStatus: 404", "more than one Status"),
    "negativeLength": (b"Content-Length: -1", "Content-Length b'-1'"),
    "noLength": (b"Content-Length: 1e3", "Content-Length b'1e3'"),
    "emptyLength": (b"Content-Length:", "Content-Length b''"),
    "longLength": (b"Content-Length: " + b"9" * 19, "Content-Length b'9"),
    "twoLengths": (
        b"Content-Length: 1\nContent-Length: 2",
        "more than one Content-Length",
    ),
}

#: Names and values of header fields.
FIELDS = st.dictionaries(
    st.from_regex(rb"[A-Za-z0-9-]{1,20}", fullmatch=True).filter(
        lambda name: (
            name.lower() not in (b"status", b"content-length")
            and not name.lower().startswith(b"variable-")
        )
    ),
    st.lists(st.from_regex(rb"[!-~\x80-\xff]{0,20}", fullmatch=True), min_size=1),
    max_size=5,
)


class TargetTests(TableTestCase):
    """
    Tests for L{parseTarget}.
    """

    @table(TARGETS)
    def test_parts(self, uri: bytes, parts: tuple[bytes, ...]) -> None:
        """
        A URI has a host, a port, and a path with a query; what else is in it
        goes nowhere.
        """
        target = parseTarget(uri)
        found = (target.host, target.port, target.authority, target.originForm)
        self.assertEqual(found, parts)

    def test_scheme(self) -> None:
        """
        The scheme is told in lower case.
        """
        self.assertEqual(parseTarget(b"HTTPS://h/").scheme, b"https")

    @table(NO_TARGETS)
    def test_bad(self, uri: bytes) -> None:
        """
        What is not an absolute URI of HTTP is refused.
        """
        error = self.assertRaises(ValueError, parseTarget, uri)
        self.assertIn(repr(uri), str(error))


def variablesFor(
    uri: bytes = b"http://www.example.com/a%20b?c=%20d",
    method: bytes = b"GET",
    length: int | None = None,
    **headers: list[bytes],
) -> dict[bytes, bytes]:
    """
    Make the variables of a request; underscores in the names of headers stand
    for hyphens.
    """
    given = Headers({name.replace("_", "-"): each for name, each in headers.items()})
    return requestVariables(method, parseTarget(uri), given, length)


class VariablesTests(SynchronousTestCase):
    """
    Tests for L{requestVariables}.
    """

    def test_get(self) -> None:
        """
        These are the variables of a request without headers and body.
        """
        self.assertEqual(
            variablesFor(),
            {
                b"GATEWAY_INTERFACE": b"CGI/1.1",
                b"SERVER_SOFTWARE": b"twisted_fastcgi",
                b"SERVER_PROTOCOL": b"HTTP/1.1",
                b"REQUEST_METHOD": b"GET",
                b"REQUEST_SCHEME": b"http",
                b"REQUEST_URI": b"/a%20b?c=%20d",
                b"SCRIPT_NAME": b"",
                b"PATH_INFO": b"/a b",
                b"QUERY_STRING": b"c=%20d",
                b"SERVER_NAME": b"www.example.com",
                b"SERVER_PORT": b"80",
                b"REMOTE_ADDR": b"127.0.0.1",
                b"REDIRECT_STATUS": b"200",
                b"HTTP_HOST": b"www.example.com",
            },
        )

    def test_secure(self) -> None:
        """
        HTTPS is on for a URI of https, and there for no other.
        """
        self.assertEqual(variablesFor(b"https://h/")[b"HTTPS"], b"on")
        self.assertNotIn(b"HTTPS", variablesFor())

    def test_noQuery(self) -> None:
        """
        QUERY_STRING is there without a query, too.
        """
        self.assertEqual(variablesFor(b"http://h/")[b"QUERY_STRING"], b"")

    def test_body(self) -> None:
        """
        The length of a body is told, that of nothing as well.
        """
        for length in (0, 1, 2**40):
            told = variablesFor(length=length)[b"CONTENT_LENGTH"]
            self.assertEqual(told, str(length).encode())

    def test_contentType(self) -> None:
        """
        CONTENT_TYPE stands for I{Content-Type}, and nothing else does.
        """
        variables = variablesFor(Content_Type=[b"a/b"], Content_Length=[b"7"])
        self.assertEqual(variables[b"CONTENT_TYPE"], b"a/b")
        self.assertNotIn(b"HTTP_CONTENT_TYPE", variables)
        self.assertNotIn(b"HTTP_CONTENT_LENGTH", variables)
        self.assertNotIn(b"CONTENT_LENGTH", variables)

    def test_headers(self) -> None:
        """
        Each header is one variable; repeated ones are joined.
        """
        variables = variablesFor(
            Accept=[b"a", b"b"], cookie=[b"a=b", b"c=d"], X_Some_Thing=[b""]
        )
        self.assertEqual(variables[b"HTTP_ACCEPT"], b"a, b")
        self.assertEqual(variables[b"HTTP_COOKIE"], b"a=b; c=d")
        self.assertEqual(variables[b"HTTP_X_SOME_THING"], b"")

    def test_host(self) -> None:
        """
        A I{Host} header counts more than the URI.
        """
        self.assertEqual(variablesFor(Host=[b"other"])[b"HTTP_HOST"], b"other")
        variables = variablesFor(b"http://h:81/")
        self.assertEqual(variables[b"HTTP_HOST"], b"h:81")
        self.assertEqual(variables[b"SERVER_NAME"], b"h")

    def test_notSent(self) -> None:
        """
        Fields of one hop, I{Proxy}, and names that would pass for other ones
        are not sent.
        """
        names = [
            *("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer"),
            *("Transfer-Encoding", "Upgrade", "Expect", "Proxy", "X_Real_IP"),
        ]
        headers = Headers({name: [b"x"] for name in names})
        variables = requestVariables(b"GET", parseTarget(b"http://h/"), headers, None)
        self.assertEqual(variables, variablesFor(b"http://h/"))

    def test_method(self) -> None:
        """
        Any token is a method, nothing else is.
        """
        self.assertEqual(
            variablesFor(method=b"M-SEARCH")[b"REQUEST_METHOD"], b"M-SEARCH"
        )
        for method in (b"", b"GET /", b"GET\n", b"G\xc4T"):
            error = self.assertRaises(ValueError, variablesFor, method=method)
            self.assertIn(repr(method), str(error))

    @moderately
    @given(fields=FIELDS)
    def test_ownServer(self, fields: dict[bytes, list[bytes]]) -> None:
        """
        The server of this package understands any request, and sees the URI as
        it was.
        """
        headers = Headers()
        for name, values in fields.items():
            headers.setRawHeaders(name, values)
        target = parseTarget(b"http://h/a%20b/%2F?c=d")
        variables = requestVariables(b"GET", target, headers, 3)
        cgi.checkVariables(list(variables.items()))
        self.assertEqual(cgi.uri(variables), b"/a%20b/%2F?c=d")
        self.assertEqual(cgi.contentLength(variables), 3)
        self.assertEqual(cgi.method(variables), b"GET")


class MergedTests(SynchronousTestCase):
    """
    Tests for L{merged}.
    """

    def test_changes(self) -> None:
        """
        Variables are added, replaced and left out, by text or bytes; the last
        word counts.
        """
        found = merged(
            {b"A": b"1", b"B": b"2", b"C": b"3"},
            {"A": None, b"B": "\u00e4", "NEW": b"4", "NONE": None},
            None,
            {"NEW": "/\udcff"},
        )
        self.assertEqual(found, {b"B": b"\xc3\xa4", b"C": b"3", b"NEW": b"/\xff"})

    def test_untouched(self) -> None:
        """
        What is given is not changed.
        """
        given = {b"A": b"1"}
        merged(given, {"A": None})
        self.assertEqual(given, {b"A": b"1"})

    def test_bad(self) -> None:
        """
        No variable has a NUL in it or no name at all.
        """
        for name, value in [("", "x"), ("A\0", "x"), ("A", "x\0")]:
            with self.subTest(name=name, value=value):
                error = self.assertRaises(
                    ValueError, merged, {b"FINE": b"y"}, {name: value}
                )
                self.assertIn(f"{name.encode()!r} with", str(error))
                self.assertIn(f"value {value.encode()!r}", str(error))
        self.assertRaises(ValueError, merged, {b"PATH_INFO": b"/\0"})


class HeadEndTests(SynchronousTestCase):
    """
    Tests for L{headEnd}.
    """

    def test_ends(self) -> None:
        """
        The first empty line is the end, whichever line ends are used.
        """
        for block in (b"A: b\n\n", b"A: b\r\n\r\n", b"A: b\n\r\n", b"A: b\r\n\n"):
            self.assertEqual(headEnd(block + b"body\n\nmore"), len(block))
        self.assertEqual(headEnd(b"\nbody"), 1)
        self.assertEqual(headEnd(b"\r\nbody"), 2)

    def test_notYet(self) -> None:
        """
        Without an empty line the end has not come.
        """
        for block in (b"", b"\r", b"A: b", b"A: b\n", b"A: b\r\n\r", b"A: b\n\r\r\n"):
            self.assertEqual(headEnd(block), -1)

    @moderately
    @given(
        st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\n\n"]), max_size=12)
    )
    def test_anyCuts(self, pieces: list[bytes]) -> None:
        """
        The end is the same, however the block is cut, if the search goes on
        where it has stopped.
        """
        found = -1
        data = bytearray()
        for piece in pieces:
            searched = len(data)
            data += piece
            if found < 0:
                found = headEnd(data, searched)
        self.assertEqual(found, headEnd(b"".join(pieces)))


class HeadTests(TableTestCase):
    """
    Tests for L{parseHead}.
    """

    def parse(self, block: bytes) -> Head:
        """
        Read a block with either kind of line end, to the same effect.
        """
        head, other = (
            parseHead(block + b"\n\n"),
            parseHead(block.replace(b"\n", b"\r\n") + b"\r\n\r\n"),
        )
        self.assertEqual(head, other)
        return head

    @table(HEADS)
    def test_status(self, block: bytes, code: int, phrase: bytes) -> None:
        """
        The status is what I{Status} says; or 302 for a I{Location}, or 200.
        """
        head = self.parse(block)
        self.assertEqual((head.code, head.phrase), (code, phrase))
        self.assertFalse(head.headers.hasHeader(b"Status"))

    def test_headers(self) -> None:
        """
        All other fields are headers, without the space around their values.
        """
        head = self.parse(b"Set-Cookie: a=b\nX-A:\t c: d \t\nSet-Cookie:e=f\nX-B:")
        self.assertEqual(
            dict(head.headers.getAllRawHeaders()),
            {b"Set-Cookie": [b"a=b", b"e=f"], b"X-A": [b"c: d"], b"X-B": [b""]},
        )

    def test_hopByHop(self) -> None:
        """
        Fields of one hop are left out.
        """
        head = self.parse(
            b"Connection: close\nTransfer-Encoding: chunked\nKEEP-ALIVE: 1\nA: b"
        )
        self.assertEqual(dict(head.headers.getAllRawHeaders()), {b"A": [b"b"]})

    def test_length(self) -> None:
        """
        The length is told, if there is one.
        """
        self.assertEqual(self.parse(b"Content-Length: 007").length, 7)
        self.assertEqual(self.parse(b"Content-Length: 7\nContent-Length: 7").length, 7)
        self.assertIs(self.parse(b"A: b").length, None)

    @table(NO_HEADS)
    def test_bad(self, block: bytes, said: str) -> None:
        """
        What makes no sense is refused, and shown.
        """
        end = b"\n\n" if block else b"\n"
        error = self.assertRaises(RemoteProtocolError, parseHead, block + end)
        self.assertIn(said, str(error))
        self.assertLess(len(str(error)), 400)

    @moderately
    @given(
        code=st.integers(200, 599),
        reason=st.from_regex(rb"([!-~][ -~]*[!-~])?", fullmatch=True),
        fields=FIELDS,
        length=st.none() | st.integers(0, 10**17),
        statusFirst=st.booleans(),
    )
    def test_ownServer(
        self,
        code: int,
        reason: bytes,
        fields: dict[bytes, list[bytes]],
        length: int | None,
        statusFirst: bool,
    ) -> None:
        """
        What the server of this package says is understood, as far as it has a
        meaning for the client.
        """
        headers = Headers()
        for name, values in fields.items():
            headers.setRawHeaders(name, values)
        if length is not None:
            headers.setRawHeaders(b"Content-Length", [b"%d" % length])
        block = cgi.responseHead(code, reason, headers, statusFirst=statusFirst)
        self.assertEqual(headEnd(block), len(block))
        head = parseHead(block)
        self.assertEqual(head.code, code)
        self.assertEqual(head.length, None if code == 204 else length)
        if reason:
            self.assertEqual(head.phrase, reason)
        sent = {
            name: values
            for name, values in headers.getAllRawHeaders()
            if name.lower() not in HOP_BY_HOP and name != b"Content-Length"
        }
        head.headers.removeHeader(b"Content-Length")
        self.assertEqual(dict(head.headers.getAllRawHeaders()), sent)

    @moderately
    @given(
        st.lists(
            st.sampled_from([b"Status", b"Content-Length", b":", b" ", b"200", b"\r"])
            | st.sampled_from([b"Location", b"\n", b"\r\n", b"a"])
            | st.binary(max_size=3),
            max_size=15,
        )
    )
    def test_anything(self, pieces: list[bytes]) -> None:
        """
        Whatever comes, it is understood or refused.
        """
        data = b"".join(pieces) + b"\n\n"
        try:
            head = parseHead(data[: headEnd(data)])
        except RemoteProtocolError:
            return
        self.assertTrue(200 <= head.code <= 999)
        for name, values in head.headers.getAllRawHeaders():
            self.assertNotIn(b"\n", name + b"".join(values))
