"""A home's folder on its device: what its owner set, and what it must not forget.

::

    home.toml       server, data, and the name of the home
    plan.toml       the plan that it takes part in; no server changes it
    fleet.pub       by which it knows its fleet
    ca.pem          the authority of the server's certificate
    directory.fh    the fleet's directory, as it last came and held
    move.fh         where the owner says that the server moves (:mod:`.server_addresses`)
    known.fh        what its model is (:mod:`fedhome.clients.agent.known_model`)
    head.fh         what the server has said to be newest (:mod:`fedhome.clients.agent.known_head`)
    node.key        by which Flower knows its node; made anew in a copy, and after a reboot
    at-hand         the message that is being answered, without its content
    paused, left    there while the home takes no part: for now, or for good
    status.json     what the agent did last, for `fedhome client status`
    agent/          where a running agent says so itself (:mod:`fedhome.clients.agent.status_door`)
    privacy.fh      what sums have cost it in privacy (:mod:`fedhome.privacy.privacy_ledger`)
    model/          the fleet's (:mod:`fedhome.clients.agent.kept_releases`)
    personal/       its own model (:mod:`.own_models`), and what its method has learnt for it alone
                    (:mod:`.method_state`), sealed
    readings/       its readings as they arrive, sealed (:mod:`fedhome.clients.recorded`); where it
                    is there, it is read in place of ``data``
    consent.json    what its people agreed to (:mod:`fedhome.clients.membership.consent_record`)
    state.fh, ...   keys and state, sealed (:mod:`fedhome.fleet.state_file`)
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedhome.denied import paths_told
from fedhome.errors import RunError
from fedhome.store import disk
from fedhome.store.settings_file import read_settings, write_settings

if TYPE_CHECKING:  # 50 MB with Flower, for what looks after a device's settings or readings alone
    from fedhome.fleet.entries import Anchor
    from fedhome.flower.node_key import NodeKey
    from fedhome.plan.settings import Plan

SETTINGS, PLAN, ANCHOR, CA = "home.toml", "plan.toml", "fleet.pub", "ca.pem"
DIRECTORY, NODE, AT_HAND = "directory.fh", "node.key", "at-hand"
UNPACKED = "flower"  # where a stock SuperNode unpacks the server's app
MODEL = "model"
PAUSED, LEFT, STATUS, AGENT = "paused", "left", "status.json", "agent"
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # drawn at each start of a machine; Linux alone


@dataclass(frozen=True, kw_only=True)
class HomeSettings:
    """What the home's owner set.

    Args:
        home: Name of the home in its fleet.
        server: ``host:port`` of the server's front.
        data: File or folder of the home's readings; empty: it records them from the first on.
        worker_idle_s: After how long without work the worker ends, which learns from them.
        worker_nice: By how much the worker stands back behind other processes, 0 to 19.
        train_below_c: Training waits while the device is hotter, °C; 0: it does not matter.
        train_below_load: Training waits while more processes than these run or wait to run on it,
            for each processor; 0: it does not matter.
        privacy_ceiling: Greatest epsilon that all runs together may cost it; 0: its plan's.
        reading: How its files are to be read, where that differs from the plan: settings of
            :class:`fedhome.plan.reading_settings.ReadingSettings`, by name.
        keep_days: How long its store of readings keeps them, days; 0: for ever.
        tier: Which slice of the model its device carries at most, by the name of the plan's tier;
            empty: whichever the fleet's owner has signed.
    """

    home: str
    server: str
    data: str
    worker_idle_s: float = 120.0
    worker_nice: int = 10
    train_below_c: float = 80.0
    train_below_load: float = 0.0
    privacy_ceiling: float = 0.0
    reading: Mapping[str, Any] = field(default_factory=dict)
    keep_days: float = 0.0
    tier: str = ""

    def __post_init__(self) -> None:
        amount = (int, float), inf, "a number from 0 up"
        faults = [
            f"{name} is {value!r}, and has to be {what}"
            for name, value, kinds, most, what in (
                ("worker_nice", self.worker_nice, int, 19, "a whole number from 0 to 19"),
                ("train_below_c", self.train_below_c, *amount),
                ("train_below_load", self.train_below_load, *amount),
            )
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= most
        ]
        if faults:
            raise TypeError("; ".join(faults))


@dataclass(frozen=True, kw_only=True)
class HomeStatus:
    """What a home's agent does.

    Args:
        state: ``waiting`` (for the server, or to be admitted), ``connected``, ``paused`` or
            ``stopped``.
        detail: One sentence more; no private data.
        reason: The word for what keeps it from taking part (:mod:`fedhome.reasons`); or empty.
        disk: Why the disk does not take this status; empty where it does.
        process: The agent's process.
        epoch: Epoch of the fleet's directory that it has; 0 for none.
        answered: Messages answered since it was started.
        last: What was answered last, such as ``train``.
        last_time: When, Unix time in s; 0 for never.
        time: When this was written, Unix time in s.
    """

    state: str
    detail: str = ""
    reason: str = ""
    disk: str = ""
    process: int = 0
    epoch: int = 0
    answered: int = 0
    last: str = ""
    last_time: float = 0.0
    time: float = field(default_factory=time.time)


class HomeFolder:
    """A home's folder.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path | str) -> None:
        with paths_told(RunError, Path(folder)):
            self.path = Path(folder).resolve()

    def fill(
        self, settings: HomeSettings, *, plan: Plan, anchor: Anchor, authorities: bytes
    ) -> None:
        """Write what the home needs beside its keys.

        Args:
            settings: What the owner set.
            plan: The plan that it takes part in.
            anchor: By which it knows its fleet.
            authorities: Certificates that the server's is checked against, PEM.

        Raises:
            StateError: The folder cannot be written.
        """
        disk.put(self.path / PLAN, plan.to_toml().encode())
        disk.put(self.path / ANCHOR, f"{anchor.to_text()}\n".encode())
        disk.put(self.path / CA, authorities)
        self.change_settings(settings)

    @property
    def settings(self) -> HomeSettings:
        """What the owner set.

        Raises:
            RunError: There is no home in this folder, or its settings are damaged.
        """
        return read_settings(self.path / SETTINGS, HomeSettings, made_by="fedhome client join")

    def change_settings(self, settings: HomeSettings) -> None:
        """Write what the owner set anew.

        Raises:
            StateError: The folder cannot be written.
        """
        write_settings(self.path / SETTINGS, settings)

    @property
    def plan_path(self) -> Path:
        """The plan's file."""
        return self.path / PLAN

    @property
    def anchor(self) -> Anchor:
        """By which the home knows its fleet."""
        from fedhome.fleet.entries import Anchor  # noqa: PLC0415 - as above

        return Anchor.from_text(disk.read(self.path / ANCHOR).decode())

    @property
    def authorities(self) -> bytes:
        """Certificates that the server's is checked against, PEM."""
        return disk.read(self.path / CA)

    def node_key(self) -> NodeKey:
        """Return the node's key; make it first where there is none, or it is another folder's.

        It is this folder's until the machine is started anew, and no copy's: so the server can
        tell a copy that runs elsewhere, also of a whole card, from a home that was restarted.
        """
        from fedhome.flower.node_key import NodeKey  # noqa: PLC0415 - as above

        content = self._own_node
        if not content:
            self.at_hand = None  # what another node was asked only that node can answer
            content = _folder_mark(self.path) + NodeKey.create().to_bytes()
            disk.put(self.path / NODE, content)
        return NodeKey.from_bytes(content)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the folder was last used elsewhere: it is a copy, or the machine was restarted.

        Another process may then hold what this one finds here; without a node's key it may, too.
        """
        return not self._own_node

    @property
    def starts_are_told(self) -> bool:
        """Whether the system tells one start of its machine from another: Linux's boot id."""
        return bool(_boot_id())

    @property
    def _own_node(self) -> bytes:
        path = self.path / NODE
        content = disk.read(path) if path.exists() else b""
        return content if content.startswith(_folder_mark(self.path)) else b""

    def retire_node_key(self) -> None:
        """Let `node_key` make another one."""
        path = self.path / NODE
        with disk.errors_of(path):
            path.unlink(missing_ok=True)

    @property
    def directory(self) -> bytes | None:
        """The directory that came last; None before the first."""
        path = self.path / DIRECTORY
        return disk.read(path) if path.exists() else None

    def keep_directory(self, data: bytes) -> None:
        """Keep a directory that holds."""
        disk.put(self.path / DIRECTORY, data)

    @property
    def at_hand(self) -> bytes | None:
        """The message that was being answered when the process ended; None if there was none."""
        path = self.path / AT_HAND
        return disk.read(path) if path.exists() else None

    @at_hand.setter
    def at_hand(self, data: bytes | None) -> None:
        path = self.path / AT_HAND
        if data is None:
            path.unlink(missing_ok=True)
        else:
            disk.put(path, data)

    @property
    def paused(self) -> bool:
        """Whether the home takes no part for now."""
        return (self.path / PAUSED).exists()

    @paused.setter
    def paused(self, value: bool) -> None:
        self._mark(PAUSED, value)

    @property
    def left(self) -> bool:
        """Whether the home has left its fleet for good."""
        return (self.path / LEFT).exists()

    @left.setter
    def left(self, value: bool) -> None:
        self._mark(LEFT, value)

    @property
    def status(self) -> HomeStatus | None:
        """What the agent wrote last; None if it never did, or if that cannot be read."""
        try:
            return HomeStatus(**json.loads((self.path / STATUS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @status.setter
    def status(self, value: HomeStatus) -> None:
        disk.put(self.path / STATUS, json.dumps(asdict(value)).encode())

    def _mark(self, name: str, there: bool) -> None:
        path = self.path / name
        if there:
            disk.put(path, b"")
        else:
            with disk.errors_of(path):
                path.unlink(missing_ok=True)


def _folder_mark(folder: Path) -> bytes:
    """Return a line that tells a folder, on a machine since its start, from its copies."""
    with disk.errors_of(folder):
        there = folder.stat()
    identity = f"{_boot_id()}/{there.st_dev}/{there.st_ino}"
    return b"folder: %s\n" % hashlib.sha256(identity.encode()).hexdigest().encode()


def _boot_id() -> str:
    """Return what the system drew at its start; empty: no Linux, or it is shown to nobody."""
    try:
        return _BOOT.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
