# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for what others install: the wheel and the source distribution.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

import twisted_fastcgi
from tests.programs import ROOT, SCRIPTS, ask, output, serving

PLUGIN = "twisted/plugins/twisted_fastcgi_plugin.py"

# What a release is built from, beside pyproject.toml.
FOLDERS = ("twisted_fastcgi", "twisted", "tests", "docs", "newsfragments")
FILES = ("LICENSE", "NEWS.rst", "README.rst", "CONTRIBUTING.rst", "SECURITY.rst")

# What would hide Twisted or somebody else's plugins, or be out of date at once.
FORBIDDEN = (
    "twisted/__init__.py",
    "twisted/plugins/__init__.py",
    "twisted/plugins/dropin.cache",
)


def temporaryFolder() -> Path:
    """
    Make a folder that is there until the tests end.
    """
    folder = Path(mkdtemp(prefix="fastcgi-"))
    atexit.register(shutil.rmtree, folder)
    return folder


@cache
def built() -> tuple[Path, Path]:
    """
    Build the distributions as a release does, the wheel from the source
    distribution, where Twisted has written its plugin cache before.

    @return: The wheel and the source distribution.
    """
    folder = temporaryFolder()
    checkout = folder / "checkout"
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    for file in ("pyproject.toml", *FILES):
        shutil.copy(ROOT / file, checkout)
    (checkout / "twisted/plugins/dropin.cache").write_bytes(b"out of date")
    output(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, "."],
        cwd=checkout,
    )
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


@cache
def installed() -> Path:
    """
    Install the wheel into a new environment, which finds everything but this
    package where the Python that runs the tests has it.

    @return: The environment's C{bin}.
    """
    environment = temporaryFolder() / "env"
    venv.create(environment, symlinks=True)
    binaries = environment / "bin"
    (packages,) = environment.glob("lib/python*/site-packages")
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "others.pth").write_text("\n".join(sorted(others)))
    python = binaries / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    output([*pip, "--quiet", "--no-deps", "--no-index", built()[0]])
    # Console scripts name the Python that they belong to in their first line.
    _, _, script = (SCRIPTS / "twist").read_text().partition("\n")
    (binaries / "twist").write_text(f"#!{python}\n{script}")
    (binaries / "twist").chmod(0o755)
    return binaries


def wheelNames() -> list[str]:
    """
    List what the wheel holds.
    """
    with zipfile.ZipFile(built()[0]) as wheel:
        return wheel.namelist()


def sdistNames() -> list[str]:
    """
    List what the source distribution holds, below its only folder.
    """
    with tarfile.open(built()[1]) as sdist:
        return [name.partition("/")[2] for name in sdist.getnames()]


