"""A run over the homes of a fleet: the server's own process, which acts as Flower's ServerApp.

``main(folder, out, plan)`` begins a run or, where ``out`` holds one that is not finished, continues
it; to Flower that is a new run each time, to us the same one.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console

from fedhome.counted import counted
from fedhome.errors import FedHomeError, PlanError, RoundError
from fedhome.flower.messages import quiet
from fedhome.flower.run_grid import run_grid
from fedhome.flower.superlink import Control
from fedhome.ops.processes import end_on_sigterm
from fedhome.plan.settings import Plan
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.progress import ProgressLines
from fedhome.run.waiting import few
from fedhome.secagg.directory import Directory
from fedhome.server.daemon.current_run import AGAIN, DONE, PAUSED
from fedhome.server.daemon.flower_bundle import app_bundle
from fedhome.server.daemon.newest import Newest
from fedhome.server.daemon.nodes import Nodes
from fedhome.server.daemon.publishing import MODELS, Publisher
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.server.report.html import write_report
from fedhome.server.rounds.absences import Absences
from fedhome.server.rounds.counters import LastingScale, Serials
from fedhome.server.rounds.homes_grid import HomesGrid
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.refusals import Refusals
from fedhome.server.rounds.run_plan import log_start
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sum_journal import SumJournal
from fedhome.server.rounds.sum_needs import SumNeeds
from fedhome.server.rounds.suspects import FOUND
from fedhome.server.server_app import run_over_grid
from fedhome.store import disk
from fedhome.wire.layout import Layout

_POLL_S, _SILENT_S = 0.1, 10.0


def run(
    server_folder: ServerFolder,
    plan: Plan,
    folder: RunFolder,
    *,
    resumed: bool,
    wait_s: float,
    enough_s: float,
) -> None:
    """Run a plan over the homes of the fleet.

    Args:
        server_folder: The server's folder.
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
    directory = server_folder.directory()
    nodes = _nodes(server_folder, directory)
    with (
        EventLog(folder.events_path, on_event=_print_safely(ProgressLines(Console()))) as log,
        run_grid(server_folder.link, server_folder.secret, app_bundle()) as flower,
    ):
        log_start(log, plan, resumed=resumed)
        publisher = Publisher(
            server_folder.path / MODELS,
            fleet=directory.fleet,
            keys=server_folder.keys(),
            run=folder,
            log=log,
            keep=server_folder.settings.keep_releases,
        )
        grid = HomesGrid(
            flower,
            sorted(directory.names),
            nodes,
            rounds=plan.rounds,
            hear=Refusals(log).hear,
            see=partial(Absences(log).see, sorted(directory.names)),
        )
        patience = Patience(plan.rounds, needs=_needs(plan, directory), there=grid.present, log=log)
        _gather(grid, plan, log, patience, wait_s=wait_s, enough_s=enough_s)
        channel = _channel(
            grid, plan, server_folder=server_folder, directory=directory, folder=folder, log=log
        )

        def secure_grid_for(layout: Layout) -> SecureGrid:
            outer = SecureGrid(channel, plan=plan, layout=layout, log=log)
            patience.left_out = lambda: outer.left_out
            outer.scale = LastingScale(
                plan.aggregation, server_folder.path / "turns", directory=directory.hash
            )
            return outer

        run_over_grid(
            plan,
            grid,
            folder,
            log,
            secure_grid_for=secure_grid_for,
            name_of=grid.name_of,
            tiers=channel.tiers,
            resumed=resumed,
            publisher=publisher,
            patience=patience,
        )


def _channel(
    grid: HomesGrid,
    plan: Plan,
    *,
    server_folder: ServerFolder,
    directory: Directory,
    folder: RunFolder,
    log: EventLog,
) -> ProtocolChannel:
    """Return how sums are taken of the fleet's homes; who is asked nothing is logged."""
    left_out = LeftOut(server_folder.left_out, directory=directory, run=folder.path.name)
    for one in left_out.in_force:  # an earlier run found so
        log.append(FOUND, homes=[one.home], reason=f"{one.reason} (run {one.run})")
    return ProtocolChannel(
        grid,
        plan,
        grid.names,
        directory=directory,
        keys=server_folder.keys(),
        run=_run_number(folder),
        serials=Serials(server_folder.path / "serials", directory),
        journal=SumJournal(folder.sums_path),
        left_out=left_out,
        newest=Newest(server_folder).head,
    )


