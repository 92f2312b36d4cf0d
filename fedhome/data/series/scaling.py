"""How a home's inputs and targets are scaled, so that rows to come are scaled alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.counted import counted
from fedhome.errors import DataError

FAR: Final = 5.0
"""Spreads from the mean of training beyond which an input is taken to lie there.

A column that hardly moves in a few days of training would else be a number of hundreds later.
"""
SILENT: Final = 1e300
"""The spread of an input that says nothing: by it any reading is 0 in float32, in exports too."""
_FLAT = 1e-6  # a column whose spread is below this says nothing


LARGEST = 1e30
"""No reading is larger: its square is still a number, and a network's float32 holds it."""


def check_sizes(home: str, columns: Mapping[str, NDArray[np.float64]]) -> None:
    """Refuse values so large that no spread and no error of them can be computed.

    Args:
        home: Whose they are.
        columns: Values by name, NaN where nothing is known, ``[rows]``.

    Raises:
        DataError: There is one; names the column.
    """
    for name, values in columns.items():
        if count := int((np.abs(values) > LARGEST).sum()):
            raise DataError(
                f"home {home!r}: {counted(count, 'value')} of {name!r} beyond {LARGEST:g}, which "
                "no reading is, and which nothing can be learnt with",
                hint="correct the cell or leave it empty; data.na_values takes a number for a "
                "missing reading",
            )


@dataclass(frozen=True, kw_only=True)
class InputScaling:
    """What a home's inputs are scaled by.

    Args:
        features: Names of the inputs; the arrays are in their order.
        medians: What stands where nothing is known, in the columns' units, float64 ``[features]``.
        middle: What is 0 for a model ``[features]``.
        spread: What is 1 above that ``[features]``.
        bounded: Whether inputs stay within :data:`FAR`.
        relative: Which inputs are told as their distance from the newest reading of the target, as
            earlier readings of a series are that may leave the range of its training; medians,
            middle and spread are those of distances then, bool ``[features]``; empty: none.
    """

    features: tuple[str, ...]
    medians: NDArray[np.float64]
    middle: NDArray[np.float64]
    spread: NDArray[np.float64]
    bounded: bool
    relative: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @classmethod
    def of(
        cls,
        features: Mapping[str, bool],
        x: NDArray[np.float64],
        known: NDArray[np.bool_],
        *,
        scaled: bool,
        last: NDArray[np.float64],
        relative: NDArray[np.bool_],
        silent: NDArray[np.bool_],
    ) -> InputScaling:
        """Return the scaling that training rows tell.

        Args:
            features: Names of the inputs, and which stay as they are, since they say yes or no.
            x: The rows, in the columns' units, NaN where nothing is known, ``[rows, features]``.
            known: Where a reading stands, and nothing that was filled in, ``[rows, features]``.
            scaled: Whether others are brought to a mean of 0 and a spread of 1.
            last: The newest reading of the target ``[rows]``.
            relative: Which inputs are told as their distance from it ``[features]``.
            silent: Which inputs are 0 for a model whatever they are, where others are scaled
                ``[features]``.
        """
        x = _from(x, last, relative)
        medians = np.array(
            [
                np.median(column[read]) if read.any() else 0.0
                for column, read in zip(x.T, known.T, strict=True)
            ]
        )
        middle, spread = np.zeros(x.shape[1]), np.ones(x.shape[1])
        if scaled:
            plain = np.array(list(features.values()), np.bool_)
            whole = np.where(np.isnan(x), medians, x)
            spread, middle = whole.std(axis=0), whole.mean(axis=0)
            spread, middle = np.where(plain, 1.0, spread), np.where(plain, 0.0, middle)
            spread = np.where(spread > _FLAT, spread, 1.0)
            spread = np.where(silent, SILENT, spread)
        return cls(
            features=tuple(features),
            medians=medians,
            middle=middle,
            spread=spread,
            bounded=scaled,
            relative=relative,
        )

    def apply(self, x: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return rows as a model takes them, float32 ``[rows, features]``.

        Args:
            x: In the columns' units, NaN where nothing is known, ``[rows, features]``.
            last: The newest reading of the target, in its unit; without meaning where no input is
                relative to it, ``[rows]``.
        """
        x = _from(x, last, self.relative)
        x = np.where(np.isnan(x), self.medians, x)
        if self.bounded:
            x = np.clip((x - self.middle) / self.spread, -FAR, FAR)
        return np.ascontiguousarray(x, np.float32)


def _from(
    x: NDArray[np.float64], last: NDArray[np.float64], relative: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return rows with some inputs as their distance from the newest reading."""
    return np.where(relative, x - last[:, None], x) if relative.any() else x


def beside(
    x: NDArray[np.float32], filled: Mapping[str, NDArray[np.bool_]], indicators: Sequence[str]
) -> NDArray[np.float32]:
    """Return inputs with a column for each of some of them: 1 where it was filled in.

    Args:
        x: The inputs, float32 ``[rows, features]``.
        filled: Of inputs that are missing somewhere: where, ``[rows]``.
        indicators: Names of the inputs, the same of all homes.
    """
    if not indicators:
        return x
    none = np.zeros(len(x), np.bool_)
    columns = [filled.get(name, none).astype(np.float32) for name in indicators]
    return np.ascontiguousarray(np.column_stack([x, *columns]), np.float32)
