"""What a run ends with becomes a signed release in the server's own registry, and homes use it.

The models of rounds are candidates: they lie in the run's folder, and no home takes them. One of
them is promoted at the end, where the homes' validation says that it is not worse than the release
in use. What cannot be published is reported in the log: the model is in the run's folder, and
`fedhome model promote` tries again.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RegistryError, RunError
from fedhome.keys.signing import ServerKeys
from fedhome.plan.learnt_changes import learnt_by
from fedhome.plan.settings import Plan
from fedhome.registry import ModelPayload, Registry, Release, release_of
from fedhome.registry.release import Draft, Privacy, ReleaseScores
from fedhome.registry.run_origin import origin_of, privacy_told
from fedhome.registry.vault import INDEX, registry_errors
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.report.tier_scores import release_scores
from fedhome.store import disk
from fedhome.wire.layout import Layout

MODELS = "models"
"""The registry's folder, in the server's."""
KEEP = 20
"""Newest releases whose models stay on the disk, with pinned ones."""
RELEASED, KEPT, FAILED = "model-released", "release-kept", "release-failed"
_STORAGE, _LOSSES = "float32", "losses.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that may become the release that homes use.

    Args:
        flat: The model, float32 ``[layout.size]``.
        round: The round that made it.
        homes: Homes in that round's sum.
        loss: The homes' mean validation loss with it; None: nobody measured it.
    """

    flat: NDArray[np.float32]
    round: int
    homes: int
    loss: float | None


class Publisher:
    """Publishes what a run ends with.

    Args:
        folder: The registry's folder, see `registry_of`.
        fleet: The fleet's number, 16 bytes.
        keys: The server's keys: they sign.
        run: The run's folder.
        log: The run's log, which has begun.
        keep: How many of the newest releases keep their model.

    Raises:
        RegistryError: The registry cannot be used: better known before the first round than after
            months without a release.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fleet: bytes,
        keys: ServerKeys,
        run: RunFolder,
        log: EventLog,
        keep: int = KEEP,
    ) -> None:
        self._registry = registry_of(folder, fleet=fleet, keys=keys)
        self._keys, self._log, self._keep, self._run = keys, log, keep, run
        self._origin = origin_of(run)
        self._learnt = learnt_by(Plan.parse(run.read_plan(), where=str(run.plan_path)))
        self._privacy: Privacy | None = None
        self._logged: set[object] = set()
        for event in run.read_events():
            self._note(event)
        log.subscribe(self._note)

    @property
    def in_use(self) -> Release | None:
        """The release that homes use; None before the first.

        Raises:
            RegistryError: The registry, or that release, is damaged.
        """
        releases = self._registry.releases()
        return releases[-1] if releases else None

    def made(self, release: Release) -> bool:
        """Whether a release is of this run."""
        return release.manifest.run_hash == self._origin.run_hash

    def run_of(self, release: Release) -> str:
        """Return the name of the run that made a release's model.

        Raises:
            RegistryError: The release that it restores is damaged.
        """
        restored = release.manifest.restores
        if not restored:
            return release.manifest.run
        return self._registry.releases()[restored - 1].manifest.run

    def loss_of(self, release: Release) -> float | None:
        """Return the homes' loss with a release's model when it was made; None: nobody knows.

        Raises:
            RegistryError: What is known of releases cannot be read.
        """
        return losses_in(self._registry.folder).get(release.manifest.payload.hex())

    def model_of(self, release: Release) -> ModelPayload:
        """Return the model of a release.

        Raises:
            RegistryError: It is damaged or gone.
        """
        return self._registry.load(release)

    def promote(self, candidate: Candidate, layout: Layout, why: str) -> None:
        """Make a model the release that homes use; the very same once more does nothing.

        Args:
            candidate: The model.
            layout: Its layout.
            why: Why it takes the place of the release in use, as a clause.
        """
        try:
            draft = release_of(
                ModelPayload(layout, candidate.flat),
                self._origin,
                round=candidate.round,
                homes=candidate.homes,
                storage=_STORAGE,
                privacy=self._privacy,
                scores=self._scores(),
                learnt=self._learnt,
            )
            keep_loss(self._registry.folder, draft, candidate.loss)
            release = promote(self._registry, draft, self._keys)
        except RegistryError as error:
            self._log.append(
                FAILED, round=candidate.round, reason=error.reason, message=error.message
            )
            return
        self._log_release(release, why)
        try:
            if removed := self._registry.prune(self._keep):
                self._log.append("models-removed", releases=removed, kept=self._keep)
        except RegistryError as error:
            self._log.append("note", text=f"old models stay on the disk: {error.message}")

    def _scores(self) -> tuple[ReleaseScores, ...]:
        """Return what the release tells of its slices' scores; a release does without, too."""
        try:
            return release_scores(self._run)
        except RunError as error:
            self._log.append("note", text=f"the release tells no scores of slices: {error.message}")
            return ()

    def keep_in_use(self, candidate: Candidate, why: str) -> None:
        """Tell that the release in use stays; once more does nothing.

        Args:
            candidate: The model that does not take its place.
            why: Why, as a clause.
        """
        if KEPT not in self._logged:
            self._log.append(KEPT, round=candidate.round, reason=why)

    def _note(self, event: Event) -> None:
        """Take from the log what was released, and what the run has spent of homes' privacy."""
        if event.event == RELEASED:
            self._logged.add(event.data.get("release"))
        if event.event == KEPT:
            self._logged.add(KEPT)
        self._privacy = privacy_told(event) or self._privacy

    def _log_release(self, release: Release, why: str) -> None:
        """Log a release, unless a process that ended meanwhile did."""
        if release.number not in self._logged:
            manifest = release.manifest
            self._log.append(
                RELEASED,
                release=release.number,
                round=manifest.round,
                restores=manifest.restores,
                hash=manifest.hash.hex(),
                reason=why,
            )


