"""What homes gain: every method and every opponent, on every set, over several seeds.

    python -m fedhome.simulations.benchmarks.learning --data FOLDER --out learning.jsonl

What is done already is not done again, so it can be stopped and gone on with. ``--table`` prints
what the file holds, and ``--hurt`` every home that is told hurt. Each line is a run with the
default settings of learning; ``--set`` changes some, and what was changed stands in the line.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.run.cold_start_table import cold_start_points
from fedhome.run.compared_models import ALONE, EXPERTS
from fedhome.run.mean_intervals import mean_interval
from fedhome.run.results import differences, scores, summary, verdict_shares
from fedhome.simulations.benchmarks.learning_sets import SETS, LearningSet
from fedhome.simulations.benchmarks.set_runs import (
    add_line,
    lines,
    plan_of_set,
    sets_there,
    tables_of_set,
)
from fedhome.simulations.simulate import simulate

_SHOWN = ("baseline", *ALONE, "alone", "global", "tuned", "personalised")


def run_one(one: LearningSet, seed: int, folder: Path, sets: list[str]) -> dict[str, Any]:
    """Run one set with one seed, and return what came of it.

    Args:
        one: The set.
        seed: The plan's seed: of models, of batches and of synthetic homes.
        folder: Where the real homes' subfolders are.
        sets: Settings that are changed, as ``section.key=value``.
    """
    plan = plan_of_set(one, sets, seed=seed, aggregation={"mode": "ideal"})
    tables = tables_of_set(one, folder)
    if tables is not None and len(tables) < 5:  # noqa: PLR2004 - too few for a sum that hides one
        plan = plan.change(aggregation={"mode": "plain"})
    begin, processor = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        result = simulate(plan, homes=tables, out=Path(place) / "run")
        homes, rounds, joined = result.homes, result.rounds, result.cold_start
        events = {event.event: event.data for event in result.folder.read_events()}
    rows = {row.model: row for row in summary(homes)}
    gains = {name: differences(homes, "personalised", name) for name in (*ALONE, "alone")}
    return {
        "set": one.name,
        "seed": seed,
        "changed": sets,
        "homes": len(scores(homes)["personalised"]),
        "score": events["fleet-ready"]["score"],
        "models": {name: [row.mean, row.median, row.p10] for name, row in rows.items()},
        "gains": gains,
        "new_homes": [  # those of evaluation.unseen, by days of their own
            [point.days, point.model, point.homes, point.mean, point.p10]
            for point in (cold_start_points(joined) if joined is not None else ())
        ],
        "verdicts": {name: verdict_shares(homes, name)[1:] for name in ("personalised", "local")},
        "hurt": hurt_homes(homes),
        "chosen": events["personalisation-chosen"],
        "rounds": rounds.num_rows,
        "bytes_up": int(np.sum(rounds["bytes_up"].to_numpy())),
        "seconds": time.perf_counter() - begin,
        "processor_s": time.process_time() - processor,
    }


def hurt_homes(homes: pa.Table) -> dict[str, dict[str, Any]]:
    """Return of each home that is told hurt: its best alone, its mixture and all scores, by name.

    Args:
        homes: A table as :data:`fedhome.run.results.HOMES` says.
    """
    found = {}
    by_model = scores(homes)
    for row in homes.to_pylist():
        if row["model"] == "personalised" and row["verdict"] == "hurt":
            found[row["home"]] = {
                "best": row["best"],
                "weights": {name: row[f"weight_{name}"] for name in EXPERTS},
                "scores": {name: of_homes[row["home"]] for name, of_homes in by_model.items()},
            }
    return found


def told_hurt(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each home that is told hurt: best alone, mixture, scores."""
    for run in measured:
        for home, told in run.get("hurt", {}).items():
            weights = ", ".join(f"{n} {w:.2f}" for n, w in told["weights"].items() if w)
            found = ", ".join(f"{n} {told['scores'][n]:.3f}" for n in _SHOWN if n in told["scores"])
            yield (
                f"{run['set']}, seed {run['seed']}, {home}: best alone {told['best']}; "
                f"mixture {weights}; {run['score']} {found}"
            )


def gains_over(
    runs: Sequence[Mapping[str, Any]], opponent: str, *, same_homes: bool
) -> NDArray[np.float64]:
    """Return what homes gained over an opponent in runs with several seeds, ``[homes]``.

    Args:
        runs: Lines of one set.
        opponent: A way to be alone.
        same_homes: A home of one run is that of the same name in another, and counts once, by its
            mean; else each seed has homes of its own.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        for home, gain in run["gains"][opponent].items():
            found.setdefault((home, 0 if same_homes else run["seed"]), []).append(gain)
    return np.array([np.mean(gains) for gains in found.values()])


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: mean over seeds of mean and 10th percentile for each model.

    Intervals of gains are over homes, of all seeds together.
    """
    head = ["set (seeds)", *_SHOWN, "gain over best alone", "over the strongest", "hurt / helped"]
    head.append("of network alone by another order of batches")
    rows = [head, ["---"] * len(head)]
    for one in SETS:
        runs = [line for line in measured if line["set"] == one.name]
        if not runs:
            continue
        cells = [f"{one.name} ({len(runs)}), {runs[0]['score']}"]
        for model in _SHOWN:
            values = np.array([run["models"][model] for run in runs], float)
            cells.append("/".join(f"{value:.3f}" for value in values.mean(axis=0)[[0, 2]]))
        strongest = max(ALONE, key=lambda name: np.mean([r["models"][name][0] for r in runs]))
        for name in ("alone", strongest):
            gains = gains_over(runs, name, same_homes=one.read is not None)
            low, high = mean_interval(gains)
            told = f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"
            cells.append(told if name == "alone" else f"{told} {name}")
        for model in ("personalised", "local"):
            hurt, helped = np.mean([run["verdicts"][model] for run in runs], axis=0)
            cells.append(f"{hurt:.0%} / {helped:.0%}")
        rows.append(cells)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the real sets")
    parser.add_argument("--out", type=Path, default=Path("learning.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[one.name for one in SETS])
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--hurt", action="store_true", help="list the homes that are told hurt")
    given = parser.parse_args()
    done = {(line["set"], line["seed"], tuple(line["changed"])) for line in lines(given.out)}
    for seed in () if given.table else range(1, given.seeds + 1):
        only = [name for name in given.only if (name, seed, tuple(given.sets)) not in done]
        for one in sets_there(only, given.data):
            measured = run_one(one, seed, given.data or Path(), given.sets)
            add_line(given.out, measured)
            print(f"{one.name}, seed {seed}: {measured['seconds']:.0f} s")
    wanted = [line for line in lines(given.out) if line["changed"] == given.sets]
    print(table(wanted))
    for told in told_hurt(wanted) if given.hurt else ():
        print(told)


if __name__ == "__main__":
    main()
