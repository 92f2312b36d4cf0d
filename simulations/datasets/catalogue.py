"""The named sets, and how to get and load one."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedhome.data.homes_folder import read_folder
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, PluginError, SourceError
from fedhome.simulations.datasets.appliances import APPLIANCES
from fedhome.simulations.datasets.ashrae import ASHRAE
from fedhome.simulations.datasets.cache import default_cache, fault_of, store
from fedhome.simulations.datasets.comfort import COMFORT
from fedhome.simulations.datasets.dataset import DataSet
from fedhome.simulations.datasets.download import Opener, check_pins, fetch, open_https
from fedhome.simulations.datasets.energy import ENERGY
from fedhome.simulations.datasets.occupancy import OCCUPANCY
from fedhome.simulations.datasets.robod import ROBOD
from fedhome.simulations.datasets.wisdm import WISDM
from fedhome.spelling import did_you_mean

CATALOGUE = {
    dataset.name: dataset
    for dataset in (ENERGY, WISDM, COMFORT, ASHRAE, ROBOD, OCCUPANCY, APPLIANCES)
}
_log = logging.getLogger(__name__)


def named(name: str) -> DataSet:
    """Return a set by its name.

    Raises:
        PluginError: No such set.
    """
    if name not in CATALOGUE:
        raise PluginError(
            f"there is no data set {name!r}{did_you_mean(name, CATALOGUE)}",
            hint=f"the sets are: {', '.join(CATALOGUE)}",
        )
    return CATALOGUE[name]


def is_cached(name: str, *, cache: Path | None = None) -> bool:
    """Tell whether a set lies whole in the cache.

    Raises:
        PluginError: No such set.
    """
    return fault_of((cache or default_cache()) / named(name).name) is None


def get(
    name: str,
    *,
    cache: Path | None = None,
    file: Path | None = None,
    opener: Opener = open_https,
) -> Path:
    """Return the folder of a set, one Parquet file per home; download and read it if needed.

    A cached set whose files were changed is fetched again.

    Args:
        name: The set's name.
        cache: Folder of all sets; None for the user's own.
        file: The downloaded file, archive or folder to read instead of downloading.
        opener: Opens an address; another one serves tests and mirrors.

    Raises:
        PluginError: No such set.
        SourceError: It cannot be downloaded, or is not what it should be; with the steps by
            hand as its hint.
    """
    dataset = named(name)
    cache = cache or default_cache()
    folder = cache / name
    if file is not None:
        if not file.exists():
            raise SourceError(f"{file}: there is no such file or folder", hint=dataset.manual)
        check_pins(dataset, file)
        return _read(dataset, file, cache)
    fault = fault_of(folder)
    if fault is None:
        return folder
    if folder.exists():
        _log.warning("%s in the cache is fetched again: %s", name, fault)
    with tempfile.TemporaryDirectory(prefix="fedhome-") as download:
        fetch(dataset, Path(download), opener=opener)
        return _read(dataset, Path(download), cache)


def load(name: str, *, cache: Path | None = None) -> list[HomeTable]:
    """Return a set's homes, each with all columns of the set (NaN where a home has none).

    Raises:
        PluginError: No such set.
        SourceError: As :func:`get`.
    """
    dataset = named(name)
    read = read_folder(get(name, cache=cache))
    if read.excluded:
        raise SourceError(
            f"{name}: {read.excluded[0].home} in the cache cannot be used: "
            f"{read.excluded[0].reason}",
            hint=f"run: fedhome data get {name}",
        )
    return [_whole(table, dataset) for table in read.homes]


def _read(dataset: DataSet, path: Path, cache: Path) -> Path:
    try:
        return store(dataset, dataset.read(path), cache)
    except DataError as error:
        raise SourceError(f"{dataset.name}: {error.message}", hint=error.hint) from None


def _whole(table: HomeTable, dataset: DataSet) -> HomeTable:
    nothing = np.full(table.rows, np.nan)
    return replace(
        table, columns={name: table.columns.get(name, nothing) for name in dataset.columns}
    )
