"""What a simulation shows of its homes is what their scores were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedhome
from fedhome.data.series.windows import examples
from fedhome.errors import RunError
from fedhome.learning.bands import Reach
from fedhome.learning.personalise.sureness import SureHome
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.shown_homes import Shown
from fedhome.simulations import portraits
from helpers import tiny

KINDS = ("regression", "binary", "multi-class")
ROWS = 400


def tables(kind: str) -> list[fedhome.HomeTable]:
    """Return homes without times whose target follows from two inputs."""
    found = []
    for number in range(7):
        generator = np.random.default_rng(number)
        x, z = generator.normal(size=(2, ROWS))
        load = 5 + 2 * x - z + generator.normal(0, 1, ROWS)
        if kind != "regression":
            load = np.digitize(load, [5.0] if kind == "binary" else [3.5, 6.5]).astype(float)
        found.append(
            fedhome.HomeTable(
                home=f"home-{number}",
                time_s=np.arange(ROWS),
                columns={"x": x, "z": z, "load": load},
            )
        )
    return found


def run(kind: str, out: Path, **changes: Any) -> fedhome.Result:
    own: dict[str, Any] = {
        "data": {"horizon": 0, "lags": [], "gap": 0},
        "task": {"kind": kind, "classes": list("abc") if kind == "multi-class" else []},
        "personalise": {"opponents": ["linear"], "experts": ["tuned", "global", "linear"]},
    }
    plan = Plan.load(**tiny.SETTINGS).change(**own).change(**changes)
    return fedhome.simulate(plan, homes=tables(kind), out=out)


@pytest.fixture(scope="module", params=KINDS)
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(request.param, tmp_path_factory.mktemp("runs") / request.param)


def shown_of(result: fedhome.Result) -> Shown:
    shown = result.folder.read_shown()
    assert shown is not None
    return shown


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_scores_of_the_homes_that_are_shown_follow_from_what_is_shown(
    result: fedhome.Result,
) -> None:
    rows = [row for row in result.homes.to_pylist() if row["model"] == "personalised"]
    scores = {row["home"]: row["score"] for row in rows}
    shown = shown_of(result)
    assert [home.place for home in shown.homes] == ["best", "median", "worst"]
    ordered = sorted(scores.values(), reverse=True)
    assert [home.score for home in shown.homes] == [ordered[0], ordered[3], ordered[6]]
    table = {table.home: table for table in tables(result.plan.task.kind)}
    for home in shown.homes:
        true, predicted = np.array(home.true), np.array(home.predicted)
        readings = table[home.home].columns["load"]
        assert true == pytest.approx(readings[-len(true) :], rel=1e-3, abs=1e-3)
        assert home.score == scores[home.home]
        assert home.time_s == ()
        if shown.targets == "continuous":
            score = 1 - np.mean((true - predicted) ** 2) / true.var()
            assert all(low <= high for low, high in zip(home.low, home.high, strict=True))
        elif shown.targets == "binary":
            yes = predicted > 0.5
            score = (yes[true == 1].mean() + (~yes)[true == 0].mean()) / 2
        else:
            score = np.mean(true == predicted)
            assert shown.classes == ("a", "b", "c")
        assert score == pytest.approx(home.score, abs=1e-3)


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_reliability_adds_up_to_what_the_table_of_homes_says(result: fedhome.Result) -> None:
    found = shown_of(result).reliability
    rows = [row for row in result.homes.to_pylist() if row["model"] == "personalised"]
    total = sum(row["examples_test"] for row in rows)
    assert sum(found.rows) == total
    right = sum(share * count for share, count in zip(found.right, found.rows, strict=True))
    if found.along == "fifth":
        assert found.places == (1.0, 2.0, 3.0, 4.0, 5.0)
        inside = sum(row["coverage"] * row["examples_test"] for row in rows)
    else:
        inside = sum(row["accuracy"] * row["examples_test"] for row in rows)
        assert all(0.0 < place <= 1.0 for place in found.places)
    assert right == pytest.approx(inside, abs=0.05)


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_homes_that_are_computed_one_by_one_show_the_same(tmp_path: Path) -> None:
    one, other = (
        shown_of(run("regression", tmp_path / name, engine={"name": name}))
        for name in ("vector", "sequential")
    )
    assert one.blocks == other.blocks
    assert [home.home for home in one.homes] == [home.home for home in other.homes]
    for home, same in zip(one.homes, other.homes, strict=True):
        assert home.predicted == pytest.approx(same.predicted, abs=1e-2)


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_plan_may_keep_readings_out(tmp_path: Path) -> None:
    quiet = shown_of(run("regression", tmp_path / "run", evaluation={"predictions": False}))
    assert quiet.homes == ()
    assert len(quiet.blocks) == 7
    assert quiet.reliability.rows


def test_homes_in_other_processes_are_told_not_to_be_shown(tmp_path: Path) -> None:
    class World:
        plan = Plan.load(engine={"name": "ray"})

    with EventLog(tmp_path / "events.jsonl") as log:
        portraits.show_homes(World(), None, log, ())  # type: ignore[arg-type]
    assert "neither predictions nor" in (tmp_path / "events.jsonl").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-2],
        lambda text: text.replace(b'"along"', b'"across"'),
        lambda text: text.replace(b'"targets":"continuous"', b'"targets":"numbers"'),
        lambda text: text.replace(b'"right":[', b'"right":[0.5,'),
    ],
)
def test_what_is_damaged_is_refused(damage: Any, tmp_path: Path) -> None:
    text = b'{"targets":"continuous","target":"y","unit":"","classes":[],"homes":[],"reliability":'
    text += (
        b'{"along":"hour","places":[1.0],"right":[0.8],"rows":[9]},"blocks":{"a":2},"strength":3}'
    )
    path = tmp_path / "shown.json"
    assert Shown.from_json(text, where=str(path)).to_json().startswith(b'{"targets"')
    with pytest.raises(RunError, match="damaged"):
        Shown.from_json(damage(text), where=str(path))


@pytest.mark.parametrize("first", [0, 500 * 86_400])
def test_days_of_the_seventies_are_shown_by_their_times_and_levels(first: int) -> None:
    load = 1e6 + np.cumsum(np.random.default_rng(1).normal(size=200))
    time_s = first + 86_400 * np.arange(200)
    table = fedhome.HomeTable(home="a", time_s=time_s, columns={"load": load})
    data = Plan.load(data={"target": "load", "lags": [1], "horizon": 1}).data
    home = examples(table, data, [], "continuous")
    test = home.rows("test")
    stated = np.zeros((home.counts[2], 1))  # the mean change
    sure = SureHome(stated, stated[:, 0] - 1, stated[:, 0] + 1, {}, Reach(*np.zeros((2, 4))))
    shown = portraits._shown(home, portraits._At("best", 0.5), sure)
    at = np.searchsorted(time_s, home.time_s[test])
    assert shown.time_s == tuple(home.time_s[test].tolist())
    np.testing.assert_allclose(shown.true, load[at], rtol=1e-4)
    np.testing.assert_allclose(shown.predicted, load[at - 1] + home.middle, rtol=1e-4)
