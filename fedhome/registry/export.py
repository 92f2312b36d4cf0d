"""A release's model as a file for other programs: safetensors or npz."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

from fedhome.errors import RegistryError
from fedhome.registry.container import pack
from fedhome.registry.formats import ModelPayload
from fedhome.registry.release import ReleaseManifest
from fedhome.registry.vault import registry_errors
from fedhome.store import disk

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
    data = _npz(model) if path.suffix == ".npz" else _safetensors(model, manifest)
    with registry_errors():
        disk.put(path, data, mode=0o644)


def _safetensors(model: ModelPayload, manifest: ReleaseManifest) -> bytes:
    metadata = {
        "layout": model.layout.hash,
        "names": json.dumps(list(model.layout.names)),
        "plan": manifest.plan,
        "round": str(manifest.round),
    }
    return pack(model.parameters, metadata)


def _npz(model: ModelPayload) -> bytes:
    # Not numpy.savez: it takes names as keywords, of which it has two of its own.
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in model.parameters.items():
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array))
    return buffer.getvalue()
