"""Random streams: named, independent of each other, alike in every engine."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedhome import rng

_KEYS = st.integers(0, 2**64 - 1)


def test_streams_depend_on_their_names_alone() -> None:
    assert rng.key(1, "model") == rng.key(1, "model")
    others = {
        rng.key(2, "model"),
        rng.key(1, "batches"),
        rng.key(1, "model", "a"),
        rng.key(1, "model", "a", "b"),
        rng.key(1, "model", "ab"),
        rng.key(1, "model", "a", 2),
    }
    assert len(others | {rng.key(1, "model")}) == 7


def test_a_key_is_the_same_on_every_machine_and_day() -> None:
    # blake2b-64 of "1\x1fmodel"; a change here would change the results of every plan.
    assert rng.key(1, "model") == 842329701607462984


def test_the_generator_draws_the_same_for_the_same_names() -> None:
    first, second = rng.generator(1, "dropout", 3), rng.generator(1, "dropout", 3)
    assert first.random() == second.random()
    assert rng.generator(1, "dropout", 4).random() != rng.generator(1, "dropout", 3).random()


def test_a_homes_key_does_not_depend_on_the_other_homes() -> None:
    assert rng.home_keys(5, ["a", "b", "c"])[1] == rng.home_keys(5, ["b"])[0]
    assert len(set(rng.home_keys(5, [str(n) for n in range(1000)]).tolist())) == 1000


@given(st.lists(_KEYS, min_size=1, max_size=50, unique=True))
def test_mixing_is_one_to_one(values: list[int]) -> None:
    mixed = rng.mix(np.array(values, np.uint64))
    assert len(set(mixed.tolist())) == len(values)


def test_mixing_is_the_published_function() -> None:
    # SplitMix64 seeded with 1234567 gives these numbers first (its reference implementation).
    states = (1234567 + np.arange(1, 4).astype(object) * 0x9E3779B97F4A7C15) % 2**64
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert rng.mix(states.astype(np.uint64)).tolist() == expected


@given(st.lists(st.tuples(_KEYS, st.integers(0, 40)), min_size=1, max_size=6))
def test_each_home_gets_a_permutation_that_is_its_own(homes: list[tuple[int, int]]) -> None:
    keys = np.array([key for key, _ in homes], np.uint64)
    counts = np.array([count for _, count in homes])
    orders = rng.shuffles(keys, counts)
    assert orders.shape == (len(homes), counts.max())
    for row, key, count in zip(orders, keys, counts, strict=True):
        assert sorted(row[:count]) == list(range(count))
        alone = rng.shuffles(np.array([key]), np.array([count]))[0]
        np.testing.assert_array_equal(row[:count], alone)


def test_every_row_is_first_about_equally_often() -> None:
    keys = rng.home_keys(1, [str(n) for n in range(6000)])
    first = rng.shuffles(keys, np.full(6000, 6))[:, 0]
    # 1000 expected of each, standard deviation 29: five of them.
    assert np.abs(np.bincount(first) - 1000).max() < 145


def _mixed(value: int) -> int:
    """Return what SplitMix64's finaliser makes of a number, in Python's whole numbers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


@given(_KEYS, st.integers(0, 10_000), st.integers(0, 1000))
def test_an_epochs_and_a_steps_key_are_the_same_in_every_release(
    key: int, stream: int, number: int
) -> None:
    # A change here would change the order of every plan's batches, and what it ends with.
    golden, keys = 0x9E3779B97F4A7C15, np.array([key], np.uint64)
    turn = _mixed((stream * golden + number + 1) % 2**64)
    assert rng.epoch_keys(keys, stream, number).tolist() == [_mixed(key ^ turn)]
    step = _mixed(key ^ ((number + 1) * golden % 2**64)) >> 32
    assert rng.step_keys(keys, number).tolist() == [step]


def test_epochs_rounds_and_steps_have_keys_of_their_own() -> None:
    keys = rng.home_keys(1, ["a", "b"])
    drawn = [
        tuple(rng.epoch_keys(keys, stream, epoch).tolist())
        for stream in range(30)
        for epoch in range(30)
    ]
    assert len(set(drawn)) == 900
    steps = np.array([rng.step_keys(keys, step) for step in range(100)])
    assert len(np.unique(steps)) == 200
    assert steps.min() >= 0  # below zero would say "no dropout"
    assert steps.max() < 2**32


def test_global_generators_are_pinned_and_put_back() -> None:
    random.seed(4)
    np.random.seed(4)  # noqa: NPY002 - what the strategies of Flower use
    before = (random.random(), np.random.random())  # noqa: S311, NPY002
    random.seed(4)
    np.random.seed(4)  # noqa: NPY002
    drawn = []
    for _ in range(2):
        with rng.pinned_globals(1, "train", 7):
            drawn.append((random.random(), np.random.random()))  # noqa: S311, NPY002
    assert drawn[0] == drawn[1]
    assert (random.random(), np.random.random()) == before  # noqa: S311, NPY002


def test_endless_shuffles_go_through_all_rows_before_any_comes_again() -> None:
    keys, counts = rng.home_keys(1, ["a", "b"]), np.array([3, 7])
    rows = rng.endless_shuffles(keys, counts, stream=4, rows=8)
    assert [sorted(rows[0, :3]), sorted(rows[0, 3:6])] == [[0, 1, 2], [0, 1, 2]]
    assert sorted(rows[1, :7]) == list(range(7))
    first = rng.shuffles(rng.epoch_keys(keys, 4, 0), counts)
    assert rows[0, :3].tolist() == first[0, :3].tolist()
    alone = rng.endless_shuffles(keys[:1], counts[:1], stream=4, rows=8)
    assert rows[0].tolist() == alone[0].tolist()  # whoever else there is
