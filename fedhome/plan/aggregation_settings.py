"""The plan's ``[aggregation]``: how updates become sums, by what homes count, and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from fedhome.plan.section import Section

AggregationMode = Literal["secure", "ideal", "plain"]
WeightRule = Literal["examples", "rounded", "equal"]
MOST_BITS: Final = 24
"""Of a number in fixed point: float32 has no more."""


class AggregationSettings(Section):
    """How updates become sums, and who sees what (docs/security.md)."""

    mode: Literal["auto", "secure", "ideal", "plain"] = Field(
        "auto",
        description="secure: updates are added up under masks (docs/security.md says what that "
        "holds against); ideal: the very same sums in a simulation, without cryptography; plain: "
        "the server sees every update; auto: secure, but ideal in simulations of many homes",
    )
    bits: int = Field(
        16, ge=4, le=MOST_BITS, description="bits of a number in fixed point, with its sign"
    )
    clip: float | None = Field(
        None, gt=0, description="greatest size of an update; unset: follows the fleet's updates"
    )
    clip_in: Literal["linf", "l2"] = Field(
        "linf", description="size of an update: its largest number, or its L2 norm"
    )
    weight_cap: int | None = Field(
        None, ge=1, description="greatest weight of a home; unset: from a secure count at the start"
    )
    weights: WeightRule = Field(
        "examples",
        description="by what homes count: their number of examples; rounded: that, to the nearest "
        "power of two; equal: all alike, and examples are not counted",
    )
    groups: int = Field(
        1, ge=1, description="sums a round: a strategy that needs single updates sees one for each"
    )
    committee: int | None = Field(
        None, ge=3, description="homes that open the sums; unset: from corrupt and dropped"
    )
    min_cohort: int = Field(5, ge=2, description="no sum over fewer homes is ever opened")
    corrupt: float = Field(0.1, ge=0, lt=1 / 3, description="share of homes that may be corrupt")
    dropped: float = Field(
        0.3, ge=0, lt=1, description="share of a round's homes that may vanish before it is opened"
    )

    @property
    def greatest_weight(self) -> int | None:
        """Greatest weight of a home; None where a secure count at the start gives it."""
        return 1 if self.weights == "equal" else self.weight_cap

    def weight_faults(self) -> Iterator[str]:
        """Yield what does not fit together about weights, one plain sentence each."""
        cap = self.weight_cap
        if self.weights == "equal" and cap not in {None, 1}:
            yield (
                f'aggregation.weights = "equal" lets every home count once, but '
                f"aggregation.weight_cap is {cap}: leave it unset"
            )
        if self.weights == "rounded" and cap is not None and cap & (cap - 1):
            yield (
                'aggregation.weights = "rounded" gives powers of two, but aggregation.weight_cap '
                f"is {cap}: set {1 << cap.bit_length() - 1} or {1 << cap.bit_length()}"
            )
