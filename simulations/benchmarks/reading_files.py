"""What reading one home's file takes of time and memory, in each format and for many rows.

``python -m fedhome.simulations.benchmarks.reading_files`` writes a year and more of readings, a row
a few seconds, and reads each file in a process of its own. What is shown is how much the process's
resident set grew at most while it read; the table itself, which stays, is part of it.
"""

from __future__ import annotations

import json
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

from fedhome.data.files.data_files import read_files

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
    """

    format: str
    rows: int
    file_mb: float
    seconds: float
    peak_mb: float


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
    """Read a file here; return its rows, the seconds, and the growth of the resident set in MB."""
    before = _peak_mb()
    begin = time.perf_counter()
    raw = read_files(path)
    seconds = time.perf_counter() - begin
    return raw.rows.num_rows, seconds, _peak_mb() - before


def _peak_mb() -> float:
    """Return the largest resident set of this process; that of its parent is not in it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / _KIB_PER_MB


def readings(
    rows: Annotated[list[int] | None, typer.Option(min=1, help="how many rows")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what reading files of many rows takes."""
    found: list[FileReading] = []
    spawned = multiprocessing.get_context("spawn")
    for count in rows or [2_000_000, 10_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            paths = write(Path(folder), count)
            with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as processes:
                for name, path in zip(FORMATS, paths, strict=True):
                    read, seconds, peak_mb = processes.submit(measure, path).result()
                    found.append(
                        FileReading(
                            format=name,
                            rows=read,
                            file_mb=path.stat().st_size / _MB,
                            seconds=seconds,
                            peak_mb=peak_mb,
                        )
                    )
    table = Table(title="reading one home's file", title_style="")
    for heading in ("format", "rows", "file, MB", "seconds", "memory, MB"):
        table.add_column(heading, justify="left" if heading == "format" else "right")
    for one in found:
        figures = (f"{one.file_mb:.0f}", f"{one.seconds:.1f}", f"{one.peak_mb:.0f}")
        table.add_row(one.format, f"{one.rows:,}", *figures)
    Console().print(table)
    if json_path is not None:
        figures_of = [asdict(one) for one in found]
        json_path.write_text(json.dumps(figures_of, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(readings)
