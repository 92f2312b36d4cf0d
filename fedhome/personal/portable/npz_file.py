"""A home's own model as plain arrays: numpy's npz, with its names in JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.learning import fitted
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Perceptron
from fedhome.personal.model import PersonalModel
from fedhome.personal.portable.chosen import whole
from fedhome.personal.portable.raw_inputs import inputs_of

_MATRIX = 2


def npz_of(model: PersonalModel, *, int8: bool) -> bytes:
    """Return a model as the bytes of an npz file; nothing in it is pickled.

    ``about`` is JSON: what it takes and gives, each expert's kind and weight. Arrays are called
    ``EXPERT/PART``; a network's weights in int8 have their units' scales beside them.

    Args:
        model: The model.
        int8: Whether its networks' weights take one byte each.
    """
    arrays: dict[str, NDArray[Any]] = {
        f"scaling/{part}": getattr(model.scaling, part) for part in ("medians", "middle", "spread")
    }
    for name, expert in {**model.experts, "without learning": model.naive}.items():
        for part, values in expert.arrays().items():
            arrays[f"{name}/{part}"] = values
            if int8 and isinstance(expert, Perceptron) and values.ndim == _MATRIX:
                made = whole(values)
                arrays[f"{name}/{part}"] = made.values
                arrays[f"{name}/{part} scale"] = made.scale
    if isinstance(model.by, Reach):
        arrays["band"] = np.stack(model.by)
    about = {
        "home": model.home,
        "target": model.target,
        **({} if model.ahead is None else {"horizon": str(model.ahead)}),
        "targets": model.targets,
        "unit": model.unit,
        "level": model.level,
        "bounded": model.scaling.bounded,
        "relative": np.resize(model.scaling.relative, len(model.scaling.features)).tolist(),
        "changes": model.changes,
        "temperature": None if isinstance(model.by, Reach) else model.by,
        "inputs": [one._asdict() for one in inputs_of(model)],
        "outputs": model.predictor.outputs,
        "weights": dict(model.weights),
        "kinds": {name: fitted.kind_of(one) for name, one in model.experts.items()}
        | {"without learning": fitted.kind_of(model.naive)},
    }
    arrays["about"] = np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
