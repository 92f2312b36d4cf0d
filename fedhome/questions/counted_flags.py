"""Flags of which each home sets just one: how often they are set in all is known of every sum.

A home may write any word. One that sets a flag five times stays within what all homes together
could count, and so decides what a server takes from such a count: how far updates are clipped, or
by how much a home may count. All flags of one question together must be as many as there are homes.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedhome.counted import counted
from fedhome.errors import SumError
from fedhome.secagg.form import Form, Total

_OTHERS = ("hurt", "helped")  # of a model, beside the steps of its score: a home sets one or none


def check_counts(stems: Iterable[str], form: Form, total: Total, homes: int) -> None:
    """Refuse a sum in which flags were set more or less often than homes set them.

    Where homes add noise, no count adds up, and none is held against anything.

    Args:
        stems: What names of flags begin with of which each home sets one.
        form: What lies in the vector.
        total: What it amounts to.
        homes: How many homes added something.

    Raises:
        SumError: ``beyond``.
    """
    if form.noise is not None:
        return
    for stem in stems:
        flags = [
            scalar.name
            for scalar in form.scalars
            if scalar.bits == 1
            and scalar.name.startswith(f"{stem}-")
            and scalar.name.removeprefix(f"{stem}-") not in _OTHERS
        ]
        found = round(sum(total.values[name] for name in flags))
        if flags and found != homes:
            raise SumError(
                f"flags {stem!r} of an opened sum were set {found} times, and "
                f"{counted(homes, 'home')} that keep to the protocol set one each: one of them "
                "does not",
                reason="beyond",
                hint="the sum is not used; with aggregation.groups above 1 only its group is lost",
            )
