"""
One site over HTTP and over FastCGI at the same time, with the same sessions.

    python beside_http.py tcp:8080:interface=127.0.0.1 unix:/run/app.sock
"""

from sys import argv

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_fastcgi import FastCGIFactory, IFastCGIRequest


class Door(Resource):
    """
    Tells by which door somebody came.
    """

    isLeaf = True

    def render_GET(self, request):
        """
        Tell.
        """
        overFastCGI = IFastCGIRequest(request, None) is not None
        request.setHeader("Content-Type", "text/plain")
        return b"FastCGI\n" if overFastCGI else b"HTTP\n"


async def main(reactor, http, fastcgi):
    """
    Serve until the end.
    """
    site = Site(Door())
    web = await serverFromString(reactor, http).listen(site)
    factory = FastCGIFactory(site)
    port = await serverFromString(reactor, fastcgi).listen(factory)

    async def stop():
        # No request is lost: those that are being served are finished.
        await port.stopListening()
        await factory.drain(30)

    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(stop())
    )
    print("serving on", web.getHost(), "and", port.getHost(), flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, argv[1:])
