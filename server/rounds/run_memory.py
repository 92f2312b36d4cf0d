"""What a run remembers beside its model: of its strategy, its sums' scale, its own homes."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fedhome.errors import RunError
from fedhome.flower.strategy_layers import layers_of
from fedhome.learning.own_state import StatesInMemory
from fedhome.server.rounds import strategy_memory
from fedhome.server.rounds.checkpoint import Checkpoint
from fedhome.server.rounds.secure_grid import SecureGrid

_CUT_AT_HOME = (
    flower.DifferentialPrivacyClientSideFixedClipping,
    flower.DifferentialPrivacyClientSideAdaptiveClipping,
)


class RunMemory:
    """Puts what a run remembers into its state, and gives it back.

    Args:
        strategy: The run's strategy.
        grid: How messages travel.
        states: What the method keeps in a simulation's homes; None: homes keep it themselves.
    """

    def __init__(self, strategy: Strategy, grid: Grid, states: StatesInMemory | None) -> None:
        self._strategy, self._grid, self._states = strategy, grid, states

    def keep(self, state: Checkpoint) -> None:
        """Put it into a state, for its checkpoint."""
        state.memory, state.arrays = strategy_memory.remember(self._strategy)
        if self._states is not None:
            state.own, state.own_arrays = self._states.remember()
        if isinstance(self._grid, SecureGrid):
            state.scale = self._grid.scale.memory()

    def give_back(self, state: Checkpoint) -> None:
        """Take it from a checkpoint's state.

        Raises:
            RunError: It holds what could not be written as plain data.
        """
        if state.memory:
            strategy_memory.recall(self._strategy, state.memory, state.arrays)
        if self._states is not None:
            self._states.recall(state.own, state.own_arrays)
        if state.scale and isinstance(self._grid, SecureGrid):
            self._grid.scale.recall(state.scale)

    def check_tried(self, *, homes: bool) -> None:
        """Refuse a strategy with which rates cannot be tried.

        Args:
            homes: Homes' rates are tried: the strategy is given the first sum as of others.

        Raises:
            RunError: Its memory holds what is no plain data, so it could not be given back as it
                was; or homes cut off what they send it.
        """
        for layer in layers_of(self._strategy) if homes else ():
            if isinstance(layer, _CUT_AT_HOME):
                raise RunError(
                    f'train.rate = "auto" does not go with {type(layer).__name__}: homes cut their '
                    "updates off before they are added up, so the first sum does not say what it "
                    "would be at another rate",
                    hint="name train.rate; the server's can be chosen",
                )
        memory, _ = strategy_memory.remember(self._strategy)
        kept = list(strategy_memory.unknown_in(memory, type(self._strategy).__name__))
        if kept:
            raise RunError(
                "rates cannot be tried with a strategy whose memory cannot be copied, for each "
                f"attempt begins with the first one's: {'; '.join(kept)}",
                hint="keep numbers, arrays, lists and dictionaries in the strategy's attributes; "
                "or name train.rate and strategy.rate",
            )

    def of_strategy(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]], float | None]:
        """Return what an attempt goes on from: the strategy's memory, its arrays, sums' clip."""
        memory, arrays = strategy_memory.remember(self._strategy)
        kept = {name: np.array(values) for name, values in arrays.items()}
        clip = self._grid.scale.clip if isinstance(self._grid, SecureGrid) else None
        return memory, kept, clip

    def to_strategy(
        self,
        memory: dict[str, Any],
        arrays: dict[str, NDArray[Any]],
        clip: float | None,
        *,
        further: float = 1.0,
    ) -> None:
        """Go on from what :meth:`of_strategy` returned.

        Args:
            memory: The strategy's memory.
            arrays: Its arrays.
            clip: Sums' clip; None: nothing is summed in fixed point.
            further: How many times as far homes are to go from here.
        """
        strategy_memory.recall(self._strategy, memory, arrays)
        if clip is not None and isinstance(self._grid, SecureGrid):
            self._grid.scale.follow(clip, further)
