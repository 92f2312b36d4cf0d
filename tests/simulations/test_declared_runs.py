"""Simulations of a user's own module in slices: engines, integration, sums, homes' own models."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import fedhome
from fedhome.cli import app
from fedhome.errors import LayoutError, PlanError, RunError
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.compiled_modules import why_torch
from fedhome.learning.fitted import InputRows
from fedhome.personal.own_module import OwnModule
from fedhome.personal.own_slice import own_slice
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.questions.settings import SHELL
from fedhome.questions.shells import shell_layout, shell_places
from fedhome.questions.train_config import TrainConfig
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.simulations.engines.sliced_homes import SlicedHomes
from helpers import tiny

pytestmark = pytest.mark.long

TIERS = [
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.34},
    {"name": "plug", "width": 0.5, "depth": 2, "share": 0.33},
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.33},
]
ROWS = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 5, 5), (12, 6, 4))
MODULES = "helpers.sliced_modules"


def _plan(module: str, /, **changes: Any) -> Plan:
    model = {"name": f"{MODULES}:{module}"} if module else {"hidden": [8, 8]}
    return tiny.plan(slicing={"tiers": TIERS}, model=model).change(**changes)


def _run(plan: Plan, folder: Path) -> NDArray[np.float32]:
    rounds = tiny.run(plan, tiny.homes(ROWS), folder)
    assert not np.allclose(rounds.state.flat, tiny.learning(plan).initial, atol=1e-3)
    return rounds.state.flat


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        ("Convolution", {"model": {"args": {"dropout": 0.3}}}),
        ("Gates", {**tiny.fedprox(0.5), "train": {"momentum": 0.9}}),
    ],
)
def test_both_engines_give_the_same_weights(
    module: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    plan = _plan(module).change(**changes)
    together = _run(plan.change(engine={"name": "vector", "kernel": "eager"}), tmp_path / "a")
    by_one = _run(plan.change(engine={"name": "sequential"}), tmp_path / "b")
    np.testing.assert_allclose(together, by_one, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_the_perceptron_as_a_module_that_declares_its_slices_learns_what_it_does(
    engine: str, tmp_path: Path
) -> None:
    changes = {"engine": {"name": engine, "kernel": "eager"}}
    declared = _run(_plan("Exits").change(**changes), tmp_path / "declared")
    built_in = _run(_plan("").change(**changes), tmp_path / "built in")
    np.testing.assert_allclose(declared, built_in, rtol=1e-5, atol=1e-6)


def test_slices_with_a_fused_layer_learn_what_those_with_cells_do(tmp_path: Path) -> None:
    plan, notes = _plan("FusedGates"), list[str]()
    fused = tiny.run(plan, tiny.homes(ROWS), tmp_path / "fused", notes=notes).state.flat
    cells = _run(_plan("Gates").change(engine={"name": "sequential"}), tmp_path / "cells")
    assert not any("home after home" in note for note in notes)
    np.testing.assert_allclose(fused, cells, rtol=2e-4, atol=2e-6)


def test_that_torch_trains_a_declared_module_is_told_in_the_same_words_for_all_tiers(
    tmp_path: Path,
) -> None:
    notes, plan = (
        list[str](),
        _plan("Convolution", rounds={"count": 1}, engine={"name": "sequential"}),
    )
    tiny.run(plan, tiny.homes(ROWS), tmp_path / "run", notes=notes)
    assert ["homes are trained by torch: " in note for note in notes] == [True]
    slices = carried_slices(plan, tiny.learning(plan), tiny.FEATURES)
    parts = [part.learning for one in slices for part in (one.own, one.rounds)]
    assert len({why_torch(part) for part in parts}) == 1


def test_a_slice_that_torch_cannot_train_many_at_once_is_found_where_the_whole_could_be(
    tmp_path: Path,
) -> None:
    notes = list[str]()
    tiny.run(_plan("LooksAtNumbers"), tiny.homes(ROWS), tmp_path / "run", notes=notes)
    assert any("the model is trained home after home" in note for note in notes)


def test_what_a_round_gives_is_the_mean_over_those_that_carry_a_place() -> None:
    plan = _plan("Gates", engine={"kernel": "eager"})
    world = tiny.world(plan, tiny.homes(ROWS))
    start, everyone = world.learning.initial, np.arange(len(ROWS))
    carried = [
        set(one.rounds.places.places.tolist())
        for one in carried_slices(plan, world.learning, tiny.FEATURES)
    ]
    with ExitStack() as open_:
        homes = SlicedHomes(world, open_)
        mean = homes.train_mean(everyone, start, TrainConfig(round=1))
        single = homes.respond("train", everyone, start, {"server-round": 1}).params
    assert single is not None
    tiers, expected = tiers_of(plan, world.names).tolist(), start.astype(np.float64)
    for place in range(len(start)):
        some = [home for home, tier in enumerate(tiers) if place in carried[tier]]
        assert some
        others = [home for home in range(len(ROWS)) if home not in some]
        assert (single[others, place] == start[place]).all()
        weights = np.array([ROWS[home][0] for home in some], np.float64)
        expected[place] += weights @ (single[some, place] - float(start[place])) / weights.sum()
    np.testing.assert_allclose(mean.params, expected, rtol=1e-5, atol=1e-6)


def test_a_device_of_the_smallest_tier_trains_the_declared_module_itself() -> None:
    plan = _plan("Convolution")
    small = carried_slices(plan, tiny.learning(plan), tiny.FEATURES)[0]
    assert small.own.learning is small.rounds.learning
    assert type(small.own.learning.model).__name__ == "Convolution"


def test_shells_of_a_module_follow_from_its_declaration_and_name_where_they_lie() -> None:
    plan, other = _plan("Convolution"), _plan("Convolution", model={"args": {"units": 12}})
    layout = tiny.learning(plan).layout
    shells = [shell_places(plan, layout, {SHELL: number} if number else {}) for number in range(3)]
    assert np.array_equal(np.sort(np.concatenate(shells)), np.arange(layout.size))
    names = {shell_layout(plan, layout, {SHELL: number}).names for number in (1, 2)}
    assert len(names) == 2
    assert shell_layout(plan, layout, {SHELL: 1}).size == len(shells[1])
    bare = type(layout)(layout.names, layout.shapes)
    with pytest.raises(LayoutError, match=r"does not say where the slices of .*Convolution lie"):
        shell_places(plan, bare, {})
    assert bare == layout  # what a message came with is compared by names and shapes alone
    assert tiny.learning(other).layout != layout


def test_a_rule_that_cuts_a_perceptron_is_refused_for_a_module_of_ones_own() -> None:
    with pytest.raises(PlanError, match=r"a module of your own says itself where its slices lie"):
        _plan("Convolution", slicing={"rule": "heterofl"})


def test_no_slice_of_a_module_is_cut_out_of_a_release() -> None:
    plan = _plan("Convolution")
    learning = tiny.learning(plan)
    with pytest.raises(RunError, match=r"release 3 is of .*Convolution, a module of your own"):
        own_slice(
            plan, learning.layout, learning.initial, tier="hub", said=None, called="release 3"
        )


@pytest.mark.slow
def test_a_whole_run_ends_with_a_model_of_each_homes_own_slice(tmp_path: Path) -> None:
    plan = _plan(
        "Convolution",
        data={"homes": 6},
        rounds={"count": 1},
        engine={"kernel": "eager"},
        personalise={"name": "fine-tune", "experts": ["tuned", "global"]},
    )
    run = fedhome.simulate(plan, out=tmp_path / "run")
    sizes = set()
    for home in run.models.values():
        own = next(one for one in home.experts.values() if isinstance(one, OwnModule))
        rows = InputRows(np.zeros((2, tiny.FEATURES), np.float32), np.zeros(2), np.zeros((2, 1)))
        assert OwnModule.of(own.arrays()).state(rows).shape == (2, 1)
        sizes.add(len(own.params))
    assert len(sizes) == 3
    words = ["model", "tier", str(run.folder.path), "--bytes-up", "100", "--json"]
    shown = json.loads(CliRunner().invoke(app, words).stdout)
    assert {tier["parameters"] for tier in shown["tiers"]} == sizes
    assert (shown["tier"], shown["scored"]) == ("plug", "tuned")
    _cut_as_tiers_trained_them(run, tmp_path)


def _cut_as_tiers_trained_them(run: fedhome.Result, folder: Path) -> None:
    path, whole = str(run.folder.path), run.model.parameters
    cuts = json.loads(CliRunner().invoke(app, ["model", "slices", path, "--json"]).stdout)
    assert [cut["tier"] for cut in cuts] == ["sensor", "plug", "hub"]
    assert [(cut["width"], cut["depth"], cut["hidden"]) for cut in cuts][1] == (0.5, 2, [])
    assert all(cut["homes"] == 2 and cut["microseconds"] > 0 for cut in cuts)
    out = folder / "plug.npz"
    said = CliRunner().invoke(app, ["model", "slice", path, str(out), "--width", "0.5"]).stdout
    assert "width 0.5 and depth 2, " in said
    assert "it is what tier plug trained" in said
    with np.load(out) as held:
        for name, values in held.items():
            np.testing.assert_array_equal(values, whole[name][tuple(map(slice, values.shape))])
    asked = ["model", "slice", path, str(folder / "one.c"), "--width", "0.5"]
    assert "which needs PyTorch" in str(CliRunner().invoke(app, asked).exception)
    asked = ["model", "slice", path, str(folder / "one.npz"), "--width", "0.3"]
    assert "width 0.25 and depth 1; width 0.5" in CliRunner().invoke(app, asked).exception.hint  # type: ignore[union-attr]
    registry = str(folder / "registry")
    CliRunner().invoke(app, ["model", "publish", path, registry])
    refused = CliRunner().invoke(app, ["model", "slices", "latest", registry]).exception
    assert "name its run's folder" in refused.hint  # type: ignore[union-attr]


def test_the_tiers_of_a_run_with_classes_of_the_data_are_told_by_its_log(tmp_path: Path) -> None:
    plan = _plan("Convolution", task={"kind": "multi-class"})
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(plan.to_toml())
    words = ["model", "tier", str(run.path), "--json"]
    with EventLog(run.events_path) as log:
        log.append("fleet-ready", features=tiny.FEATURES, outputs=3)
    tiers = json.loads(CliRunner().invoke(app, words).stdout)["tiers"]
    assert [tier["parameters"] for tier in tiers] == [7 * units + 3 for units in (2, 4, 8)]
