"""Whether a plan's model states changes of a series, or levels: one is nothing as the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedhome.plan.settings import Plan
from fedhome.run.model_file import Learnt

CLASSES: Final = frozenset({"binary", "multi-class"})
"""Kinds of task without a level."""
STATED: Final[Mapping[Learnt, str]] = {"change": "changes of a series", "level": "levels"}
"""What a model states, in words."""


def learns_changes(plan: Plan) -> bool:
    """Return whether a plan's model states changes from the newest reading.

    A kind of task of one's own counts as one of numbers: its code is not looked at.

    Args:
        plan: The plan, which has a horizon and a kind of task.
    """
    return plan.data.changes and plan.task.kind not in CLASSES


def learnt_by(plan: Plan) -> Learnt:
    """Return the same in the plan's own word; of classes it is ``level``, as it always was."""
    return "change" if learns_changes(plan) else "level"
