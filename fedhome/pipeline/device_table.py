"""The devices of a home, as its people write them down: memory, speed, link."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from fedhome.errors import PlanError
from fedhome.plan.overrides import faults_in, names_of, read_toml
from fedhome.plan.section import Section

MOST_DEVICES = 8


class HomeDevice(Section):
    """One device."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=32, description="what it is called"
    )
    address: str = Field(
        "", description="host:port of its `fedhome pipeline serve`; empty: it is the one that asks"
    )
    memory_bytes: int = Field(gt=0, description="what a part of the network may take there")
    operations_per_s: float = Field(gt=0, description="multiplications with addition, each second")
    latency_us: float = Field(
        500.0, ge=0, description="one way to it over the home's network, without any data"
    )
    bytes_per_s: float = Field(1e6, gt=0, description="of that network")


class DeviceTable(Section):
    """The devices of a home; the first without an address is the one that asks."""

    devices: Annotated[tuple[HomeDevice, ...], Field(min_length=1, max_length=MOST_DEVICES)]


_HINT = "a home's devices are a file of text: docs/pipeline.md shows one"


def read_devices(path: Path) -> tuple[HomeDevice, ...]:
    """Return the devices of a file.

    Args:
        path: TOML with a table ``[[devices]]`` for each.

    Raises:
        PlanError: All that is wrong with it.
    """
    try:
        found = DeviceTable.model_validate(read_toml(path, hint=_HINT)).devices
    except ValidationError as error:
        raise PlanError(faults_in(error, names_of(DeviceTable)), where=str(path)) from None
    faults = []
    names = [device.name for device in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        faults.append(f"two devices are called {', '.join(twice)}")
    here = [device.name for device in found if not device.address]
    if len(here) > 1:
        faults.append(
            f"{' and '.join(here)} have no address: one device asks, and the others have one"
        )
    if faults:
        raise PlanError(faults, where=str(path))
    return found
