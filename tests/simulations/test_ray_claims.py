"""What shards claim of a Ray cluster, by what is asked of Ray: there is no GPU here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import EngineError
from fedhome.questions.train_config import TrainConfig
from fedhome.simulations.engines import ray_engine
from fedhome.simulations.engines.ray_claims import Claims, core_claims, gpu_claims
from fedhome.simulations.engines.ray_engine import ray_grid
from helpers import tiny


@pytest.mark.parametrize(
    ("cores", "shards", "cpus"), [(8, 8, 1.0), (8, 3, 2.0), (2, 3, 0.6666), (1, 4, 0.25)]
)
def test_shards_never_claim_more_cores_than_there_are(cores: int, shards: int, cpus: float) -> None:
    assert core_claims(cores, shards) == Claims(cpus=cpus)


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 64))
def test_shards_share_gpus_evenly_and_lost_ones_find_room(
    cores: int, gpus: int, shards: int
) -> None:
    claims = gpu_claims(cores, gpus, shards)
    each = -(-shards // gpus)
    assert 0 < claims.cpus <= 1
    assert claims.cpus * shards <= max(cores, shards)
    assert (each + 1) * claims.gpus > 1, "one more would fit on a GPU"
    assert each * claims.gpus + 4 * claims.spare_gpus <= 1
    assert claims.spare_gpus > 0


class FakeRay:
    """Takes note of what actors claim; they start, and die of the first question.

    Args:
        resources: Of the cluster.
    """

    def __init__(self, **resources: float) -> None:
        self._resources = resources
        self.claims: list[dict[str, Any]] = []
        self.made_of: list[dict[str, Any]] = []
        self.exceptions = SimpleNamespace(RayActorError=LookupError, RayError=ValueError)

    def cluster_resources(self) -> dict[str, float]:
        return self._resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True}]

    def put(self, value: Any) -> Any:
        return value

    def kill(self, worker: Any) -> None:
        del worker

    def wait(self, waiting: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return waiting[:1], waiting[1:]

    def get(self, reply: Any) -> Any:
        return reply()

    def remote(self, _actor: type) -> Any:
        def options(**claims: Any) -> Any:
            self.claims.append(claims)
            return SimpleNamespace(remote=self._worker)

        return SimpleNamespace(options=options)

    def _worker(self, _paths: list[str], made_of: list[Any]) -> Any:
        plan = made_of[0]["plan"]
        self.made_of.append(made_of[0])
        told = version("fedhome"), tiny.learning(plan).initial

        def answer(question: str) -> Any:
            if question != "start":
                raise LookupError("the worker died")
            return told, None, (), {}

        def ask(question: str, *_: Any) -> Any:
            return lambda: answer(question)

        return SimpleNamespace(ask=SimpleNamespace(remote=ask))


@contextmanager
def grid_on(ray: FakeRay, said: list[str], **engine: Any) -> Iterator[Any]:
    plan = tiny.plan(engine={"name": "ray", "threads": 0, **engine})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_engine, "connected", lambda _: nullcontext(ray))
        patch.setattr(ray_engine, "_check_objects_travel", lambda: None)
        with ray_grid(tiny.world(plan, tiny.homes(), notes=said)) as grid:
            yield grid


def test_shards_of_a_cluster_with_gpus_claim_one_each_and_a_core_to_feed_it() -> None:
    ray, said = FakeRay(CPU=16.0, GPU=3.0), list[str]()
    with grid_on(ray, said, device="cuda"):
        pass
    assert [(c["num_cpus"], c["num_gpus"]) for c in ray.claims] == [(1.0, 0.75)] * 3
    assert {one["plan"].engine.device for one in ray.made_of} == {"cuda"}
    assert {one["threads"] for one in ray.made_of} == {1}
    assert said == ["Ray trains 3 shards of the fleet, on 3 GPUs, on 1 machine"]


def test_more_shards_than_gpus_share_them() -> None:
    ray = FakeRay(CPU=16.0, GPU=2.0)
    with grid_on(ray, [], device="cuda", ray_shards=4):
        pass
    assert [c["num_gpus"] for c in ray.claims] == [0.4166] * 4
    assert [one["sharing"] for one in ray.made_of] == [2] * 4


def test_processors_claim_no_gpu_though_there_are_some() -> None:
    ray = FakeRay(CPU=4.0, GPU=2.0)
    with grid_on(ray, []):
        pass
    assert len(ray.claims) == 4
    assert not any("num_gpus" in claims for claims in ray.claims)


def test_a_worker_in_place_of_a_lost_one_claims_what_was_left_of_a_gpu() -> None:
    ray, said = FakeRay(CPU=4.0, GPU=1.0), list[str]()
    start = tiny.learning(tiny.plan()).initial
    with (
        grid_on(ray, said, device="cuda") as grid,
        pytest.raises(EngineError, match="Ray lost the worker"),
    ):
        grid._together.train_mean(np.arange(2), start, TrainConfig.of({"server-round": 1}))
    assert ray.claims[-1]["num_cpus"] == 0
    assert ray.claims[-1]["num_gpus"] == 0.0625
    assert any("another does its work again" in text for text in said)


def test_a_cluster_without_a_gpu_is_refused_where_homes_are_to_train_on_some() -> None:
    with (
        pytest.raises(EngineError, match="the Ray cluster has no GPU") as caught,
        grid_on(FakeRay(CPU=8.0), [], device="cuda"),
    ):
        pass
    assert "ray status" in caught.value.hint
