"""APFL: Deng et al., 2020, arXiv:2003.13461, algorithm 1.

Beside the fleet's model ``w`` each home has one of its own, ``v_k``, and uses a mixture of the two;
how much of it is its own, ``a_k``, it learns too. Neither leaves the home::

    w_k <- descent of F_k from w_t, which is what leaves
    v_k <- descent of F_k(a_k v + (1 - a_k) w_t) along v, from v_k
    a_k <- a_k - rate * d/da F_k(a v_k + (1 - a) w_t)

In the paper all three move step by step together; here one after the other, against the ``w_t``
that came, and ``a_k`` once in a round, over all training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.learning.methods.steps import Scaled
from fedhome.plan.settings import Plan

if TYPE_CHECKING:
    from fedhome.learning.home_round import HomeRound, RoundEnd

_OWN, _SHARE = "own model", "share"
_LEAST = 0.01  # below it the own model would hardly learn, and float32 lose what it did
_STEP = 1e-3  # how far to either side of the share a loss is looked at


class Apfl(Method):
    """The fleet's model as ever, and a mixture of it with one of the home's own.

    Args:
        share: Share of the home's own in the mixture at first (alpha of the paper).
        share_rate: Learning rate of the share; 0: it stays as it is.
    """

    share: float = Field(0.5, ge=_LEAST, le=1)
    share_rate: float = Field(0.1, ge=0)

    def first(self, shared: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Return the fleet's model, where a home's own begins, and the first share."""
        return {_OWN: shared, _SHARE: np.array([self.share], np.float32)}

    def round(self, homes: HomeRound) -> RoundEnd:
        """Learn the fleet's model, then the home's own within the mixture, then its share."""
        from fedhome.learning.home_round import RoundEnd  # noqa: PLC0415 - it imports methods

        trained = homes.train(homes.start)
        own, share = homes.own[_OWN], homes.own[_SHARE]  # [homes, size], [homes, 1]
        mixed = _mixed(own, homes.shared, share)
        # A step of v along its gradient, a * grad F, moves the mixture by a times that step.
        scale = np.broadcast_to(share**2, own.shape)
        moved = homes.train(mixed, phase=1, method=Scaled(), towards=scale).params
        own = own + (moved - mixed) / share
        if self.share_rate:
            sides = [
                homes.cohort.evaluate(_mixed(own, homes.shared, share + step), "train").losses
                for step in (_STEP, -_STEP)
            ]
            slope = ((sides[0] - sides[1]) / (2 * _STEP)).astype(np.float32)
            share = np.clip(share - self.share_rate * slope[:, None], _LEAST, 1)
        return RoundEnd(trained, {_OWN: own, _SHARE: share})

    def ends(
        self, start: NDArray[np.float32], own: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the homes' mixtures."""
        return _mixed(own[_OWN], start, own[_SHARE])

    @classmethod
    def fault_on(cls, plan: Plan) -> str:
        """Refuse steps that do not grow with the gradient: the mixture's would not be v's."""
        wrong = [
            setting
            for setting, holds in (
                ("train.optimiser = sgd", plan.train.optimiser == "sgd"),
                ("train.weight_decay = 0", plan.train.weight_decay == 0),
            )
            if not holds
        ]
        return f"the method apfl trains by {' and '.join(wrong)} alone: set that" if wrong else ""


def _mixed(
    own: NDArray[np.float32], shared: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    return share * own + (1 - share) * shared
