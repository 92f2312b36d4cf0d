"""How a device becomes a home of a fleet: what ``fedhome client join`` does."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fedhome.clients.agent.known_head import known_head, newest_root
from fedhome.clients.membership.consent import Invitation, consent_text
from fedhome.clients.membership.consent_record import ConsentRecord, plan_digest
from fedhome.clients.membership.home_folder import ANCHOR, SETTINGS, HomeFolder, HomeSettings
from fedhome.clients.membership.plan_findings import JoinFindings, findings_at
from fedhome.data.series.local_time import CALENDAR
from fedhome.errors import LinkError, PlanError, RunError
from fedhome.fleet.entries import fingerprint, home_keys
from fedhome.fleet.front_requests import ENROL, ask
from fedhome.fleet.invites import EnrolmentResponse, Invite
from fedhome.fleet.state_file import KEY, MARK, STATE, FileStore
from fedhome.plan.overrides import code_at_home
from fedhome.plan.own_reading import NOTHING_OWN
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import check_tier, is_sliced
from fedhome.printable import hidden_in
from fedhome.store import disk
from fedhome.toml_text import parse_toml

_MOST_NUMBERS = 1 << 25  # of a model, in float32: more does not fit into a message
_MOST_INVITE = 1 << 20  # bytes of its file
_AWAY = (
    "check that the server runs, that nothing else listens at its address and port, and that this "
    "device can reach it (network, firewall); then try again: what is here already is kept, and "
    "the invite still holds. If the server has moved, ask the fleet's owner for a newer invite"
)
_BEGINNING = (STATE, MARK, KEY, ANCHOR)
"""What a home's folder begins with; without the first, whatever is left of it is made anew."""


@dataclass(frozen=True, kw_only=True)
class JoinRequest:
    """A device that may become a home of a fleet; nothing of it is written or sent yet.

    Args:
        home_folder: The folder that the home will have, or has.
        invite: The owner's invite.
        plan: The plan in it.
        source: File or folder of the readings; None: the home records them from the first on.
        reading: How these are read, where that differs from the plan.
        findings: What the plan finds there.
        text: What the home's people have to agree to.
        consent: Their agreement to this very text and plan, where there is one.
        tier: Which slice of the model the device carries; empty where the plan has none.
    """

    home_folder: HomeFolder
    invite: Invite
    plan: Plan
    source: Path | None
    reading: Mapping[str, Any]
    findings: JoinFindings
    text: str
    consent: ConsentRecord | None
    tier: str = ""


@dataclass(frozen=True, kw_only=True)
class JoinResult:
    """A device that enrolled.

    Args:
        fingerprint: Of its name and keys, for the owner to compare.
        new: Whether the keys were made just now.
        admitted: Whether the owner has admitted it already.
    """

    fingerprint: str
    new: bool
    admitted: bool


def read_invite(path: Path, *, now: float) -> Invite:
    """Return the invite in a file.

    Raises:
        DirectoryError: ``invite``, ``name`` or ``expired``.
        StateError: The file cannot be read.
    """
    data = disk.read(path, most=_MOST_INVITE)
    text = data.decode("utf-8", errors="replace")  # what is no text is no invite
    invite = Invite.from_text(text)
    invite.check(now)
    return invite


