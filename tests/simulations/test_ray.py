"""The Ray engine: shards, means of means, equal to the vector engine, and a worker that dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from fedhome import Plan
from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError, PluginError
from fedhome.flower.messages import array_record, read_flat
from fedhome.learning.build import learning_of
from fedhome.learning.personalise import fine_tune, personaliser
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.ray_cluster import connected
from fedhome.simulations.engines.ray_engine import RayHomes, deal, ray_grid
from fedhome.simulations.engines.shard import Mean
from fedhome.simulations.engines.world import World
from fedhome.simulations.gather import GatheredHomes
from fedhome.simulations.simulate import simulate
from helpers import tiny

# Ray leaves files and processes to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Reply = tuple[str, dict[str, Any], NDArray[np.float32] | None]

FEATURES = 5
ROWS = ((40, 9, 12), (3, 2, 2), (17, 4, 5), (64, 20, 11), (8, 1, 3), (33, 7, 7), (21, 5, 6))
ENDING = tiny.ending(rate=0.3, epochs=2, **{"alone-rate": 0.3})
QUICK = {"epochs": 2, "local_epochs": 3, "patience": 2}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "sgd": {
        "train": {"optimiser": "sgd", "momentum": 0.9, "clip_norm": 1.0},
        "method": {"name": "fedprox", "args": {"proximal_mu": 0.1}},
    },
    "adam": {"train": {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.01}},
}


def world_of(plan: Plan, said: list[str] | None = None) -> World:
    """Seven homes of very different sizes with made-up regressions."""
    rng = np.random.default_rng(7)
    homes = []
    for number, counts in enumerate(ROWS):
        x = rng.normal(size=(sum(counts), FEATURES)).astype(np.float32)
        y = (x @ rng.normal(size=(FEATURES, 1))).astype(np.float32)
        naive = np.zeros(len(x), np.float32)
        homes.append(HomeExamples(home=f"h{number}", x=x, y=y, naive=naive, counts=counts))
    return World(
        plan=plan,
        gathered=GatheredHomes(homes=homes, excluded=(), notes=(), classes=()),
        learning=learning_of(plan, FEATURES),
        how=personaliser(plan.personalise.name),
        sums=True,
        notice=(said if said is not None else []).append,
    )


def plan_of(**sections: Any) -> Plan:
    return Plan.load(**{"model": {"hidden": (8,)}, "personalise": QUICK, **sections})


def ask(
    grid: Any, kind: str, homes: list[int], flat: NDArray[np.float32], **config: Any
) -> list[Reply]:
    """Ask homes; return each reply's error, numbers and parameters."""
    layout = learning_of(plan_of(), FEATURES).layout
    content = RecordDict(
        {
            "arrays": array_record(layout, flat),
            "config": ConfigRecord({"server-round": 3, **config}),
        }
    )
    messages: list[Message] = [
        grid.create_message(content, kind, home + grid.first_node, "3") for home in homes
    ]
    replies: list[Reply] = []
    for message in grid.send_and_receive(messages):
        if message.has_error():
            replies.append((message.error.reason, {}, None))
            continue
        metrics = dict(next(iter(message.content.metric_records.values())))
        arrays = list(message.content.array_records.values())
        replies.append(("", metrics, read_flat(layout, arrays[0]) if arrays else None))
    return replies


def questions(grid: Any, flat: NDArray[np.float32]) -> list[Reply]:
    """Ask homes, in no order, all that a server asks: for sums, and for single updates."""
    some = [5, 0, 3, 6, 1]
    replies: list[Reply] = []
    for sums in (True, False):
        grid._sums = sums
        replies += [
            *ask(grid, "train", some, flat),
            *ask(grid, "train", some, flat, clipping_norm=0.05),
            *ask(grid, "evaluate", [2, 4, 0], flat),
        ]
    return [
        *replies,
        *ask(grid, "evaluate.trial", some, flat),
        *ask(grid, "evaluate.blend", some, flat, **ENDING),
        *ask(grid, "evaluate.shrink", some, flat, **ENDING),
        *ask(grid, "evaluate.outcome", some, flat, **ENDING),
        *ask(grid, "evaluate.outcome", [1], flat, **{**ENDING, "rate": "fast"}),
        *ask(grid, "query", [0, 1], flat),
    ]


def as_bytes(reply: Reply) -> tuple[str, dict[str, Any], bytes]:
    error, metrics, params = reply
    return error, metrics, b"" if params is None else params.tobytes()


class Fatal:
    """A personaliser whose process is killed as the kernel kills one for want of memory."""

    adapt = staticmethod(fine_tune.adapt)

    @staticmethod
    def trial(*_: object) -> NoReturn:
        signal.raise_signal(signal.SIGKILL)
        raise AssertionError("unreachable")


class Faulty:
    """A personaliser with a programming error."""

    adapt = staticmethod(fine_tune.adapt)

    @staticmethod
    def trial(*_: object) -> NoReturn:
        raise ZeroDivisionError("a fault of the user's own")


