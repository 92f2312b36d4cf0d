"""A model as a file: safetensors, with the layout, the plan and the round in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from fedhome.denied import check_ordinary
from fedhome.errors import RunError
from fedhome.wire.layout import Layout

Learnt = Literal["change", "level"]
"""What a model of a series states; of classes it is ``level``, as before there was a choice."""

_LEARNT: Final = "learns"


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A model as it lies in a run's folder.

    Args:
        parameters: float32 arrays by name, in the order of the model's layout.
        layout_hash: Hash of that layout, see :class:`fedhome.wire.layout.Layout`.
        plan: Name of the plan.
        round: The round after which it was saved.
        learnt: ``change`` where it states changes of a series; else ``level``.
    """

    parameters: Mapping[str, NDArray[np.float32]]
    layout_hash: str
    plan: str
    round: int
    learnt: Learnt = "level"


def to_bytes(
    parameters: Mapping[str, NDArray[np.float32]],
    plan: str,
    round_number: int,
    *,
    learnt: Learnt = "level",
) -> bytes:
    """Return the bytes of a model's file; the same content gives the same bytes.

    Args:
        parameters: float32 arrays by name, in the order of the model's layout.
        plan: Name of the plan.
        round_number: The round after which it is saved.
        learnt: As of :class:`SavedModel`.
    """
    # safetensors stores the bytes as they lie in memory, whatever the strides say.
    arrays = {name: np.asarray(array, order="C") for name, array in parameters.items()}
    metadata = {
        "layout": Layout.of(parameters).hash,
        "names": json.dumps(list(parameters)),
        "plan": plan,
        "round": str(round_number),
        **learnt_told(learnt),
    }
    return with_sorted_header(safetensors.numpy.save(arrays, metadata))


def learnt_told(learnt: Learnt) -> dict[str, str]:
    """Return what a file's header says of it: of levels nothing, as before there was a choice."""
    return {} if learnt == "level" else {_LEARNT: learnt}


_NO_MODEL = (KeyError, ValueError, TypeError, RecursionError)


def read_model_file(path: Path) -> SavedModel:
    """Return the model of a file.

    Raises:
        RunError: It is missing, damaged, or of another layout than it says.
    """
    try:
        check_ordinary(RunError, path)
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = json.loads(metadata["names"])
            parameters = {name: file.get_tensor(name) for name in names}
            round_number = int(metadata["round"])
            plan, layout_hash = metadata["plan"], metadata["layout"]
            learnt = _learnt(metadata.get(_LEARNT, "level"))
    except (OSError, *_NO_MODEL, safetensors.SafetensorError) as error:
        raise unreadable(path, error) from None
    if Layout.of(parameters).hash != layout_hash:
        raise RunError(
            f"{path} does not have the layout that it says",
            hint="it was altered after the run: take it from a copy",
        )
    return SavedModel(
        parameters=parameters,
        layout_hash=layout_hash,
        plan=plan,
        round=round_number,
        learnt=learnt,
    )


def _learnt(word: str) -> Learnt:
    if word not in ("change", "level"):
        raise ValueError(word)
    return "change" if word == "change" else "level"


def unreadable(path: Path, error: Exception) -> RunError:
    """Return the error for a file of a run that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path} is missing", hint="did the run get that far?")
    return RunError(
        f"{path} cannot be read: {type(error).__name__}", hint="it is damaged: take a copy"
    )


def with_sorted_header(data: bytes) -> bytes:
    """Return safetensors bytes with a sorted header: the library's order is random.

    Args:
        data: Bytes of safetensors.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