def prepare(
    invite: Invite,
    *,
    source: Path | None,
    folder: Path,
    reading: Mapping[str, Any] = NOTHING_OWN,
    own_code: bool = False,
    tier: str | None = None,
) -> JoinRequest:
    """Check all that would otherwise fail too late.

    Args:
        invite: As `read_invite` gives it.
        source: File or folder of the readings; None: those that the home's folder names, else it
            records them from the first on.
        folder: The home's folder; it need not be there.
        reading: How the readings are read, where that differs from the plan; laid over what the
            home's folder says of it already.
        own_code: Whether code that the plan names may run here. **It runs before anybody has agreed
            to anything**, to see what the plan makes of the readings.
        tier: Which slice of the model the device carries, by the name of the plan's tier; None: the
            one that the home's folder names.

    Raises:
        RunError: The folder is another home's, the invite was used before this home left, or its
            plan names code that may not run.
        StateError: ``in-use``: the home's agent runs.
        PlanError: The invite's plan cannot be run here, or has no such tier.
        DataError: The readings do not fit it.
    """
    home_folder = HomeFolder(folder)
    _check_folder(home_folder, invite)
    plan, last = _plan_of(invite), ConsentRecord.of(home_folder)
    if not own_code and (last is None or last.plan != plan_digest(plan)):
        _check_no_code(plan)
    if source is None and (folder / SETTINGS).exists() and home_folder.settings.data:
        source = Path(home_folder.settings.data)
    source = None if source is None else source.absolute()
    if (folder / SETTINGS).exists():
        reading = {**home_folder.settings.reading, **reading}
    if tier is None:
        before = home_folder.settings.tier if (folder / SETTINGS).exists() else ""
        tier = before if is_sliced(plan) else ""
    check_tier(plan, tier)
    findings = findings_at(plan, source, home_folder, invite.home, reading, tier=tier)
    invitation = Invitation(
        home=invite.home,
        fleet=invite.anchor.fleet,
        server=invite.card.server,
        plan=plan,
        parameters=findings.parameters,
        tier=tier,
    )
    text = consent_text(invitation)
    same = last is not None and (last.text, last.plan) == (text, plan_digest(plan))
    return JoinRequest(
        home_folder=home_folder,
        invite=invite,
        plan=plan,
        source=source,
        reading=reading,
        findings=findings,
        text=text,
        consent=last if same and not home_folder.left else None,
        tier=tier,
    )


def enrol(request: JoinRequest) -> JoinResult:
    """Make a device a home: keys, the enrolment, and the folder; call it once people agreed.

    It can be done again after any failure: keys that were made stay, unless the server refuses
    them, and a home that is one already changes only once the server has answered.

    Raises:
        LinkError: ``unreachable``, or the server's reason.
        StateError: The folder cannot be used.
        DirectoryError: ``expired``.
    """
    home_folder, invite = request.home_folder, request.invite
    before = _there(home_folder.path)
    keys, new = home_keys(invite.home, home_folder.path)
    # From here on the keys are this fleet's, whether or not the answer comes.
    disk.put(home_folder.path / ANCHOR, f"{invite.anchor.to_text()}\n".encode())
    card = invite.card
    sent = invite.enrolment(keys, time.time(), tier=request.tier)
    try:
        response = ask(card.server, card.authorities, ENROL, sent)
    except LinkError as error:
        if error.reason == "unreachable":
            raise LinkError(error.message, reason=error.reason, hint=_AWAY) from None
        if new:  # nobody has these keys, and another home's invite would find them here
            _take_back(home_folder.path, before)
        raise
    enrolment = EnrolmentResponse.from_bytes(response)
    settings = HomeSettings(
        home=invite.home,
        server=card.server,
        data="" if request.source is None else str(request.source),
        reading=dict(request.reading),
        tier=request.tier,
    )
    if (home_folder.path / SETTINGS).exists():  # what its owner changed there stays
        settings = replace(
            home_folder.settings,
            server=settings.server,
            data=settings.data,
            reading=settings.reading,
            tier=settings.tier,
        )
    home_folder.fill(
        settings, plan=request.plan, anchor=invite.anchor, authorities=card.authorities
    )
    consent = ConsentRecord(
        plan=plan_digest(request.plan), text=request.text, invite=_digest(invite)
    )
    if request.source is None:
        _begin_store(home_folder)
    (request.consent or consent).keep(home_folder)
    home_folder.left = False
    return JoinResult(fingerprint=fingerprint(keys.entry()), new=new, admitted=enrolment.admitted)


