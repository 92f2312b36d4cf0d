"""What ``fedhome report`` prints with `--json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedhome.run.folder import RunFolder
from fedhome.run.homes_of_seeds import homes_of
from fedhome.run.paired_runs import not_paired, paired_gains
from fedhome.run.results import counted_summary, over_seeds
from fedhome.run.strongest_alone import over_strongest


@dataclass(frozen=True, kw_only=True)
class ModelScores:
    """How one model did over all homes.

    Args:
        model: Its name.
        homes: Homes with a score.
        left_out: Homes without a score that is a number; they count nowhere else.
        mean: Mean score.
        mean_low: Lower end of an interval of 95 % of that mean, over homes.
        mean_high: Upper end.
        median: Median score.
        p10: 10th percentile of the score.
        compared: Homes, in each seed, with a verdict on this model.
        hurt: Share of these, 0 to 1, in which it is surely worse than the best alone.
        helped: Share of these in which it is surely better.
        gain: Mean over homes of its score minus that of the best alone.
        gain_low: Lower end of an interval of 95 % of that mean, over homes.
        gain_high: Upper end.
        p_value: Two-sided Wilcoxon signed-rank test against the best alone, paired by home.
    """

    model: str
    homes: int
    left_out: int
    mean: float | None
    mean_low: float | None
    mean_high: float | None
    median: float | None
    p10: float | None
    compared: int
    hurt: float | None
    helped: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    p_value: float | None


@dataclass(frozen=True, kw_only=True)
class GainOverStrongest:
    """What homes end with over the way to be alone that had the best mean on test rows.

    Args:
        alone: That way.
        gain: Mean over homes of the score minus that of this one.
        low: Lower end of an interval of 95 % of that mean, over homes.
        high: Upper end.
    """

    alone: str
    gain: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class PlanResults:
    """What one run, or one plan with several seeds, came to.

    Args:
        path: The folder, as it was given.
        runs: Folders of the runs in it.
        unscored: Those of them without scores of homes, such as one that did not end: of several
            runs the models' figures are of the others alone.
        seeds: Their seeds; null where a plan names none.
        score: The score, on test rows; of several seeds a home counts with its mean, but a
            synthetic home is another one in each. Empty where a run ended before it was known.
        models: How each model did; empty where no home was scored, and of several runs that counted
            homes' scores in sums.
        over_strongest: What is gained over the strongest way to be alone; null where nothing was
            compared, homes' scores were counted in sums, or homes' picks were the strongest.
    """

    path: str
    runs: list[str]
    unscored: list[str]
    seeds: list[int | None]
    score: str
    models: list[ModelScores]
    over_strongest: GainOverStrongest | None


@dataclass(frozen=True, kw_only=True)
class GainBetween:
    """What the second of two plans gives homes more than the first.

    Args:
        model: Which model.
        homes: Homes that have a score in both.
        mean: Mean over homes of the second plan's score minus the first's.
        low: Lower end of an interval of 95 % of that mean, over homes.
        high: Upper end.
    """

    model: str
    homes: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class RunsReported:
    """Runs, and two of them held against each other.

    Args:
        report: The report that was written.
        plans: What each came to, in the order given.
        second_less_first: Of two, home by home; empty otherwise.
        not_compared: Why two were not compared home by home; null: they were, or are not two.
    """

    report: str
    plans: list[PlanResults]
    second_less_first: list[GainBetween]
    not_compared: str | None


def reported(
    report: Path, paths: Sequence[Path], plans: Sequence[Sequence[RunFolder]]
) -> RunsReported:
    """Return what a report's runs came to.

    Args:
        report: The report.
        paths: What was given on the command line.
        plans: The runs of each.
    """
    two = len(plans) == 2  # noqa: PLR2004
    why = not_paired(*plans) if two else ""
    gains = paired_gains(*plans) if two and not why else []
    return RunsReported(
        report=str(report),
        plans=[_results(path, runs) for path, runs in zip(paths, plans, strict=True)],
        second_less_first=[GainBetween(**_known(asdict(gain))) for gain in gains],
        not_compared=why or None,
    )


def _results(path: Path, runs: Sequence[RunFolder]) -> PlanResults:
    tables = homes_of(runs)
    events = {event.event: event.data for event in runs[0].read_events()}
    rows = over_seeds(tables)
    if not tables and len(runs) == 1 and "scores-counted" in events:
        rows = counted_summary(events["scores-counted"])
    hardest = over_strongest(tables)
    plan: Any = runs[0].read_plan()
    named = events.get("fleet-ready", {}).get("score")
    return PlanResults(
        path=str(path),
        runs=[str(run.path) for run in runs],
        unscored=[str(run.path) for run in runs if not run.homes_path.exists()],
        seeds=[run.read_plan().get("seed") for run in runs],
        score=str(named or plan.get("task", {}).get("score") or ""),
        models=[ModelScores(**_known(asdict(row))) for row in rows],
        over_strongest=None if hardest is None else GainOverStrongest(**_known(asdict(hardest))),
    )


def _known(told: dict[str, Any]) -> dict[str, Any]:
    """Return values with None for what is no number."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in told.items()
    }
