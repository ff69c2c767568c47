# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
What web servers write into their logs when something is wrong, as the
documentation quotes it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from textwrap import dedent
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from tests.interop.servers import freePort
from tests.programs import PATIENCE, ROOT, SCRIPTS, program, serving
from tests.tables import TableTestCase, table

#: Where each trouble is, what nginx answers, and what it logs.
TROUBLES = {
    "missing": (502, "connect() to … failed (2: No such file or directory)"),
    "gone": (502, "connect() to … failed (111: Connection refused)"),
    "denied": (502, "connect() to … failed (13: Permission denied)"),
    "full": (502, "connect() to … failed (11: Resource temporarily unavailable)"),
    "http": (502, "upstream sent unsupported FastCGI protocol version: 72"),
    "proxied": (502, 'upstream prematurely closed connection … "http:…"'),
    "big": (502, "upstream sent too big header"),
    "slow": (504, "upstream timed out (110: Connection timed out)"),
    "upload": (413, "client intended to send too large body"),
    # The end of the application.
    "dies": (502, 'upstream prematurely closed connection … "fastcgi:…"'),
}

#: Makes some of the trouble.
APPLICATION = """
    import os
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET

    class Trouble(Resource):
        isLeaf = True

        def render_GET(self, request):
            if b"dies" in request.uri:
                os._exit(0)
            if b"big" in request.uri:
                request.setHeader("X-Big", b"x" * 12000)
                return b""
            return NOT_DONE_YET
"""

NGINX = """
    {user} daemon off; error_log stderr notice; pid nginx.pid; events {{}}
    http {{
        access_log off; include fastcgi_params;
        client_body_temp_path b; fastcgi_temp_path f; proxy_temp_path p;
        scgi_temp_path s; uwsgi_temp_path u;
        server {{ listen unix:{folder}/http.sock; return 404; }}
        server {{
            listen 127.0.0.1:{port};
            location / {{ fastcgi_pass unix:{folder}/app.sock; }}
            location /slow {{
                fastcgi_pass unix:{folder}/app.sock; fastcgi_read_timeout 1;
            }}
            location /upload {{
                fastcgi_pass unix:{folder}/app.sock; client_max_body_size 1;
            }}
            location /proxied {{ proxy_pass http://unix:{folder}/app.sock; }}
            {more}
        }}
    }}
"""


MODULES = "/usr/lib/apache2/modules"

#: Other web servers before a socket that is missing: how each is run with a
#: configuration, the configuration, what says that it serves, and what it logs.
OTHERS = {
    "apache2": (
        ["-D", "FOREGROUND", "-f"],
        f"""
        ServerRoot @FOLDER@
        PidFile httpd.pid
        ErrorLog /dev/stderr
        Mutex file:@FOLDER@ default
        ServerName localhost
        User www-data
        Group www-data
        Listen 127.0.0.1:@PORT@
        LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
        LoadModule authz_core_module {MODULES}/mod_authz_core.so
        LoadModule proxy_module {MODULES}/mod_proxy.so
        LoadModule proxy_fcgi_module {MODULES}/mod_proxy_fcgi.so
        ProxyPass "/" "unix:@SOCKET@|fcgi://app/"
        """,
        "resuming normal operations",
        ("AH02454",),
    ),
    "lighttpd": (
        ["-D", "-f"],
        """
        server.modules = ( "mod_fastcgi" )
        server.document-root = "@FOLDER@"
        server.bind = "127.0.0.1"
        server.port = @PORT@
        fastcgi.server = ( "/" => (( "socket" => "@SOCKET@",
                                     "check-local" => "disable" )) )
        """,
        "server started",
        ("establishing connection failed", "No such file or directory"),
    ),
    "caddy": (
        ["run", "--adapter", "caddyfile", "--config"],
        """
        {
            admin off
            auto_https off
        }
        http://127.0.0.1:@PORT@ {
            reverse_proxy unix/@SOCKET@ {
                transport fastcgi
            }
        }
        """,
        "serving initial configuration",
        ("connect: no such file or directory",),
    ),
    "h2o": (
        ["-c"],
        """
        listen: { host: 127.0.0.1, port: @PORT@ }
        hosts:
          default:
            paths:
              "/":
                fastcgi.connect: { type: unix, port: @SOCKET@ }
        """,
        "is ready to serve requests",
        ("connection failed",),
    ),
}


