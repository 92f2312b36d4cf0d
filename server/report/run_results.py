"""One run as the report sees it: what its folder holds, and nothing that it does not hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import pyarrow as pa

from fedhome.data.read_report import HomeReport
from fedhome.errors import RunError
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.run.results import SummaryRow, counted_summary, scores, summary
from fedhome.run.shown_homes import Shown

STARTS = ("run-started", "run-resumed")


@dataclass(frozen=True)
class RunResults:
    """What one run's folder holds.

    Args:
        label: What the report calls the run, unique in the report.
        plan: The plan as nested tables.
        plan_text: The plan as it was written.
        events: The run's log.
        rounds: One row for each round; None where the run got to none.
        homes: One row for each home and model; None where nothing was scored.
        readings: How each home's files were read; empty where there were none.
        shown: What a simulation shows of its homes; None of a real fleet.
        cold_start: How homes fared that joined after the rounds; None where none did.
    """

    label: str
    plan: Mapping[str, Any]
    plan_text: str
    events: Sequence[Event]
    rounds: pa.Table | None
    homes: pa.Table | None
    readings: Sequence[HomeReport] = ()
    shown: Shown | None = None
    cold_start: pa.Table | None = None

    @cached_property
    def started(self) -> Mapping[str, Any]:
        """What the log says about the run as a whole; the last entry counts, if it was resumed."""
        data: dict[str, Any] = {}
        for event in self.events:
            if event.event in (*STARTS, "fleet-ready"):
                data |= event.data
        return data

    @property
    def finished(self) -> bool:
        """Whether the run came to its end and was not resumed since."""
        marks = [e.event for e in self.events if e.event in (*STARTS, "run-finished")]
        return bool(marks) and marks[-1] == "run-finished"

    @property
    def began(self) -> datetime | None:
        """When the first event was written."""
        return self.events[0].time if self.events else None

    @property
    def seconds(self) -> float:
        """Wall-clock seconds from each start to the last event before the next, added up."""
        total, start, last = 0.0, self.began, self.began
        for event in self.events:
            if event.event == "run-resumed" and start and last:
                total += (last - start).total_seconds()
                start = event.time
            last = event.time
        return total + (last - start).total_seconds() if start and last else 0.0

    @property
    def score_name(self) -> str:
        """Name of the task's primary score, as far as the run names it."""
        named = self.started.get("score") or self.setting("task", "score")
        return str(named) if named else "score"

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Finite scores by model and home; models without one are left out."""
        if self.homes is None:
            return {}
        finite = {
            model: {home: score for home, score in by_home.items() if math.isfinite(score)}
            for model, by_home in scores(self.homes).items()
        }
        return {model: by_home for model, by_home in finite.items() if by_home}

    @property
    def real(self) -> bool:
        """Whether homes were real: no engine computed them."""
        return "fleet-ready" in {e.event for e in self.events} and "engine" not in self.started

    @property
    def drawn(self) -> dict[str, dict[str, float]]:
        """The scores of the models that figures show: a way alone is there as the best of them."""
        alone = "alone" if "alone" in self.scores else "local"
        shown = ("baseline", alone, "global", "tuned", "personalised")
        return {model: self.scores[model] for model in shown if model in self.scores}

    def verdicts(self, model: str) -> dict[str, str]:
        """Return whether a model hurt or helped, by home, where that is known."""
        if self.homes is None:
            return {}
        columns = (self.homes[name].to_pylist() for name in ("home", "model", "verdict"))
        return {
            home: verdict
            for home, name, verdict in zip(*columns, strict=True)
            if name == model and verdict is not None
        }

    @property
    def learnt(self) -> str:
        """The furthest model that the run scored: personalised, else global, else none."""
        return next((name for name in ("personalised", "global") if name in self.scores), "")

    @property
    def counted(self) -> Mapping[str, Any]:
        """What the server learnt of the homes' scores in a secure count; empty without one."""
        counts = [e.data for e in self.events if e.event == "scores-counted"]
        return counts[-1] if counts else {}

    def summary(self) -> list[SummaryRow]:
        """Return how each model did over all homes, from single scores or else from counts."""
        if self.homes is not None:
            return summary(self.homes)
        return counted_summary(self.counted) if self.counted else []

    def setting(self, *path: str) -> Any:
        """Return a setting of the plan, None where it has none."""
        value: Any = self.plan
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def column(self, name: str) -> list[float | None]:
        """Return a column of the rounds, None where nothing was measured."""
        if self.rounds is None:
            return []
        values = self.rounds[name].to_pylist()
        return [v if v is not None and math.isfinite(v) else None for v in values]

    def measured(self, name: str) -> bool:
        """Whether any round has a number in this column."""
        return any(value is not None for value in self.column(name))


def load(runs: Sequence[RunFolder]) -> list[RunResults]:
    """Read runs; each gets its folder's name as label, with more where that is not unique.

    Raises:
        RunError: A folder holds no run, or one of its files is damaged or was altered.
    """
    labels = [run.path.resolve().name for run in runs]
    if len(set(labels)) < len(labels):
        labels = ["/".join(run.path.resolve().parts[-2:]) for run in runs]
    if len(set(labels)) < len(labels):
        labels = [f"{number}: {label}" for number, label in enumerate(labels, 1)]
    return [_load(run, label) for run, label in zip(runs, labels, strict=True)]


def _load(run: RunFolder, label: str) -> RunResults:
    run = RunFolder.open(run.path)
    return RunResults(
        label=label,
        plan=run.read_plan(),
        plan_text=run.plan_text(),
        events=run.read_events(),
        rounds=run.read_rounds() if run.rounds_path.exists() else None,
        homes=run.read_homes() if run.homes_path.exists() else None,
        readings=_readings(run),
        shown=run.read_shown(),
        cold_start=run.read_cold_start(),
    )


def _readings(run: RunFolder) -> list[HomeReport]:
    try:
        return [HomeReport.from_dict(report) for report in run.read_readings()]
    except (TypeError, KeyError):
        raise RunError(
            f"{run.readings_path} is damaged", hint="remove it: a report goes without it"
        ) from None
