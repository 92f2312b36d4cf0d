"""A registry as commands are told of it: its folder, its key file, its passphrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fedhome.cli.passphrases import passphrase_of
from fedhome.registry import Registry, needs_passphrase
from fedhome.registry.vault import INDEX, KEY_FILE

USUAL: Final = Path("registry")
RegistryFolder = Annotated[Path, typer.Argument(help="The registry's folder.", metavar="REGISTRY")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="The registry's key file.", metavar="FILE", show_default=f"REGISTRY/{KEY_FILE}"
    ),
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
