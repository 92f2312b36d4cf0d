"""A run's results as tables: what their columns mean, and their summary over all homes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fedhome.errors import RunError
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS, VERDICTS
from fedhome.run.mean_intervals import MeanOverHomes, mean_interval, wilcoxon_p


def described(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    """Return a column of a run's table, whose metadata says what it means."""
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


ROUNDS: Final = pa.schema(
    [
        described("round", pa.int32(), "number of the round, strictly increasing"),
        described(
            "homes_asked",
            pa.int32(),
            "homes that were sent the model; 0: a sum is taken again",
        ),
        described("homes_answered", pa.int32(), "homes whose reply was used"),
        described("homes_dropped", pa.int32(), "homes that failed or sent an unusable reply"),
        described(
            "homes_late", pa.int32(), "homes that had not answered when the round was closed"
        ),
        described("train_loss", pa.float64(), "mean over training examples", nullable=True),
        described("validation_loss", pa.float64(), "mean over examples", nullable=True),
        described(
            "validation_score", pa.float64(), "primary score, higher is better", nullable=True
        ),
        described("bytes_up", pa.int64(), "bytes from all homes to the server, in the whole round"),
        described("bytes_down", pa.int64(), "bytes from the server to all homes"),
        described("seconds_train", pa.float64(), "wall-clock seconds of training"),
        described("seconds_evaluate", pa.float64(), "wall-clock seconds of evaluation"),
        described("seconds_other", pa.float64(), "wall-clock seconds of everything else"),
    ]
)
"""Columns of ``rounds.parquet``; each field's metadata says what it means."""

HOMES: Final = pa.schema(
    [
        described("home", pa.string(), "name of the home"),
        described("model", pa.string(), "one of MODELS; one row for each home and model"),
        described("score", pa.float64(), "primary score on test data", nullable=True),
        described("loss", pa.float64(), "mean over test examples", nullable=True),
        described("examples_train", pa.int32(), "examples"),
        described("examples_validation", pa.int32(), "examples"),
        described("examples_test", pa.int32(), "examples"),
        described(
            "verdict",
            pa.string(),
            "of a fleet's model against the best alone (of local: against itself after another "
            "order of batches): one of VERDICTS, by a paired interval of 95 % over blocks of rows",
            nullable=True,
        ),
        described("expert", pa.string(), "what weighs most in the home's mixture", nullable=True),
        described("best", pa.string(), "which of ALONE was best in validation", nullable=True),
    ]
)
"""Columns of ``homes.parquet``; a higher score is better. Further metrics follow ``loss`` as
nullable float64."""


def rounds_table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Build the table of rounds from one mapping for each round.

    Raises:
        RunError: Columns are missing, unknown or of another type.
    """
    return validate_rounds(_from_rows(list(rows), ROUNDS))


def homes_table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Build the table of homes from one mapping for each home and model.

    Raises:
        RunError: As :meth:`RunFolder.write_homes`.
    """
    return validate_homes(_from_rows(list(rows), HOMES))


def validate_rounds(table: pa.Table) -> pa.Table:
    """Return the table with exactly the columns of :data:`ROUNDS`.

    Raises:
        RunError: Columns are missing, unknown or of another type, or rounds do not increase.
    """
    unknown = [name for name in table.column_names if name not in ROUNDS.names]
    if unknown:
        raise RunError(f"the table of rounds has unknown columns: {', '.join(unknown)}")
    table = _cast(table, ROUNDS, "rounds")
    if np.any(np.diff(table["round"].to_numpy()) <= 0):
        raise RunError(
            "the table of rounds does not increase strictly",
            hint="after resuming, drop the rounds that came after the checkpoint",
        )
    return table


def validate_homes(table: pa.Table) -> pa.Table:
    """Return the table with the columns of :data:`HOMES` and further metrics as float64.

    Raises:
        RunError: As :meth:`RunFolder.write_homes`.
    """
    metrics = [
        pa.field(name, pa.float64()) for name in table.column_names if name not in HOMES.names
    ]
    after = HOMES.get_field_index("loss") + 1
    fields = list(HOMES)
    table = _cast(table, pa.schema([*fields[:after], *metrics, *fields[after:]]), "homes")
    models = table["model"].to_pylist()
    for name, known in (
        ("model", MODELS),
        ("verdict", (*VERDICTS, None)),
        ("expert", (*EXPERTS, None)),
        ("best", (*ALONE, None)),
    ):
        unknown = {str(value) for value in set(table[name].to_pylist()) - set(known)}
        if unknown:
            raise RunError(
                f"the table of homes names an unknown {name}: {', '.join(sorted(unknown))}",
                hint=f"it is one of {', '.join(filter(None, known))}",
            )
    homes = table["home"].to_pylist()
    if len(set(zip(homes, models, strict=True))) < len(homes):
        raise RunError("the table of homes has two rows for one home and model")
    return table


