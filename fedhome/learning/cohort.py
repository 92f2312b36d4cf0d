"""Homes that learn side by side: one on a device, thousands in the vector engine.

What a home does in a round, and how it personalises, is written once, over this interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.learning_setup import LearningSetup
from fedhome.learning.methods import Method
from fedhome.learning.own_state import HomeStates
from fedhome.learning.slice_places import SlicePlaces
from fedhome.wire.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Training:
    """On what homes train once, how long and by what steps.

    Args:
        stream: Names the order of batches: the number of the round.
        epochs: Passes over the part.
        steps: Steps in place of passes, each of a whole batch; 0: as many as the passes have.
        part: The rows to train on.
        rate: Multiple of the plan's learning rate.
        batch: Examples in a step, in place of the plan's; 0: as many.
        method: In place of the plan's.
        towards: What the method's gradient is given as the round's start, ``[size]`` or
            ``[homes, size]``; None: what training begins with.
    """

    stream: int
    epochs: int
    steps: int = 0
    part: Part = "train"
    rate: float = 1.0
    batch: int = 0
    method: Method | None = None
    towards: NDArray[np.float32] | None = None


class Trained(NamedTuple):
    """Parameters float32 ``[homes, size]``; mean training loss of the last pass ``[homes]``."""

    params: NDArray[np.float32]
    losses: NDArray[np.float64]


class Measured(NamedTuple):
    """Mean loss float64 ``[homes]``; each metric float64 ``[homes]``."""

    losses: NDArray[np.float64]
    metrics: dict[str, NDArray[np.float64]]


class PartRows(NamedTuple):
    """Rows of a part of some homes, one home after the other.

    ``x`` are inputs float32 ``[rows, features]``; ``y`` targets float32 ``[rows, 1]`` or int64
    ``[rows]``; ``naive`` forecasts without learning ``[rows]``; ``seasons`` what a series was some
    seasons earlier ``[rows, seasons]``; ``times`` UTC seconds, or numbers of rows, int64
    ``[rows]``; ``counts`` each home's rows, int64 ``[homes]``; ``units`` what one unit of ``y`` is
    in the target's own, float64 ``[homes]``.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32] | NDArray[np.int64]
    naive: NDArray[np.float32]
    seasons: NDArray[np.float32]
    times: NDArray[np.int64]
    counts: NDArray[np.int64]
    units: NDArray[np.float64]

    def each(self) -> Iterator[PartRows]:
        """Yield the rows of one home after the other."""
        end = 0
        for home, count in enumerate(self.counts.tolist()):
            begin, end = end, end + count
            rows = slice(begin, end)
            yield PartRows(
                self.x[rows],
                self.y[rows],
                self.naive[rows],
                self.seasons[rows],
                self.times[rows],
                np.array([count]),
                self.units[[home]],
            )


Memory = dict[str, dict[str, Any]]
"""What homes computed for an earlier question, by what it is and then by home."""

OF_MODEL: Final = "model "
"""What was computed from the fleet's model has a name that begins so."""


class Cohort(ABC):
    """Homes that learn side by side; every array has the homes as its first dimension.

    Attributes:
        learning: What they learn with.
        homes: Names of the homes.
        memory: What they computed earlier. A home that is asked about one model several times
            need not train for each anew; nothing that it answers depends on what is here.
        states: Where homes keep what their method learns for them alone; None: nowhere, so that
            each is as on its first day.
        carries: Where in the fleet's model these homes' model lies; None: it is the same.
        rounds: The same homes with what they train in rounds; None: that is what they have here.
    """

    learning: LearningSetup
    homes: tuple[str, ...]
    memory: Memory
    states: HomeStates | None = None
    carries: SlicePlaces | None = None
    rounds: Cohort | None = None

    @property
    def fleets_layout(self) -> Layout:
        """Layout of the model that the fleet learns together."""
        return self.learning.layout if self.carries is None else self.carries.layout

    def own_part(self, whole: NDArray[np.float32], number: int = 1) -> NDArray[np.float32]:
        """Return what these homes have of the fleet's parameters ``[size]`` in a round."""
        return whole if self.carries is None else self.carries.in_round(number).of_whole(whole)

    def in_whole(
        self, whole: NDArray[np.float32], own: NDArray[np.float32], number: int
    ) -> NDArray[np.float32]:
        """Return what homes learnt ``[homes, own size]`` in the fleet's places, ``[homes, size]``.

        What they do not have in that round is as it is in ``whole`` ``[size]``.
        """
        return own if self.carries is None else self.carries.in_round(number).in_whole(whole, own)

    @abstractmethod
    def counts(self, part: Part) -> NDArray[np.int64]:
        """Rows of a part, int64 ``[homes]``."""

    @abstractmethod
    def train(self, start: NDArray[np.float32], how: Training) -> Trained:
        """Train every home, with an empty optimiser at the start.

        Args:
            start: Parameters ``[size]`` for all, or ``[homes, size]``.
            how: On what, how long and by what steps.
        """

    @abstractmethod
    def evaluate(self, params: NDArray[np.float32], part: Part) -> Measured:
        """Score parameters ``[size]`` or ``[homes, size]`` on a part."""

    @abstractmethod
    def rows(self, part: Part) -> PartRows:
        """Return the rows of a part as they are learnt from."""

    @abstractmethod
    def predict(self, params: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the model's raw outputs on a part, one home after the other.

        Args:
            params: Parameters ``[size]`` or ``[homes, size]``.
            part: The rows.

        Returns:
            float32 ``[rows, outputs]``.
        """

    @abstractmethod
    def measure(self, output: NDArray[np.float32], part: Part) -> dict[str, NDArray[np.float64]]:
        """Score outputs ``[rows, outputs]`` on a part: each metric ``[homes]``."""

    @abstractmethod
    def baseline(self, part: Part) -> Measured:
        """Score the forecast without learning on a part; its losses are not defined (NaN)."""

    @abstractmethod
    def pick(self, homes: NDArray[np.int64]) -> Cohort:
        """Return the cohort of some of these homes, by their positions here."""

    def keeps(self) -> NDArray[np.bool_]:
        """Return of which homes fitted models stay in memory, ``[homes]``."""
        return np.ones(len(self.homes), np.bool_)

    def forget_model(self, *, but: str = "") -> None:
        """Forget what was computed from the fleet's model, or what homes keep beside it.

        Args:
            but: What begins so is kept.
        """
        for what in [what for what in self.memory if what.startswith(OF_MODEL)]:
            if not but or not what.startswith(but):
                del self.memory[what]

    def recall(self, what: str, compute: Callable[[Cohort], Sequence[Any]]) -> list[Any]:
        """Return what each home computed, computing what it has not yet.

        Args:
            what: What it is, with all that it depends on besides the home and the plan.
            compute: From some of the homes to what it is for each, in their order.
        """
        known = self.memory.setdefault(what, {})
        missing = [place for place, home in enumerate(self.homes) if home not in known]
        if missing:
            some = self if len(missing) == len(self.homes) else self.pick(np.array(missing))
            known.update(zip(some.homes, compute(some), strict=True))
        return [known[home] for home in self.homes]
