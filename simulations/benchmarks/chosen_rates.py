"""What it is worth that a fleet chooses its rates: validation loss, and skill of adapted models.

    python -m fedhome.simulations.benchmarks.chosen_rates --data FOLDER --out rates.jsonl

Every set runs at the plan's rates, with homes' rate chosen, and with the server's chosen too. A
run is told by the loss of the round that it ends with, which homes judge on validation rows. What
is done already is not done again; ``--table`` prints what the file holds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedhome.plan.overrides import merge, parse_set
from fedhome.plan.settings import Plan
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.rate_words import RATES_CHOSEN
from fedhome.run.results import scores
from fedhome.simulations.benchmarks.learning import gains_over, lines
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
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
    changes: dict[str, Any] = {"seed": seed, "aggregation": {"mode": "ideal"}}
    merge(changes, one.plan)
    for setting in (*_COMMON, *sets):
        merge(changes, parse_set(setting))
    tables = None if one.read is None else one.read(folder / one.folder)
    with tempfile.TemporaryDirectory() as place:
        result = simulate(Plan.parse(changes), homes=tables, out=Path(place) / "run")
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
    """Return a table in Markdown: a row for each set and way, means over seeds.

    Losses are of validation rows. The score is that of the homes' fine-tuned models on test rows,
    with its gain over the plan's rates, home by home, and a 95 % interval over homes.
    """
    head = ["set (seeds)", "rates", "chosen, by seed", "rounds", "loss", "score", "gain"]
    rows = [head, ["---"] * len(head)]
    for one in SETS:
        runs = [run for run in measured if run["set"] == one.name]
        base = {run["seed"]: run["tuned"] for run in runs if not run["sets"]}
        for way, sets in RATE_WAYS.items():
            some = [run for run in runs if run["sets"] == list(sets) and run["seed"] in base]
            if not some:
                continue
            chosen = ["{:g}, {:g}".format(*run["rates"]) for run in some] if sets else []
            loss, rounds = (np.mean([run[name] for run in some]) for name in ("loss", "rounds"))
            mean = np.mean([np.mean(list(run["tuned"].values())) for run in some])
            name = f"{one.name} ({len(some)}), {some[0]['score']}"
            cells = [name, way, "; ".join(chosen), f"{rounds:.0f}", f"{loss:.3f}", f"{mean:.3f}"]
            rows.append([*cells, _gain(some, base, one) if sets else ""])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _gain(
    runs: Sequence[Mapping[str, Any]], base: Mapping[int, Mapping[str, float]], one: LearningSet
) -> str:
    told = [
        {
            "seed": run["seed"],
            "gains": {
                "plan": {home: run["tuned"][home] - was for home, was in base[run["seed"]].items()}
            },
        }
        for run in runs
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
        for one in (one for one in SETS if one.name in given.only):
            if one.read is not None and (
                given.data is None or not (given.data / one.folder).exists()
            ):
                print(f"{one.name}: left out, since --data has no folder {one.folder}")
                continue
            for way, sets in RATE_WAYS.items():
                if (one.name, seed, tuple(sets)) in done:
                    continue
                measured = run_rates(one, seed, given.data or Path(), sets)
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(measured) + "\n")
                print(f"{one.name}, seed {seed}, {way}", flush=True)
    print(rates_table(list(lines(given.out))))


if __name__ == "__main__":
    main()
