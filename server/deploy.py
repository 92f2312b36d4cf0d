"""A run over the homes of a fleet: the server's own process, which speaks for Flower's ServerApp.

``main(folder, out, plan)`` begins a run or, where ``out`` holds one that is not finished, goes on
with it; with Flower that is a new run each time, with us the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from fedhome.cli.progress import Lines
from fedhome.errors import RoundError, RunError
from fedhome.events import EventLog
from fedhome.flower import quiet
from fedhome.flower_link import Control, run_grid
from fedhome.plan import Plan
from fedhome.processes import end_on_sigterm
from fedhome.runs import RunFolder
from fedhome.secagg.directory import Directory
from fedhome.update import Layout
from server.app import play
from server.bundle import app_bundle
from server.homes_grid import HomesGrid
from server.nodes import Nodes
from server.place import Place
from server.protocol import ProtocolChannel
from server.secure_grid import SecureGrid
from server.turns import LastingScale

_POLL_S = 0.1


def run(place: Place, plan: Plan, folder: RunFolder, *, resumed: bool, wait_s: float) -> None:
    """Run a plan over the homes of the fleet.

    Args:
        place: The server's folder.
        plan: The plan.
        folder: The run's folder.
        resumed: Go on from its last checkpoint, where there is one.
        wait_s: How long homes are waited for at the beginning.

    Raises:
        RoundError: Too few homes came.
        FedHomeError: What else went wrong.
    """
    quiet()
    settings, directory = place.settings, place.directory()
    nodes = _nodes(place, directory)
    with (
        EventLog(folder.events_path, on_event=Lines(Console())) as log,
        run_grid(settings.link_port, place.secret, app_bundle()) as flower,
    ):
        log.append(
            "run-resumed" if resumed else "run-started",
            plan=plan.name,
            seed=plan.seed,
            data=plan.data.source,
        )
        grid = HomesGrid(flower, sorted(directory.names), nodes)
        _gather(grid, plan, wait_s)
        channel = ProtocolChannel(
            grid,
            plan,
            grid.names,
            directory=directory,
            keys=place.keys(),
            run=_run_number(folder),
        )

        def summing(layout: Layout) -> SecureGrid:
            outer = SecureGrid(channel, plan=plan, layout=layout, log=log)
            outer.scale = LastingScale(plan.aggregation, place.folder / "turns")
            return outer

        play(plan, grid, folder, log, summing=summing, name_of=grid.name_of, resumed=resumed)


def _nodes(place: Place, directory: Directory) -> Callable[[], Mapping[str, int]]:
    """Return what tells the node that each home has claimed."""
    claimed, control = Nodes(place.nodes), Control(place.settings.link_port)

    def nodes() -> Mapping[str, int]:
        numbers = {state.key: state.node for state in control.nodes()}
        return {
            claim.home: numbers[claim.node_key]
            for claim in claimed.claims(directory)
            if claim.node_key in numbers
        }

    return nodes


def _gather(grid: HomesGrid, plan: Plan, wait_s: float) -> None:
    """Wait for the homes: for all, or as many as a sum needs when the time is over."""
    deadline = time.monotonic() + wait_s
    while (there := grid.there()) < len(grid.homes):
        if time.monotonic() > deadline:
            if there >= plan.aggregation.min_cohort:
                return
            raise RoundError(
                f"{there} of {len(grid.homes)} homes connected within {wait_s:.0f} s",
                hint="start the homes' agents; their logs say why they cannot connect",
            )
        time.sleep(_POLL_S)


def _run_number(folder: RunFolder) -> bytes:
    """Return 16 bytes that identify the run, the same after a restart."""
    return hashlib.sha256(folder.plan_text().encode() + str(folder.path).encode()).digest()[:16]


def main(arguments: Sequence[str]) -> int:
    """Run a plan: ``folder out wait_s``; the plan lies in ``out``."""
    end_on_sigterm()
    place, out, wait_s = Place(Path(arguments[0])), Path(arguments[1]), float(arguments[2])
    folder = RunFolder(out)
    if folder.finished:
        raise RunError(f"{out} is finished: there is nothing to resume")
    plan = Plan.parse(folder.read_plan(), where=str(folder.plan_path))
    run(place, plan, folder, resumed=folder.events_path.exists(), wait_s=wait_s)
    return 0
