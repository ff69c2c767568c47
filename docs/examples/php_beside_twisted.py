"""
A Twisted site: a page of its own, and a folder with PHP scripts beside it.

    python php_beside_twisted.py unix:/run/php/php8.2-fpm.sock /srv/www tcp:8080
"""

from sys import argv

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_fastcgi import FastCGIAgent, FastCGIProxyResource


class Home(Resource):
    def render_GET(self, request):
        return b"<h1>Twisted</h1><p>There is <a href=/php/>PHP</a>, too.</p>"


async def main(reactor, php, folder, where):
    agent = FastCGIAgent(reactor, clientFromString(reactor, php))

    root = Resource()
    root.putChild(b"", Home())
    root.putChild(b"php", FastCGIProxyResource(agent, folder))

    port = await serverFromString(reactor, where).listen(Site(root))
    print("serving on", port.getHost(), flush=True)
    await Deferred()


react(main, argv[1:])
