# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Configurations of web servers that pass requests on to a server.

Each function makes the lines of one.  What is not a plain word never gets here:
see L{plainPath <twisted_fastcgi.places.plainPath>}.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from twisted_fastcgi.places import Place, Plan

#: The largest upload that a web server takes, where nothing else is said: 10
#: MiB.  The default of many is less, and to have no limit is no good advice.
_UPLOAD = 10 * 2**20

#: How many idle connections nginx keeps, for each of its processes.
_KEPT = 8

_WATCHERS = "# The figures are for those in --status-allow alone."


def _indented(lines: Iterable[str], by: str = "    ") -> list[str]:
    return [line and by + line for line in lines]


def _block(head: str, *lines: str) -> list[str]:
    return [f"{head} {{", *_indented(lines), "}"]


def _apart(*parts: Sequence[str]) -> list[str]:
    """
    Join lines, with an empty one between those that belong together.
    """
    lines: list[str] = []
    for part in filter(None, parts):
        lines += ["", *part] if lines else part
    return lines


def _about(plan: Plan, who: str) -> list[str]:
    """
    Say where the application is.
    """
    lines = [f"# An application at {plan.prefix or '/'}."]
    if plan.byScriptName:
        lines = [
            f"# An application at {plan.prefix}, or anywhere else that {who} says: "
            "started with",
            "# --mount script-name.",
        ]
    elif plan.prefix:
        start = f"started with --mount {plan.prefix}."
        lines = [f"# An application at {plan.prefix}, {start}"]
    return lines + [f"# {remark}" for remark in _remarks(plan)]


def _remarks(plan: Plan) -> Iterable[str]:
    first = plan.place
    if first.inherited:
        yield f"The socket is the one that whoever starts it makes: here {first.path}."
    if first.everywhere:
        yield f"From another machine, write its address instead of {first.host}."
    if len(plan.places) > 1:
        yield "It has other ports, too: a web server needs one."
    yield from plan.remarks


def _limitRemark(plan: Plan, who: str, default: str) -> str:
    if plan.bodyBytes is None:
        return f"# {who} itself refuses larger uploads; {default}."
    return "# As much as --max-body-bytes allows."


def _size(plan: Plan) -> int:
    return _UPLOAD if plan.bodyBytes is None else plan.bodyBytes


def _mebi(size: int) -> str:
    whole, rest = divmod(size, 2**20)
    return str(size) if rest or not whole else f"{whole}m"


def _pattern(path: str) -> str:
    """
    Make a regular expression that matches a plain path alone, without a
    backslash: these mean something of their own in some configurations.
    """
    return re.sub(r"[.+]", r"[\g<0>]", path)


# nginx


def nginx(plan: Plan) -> list[str]:
    """
    What goes into a folder such as I{/etc/nginx/conf.d}.
    """
    # None would be no limit.
    size = _mebi(_size(plan)) if _size(plan) else "1"
    server = _apart(
        ["listen 80;", "server_name www.example.com;"],
        [
            _limitRemark(plan, "nginx", "it allows 1m if nothing is said"),
            f"client_max_body_size {size};",
        ],
        _nginxLocation(plan),
        _nginxStatus(plan),
    )
    upstream = _nginxUpstream(plan)
    return _about(plan, "nginx") + _apart(upstream, _block("server", *server))


def _nginxUpstream(plan: Plan) -> list[str]:
    place = plan.place
    if place.path:
        return []
    lines = [f"server {place.hostPort};", f"keepalive {_KEPT};"]
    if plan.idleTimeout is not None:
        # The web server has to be the first to close.
        lines.append(f"keepalive_timeout {max(1, int(plan.idleTimeout * 500))}ms;")
    return _block("upstream app", *lines)


def _nginxPass(place: Place, *params: str) -> list[str]:
    lines = ["include fastcgi_params;", *params]
    if place.path:
        return [*lines, f"fastcgi_pass unix:{place.path};"]
    return [*lines, "fastcgi_pass app;", "fastcgi_keep_conn on;"]


