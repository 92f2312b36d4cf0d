"""FedRep: Collins et al., ICML 2021, arXiv:2102.07078, algorithm 1.

The model's last layers are each home's own, as with FedPer, but head and body are not trained
together: in a round home ``k`` first fits its head ``h_k`` to the body ``w`` that came, and then
the body to that head::

    h_k <- descent of F_k(w, .) from h_k, which stays;
    w_k <- descent of F_k(., h_k) from w, which leaves;      w <- sum_k n_k / n * w_k
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.learning.methods.model_layers import last_layers
from fedhome.learning.methods.steps import OnlyThese

if TYPE_CHECKING:
    from fedhome.learning.home_round import HomeRound, RoundEnd


class FedRep(Method):
    """A shared body; each round first the home's own head is fitted to it, then it to the head.

    Args:
        layers: How many of the model's last layers are the head.
        head_epochs: Passes for the head; 0: as many passes or steps as the plan has. The body
            always has these.
    """

    layers: int = Field(1, ge=1)
    head_epochs: int = Field(0, ge=0)

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the head's parameters."""
        return last_layers(names, self.layers)

    def round(self, homes: HomeRound) -> RoundEnd:
        """Fit the head, then the body."""
        from fedhome.learning.home_round import RoundEnd  # noqa: PLC0415 - it imports methods

        names = homes.cohort.learning.layout.names
        head = self.private(names)
        fitted = homes.train(
            homes.start,
            phase=1,
            epochs=self.head_epochs or None,
            method=OnlyThese(names=tuple(name for name in names if name in head)),
        )
        body = OnlyThese(names=tuple(name for name in names if name not in head))
        return RoundEnd(homes.train(fitted.params, method=body), homes.own)