def _needs(plan: Plan, directory: Directory) -> SumNeeds:
    if plan.aggregation.mode == "plain":
        return SumNeeds(plan=plan, homes=tuple(directory.names))
    return SumNeeds(
        plan=plan,
        homes=tuple(directory.names),
        seed=directory.seed,
        members=tuple(directory.members),
        threshold=directory.threshold,
    )


def _print_safely(show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Print events where that is possible: a full disk that takes no log does not end a run."""

    def print_safely(event: Event) -> None:
        with suppress(OSError):
            show(event)

    return print_safely


def _nodes(server_folder: ServerFolder, directory: Directory) -> Callable[[], Mapping[str, int]]:
    """Return a function that returns the node that each home has claimed."""
    claimed, control = Nodes(server_folder.nodes), Control(server_folder.link)

    def nodes() -> Mapping[str, int]:
        homes = {claim.node_key: claim.home for claim in claimed.claims(directory)}
        return {homes[key]: state.node for key, state in control.states(list(homes)).items()}

    return nodes


def _gather(
    grid: HomesGrid,
    plan: Plan,
    log: EventLog,
    patience: Patience,
    *,
    wait_s: float,
    enough_s: float,
) -> None:
    """Wait for the homes: for all, or as many as a sum needs when the time is over.

    Raises:
        RoundError: Too few came within ``enough_s``, or within the plan's own time.
    """
    begin, announced, whole = time.monotonic(), False, len(grid.homes)
    while away := grid.away():
        waited, connected = time.monotonic() - begin, whole - len(away)
        if waited > wait_s and connected >= plan.aggregation.min_cohort:
            return
        if waited > wait_s and math.isinf(enough_s):
            patience.await_homes(0)
            return
        if waited > max(wait_s, enough_s):
            raise RoundError(
                f"{connected} of {whole} homes connected within {waited:.0f} s",
                hint="start the homes' agents; their logs say why they cannot connect",
            )
        if waited > _SILENT_S and not announced:
            announced = True
            if connected < plan.aggregation.min_cohort and math.isinf(enough_s):
                patience.await_homes(0)  # the run's state says so, not its log alone
                continue
            there = f"{connected} of {counted(whole, 'home')} are there"
            log.append("note", text=f"waiting for {few(away)}, {wait_s:.0f} s at most: {there}")
        time.sleep(_POLL_S)


def _run_number(folder: RunFolder) -> bytes:
    """Return 16 bytes that identify the run, the same after a restart."""
    return hashlib.sha256(folder.plan_text().encode() + str(folder.path).encode()).digest()[:16]


def main(arguments: Sequence[str]) -> int:
    """Run the plan that lies in a run's folder: ``folder out all_s [enough_s]``.

    ``all_s``: how long all homes are waited for; ``enough_s``: how long, if too few are there by
    then, as many as a sum needs are waited for.

    Returns:
        ``DONE``, ``AGAIN`` where it was cut off from the SuperLink, or ``PAUSED`` where its disk is
        full. What else has gone wrong is recorded in the log (``run-failed``) and raised: the
        process then ends with ``BROKEN_OFF``.
    """
    end_on_sigterm()
    server_folder, folder = ServerFolder(Path(arguments[0])), RunFolder(arguments[1])
    all_s, enough_s = float(arguments[2]), float(arguments[-1])
    try:
        if folder.finished:  # it was killed between its last event and its report
            write_report([folder], folder.report_path)
            return DONE
        plan = Plan.parse(folder.read_plan(), where=str(folder.plan_path))
        resumed = folder.events_path.exists()
        run(server_folder, plan, folder, resumed=resumed, wait_s=all_s, enough_s=enough_s)
    except httpx.HTTPError as error:
        print(f"cut off from the SuperLink: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return AGAIN
    except Exception as error:
        if disk.is_full(error):  # nothing more can be written, and it can go on once that is over
            print(f"error: {_text(error)}", file=sys.stderr, flush=True)  # noqa: T201
            return PAUSED
        with EventLog(folder.events_path) as log:
            log.append(
                "run-failed",
                reason=_text(error),
                hint=getattr(error, "hint", ""),
                # What the plan says, or the end of all patience, is the same the next time.
                again=not isinstance(error, PlanError | RoundError),
            )
        raise
    return DONE


def _text(error: Exception) -> str:
    if isinstance(error, FedHomeError):
        return error.message
    return f"the run's process ended with {type(error).__name__}: its log says more"
