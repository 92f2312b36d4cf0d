"""What a plan may be and is hardly meant to be: told once, where a fault would be too much."""

from __future__ import annotations

from collections.abc import Iterator

from fedhome.learning.alone.pass_counts import networks_alone
from fedhome.learning.methods import METHODS
from fedhome.plan import sliced_plan
from fedhome.plan.section import Section
from fedhome.plan.settings import Plan


def notes_on(plan: Plan) -> list[str]:
    """Return what is worth knowing about a plan that holds, in plain sentences.

    Args:
        plan: The plan.
    """
    looks = (*(method.note_on for method in METHODS.values()), sliced_plan.note_on)
    notes = [note for look in looks if (note := look(plan))]
    return [*notes, *_without_effect(plan)]


_EVEN_WITHOUT = {"name", "local_batches"}
"""Settings of personalisation that a run writes into its plan, or that say there is none."""


def _without_effect(plan: Plan) -> Iterator[str]:
    """Yield which settings were set and do nothing in this plan, and why."""
    if plan.personalise.name == "none" and (idle := _changed(plan.personalise) - _EVEN_WITHOUT):
        yield _idle("personalise", idle, 'personalise.name is "none"')
    elif not networks_alone(plan.personalise) and (
        idle := _changed(plan.personalise) & {"local_epochs", "patience"}
    ):
        yield _idle("personalise", idle, "personalise.opponents names no network alone")
    if not plan.evaluation.unseen and "days" in _changed(plan.evaluation):
        yield _idle("evaluation", {"days"}, "no home is new (evaluation.unseen = 0)")


def _changed(section: Section) -> set[str]:
    fields = type(section).model_fields
    return {name for name, field in fields.items() if getattr(section, name) != field.default}


def _idle(section: str, names: set[str], why: str) -> str:
    named = ", ".join(f"{section}.{name}" for name in sorted(names))
    return f"{named} {'has' if len(names) == 1 else 'have'} no effect: {why}"
