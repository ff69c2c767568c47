# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What must be seen of paths behind every web server, wherever the application is.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import (
    quote_from_bytes,
    unquote,
    unquote_to_bytes,
    urljoin,
    urlsplit,
)

from tests.interop.clients import Answer, Client
from tests.interop.record import case

#: All that stands in a path as it is.
_SAFE = "/!$&'()*+,;=:@"

#: Spellings of a path that must not be reached.  What follows it, and what
#: leads up and down again, may come to something else; but not to that.
SPELLINGS = (
    b"/private",
    b"/private/",
    b"/private?",
    b"/private?a=b",
    b"/private/x",
    b"//private",
    b"///private",
    b"/./private",
    b"/.//private",
    b"/x/../private",
    b"/echo/../private",
    b"/echo//../private",
    b"/echo/..//private",
    b"/../private",
    b"/echo/x/../../private",
    b"/%70rivate",
    b"/%50rivate",
    b"/PRIVATE",
    b"/privat%65",
    b"/p%72%69vate/",
    b"/private%2F",
    b"/private%2Fx",
    b"/private%3F",
    b"/private%23",
    b"/private%00",
    b"/private%20",
    b"/private.",
    b"/private/.",
    b"/private/..;/private",
    b"/private;x=1",
    b"/private/../private",
    b"/;/private",
    b"/%2Fprivate",
    b"/%2F%2Fprivate",
    b"/.%2Fprivate",
    b"/%2E/private",
    b"/%2e%2e/private",
    b"/echo/%2e%2e/private",
    b"/echo/.%2e/private",
    b"/echo%2F..%2Fprivate",
    b"/echo%2f%2e%2e%2fprivate",
    b"/echo/..%2Fprivate",
    b"/echo/%2E%2E%2Fprivate",
    b"/%2570rivate",
    b"/%252e%252e/private",
    b"/\\private",
    b"/%5Cprivate",
    b"/echo\\..\\private",
    b"/%C0%AFprivate",
    b"/privat\xc3\xa9/../private",
)


