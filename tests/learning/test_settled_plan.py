"""Kind of task, classes, horizon and lags: from the data where the plan is silent, and told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.data.input_schema import schema_of
from fedhome.data.inputs import matched
from fedhome.data.series.examples import HomeExamples
from fedhome.data.series.spans import spans_of, usual_lags
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, InputsError, PlanError
from fedhome.learning.settled_plan import settled, with_batches
from fedhome.learning.tasks import task_of
from fedhome.plan.settings import Plan

START = 1_700_000_000 // 86_400 * 86_400


def table(
    values: list[float] | NDArray[np.float64],
    *,
    step: int = 3600,
    home: str = "oak",
    words: tuple[str, ...] = (),
) -> HomeTable:
    rows = len(values)
    return HomeTable(
        home=home,
        time_s=START + step * np.arange(rows) if step else np.arange(rows),
        columns={"y": np.asarray(values, np.float64), "x": np.arange(float(rows))},
        labels={"y": words} if words else {},
    )


def plan(**sections: Any) -> Plan:
    data = sections.pop("data", {})
    return Plan.load(data={"target": "y", **data}, **sections)


def test_numbers_that_have_times_are_predicted_a_step_ahead() -> None:
    found = settled(plan(), [table(np.sin(np.arange(200)))])
    assert found.targets == "continuous"
    data = found.plan.data
    assert (found.plan.task.kind, data.horizon) == ("regression", 1)
    assert data.lags == ("1h", "2h", "3h", "23h", "1d", "25h")
    assert data.gap == "1d"
    told, steps = found.notes
    assert told == (
        "the plan leaves it to the data: y holds numbers; one step ahead (data.horizon = 1); "
        'task.kind = "regression"'
    )
    assert steps == (
        "a step is 1h: y is learnt from its own values 1h, 2h, 3h, 23h, 1d, 25h before (1, 2, 3, "
        "23, 24, 25 steps); 1d is left out between training, validation and test"
    )
    assert settled(found.plan, [table([1.0] * 9)]) == replace(found, notes=found.notes[1:])


def test_steps_that_are_another_time_in_some_homes_are_told() -> None:
    homes = [table(np.sin(np.arange(200)), step=step) for step in (3600, 3600, 900)]
    told = settled(plan(), homes).notes[-1]
    assert told == (
        "homes differ in their steps (1h in most, 15min in 1): data.horizon in steps is another "
        'time in each; lengths, such as data.horizon = "1h", are the same in all, and so are steps '
        "with data.step"
    )
    assert (
        "data.lags and data.horizon in steps are"
        in settled(plan(data={"lags": [1]}), homes).notes[-1]
    )
    for one in ({"horizon": "1h"}, {"step": "1h"}):
        assert "differ" not in " ".join(settled(plan(data=one), homes).notes)


def test_words_are_classes_of_rows_of_their_own() -> None:
    found = settled(plan(), [table([0, 1, 2], words=("cook", "eat", "sleep"))])
    assert (found.plan.task.kind, found.targets) == ("multi-class", "multi-class")
    assert (found.plan.data.horizon, found.plan.data.lags) == (0, ())
    (note,) = found.notes
    assert note == (
        "the plan leaves it to the data: 3 classes of column y: cook, eat, sleep; each row is "
        'predicted from its own columns (data.horizon = 0); task.kind = "multi-class"'
    )
    two = settled(plan(), [table([0, 0], words=("off",)), table([0, 0], words=("on",))])
    assert two.plan.task.kind == "binary"
    many = tuple(f"w{number:02}" for number in range(15))
    assert "15 classes of column y: w00, " in settled(plan(), [table([0] * 3, words=many)]).notes[0]
    assert "w11, … (3 more)" in settled(plan(), [table([0] * 3, words=many)]).notes[0]


@pytest.mark.parametrize(
    ("values", "step", "changes", "kind", "horizon"),
    [
        ([0, 1, 1, 0], 3600, {}, "binary", 0),
        ([3, 7, 9, 3], 0, {}, "multi-class", 0),
        ([3, 7, 9, 3], 3600, {}, "regression", 1),
        ([3, 7, 9, 3], 3600, {"horizon": 0}, "multi-class", 0),
        ([0.5, 7, 9, 3], 0, {}, "regression", 0),
        (list(range(30)), 0, {}, "regression", 0),
        ([0, 1, 1, 0], 3600, {"lags": [1]}, "binary", 1),
        ([0, 1, 1, 0], 3600, {"step": "1h"}, "binary", 1),
    ],
)
def test_what_values_and_times_tell(
    values: list[float], step: int, changes: dict[str, Any], kind: str, horizon: int
) -> None:
    found = settled(plan(data=changes), [table(values, step=step)]).plan
    assert (found.task.kind, found.data.horizon) == (kind, horizon)


def test_a_few_whole_numbers_in_time_are_amounts_unless_the_plan_says_more() -> None:
    (note, *_) = settled(plan(), [table([3, 7, 9, 3])]).notes
    assert "y holds numbers, if only 3, 7, 9: they are taken for amounts, with task.kind = " in note


def test_what_the_plan_says_stays() -> None:
    said = plan(task={"kind": "regression"}, data={"horizon": 3, "lags": [3, 4], "gap": 7})
    found = settled(said, [table([0, 1] * 20, words=("a", "b"))])
    assert (found.plan, found.notes) == (said, ())


def test_what_the_data_tell_must_fit_the_plan() -> None:
    words = ("a", "b", "c")
    home = table([0, 1, 2], words=words)
    found = settled(plan(task={"score": "accuracy"}), [home]).plan
    assert task_of(found, words).score == "accuracy"
    odd = settled(plan(task={"score": "r2"}), [home]).plan
    with pytest.raises(PlanError, match="'r2' is none of accuracy"):
        task_of(odd, words)


def test_numbers_of_any_values_are_classes() -> None:
    homes = [table([3, 7, np.nan, 3]), table([9, 9, 3, 3], home="elm")]
    asked = plan(task={"kind": "multi-class"}, data={"horizon": 0})
    schema = schema_of(asked, "multi-class", homes)
    assert schema.target.words == ("3", "7", "9")
    own = [matched(home, schema, "multi-class").table.columns["y"].tolist() for home in homes]
    np.testing.assert_array_equal(own, [[0, 1, np.nan, 0], [2, 2, 0, 0]])
    two = schema_of(asked, "binary", [table([1, 2, 2])])
    assert two.target.words == ("1", "2")
    assert schema_of(asked, "binary", [table([0, 1])]).target.words == ()
    with pytest.raises(DataError, match="holds 3 different numbers: a binary task takes 2"):
        schema_of(asked, "binary", homes)
    with pytest.raises(InputsError, match="lacks 1 of the numbers of its target 'y', which 2 of 3"):
        matched(table([3, 4, 4]), schema, "multi-class")


def test_the_usual_lags_are_lengths_of_time() -> None:
    assert usual_lags(3600, week=True)[-1] == "7d"
    assert usual_lags(900) == ("15min", "30min", "45min", "1425min", "1d", "1455min")
    assert usual_lags(86_400) == ("1d", "2d", "3d")
    assert usual_lags(86_400, week=True) == ("1d", "2d", "3d", "7d")
    assert usual_lags(3600, horizon=24) == ("1d", "25h", "26h")
    assert usual_lags(3600, horizon=30) == ("30h", "31h", "32h", "47h", "2d", "49h")


def test_a_week_is_looked_back_where_the_history_is_long() -> None:
    hourly = [table(np.sin(np.arange(24 * days))) for days in (60, 60, 3)]
    assert settled(plan(), hourly).plan.data.lags == (*usual_lags(3600), "7d")
    for short in (settled(plan(data={"history_days": 5}), hourly), settled(plan(), hourly, days=5)):
        assert short.plan.data.lags == usual_lags(3600)
    assert settled(plan(), hourly[2:]).plan.data.lags == usual_lags(3600)


def test_lengths_are_steps_of_each_home() -> None:
    data = plan(data={"lags": [2, "1h", "1d"], "gap": "1d", "horizon": "30min"}).data
    spans = spans_of(data, home="oak", step_s=900)
    assert (spans.horizon, spans.gap) == (2, 96)
    assert spans.lags == (("2", 2), ("1h", 4), ("1d", 96))
    with pytest.raises(DataError, match=r"data\.horizon 30min is no whole number of") as short:
        spans_of(data, home="oak", step_s=3600)
    assert short.value.hint == "put all homes on its steps: --set data.step=1h"
    with pytest.raises(DataError, match=r"data\.horizon 30min is no whole number of") as between:
        spans_of(data, home="oak", step_s=1200)
    assert "divides 30min: --set data.step=30min" in between.value.hint
    early = plan(data={"lags": [1, "1h"], "horizon": "30min"}).data
    with pytest.raises(DataError, match=r"data\.lags 1 lie after the moment of prediction"):
        spans_of(early, home="oak", step_s=900)
    with pytest.raises(DataError, match="its rows have no times, so that 1d says nothing"):
        spans_of(plan(data={"horizon": 0, "gap": "1d"}).data, home="oak", step_s=None)
    assert spans_of(plan(data={"horizon": 0, "gap": "1d"}).data, home="oak", step_s=7000).gap == 13


def _of_rows(*counts: int) -> list[HomeExamples]:
    return [
        HomeExamples(
            home=f"home-{place}",
            x=np.zeros((rows + 2, 1), np.float32),
            y=np.zeros((rows + 2, 1), np.float32),
            naive=np.zeros(rows + 2, np.float32),
            counts=(rows, 1, 1),
        )
        for place, rows in enumerate(counts)
    ]


@pytest.mark.parametrize(
    ("rows", "size"),
    [((20, 24, 4000), 4), ((78,), 4), ((160, 10, 176), 10), ((400, 500), 28), ((9000, 8000), 32)],
)
def test_a_batch_is_a_sixteenth_of_what_the_usual_home_has(
    rows: tuple[int, ...], size: int
) -> None:
    found, told = with_batches(plan(), _of_rows(*rows))
    assert found.train.batch_size == found.train.batch_rows == size
    assert bool(told) == (size != 32)
    assert all(
        f"a training step takes {size} of them, one of networks alone 32" in it for it in told
    )
    assert with_batches(found, _of_rows(9000)) == (found, ())
    # Networks alone are not made weaker.
    assert found.personalise.local_batches == (() if size == 32 else (32,))
    nobody, said_of = with_batches(plan(personalise={"name": "none"}), _of_rows(*rows))
    assert nobody.personalise.local_batches == found.personalise.local_batches
    assert not any("networks alone" in it for it in said_of)
    said = plan(personalise={"local_batches": [16]})
    found, told = with_batches(said, _of_rows(*rows))
    assert found.personalise.local_batches == (16,)
    assert not any("networks alone" in it for it in told)


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"batch_size": 32}},
        {"train": {"steps": 5}},
        {"model": {"name": "mine.py:Net"}},
        {"privacy": {"mechanism": "discrete-gaussian", "noise_multiplier": 1.0}},
    ],
)
def test_a_plan_that_says_its_steps_or_adds_noise_keeps_the_largest_batch(
    sections: dict[str, Any],
) -> None:
    said = plan(**sections)
    assert with_batches(said, _of_rows(20)) == (said, ())
    assert said.train.batch_rows == 32


def test_where_no_rows_are_known_the_largest_batch_stays() -> None:
    assert with_batches(plan(), []) == (plan(), ())
    assert plan().train.batch_rows == 32
