"""Objects in place of names: model, strategy, homes and personaliser, in every engine; resuming."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from flwr.server.strategy import FedAvg as FormerFedAvg
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import fedhome
from fedhome import HomeTable, Plan
from fedhome.data.home_objects import read_table
from fedhome.errors import (
    EmptyFleetError,
    EngineError,
    PlanError,
    PluginError,
    RunError,
    SourceError,
)
from fedhome.learning.personalise import fine_tune
from fedhome.methods import Method, Params
from fedhome.passed_objects import given
from fedhome.run.events import Event
from fedhome.server.daemon.current_run import check
from fedhome.server.strategies import strategy_of
from fedhome.simulations import local_fleet
from fedhome.simulations.gather import gather
from fedhome.strategies import FedAdam, FedAvg
from helpers import tiny

HOUR = 1_700_000_000 // 3600 * 3600


class Net(nn.Module):
    """A module that a name leads to."""

    def __init__(self, features: int, outputs: int, width: int = 3) -> None:
        super().__init__()
        self.inside = nn.Linear(features, width)
        self.outside = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outside(self.inside(x).relu())
        return out


class Steep(Method):
    """A method that a name leads to: gradients twice as large."""

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        del params, start
        return {name: 2.0 * g for name, g in gradient.items()}


class Counting(FedAvg):
    """Keeps state of its own, that no run may find from the one before."""

    works_on_sums = True

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen: list[int] = []

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        assert len(self.seen) == server_round - 1
        self.seen.append(server_round)
        return super().aggregate_train(server_round, replies)


def readings(number: int, hours: int = 120) -> dict[str, Any]:
    hour = np.arange(hours)
    drawn = np.random.default_rng(number)
    load = 1 + np.sin(hour / 24 * 2 * np.pi + number) + 0.1 * drawn.normal(size=hours)
    return {"time": HOUR + 3600 * hour, "load": load}


def as_home(number: int) -> HomeTable:
    columns = readings(number)
    return HomeTable(
        home=f"home-{number}",
        time_s=columns["time"].astype(np.int64),
        columns={"load": columns["load"]},
    )


class Frame:
    """What pandas and polars give Arrow, without either of them."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._table = pa.table(dict(columns))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


TABLES = {f"home-{number}": readings(number) for number in range(3)}


def settings(**changes: Any) -> Plan:
    quick = {"rounds": {"count": 2}, "personalise": {"name": "none"}}
    return Plan.load(**tiny.SETTINGS).change(**quick).change(**changes)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["vector", "sequential"])
def test_objects_give_the_model_that_their_names_give(engine: str, tmp_path: Path) -> None:
    plan = settings(engine={"name": engine}, personalise={"name": "fine-tune"})
    named = plan.change(
        model={"name": f"{__name__}:Net"},
        method={"name": f"{__name__}:Steep"},
        strategy={"name": "fedadam", "args": {"eta": 0.02}},
        data={"source": f"{__name__}:TABLES"},
    )
    by_name = fedhome.simulate(named, out=tmp_path / "names")
    by_object = fedhome.simulate(
        plan,
        model=Net,
        method=Steep,
        strategy=FedAdam(eta=0.02),
        homes=TABLES,
        personaliser=fine_tune,  # type: ignore[arg-type]
        out=tmp_path / "objects",
    )
    expected = by_name.model.parameters
    assert list(expected) == ["inside.weight", "inside.bias", "outside.weight", "outside.bias"]
    for name, array in by_object.model.parameters.items():
        np.testing.assert_array_equal(array, expected[name])
    assert by_object.homes == by_name.homes


