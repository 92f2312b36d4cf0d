"""Lags, horizon and gap of a plan, which may be lengths of time, in the steps of one home."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fedhome.errors import DataError
from fedhome.plan.data_settings import ROWS_APART, DataSettings, Span
from fedhome.plan.time_steps import DAY_S, MONTH_S, YEAR_S, step_seconds, step_text

_RECENT = 3  # steps
_WEEK_S = 7 * DAY_S


@dataclass(frozen=True, kw_only=True)
class StepSpans:
    """What a plan's lengths of time are in the steps of a home.

    Args:
        horizon: Steps ahead; 0 where rows do not follow each other in time.
        lags: Each lag as the plan writes it, and in steps.
        gap: Rows left out between the parts.
        day: Steps of a day, at least one; of rows without times, as many as are left out between
            the parts.
        later: Steps from the moment of the horizon to that of each horizon of the plan; of a plan
            with a single one it is itself.
    """

    horizon: int
    lags: tuple[tuple[str, int], ...]
    gap: int
    day: int
    later: tuple[int, ...] = (0,)

    @property
    def furthest(self) -> int:
        """Steps from the moment of the horizon to that of the furthest one."""
        return self.later[-1]


def spans_of(
    data: DataSettings, *, home: str, step_s: int | None, ahead: Span | None = None
) -> StepSpans:
    """Return a plan's lengths of time in the steps of a home.

    Args:
        data: The plan's settings for data.
        home: The home's name.
        step_s: Seconds from one of its rows to the next; None where they have no times.
        ahead: What is to be known that far ahead, by what the plan's horizon looks back from;
            None: the plan's own horizons are.

    Raises:
        DataError: A length that is no whole number of steps, a lag within the horizon, or horizons
            that do not rise.
    """
    day = ROWS_APART if step_s is None else max(round(DAY_S / step_s), 1)
    if not data.series:
        gap = ROWS_APART if data.gap is None else data.gap
        # Rows that are no series need keep no clock: as many as take at least that long.
        rows = gap if isinstance(gap, int) else -(-_seconds(gap, step_s, home) // (step_s or 1))
        return StepSpans(horizon=0, lags=(), gap=rows, day=day)
    near = 1 if data.nearest is None else data.nearest
    horizon = _steps("horizon", near, step_s, home)
    wanted = data.horizon if isinstance(data.horizon, tuple) else (near,)
    if ahead is not None:
        wanted = (ahead,)
    each = [_steps("horizon", one, step_s, home) for one in wanted]
    if any(far <= closer for closer, far in pairwise(each)):
        raise DataError(
            f"home {home!r}: the horizons {', '.join(map(str, wanted))} are "
            f"{', '.join(map(str, each))} of its steps, which do not rise",
            hint="name each once, the nearest first, all in steps or all as lengths of time",
        )
    written = data.lags
    if written is None:
        recent = tuple(range(horizon, horizon + _RECENT))
        written = recent if step_s is None else usual_lags(step_s, horizon=horizon)
    lags = tuple((str(lag), _steps("lags", lag, step_s, home)) for lag in written)
    if early := [lag for lag, steps in lags if steps < horizon]:
        raise DataError(
            f"home {home!r}: data.lags {', '.join(early)} lie after the moment of prediction: with "
            f"data.horizon = {near} and a step of {step_text(step_s or 1)} a lag must be at least "
            f"{horizon} steps",
            hint="name longer lags, or a shorter horizon",
        )
    gap_steps = day if data.gap is None else _steps("gap", data.gap, step_s, home)
    later = tuple(steps - horizon for steps in each)
    return StepSpans(horizon=horizon, lags=lags, gap=gap_steps, day=day, later=later)


def usual_lags(
    step_s: int, *, horizon: int = 1, week: bool = False, year: bool = False
) -> tuple[str, ...]:
    """Return the lags of a plan that names none: the last steps, a day before, a week, a year.

    >>> usual_lags(3600)
    ('1h', '2h', '3h', '23h', '1d', '25h')

    Args:
        step_s: Seconds of a step.
        horizon: Steps ahead.
        week: Whether the same moment a week before is one of them.
        year: Whether the same month or quarter a year before is one of them.
    """
    recent = range(horizon, horizon + _RECENT)
    day = _whole(DAY_S, step_s, horizon)
    around = (day - 1, day, day + 1) if step_s < DAY_S else ()
    before = [*([_WEEK_S] if week else []), *([YEAR_S] if year and step_s >= MONTH_S else [])]
    steps = [*recent, *around, *(_whole(length_s, step_s, horizon) for length_s in before)]
    return tuple(step_text(step * step_s) for step in sorted(set(steps)) if step >= horizon)


def _whole(length_s: int, step_s: int, horizon: int) -> int:
    """Return the fewest steps, about a multiple of a length, that are no less than the horizon."""
    each = max(length_s / step_s, 1.0)
    count = 1
    while round(count * each) < horizon:
        count += 1
    return round(count * each)


def _steps(name: str, span: Span, step_s: int | None, home: str) -> int:
    if isinstance(span, int):
        return span
    seconds = _seconds(span, step_s, home)
    steps, beyond = divmod(seconds, step_s or 1)
    if beyond:
        own = step_text(step_s or 1)
        raise DataError(
            f"home {home!r}: data.{name} {span} is no whole number of its steps of {own}",
            hint=f"put all homes on its steps: --set data.step={own}"
            if not steps
            else f"set data.step to a length that divides {span}: --set data.step={span}",
        )
    return steps


def _seconds(span: str, step_s: int | None, home: str) -> int:
    if step_s is None:
        raise DataError(
            f"home {home!r}: its rows have no times, so that {span} says nothing",
            hint="give lags and gap as numbers of rows, or name the column of the times: data.time",
        )
    return step_seconds(span)
