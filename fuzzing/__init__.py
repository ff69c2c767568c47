# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Fuzzing: C{docs/fuzzing.rst} tells how.
"""
