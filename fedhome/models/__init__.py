"""Models: the multilayer perceptron, and what a module of one's own must be.

``__all__`` is public: :func:`check_module` refuses what cannot be trained in a federation, with
every reason; :func:`mlp` is for modules that build on ours; :func:`places_in` and
:func:`first_places` are for modules that declare their slices.
"""

from __future__ import annotations

from fedhome.models.check import check_module
from fedhome.models.declared_places import first_places, places_in
from fedhome.models.mlp import mlp

__all__ = ["check_module", "first_places", "mlp", "places_in"]
