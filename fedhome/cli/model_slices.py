"""``fedhome model slices`` and ``slice``: the parts of a finished model that small devices run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli.console import Console
from fedhome.cli.json_models import SliceEntry
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.opened_registry import (
    USUAL,
    KeyFile,
    PassphraseFile,
    RegistryFolder,
    opened_registry,
)
from fedhome.counted import counted
from fedhome.errors import FedHomeError, ModelError
from fedhome.plan.device_budget import bytes_of, seconds_of
from fedhome.plan.settings import Plan
from fedhome.registry.export import SUFFIXES, parameters_to
from fedhome.run.folder import RunFolder

if TYPE_CHECKING:
    from fedhome.models.cut_slices import FinishedModel

_REPEATS, _TRIES = 200, 5
_TABLE_WIDTH = 72
"""Columns of a screen below which a table would cut its words to pieces."""
_UNTRAINED = (
    "this release does not say which widths devices trained: one between may say little. The plan "
    "of the run names them, and its folder in place of RELEASE shows them"
)

_Model = Annotated[
    str,
    typer.Argument(
        help="A round, the first 8 or more digits of a hash, or latest; or the folder of a run.",
        metavar="RELEASE",
    ),
]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A model that was named.

    Args:
        model: It, as it can be cut.
        tiers: Names of its trained slices, by their units.
        plan: Name of its plan.
        round: The round after which it was saved.
        told: What it is called in a sentence.
    """

    model: FinishedModel
    tiers: dict[tuple[int, ...], str]
    plan: str
    round: int
    told: str


