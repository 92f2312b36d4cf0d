"""Which slice of the model a home's device carries: what its people say, and its owner signed.

The fleet's directory is what counts: server, homes and committee take from it who carries what, and
nobody but the owner can change it. A device takes no more than its own settings say, all the same:
so it can carry less from one moment to the next, and carries more once the owner has signed that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedhome.clients.membership.home_folder import DIRECTORY, PLAN, SETTINGS, HomeFolder
from fedhome.ops.file_state import file_state
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import check_tier, is_sliced, tier_number
from fedhome.secagg.directory import Directory


@dataclass(frozen=True, kw_only=True)
class CarriedTier:
    """What a home's device carries.

    Args:
        own: The tier that the home's settings name; empty: none.
        signed: The one that the directory says of it; None: the home has no directory yet, or its
            plan no tiers.
        in_use: The one whose slice it carries; empty where the plan has none.
    """

    own: str
    signed: str | None
    in_use: str

    @property
    def told(self) -> str:
        """What its people and its owner say differently; empty where both say the same."""
        if self.signed is None or not self.in_use or (self.own or self.signed) == self.signed:
            return ""
        return (
            f"its settings say {self.own}, and the fleet's directory "
            f"{self.signed or 'no tier, which counts as the smallest'}: it carries the smaller, "
            "until the fleet's owner has signed another directory"
        )


def carried_tier(home_folder: HomeFolder, plan: Plan) -> CarriedTier:
    """Return what a home's device carries: the smaller of what its settings and its owner say.

    A name that the plan does not have counts as its smallest tier, as it does for the server.

    Args:
        home_folder: The home's folder.
        plan: The plan that it takes part in.

    Raises:
        RunError: Its settings cannot be used.
        SecAggError: The directory in its folder is none of its fleet's.
    """
    own = home_folder.settings.tier
    if not is_sliced(plan):
        return CarriedTier(own=own, signed=None, in_use="")
    signed = _signed(home_folder)
    said = [own] if own or signed is None else []
    said += [] if signed is None else [signed]
    number = min(tier_number(plan, name) for name in said)
    return CarriedTier(own=own, signed=signed, in_use=plan.slicing.in_order()[number].name)


def set_tier(home_folder: HomeFolder, plan: Plan, tier: str) -> None:
    """Let a home's settings name another tier.

    Args:
        home_folder: The home's folder.
        plan: The plan that it takes part in.
        tier: The name.

    Raises:
        PlanError: The plan has no such tier.
        RunError: The settings cannot be used.
        StateError: They cannot be written.
    """
    check_tier(plan, tier)
    home_folder.change_settings(replace(home_folder.settings, tier=tier))


class TierMark:
    """Whether a home's device may have come to carry another slice since it was looked at last.

    Args:
        home_folder: The home's folder.
    """

    def __init__(self, home_folder: HomeFolder) -> None:
        self._home_folder = home_folder
        self._files: object = None
        self._in_use: str | None = None

    @property
    def changed(self) -> bool:
        """Whether it carries another slice than at the last look; it is looked at by this.

        Raises:
            FedHomeError: As `carried_tier`.
        """
        files = [file_state(self._home_folder.path / name) for name in (DIRECTORY, PLAN, SETTINGS)]
        if files == self._files:
            return False
        plan = Plan.load(self._home_folder.plan_path)
        before, now = self._in_use, carried_tier(self._home_folder, plan).in_use
        self._files, self._in_use = files, now
        return before is not None and now != before


def _signed(home_folder: HomeFolder) -> str | None:
    data = home_folder.directory
    if data is None:
        return None
    directory = Directory.verify(data, home_folder.anchor.root)
    entry = directory.entries.get(home_folder.settings.home)
    return "" if entry is None else entry.tier
