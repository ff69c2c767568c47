# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
A L{twisted.web} resource that passes on what it is asked to a FastCGI
application: PHP beside the pages of a Twisted site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import IO, Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.util import Redirect
from zope.interface import implementer

from twisted_fastcgi.cgiclient import Variables
from twisted_fastcgi.client import FastCGIAgent
from twisted_fastcgi.errors import FastCGIError
from twisted_fastcgi.exchange import Overloaded
from twisted_fastcgi.interfaces import IFastCGIRequest
from twisted_fastcgi.pages import errorPage
from twisted_fastcgi.pool import AgentClosed
from twisted_fastcgi.scripts import Document, DocumentRoot, Nothing, Path, Script

log = Logger()

#: How much of a request's body is passed on at a time, in bytes.
_PIECE = 65536

# What can't stand in a URI as it is.
_UNFIT = re.compile(rb"[^!-~]|#")

# A host with an optional port (RFC 9110, section 7.2).
_isAuthority = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|[^]\[/?#:@\\\s]+)(:[0-9]{0,5})?"
).fullmatch

#: What is said to the client.
_EXPLANATIONS = {
    400: "The request can't be passed on to the application.",
    404: "There is nothing at this place.",
    500: "The request could not be passed on to the application.",
    502: "The application can't be reached, or gave no proper answer.",
    503: "The application takes no requests at the moment.",
    504: "The application did not answer in time.",
}

#: The status for an error: the first that fits.
_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((TimeoutError, TCPTimedOutError), 504),
    ((Overloaded, AgentClosed), 503),
    ((ConnectError, ConnectionClosed, FastCGIError, OSError), 502),
    ((ValueError,), 400),
)


class FastCGIProxyResource(Resource):
    """
    Passes on what it is asked to a FastCGI application (FastCGI 1.0, section
    6.2).

    With a C{documentRoot} it does for the files in that folder what web
    servers do for PHP: a request for a script goes to the application, other
    files are sent as they are, and what does not exist is answered with 404
    without asking anybody.  Without one the application is responsible for all
    paths below this resource.

    Children that are put into it by C{putChild} come first.

    An application that can't be reached or gives no proper answer makes a 502,
    one that is too slow a 504, one that is overloaded a 503.  A response that
    fails midway ends the client's connection.  When the client goes away, the
    request is aborted.
    """

    def __init__(
        self,
        agent: FastCGIAgent,
        documentRoot: Path | None = None,
        *,
        index: Iterable[str] = ("index.php", "index.html"),
        suffixes: Iterable[str] = (".php",),
        frontController: str | None = None,
        serveFiles: bool = True,
        remoteRoot: Path | None = None,
        variables: Variables | None = None,
    ) -> None:
        """
        @param agent: Asks the application.
        @param documentRoot: The folder that this resource's place in the site
            stands for.  Nothing outside of it, wherever symbolic links lead,
            and nothing whose name begins with a dot is ever sent or run.
        @param index: The names of the files that answer for a folder, in the
            order in which they are looked for.
        @param suffixes: How the names of scripts end, in capitals or not.
        @param frontController: A script, as a path below C{documentRoot}, that
            answers for all paths that lead to no file.
        @param serveFiles: Whether files that are no scripts are sent.
        @param remoteRoot: What C{documentRoot} is called where the application
            runs, if that is another name.
        @param variables: CGI variables beside those that are made of each
            request, or in place of them; L{None} as a value leaves a variable
            out.
        @raise ValueError: If C{documentRoot} is not there.
        @raise TypeError: If C{index} or C{suffixes} is one text.
        """
        super().__init__()
        self._agent = agent
        self._serveFiles = serveFiles
        self._variables = variables
        self._root: DocumentRoot | None = None
        if documentRoot is not None:
            self._root = DocumentRoot(
                documentRoot,
                index=index,
                suffixes=suffixes,
                frontController=frontController,
                remoteRoot=remoteRoot,
            )

    def getChild(self, path: bytes, request: Any) -> IResource:
        """
        Find what answers for the rest of the path.

        @param path: Its first segment, moved to C{prepath} already.
        @param request: The request.
        @return: A resource that takes all of the path.
        """
        request.postpath.insert(0, request.prepath.pop())
        found: IResource = self._resourceFor(request)
        return found

    def render(self, request: Request) -> Any:
        """
        Answer for this very place, with no slash behind it.

        @param request: The request.
        @return: What L{IResource.render<twisted.web.resource.IResource.render>} may
            return.
        """
        return self._resourceFor(request).render(request)

    def _resourceFor(self, request: Any) -> Any:
        """
        Find what answers for C{postpath}.
        """
        prefix = _joined(request.prepath)
        if self._root is None:
            told = {b"SCRIPT_NAME": prefix, b"PATH_INFO": _joined(request.postpath)}
            return _Passage(self._agent, told, self._variables)
        found = self._root.find(request.postpath)
        if isinstance(found, Script):
            passage = _scriptVariables(found, prefix)
            return _Passage(self._agent, passage, self._variables)
        if isinstance(found, Document) and self._serveFiles:
            return _file(found.filename)
        if found is Nothing.FOLDER:
            return Redirect(_withSlash(request.uri))
        return _Refusal(404)


