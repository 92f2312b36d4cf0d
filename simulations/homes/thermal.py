"""Buildings as two thermal nodes, air and mass, with a thermostat that works on them.

::

    sun, people, heater ─► air ──(surfaces)── mass ◄─ sun, heater
                            │                  │
              windows, fresh air, leaks      walls
                            └──── outdoors ────┘
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedhome.simulations.homes.draws import Bools, Floats, Ints, Streams

RESISTIVE, HEAT_PUMP, FUEL = range(3)
HEATING_SHARES = (0.20, 0.42, 0.38)
"""Shares of homes heated by resistance, by a heat pump, and by gas or a district's heat."""

_SUBSTEP_H = 0.25  # a thermostat switches at most this often
_PERSON_W = 90.0
_DESIGN_INDOOR_C = 21.0
_SUN_TO_AIR = 0.35
_COOLING_GAP_C = 4.0  # cooling starts this far above the heating set-point
_BLINDS = 0.6  # share of the sun that blinds keep out of a warm home


@dataclass(frozen=True, kw_only=True)
class Building:
    """What describes the buildings of some homes, ``[homes]`` each.

    Args:
        air_wh_k: Heat that warms air and furniture by one kelvin, Wh/K.
        mass_wh_k: The same for walls and floors, Wh/K.
        air_mass_w_k: Conductance between the two, W/K.
        air_out_w_k: Conductance from the air to outdoors (windows, fresh air), W/K.
        mass_out_w_k: Conductance from the mass to outdoors, W/K.
        leak_w_k_m_s: What each m/s of wind adds between air and outdoors, W/K.
        sun_m2: Window area that lets the sun in without loss, m².
        eastward: How much more sun falls in while it stands east; negative for west.
        heater_w: The most that the heating gives, W.
        heat_to_air: Share of the heat that goes into the air; the rest warms the mass.
        cooler_w: The most that the cooling takes out, W; 0 where there is none.
        band_c: How far the air departs from the set-point before the heating switches, K.
        modulates: Whether the heating follows the demand rather than switching on and off.
        heating: `RESISTIVE`, `HEAT_PUMP` or `FUEL`.
    """

    air_wh_k: Floats
    mass_wh_k: Floats
    air_mass_w_k: Floats
    air_out_w_k: Floats
    mass_out_w_k: Floats
    leak_w_k_m_s: Floats
    sun_m2: Floats
    eastward: Floats
    heater_w: Floats
    heat_to_air: Floats
    cooler_w: Floats
    band_c: Floats
    modulates: Bools
    heating: Ints


def buildings(
    *, seed: int, homes: list[int], people: Floats, coldest_c: Floats, cooling_share: Floats
) -> Building:
    """Draw the buildings of some homes.

    Floor 55 m² and 18 m² a person, spread 25 %; heat loss 1.2 W/K per m², spread 40 %
    (0.7 is new, 2 is old), 35 to 60 % of it through the air; mass 40 to 140 Wh/K per m²;
    windows 6 to 20 % of the floor, half of whose sun comes in, less shade; heating sized
    1.2 to 2 times the loss on the coldest day.

    Args:
        seed: The fleet's seed.
        homes: The homes' indices, ``[homes]``.
        people: Size of each household, float64 ``[homes]``.
        coldest_c: Outdoor temperature for which the heating is sized, °C, float64 ``[homes]``.
        cooling_share: Chance of air conditioning, float64 ``[homes]``.
    """
    draw = Streams(seed, "building", homes)
    floor_m2 = draw.lognormal(55.0 + 18.0 * people, 0.25)
    loss_w_k = floor_m2 * draw.lognormal(1.2, 0.4)
    through_air = draw.uniform(0.35, 0.60)
    heating = draw.pick(HEATING_SHARES)
    design_w = loss_w_k * (_DESIGN_INDOOR_C - coldest_c)
    return Building(
        air_wh_k=floor_m2 * draw.uniform(3.0, 7.0),
        mass_wh_k=floor_m2 * draw.uniform(40.0, 140.0),
        air_mass_w_k=floor_m2 * draw.uniform(5.0, 9.0),
        air_out_w_k=loss_w_k * through_air,
        mass_out_w_k=loss_w_k * (1.0 - through_air),
        leak_w_k_m_s=loss_w_k * draw.uniform(0.005, 0.05),
        sun_m2=floor_m2 * draw.uniform(0.06, 0.20) * 0.5 * draw.uniform(0.3, 1.0),
        eastward=draw.uniform(-0.7, 0.7),
        heater_w=design_w * draw.uniform(1.2, 2.0),
        heat_to_air=draw.uniform(0.3, 0.95),
        cooler_w=np.where(draw.chance(cooling_share), floor_m2 * draw.uniform(35.0, 70.0), 0.0),
        band_c=draw.uniform(0.2, 0.6),
        modulates=draw.chance(np.where(heating == HEAT_PUMP, 0.8, 0.6)),
        heating=heating,
    )


