"""Who answered an invite or wants to leave, stored for the fleet's owner, who alone decides.

The server checks what it can, so that mistakes show on the device at once. Nothing depends on
that: the owner checks every enrolment again, and only a directory that the owner signed makes
anybody a home.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fedhome.errors import DirectoryError, SecAggError
from fedhome.fleet.admission import INVITER
from fedhome.fleet.cards import Inviter
from fedhome.fleet.entries import Anchor
from fedhome.fleet.invites import Enrolment, EnrolmentResponse
from fedhome.fleet.issued_directory import keys_of
from fedhome.fleet.leave_notice import Leave
from fedhome.fleet.owner_folder import DIRECTORY
from fedhome.fleet.owner_requests import (
    MOST_PENDING,
    PENDING,
    TAKE,
    OwnerPermit,
    OwnerRequest,
    PendingApplications,
)
from fedhome.secagg.directory import Directory
from fedhome.secagg.home_entry import HomeEntry
from fedhome.server.daemon.cached_file import CachedFile
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.store import disk

FOLDER = "enrolments"
"""Their folder in the server's folder."""

_ENROLMENT, _NOTICE = ".enrolment", ".leave"
_USED = ".used"
"""An enrolment whose device became a home: until its invite expires, nobody comes by it again."""


class Applications:
    """Answers homes that join and leave, and the owner.

    Args:
        server_folder: The server's folder.
        clock: Unix time, s.
    """

    def __init__(self, server_folder: ServerFolder, clock: Callable[[], float] = time.time) -> None:
        self._server_folder, self._clock = server_folder, clock
        self._folder = server_folder.path / FOLDER
        self._cached_directory = CachedFile(
            server_folder.fleet / DIRECTORY, server_folder.directory
        )

    def enrol(self, body: bytes) -> bytes:
        """Store a device's enrolment for the owner; the same one again changes nothing.

        A later one of the same device that names another tier takes its place.

        Args:
            body: As `Invite.enrolment` wrote it.

        Returns:
            An `EnrolmentResponse`.

        Raises:
            SecAggError: A reason of `Enrolment.verify`; ``home-twice``: the home has other keys;
                ``used``: the invite was used with other keys, or by a home that was revoked since;
                ``clock``; ``full``.
        """
        now = self._clock()
        enrolment = Enrolment.verify(body, self._inviter(), self._server_folder.anchor.fleet, now)
        home, keys = enrolment.home, keys_of(enrolment.entry)
        directory = self._directory()
        if directory is not None and home in directory.entries:
            if keys_of(directory.entries[home]) == keys:
                return EnrolmentResponse(admitted=True).to_bytes()
            raise DirectoryError(
                f"the fleet has a home {home!r} already, with other keys",
                reason="home-twice",
                hint="to give it new keys, the owner takes it off the list, where it still is "
                f"(`fedhome fleet revoke {home}`), and signs that: `fedhome fleet directory`",
            )
        path = self._folder / f"{enrolment.ticket.hex()}{_ENROLMENT}"
        if (earlier := self._read(path, now)) is not None:
            if keys_of(earlier.entry) == keys:
                if earlier.entry != enrolment.entry and enrolment.time >= earlier.time:
                    enrolment.check_time(now)
                    self._write(path, body)  # the same device, which carries another slice
                return EnrolmentResponse(admitted=False).to_bytes()
            raise DirectoryError(
                f"the invite of {home!r} was used by another device",
                reason="used",
                hint="if that was not you, tell the fleet's owner: somebody has read the invite",
            )
        enrolment.check_time(now)
        if self._read(path.with_suffix(_USED), now) is not None:
            raise DirectoryError(
                f"the invite of {home!r} was used, and its home is not in the fleet any more",
                reason="used",
                hint=f"ask the fleet's owner for a new one: `fedhome fleet invite {home}`",
            )
        self._make_room(now, directory)
        self._write(path, body)
        with disk.errors_of(self._folder):
            self._notice(home).unlink(missing_ok=True)  # it is back before the owner saw the notice
        return EnrolmentResponse(admitted=False).to_bytes()

    def leave(self, body: bytes) -> bytes:
        """Store a home's notice that it wants to leave.

        Args:
            body: As `leave_notice` wrote it.

        Raises:
            SecAggError: A reason of `Leave.verify`, or ``clock``.
        """
        now, directory = self._clock(), self._directory()
        entries = [one.entry for one in self._waiting(now, directory)]
        entries += directory.homes if directory else ()
        notice = Leave.verify(body, self._server_folder.anchor.fleet, *entries)
        notice.check_time(now)
        self._write(self._notice(notice.home), body)
        return b""

    def owner(self, body: bytes) -> bytes:
        """Answer the owner: who waits; or accept a directory from the owner.

        Args:
            body: As `OwnerRequest.sign` wrote it.

        Returns:
            A `PendingApplications`; or nothing.

        Raises:
            SecAggError: A reason of `OwnerRequest.verify` or of `Directory.verify`; ``request``: it
                asks for something else.
        """
        now, anchor = self._clock(), self._server_folder.anchor
        request = OwnerRequest.verify(body, self._inviter(), anchor.fleet, now)
        if request.what == PENDING:
            return self._pending(now).to_bytes()
        if request.what == TAKE:
            self._accept_directory(request.body, anchor, now)
            return b""
        raise DirectoryError(
            "the owner asks for something that this server does not know",
            reason="request",
            hint="update the older one of server and owner: both must run the same release",
        )

    def permit(self, text: bytes) -> int:
        """Return how many bytes the owner is about to send.

        Args:
            text: As `OwnerPermit.sign` wrote it.

        Raises:
            SecAggError: A reason of `OwnerPermit.verify`.
        """
        fleet = self._server_folder.anchor.fleet
        return OwnerPermit.verify(text, self._inviter(), fleet, self._clock()).size

    def _pending(self, now: float) -> PendingApplications:
        directory = self._directory()
        waiting = list(self._waiting(now, directory))
        return PendingApplications(
            epoch=directory.epoch if directory else 0,
            enrolments=tuple(one.data for one in waiting)[:MOST_PENDING],
            notices=tuple(self._notices(waiting, directory).values())[:MOST_PENDING],
        )

    def _accept_directory(self, data: bytes, anchor: Anchor, now: float) -> None:
        current = self._directory()
        last = (current.epoch, current.hash) if current else None
        # From the keys under which the last one was signed: those before them speak no more.
        root = anchor.root
        if current is not None:
            path = self._server_folder.fleet / DIRECTORY
            root = Directory.verify_under(disk.read(path), root)[1] or root
        directory = Directory.verify(data, root, last=last)
        if directory.fleet != anchor.fleet:
            raise DirectoryError("the directory is one of another fleet", reason="fleet")
        if directory.server != self._server_folder.keys().public:
            raise DirectoryError(
                "the directory names another server's key",
                reason="server",
                hint="copy the owner's folder server/ to this server again, as fleet/",
            )
        if current is None or directory.epoch > current.epoch:
            disk.put(self._server_folder.fleet / DIRECTORY, data)
        self._sweep(now, directory)

    def _make_room(self, now: float, directory: Directory | None) -> None:
        if len(self._paths(_ENROLMENT)) < MOST_PENDING:
            return
        self._sweep(now, directory)
        if (waiting := len(self._paths(_ENROLMENT))) >= MOST_PENDING:
            raise DirectoryError(
                f"{waiting} homes wait for the fleet's owner already",
                reason="full",
                hint="the owner admits them with `fedhome fleet admit`",
            )

    def _sweep(self, now: float, directory: Directory | None) -> None:
        """Remove what nobody waits for any longer."""
        waiting = list(self._waiting(now, directory))
        needed = {self._folder / f"{one.ticket.hex()}{_ENROLMENT}" for one in waiting}
        needed |= self._notices(waiting, directory).keys()
        for path in self._paths(_ENROLMENT, _NOTICE, _USED):
            if path in needed:
                continue
            enrolment = self._read(path, now) if path.suffix != _NOTICE else None
            with disk.errors_of(path):
                if enrolment is None:
                    path.unlink(missing_ok=True)
                elif directory is not None and _is_home(enrolment, directory):
                    path.replace(path.with_suffix(_USED))
                elif path.suffix != _USED:
                    path.unlink(missing_ok=True)

    def _waiting(self, now: float, directory: Directory | None) -> Iterator[Enrolment]:
        """Yield the enrolments that hold, of homes that are not in the directory."""
        listed = directory.entries if directory else {}
        for path in self._paths(_ENROLMENT):
            enrolment = self._read(path, now)
            if enrolment is not None and enrolment.home not in listed:
                yield enrolment

    def _read(self, path: Path, now: float) -> Enrolment | None:
        """Return the enrolment in a file; None if it holds none, or an expired one."""
        try:
            return Enrolment.verify(
                disk.read(path), self._inviter(), self._server_folder.anchor.fleet, now
            )
        except SecAggError:
            return None

    def _notices(self, waiting: list[Enrolment], directory: Directory | None) -> dict[Path, bytes]:
        """Return the notices of homes that are listed, or wait to be, by their files."""
        entries = [one.entry for one in waiting]
        entries += directory.homes if directory else ()
        entries_by_path: dict[Path, list[HomeEntry]] = {}
        for entry in entries:
            entries_by_path.setdefault(self._notice(entry.home), []).append(entry)
        notices = {}
        for path in self._paths(_NOTICE):
            try:
                data = disk.read(path)
                Leave.verify(data, self._server_folder.anchor.fleet, *entries_by_path.get(path, ()))
            except SecAggError:
                continue
            notices[path] = data
        return notices

    def _write(self, path: Path, data: bytes) -> None:
        with disk.errors_of(self._folder):
            self._folder.mkdir(mode=0o700, exist_ok=True)
        disk.put(path, data)

    def _paths(self, *endings: str) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.suffix in endings)

    def _notice(self, home: str) -> Path:
        return self._folder / f"{hashlib.sha256(home.encode()).hexdigest()}{_NOTICE}"

    def _directory(self) -> Directory | None:
        """Return the directory that the server has; a fleet begins without."""
        there = (self._server_folder.fleet / DIRECTORY).exists()
        return self._cached_directory() if there else None

    def _inviter(self) -> bytes:
        data = disk.read(self._server_folder.fleet / INVITER)
        return Inviter.read_public(data.decode(errors="replace"))


def _is_home(enrolment: Enrolment, directory: Directory) -> bool:
    """Whether the device that enrolled is the home that a directory lists."""
    listed = directory.entries.get(enrolment.home)
    return listed is not None and keys_of(listed) == keys_of(enrolment.entry)
