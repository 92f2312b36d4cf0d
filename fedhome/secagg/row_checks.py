"""A member's check of its shares, ahead of a sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from fedhome.errors import BundleError
from fedhome.keys.signing import Verify
from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.seals import Seals, Unopened
from fedhome.secagg.share_checks import (
    CheckAnswer,
    CheckRequest,
    Shares,
    row_hash,
    values_found,
)
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

    Raises:
        BundleError: ``check``: the request is none, or this home is no member.
    """
    if keys.home not in directory.members:
        raise BundleError(f"{keys.home} is not on the committee", reason="check")
    rows = request.own_rows()
    heads = once(
        "heads to check",
        (directory.hash, request.homes, request.serials, request.heads),
        lambda: _heads_of(request, directory, verify),
    )
    member = keys.home.encode()
    asked = [row_hash(head.fixed, row, member) for head, row in zip(heads, rows, strict=True)]
    signed = [place for place, head in enumerate(heads) if head.signed]
    opened = seals.open_all(
        secrets,
        [(heads[place].home, heads[place].bound) for place in signed],
        b"".join([rows[place] for place in signed]),
        keep=True,
    )
    found: list[Shares | Unopened] = ["erased"] * len(heads)
    for place, shares in zip(signed, opened, strict=True):
        found[place] = shares
    bare = CheckAnswer(
        directory=directory.hash,
        member=keys.home,
        asked=b"".join(asked),
        values=values_found(found, [head.fixed for head in heads]),
        signature=bytes(64),
    )
    return replace(bare, signature=keys.sign(bare.statement))


class _Head(NamedTuple):
    """What a request says of a bundle: its home, whether that signed it, and what it is bound to.

    Args:
        home: Its home.
        signed: Whether the home signed it.
        bound: `BundleHead.associated_data`.
        fixed: `BundleHead.dealt_statement`.
    """

    home: str
    signed: bool
    bound: bytes
    fixed: bytes


def _heads_of(request: CheckRequest, directory: Directory, verify: Verify) -> list[_Head]:
    heads = []
    for head, dealt in request.parts():
        entry = directory.entries.get(head.home)
        statement = head.statement(directory.hash)
        signed = not (entry is None or not verify(entry.identity, head.signature, statement))
        bound = head.associated_data(directory.hash)
        heads.append(_Head(head.home, signed, bound, bound + dealt))
    return heads
