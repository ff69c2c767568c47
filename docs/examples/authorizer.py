"""
Lets in who has a password: for the pages that the web server has elsewhere.

    twist fastcgi --port unix:/run/authorizer.sock --authorizer authorizer.authorizer

The file "users" in the current directory has lines of the form name:password.
"""

from twisted.cred.checkers import FilePasswordDB
from twisted.cred.portal import IRealm, Portal
from zope.interface import implementer

from twisted_fastcgi import PortalAuthorizer


@implementer(IRealm)
class Realm:
    """
    Has nothing for its users: the pages are elsewhere.
    """

    def requestAvatar(self, name, mind, *interfaces):
        """
        Let somebody in.
        """
        return interfaces[0], name, lambda: None


authorizer = PortalAuthorizer(Portal(Realm(), [FilePasswordDB("users")]), "members")
