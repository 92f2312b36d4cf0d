"""The terms of a sum under masks, which the server signs and every home of it checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from fedhome.errors import OpeningError, RegistryError
from fedhome.plan.protocol import least_in_a_sum, policy_of, terms_hash
from fedhome.plan.settings import Plan
from fedhome.secagg import Bundle, Directory, Manifest, Parameters
from fedhome.server.rounds.sums import SumRequest, fewest_with_noise

_GRACE_S = 300.0  # beyond the deadline: homes' clocks differ, and the committee answers after it


class SumManifests:
    """Writes the terms of a run's sums.

    Args:
        plan: The plan.
        directory: The fleet's directory.
        fleet: Homes in the fleet.
        run: Identifies the run, 16 bytes.
        clock: Seconds since 1970.
        newest: Returns number and hash of the newest release.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Directory,
        *,
        fleet: int,
        run: bytes,
        clock: Callable[[], float],
        newest: Callable[[], tuple[int, bytes]],
    ) -> None:
        self._plan, self._directory, self._fleet = plan, directory, fleet
        self._run, self._clock, self._newest = run, clock, newest
        self._terms, self._policy = terms_hash(plan), policy_of(plan)

    def manifest(
        self,
        bundles: Mapping[str, Bundle],
        request: SumRequest,
        *,
        pool: int,
        group: int,
        after: bool = False,
    ) -> Manifest:
        """Return the terms of a sum over homes with these bundles.

        Args:
            bundles: The homes' one-time keys.
            request: What is summed.
            pool: Homes in their group, asked or not.
            group: Its number.
            after: Whether a sum of nearly the same numbers was opened: then homes that answer may
                have to be left out, and the sum may be over as few as homes allow.

        Raises:
            ParameterError: They could not keep the promises.
            OpeningError: Too few homes; or the newest release cannot be named.
        """
        settings, count, directory = self._plan.aggregation, len(bundles), self._directory
        derived = Parameters.derive(
            homes=count,
            pool=pool,
            eligible=directory.eligible,
            corrupt=settings.corrupt,
            dropped=settings.dropped,
            min_cohort=settings.min_cohort,
            committee=directory.committee,
        )
        a_min = least_in_a_sum(self._plan, fleet=self._fleet, roster=count)
        tau = derived.tau
        if after and derived.degree is None:  # all mask with all: a smaller sum stays whole
            a_min = self._policy.least_sum(self._fleet, roster=count, groups=settings.groups)
            tau = min(tau, a_min - 1)
        a_min = max(a_min, fewest_with_noise(request.form))
        if a_min > count:
            raise OpeningError(
                f"{count} homes have keys for a sum, but it takes {a_min}", reason="a-min"
            )
        try:
            release, release_hash = self._newest()
        except RegistryError as error:
            raise OpeningError(
                f"the newest release cannot be named: {error.message}",
                reason="registry",
                hint=error.hint,
            ) from None
        return Manifest.of(
            directory,
            bundles.values(),
            run=self._run,
            turn=request.sum_number,
            round=request.round,
            purpose=request.purpose,
            plan=self._terms,
            settings=request.settings,
            model_hash=request.model_hash,
            form=request.form,
            n_min=derived.n_min,
            a_min=a_min,
            degree=derived.degree or 0,
            tau=tau,
            groups=settings.groups,
            group=group,
            expires=math.ceil(self._clock() + min(request.timeout_s or 0.0, 80_000.0) + _GRACE_S),
            release=release,
            release_hash=release_hash,
        )


def no_release() -> tuple[int, bytes]:
    """Return what is newest where nothing was released: number 0, and zeros."""
    return 0, bytes(32)
