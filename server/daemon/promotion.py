"""Whether what a run ended with takes the place of the release in use: the homes say so.

They do by their validation loss, summed over all of them: never by one home's, nor by test rows.
Asked about the release in use a second time, over other homes, they would show a home that is in
one of both sums alone. So what came of it is followed from run to run, each on the rows of its own
day; and where that is not known, what homes said of the release when it was made is taken.
"""

from __future__ import annotations

from fedhome.server.daemon.publishing import Candidate, Publisher
from fedhome.wire.layout import Layout

_DECIDED = "its run had decided so before it was killed"
_SAME_ROWS = "on the same rows homes' loss"
BY_HAND = "by hand: `fedhome model promote`"


def settle(
    publisher: Publisher,
    candidate: Candidate | None,
    layout: Layout,
    *,
    unfit: str,
    change: float | None = None,
) -> None:
    """Promote a run's result, or tell why the release in use stays.

    Args:
        publisher: Knows what is in use.
        candidate: The result; None: no round gave a model.
        layout: Its layout.
        unfit: Why the release in use is nothing to compare with; empty: it is.
        change: By how much homes' loss with the result is above that with the release in use, on
            the same rows; None: nobody knows.

    Raises:
        RegistryError: The registry is damaged.
    """
    if candidate is None:
        return
    in_use = publisher.in_use
    if in_use is None or publisher.made(in_use):  # or it was killed after it had decided
        first = in_use is None or in_use.number == 1
        publisher.promote(candidate, layout, "it is the first release" if first else _DECIDED)
    elif unfit:
        publisher.promote(candidate, layout, f"{unfit}: there is nothing to compare with")
    elif change is not None and change <= 0:
        publisher.promote(candidate, layout, f"{_SAME_ROWS} is {-change:.3g} lower with it")
    elif change is not None:
        publisher.keep_in_use(candidate, f"{_SAME_ROWS} would be {change:.3g} higher; {BY_HAND}")
    elif candidate.loss is None or (before := publisher.loss_of(in_use)) is None:
        which = "this model" if candidate.loss is None else "the release in use"
        publisher.keep_in_use(
            candidate, f"homes did not say how good {which} is, so nobody knows; {BY_HAND}"
        )
    elif candidate.loss <= before:
        why = f"homes' loss was {before:.4g}, and is {candidate.loss:.4g} with it"
        publisher.promote(candidate, layout, why)
    else:
        publisher.keep_in_use(
            candidate,
            f"homes' loss with it is {before:.4g}, and would be {candidate.loss:.4g}; {BY_HAND}",
        )
