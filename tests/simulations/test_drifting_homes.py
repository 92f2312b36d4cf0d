"""Homes whose level leaves what training saw: what they end with follows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fedhome
from fedhome.data.table import HomeTable
from fedhome.run.results import scores

_ROWS, _TURN = 400, 310  # after training and validation, before most test rows
_MOMENTUM, _RISE = 0.7, 4.0


def _homes() -> list[HomeTable]:
    """Return readings whose changes have momentum, about a level that rises from some row on.

    Of white noise with a momentum m, the last value errs by the variance of changes, and who knows
    m by 1 - m² of it: a skill of 0.49 is to be had. The rise is 3 of its standard deviations a
    step, and part of each change.
    """
    draw = np.random.default_rng(3)
    homes = []
    for number in range(6):
        change = np.zeros(_ROWS)
        for row in range(1, _ROWS):
            change[row] = _MOMENTUM * change[row - 1] + draw.normal()
        level = np.cumsum(change - change.mean())
        level += _RISE * np.maximum(np.arange(_ROWS) - _TURN, 0)
        homes.append(
            HomeTable(
                home=f"home-{number}", time_s=3600 * np.arange(_ROWS), columns={"load": level}
            )
        )
    return homes


def _plan(learns: str) -> fedhome.Plan:
    return fedhome.Plan.load(
        seed=2,
        data={"target": "load", "lags": [1, 2, 3], "calendar": False, "learns": learns},
        model={"hidden": [16]},
        rounds={"count": 6},
        personalise={"epochs": 10, "local_epochs": 10},
        aggregation={"mode": "plain"},
    )


def _means(run: fedhome.Result) -> dict[str, float]:
    return {name: float(np.mean([*each.values()])) for name, each in scores(run.homes).items()}


def test_a_mixture_is_ahead_of_the_last_value_where_the_level_rises(tmp_path: Path) -> None:
    homes = _homes()
    training = homes[0].columns["load"][:220]
    assert homes[0].columns["load"][-1] > training.mean() + 5 * training.std()
    run = fedhome.simulate(_plan("change"), homes=homes, out=tmp_path / "run")
    found = _means(run)
    for model in ("personalised", "tuned", "linear", "trees", "local"):
        assert found[model] > 0.2, model
    # What was kept follows as well: the last moments, far above what it was fitted to.
    for home in homes:
        predicted = run.models[home.home].predict(home)["value"].to_numpy()[-40:-1]
        true, last = home.columns["load"][-39:], home.columns["load"][-40:-1]
        assert np.mean((predicted - true) ** 2) < np.mean((last - true) ** 2)


def test_learnt_as_it_is_a_level_is_not_followed(tmp_path: Path) -> None:
    found = _means(fedhome.simulate(_plan("level"), homes=_homes(), out=tmp_path / "run"))
    assert found["trees"] < 0
