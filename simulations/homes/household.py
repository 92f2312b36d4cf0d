"""Simulated households, put together: weather, people, appliances, building, meter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedhome.simulations.homes import household_appliances as using
from fedhome.simulations.homes import thermal
from fedhome.simulations.homes.clock import Clock
from fedhome.simulations.homes.draws import Bools, Floats, Streams
from fedhome.simulations.homes.people import Presence, presence
from fedhome.simulations.homes.weather import Region, Weather

SOLAR_SHARE = 0.24
"""Share of homes with solar panels; their meter never reads below 0."""

GAPPY_SHARE = 0.08
"""Share of homes whose hub is sometimes off: 2 to 12 hours on 15 % of days read NaN."""

GAP_CHANCE = 0.15
"""Chance that a gap begins on a day, in those homes."""

_INDOOR_APPLIANCES = (
    using.standing,
    using.fridge,
    using.presence_load,
    using.moments,
    using.cooking,
    using.dishwasher,
    using.laundry,
)
_OTHER_APPLIANCES = (
    using.hot_water,
    using.electric_car,
    using.pool_pump,
)

_FROST_C = 15.0  # what a thermostat keeps in a home on holiday
_COOLING_COP = 3.0
_FUEL_EFFICIENCY, _FUEL_PUMP = 0.92, 0.02


@dataclass(frozen=True, kw_only=True)
class HouseholdPlace:
    """Homes that stand in one region.

    Args:
        homes: The homes' indices in the fleet, ``[homes]``; at least one to simulate.
        region: Where they stand.
        clock: The steps in the region's time zone.
        weather: The region's weather over these steps.
    """

    homes: list[int]
    region: Region
    clock: Clock
    weather: Weather


def simulate(*, seed: int, locations: Sequence[HouseholdPlace]) -> Mapping[str, Floats]:
    """Simulate the homes of some regions, all over the same steps.

    Args:
        seed: The fleet's seed.
        locations: The homes by region, at least one.

    Returns:
        The homes' own columns, float64 ``[homes, steps]`` each, in the order of the
        locations; see :data:`fedhome.simulations.homes.COLUMNS`.
    """
    lives = [_live(seed, location) for location in locations]
    counts = [len(location.homes) for location in locations]
    outdoor_c = np.concatenate([life.outdoor_c for life in lives])
    setpoint_c = np.concatenate([life.setpoint_c for life in lives])
    occupancy = np.concatenate([life.people.occupancy for life in lives])
    indoor_kw = np.concatenate([life.indoor_kw for life in lives])
    step_h = locations[0].clock.step_h

    skies, regions = (
        [location.weather for location in locations],
        [location.region for location in locations],
    )
    coldest_c = [region.mean_c - region.seasonal_c - 2.0 * region.front_c for region in regions]
    building = thermal.buildings(
        seed=seed,
        homes=[home for location in locations for home in location.homes],
        people=np.concatenate([life.people.size for life in lives]),
        coldest_c=np.repeat(coldest_c, counts),
        cooling_share=np.repeat([region.cooling for region in regions], counts),
    )
    # The buildings of all regions run together: the loop over time costs as much for few.
    warmth = thermal.warm(
        building,
        thermal.Climate(
            outdoor_c=outdoor_c,
            solar_w_m2=np.repeat([sky.solar_w_m2 for sky in skies], counts, axis=0),
            eastness=np.repeat([sky.eastness for sky in skies], counts, axis=0),
            wind_m_s=np.repeat([sky.wind_m_s for sky in skies], counts, axis=0),
        ),
        setpoint_c=setpoint_c,
        people=occupancy,
        appliances_kw=indoor_kw,
        step_h=step_h,
    )
    final_kw, electric_kw = _energy(building, warmth, outdoor_c)
    cooling_kw = warmth.cold_w / 1000.0 / _COOLING_COP
    other_kw = np.concatenate([life.other_kw for life in lives])
    metered_kw = np.maximum(indoor_kw + other_kw + electric_kw + cooling_kw, 0.0)

    columns = {
        "load_kwh": metered_kw * step_h,
        "indoor_c": warmth.indoor_c,
        "setpoint_c": setpoint_c,
        "occupancy": occupancy,
        "occupied": (occupancy > 0.0).astype(np.float64),
        "heating_kwh": final_kw * step_h,
        "cooling_kwh": cooling_kw * step_h,
    }
    off = np.concatenate([life.off for life in lives])
    for column in columns.values():
        column[off] = np.nan
    return {**columns, "outdoor_c": outdoor_c}


@dataclass(frozen=True, kw_only=True)
class _Life:
    """What happens in homes before their buildings come in, float64 ``[homes, steps]``."""

    people: Presence
    outdoor_c: Floats
    setpoint_c: Floats
    indoor_kw: Floats  # appliances that warm the home
    other_kw: Floats  # those that do not, less what solar panels give
    off: Bools


def _live(seed: int, location: HouseholdPlace) -> _Life:
    homes, clock = location.homes, location.clock
    people = presence(seed=seed, homes=homes, clock=clock)
    scene = using.Scene(
        seed=seed, homes=homes, clock=clock, people=people, solar_w_m2=location.weather.solar_w_m2
    )
    nothing = np.zeros((len(homes), clock.steps))
    site_c = Streams(seed, "site", homes).normal(0.0, 0.8)
    return _Life(
        people=people,
        outdoor_c=location.weather.outdoor_c + site_c[:, None],
        setpoint_c=_setpoints(seed, homes, clock, people),
        indoor_kw=sum((kind(scene) for kind in _INDOOR_APPLIANCES), nothing),
        other_kw=sum((kind(scene) for kind in _OTHER_APPLIANCES), nothing)
        - _solar_panels(seed, homes, location.weather),
        off=_gaps(seed, homes, clock),
    )


def _setpoints(seed: int, homes: list[int], clock: Clock, people: Presence) -> Floats:
    """Return the thermostats' set-points, °C, ``[homes, steps]``.

    Comfort 20.8 ± 1.0 °C; 60 % of homes lower it by 1 to 4 K at night, 40 % by 1 to 4 K
    while nobody is at home, 70 % to 15 °C on holidays.
    """
    draw = Streams(seed, "setpoint", homes)
    comfort_c = draw.normal(20.8, 1.0)
    night_c = np.where(draw.chance(0.6), draw.uniform(1.0, 4.0), 0.0)
    away_c = np.where(draw.chance(0.4), draw.uniform(1.0, 4.0), 0.0)
    saves = draw.chance(0.7)
    asleep = people.awake < 0.5  # noqa: PLR2004 - for most of the step
    lowered = np.maximum(night_c[:, None] * asleep, away_c[:, None] * (people.occupancy == 0.0))
    frost = saves[:, None] & people.on_holiday[:, clock.day]
    return np.where(frost, _FROST_C, comfort_c[:, None] - lowered)


def _energy(
    building: thermal.Building, warmth: thermal.Warmth, outdoor_c: Floats
) -> tuple[Floats, Floats]:
    """Return the heating's final power and the electric part of it, kW, ``[homes, steps]``."""
    heat_kw = warmth.heat_w / 1000.0
    fuel = (building.heating == thermal.FUEL)[:, None]
    pumped = (building.heating == thermal.HEAT_PUMP)[:, None]
    cop = np.clip(3.0 + 0.07 * outdoor_c, 1.4, 4.8)
    efficiency = np.where(fuel, _FUEL_EFFICIENCY, np.where(pumped, cop, 1.0))
    final_kw = heat_kw / efficiency
    return final_kw, np.where(fuel, _FUEL_PUMP * heat_kw, final_kw)


def _solar_panels(seed: int, homes: list[int], weather: Weather) -> Floats:
    """Return what panels give: 1.5 to 6 kW at 1000 W/m², facing east to west, kW."""
    draw = Streams(seed, "solar_panels", homes)
    peak_kw = np.where(draw.chance(SOLAR_SHARE), draw.uniform(1.5, 6.0), 0.0)
    facing = np.maximum(1.0 + draw.uniform(-0.6, 0.6)[:, None] * weather.eastness, 0.0)
    return peak_kw[:, None] * 0.85 * facing * weather.solar_w_m2 / 1000.0


def _gaps(seed: int, homes: list[int], clock: Clock) -> Bools:
    """Return the steps at which a home's hub was off, bool ``[homes, steps]``."""
    draw = Streams(seed, "gaps", homes)
    gappy = draw.chance(GAPPY_SHARE)
    luck = draw.uniforms(clock.days, 3)
    begins = (luck[0] < GAP_CHANCE) & gappy[:, None]
    return clock.covered(24.0 * luck[2], np.where(begins, 2.0 + 10.0 * luck[1], 0.0)) > 0.0
