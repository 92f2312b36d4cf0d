"""How many there are of something, and how likely it is, in words that fit the number."""

from __future__ import annotations

from typing import Final

_PERCENT: Final = 0.01  # chances from here on in percent, below it one in how many
_LEAST: Final = 1e-12
_NEARLY: Final = 99.5  # percent


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 row``, ``1,234 rows``.

    Args:
        count: The number.
        noun: For one of them; more of them end in ``s``.
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def was(count: int) -> str:
    """Return ``was`` for one, and ``were`` otherwise."""
    return "was" if count == 1 else "were"


def chance_in_words(chance: float) -> str:
    """Return a chance in percent, or once in how many times where it is small.

    >>> chance_in_words(0.466), chance_in_words(0.012), chance_in_words(1e-5)
    ('47%', '1.2%', '1 in 100,000')
    >>> chance_in_words(2**-40), chance_in_words(0)
    ('less than 1 in a trillion', '0')
    >>> chance_in_words(0.994), chance_in_words(0.9999), chance_in_words(1)
    ('99%', 'more than 99.5%', '100%')

    Args:
        chance: From 0 to 1; a bound on one may be greater, and says no more than 1 does.
    """
    if chance <= 0:
        return "0"
    if chance >= _PERCENT:
        told = 100 * min(chance, 1.0)
        if _NEARLY <= told < 100:  # noqa: PLR2004 - rounded it would be certain
            return f"more than {_NEARLY:g}%"
        return f"{told:.0f}%" if told >= 10 else f"{told:.2g}%"  # noqa: PLR2004 - two digits
    if chance < _LEAST:
        return "less than 1 in a trillion"
    return f"1 in {float(f'{1 / chance:.2g}'):,.0f}"
