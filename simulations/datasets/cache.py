"""The cache of data sets: a folder per set, a Parquet file per home, written all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.new_folders import make_folder
from fedhome.simulations.datasets.dataset import DataSet
from fedhome.simulations.datasets.download import digest

MARKER = ".verified.json"
_FORMAT = 1  # changes whenever a reader's columns change, so that older caches are read again


def default_cache() -> Path:
    """Return the folder of all sets: ``$FEDHOME_CACHE``, else in the user's cache folder."""
    if own := os.environ.get("FEDHOME_CACHE"):
        return Path(own) / "datasets"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "fedhome" / "datasets"


def write_home(table: HomeTable, folder: Path, *, timed: bool) -> Path:
    """Write one home as Parquet: ``time`` with its zone, classes as text, numbers as they are."""
    columns: dict[str, pa.Array] = {}
    if timed:
        columns["time"] = pa.array(table.time_s, pa.timestamp("s", table.time_zone))
    for name, values in table.columns.items():
        if labels := table.labels.get(name):
            words = [None if value != value else labels[int(value)] for value in values]  # noqa: PLR0124  (NaN)
            columns[name] = pa.array(words, pa.string())
        else:
            columns[name] = pa.array(values, from_pandas=True)
    path = folder / f"{table.home}.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    return path


def fault_of(folder: Path) -> str | None:
    """Return what is wrong with a cached set, or None if every file is as it was written."""
    if not folder.is_dir():
        return "it is not there"
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        format_, sums = marker["format"], dict(marker["sha256"])
        names = {file.name for file in folder.glob("*.parquet")}
        if format_ != _FORMAT:
            return "it was written by another version"
        if names != set(sums):
            return "files are missing or were added"
        changed = sorted(name for name, known in sums.items() if digest(folder / name) != known)
    except (OSError, ValueError, KeyError, TypeError):
        return "its marker is missing or damaged"
    return f"changed since they were written: {', '.join(changed)}" if changed else None


def store(dataset: DataSet, tables: Iterable[HomeTable], cache: Path) -> Path:
    """Check a set's homes and put them into the cache, replacing what was there.

    Raises:
        SourceError: Another number of homes or rows than the set has, or the cache cannot
            be written.
    """
    hint = "set FEDHOME_CACHE to a folder that can be written"
    try:
        make_folder(cache)
        fresh = Path(tempfile.mkdtemp(dir=cache, prefix=f".{dataset.name}-"))
    except OSError as error:
        raise SourceError(f"{cache} cannot be written: {error.strerror}", hint=hint) from None
    try:
        homes = rows = 0
        sums = {}
        for table in tables:
            path = write_home(table, fresh, timed=dataset.timed)
            sums[path.name] = digest(path)
            homes, rows = homes + 1, rows + table.rows
        if (homes, rows) != (dataset.homes, dataset.rows) or len(sums) != homes:
            raise SourceError(
                f"{homes} homes with {rows} rows were read, but the set has "
                f"{dataset.homes} with {dataset.rows}",
                hint=dataset.manual,
            )
        (fresh / MARKER).write_text(json.dumps({"format": _FORMAT, "sha256": sums}, indent=1))
        _swap(fresh, cache / dataset.name)
    except OSError as error:
        raise SourceError(f"{cache} cannot be written: {error.strerror}", hint=hint) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return cache / dataset.name


def _swap(fresh: Path, folder: Path) -> None:
    if folder.exists():
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-old-"))
        folder.rename(old / folder.name)
        shutil.rmtree(old, ignore_errors=True)
    try:
        fresh.rename(folder)
    except OSError:
        # Another process was faster; its folder is as good if it is whole.
        if fault_of(folder) is not None:
            raise
