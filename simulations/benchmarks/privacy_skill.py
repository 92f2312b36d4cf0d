"""What noise costs in skill, by epsilon, size of the fleet and size of the model.

``python -m fedhome.simulations.benchmarks.privacy_skill``. Synthetic homes, all in every round; the
whole cost goes to updates, nothing to scores. Skill is that of the fleet's model on all homes' test
rows, which the benchmark looks at past the noise.
"""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fedhome.learning.build import learning_of
from fedhome.plan.privacy_outlook import Outlook
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.strategies import strategy_of
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of
from fedhome.simulations.engines.world import World
from fedhome.simulations.gather import GatheredHomes, gather
from fedhome.simulations.secure.secure_fleet import secure_grid

NONE = "none"


class PrivateSkill(NamedTuple):
    """What one run came to.

    Args:
        homes: Homes in the fleet.
        parameters: Numbers of the model.
        epsilon: Of the run; ``none`` without noise.
        noise_length: Of the noise in a round's mean update, in clips.
        mean: Mean skill of the fleet's model over homes, clipped at -1.
        median: Median over homes.
    """

    homes: int
    parameters: int
    epsilon: str
    noise_length: float
    mean: float
    median: float


def plan_of(
    homes: int, epsilon: str, hidden: tuple[int, ...], *, rounds: int, clip: float, seed: int
) -> Plan:
    """Return the plan of one run."""
    privacy: dict[str, Any] = {}
    if epsilon != NONE:
        privacy = {"mechanism": "discrete-gaussian", "epsilon": float(epsilon), "clip": clip}
    return Plan.parse(
        {
            "seed": seed,
            "data": {"homes": homes},
            "model": {"hidden": list(hidden)},
            "rounds": {"count": rounds, "evaluate_fraction": 0.0},
            "personalise": {"name": "none"},
            "aggregation": {"mode": "ideal", "weight_cap": 1},
            "privacy": privacy,
        }
    )


@lru_cache(maxsize=1)
def _gathered(homes: int, seed: int) -> GatheredHomes:
    return gather(Plan.parse({"seed": seed, "data": {"homes": homes}}))


def run(plan: Plan) -> PrivateSkill:
    """Run a plan, and score the model that it ends with on every home's test rows."""
    assert plan.data.homes is not None, "a run of this benchmark names its homes"
    gathered = _gathered(plan.data.homes, plan.seed)
    learning = learning_of(plan, gathered.homes[0].x.shape[1], gathered.classes)
    world = World(
        plan=plan,
        gathered=gathered,
        learning=learning,
        how=None,
        sums=True,
        notice=lambda _: None,
        mode="ideal",
    )
    with tempfile.TemporaryDirectory() as path, ENGINES["vector"](world) as grid:
        folder = RunFolder.create(Path(path) / "run")
        with EventLog(folder.events_path) as log:
            layout = learning.layout
            flat = RoundLoop(
                plan=plan,
                strategy=strategy_of(plan, len(world.names)),
                grid=secure_grid(grid, plan=plan, layout=layout, log=log, fleet=None),
                layout=layout,
                initial=learning.initial,
                folder=folder,
                log=log,
            ).run()
    stacked = StackedHomes.of(gathered.homes)
    with cohort_of(learning, stacked, plan, threads=1, notice=lambda _: None) as cohort:
        measured = cohort.evaluate(flat, "test")
    skills = np.maximum(measured.metrics[learning.task.score], -1.0)
    size, private = learning.layout.size, is_private(plan)
    return PrivateSkill(
        homes=len(gathered.homes),
        parameters=size,
        epsilon=f"{plan.privacy.epsilon:g}" if private else NONE,
        noise_length=Outlook.of(plan, len(gathered.homes)).noise_length(size) if private else 0.0,
        mean=float(np.nanmean(skills)),
        median=float(np.nanmedian(skills)),
    )


def compare(
    *,
    homes: Annotated[str, typer.Option(help="sizes of fleets")] = "100,1000",
    epsilons: Annotated[str, typer.Option(help="of whole runs")] = "none,16,8,4,2,1",
    hidden: Annotated[
        str, typer.Option(help="widths of models; 0: no hidden layer")
    ] = "0,16,64-64",
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    clip: Annotated[float, typer.Option(help="greatest L2 norm of an update")] = 0.3,
    seeds: Annotated[int, typer.Option(help="runs of each, of which the mean is shown")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show skill by epsilon."""
    table = Table(title=f"{rounds} rounds, clip {clip:g}, {seeds} seeds", title_style="")
    for name in ("homes", "parameters", "epsilon", "noise, clips", "mean skill", "median"):
        table.add_column(name, justify="right")
    rows: list[PrivateSkill] = []
    for size in map(int, homes.split(",")):
        for widths in hidden.split(","):
            layers = tuple(int(width) for width in widths.split("-") if width != "0")
            for epsilon in epsilons.split(","):
                runs = [
                    run(plan_of(size, epsilon, layers, rounds=rounds, clip=clip, seed=seed))
                    for seed in range(1, seeds + 1)
                ]
                mean = float(np.mean([one.mean for one in runs]))
                median = float(np.mean([one.median for one in runs]))
                row = runs[0]._replace(mean=mean, median=median)
                rows.append(row)
                table.add_row(
                    f"{row.homes:,}",
                    f"{row.parameters:,}",
                    row.epsilon,
                    f"{row.noise_length:.2f}",
                    f"{row.mean:.3f}",
                    f"{row.median:.3f}",
                )
                if json_path is not None:  # after each: large fleets take minutes
                    json_path.write_text(json.dumps([r._asdict() for r in rows], indent=2), "utf-8")
    Console().print(table)


if __name__ == "__main__":
    typer.run(compare)
