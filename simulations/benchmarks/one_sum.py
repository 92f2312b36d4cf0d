"""One sum of our secure aggregation, home by home: what each party's part of it costs."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fedhome.secagg import (
    Aggregator,
    Authority,
    Directory,
    FixedPoint,
    Form,
    HomeKeys,
    HomeParty,
    HomeState,
    JoinedSum,
    KeyRing,
    Manifest,
    MemoryStore,
    OpenedSum,
    Parameters,
    Pool,
    Scalar,
    ServerKeys,
    ShareChecks,
    ShareKey,
)

_NOW = 1_700_000_000
_LAYOUT = b"l" * 32
_LOSS = Scalar("loss", 0.0, 8.0, weighted=True)
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class CostClock:
    """Adds up processor time by label, call by call.

    Attributes:
        ms: Milliseconds of each call by label.
    """

    def __init__(self) -> None:
        self.ms: defaultdict[str, list[float]] = defaultdict(list)

    def of(
        self,
        label: str,
        work: Callable[_Given, _Result],
        *args: _Given.args,
        **kwargs: _Given.kwargs,
    ) -> _Result:
        """Do some work and note what it cost."""
        begin = time.process_time()
        result = work(*args, **kwargs)
        self.ms[label].append(1e3 * (time.process_time() - begin))
        return result

    def median(self, label: str) -> float:
        """Return the median call."""
        return float(np.median(self.ms[label]))

    def total(self, label: str) -> float:
        """Return all calls together."""
        return float(np.sum(self.ms[label]))


def form_of(elements: int, *, bits: int = 9, homes: int = 128) -> Form:
    """Return a vector of a weight, a loss and this many numbers."""
    return Form(elements, _LAYOUT, FixedPoint(bits, 0.5, "linf", 50), (_LOSS,), homes)


class SumFleet:
    """Homes, their committee and a server, all of whose keys are drawn here.

    Args:
        homes: How many homes; all are on the committee.
    """

    def __init__(self, homes: int) -> None:
        derived = Parameters.derive(homes=homes, pool=homes, eligible=homes)
        self.a_min, self.tau = derived.a_min, derived.tau
        self._server = ServerKeys.create()
        keys = [HomeKeys.create(f"home-{number:03d}") for number in range(homes)]
        authority = Authority.create()
        self.directory = Directory(
            fleet=os.urandom(16),
            epoch=1,
            seed=os.urandom(32),
            server=self._server.public,
            committee=derived.committee,
            corrupt=derived.corrupt,
            threshold=derived.threshold,
            homes=tuple(own.entry() for own in keys),
        )
        issued = authority.issue(self.directory)
        self.homes = {
            own.home: HomeParty(own, authority.public, state=HomeState(), store=MemoryStore())
            for own in keys
        }
        for home in self.homes.values():
            home.renew(issued)
        self.pool = Pool(self.directory)
        self.checks = ShareChecks(self.directory)
        keys_of_now = [
            ShareKey.from_bytes(self.homes[member].share_key(now=_NOW))
            for member in self.directory.members
        ]
        self.ring = KeyRing(keys=tuple(keys_of_now)).to_bytes()
        self._sum_number = 0

    def aggregator(self, form: Form) -> tuple[Aggregator, bytes]:
        """Take a bundle of each home, sign the terms, and return them with what adds up."""
        self._sum_number += 1
        bundles = self.pool.take(self.homes)
        manifest = Manifest.of(
            self.directory,
            bundles.values(),
            run=bytes(16),
            turn=self._sum_number,
            round=self._sum_number,
            purpose="train",
            plan=bytes(32),
            settings=bytes(32),
            model_hash=self._sum_number.to_bytes(32, "big"),  # of one model, one sum is opened
            form=form,
            n_min=len(bundles),
            a_min=self.a_min,
            degree=0,
            tau=self.tau,
            expires=_NOW + 600,
        ).sign(self._server)
        return Aggregator(manifest, self.directory, bundles), manifest


@dataclass(frozen=True, kw_only=True)
class Sum:
    """A sum that was opened.

    Args:
        clock: What each step cost, by party: ``home: ...``, ``member: ...``, ``server: ...``.
        upload_bytes: Bytes of a home's upload.
        peak_bytes: Most memory that the server took for this sum; 0 unless it was measured.
    """

    clock: CostClock
    upload_bytes: int
    peak_bytes: int


def add_up(
    fleet: SumFleet,
    form: Form,
    *,
    absent: int,
    weigh: bool = False,
    clock: CostClock | None = None,
) -> Sum:
    """Add up a vector of every home, of which some vanish after they joined.

    Args:
        fleet: Its homes make a bundle each, and take part.
        form: What lies in a vector.
        absent: How many homes never upload.
        weigh: Measure the server's memory, which takes time of its own.
        clock: What measures each step; None: processor time.

    Raises:
        RuntimeError: The sum is not exactly what the homes added up.
    """
    clock, memory = clock or CostClock(), _Memory(weigh=weigh)
    for name, home in fleet.homes.items():
        bundle = clock.of("home: bundle", home.bundle, fleet.ring, now=_NOW)
        clock.of("server: bundles", fleet.pool.add, name, bundle)
    _check(fleet, clock)
    with memory.watched():
        aggregator, manifest = fleet.aggregator(form)
    expected = np.zeros(form.words, form.packing.dtype)
    upload = b""
    for number, (name, home) in enumerate(fleet.homes.items()):
        joined = clock.of("home: join", _join, home, manifest, aggregator.manifest.model_hash)
        if number < absent:
            continue
        words = clock.of("home: encode", form.encode, *_numbers(form, number))[0]
        expected += words
        upload = clock.of("home: upload", joined.upload, words)
        with memory.watched():
            clock.of("server: receive", aggregator.receive, name, upload)
    with memory.watched():
        opened = _open(fleet, aggregator, clock)
    if not np.array_equal(opened.words, expected):
        raise RuntimeError("the opened sum is not what the homes added up")
    return Sum(clock=clock, upload_bytes=len(upload), peak_bytes=memory.peak)


def _check(fleet: SumFleet, clock: CostClock) -> None:
    """Let as many members as open a sum check their shares of the bundles that wait."""
    bundles = [bundle for name in fleet.homes for bundle in fleet.pool.waiting(name)]
    requests = clock.of("server: ask for checks", fleet.checks.requests, bundles)
    for name in fleet.directory.members[: fleet.directory.threshold]:
        answer = clock.of("member: check", fleet.homes[name].check, requests[name], now=_NOW)
        clock.of("server: checks", fleet.checks.receive, name, answer)
    if not all(map(fleet.checks.sound, bundles)):
        raise RuntimeError("members did not find their shares right")
    fleet.checks.forget(bundles)


def _join(home: HomeParty, manifest: bytes, model: bytes) -> JoinedSum:
    return home.join(
        manifest,
        now=_NOW,
        purpose="train",
        settings=bytes(32),
        model_hash=model,
        layout=_LAYOUT,
    )


def _numbers(form: Form, number: int) -> tuple[Any, ...]:
    """Return what a home encodes: its update, weight, loss and key for rounding."""
    drawn = np.random.default_rng(number)
    update = drawn.normal(0, 0.1, (1, form.elements)).astype(np.float32)
    return update, np.array([number % 50 + 1]), drawn.uniform(0, 8, (1, 1)), [os.urandom(32)]


def _open(fleet: SumFleet, aggregator: Aggregator, clock: CostClock) -> OpenedSum:
    """Let the first members that suffice vote and answer, and open the sum."""
    members = fleet.directory.members[: fleet.directory.threshold]
    for ask, take, part in (
        (aggregator.polls, aggregator.receive_vote, "vote"),
        (aggregator.requests, aggregator.receive_opening, "opening"),
    ):
        requests = clock.of(f"server: ask for {part}s", ask)
        for member in members:
            answer = clock.of(
                f"member: {part}", fleet.homes[member].answer, requests[member], now=_NOW
            )
            clock.of(f"server: {part}s", take, member, answer)
    return clock.of("server: open", aggregator.open)


class _Memory:
    """The most memory in use above what there was at first, while it is watched."""

    def __init__(self, *, weigh: bool) -> None:
        self._weigh = weigh
        self._before: int | None = None
        self.peak = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        if not self._weigh:
            yield
            return
        if self._before is None:
            self._before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield
        self.peak = max(self.peak, tracemalloc.get_traced_memory()[1] - self._before)


def server_memory(elements: int, homes: Iterable[int]) -> dict[int, float]:
    """Return the most memory that a server takes for a sum, in vectors, by number of homes."""
    form, bytes_by_count = form_of(elements), {}
    size = form.words * form.packing.dtype.itemsize
    for count in homes:
        fleet = SumFleet(count)
        tracemalloc.start()
        try:
            bytes_by_count[count] = (
                add_up(fleet, form, absent=count // 10, weigh=True).peak_bytes / size
            )
        finally:
            tracemalloc.stop()
    return bytes_by_count
