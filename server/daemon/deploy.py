"""A run over the homes of a fleet: the server's own process, which speaks for Flower's ServerApp.

``main(folder, out, plan)`` begins a run or, where ``out`` holds one that is not finished, goes on
with it; with Flower that is a new run each time, with us the same.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from rich.console import Console

from fedhome.errors import FedHomeError, RoundError
from fedhome.flower.messages import quiet
from fedhome.flower.run_grid import run_grid
from fedhome.flower.superlink import Control
from fedhome.ops.processes import end_on_sigterm
from fedhome.plan.settings import Plan
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.progress import Lines
from fedhome.secagg.directory import Directory
from fedhome.server.daemon.current_run import AGAIN, DONE
from fedhome.server.daemon.flower_bundle import app_bundle
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.publishing import KEEP, MODELS, Publisher
from fedhome.server.daemon.server_folder import Place
from fedhome.server.report import write_report
from fedhome.server.rounds.counters import LastingScale, Serials
from fedhome.server.rounds.homes_grid import HomesGrid
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.run_plan import log_start
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.server_app import play
from fedhome.wire.layout import Layout

_POLL_S, _SILENT_S = 0.1, 10.0


def run(
    place: Place, plan: Plan, folder: RunFolder, *, resumed: bool, wait_s: float, enough_s: float
) -> None:
    """Run a plan over the homes of the fleet.

    Args:
        place: The server's folder.
        plan: The plan.
        folder: The run's folder.
        resumed: Go on from its last checkpoint, where there is one.
        wait_s: How long all homes are waited for at the beginning.
        enough_s: How long, if too few are there by then, as many as a sum needs are waited for.

    Raises:
        RoundError: Too few homes came.
        FedHomeError: What else went wrong.
    """
    quiet()
    settings, directory = place.settings, place.directory()
    nodes = _nodes(place, directory)
    with (
        EventLog(folder.events_path, on_event=_printed(Lines(Console()))) as log,
        run_grid(settings.link_port, place.secret, app_bundle()) as flower,
    ):
        log_start(log, plan, resumed=resumed)
        publisher = Publisher(
            place.folder / MODELS,
            fleet=directory.fleet,
            keys=place.keys(),
            run=folder,
            log=log,
            # The best model of a run that may end early is one of its last.
            keep=max(KEEP, 1 + (plan.rounds.patience or 0)),
        )
        grid = HomesGrid(flower, sorted(directory.names), nodes)
        _gather(grid, plan, log, wait_s=wait_s, enough_s=enough_s)
        channel = ProtocolChannel(
            grid,
            plan,
            grid.names,
            directory=directory,
            keys=place.keys(),
            run=_run_number(folder),
            serials=Serials(place.folder / "serials", directory),
        )

        def summing(layout: Layout) -> SecureGrid:
            outer = SecureGrid(channel, plan=plan, layout=layout, log=log)
            outer.scale = LastingScale(plan.aggregation, place.folder / "turns")
            return outer

        play(
            plan,
            grid,
            folder,
            log,
            summing=summing,
            name_of=grid.name_of,
            resumed=resumed,
            publisher=publisher,
        )


def _printed(show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Print events where that can be done: a full disk that takes no log is no end of a run."""

    def printed(event: Event) -> None:
        with suppress(OSError):
            show(event)

    return printed


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


def _gather(grid: HomesGrid, plan: Plan, log: EventLog, *, wait_s: float, enough_s: float) -> None:
    """Wait for the homes: for all, or as many as a sum needs when the time is over."""
    begin, told = time.monotonic(), False
    while (there := grid.there()) < len(grid.homes):
        waited = time.monotonic() - begin
        if waited > wait_s and there >= plan.aggregation.min_cohort:
            return
        if waited > max(wait_s, enough_s):
            raise RoundError(
                f"{there} of {len(grid.homes)} homes connected within {waited:.0f} s",
                hint="start the homes' agents; their logs say why they cannot connect",
            )
        if waited > _SILENT_S and not told:
            log.append("note", text=f"waiting for homes: {there} of {len(grid.homes)} are there")
            told = True
        time.sleep(_POLL_S)


def _run_number(folder: RunFolder) -> bytes:
    """Return 16 bytes that identify the run, the same after a restart."""
    return hashlib.sha256(folder.plan_text().encode() + str(folder.path).encode()).digest()[:16]


def main(arguments: Sequence[str]) -> int:
    """Run the plan that lies in a run's folder: ``folder out all_s [enough_s]``.

    ``all_s``: so long all homes are waited for; ``enough_s``: so long, if too few are there by
    then, for as many as a sum needs.

    Returns:
        ``DONE``, or ``AGAIN`` where it was cut off from the SuperLink. What has gone wrong for
        good is told in the log (``run-failed``) and raised: the process then ends with
        ``FOR_GOOD``.
    """
    end_on_sigterm()
    place, folder = Place(Path(arguments[0])), RunFolder(arguments[1])
    all_s, enough_s = float(arguments[2]), float(arguments[-1])
    try:
        if folder.finished:  # it was killed between its last event and its report
            write_report([folder], folder.report_path)
            return DONE
        plan = Plan.parse(folder.read_plan(), where=str(folder.plan_path))
        resumed = folder.events_path.exists()
        run(place, plan, folder, resumed=resumed, wait_s=all_s, enough_s=enough_s)
    except httpx.HTTPError as error:
        print(f"cut off from the SuperLink: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return AGAIN
    except FedHomeError as error:
        with EventLog(folder.events_path) as log:
            log.append("run-failed", reason=error.message, hint=error.hint)
        raise
    return DONE
