"""The arguments by which commands take a plan."""

from __future__ import annotations

from typing import Annotated

import typer

from fedhome.cli import completion

PlanArgument = Annotated[
    str | None,
    typer.Argument(
        help="A plan (TOML), or the name of a scenario.",
        metavar="PLAN",
        autocompletion=completion.plans,
    ),
]
PlanOption = Annotated[
    str | None,
    typer.Option(
        "--plan",
        help="A plan (TOML), or the name of a scenario.",
        metavar="PLAN",
        autocompletion=completion.plans,
    ),
]
PlanOrDefaults = Annotated[
    str | None,
    typer.Argument(
        help="A plan (TOML) or a scenario.",
        metavar="PLAN",
        show_default="the defaults",
        autocompletion=completion.plans,
    ),
]
SetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one setting.",
        metavar="KEY=VALUE",
        autocompletion=completion.settings,
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="A named data set, or a folder of CSV, Parquet or JSON files.",
        metavar="DATA",
        autocompletion=completion.data,
    ),
]
