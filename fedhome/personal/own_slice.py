"""The slice of a release that a home's device carries: an ordinary network, cut out of the whole.

The release says which slices its devices trained. A home takes its own by its plan, and only where
both say the same: a slice of other widths would be a network that nobody has trained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import LayoutError, RunError
from fedhome.models.cut_slices import FinishedModel
from fedhome.models.slicing import slices_of
from fedhome.plan.rule_traits import traits_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared, tier_number
from fedhome.registry.release import ReleaseSlices, ReleaseTier
from fedhome.wire.layout import Layout


def own_slice(
    plan: Plan,
    layout: Layout,
    flat: NDArray[np.float32],
    *,
    tier: str,
    said: ReleaseSlices | None,
    called: str,
) -> tuple[Layout, NDArray[np.float32]]:
    """Return a tier's slice of a release as a network by itself.

    Args:
        plan: The home's plan, with tiers.
        layout: Layout of the release.
        flat: Its parameters, float32 ``[size]``.
        tier: Name of the home's tier; one that the plan does not have counts as the smallest.
        said: Which slices the release says that its devices trained; None: it says nothing, as one
            that is older than such words.
        called: What the release is called.

    Raises:
        RunError: It was trained in other slices than the plan's, or by a rule whose slices are no
            networks of their own; or the plan's model is a module of a user's own.
    """
    if is_declared(plan):
        raise RunError(
            f"{called} is of {plan.model.name}, a module of your own, whose slices are not cut out "
            "of releases",
            hint="the home has a model of its own when it has taken part in a run to its end",
        )
    ours = slices_in(plan)
    if said is not None and said != ours:
        raise RunError(
            f"{called} was trained in the slices {said.told}; this home's plan has {ours.told}",
            hint="ask whoever runs the fleet which plan its homes have, and join again with it",
        )
    one = plan.slicing.in_order()[tier_number(plan, tier)]
    widths = one.widths(plan.model.hidden)
    try:
        cut = FinishedModel.of_run(plan, layout.unflatten(flat)).cut(widths)
    except LayoutError as error:
        raise RunError(
            f"a part of {called} predicts nothing by itself: {error.message}",
            hint="the home has a model of its own when it has taken part in a run to its end",
        ) from None
    small = Layout.of(cut)
    return small, small.flatten(cut)


def slices_in(plan: Plan) -> ReleaseSlices:
    """Return what a release of a plan with tiers says of them."""
    return ReleaseSlices(
        rule=plan.slicing.rule,
        tiers=tuple(
            ReleaseTier(name=one.name, units=one.widths(plan.model.hidden))
            for one in plan.slicing.in_order()
        ),
    )


def fits(plan: Plan, layout: Layout, features: int, outputs: int) -> bool:
    """Return whether parameters are of the whole model of a plan with tiers.

    Args:
        plan: The plan.
        layout: Names and shapes of the parameters.
        features: Width of the input.
        outputs: Width of the output.
    """
    traits = traits_of(plan)
    if traits.exits:
        return layout == slices_of(plan, features, outputs).layout
    hidden = plan.model.hidden
    if not traits.whole:
        hidden = plan.slicing.in_order()[-1].widths(hidden)
    shapes = [shape for shape in layout.shapes if len(shape) > 1]
    return shapes == list(zip((*hidden, outputs), (features, *hidden), strict=True))
