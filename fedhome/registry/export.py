"""A release's model as a file for other programs: safetensors or npz."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RegistryError
from fedhome.registry.container import pack
from fedhome.registry.formats import ModelPayload
from fedhome.registry.release import ReleaseManifest
from fedhome.registry.vault import registry_errors
from fedhome.run.model_file import Learnt, learnt_told
from fedhome.store import disk
from fedhome.wire.layout import Layout

SUFFIXES = (".safetensors", ".npz")


def export(model: ModelPayload, manifest: ReleaseManifest, path: Path | str) -> None:
    """Write a model in float32, in the kind of file that the name ends with.

    ``.safetensors`` is as ``model.safetensors`` in a run's folder; ``.npz`` is for
    `numpy.load`. What the storage format lost stays lost.

    Args:
        model: The release's model.
        manifest: What it is.
        path: The file; one that is there is replaced.

    Raises:
        RegistryError: ``format``: another ending; or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise RegistryError(
            f"{path} ends neither with {' nor with '.join(SUFFIXES)}",
            reason="format",
            hint="the ending says what kind of file is written",
        )
    parameters_to(
        path,
        model.parameters,
        plan=manifest.plan,
        round_number=manifest.round,
        learnt=manifest.learnt,
    )


def parameters_to(
    path: Path,
    parameters: Mapping[str, NDArray[np.float32]],
    *,
    plan: str,
    round_number: int,
    learnt: Learnt,
) -> None:
    """Write parameters in float32, in the kind of file that the name ends with.

    Args:
        path: The file, with one of `SUFFIXES`; one that is there is replaced.
        parameters: float32 arrays by name.
        plan: Name of the plan that they come from.
        round_number: The round.
        learnt: What the model states of a series.

    Raises:
        RegistryError: The file cannot be written.
    """
    metadata = {
        "layout": Layout.of(parameters).hash,
        "names": json.dumps(list(parameters)),
        "plan": plan,
        "round": str(round_number),
        **learnt_told(learnt),
    }
    data = _npz(parameters) if path.suffix == ".npz" else pack(dict(parameters), metadata)
    with registry_errors():
        disk.put(path, data)


def _npz(parameters: Mapping[str, NDArray[np.float32]]) -> bytes:
    # Not numpy.savez: it takes names as keywords, of which it has two of its own.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in parameters.items():
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array))
    return buffer.getvalue()
