"""What the fleet's owner keeps: the authority's key, the list of homes, and what was last signed.

In the owner's folder lie

- ``authority.fh``: the key that signs directories, sealed under the owner's passphrase. It never
  leaves the owner: a server that had it could invent homes;
- ``fleet.fh``: the list of homes with their public keys, and the last epoch; not secret;
- ``fleet.pub``: by which homes know their fleet; each gets it by a way that the server does
  not control;
- ``directory.fh``: the last directory, signed: for the server, and through it for the homes;
- ``server/``: what is copied to the server, and nothing else is;
- ``homes/``: keys of homes that were made here, for trials.

The list changes at once, the directory only when the owner signs the next one.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fedhome.enrolment import Anchor, check_name, home_keys
from fedhome.errors import DirectoryError, ParameterError, StateError, WireError
from fedhome.secagg import disk
from fedhome.secagg.directory import MOST_HOMES, Authority, Directory, HomeEntry, ServerKeys
from fedhome.secagg.parameters import Parameters
from fedhome.secagg.sealing import KEY_BYTES, Sealed, SealingKey
from fedhome.secagg.wire import Digest, Key, Message, number, octets, several

AUTHORITY, RECORD, ANCHOR, DIRECTORY = "authority.fh", "fleet.fh", "fleet.pub", "directory.fh"
SERVER, SERVER_FILE, SERVER_KEY, HOMES = "server", "server.fh", "server.key", "homes"
_OWNER_PURPOSE, _SERVER_PURPOSE = "fleet authority's key", "server's key"
_PUBLIC = 0o644


@dataclass(frozen=True, kw_only=True)
class _Record(Message, label="record", most=1 << 25):
    anchor: Annotated[Anchor, Anchor.kind()]
    server: Key
    epoch: Annotated[int, number()]
    homes: Annotated[tuple[HomeEntry, ...], several(HomeEntry.kind(), most=MOST_HOMES)]


@dataclass(frozen=True, kw_only=True)
class _Checked(Message, label="checked", most=1 << 26):
    body: Annotated[bytes, octets(most=1 << 25)]
    hash: Digest  # for a damaged disk; who can write here could make a good one


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A directory that was signed.

    Args:
        directory: What is in it.
        data: As server and homes get it, with the signature.
        changes: What became of each home since the last epoch, for those that changed.
        parameters: Whence the committee's numbers come.
    """

    directory: Directory
    data: bytes
    changes: dict[str, str]
    parameters: Parameters


