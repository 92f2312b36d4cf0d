"""What the people of a home switch on, and what runs by itself.

Every function returns the power of one kind of appliance in kW, float64 ``[homes, steps]``,
and draws what it needs from a stream of its own: adding one leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedhome.simulations.homes.clock import Clock
from fedhome.simulations.homes.draws import Floats, Streams
from fedhome.simulations.homes.people import SATURDAY, Presence

EV_SHARE, POOL_SHARE, TANK_SHARE = 0.22, 0.08, 0.42
"""Shares of homes with an electric car, a pool pump, an electric hot-water tank."""

NIGHT_TARIFFS_H = (21.5, 23.0, 24.5, 26.0)
"""Local hours at which the night tariffs of four utilities begin; 26 is two in the morning."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What appliances depend on.

    Args:
        seed: The fleet's seed.
        homes: The homes' indices, ``[homes]``.
        clock: The steps.
        people: The people of each home.
        solar_w_m2: Daylight, W/m², float64 ``[steps]``.
    """

    seed: int
    homes: list[int]
    clock: Clock
    people: Presence
    solar_w_m2: Floats

    def streams(self, appliance: str) -> Streams:
        """Return the homes' streams for one appliance."""
        return Streams(self.seed, f"appliance.{appliance}", self.homes)

    def night_tariff_h(self) -> Floats:
        """Return when each home's night tariff begins, local hour, float64 ``[homes]``."""
        utility = self.streams("tariff").pick((0.3, 0.3, 0.2, 0.2))
        return np.array(NIGHT_TARIFFS_H)[utility]

    def when_home(self, happens: Floats) -> Floats:
        """Return 1 on days on which something happens and the people are not on holiday."""
        return happens * ~self.people.on_holiday


def standing(scene: Scene) -> Floats:
    """Return what never stops: standby, 60 W with a spread of 50 %."""
    base_kw = scene.streams("standing").lognormal(0.06, 0.5)
    return np.broadcast_to(base_kw[:, None], (len(scene.homes), scene.clock.steps))


def fridge(scene: Scene) -> Floats:
    """Return a fridge's compressor: 70 to 150 W for 25 to 50 % of a 40 to 100 minute cycle."""
    draw = scene.streams("fridge")
    power_kw, duty = draw.uniform(0.07, 0.15), draw.uniform(0.25, 0.50)
    cycle_h, shift_h = draw.uniform(0.7, 1.7), draw.uniform(0.0, 1.7)
    at_h = np.arange(scene.clock.steps + 1) * scene.clock.step_h + shift_h[:, None]
    cycles = np.floor(at_h / cycle_h[:, None])
    phase_h = at_h - cycles * cycle_h[:, None]
    on_h = (cycles * duty[:, None] + np.minimum(phase_h / cycle_h[:, None], duty[:, None])) * (
        cycle_h[:, None]
    )
    running: Floats = np.diff(on_h, axis=1) / scene.clock.step_h
    return power_kw[:, None] * running


def presence_load(scene: Scene) -> Floats:
    """Return lights, screens and small things that follow the people.

    Each active person 30 to 90 W, lights of 60 to 250 W in the dark, a screen of 60 to
    250 W from six in the evening, 80 to 220 W for each desk.
    """
    draw = scene.streams("presence")
    each_kw, lights_kw = draw.uniform(0.03, 0.09), draw.uniform(0.06, 0.25)
    screen_kw, desk_kw = draw.uniform(0.06, 0.25), draw.uniform(0.08, 0.22)
    people, hour = scene.people, scene.clock.hour
    active = people.active
    any_active = np.minimum(active, 1.0)
    dark = np.clip(1.0 - scene.solar_w_m2 / 120.0, 0.0, 1.0)
    evening = (hour >= 18.0).astype(np.float64)  # noqa: PLR2004 - hours
    return (
        each_kw[:, None] * active
        + lights_kw[:, None] * any_active * dark
        + screen_kw[:, None] * any_active * evening
        + desk_kw[:, None] * people.desks
    )


def moments(scene: Scene) -> Floats:
    """Return kettles, irons and hair dryers: bursts in 8 % of a person's active hours."""
    draw = scene.streams("moments")
    burst_kwh = draw.lognormal(0.12, 0.4)
    luck = draw.uniforms(scene.clock.steps, 2)
    active = np.minimum(scene.people.active, 2.0)
    happens = luck[0] < 0.08 * active * scene.clock.step_h
    bursts_kwh: Floats = happens * burst_kwh[:, None] * (0.4 + 1.2 * luck[1])
    return bursts_kwh / scene.clock.step_h


def cooking(scene: Scene) -> Floats:
    """Return breakfast and dinner: 0.1 and 0.5 kWh, more with more people, and less with gas.

    Dinner is cooked on 60 to 98 % of days, breakfast on 70 to 100 %.
    """
    draw = scene.streams("cooking")
    with_gas = draw.chance(0.35)
    dinner_kwh = draw.lognormal(0.45 + 0.16 * scene.people.size, 0.3) * np.where(with_gas, 0.2, 1.0)
    breakfast_kwh = draw.lognormal(0.10 + 0.05 * scene.people.size, 0.3)
    dines, breakfasts = draw.uniform(0.6, 0.98), draw.uniform(0.7, 1.0)
    luck = draw.uniforms(scene.clock.days, 3)
    eats = scene.when_home((luck[0] < dines[:, None]) * 0.8)  # over 48 minutes
    wakes = scene.when_home((luck[1] < breakfasts[:, None]) * 0.4)
    dinner = scene.clock.covered(scene.people.dinner_h, eats)
    breakfast = scene.clock.covered(scene.people.wake_h + 0.2, wakes)
    size: Floats = (0.85 + 0.3 * luck[2])[:, scene.clock.day]
    return dinner * size * dinner_kwh[:, None] / 0.8 + breakfast * breakfast_kwh[:, None] / 0.4


