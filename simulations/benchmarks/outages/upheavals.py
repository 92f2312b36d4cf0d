"""What changes a machine or the fleet: clocks, disks, certificates, moves, backups, members."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import RunError
from fedhome.fleet.state_file import STATE
from fedhome.ops.listening import free_port
from fedhome.server.daemon.current_run import Runs
from fedhome.server.daemon.server_folder import SETTINGS, ServerFolder
from fedhome.simulations.benchmarks.outages.kinds import OutageKind, OutageScene, Play, Until
from fedhome.simulations.benchmarks.outages.other_clock import library, set_clock
from fedhome.simulations.benchmarks.outages.small_disk import SmallDisk, why_no_disks
from fedhome.simulations.benchmarks.outages.tested_fleet import SERVER, SERVERS_DISK
from fedhome.simulations.local_fleet import HOST
from fedhome.store.settings_file import write_settings

_ROLLED_BACK = "is not the one that was saved last"
_SOCKETS = shutil.ignore_patterns("socket")
_COMMAND = Path(sys.executable).parent / "fedhome"


def clock_wrong(scene: OutageScene) -> Play:
    """A home begins with a clock that is minutes off; then it is set by the network."""
    fleet, home = scene.fleet, scene.home
    file = fleet.root / f"{home}.clock"
    minutes = scene.draw.choice([scene.draw.randint(1, 30), -scene.draw.randint(3, 30)])
    set_clock(file, 60 * minutes)
    yield scene.step()
    fleet.stop(home)
    fleet.start_home(home, clock=file)
    scene.say(f"{home} begins with its clock {minutes:+d} minutes off")
    try:
        yield Until(
            lambda: _refused(fleet.homes[home], "clock"), f"{home} says that its clock is wrong"
        )
    finally:
        set_clock(file, 0)
        scene.say(f"the clock of {home} is set")
    yield scene.connected()
    # libfaketime 0.9.10 fails a sleep now and then (EINVAL where its end has passed already).
    fleet.stop(home)
    fleet.start_home(home)


def _refused(home: HomeFolder, word: str) -> bool:
    status = home.status
    return status is not None and status.reason == word


def home_disk_full(scene: OutageScene) -> Play:
    """A home's disk is full."""
    disk = scene.fleet.disks[scene.home]
    yield scene.step()
    disk.fill()
    scene.say(f"the disk of {scene.home} is full")
    try:
        yield scene.noticed(scene.draw.randint(2, 4))
    finally:
        disk.free()
        scene.say(f"the disk of {scene.home} has room")


def home_disk_read_only(scene: OutageScene) -> Play:
    """A home's disk cannot be written."""
    disk = scene.fleet.disks[scene.home]
    yield scene.step()
    yield Until(disk.protect, f"nobody writes on the disk of {scene.home}")
    scene.say(f"the disk of {scene.home} is read-only")
    try:
        yield scene.noticed(scene.draw.randint(2, 4))
    finally:
        disk.unprotect()
        scene.say(f"the disk of {scene.home} can be written")


def server_disk_full(scene: OutageScene) -> Play:
    """The server's disk is full, until its run has noticed."""
    disk = scene.fleet.disks[SERVER]
    yield scene.step()
    before = scene.fleet.told(SERVER, " pauses: ")
    disk.fill()
    scene.say("the server's disk is full")
    over = scene.noticed(3).done
    try:
        yield Until(
            lambda: scene.fleet.told(SERVER, " pauses: ") > before or over(),
            "the run pauses, as there is no room",
        )
    finally:
        disk.free()
        scene.say("the server's disk has room")
    yield scene.noticed()


def certificate_renewed(scene: OutageScene) -> Play:
    """The server's certificate is renewed while it runs, and everybody connects anew."""
    yield scene.step()
    _typed("server", "renew", str(scene.fleet.server.path))
    scene.say("the certificate is renewed")
    for road in scene.fleet.roads.values():
        road.cut()
    yield scene.noticed()


