"""Why a home cannot answer, as the server may know it: no readings, path or line."""

from __future__ import annotations

import logging
from pathlib import Path

from fedhome.errors import (
    DataError,
    FedHomeError,
    InputsError,
    LayoutError,
    PlanError,
    PluginError,
    RunError,
    SecAggError,
    StateError,
    UpdateError,
)
from fedhome.questions.settings import UNLIKE

REFUSALS = (SecAggError, UpdateError, LayoutError)
"""What is wrong with a question itself: of these the server is told. The rest is wrong at home."""

INSTEAD: tuple[tuple[tuple[type[FedHomeError], ...], str], ...] = (
    ((InputsError,), UNLIKE),
    ((DataError,), "the home's readings cannot be used; its own log says why"),
    # Its message names the home's files.
    ((StateError,), "the home's state cannot be kept ({reason}); its own log says more"),
    # Theirs name its folder.
    ((PlanError, RunError), "the home's plan or folder cannot be used; its own log says why"),
    # It names files, and what one's own code has said.
    ((PluginError,), "the plan's own code cannot be used here; the home's own log says why"),
)
"""Errors whose sentence stays at home, and what the server is told instead."""

UNFORESEEN = "the app failed: {kind}"
"""What the server is told of an error that we did not foresee: its kind."""

_log = logging.getLogger("fedhome.agent")


def reason_of(error: Exception) -> str:
    """Return what the server may know of an error: nothing of the readings, nor where they lie.

    The rest goes to the home's own log; of what we did not foresee, only where it happened.
    """
    if isinstance(error, FedHomeError):
        _log.warning("a question was not answered: %s", error)
        for kinds, told in INSTEAD:
            if isinstance(error, kinds):
                return told.format(reason=getattr(error, "reason", ""))
        return str(error)
    where, trace = [], error.__traceback__
    while trace is not None:
        where.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    kind = type(error).__name__
    _log.error("a question was not answered: %s at %s", kind, " > ".join(where))
    return UNFORESEEN.format(kind=kind)