def _nginxLocation(plan: Plan) -> list[str]:
    if not plan.byScriptName:
        return _block(f"location {plan.prefix or '/'}", *_nginxPass(plan.place))
    prefix = _pattern(plan.prefix)
    return _block(
        f"location ~ ^{prefix}(/|$)",
        "# What is in the first brackets becomes SCRIPT_NAME.",
        f"fastcgi_split_path_info ^({prefix})(.*)$;",
        *_nginxPass(plan.place, "fastcgi_param PATH_INFO $fastcgi_path_info;"),
    )


def _nginxStatus(plan: Plan) -> list[str]:
    if not plan.statusPath:
        return []
    allowed = [*(f"allow {each};" for each in plan.watchers), "deny all;"]
    head = f"location = {plan.statusPath}"
    return [_WATCHERS, *_block(head, *allowed, *_nginxPass(plan.place))]


# lighttpd


def lighttpd(plan: Plan) -> list[str]:
    """
    What goes into a folder such as I{/etc/lighttpd/conf-enabled}.
    """
    more = '"mod_access", ' if plan.statusPath else ""
    modules = [f'server.modules += ( {more}"mod_fastcgi" )']
    lines = [*_about(plan, "lighttpd"), *modules, *_lighttpdLimit(plan)]
    return lines + _lighttpdStatus(plan) + _lighttpdPlace(plan)


