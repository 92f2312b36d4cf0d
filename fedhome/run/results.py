"""A run's results as tables: what their columns mean, and their summary over all homes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.errors import RunError
from fedhome.run.compared_models import CHOICES, MODELS


def _column(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


ROUNDS: Final = pa.schema(
    [
        _column("round", pa.int32(), "number of the round, strictly increasing"),
        _column("homes_asked", pa.int32(), "homes that were sent the model"),
        _column("homes_answered", pa.int32(), "homes whose reply was used"),
        _column("homes_dropped", pa.int32(), "homes that failed or sent an unusable reply"),
        _column("homes_late", pa.int32(), "homes that had not answered when the round was closed"),
        _column("train_loss", pa.float64(), "mean over training examples", nullable=True),
        _column("validation_loss", pa.float64(), "mean over examples", nullable=True),
        _column("validation_score", pa.float64(), "primary score, higher is better", nullable=True),
        _column("bytes_up", pa.int64(), "bytes from all homes to the server, in the whole round"),
        _column("bytes_down", pa.int64(), "bytes from the server to all homes"),
        _column("seconds_train", pa.float64(), "wall-clock seconds of training"),
        _column("seconds_evaluate", pa.float64(), "wall-clock seconds of evaluation"),
        _column("seconds_other", pa.float64(), "wall-clock seconds of everything else"),
    ]
)
"""Columns of ``rounds.parquet``; each field's metadata says what it means."""

HOMES: Final = pa.schema(
    [
        _column("home", pa.string(), "name of the home"),
        _column("model", pa.string(), "one of MODELS; one row for each home and model"),
        _column("score", pa.float64(), "primary score on test data", nullable=True),
        _column("loss", pa.float64(), "mean over test examples", nullable=True),
        _column("examples_train", pa.int32(), "examples"),
        _column("examples_validation", pa.int32(), "examples"),
        _column("examples_test", pa.int32(), "examples"),
        _column("chosen", pa.string(), "what the home's gate kept: one of CHOICES", nullable=True),
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
    models, chosen = table["model"].to_pylist(), table["chosen"].to_pylist()
    unknown = set(models) - set(MODELS) | set(chosen) - {*CHOICES, None}
    if unknown:
        raise RunError(
            f"the table of homes names unknown models: {', '.join(sorted(unknown))}",
            hint=f"model is one of {', '.join(MODELS)}; chosen one of {', '.join(CHOICES)}",
        )
    homes = table["home"].to_pylist()
    if len(set(zip(homes, models, strict=True))) < len(homes):
        raise RunError("the table of homes has two rows for one home and model")
    if len(set(zip(homes, chosen, strict=True))) > len(set(homes)):
        raise RunError("the table of homes names two chosen models for one home")
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
        median: Median score.
        p10: 10th percentile of the score: how the worst-off tenth fares at best.
        compared: Homes with a score of this model and of their own local-only model.
        hurt: Share of these, 0 to 1, that score lower than local-only by more than the margin.
        helped: Share of these that score higher by more than the margin.
        p_value: Two-sided Wilcoxon signed-rank test against local-only, paired by home; NaN
            with fewer than six homes or without any difference.
    """

    model: str
    homes: int
    left_out: int
    mean: float
    median: float
    p10: float
    compared: int
    hurt: float
    helped: float
    p_value: float


FEWEST_FOR_A_TEST: Final = 6
"""With five pairs even a clean sweep has a two-sided p-value of 1/16: no test can tell."""


def differences(homes: pa.Table, model: str, against: str = "local") -> dict[str, float]:
    """Return ``model``'s score minus that of ``against`` by home, where both are numbers."""
    by_model = scores(homes)
    other = by_model.get(against, {})
    pairs = {
        home: score - other[home]
        for home, score in by_model.get(model, {}).items()
        if home in other
    }
    return {home: gap for home, gap in pairs.items() if np.isfinite(gap)}


def summary(homes: pa.Table, *, margin: float = 0.005) -> list[SummaryRow]:
    """Return how each model did over all homes, one row for each model that was scored.

    Args:
        homes: A table as :data:`HOMES` says.
        margin: Differences of score up to this count as equal.
    """
    rows = []
    for model, by_home in scores(homes).items():
        every = np.array(list(by_home.values()))
        values = every[np.isfinite(every)]
        gaps = {} if model == "local" else differences(homes, model)
        gap = np.array(list(gaps.values()))
        any_scored = len(values) > 0
        rows.append(
            SummaryRow(
                model=model,
                homes=len(values),
                left_out=len(every) - len(values),
                mean=float(values.mean()) if any_scored else np.nan,
                median=float(np.median(values)) if any_scored else np.nan,
                p10=float(np.percentile(values, 10)) if any_scored else np.nan,
                compared=len(gap),
                hurt=float(np.mean(gap < -margin)) if len(gap) else np.nan,
                helped=float(np.mean(gap > margin)) if len(gap) else np.nan,
                p_value=_wilcoxon(gap),
            )
        )
    return rows


def counted_summary(counted: Mapping[str, Any]) -> list[SummaryRow]:
    """Return the summary of a secure count of the homes' scores, as :func:`summary` would.

    Args:
        counted: The data of a run's event ``scores-counted``. Median and percentile are read off a
            histogram of scores from -1 to 1, which a small fleet has not; nobody knows which home
            has which score.
    """
    homes = int(counted["homes"])
    return [
        SummaryRow(
            model=model,
            homes=homes,
            left_out=0,
            mean=_or_nan(values["mean"]),
            median=_or_nan(values["median"]),
            p10=_or_nan(values["p10"]),
            compared=0 if model == "local" else homes,
            hurt=values.get("hurt", np.nan),
            helped=values.get("helped", np.nan),
            p_value=np.nan,
        )
        for model, values in ((name, counted["models"].get(name)) for name in MODELS)
        if values is not None
    ]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _wilcoxon(gap: NDArray[np.float64]) -> float:
    if len(gap) < FEWEST_FOR_A_TEST or not np.any(gap):
        return float("nan")
    # A second of importing, which no home and no other command should pay.
    from scipy.stats import wilcoxon  # noqa: PLC0415

    return float(wilcoxon(gap).pvalue)


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
