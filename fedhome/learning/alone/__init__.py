"""What a home can do alone: the opponents that a fleet has to beat, and experts of its mixture.

One file a kind. Each is fitted to the home's training rows, tuned on its validation rows, and
fitted once more to both, as a careful owner of one home's data would do it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedhome.learning.alone import linear, trees
from fedhome.learning.alone.each_horizon import Fitter, fitted_alone
from fedhome.learning.alone.own_rows import FittedAlone, OwnRows

__all__ = ["FITTERS", "FittedAlone", "OwnRows", "fitted_alone"]

FITTERS: Mapping[str, Fitter] = {"linear": linear.fit, "trees": trees.fit}
"""Every model that is fitted without a network, by its name."""
