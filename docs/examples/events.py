"""
Server-sent events: what is posted to /say comes to all that listen at /events.

    twist fastcgi --port unix:/run/app.sock --resource events.root
"""

from twisted.internet.defer import CancelledError, DeferredQueue
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from twisted_fastcgi import cancelOnDisconnect

listeners = set()


class Events(Resource):
    """
    The place to listen.
    """

    isLeaf = True

    def render_GET(self, request):
        """
        Send events until the client leaves.
        """
        request.setHeader("Content-Type", "text/event-stream")
        request.setHeader("Cache-Control", "no-store")
        # nginx passes them on at once.
        request.setHeader("X-Accel-Buffering", "no")
        work = cancelOnDisconnect(request, self.send(request))
        work.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def send(self, request):
        """
        Send what is said.
        """
        said = DeferredQueue()
        listeners.add(said)
        try:
            request.write(b": %d listen\n\n" % len(listeners))
            while True:
                text = await said.get()
                lines = (b"data: %b\n" % line for line in text.splitlines())
                request.write(b"".join(lines) + b"\n")
        finally:
            listeners.discard(said)


class Say(Resource):
    """
    The place to say something.
    """

    isLeaf = True

    def render_POST(self, request):
        """
        Say it to all.
        """
        text = request.content.read()
        for said in listeners:
            said.put(text)
        return b"%d hear it\n" % len(listeners)


class Page(Resource):
    """
    A page that listens.
    """

    isLeaf = True

    def render_GET(self, request):
        """
        Make the page.
        """
        return (
            b"<!DOCTYPE html><title>Events</title><ul></ul><script>"
            b"new EventSource('events').onmessage = event => {"
            b"const item = document.createElement('li');"
            b"item.textContent = event.data;"
            b"document.querySelector('ul').append(item); };</script>"
        )


root = Resource()
root.putChild(b"", Page())
root.putChild(b"events", Events())
root.putChild(b"say", Say())
