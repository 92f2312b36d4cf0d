"""What a method keeps in a home between rounds, and never sends: arrays by name, and where.

A home's question may come twice: the answer was lost, or the round failed and is asked again. So
beside what it has now a home keeps what it had before the last question, and answers that one from
there again: the same question gets the same answer, however often it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RunError, StateError, WireError
from fedhome.wire.codec import Digest, Id, Message, octets, several

Arrays = Mapping[str, NDArray[np.float32]]
"""Private arrays of one home, each float32 ``[numbers]``."""

MOST_BYTES: Final = 1 << 24
"""What a method keeps in a home is no greater than 16 MiB; its file holds it twice."""
_MOST_ARRAYS = 64


@dataclass(frozen=True, kw_only=True)
class OwnState:
    """What a home keeps.

    Args:
        of: Digest of the method and the model that it belongs to, 32 bytes.
        asked: Digest of the question that it came of, 32 bytes.
        arrays: What the home has now.
        before: What it had before that question; empty: nothing.
    """

    of: bytes
    asked: bytes
    arrays: Arrays
    before: Arrays = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return it as it is sealed."""
        return _Kept(
            of=self.of, asked=self.asked, now=_packed(self.arrays), before=_packed(self.before)
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> OwnState:
        """Return what `to_bytes` wrote.

        Raises:
            StateError: ``foreign``: it is nothing of the kind.
        """
        try:
            kept = _Kept.from_bytes(data)
        except WireError:
            raise StateError(
                "what the home's method kept is of another kind",
                reason="foreign",
                hint="another release of fedhome wrote it: use that one, or remove the file",
            ) from None
        return cls(
            of=kept.of, asked=kept.asked, arrays=_arrays(kept.now), before=_arrays(kept.before)
        )


class HomeStates(Protocol):
    """Where homes keep what their method has learnt for themselves."""

    def read(self, home: str) -> OwnState | None:
        """Return what a home keeps; None: nothing yet."""

    def write(self, home: str, state: OwnState) -> None:
        """Keep it in place of what was; durable where the home is, before anything leaves it."""


class StatesInMemory:
    """Homes of a simulation: in memory, and in the run's checkpoint."""

    def __init__(self) -> None:
        self._kept: dict[str, OwnState] = {}

    def read(self, home: str) -> OwnState | None:
        """Return what a home keeps; None: nothing yet."""
        return self._kept.get(home)

    def write(self, home: str, state: OwnState) -> None:
        """Keep it in place of what was."""
        self._kept[home] = state

    def some(self, homes: tuple[str, ...]) -> dict[str, OwnState]:
        """Return what some homes keep, for another process."""
        return {home: self._kept[home] for home in homes if home in self._kept}

    def take(self, kept: Mapping[str, OwnState]) -> None:
        """Take what homes keep, from another process."""
        self._kept.update(kept)

    def remember(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """Return all of it for a checkpoint: JSON data, and arrays ``[homes, numbers]`` by name."""
        if not self._kept:
            return {}, {}
        kept = list(self._kept.values())
        memory = {"of": kept[0].of.hex(), "homes": list(self._kept)}
        return memory, {
            name: np.stack([one.arrays[name] for one in kept]) for name in kept[0].arrays
        }

    def recall(self, memory: Mapping[str, Any], arrays: Arrays) -> None:
        """Take what `remember` returned; what a checkpoint does not hold is forgotten.

        Raises:
            RunError: The two do not go together.
        """
        homes = list(memory.get("homes", ()))
        if any(len(values) != len(homes) for values in arrays.values()):
            raise RunError(
                "what the homes' method kept cannot be read from the checkpoint",
                hint="start the run again in another folder",
            )
        self._kept = {
            home: OwnState(
                of=bytes.fromhex(memory["of"]),
                asked=bytes(32),  # no question has this digest
                arrays={name: values[place].copy() for name, values in arrays.items()},
            )
            for place, home in enumerate(homes)
        }


@dataclass(frozen=True, kw_only=True)
class _Array(Message, label="own-array", most=MOST_BYTES + 512):
    name: Id
    data: Annotated[bytes, octets(most=MOST_BYTES)]


_Several = Annotated[tuple[_Array, ...], several(_Array.kind(), most=_MOST_ARRAYS)]


@dataclass(frozen=True, kw_only=True)
class _Kept(Message, label="own-state", most=2 * MOST_BYTES + (1 << 17)):
    of: Digest
    asked: Digest
    now: _Several
    before: _Several


def _packed(arrays: Arrays) -> tuple[_Array, ...]:
    size = sum(values.nbytes for values in arrays.values())
    if size > MOST_BYTES:
        raise StateError(
            f"a method was to keep {size:,} bytes in a home: at most {MOST_BYTES:,} are",
            reason="size",
            hint="a smaller model, or a method that keeps less of it, needs less",
        )
    return tuple(
        _Array(name=name, data=values.astype("<f4").tobytes()) for name, values in arrays.items()
    )


def _arrays(packed: tuple[_Array, ...]) -> Arrays:
    if any(len(one.data) % 4 for one in packed):
        raise StateError("what the home's method kept is damaged", reason="altered")
    return {one.name: np.frombuffer(one.data, "<f4").astype(np.float32) for one in packed}