def scores(homes: pa.Table) -> dict[str, dict[str, float]]:
    """Return each model's score by home, in the order of :data:`MODELS`; NaN for none."""
    by_model: dict[str, dict[str, float]] = {name: {} for name in MODELS}
    columns = (homes[name].to_pylist() for name in ("home", "model", "score"))
    for home, model, score in zip(*columns, strict=True):
        by_model[model][home] = np.nan if score is None else score
    return {model: by_home for model, by_home in by_model.items() if by_home}


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """How one model did over all homes; NaN where nothing is known.

    Args:
        model: One of :data:`MODELS`.
        homes: Homes with a score.
        left_out: Homes without a score that is a number; they count nowhere else.
        mean: Mean score.
        mean_low: Lower end of an interval of 95 % of that mean, resampled over homes.
        mean_high: Upper end.
        median: Median score.
        p10: 10th percentile of the score: how the worst-off tenth fares at best.
        compared: Homes with a verdict on this model.
        hurt: Share of these, 0 to 1, in which it is surely worse than the best alone.
        helped: Share of these in which it is surely better.
        gain: Mean over homes of its score minus that of the best alone.
        gain_low: Lower end of an interval of 95 % of that mean, resampled over homes.
        gain_high: Upper end.
        p_value: Two-sided Wilcoxon signed-rank test against the best alone, paired by home; NaN
            with fewer than six homes or without any difference.
    """

    model: str
    homes: int
    left_out: int
    mean: float
    mean_low: float
    mean_high: float
    median: float
    p10: float
    compared: int
    hurt: float
    helped: float
    gain: float
    gain_low: float
    gain_high: float
    p_value: float


def differences(homes: pa.Table, model: str, against: str = "alone") -> dict[str, float]:
    """Return ``model``'s score minus that of ``against`` by home, where both are numbers."""
    by_model = scores(homes)
    other = by_model.get(against, {})
    pairs = {
        home: score - other[home]
        for home, score in by_model.get(model, {}).items()
        if home in other
    }
    return {home: gap for home, gap in pairs.items() if np.isfinite(gap)}


def verdict_shares(homes: pa.Table, model: str) -> tuple[int, float, float]:
    """Return how many homes have a verdict on a model, and the shares hurt and helped."""
    told = [
        verdict
        for name, verdict in zip(
            homes["model"].to_pylist(), homes["verdict"].to_pylist(), strict=True
        )
        if name == model and verdict is not None
    ]
    if not told:
        return 0, np.nan, np.nan
    return len(told), told.count("hurt") / len(told), told.count("helped") / len(told)


def summary(homes: pa.Table) -> list[SummaryRow]:
    """Return how each model did over all homes, one row for each model that was scored.

    Args:
        homes: A table as :data:`HOMES` says.
    """
    return over_seeds([homes])


def over_seeds(tables: Sequence[pa.Table]) -> list[SummaryRow]:
    """Return how each model did over all homes and several runs of one plan.

    A home counts with the mean of its scores; shares hurt and helped are those of all verdicts.

    Args:
        tables: A table of homes of each run.
    """
    by_model = means_by_home([scores(table) for table in tables])
    gaps = {
        model: means_by_home([{model: differences(table, model)} for table in tables])
        for model in FEDERATED
    }
    return [
        _summary_row(model, by_home, gaps.get(model, {}).get(model, {}), tables)
        for model, by_home in by_model.items()
    ]