def _there(folder: Path) -> frozenset[str]:
    """Return what a folder has of a home's beginning, and "" where there is a folder."""
    names = {name for name in _BEGINNING if (folder / name).exists()}
    return frozenset(names | ({""} if folder.exists() else set()))


def _take_back(folder: Path, before: frozenset[str]) -> None:
    """Erase the keys that were made for an enrolment which the server refused."""
    with disk.errors_of(folder):
        for name in _BEGINNING:
            if name not in before:
                (folder / name).unlink(missing_ok=True)
        if "" not in before and not any(folder.iterdir()):
            folder.rmdir()


def _begin_store(home_folder: HomeFolder) -> None:
    """Give a home without files the store in which its readings will be, if it has none."""
    from fedhome.clients.recorded.recording import Recorder  # noqa: PLC0415 - arrow

    Recorder(home_folder).begin(filled=False)


def _check_folder(home_folder: HomeFolder, invite: Invite) -> None:
    folder = home_folder.path
    if not folder.exists():
        return
    os.close(disk.lock(folder))
    hint = "name another folder with --home; or erase this one's home: `fedhome client forget`"
    home = home_folder.settings.home if (folder / SETTINGS).exists() else invite.home
    if home != invite.home:
        raise RunError(f"{folder} is of home {home}, the invite of {invite.home}", hint=hint)
    if (folder / STATE).exists():
        with FileStore.open(folder, home=invite.home):
            pass
    if (folder / ANCHOR).exists() and not _same_fleet(home_folder, invite):
        raise RunError(f"{folder} is of another fleet than the invite", hint=hint)
    last = ConsentRecord.of(home_folder)
    if home_folder.left and last is not None and last.invite == _digest(invite):
        raise RunError(
            f"{invite.home} has left its fleet, and this invite was used before",
            hint=f"ask the fleet's owner for a new one: `fedhome fleet invite {invite.home}`",
        )


def _same_fleet(home_folder: HomeFolder, invite: Invite) -> bool:
    """Whether an invite is of the home's fleet: by the owner's keys that the home knows."""
    mine, theirs = home_folder.anchor, invite.anchor
    if mine == theirs:
        return True
    known = newest_root(home_folder, known_head(home_folder))
    return mine.fleet == theirs.fleet and known.hash == theirs.root.hash


def _plan_of(invite: Invite) -> Plan:
    where = "the invite's plan"
    table = parse_toml(invite.plan, where=where)
    # Before any of it is printed: people read on a terminal what they agree to.
    if faults := list(hidden_in(table)):
        raise PlanError(faults, where=where)
    plan = Plan.parse(table, where=where)
    _check_size(plan, where)
    return plan


def _check_size(plan: Plan, where: str) -> None:
    """Refuse a plan whose network no fleet could have: to build it would take all memory.

    Raises:
        PlanError: It is larger, by its hidden layers and the inputs that it names.
    """
    data = plan.data
    inputs = len(data.inputs or ()) + len(data.lags or ()) + data.calendar * len(CALENDAR)
    least = sum(a * b for a, b in pairwise((max(1, inputs), *plan.model.hidden)))
    if plan.model.name == "mlp" and least > _MOST_NUMBERS:
        fault = (
            f"model.hidden comes to some {least:,} numbers, and homes can be sent "
            f"{_MOST_NUMBERS:,} at most"
        )
        raise PlanError([fault], where=where, hint="tell whoever wrote the plan")


def _check_no_code(plan: Plan) -> None:
    """Refuse a plan that runs what its writer chose of all that is installed here.

    Raises:
        RunError: It would.
    """
    if found := code_at_home(plan):
        raise RunError(
            f"the invite's plan names code that is not fedhome's, and this device would run it: "
            f"{'; '.join(found)}",
            hint="if you know this code, and trust whoever wrote the plan: add --own-code",
        )


def _digest(invite: Invite) -> str:
    return hashlib.sha256(invite.to_bytes()).hexdigest()
