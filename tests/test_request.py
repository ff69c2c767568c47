# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.request.FastCGIRequest}.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request, Session, Site
from zope.interface.verify import verifyObject

from tests import wire
from tests.tables import table
from tests.transports import Application, ServerTestCase, later
from twisted_fastcgi.request import FastCGIRequest

GET = wire.request(wire.variables())

#: What a resource can find on a request.
ATTRIBUTES = (
    "args",
    "client",
    "clientproto",
    "code",
    "code_message",
    "cookies",
    "defaultContentType",
    "finished",
    "host",
    "method",
    "path",
    "postpath",
    "prepath",
    "producer",
    "queued",
    "received_cookies",
    "requestHeaders",
    "responseHeaders",
    "sentLength",
    "startedWriting",
    "uri",
)

#: What those methods of it answer that only tell something.
METHODS = (
    "getAllHeaders",
    "getClientAddress",
    "getHost",
    "getPassword",
    "getRequestHostname",
    "getRootURL",
    "getUser",
    "isSecure",
    "prePathURL",
    "URLPath",
)


def described(request: Any) -> dict[str, Any]:
    """
    Tell all that a resource can find on a request.
    """
    found = {name: getattr(request, name) for name in ATTRIBUTES}
    found.update({name: repr(getattr(request, name)()) for name in METHODS})
    found["content"] = request.content.read()
    found["responseHeaders"] = own(request.responseHeaders)
    return found


def own(headers: Headers) -> Headers:
    """
    Leave out the header fields that are the web server's to say, so that there
    is no need to have them.
    """
    kept = headers.copy()
    for name in (b"server", b"date"):
        kept.removeHeader(name)
    return kept


