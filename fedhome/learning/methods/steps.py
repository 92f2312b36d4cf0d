"""How a step of a method goes: pulled towards some parameters, scaled, or with some at rest."""

from __future__ import annotations

from fedhome.learning.methods.method import Method
from fedhome.learning.params import Params


class Pull(Method):
    """Descent that is pulled towards what ``towards`` of a training names.

    Args:
        strength: Times the way from there, added to the gradient.
    """

    strength: float

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        """Return the gradient with the pull."""
        return {
            name: g + self.strength * (params[name] - start[name]) for name, g in gradient.items()
        }


class Scaled(Method):
    """Descent along a multiple of the gradient: as many times as ``towards`` of a training says."""

    def gradient(self, gradient: Params, params: Params, start: Params) -> Params:
        """Return the multiple."""
        del params
        return {name: g * start[name] for name, g in gradient.items()}


class OnlyThese(Method):
    """Descent of some parameters; the others stand still.

    Args:
        names: Those that move.
    """

    names: tuple[str, ...]

    def still(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the others."""
        return frozenset(names) - set(self.names)
