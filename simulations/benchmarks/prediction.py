"""What one prediction of a home's own model takes: numpy, C, ONNX Runtime and torch side by side.

``python -m fedhome.simulations.benchmarks.prediction`` lets a few synthetic homes learn, takes one
home's model, and predicts by each way in a process of its own, in one thread: the network alone,
and all that the home's mixture has (of which torch has no part: trees are none of its). A row goes
from readings in their units to value and band. What each says is held against numpy.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fedhome.errors import EngineError, RunError
from fedhome.learning.fitted import Perceptron
from fedhome.learning.tasks.segments import Floats
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import to_bytes
from fedhome.personal.portable import export_model, in_int8, probe, with_experts
from fedhome.personal.predictor import NETWORKS
from fedhome.plan.settings import Plan
from fedhome.simulations.benchmarks.prediction_ways import WAYS

ROWS: Final = 2000
_WAYS_FILE = "fedhome.simulations.benchmarks.prediction_ways"
_FLAGS = ("-std=c99", "-O3")
_SETTINGS: Final[Mapping[str, Any]] = {
    "data": {"homes": 4, "days": 14, "history_days": 8},
    "rounds": {"count": 2},
    "personalise": {"epochs": 2},
    "aggregation": {"mode": "plain"},
}

_PROGRAM = """\
#include "MODEL.c"
#include <stdio.h>
#include <string.h>
#include <time.h>

static double rows[ROWS][MODEL_INPUTS];

