"""What of a plan does not fit together: all faults at once, a plain sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedhome.counted import counted
from fedhome.plan import private_plan, sliced_plan, transfer_plan, tried_rates
from fedhome.plan.aggregation_settings import AggregationSettings
from fedhome.plan.judged_rounds import judged_every
from fedhome.plan.settings import DEVICES, EngineSettings, Plan
from fedhome.printable import hidden_in, shown

_LONGEST_CLASS = 255  # characters: as long as the name of a file may be
_BEGINNING = 20  # characters by which a longer name is told


def faults_of(plan: Plan) -> list[str]:
    """Return what does not fit together, one plain sentence each; empty when all does."""
    train, rounds = plan.train, plan.rounds
    faults = [*_no_text(plan.model_dump()), *plan.data.faults(), *_label_faults(plan)]
    if train.optimiser == "adam" and train.momentum:
        faults.append("train.momentum belongs to sgd; adam has its own: set train.momentum = 0")
    plain = plan.model.name == "mlp" and plan.model.norm != "group"
    if plan.personalise.name == "knn-per" and not plain:
        faults.append(
            "personalise.name = knn-per remembers what the last layer of the model mlp is given, "
            "without a norm over groups: set model.name = mlp and model.norm = none, or "
            "personalise.name = fine-tune"
        )
    if rounds.patience and not judged_every(plan) and rounds.evaluate_fraction == 0:
        faults.append("rounds.patience needs an evaluation: set rounds.evaluate_fraction above 0")
    faults += _faults_of_tests(plan)
    if rounds.reply_after_s >= rounds.deadline_s:
        faults.append(
            f"rounds.reply_after_s = {rounds.reply_after_s:g}, but replies are late after "
            f"rounds.deadline_s = {rounds.deadline_s:g}: all would be"
        )
    if rounds.most_pause_s < rounds.pause_s:
        faults.append(
            f"rounds.most_pause_s = {rounds.most_pause_s:g} is below the first pause, "
            f"rounds.pause_s = {rounds.pause_s:g}"
        )
    if plan.engine.ray_address and plan.engine.name != "ray":
        faults.append('engine.ray_address is set, but engine.name is not "ray"')
    faults += _device_faults(plan.engine)
    faults += _aggregation_faults(plan)
    faults += private_plan.faults_of(plan)
    faults += sliced_plan.faults_of(plan)
    faults += transfer_plan.faults_of(plan)
    faults += tried_rates.faults_of(plan)
    for name in ("experts", "opponents", "rates", "local_batches"):
        named = getattr(plan.personalise, name)
        if len(set(named)) < len(named):
            faults.append(f"personalise.{name} names one twice: {list(named)}")
    if plan.evaluation.unseen and plan.personalise.name == "none":
        faults.append('evaluation.unseen tries what homes end with: personalise.name is "none"')
    if plan.model.args and plan.model.name == "mlp":
        faults.append("model.args are for a module of your own; mlp has model.hidden and its like")
    if plan.strategy.wrap_args and not plan.strategy.wrap:
        faults.append("strategy.wrap_args are set, but strategy.wrap names no wrapper")
    return faults


def _no_text(table: Mapping[str, Any], inside: str = "") -> list[str]:
    """Return which settings no plan can be written with: names of files that are no text."""
    faults = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            faults += _no_text(value, f"{inside}{key}.")
        elif isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                faults.append(
                    f"{inside}{key} has bytes that are no text in UTF-8 ({value!r}): rename the "
                    "file or folder"
                )
    return faults


def _label_faults(plan: Plan) -> Iterator[str]:
    """Yield which units and names of classes stand in no table, no file and no message."""
    yield from hidden_in(plan.data.target_unit, "data.target_unit")
    for spec in plan.data.inputs or ():
        yield from hidden_in(spec.unit, f"the unit of {spec.name!r} in data.inputs")
    for name in plan.task.classes:
        if len(name) > _LONGEST_CLASS:
            yield (
                f"task.classes names a class by {len(name)} characters, at most {_LONGEST_CLASS} "
                f"can be: shorten {shown(name[:_BEGINNING])!r}... in the readings and in the plan"
            )


def _device_faults(engine: EngineSettings) -> list[str]:
    fault = ""
    if not DEVICES.fullmatch(engine.device):
        fault = f'engine.device is {engine.device!r}: "cpu", "cuda" or "cuda:N" is needed'
    elif engine.device != "cpu" and engine.name == "sequential":
        fault = (
            f"engine.device = {engine.device}, but engine.name = {engine.name} computes on the "
            'processor: engine.name = "vector" or "ray" trains on GPUs'
        )
    elif engine.device not in {"cpu", "cuda"} and engine.name == "ray":
        fault = (
            f"engine.device = {engine.device}, but Ray gives each shard a GPU: set engine.device "
            'to "cuda", without a number'
        )
    return [fault] if fault else _precision_faults(engine)


def _precision_faults(engine: EngineSettings) -> list[str]:
    if engine.examples_gb and engine.device == "cpu":
        return ["engine.examples_gb is of a GPU's memory, but engine.device = cpu"]
    coarse, fault = engine.precision != "float32", ""
    if coarse and engine.device == "cpu":
        fault = (
            f"engine.precision = {engine.precision} is for a GPU's matrix units, but "
            "engine.device = cpu: the processor multiplies whole float32"
        )
    elif engine.precision == "bf16" and engine.kernel != "onchip":
        fault = (
            f"engine.precision = bf16, but engine.kernel = {engine.kernel}: only "
            'engine.kernel = "onchip" multiplies in bf16; the others can do tf32'
        )
    return [fault] if fault else []


_SINGLE = ("bulyan", "fedmedian", "fedtrimmedavg", "krum", "multikrum", "qfedavg")


def _aggregation_faults(plan: Plan) -> list[str]:
    aggregation, strategy = plan.aggregation, plan.strategy
    if aggregation.mode == "plain":
        return [
            f"aggregation.{name} belongs to sums, but aggregation.mode is plain"
            for name, field in AggregationSettings.model_fields.items()
            if name != "mode" and getattr(aggregation, name) != field.default
        ]
    faults = list(aggregation.weight_faults())
    needs_single = strategy.works_on == "updates" or (
        strategy.works_on == "auto" and strategy.name.lower() in _SINGLE
    )
    if needs_single and aggregation.groups == 1:
        faults.append(single_updates(strategy.name))
    homes = plan.data.homes
    if homes is not None and homes < aggregation.min_cohort * aggregation.groups:
        faults.append(
            f"data.homes = {homes}, but no sum is opened over fewer than {aggregation.min_cohort} "
            "homes (aggregation.min_cohort) in each of "
            f"{counted(aggregation.groups, 'group')}: take more homes, or set aggregation.mode = "
            '"plain" where nothing has to be kept from the server'
        )
    return faults


def single_updates(strategy: str) -> str:
    """Return the fault of a strategy that needs to see what it may not."""
    return (
        f"strategy {strategy!r} needs single updates, but under secure aggregation the server sees "
        "one sum: set aggregation.groups to 2 or more, and it sees the mean of each group; if a "
        "mean is all that it needs, let its class say works_on_sums = True; or set "
        'aggregation.mode = "plain" where nothing has to be kept from the server'
    )


def _faults_of_tests(plan: Plan) -> list[str]:
    faults, judges, rounds = [], bool(plan.rounds.judge_every), plan.rounds
    if rounds.evaluate_every > 1 and rounds.evaluate_fraction == 0:
        faults.append(
            f"rounds.evaluate_every = {rounds.evaluate_every}, but rounds.evaluate_fraction is 0: "
            "no home is asked in any round"
        )
    if judges and plan.personalise.name == "none":
        faults.append(
            "rounds.judge_every has homes make the model their own, and personalise.name is "
            '"none": set rounds.judge_every = 0'
        )
    if judges and plan.privacy.mechanism != "none":
        faults.append(
            "rounds.judge_every asks homes for one sum more, and with noise each is paid for: set "
            "rounds.judge_every = 0"
        )
    return faults
