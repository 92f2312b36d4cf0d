"""Name to object: a short name of ours, or ``module:attribute`` of anything importable."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fedhome.errors import PluginError
from fedhome.spelling import did_you_mean

_Row = TypeVar("_Row")


def look_up(table: Mapping[str, _Row], name: str, kind: str) -> _Row:
    """Return the row of a table of ours.

    Args:
        table: The rows by their names.
        name: Which one.
        kind: What the rows are, for the error: losses, kernels, ...

    Raises:
        PluginError: There is no such row; it says which there are, a nearly right one first.
    """
    if name not in table:
        raise PluginError(
            f"{kind} {name!r} is unknown{did_you_mean(name, table)}",
            hint=f"known are: {', '.join(sorted(table))}",
        )
    return table[name]


def load(name: str, kind: str, known: Iterable[str] = ()) -> object:
    """Return the object behind ``"module:attribute"``.

    Args:
        name: Where it is.
        kind: What it should be, for the error: a strategy, a model, ...
        known: Short names that would have been understood, for the error.

    Raises:
        PluginError: The name is of neither form, or nothing is there.
    """
    known = sorted(known)
    module, colon, attribute = name.partition(":")
    if not colon:
        raise PluginError(
            f"{kind} {name!r} is unknown{did_you_mean(name, known)}",
            hint=f'known are: {", ".join(known)}; or name your own as "module:attribute"',
        )
    try:
        found: object = importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise PluginError(
            f"{kind} {name!r} is not found: {error}",
            hint='"module:attribute" must be importable: is its folder on PYTHONPATH?',
        ) from None
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise PluginError(
                f"{kind} {name!r} is not found: {error}{_meant(part, found)}",
                hint=f"{module} is imported, and must define it under this name",
            ) from None
    return found


def _meant(part: str, inside: object) -> str:
    return did_you_mean(part, [name for name in dir(inside) if not name.startswith("_")])
