"""Name to object: a short name of ours, or ``module:attribute`` of anything importable."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from fedhome.errors import PluginError


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
