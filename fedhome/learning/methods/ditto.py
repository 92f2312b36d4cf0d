"""Ditto: Li et al., ICML 2021, arXiv:2012.04221, algorithm 1.

Homes learn the fleet's model ``w`` as ever; beside it each has a model ``v_k`` of its own, which
never leaves it, and which it pulls towards the fleet's ``w_t`` of the round::

    w_k <- descent of F_k from w_t, which is what leaves
    v_k <- descent of F_k(v) + lambda / 2 * |v - w_t|^2 from v_k, which stays

With ``strength`` 0 that is a model trained alone, with a great one the fleet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.learning.methods.steps import Pull

if TYPE_CHECKING:
    from fedhome.learning.home_round import HomeRound, RoundEnd

_OWN = "own model"


class Ditto(Method):
    """The fleet's model as ever, and one of the home's own that is pulled towards it.

    Args:
        strength: How strongly (lambda of the paper).
    """

    strength: float = Field(0.1, ge=0)

    def first(self, shared: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Return the fleet's model: a home's own begins there."""
        return {_OWN: shared}

    def round(self, homes: HomeRound) -> RoundEnd:
        """Learn the fleet's model, then the home's own."""
        from fedhome.learning.home_round import RoundEnd  # noqa: PLC0415 - it imports methods

        trained = homes.train(homes.start)
        pull = Pull(strength=self.strength)
        own = homes.train(homes.own[_OWN], phase=1, method=pull, towards=homes.shared)
        return RoundEnd(trained, {_OWN: own.params})

    def ends(
        self, start: NDArray[np.float32], own: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the homes' own models."""
        del start
        return own[_OWN]
