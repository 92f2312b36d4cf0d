"""One run over a grid: the rounds, the personalisation, and everything that is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.errors import RoundError, RunError
from fedhome.learning.local import LocalLearning
from fedhome.learning.own_state import StatesInMemory
from fedhome.learning.plan_notes import notes_on
from fedhome.plan.learnt_changes import STATED, learnt_by
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.results import homes_table, rounds_table
from fedhome.server.daemon.beginning import Beginning
from fedhome.server.daemon.promotion import settle
from fedhome.server.daemon.publishing import Publisher
from fedhome.server.rounds.fitting_homes import UnfitHomes
from fedhome.server.rounds.outcome import personalise
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.strategies import strategy_of


def log_start(log: EventLog, plan: Plan, *, resumed: bool = False, **more: object) -> None:
    """Log that a run starts or goes on; for a new one, also the notes on its plan.

    Args:
        log: The run's log.
        plan: Its plan.
        resumed: It goes on.
        more: What else is worth keeping.
    """
    log.append(
        "run-resumed" if resumed else "run-started",
        plan=plan.name,
        seed=plan.seed,
        data=plan.data.source,
        **more,
    )
    for note in () if resumed else notes_on(plan):
        log.append("note", text=note)


def run_plan(
    plan: Plan,
    *,
    grid: Grid,
    learning: LocalLearning,
    homes: int,
    folder: RunFolder,
    log: EventLog,
    name_of: Callable[[int], str],
    resumed: bool = False,
    publisher: Publisher | None = None,
    beginning: Beginning | None = None,
    unfit: UnfitHomes | None = None,
    patience: Patience | None = None,
    states: StatesInMemory | None = None,
    looked_at: Sequence[int] | None = None,
) -> None:
    """Run a plan's rounds, let the homes personalise, and write the model and the tables.

    Args:
        plan: The plan.
        grid: How messages travel.
        learning: What homes learn with: the layout and the first parameters.
        homes: Number of homes in the fleet.
        folder: The run's folder.
        log: The run's log.
        name_of: The name of the home behind a node.
        resumed: Go on from the folder's last checkpoint, where there is one.
        publisher: Publishes what the run ends with; None: nobody does.
        beginning: What is in use when the run begins; None: nobody knows.
        unfit: Takes the homes whose inputs turn out to be others; None: there are none.
        patience: Waits for homes, and before a failed round is repeated; None: nobody does.
        states: What the method keeps in a simulation's homes; None: homes keep it themselves.
        looked_at: Nodes of the homes that judge rounds and say what they gain; None: all.

    Raises:
        PlanError: The strategy refuses its arguments.
        RoundError: Too many rounds in a row failed; or, where nobody waits, no home could
            personalise.
        RunError: The checkpoint or the first model cannot be used, or the folder cannot be
            written.
    """
    layout = learning.layout
    if isinstance(grid, SecureGrid):
        grid.unfit = unfit
    rounds = RoundLoop(
        plan=plan,
        strategy=strategy_of(plan, homes),
        grid=grid,
        layout=layout,
        initial=_initial(plan, learning, folder, log, announced=not resumed),
        warm=folder.read_start() is not None,
        folder=folder,
        log=log,
        unfit=unfit,
        patience=patience,
        states=states,
        looked_at=looked_at,
        name_of=name_of,
    )
    if resumed:
        rounds.resume()
    flat = rounds.run()
    folder.write_rounds(rounds_table(rounds.state.rows))
    folder.write_model(
        layout.unflatten(flat),
        plan=plan.name,
        round_number=rounds.ends_with,
        learnt=learnt_by(plan),
    )
    # In the clear each home says what its slice is worth, and then a release tells it by tier.
    told_first = is_sliced(plan) and not isinstance(grid, SecureGrid)
    if publisher is not None and not (told_first and plan.personalise.name != "none"):
        end_with(publisher, beginning, rounds)
    if plan.personalise.name == "none":
        return
    log.append("personalising", homes=homes if looked_at is None else len(looked_at))
    try:
        rows = personalise(
            plan=plan,
            grid=grid,
            layout=layout,
            flat=flat,
            score=learning.task.score,
            log=log,
            name_of=name_of,
            patience=patience,
            looked_at=looked_at,
        )
    except RoundError as error:
        if patience is None:
            raise
        log.append("note", text=f"what homes gain is not known: {error.message}")
        rows = []
    if rows:  # in secure sums the server learns no single home's scores
        folder.write_homes(homes_table(rows))
    if publisher is not None and told_first:
        end_with(publisher, beginning, rounds)


def _initial(
    plan: Plan, learning: LocalLearning, folder: RunFolder, log: EventLog, *, announced: bool
) -> NDArray[np.float32]:
    """Return the first parameters: new ones, or those that another run ended with."""
    start, layout = folder.read_start(), learning.layout
    if start is None:
        return learning.initial
    if start.layout_hash != layout.hash:
        raise RunError(
            f"the model of {start.plan} has another shape than that of this plan",
            hint="begin with a model of the same inputs, layers and outputs, or with none",
        )
    if start.learnt != (own := learnt_by(plan)):
        raise RunError(
            f"the model of {start.plan} states {STATED[start.learnt]}, and this plan's "
            f"{STATED[own]}",
            hint=f"learn a series as it did, --set data.learns={start.learnt}, or begin with none",
        )
    if announced:
        log.append("begins-with", plan=start.plan, round=start.round)
    return layout.flatten(start.parameters)


def end_with(publisher: Publisher, beginning: Beginning | None, rounds: RoundLoop) -> None:
    """Let a run's result take the place of the release in use, if homes say so.

    Args:
        publisher: Knows what is in use.
        beginning: What the run began with; None: nobody knows.
        rounds: Its rounds, which are over.

    Raises:
        RegistryError: The registry is damaged.
    """
    candidate, release, change = rounds.candidate(), publisher.in_use, None
    if candidate is not None and release is not None and beginning is not None:
        change = beginning.change(release, rounds.state.rows, candidate)
    unfit = "" if beginning is None else beginning.unfit
    settle(publisher, candidate, rounds.layout, unfit=unfit, change=change)
