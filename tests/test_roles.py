# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for the roles of an Authorizer and a Filter (FastCGI 1.0, sections 6.3
and 6.4): L{twisted_fastcgi.roles} and L{twisted_fastcgi.authorizer}.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.web.http import CACHED
from twisted.web.pages import notFound
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request, Site
from twisted.web.static import File
from twisted.web.util import Redirect
from zope.interface import alsoProvides, implementer

from tests import wire
from tests.programs import ROOT
from tests.tables import table
from tests.transports import Application, ServerTestCase
from twisted_fastcgi import roles
from twisted_fastcgi.authorizer import (
    Allow,
    AuthorizerResource,
    Deny,
    PortalAuthorizer,
)
from twisted_fastcgi.connection import Limits
from twisted_fastcgi.interfaces import IAuthorizer, IFastCGIRequest, IFilterResource
from twisted_fastcgi.mount import mounted
from twisted_fastcgi.records import Role

#: What the role of an Authorizer lacks (FastCGI 1.0, section 6.3).
LACKING = ("CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME")


#: The ways in which a resource sets the status of its response.
_WAYS: dict[str, Callable[[Any, int], object]] = {
    "by its method": lambda request, code: request.setResponseCode(code),
    "by hand": lambda request, code: setattr(request, "code", code),
}


def question(path: bytes = b"/a/b", keep: bool = True, **changes: Any) -> bytes:
    """
    Build a request in the role of an Authorizer, which ends with its
    variables.
    """
    lacking: dict[str, Any] = dict.fromkeys(LACKING)
    variables = wire.variables(path, **{**lacking, **changes})
    begin = wire.beginRequest(role=wire.AUTHORIZER, keep=keep)
    return begin + wire.params(variables)


@implementer(IAuthorizer)
class Authorizer:
    """
    Decides as it is told.

    @ivar requests: The requests.
    """

    def __init__(self, decision: Any) -> None:
        self.requests: list[Any] = []
        self._decision = decision

    def authorize(self, request: Any) -> Any:
        self.requests.append(request)
        decision = self._decision
        return decision(request) if callable(decision) else decision


class AuthorizerTestCase(ServerTestCase):
    """
    A test case with an authorizer.
    """

    def ask(self, decision: Any, data: bytes = b"", **options: Any) -> Any:
        """
        Ask an authorizer.

        @return: The transport.
        """
        self.authorizer = Authorizer(decision)
        self.serve(Application(), authorizer=self.authorizer, **options)
        return self.exchange(data or question())


