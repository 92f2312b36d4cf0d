"""A home's way out of its fleet: what `fedhome client leave` and `forget` do."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedhome.clients.agent.kept_releases import RELEASE_FILE
from fedhome.clients.agent.known_head import HEAD, known_head, newest_root
from fedhome.clients.agent.known_model import KNOWN
from fedhome.clients.agent.release_memory import SEEN
from fedhome.clients.membership.consent_record import CONSENT
from fedhome.clients.membership.home_folder import (
    AGENT,
    ANCHOR,
    AT_HAND,
    CA,
    DIRECTORY,
    LEFT,
    MODEL,
    NODE,
    PAUSED,
    PLAN,
    SETTINGS,
    STATUS,
    UNPACKED,
    HomeFolder,
)
from fedhome.clients.membership.method_state import SealedState
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.membership.server_addresses import addresses_of
from fedhome.clients.recorded.readings_key import FOLDER as READINGS
from fedhome.clients.recorded.readings_key import UNFINISHED
from fedhome.errors import LinkError, RunError, StateError
from fedhome.fleet.front_requests import LEAVE, ask
from fedhome.fleet.leave_notice import leave_notice
from fedhome.fleet.server_move import MOVE
from fedhome.fleet.state_file import KEY, MARK, STATE, FileStore
from fedhome.store import disk

_POLL_S = 0.1
_PATIENCE_S = 30.0  # for the message that an agent is answering

OURS = (
    # In this order: without its key, the state says nothing to whoever finds it on the medium.
    *(KEY, STATE, MARK, NODE),
    *(AT_HAND, DIRECTORY, HEAD, KNOWN, MOVE, STATUS, PAUSED, LEFT),
    *(CONSENT, CA, PLAN, ANCHOR, SETTINGS),
)
"""Every file that fedhome makes in a home's folder; and the models, in a folder of their own.

But for the privacy ledger, which outlives an enrolment: what is spent is spent.
"""


def leave(home_folder: HomeFolder, *, patience_s: float = _PATIENCE_S) -> bool:
    """Leave the fleet: end the agent and notify the server; it can be run again.

    Args:
        home_folder: The home's folder.
        patience_s: How long to wait for the agent's end, s.

    Returns:
        Whether the fleet knew this home.

    Raises:
        StateError: ``in-use``: the agent is still busy.
        LinkError: The server got no notice; the home has left all the same.
    """
    settings = home_folder.settings
    home_folder.left = True
    with _when_free(home_folder, patience_s) as store:
        notice = leave_notice(home_folder.anchor.fleet, store.keys, time.time())
    try:
        _tell(home_folder, notice)
    except LinkError as error:
        if error.reason == "not-listed":
            return False
        raise LinkError(
            f"{settings.home} no longer takes part, but the server was not told: {error.message}",
            reason=error.reason,
            hint=error.hint or "tell it later, by the same command; or tell the fleet's owner",
        ) from None
    return True


def _tell(home_folder: HomeFolder, notice: bytes) -> None:
    """Notify the server, wherever it is.

    Raises:
        LinkError: It got no notice.
    """
    root = newest_root(home_folder, known_head(home_folder))
    *others, last = addresses_of(home_folder, root)
    for address in others:
        try:
            ask(address, home_folder.authorities, LEAVE, notice)
        except LinkError as error:
            if error.reason != "unreachable":
                raise
        else:
            return
    ask(last, home_folder.authorities, LEAVE, notice)


def check_there(home_folder: HomeFolder) -> None:
    """Refuse a folder in which there is nothing of a home.

    Raises:
        RunError: That is so.
    """
    folder = home_folder.path
    if not any((folder / name).exists() for name in (STATE, SETTINGS, KEY)):
        raise RunError(f"there is no home in {folder}", hint="name the home's own folder")


def forget(home_folder: HomeFolder, *, readings: bool = False) -> list[str]:
    """Erase what fedhome has in a home's folder, and the folder if nothing else is in it.

    Args:
        home_folder: The folder.
        readings: Whether its store of readings goes too, which nothing opens without the keys.

    Returns:
        The names of the files that were erased.

    Raises:
        RunError: No home is there; or it has a store of readings, which is to stay.
        StateError: ``in-use``: its agent runs; or a file cannot be erased.
    """
    folder, models = home_folder.path, home_folder.path / MODEL
    check_there(home_folder)
    stores = [folder / name for name in (READINGS, UNFINISHED)]
    if (folder / READINGS).is_dir() and not readings:
        raise RunError(
            f"{folder} has a store of readings, which nothing opens once the keys are erased",
            hint=f"take them out first: `fedhome client inspect {folder} --export FILE.parquet`; "
            "then --readings erases them with the rest",
        )
    ours = [folder / name for name in (*OURS, *_entry_of(home_folder))]
    ours += [models / RELEASE_FILE, *sorted(models.glob(f"*{SEEN}"))]
    own_model = OwnModels(folder, "").path
    ours += [own_model, SealedState(folder, "").path]
    ours += [path for store in stores if store.is_dir() for path in sorted(store.iterdir())]
    data = _data_of(home_folder)
    lock = disk.lock(folder)
    try:
        there = [path for path in ours if path != data and path.exists()]
        for path in ours:
            if path.parent.exists():
                disk.discard(path)
        for path in there:
            with disk.errors_of(path):
                path.unlink()
        with disk.errors_of(folder):
            for name in (UNPACKED, AGENT):
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
        _remove_if_empty(models)
        for place in (own_model.parent, *stores):
            _remove_if_empty(place)
        disk.sync(folder)
        _remove_if_empty(folder)
    finally:
        os.close(lock)
    return [str(path.relative_to(folder)) for path in there]


def _remove_if_empty(folder: Path) -> None:
    with disk.errors_of(folder):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _when_free(home_folder: HomeFolder, patience_s: float) -> Iterator[FileStore]:
    """Open a home's keys once its agent has ended."""
    until = time.monotonic() + patience_s
    while True:
        try:
            store = FileStore.open(home_folder.path, home=home_folder.settings.home)
        except StateError as error:
            if error.reason != "in-use":
                raise
            if time.monotonic() > until:
                raise StateError(
                    "the home's agent is still busy: it ends after the message that it answers",
                    reason="in-use",
                    hint="then run `fedhome client leave` again, to tell the server",
                ) from None
            time.sleep(_POLL_S)
        else:
            with store:
                yield store
            return


def _data_of(home_folder: HomeFolder) -> Path | None:
    try:
        data = home_folder.settings.data
    except RunError:
        return None
    return Path(data) if data else None


def _entry_of(home_folder: HomeFolder) -> list[str]:
    """Return the name of the file that `fedhome fleet keys` leaves."""
    try:
        return [f"{home_folder.settings.home}.entry"]
    except RunError:
        return []
