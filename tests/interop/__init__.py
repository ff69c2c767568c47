# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests with real web servers.
"""
