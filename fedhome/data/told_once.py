"""What was noticed in many homes, told once: who it is, and what it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SHOWN = 4
"""Names of homes in a sentence."""


def some(names: Sequence[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def told_once(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Return each sentence once, after the names of the homes that it was said of.

    Sentences that begin with a file's name are alike where each home's file is called like it.

    >>> told_once([("oak", "oak.csv is empty"), ("elm", "elm.csv is empty")])
    ['oak, elm: the file of each is empty']
    >>> told_once([("oak", "oak.csv is empty")])
    ['oak: oak.csv is empty']

    Args:
        notes: A home's name, or nothing, and a sentence.
    """
    said: dict[str, dict[str, str]] = {}  # what is said, of whom, in which words
    for home, note in notes:
        own = re.match(re.escape(home) + r"(\.\w+)+(?=[: ])", note) if home else None
        alike = f"the file of each{note[own.end() :]}" if own else note
        said.setdefault(alike, {})[home] = note
    told = []
    for alike, notes_of in said.items():
        names = [home for home in notes_of if home]
        note = alike if len(names) > 1 else next(iter(notes_of.values()))
        told.append(f"{some(names)}: {note}" if names else note)
    return told
