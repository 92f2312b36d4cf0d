"""Server and homes as real processes on this machine, for trying: what `fedhome up` does.

Everything is as in a deployment (keys, signed directory, TLS, secure sums, a process for each
part), except that all of it lies side by side in the run's folder, and that the homes' readings
come from the plan's source: each home gets its own, and what only the whole source tells (which
columns all homes share, which classes there are) goes into the homes' plan.
"""

from __future__ import annotations

import os
import secrets
import shutil
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership.home_folder import HomeFolder, HomeSettings
from fedhome.counted import counted
from fedhome.data.files.home_parquet import TIME, write_home
from fedhome.data.fleet_examples import fleet_examples
from fedhome.data.input_schema import schema_of
from fedhome.data.table import HomeTable
from fedhome.errors import DirectoryError, PlanError, RunError
from fedhome.fleet.admission import SERVER
from fedhome.fleet.entries import check_name, home_keys
from fedhome.fleet.front_requests import HEALTH
from fedhome.fleet.owner_folder import DIRECTORY, Fleet
from fedhome.learning.plan_notes import notes_on
from fedhome.learning.settled_plan import settled, with_batches
from fedhome.ops import tls
from fedhome.ops.listening import free_port
from fedhome.ops.processes import Processes
from fedhome.plan.overrides import guarded_faults, process_faults
from fedhome.plan.protocol import check_groups
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import dealt_tiers
from fedhome.run.absent import exclusion
from fedhome.run.events import Event
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import BROKEN_OFF, DONE, PAUSED
from fedhome.server.daemon.health import SERVICES
from fedhome.server.daemon.interruptions import why_failed
from fedhome.server.daemon.server_folder import ServerFolder, ServerSettings
from fedhome.simulations.gather import FoundHomes, find, most_homes
from fedhome.simulations.taken_fleet import check_most
from fedhome.simulations.written_readings import plan_of_files, reading_of_files
from fedhome.store import disk

HOST = "127.0.0.1"
SYNTHETIC = 5
"""Synthetic homes, where no number is given."""
MOST = 8
"""Most homes that are started where no number is given."""
IDLE_MB, LEARNING_MB = 75, 400
"""Memory of a home's agent, and how much more it takes while it learns."""
_READY_S, _HOMES_S = 60.0, 120.0
_SHOWN = 5  # names in a message
_FEWEST = 2  # homes in a sum

Say = Callable[[str], None]
Show = Callable[[Event], None]


def up(
    plan: Plan,
    *,
    homes: int | None = None,
    out: Path | str | None = None,
    say: Say = lambda _: None,
    note: Say = lambda _: None,
    show: Show = lambda _: None,
) -> RunFolder:
    """Run a plan over real processes, and return the folder of the finished run.

    Args:
        plan: The plan; the homes are those of a simulation of it.
        homes: Take the first this many; None: `SYNTHETIC` ones, or all up to `MOST`.
        out: Folder of the run; None for the next free one in ``runs/``.
        say: Called with what is waited for, a few words each.
        note: Called with what should stay on the screen, a sentence each.
        show: Called with each event of the run.

    Raises:
        PlanError: The plan cannot be run so.
        DataError: The homes' data cannot be used.
        RunError: The run failed, or the server did not come up.
    """
    plan = plan.located()
    if faults := process_faults(plan) + guarded_faults(plan):
        raise PlanError(faults)
    plan = _with_homes(plan, homes)
    _check_most(plan)
    for text in notes_on(plan):
        note(f"note: {text}")  # the run's log has it too, before its events are shown
    say("reading the homes' data")
    plan, found = _resolve(plan, note, count_given=homes is not None)
    folder = RunFolder.create(out, name=plan.name)
    folder.write_plan(plan.to_toml())
    root = folder.path.resolve() / "deployment"
    with disk.errors_of(root):  # keys of all parties are in it
        root.mkdir(mode=0o700)
    server, home_folders = prepare(root, plan, found.tables, reading=found.gathered.own)
    with Processes() as processes:
        say("starting the server")
        start(processes, server, home_folders)
        log = server.logs / "run.log"
        run = processes.start(
            "run",
            "fedhome.server.daemon.deploy",
            str(server.path),
            str(folder.path.resolve()),
            str(_HOMES_S),
            log=log,
            # Killed, or cut off by a new SuperLink, it goes on with the run.
            ends=(DONE, BROKEN_OFF, PAUSED),
        )
        progress = _ProgressReport(folder, home_folders, say, show)

        def over() -> bool:
            progress.look()
            return run.look() is not None

        processes.until(over, what="the run")
        progress.look()
        code = run.look()
    if code != DONE:
        why = why_failed(folder, log)
        raise RunError(f"the run failed: {why.reason}", hint=why.hint)
    return folder


