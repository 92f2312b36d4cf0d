"""One simulation from a plan to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from flwr.serverapp import Grid

from fedhome.data.home_objects import Homes
from fedhome.data.read_report import alike, in_short
from fedhome.errors import FedHomeError, RunError
from fedhome.flower.messages import quiet
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.cohort import Cohort
from fedhome.learning.personalise import personaliser
from fedhome.learning.plan_check import checked_plan
from fedhome.own_code import faults_told
from fedhome.passed_objects import given
from fedhome.personal.model import PersonalModel
from fedhome.personal.opened import models_in
from fedhome.plan.overrides import listed_sets, merge, parse_set
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced, tiers_of
from fedhome.plugins import look_up
from fedhome.questions.rate_search import check_search
from fedhome.questions.transfer import check_feedback
from fedhome.run.ended_early import nothing_left_of_nothing, resumable
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.model_file import SavedModel
from fedhome.run.results import SummaryRow, summary
from fedhome.run.summary import summary_text
from fedhome.server.report.html import write_report
from fedhome.server.rounds.run_plan import log_start, run_plan
from fedhome.server.rounds.sliced_run import check_slices, tell_carried, works_on_sums
from fedhome.simulations.cold_start import try_newcomers
from fedhome.simulations.dealt_devices import with_devices
from fedhome.simulations.engines.by_name import ENGINES
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.world import World
from fedhome.simulations.kept_models import keep_models
from fedhome.simulations.newcomers import Newcomers
from fedhome.simulations.objects import AnyMethod, AnyPersonaliser, AnyStrategy, Model, Objects
from fedhome.simulations.portraits import show_homes
from fedhome.simulations.scenario_files import plan_file
from fedhome.simulations.secure.secure_fleet import SecureFleet, secure_grid
from fedhome.simulations.secure.slower_here import slower_here
from fedhome.simulations.still_objects import still_objects
from fedhome.simulations.taken_fleet import check_sums, take_fleet
from fedhome.simulations.tier_notes import outcome_notes


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run.

    Args:
        folder: Its files.
        own_code: Whether `models` may run the code that the run's plan names.
    """

    folder: RunFolder
    own_code: bool = False

    def __repr__(self) -> str:
        """Return the table of models that a terminal shows, and where the report is."""
        if not self.path.is_dir():
            return f"Result({str(self.path)!r}), whose folder is gone"
        try:
            return summary_text(self.folder)
        except (FedHomeError, OSError) as error:  # whoever shows a value cannot use an error
            return f"Result({str(self.path)!r}), which cannot be read: {error}"

    @classmethod
    def open(cls, run: Path | str, *, own_code: bool = False) -> Result:
        """Return a run that has finished.

        Args:
            run: Folder of the run.
            own_code: Whether `models` may be modules of somebody's own, **whose code is run when
                they predict**: say so of a run that is your own.

        Raises:
            RunError: There is none, or it has not finished.
        """
        folder = RunFolder.open(run)
        if not folder.finished:
            raise RunError(
                f"{folder.path} has not finished",
                hint=f"go on with it: fedhome.resume({str(run)!r})",
            )
        return cls(folder, own_code)

    @property
    def path(self) -> Path:
        """The run's folder: plan, log, tables, model, report (docs/simulate.md)."""
        return self.folder.path

    @cached_property
    def plan(self) -> Plan:
        """The resolved plan."""
        return Plan.parse(self.folder.read_plan())

    @cached_property
    def rounds(self) -> pa.Table:
        """One row a round, see :data:`fedhome.run.results.ROUNDS`; ``.to_pandas()`` if you like."""
        return self.folder.read_rounds()

    @cached_property
    def homes(self) -> pa.Table:
        """One row a home and model, see :data:`fedhome.run.results.HOMES`."""
        return self.folder.read_homes()

    @cached_property
    def cold_start(self) -> pa.Table | None:
        """What homes got that joined after the rounds (``evaluation.unseen``); None: none did.

        See :data:`fedhome.run.cold_start_table.COLD_START`.
        """
        return self.folder.read_cold_start()

    @cached_property
    def model(self) -> SavedModel:
        """The global model: float32 arrays by name."""
        return self.folder.read_model()

    @cached_property
    def models(self) -> Mapping[str, PersonalModel]:
        """Each home's own model, by its name; it predicts from the home's readings.

        Raises:
            RunError: None is kept, as the run's log says, the file is damaged, or a model would run
                code that it may not.
        """
        return models_in(self.path, own_code=self.own_code)

    @property
    def summary(self) -> list[SummaryRow]:
        """Mean, median, 10th percentile and homes hurt, for each model."""
        return summary(self.homes)


