"""LG-FedAvg: Liang et al., 2020, arXiv:2001.01523, algorithm 1.

The other way round than FedPer: the model's first layers are each home's own, which turn its
readings into a representation ``l_k`` of its own, and the layers above them are averaged. Both are
trained together::

    (l_k, w_k) <- descent of F_k from (l_k, w);      w <- sum_k n_k / n * w_k;      l_k stays
"""

from __future__ import annotations

from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.learning.methods.model_layers import first_layers


class LgFedAvg(Method):
    """Descent of shared upper layers over lower ones of the home's own.

    Args:
        layers: How many of the model's first layers are the home's own.
    """

    layers: int = Field(1, ge=1)

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the lower layers' parameters."""
        return first_layers(names, self.layers)
