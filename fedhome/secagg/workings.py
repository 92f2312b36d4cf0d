"""How a home works out what follows from keys and bytes alone: each time anew.

A simulation's homes share a process, and theirs may remember what another home there has worked
out already (:mod:`fedhome.simulations.engines.shared_reads`). Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.masks import Mask, PairSeeds, add_masks, pair_seeds
from fedhome.secagg.one_time import OneTime
from fedhome.secagg.seals import Seals

_Worked = TypeVar("_Worked")


class Once(Protocol):
    """Returns what some work comes to, which is the same for whoever does it."""

    def __call__(self, what: str, given: Hashable, work: Callable[[], _Worked]) -> _Worked:
        """Do some work, or return what it came to before.

        Args:
            what: What is worked out.
            given: All that it follows from.
            work: Works it out; what it raises is raised, and not remembered.
        """


def each_time(what: str, given: Hashable, work: Callable[[], _Worked]) -> _Worked:
    """Do some work; see `Once`."""
    del what, given
    return work()


@dataclass(frozen=True, kw_only=True)
class Workings:
    """How a home works things out; **anything but these defaults is for simulations only**.

    Args:
        agree: How it agrees on keys with other homes.
        mask: How it adds masks.
        draw: How it draws the secrets of a bundle.
        seals: How it seals shares, and opens them, under a directory.
        once: How it works out what all homes of a sum read alike.
    """

    agree: PairSeeds = pair_seeds
    mask: Mask = add_masks
    draw: Callable[[Directory], OneTime] = OneTime.drawn
    seals: Callable[[HomeKeys, Directory], Seals] = Seals
    once: Once = each_time
