"""How a question says what the fleet chose for its homes' mixtures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedhome.errors import UpdateError
from fedhome.learning.mixture import BOUND, TRIED, FleetsBlend, entries, full
from fedhome.learning.tasks.segments import Floats
from fedhome.plan.private_plan import is_private
from fedhome.plan.settings import Plan

MATRIX, HOMES, STRENGTH = "matrix", "homes", "strength"
ALONE_RATE, ALONE_EPOCHS, ALONE_BATCH = "alone-rate", "alone-epochs", "alone-batch"


def matrix_of(settings: Mapping[str, Any], experts: int) -> Floats:
    """Return the fleet's matrix that came with a question, ``[experts, experts]``.

    Args:
        settings: The settings.
        experts: How many experts the plan has.

    Raises:
        UpdateError: There is none, or it is of other experts.
    """
    came = settings.get(MATRIX)
    values = came if isinstance(came, list | tuple) else []
    if len(values) != entries(experts) or not all(
        type(value) is float and math.isfinite(value) and abs(value) <= BOUND for value in values
    ):
        raise UpdateError(f"a {MATRIX} that is not of {experts} experts")
    return full(values, experts)


def fleets_blend(settings: Mapping[str, Any], plan: Plan) -> FleetsBlend:
    """Return what the fleet chose, as an outcome's settings say it.

    Args:
        settings: The settings that came.
        plan: The plan.

    Raises:
        UpdateError: They do not say it.
    """
    strength = settings.get(STRENGTH)
    rate, epochs = settings.get(ALONE_RATE), settings.get(ALONE_EPOCHS)
    batch = settings.get(ALONE_BATCH)
    if not (
        isinstance(strength, float)
        and isinstance(rate, float)
        and isinstance(epochs, int)
        and isinstance(batch, int)
    ):
        raise UpdateError(
            f"an outcome was asked for with {STRENGTH} {strength!r}, {ALONE_RATE} {rate!r}, "
            f"{ALONE_EPOCHS} {epochs!r} and {ALONE_BATCH} {batch!r}"
        )
    return FleetsBlend(
        matrix=matrix_of(settings, len(plan.personalise.experts)),
        strength=strength,
        alone=(rate, epochs, batch),
        fewest_blocks=1 if is_private(plan) else TRIED,
    )
