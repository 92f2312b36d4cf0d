"""A fleet that nobody touches for a year keeps predicting better than no learning, and stays small.

A clock that jumps takes the place of waiting; :mod:`helpers.virtual_year` says what is real. Runs
are two weeks apart, in the last fortnight a day, and the days between are predicted day by day;
``python -m helpers.year_alone --days 365`` plays a run on every day. Processes and connections are
the subject of :mod:`fedhome.simulations.benchmarks.weather`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fedhome.personal import stored_models
from helpers.year_alone import USUAL, play


@pytest.mark.slow
@pytest.mark.timeout(1500)  # eighty seconds, and ten times that beside other work
def test_a_year_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def downgrade() -> None:
        for name in ("FORMAT", "USUAL"):
            monkeypatch.setattr(stored_models, name, stored_models.USUAL - 1)

    play(tmp_path, USUAL, downgrade=downgrade).check()
