"""A run that begins with another one's model learns at its plan's warm rate, in every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedhome
from fedhome.errors import ManifestError, UpdateError
from fedhome.plan.settings import Plan
from fedhome.questions.settings import ROUND, WARM, check_settings, train_faults
from fedhome.questions.train_config import TrainConfig
from helpers import tiny

_METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "fedper": {"method": {"name": "fedper"}},
    "ditto": {"method": {"name": "ditto"}},
}


def _end(plan: Plan, out: Path, start: Path | None = None) -> Any:
    result = fedhome.simulate(plan, out=out, start=start)
    assert result.rounds["homes_answered"].to_pylist() == [4, 4]
    return {name: array.copy() for name, array in result.model.parameters.items()}


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("engine", "method"), [("vector", "fedavg"), ("sequential", "fedavg"), ("sequential", "ditto")]
)
def test_the_rate_is_that_share_of_the_plans(tmp_path: Path, engine: str, method: str) -> None:
    plan = tiny.plan(**_METHODS[method], engine={"name": engine})
    _end(plan, tmp_path / "first")
    warm = _end(plan, tmp_path / "warm", tmp_path / "first")
    by_hand = plan.change(train={"learning_rate": 0.2 * 0.05, "warm_rate": 1.0})
    expected = _end(by_hand, tmp_path / "by-hand", tmp_path / "first")
    whole = _end(plan.change(train={"warm_rate": 1.0}), tmp_path / "whole", tmp_path / "first")
    for name, array in warm.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-6)
    assert any(not np.allclose(warm[name], whole[name], atol=1e-4) for name in warm)


def test_a_home_takes_no_other_rate_than_its_plans() -> None:
    plan = tiny.plan(train={"warm_rate": 0.5})
    check_settings(train_faults({ROUND: 1, WARM: 0.5}, plan))
    check_settings(train_faults({ROUND: 1}, plan))
    with pytest.raises(ManifestError, match="warm-rate 0\\.2, and the plan says"):
        check_settings(train_faults({ROUND: 1, WARM: 0.2}, plan))


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5, float("nan"), "0.5", True])
def test_a_rate_that_cannot_be_is_refused(rate: object) -> None:
    with pytest.raises(UpdateError, match="warm-rate"):
        TrainConfig.of({ROUND: 1, WARM: rate})
    assert TrainConfig.of({ROUND: 1, WARM: 0.5}).rate == 0.5
    assert TrainConfig.of({ROUND: 1}).rate == 1.0
