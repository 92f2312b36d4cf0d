"""A plan in which nothing is left to the data: kind of task, horizon, lags and gap are said.

A simulation, `fedhome up`, `fedhome data check` and what `--like` writes all go through
:func:`settled`. A plan of real homes carries what was found, since no home sees another's data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fedhome.data.series.examples import HomeExamples, Targets
from fedhome.data.series.spans import usual_lags
from fedhome.data.table import HomeTable
from fedhome.data.target_kind import kind_in, steps_of, usual_days
from fedhome.learning.alone.pass_counts import networks_alone
from fedhome.learning.tasks import kind_of
from fedhome.plan.data_settings import DataSettings, Horizon, Span
from fedhome.plan.settings import LARGEST_BATCH, Plan
from fedhome.plan.time_steps import DAY_S, MONTH_S, YEAR_S, step_seconds, step_text

WEEK_FROM_DAYS = 28.0
"""Days of history from which a series looks a week back by itself."""
YEAR_FROM_DAYS = 4 * YEAR_S / DAY_S
"""Days of history from which one of months looks a year back: as many years as a week has weeks."""

SMALLEST_BATCH: Final = 4
"""Examples in a training step of homes that have few."""
STEPS_OF_A_PASS: Final = 16
"""How many steps a pass over the usual home's rows has, as far as batches may be so small."""


@dataclass(frozen=True, kw_only=True)
class SettledPlan:
    """A plan that says how its target is learnt.

    Args:
        plan: The plan.
        targets: How the task's targets are encoded.
        notes: What was found out where the plan said nothing, in plain sentences.
    """

    plan: Plan
    targets: Targets
    notes: tuple[str, ...]


def settled(plan: Plan, tables: Sequence[HomeTable], *, days: float | None = None) -> SettledPlan:
    """Return a plan with all that it leaves open as the homes' readings tell.

    Args:
        plan: The plan; what it says stays.
        tables: The homes.
        days: Days of history that they keep, where the plan does not say.

    Raises:
        PlanError: What follows does not fit the rest of the plan.
    """
    data, kind, why = plan.data, plan.task.kind, ""
    if not kind and (found := kind_in(tables, data)) is not None:
        kind, why = found.kind, found.why
    targets = kind_of(kind).targets
    horizon: Horizon | None = data.horizon
    if horizon is None:
        horizon = _horizon(data, targets, tables)
    notes = []
    if why or data.horizon is None:
        notes.append(_told(plan, kind, why, horizon))
    steps = steps_of(tables, data)
    step_s = steps.most_common(1)[0][0] if steps else None
    calendar = data.calendar
    if calendar and step_s is not None and step_s >= MONTH_S:
        calendar = False
        notes.append(f"steps of {step_text(step_s)} have no hour or weekday: they are no inputs")
    if horizon == 0:
        rows = {"horizon": 0, "lags": (), "calendar": calendar}
        changed = plan.change(task={"kind": kind}, data=rows)
        return SettledPlan(plan=changed, targets=targets, notes=tuple(notes))
    lags, gap = data.lags, data.gap
    near, *others = horizon if isinstance(horizon, tuple) else (horizon,)
    if step_s is not None:
        if lags is None:
            kept = days if data.history_days is None else data.history_days
            history = usual_days(tables, data.split, kept)
            lags = usual_lags(
                step_s,
                horizon=_steps(near, step_s),
                week=history >= WEEK_FROM_DAYS,
                year=history >= YEAR_FROM_DAYS,
            )
        if gap is None:
            gap = step_text(max(round(DAY_S / step_s), 1) * step_s)
        notes += _in_steps(plan, lags, gap, (near, *others), step_s)
        if len(steps) > 1:
            notes += _of_other_steps(steps, {"lags": lags, "horizon": (near, *others)})
    series = {"horizon": horizon, "lags": lags, "gap": gap, "calendar": calendar}
    changed = plan.change(task={"kind": kind}, data=series)
    return SettledPlan(plan=changed, targets=targets, notes=tuple(notes))


