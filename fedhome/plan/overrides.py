"""A plan's layers as nested tables: TOML files, single settings, and laying one over the other."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedhome.errors import PlanError


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        PlanError: No such file, or a syntax error with its line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(
            ["there is no such file"], where=str(path), hint="`fedhome simulate` needs none"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError([f"it cannot be read: {type(error).__name__}"], where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError([f"it is not TOML: {error}"], where=str(path)) from None


def parse_set(setting: str) -> dict[str, Any]:
    """Turn ``"section.key=value"`` into nested tables.

    Raises:
        PlanError: No ``=``, or an empty name.
    """
    name, equals, text = setting.partition("=")
    keys = [part.strip() for part in name.split(".")]
    if not equals or not all(keys):
        raise PlanError(
            [f"--set {setting!r} is not of the form section.key=value"],
            hint="for example: --set train.epochs=1",
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in reversed(keys):
        value = {part: value}
    return dict(value)


def merge(table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Lay nested changes over nested tables, in place."""
    for name, value in changes.items():
        below = table.get(name)
        if isinstance(value, Mapping) and isinstance(below, dict):
            merge(below, value)
        else:
            table[name] = dict(value) if isinstance(value, Mapping) else value


_MOVED = {
    "train.proximal_mu": "train.proximal_mu belongs to the method now: set method.name = "
    '"fedprox" and method.args.proximal_mu',
}
"""Settings that had another place, and where they are."""


def fault_of(item: Mapping[str, Any]) -> str:
    """Return one of pydantic's findings as a plain sentence."""
    place = ".".join(str(part) for part in item["loc"]) or "the plan"
    if item["type"] == "extra_forbidden":
        return _MOVED.get(place, f"{place} is not a setting")
    return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]} (it is {item['input']!r})"