int main(void)
{
    const double tick = 1e6 / CLOCKS_PER_SEC;
    double least = 1e300;
    long peak_kb = 0;
    char line[256];
    FILE *status;
    model_prediction found;
    int repeat, row;
    if (fread(rows, sizeof rows, 1, stdin) != 1)
        return 1;
    for (repeat = 0; repeat < REPEATS; repeat++) {
        const clock_t begin = clock();
        double spent;
        long count = 0;
        do {
            for (row = 0; row < ROWS; row++)
                model_predict(rows[row], &found);
            count += ROWS;
            spent = (double)(clock() - begin) * tick;
        } while (spent < 5e4);
        least = spent / (double)count < least ? spent / (double)count : least;
    }
    status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "VmHWM:", 6))
            sscanf(line + 6, "%ld", &peak_kb);
    printf("{\\"one_us\\": %.9g, \\"many_us\\": %.9g, \\"peak_mb\\": %.9g, \\"found\\": [",
           least, least, (double)peak_kb * 1024.0 / 1e6);
    for (row = 0; row < ROWS; row++) {
        model_predict(rows[row], &found);
        printf("%s[%.17g, %.17g, %.17g]", row ? ", " : "", found.value, found.low, found.high);
    }
    printf("]}\\n");
    return 0;
}
"""


@dataclass(frozen=True, kw_only=True)
class PredictionCost:
    """What one way to predict took.

    Args:
        way: The way.
        model: What it computed: ``"network"`` or ``"mixture"``.
        one_us: Processor time of a row that comes alone, µs.
        many_us: The same of one of :data:`ROWS` that come at once.
        peak_mb: Most memory of its process, MB (10^6 bytes).
        off: How far it was from numpy at most, in spreads of the target.
    """

    way: str
    model: str
    one_us: float
    many_us: float
    peak_mb: float
    off: float


def subjects(plan: Plan) -> Mapping[str, PersonalModel]:
    """Return a home's network alone, and its whole mixture.

    Args:
        plan: What a few homes are simulated by.

    Raises:
        RunError: No home's mixture has both a network and something else.
    """
    from fedhome.simulations.simulate import simulate  # noqa: PLC0415 - it loads torch and Flower

    with tempfile.TemporaryDirectory() as folder:
        run = simulate(plan, out=Path(folder) / "run")
        models = [run.models[home] for home in run.models]
    for model in sorted(models, key=lambda one: -len(one.experts)):
        for name in NETWORKS:
            if isinstance(model.experts.get(name), Perceptron) and len(model.weights) > 1:
                alone = replace(with_experts(model, [name]), home="model")
                return {"network": alone, "mixture": replace(model, home="model")}
    raise RunError("no home's mixture has a network and more", hint="take another seed")


def costs_of(
    models: Mapping[str, PersonalModel], *, flags: tuple[str, ...] = (), repeats: int = 9
) -> list[PredictionCost]:
    """Return what each way takes, the least of some repeats.

    Args:
        models: As of :func:`subjects`.
        flags: Further ones for the C compiler.
        repeats: How often each figure is measured.

    Raises:
        EngineError: A way failed, or is not installed.
    """
    found = []
    flags = (*flags, f"-DREPEATS={repeats}")
    for name, model in models.items():
        rows = probe(model, ROWS * 3)
        rows = rows[np.isfinite(rows).all(axis=1)][:ROWS]
        expected = model.predictor.predict(rows)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            np.save(folder / f"{name}.npy", rows)
            (folder / "models.safetensors").write_bytes(to_bytes([replace(model, home=name)]))
            (folder / f"{name}.onnx").write_bytes(export_model(model, "onnx"))
            ways = [way for way in WAYS if way != "torch" or name == "network"]
            told = {way: _by_python(way, folder, name, repeats) for way in ways}
            told["C"] = _by_c(folder, model, rows, flags, int8=False)
            if name == "network":
                told["C, int8"] = _by_c(folder, in_int8(model), rows, flags, int8=True)
        for way, text in told.items():
            figures = json.loads(text)
            off = np.abs(np.array(figures.pop("found")) - expected).max() / model.unit
            found.append(PredictionCost(way=way, model=name, off=float(off), **figures))
    return found


def _by_python(way: str, folder: Path, name: str, repeats: int) -> str:
    return _said([sys.executable, "-m", _WAYS_FILE, way, str(folder), name, str(repeats)], way)


def _by_c(
    folder: Path, model: PersonalModel, rows: Floats, flags: tuple[str, ...], *, int8: bool
) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        raise EngineError("there is no C compiler, cc, here", hint="apt-get install gcc libc6-dev")
    (folder / "MODEL.c").write_bytes(export_model(model, "c", int8=int8))
    (folder / "program.c").write_text(_PROGRAM)
    program = str(folder / "program")
    words = [
        *_FLAGS,
        *flags,
        f"-DROWS={len(rows)}",
        str(folder / "program.c"),
        "-o",
        program,
        "-lm",
    ]
    _said([compiler, *words], "the C compiler")
    return _said([program], "C", np.ascontiguousarray(rows).tobytes())


def _said(words: list[str], way: str, given: bytes = b"") -> str:
    done = subprocess.run(words, input=given, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise EngineError(f"{way} failed:\n{done.stderr.decode()[-2000:]}")
    return done.stdout.decode()


def table_of(costs: list[PredictionCost]) -> Table:
    """Return the figures as a table."""
    table = Table("model", "way")
    for name in ("one row, µs", f"a row of {ROWS:,}, µs", "peak, MB", "off by at most"):
        table.add_column(name, justify="right")
    for cost in costs:
        figures = (f"{cost.one_us:.3g}", f"{cost.many_us:.3g}", f"{cost.peak_mb:.1f}")
        table.add_row(cost.model, cost.way, *figures, f"{cost.off:.1e}")
    return table


def main(
    seed: Annotated[int, typer.Option(help="Of the plan.")] = 1,
    native: Annotated[
        bool, typer.Option(help="Compile C for this processor (-march=native).")
    ] = False,
) -> None:
    """Show what one prediction takes, way by way."""
    plan = Plan.load(seed=seed, **_SETTINGS)
    models = subjects(plan)
    console = Console()
    for name, model in models.items():
        console.print(f"{name}: {', '.join(model.weights)}; {len(model.scaling.features)} inputs")
    console.print(table_of(costs_of(models, flags=("-march=native",) if native else ())))


if __name__ == "__main__":
    typer.run(main)
