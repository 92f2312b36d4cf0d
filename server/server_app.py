"""The ServerApp: the same rounds as in a simulation, over Flower's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray
from rich.console import Console

from fedhome.errors import PlanError, RoundError
from fedhome.flower.messages import quiet
from fedhome.learning.build import learning_of
from fedhome.learning.slice_rules import CarriedSlice
from fedhome.own_code import faults_told
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import check_whole
from fedhome.rng import generator
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.progress import ProgressLines
from fedhome.run.summary import print_summary
from fedhome.server.daemon.beginning import Beginning
from fedhome.server.daemon.publishing import Publisher
from fedhome.server.report.html import write_report
from fedhome.server.rounds.fitting_homes import FittingGrid, Shape, UnfitHomes, shape_of
from fedhome.server.rounds.passing_fleet import enrol
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.run_plan import log_start, run_plan
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sliced_replies import SlicedRepliesGrid
from fedhome.server.rounds.sliced_run import less_told, slices_of_run, tell_carried
from fedhome.wire.layout import Layout

_WAIT_S = 300.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the plan that the run's configuration names, over the nodes that are connected.

    The configuration's ``plan`` is a TOML file, the defaults if empty; ``out`` is the folder of
    the run, the next free one in ``runs/`` if empty. Flower chooses the working folder, so both
    are best given as whole paths.

    Raises:
        FedHomeError: What went wrong, and what to do about it.
    """
    quiet()
    plan = Plan.load(str(context.run_config.get("plan", "")) or None)
    check_whole(plan)
    silent = {"task.kind": plan.task.kind, "data.horizon": plan.data.horizon}
    unset = [name for name, value in silent.items() if value in {"", None}]
    if unset and plan.data.source != "synthetic" and plan.data.inputs is None:
        raise PlanError(
            [f"{', '.join(unset)}: not set, and this server sees no readings that could tell"],
            hint="`fedhome simulate` with this plan writes what it finds into the run's plan.toml",
        )
    folder = RunFolder.create(str(context.run_config.get("out", "")) or None, name=plan.name)
    folder.write_plan(plan.to_toml())
    console = Console()
    with EventLog(folder.events_path, on_event=ProgressLines(console)) as log:
        log_start(log, plan)

        def secure_grid_for(layout: Layout) -> SecureGrid:
            channel = enrol(grid, plan, timeout_s=_WAIT_S)
            return SecureGrid(channel, plan=plan, layout=layout, log=log)

        run_over_grid(
            plan,
            grid,
            folder,
            log,
            secure_grid_for=secure_grid_for,
            name_of=lambda node: f"node-{node}",
        )
    print_summary(console, folder)


def run_over_grid(
    plan: Plan,
    grid: Grid,
    folder: RunFolder,
    log: EventLog,
    *,
    secure_grid_for: Callable[[Layout], SecureGrid],
    name_of: Callable[[int], str],
    tiers: Callable[[], Mapping[str, int]] = dict,
    resumed: bool = False,
    publisher: Publisher | None = None,
    patience: Patience | None = None,
) -> None:
    """Run a plan over homes behind a grid, to the report.

    Args:
        plan: The plan.
        grid: How messages travel.
        folder: The run's folder.
        log: The run's log, which has begun.
        secure_grid_for: Returns the grid that answers with sums, for a model of some layout.
        name_of: The name of the home behind a node.
        tiers: Returns the number of each home's tier, from the smallest, by its name; of a plan
            whose devices carry slices alone.
        resumed: Go on from the folder's last checkpoint, where there is one.
        publisher: Publishes what the run ends with; None: nobody does.
        patience: Waits for homes, and before a failed round is repeated; None: nobody does.

    Raises:
        FedHomeError: What went wrong, and what to do about it.
    """
    begin = time.perf_counter()
    if plan.evaluation.unseen and not resumed:
        log.append(
            "note",
            text="evaluation.unseen is for `fedhome simulate`: here all homes take part, and what "
            "a new one would get is not measured",
        )
    unfit = UnfitHomes(log, name_of)
    if patience is not None:
        patience.left_out = lambda: {name_of(node) for node in unfit.nodes}
        patience.ask_again = unfit.nodes.clear
    features, outputs = _shape(grid, plan, unfit, patience)
    classes = (plan.task.classes or tuple(map(str, range(outputs)))) if outputs > 1 else ()
    learning = learning_of(plan, features, classes)
    beginning = None
    if publisher is not None:
        beginning = Beginning(
            plan,
            learning.layout,
            folder=folder,
            publisher=publisher,
            log=log,
            resumed=resumed,
        )
    if (draw := folder.read_draw()) and folder.read_start() is None:
        learning.initial = _drawn(plan, draw, features, classes)
        if not resumed:
            log.append(
                "note", text=f"this fleet has trained before: a new first model, draw {draw}"
            )
    fitting: Grid = FittingGrid(grid, unfit)
    homes = len(list(fitting.get_node_ids()))
    slices = slices_of_run(plan, learning, features, classes, homes=homes)
    mode = "plain" if plan.aggregation.mode == "plain" else "secure"
    log.append(
        "fleet-ready",
        homes=homes,
        features=features,
        outputs=learning.task.outputs,
        parameters=learning.layout.size,
        aggregation=mode,
        rounds=plan.rounds.count,
        score=learning.task.score,
    )
    if slices:
        signed = tiers()  # of the directory that this run began with
        if not resumed:
            tell_carried(log, plan, slices, signed, features, named=True)
        fitting = _integrating(
            fitting, plan, learning.layout, slices, signed, name_of=name_of, log=log
        )
    with faults_told():
        run_plan(
            plan,
            grid=fitting if mode == "plain" else secure_grid_for(learning.layout),
            learning=learning,
            homes=homes,
            folder=folder,
            log=log,
            name_of=name_of,
            resumed=resumed,
            publisher=publisher,
            beginning=beginning,
            unfit=unfit,
            patience=patience,
        )
    log.append("run-finished", seconds=time.perf_counter() - begin)
    write_report([folder], folder.report_path)


def _drawn(plan: Plan, draw: int, features: int, classes: tuple[str, ...]) -> NDArray[np.float32]:
    """Return another first model than a plan's own ``[size]``."""
    seed = generator(plan.seed, "first-model", draw).integers(1 << 62)
    return learning_of(plan.change(seed=int(seed)), features, classes).initial


def _integrating(
    grid: Grid,
    plan: Plan,
    layout: Layout,
    slices: Sequence[CarriedSlice],
    signed: Mapping[str, int],
    *,
    name_of: Callable[[int], str],
    log: EventLog,
) -> SlicedRepliesGrid:
    """Return a grid whose replies' mean is the whole model; in ``signed`` are homes' tiers."""
    return SlicedRepliesGrid(
        grid,
        layout=layout,
        carried=[one.rounds.places for one in slices],
        tier_of=lambda node: signed[name_of(node)],
        most_examples=plan.rounds.max_examples,
        tell_less=lambda node, tier: log.append(
            "note", text=less_told(name_of(node), slices[tier])
        ),
    )


def _shape(grid: Grid, plan: Plan, unfit: UnfitHomes, patience: Patience | None) -> Shape:
    """Return how wide the fleet's model is, as soon as any home says so."""
    while True:
        if patience is not None:
            patience.await_homes(0)
        try:
            shape = shape_of(grid, plan, unfit)
        except RoundError as error:
            if patience is None:
                raise
            patience.pause(0, homes=0, needed=1, reason=error.message)
        else:
            if patience is not None:
                patience.held()
            return shape
