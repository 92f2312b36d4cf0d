"""What the shell offers for a word that is being typed: plans, data sets, settings, strategies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_STRATEGY = "strategy.name="


def plans(incomplete: str) -> list[str]:
    """Return the scenarios, and the folders and TOML files that a path may go on with."""
    from fedhome.simulations.scenario_files import DEFAULT, SCENARIOS  # noqa: PLC0415 - as below

    scenarios = [DEFAULT, *(path.stem for path in SCENARIOS.glob("*.toml"))]
    files = [word for word in _paths(incomplete) if word.endswith(("/", ".toml"))]
    return _beginning(incomplete, [*scenarios, *files])


def data(incomplete: str) -> list[str]:
    """Return the named data sets, and the folders that a path may go on with."""
    from fedhome.simulations.datasets import CATALOGUE  # noqa: PLC0415 - only where it is asked for

    folders = [word for word in _paths(incomplete) if word.endswith("/")]
    return _beginning(incomplete, [*CATALOGUE, *folders])


def settings(incomplete: str) -> list[str]:
    """Return the settings of a plan, each with its ``=``; after that of a strategy, their names.

    Bash takes ``=`` for the end of a word, so there only the settings are completed.
    """
    if not incomplete.startswith(_STRATEGY):
        from fedhome.plan.overrides import names_of  # noqa: PLC0415 - as above
        from fedhome.plan.settings import Plan  # noqa: PLC0415

        return _beginning(incomplete, [f"{name}=" for name in names_of(Plan)])
    from fedhome.server.strategies import STRATEGIES  # noqa: PLC0415 - it loads Flower

    return _beginning(incomplete, [f"{_STRATEGY}{name}" for name in STRATEGIES])


def _paths(incomplete: str) -> list[str]:
    """Return what lies where a path leads, folders with a slash at the end."""
    folder = incomplete[: incomplete.rfind("/") + 1]
    try:
        return [
            f"{folder}{path.name}{'/' if path.is_dir() else ''}"
            for path in Path(folder).iterdir()
            if not path.name.startswith(".")
        ]
    except OSError:  # no such folder: nothing to offer
        return []


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})
