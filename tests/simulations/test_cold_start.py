"""Homes that join after the rounds: what they get, and that they decide nothing before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import fedhome
from fedhome.data.series.splits import AsNew
from fedhome.errors import DataError, PlanError, RunError
from fedhome.learning.mixture import STRENGTHS, best_weights
from fedhome.learning.personalise.experts import Adaptation
from fedhome.passed_objects import given
from fedhome.plan.settings import Plan
from fedhome.run.cold_start_table import (
    best_alone,
    cold_start_points,
    cold_start_table,
)
from fedhome.run.summary import print_summary
from fedhome.simulations import rehearsals
from fedhome.simulations.fleet_offer import FleetOffer
from fedhome.simulations.gather import find_in, read_source
from fedhome.simulations.newcomers import Newcomers, rehearsing, set_apart, with_days
from fedhome.simulations.objects import Objects
from helpers import tiny

HOMES, DAYS = 8, 16


def tables(spoilt: tuple[str, ...] = ()) -> list[fedhome.HomeTable]:
    """Return homes with a day's rhythm; those that are spoilt read anything."""
    found = []
    for number in range(HOMES):
        generator = np.random.default_rng(number)
        hours = np.arange(24 * DAYS)
        load = 2 + np.sin(hours / 24 * 2 * np.pi + number) + generator.normal(0, 0.2, len(hours))
        name = f"home-{number}"
        load = generator.normal(0, 9, len(hours)) if name in spoilt else load
        found.append(
            fedhome.HomeTable(
                home=name,
                time_s=1_700_006_400 + hours * 3600,
                columns={"load": load},
            )
        )
    return found


def plan(**changes: Any) -> Plan:
    own: dict[str, Any] = {
        "evaluation": {"unseen": 0.25, "days": [1, 3, 40]},
        "personalise": {"opponents": ["seasonal", "linear", "local"], "experts": EXPERTS},
        "data": {"lags": [1, 2, 24], "gap": "1h"},
    }
    return Plan.load(**tiny.SETTINGS).change(**own).change(**changes)


