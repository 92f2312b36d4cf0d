"""NewMethod: who had the idea, when and where, and which formula of theirs this file is.

In a round home ``k`` puts its own last layer ``h_k`` on the layers ``w`` that came, and descends
along its loss with a pull towards where the round began::

    (w_k, h_k) <- descent along grad F_k + strength * ((w_k, h_k) - (w, h_k at the start))

The layers ``w_k`` leave the home, and the server takes their mean; ``h_k`` never does.
"""

from pydantic import Field

from fedhome.methods import Method, Params, last_layers


class NewMethod(Method):
    """Descent with a pull, under a last layer of the home's own.

    Args:
        strength: How strong the pull is; 0: none.
    """

    strength: float = Field(0.1, ge=0)

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        """Return what a step goes along; torch alone, as many homes step at once."""
        return {
            name: slope + self.strength * (params[name] - start[name])
            for name, slope in gradient.items()
        }

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the parameters that stay at home."""
        return last_layers(names, 1)
