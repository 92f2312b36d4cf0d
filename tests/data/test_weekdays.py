"""What a home's training has not seen whole, the week, says nothing to a model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from fedhome.data.series.local_time import CALENDAR, OF_THE_WEEK, knows_a_week
from fedhome.data.series.windows import examples
from fedhome.data.table import HomeTable
from fedhome.errors import DataError
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.settings import Plan

_HOUR = 3600
_MONDAY = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())


def _inputs(days: int, **changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return a home's inputs by name, of all parts; six tenths of its days are for training."""
    hours = np.arange(24 * days)
    load = np.sin(hours / 3.0) + hours % 5.0
    table = HomeTable(home="h", time_s=_MONDAY + _HOUR * hours, columns={"load": load})
    plain = {"target": "load", "lags": [1], "horizon": 1, "gap": 0}
    data: DataSettings = Plan.load(data=plain | changes).data
    home = examples(table, data, [], "continuous")
    assert home.scaling is not None
    return dict(zip(home.scaling.features, home.x.T, strict=True))


def test_of_less_than_a_week_of_training_weekdays_are_nothing_to_a_model() -> None:
    few = _inputs(10)  # six days of training, and four whose weekdays it has not seen, or once
    for name in CALENDAR:
        if name in OF_THE_WEEK:
            assert not few[name].any(), name
        else:
            assert few[name].std() == pytest.approx(1.0, abs=0.1)


def test_of_a_whole_week_they_are_scaled_as_all_inputs_are() -> None:
    weeks = _inputs(40)  # 24 days of training
    for name in OF_THE_WEEK:
        assert weeks[name].std() == pytest.approx(1.0, abs=0.2), name


def test_what_is_not_scaled_stays_as_it_is() -> None:
    plain = _inputs(10, scale="none")
    assert set(plain["weekend"].tolist()) == {0.0, 1.0}
    assert np.ptp(plain["week sin"]) == pytest.approx(2.0, abs=0.01)


def test_days_of_the_week_are_those_of_the_homes_own_zone() -> None:
    # From Sunday 23:00 to Saturday 22:00 UTC; in Berlin from Monday 0:00 to Saturday 23:00.
    moments = _MONDAY - 3600 + _HOUR * np.arange(6 * 24)
    assert knows_a_week(moments, "UTC")
    assert not knows_a_week(moments, "Europe/Berlin")
    month = np.array([moments[0], moments[0] + 30 * 24 * _HOUR])
    assert knows_a_week(month, "UTC")  # long enough, though there are readings of two days alone
    with pytest.raises(DataError, match="is not a time zone"):
        knows_a_week(moments, "Mars/Olympus")
