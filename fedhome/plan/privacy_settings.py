"""The plan's table ``privacy``: noise that homes add to what leaves (docs/privacy.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedhome.plan.section import Section


class PrivacySettings(Section):
    """Noise that homes add themselves, so that sums tell little of any one (docs/privacy.md)."""

    mechanism: Literal["none", "discrete-gaussian"] = Field(
        "none", description="noise that each home adds before it masks: none, or discrete Gaussian"
    )
    epsilon: float | None = Field(
        None, gt=0, description="what the whole run may cost each home; or set noise_multiplier"
    )
    delta: float = Field(
        1e-5, ge=1e-15, le=0.01, description="for which epsilon holds; far below 1 / homes"
    )
    noise_multiplier: float | None = Field(
        None,
        ge=1e-3,
        le=1e6,
        description="noise of a sum of updates, in clips; epsilon then follows",
    )
    clip: float = Field(1.0, gt=0, description="greatest L2 norm of an update; longer are cut")
    scores: float = Field(
        0.1, ge=0, lt=1, description="share of the cost that evaluations and the outcome have"
    )