EXPERTS = ["tuned", "global", "naive", "linear"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> fedhome.Result:
    return fedhome.simulate(plan(), homes=tables(), out=tmp_path_factory.mktemp("run") / "one")


def unseen_of(result: fedhome.Result) -> set[str]:
    assert result.cold_start is not None
    return set(result.cold_start["home"].to_pylist())


@pytest.mark.long
def test_a_quarter_of_the_homes_joins_after_the_rounds(result: fedhome.Result) -> None:
    unseen, seen = unseen_of(result), set(result.homes["home"].to_pylist())
    assert len(unseen) == 2
    assert not unseen & seen
    assert len(seen) == 6
    assert result.cold_start is not None
    rows = result.cold_start.to_pylist()
    assert {row["days"] for row in rows} == {1.0, 3.0}
    assert {row["model"] for row in rows} >= {"personalised", "global", "linear", "seasonal"}
    day = next(row for row in rows if row["days"] == 1)
    assert day["examples_train"] + day["examples_validation"] <= 24
    assert {row["expert"] for row in rows} <= set(EXPERTS)
    notes = [str(e.data["text"]) for e in result.folder.read_events() if e.event == "note"]
    (told,) = [note for note in notes if "at 40 days," in note]
    assert "2 of 2 new homes were left out: fewer days before the test rows" in told


@pytest.mark.long
def test_what_new_homes_hold_decides_nothing(result: fedhome.Result, tmp_path: Path) -> None:
    spoilt = tuple(unseen_of(result))
    other = fedhome.simulate(plan(), homes=tables(spoilt), out=tmp_path / "other")
    assert other.folder.model_path.read_bytes() == result.folder.model_path.read_bytes()
    assert other.homes.equals(result.homes)

    def chosen(run: fedhome.Result) -> dict[str, object]:
        events = {event.event: dict(event.data) for event in run.folder.read_events()}
        return events["personalisation-chosen"]

    assert chosen(other) == chosen(result)
    # Control: the same readings of a home that takes part do change the model.
    seen = sorted(set(result.homes["home"].to_pylist()))[:1]
    third = fedhome.simulate(plan(), homes=tables(tuple(seen)), out=tmp_path / "third")
    assert third.folder.model_path.read_bytes() != result.folder.model_path.read_bytes()


@pytest.mark.long
def test_where_all_homes_are_new_each_gets_the_forecast_without_learning(tmp_path: Path) -> None:
    alone = plan(evaluation={"unseen": 1.0, "days": [3]})
    result = fedhome.simulate(alone, homes=tables(), out=tmp_path / "all")
    assert result.cold_start is not None
    by_model: dict[str, list[float]] = {}
    for row in result.cold_start.to_pylist():
        by_model.setdefault(row["model"], []).append(row["score"])
    assert by_model["personalised"] == by_model["seasonal"]
    assert not {"global", "tuned", "settings"} & set(by_model)
    assert not result.folder.model_path.exists()
    notes = [str(e.data["text"]) for e in result.folder.read_events() if e.event == "note"]
    assert any("all homes are new" in note and "without learning" in note for note in notes)


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_model_that_trains_home_after_home_tries_new_homes_alike(
    result: fedhome.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsals, "against_vectors", lambda _: "a test says so")
    other = fedhome.simulate(plan(), homes=tables(), out=tmp_path / "single")
    assert other.cold_start is not None
    assert result.cold_start is not None
    for name in ("home", "days", "model", "expert"):
        assert sorted(other.cold_start[name].to_pylist()) == sorted(
            result.cold_start[name].to_pylist()
        )
    ones, others = (
        {(row["home"], row["days"], row["model"]): row["score"] for row in run.to_pylist()}
        for run in (result.cold_start, other.cold_start)
    )
    assert others == pytest.approx(ones, abs=1e-4)


def test_no_row_of_a_new_home_and_no_test_row_is_rehearsed_with() -> None:
    with homes_of(plan()) as newcomers:
        unseen = {table.home for table in newcomers.tables}
        assert not unseen & {table.home for table in newcomers.found.tables}
        own, _ = rehearsing(newcomers, [0, 1], AsNew(1))
        whole = newcomers.found.gathered.homes[0]
        assert own[0].times()[-1] == whole.times()[whole.rows("validation")][-1]
        assert own[0].counts[2] == whole.counts[1]
        given, lacking = with_days(newcomers, 1)
        assert len(given) == 2
        assert not lacking
        assert with_days(newcomers, 40).homes == []


@contextmanager
def homes_of(plan: Plan, rows: list[fedhome.HomeTable] | None = None) -> Iterator[Newcomers]:
    """Set some homes of a plan apart."""
    source = rows or tables()
    objects = Objects(model=None, method=None, strategy=None, personaliser=None, source=source)
    with given(objects.at_hand):
        laid = objects.laid_over(plan)
        read, unseen = set_apart(read_source(laid), laid)
        yield Newcomers(tables=unseen, found=find_in(read, laid))


def test_of_rows_without_times_a_day_is_24_rows_and_a_home_needs_as_many() -> None:
    rows = [
        fedhome.HomeTable(
            home=table.home,
            time_s=np.arange(DAYS * 24),
            columns={"x": table.columns["load"], "load": table.columns["load"] ** 2},
        )
        for table in tables()
    ]
    changed = plan(data={"lags": [], "horizon": 0, "gap": 0}, task={"kind": "regression"})
    with homes_of(changed, rows) as newcomers:
        assert newcomers.timeless
        for days in (1, 3):
            homes, lacking = with_days(newcomers, days)
            assert [sum(home.counts[:2]) for home in homes] == [24 * days] * 2
            assert not lacking
            assert len(rehearsing(newcomers, [0, 1], AsNew(days)).homes) == 2
        assert with_days(newcomers, 40).homes == []


def test_the_only_home_cannot_be_both() -> None:
    class Read:
        homes = tables()[:1]

    with pytest.raises(DataError, match="the only home"):
        set_apart(Read(), plan())  # type: ignore[arg-type]


def test_new_homes_need_a_personaliser() -> None:
    with pytest.raises(PlanError, match=r"evaluation\.unseen"):
        plan(personalise={"name": "none"})


ROWS = [
    {
        "home": home,
        "days": 1.0,
        "model": model,
        "score": score,
        "examples_train": 16,
        "examples_validation": 6,
        "examples_test": 100,
        "expert": "naive",
    }
    for model, scores in (
        ("trees", (0.1, 0.3)),
        ("linear", (-1.0, 0.2)),
        ("settings", (0.9, 0.9)),
        ("personalised", (0.4, 0.6)),
    )
    for home, score in zip("ab", scores, strict=True)
]


def test_points_are_means_and_percentiles_and_the_strongest_alone_knows_no_fleet() -> None:
    points = cold_start_points(cold_start_table(ROWS))
    by_model = {point.model: point for point in points}
    assert by_model["trees"].mean == pytest.approx(0.2)
    assert by_model["trees"].p10 == pytest.approx(0.12)
    strongest = best_alone(points)
    assert strongest is not None
    assert strongest.model == "trees"
    assert best_alone([by_model["personalised"]]) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": "oracle"}, "unknown model: oracle"),
        ({"expert": "oracle"}, "unknown expert: oracle"),
        ({"days": "a day"}, "another type"),
    ],
)
def test_a_table_of_new_homes_that_cannot_be_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(RunError, match=why):
        cold_start_table([{**row, **change} for row in ROWS])


