"""One home on its own device: the loop over batches, spelt out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict

from fedhome import rng
from fedhome.clients.home import find_home
from fedhome.errors import DataError
from fedhome.learning.cohort import Training
from fedhome.learning.device import Device
from fedhome.learning.local import Batch
from fedhome.learning.losses import row_losses
from fedhome.learning.methods import FedProx
from fedhome.plan.settings import Plan
from helpers import tiny


def _device(plan: Plan, kind: str = "regression") -> Device:
    return Device(tiny.learning(plan), tiny.home("h", (19, 6, 5), kind=kind), plan.seed)


@pytest.mark.long
def test_training_is_the_loop_over_the_homes_own_batches() -> None:
    plan = tiny.plan()
    device = _device(plan)
    learning, data = device.learning, device.examples
    state = learning.init(learning.tensors(learning.initial.copy()))
    losses: list[float] = []
    for epoch in range(2):
        losses = []
        key = rng.epoch_keys(rng.home_keys(plan.seed, ["h"]), 7, epoch)
        order = rng.shuffles(key, np.array([19]))[0]
        for first in range(0, 19, 8):
            rows = order[first : first + 8]
            batch = Batch(
                torch.from_numpy(data.x[rows]),
                torch.from_numpy(data.y[rows]),
                torch.ones(len(rows)),
                torch.tensor(-1),
            )
            state, loss = learning.step(state, batch)
            losses += [float(loss)] * len(rows)
    trained = device.train(learning.initial, Training(stream=7, epochs=2))
    np.testing.assert_array_equal(trained.params[0], learning.flat(state.params))
    assert trained.losses[0] == pytest.approx(np.mean(losses))


@pytest.mark.long
def test_training_leaves_its_start_alone_and_begins_anew_each_time() -> None:
    device = _device(tiny.plan(train={"optimiser": "adam"}))
    start = device.learning.initial.copy()
    first = device.train(start, Training(stream=1, epochs=1)).params
    np.testing.assert_array_equal(start, device.learning.initial)
    np.testing.assert_array_equal(first, device.train(start, Training(stream=1, epochs=1)).params)
    assert not np.array_equal(first, device.train(start, Training(stream=2, epochs=1)).params)


def test_only_the_asked_part_is_learnt_from() -> None:
    plan = tiny.plan()
    device, start = _device(plan), _device(plan).learning.initial
    before = device.train(start, Training(stream=1, epochs=1)).params
    both = device.train(start, Training(stream=1, epochs=1, part="train+validation")).params
    device.examples.x[19:] = 100.0  # validation and test rows (the tensors share this memory)
    np.testing.assert_array_equal(before, device.train(start, Training(stream=1, epochs=1)).params)
    changed = device.train(start, Training(stream=1, epochs=1, part="train+validation")).params
    assert not np.array_equal(both, changed)


def test_rates_and_pulls_are_taken_for_one_call() -> None:
    plan = tiny.plan()
    device, start = _device(plan), _device(plan).learning.initial
    slow = _device(plan.change(train={"learning_rate": plan.train.learning_rate * 0.5}))
    np.testing.assert_array_equal(
        device.train(start, Training(stream=1, epochs=1, rate=0.5)).params,
        slow.train(start, Training(stream=1, epochs=1)).params,
    )
    free = np.linalg.norm(device.train(start, Training(stream=1, epochs=3)).params - start)
    pull = FedProx(proximal_mu=5.0)
    held = np.linalg.norm(
        device.train(start, Training(stream=1, epochs=3, method=pull)).params - start
    )
    assert held < 0.8 * free


@pytest.mark.parametrize("kind", ["regression", "binary", "multi-class"])
def test_evaluation_is_the_mean_over_the_rows(kind: str) -> None:
    device = _device(tiny.plan(task={"kind": kind}), kind)
    learning, data = device.learning, device.examples
    measured = device.evaluate(learning.initial, "validation")
    rows = data.rows("validation")
    with torch.no_grad():
        output = learning.model(torch.from_numpy(data.x[rows]))
    losses = row_losses(learning.task.loss, output, torch.from_numpy(data.y[rows]))
    assert measured.losses[0] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert set(measured.metrics) == set(learning.task.metrics)
    assert device.counts("validation").tolist() == [6]


@pytest.mark.parametrize("kind", ["regression", "binary", "multi-class"])
def test_outputs_are_the_models_and_are_measured_as_it_is(kind: str) -> None:
    device = _device(tiny.plan(task={"kind": kind}), kind)
    learning, data = device.learning, device.examples
    output = device.predict(learning.initial, "test")
    with torch.no_grad():
        expected = learning.model(torch.from_numpy(data.x[data.rows("test")])).numpy()
    np.testing.assert_array_equal(output, expected)
    assert device.measure(output, "test") == device.evaluate(learning.initial, "test").metrics


def test_the_rows_of_a_part_are_the_homes_own() -> None:
    device = _device(tiny.plan())
    data = device.examples
    for part in ("train", "validation", "test", "train+validation"):
        rows, own = device.rows(part), data.rows(part)
        np.testing.assert_array_equal(rows.x, data.x[own])
        np.testing.assert_array_equal(rows.y, data.y[own])
        np.testing.assert_array_equal(rows.naive, data.naive[own])
        assert rows.times.tolist() == list(range(own.start, own.stop))  # they have no time
        assert rows.seasons.shape == (own.stop - own.start, 0)
        assert rows.counts.tolist() == [own.stop - own.start]
        assert rows.units.tolist() == [data.unit]


def test_persistence_has_a_skill_of_zero() -> None:
    device = _device(tiny.plan())
    baseline = device.baseline("test")
    assert baseline.metrics["skill"][0] == pytest.approx(0.0)
    assert np.isnan(baseline.losses[0])


def _context(plan: Path, **node: str | int) -> Context:
    return Context(
        run_id=1,
        node_id=2,
        node_config=dict(node),
        state=RecordDict(),
        run_config={"plan": str(plan)},
    )


def _readings(folder: Path, words: list[str]) -> Path:
    file = folder / "readings.csv"
    times = [f"2024-01-{1 + row // 24:02}T{row % 24:02}:00:00Z" for row in range(len(words))]
    lines = [
        f"{time},{row % 7},{word}"
        for row, (time, word) in enumerate(zip(times, words, strict=True))
    ]
    file.write_text("\n".join(["time,motion,doing", *lines]) + "\n")
    return file


def test_a_real_home_numbers_its_words_as_the_plan_does(tmp_path: Path) -> None:
    file = _readings(tmp_path, ["sleep", "cook", "cook"] * 20)
    table: dict[str, Any] = {
        "data": {"target": "doing", "horizon": 0, "lags": [], "calendar": False, "gap": 0}
        | {"inputs": [{"name": "motion"}]},
        "task": {"kind": "multi-class"},
        "model": {"hidden": [4]},
    }
    named = tmp_path / "named.toml"
    named.write_text(
        Plan.load(**table).change(task={"classes": ["sleep", "eat", "cook"]}).to_toml()
    )
    device = find_home(_context(named, data=str(file))).device
    assert device.learning.task.outputs == 3
    assert device.examples.y[:6].tolist() == [0, 2, 2, 0, 2, 2]

    unnamed = tmp_path / "unnamed.toml"
    unnamed.write_text(Plan.load(**table).to_toml())
    with pytest.raises(DataError, match="only the words in its own readings") as caught:
        find_home(_context(unnamed, data=str(file)))
    assert "task.classes" in caught.value.hint


def test_simulated_homes_are_found_by_their_number(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(tiny.plan(data={"homes": 2}).to_toml())
    names = [find_home(_context(file, **{"partition-id": n})).device.homes[0] for n in (0, 1)]
    assert len(set(names)) == 2
    with pytest.raises(DataError, match="there is no home 2"):
        find_home(_context(file, **{"partition-id": 2}))
    with pytest.raises(DataError, match="names no data"):
        find_home(_context(file))
