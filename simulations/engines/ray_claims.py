"""What a shard claims of a Ray cluster: cores, and where homes train on GPUs, a share of one."""

from __future__ import annotations

import math
from dataclasses import dataclass

_PARTS = 10_000  # Ray counts shares of a core or a GPU in ten-thousandths
_REPLACED = 4  # workers in place of lost ones that find room on a GPU beside those that are there


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What each worker claims.

    Args:
        cpus: Cores.
        gpus: Share of a GPU; 0: it trains on the processor.
        spare_gpus: What a worker claims that stands in for a lost one: with a machine, the claim
            of the first may be gone for good.
        sharing: How many workers there are on a GPU.
    """

    cpus: float
    gpus: float = 0.0
    spare_gpus: float = 0.0
    sharing: int = 1


def core_claims(cores: int, shards: int) -> Claims:
    """Return what each of some shards claims that trains on processors.

    Args:
        cores: Of the cluster.
        shards: How many there are; Ray counts whole cores, or parts of one.
    """
    if shards <= cores:
        return Claims(cpus=float(cores // shards))
    return Claims(cpus=_floored(cores / shards))


def gpu_claims(cores: int, gpus: int, shards: int) -> Claims:
    """Return what each of some shards claims that trains on GPUs.

    As many shards share a GPU as must, and no more fit on it (with over 64 on one, Ray's parts are
    too coarse for that); a part of it is left for workers that replace lost ones. A GPU is fed by
    one thread, and so by one core.

    Args:
        cores: Of the cluster.
        gpus: Of the cluster, at least one.
        shards: How many there are.
    """
    each = -(-shards // gpus)  # shards of a GPU
    left = 1 / (2 * (each + 1))  # with one more than `each` of them it would be below zero
    return Claims(
        cpus=min(1.0, core_claims(cores, shards).cpus),
        gpus=_floored((1 - left) / each),
        spare_gpus=_floored(left / _REPLACED),
        sharing=each,
    )


def _floored(share: float) -> float:
    return math.floor(_PARTS * share) / _PARTS