class LikeAnyOtherTests(ServerTestCase):
    """
    A L{FastCGIRequest} is like any other request.
    """

    def ask(self, sent: bytes, requestFactory: Any = None, **options: Any) -> Any:
        """
        Have a resource see a request.

        @return: What is on it, the answer, and what is on it afterwards.
        """
        seen: list[Any] = []
        requests: list[Any] = []

        class Describing(Resource):
            isLeaf = True

            def render(self, request: Any) -> bytes:
                seen.append(described(request))
                requests.append(request)
                return b"hello"

        site = Site(Describing(), requestFactory, reactor=self.clock, **options)
        answer = self.answerOf(site, sent)
        return seen, answer, [self.afterwards(request) for request in requests]

    def afterwards(self, request: Any) -> dict[str, Any]:
        """
        Tell what can be found on a request that is over.
        """
        found = {name: getattr(request, name) for name in (*ATTRIBUTES, "content")}
        found["responseHeaders"] = own(request.responseHeaders)
        found["channel"] = hasattr(request, "channel")
        return found

    def answerOf(self, site: Site, sent: bytes) -> bytes:
        """
        Tell what a site answers.
        """
        self.serve(site)
        return self.exchange(sent).value()

    @table({name: (sent,) for name, sent in wire.captures().items()})
    def test_captures(self, sent: bytes) -> None:
        """
        All that a resource can find on it is the same as on any other request
        that real web servers have made, and the answer is the same.
        """
        self.assertEqual(self.ask(sent), self.ask(sent, lambda *args: Request(*args)))

    @table(
        {
            "a query": (
                wire.variables(REQUEST_URI=b"/?a=b&a=c&d&e=", QUERY_STRING=b"x"),
                b"",
            ),
            "an odd path": (wire.variables(b"//a%2Fb/../%zz;c?d"), b""),
            "cookies": (wire.variables(HTTP_COOKIE=b"a=b; c=d;e; f=g=h"), b""),
            "a user": (wire.variables(HTTP_AUTHORIZATION=b"Basic YTpi"), b""),
            "TLS": (wire.variables(HTTPS=b"on", SERVER_PORT=b"443"), b""),
            "an empty form": (
                wire.postVariables(
                    b"",
                    REQUEST_URI=b"/?a=b",
                    QUERY_STRING=b"a=b",
                    CONTENT_TYPE=b"application/x-www-form-urlencoded",
                ),
                b"",
            ),
            "a form": (
                wire.postVariables(
                    b"a=b&c=d",
                    CONTENT_TYPE=b"application/x-www-form-urlencoded",
                ),
                b"a=b&c=d",
            ),
            "a body": (wire.postVariables(b"body"), b"body"),
        }
    )
    def test_others(self, variables: dict[bytes, bytes], body: bytes) -> None:
        """
        That holds for requests that they might make.
        """
        sent = wire.request(variables, body)
        self.assertEqual(self.ask(sent), self.ask(sent, lambda *args: Request(*args)))

    @table(
        {
            "bytes": (lambda request: b"body",),
            "nothing": (lambda request: b"",),
            "other bytes": (lambda request: type("Bytes", (bytes,), {})(b"body"),),
            "text": (lambda request: "body",),
            "None": (lambda request: None,),
            "later": (later,),
            "a status": (lambda request: request.setResponseCode(404) or b"no",),
            "a reason": (lambda request: request.setResponseCode(404, b"x") or b"no",),
            "no content": (lambda request: request.setResponseCode(204) or b"no",),
            "not modified": (lambda request: request.setResponseCode(304) or b"no",),
            "a cookie": (lambda request: request.addCookie(b"a", b"b") or b"body",),
            "a type": (
                lambda request: request.setHeader("content-type", "x/y") or b"",
            ),
            "another type": (
                lambda request: request.setHeader("content-type", "x/y") or b"body",
            ),
            "no type": (
                lambda request: setattr(request, "defaultContentType", None) or b"x",
            ),
            "a length": (
                lambda request: request.setHeader("content-length", "2") or b"body",
            ),
            "an etag": (
                lambda request: str(request.setETag(b"e")).encode()[:0] or b"body",
            ),
            "a date": (lambda request: request.setLastModified(9) or b"body",),
            "some before": (lambda request: request.write(b"some ") or b"body",),
            "a redirect": (lambda request: request.redirect(b"/there") or b"body",),
            "a server": (lambda request: request.setHeader("server", "x") or b"body",),
            "an own write": (
                lambda request: (
                    setattr(
                        request,
                        "write",
                        lambda data: Request.write(request, data.upper()),
                    )
                    or b"body"
                ),
            ),
            "an own finish": (
                lambda request: (
                    setattr(request, "finish", lambda: Request.finish(request))
                    or b"body"
                ),
            ),
            "1xx": (lambda request: request.setResponseCode(100) or b"body",),
            "a large body": (lambda request: b"x" * 200000,),
            "large headers": (
                lambda request: request.setHeader("x", "y" * 5000) or b"body",
            ),
        }
    )
    def test_responses(self, render: Any) -> None:
        """
        The response to it is the same as to any other request, whatever the
        resource does and whatever it returns.
        """
        for method in (b"GET", b"HEAD"):
            answers = []
            for make in (None, lambda *args: Request(*args)):
                site = Site(Application(render), make, reactor=self.clock)
                self.serve(site)
                variables = wire.variables(REQUEST_METHOD=method)
                transport = self.exchange(wire.request(variables))
                found = transport.responses(unfinished=True)
                answers.append([self.essence(answer) for answer in found])
            self.assertEqual(answers[0], answers[1])

    @table(
        {
            "bytes": (lambda request: b"body",),
            "nothing": (lambda request: b"",),
            "a type": (lambda request: request.setHeader("content-type", "x/y"),),
            "no values of a type": (
                lambda request: request.responseHeaders.setRawHeaders(
                    b"content-type", []
                ),
            ),
            "a length": (lambda request: request.setHeader("content-length", "9"),),
            "no type": (lambda request: setattr(request, "defaultContentType", None),),
            "a status": (lambda request: request.setResponseCode(404, b"none"),),
            "another method": (lambda request: setattr(request, "method", b"GET"),),
            "content": (lambda request: request.content.read(),),
        }
    )
    def test_plain(self, render: Any) -> None:
        """
        So it is where the resource looks at nothing but what it needs, and what
        is found on the request afterwards is the same.
        """
        for method in (b"GET", b"HEAD"):
            found = [
                self.plainly(render, method, make)
                for make in (None, lambda *args: Request(*args))
            ]
            self.assertEqual(found[0], found[1])

    def plainly(self, render: Any, method: bytes, make: Any) -> Any:
        """
        Have a resource render a request that keeps nothing of it.

        @return: The answer, and what is on the request afterwards.
        """
        requests: list[Any] = []

        class Plain(Resource):
            isLeaf = True

            def render(self, request: Any) -> bytes:
                requests.append(request)
                return render(request) or b"body"

        answer = self.answerOf(
            Site(Plain(), make, reactor=self.clock),
            wire.request(wire.variables(REQUEST_METHOD=method)),
        )
        return answer, self.afterwards(requests[0])

    def test_before(self) -> None:
        """
        There are no arguments before the request is there.
        """
        seen: list[Any] = []

        class Curious(FastCGIRequest):
            def requestReceived(self, *args: bytes) -> None:
                seen.append(self.args)
                super().requestReceived(*args)
                seen.append(self.args)

        self.serve(Site(Application(later), Curious, reactor=self.clock))
        variables = wire.variables(REQUEST_URI=b"/?a=b", QUERY_STRING=b"a=b")
        self.exchange(wire.request(variables))
        self.assertEqual(seen, [None, {b"a": [b"b"]}])

    def test_queued(self) -> None:
        """
        It remembers whether it was said to be queued.
        """
        for queued in (False, True):
            request = FastCGIRequest(self.channelOf(), queued)
            self.assertEqual(request.queued, queued)

    def channelOf(self) -> Any:
        """
        Make a channel.
        """
        application = self.serve(later)
        self.exchange(GET)
        return application.request.channel

    def essence(self, answer: wire.Response) -> Any:
        """
        Tell what is in an answer, except what is different every time.
        """
        # What a page says that shows the request differs by its class.
        different = answer.status == 500
        headers = {name: b"" if different else value for name, value in answer.headers}
        body = bool(answer.body) if different else answer.body
        return sorted(headers.items()), body, answer.appStatus, answer.ended

    @table({name.decode(): (name,) for name in (b"GET", b"PUT", b"BREW")})
    def test_unsupportedMethod(self, method: bytes) -> None:
        """
        A method that a resource does not know is answered in the same way.
        """

        class Posting(Resource):
            isLeaf = True

            def render_POST(self, request: Any) -> bytes:
                return b"posted"

        variables = wire.variables(REQUEST_METHOD=method)
        answers = []
        for make in (None, lambda *args: Request(*args)):
            self.serve(Site(Posting(), make, reactor=self.clock))
            answers.append(self.exchange(wire.request(variables)).value())
        self.assertEqual(answers[0], answers[1])
        self.assertIn(wire.response(answers[0]).status, (405, 501))

    def test_notBytes(self) -> None:
        """
        The page that says that a resource has not returned bytes names it.
        """

        class Misled(Resource):
            isLeaf = True

            def __repr__(self) -> str:
                return "the misled one"

            def render(self, request: Any) -> Any:
                return 42

        self.serve(Misled())
        answer = self.exchange(GET).response()
        self.assertEqual(answer.status, 500)
        self.assertIn(b"the misled one", answer.body)
        self.assertIn(b"42", answer.body)

    def test_subclass(self) -> None:
        """
        What a subclass does is done.
        """

        class Loud(FastCGIRequest):
            def write(self, data: bytes) -> None:
                super().write(data.upper())

        self.serve(Site(Application(b"body"), Loud, reactor=self.clock))
        answer = self.exchange(GET).response()
        self.assertEqual(answer.body, b"BODY")

    def test_renderedOnce(self) -> None:
        """
        A resource renders a request once, whatever comes of it.
        """
        for render in (lambda request: b"x", lambda request: "x", later):
            application = self.serve(render)
            self.exchange(GET)
            self.assertEqual(len(application.requests), 1)

    def test_noForms(self) -> None:
        """
        It parses no forms if its site does not.
        """
        body = b"a=b"
        form = b"application/x-www-form-urlencoded"
        sent = wire.request(wire.postVariables(body, CONTENT_TYPE=form), body)
        for parse, args in ((True, {b"a": [b"b"]}), (False, {})):
            try:
                seen, _, _ = self.ask(sent, parsePOSTFormSubmission=parse)
            except TypeError as error:
                raise SkipTest("this version of Twisted parses all forms") from error
            self.assertEqual(seen[0]["args"], args)

    def test_ownContentFile(self) -> None:
        """
        A site can say what the body is kept in, of a request without one, too.
        """
        lengths: list[int | None] = []

        class Keeping(Site):
            def getContentFile(self, length: int | None) -> BytesIO:
                lengths.append(length)
                return BytesIO()

        body = b"0123"
        application = Application()
        site = Keeping(application, reactor=self.clock)
        self.answerOf(site, GET + wire.request(wire.postVariables(body), body))
        self.assertEqual(lengths, [0, 4])
        self.assertEqual([seen[3] for seen in application.seen], [b"", body])

    def test_interface(self) -> None:
        """
        It provides the interface of requests.
        """
        application = self.serve(later)
        self.exchange(GET)
        self.assertIsInstance(application.request, FastCGIRequest)
        verifyObject(IRequest, application.request)

    def test_changes(self) -> None:
        """
        What is changed on it stays changed.
        """
        application = self.serve(later)
        self.exchange(wire.request(wire.variables(HTTP_COOKIE=b"a=b")))
        request = application.request
        request.requestHeaders.setRawHeaders(b"x", [b"y"])
        self.assertEqual(request.getHeader(b"x"), b"y")
        request.received_cookies[b"c"] = b"d"
        self.assertEqual(request.getCookie(b"a"), b"b")
        self.assertEqual(request.getCookie(b"c"), b"d")
        request.setHost(b"example.org", 80)
        self.assertEqual(request.getRequestHostname(), b"example.org")
        request.client = None
        self.assertIs(request.getClientAddress(), None)
        request.content = BytesIO(b"other")
        self.assertEqual(request.content.read(), b"other")

    def test_lateQuestions(self) -> None:
        """
        It can be asked when it is over; only its body is gone.
        """
        application = self.serve()
        self.exchange(wire.request(wire.variables(HTTP_COOKIE=b"a=b")))
        request = application.request
        self.assertEqual(request.getHeader(b"host"), b"www.example.com")
        self.assertEqual(request.getCookie(b"a"), b"b")
        self.assertEqual(request.getClientAddress().host, "192.0.2.7")
        self.assertEqual(request.getHost().host, "192.0.2.1")

    def test_contentOfUnasked(self) -> None:
        """
        A body that is not there has nothing in it, before the end; to look at
        the class is no harm.
        """
        seen: list[bytes] = []

        class Reading(Resource):
            isLeaf = True

            def render(self, request: Any) -> Any:
                return b"x" if request.method == b"HEAD" else self.read(request)

            def read(self, request: Any) -> Any:
                seen.append(request.content.read())
                request.content.seek(0)
                return b"y"

        self.serve(Reading())
        unread = wire.request(wire.variables(REQUEST_METHOD=b"HEAD"))
        transport = self.exchange(unread + GET + unread)
        self.assertEqual(transport.statuses(), [200] * 3)
        self.assertEqual(seen, [b""])
        self.assertIsNotNone(FastCGIRequest.content)

    def test_abortedUnread(self) -> None:
        """
        A request without a body can be aborted.
        """
        application = self.serve(self.unread)
        transport = self.exchange(GET, wire.abortRequest())
        self.assertEqual(transport.response().appStatus, 1)
        self.assertEqual(application.requests, [])

    def unread(self, request: Any) -> Any:
        """
        Answer later, and forget the request.
        """
        application: Any = self.factory.site.resource
        application.requests.clear()
        return NOT_DONE_YET

    def test_session(self) -> None:
        """
        A session is found again by its cookie.
        """
        sessions: list[Session] = []

        def render(request: Any) -> bytes:
            sessions.append(request.getSession())
            return b"x"

        self.serve(render)
        answer = self.exchange(GET).response()
        cookie = (answer.header(b"Set-Cookie") or b"").partition(b";")[0]
        self.exchange(wire.request(wire.variables(HTTP_COOKIE=cookie)))
        self.assertIs(sessions[0], sessions[1])
        sessions[0].expire()

    @table({"wanted": (b"gzip", b"gzip"), "not wanted": (b"", None)})
    def test_encoder(self, accepted: bytes, encoding: bytes | None) -> None:
        """
        A resource can encode its responses.
        """
        wrapped = EncodingResourceWrapper(
            Application(b"x" * 1000), [GzipEncoderFactory()]
        )
        self.serve(wrapped)
        sent = wire.request(wire.variables(HTTP_ACCEPT_ENCODING=accepted))
        answer = self.exchange(sent).response()
        self.assertEqual(answer.header(b"Content-Encoding"), encoding)
        self.assertEqual(len(answer.body) == 1000, encoding is None)

    def test_optionsAsterisk(self) -> None:
        """
        C{OPTIONS *} is answered by Twisted, no resource sees it; what is the
        web server's to say is not said.
        """
        application = self.serve()
        variables = wire.variables(b"/", REQUEST_METHOD=b"OPTIONS", REQUEST_URI=b"*")
        for _ in range(2):
            answer = self.exchange(wire.request(variables)).response()
            self.assertEqual(answer.status, 200)
            names = {name for name, _ in answer.headers}
            self.assertFalse({b"Server", b"Date"} & names)
        self.assertEqual(application.requests, [])