def promote(registry: Registry, draft: Draft, keys: ServerKeys) -> Release:
    """Make a model the newest release, and return that.

    Args:
        registry: The server's.
        draft: The model. If it was published before and another release came since, it comes back
            as a roll-back does.
        keys: The server's keys: they sign.

    Raises:
        RegistryError: As `Registry.publish` and `Registry.rollback`.
    """
    release = registry.publish(draft, keys)
    newest = registry.find("latest")
    if newest.manifest.payload == release.manifest.payload:
        return newest
    return registry.rollback(release, keys)


def losses_in(folder: Path) -> dict[str, float]:
    """Return the homes' loss with models when these were made, by the SHA-256 of their payload.

    Args:
        folder: The registry's.

    Raises:
        RegistryError: The file is damaged, or cannot be read.
    """
    path = folder / _LOSSES
    if not path.exists():
        return {}
    try:
        with registry_errors():
            table = json.loads(disk.read(path))
        return {str(payload): float(loss) for payload, loss in table.items()}
    except (ValueError, TypeError, AttributeError):
        raise RegistryError(
            f"{path} is damaged",
            reason="altered",
            hint="remove it: the next model is then promoted by hand, with `fedhome model promote`",
        ) from None


def keep_loss(folder: Path, draft: Draft, loss: float | None) -> None:
    """Keep what homes say of a model that is about to be released, before it is.

    Args:
        folder: The registry's.
        draft: The model.
        loss: Their mean validation loss; None: they do not say.

    Raises:
        RegistryError: It cannot be written.
    """
    if loss is None:
        return
    losses = losses_in(folder) | {hashlib.sha256(draft.payload).hexdigest(): loss}
    with registry_errors():
        disk.put(folder / _LOSSES, json.dumps(losses).encode())


def registry_of(folder: Path, *, fleet: bytes, keys: ServerKeys) -> Registry:
    """Return the registry of a server's key; make it first where there is none.

    A registry belongs to one key. That of an earlier key is set aside as
    ``models-<first 16 digits of the key>``, and comes back with its key.

    Args:
        folder: Where the registry of the key in use lies.
        fleet: The fleet's number.
        keys: The server's keys.

    Raises:
        RegistryError: A folder cannot be used, or the registry in it cannot be opened.
    """
    if (folder / INDEX).exists():
        registry = Registry.open(folder)
        if registry.server == keys.public:
            return registry
        _move(folder, _aside(folder, registry.server))
    # Also after a crash between the two moves.
    if (aside := _aside(folder, keys.public)).exists():
        _move(aside, folder)
        return Registry.open(folder)
    return Registry.create(folder, fleet=fleet, server=keys.public)


def registry_folder(folder: Path, server: bytes) -> Path | None:
    """Return where the registry of a server key lies, also one that is set aside; None: nowhere.

    Args:
        folder: Where the registry of the key in use lies.
        server: The key's public half.

    Raises:
        RegistryError: The registry in the folder cannot be opened.
    """
    if (folder / INDEX).exists() and Registry.open(folder).server == server:
        return folder
    aside = _aside(folder, server)
    return aside if (aside / INDEX).exists() else None


def _aside(folder: Path, server: bytes) -> Path:
    return folder.with_name(f"{folder.name}-{server.hex()[:16]}")


def _move(old: Path, new: Path) -> None:
    with registry_errors(), disk.errors_of(new):
        os.rename(old, new)  # noqa: PTH104 - a test lets every step fail
        disk.sync(new.parent)
