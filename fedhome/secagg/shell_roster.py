"""Which homes carry a shell of a sliced model, by what the fleet's owner signed.

A shell is what one tier of devices has of the model and no smaller one; it is summed by itself,
over the homes of that tier and of larger ones. A manifest says by its purpose which shell it is
about, the directory says which tier a home has, and a home's plan how tiers lie in each other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import Manifest

_OF_SHELL = re.compile(r"[a-z]+-([1-9][0-9]*)")


def purpose_of(question: str, shell: int) -> str:
    """Return what a manifest calls a sum: the first shell's purpose is the question's own.

    Args:
        question: Last part of the question's name, such as ``train``.
        shell: Number of the shell, from 0.
    """
    return f"{question}-{shell}" if shell else question


def shell_of(purpose: str) -> int:
    """Return which shell a purpose is about; 0 where it names none."""
    found = _OF_SHELL.fullmatch(purpose)
    return int(found[1]) if found else 0


def tier_numbers(directory: Directory, tiers: Sequence[str]) -> dict[str, int]:
    """Return the number of each home's tier, by its name; an unknown tier counts as the smallest.

    Args:
        directory: The fleet's.
        tiers: Names of the plan's tiers, from the smallest to the largest.
    """
    numbers = {name: number for number, name in enumerate(tiers)}
    return {entry.home: numbers.get(entry.tier, 0) for entry in directory.homes}


def shell_faults(
    manifest: Manifest,
    directory: Directory,
    group: Collection[str],
    *,
    tiers: Sequence[str],
    least: int,
    least_share: float,
) -> Iterator[tuple[str, str]]:
    """Yield why a sum of a shell is refused: a reason and a sentence.

    Args:
        manifest: The terms of the sum.
        directory: The fleet's.
        group: Names of the group's homes.
        tiers: As of `tier_numbers`.
        least: How many homes must be in a sum.
        least_share: Share of those that carry the shell that a roster holds at least.
    """
    shell = shell_of(manifest.purpose)
    if shell >= len(tiers):
        yield "shell", f"a sum of {manifest.purpose!r}, and this home's plan has no such slice"
        return
    carrying = _carrying(group, tier_numbers(directory, tiers), shell)
    if not carrying.issuperset(manifest.names):
        yield (
            "shell",
            f"a home of the roster does not carry what tier {tiers[shell]} has, by the directory",
        )
    if len(carrying) < least:
        yield (
            "shell",
            f"{len(carrying)} homes carry what tier {tiers[shell]} has, and a sum takes {least}",
        )
    if len(manifest.names) < least_share * len(carrying):
        yield (
            "share",
            f"a roster has {len(manifest.names)} of {len(carrying)} homes that carry a slice",
        )


def _carrying(group: Iterable[str], numbers: dict[str, int], shell: int) -> frozenset[str]:
    return frozenset(home for home in group if numbers[home] >= shell)
