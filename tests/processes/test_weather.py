"""Random outages over six homes and their server: whatever happens, every promise is kept.

``python -m fedhome.simulations.benchmarks.weather`` plays the same for as long as one likes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedhome.simulations.benchmarks.outages.day import Day, plan_of_a_day, undisturbed
from fedhome.simulations.benchmarks.outages.kinds import KINDS
from fedhome.simulations.benchmarks.outages.upheavals import UPHEAVALS

ROUNDS, SEED, LEAST = 10, 1, 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_a_run_keeps_its_promises_whatever_happens(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "undisturbed", plan_of_a_day(ROUNDS))
    everything = KINDS | UPHEAVALS
    kinds = {name: kind for name, kind in everything.items() if not kind.lacks()}
    lines: list[str] = []
    day = Day(tmp_path / "day", seed=SEED, kinds=kinds, say=lines.append)
    assert day.play(expected, runs=1, least=LEAST) == [], "\n".join(lines)
    assert len(day.played) >= LEAST, lines