def _joined(segments: Iterable[bytes]) -> bytes:
    """
    Make a path of its decoded segments.
    """
    return b"".join(b"/" + segment for segment in segments)


def _scriptVariables(script: Script, prefix: bytes) -> dict[bytes, bytes | None]:
    """
    Tell a script where it is (RFC 3875, sections 4.1.5, 4.1.6 and 4.1.13).
    """
    info = script.pathInfo
    return {
        b"SCRIPT_NAME": prefix + script.name,
        b"SCRIPT_FILENAME": script.filename,
        b"DOCUMENT_ROOT": script.root or b"/",
        b"PATH_INFO": info or None,
        b"PATH_TRANSLATED": script.root + info if info else None,
    }


def _file(filename: bytes) -> Resource:
    """
    Make a resource for a file, and for whatever may be left of the path.
    """
    from twisted.web.static import File

    # Its types of content are looked up by text.
    resource: Resource = File(filename.decode("utf-8", "surrogateescape"))
    resource.isLeaf = True
    return resource


def _withSlash(uri: bytes) -> bytes:
    """
    Tell where a folder is.  There must not be two slashes at the start, behind
    which a browser looks for the name of a host.
    """
    path, mark, query = uri.partition(b"?")
    return b"/" + path.strip(b"/") + b"/" + mark + query


class _Refusal(Resource):
    """
    An answer that the application had no part in.
    """

    isLeaf = True

    def __init__(self, code: int) -> None:
        """
        @param code: The status code.
        """
        super().__init__()
        self._code = code

    def render(self, request: Request) -> bytes:
        """
        Make the page.

        @param request: The request.
        @return: The page.
        """
        request.setResponseCode(self._code)
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        page = errorPage(self._code, _EXPLANATIONS[self._code])
        return page.partition(b"\r\n\r\n")[2]


class _Passage(Resource):
    """
    The way of one request to the application.
    """

    isLeaf = True

    def __init__(
        self,
        agent: FastCGIAgent,
        told: Mapping[bytes, bytes | None],
        variables: Variables | None,
    ) -> None:
        """
        @param agent: Asks the application.
        @param told: Variables that tell where the application is.
        @param variables: Variables that count more than all others.
        """
        super().__init__()
        self._agent = agent
        self._told = told
        self._variables = variables

    def render(self, request: Request) -> Any:
        """
        Pass a request on.

        @param request: The request.
        @return: C{NOT_DONE_YET}, or a page that says why that is not possible.
        """
        authority = _authority(request)
        if not request.uri.startswith(b"/") or _isAuthority(authority) is None:
            return _Refusal(400).render(request)
        target = _UNFIT.sub(lambda bad: b"%%%02X" % ord(bad[0]), request.uri)
        variables: dict[Any, Any] = {
            **_connectionVariables(request),
            **self._told,
            b"REQUEST_URI": target,
            **(self._variables or {}),
        }
        scheme = b"https" if request.isSecure() else b"http"
        answer = self._agent.request(
            request.method,
            scheme + b"://" + authority + target,
            _forwarded(request.requestHeaders),
            _bodyProducer(request.content),
            variables=variables,
        )
        _Forwarding(request).begin(answer)
        return NOT_DONE_YET