def slices(
    release: _Model,
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
    """List the slices of a model: layers, numbers, bytes, time of a prediction.

    A slice is a part of the model that predicts alone. The model must have been trained in slices:
    a plan with [slicing].
    """
    source = _source(release, registry, key_file, passphrase_file)
    limit_s = None if latency is None else seconds_of(latency)
    entries = [_entry(source, widths) for widths in source.model.slices]
    if limit_s is not None:
        entries = _within(entries, limit_s)
    left_out = len(source.model.slices) - len(entries)
    if as_json:
        print_json(entries)
        return
    console = Console()
    if console.width < _TABLE_WIDTH:
        for one in entries:
            _say(console, _line(one))
    else:
        console.print(_table(entries, tiers=bool(source.tiers)))
    _say(console, "µs: one row in numpy on this machine, the best of some")
    if left_out:
        _say(console, f"{counted(left_out, 'slice')} left out: a prediction takes longer")
    if not source.tiers:
        _say(console, f"note: {_UNTRAINED}")


def _within(entries: Sequence[SliceEntry], limit_s: float) -> list[SliceEntry]:
    """Return the slices that predict within a time.

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


def _line(one: SliceEntry) -> str:
    """Return what a table would say of a slice, for a narrow screen."""
    tier = f", tier {one.tier}" if one.tier else ""
    return (
        f"{'-'.join(map(str, one.hidden))}: width {one.width:.3g}, depth {one.depth}, "
        f"{one.parameters:,} numbers, {one.bytes:,} bytes, int8 {one.bytes_int8:,}, "
        f"{one.microseconds:.1f} µs{tier}"
    )


def _table(entries: Sequence[SliceEntry], *, tiers: bool) -> Table:
    table = Table(show_edge=False, header_style="bold")
    table.add_column("layers")
    for name in ("width", "depth", "numbers", "bytes", "int8", "µs"):
        table.add_column(name, justify="right")
    if tiers:
        table.add_column("tier", overflow="fold")
    for one in entries:
        table.add_row(
            "-".join(map(str, one.hidden)),
            f"{one.width:.3g}",
            str(one.depth),
            f"{one.parameters:,}",
            f"{one.bytes:,}",
            f"{one.bytes_int8:,}",
            f"{one.microseconds:.1f}",
            *([escape(one.tier or "")] if tiers else []),
        )
    return table


def slice_(
    release: _Model,
    out: Annotated[Path, typer.Argument(help="x.safetensors or x.npz.", metavar="FILE")],
    registry: RegistryFolder = USUAL,
    *,
    width: Annotated[
        float | None, typer.Option(help="Share of each layer's units.", show_default=False)
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="How many layers.", show_default="the deepest exit")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="The largest slice in so many bytes of float32, such as 64KB.",
            show_default=False,
        ),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(
            help="The largest slice whose prediction takes this long here or less, such as 10us.",
            show_default=False,
        ),
    ] = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write a slice of a model as a small network of its own, without training.

    Name it by --width and --depth, or let --budget or --latency choose. The file holds a plain
    network: weights and biases layer by layer, with ReLU between. It is not encrypted.
    """
    named = width is not None or depth is not None
    if named + (budget is not None) + (latency is not None) != 1:
        raise FedHomeError(
            "a slice is named by --width and --depth, or chosen by --budget or by --latency: say "
            "one of the three",
            hint="`fedhome model slices` lists them",
        )
    if out.suffix not in SUFFIXES:
        raise FedHomeError(
            f"{out} ends neither with {' nor with '.join(SUFFIXES)}",
            hint="the ending says what kind of file is written",
        )
    source = _source(release, registry, key_file, passphrase_file)
    model = source.model
    if budget is not None:
        widths = model.largest_within(bytes_of(budget))
    elif latency is not None:
        within = _within([_entry(source, one) for one in model.slices], seconds_of(latency))
        widths = tuple(max(within, key=lambda one: one.parameters).hidden)
    else:
        widths = model.widths(1.0 if width is None else width, depth or max(model.exits))
    parameters_to(out, model.cut(widths), plan=source.plan, round_number=source.round)
    console, size = Console(), model.size(widths)
    _say(
        console,
        f"{out}: a slice of {source.told}, layers {'-'.join(map(str, widths))}, "
        f"{size:,} numbers, {4 * size:,} bytes of float32",
    )
    if widths in source.tiers:
        _say(console, f"it is what tier {source.tiers[widths]} trained")
    elif source.tiers:
        known = ", ".join("-".join(map(str, one)) for one in source.tiers)
        _say(console, f"note: no tier trained just these layers ({known}): it may say little")
    else:
        _say(console, f"note: {_UNTRAINED}")


def _source(
    name: str, registry: Path, key_file: Path | None, passphrase_file: Path | None
) -> _Source:
    from fedhome.models.cut_slices import FinishedModel  # noqa: PLC0415 - for its use alone

    if Path(name).is_dir():
        run = RunFolder.open(name)
        saved, plan = run.read_model(), Plan.parse(run.read_plan(), where=str(run.plan_path))
        hidden = plan.model.hidden
        tiers = {tier.widths(hidden): tier.name for tier in plan.slicing.in_order()}
        return _Source(
            model=FinishedModel.of_run(plan, saved.parameters),
            tiers=tiers,
            plan=saved.plan,
            round=saved.round,
            told=f"run {name}",
        )
    opened = opened_registry(registry, key_file, passphrase_file)
    chosen = opened.find(name)
    parameters = opened.load(chosen).parameters
    said = next(iter(chosen.manifest.slices), None)
    tiers = {} if said is None else {one.units: one.name for one in said.tiers}
    return _Source(
        model=FinishedModel.trained_in(tuple(tiers), "" if said is None else said.rule, parameters),
        tiers=tiers,
        plan=chosen.manifest.plan,
        round=chosen.manifest.round,
        told=f"release {chosen.number}",
    )


def _entry(source: _Source, widths: tuple[int, ...]) -> SliceEntry:
    model = source.model
    cut = model.cut(widths)
    size = sum(values.size for values in cut.values())
    return SliceEntry(
        hidden=list(widths),
        width=widths[-1] / model.hidden[len(widths) - 1],
        depth=len(widths),
        parameters=size,
        bytes=4 * size,
        bytes_int8=size + 4 * len(cut),
        microseconds=_microseconds(cut),
        tier=source.tiers.get(widths),
    )


def _microseconds(layers: dict[str, np.ndarray]) -> float:
    """Return the time of one prediction in µs, the best of some: others use the machine as well."""
    from fedhome.learning.fitted import Perceptron  # noqa: PLC0415 - for its use alone

    network = Perceptron(layers)
    x = np.zeros((1, layers["0.weight"].shape[1]), np.float32)
    best = float("inf")
    for _ in range(_TRIES):
        begin = time.perf_counter()
        for _ in range(_REPEATS):
            network.output(x)
        best = min(best, (time.perf_counter() - begin) / _REPEATS)
    return best * 1e6


def _say(console: Console, text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)
