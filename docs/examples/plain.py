"""
A page, and a form that it has.

    twist fastcgi --port unix:/run/app.sock --resource plain.Page
"""

from html import escape

from twisted.web.resource import Resource

from twisted_fastcgi import IFastCGIRequest

PAGE = """\
<!DOCTYPE html>
<title>Hello</title>
<p>Hello, {name}! The web server is {software}.
<form method="post"><input name="name"> <input type="submit"></form>
"""


class Page(Resource):
    """
    Greets.
    """

    isLeaf = True

    def render_GET(self, request):
        """
        Greet whom the web server knows, if anybody.
        """
        params = IFastCGIRequest(request).params
        return self.greet(request, params.get(b"REMOTE_USER") or b"stranger")

    def render_POST(self, request):
        """
        Greet by the name in the form.
        """
        return self.greet(request, request.args.get(b"name", [b""])[0])

    def greet(self, request, name):
        """
        Make the page.
        """
        software = IFastCGIRequest(request).params.get(b"SERVER_SOFTWARE", b"unknown")
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        page = PAGE.format(
            name=escape(name.decode("utf-8", "replace")),
            software=escape(software.decode("utf-8", "replace")),
        )
        return page.encode("utf-8")
