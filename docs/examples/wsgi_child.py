"""
A WSGI application below /app of a Twisted site.

    twist fastcgi --port unix:/run/app.sock --resource wsgi_child.root
"""

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.static import Data

from twisted_fastcgi import FastCGIWSGIResource


def application(environ, start_response):
    """
    Tell where it is.
    """
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']} and {environ['PATH_INFO']}\n".encode()]


root = Resource()
root.putChild(b"", Data(b"Twisted\n", "text/plain"))
root.putChild(
    b"app", FastCGIWSGIResource(reactor, reactor.getThreadPool(), application)
)
