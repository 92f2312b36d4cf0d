"""One plan gives the same weights in every engine and kernel, to float32 rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.cohort import Training
from fedhome.learning.local import LocalLearning
from fedhome.learning.personalise import personaliser
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import MODELS
from fedhome.run.events import read_events
from fedhome.server.rounds.outcome import personalise
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.torch_kernels import EagerKernel
from helpers import tiny

pytestmark = pytest.mark.long

_PLANS: dict[str, dict[str, Any]] = {
    "sgd with momentum": {"train": {"momentum": 0.9}},
    "adam with decay": {
        "train": {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.01}
    },
    "proximal and clipped": {"train": {"clip_norm": 0.3}, **tiny.fedprox(0.5)},
    "binary": {"task": {"kind": "binary"}, "train": {"momentum": 0.5}},
    "multi-class with adam": {
        "task": {"kind": "multi-class"},
        "train": {"optimiser": "adam", "learning_rate": 0.01},
    },
    "proximal by the strategy": {"strategy": {"name": "fedprox", "args": {"proximal_mu": 0.5}}},
    "so many steps": {"train": {"steps": 7, "momentum": 0.9}},
    "some homes a round": {"rounds": {"count": 3, "fraction": 0.5}},
}
_ONLY_TORCH: dict[str, dict[str, Any]] = {
    "dropout": {"model": {"dropout": 0.4}},
    "dropout by steps": {"model": {"dropout": 0.4}, "train": {"steps": 3}},
    "layer norm": {"model": {"hidden": [8, 8], "norm": "layer"}},
}


def _plan(name: str, /, **engine: Any) -> Plan:
    return tiny.plan(**(_PLANS | _ONLY_TORCH)[name]).change(engine=engine)


def _weights(
    plan: Plan, folder: Path, fleet: list[HomeExamples] | None = None, **told: Any
) -> NDArray[np.float32]:
    homes = fleet or tiny.homes(kind=plan.task.kind)
    rounds = tiny.run(plan, homes, folder, **told)
    assert all(row["train_loss"] is not None for row in rounds.state.rows)
    assert not np.allclose(rounds.state.flat, tiny.learning(plan).initial, atol=1e-3)
    return rounds.state.flat


_TRACED = ("proximal and clipped", "multi-class with adam", *_ONLY_TORCH)  # seconds each
_CASES = [(name, "eager") for name in _PLANS | _ONLY_TORCH]
_CASES += [(name, "fused") for name in _PLANS]
_CASES += [(name, "traced") for name in _TRACED]


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.float32]]:
    """Weights of every plan, trained home after home by the ClientApp's own handlers."""
    return {
        name: _weights(_plan(name, name="sequential"), tmp_path_factory.mktemp("sequential"))
        for name in _PLANS | _ONLY_TORCH
    }


