"""Whether two runs ended with the same model, as far as rounding lets them."""

from __future__ import annotations

import numpy as np

from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder

EXACT = 1e-5
"""How far parameters of two engines may lie apart: they add floats up in another order."""


def greatest_difference(found: RunFolder, expected: RunFolder) -> float:
    """Return how far the parameters of two runs' models lie apart at most.

    Args:
        found: A run.
        expected: Another one.

    Returns:
        The greatest absolute difference; infinite where the models are not alike.
    """
    ours, theirs = found.read_model().parameters, expected.read_model().parameters
    if [(name, ours[name].shape) for name in ours] != [
        (name, theirs[name].shape) for name in theirs
    ]:
        return float("inf")
    return max(float(np.max(np.abs(ours[name] - theirs[name]), initial=0.0)) for name in ours)


def rounded_anew(run: RunFolder) -> float:
    """Return how far chance may have taken a parameter: nowhere, unless the log says that it may.

    Homes answer about one model once. Where a round is asked again, its model's last digits are
    changed, and from there on some of the homes' numbers are rounded the other way. One step of
    one home is, in the mean of ``n`` homes, at most ``clip / 2^(bits - 1) * 2 / n`` where each has
    half of the greatest weight or more. The clip is 1 at first and lower later on, as these updates
    are small. Allowed is one such step a round; a round that is lost is hundreds.

    Args:
        run: A run over secure sums.
    """
    notes = [str(event.data.get("text")) for event in run.read_events() if event.event == "note"]
    if not any("last digits changed" in note for note in notes):
        return 0.0
    rounds = run.read_rounds()
    homes = min(rounds.column("homes_answered").to_pylist())
    bits = Plan.load(run.plan_path).aggregation.bits
    return float(rounds.num_rows * 2 / homes / 2 ** (bits - 1))
