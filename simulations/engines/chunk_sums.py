"""What the homes of a chunk add to a sum, and the sum of all chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedhome.plan.settings import Plan
from fedhome.plan.transfer_plan import sends_fewer
from fedhome.questions import private_sums
from fedhome.questions.contributions import (
    rounding_keys,
    simulated_noise_keys,
    sizes_of,
    train_numbers,
)
from fedhome.questions.empty_handed import empty_terms, settled
from fedhome.questions.question_table import TRAIN
from fedhome.questions.responses import Columns
from fedhome.questions.settings import ROUND
from fedhome.questions.train_config import TrainConfig
from fedhome.questions.transfer import encoded
from fedhome.secagg.form import Form
from fedhome.simulations.engines.chunks import Chunk
from fedhome.simulations.engines.onchip.device_rounding import DeviceRounding, rounding_there
from fedhome.simulations.engines.rounding import changes_of, rounding_if_any
from fedhome.simulations.engines.vector_cohort import VectorCohort
from fedhome.wire.names import EXAMPLES


class RequestedForm(NamedTuple):
    """A sum that some homes are asked for.

    Args:
        form: What lies in a home's vector.
        round: Number of the round, which names the rounding.
    """

    form: Form
    round: int


class Words(NamedTuple):
    """The sum of some homes' encoded vectors.

    Args:
        total: The wrapping sum, unsigned ``[words]``; homes whose numbers are not finite add
            nothing to it but a flag.
    """

    total: NDArray[Any]


class Added(NamedTuple):
    """What a chunk's homes add to a sum: their rounded updates, and each one's own numbers."""

    total: NDArray[Any]
    homes: NDArray[np.int64]
    losses: NDArray[np.float64]
    bits: NDArray[np.bool_] | None
    sizes: NDArray[np.float64]
    gone: NDArray[np.int64]
    noise: NDArray[np.int64] | None


class ChunkSums:
    """Adds up what homes encode, chunk by chunk; the sum is exact in any order.

    Args:
        plan: The plan.
        cohort: The homes.
        start: What they begin with, float32 ``[size]``.
        config: The settings that came.
        request: The sum that is asked for.
        weights: The homes' weights, int64 ``[homes]``; greater ones count as the form's cap.
        part: Which parameters are added up, ``[numbers]``; None: all.
    """

    def __init__(
        self,
        plan: Plan,
        cohort: VectorCohort,
        start: NDArray[np.float32],
        *,
        config: TrainConfig,
        request: RequestedForm,
        weights: NDArray[np.int64],
        part: NDArray[np.int64] | None = None,
    ) -> None:
        form = request.form
        self._plan, self._cohort, self._start, self._part = plan, cohort, start, part
        self._config, self._form = config, form
        self._weights = np.minimum(weights, form.fixed.weight_cap)
        self._keys = rounding_keys(plan.seed, TRAIN, request.round, cohort.homes)
        self._noise_keys = simulated_noise_keys(plan.seed, TRAIN, request.round, cohort.homes)
        self._compiled = rounding_if_any() if form.fixed.norm == "linf" else None
        self._fewer = sends_fewer(plan)
        self._rounding: DeviceRounding | None = None
        whole = part is None and not self._fewer and config.clipping.norm is None
        if whole and form.noise is None and form.fixed.norm == "linf":
            self._rounding = rounding_there(cohort.placement)

    def add(self, chunk: Chunk) -> Added:
        """Return what a chunk's homes add."""
        if self._rounding is not None and chunk.there is not None:
            return self._add_there(self._rounding, chunk, chunk.there)
        form, start, compiled = self._form, self._start, self._compiled
        changes = self._sent(chunk) if self._fewer else changes_of(compiled, chunk.params, start)
        fine = np.isfinite(changes).all(axis=1) & np.isfinite(chunk.losses)
        # Where homes add noise, one that failed to learn adds its noise alone, untold.
        fine |= form.noise is not None
        params, some = chunk.params, chunk.homes[fine]
        if not fine.all():
            params, changes = params[fine], changes[fine]
        bits = self._config.clipping.shorten(start, params)
        if bits is not None:
            changes = changes_of(compiled, params, start)
        own, weights = [self._keys[home] for home in some], self._weights[some]
        before, after = start, params
        if self._fewer:
            before, after = np.zeros(form.elements, np.float32), changes
        elif self._part is not None:
            before, after = start[self._part], np.ascontiguousarray(params[:, self._part])
        if compiled is None:
            total: NDArray[Any] = form.element_sums(after - before, weights, own)
        else:
            whole = not self._fewer and self._part is None  # all of it was looked at above
            largest = changes[:, 0] if whole else None
            total = compiled.sums(form.fixed, after, before, weights, own, largest=largest)
        noise_keys = [self._noise_keys[home] for home in some]
        return Added(
            total,
            some,
            chunk.losses[fine],
            bits,
            sizes_of(changes, self._plan.aggregation.clip_in),
            chunk.homes[~fine],
            None if form.noise is None else form.noise_sums(noise_keys, len(some)),
        )

    def _add_there(self, rounding: DeviceRounding, chunk: Chunk, params: Tensor) -> Added:
        """Return the same, added up on the device."""
        start, largest = self._start, rounding.largest(params, self._start)
        fine = np.isfinite(largest) & np.isfinite(chunk.losses)
        some = chunk.homes[fine]
        if not fine.all():
            kept = self._cohort.placement.put(np.flatnonzero(fine))
            params, largest = params.index_select(0, kept), largest[fine]
        own, weights = [self._keys[home] for home in some], self._weights[some]
        return Added(
            rounding.sums(self._form.fixed, params, start, weights, own, largest=largest),
            some,
            chunk.losses[fine],
            None,
            sizes_of(largest[:, None], self._plan.aggregation.clip_in),
            chunk.homes[~fine],
            None,
        )

    def words(self, chunks: Iterable[Added]) -> Words:
        """Return the sum of what chunks add."""
        form, config = self._form, self._config
        totals, some, losses, bits, sizes, gone, noise = zip(*chunks, strict=True)
        columns: Columns = {
            EXAMPLES: self._weights[np.concatenate(some)],
            "train_loss": np.concatenate(losses),
        }
        shortened = [some_bits for some_bits in bits if some_bits is not None]
        if shortened:
            columns |= config.clipping.columns(np.concatenate(shortened))
        own = settled(None, train_numbers(columns, np.concatenate(sizes), config))[1]
        own = private_sums.added(form, own)
        nothing = empty_terms(sum(map(len, gone)), form)
        noises = [some_noise for some_noise in noise if some_noise is not None]
        total = form.total_of_sums(
            np.sum(totals, axis=0),
            np.concatenate([own.weights, nothing.weights]),
            np.concatenate([own.values, nothing.values]),
            np.sum(noises, axis=0) if noises else None,
        )
        return Words(total)

    def _sent(self, chunk: Chunk) -> NDArray[np.float32]:
        """Return what homes send where that is less than they learnt."""
        return encoded(
            self._plan,
            changes_of(None, chunk.params, self._start),
            start=self._start,
            settings={ROUND: self._config.round},
            homes=[self._cohort.homes[home] for home in chunk.homes],
            states=self._cohort.states,
        )
