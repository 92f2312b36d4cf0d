"""How many neighbours, members and answers a round needs for its promises to hold.

Everything is derived from a share of corrupt homes, a share of absent ones, and two chances of
failure, both as powers of two. Sources: Bell et al., "Secure single-server aggregation with
(poly)logarithmic overhead", CCS 2020 (sparse graphs); Ma et al., "Flamingo", IEEE S&P 2023
(committees).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from fedhome.counted import chance_in_words, counted
from fedhome.errors import ParameterError
from fedhome.secagg import chances

COMPLETE_UP_TO = 256  # homes that all mask with each other, or all serve on the committee
_MOST_MEMBERS = 2048
_FEWEST_WITH_A_LIAR = 5
_LN2 = math.log(2.0)


@dataclass(frozen=True)
class Parameters:
    """The numbers of one round's protocol.

    Args:
        homes: Homes in the round.
        pool: Homes that could have been in it: the server chooses among them.
        n_min: Fewest homes in a roster.
        a_min: Fewest homes in a sum.
        degree: Neighbours of a home on average; None: all others.
        tau: Fewest neighbours of a home among the homes in the sum.
        committee: Members.
        corrupt: Members that may be corrupt.
        threshold: Answers that open the sum; one less opens nothing.
        failures: Log2 of the chance of each failure: ``split`` (the honest homes of some sum
            that the server may ask for fall into two sums), ``committee`` (more corrupt members
            than that), ``sparse`` (a home lacks neighbours in a sum of honest making) and
            ``absent`` (too few answers). The first two break secrecy, the others only cost a
            round.
    """

    homes: int
    pool: int
    n_min: int
    a_min: int
    degree: int | None
    tau: int
    committee: int
    corrupt: int
    threshold: int
    failures: dict[str, float] = field(hash=False)

    @classmethod
    def derive(
        cls,
        *,
        homes: int,
        pool: int,
        eligible: int,
        corrupt: float = 0.1,
        dropped: float = 0.3,
        min_cohort: int = 5,
        committee: int | None = None,
        security: int = 40,
        liveness: int = 20,
    ) -> Parameters:
        """Return the parameters for a round.

        Assumption: which homes are corrupt does not depend on the epoch's seed. Where all
        eligible homes serve (256 or fewer always do), or the committee's size is given,
        ``absent`` is what it comes to, not what was asked for.

        Args:
            homes: Homes in the round.
            pool: Homes that could be in it (its group).
            eligible: Homes that may serve on the committee.
            corrupt: Share of corrupt homes, in the pool and among the eligible.
            dropped: Share of homes that may be absent.
            min_cohort: Fewest homes in any sum.
            committee: Members; None: as many as needed.
            security: A break of secrecy has at most the chance 2^-security.
            liveness: A failed round has at most the chance 2^-liveness.

        Raises:
            ParameterError: No parameters keep the promises.
        """
        _check(
            homes=homes,
            pool=pool,
            eligible=eligible,
            corrupt=corrupt,
            dropped=dropped,
            min_cohort=min_cohort,
        )
        a_min = fewest_in_a_sum(homes, dropped=dropped, min_cohort=min_cohort)
        degree, tau, split, sparse = _graph(
            homes,
            honest=pool - corrupt_among(pool, corrupt),
            bad=min(corrupt_among(pool, corrupt), homes),
            a_min=a_min,
            security=security,
            liveness=liveness,
        )
        size, bad, outvoted, absent = _committee(
            eligible,
            bad=corrupt_among(eligible, corrupt),
            answers=1 - dropped,
            size=committee,
            security=security,
            liveness=liveness,
        )
        return cls(
            homes=homes,
            pool=pool,
            n_min=min_cohort,
            a_min=a_min,
            degree=degree,
            tau=tau,
            committee=size,
            corrupt=bad,
            threshold=_threshold(size, bad),
            failures={"split": split, "sparse": sparse, "committee": outvoted, "absent": absent},
        )

    def lines(self) -> list[tuple[str, str]]:
        """Return each number and what it is for, in words, as rows of a table."""
        graph = (
            "every home masks with every other"
            if self.degree is None
            else f"on average; some sum falls into two with a chance of {self._chance('split')}"
        )
        return [
            ("homes in the round", f"{self.homes}, out of {self.pool} that could be in it"),
            ("fewest in a roster", f"{self.n_min}: below that a home refuses"),
            (
                "fewest in a sum",
                f"{self.a_min}, as the server's terms say: below that the committee refuses",
            ),
            ("masking neighbours", f"{'all' if self.degree is None else self.degree}: {graph}"),
            (
                "neighbours in the sum",
                f"{self.tau} at least; a home lacks them with a chance of {self._chance('sparse')}",
            ),
            (
                "committee",
                (
                    f"{self.committee} members, {self.corrupt} of them corrupt at most; more "
                    f"are with a chance of {self._chance('committee')}"
                ),
            ),
            (
                "answers to open",
                (
                    f"{self.threshold}: two openings would need {2 * self.threshold} answers, "
                    f"and only {self.committee + self.corrupt} can be had; too few come "
                    f"with a chance of {self._chance('absent')}"
                ),
            ),
        ]

    def _chance(self, name: str) -> str:
        return chance_in_words(2.0 ** min(self.failures[name], 0.0))


def _check(
    *, homes: int, pool: int, eligible: int, corrupt: float, dropped: float, min_cohort: int
) -> None:
    few = f"{counted(homes, 'home')} {'is' if homes == 1 else 'are'}"
    faults = {
        "cohort": (min_cohort < 2, "a sum over fewer than 2 homes hides nothing"),  # noqa: PLR2004
        "homes": (
            homes < min_cohort,
            f"{few} fewer than min_cohort = {min_cohort}",
        ),
        "pool": (pool < homes, f"a pool of {pool} does not hold {homes} homes"),
        "committee": (eligible < 2, "a committee needs 2 eligible homes at least"),  # noqa: PLR2004
        "shares": (
            not (0 <= corrupt < 1 and 0 <= dropped < 1),
            f"corrupt = {corrupt} and dropped = {dropped} are not shares of homes",
        ),
    }
    for reason, (faulty, message) in faults.items():
        if faulty:
            raise ParameterError(message, reason=reason)


def _graph(
    homes: int, *, honest: int, bad: int, a_min: int, security: int, liveness: int
) -> tuple[int | None, int, float, float]:
    """Return degree, tau, and log2 of the chances of ``split`` and ``sparse``."""
    if bad > a_min - 2:
        raise ParameterError(
            f"{counted(bad, 'corrupt home')} could fill a sum of {a_min} but for one",
            reason="corrupt",
            hint="let more of the pool take part, or assume fewer corrupt homes",
        )
    complete = (None, a_min - 1, -math.inf, -math.inf)
    if homes <= COMPLETE_UP_TO:
        return complete
    for degree in range(2, homes - 1, 2):
        edge = degree / (homes - 1)
        sparse = math.log(homes) + chances.below(chances.binomial(a_min - 1, edge))
        # The greatest tau that honest homes reach is the hardest for an attacker.
        tau = int(np.searchsorted(sparse, -liveness * _LN2, side="right")) - 1
        split = split_chance(honest, bad, a_min - bad, edge, tau) if tau > 0 else math.inf
        if split <= -security * _LN2:
            return degree, tau, split / _LN2, float(sparse[tau]) / _LN2
    return complete


def split_chance(honest: int, bad: int, in_sum: int, edge: float, tau: int) -> float:
    """Bound the chance that the honest homes of some sum fall into two parts, as its logarithm.

    The server picks the sum after it has seen the graph, so every choice counts. Let the
    smaller part have ``s`` homes. Each has ``tau`` neighbours in the sum, ``s - 1`` of them in
    its part at most, so the rest are corrupt. And none of its homes has an edge into the other
    part, which holds what is left of the ``in_sum`` honest homes. Both are rare; the rarer
    counts, for every choice of the parts.

    Args:
        honest: Honest homes in the pool.
        bad: Corrupt homes in the round.
        in_sum: Fewest honest homes in a sum.
        edge: Chance of an edge.
        tau: Fewest neighbours of a home in the sum.
    """
    part = np.arange(1, honest // 2 + 1)
    rest = np.maximum(in_sum - part, part)
    from_bad = np.append(chances.at_least(chances.binomial(bad, edge)), -math.inf)
    needed = np.clip(tau - part + 1, 0, bad + 1)
    choices = chances.choose(honest, part)
    surrounded = choices + part * from_bad[needed]
    cut = choices + chances.choose(honest - part, rest) + part * rest * math.log1p(-edge)
    return float(np.logaddexp.reduce(np.minimum(surrounded, cut)))


def _committee(
    eligible: int,
    *,
    bad: int,
    answers: float,
    size: int | None,
    security: int,
    liveness: int,
) -> tuple[int, int, float, float]:
    """Return members, corrupt ones, and log2 of the chances of ``committee`` and ``absent``."""
    if size is not None and not 2 <= size <= eligible:  # noqa: PLR2004
        raise ParameterError(
            f"{eligible} eligible homes do not fill a committee of {size}", reason="committee"
        )
    if size is None and eligible <= COMPLETE_UP_TO:
        size = eligible
    last = size or min(eligible, _MOST_MEMBERS)
    for members in range(size or 3, last + 1):
        outvoted = chances.above(chances.hypergeometric(eligible, bad, members))
        most = int(np.argmax(outvoted <= -security * _LN2))
        threshold = _threshold(members, most)
        if threshold > members:
            continue
        absent = float(chances.below(chances.binomial(members, answers))[threshold])
        # Where all eligible homes serve, no greater committee could do better.
        if absent <= -liveness * _LN2 or members in (size, eligible):
            return members, most, float(outvoted[most]) / _LN2, absent / _LN2
    raise ParameterError(
        f"no committee out of {eligible} eligible homes, {bad} of them corrupt, keeps its promises",
        reason="committee",
        hint="make more homes eligible, or assume fewer corrupt or absent ones",
    )


def _threshold(members: int, corrupt: int) -> int:
    """Answers such that two openings would need more than can be had, if the corrupt lie."""
    return (members + corrupt) // 2 + 1


def corrupt_among(homes: int, share: float) -> int:
    """Return how many of some homes are reckoned to work for an attacker: of five, always one.

    Args:
        homes: How many they are.
        share: Their share, at most, as the plan says it.
    """
    counted = math.floor(share * homes + 1e-9)  # 0.29 * 100 is 28.999...
    return max(counted, 1 if homes >= _FEWEST_WITH_A_LIAR else 0)


def fewest_in_a_sum(homes: int, *, dropped: float, min_cohort: int) -> int:
    """Return how many of a round's homes must be in its sum.

    Args:
        homes: Homes in the round.
        dropped: Share of homes that may be absent.
        min_cohort: Fewest homes in any sum.
    """
    return min(homes, max(min_cohort, _ceil(homes * (1 - dropped))))


def _ceil(number: float) -> int:
    return math.ceil(number - 1e-9)
