# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The small pages that the server answers with when no application can.
"""

from __future__ import annotations

from http import HTTPStatus

BAD_REQUEST = "The web server sent a request that can't be understood."
UNKNOWN_ROLE = "The application does not serve requests of this role."

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><title>{status} {phrase}</title></head>
<body><h1>{status} {phrase}</h1><p>{explanation}</p></body></html>
"""


def errorPage(
    status: int, explanation: str, *, head: bool = False, statusFirst: bool = False
) -> bytes:
    """
    Make a complete CGI response that says why a request failed (RFC 3875,
    section 6.2).

    The I{Status} header field stands last, because there are web servers that
    let a later field override it; or first, for an Authorizer.

    @param status: An HTTP status code that Python's L{HTTPStatus} knows.
    @param explanation: One sentence for a person, put into the page as it is:
        it must not hold anything that the peer sent.
    @param head: Whether the request was a I{HEAD}: the body is left out then.
    @param statusFirst: Whether I{Status} stands first.
    @return: The header block, an empty line and the page.
    """
    phrase = HTTPStatus(status).phrase
    page = _PAGE.format(status=status, phrase=phrase, explanation=explanation)
    fields = [
        "Content-Type: text/html; charset=utf-8\r\n",
        f"Content-Length: {len(page)}\r\n",
    ]
    fields.insert(0 if statusFirst else 2, f"Status: {status} {phrase}\r\n")
    block = "".join((*fields, "\r\n"))
    return (block if head else block + page).encode("ascii")
