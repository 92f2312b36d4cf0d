"""How a home works out what follows from keys and bytes alone: each time anew.

A simulation's homes share a process, and theirs may remember what another home there has worked
out already (:mod:`fedhome.simulations.engines.shared_reads`). Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedhome.secagg.directory import Directory, HomeKeys
from fedhome.secagg.masks import Mask, PairSeeds, add_masks, one_time_key, pair_seeds
from fedhome.secagg.one_time import OneTime
from fedhome.secagg.opening import HashShares, hashes_told
from fedhome.secagg.seals import Seals
from fedhome.secagg.share_checks import NameRows, row_hashes
from fedhome.secagg.sharing import Combine, combined
from fedhome.wire.codec import Message

_Worked = TypeVar("_Worked")
_Read = TypeVar("_Read", bound=Message)


class Once(Protocol):
    """Returns what some work comes to, which is the same for whoever does it."""

    def __call__(self, what: str, given: Hashable, work: Callable[[], _Worked]) -> _Worked:
        """Do some work, or return what it came to before.

        Args:
            what: What is worked out.
            given: All that it follows from.
            work: Works it out; what it raises is raised, and not remembered.
        """


def each_time(what: str, given: Hashable, work: Callable[[], _Worked]) -> _Worked:
    """Do some work; see `Once`."""
    del what, given
    return work()


class Read(Protocol):
    """Reads what another party sent."""

    def __call__(self, kind: type[_Read], data: bytes, *, most: int | None = None) -> _Read:
        """Do what `Message.from_bytes` does."""


def read_anew(kind: type[_Read], data: bytes, *, most: int | None = None) -> _Read:
    """Read a message; see `Read`."""
    return kind.from_bytes(data, most=most)


@dataclass(frozen=True, kw_only=True)
class ServerWorkings:
    """How a server does; **anything but these defaults is for simulations only**.

    Args:
        read: How it reads what homes send.
        name_rows: How it names rows that members check.
        hash_shares: How it hashes the shares that members give.
    """

    read: Read = read_anew
    name_rows: NameRows = row_hashes
    hash_shares: HashShares = hashes_told


@dataclass(frozen=True, kw_only=True)
class Workings:
    """How a home works things out; **anything but these defaults is for simulations only**.

    Args:
        key: How it makes a private key of its bytes, and the public one of that.
        agree: How it agrees on keys with other homes.
        mask: How it adds masks.
        draw: How it draws the secrets of a bundle.
        seals: How it seals shares, and opens them, under a directory.
        write: How it writes what it sends.
        once: How it works out what all homes of a sum read alike.
        read: How it reads what a server asks of each member.
        name_rows: How it names rows that it checks.
        combine: How it multiplies numbers of shares by the factors of their proof.
    """

    key: Callable[[bytes], tuple[X25519PrivateKey, bytes]] = one_time_key
    agree: PairSeeds = pair_seeds
    mask: Mask = add_masks
    draw: Callable[[Directory], OneTime] = OneTime.drawn
    seals: Callable[[HomeKeys, Directory], Seals] = Seals
    write: Callable[[Message], bytes] = Message.to_bytes
    once: Once = each_time
    read: Read = read_anew
    name_rows: NameRows = row_hashes
    combine: Combine = combined
