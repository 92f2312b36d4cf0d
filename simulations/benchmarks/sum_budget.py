"""What a sum's operations cost alone, beside what the sum takes: how far it is from its floor.

Operations are counted as one sum does them, each is then measured by itself, in turns with whole
sums, so that what else the machine does meets both.
"""

from __future__ import annotations

import cProfile
import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.table import Table

from fedhome.keys.derivation import hkdf
from fedhome.keys.keystream import PIECE_BYTES, ROOM_BYTES, aes_keystream
from fedhome.keys.signing import Signer, signature_holds
from fedhome.secagg.shamir import LIMBS, combine
from fedhome.secagg.sharing import SECRETS, SHARE_BYTES, share_hashes
from fedhome.simulations.benchmarks.one_sum import CostClock, SumFleet, add_up, form_of
from fedhome.simulations.benchmarks.sum_costs import ABSENT, CLIENT, SERVER

MEMBER = ("member: vote", "member: opening")
PARTIES: Mapping[str, tuple[str, ...]] = {"home": CLIENT, "member": MEMBER, "server": SERVER}
_HASHES_OF_HKDF = 4  # which are measured with it
_AT_ONCE, _TRIALS = 50, 5  # an operation alone is shorter than the clock tells
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Operation(NamedTuple):
    """An operation, as it is counted and as it is measured alone.

    Args:
        label: What it is.
        calls: Which functions do it, as `_name` names them: how many a call makes.
        work: Does it once.
    """

    label: str
    calls: Mapping[str, float]
    work: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class SumBudget:
    """The operations of one sum.

    Args:
        elements: Numbers of the vector.
        homes: How many homes.
        us: What each operation takes alone, in microseconds of processor time.
        counts: How many of each a party does in a sum, by party and operation.
        spent_ms: What a party's part takes, in milliseconds of processor time.
    """

    elements: int
    homes: int
    us: Mapping[str, float]
    counts: Mapping[str, Mapping[str, float]]
    spent_ms: Mapping[str, float]

    def floor_ms(self, party: str) -> float:
        """Return what a party's operations take alone: with nothing around them, it needs that."""
        return 1e-3 * sum(self.us[label] * count for label, count in self.counts[party].items())


