"""Which slice of the model a home's device carries: what its people say, and its owner signed.

The fleet's directory is what counts: server, homes and committee take from it who carries what, and
nobody but the owner can change it. A device takes no more than its own settings say, all the same:
so it can carry less from one moment to the next, and carries more once the owner has signed that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedhome.clients.membership.home_folder import DIRECTORY, PLAN, SETTINGS, HomeFolder
from fedhome.errors import PlanError
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced, tier_number
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
        """Why it carries another slice than one of the two says; empty where both say the same."""
        if not self.in_use or self.signed is None:
            return ""
        signed = self.signed or "no tier"
        if self.own and self.own != self.in_use:
            return (
                f"it carries what tier {self.in_use} has, and not {self.own}: the fleet's "
                f"directory says {signed}, until its owner signs another (`fedhome fleet tier`)"
            )
        if self.signed != self.in_use:
            return (
                f"it carries what tier {self.in_use} has, and the fleet's directory says {signed}: "
                "its owner can sign what is so (`fedhome fleet tier`)"
            )
        return ""


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
        files = [_stamp(self._home_folder.path / name) for name in (DIRECTORY, PLAN, SETTINGS)]
        if files == self._files:
            return False
        plan = Plan.load(self._home_folder.plan_path)
        before, now = self._in_use, carried_tier(self._home_folder, plan).in_use
        self._files, self._in_use = files, now
        return before is not None and now != before


def check_tier(plan: Plan, tier: str) -> None:
    """Refuse a tier that a plan does not have, and a plan with tiers of which none is named.

    Raises:
        PlanError: The sentence says which there are.
    """
    if not is_sliced(plan):
        if tier:
            raise PlanError(
                [f"tier {tier!r} is named, but this plan's devices all carry the whole model"],
                where="--tier",
                hint="leave --tier out",
            )
        return
    names = [one.name for one in plan.slicing.in_order()]
    if tier not in names:
        said = f"there is no tier {tier!r}" if tier else "it is not said what this device carries"
        raise PlanError(
            [f"{said}: the plan's devices carry slices of its model, as {', '.join(names)}"],
            where="--tier",
            hint=f"name one, from the smallest, --tier {names[0]}, to the largest",
        )


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from the one that replaces it; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _signed(home_folder: HomeFolder) -> str | None:
    data = home_folder.directory
    if data is None:
        return None
    directory = Directory.verify(data, home_folder.anchor.root)
    entry = directory.entries.get(home_folder.settings.home)
    return "" if entry is None else entry.tier
