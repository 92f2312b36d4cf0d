"""How experts are weighed and opponents are picked: rules side by side, over many sets of homes.

    python -m fedhome.simulations.benchmarks.expert_weights --out DUMPS --data FOLDER --only robod
    python -m fedhome.simulations.benchmarks.expert_weights --out DUMPS --homes FOLDER \
        --set data.target=load_kwh
    python -m fedhome.simulations.benchmarks.expert_weights --out DUMPS --table

A run without the newest fifth of each home's rows is made of every set, and what all models state
at its end is kept in DUMPS; the table tries every rule on all that lies there. A change is told in
units of its standard error over homes, so that sets count alike, with an interval over sets. What
is there already is not run again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedhome.learning.tasks.segments import Floats
from fedhome.plan.overrides import merge, parse_set
from fedhome.plan.settings import Plan
from fedhome.run.mean_intervals import mean_interval
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
from fedhome.simulations.benchmarks.mixture_rules import (
    FIRST,
    OPPONENT_RULES,
    WEIGHT_RULES,
    Tried,
    try_model,
    try_opponents,
    try_weights,
)
from fedhome.simulations.benchmarks.past_rules import PAST_RULES, try_past
from fedhome.simulations.benchmarks.stated_fleet import (
    BY_PAST,
    StatedFleet,
    stated_fleet,
    with_line_by_past,
    without_newest,
)
from fedhome.simulations.gather import read_source

_LEFT_OUT = 0.2
_FEWEST = 4  # homes; of fewer a standard error says next to nothing
_FAR = 2.0  # standard errors
_BY_PAST = "line's penalty by the past, too"
_MADE = frozenset(one.name for one in SETS if one.read is None)


class Compared(NamedTuple):
    """A rule against the first one, on one set.

    Args:
        set: Its name.
        homes: How many there are.
        score: Mean score of the rule.
        change: Mean change of it.
        errors: The same in units of its standard error over homes; NaN of fewer than four.
        of_error: Mean change of the logarithm of homes' errors, in units of its standard error.
        tenth: Change of the 10th percentile of scores.
        hurt: Share of homes hurt.
    """

    set: str
    homes: int
    score: float
    change: float
    errors: float
    of_error: float
    tenth: float
    hurt: float


def in_errors(changes: Floats) -> float:
    """Return the mean of homes' changes in units of its standard error; 0 where nothing changes."""
    if len(changes) < _FEWEST:
        return float("nan")
    error = changes.std(ddof=1) / np.sqrt(len(changes))
    return float(changes.mean() / error) if error > 0 else 0.0


def compared(
    name: str, homes: Sequence[Sequence[str]], before: Sequence[Tried], after: Sequence[Tried]
) -> Compared:
    """Return what a rule changes on a set.

    Args:
        name: The set's.
        homes: The names of the homes in each of its runs; one of several runs counts once, by its
            mean.
        before: What came of the first rule in each run.
        after: What came of this one.
    """
    pairs = list(zip(before, after, strict=True))
    changes = _of_homes(homes, [a.score - b.score for b, a in pairs])
    ratios = [np.log(_above(a.error) / _above(b.error)) for b, a in pairs]
    tenths = [np.quantile(a.score, 0.1) - np.quantile(b.score, 0.1) for b, a in pairs]
    return Compared(
        name,
        len(changes),
        float(np.mean([run.score.mean() for run in after])),
        float(changes.mean()),
        in_errors(changes),
        in_errors(_of_homes(homes, ratios)),
        float(np.mean(tenths)),
        float(np.mean([np.mean(run.verdict < 0) for run in after])),
    )


def _of_homes(homes: Sequence[Sequence[str]], values: Sequence[Floats]) -> Floats:
    """Return each home's mean over the runs that it is in."""
    found: dict[str, list[float]] = {}
    for names, of_run in zip(homes, values, strict=True):
        for home, value in zip(names, of_run.tolist(), strict=True):
            found.setdefault(home, []).append(value)
    return np.array([np.mean(own) for own in found.values()])


def _above(errors: Floats) -> Floats:
    return np.maximum(errors, 1e-6)


def by_rule(fleets: Sequence[StatedFleet]) -> dict[str, dict[str, list[Compared]]]:
    """Return what each rule changes on each set, for weights, for opponents and for the line.

    Args:
        fleets: All runs; those of one name are seeds of one set.
    """
    found: dict[str, dict[str, list[Compared]]] = {"weights": {}, "opponents": {}, "line": {}}
    for name in dict.fromkeys(fleet.name for fleet in fleets):
        runs = [fleet for fleet in fleets if fleet.name == name]
        homes = [[f"{home.home}{_own(run)}" for home in run.homes] for run in runs]
        weights = {n: [try_weights(run, r) for run in runs] for n, r in WEIGHT_RULES.items()}
        weights |= {n: [try_past(run, r) for run in runs] for n, r in PAST_RULES.items()}
        picks = {n: [try_opponents(run, r) for run in runs] for n, r in OPPONENT_RULES.items()}
        lines = {FIRST: [try_model(run, "linear") for run in runs]}
        if all(BY_PAST in home.later for run in runs for home in run.homes):
            lines[_BY_PAST] = [try_model(run, BY_PAST) for run in runs]
            chosen = [with_line_by_past(run) for run in runs]
            weights[_BY_PAST] = [try_weights(run, WEIGHT_RULES[FIRST]) for run in chosen]
            picks[_BY_PAST] = [try_opponents(run, OPPONENT_RULES[FIRST]) for run in chosen]
        for kind, of_rules in (("weights", weights), ("opponents", picks), ("line", lines)):
            first = of_rules[FIRST]
            for rule, tried in of_rules.items():
                found[kind].setdefault(rule, []).append(compared(name, homes, first, tried))
    return found


