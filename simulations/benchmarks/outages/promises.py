"""What must hold whatever happened to a fleet; each function returns what does not, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from fedhome.clients.agent.kept_releases import release_of
from fedhome.errors import FedHomeError
from fedhome.registry import Registry
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import FINISHED
from fedhome.server.daemon.publishing import MODELS
from fedhome.simulations.benchmarks.outages.own_losses import untrue_losses, worse_by_the_tables
from fedhome.simulations.benchmarks.outages.same_weights import (
    EXACT,
    greatest_difference,
    rounded_anew,
)
from fedhome.simulations.benchmarks.outages.tested_fleet import TestedFleet
from fedhome.simulations.benchmarks.outages.told_absences import untold
from fedhome.simulations.benchmarks.outages.working_in import processes_of

_TEMPORARY = "*.tmp"


def of_a_run(fleet: TestedFleet, undisturbed: RunFolder | None) -> list[str]:
    """Return what a run that is over did not keep.

    Args:
        fleet: The fleet whose last run it is.
        undisturbed: A run of the same plan that nothing happened to; None: there is none.
    """
    current = fleet.current
    if current is None or current.state != FINISHED:
        return [f"the run did not finish: {current}"]
    run, count = fleet.run, fleet.plan.rounds.count
    try:
        events, rounds = run.read_events(), run.read_rounds()
    except FedHomeError as error:
        return [str(error)]
    broken = []
    if rounds.column("round").to_pylist() != [*range(1, count + 1)]:
        broken.append(f"{run.path.name} has {rounds.num_rows} rounds, and not {count}")
    answered = [int(homes) for homes in rounds.column("homes_answered").to_pylist()]
    least = fleet.plan.aggregation.min_cohort
    if min(answered, default=0) < least:
        broken.append(f"a round of {run.path.name} has a sum over fewer than {least} homes")
    if not run.report_path.exists():
        broken.append(f"{run.path.name} has no report")
    broken += untold(events, len(fleet.homes))
    if undisturbed is not None and set(answered) == {len(fleet.homes)}:
        far = greatest_difference(run, undisturbed)
        if far > EXACT + rounded_anew(run):
            broken.append(f"every round had all homes, and the model is {far:.2g} off")
    return broken


def has_release(fleet: TestedFleet, home: str) -> bool:
    """Return whether a home uses the newest release that there is."""
    try:
        kept = release_of(fleet.homes[home])
        releases = Registry.open(fleet.server.path / MODELS).releases()
    except FedHomeError:
        return False
    return kept is not None and bool(releases) and kept.manifest.hash == releases[-1].hash


def of_releases(
    fleet: TestedFleet, before: list[bytes], say: Callable[[str], None]
) -> tuple[list[str], list[bytes]]:
    """Return what is wrong with the releases: lost ones, damaged ones, and worse ones.

    What a server is told of each must be what homes' own rows give, and it must have taken the
    better one by that. It does not see what the first step of a run spoils, nor a home that is in
    one of two sums alone: how good releases are over all homes is said, and not promised.

    Args:
        fleet: The fleet.
        before: The hashes of the releases that there were before.
        say: Called with how good the releases are, a clause.

    Returns:
        What is wrong; and the hashes of all releases now.
    """
    try:
        registry = Registry.open(fleet.server.path / MODELS)
        releases, report = registry.releases(), registry.verify()
        broken, losses = untrue_losses(fleet.plan, fleet.homes, registry)
        for earlier, later in pairwise(releases):
            broken += worse_by_the_tables(later, earlier, fleet.server.runs)
    except FedHomeError as error:
        return [str(error)], before
    broken += [f"release {fault.number}: {fault.message}" for fault in report.faults]
    hashes = [release.hash for release in releases]
    if hashes[: len(before)] != before:
        broken.append(f"releases were lost: {len(before)} were there, and are not any more")
    told = ", ".join(f"{loss:.5g}" for loss in losses)
    say(f"loss of the releases over all homes' own validation rows: {told or 'there is none'}")
    return broken, hashes


def of_logs(fleet: TestedFleet) -> list[str]:
    """Return which logs tell of an error that nobody foresaw."""
    logs = [*fleet.logs.glob("*.log"), *fleet.server.logs.glob("*.log")]
    return [
        f"{path.name} has a traceback: {_after(path, b'Traceback')}"
        for path in sorted(logs)
        if b"Traceback" in path.read_bytes()
    ]


def _after(path: Path, mark: bytes) -> str:
    text = path.read_bytes().partition(mark)[2].decode(errors="replace")
    ends = [line for line in text.splitlines()[1:] if line and not line.startswith(" ")]
    return ends[0] if ends else "its end is missing"


def of_what_is_left(root: Path) -> list[str]:
    """Return what a fleet left behind whose processes were ended.

    Args:
        root: The fleet's folder.
    """
    left = [f"process {number}: {' '.join(words)}" for number, words in processes_of(root).items()]
    return [f"left behind: {one}" for one in (*left, *_files(root))]


def _files(root: Path) -> Iterator[str]:
    for path in root.rglob(_TEMPORARY):
        yield str(path.relative_to(root))
