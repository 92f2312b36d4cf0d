"""What a server keeps of sums, so that it never has to ask a question twice: homes would refuse.

A sum about one model is opened once, by any honest member. So what was opened is kept until a
checkpoint holds what came of it: a round that is done again, after a kill or because too few
homes answered, takes its sums from here. And before members are asked for their shares, all
that it takes to ask them is kept: a server that is killed in between finishes that very sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import StateError, WireError
from fedhome.new_folders import make_folder
from fedhome.secagg.form import Form
from fedhome.store import disk
from fedhome.wire.codec import Digest, Id, Kind, Message, number, octets

_OPENED, _CLOSED, _MISSING, _HOMES = ".sum", ".closed", ".missing", ".homes"
_TRIES = "tries.json"
MOST_TRIES = 6
"""After this many attempts at one unopened sum, homes soon refuse: they count them too."""
_MOST = 1 << 31
_NO_MODEL = bytes(16).hex()


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

    @classmethod
    def of(
        cls, purpose: str, model_hash: bytes, form: Form, words: NDArray[Any], *, homes: int
    ) -> KeptSum:
        """Return an opened sum, from its words ``[words]``; the rest as of the class."""
        data = words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes()
        return cls(purpose=purpose, model_hash=model_hash, form=form, homes=homes, data=data)

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
        self.folder = folder
        self._opened: dict[str, KeptSum] = {}
        self._closed: dict[str, bytes] = {}
        self._missing: dict[str, dict[str, str]] = {}
        self._homes: dict[str, frozenset[str]] = {}
        self._tries: dict[str, int] = {}
        self._elsewhere: frozenset[str] = frozenset()
        self._past: frozenset[str] = frozenset()
        self._directory = ""
        if folder is not None:
            with disk.errors_of(folder):
                make_folder(folder, mode=0o700)
            if (folder / _TRIES).exists():
                self._recall(folder / _TRIES)

    def begin_epoch(self, directory: bytes) -> None:
        """Take note of the directory that is in force.

        In another epoch than before, homes answer nothing that they were asked in that one but what
        is about no model, and members finish no sum of it.

        Args:
            directory: Its hash.

        Raises:
            StateError: It cannot be written.
        """
        if self._directory not in ("", directory.hex()):
            for name in {*self._tries, *self.half_opened} - set(self._opened):
                self._tries[name] = 0 if _model_in(name) == _NO_MODEL else MOST_TRIES
                self.drop_closed(name)
            opening = {path.stem for path in self._files() if path.suffix == _HOMES}
            self._past = frozenset(map(_question_in, opening.union(self._homes)))
        self._directory = directory.hex()
        self._keep_tries()

    def tried(self, name: str, *, times: int = 1) -> None:
        """Count an attempt at a sum.

        Raises:
            StateError: It cannot be written.
        """
        self._tries[name] = self._tries.get(name, 0) + times
        self._keep_tries()

    def spend(self, name: str) -> None:
        """Record that of a sum nothing will come any more: not opened, and never again asked."""
        self.tried(name, times=MOST_TRIES)

    def spent(self, name: str) -> bool:
        """Return whether homes answer no more about it, and nothing was opened that is of use."""
        return self._tries.get(name, 0) >= MOST_TRIES

    def keep_elsewhere(self, name: str) -> None:
        """Record that homes have helped to open a sum that is not in here: it is spent, too.

        Raises:
            StateError: It cannot be written.
        """
        self._elsewhere |= {name}
        self.spend(name)

    def elsewhere(self, model_hash: bytes) -> bool:
        """Return whether homes have helped to open a sum about a model that is not in here."""
        return model_hash.hex()[:32] in map(_model_in, self._elsewhere)

    def _keep_tries(self) -> None:
        if self.folder is not None:
            record = {
                "directory": self._directory,
                "tries": self._tries,
                "elsewhere": sorted(self._elsewhere),
                "past": sorted(self._past),
            }
            disk.put(self._path(_TRIES), json.dumps(record).encode())

    @property
    def half_opened(self) -> list[str]:
        """Sums whose members were asked for shares, and that are not open yet."""
        names = {path.stem for path in self._files() if path.suffix == _CLOSED}
        # A kill may come after a sum was kept, and before what it took to open it was dropped.
        return sorted(name for name in names | set(self._closed) if self.opened(name) is None)

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
        if self.folder is not None:
            disk.put(self._path(name + _CLOSED), snapshot)

    def keep_opened(self, name: str, kept: KeptSum) -> None:
        """Keep an opened sum; what was kept before it was opened is not needed any more.

        Raises:
            StateError: It cannot be written.
        """
        self._opened[name] = kept
        if self._tries.pop(name, None) is not None:
            self._keep_tries()
        if self.folder is not None:
            disk.put(self._path(name + _OPENED), kept.to_bytes())
        self.drop_closed(name)

    def keep_missing(self, name: str, missing: Mapping[str, str]) -> None:
        """Keep why homes are not in a sum, before it is opened: it may be taken again.

        Args:
            name: From :func:`name_of`.
            missing: The reasons, by the homes' names.

        Raises:
            StateError: It cannot be written.
        """
        if missing == self.missing(name):
            return
        if self.folder is not None:
            disk.put(self._path(name + _MISSING), json.dumps(dict(missing)).encode())
        self._missing[name] = dict(missing)

    def missing(self, name: str) -> dict[str, str]:
        """Return why homes are not in a sum, by name; nothing where it is not known.

        Raises:
            StateError: ``altered``: the file is damaged.
        """
        if name not in self._missing and (data := self._read(name + _MISSING)) is not None:
            try:
                table = json.loads(data)
                self._missing[name] = {str(home): str(why) for home, why in table.items()}
            except (ValueError, AttributeError):
                raise _damaged(self._path(name + _MISSING)) from None
        return dict(self._missing.get(name, {}))

    def keep_homes(self, name: str, homes: Iterable[str]) -> None:
        """Keep who is in a sum, before members are asked to open it.

        Another sum about the model may be held against it, also where this one is of no use.

        Args:
            name: From :func:`name_of`.
            homes: Their names.

        Raises:
            StateError: It cannot be written.
        """
        self._homes[name] = frozenset(homes)
        if self.folder is not None:
            disk.put(self._path(name + _HOMES), json.dumps(sorted(self._homes[name])).encode())

    def homes_in(self, name: str) -> frozenset[str] | None:
        """Return who is in a sum that members were asked to open; None: they were asked for none.

        Raises:
            StateError: ``altered``: the file is damaged.
        """
        if name not in self._homes and (data := self._read(name + _HOMES)) is not None:
            try:
                homes = json.loads(data)
            except ValueError:
                raise _damaged(self._path(name + _HOMES)) from None
            if not isinstance(homes, list) or not all(isinstance(home, str) for home in homes):
                raise _damaged(self._path(name + _HOMES))
            self._homes[name] = frozenset(homes)
        return self._homes.get(name)

    def explains_opened(self, name: str) -> bool:
        """Return whether homes may say of a sum that it was opened, by what is in here.

        Members were asked to open it, or a sum of this question over any group of an earlier epoch.

        Raises:
            StateError: As of `homes_in`.
        """
        return self.homes_in(name) is not None or _question_in(name) in self._past

    def give_up(self, name: str) -> None:
        """Forget a sum, opened or half opened, that is of no use: nothing else follows it.

        Raises:
            StateError: The folder cannot be written.
        """
        self._forget(name)
        self.spend(name)

    def _forget(self, name: str) -> None:
        self._opened.pop(name, None)
        self._missing.pop(name, None)
        self.drop_closed(name)
        if self.folder is not None:
            with disk.errors_of(self.folder):
                for kind in (_OPENED, _MISSING):
                    self._path(name + kind).unlink(missing_ok=True)

    def drop_closed(self, name: str) -> None:
        """Forget a sum that will not be opened."""
        self._closed.pop(name, None)
        if self.folder is not None:
            with disk.errors_of(self.folder):
                self._path(name + _CLOSED).unlink(missing_ok=True)

    def keep_only(self, models: Iterable[bytes]) -> None:
        """Forget the sums about all models but these: a checkpoint holds what came of them.

        What is about no model stays: it is asked once in an epoch.

        Args:
            models: SHA-256 of each.
        """
        kept = {model.hex()[:32] for model in (*models, bytes(32))}
        files = (path.stem for path in self._files())
        for name in {*self._opened, *self._closed, *self._missing, *self._homes, *files}:
            if _model_in(name) not in kept:
                self._forget(name)
                self._homes.pop(name, None)
                if self.folder is not None:
                    with disk.errors_of(self.folder):
                        self._path(name + _HOMES).unlink(missing_ok=True)

    def _recall(self, path: Path) -> None:
        try:
            record = json.loads(disk.read(path))
            self._tries = {str(name): int(count) for name, count in record["tries"].items()}
            self._elsewhere = frozenset(map(str, record.get("elsewhere", ())))
            self._past = frozenset(map(str, record.get("past", ())))
            self._directory = str(record["directory"])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise _damaged(path) from None

    def _files(self) -> list[Path]:
        if self.folder is None:
            return []
        kinds = (_OPENED, _CLOSED, _MISSING, _HOMES)
        return [path for path in self.folder.iterdir() if path.suffix in kinds]

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name

    def _read(self, name: str) -> bytes | None:
        if self.folder is None or not self._path(name).exists():
            return None
        return disk.read(self._path(name))


def name_of(purpose: str, model_hash: bytes, group: int) -> str:
    """Return the name of a sum: what is summed, about which model, of which group."""
    return f"{purpose}-{model_hash.hex()[:32]}-{group}"


def _model_in(name: str) -> str:
    return name.rsplit("-", 2)[1]


def _question_in(name: str) -> str:
    """Return what is summed and about which model, whatever the group."""
    return name.rpartition("-")[0]


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path} is damaged",
        reason="altered",
        hint="remove it; the run then needs another model to go on from: `fedhome server run` anew",
    )
