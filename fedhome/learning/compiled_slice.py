"""A home on its own device with a slice of the fleet's model, by the compiled kernel: no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.cohort import Cohort
from fedhome.learning.compiled import CompiledLearning, compiled_learning
from fedhome.learning.compiled_device import CompiledDevice
from fedhome.learning.home_round import check_sliced
from fedhome.learning.one_home import OneHome
from fedhome.learning.own_state import HomeStates
from fedhome.learning.rolling_places import RollingPlaces, window
from fedhome.learning.slice_places import SlicePlaces
from fedhome.models.slicing import slices_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared, tier_number
from fedhome.plan.slicing_settings import SlicingSettings


@dataclass(frozen=True, kw_only=True)
class _Carried:
    """What a device of a tier learns with, as :class:`.slice_rules.CarriedSlice` has it for torch.

    Args:
        places: Where the slice lies in the fleet's model.
        rounds: What is trained in the rounds.
        trained: Where that lies.
    """

    places: SlicePlaces
    rounds: CompiledLearning
    trained: SlicePlaces


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
        raise EngineError(
            "the compiled kernel does not fit: the model is not a plain MLP of Linear and ReLU"
        )
    if plan.slicing.rule not in _RULES:
        raise EngineError(
            f"the compiled kernel does not fit: the slices of the rule {plan.slicing.rule!r} are "
            "not compiled into it"
        )
    number = tier_number(plan, tier)
    widths = plan.slicing.in_order()[number].widths(plan.model.hidden)
    small = plan.change(model={"hidden": widths}, slicing=SlicingSettings().model_dump())
    own = compiled_learning(small, examples.x.shape[1], classes)
    carried = _RULES[plan.slicing.rule](plan, own, number)
    check_sliced(own.method, carried.places.layout)

    def device(
        learning: CompiledLearning,
        places: SlicePlaces,
        slow: Callable[[], OneHome],
        rounds: Cohort | None = None,
    ) -> CompiledDevice:
        return CompiledDevice(
            learning,
            examples,
            plan.seed,
            by_torch=slow,
            states=states,
            carries=places,
            rounds=rounds,
            before_training=before_training,
            told=told,
        )

    def rounds_by_torch() -> OneHome:
        found = by_torch().rounds
        assert isinstance(found, OneHome), "a device by torch has the same halves"
        return found

    trained = device(carried.rounds, carried.trained, rounds_by_torch)
    return device(own, carried.places, by_torch, trained)


def _nested(plan: Plan, own: CompiledLearning, number: int) -> _Carried:
    """Return a slice with the smaller ones in it."""
    shape = slices_of(plan, own.widths[0], own.widths[-1])
    return _Carried(
        places=SlicePlaces(shape.layout, shape.path(number)),
        rounds=replace(own, slices=shape.slices[: number + 1]) if number else own,
        trained=SlicePlaces(shape.layout, shape.carried(number)),
    )


def _fedrolex(plan: Plan, own: CompiledLearning, number: int) -> _Carried:
    """Return a window that moves on."""
    del number
    whole = replace(own, widths=(own.widths[0], *plan.model.hidden, own.widths[-1])).layout
    widths = own.widths[1:-1]
    begin = window(whole, widths, 0)
    return _Carried(
        places=SlicePlaces(whole, begin),
        rounds=own,
        trained=RollingPlaces(whole, begin, widths=widths),
    )


_RULES: Mapping[str, Callable[[Plan, CompiledLearning, int], _Carried]] = {
    "nested": _nested,
    "fedrolex": _fedrolex,
}
"""Rules whose steps are plain ones; those of the others are written for torch."""
