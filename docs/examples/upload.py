"""
Uploads that are taken while they arrive: PUT something at /files/name, and see
at /progress/name how much of it is there.

    twist fastcgi --port unix:/run/app.sock --resource upload.root
"""

from hashlib import sha256

from twisted.internet.protocol import Protocol
from twisted.web.client import ResponseDone
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from twisted_fastcgi import IFastCGIRequest, IStreamingResource

LARGEST = 2**31
TOKEN = "secret"

progress = {}


class Receiver(Protocol):
    """
    Takes the body of one request.
    """

    def __init__(self, request, name):
        self.request = request
        self.name = name
        self.received = 0
        self.digest = sha256()

    def dataReceived(self, data):
        """
        Take a piece of it.
        """
        self.digest.update(data)
        self.received += len(data)
        progress[self.name] = f"{self.received} bytes"

    def connectionLost(self, reason):
        """
        Answer, if that was all.
        """
        if reason.check(ResponseDone):
            progress[self.name] += ", complete"
            self.request.write(self.digest.hexdigest().encode("ascii") + b"\n")
            self.request.finish()
        else:
            progress[self.name] = f"given up: {reason.getErrorMessage()}"


@implementer(IStreamingResource)
class Upload(Resource):
    """
    A place to put something.
    """

    isLeaf = True

    def render_PUT(self, request):
        """
        Refuse it, or take the body.
        """
        if request.getHeader("X-Token") != TOKEN:
            request.setResponseCode(401)
            return b"This needs a token.\n"
        if int(request.getHeader("Content-Length") or 0) > LARGEST:
            request.setResponseCode(413)
            return b"This is too much.\n"
        name = request.postpath[-1]
        progress[name] = "0 bytes"
        IFastCGIRequest(request).deliverBody(Receiver(request, name))
        return NOT_DONE_YET


class Progress(Resource):
    """
    The place to see how far it is.
    """

    isLeaf = True

    def render_GET(self, request):
        """
        Tell.
        """
        return progress.get(request.postpath[-1], "nothing").encode("utf-8") + b"\n"


root = Resource()
root.putChild(b"files", Upload())
root.putChild(b"progress", Progress())
