"""Synthetic homes: the same whoever asks, sane as physics, different as people."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.data.table import HomeTable
from fedhome.errors import PlanError
from fedhome.simulations.homes import COLUMNS, generate, generate_some
from fedhome.simulations.homes.clock import Clock, clock
from fedhome.simulations.homes.draws import Floats
from fedhome.simulations.homes.household import GAP_CHANCE, GAPPY_SHARE, _setpoints
from fedhome.simulations.homes.people import presence
from fedhome.simulations.homes.thermal import Building, Climate, buildings, exact_step, warm
from fedhome.simulations.homes.weather import REGIONS, weather
from helpers.examples import share_of


@pytest.fixture(scope="module")
def fleet() -> list[HomeTable]:
    return list(generate(homes=120, days=28, seed=5))


def _one_building(**changes: float) -> Building:
    values: dict[str, float] = {
        "air_wh_k": 500.0,
        "mass_wh_k": 8000.0,
        "air_mass_w_k": 600.0,
        "air_out_w_k": 60.0,
        "mass_out_w_k": 80.0,
        "leak_w_k_m_s": 0.0,
        "sun_m2": 0.0,
        "eastward": 0.0,
        "heater_w": 0.0,
        "heat_to_air": 1.0,
        "cooler_w": 0.0,
        "band_c": 0.5,
    }
    arrays = {name: np.array([value]) for name, value in (values | changes).items()}
    return Building(**arrays, modulates=np.array([True]), heating=np.array([0]))


def _climate(steps: int, outdoor_c: float, solar_w_m2: float = 0.0) -> Climate:
    flat = np.zeros((1, steps))
    return Climate(
        outdoor_c=flat + outdoor_c, solar_w_m2=flat + solar_w_m2, eastness=flat, wind_m_s=flat
    )


def _same(one: HomeTable, other: HomeTable) -> bool:
    return (
        one.home == other.home
        and one.time_zone == other.time_zone
        and np.array_equal(one.time_s, other.time_s)
        and all(
            np.array_equal(one.columns[name], other.columns[name], equal_nan=True)
            for name in COLUMNS
        )
    )


@pytest.mark.long
def test_the_same_seed_gives_the_same_fleet_and_another_seed_another() -> None:
    first, again = (list(generate(homes=6, days=3, seed=1)) for _ in range(2))
    assert all(_same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(
        _same(a, b) for a, b in zip(first, generate(homes=6, days=3, seed=2), strict=True)
    )


@pytest.mark.long
def test_a_home_does_not_depend_on_the_size_of_the_fleet(fleet: list[HomeTable]) -> None:
    few = list(generate(homes=9, days=28, seed=5))
    assert all(_same(a, b) for a, b in zip(few, fleet, strict=False))
    for index in (0, 6, 119):
        (alone,) = generate_some([index], days=28, seed=5)
        assert _same(alone, fleet[index])


@pytest.mark.long
def test_a_home_does_not_depend_on_how_the_fleet_is_cut_into_blocks(
    fleet: list[HomeTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedhome.simulations.homes.synthetic_fleet._BLOCK_CELLS", 28 * 24 * 7)
    assert all(
        _same(a, b) for a, b in zip(generate(homes=16, days=28, seed=5), fleet, strict=False)
    )


@pytest.mark.long
def test_a_longer_simulation_begins_with_the_shorter(fleet: list[HomeTable]) -> None:
    for short, long in zip(generate(homes=20, days=9, seed=5), fleet, strict=False):
        for name in COLUMNS:
            np.testing.assert_allclose(
                short.columns[name], long.columns[name][: short.rows], atol=1e-9
            )


def test_tables_have_the_promised_columns_times_and_names(fleet: list[HomeTable]) -> None:
    assert [home.home for home in fleet] == [f"home-{n:04d}" for n in range(1, 121)]
    assert {home.time_zone for home in fleet} == {region.time_zone for region in REGIONS}
    for home in fleet:
        assert list(home.columns) == list(COLUMNS)
        assert home.rows == 28 * 24
        assert home.time_s[0] == 1_736_121_600  # 2025-01-06 00:00 UTC
        assert set(np.diff(home.time_s)) == {3600}
        assert all(column.dtype == np.float64 for column in home.columns.values())


@pytest.mark.long
def test_shorter_steps_count_the_same_energy() -> None:
    hourly = list(generate(homes=40, days=7, seed=3))
    quarters = list(generate(homes=40, days=7, seed=3, step_minutes=15))
    assert quarters[0].rows == 7 * 96
    for name in ("load_kwh", "heating_kwh"):
        by_hour, by_quarter = (
            sum(float(np.nansum(home.columns[name])) for home in homes)
            for homes in (hourly, quarters)
        )
        assert by_quarter == pytest.approx(by_hour, rel=0.08)


def test_what_makes_no_fleet_is_refused_with_every_fault() -> None:
    with pytest.raises(PlanError) as refused:
        generate(homes=0, days=-1, seed=0, step_minutes=7)
    assert len(refused.value.faults) == 3
    with pytest.raises(PlanError, match="homes"):
        generate_some([-1], days=1, seed=0)


def test_readings_stay_within_what_is_possible(fleet: list[HomeTable]) -> None:
    for home in fleet:
        known = {name: column[np.isfinite(column)] for name, column in home.columns.items()}
        for name in ("load_kwh", "heating_kwh", "cooling_kwh", "solar_w_m2", "wind_m_s"):
            assert known[name].min() >= 0.0
        assert known["load_kwh"].max() < 30.0
        assert known["solar_w_m2"].max() < 1150.0
        assert known["indoor_c"].min() > 8.0
        assert known["indoor_c"].max() < 40.0
        assert known["outdoor_c"].min() > -40.0
        assert known["outdoor_c"].max() < 48.0
        assert known["humidity"].min() >= 12.0
        assert known["humidity"].max() <= 100.0
        assert set(known["occupancy"]) <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
        np.testing.assert_array_equal(known["occupied"], known["occupancy"] > 0.0)


def test_the_sun_shines_by_day_only(fleet: list[HomeTable]) -> None:
    for home in fleet[:30]:
        zone = ZoneInfo(home.time_zone)
        hour = np.array([datetime.fromtimestamp(at, zone).hour for at in home.time_s])
        night = (hour >= 22) | (hour < 4)
        assert home.columns["solar_w_m2"][night].max() == 0.0
        assert home.columns["solar_w_m2"][(hour >= 11) & (hour < 13)].min() > 0.0


def test_it_is_summer_in_the_south(fleet: list[HomeTable]) -> None:
    mean_c = {home.time_zone: home.columns["outdoor_c"].mean() for home in fleet}
    assert mean_c["Australia/Sydney"] > 15.0 > mean_c["Europe/Madrid"]
    assert mean_c["Europe/Madrid"] > mean_c["Europe/Stockholm"]


def test_homes_use_more_electricity_while_somebody_is_there(fleet: list[HomeTable]) -> None:
    ratios = []
    for home in fleet:
        load, occupied = home.columns["load_kwh"], home.columns["occupied"]
        if (occupied == 0.0).sum() >= 24 and (occupied == 1.0).sum() >= 24:
            ratios.append(load[occupied == 1.0].mean() / (load[occupied == 0.0].mean() + 1e-3))
    assert len(ratios) > 60
    assert np.median(ratios) > 1.15


def test_cold_days_need_more_heating(fleet: list[HomeTable]) -> None:
    falls = []
    for home in fleet:
        outdoor_c, heating_kwh = (
            home.columns[name].reshape(-1, 24).mean(axis=1) for name in ("outdoor_c", "heating_kwh")
        )
        if np.isfinite(heating_kwh).all() and heating_kwh.mean() > 0.1:
            falls.append(np.corrcoef(outdoor_c, heating_kwh)[0, 1])
    assert len(falls) > 50
    # Homes that stood empty on holiday go their own way.
    assert np.median(falls) < -0.7
    assert np.mean(np.array(falls) < -0.3) > 0.85


def test_heated_homes_are_kept_near_their_set_points(fleet: list[HomeTable]) -> None:
    for home in fleet:
        if home.time_zone != "Australia/Sydney":
            lack = home.columns["setpoint_c"] - home.columns["indoor_c"]
            assert np.nanmean(lack) < 0.7, home.home


def test_homes_are_kept_cooler_at_night_and_while_nobody_is_there() -> None:
    at, homes = clock(days=60, step_minutes=60, time_zone="UTC"), list(range(1000))
    people = presence(seed=3, homes=homes, clock=at)
    points = _setpoints(3, homes, at, people)
    gone = people.on_holiday[:, at.day]
    up, there = people.awake >= 0.5, people.occupancy > 0
    lowered: dict[str, list[float]] = {"away": [], "asleep": []}
    for home in np.flatnonzero((up & there & ~gone).any(axis=1)):
        kept = points[home]
        (comfort,) = set(kept[(up & there & ~gone)[home]].tolist())
        for name, when in (("away", up & ~there & ~gone), ("asleep", ~up & there & ~gone)):
            if when[home].any():
                (lower,) = set(kept[when[home]].tolist())
                lowered[name].append(comfort - lower)
    for name, share in (("away", 0.4), ("asleep", 0.6)):
        found = np.array(lowered[name])
        some = found[found > 0]
        assert len(found) > 500
        assert some.min() > 0.99
        assert some.max() < 4.01
        assert abs(len(some) / len(found) - share) < 0.08  # three and a half deviations or more
    travelled = gone.any(axis=1)
    frost = (points[travelled] == 15.0).any(axis=1)
    assert travelled.sum() > 100
    assert abs(frost.mean() - 0.7) < 0.16


def test_homes_differ_in_level_shape_and_response(fleet: list[HomeTable]) -> None:
    level = np.array([np.nanmean(home.columns["load_kwh"]) for home in fleet])
    assert np.quantile(level, 0.9) / np.quantile(level, 0.1) > 3.0
    days = np.stack(
        [np.nanmean(home.columns["load_kwh"].reshape(-1, 24), axis=0) for home in fleet]
    )
    shapes = (days - days.mean(axis=1, keepdims=True)) / days.std(axis=1, keepdims=True)
    between = np.corrcoef(shapes)[np.triu_indices(len(shapes), 1)]
    # Alike enough to learn from one another, and far from one and the same.
    assert 0.05 < between.mean() < 0.6
    assert between.std() > 0.2
    slopes = [
        np.polyfit(home.columns["outdoor_c"][ok], home.columns["load_kwh"][ok] / mean, 1)[0]
        for home, mean in zip(fleet, level, strict=True)
        if (ok := np.isfinite(home.columns["load_kwh"])).any()
    ]
    assert np.quantile(slopes, 0.1) < -0.03
    assert np.quantile(slopes, 0.9) > -0.01


@pytest.mark.long
def test_the_documented_share_of_homes_has_gaps_and_only_in_its_own_readings() -> None:
    homes = list(generate(homes=600, days=14, seed=11, step_minutes=60))
    gaps = np.array([np.isnan(home.columns["load_kwh"]).mean() for home in homes])
    # A gappy home shows no gap in two weeks (and the day before) in few cases.
    expected = GAPPY_SHARE * (1.0 - (1.0 - GAP_CHANCE) ** 14.5)
    spread = np.sqrt(expected * (1.0 - expected) / len(homes))
    assert abs((gaps > 0.0).mean() - expected) < 3.5 * spread
    # 7 hours and the two steps cut at their ends, on 15 % of days.
    assert gaps[gaps > 0.0].mean() == pytest.approx(GAP_CHANCE * 8.0 / 24.0, rel=0.3)
    for home in homes:
        for name in ("outdoor_c", "solar_w_m2", "humidity", "wind_m_s"):
            assert np.isfinite(home.columns[name]).all()


@pytest.mark.long
def test_some_homes_are_naturally_hard() -> None:
    homes = list(generate(homes=300, days=28, seed=2))
    clipped = [np.mean(home.columns["load_kwh"] == 0.0) > 0.05 for home in homes]
    empty = [np.nanmean(home.columns["occupied"]) < 0.4 for home in homes]
    assert 0.05 < np.mean(clipped) < 0.24
    assert 0.01 < np.mean(empty) < 0.08


def test_shared_weather_cannot_be_changed_for_the_other_homes(fleet: list[HomeTable]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        fleet[0].columns["solar_w_m2"][0] = 1.0


def test_an_interval_covers_its_share_of_each_step_and_runs_into_the_next_day() -> None:
    at = clock(days=3, step_minutes=60, time_zone="UTC")
    start_h, length_h = np.full((1, at.days), 23.5), np.zeros((1, at.days))
    length_h[0, 2] = 2.25  # day 2 is the first of the simulation
    share = at.covered(start_h, length_h)[0]
    assert share[23:27].tolist() == pytest.approx([0.5, 1.0, 0.75, 0.0])
    assert share.sum() == pytest.approx(2.25)


def test_the_clock_keeps_local_time_over_the_change_to_summer_time() -> None:
    at = clock(days=90, step_minutes=60, time_zone="Europe/Berlin")
    zone = ZoneInfo("Europe/Berlin")
    local = [datetime.fromtimestamp(when, zone) for when in at.time_s]
    assert at.hour.tolist() == [float(when.hour) for when in local]
    assert at.weekday[at.day].tolist() == [when.weekday() for when in local]


def test_one_step_of_a_building_agrees_with_the_matrix_exponential() -> None:
    one = _one_building()
    rates = np.array(
        [[-(600.0 + 60.0) / 500.0, 600.0 / 500.0], [600.0 / 8000.0, -(600.0 + 80.0) / 8000.0]]
    )
    keep = scipy.linalg.expm(rates * 0.25)
    gain = np.linalg.solve(rates, keep - np.eye(2))
    solved = exact_step(one, 0.25)
    np.testing.assert_allclose(np.concatenate(solved.keep), keep.ravel(), rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(solved.gain), gain.ravel(), rtol=1e-12)


def _run(one: Building, climate: Climate, appliances_kw: float) -> Floats:
    shape = climate.outdoor_c.shape
    warmth = warm(
        one,
        climate,
        setpoint_c=np.full(shape, 20.0),
        people=np.zeros(shape),
        appliances_kw=np.full(shape, appliances_kw),
        step_h=1.0,
    )
    return warmth.indoor_c.ravel()


@pytest.mark.long
def test_a_building_settles_where_gains_balance_losses() -> None:
    # By hand: the mass lies at m = 600 / 680 of the air's excess e over outdoors, so
    # 1000 W = 60 e + 600 (e - m e), and 600 (1 - 600 / 680) = 70.588 W/K.
    settled = _run(_one_building(), _climate(1300, 5.0), 1.0)[-1]
    assert settled == pytest.approx(5.0 + 1000.0 / (60.0 + 600.0 * 80.0 / 680.0), abs=1e-6)


@pytest.mark.long
def test_a_heater_gives_what_the_building_loses() -> None:
    one, climate = _one_building(heater_w=8000.0), _climate(1300, 0.0)
    shape = (1, 1300)
    warmth = warm(
        one,
        climate,
        setpoint_c=np.full(shape, 20.0),
        people=np.zeros(shape),
        appliances_kw=np.zeros(shape),
        step_h=1.0,
    )
    lost_w = warmth.indoor_c[0, -1] * (60.0 + 600.0 * 80.0 / 680.0)
    assert warmth.indoor_c[0, -1] == pytest.approx(20.0, abs=1e-9)
    assert warmth.heat_w[0, -1] == pytest.approx(lost_w, rel=1e-6)


def test_a_switching_thermostat_keeps_the_air_within_its_band_and_cycles() -> None:
    one = replace(_one_building(heater_w=8000.0), modulates=np.array([False]))
    shape = (1, 200)
    warmth = warm(
        one,
        _climate(200, 0.0),
        setpoint_c=np.full(shape, 20.0),
        people=np.zeros(shape),
        appliances_kw=np.zeros(shape),
        step_h=0.25,
    )
    air_c, heat_w = warmth.indoor_c[0, 20:], warmth.heat_w[0, 20:]
    # In a quarter of an hour without heat the air loses 1.2 K at most.
    assert air_c.min() > 20.0 - 0.5 - 1.2
    assert air_c.max() <= 20.5 + 1e-9
    assert 0.1 < np.mean(heat_w == 0.0) < 0.9


@pytest.mark.long
def test_cooling_holds_the_air_below_its_limit() -> None:
    warm_c = _run(_one_building(cooler_w=5000.0), _climate(300, 35.0), 0.3)
    assert warm_c[-1] == pytest.approx(24.0, abs=1e-9)


@pytest.mark.long
def test_sun_warms_and_blinds_and_windows_keep_it_bearable() -> None:
    dark = _run(_one_building(), _climate(500, 22.0), 0.0)[-1]
    sunny = _run(_one_building(sun_m2=6.0), _climate(500, 22.0, 500.0), 0.0)[-1]
    # Without blinds and windows 3000 W over 130.6 W/K at the air (less at the mass) add 20 K.
    assert dark == pytest.approx(22.0, abs=1e-3)
    assert dark + 1.0 < sunny < 32.0


@settings(max_examples=share_of(60))
@given(
    capacity=st.floats(100.0, 2000.0),
    mass=st.floats(2000.0, 40_000.0),
    between=st.floats(100.0, 2000.0),
    air_loss=st.floats(5.0, 400.0),
    mass_loss=st.floats(5.0, 400.0),
    step_h=st.floats(0.02, 1.0),
)
def test_two_steps_are_one_of_twice_the_length(
    *,
    capacity: float,
    mass: float,
    between: float,
    air_loss: float,
    mass_loss: float,
    step_h: float,
) -> None:
    one = _one_building(
        air_wh_k=capacity,
        mass_wh_k=mass,
        air_mass_w_k=between,
        air_out_w_k=air_loss,
        mass_out_w_k=mass_loss,
    )
    half, whole = exact_step(one, step_h), exact_step(one, 2.0 * step_h)
    keep = np.concatenate(half.keep).reshape(2, 2)
    gain = np.concatenate(half.gain).reshape(2, 2)
    np.testing.assert_allclose(keep @ keep, np.concatenate(whole.keep).reshape(2, 2), rtol=1e-8)
    np.testing.assert_allclose(
        keep @ gain + gain, np.concatenate(whole.gain).reshape(2, 2), rtol=1e-8
    )
    # Heat flows from warm to cold: no entry is negative, and nothing grows by itself.
    assert keep.min() >= 0.0
    assert keep.sum(axis=1).max() < 1.0


@settings(max_examples=share_of(30))
@given(seed=st.integers(0, 2**63 - 1), first=st.integers(0, 10**6))
def test_every_drawn_building_can_heat_its_home_on_the_coldest_day(seed: int, first: int) -> None:
    homes = list(range(first, first + 20))
    coldest_c = np.full(20, -10.0)
    drawn = buildings(
        seed=seed,
        homes=homes,
        people=np.full(20, 2.0),
        coldest_c=coldest_c,
        cooling_share=np.full(20, 0.5),
    )
    for name in ("air_wh_k", "mass_wh_k", "air_mass_w_k", "air_out_w_k", "mass_out_w_k", "sun_m2"):
        assert getattr(drawn, name).min() > 0.0
    assert np.all(drawn.heater_w > (drawn.air_out_w_k + drawn.mass_out_w_k) * 31.0)
    assert drawn.cooler_w.min() >= 0.0


@pytest.mark.long
@settings(max_examples=share_of(20))
@given(seed=st.integers(0, 2**63 - 1), days=st.integers(1, 40))
def test_nobody_is_at_home_on_holiday_and_never_more_than_live_there(seed: int, days: int) -> None:
    at: Clock = clock(days=days, step_minutes=60, time_zone="America/Chicago")
    people = presence(seed=seed, homes=list(range(25)), clock=at)
    assert np.all(people.occupancy <= people.size[:, None])
    assert np.all(people.desks <= people.occupancy)
    assert np.all(people.occupancy[people.on_holiday[:, at.day]] == 0.0)
    assert np.all((people.awake >= 0.0) & (people.awake <= 1.0))


@settings(max_examples=share_of(20))
@given(seed=st.integers(0, 2**63 - 1), number=st.integers(0, len(REGIONS) - 1))
def test_weather_is_possible_whatever_the_seed(seed: int, number: int) -> None:
    region = REGIONS[number]
    at = clock(days=30, step_minutes=60, time_zone=region.time_zone)
    sky = weather(seed=seed, region=region, clock=at)
    assert sky.solar_w_m2.min() == 0.0
    assert 0.0 < sky.solar_w_m2.max() < 1150.0
    assert np.all((sky.humidity >= 12.0) & (sky.humidity <= 100.0))
    assert np.abs(sky.eastness).max() <= 1.0
    assert sky.wind_m_s.min() > 0.0
