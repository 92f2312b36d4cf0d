"""scikit-learn without scipy's statistics, of which what a home fits calls nothing.

scikit-learn imports them all, for its scores: half a second and 15 MB of a home's worker, on a
device whose memory is scarce.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_STATISTICS = "scipy.stats"


class _Later:
    """A name of scipy's statistics, which are loaded when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._there()(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._there(), name)

    def _there(self) -> Any:
        if isinstance(sys.modules.get(_STATISTICS), _StandIn):
            del sys.modules[_STATISTICS]
        return getattr(import_module(_STATISTICS), self._name)


class _StandIn(ModuleType):
    """Has any public name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # no package, and no file
            raise AttributeError(name)
        return _Later(name)


@contextmanager
def without_statistics() -> Iterator[None]:
    """Import scikit-learn in here: scipy's statistics are loaded when something calls them."""
    if _STATISTICS not in sys.modules:
        sys.modules[_STATISTICS] = _StandIn(_STATISTICS)
    try:
        yield
    finally:
        if isinstance(sys.modules.get(_STATISTICS), _StandIn):
            del sys.modules[_STATISTICS]
