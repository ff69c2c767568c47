"""
A Klein application.

    twist fastcgi --port unix:/run/app.sock --resource klein_app.app
"""

from klein import Klein
from twisted.internet import reactor
from twisted.internet.task import deferLater

from twisted_fastcgi import IFastCGIRequest

app = Klein()


@app.route("/")
def index(request):
    """
    Greet the client.
    """
    return f"Hello, {request.getClientAddress().host}!\n"


@app.route("/variables/<name>")
def variable(request, name):
    """
    Tell what the web server says.
    """
    return IFastCGIRequest(request).params.get(name.encode(), b"")


@app.route("/later/<int:seconds>")
async def later(request, seconds):
    """
    Take some time.  When the client leaves meanwhile, Klein cancels what is
    waited for here.
    """
    await deferLater(reactor, seconds)
    return "That was worth it.\n"
