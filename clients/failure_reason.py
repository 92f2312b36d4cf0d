"""Why a home cannot answer, as the server may know it: no readings, path or line."""

from __future__ import annotations

import logging
from pathlib import Path

from fedhome.errors import (
    DataError,
    FedHomeError,
    LayoutError,
    PlanError,
    PluginError,
    RunError,
    SecAggError,
    StateError,
    UpdateError,
)

REFUSALS = (SecAggError, UpdateError, LayoutError)
"""What is wrong with a question itself: of these the server is told. The rest is wrong at home."""

_log = logging.getLogger("fedhome.agent")


def reason_of(error: Exception) -> str:
    """Return what the server may know of an error: nothing of the readings, nor where they lie.

    The rest goes to the home's own log; of what we did not foresee, only where it happened.
    """
    if isinstance(error, FedHomeError):
        _log.warning("a question was not answered: %s", error)
        if isinstance(error, DataError):
            return "the home's readings cannot be used; its own log says why"
        if isinstance(error, StateError):  # its message names the home's files
            return f"the home's state cannot be kept ({error.reason}); its own log says more"
        if isinstance(error, PlanError | RunError):  # theirs name its folder
            return "the home's plan or folder cannot be used; its own log says why"
        if isinstance(error, PluginError):  # it names files, and what one's own code has said
            return "the plan's own code cannot be used here; the home's own log says why"
        return str(error)
    where, trace = [], error.__traceback__
    while trace is not None:
        where.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    kind = type(error).__name__
    _log.error("a question was not answered: %s at %s", kind, " > ".join(where))
    return f"the app failed: {kind}"
