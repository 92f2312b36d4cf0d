"""What stages of transfer save, and what they lose.

    python -m fedhome.simulations.benchmarks.transfer --homes 200 --seeds 2

Each way runs the same rounds over the same homes. Losses are of the fleet's model on the homes'
validation rows, before anything is fine-tuned: the least of all rounds, in which round that was,
and that after the last. Bytes are of all homes to the server in the rounds, with the bounded
numbers that travel besides.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fedhome.plan.overrides import merge, parse_set
from fedhome.plan.settings import Plan
from fedhome.run.events import read_events
from fedhome.simulations.simulate import simulate

WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "all, 16 bits": {},
    "int8": {"stages": ["int8"]},
    "int4": {"stages": ["int4"]},
    "random-k, a half": {"stages": ["random-k"], "share": 0.5},
    "random-k, a quarter": {"stages": ["random-k"], "share": 0.25},
    "random-k, a tenth": {"stages": ["random-k"], "share": 0.1},
    "random-k, a quarter, int8": {"stages": ["random-k", "int8"], "share": 0.25},
    "random-k, a quarter, int4": {"stages": ["random-k", "int4"], "share": 0.25},
    "random-k, a half, nothing kept": {"stages": ["random-k"], "share": 0.5, "feedback": 0},
    "random-k, a quarter, nothing kept": {"stages": ["random-k"], "feedback": 0},
    "random-k, a quarter, a half kept": {"stages": ["random-k"], "feedback": 0.5},
    "random-k, a quarter, all kept": {"stages": ["random-k"], "feedback": 1},
    "random-k, a tenth, a half kept": {"stages": ["random-k"], "share": 0.1, "feedback": 0.5},
    "random-k, a tenth, all kept": {"stages": ["random-k"], "share": 0.1, "feedback": 1},
}
"""Settings of ``transfer``, by what a table calls them."""


def measured(way: Mapping[str, Any], plan: Plan) -> tuple[float, float, float, float]:
    """Return bytes up of all rounds, the least loss of any and its round, and the last loss.

    Args:
        way: Settings of ``transfer``.
        plan: All else.
    """
    with tempfile.TemporaryDirectory() as place:
        simulate(plan.change(transfer=way), out=Path(place) / "run")
        closed = [event.data for event in read_events(Path(place) / "run" / "events.jsonl")]
    sent = sum(float(str(data["bytes_up"])) for data in closed if "bytes_up" in data)
    losses = [float(str(data["validation_loss"])) for data in closed if "validation_loss" in data]
    return sent, min(losses), 1.0 + int(np.argmin(losses)), losses[-1]


def main() -> None:
    """Run all ways, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--homes", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    given = parser.parse_args()
    changes: dict[str, Any] = {
        "data": {"homes": given.homes},
        "aggregation": {"mode": "ideal"},
        "rounds": {"judge_every": 0},
        "personalise": {"name": "none"},
    }
    for setting in given.sets:
        merge(changes, parse_set(setting))
    print("| what travels | bytes up, share | least loss | in round | last loss |")
    print("|---|---|---|---|---|")
    whole = 0.0
    for name, way in WAYS.items():
        runs = [
            measured(way, Plan.parse({**changes, "seed": seed + 1})) for seed in range(given.seeds)
        ]
        sent, least, number, last = np.mean(runs, axis=0)
        whole = whole or sent
        cells = (name, f"{sent:,.0f}, {sent / whole:.2f}", f"{least:.4f}", f"{number:.1f}")
        print(f"| {' | '.join(cells)} | {last:.4f} |", flush=True)


if __name__ == "__main__":
    main()
