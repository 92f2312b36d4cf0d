"""What of a home's rows had come when another was predicted."""

from __future__ import annotations

import numpy as np
import pytest

from fedhome.personal.followed_band import known_before
from fedhome.plan.data_settings import DataSettings

_HOURS = 3600 * np.arange(6) + 1_700_000_000


@pytest.mark.parametrize(
    ("horizon", "known"),
    [
        (1, [0, 1, 2, 3, 4, 5]),
        (3, [0, 0, 0, 1, 2, 3]),
        ("3h", [0, 0, 0, 1, 2, 3]),
        ("1d", [0] * 6),
        (0, [0, 1, 2, 3, 4, 5]),
        (None, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_row_knows_those_that_lie_the_horizon_before(
    horizon: int | str | None, known: list[int]
) -> None:
    data = DataSettings(horizon=horizon)
    assert known_before(data, _HOURS, timeless=False).tolist() == known


def test_rows_without_times_are_counted() -> None:
    found = known_before(DataSettings(horizon=2), np.arange(5), timeless=True)
    assert found.tolist() == [0, 0, 1, 2, 3]


def test_after_a_gap_all_before_it_is_known() -> None:
    at = np.delete(_HOURS, [3])
    assert known_before(DataSettings(horizon=2), at, timeless=False).tolist() == [0, 0, 1, 3, 3]
