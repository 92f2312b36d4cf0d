"""One home on its own device by the compiled kernel: an MLP, or slices of one, without torch."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples, Part
from fedhome.errors import EngineError
from fedhome.learning.batch_order import passes
from fedhome.learning.cohort import Cohort, Trained, Training
from fedhome.learning.compiled import CompiledLearning, why_not_compiled
from fedhome.learning.fitted import Perceptron
from fedhome.learning.one_home import OneHome
from fedhome.learning.own_state import HomeStates
from fedhome.learning.slice_places import SlicePlaces

_log = logging.getLogger("fedhome.learning")


class CompiledDevice(OneHome):
    """What a home's own device computes without torch, equal to torch's to float32 rounding.

    Args:
        learning: What it learns with.
        examples: The home's examples.
        seed: The plan's seed, for the order of batches.
        by_torch: What makes the same home by torch, for a step that the kernel has no code for.
        states: Where the home keeps what its method learns for it alone.
        carries: As of :class:`fedhome.learning.device.Device`, and so is the next.
        rounds: The same home with what it trains in rounds; None: this.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
        told: Called once with why a step is torch's; None: the log says it.
    """

    learning: CompiledLearning

    def __init__(
        self,
        learning: CompiledLearning,
        examples: HomeExamples,
        seed: int,
        *,
        by_torch: Callable[[], OneHome],
        states: HomeStates | None = None,
        carries: SlicePlaces | None = None,
        rounds: Cohort | None = None,
        before_training: Callable[[], None] | None = None,
        told: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(learning, examples, seed, states=states, before_training=before_training)
        self._told = told or _log_torch
        self.carries, self.rounds = carries, rounds
        self._by_torch = by_torch
        self._torchs: OneHome | None = None

    def train(self, start: NDArray[np.float32], how: Training) -> Trained:
        """Train by the kernel; a step that it has no code for is torch's, which is told once."""
        self._ready()
        learning = self.learning.vary(rate=how.rate, method=how.method, batch=how.batch)
        if reason := self._why_not(learning, how.part, pulled=how.towards is not None):
            return self._without_kernel(reason).train(start, how)
        begin, count = self.examples.rows(how.part).start, int(self.counts(how.part)[0])
        size = learning.train.batch_rows
        orders = [
            begin + own[0]
            for _, own in passes(
                self._keys,
                np.array([count]),
                stream=how.stream,
                epochs=how.epochs,
                rows=how.steps * size,
            )
        ]
        params = np.array(start.reshape(1, -1), np.float32)
        if not orders:
            return Trained(params, np.zeros(1))
        losses = learning.kernel.train(
            params,
            self.examples.x,
            self.examples.y,
            np.concatenate(orders),
            np.array([len(orders[0])]),
            batch_size=size,
            epochs=len(orders),
            learning_rate=learning.train.learning_rate,
        )
        return Trained(params, losses)

    def predict(self, params: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the model's raw outputs on a part."""
        layers = self.learning.network(params.reshape(-1))
        with np.errstate(all="ignore"):  # of a model that diverged; its score says so
            return Perceptron(layers).output(self.examples.x[self.examples.rows(part)])

    def _why_not(self, learning: CompiledLearning, part: Part, *, pulled: bool) -> str:
        """Return why the kernel cannot do it; this compiles it where it can."""
        if reason := why_not_compiled(learning, learning.widths, learning.slices):
            return reason
        if pulled and learning.method.fused():
            return "a pull towards anything but where training began is not compiled into it"
        try:
            learning.kernel.compile(min(learning.train.batch_rows, int(self.counts(part)[0]) or 1))
        except EngineError as error:
            return error.message
        return ""

    def _without_kernel(self, reason: str) -> OneHome:
        if self._torchs is None:
            self._told(reason)
            self._torchs = self._by_torch()
        return self._torchs


def _log_torch(reason: str) -> None:
    _log.warning("torch is loaded for a part of this home's training: %s", reason)