class Branching(nn.Linear):
    """A model that cannot be trained for many homes at once: it looks at numbers."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(features, outputs)

    def forward(self, x: Any) -> Any:
        return super().forward(x if float(x.sum()) < 1e9 else x / 2)


def test_the_mean_of_means_counts_every_example_alike() -> None:
    parts = [
        Mean(np.array([1.0, 0.0]), weight=1, loss=4.0, clipped=1),
        Mean(np.array([5.0, 8.0]), weight=3, loss=0.0, clipped=2),
    ]
    mean = Mean.of(parts)
    assert mean.params.tolist() == [4.0, 6.0]
    assert (mean.weight, mean.loss, mean.clipped) == (4, 1.0, 3)


def test_a_single_part_is_its_own_mean_to_the_last_bit() -> None:
    params = np.random.default_rng(0).normal(size=50)
    assert Mean.of([Mean(params, 7, 0.3, 0)]).params.tobytes() == params.tobytes()


def test_homes_are_dealt_there_and_back() -> None:
    shard_of, index_of = deal([10, 40, 30, 20, 50], 2)
    assert shard_of.tolist() == [0, 1, 1, 0, 0]  # 50 | 40 30 | 20 10: 80 and 70 rows
    assert index_of.tolist() == [0, 0, 1, 1, 2]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.data())
def test_dealing_is_fair_and_leaves_no_shard_empty(rows: list[int], data: st.DataObject) -> None:
    shards = data.draw(st.integers(1, len(rows)))
    shard_of, index_of = deal(rows, shards)
    share = np.bincount(shard_of, weights=rows, minlength=shards)
    assert np.ptp(share) <= max(rows)
    for shard in range(shards):
        indices = index_of[shard_of == shard]
        assert len(indices) >= 1
        assert indices.tolist() == list(range(len(indices)))


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match="not installed") as caught, connected(""):
        pass
    assert "fedhome[ray]" in caught.value.hint


def test_an_address_where_nobody_listens_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for form in (address, f"ray://{address}"):
            with pytest.raises(EngineError, match="nobody listens"), connected(form):
                pass


def test_a_model_that_does_not_vectorise_is_refused() -> None:
    plan = plan_of(model={"name": f"{__name__}:Branching"}, engine={"name": "ray"})
    world = world_of(plan)
    with pytest.raises(EngineError, match="asks a tensor for its value"), ray_grid(world):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("optimiser", sorted(OPTIMISERS))
def test_shards_answer_as_the_vector_engine_does(optimiser: str) -> None:
    plan = plan_of(**OPTIMISERS[optimiser], engine={"name": "ray", "ray_shards": 3})
    said: list[str] = []
    world = world_of(plan, said)
    with ENGINES["vector"](world) as grid:
        wanted = questions(grid, world.learning.initial)
    with ENGINES["ray"](world) as grid:
        answered = questions(grid, world.learning.initial)
    assert len(answered) == len(wanted)
    for (error, metrics, params), (its_error, its_metrics, its_params) in zip(
        wanted, answered, strict=True
    ):
        assert its_error == error
        assert list(its_metrics) == list(metrics)
        for name, value in metrics.items():
            np.testing.assert_allclose(its_metrics[name], value, rtol=2e-5, atol=1e-6)
        assert (its_params is None) == (params is None)
        if its_params is not None and params is not None:
            np.testing.assert_allclose(its_params, params, rtol=1e-5, atol=2e-7)
    assert said[0] == "Ray trains 3 shards of the fleet, 1 thread each, on 1 machine"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_home_that_diverges_is_left_out_by_its_shard() -> None:
    world = world_of(plan_of(engine={"name": "ray", "ray_shards": 2}, train={"clip_norm": 0}))
    world.gathered.homes[3].x[:] *= np.float32(1e25)
    asked = [6, 0, 3, 5]
    with ENGINES["vector"](world) as grid:
        wanted = ask(grid, "train", asked, world.learning.initial)
    with ENGINES["ray"](world) as grid:
        answered = ask(grid, "train", asked, world.learning.initial)
    assert [error != "" for error, _, _ in answered] == [False, True]
    assert [error for error, _, _ in answered] == [error for error, _, _ in wanted]
    examples = sum(ROWS[home][0] for home in asked if home != 3)
    assert answered[0][1]["num-examples"] == wanted[0][1]["num-examples"] == examples
    assert answered[0][2] is not None
    assert wanted[0][2] is not None
    np.testing.assert_allclose(answered[0][2], wanted[0][2], rtol=1e-5, atol=2e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_same_shards_answer_with_the_same_bytes() -> None:
    world = world_of(plan_of(engine={"name": "ray", "ray_shards": 3}))
    runs = []
    for _ in range(2):
        with ENGINES["ray"](world) as grid:
            runs.append(questions(grid, world.learning.initial))
    assert [as_bytes(reply) for reply in runs[0]] == [as_bytes(reply) for reply in runs[1]]


SMALL = ["data.homes=6", "data.days=12", "rounds.count=3", "model.hidden=[8]"]


def small(*sets: str) -> Plan:
    return Plan.load(
        sets=[*SMALL, *sets], personalise=QUICK, engine={"name": "ray", "ray_shards": 2}
    )


@pytest.mark.slow
def test_a_worker_killed_in_mid_round_changes_no_bit(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    undisturbed = simulate(small(), out=tmp_path / "undisturbed")
    found: list[RayHomes] = []
    frozen: list[int] = []
    start, wait = RayHomes.start, cluster.wait

    def started(self: RayHomes, initial: NDArray[np.float32]) -> None:
        start(self, initial)
        found.append(self)

    def freeze(event: Event) -> None:
        if event.event == "round-closed" and event.data["round"] == 1:
            ask_pid = found[0].workers[1].__ray_call__.remote(lambda _: os.getpid())
            frozen.append(cluster.get(ask_pid))
            os.kill(frozen[0], signal.SIGSTOP)  # so that it has the question and no answer yet

    def kill_then_wait(refs: list[Any], **options: Any) -> Any:
        if len(frozen) == 1:
            os.kill(frozen[0], signal.SIGKILL)
            frozen.append(0)
        return wait(refs, **options)

    monkeypatch.setattr(RayHomes, "start", started)
    monkeypatch.setattr(cluster, "wait", kill_then_wait)
    disturbed = simulate(small(), out=tmp_path / "disturbed", on_event=freeze)
    notes = [e.data["text"] for e in disturbed.folder.read_events() if e.event == "note"]
    assert "Ray lost the worker of shard 1; another does its work again" in notes
    assert len(frozen) == 2
    for name, values in undisturbed.model.parameters.items():
        assert disturbed.model.parameters[name].tobytes() == values.tobytes()
    assert disturbed.homes.equals(undisturbed.homes)
    kept = ["train_loss", "validation_loss", "homes_answered"]
    assert disturbed.rounds.select(kept).equals(undisturbed.rounds.select(kept))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_a_method_keeps_at_home_outlives_a_round(tmp_path: Path) -> None:
    by_method = "method.name=ditto"
    with_ray = simulate(small(by_method), out=tmp_path / "ray")
    vector = small(by_method).change(engine={"name": "vector"})
    here = simulate(vector, out=tmp_path / "vector")
    for model, values in here.model.parameters.items():
        np.testing.assert_allclose(with_ray.model.parameters[model], values, rtol=2e-4, atol=2e-5)
    tuned = [
        {row["home"]: row["score"] for row in run.homes.to_pylist() if row["model"] == "tuned"}
        for run in (with_ray, here)
    ]
    assert tuned[0].keys() == tuned[1].keys()
    for home, score in tuned[0].items():
        assert score == pytest.approx(tuned[1][home], rel=1e-3, abs=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_shard_whose_workers_all_die_ends_the_run(tmp_path: Path) -> None:
    plan = small(f"personalise.name={__name__}:Fatal", "rounds.count=1", "engine.ray_shards=1")
    with pytest.raises(EngineError, match="4 times over the same question") as caught:
        simulate(plan, out=tmp_path / "run")
    assert "out of memory" in caught.value.hint
    assert not RunFolder.open(tmp_path / "run").finished


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_error_in_a_worker_is_told_here(tmp_path: Path) -> None:
    plan = small(f"personalise.name={__name__}:Faulty", "rounds.count=1")
    fault = r"test_ray\.py, line \d+, in trial: ZeroDivisionError: a fault of the user's own"
    with pytest.raises(PluginError, match=fault):
        simulate(plan, out=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_workers_that_are_late_or_of_another_version_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(plan_of(engine={"name": "ray", "ray_shards": 2}))
    with monkeypatch.context() as patch:
        patch.setattr("fedhome.simulations.engines.ray_engine._START_S", 0.0)
        with pytest.raises(EngineError, match="2 of 2 Ray workers did not start"), ray_grid(world):
            pass
    monkeypatch.setattr("fedhome.simulations.engines.ray_engine.version", lambda _: "0.0.1")
    with pytest.raises(EngineError, match=r"fedhome 0\.0\.1 does here"), ray_grid(world):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("joins", [True, False], ids=["joined", "own"])
def test_the_command_leaves_a_cluster_that_it_joined(
    cluster: Any, tmp_path: Path, joins: bool
) -> None:
    kept = cluster.put("still here")
    address = cluster.get_runtime_context().gcs_address
    sets = [word for setting in SMALL for word in ("--set", setting)]
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from fedhome.cli import main; main()", "simulate"),
            *("--engine", "ray", *sets, "--set", "engine.ray_shards=2", "--out", "run"),
            *(("--ray-address", address) if joins else ()),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Ray trains 2 shards of the fleet" in done.stdout
    assert RunFolder.open(tmp_path / "run").finished
    assert cluster.get(kept) == "still here"
