"""A passphrase, as commands are given it: typed, through a pipe, or in a file."""

from __future__ import annotations

import sys
import warnings
from getpass import GetPassWarning
from pathlib import Path
from typing import Annotated, Final

import typer

from fedhome.errors import StateError
from fedhome.store import disk

_MOST: Final = 1 << 16  # bytes of its file
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="Read the passphrase from this file, not the keyboard.", metavar="FILE"),
]


def passphrase_of(file: Path | None, *, new: bool = False) -> str:
    """Return the passphrase of a file, or one that is typed; a new one is typed twice.

    Args:
        file: The file, which may be a pipe; its last end of line is none of the passphrase's.
        new: Whether it is one that nothing opens yet.

    Raises:
        StateError: The file cannot be read, or is no text.
    """
    if file is not None:
        try:
            text = disk.read(file, most=_MOST, streams=True).decode()
        except UnicodeDecodeError:
            raise StateError(
                f"{file} is not text in UTF-8", reason="foreign", hint="name a text file"
            ) from None
        return text.rstrip("\r\n")
    with warnings.catch_warnings():
        if sys.stdin is not None and not sys.stdin.isatty():  # a pipe shows nothing of it
            warnings.simplefilter("ignore", GetPassWarning)
        typed: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=new, err=True)
    return typed
