"""What ``fedhome client status | privacy`` print with `--json`: a home's state, as values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fedhome.cli.json_fleets import HomeShown, PrivacySpent, RunSpent
from fedhome.clients.recorded.readings_key import FOLDER as READINGS
from fedhome.clients.recorded.readings_key import NOTHING_YET, lacks_readings
from fedhome.errors import FedHomeError

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder
    from fedhome.registry.accept import AcceptedRelease
    from fedhome.secagg.directory import Directory

T = TypeVar("T")


def home_shown(home_folder: HomeFolder) -> HomeShown:
    """Return what a home does and has; what cannot be read is told as a fault.

    Args:
        home_folder: The home's folder.

    Raises:
        RunError: There is no home in it.
    """
    from fedhome.clients.agent.kept_releases import release_of  # noqa: PLC0415
    from fedhome.clients.agent.status_door import asked_status  # noqa: PLC0415
    from fedhome.clients.membership.consent_record import ConsentRecord, check_consent  # noqa: PLC0415
    from fedhome.clients.membership.may_run import is_running  # noqa: PLC0415

    settings, running, faults = home_folder.settings, is_running(home_folder), list[str]()

    def read(from_disk: Callable[[], T], otherwise: T) -> T:
        try:
            return from_disk()
        except FedHomeError as error:
            faults.append(error.with_hint)
            return otherwise

    status = (asked_status(home_folder) if running else None) or home_folder.status
    directory: Directory | None = read(lambda: _directory(home_folder), None)
    release: AcceptedRelease | None = read(lambda: release_of(home_folder), None)
    consent = ConsentRecord.of(home_folder)
    if status is not None and status.disk:
        faults.append(status.disk)
    store = home_folder.path / READINGS
    data = store if store.is_dir() or not settings.data else Path(settings.data)
    if store.is_dir() and read(lambda: lacks_readings(home_folder.path), False):  # noqa: FBT003
        faults.append(NOTHING_YET)
    if not data.exists():
        faults.append(f"{data} is not there: the home has no readings")
    return HomeShown(
        home=settings.home,
        fleet=home_folder.anchor.fleet.hex(),
        running=running,
        state=None if status is None else status.state,
        detail="" if status is None else status.detail,
        reason="" if status is None else status.reason,
        time=None if status is None else status.time,
        process=status.process if running and status is not None else None,
        paused=home_folder.paused,
        left=home_folder.left,
        servers=read(lambda: _servers(home_folder), [settings.server]),
        tier=read(lambda: _tier(home_folder), ""),
        data=str(data),
        data_there=data.exists(),
        answered=0 if status is None else status.answered,
        last="" if status is None else status.last,
        last_time=(status.last_time or None) if status is not None else None,
        epoch=0 if directory is None else directory.epoch,
        directory="" if directory is None else directory.hash.hex(),
        directory_expires=None if directory is None else directory.expires,
        release=None if release is None else release.manifest.number,
        release_hash="" if release is None else release.manifest.hash.hex(),
        own_model=read(lambda: _own_model(home_folder), ""),
        consent=None if consent is None else consent.time,
        consent_holds=read(lambda: check_consent(home_folder) is not None, False),  # noqa: FBT003
        faults=faults,
    )


def privacy_spent(home_folder: HomeFolder) -> PrivacySpent:
    """Return what sums have cost a home.

    Args:
        home_folder: The home's folder.

    Raises:
        RunError: Its settings cannot be used.
        StateError: Its ledger is damaged.
    """
    from fedhome.clients.privacy_budget import ceiling_of  # noqa: PLC0415
    from fedhome.plan.private_plan import is_private  # noqa: PLC0415
    from fedhome.plan.settings import Plan  # noqa: PLC0415
    from fedhome.privacy.accounting import epsilon_between, epsilon_of  # noqa: PLC0415
    from fedhome.privacy.privacy_ledger import PrivacyLedger  # noqa: PLC0415

    plan, ledger = Plan.load(home_folder.plan_path), PrivacyLedger(home_folder.path)
    delta, noise = plan.privacy.delta, is_private(plan)
    return PrivacySpent(
        noise=noise,
        epsilon=epsilon_of(ledger.rho, delta),
        epsilon_between=epsilon_between(ledger.rho, delta),
        delta=delta,
        ceiling=ceiling_of(home_folder, plan) if noise else None,
        ceiling_set=bool(home_folder.settings.privacy_ceiling),
        runs=[
            RunSpent(run=one.run.hex(), sums=one.sums, epsilon=epsilon_of(one.rho, delta))
            for one in ledger.runs
        ],
    )


def _directory(home_folder: HomeFolder) -> Directory | None:
    from fedhome.secagg.directory import Directory  # noqa: PLC0415

    data = home_folder.directory
    return None if data is None else Directory.verify(data, home_folder.anchor.root)


def _servers(home_folder: HomeFolder) -> list[str]:
    from fedhome.clients.agent.known_head import known_head, newest_root  # noqa: PLC0415
    from fedhome.clients.membership.server_addresses import addresses_of  # noqa: PLC0415

    return list(addresses_of(home_folder, newest_root(home_folder, known_head(home_folder))))


def _tier(home_folder: HomeFolder) -> str:
    from fedhome.clients.membership.carried_tier import carried_tier  # noqa: PLC0415
    from fedhome.plan.settings import Plan  # noqa: PLC0415

    return carried_tier(home_folder, Plan.load(home_folder.plan_path)).in_use


def _own_model(home_folder: HomeFolder) -> str:
    from fedhome.clients.kept_model import own_model  # noqa: PLC0415
    from fedhome.clients.membership.own_models import OwnModels  # noqa: PLC0415

    if not OwnModels(home_folder.path, home_folder.settings.home).path.exists():
        return ""
    return own_model(home_folder).run
