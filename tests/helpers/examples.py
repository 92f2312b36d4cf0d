"""How many examples a property is tried on: `make test` takes a quarter, `make slow` all."""

from __future__ import annotations

from hypothesis import settings

WHOLE = 100  # what Hypothesis takes where nothing is said, and the profile "many" of conftest.py
LEAST = 10


def share_of(count: int) -> int:
    """Return the profile's share of a count, for `settings(max_examples=...)`."""
    return max(min(LEAST, count), count * settings().max_examples // WHOLE)
