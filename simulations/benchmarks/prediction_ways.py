"""The process of one way to predict, ``prediction_ways NAME FOLDER MODEL REPEATS``: JSON.

``FOLDER`` is as :mod:`fedhome.simulations.benchmarks.prediction` fills it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError

if TYPE_CHECKING:
    import torch

    from fedhome.personal.model import PersonalModel

_LEAST_S = 0.05

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]


# Each way imports what it needs, so that no other's memory is counted.
def _by_numpy(folder: Path, name: str) -> Predict:
    from fedhome.personal.stored_models import StoredModels  # noqa: PLC0415

    return StoredModels(folder / "models.safetensors").predictor(name).predict


def _by_onnx(folder: Path, name: str) -> Predict:
    try:
        import onnxruntime  # noqa: PLC0415 - may be missing
    except ImportError:
        raise EngineError("ONNX Runtime is not installed", hint="pip install onnxruntime") from None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3  # constants that it folds are no fault
    session = onnxruntime.InferenceSession(
        folder / f"{name}.onnx", settings, providers=["CPUExecutionProvider"]
    )
    return lambda rows: np.asarray(session.run(None, {"inputs": rows})[0])


def _by_torch(folder: Path, name: str) -> Predict:
    import torch  # noqa: PLC0415

    from fedhome.data.series.scaling import FAR  # noqa: PLC0415
    from fedhome.learning.bands import Reach  # noqa: PLC0415
    from fedhome.personal.models_file import ModelsFile  # noqa: PLC0415
    from fedhome.personal.portable import inputs_of  # noqa: PLC0415

    torch.set_num_threads(1)
    model = ModelsFile(folder / "models.safetensors")[name]
    net, scaling = _module(model), model.scaling
    middle, spread = torch.from_numpy(scaling.middle), torch.from_numpy(scaling.spread)
    assert isinstance(model.by, Reach)
    reach = torch.from_numpy(np.stack([np.zeros(4), *model.by], axis=1))  # [quarters, outputs]
    roles = [one.role for one in inputs_of(model)]
    by_quarters = roles[-1] == "moment"
    relative = torch.from_numpy(scaling.relative)

    def predict(rows: Floats) -> Floats:
        with torch.inference_mode():
            given = torch.from_numpy(rows)
            x = given[:, : len(middle)]
            last = given[:, [roles.index("last")]] if model.changes else torch.zeros(1).double()
            x = torch.where(relative, x - last, x) if relative.any() else x
            x = ((x - middle) / spread).clamp(-FAR, FAR).float()
            band = reach[(given[:, -1] % 86_400 // 21_600).long()] if by_quarters else reach[:1]
            told = (net(x).double() + band) * model.unit + model.level + last
            return np.asarray(told.numpy())

    return predict


def _module(model: PersonalModel) -> torch.nn.Module:
    import torch  # noqa: PLC0415

    from fedhome.learning.fitted import Perceptron  # noqa: PLC0415
    from fedhome.models import mlp  # noqa: PLC0415

    (expert,) = model.experts.values()
    assert isinstance(expert, Perceptron), "torch computes a network alone"
    first, *_, last = expert.layers.values()
    settings = model.plan.model
    net = mlp(first.shape[1], len(last), hidden=settings.hidden, norm=settings.norm)
    net.load_state_dict({name: torch.from_numpy(part) for name, part in expert.layers.items()})
    return net.eval()


WAYS: Final[Mapping[str, Callable[[Path, str], Predict]]] = {
    "numpy": _by_numpy,
    "onnx": _by_onnx,
    "torch": _by_torch,
}
"""Ways to predict within Python, by name."""


def peak_mb() -> float:
    """Return the most memory that this process had, in MB (10^6 bytes)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def row_us(predict: Predict, rows: Floats, *, at_once: int, repeats: int) -> float:
    """Return the processor time that a row takes, in µs: the least of some repeats.

    What is more than the least is other programs on the machine.

    Args:
        predict: The way to predict.
        rows: The rows ``[rows, inputs]``.
        at_once: How many are given at a time.
        repeats: How often it is measured.
    """
    parts = [rows[begin : begin + at_once] for begin in range(0, len(rows), at_once)]
    predict(parts[0])
    each = []
    for _ in range(repeats):
        count, begin = 0, time.process_time()
        while (spent := time.process_time() - begin) < _LEAST_S:
            for part in parts:
                predict(part)
            count += len(rows)
        each.append(1e6 * spent / count)
    return min(each)


def main(arguments: list[str]) -> None:
    """Measure one way in this process and print what came out.

    Args:
        arguments: Name of the way, the folder, name of the model, how many repeats.
    """
    way, folder, name, repeats = arguments
    rows = np.load(Path(folder) / f"{name}.npy")
    predict = WAYS[way](Path(folder), name)
    found = predict(rows)
    figures = {
        "one_us": row_us(predict, rows[:100], at_once=1, repeats=int(repeats)),
        "many_us": row_us(predict, rows, at_once=len(rows), repeats=int(repeats)),
        "peak_mb": peak_mb(),
        "found": found.tolist(),
    }
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
