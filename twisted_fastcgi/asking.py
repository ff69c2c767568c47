# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What tests say of the requests that they send, and what is made of it.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from itertools import repeat
from typing import Any, TypeAlias
from urllib.parse import urlencode

from twisted.web.http_headers import Headers

from twisted_fastcgi.cgiclient import Target

Text: TypeAlias = str | bytes

#: The CGI variables of a request; a value of L{None} leaves one out.  Text
#: stands for its bytes in UTF-8.
Params: TypeAlias = (
    Mapping[str, Text | None] | Mapping[bytes, Text | None] | Mapping[Text, Text | None]
)

#: The header fields of a request.  A field with several values has them in a
#: list.
HeaderFields: TypeAlias = (
    Headers
    | Mapping[str, Text | Sequence[Text]]
    | Mapping[bytes, Text | Sequence[Text]]
)

#: The body of a request: bytes, or the fields of a form.  A field with several
#: values has them in a list.
Body: TypeAlias = bytes | Mapping[str, Any] | Sequence[tuple[str, Any]]

#: In what pieces the bytes of a request arrive: all of one size, or of these
#: sizes and the rest whole; whole if L{None}.
Pieces: TypeAlias = int | Sequence[int] | None

_FORM = b"application/x-www-form-urlencoded"


def encoded(text: Text) -> bytes:
    """
    Encode text as UTF-8.
    """
    return text.encode("utf-8") if isinstance(text, str) else text


def gathered(headers: HeaderFields | None) -> Headers:
    """
    Gather header fields.
    """
    if isinstance(headers, Headers):
        return headers.copy()
    fields = Headers()
    for name, values in (headers or {}).items():
        if isinstance(values, (str, bytes)):
            values = [values]
        for value in values:
            fields.addRawHeader(encoded(name), encoded(value))
    return fields


def encodeBody(body: Body | None) -> tuple[bytes | None, bytes | None]:
    """
    Encode a body.

    @return: The body, and its type if that is known.
    """
    if body is None or isinstance(body, bytes):
        return body, None
    return urlencode(body, doseq=True).encode("ascii"), _FORM


def pieceSizes(pieces: Pieces) -> Iterator[int]:
    """
    Tell the sizes of pieces, as long as they are not all that is left.

    @raise ValueError: If there can be no such pieces.
    """
    some = [pieces] if isinstance(pieces, int) else list(pieces or [])
    if any(size < 1 for size in some):
        raise ValueError(f"each piece must have at least 1 byte: {pieces!r}")
    return repeat(pieces) if isinstance(pieces, int) else iter(some)


def cookieCarrier(target: Target) -> urllib.request.Request:
    """
    Make a request that a L{CookieJar<http.cookiejar.CookieJar>} understands.
    """
    uri = target.scheme + b"://" + target.authority + target.originForm
    return urllib.request.Request(uri.decode("ascii"))


class CookieAnswer:
    """
    A response that a L{CookieJar<http.cookiejar.CookieJar>} understands.
    """

    def __init__(self, headers: Headers) -> None:
        """
        @param headers: Its header fields.
        """
        self._message = Message()
        for value in headers.getRawHeaders(b"Set-Cookie", ()):
            self._message["Set-Cookie"] = value.decode("latin1")

    def info(self) -> Message:
        """
        Give the header fields.
        """
        return self._message
