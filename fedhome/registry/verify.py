"""The whole chain, checked: files, hashes, signatures, order, layouts; every fault is listed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedhome.errors import RegistryError
from fedhome.registry.release import NONE, ReleaseManifest
from fedhome.registry.shelf import read_model, read_release, unknown_files
from fedhome.registry.vault import Index


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with one release.

    Args:
        number: The release's number.
        reason: A short word, as of `RegistryError`.
        message: A plain sentence.
    """

    number: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `Registry.verify` found.

    Args:
        releases: How many releases there are.
        models: How many models were read.
        faults: All that is wrong, in the order of the chain.
        leftovers: Files that a crash left: no release, and removed by the next prune.
    """

    releases: int
    models: int
    faults: tuple[Fault, ...]
    leftovers: tuple[Path, ...]


def report_on(folder: Path, index: Index) -> Report:
    """Return what is wrong with a registry's releases."""
    faults: list[Fault] = []
    manifests: dict[int, ReleaseManifest] = {}
    models = 0
    for number in range(1, len(index.entries) + 1):
        try:
            manifests[number] = read_release(folder, index, number).manifest
            faults += _chain_faults(index, manifests, number)
            if index.entries[number - 1].kept:
                read_model(folder, index, manifests[number])
                models += 1
        except RegistryError as error:
            faults.append(Fault(number=number, reason=error.reason, message=error.message))
    return Report(
        releases=len(index.entries),
        models=models,
        faults=tuple(faults),
        leftovers=tuple(unknown_files(folder, index)),
    )


def _chain_faults(index: Index, manifests: dict[int, ReleaseManifest], number: int) -> list[Fault]:
    """Return what is wrong with a release's position among those before it."""
    manifest, before = manifests[number], manifests.get(number - 1)
    faults: list[tuple[str, str]] = []
    if manifest.previous != (index.entries[number - 2].hash if number > 1 else NONE):
        faults.append(("chain", "does not name the release before it"))
    if before is not None and before.run_hash == manifest.run_hash:
        if manifest.round < before.round + (0 if manifest.restores else 1):
            faults.append(("round", f"is of round {manifest.round}, after {before.round}"))
        if not manifest.restores and not before.restores and manifest.layout != before.layout:
            faults.append(("layout", "has another layout than its run had before"))
    if manifest.restores:
        target = manifests.get(manifest.restores)
        if target is not None and (target.payload, target.layout, target.storage) != (
            manifest.payload,
            manifest.layout,
            manifest.storage,
        ):
            faults.append(("chain", f"is not the model of release {manifest.restores}"))
    return [
        Fault(number=number, reason=reason, message=f"release {number} {what}")
        for reason, what in faults
    ]
