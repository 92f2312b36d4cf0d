"""Checkpoints: all that a run needs to go on after a kill, in one file, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from fedhome.denied import check_ordinary
from fedhome.errors import RunError
from fedhome.run.folder import RunFolder
from fedhome.run.written_whole import write_atomically
from fedhome.wire.layout import Layout

_FILE = "latest.safetensors"
_OWN = "own/"  # names of what homes keep, apart from the strategy's
_TRIAL = "trial/"  # the same, of attempts at rates
_KINDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("round", "made", "best_round", "stale"), int),
    **dict.fromkeys(("memory", "scale", "own", "trials"), dict),
    "rows": list,
    "layout": str,
}
"""What lies in it, of what may be somebody else's file."""


@dataclass(kw_only=True)
class Checkpoint:
    """A run after one of its rounds.

    Args:
        round: The last round that is done; 0 before the first.
        flat: The global parameters, float32 ``[size]``.
        best: The parameters with the lowest validation loss so far, where rounds may end early.
        made: The last round that changed the parameters; 0 before the first.
        best_loss: That loss; where rounds are judged, that of homes with the adapted model.
        best_round: The round that made them; 0: none.
        stale: Rounds since.
        rows: Rows of the table of rounds.
        memory: The strategy's memory, JSON data.
        arrays: The strategy's arrays.
        scale: The scale of secure sums, JSON data.
        own: What the method keeps in a simulation's homes, JSON data; empty in a fleet, where
            homes keep it themselves.
        own_arrays: Its arrays, ``[homes, numbers]`` by name.
        trials: What came of rates that were tried, JSON data; empty where none are.
        trial_arrays: Its arrays, while rates are being tried.
    """

    round: int
    flat: NDArray[np.float32]
    best: NDArray[np.float32]
    made: int = 0
    best_loss: float = float("inf")
    best_round: int = 0
    stale: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    own_arrays: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    trial_arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def save(folder: RunFolder, layout: Layout, state: Checkpoint) -> None:
    """Replace the checkpoint.

    Raises:
        RunError: It cannot be written; the one before is untouched.
    """
    record = {
        "layout": layout.hash,
        "round": state.round,
        "made": state.made,
        "best_loss": None if np.isinf(state.best_loss) else state.best_loss,
        "best_round": state.best_round,
        "stale": state.stale,
        "rows": state.rows,
        "memory": state.memory,
        "scale": state.scale,
        "own": state.own,
        "trials": state.trials,
    }
    own = {f"{_OWN}{name}": values for name, values in state.own_arrays.items()}
    tried = {f"{_TRIAL}{name}": values for name, values in state.trial_arrays.items()}
    arrays = {"flat": state.flat, "best": state.best, **state.arrays, **own, **tried}
    data = safetensors.numpy.save(arrays, {"state": json.dumps(record)})
    write_atomically(folder.checkpoint_path / _FILE, data)


def load(folder: RunFolder, layout: Layout) -> Checkpoint | None:
    """Read the checkpoint of a run; None if no round was done yet.

    Raises:
        RunError: It is damaged, or of a model of another layout.
    """
    folder.tidy()
    path = folder.checkpoint_path / _FILE
    if not path.exists():
        return None
    check_ordinary(RunError, path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {})["state"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        own_arrays, trial_arrays = (
            {
                name.removeprefix(start): arrays.pop(name)
                for name in [name for name in arrays if name.startswith(start)]
            }
            for start in (_OWN, _TRIAL)
        )
        if not isinstance(record, dict) or any(
            type(record.get(name, kind())) is not kind for name, kind in _KINDS.items()
        ):
            raise TypeError  # noqa: TRY301 - as of what else is no checkpoint
        if "best_round" not in record:  # it was best by another measure: it begins anew
            record |= {"best_loss": None, "stale": 0, "best_round": 0}
        state = Checkpoint(
            own=record.get("own", {}),
            own_arrays=own_arrays,
            trials=record.get("trials", {}),
            trial_arrays=trial_arrays,
            round=record["round"],
            made=record["made"],
            flat=arrays.pop("flat"),
            best=arrays.pop("best"),
            best_loss=float("inf") if record["best_loss"] is None else record["best_loss"],
            best_round=record["best_round"],
            stale=record["stale"],
            rows=record["rows"],
            memory=record["memory"],
            arrays=arrays,
            scale=record["scale"],
        )
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(
            f"{path} cannot be read: {type(error).__name__}",
            hint="start the run again in another folder",
        ) from None
    if record["layout"] != layout.hash:
        raise RunError(
            f"{path} holds a model of layout {record['layout'][:16]}, but the plan's is {layout}",
            hint="the code of the model has changed since the run was begun",
        )
    return state
