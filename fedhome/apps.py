"""Finds the app's folders (clients, server, simulations): in a checkout, a wheel or a copy.

The wheel installs ``fedhome`` alone; the app rides inside it, in ``fedhome/_app``. It is put on
the import path under the same names as in a checkout, as Flower does with a bundle.

Which app runs: the one in the current folder, if that is a Flower app with our three packages
(a ``pyproject.toml`` with a table ``[tool.flwr.app]`` beside ``clients``, ``server`` and
``simulations``), as ``fedhome new`` makes it; otherwise the one that came with ``fedhome``.
No other folder's code is ever put on the path.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from fedhome.errors import RunError

PARTS = ("clients", "server", "simulations")


def installed_root() -> Path:
    """Return the folder with the app that came with ``fedhome``.

    Raises:
        RunError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_app", package.parent):
        if _holds_parts(root):
            return root
    raise RunError(
        "fedhome's app (clients, server, simulations) is missing from this installation",
        hint="install fedhome again: pip install --force-reinstall fedhome",
    )


def own_copy(folder: Path) -> Path | None:
    """Return a folder if it is a copy of the app, else None.

    Raises:
        RunError: It holds the three packages and a ``pyproject.toml`` that cannot be read.
    """
    project = folder / "pyproject.toml"
    if not (project.is_file() and _holds_parts(folder)):
        return None
    try:
        table = tomllib.loads(project.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RunError(
            f"{project} cannot be read: {error}",
            hint="it says whether this folder's app is to run: mend it, or go to another folder",
        ) from None
    match table:
        case {"tool": {"flwr": {"app": dict()}}}:
            return folder.resolve()
        case _:
            return None


def app_root() -> Path:
    """Return the folder with the app that runs: the copy in the current folder, or ours.

    Raises:
        RunError: The installation is incomplete, or the copy's ``pyproject.toml`` is damaged.
    """
    return own_copy(Path.cwd()) or installed_root()


def use_app() -> Path:
    """Make the packages of :func:`app_root` importable, before any others of these names.

    Returns:
        The folder that they come from.

    Raises:
        RunError: As of :func:`app_root`.
    """
    root = app_root()
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))
    return root


def _holds_parts(root: Path) -> bool:
    return all((root / part / "__init__.py").is_file() for part in PARTS)
