"""What tests of real processes share: who is there, what they print, which weights they give."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.simulations import local_fleet
from fedhome.simulations.benchmarks.outages.same_weights import EXACT, rounded_anew
from fedhome.simulations.benchmarks.outages.working_in import processes_of
from fedhome.simulations.homes import generate
from helpers.patience import PATIENCE_S

# What a copy of a home's folder leaves out: where its agent is asked for its state.
SOCKETS = shutil.ignore_patterns("socket")


def tiny_plan(homes: int, rounds: int, **aggregation: object) -> Plan:
    """Return a plan of synthetic homes whose rounds take next to no arithmetic."""
    return named(_tiny_plan(homes, rounds, **aggregation))


def named(plan: Plan) -> Plan:
    """Return a plan that names the inputs of synthetic homes."""
    return local_fleet.named(plan, list(generate(homes=1, days=2, seed=plan.seed)))


def _tiny_plan(homes: int, rounds: int, **aggregation: object) -> Plan:
    return Plan.load(
        name="tiny",
        seed=3,
        data={"homes": homes, "days": 10, "history_days": 10},
        model={"hidden": [8]},
        rounds={"count": rounds, "deadline_s": 60, "quorum": 0.5},
        train={"batch_size": 32},  # few steps
        personalise={"epochs": 2, "local_epochs": 2},
        engine={"name": "sequential"},
        aggregation=aggregation,
    )


def number_of(folder: Path, *parts: str) -> int:
    """Return the process whose arguments end with some words."""
    (number,) = [
        number
        for number, words in processes_of(folder).items()
        if all(any(word.endswith(part) for word in words) for part in parts)
    ]
    return number


def wait_until_gone(folder: Path) -> None:
    """Wait until no process works in a folder any more."""
    deadline = time.monotonic() + PATIENCE_S
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        os.sched_yield()


def lines_until(process: subprocess.Popen[str], mark: str) -> list[str]:
    """Return the lines that a process prints, up to one that begins with a mark."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(mark):
            return lines
    raise AssertionError("".join(lines))


def assert_same_weights(found: RunFolder, expected: RunFolder, *, rounding: float = 0.0) -> None:
    """Hold weights against others; ``rounding`` of coarse numbers may part them, and does."""
    ours, theirs = found.read_model().parameters, expected.read_model().parameters
    assert list(ours) == list(theirs)
    tolerance = EXACT + rounded_anew(found) + rounding
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=0, atol=tolerance)


def assert_predicts_as(place: HomeFolder, expected: PersonalModel) -> None:
    """Hold the model that a home keeps in its folder against its model in a simulation."""
    settings = place.settings
    data = OwnModels(place.path, settings.home).read()
    assert data is not None, f"{settings.home} keeps no model"
    own = ModelsFile(data, own_code=True)[settings.home]
    assert own.scores == pytest.approx(expected.scores, abs=1e-5)
    found, wanted = (model.predict(settings.data) for model in (own, expected))
    assert found.column_names == wanted.column_names
    for column in {"time", "horizon"} & {*wanted.column_names}:
        assert found[column].equals(wanted[column])
    for column in ("value", "low", "high", "without_learning"):
        np.testing.assert_allclose(found[column], wanted[column], rtol=1e-4, atol=1e-6)
