"""Clipping of updates: McMahan et al., ICLR 2018, arXiv:1710.06963, section 2 (flat clipping).

A server that promises differential privacy must know how much one home can move the mean. The
server half is one of Flower's wrappers (docs/strategies.md), which sends the greatest L2 norm with
every train message. The home half is here: a home shortens the update that leaves it, and tells
whether it did, from which the adaptive wrappers find the next norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError

KEY = "clipping_norm"
"""Where a train message has the greatest norm, as Flower's ``fixedclipping_mod`` reads it."""
_BIT = "norm_bit"  # of a reply, as Flower's ``adaptiveclipping_mod`` writes it
MEANING = {_BIT: "whether the change was shortened (with some strategies)"}
"""What homes tell of it, in words for the people who live in them."""


@dataclass(frozen=True, kw_only=True)
class UpdateClipping:
    """How long an update may be that leaves a home.

    Args:
        norm: Greatest L2 norm; None: nothing is shortened, and nothing told of it.
    """

    norm: float | None = None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> UpdateClipping:
        """Read it from the settings of a train message.

        Raises:
            UpdateError: The norm is not a finite size.
        """
        norm = message.get(KEY)
        if norm is None:
            return cls()
        if not (isinstance(norm, int | float) and 0 <= norm < np.inf):
            raise UpdateError(f"a message came with {KEY} {norm!r}, not a finite size")
        return cls(norm=float(norm))

    def shorten(
        self, start: NDArray[np.float32], params: NDArray[np.float32]
    ) -> NDArray[np.bool_] | None:
        """Shorten updates to the greatest norm, in place.

        Args:
            start: Parameters from which the homes started, ``[size]`` or ``[homes, size]``.
            params: Parameters that they reached, float32 ``[homes, size]``.

        Returns:
            Which updates were shortened, ``[homes]``; None where none may be.
        """
        if self.norm is None:
            return None
        # An update that is not finite stays so, for the server to drop; it is no warning here.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            update = params - start
            norms = np.linalg.norm(update, axis=1)
            scale = np.minimum(1.0, self.norm / norms).astype(np.float32)
            np.add(start, update * scale[:, None], out=params)
        return np.asarray(scale < 1.0)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of what homes tell of it, each 0 or 1."""
        return () if self.norm is None else (_BIT,)

    def columns(self, bits: NDArray[np.bool_] | None) -> dict[str, NDArray[np.int64]]:
        """Return what homes tell of it, each ``[homes]``."""
        return {} if bits is None else {_BIT: bits.astype(np.int64)}

    def bits(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
        """Return which updates were shortened, as :meth:`columns` tells; None where none may be."""
        return None if self.norm is None else columns[_BIT].astype(np.bool_)

    def share(self, shortened: int, homes: int) -> dict[str, float]:
        """Return what a mean of homes tells of it: the share of them that were shortened."""
        return share_of(dict.fromkeys(self.flags, shortened), homes)


def share_of(sums: Mapping[str, float], homes: int) -> dict[str, float]:
    """Return the share of homes that shortened their updates, from what homes added up.

    Args:
        sums: Sums over homes by name; nothing is said where nobody told of it.
        homes: How many they are.
    """
    return {_BIT: sums[_BIT] / homes} if _BIT in sums else {}
