"""An attacker with a canary learns no more than the accounting allows, and more where it would.

The strongest attack that the promise is about: everything is known but whether a home added its
canary (an update as long as the clip, all in one number) or nothing; homes have dropped to the
fewest in a sum; and corrupt homes told their noise, which is taken off. Each home of a sum has a
number of its own for its canary, so a sum is seen once for each home. From many sums follows a
lower bound on epsilon that holds but for one chance in a thousand (Clopper and Pearson's intervals
for both error rates).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedhome.plan.private_plan import cohort_of, private_run
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form
from fedhome.server.rounds.noise_budget import NoiseBudget

pytestmark = pytest.mark.long

HOMES, LEAST, SUMS, CLIP = 20, 14, 900, 0.3
_DOUBT = 1e-3 / 2  # a half for each of two rates; both thresholds are fixed on other trials


def _plan(epsilon: float) -> Plan:
    return Plan.parse(
        {
            "privacy": {"mechanism": "discrete-gaussian", "epsilon": epsilon, "clip": CLIP},
            "rounds": {"count": 1, "evaluate_fraction": 0.0},
            "personalise": {"name": "none"},
        }
    )


def _keys(name: str, count: int) -> list[bytes]:
    return [hashlib.sha256(f"{name} {home}".encode()).digest() for home in range(count)]


def _seen(form: Form, *, told: int, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the attacker sees of canaries that were there, and that were not, in clips."""
    draw = np.random.default_rng([*name.encode()])
    ones, values = np.ones(LEAST, np.int64), np.zeros((LEAST, 0))
    seen, there = np.empty((SUMS, LEAST)), draw.random((SUMS, LEAST)) < 0.5
    for number in range(SUMS):
        updates = (CLIP * np.diag(there[number])).astype(np.float32)
        noise = _keys(f"{name} {number} noise", LEAST)
        rounding = _keys(f"{name} {number} rounding", LEAST)
        total = form.total(updates, ones, values, rounding, noise)
        known = form.noise_sums(noise[LEAST - told :], told) if told else 0
        seen[number] = form.packing.unpack(total, elements=1 + LEAST, homes=LEAST)[1:] - known
    seen /= form.fixed.most
    return seen[there], seen[~there]


def _lower_bound(with_canary: NDArray[np.float64], without: NDArray[np.float64]) -> float:
    """Return the greatest epsilon that these observations refute, at delta 1e-5."""
    half = min(len(with_canary), len(without)) // 2
    best, chosen = -math.inf, 0.0
    for threshold in np.quantile(without[:half], np.linspace(0.5, 0.999, 60)):
        bound = _bound(with_canary[:half] > threshold, without[:half] > threshold)
        if bound > best:
            best, chosen = bound, float(threshold)
    return _bound(with_canary[half:] > chosen, without[half:] > chosen)


def _bound(hits: NDArray[np.bool_], alarms: NDArray[np.bool_]) -> float:
    least_hits = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(1 - 2 * _DOUBT).low
    most_alarms = stats.binomtest(int(alarms.sum()), len(alarms)).proportion_ci(1 - 2 * _DOUBT).high
    return math.log(max(least_hits - 1e-5, 1e-12) / most_alarms)


def _audit(folder: Path, epsilon: float, *, told: int | None = None, weaker: float = 1.0) -> float:
    plan = _plan(epsilon)
    with EventLog(folder / "events.jsonl") as log:
        budget = NoiseBudget(plan, homes=HOMES, parameters=LEAST, log=log)
    bare = Form(LEAST, bytes(32), FixedPoint(16, 1.0, "linf", 9), (), HOMES)
    form = budget.form_of("train", bare)
    size = cohort_of(plan, "train", HOMES)
    assert (size.least, size.honest) == (LEAST, 12)
    assert form.noise is not None
    form = replace(form, noise=replace(form.noise, sigma=form.noise.sigma * weaker))
    told = LEAST - size.honest if told is None else told
    return _lower_bound(*_seen(form, told=told, name=f"{epsilon} {told} {weaker}"))


def test_a_canary_tells_no_more_than_epsilon_and_not_much_less(tmp_path: Path) -> None:
    found = _audit(tmp_path, 8.0)
    assert found <= private_run(_plan(8.0)).epsilon
    assert found > 2.0  # an audit that finds nothing shows nothing


def test_control_with_a_third_of_the_noise_it_tells_more(tmp_path: Path) -> None:
    assert _audit(tmp_path, 2.0, weaker=1 / 3) > 2.0


def test_control_where_all_other_homes_tell_their_noise_it_tells_more(tmp_path: Path) -> None:
    assert _audit(tmp_path, 1.0, told=13) > 1.0
