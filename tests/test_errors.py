# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
Tests for L{twisted_fastcgi.errors}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_fastcgi.errors import (
    FastCGIError,
    LimitExceeded,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)


class ErrorTreeTests(SynchronousTestCase):
    """
    Whose fault it was can be told from the class of an error.
    """

    def test_tree(self) -> None:
        """
        All errors are a L{FastCGIError}; our mistakes are told from those of
        the peer, and what is beyond a limit is the peer's.
        """
        bases = {
            error: error.__bases__
            for error in (
                FastCGIError,
                ProtocolError,
                LocalProtocolError,
                RemoteProtocolError,
                LimitExceeded,
            )
        }
        expected = {
            FastCGIError: (Exception,),
            ProtocolError: (FastCGIError,),
            LocalProtocolError: (ProtocolError,),
            RemoteProtocolError: (ProtocolError,),
            LimitExceeded: (RemoteProtocolError,),
        }
        self.assertEqual(bases, expected)
