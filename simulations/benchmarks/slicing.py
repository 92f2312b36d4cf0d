"""Whether slices pay: for small devices and for large ones, tier by tier.

    python -m fedhome.simulations.benchmarks.slicing --data FOLDER --out slicing.jsonl

Three tiers in equal shares carry slices of one model. The devices of each tier are held against
the same network as their slice, trained three other ways: by each device alone, by the devices of
the tier among themselves, and by the devices of all tiers (where each can carry as little as the
smallest). ``--rules`` holds the rules by which slices can lie in a model against each other,
``--tried`` other ways to train nested slices, on rows that are no test rows of the other tables.
What is done already is not done again; ``--table`` prints what the file holds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.models.slicing import shown
from fedhome.plan.data_settings import SYNTHETIC_HOMES
from fedhome.plan.rule_traits import RULES
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.run.results import scores
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
from fedhome.simulations.benchmarks.set_runs import (
    add_line,
    lines,
    plan_of_set,
    sets_there,
    tables_of_set,
)
from fedhome.simulations.benchmarks.slice_rules_compared import rules_table, run_rule
from fedhome.simulations.benchmarks.slices_tried import (
    FIRST_SEED,
    TRIED_SETS,
    known_rows,
    run_tried,
    tried_table,
    tried_ways,
)
from fedhome.simulations.homes import generate
from fedhome.simulations.simulate import simulate

TIERS: Final = (
    {"name": "sensor", "width": 0.25, "depth": 1, "share": 1 / 3},
    {"name": "plug", "width": 0.5, "depth": 2, "share": 1 / 3},
    {"name": "hub", "width": 1.0, "depth": 2, "share": 1 / 3},
)
WAYS: Final = {
    "sliced": "slices of one model",
    "alone": "each device alone",
    "tier": "the tier among themselves",
    "all": "all devices, this network",
}
"""How a tier's network was trained, in a table's words."""

_RULES = "hold rules against each other at equal bytes up: these, or all"
_TRIED = "try other ways to train nested slices: these, or all"
_ONLY = ("wisdm51", "uci-har30")
_LEAST = 2  # homes of a fleet


def plan_of(one: LearningSet, seed: int, sets: Sequence[str]) -> Plan:
    """Return the plan of a set's sliced run; arguments as of `run_one`."""
    return plan_of_set(
        one,
        sets,
        seed=seed,
        aggregation={"mode": "plain"},
        slicing={"tiers": list(TIERS)},
        personalise={"experts": ["tuned"], "opponents": ["local"]},
        evaluation={"predictions": False},
    )


def run_one(one: LearningSet, seed: int, folder: Path, sets: Sequence[str]) -> dict[str, Any]:
    """Run one set with one seed, all ways, and return the scores of each tier's homes.

    Args:
        one: The set.
        seed: The plan's seed: of models, of batches, and of who is in which tier.
        folder: Where the real homes' subfolders are.
        sets: Settings that are changed, as ``section.key=value``.
    """
    begin, plan = time.perf_counter(), plan_of(one, seed, sets)
    plan, tables = with_tables(one, plan, folder)
    sliced = _run(plan, tables)
    names = sorted(sliced["tuned"])
    tiers, kinds = tiers_of(plan, names), plan.slicing.in_order()
    found = []
    for number, kind in enumerate(kinds):
        own = {name for name, tier in zip(names, tiers, strict=True) if tier == number}
        widths = kind.widths(plan.model.hidden)
        small = plan.change(model={"hidden": widths}, slicing={"tiers": ()})
        ways = {"sliced": _tuned(sliced, own), "alone": _only(sliced["local"], own)}
        ways["all"] = _tuned(_run(small, tables), own)
        if len(own) >= _LEAST:
            ways["tier"] = _tuned(_run(small, [t for t in tables if t.home in own]), own)
        found.append({"tier": kind.name, "hidden": widths, "homes": len(own), "ways": ways})
    return {
        "set": one.name,
        "seed": seed,
        "changed": list(sets),
        "tiers": found,
        "seconds": time.perf_counter() - begin,
    }


def with_tables(one: LearningSet, plan: Plan, folder: Path) -> tuple[Plan, list[HomeTable]]:
    """Return a set's homes as tables, of which some can be taken, and the plan for these.

    Args:
        one: The set; where it reads nothing, its homes are those that the plan makes.
        plan: The plan.
        folder: Where the real homes' subfolders are.
    """
    if (read := tables_of_set(one, folder)) is not None:
        return plan, read
    count, days = plan.data.homes or SYNTHETIC_HOMES, plan.data.days
    tables = list(generate(homes=count, days=days, seed=plan.seed))
    return plan.change(data={"history_days": plan.data.simulated().history_days}), tables


