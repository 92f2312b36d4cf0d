"""The public Python API: five lines from a plan to a finished run folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

import fedhome
from fedhome.errors import EmptyFleetError, PlanError, RunError, SourceError
from fedhome.plan.settings import Plan
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS, VERDICTS
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.simulations.gather import gather
from helpers import tiny


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Plan.load(**tiny.SETTINGS).change(data={"source": tiny.write_source(folder)})


class Run(NamedTuple):
    result: fedhome.Result
    events: list[Event]


@pytest.fixture(scope="module")
def first(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Run:
    events: list[Event] = []
    out = tmp_path_factory.mktemp("runs") / "first"
    return Run(fedhome.simulate(plan, out=out, on_event=events.append), events)


@pytest.mark.long
def test_five_lines_make_a_run(plan: Plan, first: Run) -> None:
    result, events = first
    assert (
        result.plan
        == gather(plan).plan
        == plan.change(task={"kind": "regression"}, data={"horizon": 1})
    )
    assert result.rounds["round"].to_pylist() == [1, 2, 3]
    assert set(result.homes["home"].to_pylist()) == {"home-0", "home-1", "home-3"}
    assert {row.model for row in result.summary} == set(MODELS)
    for row in result.homes.to_pylist():
        judged = row["model"] in {*FEDERATED, "local"}
        assert (row["verdict"] in VERDICTS) if judged else row["verdict"] is None
        assert (row["expert"], row["best"]) in {(e, b) for e in EXPERTS for b in ALONE}
        if row["model"] == "personalised":
            assert sum(row[f"weight_{name}"] for name in EXPERTS) == pytest.approx(1.0)
    assert all(row.left_out == 0 for row in result.summary)
    assert result.model.round == 3
    assert all(np.isfinite(values).all() for values in result.model.parameters.values())

    folder = result.folder
    assert folder.finished
    again = fedhome.Result.open(result.path)
    assert (again.path, again.homes) == (result.path, result.homes)
    names = {"plan.toml", "events.jsonl", "rounds.parquet", "homes.parquet"}
    names |= {"models.safetensors", "model.safetensors", "checkpoint", "report.html", "shown.json"}
    assert {path.name for path in folder.path.iterdir()} == names
    assert "<html" in folder.report_path.read_text(encoding="utf-8")
    assert pq.read_table(folder.homes_path).num_rows == 3 * len(MODELS)

    told = RunFolder.open(folder.path).read_events()
    assert [event.event for event in told] == [event.event for event in events]
    kinds = [event.event for event in told]
    assert kinds[0] == "run-started"
    assert kinds[-1] == "run-finished"
    (left_out,) = [event.data for event in told if event.event == "home-excluded"]
    assert left_out["home"] == "home-2"
    assert "too few whole rows" in str(left_out["reason"])
    (ready,) = [event.data for event in told if event.event == "fleet-ready"]
    assert (ready["homes"], ready["rounds"], ready["score"]) == (3, 3, "skill")


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_scenario_runs_by_its_name(tmp_path: Path) -> None:
    small = ["data.homes=5", "data.days=8", "rounds.count=1", "personalise.name=none"]
    kept = fedhome.simulate("few-days", sets=small, out=tmp_path / "run").plan
    assert (kept.data.history_days, kept.data.homes, kept.rounds.count) == (3, 5, 1)


def test_a_plan_of_no_such_name_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no such file or scenario: did you mean 'few-days'") as no:
        fedhome.simulate("few_day", out=tmp_path / "run")
    assert "months" in no.value.hint
    with pytest.raises(PlanError, match="of type int, not a file's path"):
        fedhome.simulate(cast("str", 3), out=tmp_path / "run")


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_seed_decides_every_byte_of_the_model(plan: Plan, tmp_path: Path) -> None:
    plan = plan.change(personalise={"name": "none"}, rounds={"fraction": 0.7})

    def model(name: str, **changes: int) -> bytes:
        result = fedhome.simulate(plan.change(**changes), out=tmp_path / name)
        assert not result.folder.homes_path.exists()
        return result.folder.model_path.read_bytes()

    assert model("one") == model("two")
    assert model("other", seed=plan.seed + 1) != model("three")


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_finished_run_and_no_run_are_not_resumed(plan: Plan, tmp_path: Path) -> None:
    plan = plan.change(personalise={"name": "none"}, rounds={"count": 1})
    folder = fedhome.simulate(plan, out=tmp_path / "done").folder
    before = folder.model_path.read_bytes()
    with pytest.raises(RunError, match="finished: there is nothing to resume"):
        fedhome.resume(folder.path)
    with pytest.raises(RunError):
        fedhome.simulate(plan, out=folder.path)
    assert folder.model_path.read_bytes() == before
    with pytest.raises(RunError):
        fedhome.resume(tmp_path / "nowhere")
    with pytest.raises(RunError):
        fedhome.Result.open(tmp_path / "nowhere")


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_runs_without_a_folder_get_the_next_free_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan.change(personalise={"name": "none"}, rounds={"count": 1})
    paths = [fedhome.simulate(plan).folder.path.name for _ in range(2)]
    assert paths == ["tiny-1", "tiny-2"]


def test_a_source_that_gives_no_homes_says_so(plan: Plan, tmp_path: Path) -> None:
    for changes, error, why in (
        ({"homes": 1, "min_rows": 5000}, EmptyFleetError, "too few whole rows"),
        ({"source": "nowhere"}, SourceError, "neither a data set nor a folder"),
        ({"source": "math:pi"}, SourceError, "not callable"),
    ):
        with pytest.raises(error, match=why):
            fedhome.simulate(plan.change(data=changes), out=tmp_path / why.split()[-1])


def test_a_strategy_that_cannot_be_built_is_told_before_anything_is_trained(
    plan: Plan, tmp_path: Path
) -> None:
    events: list[Event] = []
    with pytest.raises(PlanError, match="beta"):
        fedhome.simulate(
            plan.change(strategy={"args": {"beta": 1}}),
            out=tmp_path / "run",
            on_event=events.append,
        )
    assert "round-closed" not in {event.event for event in events}


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_synthetic_homes_learn_from_the_first_line(tmp_path: Path) -> None:
    result = fedhome.simulate(tiny.plan(rounds={"count": 1}), out=tmp_path / "run")
    assert result.rounds["homes_answered"].to_pylist() == [4]


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
def test_a_run_begins_with_the_model_of_another(plan: Plan, first: Run, tmp_path: Path) -> None:
    events: list[Event] = []
    begin = first.result.folder.path
    second = fedhome.simulate(plan, out=tmp_path / "second", start=begin, on_event=events.append)
    start = second.folder.read_start()
    assert start is not None
    for name, array in first.result.model.parameters.items():
        np.testing.assert_array_equal(start.parameters[name], array)
    (told,) = [event.data for event in events if event.event == "begins-with"]
    assert told == {"plan": plan.name, "round": first.result.model.round}
    validation = second.rounds["validation_loss"].to_pylist()
    assert second.model.round == 1 + validation.index(min(validation)), "it ends with its best"
    # Trained further from there: better at once than the first run was after its first round.
    losses = [run.rounds.column("validation_loss")[0].as_py() for run in (first.result, second)]
    assert losses[1] < losses[0]
    assert first.result.folder.read_start() is None


@pytest.mark.long
def test_a_model_of_changes_is_no_beginning_for_levels(
    plan: Plan, first: Run, tmp_path: Path
) -> None:
    assert first.result.model.learnt == "change"
    levels = plan.change(data={"learns": "level"})
    with pytest.raises(RunError, match="states changes of a series, and this plan's levels") as no:
        fedhome.simulate(levels, out=tmp_path / "second", start=first.result.folder.path)
    assert "data.learns=change" in no.value.hint
    assert not (tmp_path / "second").exists()


@pytest.mark.long
def test_a_model_of_another_shape_is_no_beginning(plan: Plan, first: Run, tmp_path: Path) -> None:
    larger = plan.change(model={"hidden": [5]})
    with pytest.raises(RunError, match="another shape") as refused:
        fedhome.simulate(larger, out=tmp_path / "second", start=first.result.folder.path)
    assert "same inputs" in refused.value.hint
    assert not (tmp_path / "second").exists()
    without = tmp_path / "without"
    shutil.copytree(first.result.folder.path, without)
    (without / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors is missing"):
        fedhome.simulate(plan, out=tmp_path / "third", start=without)
    with pytest.raises(RunError, match="holds no run"):
        fedhome.simulate(plan, out=tmp_path / "third", start=tmp_path / "second")
    assert not (tmp_path / "third").exists()