class AuthorizerTests(AuthorizerTestCase):
    """
    What is decided, and what of it the web server is told.
    """

    def test_allow(self) -> None:
        """
        What is allowed gets the status 200, and variables in the case in which
        the web server is to set them; at the end of PARAMS, without a body.
        """
        variables = {"REMOTE_USER": "zoë", b"GROUPS_2": b"a b"}
        answer = self.ask(Allow(variables)).response()
        self.assertEqual(
            answer.stdout,
            b"Status: 200 OK\r\n"
            b"Variable-REMOTE_USER: zo\xc3\xab\r\n"
            b"Variable-GROUPS_2: a b\r\n\r\n",
        )
        self.assertEqual(answer.protocolStatus, wire.REQUEST_COMPLETE)

    def test_deny(self) -> None:
        """
        What is denied gets a page with the status 403, which stands before all
        other header fields.
        """
        answer = self.ask(Deny()).response()
        self.assertTrue(answer.stdout.startswith(b"Status: 403 Forbidden\r\n"))
        self.assertIn(b"Forbidden", answer.body)

    @table(
        {
            "a status of its own": (notFound(), 404),
            "none": (Application(b"no"), 403),
            "one that would allow it": (
                Application(lambda request: request.setResponseCode(200) or b"no"),
                403,
            ),
        }
    )
    def test_denyWith(self, response: Any, status: int) -> None:
        """
        A denial is what a resource makes of it, but never an allowance.
        """
        answer = self.ask(Deny(response)).response()
        self.assertEqual(answer.status, status)
        self.assertTrue(answer.stdout.startswith(b"Status: "))

    def askInRole(self, role: int, decision: Any, **changes: Any) -> Any:
        """
        Ask an authorizer in its role, or as a Responder.

        @return: The answer.
        """
        if role == wire.AUTHORIZER:
            return self.ask(decision, question(**changes)).response()
        self.serve(AuthorizerResource(Authorizer(decision)))
        return self.exchange(wire.request(wire.variables(**changes))).response()

    @table(
        {
            f"{code} set {way}, role {role}": (code, way, role)
            for code in (200, 204, 206, 299, 304)
            for way in _WAYS
            for role in (wire.AUTHORIZER, wire.RESPONDER)
        }
    )
    def test_denyNeverAllows(self, code: int, way: str, role: int) -> None:
        """
        A denial that says that all is well does not get through, in either
        role: nginx takes any success for an allowance, and 304 says that what
        a client has of the page is still good.
        """

        def render(request: Any) -> bytes:
            _WAYS[way](request, code)
            return b"no"

        answer = self.askInRole(role, Deny(Application(render)))
        self.assertEqual((answer.status, answer.body), (403, b"no"))

    @table(
        {
            f"{name}, role {role}": (name, value, role)
            for name, value in {
                "HTTP_IF_MODIFIED_SINCE": b"Fri, 01 Jan 2100 00:00:00 GMT",
                "HTTP_IF_NONE_MATCH": b"*",
                "HTTP_IF_MATCH": b'"other"',
                "HTTP_IF_UNMODIFIED_SINCE": b"Thu, 01 Jan 1970 00:00:00 GMT",
                "HTTP_RANGE": b"bytes=0-1",
            }.items()
            for role in (wire.AUTHORIZER, wire.RESPONDER)
        }
    )
    def test_denyWhole(self, name: str, value: bytes, role: int) -> None:
        """
        What the client has already, and of what it wants a part, does not count
        when it is refused: it gets the page as it is (RFC 9110, sections 13.2.1
        and 14.2).
        """
        path = self.mktemp()
        Path(path).write_bytes(b"keep out")

        class Page(File):
            def render_GET(self, request: Any) -> Any:
                if request.setETag(b'"mine"') is CACHED:
                    return b""
                return super().render_GET(request)

        answer = self.askInRole(role, Deny(Page(path)), **{name: value})
        self.assertEqual((answer.status, answer.body), (403, b"keep out"))
        self.assertIs(answer.header(b"Content-Range"), None)

    @table({"Authorizer": (wire.AUTHORIZER,), "Responder": (wire.RESPONDER,)})
    def test_denyElsewhere(self, role: int) -> None:
        """
        A denial may lead to another page, such as one to log in.
        """
        answer = self.askInRole(role, Deny(Redirect(b"/login")))
        self.assertEqual(answer.status, 302)
        self.assertEqual(answer.header(b"Location"), b"/login")

    @table({"Authorizer": (wire.AUTHORIZER,), "Responder": (wire.RESPONDER,)})
    def test_writesBefore(self, role: int) -> None:
        """
        An authorizer that begins a response before it decides lets nobody in.
        """

        def decide(request: Any) -> Deny:
            request.write(b"well, ")
            return Deny(Application(b"no"))

        answer = self.askInRole(role, decide)
        self.assertEqual((answer.status, answer.body), (403, b"well, no"))

    def test_denyEncoded(self) -> None:
        """
        An encoder, which has a last piece to write when the response ends,
        lets nobody in.
        """

        def render(request: Any) -> Any:
            request.code = 200
            request.finish()
            return NOT_DONE_YET

        authorizer = AuthorizerResource(Authorizer(Deny(Application(render))))
        self.serve(EncodingResourceWrapper(authorizer, [GzipEncoderFactory()]))
        data = wire.request(wire.variables(HTTP_ACCEPT_ENCODING=b"gzip"))
        answer = self.exchange(data).response()
        self.assertEqual(answer.status, 403)
        self.assertEqual(answer.header(b"Content-Encoding"), b"gzip")

    @table({"Authorizer": (wire.AUTHORIZER,), "Responder": (wire.RESPONDER,)})
    def test_denyHead(self, role: int) -> None:
        """
        Nor does the answer to a HEAD request.
        """

        def render(request: Any) -> bytes:
            request.code = 200
            return b""

        decision = Deny(Application(render))
        answer = self.askInRole(role, decision, REQUEST_METHOD=b"HEAD")
        self.assertEqual((answer.status, answer.body), (403, b""))

    def test_denyWithReason(self) -> None:
        """
        Another status keeps its reason phrase.
        """

        def render(request: Any) -> bytes:
            request.setResponseCode(429, b"Not Now")
            return b"no"

        answer = self.ask(Deny(Application(render))).response()
        self.assertTrue(answer.stdout.startswith(b"Status: 429 Not Now"))

    def test_optionsAll(self) -> None:
        """
        C{OPTIONS *}, which is for no resource, allows nothing.
        """
        star = {"REQUEST_METHOD": b"OPTIONS", "REQUEST_URI": b"*"}
        answer = self.ask(Allow(), question(**star, DOCUMENT_URI=None)).response()
        self.assertEqual((answer.status, self.authorizer.requests), (403, []))

    def test_denyLater(self) -> None:
        """
        The resource may answer bit by bit, and later.
        """

        def render(request: Any) -> Any:
            request.setResponseCode(200)
            request.write(b"no")
            request.finish()
            return NOT_DONE_YET

        answer = self.ask(Deny(Application(render))).response()
        self.assertEqual((answer.status, answer.body), (403, b"no"))

    @table(
        {
            "no decision": (None, TypeError),
            "an exception": (lambda request: 1 / 0, ZeroDivisionError),
        }
    )
    def test_fails(self, decision: Any, error: type[Exception]) -> None:
        """
        An authorizer that fails denies, with 500 and a status line in front.
        """
        answer = self.ask(decision).response()
        self.assertEqual(answer.status, 500)
        self.assertTrue(answer.stdout.startswith(b"Status: 500"))
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_later(self) -> None:
        """
        A decision may take its time.
        """
        decision: Deferred[Allow] = Deferred()
        transport = self.ask(decision)
        self.assertEqual(transport.value(), b"")
        decision.callback(Allow())
        transport.settle()
        self.assertEqual(transport.response().stdout, b"Status: 200 OK\r\n\r\n")

    def test_coroutine(self) -> None:
        """
        It may be made by a coroutine.
        """

        async def decide(request: Any) -> Allow:
            return Allow()

        self.assertEqual(self.ask(decide).response().status, 200)

    @table(
        {
            "gives up": (wire.abortRequest(),),
            "goes away": (None,),
        }
    )
    def test_cancelled(self, last: bytes | None) -> None:
        """
        When the web server gives up, the decision is cancelled, and that is
        nothing to be logged.
        """
        decision: Deferred[Allow] = Deferred()
        results: list[Any] = []
        transport = self.ask(decision)
        decision.addErrback(lambda failure: results.append(failure) or failure)
        if last is None:
            transport.close()
        else:
            transport.receive(last)
        # The authorizer was asked first, so it is told first.
        self.assertTrue(decision.called)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_variables(self) -> None:
        """
        The request is made without the variables that the role lacks, from the
        URI; those that are there are all there.
        """
        transport = self.ask(Allow(), question(b"/a%20b/c", HTTP_X=b"y"))
        transport.response()
        (request,) = self.authorizer.requests
        self.assertEqual((request.method, request.path), (b"GET", b"/a%20b/c"))
        self.assertEqual((request.prepath, request.postpath), ([], [b"a b", b"c"]))
        self.assertEqual(request.getHeader(b"x"), b"y")
        fcgi = IFastCGIRequest(request, None)
        self.assertIs(fcgi, None)

    def test_contentLength(self) -> None:
        """
        A web server that sends CONTENT_LENGTH nevertheless sends no body.
        """
        data = question(CONTENT_LENGTH=b"1000", REQUEST_METHOD=b"POST")
        self.assertEqual(self.ask(Allow(), data).response().status, 200)

    def test_bodyIgnored(self) -> None:
        """
        One that sends an end of the body is understood, too, and asks again on
        the same connection.
        """
        transport = self.ask(Allow(), question() + wire.stdin(b""))
        transport.receive(question() + wire.stdin(b""))
        self.assertEqual(transport.statuses(), [200, 200])

    def test_closes(self) -> None:
        """
        A connection that is not to be kept is closed after the decision.
        """
        transport = self.ask(Allow(), question(keep=False))
        self.assertTrue(transport.disconnected)
        self.assertEqual(transport.response().status, 200)

    def test_badVariables(self) -> None:
        """
        A request that can't be understood is denied.
        """
        answer = self.ask(Allow(), question(REQUEST_METHOD=b"")).response()
        self.assertEqual(answer.status, 400)
        self.assertTrue(answer.stdout.startswith(b"Status: 400"))

    def test_impossibleVariables(self) -> None:
        """
        Variables that web servers could misunderstand can't be told.
        """
        for name, value in (
            ("lower", "a"),
            ("", "a"),
            ("A-B", "a"),
            ("A", "b\r\nC: d"),
            ("A", "b\0"),
        ):
            error = self.assertRaises(ValueError, Allow, {name: value})
            self.assertIn(repr(value), str(error))

    def test_ownRequests(self) -> None:
        """
        A site that makes requests of its own kind makes them for Responders.
        """

        def make(channel: Any, queued: bool) -> Request:
            return Request(channel, queued)

        self.authorizer = Authorizer(Allow())
        site = Site(Application(), make, reactor=self.clock)
        self.serve(site, authorizer=self.authorizer)
        transport = self.exchange(question(), wire.request(wire.variables()))
        self.assertEqual(transport.statuses(), [200, 200])


