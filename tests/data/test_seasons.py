"""What a series was a year before: the same month, quarter, week or weekday, by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.data.series.windows import windows
from fedhome.data.table import HomeTable
from fedhome.plan.settings import Plan

_FIRSTS = [date(year, month, 1) for year, month in product(range(2015, 2024), range(1, 13))]
_NOWHERE = float("nan")


def _year_before(days: list[date], zone: str = "UTC") -> tuple[NDArray[np.float64], list[date]]:
    """Return what seasons say of each predicted day, and these days; each reads its own number."""
    hour = 0 if zone == "UTC" else 5  # midnight in winter, one o'clock in summer
    times = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp() for day in days]
    table = HomeTable(
        home="h",
        time_s=np.array(times, np.int64),
        columns={"load": np.array([day.toordinal() for day in days], np.float64)},
        time_zone=zone,
    )
    data = Plan.load(data={"target": "load", "lags": [1], "horizon": 1, "gap": 0}).data
    cut = windows(table, data, [])
    return cut.seasonal, [date.fromordinal(int(day)) for day in cut.y]


@pytest.mark.parametrize("every", [1, 3, 6])
def test_of_months_and_quarters_it_is_the_same_one_of_the_year_before(every: int) -> None:
    seasonal, predicted = _year_before(_FIRSTS[::every])
    for found, day in zip(seasonal[:, 2].tolist(), predicted, strict=True):
        if day.year == 2015:
            assert np.isnan(found)
        else:
            assert date.fromordinal(int(found)) == day.replace(year=day.year - 1)
    assert np.isnan(seasonal[:, :2]).all()  # neither day nor week


def test_a_month_that_is_missing_is_no_other_month() -> None:
    lacking = [day for day in _FIRSTS if day != date(2020, 3, 1)]
    seasonal, predicted = _year_before(lacking)
    of = dict(zip(predicted, seasonal[:, 2].tolist(), strict=True))
    assert np.isnan(of[date(2021, 3, 1)])
    assert of[date(2021, 4, 1)] == date(2020, 4, 1).toordinal()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("every", [1, 7])
def test_of_days_and_weeks_it_is_the_same_weekday_364_days_before(every: int, zone: str) -> None:
    days = [date(2021, 1, 4) + timedelta(days=n) for n in range(0, 800, every)]
    seasonal, predicted = _year_before(days, zone)
    for found, day in zip(seasonal[:, 2].tolist(), predicted, strict=True):
        known = day >= date(2021, 1, 4) + timedelta(days=364)
        assert found == pytest.approx(day.toordinal() - 364 if known else _NOWHERE, nan_ok=True)


def test_years_have_none() -> None:
    seasonal, _ = _year_before([date(year, 1, 1) for year in range(1990, 2020)])
    assert seasonal.shape == (29, 3)
    assert np.isnan(seasonal).all()
