"""IFCA: Ghosh et al., NeurIPS 2020, arXiv:2006.04088, algorithm 1.

There are several models. In a round each home takes the one that errs least on its training rows,
learns that one alone, and leaves the others as they came::

    j = argmin_j F_k(w_j);      w_j,k <- descent of F_k from w_j;      w_i,k = w_i for all other i
    w_j <- sum_k n_k / n * w_j,k

All models travel in one vector, so that every home sends numbers of the same shape: one secure sum
does not say who chose which. It does say what all those learnt together that chose one. The mean is
over all homes, as the paper's "gradient averaging" has it: a model that a tenth of them chose moves
a tenth as far as if they were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedhome.learning.methods.method import Method
from fedhome.plan.settings import Plan
from fedhome.wire.layout import Layout

if TYPE_CHECKING:
    from torch import nn

    from fedhome.learning.cohort import Cohort
    from fedhome.learning.home_round import HomeRound, RoundEnd

_CHOICE = "choice"  # fedhome.models.clusters says the same; that loads torch

_NO_MODEL = -1


class Ifca(Method):
    """Several shared models, of which each home learns and uses the one that suits it.

    Args:
        clusters: How many.
    """

    shown: ClassVar[str] = (
        "this plan has several models, of which each home chooses one. A sum is opened of each: of "
        "one that this home alone chose it is this home's own update. Sums with this home and "
        "without it tell which one it chose."
    )

    clusters: int = Field(2, ge=2, le=16)

    def module(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """Return as many of the plan's models side by side, each with first numbers of its own."""
        from fedhome.models.clusters import Clusters  # noqa: PLC0415 - it loads torch

        return Clusters([make(number) for number in range(self.clusters)])

    def plain(self, params: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the model that a home chose."""
        from fedhome.models.clusters import chosen  # noqa: PLC0415 - it loads torch

        return chosen(params)

    def private(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the choice."""
        del names
        return frozenset({_CHOICE})

    def still(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the choice: losses decide it, and no gradient."""
        del names
        return frozenset({_CHOICE})

    def settle(self, cohort: Cohort, params: NDArray[np.float32]) -> NDArray[np.float32]:
        """Let each home choose the model that errs least on its training rows."""
        from fedhome.learning.home_round import private_places  # noqa: PLC0415 - it loads torch

        places = private_places(self, cohort.learning.layout)
        each = np.eye(self.clusters, dtype=np.float32)
        losses = []
        for choice in each:
            tried = params.copy()
            tried[:, places] = choice
            losses.append(cohort.evaluate(tried, "train").losses)
        best = np.argmin(np.nan_to_num(losses, nan=np.inf), axis=0)
        settled = params.copy()
        settled[:, places] = each[best]
        return settled

    def round(self, homes: HomeRound) -> RoundEnd:
        """Choose, and learn what was chosen."""
        from fedhome.learning.home_round import RoundEnd  # noqa: PLC0415 - it loads torch

        start = self.settle(homes.cohort, homes.start)
        used = self._in_use(homes.cohort.learning.layout, start)
        # Where nobody learns, zeros: nothing of the others reaches a clipped gradient or decays.
        trained = homes.train(np.where(used, start, np.float32(0)))
        return RoundEnd(trained._replace(params=np.where(used, trained.params, start)), homes.own)

    def _in_use(self, layout: Layout, params: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which numbers are of a home's chosen model, or the choice, ``[homes, size]``."""
        parts = zip(layout.names, layout.sizes, strict=True)
        model = np.concatenate([np.full(size, _model_of(name)) for name, size in parts])
        chosen = np.argmax(params[:, model == _NO_MODEL], axis=1)
        used = (model == chosen[:, None]) | (model == _NO_MODEL)
        return np.asarray(used, np.bool_)

    @classmethod
    def note_on(cls, plan: Plan) -> str:
        """Say that a model's sum is over the homes that chose it, however few these are."""
        summed = plan.aggregation.mode != "plain" and plan.privacy.mechanism == "none"
        if plan.method.name != "ifca" or not summed:
            return ""
        return (
            "method ifca: of each of its models, sums show what the homes learnt that chose it; of "
            "one that a single home chose, that home's update. Where that must not be, take "
            "another method, or noise: privacy.mechanism"
        )

    @classmethod
    def fault_on(cls, plan: Plan) -> str:
        """Refuse what would take all models for one."""
        if plan.personalise.name in ("fine-tune-head", "knn-per"):
            return (
                f"personalise.name = {plan.personalise.name} knows one model, and the method ifca "
                "has several: set personalise.name = fine-tune"
            )
        return ""


def _model_of(name: str) -> int:
    return _NO_MODEL if name == _CHOICE else int(name.split(".")[1])
