"""``fedhome privacy``: what noise would hide, and what it would cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console, say
from fedhome.cli.group import Group
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.json_plans import NoiseEntry, NoisePlan
from fedhome.cli.plan_options import PlanOrDefaults
from fedhome.cli.row_blocks import print_rows
from fedhome.cli.scenarios import named_plan
from fedhome.plan.privacy_outlook import LONGEST_NOISE, MOST_ERROR, Outlook, ways_out, with_noise
from fedhome.plan.private_plan import check_delta, check_size
from fedhome.plan.settings import Plan

app = typer.Typer(cls=Group, no_args_is_help=True)

_OTHERS = (1.0, 2.0, 4.0, 8.0, 16.0)
_VALUE = "value, and why"
_PARAMETERS = 5761  # of the default plan's model


@app.callback()
def privacy() -> None:
    """What noise that homes add would hide, and what it would cost."""


@app.command()
def plan(
    homes: Annotated[int, typer.Option(help="Homes in the fleet.", min=2)],
    epsilon: Annotated[
        float, typer.Option(help="What the whole run may cost each home.", min=0.01)
    ],
    rounds: Annotated[int, typer.Option(help="Rounds of the run.", min=1)],
    named: PlanOrDefaults = None,
    *,
    delta: Annotated[
        float, typer.Option(help="For which epsilon holds.", min=1e-15, max=0.01)
    ] = 1e-5,
    parameters: Annotated[
        int, typer.Option(help="Numbers of the model that homes share.", min=1)
    ] = _PARAMETERS,
    as_json: JsonFlag = False,
) -> None:
    """Show which noise, and which size of model, are realistic."""
    console, base = Console(), named_plan(named)
    chosen = with_noise(base, epsilon=epsilon, delta=delta, rounds=rounds)
    check_size(chosen, parameters)
    check_delta(chosen, homes)
    outlook = Outlook.of(chosen, homes)
    if as_json:
        print_json(_noise_plan(chosen, outlook, parameters, {*_OTHERS, epsilon}))
        return
    print_rows(console, _facts(chosen, outlook, parameters), prose=(_VALUE,))
    console.print()
    print_rows(console, _by_epsilon(chosen, homes, parameters, {*_OTHERS, epsilon}))
    noise = (
        f"a round's noise is {outlook.noise_length(parameters):.2g} clips long, "
        f"{outlook.error_of_the_mean:.2g} in each number"
    )
    console.print()
    if outlook.excess(parameters) <= 1:
        say(console, f"realistic: {noise}")
        return
    bounds = f"above {LONGEST_NOISE:g} and {MOST_ERROR:g} a model loses skill"
    say(console, f"not realistic: {noise}; {bounds} (docs/privacy.md)")
    ways = ways_out(chosen, homes, parameters)
    if ways:
        say(console, f"one of these would do: {'; or '.join(ways)}")
    else:
        say(console, "no other number of homes or rounds, nor an epsilon up to 100, would do")


def _facts(plan: Plan, outlook: Outlook, parameters: int) -> Table:
    settings = plan.aggregation
    table = Table(
        show_edge=False,
        header_style="bold",
        title=f"noise for epsilon {outlook.epsilon:.3g} at delta {outlook.delta:g}, "
        f"{outlook.rounds} rounds, {outlook.homes:,} homes",
        title_justify="left",
    )
    for name in ("quantity", _VALUE):
        table.add_column(name, overflow="fold")
    for name, text in (
        (
            "noise counted on",
            (
                f"that of {outlook.honest:,} homes: {settings.dropped:.0%} may vanish, "
                f"{settings.corrupt:.0%} (one at least) may tell their noise"
            ),
        ),
        (
            "between two readings",
            (
                f"epsilon {outlook.between:.3g}: a home's numbers are up to twice as far from "
                "another content of its readings' as from none"
            ),
        ),
        ("noise multiplier", f"{outlook.noise_multiplier:.3g} clips, in their sum"),
        ("noise of a home", f"{outlook.noise_of_a_home:.3g} clips in each number it sends"),
        ("error of the mean", f"{outlook.error_of_the_mean:.3g} clips in each number, each round"),
        (
            f"of {parameters:,} numbers",
            f"{outlook.noise_length(parameters):.2g} clips long; a home's update is one at most",
        ),
        ("largest model", outlook.largest_in_words),
        (
            "who is counted",
            (
                "a home in every round: nothing is deducted for homes that are asked by chance, "
                "since a server need not draw by chance"
            ),
        ),
    ):
        table.add_row(name, escape(text))
    return table


def _by_epsilon(plan: Plan, homes: int, parameters: int, epsilons: set[float]) -> Table:
    table = Table(show_edge=False, header_style="bold")
    for name in ("epsilon", "noise multiplier", "noise's length, clips", "largest model"):
        table.add_column(name, justify="right")
    for epsilon, one in _outlooks(plan, homes, epsilons):
        table.add_row(
            f"{epsilon:g}",
            f"{one.noise_multiplier:.3g}",
            f"{one.noise_length(parameters):.2g}",
            f"{one.largest_model:,}" if one.largest_model else "none",
        )
    return table


def _outlooks(plan: Plan, homes: int, epsilons: set[float]) -> Iterator[tuple[float, Outlook]]:
    for epsilon in sorted(epsilons):
        tried = with_noise(
            plan, epsilon=epsilon, delta=plan.privacy.delta, rounds=plan.rounds.count
        )
        yield epsilon, Outlook.of(tried, homes)


def _noise_plan(plan: Plan, outlook: Outlook, parameters: int, epsilons: set[float]) -> NoisePlan:
    realistic = outlook.excess(parameters) <= 1
    return NoisePlan(
        homes=outlook.homes,
        honest=outlook.honest,
        rounds=outlook.rounds,
        epsilon=outlook.epsilon,
        epsilon_between=outlook.between,
        delta=outlook.delta,
        parameters=parameters,
        noise_multiplier=outlook.noise_multiplier,
        noise_of_a_home=outlook.noise_of_a_home,
        error_of_the_mean=outlook.error_of_the_mean,
        noise_clips=outlook.noise_length(parameters),
        largest_model=outlook.largest_model,
        realistic=realistic,
        ways_out=[] if realistic else ways_out(plan, outlook.homes, parameters),
        others=[
            NoiseEntry(
                epsilon=epsilon,
                noise_multiplier=one.noise_multiplier,
                noise_clips=one.noise_length(parameters),
                largest_model=one.largest_model,
            )
            for epsilon, one in _outlooks(plan, outlook.homes, epsilons)
        ],
    )
