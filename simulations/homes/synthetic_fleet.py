"""The fleet of synthetic homes, one table a home."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fedhome.data.table import HomeTable
from fedhome.errors import PlanError
from fedhome.simulations.homes.clock import clock
from fedhome.simulations.homes.draws import Floats, Streams
from fedhome.simulations.homes.household import HouseholdPlace, simulate
from fedhome.simulations.homes.weather import REGIONS, Weather, weather

COLUMNS: Mapping[str, str] = {
    "load_kwh": "electricity that the meter counted in the step, kWh; at least 0",
    "indoor_c": "air temperature indoors at the end of the step, °C",
    "setpoint_c": "the thermostat's set-point for heating, °C",
    "outdoor_c": "air temperature outdoors, °C",
    "solar_w_m2": "sun on level ground, W/m²",
    "humidity": "relative humidity outdoors, percent",
    "wind_m_s": "wind speed, m/s",
    "occupancy": "people at home",
    "occupied": "1 if anybody is at home, else 0",
    "heating_kwh": "energy used for heating in the step, of whatever kind, kWh",
    "cooling_kwh": "electricity used for cooling in the step, kWh",
}
"""Every column of a synthetic home, with its meaning and unit."""

_BLOCK_CELLS = 1_000_000  # homes times steps that are simulated at once: about 250 MB
_HOUR_MINUTES = 60


def generate(*, homes: int, days: int, seed: int, step_minutes: int = 60) -> Iterator[HomeTable]:
    """Simulate a fleet of homes, in the order of their names.

    A home depends on the seed and on its own index only, and a longer simulation begins
    with the shorter one. Homes of one region share the weather's arrays, which are
    read-only.

    Args:
        homes: Number of homes, named ``home-0001`` onwards.
        days: Length of the simulation in days, from 2025-01-06 00:00 UTC.
        seed: The fleet's seed.
        step_minutes: Length of a step in minutes, a divisor of 60.

    Raises:
        PlanError: A number that makes no fleet; lists all of them.
    """
    _check(homes=homes, days=days, step_minutes=step_minutes)
    return _generate(range(homes), days=days, seed=seed, step_minutes=step_minutes)


def generate_some(indices: Sequence[int], *, days: int, seed: int) -> Iterator[HomeTable]:
    """Simulate some homes of the fleet, the same as :func:`generate` makes them.

    Args:
        indices: The homes' indices in the fleet, from 0, in any order.
        days: Length of the simulation in days.
        seed: The fleet's seed.

    Raises:
        PlanError: A number that makes no home; lists all of them.
    """
    if not indices:
        return iter(())
    _check(homes=min(indices) + 1, days=days, step_minutes=_HOUR_MINUTES)
    return _generate(indices, days=days, seed=seed, step_minutes=_HOUR_MINUTES)


def name_of_home(index: int) -> str:
    """Return the name of a home by its index in the fleet, from 0."""
    return f"home-{index + 1:04d}"


def _check(*, homes: int, days: int, step_minutes: int) -> None:
    faults = []
    if homes < 1:
        faults.append(f"homes: {homes} is less than 1")
    if days < 1:
        faults.append(f"days: {days} is less than 1")
    if step_minutes < 1 or _HOUR_MINUTES % step_minutes:
        faults.append(f"step_minutes: {step_minutes} is no divisor of 60")
    if faults:
        raise PlanError(faults, where="the synthetic fleet", hint="try homes=100, days=60")


def _generate(
    indices: Sequence[int], *, days: int, seed: int, step_minutes: int
) -> Iterator[HomeTable]:
    all_locations = []
    for region in REGIONS:
        at = clock(days=days, step_minutes=step_minutes, time_zone=region.time_zone)
        sky = weather(seed=seed, region=region, clock=at)
        for shared in (at.time_s, *_shared(sky).values()):
            shared.flags.writeable = False
        all_locations.append(HouseholdPlace(homes=[], region=region, clock=at, weather=sky))
    block = max(1, _BLOCK_CELLS // all_locations[0].clock.steps)
    for first in range(0, len(indices), block):
        yield from _block(indices[first : first + block], seed=seed, all_locations=all_locations)


def _block(
    indices: Sequence[int], *, seed: int, all_locations: Sequence[HouseholdPlace]
) -> Iterator[HomeTable]:
    """Simulate some homes at once and hand them out in their order."""
    stands = Streams(seed, "region", indices).pick([region.share for region in REGIONS]).tolist()
    locations = [
        replace(location, homes=homes)
        for number, location in enumerate(all_locations)
        if (homes := [home for home, at in zip(indices, stands, strict=True) if at == number])
    ]
    own = simulate(seed=seed, locations=locations)
    simulated = (home for location in locations for home in location.homes)
    row_of = {home: row for row, home in enumerate(simulated)}
    for home, number in zip(indices, stands, strict=True):
        location, row = all_locations[number], row_of[home]
        shared = _shared(location.weather)
        yield HomeTable(
            home=name_of_home(home),
            time_s=location.clock.time_s,
            columns={name: shared[name] if name in shared else own[name][row] for name in COLUMNS},
            time_zone=location.region.time_zone,
        )


def _shared(sky: Weather) -> dict[str, Floats]:
    """Return the columns that all homes of a region have in common."""
    return {
        "solar_w_m2": sky.solar_w_m2,
        "humidity": sky.humidity,
        "wind_m_s": sky.wind_m_s,
    }