def server_moved(scene: OutageScene) -> Play:
    """The server's folder is moved, with its port; its name points to the new place."""
    fleet = scene.fleet
    yield scene.step()
    fleet.stop(SERVER)
    old = fleet.server.path
    new = old.parent / f"{old.name}-moved"
    disk = fleet.disks.get(SERVER)
    if disk is not None:
        fleet.disks[SERVER] = SmallDisk(new, SERVERS_DISK)
    shutil.copytree(old, new, ignore=_SOCKETS, dirs_exist_ok=True)
    if disk is not None:
        disk.unmount()
    shutil.rmtree(old)
    fleet.server = ServerFolder(new)
    settings = replace(fleet.server.settings, port=free_port())
    write_settings(new / SETTINGS, settings)
    for road in fleet.roads.values():
        road.target = settings.port
    _typed("server", "renew", str(new), "--host", HOST, "--host", "localhost")  # another card
    scene.say("the server has moved")
    fleet.start_server()
    yield scene.noticed()


def home_restored(scene: OutageScene) -> Play:
    """A home's folder comes back from a backup of some rounds ago; the owner signs once more."""
    fleet, home = scene.fleet, scene.home
    folder, backup = fleet.homes[home].path, fleet.root / f"{home}.backup"
    yield scene.step()
    fleet.stop(home)
    shutil.copytree(folder, backup, ignore=_SOCKETS)
    fleet.start_home(home)
    scene.say(f"{home} is backed up")
    try:
        yield scene.noticed(scene.draw.randint(2, 4))
        fleet.stop(home)
        _put_back(backup, folder)
    finally:
        shutil.rmtree(backup)
    fleet.start_home(home)
    scene.say(f"{home} is restored from its backup")
    yield scene.noticed(2)
    fleet.sign()
    scene.say("the owner signs another directory")
    yield scene.connected()


def home_rolled_back(scene: OutageScene) -> Play:
    """A home's state alone comes back from a backup: it refuses, until the newer one is back."""
    fleet, home = scene.fleet, scene.home
    folder, backup = fleet.homes[home].path, fleet.root / f"{home}.state"
    yield scene.step()
    fleet.stop(home)
    shutil.copyfile(folder / STATE, backup)
    fleet.start_home(home)
    yield scene.noticed(2)
    fleet.stop(home)
    newer = (folder / STATE).read_bytes()
    altered = newer != backup.read_bytes()
    shutil.copyfile(backup, folder / STATE)
    backup.unlink()
    before = fleet.told(home, _ROLLED_BACK)
    fleet.start_home(home)
    scene.say(f"the state of {home} is an older one")
    try:
        if altered:
            yield Until(
                lambda: fleet.told(home, _ROLLED_BACK) > before, f"{home} refuses an older state"
            )
    finally:
        fleet.stop(home)
        (folder / STATE).write_bytes(newer)
        fleet.start_home(home)
        scene.say(f"the state of {home} is the newest one")
    yield scene.connected()


def server_restored(scene: OutageScene) -> Play:
    """The server comes back from a backup of some rounds ago; the owner signs once more."""
    fleet = scene.fleet
    folder, backup = fleet.server.path, fleet.root / "server.backup"
    yield scene.step()
    fleet.stop(SERVER)
    shutil.copytree(folder, backup, ignore=_SOCKETS)
    fleet.start_server()
    scene.say("the server is backed up")
    try:
        yield scene.noticed(scene.draw.randint(2, 4))
        if not fleet.is_running:  # its release must not be lost with it
            return
        fleet.stop(SERVER)
        _put_back(backup, folder)
    finally:
        shutil.rmtree(backup)
    fleet.start_server()
    fleet.sign()
    scene.say("the server is restored from its backup, and the owner signs another directory")
    yield scene.noticed(2)