def _lighttpdLimit(plan: Plan) -> list[str]:
    if plan.bodyBytes is None:
        return []
    kibi = max(1, -(-plan.bodyBytes // 1024))
    return [
        "# In KiB: at least as much as --max-body-bytes allows.",
        f"server.max-request-size = {kibi}",
    ]


def _lighttpdPlace(plan: Plan) -> list[str]:
    if not plan.prefix:
        return _lighttpdServer(
            "/",
            plan.place,
            "# The path is the application's, not that of a file.",
            '"check-local" => "disable",',
            "# Or the first segment of the path would become SCRIPT_NAME.",
            '"fix-root-scriptname" => "enable"',
        )
    return [
        "# Or lighttpd would take all paths that begin so, not only this and below.",
        *_block(
            f'$HTTP["url"] =~ "^{_pattern(plan.prefix)}(/|$)"',
            *_lighttpdServer(plan.prefix, plan.place, '"check-local" => "disable"'),
        ),
    ]


def _lighttpdServer(path: str, place: Place, *settings: str) -> list[str]:
    where = [f'"host" => "{place.host}",', f'"port" => {place.port},']
    if place.path:
        where = [f'"socket" => "{place.path}",']
    return [
        "fastcgi.server = (",
        f'    "{path}" => ((',
        *_indented([*where, *settings], " " * 8),
        "    ))",
        ")",
    ]


def _lighttpdStatus(plan: Plan) -> list[str]:
    if not plan.statusPath:
        return []
    refused = ['url.access-deny = ( "" )']
    for each in reversed(plan.watchers):
        refused = _block(f'$HTTP["remoteip"] != "{each}"', *refused)
    here = _lighttpdServer(
        "/",
        plan.place,
        '"check-local" => "disable",',
        '"fix-root-scriptname" => "enable"',
    )
    return [
        _WATCHERS,
        *_block(
            f'$HTTP["url"] == "{plan.statusPath}"',
            *refused,
            *(here if plan.prefix else []),
        ),
    ]


# Apache


def apache(plan: Plan) -> list[str]:
    """
    What goes into a folder such as I{/etc/apache2/sites-available}.
    """
    host = [
        "ServerName www.example.com",
        *(['DocumentRoot "/var/www/html"'] if plan.prefix else []),
        *_apacheLimit(plan),
        *_apacheStatus(plan),
        *_apachePass(plan, plan.prefix or "/"),
        *([] if plan.place.path else ["SetEnv ap_trust_cgilike_cl yes"]),
    ]
    lines = _apart(host, _apacheScript(plan))
    about = _about(plan, "Apache")
    return [*about, "<VirtualHost *:80>", *_indented(lines), "</VirtualHost>"]


def _apachePass(plan: Plan, path: str) -> list[str]:
    place = plan.place
    if place.path:
        return [f'ProxyPass "{path}" "unix:{place.path}|fcgi://app{path}"']
    more = "enablereuse=on flushpackets=on"
    if plan.idleTimeout is not None:
        # The web server has to be the first to close.
        more += f" ttl={max(1, int(plan.idleTimeout / 2))}"
    return [f'ProxyPass "{path}" "fcgi://{place.hostPort}{path}" {more}']


def _apacheLimit(plan: Plan) -> list[str]:
    if plan.bodyBytes is None:
        return []
    return [
        _limitRemark(plan, "", ""),
        # LimitRequestBody does not hold for what is passed on.
        f'<If "%{{HTTP:Content-Length}} -gt {plan.bodyBytes}">',
        '    Redirect 413 "/"',
        "</If>",
    ]


def _apacheStatus(plan: Plan) -> list[str]:
    if not plan.statusPath:
        return []
    lines = [_WATCHERS, f'<Location "{plan.statusPath}">']
    lines += [f"    Require ip {' '.join(plan.watchers)}", "</Location>"]
    return lines + (_apachePass(plan, plan.statusPath) if plan.prefix else [])


def _apacheScript(plan: Plan) -> list[str]:
    if not plan.byScriptName:
        return []
    pattern = f"m#^{_pattern(plan.prefix)}((?s:.*))$#"
    return [
        f'<Location "{plan.prefix}">',
        "    # Apache puts the whole path, decoded, into SCRIPT_NAME.",
        f'    ProxyFCGISetEnvIf "reqenv(\'SCRIPT_NAME\') =~ {pattern}" PATH_INFO "$1"',
        f'    ProxyFCGISetEnvIf "true" SCRIPT_NAME "{plan.prefix}"',
        "</Location>",
    ]


# HAProxy


def haproxy(plan: Plan) -> list[str]:
    """
    What goes to the end of I{haproxy.cfg}.
    """
    lines = _apart(
        ["frontend www", *_indented(_haproxyFront(plan))],
        ["backend app", *_indented(_haproxyBack(plan))],
        ["fcgi-app app", *_indented(_haproxyApplication(plan))],
    )
    return _about(plan, "HAProxy") + lines


def _haproxyFront(plan: Plan) -> list[str]:
    rules = ["bind :80", *_haproxyLimit(plan), *_haproxyStatus(plan)]
    if not plan.prefix:
        return [*rules, "default_backend app"]
    paths = [path for path in (plan.prefix, plan.statusPath) if path]
    return [
        *rules,
        f"acl in-app path {' '.join(paths)}",
        f"acl in-app path_beg {plan.prefix}/",
        "",
        '# Or "default_backend", for what else there is.',
        "http-request return status 404 unless in-app",
        "use_backend app if in-app",
    ]


def _haproxyLimit(plan: Plan) -> list[str]:
    if plan.bodyBytes is None:
        return []
    rule = (
        f"http-request deny deny_status 413 if {{ req.body_size gt {plan.bodyBytes} }}"
    )
    return [_limitRemark(plan, "", ""), rule]


def _haproxyStatus(plan: Plan) -> list[str]:
    if not plan.statusPath:
        return []
    path = f"path,url_dec -m str {plan.statusPath}"
    return [
        _WATCHERS,
        f"http-request deny if {{ {path} }} !{{ src {' '.join(plan.watchers)} }}",
    ]


def _haproxyBack(plan: Plan) -> list[str]:
    place = plan.place
    lines = ["use-fcgi-app app"]
    if place.path:
        lines.append('# Where there is a "chroot" line, the path below that folder.')
    return [*lines, f"server app {place.path or place.hostPort} proto fcgi"]


def _haproxyApplication(plan: Plan) -> list[str]:
    lines = [f"docroot {shlex.quote(plan.directory)}"]
    if not plan.byScriptName:
        return lines
    return [
        *lines,
        "",
        "# What is in the first brackets becomes SCRIPT_NAME, the rest PATH_INFO.",
        f"path-info ^({_pattern(plan.prefix)})((?s:/.*))?$",
    ]


# Caddy


def caddy(plan: Plan) -> list[str]:
    """
    What goes into a I{Caddyfile}.
    """
    limit = [
        _limitRemark(plan, "Caddy", "without it there is no limit"),
        *_block("request_body", f"max_size {_caddySize(plan)}"),
    ]
    site = _apart(limit, _caddyStatus(plan), _caddyHandle(plan))
    lines = _about(plan, "Caddy") + _block("www.example.com", *site)
    # As Caddy's own formatter has it.
    return [re.sub("^ +", lambda by: "\t" * (len(by[0]) // 4), line) for line in lines]


def _caddySize(plan: Plan) -> str:
    return "10MiB" if plan.bodyBytes is None else str(plan.bodyBytes)


def _caddyProxy(plan: Plan, *lines: str) -> list[str]:
    place = plan.place
    where = f"unix/{place.path}" if place.path else place.hostPort
    transport = _block("transport fastcgi", *lines) if lines else ["transport fastcgi"]
    return _block(f"reverse_proxy {where}", *transport)


def _caddyStatus(plan: Plan) -> list[str]:
    path = plan.statusPath
    if not path:
        return []
    refused = [f"path {path}", f"not remote_ip {' '.join(plan.watchers)}"]
    return [
        _WATCHERS,
        *_block("@elsewhere", *refused),
        # Before any other "handle", as "respond" would not be.
        *_block("handle @elsewhere", 'respond "not for you" 403'),
    ]


def _caddyHandle(plan: Plan) -> list[str]:
    if not plan.prefix:
        return _caddyProxy(plan)
    split: list[str] = []
    if plan.byScriptName:
        split = ["# The path up to here becomes SCRIPT_NAME.", f"split {plan.prefix}"]
    paths = f"{plan.prefix} {plan.prefix}/*"
    if plan.statusPath:
        paths += f" {plan.statusPath}"
    return _apart(
        [f"@app path {paths}", *_block("handle @app", *_caddyProxy(plan, *split))],
        ["# Whatever else there is.", *_block("handle", 'respond "not here" 404')],
    )


# h2o


def h2o(plan: Plan) -> list[str]:
    """
    What goes into I{h2o.conf}.
    """
    paths = {plan.prefix or "/": _h2oConnect(plan)}
    if plan.byScriptName:
        paths = {"/": _h2oConnect(plan)}
    if plan.statusPath:
        paths[plan.statusPath] = [*_h2oWatchers(plan), *_h2oConnect(plan)]
    return [
        *_h2oAbout(plan),
        "listen: 80",
        f"limit-request-body: {_size(plan)}",
        "hosts:",
        '  "www.example.com":',
        "    paths:",
        *(
            line
            for path, lines in paths.items()
            for line in (f'      "{path}":', *_indented(lines, " " * 8))
        ),
    ]


def _h2oAbout(plan: Plan) -> list[str]:
    if not plan.byScriptName:
        return _about(plan, "h2o")
    said = "# An application at /: h2o can't say where it is, so --mount script-name"
    return [said, "# means nothing here.", *(f"# {each}" for each in _remarks(plan))]


def _h2oConnect(plan: Plan) -> list[str]:
    place = plan.place
    if place.path:
        return ["fastcgi.connect:", "  type: unix", f"  port: {place.path}"]
    return [
        "fastcgi.connect:",
        "  type: tcp",
        f"  host: {_quotedYaml(place.host)}",
        f"  port: {place.port}",
    ]


def _quotedYaml(host: str) -> str:
    return f'"{host}"' if ":" in host else host


def _h2oWatchers(plan: Plan) -> list[str]:
    if any("/" in each for each in plan.watchers):
        return ["# h2o knows no networks: the application looks at --status-allow."]
    return [
        _WATCHERS,
        "mruby.handler: |",
        "  Proc.new do |env|",
        f'    isAllowed = %w({" ".join(plan.watchers)}).include?(env["REMOTE_ADDR"])',
        '    isAllowed ? [399, {}, []] : [403, {}, ["not for you\\n"]]',
        "  end",
    ]
