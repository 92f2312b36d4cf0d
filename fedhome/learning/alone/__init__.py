"""What a home can do alone: the opponents that a fleet has to beat, and experts of its mixture.

One file a kind. Each is fitted to the home's training rows, tuned on its validation rows, and
fitted once more to both, as a careful owner of one home's data would do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fedhome.learning.alone import linear, trees
from fedhome.learning.alone.own_rows import OwnRows
from fedhome.learning.tasks.segments import Floats

__all__ = ["FITTERS", "OwnRows"]


Fitter = Callable[[OwnRows], tuple[Floats, Floats]]

FITTERS: Mapping[str, Fitter] = {"linear": linear.fit, "trees": trees.fit}
"""Every model that is fitted without a network, by its name: from a home's rows to what it states
on validation rows (fitted to training rows) and on test rows (fitted to both)."""
