"""The plan: layers over each other, every fault at once, and back to TOML."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fedhome.errors import PlanError
from fedhome.learning.methods import method_of
from fedhome.plan.overrides import merge, parse_set
from fedhome.plan.settings import MethodSettings, Plan
from fedhome.printable import hidden_in
from fedhome.toml_text import parse_toml


def test_sets_win_over_tables_and_tables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('name = "mine"\n[train]\nepochs = 3\nbatch_size = 5\nlearning_rate = 0.5\n')
    plan = Plan.load(file, sets=["train.epochs=7"], train={"epochs": 4, "batch_size": 6})
    assert plan.name == "mine"
    assert (plan.train.epochs, plan.train.batch_size, plan.train.learning_rate) == (7, 6, 0.5)


def test_a_plan_survives_being_written_and_read() -> None:
    plan = Plan.load(
        sets=[
            "seed=12",
            "data.min_rows=3",
            'strategy.args={eta = 0.5, name = "x"}',
            "model.hidden=[4, 5]",
        ]
    )
    assert Plan.parse(tomllib.loads(plan.to_toml())) == plan


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("a.b=1", {"a": {"b": 1}}),
        ("a.b = [1, 2]", {"a": {"b": [1, 2]}}),
        ("a.b=plain text", {"a": {"b": "plain text"}}),
        ('a.b="a=b"', {"a": {"b": "a=b"}}),
        ("a=true", {"a": True}),
        ("a.b=", {"a": {"b": ""}}),
    ],
)
def test_a_setting_is_toml_or_plain_text(setting: str, told: dict[str, Any]) -> None:
    assert parse_set(setting) == told


@pytest.mark.parametrize("setting", ["", "train.epochs", "=1", "train.=1", ".epochs=1"])
def test_a_setting_without_a_name_or_a_value_is_refused(setting: str) -> None:
    with pytest.raises(PlanError, match=r"section\.key=value"):
        parse_set(setting)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(
            sets=["train.epoch=1", "train.learning_rate=-1", "rounds.count=many", "colour=red"]
        )
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 4
    for name in ("train.epoch is not", "train.learning_rate", "rounds.count", "colour"):
        assert name in told
    assert "'many'" in told
    assert "fedhome plan explain" in caught.value.hint


def test_what_does_not_fit_together_is_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(
            sets=[
                "data.split=[0.6, 0.2, 0.3]",
                "data.horizon=3",
                "data.lags=[1, 3]",
                "train.optimiser=adam",
                "train.momentum=0.5",
            ]
        )
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "data.split",
        "data.lags",
        "train.momentum",
    ]
    assert "[1]" in caught.value.faults[1]  # lag 3 is known when lag 1 is not


@pytest.mark.parametrize(
    "sets",
    [
        ["data.horizon=0", "data.lags=[1]"],  # left over from a series
        ["data.lags=[-1]"],
        ["data.horizon=2h", "data.lags=1h"],
        ["data.gap=1 fortnight"],
        ["data.horizon=0", "data.lags=[]", 'data.features=["load_kwh"]'],
        ["rounds.patience=2", "rounds.judge_every=0", "rounds.evaluate_fraction=0"],
        ["rounds.evaluate_every=2", "rounds.evaluate_fraction=0"],
        ["rounds.evaluate_every=0"],
        ["engine.ray_address=auto"],
        ["model.args={width = 3}"],
        ["strategy.wrap_args={clipping_norm = 1.0}"],
        ["model.hidden=[0]"],
        ["personalise.rates=[]"],
        ["personalise.rates=[0.1, -0.1]"],
        ["train.learning_rate=inf"],
        ["rounds.deadline_s=nan"],
        ["data.split=[1.0, nan, 0.0]"],
        ["name=../../etc"],
        ["seed=-1"],
        ["data=5"],
        ["data.homes.more=5"],
    ],
)
def test_one_fault_is_one_fault(sets: list[str]) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(sets=sets)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("sets", "why"),
    [
        ('personalise.experts=["tuned", "tuned"]', "personalise.experts names one twice"),
        ("personalise.rates=[0.3, 0.3]", "personalise.rates names one twice"),
        ("personalise.local_batches=[8, 32, 8]", "personalise.local_batches names one twice"),
        ("personalise.experts=[]", "personalise.experts"),
        ('personalise.experts=["oracle"]', "'tuned', 'global', 'naive', 'linear' or 'trees'"),
    ],
)
def test_experts_are_those_that_there_are_each_once(sets: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        Plan.load(sets=[sets])


def test_scales_of_a_whole_fleet_are_refused_with_what_to_set() -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(sets=["data.scale=fleet"])
    (fault,) = caught.value.faults
    assert fault.startswith("data.scale: scales of a whole fleet are not built")
    assert 'set "home"' in fault


@pytest.mark.parametrize("make", [lambda: Plan(rounds=3), lambda: Plan.parse({"rounds": 3})])
def test_a_plan_that_is_made_by_its_class_is_refused_in_the_same_words(
    make: Callable[[], Plan],
) -> None:
    """It showed pydantic's own findings, with an address of theirs."""
    with pytest.raises(PlanError) as caught:
        make()
    (fault,) = caught.value.faults
    assert fault.startswith("rounds is a section, not a setting (it is 3): it has rounds.count")
    assert "fedhome plan explain" in caught.value.hint
    with pytest.raises(PlanError, match=r"^mine has 1 fault"):
        Plan.parse({"seed": -1}, where="mine")
    assert Plan(rounds={"count": 3}).rounds.count == 3


