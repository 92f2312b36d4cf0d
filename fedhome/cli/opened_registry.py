"""A registry as commands are told of it: its folder, its key file, its passphrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fedhome.registry import Registry, needs_passphrase
from fedhome.registry.vault import INDEX, KEY_FILE
from fedhome.store import disk

USUAL: Final = Path("registry")
_MOST_PASSPHRASE = 1 << 16  # bytes of its file
RegistryFolder = Annotated[Path, typer.Argument(help="The registry's folder.", metavar="REGISTRY")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="The registry's key file.", metavar="FILE", show_default=f"REGISTRY/{KEY_FILE}"
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="Read the passphrase from this file, not the keyboard.", metavar="FILE"),
]


def opened_registry(
    registry: Path, key_file: Path | None, passphrase_file: Path | None
) -> Registry:
    """Open a registry; the passphrase is asked for where it takes one.

    Raises:
        RegistryError: There is none, or it cannot be opened.
    """
    passphrase = None
    if passphrase_file is not None or ((registry / INDEX).exists() and needs_passphrase(registry)):
        passphrase = passphrase_of(passphrase_file)
    return Registry.open(registry, passphrase=passphrase, key_file=key_file)


def passphrase_of(file: Path | None, *, new: bool = False) -> str:
    """Return the passphrase of a file, or one that is typed; a new one is typed twice."""
    if file is not None:
        return (
            disk.read(file, most=_MOST_PASSPHRASE, streams=True)
            .decode(errors="replace")
            .rstrip("\r\n")
        )
    typed: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=new, err=True)
    return typed
