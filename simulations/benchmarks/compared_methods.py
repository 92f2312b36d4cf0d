"""What each method is worth on real homes: its settings chosen on validation rows, scored on test.

    python -m fedhome.simulations.benchmarks.compared_methods --data FOLDER --out methods.jsonl

Every method learns with the default settings of learning, in every way of its own settings that
stands in :data:`WAYS`. Of these the one is shown whose fine-tuned models erred least on the homes'
validation rows, as the fleet's own sum of errors says, over all seeds; test rows choose nothing.
What is done already is not done again; ``--table`` prints what the file holds.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.methods import METHODS
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.results import scores
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
from fedhome.simulations.benchmarks.set_runs import (
    add_line,
    lines,
    plan_of_set,
    sets_there,
    tables_of_set,
)
from fedhome.simulations.simulate import simulate

WAYS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    "fedavg": [[]],
    "fedavg, the head fine-tuned": [["personalise.name=fine-tune-head"]],
    "fedavg, knn-per": [["personalise.name=knn-per"]],
    "fedprox": [
        ["method.name=fedprox", f"method.args.{setting}={by}"]
        for setting in METHODS["fedprox"].model_fields
        for by in (0.01, 0.1, 1.0)
    ],
    "fedper": [["method.name=fedper", f"method.args.layers={count}"] for count in (1, 2)],
    "fedrep": [["method.name=fedrep", f"method.args.layers={count}"] for count in (1, 2)],
    "lg-fedavg": [["method.name=lg-fedavg", f"method.args.layers={count}"] for count in (1, 2)],
    "home-embedding": [["method.name=home-embedding"]],
    "ditto": [["method.name=ditto", f"method.args.strength={by}"] for by in (0.1, 1.0)],
    "ifca": [["method.name=ifca", "method.args.clusters=2"]],
    "apfl": [["method.name=apfl", f"method.args.share={share}"] for share in (0.25, 0.75)],
}
"""Every method, with the ways of its settings that are tried."""

_COMMON = ('personalise.opponents=["seasonal"]', 'personalise.experts=["tuned","global","naive"]')
_SHOWN = ("global", "tuned", "personalised")


def run_one(one: LearningSet, seed: int, folder: Path, sets: Sequence[str]) -> dict[str, Any]:
    """Run one set with one seed by a method, and return what came of it.

    Args:
        one: The set.
        seed: The plan's seed.
        folder: Where the real homes' subfolders are.
        sets: The method, as ``section.key=value``.
    """
    plan = plan_of_set(one, (*_COMMON, *sets), seed=seed, aggregation={"mode": "ideal"})
    tables = tables_of_set(one, folder)
    with tempfile.TemporaryDirectory() as place:
        result = simulate(plan, homes=tables, out=Path(place) / "run")
        by_model = scores(result.homes)
        events: dict[str, Any] = {event.event: event.data for event in result.folder.read_events()}
    return {
        "set": one.name,
        "seed": seed,
        "sets": list(sets),
        "score": events["fleet-ready"]["score"],
        # The first entry is the fine-tuned models' mean squared error on validation rows, in units
        # of that of no learning.
        "validation": events["personalisation-chosen"]["matrix"][0],
        "models": {name: by_model[name] for name in _SHOWN},
    }


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return tables in Markdown, one a set: each method by the settings that validation chose."""
    said = []
    for one in SETS:
        runs = [line for line in measured if line["set"] == one.name]
        plain = [run for run in runs if run["sets"] == []]
        if not plain:
            continue
        homes = len(plain[0]["models"]["tuned"])
        said.append(f"**{one.name}** ({homes} homes, {runs[0]['score']})\n")
        said.append(
            "| method | chosen | seeds | global | fine-tuned | its gain over fedavg | mixture |\n"
            "|---|---|---|---|---|---|---|"
        )
        for name, ways in WAYS.items():
            tried = [[run for run in runs if run["sets"] == list(way)] for way in ways]
            errors = [
                np.mean([run["validation"] for run in some]) if some else np.inf for some in tried
            ]
            best = int(np.argmin(errors))
            if not tried[best]:
                continue
            chosen = ", ".join(
                setting.removeprefix("method.args.") for setting in ways[best] if "args" in setting
            )
            means = [_told(_homes(tried[best], model)) for model in _SHOWN]
            seeds = {run["seed"] for run in tried[best]}
            base = _homes([run for run in plain if run["seed"] in seeds], "tuned")
            gain = _gain(_homes(tried[best], "tuned"), base) if ways != [[]] and base else ""
            cells = [name, chosen, str(len(seeds)), means[0], means[1], gain, means[2]]
            said.append("| " + " | ".join(cells) + " |")
        said.append("")
    return "\n".join(said)


def _homes(runs: Sequence[Mapping[str, Any]], model: str) -> dict[str, float]:
    """Return each home's score by a model: the mean over seeds, NaN counts as the worst, 0."""
    if not runs:
        return {}
    homes = runs[0]["models"][model]
    each = [[run["models"][model][home] for home in homes] for run in runs]
    values: NDArray[np.float64] = np.nan_to_num(np.array(each, np.float64)).mean(axis=0)
    return dict(zip(homes, values.tolist(), strict=True))


def _told(by_home: Mapping[str, float]) -> str:
    values = np.array(list(by_home.values()))
    return f"{values.mean():.3f}/{np.percentile(values, 10):.3f}"


def _gain(by_home: Mapping[str, float], base: Mapping[str, float]) -> str:
    gaps = np.array([by_home[home] - base[home] for home in base])
    low, high = mean_interval(gaps)
    interval = "" if math.isnan(low) else f" ({low:+.3f} to {high:+.3f})"
    return f"{gaps.mean():+.3f}{interval}"


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sets")
    parser.add_argument("--out", type=Path, default=Path("methods.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["energy-homes17", "uci-har30"])
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    done = {(line["set"], line["seed"], tuple(line["sets"])) for line in lines(given.out)}
    for seed in () if given.table else range(1, given.seeds + 1):
        for one in sets_there(given.only, given.data):
            for way in (way for ways in WAYS.values() for way in ways):
                if (one.name, seed, tuple(way)) in done:
                    continue
                measured = run_one(one, seed, given.data, way)
                add_line(given.out, measured)
                print(f"{one.name}, seed {seed}, {' '.join(way) or 'fedavg'}", flush=True)
    print(table(list(lines(given.out))))


if __name__ == "__main__":
    main()
