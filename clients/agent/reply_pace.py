"""When an answer leaves: at a fixed time after its question, where the plan has one.

How long a home computes says how many examples it has. So a plan may let all homes answer at the
same time after they were asked (`rounds.reply_after_s`): what is done earlier waits, and what is
not done by then adds nothing, under masks as always (:class:`fedhome.clients.agent.work`). Should
even that be late, as after a device slept, the answer leaves at the next multiple of that time.

Keys and a member's help are answered at once: how long they take follows from how many homes there
are, not from readings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flwr.app import Message

from fedhome.plan.settings import Plan
from fedhome.wire.names import BUNDLE, HELP

FOR_WORK = 0.9
"""Share of that time that a home's work may take: the rest is for masks, which take the same time
whatever they hide."""


class ReplyPace:
    """When a home's answers leave.

    Args:
        plan: The home's plan.
        clock: Seconds.
    """

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.after_s = plan.rounds.reply_after_s
        self.now = clock

    def left_s(self, message: Message, came: float, *, repeated: bool = False) -> float:
        """Return how long the answer to a message still has to wait, s.

        Args:
            message: The question.
            came: When it came, as `now` told it.
            repeated: Whether the very answer was given before, and nothing was done for it: it was
                waited for then.
        """
        if not self.after_s or repeated or message.metadata.message_type in {BUNDLE, HELP}:
            return 0.0
        took = self.now() - came
        return max(1, math.ceil(took / self.after_s)) * self.after_s - took