def _single_settings(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _single_settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.annotation


def test_no_setting_takes_true_for_a_number_nor_a_number_for_true() -> None:
    """A share became 1 by it, and no word was said."""
    tried = 0
    for name, kind in _single_settings(Plan):
        told = str(kind)
        if kind is bool:
            wrong = ["0", "1", "1.0"]
        elif re.search(r"\b(int|float)\b|'(int|float)'", told):
            wrong = ["[true]", "[1, false]"] if told.startswith("tuple") else ["true", "false"]
        else:
            continue
        for value in wrong:
            with pytest.raises(PlanError, match=rf"{name}: .*(true|false).* \(it is "):
                Plan.load(sets=[f"{name}={value}"])
            tried += 1
    assert tried > 100
    with pytest.raises(PlanError) as refused:
        Plan.load(sets=["transfer.feedback=true", "model.hidden=[8, true]", "data.calendar=1"])
    assert [*refused.value.faults] == [
        "data.calendar: true or false is needed, not a number (it is 1)",
        "model.hidden: entry 2 is true: a number is needed, not true or false (it is [8, true])",
        "transfer.feedback: a number is needed, not true or false (it is true)",
    ]


def test_texts_of_a_command_line_are_still_numbers_and_switches() -> None:
    plan = Plan.load(sets=["train.momentum=.9", "personalise.refit=no", "privacy.delta=1e-6"])
    assert (plan.train.momentum, plan.personalise.refit) == (0.9, False)
    own = plan.change(model={"name": "net.py:Net", "args": {"bias": True, "depth": 1}})
    assert own.model.args["bias"] is True


def test_settings_of_a_method_are_as_strict() -> None:
    with pytest.raises(PlanError, match=r"method\.args\.proximal_mu: a number is needed"):
        method_of(MethodSettings(name="fedprox", args={"proximal_mu": True}))


def test_a_plan_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Plan().train.epochs = 3  # type: ignore[misc]


def test_change_keeps_the_rest_and_checks() -> None:
    plan = Plan.load(sets=["train.epochs=9"])
    changed = plan.change(rounds={"count": 2}, seed=8)
    assert (changed.rounds.count, changed.seed, changed.train) == (2, 8, plan.train)
    assert plan.seed != 8
    with pytest.raises(PlanError, match=r"data\.split"):
        plan.change(data={"split": (0.5, 0.5, 0.5)})


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "no such file"), (b"[train\n", "not TOML"), (b"\xff\xfe", "cannot be read")],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "plan.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PlanError, match=why) as caught:
        Plan.load(file)
    assert str(file) in str(caught.value)


