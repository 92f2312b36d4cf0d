"""The benchmark from a reading to its prediction gives a real home real readings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedhome.simulations.benchmarks.event_to_prediction import event_costs, table_of


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")
def test_each_reading_is_recorded_and_a_prediction_follows_from_it(tmp_path: Path) -> None:
    costs = event_costs(events=3, folder=tmp_path)
    figures = (costs.recorded, costs.watched, costs.asked, costs.numbers)
    assert [len(each) for each in figures] == [3] * 4
    assert all(seconds > 0 for each in figures for seconds in each)
    assert costs.rows == 14 * 24, "all readings are in the home's store at the end"
    assert table_of(costs).row_count == len(figures)
