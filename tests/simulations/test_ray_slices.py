"""Slices over Ray: shards that hold homes of several tiers give what one machine gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.plan.settings import Plan
from fedhome.run.results import scores
from fedhome.simulations.simulate import simulate
from helpers import tiny
from helpers.sum_rounds import sum_rounds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("cluster"),
    # Ray leaves files and processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4)) * 2
HERE = {"engine": {"name": "vector", "threads": 1}}


def _tiers(*shapes: tuple[float, int]) -> list[dict[str, Any]]:
    shares = (0.33, 0.33, 0.34)
    return [
        {"name": f"tier-{number}", "width": width, "depth": depth, "share": share}
        for number, ((width, depth), share) in enumerate(zip(shapes, shares, strict=True))
    ]


NESTED = {"tiers": _tiers((0.25, 1), (0.5, 2), (1.0, 2))}
WIDE = _tiers((0.25, 2), (0.5, 2), (1.0, 2))
SUMS = {"mode": "ideal", "weights": "equal", "min_cohort": 3, "corrupt": 0.0, "dropped": 0.75}


def _plan(shards: int, **sections: Any) -> Plan:
    given = {"slicing": NESTED, "model": {"hidden": [8, 8]}, **sections}
    return tiny.plan(**given).change(engine={"name": "ray", "ray_shards": shards, "threads": 1})


def _run(plan: Plan, folder: Path) -> NDArray[np.float32]:
    """Run a plan's rounds over twelve homes, added up as the plan says."""
    fleet = tiny.homes(ROWS)
    if plan.aggregation.mode == "plain":
        found = tiny.run(plan, fleet, folder).state.flat
    else:
        with sum_rounds(plan, fleet, folder) as rounds:
            found = rounds.run()
    assert not np.allclose(found, tiny.learning(plan).initial, atol=1e-3)
    return found


def test_one_shard_gives_one_machines_model_bit_for_bit(tmp_path: Path) -> None:
    plan = _plan(1)
    assert np.array_equal(_run(plan, tmp_path / "ray"), _run(plan.change(**HERE), tmp_path / "one"))


@pytest.mark.parametrize(
    "slicing",
    [
        NESTED,
        {"rule": "fedrolex", "tiers": WIDE},
        {"rule": "fiarse", "tiers": WIDE},
    ],
    ids=["nested", "fedrolex", "fiarse"],
)
def test_several_shards_give_the_mean_over_those_that_carry_a_place(
    slicing: dict[str, Any], tmp_path: Path
) -> None:
    plan = _plan(3, slicing=slicing)
    over, here = _run(plan, tmp_path / "ray"), _run(plan.change(**HERE), tmp_path / "one")
    np.testing.assert_allclose(over, here, rtol=1e-5, atol=2e-6)


def test_sums_of_shells_over_shards_are_one_machines_bit_for_bit(tmp_path: Path) -> None:
    plan = _plan(3, aggregation=SUMS)
    assert np.array_equal(_run(plan, tmp_path / "ray"), _run(plan.change(**HERE), tmp_path / "one"))


def test_a_module_that_declares_its_slices_goes_over_shards(tmp_path: Path) -> None:
    plan = _plan(2, model={"name": "helpers.sliced_modules:Convolution"})
    over, here = _run(plan, tmp_path / "ray"), _run(plan.change(**HERE), tmp_path / "one")
    np.testing.assert_allclose(over, here, rtol=1e-5, atol=2e-6)


def test_a_whole_run_scores_each_home_by_its_own_slice(tmp_path: Path) -> None:
    sets = ["data.homes=6", "data.days=12", "rounds.count=2", "model.hidden=[8,8]"]
    quick = {"epochs": 2, "local_epochs": 3, "patience": 2}
    plan = Plan.load(
        sets=sets,
        personalise=quick,
        slicing=NESTED,
        engine={"name": "ray", "ray_shards": 2},
        aggregation={"mode": "plain"},
    )
    over = simulate(plan, out=tmp_path / "ray")
    here = simulate(plan.change(engine={"name": "vector"}), out=tmp_path / "one")
    found, wanted = scores(over.homes), scores(here.homes)
    assert found.keys() == wanted.keys()
    for model, by_home in wanted.items():
        assert by_home.keys() == found[model].keys()
        for home, score in by_home.items():
            assert found[model][home] == pytest.approx(score, rel=1e-3, abs=1e-3)
