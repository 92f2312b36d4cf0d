"""A home behind Flower's stock SuperNode, in place of the agent.

``main(folder)`` claims the home's node and becomes ``flower-supernode``. For each message Flower
starts a process, which runs the app that the *server* sent, opens the home's folder while it
answers, and ends. So such a home trusts the server with its device, and a message takes seconds;
the agent (:mod:`fedhome.clients.agent.resident`) runs the installed app and nothing else.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from flwr.app import Context

from fedhome.clients.agent.announce import join
from fedhome.clients.agent.dispatch import machine_of
from fedhome.clients.agent.kept_releases import ReleaseKeeper
from fedhome.clients.agent.known_head import HeadKeeper, known_head
from fedhome.clients.failure_reason import reason_of
from fedhome.clients.home import ClientHome, real_home
from fedhome.clients.membership.carried_tier import carried_tier
from fedhome.clients.membership.consent_record import check_consent
from fedhome.clients.membership.home_folder import CA, UNPACKED, HomeFolder
from fedhome.clients.membership.may_run import check_present
from fedhome.clients.membership.method_state import SealedState
from fedhome.clients.membership.one_place import forget_keys_of_elsewhere
from fedhome.clients.secure_sums import Participant
from fedhome.errors import FedHomeError, RunError, StateError
from fedhome.fleet.state_file import FileStore
from fedhome.flower.node_key import NodeKey
from fedhome.guarded_code import guarded
from fedhome.ops.core_dumps import leave_no_core
from fedhome.ops.listening import free_port
from fedhome.plan.settings import Plan
from fedhome.plan.time_steps import DAY_S
from fedhome.store import disk

HOME = "home"
"""In a node's configuration: the home's folder."""

_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "OMP_NUM_THREADS": "1",  # as in fedhome.clients.agent.worker
}
_log = logging.getLogger("fedhome.supernode")


def home_folder_of(context: Context) -> HomeFolder | None:
    """Return the folder of the home behind a Flower node; None where it names none."""
    folder = context.node_config.get(HOME)
    return None if folder is None else HomeFolder(str(folder))


@contextmanager
def open_store(home_folder: HomeFolder) -> Iterator[FileStore]:
    """Hold a home's keys and state while it takes part; without one-time keys of another place.

    Args:
        home_folder: The home's folder.

    Raises:
        RunError: The home has left, is paused, or nobody agreed to its plan.
        StateError: ``in-use``, or the state cannot be used.
    """
    check_present(home_folder)
    check_consent(home_folder)
    if home_folder.paused:
        raise RunError("the home takes no part for now", hint="`fedhome client resume`")
    with FileStore.open(home_folder.path, home=home_folder.settings.home) as store:
        forget_keys_of_elsewhere(home_folder, store)
        yield store


@contextmanager
def home_at(home_folder: HomeFolder) -> Iterator[ClientHome]:
    """Give the home in a folder for one answer.

    Args:
        home_folder: The home's folder.

    Raises:
        RunError: It takes no part, or its node was never claimed.
        FedHomeError: What else is wrong with it.
    """
    from fedhome.clients.own_readings import source_of  # noqa: PLC0415 - arrow

    leave_no_core()  # the process is Flower's, and was not begun by ours
    settings, directory = home_folder.settings, home_folder.directory
    if directory is None:
        raise RunError(
            "the home's node was never claimed", hint="start it by `fedhome.clients.supernode`"
        )
    with guarded(), open_store(home_folder) as store:
        heads = HeadKeeper(home_folder)
        plan = Plan.load(home_folder.plan_path)
        machine = machine_of(home_folder, store, plan, heads)
        machine.renew(directory)
        _ask_what_is_newest(home_folder, store, heads)
        heads.check()
        part = Participant(machine)
        yield real_home(
            plan,
            source_of(home_folder),
            name=settings.home,
            participant=part,
            reading=settings.reading,
            states=SealedState(home_folder.path, settings.home),
            tier=carried_tier(home_folder, plan).in_use,
        )


def _ask_what_is_newest(home_folder: HomeFolder, store: FileStore, heads: HeadKeeper) -> None:
    """Ask for the newest release once a day: a SuperNode does not connect anew by itself."""
    if heads.now() - known_head(home_folder).time < DAY_S:
        return
    try:
        saves = store.state.version
        ReleaseKeeper(home_folder, store.keys, heads, saves=lambda: saves).update()
    except FedHomeError as error:  # what was said before may still be fresh enough
        _log.warning("no release was taken: %s", error)


def reason_for(error: Exception) -> str:
    """Return the word that the server is told of an error."""
    if isinstance(error, RunError | StateError):
        _log.warning("a question was not answered: %s", error)
        return "no-part"
    return reason_of(error)


def claim(home_folder: HomeFolder) -> NodeKey:
    """Claim the home's node at its server, take the directory, and return the node's key.

    Raises:
        LinkError: The server cannot be reached, or refuses.
        SecAggError: The directory does not hold, or the home's files cannot be used.
    """
    with open_store(home_folder) as store:
        key = home_folder.node_key()
        welcome = join(
            home_folder.settings.server,
            home_folder.authorities,
            fleet=home_folder.anchor.fleet,
            keys=store.keys,
            node=key,
            saves=store.state.version,
        )
        heads = HeadKeeper(home_folder)
        heads.hear(welcome.freshness)
        plan = Plan.load(home_folder.plan_path)
        machine_of(home_folder, store, plan, heads).renew(welcome.directory)
    home_folder.keep_directory(welcome.directory)
    return key


def command(home_folder: HomeFolder, key_path: str) -> list[str]:
    """Return the command line of the SuperNode.

    Args:
        home_folder: The home's folder.
        key_path: File of the node's private key, in OpenSSH's format.

    Raises:
        RunError: Flower's settings cannot name such a folder.
    """
    folder = str(home_folder.path)
    if not folder.isprintable() or set(folder) & set("\"'\\"):
        raise RunError(f"{folder!r} cannot stand in Flower's settings", hint="rename the folder")
    return [
        str(Path(sys.executable).with_name("flower-supernode")),
        "--superlink",
        home_folder.settings.server,
        "--root-certificates",
        str(home_folder.path / CA),
        "--auth-supernode-private-key",
        key_path,
        "--node-config",
        f'{HOME}="{folder}"',
        "--port",
        str(free_port()),
    ]


def main(arguments: Sequence[str]) -> int:
    """Claim the node of a home's folder, and become Flower's SuperNode."""
    home_folder = HomeFolder(Path(arguments[0]))
    key = claim(home_folder)
    with disk.errors_of(home_folder.path):
        (home_folder.path / UNPACKED).mkdir(mode=0o700, exist_ok=True)
    words = command(home_folder, f"/dev/fd/{_readable(_as_ssh(key))}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"PATH": path, "FLWR_HOME": str(home_folder.path / UNPACKED)}
    os.execve(words[0], words, {**_ENVIRONMENT, **os.environ, **own})  # noqa: S606 - Flower's own


def _as_ssh(key: NodeKey) -> bytes:
    """Return a node's key as Flower's SuperNode reads it."""
    return key.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )


def _readable(data: bytes) -> int:
    """Return a descriptor from which a program in this one's place can read: no file is left."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(data)  # less than a pipe holds
    os.set_inheritable(reading, True)  # noqa: FBT003 - it takes no names
    return reading
