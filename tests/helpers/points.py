"""Homes whose model is one number, pulled towards their own: all that they do is done by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.cohort import Cohort, Measured, PartRows, Trained, Training
from fedhome.learning.losses import LOSSES
from fedhome.learning.methods import FedAvg
from fedhome.learning.tasks import Segments
from fedhome.wire.layout import Layout
from helpers import tiny

ROWS, SIZE = 5, 8
_PARTS = ("train", "validation", "test")


class Points(Cohort):
    """Each home learns one number: a step goes half the way to the mean of the part's aim.

    A pass is a step, as with batches of 8, or as many more as batches are smaller.

    Args:
        aims: What training, validation and test ask for, float64 ``[homes, 3]``.
        initial: What a run begins with.
        off: How far no learning is from the truth.
        seasons: What the series was some seasons earlier, in each row, by part.
    """

    def __init__(
        self,
        aims: Any,
        *,
        initial: float = 10.0,
        off: float = 2.0,
        seasons: dict[str, Any] | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.aims = np.array(aims, np.float64)
        self.off = off
        self.seasons = seasons or {}
        self.homes = names or tuple(f"home-{place}" for place in range(len(self.aims)))
        self.learning: Any = SimpleNamespace(
            initial=np.full(1, initial, np.float32),
            task=tiny.learning(tiny.plan()).task,
            loss=LOSSES["mse"],
            method=FedAvg(),
            layout=Layout(("w",), ((1,),)),
        )
        self.memory = {}
        self.trained: list[tuple[str, int, int]] = []

    def _aim(self, part: Part) -> NDArray[np.float64]:
        if part == "train+validation":
            return np.asarray(self.aims[:, :2].mean(axis=1), np.float64)
        return self.aims[:, _PARTS.index(part)]

    def counts(self, part: Part) -> NDArray[np.int64]:
        rows = 2 * ROWS if part == "train+validation" else ROWS
        return np.full(len(self.homes), rows)

    def train(self, start: NDArray[np.float32], how: Training) -> Trained:
        epochs = how.epochs * (SIZE // how.batch if how.batch else 1)
        self.trained.append((how.part, how.stream, len(self.homes)))
        params = np.broadcast_to(start, (len(self.homes), 1)).copy()
        for _ in range(epochs):
            params += (0.5 * how.rate * (self._aim(how.part)[:, None] - params)).astype(np.float32)
        return Trained(params, np.zeros(len(self.homes)))

    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        own = np.broadcast_to(params, (len(self.homes), 1))[:, 0].astype(np.float64)
        losses = (own - self._aim(part)) ** 2
        return Measured(losses, {"score": -losses})

    def rows(self, part: Part) -> PartRows:
        counts = self.counts(part)
        names: tuple[Part, ...] = ("train", "validation")
        parts = names if part == "train+validation" else (part,)
        aims = np.stack([self._aim(one) for one in parts], axis=1)  # [homes, parts]
        y = np.repeat(aims.reshape(-1), ROWS).astype(np.float32)
        total = len(y)
        seasons = np.zeros((total, 0))
        if self.seasons:
            own = np.concatenate([np.array(self.seasons[one], np.float64) for one in parts])
            seasons = np.concatenate([own] * len(self.homes))
        return PartRows(
            np.zeros((total, 1), np.float32),
            y[:, None],
            y + np.float32(self.off),
            seasons.astype(np.float32),
            np.concatenate([np.arange(count) for count in counts]),
            counts,
            np.ones(len(self.homes)),
        )

    def predict(self, params: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        own = np.broadcast_to(params, (len(self.homes), 1))
        return np.repeat(own, self.counts(part), axis=0).astype(np.float32)

    def measure(self, output: NDArray[np.float32], part: Part) -> dict[str, NDArray[np.float64]]:
        rows = self.rows(part)
        segments = Segments(counts=rows.counts)
        units = np.ones(len(self.homes))
        found: dict[str, NDArray[np.float64]] = self.learning.task.measure(
            rows.y, output, rows.naive, segments, units
        )
        return found

    def baseline(self, part: Part) -> Measured:
        raise AssertionError(f"nobody asks for the baseline of {part} any more")

    def pick(self, homes: NDArray[np.int64]) -> Points:
        some = type(self)(
            self.aims[homes],
            off=self.off,
            seasons=self.seasons,
            names=tuple(self.homes[home] for home in homes),
        )
        some.learning, some.trained, some.memory = self.learning, self.trained, self.memory
        return some


class Adapter:
    """Adapts to numbers that are given, by the part that is learnt from; and counts."""

    def __init__(self, **by_part: Any) -> None:
        self.by_part = by_part
        self.asked: list[str] = []

    def adapt(
        self, cohort: Cohort, start: NDArray[np.float32], *, rate: float, epochs: int, part: Part
    ) -> NDArray[np.float32]:
        del start, rate, epochs
        self.asked.append(part)
        own = self.by_part["stopped" if part == "train" else "refitted"]
        names = [int(home.rpartition("-")[2]) for home in cohort.homes]
        return np.array(own, np.float32)[names][:, None]
