"""What all sums of a run tell together: whose numbers follow from them by linear algebra.

Each opened sum is an equation in what the homes in it added. Where homes' numbers stay the same
from sum to sum (as their numbers of examples do), the equations of a run may be enough to solve
for single homes, whatever a single sum hides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedhome.secagg import graph

MOST_HOMES = 512
"""Of more homes nothing is computed: it takes time with the cube of their number."""
_SOLVED = 1e-6
_AWAY = b"fedhome/away/2"


def solved(equations: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for which homes a number follows from sums, bool ``[homes]``.

    Args:
        equations: Who is in each sum, 0 or 1, float64 ``[sums, homes]``.
    """
    _, sizes, rows = np.linalg.svd(equations, full_matrices=False)
    basis = rows[sizes > sizes.max(initial=0.0) * 1e-9]
    # A home's number follows if its own axis lies in the space that the equations span.
    inside: NDArray[np.bool_] = np.asarray((basis**2).sum(axis=0) > 1 - _SOLVED)
    return inside


def solved_in_a_run(
    homes: Sequence[str], *, groups: int, absent: Sequence[float], least: int
) -> int:
    """Return how many homes' numbers follow from all sums of a run, in one drawn example.

    Args:
        homes: The fleet.
        groups: Into how many groups it is split, for all of the run.
        absent: Of each sum in which the number is added up the share of homes that are not in it,
            each by itself.
        least: Fewest homes in a sum; a smaller one is not opened.
    """
    drawn = np.random.default_rng(0)
    index = {home: number for number, home in enumerate(homes)}
    parts = graph.groups(_AWAY, homes, groups)
    equations = []
    for away in absent:
        present = drawn.random(len(homes)) >= away
        for part in parts:
            row = np.zeros(len(homes))
            row[[index[home] for home in part if present[index[home]]]] = 1
            if row.sum() >= least:
                equations.append(row)
    return int(solved(np.array(equations)).sum()) if equations else 0