def table(measured: Iterable[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: mean / 10th percentile over a tier's homes, mean over seeds.

    Each cell is the home's own network after fine-tuning; in brackets the fleet's as it is.
    """
    head = ["set (seeds), tier: layers", *WAYS.values()]
    rows = [head, ["---"] * len(head)]
    runs = list(measured)
    for one in SETS:
        of_set = [run for run in runs if run["set"] == one.name]
        for number in range(len(of_set[0]["tiers"]) if of_set else 0):
            tier = [run["tiers"][number] for run in of_set]
            layers = shown(tuple(tier[0]["hidden"]))
            row = [f"{one.name} ({len(of_set)}), {tier[0]['tier']}: {layers}"]
            rows.append([*row, *(_cell([t["ways"].get(way) for t in tier]) for way in WAYS)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _run(plan: Plan, tables: list[HomeTable]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as place:
        return scores(simulate(plan, homes=tables, out=Path(place) / "run").homes)


def _only(by_home: Mapping[str, float], own: set[str]) -> dict[str, list[float]]:
    return {"tuned": [by_home[name] for name in sorted(own & by_home.keys())]}


def _tuned(found: Mapping[str, Mapping[str, float]], own: set[str]) -> dict[str, list[float]]:
    return {model: _only(found[model], own)["tuned"] for model in ("tuned", "global")}


def _cell(runs: Sequence[Mapping[str, list[float]] | None]) -> str:
    known = [run for run in runs if run is not None]
    if not known:
        return "-"
    tuned = [(np.mean(run["tuned"]), np.quantile(run["tuned"], 0.1)) for run in known]
    mean, tenth = np.mean(tuned, axis=0)
    cell = f"{mean:.3f}/{tenth:.3f}"
    if "global" in known[0]:
        cell += f" ({np.mean([np.mean(run['global']) for run in known]):.3f})"
    return cell


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the real sets")
    parser.add_argument("--out", type=Path, default=Path("slicing.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--rules", nargs="*", choices=RULES, metavar="RULE", help=_RULES)
    kinds.add_argument("--tried", nargs="*", choices=tried_ways(), metavar="WAY", help=_TRIED)
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    only = given.only or (_ONLY if given.tried is None else TRIED_SETS)
    first = 1 if given.tried is None else FIRST_SEED
    for seed in () if given.table else range(first, first + given.seeds):
        for one in sets_there(only, given.data):
            for measured in _missing(one, seed, given):
                _write(given.out, measured)
    found = [line for line in lines(given.out) if line["changed"] == given.sets]
    if given.tried is not None:
        print(
            tried_table(
                line
                for line in found
                if line.get("way") in ("as-is", *(given.tried or tried_ways()))
            )
        )
    elif given.rules is not None:
        print(rules_table(line for line in found if line.get("rule") in (given.rules or RULES)))
    else:
        print(table(line for line in found if not {"rule", "way"} & line.keys()))


def _missing(one: LearningSet, seed: int, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run what the file does not hold of a set and a seed, and yield it."""
    folder, sets = given.data or Path(), given.sets
    named = {"set": one.name, "seed": seed, "changed": list(sets)}
    done = [line for line in lines(given.out) if named.items() <= line.items()]
    plan = plan_of(one, seed, sets)
    if given.tried is not None:
        held = {line["way"] for line in done if "way" in line}
        if ways := [way for way in given.tried or tried_ways() if way not in held]:
            plan, homes = with_tables(one, plan, folder)
            if one.read is not None:
                homes = known_rows(homes, plan.data.target)
            for measured in run_tried(plan, homes, ways):
                yield {**named, **measured}
        return
    if given.rules is None:
        if not any(not {"rule", "way"} & line.keys() for line in done):
            yield run_one(one, seed, folder, sets)
        return
    shapes = {line["rule"]: line["shape"] for line in done if "rule" in line}
    missing = [r for r in dict.fromkeys(("nested", *(given.rules or RULES))) if r not in shapes]
    tables = tables_of_set(one, folder) if missing else None
    for rule in missing:  # the default rule is the first: it says how wide input and output are
        measured = run_rule(plan, rule, tables, None if rule == "nested" else shapes["nested"])
        shapes[rule] = measured["shape"]
        yield {**named, **measured}


def _write(out: Path, measured: Mapping[str, Any]) -> None:
    add_line(out, measured)
    which = "".join(f", {kind} {measured[kind]}" for kind in ("rule", "way") if kind in measured)
    print(
        f"{measured['set']}, seed {measured['seed']}{which}: {measured['seconds']:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
