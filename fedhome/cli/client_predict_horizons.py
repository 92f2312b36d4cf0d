"""What a home expects at several horizons, as one table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from fedhome.cli.client_predict import (
    HomePrediction,
    add_origin,
    checked,
    followed_in_words,
    plainly,
    print_notes,
    why_not_its_model,
)
from fedhome.cli.console import Console
from fedhome.plan.time_steps import ahead_of

_DIGITS = 4
_COLUMNS = ("ahead", "of", "expected", "8 times in 10", "without learning")
_WIDE = 72  # characters, from which on the columns stand side by side


def print_horizons(each: Sequence[HomePrediction]) -> None:
    """Print predictions of one home at several horizons, the nearest first.

    Args:
        each: The predictions.
    """
    first, console = each[0], Console()
    wide = console.width >= _WIDE
    table = Table(
        show_edge=False,
        show_header=wide,
        title=escape(f"{first.model.target} of {first.model.home}"),
        title_justify="left",
    )
    table.add_column(_COLUMNS[0], style="bold", no_wrap=True)
    for name in _COLUMNS[1:] if wide else ("",):
        table.add_column(name, overflow="fold")
    for one in each:
        row = _row(one)
        told = (f"{name}: {cell}" for name, cell in zip(_COLUMNS[2:], row[2:], strict=True))
        table.add_row(*(row if wide else (row[0], "\n".join([row[1], *told]))))
    console.print(table)
    about = Table(show_edge=False, show_header=False)
    about.add_column(style="bold")
    about.add_column(overflow="fold")
    worse = [one for one in each if one.trial.worse]
    if worse:
        named = ", ".join(one.horizon for one in worse)
        about.add_row("note", f"[bold red]{named} ahead: {why_not_its_model(first.model)}[/]")
    about.add_row("missing", escape(_joined([(one, _missing(one)) for one in each])))
    add_origin(about, first)
    about.add_row("newest rows", escape(_joined([(one, checked(one)) for one in each])))
    bands = [
        (one, followed_in_words(one.band))
        for one in each
        if one.band is not None and not one.trial.worse
    ]
    if bands:
        about.add_row("band", escape(_joined(bands)))
    console.print(about)
    print_notes(console, dict.fromkeys(note for one in each for note in one.notes))


def _row(one: HomePrediction) -> tuple[str, ...]:
    row, without = one.row, plainly(one, one.row["without_learning"])
    band = f"{row['low']:.{_DIGITS}g} to {row['high']:.{_DIGITS}g}"
    if one.trial.worse:
        value, band = f"{without} (not by its model)", "not known"
    else:
        value = plainly(one, row["value"])
    expected = f"[bold]{escape(value)}[/]"
    return escape(one.horizon), one.of, expected, escape(band), escape(without)


def _missing(one: HomePrediction) -> str:
    return ", ".join(one.missing) or "nothing"


def _joined(told: Sequence[tuple[HomePrediction, str]]) -> str:
    """Return what is told of each horizon; once where it is the same of all."""
    said = {text for _, text in told}
    if len(said) == 1:
        return said.pop()
    return "\n".join(f"{ahead_of(one.horizon)}: {text}" for one, text in told)
