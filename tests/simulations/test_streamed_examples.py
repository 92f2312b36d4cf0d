"""Examples that do not fit on a GPU: sent in turns, and learnt from as if all were there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedhome.errors import EngineError
from fedhome.learning.cohort import Training
from fedhome.simulations.benchmarks.workloads import S
from fedhome.simulations.engines.compute_device import Placement
from fedhome.simulations.engines.shard import Shard
from fedhome.simulations.engines.stacked_homes import Spans, StackedHomes
from fedhome.simulations.engines.streamed_examples import bytes_of, parts_of
from fedhome.simulations.simulate import simulate
from helpers import tiny
from helpers.as_a_gpu import AsAGpu, stand_in
from helpers.elsewhere import cohort_on

HOMES = ((23, 6, 7), (9, 4, 5), (41, 5, 4), (16, 7, 6), (30, 4, 4), (12, 4, 4))
ROW = 4 * (tiny.FEATURES + 1)  # bytes of a row's inputs and its target
ROOM = 2 * 45 * ROW  # a part has 45 rows at most


def run_on(placement: Placement, tmp_path: Path, **changes: Any) -> Any:
    """Return how a run with this placement in place of a GPU ends, and what it noted."""
    plan = tiny.plan(engine={"device": "cuda", "kernel": "eager"}, **changes)
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, placement)
        return tiny.run(plan, tiny.homes(HOMES), tmp_path).state


def test_homes_learn_the_same_from_examples_that_come_in_turns(tmp_path: Path) -> None:
    held, streamed = AsAGpu(), AsAGpu(ROOM)
    whole = run_on(held, tmp_path / "held")
    parts = run_on(streamed, tmp_path / "streamed")
    assert parts.flat.tobytes() == whole.flat.tobytes()
    for row, same in zip(parts.rows, whole.rows, strict=True):
        # In narrower blocks a loss is added up in another order.
        assert row["train_loss"] == pytest.approx(same["train_loss"], rel=1e-6)
        assert row["validation_loss"] == pytest.approx(same["validation_loss"], rel=1e-6)
    assert not held.copies.events
    sent = [rows for what, rows in streamed.copies.events if what == "send"]
    assert max(sent) <= 45
    assert sum(sent) == 2 * sum(train for train, _, _ in HOMES)  # two rounds
    here = tiny.run(tiny.plan(), tiny.homes(HOMES), tmp_path / "processor").state
    np.testing.assert_allclose(parts.flat, here.flat, rtol=2e-4, atol=2e-5)


@pytest.mark.long
def test_sums_of_a_whole_simulation_are_the_same_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(S, rows=12, clients=7, batch_size=8)
    monkeypatch.setattr("fedhome.simulations.benchmarks.workloads.S", few)
    plan = few.plan(clients=7, rounds=2, kernel="eager")
    plan = plan.change(aggregation={"mode": "ideal"}, engine={"device": "cuda"})
    found, notes = [], []
    for room in (None, 2 * 30 * 4 * 11):
        with pytest.MonkeyPatch.context() as patch:
            stand_in(patch, placement := AsAGpu(room))
            result = simulate(plan, out=tmp_path / f"{room}", on_event=notes.append)
        found.append(np.concatenate([a.ravel() for a in result.model.parameters.values()]))
        assert bool(placement.copies.events) == (room is not None)
    assert found[0].tobytes() == found[1].tobytes()
    told = [note.data["text"] for note in notes if note.event == "note"]
    assert sum("engine.examples_gb" in text for text in told) == 1


def test_two_parts_are_there_at_a_time_and_the_next_is_on_its_way(tmp_path: Path) -> None:
    streamed = AsAGpu(ROOM)
    run_on(streamed, tmp_path)
    sent = used = 0
    for what, _ in streamed.copies.events:
        sent, used = sent + (what == "send"), used + (what == "use")
        assert used <= sent <= used + 1
    assert sent == used > 4


def test_with_steps_in_place_of_passes_and_a_start_for_each_home() -> None:
    plan = tiny.plan(engine={"kernel": "eager"})
    learning, fleet = tiny.learning(plan), StackedHomes.of(tiny.homes(HOMES))
    starts = np.random.default_rng(1).standard_normal((len(HOMES), learning.layout.size))
    starts = starts.astype(np.float32)
    found = []
    for placement in (AsAGpu(), AsAGpu(ROOM)):
        cohort = cohort_on(plan, learning, fleet, placement)
        steps = cohort.train(starts, Training(stream=1, epochs=1, steps=5))
        again = cohort.train(starts, Training(stream=2, epochs=2, towards=0.5 * starts))
        alone = cohort.evaluate(steps.params, "test")
        output = cohort.predict(again.params, "validation")
        found.append([steps.params, steps.losses, again.params, alone.losses, output])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("where", "what"), [(AsAGpu, "examples"), (Shard, "_sums")])
def test_an_error_says_what_failed_on_a_gpu_wherever_it_fails(
    where: type, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(where, what, full)
    with pytest.raises(EngineError, match="cpu failed: CUDA out of memory"):
        run_on(AsAGpu(), tmp_path)


def test_parts_hold_as_many_homes_as_there_is_room_for() -> None:
    fleet = StackedHomes.of(tiny.homes(HOMES))
    assert bytes_of(fleet) == ROW * sum(map(sum, HOMES))
    begin, counts = fleet.spans(np.arange(6), "train")
    chunk = Spans(np.arange(6), begin, counts)
    assert parts_of(fleet, chunk, ROOM) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6)]
    assert parts_of(fleet, chunk, 100 * ROOM) == [slice(0, 6)]
    with pytest.raises(EngineError, match=r"a home's examples take .* GB on the GPU") as caught:
        parts_of(fleet, chunk, 2 * 40 * ROW)
    assert "engine.examples_gb" in caught.value.hint


def test_a_notice_says_how_much_there_is_and_in_how_many_parts_it_goes_over() -> None:
    fleet = StackedHomes.of(tiny.homes(HOMES))
    assert AsAGpu().told_of(fleet) == ""
    assert AsAGpu(bytes_of(fleet)).told_of(fleet) == ""
    told = AsAGpu(ROOM).told_of(fleet)
    assert "engine.examples_gb" in told
    assert "in 4 parts or more" in told
