"""The record of what a home's people agreed to (:mod:`fedhome.clients.membership.consent`)."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field

from fedhome.clients.membership.home_folder import PLAN, HomeFolder
from fedhome.errors import RunError
from fedhome.installed_build import installed_build
from fedhome.plan.settings import Plan
from fedhome.store import disk

CONSENT = "consent.json"


@dataclass(frozen=True, kw_only=True)
class ConsentRecord:
    """What a home's people agreed to.

    Args:
        plan: SHA-256 of the plan as the folder holds it, hexadecimal.
        text: What they were shown.
        invite: SHA-256 of the invite, hexadecimal.
        release: The release and build of fedhome that showed it.
        time: When, Unix time in s.
    """

    plan: str
    text: str
    invite: str
    release: str = field(default_factory=installed_build)
    time: float = field(default_factory=time.time)

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def keep(self, home_folder: HomeFolder) -> None:
        """Write it into a home's folder.

        Raises:
            StateError: The folder cannot be written.
        """
        record = {**asdict(self), "text_sha256": self.digest}
        disk.put(home_folder.path / CONSENT, json.dumps(record, indent=1).encode())

    @classmethod
    def of(cls, home_folder: HomeFolder) -> ConsentRecord | None:
        """Return what is kept in a home's folder; None if there is nothing, or it was altered."""
        try:
            record = json.loads((home_folder.path / CONSENT).read_text(encoding="utf-8"))
            digest = record.pop("text_sha256")
            consent = cls(**record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return consent if consent.digest == digest else None


def plan_digest(plan: Plan) -> str:
    """Return SHA-256 of a plan as a home's folder holds it, hexadecimal."""
    return hashlib.sha256(plan.to_toml().encode()).hexdigest()


def check_consent(home_folder: HomeFolder) -> ConsentRecord:
    """Return the consent to the plan that a home's folder holds.

    Raises:
        RunError: There is none, or it is to another plan.
        StateError: The plan is missing.
    """
    hint = "read and agree: `fedhome client join INVITE --data SOURCE`"
    consent = ConsentRecord.of(home_folder)
    if consent is None:
        raise RunError(f"nobody has agreed yet to what leaves {home_folder.path}", hint=hint)
    if hashlib.sha256(disk.read(home_folder.path / PLAN)).hexdigest() != consent.plan:
        raise RunError(
            f"{home_folder.path / PLAN} is not the plan that was agreed to",
            hint=f"put the agreed one back; or {hint}, with an invite to the new one",
        )
    return consent
