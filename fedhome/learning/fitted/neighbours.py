"""A network, and rows that are remembered: what those said that look alike has a share.

Source: Marfoq et al., ICML 2022, arXiv:2111.09360, equations 5 to 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Targets
from fedhome.learning.fitted.perceptron import Perceptron
from fedhome.learning.tasks.segments import Floats
from fedhome.learning.tasks.statements import ENCODINGS

if TYPE_CHECKING:
    from fedhome.learning.fitted import InputRows

NEAREST: Final = 10
"""How many remembered rows have a say of each new one, as in the paper's experiments."""

_TARGETS: tuple[Targets, ...] = ("continuous", "binary", "multi-class")
_AT_ONCE = 1 << 22  # distances that are in memory at a time


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """What a network says, and what nearest remembered rows were.

    Args:
        network: The network. Rows are alike whose inputs to its last layer are near.
        held: These inputs of the remembered rows, float32 ``[rows, units]``.
        truth: What would have been right to state of them, float32 ``[rows, outputs]``.
        share: Share of the remembered rows in a statement, 0 to 1.
        targets: How targets are encoded.
    """

    network: Perceptron
    held: NDArray[np.float32]
    truth: NDArray[np.float32]
    share: float
    targets: Targets

    def state(self, rows: InputRows) -> Floats:
        """Return raw outputs, as a network's, ``[rows, outputs]``."""
        encoding = ENCODINGS[self.targets]
        hidden = self.network.hidden(rows.x)
        own = encoding.stated(self.network.last(hidden).astype(np.float64))
        return encoding.output(self.share * self.remembered(hidden) + (1 - self.share) * own)

    def remembered(self, hidden: NDArray[np.float32]) -> Floats:
        """Return what the nearest rows were: a mean, each weighted by ``exp(-distance)``.

        Args:
            hidden: What the network's last layer is given, ``[rows, units]``.

        Returns:
            Statements ``[rows, outputs]``.
        """
        size = max(1, _AT_ONCE // len(self.held))
        parts = [self._some(hidden[at : at + size]) for at in range(0, len(hidden), size)]
        return np.concatenate([np.empty((0, self.truth.shape[1])), *parts])

    def _some(self, hidden: NDArray[np.float32]) -> Floats:
        new, held = hidden.astype(np.float64), self.held.astype(np.float64)
        square = (new**2).sum(axis=1)[:, None] + (held**2).sum(axis=1) - 2 * new @ held.T
        count = min(NEAREST, len(held))
        nearest = np.argpartition(square, count - 1, axis=1)[:, :count]  # [rows, count]
        distance = np.sqrt(np.maximum(np.take_along_axis(square, nearest, axis=1), 0))
        # The same from the nearest on: far from all rows, all weights would be 0.
        weights = np.exp(distance.min(axis=1, keepdims=True) - distance)
        weights /= weights.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("rk,rko->ro", weights, self.truth[nearest]), np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it is, by name."""
        return {f"network {name}": values for name, values in self.network.arrays().items()} | {
            "held": self.held,
            "truth": self.truth,
            "share": np.array([self.share]),
            "targets": np.array([_TARGETS.index(self.targets)], np.uint8),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Neighbours:
        """Return one from its arrays."""
        network = {
            name.removeprefix("network "): values
            for name, values in arrays.items()
            if name.startswith("network ")
        }
        return cls(
            network=Perceptron.of(network),
            held=np.asarray(arrays["held"], np.float32),
            truth=np.asarray(arrays["truth"], np.float32),
            share=float(arrays["share"][0]),
            targets=_TARGETS[int(arrays["targets"][0])],
        )
