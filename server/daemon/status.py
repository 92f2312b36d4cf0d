"""How a server is, for people and for programs; also while it is down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime

from fedhome.errors import FedHomeError
from fedhome.fleet.claims import Claim
from fedhome.installed_build import installed_build
from fedhome.ops import tls
from fedhome.plan.time_steps import DAY_S
from fedhome.reasons import ANSWER, CLAIMED, NOT_KEPT
from fedhome.registry.vault import INDEX
from fedhome.run.refusing import Refusing
from fedhome.run.waiting import what_it_waits_for
from fedhome.secagg.directory import Directory
from fedhome.server.daemon.current_run import RUNNING, Current, Runs
from fedhome.server.daemon.health import Health
from fedhome.server.daemon.initialise import host_of
from fedhome.server.daemon.publishing import MODELS
from fedhome.server.daemon.run_schedule import RunSchedule, read_schedule
from fedhome.server.daemon.server_folder import NO_DIRECTORY, ServerFolder
from fedhome.server.daemon.server_status import (
    RefusingHome,
    ReleaseStatus,
    RunStatus,
    ServerStatus,
    TimetableStatus,
)
from fedhome.server.daemon.starting import is_starting
from fedhome.server.daemon.status_sources import StatusSources
from fedhome.server.daemon.supervisor import is_running, waiting
from fedhome.server.daemon.turned_away import TurnedAway
from fedhome.server.page.page_address import page_address
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.left_out_home import LeftOutHome
from fedhome.store import disk
from fedhome.wire.moments import when

FEW_DAYS = 60
"""The status warns this many days before the directory ends."""


def status_of(
    server_folder: ServerFolder,
    *,
    now: datetime | None = None,
    health: Health | None = None,
    sources: StatusSources | None = None,
) -> ServerStatus:
    """Return how a server is.

    Args:
        server_folder: The server's folder.
        now: The time, for its certificate and its directory.
        health: Asks its processes; None: one is made for this.
        sources: What it is read from; None: the same.

    Raises:
        FedHomeError: There is no server in the folder.
    """
    faults: list[str] = []
    running = is_running(server_folder)
    starting = running and is_starting(server_folder)
    wanted = running and not starting  # of the page, which is started last
    if health is not None:
        up, page = health.ask(), _page(server_folder, health, faults, wanted=wanted)
    else:
        with Health(server_folder) as new:
            up, page = new.ask(), _page(server_folder, new, faults, wanted=wanted)
    now = now or datetime.now(UTC)
    sources = StatusSources(server_folder) if sources is None else sources
    directory = _directory(sources, faults, now)
    terms = tls.terms_of(server_folder.tls)
    ends, days = terms.ends, (terms.ends - now).days
    faults += terms.faults(now)
    if not disk.has_room(server_folder.path):
        faults.append(
            f"the disk of {server_folder.path} is full: runs pause until there is room, and go on "
            "by themselves"
        )
    # Once: of thousands of homes this takes longest.
    claims = [] if directory is None else list(sources.nodes.claims(directory))
    connected = _connected(server_folder, directory, claims) if up.link else None
    return ServerStatus(
        version=installed_build(),
        other_builds=_other_builds(claims),
        running=running,
        starting=starting,
        front=up.front,
        link=up.link,
        address=server_folder.card.server,
        certificate_ends=ends.date().isoformat(),
        certificate_days=days,
        fleet=server_folder.anchor.fleet.hex(),
        epoch=0 if directory is None else directory.epoch,
        directory_ends="" if directory is None else _day(directory.expires),
        directory_days=0 if directory is None else int(_days_until(directory, now)),
        homes=0 if directory is None else len(directory.names),
        connected=connected,
        pending=waiting(server_folder),
        run=_run(server_folder, faults, sources),
        release=_release(server_folder, faults, sources),
        left_out=_left_out(server_folder, directory, faults),
        refusing=_refusing(directory, connected, claims, sources.turned_away),
        page=page,
        timetable=_timetable(server_folder, faults, now),
        faults=faults,
    )


def timetable_of(schedule: RunSchedule, now: datetime) -> TimetableStatus:
    """Return what a server's timetable says at some time."""
    following = datetime.fromtimestamp(schedule.following(now.timestamp()), UTC)
    return TimetableStatus(
        plan=schedule.plan.name,
        every_s=schedule.every_s,
        at=schedule.at,
        time_zone=schedule.time_zone,
        following=following.isoformat(),
        text=schedule.text,
    )


def _timetable(
    server_folder: ServerFolder, faults: list[str], now: datetime
) -> TimetableStatus | None:
    try:
        schedule = read_schedule(server_folder.path)
    except FedHomeError as error:
        faults.append(error.with_hint)
        return None
    return None if schedule is None else timetable_of(schedule, now)


def _left_out(
    server_folder: ServerFolder, directory: Directory | None, faults: list[str]
) -> list[LeftOutHome]:
    try:
        return LeftOut(server_folder.left_out, directory=directory).in_force
    except FedHomeError as error:
        faults.append(error.with_hint)
        return []