@pytest.mark.long
def test_the_plan_says_what_was_handed_over_and_names_what_a_name_leads_to(tmp_path: Path) -> None:
    class Inside(Net):
        pass

    result = fedhome.simulate(
        settings(), model=Inside, strategy=Counting, homes=TABLES, out=tmp_path / "run"
    )
    plan = Plan.load(result.path / "plan.toml")
    assert plan == result.plan
    assert plan.strategy.name == f"{__name__}:Counting"
    where = "test_the_plan_says_what_was_handed_over_and_names_what_a_name_leads_to"
    assert plan.model.name == f"handed over: {__name__}.{where}.<locals>.Inside"
    assert plan.data.source == "handed over: tables of 3 homes"
    (result.path / "report.html").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "fedhome", "report", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Counting" in (result.path / "report.html").read_text("utf-8")


@pytest.mark.long
def test_an_instance_begins_every_run_as_it_was_handed_over(tmp_path: Path) -> None:
    strategy = Counting()
    models = [
        fedhome.simulate(settings(), strategy=strategy, homes=TABLES, out=tmp_path / name)
        for name in ("one", "two")
    ]
    assert strategy.seen == []
    assert models[0].folder.model_path.read_bytes() == models[1].folder.model_path.read_bytes()


@pytest.mark.long
def test_an_instance_says_what_share_of_the_homes_is_asked(tmp_path: Path) -> None:
    strategy = FedAvg(fraction_train=0.4, fraction_evaluate=0.0)
    run = fedhome.simulate(settings(), strategy=strategy, homes=TABLES, out=tmp_path / "run")
    assert (run.plan.rounds.fraction, run.plan.rounds.evaluate_fraction) == (0.4, 0.0)
    assert run.rounds["homes_asked"].to_pylist() == [2, 2]  # no fewer than its min_train_nodes
    with pytest.raises(PlanError, match=r"rounds\.fraction is 0\.5, but .* fraction_train = 0\.4"):
        fedhome.simulate(
            settings(rounds={"fraction": 0.5}), strategy=strategy, homes=TABLES, out=tmp_path / "no"
        )


def test_a_strategy_that_would_wait_for_ever_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="waits for 4 homes, and there are 3"):
        fedhome.simulate(
            settings(), strategy=FedAvg(min_available_nodes=4), homes=TABLES, out=tmp_path / "run"
        )
    with pytest.raises(PlanError, match="waits for 9 homes, and there are 8"):
        strategy_of(settings(strategy={"args": {"min_available_nodes": 9}}), 8)
    around = DifferentialPrivacyServerSideFixedClipping(FedAvg(min_train_nodes=4), 1.0, 1.0, 3)
    with pytest.raises(PlanError, match="waits for 4 homes, and there are 3"):
        fedhome.simulate(settings(), strategy=around, homes=TABLES, out=tmp_path / "around")


def test_what_cannot_be_used_is_refused_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as refused:
        fedhome.simulate(
            settings(),
            model=Net(2, 1),
            method=Steep(),  # type: ignore[arg-type]
            strategy=3,  # type: ignore[arg-type]
            homes=Frame(readings(0)),  # type: ignore[arg-type]
            out=tmp_path / "run",
        )
    faults = refused.value.faults
    assert [fault.partition(" is a ")[0] for fault in faults] == [
        "model",
        "method",
        "strategy",
        "homes",
    ]
    assert "made already: give its class" in faults[0]
    assert not (tmp_path / "run").exists()
    with pytest.raises(PlanError, match=r"strategy\.args are set, but .* is made already"):
        fedhome.simulate(
            settings(strategy={"args": {"eta": 1.0}}),
            strategy=FedAdam(),
            homes=TABLES,
            out=tmp_path / "args",
        )

    class Stuck(FedAvg):
        def __deepcopy__(self, memo: object) -> FedAvg:
            raise TypeError("it holds a socket")

    with pytest.raises(PlanError, match=r"cannot be copied .* holds a socket"):
        fedhome.simulate(settings(), strategy=Stuck(), homes=TABLES, out=tmp_path / "stuck")
    with pytest.raises(PlanError, match=r"of flwr\.server\.strategy, as Flower had it before"):
        fedhome.simulate(strategy=FormerFedAvg(), homes=TABLES)  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize(
    "homes",
    [
        TABLES,
        {name: pa.table(columns) for name, columns in TABLES.items()},
        {name: Frame(columns) for name, columns in TABLES.items()},
        [as_home(number) for number in range(3)],
        {f"home-{number}": as_home(number) for number in range(3)},
        lambda plan: map(as_home, range(3 if plan.data.homes is None else plan.data.homes)),
    ],
    ids=["columns", "arrow", "frames", "HomeTables", "HomeTables by name", "function"],
)
def test_homes_of_every_kind_are_the_same_homes(homes: Any, tmp_path: Path) -> None:
    plan = settings(rounds={"count": 1})
    same = fedhome.simulate(plan, homes=homes, out=tmp_path / "run")
    expected = fedhome.simulate(plan, homes=TABLES, out=tmp_path / "expected")
    assert same.folder.model_path.read_bytes() == expected.folder.model_path.read_bytes()


