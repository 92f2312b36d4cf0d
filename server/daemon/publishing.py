"""Every model that a round ends with becomes a signed release in the server's own registry.

A model is published once its checkpoint is durable, so no release is ever of a round that a crash
makes the server do again; a process that ends in between publishes when it goes on. What cannot
be published is reported in the log and the run continues: the model is in the checkpoint, and homes
that miss a release take the next one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RegistryError
from fedhome.keys.signing import ServerKeys
from fedhome.registry import ModelPayload, Registry, Release, release_of
from fedhome.registry.formats import encode
from fedhome.registry.release import Privacy
from fedhome.registry.run_origin import origin_of
from fedhome.registry.vault import INDEX, registry_errors
from fedhome.run.events import SPENT, Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.store import disk
from fedhome.wire.layout import Layout

MODELS = "models"
"""The registry's folder, in the server's."""
KEEP = 20
"""Newest releases whose models stay on the disk, with pinned ones."""
RELEASED, FAILED = "model-released", "release-failed"
_STORAGE = "float32"


class Publisher:
    """Publishes the models of one run.

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
        self._keys, self._log, self._keep = keys, log, keep
        self._origin = origin_of(run)
        self._last = 0
        self._privacy: Privacy | None = None
        self._logged: set[object] = set()
        for event in run.read_events():
            self._note(event)
        log.subscribe(self._note)

    def publish(
        self,
        round: int,  # noqa: A002 - Flower's word
        homes: int,
        flat: NDArray[np.float32],
        layout: Layout,
    ) -> None:
        """Publish a round's model; the very same once more does nothing.

        Args:
            round: The round that made it, whose checkpoint is durable.
            homes: Homes in its sum.
            flat: The model, float32 ``[layout.size]``.
            layout: Its layout.
        """
        if round == self._last:
            return
        try:
            draft = release_of(
                ModelPayload(layout, flat),
                self._origin,
                round=round,
                homes=homes,
                storage=_STORAGE,
                privacy=self._privacy,
            )
            release = self._registry.publish(draft, self._keys)
        except RegistryError as error:
            self._log_failure(round, error)
            return
        self._last = round
        self._log_release(release)
        try:
            self._registry.prune(self._keep)
        except RegistryError as error:
            self._log.append("note", text=f"old models stay on the disk: {error.message}")

    def go_back(self, flat: NDArray[np.float32], layout: Layout) -> None:
        """Publish the run's result as the newest release, where an earlier round made it.

        Args:
            flat: The model, float32 ``[layout.size]``.
            layout: Its layout.
        """
        try:
            payload = hashlib.sha256(encode(ModelPayload(layout, flat), _STORAGE)[0]).digest()
            releases = self._registry.releases()
            same = [one for one in releases if one.kept and one.manifest.payload == payload]
            if not same:
                raise RegistryError(  # noqa: TRY301 - logged like the registry's own refusals
                    "the model with the lowest validation loss is in no release", reason="unknown"
                )
            if same[-1].number != releases[-1].number:
                self._log_release(self._registry.rollback(same[-1], self._keys))
        except RegistryError as error:
            self._log_failure(self._last, error)

    def _note(self, event: Event) -> None:
        """Take from the log what was released, and what the run has spent of homes' privacy."""
        if event.event == RELEASED:
            self._logged.add(event.data.get("release"))
        if event.event == SPENT:
            told: Mapping[str, Any] = event.data
            self._privacy = Privacy(
                mechanism=told["mechanism"],
                noise=told["noise_multiplier"],
                epsilon=told["epsilon"],
                delta=told["delta"],
            )

    def _log_release(self, release: Release) -> None:
        """Log a release, unless a process that ended meanwhile did."""
        if release.number not in self._logged:
            manifest = release.manifest
            self._log.append(
                RELEASED,
                release=release.number,
                round=manifest.round,
                restores=manifest.restores,
                hash=manifest.hash.hex(),
            )

    def _log_failure(self, round_number: int, error: RegistryError) -> None:
        self._log.append(FAILED, round=round_number, reason=error.reason, message=error.message)


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
