"""A run's folder: the plan, the log, the tables and the model, each written whole or not at all.

::

    runs/default-1/
        plan.toml            the resolved plan
        events.jsonl         what happened (fedhome.run.events)
        rounds.parquet       one row for each round (fedhome.run.results)
        homes.parquet        one row for each home and model (fedhome.run.results)
        cold_start.parquet   of homes that join after the rounds (fedhome.run.cold_start_table)
        shown.json           what a simulation shows of its homes (fedhome.run.shown_homes)
        readings.json        how the homes' files were read, where there are files
        model.safetensors    the global model
        start.safetensors    the one that it began with, if that was another run's
        checkpoint/          what resuming needs
        report.html          the report

One process at a time writes to a folder; any number may read it meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.denied import paths_told
from fedhome.errors import PlanError, RunError
from fedhome.new_folders import PARENT, make_folder
from fedhome.run.events import Event, read_events
from fedhome.run.folder_tables import FolderTables
from fedhome.run.model_file import Learnt, SavedModel, read_model_file, to_bytes, unreadable
from fedhome.run.written_whole import read_whole, write_atomically
from fedhome.toml_text import parse_toml

PRIVATE: Final = 0o700
"""Who may open a new run's folder: the account alone, since models and readings of homes lie there.
A folder that was there before keeps what it allows."""
_ROOT: Final = 0o775  # also without a umask: where all may write, what is below can be exchanged


class RunFolder(FolderTables):
    """The files of one run.

    Args:
        path: The folder. Nothing is looked up or made: :meth:`create` makes a folder for a
            new run, :meth:`open` takes that of an old one.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.plan_path = self.path / "plan.toml"
        self.events_path = self.path / "events.jsonl"
        self.start_path = self.path / "start.safetensors"
        self.draw_path = self.path / "draw"
        self.fresh_path = self.path / "fresh"
        self.follows_path = self.path / "follows"
        self.sums_path = self.path / "sums"
        self.model_path = self.path / "model.safetensors"
        self.checkpoint_path = self.path / "checkpoint"
        self.report_path = self.path / "report.html"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def create(
        cls,
        path: Path | str | None = None,
        *,
        name: str = "run",
        root: Path | str = "runs",
        resume: bool = False,
    ) -> RunFolder:
        """Make the folder of a new run, or take that of a run to be resumed.

        Args:
            path: The folder; None for the next free ``root/name-1``, ``root/name-2``, ...
            name: The plan's name, for a folder without a path.
            root: Where such folders lie.
            resume: Go on with the run in ``path``, finished or not.

        Raises:
            RunError: ``path`` holds a run and ``resume`` is not set, or the other way round;
                its checkpoints are a link; or the folder cannot be made.
        """
        if resume:
            if path is None:
                raise RunError("no run to resume was named", hint="name the folder of the run")
            folder = cls.open(path)
            _refuse_link(folder.checkpoint_path)
            folder.tidy()
        else:
            folder = cls(_next_free(Path(root), name) if path is None else path)
            folder._refuse_to_overwrite()
            _make(folder.path, mode=PRIVATE)
            _refuse_link(folder.checkpoint_path)
        _make(folder.checkpoint_path)
        return folder

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Return the folder of an existing run.

        Raises:
            RunError: There is none.
        """
        folder = cls(path)
        with paths_told(RunError, folder.path):
            # A plan alone may be somebody's app. A run has a place for its checkpoint from before.
            begun = folder.events_path.exists() or folder.checkpoint_path.is_dir()
        if not begun or not folder._holds_run():
            raise RunError(
                f"{folder.path} holds no run",
                hint="a run's folder has a plan.toml and an events.jsonl",
            )
        return folder

    def tidy(self) -> None:
        """Remove what a process that was killed has left half-written."""
        for folder in (self.path, self.checkpoint_path):
            for leftover in folder.glob(".*.tmp"):
                with suppress(OSError):  # what cannot be written is reported where that matters
                    leftover.unlink()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end and was not resumed since."""
        marks = ("run-started", "run-resumed", "run-finished")
        kinds = [event.event for event in self.read_events() if event.event in marks]
        return bool(kinds) and kinds[-1] == "run-finished"

    def write_plan(self, toml: str) -> None:
        """Write the resolved plan as TOML text."""
        write_atomically(self.plan_path, toml.encode())

    def read_plan(self) -> dict[str, Any]:
        """Return the plan as nested tables.

        Raises:
            RunError: The plan is missing or is not TOML.
        """
        try:
            return parse_toml(self.plan_text(), where=str(self.plan_path))
        except PlanError as error:
            raise RunError(
                f"{self.plan_path}: {'; '.join(error.faults)}",
                hint="it was altered after the run: take it from a copy",
            ) from None

    def plan_text(self) -> str:
        """Return the plan as TOML text.

        Raises:
            RunError: The plan is missing or is not text.
        """
        try:
            return read_whole(self.plan_path).decode()
        except UnicodeDecodeError as error:
            raise unreadable(self.plan_path, error) from None

    def read_events(self) -> list[Event]:
        """Return the run's events, none before its log is begun.

        Raises:
            EventLogError: The log was altered; a torn last line is no error.
        """
        return read_events(self.events_path, skip_torn=True) if self.events_path.exists() else []

    def write_model(
        self,
        parameters: Mapping[str, NDArray[np.float32]],
        *,
        plan: str,
        round_number: int,
        learnt: Learnt,
    ) -> None:
        """Write the model; the same content gives the same bytes.

        Args:
            parameters: float32 arrays by name, in the order of the model's layout.
            plan: Name of the plan.
            round_number: The round after which it is saved.
            learnt: As of :class:`SavedModel`.

        Raises:
            RunError: An array that is not float32.
        """
        other = [name for name, array in parameters.items() if array.dtype != np.float32]
        if other:
            raise RunError(f"{self.model_path}: {', '.join(other)} are not float32")
        write_atomically(self.model_path, to_bytes(parameters, plan, round_number, learnt=learnt))

    def read_model(self) -> SavedModel:
        """Return the model.

        Raises:
            RunError: It is missing, damaged, or of another layout than it says.
        """
        return read_model_file(self.model_path)

    def write_start(self, model: SavedModel) -> None:
        """Let the run begin with a model that another one ended with."""
        data = to_bytes(model.parameters, model.plan, model.round, learnt=model.learnt)
        write_atomically(self.start_path, data)

    def read_start(self) -> SavedModel | None:
        """Return the model that this run begins with; None if that is a new one.

        Raises:
            RunError: It is damaged, or of another layout than it says.
        """
        return read_model_file(self.start_path) if self.start_path.exists() else None

    def write_draw(self, number: int) -> None:
        """Let the run begin with another new model than runs before it: with this draw."""
        write_atomically(self.draw_path, str(number).encode())

    def read_draw(self) -> int:
        """Return which draw of a new model the run begins with; 0: the plan's own.

        Raises:
            RunError: The file is damaged.
        """
        if not self.draw_path.exists():
            return 0
        text = self.draw_path.read_text(encoding="ascii", errors="replace")
        if not text.isdecimal():
            raise RunError(f"{self.draw_path} holds no number", hint="write 0 into it")
        return int(text)

    def write_fresh(self) -> None:
        """Let the run begin with a new model, whatever is in use."""
        write_atomically(self.fresh_path, b"")

    @property
    def fresh(self) -> bool:
        """Whether the run begins with a new model, whatever is in use."""
        return self.fresh_path.exists()

    def write_follows(self, run: str) -> None:
        """Note the name of the run whose last model this one begins with."""
        write_atomically(self.follows_path, run.encode())

    def read_follows(self) -> str:
        """Return the name of the run whose last model this one begins with; empty: of none."""
        if not self.follows_path.exists():
            return ""
        return self.follows_path.read_text(encoding="utf-8", errors="replace")

    def forget(self) -> None:
        """Take away what a run wrote that was refused before it began; the folder, if empty then.

        Nothing else that lies there is touched.
        """
        for path in (self.plan_path, self.events_path, self.readings_path, self.start_path):
            path.unlink(missing_ok=True)
        for folder in (self.checkpoint_path, self.path):
            with suppress(OSError):  # something lies in it
                folder.rmdir()

    def _holds_run(self) -> bool:
        with paths_told(RunError, self.path):
            return self.plan_path.exists() or self.events_path.exists()

    def _refuse_to_overwrite(self) -> None:
        if self._holds_run():
            another = "name another folder for this run"
            if self.finished:
                raise RunError(f"{self.path} already holds a finished run", hint=another)
            raise RunError(
                f"{self.path} already holds an unfinished run", hint=f"resume it, or {another}"
            )


