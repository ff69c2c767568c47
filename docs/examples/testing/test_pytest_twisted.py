"""
Tests of the guest book: python -m pytest test_pytest_twisted.py
"""

from hashlib import sha256

import pytest_twisted
from guestbook import Digest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from twisted_fastcgi.testing import FastCGITestClient


@pytest_twisted.ensureDeferred
async def test_digest():
    client = FastCGITestClient(Digest(), reactor=reactor)
    response = await client.post("/", b"Hello!")
    assert response.text() == sha256(b"Hello!").hexdigest()


@pytest_twisted.inlineCallbacks
def test_several():
    client = FastCGITestClient(Digest(), reactor=reactor)
    bodies = [b"a", b"b", b"c"]
    responses = yield gatherResults([client.post("/", body) for body in bodies])
    assert [response.text() for response in responses] == [
        sha256(body).hexdigest() for body in bodies
    ]
