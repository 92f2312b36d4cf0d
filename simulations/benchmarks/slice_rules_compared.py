"""Rules of slices held against each other at equal bytes up, in one engine on the same devices.

The default rule's three tiers say how many numbers a device of each may send; every other rule gets
the largest slices that need no more. A rule by depth cannot make the first layer narrower for
a small device, so it gets a network whose layers are as wide as the devices' bytes allow.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.table import HomeTable
from fedhome.learning.build import learning_of
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.slice_costs import cost_of, torchs_memory, torchs_step_ms
from fedhome.models.slicing import SlicedShape, Widths, slices_of
from fedhome.plan.rule_traits import RULES
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.results import scores
from fedhome.simulations.benchmarks.learning_sets import SETS
from fedhome.simulations.simulate import Result, simulate
from fedhome.wire.layout import slice_units

_STEPS: Final = 256  # widths that are tried
_TENTH: Final = 0.1  # of homes: those that fare worst


def plan_of_rule(plan: Plan, rule: str, features: int, outputs: int) -> Plan:
    """Return a plan in which a rule's devices send no more than the default rule's.

    Args:
        plan: A plan with nested tiers.
        rule: The rule's name.
        features: Width of the input.
        outputs: Width of the output.
    """
    shape, traits = slices_of(plan, features, outputs), RULES[rule]
    budgets = [len(shape.carried(number)) for number in range(len(shape.slices))]
    tiers = [tier.model_dump() for tier in plan.slicing.in_order()]
    hidden = plan.model.hidden
    if rule == "nested":
        return plan
    if traits.full_width:
        hidden = by_depth(budgets, features, outputs)
        tiers = [{**t, "width": 1.0, "depth": n + 1} for n, t in enumerate(tiers)]
    else:
        depth = len(hidden)
        widths = [by_width(budget, hidden, features, outputs) for budget in budgets]
        tiers = [{**t, "width": w, "depth": depth} for w, t in zip(widths, tiers, strict=True)]
    return plan.change(model={"hidden": hidden}, slicing={"tiers": tiers, "rule": rule})


def by_width(budget: int, hidden: Widths, features: int, outputs: int) -> float:
    """Return the largest width at which a plain network of all layers has so few numbers.

    Raises:
        ValueError: Not even the narrowest has.
    """
    for step in range(_STEPS, 0, -1):
        width = step / _STEPS
        units = slice_units(hidden, width, len(hidden))
        if SlicedShape(features, outputs, (units,)).size(0) <= budget:
            return width
    raise ValueError(f"no network of {len(hidden)} layers has {budget} numbers or fewer")


def by_depth(budgets: Sequence[int], features: int, outputs: int) -> Widths:
    """Return units of layers so that the first n of them, with an exit each, have so few numbers.

    Args:
        budgets: The most numbers of one layer, of two, and so on.
        features: Width of the input.
        outputs: Width of the output.
    """
    units, spent, inputs = list[int](), 0, features
    for budget in budgets:
        each = inputs + 1 + outputs  # of a unit: what it reads, its bias, what its exit reads
        units.append(max(1, (budget - spent - outputs) // each))
        spent += units[-1] * each + outputs
        inputs = units[-1]
    return tuple(units)


def run_rule(
    plan: Plan, rule: str, tables: list[HomeTable] | None, shape: Sequence[int] | None
) -> dict[str, Any]:
    """Run one rule, and return each tier's scores and costs.

    Args:
        plan: A plan with nested tiers.
        rule: The rule's name.
        tables: The homes; None: the plan's own.
        shape: Widths of the input and of the output; None: those of the model that is trained,
            which has to be one of the default rule.
    """
    begin = time.perf_counter()
    plan = plan if shape is None else plan_of_rule(plan, rule, shape[0], shape[1])
    with tempfile.TemporaryDirectory() as place:
        result = simulate(plan, homes=tables, out=Path(place) / "run")
        by_model, plan = scores(result.homes), result.plan
        judged = _judged(result)
        seconds = sum(result.rounds["seconds_train"].to_pylist())
        features, outputs = shape or _ends(result)
    names = sorted(by_model["tuned"])
    tiers = tiers_of(plan, names)
    classes = tuple(map(str, range(outputs)))  # how many is all that their cost needs
    whole = learning_of(plan, features, classes)
    found = []
    for number, carried in enumerate(carried_slices(plan, whole, features, classes)):
        own = [name for name, tier in zip(names, tiers.tolist(), strict=True) if tier == number]
        cost = cost_of(carried, plan, features)
        found.append(
            {
                "tier": carried.tier,
                "told": carried.told,
                "bytes_up": cost.bytes_up,
                # By torch, which trains all rules:
                "memory": torchs_memory(carried.rounds.learning, features),
                "step_ms": torchs_step_ms(carried.rounds.learning, features),
                **{model: [by_model[model][home] for home in own] for model in ("tuned", "global")},
            }
        )
    return {
        "rule": rule,
        "shape": [features, outputs],
        "tiers": found,
        "judged": judged,
        "seconds_train": seconds,
        "seconds": time.perf_counter() - begin,
    }


def _ends(result: Result) -> tuple[int, int]:
    """Return the widths of a nested model's input and output."""
    arrays = result.model.parameters
    exit_ = next(values for name, values in arrays.items() if name.startswith("exits."))
    return arrays["layers.0.weight"].shape[1], exit_.shape[0]