@pytest.mark.long
def test_homes_that_cannot_take_part_are_told(tmp_path: Path) -> None:
    events: list[Event] = []
    still = readings(0) | {"load": np.ones(120)}
    short = {name: values[:5] for name, values in readings(0).items()}
    ragged = {"time": [1, 2], "load": [1.0]}
    homes = {**TABLES, "still": still, "short": short, "ragged": ragged}
    fedhome.simulate(settings(), homes=homes, out=tmp_path / "run", on_event=events.append)
    told = {e.data["home"]: str(e.data["reason"]) for e in events if e.event == "home-excluded"}
    assert "too few whole rows" in told["short"]
    assert "is no table" in told["ragged"]
    assert len(told) == 2
    for wrong, why in (
        ([readings(0)], "does not name its home"),
        ([3], "the homes hold a value of type int that does not name its home"),
        ([as_home(0), as_home(0)], "two of the homes have the name 'home-0'"),
    ):
        with pytest.raises(SourceError, match=why):
            fedhome.simulate(settings(), homes=wrong, out=tmp_path / why[:8])  # type: ignore[arg-type]


class Framed:
    """A data set of another library, that has columns and gives them as a frame."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def to_pandas(self) -> pa.Table:
        return pa.table(dict(self._columns))


def test_what_gives_a_frame_is_a_table_and_what_has_no_names_is_told_how() -> None:
    framed = read_table("home-0", Framed(TABLES["home-0"]))
    plain = read_table("home-0", TABLES["home-0"])
    assert framed.table.columns.keys() == plain.table.columns.keys()
    np.testing.assert_array_equal(framed.table.columns["load"], plain.table.columns["load"])
    x, y = torch.zeros(9, 2), torch.zeros(9)
    for nameless in (np.zeros((9, 2)), (x, y), TensorDataset(x, y), None):
        with pytest.raises(
            SourceError, match=r"no table: a table has names .* \{\"temp\": x"
        ) as told:
            read_table("home-0", nameless)
        assert "to_pandas()" in told.value.hint


def test_what_cannot_give_a_frame_for_want_of_pandas_is_told() -> None:
    class Lacking:
        def to_pandas(self) -> pa.Table:
            raise ModuleNotFoundError("No module named 'pandas'")

    with pytest.raises(SourceError, match="Lacking cannot be made a table: No module") as told:
        read_table("home-0", Lacking())  # type: ignore[arg-type]
    assert "give columns by name" in told.value.hint


def test_words_have_the_same_numbers_in_all_homes_that_are_handed_over() -> None:
    plan = settings(
        data={"target": "mode", "lags": [], "horizon": 0, "split_by": "class"},
        task={"kind": "multi-class"},
    )
    words = [["off", "heat"] * 60, ["cool", "off"] * 60]
    homes = {f"home-{n}": readings(n) | {"mode": words[n]} for n in range(2)}
    source = "handed over: 2 homes"
    with given({"source": homes}):
        gathered = gather(plan.change(data={"source": source}))
    assert gathered.classes == ("cool", "heat", "off")
    assert [sorted(set(home.y.tolist())) for home in gathered.homes] == [[1, 2], [0, 2]]
    with pytest.raises(PluginError, match="is not here: 2 homes") as refused:
        gather(plan.change(data={"source": source}))
    assert "fedhome.resume" in refused.value.hint


def test_homes_that_are_handed_over_are_used_whole() -> None:
    """Five days to learn from are a default of the synthetic homes alone."""
    homes = {"home-0": readings(0, hours=480)}
    source = {"source": "handed over: 1 homes"}
    with given({"source": homes}):
        (whole,) = gather(settings(data=source)).homes
        (few,) = gather(settings(data={**source, "history_days": 5})).homes
    assert whole.counts[0] > 250
    assert sum(few.counts[:2]) <= 120


def interrupted(out: Path, **objects: Any) -> None:
    """Begin a run and stop it behind its first round."""

    def stop(event: Event) -> None:
        if event.event == "round-closed" and event.data["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fedhome.simulate(settings(rounds={"count": 3}), out=out, on_event=stop, **objects)


@pytest.mark.slow
def test_an_interrupted_run_asks_for_its_objects_and_ends_with_the_same_weights(
    tmp_path: Path,
) -> None:
    def net(features: int, outputs: int) -> nn.Module:
        return Net(features, outputs)

    objects: dict[str, Any] = {"model": net, "strategy": FedAdam(eta=0.02), "homes": TABLES}
    whole = fedhome.simulate(settings(rounds={"count": 3}), out=tmp_path / "whole", **objects)
    interrupted(tmp_path / "run", **objects)

    with pytest.raises(RunError) as refused:
        fedhome.resume(tmp_path / "run", strategy=Counting())
    for said in (
        "model was handed over",
        "FedAdam, not handed",
        "homes was handed over: tables of 3 homes",
    ):
        assert said in refused.value.message
    assert "fedhome.resume(RUN, model=..., strategy=..., homes=...)" in refused.value.hint

    done = subprocess.run(
        [sys.executable, "-m", "fedhome", "simulate", "--resume", "run"],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "hand over in Python what it was begun with" in done.stderr

    resumed = fedhome.resume(tmp_path / "run", **objects)
    assert resumed.folder.model_path.read_bytes() == whole.folder.model_path.read_bytes()


@pytest.mark.long
def test_a_run_of_what_names_lead_to_goes_on_without_them(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", model=Net, strategy=Counting, homes=named_homes)
    with pytest.raises(RunError, match=r"model was .*:Net, not mlp"):
        fedhome.resume(tmp_path / "run", model="mlp")
    assert fedhome.resume(tmp_path / "run").rounds["round"].to_pylist() == [1, 2, 3]


def named_homes(plan: Plan) -> Iterator[HomeTable]:
    del plan
    yield from map(as_home, range(3))


@pytest.mark.long
def test_sets_and_paths_make_the_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(settings().to_toml())
    run = fedhome.simulate(
        tmp_path / "plan.toml",
        sets=["rounds.count=1"],
        strategy="fedyogi",
        homes=TABLES,
        out=tmp_path / "run",
    )
    assert (run.plan.rounds.count, run.plan.strategy.name) == (1, "fedyogi")
    again = fedhome.simulate(run.plan, sets=["seed=9"], homes=TABLES, out=tmp_path / "again")
    assert again.plan == run.plan.change(seed=9)


def test_other_processes_refuse_a_plan_of_objects(tmp_path: Path) -> None:
    plan = settings(model={"name": "handed over: __main__.Net"}, data={"source": "synthetic"})
    for run in (lambda: local_fleet.up(plan, out=tmp_path / "run"), lambda: check(plan, 9)):
        with pytest.raises(PlanError, match=r"model\.name is an object .* file\.py:Name"):
            run()
    assert not (tmp_path / "run").exists()


NOTEBOOK = """
import fedhome
from torch import nn

