"""The compiled sum of rounded updates is, bit for bit, what homes would have sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fedhome.simulations.engines.chunk_sums
from fedhome.secagg import FixedPoint
from fedhome.simulations.benchmarks.workloads import S
from fedhome.simulations.engines.rounding import Rounding, rounding
from fedhome.simulations.simulate import simulate
from helpers.examples import share_of


@pytest.mark.long
@settings(max_examples=share_of(60))
@given(
    bits=st.integers(2, 24),
    homes=st.integers(1, 40),
    size=st.sampled_from([1, 2, 7, 8, 15, 16, 17, 33, 1000, 40_000]),
    scale=st.sampled_from([1e-12, 1e-3, 0.1, 10.0, 1e30]),
    seed=st.integers(0, 1000),
)
def test_sums_are_those_of_single_homes(
    bits: int, homes: int, size: int, scale: float, seed: int
) -> None:
    drawn = np.random.default_rng(seed)
    fixed = FixedPoint(bits, 0.05, "linf", 100)
    start = drawn.normal(size=size).astype(np.float32)
    change = (drawn.normal(size=(homes, size)) * scale).astype(np.float32)
    params = start + change
    weights = drawn.integers(0, 150, homes)  # some count as 100
    keys = [drawn.bytes(32) for _ in range(homes)]
    each = fixed.quantise(params - start, weights, keys)
    found = rounding().sums(fixed, params, start, weights, keys)
    np.testing.assert_array_equal(found, each.sum(axis=0, dtype=np.int64))
    largest = np.abs(params - start).max(axis=1)
    np.testing.assert_array_equal(rounding().largest(params, start), largest)


def test_sums_of_more_homes_than_32_bits_hold() -> None:
    fixed = FixedPoint(24, 1.0, "linf", 1)
    homes = 300  # 300 * (2^23 - 1) is above 2^31
    params = np.full((homes, 3), 5.0, np.float32)
    keys = [number.to_bytes(32, "big") for number in range(homes)]
    weights = np.ones(homes, np.int64)
    found = rounding().sums(fixed, params, np.zeros(3, np.float32), weights, keys)
    np.testing.assert_array_equal(found, [300 * (2**23 - 1)] * 3)


def test_what_was_found_of_updates_is_not_looked_for_again() -> None:
    drawn = np.random.default_rng(3)
    fixed, start = FixedPoint(9, 0.05, "linf", 100), np.zeros(21, np.float32)
    params = drawn.normal(size=(4, 21)).astype(np.float32)
    weights, keys = np.array([1, 2, 30, 400]), [drawn.bytes(32) for _ in range(4)]
    told = rounding().largest(params, start)
    expected = rounding().sums(fixed, params, start, weights, keys)
    np.testing.assert_array_equal(
        rounding().sums(fixed, params, start, weights, keys, largest=told), expected
    )
    halved = rounding().sums(fixed, params, start, weights, keys, largest=2 * told)
    assert np.abs(halved).sum() < np.abs(expected).sum()  # what is told is what counts


def test_an_ideal_round_looks_at_each_update_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: list[int] = []
    largest, sums = Rounding.largest, Rounding.sums
    added: list[int] = []

    def counted(self: Rounding, params: Any, start: Any) -> Any:
        homes.append(len(params))
        return largest(self, params, start)

    def noted(self: Rounding, fixed: Any, params: Any, *given: Any, **named: Any) -> Any:
        added.append(len(params))
        return sums(self, fixed, params, *given, **named)

    monkeypatch.setattr(Rounding, "largest", counted)
    monkeypatch.setattr(Rounding, "sums", noted)
    tiny = replace(S, rows=12, clients=7, batch_size=8)
    monkeypatch.setattr("fedhome.simulations.benchmarks.workloads.S", tiny)
    plan = tiny.plan(clients=7, rounds=2).change(aggregation={"mode": "ideal", "clip_in": "linf"})
    simulate(plan, out=tmp_path / "run")
    assert sum(added) == 14  # seven homes, two rounds
    assert homes == added


@pytest.mark.parametrize("place", [0, 15, 16, 18])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_change_that_is_not_finite_shows(place: int, bad: float) -> None:
    params = np.ones((3, 19), np.float32)
    params[1, place] = bad
    largest = rounding().largest(params, np.zeros(19, np.float32))
    assert np.isfinite(largest).tolist() == [True, False, True]


@pytest.mark.long
@pytest.mark.parametrize("clip_in", ["linf", "l2"])
def test_a_simulation_without_machine_code_sums_the_same(
    clip_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(S, rows=12, clients=7, batch_size=8)
    monkeypatch.setattr("fedhome.simulations.benchmarks.workloads.S", tiny)
    plan = tiny.plan(clients=7, rounds=3).change(aggregation={"mode": "ideal", "clip_in": clip_in})
    compiled = simulate(plan, out=tmp_path / "compiled").model.parameters
    monkeypatch.setattr(fedhome.simulations.engines.chunk_sums, "rounding_if_any", lambda: None)
    plain = simulate(plan, out=tmp_path / "plain").model.parameters
    for name, values in compiled.items():
        np.testing.assert_array_equal(values, plain[name])
