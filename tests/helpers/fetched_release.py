"""The fleet's release in a home's folder, as its agent keeps it."""

from __future__ import annotations

import numpy as np

from fedhome.clients.agent.kept_releases import MODEL, RELEASE_FILE, _StoredRelease
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.registry import ModelPayload, Origin, Registry, release_of
from fedhome.run.model_file import Learnt
from helpers.kept_home import home_in
from helpers.registry_world import ORIGIN, SERVER


def fetched(
    place: HomeFolder,
    model: ModelPayload,
    origin: Origin = ORIGIN,
    *,
    learnt: Learnt = "level",
) -> None:
    """Put a release into a home's folder, as its agent keeps it."""
    shelf = place.path.parent / "registry"
    registry = Registry.create(shelf, fleet=place.anchor.fleet, server=SERVER.public)
    registry.publish(release_of(model, origin, round=1, homes=5, learnt=learnt), SERVER)
    kept = _StoredRelease(server=SERVER.public, release=registry.package("latest"))
    (place.path / MODEL).mkdir(exist_ok=True)
    (place.path / MODEL / RELEASE_FILE).write_bytes(kept.to_bytes())


def release_like(place: HomeFolder, *, seed: int = 1, bias: float | None = None) -> ModelPayload:
    """Return a model of the home's plan: drawn, or one that always puts the same out."""
    layout = home_in(place).device.learning.layout
    flat = np.random.default_rng(seed).normal(size=layout.size).astype(np.float32)
    if bias is not None:
        flat[:] = 0.0
        flat[-1] = bias  # the last layer's bias, or that of the last class
    return ModelPayload(layout, flat)
