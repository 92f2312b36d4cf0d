"""Random outages over six homes and their server, as real processes on this machine.

``python -m fedhome.simulations.benchmarks.weather --minutes 60 --seed 1`` plays days: each is a
fleet of its own, with a run that begins anew and is held against an undisturbed simulation, and
another one that goes on from its release. Meanwhile processes are killed and stopped, connections
cut and swallowed, and so on: what happens at which of a run's steps, the seed draws. Each event is
printed, with its time, and each promise that was broken; then the command ends with status 1.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedhome.ops.processes import end_on_sigterm
from fedhome.simulations.benchmarks.outages.day import Day, plan_of_a_day, undisturbed
from fedhome.simulations.benchmarks.outages.kinds import KINDS
from fedhome.simulations.benchmarks.outages.upheavals import UPHEAVALS


def weather(
    minutes: Annotated[float, typer.Option(min=0, help="no day begins after so many")] = 10.0,
    seed: Annotated[
        int, typer.Option(min=0, help="what happens; the same again with the same")
    ] = 1,
    only: Annotated[list[str] | None, typer.Option(help="a kind of outage; all, if none")] = None,
    keep: Annotated[Path | None, typer.Option(help="keep the fleets in this new folder")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="the verdict alone, as JSON")] = False,
) -> None:
    """Play outages over a fleet, and see whether it keeps its promises."""
    everything = KINDS | UPHEAVALS
    if unknown := sorted({*(only or ())} - {*everything}):
        raise typer.BadParameter(f"no kind {unknown[0]!r}; there are: {', '.join(everything)}")
    kinds = {name: everything[name] for name in only or everything}
    console = Console(stderr=as_json)
    end_on_sigterm()  # what is mounted is taken away
    for name in [name for name, kind in kinds.items() if kind.lacks()]:
        console.print(f"not played: {name}: {kinds.pop(name).lacks()}", highlight=False)
    began = time.monotonic()

    def say(text: str) -> None:
        passed = int(time.monotonic() - began)
        line = f"{passed // 60:3d}:{passed % 60:02d} {text}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    played: Counter[str] = Counter()
    broken: list[str] = []
    days = 0
    with tempfile.TemporaryDirectory(prefix="weather-") as temporary:
        root = keep or Path(temporary)
        root.mkdir(parents=True, exist_ok=keep is None)
        say("what an undisturbed run gives is simulated")
        expected = undisturbed(root / "undisturbed", plan_of_a_day())
        while not days or time.monotonic() - began < 60 * minutes:
            days += 1
            day = Day(root / f"day-{days}", seed=seed + days - 1, kinds=kinds, say=say)
            say(f"day {days}, seed {day.seed}")
            found = day.play(expected)
            for text in found:
                say(f"BROKEN: {text}")
            broken += [f"seed {day.seed}: {text}" for text in found]
            played.update(day.played)
    if as_json:
        verdict = {"seed": seed, "days": days, "played": dict(played), "broken": broken}
        print(json.dumps(verdict, indent=2))
    else:
        for name, times in sorted(played.items()):
            console.print(f"{times:4d} x {name}", highlight=False)
        outages = f"{played.total()} outages in {days} days, seeds {seed} to {seed + days - 1}"
        kept = f"{len(broken)} promises were broken" if broken else "every promise was kept"
        console.print(f"{outages}: {kept}", highlight=False)
    if broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(weather)