@pytest.mark.parametrize(("name", "kernel"), _CASES)
def test_every_kernel_gives_the_weights_of_home_after_home(
    name: str, kernel: str, by_one: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    found = _weights(_plan(name, name="vector", kernel=kernel), tmp_path)
    np.testing.assert_allclose(found, by_one[name], rtol=2e-4, atol=2e-5)


def test_the_plans_differ_indeed(by_one: dict[str, NDArray[np.float32]]) -> None:
    alike = [by_one[name] for name in _PLANS if len(by_one[name]) == len(by_one["binary"])]
    assert len({flat.tobytes() for flat in alike}) == len(alike)


@pytest.mark.parametrize("name", ["sgd with momentum", "some homes a round"])
def test_sums_and_single_updates_give_the_same_average(name: str, tmp_path: Path) -> None:
    plan = _plan(name, name="vector")
    np.testing.assert_allclose(
        _weights(plan, tmp_path / "sums", sums=True),
        _weights(plan, tmp_path / "updates", sums=False),
        rtol=1e-5,
        atol=1e-6,
    )


def test_threads_and_chunks_change_nothing(tmp_path: Path) -> None:
    fleet = tiny.homes([(9 + place % 7, 3, 3) for place in range(60)])
    plan = tiny.plan(rounds={"count": 1})
    one = _weights(plan, tmp_path / "one", fleet)
    two = _weights(plan.change(engine={"threads": 2}), tmp_path / "two", fleet)
    np.testing.assert_array_equal(one, two)


def test_homes_of_one_chunk_that_stand_out_of_order_learn_from_their_own_rows() -> None:
    # Five homes a chunk, the largest first: of each five the second and the third change places.
    rows = [(60 - 6 * five + own, 3, 3) for five in range(8) for own in (4, 2, 3, 1, 0)]
    stage = tiny.world(tiny.plan(), tiny.homes(rows))
    with ENGINES["vector"](stage) as grid:
        (cohort,) = grid.within
        start = stage.learning.initial
        together = cohort.train(start, Training(stream=1, epochs=1))
        for home in range(len(rows)):
            alone = cohort.pick(np.array([home])).train(start, Training(stream=1, epochs=1))
            assert np.allclose(together.params[home], alone.params[0], rtol=2e-4, atol=2e-6), home
            assert together.losses[home] == pytest.approx(alone.losses[0], rel=1e-5)


def test_the_order_of_the_homes_changes_nothing_but_rounding(tmp_path: Path) -> None:
    fleet = tiny.homes()
    np.testing.assert_allclose(
        _weights(tiny.plan(), tmp_path / "one", fleet),
        _weights(tiny.plan(), tmp_path / "two", fleet[::-1]),
        rtol=1e-5,
        atol=1e-6,
    )


def _with_one_that_explodes() -> list[HomeExamples]:
    fleet = tiny.homes()
    fleet[1] = replace(fleet[1], x=fleet[1].x * np.float32(1e30))
    return fleet


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_home_that_explodes_is_left_out_by_every_engine_alike(tmp_path: Path) -> None:
    plan = tiny.plan(rounds={"count": 1}, train={"clip_norm": 0})  # which would prevent it
    found = {
        "sums": tiny.run(plan, _with_one_that_explodes(), tmp_path / "sums", sums=True),
        "updates": tiny.run(plan, _with_one_that_explodes(), tmp_path / "updates", sums=False),
        "sequential": tiny.run(
            plan.change(engine={"name": "sequential"}),
            _with_one_that_explodes(),
            tmp_path / "sequential",
        ),
    }
    expected = [home for place, home in enumerate(tiny.homes()) if place != 1]
    without = tiny.run(plan, expected, tmp_path / "without")
    for rounds in found.values():
        (row,) = rounds.state.rows
        assert (row["homes_answered"], row["homes_dropped"]) == (3, 1)
        np.testing.assert_allclose(rounds.state.flat, without.state.flat, rtol=1e-4, atol=1e-5)
        assert row["train_loss"] == pytest.approx(without.state.rows[0]["train_loss"], rel=1e-4)


def test_a_home_may_claim_no_more_than_the_greatest_weight(tmp_path: Path) -> None:
    plan = tiny.plan(rounds={"max_examples": 10})
    np.testing.assert_allclose(
        _weights(plan, tmp_path / "sums", sums=True),
        _weights(plan.change(engine={"name": "sequential"}), tmp_path / "sequential"),
        rtol=2e-4,
        atol=2e-5,
    )


def _personalised(plan: Plan, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of the table of homes, and what the fleet chose."""
    stage = tiny.world(plan, tiny.homes(kind=plan.task.kind))
    layout, initial = stage.learning.layout, stage.learning.initial
    with (
        ENGINES[plan.engine.name](stage) as grid,
        tiny.rounds_on(grid, plan, layout, folder, initial) as rounds,
    ):
        rows = personalise(
            plan=plan,
            grid=grid,
            layout=layout,
            flat=rounds.run(),
            score=stage.learning.task.score,
            log=rounds.log,
            name_of=grid.name_of,
        )
    (chosen,) = [
        event.data
        for event in read_events(folder / "events.jsonl")
        if event.event == "personalisation-chosen"
    ]
    return rows, dict(chosen)


@pytest.mark.parametrize(
    ("kind", "kernel", "batches"),
    [
        ("regression", "auto", ()),
        ("binary", "auto", ()),
        ("multi-class", "auto", ()),
        ("regression", "auto", (32, 8, 3)),
        ("regression", "eager", (32, 8, 3)),
    ],
)
def test_personalisation_is_the_same_in_both_engines(
    kind: str,
    kernel: str,
    batches: tuple[int, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedhome.learning.alone.trees._TREES", 5)  # a tenth of the time
    plan = tiny.plan(
        task={"kind": kind},
        rounds={"count": 1},
        personalise={"name": "fine-tune", "refit": True, "local_batches": batches},
        engine={"kernel": kernel},
    )
    one, chosen = _personalised(plan, tmp_path / "vector")
    sequential = plan.change(engine={"name": "sequential", "kernel": "auto"})
    other, likewise = _personalised(sequential, tmp_path / "sequential")
    assert chosen.pop("weights") == pytest.approx(likewise.pop("weights"), abs=1e-4)
    assert chosen.pop("matrix") == pytest.approx(likewise.pop("matrix"), rel=1e-3, abs=1e-4)
    assert chosen == likewise
    assert len(one) == len(other) == 4 * len(MODELS)
    for row, same in zip(one, other, strict=True):
        assert row.keys() == same.keys()
        for name, value in row.items():
            if value is None or isinstance(value, str):
                assert same[name] == value, name
            else:
                assert value == pytest.approx(same[name], rel=1e-3, abs=1e-4), name


def test_a_kernel_that_does_not_fit_networks_alone_is_refused_before_the_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fits(learning: LocalLearning, *_: Any) -> str:
        return "" if learning.train.batch_rows <= 8 else f"{learning.train.batch_rows} are too many"

    monkeypatch.setattr(EagerKernel, "fits", fits)
    plan = tiny.plan(
        personalise={"name": "fine-tune", "local_batches": [4, 32]}, engine={"kernel": "eager"}
    )
    homes = tiny.homes()
    with (
        pytest.raises(EngineError, match="eager does not fit: 32 are too many"),
        ENGINES["vector"](tiny.world(plan, homes)),
    ):
        pass
    for few in ({"local_batches": [4]}, {"name": "none"}):
        with ENGINES["vector"](tiny.world(plan.change(personalise=few), homes)) as grid:
            assert len(grid.homes) == len(homes)


def test_a_kernel_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    plan = tiny.plan(model={"dropout": 0.1}, engine={"kernel": "fused"})
    with pytest.raises(EngineError, match="not a plain MLP"):
        _weights(plan, tmp_path)


def test_a_kernel_that_home_after_home_does_not_ask_for_is_told(tmp_path: Path) -> None:
    notes, plan = list[str](), tiny.plan().change(engine={"name": "sequential", "kernel": "traced"})
    tiny.run(plan, tiny.homes(), tmp_path, notes=notes)
    assert len(notes) == 1
    assert notes[0].startswith("engine.kernel = traced says nothing here: ")


def test_homes_do_not_understand_what_the_plan_has_not(tmp_path: Path) -> None:
    assert tiny.world(tiny.plan(), tiny.homes()).how is None
    assert personaliser("fine-tune") is not None
    for name in ("vector", "sequential"):
        plan = tiny.plan(engine={"name": name}, personalise={"name": "math:nothing"})
        with pytest.raises(Exception, match="nothing"):
            _personalised(plan, tmp_path / name)
