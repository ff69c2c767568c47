# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.pages}.
"""

from __future__ import annotations

from http import HTTPStatus

from tests.tables import TableTestCase, table
from tests.wire import Response
from twisted_fastcgi.pages import errorPage


def readPage(page: bytes) -> Response:
    """
    Read a page as the web server will.
    """
    return Response(1, stdout=page)


class ErrorPageTests(TableTestCase):
    """
    L{errorPage} makes complete CGI responses.
    """

    @table({str(int(status)): (status,) for status in HTTPStatus if status >= 400})
    def test_status(self, status: HTTPStatus) -> None:
        """
        The status and its phrase stand in the I{Status} field and are readable
        in the page, with the explanation.
        """
        page = readPage(errorPage(status, "It went wrong."))
        expected = f"{int(status)} {status.phrase}".encode()
        self.assertEqual(page.header(b"Status"), expected)
        self.assertEqual(page.body.count(expected), 2)
        self.assertIn(b"<p>It went wrong.</p>", page.body)

    def test_headers(self) -> None:
        """
        The header block tells the type and the length of the page, and has
        I{Status} as its last field, for web servers that let a later field
        override it.
        """
        page = readPage(errorPage(503, "Busy."))
        self.assertEqual(
            page.headers,
            [
                (b"Content-Type", b"text/html; charset=utf-8"),
                (b"Content-Length", b"%d" % len(page.body)),
                (b"Status", b"503 Service Unavailable"),
            ],
        )

    def test_head(self) -> None:
        """
        The answer to a I{HEAD} is the same header block without the page.
        """
        whole = errorPage(404, "Not here.")
        block = errorPage(404, "Not here.", head=True)
        self.assertTrue(block.endswith(b"\r\n\r\n"))
        self.assertEqual(whole[: len(block)], block)
        self.assertEqual(readPage(block).body, b"")
        self.assertIn(b"Not here.", readPage(whole).body)

    def test_html(self) -> None:
        """
        The page is HTML from its first byte, in a declared language, and ends
        where the document ends.
        """
        body = readPage(errorPage(400, "Bad.")).body
        self.assertTrue(body.startswith(b'<!DOCTYPE html>\n<html lang="en">'))
        self.assertTrue(body.endswith(b"</html>\n"))
