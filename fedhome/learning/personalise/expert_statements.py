"""What a model states of homes' rows, and what it is in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.fitted import Fitted
from fedhome.learning.tasks.segments import Floats


class Statements(NamedTuple):
    """What a model states of homes' rows, one home after the other.

    ``validation`` and ``test`` are ``[rows, outputs]`` each.
    """

    validation: Floats
    test: Floats


class ExpertStatements(NamedTuple):
    """What a model states, and what it is in each home, ``[homes]``.

    It is parameters of the network ``[size]``, or a fitted model; None where it is not kept.
    ``by_others`` ``[validation rows, outputs]`` is what it states of each validation row as rows
    elsewhere would have it fitted; None where homes choose nothing by their validation rows alone.
    """

    stated: Statements
    models: Sequence[NDArray[np.float32] | Fitted | None]
    by_others: Floats | None = None
