"""One home as the ClientApp sees it: its data, its learning, its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from flwr.app import Context
from numpy.typing import NDArray

from fedhome.clients import context_keys
from fedhome.clients.secure_sums import SecurePart
from fedhome.data.series.examples import HomeExamples
from fedhome.errors import DataError
from fedhome.learning.at_home import device_of
from fedhome.learning.one_home import OneHome
from fedhome.learning.own_state import HomeStates
from fedhome.learning.personalise import Personaliser, personaliser
from fedhome.plan.aggregation_settings import AggregationMode
from fedhome.plan.own_reading import NOTHING_OWN
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import PersonaliseSettings, Plan
from fedhome.plan.sliced_plan import check_whole
from fedhome.plugins import load
from fedhome.questions.rate_search import check_search
from fedhome.questions.transfer import check_feedback

if TYPE_CHECKING:  # they load arrow, which a home whose readings are read apart does without
    from fedhome.clients.own_readings import OwnReadings, ReadingsSource

_SIMULATED = "fedhome.simulations.gather:partition"


@dataclass(frozen=True, kw_only=True)
class ClientHome:
    """One home.

    Args:
        plan: The plan that it takes part in.
        device: Its learning on its examples.
        mode: How its updates are added up; no server can change it.
        participant: Its part in secure sums; None where the mode needs none.
        real: Whether somebody lives there: then no failure of it is told to the server.
        settled: How it personalises, with what the plan left to the data; None: it left nothing.
    """

    plan: Plan
    device: OneHome
    mode: AggregationMode = "secure"
    participant: SecurePart | None = None
    real: bool = False
    settled: PersonaliseSettings | None = None

    @cached_property
    def personaliser(self) -> Personaliser:
        """What turns the global model into the home's own.

        Raises:
            PluginError: The plan's personaliser is not installed here.
        """
        return personaliser(self.plan.personalise.name)

    @property
    def counts(self) -> NDArray[np.int64]:
        """The home's number of examples, the greater of training and validation, ``[1]``."""
        most = np.maximum(self.device.counts("train"), self.device.counts("validation"))
        return np.minimum(most, self.plan.rounds.max_examples)

    @classmethod
    def of(
        cls,
        plan: Plan,
        data: HomeExamples,
        classes: tuple[str, ...] = (),
        *,
        mode: AggregationMode,
        participant: SecurePart | None = None,
        real: bool = False,
        settled: Plan | None = None,
        states: HomeStates | None = None,
        device: OneHome | None = None,
        tier: str = "",
        before_training: Callable[[], None] | None = None,
    ) -> ClientHome:
        """Build a home from its examples; ``settled`` is the plan with what it left to the data.

        A server that sees no data binds its questions to the plan as it was given. In ``states``
        the home keeps what its method learns for it alone. What trains and scores it follows from
        the plan, and where that has tiers from the name of the home's, unless it is given as
        ``device``; ``before_training`` is as of :class:`fedhome.learning.one_home.OneHome`.

        Raises:
            PlanError: The task does not fit the data.
            DataError: The home has a class for which the plan has no output.
            ModelError: The model cannot be trained in a federation.
        """
        if device is None:
            device = device_of(
                settled or plan,
                data,
                classes,
                tier=tier,
                states=states,
                before_training=before_training,
            )
        learning = device.learning
        check_feedback(plan, learning.method, learning.layout)
        check_search(plan, learning.method, learning.layout)
        data.check_classes(device.learning.task.outputs)
        return cls(
            plan=plan,
            device=device,
            mode=mode,
            participant=participant,
            real=real,
            settled=settled.personalise if settled else None,
        )


class Partitions(Protocol):
    """Where simulated homes come from."""

    def __call__(self, plan: Plan, number: int) -> tuple[Plan, HomeExamples, tuple[str, ...]]:
        """Return the plan as the data settle it, home ``number``'s examples, and the classes."""


