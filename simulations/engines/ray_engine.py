"""The Ray engine: shards of the fleet, each trained in a Ray worker as the vector engine trains.

For those who outgrow one machine. Each worker gets its homes' examples once. A round sends it
the parameters; it sends back one mean, or every update where the strategy needs them. The
means are added in the order of the shards, so that the result is the same bytes from run to run
for the same number of shards, whichever worker is ready first. A worker that is lost is replaced,
and its shard is asked again: nothing but examples, parameters and what its method keeps in homes
decides what it answers, and the last is kept here and travels with each question.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.passed_objects import at_hand
from fedhome.plan.sliced_plan import is_sliced, tiers_of
from fedhome.questions.responses import Response
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines.chunk_sums import RequestedForm, Words
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.joined_responses import joined
from fedhome.simulations.engines.joint_grid import JointGrid
from fedhome.simulations.engines.once import once
from fedhome.simulations.engines.ray_claims import Claims, core_claims, gpu_claims
from fedhome.simulations.engines.ray_cluster import connected, imported, last_line
from fedhome.simulations.engines.ray_worker import WorkerResponse, actor
from fedhome.simulations.engines.shard import Homes, Mean
from fedhome.simulations.engines.sliced_homes import slices_in
from fedhome.simulations.engines.tier_shards import fleets_of, integrated
from fedhome.simulations.engines.world import World, against_vectors

_START_S = 180.0  # a worker loads torch; a cluster may first have to start a machine
_MOST_LOSSES = 3  # workers of one shard lost over the same question, after which the run ends
_WORKERS_NEED = ("model", "method", "personaliser")


class RayHomes(Homes):
    """A fleet in shards, each with a Ray worker.

    Args:
        ray: Ray's module, connected.
        world: What is simulated.
        shards: How many shards.
        claims: What each worker claims.
        threads: Threads of each worker.
    """

    def __init__(
        self, ray: Any, world: World, *, shards: int, claims: Claims, threads: int
    ) -> None:
        self._ray = ray
        self._notice = world.notice
        self._say = once(world.notice)  # every shard notices the same
        self._states, self._names = world.states, np.array(world.names)
        homes = world.gathered.homes
        self._shard_of, self._index_of = deal([len(home.x) for home in homes], shards)
        tiers = tiers_of(world.plan, world.names) if is_sliced(world.plan) else None
        self._made_of = [
            ray.put(
                {
                    "plan": world.plan,
                    "fleets": {
                        number: vars(fleet)
                        for number, fleet in fleets_of(
                            [homes[home] for home in some],
                            np.zeros(len(some), np.int64) if tiers is None else tiers[some],
                        ).items()
                    },
                    "tiers": None if tiers is None else tiers[some],
                    "classes": world.gathered.classes,
                    "threads": threads,
                    "of": shards,
                    "sharing": claims.sharing,
                    "objects": _objects(),
                }
            )
            for some in (np.flatnonzero(self._shard_of == shard) for shard in range(shards))
        ]
        self._actor = ray.remote(actor())
        self._claims = claims
        self.workers = [self._worker(shard, claims.cpus, claims.gpus) for shard in range(shards)]

    def start(self, initial: NDArray[np.float32]) -> None:
        """Wait until every worker is there, and builds the same model.

        Args:
            initial: The model's first parameters here, float32 ``[size]``.

        Raises:
            EngineError: A worker did not start in time, or is of another version.
        """
        questions: dict[int, tuple[str, list[Any]]] = {
            shard: ("start", []) for shard in range(len(self.workers))
        }
        for its_version, its_initial in self._ask(questions, timeout_s=_START_S).values():
            if its_version != version("fedhome") or not np.array_equal(its_initial, initial):
                raise EngineError(
                    f"a Ray worker with fedhome {its_version} builds another model from the same "
                    f"plan than fedhome {version('fedhome')} does here",
                    hint="install the same versions of fedhome and torch on every machine",
                )

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            self._ray.kill(worker)

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train; the means of shards are added in the order of the shards."""
        parts = self._ask_all("train_mean", homes, start, config)
        means = [
            mean._replace(lost=tuple(indices[list(mean.lost)].tolist())) for indices, mean in parts
        ]
        return Mean.of(means)

    def train_sum(
        self,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: TrainConfig,
        request: RequestedForm,
    ) -> Words:
        """Train; the shards' sums are exact, so their order does not matter."""
        total = np.zeros(request.form.words, request.form.packing.dtype)
        for _, words in self._ask_all("train_sum", homes, start, config, request):
            total += words.total
        return Words(total)

    def respond(
        self,
        kind: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        config: Mapping[str, Any],
    ) -> Response:
        """Respond home by home; each shard for its own."""
        responses = self._ask_all("respond", homes, start, dict(config), first=[kind])
        return joined(responses, len(homes))

    def _ask_all(
        self,
        question: str,
        homes: NDArray[np.int64],
        start: NDArray[np.float32],
        *more: Any,
        first: Sequence[Any] = (),
    ) -> list[tuple[NDArray[np.int64], Any]]:
        """Ask each shard for its own of these homes; return indices in ``homes``, and its value.

        Args:
            question: Name of a method of the shard.
            homes: Positions in the fleet, ``[homes]``.
            start: Parameters float32 ``[size]``, which travel once.
            more: What the method is given after homes and parameters.
            first: What it is given before them.
        """
        shard_of = self._shard_of[homes]
        common = self._ray.put(start)
        indices = {int(shard): np.flatnonzero(shard_of == shard) for shard in np.unique(shard_of)}
        values = self._ask(
            {
                shard: (question, [*first, self._index_of[homes[some]], common, *more])
                for shard, some in indices.items()
            }
        )
        return [(some, values[shard]) for shard, some in indices.items()]

    def _ask(
        self, questions: Mapping[int, tuple[str, list[Any]]], *, timeout_s: float | None = None
    ) -> dict[int, Any]:
        """Ask shards, each again where its worker is lost; return their values by shard."""
        lost: Counter[int] = Counter()
        answers: dict[int, WorkerResponse] = {}
        kept = {s: self._states.some(tuple(self._names[self._shard_of == s])) for s in questions}
        waiting = {
            self.workers[s].ask.remote(*question, kept[s]): s for s, question in questions.items()
        }
        while waiting:
            ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
            if not ready:
                raise self._too_late(len(waiting), timeout_s)
            shard = waiting.pop(ready[0])
            try:
                answers[shard] = WorkerResponse(*self._ray.get(ready[0]))
            except self._ray.exceptions.RayActorError as error:
                lost[shard] += 1
                self._replace(shard, lost[shard], error)
                waiting[self.workers[shard].ask.remote(*questions[shard], kept[shard])] = shard
            except self._ray.exceptions.RayError as error:
                raise EngineError(
                    f"a Ray worker failed: {last_line(error)}",
                    hint="fedhome, and the plan's own modules, must be installed on every machine",
                ) from error
        for _, answer in sorted(answers.items()):
            for notice in answer.notices:
                self._say(notice)
            if answer.error is not None:
                raise answer.error
            self._states.take(answer.kept)
        return {shard: answer.value for shard, answer in answers.items()}

    def _worker(self, shard: int, cpus: float, gpus: float) -> Any:
        made = self._actor.options(
            num_cpus=cpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
            **({"num_gpus": gpus} if gpus else {}),
        )
        return made.remote(sys.path, [self._made_of[shard]])

    def _replace(self, shard: int, losses: int, error: Exception) -> None:
        if losses > _MOST_LOSSES:
            raise EngineError(
                f"Ray lost the worker of shard {shard} {losses} times over the same question: "
                f"{last_line(error)}",
                hint="a worker that runs out of memory is killed: raise engine.ray_shards, or "
                "take machines with more; `ray logs` may say more",
            ) from error
        self._notice(f"Ray lost the worker of shard {shard}; another does its work again")
        # A claim of no core is always granted: with a machine, its cores may be gone.
        self.workers[shard] = self._worker(shard, 0, self._claims.spare_gpus)

    def _too_late(self, missing: int, timeout_s: float | None) -> EngineError:
        free = self._ray.available_resources()
        on_gpus = bool(self._claims.gpus)
        gpus = f" and {free.get('GPU', 0):g} free GPUs" if on_gpus else ""
        return EngineError(
            f"{missing} of {len(self.workers)} Ray workers did not start within {timeout_s:.0f} s; "
            f"the cluster has {free.get('CPU', 0):g} free cores{gpus}",
            hint=f"set engine.ray_shards to no more than its free {'GPUs' if on_gpus else 'cores'}"
            ", or wait until it is free",
        )


