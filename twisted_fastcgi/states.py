# Copyright (c) the twisted_fastcgi authors.
# See LICENSE for details.

"""
How far a request has come, and what its records mean then.

Two tables tell that.  L{INPUT_ACTIONS} says what is done with a record in each
state of the input, L{INPUT_ORDER} which state follows when a stream ends.  The
state of the output is independent of them, so an early answer is nothing
special.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from twisted_fastcgi.records import RecordType, Role


class InputState(Enum):
    """
    How far the request in hand has been received: the stream that comes next,
    or one of the two ends.
    """

    IDLE = "no request"
    PARAMS = "PARAMS"
    STDIN = "STDIN"
    DATA = "DATA"
    ENDED = "complete"

    # Theirs is written in Python, and asked for twice in each request.
    __hash__ = object.__hash__


class OutputState(Enum):
    """
    How far the request in hand has been answered.
    """

    SILENT = "nothing sent"
    RESPONDING = "response begun"
    ENDED = "END_REQUEST sent"


class Action(Enum):
    """
    What is done with a record of the request in hand.
    """

    TAKE = "take"
    IGNORE = "ignore"
    ABORT = "abort the request"
    REFUSE = "answer 400"
    FAIL = "close the connection"


#: What is done with a record of the request in hand; ignored where nothing is
#: said.  A stream that has ended stays ended: web servers exist that send a
#: second empty record, or a piece of the body late.
INPUT_ACTIONS: Mapping[InputState, Mapping[int, Action]] = {
    InputState.PARAMS: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
        RecordType.PARAMS: Action.TAKE,
        RecordType.STDIN: Action.REFUSE,
    },
    InputState.STDIN: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
        RecordType.STDIN: Action.TAKE,
    },
    InputState.DATA: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
        RecordType.DATA: Action.TAKE,
    },
    InputState.ENDED: {
        RecordType.BEGIN_REQUEST: Action.FAIL,
        RecordType.ABORT_REQUEST: Action.ABORT,
    },
}

#: Which state follows the end of a stream, by role (section 6).
INPUT_ORDER: Mapping[int, Mapping[InputState, InputState]] = {
    Role.RESPONDER: {
        InputState.PARAMS: InputState.STDIN,
        InputState.STDIN: InputState.ENDED,
    },
    Role.AUTHORIZER: {
        InputState.PARAMS: InputState.ENDED,
    },
    Role.FILTER: {
        InputState.PARAMS: InputState.STDIN,
        InputState.STDIN: InputState.DATA,
        InputState.DATA: InputState.ENDED,
    },
}