class Mounted(Client):
    """
    Tests of paths, for one web server.
    """

    async def sees(
        self, name: str, target: bytes, usual: Sequence[str], what: str = "echo"
    ) -> None:
        """
        Ask for something, and compare what the application makes of its path.

        @param name: What an exception in C{paths} of the web server is for.
        @param target: Path and query, from where the application is.
        @param usual: The segments after C{echo}.
        @param what: Where C{target} leads to.
        """
        answer = await self.ask(target)
        expected = self.server.paths.get(name, usual)
        if isinstance(expected, int):
            self.assertEqual(answer.status, expected, target)
            self.observed(str(expected))
            return
        self.assertEqual(answer.status, 200, (target, answer))
        self.comparePath(answer, target, expected)
        if expected != usual:
            seen = "/".join(each.replace("/", "%2F") for each in [what, *expected])
            self.observed(f"seen as /{seen}")

    def comparePath(
        self, answer: Answer, target: bytes, expected: Sequence[str]
    ) -> None:
        """
        Compare what the application makes of its path.
        """
        shown = answer.shown
        mount = [self.server.prefix[1:].decode()] if self.server.prefix else []
        found = [part.encode("latin-1").decode() for part in shown["postpath"]]
        self.assertEqual(found, list(expected), target)
        self.assertEqual(shown["prepath"], [*mount, "echo"], target)
        # It is as the client wrote it, if that means the same.
        path, _, _ = (self.server.prefix + target).partition(b"?")
        segments = [each.encode() for each in [*mount, "echo", *expected]]
        if [unquote_to_bytes(each) for each in path[1:].split(b"/")] != segments:
            path = b"/" + b"/".join(
                quote_from_bytes(s, _SAFE).encode() for s in segments
            )
        seen = shown["path"].encode("latin-1")
        if seen != path and not path.isascii():
            path = quote_from_bytes(path, _SAFE + "%").encode()
            self.observed("percent-encoded by the web server")
        self.assertEqual(seen, path, target)
        url = f"http://www.example.com:{self._running.address}"
        self.assertEqual(shown["prePathURL"], "/".join([url, *mount, "echo"]), target)
        here = unquote(urljoin(self._page(shown["path"]), shown["childLink"]))
        base = "http://x/" + "/".join([*mount, "echo"])
        self.assertEqual(here, base + "/child", target)

    @staticmethod
    def _page(path: str) -> str:
        """
        Make a URL for L{urljoin}, for which empty segments and dots are none.
        """
        _, *above, page = path.split("/")
        kept = (each if each not in ("", ".", "..") else "-" for each in above)
        return "/".join(["http://x", *kept, page])

    @case("paths: plain")
    async def test_plainPath(self) -> None:
        """
        A path of some segments, maybe with a slash at the end.
        """
        await self.sees("plain", b"/echo", [])
        await self.sees("plain", b"/echo/", [""])
        await self.sees("plain", b"/echo/a/b?c/d", ["a", "b"])
        await self.sees("plain", b"/echo/a/", ["a", ""])

    @case("paths: %20, +, ;, %3F")
    async def test_reserved(self) -> None:
        """
        Characters with a meaning elsewhere mean nothing here.
        """
        await self.sees("reserved", b"/echo/a%20b/c+d", ["a b", "c+d"])
        await self.sees("reserved", b"/echo/%3F%23%25/;x=1,2", ["?#%", ";x=1,2"])
        await self.sees("reserved", b"/echo/a%2Bb?", ["a+b"])
        await self.sees("reserved", b"/%65cho/%61", ["a"])

    @case("paths: UTF-8")
    async def test_utf8(self) -> None:
        """
        Other letters, percent-encoded or not.
        """
        await self.sees("UTF-8", b"/echo/%C3%A9/%E2%82%AC", ["é", "€"])
        await self.sees("raw UTF-8", "/echo/é".encode(), ["é"])

    @case("paths: %2F")
    async def test_encodedSlash(self) -> None:
        """
        An encoded slash does not separate segments.
        """
        await self.sees("%2F", b"/echo/a%2Fb", ["a/b"])

    @case("paths: //")
    async def test_emptySegment(self) -> None:
        """
        Repeated slashes count as one.
        """
        await self.sees("//", b"/echo//a", ["a"])

    @case("paths: ..")
    async def test_dots(self) -> None:
        """
        Dots are resolved.
        """
        await self.sees("..", b"/echo/b/../a", ["a"])
        await self.sees(".", b"/echo/./a", ["a"])

    @case("paths: nothing but the mount")
    async def test_nothing(self) -> None:
        """
        The path of the application, without a slash after it and with one.
        """
        mount = [self.server.prefix[1:].decode()] if self.server.prefix else []
        if mount:
            shown = (await self.ask(b"?a=b")).shown
            self.assertEqual((shown["prepath"], shown["postpath"]), (mount, []))
            self.assertEqual(shown["path"], "/app")
            self.assertEqual(shown["args"], {"a": ["b"]})
            self.assertEqual(shown["childLink"], "app/child")
            answer = await self.ask(b"le")
            self.assertEqual(answer.status, 404)
        answer = await self.ask(b"/")
        self.assertEqual(answer.body, b"Hello from the application.\n")

    @case("redirects made of the path")
    async def test_moved(self) -> None:
        """
        Redirects that the application makes of where it is lead there.
        """
        for by in (b"url", b"link"):
            answer = await self.ask(b"/moved?by=" + by)
            self.assertEqual(answer.status, 302)
            base = f"http://www.example.com:{self._running.address}"
            base += self.server.prefix.decode()
            there = urljoin(f"{base}/moved?by=x", answer.headers["Location"])
            self.assertEqual(there, f"{base}/moved/there")
            path = urlsplit(there).path.encode()[len(self.server.prefix) :]
            self.assertEqual((await self.ask(path)).shown["postpath"], ["there"])


class Refusing(Client):
    """
    Tests for a web server that lets nobody get to C{/private}.
    """

    @case("no spelling gets past an access rule")
    async def test_refused(self) -> None:
        """
        Whatever the spelling, what the web server takes for another path is
        another one for the application.
        """
        self.assertEqual((await self.ask(b"/private")).status, 403)
        self.assertEqual((await self.ask(b"/echo")).status, 200)
        for spelling in SPELLINGS:
            answer = await self.send(self._spelled(self.server.prefix + spelling))
            self.assertNotIn(b"secret", answer.body, spelling)
        for start in (b"http://www.example.com", b"http://a:b@c:1/", b"HTTP://x/.//"):
            path = self.server.prefix + b"/private"
            answer = await self.send(self._spelled(start + path))
            self.assertNotIn(b"secret", answer.body, start)

    def _spelled(self, target: bytes) -> bytes:
        """
        Write a request for a target that may be anything.
        """
        fields = f"Host: www.example.com:{self._running.address}\r\n"
        return b"GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (
            target,
            fields.encode("ascii"),
        )
