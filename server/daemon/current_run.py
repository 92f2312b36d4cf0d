"""Which run is the server's: a small file that its daemon and the commands share.

A run is *running* from the moment that it is handed over until it ended, whatever is killed
meanwhile: the daemon ensures that a process works on it. So after a reboot, the file alone says
what there is to do. A run that *failed* is taken up again by the daemon after a while, unless that
is of no use.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from fedhome.counted import was
from fedhome.data.input_schema import NOT_NAMED
from fedhome.data.told_once import some
from fedhome.errors import PlanError, RunError
from fedhome.fleet.owner_folder import PLAN as OWNERS_PLAN
from fedhome.plan.overrides import guarded_faults, process_faults
from fedhome.plan.protocol import check_groups
from fedhome.plan.settings import Plan
from fedhome.registry.vault import INDEX
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.spelling import did_you_mean
from fedhome.store import disk

CURRENT = "current"
RUNNING, FINISHED, FAILED, CANCELLED = "running", "finished", "failed", "cancelled"
DONE, BROKEN_OFF, PAUSED, AGAIN = 0, 1, 74, 75
"""How the process of a run ends: it is finished, has failed, has no room on its disk, or is to be
started again at once; with any other status it was killed, and is started again too."""
_STATES = (RUNNING, FINISHED, FAILED, CANCELLED)
_NAME = re.compile(r"\w[\w.-]{0,63}", re.ASCII)
_PATIENCE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Current:
    """The run in progress, or the last one.

    Args:
        run: Name of its folder in ``runs/``.
        state: ``running``, ``finished``, ``failed`` or ``cancelled``.
        reason: Why it failed.
        hint: What can be done about that.
        again: Whether the daemon takes it up again by itself.
    """

    run: str
    state: str = RUNNING
    reason: str = ""
    hint: str = ""
    again: bool = False

    @property
    def is_open(self) -> bool:
        """Whether something may still come of it without anybody's doing."""
        return self.state == RUNNING or self.again


class Runs:
    """The runs of a server.

    Args:
        server_folder: The server's folder.
    """

    def __init__(self, server_folder: ServerFolder) -> None:
        self._server_folder = server_folder
        self.path = server_folder.path / CURRENT

    @property
    def current(self) -> Current | None:
        """The run in progress, or the last one; None before the first.

        Raises:
            RunError: The file is damaged.
            StateError: It cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            current = Current(**json.loads(disk.read(self.path)))
        except (ValueError, TypeError):
            current = None
        if current is None or current.state not in _STATES or not _NAME.fullmatch(current.run):
            raise RunError(
                f"{self.path} is damaged: it does not say which run is in progress",
                hint="remove it, then `fedhome server run --resume NAME` with the run's name",
            )
        return current

    def folder(self, run: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self._server_folder.runs / run)

    def existing(self, run: str) -> RunFolder:
        """Return the folder of a run that somebody named.

        Raises:
            RunError: There is none of this name.
        """
        folder = self.folder(run)
        if _NAME.fullmatch(run) and folder.plan_path.exists():
            return folder
        runs = self._server_folder.runs
        names = sorted(path.parent.name for path in runs.glob(f"*/{folder.plan_path.name}"))
        raise RunError(
            f"there is no run {run!r} in {runs}{did_you_mean(run, names)}",
            hint=f"there {was(len(names))} {some(names)}" if names else "none was begun yet",
        )

    def begin(self, plan: Plan, name: str | None = None, *, fresh: bool = False) -> Current:
        """Hand a new run over.

        Args:
            plan: Its plan.
            name: Of its folder; None for the next free one with the plan's name.
            fresh: Begin with a new model, and not with the release in use.

        Raises:
            PlanError: The plan cannot be run with this fleet.
            DirectoryError: ``no-directory``.
            RunError: Another run is in progress, or there is one of this name.
        """
        if name is not None and not _NAME.fullmatch(name):
            raise RunError(
                f"{name!r} cannot be the name of a run",
                hint="use up to 64 letters, digits, '.', '_' and '-', the first a letter or digit",
            )
        check(plan, len(self._server_folder.directory().names))
        with self._locked():
            self._refuse_a_second()
            path = None if name is None else self._server_folder.runs / name
            # Homes were asked about the first model of every earlier run, and answer that once.
            earlier = any(run.is_dir() for run in self._server_folder.runs.iterdir())
            earlier = earlier or (self._server_folder.path / MODELS / INDEX).exists()
            folder = RunFolder.create(path, name=plan.name[:48], root=self._server_folder.runs)
            folder.write_plan(plan.to_toml())
            if fresh:
                folder.write_fresh()
            folder.write_draw(1 + secrets.randbelow(1 << 48) if earlier else 0)
            return self._write(Current(run=folder.path.name))

    def resume(self, name: str) -> Current:
        """Hand over a run that failed or was cancelled, to go on from its last checkpoint.

        Raises:
            RunError: There is none of this name, it is finished, or another is in progress.
        """
        if self.existing(name).finished:
            raise RunError(
                f"{name} is finished: there is nothing to resume",
                hint="begin another one: `fedhome server run PLAN`",
            )
        with self._locked():
            self._refuse_a_second()
            return self._write(Current(run=name))

    def end(
        self, run: str, state: str, *, reason: str = "", hint: str = "", again: bool = False
    ) -> Current | None:
        """Record how a run ended; nothing if it is no longer in progress, nor about to be.

        Args:
            run: Its name.
            state: ``finished``, ``failed`` or ``cancelled``.
            reason: Why it failed.
            hint: What can be done about that.
            again: Whether the daemon takes it up again by itself.
        """
        with self._locked():
            now = self.current
            if now is None or now.run != run or not now.is_open:
                return None
            return self._write(Current(run=run, state=state, reason=reason, hint=hint, again=again))

    def take_up(self, run: str) -> Current | None:
        """Go on with a run that failed; nothing if somebody has decided otherwise meanwhile."""
        with self._locked():
            now = self.current
            if now is None or now.run != run or not now.again:
                return None
            return self._write(Current(run=run))

    def _refuse_a_second(self) -> None:
        now = self.current
        if now is not None and now.state == RUNNING:
            path = self._server_folder.path
            raise RunError(
                f"the run {now.run} is in progress, and a fleet does one at a time",
                hint=f"watch it: `fedhome server run --server {path}`; "
                f"or end it: `fedhome server cancel {path}`",
            )

    def _write(self, now: Current) -> Current:
        disk.put(self.path, json.dumps(asdict(now)).encode())
        return now

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file against other processes, waiting for them for some seconds."""
        lock = disk.lock(self._server_folder.runs, wait_s=_PATIENCE_S)
        try:
            yield
        finally:
            os.close(lock)


def check(plan: Plan, homes: int) -> None:
    """Check a plan against a fleet of this many homes.

    Raises:
        PlanError: It cannot be run.
    """
    faults, hint = process_faults(plan) + guarded_faults(plan), ""
    if plan.data.inputs is None:
        faults.append(NOT_NAMED)
        hint = f"run the plan that homes were invited to: {OWNERS_PLAN} in the owner's folder"
    if plan.aggregation.mode == "ideal":
        faults.append('aggregation.mode: "ideal" sums are for simulations alone')
    elif plan.aggregation.mode != "plain" and (fault := check_groups(plan, homes)):
        faults.append(fault)
    if faults:
        raise PlanError(faults, hint=hint)