def _authority(request: Request) -> bytes:
    """
    Tell what the client takes the server for: the I{Host}, or else the address
    of the server.
    """
    host = request.getHeader(b"Host")
    if host:
        assert isinstance(host, bytes)
        return host
    address = request.getHost()
    name = _ip(address) or b"localhost"
    if b":" in name:
        name = b"[" + name.partition(b"%")[0] + b"]"
    port = getattr(address, "port", None)
    return name if port is None else b"%s:%d" % (name, port)


def _ip(address: Any) -> bytes | None:
    """
    Tell the IP address, if there is one.
    """
    host = getattr(address, "host", "")
    return host.encode("ascii") if isIPAddress(host) or isIPv6Address(host) else None


def _connectionVariables(request: Request) -> dict[bytes, bytes | None]:
    """
    Tell what is known of the client and its connection (RFC 3875, sections
    4.1.8, 4.1.15 and 4.1.16): also if it talks to another web server, and that
    one talks FastCGI.
    """
    client, server = request.getClientAddress(), request.getHost()
    remotePort = getattr(client, "port", 0)
    variables: dict[bytes, bytes | None] = {
        b"SERVER_PROTOCOL": request.clientproto,
        b"SERVER_ADDR": _ip(server),
        b"REMOTE_ADDR": _ip(client) or b"unix:",
        b"REMOTE_PORT": b"%d" % remotePort if remotePort else None,
    }
    if hasattr(server, "port"):
        variables[b"SERVER_PORT"] = b"%d" % server.port
    if request.getHeader(b"Host") is None:
        variables[b"HTTP_HOST"] = None
    fastcgi = IFastCGIRequest(request, None)
    if fastcgi is not None:
        for name in (b"AUTH_TYPE", b"REMOTE_USER"):
            variables[name] = fastcgi.params.get(name)
    return variables


def _forwarded(headers: Headers) -> Headers:
    """
    Leave out the header fields that the client says concern one hop only (RFC
    9110, section 7.6.1); the agent leaves out those that always do.
    """
    fields = b",".join(headers.getRawHeaders(b"Connection", ())).lower().split(b",")
    named = {name.strip() for name in fields}
    forwarded = Headers()
    for name, values in headers.getAllRawHeaders():
        if name.lower() not in named:
            forwarded.setRawHeaders(name, values)
    return forwarded


def _bodyProducer(content: Any) -> _Body | None:
    """
    Make what produces the body, if there is any.
    """
    body = _Body(content)
    return body if body.length else None


