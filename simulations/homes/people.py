"""Who is at home when: household sizes, work, sleep, outings and holidays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedhome.simulations.homes.clock import Clock
from fedhome.simulations.homes.draws import Bools, Floats, Ints, Streams

SIZE_SHARES = (0.30, 0.34, 0.16, 0.14, 0.06)
"""Shares of households with one to five people."""

SECOND_HOME_SHARE = 0.03
"""Share of homes that stand empty on most days."""

# What an adult does: goes to an office, works some days at home, works late or at night,
# stays at home. A third and later person goes to school.
_OFFICE, _HYBRID, _SHIFT, _AT_HOME, _SCHOOL = range(5)
_ADULT_SHARES = (0.42, 0.24, 0.12, 0.22)
_RETIRED_SHARE = 0.18
_ADULTS = 2
_FRIDAY, SATURDAY = 4, 5
_LONGEST_HOLIDAY_DAYS = 14


@dataclass(frozen=True, kw_only=True)
class Presence:
    """The people of each home through the simulation.

    Args:
        size: People in the household, float64 ``[homes]``.
        occupancy: People at home, whole numbers, float64 ``[homes, steps]``.
        awake: Share of the step for which the household is awake, float64 ``[homes, steps]``.
        desks: People at work at home, float64 ``[homes, steps]``.
        on_holiday: Whether all are away for the day and the night, bool ``[homes, days]``.
        wake_h: When the household rises, local hour, float64 ``[homes, days]``.
        back_h: When the first person comes home from work, local hour, float64
            ``[homes, days]``.
        dinner_h: When dinner is cooked, local hour, float64 ``[homes, days]``.
    """

    size: Floats
    occupancy: Floats
    awake: Floats
    desks: Floats
    on_holiday: Bools
    wake_h: Floats
    back_h: Floats
    dinner_h: Floats

    @property
    def active(self) -> Floats:
        """People at home and awake, float64 ``[homes, steps]``."""
        return self.occupancy * self.awake


def presence(*, seed: int, homes: list[int], clock: Clock) -> Presence:
    """Simulate the people of some homes.

    A home: one to five people (`SIZE_SHARES`), 18 % of homes retired; rises at 6.8 ± 0.8 h
    and up to 2.5 h later at weekends, goes to bed at 22.8 ± 0.8 h, dines at 18.7 ± 1.0 h;
    all go out together on 5 to 25 % of evenings and 20 to 60 % of weekend days; starts a
    holiday of 3 to 14 days on 0.6 % of days. A day: times vary by about 20 minutes, and 3 %
    of working days are missed. `SECOND_HOME_SHARE` of homes are empty on most weekdays.

    Args:
        seed: The fleet's seed.
        homes: The homes' indices, ``[homes]``.
        clock: The steps to simulate.
    """
    traits = Streams(seed, "people", homes)
    size = traits.pick(SIZE_SHARES) + 1
    retired = traits.chance(_RETIRED_SHARE)
    second_home = traits.chance(SECOND_HOME_SHARE)
    weekend = clock.weekday >= SATURDAY  # [days]
    late_evening = (clock.weekday == _FRIDAY) | (clock.weekday == SATURDAY)

    wake_h, sleeps_in_h = traits.normal(6.8, 0.8)[:, None], traits.uniform(0.0, 2.5)[:, None]
    wake_h = wake_h + sleeps_in_h * weekend
    bed_h = traits.normal(22.8, 0.8)[:, None] + 0.7 * late_evening
    dinner_h = np.broadcast_to(traits.normal(18.7, 1.0)[:, None], wake_h.shape)
    out_chance = np.where(
        weekend, traits.uniform(0.2, 0.6)[:, None], traits.uniform(0.05, 0.25)[:, None]
    )
    out_h = np.where(weekend, traits.uniform(10.0, 17.0)[:, None], 19.5)
    holiday_days = traits.uniform(3.0, 14.0)
    wobble = traits.normals(clock.days, 4)  # [4, homes, days]
    luck = Streams(seed, "people.days", homes).uniforms(clock.days, 3)

    wake_h = np.maximum(wake_h + 0.25 * wobble[0], 3.0)
    bed_h = np.maximum(bed_h + 0.35 * wobble[1], 19.0)
    out_length_h = np.where(luck[0] < out_chance, 2.0 + 2.0 * luck[1], 0.0)
    away = clock.covered(out_h + 0.5 * wobble[3], out_length_h)
    on_holiday = _holidays(luck[2], holiday_days, second_home, clock)

    at_home = np.zeros((len(homes), clock.steps))
    desks = np.zeros_like(at_home)
    back_h = np.zeros_like(wake_h)
    for person in range(len(SIZE_SHARES)):
        day = _working_days(seed, person, homes, clock, retired)
        working = clock.covered(day.leave_h, day.length_h)
        here = (size > person)[:, None] & (np.maximum(working, away) < 0.5)  # noqa: PLR2004
        at_home += here
        desk = (size > person)[:, None] & day.at_desk[:, clock.day]
        desks += here * desk * ((clock.hour >= 8.5) & (clock.hour < 17.0))  # noqa: PLR2004 - hours
        if person == 0:
            back_h = np.where(day.length_h > 0.0, day.leave_h + day.length_h, 17.5 + wobble[3])
    at_home *= ~on_holiday[:, clock.day]
    return Presence(
        size=size.astype(np.float64),
        occupancy=at_home,
        awake=clock.covered(wake_h, bed_h - wake_h),
        desks=np.minimum(desks, at_home),
        on_holiday=on_holiday,
        wake_h=wake_h,
        back_h=back_h,
        dinner_h=dinner_h + 0.25 * wobble[2],
    )


@dataclass(frozen=True, kw_only=True)
class _WorkingDays:
    leave_h: Floats  # [homes, days]
    length_h: Floats  # [homes, days], 0 on a day at home
    at_desk: Bools  # [homes, days], works at home


def _working_days(
    seed: int, person: int, homes: list[int], clock: Clock, retired: Bools
) -> _WorkingDays:
    """Draw when one person of each household leaves for work or school, and for how long."""
    traits = Streams(seed, f"people.{person}", homes)
    role = traits.pick(_ADULT_SHARES)
    role = np.where(retired, _AT_HOME, role) if person < _ADULTS else np.full_like(role, _SCHOOL)
    at_night = traits.chance(0.4)
    leave_h = _by_role(
        role,
        [
            traits.normal(8.0, 0.8),
            traits.normal(8.2, 0.7),
            np.where(at_night, 21.3, 13.3) + traits.uniform(-0.7, 0.7),
            traits.uniform(9.5, 15.5),
            traits.normal(7.8, 0.3),
        ],
    )
    length_h = _by_role(
        role,
        [
            traits.normal(9.3, 0.8),
            traits.normal(9.0, 0.6),
            traits.uniform(8.5, 10.0),
            traits.uniform(1.0, 3.0),
            traits.uniform(5.5, 8.0),
        ],
    )
    weekdays = np.arange(7) < SATURDAY
    habit = traits.weekdays(0.6)
    goes = np.select(  # [homes, 7]
        [(role == _OFFICE)[:, None] | (role == _SCHOOL)[:, None], (role == _HYBRID)[:, None]],
        [np.broadcast_to(weekdays, habit.shape), weekdays & habit],
        default=habit,
    )
    luck = traits.normals(clock.days, 3)
    missed = np.abs(luck[2]) > 2.17  # noqa: PLR2004 - 3 % of days
    going = goes[:, clock.weekday] & ~missed
    return _WorkingDays(
        leave_h=np.maximum(leave_h[:, None] + 0.25 * luck[0], 0.0),
        length_h=np.where(going, np.maximum(length_h[:, None] + 0.35 * luck[1], 0.5), 0.0),
        at_desk=(role == _HYBRID)[:, None] & (weekdays & ~habit)[:, clock.weekday] & ~missed,
    )


def _by_role(role: Ints, values: list[Floats]) -> Floats:
    return np.choose(role, values)


def _holidays(luck: Floats, length_days: Floats, second_home: Bools, clock: Clock) -> Bools:
    """Return the days on which a home is left empty, bool ``[homes, days]``."""
    starts = luck < 0.006  # noqa: PLR2004 - of all days
    gone = np.zeros_like(starts)
    for ago in range(min(_LONGEST_HOLIDAY_DAYS, clock.days)):
        since = starts[:, : clock.days - ago] & (ago < length_days)[:, None]
        gone[:, ago:] |= since
    weekday = clock.weekday < SATURDAY
    return gone | (second_home[:, None] & (weekday | (luck > 0.6)))  # noqa: PLR2004
