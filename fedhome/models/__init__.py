"""Models: the multilayer perceptron, and what a module of one's own must be.

``__all__`` is public: :func:`check_module` refuses what cannot be trained in a federation, with
every reason; :func:`mlp` is for modules that build on ours.
"""

from __future__ import annotations

from fedhome.models.check import check_module
from fedhome.models.mlp import mlp

__all__ = ["check_module", "mlp"]
