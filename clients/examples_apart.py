"""A home's readings, read by a process of its own: what learns from them needs no reader of tables.

Arrow and what understands files take 50 MB, and are wanted once in a worker's life. The process
prints the home's examples, or why there are none, and ends. What it is to read comes through a
pipe, with the key of the readings: every account of a machine can list the arguments of processes,
and in one there is no room for a long plan.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from fedhome import errors
from fedhome.clients.lean_process import LEAN
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.data.series.example_stream import read_examples, write_examples
from fedhome.data.series.examples import HomeExamples
from fedhome.errors import EngineError, FedHomeError, PlanError
from fedhome.ops.processes import Child
from fedhome.plan.settings import Plan

if TYPE_CHECKING:
    from fedhome.clients.own_readings import ReadingsSource

_ERROR: Final = "error"
_UNFORESEEN: Final = "unforeseen"


def examples_apart(
    plan: Plan, source: ReadingsSource, *, name: str, reading: Mapping[str, Any]
) -> HomeExamples:
    """Return a home's examples, which another process cuts from its readings.

    Args:
        plan: The plan that it takes part in.
        source: File or folder of its readings, or its store.
        name: Its name in the fleet.
        reading: How its files are to be read, where that differs from the plan.

    Raises:
        DataError: The readings cannot be used.
        PlanError: The plan names no inputs.
        StateError: The store cannot be read.
        EngineError: The process did not get to an end.
    """
    stored = isinstance(source, ReadingStore)
    place = source.folder if isinstance(source, ReadingStore) else source
    request = json.dumps(
        {
            "plan": plan.to_toml(),
            "name": name,
            "reading": dict(reading),
            "place": str(place),
            "stored": stored,
        }
    )
    theirs, ours = os.pipe()
    command = (LEAN, "fedhome.clients.examples_apart", str(theirs))
    child = Child("the reader", command, passed=(theirs,), told=True)
    # A process that has ended already tells more by its status than by the pipe that it broke.
    with suppress(BrokenPipeError), os.fdopen(ours, "wb") as pipe:
        try:
            child.start()
        finally:
            os.close(theirs)
        pipe.write(request.encode() + b"\n")
        pipe.write(source.key if isinstance(source, ReadingStore) else b"")
    assert child.process is not None
    assert child.process.stdout is not None
    try:
        return _taken(child.process.stdout)
    except ValueError:  # it ended before it had told all
        pass
    finally:
        child.output()
    raise EngineError(
        f"the process that reads the home's readings ended with {child.ending}",
        hint="is there enough memory? it needs 130 MB, and more for many readings",
    )


def _taken(stream: IO[bytes]) -> HomeExamples:
    head = stream.readline()
    told = json.loads(head)
    if _UNFORESEEN in told:
        raise RuntimeError("the home's readings: " + told[_UNFORESEEN])
    if _ERROR in told:
        raise _error_of(told)
    return read_examples(head, stream)


def _error_of(told: Mapping[str, Any]) -> FedHomeError:
    kind = getattr(errors, told[_ERROR])
    if issubclass(kind, PlanError):
        made: FedHomeError = kind(told["faults"], hint=told["hint"])
    elif "reason" in told:
        made = kind(told["message"], reason=told["reason"], hint=told["hint"])
    else:
        made = kind(told["message"], hint=told["hint"])
    return made


def _told_of(error: FedHomeError) -> dict[str, Any]:
    named = next(kind for kind in type(error).__mro__ if kind.__name__ in errors.__all__)
    told = {_ERROR: named.__name__, "message": error.message, "hint": error.hint}
    more = {name: getattr(error, name) for name in ("reason", "faults") if hasattr(error, name)}
    return told | more


def main(arguments: Sequence[str]) -> int:
    """Read a home's readings and print its examples; the argument is the descriptor of the pipe."""
    from fedhome.clients.failure_reason import reason_of  # noqa: PLC0415
    from fedhome.clients.own_readings import examples_of, read_own  # noqa: PLC0415 - arrow

    with os.fdopen(int(arguments[0]), "rb") as pipe:
        request, key = json.loads(pipe.readline()), pipe.read()
    out, place = sys.stdout.buffer, Path(request["place"])
    try:
        plan = Plan.parse(tomllib.loads(request["plan"]))
        source = ReadingStore(place, request["name"], key) if request["stored"] else place
        own = read_own(plan, source, name=request["name"], reading=request["reading"])
        write_examples(examples_of(plan, own), out)
    except FedHomeError as error:
        out.write(json.dumps(_told_of(error)).encode() + b"\n")
    except Exception as error:  # noqa: BLE001 - what it says may be of the readings
        out.write(json.dumps({_UNFORESEEN: reason_of(error)}).encode() + b"\n")
    out.flush()
    return 0