class RoleTests(ServerTestCase):
    """
    Who serves which role.
    """

    def test_notServed(self) -> None:
        """
        Where nothing provides the interface of a role, it is not known, and
        that is said as soon as the request begins.
        """
        for role in (wire.AUTHORIZER, wire.FILTER):
            self.serve(Application())
            answer = self.exchange(wire.beginRequest(role=role)).response()
            self.assertEqual(answer.protocolStatus, wire.UNKNOWN_ROLE)
            self.assertEqual(answer.status, 501)

    @table(
        {
            "as it is": (lambda resource: resource,),
            "in a site": (lambda resource: Site(resource),),
            "mounted": (lambda resource: mounted(resource, "/a"),),
        }
    )
    def test_root(self, serving: Any) -> None:
        """
        A root that is an authorizer decides on every path below it.
        """
        self.serve(serving(AuthorizerResource(Authorizer(Allow()))))
        self.assertEqual(self.exchange(question()).response().status, 200)

    def test_below(self) -> None:
        """
        Authorizers below the root are asked by their path; other resources do
        not know the role, which is logged.
        """
        root = Resource()
        root.putChild(b"a", AuthorizerResource(Authorizer(Allow())))
        root.putChild(b"b", Application())
        self.serve(root, roles=[Role.AUTHORIZER])
        transport = self.exchange(question(b"/a/c"), question(b"/b"), question(b"/a"))
        first, second, third = transport.responses()
        self.assertEqual((first.status, third.status), (200, 200))
        self.assertEqual(second.protocolStatus, wire.UNKNOWN_ROLE)
        self.assertEqual(second.status, 501)
        (event,) = [each for each in self.events if "why" in each]
        self.assertIn("IAuthorizer", event["why"])

    def test_rejectedAndClosed(self) -> None:
        """
        A connection that is not to be kept is closed after that.
        """
        self.serve(Application(), roles=[Role.AUTHORIZER])
        transport = self.exchange(question(keep=False))
        self.assertEqual(transport.response().protocolStatus, wire.UNKNOWN_ROLE)
        self.assertTrue(transport.disconnected)

    def test_getChildFails(self) -> None:
        """
        Where nothing can be found, everything is denied.
        """

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                raise ZeroDivisionError("it finds nothing")

        self.serve(Root(), roles=[Role.AUTHORIZER])
        self.assertEqual(self.exchange(question()).response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @table(
        {
            f"{name}, role {role}": (look, role)
            for name, look in {
                "content": lambda request, asked: request.content.read(),
                "fields of a form": lambda request, asked: request.args.get(b"a"),
                "fails once": lambda request, asked: asked[1:] or 1 / 0,
            }.items()
            for role in (wire.AUTHORIZER, wire.FILTER)
        }
    )
    def test_getChildAsks(self, look: Any, role: int) -> None:
        """
        A resource that does not play the role is not asked, whatever happens
        on the way to it: it lets nobody in, and filters nothing.
        """
        asked: list[bytes] = []
        resource = Application(b"not yours")

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                asked.append(name)
                look(request, asked)
                return resource

        self.serve(Root(), roles=[role])
        transport = self.exchange(*self.inRole(role), *self.inRole(role))
        for answer in transport.responses():
            self.assertEqual(answer.protocolStatus, wire.UNKNOWN_ROLE)
            self.assertEqual(answer.status, 501)
        self.assertEqual(len(transport.responses()), 2)
        self.assertEqual(resource.requests, [])

    def inRole(self, role: int) -> list[bytes]:
        """
        Build a POST in a role.
        """
        if role == wire.FILTER:
            return filtering(b"a=b", b"file")
        return [question(b"/a", REQUEST_METHOD=b"POST")]

    @table({"Authorizer": (wire.AUTHORIZER,), "Filter": (wire.FILTER,)})
    def test_getChildIsTold(self, role: int) -> None:
        """
        Whoever waits for the end of the request on the way to such a resource
        is told of it, and what was kept of the request is closed.
        """
        ends: list[Any] = []
        files: list[Any] = []

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                request.notifyFinish().addErrback(ends.append)
                files.append(request.content)
                return Application(b"not yours")

        self.serve(Root(), roles=[role])
        answer = self.exchange(*self.inRole(role)).response()
        self.assertEqual(answer.protocolStatus, wire.UNKNOWN_ROLE)
        self.assertTrue(all(each.check(ConnectionAborted) for each in ends))
        self.assertTrue(ends)
        self.assertEqual([file.closed for file in files], [True])

    @table({"Authorizer": (wire.AUTHORIZER,), "Filter": (wire.FILTER,)})
    def test_getChildWritesStderr(self, role: int) -> None:
        """
        When something was sent to the error log on the way, it is too late for
        UNKNOWN_ROLE alone: the request gets a page that says the same.
        """

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                IFastCGIRequest(request).writeStderr(b"who asks?")
                return Application(b"not yours")

        self.serve(Root(), roles=[role])
        answer = self.exchange(*self.inRole(role)).response()
        self.assertEqual((answer.status, answer.stderr), (501, b"who asks?"))

    @table(
        {
            f"{name}, role {role}": (answer, role)
            for name, answer in {
                "in part": lambda request: request.write(b"I do"),
                "wholly": lambda request: request.finish(),
            }.items()
            for role in (wire.AUTHORIZER, wire.FILTER)
        }
    )
    def test_getChildAnswers(self, answer: Any, role: int) -> None:
        """
        One who answers on the way to the resource lets nobody in, and only
        does harm to that request.
        """

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                answer(request)
                return Application(b"not yours")

        self.serve(Root(), roles=[role])
        transport = self.exchange(*self.inRole(role))
        (given,) = transport.responses(unfinished=True)
        self.assertEqual(given.status, 403 if role == wire.AUTHORIZER else 200)
        self.assertEqual(transport.value().count(b"not yours"), 0)

    def test_getChildAsksForAFilter(self) -> None:
        """
        A Filter is found by what is in the body, as soon as that is there.
        """

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                found = Filter if request.args.get(b"a") else Application
                return found(lambda request: IFastCGIRequest(request).data.read())

        self.serve(Root(), roles=[Role.FILTER])
        form = b"application/x-www-form-urlencoded"
        transport = self.exchange(
            *filtering(b"a=b", b"file", CONTENT_TYPE=form),
            *filtering(b"b=a", b"file", CONTENT_TYPE=form),
        )
        first, second = transport.responses()
        self.assertEqual((first.status, first.body), (200, b"file"))
        self.assertEqual(second.protocolStatus, wire.UNKNOWN_ROLE)

    def test_getChildFindsAnEncoder(self) -> None:
        """
        What is found late may encode its responses, as any other.
        """
        filter = Filter(lambda request: b"encoded")
        encoding = EncodingResourceWrapper(filter, [GzipEncoderFactory()])
        alsoProvides(encoding, IFilterResource)

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                return request.content.read() and encoding

        self.serve(Root(), roles=[Role.FILTER])
        pieces = filtering(b"body", b"file", HTTP_ACCEPT_ENCODING=b"gzip")
        answer = self.exchange(*pieces).response()
        self.assertEqual(answer.header(b"Content-Encoding"), b"gzip")

    def test_getChildAsksForAnAuthorizer(self) -> None:
        """
        There is no body, so what would be in it need not be waited for.
        """
        authorizer = AuthorizerResource(Authorizer(Allow()))

        class Root(Resource):
            def getChild(self, name: bytes, request: Any) -> Any:
                return authorizer if not request.content.read() else self

        self.serve(Root(), roles=[Role.AUTHORIZER])
        data = question(REQUEST_METHOD=b"POST")
        self.assertEqual(self.exchange(data).response().status, 200)

    def test_noAuthorizer(self) -> None:
        """
        What is no authorizer can't be one.
        """
        error = self.assertRaises(
            TypeError, self.serve, Application(), authorizer=Resource()
        )
        self.assertIn("IAuthorizer", str(error))

    def test_asResponder(self) -> None:
        """
        An authorizer is a resource, too: nginx asks it by an ordinary request.
        """
        authorizer = Authorizer(Allow({"REMOTE_USER": "me"}))
        self.serve(AuthorizerResource(authorizer))
        answer = self.exchange(wire.request(wire.variables())).response()
        self.assertEqual(answer.status, 200)
        self.assertIn((b"Variable-REMOTE_USER", b"me"), answer.headers)


@implementer(IResource)
class Avatar:
    """
    Somebody who is let in.
    """


class Realm:
    """
    Knows who they are.
    """

    def __init__(self) -> None:
        self.left: list[bytes] = []

    def requestAvatar(self, name: bytes, mind: object, *interfaces: Any) -> Any:
        return interfaces[0], Avatar(), lambda: self.left.append(name)


def basic(text: bytes) -> bytes:
    """
    Write credentials.
    """
    return b"Basic " + b64encode(text)


class PortalTests(ServerTestCase):
    """
    An authorizer that asks a portal.
    """

    def ask(self, **changes: Any) -> wire.Response:
        """
        Ask it.
        """
        self.realm = Realm()
        users = InMemoryUsernamePasswordDatabaseDontUse(me=b"secret")
        portal = Portal(self.realm, [users])
        self.serve(PortalAuthorizer(portal, 'the "back" room'))
        return self.exchange(question(**changes)).response()

    @table(
        {
            "the header": ({"HTTP_AUTHORIZATION": basic(b"me:secret")},),
            "in small letters": (
                {"HTTP_AUTHORIZATION": b"b" + basic(b"me:secret")[1:]},
            ),
            "what Apache makes of it": (
                {"REMOTE_USER": b"me", "REMOTE_PASSWD": b"secret"},
            ),
        }
    )
    def test_allow(self, variables: dict[str, bytes]) -> None:
        """
        Who has the password is let in and out again, and named.
        """
        answer = self.ask(**variables)
        self.assertEqual(
            answer.stdout, b"Status: 200 OK\r\nVariable-REMOTE_USER: me\r\n\r\n"
        )
        self.assertEqual(self.realm.left, [b"me"])

    @table(
        {
            "nothing": ({},),
            "a name alone": ({"REMOTE_USER": b"me"},),
            "a wrong password": ({"HTTP_AUTHORIZATION": basic(b"me:guess")},),
            "another scheme": ({"HTTP_AUTHORIZATION": b"Digest me"},),
            "nonsense": ({"HTTP_AUTHORIZATION": b"Basic \xff"},),
            "a wrong password by Apache": (
                {"REMOTE_USER": b"me", "REMOTE_PASSWD": b"guess"},
            ),
        }
    )
    def test_deny(self, variables: dict[str, bytes]) -> None:
        """
        Who has not is asked for it (RFC 7617, section 2).
        """
        answer = self.ask(**variables)
        self.assertEqual(answer.status, 401)
        challenge = b'Basic realm="the \\"back\\" room", charset="UTF-8"'
        self.assertIn((b"WWW-Authenticate", challenge), answer.headers)
        self.assertEqual(self.realm.left, [])

    def test_fails(self) -> None:
        """
        A portal that fails lets nobody in.
        """

        class Failing:
            def login(self, *args: Any) -> Any:
                raise ZeroDivisionError("it knows nobody")

        portal: Any = Failing()
        self.serve(PortalAuthorizer(portal, b"room"))
        data = question(HTTP_AUTHORIZATION=basic(b"me:secret"))
        self.assertEqual(self.exchange(data).response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


@implementer(IFilterResource)
class Filter(Application):
    """
    A resource that filters.
    """


def filtering(
    body: bytes, data: bytes, keep: bool = True, **changes: Any
) -> list[bytes]:
    """
    Build a request in the role of a Filter, in pieces: its beginning, the
    body, the file.
    """
    told = {
        "FCGI_DATA_LENGTH": b"%d" % len(data),
        "FCGI_DATA_LAST_MOD": b"1700000000",
    }
    variables = wire.postVariables(body, **{**told, **changes})
    begin = wire.beginRequest(role=wire.FILTER, keep=keep)
    return [
        begin + wire.params(variables),
        wire.stdin(body),
        wire.stream(wire.DATA, 1, data),
    ]


class FilterTests(ServerTestCase):
    """
    A file that is filtered.
    """

    def ask(self, *pieces: bytes, **options: Any) -> Any:
        """
        Ask a filter.
        """

        def upper(request: Any) -> bytes:
            fcgi: Any = IFastCGIRequest(request)
            self.file = fcgi.data
            self.seen = (fcgi.dataLength, fcgi.dataLastModified)
            text: bytes = fcgi.data.read()
            return text.upper()

        self.filter = Filter(upper)
        self.serve(self.filter, **options)
        return self.exchange(*pieces)

    @table({"small": (100,), "large": (300_000,)})
    def test_filter(self, size: int) -> None:
        """
        The resource gets the body, and the file with its size and time; both
        are closed when the request is over.
        """
        data = b"a" * size
        transport = self.ask(*filtering(b"body", data))
        answer = transport.response()
        self.assertEqual((answer.status, answer.body), (200, data.upper()))
        self.assertEqual(self.filter.seen[0][3], b"body")
        self.assertEqual(self.seen, (size, 1700000000))
        self.assertTrue(self.file.closed)

    def test_documented(self) -> None:
        """
        The example of the documentation filters.
        """
        page = (ROOT / "docs/authorizer.rst").read_text()
        _, _, rest = page.partition("   :name: filter\n\n")
        code = rest[: re.search(r"^\S", rest, re.M).start()]  # type: ignore[union-attr]
        names: dict[str, Any] = {}
        exec(dedent(code), names)
        self.serve(names["Upper"]())
        pieces = filtering(b"", b"file", REQUEST_METHOD=b"GET")
        answer = self.exchange(*pieces).response()
        self.assertEqual((answer.status, answer.body), (200, b"FILE"))
        when = b"Tue, 14 Nov 2023 22:13:20 GMT"
        self.assertEqual(answer.header(b"Last-Modified"), when)

    def test_notBefore(self) -> None:
        """
        It is rendered when the file is complete, not when the body is.
        """
        begin, body, data = filtering(b"body", b"file")
        transport = self.ask(begin, body, data[:-8])
        self.assertEqual(self.filter.requests, [])
        transport.receive(data[-8:])
        self.assertEqual(transport.response().body, b"FILE")

    @table(
        {
            "less": (filtering(b"", b"file", FCGI_DATA_LENGTH=b"5"), 500),
            "more": (filtering(b"", b"file", FCGI_DATA_LENGTH=b"3"), 500),
            "no size": (filtering(b"", b"file", FCGI_DATA_LENGTH=None), 400),
            "no number": (filtering(b"", b"file", FCGI_DATA_LENGTH=b"x"), 400),
            "no time": (filtering(b"", b"file", FCGI_DATA_LAST_MOD=None), 400),
            "a method that is none": (filtering(b"", b"", REQUEST_METHOD=b""), 400),
            "a body too short": (filtering(b"", b"", CONTENT_LENGTH=b"1"), 400),
            "too large": (filtering(b"", b"file", FCGI_DATA_LENGTH=b"5000"), 413),
        }
    )
    def test_refused(self, pieces: list[bytes], status: int) -> None:
        """
        What is not as it was told is not filtered; the connection lives on.
        """
        limits = Limits(bodyBytes=1000)
        transport = self.ask(*pieces, *filtering(b"", b"x"), limits=limits)
        self.assertEqual(transport.statuses(), [status, 200])
        self.assertEqual(len(self.filter.requests), 1)

    def test_aborted(self) -> None:
        """
        A filter may be aborted in the midst of the file, which is closed.
        """
        files: list[Any] = []
        self.patch(roles, "BytesIO", lambda: files.append(BytesIO()) or files[-1])
        begin, body, data = filtering(b"body", b"file")
        transport = self.ask(begin, body, data[:-8], wire.abortRequest())
        answer = transport.response(unfinished=True)
        self.assertEqual(answer.appStatus, 1)
        self.assertEqual(self.filter.requests, [])
        self.assertTrue(files[0].closed)

    def test_notAFilter(self) -> None:
        """
        A resource that is none does not know the role.
        """
        root = Resource()
        root.putChild(b"", Application())
        alsoProvides(root, IFilterResource)
        self.serve(root)
        transport = self.exchange(*filtering(b"body", b"file"))
        self.assertEqual(transport.response().protocolStatus, wire.UNKNOWN_ROLE)

    def test_responder(self) -> None:
        """
        A request in another role has no file.
        """
        seen = []

        def look(request: Any) -> bytes:
            fcgi: Any = IFastCGIRequest(request)
            seen.append((fcgi.data, fcgi.dataLength, fcgi.dataLastModified))
            return b""

        self.serve(Filter(look))
        self.exchange(wire.request(wire.variables()))
        self.assertEqual(seen, [(None, None, None)])
