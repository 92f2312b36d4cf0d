"""What was noticed in many homes, told once: who it is, and what it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

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

    Sentences of many homes that differ in their numbers alone are told by the first of them.

    >>> told_once((f"h{n}", f"{n} of 90 rows hold nothing") for n in range(1, 9))
    ['h1, h2, h3, h4 and 4 more, each with its own numbers; h1: 1 of 90 rows hold nothing']

    Args:
        notes: A home's name, or nothing, and a sentence.
    """
    said: dict[str, dict[str, str]] = {}  # what is said, of whom, in which words
    for home, note in notes:
        own = re.match(re.escape(home) + r"(\.\w+)+(?=[: ])", note) if home else None
        alike = f"the file of each{note[own.end() :]}" if own else note
        said.setdefault(alike, {})[home] = note
    told = []
    for group in _but_for_numbers(said):
        names = list(dict.fromkeys(home for alike in group for home in said[alike] if home))
        alike, first = group[0], next(iter(said[group[0]].items()))
        if len(group) > 1:
            told.append(f"{some(names)}, each with its own numbers; {first[0]}: {first[1]}")
            continue
        note = alike if len(names) > 1 else first[1]
        told.append(f"{some(names)}: {note}" if names else note)
    return told


def _but_for_numbers(said: Mapping[str, Mapping[str, str]]) -> Iterator[list[str]]:
    """Yield sentences that are told together: of more homes than are shown, with other numbers."""
    forms: dict[str, list[str]] = {}
    for alike, notes_of in said.items():
        home, note = next(iter(notes_of.items()))
        # Numbers of its own are in many a home's name, too.
        form = re.sub(rf"(?<!\w){re.escape(home)}((\.\w+)+|(?='))", "\0", note) if home else note
        # Those in a column's name, such as x1 or '1', are none: columns are told apart.
        form = re.sub(r"(?<![\w'])\d[\d.,:]*(?![\w'])", "#", form) if home else note
        forms.setdefault(form, []).append(alike)
    for group in forms.values():
        if len({home for alike in group for home in said[alike]}) > SHOWN:
            yield group
        else:
            yield from ([alike] for alike in group)
