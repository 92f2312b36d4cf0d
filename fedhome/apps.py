"""Finds the app's folders (clients, server, simulations): in a checkout, a wheel or a copy.

The wheel installs ``fedhome`` alone; the app rides inside it, in ``fedhome/_app``. It is put on
the import path under the same names as in a checkout, as Flower does with a bundle.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from fedhome.errors import RunError

PARTS = ("clients", "server", "simulations")


def app_root() -> Path:
    """Return the folder that holds the app's three packages.

    Raises:
        RunError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_app", package.parent):
        if all((root / part / "__init__.py").is_file() for part in PARTS):
            return root
    raise RunError(
        "fedhome's app (clients, server, simulations) is missing from this installation",
        hint="install fedhome again: pip install --force-reinstall fedhome",
    )


def use_app() -> None:
    """Make the app's packages importable, unless the user's own copy already is."""
    if all(_is_ours(part) for part in PARTS):
        return
    sys.path.insert(0, str(app_root()))


def _is_ours(part: str) -> bool:
    spec = importlib.util.find_spec(part)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return any((Path(place).parent / "simulations" / "simulate.py").is_file() for place in places)