class RaySlicedHomes(RayHomes):
    """A fleet of devices that carry slices; a shard has homes of several tiers.

    Args:
        ray: As of :class:`RayHomes`, and so are the next.
        world: What is simulated.
        settings: The rest.
    """

    def __init__(self, ray: Any, world: World, **settings: Any) -> None:
        super().__init__(ray, world, **settings)
        self._carried = [carried.rounds.places for carried in slices_in(world)]

    def train_mean(
        self, homes: NDArray[np.int64], start: NDArray[np.float32], config: TrainConfig
    ) -> Mean:
        """Train; a tier's means are added in the order of the shards, then tiers integrated."""
        found: dict[int, list[Mean]] = {}
        for indices, of_shard in self._ask_all("train_tiers", homes, start, config):
            for tier, mean in of_shard:
                lost = tuple(indices[list(mean.lost)].tolist())
                found.setdefault(tier, []).append(mean._replace(lost=lost))
        return integrated(
            start,
            [
                (self._carried[tier].in_round(config.round), Mean.of(means))
                for tier, means in sorted(found.items())
            ],
        )


def _objects() -> dict[str, object]:
    """Return the objects in place of names that workers need."""
    return {kind: it for kind, it in at_hand().items() if kind in _WORKERS_NEED}


def _check_objects_travel() -> None:
    """Refuse objects in place of names that cannot go to other processes.

    Raises:
        EngineError: Ray cannot pack one, or is not installed.
    """
    pickle = imported("ray.cloudpickle")
    for kind, it in _objects().items():
        try:
            pickle.dumps(it)
        except Exception as error:  # noqa: BLE001 - a user's object may raise anything
            raise EngineError(
                f"the {kind} that was handed over cannot go to Ray's workers: {last_line(error)}",
                hint='name it as "file.py:Name", or set engine.name = "vector"',
            ) from None


