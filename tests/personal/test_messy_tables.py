"""What an owner gives a model in memory is read, or refused with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedhome.data.series.scaling import InputScaling
from fedhome.errors import DataError, FedHomeError
from fedhome.learning.fitted import Line
from fedhome.personal.model import PersonalModel
from helpers.random_own_models import FEATURES, Shape, own_model

HOURS, BEGIN = 72, 1_700_006_400
Table = dict[str, list[Any]]


@pytest.fixture
def model() -> PersonalModel:
    """A line through the weather, the hour before and the time of day."""
    drawn = own_model(Shape(), 3)
    kept = [place for place, name in enumerate(FEATURES) if " is " not in name]
    scaling = InputScaling(
        features=tuple(FEATURES[place] for place in kept),
        medians=drawn.scaling.medians[kept],
        middle=drawn.scaling.middle[kept],
        spread=drawn.scaling.spread[kept],
        bounded=True,
    )
    slopes = np.random.default_rng(4).normal(size=(len(kept), 1))
    line = Line(slopes, np.zeros(1), np.array([-9.0, 9.0]), np.empty(0, np.int64), 1)
    data = {"inputs": [{"name": "outdoor", "unit": "°C"}], "lags": [1]}
    plan = drawn.plan.change(data=data)
    return replace(
        drawn, plan=plan, scaling=scaling, experts={"ridge": line}, weights={"ridge": 1.0}
    )


def usual() -> Table:
    draw = np.random.default_rng(2)
    return {
        "time": [np.datetime64(BEGIN + 3600 * hour, "s") for hour in range(HOURS)],
        "load": draw.normal(1, 0.2, HOURS).round(4).tolist(),
        "outdoor": draw.normal(8, 3, HOURS).round(2).tolist(),
    }


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def _shuffled(table: Table) -> Table:
    order = np.random.default_rng(1).permutation(HOURS)
    return {name: [cells[place] for place in order] for name, cells in table.items()}


SAME: dict[str, Callable[[Table], Any]] = {
    "columns in another order": lambda table: dict(reversed(table.items())),
    "rows in another order": _shuffled,
    "a list of rows": rows_of,
    "rows twice": lambda table: {name: [*cells, *cells[-5:]] for name, cells in table.items()},
    "a column that nobody needs": lambda table: {**table, "humidity": [0.4] * HOURS},
    "numbers as text": lambda table: {**table, "load": [str(one) for one in table["load"]]},
    "decimal commas": lambda table: {
        **table,
        "load": [str(one).replace(".", ",") for one in table["load"]],
    },
    "seconds": lambda table: {**table, "time": [BEGIN + 3600 * h for h in range(HOURS)]},
    "units in cells": lambda table: {**table, "load": [f"{one} kWh" for one in table["load"]]},
    "another unit": lambda table: {
        **table,
        "load": [f"{1e3 * one:.1f} Wh" for one in table["load"]],
    },
}


@pytest.mark.parametrize("how", list(SAME))
def test_what_is_written_otherwise_predicts_the_same(model: PersonalModel, how: str) -> None:
    expected = model.predict(usual())
    found = model.predict(SAME[how](usual()))
    assert found.num_rows == expected.num_rows == HOURS
    np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-6)
    assert found["missing"].equals(expected["missing"])


def test_a_sensor_that_says_nothing_is_stood_in_for_by_its_median_and_told(
    model: PersonalModel,
) -> None:
    table = usual()
    median = float(model.scaling.medians[model.scaling.features.index("outdoor")])
    expected = model.predict({**table, "outdoor": [median] * HOURS})
    with pytest.warns(UserWarning, match="readings of .*nothing was read in outdoor"):
        found = model.predict({**table, "outdoor": [None] * HOURS})
    np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-6)
    assert all(
        one == other + 1
        for one, other in zip(
            found["missing"].to_pylist(), expected["missing"].to_pylist(), strict=True
        )
    )


def test_what_was_done_to_readings_is_told_where_they_are_predicted_from(
    model: PersonalModel,
) -> None:
    table = usual()
    table["time"] = [str(one) for one in table["time"]]
    table["time"][5] = "later"
    watts = {**table, "load": [f"{1e3 * one:.1f} Wh" for one in table["load"]]}
    with pytest.warns(UserWarning, match=r"readings of ") as told:
        model.predict({**watts, "humidity": [0.4] * HOURS})
    notes = [str(one.message) for one in told]
    assert any("converted from Wh to kWh" in note for note in notes)
    assert any("its row was left out" in note for note in notes)
    assert any("humidity" in note for note in notes)
    assert {one.filename for one in told} == {__file__}, "they show the line that predicts"


REFUSED: dict[str, tuple[Callable[[Table], Any], str, str]] = {
    "a column is not there": (
        lambda table: {name: table[name] for name in ("time", "load")},
        "lacks the column outdoor",
        "call them as the plan does",
    ),
    "the target is not there": (
        lambda table: {name: table[name] for name in ("time", "outdoor")},
        "lacks the column load",
        "call them as the plan does",
    ),
    "nothing is in the target": (
        lambda table: {**table, "load": [None] * HOURS},
        "hold nothing in load",
        "go back to when",
    ),
    "no times": (
        lambda table: {name: table[name] for name in ("load", "outdoor")},
        "has rows without times",
        "",
    ),
    "one row": (
        lambda table: {name: cells[:1] for name, cells in table.items()},
        "too few for a series",
        "give more",
    ),
    "a name that is a number": (
        lambda table: {**table, 1: [0.4] * HOURS},
        "named by no text",
        "rows",
    ),
    "columns of other lengths": (
        lambda table: {**table, "load": [1.0]},
        "is no table",
        "all of one length",
    ),
    "numbers alone": (lambda table: np.array(table["load"]), "is no table", "rows by name"),
    "nothing": (lambda _table: None, "is no table", "rows by name"),
}


@pytest.mark.parametrize("how", list(REFUSED))
def test_what_cannot_be_read_is_refused_with_what_to_do(model: PersonalModel, how: str) -> None:
    change, what, hint = REFUSED[how]
    with pytest.raises(FedHomeError, match=what) as refused:
        model.predict(change(usual()))
    assert hint in str(refused.value.hint)
    assert "client join" not in str(refused.value.hint), "who has a table in memory joins nothing"


def test_a_cell_that_cannot_be_read_is_not_shown(model: PersonalModel) -> None:
    table = usual()
    table["load"][7] = "secret words"
    with pytest.raises(DataError) as refused:
        model.predict(table)
    assert "secret words" not in f"{refused.value} {refused.value.hint}"
    assert "is no table" in str(refused.value)
