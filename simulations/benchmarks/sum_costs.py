"""One kind of sum, ours beside Flower's and beside raw cryptography."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedhome.simulations.benchmarks.flower_secagg import FlowerCosts
from fedhome.simulations.benchmarks.one_sum import Sum, SumFleet, add_up, form_of
from fedhome.simulations.benchmarks.primitives import mask_shares, public_key_us, raw_aes_ms

AHEAD = ("member: check", "server: ask for checks", "server: checks")
CLIENT = ("home: join", "home: encode", "home: upload")
SERVER = (
    "server: receive",
    "server: ask for votes",
    "server: votes",
    "server: ask for openings",
    "server: openings",
    "server: open",
)
ABSENT = 10  # one home in this many vanishes


@dataclass(kw_only=True)
class Costs:
    """What one kind of sum costs, beside Flower's, in milliseconds of processor time.

    Args:
        elements: Numbers of the vector.
        homes: How many homes, each a neighbour of all others.
        ours: Middle values of ours by step; the server's steps are totals of a sum.
        keys_ms: Of joining, what Ed25519 and X25519 alone cost.
        server_keys_ms: Of the server's part, the same.
        raw_ms: AES-256-CTR on as many bytes as one home's masks have.
        mask_shares: How near masks come to that: keystreams alone, and with the additions.
        upload_bytes: Of one home, for one number.
        flower: Flower's figures; None where they were not measured.
    """

    elements: int
    homes: int
    ours: Mapping[str, float]
    keys_ms: float
    server_keys_ms: float
    raw_ms: float
    mask_shares: tuple[float, float]
    upload_bytes: float
    flower: FlowerCosts | None = field(default=None)

    @property
    def client_ms(self) -> float:
        """A home's part but for its bundle: joining, encoding, masking, serialising."""
        return sum(self.ours[step] for step in CLIENT)

    @property
    def server_ms(self) -> float:
        """The server's part of a sum, from the first upload to the sum."""
        return sum(self.ours[step] for step in SERVER)


def costs(
    elements: int, homes: int, *, repeat: int, runs: int, flower: FlowerCosts | None
) -> Costs:
    """Measure one kind of sum; the first, in which keys are derived and caches fill, is left out.

    Args:
        elements: Numbers of the vector.
        homes: How many homes.
        repeat: How many sums are measured.
        runs: How often short things are measured.
        flower: Flower's figures.
    """
    fleet, form = SumFleet(homes), form_of(elements, homes=max(homes, 128))
    absent = homes // ABSENT
    add_up(fleet, form, absent=absent)
    sums = [add_up(fleet, form, absent=absent) for _ in range(repeat)]
    verify_us, exchange_us = public_key_us(runs)
    vector = np.zeros(form.words, form.packing.dtype)
    quorum = fleet.directory.threshold
    checked = homes - absent + 2 * quorum  # uploads, votes, answers
    return Costs(
        elements=elements,
        homes=homes,
        ours=_middle(sums),
        keys_ms=1e-3 * ((homes - 1) * (verify_us + exchange_us) + verify_us),
        server_keys_ms=1e-3 * (checked * verify_us + absent * (homes - absent) * exchange_us),
        raw_ms=raw_aes_ms(vector.nbytes * homes, runs),
        mask_shares=mask_shares(vector, homes - 1, runs),
        upload_bytes=sums[0].upload_bytes / elements,
        flower=flower,
    )


def _middle(sums: list[Sum]) -> dict[str, float]:
    steps = sums[0].clock.ms
    return {step: float(np.median([_of(one, step) for one in sums])) for step in steps}


def _of(one: Sum, step: str) -> float:
    return one.clock.total(step) if step.startswith("server") else one.clock.median(step)
