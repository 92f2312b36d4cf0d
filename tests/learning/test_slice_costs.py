"""What a slice costs: numbers and bytes by hand, memory that grows with what has to be held."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from fedhome.errors import EngineError
from fedhome.learning import slice_costs
from fedhome.learning.build import learning_of
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.compiled_modules import compiled_of
from fedhome.learning.fused import FusedMLP
from fedhome.learning.slice_costs import (
    cost_of,
    memory_of,
    step_ms_of,
    torchs_memory,
    torchs_step_ms,
)
from helpers import tiny

pytestmark = pytest.mark.long

TIERS = (
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 0.5},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 0.5},
)


_LITTLE = 4096  # bytes: row numbers, losses, and what Python makes on the way


def _slices(**changes: Any) -> list[Any]:
    plan = tiny.plan(slicing={"tiers": TIERS}, model={"hidden": [8, 8]}).change(**changes)
    return list(carried_slices(plan, learning_of(plan, tiny.FEATURES), tiny.FEATURES))


def test_bytes_up_are_four_for_each_number_that_is_trained() -> None:
    sensor, hub = (cost_of(one, tiny.plan(), tiny.FEATURES) for one in _slices())
    by_hand = 2 * tiny.FEATURES + 2 + 2 + 1  # two units of the first layer, and their exit
    assert (sensor.numbers, sensor.bytes_up) == (by_hand, 4 * by_hand)
    whole = 8 * tiny.FEATURES + 8 + 8 * 8 + 8 + 8 + 1
    assert hub.numbers == whole + 2 + 1  # with the sensor's exit


def test_memory_grows_with_the_slice_the_batch_and_what_the_optimiser_remembers() -> None:
    sensor, hub = (one.rounds.learning for one in _slices())
    larger = _slices(train={"batch_size": 16 * hub.train.batch_size})[0].rounds.learning
    momentum = _slices(train={"momentum": 0.9})[0].rounds.learning
    for of in (memory_of, torchs_memory):
        base = of(sensor, tiny.FEATURES)
        assert base < of(hub, tiny.FEATURES)
        assert base < of(larger, tiny.FEATURES)
        assert of(momentum, tiny.FEATURES) >= base + 4 * sensor.layout.size
    remembered = torchs_memory(momentum, tiny.FEATURES) - torchs_memory(sensor, tiny.FEATURES)
    assert remembered == 4 * sensor.layout.size


def test_memory_is_that_of_the_largest_step_also_of_a_network_alone() -> None:
    """Small batches of the rounds would let a device carry what it cannot train alone."""
    few = {"batch_size": 4}
    large = _slices(train={"batch_size": 128})[0].rounds.learning
    for changes, most in (
        ({"name": "fine-tune", "local_batches": [128]}, memory_of(large, tiny.FEATURES)),
        ({"name": "none", "local_batches": [128]}, 0),
        ({"name": "fine-tune", "local_batches": [128], "opponents": ["seasonal", "trees"]}, 0),
    ):
        plan = tiny.plan(train=few, personalise=changes)
        (sensor, _) = _slices(train=few, personalise=changes)
        in_rounds = memory_of(sensor.rounds.learning, tiny.FEATURES)
        told = cost_of(sensor, plan, tiny.FEATURES).memory
        assert told == max(in_rounds, most)
        assert (told > in_rounds) == bool(most)


def test_torch_holds_at_least_parameters_gradient_rows_and_hidden_outcomes() -> None:
    sensor = _slices()[0].rounds.learning
    rows = sensor.train.batch_size
    least = 4 * (2 * sensor.layout.size + rows * tiny.FEATURES + rows * 2)
    assert least <= torchs_memory(sensor, tiny.FEATURES) <= 4 * least


def test_memory_is_what_the_kernel_asks_for_where_it_trains() -> None:
    for learning in (one.rounds.learning for one in _slices()):
        told, rows = memory_of(learning, tiny.FEATURES), learning.train.batch_size
        x = np.zeros((rows, tiny.FEATURES), np.float32)
        y, order, counts = np.zeros((rows, 1), np.float32), np.arange(rows), np.array([rows])
        kernel = compiled_of(learning)
        kernel.compile(rows)
        tracemalloc.start()
        try:
            params = learning.initial[None].copy()
            kernel.train(params, x, y, order, counts, batch_size=rows, epochs=1, learning_rate=0.1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert told <= peak <= told + _LITTLE


def test_memory_is_torchs_where_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = _slices(model={"dropout": 0.2})[-1].rounds.learning
    assert memory_of(dropped, tiny.FEATURES) == torchs_memory(dropped, tiny.FEATURES)

    def forbidden(*_: object) -> None:
        raise EngineError("no machine code here")

    nested = _slices()[-1].rounds.learning
    assert memory_of(nested, tiny.FEATURES) != torchs_memory(nested, tiny.FEATURES)
    monkeypatch.setattr(FusedMLP, "compile", forbidden)
    assert memory_of(nested, tiny.FEATURES) == torchs_memory(nested, tiny.FEATURES)


def test_a_step_takes_time_and_changes_nothing() -> None:
    sensor = _slices()[0].rounds.learning
    before = sensor.initial.copy()
    assert step_ms_of(sensor, tiny.FEATURES) > 0
    assert (sensor.initial == before).all()


def test_a_step_is_timed_by_what_trains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_torch(*_: object) -> float:
        return -1.0

    monkeypatch.setattr(slice_costs, "torchs_step_ms", by_torch)
    nested, dropped = _slices(), _slices(model={"dropout": 0.2})
    assert all(step_ms_of(one.rounds.learning, tiny.FEATURES) > 0 for one in nested)
    assert all(step_ms_of(one.rounds.learning, tiny.FEATURES) == -1 for one in dropped)
    classes = _slices(task={"kind": "multi-class", "classes": ["a", "b", "c"]})
    assert step_ms_of(classes[-1].rounds.learning, tiny.FEATURES) > 0

    def forbidden(*_: object) -> None:
        raise EngineError("no machine code here")

    monkeypatch.setattr(FusedMLP, "compile", forbidden)
    assert step_ms_of(nested[-1].rounds.learning, tiny.FEATURES) == -1


def test_torchs_own_step_can_be_timed_where_the_kernel_would_train() -> None:
    sensor = _slices()[0].rounds.learning
    before = sensor.initial.copy()
    assert torchs_step_ms(sensor, tiny.FEATURES) > 0
    assert (sensor.initial == before).all()
