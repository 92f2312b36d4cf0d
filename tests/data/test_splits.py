"""Rows in three parts, and as if a home were new."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedhome.data.series.splits import AsNew, rehearsal, split
from fedhome.data.series.windows import examples
from fedhome.data.table import HomeTable
from fedhome.plan.data_settings import DataSettings

HOUR_S = 3600
DATA = DataSettings(history_days=10)


def hours(days: int) -> np.ndarray:
    return 1_700_000_000 // HOUR_S * HOUR_S + np.arange(24 * days) * HOUR_S


def test_a_rehearsal_has_the_last_days_of_training_and_no_test_row() -> None:
    time_s, y = hours(20), np.zeros(480)
    whole = split(y, time_s, DATA, gap=24)
    train, validation, test = rehearsal(y, time_s, DATA, gap=24, as_new=AsNew(2))
    assert test.tolist() == whole[1].tolist()
    assert not set(whole[2].tolist()) & {*train.tolist(), *validation.tolist(), *test.tolist()}
    # Two days are 48 rows: three quarters to train, of which a tenth of all is the gap, 4 rows.
    assert (len(train), len(validation)) == (36 - 4, 12)
    assert validation[-1] == whole[0][-1]
    assert train[0] == whole[0][-1] - 47


@pytest.mark.parametrize(("days", "rows"), [(20, 96), (5, 24), (2, 24)])
def test_a_share_is_of_the_newest_rows_and_no_less_than_a_day(days: int, rows: int) -> None:
    """By hand: a third of 12 days of training rows; of 3 and of 1.2 days it would be a day."""
    time_s, y = hours(days), np.zeros(24 * days)
    data = DataSettings()
    whole = split(y, time_s, data, gap=0)
    train, validation, test = rehearsal(y, time_s, data, gap=0, as_new=AsNew(math.inf, 1 / 3))
    assert (len(train), len(validation)) == (rows * 3 // 4, rows // 4)
    assert [*train, *validation] == whole[0][-rows:].tolist()
    assert test.tolist() == whole[1].tolist()


def test_each_class_has_its_own_last_days() -> None:
    time_s, y = hours(20), np.repeat([0.0, 1.0], 240)
    data = DataSettings(split_by="class", horizon=0)
    train, validation, _ = rehearsal(y, time_s, data, gap=0, as_new=AsNew(1))
    for value in (0.0, 1.0):
        own = [rows[y[rows] == value] for rows in (train, validation)]
        assert [len(rows) for rows in own] == [18, 6]


@pytest.mark.parametrize(("days", "rows"), [(1, 24), (2, 48)])
def test_of_rows_without_times_24_count_as_a_day(days: int, rows: int) -> None:
    table = HomeTable(
        home="a",
        time_s=np.arange(400),
        columns={"x": np.arange(400.0), "y": np.arange(400.0)},
    )
    data = DataSettings(target="y", horizon=0, history_days=days, gap=0)
    home = examples(table, data, ["x"], "continuous")
    assert sum(home.counts[:2]) == rows
    assert home.counts[2] == 80
