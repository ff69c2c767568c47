"""
Two sites over FastCGI, and one of them over HTTP, too, in one process.

    twistd --nodaemon --python two_sites.py
"""

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_fastcgi import FastCGIFactory, FastCGIService, Limits
from twisted_fastcgi.service import endpointFromString


class Page(Resource):
    """
    Tells which site it is.
    """

    isLeaf = True

    def __init__(self, text):
        super().__init__()
        self.text = text

    def render_GET(self, request):
        request.setHeader("Content-Type", "text/plain")
        return self.text


def fastCGI(site, *ports, **options):
    """
    Serve a site on some ports, until the application stops.
    """
    endpoints = [endpointFromString(reactor, port) for port in ports]
    service = FastCGIService(endpoints, FastCGIFactory(site, **options))
    service.setServiceParent(application)


application = Application("two sites")

shop = Site(Page(b"the shop\n"))
fastCGI(shop, "unix:/run/shop.sock:mode=660", limits=Limits(bodyBytes=1_000_000))

# The same Site: its sessions are the same, whichever way somebody comes.
http = serverFromString(reactor, "tcp:8080:interface=127.0.0.1")
StreamServerEndpointService(http, shop).setServiceParent(application)

blog = Site(Page(b"the blog\n"))
fastCGI(blog, "unix:/run/blog.sock:mode=660", "tcp:9000:interface=127.0.0.1")
