"""How many there are of something, in words that fit the number."""

from __future__ import annotations


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
