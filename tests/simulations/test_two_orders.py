"""Two orders of batches: what is told of homes whose networks are made to differ or not to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.simulations.benchmarks.stated_fleet import AGAIN, StatedFleet, StatedHome
from fedhome.simulations.benchmarks.two_orders import main, orders

_NOW, _DAY = 1_790_000_000 // 86_400 * 86_400, 86_400


def _home(name: str, local: NDArray[np.float64], again: NDArray[np.float64]) -> StatedHome:
    """Return a home of four rows a day, in which the two are off by as much."""
    rows = len(local)
    zero = np.zeros((rows, 1))
    times = _NOW + _DAY // 4 * np.arange(rows)
    stated = {"local": local[:, None], AGAIN: again[:, None]}
    return StatedHome(
        home=name,
        validation=stated,
        later=stated,
        truth=(zero, zero),
        naive=(zero, zero),
        times=(times, times),
    )


def _fleet(*homes: StatedHome) -> StatedFleet:
    return StatedFleet(name="s", seed=1, targets="continuous", experts=(), homes=homes)


def test_a_network_that_is_always_better_differs_in_any_number_of_days() -> None:
    found = orders([_fleet(_home("a", np.full(40, 1.0), np.full(40, 2.0)))], days=(1, 3))
    assert found.differ == 1.0
    assert found.by_days == (0.0, 1.0), "of a single day nothing is told"
    assert found.apart == pytest.approx(1 - 1 / 4)
    assert found.by_coins < 0.2
    assert np.isnan(found.halves), "one home has nothing to go together with"


def test_what_is_alike_in_law_differs_by_chance_and_what_is_not_the_more_the_longer() -> None:
    drawn = np.random.default_rng(3)
    alike, unlike = [], []
    for n in range(80):
        one, other = drawn.normal(size=(2, 4 * 40))
        alike.append(_home(str(n), one, other))
        better = 1.0 + drawn.choice([-0.25, 0.25])
        unlike.append(_home(str(n), one, other * better))
    chance, real = orders([_fleet(*alike)], days=(7,)), orders([_fleet(*unlike)], days=(7,))
    assert chance.differ < 0.12
    assert abs(chance.halves) < 0.3
    assert real.differ > 0.5 > 2 * real.by_days[0]
    assert real.halves > 0.4
    for found in (chance, real):
        assert 0.03 < found.by_coins < 0.08  # of 80 homes, fifty coins each


def test_each_set_of_numbers_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = [_home(str(n), np.full(40, 1.0 + n), np.full(40, 3.0)) for n in range(2)]
    _fleet(*homes).write(tmp_path / "s-1.npz")
    monkeypatch.setattr(sys, "argv", ["two_orders", str(tmp_path)])
    main()
    told = capsys.readouterr().out
    assert told.startswith("s (2): 100% differ; 100% by 3 days, ")
    assert "72.2% apart" in told  # 1 - 1/9 and 1 - 4/9