class SymptomsTests(TableTestCase):
    """
    The page on symptoms.
    """

    def setUp(self) -> None:
        """
        Make a folder for sockets.
        """
        self.folder = Path(mkdtemp(prefix="fastcgi-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        (self.folder / "trouble.py").write_text(dedent(APPLICATION))

    def listener(self, name: str, mode: int = 0o666) -> socket.socket:
        """
        Make a socket that nobody serves.
        """
        skt = socket.socket(socket.AF_UNIX)
        self.addCleanup(skt.close)
        path = self.folder / f"{name}.sock"
        skt.bind(str(path))
        path.chmod(mode)
        skt.listen(0)
        return skt

    def fill(self, name: str) -> None:
        """
        Make a socket at which so many wait that no more may.
        """
        address = self.listener(name).getsockname()
        while True:
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            if client.connect_ex(address):
                return

    def nginx(self) -> list[object]:
        """
        Configure nginx.

        @return: How to run it.
        """
        shutil.copy("/etc/nginx/fastcgi_params", self.folder)
        names = ("missing", "gone", "denied", "full", "http")
        more = "\n".join(
            f"location /{name} {{ fastcgi_pass unix:{self.folder}/{name}.sock; }}"
            for name in names
        )
        self.port = freePort()
        # Root is denied nothing.
        user = "user www-data;" if os.geteuid() == 0 else ""
        values = {"user": user, "port": self.port, "folder": self.folder, "more": more}
        (self.folder / "nginx.conf").write_text(NGINX.format(**values))
        return [program("nginx"), "-p", self.folder, "-c", "nginx.conf", "-e", "stderr"]

    def ask(self, name: str) -> int:
        """
        Ask nginx for trouble.

        @return: The status of its answer.
        """
        url = f"http://127.0.0.1:{self.port}/{name}"
        body = b"too large" if name == "upload" else None
        with self.assertRaises(HTTPError) as raised:
            build_opener(ProxyHandler({})).open(url, body, PATIENCE)
        with raised.exception as error:
            return error.code

    def test_nginx(self) -> None:
        """
        nginx logs what the page says, in each trouble.
        """
        nginx = self.nginx()
        self.listener("gone").close()
        self.listener("denied", 0)
        self.fill("full")
        twist = [SCRIPTS / "twist", "--log-format=text"]
        app = ["fastcgi", f"--port=unix:{self.folder}/app.sock"]
        app += ["--resource=trouble.Trouble"]
        with ExitStack() as stack:
            log = stack.enter_context(serving(nginx, ready="start worker process "))
            said = stack.enter_context(
                serving([*twist, *app], self.folder, PYTHONPATH=str(ROOT))
            )
            for name, (status, _) in TROUBLES.items():
                self.assertEqual(self.ask(name), status, name)
        quoted = [words for _, words in TROUBLES.values()]
        self.assertEqual(self.quotes("What nginx logs"), quoted)
        for words in quoted:
            pattern = ".*".join(map(re.escape, words.split("…")))
            self.assertRegex("".join(log), pattern)
        self.assertIn("is not FastCGI", "".join(said))

    @table({name: (name,) for name in OTHERS})
    def test_others(self, name: str) -> None:
        """
        The others log what the page says if there is no socket.
        """
        arguments, configuration, ready, quoted = OTHERS[name]
        self.port = freePort()
        text = dedent(configuration).replace("@FOLDER@", str(self.folder))
        text = text.replace("@PORT@", str(self.port))
        path = self.folder / "configuration"
        path.write_text(text.replace("@SOCKET@", f"{self.folder}/missing.sock"))
        command = [program(name), *arguments, path]
        with serving(command, self.folder, ready, HOME=str(self.folder)) as log:
            self.assertIn(self.ask("missing"), (500, 502, 503))
        page = " ".join((ROOT / "docs/symptoms.rst").read_text().split())
        for words in quoted:
            self.assertIn(words, "".join(log))
            self.assertIn(words, page)

    def quotes(self, heading: str) -> list[str]:
        """
        Find what stands in the first column of a table of the page.
        """
        _, _, rest = (ROOT / "docs/symptoms.rst").read_text().partition(heading)
        table = " ".join(rest.partition("\n\n\n")[0].split())
        return re.findall(r"\* - \*([^*]+)\* -", table)