def metadata() -> Message:
    """
    Read what the wheel says of itself.
    """
    with zipfile.ZipFile(built()[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        return HeaderParser().parsestr(wheel.read(name).decode())


def sources(*folders: str) -> set[str]:
    """
    List the Python files of the checkout in some of its folders.
    """
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }


class DistributionTests(SynchronousTestCase):
    """
    What is in the wheel and the source distribution.
    """

    def test_plugin(self) -> None:
        """
        Both hold the plugin, and nothing else in Twisted's namespace: an
        C{__init__.py} there would hide Twisted itself, a plugin cache would be
        out of date.
        """
        for names in (wheelNames(), sdistNames()):
            found = [name for name in names if name.startswith("twisted/")]
            self.assertEqual([name for name in found if name.endswith(".py")], [PLUGIN])
            self.assertFalse(set(FORBIDDEN).intersection(names))

    def test_wheel(self) -> None:
        """
        The wheel holds all modules, the mark that they are typed and the
        licence, and no tests.
        """
        names = wheelNames()
        self.assertLessEqual(sources("twisted_fastcgi"), set(names))
        self.assertIn("twisted_fastcgi/py.typed", names)
        self.assertTrue(any(name.endswith("/licenses/LICENSE") for name in names))
        self.assertEqual(
            {name.partition("/")[0].partition("-")[0] for name in names},
            {"twisted", "twisted_fastcgi"},
        )

    def test_sdist(self) -> None:
        """
        The source distribution holds what it takes to test and to document the
        package.
        """
        needed = {*sources(*FOLDERS), *FILES, "pyproject.toml"}
        self.assertLessEqual({*needed, "twisted_fastcgi/py.typed"}, set(sdistNames()))

    def test_documentation(self) -> None:
        """
        The source distribution holds all pages, and the files that they show.
        """
        ignored = {"_build", "__pycache__"}
        needed = {
            str(path.relative_to(ROOT))
            for path in (ROOT / "docs").rglob("*.*")
            if path.is_file() and not ignored.intersection(path.parts)
        }
        self.assertIn("docs/tutorial/index.rst", needed)
        self.assertLessEqual(needed, set(sdistNames()))

    def test_uploadable(self) -> None:
        """
        What package indexes check is well, and they can show the README.
        """
        command = [sys.executable, "-m", "twine", "check", "--strict", *built()]
        said = output(command, NO_COLOR="1")
        self.assertEqual(said.count("PASSED"), 2, said)

    def test_metadata(self) -> None:
        """
        The metadata tell the version, the licence, which Pythons are supported
        and which Twisted is needed.
        """
        found = metadata()
        self.assertEqual(found["Name"], "twisted-fastcgi")
        self.assertEqual(found["Version"], twisted_fastcgi.__version__)
        self.assertEqual(found["License-Expression"], "MIT")
        self.assertEqual(found["Requires-Python"], ">=3.10")
        needed = [name for name in found.get_all("Requires-Dist") if ";" not in name]
        self.assertEqual(needed, ["twisted>=24.7.0", "zope-interface>=6"])


class InstalledTests(SynchronousTestCase):
    """
    The command, from an installed wheel.
    """

    #: What to put before a command.
    prefix: tuple[str, ...] = ()

    def fastcgi(self, *arguments: str) -> list[object]:
        """
        Say how to run C{twist fastcgi}.
        """
        twist = installed() / "twist"
        return [*self.prefix, twist, "--log-format=text", "fastcgi", *arguments]

    def test_location(self) -> None:
        """
        The environment has the package that was installed into it, not that of
        the checkout.
        """
        code = "import twisted_fastcgi; print(twisted_fastcgi.__file__)"
        found = Path(output([installed() / "python", "-c", code]).strip())
        self.assertIn(installed().parent, found.parents)

    def test_listed(self) -> None:
        """
        C{twist} lists the command.
        """
        listed = output([*self.prefix, installed() / "twist", "--help"])
        self.assertRegex(listed, r"\n *fastcgi +\S")

    def test_help(self) -> None:
        """
        The command tells its options.
        """
        listed = output(self.fastcgi("--help"))
        self.assertIn("--port", listed)
        self.assertIn("--resource", listed)

    def test_serves(self) -> None:
        """
        The command answers requests on a Unix socket.
        """
        path = str(temporaryFolder() / "app.sock")
        with serving(self.fastcgi("--port", f"unix:{path}")):
            answer = ask(path, REMOTE_USER="somebody")
        head, _, page = answer.partition(b"\r\n\r\n")
        self.assertIn(b"Status: 200", head)
        self.assertIn(b"somebody", page)


class ReadOnlyTests(InstalledTests):
    """
    The command, from an installed wheel in a C{site-packages} that can't be
    written to.
    """

    def setUp(self) -> None:
        """
        Take away the permission to write.
        """
        (packages,) = installed().parent.glob("lib/python*/site-packages")
        self.cache = packages / "twisted/plugins/dropin.cache"
        self.cache.unlink(missing_ok=True)
        for folder in [packages, *filter(Path.is_dir, packages.rglob("*"))]:
            folder.chmod(0o555)
            self.addCleanup(folder.chmod, 0o755)
        # Root may write everywhere, unless it gives up that capability.
        if os.geteuid() == 0:
            self.prefix = ("setpriv", "--bounding-set=-dac_override", "--")

    def test_noCache(self) -> None:
        """
        Twisted can't keep its plugin cache and says so, which does not stop the
        server.
        """
        path = str(temporaryFolder() / "app.sock")
        with serving(self.fastcgi("--port", f"unix:{path}")) as log:
            ask(path)
        self.assertIn(f"Unable to write to plugin cache {self.cache}", "".join(log))
        self.assertFalse(self.cache.exists())
