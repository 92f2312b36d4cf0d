"""Models: the multilayer perceptron, and what a module of one's own must be.

``__all__`` is public: :func:`check_module` refuses what cannot be trained in a federation, with
every reason; :func:`mlp` is for modules that build on ours; :func:`places_in` and
:func:`first_places` are for modules that declare their slices. All load torch, and only their use
does: where a slice lies in a model (:mod:`.slicing`) a home without torch has to know too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedhome.models.check import check_module
    from fedhome.models.declared_places import first_places, places_in
    from fedhome.models.mlp import mlp

__all__ = ["check_module", "first_places", "mlp", "places_in"]

_LATER = {
    "check_module": "fedhome.models.check",
    "first_places": "fedhome.models.declared_places",
    "mlp": "fedhome.models.mlp",
    "places_in": "fedhome.models.declared_places",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'fedhome.models' has no attribute {name!r}")


class _Room(ModuleType):
    """A room with a function and a module of one name, of which the name is the function's."""

    def __setattr__(self, name: str, value: object) -> None:
        # Python puts each module that it has loaded into its room under its name.
        if name in _LATER and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Room
