"""``fedhome model export``: a release, or a home's own model, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedhome.cli.console import Console, say
from fedhome.cli.model_for_devices import OwnExport, write_own
from fedhome.cli.opened_registry import (
    USUAL,
    KeyFile,
    RegistryFolder,
    opened_registry,
)
from fedhome.cli.passphrases import PassphraseFile
from fedhome.errors import RegistryError
from fedhome.registry import export


def export_(
    what: Annotated[
        str,
        typer.Argument(
            help="A release; with --format a home's folder, or that of a run.",
            metavar="RELEASE|HOME",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="x.safetensors or x.npz; with --format any name.",
            metavar="FILE",
            show_default="with --format the home's name",
        ),
    ] = None,
    registry: RegistryFolder = USUAL,
    *,
    kind: Annotated[
        str | None,
        typer.Option("--format", help="A home's own model, as c, onnx or npz.", metavar="FORMAT"),
    ] = None,
    home: Annotated[
        str | None, typer.Option(help="Whose own model, in a run's folder.", metavar="NAME")
    ] = None,
    horizon: Annotated[
        str | None,
        typer.Option(help="Which horizon, of a model of several.", metavar="LENGTH"),
    ] = None,
    experts: Annotated[
        str | None,
        typer.Option(help="Experts, with commas.", metavar="NAMES", show_default="all"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float or int8: networks' weights.", show_default="float"),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Readings on which a loss is measured.",
            metavar="FILE",
            show_default="the home's own",
        ),
    ] = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write a model for other programs: a release's, or a home's own. It is not encrypted.

    A release is written in float32.

    With --format it is a home's own model, for a device without Python.
    """
    console = Console()
    if kind is not None:
        asked = OwnExport(
            Path(what), home, kind, precision or "float", experts, source, out, horizon
        )
        for line in write_own(asked):
            say(console, line)
        return
    own = {
        "--home": home,
        "--horizon": horizon,
        "--experts": experts,
        "--precision": precision,
        "--from": source,
    }
    if given := [name for name, value in own.items() if value is not None]:
        raise RegistryError(
            f"{given[0]} is for a home's own model, and a release was asked for",
            reason="format",
            hint="add --format c, onnx or npz, or leave it out",
        )
    if out is None:
        raise RegistryError(
            "it was not said where the release's model goes",
            reason="format",
            hint="name a file, x.safetensors or x.npz; a home's own model takes --format",
        )
    opened = opened_registry(registry, key_file, passphrase_file)
    chosen = opened.find(what)
    export(opened.load(chosen), chosen.manifest, out)
    say(console, f"release {chosen.number}: {out}")
