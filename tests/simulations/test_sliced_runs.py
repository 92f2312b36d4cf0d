"""A simulation of devices that carry slices: engines agree, rules hold, what cannot be is told."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedhome
from fedhome.errors import PlanError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.fitted import Perceptron
from fedhome.learning.local import LocalLearning
from fedhome.models.slicing import slices_of
from fedhome.personal.portable import export_model, probe
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.questions.train_config import TrainConfig
from fedhome.run.results import scores
from fedhome.simulations.engines.kernels import FusedKernel, kernel_of
from fedhome.simulations.engines.sliced_homes import SlicedHomes
from fedhome.simulations.engines.traced import TracedKernel
from helpers import tiny
from helpers.random_own_models import COMPILER, Compiled, by_onnx

pytestmark = pytest.mark.long

TIERS = [
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.34},
    {"name": "plug", "width": 0.5, "depth": 2, "share": 0.33},
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.33},
]
SLICED = {"slicing": {"tiers": TIERS}, "model": {"hidden": [8, 8]}}
ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4))
_PLANS: dict[str, dict[str, Any]] = {
    "plain descent": {},
    "a pull": tiny.fedprox(0.5),
    "dropout": {"model": {"hidden": [8, 8], "dropout": 0.3}},
    "multi-class with momentum": {"task": {"kind": "multi-class"}, "train": {"momentum": 0.9}},
    "some are silent": {"faults": {"dropout": 0.3}, "rounds": {"count": 3}},
    "server momentum": {"strategy": {"name": "fedavgm", "args": {"server_momentum": 0.5}}},
}


def _plan(name: str = "plain descent", /, **engine: Any) -> Plan:
    return tiny.plan(**SLICED).change(**_PLANS[name]).change(engine=engine)


def _run(plan: Plan, folder: Path) -> NDArray[np.float32]:
    rounds = tiny.run(plan, tiny.homes(ROWS, kind=plan.task.kind), folder)
    assert not np.allclose(rounds.state.flat, tiny.learning(plan).initial, atol=1e-3)
    return rounds.state.flat


@pytest.mark.parametrize("name", _PLANS)
def test_the_vector_engine_and_home_after_home_give_the_same_weights(
    name: str, tmp_path: Path
) -> None:
    together = _run(_plan(name, name="vector", kernel="eager"), tmp_path / "together")
    by_one = _run(_plan(name, name="sequential"), tmp_path / "by one")
    np.testing.assert_allclose(together, by_one, rtol=2e-4, atol=2e-6)


@pytest.mark.slow
def test_the_kernel_that_is_taken_by_itself_gives_the_same_weights(tmp_path: Path) -> None:
    fast = _run(_plan(name="vector"), tmp_path / "fast")
    plain = _run(_plan(name="vector", kernel="eager"), tmp_path / "plain")
    np.testing.assert_allclose(fast, plain, rtol=2e-4, atol=2e-6)


def test_nested_slices_are_trained_by_the_compiled_kernel_and_what_it_does_not_know_is_told() -> (
    None
):
    def hubs(name: str) -> LocalLearning:
        plan = _plan(name, name="vector")
        world = tiny.world(plan, tiny.homes(ROWS))
        return carried_slices(plan, world.learning, tiny.FEATURES)[-1].rounds.learning

    assert isinstance(kernel_of(hubs("a pull"), "auto", tiny.FEATURES, print), FusedKernel)
    assert "not a plain MLP" in FusedKernel.fits(hubs("dropout"), tiny.FEATURES)


@pytest.mark.parametrize(
    ("engine", "told"),
    [("vector", "the slow kernel trains, "), ("sequential", "homes are trained by torch: ")],
)
def test_why_torch_trains_slices_is_told_once_for_all_tiers(
    engine: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TracedKernel, "passed_over", lambda *_: "not here")  # it takes seconds
    notes, plan = list[str](), _plan("dropout", name=engine).change(rounds={"count": 1})
    tiny.run(plan, tiny.homes(ROWS), tmp_path / "dropout", notes=notes)
    assert [note.startswith(told) for note in notes] == [True]
    notes.clear()
    tiny.run(_plan(name=engine), tiny.homes(ROWS), tmp_path / "plain", notes=notes)
    assert not notes


def test_exits_that_teach_each_other_are_no_sum_of_losses_and_left_to_torch() -> None:
    tiers = [{**tier, "width": 1.0, "depth": n} for n, tier in zip((2, 1), TIERS, strict=False)]
    tiers = [{**tier, "share": 0.5} for tier in tiers]
    plan = _plan(name="vector").change(slicing={"tiers": tiers, "rule": "depthfl"})
    world = tiny.world(plan, tiny.homes(ROWS))
    (*_, hub) = carried_slices(plan, world.learning, tiny.FEATURES)
    assert "DistilledLearning" in FusedKernel.fits(hub.rounds.learning, tiny.FEATURES)


@pytest.mark.parametrize("name", ["a pull", "multi-class with momentum"])
def test_the_compiled_kernel_gives_the_weights_of_the_plain_step(name: str, tmp_path: Path) -> None:
    fast = _run(_plan(name, name="vector", kernel="fused"), tmp_path / "fast")
    plain = _run(_plan(name, name="vector", kernel="eager"), tmp_path / "plain")
    np.testing.assert_allclose(fast, plain, rtol=2e-4, atol=2e-6)


def test_shares_are_kept_and_follow_from_seed_and_names() -> None:
    plan, names = _plan(), [f"home-{place}" for place in range(100)]
    tiers = tiers_of(plan, names)
    assert np.bincount(tiers).tolist() == [33, 33, 34]
    assert np.array_equal(tiers, tiers_of(plan, names))
    assert not np.array_equal(tiers, tiers_of(plan.change(seed=4), names))
    backwards = tiers_of(plan, names[::-1])[::-1]
    assert np.array_equal(tiers, backwards)


def test_a_tier_that_no_home_would_have_is_refused() -> None:
    with pytest.raises(PlanError, match=r"share of 0\.33, which of 1 homes is none"):
        tiers_of(_plan(), ["only"])


def test_what_a_round_gives_is_the_rule_over_what_each_device_learnt() -> None:
    plan = _plan(name="vector", kernel="eager")
    homes = tiny.homes(ROWS)
    world = tiny.world(plan, homes)
    shape, start = slices_of(plan, tiny.FEATURES, 1), world.learning.initial
    with ExitStack() as open_:
        sliced = SlicedHomes(world, open_)
        everyone = np.arange(len(homes))
        config = TrainConfig(round=1)
        mean = sliced.train_mean(everyone, start, config)
        single = sliced.respond("train", everyone, start, {"server-round": 1}).params
    assert single is not None
    tiers = tiers_of(plan, world.names)
    expected = start.astype(np.float64)
    for place in range(len(start)):
        some = [n for n, tier in enumerate(tiers) if place in shape.carried(int(tier))]
        weights = np.array([ROWS[n][0] for n in some], np.float64)
        moves = np.array([float(single[n, place]) - float(start[place]) for n in some])
        expected[place] += (weights @ moves) / weights.sum()
    np.testing.assert_allclose(mean.params, expected, rtol=1e-5, atol=1e-6)
    assert mean.weight == sum(rows[0] for rows in ROWS)


def test_what_a_device_does_not_carry_leaves_it_as_it_came() -> None:
    plan = _plan(name="vector", kernel="eager")
    world = tiny.world(plan, tiny.homes(ROWS))
    shape, start = slices_of(plan, tiny.FEATURES, 1), world.learning.initial
    with ExitStack() as open_:
        found = SlicedHomes(world, open_).respond(
            "train", np.arange(len(ROWS)), start, {"server-round": 1}
        )
    assert found.params is not None
    for home, tier in enumerate(tiers_of(plan, world.names).tolist()):
        carried = shape.carried(tier)
        others = np.setdiff1d(np.arange(len(start)), carried)
        assert np.array_equal(found.params[home, others], start[others])
        moved = found.params[home, carried] != start[carried]
        assert moved.mean() > 0.5


def test_the_smallest_tier_alone_trains_as_the_small_network_by_itself(tmp_path: Path) -> None:
    one = [{"name": "all", "width": 0.25, "depth": 1, "share": 1.0}]
    plan = _plan(name="vector").change(slicing={"tiers": one})
    world = tiny.world(plan, tiny.homes(ROWS))
    (carried,) = carried_slices(plan, world.learning, tiny.FEATURES)
    small = plan.change(model={"hidden": [2]}, slicing={"tiers": ()})
    world.learning.initial[carried.own.places.places] = tiny.learning(small).initial
    sliced = tiny.run(plan, tiny.homes(ROWS), tmp_path / "a", on=world).state.flat
    alone = tiny.run(small, tiny.homes(ROWS), tmp_path / "b").state.flat
    np.testing.assert_allclose(sliced[carried.own.places.places], alone, rtol=1e-5, atol=1e-7)


def test_a_method_that_keeps_something_at_home_is_refused() -> None:
    plan = _plan(name="vector").change(method={"name": "ditto"})
    world = tiny.world(plan, tiny.homes(ROWS))
    with pytest.raises(PlanError, match="method Ditto keeps something in each home"):
        carried_slices(plan, world.learning, tiny.FEATURES)


def test_a_strategy_that_looks_at_single_updates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="'krum' looks at single updates"):
        fedhome.simulate(
            _plan(name="vector").change(strategy={"name": "krum"}, data={"homes": 6}),
            out=tmp_path / "run",
        )


@pytest.mark.slow
def test_a_whole_run_ends_with_a_model_for_each_home_in_its_own_shape(tmp_path: Path) -> None:
    plan = _plan(name="vector").change(
        data={"homes": 6},
        personalise={"name": "fine-tune", "experts": ["tuned", "global"]},
    )
    result = fedhome.simulate(plan, out=tmp_path / "run")
    tiers = tiers_of(plan, sorted(result.models))
    assert len(result.models) == 6
    sizes = {0: (2,), 1: (4, 4), 2: (8, 8)}
    for home, tier in zip(sorted(result.models), tiers.tolist(), strict=True):
        networks = [e for e in result.models[home].experts.values() if isinstance(e, Perceptron)]
        assert networks
        for network in networks:
            widths = [a.shape[0] for name, a in network.layers.items() if name.endswith("weight")]
            assert tuple(widths[:-1]) == sizes[tier]
    # A slice is exported as any network is.
    one_each = {
        tier: home for home, tier in zip(sorted(result.models), tiers.tolist(), strict=True)
    }
    chosen = {home: result.models[home] for home in one_each.values()}
    files = {home: export_model(model, "c") for home, model in chosen.items()}
    library = Compiled(tmp_path, files) if COMPILER is not None else None
    for home, model in chosen.items():
        raw = probe(model)
        expected = model.predictor.predict(raw)
        close = {"rtol": 1e-5, "atol": 1e-5 * model.unit}
        np.testing.assert_allclose(by_onnx(export_model(model, "onnx"), raw), expected, **close)
        if library is not None:
            np.testing.assert_allclose(library.predict(home, raw, 3), expected, **close)


def test_several_horizons_of_slices_are_refused_with_what_to_set() -> None:
    with pytest.raises(PlanError, match="what a slice says is of one horizon") as refused:
        Plan.load(**SLICED, data={"horizon": ["1h", "6h"]})
    assert 'set data.horizon = "1h"' in str(refused.value)


def test_where_no_device_carries_all_it_is_noted(tmp_path: Path) -> None:
    plan = _plan().change(
        slicing={"tiers": [{"name": "all", "width": 0.5, "depth": 2, "share": 1.0}]},
        data={"homes": 6},
    )
    heard: list[str] = []

    def hear(event: Any) -> None:
        if event.event in {"note", "tier-carried"}:
            heard.append(event.data["text"])

    result = fedhome.simulate(plan, out=tmp_path / "run", on_event=hear)
    assert (
        "no device carries all of model.hidden = [8, 8]: the largest tier, all, has [4, 4], and "
        "that is the model that is trained and kept" in heard
    )
    assert result.model.parameters["layers.0.weight"].shape[0] == 4
    features = result.model.parameters["layers.0.weight"].shape[1]
    size = (features + 1) * 4 + 5 * 4 + 5
    told = (
        f"tier all: 6 of 6 homes carry 4-4 units, {size} of the model's {size} numbers, "
        f"{4 * size} bytes of float32 up a round; a step of training takes "
    )
    assert any(note.startswith(told) for note in heard)


@pytest.mark.slow
def test_a_round_is_judged_by_each_homes_own_slice(tmp_path: Path) -> None:
    plan = _plan(name="vector", kernel="eager").change(
        rounds={"judge_every": 1}, personalise={"name": "fine-tune"}, data={"homes": 6}
    )
    heard: list[str] = []

    def hear(event: Any) -> None:
        if event.event == "tier-scored":
            heard.append(event.data["text"])

    by_home = scores(fedhome.simulate(plan, out=tmp_path / "run", on_event=hear).homes)
    tiers = tiers_of(plan, sorted(by_home["tuned"]))
    for number, name in enumerate(("sensor", "plug", "hub")):
        own = [
            home for home, at in zip(sorted(by_home["tuned"]), tiers, strict=True) if at == number
        ]
        mean = np.mean([by_home["tuned"][home] for home in own])
        (told,) = [note for note in heard if note.startswith(f"tier {name}, mean of {len(own)} ")]
        assert f" tuned {mean:.3f}" in told
