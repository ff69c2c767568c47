# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
The version of this package, for the package itself and for its build.
"""

__version__ = "1.0.0"
