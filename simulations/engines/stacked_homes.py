"""The examples of many homes as they lie in memory: one home after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples, Part


@dataclass(frozen=True, kw_only=True)
class StackedHomes:
    """The examples of all homes, one home after the other.

    Args:
        homes: Names.
        x: Inputs float32 ``[rows, features]``.
        y: Targets float32 ``[rows, 1]``, of several horizons ``[rows, horizons]``, or int64
            ``[rows]``.
        naive: Forecasts without learning, float32 ``[rows]``.
        begin: First row of each home, int64 ``[homes]``.
        sizes: Rows of training, validation and test of each home, int64 ``[homes, 3]``.
        units: Unit of each home's target, float64 ``[homes]``.
        times: UTC seconds of the rows, or their numbers, int64 ``[rows]``.
        seasons: What a series was some seasons earlier, float32 ``[rows, seasons]``.
        anchors: What targets are changes from, float64 ``[rows]``; empty: they are none.
    """

    homes: tuple[str, ...]
    x: NDArray[np.float32]
    y: NDArray[np.float32] | NDArray[np.int64]
    naive: NDArray[np.float32]
    begin: NDArray[np.int64]
    sizes: NDArray[np.int64]
    units: NDArray[np.float64]
    times: NDArray[np.int64]
    seasons: NDArray[np.float32]
    anchors: NDArray[np.float64]

    @classmethod
    def of(cls, examples: list[HomeExamples]) -> StackedHomes:
        """Lay homes one after the other."""
        lengths = np.array([len(home.x) for home in examples], np.int64)
        return cls(
            homes=tuple(home.home for home in examples),
            x=np.concatenate([home.x for home in examples]),
            y=np.concatenate([home.y for home in examples]),
            naive=np.concatenate([home.naive for home in examples]),
            begin=np.cumsum(lengths) - lengths,
            sizes=np.array([home.counts for home in examples], np.int64),
            units=np.array([home.unit for home in examples]),
            times=np.concatenate([home.times() for home in examples]),
            seasons=np.concatenate([home.seasons() for home in examples]),
            anchors=np.concatenate([home.anchors for home in examples]),
        )

    def spans(
        self, homes: NDArray[np.int64], part: Part
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return first row and number of rows of a part, for some homes, each ``[homes]``."""
        begin, sizes = self.begin[homes], self.sizes[homes]
        first = {"validation": sizes[:, 0], "test": sizes[:, 0] + sizes[:, 1]}.get(part)
        count = {
            "train": sizes[:, 0],
            "validation": sizes[:, 1],
            "test": sizes[:, 2],
            "train+validation": sizes[:, 0] + sizes[:, 1],
        }[part]
        return (begin if first is None else begin + first), count


class Spans(NamedTuple):
    """Where some homes' rows of a part lie: positions in the cohort, first rows, counts."""

    homes: NDArray[np.int64]
    begin: NDArray[np.int64]
    counts: NDArray[np.int64]

    def rows(self) -> NDArray[np.int64]:
        """Return the rows themselves, one home after the other."""
        ends = np.cumsum(self.counts)
        offsets = np.repeat(self.begin - (ends - self.counts), self.counts)
        rows: NDArray[np.int64] = np.arange(int(ends[-1]) if len(ends) else 0) + offsets
        return rows

    def padded(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the rows padded to as many for each home, and which are no padding."""
        offsets = np.arange(int(self.counts.max()))
        inside = offsets[None] < self.counts[:, None]  # [homes, rows]
        return self.begin[:, None] + np.where(inside, offsets[None], 0), inside
