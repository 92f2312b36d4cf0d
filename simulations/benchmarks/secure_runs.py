"""Whole simulations in the clear, with ideal sums and with masks: what they cost, and where."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

import fedhome.server.rounds.round_loop
import fedhome.server.rounds.sums
import fedhome.simulations.engines.chunk_sums
import fedhome.simulations.engines.grid
from fedhome import rng
from fedhome.plan.aggregation_settings import AggregationMode
from fedhome.plan.settings import Plan
from fedhome.run.events import Event
from fedhome.secagg import (
    Aggregator,
    Authority,
    Form,
    HomeKeys,
    HomeParty,
    JoinedSum,
    Pool,
    ShareChecks,
    member,
)
from fedhome.secagg.sealing_party import SealingParty
from fedhome.server.rounds.sum_manifests import SumManifests
from fedhome.simulations.benchmarks.stopwatch import Stopwatch, TimedFunction, timing
from fedhome.simulations.engines.kernels import FusedKernel
from fedhome.simulations.engines.rounding import Rounding
from fedhome.simulations.simulate import simulate

_Kind = TypeVar("_Kind", bound=Hashable)
_SUMMED: tuple[AggregationMode, ...] = ("ideal", "secure")
REST = "the rest: data, evaluation, files"
_TIMED_FUNCTIONS = (
    TimedFunction("training", FusedKernel, "train"),
    TimedFunction("training", FusedKernel, "train_sum"),
    TimedFunction("ideal: greatest changes", Rounding, "largest"),
    TimedFunction("ideal: rounding and adding", Rounding, "sums"),
    TimedFunction(
        "ideal: numbers beside, words", fedhome.simulations.engines.chunk_sums, "train_numbers"
    ),
    TimedFunction("ideal: numbers beside, words", Form, "total_of_sums"),
    TimedFunction("ideal: numbers beside, words", Form, "decode"),
    TimedFunction(
        "ideal: numbers beside, words", fedhome.simulations.engines.chunk_sums, "rounding_keys"
    ),
    TimedFunction("orders of batches", rng, "shuffles"),
    TimedFunction("messages", fedhome.server.rounds.sums, "broadcast_messages"),
    TimedFunction("messages", fedhome.simulations.engines.grid, "number_messages"),
    TimedFunction("messages", fedhome.server.rounds.round_loop, "sound_replies"),
    TimedFunction("keys, directory", HomeKeys, "__init__"),
    TimedFunction("keys, directory", Authority, "issue"),
    TimedFunction("keys, directory", HomeParty, "renew"),
    TimedFunction("homes: bundles", SealingParty, "bundle"),
    TimedFunction("homes: joining", HomeParty, "join"),
    TimedFunction("homes: encoding", Form, "encode"),
    TimedFunction("homes: masking, uploading", JoinedSum, "upload"),
    TimedFunction("members: checks", SealingParty, "check"),
    TimedFunction("members: votes", HomeParty, "answer"),
    TimedFunction("members: openings", member, "check_votes"),
    TimedFunction("members: openings", member, "shares"),
    TimedFunction("server: bundles", Pool, "add"),
    TimedFunction("server: checks", ShareChecks, "requests"),
    TimedFunction("server: checks", ShareChecks, "receive"),
    TimedFunction("server: manifests", SumManifests, "manifest"),
    TimedFunction("server: uploads", Aggregator, "receive"),
    TimedFunction("server: votes, openings", Aggregator, "polls"),
    TimedFunction("server: votes, openings", Aggregator, "receive_vote"),
    TimedFunction("server: votes, openings", Aggregator, "requests"),
    TimedFunction("server: votes, openings", Aggregator, "receive_opening"),
    TimedFunction("server: opening the sum", Aggregator, "open"),
)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a simulation cost.

    Args:
        cpu_s: Processor time, from the plan to the run's folder.
        wall_s: Seconds on the clock.
        round_ms: Processor time of a round in the middle, the first left out.
        mean_ms: Of a round in the mean, the first left out: not all rounds are tested.
        parts_s: Processor time by what it was spent on; the parts add up to the total.
    """

    cpu_s: float
    wall_s: float
    round_ms: float
    mean_ms: float
    parts_s: Mapping[str, float]


def run(plan: Plan, mode: AggregationMode) -> Ran:
    """Simulate a plan in one process and one thread, whatever it says of these.

    Args:
        plan: The plan.
        mode: How its updates are added up.
    """
    marks: list[float] = []

    def note(event: Event) -> None:
        if event.event == "round-closed":
            marks.append(time.process_time())

    gc.collect()  # so that no run pays for what another left behind
    watch = Stopwatch()
    changed = plan.change(aggregation={"mode": mode}, engine={"threads": 1})
    with tempfile.TemporaryDirectory() as folder, timing(watch, _TIMED_FUNCTIONS):
        begin, clock = time.process_time(), time.perf_counter()
        simulate(changed, out=Path(folder) / "run", on_event=note)
        cpu_s, wall_s = time.process_time() - begin, time.perf_counter() - clock
    parts = dict(watch.cpu_s)
    return Ran(
        cpu_s=cpu_s,
        wall_s=wall_s,
        round_ms=1e3 * float(np.median(np.diff(marks))),
        mean_ms=1e3 * float(np.mean(np.diff(marks))),
        parts_s=parts | {REST: cpu_s - sum(parts.values())},
    )


def compare(plan: Plan, modes: tuple[AggregationMode, ...], repeat: int) -> dict[str, Ran]:
    """Run a plan in several modes in turn, and return the run in the middle of each.

    Args:
        plan: The plan.
        modes: The modes.
        repeat: How often each runs; one more at first fills caches and is not counted.
    """
    runs = _in_turns({mode: (plan, mode) for mode in modes}, repeat)
    return {
        mode: sorted(runs_of_mode, key=lambda one: one.round_ms)[(len(runs_of_mode) - 1) // 2]
        for mode, runs_of_mode in runs.items()
    }


def compare_tests(plan: Plan, every: tuple[int, ...], repeat: int) -> dict[str, dict[int, float]]:
    """Return a round's processor time in the mean, ms: the least, by mode and how often one tests.

    Args:
        plan: The plan.
        every: In every how many rounds homes test the model (``rounds.evaluate_every``).
        repeat: How often each runs, in turns, after one run that is not counted.
    """
    kinds: dict[tuple[AggregationMode, int], tuple[Plan, AggregationMode]] = {
        (mode, often): (plan.change(rounds={"evaluate_every": often}), mode)
        for mode in _SUMMED
        for often in every
    }
    runs = _in_turns(kinds, repeat)
    least = {kind: min(one.mean_ms for one in of_kind) for kind, of_kind in runs.items()}
    return {mode: {often: least[mode, often] for often in every} for mode in _SUMMED}


def _in_turns(
    kinds: Mapping[_Kind, tuple[Plan, AggregationMode]], repeat: int
) -> dict[_Kind, list[Ran]]:
    """Run plans in turns, after one run that fills caches and is not counted."""
    run(*next(iter(kinds.values())))
    runs: dict[_Kind, list[Ran]] = {kind: [] for kind in kinds}
    for _ in range(repeat):
        for kind, (plan, mode) in kinds.items():
            runs[kind].append(run(plan, mode))
    return runs
