"""
A guest book: the application that the tests are for.
"""

from hashlib import sha256

from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twisted_fastcgi import IFastCGIRequest

PATIENCE = 30


class GuestBook(Resource):
    """
    Shows the entries, and takes new ones from users that the web server knows.
    """

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.entries = []

    def render_GET(self, request):
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return b"\n".join(self.entries)

    def render_POST(self, request):
        user = IFastCGIRequest(request).params.get(b"REMOTE_USER")
        if user is None:
            IFastCGIRequest(request).writeStderr(b"a stranger was turned away\n")
            request.setResponseCode(403)
            return b"Who are you?"
        self.entries.append(user + b": " + request.args[b"text"][0])
        request.addCookie("signed", "yes")
        request.setResponseCode(303)
        request.setHeader("Location", "/")
        return b""


class News(Resource):
    """
    Keeps everybody waiting until there is something new, or for 30 seconds.
    """

    isLeaf = True

    def __init__(self, reactor):
        super().__init__()
        self.reactor = reactor
        self.waiting = set()

    def render_GET(self, request):
        self.waiting.add(request)
        giveUp = self.reactor.callLater(PATIENCE, self.answer, request, b"no news")

        def over(_):
            self.waiting.discard(request)
            if giveUp.active():
                giveUp.cancel()

        request.notifyFinish().addBoth(over)
        return NOT_DONE_YET

    def publish(self, text):
        for request in list(self.waiting):
            self.answer(request, text)

    def answer(self, request, text):
        request.write(text)
        request.finish()


class Digest(Resource):
    """
    Does hard work in a thread.
    """

    isLeaf = True

    def render_POST(self, request):
        body = request.content.read()
        digest = deferToThread(lambda: sha256(body).hexdigest().encode())
        digest.addCallback(request.write).addCallback(lambda _: request.finish())
        return NOT_DONE_YET
