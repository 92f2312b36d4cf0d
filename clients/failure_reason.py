"""Why a home cannot answer, as the server may know it: one word of a closed list, nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

from fedhome.errors import (
    DataError,
    FedHomeError,
    InputsError,
    LayoutError,
    NoReadingsError,
    PlanError,
    PluginError,
    RunError,
    SecAggError,
    StateError,
    UpdateError,
)
from fedhome.reasons import AT_HOME, listed

REFUSALS = (SecAggError, UpdateError, LayoutError)
"""What is wrong with a question itself. The rest is wrong at home."""

BY_KIND: tuple[tuple[tuple[type[FedHomeError], ...], str], ...] = (
    ((NoReadingsError,), "no-readings"),
    ((InputsError,), "unlike"),
    ((DataError,), "readings"),
    ((LayoutError,), "layout"),
    ((UpdateError,), "malformed"),
    ((PlanError, RunError), "own-plan"),
    ((PluginError,), "own-code"),
)
"""The words for errors that have none of their own."""

UNFORESEEN = "failed"
"""The word for an error that we did not foresee."""

_log = logging.getLogger("fedhome.agent")


def reason_of(error: Exception) -> str:
    """Return the word that the server is told of an error: nothing of the readings or the home.

    The rest goes to the home's own log; of what we did not foresee, only where it happened.
    """
    if isinstance(error, NoReadingsError):
        return _word(error)  # the agent says it once, and not with each question
    if isinstance(error, FedHomeError):
        _log.warning("a question was not answered: %s", error)
        return _word(error)
    where, trace = [], error.__traceback__
    while trace is not None:
        where.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    kind = type(error).__name__
    _log.error("a question was not answered: %s at %s", kind, " > ".join(where))
    return UNFORESEEN


def _word(error: FedHomeError) -> str:
    if isinstance(error, StateError):
        return error.reason if error.reason in AT_HOME else "state"
    if isinstance(error, SecAggError):
        return listed(error.reason)
    return next((word for kinds, word in BY_KIND if isinstance(error, kinds)), UNFORESEEN)