class _CountingClock(CostClock):
    """Counts calls by label and by what they are of; what it notes as time is not."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def of(
        self,
        label: str,
        work: Callable[_Given, _Result],
        *args: _Given.args,
        **kwargs: _Given.kwargs,
    ) -> _Result:
        """Do some work and count what it calls."""
        profile = cProfile.Profile()
        result = super().of(label, profile.runcall, work, *args, **kwargs)
        for entry in profile.getstats():
            self.calls[label][_name(entry.code)] += entry.callcount
        return result


def _name(code: Any) -> str:
    """Return file and function of what a profile holds, or the name of what is not in Python."""
    if not isinstance(code, str):
        return f"{PurePath(code.co_filename).name}:{code.co_name}"
    quoted = code.split("'")  # <method 'sign' of '...' objects>, or <built-in method a.b>
    return quoted[1] if len(quoted) > 1 else code.rstrip(">").rpartition(".")[2]


def budget_of(elements: int, homes: int, *, repeat: int) -> SumBudget:
    """Count the operations of a sum, and measure them and whole sums in turns.

    Args:
        elements: Numbers of the vector.
        homes: How many homes, of which one in ten vanishes after it has joined.
        repeat: How many sums are measured; the least of all counts, of operations too.
    """
    fleet, form = SumFleet(homes), form_of(elements, homes=max(homes, 128))
    absent = homes // ABSENT
    add_up(fleet, form, absent=absent)  # in which keys are derived and caches fill
    clock = _CountingClock()
    add_up(fleet, form, absent=absent, clock=clock)
    operations = _operations(form.words, form.packing.dtype, fleet)
    alone: dict[str, list[float]] = {one.label: [] for one in operations}
    spent: dict[str, list[float]] = {party: [] for party in PARTIES}
    for _ in range(repeat):
        for one in operations:
            alone[one.label].append(_us(one.work))
        summed = add_up(fleet, form, absent=absent).clock
        for party, steps in PARTIES.items():
            spent[party].append(
                sum(summed.total(step) / _parties(summed, party, step) for step in steps)
            )
    return SumBudget(
        elements=elements,
        homes=homes,
        us={label: min(times) for label, times in alone.items()},
        counts={party: _counts(clock, party, operations) for party in PARTIES},
        spent_ms={party: min(times) for party, times in spent.items()},
    )


def _counts(
    clock: _CountingClock, party: str, operations: tuple[Operation, ...]
) -> dict[str, float]:
    """Return how many of each operation a party does: the server in all, others one of them."""
    counts: dict[str, float] = dict.fromkeys((one.label for one in operations), 0.0)
    for step in PARTIES[party]:
        parties = _parties(clock, party, step)
        for one in operations:
            found = sum(times * clock.calls[step][call] for call, times in one.calls.items())
            counts[one.label] += found / parties
    return counts


def _parties(clock: CostClock, party: str, step: str) -> int:
    """Return over how many parties a step is averaged: of homes some have read more before."""
    return 1 if party == "server" else len(clock.ms[step])


def _operations(words: int, dtype: np.dtype[Any], fleet: SumFleet) -> tuple[Operation, ...]:
    """Return what is counted and measured, for vectors of this many words."""
    size, message, signer = words * dtype.itemsize, os.urandom(128), Signer.create()
    signature, private = signer.sign(message), X25519PrivateKey.generate()
    public, own = X25519PrivateKey.generate().public_key(), private.private_bytes_raw()
    data, share = bytes(size), os.urandom(SHARE_BYTES)
    pieces = [min(PIECE_BYTES, size - at) for at in range(0, size, PIECE_BYTES)]
    zeros, room = memoryview(bytes(max(pieces))), memoryview(bytearray(max(pieces) + ROOM_BYTES))
    numbers = np.zeros((2, max(pieces) // dtype.itemsize), dtype)
    cipher = AESGCM(message[:32])
    row = cipher.encrypt(bytes(12), bytes(SECRETS * SHARE_BYTES), message)
    points = np.arange(1, fleet.directory.threshold + 1, dtype=np.int64)
    shares = np.zeros((len(points), LIMBS * len(fleet.homes)), np.uint32)
    part = 1 / len(pieces)

    def stream() -> None:
        keystream = aes_keystream(message[:32], max(pieces))
        for number, count in enumerate(pieces):
            keystream.write(number, zeros[:count], room[: count + ROOM_BYTES])

    def add() -> None:
        for count in pieces:
            total, one = numbers[:, : count // dtype.itemsize]
            np.add(total, one, out=total)

    return (
        Operation(
            "signature checked",
            {"signing.py:signature_holds": 1},
            lambda: signature_holds(signer.public, signature, message),
        ),
        Operation("signature made", {"signing.py:sign": 1}, lambda: signer.sign(message)),
        Operation("X25519 agreement", {"exchange": 1}, lambda: private.exchange(public)),
        Operation(
            "X25519 key from its bytes",
            {"from_private_bytes": 1},
            lambda: X25519PrivateKey.from_private_bytes(own),
        ),
        Operation("HKDF", {"derivation.py:hkdf": 1}, lambda: hkdf(own, message[:32], message)),
        Operation("keystream of a vector", {"keystream.py:write": part}, stream),
        Operation(
            "addition of a vector",
            {"keystream.py:write": part, "aggregator.py:receive": 1},
            add,
        ),
        Operation(
            "SHA-256 of a vector",
            {"joined_sum.py:upload": 1, "aggregator.py:receive": 1},
            lambda: hashlib.sha256(data).digest(),
        ),
        Operation(
            "SHA-256 of 200 bytes or less",
            {"openssl_sha256": 1, "derivation.py:hkdf": -_HASHES_OF_HKDF},
            lambda: share_hashes([0], share),
        ),
        Operation(
            "share opened (AES-GCM)",
            {"decrypt": 1},
            lambda: cipher.decrypt(bytes(12), row, message),
        ),
        Operation(
            "all secrets put together", {"shamir.py:combine": 1}, lambda: combine(points, shares)
        ),
    )


def _us(work: Callable[[], object]) -> float:
    """Return the processor time of an operation, in microseconds: of many at once, the least."""
    times = []
    for _ in range(_TRIALS):
        begin = time.process_time()
        for _ in range(_AT_ONCE):
            work()
        times.append(1e6 * (time.process_time() - begin) / _AT_ONCE)
    return min(times)


def budget_table(found: SumBudget) -> Table:
    """Return the table of a budget: counts, and milliseconds that they take alone."""
    table = Table(
        title=f"{found.elements} numbers, {found.homes} homes: what a sum's operations take alone",
        title_style="",
    )
    table.add_column("")
    table.add_column("us", justify="right")
    for party in found.counts:
        table.add_column(party, justify="right")
        table.add_column("ms", justify="right")
    for label, us in found.us.items():
        counts = [counted[label] for counted in found.counts.values()]
        cells = [(f"{count:.0f}", f"{1e-3 * us * count:.2f}") for count in counts]
        table.add_row(label, f"{us:.2f}", *(cell for pair in cells for cell in pair))
    table.add_section()
    rows: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("all of these: the floor", lambda party: f"{found.floor_ms(party):.2f}"),
        ("what it takes", lambda party: f"{found.spent_ms[party]:.2f}"),
        ("times the floor", lambda party: f"{found.spent_ms[party] / found.floor_ms(party):.2f}"),
    )
    for label, value in rows:
        table.add_row(label, "", *(cell for party in found.counts for cell in ("", value(party))))
    return table
