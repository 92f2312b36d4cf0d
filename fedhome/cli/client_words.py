"""What ``fedhome client status`` says, as rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from fedhome.cli import ages
from fedhome.clients.membership.own_models import OwnModels
from fedhome.clients.recorded.readings_key import FOLDER as READINGS
from fedhome.clients.recorded.readings_key import NOTHING_YET, lacks_readings
from fedhome.errors import FedHomeError
from fedhome.wire.moments import when

if TYPE_CHECKING:
    from fedhome.clients.membership.consent_record import ConsentRecord
    from fedhome.clients.membership.home_folder import HomeFolder, HomeStatus

_DIGITS = 12  # of a hash, as it is shown


def rows_of(home_folder: HomeFolder, now_s: float) -> list[tuple[str, str]]:
    """Return what a home's folder says as rows of a table: names, and values in rich's markup.

    Args:
        home_folder: The folder.
        now_s: Unix time, s.
    """
    from fedhome.clients.agent.status_door import asked_status  # noqa: PLC0415
    from fedhome.clients.membership.consent_record import ConsentRecord  # noqa: PLC0415
    from fedhome.clients.membership.may_run import is_running  # noqa: PLC0415

    consent = ConsentRecord.of(home_folder)
    running = is_running(home_folder)
    # Truer than a file, which is the last that the disk took.
    status = (asked_status(home_folder) if running else None) or home_folder.status
    state, agent = _state(home_folder, status, now_s, running=running)
    return [
        ("state", state),
        ("agent", agent),
        ("server", _server(home_folder)),
        ("data", _data(home_folder)),
        *_carries(home_folder),
        ("last answer", _last(status, now_s)),
        ("directory", _epoch(home_folder, now_s)),
        ("model", _model(home_folder)),
        ("own model", _own_model(home_folder)),
        ("consent", _consent(home_folder, consent)),
    ]


def _state(
    home_folder: HomeFolder, status: HomeStatus | None, now_s: float, *, running: bool
) -> tuple[str, str]:
    """Return what the home does, and whether its agent runs."""
    agent = "not running"
    if running:
        agent = f"runs, process {status.process}" if status and status.process else "runs"
    if home_folder.left:
        return "has left its fleet", agent
    if not running:
        state = "paused, and not running" if home_folder.paused else "not running"
        ended = status is not None and status.state == "stopped" and status.reason
        return state + (_because(status) if status and ended else ""), agent
    if status is None:
        return "starting", agent
    unwritten = f"\n[bold red]{escape(status.disk)}[/]" if status.disk else ""
    age = ages.ago(status.time, now_s)
    return f"{status.state}{_because(status)}, as of {age}{unwritten}", agent


def _because(status: HomeStatus) -> str:
    """Return what a status says besides; what keeps a home from taking part stands out."""
    if not status.detail:
        return ""
    detail = escape(status.detail)
    return f": [bold red]{detail}[/] ({status.reason})" if status.reason else f": {detail}"


def _server(home_folder: HomeFolder) -> str:
    """Return where the home looks for its server."""
    from fedhome.clients.agent.known_head import known_head, newest_root  # noqa: PLC0415
    from fedhome.clients.membership.server_addresses import addresses_of  # noqa: PLC0415

    try:
        addresses = addresses_of(home_folder, newest_root(home_folder, known_head(home_folder)))
    except FedHomeError:  # what is damaged is told below
        addresses = (home_folder.settings.server,)
    return escape(" or, as the fleet's owner says, ".join(addresses))


def _data(home_folder: HomeFolder) -> str:
    """Return where the home's readings are."""
    if (store := home_folder.path / READINGS).is_dir():
        empty = f"\n[bold red]{escape(NOTHING_YET)}[/]" if lacks_readings(home_folder.path) else ""
        return f"its store, {escape(str(store))}{empty}"
    data = home_folder.settings.data
    if not data:
        return f"[bold red]none: `fedhome client record {escape(str(home_folder.path))}`[/]"
    return escape(data) + ("" if Path(data).exists() else "  [bold red]not there[/]")


def _carries(home_folder: HomeFolder) -> list[tuple[str, str]]:
    """Return which slice of the model the home's device carries; nothing where it has none."""
    from fedhome.clients.membership.carried_tier import carried_tier  # noqa: PLC0415
    from fedhome.plan.settings import Plan  # noqa: PLC0415

    try:
        tier = carried_tier(home_folder, Plan.load(home_folder.plan_path))
    except FedHomeError as error:
        return [("carries", f"[bold red]{escape(error.message)}[/]")]
    if not tier.in_use:
        return []
    told = f"\n{escape(tier.told)}" if tier.told else ""
    return [("carries", f"what tier {escape(tier.in_use)} has{told}")]


def _last(status: HomeStatus | None, now_s: float) -> str:
    if status is None or not status.last_time:
        return "none yet"
    last = f"{escape(status.last)}, {ages.ago(status.last_time, now_s)}"
    return f"{last}; {status.answered:,} since it was started"


def _epoch(home_folder: HomeFolder, now_s: float) -> str:
    """Return which directory the home has, until when it holds, and whether it is the newest."""
    from fedhome.clients.agent.known_head import known_head  # noqa: PLC0415
    from fedhome.secagg.directory import Directory  # noqa: PLC0415

    data = home_folder.directory
    if data is None:
        return "no directory yet"
    try:
        directory = Directory.verify(data, home_folder.anchor.root)
        known = known_head(home_folder)
    except FedHomeError as error:
        return f"[bold red]{escape(error.message)}[/]"
    until = f"until {when(directory.expires)}"
    if now_s >= directory.expires:
        until = f"[bold red]held {until}: the fleet's owner signs the next one[/]"
    newest = f"; the newest, the server said {ages.ago(known.time, now_s)}" if known.time else ""
    return f"epoch {directory.epoch}, {directory.hash.hex()[:_DIGITS]}, {until}{newest}"


def _model(home_folder: HomeFolder) -> str:
    """Return which release of the fleet's model the home has."""
    from fedhome.clients.agent.kept_releases import release_of  # noqa: PLC0415

    try:
        release = release_of(home_folder)
    except FedHomeError as error:
        return f"[bold red]{escape(error.message)}[/]"
    if release is None:
        return "none yet"
    one = release.manifest
    name = f"release {one.number}: round {one.round} of {escape(one.run)}"
    return f"{name}, {one.hash.hex()[:_DIGITS]}"


def _own_model(home_folder: HomeFolder) -> str:
    """Return which model of its own the home predicts by."""
    from fedhome.cli.client_predict import origin  # noqa: PLC0415
    from fedhome.clients.kept_model import own_model  # noqa: PLC0415

    if not OwnModels(home_folder.path, home_folder.settings.home).path.exists():
        return "none yet: a run ends with one; until then the fleet's stands in"
    try:
        return escape(origin(own_model(home_folder)))
    except FedHomeError as error:
        return f"[bold red]{escape(error.message)}[/]"


def _consent(home_folder: HomeFolder, consent: ConsentRecord | None) -> str:
    from fedhome.clients.membership.consent_record import check_consent  # noqa: PLC0415

    if consent is None:
        return "[bold red]none[/]"
    try:
        check_consent(home_folder)
    except FedHomeError:
        return "[bold red]to another plan than the one in the folder[/]"
    return f"to plan {consent.plan[:_DIGITS]} on {when(consent.time)}"
