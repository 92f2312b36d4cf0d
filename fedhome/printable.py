"""Text from elsewhere on a terminal of ours: it moves no cursor and hides nothing.

A terminal obeys control characters: with them, text can clear what was printed before it, or stand
in its place. Marks of writing direction let letters stand in another order than they are read in.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

_KINDS = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, half a character, ends of lines
_MOST = 500
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(text: str) -> str:
    r"""Return a text with its control characters, ends of lines too, written as their escapes.

    >>> shown("all is well\x1b[2J")
    'all is well\\x1b[2J'

    Args:
        text: The text.
    """
    return "".join(ascii(one)[1:-1] if _hides(one) else one for one in text)


def visible(text: str) -> str:
    r"""Return a text of several lines with its other control characters written as their escapes.

    >>> visible("two lines,\nand \x1b[2J")
    'two lines,\nand \\x1b[2J'

    Args:
        text: The text; ends of lines that are usual in one, and tabs, stay.
    """
    return "".join(one if one in "\n\t" else shown(one) for one in text)


def brief(text: str) -> str:
    """Return the beginning of a text, as of :func:`shown`: who sent it chose its length, too.

    Args:
        text: The text; after 500 characters it is cut off.
    """
    return shown(text if len(text) <= _MOST else f"{text[:_MOST]}...")


def hidden_in(settings: object, where: str = "") -> Iterator[str]:
    """Yield which of some settings, or of their names, hold what a terminal would obey.

    Args:
        settings: Tables, lists and values, as a TOML file has them.
        where: What they are called.
    """
    if isinstance(settings, str) and any(map(_hides, settings)):
        yield f"{where} is {settings!a}: take out control characters and marks of direction"
    elif isinstance(settings, Mapping):
        for name, inside in settings.items():
            yield from hidden_in(name, f"a name in {where or 'it'}")
            yield from hidden_in(inside, f"{where}.{shown(name)}" if where else shown(name))
    elif isinstance(settings, list):
        for inside in settings:
            yield from hidden_in(inside, where)


def _hides(one: str) -> bool:
    return one in _DIRECTIONS or unicodedata.category(one) in _KINDS
