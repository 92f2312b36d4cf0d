"""A folder's settings in TOML: one row, or one table, for each field of a dataclass."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import tomli_w

from fedhome.errors import RunError
from fedhome.store import disk

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Settings = TypeVar("_Settings", bound="DataclassInstance")


def write_settings(path: Path, settings: DataclassInstance) -> None:
    """Write settings.

    Args:
        path: The file; replaced whole.
        settings: A dataclass of numbers, texts, and tables of these.

    Raises:
        StateError: It cannot be written.
    """
    disk.put(path, tomli_w.dumps(vars(settings)).encode())


def read_settings(path: Path, kind: type[_Settings], *, made_by: str) -> _Settings:
    """Read settings.

    Args:
        path: The file.
        kind: The dataclass that they are.
        made_by: The command that makes such a folder, for the error.

    Raises:
        RunError: There is no such file, or it is damaged, or has other settings.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        if unknown := sorted(found.keys() - {field.name for field in fields(kind)}):
            raise RunError(
                f"{path} has settings that this release does not know: {', '.join(unknown)}",
                hint="look at their spelling, or remove these lines",
            )
        return kind(**found)
    except FileNotFoundError:
        raise RunError(
            f"there is no {path.name} in {path.parent}",
            hint=f"name the folder that `{made_by}` made, or make it with that",
        ) from None
    except (OSError, TypeError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RunError(
            f"{path} cannot be used: {error}", hint=f"make it with `{made_by}`"
        ) from None