def simulate(
    plan: Plan | Path | str | None = None,
    *,
    sets: Sequence[str] = (),
    model: Model | None = None,
    method: AnyMethod | None = None,
    strategy: AnyStrategy | None = None,
    homes: str | Homes | None = None,
    personaliser: AnyPersonaliser | None = None,
    out: Path | str | None = None,
    start: Path | str | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Result:
    """Run a simulation.

    Objects go where a plan has names. Where no name leads to one (it was made in a notebook, or is
    an instance), the run's plan says so, and :func:`resume` needs it again.

    Args:
        plan: The plan, the path of one, or a scenario; None for the defaults: 100 synthetic homes.
        sets: Settings to change, as ``"section.key=value"``.
        model: A class or function of ``features`` and ``outputs`` that makes the module.
        method: A class of :mod:`fedhome.methods`, or one's own.
        strategy: Flower's strategy. An instance is copied and not changed itself; it says what
            share of the homes is asked. A class is made with the plan's settings.
        homes: A table for each home by its name (a DataFrame, an Arrow table or columns by name),
            :class:`fedhome.HomeTable` objects, or a function of the plan that yields these. All
            of their readings are used unless the plan has ``data.history_days``: that homes have
            five days to learn from is a default of the synthetic ones alone.
        personaliser: An object with ``trial`` and ``adapt``, or a class or function that gives
            one.
        out: Folder of the run; None for the next free ``runs/NAME-1``, ``runs/NAME-2``, ...
        start: Folder of a run whose model this one begins with; None for a new model.
        on_event: Called with every event of the run's log, as it happens.

    Raises:
        FedHomeError: What went wrong, and what to do about it.
        KeyboardInterrupt: Ctrl-C; after the first round it says how the run goes on.
    """
    objects = Objects(
        model=model, method=method, strategy=strategy, personaliser=personaliser, source=homes
    )
    resolved = objects.laid_over(_resolved(plan, sets)).located()
    plan = checked_plan(resolved.model_dump())
    first = None if start is None else RunFolder.open(start).read_model()
    folder = RunFolder.create(out, name=plan.name)
    if first is not None:
        folder.write_start(first)
    folder.write_plan(plan.to_toml())
    with nothing_left_of_nothing(folder), given(objects.at_hand):
        return _run(plan, folder, on_event=on_event, resumed=False)


def resume(
    run: Path | str,
    *,
    model: Model | None = None,
    method: AnyMethod | None = None,
    strategy: AnyStrategy | None = None,
    homes: str | Homes | None = None,
    personaliser: AnyPersonaliser | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Result:
    """Go on with a run that was interrupted; it ends with the weights it would have had.

    Args:
        run: Folder of the run.
        model: What the run was begun with, if that was an object that no name leads to.
        method: The same.
        strategy: The same.
        homes: The same; the readings must be the same too.
        personaliser: The same.
        on_event: Called with every event of the run's log, as it happens.

    Raises:
        RunError: The folder holds no run, or one that is finished, or that was begun with other
            objects.
    """
    folder = RunFolder.create(run, resume=True)
    if folder.finished:
        raise RunError(
            f"{folder.path} is finished: there is nothing to resume",
            hint=f"`fedhome report {folder.path}` shows it",
        )
    plan = Plan.parse(folder.read_plan(), where=str(folder.plan_path))
    objects = Objects(
        model=model, method=method, strategy=strategy, personaliser=personaliser, source=homes
    )
    objects.check_same(plan)
    with resumable(folder), given(objects.at_hand):
        return _run(plan, folder, on_event=on_event, resumed=True)


def _resolved(plan: Plan | Path | str | None, sets: Sequence[str]) -> Plan:
    if not isinstance(plan, Plan):
        named = plan_file(plan) if isinstance(plan, str | Path) else plan
        return Plan.load(named, sets=sets)
    changes: dict[str, Any] = {}
    for setting in listed_sets(sets):
        merge(changes, parse_set(setting))
    return plan.change(**changes) if changes else plan


def _run(
    plan: Plan,
    folder: RunFolder,
    *,
    on_event: Callable[[Event], None] | None,
    resumed: bool,
) -> Result:
    quiet()
    begin = time.perf_counter()
    with faults_told(), EventLog(folder.events_path, on_event=on_event) as log:
        versions = {name: version(name) for name in ("fedhome", "flwr", "torch", "numpy")}
        log_start(log, plan, resumed=resumed, versions=versions)
        world, newcomers = _world(plan, folder, log, tell_homes=not resumed)
        plan = world.plan  # the data have told what it left open
        taking_part = [] if newcomers.all_new else world.gathered.homes
        log.append(
            "fleet-ready",
            homes=len(world.names) if taking_part else 0,
            examples=sum(home.counts[0] for home in taking_part),
            features=world.gathered.homes[0].x.shape[1],
            outputs=world.learning.task.outputs,
            parameters=world.learning.layout.size,
            engine=plan.engine.name,
            aggregation=world.mode if taking_part else "no",
            rounds=plan.rounds.count,
            score=world.learning.task.score,
            **({"held": len(world.held)} if world.pool else {}),
            **({"unseen": len(newcomers.tables)} if newcomers.tables else {}),
        )
        if taking_part:
            cohorts = _rounds(world, folder, log, resumed=resumed)
            keep_models(world, newcomers.found, cohorts, folder)
        if newcomers.tables:
            try_newcomers(world, newcomers, folder, log)
        log.append("run-finished", seconds=time.perf_counter() - begin)
    write_report([folder], folder.report_path)
    return Result(folder, own_code=True)  # it has just run, by this very plan


def _rounds(world: World, folder: RunFolder, log: EventLog, *, resumed: bool) -> Sequence[Cohort]:
    plan = world.plan
    engine = look_up(ENGINES, plan.engine.name, "engine")
    with closing(world), engine(world) as grid, still_objects():
        run_plan(
            plan,
            grid=grid if world.mode == "plain" else _secure_grid(world, grid, log),
            learning=world.learning,
            homes=len(world.names),
            folder=folder,
            log=log,
            name_of=grid.name_of,
            resumed=resumed,
            states=world.states,
            looked_at=None
            if world.pool is None
            else [grid.first_node + int(home) for home in world.pool.positions],
        )
        if folder.homes_path.exists():
            show_homes(world, folder, log, grid.within)
            told = outcome_notes(plan, world.names, folder) if is_sliced(plan) else {}
            for tier, note in told.items():
                log.append("tier-scored", tier=tier, text=note)
        return grid.within


def _secure_grid(world: World, grid: InProcessGrid, log: EventLog) -> Grid:
    return secure_grid(
        grid, plan=world.plan, layout=world.learning.layout, log=log, fleet=world.secure
    )


def _world(
    plan: Plan, folder: RunFolder, log: EventLog, *, tell_homes: bool
) -> tuple[World, Newcomers]:
    fleet = take_fleet(plan)
    newcomers, gathered, homes = fleet.newcomers, fleet.gathered, fleet.homes
    plan = gathered.plan
    folder.write_plan(plan.to_toml())
    if gathered.reports:
        folder.write_readings([report.to_dict() for report in gathered.reports])
    if tell_homes:
        for home, reason in gathered.excluded:
            log.append("home-excluded", home=home, reason=reason)
        for same in alike(gathered.reports):
            log.append("readings", text=in_short(same))
        for note in fleet.notes:
            log.append("note", text=note)
    plan, learning = with_devices(plan, gathered, folder, log)
    sums = works_on_sums(plan, homes)
    how = None if plan.personalise.name == "none" else personaliser(plan.personalise.name)
    mode = "plain" if newcomers.all_new else plan.aggregation_mode(homes)
    if is_sliced(plan):
        check_slices(plan, sums=sums)
        if tell_homes:
            features = gathered.homes[0].x.shape[1]
            slices = carried_slices(plan, learning, features, gathered.classes)
            names = [home.home for home in gathered.homes]
            tiers = dict(zip(names, tiers_of(plan, names).tolist(), strict=True))
            tell_carried(log, plan, slices, tiers, features, named=False)
    check_feedback(plan, learning.method, learning.layout)
    check_search(plan, learning.method, learning.layout)
    if mode != "plain":
        check_sums(plan, homes, sums=sums)
    secure = None
    if mode == "secure":
        here = plan.engine.name == "sequential"  # the ClientApp's handlers work in this process
        names = [home.home for home in gathered.homes]
        secure = SecureFleet(names, plan, workers=0 if here else None)

    def notice(text: str) -> None:
        log.append("note", text=text)

    if secure is not None and (slower := slower_here()) is not None:
        notice(slower)
    world = World(
        plan=plan,
        gathered=gathered,
        learning=learning,
        how=how,
        sums=sums,
        notice=notice,
        mode=mode,
        secure=secure,
        pool=fleet.pool,
    )
    return world, newcomers
