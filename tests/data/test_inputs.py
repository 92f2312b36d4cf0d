"""Inputs by name: order, words, units and kinds of a home's columns change nothing, or are told."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.data.columns.units import conversion
from fedhome.data.input_schema import InputSchema, schema_of
from fedhome.data.inputs import matched
from fedhome.data.table import HomeTable
from fedhome.errors import InputsError, PlanError
from fedhome.learning.tasks import TASKS
from fedhome.plan.input_settings import InputSpec
from fedhome.plan.learnt_changes import CLASSES
from fedhome.plan.settings import Plan
from fedhome.questions.settings import inputs_hash
from helpers.examples import share_of

NAN = float("nan")
WORDS = ("auto", "cool", "off")


def table(**columns: list[float]) -> HomeTable:
    rows = len(next(iter(columns.values())))
    return HomeTable(
        home="oak",
        time_s=3600 * np.arange(1, rows + 1),
        columns={name: np.array(values, np.float64) for name, values in columns.items()},
    )


def schema(*inputs: InputSpec, unit: str = "", **changed: Any) -> InputSchema:
    target = InputSpec(name="load", unit=unit)
    return replace(InputSchema(inputs=inputs, target=target, timed=True), **changed)


TEMP, HUMIDITY = InputSpec(name="temp", unit="°C"), InputSpec(name="humidity")
MODE = InputSpec(name="mode", kind="words", words=WORDS)


@settings(max_examples=share_of(40))
@given(st.permutations(["load", "temp", "humidity", "garage"]))
def test_the_order_of_a_files_columns_is_none_of_the_inputs(order: list[str]) -> None:
    own = {name: [float(ord(name[0])), 2.0, NAN] for name in order}
    found = matched(table(**own), schema(TEMP, HUMIDITY), "continuous")
    assert list(found.table.columns) == ["temp", "humidity", "load"]
    for name, values in found.table.columns.items():
        np.testing.assert_array_equal(values, own[name])
    assert [match.missing for match in found.matches] == [1, 1, 1]
    assert "not used, as not in all homes or not in the plan: garage" in found.notes


def test_words_have_the_plans_numbers_and_others_are_no_reading() -> None:
    home = replace(
        table(load=[1, 2, 3, 4, 5], mode=[0, 1, 2, NAN, 2]),
        labels={"mode": ("cool", "heat at night", "off")},
    )
    found = matched(home, schema(MODE), "continuous")
    np.testing.assert_array_equal(found.table.columns["mode"], [1, NAN, 2, NAN, 2])
    assert found.table.labels == {"mode": WORDS}
    (note,) = found.notes
    assert note == (
        "1 of the words of mode are none of the plan's: in 1 of 5 rows it holds none of them"
    )
    assert found.matches[0].missing == 2
    again = matched(found.table, schema(MODE), "continuous")
    assert again.notes == ()
    assert again.table.columns["mode"] is found.table.columns["mode"]


def test_all_that_a_home_lacks_is_told_at_once_with_what_may_be_meant() -> None:
    home = table(Temp=[1, 2], mode=[0, 1], load=[1, 2])
    asked = schema(TEMP, HUMIDITY, MODE)
    with pytest.raises(InputsError) as refused:
        matched(home, asked, "continuous")
    assert refused.value.message == (
        "home 'oak' lacks the columns temp (it has 'Temp'), humidity; has numbers in its mode, "
        "and the plan words"
    )
    assert "rename=" in refused.value.hint
    assert "its columns are: Temp, mode, load" in refused.value.hint


@pytest.mark.parametrize(
    ("column", "labels", "spec", "told"),
    [
        ([0, 1], ("high", "low"), InputSpec(name="x"), "has words in its x, and the plan numbers"),
        ([0, 1], None, InputSpec(name="x", kind="words", words=WORDS), "and the plan words"),
        ([0, 2], None, InputSpec(name="x", kind="flag"), "other numbers than 0 and 1 in its x"),
        ([1, NAN], None, InputSpec(name="x", kind="flag"), ""),
    ],
)
def test_a_column_of_another_kind(
    column: list[float], labels: tuple[str, ...] | None, spec: InputSpec, told: str
) -> None:
    home = table(x=column, load=[1, 2])
    home = replace(home, labels={"x": labels} if labels else {})
    if not told:
        assert matched(home, schema(spec), "continuous").notes == ()
        return
    with pytest.raises(InputsError, match=told) as refused:
        matched(home, schema(spec), "continuous")
    assert "high" not in str(refused.value), "what cells hold is nobody's business"


def test_a_regression_takes_no_words_for_its_target() -> None:
    home = replace(table(load=[0, 1]), labels={"load": ("0,474", "0,515")})
    with pytest.raises(InputsError, match="has words in its target load") as refused:
        matched(home, schema(), "continuous")
    assert "0,474" not in str(refused.value)


def test_rows_without_times_have_no_hour_of_the_day() -> None:
    home = replace(table(load=[1, 2]), time_s=np.arange(2))
    with pytest.raises(InputsError, match="has rows without times"):
        matched(home, schema(), "continuous")
    assert matched(home, schema(timed=False), "continuous").table.rows == 2


@pytest.mark.parametrize(
    ("own", "asked", "expected", "note"),
    [
        ("°F", "°C", [0, 100], "temp was converted from °F to °C"),
        ("", "°C", [32, 212], "no unit of temp is known here: it is taken to be in °C"),
        ("°F", "", [32, 212], "temp is in °F here, and the plan names no unit of it"),
        ("°C", "°C", [32, 212], None),
    ],
)
def test_units(own: str, asked: str, expected: list[float], note: str | None) -> None:
    home = replace(table(temp=[32, 212], load=[1, 2]), units={"temp": own} if own else {})
    found = matched(home, schema(InputSpec(name="temp", unit=asked)), "continuous")
    np.testing.assert_allclose(found.table.columns["temp"], expected, atol=1e-12)
    assert found.notes == (() if note is None else (note,))
    assert found.matches[0].unit == own


def test_a_name_that_tells_its_unit_is_no_news_to_a_plan_without_one() -> None:
    home = replace(table(load_kwh=[1, 2], load=[1, 2]), units={"load_kwh": "kWh"})
    asked = schema(InputSpec(name="load_kwh"))
    assert matched(home, asked, "continuous").notes == ()
    other = replace(home, units={"load_kwh": "Wh"})
    assert len(matched(other, asked, "continuous").notes) == 1


def test_units_that_are_no_measures_of_the_same() -> None:
    home = replace(table(temp=[1, 2], load=[1, 2]), units={"temp": "kWh", "load": "W"})
    with pytest.raises(InputsError) as refused:
        matched(home, schema(TEMP, unit="kWh"), "continuous")
    assert "has its temp in kWh, and the plan has it in °C" in refused.value.message
    assert "has its load in W, and the plan has it in kWh" in refused.value.message
    assert conversion("bananas", "kWh") is None


def test_a_fleets_inputs_are_what_its_homes_share() -> None:
    one = replace(
        table(load=[1, 2], temp=[1, 2], mode=[0, 1], door=[0, 1], roof=[1, 1]),
        labels={"mode": ("cool", "off")},
        units={"temp": "K", "load": "Wh"},
        flags=frozenset({"door"}),
    )
    other = replace(
        table(door=[1, 0], mode=[0, 0], temp=[3, 4], load=[1, 2]),
        labels={"mode": ("auto",)},
        units={"temp": "°C", "load": "Wh"},
        flags=frozenset({"door"}),
    )
    third = replace(other, units={"temp": "°C"})
    plan = Plan.load(data={"target": "load"})
    found = schema_of(plan, "continuous", [one, other, third])
    assert found.inputs == (TEMP, MODE, InputSpec(name="door", kind="flag"))
    assert found.target == InputSpec(name="load", unit="Wh")
    named = found.named_in(plan)
    assert schema_of(named, "continuous") == found
    text = named.to_toml()
    assert Plan.parse(tomllib.loads(text)) == named
    assert 'name = "temp"\nkind = "number"\nunit = "°C"\n\n[[data.inputs]]\n' in text
    with pytest.raises(PlanError, match=r"data\.inputs is not set") as refused:
        schema_of(plan, "continuous")
    assert "--like FILE" in refused.value.hint


def test_classes_are_those_of_all_homes() -> None:
    one = replace(table(load=[0, 1]), labels={"load": ("cook", "sleep")})
    other = replace(table(load=[0, 1]), labels={"load": ("away", "cook")})
    plan = Plan.load(data={"target": "load", "horizon": 0, "lags": []}, task={"kind": "binary"})
    found = schema_of(plan.change(task={"kind": "multi-class"}), "multi-class", [one, other])
    assert found.target.words == ("away", "cook", "sleep")
    tables = [matched(home, found, "multi-class").table for home in (one, other)]
    assert [home.columns["load"].tolist() for home in tables] == [[1, 2], [0, 1]]
    numbers = matched(table(load=[0, 2]), found, "multi-class")
    assert numbers.notes == (
        "load holds numbers: they are taken for places in task.classes, from 0",
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"inputs": [{"name": "a"}, {"name": "a"}]}, "data.inputs names 'a' twice"),
        ({"inputs": [{"name": "a", "kind": "words"}]}, "'a' lists no words"),
        ({"inputs": [{"name": "a", "words": ["x"]}]}, "'a' lists words of a number"),
        (
            {"inputs": [{"name": "a", "kind": "words", "words": ["x", "x"]}]},
            "'a' lists 1 of its words twice",
        ),
        ({"inputs": [{"name": "a", "kind": "flag", "unit": "W"}]}, "'a' has a unit, but is no"),
        (
            {"inputs": [{"name": "a"}, {"name": "b"}], "features": ["b", "a"]},
            "data.features and data.inputs name other columns",
        ),
        (
            {"inputs": [{"name": "load_kwh"}], "horizon": 0, "lags": []},
            "data.inputs holds the target 'load_kwh'",
        ),
        ({"inputs": [{"name": ""}]}, "data.inputs.0.name"),
    ],
)
def test_inputs_that_do_not_fit_together(data: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError) as refused:
        Plan.load(data=data)
    assert told in refused.value.message


def test_all_that_gives_inputs_their_meaning_is_in_their_hash() -> None:
    inputs = [{"name": "a", "unit": "W"}, {"name": "b", "kind": "words", "words": ["x", "y"]}]
    plan = Plan.load(data={"inputs": inputs})
    own = inputs_hash(plan)
    for data in (
        {"inputs": inputs[::-1]},
        {"inputs": [{"name": "a", "unit": "kW"}, inputs[1]]},
        {"inputs": [inputs[0], {**inputs[1], "words": ["y", "x"]}]},
        {"target": "other"},
        {"target_unit": "kWh"},
        {"lags": [1]},
        {"horizon": 1, "lags": [2, 3]},
        {"calendar": False},
        {"scale": "none"},
        {"step": "1h"},
        {"rules": {"a": "sum"}},
        {"learns": "level"},
    ):
        assert inputs_hash(plan.change(data=data)) != own, data
    assert inputs_hash(plan.change(task={"classes": ["x", "y"]})) != own
    for section, change in (
        ("rounds", {"count": 3}),
        ("data", {"source": "somewhere", "homes": 7, "decimal": ","}),
        ("train", {"epochs": 1}),
    ):
        assert inputs_hash(plan.change(**{section: change})) == own, section


def test_of_levels_and_classes_the_hash_is_that_of_plans_before_there_were_changes() -> None:
    plan = Plan.load(data={"learns": "level", "lags": [1, 2]}, task={"kind": "regression"})
    said = {
        "inputs": None,
        "features": [],
        "target": "load_kwh",
        "target_unit": "",
        "lags": [1, 2],
        "horizon": None,
        "calendar": True,
        "step": "",
        "rules": {},
        "missing": "impute",
        "indicators": None,
        "scale": "home",
        "kind": "regression",
        "classes": [],
    }
    text = json.dumps(said, sort_keys=True).encode()
    assert inputs_hash(plan) == hashlib.sha256(b"fedhome/inputs/1\0" + text).hexdigest()
    assert inputs_hash(plan.change(data={"learns": "change"})) != inputs_hash(plan)
    for kind in CLASSES:
        classes = plan.change(task={"kind": kind})
        assert TASKS[kind].targets != "continuous"
        assert inputs_hash(classes.change(data={"learns": "change"})) == inputs_hash(classes)
    assert {kind for kind, one in TASKS.items() if one.targets != "continuous"} == CLASSES
