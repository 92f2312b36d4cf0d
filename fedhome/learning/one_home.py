"""A cohort of one: a home on its own device, whatever computes its steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.series.examples import HomeExamples, Part
from fedhome.learning.cohort import Cohort, Measured, Memory, PartRows
from fedhome.learning.learning_setup import LearningSetup
from fedhome.learning.losses import scored
from fedhome.learning.own_state import HomeStates
from fedhome.learning.tasks import Segments


class OneHome(Cohort):
    """What a home's own device knows of it; how it trains and predicts, a subclass says.

    Args:
        learning: What it learns with.
        examples: The home's examples.
        seed: The plan's seed, for the order of batches.
        states: Where the home keeps what its method learns for it alone.
        before_training: Called before each training of some passes; it may wait, or raise why
            there is none now. None: nothing is.
    """

    def __init__(
        self,
        learning: LearningSetup,
        examples: HomeExamples,
        seed: int,
        *,
        states: HomeStates | None = None,
        before_training: Callable[[], None] | None = None,
    ) -> None:
        self.learning = learning
        self.states = states
        self.examples = examples
        self.homes = (examples.home,)
        self.memory: Memory = {}
        self._keys = rng.home_keys(seed, self.homes)
        self._before_training = before_training

    def _ready(self) -> None:
        """Wait until there may be training."""
        if self._before_training is not None:
            self._before_training()

    def counts(self, part: Part) -> NDArray[np.int64]:
        """Rows of a part, int64 ``[1]``."""
        rows = self.examples.rows(part)
        return np.array([rows.stop - rows.start])

    def pick(self, homes: NDArray[np.int64]) -> Cohort:
        """Return itself: there is nobody else to leave out."""
        del homes
        return self

    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        """Score parameters on one part."""
        output = self.predict(params, part)
        losses = scored(self.learning.loss, output, self.examples.y[self.examples.rows(part)])
        loss = losses.mean() if len(losses) else np.nan
        return Measured(np.array([float(loss)]), self.measure(output, part))

    def rows(self, part: Part) -> PartRows:
        """Return the rows of a part."""
        own, rows = self.examples, self.examples.rows(part)
        return PartRows(
            own.x[rows],
            own.y[rows],
            own.naive[rows],
            own.seasons()[rows],
            own.times()[rows],
            self.counts(part),
            np.array([own.unit]),
        )

    def baseline(self, part: Part) -> Measured:
        """Score the forecast without learning."""
        naive = self.examples.naive[self.examples.rows(part)]
        output = self.learning.task.naive_output(naive)
        return Measured(np.array([np.nan]), self.measure(output, part))

    def measure(self, output: NDArray[np.float32], part: Part) -> dict[str, NDArray[np.float64]]:
        """Score outputs on a part."""
        rows = self.examples.rows(part)
        return self.learning.task.measure(
            self.examples.y[rows],
            output,
            self.examples.naive[rows],
            Segments(counts=self.counts(part)),
            np.array([self.examples.unit]),
            anchors=self.examples.anchors[rows] if len(self.examples.anchors) else None,
        )
