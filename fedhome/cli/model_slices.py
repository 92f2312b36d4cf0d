"""``fedhome model slices``: the parts of a finished model that small devices run, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console, say
from fedhome.cli.json_models import SliceEntry
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.opened_registry import USUAL, KeyFile, RegistryFolder
from fedhome.cli.passphrases import PassphraseFile
from fedhome.cli.sliced_source import SlicedSource, sliced_source
from fedhome.counted import counted
from fedhome.errors import ModelError
from fedhome.plan.device_budget import seconds_of

_TABLE_WIDTH = 80
"""Columns of a screen below which a table would cut its words to pieces."""
NOTHING = "-"
UNTRAINED = (
    "this release does not say which widths devices trained: one between may say little. The plan "
    "of the run names them, and its folder in place of RELEASE shows them"
)

SlicedModel = Annotated[
    str,
    typer.Argument(
        help="A round, the first 8 or more digits of a hash, or latest; or the folder of a run.",
        metavar="RELEASE",
    ),
]


def slices(
    release: SlicedModel,
    registry: RegistryFolder = USUAL,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    *,
    latency: Annotated[
        str | None,
        typer.Option(
            help="Only slices whose prediction takes this long here or less, such as 10us.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the slices of a model: layers, numbers, bytes, time of a prediction, score.

    A slice is a part of the model that predicts alone. The model must have been trained in slices:
    a plan with [slicing]. Of a module of your own name the folder of its run: its code is run.
    """
    source = sliced_source(release, registry, key_file, passphrase_file)
    limit_s = None if latency is None else seconds_of(latency)
    entries = [source.entry(cut) for cut in source.cuts]
    if limit_s is not None:
        entries = within(entries, limit_s)
    if as_json:
        print_json(entries)
        return
    console = Console()
    if console.width < _TABLE_WIDTH:
        for one in entries:
            say(console, _line(one))
    else:
        console.print(_table(entries, tiers=bool(source.tiers)))
    say(console, f"µs: one row in {source.by} on this machine, the best of some")
    if left_out := len(source.cuts) - len(entries):
        say(console, f"{counted(left_out, 'slice')} left out: a prediction takes longer")
    for note in _about_scores(source, entries):
        say(console, note)
    if not source.tiers:
        say(console, f"note: {UNTRAINED}")


def within(entries: Sequence[SliceEntry], limit_s: float) -> list[SliceEntry]:
    """Return the slices that predict within a time.

    Args:
        entries: The slices.
        limit_s: The time, s.

    Raises:
        ModelError: None does.
    """
    found = [one for one in entries if one.microseconds <= limit_s * 1e6]
    if not found:
        fastest = min(one.microseconds for one in entries)
        raise ModelError(
            f"no slice predicts within {limit_s * 1e6:.3g} µs on this machine: the fastest takes "
            f"{fastest:.3g} µs",
            hint="give more time, or choose by --budget: slices save memory more than time",
        )
    return found


def _about_scores(source: SlicedSource, entries: Sequence[SliceEntry]) -> list[str]:
    """Say once what scores are, and why some slices have none."""
    said = [
        f"score: {told.score}, mean over the tier's homes on their test rows, as the rounds left "
        "the slice; tuned: once fine-tuned at home"
        for told in source.scores
        if any(one.score is not None for one in entries)
    ]
    if source.tiers and any(one.score is None for one in entries if one.tier is not None):
        said.append(f"{NOTHING}: {source.unscored}")
    return said


def _line(one: SliceEntry) -> str:
    """Return what a table would say of a slice, for a narrow screen."""
    layers = f"{_layers(one)}: " if one.hidden else ""
    told = f", score {one.score:.3f}" if one.score is not None else ""
    told += f", tuned {one.tuned:.3f}" if one.tuned is not None else ""
    tier = f", tier {one.tier}" if one.tier else ""
    return (
        f"{layers}width {one.width:.3g}, depth {one.depth}, "
        f"{one.parameters:,} numbers, {one.bytes:,} bytes, int8 {one.bytes_int8:,}, "
        f"{one.microseconds:.1f} µs{told}{tier}"
    )


def _table(entries: Sequence[SliceEntry], *, tiers: bool) -> Table:
    table = Table(show_edge=False, header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("layers")
    for name in ("width", "depth", "numbers", "bytes", "int8", "µs"):
        table.add_column(name, justify="right")
    if tiers:
        table.add_column("score", justify="right")
        table.add_column("tuned", justify="right")
        table.add_column("tier", overflow="fold")
    for one in entries:
        scores = [NOTHING if x is None else f"{x:.3f}" for x in (one.score, one.tuned)]
        table.add_row(
            _layers(one),
            f"{one.width:.3g}",
            str(one.depth),
            f"{one.parameters:,}",
            f"{one.bytes:,}",
            f"{one.bytes_int8:,}",
            f"{one.microseconds:.1f}",
            *([*scores, escape(one.tier or "")] if tiers else []),
        )
    return table


def _layers(one: SliceEntry) -> str:
    return "-".join(map(str, one.hidden)) or "own"
