"""Name to object: a short name of ours, or ``module:attribute`` of anything importable."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fedhome.errors import PluginError

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
        near = difflib.get_close_matches(name, table, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise PluginError(
            f"{kind} {name!r} is unknown", hint=f"{meant}known are: {', '.join(sorted(table))}"
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
    module, colon, attribute = name.partition(":")
    if not colon:
        raise PluginError(
            f"{kind} {name!r} is unknown",
            hint=f'known are: {", ".join(sorted(known))}; or name your own as "module:attribute"',
        )
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(
            f"{kind} {name!r} is not found: {error}",
            hint='"module:attribute" must be importable: is its folder on PYTHONPATH?',
        ) from None
    return found
