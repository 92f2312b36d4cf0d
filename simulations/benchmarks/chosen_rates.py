"""What it is worth that a fleet chooses its rates: validation loss, and skill of adapted models.

    python -m fedhome.simulations.benchmarks.chosen_rates --data FOLDER --out rates.jsonl

Every set runs at the plan's rates, with homes' rate chosen, and with the server's chosen too. A
run is told by the loss of the round that it ends with, which homes judge on validation rows. What
is done already is not done again; ``--table`` prints what the file holds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedhome.run.mean_intervals import mean_interval
from fedhome.run.rate_words import RATES_CHOSEN
from fedhome.run.results import scores
from fedhome.simulations.benchmarks.learning import gains_over
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
from fedhome.simulations.benchmarks.set_runs import (
    add_line,
    lines,
    plan_of_set,
    sets_there,
    tables_of_set,
)
from fedhome.simulations.simulate import simulate

RATE_WAYS: Final[Mapping[str, Sequence[str]]] = {
    "rates of the plan": (),
    "homes' chosen": ("train.rate=auto",),
    "both chosen": ("train.rate=auto", "strategy.rate=auto"),
}
"""What a fleet chooses, as ``section.key=value``, by a table's words."""

_ONLY = ("default", "few-days", "comfort-people", "ashrae-homes", "wisdm51", "energy-homes17")
_COMMON = ('personalise.experts=["tuned"]', 'personalise.opponents=["seasonal"]')


def run_rates(one: LearningSet, seed: int, folder: Path, sets: Sequence[str]) -> dict[str, Any]:
    """Run one set with one seed, and return what came of it.

    Args:
        one: The set.
        seed: The plan's seed.
        folder: Where the real homes' subfolders are.
        sets: What the fleet chooses, as ``section.key=value``.
    """
    plan = plan_of_set(one, (*_COMMON, *sets), seed=seed, aggregation={"mode": "ideal"})
    tables = tables_of_set(one, folder)
    with tempfile.TemporaryDirectory() as place:
        result = simulate(plan, homes=tables, out=Path(place) / "run")
        by_model = scores(result.homes)
        # Of each kind the last: where no earlier round is picked, the last that was judged is.
        events: dict[str, Any] = {event.event: event.data for event in result.folder.read_events()}
        rounds = result.rounds.num_rows
    chosen = events.get(RATES_CHOSEN, {"train": 1.0, "server": 1.0})
    return {
        "set": one.name,
        "seed": seed,
        "sets": list(sets),
        "score": events["fleet-ready"]["score"],
        "loss": events.get("model-picked", events["model-judged"])["loss"],
        "rates": [chosen["train"], chosen["server"]],
        "rounds": rounds,
        "tuned": by_model["tuned"],
    }


def rates_table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: a row for each set, of the seeds that all ways have.

    Losses are means over seeds, of validation rows. The score is that of homes' fine-tuned models
    on test rows at the plan's rates; gains over it are told home by home, with a 95 % interval.
    """
    head = ["set (seeds)", *(f"loss, {way}" for way in RATE_WAYS), "chosen, by seed", "score"]
    rows = [[*head, *(f"gain, {way}" for way, sets in RATE_WAYS.items() if sets)]]
    rows.append(["---"] * len(rows[0]))
    for one in SETS:
        ways = [
            {r["seed"]: r for r in measured if (r["set"], r["sets"]) == (one.name, list(sets))}
            for sets in RATE_WAYS.values()
        ]
        seeds = sorted(set.intersection(*(set(way) for way in ways)))
        if not seeds:
            continue
        plain, *chosen = ([way[seed] for seed in seeds] for way in ways)
        losses = [np.mean([run["loss"] for run in runs]) for runs in (plain, *chosen)]
        score = np.mean([np.mean(list(run["tuned"].values())) for run in plain])
        rates = ["{:g}, {:g}".format(*run["rates"]) for run in chosen[-1]]
        cells = [f"{one.name} ({len(seeds)}), {plain[0]['score']}", *(f"{x:.3f}" for x in losses)]
        gains = (_gain(runs, plain, one) for runs in chosen)
        rows.append([*cells, "; ".join(rates), f"{score:.3f}", *gains])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _gain(
    runs: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]], one: LearningSet
) -> str:
    told = [
        {
            "seed": run["seed"],
            "gains": {
                "plan": {home: run["tuned"][home] - was for home, was in of["tuned"].items()}
            },
        }
        for run, of in zip(runs, plain, strict=True)
    ]
    gains = gains_over(told, "plan", same_homes=one.read is not None)
    low, high = mean_interval(gains)
    return f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the real sets")
    parser.add_argument("--out", type=Path, default=Path("rates.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(_ONLY))
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    done = {(line["set"], line["seed"], tuple(line["sets"])) for line in lines(given.out)}
    for seed in () if given.table else range(1, given.seeds + 1):
        for one in sets_there(given.only, given.data):
            for way, sets in RATE_WAYS.items():
                if (one.name, seed, tuple(sets)) in done:
                    continue
                measured = run_rates(one, seed, given.data or Path(), sets)
                add_line(given.out, measured)
                print(f"{one.name}, seed {seed}, {way}", flush=True)
    print(rates_table(list(lines(given.out))))


if __name__ == "__main__":
    main()
