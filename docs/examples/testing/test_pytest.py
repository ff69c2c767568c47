"""
Tests of the guest book: python -m pytest test_pytest.py
"""

import pytest
import treq
from guestbook import GuestBook, News
from treq.client import HTTPClient
from twisted.internet.task import Clock

from twisted_fastcgi.testing import FastCGITestClient, NotAnswered, WholeBody


@pytest.fixture
def client():
    return FastCGITestClient(GuestBook(), params={"REMOTE_USER": "ada"})


def test_sign(client):
    assert client.resultOf(client.post("/", {"text": "Hello!"})).code == 303
    assert client.resultOf(client.get("/")).text() == "ada: Hello!"


@pytest.mark.parametrize("pieces", [1, 7, [8, 3]])
def test_pieces(client, pieces):
    posted = client.post("/", {"text": "Hello!"}, pieces=pieces)
    assert client.resultOf(posted).code == 303


def test_treq(client):
    http = HTTPClient(client.agent(), data_to_body_producer=WholeBody)
    # treq follows the redirection to the page with the new entry.
    posting = http.post("http://localhost/", data={"text": "Hello!"})
    response = client.resultOf(posting)
    assert client.resultOf(treq.content(response)) == b"ada: Hello!"


def test_waits():
    clock = Clock()
    client = FastCGITestClient(News(clock), reactor=clock)
    with pytest.raises(NotAnswered, match="GET /: the application has sent no respon"):
        client.resultOf(client.get("/"))
    client.close()
