"""robod: occupancy of five rooms of a university building in Singapore."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import find, local_seconds, read_columns

_SOURCE = (
    "https://raw.githubusercontent.com/ideas-lab-nus/robod/"
    "e9d1abecdc2836060067f2c9871135ee9eb1c94e/Data/"
)
_PRESENCE = "occupant_presence [binary]"
# The columns that all rooms have, whatever cools them.
READINGS = {
    "voc_ppb": "voc [ppb]",
    "sound_dba": "sound_pressure_level [dba]",
    "rh": "indoor_relative_humidity [%]",
    "temp_c": "air_temperature [Celsius]",
    "light_lux": "illuminance [lux]",
    "pm25_ug_m3": "pm2.5 [mu_g/m3]",
    "co2_ppm": "indoor_co2 [ppm]",
    "wifi_devices": "wifi_connected_devices [number]",
    "ceiling_fan_kwh": "ceiling_fan_energy [kWh]",
    "lighting_kwh": "lighting_energy [kWh]",
    "plug_load_kwh": "plug_load_energy [kWh]",
    "chilled_water_kwh": "chilled_water_energy [kWh]",
    "setpoint_c": "temp_setpoint [Celsius]",
    "supply_air_pa": "supply_air_pressure [Pa]",
    "supply_air_c": "supply_air_temperature [Celsius]",
    "outdoor_pressure_hpa": "baromatic_pressure [hPa]",
    "outdoor_temp_c": "dry_bulb_temp [Celsius]",
    "sun_w_m2": "global_horizontal_solar_radiation [W/m2]",
    "wind_deg": "wind_direction [Degree]",
    "wind_m_s": "wind_speed [m/s]",
    "outdoor_co2_ppm": "outdoor_co2 [ppm]",
    "outdoor_rh": "outdoor_relative_humidity [%]",
}


def read(path: Path) -> Iterator[HomeTable]:
    """Read one home per room.

    Raises:
        SourceError: Not the files.
    """
    for name, content in find(path, r"combined_Room[1-5]\.csv").items():
        columns, texts = read_columns(
            name, content, numbers=(*READINGS.values(), _PRESENCE), text=("timestamp",)
        )
        clock = [text.removesuffix(" +08:00") for text in texts["timestamp"]]
        if clock == texts["timestamp"]:
            raise SourceError(f"{name}: its times are not in Singapore's zone")
        yield HomeTable(
            home=f"room-{re.findall(r'Room([1-5])', name)[-1]}",
            time_s=local_seconds(name, clock, utc_offset_h=8),
            columns={key: columns[theirs] for key, theirs in READINGS.items()}
            | {"occupied": columns[_PRESENCE]},
            time_zone="Asia/Singapore",
        )


ROBOD = DataSet(
    name="robod",
    title="occupancy of five lecture rooms and offices in Singapore, every 5 minutes",
    about=(
        "Rooms, not homes: 29 or 47 days between September and December 2021, with gaps. The "
        "number of occupants is left out, since it gives the answer away, and so are columns that "
        "not all rooms have. The light in light_lux seems to be eight hours early: it follows "
        "the sun (correlation 0.6) only when moved by eight hours; it is left as published."
    ),
    homes=5,
    rows=3 * 8352 + 2 * 13_536,
    columns={key: theirs.replace(" [", ", ").rstrip("]") for key, theirs in READINGS.items()}
    | {"occupied": "whether anyone is in the room, 0 or 1"},
    train=(
        "data.target=occupied",
        "task.kind=binary",
        "data.horizon=0",
        "data.lags=[]",
        "train.learning_rate=0.05",
    ),
    citation=(
        "Z. D. Tekler, E. Ono, Y. Peng, S. Zhan, B. Lasternas, A. Chong. ROBOD, room-level "
        "occupancy and building operation dataset. Building Simulation 15 (2022) 2127-2137"
    ),
    licence="CC BY 4.0",
    page="https://doi.org/10.6084/m9.figshare.19234530",
    remotes=tuple(
        Remote(url=f"{_SOURCE}combined_Room{room}.csv", name=f"combined_Room{room}.csv")
        for room in range(1, 6)
    ),
    read=read,
)
