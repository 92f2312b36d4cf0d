"""Personalisers: one file an algorithm, all behind the same two functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import isfunction
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.errors import PluginError
from fedhome.learning.cohort import Cohort
from fedhome.learning.personalise import fine_tune, fine_tune_head
from fedhome.learning.personalise.experts import Adapter, OwnStatements
from fedhome.learning.personalise.knn_per import KnnPer
from fedhome.own_code import call, kind_told
from fedhome.plan.settings import PersonaliseSettings
from fedhome.plugins import load

__all__ = ["PERSONALISERS", "Personaliser", "choose", "personaliser"]

Way = TypeVar("Way")


class Personaliser(Adapter, Protocol):
    """What turns the global model into each home's own: one expert of its mixture."""

    def trial(
        self, cohort: Cohort, start: NDArray[np.float32], settings: PersonaliseSettings
    ) -> NDArray[np.float64]:
        """Return factors of the validation loss, float64 ``[homes, rates, 1 + epochs]``."""


class CheckedPersonaliser:
    """A personaliser of a user's own, of which every answer is looked at before it is used.

    Args:
        name: Its name in the plan.
        own: It.
    """

    def __init__(self, name: str, own: Personaliser) -> None:
        self.own, self._name = own, name

    def trial(
        self, cohort: Cohort, start: NDArray[np.float32], settings: PersonaliseSettings
    ) -> NDArray[np.float64]:
        """Return what its ``trial`` does: as of :class:`Personaliser`.

        Raises:
            PluginError: It is no array ``[homes, rates, 1 + epochs]``.
        """
        shape = (len(cohort.homes), len(settings.rates), 1 + settings.epochs)
        return self._array("trial", self.own.trial(cohort, start, settings), shape)

    def adapt(
        self, cohort: Cohort, start: NDArray[np.float32], *, rate: float, epochs: int, part: Part
    ) -> NDArray[np.float32]:
        """Return what its ``adapt`` does: as of :class:`.experts.Adapter`.

        Raises:
            PluginError: It is no array ``[homes, size]``.
        """
        found = self.own.adapt(cohort, start, rate=rate, epochs=epochs, part=part)
        return self._array("adapt", found, (len(cohort.homes), start.shape[-1]))

    def _array(self, of: str, found: object, shape: tuple[int, ...]) -> NDArray[Any]:
        if isinstance(found, np.ndarray) and found.shape == shape:
            return found
        is_ = list(found.shape) if isinstance(found, np.ndarray) else kind_told(found)
        raise PluginError(
            f"{of}() of personaliser {self._name!r} returned {is_}, not an array {list(shape)}",
            hint="docs/evaluation.md, Your own personaliser, says what both functions return",
        )


PERSONALISERS: Mapping[str, Personaliser] = {
    "fine-tune": fine_tune,
    "fine-tune-head": fine_tune_head,
    "knn-per": KnnPer(),
}
"""Every personaliser by its name in a plan."""


def personaliser(name: str) -> Personaliser:
    """Return a personaliser by name: one of :data:`PERSONALISERS`, or a user's own.

    One's own is an object or a module with both functions, or a class or function that gives one.

    Raises:
        PluginError: It is not found, fails, or lacks one of the two functions.
    """
    found: Any = PERSONALISERS.get(name)
    if found is None:
        found = load(name, "personaliser", [*PERSONALISERS, "none"])
    if isinstance(found, type) or isfunction(found):
        found = call(f"personaliser {name!r}", found)
    wanted = ("trial", "adapt")
    if lacking := [f"{one}()" for one in wanted if not callable(getattr(found, one, None))]:
        raise PluginError(
            f"personaliser {name!r} lacks {' and '.join(lacking)}",
            hint="docs/evaluation.md shows one of one's own, with trial() and adapt()",
        )
    checked = name not in PERSONALISERS and not isinstance(found, OwnStatements)
    return CheckedPersonaliser(name, found) if checked else cast("Personaliser", found)


def choose(changes: NDArray[np.float64], ways: Sequence[Way]) -> tuple[Way, int]:
    """Return the way to step and the place of the number of passes that are best for the fleet.

    Args:
        changes: Mean over homes of the factors of a trial, float64 ``[ways, passes]``.
        ways: The ways, or their rates, that were tried.
    """
    index, place = np.unravel_index(int(np.argmin(changes)), changes.shape)
    return ways[int(index)], int(place)
