"""One home on its own device: the loop over batches, and evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.series.examples import HomeExamples, Part
from fedhome.learning.cohort import Cohort, Measured, Memory, PartRows, Trained
from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.methods import Method
from fedhome.learning.own_state import HomeStates
from fedhome.learning.tasks import Segments


def passes(
    keys: NDArray[np.uint64], counts: NDArray[np.int64], *, stream: int, epochs: int, rows: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Yield each pass's keys, and its rows in their order, ``[homes, most rows]``.

    Args:
        keys: The homes' keys, uint64 ``[homes]``.
        counts: Rows of each home ``[homes]``.
        stream: Names the order of batches: the number of the round.
        epochs: How many passes there are over each home's rows.
        rows: In place of these a single pass of as many rows in each home; 0: none.
    """
    if rows:
        own = rng.endless_shuffles(keys, counts, stream=stream, rows=rows)
        yield rng.epoch_keys(keys, stream, 0), own
        return
    for epoch in range(epochs):
        key = rng.epoch_keys(keys, stream, epoch)
        yield key, rng.shuffles(key, counts)


class Device(Cohort):
    """A cohort of one: what a home's own device computes.

    Args:
        learning: The three functions.
        examples: The home's examples.
        seed: The plan's seed, for the order of batches.
        states: Where the home keeps what its method learns for it alone.
    """

    def __init__(
        self,
        learning: LocalLearning,
        examples: HomeExamples,
        seed: int,
        *,
        states: HomeStates | None = None,
    ) -> None:
        self.learning = learning
        self.states = states
        self.examples = examples
        self.homes = (examples.home,)
        self.memory: Memory = {}
        self._keys = rng.home_keys(seed, self.homes)
        self._x = torch.from_numpy(examples.x)
        self._y = torch.from_numpy(examples.y)

    def counts(self, part: Part) -> NDArray[np.int64]:
        """Rows of a part, int64 ``[1]``."""
        rows = self.examples.rows(part)
        return np.array([rows.stop - rows.start])

    def train(
        self,
        start: NDArray[np.float32],
        *,
        stream: int,
        epochs: int,
        steps: int = 0,
        part: Part = "train",
        rate: float = 1.0,
        method: Method | None = None,
        towards: NDArray[np.float32] | None = None,
    ) -> Trained:
        """Train in a loop over batches."""
        learning = self.learning.vary(rate=rate, method=method)
        begin, count = self.examples.rows(part).start, int(self.counts(part)[0])
        state = learning.init(learning.tensors(np.array(start.reshape(-1), np.float32)))
        if towards is not None and state.anchor:
            anchor = np.array(towards.reshape(-1), np.float32)
            state = state._replace(anchor=learning.tensors(anchor))
        size, loss = learning.train.batch_size, 0.0
        for key, own in passes(
            self._keys, np.array([count]), stream=stream, epochs=epochs, rows=steps * size
        ):
            order, loss, count = torch.from_numpy(begin + own[0]), 0.0, own.shape[1]
            for number, rows in enumerate(torch.split(order, size)):
                batch = Batch(
                    self._x[rows],
                    self._y[rows],
                    torch.ones(len(rows)),
                    torch.from_numpy(rng.step_keys(key, number))[0],
                )
                state, step_loss = learning.step(state, batch)
                loss += float(step_loss) * len(rows)
        trained = learning.flat(learning.finish(state))
        return Trained(trained[None], np.array([loss / max(count, 1)]))

    def pick(self, homes: NDArray[np.int64]) -> Cohort:
        """Return itself: there is nobody else to leave out."""
        del homes
        return self

    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        """Score parameters on one part."""
        learning, rows = self.learning, self.examples.rows(part)
        output = learning.predict(learning.tensors(params.reshape(-1)), self._x[rows])
        loss = learning.loss.rows(output, self._y[rows]).double().mean()
        return Measured(np.array([float(loss)]), self.measure(output.numpy(), part))

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

    def predict(self, params: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the model's raw outputs on a part."""
        learning, rows = self.learning, self.examples.rows(part)
        output = learning.predict(learning.tensors(params.reshape(-1)), self._x[rows])
        return np.asarray(output.numpy(), np.float32)

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
        )
