"""
The files in the folder "files", below /files; the web server sends them if it
says that it can.

    cd /srv
    twist fastcgi --port unix:/run/app.sock --resource files.root
"""

from twisted.web.resource import Resource

from twisted_fastcgi import AcceleratedFile

root = Resource()
root.putChild(b"files", AcceleratedFile("files", location="/internal"))
