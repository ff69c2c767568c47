# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
How Sphinx builds the documentation, and pydoctor the API reference in it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# For docs.generated, and docs.apidocs, which pydoctor's configuration names.
sys.path.insert(0, str(ROOT))

from twisted_fastcgi import __version__  # noqa: E402

project = "twisted_fastcgi"
copyright = "the twisted_fastcgi authors"
release = version = __version__

extensions = [
    "docs.generated",
    "pydoctor.sphinx_ext.build_apidocs",
    "sphinx.ext.intersphinx",
]
html_theme = "alabaster"
html_theme_options = {
    "body_max_width": "auto",
    "page_width": "1200px",
    "sidebar_width": "260px",
}
# The tables are parts of other pages.
exclude_patterns = ["_build", "deploy/table.rst", "*-table.rst"]

pydoctor_args = [
    "--quiet",
    f"--config={ROOT / 'pyproject.toml'}",
    f"--add-package={ROOT / 'twisted_fastcgi'}",
    f"--project-base-dir={ROOT}",
    "--html-output={outdir}/api",
]
pydoctor_url_path = "api/"

# They are examples.
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|www\.example\.com)\b"]