def _refuse_link(checkpoints: Path) -> None:
    """Refuse a link in the place of the folder of checkpoints: what is beyond is no run's."""
    if checkpoints.is_symlink():
        raise RunError(
            f"{checkpoints} is a link, and checkpoints would go where it leads",
            hint="see who put it there; put the folder itself in its place, or name another folder "
            "for the run",
        )


def _next_free(root: Path, name: str) -> Path:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "run"
    _make(root, mode=_ROOT)
    pattern = re.compile(re.escape(stem) + r"-(\d+)")
    matches = (pattern.fullmatch(path.name) for path in root.iterdir())
    number = max((int(match[1]) for match in matches if match), default=0) + 1
    while True:
        path = root / f"{stem}-{number}"
        try:
            path.mkdir(mode=PRIVATE)
        except FileExistsError:
            # Another run started at the same moment took it.
            number += 1
        except OSError as error:
            raise _unmakeable(path, error) from error
        else:
            return path


def _make(path: Path, *, mode: int = PARENT) -> None:
    try:
        make_folder(path, mode=mode)
    except (OSError, ValueError) as error:
        raise _unmakeable(path, error) from error


def _unmakeable(path: Path, error: Exception) -> RunError:
    return RunError(
        f"the folder {path} cannot be made: {getattr(error, 'strerror', None) or error}",
        hint="name a folder that you may write to",
    )