class _ProgressReport:
    """Tells who has joined, and what the run logs."""

    def __init__(
        self, folder: RunFolder, home_folders: Sequence[HomeFolder], say: Say, show: Show
    ) -> None:
        self._folder, self._say, self._show = folder, say, show
        self._away = list(home_folders)
        self._homes, self._size, self._seen = len(home_folders), 0, 0

    def look(self) -> None:
        """Tell what is new."""
        away = [home_folder for home_folder in self._away if not _is_connected(home_folder)]
        if len(away) < len(self._away):
            self._away = away
            self._say(f"homes joined: {self._homes - len(away)} of {self._homes}")
        path = self._folder.events_path
        size = path.stat().st_size if path.exists() else 0
        if size != self._size:
            self._size = size
            events = self._folder.read_events()
            for event in events[self._seen :]:
                self._show(event)
            self._seen = len(events)


def _is_connected(home_folder: HomeFolder) -> bool:
    status = home_folder.status
    return status is not None and status.state == "connected"


def _resolve(plan: Plan, note: Say, *, count_given: bool) -> tuple[Plan, FoundHomes]:
    """Return the plan with what only the whole source tells, and its homes.

    Raises:
        PlanError: It cannot be run so.
    """
    source_homes = find(plan)
    gathered = source_homes.gathered
    for home, reason in gathered.excluded:
        note(exclusion(home, reason))
    if not count_given and plan.data.source != "synthetic" and len(source_homes.tables) == MOST:
        note(
            f"{MOST} homes take part; --homes takes more: each is a process of {IDLE_MB} MB, and "
            f"of {LEARNING_MB} MB more while it learns"
        )
    if faults := _plan_faults(plan, source_homes):
        raise PlanError(faults)
    for text in gathered.notes:
        note(f"note: {text}")
    return plan_of_files(gathered.plan, source_homes.schema), source_homes


def named(plan: Plan, tables: Sequence[HomeTable]) -> Plan:
    """Return a plan that names its inputs as homes have them: for homes that know only their own.

    Args:
        plan: The plan.
        tables: The homes' readings.

    Raises:
        DataError: The target or a feature is in no home.
    """
    found = settled(plan, tables)
    schema = schema_of(found.plan, found.targets, tables)
    fleet = fleet_examples(tables, schema, found.plan.data, found.targets)
    return fleet.schema.named_in(with_batches(found.plan, fleet.homes)[0])


def _with_homes(plan: Plan, homes: int | None) -> Plan:
    """Return the plan for this many homes.

    Raises:
        PlanError: They are too many for this machine, or it was not said that this many are meant.
    """
    wanted = homes or plan.data.homes
    if wanted is None:
        wanted = SYNTHETIC if plan.data.source == "synthetic" else MOST
    mb = IDLE_MB + LEARNING_MB
    if homes is None and wanted > MOST:
        raise PlanError(
            [f"data.homes: {wanted} homes, a process each, take {wanted * mb:,} MB as they learn"],
            hint=f"--homes {wanted} says that you mean it; --homes {MOST} takes the first {MOST}",
        )
    if wanted * mb > (memory_mb := _memory_mb()):
        fault = (
            f"{wanted} homes take {wanted * mb:,} MB as they learn: this machine has {memory_mb:,}"
        )
        raise PlanError(
            [f"{fault}, enough for {memory_mb // mb}"],
            where="the command",
            hint="`fedhome simulate` takes thousands of homes, in one process",
        )
    if fault := _too_few(plan, wanted):
        raise PlanError([fault])
    return plan.change(data={"homes": wanted})


def _too_few(plan: Plan, homes: int) -> str:
    settings = plan.aggregation
    if settings.mode in {"plain", "ideal"} or homes >= settings.min_cohort:
        return ""
    few = f"{counted(homes, 'home')} {'is' if homes == 1 else 'are'} fewer than the "
    few += f"{settings.min_cohort} without which no sum is opened: "
    if homes < _FEWEST:
        return f"{few}take more homes, or add --set aggregation.mode=plain"
    return f"{few}add --set aggregation.min_cohort={homes}"


def _check_most(plan: Plan) -> None:
    """Refuse a plan for which a source has too few homes, before these are read or downloaded.

    Raises:
        PlanError: However many of them can take part, no sum could be opened.
    """
    most = most_homes(plan)
    if most is not None and (fault := _too_few(plan, most)):
        raise PlanError([fault])
    if plan.aggregation.mode != "ideal":  # which is refused for itself
        check_most(plan)


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000