class Net(nn.Sequential):
    def __init__(self, features, outputs):
        super().__init__(nn.Linear(features, 3), nn.Tanh(), nn.Linear(3, outputs))

fedhome.simulate("plan.toml", model=Net, out="run", sets=["engine.name=ray"])
"""


@pytest.mark.slow
def test_a_class_of_a_notebook_reaches_rays_workers(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    plan = tiny.plan(rounds={"count": 1}, engine={"name": "vector", "ray_shards": 1})
    (tmp_path / "plan.toml").write_text(plan.to_toml())
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = fedhome.Result.open(tmp_path / "run")
    assert run.plan.model.name == "handed over: __main__.Net"
    assert set(run.model.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}


@pytest.mark.long
def test_what_ray_cannot_pack_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with (tmp_path / "open").open("w") as file:

        def net(features: int, outputs: int) -> nn.Module:
            file.write("a file cannot travel")
            return Net(features, outputs)

        with pytest.raises(EngineError, match="model that was handed over cannot go to Ray"):
            fedhome.simulate(
                settings(engine={"name": "ray", "ray_shards": 1}),
                model=net,
                homes=TABLES,
                out=tmp_path / "run",
            )


@pytest.mark.parametrize(
    ("homes", "why"),
    [
        ((table for table in ()), "generator.* can be read only once, so give a list"),
        (pa.table({"load": [1.0]}), r"is a Table, .* one home is \{\"NAME\": table\}, and of a"),
        (b"homes", "bytes, not tables"),
    ],
)
def test_homes_that_cannot_be_read_again_or_are_none_are_refused(
    homes: Any, why: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=why):
        fedhome.simulate(settings(), homes=homes, out=tmp_path / "run")


def test_a_table_with_two_columns_of_one_name_is_left_out_by_that_reason(tmp_path: Path) -> None:
    table = pa.table(TABLES[next(iter(TABLES))])
    doubled = table.append_column(table.column_names[-1], table.column(-1))
    with pytest.raises(EmptyFleetError, match="several columns called 'load'"):
        fedhome.simulate(settings(), homes={"oak": doubled}, out=tmp_path / "run")


def test_a_strategy_that_was_never_initialised_is_refused(tmp_path: Path) -> None:
    class Bare(FedAvg):
        def __init__(self) -> None:
            pass

    with pytest.raises(PluginError, match=r"Bare lacks what its class's __init__ sets") as refused:
        fedhome.simulate(settings(), strategy=Bare(), homes=TABLES, out=tmp_path / "run")
    assert "super().__init__()" in refused.value.hint


def test_a_method_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    class Broken(Method):
        def __init__(self) -> None:
            raise RuntimeError("no")

    with pytest.raises(PluginError, match=r"method .* fails when it is made: .*RuntimeError: no"):
        fedhome.simulate(settings(), method=Broken, homes=TABLES, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"sets": "rounds.count=1"}, "sets is a text, not a list"),
        (
            {"sets": {"rounds.count": 1}},
            r"sets is of type dict.*\n  hint: sets=\['rounds.count=1'\]",
        ),
        ({"sets": 3}, "sets is of type int, not a list"),
        ({"plan": Plan(), "sets": "rounds.count=1"}, "sets is a text, not a list"),
        ({"sets": [1]}, "a setting is of type int"),
        ({"plan": {"rounds": {"count": 1}}}, "a plan is of type dict"),
    ],
)
def test_settings_of_the_wrong_type_are_refused(
    arguments: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=why):
        fedhome.simulate(**arguments, out=tmp_path / "run")


def test_no_homes_at_all_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(EmptyFleetError, match="there is no home that was given"):
        fedhome.simulate(homes={}, out=tmp_path / "run")


def test_a_function_of_homes_that_ends_the_program_ends_the_run_with_its_line(
    tmp_path: Path,
) -> None:
    def homes(plan: Plan) -> Iterator[HomeTable]:
        del plan
        raise SystemExit(2)

    with pytest.raises(PluginError, match=r"fails when it is called: .*test_objects\.py, line"):
        fedhome.simulate(settings(), homes=homes, out=tmp_path / "run")
