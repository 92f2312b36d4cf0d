"""Trees alone: boosted ones or a forest of numbers, a forest of classes.

Sources: Ke et al., "LightGBM", NeurIPS 2017 (histograms); Breiman, "Random forests", 2001; both
as scikit-learn has them. How many boosted trees, how small a leaf may be, and which of the two
is taken for numbers, the home's validation rows say. Homes with few rows have the forest alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fedhome.learning.alone.lean_scikit import scikit
from fedhome.learning.alone.own_rows import FittedAlone, OwnRows, choice_of
from fedhome.learning.fitted import Trees
from fedhome.learning.fitted.trees import OneTree
from fedhome.learning.tasks.segments import Floats

_BOOSTED, _RATE = 150, 0.07
_BOOSTED_FROM = 200  # training rows: of fewer a forest makes more, in a tenth of the time
_TREES = 30
_LEAVES = (1, 3)  # least rows in a forest's leaf
_INPUTS = 1 / 3  # of inputs that a split may choose from: of many, a root of them is too few


def fit(rows: OwnRows) -> FittedAlone:
    """Return what they state on validation rows and on test rows, and themselves.

    Args:
        rows: The home's rows.
    """
    if rows.only_one_target():
        return rows.commonest()
    x, y = rows.x[0], rows.labels(rows.y[0])
    tried = [_forests(rows, x, y, leaf) for leaf in _LEAVES]
    if not rows.classes and len(y) >= _BOOSTED_FROM:
        tried += _boosted(rows, x, y)
    choice = choice_of(rows, [stated for stated, _ in tried])
    every_x, every_y = rows.together()
    final = tried[choice.best][1]().fit(every_x, rows.labels(every_y))
    test = rows.stated(final, rows.x[2])
    return FittedAlone(choice.stated, test, choice.by_others, _plain(rows, final))


def _plain(rows: OwnRows, model: Any) -> Trees:
    """Return trees as what they compute."""
    if hasattr(model, "_predictors"):
        # No public name leads to boosted trees' nodes; a test holds the two equal.
        nodes = [one[0].nodes for one in model._predictors]  # noqa: SLF001
        base = float(model._baseline_prediction.ravel()[0])  # noqa: SLF001
        boosted = (
            OneTree(
                np.where(tree["is_leaf"], -1, tree["feature_idx"]).astype(np.int64),
                np.asarray(tree["num_threshold"], np.float64),
                tree["left"].astype(np.int64),
                tree["right"].astype(np.int64),
                np.asarray(tree["value"], np.float64)[:, None],
            )
            for tree in nodes
        )
        return Trees.grown(boosted, base=base, mean=False, outputs=rows.outputs)
    forest = (
        OneTree(
            np.where(tree.children_left < 0, -1, tree.feature),
            np.asarray(tree.threshold, np.float64),
            np.maximum(tree.children_left, 0),
            np.maximum(tree.children_right, 0),
            np.asarray(tree.value, np.float64)[:, 0, :],
        )
        for tree in (grown.tree_ for grown in model.estimators_)
    )
    classes = [int(one) for one in model.classes_] if rows.classes else ()
    return Trees.grown(forest, mean=True, classes=classes, outputs=rows.outputs)


def _forests(rows: OwnRows, x: Any, y: Any, leaf: int) -> tuple[Floats, Callable[[], Any]]:
    """Return what a forest states, and how to grow it again."""
    return rows.stated(_forest(rows, leaf).fit(x, y), rows.x[1]), lambda: _forest(rows, leaf)


def _forest(rows: OwnRows, leaf: int) -> Any:
    kinds = scikit("ensemble")
    kind = kinds.RandomForestClassifier if rows.classes else kinds.RandomForestRegressor
    return kind(_TREES, min_samples_leaf=leaf, max_features=_INPUTS, random_state=0, n_jobs=1)


def _boosted(rows: OwnRows, x: Any, y: Any) -> list[tuple[Floats, Callable[[], Any]]]:
    """Return what boosted trees state after each one, and how to grow as many."""
    boosting = scikit("ensemble").HistGradientBoostingRegressor

    def grown(trees: int) -> Any:
        leaf = int(np.clip(len(y) // 20, 3, 20))
        return boosting(
            max_iter=trees,
            learning_rate=_RATE,
            min_samples_leaf=leaf,
            early_stopping=False,
            random_state=0,
        )

    stages = grown(_BOOSTED).fit(x, y).staged_predict(rows.x[1])
    return [
        (
            np.repeat(np.asarray(stage, np.float64).reshape(-1, 1), rows.outputs, axis=1),
            partial(grown, trees),
        )
        for trees, stage in enumerate(stages, start=1)
    ]
