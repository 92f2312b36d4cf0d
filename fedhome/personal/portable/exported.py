"""From a home's own model to a file, in a format that has a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from fedhome.errors import RunError
from fedhome.personal.model import PersonalModel
from fedhome.personal.portable.c_file import c_of
from fedhome.personal.portable.chosen import own_code_of
from fedhome.personal.portable.npz_file import npz_of
from fedhome.personal.portable.onnx_file import onnx_of
from fedhome.plugins import look_up


def _c(model: PersonalModel, *, int8: bool) -> bytes:
    return c_of(model, int8=int8).encode()


FORMATS: Mapping[str, Callable[..., bytes]] = {"c": _c, "onnx": onnx_of, "npz": npz_of}
"""From a model, and whether its networks' weights take one byte, to a file's bytes."""

PRECISIONS: Final = ("float", "int8")
"""How a network's weights are written."""


def export_model(model: PersonalModel, kind: str, *, int8: bool = False) -> bytes:
    """Return a model as the bytes of a file for devices without Python.

    Args:
        model: The model; of :func:`~fedhome.personal.portable.chosen.in_int8` where ``int8``.
        kind: One of :data:`FORMATS`.
        int8: Whether its networks' weights take one byte each.

    Raises:
        PluginError: No such format.
        RunError: A number of it is not finite, or a part is a module of somebody's own.
        EngineError: The format needs a package that is not installed.
    """
    write = look_up(FORMATS, kind, "format")
    if model.horizons:
        raise RunError(
            f"the model of {model.home!r} predicts several horizons, and a file predicts one",
            hint=f"say which: --horizon {model.horizons[0]} (of {', '.join(model.horizons)})",
        )
    if named := own_code_of(model):
        raise RunError(
            f"{model.home!r} predicts by {named!r}, a module that needs PyTorch: it cannot be "
            f"written as {kind}",
            hint="leave it out with --experts",
        )
    for name, expert in {**model.experts, "the forecast without learning": model.naive}.items():
        for values in expert.arrays().values():
            if not np.isfinite(values).all():
                raise RunError(
                    f"{name} of {model.home!r} has numbers that are not finite",
                    hint="leave it out with --experts, or run again",
                )
    return write(model, int8=int8)
