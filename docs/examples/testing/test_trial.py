"""
Tests of the guest book: python -m twisted.trial test_trial
"""

from guestbook import PATIENCE, GuestBook, News
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_fastcgi.testing import FastCGITestClient, NoResponse


class GuestBookTests(SynchronousTestCase):
    def setUp(self):
        self.client = FastCGITestClient(GuestBook(), params={"REMOTE_USER": "ada"})

    def test_sign(self):
        posted = self.client.post("/", {"text": "Hello!"})
        self.assertEqual(self.successResultOf(posted).code, 303)
        self.assertEqual([cookie.name for cookie in self.client.cookies], ["signed"])

        page = self.successResultOf(self.client.get("/"))
        self.assertEqual(page.text(), "ada: Hello!")
        self.assertTrue(page.complete)

    def test_stranger(self):
        posted = self.client.post("/", {"text": "Boo"}, params={"REMOTE_USER": None})
        response = self.successResultOf(posted)
        self.assertEqual(response.code, 403)
        self.assertEqual(response.stderr, b"a stranger was turned away\n")

    def test_slowUpload(self):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        upload = self.client.begin("POST", "/", headers=form, length=11)
        upload.send(b"text=")
        self.client.clock.advance(10)
        upload.send(b"Hello!")
        upload.end()
        self.assertEqual(upload.response.code, 303)


class NewsTests(SynchronousTestCase):
    def setUp(self):
        clock = Clock()
        self.news = News(clock)
        self.client = FastCGITestClient(self.news, reactor=clock)
        self.addCleanup(self.client.close)

    def test_news(self):
        first, second = self.client.get("/"), self.client.get("/")
        self.assertNoResult(first)
        self.news.publish(b"rain")
        self.assertEqual(self.successResultOf(first).body, b"rain")
        self.assertEqual(self.successResultOf(second).body, b"rain")

    def test_noNews(self):
        waiting = self.client.get("/")
        self.client.clock.advance(PATIENCE)
        self.assertEqual(self.successResultOf(waiting).body, b"no news")

    def test_gone(self):
        waiting = self.client.get("/")
        (request,) = self.news.waiting
        gone = request.notifyFinish()
        self.client.pending[0].disconnect()
        self.failureResultOf(gone, ConnectionDone)
        self.failureResultOf(waiting, NoResponse)
        self.assertEqual(self.news.waiting, set())
