"""What a run begins with: the release in use where that fits its plan, or a new model.

About one model homes answer one question once. So a run that begins where another one has ended
goes on with its sums, too; and where homes have trained from the release already, it begins with
the last model that came of that: two sums about models that hardly differ would show a home that is
in one of them alone (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import FedHomeError, RunError
from fedhome.new_folders import make_folder
from fedhome.plan.learnt_changes import STATED, learnt_by
from fedhome.plan.settings import Plan
from fedhome.questions.settings import inputs_hash
from fedhome.registry import Release
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.model_file import SavedModel
from fedhome.server.daemon.publishing import Candidate, Publisher
from fedhome.server.daemon.run_chain import change_between, go_on, last_after
from fedhome.server.rounds import checkpoint
from fedhome.store import disk
from fedhome.wire.layout import Layout

IN_USE = "release-in-use"


def take_over(sums: Path, folder: Path) -> None:
    """Copy what an earlier run kept of its sums, each file whole and durably.

    Args:
        sums: The earlier run's folder of sums.
        folder: The new run's, which may be there in part.

    Raises:
        StateError: ``disk-full``, after which it can be called again; or the disk fails.
    """
    with disk.errors_of(folder):
        make_folder(folder, mode=0o700)
    with disk.errors_of(sums):
        kept = sorted(path for path in sums.iterdir() if path.is_file())
    for path in kept:
        disk.put(folder / path.name, disk.read(path))


class Beginning:
    """What is in use when a run begins, and what it therefore begins with.

    Args:
        plan: The run's plan.
        layout: Layout of its model.
        folder: The run's folder, among those of earlier runs.
        publisher: Knows what is in use.
        log: The run's log.
        resumed: The run goes on: nothing is told anew.

    Attributes:
        unfit: Why the release in use is nothing to begin with, nor to compare with; empty: it is,
            or there is none.

    Raises:
        RegistryError: The release in use is damaged.
        RunError: What the run begins with cannot be written.
        StateError: As of `take_over`.
    """

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        *,
        folder: RunFolder,
        publisher: Publisher,
        log: EventLog,
        resumed: bool,
    ) -> None:
        self._plan, self._layout, self._folder, self._log = plan, layout, folder, log
        self._publisher = publisher
        release = publisher.in_use
        if release is not None and publisher.made(release):
            release = None  # this very run has ended with it, and was killed before its last word
        self.unfit = "" if release is None else self._unfit(release)
        if release is None:
            return
        if not resumed:
            log.append(
                IN_USE,
                release=release.number,
                run=release.manifest.run,
                round=release.manifest.round,
                fits=not self.unfit,
                reason=self.unfit,
            )
        begun = folder.read_start() is not None or checkpoint.load(folder, layout) is not None
        if not (self.unfit or folder.fresh or begun):
            self._begin_with(release)

    def change(
        self, release: Release, rows: Sequence[dict[str, Any]], candidate: Candidate
    ) -> float | None:
        """Return by how much homes' loss with a candidate is above that with a release.

        Both are held against each other on the same rows, as far as the runs between them say it
        (:mod:`fedhome.server.daemon.run_chain`); None: they do not.

        Args:
            release: The release in use.
            rows: Rows of the table of rounds.
            candidate: What the run ended with.

        Raises:
            RegistryError: The release is damaged.
        """
        made_by = RunFolder(self._folder.path.parent / self._publisher.run_of(release))
        try:
            return change_between(
                made_by,
                release.manifest.round,
                self._folder,
                rows=rows,
                number=candidate.round,
                layout=self._layout,
                tell=self._tell,
            )
        except RunError as error:
            self._tell(f"what {made_by.path.name} ended with: {error.message}")
            return None

    def _tell(self, text: str) -> None:
        self._log.append("note", text=text)

    def _begin_with(self, release: Release) -> None:
        flat = self._publisher.model_of(release).flat
        plan, number = release.manifest.plan, release.manifest.round
        runs, run = self._folder.path.parent, self._publisher.run_of(release)
        last = last_after(runs, run, self._tell, but=self._folder.path.name)
        if last.sums_path.exists():
            take_over(last.sums_path, self._folder.sums_path)
        came = self._end_of(last)
        if came is not None and not np.array_equal(came[0], flat):
            flat, number = came
            self._tell(
                f"homes have trained from release {release.number} already, and do so once: "
                f"the run begins with the last model that came of it, of {last.path.name}"
            )
        go_on(self._folder, last, self._layout, self._tell)
        self._folder.write_follows(last.path.name)
        # Last: with this file the beginning is settled.
        self._folder.write_start(
            SavedModel(
                parameters=self._layout.unflatten(flat),
                layout_hash=self._layout.hash,
                plan=plan,
                round=number,
                learnt=release.manifest.learnt,
            )
        )

    def _end_of(self, last: RunFolder) -> tuple[NDArray[np.float32], int] | None:
        """Return the model that a run came to, and its round; None: it is not there any more."""
        if not last.path.exists():
            self._tell(
                f"the folder of {last.path.name}, which knew what homes have answered since this "
                "release, is not there any more: if the run ends since they have helped to open a "
                "sum about its model, `fedhome server run PLAN --fresh` begins with a new one"
            )
            return None
        try:
            if (ended := checkpoint.load(last, self._layout)) is not None:
                return ended.flat, ended.round
            # It was cut off in its first round: homes may have trained from what it began with.
            start = last.read_start()
            return None if start is None else (self._layout.flatten(start.parameters), start.round)
        except RunError as error:
            self._tell(f"what {last.path.name} ended with: {error.message}")
            return None

    def _unfit(self, release: Release) -> str:
        if release.manifest.layout.hex() != self._layout.hash:
            return f"release {release.number} has another shape than this plan's model"
        others = f"release {release.number} is of other inputs, or another task, than this plan"
        earlier = RunFolder(self._folder.path.parent / self._publisher.run_of(release))
        plan = None
        with suppress(FedHomeError):  # where its run is gone, the shape and its own word tell
            plan = Plan.parse(earlier.read_plan())
        if plan is not None and plan.task != self._plan.task:
            return others
        if (learnt := release.manifest.learnt) != (own := learnt_by(self._plan)):
            return (
                f"release {release.number} states {STATED[learnt]}, and this plan's model "
                f"{STATED[own]} (data.learns)"
            )
        same = plan is None or inputs_hash(plan) == inputs_hash(self._plan)
        return "" if same else others
