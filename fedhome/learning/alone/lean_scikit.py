"""scikit-learn without scipy's statistics, of which what a home fits calls nothing.

scikit-learn imports them all, for its scores: half a second and 15 MB of a home's worker, on a
device whose memory is scarce. Only such a process of our own goes without: a user's has
scikit-learn as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_PACKAGE, _STATISTICS = "sklearn", "scipy.stats"
_spared = False


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


def spare_statistics() -> None:
    """Let :func:`scikit` go without scipy's statistics from now on, in a process of our own."""
    global _spared  # noqa: PLW0603 - of the process, as what is imported is
    _spared = True


def scikit(module: str) -> ModuleType:
    """Import a module of scikit-learn.

    Args:
        module: Its name in the package, such as ``"ensemble"``.
    """
    name = f"{_PACKAGE}.{module}"
    if not _spared:
        return import_module(name)
    before = set(sys.modules)
    try:
        with _without_statistics():
            return import_module(name)
    except Exception:  # noqa: BLE001 - a scikit-learn that needs more than their names
        for half in set(sys.modules) - before:
            if half.split(".")[0] == _PACKAGE:
                del sys.modules[half]
        return import_module(name)


@contextmanager
def _without_statistics() -> Iterator[None]:
    """In here scipy's statistics have but names, and are loaded when one of them is used."""
    if _STATISTICS not in sys.modules:
        sys.modules[_STATISTICS] = _StandIn(_STATISTICS)
    try:
        yield
    finally:
        if isinstance(sys.modules.get(_STATISTICS), _StandIn):
            del sys.modules[_STATISTICS]