@dataclass(frozen=True, kw_only=True)
class ThermalStep:
    """The exact solution of the two nodes over one step with constant input.

    For ``x = (air, mass)`` in °C and ``b`` the nodes' heating rates in K/h:
    ``x' = keep @ x + gain @ b``; every entry is float64 ``[homes]``.
    """

    keep: tuple[Floats, Floats, Floats, Floats]
    gain: tuple[Floats, Floats, Floats, Floats]


def exact_step(building: Building, step_h: float) -> ThermalStep:
    """Solve ``dx/dt = A x + b`` over one step, for every home.

    Args:
        building: The homes' buildings.
        step_h: Length of the step in hours.

    Source: Sylvester's formula for a function of a matrix with two distinct eigenvalues,
    applied to ``exp(A t)`` and to ``A⁻¹ (exp(A t) - 1)``.
    """
    to_air = building.air_mass_w_k / building.air_wh_k
    to_mass = building.air_mass_w_k / building.mass_wh_k
    air = -(building.air_mass_w_k + building.air_out_w_k) / building.air_wh_k
    mass = -(building.air_mass_w_k + building.mass_out_w_k) / building.mass_wh_k
    # Both conductances between the nodes are positive: the root is real and not zero.
    root = np.sqrt((air - mass) ** 2 + 4.0 * to_air * to_mass)
    slow, fast = (air + mass + root) / 2.0, (air + mass - root) / 2.0

    def of_matrix(at_slow: Floats, at_fast: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        tilt = (at_slow - at_fast) / root
        return (
            at_fast + tilt * (air - fast),
            tilt * to_air,
            tilt * to_mass,
            at_fast + tilt * (mass - fast),
        )

    exp_slow, exp_fast = _exp(slow * step_h), _exp(fast * step_h)
    return ThermalStep(
        keep=of_matrix(exp_slow, exp_fast),
        gain=of_matrix((exp_slow - 1.0) / slow, (exp_fast - 1.0) / fast),
    )


def _unit(values: Floats) -> Floats:
    return np.minimum(np.maximum(values, 0.0), 1.0)  # half the cost of np.clip on short arrays


def _exp(values: Floats) -> Floats:
    # numpy's own may round differently by a value's index in the array: a home would then
    # depend on its neighbours in the last bit.
    return np.array([math.exp(value) for value in values])


@dataclass(frozen=True, kw_only=True)
class Climate:
    """What acts on the homes from outside, float64 ``[homes, steps]`` each.

    Args:
        outdoor_c: Air temperature, °C.
        solar_w_m2: Sun on level ground, W/m².
        eastness: Where the sun stands: 1 due east, -1 due west.
        wind_m_s: Wind speed, m/s.
    """

    outdoor_c: Floats
    solar_w_m2: Floats
    eastness: Floats
    wind_m_s: Floats


@dataclass(frozen=True, kw_only=True)
class Warmth:
    """How the homes were warmed, float64 ``[homes, steps]`` each.

    Args:
        indoor_c: Air temperature at the end of the step, °C.
        heat_w: Mean heat given by the heating, W.
        cold_w: Mean heat taken out by the cooling, W.
    """

    indoor_c: Floats
    heat_w: Floats
    cold_w: Floats


def warm(
    building: Building,
    climate: Climate,
    *,
    setpoint_c: Floats,
    people: Floats,
    appliances_kw: Floats,
    step_h: float,
) -> Warmth:
    """Run the buildings and their thermostats through the steps.

    The heating follows the demand, or switches on below the set-point's band and off above
    it; cooling, where there is some, keeps the air below the set-point plus 4 K. Without it,
    people draw the blinds and open windows in a home that gets too warm.

    Args:
        building: The homes' buildings.
        climate: What acts on them from outside.
        setpoint_c: The thermostats' set-points, °C, float64 ``[homes, steps]``.
        people: People at home, float64 ``[homes, steps]``.
        appliances_kw: Electric power that turns to heat indoors, kW, ``[homes, steps]``.
        step_h: Length of a step in hours.
    """
    homes, steps = setpoint_c.shape
    substeps = math.ceil(step_h / _SUBSTEP_H)
    solved = exact_step(building, step_h / substeps)
    (air_air, air_mass, mass_air, mass_mass), gain = solved.keep, solved.gain
    to_air = np.stack([gain[0] / building.air_wh_k, gain[2] / building.air_wh_k])
    to_mass = np.stack([gain[1] / building.mass_wh_k, gain[3] / building.mass_wh_k])

    # Time comes first from here on: one step of all homes lies together in memory.
    outdoor = np.ascontiguousarray(climate.outdoor_c.T)
    setpoint = np.ascontiguousarray(setpoint_c.T)
    inside_w = np.ascontiguousarray((_PERSON_W * people + 1000.0 * appliances_kw).T)
    facing = np.maximum(1.0 + building.eastward[:, None] * climate.eastness, 0.0)
    sun_w = np.ascontiguousarray((building.sun_m2[:, None] * facing * climate.solar_w_m2).T)
    leak_w_k = np.ascontiguousarray((building.leak_w_k_m_s[:, None] * climate.wind_m_s).T)
    airing_w_k = building.air_wh_k * 0.4

    air = setpoint[0].copy()
    mass = 0.8 * air + 0.2 * outdoor[0]
    on = np.zeros(homes, dtype=np.bool_)
    indoor, heat, cold = (np.empty((steps, homes)) for _ in range(3))
    has_cooler = building.cooler_w > 0.0
    to_mass_share = 1.0 - building.heat_to_air
    air_per_heat = to_air[0] * building.heat_to_air + to_mass[0] * to_mass_share
    mass_per_heat = to_air[1] * building.heat_to_air + to_mass[1] * to_mass_share
    for step in range(steps):
        target, out = setpoint[step], outdoor[step]
        low, high, hot = target - building.band_c, target + building.band_c, target + _COOLING_GAP_C
        aim = np.where(building.modulates, target, high)
        heat_sum, cold_sum = np.zeros(homes), np.zeros(homes)
        for _ in range(substeps):
            warmth = _unit(air - hot + 1.0)  # how much too warm it feels
            opened = np.where(has_cooler | (out > air), 0.0, warmth)
            sun = sun_w[step] * (1.0 - _BLINDS * warmth)
            air_w = (
                building.air_out_w_k * out
                + (leak_w_k[step] + airing_w_k * opened) * (out - air)
                + inside_w[step]
                + _SUN_TO_AIR * sun
            )
            mass_w = building.mass_out_w_k * out + (1.0 - _SUN_TO_AIR) * sun
            idle = air_air * air + air_mass * mass + to_air[0] * air_w + to_mass[0] * mass_w
            mass = mass_air * air + mass_mass * mass + to_air[1] * air_w + to_mass[1] * mass_w
            # Within the substep a heater gives what reaches its aim and no more: a
            # thermostat that looked only once would overshoot by kelvins in light homes.
            on = (air < low) | (on & (air < high - 0.02))
            needed_w = np.minimum(np.maximum((aim - idle) / air_per_heat, 0.0), building.heater_w)
            heat_w = np.where(building.modulates | on, needed_w, 0.0)
            spare_w = np.maximum((idle - hot) / to_air[0], 0.0)
            cooling_w = np.minimum(spare_w, building.cooler_w)
            air = idle + air_per_heat * heat_w - to_air[0] * cooling_w
            mass = mass + mass_per_heat * heat_w - to_air[1] * cooling_w
            heat_sum += heat_w
            cold_sum += cooling_w
        indoor[step], heat[step], cold[step] = air, heat_sum / substeps, cold_sum / substeps
    return Warmth(
        indoor_c=np.ascontiguousarray(indoor.T),
        heat_w=np.ascontiguousarray(heat.T),
        cold_w=np.ascontiguousarray(cold.T),
    )
