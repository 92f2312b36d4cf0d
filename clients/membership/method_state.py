"""What a home's method has learnt for it alone, in its folder: one sealed file, replaced whole.

::

    personal/method.fh    sealed by the key that seals the home's state

It is on disk before anything of the same round leaves the home. What lies here never does.
"""

from __future__ import annotations

from pathlib import Path

from fedhome.clients.membership.own_models import FOLDER
from fedhome.errors import StateError
from fedhome.keys.sealing import SealedFile, SealingKey
from fedhome.learning.own_state import OwnState
from fedhome.store import disk

FILE = "method.fh"
_PURPOSE = "home's method"


class SealedState:
    """The file of one home, as :class:`fedhome.learning.own_state.HomeStates`.

    Args:
        folder: The home's folder.
        home: The home's name: a file of another home is refused.
    """

    def __init__(self, folder: Path, home: str) -> None:
        self._home, self._key_path = home, folder / disk.HOME_KEY
        self.path = folder / FOLDER / FILE

    def read(self, home: str) -> OwnState | None:
        """Return what the home keeps; None: nothing yet.

        Raises:
            StateError: The file is damaged, of another home or under another key, or another home
                is asked for.
        """
        _check(self._home, home, str(self.path))
        data = self.read_bytes()
        return OwnState.from_bytes(data) if data else None

    def write(self, home: str, state: OwnState) -> None:
        """Keep it in place of what was.

        Raises:
            StateError: It is too large, or cannot be written; what was kept is untouched then.
        """
        _check(self._home, home, str(self.path))
        self.write_bytes(state.to_bytes())

    def read_bytes(self) -> bytes:
        """Return it as :meth:`OwnState.to_bytes` wrote it; empty: nothing yet.

        Raises:
            StateError: As of `read`.
        """
        return self._read()[0]

    def write_bytes(self, data: bytes) -> None:
        """Keep what :meth:`OwnState.to_bytes` wrote.

        Raises:
            StateError: As of `write`.
        """
        version = self._read()[1]
        with disk.errors_of(self.path.parent):
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        key = SealingKey(disk.read_key(self._key_path))
        disk.put(self.path, key.seal(data, purpose=_PURPOSE, name=self._home, version=version + 1))

    def _read(self) -> tuple[bytes, int]:
        if not self.path.exists():
            return b"", 0
        where = str(self.path)
        try:
            sealed = SealedFile.from_file(disk.read(self.path), purpose=_PURPOSE, where=where)
            _check(sealed.head.name, self._home, where)
            secret = SealingKey(disk.read_key(self._key_path)).open(sealed, where=where)
        except StateError as error:
            if error.reason in {"truncated", "altered", "foreign"}:
                error.hint = f"check the disk, and remove {self.path.name}: the home begins anew"
            raise
        return secret, sealed.head.version


def _check(its: str, home: str, where: str) -> None:
    if its != home:
        raise StateError(f"{where} is of home {its!r}, not of {home!r}", reason="foreign")
