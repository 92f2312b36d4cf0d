"""A member's check of its shares, ahead of a sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify
from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.seals import Seals
from fedhome.secagg.shamir import LIMBS
from fedhome.secagg.share_checks import (
    CheckAnswer,
    CheckRequest,
    NameRows,
    row_hashes,
    values_found,
)
from fedhome.secagg.sharing import CHECKS, SECRETS, Combine, combined, factors_of
from fedhome.secagg.workings import Once, each_time


def check_rows(
    request: CheckRequest,
    keys: HomeKeys,
    directory: Directory,
    *,
    seals: Seals,
    secrets: Mapping[int, bytes],
    verify: Verify,
    once: Once = each_time,
    name_rows: NameRows = row_hashes,
    combine: Combine = combined,
) -> CheckAnswer:
    """Return what a member finds of its shares, signed.

    It answers about bundles that their homes signed, and in this way alone: by values for other
    factors than those that follow from the bundle a server could work shares out.

    Args:
        request: The server's.
        keys: The member's.
        directory: The epoch's.
        seals: Of this member.
        secrets: The member's, by period.
        verify: How signatures are checked.
        once: How what all members read alike is worked out.
        name_rows: How the member's rows are named.
        combine: As of `values_of`.

    Raises:
        BundleError: ``check``: the request is none, or this home is no member.
    """
    if keys.home not in directory.members:
        raise BundleError(f"{keys.home} is not on the committee", reason="check")
    request.check_columns()
    heads = once(
        "heads to check",
        (directory.hash, request.homes, request.serials, request.heads),
        lambda: _Heads.of(request, directory, verify),
    )
    found = seals.open_all(secrets, heads.bounds, request.rows, keep=True)
    bare = CheckAnswer(
        directory=directory.hash,
        member=keys.home,
        asked=name_rows(heads.fixed, request.rows, keys.home),
        values=values_found(found, heads.factors, combine),
        signature=bytes(64),
    )
    return bare.signed_with(keys.sign(bare.statement))


class _Heads(NamedTuple):
    """What a request says of bundles, the same to each member.

    Args:
        bounds: Of each its home and what its shares are bound to; None: the home did not sign it.
        fixed: Of each `BundleHead.dealt_statement`.
        factors: Of each the factors of its proof, int64 ``[bundles, secrets, CHECKS, 9]``.
    """

    bounds: list[tuple[str, bytes] | None]
    fixed: list[bytes]
    factors: NDArray[np.int64]

    @classmethod
    def of(cls, request: CheckRequest, directory: Directory, verify: Verify) -> _Heads:
        bounds: list[tuple[str, bytes] | None] = []
        fixed = []
        for head, dealt in request.parts():
            entry = directory.entries.get(head.home)
            statement = head.statement(directory.hash)
            bound: tuple[str, bytes] | None = head.home, head.associated_data(directory.hash)
            if entry is None or not verify(entry.identity, head.signature, statement):
                bound = None
            bounds.append(bound)
            fixed.append(head.dealt_statement(directory.hash, dealt))
        factors = np.array([factors_of(one) for one in fixed], np.int64)
        return cls(bounds, fixed, factors.reshape(-1, SECRETS, CHECKS, LIMBS))
