"""Nearly right names: what was meant is told wherever a name is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.cli.scenarios import named_plan
from fedhome.data.input_schema import columns_of
from fedhome.data.series.windows import windows
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, FedHomeError, PlanError, PluginError, SourceError
from fedhome.learning.personalise import personaliser
from fedhome.learning.tasks import task_of
from fedhome.models.mlp import build_model
from fedhome.plan.settings import Plan
from fedhome.plugins import load
from fedhome.server.strategies import strategy_of
from fedhome.simulations import datasets
from fedhome.simulations.gather import gather
from fedhome.spelling import did_you_mean, nearest
from helpers import tiny


def test_the_nearest_name_is_found_whatever_its_capitals_and_hyphens() -> None:
    known = ["fedavg", "fedavgm", "krum", "dp-client-fixed"]
    assert nearest("FedAvgM", known) == "fedavgm"
    assert nearest("dp_client fixd", known) == "dp-client-fixed"
    assert nearest("mnist", known) is None
    assert nearest("krum", []) is None
    assert did_you_mean("mnist", known) == ""


def test_a_name_is_known_by_its_first_letters_where_no_other_begins_so() -> None:
    known = ["simulate", "server", "report", "release"]
    assert nearest("sim", known) == "simulate"
    assert nearest("re", ["remainder"]) is None
    assert nearest("LR", ["epochs", "learning_rate"]) == "learning_rate"
    assert nearest("lr", ["learning_rate", "load-rule"]) is None
    assert nearest("rel", ["release-of-a-model", "relation-to-others"]) is None


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("rounds.cuont=3", "rounds.cuont is not a setting: did you mean rounds.count?"),
        ("round.count=3", "round is not a section: did you mean rounds.count?"),
        ("round.cuont=3", "round is not a section: did you mean rounds.count?"),
        ("learning_rate=0.2", "learning_rate is not a setting: it is train.learning_rate"),
        ('data.resample="1h"', "data.resample is not a setting: it is data.step"),
        ("look_back=3", "look_back is not a setting: it is data.lags"),
        ("epochs=2", "epochs is not a setting: it is train.epochs or personalise.epochs"),
        ("lerning-rate=0.2", "lerning-rate is not a setting: did you mean train.learning_rate?"),
        ("train.count=3", "train.count is not a setting: did you mean rounds.count?"),
        ("sgd.momentum=0.1", "sgd is not a section: did you mean train.momentum?"),
        ("strategy.arg.eta=1", "strategy.arg is not a section: did you mean strategy.args?"),
        ("sede=2", "sede is not a setting: did you mean seed?"),
        ("data.target_colum=x", "data.target_colum is not a setting: did you mean data.target?"),
        ("data.target_uni=x", "data.target_uni is not a setting: did you mean data.target_unit?"),
        ("data.hour=1", "data.hour is not a setting"),  # data.source is as near as letters go
        ("data.scenario=x", "data.scenario is not a setting"),  # nor is data.calendar meant
        ("data.qqq=1", "data.qqq is not a setting"),
        ("privacy.window=3", "privacy.window is not a setting"),  # task.kind is no answer
        ("qqq.zzz=1", "qqq is not a section"),
    ],
)
def test_a_setting_is_named_with_its_section(setting: str, fault: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(sets=[setting])
    assert caught.value.faults == (fault,)
    assert "fedhome plan explain" in caught.value.hint


def test_a_section_that_is_given_a_number_says_what_it_has() -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(sets=["task=3"])
    assert caught.value.faults == (
        "task is a section, not a setting (it is 3): it has task.kind, task.classes, task.score",
    )


def test_one_of_several_words_is_named() -> None:
    with pytest.raises(PlanError, match=r"\(it is 'vectr'\): did you mean 'vector'\?"):
        Plan.load(sets=["engine.name=vectr"])


PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "strategy": ({"strategy": {"name": "fedagv"}}, "strategy 'fedagv' is unknown: did you mean"),
    "wrapper": (
        {"strategy": {"wrap": "dp-client-fix"}},
        "wrapper 'dp-client-fix' is unknown: did you mean 'dp-client-fixed'?",
    ),
    "argument": (
        {"strategy": {"name": "fedprox", "args": {"proximal-mu": 1}}},
        "no argument 'proximal-mu': did you mean 'proximal_mu'? (it has: ",
    ),
}


@pytest.mark.parametrize(("sections", "told"), PLANS.values(), ids=PLANS)
def test_strategies(sections: dict[str, Any], told: str) -> None:
    with pytest.raises(FedHomeError) as caught:
        strategy_of(tiny.plan(**sections), 4)
    assert told in caught.value.message
    assert caught.value.hint


def test_models_personalisers_and_what_a_module_defines() -> None:
    with pytest.raises(PluginError, match=r"'mpl' is unknown: did you mean 'mlp'\?"):
        build_model(tiny.plan(model={"name": "mpl"}), 3, 1)
    with pytest.raises(PluginError, match=r"'finetune' is unknown: did you mean 'fine-tune'\?"):
        personaliser("finetune")
    with pytest.raises(PluginError, match=r"did you mean 'OrderedDict'\?") as caught:
        load("collections:OrderdDict", "model")
    assert "collections is imported" in caught.value.hint
    with pytest.raises(PluginError, match=r"did you mean 'fromkeys'\?"):
        load("collections:OrderedDict.from_keys", "model")


@pytest.mark.long
def test_scenarios_and_plan_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitchen.toml").write_text("seed = 2\n")
    for name, meant in (
        ("fewdays", "few-days"),
        ("defualt", "default"),
        ("kitchn.toml", "kitchen.toml"),
        (str(tmp_path / "kitchn.toml"), str(tmp_path / "kitchen.toml")),
    ):
        with pytest.raises(PlanError) as caught:
            named_plan(name)
        (fault,) = caught.value.faults
        assert fault == f"there is no such file or scenario: did you mean {meant!r}?"
        assert "few-days" in caught.value.hint
    for words in (("simulate", "stragler"), ("plan", "show", "stragler"), ("up", "stragler")):
        error = CliRunner().invoke(app, words).exception
        assert "did you mean 'stragglers'?" in str(error)


def test_data_sets_and_sources() -> None:
    with pytest.raises(PluginError, match=r"'wisdm': did you mean 'wisdm51'\?") as unknown:
        datasets.named("wisdm")
    assert "energy-homes17" in unknown.value.hint
    for source, meant in (("synthtic", "synthetic"), ("energy_homes17", "energy-homes17")):
        with pytest.raises(SourceError, match=rf"a folder: did you mean '{meant}'\?") as caught:
            gather(Plan.load(data={"source": source}))
        assert "module:attribute" in caught.value.hint


def _table(**columns: float) -> HomeTable:
    rows = {name: np.full(6, value) for name, value in columns.items()}
    return HomeTable(home="oak", time_s=3600 * np.arange(1, 7), columns=rows)


def test_columns() -> None:
    tables = [_table(load_kwh=1, outdoor_c=2), _table(load_kwh=1, outdoor_c=2, garage=3)]

    def refused(**data: Any) -> str:
        with pytest.raises(DataError) as caught:
            columns_of(tables, Plan.load(data=data).data)
        assert caught.value.hint
        return caught.value.message

    assert refused(target="load") == (
        "the target 'load' is not a column of every home: did you mean 'load_kwh'? "
        "(shared columns are: load_kwh, outdoor_c)"
    )
    assert refused(target="sun") == (
        "the target 'sun' is not a column of every home (shared columns are: load_kwh, outdoor_c)"
    )
    assert refused(features=("outdor_c", "garag", "sun")) == (
        "data.features: no home has 'outdor_c': did you mean 'outdoor_c'?; "
        "no home has 'garag': did you mean 'garage'?; no home has 'sun' "
        "(shared columns are: load_kwh, outdoor_c)"
    )
    some = Plan.load(data={"features": ("garage",), "lags": (1,)}).data
    assert columns_of(tables, some) == ("garage",)  # the first home is left out for it
    with pytest.raises(DataError, match="home 'oak' lacks the column garage"):
        windows(tables[0], some, ("garage",))
    with pytest.raises(DataError, match=r"lacks the column outdoor: did you mean 'outdoor_c'\?"):
        windows(tables[0], some, ("outdoor",))


def test_scores() -> None:
    plan = Plan.load(task={"kind": "binary", "score": "balanced-acuracy"})
    with pytest.raises(PlanError, match=r"did you mean 'balanced_accuracy'\?"):
        task_of(plan)
