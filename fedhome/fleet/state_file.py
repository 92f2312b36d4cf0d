"""A home's secret state on disk: one sealed file, replaced whole, and never an older one again.

In the home's folder lie

- ``state.fh``: the home's keys and state, sealed (AES-256-GCM), bound to its name and version;
- ``state.mark``: which version of which home was saved last, sealed under the same key;
- ``state.key``: 32 random bytes that open both, unless a passphrase does. They protect a copy
  of the other two (a backup, a stolen card) only where this file is kept elsewhere.

A save writes both new files beside the old ones, puts the state in place, and then the mark.
In this order a crash in between leaves a state that is **newer** than its mark: it is accepted,
and the mark is brought up to it before anything else happens. (The other order would leave a
mark ahead of the only state that there is, just as a restored backup does.) A state **older**
than the mark, or another one of its version, is a restored backup: ``rolled-back``.

How far this goes: someone who restores state and mark together, from one backup, is not
noticed here, but by the server, which remembers how often the state was saved
(:mod:`fedhome.server.daemon.home_marks`). If it cheats, what then still protects: the committee
opens no bundle a second time in another way, and none with a lower serial than it has opened
(``conflict``), so a mask that was opened stays the only one; and the server's sum numbers
are ahead, so a home set back joins no old manifest unless the server helps. A committee member
set back has forgotten what it opened: it counts among the corrupt ones, of which a committee
tolerates a few.

What was used is gone from the file with the save that says so: there is no log, no older copy,
and what a crash leaves half-written is removed at the next opening. What the medium keeps of
freed blocks is another matter: flash writes every version to other cells (wear levelling),
file systems that copy on write and their snapshots do alike, and overwriting reaches none of
it. Such remains are sealed, but under the key that still lies there. Against someone who takes
the medium apart **and** has the key, only full-disk encryption with its key elsewhere helps.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fedhome.errors import StateError, WireError
from fedhome.keys.sealing import KEY_BYTES, SealedFile, SealingKey
from fedhome.new_folders import make_folder
from fedhome.secagg.directory import HomeKeys
from fedhome.secagg.state import HomeState
from fedhome.store import disk
from fedhome.wire.codec import Digest, Key, Message, octets

STATE, MARK, KEY = "state.fh", "state.mark", disk.HOME_KEY
_HOME, _MARK = "home's state", "mark of a home's state"
_ANEW = (
    "an older copy could use a key twice: enrol the home anew, with new keys (`fedhome reasons "
    "rolled-back` says how)"
)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Inside(Message, label="home-file", most=1 << 26):
    keys: Annotated[bytes, octets(most=512)]
    state: Annotated[bytes, octets(most=1 << 25)]


@dataclass(frozen=True, kw_only=True)
class _Mark(Message, label="mark", most=128):
    identity: Key
    file: Digest


class FileStore(disk.FolderLock):
    """The state of one home in a folder of its own; `create` and `open` make one.

    It locks the folder until it is closed: a second process of the same home, which could use
    a bundle twice, is refused.

    Args:
        folder: The home's folder, on a local disk.
        lock: The folder's file descriptor, from `disk.lock`.
        key: Opens the files.
        keys: The home's keys.
        state: What was saved last.
    """

    def __init__(
        self, folder: Path, lock: int, key: SealingKey, keys: HomeKeys, state: HomeState
    ) -> None:
        self.folder, self.keys, self.state = folder, keys, state
        self._lock, self._key = lock, key
        self._unsure = False

    @property
    def unsure(self) -> bool:
        """Whether a save failed so late that only opening the store anew can help."""
        return self._unsure

    def __repr__(self) -> str:
        return f"FileStore({str(self.folder)!r}, {self.keys.home!r})"

    @classmethod
    def create(
        cls,
        folder: Path | str,
        keys: HomeKeys,
        *,
        state: HomeState | None = None,
        passphrase: str | None = None,
        key_file: Path | str | None = None,
    ) -> FileStore:
        """Make a home's files. A crash before the end leaves no state, and it can be done again.

        Args:
            folder: Made if it is not there.
            keys: The home's keys.
            state: Its first state.
            passphrase: Opens the files from now on; None: a key file does.
            key_file: The key file, by default beside the others. One that exists is used.

        Raises:
            StateError: ``exists``, or as for `open`.
        """
        folder = Path(folder)
        with disk.errors_of(folder):
            make_folder(folder, mode=0o700)
        with ExitStack() as undo:
            lock = disk.lock(folder)
            undo.callback(os.close, lock)
            if (folder / STATE).exists():
                raise StateError(
                    f"{folder} holds the state of a home already",
                    reason="exists",
                    hint="name another folder; one state serves one home, once",
                )
            if passphrase is not None:
                key = SealingKey.from_passphrase(passphrase)
            else:
                path = Path(key_file or folder / KEY)
                if not path.exists():
                    disk.put(path, os.urandom(KEY_BYTES))
                key = SealingKey(disk.read_key(path))
            store = cls(folder, lock, key, keys, state or HomeState())
            sealed = store._seal(store.state)
            # The mark first: nothing depends on this state yet, and a mark alone is no state.
            disk.put(folder / MARK, store._mark(store.state, sealed))
            disk.put(folder / STATE, sealed)
            undo.pop_all()
        return store

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        home: str | None = None,
        passphrase: str | None = None,
        key_file: Path | str | None = None,
    ) -> FileStore:
        """Open a home's files.

        Args:
            folder: Where `create` made them.
            home: The home that they should be of; None: any.
            passphrase: What they were made with.
            key_file: The key file, where it is not beside the others.

        Raises:
            StateError: ``missing``, ``truncated``, ``altered``, ``foreign`` (another kind of
                file, or another home's), ``wrong-key``, ``passphrase`` (needed, or not),
                ``permissions`` (others may read the key), ``rolled-back``, ``in-use``,
                ``not-writable``, ``disk-full``, ``disk``.
        """
        folder = Path(folder)
        with ExitStack() as undo:
            lock = disk.lock(folder)
            undo.callback(os.close, lock)
            store = cls._open(folder, lock, home, passphrase, Path(key_file or folder / KEY))
            undo.pop_all()
        return store

    @classmethod
    def _open(
        cls, folder: Path, lock: int, home: str | None, passphrase: str | None, key_file: Path
    ) -> FileStore:
        data = disk.read(folder / STATE)
        key, keys, state = _read(folder, data, home, passphrase, key_file)
        store = cls(folder, lock, key, keys, state)
        behind = store._behind(data)
        # A folder that cannot be written is reported now, not in the middle of a round; and what a
        # crash left half-written is removed.
        for name in (STATE, MARK):
            disk.stage(folder / name, b"")
            disk.discard(folder / name)
        # The process that renamed the state may have died before that was durable.
        disk.sync(folder)
        if behind:
            disk.put(folder / MARK, store._mark(state, data))
        return store

    def save(self, state: HomeState) -> None:
        """Replace the state durably; a power cut then loses nothing of it.

        Raises:
            StateError: ``disk-full``, ``not-writable`` or ``disk``; ``rolled-back``: the state is
                older than the one before; ``unsure``: a save failed so late that only opening
                the store anew tells what is on the disk; ``closed``.
        """
        if self._lock < 0:
            raise StateError(
                "the home's state is closed", reason="closed", hint="open the store anew"
            )
        if self._unsure:
            raise StateError(
                "what an earlier save left on the disk is not known",
                reason="unsure",
                hint="restart the home: it then goes on from what is on the disk",
            )
        if state == self.state:
            return
        if state.version <= self.state.version:
            raise StateError(
                f"version {state.version} was to be saved after {self.state.version}",
                reason="rolled-back",
                hint="go on from the state that was saved last",
            )
        sealed = self._seal(state)
        # A full disk is met here, before anything has changed.
        new_state = disk.stage(self.folder / STATE, sealed)
        try:
            new_mark = disk.stage(self.folder / MARK, self._mark(state, sealed))
        except StateError:
            disk.discard(self.folder / STATE)
            raise
        self._unsure = True
        disk.commit(new_state, self.folder / STATE)
        disk.commit(new_mark, self.folder / MARK)
        self._unsure, self.state = False, state

    def _seal(self, state: HomeState) -> bytes:
        inside = _Inside(keys=self.keys.to_bytes(), state=state.to_bytes()).to_bytes()
        return self._key.seal(inside, purpose=_HOME, name=self.keys.home, version=state.version)

    def _mark(self, state: HomeState, sealed: bytes) -> bytes:
        mark = _Mark(identity=self.keys.entry().identity, file=hashlib.sha256(sealed).digest())
        return self._key.seal(
            mark.to_bytes(), purpose=_MARK, name=self.keys.home, version=state.version
        )

    def _behind(self, data: bytes) -> bool:
        """Return whether the mark is of an earlier save than the state, and refuse a later one."""
        where = str(self.folder / MARK)
        sealed = SealedFile.from_file(disk.read(self.folder / MARK), purpose=_MARK, where=where)
        try:
            mark = _Mark.from_bytes(self._key.open(sealed, where=where))
        except WireError:
            raise _of_another_release(where) from None
        last, version = sealed.head.version, self.state.version
        same = mark.file == hashlib.sha256(data).digest()
        mine = mark.identity == self.keys.entry().identity
        if not mine or last > version or (last == version and not same):
            raise StateError(
                f"the state of {self.keys.home!r} is not the one that was saved last",
                reason="rolled-back",
                hint=_ANEW,
            )
        return last < version


def _read(
    folder: Path, data: bytes, home: str | None, passphrase: str | None, key_file: Path
) -> tuple[SealingKey, HomeKeys, HomeState]:
    where = str(folder / STATE)
    sealed = SealedFile.from_file(data, purpose=_HOME, where=where)
    key = disk.unlock(sealed, where=where, passphrase=passphrase, key_file=key_file)
    try:
        inside = _Inside.from_bytes(key.open(sealed, where=where))
        keys = HomeKeys.from_bytes(inside.keys)
    except WireError:
        raise _of_another_release(where) from None
    if keys.home != (home or keys.home):
        raise StateError(
            f"{where} is of home {keys.home!r}, not of {home!r}",
            reason="foreign",
            hint="name that home's own folder",
        )
    try:
        return key, keys, HomeState.from_bytes(inside.state)
    except StateError:
        raise _of_another_release(where) from None


def peek(folder: Path | str, *, home: str | None = None) -> HomeState:
    """Return a home's state as it was saved last, to be looked at: without a lock.

    Never go on from it: the process that holds the lock may have saved a newer one by now.

    Raises:
        StateError: As `FileStore.open`, without ``in-use`` and ``rolled-back``.
    """
    folder = Path(folder)
    return _read(folder, disk.read(folder / STATE), home, None, folder / KEY)[2]


def _of_another_release(where: str) -> StateError:
    """Its seal is sound, so this is no damage."""
    return StateError(
        f"{where} is of another kind",
        reason="foreign",
        hint="another release of fedhome wrote it: use that one, or enrol the home anew, with new "
        "keys (`fedhome reasons rolled-back` says how)",
    )
