"""Home embedding: Bui et al., 2019, arXiv:1909.12535 (FURL), sections 3.1 and 3.2.

Every home has a short vector ``e_k`` that says how it differs, is trained with the model, and never
leaves it. Joined to the input of the first layer it shifts what that layer says; here that shift
is itself the vector, one number for each unit of the layer, in the place of its bias::

    h(x) = W x + e_k;      (w_k, e_k) <- descent of F_k from (w, e_k);      e_k stays

So the model needs no further input, and what a home keeps is a model like any other.
"""

from __future__ import annotations

from fedhome.errors import PluginError
from fedhome.learning.methods.method import Method
from fedhome.learning.methods.model_layers import first_layers


class HomeEmbedding(Method):
    """Descent of a shared model whose first layer each home shifts by a vector of its own."""

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the first layer's bias.

        Raises:
            PluginError: It has none.
        """
        found = frozenset(n for n in first_layers(names, 1) if n.rpartition(".")[2] == "bias")
        if not found:
            raise PluginError(
                "the method home-embedding shifts the model's first layer, which has no bias",
                hint="give that layer a bias, or take another method",
            )
        return found
