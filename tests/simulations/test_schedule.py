"""The steps of a chunk: every row once a pass, in its home's order, padding without weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedhome import rng
from fedhome.simulations.engines.batches import Rows, Schedule


def rows_of(counts: list[int], epochs: int = 2) -> Rows:
    count = np.array(sorted(counts, reverse=True))
    begin = np.cumsum(count) - count
    home_keys = rng.home_keys(1, [f"home-{place}" for place in range(len(count))])
    keys = [rng.epoch_keys(home_keys, 1, epoch) for epoch in range(epochs)]
    orders = [begin[:, None] + rng.shuffles(key, count) for key in keys]
    return Rows(orders=orders, counts=count, keys=keys)


@pytest.mark.long
@given(st.lists(st.integers(0, 40), min_size=1, max_size=9), st.integers(1, 17), st.booleans())
def test_a_home_sees_each_of_its_rows_once_a_pass_in_its_order(
    counts: list[int], batch_size: int, powers: bool
) -> None:
    rows = rows_of(counts)
    schedule = Schedule(rows, batch_size, put=torch.from_numpy, draws=True, powers=powers)
    passes = list(schedule.passes())
    assert len(passes) == 2
    for order, draws in zip(rows.orders, passes, strict=True):
        seen: list[list[int]] = [[] for _ in counts]
        for step, drawn, mask, key, weight in draws:
            assert len(key) == len(weight) == step.active
            batch = drawn.view(step.active, step.rows).numpy()
            real = mask.numpy() if step.masked else np.ones_like(batch)
            np.testing.assert_array_equal(real.sum(axis=1), weight.numpy())
            for home in range(step.active):
                seen[home] += batch[home][real[home] > 0].tolist()
                its_own = order[home, : rows.counts[home]]
                assert set(batch[home].tolist()) <= set(its_own.tolist())  # padding too
        assert seen == [
            order[home, :count].tolist() for home, count in enumerate(rows.counts.tolist())
        ]


def test_short_batches_are_padded_to_powers_of_two_or_masked() -> None:
    rows = rows_of([11, 8, 8])
    given_powers = Schedule(rows, 8, put=torch.from_numpy, draws=False, powers=True)
    assert [(s.active, s.rows, s.masked) for s in given_powers.steps] == [
        (3, 8, False),
        (1, 4, True),
    ]
    given_masks = Schedule(rows, 8, put=torch.from_numpy, draws=False, powers=False)
    assert [(s.active, s.rows, s.masked) for s in given_masks.steps] == [(3, 8, True), (1, 3, True)]
    (first, _), *_ = given_masks.passes()
    assert first.key.tolist() == [0, 0, 0]


@pytest.mark.parametrize("draws", [True, False])
def test_keys_are_those_of_a_home_that_learns_alone(draws: bool) -> None:
    rows = rows_of([9, 4], epochs=1)
    schedule = Schedule(rows, 4, put=torch.from_numpy, draws=draws, powers=True)
    (draws_of_pass,) = schedule.passes()
    for number, draw in enumerate(draws_of_pass):
        alone = [int(rng.step_keys(rows.keys[0][home : home + 1], number)[0]) for home in range(2)]
        assert draw.key.tolist() == (alone if draws else [0, 0])[: draw.step.active]