def _plan_faults(plan: Plan, source_homes: FoundHomes) -> list[str]:
    """Return why a plan cannot be run with the homes that it finds."""
    homes, mode, faults = len(source_homes.tables), plan.aggregation.mode, []
    if mode == "ideal":
        faults.append('aggregation.mode: "ideal" sums are for simulations alone')
    elif mode != "plain" and (fault := _too_few(plan, homes) or check_groups(plan, homes)):
        faults.append(fault)
    if TIME in source_homes.schema.columns or plan.data.target == TIME:
        faults.append(f"a column {TIME!r} cannot be learnt from here: a home reads it as its times")
    odd = [table.home for table in source_homes.tables if not _is_name(table.home)]
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        faults.append(
            f"{', '.join(map(repr, odd[:_SHOWN]))}{more} cannot be names of homes in a fleet: "
            "rename their files; letters, digits and . _ - make a name"
        )
    return faults


def _is_name(home: str) -> bool:
    try:
        check_name(home)
    except DirectoryError:
        return False
    return True


def prepare(
    root: Path,
    plan: Plan,
    tables: Iterable[HomeTable],
    *,
    reading: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    passphrase: str | None = None,
) -> tuple[ServerFolder, list[HomeFolder]]:
    """Make a fleet: an owner, a server, and homes with keys and data of their own.

    Args:
        root: The folder for all of it.
        plan: The plan that the homes take part in, as the server runs it; it names their inputs:
            one home alone cannot tell them (`InputSchema.named_in`).
        tables: The homes' readings.
        reading: How homes' files are read in a way of their own, as of
            :class:`fedhome.data.homes_folder.FolderRead`: their models read files so.
        passphrase: Of the owner's key; None: one that nobody knows, so that nobody signs a second
            directory of this fleet.

    Raises:
        ParameterError: The plan's promises cannot be kept with this many homes.
        StateError: The folder cannot be used.
    """
    settings = ServerSettings(host=HOST, port=free_port())
    server = ServerFolder.create(root / "server", settings, names=[HOST, "localhost"])
    home_folders, entries = [], []
    tables = list(tables)
    tiers = dealt_tiers(plan, [table.home for table in tables])
    for table in tables:
        home_folder = HomeFolder(root / "homes" / table.home)
        keys, _ = home_keys(table.home, home_folder.path)
        entries.append(keys.entry(tier=tiers[table.home]))
        write_home(table, home_folder.path / "readings.parquet")
        home_folders.append(home_folder)
    passphrase = passphrase or secrets.token_hex(16)
    with Fleet.create(root / "owner", passphrase) as fleet:
        fleet.add(*entries)
        aggregation = plan.aggregation
        least = aggregation.min_cohort
        fleet.sign(
            passphrase,
            corrupt=aggregation.corrupt,
            dropped=aggregation.dropped,
            committee=aggregation.committee,
            # In plain mode nobody sums in secret, and any number of homes will do.
            min_cohort=min(least, len(entries)) if aggregation.mode == "plain" else least,
        )
        anchor = fleet.anchor
    shutil.copytree(root / "owner" / SERVER, server.fleet, dirs_exist_ok=True)
    shutil.copyfile(root / "owner" / DIRECTORY, server.fleet / DIRECTORY)
    authorities = (server.tls / tls.CA).read_bytes()
    for table, home_folder in zip(tables, home_folders, strict=True):
        home_folder.fill(
            HomeSettings(
                home=table.home,
                server=f"{HOST}:{settings.port}",
                data=str(home_folder.path / "readings.parquet"),
                reading=reading_of_files(table, reading.get(table.home, {})),
                tier=tiers[table.home],
            ),
            plan=plan,
            anchor=anchor,
            authorities=authorities,
        )
    return server, home_folders


def start(processes: Processes, server: ServerFolder, home_folders: Iterable[HomeFolder]) -> None:
    """Start the server's processes and the homes' agents.

    Raises:
        RunError: The server is not up in time.
    """
    for name, module in SERVICES.items():
        processes.start(name, module, str(server.path), log=server.logs / f"{name}.log")
    for home_folder in home_folders:
        home = home_folder.path.name
        processes.start(
            home,
            LEAN,
            "fedhome.clients.agent.resident",
            str(home_folder.path),
            log=server.logs / f"{home}.log",
        )
    settings = server.settings
    context = ssl.create_default_context(cafile=server.tls / tls.CA)
    with httpx.Client(verify=context, timeout=5) as client:

        def healthy() -> bool:
            try:
                return client.get(f"https://{HOST}:{settings.port}{HEALTH}").is_success
            except httpx.HTTPError:
                return False

        processes.until(healthy, what="the server came up", timeout_s=_READY_S)