def _judged(result: Result) -> list[Any]:
    """Return homes' validation loss once they had adapted a round's model, judging by judging."""
    events = result.folder.read_events()
    return [event.data["loss"] for event in events if event.event == "model-judged"]


def rules_table(measured: Iterable[Mapping[str, Any]]) -> str:
    """Return the comparison in Markdown: a row for each set, tier and rule, then the means.

    Scores are mean / 10th percentile over a tier's homes after fine-tuning, in brackets the
    fleet's model as it is; all are means over seeds.
    """
    runs = list(measured)
    head = ["set (seeds), tier", "rule", "slice", "score", "bytes up", "memory", "ms a step"]
    rows = [head, ["---"] * len(head)]
    for one in SETS:
        of_set = [run for run in runs if run["set"] == one.name]
        for number in range(len(of_set[0]["tiers"]) if of_set else 0):
            for rule in RULES:
                of_rule = [run["tiers"][number] for run in of_set if run["rule"] == rule]
                if of_rule:
                    tier = of_rule[0]
                    name = f"{one.name} ({len(of_rule)}), {tier['tier']}"
                    rows.append([name, rule, tier["told"], _score(of_rule), *_costs(of_rule)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *_means(runs)])


def _means(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each rule's mean over sets: all homes of a seed, mean over seeds, mean over sets."""
    sets = [one.name for one in SETS if any(run["set"] == one.name for run in runs)]
    head = ["rule", *sets, "mean of the sets", "before fine-tuning, mean of the sets"]
    rows = [head, ["---"] * len(head)]
    for rule in dict.fromkeys(run["rule"] for run in runs):
        by_set = [[run for run in runs if (run["set"], run["rule"]) == (s, rule)] for s in sets]
        tuned = [_mean_and_tenth(of_set, "tuned") for of_set in by_set]
        fleet = [_mean_and_tenth(of_set, "global") for of_set in by_set]
        means = [np.mean(of_model, axis=0) for of_model in (tuned, fleet)]
        rows.append([rule, *(f"{mean:.3f}/{tenth:.3f}" for mean, tenth in (*tuned, *means))])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _mean_and_tenth(runs: Sequence[Mapping[str, Any]], model: str) -> NDArray[np.float64]:
    """Return the mean and the 10th percentile over homes, means over seeds; NaN without runs."""
    homes = [[score for tier in run["tiers"] for score in tier[model]] for run in runs]
    pairs = [(np.mean(one), np.quantile(one, _TENTH)) for one in homes]
    return np.mean(pairs, axis=0) if pairs else np.full(2, np.nan)


def _score(tiers: Sequence[Mapping[str, Any]]) -> str:
    tuned = [(np.mean(t["tuned"]), np.quantile(t["tuned"], _TENTH)) for t in tiers]
    mean, tenth = np.mean(tuned, axis=0)
    return f"{mean:.3f}/{tenth:.3f} ({np.mean([np.mean(t['global']) for t in tiers]):.3f})"


def _costs(tiers: Sequence[Mapping[str, Any]]) -> list[str]:
    first = tiers[0]
    step_ms = min(tier["step_ms"] for tier in tiers)
    return [f"{first['bytes_up']:,}", f"{first['memory']:,}", f"{step_ms:.2f}"]
