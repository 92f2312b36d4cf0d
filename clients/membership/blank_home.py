"""What a plan makes of a home that has no readings yet: how many inputs, and numbers of an update.

Its people agree to these before there is a reading. Counted is a table that has every column of the
plan's, with numbers of which nothing else is used.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fedhome.clients.membership.plan_findings import JoinFindings, numbers_carried
from fedhome.clients.own_readings import OwnReadings
from fedhome.data.home_files import HomeFilesRead
from fedhome.data.input_schema import InputSchema, schema_of
from fedhome.data.inputs import matched
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, PlanError
from fedhome.learning.tasks import kind_of
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S, step_seconds

_WITHOUT: Final = (
    "the home has no readings yet: it adds nothing to what is learnt until `fedhome client record` "
    "has brought some, of {}"
)
_BEGIN: Final = 1_700_006_400
_HOUR_S: Final = 3600
_ROWS: Final = (200, 2_000, 20_000)
"""As few as the plan's lags, and its fewest training rows, allow."""


def blank_findings(plan: Plan, *, home: str, tier: str = "") -> JoinFindings:
    """Return what a plan finds where there is no reading yet.

    Args:
        plan: The plan.
        home: The home's name.
        tier: Name of the home's tier, where the plan's devices carry slices of the model.

    Raises:
        PlanError: How many inputs its model has is left to readings.
        DataError: No home could take part in it.
    """
    from fedhome.clients.home import home_of  # noqa: PLC0415

    targets = kind_of(plan.task.kind).targets
    schema = schema_of(plan, targets)
    _check_settled(plan)
    needed = dict.fromkeys((schema.target.name, *schema.columns))
    for rows in _ROWS:
        table = _table(schema, home, rows, plan)
        own = matched(table, schema, targets)
        try:
            readings = OwnReadings(read=HomeFilesRead(table=table), matched=own)
            device = home_of(plan, readings, tier=tier).device
        except DataError:
            if rows == _ROWS[-1]:
                raise
        else:
            break
    return JoinFindings(
        rows=0,
        begin=None,
        end=None,
        columns=(),
        inputs=device.examples.x.shape[1],
        examples=(0, 0, 0),
        parameters=numbers_carried(device),
        of_model=device.fleets_layout.size,
        matches=(),
        sources={},
        report=None,
        notes=(_WITHOUT.format(", ".join(needed)),),
    )


def _check_settled(plan: Plan) -> None:
    if plan.data.lags is None and plan.data.horizon != 0:
        raise PlanError(
            ["data.lags is not set: it would follow from readings, of which there are none yet"],
            hint="join with readings (--data); or ask the fleet's owner: `fedhome fleet invite "
            "HOME --again --like FILE`",
        )


def _table(schema: InputSchema, home: str, rows: int, plan: Plan) -> HomeTable:
    """Return a table with the plan's columns."""
    step_s = step_seconds(plan.data.step) if plan.data.step else _HOUR_S
    if step_s > DAY_S:
        rows = min(rows, _ROWS[1])
    number = np.arange(rows, dtype=np.float64)
    specs = (*schema.inputs, schema.target)
    values = {"number": 7, "flag": 2}
    columns = {spec.name: number % values.get(spec.kind, len(spec.words)) for spec in specs}
    return HomeTable(
        home=home,
        time_s=_BEGIN + step_s * np.arange(rows),
        columns=columns,
        labels={spec.name: spec.words for spec in specs if spec.words},
        units={spec.name: spec.unit for spec in specs if spec.unit},
        flags=frozenset(spec.name for spec in specs if spec.kind == "flag"),
    )
