"""FedPer: Arivazhagan et al., 2019, arXiv:1912.00818, algorithms 1 and 2.

The model's last layers are each home's own, and only the ones before are averaged. In a round home
``k`` puts its own head ``h_k`` on the body ``w`` that came, and descends along both together::

    (w_k, h_k) <- descent of F_k from (w, h_k);      w <- sum_k n_k / n * w_k;      h_k stays
"""

from __future__ import annotations

from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.learning.methods.model_layers import last_layers


class FedPer(Method):
    """Descent of a shared body under a head of the home's own.

    Args:
        layers: How many of the model's last layers are the head.
    """

    layers: int = Field(1, ge=1)

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the head's parameters."""
        return last_layers(names, self.layers)