class Fleet(disk.Locked):
    """The owner's folder; `create` and `open` make one, and it is held until it is closed.

    Args:
        folder: Where it lies.
        lock: The folder's file number, from `disk.lock`.
        record: What ``fleet.fh`` holds.
    """

    def __init__(self, folder: Path, lock: int, record: _Record) -> None:
        self.folder = folder
        self._lock, self._record = lock, record

    def __repr__(self) -> str:
        return f"Fleet({str(self.folder)!r})"

    @property
    def anchor(self) -> Anchor:
        """By which homes know this fleet."""
        return self._record.anchor

    @property
    def epoch(self) -> int:
        """Epoch of the last directory; 0 before the first."""
        return self._record.epoch

    @property
    def homes(self) -> dict[str, HomeEntry]:
        """The homes that will be in the next directory, by name."""
        return {entry.home: entry for entry in self._record.homes}

    @classmethod
    def create(cls, folder: Path | str, passphrase: str) -> Fleet:
        """Make a fleet without homes.

        Args:
            folder: Made if it is not there.
            passphrase: Opens the authority's key from now on.

        Raises:
            StateError: ``exists``; ``passphrase``: too short; or the folder cannot be written.
        """
        folder = Path(folder)
        place = folder / SERVER
        with disk.errors_of(folder):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as undo:
            lock = disk.lock(folder)
            undo.callback(os.close, lock)
            if (folder / RECORD).exists():
                raise StateError(
                    f"{folder} holds a fleet already", reason="exists", hint="name another folder"
                )
            owner = SealingKey.from_passphrase(passphrase)
            authority, server, key = Authority(), ServerKeys(), os.urandom(KEY_BYTES)
            anchor = Anchor(fleet=os.urandom(16), authority=authority.public)
            name = anchor.fleet.hex()
            sealed = owner.seal(authority.to_bytes(), purpose=_OWNER_PURPOSE, name=name)
            disk.put(folder / AUTHORITY, sealed)
            disk.put(place / SERVER_KEY, key)
            sealed = SealingKey(key).seal(server.to_bytes(), purpose=_SERVER_PURPOSE, name=name)
            disk.put(place / SERVER_FILE, sealed)
            for path in (folder / ANCHOR, place / ANCHOR):
                disk.put(path, f"{anchor.to_text()}\n".encode(), mode=_PUBLIC)
            fleet = cls(
                folder, lock, _Record(anchor=anchor, server=server.public, epoch=0, homes=())
            )
            fleet._keep(fleet._record)
            undo.pop_all()
        return fleet

    @classmethod
    def open(cls, folder: Path | str) -> Fleet:
        """Open a fleet; that needs no passphrase, as only signing does.

        Raises:
            StateError: ``missing``, ``altered``, ``in-use``, ``not-readable`` or ``disk``.
        """
        folder = Path(folder)
        with ExitStack() as undo:
            lock = disk.lock(folder)
            undo.callback(os.close, lock)
            if not (folder / RECORD).exists():
                raise StateError(
                    f"there is no fleet in {folder.resolve()}",
                    reason="missing",
                    hint="name its folder with --fleet, or make one with `fedhome fleet init`",
                )
            try:
                checked = _Checked.from_bytes(disk.read(folder / RECORD))
                record = _Record.from_bytes(checked.body)
            except WireError:
                raise _damaged(folder / RECORD) from None
            names = [entry.home for entry in record.homes]
            if hashlib.sha256(checked.body).digest() != checked.hash or len({*names}) < len(names):
                raise _damaged(folder / RECORD)
            fleet = cls(folder, lock, record)
            undo.pop_all()
        return fleet

    def add(self, *entries: HomeEntry, eligible: bool = True) -> None:
        """Put homes on the list: all of them, or none.

        Args:
            entries: As `fedhome.enrolment.read_entry` returns them.
            eligible: Whether they may serve on the committee.

        Raises:
            DirectoryError: ``home-twice`` or ``key-twice``.
        """
        homes = self.homes
        owners = {self._record.server: "the server"}
        owners |= {key: entry.home for entry in homes.values() for key in _keys(entry)}
        for entry in entries:
            check_name(entry.home)
            if entry.home in homes:
                raise _twice(entry.home)
            for key in _keys(entry):
                if key in owners:
                    raise DirectoryError(
                        f"{entry.home!r} and {owners[key]!r} have the same key",
                        reason="key-twice",
                        hint="each home makes its own keys, on its own device",
                    )
                owners[key] = entry.home
            homes[entry.home] = replace(entry, eligible=eligible)
        kept = tuple(homes[home] for home in sorted(homes))
        self._keep(replace(self._record, homes=kept))

    def add_trial(self, *homes: str, eligible: bool = True) -> list[Path]:
        """Put homes on the list whose keys are made here, and return the folders with them.

        For trials: whoever has the owner's folder could then play those homes.

        Raises:
            DirectoryError: ``name``, ``home-twice`` or ``key-twice``.
            StateError: A folder cannot be used.
        """
        for home in homes:
            check_name(home)
            if home in self.homes:
                raise _twice(home)
        folders = [self.folder / HOMES / home for home in homes]
        made = [home_keys(home, folder)[0] for home, folder in zip(homes, folders, strict=True)]
        self.add(*(keys.entry() for keys in made), eligible=eligible)
        return folders

    def revoke(self, home: str) -> None:
        """Take a home off the list: it is left out of the next directory.

        Raises:
            DirectoryError: ``unknown-home``.
        """
        if home not in self.homes:
            raise DirectoryError(
                f"there is no home {home!r} in this fleet",
                reason="unknown-home",
                hint="`fedhome fleet show` lists its homes",
            )
        kept = tuple(entry for entry in self._record.homes if entry.home != home)
        self._keep(replace(self._record, homes=kept))

    def sign(
        self,
        passphrase: str,
        *,
        corrupt: float = 0.1,
        dropped: float = 0.3,
        committee: int | None = None,
    ) -> Issued:
        """Sign the next epoch's directory, and keep it as ``directory.fh``.

        Args:
            passphrase: Opens the authority's key.
            corrupt: Share of homes that may work for an attacker.
            dropped: Share of homes that may be absent when a sum is opened.
            committee: How many homes serve; None: as many as needed.

        Raises:
            StateError: ``wrong-key``, or a file is missing or damaged.
            ParameterError: Too few homes, or no committee keeps its promises.
            DirectoryError: The last directory is not one of this fleet's.
        """
        authority = self._authority(passphrase)
        last = self.last()
        entries = self._record.homes
        parameters = _parameters(entries, corrupt=corrupt, dropped=dropped, committee=committee)
        directory = Directory(
            fleet=self.anchor.fleet,
            epoch=max(self.epoch, last.epoch if last else 0) + 1,
            # Drawn only now: who knew it before could pick names that land on the committee.
            seed=os.urandom(32),
            server=self._record.server,
            committee=parameters.committee,
            corrupt=parameters.corrupt,
            threshold=parameters.threshold,
            homes=entries,
        )
        directory.check()
        data = authority.issue(directory)
        # The epoch first: a crash skips one, and never are two directories of one signed.
        self._keep(replace(self._record, epoch=directory.epoch))
        disk.put(self.folder / DIRECTORY, data, mode=_PUBLIC)
        return Issued(
            directory=directory,
            data=data,
            changes=_changes(last, self.homes),
            parameters=parameters,
        )

    def changes(self) -> dict[str, str]:
        """Return what the next directory will change, by home.

        Raises:
            StateError: ``altered``: the last directory.
            DirectoryError: The last directory is not one of this fleet's.
        """
        return _changes(self.last(), self.homes)

    def last(self) -> Directory | None:
        """Return the directory that was signed last; None before the first.

        Raises:
            StateError: ``altered``.
            DirectoryError: It is not one of this fleet's.
        """
        path = self.folder / DIRECTORY
        if not path.exists():
            return None
        try:
            return Directory.verify(disk.read(path), self.anchor.authority)
        except WireError:
            raise StateError(
                f"{path} is damaged",
                reason="altered",
                hint="fetch a copy from the server, or remove it and sign the next one",
            ) from None

    def _authority(self, passphrase: str) -> Authority:
        path = self.folder / AUTHORITY
        sealed = Sealed.from_file(disk.read(path), purpose=_OWNER_PURPOSE, where=str(path))
        key = disk.unlock(sealed, where=str(path), passphrase=passphrase, key_file=path)
        authority = Authority.from_bytes(key.open(sealed, where=str(path)))
        if authority.public != self.anchor.authority:
            raise StateError(
                f"{path} is another fleet's",
                reason="foreign",
                hint="bring this fleet's own key back from its backup",
            )
        return authority

    def _keep(self, record: _Record) -> None:
        body = record.to_bytes()
        checked = _Checked(body=body, hash=hashlib.sha256(body).digest())
        disk.put(self.folder / RECORD, checked.to_bytes(), mode=_PUBLIC)
        self._record = record


