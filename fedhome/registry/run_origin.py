"""What a run's folder says about a model that is to be published."""

from __future__ import annotations

import hashlib

import numpy as np

from fedhome.errors import RegistryError
from fedhome.registry.formats import SHARE, ModelPayload
from fedhome.registry.release import Draft, Origin, release_of
from fedhome.run.folder import RunFolder
from fedhome.wire.layout import Layout


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
    text = folder.plan_text()
    return Origin(
        plan=str(folder.read_plan().get("name") or "plan"),
        plan_hash=hashlib.sha256(text.encode()).digest(),
        run=folder.path.resolve().name or "run",
        run_hash=bytes.fromhex(events[0].hash),
    )


def release_of_run(folder: RunFolder, *, storage: str = "float32", share: float = SHARE) -> Draft:
    """Return the model of a finished run as it can be published.

    Args:
        folder: The run's folder.
        storage: Format, see `release_of`.
        share: Share of the numbers that ``sparse-int8`` keeps.

    Raises:
        RunError: A file of the run is missing or damaged.
        RegistryError: ``unfinished``, or as for `release_of`.
    """
    if not folder.finished:
        raise _unfinished(folder)
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
    )


def _unfinished(folder: RunFolder) -> RegistryError:
    return RegistryError(
        f"the run in {folder.path} is not finished",
        reason="unfinished",
        hint=f"go on with it: `fedhome simulate --resume {folder.path}`",
    )