# Three times as deep as Python lets a function call itself; TOML's reader takes the square of it.
DEEP = 3 * sys.getrecursionlimit()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (".".join("a" * DEEP) + " = 1", "within each other more than 64 deep"),
        ("[" + ".".join("a" * DEEP) + "]", "within each other more than 64 deep"),
        ("a = " + "[" * 70 + "]" * 70, "within each other more than 64 deep"),
        ("a = " + "[" * 30_000, "not TOML"),
        ("seed = " + "9" * 5_000, "not TOML: Exceeds the limit"),
        ("[rounds]\ncount = 0x" + "f" * 5_000, "of more than 64 bits"),
        ("a = [[{b = -9223372036854775809}]]", "of more than 64 bits"),
    ],
)
def test_a_plan_without_bottom_is_refused_in_words(text: str, why: str) -> None:
    """TOML's own reader takes names of any depth; whatever looks through them calls itself."""
    with pytest.raises(PlanError, match=why):
        parse_toml(text, where="a plan from elsewhere")


def test_the_longest_whole_numbers_are_read_and_longer_ones_would_end_what_shows_them() -> None:
    ends = {"least": -(2**63), "most": 2**63 - 1, "yes": True}
    assert parse_toml(tomli_w.dumps(ends), where="") == ends
    with pytest.raises(ValueError, match="Exceeds the limit"):  # the control
        str(tomllib.loads("a = 0x" + "f" * 5_000)["a"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # As many lanes, and lines of what people agree to, as there are ways to train.
        ("[train]\nepochs = 1000000000", "train.epochs: .*equal to 1000 "),
        ("[train]\nsteps = 1000000000", "train.steps: .*equal to 100000 "),
        ("[train]\nbatch_size = 1000000000", "train.batch_size: .*equal to 65536 "),
        (f"[model]\nhidden = {[1] * 65}", "model.hidden: .*at most 64 items"),
        (f"[data]\nlags = {list(range(1, 1002))}", "data.lags: .*at most 1000 items"),
        (f"[data]\nhorizon = {list(range(1, 514))}", "513 horizons: name 512 at most"),
        ("[rounds]\ndeadline_s = 1e300", "rounds.deadline_s: .*equal to 2678400 "),
        ("[personalise]\nepochs = 1000000000", "personalise.epochs: .*equal to 1000 "),
        ("[personalise]\nlocal_epochs = 1001", "personalise.local_epochs: .*equal to 1000 "),
        # Each is compared with each other one.
        ("[train]\nrate = 'auto'\nrates = [" + "1.5, " * 5000 + "]", "train.rates: .*at most 16"),
        ("[strategy]\nrates = [" + "1.5, " * 17 + "]", "strategy.rates: .*at most 16"),
        ("[personalise]\nrates = [" + "1.5, " * 17 + "]", "personalise.rates: .*at most 16"),
        ("[data]\nhomes = 10000001", "data.homes: .*equal to 10000000 "),
        ("[rounds]\ncount = 1000001", "rounds.count: .*equal to 1000000 "),
        ("[privacy]\nnoise_multiplier = 1e300", "privacy.noise_multiplier: .*1000000"),
        ("[privacy]\nnoise_multiplier = 1e-300", "privacy.noise_multiplier: .*0.001"),
    ],
)
def test_numbers_without_bound_are_refused_before_anything_follows_from_them(
    text: str, why: str
) -> None:
    with pytest.raises(PlanError, match=why) as caught:
        Plan.parse(parse_toml(text, where=""))
    assert len(caught.value.message) < 1000, "nor is a long value told whole"