def server_keys(folder: Path | str) -> ServerKeys:
    """Return the keys of a fleet's server, from the folder that the owner copied to it.

    Raises:
        StateError: A file is missing, damaged, foreign, or readable by others.
    """
    path = Path(folder) / SERVER_FILE
    sealed = Sealed.from_file(disk.read(path), purpose=_SERVER_PURPOSE, where=str(path))
    key = disk.unlock(sealed, where=str(path), passphrase=None, key_file=Path(folder) / SERVER_KEY)
    return ServerKeys.from_bytes(key.open(sealed, where=str(path)))


def _parameters(
    entries: tuple[HomeEntry, ...], *, corrupt: float, dropped: float, committee: int | None
) -> Parameters:
    try:
        return Parameters.derive(
            homes=len(entries),
            pool=len(entries),
            eligible=sum(entry.eligible for entry in entries),
            corrupt=corrupt,
            dropped=dropped,
            committee=committee,
        )
    except ParameterError as error:
        hint = error.hint or "add homes with `fedhome fleet add`, then sign the directory"
        raise ParameterError(error.message, reason=error.reason, hint=hint) from None


def _keys(entry: HomeEntry) -> tuple[bytes, bytes]:
    return entry.identity, entry.share


def _twice(home: str) -> DirectoryError:
    return DirectoryError(
        f"there is a home {home!r} already",
        reason="home-twice",
        hint=f"to give it new keys, `fedhome fleet revoke {home}` first",
    )


def _changes(last: Directory | None, now: dict[str, HomeEntry]) -> dict[str, str]:
    before = last.entries if last else {}
    told = {}
    for home in sorted(before.keys() | now.keys()):
        old, new = before.get(home), now.get(home)
        if old is None:
            told[home] = "new"
        elif new is None:
            told[home] = "left out"
        elif _keys(old) != _keys(new):
            told[home] = "new keys"
        elif old.eligible != new.eligible:
            told[home] = "may serve" if new.eligible else "may not serve"
    return told


def _damaged(path: Path) -> StateError:
    return StateError(
        f"{path} is damaged",
        reason="altered",
        hint="bring it back from a backup; the next directory's epoch still rises",
    )