def with_batches(plan: Plan, homes: Sequence[HomeExamples]) -> tuple[Plan, tuple[str, ...]]:
    """Return a plan that names how many examples a training step has, and what there is to say.

    In homes of few rows batches of 32 make a step or three of a pass, and the fleet's networks err
    more on later rows than with small ones; in homes of thousands small batches draw homes apart
    (docs/decisions/109). Networks alone stay at 32, as they are weaker with few, and with a choice
    of both (docs/decisions/114). With noise, modules of one's own, and where the plan counts steps
    itself, it was not tried; a module that is trained home after home would take hours.

    Args:
        plan: The plan; what it says stays.
        homes: Its homes' examples.
    """
    train = plan.train
    tried = plan.model.name == "mlp" and plan.privacy.mechanism == "none" and not train.steps
    if train.batch_size is not None or not tried or not homes:
        return plan, ()
    rows = int(np.median([home.counts[0] for home in homes]))
    size = min(max(rows // STEPS_OF_A_PASS, SMALLEST_BATCH), LARGEST_BATCH)
    changed = plan.change(train={"batch_size": size})
    if size == LARGEST_BATCH:
        return changed, ()
    told = f"the usual home has {rows} training rows: a training step takes {size} of them"
    if plan.personalise.local_batches:
        return changed, (told,)
    if networks_alone(plan.personalise):
        told += f", one of networks alone {LARGEST_BATCH}"
        told += " (train.batch_size, personalise.local_batches)"
    # Also where nobody trains alone: a plan may be taken up again by one that has homes do so.
    return changed.change(personalise={"local_batches": [LARGEST_BATCH]}), (told,)


def _horizon(data: DataSettings, targets: Targets, tables: Sequence[HomeTable]) -> int:
    """Return how many steps ahead a silent plan predicts: one, or none of rows of their own."""
    if data.lags or data.step or data.rules:  # these make a series
        return 1
    timeless = bool(tables) and all(table.timeless for table in tables)
    return 1 if targets == "continuous" and not timeless else 0


def _told(plan: Plan, kind: str, why: str, horizon: Horizon) -> str:
    parts = [why] if why else []
    if plan.data.horizon is None:
        way = "each row is predicted from its own columns" if horizon == 0 else "one step ahead"
        parts.append(f"{way} (data.horizon = {horizon})")
    if not plan.task.kind:
        parts.append(f'task.kind = "{kind}"')
    return f"the plan leaves it to the data: {'; '.join(parts)}"


def _steps(span: Span, step_s: int) -> int:
    return span if isinstance(span, int) else max(step_seconds(span) // step_s, 1)


def _of_other_steps(steps: Counter[int], settings: Mapping[str, Sequence[Span]]) -> Iterator[str]:
    """Yield which settings mean another time in homes whose steps are not the usual one."""
    counted = [name for name, spans in settings.items() if any(isinstance(s, int) for s in spans)]
    if not counted:
        return
    (usual, _), *rest = steps.most_common()
    others = ", ".join(f"{step_text(step_s)} in {homes}" for step_s, homes in rest)
    example = f'data.horizon = "{step_text(usual)}"'
    yield (
        f"homes differ in their steps ({step_text(usual)} in most, {others}): "
        f"{' and '.join(f'data.{name}' for name in counted)} in steps "
        f"{'is' if len(counted) == 1 else 'are'} another time in each; lengths, such as "
        f"{example}, are the same in all, and so are steps with data.step"
    )


def _in_steps(
    plan: Plan, lags: Sequence[Span], gap: Span, horizons: Sequence[Span], step_s: int
) -> Iterator[str]:
    """Yield what lengths of time are in steps, where some are not written as steps already."""
    data = plan.data
    written = [*lags, gap, *horizons]
    if data.lags is not None and data.gap is not None and all(isinstance(s, int) for s in written):
        return
    parts = []
    if lags:
        counts = ", ".join(str(_steps(lag, step_s)) for lag in lags)
        named = ", ".join(map(str, lags))
        parts.append(f"{data.target} is learnt from its own values {named} before ({counts} steps)")
    apart = f"{gap} rows are" if isinstance(gap, int) else f"{gap} is"
    more = ""
    if len(horizons) > 1:
        more = f", and what lies between the horizons {horizons[0]} and {horizons[-1]} besides"
    parts.append(f"{apart} left out between training, validation and test{more}")
    yield f"a step is {step_text(step_s)}: {'; '.join(parts)}"
