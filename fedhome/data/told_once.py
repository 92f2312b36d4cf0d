"""What was noticed in many homes, told once: who it is, and what it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHOWN = 4
"""Names of homes in a sentence."""


def some(names: Sequence[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def told_once(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Return each sentence once, after the names of the homes that it was said of.

    Args:
        notes: A home's name, or nothing, and a sentence.
    """
    homes: dict[str, list[str]] = {}
    for home, note in notes:
        homes.setdefault(note, []).extend([home] if home else [])
    return [f"{some(names)}: {note}" if names else note for note, names in homes.items()]
