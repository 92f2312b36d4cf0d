"""A folder's settings in TOML: one row, or one table, for each field of a dataclass."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import tomli_w

from fedhome.errors import RunError
from fedhome.store import disk

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Settings = TypeVar("_Settings", bound="DataclassInstance")

_NEEDED: Final[dict[Any, tuple[tuple[type, ...], str]]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text in quotes"),
}


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
        RunError: There is no such file, or it is damaged, or has other settings, or a value of
            another kind.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        if unknown := sorted(found.keys() - {field.name for field in fields(kind)}):
            raise RunError(
                f"{path} has settings that this release does not know: {', '.join(unknown)}",
                hint="look at their spelling, or remove these lines",
            )
        if unfit := _unfit(found, kind):
            raise RunError(f"{path}: {'; '.join(unfit)}", hint="write it so in that file")
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


def _unfit(found: dict[str, Any], kind: type) -> list[str]:
    """Return which values are of another kind than their settings: true is not 1."""
    hints = get_type_hints(kind)
    faults = []
    for name, value in found.items():
        kinds, what = _NEEDED.get(hints[name], ((object,), ""))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and what):
            told = str(value).lower() if isinstance(value, bool) else repr(value)
            faults.append(f"{name} is {told}, and has to be {what}")
    return faults
