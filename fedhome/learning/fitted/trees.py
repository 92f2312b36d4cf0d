"""Trees as arrays: a forest's mean, or the sum of boosted ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.learning.fitted.line import number_of_outputs, placed
from fedhome.learning.tasks.segments import Floats

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows

_ROWS = 4096  # rows that go down all trees at once


class OneTree(NamedTuple):
    """A tree's nodes.

    ``feature`` is which input is looked at (-1: none, it is a leaf), ``limit`` up to which value a
    row goes left, ``left`` and ``right`` where that is, ``[nodes]`` each, and ``value`` what a leaf
    says ``[nodes, columns]``.
    """

    feature: NDArray[np.int64]
    limit: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Floats


@dataclass(frozen=True)
class Trees:
    """Trees, their nodes one after the other.

    Args:
        roots: The node at which each begins ``[trees]``.
        feature: The input that a node looks at; -1: it is a leaf, int16 ``[nodes]``.
        limit: Up to which value a row goes left, float32 ``[nodes]``.
        left: Where, int32 ``[nodes]``.
        right: The other way, int32 ``[nodes]``.
        value: What a leaf says, float32 ``[nodes, columns]``.
        base: What is added to the sum of all trees, after it is divided, ``[1]``.
        divisor: What the sum of all trees is divided by.
        classes: Where the columns' classes stand in a statement; empty: it states numbers.
        outputs: Numbers in a statement.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    limit: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    base: float
    divisor: float
    classes: NDArray[np.int64]
    outputs: int

    @classmethod
    def grown(
        cls,
        trees: Iterable[OneTree],
        *,
        base: float = 0.0,
        mean: bool,
        classes: Sequence[int] = (),
        outputs: int,
    ) -> Trees:
        """Put trees together.

        Args:
            trees: The trees.
            base: What is added to their sum.
            mean: Whether they are averaged, not added up.
            classes: Which classes a leaf's columns are; none: leaves hold numbers.
            outputs: Numbers in a statement.
        """
        each = list(trees)
        sizes = np.array([len(tree.feature) for tree in each])
        begins = np.cumsum(sizes) - sizes
        return cls(
            roots=begins.astype(np.int32),
            feature=np.concatenate([tree.feature for tree in each]).astype(np.int16),
            limit=_not_above(np.concatenate([tree.limit for tree in each])),
            left=_moved([tree.left for tree in each], begins),
            right=_moved([tree.right for tree in each], begins),
            value=np.concatenate([tree.value for tree in each]).astype(np.float32),
            base=base,
            divisor=float(len(each)) if mean else 1.0,
            classes=np.asarray(classes, np.int64),
            outputs=outputs,
        )

    def state(self, rows: InputRows) -> Floats:
        """Return what they state of rows, ``[rows, outputs]``."""
        begins = range(0, len(rows.x), _ROWS)
        found = [self._summed(rows.x[begin : begin + _ROWS]) for begin in begins]
        values = np.concatenate([np.empty((0, self.value.shape[1])), *found])
        values = values / self.divisor + self.base
        if not len(self.classes):
            return np.repeat(values, self.outputs, axis=1)
        return placed(values, self.classes, self.outputs)

    def _summed(self, x: NDArray[np.float32]) -> Floats:
        node = np.repeat(self.roots[None].astype(np.int64), len(x), axis=0)
        row = np.arange(len(x))[:, None]
        while True:
            feature = self.feature[node]
            inside = feature >= 0
            if not inside.any():
                return np.asarray(self.value[node].astype(np.float64).sum(axis=1))
            goes_left = x[row, np.maximum(feature, 0)] <= self.limit[node]
            below = np.where(goes_left, self.left[node], self.right[node])
            node = np.where(inside, below, node)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that they are, by name."""
        return {
            "roots": self.roots,
            "feature": self.feature,
            "limit": self.limit,
            "left": self.left,
            "right": self.right,
            "value": self.value,
            "numbers": np.array([self.base, self.divisor]),
            "classes": self.classes,
            "outputs": np.array([self.outputs]),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Trees:
        """Return trees from their arrays.

        Raises:
            ValueError: They are no trees: a row could go round in them for ever, or leave them.
        """
        base, divisor = np.asarray(arrays["numbers"], np.float64).tolist()
        trees = cls(
            roots=np.asarray(arrays["roots"], np.int32),
            feature=np.asarray(arrays["feature"], np.int16),
            limit=np.asarray(arrays["limit"], np.float32),
            left=np.asarray(arrays["left"], np.int32),
            right=np.asarray(arrays["right"], np.int32),
            value=np.asarray(arrays["value"], np.float32),
            base=base,
            divisor=divisor,
            classes=np.asarray(arrays["classes"], np.int64),
            outputs=number_of_outputs(int(arrays["outputs"][0])),
        )
        trees._check()
        return trees

    def _check(self) -> None:
        nodes, columns = self.value.shape
        each = (self.feature, self.limit, self.left, self.right)
        inner = np.flatnonzero(self.feature >= 0)
        below = np.stack([self.left, self.right])[:, inner]
        if any(part.shape != (nodes,) for part in each) or self.roots.ndim != 1:
            raise ValueError(nodes)
        # Every way leads on to later nodes, so each row comes to a leaf.
        if (below <= inner).any() or (below >= nodes).any():
            raise ValueError(nodes)
        if ((self.roots < 0) | (self.roots >= nodes)).any():
            raise ValueError(nodes)
        known = (self.classes >= 0) & (self.classes < max(self.outputs, 2))
        if len(self.classes) not in (0, columns) or not known.all():
            raise ValueError(columns)


def _moved(each: Sequence[NDArray[np.int64]], begins: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate(
        [nodes + begin for nodes, begin in zip(each, begins, strict=True)]
    ).astype(np.int32)


def _not_above(limits: Floats) -> NDArray[np.float32]:
    """Return the greatest float32 that is not above each limit.

    No float32 lies between the two, so that rows go the same way by either.
    """
    near = limits.astype(np.float32)
    above = near.astype(np.float64) > limits
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near
