"""``fedhome model tier``: which slice of a plan's model this device can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedhome.cli.console import Console, say
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.json_tiers import TierChoice, TierEntry
from fedhome.cli.sliced_source import widths_of_run
from fedhome.errors import FedHomeError, PlanError
from fedhome.ops.device_memory import free_memory
from fedhome.plan.device_budget import DeviceBudget, budget_of, size_told
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.run.folder import RunFolder
from fedhome.run.results import scores

if TYPE_CHECKING:
    from fedhome.learning.slice_rules import CarriedSlice

_SCORED = {"tuned": "once fine-tuned at home", "global": "as the rounds left it"}
"""The models whose score is told, the first that a run scored, each in words."""


@dataclass(frozen=True, kw_only=True)
class _Sized:
    """A plan with what its slices depend on.

    Args:
        plan: The plan.
        features: Width of the input.
        classes: Class names found in the data.
        scores: What each tier's homes came to in a run, by its name; none of a plan.
        scored: Which model of theirs that is; None where nothing was scored.
    """

    plan: Plan
    features: int
    classes: tuple[str, ...] = ()
    scores: Mapping[str, float]
    scored: str | None = None


def tier(
    plan: Annotated[
        Path,
        typer.Argument(
            help="A plan, or the folder of a run, which knows scores too.", metavar="PLAN"
        ),
    ],
    *,
    memory: Annotated[
        str,
        typer.Option(
            help="Bytes that a step of training may hold, such as 64KB.",
            show_default="what is free on this machine",
        ),
    ] = "",
    step: Annotated[
        str, typer.Option(help="Time that a step may take, such as 2ms.", show_default="any")
    ] = "",
    bytes_up: Annotated[
        str,
        typer.Option(help="Bytes that an update may have, such as 8KB.", show_default="any"),
    ] = "",
    data: Annotated[
        str,
        typer.Option(
            help="Readings of this home, in place of the plan's data.", show_default="the plan's"
        ),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Print which tier of a plan this device can carry: the largest slice that fits.

    A step of each slice is taken and timed on this machine. Memory is what a step holds beside
    Python and torch; without --memory it is held against what is free here.
    """
    if not plan.exists():
        raise FedHomeError(
            f"there is no plan {plan}, nor a run's folder of that name",
            hint="of a release name the plan, or the folder of the run that it is of: "
            "`fedhome model show` says which",
        )
    from fedhome.learning.fitting_tier import lacking, largest_fitting  # noqa: PLC0415 - torch
    from fedhome.learning.slice_costs import cost_of  # noqa: PLC0415 - its room loads torch

    budget = _budget(memory=memory, step=step, bytes_up=bytes_up)
    sized = _of_run(plan) if plan.is_dir() else _of_plan(plan, data)
    if plan.is_dir() and data:
        raise FedHomeError("a run's folder has its own inputs", hint="leave --data out")
    slices = _slices(sized)
    costs = [cost_of(carried, sized.plan, sized.features) for carried in slices]
    chosen = largest_fitting(costs, budget)
    entries = [
        TierEntry(
            tier=carried.tier,
            carries=carried.told,
            parameters=cost.numbers,
            bytes_up=cost.bytes_up,
            memory=cost.memory,
            step_ms=cost.step_ms,
            score=sized.scores.get(carried.tier),
            lacks=list(lacking(cost, budget)),
        )
        for carried, cost in zip(slices, costs, strict=True)
    ]
    choice = TierChoice(
        tier=None if chosen is None else entries[chosen].tier,
        memory=budget.memory,
        step_ms=budget.step_ms,
        bytes_up=budget.bytes_up,
        scored=sized.scored,
        tiers=entries,
    )
    if as_json:
        print_json(choice)
    else:
        _tell(choice, budget)
    if chosen is None:
        raise typer.Exit(1)


def _budget(*, memory: str, step: str, bytes_up: str) -> DeviceBudget:
    given = budget_of(memory=memory, step=step, bytes_up=bytes_up)
    if given.memory is not None:
        return given
    return DeviceBudget(memory=free_memory(), step_ms=given.step_ms, bytes_up=given.bytes_up)


def _of_plan(path: Path, data: str) -> _Sized:
    from fedhome.simulations.gather import gather  # noqa: PLC0415 - for a plan alone

    plan = Plan.load(path, sets=[f"data.source={data}"] if data else ())
    _check_sliced(plan, str(path))
    gathered = gather(plan)
    return _Sized(
        plan=gathered.plan,
        features=gathered.homes[0].x.shape[1],
        classes=gathered.classes,
        scores={},
    )


def _of_run(path: Path) -> _Sized:
    """Return a run's plan, the widths of its model, and what its tiers came to."""
    run = RunFolder.open(path)
    plan = Plan.parse(run.read_plan(), where=str(run.plan_path))
    _check_sliced(plan, f"run {path}")
    features, classes = widths_of_run(run, plan)
    by_model = scores(run.read_homes()) if run.homes_path.exists() else {}
    scored = next((model for model in _SCORED if model in by_model), None)
    return _Sized(
        plan=plan,
        features=features,
        classes=classes,
        scores={} if scored is None else _by_tier(run, scored),
        scored=scored,
    )


def _check_sliced(plan: Plan, where: str) -> None:
    if not is_sliced(plan):
        raise PlanError(
            ["slicing.tiers name no device: all carry the whole model"],
            where=where,
            hint="docs/slicing.md shows how tiers are named",
        )


def _by_tier(run: RunFolder, model: str) -> dict[str, float]:
    """Return the mean score of each tier's homes, by its name: of a fleet, as its owner signed."""
    from fedhome.server.report.run_results import load  # noqa: PLC0415 - arrow
    from fedhome.server.report.tier_scores import scores_by_tier  # noqa: PLC0415 - the same

    found = scores_by_tier(load([run])[0], model)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _slices(sized: _Sized) -> Sequence[CarriedSlice]:
    from fedhome.learning.build import learning_of  # noqa: PLC0415 - its room loads torch
    from fedhome.learning.carried_slice import carried_slices  # noqa: PLC0415 - the same

    whole = learning_of(sized.plan, sized.features, sized.classes)
    return carried_slices(sized.plan, whole, sized.features, sized.classes)


def _tell(choice: TierChoice, budget: DeviceBudget) -> None:
    """Print a sentence for each tier, then the choice: sentences fit every screen."""
    console = Console()
    for one in choice.tiers:
        score = ""
        if one.score is not None and choice.scored is not None:
            score = f", score {one.score:.3f} {_SCORED[choice.scored]}"
        fits = "fits" if not one.lacks else f"does not fit: needs {'; '.join(one.lacks)}"
        say(
            console,
            f"{one.tier}: {one.carries}, {one.parameters:,} numbers, "
            f"{size_told(one.bytes_up)} up a round, {size_told(one.memory)} and "
            f"{one.step_ms:.2g} ms a step{score}; {fits}",
            wrapped=True,
        )
    say(console, f"this device has: {budget}", wrapped=True)
    if choice.tier is None:
        say(console, "it can carry no tier: give it more, or the plan a smaller one", wrapped=True)
    else:
        say(console, f"it takes tier {choice.tier}, the largest that fits", wrapped=True)
    if all(one.score is None for one in choice.tiers):
        say(
            console,
            "no score is known: name the folder of a finished run in place of its plan",
            wrapped=True,
        )
