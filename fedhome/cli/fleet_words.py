"""What the commands of ``fedhome fleet`` share: options, questions, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.scenarios import named_plan
from fedhome.errors import PlanError, StateError
from fedhome.fleet.cards import Card
from fedhome.fleet.issued_directory import IssuedDirectory
from fedhome.fleet.owner_folder import CARD, PLAN
from fedhome.plan.protocol import collusion, least_allowed
from fedhome.plan.settings import Plan
from fedhome.secagg.directory import Directory
from fedhome.store import disk
from fedhome.wire.moments import when

_PLAIN_COHORT = 2  # without secure sums the directory's committee opens nothing

SHOWN = 8
"""Homes of a kind that are named."""

Folder = Annotated[
    Path, typer.Option("--fleet", help="The owner's folder.", metavar="DIR", show_default="here")
]
CardFile = Annotated[
    Path | None,
    typer.Option(
        "--server",
        help="The server's server.card; remembered.",
        metavar="CARD",
        show_default="the last one",
    ),
]


class DirectoryNumbers(TypedDict):
    """What a plan says of the directories of its fleet; as `Fleet.sign` takes it."""

    corrupt: float
    dropped: float
    committee: int | None
    min_cohort: int


def numbers_of(plan: Plan) -> DirectoryNumbers:
    """Return what a plan says of the directories of its fleet."""
    settings = plan.aggregation
    plain = settings.mode == "plain"
    return DirectoryNumbers(
        corrupt=settings.corrupt,
        dropped=settings.dropped,
        committee=settings.committee,
        min_cohort=_PLAIN_COHORT if plain else settings.min_cohort,
    )


def put_out(fleet: Path, left: int, fewest: int) -> str:
    """Return how the homes that are off the list are put out of the fleet.

    Args:
        fleet: The owner's folder.
        left: Homes on the list.
        fewest: Fewest homes in any sum, by the plan.
    """
    word = f" --fleet {fleet}" if fleet != Path() else ""
    if left >= fewest:
        return f"`fedhome fleet directory{word}`"
    if left > 1:
        return (
            f"`fedhome fleet directory{word} --min-cohort {left}`, as {left} homes are fewer than "
            f"the plan's {fewest}: no run goes on until there are that many again"
        )
    return "that takes two homes at least; until then, stop the server"


def summary(issued: IssuedDirectory) -> Table:
    """Return what a new directory says, as a table."""
    new = issued.directory
    table = table_of(f"epoch {new.epoch} of fleet {new.fleet.hex()}", "what", "value")
    table.add_row("holds until", f"{when(new.expires)}; `fedhome fleet directory` signs the next")
    table.add_row("homes", f"{len(new.names)}, {new.eligible} of them may serve on the committee")
    everyone = new.committee == new.eligible
    members = "all that may" if everyone else few(list(new.members))
    table.add_row("committee", f"{new.committee}: {members}")
    table.add_row("may be corrupt", f"{new.corrupt} of the committee")
    table.add_row("answers to open", dict(issued.parameters.lines())["answers to open"])
    kinds: dict[str, list[str]] = {}
    for home, what in issued.changes.items():
        kinds.setdefault(what, []).append(home)
    for what, homes in kinds.items():
        table.add_row(what, f"{len(homes)}: {few(homes)}")
    if not kinds:
        table.add_row("changed", "no home since the last epoch")
    return table


def who_must_collude(directory: Directory, plan: Plan) -> str:
    """Return in words how many must work together to see a single home of a fleet."""
    if plan.aggregation.mode == "plain":
        return "to see one home: nobody. The plan is plain, and the server sees what each one sends"
    allowed = least_allowed(plan, len(directory.names))
    return collusion(directory.committee, directory.threshold, allowed)


def tier_told(tier: str, plan: Plan | None) -> str:
    """Return which slice a home carries, in words; one that the plan does not have counts so.

    Args:
        tier: As its entry names it; empty: it names none.
        plan: The fleet's plan; None: nobody has named one.
    """
    tiers = [] if plan is None else [one.name for one in plan.slicing.in_order()]
    if plan is None or tier in tiers:
        return tier
    if not tiers:
        return f"{tier}: the plan has no tiers" if tier else ""
    return f"{tier or 'no tier'}: not in the plan, counts as {tiers[0]}"


def few(homes: list[str]) -> str:
    """Return the names of the first few homes."""
    shown = ", ".join(map(escape, homes[:SHOWN]))
    return shown if len(homes) <= SHOWN else f"{shown} and {len(homes) - SHOWN} more"


def table_of(title: str, *columns: str) -> Table:
    """Return an empty table."""
    table = Table(show_edge=False, header_style="bold", title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def text_of(path: Path) -> str:
    """Return a file's text.

    Raises:
        StateError: It cannot be read, or is no text.
    """
    try:
        return disk.read(path).decode()
    except UnicodeDecodeError:
        raise StateError(f"{path} is not text", reason="foreign", hint="name a text file") from None


def plan_of(folder: Path, name: str | None = None) -> Plan:
    """Return the fleet's plan: the one that is named, or the last one, or the default one.

    Args:
        folder: The owner's folder.
        name: A plan's file, or the name of a scenario.

    Raises:
        PlanError: It does not hold, or there is none.
    """
    path = folder / PLAN
    if name is None and path.exists():
        try:
            return Plan.load(path)
        except PlanError as error:  # an earlier release kept it
            raise PlanError(
                error.faults,
                where=str(path),
                hint="an earlier release may have kept it, or somebody changed it: invite the "
                "homes to a new one, which takes its place: `fedhome fleet invite HOME... --again "
                "--plan PLAN --like FILE`",
            ) from None
    return named_plan(name)


def card_of(folder: Path, card_path: Path | None) -> Card | None:
    """Return how the fleet's server is reached: as given, and remembered then, or as last time.

    Args:
        folder: The owner's folder.
        card_path: A server's ``server.card``.

    Raises:
        DirectoryError: ``card``.
        StateError: A file cannot be read or written.
    """
    path = folder / CARD
    if card_path is None:
        return Card.from_text(text_of(path)) if path.exists() else None
    card = Card.from_text(text_of(card_path))
    disk.put(path, f"{card.to_text()}\n".encode(), mode=0o644)
    return card


def needed_card(folder: Path, card_path: Path | None) -> Card:
    """Return how the fleet's server is reached, where nothing goes without it.

    Raises:
        DirectoryError: As `card_of`.
        StateError: As `card_of`; ``missing``: no server is known.
    """
    card = card_of(folder, card_path)
    if card is None:
        raise StateError(
            "this fleet's server is not known yet",
            reason="missing",
            hint="make one with `fedhome server init`, and name its server.card with --server",
        )
    return card
