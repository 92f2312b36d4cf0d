"""What reading homes' files takes of time and memory, in each format and for many rows and homes.

``python -m fedhome.simulations.benchmarks.reading_files`` writes a year and more of readings, a row
a few seconds, and reads each file in a process of its own: to the numbers of a home's table, with
all that is asked of cells and times on the way. What is shown is how much the process's resident
set grew at most while it read; the table itself, which stays, is part of it. Beside it stands what
Arrow alone takes to read the same files as typed columns, about which it asks nothing.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder

_CHUNK = 500_000
_START_S = 1_640_995_200  # 2022-01-01
_STEP_S = 6
_KIB_PER_MB = 1024
_MB = 2**20
FORMATS = ("csv", "utf-16.csv", "csv.gz", "parquet")


@dataclass(frozen=True, kw_only=True)
class FileReading:
    """One file, and what reading it took.

    Args:
        format: What kind of file.
        rows: Rows in it.
        file_mb: Its size, MB (2^20 bytes).
        seconds: How long it was read.
        peak_mb: What the process's resident set grew by at most, MB.
        arrow_seconds: How long Arrow alone reads the same as typed columns, at the same time of
            day; NaN where it cannot.
    """

    format: str
    rows: int
    file_mb: float
    seconds: float
    peak_mb: float
    arrow_seconds: float


def tables(rows: int, *, seed: int = 0) -> Iterator[pa.Table]:
    """Yield the readings of a home: time, power, energy, temperature, and what a door did.

    Args:
        rows: How many rows in all.
        seed: Of the random numbers.
    """
    stream = np.random.default_rng(seed)
    energy = 0.0
    for start in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - start)
        moments = _START_S + _STEP_S * np.arange(start, start + count)
        power = np.round(stream.gamma(2.0, 200.0, count), 1)
        meter = energy + np.cumsum(power) * _STEP_S / 3_600_000
        energy = float(meter[-1])
        yield pa.table(
            {
                "time": pa.array(moments).cast(pa.timestamp("s", "UTC")),
                "power_w": power,
                "energy_kwh": np.round(meter, 3),
                "temp_c": np.round(20 + stream.normal(0, 2, count), 2),
                "door": pa.array(["open", "closed"]).take(pa.array(stream.integers(0, 2, count))),
            }
        )


def write(folder: Path, rows: int) -> list[Path]:
    """Write the readings in every format.

    Args:
        folder: Where to.
        rows: How many rows.

    Returns:
        The files, in the order of :data:`FORMATS`.
    """
    paths = [folder / f"home-{rows}.{name}" for name in FORMATS]
    with ExitStack() as stack:
        plain = stack.enter_context(paths[0].open("wb"))
        wide = stack.enter_context(paths[1].open("wb"))
        gzipped = stack.enter_context(pa.CompressedOutputStream(str(paths[2]), "gzip"))
        groups: Any = None
        for table in tables(rows):
            texts = table.set_column(
                0, "time", pc.strftime(table["time"], format="%Y-%m-%dT%H:%M:%SZ")
            )
            header = pyarrow.csv.WriteOptions(
                include_header=groups is None, quoting_style="none", quoting_header="none"
            )
            packed = pa.BufferOutputStream()
            pyarrow.csv.write_csv(texts, packed, write_options=header)
            data = packed.getvalue().to_pybytes()
            plain.write(data)
            wide.write(data.decode().encode("utf-16" if groups is None else "utf-16-le"))
            gzipped.write(data)
            if groups is None:
                groups = stack.enter_context(pq.ParquetWriter(paths[3], table.schema))
            groups.write_table(table)
    return paths


def measure(path: Path) -> tuple[int, float, float]:
    """Read a file, or a folder of homes, here.

    Args:
        path: Which one.

    Returns:
        Its rows, the seconds, and the growth of the resident set in MB.
    """
    before = _peak_mb()
    begin = time.perf_counter()
    homes = read_folder(path).homes if path.is_dir() else [read_home(path).table]
    seconds = time.perf_counter() - begin
    return sum(home.rows for home in homes), seconds, _peak_mb() - before


def measure_arrow(path: Path) -> float:
    """Return the seconds that Arrow alone takes, in one thread; NaN where it reads no such file."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    begin = time.perf_counter()
    for one in paths:
        if one.suffix == ".parquet":
            pq.read_table(one, use_threads=False)
        elif one.name.endswith("utf-16.csv"):
            return math.nan
        else:
            with pa.input_stream(str(one)) as stream:
                pyarrow.csv.read_csv(
                    stream, read_options=pyarrow.csv.ReadOptions(use_threads=False)
                )
    return time.perf_counter() - begin


def write_homes(folder: Path, homes: int, rows: int) -> Path:
    """Write a folder of homes as CSV, and return it."""
    path = folder / f"{homes}-homes"
    path.mkdir()
    for number in range(homes):
        (table,) = tables(rows, seed=number)
        times = pc.strftime(table["time"], format="%Y-%m-%dT%H:%M:%SZ")
        pyarrow.csv.write_csv(table.set_column(0, "time", times), path / f"home-{number:05}.csv")
    return path


def _peak_mb() -> float:
    """Return the largest resident set of this process; that of its parent is not in it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / _KIB_PER_MB


def _measured(name: str, path: Path) -> FileReading:
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as processes:
        read, seconds, peak_mb = processes.submit(measure, path).result()
        arrow_seconds = processes.submit(measure_arrow, path).result()
    files = path.iterdir() if path.is_dir() else [path]
    return FileReading(
        format=name,
        rows=read,
        file_mb=sum(file.stat().st_size for file in files) / _MB,
        seconds=seconds,
        peak_mb=peak_mb,
        arrow_seconds=arrow_seconds,
    )


def readings(
    rows: Annotated[list[int] | None, typer.Option(min=1, help="rows of one home")] = None,
    homes: Annotated[int, typer.Option(min=1, help="homes of a folder")] = 5000,
    home_rows: Annotated[int, typer.Option(min=2, max=_CHUNK, help="rows of each")] = 2000,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what reading files of many rows, and of many homes, takes."""
    found: list[FileReading] = []
    for count in rows or [2_000_000, 10_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            for name, path in zip(FORMATS, write(Path(folder), count), strict=True):
                found.append(_measured(name, path))
    with tempfile.TemporaryDirectory() as folder:
        path = write_homes(Path(folder), homes, home_rows)
        found.append(_measured(f"{homes:,} homes, csv", path))
    table = Table(title="reading homes' files", title_style="")
    for heading in ("format", "rows", "MB", "seconds", "memory, MB", "times Arrow alone"):
        table.add_column(heading, justify="left" if heading == "format" else "right")
    for one in found:
        ratio = one.seconds / one.arrow_seconds
        figures = (f"{one.file_mb:.0f}", f"{one.seconds:.1f}", f"{one.peak_mb:.0f}")
        table.add_row(
            one.format, f"{one.rows:,}", *figures, "" if math.isnan(ratio) else f"{ratio:.1f}"
        )
    Console().print(table)
    if json_path is not None:
        figures_of = [asdict(one) for one in found]
        json_path.write_text(json.dumps(figures_of, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(readings)