def find_home(context: Context) -> ClientHome:
    """Return the home behind a Flower node.

    A home that takes no part in secure sums says in its node configuration where its readings
    are (``data``); a simulated one has a ``partition-id``. The run's configuration names the
    plan. (A fleet's home has a folder of its own: :mod:`fedhome.clients.supernode`.)

    Raises:
        DataError: The node's configuration names neither, or the data cannot be used.
        PlanError: The plan does not hold.
    """
    path = str(context.run_config.get("plan", ""))
    home = _home(path, context)
    if home.mode == "plain" or not context_keys.has_directory(context):
        return home
    return replace(home, participant=context_keys.participant_of(context, policy_of(home.plan)))


def _home(path: str, context: Context) -> ClientHome:
    data = context.node_config.get("data")
    if data is not None:
        return _real(path, str(data))
    number = context.node_config.get("partition-id")
    if not isinstance(number, int):
        raise DataError(
            "this node's configuration names no data",
            hint="start it with --node-config 'data=\"/path/to/readings.csv\"'",
        )
    return _simulated(path, number)


@lru_cache(maxsize=1)
def _plan(path: str) -> Plan:
    plan = Plan.load(path or None)
    check_whole(plan)
    return plan


@lru_cache(maxsize=1)
def _real(path: str, data: str) -> ClientHome:
    return real_home(_plan(path), data)


def real_home(
    plan: Plan,
    data: str | ReadingsSource,
    *,
    name: str | None = None,
    participant: SecurePart | None = None,
    reading: Mapping[str, Any] = NOTHING_OWN,
    states: HomeStates | None = None,
    tier: str = "",
    before_training: Callable[[], None] | None = None,
    apart: bool = False,
) -> ClientHome:
    """Return a home on its own readings.

    Args:
        plan: The plan that it takes part in.
        data: File or folder of its readings, or its store.
        name: Its name in the fleet; None: that of the file.
        participant: Its part in secure sums.
        reading: How its files are to be read, where that differs from the plan.
        states: Where it keeps what its method learns for it alone; None: nowhere.
        tier: Name of its tier, where the plan's devices carry slices of the model.
        before_training: As of :class:`fedhome.learning.one_home.OneHome`.
        apart: Whether a process of its own reads them, so that this one takes less memory; it needs
            a name.

    Raises:
        DataError: The readings cannot be used.
        PlanError: The task does not fit them, or the plan names no inputs.
        EngineError: The process that reads them did not get to an end.
    """
    source = Path(data) if isinstance(data, str) else data
    if apart:
        from fedhome.clients.examples_apart import examples_apart  # noqa: PLC0415

        assert name is not None, "who reads apart knows the home"
        examples = examples_apart(plan, source, name=name, reading=reading)
    else:
        from fedhome.clients.own_readings import examples_of, read_own  # noqa: PLC0415

        examples = examples_of(plan, read_own(plan, source, name=name, reading=reading))
    return _home_on(
        plan,
        examples,
        participant=participant,
        states=states,
        tier=tier,
        before_training=before_training,
    )


def home_of(
    plan: Plan,
    own: OwnReadings,
    *,
    participant: SecurePart | None = None,
    states: HomeStates | None = None,
    tier: str = "",
    before_training: Callable[[], None] | None = None,
) -> ClientHome:
    """Return a home on readings that were read; arguments as of `real_home`.

    Raises:
        DataError: The readings cannot be used.
        PlanError: The task does not fit them.
    """
    from fedhome.clients.own_readings import examples_of  # noqa: PLC0415

    return _home_on(
        plan,
        examples_of(plan, own),
        participant=participant,
        states=states,
        tier=tier,
        before_training=before_training,
    )


def _home_on(plan: Plan, examples: HomeExamples, **parts: Any) -> ClientHome:
    return ClientHome.of(plan, examples, mode=_mode(plan), real=True, **parts)


@lru_cache(maxsize=256)
def _simulated(path: str, number: int) -> ClientHome:
    partition = cast("Partitions", load(_SIMULATED, "source"))
    plan = _plan(path)
    settled, data, classes = partition(plan, number)
    return ClientHome.of(plan, data, classes, mode=_mode(plan), settled=settled)


def _mode(plan: Plan) -> AggregationMode:
    """Return how a home behind a Flower node adds up: in the clear only if its plan says so."""
    return "plain" if plan.aggregation.mode == "plain" else "secure"
