"""What a run's folder says about a model that is to be published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedhome.errors import RegistryError
from fedhome.registry.formats import SHARE, ModelPayload
from fedhome.registry.release import (
    Draft,
    Origin,
    Privacy,
    ReleaseScores,
    ReleaseSlices,
    ReleaseTier,
    release_of,
)
from fedhome.run.events import SPENT, Event
from fedhome.run.folder import RunFolder
from fedhome.wire.layout import Layout, slice_units


def origin_of(folder: RunFolder) -> Origin:
    """Return plan and run of a folder; they stay the same for as long as the run lasts.

    Raises:
        RunError: The plan cannot be read.
        EventLogError: The log was altered.
        RegistryError: ``unfinished``: the log is not begun.
    """
    events = folder.read_events()
    if not events:
        raise _unfinished(folder)
    text, plan = folder.plan_text(), folder.read_plan()
    return Origin(
        plan=str(plan.get("name") or "plan"),
        plan_hash=hashlib.sha256(text.encode()).digest(),
        run=folder.path.resolve().name or "run",
        run_hash=bytes.fromhex(events[0].hash),
        slices=_slices(plan),
    )


def _slices(plan: Mapping[str, Any]) -> tuple[ReleaseSlices, ...]:
    """Return in which slices devices train, by a resolved plan's tables."""
    slicing = plan.get("slicing", {})
    tiers = sorted(slicing.get("tiers", ()), key=lambda one: (one["depth"], one["width"]))
    if not tiers or plan["model"]["name"] != "mlp":  # a release names layers of a perceptron
        return ()
    hidden = plan["model"]["hidden"]
    named = (
        ReleaseTier(name=one["name"], units=slice_units(hidden, one["width"], one["depth"]))
        for one in tiers
    )
    return (ReleaseSlices(rule=slicing["rule"], tiers=tuple(named)),)


def privacy_told(event: Event) -> Privacy | None:
    """Return what a run has spent of homes' privacy, by an event of its log; None by another one.

    Args:
        event: The event.
    """
    if event.event != SPENT:
        return None
    told: Mapping[str, Any] = event.data
    return Privacy(
        mechanism=told["mechanism"],
        noise=told["noise_multiplier"],
        epsilon=told["epsilon"],
        delta=told["delta"],
    )


def release_of_run(
    folder: RunFolder,
    *,
    storage: str = "float32",
    share: float = SHARE,
    ended: bool = True,
    scores: tuple[ReleaseScores, ...] = (),
) -> Draft:
    """Return the model of a finished run as it can be published.

    Args:
        folder: The run's folder.
        ended: Whether the run must have come to its end; else its rounds alone.
        storage: Format, see `release_of`.
        share: Share of the numbers that ``sparse-int8`` keeps.
        scores: As of `release_of`.

    Raises:
        RunError: A file of the run is missing or damaged.
        RegistryError: ``unfinished``, or as for `release_of`.
    """
    if ended and not folder.finished:
        raise _unfinished(folder)
    spent = [told for event in folder.read_events() if (told := privacy_told(event))]
    model = folder.read_model()
    layout = Layout.of(model.parameters)
    answered = folder.read_rounds().column("homes_answered").to_pylist()
    return release_of(
        ModelPayload(layout, layout.flatten(model.parameters).astype(np.float32, copy=False)),
        origin_of(folder),
        round=model.round,
        homes=answered[-1] if answered else 0,
        storage=storage,
        share=share,
        privacy=spent[-1] if spent else None,
        scores=scores,
        learnt=model.learnt,
    )


def _unfinished(folder: RunFolder) -> RegistryError:
    return RegistryError(
        f"the run in {folder.path} is not finished",
        reason="unfinished",
        hint=f"go on with it: `fedhome simulate --resume {folder.path}`",
    )
