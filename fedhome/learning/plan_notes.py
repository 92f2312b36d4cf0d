"""What a plan may be and is hardly meant to be: told once, where a fault would be too much."""

from __future__ import annotations

from fedhome.learning.methods import METHODS
from fedhome.plan import sliced_plan
from fedhome.plan.settings import Plan


def notes_on(plan: Plan) -> list[str]:
    """Return what is worth knowing about a plan that holds, in plain sentences.

    Args:
        plan: The plan.
    """
    looks = (*(method.note_on for method in METHODS.values()), sliced_plan.note_on)
    return [note for look in looks if (note := look(plan))]
