"""How errors fall with the rows that models are fitted to, and what they would be of more rows.

Over a stretch of a learning curve the error falls about as a power of the number of rows. So what
a third of the rows and all of them come to tells how far a model will err that has more rows than
anybody saw. A fall that is not sure is none: drawn on over many times the rows, it would promise
what nothing bears out.

Sources: Cortes et al., "Learning curves: asymptotic values and rate of convergence", NIPS 1993;
Hestness et al., "Deep learning scaling is predictable, empirically", 2017 (powers of rows).
"""

from __future__ import annotations

import numpy as np

from fedhome.learning.tasks.segments import Floats

_FLOOR = 1e-3  # of the error of no learning: a logarithm of less tells rounding
_FEWEST = 2  # homes; of one there is no standard error


def sure_falls(rows: Floats, errors: Floats) -> Floats:
    """Return by which power of the rows each model's error surely falls, ``[models]``.

    It is the slope of the logarithms, home by home on the same later rows, less a standard error
    over homes; 0 where the error does not surely fall.

    Args:
        rows: How many rows each home's models were fitted to, fewer and more, ``[2, homes]``.
        errors: What they erred then, ``[2, homes, models]``.
    """
    further = np.log(rows[1] / rows[0])[:, None]
    changes = np.diff(np.log(np.maximum(errors, _FLOOR)), axis=0)[0]
    spread = float(np.sum(further**2))
    homes = len(further)
    if homes < _FEWEST or not spread:
        return np.zeros(errors.shape[2])
    slope = np.sum(further * changes, axis=0) / spread
    each = further * (changes - further * slope)
    error = np.sqrt(np.sum(each**2, axis=0) * homes / (homes - 1)) / spread
    return np.asarray(np.minimum(slope + error, 0.0), np.float64)


def drawn_on(matrix: Floats, falls: Floats, times: float) -> Floats:
    """Return how models' errors go together if they are fitted to some times as many rows.

    Each model's error falls by its power; how errors agree stays.

    Args:
        matrix: The mean products of their errors ``[models, models]``.
        falls: As of `sure_falls` ``[models]``.
        times: How many times the rows; no fewer rows than were seen, so 1 at least.
    """
    shrunk = max(times, 1.0) ** (falls / 2)
    return np.asarray(matrix * shrunk[:, None] * shrunk[None, :], np.float64)