def home_leaves_and_joins(scene: OutageScene) -> Play:
    """A home leaves for good, the owner lets it go; then it is invited, joins and is admitted."""
    fleet, home = scene.fleet, scene.home
    place, readings = fleet.homes[home], fleet.root / f"{home}.parquet"
    if not readings.exists():
        shutil.copyfile(place.settings.data, readings)
    yield scene.step()
    fleet.stop(home)
    _typed("client", "leave", str(place.path), "--yes")
    _typed("client", "forget", str(place.path), "--yes")
    owner = ("--fleet", str(fleet.owner))
    admit = ("--server", str(fleet.server.card_path), "--yes", "--passphrase-file")
    with _passphrase(fleet.root / "passphrase", fleet.passphrase) as secret:
        _typed("fleet", "admit", *owner, *admit, str(secret))
        scene.say(f"{home} leaves the fleet")
        yield scene.noticed(scene.draw.randint(2, 4))
        plan = fleet.root / "plan.toml"
        plan.write_text(fleet.plan.to_toml(), encoding="utf-8")
        card = str(fleet.server.card_path)
        where = ("--plan", str(plan), "--server", card, "--out", str(fleet.root))
        _typed("fleet", "invite", home, *owner, *where)
        invite = fleet.root / f"{home}.invite"
        folder = ("--home", str(place.path))
        _typed("client", "join", str(invite), "--data", str(readings), *folder, "--yes")
        invite.unlink()
        server = f"{HOST}:{fleet.roads[home].port}"
        place.change_settings(replace(place.settings, server=server))
        fleet.start_home(home)
        _typed("fleet", "admit", *owner, *admit, str(secret))
    scene.say(f"{home} joins the fleet")
    yield scene.connected()


def second_run(scene: OutageScene) -> Play:
    """Somebody wants another run while one is in progress: it is refused, and the first goes on."""
    yield scene.step()
    if not scene.fleet.is_running:
        return
    before = scene.fleet.current
    try:
        Runs(scene.fleet.server).begin(scene.fleet.plan, "another")
    except RunError as error:
        scene.say(f"another run is refused: {error.message}")
    else:
        if before is not None and scene.fleet.current != before:
            scene.broken("a second run was begun while one was in progress")
    yield scene.noticed()


def everything_ended(scene: OutageScene) -> Play:
    """Everything is asked to end (SIGTERM), and started again once it has."""
    fleet = scene.fleet
    yield scene.step()
    scene.say("everything is asked to end")
    names = [*fleet.homes, SERVER]
    scene.draw.shuffle(names)
    for name in names:
        fleet.stop(name)
    fleet.start()
    scene.say("everything is started again")
    yield scene.noticed()


def _put_back(backup: Path, folder: Path) -> None:
    """Let a folder be as its backup is; the folder itself stays, as a disk may be mounted there."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copytree(backup, folder, dirs_exist_ok=True)


def _typed(*words: str) -> None:
    """Type a command.

    Raises:
        RunError: It failed.
    """
    done = subprocess.run(  # noqa: S603 - our own command
        [str(_COMMAND), *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"},
    )
    if done.returncode:
        told = " ".join((done.stderr or done.stdout).split())
        raise RunError(f"`fedhome {words[0]} {words[1]}` failed: {told}")


@contextmanager
def _passphrase(file: Path, secret: str) -> Iterator[Path]:
    """Keep the owner's passphrase in a file while a command needs it."""
    file.touch(mode=0o600)
    file.write_text(f"{secret}\n", encoding="ascii")
    try:
        yield file
    finally:
        file.unlink()


def _why_no_clocks() -> str:
    return "" if library() else "libfaketime is not installed (Debian: faketime)"


UPHEAVALS = {
    "clock wrong": OutageKind(clock_wrong, lacks=_why_no_clocks),
    "home's disk full": OutageKind(home_disk_full, lacks=why_no_disks),
    "home's disk read-only": OutageKind(home_disk_read_only, lacks=why_no_disks),
    "server's disk full": OutageKind(
        server_disk_full, of_home=False, alone=True, lacks=why_no_disks
    ),
    "certificate renewed": OutageKind(certificate_renewed, of_home=False),
    "server moved": OutageKind(server_moved, of_home=False, alone=True),
    "home restored": OutageKind(home_restored, alone=True),
    "home rolled back": OutageKind(home_rolled_back),
    "server restored": OutageKind(server_restored, of_home=False, alone=True),
    "home leaves and joins": OutageKind(home_leaves_and_joins, alone=True),
    "second run": OutageKind(second_run, of_home=False),
    "everything ended": OutageKind(everything_ended, of_home=False, alone=True),
}
"""These kinds, by name."""
