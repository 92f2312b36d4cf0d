"""Trees alone: boosted ones or a forest of numbers, a forest of classes.

Sources: Ke et al., "LightGBM", NeurIPS 2017 (histograms); Breiman, "Random forests", 2001; both
as scikit-learn has them. How many boosted trees, how small a leaf may be, and which of the two
is taken for numbers, the home's validation rows say. Homes with few rows have the forest alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fedhome.learning.alone.own_rows import OwnRows, best_of
from fedhome.learning.tasks.segments import Floats

_BOOSTED, _RATE = 150, 0.07
_BOOSTED_FROM = 200  # training rows: of fewer a forest makes more, in a tenth of the time
_TREES = 30
_LEAVES = (1, 3)  # least rows in a forest's leaf


def fit(rows: OwnRows) -> tuple[Floats, Floats]:
    """Return what they state on validation rows and on test rows, ``[rows, outputs]`` each.

    Args:
        rows: The home's rows.
    """
    if rows.only_one_target():
        return rows.commonest()
    x, y = rows.x[0], rows.labels(rows.y[0])
    tried = [_forests(rows, x, y, leaf) for leaf in _LEAVES]
    if not rows.classes and len(y) >= _BOOSTED_FROM:
        tried.append(_boosted(rows, x, y))
    validation, again = tried[best_of(rows, [stated for stated, _ in tried])]
    every_x, every_y = rows.together()
    return validation, rows.stated(again().fit(every_x, rows.labels(every_y)), rows.x[2])


def _forests(rows: OwnRows, x: Any, y: Any, leaf: int) -> tuple[Floats, Callable[[], Any]]:
    """Return what a forest states, and how to grow it again."""
    return rows.stated(_forest(rows, leaf).fit(x, y), rows.x[1]), lambda: _forest(rows, leaf)


def _forest(rows: OwnRows, leaf: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # noqa: PLC0415

    kind = RandomForestClassifier if rows.classes else RandomForestRegressor
    own = {"max_features": "sqrt" if rows.classes else 1 / 3}
    return kind(_TREES, min_samples_leaf=leaf, random_state=0, n_jobs=1, **own)


def _boosted(rows: OwnRows, x: Any, y: Any) -> tuple[Floats, Callable[[], Any]]:
    """Return what boosted trees state after as many as are best, and how to grow as many."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415

    def grown(trees: int) -> Any:
        leaf = int(np.clip(len(y) // 20, 3, 20))
        return HistGradientBoostingRegressor(
            max_iter=trees,
            learning_rate=_RATE,
            min_samples_leaf=leaf,
            early_stopping=False,
            random_state=0,
        )

    stages = [
        np.repeat(np.asarray(stage, np.float64).reshape(-1, 1), rows.outputs, axis=1)
        for stage in grown(_BOOSTED).fit(x, y).staged_predict(rows.x[1])
    ]
    best = best_of(rows, stages)
    return stages[best], lambda: grown(best + 1)
