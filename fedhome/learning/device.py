"""One home on its own device by torch: the loop over batches of the three functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from fedhome import rng
from fedhome.data.series.examples import HomeExamples, Part
from fedhome.learning.batch_order import passes
from fedhome.learning.cohort import Cohort, Trained, Training
from fedhome.learning.local import Batch, LocalLearning
from fedhome.learning.one_home import OneHome
from fedhome.learning.own_state import HomeStates
from fedhome.learning.slice_places import SlicePlaces


class Device(OneHome):
    """What a home's own device computes where torch is loaded: the definition of all others.

    Args:
        learning: The three functions.
        examples: The home's examples.
        seed: The plan's seed, for the order of batches.
        states: Where the home keeps what its method learns for it alone.
        carries: Where in the fleet's model its own lies; None: it is the same.
        rounds: The same home with what it trains in rounds; None: this.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
    """

    learning: LocalLearning

    def __init__(
        self,
        learning: LocalLearning,
        examples: HomeExamples,
        seed: int,
        *,
        states: HomeStates | None = None,
        carries: SlicePlaces | None = None,
        rounds: Cohort | None = None,
        before_training: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(learning, examples, seed, states=states, before_training=before_training)
        self.carries, self.rounds = carries, rounds
        self._x = torch.from_numpy(examples.x)
        self._y = torch.from_numpy(examples.y)

    def train(self, start: NDArray[np.float32], how: Training) -> Trained:
        """Train in a loop over batches."""
        self._ready()
        learning = self.learning.vary(rate=how.rate, method=how.method, batch=how.batch)
        begin, count = self.examples.rows(how.part).start, int(self.counts(how.part)[0])
        state = learning.init(learning.tensors(np.array(start.reshape(-1), np.float32)))
        if how.towards is not None and state.anchor:
            anchor = np.array(how.towards.reshape(-1), np.float32)
            state = state._replace(anchor=learning.tensors(anchor))
        size, loss = learning.train.batch_rows, 0.0
        for key, own in passes(
            self._keys,
            np.array([count]),
            stream=how.stream,
            epochs=how.epochs,
            rows=how.steps * size,
        ):
            order, loss, count = torch.from_numpy(begin + own[0]), 0.0, own.shape[1]
            for number, rows in enumerate(torch.split(order, size)):
                own_batch = Batch(
                    self._x[rows],
                    self._y[rows],
                    torch.ones(len(rows)),
                    torch.from_numpy(rng.step_keys(key, number))[0],
                )
                state, step_loss = learning.step_of_one(state, own_batch)
                loss += float(step_loss) * len(rows)
        trained = learning.flat(learning.finish(state))
        return Trained(trained[None], np.array([loss / max(count, 1)]))

    def predict(self, params: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the model's raw outputs on a part."""
        learning, rows = self.learning, self.examples.rows(part)
        output = learning.predict(learning.tensors(params.reshape(-1)), self._x[rows])
        return np.asarray(output.numpy(), np.float32)