def dishwasher(scene: Scene) -> Floats:
    """Return a dishwasher, in 70 % of homes: 1 kWh on 35 to 90 % of days.

    It runs after dinner or, in 30 % of homes, when the night tariff begins.
    """
    draw = scene.streams("dishwasher")
    owned, by_timer = draw.chance(0.7), draw.chance(0.3)
    often, kwh = draw.uniform(0.35, 0.9), draw.uniform(0.7, 1.2)
    luck = draw.uniforms(scene.clock.days, 1)[0]
    runs = scene.when_home((luck < often[:, None]) * owned[:, None] * 1.6)
    start_h = np.where(
        by_timer[:, None], scene.night_tariff_h()[:, None], scene.people.dinner_h + 1.0
    )
    return scene.clock.covered(start_h, runs) * kwh[:, None] / 1.6


def laundry(scene: Scene) -> Floats:
    """Return washing (0.8 kWh) and, in 40 % of homes, drying (1.8 kWh) on the home's own days."""
    draw = scene.streams("laundry")
    days = draw.weekdays(0.18 + 0.06 * scene.people.size)
    start_h, dries = draw.uniform(8.0, 20.0), draw.chance(0.4)
    luck = draw.uniforms(scene.clock.days, 2)
    chance = np.where(days[:, scene.clock.weekday], 0.9, 0.03)
    washes = scene.when_home((luck[0] < chance) * 1.5)
    at_h = start_h[:, None] + 1.2 * (luck[1] - 0.5)
    wash = scene.clock.covered(at_h, washes) * 0.8 / 1.5
    return wash + scene.clock.covered(at_h + 1.6, washes * dries[:, None]) * 1.8 / 1.5


def hot_water(scene: Scene) -> Floats:
    """Return an electric tank: 0.7 to 1.8 kWh a person and day, with a 1 to 3 kW element.

    `TANK_SHARE` of homes have one. 55 % of tanks reheat when the night tariff begins, the
    others after the morning's and the evening's showers.
    """
    draw = scene.streams("hot_water")
    owned, at_night = draw.chance(TANK_SHARE), draw.chance(0.55)
    evening_h = draw.uniform(19.5, 22.0)
    element_kw = draw.uniform(1.0, 3.0)
    a_day_kwh = draw.uniform(0.7, 1.8) * scene.people.size
    morning_share = np.where(at_night, 0.0, draw.uniform(0.3, 0.9))
    spread = 0.9 + 0.2 * draw.uniforms(scene.clock.days, 1)[0]
    drawn_kwh = np.where(scene.people.on_holiday, 0.3, a_day_kwh[:, None] * spread)
    full_h = drawn_kwh * owned[:, None] / element_kw[:, None]
    later_h = np.where(at_night, scene.night_tariff_h(), evening_h)[:, None]
    early = scene.clock.covered(scene.people.wake_h + 0.5, full_h * morning_share[:, None])
    late = scene.clock.covered(
        np.broadcast_to(later_h, full_h.shape), full_h * (1.0 - morning_share[:, None])
    )
    return (early + late) * element_kw[:, None]


def electric_car(scene: Scene) -> Floats:
    """Return a car's charging of what was driven: 4 to 12 kWh on days of work.

    `EV_SHARE` of homes have a car. It charges on 95 % of weekdays or, in 30 % of homes, on
    the home's own ones, and on 20 to 70 % of weekend days; at 2.3, 3.7 or 7.4 kW; on coming
    home (40 %) or when the night tariff begins.
    """
    draw = scene.streams("electric_car")
    owned, on_arrival = draw.chance(EV_SHARE), draw.chance(0.4)
    own_days = draw.weekdays(0.6) | ~draw.chance(0.3)[:, None]
    at_weekends = draw.uniform(0.2, 0.7)
    power_kw: Floats = np.array([2.3, 3.7, 7.4])[draw.pick((0.4, 0.4, 0.2))]
    kwh = draw.uniform(4.0, 12.0)
    luck = draw.uniforms(scene.clock.days, 2)
    weekday = scene.clock.weekday
    chance = np.where(own_days[:, weekday], 0.95, 0.0)
    chance = np.where(weekday >= SATURDAY, at_weekends[:, None], chance) * owned[:, None]
    charges = scene.when_home(1.0 * (luck[0] < chance))
    needed_kwh = kwh[:, None] * (0.85 + 0.3 * luck[1])
    start_h = np.where(
        on_arrival[:, None], scene.people.back_h + 0.3, scene.night_tariff_h()[:, None]
    )
    return (
        scene.clock.covered(start_h, charges * needed_kwh / power_kw[:, None]) * power_kw[:, None]
    )


def pool_pump(scene: Scene) -> Floats:
    """Return a pool's or a well's pump: 0.4 to 1.1 kW for 3 to 8 hours from a fixed hour."""
    draw = scene.streams("pool_pump")
    power_kw = np.where(draw.chance(POOL_SHARE), draw.uniform(0.4, 1.1), 0.0)
    shape = (len(scene.homes), scene.clock.days)
    start_h, length_h = draw.uniform(6.0, 16.0), draw.uniform(3.0, 8.0)
    runs = scene.clock.covered(
        np.broadcast_to(start_h[:, None], shape), np.broadcast_to(length_h[:, None], shape)
    )
    return runs * power_kw[:, None]
