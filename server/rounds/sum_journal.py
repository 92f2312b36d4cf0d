"""What a server keeps of sums, so that it never has to ask a question twice: homes would refuse.

A sum about one model is opened once, by any honest member. So what was opened is kept until a
checkpoint holds what came of it: a round that is done again, after a kill or because too few
homes answered, takes its sums from here. And before members are asked for their shares, all
that it takes to ask them is kept: a server that is killed in between finishes that very sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import StateError, WireError
from fedhome.secagg.form import Form
from fedhome.store import disk
from fedhome.wire.codec import Digest, Id, Kind, Message, number, octets

_OPENED, _CLOSED = ".sum", ".closed"
_MOST = 1 << 31


@dataclass(frozen=True, kw_only=True)
class KeptSum(Message, label="kept-sum", most=_MOST):
    """An opened sum of one group of homes.

    Args:
        purpose: What was summed.
        model_hash: SHA-256 of the model that it is about; zeros where there is none.
        form: What lies in the words.
        homes: How many homes are in it.
        data: The words, little-endian.
    """

    purpose: Id
    model_hash: Digest
    form: Annotated[Form, Kind(Form.from_plain, Form.to_plain)]
    homes: Annotated[int, number(least=1)]
    data: Annotated[bytes, octets(most=_MOST)]

    @property
    def words(self) -> NDArray[Any]:
        """The sum, unsigned ``[words]``."""
        dtype = self.form.packing.dtype
        return np.frombuffer(self.data, dtype.newbyteorder("<")).astype(dtype)


class SumJournal:
    """Sums by what they are about and of which group; in memory, or in files that outlive a kill.

    Args:
        folder: Where files are; None: in memory alone, for a simulation, whose homes forget too.

    Raises:
        StateError: The folder cannot be made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._opened: dict[str, KeptSum] = {}
        self._closed: dict[str, bytes] = {}
        if folder is not None:
            with disk.errors_of(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def opened(self, name: str) -> KeptSum | None:
        """Return an opened sum; None if there is none.

        Args:
            name: From :func:`name_of`.

        Raises:
            StateError: ``altered``: the file is damaged.
        """
        if name not in self._opened and (data := self._read(name + _OPENED)) is not None:
            try:
                self._opened[name] = KeptSum.from_bytes(data)
            except WireError:
                raise _damaged(self._path(name + _OPENED)) from None
        return self._opened.get(name)

    def closed(self, name: str) -> bytes | None:
        """Return what was kept of a sum before its members were asked; None if nothing was."""
        if name not in self._closed and (data := self._read(name + _CLOSED)) is not None:
            self._closed[name] = data
        return self._closed.get(name)

    def keep_closed(self, name: str, snapshot: bytes) -> None:
        """Keep what it takes to ask members for their shares, before they are asked.

        Raises:
            StateError: It cannot be written.
        """
        self._closed[name] = snapshot
        if self._folder is not None:
            disk.put(self._path(name + _CLOSED), snapshot)

    def keep_opened(self, name: str, kept: KeptSum) -> None:
        """Keep an opened sum; what was kept before it was opened is not needed any more.

        Raises:
            StateError: It cannot be written.
        """
        self._opened[name] = kept
        if self._folder is not None:
            disk.put(self._path(name + _OPENED), kept.to_bytes())
        self.drop_closed(name)

    def drop_closed(self, name: str) -> None:
        """Forget a sum that will not be opened."""
        self._closed.pop(name, None)
        if self._folder is not None:
            with disk.errors_of(self._folder):
                self._path(name + _CLOSED).unlink(missing_ok=True)

    def keep_only(self, models: Iterable[bytes]) -> None:
        """Forget the sums about all models but these: a checkpoint holds what came of them.

        Args:
            models: SHA-256 of each.
        """
        kept = {model.hex()[:32] for model in models}
        names = {*self._opened, *self._closed, *(path.stem for path in self._files())}
        for name in names:
            if name.rsplit("-", 2)[1] not in kept:
                self._opened.pop(name, None)
                self.drop_closed(name)
                if self._folder is not None:
                    with disk.errors_of(self._folder):
                        self._path(name + _OPENED).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        if self._folder is None:
            return []
        return [path for path in self._folder.iterdir() if path.suffix in (_OPENED, _CLOSED)]

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name

    def _read(self, name: str) -> bytes | None:
        if self._folder is None or not self._path(name).exists():
            return None
        return disk.read(self._path(name))


def name_of(purpose: str, model_hash: bytes, group: int) -> str:
    """Return the name of a sum: what is summed, about which model, of which group."""
    return f"{purpose}-{model_hash.hex()[:32]}-{group}"


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path} is damaged",
        reason="altered",
        hint="remove it; the run then needs another model to go on from: `fedhome server run` anew",
    )
