"""What a server is told of a release is held against the homes' own rows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.data.files.home_parquet import write_home
from fedhome.run.folder import RunFolder
from fedhome.run.results import ROUNDS, rounds_table
from fedhome.simulations.benchmarks.outages import own_losses
from fedhome.simulations.benchmarks.outages.day import HOMES, plan_of_a_day, undisturbed
from fedhome.simulations.benchmarks.outages.own_losses import (
    OwnLoss,
    changed_loss,
    mean_loss,
    who_said,
    worse_by_the_tables,
)
from fedhome.simulations.homes import generate

THREE = {"a": OwnLoss(1.0, 10), "b": OwnLoss(2.0, 10), "c": OwnLoss(4.0, 20)}


def test_who_said_a_loss_is_found_by_the_homes_own_rows() -> None:
    assert mean_loss(THREE) == pytest.approx(2.75)
    assert who_said(2.75, THREE, 2) == ("a", "b", "c")
    assert who_said(1.5, THREE, 2) == ("a", "b")
    assert who_said(3.0, THREE, 2) == ("a", "c")
    assert who_said(1.0, THREE, 2) is None, "one home alone is no sum"
    assert who_said(2.7501, THREE, 2) is None


@pytest.mark.long
def test_what_a_run_says_of_its_model_is_what_the_homes_rows_give(tmp_path: Path) -> None:
    plan = plan_of_a_day(rounds=1)
    run = undisturbed(tmp_path / "run", plan)
    homes = {}
    for table in generate(homes=HOMES, days=plan.data.days, seed=plan.seed):
        path = tmp_path / f"{table.home}.parquet"
        write_home(table, path)
        settings = SimpleNamespace(data=str(path), reading={})
        homes[table.home] = cast("HomeFolder", SimpleNamespace(settings=settings))
    model = run.read_model()
    flat = np.concatenate([one.ravel() for one in model.parameters.values()])
    (said,) = run.read_rounds().column("validation_loss").to_pylist()
    losses = own_losses.own_losses(plan, homes, flat)
    assert who_said(said, losses, 5) == tuple(sorted(homes))
    assert who_said(said, own_losses.own_losses(plan, homes, 1.005 * flat), 5) is None


def _run(folder: Path, losses: list[float | None]) -> RunFolder:
    folder.mkdir(parents=True)
    row: dict[str, Any] = dict.fromkeys(ROUNDS.names, 1)
    RunFolder(folder).write_rounds(
        rounds_table(
            {
                **row,
                "round": number,
                "train_loss": None,
                "validation_loss": loss,
                "validation_score": None,
                **dict.fromkeys(("seconds_train", "seconds_evaluate", "seconds_other"), 0.0),
            }
            for number, loss in enumerate(losses, 1)
        )
    )
    return RunFolder(folder)


def test_a_release_that_homes_called_worse_is_found(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "first", [3.0, 2.0, 2.5]), _run(tmp_path / "second", [2.4, 1.8])
    # The second run went on from the first one's last model, 0.5 above its best one.
    assert changed_loss(first, 2, second, 2) == pytest.approx(0.5 - 0.6)
    assert changed_loss(first, 3, second, 2) == pytest.approx(-0.6)
    assert changed_loss(first, 3, second, 1) is None, (
        "its first round stands for what it began with"
    )
    _run(tmp_path / "third", [2.4, 2.1])
    _run(tmp_path / "silent", [2.4, None])

    def release(run: str, number: int, made_in: int, restores: int = 0) -> Any:
        manifest = SimpleNamespace(run=run, round=made_in, restores=restores)
        return SimpleNamespace(number=number, manifest=manifest)

    before = release("first", 1, 2)
    assert worse_by_the_tables(release("second", 2, 2), before, tmp_path) == []
    (text,) = worse_by_the_tables(release("third", 2, 2), before, tmp_path)
    assert "release 2 was taken, and homes' loss with it is 0.2 higher" in text
    assert worse_by_the_tables(release("silent", 2, 2), before, tmp_path) == []
    assert worse_by_the_tables(release("first", 2, 2, restores=1), before, tmp_path) == []
