"""Weather of a few made-up regions: seasons, days, passing fronts, clouds and sun.

The climates resemble the cities whose time zones they carry; no record of any was used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedhome import rng
from fedhome.simulations.homes.clock import Clock
from fedhome.simulations.homes.draws import Floats


@dataclass(frozen=True, kw_only=True)
class Region:
    """A climate and a time zone.

    Args:
        name: The region's name, which also names its random stream.
        time_zone: IANA name of its time zone.
        share: Share of the fleet's homes that stand here.
        latitude: Degrees north.
        longitude: Degrees east.
        mean_c: Mean temperature of the year, °C.
        seasonal_c: How far the warmest days' mean lies above it, °C.
        diurnal_c: How far a clear afternoon lies above its day's mean, °C.
        front_c: Standard deviation of what fronts add, °C.
        cloud: How cloudy it is: 0 is as often clear as overcast, above 0 cloudier.
        wind_m_s: Median wind speed, m/s.
        cooling: Share of the homes that have air conditioning.
    """

    name: str
    time_zone: str
    share: float
    latitude: float
    longitude: float
    mean_c: float
    seasonal_c: float
    diurnal_c: float
    front_c: float
    cloud: float
    wind_m_s: float
    cooling: float


REGIONS = (
    Region(name="north", time_zone="Europe/Stockholm", share=0.20, latitude=59.3, longitude=18.1,
           mean_c=7.5, seasonal_c=10.0, diurnal_c=3.0, front_c=3.8, cloud=0.5, wind_m_s=3.2,
           cooling=0.05),
    Region(name="middle", time_zone="Europe/Berlin", share=0.28, latitude=52.5, longitude=13.4,
           mean_c=10.3, seasonal_c=9.5, diurnal_c=3.8, front_c=3.6, cloud=0.4, wind_m_s=3.5,
           cooling=0.08),
    Region(name="dry", time_zone="Europe/Madrid", share=0.18, latitude=40.4, longitude=-3.7,
           mean_c=15.0, seasonal_c=10.0, diurnal_c=5.5, front_c=2.6, cloud=-0.5, wind_m_s=2.4,
           cooling=0.55),
    Region(name="continental", time_zone="America/Chicago", share=0.18, latitude=41.9,
           longitude=-87.6, mean_c=10.4, seasonal_c=13.5, diurnal_c=4.2, front_c=5.0, cloud=0.1,
           wind_m_s=4.2, cooling=0.85),
    Region(name="south", time_zone="Australia/Sydney", share=0.16, latitude=-33.9,
           longitude=151.2, mean_c=18.3, seasonal_c=5.3, diurnal_c=4.0, front_c=2.6, cloud=-0.2,
           wind_m_s=3.3, cooling=0.75),
)  # fmt: skip
"""The regions in which homes stand."""

_WARMEST_DAY = 204.0  # late July in the north, half a year later in the south
_YEAR_DAYS = 365.25
# Memory in hours of: fronts, cloud, gusts of temperature, wind.
_MEMORY_H = np.array([55.0, 14.0, 5.0, 9.0])


@dataclass(frozen=True, kw_only=True)
class Weather:
    """One region's weather, float64 ``[steps]`` each.

    Args:
        outdoor_c: Air temperature, °C.
        solar_w_m2: Global horizontal irradiance, W/m², 0 while the sun is down.
        humidity: Relative humidity, percent.
        wind_m_s: Wind speed, m/s.
        eastness: Where the sun stands: 1 due east, 0 at noon, -1 due west.
    """

    outdoor_c: Floats
    solar_w_m2: Floats
    humidity: Floats
    wind_m_s: Floats
    eastness: Floats


def weather(*, seed: int, region: Region, clock: Clock) -> Weather:
    """Simulate one region's weather: a function of the seed, the region and the time only.

    Clouds dim the clear sky's sun, warm the night and go with fronts; humidity rises with
    clouds and as the air cools below its day's mean; the wind blows harder by day.

    Source: Haurwitz, "Insolation in relation to cloudiness and cloud density", Journal of
    Meteorology 2, 1945 (clear sky); Kasten, Czeplak, "Solar and terrestrial radiation
    dependent on the amount and type of cloud", Solar Energy 24, 1980 (clouds).
    """
    middle_s = clock.time_s.astype(np.float64) + clock.step_h * 1800.0
    year_day = (middle_s / 86_400.0) % _YEAR_DAYS  # 1970 began with a 1 January
    sun_hour = (middle_s / 3600.0 + region.longitude / 15.0) % 24.0
    front, cloudy, gust, windy = _wander(seed, region, clock)

    cloud = 1.0 / (1.0 + np.exp(-(region.cloud * 1.5 + 1.6 * cloudy + 0.6 * front)))
    warmest = _WARMEST_DAY if region.latitude > 0.0 else _WARMEST_DAY + _YEAR_DAYS / 2.0
    season_c = region.seasonal_c * np.cos(2.0 * np.pi * (year_day - warmest) / _YEAR_DAYS)
    swing_c = (1.0 - 0.65 * cloud) * region.diurnal_c * np.cos(np.pi * (sun_hour - 15.0) / 12.0)
    outdoor_c = region.mean_c + season_c + swing_c + region.front_c * front + 0.5 * gust

    height, eastness = _sun(region.latitude, year_day, sun_hour)
    up = np.maximum(height, 1e-3)
    clear_w_m2 = np.where(height > 0.0, 1098.0 * up * np.exp(-0.057 / up), 0.0)
    humidity = 52.0 + 32.0 * cloud - 2.4 * swing_c - 3.0 * gust
    daylight = np.maximum(height, 0.0)
    return Weather(
        outdoor_c=outdoor_c,
        solar_w_m2=clear_w_m2 * (1.0 - 0.75 * cloud**3.4),
        humidity=np.clip(humidity, 12.0, 100.0),
        wind_m_s=region.wind_m_s * np.exp(0.5 * windy + 0.3 * daylight),
        eastness=eastness,
    )


def _sun(latitude: float, year_day: Floats, sun_hour: Floats) -> tuple[Floats, Floats]:
    """Return the sine of the sun's height and how far east it stands."""
    tilt = np.deg2rad(-23.44) * np.cos(2.0 * np.pi * (year_day + 10.0) / _YEAR_DAYS)
    angle = np.pi * (sun_hour - 12.0) / 12.0
    north = np.deg2rad(latitude)
    height = np.sin(north) * np.sin(tilt) + np.cos(north) * np.cos(tilt) * np.cos(angle)
    return height, -np.sin(angle)


def _wander(seed: int, region: Region, clock: Clock) -> Floats:
    """Return four autoregressive series of unit variance, float64 ``[4, steps]``.

    They are drawn by the hour and joined by straight lines: shorter steps show the same
    weather in more detail.
    """
    at_h = np.arange(clock.steps) * clock.step_h
    hours = int(np.ceil(at_h[-1])) + 1
    keep = np.exp(-1.0 / _MEMORY_H)
    fresh = np.sqrt(1.0 - keep**2)
    stream = rng.generator(seed, "homes", "weather", region.name)
    series = stream.standard_normal((hours, len(_MEMORY_H)))
    for hour in range(1, hours):
        series[hour] = keep * series[hour - 1] + fresh * series[hour]
    return np.stack([np.interp(at_h, np.arange(hours), one) for one in series.T])
