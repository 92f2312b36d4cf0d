"""How a home learns on its own device: by the compiled kernel where that fits, else by torch."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError
from fedhome.learning.compiled import compiled_learning
from fedhome.learning.compiled_device import CompiledDevice
from fedhome.learning.compiled_slice import compiled_slice
from fedhome.learning.home_round import private_places
from fedhome.learning.one_home import OneHome
from fedhome.learning.own_state import HomeStates
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced

_log = logging.getLogger("fedhome.learning")


def device_of(
    plan: Plan,
    examples: HomeExamples,
    classes: tuple[str, ...] = (),
    *,
    tier: str = "",
    states: HomeStates | None = None,
    before_training: Callable[[], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> OneHome:
    """Return a home with what trains and scores it.

    torch is loaded for what the compiled kernel cannot do, and that is told once, with the reason.

    Args:
        plan: The plan, with all that it leaves to the data.
        examples: The home's examples.
        classes: Class names found in the data, where the plan names none.
        tier: Name of the home's tier, where the plan's devices carry slices of the model.
        states: Where the home keeps what its method learns for it alone.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
        told: Called with each reason for torch in place of a line of the log.

    Raises:
        PlanError: The task does not fit the data, or the method refuses its settings.
        PluginError: A name behind which there is nothing, or what is there fails at a first step.
        ModelError: The model cannot be trained in a federation.
    """

    def by_torch(ready: Callable[[], None] | None = None) -> OneHome:
        if is_sliced(plan):
            from fedhome.learning.sliced_device import sliced_device  # noqa: PLC0415 - it loads torch

            return sliced_device(
                plan, examples, classes, tier=tier, states=states, before_training=ready
            )
        from fedhome.learning.build import learning_of  # noqa: PLC0415 - the same
        from fedhome.learning.device import Device  # noqa: PLC0415 - the same

        learning = learning_of(plan, examples.x.shape[1], classes)
        return Device(learning, examples, plan.seed, states=states, before_training=ready)

    try:
        if is_sliced(plan):
            return compiled_slice(
                plan,
                examples,
                classes,
                tier=tier,
                by_torch=by_torch,
                states=states,
                before_training=before_training,
                told=told,
            )
        learning = compiled_learning(plan, examples.x.shape[1], classes)
        private_places(learning.method, learning.layout)  # a fault in its names is told at once
    except EngineError as error:
        (told or _log_torch)(error.message)
        return by_torch(before_training)
    return CompiledDevice(
        learning,
        examples,
        plan.seed,
        by_torch=by_torch,
        states=states,
        before_training=before_training,
        told=told,
    )


def _log_torch(reason: str) -> None:
    _log.warning("torch trains this home, which takes more memory: %s", reason)