def test_units_and_names_of_classes_that_stand_in_no_table_are_faults() -> None:
    with pytest.raises(PlanError) as caught:
        Plan.load(
            task={"kind": "multi-class", "classes": ["a" * 256, "b" * 255]},
            data={"target_unit": "k\x1bW", "inputs": [{"name": "wind", "unit": "m\ns"}]},
        )
    hidden = "take out control characters and marks of direction"
    long = "task.classes names a class by 256 characters, at most 255 can be"
    assert caught.value.faults == (
        f"data.target_unit is 'k\\x1bW': {hidden}",
        f"the unit of 'wind' in data.inputs is 'm\\ns': {hidden}",
        f"{long}: shorten {'a' * 20!r}... in the readings and in the plan",
    )


def test_thousands_of_faults_are_counted_and_a_hundred_told() -> None:
    table = {f"k{number}": 1 for number in range(6000)}
    with pytest.raises(PlanError, match="and 5900 more like these") as caught:
        Plan.parse(table)
    assert len(caught.value.faults) == 101
    with pytest.raises(PlanError) as caught:
        Plan.parse(dict(list(table.items())[:100]))
    assert len(caught.value.faults) == 100, "the control: as many are told one by one"


@pytest.mark.parametrize("part", ["a", '"a"', "'a.b'", '"\\""', "a ", "\ta"])
@pytest.mark.parametrize("form", ["{} = 1", "[{}]", "[[ {} ]]", "b = {{c = 1, {} = 1}}"])
def test_a_deep_name_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, part: str, form: str
) -> None:
    """TOML's own reader took nine seconds over a name of 30,000 parts."""
    text = "seed = 1\n" + form.format(".".join([part] * 65))
    assert tomllib.loads(text)
    monkeypatch.delattr(tomllib, "loads")
    with pytest.raises(PlanError, match="within each other more than 64 deep"):
        parse_toml(text, where="a plan from elsewhere")


def test_points_in_values_are_no_depth() -> None:
    numbers = ", ".join(f"{n}.5" for n in range(99))
    text = f'a = [{numbers}]\nb = "{"a. b." * 99}"\n# {"c." * 99}\nd = "{"." * 99}"'
    assert parse_toml(text, where="") == tomllib.loads(text)


def test_without_the_bound_a_plan_ends_whatever_looks_through_it() -> None:
    with pytest.raises(RecursionError):  # the control
        list(hidden_in(tomllib.loads(".".join("a" * DEEP) + " = 1")))
    deep = ".".join("a" * 60) + " = 1"
    assert parse_toml(deep, where="") == tomllib.loads(deep)


_TREES = st.recursive(
    st.integers(),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from("abc"), _TREES), st.dictionaries(st.sampled_from("abc"), _TREES)
)
def test_merging_keeps_every_change_and_leaves_the_changes_alone(
    table: dict[str, Any], changes: dict[str, Any]
) -> None:
    before = repr(changes)
    untouched = {name: value for name, value in table.items() if name not in changes}
    merge(table, changes)
    merge(table, changes)  # once more changes nothing
    assert repr(changes) == before
    assert untouched.items() <= table.items()
    assert all(_contains(table[name], value) for name, value in changes.items())


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and _contains(whole[name], value) for name, value in part.items()
        )
    return bool(whole == part)


def test_a_whole_plan_of_before_there_were_changes_goes_on_with_levels() -> None:
    """So are plans of runs, of homes and in invites, and models that they were made with."""
    plan = Plan.load(data={"target": "load", "lags": [1]})
    assert plan.data.learns == "change"
    whole = plan.to_toml()
    before = "".join(line for line in whole.splitlines(keepends=True) if "learns" not in line)
    assert before != whole
    assert Plan.parse(parse_toml(before, where="")).data.learns == "level"
    assert Plan.parse(parse_toml(before, where="")) == plan.change(data={"learns": "level"})
    # What people write does not say everything, and what leaves out more was not written so.
    less = "".join(line for line in before.splitlines(keepends=True) if "min_rows" not in line)
    assert Plan.parse(parse_toml(less, where="")).data.learns == "change"
    assert Plan.parse(parse_toml(whole, where="")) == plan
