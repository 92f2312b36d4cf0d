"""What a plan finds in a home's readings, before anybody there has agreed to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.recorded.readings_key import FOLDER as READINGS
from fedhome.clients.recorded.readings_key import lacks_readings
from fedhome.data.inputs import InputMatch
from fedhome.data.read_report import HomeReport
from fedhome.plan.own_reading import NOTHING_OWN, reading_of
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S

if TYPE_CHECKING:
    from fedhome.clients.own_readings import ReadingsSource
    from fedhome.learning.one_home import OneHome


@dataclass(frozen=True, kw_only=True)
class JoinFindings:
    """What a plan finds in a home's readings.

    Args:
        rows: Rows that were read.
        begin: Time of the first, UTC seconds; None where rows have no times.
        end: Time of the last.
        columns: Columns that hold something.
        inputs: Numbers that go into the model.
        examples: Examples for training, validation and test.
        parameters: Numbers of an update: those that the device carries.
        of_model: Numbers of the fleet's model.
        matches: The plan's inputs, and its target, as they are here.
        sources: How the file calls a column, where that differs, by its name in the plan.
        report: How the files were read.
        notes: What was assumed, converted or left out, by the reader and on the way to examples.
    """

    rows: int
    begin: int | None
    end: int | None
    columns: tuple[str, ...]
    inputs: int
    examples: tuple[int, int, int]
    parameters: int
    of_model: int
    matches: tuple[InputMatch, ...]
    sources: Mapping[str, str]
    report: HomeReport | None
    notes: tuple[str, ...]

    @property
    def days(self) -> float | None:
        """Days from the first row to the last."""
        if self.begin is None or self.end is None:
            return None
        return (self.end - self.begin) / DAY_S


def read_findings(
    plan: Plan,
    source: ReadingsSource,
    *,
    home: str,
    reading: Mapping[str, Any] = NOTHING_OWN,
    tier: str = "",
) -> JoinFindings:
    """Read a home's readings just as its agent will.

    Args:
        plan: The plan.
        source: File or folder of the readings, or their store.
        home: The home's name.
        reading: How they are read, where that differs from the plan.
        tier: Name of the home's tier, where the plan's devices carry slices of the model.

    Raises:
        DataError: They cannot be used, or lack what the plan's inputs are.
        PlanError: The task does not fit them.
        PluginError: What the plan names is not installed here.
    """
    from fedhome.clients.home import home_of  # noqa: PLC0415
    from fedhome.clients.own_readings import read_own  # noqa: PLC0415

    own = read_own(plan, source, name=home, reading=reading, whole=True)
    device = home_of(plan, own, tier=tier).device
    table = own.read.table
    timed = table.rows and not table.timeless
    renamed = reading_of(plan.data, reading).rename
    return JoinFindings(
        rows=table.rows,
        begin=int(table.time_s[0]) if timed else None,
        end=int(table.time_s[-1]) if timed else None,
        columns=tuple(table.columns),
        inputs=device.examples.x.shape[1],
        examples=device.examples.counts,
        parameters=numbers_carried(device),
        of_model=device.fleets_layout.size,
        matches=own.matched.matches,
        sources={name: column for column, name in renamed.items()},
        report=own.read.report,
        notes=(*own.read.notes, *own.matched.notes, *device.examples.notes),
    )


def numbers_carried(device: OneHome) -> int:
    """Return how many of the fleet's model's numbers a home's device trains in a round."""
    carries = (device.rounds or device).carries
    return device.fleets_layout.size if carries is None else len(carries.places)


def findings_at(
    plan: Plan,
    source: Path | None,
    home_folder: HomeFolder,
    home: str,
    reading: Mapping[str, Any],
    *,
    tier: str = "",
) -> JoinFindings:
    """Return what the plan finds where the home will read: in its store, if it has one.

    A home without files, whose store is empty or not there yet, is told what it will need.

    Args:
        plan: The plan.
        source: File or folder of the readings; None: it records them from the first on.
        home_folder: The home's folder; it need not be there.
        home: The home's name.
        reading: How the readings are read, where that differs from the plan.
        tier: Name of the home's tier, where the plan's devices carry slices of the model.

    Raises:
        FedHomeError: As :func:`read_findings`.
    """
    from fedhome.clients.membership.blank_home import blank_findings  # noqa: PLC0415 - both ways

    if source is None and (
        not (home_folder.path / READINGS).is_dir() or lacks_readings(home_folder.path)
    ):
        return blank_findings(plan, home=home, tier=tier)
    if source is not None and not (home_folder.path / READINGS).is_dir():
        return read_findings(plan, source, home=home, reading=reading, tier=tier)
    from fedhome.clients.recorded.reading_store import ReadingStore  # noqa: PLC0415 - arrow

    store = ReadingStore.of(home_folder.path, home)
    found = read_findings(plan, store, home=home, reading=reading, tier=tier)
    if source is None:
        return found
    told = (
        f"the home reads its store of readings, and not {source}: "
        f"`fedhome client record {home_folder.path} {source}` adds what is in that"
    )
    return replace(found, notes=(told, *found.notes))
