"""
Lets in who has a token that is known.

    twist fastcgi --port unix:/run/authorizer.sock --authorizer tokens.Tokens
"""

from zope.interface import implementer

from twisted_fastcgi import Allow, Deny, IAuthorizer, IFastCGIRequest

USERS = {"4711": "zoe"}


@implementer(IAuthorizer)
class Tokens:
    """
    Knows who has which token.
    """

    async def find(self, token):
        """
        Look for a token: here a database could be asked.
        """
        return USERS.get(token)

    async def authorize(self, request):
        """
        Decide.
        """
        user = await self.find(request.getHeader("X-Token"))
        if user is None:
            return Deny()
        address = IFastCGIRequest(request).params.get(b"REMOTE_ADDR", b"")
        return Allow({"REMOTE_USER": user, "SEEN_FROM": address})