def _directory(sources: StatusSources, faults: list[str], now: datetime) -> Directory | None:
    try:
        directory = sources.directory()
    except FedHomeError as error:
        if getattr(error, "reason", "") != NO_DIRECTORY:
            faults.append(error.with_hint)
        return None
    days = _days_until(directory, now)
    if days < FEW_DAYS:
        faults.append(
            f"the directory {'holds' if days > 0 else 'held'} until {when(directory.expires)}: "
            "homes take part in nothing after that; the fleet's owner signs the next one, with "
            "`fedhome fleet directory`"
        )
    return directory


def _days_until(directory: Directory, now: datetime) -> float:
    return (directory.expires - now.timestamp()) / DAY_S


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _page(server_folder: ServerFolder, health: Health, faults: list[str], *, wanted: bool) -> str:
    """Return the address of the page for operators; tell if it is wanted and does not answer."""
    address = page_address(server_folder.settings.page)
    if address is None:
        return ""
    url = address.url(host_of(server_folder))
    if wanted and not health.page():
        faults.append(
            f"the page does not answer at {url}: it was just started, or another program has the "
            f"port; {server_folder.logs / 'page.log'} says more"
        )
    return url


def _connected(
    server_folder: ServerFolder, directory: Directory | None, claims: Iterable[Claim]
) -> list[str] | None:
    """Return the homes whose nodes are there."""
    if directory is None:
        return []
    import httpx  # noqa: PLC0415

    from fedhome.flower.superlink import Control  # noqa: PLC0415 - the same

    control = Control(server_folder.link)
    try:
        online = {state.key for state in control.nodes() if state.online}
    except httpx.HTTPError:
        return None
    finally:
        control.close()
    return sorted(claim.home for claim in claims if claim.node_key in online)


def _refusing(
    directory: Directory | None,
    connected: list[str] | None,
    claims: Iterable[Claim],
    turned_away: TurnedAway,
) -> list[RefusingHome]:
    """Return the homes that do not connect, and why: the server refuses them, or they it.

    A home that is there may have said that its last answer was not taken.

    What they refused they said when they joined last, so what the server says is newer.
    """
    if directory is None:
        return []
    told = {claim.home: (claim.refused, float(claim.time)) for claim in claims}
    told |= {
        home: (one.reason, one.since)
        for home, one in turned_away.homes.items()
        if home in directory.entries and directory.entries[home].identity == one.identity
    }
    return [
        RefusingHome(
            home=home,
            question=ANSWER if reason == NOT_KEPT else "",
            reason=reason,
            why=CLAIMED[reason].why,
            remedy=CLAIMED[reason].remedy,
            since=_utc(datetime.fromtimestamp(since, UTC)),
        )
        for home, (reason, since) in told.items()
        if reason in CLAIMED and (reason == NOT_KEPT or home not in (connected or ()))
    ]


def _other_builds(claims: Iterable[Claim]) -> dict[str, str]:
    """Return what homes run that run another build than the server, as they said last."""
    builds = {claim.home: claim.release for claim in claims}
    return {home: one for home, one in sorted(builds.items()) if one != installed_build()}


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _run(
    server_folder: ServerFolder, faults: list[str], sources: StatusSources
) -> RunStatus | None:
    runs = Runs(server_folder)
    try:
        now = runs.current
    except FedHomeError as error:
        faults.append(error.message)
        return None
    return None if now is None else _progress(runs, now, faults, sources)


def _progress(runs: Runs, now: Current, faults: list[str], sources: StatusSources) -> RunStatus:
    status = RunStatus(
        name=now.run, state=now.state, reason=now.reason, hint=now.hint, again=now.again
    )
    try:
        events = sources.log.read(runs.folder(now.run).events_path)
    except FedHomeError as error:
        faults.append(error.message)
        events = ()
    if not events:
        return status
    rounds = {event.event: event.data for event in events}
    done, whole = rounds.get("round-closed", {}), rounds.get("fleet-ready", {})
    return replace(
        status,
        round=_number(done.get("round")),
        rounds=_number(whole.get("rounds")),
        event=events[-1].event,
        time=_utc(events[-1].time),
        waits=what_it_waits_for(events) if now.state == RUNNING else "",
        refusing=tuple(
            RefusingHome(**{**asdict(one), "since": _utc(one.since)})
            for one in Refusing(events).standing
        ),
    )


def _release(
    server_folder: ServerFolder, faults: list[str], sources: StatusSources
) -> ReleaseStatus | None:
    folder = server_folder.path / MODELS
    if not (folder / INDEX).exists():
        return None
    try:
        releases = sources.releases()
    except FedHomeError as error:
        faults.append(error.message)
        return None
    if not releases:
        return None
    last = releases[-1]
    return ReleaseStatus(
        number=last.number, hash=last.hash.hex(), run=last.manifest.run, round=last.manifest.round
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