@pytest.mark.long
@pytest.mark.parametrize("width", [45, 80])
def test_a_run_prints_what_new_homes_get(result: fedhome.Result, width: int) -> None:
    console = Console(width=width, record=True, file=StringIO())
    print_summary(console, result.folder)
    told = console.export_text()
    assert "2 new homes, by days of" in told
    points = cold_start_points(result.cold_start)
    day = next(p for p in points if (p.days, p.model) == (1.0, "personalised"))
    assert f"{day.mean:.2f}/{day.p10:.2f}" in told


@pytest.mark.long
def test_a_rehearsal_takes_the_mean_of_errors_and_the_best_strength() -> None:
    """By hand: two experts, of which one is right on the rows that follow, the other before."""

    class Said:
        def __init__(self, before: float, after: float) -> None:
            self.validation, self.test = np.full((4, 1), before), np.full((4, 1), after)

    class Rows:
        counts, times = np.array([4]), np.arange(4) + 1_700_000_000

    class Few:
        class cohort:  # noqa: N801
            homes = ("a",)

            @staticmethod
            def rows(_: str) -> Any:
                return Rows

            @staticmethod
            def counts(_: str) -> Any:
                return Rows.counts

        def truth(self, _: str) -> Any:
            return np.zeros((4, 1))

        def stated(self, name: str) -> Any:
            return {"tuned": Said(0.0, 1.0), "naive": Said(1.0, 0.0)}[name]

        def judged(self, name: str) -> Any:
            return self.stated(name).validation

        def naive(self) -> Any:
            return Said(1.0, 1.0)

    class Fewer(Few):
        class cohort(Few.cohort):  # noqa: N801
            homes = ("b",)

    homes: list[Any] = [Few(), Fewer()]
    found = rehearsals.rehearsed(homes, ("tuned", "naive"), {"a": 20, "b": 20})
    assert list(found.matrices) == ["a", "b"]
    assert found.matrix == pytest.approx(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert best_weights(found.matrix) == pytest.approx([0.0, 1.0], abs=1e-6)
    assert found.strength == max(STRENGTHS)


def test_the_strongest_pull_is_taken_that_is_not_surely_worse() -> None:
    """By hand: gaps to the best one are .1, .3, .5, so .3 with a standard error of .2 / sqrt(3)."""
    best = np.array([1.0, 1.0, 1.0])
    surely_worse = best + np.array([0.1, 0.3, 0.5])  # .3 is more than .115
    not_told_from_it = best + np.array([0.4, -0.2, 0.1])  # .1 is less than .3 / sqrt(3) = .173
    errors = np.stack([best + 0.2, best, not_told_from_it, surely_worse], axis=1)
    assert rehearsals._strongest(errors) == 2
    assert rehearsals._strongest(errors[:, [0, 1, 3]]) == 1
    assert rehearsals._strongest(np.stack([best, best, best], axis=1)) == 2


def test_a_weaker_pull_than_the_best_is_never_taken() -> None:
    best = np.array([1.0, 1.0, 1.0])
    hardly_worse = best + np.array([0.4, -0.2, 0.1])
    assert rehearsals._strongest(np.stack([hardly_worse, best], axis=1)) == 1


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_where_days_name_a_wrong_season_new_homes_mix_the_last_value(tmp_path: Path) -> None:
    """Each home has a day's rhythm that ends with its training rows, and wanders off then."""
    homes = []
    for table in tables():
        hours = len(table.time_s)
        steps = np.random.default_rng(hours + int(table.home[-1])).normal(0, 1, hours)
        wandering = np.arange(hours) >= round(0.7 * hours)
        rhythm = 5 * np.sin(np.arange(hours) / 24 * 2 * np.pi)
        load = np.where(wandering, np.cumsum(steps * wandering), rhythm)
        homes.append(replace(table, columns={"load": load}))
    mixed = plan(
        evaluation={"days": [3]},
        personalise={"experts": ["tuned", "naive"], "opponents": ["seasonal"]},
        data={"split": [0.7, 0.15, 0.15]},
    )
    result = fedhome.simulate(mixed, homes=homes, out=tmp_path / "run")
    assert result.cold_start is not None
    assert set(result.cold_start["expert"].to_pylist()) == {"last"}
    score = {(row["home"], row["model"]): row["score"] for row in result.cold_start.to_pylist()}
    for home in unseen_of(result):
        assert score[home, "personalised"] > score[home, "global"]


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_where_no_home_has_as_many_days_homes_rehearse_with_all_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[rehearsals.Mixing] = []
    mixing = rehearsals.Rehearsals.mixing

    def noted(own: rehearsals.Rehearsals, days: float, rows: float) -> rehearsals.Mixing:
        found.append(mixing(own, days, rows))
        return found[-1]

    monkeypatch.setattr(rehearsals.Rehearsals, "mixing", noted)
    few = plan(evaluation={"days": [1, 6]}, data={"history_days": 4})
    result = fedhome.simulate(few, homes=tables(), out=tmp_path / "run")
    events = result.folder.read_events()
    (chosen,) = [event.data for event in events if event.event == "personalisation-chosen"]
    of_a_day, of_six = found
    assert of_a_day.experts == of_six.experts == (*EXPERTS, "last")
    assert of_six.blend.matrix.shape == (5, 5)
    assert not np.allclose(of_six.blend.matrix, of_a_day.blend.matrix)
    assert of_six.blend.strength == chosen["strength"]
    assert (of_a_day.blend.fewest_blocks, of_six.blend.fewest_blocks) == (1, 2)
    notes = [str(event.data["text"]) for event in events if event.event == "note"]
    (told,) = [note for note in notes if "at 6 days," in note]
    assert told.endswith(
        "6 homes rehearsed with all the days that they have: 0 homes of the rounds have as many "
        "days to rehearse with; errors are extrapolated from how they fell with days"
    )


def _rehearsing(falling: bool, third: int = 5) -> rehearsals.Rehearsals:
    """Homes of 10 and 40 rows: with four times as many a line errs half as far, if it falls."""
    own = object.__new__(rehearsals.Rehearsals)
    names = [f"home-{number}" for number in range(5)]
    few, many = np.diag([1.0, 2.0]), np.diag([1.0, 1.0 if falling else 2.0])
    with_all = rehearsals.Rehearsed(dict.fromkeys(names, many), dict.fromkeys(names, 40), 3.0)
    less = names[:third]
    own._names = ("tuned", "linear")
    own._known = {
        AsNew(20.0): rehearsals.Rehearsed({}, {}, 0.0),
        rehearsals.ALL: with_all,
        rehearsals.A_THIRD: rehearsals.Rehearsed(
            dict.fromkeys(less, few), dict.fromkeys(less, 10), 0.0
        ),
    }
    run = rehearsals.FleetsBlend(matrix=np.eye(2), strength=10.0, alone=(1.0, 1, 0))
    own._fleet = FleetOffer(np.zeros(1, np.float32), Adaptation(1.0, 1), ("tuned", "linear"), run)
    own._newcomers = SimpleNamespace(all_new=False)  # type: ignore[assignment]
    own._world = SimpleNamespace(plan=plan())  # type: ignore[assignment]
    return own


def test_errors_are_drawn_on_beyond_the_days_that_homes_of_the_rounds_have() -> None:
    """By hand: four times the rows halve a line's error, so twice as many take sqrt(2) off."""
    blend = _rehearsing(falling=True).mixing(20.0, 80.0).blend
    assert blend.matrix == pytest.approx(np.diag([1.0, 0.5**0.5]))
    assert (blend.strength, blend.fewest_blocks) == (10.0, 2)
    # No further than was seen: as for four times the rows, which halve it.
    far = _rehearsing(falling=True).mixing(20.0, 640.0).blend
    assert far.matrix == pytest.approx(np.diag([1.0, 0.5]))
    # Control: what does not fall is as it was, and so is what nobody has more rows for.
    for own, rows in ((_rehearsing(falling=False), 640.0), (_rehearsing(falling=True), 40.0)):
        mixing = own.mixing(20.0, rows)
        assert mixing.blend.matrix == pytest.approx(own._with(rehearsals.ALL).matrix)
        assert "extrapolated" not in mixing.why
    assert "extrapolated" in _rehearsing(falling=True).mixing(20.0, 640.0).why


def test_where_too_few_can_rehearse_with_a_third_nothing_is_drawn_on() -> None:
    mixing = _rehearsing(falling=True, third=4).mixing(20.0, 640.0)
    assert mixing.blend.matrix == pytest.approx(np.eye(2))
    assert "extrapolated" not in mixing.why