def means_by_home(
    tables: Sequence[Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    """Return the mean over several runs' values by model and home, as :func:`scores` has them."""
    found: dict[str, dict[str, list[float]]] = {}
    for table in tables:
        for model, by_home in table.items():
            for home, score in by_home.items():
                found.setdefault(model, {}).setdefault(home, []).append(score)
    return {
        model: {home: float(np.mean(values)) for home, values in by_home.items()}
        for model, by_home in found.items()
    }


def _summary_row(
    model: str,
    by_home: Mapping[str, float],
    gaps: Mapping[str, float],
    tables: Sequence[pa.Table],
) -> SummaryRow:
    every, gap = np.array(list(by_home.values())), np.array(list(gaps.values()))
    values = every[np.isfinite(every)]
    told = [verdict_shares(table, model) for table in tables] if model in FEDERATED else []
    compared = sum(count for count, _, _ in told)
    low, high = mean_interval(gap)
    mean_low, mean_high = mean_interval(values)
    any_scored = len(values) > 0
    return SummaryRow(
        model=model,
        homes=len(values),
        left_out=len(every) - len(values),
        mean=float(values.mean()) if any_scored else np.nan,
        mean_low=mean_low,
        mean_high=mean_high,
        median=float(np.median(values)) if any_scored else np.nan,
        p10=float(np.percentile(values, 10)) if any_scored else np.nan,
        compared=compared,
        hurt=_share_of(told, 1),
        helped=_share_of(told, 2),
        gain=float(gap.mean()) if len(gap) else np.nan,
        gain_low=low,
        gain_high=high,
        p_value=wilcoxon_p(gap),
    )


def _share_of(told: Sequence[tuple[int, float, float]], place: int) -> float:
    """Return a share over several tables, each counting as often as it has verdicts."""
    known = [one for one in told if one[0]]
    total = sum(count for count, _, _ in known)
    return sum(one[0] * float(one[place]) for one in known) / total if total else np.nan


def means_of(tables: Sequence[pa.Table], names: Sequence[str]) -> dict[str, MeanOverHomes]:
    """Return the means over homes of how sure their own models are, of those that they have.

    Args:
        tables: A table of homes of each run; of several a home counts with its mean.
        names: Columns of these with values from 0 to 1.
    """
    by_metric = means_by_home([_own_metrics(table, names) for table in tables])
    return {
        name: MeanOverHomes.of(np.array(list(by_home.values()))).within(0.0, 1.0)
        for name, by_home in by_metric.items()
    }


def _own_metrics(homes: pa.Table, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return further metrics of homes' own models by metric and home, where they have one."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        if name in homes.column_names:
            columns = (homes[column].to_pylist() for column in ("home", "model", name))
            for home, model, value in zip(*columns, strict=True):
                if model == "personalised" and value is not None:
                    found.setdefault(name, {})[home] = value
    return found


def counted_summary(counted: Mapping[str, Any]) -> list[SummaryRow]:
    """Return the summary of a secure count of the homes' scores, as :func:`summary` would.

    Args:
        counted: The data of a run's event ``scores-counted``. Median and percentile are read off a
            histogram of scores from -1 to 1, which a small fleet has not; nobody knows which home
            has which score.
    """
    homes = int(counted["homes"])
    best = _or_nan(counted["models"].get("alone", {"mean": None})["mean"])
    return [
        SummaryRow(
            model=model,
            homes=homes,
            left_out=0,
            mean=_or_nan(values["mean"]),
            mean_low=np.nan,
            mean_high=np.nan,
            median=_or_nan(values["median"]),
            p10=_or_nan(values["p10"]),
            compared=homes if model in FEDERATED else 0,
            hurt=values.get("hurt", np.nan),
            helped=values.get("helped", np.nan),
            gain=_or_nan(values["mean"]) - best if model in FEDERATED else np.nan,
            gain_low=np.nan,
            gain_high=np.nan,
            p_value=np.nan,
        )
        for model, values in ((name, counted["models"].get(name)) for name in MODELS)
        if values is not None
    ]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _from_rows(rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row) or schema.names
    try:
        return pa.table({name: [row.get(name) for row in rows] for name in names})
    except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise RunError(f"the rows make no table: {error}") from None


def _cast(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise RunError(f"the table of {what} has no column {', '.join(missing)}")
    table = table.select(schema.names)
    empty = [f.name for f in schema if not f.nullable and table[f.name].null_count]
    if empty:
        raise RunError(f"the table of {what} has empty cells in {', '.join(empty)}")
    try:
        return table.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"the table of {what} has a column of another type: {error}") from None