def deal(rows: Sequence[int], shards: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal homes out to shards, largest first, so that all have about as many rows.

    Args:
        rows: Rows of each home, ``[homes]``.
        shards: How many shards; no more than homes.

    Returns:
        Each home's shard, and its position there, both int64 ``[homes]``; within a shard the
        homes keep their order.
    """
    step = np.arange(len(rows)) % (2 * shards)  # there and back: 0 1 2 2 1 0 0 1 2 ...
    shard_of = np.empty(len(rows), np.int64)
    shard_of[np.argsort(-np.asarray(rows), kind="stable")] = np.minimum(step, 2 * shards - 1 - step)
    index_of = np.empty(len(rows), np.int64)
    for shard in range(shards):
        there = np.flatnonzero(shard_of == shard)
        index_of[there] = np.arange(len(there))
    return shard_of, index_of


@contextmanager
def ray_grid(world: World) -> Iterator[InProcessGrid]:
    """Open the Ray engine.

    Raises:
        EngineError: Ray is not installed or cannot be reached, or the model cannot be trained
            for many homes at once, or is an object that cannot go to other processes.
    """
    if reason := against_vectors(world):
        raise EngineError(
            f"the Ray engine trains many homes at once, which this model does not allow: {reason}",
            hint='set engine.name = "vector": it trains such a model home after home',
        )
    _check_objects_travel()
    engine = world.plan.engine
    with connected(engine.ray_address) as ray:
        resources = ray.cluster_resources()
        cores = max(1, int(resources.get("CPU", 1)))
        gpus = 0 if engine.device == "cpu" else _gpus_of(resources)
        shards = min(engine.ray_shards or gpus or cores, len(world.names))
        claims = gpu_claims(cores, gpus, shards) if gpus else core_claims(cores, shards)
        threads = 1 if gpus else engine.threads or max(1, int(claims.cpus))
        kind = RaySlicedHomes if is_sliced(world.plan) else RayHomes
        homes = kind(ray, world, shards=shards, claims=claims, threads=threads)
        try:
            homes.start(world.learning.initial)
            machines = sum(bool(node["Alive"]) for node in ray.nodes())
            each = f"on {_many(min(gpus, shards), 'GPU')}" if gpus else _many(threads, "thread")
            world.notice(
                f"Ray trains {_many(shards, 'shard')} of the fleet, {each}"
                f"{'' if gpus else ' each'}, on {_many(machines, 'machine')}"
            )
            yield JointGrid(world, homes)
        finally:
            homes.stop()


def _gpus_of(resources: Mapping[str, float]) -> int:
    gpus = int(resources.get("GPU", 0))
    if not gpus:
        raise EngineError(
            "engine.device = cuda, but the Ray cluster has no GPU",
            hint="`ray status` shows what it has; `ray start --num-gpus=N` says what a machine "
            'has where Ray does not find it; or set engine.device = "cpu"',
        )
    return gpus


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