def _own(run: StatedFleet) -> str:
    """Return what tells homes of one name apart: made ones are others with each seed."""
    return f" of seed {run.seed}" if run.name in _MADE else ""


def table(of_rules: Mapping[str, Sequence[Compared]]) -> str:
    """Return a table in Markdown: what each rule changes over sets.

    Args:
        of_rules: By rule, of each set.
    """
    head = ["rule", "sets", "score", "in standard errors", "worse / better by two", "of error"]
    rows = [[*head, "10th percentile", "hurt"]]
    rows.append(["---"] * len(rows[0]))
    for rule, sets in of_rules.items():
        told = [one for one in sets if np.isfinite(one.errors)]
        score = np.array([one.errors for one in told])
        error = np.array([one.of_error for one in told])
        far = f"{np.sum(score < -_FAR)} / {np.sum(score > _FAR)}"
        rows.append(
            [
                rule,
                str(len(told)),
                f"{np.mean([one.change for one in told]):+.4f}",
                _interval(score),
                far,
                _interval(error),
                f"{np.mean([one.tenth for one in told]):+.4f}",
                f"{np.mean([one.hurt for one in told]):.3f}",
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _interval(values: Floats) -> str:
    low, high = mean_interval(values)
    return f"{values.mean():+.2f} ({low:+.2f} to {high:+.2f})"


def each_set(of_rules: Mapping[str, Sequence[Compared]]) -> Iterator[str]:
    """Yield a line for each set and rule."""
    for rule, sets in of_rules.items():
        for one in sets:
            yield (
                f"{one.set} ({one.homes}), {rule}: {one.score:.3f} ({one.change:+.4f}, "
                f"{one.errors:+.1f} standard errors; of error {one.of_error:+.1f})"
            )


def run_set(given: argparse.Namespace, name: str, seed: int) -> None:
    """Make a run of a set, and keep what is stated at its end."""
    called = given.called or name
    path = given.out / f"{called}-{seed}.npz"
    if path.exists():
        return
    changes: dict[str, Any] = {"seed": seed, "aggregation": {"mode": "ideal"}}
    one = next((known for known in SETS if known.name == name), None)
    if one is None:
        one = LearningSet(name=name, plan={"data": {"source": str(given.homes)}})
    if one.read is not None and not (given.data / one.folder).exists():
        print(f"{name}: left out, since --data has no folder {one.folder}")
        return
    merge(changes, one.plan)
    for setting in given.sets:
        merge(changes, parse_set(setting))
    plan = Plan.parse(changes)
    history = plan.data.simulated().history_days if one.read is None else None
    if history:  # given as tables, homes are made no longer; those of a folder keep all they have
        merge(changes, {"data": {"history_days": history}})
        plan = Plan.parse(changes)
    whole = read_source(plan).homes if one.read is None else one.read(given.data / one.folder)
    if len(whole) < 5:  # noqa: PLR2004 - too few for a sum that hides one
        plan = Plan.parse(changes | {"aggregation": {"mode": "plain"}})
    of_class = plan.data.target if plan.data.split_by == "class" else ""
    tables = [without_newest(table, given.left_out, of_class) for table in whole]
    stated_fleet(called, plan, tables).write(path)
    print(f"{called}, seed {seed}: {len(tables)} homes")


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of what models state")
    parser.add_argument("--only", nargs="*", default=[], choices=[one.name for one in SETS])
    parser.add_argument(
        "--data", type=Path, default=Path(), help="folder of the real ones of these sets"
    )
    parser.add_argument("--homes", type=Path, help="a folder of one's own homes")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--called", default="", help="the set's name (one seed of made homes)")
    parser.add_argument("--left-out", type=float, default=_LEFT_OUT, help="share of newest rows")
    parser.add_argument("--seeds", type=int, nargs="*", default=[11], help="of tables are others")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--each", action="store_true", help="tell every set, too")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    names = [*given.only, *([given.homes.name] if given.homes else [])]
    for name in () if given.table else names:
        for seed in given.seeds:
            run_set(given, name, seed)
    fleets = [StatedFleet.read(path) for path in sorted(given.out.glob("*.npz"))]
    for kind, of_rules in by_rule(fleets).items() if fleets else ():
        print(f"{kind}\n\n{table(of_rules)}\n")
        for line in each_set(of_rules) if given.each else ():
            print(line)


if __name__ == "__main__":
    main()
