"""What a slice takes on a device without Python: bytes of its object file in C, and µs a row.

    python -m fedhome.simulations.benchmarks.slices_in_c [RUN]

Each slice that a run's tiers trained is cut, written as C in float and in int8, and compiled: for
size with ``-Os`` by this machine's compiler and, where it is installed, by that of a
microcontroller (Cortex-M4); for time with ``-O3``. What it says is held against the float slice in
numpy. Without RUN the default scenario trains for five rounds first.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fedhome.errors import EngineError
from fedhome.learning.fitted import Perceptron
from fedhome.models.cut_slices import FinishedModel
from fedhome.models.slicing import shown
from fedhome.personal.portable import PRECISIONS, NetworkInC
from fedhome.plan.settings import Plan
from fedhome.run.folder import RunFolder
from fedhome.simulations.benchmarks.slicing import TIERS

ROWS: Final = 1000
_ARM: Final = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb")
_TIMED = """\
#include "slice.c"
#include <stdio.h>
#include <time.h>

static float rows[ROWS][SLICE_INPUTS];
static double found[ROWS][SLICE_STATED];

int main(void)
{
    double least = 1e300;
    int repeat, row, one;
    if (fread(rows, sizeof rows, 1, stdin) != 1)
        return 1;
    for (repeat = 0; repeat < 9; repeat++) {
        const clock_t begin = clock();
        double spent;
        long count = 0;
        do {
            for (row = 0; row < ROWS; row++)
                slice_state(rows[row], found[row]);
            count += ROWS;
            spent = (double)(clock() - begin) * 1e6 / CLOCKS_PER_SEC;
        } while (spent < 2e4);
        least = spent / (double)count < least ? spent / (double)count : least;
    }
    printf("%.9g\\n", least);
    for (row = 0; row < ROWS; row++)
        for (one = 0; one < SLICE_STATED; one++)
            printf("%.17g\\n", found[row][one]);
    return 0;
}
"""


@dataclass(frozen=True, kw_only=True)
class SliceInC:
    """What one slice took.

    Args:
        hidden: Its layers.
        precision: ``"float"`` or ``"int8"``.
        constants: Bytes of its numbers.
        object_bytes: Bytes of its object file's code and constants, by this machine's compiler.
        arm_bytes: The same by a microcontroller's; None: that is not installed.
        row_us: Processor time of a row, µs.
        off: How far its outputs are at most from the float slice's in numpy, in their spreads.
    """

    hidden: tuple[int, ...]
    precision: str
    constants: int
    object_bytes: int
    arm_bytes: int | None
    row_us: float
    off: float


def measured(model: FinishedModel) -> Iterator[SliceInC]:
    """Yield what each slice of a model takes in C.

    Args:
        model: The model.

    Raises:
        EngineError: There is no C compiler, or it fails.
    """
    for hidden in model.slices:
        network = Perceptron(model.cut(hidden))
        inputs = model.parameters["layers.0.weight"].shape[1]
        x = np.random.default_rng(1).normal(size=(ROWS, inputs)).astype(np.float32)
        expected = network.output(x)
        for precision in PRECISIONS:
            made = NetworkInC(network, called="slice", about="A slice.", int8=precision == "int8")
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                (folder / "slice.c").write_text(made.text)
                (folder / "timed.c").write_text(_TIMED)
                said = _timed(folder, x.tobytes())
                arm = shutil.which(_ARM[0])
                found = np.array(said[1:]).reshape(expected.shape)
                yield SliceInC(
                    hidden=hidden,
                    precision=precision,
                    constants=made.constants,
                    object_bytes=_size(folder, "cc"),
                    arm_bytes=None if arm is None else _size(folder, *_ARM),
                    row_us=said[0],
                    off=float(np.abs(found - expected).max() / expected.std()),
                )


def _size(folder: Path, compiler: str, *flags: str) -> int:
    """Return the bytes of code and constants of an object file that is compiled for size."""
    _said(folder, compiler, *flags, "-std=c99", "-Os", "-c", "slice.c", "-o", "slice.o")
    told = _said(folder, compiler.replace("gcc", "size") if flags else "size", "slice.o")
    return sum(int(word) for word in told.splitlines()[1].split()[:3])


def _timed(folder: Path, rows: bytes) -> list[float]:
    """Return the µs of a row, and what was stated of each."""
    _said(folder, "cc", "-std=c99", "-O3", f"-DROWS={ROWS}", "timed.c", "-o", "timed")
    return [float(line) for line in _said(folder, "./timed", given=rows).split()]


def _said(folder: Path, command: str, *words: str, given: bytes = b"") -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the compiler, and what it made
            [command, *words], cwd=folder, input=given, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise EngineError(
            f"there is no {command} here", hint="apt-get install gcc libc6-dev binutils"
        ) from None
    if done.returncode:
        raise EngineError(f"{command} failed:\n{done.stderr.decode()[-2000:]}")
    return done.stdout.decode()


def table_of(found: Iterator[SliceInC]) -> Table:
    """Return the figures as a table."""
    table = Table("layers", "weights")
    heads = ("constants, B", "object, B", "Cortex-M4, B", "a row, µs", "off by, spreads")
    for name in heads:
        table.add_column(name, justify="right")
    for one in found:
        arm = "-" if one.arm_bytes is None else f"{one.arm_bytes:,}"
        sizes = (f"{one.constants:,}", f"{one.object_bytes:,}", arm)
        table.add_row(
            shown(one.hidden), one.precision, *sizes, f"{one.row_us:.3g}", f"{one.off:.1e}"
        )
    return table


def main(run: Annotated[Path | None, typer.Argument(help="The folder of a run.")] = None) -> None:
    """Show what slices take in C."""
    if run is not None:
        folder = RunFolder.open(run)
        model = FinishedModel.of_run(Plan.parse(folder.read_plan()), folder.read_model().parameters)
        Console().print(table_of(measured(model)))
        return
    from fedhome.simulations.simulate import simulate  # noqa: PLC0415 - it loads torch and Flower

    plan = Plan.load(
        slicing={"tiers": list(TIERS)},
        aggregation={"mode": "plain"},
        rounds={"count": 5},
        personalise={"name": "none"},
    )
    with tempfile.TemporaryDirectory() as place:
        main(simulate(plan, out=Path(place) / "run").path)


if __name__ == "__main__":
    typer.run(main)
