"""The scale of fixed-point sums, from the fleet's own sums: greatest update, greatest weight.

Homes count in secret how large their updates are and how many examples they have, by powers of
two; the next round's scale follows from these counts. The share of homes that may be corrupt is
not trusted: this many of the largest claims are left aside. Of five to nine homes that would be
none, though one is always reckoned with; to leave one aside would shorten the honest largest home.
So there the largest claim counts as eight times the next at most.

Source for adapting the clip to a private count: Andrew et al., "Differentially private learning
with adaptive clipping", NeurIPS 2021, section 2 (there a quantile is followed step by step; a
histogram gives it at once).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedhome.plan.aggregation_settings import AggregationSettings
from fedhome.questions.contributions import COUNTS, SIZES
from fedhome.secagg.form import Total
from fedhome.secagg.parameters import corrupt_among

_FIRST_CLIP = 1.0
_FURTHER = 3  # powers of two by which a small fleet's largest claim may be above the next
_ROOM = 2.0  # the next round's updates may be larger than this one's


class Scale:
    """Clip and greatest weight of the next sum.

    Args:
        settings: The plan's settings; what they name is kept as it is.
    """

    def __init__(self, settings: AggregationSettings) -> None:
        self.settings = settings
        self.clip = settings.clip or _FIRST_CLIP
        self.weight_cap = settings.greatest_weight
        self.sum_number = 0

    def learn(self, totals: Sequence[Total]) -> None:
        """Follow the sizes of a round's updates."""
        if self.settings.clip is None and totals:
            exponent = self._largest(totals, "size", SIZES)
            self.clip = _ROOM * 2.0**exponent

    def follow(self, clip: float, further: float = 1.0) -> None:
        """Go on from another sum's clip, for updates that are expected to be larger or smaller.

        Args:
            clip: Greatest size of an update in that sum.
            further: How many times as large they are expected to be.
        """
        self.clip = clip
        if self.settings.clip is None and further != 1:
            self.clip = min(2.0 ** math.ceil(math.log2(clip * further)), _ROOM * 2.0 ** max(SIZES))

    def count(self, totals: Sequence[Total]) -> None:
        """Set the greatest weight from a count of the homes' examples."""
        self.weight_cap = int(2 ** self._largest(totals, "examples", COUNTS))

    def count_alike(self) -> None:
        """Let all homes count alike: their examples cannot be counted."""
        self.weight_cap = 1

    def _largest(self, totals: Sequence[Total], name: str, exponents: Sequence[int]) -> int:
        """Return the exponent that covers all claims but those that may be corrupt."""
        counted = {e: sum(total.values[f"{name}-{e}"] for total in totals) for e in exponents}
        claims = round(sum(counted.values()))
        doubted = int(self.settings.corrupt * claims)
        largest = _above(counted, exponents, doubted)
        if not doubted and corrupt_among(claims, self.settings.corrupt):
            largest = min(largest, _above(counted, exponents, 1) + _FURTHER)
        return largest

    def memory(self) -> dict[str, Any]:
        """Return what a run needs to continue after a kill; ``turn`` is the sum's number."""
        return {"clip": self.clip, "weight_cap": self.weight_cap, "turn": self.sum_number}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what :meth:`memory` gave."""
        self.clip = float(memory["clip"])
        self.weight_cap = memory["weight_cap"]
        self.sum_number = int(memory["turn"])


def _above(counted: Mapping[int, float], exponents: Sequence[int], doubted: int) -> int:
    """Return the exponent that covers all claims but some of the largest."""
    for exponent in reversed(exponents):
        doubted -= round(counted[exponent])
        if doubted < 0:
            return exponent
    return exponents[0]
