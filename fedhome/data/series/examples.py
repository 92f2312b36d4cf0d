"""One home's examples: a training, a validation and a test part, apart in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.scaling import InputScaling
from fedhome.errors import DataError

Part = Literal["train", "validation", "test", "train+validation"]
Targets = Literal["continuous", "binary", "multi-class"]
"""How targets are encoded: as numbers, as 0 and 1, or as numbers of classes from 0."""


@dataclass(frozen=True, kw_only=True)
class RowTally:
    """How many rows a home has, and how many of them do not count.

    Args:
        rows: Rows with any reading.
        without_target: Those in which the target is missing.
        without_past: Those that have a target, but too little is known before it.
    """

    rows: int = 0
    without_target: int = 0
    without_past: int = 0


@dataclass(frozen=True, kw_only=True)
class HomeExamples:
    """One home's examples; the three parts lie one after the other.

    Args:
        home: The home's name.
        x: Inputs, float32 ``[rows, features]``.
        y: Targets: float32 ``[rows, 1]`` (continuous, binary; of several horizons
            ``[rows, horizons]``) or int64 ``[rows]`` (the index of the class). Of a series that is
            learnt as its change they are changes from the newest reading.
        naive: What a forecast without learning says, in the unit of ``y``: persistence
            for a series, else the training mean or the commonest class; ``[rows]``.
        counts: Rows of training, validation and test.
        unit: What one unit of ``y`` is in the unit of the target column (its training
            standard deviation where targets were standardised, else 1).
        middle: What 0 of ``y`` is in the unit of the target column; of changes, above the newest
            reading.
        notes: What became of the home's rows on the way, in plain sentences.
        filled: Of inputs that are missing somewhere: where they were filled in, ``[rows]``; empty
            once columns of ``x`` say it.
        tally: How many rows there were, and why some do not count.
        scaling: How inputs were scaled; None of examples that were not cut from a table.
        time_s: UTC seconds of the rows, int64 ``[rows]``; empty: they have no time. Of several
            horizons it is the nearest's moment.
        seasonal: What a series was each season earlier, in the unit of ``y``, NaN where nothing
            was read, float32; shapes as of :func:`~fedhome.data.series.seasons.seasonal`.
        anchors: The newest reading that each row's ``y`` is a change from, in the unit of ``y``,
            float64 ``[rows]``; empty: it is none.
        reach_s: Seconds from a row's moment to that of its furthest horizon.
    """

    home: str
    x: NDArray[np.float32]
    y: NDArray[np.float32] | NDArray[np.int64]
    naive: NDArray[np.float32]
    counts: tuple[int, int, int]
    unit: float = 1.0
    middle: float = 0.0
    notes: tuple[str, ...] = ()
    filled: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    tally: RowTally = field(default_factory=RowTally)
    scaling: InputScaling | None = None
    time_s: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    seasonal: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    anchors: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    reach_s: int = 0

    def times(self) -> NDArray[np.int64]:
        """Return UTC seconds of the rows, or their numbers where they have no time, ``[rows]``."""
        return self.time_s if len(self.time_s) else np.arange(len(self.x))

    def seasons(self) -> NDArray[np.float32]:
        """Return what a series was a season earlier, ``[rows, seasons]``; else no column."""
        return self.seasonal if len(self.seasonal) else np.empty((len(self.x), 0), np.float32)

    def rows(self, part: Part) -> slice:
        """Return where a part lies."""
        train, validation, test = self.counts
        return {
            "train": slice(0, train),
            "validation": slice(train, train + validation),
            "test": slice(train + validation, train + validation + test),
            "train+validation": slice(0, train + validation),
        }[part]

    def check_classes(self, classes: int) -> None:
        """Refuse class indices for which a model has no output.

        Args:
            classes: How many classes there are.

        Raises:
            DataError: The home has another class.
        """
        if self.y.dtype == np.int64 and int(self.y.max()) >= classes:
            raise DataError(
                f"home {self.home!r} has class number {int(self.y.max())} (from 0), "
                f"but there are only {classes} classes",
                hint="name all classes in task.classes",
            )