class MessageTests(ServerTestCase):
    """
    What a L{FastCGIRequest} is called in messages.
    """

    def test_ordinary(self) -> None:
        """
        It tells as much as any other request does.
        """
        application = self.serve()
        self.exchange(GET)
        found = repr(application.request)
        other = Request(application.request._fastcgi)
        other.method, other.uri, other.clientproto = b"GET", b"/", b"HTTP/1.1"
        expected = repr(other).replace("<Request", "<FastCGIRequest")
        where = f"{id(other):#x}", f"{id(application.request):#x}"
        self.assertEqual(found, expected.replace(*where))
        self.assertIn("no method", repr(FastCGIRequest(None)))

    def test_strange(self) -> None:
        """
        It is one line of ASCII, whatever the client has sent: so a message
        about it can be written, and is one line.
        """
        application = self.serve()
        uri = b"/\x81\xff\\n"
        self.exchange(wire.request(wire.variables(uri, REQUEST_METHOD=b"HEAD")))
        found = repr(application.request)
        self.assertTrue(found.isascii() and found.isprintable(), found)
        (line,) = self.logged(LogLevel.info)
        self.assertIn("is returning a message body", line)
        self.assertTrue(line.isascii() and line.isprintable(), line)


class FailureTests(ServerTestCase):
    """
    What a L{FastCGIRequest} does when its processing fails.
    """

    def test_deferredFails(self) -> None:
        """
        It can be told of a failure at any time before its end.
        """
        waiting: Deferred[None] = Deferred()

        def render(request: Any) -> Any:
            waiting.addErrback(request.processingFailed)
            waiting.addErrback(lambda failure: None)
            return NOT_DONE_YET

        self.serve(render)
        transport = self.exchange(GET)
        self.assertEqual(transport.value(), b"")
        waiting.errback(ZeroDivisionError("on purpose"))
        answer = transport.response()
        self.assertEqual((answer.status, answer.appStatus), (500, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(transport.connected)

    def test_midway(self) -> None:
        """
        If the response has begun by then, it is given up.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        application.request.write(b"half")
        application.request.processingFailed(failureOf(ZeroDivisionError("purpose")))
        transport.settle()
        answer = transport.response(unfinished=True)
        self.assertEqual((answer.body, answer.ended), (b"half", False))
        self.assertFalse(transport.connected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @table(
        {
            "aborted": (lambda request, transport: transport.receive(ABORT),),
            "connection lost": (lambda request, transport: transport.close(),),
            "finished": (lambda request, transport: request.finish(),),
        }
    )
    def test_afterTheEnd(self, end: Any) -> None:
        """
        A failure after the end is logged, and nothing else comes of it.
        """
        application = self.serve(later)
        transport = self.exchange(GET)
        request = application.request
        end(request, transport)
        before = transport.value()
        failure = failureOf(ZeroDivisionError("on purpose"))
        self.assertIs(request.processingFailed(failure), failure)
        self.assertEqual(transport.value(), before)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_finishAndRaise(self) -> None:
        """
        So is a failure of a resource that has finished its response.
        """

        def render(request: Any) -> Any:
            request.write(b"all")
            request.finish()
            raise ZeroDivisionError("on purpose")

        self.serve(render)
        transport = self.exchange(GET * 2)
        answers = [(found.body, found.stdoutEnded) for found in transport.responses()]
        self.assertEqual(answers, [(b"all", True)] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.flushLoggedErrors()), 0)


ABORT = wire.abortRequest()


def failureOf(error: Exception) -> Any:
    """
    Make a failure.
    """
    from twisted.python.failure import Failure

    return Failure(error)
