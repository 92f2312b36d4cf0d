"""Inputs of a plan that a home has columns of, with nothing in them: a sensor that is silent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from fedhome.data.input_schema import InputSchema
from fedhome.data.table import HomeTable


def with_silent_inputs(
    table: HomeTable, schema: InputSchema, empty: Collection[str]
) -> tuple[HomeTable, tuple[str, ...]]:
    """Return a table with those inputs of a plan that hold nothing, for a model that is fitted.

    Args:
        table: The home's readings, without its columns that hold nothing.
        schema: The plan's inputs.
        empty: Names of these columns.

    Returns:
        The table; and what stands in for them, in a plain sentence, where there are some.
    """
    lacking = [
        spec
        for spec in schema.inputs
        if spec.name in empty and spec.name not in (*table.columns, schema.target.name)
    ]
    if not lacking:
        return table, ()
    nothing = {spec.name: np.full(table.rows, np.nan) for spec in lacking}
    words = {spec.name: spec.words for spec in lacking if spec.kind == "words"}
    units = {spec.name: spec.unit for spec in lacking if spec.unit}
    whole = replace(
        table,
        columns={**table.columns, **nothing},
        labels={**table.labels, **words},
        units={**table.units, **units},
    )
    told = (
        f"nothing was read in {', '.join(nothing)}: the median of the rows that the model was "
        "fitted to stands in for numbers, and none of the plan's words for words"
    )
    return whole, (told,)
