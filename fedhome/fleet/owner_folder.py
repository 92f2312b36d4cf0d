"""What the fleet's owner keeps: the authority's key, the list of homes, and what was last signed.

In the owner's folder lie

- ``authority.fh``: the key that signs directories, sealed under the owner's passphrase. It never
  leaves the owner: a server that had it could invent homes;
- ``inviter.key``: the everyday key that signs invites and requests to the server, not sealed;
- ``fleet.fh``: the list of homes with their public keys, and the last epoch; not secret;
- ``tickets.fh``: the invites that were given out, and which can still be used; not secret;
- ``plan.toml``, ``server.card``: what the next invite says about plan and server;
- ``fleet.pub``: by which homes know their fleet; each gets it over a channel that the server does
  not control;
- ``directory.fh``: the last directory, signed: for the server, and through it for the homes;
- ``server/``: what is copied to the server, and nothing else is;
- ``homes/``: keys of homes that were made here, for trials.

The list changes at once, the directory only when the owner signs the next one.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fedhome.errors import DirectoryError, StateError, WireError
from fedhome.fleet import server_secret
from fedhome.fleet.admission import SERVER, Admission, home_twice_error
from fedhome.fleet.alike_names import check_apart
from fedhome.fleet.entries import Anchor, check_name, home_keys
from fedhome.fleet.issued_directory import (
    IssuedDirectory,
    changes_between,
    keys_of,
    parameters_for,
    validity_s,
)
from fedhome.fleet.owner_keys import (
    AUTHORITY,
    DIRECTORY_DRAFT,
    OWNER_PURPOSE,
    SIGNED,
    OwnersKeys,
)
from fedhome.keys.sealing import SealingKey
from fedhome.new_folders import make_folder
from fedhome.secagg.directory import MOST_HOMES, NO_DIRECTORY, Authority, Directory
from fedhome.secagg.home_entry import HomeEntry
from fedhome.secagg.parameters import Parameters
from fedhome.store import checksummed, disk
from fedhome.wire.codec import Key, Message, number, several

RECORD, ANCHOR, DIRECTORY, HOMES = "fleet.fh", "fleet.pub", SIGNED, "homes"
PLAN, CARD = "plan.toml", "server.card"
_PUBLIC = 0o644


@dataclass(frozen=True, kw_only=True)
class _Record(Message, label="record", most=1 << 25):
    anchor: Annotated[Anchor, Anchor.kind()]
    server: Key
    epoch: Annotated[int, number()]
    homes: Annotated[tuple[HomeEntry, ...], several(HomeEntry.kind(), most=MOST_HOMES)]


class Fleet(Admission, OwnersKeys, disk.FolderLock):
    """The owner's folder; `create` and `open` return one, which is locked until it is closed.

    Args:
        folder: Its path.
        lock: The folder's file descriptor, from `disk.lock`.
        record: What ``fleet.fh`` holds.
    """

    def __init__(self, folder: Path, lock: int, record: _Record) -> None:
        super().__init__(folder)
        self._lock, self._record = lock, record

    def __repr__(self) -> str:
        return f"Fleet({str(self.folder)!r})"

    @property
    def anchor(self) -> Anchor:
        """By which homes that join now know this fleet."""
        return self._record.anchor.following(self.root)

    @property
    def first_anchor(self) -> Anchor:
        """By which the fleet's first homes know it."""
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
        server_part = folder / SERVER
        with disk.errors_of(folder):
            for part in (folder, server_part):
                make_folder(part, mode=0o700)
        with ExitStack() as undo:
            lock = disk.lock(folder)
            undo.callback(os.close, lock)
            if (folder / RECORD).exists():
                raise StateError(
                    f"{folder} holds a fleet already", reason="exists", hint="name another folder"
                )
            owner = SealingKey.from_passphrase(passphrase)
            authority = Authority()
            anchor = Anchor(fleet=os.urandom(16), authority=authority.public)
            private, name = authority.to_bytes(), anchor.fleet.hex()
            sealed = owner.seal(private, purpose=OWNER_PURPOSE, name=name)
            disk.put(folder / AUTHORITY, sealed)
            server = server_secret.create(server_part, fleet=anchor.fleet)
            for path in (folder / ANCHOR, server_part / ANCHOR):
                disk.put(path, f"{anchor.to_text()}\n".encode(), mode=_PUBLIC)
            fleet = cls(
                folder, lock, _Record(anchor=anchor, server=server.public, epoch=0, homes=())
            )
            fleet._write_record(fleet._record)
            fleet.renew_inviter()
            undo.pop_all()
        return fleet

    @classmethod
    def open(cls, folder: Path | str) -> Fleet:
        """Open a fleet; that needs no passphrase, as only signing does.

        Raises:
            StateError: ``missing``, ``altered``, ``in-use``, ``not-readable`` or ``disk``.
        """
        folder = Path(folder)
        none_there = StateError(
            f"there is no fleet in {folder.resolve()}",
            reason="missing",
            hint="name its folder with --fleet, or make one with `fedhome fleet init`",
        )
        with disk.errors_of(folder):
            if not folder.exists():
                raise none_there
        with ExitStack() as undo:
            lock = disk.lock(folder)
            undo.callback(os.close, lock)
            if not (folder / RECORD).exists():
                raise none_there
            record = checksummed.read(folder / RECORD, _Record)
            names = [entry.home for entry in record.homes]
            if len({*names}) < len(names):
                raise checksummed.damaged_error(folder / RECORD)
            fleet = cls(folder, lock, record)
            undo.pop_all()
        return fleet

    def add(self, *entries: HomeEntry, eligible: bool = True) -> None:
        """Put homes on the list: all of them, or none.

        Args:
            entries: As `fedhome.fleet.entries.read_entry` returns them.
            eligible: Whether they may serve on the committee.

        Raises:
            DirectoryError: ``home-twice``, ``name-alike`` or ``key-twice``.
        """
        homes = self.homes
        check_apart((entry.home for entry in entries), homes)
        owners = {self._record.server: "the server"}
        owners |= {key: entry.home for entry in homes.values() for key in keys_of(entry)}
        for entry in entries:
            check_name(entry.home)
            if entry.home in homes:
                raise home_twice_error(entry.home)
            for key in keys_of(entry):
                if key in owners:
                    raise DirectoryError(
                        f"{entry.home!r} and {owners[key]!r} have the same key",
                        reason="key-twice",
                        hint="each home makes its own keys, on its own device",
                    )
                owners[key] = entry.home
            homes[entry.home] = replace(entry, eligible=eligible)
        self._relist(homes)

    def _relist(self, homes: dict[str, HomeEntry]) -> None:
        """Write the list of homes."""
        ordered = tuple(homes[home] for home in sorted(homes))
        self._write_record(replace(self._record, homes=ordered))

    def add_trial(self, *homes: str, eligible: bool = True) -> list[Path]:
        """Put homes on the list whose keys are made here, and return the folders with them.

        For trials: whoever has the owner's folder could then play those homes.

        Raises:
            DirectoryError: ``name``, ``home-twice``, ``name-alike`` or ``key-twice``.
            StateError: A folder cannot be used.
        """
        for home in homes:
            check_name(home)
            if home in self.homes:
                raise home_twice_error(home)
        check_apart(homes, self.homes)
        folders = [self.folder / HOMES / home for home in homes]
        keys_of_homes = [
            home_keys(home, folder)[0] for home, folder in zip(homes, folders, strict=True)
        ]
        self.add(*(keys.entry() for keys in keys_of_homes), eligible=eligible)
        return folders

    def revoke(self, home: str) -> None:
        """Take a home off the list, and cancel its invite: the next directory leaves it out.

        Raises:
            DirectoryError: ``unknown-home``: neither on the list nor invited.
        """
        if home not in self.homes and home not in self.open_invites:
            raise DirectoryError(
                f"there is no home {home!r} in this fleet",
                reason="unknown-home",
                hint="`fedhome fleet show` lists its homes",
            )
        # First, so that after a crash in between the home is still listed, and revoked again.
        self._tickets.close(home, now=time.time())
        self._relist({name: entry for name, entry in self.homes.items() if name != home})

    def sign(
        self,
        passphrase: str,
        *,
        corrupt: float = 0.1,
        dropped: float = 0.3,
        committee: int | None = None,
        min_cohort: int | None = None,
        days: float | None = None,
        after: int = 0,
    ) -> IssuedDirectory:
        """Sign the next epoch's directory, and keep it as ``directory.fh``.

        Args:
            passphrase: Opens the authority's key.
            corrupt: Share of homes that may work for an attacker.
            dropped: Share of homes that may be absent when a sum is opened.
            committee: How many homes serve; None: as many as needed.
            min_cohort: Fewest homes in any sum, as the homes' plan says; None: five.
            days: How long it holds; None: as long as the last one, or `DIRECTORY_DAYS`.
            after: An epoch that it has to be above: homes may have seen it without this folder.

        Raises:
            StateError: ``wrong-key``, or a file is missing or damaged.
            ParameterError: Too few homes, or no committee keeps its promises.
            DirectoryError: The last directory is not one of this fleet's.
        """
        authority = self.own_key(passphrase)
        last = self.last()
        entries = self._record.homes
        parameters = self.parameters(
            corrupt=corrupt, dropped=dropped, committee=committee, min_cohort=min_cohort
        )
        now = int(time.time())
        directory = Directory(
            fleet=self.anchor.fleet,
            epoch=self._next_epoch(last, after),
            previous=last.hash if last else NO_DIRECTORY,
            issued=now,
            expires=now + validity_s(last, days),
            # Drawn only now: whoever knew it before could pick names that land on the committee.
            seed=os.urandom(32),
            server=self._record.server,
            committee=parameters.committee,
            corrupt=parameters.corrupt,
            threshold=parameters.threshold,
            homes=entries,
        )
        directory.check()
        data, whole = self.issue(authority, directory)
        # The epoch first: a crash skips one, and no two directories of one epoch are ever signed.
        self._write_record(replace(self._record, epoch=directory.epoch))
        disk.put(self.folder / (DIRECTORY if whole else DIRECTORY_DRAFT), data, mode=_PUBLIC)
        return IssuedDirectory(
            directory=directory,
            data=data,
            whole=whole,
            changes=changes_between(last, self.homes),
            parameters=parameters,
        )

    def _next_epoch(self, last: Directory | None, after: int) -> int:
        """Return the next directory's number: the next one, if it follows what homes have.

        Where that is not known (a crash came in between, the last directory is gone, somebody else
        has signed one) a number is left out: homes take it for one that they have missed.
        """
        known = max(self.epoch, last.epoch if last else 0)
        follows = last.epoch == known if last else known == 0
        return known + 1 if follows and after <= known else max(known, after) + 2

    def parameters(
        self,
        *,
        corrupt: float = 0.1,
        dropped: float = 0.3,
        committee: int | None = None,
        min_cohort: int | None = None,
    ) -> Parameters:
        """Return the committee's numbers that the next directory would have; see `sign`.

        Raises:
            ParameterError: Too few homes, or no committee keeps its promises.
        """
        return parameters_for(
            self._record.homes,
            corrupt=corrupt,
            dropped=dropped,
            committee=committee,
            min_cohort=min_cohort,
        )

    def changes(self) -> dict[str, str]:
        """Return what the next directory will change, by home.

        Raises:
            StateError: ``altered``: the last directory.
            DirectoryError: The last directory is not one of this fleet's.
        """
        return changes_between(self.last(), self.homes)

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
            return Directory.verify(disk.read(path), self.first_anchor.root)
        except WireError:
            raise StateError(
                f"{path} is damaged",
                reason="altered",
                hint="fetch a copy from the server, or remove it and sign the next one",
            ) from None

    def renew_server(self) -> None:
        """Make a new key for the server: the next directory names it, and counts no other.

        Raises:
            StateError: A file cannot be written.
        """
        server = server_secret.renew(self.folder / SERVER, fleet=self.anchor.fleet)
        self._write_record(replace(self._record, server=server.public))

    def _write_record(self, record: _Record) -> None:
        checksummed.put(self.folder / RECORD, record)
        self._record = record
