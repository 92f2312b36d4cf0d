"""Random outages over six homes and their server: whatever happens, every promise is kept.

``python -m fedhome.simulations.benchmarks.weather`` plays the same for as long as one likes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedhome.simulations.benchmarks.outages.day import Day, plan_of_a_day, undisturbed
from fedhome.simulations.benchmarks.outages.kinds import KINDS

ROUNDS, SEED = 8, 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_a_run_keeps_its_promises_whatever_happens(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "undisturbed", plan_of_a_day(ROUNDS))
    lines: list[str] = []
    day = Day(tmp_path / "day", seed=SEED, kinds=KINDS, say=lines.append)
    assert day.play(expected, runs=1) == [], "\n".join(lines)
    assert sum(day.played.values()) > ROUNDS, lines
