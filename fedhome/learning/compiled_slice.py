"""A home on its own device with a slice of the fleet's model, by the compiled kernel: no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.cohort import Cohort
from fedhome.learning.compiled import CompiledLearning, compiled_learning
from fedhome.learning.compiled_device import CompiledDevice
from fedhome.learning.home_round import check_sliced
from fedhome.learning.one_home import OneHome
from fedhome.learning.own_state import HomeStates
from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.slicing import Places, slices_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared, tier_number
from fedhome.plan.slicing_settings import SlicingSettings

_RULE = "nested"


def compiled_slice(
    plan: Plan,
    examples: HomeExamples,
    classes: tuple[str, ...] = (),
    *,
    tier: str,
    by_torch: Callable[[], OneHome],
    states: HomeStates | None = None,
    before_training: Callable[[], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> CompiledDevice:
    """Return a home's device with what its tier carries.

    It is what :func:`fedhome.learning.sliced_device.sliced_device` returns, without torch.

    Args:
        plan: The plan, with tiers.
        examples: The home's examples.
        classes: Class names found in the data, where the plan names none.
        tier: Name of its tier; one that the plan does not have counts as the smallest.
        by_torch: What makes the same home by torch, for a step that the kernel has no code for.
        states: Where the home keeps what its method learns for it alone.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
        told: As of :class:`fedhome.learning.compiled_device.CompiledDevice`.

    Raises:
        EngineError: The kernel cannot learn it; torch can.
        PlanError: The task does not fit the data, or the plan's method is none for slices.
        PluginError: A name behind which there is nothing.
    """
    if is_declared(plan):
        raise EngineError("the compiled kernel does not fit: the model is not a plain MLP")
    if plan.slicing.rule != _RULE:
        raise EngineError(
            f"the compiled kernel does not fit: the slices of the rule {plan.slicing.rule!r} are "
            "not compiled into it"
        )
    features, number = examples.x.shape[1], tier_number(plan, tier)
    widths = plan.slicing.in_order()[number].widths(plan.model.hidden)
    small = plan.change(model={"hidden": widths}, slicing=SlicingSettings().model_dump())
    own = compiled_learning(small, features, classes)
    shape = slices_of(plan, features, own.task.outputs)
    check_sliced(own.method, shape.layout)
    rounds = replace(own, slices=shape.slices[: number + 1]) if number else own

    def device(
        learning: CompiledLearning,
        places: Places,
        slow: Callable[[], OneHome],
        rounds: Cohort | None = None,
    ) -> CompiledDevice:
        return CompiledDevice(
            learning,
            examples,
            plan.seed,
            by_torch=slow,
            states=states,
            carries=SlicePlaces(shape.layout, places),
            rounds=rounds,
            before_training=before_training,
            told=told,
        )

    def rounds_by_torch() -> OneHome:
        found = by_torch().rounds
        assert isinstance(found, OneHome), "a device by torch has the same halves"
        return found

    trained = device(rounds, shape.carried(number), rounds_by_torch)
    return device(own, shape.path(number), by_torch, trained)
