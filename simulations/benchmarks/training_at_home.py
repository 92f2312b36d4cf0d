"""Training at home side by side: the compiled kernel, numpy, torch.

``python -m fedhome.simulations.benchmarks.training_at_home`` trains the same network on the same
rows in the same order, each way in a process of its own with one thread, and refuses figures of one
that ends with other parameters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fedhome.errors import EngineError
from fedhome.simulations.benchmarks.home_trainers import CASES, TRAINERS

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ALIKE = 1e-3  # of the way from the start: rounding, over thousands of steps

Figures = Mapping[str, float]


def training_of(case: str) -> dict[str, Figures]:
    """Return what each way takes of a case, by its name.

    Args:
        case: One of `fedhome.simulations.benchmarks.home_trainers.CASES`.

    Raises:
        EngineError: One way ends with other parameters than the rest.
    """
    found: dict[str, Figures] = {}
    params: dict[str, NDArray[np.float32]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in TRAINERS:
            out = Path(folder) / "out.npz"
            module = "fedhome.simulations.benchmarks.home_trainers"
            command = [sys.executable, "-m", module, name, case, str(out)]
            subprocess.run(command, check=True, env={**os.environ, **_ONE_THREAD})  # noqa: S603
            with np.load(out) as told:
                found[name] = json.loads(str(told["told"]))
                params[name] = told["params"]
    check_alike(params)
    return found


def check_alike(params: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse parameters that differ by more than rounding from the first ones.

    Args:
        params: Parameters by the way that trained them.

    Raises:
        EngineError: They do.
    """
    first, *others = params.items()
    for name, found in others:
        apart = float(np.linalg.norm(found - first[1]) / np.linalg.norm(first[1]))
        if not apart < _ALIKE:
            raise EngineError(f"{name} and {first[0]} do not train alike: {apart:.2g} apart")


def training_at_home(
    repeat: Annotated[int, typer.Option(min=1, help="the least of so many runs is shown")] = 3,
    json_path: Annotated[Path | None, typer.Option("--json", help="write figures here")] = None,
) -> None:
    """Show what an epoch of a home's training takes, each way."""
    shown: dict[str, dict[str, Figures]] = {}
    for case, what in CASES.items():
        runs = [training_of(case) for _ in range(repeat)]
        shown[case] = {
            name: {key: min(run[name][key] for run in runs) for key in runs[0][name]}
            for name in TRAINERS
        }
        widths = "-".join(map(str, what.widths))
        table = Table(title=f"{widths}, an epoch of {what.rows} rows", title_style="")
        for column in ("", "processor ms", "resident MB", "peak MB", "ready after s"):
            table.add_column(column, justify="right" if column else "left")
        for name, told in shown[case].items():
            figures = (told[key] for key in ("epoch_ms", "resident_mb", "peak_mb", "ready_s"))
            table.add_row(name, *(f"{figure:.1f}" for figure in figures))
        Console().print(table)
    if json_path is not None:
        json_path.write_text(json.dumps(shown, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(training_at_home)
