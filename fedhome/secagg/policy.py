"""What a home insists on, whatever the server asks; committee members insist on the same.

The server chooses who is in a roster, and when. So all the corrupt homes that *could* be in it
count, not a fair share of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise

from fedhome.errors import DirectoryError, ManifestError, ParameterError
from fedhome.secagg import chances, graph
from fedhome.secagg.directory import Directory
from fedhome.secagg.manifest import SUM_NUMBER_BITS, Manifest
from fedhome.secagg.parameters import corrupt_among, split_chance
from fedhome.secagg.shell_roster import shell_faults, shell_of


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a home insists on.

    Args:
        min_cohort: Fewest homes in any sum.
        corrupt: Share of the fleet's homes that may work for an attacker.
        least_share: Share of its group that a roster holds at least. Without it, a server
            could pick a roster of corrupt homes around one honest home; 0 trusts the server
            to pick homes at random.
        plan: Hash of what binds homes of their plan; a manifest for another one is refused.
        groups: Into how many groups the fleet is split.
        bits: Bits of a number in fixed point; None: any.
        norm: In which norm updates are clipped; None: any.
        most_clip: Greatest clip of an update.
        most_weight: Greatest weight of a home.
        exact_clip: Whether the clip of an update is this one, and no smaller one.
        exact_weight: The same of the greatest weight, where homes count by their examples.
        most_a_day: In how many sums the home takes part on one day.
        longest_s: Longest time until a manifest expires, s.
        security: Each promise may fail with a chance of 2^-security.
        noise: Whether homes add noise to what they sum; None: as the server says.
        tiers: Names of the plan's tiers, from the smallest slice to the largest; none: all homes
            carry the whole model, and no sum is about a part of it.

    Raises:
        ParameterError: A setting with which nothing would be promised.
    """

    min_cohort: int = 5
    corrupt: float = 0.1
    least_share: float = 0.5
    plan: bytes = bytes(32)
    groups: int = 1
    bits: int | None = None
    norm: str | None = None
    most_clip: float = math.inf
    most_weight: int = (1 << 31) - 1
    exact_clip: bool = False
    exact_weight: bool = False
    most_a_day: int = (1 << 31) - 1
    longest_s: int = 86_400
    security: int = 40
    noise: bool | None = None
    tiers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_cohort < 2 or not (0 <= self.corrupt < 1 and 0 <= self.least_share <= 1):  # noqa: PLR2004
            raise ParameterError(
                f"a policy of sums over {self.min_cohort} homes, with a share of {self.corrupt} "
                f"corrupt ones and rosters of a share of {self.least_share}, promises nothing",
                reason="policy",
            )

    def check_committee(self, directory: Directory) -> None:
        """Refuse a committee in which more members may be corrupt than it tolerates.

        Raises:
            DirectoryError: ``committee``.
        """
        eligible, size = directory.eligible, directory.committee
        corrupt = most_corrupt(eligible, corrupt_among(eligible, self.corrupt), size, self.security)
        if directory.corrupt < corrupt:
            raise DirectoryError(
                f"a committee of {size} tolerates {directory.corrupt} corrupt members, "
                f"but {corrupt} are to be expected",
                reason="committee",
            )

    def corrupt_homes(self, fleet: int, *, roster: int, groups: int) -> int:
        """Return how many corrupt homes a roster may have to be assumed to hold.

        Args:
            fleet: Homes in the directory.
            roster: Homes in the roster.
            groups: Into how many groups the fleet is split.
        """
        if self.least_share == 0:
            return corrupt_among(roster, self.corrupt)
        corrupt = corrupt_among(fleet, self.corrupt)
        if groups == 1:
            return corrupt
        return most_corrupt(fleet, corrupt, -(-fleet // groups), self._bits(groups))

    def least_sum(self, fleet: int, *, roster: int, groups: int) -> int:
        """Return how many homes must be in a sum, of which at least two are honest.

        Args:
            fleet: Homes in the directory.
            roster: Homes in the roster.
            groups: Into how many groups the fleet is split.
        """
        corrupt = self.corrupt_homes(fleet, roster=roster, groups=groups)
        return max(self.min_cohort, corrupt + 2)

    def least_honest(self, manifest: Manifest, directory: Directory) -> int:
        """Return how many honest homes are at least in any sum that a manifest allows.

        Args:
            manifest: The terms, which this policy accepts.
            directory: The fleet's.
        """
        roster, fleet = len(manifest.names), len(directory.names)
        return manifest.a_min - self.corrupt_homes(fleet, roster=roster, groups=manifest.groups)

    def check(self, manifest: Manifest, directory: Directory) -> None:
        """Refuse terms under which less would be promised than this policy asks for.

        Raises:
            ManifestError: ``plan``, ``groups``, ``duplicate``, ``group``, ``roster``, ``share``,
                ``a-min``, ``graph``, ``noise``, ``encoding`` or ``shell`` (of a sliced model).
        """
        for reason, message in chain(
            self._plan_faults(manifest),
            self._roster_faults(manifest, directory),
            self._shell_faults(manifest, directory),
            self._sum_faults(manifest, directory),
        ):
            raise ManifestError(message, reason=reason)

    def _plan_faults(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        if manifest.plan != self.plan:
            yield "plan", "a sum is asked for under another plan than this home's"
        if manifest.groups != self.groups:
            yield (
                "groups",
                f"a sum over one of {manifest.groups} groups; this home's plan has {self.groups}",
            )

    def _roster_faults(self, manifest: Manifest, directory: Directory) -> Iterator[tuple[str, str]]:
        names, count = manifest.names, len(manifest.names)
        publics = {manifest.public(index) for index in range(count)}
        if len(publics) < count or any(a >= b for a, b in pairwise(names)):
            yield "duplicate", "a roster is not sorted, or has a home or a key twice"
        group = _group(directory.seed, directory.names, manifest.groups, manifest.group)
        if not group.issuperset(names):
            yield "group", "a home of the roster is not of its group, or not of the fleet"
        if count < max(manifest.n_min, self.min_cohort):
            yield "roster", f"a roster of {count} homes is below its own or this home's minimum"
        of_shell = bool(shell_of(manifest.purpose))
        if not of_shell and count < self.least_share * len(group):
            yield "share", f"a roster has {count} of {len(group)} homes: chosen too freely"

    def _shell_faults(self, manifest: Manifest, directory: Directory) -> Iterator[tuple[str, str]]:
        if shell_of(manifest.purpose):
            count, groups = len(manifest.names), manifest.groups
            yield from shell_faults(
                manifest,
                directory,
                _group(directory.seed, directory.names, groups, manifest.group),
                tiers=self.tiers,
                least=self.least_sum(len(directory.names), roster=count, groups=groups),
                least_share=self.least_share,
            )

    def _sum_faults(self, manifest: Manifest, directory: Directory) -> Iterator[tuple[str, str]]:
        count, groups, form = len(manifest.names), manifest.groups, manifest.form
        least = self.least_sum(len(directory.names), roster=count, groups=groups)
        if not least <= manifest.a_min <= count:
            yield "a-min", f"a sum over {manifest.a_min} of {count} homes; {least} are needed"
        if manifest.degree and not self._graph_holds(manifest, directory):
            yield "graph", f"a masking graph of degree {manifest.degree} could fall apart"
        if self.noise is not None and self.noise != (form.noise is not None):
            # What noise hides is not checked where there is some: with too little it would show.
            yield "noise", f"a sum {'without' if self.noise else 'with'} noise: not by this plan"
        fixed, weight = form.fixed, self.most_weight
        if form.homes < count:
            yield "encoding", f"sums over {count} homes could wrap"
        for name, fault in (
            ("clip", fixed.clip > self.most_clip),
            ("clip", self.exact_clip and form.elements > 0 and fixed.clip != self.most_clip),
            ("weight", fixed.weight_cap > self.most_weight),
            ("weight", self.exact_weight and form.elements > 0 and fixed.weight_cap != weight),
            ("number of bits", self.bits is not None and fixed.bits != self.bits),
            ("norm", self.norm is not None and fixed.norm != self.norm),
        ):
            if fault:
                yield "encoding", f"the {name} of an update is not what this home's plan allows"

    def _graph_holds(self, manifest: Manifest, directory: Directory) -> bool:
        """Return whether no sum that the server may ask for is likely to fall into two."""
        count, groups = len(manifest.names), manifest.groups
        corrupt = self.corrupt_homes(len(directory.names), roster=count, groups=groups)
        corrupt = min(corrupt, count)
        pool = -(-len(directory.names) // groups) if self.least_share else count
        chance = _split_chance(
            pool - corrupt,
            corrupt,
            manifest.a_min - corrupt,
            min(1.0, manifest.degree / max(1, count - 1)),
            manifest.tau,
        )
        return manifest.tau >= 1 and chance <= -self._bits(groups)

    def _bits(self, groups: int) -> int:
        """Return the security that a group needs, with room for seeds that somebody searched."""
        return self.security + (SUM_NUMBER_BITS if groups > 1 else 0)


@lru_cache(maxsize=256)
def most_corrupt(homes: int, corrupt: int, drawn: int, bits: int) -> int:
    """Return how many corrupt homes are among some drawn at random, but for a chance of 2^-bits.

    Args:
        homes: Homes from which they are drawn.
        corrupt: How many of these are corrupt.
        drawn: How many are drawn.
        bits: Minus log2 of the chance that there are more.
    """
    above = chances.above(chances.hypergeometric(homes, corrupt, drawn))
    return int((above > -bits * math.log(2)).sum())


@lru_cache(maxsize=64)
def _split_chance(honest: int, corrupt: int, in_sum: int, edge: float, tau: int) -> float:
    """Return log2 of the chance that some sum falls into two, for an edge below certainty."""
    return (
        -math.inf if edge >= 1 else split_chance(honest, corrupt, in_sum, edge, tau) / math.log(2)
    )


@lru_cache(maxsize=64)
def _group(seed: bytes, homes: tuple[str, ...], count: int, number: int) -> frozenset[str]:
    if count > len(homes) or number >= count:
        return frozenset()
    return frozenset(graph.groups(seed, homes, count)[number])