@implementer(IBodyProducer)
class _Body:
    """
    Produces the body of a request, which has arrived as a whole.

    @ivar length: Its size in bytes.
    @ivar _isPaused: Whether nothing may be written.
    @ivar _isWriting: Whether something is being written.
    """

    def __init__(self, content: IO[bytes]) -> None:
        """
        @param content: The file with the body.
        """
        self.length = content.seek(0, 2)
        content.seek(0)
        self._content = content
        self._isPaused = True
        self._isWriting = False
        self._done: Deferred[None] = Deferred()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Write the body.

        @param consumer: Where to.
        @return: Fires when all of it is written.
        """
        self._consumer = consumer
        self.resumeProducing()
        return self._done

    def resumeProducing(self) -> None:
        """
        Write more.
        """
        self._isPaused = False
        if self._isWriting:
            return
        self._isWriting = True
        while not self._isPaused:
            data = self._content.read(_PIECE)
            if data:
                self._consumer.write(data)
            else:
                self._isPaused = True
                self._done.callback(None)
        self._isWriting = False

    def pauseProducing(self) -> None:
        """
        Write no more for now.
        """
        self._isPaused = True

    def stopProducing(self) -> None:
        """
        Write no more.
        """
        self._isPaused = True


class _Forwarding(Protocol):
    """
    Passes on the answer of the application.

    @ivar _isOver: Whether there is nothing more to be done for the request.
    @ivar _response: The response, once its header has come.
    @ivar _hasBegun: Whether its header was passed on.
    """

    def __init__(self, request: Request) -> None:
        """
        @param request: The request.
        """
        self._request = request
        self._isOver = False
        self._response: Any = None
        self._hasBegun = False

    def begin(self, answer: Deferred[IResponse]) -> None:
        """
        Wait for the answer, or for the client to go away.

        @param answer: Fires with the response.
        """
        self._answer = answer
        self._request.notifyFinish().addErrback(self._clientLeft)
        answer.addCallbacks(self._responded, self._failed)

    # What the client says

    def _clientLeft(self, reason: Failure) -> None:
        """
        Abort the request.
        """
        self._isOver = True
        if self._response is None:
            self._answer.cancel()
        else:
            transport: Any = self.transport
            transport.abortConnection()

    # What the application says

    def _responded(self, response: IResponse) -> None:
        """
        Pass on a response.
        """
        self._response = response
        response.deliverBody(self)
        if not self._isOver and not self._hasBegun:
            # More may take its time.
            self._sendHead()
            self._request.write(b"")

    def connectionMade(self) -> None:
        """
        Have the application wait for a client that is slow.
        """
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Pass on a piece of the body.

        @param data: The piece.
        """
        self._sendHead()
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Pass on the end of the body.

        @param reason: Whether it is whole.
        """
        if self._isOver:
            return
        if reason.check(ResponseDone):
            self._sendHead()
            self._end()
            self._request.finish()
        elif self._hasBegun:
            self._complain(_cause(reason), "the response is not whole")
            self._end()
            self._request.loseConnection()
        else:
            self._failed(reason)

    def _sendHead(self) -> None:
        """
        Pass on status and header fields, once.
        """
        if self._hasBegun:
            return
        self._hasBegun = True
        request, response = self._request, self._response
        request.setResponseCode(response.code, response.phrase)
        # None is none.
        request.defaultContentType = None
        for name, values in response.headers.getAllRawHeaders():
            if name.lower() == b"set-cookie":
                # Beside those of this site.
                request.cookies.extend(values)
            else:
                request.responseHeaders.setRawHeaders(name, values)

    def _end(self) -> None:
        """
        Be done with the request.
        """
        self._isOver = True
        if self._response is not None:
            self._request.unregisterProducer()

    # What goes wrong

    def _failed(self, reason: Failure) -> None:
        """
        Send a page that says what is wrong.
        """
        if self._isOver:
            return
        cause = _cause(reason)
        code = next((code for kind, code in _CODES if isinstance(cause, kind)), 500)
        if code == 500:
            log.failure("{request} could not be passed on", reason, request=self._what)
        else:
            self._complain(cause, f"answered with {code}")
        self._end()
        self._request.render(_Refusal(code))

    def _complain(self, cause: BaseException, what: str) -> None:
        """
        Write to the log what went wrong.
        """
        log.warn(
            "{request}: {what}: {cause}",
            request=self._what,
            what=what,
            cause=str(cause) or type(cause).__name__,
        )

    @property
    def _what(self) -> str:
        """
        The request, for the log.
        """
        method, uri = self._request.method, self._request.uri
        return f"{method.decode('latin-1')} {uri.decode('ascii', 'backslashreplace')}"


def _cause(reason: Failure) -> BaseException:
    """
    Find the reason for what Twisted's HTTP client wraps up.
    """
    error: Any = reason.value
    reasons: list[Failure] = getattr(error, "reasons", [])
    cause: BaseException = _cause(reasons[0]) if reasons else error
    return cause
