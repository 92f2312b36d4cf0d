"""``fedhome model slice``: a part of a finished model as a file of its own, also in C."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from fedhome.cli.console import Console
from fedhome.cli.model_slices import UNTRAINED, SlicedModel, within
from fedhome.cli.opened_registry import USUAL, KeyFile, RegistryFolder
from fedhome.cli.passphrases import PassphraseFile
from fedhome.cli.sliced_source import SlicedSource, sliced_source
from fedhome.errors import FedHomeError
from fedhome.plan.device_budget import bytes_of, seconds_of
from fedhome.plugins import look_up
from fedhome.registry.export import SUFFIXES, parameters_to
from fedhome.store import disk

if TYPE_CHECKING:
    from fedhome.models.slice_cut import SliceCut
    from fedhome.personal.portable import NetworkInC

_C: Final = ".c"


def slice_(
    release: SlicedModel,
    out: Annotated[Path, typer.Argument(help="x.safetensors, x.npz or x.c.", metavar="FILE")],
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
            help="The largest slice whose weights take at most this many bytes in FILE, such as "
            "64KB: float32, or what --precision says.",
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
    precision: Annotated[
        str | None, typer.Option(help="float or int8: weights in C.", show_default="float")
    ] = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write a slice of a model as a small network of its own, without training.

    Name it by --width and --depth, or let --budget or --latency choose. The file holds a plain
    network: weights and biases layer by layer, with ReLU between; x.c computes it on a device
    without Python. It is not encrypted.
    """
    named = width is not None or depth is not None
    if named + (budget is not None) + (latency is not None) != 1:
        raise FedHomeError(
            "a slice is named by --width and --depth, or chosen by --budget or by --latency: say "
            "one of the three",
            hint="`fedhome model slices` lists them",
        )
    endings = (*SUFFIXES, _C)
    if out.suffix not in endings:
        raise FedHomeError(
            f"{out} ends neither with {' nor with '.join(endings)}",
            hint="the ending says what kind of file is written",
        )
    if precision is not None and out.suffix != _C:
        raise FedHomeError(
            f"--precision is for weights in C, and {out} holds arrays in float32",
            hint="leave it out, or call the file x.c",
        )
    source = sliced_source(release, registry, key_file, passphrase_file)
    if budget is not None:
        from fedhome.models.slice_cut import largest_within  # noqa: PLC0415 - for its use alone

        limit = bytes_of(budget)
        if out.suffix == _C:
            cut = largest_within(
                source.cuts, limit, lambda one: _made(source, one, out, precision).constants
            )
        else:
            cut = largest_within(source.cuts, limit)
    elif latency is not None:
        timed = [(source.entry(one), one) for one in source.cuts]
        fitting = within([entry for entry, _ in timed], seconds_of(latency))
        cut = max((one for entry, one in timed if entry in fitting), key=lambda one: one.size)
    else:
        cut = source.named(1.0 if width is None else width, depth)
    size = f"{cut.size:,} numbers, {4 * cut.size:,} bytes of float32"
    told = [f"{out}: a slice of {source.told}, {cut.told}, {size}"]
    if out.suffix == _C:
        told += _in_c(_made(source, cut, out, precision), out)
    else:
        parameters_to(
            out, cut.parameters, plan=source.plan, round_number=source.round, learnt=source.learnt
        )
    for text in (*told, _trained(source, cut)):
        Console().print(escape(text), highlight=False, soft_wrap=True)


def _made(source: SlicedSource, cut: SliceCut, out: Path, precision: str | None) -> NetworkInC:
    """Return a slice as a file in C."""
    from fedhome.learning.fitted import Perceptron  # noqa: PLC0415 - for its use alone
    from fedhome.personal.portable import PRECISIONS, NetworkInC  # noqa: PLC0415 - arrow

    int8 = look_up(
        dict.fromkeys(PRECISIONS, False) | {"int8": True}, precision or PRECISIONS[0], "precision"
    )
    if not cut.hidden:
        raise FedHomeError(
            f"the slice of {cut.told} is computed by a module of your own, which needs PyTorch: it "
            "cannot be written as C",
            hint="write its arrays, as x.npz or x.safetensors",
        )
    about = f"A slice of {source.told}: {cut.told}, round {source.round} of plan {source.plan}."
    return NetworkInC(Perceptron(cut.parameters), called=out.stem, about=about, int8=int8)


def _in_c(made: NetworkInC, out: Path) -> Iterator[str]:
    """Write a slice as a file in C, and yield what is to be said of it."""
    disk.put(out, made.text.encode())
    yield f"constants: {made.constants:,} bytes; it holds its own test, see its first lines"
    yield "it takes inputs as models do, scaled by the home: docs/slicing.md"
    if made.int8:
        yield (
            f"int8: on {made.rows} drawn rows its outputs differ by {made.off:.2g} at most from "
            f"those in float, which spread by {made.spread:.2g}"
        )


def _trained(source: SlicedSource, cut: SliceCut) -> str:
    """Say who trained a slice; where nobody did, that it may say little."""
    if cut.tier is not None:
        return f"it is what tier {cut.tier} trained"
    if source.tiers:
        known = ", ".join("-".join(map(str, one.hidden)) for one in source.tiers)
        return f"note: no tier trained just these layers ({known}): it may say little"
    return f"note: {UNTRAINED}"
