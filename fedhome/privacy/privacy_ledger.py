"""What a home has spent of its privacy, over all runs: on the disk before anything leaves it.

::

    privacy.fh      for each run: how many sums, and their cost together; of many, the oldest as one

Costs are whole numbers of 2^-40, rounded up, so that they add up the same in any order. What is
written holds no secret, and has a hash against a damaged disk. A ledger that is brought back from a
backup forgets what was spent since. The home's state knows how much that was, and the home refuses
(:class:`fedhome.secagg.HomeParty`), unless both are brought back together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fedhome.errors import PrivacyBudgetError, StateError, WireError
from fedhome.privacy.accounting import epsilon_of
from fedhome.store import disk
from fedhome.wire.codec import Digest, Message, number, octets, several

FILE = "privacy.fh"
_UNIT = 1 << 40
_ROUNDING = 1 + 1e-6  # thousands of costs are each rounded up
_MOST_RUNS = 1000
EARLIER = bytes(16)
"""Stands for the runs before the last thousand: a server that names new ones fills no disk."""


@dataclass(frozen=True, kw_only=True)
class RunCost(Message, label="run-cost", most=256):
    """What one run has cost.

    Args:
        run: Number of the run, 16 bytes.
        sums: Sums that the home took part in, or was about to when it ended.
        units: Their cost together, in units of 2^-40.
    """

    run: Annotated[bytes, octets(16)]
    sums: Annotated[int, number()]
    units: Annotated[int, number()]

    @property
    def rho(self) -> float:
        """The cost, of concentrated differential privacy."""
        return self.units / _UNIT


@dataclass(frozen=True, kw_only=True)
class _Stored(Message, label="privacy-ledger", most=1 << 25):
    runs: Annotated[tuple[RunCost, ...], several(RunCost.kind(), most=_MOST_RUNS)]


@dataclass(frozen=True, kw_only=True)
class _File(Message, label="privacy-file", most=1 << 26):
    body: Annotated[bytes, octets(most=1 << 25)]
    hash: Digest


class PrivacyLedger:
    """One home's ledger; used by one process at a time, which holds the home's folder.

    Args:
        folder: The home's folder.

    Raises:
        StateError: ``damaged``, or the disk cannot be read. Such a home takes part in nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.runs = self._read()

    @property
    def units(self) -> int:
        """Cost of all sums so far, in units of 2^-40."""
        return sum(entry.units for entry in self.runs)

    @property
    def rho(self) -> float:
        """Cost of all sums so far."""
        return self.units / _UNIT

    def spend(self, run: bytes, cost: float, *, ceiling: float, delta: float) -> None:
        """Write down a sum that the home is about to take part in; then it may.

        Args:
            run: Number of the run, 16 bytes.
            cost: Cost rho of the sum.
            ceiling: Greatest epsilon of everything together that the home's people allow.
            delta: For which that is meant.

        Raises:
            PrivacyBudgetError: ``budget``: it would cost more; nothing is spent.
            StateError: It cannot be written; nothing may leave the home.
        """
        if not math.isfinite(cost) or cost < 0:
            raise PrivacyBudgetError(
                "a sum was asked for whose cost in privacy has no bound", reason="noise"
            )
        units = math.ceil(cost * _UNIT)
        total = self.units + units
        epsilon = epsilon_of(total / _UNIT, delta)
        if not epsilon <= ceiling * _ROUNDING:  # also where the ceiling is no number
            raise PrivacyBudgetError(
                f"a sum would bring what this home has spent to an epsilon of {epsilon:.3g}, above "
                f"its ceiling of {ceiling:.3g}",
                reason="budget",
                hint="`fedhome client privacy` shows what was spent, and sets the ceiling",
            )
        runs = _shortened(_by_run((*self.runs, RunCost(run=run, sums=1, units=units))))
        body = _Stored(runs=runs).to_bytes()
        disk.put(self._path, _File(body=body, hash=hashlib.sha256(body).digest()).to_bytes())
        self.runs = runs

    def _read(self) -> tuple[RunCost, ...]:
        if not self._path.exists():
            return ()
        try:
            file = _File.from_bytes(disk.read(self._path))
            runs = _Stored.from_bytes(file.body).runs
        except WireError:
            raise _damaged(self._path) from None
        if hashlib.sha256(file.body).digest() != file.hash:
            raise _damaged(self._path)
        return runs


def _by_run(costs: Iterable[RunCost]) -> tuple[RunCost, ...]:
    """Return one cost for each run, in their order.

    None of two of one run is lost: a server names runs as it likes, also as `EARLIER`.
    """
    known: dict[bytes, RunCost] = {}
    for one in costs:
        before = known.get(one.run, replace(one, sums=0, units=0))
        known[one.run] = replace(one, sums=before.sums + one.sums, units=before.units + one.units)
    return tuple(known.values())


def _shortened(runs: tuple[RunCost, ...]) -> tuple[RunCost, ...]:
    """Return runs with the oldest put together, where there are many."""
    old, kept = runs[: 1 - _MOST_RUNS], runs[1 - _MOST_RUNS :]
    if len(runs) <= _MOST_RUNS:
        return runs
    sums, units = sum(entry.sums for entry in old), sum(entry.units for entry in old)
    return (RunCost(run=EARLIER, sums=sums, units=units), *kept)


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path} is damaged: what this home has spent of its privacy is not known",
        reason="damaged",
        hint="take no part any more, or remove the file and count what was spent as lost",
    )
