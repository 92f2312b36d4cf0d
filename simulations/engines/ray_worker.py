"""A shard of the fleet in a process of Ray's, on this machine or another."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import FedHomeError
from fedhome.learning.build import learning_of
from fedhome.learning.carried_slice import carried_slices
from fedhome.learning.own_state import OwnState, StatesInMemory
from fedhome.learning.personalise import personaliser
from fedhome.own_code import faults_told
from fedhome.passed_objects import given
from fedhome.plan.settings import Plan
from fedhome.questions.shells import shells_of
from fedhome.simulations.engines.shard import Shard
from fedhome.simulations.engines.stacked_homes import StackedHomes
from fedhome.simulations.engines.threaded_cohort import cohort_of
from fedhome.simulations.engines.tier_shards import TierShards


class WorkerResponse(NamedTuple):
    """What a worker sends back: a value or an error, what it noticed, and what homes keep."""

    value: Any
    error: FedHomeError | None
    notices: tuple[str, ...]
    kept: Mapping[str, OwnState]


class ShardWorker:
    """A shard in a process of Ray's.

    Args:
        plan: The plan.
        fleets: Fields of the shard's ``stacked_homes.StackedHomes``, of each tier's homes by its
            number; where all carry the whole model one, of the number 0.
        tiers: The tier of each of the shard's homes, int64 ``[homes]``; None: all carry the whole.
        classes: Class names of the target.
        threads: How many chunks are trained at a time.
        of: How many shards there are.
        sharing: How many of them there are on a GPU.
        objects: What was handed over in place of names.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        fleets: Mapping[int, dict[str, Any]],
        tiers: NDArray[np.int64] | None,
        classes: tuple[str, ...],
        threads: int,
        of: int,
        sharing: int,
        objects: Mapping[str, object],
    ) -> None:
        self._notices: list[str] = []
        self._open = ExitStack()
        stacked = {number: StackedHomes(**fields) for number, fields in fleets.items()}
        features, name = next(iter(stacked.values())).x.shape[1], plan.personalise.name
        with given(objects):
            self._learning = learning_of(plan, features, classes)
            how = None if name == "none" else personaliser(name)
            slices = (
                () if tiers is None else carried_slices(plan, self._learning, features, classes)
            )
        self._states = StatesInMemory()
        if tiers is not None:
            self._shard: Shard | TierShards = TierShards(
                plan,
                slices=slices,
                shells=shells_of(plan, self._learning.layout),
                tiers=tiers,
                fleets=stacked,
                open_=self._open,
                threads=threads,
                notice=self._notices.append,
                states=self._states,
                how=how,
                of=of,
            )
            return
        cohort = self._open.enter_context(
            cohort_of(
                self._learning,
                stacked[0],
                plan,
                threads=threads,
                notice=self._notices.append,
                states=self._states,
                sharing=sharing,
            )
        )
        self._shard = Shard(cohort, plan, how=how, of=of)

    def ask(
        self, question: str, arguments: Sequence[Any], kept: Mapping[str, OwnState]
    ) -> WorkerResponse:
        """Answer a question.

        Args:
            question: The name of a method of ``shard.Shard`` or of ``tier_shards.TierShards``.
            arguments: What the method is given.
            kept: What the shard's homes keep; it comes anew with every question, so that a worker
                can be replaced.
        """
        value, error = None, None
        self._states.take(kept)
        try:
            with faults_told():
                if question == "start":
                    value = version("fedhome"), self._learning.initial
                else:
                    value = getattr(self._shard, question)(*arguments)
        except FedHomeError as raised:
            error = raised
        notices, self._notices[:] = tuple(self._notices), ()
        # What is as it came need not go back.
        now = self._states.some(self._shard.names)
        changed = {home: one for home, one in now.items() if one is not kept.get(home)}
        return WorkerResponse(value, error, notices, changed)


def actor() -> type:
    """Return the class of Ray's actors.

    Being made in a function it travels by value: a worker can unpack it before it knows where
    this module is.
    """

    class ShardActor:
        def __init__(self, paths: list[str], made_of: list[Any]) -> None:
            sys.path.extend(path for path in paths if path not in sys.path)
            self._made_of = made_of
            self._worker: Any = None

        def ask(self, question: str, arguments: list[Any], kept: Any) -> tuple[Any, ...]:
            """Answer a question; at the first, build the shard."""
            import warnings  # noqa: PLC0415 - everything here is imported in the worker

            import ray  # noqa: PLC0415

            from fedhome.errors import FedHomeError as Refused  # noqa: PLC0415
            from fedhome.simulations.engines.ray_worker import ShardWorker  # noqa: PLC0415

            # Examples lie in memory that this machine's workers share, and nobody writes there.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            try:
                self._worker = self._worker or ShardWorker(**ray.get(self._made_of[0]))
            except Refused as error:
                return None, error, (), {}
            given = [ray.get(a) if isinstance(a, ray.ObjectRef) else a for a in arguments]
            return tuple(self._worker.ask(question, given, kept))

    return ShardActor
