"""
Mercurial repositories, as hgweb.config in the current directory lists them.

    twist fastcgi --port unix:/run/app.sock --mount /hg --wsgi hg_server:application
"""

from mercurial.hgweb import hgweb

application = hgweb(b"hgweb.config")
