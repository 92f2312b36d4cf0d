"""A home's own model and the one before it, in its folder: one sealed file, replaced whole.

::

    personal/model.fh    both, sealed by the key that seals the home's state

Both lie in one file, so that no crash can come between them: a reader finds the old pair or the new
one. What lies here never leaves the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fedhome.errors import StateError, WireError
from fedhome.keys.sealing import SealedFile, SealingKey
from fedhome.store import disk
from fedhome.wire.codec import Message, octets

FOLDER, FILE = "personal", "model.fh"
MOST_BYTES = 1 << 24
"""A model of one home is no greater than 16 MiB: a sealed file takes two."""
_PURPOSE = "home's own models"
_MOST = MOST_BYTES


@dataclass(frozen=True, kw_only=True, repr=False)
class _Pair(Message, label="own-models", most=(2 * MOST_BYTES) + 1024):
    current: Annotated[bytes, octets(most=_MOST)]
    before: Annotated[bytes, octets(most=_MOST)]  # empty: there is none


class OwnModels:
    """The models that a home keeps for itself.

    Args:
        folder: The home's folder.
        home: The home's name: a file of another home is refused.
    """

    def __init__(self, folder: Path, home: str) -> None:
        self._folder, self._home = folder / FOLDER, home
        self._path = self._folder / FILE
        self._key_path = folder / disk.HOME_KEY

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def read(self) -> bytes | None:
        """Return the model in use; None before the first.

        Raises:
            StateError: ``truncated``, ``altered``, ``foreign`` (another kind of file, or another
                home's), ``wrong-key``, ``missing`` (the key) or as of `disk.read`.
        """
        pair = self._read()[0]
        return None if pair is None else pair.current

    def replace(self, model: bytes, *, over: bytes | None = None) -> None:
        """Put another model in use; the one that was stays beside it, for `roll_back`.

        Args:
            model: At most :data:`MOST_BYTES`.
            over: The model that it is to replace, and no other; None: whichever is in use.

        Raises:
            StateError: ``size``; ``in-use``: another process is at it, or has put another one in
                use; or as of `read` and `disk.put`. What was kept is untouched then.
        """
        if not 0 < len(model) <= MOST_BYTES:
            raise StateError(
                f"a model of {len(model):,} bytes was to be kept: at most {MOST_BYTES:,} are",
                reason="size",
                hint="fewer experts (personalise.experts), or a smaller network, make it smaller",
            )
        with self._held():
            pair, version = self._read()
            before = b"" if pair is None else pair.current
            if over is not None and over != before:
                raise StateError(
                    f"home {self._home!r} has another model of its own by now",
                    reason="in-use",
                    hint="it stays; do it again",
                )
            self._write(_Pair(current=model, before=before), version + 1)

    def roll_back(self) -> None:
        """Put the model before in use; a second time goes back to the later one.

        Raises:
            StateError: ``missing``: there is none before; or as of `replace`.
        """
        with self._held():
            pair, version = self._read()
            if pair is None or not pair.before:
                what = "no model of its own yet" if pair is None else "one model of its own alone"
                raise StateError(
                    f"home {self._home!r} keeps {what}: there is none to go back to",
                    reason="missing",
                    hint="a run that ends with a better one keeps both",
                )
            self._write(_Pair(current=pair.before, before=pair.current), version + 1)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder, so that an agent and a command do not write at once."""
        with disk.errors_of(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = disk.lock(self._folder)
        try:
            yield
        finally:
            os.close(lock)

    def _read(self) -> tuple[_Pair | None, int]:
        if not self._path.exists():
            return None, 0
        where = str(self._path)
        with _hinting():
            sealed = SealedFile.from_file(disk.read(self._path), purpose=_PURPOSE, where=where)
        if sealed.head.name != self._home:
            raise StateError(
                f"{where} is of home {sealed.head.name!r}, not of {self._home!r}",
                reason="foreign",
                hint="bring this home's own file back, or remove it: the next run makes one",
            )
        with _hinting():
            secret = self._key().open(sealed, where=where)
        try:
            return _Pair.from_bytes(secret), sealed.head.version
        except WireError:  # its seal is sound, so this is no damage
            raise StateError(
                f"{where} is of another kind",
                reason="foreign",
                hint="another release of fedhome wrote it: use that one, or remove the file",
            ) from None

    def _write(self, pair: _Pair, version: int) -> None:
        sealed = self._key().seal(
            pair.to_bytes(), purpose=_PURPOSE, name=self._home, version=version
        )
        disk.put(self._path, sealed)

    def _key(self) -> SealingKey:
        return SealingKey(disk.read_key(self._key_path))


@contextmanager
def _hinting() -> Iterator[None]:
    """Say what to do about a damaged file: unlike a home's state, it can be made anew."""
    try:
        yield
    except StateError as error:
        if error.reason in {"truncated", "altered"}:
            error.hint = "check the disk, and remove the file: the next run makes one"
        raise
